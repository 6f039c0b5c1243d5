#!/usr/bin/env bash
# Puts while ten clients save a snapshot at once: cairnd and etcd in one run, one after the other, with the same clients. Prints a table:
# put p50 and p99 alone and beside the snapshots, memory and disk of the server meanwhile, how long the ten took.
# ETCD=/path takes another etcd than the one on PATH. KEYS=200000 of 64 + 256 bytes.
set -u
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
ETCD=${ETCD:-$(command -v etcd || true)}
KEYS=${KEYS:-200000}
LOAD=build/release/tools/load
work=$(mktemp -d "${TMPDIR:-/tmp}/cairn-backup.XXXXXX")
out=$(mktemp -d /dev/shm/cairn-backup.XXXXXX) # the clients' files must not use the server's disk
pid=""
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$work" "$out"' EXIT
field() { grep -o "\"$1\": *[0-9.]*" | head -1 | grep -o '[0-9.]*$'; }
rss() { awk '/^VmRSS/ { r = $2 } /^RssFile/ { f = $2 } END { printf "%d %d", r / 1024, (r - f) / 1024 }' /proc/$pid/status; }
disk() { du -sm "$1" | cut -f1; }
# watch_sizes DIR: the largest disk use until the file $work/stop is there.
watch_sizes() {
    local most=0 now memory=0 m
    until [ -e "$work/stop" ]; do
        now=$(disk "$1") && [ "$now" -gt "$most" ] && most=$now
        m=$(rss) && m=${m#* } && [ "$m" -gt "$memory" ] && memory=$m
        sleep 0.1
    done
    echo "$most $memory" >"$work/most"
}
puts() { $LOAD --port "$port" --pid $pid --op put --connections 8 --streams 1 --keys "$KEYS" --seconds "$1"; }
one() { # NAME BINARY
    local dir=$work/$1 port memory began took alone beside before ok=0 i saves=()
    port=$(free_base) || exit 1
    mkdir "$dir"
    "$2" --data-dir "$dir/data" --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" --quota-backend-bytes 8589934592 >"$dir/log" 2>&1 &
    pid=$!
    for i in $(seq 200); do curl -sf "http://127.0.0.1:$port/health" >"$dir/health" && break; sleep 0.1; done
    $LOAD --port "$port" --pid $pid --op fill --connections 8 --streams 16 --keys "$KEYS" --seconds 600 >"$dir/fill"
    sleep 2
    puts 5 >"$dir/alone"
    sleep 1
    before=$(disk "$dir/data")
    memory=$(rss)
    rm -f "$work/stop"
    watch_sizes "$dir/data" &
    local watcher=$!
    began=$(date +%s%N)
    puts 20 >"$dir/beside" &
    local putter=$!
    for i in $(seq 10); do
        ETCDCTL_API=3 etcdctl --endpoints "http://127.0.0.1:$port" --command-timeout 300s snapshot save "$out/$i" >"$dir/save$i" 2>&1 &
        saves+=($!)
    done
    for i in "${saves[@]}"; do wait "$i" && ok=$((ok + 1)); done
    took=$((($(date +%s%N) - began) / 1000000))
    wait $putter
    touch "$work/stop"
    wait $watcher
    read -r most peak <"$work/most"
    echo "| $1 | $(field p50_us <"$dir/alone") / $(field p99_us <"$dir/alone") | $(field p50_us <"$dir/beside") / $(field p99_us <"$dir/beside") | ${memory#* } -> $peak | $before -> $most | $ok in $took ms | $(du -m "$out/1" | cut -f1) |"
    rm -f "$out"/*
    kill -9 $pid
    wait $pid 2>/dev/null
    pid=""
}
echo "| server | put p50 / p99 us alone | beside ten snapshots | MiB of memory without file pages | MiB of disk | snapshots | MiB of one |"
echo "|---|---|---|---|---|---|---|"
[ -z "$ETCD" ] || one etcd "$ETCD"
one cairnd bin/cairnd
