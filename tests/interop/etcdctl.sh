#!/usr/bin/env bash
# The same commands of etcdctl against our server and a real etcd; what they print must be equal. Identity, sizes,
# generated ids, times and ports are evened out first. LONG=1 adds `check perf`, a minute long.
#
#   CAIRND=bin/cairnd ETCD=build/interop/etcd37 ETCDCTL=build/interop/etcdctl37 tests/interop/etcdctl.sh
. "$(dirname "$0")/lib.sh"
ETCDCTL=${ETCDCTL:-$peers/etcdctl37}
start_server ours "${CAIRND:-$root/bin/cairnd}" && ours=$port || exit 1
start_server etcd "${ETCD:-$peers/etcd37}" && theirs=$port || exit 1
equal=0 differ=0

ctl() { timeout 60 "$ETCDCTL" --endpoints "http://127.0.0.1:$endpoint" "$@" 2>&1; }

declare -A ids # asked for while everybody may
for endpoint in "$ours" "$theirs"; do
    ids[$endpoint]=$(ctl endpoint status -w fields | awk -F' : ' '/"ClusterID"/ {c = $2} /"MemberID"/ {m = $2} END {print c, m}')
done

# Which server it was must not show: names for its port, its ids, times, sizes, hashes and lease ids. An id may be
# 2^63 and more: arithmetic keeps its bits, where printf alone would take the largest signed number.
even_out() {
    local cluster member
    read -r cluster member <<<"${ids[$endpoint]}"
    sed -E -e "s/$cluster/CLUSTER/g; s/$member/MEMBER/g; s/$(printf %x $((member)))/MEMBER/g; s/$(printf %x $((cluster)))/CLUSTER/g" \
        -e "s/127\.0\.0\.1:($endpoint|$((endpoint + 1)))/SERVER/g; s/took = [^ ]*/took = T/; s/took [0-9.]+[mµu]?s/took T/" \
        -e 's/[0-9.]+ [kKMG]?B\b/SIZE/g; s/"(dbSize|dbSizeInUse|raftIndex|raftAppliedIndex|raft_term|raftTerm|hash|totalSize|db_size|db_size_in_use)":[0-9]+/"\1":N/g' \
        -e 's/"took":"[^"]*"/"took":"T"/g; s/"(ID|id|lease)":[0-9]{15,}/"\1":LEASE/g; s/[0-9a-f]{16}/LEASE/g; s/"(Lease|Hash|Took|RaftIndex|RaftTerm|RaftAppliedIndex|DBSize|DBSizeInUse|DBSizeQuota)" : .*/"\1" : N/' \
        -e 's/[0-9]+%/PERCENT/; s/(true|false)(,| *[│|]) *(true|false)(,| *[│|]) *[0-9]+(,| *[│|]) *[0-9]+(,| *[│|]) *[0-9]+/\1, \3, TERM, INDEX, APPLIED/' \
        -e 's/^\{"(level|ts)":.*"error":"([^"]*)"\}$/LOG \2/; s/ [0-9.]+[mµu]?s [│|]/ T |/' -e '/^[┌├└+]/d' \
        -e 's/remaining\([0-9]+s\)/remaining(T)/g; s/"ttl":[0-9]+/"ttl":N/g' \
        -e "s#$work/[a-z]+#WORK#g; s/in [0-9.]+[mµ]?s/in T/; s/finished [0-9A-Z:.+-]+/finished T/"
}

# For tables: a column's width follows the longest cell.
squeeze() { sed -E 's/ +/ /g'; }

