# SPDX-License-Identifier: Apache-2.0
"""Users with very many roles and roles with very many permissions: the cost of their requests and of a change of a role."""
import time

from attack import Attack, b64
from attacks.registry import sessions
from rpc import KEEP_ALIVE, TXN, WATCH, Drain, Grpc, fill_keys, framed, message, number, put, text, txn, watch_create

USER_ADD, USER_GRANT_ROLE = b"/etcdserverpb.Auth/UserAdd", b"/etcdserverpb.Auth/UserGrantRole"
ROLE_ADD, ROLE_GRANT = b"/etcdserverpb.Auth/RoleAdd", b"/etcdserverpb.Auth/RoleGrantPermission"
ROLES, PERMISSIONS = 200, 256  # of the user that asks
LARGEST = 4096  # permissions of a role
USERS = 5000
STREAMS = 10_000
LEASE, LEASE_KEYS = 77, 100_000


def user(name):
    return text(1, name) + b"\x1a\x02\x08\x01"  # without a password


def permission(role, key, end=b""):
    return text(1, role) + message(2, b"\x08\x02" + text(2, key) + text(3, end))  # to read and write


def key(role, n):
    """Spreads the permissions over all roles in turn, so that no two permissions of a role can be merged."""
    return b"key/%05d/%04d" % (n, role)


def enable(client):
    """Users `root` and `big`, whose tokens the clients show from here on."""
    for name in ("root", "big"):
        client.post("/v3/auth/user/add", {"name": name, "password": "secret"})
    client.post("/v3/auth/role/add", {"name": "root"})
    client.post("/v3/auth/user/grant", {"user": "root", "role": "root"})
    client.post("/v3/auth/enable", {})
    client.token = [client.post("/v3/auth/authenticate", {"name": "root", "password": "secret"})["token"]]


def token_of_big(client):
    return client.post("/v3/auth/authenticate", {"name": "big", "password": "secret"})["token"].encode()


def fill_roles(roles, permissions):
    def setup(client):
        enable(client)
        g, token = Grpc(client), client.token[0].encode()
        g.many(ROLE_ADD, (text(1, b"r%d" % r) for r in range(roles)), token)
        for r in range(roles):
            g.many(ROLE_GRANT, (permission(b"r%d" % r, key(r, n)) for n in range(permissions)), token)
        g.many(USER_GRANT_ROLE, (text(1, b"big") + text(2, b"r%d" % r) for r in range(roles)), token)
        g.close()
    return setup


def change_roles(client, role=b"r0"):
    """Grants a permission repeatedly; each grant changes the role."""
    g, n = Grpc(client), 0
    while not client.is_over():
        n += g.many(ROLE_GRANT, [permission(role, b"more/%d" % (n % 100))], client.token[0].encode())
    g.close()
    return n


def requests(client):
    """Transactions of 128 puts by the user with very many permissions, while a role of its changes."""
    token, g = token_of_big(client), Grpc(client)
    body = txn([put(key(n % ROLES, n % PERMISSIONS)) for n in range(128)])

    def work(k):
        if k:
            return change_roles(client)
        sent = 0
        while not client.is_over():
            sent += g.many(TXN, [body] * 20, token)
        return sent
    sent, changes = client.together(2, work)
    client.note(f"{sent} transactions, {changes} changes of a role")


def largest_role(client):
    client.note(f"{change_roles(client)} changes of the role")


