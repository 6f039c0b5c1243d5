# SPDX-License-Identifier: Apache-2.0
"""/api/v1/stream: many subscribers, large services, frames that are many or large."""
import json
import threading
import time

from attack import Attack, WebSocket
from attacks.registry import tiny_metadata


def fill(count, service="large"):
    return lambda client: client.fill_instances(service, count, lambda i: {"host": f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", "port": 8080, "zone": "a",
                                                                         "metadata": {"build": str(i)}})


def read_all(sockets, over):
    """Reads and discards, so that no subscriber is slow."""
    import select
    poll = select.epoll()
    by_fd = {w.s.fileno(): w.s for w in sockets}
    for s in by_fd.values():
        s.setblocking(False)
        poll.register(s, select.EPOLLIN)
    while not over():
        for fd, _ in poll.poll(0.1):
            try:
                if not by_fd[fd].recv(1 << 18):
                    poll.unregister(fd)
            except BlockingIOError:
                pass
            except OSError:  # closed at the end of the attack
                return


def subscribers(connections, each, service="watched", deflate=False):
    """Connections with subscriptions to the same service."""
    def setup(client):
        client.register(service, "first", {"host": "h", "port": 1, "ttl": 600})
        client.streams = []
        for n in range(connections):
            w = WebSocket(client, deflate=deflate)
            w.send(type="hello", client_id=f"c{n}")
            for k in range(each):
                w.send(type="subscribe", sid=k + 1, kind="service", name=service)
            client.streams.append(w)
        time.sleep(2)
    return setup


def change_watched(client):
    reader = threading.Thread(target=read_all, args=(client.streams, client.is_over), daemon=True)
    reader.start()
    n, c = 0, client.connection()
    while not client.is_over():
        client.register("watched", "first", {"host": "h", "port": 1 + n % 60000, "ttl": 600}, c)
        n += 1
        time.sleep(0.1)
    reader.join(5)


def subscribe_large(deflate):
    """Requests snapshots of a large service repeatedly."""
    def run(client):
        while not client.is_over():
            w = WebSocket(client, deflate=deflate)
            w.send(type="hello", client_id="c")
            for k in range(8):
                w.send(type="subscribe", sid=k + 1, kind="service", name="large")
            got = 0
            w.s.settimeout(20)
            try:
                while got < 8 and not client.is_over():
                    _, text = w.receive()
                    got += 1 if deflate else text.count(b'"snapshot"')
            except OSError:
                pass
            w.close()
    return run


def subscribe_many(count):
    """As many subscriptions as a connection allows, each to another service that does not exist."""
    def run(client):
        while not client.is_over():
            w = WebSocket(client)
            w.send(type="hello", client_id="c")
            threading.Thread(target=read_all, args=([w], client.is_over), daemon=True).start()
            try:
                for k in range(count):
                    w.send(type="subscribe", sid=k + 1, kind="service", name=f"none{k}")
            except OSError:
                pass
            time.sleep(0.3)
            w.close()
    return run


def wrong_frames(payload):
    def run(client):
        while not client.is_over():
            w = WebSocket(client)
            threading.Thread(target=read_all, args=([w], client.is_over), daemon=True).start()
            try:
                w.send(type="hello", client_id="c")
                while not client.is_over():
                    w.send_raw(0x81, payload)
            except OSError:
                pass
            w.close()
    return run


def change_large(client):
    """Deltas of a large service for ten subscribers; its whole list changes."""
    streams = []
    for n in range(10):
        w = WebSocket(client)
        w.send(type="hello", client_id=f"c{n}")
        w.send(type="subscribe", sid=1, kind="service", name="large")
        streams.append(w)
    reader = threading.Thread(target=read_all, args=(streams, client.is_over), daemon=True)
    reader.start()
    time.sleep(1)
    n = 0
    while not client.is_over():
        client.fill_instances("large", 2000, lambda i, n=n: {"host": "h", "port": 1 + n % 60000})
        n += 1
    reader.join(5)


MANY_LABELS = json.dumps({"type": "hello", "client_id": "c", "labels": {f"k{i}": "" for i in range(3000)}}).encode()

def register_largest(client):
    """Registrations of the largest documents, one after the other, in eight streams."""
    ports = {f"p{i}": 9000 + i for i in range(32)}

    def work(k):
        w, n = WebSocket(client), 0
        w.send(type="hello", client_id=f"c{k}")
        while not client.is_over():
            w.send(type="register", rid=n + 1, name="churn", id=f"i{k}-{n % 20}",
                   instance={"host": "10.0.0.1", "port": 1 + n % 60000, "ports": ports, "metadata": tiny_metadata(), "ttl": 60})
            while b'"rid":%d,' % (n + 1) not in w.receive()[1]:
                pass
            n += 1
        client.note(f"stream {k}: {n} registrations") if k == 0 else None
    client.together(8, work)


ATTACKS = [
    Attack("subscribers_1000", "1,000 streams follow one service, which changes", "connections", change_watched, subscribers(1000, 1)),
    Attack("subscriptions_10000", "100 streams with 100 subscriptions each of one service, which changes", "subscriptions of a connection", change_watched,
           subscribers(100, 100), short=False),
    Attack("deflated_subscribers", "500 streams with permessage-deflate follow one service", "connections", change_watched, subscribers(500, 1, deflate=True),
           short=False),
    Attack("snapshot_10000", "snapshots of a service of 10,000 instances", "instances of a service", subscribe_large(False), fill(10000)),
    Attack("snapshot_deflated", "the same with permessage-deflate", "instances of a service", subscribe_large(True), fill(10000)),
    Attack("subscribe_none", "10,000 subscriptions of services that are not there", "subscriptions of a connection", subscribe_many(10000), short=False),
    Attack("frames_of_labels", "hello with 3,000 labels, again and again", "64 KiB a frame", wrong_frames(MANY_LABELS)),
    Attack("frames_of_rubbish", "frames that are no JSON", "frames", wrong_frames(b"[" * 60), short=False),
    Attack("deltas_of_2000", "2,000 instances of a large service change at once, ten subscribers", "instances of a service", change_large, fill(10000)),
    Attack("stream_register_largest", "registers documents of 8 KiB of metadata in eight streams", "8 KiB of metadata, 64 KiB a frame", register_largest,
           short=False),
]
