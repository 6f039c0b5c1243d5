#!/usr/bin/env bash
# Every e2e script, one after the other, each with servers and folders of its own.
cd "$(dirname "$0")" || exit 1
. ../shell/tries.sh
passed=0
failed=0
run() { # SCRIPT [ARGUMENTS]: it may take ten times as long as usual
    echo "e2e: $*"
    tries "$1" timeout -k 10 600 "./$1.sh" "${@:2}"
    case $? in
    0) passed=$((passed + 1)) ;;
    124 | 137) failed=$((failed + 1)) && echo "e2e: $1 FAILED: not over within 600 s" ;;
    *) failed=$((failed + 1)) && echo "e2e: $1 FAILED" ;;
    esac
}
for t in readme options inputs server restart quota long_reads cluster snapshots dns registry stream config config_move namespaces config_members; do run $t; done
run crash 5
echo "e2e: $passed passed, $failed failed$(at_second_try)"
[ $failed = 0 ]
