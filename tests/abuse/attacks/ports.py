# SPDX-License-Identifier: Apache-2.0
"""Silent clients on every port: 10,000 sockets that are idle or send a byte a second, from ten addresses. Some have finished a handshake, others
not. The attack is cheap for the attacker. The result is a ratio: another client's p99 with them to its p99 without them, of one prober in one run.
The attacker runs at the lowest priority, so that what is measured is the daemon and not this process."""
import os
import select
import signal
import socket
import ssl
import time

from attack import Attack, Http2, WebSocket
from attacks.silent_clients import allow_files

SOURCES = [f"127.0.0.{66 + k}" for k in range(10)]
BEGINS_A_SECOND = 100  # new connections in place of closed ones; silent_clients.py opens them as fast as it can
SETTLE_S = 4  # handshakes that wait, after all have come at once
TICKS = 50  # per second; each sends a byte on one of fifty sockets
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Http2.frame(Http2.SETTINGS, 0, 0, b"")


def client_hello():
    """The ClientHello of a TLS client, with ALPN."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


class Herd:
    """`count` sockets; each sends `words` at once and then `drip`, a byte a second."""

    def __init__(self, host, port, count, words, drip):
        self.address, self.words, self.drip = (host, port), words, drip
        self.wanted, self.opened, self.lost = allow_files(count), 0, 0
        self.sockets, self.said, self.poll = {}, {}, select.epoll()

    def begin_one(self):
        s = socket.socket()
        s.settimeout(5)
        try:
            s.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: ports are given when it connects
            s.bind((SOURCES[self.opened % len(SOURCES)], 0))
            s.connect(self.address)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(self.words)
            s.setblocking(False)
        except OSError:
            s.close()
            self.lost += 1
            return
        self.opened += 1
        self.sockets[s.fileno()], self.said[s.fileno()] = s, 0
        self.poll.register(s.fileno(), select.EPOLLRDHUP)

    def end_one(self, fd):
        self.poll.unregister(fd)
        self.sockets.pop(fd).close()
        self.said.pop(fd)
        self.lost += 1

    def see_lost(self):
        for fd, _ in self.poll.poll(0, 20000):
            self.end_one(fd)

    def fill(self, end):
        while self.opened < self.wanted and time.monotonic() < end:
            self.begin_one()
        self.see_lost()

    def say(self, tick):
        for fd in [f for f in self.sockets if f % TICKS == tick % TICKS] if self.drip else ():
            at = self.said[fd]
            try:
                self.sockets[fd].send(self.drip[at % len(self.drip):][:1])
                self.said[fd] = at + 1
            except BlockingIOError:
                pass
            except OSError:
                self.end_one(fd)

    def hold(self, client):
        tick = 0
        while not client.is_over():
            self.see_lost()
            for _ in range(min(BEGINS_A_SECOND // TICKS, self.wanted - len(self.sockets))):
                self.begin_one()
            self.say(tick)
            tick += 1
            time.sleep(1 / TICKS)

    def close(self):
        for s in self.sockets.values():
            s.close()
        self.poll.close()


def rss_kib(client):
    with open(f"/proc/{client.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def compared(client, attack):
    """`attack` returns a function that keeps the attack going and one that makes a note; it opens what it needs before the measurement."""
    time.sleep(0.5)
    length = max(1.0, client.seconds / 2)
    with client.phase("without silent clients"):
        time.sleep(length)
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    before = rss_kib(client)
    try:
        hold, note = attack(client)
        time.sleep(SETTLE_S)
        client.begin()
        client.end = time.monotonic() + length
        with client.phase("with silent clients"):
            hold(client)
        client.note(note() + f", {(rss_kib(client) - before) / 1024:.1f} MiB")
    finally:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        except OSError:
            pass


def herd(port, words=b"", drip=b"", count=10000):
    def run(client):
        herds = []

        def attack(client):
            m = client.members[0]
            h = Herd(m.host, getattr(m, port), count, words() if callable(words) else words, drip() if callable(drip) else drip)
            herds.append(h)
            h.fill(time.monotonic() + 60)
            return h.hold, lambda: f"{h.opened} connections were opened, {len(h.sockets)} are open, {h.lost} were closed"
        try:
            compared(client, attack)
        finally:
            for h in herds:
                h.close()
    return run


def end_at_once(port, words):
    """4,000 connections that end while the daemon stands still: all ends come in one turn. The other client's puts wait meanwhile, too."""
    def run(client):
        m = client.members[0]
        h = Herd(m.host, getattr(m, port), 4000, words() if callable(words) else words, b"")
        h.fill(time.monotonic() + 60)
        time.sleep(SETTLE_S)
        h.see_lost()
        count = len(h.sockets)
        os.kill(client.pid, signal.SIGSTOP)
        try:
            h.close()
        finally:
            os.kill(client.pid, signal.SIGCONT)
        time.sleep(2)
        client.note(f"{count} connections ended at once")
    return run


