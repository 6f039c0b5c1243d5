#!/usr/bin/env bash
# Signals and other external events: paused for a while, told to end under load, few descriptors, an unread log pipe, a
# changed clock, removed folders.
. "$(dirname "$0")/../lib.sh"
port=$(free_port)
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
url=http://127.0.0.1:$port
count() { etcdctl get --prefix --keys-only "$1" | grep -c .; }
gone() { within $LIMIT_S is_gone "$1"; }

# --- stopped for ten seconds -------------------------------------------------------------------------------------
start_server "$work/a" "$port" || { cat "$work/a/log"; exit 1; }
short=$(etcdctl lease grant 5 | awk '{print $2}')
long=$(etcdctl lease grant 60 | awk '{print $2}')
etcdctl put short x --lease="$short" >/dev/null
etcdctl put long x --lease="$long" >/dev/null
(timeout 120 etcdctl watch --prefix w >"$work/watched") &
watcher=$!
sleep 0.3
kill -STOP "$server_pid"
(etcdctl --command-timeout=30s put w1 while-stopped >"$work/put" 2>&1) &
writer=$!
sleep 10
kill -CONT "$server_pid"
wait "$writer"
expect "a request sent while it was stopped is answered" OK "$(cat "$work/put")"
expect "the long lease and its key are there" x "$(etcdctl get long --print-value-only)"
# The member cannot know how long it slept before it looks: a lease that was due may end now, one that was not may not.
check "its rest is at least what it should be" test "$(etcdctl lease timetolive "$long" | grep -oE 'remaining\([0-9]+' | grep -oE '[0-9]+')" -ge 45
sleep 3
expect "the short lease has ended by now" "" "$(etcdctl get short --print-value-only)"
etcdctl put w2 after >/dev/null
sleep 0.3
kill "$watcher"
wait "$watcher" 2>/dev/null
expect "the watch went on" "PUT w1 while-stopped PUT w2 after" "$(xargs <"$work/watched")"

# --- SIGHUP, SIGPIPE, and others that mean nothing ------------------------------------------------------------------
kill -HUP "$server_pid"; kill -PIPE "$server_pid"
sleep 0.2
expect "SIGHUP and SIGPIPE: it goes on" OK "$(etcdctl put alive x)"
stop_server

# --- SIGTERM under load, watches open ---------------------------------------------------------------------------------
for round in 1 2 3; do
    start_server "$work/a" "$port"
    for i in 1 2 3 4 5; do timeout 30 curl -sN "$url/v3/watch" -d '{"create_request":{"key":"dA==","range_end":"dQ=="}}' >/dev/null 2>&1 & done
    timeout 30 etcdctl watch --prefix t >/dev/null 2>&1 &
    timeout 30 "$TOOLS/load" --port "$port" --op put --connections 8 --streams 8 --seconds 20 >/dev/null 2>&1 &
    (for i in $(seq 300); do etcdctl $impatient put "t$round/$i" x >/dev/null 2>&1 || break; echo "$i"; done) >"$work/done" &
    writer=$!
    sleep 1
    start=$(date +%s%N)
    stop_server TERM
    took=$((($(date +%s%N) - start) / 1000000))
    expect "SIGTERM under load, round $round: exit 0" 0 "$server_status"
    check "within 5.5 s (it took $took ms)" test "$took" -lt 5500
    wait "$writer"
    last=$(tail -1 "$work/done")
    rm "$work/a/log"
    start_server "$work/a" "$port"
    check "nothing acknowledged is lost ($last puts)" test "$(count "t$round/")" -ge "${last:-0}"
    stop_server
done
wait

