# SPDX-License-Identifier: Apache-2.0
"""Clients in a process of their own: SIGSTOP stops them together, in the middle of a request too.

    hypervisor.py < JSON list of [name, addresses, instances]

Each is a Client of world.py: it registers, sends heartbeats, and registers again when its session is gone. The process writes how
many of them are registered, ten times a second. The process that started it judges what readers are shown of them.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

from world import Client, wait_for


class NoJudge:
    """A host that was paused may find its sessions gone: other code judges that."""

    def fault(self, text):
        pass

    hold = free = fault


class Host:
    """The process, with these clients' instances; their own threads are paused meanwhile."""

    def __init__(self, clients):
        self.clients, self.registered, self.changed = clients, 0, 0
        for c in clients:
            c.pause(may_die=False)
        self.process = subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        json.dump([[c.name, c.addresses, c.instances] for c in clients], self.process.stdin)
        self.process.stdin.close()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.registered, self.changed = int(line), time.monotonic()

    def serve(self):
        """All of them are registered, as of after this call."""
        begin = time.monotonic()
        wait_for("the clients of the host are registered",
                 lambda: self.changed > begin + 0.3 and self.registered == len(self.clients))

    def send(self, how):
        self.process.send_signal(how)

    def end(self):
        """Their own threads resume, with sessions of their own."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for c in self.clients:
            c.resume()


def main():
    clients = [Client(name, addresses, {i: tuple(d) for i, d in instances.items()}, NoJudge())
               for name, addresses, instances in json.load(sys.stdin)]
    for c in clients:
        c.start()
    while os.getppid() != 1:
        print(sum(c.is_registered.is_set() for c in clients), flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
