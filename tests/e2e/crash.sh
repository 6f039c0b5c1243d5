#!/usr/bin/env bash
# crash.sh CYCLES: kill -9 under load (tests/e2e/crash.c says what must hold).
. "$(dirname "$0")/lib.sh"
timeout 1800 "$TOOLS/crash" "$CAIRND" "$work" "$(free_port)" "${1:-50}" ${SEED:-}
