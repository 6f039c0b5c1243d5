#!/usr/bin/env bash
# No gap in a continuous backup: the member is killed while its backup's folder is taken by another process or full, and more changes
# come than the memory holds. Afterwards the same run goes on, and a revision in what was missing can be restored. With a log that was
# cut a new run begins.
source "$(dirname "$0")/lib.sh"
port=$(free_port) || exit 1
url=http://127.0.0.1:$port
export CAIRNCTL_ENDPOINTS=$url ETCDCTL_ENDPOINTS=$url
CTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
small=""
end_more() { [ -z "$small" ] || { stop_server KILL; umount -l "$small"; }; }
metric() { curl -s -m 30 "$url/metrics" | awk -v name="$1" '$1 == name { printf "%.15g\n", $2 }'; }
metric_is() { [ "$(metric "$1")" = "$2" ]; }
begin() { start_server "$1" "$port" --backup-dir "$2" --backup-full-interval 1h "${@:3}"; }
# put FROM TO [SIZE]: k = number, one revision each; every tenth request is refused, every seventh changes only a lease.
put() {
    python3 - "$url" "$1" "$2" "${3:-20}" <<'PY'
import base64, json, sys, urllib.error, urllib.request
url, begin, end, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
def call(path, **body):
    try:
        urllib.request.urlopen(urllib.request.Request(url + path, data=json.dumps(body).encode()), timeout=60).read()
    except urllib.error.HTTPError:
        pass
for n in range(begin, end):
    if n % 10 == 0:
        call("/v3/kv/put", key="aw==", value="bm8=", lease="7777")  # there is no such lease
    if n % 7 == 0:
        call("/v3/lease/grant", TTL="1000", ID=str(100000 + n))
    call("/v3/kv/put", key="aw==", value=base64.b64encode(b"%d " % n + b"x" * size).decode())
PY
}
revision() { etcdctl get k -w json | jq .header.revision; }
caught_up() { [ "$(metric cairn_backup_last_revision)" = "$(revision)" ] && metric_is cairn_backup_behind 0; }
# restores_to NAME FOLDER REVISION: k at this revision is the number of its put, which is the revision - 2.
restores_to() {
    rm -rf "$work/r" && mkdir "$work/r"
    check "$1: it can be restored" "$CTL" snapshot restore --backup-dir "$2" --to-revision "$3" --data-dir "$work/r/data" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))"
    check "$1: it starts" start_server "$work/r" "$port"
    expect "$1: revision $3" "$3 $(($3 - 2))" "$(etcdctl get k -w json | jq -r '"\(.header.revision) \(.kvs[0].value | @base64d | split(" ")[0])"')"
    stop_server TERM
}

# --- killed while nothing can be written -----------------------------------------------------------------------------------
check "a member with a backup" begin "$work/a" "$work/backup"
put 0 100
check "it is complete" within $LIMIT_S caught_up
stop_server KILL
exec 9>"$(find "$work/backup" -name LOCK)"
flock 9
check "it starts while another process has the folder" begin "$work/a" "$work/backup"
put 100 400
sleep 0.5 # in the store
stop_server KILL
check "killed and back, and the folder still taken" begin "$work/a" "$work/backup"
put 400 500
stop_server TERM # and an orderly stop
flock -u 9
check "it starts" begin "$work/a" "$work/backup"
check "all that is missing is written" within $LIMIT_S caught_up
put 500 510
check "and what comes then" within $LIMIT_S caught_up
expect "in the same run" 1 "$(grep -c 'backup begins a new run' "$work/a/log")"
stop_server TERM
check "it is good" "$CTL" backup verify "$work/backup"
for n in 110 298 402 444 511; do
    restores_to "in what was missing" "$work/backup" $n
done

# --- killed in the middle of writes ----------------------------------------------------------------------------------------
for cycle in 1 2 3 4 5 6; do
    begin "$work/a" "$work/backup"
    put $((510 + cycle * 1000)) $((1510 + cycle * 1000)) 2>/dev/null &
    writer=$!
    sleep 0.$((RANDOM % 9 + 1))
    stop_server KILL
    wait $writer
done
check "killed six times in the middle of writes" begin "$work/a" "$work/backup"
check "it is complete" within $LIMIT_S caught_up
expect "in the same run" 1 "$(grep -c 'backup begins a new run' "$work/a/log")"
stop_server TERM
check "it is good" "$CTL" backup verify "$work/backup"

