# SPDX-License-Identifier: Apache-2.0
"""Lists, filters, long polls, http_sd and the views of the registry."""
import time

from attack import Attack, b64


def tiny_metadata(size=8 * 1024, value=""):
    """The largest number of keys that fits in a document of 8 KiB; half of them differ only in characters that a label cannot hold."""
    letters = [chr(c) for c in range(33, 127) if chr(c) not in '"\\']
    names = letters + [a + b for a in letters for b in letters]
    metadata, used = {}, 0
    for name in names[:4090]:
        used += len(name) + len(value)
        if used > size:
            break
        metadata[name] = value
    return metadata


def fat_instances(count, value=""):
    def setup(client):
        ports = {f"p{i}": 9000 + i for i in range(32)}
        document = {"host": "10.0.0.1", "port": 8080, "ports": ports, "metadata": tiny_metadata(value=value), "tags": [f"t{i:02}" for i in range(64)]}
        client.fill_instances("fat", count, lambda n: document, ops=16)
    return setup


def fill(count, service="large"):
    def setup(client):
        client.fill_instances(service, count, lambda i: {"host": f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", "port": 8080, "zone": "abc"[i % 3],
                                                         "version": "1.2.3", "tags": ["a", "b"], "metadata": {"build": str(i)}})
    return setup


def fill_services(count):
    return lambda client: client.fill_instances(lambda i: f"s{i:06d}", count)


def once(path):
    return lambda client: client.request("GET", path)


def keep_reading(path):
    def run(client):
        c = client.connection()
        while not client.is_over():
            client.request("GET", path, connection=c)
    return run


LABELS = "&".join(f"label={k}=x" for k in ("zz", "zy", "zx", "zw", "zv", "zu", "zt", "zs", "zr", "zq", "zp", "zo", "zn", "zm", "zl", "zk"))


# --- long polls ---
def wait_all(client, path, count):
    """Sockets with a pending long poll each."""
    status, _ = client.request("GET", path)
    assert status in (200, 404), status
    sockets = [client.socket() for _ in range(count)]
    request = f"GET {path}{'&' if '?' in path else '?'}wait_revision={1 << 40}&timeout=60s HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    revision = client.expect("GET", path)["revision"]
    request = request.replace(str(1 << 40).encode(), str(revision).encode())
    for s in sockets:
        s.sendall(request)
    time.sleep(1)
    return sockets, request


def polls(count, path, change, setup=None):
    """Long polls for one result that changes: each gets a response and polls again."""
    def before(client):
        if setup:
            setup(client)
        client.register("polled", "i", {"host": "h", "port": 1, "ttl": 600})
        client.sockets, client.wanted = wait_all(client, path, count)

    def run(client):
        for n in range(3):
            change(client, n)
            for s in client.sockets:
                s.settimeout(30)
                data = s.recv(1 << 18)
                if not data.startswith(b"HTTP/1.1 200"):
                    client.note(f"answered {data[:60]!r}")
                    return
                head, _, body = data.partition(b"\r\n\r\n")
                size, got = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]), len(body)
                while got < size:
                    got += len(s.recv(1 << 18))
                revision = head.split(b"X-Cairn-Revision: ")[1].split(b"\r\n")[0]
                s.sendall(client.wanted[:client.wanted.index(b"wait_revision=") + 14] + revision + b"&timeout=60s HTTP/1.1\r\nHost: x\r\n\r\n")
            if client.is_over():
                break
            time.sleep(0.5)
    return {"setup": before, "run": run}


def change_polled(client, n):
    client.register("polled", "i", {"host": "h", "port": 2 + n, "ttl": 600})


def change_large(client, n):
    client.register("large", "i000000", {"host": "h", "port": 2 + n, "ttl": 600})


# --- many at once ---
def delete_range(prefix):
    def run(client):
        client.post("/v3/kv/deleterange", {"key": b64(prefix), "range_end": b64(prefix[:-1] + chr(ord(prefix[-1]) + 1))})
        time.sleep(1)
    return run


