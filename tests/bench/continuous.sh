#!/usr/bin/env bash
# What --backup-dir costs: CPU of the server for one put, with and without it, in turn; medians of RUNS runs and their ratio. Prints a
# table, and "CPU with / without" of each kind of load. CAIRND=/path takes another binary, SECONDS_EACH=4.
set -u
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
CAIRND=${CAIRND:-bin/cairnd}
LOAD=${LOAD:-build/release/tools/load}
RUNS=${RUNS:-5}
SECONDS_EACH=${SECONDS_EACH:-4}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cairn-continuous.XXXXXX")
pid=""
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$work"' EXIT
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# one KIND CONNECTIONS STREAMS: one run on a new folder; the row of the load is added to $work/KIND-...
one() {
    local port extra=()
    port=$(free_base) || exit 1
    [ "$1" = with ] && extra=(--backup-dir "$work/backup")
    rm -rf "$work/data" "$work/backup"
    "$CAIRND" --data-dir "$work/data" --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" --quota-backend-bytes 8589934592 "${extra[@]}" >"$work/log" 2>&1 &
    pid=$!
    for i in $(seq 200); do curl -sf "http://127.0.0.1:$port/health" >"$work/health" && break; sleep 0.1; done
    "$LOAD" --port "$port" --pid $pid --op put --connections "$2" --streams "$3" --keys 100000 --seconds "$SECONDS_EACH" >>"$work/$1-$2-$3"
    kill $pid
    wait $pid 2>/dev/null
    pid=""
}
field() { grep -o "\"$2\": *[0-9.]*" "$1" | grep -o '[0-9.]*$' | median; }
echo "| puts | us of CPU without | with | ratio | puts/s without | with |"
echo "|---|---|---|---|---|---|"
for load in "16 1" "64 1" "16 64"; do
    read -r connections streams <<<"$load"
    for i in $(seq "$RUNS"); do
        one without "$connections" "$streams"
        one with "$connections" "$streams"
    done
    without=$work/without-$connections-$streams with=$work/with-$connections-$streams
    a=$(field "$without" server_cpu_us) b=$(field "$with" server_cpu_us)
    echo "| $connections x $streams | $a | $b | $(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f", b / a }') | $(field "$without" ops_per_s) | $(field "$with" ops_per_s) |"
done
