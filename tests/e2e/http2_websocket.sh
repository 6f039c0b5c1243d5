#!/usr/bin/env bash
# WebSockets over HTTP/2 (RFC 8441), in cleartext and over TLS: the same answers as over HTTP/1.1, windows that stay closed, limits,
# users, the end of the server.
. "$(dirname "$0")/lib.sh"
client=$(realpath tests/e2e/http2_websocket.py)
cd "$work" || exit 1

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=server \
    -addext subjectAltName=IP:127.0.0.1 2>openssl.log
check "the certificate is made" test -s tls.crt
port=$(free_base 3)
plain=http://127.0.0.1:$port
export PLAIN_PORT=$port
start() { # DIR [FLAGS]
    mkdir -p "$1" && : >"$1/log"
    "$CAIRND" --name default --data-dir "$1/data" --listen-client-urls "$plain,https://127.0.0.1:$((port + 1))" \
        --advertise-client-urls "$plain" --listen-peer-urls "http://127.0.0.1:$((port + 2))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 2))" --initial-cluster "default=http://127.0.0.1:$((port + 2))" \
        --cert-file tls.crt --key-file tls.key "${@:2}" >>"$1/log" 2>&1 &
    server_pid=$!
    within $LIMIT_S has "$1/log" 'ready to serve client requests' || fails "$1 does not start"
}
trial() { # NAME ARGUMENTS
    timeout 200 python3 "$client" "${@:2}" >out 2>&1
    local status=$?
    [ $status = 0 ] || cat out
    check "$1: $(paste -sd' ' out | tail -c 200)" [ $status = 0 ]
}

start one
trial "in cleartext" trials "$port" "$server_pid"
trial "over TLS" trials "$((port + 1))" "$server_pid" tls.crt
PLAIN_PORT=$port timeout 200 python3 "$client" leave "$port" ready >left 2>&1 &
leaver=$!
within $LIMIT_S test -s ready
stop_server
expect "WebSockets do not keep the server" 0 "$server_status"
wait $leaver
check "they get a goaway, 1001, the end, and the connection a GOAWAY: $(tail -1 left)" has left '^left$'
check "the server's log has no fault" grep -qvE '"level":"(error|panic|fatal)"' one/log

start two --output-stall-timeout=3s --max-concurrent-streams 100
trial "not read for too long" stalled "$port"
trial "as many as streams" limit "$port"
{
    etcdctl --endpoints "127.0.0.1:$port" user add root:pw && etcdctl --endpoints "127.0.0.1:$port" user grant-role root root &&
        etcdctl --endpoints "127.0.0.1:$port" auth enable
} >auth.log 2>&1
token=$(curl -s "$plain/v3/auth/authenticate" -d '{"name":"root","password":"pw"}' | sed 's/.*"token":"\([^"]*\)".*/\1/')
trial "with users" users "$port" "$token"
stop_server
expect "it ends well" 0 "$server_status"
finish
