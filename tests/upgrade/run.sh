#!/usr/bin/env bash
# run.sh [SCENARIO...]: the oldest supported build and this one in one cluster, rolled both ways under load (scenarios.sh); the
# runner, the recorder and the judge are those of tests/chaos. "short" or nothing: CI's form; "all" and "long" for more.
#
#   SERVER=bin/cairnd TOOLS=build/release/tools FAILPOINT_SERVER= as there      OLD=  see old.sh
cd "$(dirname "$0")/../.." || exit 1
. tests/shell/environment.sh
OLD=$(tests/upgrade/old.sh)
case $? in
0) echo "old: $OLD" ;;
77) OLD="" ;; # old.sh has printed the reason; scenarios without an older build still run
*) echo "the oldest supported build cannot be built" && exit 1 ;;
esac
[ "${1:-}" != short ] || shift
export OLD NAME=upgrade SCENARIOS=tests/upgrade/scenarios.sh OUT=${OUT:-build/upgrade/runs}
exec tests/chaos/run.sh "$@"
