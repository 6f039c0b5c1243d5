# SPDX-License-Identifier: Apache-2.0
"""Attacks and their tools: a daemon, and clients of it that use plain sockets."""
import base64
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from typing import Callable

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "shell"))
from ports import free_ports  # noqa: E402

START_S = 180  # for a slow machine; a start takes under a second


@dataclasses.dataclass
class Attack:
    name: str
    says: str  # one sentence: what the client does
    limit: str  # the limit that bounds it, or that should
    run: Callable  # run(client) returns when client.is_over(), or after one round
    setup: Callable = None  # setup(client) writes what the attack needs; it is not measured
    options: tuple = ()  # of the daemon
    members: int = 1
    seconds: float = 4  # how long it runs in the full form
    short: bool = True  # also in CI's form
    restart: bool = False  # the daemon is restarted between setup and run, because the setup does the same work
    every_port: bool = False  # listens with TLS for clients and members as well, and on a port for metrics


APART = []  # words before the daemon's and the other client's command lines: run.py --apart


class Member:
    """One process and its addresses."""

    def __init__(self, binary, folder, name, base, cluster, options, every_port=False):
        self.name, self.host, self.port, self.peer, self.dns = name, "127.0.0.1", base, base + 1, base + 2
        self.tls, self.peer_tls, self.metrics = base + 3, base + 4, base + 5
        self.folder = folder
        url, clients, peers = f"http://127.0.0.1:{self.port}", "", ""
        if every_port:
            clients, peers = f",https://127.0.0.1:{self.tls}", f",https://127.0.0.1:{self.peer_tls}"
            options = ("--auto-tls", "--peer-auto-tls", "--listen-metrics-urls", f"http://127.0.0.1:{self.metrics}", *options)
        self.command = [binary, "--name", name, "--data-dir", f"{folder}/{name}",
                        "--listen-client-urls", url + clients, "--advertise-client-urls", url,
                        "--listen-peer-urls", f"http://127.0.0.1:{self.peer}{peers}",
                        "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer}",
                        "--initial-cluster", cluster, "--initial-cluster-token", "abuse",
                        "--listen-dns", f"127.0.0.1:{self.dns}", "--unsafe-no-fsync", *options]
        self.process = None

    def start(self):
        with open(f"{self.folder}/{self.name}.log", "ab") as log:
            self.process = subprocess.Popen([*APART, *self.command], stdout=log, stderr=log)
        try:
            os.setpriority(os.PRIO_PROCESS, self.process.pid, -20)  # the load of other programs on this machine is not measured
        except OSError:
            pass  # not root: the bound allows for it

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def serves(self):
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} has ended with {self.process.returncode}: {self.log()[-600:]}")
        try:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def log(self):
        with open(f"{self.folder}/{self.name}.log", encoding="utf-8", errors="replace") as log:
            return log.read()


