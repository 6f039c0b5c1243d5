#!/usr/bin/env bash
# The same commands on three members of ours and on three of a real etcd, one after the other on the same ports, so that
# even the ids are the same; what etcdctl prints must be equal. Sizes, terms, times and the ids of added members are
# evened out.
#
#   CAIRND=bin/cairnd ETCD=build/interop/etcd37 ETCDCTL=build/interop/etcdctl37 tests/interop/members.sh
. "$(dirname "$0")/lib.sh"
ETCDCTL=${ETCDCTL:-$peers/etcdctl37}
base=$(free_port)

client() { echo "http://127.0.0.1:$((base + 10 * $1))"; }
peer() { echo "http://127.0.0.1:$((base + 10 * $1 + 1))"; }
all=$(client 1),$(client 2),$(client 3)
three=n1=$(peer 1),n2=$(peer 2),n3=$(peer 3)

start() { # binary, number, initial cluster, flags
    local binary=$1 i=$2 cluster=$3
    shift 3
    "$binary" --name "n$i" --data-dir "$work/$kind/n$i" --listen-client-urls "$(client "$i")" \
        --advertise-client-urls "$(client "$i")" --listen-peer-urls "$(peer "$i")" \
        --initial-advertise-peer-urls "$(peer "$i")" --initial-cluster "$cluster" --initial-cluster-token interop \
        "$@" >>"$work/$kind/n$i.log" 2>&1 &
    started+=($!)
}
ctl() { timeout 60 "$ETCDCTL" --endpoints "${endpoints:-$all}" "$@" 2>&1; }
id() { ctl member list | sed -n "s/^\([0-9a-f]*\), [a-z]*, $1, .*/\1/p"; }
decimal() { printf '%u' "0x$1"; }

# show NAME COMMAND...: what it prints, sorted by lines, and its status. The order of members is that of their ids.
show() {
    local name=$1 out status
    shift
    out=$("$@")
    status=$?
    printf '== %s\n%s\nstatus %s\n' "$(even_out <<<"$name")" "$(even_out <<<"$out")" "$status"
}
c() { show "$*" ctl "$@"; }
added=none added_decimal=none
# Also evened out: which of the three answered, the order of ids, blanks in JSON.
even_out() {
    sed -E -e "s/\b$added\b/ADDED/g; s/\b$added_decimal\b/ADDED/g" \
        -e 's/"(member_id|MemberID)" ?: ?"?[0-9A-Z]+"?/"\1":N/' \
        -e '/^\{"/ s/", "/","/g; /^\{"/ s/\}, \{/},{/g; /^\{"/ s/, "/,"/g' -e '/^\{"header/ { s/(\{"ID)/\n\1/g; s/\}\]\}$/}/; s/\},?$/}/gm }' \
        -e '/^ETCD_INITIAL_CLUSTER=/ s/[",]/\n/g' \
        -e 's/[0-9.]+ [kKMG]?B\b/SIZE/g; s/[0-9]+%/PERCENT/; s/took = [^ ]*/took = T/; s/"took":"[^"]*"/"took":"T"/g' \
        -e 's/"(raft_term|raftTerm|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse|raft_index|revision)":"?[0-9]+"?/"\1":N/g' \
        -e 's/"(RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse|DBSizeQuota|Revision)" : .*/"\1" : N/' \
        -e 's/(true|false)(,| *[│|]) *(true|false)(,| *[│|]) *[0-9]+(,| *[│|]) *[0-9]+(,| *[│|]) *[0-9]+/\1, \3, TERM, INDEX, APPLIED/' \
        -e 's/, 3\.5\.0, /, 3.7.0, /; s/"storageVersion":"3.5.0"/"storageVersion":"3.7.0"/' \
        -e 's/^\{"(level|ts)":.*"error":"([^"]*)"\}$/LOG \2/; /^[┌├└+]/d; s/ +/ /g' | sort
}
gateway() { curl -s --max-time 60 "$(client "$1")$2" -d "$3"; }

