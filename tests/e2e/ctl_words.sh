#!/usr/bin/env bash
# Words of cairnctl beyond etcdctl's own list: API v2's for old scripts, locks between processes, make-mirror, check, and the
# commands on a data folder that no member uses. tests/e2e/ctl_etcd.sh compares etcdctl's words with the real etcdctl.
source "$(dirname "$0")/lib.sh"
CTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
port=$(free_base)
check "a node starts" start_server "$work/node" "$port"
export ETCDCTL_ENDPOINTS=127.0.0.1:$port CAIRN_ENDPOINTS=127.0.0.1:$port
cd "$work" || exit 1
v2() { "$CTL" etcdctl "$@" 2>"$work/err"; }
# says NAME STATUS OUTPUT ARGUMENTS...: a v2 word, its exit code and its output; one line on stderr names what is used.
says() {
    local name=$1 status=$2 wanted=$3 got
    shift 3
    got=$(v2 "$@")
    expect "$name: exit code" "$status" $?
    expect "$name: output" "$wanted" "$got"
    expect "$name: one note" 1 "$(grep -c '^note: .* of etcd.s API v2; ".*" is used$' "$work/err")"
}

# --- limits and endpoints that no command can have --------------------------------------------------------------------------
v2 put kept 1 >said
for words in "get kept" "put kept 2" "member list"; do
    # shellcheck disable=SC2086
    v2 --command-timeout=0s $words >said
    expect "--command-timeout=0s $words: exit code" 1 $?
    expect "and etcdctl's error" "Error: context deadline exceeded" "$(cat err)"
done
expect "nothing was sent" 1 "$(etcdctl get kept --print-value-only)"
env -u ETCDCTL_ENDPOINTS "$CTL" etcdctl --endpoints=127.0.0.1:notaport get kept >said 2>err
expect "a malformed endpoint: etcdctl's exit code" 1 $?
check "and which one it is" has err '"127.0.0.1:notaport" is not an endpoint'
"$CTL" --endpoints=127.0.0.1:notaport get kept >said 2>&1
expect "the exit code of cairnctl itself" 128 $?
v2 del kept >said

# --- words of API v2 -------------------------------------------------------------------------------------------------------
says "set" 0 bar set /foo bar
expect "set is put" bar "$(etcdctl get /foo --print-value-only)"
expect "set reads standard input" piped "$(printf piped | v2 set /foo)"
says "set with the right value" 0 baz set /foo baz --swap-with-value piped
says "set with a wrong value" 4 "" set /foo x --swap-with-value nope
check "and the error of v2" has err '101: Compare failed (/foo)'
says "mk" 0 1 mk /a/b/c 1
says "mk of a key that exists" 4 "" mk /a/b/c 2
check "and the error of v2" has err '105: Key already exists (/a/b/c)'
expect "it stays" 1 "$(etcdctl get /a/b/c --print-value-only)"
says "update" 0 2 update /a/b/c 2
says "update of no key" 4 "" update /none 2
check "and the error of v2" has err '100: Key not found (/none)'
expect "nothing was made" "" "$(etcdctl get /none)"
says "mk with a TTL" 0 t mk /timed t --ttl 300
check "has a lease" sh -c "etcdctl lease timetolive $(etcdctl lease list | tail -1) --keys | grep -q /timed"
says "mkdir" 0 "" mkdir /d
says "mkdir of a folder that exists" 4 "" mkdir /d
says "mkdir of a folder of keys" 4 "" mkdir /a
says "ls" 0 $'/a\n/d\n/foo\n/timed' ls
says "ls /" 0 $'/a\n/d\n/foo\n/timed' ls /
says "ls -p" 0 $'/a/\n/d/\n/foo\n/timed' ls -p /
says "ls of one level" 0 /a/b ls /a
says "ls -r" 0 /a/b/c ls -r /a
says "ls of an empty folder" 0 "" ls /d
says "ls of a key" 0 /foo ls /foo
says "ls of nothing" 4 "" ls /none
for i in $(seq 1500); do echo "put /many/$((i % 3))/$i x"; done >ops
while read -r -d '' part; do printf '\n%s\n\n\n' "$part" | etcdctl txn >/dev/null; done < <(split -l 100 --filter='cat; printf "\0"' ops)
etcdctl put /many/z x >/dev/null
says "ls of folders with many keys" 0 $'/many/0\n/many/1\n/many/2\n/many/z' ls /many
expect "ls -r of more than a page" 1501 "$(v2 ls -r /many | wc -l)"
says "updatedir" 0 "" updatedir /d
says "updatedir of nothing" 4 "" updatedir /e
says "setdir" 0 "" setdir /e
says "rmdir" 0 "" rmdir /e
says "rmdir of nothing" 4 "" rmdir /e
says "rmdir of a folder with keys" 4 "" rmdir /a
check "and the error of v2" has err '108: Directory not empty (/a)'
says "rm" 0 'PrevNode.Value: baz' rm /foo
says "rm of nothing" 4 "" rm /foo
says "rm with a wrong value" 4 "" rm /timed --with-value x
says "rm -r" 0 "" rm -r /a
expect "everything below is gone" "" "$(etcdctl get /a --prefix)"
etcdctl put /dd x >/dev/null
says "rm -r of a folder" 0 "" rm -r /d
expect "keys that only begin so stay" /dd "$(etcdctl get /d --prefix --keys-only | head -1)"
says "cluster-health" 0 "$(printf 'member %s is healthy: got healthy result from http://127.0.0.1:%s\ncluster is healthy' \
    "$(etcdctl member list | cut -d, -f1)" "$port")" cluster-health
