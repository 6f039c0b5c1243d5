# SPDX-License-Identifier: Apache-2.0
"""A store of a million keys: requests over all of them, a start, and a follower that receives them as a snapshot."""
import time

from attack import Attack
from attacks.registry import after_start
from rpc import TXN, Grpc, fill_keys, key_range, put, txn

KEYS = 1_000_000
OPS = "128 operations in a transaction"
ALL = (b"k", b"l")
TARGETS = range(5)  # key, version, create revision, mod revision, value
DESCEND = 2


def value(i):
    return b"%08x" % (i * 2654435761 & 0xFFFFFFFF) + b"v" * 56


def fill(client):
    fill_keys(client, KEYS, value=value)


def repeat(body):
    def run(client):
        g = Grpc(client)
        sent = 0
        while not client.is_over():
            sent += g.many(TXN, [body])
        g.close()
        client.note(f"{sent} transactions")
    return run


def matches(count):
    """A request of the largest size: the keys of its ranges are long, and each range holds a million keys."""
    long = b"k" + b"\0" * 5000
    return txn([put(b"other", b"x" * 700_000)], [key_range(long, b"l" + b"\0" * 5000, count_only=True)] * count)


def sorts():
    return txn([], [key_range(*ALL, limit=1, order=DESCEND, target=target) for target in TARGETS])


def fill_all_but_one(client):
    """The last member has none of the keys, and the others have compacted the log."""
    client.members[2].stop()
    fill(client)


def install(client):
    """The follower starts; the run ends when it has applied what the others have."""
    begin = time.monotonic()
    client.members[2].start()
    while not client.members[2].serves():
        time.sleep(0.1)
    least = client.metrics(0)["etcd_server_proposals_applied_total"]
    while client.metrics(2).get("etcd_server_proposals_applied_total", 0) < least and time.monotonic() - begin < 180:
        time.sleep(0.1)
    client.note(f"the follower has all of it after {time.monotonic() - begin:.1f} s, {'' if 'snapshot' in client.members[2].log() else 'not '}by a snapshot")


ATTACKS = [
    Attack("million_counts", "counts 1,000,000 keys 127 times behind a put, in a request of 1.4 MiB", f"{OPS}, --max-request-bytes", repeat(matches(127)), fill,
           short=False),
    Attack("million_sorts", "sorts 1,000,000 keys by each target", "keys of a range", repeat(sorts()), fill, short=False),
    Attack("million_start", "the start with 1,000,000 keys, from when it serves", "keys of a store", after_start, fill, restart=True, short=False),
    Attack("million_install", "a follower gets 1,000,000 keys as a snapshot", "keys of a store", install, fill_all_but_one, members=3, short=False,
           options=("--snapshot-catchup-entries", "100")),
]
