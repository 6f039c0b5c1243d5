#!/usr/bin/env bash
# Effects of etcd's flags that no other script shows, and etcd's sample configuration file. docs/etcd-flags.md names the test of
# each flag.
. "$(dirname "$0")/lib.sh"
top=$PWD
port=$(free_port)
fails_to() { ! "$@" >"$work/fails_to" 2>&1; }
url=http://127.0.0.1:$port

# Every key of etcd.conf.yml.sample of 3.7.1 with its value, except for the ports. tests/interop/run.sh starts etcd's own file.
mkdir "$work/sample"
cat >"$work/sample/etcd.conf.yml" <<Y
name: 'default'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:$((port + 1))
listen-client-urls: http://localhost:$port
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:$((port + 1))
advertise-client-urls: http://localhost:$port
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
proxy-refresh-interval: 30000
proxy-dial-timeout: 1000
proxy-write-timeout: 5000
proxy-read-timeout: 0
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
Y
cd "$work/sample" || exit 1
ETCD_UNSUPPORTED_ARCH=$(uname -m) "$CAIRND" --config-file etcd.conf.yml 2>log &
server_pid=$!
cd "$top" || exit 1
check "etcd's sample file: it serves" within $LIMIT_S curl -sf "$url/health" -o /dev/null
expect "and stores" OK "$(etcdctl --endpoints "$url" put a b 2>&1)"
check "in the folder of the default name" test -d "$work/sample/default.etcd/member"
stop_server
expect "and ends with 0" 0 "$server_status"

# --- the log ---------------------------------------------------------------------------------------------------------
cd "$work" || exit 1
mkdir log && cd log || exit 1
ETCD_UNSUPPORTED_ARCH=arm64 launch "$work/log" "$port" --log-outputs="$work/log/out" --log-format=console --log-level=warn --logger=zap \
    --enable-log-rotation --log-rotation-config-json='{"maxsize": 1, "maxbackups": 2}' --warning-unary-request-duration=1ns
check "--log-outputs: it serves" within $LIMIT_S curl -sf "$url/health" -o /dev/null
etcdctl --endpoints "$url" put a b >put
check "--warning-unary-request-duration: a slow request is logged" within $LIMIT_S has out 'request stats.*/etcdserverpb.KV/Put'
check "--log-format=console: level and text, not JSON" test "$(grep -c '^{' out)" = 0
check "--log-level=warn: no line of a lower level" test "$(grep -ciE '[[:space:]](info|debug)[[:space:]]' out)" = 0
check "ETCD_UNSUPPORTED_ARCH: no warning" test "$(grep -c UNSUPPORTED_ARCH out)" = 0
rotates() { curl -sf "$url/v3/kv/range?[1-500]" -d '{"key":"YQ=="}' -o /dev/null && [ -s out.1 ]; }
check "--enable-log-rotation: the file is rotated at maxsize" within $LIMIT_S rotates
stop_server
launch "$work/log" "$port" --log-outputs="$work/log/quick" --warning-unary-request-duration=1h
within $LIMIT_S has "$work/log/quick" 'ready to serve'
etcdctl --endpoints "$url" put a b >put
stop_server
check "a request below --warning-unary-request-duration is not logged" test "$(grep -c 'request stats' quick)" = 0
cd "$top" || exit 1

# --- connections -----------------------------------------------------------------------------------------------------
mkdir "$work/ping"
start_server "$work/ping" "$port" --grpc-keepalive-interval=1s --grpc-keepalive-timeout=1s --enable-grpc-gateway=false \
    --socket-reuse-address --auto-compaction-mode=periodic --auto-compaction-retention=1s --auth-token-ttl=1 ||
    fails "it does not start"
expect "--enable-grpc-gateway=false: no gateway" 404 \
    "$(curl -s -o /dev/null -w '%{http_code}' "$url/v3/kv/range" -d '{"key":"YQ=="}')"
python3 - "$port" $LIMIT_S <<'P'
import os, sys
sys.path.insert(0, 'tests/e2e')
import h2_client

