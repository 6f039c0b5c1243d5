# SPDX-License-Identifier: Apache-2.0
"""A program's settings: a configuration that is followed on the stream, run on if it is good, and reported on.

It reports accepted and rejected releases with `applied`. When its member dies, it resumes at the next one.
"""
import threading

from websocket import WebSocket

NAME = "greeter.yaml"


class Settings:
    """check(values): why this program cannot run on them, or None."""

    def __init__(self, client_id, zone, members, check):
        self.client_id, self.zone, self.members, self.check = client_id, zone, list(members), check
        self.lock = threading.Lock()
        self.seq, self.values, self.seen, self.faults = 0, {}, [], []
        self.cluster, self.position, self.last = None, 0, None
        self.report = None  # the last one, sent again to a member that has not received it
        threading.Thread(target=self.follow, daemon=True).start()

    def shown(self):
        with self.lock:
            return {"seq": self.seq, "values": self.values, "seen": self.seen, "faults": self.faults}

    def follow(self):
        turn = threading.Event()
        while not turn.wait(0.2):
            try:
                self.follow_one()
            except OSError:
                self.members.append(self.members.pop(0))

    def follow_one(self):
        host, port = self.members[0].split(":")
        ws = WebSocket(host, int(port), "/api/v1/stream", "cairn.v1+json")
        try:
            hello = {"type": "hello", "client_id": self.client_id, "labels": {"zone": self.zone}}
            subscribe = {"type": "subscribe", "sid": 1, "kind": "config", "name": NAME}
            if self.cluster:
                hello["resume"] = {"cluster_id": self.cluster, "revision": self.position}
                subscribe["from_revision"] = self.position + 1
                self.last = self.position
            ws.send(hello)
            welcome = ws.receive(5)
            if not welcome or welcome["type"] != "welcome":
                raise OSError(f"no welcome: {welcome}")
            self.cluster = welcome["cluster_id"]
            ws.send(subscribe)
            if self.report:
                ws.send(self.report)
            while True:
                frame = ws.receive(welcome["heartbeat_ms"] / 1000)
                if frame is None:
                    ws.send({"type": "heartbeat"})
                elif frame["type"] == "resync":  # too late for what has changed since: a snapshot follows
                    continue
                elif frame["type"] in ("snapshot", "delta", "mark"):
                    self.take(ws, frame)
                    ws.send({"type": "ack", "revision": self.position})
                else:
                    raise OSError(f"{frame}")
        finally:
            ws.close()

    def take(self, ws, frame):
        if frame["type"] == "delta" and frame["previous"] != self.last:
            self.faults.append(f"a gap: {self.last}, then {frame['previous']} as the one before")
        if frame["type"] != "mark":
            self.last = frame["revision"]
        self.position = max(self.position, frame["revision"])
        for item in frame.get("items", []) + frame.get("put", []):
            error = self.run_on(item)
            self.report = {"type": "applied", "sid": 1, "name": NAME, "seq": item["seq"], "ok": not error}
            if error:
                self.report["error"] = error
            ws.send(self.report)

    def run_on(self, item):
        """Lines of "key: value" are all the YAML this one knows. Returns why it does not."""
        values = dict(line.split(": ", 1) for line in item["content"].splitlines() if ": " in line)
        error = self.check(values)
        with self.lock:
            if item["seq"] < self.seq:
                self.faults.append(f"release {item['seq']} after {self.seq}")
            self.seen.append(item["seq"])
            if not error:
                self.seq, self.values = item["seq"], values
        return error
