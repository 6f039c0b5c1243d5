#!/usr/bin/env bash
# config_pages.sh: what a namespace of CONFIGS=10000 configurations costs the loop when it is listed in pages of PAGE=100, ROUNDS=10 times
# over one connection. Prints, for each page: the loop's time by cairn_loop_turn_seconds, CPU of the process, and how many turns were above
# 1.25 ms (a bucket of it). Each page is one request, and the member has nothing else to do.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
CAIRND=${CAIRND:-bin/cairnd}
work=$(mktemp -d)
trap '{ kill -KILL "$pid" && wait "$pid"; } 2>/dev/null; rm -rf "$work"' EXIT
base=$(free_base)
peer=http://127.0.0.1:$((base + 1))
"$CAIRND" --name a --data-dir "$work/a" --listen-client-urls "http://127.0.0.1:$base" --advertise-client-urls "http://127.0.0.1:$base" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "a=$peer" >"$work/a.log" 2>&1 &
pid=$!
until curl -sf "http://127.0.0.1:$base/readyz" >/dev/null; do
    kill -0 $pid || { cat "$work/a.log"; exit 1; }
    sleep 0.1
done
python3 - "$base" "$pid" "${CONFIGS:-10000}" "${PAGE:-100}" "${ROUNDS:-10}" <<'END'
import http.client
import json
import sys
import time

port, pid, count, page, rounds = map(int, sys.argv[1:6])
connection = http.client.HTTPConnection("127.0.0.1", port)


def call(method, path, body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def turns():
    found = {}
    for line in call("GET", "/metrics")[1].decode().splitlines():
        if line.startswith("cairn_loop_turn_seconds"):
            name, value = line.rsplit(" ", 1)
            found[name.removeprefix("cairn_loop_turn_seconds")] = float(value)
    return found


def cpu():
    with open(f"/proc/{pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / 100


for i in range(count):
    status, said = call("PUT", f"/api/v1/configs/config-{i:05}?note=first", f"key: value {i}\n" * 20)
    assert status in (200, 201), said
time.sleep(2)
before, cpu_before, began, pages = turns(), cpu(), time.monotonic(), 0
for _ in range(rounds):
    seen, token = 0, ""
    while True:
        status, said = call("GET", f"/api/v1/configs?limit={page}" + (f"&continue={token}" if token else ""))
        assert status == 200, said
        pages += 1
        answer = json.loads(said)
        seen += len(next(v for v in answer.values() if isinstance(v, list)))
        token = answer.get("continue", "")
        if not token:
            break
    assert seen == count, seen
took, after, cpu_after = time.monotonic() - began, turns(), cpu()
grew = {k: after[k] - before.get(k, 0) for k in after}
long = grew["_count"] - next(v for k, v in grew.items() if 'le="0.00125"' in k)
print(f"{pages} pages of {page} of {count} configurations: {grew['_sum'] / pages * 1000:.3f} ms of the loop a page, "
      f"{(cpu_after - cpu_before) / pages * 1000:.3f} ms of CPU; {long:.0f} of {grew['_count']:.0f} turns above 1.25 ms; "
      f"{took / pages * 1000:.2f} ms until the client has a page")
END
