# SPDX-License-Identifier: Apache-2.0
"""Batch jobs: each registers once, with a short TTL, and dies without deregistering. No member can tell a dead job from a
live one before its TTL is over. After that the job must leave traffic, even if other processes die."""
import http.client
import json
import random
import threading
import time

SERVICE = "jobs"
TTLS_S = range(3, 16)
LATE_S = 4  # a lease ends in steps, then a second until an instance is lost, and a busy machine's share


class Jobs:
    """`rate` registrations a second through all members, by `threads` connections."""

    def __init__(self, addresses, rate, threads=6):
        self.addresses, self.rate, self.lock = list(addresses), rate, threading.Lock()
        self.dead_at, self.ttl_s, self.is_over, self.begun = {}, {}, threading.Event(), time.monotonic()
        self.threads = [threading.Thread(target=self.work, args=(k, rate / threads), daemon=True) for k in range(threads)]
        for t in self.threads:
            t.start()

    def work(self, number, rate):
        address, chance, connection = self.addresses[number % len(self.addresses)], random.Random(number), None
        due, count = time.monotonic(), 0
        while not self.is_over.wait(max(0, due - time.monotonic())):
            due, count = max(due + 1 / rate, time.monotonic() - 1), count + 1
            name, ttl_s = f"job-{number}-{count}", chance.choice(TTLS_S)
            try:
                if connection is None:
                    host, port = address.split(":")
                    connection = http.client.HTTPConnection(host, int(port), timeout=10)
                body = json.dumps({"host": "10.9.9.9", "port": 1 + count % 60000, "ttl": ttl_s, "grace": 3})
                connection.request("PUT", f"/api/v1/services/{SERVICE}/instances/{name}", body)
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    with self.lock:
                        self.dead_at[name], self.ttl_s[name] = time.monotonic() + ttl_s + LATE_S, ttl_s
            except (OSError, http.client.HTTPException):
                connection = None

    def dead(self, instances, asked_at):
        """Instances in traffic whose TTL was over before the request."""
        with self.lock:
            return [i for i, v in instances.items() if v["serving"] and self.dead_at.get(i, asked_at) < asked_at]

    def rearm(self, before):
        """A new leader gave every lease that was alive `before` its whole TTL."""
        with self.lock:
            now = time.monotonic()
            for name, dead_at in self.dead_at.items():
                if dead_at > before:
                    self.dead_at[name] = max(dead_at, now + self.ttl_s[name] + LATE_S)

    def count(self):
        with self.lock:
            return len(self.dead_at)

    def stop(self):
        self.is_over.set()
        for t in self.threads:
            t.join(15)
