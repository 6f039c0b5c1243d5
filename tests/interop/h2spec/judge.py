#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""judge.py EXCEPTIONS KIND=REPORT...: the JUnit reports of h2spec. A case that fails and is no exception, an exception that
passes, and a report without cases are failures."""
import sys
import xml.etree.ElementTree as ET

wanted = set()
for line in open(sys.argv[1]):
    if line.strip() and not line.startswith("#"):
        wanted.add(tuple(part.strip() for part in line.split("|")[:3]))
failed, counts, wrong = set(), [], 0
for word in sys.argv[2:]:
    kind, path = word.split("=")
    cases = [(suite.get("package"), case) for suite in ET.parse(path).getroot().iter("testsuite") for case in suite.iter("testcase")]
    bad = {(kind, package, case.get("classname")) for package, case in cases
           if case.find("failure") is not None or case.find("error") is not None}
    failed |= bad
    counts.append(f"{kind} {len(cases) - len(bad)} of {len(cases)}")
    if len(cases) < 145:
        print(f"only {len(cases)} cases in {path}")
        wrong += 1
for case in sorted(failed - wanted):
    print("fails:", " | ".join(case))
for case in sorted(wanted - failed):
    print("an exception that passes:", " | ".join(case))
wrong += len(failed ^ wanted)
print("h2spec 2.2.1:", ", ".join(counts), f"({len(wanted)} named exception)")
sys.exit(wrong > 0)