class Recorder(h2_client.Connection):
    pings, answers = 0, True

    def take(self, kind, flags, number, payload):
        is_ping = kind == h2_client.PING and not flags & h2_client.ACK
        self.pings += is_ping
        if not is_ping or self.answers:
            super().take(kind, flags, number, payload)

port, limit = int(sys.argv[1]), float(sys.argv[2])
alive = Recorder(port, timeout=limit)
alive.until(lambda: alive.pings >= 3)  # it outlives --grpc-keepalive-timeout, as it answers
silent = Recorder(port, timeout=limit)
silent.answers = False
try:
    silent.until(lambda: False)
    sys.exit('the connection that answers no PING stays')
except h2_client.Closed:
    sys.exit(silent.pings == 0)
P
expect "--grpc-keepalive-interval: pings; --grpc-keepalive-timeout: a connection without answers is closed" 0 $?

etcdctl --endpoints "$url" put a 1 >"$work/put"
is_compacted() {
    etcdctl $impatient --endpoints "$url" put a 2 && grep -q 'has been compacted' <<<"$(etcdctl $impatient --endpoints "$url" get a --rev 2 2>&1)"
}
check "--auto-compaction-mode=periodic: --auto-compaction-retention passes, and old revisions are gone" within $LIMIT_S is_compacted
stop_server

start_server "$work/pause" "$port" --compaction-batch-limit=10 --compaction-sleep-interval=1h || fails "it does not start"
for i in $(seq 30); do curl -sf "$url/v3/kv/put" -d '{"key":"YQ==","value":"YQ=="}' -o /dev/null; done
check "--compaction-sleep-interval=1h: the second batch of --compaction-batch-limit is not deleted" \
    fails_to etcdctl $impatient --endpoints "$url" compaction --physical 30
stop_server
start_server "$work/pause" "$port" --compaction-batch-limit=10 --compaction-sleep-interval=1ms || fails "it does not start"
check "--compaction-sleep-interval=1ms: it is" etcdctl --endpoints "$url" compaction --physical 31 >"$work/compaction"
stop_server
# --- memory, warnings ------------------------------------------------------------------------------------------------
# limited COMMAND...: it may lock 64 KiB, and cannot raise the limit.
limited() {
    ulimit -l 64
    [ "$(id -u)" = 0 ] && exec setpriv --bounding-set -sys_resource "$@"
    exec "$@"
}
(limited timeout $LIMIT_S "$CAIRND" --data-dir "$work/mlock" --memory-mlock) >"$work/mlock.log" 2>&1
expect "--memory-mlock where the limit is too low: exit code" 1 $?
check "and the sentence" has "$work/mlock.log" 'the limit of locked memory is 65536 bytes; it must be unlimited'
check "and no folder" test ! -e "$work/mlock"
locked() { awk '$1 == "VmLck:" { print $2 }' "/proc/$server_pid/status"; }
if start_server "$work/locked" "$port" --memory-mlock --warning-apply-duration=0s; then
    check "--memory-mlock: pages are locked" test "$(locked)" -gt 0
else
    check "--memory-mlock: this user may not lock memory" has "$work/locked/log" '--memory-mlock: the '
    start_server "$work/locked" "$port" --warning-apply-duration=0s || fails "it does not start"
fi
etcdctl --endpoints "$url" put a b >"$work/put"
etcdctl --endpoints "$url" get a >"$work/get"
slow='"apply request took too long","took":"[0-9.]*[mµn]*s","expected-duration":"1ns"'
check "--warning-apply-duration: an applied entry is logged" within $LIMIT_S has "$work/locked/log" "$slow,\"prefix\":\"\",\"request\":\"Put\""
check "and a range" within $LIMIT_S has "$work/locked/log" "$slow,\"prefix\":\"read-only range \",\"request\":\"Range\""
stop_server

