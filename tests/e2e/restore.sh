#!/usr/bin/env bash
# Disaster recovery: three members restored by three commands from one snapshot, and what a restore must refuse or survive: wrong
# flags, damaged, cut and foreign files, kill -9 in the middle, a signal, a full disk, a folder that a killed restore left.
# docs/operations.md ("All members are lost") has these commands.
source "$(dirname "$0")/lib.sh"
source tests/shell/ports.sh
port=$(free_port) || exit 1
CTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
url=http://127.0.0.1:$port
cd "$work" || exit 1
members=()
end_more() {
    for pid in "${members[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    [ -z "${small:-}" ] || umount -l "$small"
}
# complains NAME STATUS PATTERN ARGUMENTS...: what cairnctl says is one line with the pattern, and nothing is left behind.
complains() {
    local name=$1 status=$2 pattern=$3 got
    shift 3
    "$CTL" "$@" >said 2>&1
    got=$?
    expect "$name" "$status" $got
    check "and why" has said "$pattern"
    check "nothing is left" is_clean
    rm -rf default.etcd
}
restore() { "$CTL" snapshot restore "$@" >restore.out 2>&1; }
is_clean() { [ -z "$(ls -d default.etcd new new.wal* new-wal* 2>/dev/null)" ]; }
# fill COUNT SIZE: so many keys through transactions of 64.
fill() {
    python3 - "$url" "$1" "$2" <<'PY'
import base64, json, os, sys, urllib.request
url, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
text = lambda b: base64.b64encode(b).decode()
for k in range(0, count, 64):
    ops = [{"requestPut": {"key": text(b"key%d" % i), "value": text(os.urandom(size))}} for i in range(k, min(k + 64, count))]
    urllib.request.urlopen(urllib.request.Request(url + "/v3/kv/txn", data=json.dumps({"success": ops}).encode()), timeout=60).read()
PY
}

# --- a store with everything in it -----------------------------------------------------------------------------------------
export ETCDCTL_ENDPOINTS=$url CAIRNCTL_ENDPOINTS=$url
check "a member serves" start_server "$work/old" "$port"
fill 500 300
head -c 1000000 /dev/zero | tr '\0' x | etcdctl put large >/dev/null
etcdctl del key1 >/dev/null
"$CTL" compaction 3 >/dev/null
lease=$(etcdctl lease grant 3600 | awk '{ print $2 }')
etcdctl put leased v --lease "$lease" >/dev/null
"$CTL" user add alice --new-user-password secret >/dev/null
"$CTL" role add reader >/dev/null
"$CTL" user grant-role alice reader >/dev/null
"$CTL" --endpoints "$url" snapshot save save.db >/dev/null
hash=$("$CTL" endpoint hashkv -o json | grep -o '"hash": *[0-9]*' | grep -o '[0-9]*$')
revision=$("$CTL" get leased -o json | grep -o '"revision": *[0-9]*' | head -1 | grep -o '[0-9]*$')
stop_server
expect "the file's hash is the server's" "$hash" "$("$CTL" hashkv save.db -o json | grep -o '"hash": *[0-9]*' | grep -o '[0-9]*$')"
expect "the file's revision" "$revision" "$("$CTL" snapshot status save.db -o json | grep -o '"revision": *[0-9]*' | grep -o '[0-9]*$')"

# --- three members, three commands -----------------------------------------------------------------------------------------
# The clock runs from the first command until three members serve the state; its time is printed, not judged.
began_ms=$(date +%s%3N)
cluster=n1=http://127.0.0.1:$((port + 1)),n2=http://127.0.0.1:$((port + 11)),n3=http://127.0.0.1:$((port + 21))
for i in 1 2 3; do
    check "restore of n$i" restore save.db --name n$i --data-dir n$i --initial-cluster "$cluster" \
        --initial-cluster-token restored --initial-advertise-peer-urls http://127.0.0.1:$((port + 10 * i - 9))
    expect "n$i has only its member folder" member "$(ls n$i)"
done
restored_ms=$(date +%s%3N)
for i in 1 2 3; do
    client=$((port + 10 * (i - 1)))
    "$CAIRND" --name n$i --data-dir n$i --listen-client-urls http://127.0.0.1:$client --advertise-client-urls http://127.0.0.1:$client \
        --listen-peer-urls http://127.0.0.1:$((client + 1)) --initial-advertise-peer-urls http://127.0.0.1:$((client + 1)) \
        --initial-cluster "$cluster" --initial-cluster-token restored >n$i.log 2>&1 &
    members[$i]=$!
