#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rendered chart with the real daemon, under restarts and losses of pods: pods.py CAIRND HELM [plain|single|tls ...]

kubelet.py runs the pods. A client writes all the time; after each step all members are ready and voting, hold the same state, and have every
acknowledged write. A line a check; status 1 if one failed, 77 where it cannot run."""
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from pathlib import Path

import yaml

from kubelet import Client, World, run, within

SKIPPED = 77
# The command before the program: all processes end with it, and nothing of the machine is changed.
INSIDE = ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Broken(Exception):
    """A check failed."""


class Story:
    def __init__(self, work, cairnd, helm, settings, tls=None):
        self.world = World(work, cairnd)
        self.helm, self.settings = helm, settings
        self.client = Client(self.world, "https" if tls else "http", context=tls)
        self.failed = 0
        self.written = {}
        self.refused = 0
        self.stop = threading.Event()
        self.seen_faults = 0

    def render(self, replicas, *more):
        said = subprocess.run([self.helm, "template", "cairn", "charts/cairn", "--namespace", "default", "--set", f"replicaCount={replicas}",
                               *[x for s in [*self.settings, *more] for x in ("--set", s)]], check=True, capture_output=True, text=True,
                              env={**os.environ, "KUBECONFIG": "/dev/null", "HOME": str(self.world.work)})
        return [o for o in yaml.safe_load_all(said.stdout) if o]

    # --- saying ---
    def check(self, what, is_good, why=""):
        if is_good:
            print(f"  ok   {what}", flush=True)
            return
        print(f"  FAIL {what}{': ' if why else ''}{why}", flush=True)
        self.failed += 1
        self.world.tell_logs()
        raise Broken  # later failures would result from this one

    # --- the writer ---
    def write(self):
        n = 0
        while not self.stop.is_set():
            n += 1
            if self.client.put(f"w/{n:06}", str(n)):
                self.written[f"w/{n:06}"] = str(n)
            else:
                self.refused += 1
                time.sleep(0.05)
            time.sleep(0.005)

    def writes_again(self):
        """Waits for this many more acknowledged writes: the cluster accepts writes now."""
        before = len(self.written)
        return within(lambda: len(self.written) > before + 20)

    # --- etcdctl, as the README's commands run it: in a member's own container ---
    def ctl(self, ordinal, *arguments, check=True):
        secure = []
        if self.client.context:
            path = self.world.work / "secrets" / "pair"
            secure = ["--endpoints=https://127.0.0.1:2379", f"--cacert={path}/ca.crt"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        return subprocess.run(["ip", "netns", "exec", self.world.pods[ordinal].namespace, "etcdctl", *secure, "--dial-timeout=30s",
                               "--command-timeout=30s", *arguments], capture_output=True, text=True, check=check, env={**env, "ETCDCTL_API": "3"})

    def members(self):
        """name -> (id, whether it votes), as the first ready member has it."""
        for o, p in sorted(self.world.pods.items()):
            if p.is_ready:
                said = self.ctl(o, "member", "list", "-w", "json", check=False)
                if said.returncode == 0:
                    return {m.get("name", ""): (f"{m['ID']:x}", not m.get("isLearner")) for m in json.loads(said.stdout)["members"]}
        return {}

    # --- what must hold after each step ---
    def is_whole(self):
        names = {p.name for p in self.world.pods.values()}
        members = self.members()
        return self.world.all_ready() and set(members) == names and all(votes for _, votes in members.values())

    def hashes(self):
        """Each member's digest of the state at one revision."""
        addresses = self.world.ready_addresses()
        revision = self.client.call(addresses[0], "/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        for a in addresses:  # a linearizable read: it has applied as much
            self.client.call(a, "/v3/kv/range", {"key": "AA=="})
        return [self.client.call(a, "/v3/maintenance/hashkv", {"revision": revision})["hash"] for a in addresses]

    def settled(self, step):
        """Checks all members, and the data."""
        self.check(f"{step}: all are ready and vote", within(self.is_whole),
                   f"pods {[(p.name, p.is_ready, p.restarts) for p in self.world.pods.values()]}, members {self.members()}")
        self.check(f"{step}: writes are taken", self.writes_again())
        try:
            acknowledged = dict(self.written)
            for address in self.world.ready_addresses():
                found = self.client.get_all(address, "w/")
                missing = [k for k, v in acknowledged.items() if found.get(k) != v]
                if missing:
                    self.check(f"{step}: no write is lost", False, f"{len(missing)} of {len(acknowledged)} on {address}, {missing[:3]}")
                    break
            else:
                self.check(f"{step}: of {len(acknowledged)} acknowledged writes each is on each member ({self.refused} were refused so far)", True)
            hashes = self.hashes()
            self.check(f"{step}: all hold the same", len(set(hashes)) == 1, str(hashes))
        except (urllib.error.URLError, OSError, IndexError, KeyError) as e:
            self.check(f"{step}: the members answer", False, repr(e))
        new = self.world.faults[self.seen_faults:]
        self.seen_faults = len(self.world.faults)
        self.check(f"{step}: nobody was killed by a probe, or for taking too long", not new, "; ".join(new))

    def log_has(self, name, text):
        return text in (self.world.work / f"{name}.log").read_text(errors="replace")

    # --- the steps ---
    def first_start(self):
        w = self.world
        w.apply(self.render(3))
        w.create(0)
        w.create(1)
        self.check("first start: two of three wait for the third", within(lambda: self.log_has("cairn-0", '"for":"cairn-2')))
        self.check("first start: who waits is not ready", not any(p.is_ready for p in w.pods.values()))
        w.create(2)
        threading.Thread(target=self.write, daemon=True).start()
        self.settled("first start")
        self.check("first start: no container was started twice", not any(p.restarts for p in w.pods.values()))
        self.first_ids = self.members()

    def container_killed(self):
        pod = self.world.pods[1]
        pod.kill()
        within(lambda: pod.restarts and pod.is_ready)
        self.settled("a container is killed")
        self.check("a container is killed: it is the same member", self.members() == self.first_ids)

    def node_lost(self):
        w = self.world
        before = w.pods[0].address
        w.lose(0)
        self.check("a pod vanishes: the others take writes", self.writes_again())
        w.create(0)
        self.settled("it comes back at another address")
        self.check("it comes back at another address: it is the same member", w.pods[0].address != before and self.members() == self.first_ids)

    def volume_lost(self):
        w = self.world
        w.lose(2)
        w.wipe_claim("data-cairn-2")
        w.create(2)
        self.settled("a volume is lost")
        self.check("a volume is lost: the member was replaced", self.members()["cairn-2"][0] != self.first_ids["cairn-2"][0])

    def rolling_restart(self):
        refused = self.refused
        self.check("rolling restart: each pod became ready", self.world.roll(self.render(3, "podAnnotations.restarted=one")))
        self.settled("rolling restart")
        print(f"       {self.refused - refused} writes were refused meanwhile", flush=True)

    def leader_restart(self):
        """One pod after the other once more, as three `kubectl delete pod`."""
        for o in range(3):
            self.world.delete(o)
            self.world.create(o)
            self.settled(f"cairn-{o} is deleted")

    def scale_up(self):
        self.check("3 to 5: each pod became ready", self.world.roll(self.render(5)))
        self.settled("3 to 5")

    def scale_down(self, have=5, want=3):
        w, step = self.world, f"{have} to {want}"
        going = [f"cairn-{o}" for o in range(have - 1, want - 1, -1)]
        for name in going:
            # "unhealthy cluster" until all have been connected for five seconds, as in etcd.
            self.check(f"{step}: {name} is removed by hand",
                       within(lambda n=name: self.ctl(0, "member", "remove", self.members()[n][0], check=False).returncode == 0))
        removed = [w.pods[o] for o in range(want, have)]
        self.check(f"{step}: their containers end, are started again, and end", within(lambda: all(p.restarts >= 2 for p in removed)))
        self.check(f"{step}: they say why", all(self.log_has(p.name, "removed from the cluster") for p in removed))
        self.check(f"{step}: they do not come in again", set(self.members()) == {f"cairn-{o}" for o in range(want)}, str(self.members()))
        self.check(f"{step}: each pod became ready", w.roll(self.render(want, "scaleDownConfirmed=true")))
        for o in range(want, have):
            w.wipe_claim(f"data-cairn-{o}")
        w.faults = [f for f in w.faults if not f.startswith(tuple(f"{n}: ended" for n in going))]  # they were ending anyway
        self.settled(step)

    def scale_by_kubectl(self):
        """More replicas and not a new argument: cairn-3 and cairn-4 are not in the list that they are given."""
        w = self.world
        w.scale(5)
        self.settled("kubectl scale to 5")
        w.lose(0)
        w.wipe_claim("data-cairn-0")
        w.create(0)
        self.settled("kubectl scale to 5, then a volume is lost")
        self.scale_down()

    def all_down(self):
        w = self.world
        ids = self.members()
        w.scale(0)
        self.check("all are down: nothing is written", not self.client.put("x", "x"))
        w.scale(3)
        self.settled("all down, all up")
        self.check("all down, all up: the same members", self.members() == ids)

    def power_cut(self):
        w = self.world
        ids = self.members()
        w.lose(0, 1, 2)
        w.scale(3)
        self.settled("all die at once")
        self.check("all die at once: the same members", self.members() == ids)

    def jobs(self):
        """The pod of `helm test` and a run of the backup."""
        pod = self.world.objects["Pod", "cairn-test"]
        status, said = self.world.run_to_end("cairn-test", pod["spec"])
        self.check("helm test", status == 0, said[-600:])
        job = self.world.objects["CronJob", "cairn-backup"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        status, said = self.world.run_to_end("cairn-backup-1-abcde", job)
        self.check("backup", status == 0, said[-600:])
        saved = self.world.work / "claims/cairn-backup/cairn-backup-1-abcde.db"
        self.check("backup: the snapshot is in its volume", saved.exists() and saved.stat().st_size > 10000)
        old = saved.with_name("cairn-backup-0-abcde.db")
        old.write_bytes(b"old")
        os.utime(old, (time.time() - 20 * 86400,) * 2)
        status, said = self.world.run_to_end("cairn-backup-2-abcde", job)
        self.check("backup: one of 20 days ago goes, today's stay", status == 0 and not old.exists() and saved.exists(), said[-600:])

    def plain(self):
        for step in (self.first_start, self.container_killed, self.node_lost, self.volume_lost, self.rolling_restart, self.leader_restart,
                     self.scale_up, self.scale_down, self.scale_by_kubectl, self.all_down, self.power_cut, self.jobs):
            step()

    def single(self):
        """One member, scaled up and down again."""
        w = self.world
        w.apply(self.render(1))
        w.create(0)
        threading.Thread(target=self.write, daemon=True).start()
        self.settled("one member")
        first = self.members()
        w.delete(0)
        w.create(0)
        self.settled("one member: its pod is deleted")
        self.check("one member: it is the same", self.members() == first)
        self.check("1 to 3: each pod became ready", w.roll(self.render(3)))
        self.settled("1 to 3")
        self.scale_down(3, 1)
        self.check("3 to 1: it is the same member", self.members() == first)

    def tls(self):
        for step in (self.first_start, self.node_lost, self.volume_lost, self.rolling_restart, self.all_down, self.jobs):
            step()


def certificates(work):
    """A CA, and a pair for everybody with the names that the README asks for."""
    folder = work / "ca"
    folder.mkdir()

    def openssl(*arguments):
        run("openssl", *arguments)
    names = ["*.cairn-headless.default.svc.cluster.local", "cairn.default.svc", "localhost"]
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1," + ",".join(f"DNS:{n}" for n in names) + "\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ca", "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=cairn", "-keyout", f"{folder}/tls.key", "-out", f"{folder}/csr")
    openssl("x509", "-req", "-in", f"{folder}/csr", "-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-extfile", f"{folder}/names", "-out", f"{folder}/tls.crt")
    return {key: (folder / key).read_bytes() for key in ("tls.crt", "tls.key", "ca.crt")}


def main():
    cairnd, helm, stories = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:] or ["plain", "single", "tls"]
    os.chdir(Path(__file__).resolve().parents[2])
    if not helm.exists():
        print("  --   pods       helm is missing: make chart fetches it")
        return SKIPPED
    if os.geteuid() != 0 or run(*INSIDE, "ip", "link", "add", "br0", "type", "bridge", check=False).returncode != 0:
        print("  --   pods       needs root, and networks of its own (ip link add type bridge)")
        return SKIPPED
    if os.environ.get("CAIRN_PODS") != "inside":
        status = 0
        for story in stories:
            print(f"pods: {story}", flush=True)
            status |= subprocess.run([*INSIDE, sys.executable, "-B", __file__, str(cairnd), str(helm), story],
                                     env={**os.environ, "CAIRN_PODS": "inside"}, check=False).returncode
        return status
    with tempfile.TemporaryDirectory(prefix="cairn-pods.") as folder:
        work = Path(folder)
        settings = ["backup.enabled=true"]
        context = None
        pair = None
        if stories[0] == "tls":
            pair = certificates(work)
            context = ssl.create_default_context(cadata=pair["ca.crt"].decode())
            context.check_hostname = False  # addresses here, names in the certificate
            settings += ["tls.client.enabled=true", "tls.client.existingSecret=pair", "tls.peer.enabled=true", "tls.peer.existingSecret=pair"]
        story = Story(work, cairnd, helm, settings, context)
        if pair:
            story.world.secrets["pair"] = pair
        began = time.monotonic()
        try:
            getattr(story, stories[0])()
        except Broken:
            pass
        story.stop.set()
        print(f"pods: {stories[0]}: {'ok' if not story.failed else f'{story.failed} failed'}, {time.monotonic() - began:.0f} s", flush=True)
        if story.failed and os.environ.get("KEEP"):
            run("cp", "-r", folder, os.environ["KEEP"])
        for o in list(story.world.pods):
            story.world.lose(o)
        return 1 if story.failed else 0


if __name__ == "__main__":
    sys.exit(main())
