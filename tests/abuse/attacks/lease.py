# SPDX-License-Identifier: Apache-2.0
"""Very many leases that are granted, kept alive, revoked, or expire in the same second, and a new leader that takes them over."""
import json
import time

from attack import Attack
from rpc import GRANT, KEEP_ALIVE, REVOKE, Grpc, fill_keys, framed, grant, number

LEASES = 100_000
MILLION = 1_000_000
FIRST = 1000  # the smallest lease ID
LIMIT = "leases"


def fill(count, ttl_s, keys=0):
    def setup(client):
        g = Grpc(client)
        g.many(GRANT, (grant(ttl_s, FIRST + i) for i in range(count)))
        g.close()
        if keys:
            fill_keys(client, keys, lease=lambda i: FIRST + i % count)
    return setup


def grants(client):
    g, at = Grpc(client), FIRST
    while not client.is_over():
        at += g.many(GRANT, (grant(9000, at + i) for i in range(4000)))
    g.close()
    client.note(f"{at - FIRST} were granted")


def keep_alive(client, count):
    """Renews all leases in one write on one stream; returns when all responses have arrived."""
    g = Grpc(client)
    g.count()
    stream, frames = g.call(KEEP_ALIVE, end=False)
    g.s.sendall(frames + g.data(stream, b"".join(framed(number(1, FIRST + i)) for i in range(count)), end=True))
    g.wait(1)
    g.close()


def keep_alives(client):
    rounds = 0
    while not client.is_over():
        keep_alive(client, LEASES)
        rounds += 1
    client.note(f"{rounds * LEASES} were kept alive")


def fill_ending(ttl_s, keys=0):
    """All leases expire in the same second because they are renewed together."""
    def setup(client):
        fill(LEASES, ttl_s, keys)(client)
        keep_alive(client, LEASES)
    return setup


def ends(ttl_s):
    def run(client):
        begin = time.monotonic()
        count = LEASES
        while count and time.monotonic() - begin < ttl_s + 120:
            time.sleep(0.5)
            count = alive(client)
        client.note(f"{count} of {LEASES} are alive after {time.monotonic() - begin:.0f} s")
    return run


def alive(client):
    """Revokes leases that have expired, and counts them."""
    values = client.metrics()
    return int(values.get("etcd_debugging_lease_granted_total", 0) - values.get("etcd_debugging_lease_revoked_total", 0))


def revokes(client):
    """Revokes leases with a key each as fast as it can, without waiting."""
    g = Grpc(client)
    sent = g.many(REVOKE, (number(1, FIRST + i) for i in range(LEASES)), stop=client.is_over)
    g.close()
    client.note(f"{sent} were revoked")


def leader(client):
    for i, _ in enumerate(client.members):
        if client.metrics(i).get("etcd_server_is_leader"):
            return i
    return None


def change_leader(client):
    """Transfers leadership repeatedly; each new leader takes over all leases."""
    changes = 0
    while not client.is_over():
        now = leader(client)
        if now is not None:
            _, text = client.request("POST", "/v3/maintenance/status", {}, member=(now + 1) % len(client.members))
            target = json.loads(text)["header"]["member_id"]
            status, text = client.request("POST", "/v3/maintenance/transfer-leadership", {"targetID": target}, member=now)
            changes += status == 200
            if status != 200:
                client.note(f"not changed: {text[:100]}")
        time.sleep(1)
    client.note(f"{changes} changes of the leader")


ATTACKS = [
    Attack("lease_grants", "grants leases as fast as it can, 4,000 at a time", LIMIT, grants, short=False),
    Attack("lease_keep_alives", "100,000 leases are kept alive by one write on one stream", LIMIT, keep_alives, fill(LEASES, 9000)),
    Attack("lease_ends", "100,000 leases without a key end in the same second", LIMIT, ends(8), fill_ending(8), short=False),
    Attack("lease_ends_keys", "100,000 leases with a key each end in the same second", LIMIT, ends(12), fill_ending(12, LEASES), short=False),
    Attack("lease_revokes", "revokes 100,000 leases with a key each, 4,000 at a time", LIMIT, revokes, fill(LEASES, 9000, LEASES), short=False),
    Attack("lease_leader", "the lead of 1,000,000 leases changes hands", LIMIT, change_leader, fill(MILLION, 9000), members=3, seconds=10, short=False),
]
