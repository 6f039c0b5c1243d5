#!/usr/bin/env bash
# Small reads beside large ones: a single key each 20 ms, while other clients read ranges of 10 MiB without a pause: on
# connections of their own, and on the same connection. cairnd and etcd in turn, ROUNDS times, on the same filled stores.
# Prints a table of medians: the small read alone (p50), beside (p50, p99), and how many ranges a second the others get.
#
#   ETCD=build/interop/etcd37 ROUNDS=3 tests/bench/beside.sh            (make bench-smoke builds the tools)
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
CAIRND=${CAIRND:-bin/cairnd} ETCD=${ETCD:-build/interop/etcd37}
[ -x "$ETCD" ] || ETCD=$(command -v etcd) || { echo "beside: no etcd"; exit 1; }
ROUNDS=${ROUNDS:-3} SECONDS_EACH=${SECONDS_EACH:-4} KEYS=${KEYS:-100000}
LOAD=${TOOLS:-build/release/tools}/load
work=$(mktemp -d "${TMPDIR:-/var/tmp}/beside.XXXXXX")
declare -A pid
clean_up() {
    [ ${#pid[@]} = 0 ] || { kill -9 "${pid[@]}" && wait; } 2>/dev/null
    give_back_ports
    rm -rf "$work"
}
trap clean_up EXIT
port=$(free_base 4)
declare -A at=([etcd]=$port [cairnd]=$((port + 2))) binary=([etcd]=$ETCD [cairnd]=$CAIRND)
rows=(
    "alone|--op range"
    "4 connections|--op beside --connections 4 --rate 50"
    "8 streams of the same connection|--op beside --streams 8 --shared 1 --rate 50"
)
for server in etcd cairnd; do
    url=http://127.0.0.1:${at[$server]} peer=http://127.0.0.1:$((at[$server] + 1))
    "${binary[$server]}" --data-dir "$work/$server" --listen-client-urls "$url" --advertise-client-urls "$url" --listen-peer-urls "$peer" \
        --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" --quota-backend-bytes 8589934592 >"$work/$server.log" 2>&1 &
    pid[$server]=$!
    timeout 60 sh -c "until curl -sf -o '$work/health' '$url/health'; do sleep 0.05; done" || { tail -3 "$work/$server.log"; exit 1; }
    "$LOAD" --port "${at[$server]}" --op fill --connections 16 --streams 16 --keys "$KEYS" >"$work/fill"
done
for _ in $(seq "$ROUNDS"); do
    for row in "${rows[@]}"; do
        for server in etcd cairnd; do
            # shellcheck disable=SC2086
            timeout 120 "$LOAD" --port "${at[$server]}" --pid "${pid[$server]}" --seconds "$SECONDS_EACH" --keys "$KEYS" ${row#*|} >>"$work/$server ${row%%|*}"
        done
    done
done
median() { jq -s "map(.$3) | sort | .[(length - 1) / 2 | floor]" "$work/$1 $2"; } # SERVER ROW FIELD
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {if (a > 0 && b > 0) printf "%.2f", a / b; else printf "-"}'; }
echo "| one key, beside ranges of 10 MiB on | etcd p50 us | cairnd p50 us | ratio | etcd p99 us | cairnd p99 us | etcd ranges/s | cairnd ranges/s | ratio |"
echo "|---|---|---|---|---|---|---|---|---|"
for row in "${rows[@]}"; do
    name=${row%%|*}
    e=$(median etcd "$name" p50_us) c=$(median cairnd "$name" p50_us) er=$(median etcd "$name" puts_per_s) cr=$(median cairnd "$name" puts_per_s)
    [ "$name" != alone ] || { er='' cr=''; }
    echo "| $name | $e | $c | $(ratio "$c" "$e") | $(median etcd "$name" p99_us) | $(median cairnd "$name" p99_us) | $er | $cr | $(ratio "${cr:-0}" "${er:-0}") |"
done