class Client:
    """The tools of an attack. Methods that send requests use the first member unless another is given."""

    def __init__(self, binary, folder, attack, seconds):
        base = free_ports(30)
        names = [f"m{i + 1}" for i in range(attack.members)]
        cluster = ",".join(f"{n}=http://127.0.0.1:{base + 10 * i + 1}" for i, n in enumerate(names))
        self.members = [Member(binary, folder, n, base + 10 * i, cluster, attack.options, attack.every_port) for i, n in enumerate(names)]
        self.seconds, self.end = seconds, None
        self.stopped = threading.Event()
        self.token = []  # the token of every request, when the daemon has users
        self.notes = []  # lines printed below the attack's row
        self.phases = {}  # name: (begin, end, seconds of CPU); the other client's latencies are printed for each

    # --- the daemon's life ---
    def start(self):
        for m in self.members:
            m.start()
        end = time.monotonic() + START_S
        for m in self.members:
            while not m.serves():
                if time.monotonic() > end:
                    raise SystemExit(f"{m.name} does not serve within {START_S} s")
                time.sleep(0.05)

    def stop(self):
        for m in self.members:
            m.stop()

    def restart(self):
        self.stop()
        self.start()

    def running(self):
        """Numbers of the members whose processes run."""
        return [i for i, m in enumerate(self.members) if m.process.poll() is None]

    @property
    def pid(self):
        return self.members[0].process.pid

    # --- the attack's time ---
    def begin(self):
        self.end = time.monotonic() + self.seconds
        self.stopped.clear()

    def is_over(self):
        return self.stopped.is_set() or time.monotonic() >= self.end

    def note(self, text):
        self.notes.append(text)

    @contextlib.contextmanager
    def phase(self, name):
        begin, cpu_s = time.monotonic(), self.cpu_s()
        yield
        self.phases[name] = (begin, time.monotonic(), self.cpu_s() - cpu_s)

    def cpu_s(self):
        """The CPU time that the daemon has used."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # --- HTTP ---
    def connection(self, timeout_s=120, member=0):
        m = self.members[member]
        return http.client.HTTPConnection(m.host, m.port, timeout=timeout_s)

    def request(self, method, path, body=None, headers=None, connection=None, member=0):
        """Status and bytes; a body that is not bytes is sent as JSON."""
        c = connection or self.connection(member=member)
        if body is not None and not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
        c.request(method, path, body, {**(headers or {}), **{"Authorization": t for t in self.token}})
        answer = c.getresponse()
        text = answer.read()
        if not connection:
            c.close()
        return answer.status, text

    def expect(self, method, path, body=None, headers=None, connection=None, status=(200, 201, 204)):
        got, text = self.request(method, path, body, headers, connection)
        if got not in status:
            raise SystemExit(f"{method} {path[:100]}: {got} {text[:300]!r}")
        return json.loads(text) if text[:1] in b"{[" and text else text

    def post(self, path, body, connection=None):
        return self.expect("POST", path, body, connection=connection)

    def socket(self, timeout_s=120, member=0):
        m = self.members[member]
        s = socket.create_connection((m.host, m.port), timeout=timeout_s)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    # --- keys ---
    def kv_put(self, key, value=b"", connection=None):
        return self.post("/v3/kv/put", {"key": b64(key), "value": b64(value)}, connection)

    def kv_fill(self, count, key=lambda i: b"k%08d" % i, value=lambda i: b"", ops=128):
        """Many keys in few transactions."""
        c = self.connection()
        for at in range(0, count, ops):
            ops_here = [{"request_put": {"key": b64(key(i)), "value": b64(value(i))}} for i in range(at, min(at + ops, count))]
            self.post("/v3/kv/txn", {"success": ops_here}, c)
        c.close()

    # --- the registry ---
    def register(self, service, instance, document, connection=None, query=""):
        return self.expect("PUT", f"/api/v1/services/{service}/instances/{instance}{query}", document, connection=connection)

    def fill_instances(self, service, count, document=lambda i: {"host": "10.0.0.1", "port": 8080}, ids=lambda i: f"i{i:06d}",
                       namespace="default", group="default", ops=128):
        """Writes instances as keys, which is many times faster than one registration after the other."""
        services = service if callable(service) else lambda i: service
        prefix = f"/cairn/registry/instances/{quote(namespace)}/{quote(group)}/"
        self.kv_fill(count, lambda i: (prefix + quote(services(i)) + "/" + quote(ids(i))).encode(),
                     lambda i: json.dumps(document(i)).encode(), ops)

    # --- many at once ---
    def together(self, count, work):
        """Runs work(n) in `count` threads and raises an exception of any of them."""
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            return list(pool.map(work, range(count)))

    def metrics(self, member=0):
        """Name with labels to value."""
        status, text = self.request("GET", "/metrics", member=member)
        assert status == 200
        values = {}
        for line in text.decode().splitlines():
            if line and line[0] != "#":
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values


class WebSocket:
    """A stream of /api/v1/stream, or any other WebSocket of the daemon."""

    def __init__(self, client, path="/api/v1/stream", protocol="cairn.v1+json", headers="", timeout_s=120, deflate=False):
        self.s, self.buffer = client.socket(timeout_s), b""
        key = base64.b64encode(os.urandom(16)).decode()
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
        self.s.sendall((f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\n"
                        f"{extension}{headers}\r\n").encode())
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise OSError(head)

    def fill(self):
        data = self.s.recv(1 << 18)
        if not data:
            raise OSError("closed")
        self.buffer += data

    def send_raw(self, first, payload):
        n = len(payload)
        head = struct.pack("!BB", first, 0x80 | n) if n < 126 else struct.pack("!BBH", first, 0xFE, n) if n < 65536 \
            else struct.pack("!BBQ", first, 0xFF, n)
        self.s.sendall(head + b"\0\0\0\0" + payload)  # masked with zeros

    def send(self, **frame):
        self.send_raw(0x81, json.dumps(frame).encode())

    def receive(self):
        """The next message's opcode and bytes."""
        def need(n):
            while len(self.buffer) < n:
                self.fill()
        need(2)
        first, n, head = self.buffer[0], self.buffer[1] & 127, 2
        if n == 126:
            need(4)
            n, head = struct.unpack("!H", self.buffer[2:4])[0], 4
        elif n == 127:
            need(10)
            n, head = struct.unpack("!Q", self.buffer[2:10])[0], 10
        need(head + n)
        payload, self.buffer = self.buffer[head:head + n], self.buffer[head + n:]
        return first, payload

    def close(self):
        self.s.close()


class Http2:
    """HTTP/2 by hand, to send frames that no library would send."""
    DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9

    def __init__(self, client, timeout_s=120, member=0):
        self.s, self.next_id = client.socket(timeout_s, member), 1
        self.s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(self.SETTINGS, 0, 0, b""))

    @staticmethod
    def frame(kind, flags, stream, payload):
        return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload

    @staticmethod
    def literal(name, value, indexing=0x00):
        """A header field in literal form; indexing 0x40: into the dynamic table."""
        def string(text):
            return Http2.integer(len(text), 7) + text
        return bytes([indexing]) + string(name) + string(value)

    @staticmethod
    def integer(n, bits, first=0):
        if n < (1 << bits) - 1:
            return bytes([first | n])
        out, n = [first | (1 << bits) - 1], n - ((1 << bits) - 1)
        while n >= 128:
            out.append(n & 127 | 128)
            n >>= 7
        return bytes([*out, n])

    def head(self, path):
        """The fields that a gRPC request needs."""
        return b"".join(self.literal(n, v) for n, v in (
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"), (b"te", b"trailers")))

    def request(self, block, body=b"", end=True):
        """One request; the block is cut into HEADERS and CONTINUATION frames of 16 KiB."""
        stream, self.next_id = self.next_id, self.next_id + 2
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)] or [b""]
        out = b""
        for i, piece in enumerate(pieces):
            is_last = i == len(pieces) - 1
            out += self.frame(self.HEADERS if i == 0 else self.CONTINUATION, 4 if is_last else 0, stream, piece)
        message = b"\0" + struct.pack("!I", len(body)) + body
        out += self.frame(self.DATA, 1 if end else 0, stream, message)
        self.s.sendall(out)
        return stream

    def drain(self):
        """Reads and discards all available bytes."""
        self.s.setblocking(False)
        try:
            while self.s.recv(1 << 18):
                pass
        except BlockingIOError:
            pass
        finally:
            self.s.settimeout(120)

    def close(self):
        self.s.close()


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def quote(text):
    return urllib.parse.quote(text, safe="")