# --- members -------------------------------------------------------------------------------------------------------
start_server "$work/learners" "$port" --max-learners=2 || fails "it does not start"
learn() { etcdctl $impatient --endpoints "$url" member add "l$1" --learner --peer-urls "http://127.0.0.1:$1" >"$work/learn" 2>&1; }
has_level() { [ "$(curl -s "$url/metrics" | awk '$1 == "cairn_feature_level" { print $2 }')" -ge 3 ]; }
within $LIMIT_S has_level # a learner that does not run would hold it back
check "--max-learners=2: a learner" learn 1
check "and a second one" learn 2
check "but no third" fails_to learn 3
check "with etcd's words" has "$work/learn" 'too many learner members in cluster'
stop_server
check "a start beside more than --max-learners is refused" fails_to start_server "$work/learners" "$port"
wait "$server_pid"
expect "its exit code" 1 $?
check "and etcd's words" has "$work/learners/log" 'membership: too many learner members in cluster: 2; --max-learners is 1'
check "but it starts with the higher number" start_server "$work/learners" "$port" --max-learners=2
stop_server

# --- connections again -----------------------------------------------------------------------------------------------
# A connection that the server closed leaves its port in TIME_WAIT.
check "--socket-reuse-address: it starts again on the port" start_server "$work/ping" "$port" --socket-reuse-address --auth-token-ttl=1

etcdctl --endpoints "$url" user add root:pw >"$work/auth" && etcdctl --endpoints "$url" user grant-role root root >>"$work/auth" &&
    etcdctl --endpoints "$url" auth enable >>"$work/auth"
token=$(curl -sf "$url/v3/auth/authenticate" -d '{"name":"root","password":"pw"}' | jq -r .token)
as_root() { curl -s "$url/v3/kv/range" -H "Authorization: $token" -d '{"key":"YQ=="}'; }
check "a token is valid" grep -q '"kvs"' <<<"$(as_root)"
# Each use extends it, so the pauses are longer than its time.
token_ends() { sleep 1.5; grep -q 'invalid auth token' <<<"$(as_root)"; }
check "--auth-token-ttl: a token that is not used ends" within $LIMIT_S token_ends
stop_server

python3 - "$port" <<'P' &
import socket, sys, time
s = socket.socket()
for option in socket.SO_REUSEADDR, socket.SO_REUSEPORT:
    s.setsockopt(socket.SOL_SOCKET, option, 1)
s.bind(('127.0.0.1', int(sys.argv[1])))
s.listen()
time.sleep(600)
P
other=$!
end_more() { kill -9 "$other" 2>/dev/null; }
takes() { python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])))' "$port"; }
check "another process listens on the port" within $LIMIT_S takes
check "--socket-reuse-port: it shares the port" start_server "$work/share" "$port" --socket-reuse-port
stop_server
end_more
wait "$other" 2>/dev/null

# --- TLS -------------------------------------------------------------------------------------------------------------
with_tls() { # DIR FLAGS...
    local dir=$1
    shift
    mkdir -p "$dir"
    "$CAIRND" --data-dir "$dir/data" --auto-tls --listen-client-urls "https://127.0.0.1:$port" \
        --advertise-client-urls "https://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" "$@" 2>"$dir/log" &
    server_pid=$!
    within $LIMIT_S has "$dir/log" 'ready to serve'
}
shakes() { openssl s_client -connect "127.0.0.1:$port" "$@" </dev/null >"$work/shake" 2>&1; }
with_tls "$work/tls13" --tls-min-version=TLS1.3 --self-signed-cert-validity=3
check "--tls-min-version: TLS 1.3" shakes -tls1_3
check "--self-signed-cert-validity: three years" test \
    "$(date -d "$(openssl x509 -noout -enddate <"$work/shake" | cut -d= -f2)" +%s)" -gt "$(date -d '+1090 days' +%s)"
check "and TLS 1.2 is refused" fails_to shakes -tls1_2
stop_server
with_tls "$work/tls12" --tls-max-version=TLS1.2 --cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
check "--tls-max-version: TLS 1.3 is refused" fails_to shakes -tls1_3
check "--cipher-suites: the listed one" shakes -tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384
check "and no other" fails_to shakes -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256
stop_server
finish
