#!/usr/bin/env bash
# Disk faults: full at random moments, read-only, a removed folder, and a log on a disk of its own. Needs root for the
# mounts.
. "$(dirname "$0")/../lib.sh"
rounds=${ROUNDS:-20}
port=$(free_port)
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
mounts=()
end_more() {
    stop_server KILL
    for m in "${mounts[@]}"; do umount -l "$m"; done
}
if [ "$(id -u)" != 0 ] || ! mkdir "$work/probe" || ! mount -t tmpfs tmpfs "$work/probe" 2>/dev/null; then
    echo "  skip: no root or no tmpfs"
    exit 0
fi
umount "$work/probe"
tmpfs() { mkdir -p "$1"; mount -t tmpfs -o "size=$2" tmpfs "$1" && mounts+=("$1"); }
gone() { within $LIMIT_S is_gone "$server_pid"; }
sentence() { grep -E '"level":"(fatal|panic|error)"' "$1" | tail -1 | grep -oE '"(msg|reason|error)":"[^"]*"' | tr '\n' ' '; }

# --- full, at random moments -----------------------------------------------------------------------------------------
# A writer records the acknowledged puts; another file fills the disk; the member exits by itself, or survives if the
# room suffices. With room again every acknowledged key must be there, with its last acknowledged value or a later one.
tmpfs "$work/small" 64m
acked=$work/acked
: >"$acked"
ended=0
lost=0
number=0
for round in $(seq "$rounds"); do
    rm -f "$work/small/n1/log"
    if ! start_server "$work/small/n1" "$port"; then
        fails "round $round: does not start: $(sentence "$work/small/n1/log")"
        break
    fi
    # Puts of 4 to 40 KiB by the gateway: quick, and each answer is looked at.
    (
        i=$number
        while :; do
            i=$((i + 1))
            key=$(printf 'k%03d' $((i % 100)) | base64 -w0)
            value=$(printf '%08d' $i | base64 -w0)
            pad=$(head -c $((RANDOM * 40000 / 32768)) /dev/zero | tr '\0' A)
            pad=${pad:0:$((${#pad} / 4 * 4))}
            curl -s -m 5 "http://127.0.0.1:$port/v3/kv/put" -d "{\"key\":\"$key\",\"value\":\"${value%=}A$pad\"}" 2>/dev/null | grep -q revision || break
            echo "$i" >>"$acked"
        done
    ) &
    writer=$!
    sleep "0.$((RANDOM % 9 + 1))"
    [ $((RANDOM % 3)) = 0 ] && etcdctl $impatient compaction "$(etcdctl $impatient get x -w json | jq .header.revision)" >/dev/null 2>&1
    head -c 64m /dev/zero >"$work/small/other" 2>/dev/null
    gone_now=1
    for _ in $(seq 30); do kill -0 "$server_pid" 2>/dev/null || { gone_now=0; break; }; sleep 0.05; done
    if [ $gone_now = 0 ]; then
        ended=$((ended + 1))
        wait "$server_pid"
        said=$(sentence "$work/small/n1/log")
        grep -qi 'no space left' <<<"$said" || fails "round $round: it says: $said"
    fi
    kill "$writer" 2>/dev/null
    wait "$writer" 2>/dev/null
    stop_server KILL
    rm -f "$work/small/other"
    number=$(tail -1 "$acked" || echo 0)
    rm -f "$work/small/n1/log"
    if ! start_server "$work/small/n1" "$port"; then
        echo "  FAIL round $round: does not start again: $(sentence "$work/small/n1/log")"
        failures=$((failures + 1))
        break
    fi
    etcdctl get --prefix k -w json | jq -r '.kvs[]? | .key + " " + .value[0:11]' | while read -r k v; do
        printf '%s %s\n' "$(base64 -d <<<"$k")" "$(base64 -d <<<"${v}=" 2>/dev/null | head -c 8)"
    done | sort >"$work/found"
    awk '{k = sprintf("k%03d", $1 % 100); last[k] = $1} END {for (k in last) printf "%s %08d\n", k, last[k]}' "$acked" | sort >"$work/wanted"
    missing=$(join -a 1 "$work/wanted" "$work/found" | awk 'NF < 3 || $3 + 0 < $2 + 0' | wc -l)
    lost=$((lost + missing))
    [ "$missing" = 0 ] || fails "round $round: $missing keys lost"
    stop_server
done
echo "  $(wc -l <"$acked") puts acknowledged in $rounds rounds, the disk full in $ended of them, $lost lost"
check "disk full at random moments: nothing is lost" test "$lost" = 0
check "and it was full now and then" test "$ended" -gt $((rounds / 4))

# --- no room from the start ------------------------------------------------------------------------------------------------
tmpfs "$work/tiny" 1m
start_server "$work/tiny" "$port"
check "no room for a first start: it does not start" gone
said=$(sentence "$work/tiny/log")
check "and says why: $said" grep -qi 'no space' <<<"$said"
stop_server KILL
umount "$work/tiny"; tmpfs "$work/tiny" 64m
check "with room it does" start_server "$work/tiny" "$port"
stop_server

# --- read-only -----------------------------------------------------------------------------------------------------------
tmpfs "$work/ro" 64m
start_server "$work/ro/n" "$port"
mv "$work/ro/n/log" "$work/ro.log" 2>/dev/null
etcdctl put before x >/dev/null
stop_server
cp -a "$work/ro/n" "$work/ro-copy"
mount -o remount,ro "$work/ro"
"$CAIRND" --data-dir "$work/ro/n/data" --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" >"$work/ro.log" 2>&1
expect "a read-only disk: it does not start" 1 $?
check "and says so: $(sentence "$work/ro.log")" grep -qi 'read-only' <<<"$(sentence "$work/ro.log")"

# --- the folder is taken away while it runs ------------------------------------------------------------------------------------
start_server "$work/away" "$port"
etcdctl put before x >/dev/null
rm -rf "$work/away/data"
timeout 60 "$TOOLS/load" --port "$port" --op put --connections 8 --streams 16 --seconds 4 --value-size 2000 >"$work/load" 2>&1
sleep 0.5
if kill -0 "$server_pid" 2>/dev/null; then
    check "the folder was removed: it still answers" test "$(etcdctl get before --print-value-only)" = x
    stop_server
    echo "  (it went on; ended with $server_status)"
else
    wait "$server_pid"; status=$?; server_pid=""
    said=$(sentence "$work/away/log")
    check "the folder was removed: it ends (status $status) and says: $said" test -n "$said"
fi

# --- the log on a disk of its own -----------------------------------------------------------------------------------------------
tmpfs "$work/waldisk" 200m
tmpfs "$work/datadisk" 200m
start_server "$work/datadisk/n" "$port" --wal-dir "$work/waldisk/wal"
for i in 1 2 3; do etcdctl put "two$i" x >/dev/null; done
check "--wal-dir: the log is there" test -n "$(ls "$work/waldisk/wal")"
check "and nowhere else" test ! -e "$work/datadisk/n/data/member/wal"
stop_server KILL
rm "$work/datadisk/n/log"
check "--wal-dir: starts again after kill -9" start_server "$work/datadisk/n" "$port" --wal-dir "$work/waldisk/wal"
expect "with everything" 3 "$(etcdctl get --prefix two --keys-only | grep -c .)"
stop_server
rm "$work/datadisk/n/log"
start_server "$work/datadisk/n" "$port"
check "without --wal-dir it does not start" gone
check "and says: $(sentence "$work/datadisk/n/log")" grep -qiE 'log' <<<"$(sentence "$work/datadisk/n/log")"
stop_server KILL

# --- killed while it saves a snapshot, and while it compacts ----------------------------------------------------------------------
start_server "$work/snap" "$port"
"$TOOLS/load" --port "$port" --op fill --connections 4 --streams 64 --keys 100000 --value-size 256 >/dev/null 2>&1
for i in $(seq 6); do
    revision=$(etcdctl get x -w json | jq .header.revision)
    keys=$(etcdctl get --prefix / --keys-only --limit=1 -w json | jq .count)
    if [ $((i % 2)) = 0 ]; then
        (timeout 10 etcdctl snapshot save "$work/snapshot.db" >/dev/null 2>&1) &
    else
        "$TOOLS/load" --port "$port" --op put --connections 4 --streams 64 --keys 100000 --seconds 1 >/dev/null 2>&1
        revision=$(etcdctl get x -w json | jq .header.revision)
        (timeout 10 etcdctl compaction "$revision" >/dev/null 2>&1) &
    fi
    sleep "0.0$((RANDOM % 9 + 1))"
    stop_server KILL
    rm -f "$work/snap/log"
    check "killed while $([ $((i % 2)) = 0 ] && echo saving a snapshot || echo compacting): starts again" start_server "$work/snap" "$port"
    expect "at the same revision" "$revision" "$(etcdctl get x -w json | jq .header.revision)"
    expect "with the same keys" "$keys" "$(etcdctl get --prefix / --keys-only --limit=1 -w json | jq .count)"
done
check "no left-over of a snapshot stays for ever" test "$(ls "$work/snap/data/member" | grep -c snapshot-)" -le 1
stop_server
finish
