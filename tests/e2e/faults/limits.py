# SPDX-License-Identifier: Apache-2.0
"""Write limits of one client, with three members of their own: bytes a minute by namespace, the bounds of a history, the reserve of the quota.
Beyond each, that client alone gets 429, on every member and under every leader.
"""
import os
import signal
import threading

from world import Members, ask, base64_of, fetch, wait_for

MIB = 1 << 20
PER_MINUTE, QUOTA, RELEASES_MAX, KEPT = 12 * MIB, 96 * MIB, 60, 50
OPTIONS = ("--namespace-write-bytes-per-minute", str(PER_MINUTE), "--quota-backend-bytes", str(QUOTA), "--config-releases-max", str(RELEASES_MAX),
           "--config-history-max-bytes", str(2 * MIB), "--config-releases-kept", str(KEPT))


class Limits:
    def __init__(self, world):
        folder = f"{world.members.folder}/limits"
        os.mkdir(folder)
        self.judge = world.judge
        self.members = Members(world.members.binary, world.members.proxy.args[0], folder)
        self.session = None

    def members_addresses(self):
        return [self.members.client[n] for n in self.members.names if self.members.process[n].poll() is None]

    def put(self, address, ns, name, body):
        """Returns the status; a malformed refusal is a fault."""
        status, headers, text = fetch(address, "PUT", f"/api/v1/configs/{name}?namespace={ns}", body, timeout_s=20)
        if status not in (200, 429, 503):
            self.judge.fault(f"a publish to {ns} is answered with {status} {text[:300]}")
        if status == 429 and not headers.get("Retry-After"):
            self.judge.fault(f"429 without Retry-After: {text[:300]}")
        return status, text

    def expect(self, what, status, wanted=(200, 201, 204)):
        if status not in wanted:
            self.judge.fault(f"{what}: {status}")

    def others_go_on(self, when):
        """Writes of other clients, which no member may refuse."""
        for n, a in enumerate(self.members_addresses()):
            self.expect(f"a heartbeat {when}", ask(a, "PUT", f"/api/v1/sessions/{self.session}/heartbeat", timeout_s=20)[0])
            document = {"host": "10.0.0.1", "port": 80}
            path = f"/api/v1/services/web/instances/i{n}?session={self.session}"
            self.expect(f"a registration {when}", ask(a, "PUT", path, document, timeout_s=20)[0])

    # --- bytes a minute ---
    def bytes_a_minute(self):
        for a in self.members_addresses():
            body, written = b"x" * (MIB // 2), 0
            status, text = self.put(a, "loud", "loop.txt", body)
            while status == 200 and written < 4 * PER_MINUTE:
                written += len(body)
                status, text = self.put(a, "loud", "loop.txt", b"%d " % written + body)
            if status != 429 or b"namespace-write-bytes-per-minute" not in text:
                self.judge.fault(f"a namespace writes {written} bytes by one member, then {status} {text[:200]}")
            if written < PER_MINUTE:
                self.judge.fault(f"a namespace is refused after {written} bytes of {PER_MINUTE}")
            self.expect("a publish to another namespace", self.put(a, "calm", "small.txt", b"small")[0])
        self.others_go_on("beside a namespace that writes too much")

    # --- the history ---
    def histories(self, ns, name):
        found = []
        for a in self.members_addresses():
            seqs, more = [], ""
            while more is not None:
                answer = ask(a, "GET", f"/api/v1/configs/{name}/history?namespace={ns}&limit=1000{more}", timeout_s=20)[2]
                seqs += [r["seq"] for r in answer["releases"]]
                more = f"&continue={answer['continue']}" if "continue" in answer else None
            found.append(seqs)
        return found

    def history_is_bounded(self, name, count, body, most):
        """most: releases that may stay; the newest KEPT are among them, in a row."""
        address = self.members_addresses()[0]
        for n in range(count):
            self.expect("a publish", self.put(address, "calm", name, b"%d " % n + body)[0])

        def is_bounded():
            return all(KEPT <= len(seqs) <= most for seqs in self.histories("calm", name))
        wait_for(f"the history of {name} has {KEPT} to {most} releases", is_bounded, 60)
        for seqs in self.histories("calm", name):
            if seqs != list(range(count, count - len(seqs), -1)):
                self.judge.fault(f"the history of {name} is not the newest releases: {seqs}")

    # --- the quota ---
    def fill(self):
        """Writes to many namespaces, so that none exceeds its bytes a minute, until every member refuses contents."""
        n, refused = 0, set()
        while len(refused) < len(self.members_addresses()) and n < 400:
            a = self.members_addresses()[n % len(self.members_addresses())]
            status, text = self.put(a, f"fill{n}", "large.txt", b"%d " % n + b"x" * (MIB - 100))
            if status == 429 and b"quota-backend-bytes" in text:
                refused.add(a)
            n += 1
        if len(refused) < len(self.members_addresses()):
            self.judge.fault(f"contents are taken by some members after {n} MiB, within a quota of {QUOTA}")
        return n

    def full(self, when):
        self.others_go_on(when)
        for a in self.members_addresses():
            self.expect(f"a publish {when}", self.put(a, "more", "large.txt", b"y" * (MIB - 100))[0], (429,))
            alarms = ask(a, "POST", "/v3/maintenance/alarm", {"action": "GET"}, 20)[2].get("alarms", [])
            if alarms:
                self.judge.fault(f"an alarm {when}: {alarms}")

    def quota(self):
        count = self.fill()
        self.full("when the quota is full")
        leader = self.members.leader()
        self.members.stop(signal.SIGKILL, leader)
        self.members.leader(besides=leader)
        self.full("with another leader")
        self.members.start(leader, options=OPTIONS)
        self.members.serve(leader)
        self.full("after a restart")
        address = self.members.client[self.members.leader()]
        for n in range(count // 2):
            status = ask(address, "DELETE", f"/api/v1/configs/large.txt?namespace=fill{n}", timeout_s=20)[0]
            self.expect("a delete when the quota is full", status, (200, 404))
        self.expect("keys are deleted", ask(address, "POST", "/v3/kv/deleterange", {
            "key": base64_of("/cairn/config/releases/fill"), "range_end": base64_of("/cairn/config/releases/film")}, 20)[0])
        revision = ask(address, "POST", "/v3/kv/range", {"key": base64_of("x")}, 20)[2]["header"]["revision"]
        self.expect("a compaction", ask(address, "POST", "/v3/kv/compaction", {"revision": revision, "physical": True}, 60)[0])
        wait_for("contents are taken again", lambda: all(
            self.put(a, "again", "large.txt", b"z" * (MIB - 100))[0] == 200 for a in self.members_addresses()))

    def keep_session(self, is_over):
        while not is_over.wait(1):
            for a in self.members_addresses():
                try:
                    ask(a, "PUT", f"/api/v1/sessions/{self.session}/heartbeat", timeout_s=5)
                    break
                except OSError:
                    continue

    def run(self):
        m, is_over = self.members, threading.Event()
        try:
            m.start(*m.names, options=OPTIONS)
            m.serve(*m.names)
            self.session = ask(self.members_addresses()[0], "POST", "/api/v1/sessions", {"ttl": 60}, 20)[2]["session"]
            keeper = threading.Thread(target=self.keep_session, args=(is_over,), daemon=True)
            keeper.start()
            self.history_is_bounded("many.txt", 150, b"", RELEASES_MAX)
            self.history_is_bounded("large.txt", 80, b"x" * 60000, KEPT)
            self.bytes_a_minute()
            self.quota()
        finally:
            is_over.set()
            m.end()


def write_limits(world):
    Limits(world).run()
