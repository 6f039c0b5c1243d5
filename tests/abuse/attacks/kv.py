# SPDX-License-Identifier: Apache-2.0
"""What the key-value API lets a client ask for: transactions, deletions and leases over very many keys."""
from attack import Attack, b64

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
    """128 times over keys that are deleted, and not yet compacted."""
    client.post("/v3/kv/deleterange", RANGE)
    client.post("/v3/kv/txn", {"success": [{"request_delete_range": RANGE}] * 128})


def fill_lease(client):
    client.post("/v3/lease/grant", {"TTL": 9000, "ID": 77})
    for i in range(0, KEYS, 128):
        puts = [{"request_put": {"key": b64(b"k%08d" % k), "value": b64(b"v" * 256), "lease": 77}} for k in range(i, min(i + 128, KEYS))]
        client.post("/v3/kv/txn", {"success": puts})


def revoke(client):
    client.post("/v3/lease/revoke", {"ID": 77})


OPS = "128 operations in a transaction"
ATTACKS = [
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
