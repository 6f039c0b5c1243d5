#!/usr/bin/env bash
# run.sh BUILD-FOLDER...: the programs of each, the sanitizers' builds too, against the ordinary server.
cd "$(dirname "$0")/../.." || exit 1
. tests/shell/tries.sh
passed=0
failed=0
run() { # SCRIPT BUILD
    echo "sdk: $1, $2"
    if tries "$1" env PROGRAMS="$2/sdk-tests" EXAMPLES="$2/examples" LIBRARY="$2/lib" timeout -k 10 600 "tests/sdk/$1.sh"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "sdk: $1 FAILED"
    fi
}
# The first build is the ordinary one.
run packages "$1"
run memcheck "$1"
for build in "$@"; do
    for script in single tokens locks members; do run "$script" "$build"; done
done
echo "sdk: $passed passed, $failed failed$(at_second_try)"
[ $failed = 0 ]