done
ready() { has n1.log 'ready to serve' && has n2.log 'ready to serve' && has n3.log 'ready to serve'; }
check "all three are ready" within $LIMIT_S ready
all=$url,http://127.0.0.1:$((port + 10)),http://127.0.0.1:$((port + 20))
hashes() { "$CTL" --endpoints "$all" endpoint hashkv --rev "$revision" -o json | grep -o '"hash": *[0-9]*' | sort -u | grep -o '[0-9]*$'; }
same_hash() { [ "$(hashes)" = "$hash" ]; }
check "their hash is the old one" within $LIMIT_S same_hash
echo "  from the backup to three members: $(($(date +%s%3N) - began_ms)) ms, of them $((restored_ms - began_ms)) for the three restores"
expect "three members" 3 "$(etcdctl member list | wc -l)"
expect "the value of a lease" v "$(etcdctl get leased --print-value-only)"
expect "the lease" "$lease" "$(etcdctl lease list | tail -1)"
check "its key" sh -c "etcdctl lease timetolive $lease --keys | grep -q leased"
expect "the large value" 1000000 "$(etcdctl get large --print-value-only | tr -d '\n' | wc -c)"
expect "the user" alice "$(etcdctl user list)"
expect "a write" OK "$(etcdctl put after restore)"
expect "read elsewhere" restore "$(ETCDCTL_ENDPOINTS=http://127.0.0.1:$((port + 20)) etcdctl get after --print-value-only)"
# A member whose disk is lost begins empty, and gets a snapshot: the restored index is above its own.
kill -KILL "${members[3]}"
wait "${members[3]}" 2>/dev/null
rm -rf n3
"$CAIRND" --name n3 --data-dir n3 --listen-client-urls http://127.0.0.1:$((port + 20)) --advertise-client-urls http://127.0.0.1:$((port + 20)) \
    --listen-peer-urls http://127.0.0.1:$((port + 21)) --initial-advertise-peer-urls http://127.0.0.1:$((port + 21)) \
    --initial-cluster "$cluster" --initial-cluster-token restored >n3.log 2>&1 &
members[3]=$!
caught_up() { [ "$(ETCDCTL_ENDPOINTS=http://127.0.0.1:$((port + 20)) etcdctl get after --consistency=s --print-value-only)" = restore ]; }
check "a member that begins empty catches up" within $LIMIT_S caught_up
for i in 1 2 3; do kill "${members[$i]}"; wait "${members[$i]}" 2>/dev/null; done
members=()

# --- a log elsewhere, a revision that grows ---------------------------------------------------------------------------------
peer=http://127.0.0.1:$((port + 1))
own=(--initial-cluster "default=$peer" --initial-advertise-peer-urls "$peer")
check "a log in another folder" restore save.db "${own[@]}" --data-dir b/data --wal-dir b/logs/wal --bump-revision 1000000 --mark-compacted
expect "it is there" wal "$(ls b/logs)"
expect "and not in the data folder" 'store' "$(ls b/data/member)"
check "a member of it serves" start_server "$work/b" "$port" --wal-dir "$work/b/logs/wal"
etcdctl put bumped v >/dev/null
expect "its revision has grown" $((revision + 1000001)) "$(etcdctl get bumped -w json | grep -o '"revision":[0-9]*' | head -1 | grep -o '[0-9]*')"
check "older ones are compacted" sh -c "etcdctl get large --rev $revision $impatient 2>&1 | grep -q 'has been compacted'"
stop_server

# --- an older revision ------------------------------------------------------------------------------------------------------
check "a restore until a revision" restore save.db "${own[@]}" --data-dir until/data --revision $((revision - 2))
check "a member of it serves" start_server "$work/until" "$port"
expect "at this revision" $((revision - 2)) "$("$CTL" get leased -o json | grep -o '"revision": *[0-9]*' | head -1 | grep -o '[0-9]*$')"
expect "without what came later" "0 1" "$("$CTL" get leased --count-only) $("$CTL" get key1 --count-only)"
expect "and a write follows" OK "$(etcdctl put leased again)"
stop_server

