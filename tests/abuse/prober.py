#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The other client: it puts one key after the other, prints "ready" after the first, and continues until its input has a line. Then it
prints the beginning (monotonic clock) and the duration of each put, in ms, as JSON.

    prober.py HOST PORT [TOKEN]

The prober is a process of its own so that an attack's threads do not delay it.
"""
import json
import select
import socket
import sys
import time

PAUSE_S = 0.002
BODY = b'{"key":"cHJvYmU=","value":"MQ=="}'


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    s = socket.create_connection((host, port), timeout=300)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    token = b"".join(b"Authorization: %s\r\n" % t.encode() for t in sys.argv[3:])
    request = (b"POST /v3/kv/put HTTP/1.1\r\nHost: %s:%d\r\n%sContent-Length: %d\r\n\r\n" % (host.encode(), port, token, len(BODY))) + BODY
    took_ms, at_s, refused, lost = [], [], 0, 0
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        begin = time.monotonic()
        s.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = s.recv(65536)
            if not piece:
                lost += 1
                break
            answer += piece
        if not answer:
            break
        head, _, body = answer.partition(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < size:
            body += s.recv(65536)
        refused += b" 200 " not in head.split(b"\r\n")[0]
        if not took_ms:
            print("ready", flush=True)
        at_s.append(begin)
        took_ms.append((time.monotonic() - begin) * 1000)
    print(json.dumps({"took_ms": took_ms, "at_s": at_s, "refused": refused, "lost": lost}))


main()
