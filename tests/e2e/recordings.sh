#!/usr/bin/env bash
# Version 1 of the native API stays compatible: the answers of its first edition, recorded from a build of that time, are those of
# today, with additions at most (recordings.py). A deliberate change is a new version, not a new recording.
. "$(dirname "$0")/lib.sh"
recordings=$(realpath tests/e2e/recordings)
player=$(realpath tests/e2e/recordings.py)
for file in "$recordings"/*.json; do
    port=$(free_base)
    start_server "$work/$(basename "$file" .json)" "$port" || { cat "$work/log"; exit 1; }
    timeout 300 python3 "$player" replay "$port" "$file" >"$work/differences" 2>&1
    status=$?
    [ $status = 0 ] || cat "$work/differences"
    check "$(basename "$file" .json): $(tail -n 1 "$work/differences")" [ $status = 0 ]
    stop_server TERM
done
finish