# same NAME COMMAND...: COMMAND is run for each server, with $endpoint set; outputs and status must be equal.
same() {
    local name=$1 a b
    shift
    endpoint=$ours a=$("$@"; echo "status $?")
    endpoint=$theirs b=$("$@"; echo "status $?")
    a=$(endpoint=$ours even_out <<<"$a" | squeeze) b=$(endpoint=$theirs even_out <<<"$b" | squeeze)
    if [ "$a" = "$b" ]; then
        equal=$((equal + 1))
        [ "${VERBOSE:-}" ] && printf '  ok   %s\n%s\n' "$name" "$a"
    else
        differ=$((differ + 1))
        printf '  FAIL %s: ours (<) and etcd (>)\n' "$name"
        diff <(echo "$a") <(echo "$b") | sed 's/^/       /'
    fi
    return 0
}
c() { same "$*" ctl "$@"; }

for key in a b c/1 c/2 c/3 'key with blanks' $'bytes\x01'; do c put "$key" "value of $key"; done
c put a second --prev-kv
c put a -w json -- -dashes
c put a --ignore-value
c put none --ignore-value
c put a x --lease=1234
c get a
c get a -w json
c get a -w fields
c get --prefix c/ --keys-only
c get --prefix '' --limit 2
c get --from-key b --sort-by=MODIFY --order=DESCEND
c get b c/3 -w json
c get --prefix c/ --count-only -w fields
c get a --rev 2
c get a --rev 9999
c get a --consistency s
c get ''
c get none
c del none
c del b --prev-kv
c del --prefix c/ -w json
c del --from-key zzz
txn() { printf '%s\n' "$@" | ctl txn; }
same 'txn that succeeds' txn 'value("a") = "-dashes"' 'version("zz") = "0"' '' 'put t 1' 'get a' '' 'del a' ''
same 'txn that fails' txn 'mod("a") < "1"' '' 'put t 1' '' 'del t' 'get --prefix c/' ''
same 'txn with a key twice' txn '' 'put t 1' 'put t 2' '' ''
txn_json() { printf '%s\n' 'create("a") > "0"' '' 'put u 1' 'get u' '' '' '' | ctl txn -w json; }
same 'txn -w json' txn_json

# Ends a command in the background, which runs below a function and `timeout`.
finish() {
    {
        pkill "-${2:-TERM}" -P "$1"
        [ "${2:-}" ] || kill "$1"
        wait "$1"
    } 2>/dev/null
    return 0
}

# How many messages watches have been sent: one more says that a watch is there.
watch_messages() { curl -s -m 30 "http://127.0.0.1:$endpoint/metrics" | awk '/^grpc_server_msg_sent_total.*"Watch"/ { n += $2 } END { print n + 0 }'; }
more_messages() { [ "$(watch_messages)" -gt "$1" ]; }
settled() { # FILE: nothing was added to it for a second and a half
    local before=x now
    while now=$(stat -c %s "$1") && [ "$now" != "$before" ]; do before=$now; sleep 1.5; done
}

watch() { # what a watch prints for changes made before and during it
    local pid before
    before=$(watch_messages)
    ctl watch "$@" >"$work/watch" &
    pid=$!
    within more_messages "$before"
    ctl put w/1 one >/dev/null
    ctl put w/2 two >/dev/null
    ctl del w/1 >/dev/null
    ctl put w/2 three >/dev/null
    settled "$work/watch"
    finish "$pid"
    cat "$work/watch"
}
same 'watch --prefix' watch --prefix w/
same 'watch --prev-kv' watch --prefix w/ --prev-kv
same 'watch --rev' watch --prefix w/ --rev 2
same 'watch a range' watch w/1 w/2
same 'watch -w json' watch w/2 -w json
same 'watch from a future revision' watch w/2 --rev 99999

lease() {
    local id
    id=$(ctl lease grant 500 | awk '{print $2}')
    ctl put leased 1 --lease="$id"
    ctl get leased -w fields
    ctl lease timetolive "$id"
    ctl lease timetolive "$id" --keys
    ctl lease timetolive "$id" --keys -w json
    ctl lease keep-alive "$id" --once
    ctl lease list
    ctl lease list -w json
    ctl lease revoke "$id"
    ctl lease revoke "$id"
    ctl lease timetolive "$id"
    ctl lease keep-alive "$id" --once
    ctl get leased
}
same 'lease' lease
c lease grant 0
c lease grant 9000000001
c lease list

