#!/usr/bin/env bash
# start_order.sh LIST SOURCE...: fails when more than one name in ten of LIST (server/start.order) occurs in no source any
# more: the program's start has changed, the list no longer says which functions belong together. Names of generated
# functions (with a double underscore) are not looked for.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
list=$1
shift
names=$(grep -v -e '^#' -e '__' "$list" | sort)
gone=$(comm -23 <(echo "$names") <(grep -ohwE '[A-Za-z_][A-Za-z0-9_]*' "$@" | sort -u))
all=$(wc -l <<<"$names")
missing=$(grep -c . <<<"$gone")
if [ $((missing * 10)) -gt "$all" ]; then
    echo "$list: $missing of $all functions are gone: make start-order"
    exit 1
fi
