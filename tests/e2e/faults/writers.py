# SPDX-License-Identifier: Apache-2.0
"""Publishers while members fail: each continues only when it knows the outcome of its write.

After a lost response a publisher does as a client would: it sends the same write again, with the same condition. The write is
then applied, or 412 names the current release. If that is another one, the history shows whether the write was once applied.
"""
import http.client
import json
import random
import threading
import time

from world import fetch

NOT_WRITTEN = {"precondition_failed", "conflict", "quota_exceeded", "not_ready", "no_leader", "not_found"}
UNKNOWN = {"outcome_unknown", "stopping", "deadline", "unavailable"}


class Unknown(OSError):
    """It may have happened."""


class Refused(Exception):
    """It has not happened."""

    def __init__(self, error):
        super().__init__(error.get("message"))
        self.code, self.current = error["code"], error.get("current")


def hang_up(member, method, path, body, headers, after_s):
    """Sends a request, and does not wait for the response."""
    host, port = member.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=1.5)
    try:
        connection.request(method, path, body, headers or {})
        time.sleep(after_s)
    finally:
        connection.close()
    raise Unknown("hung up")


class Writer(threading.Thread):
    """Again and again step(), which leaves nothing open."""

    def __init__(self, name, ledger, addresses, pause_s):
        super().__init__(daemon=True)
        self.name, self.ledger, self.addresses, self.pause_s = name, ledger, list(addresses), pause_s
        self.is_over, self.is_paused, self.is_at_rest = threading.Event(), threading.Event(), threading.Event()
        self.turn, self.random = 0, random.Random(name)
        self.hangs_up = False  # with its next write

    def run(self):
        while not self.is_over.wait(self.pause_s):
            self.is_at_rest.clear()
            if self.is_paused.is_set():
                self.is_at_rest.set()
                continue
            self.turn += 1
            self.hangs_up = self.turn % 10 == 9
            try:
                self.step()
            except OSError:
                self.next_member()
            except Exception as error:
                self.ledger.fault(f"{self.name}: {error!r}")

    def next_member(self):
        self.addresses.append(self.addresses.pop(0))

    def content(self, name):
        """A content of its own; now and then one of 100 KiB."""
        text = f"of: {name}\nby: {self.name}\nturn: {self.turn}\n"
        return (text + ("# " + "x" * 98 + "\n") * (1000 if self.turn % 50 == 7 else 0)).encode()

    def say(self, method, path, body=None, headers=None):
        """Returns the response; OSError: unknown outcome, Refused: not applied."""
        if self.hangs_up and method != "GET":
            self.hangs_up = False
            hang_up(self.addresses[0], method, "/api/v1" + path, body, headers, self.random.random() / 100)
        status, _, text = fetch(self.addresses[0], method, "/api/v1" + path, body, headers)
        answer = json.loads(text) if text else {}
        if status == 200:
            return answer
        error = answer.get("error", {})
        if error.get("code") in UNKNOWN:
            raise Unknown(error["code"])
        if error.get("code") not in NOT_WRITTEN:
            self.ledger.fault(f"{self.name}: {method} {path} is answered with {status} {answer}")
        raise Refused(error)

    def again_and_again(self, *request):
        """Retries until the outcome is known. Returns the response (None: refused, and why), and whether any outcome was
        unknown."""
        is_unknown = False
        while not self.is_over.is_set():
            try:
                return self.say(*request), None, is_unknown
            except ConnectionRefusedError:
                pass
            except Refused as refused:
                if refused.code not in ("not_ready", "no_leader"):
                    return None, refused, is_unknown
            except OSError as error:
                self.ledger.counted("hung up" if str(error) == "hung up" else "lost answers")
                is_unknown = True
            self.next_member()
            time.sleep(0.05)
        raise OSError("over")

    def history(self, name, down_to=0):
        """The releases above a seq, the newest first."""
        releases, before = [], ""
        while True:
            answer = self.again_and_again("GET", f"/configs/{name}/history?limit=1000{before}")[0]
            releases += [r for r in (answer or {}).get("releases", []) if r["seq"] > down_to]
            if not answer or "continue" not in answer or (releases and releases[-1]["seq"] <= down_to + 1):
                return releases
            before = f"&continue={answer['continue']}"

    def write(self, attempt, *request):
        """Sends one conditional write until its outcome is known. Returns its response, or None; the seq is the attempt's."""
        answer, refused, is_unknown = self.again_and_again(*request)
        self.judge_answer(attempt, answer, refused)
        if answer and answer.get("unchanged"):  # back to the live release
            self.ledger.end(attempt, None)
        elif answer:
            self.ledger.end(attempt, answer["seq"])
            self.ledger.counted("publishes")
        elif not is_unknown:
            self.ledger.end(attempt, None)
        else:
            found = [r["seq"] for r in self.history(attempt.name, attempt.base_seq) if attempt.is_in(r)]
            current = refused.current or {}
            if current.get("md5") and current["md5"] == attempt.md5 and current["seq"] not in found:
                self.ledger.fault(f"{self.name}: {attempt.note} stands there, and is not in the history")
            self.ledger.end(attempt, found[0] if found else None)
            self.ledger.counted("learned that it was written" if found else "learned that it was not")
        return answer, refused

    def judge_answer(self, attempt, answer, refused):
        stands = refused and refused.current or {}
        newest = max([stands.get("seq", 0), *(r["seq"] for r in stands.get("gray", []))])
        if refused and refused.code == "precondition_failed" and newest <= attempt.base_seq:
            self.ledger.fault(f"{self.name}: {attempt.note} was to follow {attempt.base_seq}, and is refused because of {stands}")
        if answer and answer.get("unchanged") and attempt.md5:
            self.ledger.fault(f"{self.name}: {attempt.note} is new, and is answered with {answer}")


