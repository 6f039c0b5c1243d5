#!/usr/bin/env bash
# Defragment: the file shrinks while clients continue, the state is the same, status and metrics are correct.
# Then concurrent callers, a caller that disconnects, kill -9 at any moment, and a disk without room for a second
# file.
source "$(dirname "$0")/lib.sh"
source tests/shell/ports.sh
port=$(free_port) || exit 1
url=http://127.0.0.1:$port
export CAIRNCTL_ENDPOINTS=$url ETCDCTL_ENDPOINTS=$url
CTL=$(realpath bin/cairnctl)
metric() { curl -s -m 30 "$url/metrics" | awk -v name="$1" '$1 == name { printf "%d", $2 }'; }
status() { etcdctl endpoint status -w json | jq ".[0].Status.$1"; }
state() { etcdctl get '' --prefix | sha256sum; }
rests() { find "$1/data" -name '*defrag*' | wc -l; }
# fill TAG COUNT: so many transactions of 64 values of 1 KB.
fill() {
    python3 - "$url" "$1" "$2" <<'PY'
import base64, json, sys, urllib.request
url, tag, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
text = lambda s: base64.b64encode(s.encode()).decode()
for k in range(count):
    ops = [{"requestPut": {"key": text("%s-%d-%d" % (tag, i % 4, k * 64 + i)), "value": text("v%03d" % (k % 1000) * 250)}} for i in range(64)]
    urllib.request.urlopen(urllib.request.Request(url + "/v3/kv/txn", data=json.dumps({"success": ops}).encode()), timeout=60).read()
PY
}
# thin TAG: deletes three of four keys, so that each remaining one is alone in a page.
thin() {
    for i in 1 2 3; do etcdctl del --prefix "$1-$i-" >/dev/null; done
    etcdctl compaction --physical "$(etcdctl get x -w json | jq .header.revision)" >/dev/null
}
small=""
end_more() { [ -z "$small" ] || { stop_server KILL; umount -l "$small"; }; }

check "a member serves" start_server "$work/a" "$port"
fill load 200
thin load
before=$(state)
size=$(status dbSize)
in_use=$(status dbSizeInUse)
check "the store is thin ($in_use of $size)" test "$in_use" -gt 8000000
putter() { # until $work/stop is there: the number of the last put that was acknowledged is in $work/acked
    local n=0
    until [ -e "$work/stop" ]; do
        curl -sf -m 5 "$url/v3/kv/put" -d "{\"key\":\"$(printf 'z%s' "$((n % 50))" | base64)\",\"value\":\"$(printf '%s' $((n + 1)) | base64)\"}" \
            >"$work/put.out" 2>&1 && n=$((n + 1)) && echo $n >"$work/acked"
    done
}
rm -f "$work/stop"
putter &
putting=$!
expect "defrag by etcdctl" "Finished defragmenting etcd member[$url]" "$(etcdctl defrag 2>&1)"
touch "$work/stop"
wait $putting
check "puts went on ($(cat "$work/acked"))" test "$(cat "$work/acked")" -gt 0
check "the last one is there" test "$(etcdctl get z --prefix --print-value-only | sort -n | tail -1)" -ge "$(cat "$work/acked")"
etcdctl del --prefix z >/dev/null
expect "the state is the same" "$before" "$(state)"
check "the file is smaller ($(status dbSize))" test "$(status dbSize)" -lt $((size / 2))
check "so are the pages in use ($(status dbSizeInUse))" test "$(status dbSizeInUse)" -lt $((in_use / 2))
expect "status says the file's size" "$(stat -c %s "$work/a/data/member/store")" "$(status dbSize)"
expect "the metric too" "$(status dbSize)" "$(metric etcd_mvcc_db_total_size_in_bytes)"
expect "one was measured" 1 "$(metric etcd_disk_backend_defrag_duration_seconds_count)"
expect "none is under way" 0 "$(metric etcd_disk_defrag_inflight)"
check "it says what was copied" test "$(metric cairn_defrag_copied_bytes)" -gt 1000000
expect "nothing is left of it" 0 "$(rests "$work/a")"

