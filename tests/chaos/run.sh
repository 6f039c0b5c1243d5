#!/usr/bin/env bash
# run.sh [SCENARIO...]: clusters of real processes under faults, with recorded and judged histories; one line a scenario.
# Without names: the short form (SHORT in scenarios.sh); "all" and "long" for more. README.md tells more.
#
#   SERVER=bin/cairnd  the program (an etcd does as well)      TOOLS=build/release/tools
#   OUT=build/chaos    logs, steps and histories, a folder for each scenario
#   FAILPOINT_SERVER=  a cairnd built with FAILPOINTS=1, for the scenario that needs it
#
# Exit 0 when nothing failed and nothing was void. A scenario that cannot run here is skipped, and the output
# says so.
cd "$(dirname "$0")/../.." || exit 1
SERVER=$(realpath "${SERVER:-bin/cairnd}") TOOLS=$(realpath "${TOOLS:-build/release/tools}")
mkdir -p "${OUT:-build/chaos}"
OUT=$(realpath "${OUT:-build/chaos}")
[ -z "${FAILPOINT_SERVER:-}" ] || FAILPOINT_SERVER=$(realpath "$FAILPOINT_SERVER")
export SERVER TOOLS OUT FAILPOINT_SERVER
# Network and mount namespaces of our own: faults affect only our processes, and nothing remains afterwards.
if [ -z "${NET:-}" ] && [ "$(id -u)" = 0 ] && command -v nft >/dev/null && unshare -n -m nft add table inet probe 2>/dev/null; then
    NET=1 exec unshare -n -m "$0" "$@"
fi
export NET=${NET:-0}
if [ "$NET" = 1 ]; then
    mount --make-rprivate / && ip link set lo up && ip link add chaos type bridge && ip addr add 10.77.0.1/24 dev chaos && ip link set chaos up
fi
unset $(compgen -v | grep -E '^ETCD(CTL)?_|^GOFAIL_' || true) 2>/dev/null
here=tests/chaos
. tests/shell/tries.sh
. tests/shell/logs.sh
. tests/shell/ports.sh
. $here/lib.sh
. "${SCENARIOS:-$here/scenarios.sh}" # tests/upgrade brings its own
# For members without namespaces of their own: ten ports for each of seven.
base_port=$(free_base 80)
passed=0 failed=0 skipped=0 void=0

try_one() {
    local name=$1 begin=$SECONDS status word
    out=$OUT/$name
    [ ! -e "$out" ] || { rm -rf "$out.before" && mv "$out" "$out.before"; } # of a first try, or of the last run
    mkdir -p "$out"
    ( # members, mounts and namespaces of this scenario end with it
        trap clean_up EXIT
        limit=${LIMIT:-400} me=$BASHPID
        trap 'echo "no end in sight after $limit s, at: $(tail -1 "$out/steps")"; exit 1' ALRM
        (while [ $((SECONDS - begin)) -lt $limit ]; do sleep 1; done; kill -ALRM $me) >"$out/watchdog" 2>&1 &
        watchdog=$!
        "$name"
    ) >"$out/result" 2>"$out/errors"
    status=$?
    case $status in
    0) word=ok && rm -rf "$out"/data* ;;
    "$SKIP") word=skip ;;
    "$VOID") word=VOID ;;
    *) word=FAIL ;;
    esac
    printf '  %-4s %-24s %3d s  %s\n' $word "$name" $((SECONDS - begin)) "$(head -1 "$out/result" | cut -c1-200)"
    case $word in FAIL | VOID)
        sed -n '2,12p' "$out/result" | cut -c1-300 | sed 's/^/         /'
        tail -n 15 "$out/steps" 2>/dev/null | sed 's/^/         /'
        tell_logs "$out"
        ;;
    esac
    return $status
}
run_one() {
    tries "$1" try_one "$1"
    case $? in
    0) passed=$((passed + 1)) ;;
    "$SKIP") skipped=$((skipped + 1)) ;;
    "$VOID") void=$((void + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
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
    echo "${NAME:-chaos}: $passed passed, $failed failed, $void void, $skipped skipped$(at_second_try), $SECONDS s; what is left to read: $OUT"
    [ $((failed + void)) = 0 ]
    exit
}
run_all "$@"
