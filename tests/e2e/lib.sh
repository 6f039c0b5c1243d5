# Shared by the e2e scripts: starts and stops of a node, and reports of failures. Source it; CAIRND and TOOLS may be set.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/shell/logs.sh
. tests/shell/ports.sh
CAIRND=${CAIRND:-bin/cairnd}
TOOLS=${TOOLS:-build/release/tools}
CAIRND=$(realpath "$CAIRND")
unset $(compgen -v | grep -E '^ETCD(CTL)?_' || true) 2>/dev/null || true
# The time limit of every condition: a loaded machine may let a process wait for many seconds. Correct code takes far less.
LIMIT_S=60
export ETCDCTL_API=3
work=$(mktemp -d)
server_pid=""
failures=0

# etcdctl waits five seconds for an answer; this one waits as long as above (3.4 takes no variable for that).
# A later flag overrides it.
mkdir "$work/bin"
printf '#!/bin/sh\nexec %s --dial-timeout=%ss --command-timeout=%ss "$@"\n' "$(command -v etcdctl)" $LIMIT_S $LIMIT_S >"$work/bin/etcdctl"
chmod +x "$work/bin/etcdctl"
PATH=$work/bin:$PATH
# For commands that must fail, or are repeated.
impatient=--command-timeout=3s

stop_server() {
    [ -n "$server_pid" ] || return 0
    kill -"${1:-TERM}" "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_status=$?
    server_pid=""
}
end_more() { :; } # other processes that a script must end
cleanup() {
    local status=$?
    [ $status = 0 ] || [ "$failures" != 0 ] || fails "the script broke off with status $status"
    exec 2>/dev/null # the shell reports each killed process
    end_more
    stop_server KILL
    rm -rf "$work"
}
trap cleanup EXIT

# within SECONDS COMMAND...: it succeeds in time.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -le $end ] || return 1
        sleep 0.05
    done
}
# connections_come URL BEFORE COUNT: so many more descriptors are in use than there were. A client that must wait leaves no other trace.
descriptors() { curl -s -m 30 "$1/metrics" | awk '$1 == "os_fd_used" { print $2 }'; }
connections_come() {
    more_connections() { [ "$(descriptors "$1")" -ge $(($2 + $3)) ]; }
    within $LIMIT_S more_connections "$@" && sleep 0.3 # its request arrives with the connection
}
has() { grep -q -- "$2" "$1"; } # FILE PATTERN
# hear FILE COUNT PATTERN COMMAND...: what COMMAND, which does not end by itself, prints to FILE until PATTERN is in COUNT of its
# lines; it has as long as all that should happen.
hear() {
    local file=$1 count=$2 pattern=$3 pid
    shift 3
    "$@" >"$file" &
    pid=$!
    is_heard() { [ "$(grep -cE -- "$pattern" "$file")" -ge "$count" ] || is_gone "$pid"; }
    within $LIMIT_S is_heard
    kill "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
}
is_gone() { ! kill -0 "$1" 2>/dev/null; }

# launch DIR PORT [flags]: starts a node without waiting. Its output is appended to DIR/log.
launch() {
    local dir=$1 port=$2
    shift 2
    "$CAIRND" --data-dir "$dir/data" --listen-client-urls "http://127.0.0.1:$port" \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" "$@" >>"$dir/log" 2>&1 &
    server_pid=$!
}
# start_server DIR PORT [flags]: returns when the node says it is ready, or 1.
start_server() {
    local dir=$1 end=$((SECONDS + LIMIT_S)) from
    mkdir -p "$dir" && touch "$dir/log"
    while :; do
        from=$(($(stat -c %s "$dir/log") + 1))
        launch "$@"
        until tail -c "+$from" "$dir/log" | grep -q 'ready to serve client requests'; do
            [ $SECONDS -le $end ] || return 1
            is_gone "$server_pid" && break
            sleep 0.05
        done
        is_gone "$server_pid" || return 0
        # Another program's connection may have taken the port meanwhile.
        tail -c "+$from" "$dir/log" | grep -qi 'address already in use' && [ $SECONDS -le $end ] || return 1
        sleep 1
    done
}

# fails WHAT: counts a failure, and prints it. The first ones come with the servers' logs; later ones often follow from them.
fails() {
    printf '  FAIL %s\n' "$*"
    failures=$((failures + 1))
    [ $failures -gt 2 ] || tell_logs "$work"
}
# check NAME COMMAND...: runs COMMAND; counts and prints a failure.
check() {
    local name=$1
    shift
    if "$@"; then
        echo "  ok   $name"
    else
        fails "$name"
    fi
}
# expect NAME WANTED GOT
expect() {
    if [ "$2" = "$3" ]; then
        echo "  ok   $1"
    else
        fails "$(printf '%s\n    wanted: %s\n    got:    %s' "$1" "$2" "$3")"
    fi
}
finish() {
    [ "$failures" = 0 ]
    exit $?
}