# A new member of etcd takes some seconds to learn that its storage is 3.7's.
script() { # binary, flags that keep learners what they are
    local binary=$1 i
    shift
    for i in 1 2 3; do start "$binary" $i "$three" "$@"; done
    all_healthy() { [ "$(ctl endpoint health 2>/dev/null | grep -c 'is healthy')" = 3 ]; }
    within all_healthy
    # The members count as there when they have been connected for 5 s; this is refused all the same, but for another reason.
    all_connected() { grep -q 'Peer URLs already exists' <<<"$(ctl member add n4 --peer-urls="$(peer 2)")"; }
    sleep 6
    within all_connected
    n1_leads() {
        ctl move-leader "$(id n1)" >/dev/null
        endpoints=$(client 1) ctl endpoint status | grep -q ', true, false'
    }
    within n1_leads
    local n1 n2
    n1=$(id n1) n2=$(id n2)

    c member list
    c member list -w table
    c member list -w json
    c member list -w fields
    c endpoint status --cluster
    c endpoint status -w table
    c endpoint status -w json
    c endpoint health --cluster
    c endpoint hashkv --cluster
    c move-leader "$n1"
    c move-leader "$n2"
    c move-leader "$n1" -w json
    c move-leader 1234
    c move-leader nonsense
    c member add n4
    c member add n4 --peer-urls=nonsense
    c member add n4 --peer-urls="$(peer 2)"
    c member add n4 --peer-urls="http://127.0.0.1:1/path"
    c member remove 1234
    c member remove nonsense
    c member update 1234 --peer-urls="$(peer 4)"
    c member update "$n2" --peer-urls="$(peer 1)"
    c member promote 1234
    c member promote "$n2"
    show "gateway: list" gateway 1 /v3/cluster/member/list '{}'
    show "gateway: bad add" gateway 1 /v3/cluster/member/add '{"peerURLs":[]}'
    show "gateway: remove nobody" gateway 2 /v3/cluster/member/remove '{"ID":"77"}'
    show "gateway: lead, asked of one who does not" gateway 2 /v3/maintenance/transfer-leadership '{"targetID":"77"}'
    show "gateway: lead to nobody" gateway 1 /v3/maintenance/transfer-leadership '{"targetID":"77"}'
    show "gateway: lead to a member" gateway 1 /v3/maintenance/transfer-leadership "{\"targetID\":\"$(decimal "$n2")\"}"
    ctl move-leader "$n1" >/dev/null

    local out
    out=$(ctl member add n4 --peer-urls="$(peer 4)" --learner)
    added=$(sed -n 's/^Member *\([0-9a-f]*\) added.*/\1/p' <<<"$out")
    added_decimal=$(decimal "$added")
    show "member add --learner" echo "$out"
    c member list
    c member list -w json
    c member add n5 --peer-urls="$(peer 5)" --learner
    c member promote "$added"
    c move-leader "$added"
    start "$binary" 4 "$three,n4=$(peer 4)" --initial-cluster-state existing "$@"
    n4_answers() { endpoints=$(client 4) ctl endpoint status | grep -q ', false, true, '; }
    n4_is_listed() { ctl member list | grep -q 'started, n4, .*http.*http'; }
    within n4_answers
    within n4_is_listed
    sleep 1
    c member list
    endpoints=$(client 4)
    c endpoint status
    c endpoint status -w json
    c endpoint health
    c put a b
    c get a
    c get a --consistency=s
    c member list
    c lease grant 10
    c alarm list
    c compaction 1
    c endpoint hashkv
    c move-leader "$n1"
    c watch a
    show "gateway: put on a learner" gateway 4 /v3/kv/put '{"key":"YQ==","value":"Yg=="}'
    show "/readyz of a learner" curl -s --max-time 60 "$(client 4)/readyz?verbose"
    show "/health of a learner" curl -s --max-time 60 "$(client 4)/health"
    unset endpoints
    c move-leader "$added"
    sleep 5
    c member promote "$added"
    c member promote "$added"
    c member update "$added" --peer-urls="http://127.0.0.1:$((base + 99))"
    c member list
    c member remove "$added"
    c member remove "$added"
    c member list
}

for kind in ours etcd; do
    mkdir -p "$work/$kind"
    added=none added_decimal=none
    if [ $kind = ours ]; then
        script "${CAIRND:-$root/bin/cairnd}"
    else
        script "${ETCD:-$peers/etcd37}"
    fi >"$work/$kind.out"
    for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
    started=()
    sleep 0.5
done
commands=$(grep -c '^==' "$work/ours.out")
if [ "${VERBOSE:-}" ]; then cat "$work/ours.out"; fi
if diff -U4 "$work/etcd.out" "$work/ours.out"; then
    echo "$commands commands, all equal"
else
    echo "$commands commands; - is etcd's, + is ours"
    exit 1
fi