class Publisher(Writer):
    """Compare-and-swap, by seq or by md5, on names that others write too; and rollbacks."""

    def __init__(self, name, ledger, addresses, names):
        super().__init__(name, ledger, addresses, 0.03)
        self.names, self.heads = names, {n: (0, None) for n in names}

    def step(self):
        name = self.random.choice(self.names)
        seq, md5 = self.heads[name]
        note = f"{self.name}-{self.turn}"
        if name.startswith("r") and seq > 3 and self.turn % 3 == 0:
            attempt = self.ledger.begin(name, None, note, seq)
            body = json.dumps({"seq": self.random.randrange(1, seq - 1), "note": note})
            request = ("POST", f"/configs/{name}/rollback?if_seq={seq}", body)
        else:
            content, headers, query = self.content(name), {}, f"note={note}"
            attempt = self.ledger.begin(name, content, note, seq)
            if not md5:
                headers["If-None-Match"] = "*"
            elif self.turn % 2 and not name.startswith("r"):  # contents repeat there, so an md5 identifies less than a seq
                headers["If-Match"] = f'"{md5}"'
            else:
                query += f"&if_seq={seq}"
            request = ("PUT", f"/configs/{name}?{query}", content, headers)
        answer, refused = self.write(attempt, *request)
        head = answer or refused.current or {}
        if answer and attempt.seq and attempt.seq != seq + 1:
            self.ledger.fault(f"{self.name}: {name} went from {seq} to {attempt.seq}")
        if "md5" in head:
            self.heads[name] = (head["seq"], head["md5"])
        if self.turn % 7 == 0:
            self.next_member()


