# SPDX-License-Identifier: Apache-2.0
"""Shared parts of both acts of the demo: a cluster of three, processes, queries and output."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "shell"))
from ports import free_ports, tell_logs  # noqa: E402, F401

started = time.monotonic()
processes = []
results = []
print_lock = threading.Lock()


def say(who, text):
    with print_lock:
        print(f"{time.monotonic() - started:6.2f} s  {who:<9} {text}", flush=True)


def title(text):
    with print_lock:
        print(f"\n{text}", flush=True)


def verdict(is_right, text):
    results.append(is_right)
    say("ok" if is_right else "WRONG", text)


def spawn(command, log):
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    processes.append(process)
    return process


def ask(member, path, body=None, method=None):
    """body: bytes as they are, anything else as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{member}{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.load(answer)


def wait_for(condition, timeout_s=90):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.05)
    return None


def ask_dns(port, name):
    """The ports of a service, by an SRV question; None: no answer."""
    labels = b"".join(bytes([len(n)]) + n.encode() for n in name.split("."))
    query = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 33, 1)
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.sendall(struct.pack(">H", len(query)) + query)
        answer = b""
        while len(answer) < 2 or len(answer) < 2 + struct.unpack(">H", answer[:2])[0]:
            more = s.recv(65536)
            if not more:
                return None
            answer += more
    at, ports = 2 + len(query), []
    for _ in range(struct.unpack(">H", answer[8:10])[0]):
        size = struct.unpack(">H", answer[at + 10:at + 12])[0]  # behind a pointer, type, class, TTL
        ports.append(struct.unpack(">H", answer[at + 16:at + 18])[0])
        at += 12 + size
    return sorted(ports)


class Cluster:
    def __init__(self, binary, folder, base):
        self.binary, self.folder = binary, folder
        self.names = ["n1", "n2", "n3"]
        self.client = {n: f"127.0.0.1:{base + 3 * i}" for i, n in enumerate(self.names)}
        self.peer = {n: f"http://127.0.0.1:{base + 3 * i + 1}" for i, n in enumerate(self.names)}
        self.dns = {n: base + 3 * i + 2 for i, n in enumerate(self.names)}
        self.process = {}

    def start(self, name):
        url = "http://" + self.client[name]
        cluster = ",".join(f"{n}={u}" for n, u in self.peer.items())
        self.process[name] = spawn(
            [self.binary, "--name", name, "--data-dir", f"{self.folder}/{name}", "--initial-cluster", cluster,
             "--listen-client-urls", url, "--advertise-client-urls", url,
             "--listen-peer-urls", self.peer[name], "--initial-advertise-peer-urls", self.peer[name],
             "--initial-cluster-token", "demo", "--listen-dns", f"127.0.0.1:{self.dns[name]}"],
            f"{self.folder}/{name}.log")

    def is_healthy(self, name):
        return ask(self.client[name], "/health")["health"] == "true"

    def leader(self):
        """Its name, as those that live see it; None: there is none."""
        for name in self.names:
            if self.process[name].poll() is None:
                status = ask(self.client[name], "/v3/maintenance/status", {})
                if status.get("leader") == status["header"]["member_id"]:
                    return name
        return None

    def kill(self, name):
        self.process[name].send_signal(signal.SIGKILL)
        self.process[name].wait()

    def members(self, first):
        """Addresses, one of them first."""
        return [self.client[n] for n in [first] + [n for n in self.names if n != first]]


def stop_all():
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