# --- what is refused --------------------------------------------------------------------------------------------------------
complains "no file" 128 'requires exactly one argument' snapshot restore
complains "a file that is not there" 1 'No such file' snapshot restore none.db
complains "an unknown flag" 128 'has no flag --datadir' snapshot restore save.db --datadir x
complains "half of --bump-revision" 128 'mark-compacted required' snapshot restore save.db --bump-revision 5
complains "a number that is none" 128 'it must be' snapshot restore save.db --bump-revision=-5 --mark-compacted
complains "a bump beyond all revisions" 1 'cannot grow' snapshot restore save.db --bump-revision 9223372036854775807 --mark-compacted
complains "a name that is not in the cluster" 1 "couldn't find local name \"x\"" snapshot restore save.db --name x --data-dir new
complains "a compacted revision" 1 'revision 2 is compacted; the first one that can be restored is 3' snapshot restore save.db --data-dir new --revision 2
complains "a revision that never was" 1 "there is no revision $((revision + 1)); the latest one is $revision" snapshot restore save.db --data-dir new --revision $((revision + 1))
complains "a revision of a file, and a backup" 128 'with --backup-dir use --to-revision' snapshot restore --backup-dir full --revision 5
complains "equal peer URLs" 1 'has duplicate url' snapshot restore save.db --initial-cluster default=http://localhost:2380,b=http://localhost:2380
complains "another peer URL than the cluster's" 1 'but missing from --initial-advertise-peer-urls' snapshot restore save.db --initial-advertise-peer-urls http://localhost:1
complains "no URL" 1 'URL scheme must be' snapshot restore save.db --initial-cluster default
mkdir full && touch full/x
complains "a folder that is not empty" 1 'not empty' snapshot restore save.db --data-dir full
expect "which stays as it was" x "$(ls full)"
complains "a folder of a log that is there" 1 'wal-dir "full" exists' snapshot restore save.db --wal-dir full
head -c -700 save.db >cut.db
complains "a cut file" 1 'the file is cut off: it should have [0-9]* pages' snapshot restore cut.db --data-dir new
head -c -9 save.db >cut9.db
complains "a file whose SHA-256 is cut" 1 'has no SHA-256' snapshot restore cut9.db --data-dir new
head -c 100000 save.db >short.db
complains "a cut one without a check" 1 'cut off' snapshot restore short.db --skip-hash-check
head -c 70000 /dev/urandom >junk.db
complains "a foreign file" 1 'not a bbolt file' snapshot restore junk.db --skip-hash-check
complains "one with a check" 1 'not a bbolt file: .* another program wrote it, or it is encrypted' snapshot restore junk.db
openssl enc -aes-256-cbc -pbkdf2 -pass pass:x -in save.db -out secret.db
complains "an encrypted file" 1 'is encrypted (openssl enc): decrypt it first' snapshot restore secret.db --data-dir new
gzip -c save.db >packed.db
complains "a compressed file" 1 'is compressed (gzip)' snapshot restore packed.db --data-dir new
complains "a folder" 1 'Is a directory' snapshot restore full
cp save.db bad.db
printf 'damage' | dd of=bad.db bs=1 seek=300000 conv=notrunc status=none
complains "a damaged file" 1 'its SHA-256 is wrong' snapshot restore bad.db --data-dir new --wal-dir new-wal
cp save.db page.db
printf 'damage' | dd of=page.db bs=1 seek=$((4096 * 20 + 8)) conv=notrunc status=none
complains "a damaged page" 1 'its SHA-256 is wrong; page 20: ' snapshot restore page.db --data-dir new/deep/er --wal-dir new-wal
complains "one without a check" 1 'damaged: page 20' snapshot restore page.db --skip-hash-check --data-dir new/deep/er --wal-dir new-wal
chmod 400 save.db
check "a file that is only readable" restore save.db --data-dir new
rm -rf new

# --- kill -9 and signals in the middle --------------------------------------------------------------------------------------
check "a larger store" start_server "$work/big" "$port"
fill 40000 1000
"$CTL" --endpoints "$url" snapshot save big.db >/dev/null
stop_server
killed=0
for i in $(seq 40); do
    rm -rf new
    "$CTL" snapshot restore big.db "${own[@]}" --data-dir new >/dev/null 2>&1 &
    pid=$!
    until [ -e new/member.restoring/store ] || is_gone $pid; do sleep 0.005; done
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ -d new/member.restoring ] && [ ! -d new/member ] && killed=1 && break
done
expect "kill -9 leaves an unfinished folder" 1 $killed
"$CAIRND" --data-dir new --listen-client-urls "$url" --advertise-client-urls "$url" --listen-peer-urls "$peer" \
    --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" >refused.log 2>&1