c compaction 5
c compaction 5
c compaction 99999
c compaction 10 --physical
c get a --rev 3
same 'watch from a compacted revision' watch w/2 --rev 3

c endpoint health
c endpoint health -w json
c endpoint health -w table
c endpoint status
c endpoint status -w json
c endpoint status -w table
c endpoint status -w fields
hashkv() { ctl endpoint hashkv "$@" | sed -E 's/, [0-9]+/, HASH/; s/([|│]) +[0-9]{6,} +[|│]/\1 HASH |/'; } # it covers lease ids, which each server draws; the part snapshots compares it
same 'endpoint hashkv' hashkv
same 'endpoint hashkv -w table' hashkv -w table
same 'endpoint hashkv -w json' hashkv -w json
c endpoint hashkv --rev 9999
c alarm list
c alarm disarm
c defrag
c member list
c member list -w table
c member list -w json
c version
c nonsense

snapshot() {
    rm -f "$work/file.db"
    ctl snapshot save "$work/file.db" | grep -v -e '^{' -e 'Snapshot saved'
    test -s "$work/file.db" && echo saved
}
same 'snapshot save' snapshot

lock() { ctl lock "$1" -- echo inside; }
same 'lock with a command' lock mutex
same 'nothing is left of the lock' ctl get --prefix mutex --keys-only
locks() { # one after the other, never two at once
    local i
    for i in 1 2 3 4; do ctl lock shared -- sh -c "echo in >>$work/locks; sleep 0.05; echo out >>$work/locks" & done >/dev/null
    wait $(jobs -p | tail -4)
    uniq -c "$work/locks" | awk '$1 > 1' | wc -l
    rm -f "$work/locks"
}
same 'locks do not overlap' locks
elect() {
    local pid
    ctl elect boss first >"$work/elect" &
    pid=$!
    within test -s "$work/elect"
    settled "$work/elect"
    "$ETCDCTL" --endpoints "http://127.0.0.1:$endpoint" elect --listen boss >"$work/listen" 2>&1 &
    local listens=$!
    within test -s "$work/listen"
    settled "$work/listen"
    { kill "$listens" && wait "$listens"; } 2>/dev/null
    finish "$pid" INT
    sed -E 's#^boss/[0-9a-f]+#boss/KEY#' "$work/elect" "$work/listen"
}
same 'elect' elect

mirror() {
    local pid
    ctl del --prefix from/ >/dev/null
    ctl put from/a 1 >/dev/null
    ctl make-mirror --prefix from/ --dest-prefix to/ "http://127.0.0.1:$endpoint" >/dev/null &
    pid=$!
    mirrored() { [ "$(ctl get --prefix to/ --keys-only | grep . | xargs)" = "$1" ]; }
    within mirrored to/a
    ctl put from/b 2 >/dev/null
    ctl del from/a >/dev/null
    within mirrored to/b
    finish "$pid"
    ctl get --prefix to/
}
same 'make-mirror' mirror

if [ "${LONG:-}" ]; then
    endpoint=$ours
    if ctl check perf --load s | tee "$work/perf" | grep -q FAIL; then
        differ=$((differ + 1))
        cat "$work/perf"
    else
        equal=$((equal + 1))
    fi
fi

