# SPDX-License-Identifier: Apache-2.0
"""The parts of Kubernetes that the rendered chart needs: pods as processes, the StatefulSet's controller, names, probes.

A pod is a network namespace with an address of its own on one bridge, a root of its own that is read-only as the pod says,
folders for its claims and secrets, and the real program with the rendered arguments and variables, under the rendered user and
without capabilities. Its container is started again when it ends or when the liveness probe fails; a pod that is deleted gets
SIGTERM and the rendered grace. A pod that is made anew has another address. Names stand in one hosts file that all pods read,
without the names of pods that are gone.

Must run as root in network, mount and process namespaces of its own (pods.py sees to it): all ends with it.

Not simulated: a scheduler, init containers and sidecars of the StatefulSet, DNS' delays. Probes are asked once a second, whatever their
period; their paths, ports, time-outs and thresholds are the rendered ones."""
import base64
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

PROBE_S = 1.0
BACK_OFF_S = 1.0
LIMIT_S = 60  # for conditions that must come true; correct runs take far less


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def within(condition, limit_s=LIMIT_S):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


# The inside of a container: a root with the machine's programs, the pod's mounts over it, then the program instead of this.
ENTER = r"""set -e
root=$1 readonly=$2; shift 2
mount -t tmpfs -o mode=755 root "$root"
mkdir -p "$root/usr/local/bin" "$root/etc" "$root/proc" "$root/dev" "$root/tmp"
for d in lib lib64 bin sbin; do
    [ -e "/$d" ] || continue
    if [ -L "/$d" ]; then ln -s "usr/$d" "$root/$d"; else mkdir "$root/$d"; mount --bind "/$d" "$root/$d"; fi
    [ -e "/usr/$d" ] && mkdir -p "$root/usr/$d" && mount --bind "/usr/$d" "$root/usr/$d"
done
for d in null urandom; do touch "$root/dev/$d"; mount --bind "/dev/$d" "$root/dev/$d"; done
mount --bind /proc "$root/proc"
echo 'hosts: files' >"$root/etc/nsswitch.conf"
echo 'cairn:x:65532:65532::/:/bin/false' >"$root/etc/passwd"
echo 'cairn:x:65532:' >"$root/etc/group"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$(dirname "$root$2")"; touch "$root$2"; fi
    mount --bind "$1" "$root$2"
    [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
    shift 3
done
shift
[ "$readonly" = no ] || mount -o remount,ro "$root"
exec /usr/sbin/chroot "$root" "$@"
"""


def setpriv(pod_context, context):
    """The command in front of the program that makes the security context true."""
    both = {**pod_context, **context}
    command = ["setpriv", f"--reuid={both.get('runAsUser', 0)}", f"--regid={both.get('runAsGroup', 0)}"]
    command.append(f"--groups={both['fsGroup']}" if "fsGroup" in both else "--clear-groups")
    if both.get("allowPrivilegeEscalation") is False:
        command.append("--no-new-privs")
    if "ALL" in both.get("capabilities", {}).get("drop", []):
        command += ["--bounding-set=-all", "--inh-caps=-all"]
    if both.get("runAsNonRoot") and not both.get("runAsUser"):
        raise RuntimeError("the pod is not to run as root and does not say as whom")
    return command


