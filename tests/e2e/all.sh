#!/usr/bin/env bash
# all.sh [NAME...]: every e2e script, or those named, each with servers and folders of its own, two
# at a time: mostly they wait. The output of a script is printed in one piece when it ends. None has
# a second try.
cd "$(dirname "$0")" || exit 1
. ../shell/environment.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'kill $(cat "$work"/*.pid) 2>/dev/null; exit 130' INT TERM # each has a process group of its own
passed=0
failed=0
limit_s=600 # ten times as long as usual
# The longest first.
scripts=(stream readme auth ctl ctl_words ctl_flags ctl_output complete docs recipe snapshots restore restore_kill migrate migrate_kill backup backup_gap backup_pit defrag cluster first_start peer_proof config_members config_move registry registry_list checks checks_ttl events long_reads quota full_store fill_ways restart config tls http2 http2_websocket dns options flags discovery addresses approval encryption config_schema idempotency promote recordings audit matrix inputs server namespace_members namespace namespaces "crash 5")
[ $# = 0 ] || scripts=("$@")

# first NAME [ARGUMENTS]: leaves its status in $work/NAME
first() {
    local begin=$SECONDS
    timeout -k 10 $limit_s "./$1.sh" "${@:2}" >"$work/$1.out" 2>&1 &
    echo $! >"$work/$1.pid"
    wait $!
    echo $? >"$work/$1"
    rm "$work/$1.pid"
    flock "$work" sh -c 'echo "e2e: $1, $2 s"; cat "$3"' - "$*" $((SECONDS - begin)) "$work/$1.out"
}

running=0
for script in "${scripts[@]}"; do
    [ $running -lt 2 ] || { wait -n; running=$((running - 1)); }
    # shellcheck disable=SC2086
    first $script &
    running=$((running + 1))
done
wait
for script in "${scripts[@]}"; do
    name=${script%% *}
    case $(cat "$work/$name") in
    0) passed=$((passed + 1)) ;;
    124 | 137) failed=$((failed + 1)) && echo "e2e: $name FAILED: not over within $limit_s s" ;;
    *) failed=$((failed + 1)) && echo "e2e: $name FAILED" ;;
    esac
done
echo "e2e: $passed passed, $failed failed"
[ $failed = 0 ]
