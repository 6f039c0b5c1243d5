#!/usr/bin/env bash
# Flags, environment and config file as etcd's; every wrong one gets an error and a non-zero exit code, and no folder is
# created.
. "$(dirname "$0")/lib.sh"
top=$PWD
cd "$work" || exit 1

# refused NAME PATTERN EXIT -- command...: exits with EXIT and says PATTERN
refused() {
    local name=$1 pattern=$2 status=$3 out got
    shift 4
    out=$(timeout 60 "$@" 2>&1)
    got=$?
    if [ "$got" = "$status" ] && grep -qE -- "$pattern" <<<"$out"; then
        echo "  ok   $name"
    else
        printf '  FAIL %s: exit %s, %s\n' "$name" "$got" "$(tail -3 <<<"$out")"
        failures=$((failures + 1))
    fi
}
refused "unknown flag" "no-such-flag" 2 -- "$CAIRND" --no-such-flag=1
refused "positional argument" "extra" 1 -- "$CAIRND" extra
refused "number out of range" "election-timeout" 1 -- "$CAIRND" --election-timeout 99999999
refused "election below 5 heartbeats" "election-timeout" 1 -- "$CAIRND" --heartbeat-interval 500 --election-timeout 1000
refused "not a number" "snapshot-count" 2 -- "$CAIRND" --snapshot-count many
refused "not a duration" "grpc-keepalive-min-time" 2 -- "$CAIRND" --grpc-keepalive-min-time 5parsecs
refused "listen on a name" "example.com" 1 -- "$CAIRND" --listen-client-urls http://example.com:2379 --advertise-client-urls http://example.com:2379
refused "listen without advertise" "advertise-client-urls" 1 -- "$CAIRND" --listen-client-urls http://127.0.0.1:2379
refused "unknown feature gate" "NoSuchGate" 2 -- "$CAIRND" --feature-gates NoSuchGate=true
refused "flag and variable at once" "conflicting environment variable" 1 -- env ETCD_NAME=a "$CAIRND" --name b
refused "config file that is not there" "nowhere.yaml" 1 -- "$CAIRND" --config-file nowhere.yaml
printf 'name: [a, b\n' >broken.yaml
refused "broken config file, with its line" "line [0-9]" 1 -- "$CAIRND" --config-file broken.yaml
refused "name not in the initial cluster" "other" 1 -- "$CAIRND" --name other --initial-cluster default=http://localhost:2380
refused "data folder that cannot be made" "data folder" 1 -- "$CAIRND" --data-dir /proc/none/data
touch plain-file
refused "data folder that is a file" "plain-file" 1 -- "$CAIRND" --data-dir plain-file
check "none of them made a folder" test ! -e default.etcd

help=$("$CAIRND" --help 2>/dev/null)
expect "--help leaves with 0" 0 $?
for flag in data-dir listen-client-urls quota-backend-bytes auto-compaction-retention config-file; do
    check "--help names --$flag" grep -q -- "--$flag" <<<"$help"
done
"$CAIRND" --version >version
expect "--version leaves with 0" 0 $?
check "--version names etcd's version" grep -q '^etcd Version: 3.7.1$' version
ln -s "$CAIRND" etcd
expect "as etcd: its four lines first" "etcd Version: 3.7.1" "$(./etcd --version | head -1)"

# The same settings three ways.
port=$(free_port)
peer=http://127.0.0.1:$((port + 1))
peer_urls="--listen-peer-urls=$peer --initial-advertise-peer-urls=$peer --initial-cluster=default=$peer"
urls="--listen-client-urls=http://127.0.0.1:$port --advertise-client-urls=http://127.0.0.1:$port $peer_urls"
ready() { check "$1: ready" within $LIMIT_S has "$1" 'ready to serve'; } # LOG
ETCD_DATA_DIR=$work/env ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:$port ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:$port \
    ETCD_LISTEN_PEER_URLS=$peer ETCD_INITIAL_ADVERTISE_PEER_URLS=$peer ETCD_INITIAL_CLUSTER=default=$peer \
    ETCD_NO_SUCH_THING=1 "$CAIRND" >env.log 2>&1 &
