#!/usr/bin/env python3
"""A DNS server of fixed records, for tests of discovery.

    dns_srv.py FILE [PORT]      lines "NAME SRV PRIORITY WEIGHT PORT TARGET" and "NAME A ADDRESS"; # begins a comment

It reads the file again for each query. A name without records does not exist; AAAA queries are empty.
"""
import socket
import struct
import sys

TYPES = {1: "A", 33: "SRV"}


def name_bytes(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split(".")) + b"\0"


def name_at(packet, at):
    parts = []
    while packet[at]:
        parts.append(packet[at + 1:at + 1 + packet[at]].decode())
        at += packet[at] + 1
    return ".".join(parts).lower(), at + 1


def data_of(kind, words):
    if kind == "A":
        return socket.inet_aton(words[0])
    return struct.pack("!HHH", *map(int, words[:3])) + name_bytes(words[3])


def answer(packet, path):
    name, end = name_at(packet, 12)
    kind = TYPES.get(struct.unpack("!H", packet[end:end + 2])[0])
    with open(path, encoding="ascii") as file:
        rows = [line.split() for line in file if line.strip() and line[0] != "#"]
    rows = [row for row in rows if row[0] == name]
    found = [data_of(kind, row[2:]) for row in rows if row[1] == kind]
    flags = 0x8580 if rows else 0x8583  # authoritative; NXDOMAIN
    records = b"".join(b"\xc0\x0c" + packet[end:end + 4] + struct.pack("!IH", 1, len(data)) + data for data in found)
    return packet[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0) + packet[12:end + 4] + records


def main(path, port=53):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", int(port)))
        print("ready", flush=True)
        while True:
            packet, sender = sock.recvfrom(4096)
            sock.sendto(answer(packet, path), sender)


if __name__ == "__main__":
    main(*sys.argv[1:])
