# SPDX-License-Identifier: Apache-2.0
"""The config center under faults: three members, publishers who compare and swap on the same names, bundles, gray releases, and
readers of every kind on every member.

During a scenario the ledger checks every response. After it all members must have the same state, each publish once or not at all, and
each reader the last state. A scenario with too few operations is void.
"""
import base64
import gzip
import io
import json
import signal
import tarfile
import threading
import time

import checks
import limits
from config_readers import Historian, Lister, Poller
from config_streams import EventFollower, SocketFollower
from ledger import Ledger, md5_of
from world import Members, ask, base64_of, fetch, wait_for
from writers import UNKNOWN, Bundler, Director, Publisher

SHARED = ["p0.yaml", "p1.yaml", "r0.yaml"]  # r0 is rolled back, too
BUNDLE = ["b0.yaml", "b1.yaml", "b2.yaml", "b3.yaml"]
GRAY = ["g0.yaml", "g1.yaml"]  # promoted; thrown away
RELEASES = "/cairn/config/releases/default/default/"
# The smallest number of operations of each kind; a scenario with fewer is void.
LEAST = {"publishes": 40, "bundles": 3, "gray releases": 2, "poll": 40, "list": 40, "list-local": 40, "list-wait": 10,
         "history": 20, "stream": 80, "events": 40, "whole bundles seen": 20}


