#!/usr/bin/env bash
# HTTP/2 beside HTTP/1.1: 1,000 event streams (SSE) of one service on one connection, and on a connection each, on a fresh server
# each time; then the console's page load in a browser (LOADS=0: without). Prints two tables, medians of RUNS runs.
#
#   RUNS=3 tests/bench/http2.sh                                         (make bench-smoke builds the tools)
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
CAIRND=$(realpath "${CAIRND:-bin/cairnd}")
TOOLS=${TOOLS:-build/release/tools}
RUNS=${RUNS:-3} SUBSCRIBERS=${SUBSCRIBERS:-1000} CHANGES=${CHANGES:-20} LOADS=${LOADS:-10}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/http2.XXXXXX")
pid=""
clean_up() {
    [ -z "$pid" ] || kill -9 "$pid"
    give_back_ports
    rm -rf "$work"
}
trap clean_up EXIT
port=$(free_base 2)
fields=(opened_ms first_ms median_ms last_ms worst_ms bytes_per_subscriber server_cpu_us_per_delivery bytes_per_idle_subscriber)

run() { # FLAGS: one line of JSON
    rm -rf "$work/data"
    "$CAIRND" --data-dir "$work/data" --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" >"$work/log" 2>&1 &
    pid=$!
    timeout 60 sh -c "until curl -sf -o '$work/health' 'http://127.0.0.1:$port/health'; do sleep 0.05; done" ||
        { tail -3 "$work/log"; exit 1; }
    timeout 200 "$TOOLS/sse_load" --port "$port" --pid "$pid" --subscribers "$SUBSCRIBERS" --changes "$CHANGES" "$@"
    kill "$pid"
    wait "$pid" || true
    pid=""
}
median() { jq -s "map(.$2) | sort | .[(length - 1) / 2 | floor]" "$1"; } # FILE FIELD

for _ in $(seq "$RUNS"); do
    run >>"$work/one"
    run --http1 >>"$work/each"
done
echo "| one change to $SUBSCRIBERS event streams | opened ms | first ms | median | last | worst | bytes | cpu us each | idle bytes each |"
echo "|---|---|---|---|---|---|---|---|---|"
for form in "one HTTP/2 connection|one" "HTTP/1.1, a connection each|each"; do
    printf '| %s |' "${form%%|*}"
    for field in "${fields[@]}"; do printf ' %s |' "$(median "$work/${form#*|}" "$field")"; done
    echo
done
[ "$LOADS" = 0 ] || { echo && CAIRND=$CAIRND LOADS=$LOADS tests/console/run.sh; }
