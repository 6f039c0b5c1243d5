#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The registry under faults: three members, 20 clients with 200 instances, readers of every kind on every member.

    run.py CAIRND FAULTPROXY registry|config [SCENARIO ...]         (config: config.py)

After each scenario all members must show all registered instances, by HTTP, DNS and stream. Meanwhile the judge (readers.py) checks
every response and frame.
"""
import os
import signal
import sys
import tempfile
import threading
import time

from churn import SERVICE as JOBS, Jobs
from config import ConfigWorld
from hypervisor import Host
from readers import Follower, Judge, Poller, Resolver, serving
from world import TTL_S, Client, EtcdClient, Members, ask, stop_clients, wait_for
from ports import tell_logs

SERVICES = [f"s{n}" for n in range(5)]
CLIENTS, EACH, PORT = 20, 10, 10000
SHORT_GRACE = 3  # of the last client's; the others have 15 s
# A session's rest, an election, the whole TTL once more from a new leader, a second until it is lost; and a slow machine's share.
DEAD_SHOWN_S = TTL_S + 2 + TTL_S + 1 + 6
CHURN_S = 60 * float(os.environ.get("MINUTES", "0")) or 40  # after the start-up
START_UP_S, JOBS_A_SECOND = 40, 60
LIMIT_S = 900 + CHURN_S  # a slow machine's; it takes about three minutes


class World:
    def __init__(self, binary, proxy, folder):
        self.members, self.judge = Members(binary, proxy, folder), Judge()
        m = self.members
        m.start(*m.names)
        m.serve(*m.names)
        ids = {}
        self.clients = []
        for c in range(CLIENTS):
            mine = {}
            for k in range(EACH):
                n = c * EACH + k
                ids[PORT + n] = f"i{n}"
                mine[f"i{n}"] = (SERVICES[n % len(SERVICES)], {
                    "host": f"10.0.{c}.{k}", "port": PORT + n, "grace": SHORT_GRACE if c == CLIENTS - 1 else 15})
            kind = EtcdClient if c == CLIENTS - 2 else Client
            self.clients.append(kind(f"c{c}", self.addresses(c), mine, self.judge))
        self.followers = [Follower(f"f{k}", self.judge, self.addresses(k), SERVICES) for k in range(4)]
        self.resolvers = [Resolver(n, self.judge, m.dns[n], list(SERVICES), ids) for n in m.names]
        self.readers = [*self.followers, *self.resolvers]
        for n in m.names:
            for query in ("", "local", "poll"):
                self.readers.append(Poller(n, self.judge, m.client[n], list(SERVICES), query))

    def addresses(self, first):
        names = [self.members.names[(first + k) % 3] for k in range(3)]
        return [self.members.client[n] for n in names]

    # --- what all must show ---
    def registered(self):
        wait_for("all clients have registered", lambda: all(c.is_registered.is_set() for c in self.clients
                                                              if not c.is_paused.is_set()), 90)

    def view(self, name, service, query=""):
        status, _, answer = ask(self.members.client[name], "GET", f"/api/v1/services/{service}{query}", timeout_s=20)
        if status != 200:
            raise OSError(f"{status}")
        return answer["revision"], {i["id"]: i for i in answer["instances"]}

    def difference(self):
        """None: every member shows all registered instances by every API."""
        for service in SERVICES:
            wanted = {i: d for c in self.clients for i, (s, d) in c.instances.items() if s == service}
            revision, first = self.view(self.members.names[0], service)
            shown = {i: {"host": v["host"], "port": v["port"], "grace": v.get("grace", 15)} for i, v in first.items() if v["serving"]}
            if shown != wanted or any(i.get("guarded") or i["state"] != "up" for i in first.values()):
                return f"{service} is not what is registered: {len(first)} shown, {len(shown)} in traffic"
            for name in self.members.names:
                for query in ("", "?consistency=local"):
                    if self.view(name, service, query)[1] != first:
                        return f"{service} on {name}{query} is not as on {self.members.names[0]}"
            for f in self.followers:
                if f.views[service] != first:
                    return f"{service} at {f.name} is not as on {self.members.names[0]}"
            for r in self.resolvers:
                if sorted(r.ask(service) or []) != sorted(wanted):
                    return f"{service} by {r.name} is not what is registered"
            self.judge.settled = max(self.judge.settled, revision)
        return None

    def settle(self):
        self.registered()
        why = []

        def is_same():
            why[:] = ["some do not answer"]
            why[:] = [self.difference()]
            return why[0] is None
        try:
            wait_for("all show the same", is_same, 90)
        except SystemExit:
            self.judge.fault(f"at the end: {why[0]}")

    def all_events(self):
        """Followers of keys have received the same events, all of them, and these lead to the current state."""
        status, _, answer = ask(self.members.client["n1"], "GET", "/readyz")
        assert status == 200, answer
        heard = [f.events for f in self.followers]
        begin = max(f.keys_since for f in self.followers) + 1
        end = min(f.keys_at for f in self.followers)
        heard = [[e for e in events if begin <= e[0] <= end] for events in heard]
        for f, events in zip(self.followers, heard):
            if len(set(events)) != len(events):
                self.judge.fault(f"{f.name}: an event came twice")
            if events != heard[0]:
                self.judge.fault(f"{f.name}: other events than {self.followers[0].name}")
        print(f"       {len(heard[0])} events of keys, heard by {len(heard)}")

    def of_client(self, client, query="", member="n1"):
        """Its instances as a member shows them."""
        return {i: v for s in SERVICES for i, v in self.view(member, s, query)[1].items() if i in client.instances}

    # --- scenarios ---
    def restart_one(self):
        for how, name in ((signal.SIGTERM, "n2"), (signal.SIGKILL, "n3")):
            self.members.stop(how, name)
            time.sleep(0.5)
            self.members.start(name)
            self.members.serve(name)

    def kill_leader(self):
        leader = self.members.leader()
        self.members.stop(signal.SIGKILL, leader)
        self.members.leader()
        time.sleep(TTL_S + 1)  # a client that had not reached another member in time would have lost its session by now
        self.members.start(leader)
        self.members.serve(leader)

    def cut_off_follower(self):
        leader = self.members.leader()
        follower = [n for n in self.members.names if n != leader][0]
        self.members.cut_off(follower)
        time.sleep(TTL_S + 2)
        self.members.heal()
        self.members.serve(follower)

    def cut_off_leader(self):
        leader = self.members.leader()
        self.members.cut_off(leader)
        time.sleep(TTL_S + 2)
        self.members.heal()
        self.members.serve(leader)

    def restart_all(self):
        for how, down_s in ((signal.SIGTERM, 0.5), (signal.SIGKILL, TTL_S + 1)):
            self.members.stop(how, *self.members.names)
            time.sleep(down_s)  # longer than a TTL, too: no time passes for a lease while there is no leader
            self.members.start(*self.members.names)
            self.members.serve(*self.members.names)
            self.registered()
            time.sleep(1)

    def late_clients(self):
        in_grace, after_grace = self.clients[0], self.clients[-1]
        created = {i: v["create_revision"] for c in (in_grace, after_grace) for i, v in self.of_client(c).items()}
        for c in (in_grace, after_grace):
            c.pause()
        wait_for("those of a dead client are lost", lambda: all(
            v["state"] == "lost" for v in self.of_client(in_grace).values()))
        in_grace.resume()
        wait_for("behind their grace they are gone", lambda: not self.of_client(after_grace))
        after_grace.resume()
        self.registered()
        for i, v in self.of_client(in_grace).items():
            if v["create_revision"] != created[i]:
                self.judge.fault(f"{i} was deleted within its grace")
        for i, v in self.of_client(after_grace).items():
            if v["create_revision"] == created[i]:
                self.judge.fault(f"{i} was there behind its grace")

    def cut_half(self):
        """Every second client is cut off from all members for longer than its TTL. No instance leaves traffic (the judge checks every
        response), and every response marks all of theirs."""
        self.cut(self.clients[0:17:2])

    def cut(self, cut):
        held = len(cut) * EACH
        for c in cut:
            c.pause(may_die=False)
        wait_for("the guard holds them all", lambda: self.members.guards()[0] >= held)
        time.sleep(TTL_S)
        marked = {i: v for c in cut for i, v in self.of_client(c).items() if v.get("guarded") and v["serving"]}
        if len(marked) != held:
            self.judge.fault(f"{len(marked)} of {held} are shown as guarded and in traffic")
        left = [i for c in cut for i in self.of_client(c, "?guarded=false")]
        if left:
            self.judge.fault(f"{len(left)} that are guarded are shown although they are not asked for")
        status, _, targets = ask(self.members.client["n2"], "GET", "/sd/prometheus?namespace=default")
        labeled = [t for t in targets if t["labels"]["__meta_cairn_guarded"] == "true" and t["labels"]["__meta_cairn_instance"] in marked]
        if status != 200 or len(labeled) != held:
            self.judge.fault(f"{len(labeled)} of {held} have the label of those that are held")
        for c in cut:
            c.resume()
        self.registered()
        for c in cut:
            if any(v.get("guarded") for v in self.of_client(c).values()):
                self.judge.fault(f"instances of {c.name} are marked although their client is back")

    def stopped_hypervisor(self):
        """The leader and half of the clients pause together for longer than a TTL and an election; then all members do, while their
        clients live. No instance leaves traffic, neither meanwhile nor afterwards."""
        members, host = self.members, Host(self.clients[0:17:2])
        held = len(host.clients) * EACH
        try:
            host.serve()
            leader = members.leader()
            others = [n for n in members.names if n != leader]
            members.stand_still(leader)
            host.send(signal.SIGSTOP)
            wait_for("the guard holds them all", lambda: members.guards(others)[0] >= held)
            time.sleep(1)
            marked = [i for c in host.clients for i, v in self.of_client(c, "", others[0]).items() if v.get("guarded") and v["serving"]]
            if len(marked) != held:
                self.judge.fault(f"{len(marked)} of {held} are shown as guarded and in traffic")
            members.go_on(leader)
            host.send(signal.SIGCONT)
            host.serve()
            wait_for("the guard lets go", lambda: members.guards()[0] == 0)
            sessions = {c.name: c.session for c in self.clients if not c.is_paused.is_set()}
            members.stand_still(*members.names)
            time.sleep(TTL_S + 1)
            members.go_on(*members.names)
            members.leader()
            self.registered()
            host.serve()
            anew = [c.name for c in self.clients if c.name in sessions and c.session != sessions[c.name]]
            if anew:
                self.judge.fault(f"sessions of {anew} ended although renewals could not be heard")
        finally:
            members.go_on(*members.names)
            host.end()

    def churn(self):
        """Jobs that die by their TTL, all the time: at most a tenth of the traffic is dead once that is usual, through another
        leader too; and a cut of half of the clients is a storm all the same."""
        jobs, worst, trips = Jobs(self.members.client.values(), JOBS_A_SECOND), (0, 0, 0), None
        changed = False
        try:
            while time.monotonic() < jobs.begun + START_UP_S + CHURN_S:
                time.sleep(0.5)
                now = time.monotonic()
                if now < jobs.begun + START_UP_S:
                    continue
                trips = self.members.guards()[1] if trips is None else trips
                if now > jobs.begun + START_UP_S + CHURN_S / 2 and not changed:
                    changed = True
                    leader = self.members.leader()
                    self.members.lead([n for n in self.members.names if n != leader][0])
                    jobs.rearm(now)
                    continue
                shown = self.view("n1", JOBS)[1]
                dead = len(jobs.dead(shown, now))
                serving_now = sum(v["serving"] for v in shown.values()) + CLIENTS * EACH
                worst = max(worst, (100 * dead / serving_now, dead, serving_now))
            print(f"       {jobs.count()} jobs; at worst {worst[1]} of {worst[2]} in traffic were dead, {worst[0]:.1f} %")
            if worst[0] > 10:
                self.judge.fault(f"{worst[1]} of {worst[2]} in traffic were dead")
            if jobs.count() < JOBS_A_SECOND * CHURN_S / 2:
                self.judge.fault(f"only {jobs.count()} jobs registered: this machine is too slow for it")
            if self.members.guards()[1] != trips:
                self.judge.fault(f"a guard went on {self.members.guards()[1] - trips:.0f} times because of what dies every day")
            self.cut(self.clients[0:17:2])
            dead = len(jobs.dead(self.view("n1", JOBS)[1], time.monotonic()))
            if dead > serving_now / 10:
                self.judge.fault(f"{dead} dead jobs are in traffic while the guard holds others")
        finally:
            jobs.stop()
        wait_for("the guard lets go", lambda: self.members.guards()[0] == 0, 60)

    def storm(self):
        held, trips = self.members.guards()
        stopped = self.clients[:16]
        for c in stopped:
            c.pause(may_die=False)
        wait_for("the guard holds them all", lambda: self.members.guards()[0] >= len(stopped) * EACH)
        if self.members.guards()[1] != trips + 1:
            self.judge.fault(f"the guard went on {self.members.guards()[1] - trips:.0f} times")
        time.sleep(TTL_S + 1)
        guarded = [v for c in stopped for v in self.of_client(c).values() if v.get("guarded") and v["serving"]]
        if len(guarded) != len(stopped) * EACH:
            self.judge.fault(f"{len(guarded)} are shown as guarded and in traffic")
        for c in stopped:
            c.resume()
        self.registered()
        wait_for("the guard lets go", lambda: self.members.guards()[0] == 0)

    def full_disk(self):
        """The leader's disk is full, so that it exits, while a client dies: that client still leaves traffic in time."""
        members, dead = self.members, self.clients[1]
        leader = members.leader()
        with members.small_disk(leader) as fill:
            if fill is None:
                print("  skip full_disk: no root or no tmpfs")
                return
            members.lead(leader)
            self.registered()
            died = time.monotonic()
            dead.pause()
            fill()
            others = [n for n in members.names if n != leader]
            is_out = {n: None for n in others}

            def are_out():
                for n in others:
                    shown = [v for s in SERVICES for i, v in self.view(n, s)[1].items() if i in dead.instances]
                    is_out[n] = is_out[n] or (not any(v["serving"] for v in shown) and time.monotonic())
                return all(is_out.values())
            wait_for("who died is out of traffic on the other members", are_out)
            took_s = max(is_out.values()) - died
            if members.process[leader].poll() is None:
                self.judge.fault(f"{leader} lives on although its disk is full")
            if took_s > DEAD_SHOWN_S:
                self.judge.fault(f"who died was in traffic for {took_s:.1f} s more; {DEAD_SHOWN_S} are promised")
        dead.resume()

    def all(self):
        return {f.__name__: f for f in (self.restart_one, self.kill_leader, self.cut_off_follower, self.cut_off_leader,
                                        self.restart_all, self.late_clients, self.storm, self.cut_half, self.stopped_hypervisor,
                                        self.churn, self.full_disk)}

    def run(self, names):
        failed = 0
        for r in self.readers:
            r.start()
        wait_for("all follow", lambda: all(f.keys_at is not None for f in self.followers))
        for c in self.clients:
            c.start()
        self.settle()
        for name, scenario in self.all().items():
            if names and name not in names:
                continue
            begin, before = time.monotonic(), len(self.judge.faults)
            try:
                scenario()
            except SystemExit as error:
                self.judge.fault(f"{name}: {error}")
            self.settle()
            faults = self.judge.faults[before:]
            failed += bool(faults)
            print(f"  {'FAIL' if faults else 'ok  '} {name:<18} {time.monotonic() - begin:5.1f} s", flush=True)
            for text in faults[:8]:
                print(f"       {text}", flush=True)
        for r in self.readers:
            r.is_over.set()
        for r in self.readers:
            r.join(10)
        before = len(self.judge.faults)
        self.all_events()
        for text in self.judge.faults[before:]:
            print(f"  FAIL {text}")
        resumed, anew = sum(f.resumed for f in self.followers), sum(f.anew for f in self.followers)
        print(f"       looked at: {', '.join(f'{k} {n}' for k, n in sorted(self.judge.looked.items()))}; "
              f"streams went on {resumed} times, {anew} services anew")
        starved = sum(c.starved for c in self.clients)
        if starved:
            print(f"       {starved} sessions ended because this machine did not let their clients speak")
        stop_clients(self.clients)
        return not self.judge.faults


WORLDS = {"registry": World, "config": ConfigWorld}


def main():
    begin = time.monotonic()
    binary, proxy, what = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3]
    world, is_right = [], False

    def too_long():
        print(f"{what}-faults: not over within {LIMIT_S} s", flush=True)
        if world:
            world[0].members.end()
            tell_logs(world[0].members.folder)
        os._exit(1)
    limit = threading.Timer(LIMIT_S, too_long)
    limit.daemon = True
    limit.start()
    with tempfile.TemporaryDirectory() as folder:
        try:
            world.append(WORLDS[what](binary, proxy, folder))
            is_right = world[0].run(sys.argv[4:])
        finally:
            if world:
                world[0].members.end()
            if not is_right:
                tell_logs(folder)
    print(f"{what}-faults: {'ok' if is_right else 'FAILED'}, {time.monotonic() - begin:.0f} s", flush=True)
    os._exit(0 if is_right else 1)


main()
