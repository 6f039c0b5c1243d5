# SPDX-License-Identifier: Apache-2.0
"""Subscribers of configurations: by WebSocket and as Server-Sent Events. They check `previous` of each
subscription, and resume at another member from their position."""
import http.client
import json

from config_readers import Subscriber, look_at_bundle
from ledger import md5_of
from readers import Closed, WebSocket


class Told(Subscriber):
    """Shared parts of both: frames and their effects. revision: of each subscription's last frame."""

    def __init__(self, name, ledger, addresses, zone, bundle):
        super().__init__(name, ledger, addresses, zone)
        self.bundle, self.revision, self.parts = bundle, {}, {}
        self.labels = {"zone": zone} if zone else {}

    def step(self):
        self.parts = {}
        try:
            self.follow()
        except OSError:
            self.next_member()
            raise

    def is_on(self):
        return not self.is_over.is_set() and not self.is_paused.is_set()

    def take_frame(self, frame):
        """True: the frame belongs to a subscription, and is complete."""
        sid, kind = frame.get("sid"), frame["type"]
        if kind == "goaway":
            raise Closed("goaway")
        if kind == "resync":
            self.ledger.counted("subscriptions anew")
            self.revision.pop(sid, None)
        elif kind == "snapshot":
            self.parts[sid] = (self.parts.get(sid, []) if frame["part"] > 1 else []) + frame["items"]
            if frame["last"]:
                self.take_snapshot(sid, self.parts.pop(sid), frame["revision"])
                return True
        elif kind == "delta":
            last = self.revision.get(sid)
            if last is None or frame["previous"] != last or frame["revision"] <= last:
                self.ledger.fault(f"{self.name}: {sid} at {last}, then {frame['previous']} -> {frame['revision']}")
            self.take_items(sid, frame["put"], frame["delete"], frame["revision"])
            return True
        elif kind not in ("mark", "welcome"):
            self.ledger.fault(f"{self.name}: {str(frame)[:200]}")
        return False

    def take_snapshot(self, sid, items, revision):
        there = {i["id"] for i in items}
        gone = [n for n, (_, md5) in self.last.items() if md5 and n not in there and self.is_of(sid, n)]
        self.take_items(sid, items, gone, revision)

    def take_items(self, sid, put, delete, revision):
        for i in put:
            if "content" in i and md5_of(i["content"].encode()) != i["md5"]:
                self.ledger.fault(f"{self.name}: {i['id']} {i['seq']} says md5 {i['md5']}, and is another")
            if i["revision"] > revision:
                self.ledger.fault(f"{self.name}: {i['id']} of revision {i['revision']} at {revision}")
            self.take(i["id"], i["seq"], i["md5"])
        for name in delete:
            self.last[name] = (self.last.get(name, (0, None))[0], None)
        self.revision[sid] = revision
        if self.is_of(sid, self.bundle[0]) and self.is_of(sid, self.bundle[-1]):
            look_at_bundle(self, self.bundle, revision)


class SocketFollower(Told):
    """A WebSocket with a subscription to each name, and one to the whole bundle; it reports applied releases."""

    def __init__(self, name, ledger, addresses, names, bundle, zone=None):
        super().__init__(f"stream {name}", ledger, addresses, zone, bundle)
        self.names = dict(enumerate([n for n in names if n not in bundle], 1))
        self.token, self.cluster = 0, None

    def is_of(self, sid, name):
        return name in self.bundle if sid == 99 else self.names[sid] == name

    def follow(self):
        host, port = self.addresses[0].split(":")
        ws = WebSocket(host, int(port), "/api/v1/stream", "cairn.v1+json", 2)
        try:
            self.open(ws)
            while self.is_on():
                frame = ws.receive(0.5)
                if frame is None:
                    ws.send({"type": "heartbeat"})
                    continue
                if self.take_frame(frame):
                    self.say_applied(ws, frame)
                if "revision" in frame:
                    self.token = max(self.token, frame["revision"])
                    ws.send({"type": "ack", "revision": frame["revision"]})
        finally:
            ws.close()

    def open(self, ws):
        hello = {"type": "hello", "client_id": self.name, "labels": self.labels}
        if self.cluster:
            hello["resume"] = {"cluster_id": self.cluster, "revision": self.token}
        ws.send(hello)
        welcome = ws.receive(4)
        if not welcome or welcome["type"] != "welcome":
            raise Closed(f"no welcome: {welcome}")
        self.ledger.counted("went on", self.cluster is not None)
        self.cluster = welcome["cluster_id"]
        for sid, what in [*((sid, {"kind": "config", "name": n}) for sid, n in self.names.items()),
                          (99, {"kind": "configs", "prefix": self.bundle[0][0]})]:
            more = {"from_revision": self.revision[sid] + 1} if sid in self.revision else {}
            ws.send({"type": "subscribe", "sid": sid, **what, **more})
        for sid, name in self.names.items():  # no test reads this one
            seq, md5 = self.last.get(name, (0, None))
            if md5:
                ws.send({"type": "applied", "sid": sid, "name": name, "seq": seq, "ok": True})

    def say_applied(self, ws, frame):
        for i in frame.get("items", []) + frame.get("put", []):
            ws.send({"type": "applied", "sid": frame["sid"], "name": i["name"], "seq": i["seq"], "ok": True})


class EventFollower(Told):
    """One event stream of everything there is; its position is Last-Event-ID."""

    def __init__(self, name, ledger, addresses, bundle, zone=None):
        super().__init__(f"events {name}", ledger, addresses, zone, bundle)
        self.id, self.event = None, {}

    def is_of(self, sid, name):
        return True

    def follow(self):
        host, port = self.addresses[0].split(":")
        self.event = {}
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        try:
            labels = f"&labels=zone={self.zone}" if self.zone else ""
            query = f"client_id={self.name.replace(' ', '-')}{labels}&kind=configs&prefix="
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self.id} if self.id else {})}
            connection.request("GET", f"/api/v1/stream?{query}", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Closed(f"{answer.status}")
            self.ledger.counted("went on", self.id is not None)
            while self.is_on():
                self.take_line(answer.readline().decode())
        except http.client.HTTPException as error:
            raise Closed(f"{error!r}") from error
        finally:
            connection.close()

    def take_line(self, line):
        if not line:
            raise Closed("over")
        field, _, value = line.rstrip("\n").partition(":")
        if field:
            self.event[field] = self.event.get(field, "") + value.strip()
            return
        event, self.event = self.event, {}  # an incomplete event does not count
        self.id = event.get("id", self.id)
        if "data" in event:
            self.take_frame(json.loads(event["data"]))
