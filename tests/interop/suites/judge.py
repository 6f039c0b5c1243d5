# SPDX-License-Identifier: Apache-2.0
"""Runs a compiled Go test of another project, and judges its outcome by a table.

judge.py NAME BINARY FOLDER TABLE [--part I/N] [--jobs J] [--limit S] [--only REGEX] [-- arguments of the binary]

Each top-level test is a process of its own, in a network of its own where the system allows it: their ports are fixed.
A line of the table is "CASE OUTCOME reason". OUTCOME is `fails`, `skips`, or `left` (not run). A case that is not
named has to pass. A case that newly fails, newly passes or is no longer there is wrong, and so is a row without a reason.
--part runs each N-th test, beginning with the I-th. A wrong outcome is looked at a second time, alone."""
import argparse
import concurrent.futures
import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

LINE = re.compile(r"^\s*--- (PASS|FAIL|SKIP): (\S+)", re.M)
OUTCOME = {"FAIL": "fails", "SKIP": "skips", "PASS": "passes"}


def own_network():
    """The words before a command that give it a loopback device and processes of its own, if the system allows that:
    servers end with their test."""
    words = ["unshare", "-n", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") and shutil.which("ip"):
        if subprocess.run(words + ["true"], stderr=subprocess.DEVNULL).returncode == 0:
            return words
    return []


def leaves(test, text, code):
    """Each case without cases of its own, and its outcome. A process that ended early is a failure of the test."""
    found = {name: OUTCOME[word] for word, name in LINE.findall(text)}
    out = {}
    for name, outcome in found.items():
        inner = [o for n, o in found.items() if n.startswith(name + "/")]
        if not inner or (outcome == "fails" and "fails" not in inner):
            out[name] = outcome
    if code and "fails" not in out.values():
        out[test] = "fails"
    return out


class Suite:
    def __init__(self, args, rest):
        self.args, self.rest, self.network = args, rest, own_network()
        self.rows = []
        for line in open(args.table):
            if line.strip() and not line.startswith("#"):
                words = line.split(None, 2)
                if len(words) < 3 or words[1] not in ("fails", "skips", "left"):
                    sys.exit("%s: no row: %s" % (args.table, line.strip()))
                self.rows.append(tuple(words))

    def listed(self, case):
        for pattern, outcome, _ in self.rows:
            if fnmatch.fnmatchcase(case, pattern):
                return outcome
        return "passes"

    def run(self, test):
        binary = os.path.abspath(self.args.binary)
        command = self.network + [binary, "-test.v", "-test.run", "^%s$" % test,
                                  "-test.timeout", "%ds" % self.args.limit] + self.rest
        with tempfile.TemporaryDirectory() as scratch:
            process = subprocess.Popen(command, cwd=self.args.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       env=dict(os.environ, TMPDIR=scratch), start_new_session=True)
            try:
                text, _ = process.communicate(timeout=self.args.limit + 20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                text, _ = process.communicate()
            code = process.returncode
            try:
                os.killpg(process.pid, signal.SIGKILL)  # servers that a panic left behind
            except ProcessLookupError:
                pass
        text = text.decode(errors="replace")
        with open(os.path.join(self.args.logs, test + ".log"), "w") as log:
            log.write(text)
        return leaves(test, text, code)

    def wrong(self, test, found):
        out = ["%s %s, its row says %s" % (case, outcome, self.listed(case))
               for case, outcome in sorted(found.items()) if outcome != self.listed(case)]
        for pattern, outcome, _ in self.rows:
            if outcome != "left" and pattern.split("/")[0] == test:
                if not any(fnmatch.fnmatchcase(case, pattern) for case in found):
                    out.append("%s is not there, its row says %s" % (pattern, outcome))
        return out

    def judge(self):
        listing = subprocess.run([self.args.binary, "-test.list", "."], cwd=self.args.folder, capture_output=True, text=True)
        every = [line for line in listing.stdout.split() if line.startswith("Test")]
        complaints = ["%s: there is no such test" % row[0] for row in self.rows
                      if not any(fnmatch.fnmatchcase(test, row[0].split("/")[0]) for test in every)]
        tests = [test for test in every if self.listed(test) != "left"]
        left = len(every) - len(tests)
        if self.args.only:
            tests = [test for test in tests if re.search(self.args.only, test)]
        turn, turns = map(int, self.args.part.split("/"))
        tests = tests[turn % turns::turns]
        os.makedirs(self.args.logs, exist_ok=True)
        count, again = {"passes": 0, "fails": 0, "skips": 0}, 0
        with concurrent.futures.ThreadPoolExecutor(self.args.jobs if self.network else 1) as pool:
            results = list(zip(tests, pool.map(self.run, tests)))
        for test, found in results:
            if self.wrong(test, found):
                again += 1
                found = self.run(test)
            complaints += self.wrong(test, found)
            for outcome in found.values():
                count[outcome] += 1
        print("\n".join(complaints))
        print("%s: %d of %d tests, %d cases pass, %d fail, %d skip; %d tests do not apply, %d wrong%s" % (
            self.args.name, len(tests), len(every), count["passes"], count["fails"], count["skips"], left,
            len(complaints), ", %d tried twice" % again if again else ""))
        return bool(complaints) or not count["passes"]


def main(words):
    rest = words[words.index("--") + 1:] if "--" in words else []
    parser = argparse.ArgumentParser()
    for name in ("name", "binary", "folder", "table"):
        parser.add_argument(name)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--only", default="")
    parser.add_argument("--logs", default="logs")
    args = parser.parse_args(words[:len(words) - len(rest) - 1] if "--" in words else words)
    return Suite(args, rest).judge()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
