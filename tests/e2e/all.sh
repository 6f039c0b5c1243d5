#!/usr/bin/env bash
# Every e2e script, one after the other, each with servers and folders of its own.
cd "$(dirname "$0")" || exit 1
passed=0
failed=0
for t in readme options inputs server restart quota long_reads cluster snapshots dns registry stream config config_move; do
    echo "e2e: $t"
    if timeout 240 "./$t.sh"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "e2e: $t FAILED"
    fi
done
echo "e2e: crash, 5 cycles"
if ./crash.sh 5; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
echo "e2e: $passed passed, $failed failed"
[ $failed = 0 ]
