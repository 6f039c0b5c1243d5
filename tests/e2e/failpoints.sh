#!/usr/bin/env bash
# Every failpoint of a build with FAILPOINTS=1, by gofail's protocol: the member dies there, starts again and has what it
# acknowledged. Needs such a build: make failpoints.
. "$(dirname "$0")/lib.sh"
port=$(free_port)
points=127.0.0.1:$((port + 2))
export ETCDCTL_ENDPOINTS=127.0.0.1:$port GOFAIL_HTTP=$points
CTL=$(dirname "$CAIRND")/cairnctl
options=(--backup-dir "$work/backup" --backup-full-interval 1s --backup-retention-bytes 100000 --watch-progress-notify-interval 100ms --compaction-batch-limit 10 --backend-batch-interval 20ms)
begin() { start_server "$work" "$port" "${options[@]}" || exit 1; }
ask() { curl -s --max-time 60 -X "$1" ${3:+-d "$3"} "http://$points/$2"; }
status() { curl -s -o /dev/null -w '%{http_code}' --max-time 60 -X "$1" ${3:+-d "$3"} "http://$points/$2"; }
begin

# The protocol.
names=$(ask GET '' | sed 's/=.*//')
check "the list has $(wc -w <<<"$names") names" grep -q raftBeforeSave <<<"$names"
expect "set" 204 "$(status PUT raftBeforeSave 'sleep(1)')"
expect "told" 'sleep(1)' "$(ask GET raftBeforeSave)"
expect "in the list" 'raftBeforeSave=sleep(1)' "$(ask GET '' | grep raftBeforeSave=)"
expect "a put passes it" OK "$(etcdctl put a 1)"
check "and is counted" test "$(ask GET raftBeforeSave/count)" -ge 1
expect "off" 204 "$(status DELETE raftBeforeSave)"
expect "off twice" 400 "$(status DELETE raftBeforeSave)"
expect "no such name" 400 "$(status PUT nowhere panic)"
expect "no such name to tell" 404 "$(status GET nowhere)"
expect "no such terms" 400 "$(status PUT raftBeforeSave explode)"
expect "another method" 405 "$(status POST raftBeforeSave panic)"
expect "several at once" 204 "$(status PUT failpoints 'beforeCommit=1*off;afterCommit=1*off')"
begin_ms=$(date +%s%3N)
ask PUT raftBeforeSave '1*sleep(700)->off'
etcdctl put a 2 >/dev/null
check "a sleep holds a put up" test $(($(date +%s%3N) - begin_ms)) -ge 700
ask DELETE raftBeforeSave