expect "cairnd does not begin empty in it" 1 $?
check "and says what to do" has refused.log 'a restore was interrupted; run .*cairnctl snapshot restore'
check "the next restore" restore big.db "${own[@]}" --data-dir new
expect "leaves the member alone" member "$(ls new)"
mkdir served && mv new served/data
check "which serves" start_server "$work/served" "$port"
expect "all keys" 40000 "$("$CTL" get key --prefix --count-only)"
stop_server
interrupted=0
for i in $(seq 40); do
    "$CTL" snapshot restore big.db "${own[@]}" --data-dir new/deep --wal-dir new-wal >said 2>&1 &
    pid=$!
    until [ -e new/deep/member.restoring/store ] || is_gone $pid; do sleep 0.005; done
    kill -TERM $pid 2>/dev/null
    wait $pid
    [ $? = 5 ] && interrupted=1 && break
    rm -rf new new-wal
done
expect "a signal ends a restore" 1 $interrupted
check "with a word" has said interrupted
check "and nothing is left" is_clean

# --- kill -9 between the renames of the log and of the member -----------------------------------------------------------------
# A preloaded rename() kills the process before it gives this name.
cat >rename.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int rename(const char *from, const char *to)
{
    size_t size = strlen(to), tail = strlen(getenv("AT"));
    if (size >= tail && strcmp(to + size - tail, getenv("AT")) == 0)
        kill(getpid(), SIGKILL);
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}
C
if cc -shared -fPIC -o rename.so rename.c 2>cc.log || cc -shared -fPIC -o rename.so rename.c -ldl 2>cc.log; then
    rm -rf new new-wal*
    killed_at() { # NAME: restores, killed before it gives a folder that name
        AT=$1 ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-} LD_PRELOAD=$work/rename.so \
            "$CTL" snapshot restore save.db "${own[@]}" --data-dir new/data --wal-dir new-wal >said 2>&1
        [ $? = 137 ]
    }
    check "a restore is killed between its renames" killed_at data/member
    expect "the log has its name, the member not" "new-wal new/data/member.restoring" "$(echo new-wal* new/data/*)"
    mkdir mine && touch mine/file
    complains_of_mine() { ! restore save.db "${own[@]}" --data-dir new/data --wal-dir mine && has restore.out 'wal-dir "mine" exists'; }
    check "a folder of somebody else is still refused" complains_of_mine
    expect "and stays" file "$(ls mine)"
    check "the next restore cleans up" restore save.db "${own[@]}" --data-dir new/data --wal-dir new-wal
    expect "the member has its name" "new-wal new/data/member" "$(echo new-wal* new/data/*)"
    expect "and nothing more than others" store "$(ls new/data/member)"
    rm -rf new new-wal
    check "it is killed again" killed_at data/member
    check "a restore with a log elsewhere" restore save.db "${own[@]}" --data-dir new/data --wal-dir new-wal2
    expect "deletes the old log too" "new-wal2 new/data/member" "$(echo new-wal* new/data/*)"
    rm -rf new new-wal*
    check "it is killed before the first rename" killed_at new-wal
    check "and begun again" restore save.db "${own[@]}" --data-dir new/data --wal-dir new-wal
    mv new/data served/two
    check "a member of it serves" start_server "$work/served2" "$port" --data-dir "$work/served/two" --wal-dir "$work/new-wal"
    expect "its key" v "$(etcdctl get leased --print-value-only)"
    stop_server
    rm -rf new new-wal
else
    echo "  skip a kill between the renames: no C compiler: $(head -1 cc.log)"
fi

# --- a data folder of etcd's -------------------------------------------------------------------------------------------------
mkdir -p foreign/member/snap foreign/member/wal && echo db >foreign/member/snap/db
"$CAIRND" --data-dir foreign --listen-client-urls "$url" --advertise-client-urls "$url" --listen-peer-urls "$peer" \
    --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" >refused.log 2>&1
expect "cairnd does not begin in a folder of etcd" 1 $?
check "it names the way in" has refused.log 'is a data folder of etcd.*cairnctl import etcd-data-dir'
expect "and leaves the folder as it was" foreign/member/snap/db "$(find foreign -type f)"

# --- a full disk ------------------------------------------------------------------------------------------------------------
if [ "$(id -u)" = 0 ] && mkdir "$work/small" && mount -t tmpfs -o size=30m tmpfs "$work/small" 2>/dev/null; then
    small=$work/small
    "$CTL" snapshot restore big.db "${own[@]}" --data-dir small/data >said 2>&1
    expect "a disk that is too small" 1 $?
    check "is said" has said 'space'
    expect "and left empty" "" "$(ls small)"
else
    echo "  skip a full disk: no root or no tmpfs"
fi
finish