# --- users and roles: last, for then nobody may anything. Whose shortcoming it is must not show in the time of a login. ------------
ok_or_error() { ctl "$@" | sed -E 's/^\{"level".*//' | grep .; }
a() { same "auth: $*" ok_or_error "$@"; }
a user add root:pw
a user add root:pw
a user grant-role root root
a user grant-role root root
a user grant-role nobody root
a user grant-role root none
a user add alice:pw
a user add bob --no-password
a user add '' --no-password
a user list
a user get alice
a user get none
a user get alice -w json
a user delete none
a role add r
a role add r
a role add other
a role list
a role list -w json
a role get none
a role get root
a role grant-permission r readwrite a c
a role grant-permission r read d
a role grant-permission r write w/ --prefix
a role grant-permission r read z --from-key
a role grant-permission r read b a
a role grant-permission none read b
a role get r
a role get r -w json
a role revoke-permission r d x
a role revoke-permission r d
a user grant-role alice r
a user grant-role alice other
a user get alice --detail
a user revoke-role alice none
a role delete other
a role delete other
a user get alice
passwd() { ok_or_error user passwd alice --interactive=false <<<pw2; }
same 'auth: user passwd' passwd
a auth status
a auth enable
a auth enable
r=(--user root:pw)
u=(--user alice:pw2)
for who in '' 'alice:wrong' 'none:pw' 'bob:pw'; do a get a ${who:+--user "$who"}; done
a "${u[@]}" put a 1
a "${u[@]}" put c 1
a "${u[@]}" get a
a "${u[@]}" get a c
a "${u[@]}" get a d
a "${u[@]}" get z --from-key
a "${u[@]}" get y --from-key
a "${u[@]}" get '' --prefix
a "${u[@]}" get a --consistency s
a "${u[@]}" get y --consistency s
a "${u[@]}" put w/1 1
a "${u[@]}" put w/1 1 --prev-kv
a "${u[@]}" get w/1
a "${u[@]}" del w/1 --prev-kv
a "${u[@]}" del w/1
a "${u[@]}" del a d
a "${u[@]}" del a c
auth_txn() { printf '%s\n' "${@:2}" | ctl --user "$1" txn | sed -E 's/^\{"level".*//' | grep .; }
same 'auth: txn that is allowed' auth_txn alice:pw2 'version("a") = "0"' '' 'put a 1' '' 'get b' ''
same 'auth: txn with another compare' auth_txn alice:pw2 'version("y") = "0"' '' 'put a 1' '' 'get b' ''
same 'auth: txn with another branch' auth_txn alice:pw2 'version("a") = "0"' '' 'put a 1' '' 'get y' ''
same 'auth: txn that only reads' auth_txn alice:pw2 '' 'get a' 'get y' '' ''
a "${u[@]}" watch y
a "${u[@]}" compaction 2
a "${u[@]}" defrag
a "${u[@]}" alarm disarm
a "${u[@]}" alarm list
a "${u[@]}" member remove 123
a "${u[@]}" move-leader 123
a "${u[@]}" snapshot save "$work/denied.db"
a "${u[@]}" endpoint hashkv
a "${u[@]}" user list
a "${u[@]}" user get alice
a "${u[@]}" user get root
a "${u[@]}" role get r
a "${u[@]}" role get root
a "${u[@]}" auth disable
a lease grant 100
a lease list
leases() { # a key of root's on a lease, then alice
    local id
    id=$(ctl "${r[@]}" lease grant 600 | grep -o '[0-9a-f]\{16\}')
    ctl "${r[@]}" put y 1 --lease="$id"
    ctl "${u[@]}" put a 1 --lease="$id"
    ctl "${u[@]}" lease revoke "$id"
    ctl "${u[@]}" lease timetolive "$id" | grep -o 'granted with.*TTL([0-9]*s)'
    ctl "${u[@]}" lease timetolive "$id" --keys
    ctl "${u[@]}" lease list
    ctl "${u[@]}" lease keep-alive --once "$id"
    ctl "${r[@]}" lease revoke "$id"
}
hidden() { leases | sed -E 's/^\{"level".*//' | grep .; }
same 'auth: leases' hidden
a "${r[@]}" user delete root
a "${r[@]}" user revoke-role root root
a "${r[@]}" role delete root
a "${r[@]}" user delete alice
a "${u[@]}" get a
a "${r[@]}" auth status
a "${r[@]}" auth disable
a get a

echo "$equal commands equal, $differ differ"
[ "$differ" = 0 ]
