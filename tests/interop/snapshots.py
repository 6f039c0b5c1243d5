"""Random stores over the HTTP gateway that etcd and Cairn both have.

    snapshots.py fill URL SEED [open] [many COUNT]
                                   writes keys, leases, users, roles, compactions and large values; raises an alarm; enables
                                   authentication as root ("open": neither). One seed in six has thousands of keys; "many": COUNT
                                   records besides
    snapshots.py dump URL [START]  prints all of that in one form, one fact a line: the keys and HashKV at every revision that is
                                   kept (at 60, 10 or 2 of them if they are many), leases with their time, passwords of users, alarms.
                                   START: a restored server started then (Unix time), and no lease may have lost more time
"""
import base64
import hashlib
import json
import random
import sys
import time
import urllib.error
import urllib.request


TOKEN = {}
ROOT = {"name": "root", "password": "secret"}
REVISIONS, REVISIONS_OF_MANY, REVISIONS_OF_MOST = 60, 10, 2


def call(path, **body):
    request = urllib.request.Request(URL + path, data=json.dumps(body).encode(), headers=TOKEN)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def attempt(path, **body):
    """The answer, or the error's text."""
    try:
        return call(path, **body)
    except urllib.error.HTTPError as e:
        return {"refused": "not in 3.4" if e.code == 404 else json.loads(e.read()).get("message")}


def log_in():
    token = attempt("/v3/auth/authenticate", **ROOT).get("token")
    if token:
        TOKEN["Authorization"] = token


def text(b):
    return base64.b64encode(b).decode()


def fill(seed, is_open):
    rng = random.Random(seed)
    keys = [b"k%d" % i for i in range(rng.randint(1, 60))] + [b"\x00\xff", b"sp ace", "schlüssel".encode()]
    leases = [call("/v3/lease/grant", TTL=str(rng.randint(1000, 90000)), ID=str(rng.randint(1, 2**62)))["ID"]
              for _ in range(rng.randint(0, 5))]
    revision = 1
    if "many" in sys.argv:
        fill_many(rng, int(sys.argv[sys.argv.index("many") + 1]))
    if rng.random() < 1 / 6:
        fill_large(rng)
    for _ in range(rng.randint(20, 300)):
        draw = rng.random()
        if draw < 0.6:
            lease = rng.choice(leases) if leases and rng.random() < 0.3 else "0"
            reply = call("/v3/kv/put", key=text(rng.choice(keys)), value=text(rng.randbytes(rng.randint(0, 300))), lease=lease)
        elif draw < 0.8:
            reply = call("/v3/kv/deleterange", key=text(rng.choice(keys)))
        elif draw < 0.97:
            several = rng.sample(keys, min(len(keys), rng.randint(1, 8)))
            ops = [{"requestPut": {"key": text(k), "value": text(b"t%d" % rng.randint(0, 9)),
                                    "lease": rng.choice(leases) if leases and rng.random() < 0.2 else "0"}} if rng.random() < 0.7
                   else {"requestDeleteRange": {"key": text(k)}} for k in several]
            reply = call("/v3/kv/txn", success=ops)
        elif revision > 3:
            # Not at the latest revision: there etcd answers HashKV from its memory (deviation hashkv-remembered).
            at = rng.randint(2, revision - 1)
            if at > fill.compacted:
                call("/v3/kv/compaction", revision=str(at), physical=True)
                fill.compacted = at
            continue
        else:
            continue
        revision = int(reply["header"]["revision"])
    for _ in range(rng.choice([0, 0, 1, 3])):
        call("/v3/kv/put", key=text(b"large"), value=text(rng.randbytes(rng.randint(3000, 1400000))))
    if leases and rng.random() < 0.5:
        call("/v3/lease/revoke", ID=leases.pop())
    if rng.random() < 0.3:  # nothing is left
        call("/v3/kv/deleterange", key=text(b"\0"), range_end=text(b"\0"))
    for i in range(rng.randint(0, 4)):
        call("/v3/auth/role/add", name=f"role{i}")
        call("/v3/auth/role/grant", name=f"role{i}",
             perm={"permType": rng.choice(["READ", "WRITE", "READWRITE"]), "key": text(b"a%d" % i), "range_end": text(b"b")})
        if rng.random() < 0.3:
            call("/v3/auth/user/add", name=f"user{i}", options={"noPassword": True})
        else:
            call("/v3/auth/user/add", name=f"user{i}", password=f"secret {i}")
        call("/v3/auth/user/grant", user=f"user{i}", role=f"role{rng.randint(0, i)}")

    if is_open:
        return
    if rng.random() < 0.3:
        call("/v3/auth/user/add", **ROOT)
        call("/v3/auth/role/add", name="root")
        call("/v3/auth/user/grant", user="root", role="root")
        call("/v3/auth/enable")
        log_in()
    if rng.random() < 0.25:
        me = call("/v3/maintenance/status")["header"]["member_id"]
        call("/v3/maintenance/alarm", action="ACTIVATE", alarm="NOSPACE", memberID=me)


