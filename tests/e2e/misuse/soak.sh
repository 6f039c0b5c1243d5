#!/usr/bin/env bash
# soak.sh SECONDS: mixed load (puts, reads, txns, leases, keep-alives, watches) with a compaction every ten seconds, and rude
# clients now and then. After the warm-up memory, file and descriptors stay as they are. With a sanitizer build: no report.
. "$(dirname "$0")/../lib.sh"
seconds=${1:-60}
port=$(free_port)
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
export ASAN_OPTIONS=${ASAN_OPTIONS:-exitcode=66} TSAN_OPTIONS=${TSAN_OPTIONS:-exitcode=66 halt_on_error=0}
start_server "$work" "$port" --auto-compaction-mode periodic --auto-compaction-retention 10s || { cat "$work/log"; exit 1; }
anon() { awk '/RssAnon/{print int($2 / 1024)}' "/proc/$server_pid/status"; }
rss() { awk '/VmRSS/{print int($2 / 1024)}' "/proc/$server_pid/status"; }
fds() { ls "/proc/$server_pid/fd" | wc -l; }
megabytes() { echo $(($(du -sk "$work/data/member/$1" | cut -f1) / 1024)); }
fds_before=$(fds)

# Each round runs four generators side by side at a moderate rate: the test looks for leaks, not for speed.
round() {
    local load="nice $TOOLS/load --port $port --seconds 4 --keys 20000"
    $load --op put --connections 4 --streams 4 &
    $load --op txn --connections 2 --streams 4 &
    $load --op mixed --connections 8 --streams 1 &
    $load --op watch --connections 4 --watchers 100 --rate 500 &
    wait $!
    $load --op lease --connections 2 --streams 2 --seconds 1 &
    $load --op keepalive --connections 2 --streams 10 --keys 500 --seconds 1 &
    $load --op delete --connections 2 --streams 2 --seconds 1 &
    $load --op spread --connections 4 --watchers 200 --rate 200 --seconds 1 &
    wait $!
    revoke=$(etcdctl lease list 2>/dev/null | sed 1d | head -20)
    for id in $revoke; do echo "$id"; done | xargs -r -n1 etcdctl lease revoke >/dev/null 2>&1
}
leases() { etcdctl lease list 2>/dev/null | sed 1d | wc -l; }

echo "  second   RSS MiB   heap   fds   store MiB   log MiB"
start=$SECONDS
turn=0
heap_first=0 # the most of each half
heap_second=0
store_warm=0
while [ $((SECONDS - start)) -lt "$seconds" ]; do
    round >"$work/rounds" 2>&1
    grep -q 'load: ' "$work/rounds" && grep 'load: ' "$work/rounds" | head -3
    turn=$((turn + 1))
    [ $((turn % 2)) = 0 ] && etcdctl compaction "$(etcdctl get x -w json | jq .header.revision)" >/dev/null 2>&1
    [ $((turn % 3)) = 0 ] && SLOW=4 timeout 60 "$TOOLS/clients" "$port" "$server_pid" rapid_reset many_streams watch_floods >>"$work/rude" 2>&1
    kill -0 "$server_pid" 2>/dev/null || break
    printf '  %6d   %7d   %4d   %3d   %9d   %7d\n' $((SECONDS - start)) "$(rss)" "$(anon)" "$(fds)" "$(megabytes store)" "$(megabytes wal)"
    now=$(anon) # the file's pages that are mapped come and go with the kernel's cache
    if [ $((SECONDS - start)) -lt $((seconds / 2)) ] || [ $store_warm = 0 ]; then
        [ "$now" -gt $heap_first ] && heap_first=$now
        store_warm=$(megabytes store)
        leases_warm=$(leases)
    elif [ "$now" -gt $heap_second ]; then
        heap_second=$now
    fi
done
check "it lives" kill -0 "$server_pid"
sleep 3
leases_now=$(leases)
# Leases are granted faster than they are revoked: 400 bytes of growth each is theirs.
allowed=$((heap_first * 4 / 3 + 32 + (leases_now - leases_warm) / 2500))
check "the heap is flat: at most $heap_first MiB in the first half, $heap_second in the second" test "$heap_second" -le $allowed
check "the file is flat: $store_warm, now $(megabytes store) MiB" test "$(megabytes store)" -le $((store_warm * 2 + 64))
check "the log is cut: $(megabytes wal) MiB" test "$(megabytes wal)" -le 200
check "descriptors: $fds_before before, $(fds) now" test "$(fds)" -le $((fds_before + 2))
stop_server
expect "exit 0" 0 "$server_status"
check "no report of a sanitizer" bash -c "! grep -qE 'Sanitizer|runtime error' $work/log"
grep -E -A30 'Sanitizer|runtime error' "$work/log" | head -60
check "no error in its log" bash -c "! grep -qE '\"level\":\"(error|fatal|panic)\"' $work/log"
finish
