#!/usr/bin/env bash
# start_order.sh LIST SOURCE...: fails when a name of LIST (server/start.order) occurs in no source: a function was renamed or
# removed, and the linker ignores its line. It ignores names of generated functions (with a double underscore).
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
list=$1
shift
names=$(grep -v -e '^#' -e '__' "$list" | sort)
gone=$(comm -23 <(echo "$names") <(grep -ohwE '[A-Za-z_][A-Za-z0-9_]*' "$@" | sort -u))
if [ -n "$gone" ]; then
    echo "$list: no source has" $gone
    echo "$list: rename the lines with the functions, or write the list again: make start-order"
    exit 1
fi
