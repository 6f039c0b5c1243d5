#!/usr/bin/env bash
# The process around the store: systemd's notice, log files moved away, ports of several kinds, shutdown.
. "$(dirname "$0")/lib.sh"
port=$(free_port)
cd "$work" || exit 1

wait_for() { within $LIMIT_S has "$1" "$2"; } # FILE PATTERN

# systemd: READY=1 when requests can be served, STOPPING=1 at the end.
python3 - notify.sock >notes <<'P' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.settimeout(120)
for _ in range(2):
    print(s.recv(100).decode(), flush=True)
P
notified=$!
within $LIMIT_S test -S notify.sock
export NOTIFY_SOCKET=$work/notify.sock
http=$((port + 1))
start_server "$work" "$port" --log-outputs "$work/log" --listen-peer-urls="http://localhost:$((port + 3))" \
    --listen-client-http-urls "http://127.0.0.1:$http" --listen-metrics-urls "http://127.0.0.1:$((port + 2))" \
    --advertise-client-urls "http://127.0.0.1:$port" || { cat "$work/log"; exit 1; }
unset NOTIFY_SOCKET
check "READY=1" wait_for notes READY=1
expect "HashKV of a fresh store is that of etcd" 1084519789 "$(curl -s -m 30 "http://127.0.0.1:$http/v3/maintenance/hashkv" -d '{}' | jq .hash)"

# gRPC on one port, HTTP on the other, metrics and health alone on the third.
expect "gRPC on the client port" OK "$(etcdctl --endpoints "127.0.0.1:$port" put a b 2>&1)"
check "no HTTP there" bash -c "! curl -sf -m 30 http://127.0.0.1:$port/version"
check "HTTP on its port" curl -sf -m 30 "http://127.0.0.1:$http/version" -o /dev/null
check "no gRPC there" bash -c "! etcdctl --endpoints 127.0.0.1:$http --command-timeout 1s get a >/dev/null 2>&1"
check "metrics on the third" grep -q 'etcd_server_version{server_version="3.7.1"} 1' <<<"$(curl -s "http://127.0.0.1:$((port + 2))/metrics")"
check "calls are counted" grep -q 'grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1' \
    <<<"$(curl -s "http://127.0.0.1:$((port + 2))/metrics")"
check "and nothing else" bash -c "! curl -sf -m 30 http://127.0.0.1:$((port + 2))/v3/kv/range -d '{\"key\":\"YQ==\"}'"

# SIGHUP: the daemon reopens a log that was moved away.
mv log log.old
kill -HUP "$server_pid"
check "SIGHUP opens the log anew" wait_for log 'reopened the log'

stop_server
expect "SIGTERM: exit 0" 0 "$server_status"
wait "$notified"
expect "STOPPING=1" "READY=1 STOPPING=1" "$(tr '\n' ' ' <notes | sed 's/ $//')"

# Unix sockets serve both protocols.
"$CAIRND" --data-dir unix --listen-peer-urls "http://127.0.0.1:$((port + 3))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$((port + 3))" --initial-cluster "default=http://127.0.0.1:$((port + 3))" \
    --listen-client-urls "unix://$work/s.sock" --advertise-client-urls "unix://$work/s.sock" >unix.log 2>&1 &
server_pid=$!
check "listens on a Unix socket" wait_for unix.log 'ready to serve client requests'
expect "HTTP over it" '{"health":"true","reason":""}' "$(curl -s --unix-socket s.sock http://x/health)"
expect "gRPC over it" OK "$(etcdctl --endpoints unix://s.sock put a b 2>&1)"
stop_server INT
expect "SIGINT: exit 0" 0 "$server_status"
finish
