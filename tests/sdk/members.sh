#!/usr/bin/env bash
# libcairn on three members: each is killed, the leader stopped and continued, and ended in order, while a program writes,
# watches, keeps a lease and an instance alive, and follows a configuration (journey.c). PROGRAMS is
# the folder of the built programs.
. "$(dirname "$0")/../e2e/lib.sh"
. tests/e2e/members.sh
PROGRAMS=$(realpath "$PROGRAMS")
for i in 1 2 3; do start_member $i --session-keys; done
for i in 1 2 3; do check "n$i serves" serves $i; done

coproc journey { "$PROGRAMS/journey" "$(endpoints 1 2 3)" 2>"$work/journey.err"; }
journey_pid=$journey_PID
exec 7<&"${journey[0]}" 8>&"${journey[1]}"
hears() { # WHAT: its next line
    local line=""
    read -r -t $((2 * LIMIT_S)) line <&7
    [ "$line" = "$1" ] || { echo "    it said: $line"; false; }
}
goes_on() { echo go >&8 && hears writes; }
check "a program writes, watches and keeps a lease" hears ready
# Each member dies once, the leader and the member that the program is connected to included.
for i in 1 2 3; do
    lead=$(leader)
    stop_member $i KILL
    check "it goes on when n$i is killed (n$lead led)" goes_on
    start_member $i --session-keys
    check "n$i is back" serves $i
done
lead=$(leader)
kill -STOP "${member_pids[$lead]}"
check "it goes on when the leader hangs" goes_on
kill -CONT "${member_pids[$lead]}"
check "and when that comes back" goes_on
lead=$(leader)
stop_member "$lead" TERM
check "and when the leader leaves in order" goes_on
exec 8>&-
eval "exec ${journey[1]}>&-" 2>/dev/null
cat <&7 >"$work/verdict"
wait $journey_pid
expect "nothing lost, nothing twice" 0 $?
check "its stream was broken at least once" grep -q 'connections broken [1-9]' "$work/verdict"
sed 's/^/       /' "$work/verdict"
[ "$failures" = 0 ] || sed 's/^/       /' "$work/journey.err"
finish