def sessions(count, each):
    """Sessions with instances, all of which end at once."""
    def setup(client):
        c = client.connection()
        client.sessions = []
        for n in range(count):
            s = client.expect("POST", "/api/v1/sessions", {"ttl": 300}, connection=c)["session"]
            client.sessions.append(s)
            ops = []
            for i in range(each):
                key = f"/cairn/registry/instances/default/default/held{n % 10}/i{n}-{i}"
                ops.append({"request_put": {"key": b64(key), "value": b64('{"host":"h","port":1,"session":"%s"}' % s)}})
                if len(ops) == 128 or i == each - 1:
                    client.post("/v3/kv/txn", {"success": ops}, c)
                    ops = []

    def run(client):
        def end(n):
            c = client.connection()
            for s in client.sessions[n::4]:
                client.request("DELETE", f"/api/v1/sessions/{s}", connection=c)
        client.together(4, end)
        while not client.is_over():
            time.sleep(0.1)
    return {"setup": setup, "run": run}


def revoke(client):
    """The clients have died: the instances stay, and the janitor marks them as lost."""
    c = client.connection()
    for s in client.sessions:
        client.post("/v3/lease/revoke", {"ID": int(s, 16)}, c)
    while not client.is_over():
        time.sleep(0.1)
    lost = client.metrics()["cairn_registry_lost_total"]
    client.note(f"lost so far: {lost:.0f}, held: {client.metrics()['cairn_registry_guarded_instances']:.0f}")


def after_start(client):
    """The measurement begins when the daemon serves; the time before that delays no client and is printed in a note."""
    longest = max((v, n) for n, v in client.metrics().items() if n.startswith("cairn_loop_turn_longest_seconds"))
    client.note(f"the longest turn of the start: {longest[0] * 1000:.1f} ms, {longest[1].split(chr(34))[1]}")
    while not client.is_over():
        time.sleep(0.1)


def projected(count):
    def setup(client):
        client.kv_fill(count, lambda i: b"/naming/old/10.0.0.1:%d" % (i + 1), lambda i: b'{"Op":0,"Addr":"10.0.0.1:%d"}' % (i + 1))
    return setup


def churn_projected(client):
    c, n = client.connection(), 0
    while not client.is_over():
        first = n % 78 * 128
        ops = [{"request_put": {"key": b64(f"/naming/old/10.0.0.1:{i + 1}"),
                                "value": b64('{"Op":0,"Addr":"10.0.0.%d:%d"}' % (n % 250, i + 1))}} for i in range(first, first + 128)]
        client.post("/v3/kv/txn", {"success": ops}, c)
        n += 1


def churn(client):
    """Registrations of the largest documents, one after the other, in eight connections."""
    ports = {f"p{i}": 9000 + i for i in range(32)}

    def work(k):
        c, n = client.connection(), 0
        while not client.is_over():
            client.register("churn", f"i{k}-{n % 20}", {"host": "10.0.0.1", "port": 1 + n % 60000, "ports": ports, "metadata": tiny_metadata(), "ttl": 60}, c)
            n += 1
    client.together(8, work)


def send_refused(client):
    """Documents of 256 KiB in fields that nobody knows, in four connections."""
    document = {f"{i:x}": 1 for i in range(20000)}

    def work(k):
        c = client.connection()
        while not client.is_over():
            client.request("PUT", f"/api/v1/services/refused/instances/i{k}", document, connection=c)
    client.together(4, work)


