# Shared by the parts: a server of any kind, started on free ports, and ended with the script. Source it.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
peers=$root/build/interop
unset $(compgen -v | grep -E "^ETCD(CTL)?_" || true) 2>/dev/null || true
work=$(mktemp -d)
started=()

cleanup() {
    local pid
    for pid in ${started[@]+"${started[@]}"}; do kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap cleanup EXIT

# A port below the ephemeral ones that nobody listens on, nor on the next one.
free_port() {
    local p
    for p in $(shuf -i 20000-29000 -n 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$((p + 1))") 2>/dev/null || {
            echo "$p"
            return
        }
    done
}

answers() { curl -skf --max-time 2 "$1/health" 2>/dev/null | grep -q true; }

# start_members NAME BINARY COUNT [flags]: NAME0, NAME1, ... of one cluster. $ports and $endpoints say where they listen,
# $started has their pids, $work/NAMEi.log what they say. SCHEME=https: over TLS, with the flags' certificate.
start_members() {
    local name=$1 binary=$2 count=$3 i k cluster="" pids=()
    shift 3
    ports=() endpoints=""
    for i in $(seq 0 $((count - 1))); do
        ports[i]=$(free_port)
        while [ "$i" -gt 0 ] && [[ " ${ports[*]:0:i} " == *" ${ports[i]} "* || " ${ports[*]:0:i} " == *" $((ports[i] - 1)) "* ||
            " ${ports[*]:0:i} " == *" $((ports[i] + 1)) "* ]]; do ports[i]=$(free_port); done
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
        for k in $(seq 400); do
            answers "${SCHEME:-http}://127.0.0.1:${ports[i]}" && continue 2
            kill -0 "${pids[i]}" 2>/dev/null || break
            sleep 0.05
        done
        echo "$binary does not start as $name$i:" >&2
        tail -5 "$work/$name$i.log" >&2
        return 1
    done
}

# One of whose answers says that another leads: its place in $ports.
a_follower() {
    local i
    for i in "${!ports[@]}"; do
        curl -sf --max-time 2 "http://127.0.0.1:${ports[i]}/v3/maintenance/status" -d '{}' |
            python3 -c 'import json, sys; s = json.load(sys.stdin); sys.exit(s["leader"] == s["header"]["member_id"])' &&
            { echo "$i"; return; }
    done
    return 1
}

# start_server NAME BINARY [flags]: its port is in $port, its log in $work/NAME.log.
start_server() {
    local name=$1 binary=$2 i
    shift 2
    port=$(free_port)
    "$binary" --name default --data-dir "$work/$name" --listen-client-urls "http://127.0.0.1:$port" \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" "$@" >"$work/$name.log" 2>&1 &
    started+=($!)
    for i in $(seq 300); do
        answers "http://127.0.0.1:$port" && return 0
        kill -0 $! 2>/dev/null || break
        sleep 0.05
    done
    echo "$binary does not start:" >&2
    tail -5 "$work/$name.log" >&2
    return 1
}
