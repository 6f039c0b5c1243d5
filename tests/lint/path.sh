#!/usr/bin/env bash
# path.sh: builds one object of this repository in a folder whose path holds a blank, a quote and a dollar sign, and runs there
# the scripts that `make cluster` writes.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2016
clone="$work/a clone, it's \$HOME"
mkdir -p "$clone/tests" "$clone/bin" && cp -r Makefile base proto "$clone" && cp -r tests/shell tests/e2e tests/compiler "$clone/tests" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
# Folders that are not copied are missed by other rules only.
make --no-print-directory -s -C "$clone" build/release/base/clock.o >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
# A server that only says how it was called.
printf '#!/bin/sh\necho "ready to serve client requests: $0"\nexec sleep 60\n' >"$clone/bin/cairnd" && chmod +x "$clone/bin/cairnd"
(cd "$clone" && exec tests/e2e/three.sh) >"$work/out" 2>&1 &
three=$!
for _ in $(seq 600); do grep -q 'Ctrl-C stops' "$work/out" && break; kill -0 $three 2>/dev/null || break; sleep 0.1; done
kill -TERM $three 2>/dev/null
wait $three
grep -q 'Ctrl-C stops' "$work/out" || { cat "$work/out"; exit 1; }
