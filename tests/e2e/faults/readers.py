# SPDX-License-Identifier: Apache-2.0
"""Readers of the registry while members fail, and the judge of their responses.

An instance that a living client holds is in traffic in every answer and every frame of its registration's revision or a later
one; the judge needs no clock for that. Followers of the stream also check `previous`, and followers of keys check every
event.
"""
import json
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "demo"))
from websocket import Closed, WebSocket  # noqa: E402

from world import ask  # noqa: E402

PREFIX = "/cairn/registry/instances/default/default/"


class Judge:
    def __init__(self):
        self.lock = threading.Lock()
        self.held = {}  # id -> (service, revision from which it must be in traffic)
        self.settled = 0  # all members have shown this revision
        self.faults, self.looked = [], {}

    def fault(self, text):
        with self.lock:
            self.faults.append(f"{time.strftime('%T')} {text}")

    def hold(self, more):
        with self.lock:
            self.held.update(more)

    def free(self, ids):
        with self.lock:
            for i in ids:
                self.held.pop(i, None)

    def wanted(self, service, revision):
        with self.lock:
            return {i for i, (s, since) in self.held.items() if s == service and since <= revision}

    def look(self, who, service, revision, serving):
        """serving: the ids in traffic at that revision, according to the response. An instance that was released since is no
        fault."""
        with self.lock:
            self.looked[who.split()[0]] = self.looked.get(who.split()[0], 0) + 1
        missing = self.wanted(service, revision) - set(serving)
        if missing and not serving:
            self.fault(f"{who}: an empty list of {service} at revision {revision}")
        elif missing:
            self.fault(f"{who}: {service} at revision {revision} is without {sorted(missing)[:5]} ({len(missing)})")


def serving(instances):
    return [i["id"] for i in instances if i["serving"]]


class Reader(threading.Thread):
    """A reader that sends requests repeatedly; step() does one round, and may raise an OSError when a member is away."""

    def __init__(self, name, judge, pause_s):
        super().__init__(daemon=True)
        self.name, self.judge, self.pause_s = name, judge, pause_s
        self.is_over, self.is_paused = threading.Event(), threading.Event()

    def run(self):
        while not self.is_over.wait(self.pause_s):
            if self.is_paused.is_set():
                continue
            try:
                self.step()
            except OSError:
                pass
            except Exception as error:  # a broken promise may show as an answer that cannot be read
                self.judge.fault(f"{self.name}: {error!r}")


class Poller(Reader):
    """Reads services one after the other, behind a barrier or as the member has them, or waits for changes."""

    def __init__(self, name, judge, address, services, query):
        super().__init__(f"{query or 'http'} {name}", judge, 0.1)
        self.address, self.services, self.query, self.revision = address, services, query, 0

    def step(self):
        service = self.services[0]
        path = f"/api/v1/services/{service}"
        if self.query == "local":
            path += "?consistency=local"
        elif self.query == "poll":
            path += f"?wait_revision={self.revision}&timeout=2s"
        if self.query != "poll":
            self.services.append(self.services.pop(0))
        status, revision, answer = ask(self.address, "GET", path, timeout_s=10)
        if status == 200:
            self.judge.look(self.name, service, answer["revision"], serving(answer["instances"]))
            self.revision = answer["revision"]
        elif status == 404:
            self.judge.look(self.name, service, revision or self.judge.settled, [])


class Resolver(Reader):
    """SRV questions over TCP. A response has no revision: it must include everything that all members had shown before."""

    def __init__(self, name, judge, port, services, ids):
        super().__init__(f"dns {name}", judge, 0.1)
        self.port, self.services, self.ids = port, services, ids

    def ask(self, service):
        """Ids, or None where there is no answer."""
        labels = b"".join(bytes([len(n)]) + n.encode() for n in (service, "svc", "cairn"))
        query = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 33, 1)
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            s.sendall(struct.pack(">H", len(query)) + query)
            answer = b""
            while len(answer) < 2 or len(answer) < 2 + struct.unpack(">H", answer[:2])[0]:
                more = s.recv(65536)
                if not more:
                    return None
                answer += more
        if answer[5] & 15 == 2:
            return None
        at, found = 2 + len(query), []
        for _ in range(struct.unpack(">H", answer[8:10])[0]):
            size = struct.unpack(">H", answer[at + 10:at + 12])[0]  # behind a pointer, type, class, TTL
            found.append(self.ids[struct.unpack(">H", answer[at + 16:at + 18])[0]])
            at += 12 + size
        return found

    def step(self):
        self.services.append(self.services.pop(0))
        before = self.judge.settled
        found = self.ask(self.services[0])
        if found is not None:
            self.judge.look(self.name, self.services[0], before, found)


