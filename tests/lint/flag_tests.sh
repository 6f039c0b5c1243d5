#!/usr/bin/env bash
# flag_tests.sh TABLE: each flag of the table (tests/docs/etcd_flag.def) names a test below tests/ that exists and contains
# --flag. Prints the rows that do not; exit 1 then.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
failed=0
rows=0
while IFS='|' read -r flag test; do
    rows=$((rows + 1))
    if [ ! -f "tests/$test" ]; then
        echo "$1: --$flag names no test that exists: \"$test\""
    elif ! grep -qE -- "--$flag([^a-z0-9-]|\$)" "tests/$test"; then
        echo "$1: tests/$test does not contain --$flag"
    else
        continue
    fi
    failed=1
done < <(sed -n 's/^ETCD("\([^"]*\)", "[^"]*", "\([^"]*\)")$/\1|\2/p' "$1")
[ "$rows" = "$(grep -c '^ETCD(' "$1")" ] || { echo "$1: a row has another form than ETCD(\"flag\", \"what\", \"test\")"; exit 1; }
exit $failed
