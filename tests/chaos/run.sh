#!/usr/bin/env bash
# run.sh [SCENARIO...]: clusters of real processes under faults, with recorded and judged histories; one line a scenario.
# Without names: the short form (SHORT in scenarios.sh); "all" and "long" for more. README.md tells more.
#
#   SERVER=bin/cairnd  the program (an etcd does as well)      TOOLS=build/release/tools
#   OUT=build/chaos    logs, steps and histories, a folder for each scenario
#   FAILPOINT_SERVER=  a cairnd built with FAILPOINTS=1, for the scenario that needs it
#
# Exit 0 when nothing failed and nothing was void. What cannot run here is skipped and says so.
cd "$(dirname "$0")/../.." || exit 1
SERVER=$(realpath "${SERVER:-bin/cairnd}") TOOLS=$(realpath "${TOOLS:-build/release/tools}")
mkdir -p "${OUT:-build/chaos}"
OUT=$(realpath "${OUT:-build/chaos}")
[ -z "${FAILPOINT_SERVER:-}" ] || FAILPOINT_SERVER=$(realpath "$FAILPOINT_SERVER")
export SERVER TOOLS OUT FAILPOINT_SERVER
# A network and mounts of our own: then faults are ours alone, and nothing is left behind.
if [ -z "${NET:-}" ] && [ "$(id -u)" = 0 ] && command -v nft >/dev/null && unshare -n -m nft add table inet probe 2>/dev/null; then
    NET=1 exec unshare -n -m "$0" "$@"
fi
export NET=${NET:-0}
if [ "$NET" = 1 ]; then
    mount --make-rprivate / && ip link set lo up && ip link add chaos type bridge && ip addr add 10.77.0.1/24 dev chaos && ip link set chaos up
fi
unset $(compgen -v | grep -E '^ETCD(CTL)?_|^GOFAIL_' || true) 2>/dev/null
here=tests/chaos
. $here/lib.sh
. $here/scenarios.sh
# Only without namespaces of our own: ten ports for each member.
base_port=$((20000 + RANDOM % 800 * 10))
passed=0 failed=0 skipped=0 void=0

run_one() {
    local name=$1 begin=$SECONDS status word
    out=$OUT/$name
    rm -rf "$out"
    mkdir -p "$out"
    ( # members, mounts and namespaces of this scenario end with it
        trap clean_up EXIT
        trap 'echo "no end in sight after ${LIMIT:-90} s, at: $(tail -1 "$out/steps")"; exit 1' ALRM
        (sleep "${LIMIT:-90}" && kill -ALRM $BASHPID) 2>/dev/null &
        "$name"
    ) >"$out/result" 2>"$out/errors"
    status=$?
    case $status in
    0) word=ok passed=$((passed + 1)) && rm -rf "$out"/data* ;;
    "$SKIP") word=skip skipped=$((skipped + 1)) ;;
    "$VOID") word=VOID void=$((void + 1)) ;;
    *) word=FAIL failed=$((failed + 1)) ;;
    esac
    printf '  %-4s %-24s %3d s  %s\n' $word "$name" $((SECONDS - begin)) "$(head -1 "$out/result" | cut -c1-200)"
    case $word in FAIL | VOID) sed -n '2,12p' "$out/result" | cut -c1-300 | sed 's/^/         /' ;; esac
}

run_all() {
    local name list="$*"
    [ -n "$list" ] || list=$SHORT
    [ "$list" != all ] || list=$ALL
    [ "$list" != long ] || list="$ALL $LONG"
    for name in $list; do
        if grep -qw -- "$name" <<<"$ALL $LONG"; then
            run_one "$name"
        else
            echo "  FAIL $name: there is no such scenario" && failed=$((failed + 1))
        fi
    done
    echo "chaos: $passed passed, $failed failed, $void void, $skipped skipped, $SECONDS s; what is left to read: $OUT"
    [ $((failed + void)) = 0 ]
    exit
}
run_all "$@"
