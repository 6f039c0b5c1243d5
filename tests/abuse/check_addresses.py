#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The inside of check_addresses.sh: a name server, traps, a daemon, and the checks. It runs in a network namespace with lo alone.

    check_addresses.py CAIRND FOLDER
"""
import http.client
import http.server
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time

CLIENT, PEER, TARGET = 23790, 23800, 8080  # ports; TARGET is the one that every check names
PERMITTED = ["10.9.9.9", "10.9.9.10", "fd00:9::9"]
FORBIDDEN = ["127.0.0.1", "127.7.7.7", "169.254.169.254", "100.100.100.200", "::1", "fd00:ec2::254"]
LIMIT_S = int(os.environ.get("LIMIT_S", "60"))

# name -> the answers of one lookup after the other; the last one stays
NAMES = {
    "good.test": [["10.9.9.9"]],
    "good6.test": [["fd00:9::9"]],
    "loop.test": [["127.0.0.1"]],
    "metadata.test": [["169.254.169.254"]],
    "mapped.test": [["::ffff:127.0.0.1"]],
    "six.test": [["::1"]],
    "both.test": [["127.0.0.1", "10.9.9.9"]],
    "both2.test": [["10.9.9.9", "169.254.169.254"]],
    "rebind.test": [["10.9.9.10"], ["127.0.0.1"]],
    "rebind2.test": [["10.9.9.10"], ["169.254.169.254"], ["10.9.9.10"], ["127.7.7.7"]],
    "rebind6.test": [["fd00:9::9"], ["::1"]],
}
LITERALS = [
    "127.0.0.1", "127.7.7.7", "127.1", "0x7f000001", "2130706433", "017700000001", "0", "0.0.0.0", "localhost", "169.254.169.254", "0xa9fea9fe",
    "2852039166", "169.254.43518", "100.100.100.200", "224.0.0.5", "255.255.255.255", "::1", "::", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1",
    "0:0:0:0:0:ffff:a9fe:a9fe", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "2002:7f00:1::", "2001:0:7f00:1::",
    "fe80::9", "fe80::9%lo", "fd00:ec2::254", "ff02::1",
]


class Names(threading.Thread):
    """A name server over UDP: A and AAAA of NAMES, with a TTL of 0. A lookup is a pair of questions; each kind counts for itself."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.asked = {}

    def run(self):
        while True:
            words, sender = self.socket.recvfrom(512)
            at, labels = 12, []
            while words[at]:
                labels.append(words[at + 1:at + 1 + words[at]].decode())
                at += 1 + words[at]
            kind = struct.unpack(">H", words[at + 1:at + 3])[0]
            question, name = words[12:at + 5], ".".join(labels).lower()
            steps = NAMES.get(name, [])
            n = self.asked[name, kind] = self.asked.get((name, kind), 0) + 1
            found = steps[min(n, len(steps)) - 1] if steps else []
            records = b""
            count = 0
            for address in found:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                if kind == (28 if ":" in address else 1):
                    data = socket.inet_pton(family, address)
                    records += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(data)) + data
                    count += 1
            head = words[:2] + struct.pack(">HHHHH", 0x8580 | (0 if steps else 3), 1, count, 0, 0)
            self.socket.sendto(head + question + records, sender)


class Traps(threading.Thread):
    """Listens on every forbidden address and notes who connects."""

    def __init__(self):
        super().__init__(daemon=True)
        self.touched, self.selector = [], selectors.DefaultSelector()
        for address in FORBIDDEN:
            s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, TARGET))
            s.listen(64)
            self.selector.register(s, selectors.EVENT_READ, address)

    def run(self):
        while True:
            for key, _ in self.selector.select():
                connection, _ = key.fileobj.accept()
                connection.close()
                self.touched.append(key.data)


