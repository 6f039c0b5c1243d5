#!/usr/bin/env bash
# What --backup-dir costs: CPU of the server for one put, with and without it, in turn; medians of RUNS runs and their ratio. Prints a
# table. CAIRND=/path takes another binary; BEFORE=/path is a second one, measured in the same turns. SECONDS_EACH=4.
set -u
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
CAIRND=${CAIRND:-bin/cairnd}
BEFORE=${BEFORE:-}
LOAD=${LOAD:-build/release/tools/load}
RUNS=${RUNS:-5}
SECONDS_EACH=${SECONDS_EACH:-4}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cairn-continuous.XXXXXX")
pid=""
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$work"' EXIT
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# one BINARY KIND CONNECTIONS STREAMS: one run on a new folder; the row of the load is added to $work/KIND-...
one() {
    local binary=$1 port extra=()
    shift
    port=$(free_base) || exit 1
    [[ $1 = *with ]] && extra=(--backup-dir "$work/backup")
    rm -rf "$work/data" "$work/backup"
    "$binary" --data-dir "$work/data" --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" --quota-backend-bytes 8589934592 "${extra[@]}" >"$work/log" 2>&1 &
    pid=$!
    for i in $(seq 200); do curl -sf "http://127.0.0.1:$port/health" >"$work/health" && break; sleep 0.1; done
    "$LOAD" --port "$port" --pid $pid --op put --connections "$2" --streams "$3" --keys 100000 --seconds "$SECONDS_EACH" >>"$work/$1-$2-$3"
    kill $pid
    wait $pid 2>/dev/null
    pid=""
}
field() { grep -o "\"$2\": *[0-9.]*" "$work/$1-$connections-$streams" | grep -o '[0-9.]*$' | median; }
row() { # NAME PREFIX
    local a b
    a=$(field "$2without" server_cpu_us) b=$(field "$2with" server_cpu_us)
    echo "| $1$connections x $streams | $a | $b | $(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f", b / a }') | $(field "$2without" ops_per_s) | $(field "$2with" ops_per_s) |"
}
echo "| puts: connections x streams | us of CPU without | with | ratio | puts/s without | with |"
echo "|---|---|---|---|---|---|"
for load in "16 1" "64 1" "16 64"; do
    read -r connections streams <<<"$load"
    for i in $(seq "$RUNS"); do
        for kind in without with; do
            [ -z "$BEFORE" ] || one "$BEFORE" before-$kind "$connections" "$streams"
            one "$CAIRND" $kind "$connections" "$streams"
        done
    done
    [ -z "$BEFORE" ] || row "before, " before-
    row "" ""
done
