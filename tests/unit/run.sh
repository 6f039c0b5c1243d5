#!/usr/bin/env bash
# Runs unit test programs one after the other; prints a line each, the whole output of one that fails. CI tries those of
# real_time.txt twice, unless a sanitizer or an assertion has found something: that is no matter of time.
here=$(dirname "$0")
. "$here/../shell/tries.sh"
failed=0
passed=0
is_found="" # what the first try has shown, if it needs no second one
run() { # PROGRAM
    local start out
    [ -z "$is_found" ] || { echo "  FAIL $(basename "$1"): not tried again: $(head -n 1 <<<"$is_found")"; return 1; }
    start=$(date +%s%N)
    if out=$(timeout -k 10 600 "$1" 2>&1); then
        printf '  ok   %-28s %5d ms\n' "$(basename "$1")" $((($(date +%s%N) - start) / 1000000))
        return
    fi
    is_found=$(grep -aE 'Sanitizer|runtime error:|Assertion .* failed' <<<"$out")
    printf '%s\n  FAIL %s\n' "$out" "$(basename "$1")"
    return 1
}
for t in "$@"; do
    is_found=""
    name=$(basename "$t")
    if grep -qxF "$name" "$here/real_time.txt"; then
        tries "$name" run "$t"
    else
        run "$t"
    fi && passed=$((passed + 1)) || failed=$((failed + 1))
done
echo "unit: $passed passed, $failed failed$(at_second_try)"
[ $failed = 0 ]
