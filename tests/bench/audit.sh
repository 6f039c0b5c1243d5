#!/usr/bin/env bash
# audit.sh: the CPU of a member for one publish with the audit trail and without it (--audit=false), RUNS=3 of SECONDS_EACH=3 in turn, each
# with a member of its own: contents of 1 KiB as text and as YAML over 64 connections, and one client alone. Fails if the median with it is
# more than 15 % above that without it.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
CAIRND=${CAIRND:-bin/cairnd}
TOOLS=${TOOLS:-build/release/tools}
for program in "$CAIRND" "$TOOLS/config_load"; do
    [ -x "$program" ] || { echo "audit: there is no $program: make $program"; exit 2; }
done
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null; rm -rf "$work"' EXIT

# one AUDIT HOW...: CPU in us of a publish
one() {
    local base peer
    base=$(free_base)
    peer=http://127.0.0.1:$((base + 1))
    rm -rf "$work/d"
    "$CAIRND" --name a --data-dir "$work/d" --listen-client-urls "http://127.0.0.1:$base" --advertise-client-urls "http://127.0.0.1:$base" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "a=$peer" --audit="$1" >"$work/log" 2>&1 &
    pid=$!
    until curl -sf "http://127.0.0.1:$base/readyz" >/dev/null; do
        kill -0 $pid || { cat "$work/log" >&2; exit 1; }
        sleep 0.1
    done
    "$TOOLS/config_load" --port "$base" --pid $pid --seconds "${SECONDS_EACH:-3}" "${@:2}" | jq -er .server_cpu_us
    { kill -KILL $pid && wait $pid; } 2>/dev/null
    pid=
}
failed=0
while IFS='|' read -r what how; do
    : >"$work/true" >"$work/false"
    for _ in $(seq "${RUNS:-3}"); do
        for audit in true false; do
            # shellcheck disable=SC2086
            one $audit $how >>"$work/$audit" || { echo "audit: $what failed"; exit 1; }
        done
    done
    paste <(sort -g "$work/true") <(sort -g "$work/false") | awk -v what="$what" '{ with[NR] = $1; without[NR] = $2 } END {
        at = int((NR + 1) / 2)
        printf "| %s | %.2f | %.2f | %.2f |\n", what, with[at], without[at], with[at] / without[at]
        exit with[at] > 1.15 * without[at]
    }' || failed=1
done <<'END'
publish 1 KiB, text|--op put --size 1024 --type text --names 10000
publish 1 KiB, YAML|--op put --size 1024 --type yaml --names 10000
publish 16 KiB, YAML|--op put --size 16384 --type yaml --names 10000
compare-and-swap, 1 client|--op cas --size 1024
END
exit $failed
