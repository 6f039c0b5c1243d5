#!/usr/bin/env bash
# Stopping, killing and starting again; invalid data folders.
. "$(dirname "$0")/lib.sh"
port=$(free_port)
count() { etcdctl get --prefix --keys-only "$1" | grep -c .; }
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
start_server "$work/a" "$port" || { cat "$work/a/log"; exit 1; }
etcdctl put k1 v1 >/dev/null
lease=$(etcdctl lease grant 300 | awk '{print $2}')
etcdctl put leased v --lease="$lease" >/dev/null
stop_server KILL
rm "$work/a/log"
check "starts again after kill -9" start_server "$work/a" "$port"
expect "the key is there" v1 "$(etcdctl get k1 --print-value-only)"
check "the lease is there with its key" grep -q 'attached keys(\[leased\])' <<<"$(etcdctl lease timetolive "$lease" --keys)"
expect "revision goes on" 4 "$(etcdctl put k2 v2 -w json | jq .header.revision)"

second=$(timeout 60 "$CAIRND" --data-dir "$work/a/data" --listen-client-urls "http://127.0.0.1:$((port + 2))" \
    --advertise-client-urls "http://127.0.0.1:$((port + 2))" 2>&1)
expect "a second process on the folder leaves with 1" 1 $?
check "and says why" grep -q 'in use by another process' <<<"$second"

# A request under way when SIGTERM comes is answered.
(for i in $(seq 300); do etcdctl $impatient put "t$i" x >/dev/null 2>&1 || break; echo "$i"; done) >"$work/done" &
writer=$!
within $LIMIT_S test -s "$work/done"
stop_server TERM
expect "SIGTERM under load: exit 0" 0 "$server_status"
wait "$writer"
last=$(tail -1 "$work/done")
rm "$work/a/log"
start_server "$work/a" "$port"
check "what was acknowledged before SIGTERM is there ($last puts)" test "$(count t)" -ge "$last"

# Two signals: the process exits at once.
kill -STOP "$server_pid"; kill -TERM "$server_pid"; kill -INT "$server_pid"; kill -CONT "$server_pid"
check "a second signal ends it" within $LIMIT_S is_gone "$server_pid"
stop_server KILL

# Invalid data folders.
broken() { # NAME PATTERN
    rm -f "$work/$1/log"
    if start_server "$work/$1" "$port"; then
        fails "$1: it started"
        stop_server KILL
        return
    fi
    wait "$server_pid" 2>/dev/null
    server_pid=""
    check "$1: says so" grep -qiE "$2" "$work/$1/log"
}
cp -r "$work/a" "$work/no-log" && rm -r "$work/no-log/data/member/wal"
broken no-log 'holds no log'
cp -r "$work/a" "$work/no-store" && rm -r "$work/no-store/data/member/store"*
rm "$work/no-store/log"
check "a lost store is built again from a log that is still whole" start_server "$work/no-store" "$port"
expect "with what was in it" v1 "$(etcdctl get k1 --print-value-only)"
stop_server
cp -r "$work/a" "$work/flipped"
segment=$(find "$work/flipped/data/member/wal" -name '*.wal' | sort | head -1)
printf '\xff\xff\xff\xff' | dd of="$segment" bs=1 seek=1040 conv=notrunc 2>/dev/null
broken flipped "corrupt|damaged|does not check"
cp -r "$work/a" "$work/foreign" && start_server "$work/b" "$port" --initial-cluster-token other
stop_server
rm -r "$work/foreign/data/member/wal" && cp -r "$work/b/data/member/wal" "$work/foreign/data/member/wal"
broken foreign 'belongs to another member|log holds entries'

# No space left: the process ends with a clear line, no acknowledged write is lost, and it starts again when
# there is room.
if [ "$(id -u)" = 0 ] && mkdir "$work/small" && mount -t tmpfs -o size=40m tmpfs "$work/small" 2>/dev/null; then
    start_server "$work/small" "$port"
    value=$(head -c 100000 /dev/zero | tr '\0' x)
    written=0
    for i in $(seq 600); do
        if etcdctl $impatient put "fill$i" "$value" >/dev/null 2>&1; then written=$((written + 1)); fi
        is_gone "$server_pid" && break # not with the first put that has no answer: that may have come late
    done
    check "disk full: the process ended" within $LIMIT_S is_gone "$server_pid"
    check "disk full: it says so" grep -qi 'no space left' "$work/small/log"
    stop_server KILL
    mount -o remount,size=200m "$work/small"
    rm "$work/small/log"
    check "disk full: starts again with room" start_server "$work/small" "$port"
    expect "disk full: every acknowledged key is there" "yes" \
        "$([ "$(count fill)" -ge "$written" ] && echo yes)"
    stop_server
    umount "$work/small"
else
    echo "  skip disk full: no root or no tmpfs"
fi
finish
