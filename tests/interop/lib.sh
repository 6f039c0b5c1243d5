# Shared by the parts: a server of any kind, started on free ports, and ended with the script. Source it.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
peers=$root/build/interop
. "$root/tests/shell/ports.sh"
. "$root/tests/shell/logs.sh"
LIMIT_S=60 # for what should happen; a busy machine may let a process wait for many seconds
unset $(compgen -v | grep -E "^ETCD(CTL)?_" || true) 2>/dev/null || true
work=$(mktemp -d)
started=()

cleanup() {
    local status=$? pid
    [ $status = 0 ] || [ $status = "${SKIPPED:-77}" ] || tell_logs "$work"
    for pid in ${started[@]+"${started[@]}"}; do kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
    rm -rf "$work"
    give_back_ports
}
trap cleanup EXIT

answers() { curl -skf --max-time 10 "$1/health" 2>/dev/null | grep -q true; }

# start_members NAME BINARY COUNT [flags]: NAME0, NAME1, ... of one cluster. $ports and $endpoints say where they listen,
# $started has their pids, $work/NAMEi.log what they say. SCHEME=https: over TLS, with the flags' certificate.
start_members() {
    local name=$1 binary=$2 count=$3 i base end=$((SECONDS + LIMIT_S)) cluster="" pids=()
    shift 3
    ports=() endpoints=""
    base=$(free_base)
    for i in $(seq 0 $((count - 1))); do
        ports[i]=$((base + 10 * i))
        cluster+=",$name$i=http://127.0.0.1:$((ports[i] + 1))"
        endpoints+=",127.0.0.1:${ports[i]}"
    done
    endpoints=${endpoints#,}
    for i in $(seq 0 $((count - 1))); do
        local client=${SCHEME:-http}://127.0.0.1:${ports[i]} peer=http://127.0.0.1:$((ports[i] + 1))
        "$binary" --name "$name$i" --data-dir "$work/$name$i" --listen-client-urls "$client" --advertise-client-urls "$client" \
            --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "${cluster#,}" \
            "$@" >"$work/$name$i.log" 2>&1 &
        pids[i]=$!
        started+=($!)
    done
    for i in $(seq 0 $((count - 1))); do
        until answers "${SCHEME:-http}://127.0.0.1:${ports[i]}"; do
            kill -0 "${pids[i]}" 2>/dev/null && [ $SECONDS -le $end ] || { echo "$binary does not start as $name$i" >&2; return 1; }
            sleep 0.05
        done
    done
}

# One of whose answers says that another leads: its place in $ports.
a_follower() {
    local i
    for i in "${!ports[@]}"; do
        curl -sf --max-time 10 "http://127.0.0.1:${ports[i]}/v3/maintenance/status" -d '{}' |
            python3 -c 'import json, sys; s = json.load(sys.stdin); sys.exit(s["leader"] == s["header"]["member_id"])' &&
            { echo "$i"; return; }
    done
    return 1
}

# within COMMAND...: it succeeds in time.
within() {
    local end=$((SECONDS + LIMIT_S))
    until "$@"; do
        [ $SECONDS -le $end ] || return 1
        sleep 0.1
    done
}

# older_etcds: fills $older with VERSION=BINARY, of those etcds that this machine has or can build, and $no_older with the others.
older_etcds() {
    local binary version
    older=() no_older=""
    binary=$(command -v etcd) && [[ $("$binary" --version) = *" 3.4."* ]] && older+=("3.4=$binary") || no_older+=" 3.4"
    for version in 3.5 3.6; do
        binary=$peers/etcd${version/./}
        (cd "$here/etcd${version/./}" && timeout 900 go build -buildvcs=false -o "$binary" .) >"$peers/go-older.log" 2>&1 &&
            older+=("$version=$binary") || no_older+=" $version"
    done
    [ -z "$no_older" ] || echo "skipped: no etcd$no_older on this machine"
}

# start_server NAME BINARY [flags]: its port is in $port, its log in $work/NAME.log.
start_server() {
    local name=$1 binary=$2 end=$((SECONDS + LIMIT_S))
    shift 2
    port=$(free_port)
    "$binary" --name default --data-dir "$work/$name" --listen-client-urls "http://127.0.0.1:$port" \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" "$@" >"$work/$name.log" 2>&1 &
    started+=($!)
    until answers "http://127.0.0.1:$port"; do
        kill -0 $! 2>/dev/null && [ $SECONDS -le $end ] || { echo "$binary does not start" >&2; return 1; }
        sleep 0.05
    done
}
