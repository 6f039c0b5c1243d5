# SPDX-License-Identifier: Apache-2.0
"""A consumer of one service: it follows the service on the stream, calls its instances in turn, and reports what it
saw.

It checks the registry's promises: every change continues the one before it (`previous`), revisions only
grow, and after a disconnect it goes on at another member from where it was, without a gap.
"""
import http.client
import threading
import time

from websocket import WebSocket


def shown_id(i):
    """The name of a service that a framework registered begins with its layout: "kratos:c"."""
    return i.rpartition(":")[2]


class Consumer:
    def __init__(self, name, service, members, say):
        self.name, self.service, self.members, self.say = name, service, list(members), say
        self.lock = threading.Lock()
        self.view = {}  # id -> instance, as the registry shows it
        self.good, self.failed = {}, {}  # id -> calls
        self.faults = []  # promises that were broken
        self.last = self.position = 0  # revision of the last change; of the last frame of any kind
        self.cluster = self.member = None
        self.resumed = self.emptied = 0
        self.calling = None  # whom it calls just now
        self.left = set()  # who was in traffic once and then was not
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.follow, self.call)]
        for t in self.threads:
            t.start()

    def stop(self):
        self.is_over.set()
        for t in self.threads:
            t.join(10)

    def serving(self):
        """The instances in traffic: {id: instance}."""
        with self.lock:
            return {k: v for k, v in self.view.items() if v["serving"]}

    def states(self):
        with self.lock:
            return {k: v["state"] for k, v in self.view.items()}

    # --- the stream ---
    def follow(self):
        while not self.is_over.is_set():
            try:
                self.follow_one()
            except (OSError, ValueError) as error:
                if self.is_over.is_set():
                    return
                if self.member:
                    self.say(self.name, f"the stream from {self.member} has ended ({error or 'cut off'}), next member")
                self.member = None
                self.members.append(self.members.pop(0))
                self.is_over.wait(0.2)

    def follow_one(self):
        host, port = self.members[0].split(":")
        ws = WebSocket(host, int(port), "/api/v1/stream", "cairn.v1+json")
        try:
            hello = {"type": "hello", "client_id": self.name}
            subscribe = {"type": "subscribe", "sid": 1, "kind": "service", "name": self.service}
            if self.cluster:
                hello["resume"] = {"cluster_id": self.cluster, "revision": self.position}
                subscribe["from_revision"] = self.position + 1
                self.last = self.position
            ws.send(hello)
            welcome = ws.receive(30)
            if not welcome or welcome["type"] != "welcome":
                raise OSError(f"no welcome: {welcome}")
            if self.cluster:
                self.resumed += 1
                self.say(self.name, f"goes on at {welcome['member']} behind revision {self.position}")
            self.cluster, self.member = welcome["cluster_id"], welcome["member"]
            ws.send(subscribe)
            while not self.is_over.is_set():
                frame = ws.receive(min(0.5, welcome["heartbeat_ms"] / 1000))
                if frame is None:
                    ws.send({"type": "heartbeat"})
                elif frame["type"] in ("snapshot", "delta", "mark"):
                    self.take(frame)
                    ws.send({"type": "ack", "revision": self.position})
                else:
                    raise OSError(f"{frame}")
        finally:
            ws.close()

    def take(self, frame):
        before, served = self.states(), set(self.serving())
        with self.lock:
            if frame["type"] == "snapshot":
                if frame["part"] == 1:
                    self.view = {}
                self.view.update({shown_id(i["id"]): i for i in frame["items"]})
            elif frame["type"] == "delta":
                if frame["previous"] != self.last:
                    self.faults.append(f"a gap: {self.last}, then {frame['previous']} as the one before")
                for i in frame["put"]:
                    self.view[shown_id(i["id"])] = i
                for i in frame["delete"]:
                    self.view.pop(shown_id(i), None)
        if frame["type"] != "mark":
            if frame["revision"] < self.last or (frame["type"] == "delta" and frame["revision"] == self.last):
                self.faults.append(f"revision {frame['revision']} after {self.last}")
            self.last = frame["revision"]
        self.position = max(self.position, frame["revision"])
        after = self.states()
        self.emptied += bool(before) and not after
        self.left |= served - set(self.serving())
        if before != after:
            shown = ", ".join(f"{k} {v}" for k, v in sorted(after.items())) or "nobody"
            self.say(self.name, f"revision {frame['revision']}: {shown}")

    # --- calls, one every 20 ms ---
    def call(self):
        turn = 0
        while not self.is_over.wait(0.02):
            turn += 1
            with self.lock:  # a reader that sees a view without an instance also sees which instance is still called
                serving = sorted((k, v) for k, v in self.view.items() if v["serving"])
                name, i = serving[turn % len(serving)] if serving else (None, None)
                self.calling = name
            if not name:
                continue
            is_good = False
            try:
                connection = http.client.HTTPConnection(i["host"], i["port"], timeout=30)
                connection.request("GET", "/")
                is_good = connection.getresponse().read() == name.encode()
                connection.close()
            except OSError:
                pass
            counts = self.good if is_good else self.failed
            with self.lock:
                counts[name] = counts.get(name, 0) + 1
                self.calling = None
            if not is_good and counts[name] == 1:
                self.say(self.name, f"calls to {name} fail")

    def wait(self, what, condition, timeout_s=90):
        """Waits until condition(self) holds; if it does not, records a fault with the text `what`."""
        end = time.monotonic() + timeout_s
        while not condition(self):
            if time.monotonic() > end:
                self.faults.append(f"never saw {what}; sees {self.states()}")
                return False
            time.sleep(0.02)
        return True
