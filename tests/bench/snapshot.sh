#!/usr/bin/env bash
# One snapshot of KEYS keys (1,000,000 of 64 + 256 bytes), saved and restored: cairnd and etcd in one run, one after the other, with the
# same client. Prints a table: time of the save, growth of the server's memory meanwhile (without mapped files), size of the file, time of
# a restore (cairnctl; etcdutl), its memory, p99 of puts (4 connections) alone, while snapshots are saved one after the other, and while
# cp copies such a file again and again (what this machine takes for the bytes alone); then each as a ratio, Cairn's to etcd's.
#
#   ETCD=build/interop/etcd37 ETCDUTL=build/interop/etcdutl tests/bench/snapshot.sh
. "$(dirname "$0")/snapshot_lib.sh"
anonymous() { awk '/^RssAnon/ { print $2 }' /proc/${pids[0]}/status; } # KiB
# watch_memory: the largest growth above $1, until $work/stop is there.
watch_memory() {
    local most=$1 now
    until [ -e "$work/stop" ]; do
        now=$(anonymous) && [ "$now" -gt "$most" ] && most=$now
        sleep 0.05
    done
    echo $(((most - $1) / 1024)) >"$work/grew"
}
# put_p99 NAME: of 8 s of puts, ms
put_p99() {
    $LOAD --port "$port" --pid "${pids[0]}" --op put --connections 4 --keys "$KEYS" --seconds 8 >"$work/$1" || { cat "$work/$1"; exit 1; }
    awk -v us="$(jq .p99_us "$work/$1")" 'BEGIN { printf "%.1f", us / 1000 }'
}
# put_p99_beside NAME COMMAND...: of puts while the command runs again and again
put_p99_beside() {
    local name=$1 repeater
    shift
    rm -f "$work/stop"
    (until [ -e "$work/stop" ]; do "$@"; done) &
    repeater=$!
    sleep 0.5
    put_p99 "$name"
    touch "$work/stop"
    wait $repeater
}
one() { # NAME BINARY RESTORE...
    local name=$1 binary=$2 dir=$work/$1 began saved restored i watcher alone beside beside_copy
    shift 2
    start_filled "$binary" "$dir"
    sleep 3
    rm -f "$work/stop"
    watch_memory "$(anonymous)" &
    watcher=$!
    began=$(now_ms)
    save "$dir/save.db"
    saved=$(($(now_ms) - began))
    touch "$work/stop"
    wait $watcher
    alone=$(put_p99 alone)
    beside=$(put_p99_beside beside save "$dir/often.db")
    beside_copy=$(put_p99_beside copy cp "$dir/save.db" "$dir/often.db")
    rm -f "$dir/often.db"
    stop_all
    began=$(now_ms)
    /usr/bin/env time -f %M -o "$dir/memory" "$@" snapshot restore "$dir/save.db" --data-dir "$dir/restored" >"$dir/restore" 2>&1 || { cat "$dir/restore"; exit 1; }
    restored=$(($(now_ms) - began))
    result=("$saved" "$(cat "$work/grew")" "$(du -m "$dir/save.db" | cut -f1)" "$restored" "$(($(tail -1 "$dir/memory") / 1024))" "$alone" "$beside" "$beside_copy")
    printf '| %s | %s ms | %s MiB | %s MiB | %s ms | %s MiB | %s ms | %s ms | %s ms |\n' "$name" "${result[@]}"
    rm -rf "$dir"
}
echo "| $KEYS keys | save | memory of the server grew by | file | restore | its memory (with mapped files) | put p99 | put p99 beside saves | put p99 beside cp |"
echo '|---|---|---|---|---|---|---|---|---|'
one cairn bin/cairnd bin/cairnctl
ours=("${result[@]}")
one etcd "$ETCD" "$ETCDUTL"
print_ratios "${ours[@]}" "${result[@]}"
