#!/usr/bin/env bash
# libcairn on one member: every call, the examples as docs/sdk.md has them, reports. PROGRAMS and EXAMPLES are the folders
# they were built into.
. "$(dirname "$0")/../e2e/lib.sh"
PROGRAMS=$(realpath "$PROGRAMS")
EXAMPLES=$(realpath "$EXAMPLES")
port=$(free_port)
check "a server starts" start_server "$work/d" "$port"
endpoint=127.0.0.1:$port

check "every call" "$PROGRAMS/calls" "$endpoint"
check "every route of the native API" "$PROGRAMS/api" "$endpoint"
# The table of routes is the server's: path parameters aside, which are in the path.
sorted_words() { while read -r method path rest; do echo "$method $path $(xargs -n1 <<<"$rest" | sort -u | xargs)"; done | sort; }
curl -s "http://$endpoint/openapi.json" | jq -r '.paths | to_entries[] | .key as $p | .value | to_entries[] | select(.value.responses) |
    "\(.key | ascii_upcase) \($p) \([.value.parameters[]? | select(.in == "query") | .name] | join(" "))"' | sorted_words >"$work/routes"
expect "and the header has each route with each parameter" "" "$("$PROGRAMS/api" table | sorted_words | diff - "$work/routes")"
check "of which there are many" [ "$(wc -l <"$work/routes")" -ge 36 ]
"$EXAMPLES/kv" "$endpoint" >"$work/kv"
expect "example kv" "0 example/counter = 1 swapped: yes" "$? $(xargs <"$work/kv")"
"$EXAMPLES/service" "$endpoint" | sort >"$work/service"
expect "example service" "payments.yaml: limit: 10 payments: p1 at 10.0.0.5:8080 is up" "$(xargs <"$work/service")"
"$EXAMPLES/watch" seen/ "$endpoint" >"$work/watch" &
watch_pid=$!
check "example watch begins" within $LIMIT_S has "$work/watch" watching
export ETCDCTL_ENDPOINTS=$endpoint
etcdctl put seen/a 1 >"$work/put" && etcdctl put other 1 >"$work/put" && etcdctl del seen/a >"$work/put"
wait $watch_pid
expect "and tells" "0 watching put seen/a 1 delete seen/a" "$? $(xargs <"$work/watch")"

"$EXAMPLES/epoll_loop" loops/ "$endpoint" >"$work/epoll" &
epoll_pid=$!
check "example epoll_loop begins" within $LIMIT_S has "$work/epoll" watching
etcdctl put loops/a 1 >"$work/put" && etcdctl del loops/a >"$work/put"
wait $epoll_pid
expect "and tells" "0 watching put loops/a 1 delete loops/a" "$? $(xargs <"$work/epoll")"
expect "example libuv_loop" "l1 at 10.0.0.7:80 is up" "$("$EXAMPLES/libuv_loop" "$endpoint")"
expect "example threads" "counted to 20" "$("$EXAMPLES/threads" "$endpoint")"
check "a client without a thread" "$PROGRAMS/loop" "$endpoint"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" -days 2 \
    -subj /CN=cairn -addext subjectAltName=IP:127.0.0.1 2>/dev/null
start_tls() {
    "$CAIRND" --data-dir "$work/tls" --cert-file "$work/cert.pem" --key-file "$work/key.pem" \
        --listen-client-urls "https://127.0.0.1:$((port + 10))" --advertise-client-urls "https://127.0.0.1:$((port + 10))" \
        --listen-peer-urls "http://127.0.0.1:$((port + 11))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 11))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 11))" >"$work/tls.log" 2>&1 &
    tls_pid=$!
    within $LIMIT_S has "$work/tls.log" 'ready to serve client requests'
}
end_more() { kill "${tls_pid:-}" 2>/dev/null; }
check "a server with TLS starts" start_tls
check "every call over TLS" "$PROGRAMS/calls" "https://127.0.0.1:$((port + 10))" "$work/cert.pem"
check "and without a thread" "$PROGRAMS/loop" "https://127.0.0.1:$((port + 10))" "$work/cert.pem"

mkdir -p "$work/auth"
end_more() { kill "${tls_pid:-}" "${auth_pid:-}" 2>/dev/null; }
auth=127.0.0.1:$((port + 20))
start_auth() {
    "$CAIRND" --data-dir "$work/auth/data" --listen-client-urls "http://$auth" --advertise-client-urls "http://$auth" \
        --listen-peer-urls "http://127.0.0.1:$((port + 21))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 21))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 21))" >"$work/auth.log" 2>&1 &
    auth_pid=$!
    within $LIMIT_S has "$work/auth.log" 'ready to serve client requests'
}
check "a server for users starts" start_auth
as_root() { ETCDCTL_ENDPOINTS=$auth etcdctl "$@" >>"$work/put" 2>&1; }
as_root user add root:secret && as_root user grant-role root root && as_root auth enable
check "every call as somebody" "$PROGRAMS/calls" "$auth" - root secret

# Reports: each state that a server can cause. states prints the reason; the log goes to its stderr.
report() { timeout 90 "$PROGRAMS/states" "$@" 2>>"$work/states.log"; }
as_root --user root:secret user add low:low
expect "a wrong password is reported" "CAIRN_UNAUTHENTICATED 0" \
    "$(report "$auth" CAIRN_STATE_UNAUTHENTICATED low wrong | cut -d' ' -f1) ${PIPESTATUS[0]}"
expect "a missing permission is reported" CAIRN_DENIED "$(report "$auth" CAIRN_STATE_REFUSED low low | cut -d' ' -f1)"
expect "the end of a session is reported" CAIRN_LOST "$(report "$endpoint" kick CAIRN_STATE_SESSION_LOST | cut -d' ' -f1)"
full=127.0.0.1:$((port + 30))
start_full() {
    "$CAIRND" --data-dir "$work/full" --registry-max-instances 1 --listen-client-urls "http://$full" --advertise-client-urls "http://$full" \
        --listen-peer-urls "http://127.0.0.1:$((port + 31))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 31))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 31))" >"$work/full.log" 2>&1 &
    full_pid=$!
    within $LIMIT_S has "$work/full.log" 'ready to serve client requests'
}
end_more() { kill "${tls_pid:-}" "${auth_pid:-}" "${full_pid:-}" 2>/dev/null; }
check "a server with room for one instance starts" start_full
check "which is taken" curl -sf -o "$work/put" -X PUT "http://$full/api/v1/services/a/instances/a" -d '{"host":"h"}'
expect "a full registry is reported" CAIRN_LIMIT "$(report "$full" CAIRN_STATE_LIMITED | cut -d' ' -f1)"
report "$full" CAIRN_STATE_REDIRECTED >"$work/redirected" &
redirected_pid=$!
is_connected() { tail -1 "$work/states.log" | grep -q 'registration, which is repeated'; }
within $LIMIT_S is_connected
kill "$full_pid"
wait $redirected_pid
expect "a member that leaves is reported" CAIRN_UNAVAILABLE "$(cut -d' ' -f1 "$work/redirected")"
check "and the log has it" has "$work/states.log" '1 stream: the member asks the client to use another one'

mkdir "$work/cache"
check "a cache folder is filled" "$PROGRAMS/calls" "$endpoint" "$work/cache" leave
stop_server
check "and found when no member is there" "$PROGRAMS/calls" "$endpoint" "$work/cache" find
finish
