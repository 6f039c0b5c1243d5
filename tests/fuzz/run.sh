#!/usr/bin/env bash
# run.sh TARGET SECONDS: builds tests/fuzz/TARGET_fuzz.c with clang's libFuzzer and the address and undefined
# sanitizers, and runs it on a copy of its corpus. A crash leaves its input in build/fuzz/.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
target=$1
seconds=$2
command -v clang >/dev/null || { echo "fuzz: clang is missing (DEPS=test tests/lint/deps.sh)"; exit 1; }
san=fuzzer-no-link,address,undefined
make --no-print-directory -s CC=clang SAN=$san BUILD=build/fuzz build/fuzz/libcore.a
flags="-D_GNU_SOURCE -std=c17 -I. -isystem build/fuzz/gen -isystem build/fuzz/gen/proto"
clang $flags -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize=function -fno-sanitize-recover=all \
    "tests/fuzz/${target}_fuzz.c" build/fuzz/libcore.a \
    $(pkg-config --cflags --libs $PACKAGES) $([ "$target" = dns ] && echo -lldns) \
    -lpthread -lm -o "build/fuzz/$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
corpus=tests/fuzz/corpus/$target
mkdir -p "$corpus"
"build/fuzz/$target" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -artifact_prefix=build/fuzz/ \
    -print_final_stats=1 "$work" "$corpus" 2>"build/fuzz/$target.log" ||
    { tail -40 "build/fuzz/$target.log"; echo "fuzz: $target FAILED"; exit 1; }
echo "fuzz: $target ok, $(grep -o 'number_of_executed_units: [0-9]*' "build/fuzz/$target.log" | grep -o '[0-9]*') runs"
