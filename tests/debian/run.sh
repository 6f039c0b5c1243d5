#!/usr/bin/env bash
# run.sh: the README's steps for a fresh machine, in a root of Debian 13 that debootstrap makes (build/debian13, kept): deps,
# build, lint, unit tests with gcc and clang, scenarios, e2e. SHORT=1: the build's own packages only, gcc, and three e2e scripts.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.." || exit 1
. tests/debian/root.sh
name=debian13
suite=trixie
root=$PWD/build/$name
failed=""
step() { # NAME COMMAND
    local start=$SECONDS
    if within_root "$2" 2>&1 | grep -av '^  \(CC\|LD\)  ' | tee "$root.log"; [ "${PIPESTATUS[0]}" = 0 ]; then
        printf '  ok   %-10s %s: %s s\n' $name "$1" $((SECONDS - start))
    else
        printf '  FAIL %-10s %s\n' $name "$1"
        failed="$failed $1"
        [ "${3:-}" != must ] || { echo "$name: FAILED:$failed"; exit 1; }
    fi
}
make_root ""
copy_sources
jobs=-j$(nproc)
if [ -n "${SHORT:-}" ]; then
    step deps "make deps" must
    alone=1
    step build "make $jobs all" must
    step check "make $jobs check"
    step scenarios "make scenarios"
    step e2e "make e2e E2E='restart cluster registry'"
else
    step deps "DEPS=test make deps" must
    # lint reads what git knows
    within_root "git init -q . && git add -A"
    alone=1
    step build "make $jobs all" must
    step folded "tests/compiler/folded.sh"
    step lint "make lint"
    step check "make $jobs check"
    step clang "make $jobs CC=clang BUILD=build/clang BIN=build/clang/bin all check"
    step scenarios "make scenarios"
    step e2e "make e2e"
fi
[ -z "$failed" ] || { echo "$name: FAILED:$failed"; exit 1; }
