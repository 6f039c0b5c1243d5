#!/usr/bin/env bash
# Runs unit test programs one after the other; prints a line each, the whole output of one that fails.
failed=0
passed=0
for t in "$@"; do
    start=$(date +%s%N)
    if out=$(timeout 120 "$t" 2>&1); then
        passed=$((passed + 1))
        printf '  ok   %-28s %5d ms\n' "$(basename "$t")" $((($(date +%s%N) - start) / 1000000))
    else
        failed=$((failed + 1))
        printf '%s\n  FAIL %s\n' "$out" "$(basename "$t")"
    fi
done
echo "unit: $passed passed, $failed failed"
[ $failed = 0 ]