def fill_many(rng, count):
    """So many records of 100 bytes, a tenth of them second versions."""
    for start in range(0, count, 100):
        key = start if start < count * 9 // 10 else start - count * 9 // 10
        ops = [{"requestPut": {"key": text(b"m%07d" % i), "value": text(rng.randbytes(rng.randint(0, 150)))}} for i in range(key, key + 100)]
        call("/v3/kv/txn", success=ops)


def fill_large(rng):
    """Branch pages of several levels, overflow pages, and up to 128 revisions in one record of the log."""
    count, longest = rng.randint(2000, 6000), rng.choice([100, 3000, 9000])
    for start in range(0, count, 100):
        ops = [{"requestPut": {"key": text(b"n%06d" % i), "value": text(rng.randbytes(rng.randint(0, longest)))}}
               for i in range(start, start + 100)]
        call("/v3/kv/txn", success=ops)


fill.compacted = 0


def short(kv):
    """A long value becomes its hash."""
    if len(kv.get("value", "")) > 500:
        kv["value"] = hashlib.sha256(kv["value"].encode()).hexdigest()
    return json.dumps(kv, sort_keys=True)


def all_keys(revision):
    found, key = [], b"\0"
    while True:
        reply = call("/v3/kv/range", key=text(key), range_end=text(b"\0"), revision=str(revision), limit="1000")
        found += [short(kv) for kv in reply.get("kvs", [])]
        if not reply.get("more"):
            return found, reply
        key = base64.b64decode(reply["kvs"][-1]["key"]) + b"\0"


def hash_of(revision):
    try:
        reply = call("/v3/maintenance/hashkv", revision=str(revision))
    except urllib.error.HTTPError as e:
        if e.code != 404:
            return json.loads(e.read()).get("message")
        reply = call("/v3/maintenance/hash")  # of all that there is: 3.4 has no other
    return reply["hash"], reply.get("hash_revision"), reply.get("compact_revision")


def oldest_kept(now):
    """The revision of the compaction, or 1: the first one that a read may name."""
    low, high = 1, now
    while low < high:
        middle = (low + high) // 2
        if "refused" in attempt("/v3/kv/range", key=text(b"k"), revision=str(middle)):
            low = middle + 1
        else:
            high = middle
    return low


def dump_revisions(now, key_count):
    print("hash", *hash_of(0))
    oldest = oldest_kept(now)
    if oldest > 1:  # there etcd answers HashKV from its memory (deviation hashkv-remembered)
        oldest += 1
    many = REVISIONS if key_count < 1000 else REVISIONS_OF_MANY if key_count < 100000 else REVISIONS_OF_MOST
    step = max(1, (now - oldest) // many)
    for revision in range(oldest, now, step):
        found, _ = all_keys(revision)
        print("at", revision, len(found), hashlib.sha256("\n".join(found).encode()).hexdigest())
        print("hash at", revision, hash_of(revision))


def dump_lease(lease):
    m = call("/v3/lease/timetolive", ID=lease, keys=True)
    elapsed = int(m["grantedTTL"]) - int(m["TTL"])
    most = time.time() - float(sys.argv[3]) + 2 if len(sys.argv) > 3 else elapsed
    print("lease", m["ID"], m["grantedTTL"], sorted(m.get("keys", [])), "whole" if 0 <= elapsed <= most else f"{elapsed} s are gone")


def dump():
    log_in()
    found, reply = all_keys(0)
    for kv in found:
        print("key", kv)
    print("revision", reply["header"]["revision"])
    dump_revisions(int(reply["header"]["revision"]), len(found))
    for lease in sorted(call("/v3/lease/leases").get("leases", []), key=lambda m: int(m["ID"])):
        dump_lease(lease["ID"])
    for user in call("/v3/auth/user/list").get("users", []):
        print("user", user, call("/v3/auth/user/get", name=user).get("roles"))
        if user.startswith("user"):
            reply = attempt("/v3/auth/authenticate", name=user, password=f"secret {user[4:]}")
            print("password", user, "token" in reply, reply.get("refused"))
    print("auth", json.dumps({k: v for k, v in attempt("/v3/auth/status").items() if k != "header"}, sort_keys=True))
    for role in call("/v3/auth/role/list").get("roles", []):
        print("role", role, json.dumps(call("/v3/auth/role/get", role=role).get("perm"), sort_keys=True))
    print("alarms", call("/v3/maintenance/alarm").get("alarms", []))


URL = sys.argv[2]
if sys.argv[1] == "fill":
    fill(int(sys.argv[3]), "open" in sys.argv)
else:
    dump()
