#!/usr/bin/env bash
# Downgrade jobs on three members of ours and on three of a real etcd, one after the other on the same ports: what etcdctl and
# the gateway answer, by leader and follower, with users on, and what endpoint status shows of it, must be equal.
# The same by cairnctl under the name etcdctl. The deviations in DEVIATIONS.md are left out: the effect of a job, and
# its end.
#
#   CAIRND=bin/cairnd ETCD=build/interop/etcd37 ETCDCTL=build/interop/etcdctl37 tests/interop/downgrade.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ETCDCTL=${ETCDCTL:-$peers/etcdctl37}
base=$(free_base)

client() { echo "http://127.0.0.1:$((base + 10 * $1))"; }
peer() { echo "http://127.0.0.1:$((base + 10 * $1 + 1))"; }
all=$(client 1),$(client 2),$(client 3)
three=n1=$(peer 1),n2=$(peer 2),n3=$(peer 3)
auth=() # --user of the commands that follow

start() { # binary number
    "$1" --name "n$2" --data-dir "$work/$kind/n$2" --listen-client-urls "$(client "$2")" --advertise-client-urls "$(client "$2")" \
        --listen-peer-urls "$(peer "$2")" --initial-advertise-peer-urls "$(peer "$2")" --initial-cluster "$three" \
        --initial-cluster-token interop >>"$work/$kind/n$2.log" 2>&1 &
    started+=($!)
}
ctl() { timeout 60 "$ETCDCTL" --command-timeout=30s --dial-timeout=30s --endpoints "${endpoints:-$all}" ${auth[@]+"${auth[@]}"} "$@" 2>&1; }
gateway() { curl -s --max-time 60 -w '\nHTTP %{http_code}\n' ${token:+-H "Authorization: $token"} "$(client "$1")$2" -d "$3"; }
# Also left out: that etcdctl tried a token on a member that had not applied its user's login yet, and logged in anew.
even_out() {
    sed -E -e '/^\{"level".*invalid auth token/d' -e 's/"(cluster_id|member_id|revision|raft_term)":"?[0-9]+"?/"\1":N/g; s/\xc2\xa0/ /g; s/"ts":"[^"]*"/"ts":T/' \
        -e '/^\{/ s/": "/":"/g; /^\{/ s/, "/,"/g' -e '/^\{"level"/ s/.*"error":"([^"]*)".*/LOG \1/' \
        -e 's/,"(dbSize|dbSizeInUse|dbSizeQuota|raftIndex|raftTerm|raftAppliedIndex|leader)":"[0-9]+"//g' \
        -e 's/(MemberID|ClusterID|Revision|RaftTerm)( ?: ?)[0-9]+/\1\2N/'
}
show() {
    local name=$1 out status
    shift
    out=$("$@")
    status=$?
    printf '== %s %s\n%s\nstatus %s\n' "$name" "${auth[*]-}" "$(even_out <<<"$out")" "$status"
}
c() { show "$*" ctl "$@"; }
down() { show "gateway $1: $2" gateway "$1" /v3/maintenance/downgrade "$2"; }
# Of each member: cluster version, storage version, and what it says of the job.
versions() {
    local i
    for i in 1 2 3; do
        curl -s --max-time 10 "$(client "$i")/version" | grep -oE '"etcdcluster":"[^"]*"'
        endpoints=$(client "$i") ctl endpoint status -w json | grep -oE '"(storageVersion|downgradeInfo)":("[^"]*"|\{[^}]*\})'
    done
}
version_is() { [ "$(versions | grep -c "\"storageVersion\":\"$1\"")" = 3 ] && [ "$(versions | grep -c "etcdcluster\":\"$1\"")" = 3 ]; }
job_is() { [ "$(versions | grep -c "$1")" = 3 ]; }

script() { # binary
    local i target
    for i in 1 2 3; do start "$1" $i; done
    within version_is 3.7.0 || echo "never at 3.7.0"
    n1_leads() {
        ctl move-leader "$(ctl member list | sed -n 's/^\([0-9a-f]*\), [a-z]*, n1, .*/\1/p')" >/dev/null
        endpoints=$(client 1) ctl endpoint status | grep -q ', true, false'
    }
    within n1_leads
    show versions versions

    for target in 3.6 3.6.0 3.6.11 v3.6.0 3.5 3.7 3.7.0 3.8 4.0 2.6 03.6 3.06 '' abc 3 3.6.0.1 3.6.0-rc.1 3.6.0- '3.6 ' -3.6 3.6.; do
        c downgrade validate -- "$target"
    done
    for target in 3.5 3.7 4.0 '' abc v3.6.0; do c downgrade enable -- "$target"; done
    c downgrade validate
    c downgrade enable
    c downgrade enable 3.6 3.6
    c downgrade cancel more
    c downgrade cancel
    c downgrade cancel -w json
    c downgrade validate 3.6 -w json
    c downgrade
    down 1 '{"action":"VALIDATE","version":"3.6"}'
    down 2 '{"action":"VALIDATE","version":"3.6"}'
    down 2 '{"action":"VALIDATE","version":"3.5"}'
    down 2 '{"action":"ENABLE"}'
    down 2 '{"action":2}'
    down 2 '{"action":"3"}'
    down 2 '{"action":"NONE"}'
    down 2 '{"version":36}'
    show versions versions

    # A job that is begun by a follower, begun again, looked at by all, canceled by another follower.
    endpoints=$(client 2)
    c downgrade enable 3.6
    unset endpoints
    within job_is '"targetVersion":"3.6.0"'
    within version_is 3.6.0
    show versions versions
    for target in 3.6 3.5 3.7 3.6.0 abc ''; do
        c downgrade validate -- "$target"
        c downgrade enable -- "$target"
    done
    down 1 '{"action":"ENABLE","version":"3.6"}'
    down 3 '{"action":"ENABLE","version":"3.5"}'
    down 3 '{"action":"VALIDATE","version":"3.5"}'
    endpoints=$(client 3)
    c downgrade cancel
    unset endpoints
    within version_is 3.7.0
    show versions versions
    c downgrade cancel
    down 1 '{"action":"ENABLE","version":"3.6.0"}'
    within version_is 3.6.0
    down 2 '{"action":"CANCEL"}'
    within version_is 3.7.0
    down 2 '{"action":"CANCEL","version":"abc"}'

    # With users on only root may.
    ctl user add root:pw >/dev/null
    ctl user grant-role root root >/dev/null
    ctl user add joe:pw >/dev/null
    ctl role add all >/dev/null
    ctl role grant-permission all --prefix=true readwrite '' >/dev/null
    ctl user grant-role joe all >/dev/null
    ctl auth enable >/dev/null
    for user in '' joe:pw joe:wrong root:pw; do
        auth=(${user:+--user "$user"})
        c downgrade validate 3.6
        c downgrade validate 3.5
        c downgrade validate abc
        c downgrade cancel
        [ "$user" = root:pw ] || c downgrade enable 3.6
    done
    auth=()
    for user in root joe; do
        token=$(curl -s --max-time 10 "$(client 1)/v3/auth/authenticate" -d "{\"name\":\"$user\",\"password\":\"pw\"}" | sed 's/.*"token": *"\([^"]*\)".*/\1/')
        down 1 '{"action":"VALIDATE","version":"3.6"}'
        down 2 '{"action":"CANCEL"}'
    done
    token=wrong
    down 2 '{"action":"VALIDATE","version":"3.6"}'
    token=
    down 2 '{"action":"VALIDATE","version":"3.6"}'
    down 2 '{"action":"VALIDATE","version":"abc"}'
    down 2 '{"action":7}'
}

binary=${CAIRND:-$root/bin/cairnd}
printf '#!/bin/bash\nexec -a etcdctl %q "$@"\n' "$(realpath "$(dirname "$binary")/cairnctl")" >"$work/as-etcdctl"
chmod +x "$work/as-etcdctl"
for kind in ours etcd cairnctl; do # the last: ours, asked by cairnctl under the name etcdctl
    mkdir -p "$work/$kind"
    [ $kind != etcd ] || binary=${ETCD:-$peers/etcd37}
    [ $kind != cairnctl ] || binary=${CAIRND:-$root/bin/cairnd} ETCDCTL=$work/as-etcdctl
    script "$binary" >"$work/$kind.out"
    for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
    started=()
    sleep 0.5
done
commands=$(grep -c '^==' "$work/ours.out")
[ -z "${VERBOSE:-}" ] || cat "$work/ours.out"
same=1
diff -U4 "$work/etcd.out" "$work/ours.out" || { echo "$commands commands; - is etcd's, + is ours" && same=0; }
# The client's own log, and its help.
words() { sed -e '/^LOG /d; /^== downgrade $/,/^==/d' "$1"; }
diff -U4 <(words "$work/ours.out") <(words "$work/cairnctl.out") || { echo "$commands commands; - is etcdctl's, + is cairnctl's" && same=0; }
[ $same = 1 ] && echo "$commands commands, all equal"
