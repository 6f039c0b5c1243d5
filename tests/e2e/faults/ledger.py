# SPDX-License-Identifier: Apache-2.0
"""All attempts to publish with their outcomes, and the judge of every response.

Every attempt has a note of its own and, except for rollbacks, a content of its own, so that a content names its writer.
The judge uses seqs and contents, and no clock.
"""
import collections
import hashlib
import threading
import time

OPEN, APPLIED, REFUSED = "open", "applied", "refused"


def md5_of(text):
    return hashlib.md5(text).hexdigest()


class Attempt:
    """One write of one name. seq: what it has become, when it is known. A gray release has no note."""

    def __init__(self, name, md5, note, base_seq, is_gray=False):
        self.name, self.md5, self.note, self.base_seq, self.is_gray = name, md5, note, base_seq, is_gray
        self.state, self.seq = OPEN, None

    def is_in(self, release):
        if self.is_gray:
            return release["operation"] == "gray" and release["md5"] == self.md5
        return release.get("note") == self.note


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.faults, self.count = [], collections.Counter()
        self.attempts = []
        self.tried = {}  # md5 -> the first attempt with it
        self.shown = {}  # (name, seq) -> md5; a release never changes
        self.acked = collections.Counter()  # name -> the highest live seq that was acknowledged
        self.gray_acked = collections.Counter()  # the same for zone b, gray releases too
        self.hidden = {}  # md5 -> the zone that must not see it; a reader without a zone counts as zone a
        self.unordered = set()  # names whose gray rules are discarded: zone b goes back then
        self.generation = {}  # (name, md5) -> which bundle it is of

    def fault(self, text):
        with self.lock:
            self.faults.append(f"{time.strftime('%T')} {text}")

    def counted(self, what, by=1):
        with self.lock:
            self.count[what] += by

    # --- writers ---
    def begin(self, name, content, note, base_seq, hidden_from=None, is_gray=False):
        """content None: the attempt has no new content."""
        attempt = Attempt(name, content and md5_of(content), note, base_seq, is_gray)
        with self.lock:
            self.attempts.append(attempt)
            if content:
                self.tried.setdefault(attempt.md5, attempt)
            if hidden_from:
                self.hidden[attempt.md5] = hidden_from
        return attempt

    def end(self, attempt, seq):
        """seq None: it was not applied, and never will be."""
        acked = self.gray_acked if attempt.is_gray else self.acked
        with self.lock:
            attempt.state, attempt.seq = (APPLIED, seq) if seq else (REFUSED, None)
            if seq:
                acked[attempt.name] = max(acked[attempt.name], seq)

    def is_for_all(self, attempt):
        """A promotion: zone b must have it from now on, too."""
        with self.lock:
            self.gray_acked[attempt.name] = max(self.gray_acked[attempt.name], attempt.seq or 0)

    def show(self, md5):
        """Every reader may see it from now on."""
        with self.lock:
            self.hidden.pop(md5, None)

    # --- readers ---
    def floor(self, name, zone):
        """The lowest seq that a read may return if it begins now."""
        with self.lock:
            if zone == "b" and name in self.unordered:
                return 0
            return self.gray_acked[name] if zone == "b" and name in self.gray_acked else self.acked[name]

    def generation_of(self, name, md5):
        with self.lock:
            return self.generation.get((name, md5))

    def look(self, who, name, seq, md5, zone=None, floor=0):
        """Checks one response to the reader `who`. floor: its value before the request."""
        with self.lock:
            self.count[who.split()[0]] += 1
            attempt = self.tried.get(md5)
            is_hidden = self.hidden.get(md5) == (zone or "a")
            known = self.shown.setdefault((name, seq), md5)
        if not attempt or attempt.name != name:
            self.fault(f"{who}: {name} {seq} has a content that nobody published: {md5}")
        elif attempt.state == REFUSED:
            self.fault(f"{who}: {name} {seq} has the content of a publish that was refused ({attempt.note})")
        if is_hidden:
            self.fault(f"{who}: {name} {seq} is not for zone {zone or 'a'} ({attempt.note})")
        if known != md5:
            self.fault(f"{who}: release {seq} of {name} had another content before")
        if seq < floor:
            self.fault(f"{who}: {name} at {seq}, {floor} was acknowledged before")

    # --- in the end ---
    def judge_history(self, who, name, releases):
        """releases: the history, the newest first. Each occurs once, seqs are consecutive, and no acknowledged one is
        missing."""
        seqs = [r["seq"] for r in releases]
        if not seqs or seqs != list(range(len(seqs), 0, -1)):
            self.fault(f"{who}: the seqs of {name} are no row: {seqs[:20]}")
        by_seq = {r["seq"]: r for r in releases}
        with self.lock:
            mine = [a for a in self.attempts if a.name == name]
            shown = {seq: md5 for (n, seq), md5 in self.shown.items() if n == name}
        for a in mine:
            self.judge_attempt(who, a, by_seq)
        notes, grays = {a.note for a in mine if not a.is_gray}, {a.md5 for a in mine if a.is_gray}
        for r in releases:
            known = {"gray": r.get("md5") in grays, "delete": True}.get(r["operation"], r.get("note") in notes)
            if not known:
                self.fault(f"{who}: nobody wrote {r['seq']} of {name}: {r}")
            if r["operation"] in ("rollback", "promote") and by_seq[r["origin_seq"]]["md5"] != r["md5"]:
                self.fault(f"{who}: {r['seq']} of {name} is not what {r['origin_seq']} was")
            if r["operation"] != "delete" and shown.get(r["seq"], r["md5"]) != r["md5"]:
                self.fault(f"{who}: {r['seq']} of {name} was shown with another content")
        self.counted("releases", len(releases))

    def judge_attempt(self, who, a, by_seq):
        found = [r for r in by_seq.values() if a.is_in(r)]
        if a.state == OPEN:
            self.fault(f"{who}: what came of {a.note} was never learned")
        elif len(found) != (a.state == APPLIED):
            self.fault(f"{who}: {a.note} is {a.state}, and is {len(found)} times in the history of {a.name}")
        elif a.seq and by_seq.get(a.seq) not in found:
            self.fault(f"{who}: {a.note} was acknowledged as {a.seq} of {a.name}, where there is {by_seq.get(a.seq)}")
        elif a.md5 and any(r["md5"] != a.md5 for r in found):
            self.fault(f"{who}: {a.note} has another content in the history of {a.name}")
