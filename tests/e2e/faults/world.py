# SPDX-License-Identifier: Apache-2.0
"""Three members behind the fault proxy, and the clients that keep instances registered with them."""
import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "shell"))
from ports import free_ports  # noqa: E402

TTL_S = 8  # a busy machine may pause a client for some seconds
BEAT_S = 0.8


def fetch(member, method, path, body=None, headers=None, timeout_s=2):
    """Status, headers, bytes."""
    host, port = member.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"cut off: {error!r}") from error
    finally:
        connection.close()


def ask(member, method, path, body=None, timeout_s=2):
    """Status, revision, JSON body (None if it is none)."""
    status, headers, text = fetch(member, method, path, None if body is None else json.dumps(body), timeout_s=timeout_s)
    is_json = headers.get("Content-Type", "").startswith("application/json")
    return status, int(headers.get("X-Cairn-Revision", 0)), json.loads(text) if text and is_json else None


def wait_for(what, condition, timeout_s=90):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
        except (OSError, KeyError, TypeError):
            pass
        time.sleep(0.05)
    raise SystemExit(f"not within {timeout_s} s: {what}")


class Members:
    """n1, n2, n3; their peer connections go through the proxy."""

    def __init__(self, binary, proxy, folder):
        self.binary, self.folder = binary, folder
        base = free_ports(40)
        self.names = ["n1", "n2", "n3"]
        self.client = {n: f"127.0.0.1:{base + 10 * i}" for i, n in enumerate(self.names)}
        self.listen = {n: base + 10 * i + 1 for i, n in enumerate(self.names)}
        self.shown = {n: base + 10 * i + 2 for i, n in enumerate(self.names)}
        self.dns = {n: base + 10 * i + 3 for i, n in enumerate(self.names)}
        self.process, self.id = {}, {}
        links = [f"{n}={self.shown[n]}:{self.listen[n]}" for n in self.names]
        self.proxy = subprocess.Popen([proxy, "-", *links], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, *names, options=()):
        cluster = ",".join(f"{n}=http://127.0.0.1:{p}" for n, p in self.shown.items())
        for n in names:
            url = "http://" + self.client[n]
            with open(f"{self.folder}/{n}.log", "ab") as log:
                self.process[n] = subprocess.Popen(
                    [self.binary, "--name", n, "--data-dir", f"{self.folder}/{n}", "--initial-cluster", cluster,
                     "--listen-client-urls", url, "--advertise-client-urls", url,
                     "--listen-peer-urls", f"http://127.0.0.1:{self.listen[n]}",
                     "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.shown[n]}",
                     "--initial-cluster-token", "faults", "--heartbeat-interval", "50", "--election-timeout", "500",
                     "--listen-dns", f"127.0.0.1:{self.dns[n]}", *options], stdout=log, stderr=log)

    def serve(self, *names):
        for n in names:
            wait_for(f"{n} serves", lambda n=n: ask(self.client[n], "GET", "/readyz")[0] == 200)
            status = wait_for(f"{n} knows itself", lambda n=n: self.status(n))
            self.id[n] = f"{int(status['header']['member_id']):x}"

    def status(self, name):
        return ask(self.client[name], "POST", "/v3/maintenance/status", {})[2]

    def leader(self, besides=None):
        def look():
            for n in self.names:
                if n != besides and self.process[n].poll() is None:
                    status = self.status(n)
                    if status.get("leader") == status["header"]["member_id"]:
                        return n
            return None
        return wait_for("a leader", look)

    def lead(self, name):
        """Transfers leadership to this member."""
        def ask_for_it():
            leader = self.leader()
            if leader != name:
                ask(self.client[leader], "POST", "/v3/maintenance/transfer-leadership", {"targetID": str(int(self.id[name], 16))}, 10)
            return leader == name
        wait_for(f"{name} leads", ask_for_it)

    @contextlib.contextmanager
    def small_disk(self, name):
        """The member has its folder on a disk of its own, which fill() fills until the member ends. Yields None if the machine has no
        such disk. Afterwards the member has room again, and serves."""
        folder, mount = f"{self.folder}/{name}", f"{self.folder}/{name}.disk"
        os.mkdir(mount)
        if os.getuid() != 0 or subprocess.call(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", mount], stderr=subprocess.DEVNULL):
            os.rmdir(mount)
            yield None
            return

        def move(source, target):
            self.stop(signal.SIGTERM, name)
            shutil.copytree(source, target, dirs_exist_ok=True)
            shutil.rmtree(source, ignore_errors=True)

        def fill():
            with contextlib.suppress(OSError), open(f"{mount}/other", "wb", buffering=0) as other:
                while True:
                    other.write(bytes(1 << 20))
            with contextlib.suppress(OSError), open(f"{mount}/rest", "wb", buffering=0) as rest:
                while True:
                    rest.write(bytes(4096))
            value = base64_of("x" * 100000)
            for turn in range(1000):  # what the log has of room already, too
                if self.process[name].poll() is not None:
                    return
                with contextlib.suppress(OSError):
                    ask(self.client[name], "POST", "/v3/kv/put", {"key": base64_of(f"full/{turn % 5}"), "value": value})
        try:
            move(folder, f"{mount}/data")
            os.symlink(f"{mount}/data", folder)
            self.start(name)
            self.serve(name)
            yield fill
        finally:
            for file in ("other", "rest"):
                with contextlib.suppress(OSError):
                    os.unlink(f"{mount}/{file}")
            self.stop(signal.SIGTERM, name)
            os.unlink(folder)
            shutil.copytree(f"{mount}/data", folder)
            subprocess.call(["umount", mount])
            self.start(name)
            self.serve(name)

    def stop(self, how, *names):
        for n in names:
            self.process[n].send_signal(how)
        for n in names:
            self.process[n].wait(60)

    def command(self, line):
        self.proxy.stdin.write(line + "\n")
        self.proxy.stdin.flush()
        answer = self.proxy.stdout.readline().strip()
        if answer != "ok":
            raise SystemExit(f"the proxy answers '{answer}' to '{line}'")

    def cut_off(self, name):
        self.command(f"blackhole {name} both")
        for n in self.names:
            if n != name:
                self.command(f"blackhole {n}@{self.id[name]} both")

    def heal(self):
        self.command("heal *")

    def stand_still(self, *names):
        for n in names:
            self.process[n].send_signal(signal.SIGSTOP)

    def go_on(self, *names):
        for n in names:
            self.process[n].send_signal(signal.SIGCONT)

    def guards(self, names=None):
        """How many instances are held now, and how often a guard went on, of these members (all, if none are named)."""
        held = trips = 0
        for n in names or self.names:
            host, port = self.client[n].split(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=20)
            connection.request("GET", "/metrics")
            for line in connection.getresponse().read().decode().splitlines():
                if line.startswith("cairn_registry_guarded_instances "):
                    held += float(line.split()[1])
                if line.startswith("cairn_registry_guard_trips_total "):
                    trips += float(line.split()[1])
            connection.close()
        return held, trips

    def end(self):
        for p in [*self.process.values(), self.proxy]:
            if p.poll() is None:
                p.send_signal(signal.SIGKILL)
            p.wait()


class Client(threading.Thread):
    """One session with its instances {id: (service, document)}, kept as a well-behaved client does: heartbeats to any member that
    answers, and a new registration when the session is gone."""

    def __init__(self, name, addresses, instances, judge):
        super().__init__(daemon=True)
        self.name, self.addresses, self.instances, self.judge = name, list(addresses), instances, judge
        self.session = None
        self.is_paused, self.is_over, self.is_registered = threading.Event(), threading.Event(), threading.Event()
        self.beaten = time.monotonic()
        self.starved_s = 0  # since then: the longest delay of its heartbeats
        self.starved = 0  # the number of sessions lost by that

    def pause(self, may_die=True):
        """The client sends nothing more: its instances may expire from now on, or must be held."""
        if may_die:
            self.judge.free(self.instances)
        self.is_paused.set()
        self.is_registered.clear()

    def resume(self, with_session=False):
        if not with_session:
            self.session = None
        self.is_paused.clear()

    def run(self):
        while True:
            begin = time.monotonic()
            if self.is_over.wait(BEAT_S):
                return
            self.starved_s += time.monotonic() - begin - BEAT_S
            if self.is_paused.is_set():
                continue
            try:
                if self.is_registered.is_set():
                    self.beat()
                else:
                    self.register()
            except OSError:
                self.addresses.append(self.addresses.pop(0))

    def say(self, method, path, body=None):
        status, revision, answer = ask(self.addresses[0], method, "/api/v1" + path, body)
        if status not in (200, 410):
            raise OSError(f"{status} {answer}")
        return status, revision, answer

    def beat(self):
        begin = time.monotonic()
        status = self.say("PUT", f"/sessions/{self.session}/heartbeat")[0]
        if self.is_paused.is_set():
            return
        if status == 410:
            if self.starved_s < TTL_S / 2:
                self.judge.fault(f"the session of {self.name} is gone, {begin - self.beaten:.1f} s after its last heartbeat")
            self.starved += self.starved_s >= TTL_S / 2  # this process got no turn for so long: no fault of the registry
            self.judge.free(self.instances)
            self.is_registered.clear()
            self.session = None
        else:
            self.beaten, self.starved_s = begin, 0

    def register(self):
        if not self.session:
            self.session = self.say("POST", "/sessions", {"ttl": TTL_S, "client_id": self.name})[2]["session"]
        written = {}
        for i, (service, document) in self.instances.items():
            status, _, answer = self.say("PUT", f"/services/{service}/instances/{i}?session={self.session}", document)
            if status == 410:
                self.session = None
                return
            written[i] = answer["revision"]
        self.beaten, self.starved_s = time.monotonic(), 0
        if not self.is_paused.is_set():
            self.judge.hold({i: (self.instances[i][0], r) for i, r in written.items()})
            self.is_registered.set()


class EtcdClient(Client):
    """A client of plain etcd: it registers its instances once, on a plain lease, and then sends keep-alives only."""

    def call(self, path, body):
        status, _, answer = ask(self.addresses[0], "POST", "/v3" + path, body)
        if status != 200:
            raise OSError(f"{status} {answer}")
        return answer

    def beat(self):
        if int(self.call("/lease/keepalive", {"ID": self.session})["result"].get("TTL", 0)) <= 0:
            self.judge.fault(f"the lease of {self.name} is gone")

    def register(self):
        if not self.session:
            self.session = self.call("/lease/grant", {"TTL": TTL_S})["ID"]
        for i, (service, document) in self.instances.items():
            key = f"/cairn/registry/instances/default/default/{service}/{i}"
            put = self.call("/kv/put", {"key": base64_of(key), "value": base64_of(json.dumps(document)), "lease": self.session})
            self.judge.hold({i: (service, int(put["header"]["revision"]))})
        self.is_registered.set()


def base64_of(text):
    return base64.b64encode(text.encode()).decode()


def stop_clients(clients):
    for c in clients:
        c.is_over.set()
    for c in clients:
        c.join(10)

