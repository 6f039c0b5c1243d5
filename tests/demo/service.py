# SPDX-License-Identifier: Apache-2.0
"""A small HTTP service that returns its name, counts its calls, and registers itself.

    service.py ID PORT HOW ZONE ROOM MEMBER...        HOW: curl, stream or etcd; MEMBER: host:port of the registry

curl    the same PUT again and again, by the curl command: it registers, and is the heartbeat
stream  a session on the WebSocket, register, heartbeats; gone from one member it goes on with the next
etcd    a lease and a key through etcd's JSON gateway, as a framework for etcd does it: no word of ours
Meanwhile it runs on greeter.yaml (settings.py), which must not ask for more workers than it has ROOM for.
SIGTERM deregisters and ends it. Each failed request is retried at the next member.
"""
import base64
import http.server
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request

from settings import Settings
from websocket import WebSocket

SERVICE, TTL_S, GRACE_S = "greeter", 8, 3
calls = 0
settings = None
is_over = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global calls
        if self.path == "/calls":
            body = str(calls)
        elif self.path == "/settings":
            body = json.dumps(settings.shown())
        else:
            calls += 1
            body = sys.argv[1]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


class Members:
    """The members to contact; next() after one has failed."""

    def __init__(self, names):
        self.names = names

    def url(self, path):
        return f"http://{self.names[0]}{path}"

    def next(self):
        self.names.append(self.names.pop(0))


def instance(port):
    return {"host": "127.0.0.1", "port": port, "protocol": "http", "ttl": TTL_S, "grace": GRACE_S}


def by_curl(members, name, port):
    path = f"/api/v1/services/{SERVICE}/instances/{name}"

    def curl(method, *more):
        command = ["curl", "-sf", "-m", "4", "-X", method, members.url(path), *more]
        return subprocess.run(command, capture_output=True, check=False).stdout

    while not is_over.is_set():
        answer = curl("PUT", "-d", json.dumps(instance(port)))
        if answer:
            is_over.wait(json.loads(answer)["heartbeat_ms"] / 1000)
        else:
            members.next()
            is_over.wait(0.2)
    curl("DELETE")


def by_stream(members, name, port):
    session = {"ttl": TTL_S}
    about = {"rid": 1, "name": SERVICE, "id": name}
    while not is_over.is_set():
        try:
            host, at = members.names[0].split(":")
            ws = WebSocket(host, int(at), "/api/v1/stream", "cairn.v1+json")
            ws.send({"type": "hello", "client_id": f"service-{name}", "session": session})
            welcome = ws.receive(5)
            if not welcome or welcome["type"] != "welcome":
                raise OSError(welcome)
            session = {"id": welcome["session"]}
            ws.send({"type": "register", **about, "instance": instance(port)})
            while not is_over.is_set():
                ws.receive(welcome["heartbeat_ms"] / 1000)
                ws.send({"type": "heartbeat"})
            ws.send({"type": "deregister", **about})
            while (ws.receive(5) or {"type": "result"})["type"] != "result":
                pass
        except OSError as error:
            if "session_gone" in str(error):
                session = {"ttl": TTL_S}
            members.next()
            is_over.wait(0.2)


def by_etcd(members, name, port):
    def gateway(path, body):
        request = urllib.request.Request(members.url("/v3/" + path), json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=4) as answer:
            return json.load(answer)

    def text(s):
        return base64.b64encode(s.encode()).decode()

    # As kratos does it; the catalog shows it as "kratos:<name>", read-only.
    key = f"/microservices/{SERVICE}/{name}"
    lease = None
    while not is_over.is_set():
        try:
            if not lease:
                lease = gateway("lease/grant", {"TTL": TTL_S})["ID"]
                endpoints = [f"http://127.0.0.1:{port}"]
                value = json.dumps({"id": name, "name": SERVICE, "version": "v1", "endpoints": endpoints})
                gateway("kv/put", {"key": text(key), "value": text(value), "lease": lease})
            elif "TTL" not in gateway("lease/keepalive", {"ID": lease})["result"]:
                lease = None
                continue
            is_over.wait(TTL_S / 3)
        except OSError:
            members.next()
            is_over.wait(0.2)
    gateway("lease/revoke", {"ID": lease})


def check(values, room):
    """The reason why this service rejects a configuration, or None."""
    workers = int(values.get("workers", 1))
    return f"{workers} workers, and there is room for {room}" if workers > room else None


def main():
    global settings
    name, port, how, zone, room = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
    settings = Settings(f"{SERVICE}-{name}", zone, sys.argv[6:], lambda values: check(values, room))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: is_over.set())
    {"curl": by_curl, "stream": by_stream, "etcd": by_etcd}[how](Members(sys.argv[6:]), name, port)
    time.sleep(0.2)  # calls that were on their way when it deregistered
    server.shutdown()


main()
