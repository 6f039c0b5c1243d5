#!/usr/bin/env bash
# once.sh WORD COMMAND...: runs COMMAND unless another process runs one for the same WORD in this
# clone; then it prints that process and exits with 1. The lock is on build/WORD.lock and ends with
# the process that took it, however that ends.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$(dirname "$0")/../.." || exit 1
word=$1
shift
mkdir -p build
exec 9>>"build/$word.lock"
if ! flock -n 9; then
    echo "make $word: another one runs in this folder (process $(cat "build/$word.lock")); wait for it, or use a second clone" >&2
    exit 1
fi
echo $$ >"build/$word.lock"
"$@" 9>&-