def watch_all(client):
    """Ten thousand streams of the user with very many permissions."""
    fill_roles(ROLES, PERMISSIONS)(client)
    token = token_of_big(client)
    opened = [Grpc(client) for _ in range(100)]
    client.watching = Drain(opened)
    for g in opened:
        for _ in range(STREAMS // len(opened)):
            g.s.sendall(g.call(WATCH, watch_create(key(1, 1)), end=False, token=token)[1])
    while client.metrics().get("etcd_debugging_mvcc_watcher_total", 0) < STREAMS:
        time.sleep(0.1)


def many_users(client):
    """Adds users and roles, and grants each user a role."""
    g, token, n = Grpc(client), client.token[0].encode(), 0
    while not client.is_over() and n < USERS:
        names = range(n, n + 500)
        g.many(USER_ADD, (user(b"u%d" % i) for i in names), token)
        g.many(ROLE_ADD, (text(1, b"r%d" % i) for i in names), token)
        g.many(USER_GRANT_ROLE, (text(1, b"u%d" % i) + text(2, b"r%d" % i) for i in names), token)
        n += 500
    g.close()
    client.note(f"{n} users")


def fill_lease(client):
    client.post("/v3/lease/grant", {"TTL": 9000, "ID": LEASE})
    fill_keys(client, LEASE_KEYS, lease=lambda i: LEASE)
    enable(client)
    client.post("/v3/auth/role/add", {"name": "r0"})
    client.post("/v3/auth/role/grant", {"name": "r0", "perm": {"permType": 2, "key": b64("k"), "range_end": b64("l")}})
    client.post("/v3/auth/user/grant", {"user": "big", "role": "r0"})


def lease_puts(client):
    """A put with a lease requires WRITE permission on all keys of the lease."""
    g, token = Grpc(client), token_of_big(client)
    body = txn([put(b"k%08d" % n, b"", LEASE) for n in range(128)])
    while not client.is_over():
        g.many(TXN, [body], token)


def lease_keep_alives(client):
    """A keep-alive requires WRITE permission on all keys of the lease."""
    token = token_of_big(client)
    while not client.is_over():
        g = Grpc(client)
        g.count()
        stream, frames = g.call(KEEP_ALIVE, end=False, token=token)
        g.s.sendall(frames + g.data(stream, framed(number(1, LEASE)) * 5000, end=True))
        g.wait(1)
        g.close()


def fill_session(client):
    """A session of 20,000 instances, which `big` may write."""
    sessions(1, 20000)["setup"](client)
    enable(client)
    client.post("/v3/auth/role/add", {"name": "r0"})
    client.post("/v3/auth/role/grant", {"name": "r0", "perm": {"permType": 2, "key": b64("/cairn/registry/"), "range_end": b64("/cairn/registry0")}})
    client.post("/v3/auth/user/grant", {"user": "big", "role": "r0"})


def session_heartbeats(client):
    """A heartbeat asks for the right to write all instances of the session."""
    client.token, sent = [token_of_big(client).decode()], 0
    c = client.connection()
    while not client.is_over():
        client.expect("PUT", f"/api/v1/sessions/{client.sessions[0]}/heartbeat", connection=c)
        sent += 1
    client.note(f"{sent} heartbeats")


LIMIT = "1,024 roles of a user, 4,096 permissions of a role"
ATTACKS = [
    Attack("auth_requests", f"a user with {ROLES} roles of {PERMISSIONS} permissions writes while a role changes", LIMIT, requests,
           fill_roles(ROLES, PERMISSIONS), short=False),
    Attack("auth_largest_role", "changes a role of 4,096 permissions", LIMIT, largest_role, fill_roles(1, LARGEST)),
    Attack("auth_streams", "changes a role of the user that has 10,000 streams open", LIMIT, largest_role, watch_all, short=False),
    Attack("auth_users", "adds 5,000 users and as many roles", "65,536 users, 65,536 roles", many_users, enable, short=False),
    Attack("auth_lease_puts", "writes 128 keys into a lease of 100,000 that it must have the right to write", "none: as etcd", lease_puts, fill_lease,
           short=False),
    Attack("auth_keep_alives", "keeps a lease of 100,000 keys alive 5,000 times in a write", "none: as etcd", lease_keep_alives, fill_lease,
           short=False),
    Attack("auth_session", "heartbeats of a session with 20,000 instances that it must have the right to write", "none", session_heartbeats, fill_session,
           short=False),
]
