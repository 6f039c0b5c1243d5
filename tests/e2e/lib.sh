# Shared by the e2e scripts: start and stop a node of their own, say what failed. Source it; CAIRND and TOOLS may be set.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
CAIRND=${CAIRND:-bin/cairnd}
TOOLS=${TOOLS:-build/release/tools}
CAIRND=$(realpath "$CAIRND")
export ETCDCTL_API=3
unset $(compgen -v | grep '^ETCD_' || true) 2>/dev/null || true
work=$(mktemp -d)
server_pid=""
failures=0

stop_server() {
    [ -n "$server_pid" ] || return 0
    kill -"${1:-TERM}" "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_status=$?
    server_pid=""
}
cleanup() {
    stop_server KILL
    rm -rf "$work"
}
trap cleanup EXIT

# A port below 32768 that nobody listens on, for a client URL; the next one is free too.
free_port() {
    local p
    for p in $(shuf -i 20000-29000 -n 50); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null && ! (exec 3<>"/dev/tcp/127.0.0.1/$((p + 1))") 2>/dev/null; then
            echo "$p"
            return
        fi
    done
}

# The first of fifty ports that nobody listens on, for several members.
free_base() {
    local p k
    for p in $(shuf -i 20000-29000 -n 50); do
        for k in $(seq 10 49); do
            (exec 3<>"/dev/tcp/127.0.0.1/$((p + k))") 2>/dev/null && continue 2
        done
        echo "$p"
        return
    done
}

# start_server DIR PORT [flags]: returns when the node says it is ready, or 1.
start_server() {
    local dir=$1 port=$2 i
    shift 2
    mkdir -p "$dir"
    "$CAIRND" --data-dir "$dir/data" --listen-client-urls "http://127.0.0.1:$port" \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" "$@" >>"$dir/log" 2>&1 &
    server_pid=$!
    for i in $(seq 200); do
        grep -q 'ready to serve client requests' "$dir/log" 2>/dev/null && return 0
        kill -0 "$server_pid" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

# check NAME COMMAND...: counts and says what does not hold.
check() {
    local name=$1
    shift
    if "$@"; then
        echo "  ok   $name"
    else
        echo "  FAIL $name"
        failures=$((failures + 1))
    fi
}
# expect NAME WANTED GOT
expect() {
    if [ "$2" = "$3" ]; then
        echo "  ok   $1"
    else
        printf '  FAIL %s\n    wanted: %s\n    got:    %s\n' "$1" "$2" "$3"
        failures=$((failures + 1))
    fi
}
finish() {
    [ "$failures" = 0 ]
    exit $?
}
