# SPDX-License-Identifier: Apache-2.0
"""The key-value API: transactions, deletions and leases over very many keys."""
import struct

from attack import Attack, Http2, WebSocket, b64

KEYS = 100_000
RANGE = {"key": b64(b"k"), "range_end": b64(b"l")}


def fill(client):
    client.kv_fill(KEYS, value=lambda i: b"%08x" % (i * 2654435761 & 0xFFFFFFFF) + b"v" * 248)


def ranges(count, **options):
    return [{"request_range": {**RANGE, **options}}] * count


def repeat(client, body):
    while not client.is_over():
        client.post("/v3/kv/txn", body)


def read_counts(client):
    repeat(client, {"success": ranges(128, count_only=True)})


def read_sorted(client):
    repeat(client, {"success": ranges(16, sort_order="DESCEND", sort_target="VALUE", limit=1)})


def read_filtered(client):
    repeat(client, {"success": ranges(64, min_mod_revision=1 << 40)})


def write_compares(client):
    compare = {**RANGE, "result": "GREATER", "target": "CREATE", "create_revision": 0}
    put = {"request_put": {"key": b64(b"other"), "value": b64(b"1")}}
    client.post("/v3/kv/txn", {"compare": [compare] * 128, "success": [put]})


def write_nested_counts(client):
    put = {"request_put": {"key": b64(b"other"), "value": b64(b"1")}}
    nested = [{"request_txn": {"success": ranges(1, count_only=True)}}] * 63
    client.post("/v3/kv/txn", {"success": [put, *nested]})


def delete_all(client):
    client.post("/v3/kv/deleterange", RANGE)


def delete_nothing(client):
    """A transaction reads keys 128 times that are deleted and not yet compacted."""
    client.post("/v3/kv/deleterange", RANGE)
    client.post("/v3/kv/txn", {"success": [{"request_delete_range": RANGE}] * 128})


def fill_lease(client):
    client.post("/v3/lease/grant", {"TTL": 9000, "ID": 77})
    for i in range(0, KEYS, 128):
        puts = [{"request_put": {"key": b64(b"k%08d" % k), "value": b64(b"v" * 256), "lease": 77}} for k in range(i, min(i + 128, KEYS))]
        client.post("/v3/kv/txn", {"success": puts})


def revoke(client):
    client.post("/v3/lease/revoke", {"ID": 77})


def fill_leases(client):
    """50,000 leases, granted ahead on one connection."""
    s, count = client.socket(), 50_000
    for first in range(1, count, 500):
        bodies = [b'{"TTL":9000,"ID":%d}' % i for i in range(first, first + 500)]
        s.sendall(b"".join(b"POST /v3/lease/grant HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(b), b) for b in bodies))
        left = len(bodies)
        while left:
            left -= s.recv(1 << 18).count(b"HTTP/1.1 ")


def keep_posting(path, body):
    def run(client):
        c = client.connection()
        while not client.is_over():
            client.post(path, body, c)
    return run


def ask_every_member(path, body):
    """One after the other, so that the leader and two followers are asked."""
    def run(client):
        opened = [client.connection(member=m) for m in range(len(client.members))]
        while not client.is_over():
            for c in opened:
                client.post(path, body, c)
    return run


def many_compares(client):
    """A transaction with 100,000 empty comparisons, far more than allowed; the server rejects it while decoding."""
    h, body = Http2(client), b"\x0a\x00" * 100_000
    sent = 0
    while not client.is_over():
        h.s.sendall(h.frame(h.HEADERS, 4, h.next_id, h.head(b"/etcdserverpb.KV/Txn")))
        message = b"\0" + struct.pack("!I", len(body)) + body
        for at in range(0, len(message), 16384):
            h.s.sendall(h.frame(h.DATA, at + 16384 >= len(message), h.next_id, message[at:at + 16384]))
        h.next_id += 2
        sent += len(message)
        h.s.sendall(h.frame(8, 0, 0, struct.pack("!I", 1 << 20)))
        h.drain()
        if sent > 4 << 20:
            h.close()
            h, sent = Http2(client), 0


def stream_counts(client):
    """One key of 100,000, and how many there are."""
    h = Http2(client)
    key = b"\x0a\x01k\x12\x01l\x18\x01"
    while not client.is_over():
        h.request(h.head(b"/etcdserverpb.KV/RangeStream"), key)
        h.drain()


def watch_large_revision(client):
    """Ten watchers of a range of which 100,000 keys are deleted at once."""
    streams = []
    for i in range(10):
        w = WebSocket(client, "/v3/watch", "x")
        w.send(create_request={**RANGE, "fragment": i % 2 == 0, "prev_kv": True})
        w.receive()
        streams.append(w)
    client.post("/v3/kv/deleterange", RANGE)
    client.together(len(streams), lambda i: streams[i].receive())


def compact(client):
    got = client.post("/v3/kv/range", {"key": b64(b"k")})
    client.post("/v3/kv/compaction", {"revision": got["header"]["revision"], "physical": True})


def fill_history(client):
    fill(client)
    client.post("/v3/kv/deleterange", RANGE)


OPS = "128 operations in a transaction"
ATTACKS = [
    Attack("lease_keys", "asks for the 100,000 keys of a lease", "none: as etcd", keep_posting("/v3/lease/timetolive", {"ID": 77, "keys": True}), fill_lease,
           short=False),
    Attack("lease_keys_follower", "asks each of three members for the 100,000 keys of a lease", "none: as etcd",
           ask_every_member("/v3/lease/timetolive", {"ID": 77, "keys": True}), fill_lease, members=3, short=False),
    Attack("lease_list", "lists 50,000 leases", "none: as etcd", keep_posting("/v3/lease/leases", {}), fill_leases, short=False),
    Attack("hash_kv", "hashes 100,000 keys", "none: as etcd", keep_posting("/v3/maintenance/hash", {}), fill, short=False),
    Attack("compact", "compacts 200,000 revisions' worth of keys", "none: as etcd", compact, fill_history, short=False),
    Attack("txn_many_compares", "transactions of 100,000 comparisons", "RPC_FIELDS_MAX, --max-txn-ops", many_compares, short=False),
    Attack("stream_counts", "streams one key of 100,000 and counts the others", "none: as etcd", stream_counts, fill, short=False),
    Attack("watch_large_revision", "watches 100,000 keys while they are deleted in one revision", "events of a revision: none, as etcd",
           watch_large_revision, fill, short=False),
    Attack("txn_read_counts", "counts 100,000 keys 128 times in each transaction", OPS, read_counts, fill, short=False),
    Attack("txn_read_sorted", "sorts 100,000 keys by value 16 times in each transaction", OPS, read_sorted, fill),
    Attack("txn_read_filtered", "filters 100,000 keys by revision 64 times in each transaction", OPS, read_filtered, fill, short=False),
    Attack("txn_compares", "compares 100,000 keys 128 times before a put", OPS, write_compares, fill),
    Attack("txn_nested_counts", "counts 100,000 keys in each of 63 nested transactions behind a put", OPS, write_nested_counts, fill,
           short=False),
    Attack("delete_range", "deletes 100,000 keys in one request", "none: as etcd", delete_all, fill),
    Attack("delete_nothing", "deletes a range of 100,000 deleted keys 128 times", OPS, delete_nothing, fill, short=False),
    Attack("lease_revoke", "revokes a lease with 100,000 keys", "none: as etcd", revoke, fill_lease, short=False),
]
