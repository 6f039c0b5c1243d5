"""Random work on an etcd, and all that can be read of a server, over the HTTP gateway that etcd and Cairn both have.

    import.py work URL SEED     keys, txns, leases, compactions, users and roles; odd seeds enable authentication and write
                                with two users, of whom one is denied some keys
    import.py large URL COUNT   COUNT values of 1 MiB
    import.py dump URL          prints the keys at several revisions with HashKV, leases, users, roles, alarms; lines with
                                "new:" are not of etcd 3.4
"""
import base64
import json
import random
import sys
import urllib.error
import urllib.request

TOKEN = {}


def call(path, by=None, **body):
    headers = {"Authorization": TOKEN[by]} if by in TOKEN else {}
    request = urllib.request.Request(URL + path, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def attempt(path, by=None, **body):
    """A call that may be refused: by a condition, a permission, or a name that is taken."""
    try:
        return call(path, by, **body)
    except urllib.error.HTTPError as e:
        return {"refused": json.loads(e.read()).get("message")}


def text(b):
    return base64.b64encode(b).decode()


def login(user):
    TOKEN[user] = call("/v3/auth/authenticate", name=user, password="secret")["token"]


def txn(rng, keys):
    several = rng.sample(keys, min(len(keys), rng.randint(1, 8)))
    ops = [{"requestPut": {"key": text(k), "value": text(b"t%d" % rng.randint(0, 9))}} if rng.random() < 0.7
           else {"requestDeleteRange": {"key": text(k)}} for k in several]
    other = [{"requestPut": {"key": text(several[0]), "value": text(b"else")}}]
    condition = [{"key": text(rng.choice(keys)), "target": "VERSION", "result": "GREATER", "version": str(rng.randint(0, 4))}]
    return dict(compare=condition, success=ops, failure=other)


def grow_auth(rng, i):
    by = "root" if "root" in TOKEN else None
    attempt("/v3/auth/role/add", by, name=f"role{i % 5}")
    attempt("/v3/auth/role/grant", by, name=f"role{i % 5}",
            perm={"permType": rng.choice(["READ", "WRITE", "READWRITE"]), "key": text(b"a%d" % i), "range_end": text(b"b")})
    attempt("/v3/auth/user/add", by, name=f"user{i}", password="secret%d" % i)
    attempt("/v3/auth/user/grant", by, user=f"user{i}", role=f"role{rng.randint(0, 4)}")
    if rng.random() < 0.3:
        attempt("/v3/auth/user/delete", by, name=f"user{rng.randint(0, i)}")
    if rng.random() < 0.3:
        attempt("/v3/auth/user/changepw", by, name=f"user{i}", password="other")
    if rng.random() < 0.2:
        attempt("/v3/auth/role/delete", by, role=f"role{rng.randint(0, 4)}")


def enable_auth():
    call("/v3/auth/user/add", name="root", password="secret")
    call("/v3/auth/role/add", name="root")
    call("/v3/auth/user/grant", user="root", role="root")
    call("/v3/auth/user/add", name="app", password="secret")
    call("/v3/auth/role/add", name="app")
    call("/v3/auth/role/grant", name="app", perm={"permType": "READWRITE", "key": text(b"k1"), "range_end": text(b"k3")})
    call("/v3/auth/user/grant", user="app", role="app")
    call("/v3/auth/enable")
    login("root")
    login("app")


def work(seed):
    rng = random.Random(seed)
    keys = [b"k%d" % i for i in range(rng.randint(5, 60))] + [b"\x00\xff", b"sp ace", "schlüssel".encode()]
    leases, revision, compacted, auth_at = [], 1, 0, 40 if seed % 2 else None
    for i in range(rng.randint(150, 400)):
        if i == auth_at:
            enable_auth()
        user = rng.choice(["root", "root", "app"]) if TOKEN else None
        draw, reply = rng.random(), {}
        if draw < 0.5:
            lease = rng.choice(leases) if leases and rng.random() < 0.3 else "0"
            reply = attempt("/v3/kv/put", user, key=text(rng.choice(keys)), value=text(rng.randbytes(rng.randint(0, 300))), lease=lease)
        elif draw < 0.65:
            reply = attempt("/v3/kv/deleterange", user, key=text(rng.choice(keys)))
        elif draw < 0.8:
            reply = attempt("/v3/kv/txn", user, **txn(rng, keys))
        elif draw < 0.88:
            reply = attempt("/v3/lease/grant", user, TTL=str(rng.randint(1000, 90000)), ID=str(rng.randint(1, 2**62)))
            leases += [reply["ID"]] if "ID" in reply else []
        elif draw < 0.91 and leases:
            reply = attempt("/v3/lease/revoke", user, ID=leases[-1])
            if "refused" not in reply:
                leases.pop()
        elif draw < 0.94:
            grow_auth(rng, i)
        elif revision > 3 and draw < 0.96:
            at = rng.randint(2, revision - 1)
            if at > compacted:
                attempt("/v3/kv/compaction", "root", revision=str(at))
                compacted = at
        if "header" in reply and "refused" not in reply:
            revision = int(reply["header"].get("revision", revision))


def large(count):
    for i in range(count):
        call("/v3/kv/put", key=text(b"large%d" % (i % 7)), value=text(random.Random(i).randbytes(1 << 20)))


def ask(path, field, **body):
    """A field of the answer, or why there is none; etcd 3.4 does not have every path."""
    try:
        return call(path, "root", **body).get(field)
    except urllib.error.HTTPError as e:
        return "not in 3.4" if e.code == 404 else json.loads(e.read()).get("message")


def dump():
    try:
        login("root")
    except urllib.error.HTTPError:
        pass
    everything = {"key": text(b"\0"), "range_end": text(b"\0")}
    now = call("/v3/kv/range", "root", **everything)
    last = int(now["header"]["revision"])
    print("revision", last)
    print("new: auth revision", ask("/v3/auth/status", "authRevision"))
    for at in sorted({last, last - 1, last - 7, last * 3 // 4, last // 2, last // 4, 2}):
        reply = attempt("/v3/kv/range", "root", revision=str(max(at, 1)), **everything)
        print("at", at, reply.get("refused"))
        print("new: hash", ask("/v3/maintenance/hashkv", "hash", revision=str(max(at, 1))))
        for kv in reply.get("kvs", []):
            print("key", json.dumps(kv, sort_keys=True))
    for lease in sorted(call("/v3/lease/leases", "root").get("leases", []), key=lambda m: int(m["ID"])):
        m = call("/v3/lease/timetolive", "root", ID=lease["ID"], keys=True)
        left = int(m["grantedTTL"]) - int(m["TTL"])
        print("lease", m["ID"], m["grantedTTL"], sorted(m.get("keys", [])), "whole" if left < 60 else left)
    users = call("/v3/auth/user/list", "root").get("users", [])
    for user in users:
        print("user", user, call("/v3/auth/user/get", "root", name=user).get("roles"))
    for user in users[-6:] if TOKEN else []:
        words = [w for w in ("secret", "secret" + user[4:], "other")
                 if "token" in attempt("/v3/auth/authenticate", name=user, password=w)]
        print("password", user, words)
    for role in call("/v3/auth/role/list", "root").get("roles", []):
        print("new: role" if role == "root" else "role", role, json.dumps(call("/v3/auth/role/get", "root", role=role).get("perm"), sort_keys=True))
    print("alarms", call("/v3/maintenance/alarm", "root").get("alarms", []))


URL = sys.argv[2]
if sys.argv[1] == "work":
    work(int(sys.argv[3]))
elif sys.argv[1] == "large":
    large(int(sys.argv[3]))
else:
    dump()
