#!/usr/bin/env bash
# checks.sh: the CPU of a member that runs CHECKS=10000 HTTP health checks (TYPE=grpc: gRPC) every 10 s for SECONDS=30, from
# /proc. Another process of the same program is the instances, on 50 addresses of loopback. Fails above 1/4 of a core (25 %).
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
CAIRND=${CAIRND:-bin/cairnd}
checks=${CHECKS:-10000}
seconds=${SECONDS_MEASURED:-30}
type=${TYPE:-http}
work=$(mktemp -d)
pids=()
trap 'kill -KILL "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
base=$(free_base)

# start NAME PORT HOST [flags]
start() {
    local peer=http://127.0.0.1:$(($2 + 1))
    "$CAIRND" --name "$1" --data-dir "$work/$1" --listen-client-urls "http://$3:$2" --advertise-client-urls "http://127.0.0.1:$2" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "$1=$peer" "${@:4}" >"$work/$1.log" 2>&1 &
    pids+=($!)
    until curl -sf "http://127.0.0.1:$2/readyz" >/dev/null; do
        kill -0 ${pids[-1]} || { cat "$work/$1.log"; exit 1; }
        sleep 0.1
    done
}
start instances $((base + 10)) 0.0.0.0
start checker "$base" 127.0.0.1 --registry-check-allow 127.0.0.0/8 --registry-max-checks 0 --registry-max-namespace-checks 0
checker=${pids[1]}
python3 - "$base" $((base + 10)) "$checks" "$type" <<'END'
import http.client
import sys

port, target, count = map(int, sys.argv[1:4])
more = '"type":"grpc"' if sys.argv[4] == "grpc" else '"type":"http","path":"/health"'
connection = http.client.HTTPConnection("127.0.0.1", port)
for i in range(count):
    body = f'{{"host":"127.0.0.{2 + i % 50}","port":{target},"check":{{{more},"interval":"10s"}}}}'
    connection.request("PUT", f"/api/v1/services/s{i % 100}/instances/i{i}", body)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
END
metric() { curl -s "http://127.0.0.1:$base/metrics" | awk -v n="$1" '$1 == n { print $2 }'; }
cpu() { awk '{ print $14 + $15 }' "/proc/$checker/stat"; }
until [ "$(metric 'cairn_registry_instances{state="up"}')" = "$checks" ]; do sleep 0.5; done
sleep 5
from=$(cpu) probes=$(metric cairn_registry_check_probes_total) failures=$(metric cairn_registry_check_failures_total)
sleep "$seconds"
ticks=$(($(cpu) - from))
probes=$(($(printf %.0f "$(metric cairn_registry_check_probes_total)") - $(printf %.0f "$probes")))
failures=$(($(printf %.0f "$(metric cairn_registry_check_failures_total)") - $(printf %.0f "$failures")))
awk -v t=$ticks -v hz="$(getconf CLK_TCK)" -v s="$seconds" -v p=$probes -v f=$failures -v n="$checks" -v type="$type" 'BEGIN {
    share = t / hz / s * 100
    printf "checks: %d checks of type %s every 10 s: %.1f %% of a core, %d a second, %.0f us each, %d failed\n", n, type, share, p / s, t / hz / p * 1e6, f
    exit share > 25 || f > 0 || p / s < n / 10 * 0.9
}'
