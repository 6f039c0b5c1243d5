#!/usr/bin/env bash
# Locks and elections of libcairn on three members: contenders, killed holders, a holder that no member answers, and
# etcdctl's locks beside them. PROGRAMS is the folder of the built programs.
. "$(dirname "$0")/../e2e/lib.sh"
. tests/e2e/members.sh
PROGRAMS=$(realpath "$PROGRAMS")
for i in 1 2 3; do start_member $i; done
for i in 1 2 3; do check "n$i serves" serves $i; done
all=$(endpoints 1 2 3)
locks() { "$PROGRAMS/locks" "$@"; }
check "deadlines, cancels, losses and elections" locks "$all" rules

# Three contenders, each by another member first.
for i in 1 2 3; do
    locks "$all" contend busy "$work/busy" 20 >"$work/contend$i" 2>&1 &
    contenders[i]=$!
done
for i in 1 2 3; do
    wait ${contenders[$i]}
    expect "contender $i has the lock alone, each time" 0 $?
done
expect "each time with a token of its own" 60 "$(cat "$work"/contend? | grep '^held' | sort -u | wc -l)"

# hold FILE ENDPOINTS NAME: in the background; $holder is its process. It ends with its input, FILE.in.
hold() {
    mkfifo "$1.in"
    exec {input}<>"$1.in"
    "$PROGRAMS/locks" "$2" hold "$3" <"$1.in" >"$1" 2>&1 &
    holder=$!
    disown $holder
    holders+=($holder)
}
end_more() {
    local i
    kill -KILL "${holders[@]}" "${their_pid:-}" 2>/dev/null
    for i in "${!member_pids[@]}"; do kill -KILL "${member_pids[$i]}"; done
    for i in "${!member_pids[@]}"; do wait "${member_pids[$i]}"; done
}
holders=()
holds() { within $LIMIT_S has "$1" '^held'; }
revision() { awk '/^held/ { print $2 }' "$1"; }
for i in 1 2 3; do
    hold "$work/kill$i" "$all" killed
    [ $i = 1 ] && check "a holder" holds "$work/kill1"
done
is_handed_on() { [ "$(cat "$work"/kill[123] | grep -c ^held)" = "$1" ]; }
# The one that has it is the one with the greatest revision.
has_it() { for i in 1 2 3; do echo "$(revision "$work/kill$i") $i"; done | sort -n | awk 'END { print $2 }'; }
for round in 1 2; do
    kill -KILL "${holders[$(($(has_it) - 1))]}"
    check "another one gets the lock of a killed holder, round $round" within $LIMIT_S is_handed_on $((round + 1))
done
expect "each with a token of its own" 3 "$(cat "$work"/kill[123] | grep ^held | sort -u | wc -l)"

# etcdctl waits for the same key, and the other way round.
hold "$work/ours" "$all" shared
check "a lock of the library" holds "$work/ours"
(exec etcdctl --endpoints "$all" lock shared) >"$work/theirs" 2>&1 &
their_pid=$!
is_queued() { [ "$(ctl get --prefix --keys-only shared/ | grep -c shared)" = "$1" ]; }
check "etcdctl waits for it" within $LIMIT_S is_queued 2
expect "and has nothing yet" "" "$(cat "$work/theirs")"
hold "$work/third" "$all" shared
check "and the library waits behind etcdctl" within $LIMIT_S is_queued 3
echo >"$work/ours.in"
check "etcdctl gets it" within $LIMIT_S has "$work/theirs" '^shared/'
expect "and the library not yet" "" "$(cat "$work/third")"
kill "$their_pid"
check "but after etcdctl" holds "$work/third"

# The holder knows one member, which then answers nothing: for the holder, the network is cut.
lead=$(leader)
cut=$((lead % 3 + 1))
mapfile -t others < <(for i in 1 2 3; do [ $i = $cut ] || echo $i; done)
hold "$work/cut" "$(endpoint $cut)" cut
check "a holder with one member" holds "$work/cut"
hold "$work/next" "$(endpoints "${others[@]}")" cut
is_waiting() { [ "$(ctl get --prefix --keys-only cut/ | grep -c cut)" = 2 ]; }
check "another one waits" within $LIMIT_S is_waiting
kill -STOP "${member_pids[$cut]}"
check "a holder that reaches nobody hears of its loss" within $LIMIT_S has "$work/cut" '^lost CAIRN_TIMEOUT'
check "and the other one has the lock" holds "$work/next"
check "with a greater token" [ "$(revision "$work/next")" -gt "$(revision "$work/cut")" ]
kill -CONT "${member_pids[$cut]}"
finish
