#!/usr/bin/env bash
# failover.sh [TIMES]: kills the leader of three members some times (5), each time in a cluster that serves, and prints how
# long the cluster takes to accept a write again. SERVER, TOOLS, OUT as for run.sh. One line: milliseconds, sorted, and their
# median:   failover cairnd: 1102 1144 1187 ms, median 1144 ms
cd "$(dirname "$0")/../.." || exit 1
SERVER=$(realpath "${SERVER:-bin/cairnd}") TOOLS=$(realpath "${TOOLS:-build/release/tools}") NET=0
mkdir -p "${OUT:-build/chaos}"
out=$(realpath "${OUT:-build/chaos}")/failover
rm -rf "$out" && mkdir -p "$out"
. tests/shell/ports.sh
. tests/chaos/lib.sh
base_port=$(free_base 80)
trap clean_up EXIT
cluster 3
measured=()
for _ in $(seq "${1:-5}"); do
    l=$(leader) || exit 1
    # shellcheck disable=SC2046
    said=$("$TOOLS/failover" "${pid[$l]}" "$l" $(endpoints)) || fail "no write is accepted after the leader's death"
    wait "${pid[$l]}" 2>/dev/null
    measured+=("$(sed 's/.*answered=//' <<<"$said")")
    start "$l"
    ready || fail "the member does not come back"
done
sorted=$(printf '%s\n' "${measured[@]}" | sort -n)
echo "failover $(basename "$SERVER"): $(echo $sorted) ms, median $(sed -n "$(((${#measured[@]} + 1) / 2))p" <<<"$sorted") ms"
