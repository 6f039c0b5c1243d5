# SPDX-License-Identifier: Apache-2.0
"""Very many watchers: of what is written, of what was written long ago, that come and go at once."""
import time

from attack import Attack
from rpc import PUT, WATCH, WATCH_PROGRESS, Drain, Grpc, framed, put, watch_cancel, watch_create

WATCHERS = 10_000
HISTORY = 20_000
PROBE = (b"p", b"q")  # the key that the other client writes is in it


def wait(client):
    while not client.is_over():
        time.sleep(0.1)


def watch(client, connections, streams, watches, **create):
    """So many watches on each of so many streams of so many connections; what they are told is read and forgotten."""
    opened = [Grpc(client) for _ in range(connections)]
    client.watching = Drain(opened)
    client.streams = []
    for g in opened:
        for _ in range(streams):
            stream, frames = g.call(WATCH, *[watch_create(*PROBE, **create) for _ in range(watches)], end=False)
            g.s.sendall(frames)
            client.streams.append((g, stream))
    wait_for(client, "etcd_debugging_mvcc_watcher_total", connections * streams * watches)


def wait_for(client, metric, least, timeout_s=60):
    end = time.monotonic() + timeout_s
    while client.metrics().get(metric, 0) < least:
        if time.monotonic() > end:
            raise SystemExit(f"{metric} is not {least} within {timeout_s} s")
        time.sleep(0.1)


def told(client):
    """The puts are the other client's."""
    before = client.watching.bytes
    wait(client)
    client.note(f"{(client.watching.bytes - before) >> 20} MiB of events were read")
    client.watching.end()


def on_streams(client):
    watch(client, 100, 100, 1)


def on_one_stream(client):
    watch(client, 1, 1, WATCHERS)


def fill_history(client):
    g = Grpc(client)
    g.many(PUT, (put(b"p%05d" % (i % 1000), b"v") for i in range(HISTORY)))
    g.close()


def resume(key_of, connections):
    """All watchers begin at a revision of long ago, in the same moment."""
    def run(client):
        opened = [Grpc(client) for _ in range(connections)]
        drain = Drain(opened)
        each = WATCHERS // connections
        for n, g in enumerate(opened):
            g.s.sendall(g.call(WATCH, *[watch_create(*key_of(n * each + i), start=2) for i in range(each)], end=False)[1])
        wait(client)
        client.note(f"{drain.bytes >> 20} MiB of events were read")
        drain.end()
    return run


def cancel(client):
    """Ten thousand watches come and are cancelled in one write, again and again."""
    g = Grpc(client)
    drain = Drain([g])
    stream, frames = g.call(WATCH, end=False)
    g.s.sendall(frames)
    first = 1
    while not client.is_over():
        ids = range(first, first + WATCHERS)
        g.s.sendall(g.data(stream, b"".join(framed(watch_create(*PROBE, watch_id=i)) for i in ids)))
        g.s.sendall(g.data(stream, b"".join(framed(watch_cancel(i)) for i in ids)))
        first += WATCHERS
    drain.end()


def hang_up(client):
    """Connections with ten thousand watches are closed, one after the other."""
    while not client.is_over():
        g = Grpc(client)
        drain = Drain([g])
        g.s.sendall(g.call(WATCH, *[watch_create(*PROBE) for _ in range(WATCHERS)], end=False)[1])
        wait_for(client, "etcd_debugging_mvcc_watcher_total", WATCHERS)
        drain.end()
        g.close()


def progress(client):
    """Progress of all is due ten times a second, and is asked for on each stream besides."""
    while not client.is_over():
        for g, stream in client.streams:
            g.s.sendall(g.data(stream, framed(WATCH_PROGRESS) * 100))
        time.sleep(0.05)
    client.watching.end()


LIMIT = "watches of a member"
ATTACKS = [
    Attack("watch_streams", "10,000 streams on 100 connections watch the range that is written", LIMIT, told, on_streams, short=False),
    Attack("watch_stream", "one stream with 10,000 watches of the range that is written", LIMIT, told, on_one_stream),
    Attack("watch_resume", "10,000 watches begin at once 20,000 revisions ago", LIMIT, resume(lambda i: PROBE, 10), fill_history),
    Attack("watch_resume_none", "10,000 watches of keys that are not there begin at once 20,000 revisions ago", LIMIT,
           resume(lambda i: (b"none%d" % i,), 1), fill_history, short=False),
    Attack("watch_cancel", "10,000 watches come and are cancelled in one write", LIMIT, cancel, short=False),
    Attack("watch_hang_up", "connections with 10,000 watches are closed", LIMIT, hang_up, short=False),
    Attack("watch_progress", "progress of 10,000 watches is due at once, and asked for", "--watch-progress-notify-interval", progress,
           lambda client: watch(client, 10, 10, 100, progress=True), options=("--watch-progress-notify-interval", "100ms"), short=False),
]
