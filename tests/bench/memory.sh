#!/usr/bin/env bash
# Memory of a member: a million keys of 64 + 256 bytes, loaded by transactions of 1, 10 and 100 puts, then
# after a restart on the same data; etcd beside cairnd in one run. KEYS=1000000 BATCHES="1 10 100" ETCD=/path.
# Needs bin/cairnd and build/release/tools/load.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.."
LOAD=${LOAD:-build/release/tools/load}
ETCD=${ETCD:-$(command -v etcd || true)}
KEYS=${KEYS:-1000000}
BATCHES=${BATCHES:-"1 10 100"}
PORT=${PORT:-23790}
dir=$(mktemp -d)
pid=
finish() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

start() { # binary
    "$1" --name m --data-dir "$dir/data" --log-level error --quota-backend-bytes 8589934592 \
        --listen-client-urls "http://127.0.0.1:$PORT" --advertise-client-urls "http://127.0.0.1:$PORT" \
        --listen-peer-urls "http://127.0.0.1:$((PORT + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((PORT + 1))" \
        --initial-cluster "m=http://127.0.0.1:$((PORT + 1))" >"$dir/log" 2>&1 &
    pid=$!
    for _ in $(seq 300); do
        curl -sf -o /dev/null "http://127.0.0.1:$PORT/health" && return
        sleep 0.2
    done
    echo "memory: $1 does not start" >&2
    cat "$dir/log" >&2
    exit 1
}

stop() {
    kill "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
}

field() { awk -v f="$1:" '$1 == f { printf "%d", $2 / 1024 }' "/proc/$pid/status"; }

# The memory of a server once it is idle: its collector and its commits have had time.
rss() {
    sleep "${SETTLE:-3}"
    field VmRSS
}
anonymous() { field RssAnon; }

echo "| keys a transaction | server | after the load, MiB | of it not file pages | peak | after a restart | of it not file pages |"
echo "|---|---|---|---|---|---|---|"
for batch in $BATCHES; do
    for binary in ${SERVERS:-$ETCD bin/cairnd}; do
        rm -rf "$dir/data"
        start "$binary"
        "$LOAD" --port "$PORT" --pid "$pid" --op fill --keys "$KEYS" --batch "$batch" --connections 32 --streams 1 >/dev/null
        loaded=$(rss) loaded_own=$(anonymous) peak=$(field VmHWM)
        stop
        start "$binary"
        echo "| $batch | $(basename "$binary") | $loaded | $loaded_own | $peak | $(rss) | $(anonymous) |"
        stop
    done
done
