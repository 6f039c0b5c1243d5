#!/usr/bin/env bash
# folded.sh: asks an affected gcc itself what it folds, for every source: the exact form of tests/lint/folds.awk, which goes by
# the text. Other compilers are passed over. 20 s on two cores; run by make debian13.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests/compiler/check.sh "$work/stamp" gcc -O0 || exit 1
grep -q avoided "$work/stamp" || { echo "  --   folded     $(cat "$work/stamp"): nothing to ask"; exit 0; }
flags="-std=c17 -w -D_GNU_SOURCE -isystem sdk -I. -isystem build/release/gen -isystem build/release/gen/proto
    $(pkg-config --cflags libnghttp2 libwebsockets openssl libprotobuf-c jansson)"
export flags work
one() { # FILE
    # shellcheck disable=SC2086
    gcc $flags -S -fdump-tree-original-raw="$work/$$" -o /dev/null "$1" 2>"$work/$$.said" ||
        { echo "$1: does not compile: $(head -n 1 "$work/$$.said")"; return 1; }
    awk -v file="$1" -f tests/compiler/folded.awk "$work/$$"
}
export -f one
[ "$(awk -v file=wrong_code.c -f tests/compiler/folded.awk <(gcc -S -fdump-tree-original-raw=/dev/stdout -o /dev/null tests/compiler/wrong_code.c) | grep -c folded_)" = 3 ] ||
    { echo "folded.awk does not find the three of tests/compiler/wrong_code.c"; exit 1; }
find . -name '*.c' ! -path './build/*' ! -path './tests/compiler/*' | sed 's|^\./||' | sort | xargs -P 2 -n 1 bash -c 'one "$0"' &&
    echo "  ok   folded     no source multiplies a condition by what it guards"
