# SPDX-License-Identifier: Apache-2.0
"""Publishes with long checks, while the member that checks them stops, dies, loses leadership or loses its client.

Each publish is acknowledged, refused, or its outcome is unknown. In the end every acknowledged one is in the history as the release it
was said to be, no refused one is, one of unknown outcome is there once at most. A small publish that began after a large one of the
same configuration, through the same member, is a later release, however long the check of the large one took.
"""
import collections
import http.client
import json
import select
import signal
import threading
import time

from world import fetch, wait_for

LARGE = b"- &a x\n" + b"- *a # some more text that has to be read\n" * 22000  # 900 KB: some 50 ms of the worker
MALFORMED = LARGE + b"- [\n"
NAMES = [f"checked{n}.yaml" for n in range(6)]
READS = 80  # turns of the member's loop, each of which reads 16 KiB of each request: then a large one has come
LEAST = {"acknowledged": 60, "refused": 10, "hung up": 5, "pairs": 10}


class Publish:
    def __init__(self, name, note):
        self.name, self.note, self.outcome, self.seq = name, note, "unknown", None

    def path(self):
        return f"/api/v1/configs/{self.name}?namespace=checked&note={self.note}"


class Checker(threading.Thread):
    """Publishes to one configuration, which has no other writer, through any member that answers."""

    def __init__(self, number, addresses, fault):
        super().__init__(daemon=True)
        self.name, self.addresses, self.fault = f"checker{number}", list(addresses), fault
        self.item, self.turn, self.is_over = NAMES[number], 0, threading.Event()
        self.publishes, self.pairs = [], []

    def begin(self, what):
        p = Publish(self.item, f"{self.name}-{self.turn}-{what}")
        self.publishes.append(p)
        return p

    def publish(self, p, body):
        """Sends a publish; its outcome is known afterwards, unless the response is lost."""
        try:
            status, _, text = fetch(self.addresses[0], "PUT", p.path(), body, timeout_s=8)
        except OSError:
            return
        self.take(p, status, text)

    def hang_up(self, body):
        """Disconnects while the check is under way, or before."""
        p = self.begin("left")
        host, port = self.addresses[0].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=8)
        try:
            connection.request("PUT", p.path(), body)
            time.sleep(self.turn % 7 / 100)
            p.outcome = "hung up"
        except OSError:
            pass
        finally:
            connection.close()

    def take(self, p, status, text):
        """Sets the outcome of a publish from its response."""
        code = "" if status == 200 else json.loads(text)["error"]["code"]
        if status == 200:
            p.outcome, p.seq = "acknowledged", json.loads(text)["seq"]
        elif status in (400, 422, 429) or code in ("not_ready", "no_leader", "conflict"):
            p.outcome = "refused"
        elif code not in ("outcome_unknown", "stopping", "deadline", "unavailable"):
            self.fault(f"{p.note}: {status} {text[:300]}")

    def pair(self):
        """A small publish that begins while a large one, through the same member, is checked."""
        host, port = self.addresses[0].split(":")
        large, small = self.begin("large"), self.begin("small")
        first, second = (http.client.HTTPConnection(host, int(port), timeout=8) for _ in range(2))
        try:
            first.request("PUT", large.path(), LARGE + f"- {self.turn}\n".encode())
            for _ in range(READS):
                second.request("GET", "/version")
                second.getresponse().read()
            is_open = not select.select([first.sock], [], [], 0)[0]
            second.request("PUT", small.path(), f"- small {self.turn}\n".encode())
            for p, connection in ((small, second), (large, first)):
                answer = connection.getresponse()
                self.take(p, answer.status, answer.read())
            if is_open:
                self.pairs.append((large, small))
        except (OSError, http.client.HTTPException):
            pass
        finally:
            first.close()
            second.close()

    def run(self):
        while not self.is_over.wait(0.02):
            self.turn += 1
            kind = self.turn % 4
            if kind == 0:
                self.publish(self.begin("malformed"), MALFORMED + f"# {self.turn}\n".encode())
            elif kind == 1:
                self.hang_up(LARGE + f"- left {self.turn}\n".encode())
            elif kind == 2:
                self.publish(self.begin("alone"), f"- alone {self.turn}\n".encode())
            else:
                self.pair()
            if any(p.outcome == "unknown" for p in self.publishes[-2:]):
                self.addresses.append(self.addresses.pop(0))


def faults(members, is_enough):
    """While the checkers run, members pause, die, and lose leadership."""
    def others(leader):
        return [n for n in members.names if n != leader]
    for which in ("follower", "leader"):
        leader = members.leader()
        name = leader if which == "leader" else others(leader)[0]
        members.process[name].send_signal(signal.SIGSTOP)
        try:
            members.leader(besides=name)
            time.sleep(2)
        finally:
            members.process[name].send_signal(signal.SIGCONT)
        members.serve(name)
    for which in ("follower", "leader"):
        leader = members.leader()
        name = leader if which == "leader" else others(leader)[0]
        members.stop(signal.SIGKILL, name)
        members.leader(besides=name)
        time.sleep(1)
        members.start(name)
        members.serve(name)
    for _ in range(3):
        members.lead(others(members.leader())[0])
        time.sleep(0.5)
    wait_for("enough publishes were checked", is_enough)


def judge(world, checkers):
    fault = world.judge.fault
    for c in checkers:
        histories = [world.history(a, c.item, "&namespace=checked") for a in world.addresses(0)]
        if any(h != histories[0] for h in histories):
            fault(f"the histories of {c.item} are not the same")
        found = collections.defaultdict(list)
        for r in histories[0]:
            found[r["note"]].append(r["seq"])
        for p in c.publishes:
            seqs = found.pop(p.note, [])
            if p.outcome == "acknowledged" and seqs != [p.seq]:
                fault(f"{p.note} was acknowledged as {p.seq} of {p.name}, and is {seqs} in its history")
            if p.outcome == "refused" and seqs:
                fault(f"{p.note} was refused, and is {seqs} in the history of {p.name}")
            if len(seqs) > 1 or (seqs and "malformed" in p.note):
                fault(f"{p.note} ({p.outcome}) is {seqs} in the history of {p.name}")
        if found:
            fault(f"nobody wrote {dict(found)} of {c.item}")
        for large, small in c.pairs:
            if large.seq and small.seq and small.seq < large.seq:
                fault(f"{small.note} is release {small.seq}, {large.note}, which began before it, is {large.seq}")


def checks_under_faults(world):
    checkers = [Checker(n, world.addresses(n), world.judge.fault) for n in range(len(NAMES))]

    def count():
        done = collections.Counter(p.outcome for c in checkers for p in c.publishes)
        done["pairs"] = sum(1 for c in checkers for large, small in c.pairs if large.seq and small.seq)
        return done
    for c in checkers:
        c.start()
    try:
        faults(world.members, lambda: all(count()[k] >= n for k, n in LEAST.items()))
    finally:
        for c in checkers:
            c.is_over.set()
        for c in checkers:
            c.join(60)
    wait_for("a publish of each is acknowledged", lambda: all(
        fetch(world.addresses(0)[0], "PUT", f"/api/v1/configs/{c.item}?namespace=checked&note=last", b"- last\n", timeout_s=8)[0] == 200 for c in checkers))
    for c in checkers:
        last = c.begin("last")
        last.note = "last"
    judge(world, checkers)
    print(f"       checked: {', '.join(f'{n} {k}' for k, n in sorted(count().items()))}")
