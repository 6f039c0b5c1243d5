# SPDX-License-Identifier: Apache-2.0
"""HPACK and gRPC framing, DNS."""
import socket
import struct

from attack import Attack, Http2


def grpc_flood(block, body=b"", times=50):
    def run(client):
        h = Http2(client)
        while not client.is_over():
            for _ in range(times):
                h.request(block(h), body)
            h.drain()
            if h.next_id > 20000:
                h.close()
                h = Http2(client)
    return run


def indexed_bomb(h):
    """One entry of 3.9 KiB in the dynamic table, then 6,000 references to it: 24 MiB of fields in one block."""
    if h.next_id == 1:
        return h.head(b"/etcdserverpb.KV/Range") + h.literal(b"x", b"v" * 3900, 0x40)
    return h.head(b"/etcdserverpb.KV/Range") + b"\xbe" * 6000


def tiny_fields(h):
    return h.head(b"/etcdserverpb.KV/Range") + h.literal(b"a", b"") * 2000


def table_churn(h):
    return h.head(b"/etcdserverpb.KV/Range") + b"".join(h.literal(b"k%d" % i, b"", 0x40) for i in range(900))


def huge_integers(h):
    """Indices and lengths of fifty bytes, and repeated table size updates: the block is an error that ends the connection."""
    endless = b"\xff" * 49 + b"\x7f"
    return h.head(b"/etcdserverpb.KV/Range") + [b"\xff" + endless, b"\x00\x7f" + endless, b"\x3f\xe1\x1f" * 5000, b"\x0f" + endless][h.next_id // 2 % 4]


def long_path(h):
    return h.head(b"/etcdserverpb.KV/" + b"x" * 15000)


def survive(run):
    """Opens a new connection whenever the daemon rejects the input by closing the old one."""
    def again(client):
        while not client.is_over():
            try:
                run(client)
            except (OSError, ConnectionError):
                continue
    return again


# --- DNS ---
def question(name, kind, ident=1):
    labels = b"".join(bytes([len(p)]) + p for p in name.split(b".")) + b"\0"
    return struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 1) + labels + struct.pack("!HH", kind, 1) + b"\0" + struct.pack("!HHIH", 41, 4096, 0, 0)


def dns_udp(*messages):
    def run(client):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setblocking(False)
        to = ("127.0.0.1", client.members[0].dns)
        while not client.is_over():
            for _ in range(64):
                for m in messages:
                    try:
                        s.sendto(m, to)
                    except BlockingIOError:
                        pass
            try:
                while s.recv(65536):
                    pass
            except BlockingIOError:
                pass
    return run


def dns_changing(message):
    """Sends one DNS query after the other while instances change, so the index of the last response is out of date."""
    def run(client):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(1)
        n = 0
        while not client.is_over():
            n += 1
            client.register("changing", "i", {"host": "10.9.9.1", "port": 1 + n % 60000, "ttl": 600})
            s.sendto(message, ("127.0.0.1", client.members[0].dns))
            try:
                s.recv(65536)
            except TimeoutError:
                pass
    return run


def dns_tcp(message, times=50):
    def run(client):
        block = (struct.pack("!H", len(message)) + message) * times
        while not client.is_over():
            s = socket.create_connection(("127.0.0.1", client.members[0].dns), timeout=30)
            try:
                for _ in range(4):
                    s.sendall(block)
                    got = 0
                    while got < times:
                        head = s.recv(2, socket.MSG_WAITALL)
                        if len(head) < 2:
                            break
                        left = struct.unpack("!H", head)[0]
                        while left:
                            left -= len(s.recv(left))
                        got += 1
            except OSError:
                pass
            s.close()
    return run


def fill(count):
    return lambda client: client.fill_instances("large", count, lambda i: {"host": f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", "port": 8080})


LONGEST = b".".join([b"a" * 63] * 3 + [b"b" * 52]) + b".cairn"
POINTERS = struct.pack("!HHHHHH", 1, 0x0100, 200, 0, 0, 0) + b"\x01a\xc0\x0c" + b"\0\1\0\1" + (b"\xc0\x0c\0\1\0\1") * 199
MANY_QUESTIONS = struct.pack("!HHHHHH", 1, 0x0100, 65535, 0, 0, 0) + b"\1a\0\0\1\0\1" * 500
A, PTR, TXT, SRV, ANY, AXFR = 1, 12, 16, 33, 255, 252

ATTACKS = [
    Attack("hpack_bomb", "6,000 references to a field of 3.9 KiB in each block", "HPACK's table, --max-header-list", survive(grpc_flood(indexed_bomb))),
    Attack("hpack_tiny", "2,000 empty fields in each request", "fields of a request", survive(grpc_flood(tiny_fields)), short=False),
    Attack("hpack_churn", "900 new entries of the table in each request", "HPACK's table", survive(grpc_flood(table_churn)), short=False),
    Attack("hpack_integers", "indices, lengths and table sizes of fifty bytes", "HPACK's integers", survive(grpc_flood(huge_integers, times=1)), short=False),
    Attack("long_path", "paths of 15,000 bytes", "head of a request", survive(grpc_flood(long_path)), short=False),
    Attack("dns_large_tcp", "SRV of a service of 10,000 instances, 50 questions in one write", "64 KiB an answer",
           dns_tcp(question(b"_large._tcp.svc.cairn", SRV)), fill(10000)),
    Attack("dns_large_udp", "A of a service of 10,000 instances by UDP", "1,232 bytes an answer", dns_udp(question(b"large.svc.cairn", A)), fill(10000)),
    Attack("dns_any", "ANY and AXFR of the zone", "zone", dns_udp(question(b"svc.cairn", ANY), question(b"cairn", AXFR), question(b"large.svc.cairn", ANY)),
           fill(10000), short=False),
    Attack("dns_ptr", "PTR of addresses, and of none", "instances", dns_udp(question(b"1.0.0.10.in-addr.arpa", PTR), question(b"9.9.9.9.in-addr.arpa", PTR)),
           fill(10000), short=False),
    Attack("dns_ptr_100000", "the same among 100,000 instances that change", "instances", dns_changing(question(b"9.9.9.9.in-addr.arpa", PTR)),
           fill(100000), short=False),
    Attack("dns_names", "the longest names, compression pointers in loops, 65,535 questions", "255 bytes a name",
           dns_udp(question(LONGEST, A), POINTERS, MANY_QUESTIONS)),
]
