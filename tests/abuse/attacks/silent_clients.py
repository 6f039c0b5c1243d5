# SPDX-License-Identifier: Apache-2.0
"""Clients that open connections and say little or nothing, from one address, while others come from elsewhere."""
import resource
import socket
import threading
import time

from attack import Attack, Http2, WebSocket

ATTACKER, NEWCOMER = "127.0.0.66", "127.0.0.2"


def dial(client, source=ATTACKER, port=None, timeout_s=20):
    m = client.members[0]
    s = socket.create_connection((m.host, port or m.port), timeout=timeout_s, source_address=(source, 0))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


class Newcomers:
    """A new client at another address: it connects, sends one request and reads its response, again and again. Its times show what the attack costs
    it."""

    def __init__(self, client):
        self.client, self.took_ms, self.failed, self.over = client, [], 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over.is_set():
            begin = time.monotonic()
            try:
                s = dial(self.client, NEWCOMER)
                s.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                self.failed += b" 200 " not in s.recv(4096)
                s.close()
                self.took_ms.append((time.monotonic() - begin) * 1000)
            except OSError:
                self.failed += 1
            self.over.wait(0.01)

    def judge(self, say=""):
        self.over.set()
        self.thread.join()
        took = sorted(self.took_ms) or [float("inf")]
        metrics = self.client.metrics()
        self.client.note(f"newcomers from another address: {len(self.took_ms)} served, p50 {took[len(took) // 2]:.1f}, p99 "
                         f"{took[min(len(took) - 1, int(len(took) * 0.99))]:.1f} ms, {self.failed} not{say}")
        if 'cairn_client_connections{state="opening"}' in metrics:
            opening = metrics['cairn_client_connections{state="opening"}']
            evicted = metrics['cairn_client_connections_closed_total{reason="opening_evicted"}']
            self.client.note(f"{opening:.0f} opening, {evicted:.0f} made room")
            if self.failed:
                raise SystemExit(f"{self.failed} newcomers were not served")


def allow_files(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 500), hard), hard))
    return min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 400)


def silent_clients(count, open_one, drip=b"", port=lambda m: m.port):
    """Opens `count` connections as fast as it can, and new ones in place of closed ones; each then sends `drip`, a byte a second."""
    def run(client):
        newcomers = Newcomers(client)
        wanted, sockets, opened, at = allow_files(count), [], 0, 0
        where = port(client.members[0])
        try:
            while not client.is_over():
                for _ in range(100):
                    if len(sockets) < wanted:
                        try:
                            s = dial(client, port=where)
                            open_one(s)
                            s.setblocking(False)
                            sockets.append(s)
                            opened += 1
                        except OSError:
                            break
                at += 1
                if drip and at % 20 == 0:
                    for s in sockets:
                        try:
                            s.send(drip[at // 20 % len(drip):][:1])
                        except OSError:
                            pass
                time.sleep(0.002 if len(sockets) < wanted else 0.05)
        finally:
            newcomers.judge(f"; {opened} connections were opened from one address")
            for s in sockets:
                s.close()
    return run


def nothing(s):
    del s


def half_close(s):
    s.sendall(b"GET /v")
    s.shutdown(socket.SHUT_WR)


def begin_head(s):
    s.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")


def begin_body(s):
    s.sendall(b"POST /v3/kv/put HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1500000\r\n\r\n{")


def begin_h2(s):
    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def settings(s):
    begin_h2(s)
    s.sendall(Http2.frame(Http2.SETTINGS, 0, 0, b""))


def ask_once(s):
    s.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")


def begin_dns(s):
    s.sendall(b"\0\x40\x12")


def begin_peer(s):
    s.sendall(b"\x5a\0\0\x01")


def silent_sockets(client):
    newcomers = Newcomers(client)
    streams = []
    while not client.is_over() and len(streams) < 1000:
        streams.append(WebSocket(client))
        streams.append(WebSocket(client, "/v3/watch", "x"))
    while not client.is_over():
        time.sleep(0.05)
    newcomers.judge(f"; {len(streams)} silent WebSockets")
    for w in streams:
        w.close()


OPENING = "--max-opening-connections-per-source"
ATTACKS = [
    Attack("idle_sockets", "10,000 sockets from one address say nothing", OPENING, silent_clients(10000, nothing), seconds=8),
    Attack("slow_heads", "3,000 request heads come at a byte a second", OPENING + ", 10 s a head", silent_clients(3000, begin_head, b"x"), seconds=8),
    Attack("blank_lines", "3,000 clients send blank lines", OPENING + ", 20 s", silent_clients(3000, nothing, b"\r\n"), short=False),
    Attack("slow_bodies", "3,000 bodies come at a byte a second", OPENING + ", 8 KiB/s", silent_clients(3000, begin_body, b" "), seconds=8, short=False),
    Attack("no_settings", "3,000 HTTP/2 prefaces without SETTINGS", OPENING + ", 10 s", silent_clients(3000, begin_h2)),
    Attack("no_calls", "3,000 HTTP/2 connections without a call", OPENING, silent_clients(3000, settings), short=False),
    Attack("half_closed", "half a request, and the sending side is shut", "closed at once", silent_clients(3000, half_close), short=False),
    Attack("unread_pages", "1,000 clients ask for a page once and read nothing", "--output-stall-timeout", silent_clients(1000, ask_once)),
    Attack("silent_websockets", "1,000 WebSockets say nothing", "hello within 10 s, pings", silent_sockets, short=False),
    Attack("dns_tcp", "3,000 DNS connections over TCP with half a length", "256, the source with the most makes room",
           silent_clients(3000, begin_dns, port=lambda m: m.dns)),
    Attack("peer_port", "3,000 connections to the peer port that begin a hello", "64, the address with the most makes room",
           silent_clients(3000, begin_peer, port=lambda m: m.peer)),
]
