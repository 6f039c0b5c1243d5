# SPDX-License-Identifier: Apache-2.0
"""Clients that send requests and do not read: the server bounds the output of each connection and of all."""
import base64
import socket
import struct
import threading
import time

from attack import Attack, Http2, WebSocket

GROWTH_MAX = 64 << 20  # of the daemon's memory, while clients that read nothing send as much as they can
BIG = 1000 * 1000


def rss(client):
    with open(f"/proc/{client.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmRSS"))


class Growth:
    """The daemon's memory growth while the attack runs; a daemon that counts its output must stay within the bound."""

    def __init__(self, client):
        self.client, self.begin, self.most = client, rss(client), 0
        self.has_budget = "cairn_output_queued_bytes" in client.metrics()

    def look(self):
        self.most = max(self.most, rss(self.client) - self.begin)

    def judge(self, bound=GROWTH_MAX, say=""):
        self.look()
        self.client.note(f"grew by {self.most >> 20} MiB{say}")
        if self.has_budget and self.most > bound:
            raise SystemExit(f"the daemon grew by {self.most >> 20} MiB")


def stuff(client, s, data, growth, times=1 << 60):
    """Sends the same bytes repeatedly and reads nothing; returns how often the socket accepted them."""
    s.setblocking(False)
    block, taken = data * max(1, 65536 // len(data)), 0
    while not client.is_over() and taken < times * len(data):
        try:
            taken += s.send(block[taken % len(block):])
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break
        growth.look()
    return taken // len(data)


def frame(payload, first=0x81):
    assert len(payload) < 126
    return bytes([first, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


def wrong_frames(client):
    growth = Growth(client)
    w = WebSocket(client)
    w.send(type="hello")
    w.receive()
    taken = stuff(client, w.s, frame(b'{"type":"subscribe","sid":7,"kind":"service","name":"a","' + b"x" * 60 + b'":1}'), growth, 600000)
    growth.judge(say=f", {taken} wrong frames were taken")


def pings(client):
    growth = Growth(client)
    w = WebSocket(client, "/v3/watch", "x")
    taken = stuff(client, w.s, frame(b"p" * 120, 0x89), growth)
    growth.judge(say=f", {taken} pings were taken")


def gateway_stream(client):
    growth = Growth(client)
    s = client.socket()
    s.sendall(b"POST /v3/watch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    text = b'{"create_request":{"key":"YQ=="}}'
    taken = stuff(client, s, b"%x\r\n%s\r\n" % (len(text), text), growth)
    growth.judge(say=f", {taken} watches were taken")


def pipelined(client):
    growth = Growth(client)
    sockets = [client.socket() for _ in range(20)]
    client.together(len(sockets), lambda i: stuff(client, sockets[i], b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", growth))
    growth.judge(say=" by 20 connections")


def h2_flood(kind, flags, payload, stream=0):
    def run(client):
        growth = Growth(client)
        closed = 0
        while not client.is_over():
            h = Http2(client)
            h.request(h.head(b"/etcdserverpb.Watch/Watch"), end=False)
            before = time.monotonic()
            stuff(client, h.s, h.frame(kind, flags, stream, payload), growth)
            closed += not client.is_over()
            h.close()
            time.sleep(max(0.0, 0.05 - (time.monotonic() - before)))
        growth.judge(say=f", {closed} connections were ended")
    return run


def rapid_reset(client):
    growth = Growth(client)
    closed = 0
    while not client.is_over():
        h = Http2(client)
        block = h.head(b"/etcdserverpb.KV/Range")
        try:
            for stream in range(1, 200001, 2):
                h.s.sendall(h.frame(h.HEADERS, 4, stream, block) + h.frame(h.RST_STREAM, 0, stream, struct.pack("!I", 8)))
                if client.is_over():
                    break
        except OSError:
            closed += 1
        h.close()
        growth.look()
    growth.judge(say=f", {closed} connections were ended")


def window_settings(client):
    """Sends SETTINGS frames that change the windows of a thousand streams, repeatedly."""
    h = Http2(client)
    block = h.head(b"/etcdserverpb.Watch/Watch")
    for stream in range(1, 2001, 2):
        h.s.sendall(h.frame(h.HEADERS, 4, stream, block))
    sizes = struct.pack("!HI", 4, 1 << 17) + struct.pack("!HI", 4, 1 << 16)
    growth = Growth(client)
    stuff(client, h.s, h.frame(h.SETTINGS, 0, 0, sizes * 1000), growth)
    growth.judge()


def fill_big(client):
    for i in range(8):
        client.kv_put(b"big%d" % i, b"v" * BIG)


def read_slowly(client, result):
    """An honest client: one answer of 1.3 MB of JSON, in small pieces over a second or two."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.connect((client.members[0].host, client.members[0].port))
    body = b'{"key":"%s"}' % base64.b64encode(b"big0")
    s.sendall(b"POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    got = b""
    while len(got) < BIG * 4 // 3:
        piece = s.recv(16384)
        if not piece:
            break
        got += piece
        time.sleep(0.01)
    result.append(len(got))


def unread_ranges(client):
    """Ten connections a second request megabytes and read nothing, while another one reads slowly."""
    growth = Growth(client)
    result = []
    honest = threading.Thread(target=read_slowly, args=(client, result))
    honest.start()
    body = b'{"key":"%s","range_end":"%s"}' % (base64.b64encode(b"big"), base64.b64encode(b"bih"))
    request = b"POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    sockets, due = [], time.monotonic()
    while not client.is_over():
        if time.monotonic() >= due:
            due += 0.1
            s = client.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(request)
            sockets.append(s)
        time.sleep(0.01)
        growth.look()
    honest.join(60)
    closed = client.metrics().get('cairn_client_connections_closed_total{reason="output_total"}', 0)
    for s in sockets:
        s.close()
    if not result or result[0] < BIG * 4 // 3:
        raise SystemExit(f"the client that reads slowly got {result}")
    growth.judge(768 << 20,  # the budget, the growth of a second, and the growth of buffers in advance
                  f", {len(sockets)} connections asked, {closed:.0f} were closed; the slow reader got all")


ATTACKS = [
    Attack("ws_wrong_frames", "sends up to 600,000 wrong frames on a WebSocket and reads no error", "64 KiB unread, then no reading",
           wrong_frames, seconds=6),
    Attack("ws_pings", "pings on a WebSocket and reads no pong", "64 KiB unread, then no reading", pings, short=False),
    Attack("gateway_stream", "creates watches in one endless body and reads nothing", "64 KiB unread, then no reading", gateway_stream),
    Attack("pipelined", "20 connections ask for the metrics again and again and read nothing", "one answer at a time", pipelined, short=False),
    Attack("h2_settings", "SETTINGS on one connection as fast as it can", "10,000 frames that ask for nothing, 1,000 a second",
           h2_flood(Http2.SETTINGS, 0, b"")),
    Attack("h2_priority", "PRIORITY frames", "the same", h2_flood(2, 0, b"\0\0\0\0\x10", 1), short=False),
    Attack("h2_empty_data", "empty DATA frames", "the same", h2_flood(Http2.DATA, 0, b"", 1), short=False),
    Attack("h2_ping", "PINGs", "the third early one", h2_flood(Http2.PING, 0, b"12345678"), short=False),
    Attack("h2_continuation", "CONTINUATION frames that end no block", "8 of a block",
           h2_flood(Http2.CONTINUATION, 0, b"", 1), short=False),
    Attack("h2_rapid_reset", "opens and resets streams (CVE-2023-44487)", "10,000 resets, 1,000 a second", rapid_reset),
    Attack("h2_window_settings", "changes the windows of a thousand streams, a thousand times a frame", "costs by the number of streams",
           window_settings),
    Attack("unread_ranges", "ten connections a second ask for 8 MB each and read nothing", "--max-output-bytes", unread_ranges, fill_big,
           seconds=8, short=False),
]
