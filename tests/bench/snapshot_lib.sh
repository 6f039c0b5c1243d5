# Shared by the benches of snapshots: Cairn and etcd in one run, each filled with KEYS keys by the same client. Source it.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/shell/ports.sh
ETCD=${ETCD:-build/interop/etcd37}
ETCDUTL=${ETCDUTL:-build/interop/etcdutl}
KEYS=${KEYS:-1000000}
LOAD=build/release/tools/load
for tool in "$ETCD" "$ETCDUTL" "$LOAD"; do [ -x "$tool" ] || { echo "$tool is missing: make interop, make bench-smoke"; exit 1; }; done
work=$(mktemp -d "${TMPDIR:-/tmp}/cairn-$(basename "$0" .sh).XXXXXX")
pids=()
stop_all() {
    [ ${#pids[@]} = 0 ] || { kill "${pids[@]}"; wait "${pids[@]}"; } 2>/dev/null
    pids=()
}
trap 'stop_all; rm -rf "$work"' EXIT
now_ms() { echo $(($(date +%s%N) / 1000000)); }
url() { echo "http://127.0.0.1:$((port + $1))"; }
start() { # BINARY NAME DATA CLIENT PEER CLUSTER: ports as offsets of $port
    "$1" --name "$2" --data-dir "$3" --listen-client-urls "$(url "$4")" --advertise-client-urls "$(url "$4")" --listen-peer-urls "$(url "$5")" \
        --initial-advertise-peer-urls "$(url "$5")" --initial-cluster "$6" --initial-cluster-token bench --quota-backend-bytes 8589934592 >"$3.log" 2>&1 &
    pids+=($!)
}
# start_filled BINARY FOLDER: one member at $port with all the keys, its data in FOLDER/first.
start_filled() {
    local i
    mkdir "$2"
    port=$(free_base) || exit 1
    start "$1" single "$2/first" 0 1 "single=$(url 1)"
    for i in $(seq 300); do curl -sf "$(url 0)/health" >"$2/health" && break; sleep 0.1; done
    $LOAD --port "$port" --pid "${pids[0]}" --op fill --connections 8 --streams 16 --keys "$KEYS" --seconds 1200 >"$2/fill" || { cat "$2/fill"; exit 1; }
}
save() { # FILE
    bin/cairnctl --endpoints "127.0.0.1:$port" --command-timeout 600s snapshot save "$1" >"$1.log" 2>&1 || { cat "$1.log"; exit 1; }
}
print_ratios() { # NUMBER..., ours, then as many of etcd's
    local of_each=$(($# / 2)) i
    printf '| ratio |'
    for i in $(seq $of_each); do
        awk -v a="${!i}" -v b="${@:$((of_each + i)):1}" 'BEGIN { if (b > 0) printf " %.2f |", a / b; else printf " - |" }'
    done
    echo
}
