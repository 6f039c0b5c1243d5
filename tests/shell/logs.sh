# The logs of a test's servers: a failure prints them at once, because the folder is deleted afterwards.
# Source it.

. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# tell_logs FOLDER: the last fifteen lines of each log below it.
tell_logs() {
    local f
    find "$1" -maxdepth 3 -type f \( -name '*log' -o -name '*.log.last' -o -name 'log[0-9]' \) -size +0c 2>/dev/null | sort | head -n 12 |
        while IFS= read -r f; do
            printf '    --- %s ends with:\n' "${f#"$1"/}"
            tail -n 15 "$f" | tr -d '\000' | cut -c1-260 | sed 's/^/    | /'
        done
}
