#!/usr/bin/env bash
# run.sh BUILD-FOLDER...: the programs of each, the sanitizers' builds too, against the ordinary server.
cd "$(dirname "$0")/../.." || exit 1
. tests/shell/tries.sh
passed=0
failed=0
for build in "$@"; do
    for script in single tokens locks members; do
        echo "sdk: $script, $build"
        if tries "$script" env PROGRAMS="$build/sdk-tests" EXAMPLES="$build/examples" LIBRARY="$build/lib" timeout -k 10 600 tests/sdk/$script.sh; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "sdk: $script FAILED"
        fi
    done
done
echo "sdk: $passed passed, $failed failed$(at_second_try)"
[ $failed = 0 ]
