#!/usr/bin/env bash
# The disaster drill with the clock on it: three members are lost, a backup of KEYS keys (1,000,000 of 64 + 256 bytes) is there. Restores
# three data folders with the three commands of docs/disaster.md, starts three members, and waits until each answers a linearizable read.
# Cairn with its own tool and etcd with etcdutl, in one run, one after the other; then the ratio, Cairn's to etcd's.
#
#   ETCD=build/interop/etcd37 ETCDUTL=build/interop/etcdutl tests/bench/disaster.sh
. "$(dirname "$0")/snapshot_lib.sh"
# answers OFFSET: waits until a linearizable read finds the keys.
answers() {
    local i
    for i in $(seq 1200); do
        [ "$(curl -sf -m 30 "$(url "$1")/v3/kv/range" -d '{"key":"AA==","range_end":"AA==","count_only":true}' | jq -r '.count // 0')" = "$KEYS" ] && return
        sleep 0.05
    done
    echo "member at port offset $1 does not answer with $KEYS keys"
    exit 1
}
drill() { # NAME BINARY RESTORE...
    local name=$1 binary=$2 dir=$work/$1 cluster i restored began
    shift 2
    start_filled "$binary" "$dir"
    save "$dir/backup.db"
    stop_all
    rm -rf "$dir/first"
    cluster="a=$(url 2),b=$(url 4),c=$(url 6)"
    began=$(now_ms)
    i=1
    for member in a b c; do
        "$@" snapshot restore "$dir/backup.db" --data-dir "$dir/$member" --name $member --initial-cluster "$cluster" --initial-cluster-token bench \
            --initial-advertise-peer-urls "$(url $((2 * i)))" >"$dir/restore" 2>&1 || { cat "$dir/restore"; exit 1; }
        i=$((i + 1))
    done
    restored=$(($(now_ms) - began))
    start "$binary" a "$dir/a" 1 2 "$cluster"
    start "$binary" b "$dir/b" 3 4 "$cluster"
    start "$binary" c "$dir/c" 5 6 "$cluster"
    for i in 1 3 5; do answers $i; done
    result=("$restored" "$(($(now_ms) - began - restored))" "$(($(now_ms) - began))")
    printf '| %s | %s ms | %s ms | %s ms |\n' "$name" "${result[@]}"
    stop_all
    rm -rf "$dir"
}
echo "| $KEYS keys | three restores | start until all three answer | in all |"
echo '|---|---|---|---|'
drill cairn bin/cairnd bin/cairnctl
ours=("${result[@]}")
drill etcd "$ETCD" "$ETCDUTL"
print_ratios "${ours[@]}" "${result[@]}"
