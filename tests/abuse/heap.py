#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Heap after churn: it is within a fifth of the heap that a restart on the same data has.

    heap.py CAIRND [--seconds 120] [--churn publishes,keys,leases,instances,reads]

Clients publish, put, delete, grant leases, register and deregister, read, and follow it all on event streams, for the time given;
the same keys are written repeatedly, so that the live data stays the same. Then all of it is compacted and all clients disconnect;
after the caches have expired, the memory that belongs to the process alone (RssAnon) is compared with that of the same member after a
restart, which has read the same things once.
"""
import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from attack import Attack, Client, b64  # noqa: E402
from memory import anonymous_mib  # noqa: E402

ITEMS = 50
CONTENT = 2000
SETTLE_S = 25  # the allocator returns memory when the daemon is idle, at most every 10 s
ALLOWED = 1.2
FLOOR_MIB = 0.5  # LMDB keeps the pages of its largest commit for the next one; a restart has none yet


class Churn:
    def __init__(self, client):
        self.client, self.is_over, self.done = client, threading.Event(), {}
        self.threads = []

    def start(self, name, step, pause_s):
        self.done[name] = 0

        def run():
            connection, n = self.client.connection(), 0
            while not self.is_over.is_set():
                step(connection, n)
                n += 1
                self.done[name] = n
                time.sleep(pause_s)
            connection.close()
        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def publish(self, connection, n):
        self.client.request("PUT", f"/api/v1/configs/app{n % ITEMS}", (f"{n} " + "x" * CONTENT).encode(),
                            {"Content-Type": "text/plain"}, connection)

    def read(self, connection, n):
        self.client.request("GET", f"/api/v1/configs/app{n % ITEMS}", connection=connection)
        self.client.request("POST", "/v3/kv/range", {"key": b64(f"key{n % 2000}")}, connection=connection)

    def put(self, connection, n):
        self.client.kv_put(f"key{n % 2000}", os.urandom(200), connection)
        if n % 5 == 0:
            self.client.post("/v3/kv/deleterange", {"key": b64(f"key{(n + 1000) % 2000}")}, connection)
        if n % 500 == 499:
            revision = int(self.client.post("/v3/kv/range", {"key": b64("key0")}, connection)["header"]["revision"])
            self.client.request("POST", "/v3/kv/compaction", {"revision": revision - 100}, connection=connection)

    def lease(self, connection, _):
        lease = self.client.post("/v3/lease/grant", {"TTL": 60}, connection)["ID"]
        self.client.post("/v3/kv/put", {"key": b64("leased"), "value": b64("x"), "lease": lease}, connection)
        self.client.post("/v3/lease/revoke", {"ID": lease}, connection)

    def register(self, connection, n):
        path = f"/api/v1/services/web{n % 10}/instances/i{n % 100}"
        document = {"host": "10.0.0.1", "port": 8080, "metadata": {"n": str(n)}}
        self.client.request("PUT", path, document, connection=connection)
        if n % 3 == 0:
            self.client.request("DELETE", path, connection=connection)

    def follow(self, query):
        """An event stream whose events are read and discarded."""
        def run():
            s = self.client.socket(1)
            s.sendall(f"GET /api/v1/stream?{query} HTTP/1.1\r\nHost: l\r\nAccept: text/event-stream\r\n\r\n".encode())
            while not self.is_over.is_set():
                try:
                    if not s.recv(1 << 18):
                        break
                except TimeoutError:
                    pass
            s.close()
        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def end(self):
        self.is_over.set()
        for t in self.threads:
            t.join()


def read_once(client):
    """Reads that warm the same caches before and after the restart."""
    connection = client.connection()
    for n in range(ITEMS):
        client.request("GET", f"/api/v1/configs/app{n}", connection=connection)
    for n in range(2000):
        client.request("POST", "/v3/kv/range", {"key": b64(f"key{n}")}, connection=connection)
    connection.close()
    time.sleep(SETTLE_S)
    client.request("GET", "/metrics")
    return anonymous_mib(client.pid)


def gauges(client):
    """The daemon's own memory counters, in KiB."""
    names = ("cairn_cache_", "cairn_raft_log_memory", "cairn_store_pending_bytes", "cairn_proposals_pending_bytes")
    return {k.removeprefix("cairn_").removesuffix("_bytes"): round(v / 1024) for k, v in client.metrics().items() if k.startswith(names)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cairnd")
    parser.add_argument("--seconds", type=float, default=120)
    o = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # all processes that were started end with it
    with tempfile.TemporaryDirectory(prefix="cairn-heap-") as folder:
        client = Client(o.cairnd, folder, Attack("heap", "", "", None, options=("--log-level=error",)), o.seconds)
        try:
            client.start()
            churn = Churn(client)
            for query in ("kind=configs&prefix=", "kind=config&name=app1", "kind=services", "kind=service&name=web1", "kind=kv&prefix=key"):
                churn.follow(query)
            churn.start("publishes", churn.publish, 0.01)
            churn.start("reads", churn.read, 0.005)
            churn.start("puts", churn.put, 0.003)
            churn.start("leases", churn.lease, 0.02)
            churn.start("registrations", churn.register, 0.01)
            time.sleep(o.seconds)
            during, held = anonymous_mib(client.pid), gauges(client)
            churn.end()
            revision = int(client.post("/v3/kv/range", {"key": b64("key0")})["header"]["revision"])
            client.request("POST", "/v3/kv/compaction", {"revision": revision, "physical": True})
            after, later = read_once(client), gauges(client)
            client.restart()
            fresh, anew = read_once(client), gauges(client)
        finally:
            client.stop()
    print(json.dumps({"churn": churn.done}))
    print(json.dumps({"KiB at the end": held, "after it": later, "after a restart": anew}))
    is_ok = after <= fresh * ALLOWED + FLOOR_MIB
    print(f"{'ok  ' if is_ok else 'FAIL'} heap: {during:.1f} MiB at the end of {o.seconds:.0f} s of churn, {after:.1f} after it, "
          f"{fresh:.1f} after a restart on the same data")
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