class ConfigWorld:
    def __init__(self, binary, proxy, folder):
        self.members, self.judge = Members(binary, proxy, folder), Ledger()
        m, j = self.members, self.judge
        m.start(*m.names)
        m.serve(*m.names)
        self.writers = [Publisher(f"p{k}", j, self.addresses(k), SHARED) for k in range(5)]
        self.writers += [Bundler("bundler", j, self.addresses(0), BUNDLE),
                         Director("director", j, self.addresses(1), GRAY[0], True),
                         Director("discarder", j, self.addresses(2), GRAY[1], False)]
        everything = SHARED + BUNDLE[:-1] + GRAY
        self.readers = [Historian(f"h{k}", j, self.addresses(k), SHARED + BUNDLE) for k in range(2)]
        for k, zone in enumerate([None, "a", "b", "a", "b"]):
            names = GRAY if k > 2 else everything
            self.readers.append(Poller(f"s{k}{zone or ''}", j, self.addresses(k), names, zone))
        for k, zone in enumerate([None, "a", "b", "b"]):
            self.readers.append(SocketFollower(f"w{k}{zone or ''}", j, self.addresses(k), everything, BUNDLE, zone))
        self.readers += [EventFollower(f"e{z or ''}", j, self.addresses(k), BUNDLE, z) for k, z in enumerate([None, "b"])]
        for k in range(3):
            self.readers.append(Lister(f"l{k}", j, self.addresses(k), BUNDLE, ["", "wait", ""][k]))
            self.readers.append(Lister(f"l{k}", j, self.addresses(k)[:1], BUNDLE, "local"))

    def addresses(self, first):
        names = [self.members.names[(first + k) % 3] for k in range(3)]
        return [self.members.client[n] for n in names]

    # --- between scenarios ---
    def rest(self):
        for w in self.writers:
            w.is_paused.set()
            w.is_at_rest.clear()
        wait_for("all know what came of their writes", lambda: all(w.is_at_rest.is_set() for w in self.writers), 120)

    def go_on(self):
        for w in self.writers:
            w.is_paused.clear()

    def flow(self, more=10):
        """Writes are acknowledged (again)."""
        before = self.judge.count["publishes"]
        wait_for("publishes go on", lambda: self.judge.count["publishes"] >= before + more)

    def raw_releases(self, member):
        """(name, seq) -> revision, as the member has them itself; each was put once."""
        found, start, end = {}, RELEASES, RELEASES[:-1] + "0"
        while start:
            body = {"key": base64_of(start), "range_end": base64_of(end), "keys_only": True, "serializable": True, "limit": 5000}
            answer = ask(member, "POST", "/v3/kv/range", body, 5)[2]
            for kv in answer.get("kvs", []):
                name, seq = text_of(kv["key"])[len(RELEASES):].rsplit("/", 1)
                found[name, int(seq, 16)] = int(kv["mod_revision"])
                if kv["version"] != "1" or kv["create_revision"] != kv["mod_revision"]:
                    self.judge.fault(f"release {seq} of {name} was written {kv['version']} times")
            start = text_of(answer["kvs"][-1]["key"]) + "\0" if answer.get("more") else None
        return found

    def history(self, member, name, query=""):
        releases, more = [], ""
        while more is not None:
            answer = ask(member, "GET", f"/api/v1/configs/{name}/history?limit=1000{more}{query}", timeout_s=20)[2]
            releases += answer.get("releases", [])  # the metric is absent without any
            more = f"&continue={answer['continue']}" if "continue" in answer else None
        return releases

    def heads(self, member, query=""):
        answer = ask(member, "GET", f"/api/v1/configs?deleted=true{query}", timeout_s=20)[2]
        return {i.pop("name"): i for i in answer["configs"]}

    def difference(self):
        """None: every member has the same, and every reader the last state."""
        addresses = self.addresses(0)
        heads = self.heads(addresses[0])
        for a in addresses:
            if self.heads(a) != heads or self.heads(a, "&consistency=local") != heads:
                return f"the heads of {a} are others"
        gray = {n: self.live(n, "?labels=zone=b") for n in GRAY}
        for r in self.readers:
            for name, (seq, md5) in r.last.items():
                wanted = gray[name] if r.zone == "b" and name in GRAY else (heads[name]["seq"], heads[name].get("md5"))
                if (seq if md5 else None, md5) != (wanted[0] if wanted[1] else None, wanted[1]):
                    return f"{r.name} has {name} at {seq}, it is at {wanted[0]}"
        for name in SHARED:
            path = f"/api/v1/configs/{name}/releases/{heads[name]['seq']}/delivery"
            for a in addresses:
                listeners = ask(a, "GET", path, timeout_s=3)[2]["listeners"]
                applied = [i["client_id"] for i in listeners if i.get("applied") == heads[name]["seq"]]
                if sorted(applied) != sorted(r.name for r in self.readers if isinstance(r, SocketFollower)):
                    return f"{a} says that {name} {heads[name]['seq']} is applied by {applied}"
        hashes = {ask(a, "POST", "/v3/maintenance/hashkv", {"revision": 0}, 5)[2]["hash"] for a in addresses}
        return None if len(hashes) == 1 else f"the members' hashes are {hashes}"

    def live(self, name, query):
        _, headers, _ = fetch(self.addresses(0)[0], "GET", f"/api/v1/configs/{name}{query}")
        return int(headers["X-Cairn-Seq"]), headers["ETag"].strip('"')

    def settle(self):
        why = []

        def is_same():
            why[:] = ["some do not answer"]
            why[:] = [self.difference()]
            return why[0] is None
        try:
            self.rest()
            wait_for("all have the same", is_same, 90)
        except SystemExit as error:
            self.judge.fault(f"at the end: {why[0] if why else error}")
        self.judge_all()
        self.go_on()

    def judge_all(self):
        raw = {a: self.raw_releases(a) for a in self.addresses(0)}
        first = raw[self.addresses(0)[0]]
        if any(r != first for r in raw.values()):
            self.judge.fault(f"the members' releases are not the same: {[len(r) for r in raw.values()]}")
        for name in SHARED + BUNDLE + GRAY:
            histories = [self.history(a, name) for a in self.addresses(0)]
            if any(h != histories[0] for h in histories):
                self.judge.fault(f"the histories of {name} are not the same")
            if [r["seq"] for r in reversed(histories[0])] != sorted(s for n, s in first if n == name):
                self.judge.fault(f"the history of {name} is not what its keys are")
            self.judge.judge_history("the history", name, histories[0])
        for seq in {s for n, s in first if n in BUNDLE}:
            if len({first.get((n, seq)) for n in BUNDLE}) != 1:
                self.judge.fault(f"bundle {seq} has several revisions: {[first.get((n, seq)) for n in BUNDLE]}")

    # --- scenarios ---
    def kill_leader(self):
        for _ in range(3):
            leader = self.members.leader()
            self.flow()
            self.members.stop(signal.SIGKILL, leader)
            self.members.leader()
            self.flow()
            self.members.start(leader)
            self.members.serve(leader)

    def stop_leader(self):
        """The member pauses, and continues afterwards."""
        for _ in range(2):
            leader = self.members.leader()
            self.flow()
            self.members.process[leader].send_signal(signal.SIGSTOP)
            try:
                self.members.leader(besides=leader)
                self.flow()
            finally:
                self.members.process[leader].send_signal(signal.SIGCONT)
            self.members.serve(leader)

    def cut_off_follower(self):
        leader = self.members.leader()
        self.cut_off([n for n in self.members.names if n != leader][0])

    def cut_off_leader(self):
        self.cut_off(self.members.leader())

    def cut_off(self, name):
        self.flow()
        self.members.cut_off(name)
        self.flow(40)
        time.sleep(2)  # its responses meanwhile are checked
        self.members.heal()
        self.members.serve(name)

    def restart_all(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            self.flow()
            self.members.stop(how, *self.members.names)
            self.members.start(*self.members.names)
            self.members.serve(*self.members.names)
            self.flow()

    def late(self):
        """Readers that were paused while a leader died and much was published resume from their positions."""
        away = [r for r in self.readers if "local" not in r.name][::2]
        for r in away:
            r.is_paused.set()
        self.kill_leader_once()
        self.flow(60)
        for r in away:
            r.is_paused.clear()

    def import_under_kill(self):
        """Archives of more than one transaction, while leaders die. A client that does not know the outcome imports the same archive
        again: in the end each configuration was written once, and every member has all of them. conflict: its own first try was
        faster."""
        contents, tries, is_over = {}, [], threading.Event()

        def import_one(ns, addresses):
            text = archive_of(ns, contents[ns])
            while True:
                tries.append(ns)
                try:
                    status, _, answer = fetch(addresses[0], "POST", "/api/v1/import?policy=abort", text, timeout_s=5)
                    if status == 200:
                        return
                    if json.loads(answer)["error"]["code"] not in UNKNOWN | {"not_ready", "no_leader", "conflict"}:
                        self.judge.fault(f"import into {ns} is answered with {status} {answer[:300]}")
                        return
                except OSError:
                    pass
                addresses.append(addresses.pop(0))
                time.sleep(0.05)

        def imports(first):
            turn = 0
            while not is_over.is_set():
                ns = f"imported-{first}-{turn}"
                contents[ns] = {f"i{n:03}.txt": f"{ns} {n} {'x' * 500}" for n in range(300)}
                import_one(ns, self.addresses(turn))
                turn += 1
        threads = [threading.Thread(target=imports, args=(k,), daemon=True) for k in range(3)]
        for t in threads:
            t.start()
        self.kill_leader()
        is_over.set()
        wait_for("all is imported", lambda: not any(t.is_alive() for t in threads))
        for a in self.addresses(0):
            for ns, wanted in contents.items():
                answer = ask(a, "GET", f"/api/v1/configs?namespace={ns}&limit=1000", timeout_s=20)[2]
                shown = {i["name"]: (i["seq"], i["md5"]) for i in answer["configs"]}
                if shown != {n: (1, md5_of(c.encode())) for n, c in wanted.items()}:
                    self.judge.fault(f"{ns} at {a}: {len(shown)} of {len(wanted)}, or one not once as it was imported")
        print(f"       {len(contents)} imports, {len(tries)} tries")

    def checks_under_faults(self):
        checks.checks_under_faults(self)

    def write_limits(self):
        limits.write_limits(self)

    def kill_leader_once(self):
        leader = self.members.leader()
        self.members.stop(signal.SIGKILL, leader)
        self.members.leader()
        self.members.start(leader)
        self.members.serve(leader)

    def all(self):
        return {f.__name__: f for f in (self.kill_leader, self.stop_leader, self.cut_off_follower, self.cut_off_leader,
                                        self.restart_all, self.late, self.import_under_kill,
                                        self.checks_under_faults, self.write_limits)}

    def run(self, names):
        for t in [*self.writers, *self.readers]:
            t.start()
        self.flow()
        for name, scenario in self.all().items():
            if names and name not in names:
                continue
            begin, before, counted = time.monotonic(), len(self.judge.faults), self.judge.count.copy()
            try:
                scenario()
                wait_for("enough has happened", lambda: not self.few(name, self.judge.count - counted))
            except SystemExit as error:
                self.judge.fault(f"{name}: {error}")
            self.settle()
            done = self.judge.count - counted
            if self.few(name, done):
                self.judge.fault(f"{name} is void, too little has happened: {self.few(name, done)}")
            faults = self.judge.faults[before:]
            much = ", ".join(f"{done[k]} {k}" for k in ("publishes", "lost answers", "hung up", "bundles", "gray releases"))
            print(f"  {'FAIL' if faults else 'ok  '} {name:<18} {time.monotonic() - begin:5.1f} s  {much}", flush=True)
            for text in faults[:8]:
                print(f"       {text}", flush=True)
        looked = [f"{n} {k}" for k, n in sorted(self.judge.count.items())]
        print(f"       looked at: {', '.join(looked)}")
        for t in [*self.readers, *self.writers]:
            t.is_over.set()
        for t in [*self.readers, *self.writers]:
            t.join(10)
        return not self.judge.faults

    @staticmethod
    def few(name, done):
        least = dict(LEAST, **({"lost answers": 1} if name in ("kill_leader", "stop_leader", "cut_off_leader") else {}))
        return {k: done[k] for k, n in least.items() if done[k] < n}


def archive_of(namespace, contents):
    """A tar, gzipped, as import takes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{namespace}/default/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    return gzip.compress(out.getvalue(), 1)


def text_of(key):
    return base64.b64decode(key).decode()
