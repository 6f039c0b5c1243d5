#!/usr/bin/env bash
# The programs of libcairn's tests under valgrind's memcheck, on one member: no invalid access, no use of what was never
# set, and nothing left at the end. PROGRAMS and EXAMPLES are the folders of the built programs, without sanitizers.
. "$(dirname "$0")/../e2e/lib.sh"
PROGRAMS=$(realpath "$PROGRAMS") EXAMPLES=$(realpath "$EXAMPLES")
if ! command -v valgrind >/dev/null; then
    echo "  --   memcheck   valgrind is missing"
    exit 0
fi
port=$(free_port)
endpoint=127.0.0.1:$port
checked() { # PROGRAM ARGUMENTS...
    valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect,possible \
        --log-file="$work/valgrind.log" "$@" >"$work/out" 2>&1 && return
    cat "$work/out" "$work/valgrind.log" | head -60
    false
}
check "a server starts" start_server "$work/d" "$port"
check "every call" checked "$PROGRAMS/calls" "$endpoint"
check "locks and elections" checked "$PROGRAMS/locks" "$endpoint" rules
check "a client without a thread" checked "$PROGRAMS/loop" "$endpoint"
for example in kv service threads libuv_loop; do
    check "example $example" checked "$EXAMPLES/$example" "$endpoint"
done
finish