class Instance(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802
        self.send_response(302 if self.path.startswith("/go/") else 200)
        if self.path.startswith("/go/"):
            self.send_header("Location", f"http://{self.path[4:]}:{TARGET}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def call(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", CLIENT, timeout=20)
    connection.request(method, path, json.dumps(body) if body is not None else None)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text.startswith(b"{") else {}


def within(condition):
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


class Test:
    def __init__(self, names, traps):
        self.names, self.traps, self.failed, self.count = names, traps, 0, 0

    def expect(self, what, is_right, said=""):
        self.count += 1
        if not is_right:
            self.failed += 1
            print(f"FAIL {what}: {said}")

    def put(self, instance, host, check):
        return call("PUT", f"/api/v1/services/ssrf/instances/{instance}", {"host": host, "port": TARGET, "check": check})

    def state(self, instance):
        status, found = call("GET", f"/api/v1/services/ssrf/instances/{instance}")
        return found["instance"] if status == 200 else {}

    def output(self, instance):
        return (self.state(instance).get("checked") or {}).get("output") or ""

    def refused(self, instance):
        return "the address is not allowed" in self.output(instance)


KINDS = [{"type": "http", "path": "/"}, {"type": "tcp"}, {"type": "grpc"}]


def walk(t):
    quick = {"interval": "1s", "timeout": "1s", "failures": 1}
    registered = []
    for i, host in enumerate(LITERALS):
        status, said = t.put(f"literal-{i}", host, {**KINDS[i % 3], **quick})
        t.expect(f"{host} is registered or refused at once", status in (200, 201, 400), said)
        registered.append(status < 300)
    for i, host in enumerate(LITERALS):
        if registered[i]:
            t.expect(f"{host} is not connected to", within(lambda: t.output(f"literal-{i}")), "no result")
            t.expect(f"{host} does not pass", t.state(f"literal-{i}").get("state") == "down", t.state(f"literal-{i}"))
    for name in NAMES:
        instance = name.replace(".", "-")
        status, said = t.put(instance, name, {**KINDS[0], **quick})
        t.expect(f"{name} is registered", status in (200, 201), said)
    for name in ("good.test", "good6.test"):
        t.expect(f"{name} passes", within(lambda: "HTTP 200" in t.output(name.replace(".", "-"))), t.state(name.replace(".", "-")))
    for name in ("loop.test", "metadata.test", "mapped.test", "six.test", "rebind.test", "rebind2.test", "rebind6.test"):
        t.expect(f"{name} is refused", within(lambda: t.refused(name.replace(".", "-"))), t.state(name.replace(".", "-")))
    for i, where in enumerate(["127.0.0.1", "169.254.169.254", "[::1]"]):
        t.put(f"go-{i}", "10.9.9.9", {"type": "http", "path": f"/go/{where}", **quick})
        t.expect(f"a redirect to {where} is not followed", within(lambda: "redirects are not followed" in t.output(f"go-{i}")), t.state(f"go-{i}"))
    # Each name was looked up several times after it changed.
    t.expect("the names were looked up again", within(lambda: t.names.asked.get(("rebind2.test", 1), 0) > 6), t.names.asked)
    t.expect("no trap was touched", not t.traps.touched, sorted(set(t.traps.touched)))
    socket.create_connection(("127.0.0.1", TARGET)).close()
    t.expect("(a trap can be touched)", within(lambda: t.traps.touched == ["127.0.0.1"]), t.traps.touched)


def main():
    cairnd, folder = sys.argv[1:3]
    for address in PERMITTED:
        server = (Server6 if ":" in address else http.server.ThreadingHTTPServer)((address, TARGET), Instance)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    names, traps = Names(), Traps()
    names.start()
    traps.start()
    peer = f"http://127.0.0.1:{PEER}"
    with open(f"{folder}/log", "w") as log:
        daemon = subprocess.Popen([
            cairnd, "--name", "a", "--data-dir", f"{folder}/a", "--listen-client-urls", f"http://127.0.0.1:{CLIENT}",
            "--advertise-client-urls", f"http://127.0.0.1:{CLIENT}", "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"a={peer}", "--unsafe-no-fsync"], stdout=log, stderr=log)
    t = Test(names, traps)

    def is_ready():
        try:
            return call("GET", "/readyz")[0] == 200
        except (OSError, ValueError):
            return False

    try:
        t.expect("the daemon is ready", within(is_ready))
        walk(t)
    finally:
        daemon.kill()
        daemon.wait()
    print(f"check_addresses: {t.count - t.failed} of {t.count} right, {len(LITERALS)} literals, {len(NAMES)} names")
    if t.failed:
        os.write(1, open(f"{folder}/log", "rb").read()[-2000:])
    return 1 if t.failed else 0


if __name__ == "__main__":
    sys.exit(main())
