#!/usr/bin/env bash
# All scenarios of this folder in about six minutes: a node under misuse. SOAK= seconds of mixed load (60),
# ROUNDS= of the full disk (10). The two scenarios that wait a minute run beside the others, on nodes of their own.
. "$(dirname "$0")/../lib.sh"
here=tests/e2e/misuse
waits=()

# clients SCENARIO...: a fresh node, all of them one after the other on it
clients() {
    local port
    port=$(free_port)
    if ! start_server "$work/$1" "$port"; then
        fails "$1: the node does not start"
        return
    fi
    for scenario in "$@"; do
        timeout 200 "$TOOLS/clients" "$port" "$server_pid" "$scenario" || fails "$scenario"
    done
    stop_server
    expect "after $*: exit 0" 0 "$server_status"
    check "and no error in its log" bash -c "! grep -qE '\"level\":\"(error|fatal|panic)\"|Sanitizer|runtime error' $work/$1/log"
}
ulimit -n "$(ulimit -Hn)"
case $CAIRND in *address* | *thread*) export SLOW=${SLOW:-4} ;; esac
for slow in half_way drip; do
    (clients "$slow"; exit "$failures") >"$work/$slow.out" 2>&1 &
    waits+=($!)
done
[ "$(ulimit -n)" -ge 12000 ] && many=many_connections || { many=""; echo "  skip many_connections: $(ulimit -n) open files"; }
clients $many many_watches many_streams rapid_reset floods watch_floods keepalive_flood
clients silent_watches silent_crowd unread_answers large_requests lease_storm
clients large_range
for script in signals disk soak; do
    echo "misuse: $script"
    ROUNDS=${ROUNDS:-10} timeout 400 "$here/$script.sh" ${SOAK:-60} || failures=$((failures + 1))
done
for i in 0 1; do
    wait "${waits[$i]}" || failures=$((failures + 1))
done
cat "$work/half_way.out" "$work/drip.out"
echo "misuse: $failures failures"
finish
