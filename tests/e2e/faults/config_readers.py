# SPDX-License-Identifier: Apache-2.0
"""Readers of configurations while members fail; each resumes at the next member from its position."""
import json

from ledger import md5_of
from readers import Reader
from world import fetch


class Subscriber(Reader):
    """A reader that keeps the last state of each name, and never goes back."""

    def __init__(self, name, ledger, addresses, zone=None, pause_s=0.02):
        super().__init__(name, ledger, pause_s)
        self.ledger, self.addresses, self.zone = ledger, list(addresses), zone
        self.last = {}  # name -> (seq, md5); md5 None: deleted

    def next_member(self):
        self.addresses.append(self.addresses.pop(0))

    def take(self, name, seq, md5, floor=0):
        before = self.last.get(name, (0, None))[0]
        if md5:
            self.ledger.look(self.name, name, seq, md5, self.zone, floor)
        if seq < before and not (self.zone == "b" and name in self.ledger.unordered):
            self.ledger.fault(f"{self.name}: {name} went back from {before} to {seq}")
        self.last[name] = (seq, md5)

    def get(self, path, timeout_s=1.5):
        try:
            status, headers, text = fetch(self.addresses[0], "GET", "/api/v1" + path, timeout_s=timeout_s)
        except OSError:
            self.next_member()
            raise
        if status not in (200, 304, 404):
            self.next_member()
            raise OSError(f"{status} {text}")
        return status, headers, text


class Poller(Subscriber):
    """Waits for one configuration after the other from where it was."""

    def __init__(self, name, ledger, addresses, names, zone=None):
        super().__init__(f"poll {name}", ledger, addresses, zone)
        self.names, self.revision = list(names), {}
        self.query = f"&client_id={name}&labels=zone={zone}" if zone else ""

    def step(self):
        self.names.append(self.names.pop(0))
        name = self.names[0]
        had, floor = self.last.get(name), self.ledger.floor(name, self.zone)
        wait = f"&wait_revision={self.revision[name]}&timeout=300ms" if name in self.revision else ""
        status, headers, text = self.get(f"/configs/{name}?namespace=default{self.query}{wait}", 4)
        if status == 200:
            seq, md5 = int(headers["X-Cairn-Seq"]), md5_of(text)
            if headers["ETag"] != f'"{md5}"':
                self.ledger.fault(f"{self.name}: {name} {seq} has md5 {md5}, and {headers['ETag']} as its tag")
            self.take(name, seq, md5, floor)
        elif status == 304 and had[0] < floor:
            self.ledger.fault(f"{self.name}: 304 for {name} at {had[0]}, {floor} was acknowledged before")
        elif status == 404 and floor:
            self.ledger.fault(f"{self.name}: {name} is not there, {floor} was acknowledged before")
        revision = int(headers["X-Cairn-Revision"])
        if revision < self.revision.get(name, 0):
            self.ledger.fault(f"{self.name}: {name} at revision {revision}, was told {self.revision[name]} before")
        if status != 404:
            self.revision[name] = revision


class Lister(Subscriber):
    """Reads the list of heads, which is one revision: of a bundle it must have all or nothing."""

    def __init__(self, name, ledger, addresses, bundle, query):
        super().__init__(f"list{query and '-'}{query} {name}", ledger, addresses, pause_s=0.05)
        self.bundle, self.is_local, self.revision = bundle, query == "local", 0
        self.is_waiting = query == "wait"

    def step(self):
        floors = {} if self.is_local else {n: f for n, f in dict(self.ledger.acked).items()}
        path = "/configs?deleted=true" + ("&consistency=local" if self.is_local else "")
        if self.is_waiting and self.revision:
            path += f"&wait_revision={self.revision}&timeout=1s"
        status, headers, text = self.get(path, 3)
        if status == 200:
            answer = json.loads(text)
            self.revision = answer["revision"]
            items = {i["name"]: i for i in answer["configs"]}
            for name, i in items.items():
                self.take(name, i["seq"], i.get("md5"), floors.get(name, 0))
            look_at_bundle(self, self.bundle, self.revision)
        elif status == 304:
            for name, floor in floors.items():
                if self.last.get(name, (0,))[0] < floor:
                    self.ledger.fault(f"{self.name}: 304, {floor} of {name} was acknowledged before")


def look_at_bundle(reader, names, revision):
    """A bundle's names at one revision have one generation; the last name exists in every second one only."""
    ledger, have = reader.ledger, {n: reader.last.get(n) for n in names}
    of = {n: ledger.generation_of(n, h[1]) for n, h in have.items() if h and h[1]}
    generations = set(of.values())
    if len(generations) > 1 or (of and any(n not in of for n in names[:-1])):
        ledger.fault(f"{reader.name}: half of a bundle at revision {revision}: {of}")
    elif of and (names[-1] in of) != (next(iter(generations)) % 2 == 1):
        ledger.fault(f"{reader.name}: {names[-1]} is {'there' if names[-1] in of else 'gone'} at revision {revision}: {of}")
    if of:
        ledger.counted("whole bundles seen")


class Historian(Subscriber):
    """Reads the newest releases of one name after the other: their seqs are consecutive, and no release ever changes."""

    def __init__(self, name, ledger, addresses, names):
        super().__init__(f"history {name}", ledger, addresses, pause_s=0.1)
        self.names = list(names)

    def step(self):
        self.names.append(self.names.pop(0))
        name, floor = self.names[0], self.ledger.acked[self.names[0]]
        status, _, text = self.get(f"/configs/{name}/history?limit=20")
        releases = json.loads(text)["releases"] if status == 200 else []
        seqs = [r["seq"] for r in releases]
        if floor and (not seqs or seqs[0] < floor or seqs != list(range(seqs[0], seqs[0] - len(seqs), -1))):
            self.ledger.fault(f"{self.name}: {name} has {seqs}, {floor} was acknowledged before")
        with self.ledger.lock:
            self.ledger.count["history"] += 1
            changed = [r for r in releases if r["operation"] != "delete"
                       and self.ledger.shown.setdefault((name, r["seq"]), r["md5"]) != r["md5"]]
        for r in changed:
            self.ledger.fault(f"{self.name}: {name} {r['seq']} had another content before")
