# SPDX-License-Identifier: Apache-2.0
"""Three members, services that register themselves, consumers that follow and call them; then one service is
killed, one drained, and the leader killed. In the second act (config_act.py) the remaining services use a configuration. Prints what
each program saw; exits with 0 only if all checks passed.

    demo.py CAIRND
"""
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from config_act import Refused, play
from consumer import Consumer
from stage import HERE, Cluster, ask, ask_dns, free_ports, results, say, spawn, started, stop_all, tell_logs, title, verdict, wait_for

SERVICE = "greeter"
LIMIT_S = 600  # a slow machine's; it takes about 45 s
# Where a service runs, and how many workers it has room for.
PLACE = {"a": ("a", 64), "b": ("b", 64), "c": ("a", 64), "d": ("b", 64), "e": ("a", 16)}


class Demo:
    def __init__(self, binary, folder):
        self.folder = folder
        self.base = free_ports(20)
        self.cluster = Cluster(binary, folder, self.base)
        self.port = {s: self.base + 10 + i for i, s in enumerate("abcde")}
        self.service = {}
        self.consumers = []

    def start_service(self, name, how, first):
        say(name, f"registers itself {how[1]}")
        self.service[name] = spawn(
            [sys.executable, "-B", f"{HERE}/service.py", name, str(self.port[name]), how[0], PLACE[name][0], str(PLACE[name][1]),
             *self.cluster.members(first)],
            f"{self.folder}/{name}.log")

    def all_see(self, what, condition):
        seen = [c.wait(what, condition) for c in self.consumers]
        verdict(all(seen), f"both consumers see {what}")
        return all(seen)

    def serve(self, *names):
        return lambda c: sorted(c.serving()) == sorted(names)

    def calls_of(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port[name]}/calls", timeout=60) as answer:
            return int(answer.read())

    def failed(self, *names):
        return sum(c.failed.get(n, 0) for c in self.consumers for n in names)

    # --- the story ---
    def begin(self):
        title("Three members start.")
        for name in self.cluster.names:
            self.cluster.start(name)
        for name in self.cluster.names:
            if not wait_for(lambda n=name: self.cluster.is_healthy(n)):
                sys.exit(f"{name} does not start: {self.folder}/{name}.log")
        leader = wait_for(self.cluster.leader)
        follower = next(n for n in self.cluster.names if n != leader)
        say("members", f"all three serve, {leader} leads")
        title(f"Two consumers follow {SERVICE}, which is not there yet: one at the leader, one at {follower}.")
        self.consumers = [Consumer("consumer1", SERVICE, self.cluster.members(leader), say),
                          Consumer("consumer2", SERVICE, self.cluster.members(follower), say)]
        return leader, follower

    def register(self, leader, follower):
        title("Three services register themselves, each in its own way.")
        self.start_service("a", ("curl", "with curl"), follower)
        self.start_service("b", ("stream", "on the stream"), leader)
        self.start_service("c", ("etcd", "through the etcd API, as kratos does"), leader)
        if not self.all_see("a, b and c in traffic", self.serve("a", "b", "c")):
            return
        for c in self.consumers:
            c.wait("answers of a, b and c", lambda c: all(c.good.get(n, 0) >= 10 for n in "abc"))
        verdict(self.failed(*"abc") == 0, "all calls were answered")

    def kill(self):
        title("a is killed (kill -9): it can say nothing.")
        self.service["a"].send_signal(signal.SIGKILL)
        begin = time.monotonic()
        self.all_see("a out of traffic", lambda c: "a" not in c.serving())
        say("registry", f"took it out {time.monotonic() - begin:.1f} s after its death (TTL 8 s)")
        failed = self.failed("a")
        self.all_see("a gone for good, behind its grace", lambda c: "a" not in c.states())
        # One call of each consumer may have been in flight when the instance left traffic.
        verdict(self.failed("a") <= failed + 2, "nobody calls it any more")
        verdict(self.failed("b", "c") == 0, "the others were not disturbed")

    def drain(self, leader):
        title("b is drained: the call comes back when every consumer has taken note.")
        path = f"/api/v1/services/{SERVICE}/instances/b/drain"
        answer = ask(self.cluster.client[leader], path, {"deadline_ms": 60000, "wait": True}, "POST")
        verdict(answer["complete"] and answer["acknowledged"] >= 2 and answer["waiting"] == [],
                f"b: acknowledged by {answer['acknowledged']} consumers at revision {answer['revision']}")
        verdict(wait_for(lambda: all(c.calling != "b" for c in self.consumers)), "calls that were under way have ended")
        before = self.calls_of("b")
        time.sleep(1)
        verdict(self.calls_of("b") == before, "not one call reaches it any more")
        self.service["b"].terminate()
        self.all_see("b gone", lambda c: "b" not in c.states())
        verdict(self.failed("b") == 0, "not one call to it was lost")

    def kill_leader(self, leader, follower):
        title("d comes, then the leader is killed (kill -9).")
        self.start_service("d", ("curl", "with curl"), follower)
        self.all_see("c and d in traffic", self.serve("c", "d"))
        say("members", f"{leader} is killed")
        begin = time.monotonic()
        self.cluster.kill(leader)
        new = wait_for(lambda: self.cluster.leader())
        verdict(new is not None, f"{new} leads, {time.monotonic() - begin:.1f} s later")
        self.start_service("e", ("stream", "on the stream, first asking the member that is dead"), leader)
        self.all_see("e beside c and d", self.serve("c", "d", "e"))
        time.sleep(9)  # longer than a TTL: live instances have stayed
        self.all_see("c, d and e", self.serve("c", "d", "e"))
        verdict(self.failed("c", "d", "e") == 0, "not one call failed meanwhile")
        verdict(self.consumers[0].resumed >= 1 and self.consumers[0].member in self.cluster.names,
                f"consumer1 went on at {self.consumers[0].member}")
        return new

    def come_back(self, leader):
        title(f"{leader} comes back.")
        self.cluster.start(leader)
        verdict(bool(wait_for(lambda: self.cluster.is_healthy(leader))), f"{leader} has caught up")
        wanted = sorted(self.port[n] for n in "cde")
        for name in self.cluster.names:
            verdict(wait_for(lambda n=name: ask_dns(self.cluster.dns[n], f"{SERVICE}.svc.cairn") == wanted) is not None,
                    f"{name} says the same by DNS")

    def end(self):
        title("What the consumers saw.")
        for c in self.consumers:
            c.stop()
            good, failed = sum(c.good.values()), sum(c.failed.values())
            say(c.name, f"{good} calls answered ({', '.join(f'{n} {c.good[n]}' for n in sorted(c.good))}); "
                        f"{failed} failed, all of them to {', '.join(sorted(c.failed)) or 'nobody'}")
            for fault in c.faults:
                say(c.name, f"fault: {fault}")
            verdict(not c.faults, f"{c.name}: every change was a continuation of the one before, up to revision {c.last}")
            verdict(c.emptied == 0, f"{c.name}: never an empty list")
            verdict(c.left == {"a", "b"}, f"{c.name}: only the killed and the drained ever left")
            verdict(set(c.failed) <= {"a"}, f"{c.name}: only calls to the one that was killed failed")

    def run(self):
        leader, follower = self.begin()
        self.register(leader, follower)
        self.kill()
        self.drain(leader)
        self.kill_leader(leader, follower)
        self.come_back(leader)
        play(self.cluster, {n: self.port[n] for n in "cde"}, PLACE)
        self.end()


def too_long():
    print(f"\nthe demo did not end within {LIMIT_S} s", flush=True)
    stop_all()
    os._exit(1)


def main():
    watch = threading.Timer(LIMIT_S, too_long)
    watch.daemon = True
    watch.start()
    with tempfile.TemporaryDirectory() as folder:
        try:
            Demo(os.path.abspath(sys.argv[1]), folder).run()
        except (OSError, KeyError, TypeError, Refused, SystemExit) as error:
            verdict(False, f"the demo broke off: {error!r}")
        finally:
            stop_all()
            if not results or not all(results):
                tell_logs(folder)
    wrong = results.count(False)
    print(f"\n{len(results)} things were looked at, {wrong} wrong, {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if wrong or not results else 0)


main()