# --- a folder that does not answer, as a network file system without its server ----------------------------------------------
cat >"$work/hang.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* The backup's thread writes nothing while $HANG is there. */
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    while (strcmp(name, "backup") == 0 && access(getenv("HANG"), F_OK) == 0)
        usleep(10000);
    return ((ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite"))(fd, bytes, size, at);
}
C
if cc -shared -fPIC -o "$work/hang.so" "$work/hang.c" -ldl -lpthread 2>"$work/cc.log"; then
    export HANG=$work/hang
    ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-} LD_PRELOAD=$work/hang.so start_server "$work/a" "$port" --backup-dir "$work/backup"
    check "a member with a folder that may hang" within $LIMIT_S caught_up
    check "and nothing under way" within $LIMIT_S metric_is cairn_backup_queued_bytes 0
    sleep 2 # the first write after a pause hangs
    touch "$HANG"
    put 9000 9010
    check "it is behind" within $LIMIT_S metric_is cairn_backup_behind 1
    begin_ms=$(date +%s%3N)
    kill -TERM "$server_pid"
    wait "$server_pid"
    expect "it stops all the same" 0 $?
    took=$(($(date +%s%3N) - begin_ms))
    check "after about 5 s ($took ms)" test $took -ge 4500 -a $took -le 15000
    check "and says why" has "$work/a/log" "the backup's folder does not answer"
    rm "$HANG"
    check "it starts" begin "$work/a" "$work/backup"
    check "what was missing is written" within $LIMIT_S caught_up
    expect "in the same run" 1 "$(grep -c 'backup begins a new run' "$work/a/log")"
    stop_server TERM
    check "it is good" "$CTL" backup verify "$work/backup"
else
    echo "  SKIP a folder that does not answer: cc: $(head -1 "$work/cc.log")"
fi

# --- more than the memory holds --------------------------------------------------------------------------------------------
mkdir "$work/small"
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=6m tmpfs "$work/small" 2>/dev/null; then
    small=$work/small
    check "a member with a small disk" begin "$work/b" "$small"
    put 0 50
    check "it is complete" within $LIMIT_S caught_up
    put 50 700 100000
    check "the disk is full: it is behind" within $LIMIT_S metric_is cairn_backup_behind 1
    check "its memory is bounded" test "$(metric cairn_backup_queued_bytes)" -le 33554432
    mount -o remount,size=400m "$small"
    check "there is room: it catches up" within $LIMIT_S caught_up
    expect "in the same run" 1 "$(grep -c 'backup begins a new run' "$work/b/log")"
    mount -o remount,size="$(($(du -sk "$small" | cut -f1) + 1024))k" "$small"
    put 700 1200 100000
    check "the disk is full again" within $LIMIT_S metric_is cairn_backup_behind 1
    stop_server KILL
    check "killed, and it starts with the full disk" begin "$work/b" "$small"
    put 1200 1210
    mount -o remount,size=400m "$small"
    check "there is room: it catches up" within $LIMIT_S caught_up
    expect "in the same run" 1 "$(grep -c 'backup begins a new run' "$work/b/log")"
    stop_server TERM
    check "it is good" "$CTL" backup verify "$small"
    for n in 600 1190 1205; do
        restores_to "after the queue was full" "$small" $n
    done

    # --- the log was cut ---------------------------------------------------------------------------------------------------
    mount -o remount,size="$(($(du -sk "$small" | cut -f1) + 1024))k" "$small"
    check "a log of at most 16 MB" begin "$work/b" "$small" --snapshot-catchup-entries 10 --snapshot-catchup-disk-bytes 16777216
    put 1210 2000 100000
    mount -o remount,size=800m "$small"
    check "it is complete again" within $LIMIT_S caught_up
    expect "in a new run" 2 "$(grep -c 'backup begins a new run' "$work/b/log")"
    check "and says why" has "$work/b/log" 'the log was cut before'
    stop_server TERM
    check "it is good" "$CTL" backup verify "$small"
    restores_to "after the gap" "$small" 2001
    umount -l "$small"
    small=""
else
    echo "  SKIP a full disk: it needs the right to mount a tmpfs"
fi
finish
