#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory of a cluster of three under full load of 1 MiB values: it stays flat while one follower is stopped (SIGSTOP).

    memory.py CAIRND [--seconds 40] [--writers 4]

Four phases: all members run; one follower is stopped for a moment and catches up, from the log on the others' disks; it is
stopped for the time given, while the others' memory is read each second; it continues and catches up, however long that takes.
Memory is what belongs to the process alone (RssAnon): the kernel drops pages of files when other programs need memory. Fails when the
later half holds more than a tenth (and 8 MiB) more than the first, when any member holds more than 256 MiB, when the files of a log are
larger than their limit and two segments, or when the follower does not catch up.
"""
import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from attack import Attack, Client, b64  # noqa: E402

VALUE = 1 << 20
KEYS = 8
REVISIONS_KEPT = 50
PEAK_MIB = 256
CATCH_UP_S = 120
LOG_MIB = 512
SEGMENT_MIB = 8
OPTIONS = (f"--snapshot-catchup-disk-bytes={LOG_MIB << 20}", "--log-level=error", "--quota-backend-bytes=8589934592")


def anonymous_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Load:
    """Writers that put as fast as they are answered, and one that compacts, so that the store stays small."""

    def __init__(self, client, writers):
        self.client, self.count, self.refused, self.revision = client, 0, 0, 0
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(n,)) for n in range(writers)]
        self.threads.append(threading.Thread(target=self.compact))
        for t in self.threads:
            t.start()

    def write(self, n):
        value = os.urandom(VALUE)
        bodies = [json.dumps({"key": b64(b"large%d" % k), "value": b64(value)}).encode() for k in range(KEYS)]
        connection, at = None, n
        while not self.is_over.is_set():
            try:
                connection = connection or self.client.connection(30)
                status, text = self.client.request("POST", "/v3/kv/put", bodies[at % KEYS], connection=connection)
                at += 1
                if status == 200:
                    self.count += 1
                    self.revision = max(self.revision, int(json.loads(text)["header"]["revision"]))
                else:
                    self.refused += 1
                    time.sleep(0.1)
            except OSError:
                connection = None

    def compact(self):
        while not self.is_over.wait(2):
            if self.revision > REVISIONS_KEPT:
                self.client.request("POST", "/v3/kv/compaction", {"revision": self.revision - REVISIONS_KEPT})

    def end(self):
        self.is_over.set()
        for t in self.threads:
            t.join()


def applied(client, member):
    return client.metrics(member)["etcd_server_proposals_applied_total"]


def catch_up(client, load, member):
    end = time.monotonic() + CATCH_UP_S
    while time.monotonic() < end:
        if applied(client, member) >= applied(client, 0) - 3 * len(load.threads):
            return True
        time.sleep(0.2)
    return False


def follower_of(client):
    """The writers use the first member; it may lead or not. The stopped member is another follower."""
    return next(m for m in (2, 1) if not client.metrics(m)["etcd_server_is_leader"])


def log_mib(client, member):
    """The sizes of a member's log files on disk."""
    size = 0
    for folder, _, files in os.walk(os.path.join(client.members[member].folder, client.members[member].name)):
        if os.path.basename(folder) == "wal":
            for name in files:
                try:
                    size += os.stat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    pass  # deleted since
    return size / (1 << 20)


def watch(client, running, seconds, logs):
    samples = []
    for _ in range(int(seconds)):
        time.sleep(1)
        samples.append([anonymous_mib(client.members[m].process.pid) for m in running])
        logs.append([log_mib(client, m) for m in running])
    return samples


def judge(name, values):
    first, later = values[len(values) // 4:len(values) // 2], values[len(values) // 2:]
    before, after = statistics.median(first), statistics.median(later)
    is_flat = after <= before * 1.1 + 8 and max(values) <= PEAK_MIB
    print(f"{'ok  ' if is_flat else 'FAIL'} {name}: {before:.0f} MiB, later {after:.0f}, at most {max(values):.0f}", flush=True)
    return is_flat


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cairnd")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--writers", type=int, default=4)
    o = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # all processes that were started end with it
    is_ok = True
    with tempfile.TemporaryDirectory(prefix="cairn-memory-") as folder:
        client = Client(o.cairnd, folder, Attack("memory", "", "", None, members=3, options=OPTIONS), o.seconds)
        load = victim = None
        try:
            client.start()
            victim = follower_of(client)
            process = client.members[victim].process
            load = Load(client, o.writers)
            time.sleep(3)
            process.send_signal(signal.SIGSTOP)
            time.sleep(3)
            process.send_signal(signal.SIGCONT)
            is_ok &= catch_up(client, load, victim)
            read_back = sum(client.metrics(m)["cairn_raft_log_read_back_bytes_total"] for m in range(3))
            print(f"{'ok  ' if read_back else 'FAIL'} stopped for 3 s: {read_back / (1 << 20):.0f} MiB read back from the log", flush=True)
            is_ok &= read_back > 0
            process.send_signal(signal.SIGSTOP)
            begin, running = load.count, [m for m in range(3) if m != victim]
            logs = []
            samples = watch(client, running, o.seconds, logs)
            print(f"     {load.count - begin} values of 1 MiB in {o.seconds:.0f} s, {load.refused} refused", flush=True)
            for at, m in enumerate(running):
                role = "leader" if client.metrics(m)["etcd_server_is_leader"] else "follower"
                is_ok &= judge(f"{client.members[m].name}, {role}", [s[at] for s in samples])
                largest = max(s[at] for s in logs)
                is_bounded = 0 < largest <= LOG_MIB + 2 * SEGMENT_MIB
                print(f"{'ok  ' if is_bounded else 'FAIL'} its log on disk: at most {largest:.0f} MiB", flush=True)
                is_ok &= is_bounded
            process.send_signal(signal.SIGCONT)
            caught = catch_up(client, load, victim)
            print(f"{'ok  ' if caught else 'FAIL'} the stopped one catches up: {anonymous_mib(process.pid):.0f} MiB")
            is_ok &= caught
        finally:
            if victim is not None:
                client.members[victim].process.send_signal(signal.SIGCONT)
            if load:
                load.end()
            client.stop()
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
