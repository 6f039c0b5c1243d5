"""Writers and dumps for the tests of `cairnctl migrate`, over etcd's JSON gateway.

migrate.py write URL SEED STOP   random changes until the file STOP exists: puts, deletes, transactions of 1 to 60 keys, leases
                                 granted, renewed, revoked and left to expire, now and then a compaction
migrate.py dump URL              keys with values and leases, leases with TTLs, users, roles; without keys below /cairn/
migrate.py pairs URL             in each of the last 300 revisions the keys that `write` changed in one transaction are equal
"""
import base64
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def call(url, path, body):
    request = urllib.request.Request(url + path, data=json.dumps(body).encode())
    return json.loads(urllib.request.urlopen(request, timeout=60).read())


def put(key, value, lease=0):
    return {"requestPut": {"key": b64(key), "value": b64(value), "lease": str(lease)}}


def write(url, seed, stop):
    rng = random.Random(seed)
    leases, n = [], 0
    while not os.path.exists(stop):
        n += 1
        kind, key = rng.random(), "w%d/%d" % (seed, rng.randrange(300))
        try:
            if kind < 0.4:
                call(url, "/v3/kv/put", {"key": b64(key), "value": b64(os.urandom(rng.randrange(300)))})
            elif kind < 0.5:
                call(url, "/v3/kv/deleterange", {"key": b64(key), "range_end": b64(key + "9")})
            elif kind < 0.6:
                both = "%d/%d" % (seed, n)
                call(url, "/v3/kv/txn", {"success": [put("pair%d/a" % seed, both), put("pair%d/b" % seed, both)]})
            elif kind < 0.75:
                keys = rng.sample(range(300), rng.randrange(1, 60))
                call(url, "/v3/kv/txn", {"success": [put("w%d/%d" % (seed, k), "t%d" % n) for k in keys]})
            elif kind < 0.8:
                lease = call(url, "/v3/lease/grant", {"TTL": str(rng.choice([2, 3, 60, 600]))})["ID"]
                leases.append(lease)
                call(url, "/v3/kv/put", {"key": b64("l%d/%d" % (seed, n)), "value": b64("x"), "lease": lease})
            elif kind < 0.9 and leases:
                lease = rng.choice(leases)
                call(url, "/v3/kv/put", {"key": b64(key), "value": b64("leased"), "lease": lease})
            elif kind < 0.93 and leases:
                call(url, "/v3/lease/revoke", {"ID": leases.pop(rng.randrange(len(leases)))})
            elif kind < 0.96 and leases:
                call(url, "/v3/lease/keepalive", {"ID": rng.choice(leases)})
            elif kind < 0.965:
                revision = int(call(url, "/v3/kv/range", {"key": b64("x")})["header"]["revision"])
                call(url, "/v3/kv/compaction", {"revision": str(max(1, revision - rng.randrange(20)))})
        except urllib.error.HTTPError:
            pass  # a lease that has ended, a revision that is compacted
        time.sleep(0.002)


def all_keys(url, revision=0):
    body = {"key": b64("\0"), "range_end": b64("\0"), "revision": str(revision)}
    for kv in call(url, "/v3/kv/range", body).get("kvs", []):
        key = base64.b64decode(kv["key"])
        if not key.startswith(b"/cairn/"):
            yield key, base64.b64decode(kv.get("value", "")), int(kv.get("lease", 0))


def dump(url):
    for key, value, lease in all_keys(url):
        print("key", key, value, "%x" % lease)
    leases = call(url, "/v3/lease/leases", {}).get("leases", [])
    for id_ in sorted(int(lease["ID"]) for lease in leases):
        ttl = call(url, "/v3/lease/timetolive", {"ID": str(id_), "keys": True})
        keys = sorted(base64.b64decode(k) for k in ttl.get("keys", []))
        if ttl.get("grantedTTL") and not any(k.startswith(b"/cairn/") for k in keys):
            print("lease %x" % id_, ttl["grantedTTL"], keys)
    for user in sorted(call(url, "/v3/auth/user/list", {}).get("users", [])):
        print("user", user, sorted(call(url, "/v3/auth/user/get", {"name": user}).get("roles", [])))
    for role in sorted(call(url, "/v3/auth/role/list", {}).get("roles", [])):
        if role != "root":
            perms = call(url, "/v3/auth/role/get", {"role": role}).get("perm", [])
            print("role", role, sorted(json.dumps(p, sort_keys=True) for p in perms))


def pairs(url):
    latest = int(call(url, "/v3/kv/range", {"key": b64("x")})["header"]["revision"])
    checked = 0
    for revision in range(max(1, latest - 300), latest + 1):
        body = {"key": b64("pair"), "range_end": b64("pais"), "revision": str(revision)}
        kvs = call(url, "/v3/kv/range", body).get("kvs", [])
        values = {base64.b64decode(kv["key"]): kv["value"] for kv in kvs}
        for key, value in values.items():
            other = key[:-1] + (b"b" if key.endswith(b"a") else b"a")
            checked += 1
            if values.get(other) != value:
                sys.exit("revision %d is torn: %r %r, %r %r" % (revision, key, value, other, values.get(other)))
    if not checked:
        sys.exit("no pair was there")


if sys.argv[1] == "write":
    write(sys.argv[2], int(sys.argv[3]), sys.argv[4])
elif sys.argv[1] == "dump":
    dump(sys.argv[2])
else:
    pairs(sys.argv[2])