for i in 1 2 3 4; do "$CTL" defrag >"$work/defrag$i" 2>&1 & callers[$i]=$!; done
done=0
for i in 1 2 3 4; do wait "${callers[$i]}" && done=$((done + 1)); done
expect "four callers at once" 4 $done
more=$(metric etcd_disk_backend_defrag_duration_seconds_count)
check "of whom three waited for one more ($more)" test "$more" -le 4
curl -s -m 0.05 "$url/v3/maintenance/defragment" -d '{}' >/dev/null
ended() { [ "$(metric etcd_disk_defrag_inflight)" = 0 ] && [ "$(metric etcd_disk_backend_defrag_duration_seconds_count)" -gt "$more" ]; }
check "a caller that goes away does not end it" within $LIMIT_S ended

# --- kill -9 ----------------------------------------------------------------------------------------------------------------
lost=0
rests=0
for i in $(seq 12); do
    fill kill 4
    rm -f "$work/stop"
    echo 0 >"$work/acked"
    putter &
    putting=$!
    "$CTL" defrag >/dev/null 2>&1 &
    caller=$!
    sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
    stop_server KILL
    touch "$work/stop"
    wait $putting $caller
    start_server "$work/a" "$port" || { fails "it does not start again after $i"; break; }
    found=$(etcdctl get z --prefix --print-value-only | sort -n | tail -1)
    [ "${found:-0}" -ge "$(cat "$work/acked")" ] || lost=$((lost + 1))
    rests=$((rests + $(rests "$work/a")))
    etcdctl del --prefix z >/dev/null
    etcdctl del --prefix kill >/dev/null
done
expect "killed in the middle: nothing acknowledged is lost" 0 $lost
expect "and nothing is left of it" 0 $rests
expect "what was there before is" "$before" "$(state)"
stop_server TERM

# --- at the start ------------------------------------------------------------------------------------------------------------
check "a member with a file that holds little" start_server "$work/b" "$port"
fill load 100
etcdctl del --prefix load >/dev/null
etcdctl compaction --physical "$(etcdctl get x -w json | jq .header.revision)" >/dev/null
free_mb() { echo $((($(status dbSize) - $(status dbSizeInUse)) >> 20)); }
has_free() { [ "$(free_mb)" -ge 4 ]; }
check "which is free by now" within $LIMIT_S has_free
etcdctl put rest 1 >/dev/null
stop_server TERM
check "--bootstrap-defrag-threshold-megabytes: it starts" start_server "$work/b" "$port" --bootstrap-defrag-threshold-megabytes=1000
check "below the threshold the file stays" has "$work/b/log" 'Skipping defragmentation.*"bootstrap-defrag-threshold-bytes":1048576000'
expect "none was measured" 0 "$(metric etcd_disk_backend_defrag_duration_seconds_count)"
size=$(status dbSize)
stop_server TERM
check "with less it starts, too" start_server "$work/b" "$port" --bootstrap-defrag-threshold-megabytes=1
packed() { [ "$(metric etcd_disk_backend_defrag_duration_seconds_count)" = 1 ]; }
check "the file is packed" within $LIMIT_S packed
check "and smaller ($size before, $(status dbSize) now)" test "$(status dbSize)" -lt $((size / 2))
expect "and holds what it held" 1 "$(etcdctl get rest --print-value-only)"
stop_server TERM

# --- a disk without room ----------------------------------------------------------------------------------------------------
if [ "$(id -u)" = 0 ] && mkdir "$work/small" && mount -t tmpfs -o size=400m tmpfs "$work/small" 2>/dev/null; then
    small=$work/small
    check "a member on a small disk" start_server "$small" "$port"
    fill load 100
    thin load
    before=$(state)
    size=$(status dbSize)
    free=$(df --output=avail -B1 "$small" | tail -1)
    head -c $((free - 80000000)) /dev/zero >"$small/filler"
    "$CTL" defrag >"$work/refused" 2>&1
    expect "defrag is refused" 1 $?
    check "with what it needs" grep -q 'MiB are needed beside what is there, 76 MiB are free' "$work/refused"
    expect "nothing is left of it" 0 "$(rests "$small")"
    expect "the member goes on" OK "$(etcdctl put after 1)"
    etcdctl del after >/dev/null
    rm "$small/filler"
    expect "with room it works" "Finished defragmenting etcd member[$url]. took" "$("$CTL" defrag | sed 's/ took .*/ took/')"
    check "the file is smaller" test "$(status dbSize)" -lt "$size"
    expect "the state is the same" "$before" "$(state)"
    stop_server TERM
    umount "$small"
    small=""
else
    echo "  skip a disk without room: no root or no tmpfs"
fi
finish
