# The parts of a CI run: each one's output is shown as it comes and kept, and what failed is told again at the very end, because
# often only the end of the output is kept. Source it; $logs is where outputs are kept.
. "$(dirname "${BASH_SOURCE[0]}")/tries.sh"
passed=0
failed_parts=()
flaky_parts=()

log_of() { echo "$logs/${1//[^A-Za-z0-9_-]/_}"; }

# part NAME COMMAND...: its status is the command's. The output goes through a file: a process left over that holds it open
# does not hold this up.
part() {
    local name=$1 log start=$SECONDS status
    shift
    log=$(log_of "$name")
    mkdir -p "$logs" && : >"$log"
    echo "=== $name: $*"
    "$@" >"$log" 2>&1 </dev/null &
    tail -n +1 -s 0.2 -f --pid=$! "$log" | grep -a --line-buffered -v '^  \(CC\|LD\)  '
    wait $!
    status=$?
    if [ $status = 0 ]; then
        passed=$((passed + 1))
        grep -aq '^ *FLAKY: ' "$log" && flaky_parts+=("$name")
        echo "=== $name: ok, $((SECONDS - start)) s"
    else
        failed_parts+=("$name")
        echo "=== $name: FAILED, $((SECONDS - start)) s"
    fi
    return $status
}
# The same for a part that is one long story on real time, and knows no second try itself.
part_twice() {
    local name=$1
    shift
    part "$name" tries "$name" "$@"
}

shorter() { cut -c1-300 | sed 's/^/    /'; }
what_says_so() { # LOG LINES: what is behind a word that says that something is wrong
    grep -anE -A 3 'FAIL|WRONG|VOID|[Ee]rror[: ]|Sanitizer' "$1" | head -n "$2" | shorter
}
# What was not right, in short, and one line that counts; status 0 when nothing failed.
closing() {
    local name log
    for name in "${flaky_parts[@]}"; do
        log=$(log_of "$name")
        printf '\n=== %s: passed at the second try. What said at the first one that it did not:\n' "$name"
        what_says_so "$log" 40
        echo "    The end of that try:"
        grep -a -B 30 '^ *SECOND TRY: ' "$log" | tail -n 90 | shorter
        grep -a '^ *FLAKY: ' "$log"
    done
    for name in "${failed_parts[@]}"; do
        log=$(log_of "$name")
        printf '\n=== %s FAILED. What says so:\n' "$name"
        what_says_so "$log" 60
        echo "    Its last lines:"
        grep -av '^  \(CC\|LD\)  ' "$log" | tail -n 40 | shorter
    done
    [ ${#failed_parts[@]} = 0 ] || echo "failed: ${failed_parts[*]}"
    echo "$passed passed, ${#failed_parts[@]} failed$([ ${#flaky_parts[@]} = 0 ] || echo ", ${#flaky_parts[@]} of them at the second try: ${flaky_parts[*]}")"
    [ ${#failed_parts[@]} = 0 ]
}
