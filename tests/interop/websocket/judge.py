"""Judges Autobahn's report: judge.py index.json expected.txt. Prints what differs, and one line of counts.

A line of expected.txt is "CASE BEHAVIOR"; a case that is not named has to be OK or INFORMATIONAL, its close too."""
import fnmatch
import json
import sys


def main(report, expected):
    cases = json.load(open(report))["cairnd"]
    known = [line.split() for line in open(expected) if line.strip() and not line.startswith("#")]
    wrong, as_listed = [], 0
    for case, result in sorted(cases.items()):
        behavior, close = result["behavior"], result["behaviorClose"]
        listed = [word for pattern, word in known if fnmatch.fnmatch(case, pattern)]
        if listed:
            as_listed += behavior == listed[0]
            if behavior != listed[0]:
                wrong.append("%s is %s, expected.txt says %s" % (case, behavior, listed[0]))
        elif {behavior, close} - {"OK", "INFORMATIONAL"}:
            wrong.append("%s is %s, its close %s" % (case, behavior, close))
    for line in wrong:
        print(line)
    print("Autobahn: %d cases, %d as expected.txt lists them, %d wrong" % (len(cases), as_listed, len(wrong)))
    return bool(wrong) or not cases


sys.exit(main(*sys.argv[1:]))