# --- few descriptors ------------------------------------------------------------------------------------------------------
(ulimit -n 100; start_server "$work/few" "$port"; echo "$server_pid" >"$work/few.pid"; server_pid="")
server_pid=$(cat "$work/few.pid")
for i in $(seq 200); do eval "exec {fd$i}<>/dev/tcp/127.0.0.1/$port" 2>/dev/null; done
sleep 0.5
check "200 clients on 100 descriptors: it lives" kill -0 "$server_pid"
cpu() { awk '{print $14 + $15}' "/proc/$server_pid/stat"; }
before=$(cpu); sleep 2
check "and does not spin ($(($(cpu) - before)) ticks in 2 s)" test "$(($(cpu) - before))" -lt 40
for i in $(seq 200); do eval "[ -n \"\${fd$i:-}\" ] && exec {fd$i}>&-"; done
sleep 0.3
expect "when they have gone it serves" OK "$(etcdctl --command-timeout=10s put few x 2>&1)"
kill -TERM "$server_pid"
check "and ends" gone "$server_pid"
server_pid=""

# --- nobody to log to -----------------------------------------------------------------------------------------------------
peer=http://127.0.0.1:$((port + 1))
flags="--listen-client-urls $url --advertise-client-urls $url --listen-peer-urls $peer --initial-advertise-peer-urls $peer --initial-cluster default=$peer"
wait_up() { within $LIMIT_S curl -sf -m 10 "$url/health"; }
"$CAIRND" --data-dir "$work/closed" $flags >&- 2>&- <&- &
server_pid=$!
check "stdin, stdout, stderr closed: it serves" wait_up
expect "and stores" OK "$(etcdctl put a b)"
stop_server
expect "and ends with 0" 0 "$server_status"
check "nothing of its log went into a file of the store" bash -c "! grep -lq '\"level\":' $work/closed/member/store $work/closed/member/wal/* 2>/dev/null"
"$CAIRND" --data-dir "$work/full-log" $flags >/dev/full 2>&1 &
server_pid=$!
check "log on a full disk: it serves" wait_up
stop_server
expect "and ends with 0" 0 "$server_status"
mkfifo "$work/fifo"
(sleep 1) <"$work/fifo" &
"$CAIRND" --data-dir "$work/pipe" $flags --log-level debug >"$work/fifo" 2>&1 &
server_pid=$!
sleep 1.2
check "the reader of its log has gone: it serves" wait_up
stop_server
expect "and ends with 0" 0 "$server_status"
mkfifo "$work/stuck"
(sleep 6) <"$work/stuck" &
"$CAIRND" --data-dir "$work/stuck-data" $flags --log-level debug >"$work/stuck" 2>&1 &
server_pid=$!
wait_up
timeout 5 "$TOOLS/load" --port "$port" --op put --connections 4 --seconds 2 >/dev/null 2>&1
for i in $(seq 2000); do echo; done | timeout 3 xargs -P1 -n 200 true
for i in $(seq 40); do printf 'GET / HTTP/9.9\r\n\r\n' >"/dev/tcp/127.0.0.1/$port"; done 2>/dev/null
check "its log is a pipe nobody empties: it serves" wait_up
stop_server
wait

# --- the clock --------------------------------------------------------------------------------------------------------------
fake=${FAKETIME_LIB:-$(ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null | head -1)}
if [ -n "$fake" ]; then
    echo "+0" >"$work/clock"
    LD_PRELOAD=$fake FAKETIME_TIMESTAMP_FILE=$work/clock FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
        "$CAIRND" --data-dir "$work/clock-data" $flags >"$work/clock.log" 2>&1 &
    server_pid=$!
    wait_up
    lease=$(etcdctl lease grant 30 | awk '{print $2}')
    etcdctl put clocked x --lease="$lease" >/dev/null
    echo "+7d" >"$work/clock"
    sleep 1.5
    expect "the wall clock jumps a week ahead: leases live on" x "$(etcdctl get clocked --print-value-only)"
    echo "-7d" >"$work/clock"
    sleep 1.5
    expect "and a fortnight back" x "$(etcdctl get clocked --print-value-only)"
    stop_server
    expect "and it ends with 0" 0 "$server_status"
else
    echo "  skip the clock: no libfaketime"
fi
finish