says "backup" 0 $'Snapshot saved at saved/snapshot.db\nServer version 3.7.0' backup --data-dir ignored --backup-dir saved
check "a snapshot is there" "$CTL" snapshot status saved/snapshot.db
v2 watch -r /w >watched &
pid=$!
changes() { etcdctl put /ww x >/dev/null; etcdctl put /w/k v >/dev/null; is_gone $pid; }
check "watch -r ends after a change below" within $LIMIT_S changes
expect "and shows that alone" $'PUT\n/w/k\nv' "$(cat watched)"
v2 exec-watch -r /w -- sh -c 'echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE' >watched &
pid=$!
seen() { etcdctl put /w/k v2 >/dev/null; has watched 'set /w/k v2'; }
check "exec-watch runs a command with v2's variables" within $LIMIT_S seen
kill $pid
wait $pid 2>/dev/null
expect "the words are cairnctl's too" x "$("$CTL" set own x 2>/dev/null)"

# --- locks -----------------------------------------------------------------------------------------------------------------
for i in 1 2 3 4 5 6; do
    "$CTL" lock shared -- sh -c 'echo in >>order; sleep 0.05; echo out >>order' &
    pids[i]=$!
done
for pid in "${pids[@]}"; do wait "$pid" || fails "a lock"; done
expect "locks exclude each other" "6 in out" "$(paste -d' ' - - <order | sort | uniq -c | xargs)"
expect "and leave nothing" "" "$(etcdctl get shared --prefix)"
"$CTL" lock --ttl 2 dying >held &
pid=$!
check "a lock is held" within $LIMIT_S test -s held
sleep 3
expect "longer than its TTL" 1 "$(etcdctl get dying/ --prefix --keys-only | grep -c .)"
kill -KILL $pid
wait $pid 2>/dev/null
expect "after its holder is killed another gets it" mine "$("$CTL" lock dying echo mine)"

# --- make-mirror -----------------------------------------------------------------------------------------------------------
etcdctl put from/a 1 >/dev/null
"$CTL" make-mirror --prefix from/ --dest-prefix to/ "127.0.0.1:$port" >/dev/null 2>&1 &
pid=$!
mirrored() { [ "$(etcdctl get to/ --prefix | xargs)" = "$1" ]; }
check "a mirror copies" within $LIMIT_S mirrored 'to/a 1'
printf '\nput from/b 2\nput from/c 3\ndel from/a\n\n\n' | etcdctl txn >/dev/null
check "and follows" within $LIMIT_S mirrored 'to/b 2 to/c 3'
expect "a transaction stays one" 1 "$(etcdctl get to/ --prefix -w json | jq '[.kvs[].mod_revision] | unique | length')"
kill $pid
wait $pid 2>/dev/null

# --- a data folder that nothing uses -----------------------------------------------------------------------------------------
head -c 20000000 /dev/zero | tr '\0' x | head -c 1000000 >large
for i in $(seq 20); do etcdctl put "large$i" <large >/dev/null; done
etcdctl del large --prefix >/dev/null
"$CTL" compaction "$(etcdctl get x -w json | jq .header.revision)" --physical >/dev/null
"$CTL" etcdutl defrag --data-dir "$work/node/data" --timeout 1s >said 2>&1
expect "defrag of a folder in use" 1 $?
check "names the process" has said "process $server_pid uses it"
stop_server
before=$(stat -c %s "$work/node/data/member/store")
check "defrag of a folder" "$CTL" etcdutl defrag --data-dir "$work/node/data"
check "makes the store smaller" [ "$(stat -c %s "$work/node/data/member/store")" -lt $((before / 4)) ]
"$CTL" defrag --data-dir "$work/saved" >said 2>&1
expect "defrag of another folder" 1 $?
check "says why" has said 'is not a data folder of Cairn'
expect "migrate" 0 "$("$CTL" etcdutl migrate --data-dir "$work/node/data" --target-version 3.6 >said 2>&1; echo $?)"
expect "says that there is nothing to do" "$work/node/data needs no migration: a data folder of Cairn has no storage version, and the file that \"etcdctl snapshot save\" writes is one of etcd 3.7" "$(cat said)"
expect "which is true" 3.7.0 "$("$CTL" snapshot status saved/snapshot.db -w json | jq -r .version)"
"$CTL" etcdutl migrate --data-dir "$work/saved" --target-version 3.6 >said 2>&1
expect "migrate of another folder" 1 $?
check "says why" has said 'is not a data folder of Cairn'
"$CTL" etcdutl migrate --data-dir "$work/node/data" --target-version 3.4 >said 2>&1
expect "migrate to 3.4" 128 $?
check "the node starts again" start_server "$work/node" "$port"
expect "with its keys" x "$(etcdctl get own --print-value-only)"

# --- check -----------------------------------------------------------------------------------------------------------------
expect "check datascale" 0 "$("$CTL" etcdctl check datascale --auto-compact --auto-defrag >said 2>&1; echo $?)"
check "its judgement" has said '^PASS: Approximate system memory used : [0-9.-]* MB\.$'
check "its compaction" has said '^Compacted with revision'
expect "its keys are deleted" "" "$(etcdctl get /etcdctl-check-datascale/ --prefix --keys-only)"
"$CTL" etcdctl check perf >said 2>&1 &
pid=$!
writes() { etcdctl get /etcdctl-check-perf/ --prefix --limit 1 --keys-only | grep -qa .; }
check "check perf writes" within $LIMIT_S writes
kill $pid
wait $pid
expect "a signal ends it" 5 $?
expect "without its keys" "" "$(etcdctl get /etcdctl-check-perf/ --prefix --keys-only)"
finish
