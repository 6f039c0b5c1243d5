#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Metrics of a real etcd and of our server under the same load: which moved, and by what factor.

    compare.py ETCD CAIRND ETCDCTL FOLDER [-v]

Drives one member, then a cluster that grows to two, of each server with the same load, and scrapes /metrics before and
after. It fails when a series of etcd's moved and ours did not, when a name of ours that is etcd's never speaks, and when
a counter with an exact meaning moved by another factor. expected.txt names the exceptions with their reasons; one that
is not needed is a failure too.
"""
import base64
import collections
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

FACTOR = 1.2  # of counters with an exact meaning
PUTS, RANGES, DELETES, TXNS, GRANTS = 400, 300, 60, 60, 20
EXACT = re.compile(r"""etcd_mvcc_(put|delete|txn|range)_total|etcd_debugging_lease_\w+|etcd_debugging_server_lease_expired_total
    |etcd_debugging_mvcc_(events_total|total_put_size_in_bytes|db_compaction_keys_total|keys_total|current_revision|compact_revision)
    |etcd_server_(range|request|apply)_duration_seconds_count|etcd_network_snapshot_\w+_success
    |etcd_server_(proposals_applied_total|proposals_committed_total|learner_promote_successes|health_success|health_failures)
    |etcd_mvcc_hash_\w*duration_seconds_count|etcd_disk_backend_(defrag|snapshot)_duration_seconds_count
    |etcd_debugging_auth_revision|etcd_server_quota_backend_bytes|etcd_network_client_grpc_\w+_bytes_total
    |etcd_server_client_requests_total|grpc_server_(started|handled|msg_received|msg_sent)_total
    |grpc_server_handling_seconds_count""", re.X)
OURS = re.compile(r"^cairn_")
SHARED = re.compile(r"^(etcd_|grpc_|process_|os_fd_|promhttp_|go_)")
MEMBER_LABELS = re.compile(r'\b(To|From|Local|Remote|server_id|Reason|server_version|cluster_version|server_go_version)="[^"]*"')


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def free_base():
    while True:
        base = 21000 + (os.getpid() * 7 + int(time.time() * 1000)) % 9000
        socks = []
        try:
            for offset in (0, 1, 10, 11):
                s = socket.socket()
                socks.append(s)
                s.bind(("127.0.0.1", base + offset))
            return base
        except OSError:
            time.sleep(0.013)
        finally:
            for s in socks:
                s.close()


class Member:
    def __init__(self, kind, binary, folder, base, name, cluster, state, flags=()):
        self.kind, self.port, self.name = kind, base, name
        client, peer = f"http://127.0.0.1:{base}", f"http://127.0.0.1:{base + 1}"
        self.endpoint, self.peer, self.connection = f"127.0.0.1:{base}", peer, None
        self.command = [binary, "--name", name, "--data-dir", f"{folder}/{kind}-{name}", "--listen-client-urls", client,
                        "--advertise-client-urls", client, "--listen-peer-urls", peer,
                        "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
                        "--initial-cluster-state", state, "--metrics", "extensive", *flags]
        self.log = open(f"{folder}/{kind}-{name}.log", "ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def stop(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()

    def call(self, path, body=None, method="POST"):
        for attempt in (1, 2):
            try:
                if not self.connection:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                self.connection.request(method, path, None if body is None else json.dumps(body))
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self.connection = None
                if attempt == 2:
                    raise
        return None

    def v3(self, path, body):
        status, text = self.call("/v3/" + path, body)
        return status, json.loads(text or b"{}")

    def get(self, path):
        try:
            return self.call(path, None, "GET")
        except OSError:
            return 0, b""

    def wait(self, path="/health"):
        end = time.time() + 60
        while time.time() < end:
            if self.get(path)[0] == 200:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"{self.kind} {self.name} does not serve {path}")

    def scrape(self):
        series, types = collections.Counter(), {}
        for line in self.get("/metrics")[1].decode().splitlines():
            if line.startswith("# TYPE "):
                types[line.split()[2]] = line.split()[3]
            elif line and line[0] != "#":
                name, value = line.rsplit(" ", 1)
                labels = ""
                if "{" in name:
                    name, labels = name[:-1].split("{", 1)
                    labels = ",".join(sorted(re.findall(r'\w+="[^"]*"', MEMBER_LABELS.sub(r'\1="*"', labels))))
                if not name.endswith("_bucket"):
                    series[name + (f"{{{labels}}}" if labels else "")] += float(value)
        return series, types


class Load:
    """The same calls to either server."""

    def __init__(self, etcdctl, folder, member):
        self.etcdctl, self.folder, self.m = etcdctl, folder, member
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}

    def ctl(self, *words, check=True, member=None):
        member = member or self.m
        done = subprocess.run([self.etcdctl, "--endpoints", member.endpoint, "--command-timeout", "20s", *words],
                              env=self.environment, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise SystemExit(f"{member.kind}: etcdctl {' '.join(words)}: {done.stderr[-400:]}")
        return done.stdout

    def ctl_begin(self, *words):
        return subprocess.Popen([self.etcdctl, "--endpoints", self.m.endpoint, *words], env=self.environment,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def put(self, i, size=100, **more):
        return self.m.v3("kv/put", {"key": b64(f"k/{i:05d}"), "value": b64(b"v" * size), **more})

    def keys(self):
        for i in range(PUTS):
            self.put(i, 100 + i % 7)
        for i in range(40):
            self.put(i, prev_kv=True)
        for i in range(10):
            self.put(i, lease="4242")  # refused: there is no such lease
        for i in range(RANGES):
            self.m.v3("kv/range", {"key": b64(f"k/{i:05d}"), "serializable": i % 2 == 0})
        for i in range(10):
            self.m.v3("kv/range", {"key": b64("k/"), "range_end": b64("k0"), "limit": 50})
        for _ in range(5):
            self.m.v3("kv/range", {"key": b64("k/"), "revision": 999999999})  # refused
        for i in range(DELETES):
            self.m.v3("kv/deleterange", {"key": b64(f"k/{i:05d}"), "prev_kv": i % 3 == 0})

    def txns(self):
        for i in range(TXNS):
            key = b64(f"t/{i:05d}")
            self.m.v3("kv/txn", {
                "compare": [{"key": key, "target": "VERSION", "result": "EQUAL", "version": "0"},
                            {"key": b64("none"), "target": "VERSION", "result": "EQUAL", "version": "0"}],
                "success": [{"requestPut": {"key": key, "value": b64("x")}}, {"requestRange": {"key": key}},
                            {"requestPut": {"key": b64(f"t/{i:05d}/b"), "value": b64("y"), "prev_kv": True}}]})
            self.m.v3("kv/txn", {"success": [{"requestRange": {"key": key}}, {"requestRange": {"key": key}}]})

    def leases(self):
        for i in range(1, GRANTS + 1):
            self.m.v3("lease/grant", {"TTL": "600", "ID": str(i)})
        for i in range(1, 6):
            self.put(90000 + i, lease=str(i))
            self.put(91000 + i, lease=str(i))
            self.m.v3("lease/keepalive", {"ID": str(i)})
            self.m.v3("lease/timetolive", {"ID": str(i), "keys": True})
            self.m.v3("lease/revoke", {"ID": str(i)})
        self.m.v3("lease/leases", {})
        self.m.v3("lease/revoke", {"ID": "777777"})
        for i in range(4):
            self.m.v3("lease/grant", {"TTL": "2", "ID": str(100 + i)})
        time.sleep(6)

    def watches(self):
        watches = [self.ctl_begin("watch", "--prefix", "w/", "--rev", "1") for _ in range(3)]
        interactive = self.ctl_begin("watch", "--interactive")
        interactive.stdin.write(b"watch --prefix w/\nprogress\n")
        interactive.stdin.flush()
        time.sleep(1.5)
        for i in range(40):
            self.m.v3("kv/put", {"key": b64(f"w/{i}"), "value": b64("e")})
        time.sleep(0.5)
        interactive.stdin.write(b"progress\n")
        interactive.stdin.flush()
        slow = watches[0]
        slow.send_signal(signal.SIGSTOP)
        gauges = collections.Counter()
        for i in range(120):
            self.m.v3("kv/put", {"key": b64(f"w/slow{i % 4}"), "value": b64(b"s" * 400000)})
        time.sleep(1)
        for name, value in self.m.scrape()[0].items():  # what stands only while they are there
            gauges[name] = value
        slow.send_signal(signal.SIGCONT)
        time.sleep(1.5)
        for w in watches + [interactive]:
            w.send_signal(signal.SIGINT)
            w.communicate()
        return gauges

    def grpc_bytes(self):
        """Bytes of gRPC clients alone: etcd's gateway is a gRPC client of its own server, ours calls it within the process."""
        names = ("etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total")
        before = self.m.scrape()[0]
        for _ in range(6):
            self.ctl("put", "g", "g" * 20000)
            self.ctl("get", "g")
        after = self.m.scrape()[0]
        return {name: after[name] - before[name] for name in names}

    def maintenance(self):
        for i in range(200):
            self.m.v3("kv/put", {"key": b64(f"c/{i % 20}"), "value": b64("z")})
        revision = int(self.m.v3("kv/range", {"key": b64("none")})[1]["header"]["revision"])
        for back in (150, 100, 0):
            self.m.v3("kv/compaction", {"revision": str(revision - back), "physical": True})
        for _ in range(4):
            self.m.v3("maintenance/hash", {})
            self.m.v3("maintenance/hashkv", {})  # hash or hashkv by the version of the gateway
            self.ctl("endpoint", "hashkv")
            self.ctl("endpoint", "status")
        self.ctl("snapshot", "save", f"{self.folder}/{self.m.kind}.snapshot")
        self.ctl("defrag")
        member = self.m.v3("maintenance/status", {})[1]["header"]["member_id"]
        self.m.v3("maintenance/alarm", {"action": "ACTIVATE", "memberID": member, "alarm": "NOSPACE"})
        for i in range(5):
            self.put(i)  # refused
        for path in ("/health", "/health", "/livez", "/readyz"):
            self.m.get(path)
        gauges = self.m.scrape()[0]
        self.ctl("alarm", "disarm")
        for path in ("/health", "/livez", "/readyz") * 2:
            self.m.get(path)
        return gauges

    def auth(self):
        self.m.v3("auth/user/add", {"name": "root", "password": "r"})
        self.m.v3("auth/user/grant", {"user": "root", "role": "root"})
        self.m.v3("auth/role/add", {"name": "reader"})
        self.m.v3("auth/role/grant", {"name": "reader", "perm": {"permType": "READ", "key": b64("k/")}})
        self.m.v3("auth/user/add", {"name": "u", "password": "p"})
        self.m.v3("auth/user/grant", {"user": "u", "role": "reader"})
        self.m.v3("auth/enable", {})
        for i in range(5):
            self.put(i)  # refused: no user
            self.m.v3("auth/authenticate", {"name": "u", "password": "wrong"})
        self.ctl("--user", "u:p", "get", "k/")
        self.ctl("--user", "u:p", "put", "k/", "x", check=False)
        self.ctl("--user", "root:r", "auth", "disable")