class Network:
    """The bridge, addresses, and the hosts file."""

    def __init__(self, work):
        self.hosts = work / "hosts"
        self.names = {}
        self.last = 1
        self.write()
        run("mount", "-t", "tmpfs", "netns", "/run/netns") if Path("/run/netns").is_dir() else os.makedirs("/run/netns")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "br0", "type", "bridge")
        run("ip", "addr", "add", "10.66.0.1/16", "dev", "br0")
        run("ip", "link", "set", "br0", "up")

    def write(self):
        text = "127.0.0.1 localhost\n" + "".join(f"{a} {n}\n" for n, a in sorted(self.names.items()))
        with open(self.hosts, "w" if not self.hosts.exists() else "r+", encoding="ascii") as f:
            f.write(text)
            f.truncate()

    def name(self, name, address):
        if self.names.get(name) != address:
            self.names.pop(name, None)
            if address:
                self.names[name] = address
            self.write()

    def join(self, namespace):
        """A network namespace on the bridge, with an address that no pod had before."""
        self.last += 1
        address = f"10.66.{self.last // 250}.{self.last % 250 + 2}"
        run("ip", "netns", "add", namespace)
        run("ip", "link", "add", f"v{self.last}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
        run("ip", "link", "set", f"v{self.last}", "master", "br0", "up")
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", namespace, "addr", "add", address + "/16", "dev", "eth0")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        return address


class Container:
    """One container of a pod, as a process."""

    def __init__(self, pod, spec):
        self.pod, self.spec = pod, spec
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        for v in spec.get("env", []):
            self.env[v["name"]] = v["value"] if "value" in v else pod.field(v["valueFrom"]["fieldRef"]["fieldPath"])

    def expand(self, text):
        return re.sub(r"\$\((\w+)\)", lambda m: self.env.get(m[1], m[0]), text)

    def start(self, log):
        pod, context = self.pod, self.spec.get("securityContext", {})
        root = pod.world.work / "roots" / f"{pod.name}-{self.spec['name']}"
        root.mkdir(parents=True, exist_ok=True)
        mounts = [str(pod.world.cairnd), "/usr/local/bin/cairnd", "ro", str(pod.world.network.hosts), "/etc/hosts", "ro"]
        for m in self.spec.get("volumeMounts", []):
            mounts += [str(pod.volume(m["name"])), m["mountPath"], "ro" if m.get("readOnly") else "rw"]
        command = ["ip", "netns", "exec", pod.namespace, "unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "enter",
                   str(root), "yes" if context.get("readOnlyRootFilesystem") else "no", *mounts, "--",
                   *setpriv(pod.spec.get("securityContext", {}), context),
                   *self.spec["command"], *[self.expand(a) for a in self.spec.get("args", [])]]
        return subprocess.Popen(command, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


class Pod:
    """One life of a pod of the StatefulSet, from its creation to its deletion."""

    def __init__(self, world, name, template):
        self.world, self.name, self.spec = world, name, template["spec"]
        self.labels = template["metadata"].get("labels", {})
        world.lives += 1
        self.namespace = f"{name}-{world.lives}"
        self.address = world.network.join(self.namespace)
        self.log_path = world.work / f"{name}.log"
        self.log = open(self.log_path, "ab")
        self.process = None
        self.is_ready = self.is_started = self.is_deleted = False
        self.restarts = 0
        self.exits = []  # status of each end of the container
        self.thread = threading.Thread(target=self.live, daemon=True)

    def field(self, path):
        return {"metadata.name": self.name, "metadata.namespace": "default", "status.podIP": self.address}[path]

    def volume(self, name):
        for v in self.spec.get("volumes", []):
            if v["name"] == name:
                if "secret" in v:
                    return self.world.secret(v["secret"]["secretName"], v["secret"]["defaultMode"], self.spec)
                if "persistentVolumeClaim" in v:
                    return self.world.claim(v["persistentVolumeClaim"]["claimName"], self.spec)
                raise RuntimeError(f"a volume of a kind that is not here: {v}")
        return self.world.claim(f"{name}-{self.name}", self.spec)

    # --- the container's life ---
    def live(self):
        main = Container(self, self.spec["containers"][0])
        probes = {name: Probe(self, main.spec[name]) for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in main.spec}
        while not self.is_deleted:
            self.is_started, self.is_ready = "startupProbe" not in probes, "readinessProbe" not in probes
            for p in probes.values():
                p.reset()
            self.process = main.start(self.log)
            self.watch(probes)
            self.exits.append(self.process.wait())
            self.is_ready = False
            if not self.is_deleted:
                self.restarts += 1
                time.sleep(BACK_OFF_S)

    def watch(self, probes):
        """Until the container ends; kills it when a probe says so."""
        while self.process.poll() is None:
            if not self.is_started:
                verdict = probes["startupProbe"].ask()
                self.is_started = verdict is True
                if verdict is False:
                    self.end_container("the startup probe failed")
            else:
                if "livenessProbe" in probes and probes["livenessProbe"].ask() is False:
                    self.end_container("the liveness probe failed")
                if "readinessProbe" in probes:
                    verdict = probes["readinessProbe"].ask()
                    if verdict is not None and not self.is_deleted:
                        self.is_ready = verdict
            end = time.monotonic() + PROBE_S
            while time.monotonic() < end and self.process.poll() is None:
                time.sleep(0.05)

    def end_container(self, why):
        if self.is_deleted or self.process.poll() is not None:
            return
        self.world.faults.append(f"{self.name}: {why}")
        self.process.terminate()
        try:
            self.process.wait(self.spec["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            self.process.kill()

    # --- what is done to it ---
    def kill(self):
        """Like a crash: the container is started again, at the same address."""
        self.process.kill()

    def begin_deletion(self):
        self.is_deleted, self.is_ready = True, False
        if self.process:
            self.process.send_signal(signal.SIGTERM)

    def finish_deletion(self, is_graceful=True):
        grace = self.spec["terminationGracePeriodSeconds"]
        self.thread.join(grace)
        if self.thread.is_alive():
            self.world.faults.append(f"{self.name}: did not end within its {grace} s")
            self.process.kill()
            self.thread.join()
        elif is_graceful and self.exits and self.exits[-1] != 0:
            self.world.faults.append(f"{self.name}: ended with {self.exits[-1]} after SIGTERM")
        self.log.close()
        run("ip", "netns", "del", self.namespace)

    def die(self):
        """Like the loss of its node: no process is notified."""
        self.is_deleted, self.is_ready = True, False
        if self.process:
            self.process.kill()


class Probe:
    """httpGet with thresholds: ask() gives True or False when one is reached, else None."""

    def __init__(self, pod, spec):
        self.pod, self.spec = pod, spec
        ports = {p["name"]: p["containerPort"] for p in pod.spec["containers"][0]["ports"]}
        port = spec["httpGet"]["port"]
        self.url = f"{spec['httpGet']['scheme'].lower()}://{pod.address}:{ports.get(port, port)}{spec['httpGet']['path']}"
        self.reset()

    def reset(self):
        self.good = self.bad = 0

    def ask(self):
        try:
            with urllib.request.urlopen(self.url, timeout=self.spec["timeoutSeconds"]) as r:
                is_good = 200 <= r.status < 400
        except (urllib.error.URLError, OSError):
            is_good = False
        self.good, self.bad = (self.good + 1, 0) if is_good else (0, self.bad + 1)
        if self.good >= self.spec["successThreshold"]:
            return True
        return False if self.bad >= self.spec["failureThreshold"] else None


class World:
    """The cluster: what was applied, the controller of its one StatefulSet, claims, secrets."""

    def __init__(self, work, cairnd):
        self.work, self.cairnd = work, cairnd
        self.network = Network(work)
        self.pods, self.secrets = {}, {}
        self.lives = 0
        self.faults = []
        self.objects = {}

    def apply(self, documents):
        self.objects = {(o["kind"], o["metadata"]["name"]): o for o in documents}
        for (kind, name), o in self.objects.items():
            if kind == "Secret" and name not in self.secrets:  # an upgrade keeps the existing secret (helm's lookup)
                self.secrets[name] = {key: base64.b64decode(text) for key, text in o["data"].items()}
        (self.set,) = [o for o in documents if o["kind"] == "StatefulSet"]
        assert self.set["spec"]["podManagementPolicy"] == "Parallel"
        headless = self.objects["Service", self.set["spec"]["serviceName"]]["spec"]
        assert headless["clusterIP"] == "None" and headless["publishNotReadyAddresses"]
        for selector in headless["selector"], self.set["spec"]["selector"]["matchLabels"]:
            assert selector.items() <= self.set["spec"]["template"]["metadata"]["labels"].items()

    # --- storage ---
    def claim(self, name, spec):
        path = self.work / "claims" / name
        if not path.exists():
            path.mkdir(parents=True)
            context = spec.get("securityContext", {})
            os.chown(path, 0, context.get("fsGroup", 0))
            path.chmod(0o2775 if "fsGroup" in context else 0o755)
        return path

    def wipe_claim(self, name):
        run("rm", "-rf", str(self.work / "claims" / name))

    def secret(self, name, mode, spec):
        path = self.work / "secrets" / name
        path.mkdir(parents=True, exist_ok=True)
        for key, text in self.secrets[name].items():
            (path / key).write_bytes(text)
            os.chown(path / key, 0, spec.get("securityContext", {}).get("fsGroup", 0))
            (path / key).chmod(mode)
        return path

    # --- the controller ---
    def pod_name(self, ordinal):
        return f"{self.set['metadata']['name']}-{ordinal}"

    def fqdn(self, name):
        return f"{name}.{self.set['spec']['serviceName']}.default.svc.cluster.local"

    def create(self, ordinal):
        name = self.pod_name(ordinal)
        pod = Pod(self, name, self.set["spec"]["template"])
        self.pods[ordinal] = pod
        self.network.name(self.fqdn(name), pod.address)
        pod.thread.start()

    def delete(self, *ordinals):
        """All at once; their names go with them."""
        pods = [self.pods.pop(o) for o in ordinals]
        for p in pods:
            p.begin_deletion()
        for p in pods:
            p.finish_deletion()
            self.network.name(self.fqdn(p.name), None)

    def lose(self, *ordinals):
        pods = [self.pods.pop(o) for o in ordinals]
        for p in pods:
            p.die()
        for p in pods:
            p.finish_deletion(is_graceful=False)
            self.network.name(self.fqdn(p.name), None)

    def scale(self, replicas):
        condemned = [o for o in sorted(self.pods, reverse=True) if o >= replicas]
        if condemned:
            self.delete(*condemned)
        for o in range(replicas):
            if o not in self.pods:
                self.create(o)

    def all_ready(self):
        return bool(self.pods) and all(p.is_ready for p in self.pods.values())

    def roll(self, documents):
        """An upgrade: the number first, then one pod after the other, the highest first, each when all behind it are ready."""
        old = self.set
        self.apply(documents)
        have = set(self.pods)
        self.scale(self.set["spec"]["replicas"])
        if old["spec"]["template"] == self.set["spec"]["template"]:
            return True
        for o in sorted(self.pods, reverse=True):
            if o in have:
                self.delete(o)
                self.create(o)
            if not within(lambda o=o: self.pods[o].is_ready):
                return False
        return True

    # --- the client service ---
    def ready_addresses(self):
        return [p.address for _, p in sorted(self.pods.items()) if p.is_ready]

    def run_to_end(self, name, template_spec):
        """A pod of a job or test: its containers in order, the service's name pointing at a ready member. Status and output."""
        service = self.objects["Service", self.set["metadata"]["name"]]["metadata"]["name"]
        ready = self.ready_addresses()
        self.network.name(f"{service}.default.svc", ready[0])
        pod = Pod(self, name, {"metadata": {}, "spec": template_spec})
        status = 0
        for spec in template_spec.get("initContainers", []) + template_spec["containers"]:
            status = Container(pod, spec).start(pod.log).wait(LIMIT_S)
            if status:
                break
        pod.log.close()
        run("ip", "netns", "del", pod.namespace)
        return status, pod.log_path.read_text()

    def tell_logs(self, lines=25):
        for path in sorted(self.work.glob("*.log")):
            print(f"--- {path.name}")
            print("\n".join(x[:300] for x in path.read_text(errors="replace").splitlines()[-lines:]))


class Client:
    """A client of the service over the JSON gateway: any ready member, another one when that fails."""

    def __init__(self, world, scheme="http", port=2379, context=None):
        self.world, self.scheme, self.port, self.context = world, scheme, port, context
        self.turn = 0

    def call(self, address, path, body, timeout=10):
        request = urllib.request.Request(f"{self.scheme}://{address}:{self.port}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=timeout, context=self.context) as r:
            return json.load(r)

    def put(self, key, value):
        """True: a member acknowledged the write."""
        addresses = self.world.ready_addresses()
        if not addresses:
            return False
        self.turn += 1
        try:
            self.call(addresses[self.turn % len(addresses)], "/v3/kv/put", {"key": to64(key), "value": to64(value)})
            return True
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def get_all(self, address, prefix):
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        answer = self.call(address, "/v3/kv/range", {"key": to64(prefix), "range_end": to64(end)})
        return {from64(kv["key"]): from64(kv["value"]) for kv in answer.get("kvs", [])}


def to64(text):
    return base64.b64encode(text.encode()).decode()


def from64(text):
    return base64.b64decode(text).decode()
