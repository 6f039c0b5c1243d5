# SPDX-License-Identifier: Apache-2.0
"""Configurations whose contents are costly to check, write, compare or list. Archives are in archives.py."""
import base64
import json
import time

from attack import Attack, WebSocket, b64

MIB = 1 << 20


def filled(line, size=MIB - 1000):
    """Numbered lines up to the size: {} is the number."""
    out, used, n = [], 0, 0
    while True:
        text = line.format(n)
        if used + len(text) > size:
            return "".join(out).encode()
        out.append(text)
        used += len(text)
        n += 1


def contents():
    """The costliest contents of each format, by name."""
    return {
        "anchors.yaml": b"- &a x\n" + filled("- *a # {}\n", 900000),
        "keys.yaml": filled("k{}: 1\n", 450000),
        "keys.json": b"{" + filled('"{}":1,', MIB - 1000) + b'"x":1}',
        "keys.toml": filled("k{} = 1\n"),
        "tables.toml": filled("[a{}.b.c]\n"),
        "deepest.json": b'{"a":' * 150000 + b"1" + b"}" * 150000,
        "lists.json": b"[" * 500000 + b"]" * 500000,
        "deepest.yaml": b"- " * 500000,
        "flow.yaml": b"[" * 500000 + b"]" * 500000,
        "nested.xml": b"<a>" * 149000 + b"</a>" * 149000,
        "nested.toml": b"a = " + b"[" * 500000 + b"]" * 500000,
        "keys.properties": filled("k{}=1\n"),
        "lines.properties": b"a=\\\n" + b"x\\\n" * 340000,
        "attributes.xml": b"<a " + filled(" a{}=''", MIB - 1000) + b"/>",
        "escapes.txt": b"\x01" * (MIB - 1000),
        "quotes.txt": b'"\n' * (MIB // 2 - 500),
    }


def publish_all(client):
    """Four connections publish the costliest contents of every format."""
    bodies = list(contents().items())

    def publish(n):
        c, i = client.connection(), n
        while not client.is_over():
            name, body = bodies[i % len(bodies)]
            client.expect("PUT", f"/api/v1/configs/{n}-{name}", body + b"\n" * (i % 7), connection=c, status=(200, 400, 429))
            i += 1
        c.close()
    client.together(4, publish)


def publish_beside(client):
    """Twelve connections send hostile YAML; a note tells how long a small publish of another configuration takes."""
    body, waits = contents()["anchors.yaml"], []

    def publish(n):
        c = client.connection()
        while not client.is_over():
            if n:
                client.expect("PUT", f"/api/v1/configs/hostile{n}.yaml?validate=only", body, connection=c, status=(200, 400, 429))
            else:
                begin = time.monotonic()
                client.expect("PUT", "/api/v1/configs/small.yaml", f"a: {len(waits)}\n".encode(), connection=c)
                waits.append(time.monotonic() - begin)
        c.close()
    client.together(13, publish)
    waits.sort()
    if waits:
        client.note(f"the small publishes: median {waits[len(waits) // 2] * 1000:.1f} ms, longest {waits[-1] * 1000:.1f} ms")


def put_drafts(client):
    c = client.connection()
    while not client.is_over():
        client.expect("PUT", "/api/v1/configs/draft.txt/draft", b"\x01" * MIB, connection=c, status=(200, 204, 429))
    c.close()


def bundles(client):
    c, n = client.connection(), 0
    while not client.is_over():
        n += 1
        items = [{"name": f"b{i}.yaml", "content": f"n: {n}\n" + filled("k{}: 1\n", 15000).decode()} for i in range(64)]
        client.expect("POST", "/api/v1/bundles", {"publish": items}, connection=c, status=(200, 404, 429))
    c.close()


def stream_publishes(client):
    ws, rid = WebSocket(client), 0
    ws.send(type="hello", client_id="abuse")
    ws.receive()
    text = contents()["keys.yaml"].decode()
    while not client.is_over():
        rid += 1
        frame = {"type": "publish", "rid": rid, "name": "streamed.yaml", "content": text + f"# {rid}\n"}
        ws.send_raw(0x81, json.dumps(frame, separators=(",", ":")).encode())
        ws.receive()
    ws.close()


def two_releases(client):
    for letter in "ab":
        client.expect("PUT", "/api/v1/configs/lines.txt", f"{letter}\n".encode() * (MIB // 2))


def compare(client):
    c = client.connection()
    while not client.is_over():
        client.request("GET", "/api/v1/configs/lines.txt/diff", connection=c)
        client.request("GET", "/api/v1/configs/lines.txt/diff?meta=true", connection=c)
    c.close()


def many_large(client):
    for i in range(60):
        client.expect("PUT", f"/api/v1/configs/large{i:02d}.txt", (b"%d" % i + b'"\n' * (MIB // 2))[:MIB - 1])


def subscribe_all(client):
    while not client.is_over():
        ws = WebSocket(client)
        ws.send(type="hello", client_id="abuse")
        ws.receive()
        ws.send(type="subscribe", sid=1, kind="configs", prefix="")
        for _ in range(3):
            ws.receive()
        ws.close()


def long_history(client):
    c = client.connection()
    for i in range(40):
        client.expect("PUT", "/api/v1/configs/history.txt", (b"%d" % i + b'"\n' * (MIB // 2))[:MIB - 1], connection=c)
    c.close()


def read_history(client):
    c, n = client.connection(), 0
    while not client.is_over():
        n += 1
        client.request("GET", "/api/v1/configs/history.txt/history?limit=1000", connection=c)
        client.request("GET", f"/api/v1/configs/history.txt?seq={n % 40 + 1}&meta=true", connection=c)
        client.expect("POST", "/api/v1/configs/history.txt/rollback", {"seq": n % 40 + 1}, connection=c, status=(200, 429))
    c.close()


def publish_in_a_loop(client):
    c, n, refused = client.connection(), 0, 0
    while not client.is_over():
        n += 1
        status, _ = client.request("PUT", "/api/v1/configs/loop.txt", b"%d " % n + b"x" * (MIB - 100), connection=c)
        refused += status == 429
    c.close()
    values = client.metrics()
    client.note(f"{n} publishes of 1 MiB, {refused} refused; {values.get('cairn_config_collected_young_releases_total', 0):.0f} "
                f"collected; alarm: {'NOSPACE' in str(client.request('GET', '/health'))}")


def many_small(client):
    """10,000 heads, as any etcd client may write them."""
    c, body = client.connection(), b"a: 1\n"
    client.expect("PUT", "/api/v1/configs/model.yaml", body, connection=c)
    status, text = client.request("POST", "/v3/kv/range", {"key": b64("/cairn/config/heads/default/default/model.yaml")}, connection=c)
    assert status == 200, text
    head = base64.b64decode(json.loads(text)["kvs"][0]["value"])
    client.kv_fill(10000, lambda i: f"/cairn/config/heads/many/g/item{i:05d}.yaml".encode(), lambda i: head)
    c.close()


def list_many(client):
    c = client.connection()
    while not client.is_over():
        client.expect("GET", "/api/v1/configs?namespace=many&group=*&limit=10000", connection=c)
        client.expect("GET", "/api/v1/configs?namespace=many&group=*&limit=1000", connection=c)
    c.close()


def many_releases(client):
    """A page of history: 1,000 releases with the longest notes."""
    c = client.connection()
    for i in range(1000):
        items = [{"name": "noted.txt", "content": str(i), "title": '"' * 250, "note": '"' * 4000}]
        client.expect("POST", "/api/v1/bundles", {"publish": items}, connection=c)
    c.close()


def read_page(client):
    c = client.connection()
    while not client.is_over():
        client.expect("GET", "/api/v1/configs/noted.txt/history?limit=1000", connection=c)
    c.close()


def gray_rules(client):
    """One configuration with the largest number of rules, each of the largest size."""
    c = client.connection()
    client.expect("PUT", "/api/v1/configs/gray.txt", b"live", connection=c)
    match = {f"key{k:02d}": [f"{v}" + "v" * 50 for v in range(4)] for k in range(15)}
    for i in range(16):
        rule = {"content": f"gray {i}", "match": {**match, "ip": [f"10.{i}.{k}.0/24" for k in range(10)]}, "percent": 50}
        status, text = client.request("PUT", f"/api/v1/configs/gray.txt/gray/rule{i:02d}", rule, connection=c)
        if status not in (200, 413):
            raise SystemExit(f"a gray rule: {status} {text[:300]!r}")
    c.close()


def ask_gray(client):
    wanted = "%2C".join(f"key{k:02d}%3D3" + "v" * 50 for k in range(15))

    def ask(n):
        c, i = client.connection(), 0
        while not client.is_over():
            i += 1
            if n:
                client.expect("GET", f"/api/v1/configs/gray.txt?labels={wanted}&client_id=c{i}", connection=c)
            else:
                client.expect("PUT", "/api/v1/configs/gray.txt", f"live {i}".encode(), connection=c)
        c.close()
    client.together(4, ask)


SMALL = ("--quota-backend-bytes", str(128 * MIB), "--config-history-max-bytes", str(16 * MIB), "--config-releases-kept", "3",
         "--compaction-batch-limit", "100")
ATTACKS = [
    Attack("publish_formats", "publishes 1 MiB of the costliest content of each format on four connections", "--config-max-bytes",
           publish_all),
    Attack("publish_beside", "has twelve hostile documents checked at once, beside small publishes", "contents that wait for a check",
           publish_beside),
    Attack("drafts", "puts a draft of 1 MiB of control characters over and over", "--config-max-bytes", put_drafts),
    Attack("bundles", "publishes bundles of 64 YAML documents, 960 KiB together", "half of --max-txn-ops", bundles),
    Attack("stream_publish", "publishes 450 KB of YAML keys in stream frames", "--config-max-bytes", stream_publishes),
    Attack("diff", "compares two releases of 524,288 lines that have none in common", "DIFF_EDITS_MAX, DIFF_STEPS_MAX", compare,
           two_releases, restart=True),
    Attack("subscribe", "subscribes to 60 contents of 1 MiB that were not read yet", "128 reads at once", subscribe_all, many_large,
           restart=True),
    Attack("history", "reads and rolls back a history of 40 releases of 1 MiB", "1,000 releases a page", read_history, long_history,
           restart=True),
    Attack("list", "lists 10,000 configurations, in pages of 10,000 and of 1,000", "limit=10000", list_many, many_small, restart=True),
    Attack("history_page", "reads pages of 1,000 releases with notes of 4,000 bytes", "1,000 releases a page", read_page, many_releases,
           restart=True),
    Attack("gray", "publishes and reads a configuration with the most gray rules", "16 rules, 64 KiB a head", ask_gray, gray_rules),
    Attack("loop", "publishes 1 MiB in a loop, within a quota of 128 MiB", "--config-history-max-bytes", publish_in_a_loop,
           options=SMALL, seconds=20, short=False),
]