def moved(before, after):
    return collections.Counter({k: after[k] - before.get(k, 0) for k in after})


def drive_one(kind, binary, etcdctl, folder):
    base = free_base()
    m = Member(kind, binary, folder, base, "one", f"one=http://127.0.0.1:{base + 1}", "new")
    try:
        m.wait()
        time.sleep(3)  # its version is settled
        before, _ = m.scrape()
        load = Load(etcdctl, folder, m)
        load.keys()
        load.txns()
        load.leases()
        stood = load.watches()
        alarmed = load.maintenance()
        grpc_bytes = load.grpc_bytes()
        load.auth()
        time.sleep(1)
        after, types = m.scrape()
    finally:
        m.stop()
    change = moved(before, after)
    for name, value in grpc_bytes.items():
        change[name] = value
    for gauges in (stood, alarmed):
        for name in gauges:
            if not change[name]:
                change[name] = gauges[name] - before.get(name, 0)
    return change, [after, stood, alarmed], types


def drive_cluster(kind, binary, etcdctl, folder):
    base = free_base()
    flags = ["--snapshot-count", "100", "--snapshot-catchup-entries", "10"]
    flags += ["--promote-learners=false"] if kind == "cairn" else []
    a = Member(kind, binary, folder, base, "a", f"a=http://127.0.0.1:{base + 1}", "new", flags)
    b = None
    try:
        a.wait()
        time.sleep(3)
        before, _ = a.scrape()
        load = Load(etcdctl, folder, a)
        for i in range(600):
            load.put(i, 1000)
        load.ctl("member", "add", "b", "--learner", "--peer-urls", f"http://127.0.0.1:{base + 11}")
        cluster = f"a=http://127.0.0.1:{base + 1},b=http://127.0.0.1:{base + 11}"
        members = load.m.v3("cluster/member/list", {})[1]["members"]
        learner = [m["ID"] for m in members if m.get("isLearner")][0]
        load.ctl("member", "promote", f"{int(learner):x}", check=False)  # refused: it is not there yet
        b = Member(kind, binary, folder, base + 10, "b", cluster, "existing", flags)
        end = time.time() + 40
        learner_scrape = {}
        while not learner_scrape.get("etcd_server_is_learner") and time.time() < end:
            time.sleep(0.05)
            learner_scrape = b.scrape()[0]
        for _ in range(100):
            load.put(1)
            load.ctl("member", "promote", f"{int(learner):x}", check=False)
            if not any(m.get("isLearner") for m in load.m.v3("cluster/member/list", {})[1]["members"]):
                break
            time.sleep(0.3)
        else:
            raise SystemExit(f"{kind}: the learner is not promoted")
        b.wait()
        for i in range(200):
            load.put(i)
            b.v3("kv/range", {"key": b64("k/00001")})
        load.ctl("move-leader", f"{int(learner):x}")
        time.sleep(1)
        for i in range(50):
            load.put(i)
        follower = b.scrape()[0]
        together = a.scrape()[0]
        together.update(follower)  # the sum
        b.process.send_signal(signal.SIGSTOP)  # no quorum: proposals and reads fail
        for i in range(2):
            load.put(i)
            a.v3("kv/range", {"key": b64("k/00001")})
        b.process.send_signal(signal.SIGCONT)
        b.wait()
        b.stop()  # the connection breaks
        time.sleep(2)
        stood = a.scrape()[0]
        b.start()
        b.wait()
        a.wait()
        time.sleep(1)
        last, types = a.scrape()
    finally:
        a.process.send_signal(signal.SIGCONT)
        a.stop()
        if b:
            b.process.send_signal(signal.SIGCONT)
            b.stop()
    change = moved(before, together)
    for name, value in (stood | last).items():  # b counts from 0 again: what moved at a alone
        if not change[name]:
            change[name] = value - before.get(name, 0)
    for name in [n for n in change if n.startswith("etcd_network_client_grpc_")]:
        del change[name]  # the gateway's, again
    return change, [together, stood, last, learner_scrape], types