class Follower(Reader):
    """Follows services and their keys, member after member, and resumes after its last revision."""

    def __init__(self, name, judge, addresses, services):
        super().__init__(f"stream {name}", judge, 0.1)
        self.addresses, self.services = list(addresses), {n + 1: s for n, s in enumerate(services)}
        self.views, self.last, self.parts = {s: {} for s in services}, {}, {}
        self.events, self.keys_at, self.keys_since = [], None, 0  # (revision, key, is put)
        self.token = self.cluster = None
        self.resumed = self.anew = 0

    def step(self):
        host, port = self.addresses[0].split(":")
        ws = None
        try:
            ws = WebSocket(host, int(port), "/api/v1/stream", "cairn.v1+json", 10)
            self.follow(ws)
        except OSError:
            self.addresses.append(self.addresses.pop(0))
        finally:
            if ws:
                ws.close()

    def follow(self, ws):
        hello = {"type": "hello", "client_id": self.name}
        if self.cluster:
            hello["resume"] = {"cluster_id": self.cluster, "revision": self.token}
        ws.send(hello)
        welcome = ws.receive(20)
        if not welcome or welcome["type"] != "welcome":
            raise Closed(f"no welcome: {welcome}")
        self.resumed += self.cluster is not None
        self.cluster = welcome["cluster_id"]
        self.token = self.token or 0
        self.parts = {}
        for sid, service in self.services.items():
            self.subscribe(ws, sid, "service", {"name": service}, self.last.get(service))
        self.subscribe(ws, 99, "kv", {"prefix": PREFIX}, self.keys_at)
        while not self.is_over.is_set():
            frame = ws.receive(0.5)
            if frame is None:
                ws.send({"type": "heartbeat"})
                continue
            self.take(frame)
            if "revision" in frame:
                self.token = max(self.token, frame["revision"])
                ws.send({"type": "ack", "revision": frame["revision"]})

    @staticmethod
    def subscribe(ws, sid, kind, what, last):
        more = {} if last is None else {"from_revision": last + 1}
        ws.send({"type": "subscribe", "sid": sid, "kind": kind, **what, **more})

    def take(self, frame):
        if frame["type"] == "goaway":
            raise Closed("goaway")
        if frame["type"] == "mark":
            for service, view in self.views.items():
                if service in self.last and service not in self.parts:
                    self.judge.look(self.name, service, frame["revision"], serving(view.values()))
        elif frame.get("sid") == 99:
            self.take_keys(frame)
        elif frame.get("sid") in self.services and frame["type"] != "error":
            self.take_service(frame, self.services[frame["sid"]])
        else:
            self.judge.fault(f"{self.name}: {frame}")

    def take_service(self, frame, service):
        view = self.views[service]
        if frame["type"] == "resync":
            self.anew += 1
            self.last.pop(service, None)
            return
        if frame["type"] == "snapshot":
            if frame["part"] == 1:
                self.parts[service] = {}
            elif service not in self.parts:
                self.judge.fault(f"{self.name}: a part without the first: {service} {frame['revision']}")
                return
            self.parts[service].update({i["id"]: i for i in frame["items"]})
            if not frame["last"]:
                return
            self.views[service] = view = self.parts.pop(service)
        else:
            last = self.last.get(service)
            if frame["previous"] != last or frame["revision"] <= last:
                self.judge.fault(f"{self.name}: {service} {last}, then {frame['previous']} -> {frame['revision']}")
            for i in frame["put"]:
                if i == view.get(i["id"]):
                    self.judge.fault(f"{self.name}: {i['id']} came twice, at {frame['revision']}")
                view[i["id"]] = i
            for gone in frame["delete"]:
                view.pop(gone, None)
        self.last[service] = frame["revision"]
        self.judge.look(self.name, service, frame["revision"], serving(view.values()))

    def take_keys(self, frame):
        if frame["type"] == "snapshot":
            if self.keys_at is not None and frame["part"] == 1:
                self.judge.fault(f"{self.name}: keys anew at {frame['revision']}, had {self.keys_at}")
            if not frame["last"]:
                return
            self.keys_since = frame["revision"]
        elif frame["type"] != "delta" or frame["previous"] != self.keys_at or frame["revision"] <= self.keys_at:
            self.judge.fault(f"{self.name}: keys at {self.keys_at}, then {str(frame)[:120]}")
        else:
            self.look_at_events(frame)
            self.events += [(frame["revision"], i["key"], True) for i in frame["put"]]
            self.events += [(frame["revision"], key, False) for key in frame["delete"]]
        self.keys_at = frame["revision"]

    def look_at_events(self, frame):
        """Views may skip states; events may not."""
        bad = [i["key"] for i in frame["put"] if json.loads(i["value"]).get("state", "up") != "up"] + frame["delete"]
        with self.judge.lock:
            held = [k for k in bad if self.judge.held.get(k.rsplit("/", 1)[1], (0, frame["revision"]))[1] < frame["revision"]]
        if held:
            self.judge.fault(f"{self.name}: {held[:5]} ({len(held)}) lost or deleted at {frame['revision']}")