server_pid=$!
ready env.log
check "by environment" curl -sf "http://127.0.0.1:$port/health" -o /dev/null
check "an unknown variable is warned about" grep -q NO_SUCH_THING env.log
stop_server
expect "SIGTERM: exit 0" 0 "$server_status"
cat >good.yaml <<Y
name: n1
data-dir: $work/yaml
listen-client-urls: http://127.0.0.1:$port
advertise-client-urls: http://127.0.0.1:$port
listen-peer-urls: $peer
initial-advertise-peer-urls: $peer
initial-cluster: n1=$peer
auto-compaction-mode: revision
auto-compaction-retention: "1000"
client-transport-security:
  client-cert-auth: false
Y
"$CAIRND" --config-file good.yaml >yaml.log 2>&1 &
server_pid=$!
ready yaml.log
check "by config file" curl -sf "http://127.0.0.1:$port/health" -o /dev/null
expect "its name" n1 "$(etcdctl --endpoints 127.0.0.1:$port member list | cut -d, -f3 | tr -d ' ')"
refused "port in use" "process $server_pid \\(cairnd\\) uses port [0-9]+; stop it, or choose another port with --listen-" 1 -- "$CAIRND" --data-dir other $urls
refused "make run, port in use" "port $port .* process $server_pid \\(cairnd\\); stop it, or choose another: make run PORT=" 1 -- \
    env CAIRND="$CAIRND" PORT=$port DNS_PORT=$((port + 30)) "$top/tests/e2e/one.sh"
stop_server
check "every log line is JSON" jq -e . yaml.log -s >/dev/null
refused "a flag of etcd 3.5" "flag provided but not defined: -experimental-initial-corrupt-check" 2 -- \
    "$CAIRND" --data-dir "$work/exp" $urls --experimental-initial-corrupt-check=true

# Started by something that has closed its standard files: their numbers must not become sockets or files of the store.
"$CAIRND" --data-dir "$work/closed" $urls <&- >&- 2>&- &
server_pid=$!
within $LIMIT_S curl -sf -m 5 "http://127.0.0.1:$port/health" -o /dev/null
expect "standard files closed: it stores" OK "$(etcdctl --endpoints 127.0.0.1:$port put a b 2>&1)"
stop_server
expect "and ends with 0" 0 "$server_status"

# make run: its three commands, as they are printed.
mkdir run && ln -s "$(dirname "$CAIRND")" run/bin
(cd run && CAIRND=bin/cairnd PORT=$port DNS_PORT=$((port + 30)) exec "$top/tests/e2e/one.sh" >../run.log 2>&1) &
server_pid=$!
ready run.log
expect "make run prints three commands" 3 "$(grep -c '^  .*cairnctl' run.log)"
(cd run && sed -n 's/^  //p' ../run.log | bash -eu >../run.said 2>&1)
expect "they succeed" 0 $?
check "the key is stored" has run.said '^OK$'
check "the configuration is published" has run.said '^limits.yaml: release 1'
check "the instance is found" has run.said '^w1 *127.0.0.1:8080 *up'
check "make run names the console, which answers" curl -sf "$(sed -n 's/^Web console: //p' run.log)" -o /dev/null
expect "its line for the PATH finds cairnctl" ok "$(cd run && eval "$(grep -o 'export PATH="[^"]*"' ../run.log)" && type -p cairnctl >/dev/null && echo ok)"
stop_server

# TLS: generated, on one port for gRPC and HTTP.
"$CAIRND" --data-dir "$work/tls" --auto-tls $peer_urls --listen-client-urls=https://127.0.0.1:$port \
    --advertise-client-urls=https://127.0.0.1:$port >tls.log 2>&1 &
server_pid=$!
ready tls.log
expect "curl over TLS" '{"health":"true","reason":""}' "$(curl -sk "https://127.0.0.1:$port/health")"
expect "etcdctl over TLS" OK "$(etcdctl --insecure-skip-tls-verify --insecure-transport=false --endpoints "https://127.0.0.1:$port" put a b 2>&1)"
stop_server
finish
