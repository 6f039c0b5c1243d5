# The parts of a CI run: each part's output is shown as it comes and kept. Failures are repeated at the
# very end, because often only the end of the output is kept. Source it; $logs is where outputs are kept.
#
# Time: a part that lasts longer than PART_S, or to END_S of the run, is ended and has failed. After BEGIN_S
# `part_if_time` begins nothing more and says so; `in_turn` lets each run begin at another part.
. "$(dirname "${BASH_SOURCE[0]}")/tries.sh"
passed=0
failed_parts=()
flaky_parts=()
late_parts=()
: "${PART_S:=1500}" "${BEGIN_S:=3600}" "${END_S:=4980}"

log_of() { echo "$logs/${1//[^A-Za-z0-9_-]/_}"; }

# Ends the program and what it has started when its time is over. A function of this shell is not limited.
limited() {
    local left=$((END_S - SECONDS)) status
    [ "$(type -t "$1")" = file ] || { "$@"; return; }
    [ $left -ge "$PART_S" ] && left=$PART_S
    [ $left -ge 1 ] || left=1
    timeout --kill-after=30 $left "$@"
    status=$?
    [ $status = 124 ] && echo "FAIL: ended after $left s"
    return $status
}

# part NAME COMMAND...: its status is the command's. The output goes through a file: a remaining process
# that holds it open does not delay this script.
part() {
    local name=$1 log start=$SECONDS status
    shift
    log=$(log_of "$name")
    mkdir -p "$logs" && : >"$log"
    echo "=== $name: $*"
    limited "$@" >"$log" 2>&1 </dev/null &
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
    part "$name" tries "$name" limited "$@"
}

# Runs the rest of the line (part or part_twice, a name, a command), or notes the name: too late.
part_if_time() {
    if [ $SECONDS -ge "$BEGIN_S" ]; then
        echo "=== $2: not begun, $((SECONDS / 60)) minutes have gone"
        late_parts+=("$2")
        return 0
    fi
    "$@"
}
# in_turn NUMBER LINE...: runs the lines, beginning at another one for each number.
in_turn() {
    local number=$1 i
    shift
    local lines=("$@")
    for ((i = 0; i < ${#lines[@]}; i++)); do
        eval "part_if_time ${lines[(i + number) % ${#lines[@]}]}"
    done
}

shorter() { cut -c1-300 | sed 's/^/    /'; }
what_says_so() { # LOG LINES: the lines after a word that reports an error
    grep -anE -A 3 'FAIL|WRONG|VOID|[Ee]rror[: ]|Sanitizer' "$1" | head -n "$2" | shorter
}
# Prints the failures in short, and one line with the counts; status 0 when nothing failed.
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
    [ ${#late_parts[@]} = 0 ] || echo "not begun: ${late_parts[*]}"
    echo "$passed passed, ${#failed_parts[@]} failed$([ ${#late_parts[@]} = 0 ] || echo ", ${#late_parts[@]} not begun")$([ ${#flaky_parts[@]} = 0 ] || echo ", ${#flaky_parts[@]} of them at the second try: ${flaky_parts[*]}")"
    [ ${#failed_parts[@]} = 0 ]
}
