# SPDX-License-Identifier: Apache-2.0
"""HTTP itself, the metrics and health pages, and request bodies."""
import json

from attack import Attack


def keep_asking(method, path, body=None, headers=None):
    def run(client):
        c = client.connection()
        while not client.is_over():
            client.request(method, path, body, headers, c)
    return run


def pipeline(request, times=200):
    """Sends the same request repeatedly, many in one write, and discards the responses."""
    def run(client):
        s = client.socket()
        block = request * times
        while not client.is_over():
            s.sendall(block)
            left = times
            while left > 0:
                data = s.recv(1 << 18)
                if not data:
                    s = client.socket()
                    break
                left -= data.count(b"HTTP/1.1 ")
    return run


def console(client):
    c = client.connection()
    pages = ("", "main.js", "api.js", "ui.js", "style.css", "services.js", "config.js", "keys.js", "diff.js")
    while not client.is_over():
        for page in pages:
            client.request("GET", "/ui/" + page, None, {"Accept-Encoding": "identity"}, c)


def drip_chunks(client):
    """A body of 60,000 chunks of one byte."""
    while not client.is_over():
        s = client.socket()
        s.sendall(b"PUT /api/v1/services/a/instances/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 60000 +
                  b"0\r\n\r\n")
        s.recv(65536)
        s.close()


MANY_KEYS = json.dumps({f"k{i}": i for i in range(18000)}).encode()  # just under 256 KiB
DEEP = b"[" * 199 + b"]" * 199
GATEWAY_KEYS = b'{"key":"YQ==",' + b",".join(b'"x%d":1' % i for i in range(120000)) + b"}"
GATEWAY_DEEP = b'{"success":' + b"[" * 700000 + b"]" * 700000 + b"}"
GATEWAY_TXN = json.dumps({"success": [{"request_put": {"key": "YQ%02d" % (i % 100), "value": "QUFB" * 3900}} for i in range(90)]}).encode()
HEAD_FIELDS = b"GET /version HTTP/1.1\r\nHost: x\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"v" * 150) for i in range(97)) + b"\r\n"
QUERY = "/api/v1/services?" + "&".join(["namespace=%61"] * 1000)

ATTACKS = [
    Attack("metrics", "reads /metrics again and again", "series", keep_asking("GET", "/metrics"), options=("--metrics", "extensive")),
    Attack("openapi", "reads /openapi.json again and again", "routes", keep_asking("GET", "/openapi.json")),
    Attack("console_files", "reads the console's files, not compressed", "size of the files", console, short=False),
    Attack("pipelined", "200 requests in one write", "bytes of a read", pipeline(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")),
    Attack("pipelined_health", "200 health checks in one write", "bytes of a read", pipeline(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), short=False),
    Attack("head_fields", "heads of 97 fields and 16 KiB, pipelined", "100 fields, 17 KiB", pipeline(HEAD_FIELDS, 20), short=False),
    Attack("chunks_of_a_byte", "bodies of 60,000 chunks of one byte", "256 KiB", drip_chunks),
    Attack("query_terms", "a query of 1,000 terms", "16 KiB of head", keep_asking("GET", QUERY), short=False),
    Attack("body_many_keys", "a document of 18,000 unknown keys", "256 KiB", keep_asking("PUT", "/api/v1/services/a/instances/a", MANY_KEYS)),
    Attack("body_deep", "a document of 199 levels", "200 levels", keep_asking("PUT", "/api/v1/services/a/instances/a", b'{"metadata":' + DEEP + b"}"),
           short=False),
    Attack("gateway_many_keys", "a message of 120,000 unknown fields", "--max-request-bytes + 512 KiB", keep_asking("POST", "/v3/kv/put", GATEWAY_KEYS)),
    Attack("gateway_deep", "a message of 700,000 levels", "--max-request-bytes + 512 KiB", keep_asking("POST", "/v3/kv/txn", GATEWAY_DEEP)),
    Attack("gateway_large_txn", "transactions of 1.4 MiB in base64", "--max-request-bytes", keep_asking("POST", "/v3/kv/txn", GATEWAY_TXN)),
]
