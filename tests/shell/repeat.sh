#!/usr/bin/env bash
# repeat.sh RUNS LOAD COMMAND...: runs COMMAND so many times beside LOAD busy processes. The output of a run that failed is kept in
# build/repeat/N.log, its last words are shown at once; the closing line counts. Without COMMAND: make test.
#
#   tests/shell/repeat.sh 30 4                                       all of make test
#   tests/shell/repeat.sh 20 4 tests/e2e/dns.sh                      one script
#   tests/shell/repeat.sh 50 4 tests/unit/run.sh build/release/unit/peer_tcp_test
set -u
. "$(dirname "${BASH_SOURCE[0]}")/parts.sh"
cd "$(dirname "$0")/../.." || exit 1
runs=$1
load=$2
shift 2
[ $# -gt 0 ] || set -- make test
folder=build/repeat
rm -rf "$folder"
mkdir -p "$folder"
busy=()
end_load() { [ ${#busy[@]} = 0 ] || kill "${busy[@]}" 2>/dev/null; }
trap end_load EXIT
trap 'exit 130' INT TERM
for _ in $(seq "$load"); do
    while :; do :; done &
    busy+=($!)
done
failed=()
for run in $(seq "$runs"); do
    begin=$SECONDS
    log=$folder/$run.log
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    if [ $status = 0 ]; then
        echo "run $run of $runs: ok, $((SECONDS - begin)) s"
        rm "$log"
        continue
    fi
    failed+=("$run")
    echo "run $run of $runs: FAILED with $status, $((SECONDS - begin)) s; all of it is in $log"
    what_says_so "$log" 40
done
echo "repeat: $((runs - ${#failed[@]})) of $runs passed$([ ${#failed[@]} = 0 ] || echo "; failed: ${failed[*]}")"
[ ${#failed[@]} = 0 ]
