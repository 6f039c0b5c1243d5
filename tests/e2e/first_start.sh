#!/usr/bin/env bash
# The first start of three members when one of them is late. As with etcd two of them begin, and the third joins when it comes;
# with --initial-cluster-state=auto they wait for it.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
row=""
fresh() { # ROW
    row=$1
    end_more 2>/dev/null
    member_pids=()
    rm -rf "$work"/n[123] "$work"/n[123].log
}
voters_are() { [ "$(ctl member list 2>/dev/null | grep -c 'started, .*, false$')" = "$1" ]; }

late() { # SECOND FLAGS...: n3 comes later
    local flags=("$@")
    start_member 1 "${flags[@]}"
    start_member 2 "${flags[@]}"
    check "$row: two of three begin" serves 1
    check "$row: both serve" serves 2
    check "$row: the log names the third" says 1 "\"without\":\"n3 ($(peer_url 3))\""
    expect "$row: they take writes" OK "$(ctl_on 1 put a "$row" 2>&1)"
    start_member 3 "${flags[@]}"
    check "$row: the third joins" serves 3
    check "$row: and votes" within $LIMIT_S voters_are 3
    expect "$row: it has what was written" "$row" "$(ctl_on 3 get a --print-value-only)"
    stop_member 1 KILL
    expect "$row: two of them go on without the first" OK "$(etcdctl --endpoints "$(endpoints 2 3)" put b c 2>&1)"
}

fresh "default"
late
fresh "new"
late --initial-cluster-state new

fresh "auto"
start_member 1 --initial-cluster-state auto
start_member 2 --initial-cluster-state auto
check "$row: the first waits for the third" says 1 "\"for\":\"n3 ($(peer_url 3))\""
check "$row: so does the second" says 2 "\"for\":\"n3 ($(peer_url 3))\""
sleep 5 # longer than a quorum waits
check "$row: they have no log" test ! -e "$work/n1/member/wal" -a ! -e "$work/n2/member/wal"
start_member 3 --initial-cluster-state auto
for i in 1 2 3; do check "$row: n$i serves" serves $i; done

# A quorum that has lost its disks meets a member with data: it does not begin anew.
ctl put kept yes >/dev/null
for i in 1 2 3; do stop_member $i KILL; done
rm -rf "$work"/n1 "$work"/n2
row="two disks lost"
for i in 1 2 3; do start_member $i; done
check "$row: the empty ones wait" says 1 'force-new-cluster'
sleep 5
check "$row: they have no log" test ! -e "$work/n1/member/wal" -a ! -e "$work/n2/member/wal"
finish