ATTACKS = [
    Attack("prometheus_metadata", "reads /sd/prometheus of twelve instances with 4,000 keys of metadata and 32 ports each",
           "8 KiB of metadata, 32 ports", once("/sd/prometheus"), fat_instances(12)),
    Attack("prometheus_values", "the same with a value for each key: 30 MiB", "8 KiB of metadata, 32 ports", once("/sd/prometheus"), fat_instances(12, "v"),
           short=False),
    Attack("prometheus_service", "http_sd of one service among 20,000", "services", keep_reading("/sd/prometheus?service=nope"), fill_services(20000), short=False),
    Attack("prometheus_tags", "http_sd of 500 instances with 64 tags, filtered by 16", "16 filters, 64 tags",
           keep_reading("/sd/prometheus?" + "&".join(["tag=t63"] * 15 + ["tag=no"])), fat_instances(500), short=False),
    Attack("list_services", "lists 10,000 services", "10,000 a page", keep_reading("/api/v1/services?limit=10000"), fill_services(10000),
           short=False),
    Attack("list_1000", "lists 1,000 services a page, of 5,000", "10,000 a page", keep_reading("/api/v1/services?limit=1000"), fill_services(5000)),
    Attack("list_prefix", "lists services of all groups by a prefix that none has", "services",
           keep_reading("/api/v1/services?group=*&prefix=zzz"), fill_services(20000), short=False),
    Attack("service_10000", "reads a service of 10,000 instances", "instances of a service", keep_reading("/api/v1/services/large"), fill(10000)),
    Attack("service_1000", "reads a service of 1,000 instances", "instances of a service", keep_reading("/api/v1/services/large"), fill(1000)),
    Attack("service_100000", "reads a service of 100,000 instances", "instances of a service", keep_reading("/api/v1/services/large"), fill(100000), short=False),
    Attack("service_zone", "the same, ordered by zone, in traffic only", "instances of a service",
           keep_reading("/api/v1/services/large?zone=c&region=x&healthy=true"), fill(10000), short=False),
    Attack("labels_filter", "16 labels asked of 200 instances with 4,000 keys each", "16 filters, 8 KiB of metadata",
           keep_reading(f"/api/v1/services/fat?{LABELS}"), fat_instances(200)),
    Attack("fat_service", "reads a service of 200 instances with 4,000 keys each", "8 KiB of metadata", keep_reading("/api/v1/services/fat"), fat_instances(200),
           short=False),
    Attack("register_largest", "registers documents of 8 KiB of metadata in eight connections", "8 KiB of metadata", churn, short=False),
    Attack("register_refused", "sends documents with 20,000 unknown fields", "256 KiB, 1,024 values beside the metadata", send_refused, short=False),
    Attack("polls_2000", "2,000 long polls of one service, which changes", "connections", **polls(2000, "/api/v1/services/polled", change_polled)),
    Attack("polls_large", "200 long polls of a service of 10,000 instances, which changes", "connections",
           **polls(200, "/api/v1/services/large", change_large, fill(10000)), short=False),
    Attack("delete_100000", "deletes 100,000 instances by one request of etcd's API", "keys of a request",
           delete_range("/cairn/registry/instances/"), fill(100000), short=False),
    Attack("delete_10000", "deletes 10,000 instances by one request of etcd's API", "keys of a request", delete_range("/cairn/registry/instances/"), fill(10000)),
    Attack("sessions_end", "1,000 sessions with 10,000 instances end at once", "sessions", **sessions(1000, 10)),
    Attack("session_dies", "a session with 100,000 instances loses its lease", "instances of a namespace", revoke, sessions(1, 100000)["setup"],
           seconds=8, short=False),
    Attack("sessions_die", "2,000 sessions with 100,000 instances lose their leases", "sessions", revoke, sessions(2000, 50)["setup"], seconds=8,
           short=False),
    Attack("session_of_many", "a session with 20,000 instances ends", "instances of a session", **sessions(1, 20000), short=False),
    Attack("start_100000", "the start with 100,000 instances, from when it serves", "instances", after_start, fill(100000), short=False,
           restart=True),
    Attack("projection", "changes of 10,000 projected keys", "keys of a projection", churn_projected, projected(10000),
           options=("--registry-projections", "grpc=/naming/"), short=False),
]
