#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The worst legal input for each limit, and its effect on other clients.

    run.py CAIRND [--short] [--before OLD_CAIRND] [ATTACK or AREA ...]

For each attack, a daemon starts, the attack's setup runs, and then the attack, while another client puts one key after the other.
The table says how long those puts took, and which turn of the daemon's loop was the longest, with its work. An attack fails when
its longest turn is over the bound three times in a row: README.md.
"""
import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from attack import APART, Attack, Client  # noqa: E402

REPEATS = 3
TURN_FLOOR_MS = 50  # below this the result is a shared machine's scheduler
TIMES_IDLE = 10
RATIO_MAX = 2  # of the other client's p99, with silent clients to without
RATIO_FLOOR_MS = 5  # below this the delay is the scheduler's
STARVED_MS = 2000  # a put waits this long though no turn is long: the slices leave no turn for other work
SHORT_S = 1.5
APART_REPEATS = 5
IDLE_S = 2
TAIL_S = 0.3


class Probe:
    def __init__(self, client):
        member = client.members[0]
        self.process = subprocess.Popen([*APART, sys.executable, "-B", f"{HERE}/prober.py", member.host, str(member.port), *client.token],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            os.setpriority(os.PRIO_PROCESS, self.process.pid, -20)
        except OSError:
            pass
        self.process.stdout.readline()  # "ready"

    def end(self):
        out, _ = self.process.communicate("\n", timeout=300)
        return json.loads(out)


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))] if values else 0.0


class Turns:
    """The metrics of all members before and after an attack. All turns count for a process that was started meanwhile."""

    def __init__(self, client):
        for m in client.running():
            client.metrics(m)  # the first one allocates, which is no cost of the attack
        self.client = client
        self.pids = [m.process.pid for m in client.members]
        self.before = self.read()

    def read(self):
        running = self.client.running()
        return [self.client.metrics(m) if m in running else {} for m in range(len(self.client.members))]

    def longest(self):
        """Milliseconds and the name of the work; None if the daemon does not measure. '<=' stands before an upper bound: an
        earlier turn of the same work was longer, so the exact value is unknown."""
        found = None
        for member, pid, before, after in zip(self.client.members, self.pids, self.before, self.read()):
            before = before if member.process.pid == pid else {}
            if "cairn_loop_turn_seconds_count" not in after:
                return None
            exact = (0.0, "")
            for name, value in after.items():
                if name.startswith("cairn_loop_turn_longest_seconds") and value > before.get(name, 0):
                    exact = max(exact, (value * 1000, name.split('"')[1]))
            bound, counted = 0.0, 0
            for name, value in after.items():
                if name.startswith("cairn_loop_turn_seconds_bucket"):
                    now = value - before.get(name, 0)
                    if now > counted:
                        le = name.split('"')[1]
                        bound, counted = (float("inf") if le == "+Inf" else float(le) * 1000), now
            mine = (exact[0], exact[1], "") if exact[0] >= bound / 2 else (bound, "?", "<=")
            found = max(found, mine) if found else mine
        return found


def measure(client, run):
    turns = Turns(client)
    probe = Probe(client)
    time.sleep(TAIL_S)
    client.begin()
    begin = time.monotonic()
    try:
        run(client)
    finally:
        client.stopped.set()
        while time.monotonic() - begin < 0.5:
            time.sleep(0.05)
        time.sleep(TAIL_S)
        puts = probe.end()
    return puts, turns.longest()


def compare(client, puts):
    """Notes for each phase; returns the p99 of the first one and of the last one, None where there are not two."""
    p99 = []
    for name, (begin, end, cpu_s) in client.phases.items():
        took = [ms for at, ms in zip(puts["at_s"], puts["took_ms"]) if begin <= at < end]
        p99.append(percentile(took, 0.99))
        client.note(f"{name:<18} put p50 {percentile(took, 0.5):.2f}, p99 {p99[-1]:.2f} ms of {len(took)}; the daemon used "
                    f"{100 * cpu_s / (end - begin):.0f} % of a CPU")
    if len(p99) < 2 or not p99[0]:
        return None
    client.note(f"p99 with / without: {p99[-1] / p99[0]:.2f}")
    return p99[0], p99[-1]


class Row:
    """Runs one attack on one binary and returns its best repeat."""

    def __init__(self, puts, turn, notes, p99):
        self.exact_ratio = p99[1] / p99[0] if p99 else 0.0
        self.ratio = self.exact_ratio if p99 and p99[1] > RATIO_FLOOR_MS else min(self.exact_ratio, 1.0)
        took = puts["took_ms"]
        self.median, self.p99, self.worst = percentile(took, 0.5), percentile(took, 0.99), max(took, default=0.0)
        self.count, self.refused, self.lost = len(took), puts["refused"], puts["lost"]
        self.turn, self.notes = turn, notes

    def turn_ms(self):
        return self.turn[0] if self.turn else 0.0

    def puts(self):
        return f"{self.median:8.1f} {self.p99:8.1f} {self.worst:9.1f}"

    def loop(self):
        if not self.turn:
            return f"{'-':>9} {'':<18}"
        return f"{self.turn[2] + format(self.turn[0], '.1f'):>9} {self.turn[1]:<18}"


def run_once(binary, attack, seconds):
    with tempfile.TemporaryDirectory(prefix="cairn-abuse-") as folder:
        client = Client(binary, folder, attack, seconds)
        try:
            client.start()
            client.begin()
            if attack.setup:
                attack.setup(client)
            if attack.restart:
                client.restart()
            puts, turn = measure(client, attack.run)
            return Row(puts, turn, client.notes, compare(client, puts))
        finally:
            client.stop()


class Run:
    def __init__(self, options):
        self.options = options
        self.bound_ms = None

    def areas(self):
        for file in sorted(os.listdir(f"{HERE}/attacks")):
            if file.endswith(".py"):
                yield file[:-3], importlib.import_module(f"attacks.{file[:-3]}").ATTACKS

    def wanted(self):
        for area, attacks in self.areas():
            for a in attacks:
                if self.options.names and a.name not in self.options.names and area not in self.options.names:
                    continue
                if self.options.short and not a.short and a.name not in self.options.names:
                    continue
                yield area, a

    def idle(self):
        attack = Attack("idle", "nobody but the client that puts", "-", lambda c: time.sleep(min(c.seconds, IDLE_S)))
        row = run_once(self.options.cairnd, attack, IDLE_S)
        self.bound_ms = max(TURN_FLOOR_MS, TIMES_IDLE * row.turn_ms())
        return row

    def is_over(self, row):
        return row.turn_ms() > self.bound_ms or row.p99 > STARVED_MS or row.lost or row.ratio > RATIO_MAX

    def attack(self, binary, attack, repeats):
        """The first repeat that is within the bound, or the best of those that are not."""
        best = None
        for _ in range(repeats):
            row = run_once(binary, attack, SHORT_S if self.options.short else attack.seconds)
            if not best or row.turn_ms() < best.turn_ms():
                best = row
            if not self.is_over(row):
                return row
        return best

    def median_of_ratios(self, attack):
        """The run with the median ratio; each run measures both phases, one right after the other."""
        rows = sorted((run_once(self.options.cairnd, attack, attack.seconds) for _ in range(APART_REPEATS)), key=lambda r: r.exact_ratio)
        row = rows[APART_REPEATS // 2]
        row.notes.append("ratios of all runs: " + ", ".join(f"{r.exact_ratio:.2f}" for r in rows))
        return row

    def all(self):
        before = self.options.before
        idle = self.idle()
        print(f"put latencies of another client, and the loop's longest turn, in ms; bound of a turn: {self.bound_ms:.0f} ms")
        old = f" | {'before':>8} {'p99':>8} {'worst':>9}" if before else ""
        print(f"     {'attack':<34} {'put p50':>8} {'p99':>8} {'worst':>9} {'turn':>9} {'its work':<18}{old}", flush=True)
        print(f"     {'idle':<34} {idle.puts()} {idle.loop()}", flush=True)
        failed = []
        for area, attack in self.wanted():
            try:
                row = self.median_of_ratios(attack) if self.options.apart else self.attack(self.options.cairnd, attack, REPEATS)
                was = f" | {self.attack(before, attack, 1).puts()}" if before else ""
            except (Exception, SystemExit):  # pylint: disable=broad-except
                failed.append(attack.name)
                print(f"FAIL {area + '/' + attack.name:<34} could not run:\n{traceback.format_exc()}", flush=True)
                continue
            # A real-time process is held up when it has used 95 % of a second: with --apart a turn's length says nothing.
            is_over = row.exact_ratio > RATIO_MAX or row.lost if self.options.apart else self.is_over(row)
            failed += [attack.name] * bool(is_over)
            print(f"{'FAIL' if is_over else 'ok  '} {area + '/' + attack.name:<34} {row.puts()} {row.loop()}{was}", flush=True)
            for note in row.notes:
                print(f"       {note}", flush=True)
        return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cairnd")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--before")
    parser.add_argument("--apart", action="store_true", help="the daemon and the other client have the first CPU and real-time priority, "
                        "attackers have the others; of a ratio, the median of five runs counts")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_intermixed_args()
    options.cairnd = os.path.abspath(options.cairnd)
    if options.apart:
        first, *others = sorted(os.sched_getaffinity(0))
        APART.extend(["taskset", "-c", str(first), "chrt", "-f", "10"])
        os.sched_setaffinity(0, others)
    run = Run(options)
    if options.list:
        for area, attack in run.wanted():
            print(f"{area + '/' + attack.name:<34} {attack.says} ({attack.limit})")
        return
    begin = time.monotonic()
    failed = run.all()
    print(f"abuse: {'FAILED: ' + ' '.join(failed) if failed else 'ok'}, {time.monotonic() - begin:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


main()
