#!/usr/bin/env bash
# Runs unit test programs one after the other; prints a line each, the whole output of one that fails. None has a second try.
# EMULATOR, if it is set, is the command that runs programs of another architecture.
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
failed=0
passed=0
run() { # PROGRAM
    local start out
    start=$(date +%s%N)
    # shellcheck disable=SC2086
    if out=$(timeout -k 10 600 $EMULATOR "$1" 2>&1); then
        printf '  ok   %-28s %5d ms\n' "$(basename "$1")" $((($(date +%s%N) - start) / 1000000))
        return
    fi
    printf '%s\n  FAIL %s\n' "$out" "$(basename "$1")"
    return 1
}
for t in "$@"; do
    run "$t" && passed=$((passed + 1)) || failed=$((failed + 1))
done
echo "unit: $passed passed, $failed failed"
[ $failed = 0 ]
