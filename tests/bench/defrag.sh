#!/usr/bin/env bash
# The space that defrag frees, and its cost for puts: cairnd and etcd in one run, one after the other, with the same
# clients. An hour of 330 puts and 5 publishes a second with a compaction every five minutes, as fast as it goes:
# ROUNDS=12 rounds of 100,000 puts on 25,000 keys (64 + 256 bytes) with 1,500 releases of 1 KiB among them that are
# kept, and a compaction of everything. Prints two tables: file, pages in use and the keys' and values' own bytes,
# before and after defrag; put p50 and p99 alone and while defrag runs again and again. ETCD=/path takes another etcd
# than the one on PATH.
set -u
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
ETCD=${ETCD:-$(command -v etcd || true)}
ROUNDS=${ROUNDS:-12}
KEYS=25000
RELEASES=1500
LOAD=build/release/tools/load
work=$(mktemp -d "${TMPDIR:-/tmp}/cairn-defrag.XXXXXX")
pid=""
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$work"' EXIT
field() { grep -o "\"$1\": *[0-9.]*" | head -1 | grep -o '[0-9.]*$'; }
ctl() { ETCDCTL_API=3 etcdctl --endpoints "http://127.0.0.1:$port" --command-timeout 300s "$@"; }
mib() { awk -v b="$1" 'BEGIN { printf "%.1f", b / 1048576 }'; }
# sizes: file and pages in use, as the server says, in MiB; the file as the disk says.
sizes() {
    local status
    status=$(ctl endpoint status -w json)
    echo "$(mib "$(field dbSize <<<"$status")") / $(mib "$(field dbSizeInUse <<<"$status")") / $(mib "$(stat -c %s "$file")")"
}
live() {
    awk -v k=$KEYS -v r=$RELEASES -v n="$ROUNDS" 'BEGIN { for (i = 1; i <= n; i++) b += r * (70 + i + 1024); printf "%.1f", (b + k * 320) / 1048576 }'
}
puts() { $LOAD --port "$port" --pid $pid --op put --connections 8 --streams 1 --keys $KEYS --seconds "$1"; }
one() { # NAME BINARY FILE
    local dir=$work/$1 port file i before after began took count=0
    port=$(free_base) || exit 1
    file=$dir/data/member/$3
    mkdir "$dir"
    "$2" --data-dir "$dir/data" --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" --quota-backend-bytes 8589934592 >"$dir/log" 2>&1 &
    pid=$!
    for i in $(seq 200); do curl -sf "http://127.0.0.1:$port/health" >"$dir/health" && break; sleep 0.1; done
    for i in $(seq "$ROUNDS"); do
        $LOAD --port "$port" --pid $pid --op fill --connections 1 --streams 1 --keys $RELEASES --key-size $((70 + i)) \
            --value-size 1024 --seconds 600 >"$dir/releases" &
        local releases=$!
        for _ in 1 2 3 4; do
            $LOAD --port "$port" --pid $pid --op fill --connections 4 --streams 16 --keys $KEYS --seconds 600 >"$dir/puts"
        done
        wait $releases
        ctl compaction --physical "$(ctl endpoint status -w json | field revision)" >"$dir/compaction"
    done
    sleep 2
    before=$(sizes)
    began=$(date +%s%N)
    ctl defrag >"$dir/defrag" 2>&1 || { cat "$dir/defrag"; exit 1; }
    took=$((($(date +%s%N) - began) / 1000000))
    after=$(sizes)
    echo "| $1 | $(live) | $before | $after | $took |" >>"$work/table1"
    puts 8 >"$dir/alone"
    rm -f "$work/stop"
    (until [ -e "$work/stop" ]; do ctl defrag >>"$dir/defrag" 2>&1; done) &
    local defrags=$!
    count=$(wc -l <"$dir/defrag")
    puts 8 >"$dir/beside"
    count=$(($(wc -l <"$dir/defrag") - count))
    touch "$work/stop"
    wait $defrags
    echo "| $1 | $(field p50_us <"$dir/alone") / $(field p99_us <"$dir/alone") | $(field p50_us <"$dir/beside") / $(field p99_us <"$dir/beside") | $(field max_us <"$dir/alone") -> $(field max_us <"$dir/beside") | $count |" >>"$work/table2"
    kill -9 $pid
    wait $pid 2>/dev/null
    pid=""
}
[ -z "$ETCD" ] || one etcd "$ETCD" snap/db
one cairnd bin/cairnd store
echo "| server | MiB of keys and values | before: file / in use / on disk, MiB | after defrag | defrag ms |"
echo "|---|---|---|---|---|"
cat "$work/table1"
echo
echo "| server | put p50 / p99 us alone | while defrag runs | longest put us | defrags in 8 s |"
echo "|---|---|---|---|---|"
cat "$work/table2"