# Death at each: writes that were acknowledged before are there afterwards, and the store is consistent.
written=0
put_some() { # COUNT: stops at the first that is not acknowledged
    local i
    for i in $(seq "$1"); do
        etcdctl $impatient put "key$((written % 50))" "$((written + 1))" >/dev/null 2>&1 || return 1
        written=$((written + 1))
    done
}
drive() { # requests that make the member pass NAME; repeated if it is not reached in time
    local turn
    for turn in 1 2 3; do
        is_gone "$server_pid" || drive_once "$1"
    done
}
drive_once() {
    case $1 in
    backupSmallSegment) etcdctl put other 0; sleep 0.2; etcdctl put key1 0; sleep 0.2 ;;
    backup*)
        case $1 in
        backup*Seal | backupAfterRename) ask PUT backupSmallSegment return ;;
        backupBeforeRun) rm -rf "$work/backup" ;; # its folder is gone: a new run begins
        esac
        etcdctl $impatient put other 0
        sleep 0.2
        etcdctl $impatient put other 0
        sleep 2
        ;;
    compact*) etcdctl $impatient compaction "$(etcdctl $impatient get a -w json | jq .header.revision)" --physical ;;
    defrag*) etcdctl $impatient defrag ;;
    beforeProgressIfSync) (echo 'watch a'; sleep 0.5; echo progress; sleep 0.5) | timeout 3 etcdctl watch -i ;;
    beforeSyncWatchers | beforeSendWatchResponse) timeout 3 etcdctl watch --rev="$(etcdctl $impatient get a -w json | jq .header.revision)" --prefix key ;;
    *) put_some 20 ;;
    esac
} >/dev/null 2>&1
for name in $names; do
    case $name in
    beforeApplyOneConfChange | beforePublishing | walSyncError | beforeMoveVictims) continue ;; # tested below, or impossible to force
    *Snap | *Snapshot | raftBefore*Send | raftDropHeartbeat | raftAfterWALRelease | applyIsSkipped | trialLevel) continue ;; # tests/chaos
    esac
    put_some 20
    ask PUT "$name" panic
    drive "$name" &
    driver=$!
    put_some 3
    if ! within $LIMIT_S is_gone "$server_pid"; then
        fails "$name does not kill"
        ask DELETE "$name"
        continue
    fi
    wait "$server_pid"
    died=$?
    wait "$driver"
    begin
    found=$(etcdctl get key --prefix --print-value-only | sort -n | tail -1)
    check "$name: dead ($died), back, $written acknowledged, $found there" \
        test "$died" = 2 -a "$found" -ge "$written" -a "$found" -le $((written + 61))
    written=$found
    case $name in
    backup*)
        is_caught_up() { [ "$(curl -s "http://127.0.0.1:$port/metrics" | awk '$1 == "cairn_backup_last_revision" { print $2 }')" = "$(etcdctl get a -w json | jq .header.revision)" ]; }
        check "$name: the backup goes on" within $LIMIT_S is_caught_up
        check "$name: what is kept is good" within $LIMIT_S "$CTL" backup verify "$work/backup"
        rm -rf "$work/until"
        check "$name: the newest state can be restored" "$CTL" snapshot restore --backup-dir "$work/backup" --to-revision "$(etcdctl get a -w json | jq .header.revision)" --data-dir "$work/until"
        ;;
    esac
done

# Errors of the disk: the member goes on, and the backup catches up.
for name in backupBeforeWrite backupBeforeSync backupFullBlock; do
    ask PUT $name 'return("full")'
    expect "$name fails: a put is acknowledged" OK "$(etcdctl put a $name)"
    is_behind() { [ "$(curl -s "http://127.0.0.1:$port/metrics" | awk '$1 == "cairn_backup_behind" { print $2 }')" = "$1" ]; }
    check "and the backup says that it is behind" within $LIMIT_S is_behind 1
    etcdctl put a more >/dev/null
    ask DELETE $name
    check "it catches up" within $LIMIT_S is_behind 0
    check "what is kept is good" "$CTL" backup verify "$work/backup"
done

# A defrag that fails in the middle leaves everything as it was.
ask PUT defragCopy 'return("full")'
check "a defrag that finds the disk full is refused" test "$(etcdctl defrag 2>&1 | grep -c '^Failed to defragment.*too little space')" = 1
ask DELETE defragCopy
check "nothing is left of it" test ! -e "$work/data/member/store.defrag"
expect "and the member goes on" OK "$(etcdctl put a 3)"
check "the next one works" etcdctl defrag

put_some 3
ask PUT walSyncError 'return("disk")'
etcdctl $impatient put key1 lost >/dev/null 2>&1
within $LIMIT_S is_gone "$server_pid"
wait "$server_pid"
expect "a sync that fails ends the member" 1 $?
begin
check "and it starts again" test "$(etcdctl get key --prefix --print-value-only | grep -v lost | sort -n | tail -1)" -ge "$written"
stop_server TERM

# From the environment; the listener of its own.
rm -rf "$work/data"
peer=http://127.0.0.1:$((port + 1))
peer_urls="--listen-peer-urls=$peer --initial-advertise-peer-urls=$peer --initial-cluster=default=$peer"
GOFAIL_FAILPOINTS='beforePublishing=panic;unknown=panic' timeout 120 "$CAIRND" --data-dir "$work/data" \
    --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" $peer_urls >"$work/log2" 2>&1
expect "beforePublishing, set by the environment, kills" 2 $?
GOFAIL_FAILPOINTS='beforePublishing=boom' timeout 120 "$CAIRND" --data-dir "$work/data" >"$work/log2" 2>&1
expect "terms in the environment that cannot be read end it" 1 $?
finish
