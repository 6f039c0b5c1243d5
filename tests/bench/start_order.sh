#!/usr/bin/env bash
# start_order.sh BUILD: prints server/start.order, by one start of BUILD/bin/cairnd, which is built with --coverage: the names
# of the functions that ran until it was healthy, in a second of idleness and at its stop.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.."
build=$1
work=$(mktemp -d "${TMPDIR:-/var/tmp}/order.XXXXXX")
pid=""
clean_up() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
find "$build" -name '*.gcda' -delete
port=21379
while ss -Htln "sport = :$port or sport = :$((port + 1))" | grep -q .; do port=$((port + 2)); done
url=http://127.0.0.1
"$build/bin/cairnd" --data-dir "$work/data" --listen-client-urls $url:$port --advertise-client-urls $url:$port \
    --listen-peer-urls $url:$((port + 1)) --initial-advertise-peer-urls $url:$((port + 1)) \
    --initial-cluster default=$url:$((port + 1)) >"$work/log" 2>&1 &
pid=$!
until curl -sf "$url:$port/health" | grep -q '"true"'; do
    kill -0 $pid || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
sleep 1
kill $pid
wait $pid
pid=""
echo "# Functions that a start runs and an idle node needs: linked side by side (Makefile), so that the kernel, which maps files in"
echo "# windows of 64 KiB, maps little of the rest. Written by make start-order; make lint names functions that do not exist."
find "$build" -name '*.gcda' | while read -r file; do gcov --json-format --stdout "$file" 2>/dev/null; done |
    jq -r '.files[].functions[] | select(.execution_count > 0) | .name' | sort -u