def family(series):
    return re.sub(r"_(sum|count)$", "", series.split("{")[0])


def read_expected(path):
    rules = []
    for line in open(path, encoding="utf-8"):
        if line.strip() and line[0] != "#":
            kind, pattern, reason = line.rstrip("\n").split(None, 2)
            rules.append([kind.rstrip("?"), re.compile(pattern), reason, int(kind.endswith("?"))])
    return rules


def excused(rules, kind, series):
    for rule in rules:
        if rule[0] == kind and rule[1].fullmatch(series):
            rule[3] += 1
            return rule[2]
    return None


def read_mixin(path, series):
    """The names of the mixin that no series of ours has."""
    for line in open(path, encoding="utf-8"):
        words = line.split()
        if not words or words[0][0] == "#":
            continue
        if not any(re.fullmatch(re.escape(words[0]) + r"(\{.*)?", s) and all(w + "=" in s or w in s for w in words[1:])
                   for s in series):
            yield line.strip()


def main():
    etcd, cairnd, etcdctl, folder = sys.argv[1:5]
    is_verbose = "-v" in sys.argv
    here = os.path.dirname(os.path.abspath(__file__))
    rules = read_expected(f"{here}/expected.txt")
    theirs, ours, all_theirs, all_ours = (collections.Counter() for _ in range(4))
    types = [{}, {}]
    failures = []
    compared = 0
    for part, drive in (("one", drive_one), ("two", drive_cluster)):
        results = []
        for i, (kind, binary) in enumerate((("etcd", etcd), ("cairn", cairnd))):
            change, all_series, found = drive(kind, binary, etcdctl, folder)
            results.append(change)
            types[i].update(found)
            for k, v in change.items():
                if v:
                    (ours if i else theirs)[k] = v
            for scraped in all_series:
                for k, v in scraped.items():
                    (all_ours if i else all_theirs)[k] = 1
                    if v and types[i].get(family(k)) == "gauge":
                        (ours if i else theirs)[k] = (ours if i else theirs)[k] or v
        a, b = results
        for series in sorted(set(a) | set(b)):
            if not SHARED.match(series) or "_sum" in series or not (a[series] or b[series]):
                continue
            compared += 1
            factor = b[series] / a[series] if a[series] else float("inf")
            print(f"    {part} {series}: {a[series]:.10g} and {b[series]:.10g}, factor {factor:.3g}")
            if a[series] and not b[series] and not excused(rules, "absent", series):
                if not ours[series]:
                    failures.append(f"{part}: {series} moved by {a[series]:g} on etcd, not here")
            elif EXACT.fullmatch(series.split("{")[0]) and not 1 / FACTOR <= factor <= FACTOR:
                few = abs(a[series] - b[series]) <= 3
                if not few and not excused(rules, "factor", series):
                    failures.append(f"{part}: {series} moved by {a[series]:g} on etcd, {b[series]:g} here")
    for line in read_mixin(f"{here}/mixin.txt", all_ours):
        failures.append(f"the mixin's {line} is absent")
    silent = {family(s) for s in all_ours if SHARED.match(s)} - {family(s) for s in ours}
    for name in sorted(silent):
        if not excused(rules, "silent", name):
            failures.append(f"{name} is exposed and never moves")
    for name in sorted(types[0]):
        if name in types[1] and types[0][name] != types[1][name] and not excused(rules, "type", name):
            failures.append(f"{name} is a {types[0][name]} on etcd, a {types[1][name]} here")
        if name not in types[1] and name not in {family(s) for s in all_ours} and not excused(rules, "absent", name):
            failures.append(f"{name} is absent")
    for name in sorted({family(s) for s in all_ours}):
        if SHARED.match(name) and name not in set(types[0]) | {family(s) for s in all_theirs} and not excused(rules, "own", name):
            failures.append(f"{name} has a name of etcd's and is not there on etcd")
    for kind, pattern, _, uses in rules:
        if not uses:
            failures.append(f"expected.txt: '{kind} {pattern.pattern}' is not needed")
    for line in failures:
        print(line)
    if is_verbose:
        print(f"exceptions: {sum(r[3] for r in rules)}")
    names = {family(s) for s in ours if SHARED.match(s)}
    print(f"{compared} series of {len(names)} metrics of etcd's compared; {len(failures)} failures, {len(rules)} exceptions with a reason")
    sys.exit(bool(failures))


main()
