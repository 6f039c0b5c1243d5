# A second try for tests with real processes on real time. Source it.
#
# Only with CI_RETRY=1, which only .ci/run sets; README.md says why, and which tests are
# never tried twice. A pass at the second try only is printed as `FLAKY: name` after the output of
# the first one, is counted, and is a defect to be repaired.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
flaky=()

# tries NAME COMMAND...: its status is that of the last try. 77 means skipped.
tries() {
    local name=$1 status
    shift
    "$@"
    status=$?
    { [ $status = 0 ] || [ $status = 77 ] || [ "${CI_RETRY:-}" != 1 ]; } && return $status
    echo "SECOND TRY: $name, which ended with $status (above)"
    "$@"
    status=$?
    if [ $status = 0 ]; then
        flaky+=("$name")
        echo "FLAKY: $name passed at the second try"
    fi
    return $status
}

# For a closing line: ", 1 of them at the second try: name", or nothing.
at_second_try() {
    [ ${#flaky[@]} = 0 ] || echo ", ${#flaky[@]} of them at the second try: ${flaky[*]}"
}
