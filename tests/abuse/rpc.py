# SPDX-License-Identifier: Apache-2.0
"""gRPC by hand: as many requests and streams on one connection as the server allows, without waiting for responses.

Messages are encoded field by field (proto/rpc.proto, proto/kv.proto); responses are counted, and read only where an attack needs it.
"""
import select
import socket
import struct
import threading

from attack import Http2

RANGE, PUT, TXN = b"/etcdserverpb.KV/Range", b"/etcdserverpb.KV/Put", b"/etcdserverpb.KV/Txn"
WATCH = b"/etcdserverpb.Watch/Watch"
GRANT, REVOKE, KEEP_ALIVE = b"/etcdserverpb.Lease/LeaseGrant", b"/etcdserverpb.Lease/LeaseRevoke", b"/etcdserverpb.Lease/LeaseKeepAlive"
IN_FLIGHT = 4000  # requests of one connection: the daemon allows 10,000 streams
WINDOW = (1 << 31) - 1


def number(field, n):
    return b"" if not n else varint(field << 3) + varint(n)


def text(field, value):
    return b"" if not value else message(field, value)


def message(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def varint(n):
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


# --- requests ---
def put(key, value=b"", lease=0):
    return text(1, key) + text(2, value) + number(3, lease)


def txn(puts=(), ranges=(), deletes=()):
    return b"".join([message(2, message(2, p)) for p in puts] + [message(2, message(1, r)) for r in ranges]
                    + [message(2, message(3, d)) for d in deletes])


def key_range(key, end=b"", limit=0, order=0, target=0, keys_only=False, count_only=False):
    return text(1, key) + text(2, end) + number(3, limit) + number(5, order) + number(6, target) + number(8, keys_only) + number(9, count_only)


def watch_create(key, end=b"", start=0, progress=False, watch_id=0):
    return message(1, text(1, key) + text(2, end) + number(3, start) + number(4, progress) + number(7, watch_id))


def watch_cancel(watch_id):
    return message(2, number(1, watch_id))


WATCH_PROGRESS = message(3, b"")


def grant(ttl_s, lease):
    return number(1, ttl_s) + number(2, lease)


def framed(body):
    return b"\0" + struct.pack("!I", len(body)) + body


class Grpc(Http2):
    """A connection with unlimited windows; its own thread (count) or a Drain reads its input."""

    def __init__(self, client, member=0):
        super().__init__(client, member=member)
        self.finished, self.refused, self.room = 0, 0, threading.Condition()
        self.reader = None
        self.s.sendall(self.frame(self.SETTINGS, 0, 0, struct.pack("!HI", 4, WINDOW)) + self.frame(8, 0, 0, struct.pack("!I", WINDOW - 65535)))

    def call(self, path, *bodies, end=True, token=b""):
        """The frames of one request; the caller sends them."""
        stream, self.next_id = self.next_id, self.next_id + 2
        block = self.head(path) + (self.literal(b"token", token) if token else b"")
        return stream, self.frame(self.HEADERS, 4, stream, block) + self.data(stream, b"".join(map(framed, bodies)), end)

    def data(self, stream, payload, end=False):
        pieces = [payload[i:i + 16384] for i in range(0, len(payload), 16384)] or [b""]
        return b"".join(self.frame(self.DATA, int(end and i == len(pieces) - 1), stream, p) for i, p in enumerate(pieces))

    def count(self):
        """Reads all input from now on, and counts the complete responses."""
        def work():
            rest = b""
            while True:
                try:
                    got = self.s.recv(1 << 18)
                except OSError:
                    got = b""
                if not got:
                    break
                rest += got
                at, ended = 0, 0
                while len(rest) - at >= 9:
                    size = rest[at] << 16 | rest[at + 1] << 8 | rest[at + 2]
                    if len(rest) - at < 9 + size:
                        break
                    kind, flags = rest[at + 3], rest[at + 4]
                    ended += (kind in (self.DATA, self.HEADERS) and flags & 1) or kind == self.RST_STREAM
                    at += 9 + size
                rest = rest[at:]
                with self.room:
                    self.finished += ended
                    self.room.notify()
            with self.room:
                self.finished = 1 << 60
                self.room.notify()
        self.s.settimeout(None)
        self.reader = threading.Thread(target=work, daemon=True)
        self.reader.start()

    def many(self, path, bodies, token=b"", stop=lambda: False):
        """Sends one unary request for each body, at most IN_FLIGHT before the first response. Returns how many were sent."""
        if not self.reader:
            self.count()
        first = self.finished
        sent, block, count = 0, [], 0
        for body in bodies:
            block.append(self.call(path, body, token=token)[1])
            sent, count = sent + 1, count + len(block[-1])
            if count >= 1 << 16 or sent % 500 == 0:
                self.s.sendall(b"".join(block))
                block, count = [], 0
                self.wait(first + sent - IN_FLIGHT)
                if stop():
                    break
        self.s.sendall(b"".join(block))
        self.wait(first + sent)
        return sent

    def wait(self, finished):
        with self.room:
            if not self.room.wait_for(lambda: self.finished >= finished, 300):
                raise OSError("no answer within 300 s")
            if self.finished >= 1 << 60:
                raise OSError("the connection was closed")

    def close(self):
        try:
            self.s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        super().close()


class Drain:
    """Reads and discards the input of many connections."""

    def __init__(self, connections):
        self.sockets = {c.s.fileno(): c.s for c in connections}
        self.bytes, self.is_over = 0, False
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        poll = select.epoll()
        for fd in self.sockets:
            poll.register(fd, select.EPOLLIN)
        space = bytearray(1 << 20)
        while not self.is_over:
            for fd, _ in poll.poll(0.1):
                try:
                    n = self.sockets[fd].recv_into(space)
                except OSError:
                    n = 0
                self.bytes += n
                if not n:
                    poll.unregister(fd)

    def end(self):
        self.is_over = True
        self.thread.join()


def fill_keys(client, count, key=lambda i: b"k%08d" % i, value=lambda i: b"", lease=lambda i: 0, ops=128):
    """Many keys in few transactions, which do not wait for each other."""
    g = Grpc(client)
    g.many(TXN, (txn([put(key(i), value(i), lease(i)) for i in range(at, min(at + ops, count))]) for at in range(0, count, ops)))
    g.close()