def bursts(port, count):
    """ClientHellos on `count` connections at once, ten times a second."""
    def run(client):
        bursts_seen = []

        def hold(client):
            m, hello = client.members[0], client_hello()
            while not client.is_over():
                sockets = []
                for k in range(count):
                    s = socket.create_connection((m.host, getattr(m, port)), 5, (SOURCES[k % len(SOURCES)], 0))
                    sockets.append(s)
                for s in sockets:
                    try:
                        s.sendall(hello)
                    except OSError:
                        pass
                time.sleep(0.1)
                for s in sockets:
                    s.close()
                bursts_seen.append(len(sockets))
        compared(client, lambda _: (hold, lambda: f"{len(bursts_seen)} bursts of {count}"))
    return run


def first_byte(text):
    return lambda: text()[:1]


def rest(text):
    return lambda: text()[1:]


def silent_websockets(client):
    streams = []

    def attack(client):
        for _ in range(1000):
            streams.append(WebSocket(client))
            streams.append(WebSocket(client, "/v3/watch", "x"))
        return wait, lambda: f"{len(streams)} WebSockets"

    def wait(client):
        while not client.is_over():
            time.sleep(0.05)
    try:
        compared(client, attack)
    finally:
        for w in streams:
            w.close()


HEAD = b"GET /version HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = b"POST /v3/kv/put HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1500000\r\n\r\n{"
CONTINUATION = PREFACE + Http2.frame(Http2.HEADERS, 0, 1, b"\x83") + Http2.frame(Http2.CONTINUATION, 4, 1, b"x" * 4000)[:9]
SERVED = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
PEER_HELLO = b"\x5a\0\0\x01"  # the length of a HELLO; its checksum comes later
DNS_LENGTH = b"\0\x40"

OPENING = "--max-opening-connections, …-per-source"
UNAUTHENTICATED = "64 unauthenticated ones, 5 s each"
DNS = "256, idle for 10 s; the source with the most makes room"


def port_attack(name, says, limit, run, short=False):
    return Attack(name, says, limit, run, seconds=8, every_port=True, short=short)


ATTACKS = [
    port_attack("client_idle", "10,000 sockets to the client port say nothing", OPENING, herd("port")),
    port_attack("client_heads", "10,000 request heads at a byte a second", OPENING + ", 10 s a head", herd("port", HEAD, b"x")),
    port_attack("client_bodies", "10,000 request bodies at a byte a second", OPENING + ", 8 KiB/s", herd("port", BODY, b" ")),
    port_attack("client_continuation", "10,000 CONTINUATION frames of HTTP/2 at a byte a second", OPENING + ", 10 s",
                herd("port", CONTINUATION, b"x")),
    port_attack("client_h2_silent", "10,000 HTTP/2 connections: preface and SETTINGS, then nothing", OPENING, herd("port", PREFACE)),
    port_attack("client_served", "10,000 connections that asked once and then say nothing", "all connections", herd("port", SERVED)),
    port_attack("client_websockets", "2,000 WebSockets that say nothing", "all connections", silent_websockets),
    port_attack("tls_idle", "10,000 sockets to the client port with TLS say nothing", OPENING, herd("tls")),
    port_attack("tls_hello", "10,000 ClientHellos at a byte a second", OPENING + ", 10 s", herd("tls", first_byte(client_hello), rest(client_hello)),
                short=True),
    port_attack("tls_handshakes", "100 whole ClientHellos a second, of which nothing follows", "one handshake a ms of the loop", herd("tls", client_hello)),
    port_attack("peer_idle", "10,000 sockets to the peer port say nothing", UNAUTHENTICATED, herd("peer")),
    port_attack("peer_hello", "10,000 HELLOs at a byte a second", UNAUTHENTICATED, herd("peer", PEER_HELLO, b"x")),
    port_attack("peer_tls_idle", "10,000 sockets to the peer port with TLS say nothing", UNAUTHENTICATED, herd("peer_tls")),
    port_attack("peer_tls_hello", "10,000 ClientHellos to the peer port at a byte a second", UNAUTHENTICATED,
                herd("peer_tls", first_byte(client_hello), rest(client_hello)), short=True),
    port_attack("peer_tls_handshakes", "100 whole ClientHellos a second to the peer port, of which nothing follows", UNAUTHENTICATED,
                herd("peer_tls", client_hello)),
    port_attack("tls_bursts", "60 whole ClientHellos at once, ten times a second", "one handshake a ms of the loop", bursts("tls", 60)),
    port_attack("peer_tls_bursts", "60 whole ClientHellos at once to the peer port, ten times a second", "one handshake a ms of the loop",
                bursts("peer_tls", 60)),
    port_attack("client_ends", "4,000 connections with a request body end at once", OPENING, end_at_once("port", BODY)),
    port_attack("tls_ends", "4,000 connections with a ClientHello end at once", OPENING, end_at_once("tls", client_hello)),
    port_attack("dns_idle", "10,000 connections for DNS say nothing", DNS, herd("dns")),
    port_attack("dns_dribble", "10,000 questions at a byte a second", DNS, herd("dns", DNS_LENGTH, b"x")),
    port_attack("metrics_idle", "10,000 sockets to the metrics port say nothing", OPENING, herd("metrics")),
    port_attack("metrics_heads", "10,000 request heads to the metrics port at a byte a second", OPENING + ", 10 s a head",
                herd("metrics", HEAD, b"x")),
]