class Bundler(Writer):
    """Several names in one write: all of a generation, the last one there in every other only."""

    def __init__(self, name, ledger, addresses, names):
        super().__init__(name, ledger, addresses, 0.1)
        self.names, self.seqs = names, {n: 0 for n in names}
        self.generation = 0

    def step(self):
        generation, seqs = self.generation + 1, self.seqs
        deletes = generation % 2 == 0
        publish, attempts = [], []
        for n in self.names:
            note, content = f"{self.name}-{self.turn}-{n}", self.content(n)
            if n == self.names[-1] and deletes:
                continue
            attempts.append(self.ledger.begin(n, content, note, seqs[n]))
            with self.ledger.lock:
                self.ledger.generation[n, attempts[-1].md5] = generation
            publish.append({"name": n, "content": content.decode(), "note": note, "if_seq": seqs[n]})
        body = json.dumps({"publish": publish, "delete": [{"name": self.names[-1]}] if deletes else []})
        answer, refused, is_unknown = self.again_and_again("POST", "/bundles", body)
        if answer and answer["changed"] != len(self.names):
            self.ledger.fault(f"{self.name}: a bundle has changed {answer['changed']} of {len(self.names)}")
        is_written = [self.came_of(a, is_unknown and not answer, answer) for a in attempts]
        if any(is_written) != all(is_written):
            self.ledger.fault(f"{self.name}: half of the bundle {self.turn} was written: {is_written}")
        self.ledger.counted("bundles", all(is_written))
        if all(is_written):
            self.generation = generation
            self.seqs = {n: seqs[n] + 1 for n in self.names}
        elif refused.code == "precondition_failed":
            self.ledger.fault(f"{self.name}: nobody else writes here, and a bundle is refused: {refused}")
        self.next_member()

    def came_of(self, attempt, is_to_learn, answer):
        seq = None
        if is_to_learn:
            found = [r for r in self.history(attempt.name, attempt.base_seq) if attempt.is_in(r)]
            seq = found[0]["seq"] if found else None
            self.ledger.counted("learned of a bundle")
        elif answer:
            seq = next(i["seq"] for i in answer["items"] if i["name"] == attempt.name)
        self.ledger.end(attempt, seq)
        return seq is not None


class Director(Writer):
    """A gray release for zone b: set, changed, another release published for the others, and promoted; or discarded. Every write
    names the known revision: a request that comes late must not bring a rule back."""

    def __init__(self, name, ledger, addresses, item, is_promoted):
        super().__init__(name, ledger, addresses, 0.1)
        self.item, self.is_promoted, self.newest, self.revision = item, is_promoted, 0, 0
        self.rule = f"/configs/{item}/gray/canary"
        if not is_promoted:
            ledger.unordered.add(item)

    def attempt(self, step, method, path, hidden_from=None, is_gray=False, **body):
        """One step; its body is the content, or JSON."""
        note = f"{self.name}-{self.turn}-{step}"
        content = None if step == "promote" else self.content(self.item) + f"step: {step}\n".encode()
        attempt = self.ledger.begin(self.item, content, note, self.newest, hidden_from, is_gray)
        if step == "promote":
            body = {"note": note}
        elif is_gray:
            body["content"] = content.decode()
        query = f"?if_revision={self.revision}" + ("" if body else f"&note={note}")
        answer, refused = self.write(attempt, method, path + query, json.dumps(body) if body else content)
        self.newest = attempt.seq or self.newest
        self.look_anew(answer)
        if not attempt.seq:
            self.ledger.fault(f"{self.name}: nobody else writes {self.item}, and {note} was refused: {refused}")
        return attempt

    def look_anew(self, answer):
        """From which revision on it goes, if the last answer does not say so."""
        answer = answer or self.again_and_again("GET", f"/configs/{self.item}?meta=true")[0]
        self.revision = answer["revision"] if answer else 0

    def discard(self):
        answer, refused, is_unknown = self.again_and_again("DELETE", f"{self.rule}?if_revision={self.revision}")
        if refused and not is_unknown:
            self.ledger.fault(f"{self.name}: the rule is not what it was: {refused}")
        self.look_anew(answer)

    def step(self):
        live, zone_b = f"/configs/{self.item}", {"match": {"zone": ["b"]}}
        if not self.newest:
            self.attempt("begin", "PUT", live)
        self.attempt("set", "PUT", self.rule, "a", True, **zone_b)
        changed = self.attempt("changed", "PUT", self.rule, "a", True, **zone_b)
        if self.is_promoted:
            self.attempt("others", "PUT", live, "b")
            self.ledger.show(changed.md5)
            self.ledger.is_for_all(self.attempt("promote", "POST", self.rule + "/promote"))
        else:
            self.discard()
        self.ledger.counted("gray releases")
        self.next_member()
