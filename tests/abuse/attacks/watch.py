# SPDX-License-Identifier: Apache-2.0
"""Very many watchers: of current writes, of old revisions, and watchers that come and go at once."""
import time

from attack import Attack
from rpc import PUT, WATCH, WATCH_PROGRESS, Drain, Grpc, framed, put, watch_cancel, watch_create

WATCHERS = 10_000
HISTORY = 20_000
PROBE = (b"p", b"q")  # the range holds the key that the other client writes


def wait(client):
    while not client.is_over():
        time.sleep(0.1)


def watch(client, connections, streams, watches, **create):
    """The given numbers of watches per stream, streams per connection and connections; their events are read and discarded."""
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
    """Only the other client puts."""
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
    """All watchers begin at an old revision, at the same time."""
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
    """Creates and cancels ten thousand watches in one write, repeatedly."""
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
    """Closes connections with ten thousand watches, one after the other."""
    while not client.is_over():
        g = Grpc(client)
        drain = Drain([g])
        g.s.sendall(g.call(WATCH, *[watch_create(*PROBE) for _ in range(WATCHERS)], end=False)[1])
        wait_for(client, "etcd_debugging_mvcc_watcher_total", WATCHERS)
        drain.end()
        g.close()


def progress(client):
    """The server sends progress of all watches ten times a second, and each stream also requests it."""
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
