# SPDX-License-Identifier: Apache-2.0
"""Snapshots of the whole state: many at once, and some that no client reads."""
import os
import time

from attack import Attack

HEAD = b"POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


def fill(client):
    value = os.urandom(24 * 1024)
    client.kv_fill(1500, value=lambda i: value, ops=32)
    time.sleep(0.5)  # it is written down


def save(client, _):
    """Reads snapshots as fast as they come, to the end of the attack."""
    while not client.is_over():
        with client.socket() as s:
            s.sendall(HEAD)
            while not client.is_over() and s.recv(1 << 18):
                pass


def ten_at_once(client):
    client.together(10, lambda n: save(client, n))


def unread(client):
    """A hundred clients begin a snapshot and read nothing; another client overwrites all keys and compacts."""
    sockets = []
    for _ in range(100):
        s = client.socket()
        s.sendall(HEAD)
        sockets.append(s)
    while not client.is_over():
        client.kv_fill(256, value=lambda i: os.urandom(4096), ops=64)
        revision = int(client.metrics()["etcd_debugging_mvcc_current_revision"])
        client.request("POST", "/v3/kv/compaction", {"revision": revision})
    running = client.metrics().get("cairn_snapshots_running", -1)
    left = [name for _, _, names in os.walk(client.members[0].folder) for name in names if name.startswith("snapshot-")]
    client.note(f"{int(running)} snapshots run, {len(left)} files of snapshots")
    for s in sockets:
        s.close()


def come_and_go(client):
    """Begins a snapshot, reads a part and disconnects, repeatedly."""
    def one(_):
        while not client.is_over():
            with client.socket() as s:
                s.sendall(HEAD)
                s.recv(1000)
    client.together(8, one)


ATTACKS = [
    Attack("snapshots_at_once", "saves ten snapshots at once, again and again", "--max-snapshots", ten_at_once, fill),
    Attack("snapshots_unread", "begins a hundred snapshots and reads none, beside writes and compactions", "--max-snapshots", unread, fill),
    Attack("snapshots_broken_off", "begins snapshots and goes away, with eight connections", "--max-snapshots", come_and_go, fill, short=False),
]
