# SPDX-License-Identifier: Apache-2.0
"""The second act: three instances run on one configuration. It is published, refused, released gray to a zone, promoted while the
leader is dead, rejected by one of them, and rolled back."""
import json
import time
import urllib.error
import urllib.request

from settings import NAME
from stage import ask, say, title, verdict, wait_for

PATH = f"/api/v1/configs/{NAME}"


def yaml(greeting, workers):
    return f"greeting: {greeting}\nworkers: {workers}\n"


class Refused(Exception):
    def __init__(self, status, error):
        super().__init__(f"{status} {error}")
        self.status, self.error = status, error


class Act:
    def __init__(self, cluster, ports, place):
        self.cluster, self.ports, self.place = cluster, ports, place
        self.told = {n: None for n in ports}

    def member(self):
        """A live member, a follower if there is one: it forwards writes to the leader, and answers reads itself."""
        leader = wait_for(self.cluster.leader)
        alive = [n for n in self.cluster.names if self.cluster.process[n].poll() is None]
        return self.cluster.client[next((n for n in alive if n != leader), leader)]

    def do(self, method, path, body):
        """Sends a write; retries it when the response says that nothing was changed, because there is no leader or a
        member is not up yet."""
        def once():
            try:
                return ask(self.member(), PATH + path, body, method)
            except urllib.error.HTTPError as error:
                why = json.load(error)["error"]
                if why["code"] in ("no_leader", "not_ready"):
                    raise
                raise Refused(error.code, why) from error
        return wait_for(once)["seq"]

    def publish(self, text, query=""):
        return self.do("PUT", query, text.encode())

    def settings(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/settings", timeout=60) as answer:
            return json.load(answer)

    def all_run_on(self, wanted, what):
        """wanted: {instance: seq}. Prints the release of each instance when it has changed."""
        is_right = wait_for(lambda: all(self.settings(n)["seq"] == seq for n, seq in wanted.items()))
        for n in self.ports:
            shown = self.settings(n)
            now = f"runs on release {shown['seq']}: {', '.join(f'{k} {v}' for k, v in shown['values'].items())}"
            if now != self.told[n]:
                say(n, f"{now} (zone {self.place[n][0]})")
            self.told[n] = now
        verdict(bool(is_right), what)

    def delivery(self, seq):
        return ask(self.member(), f"{PATH}/releases/{seq}/delivery")

    def delivered(self, seq, applied, rejected):
        """The instances that run on a release and those that reject it, as any member reports it."""
        def is_so():
            d = self.delivery(seq)
            return d if (d["applied"], d["rejected"], d["pending"]) == (applied, rejected, 0) else None
        d = wait_for(is_so)
        verdict(d is not None, f"delivery of release {seq}: applied by {applied}, rejected by {rejected}, nobody pending")
        return d or {"listeners": []}

    # --- the story ---
    def begin(self):
        title(f"{NAME} is published; the three services run on it.")
        seq = self.publish(yaml("hello", 4), "?title=first")
        self.all_run_on({n: seq for n in self.ports}, "c, d and e run on it")
        self.delivered(seq, 3, 0)
        return seq

    def refuse(self, live):
        title("A YAML with a key twice is published.")
        try:
            self.publish("greeting: hello\nworkers: 4\nworkers: 8\n")
            verdict(False, "it was taken")
        except Refused as refused:
            say("config", refused.error["message"])
            at = refused.error["line"], refused.error["column"]
            verdict(refused.status == 400 and at == (3, 1), "refused, with line 3 and column 1")
        self.all_run_on({n: live for n in self.ports}, "nobody has noticed")

    def gray(self, live):
        title("A gray release is for zone b alone.")
        rule = {"match": {"zone": ["b"]}, "content": yaml("bonjour", 8)}
        seq = self.do("PUT", f"/gray/french?if_seq={live}", rule)
        wanted = {n: seq if self.place[n][0] == "b" else live for n in self.ports}
        self.all_run_on(wanted, f"d, in zone b, runs on release {seq}")
        self.delivered(seq, 1, 0)
        verdict(all(seq not in self.settings(n)["seen"] for n in "ce"), "c and e, in zone a, were never told of it")
        return seq

    def promote(self):
        leader = wait_for(self.cluster.leader)
        title(f"The leader, {leader}, is killed; then the gray release is promoted.")
        begin = time.monotonic()
        self.cluster.kill(leader)
        new = wait_for(self.cluster.leader)
        say("members", f"{new} leads, {time.monotonic() - begin:.1f} s later")
        seq = self.do("POST", "/gray/french/promote", {"note": "went well in zone b"})
        self.all_run_on({n: seq for n in self.ports}, "all three run on it")
        self.delivered(seq, 3, 0)
        return leader, seq

    def reject(self, good):
        title("32 workers: e has room for 16.")
        seq = self.publish(yaml("bonjour", 32))
        self.all_run_on({"c": seq, "d": seq, "e": good}, f"c and d run on it, e stays on release {good}")
        errors = [i.get("error") for i in self.delivered(seq, 2, 1)["listeners"] if i.get("rejected") == seq]
        say("config", f"greeter-e rejects release {seq}: {errors[0] if errors else '?'}")
        verdict(errors == ["32 workers, and there is room for 16"], "its error is seen by whoever asks")

    def roll_back(self, good):
        title(f"Back to release {good}.")
        seq = self.do("POST", "/rollback", {"seq": good, "note": "too much for e"})
        self.all_run_on({n: seq for n in self.ports}, "all three run on what was good")
        self.delivered(seq, 3, 0)

    def end(self, killed):
        title(f"{killed} comes back.")
        self.cluster.start(killed)
        verdict(bool(wait_for(lambda: self.cluster.is_healthy(killed))), f"{killed} has caught up")
        histories = [ask(self.cluster.client[n], f"{PATH}/history")["releases"] for n in self.cluster.names]
        for r in reversed(histories[0]):
            say("history", f"release {r['seq']}: {r['operation']}{', ' + r['note'] if 'note' in r else ''}")
        operations = [r["operation"] for r in reversed(histories[0])]
        verdict(operations == ["publish", "gray", "promote", "publish", "rollback"] and histories[1:] == histories[:1] * 2,
                "every member tells this history")
        for n in self.ports:
            shown = self.settings(n)
            say(n, f"was told of releases {', '.join(map(str, shown['seen']))} {shown['faults'] or ''}")
            verdict(not shown["faults"], f"{n} has missed nothing, and never went back")


def play(cluster, ports, place):
    """ports: of the instances that live; place: their zone and how many workers they have room for."""
    act = Act(cluster, ports, place)
    first = act.begin()
    act.refuse(first)
    act.gray(first)
    killed, good = act.promote()
    act.reject(good)
    act.roll_back(good)
    act.end(killed)
