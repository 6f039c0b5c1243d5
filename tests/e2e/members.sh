# Several members for the e2e scripts; source it after lib.sh. Member i listens for clients on port $((base + 10 * i)), for
# peers one above; its folder is $work/ni, its log $work/ni.log.
base=$(free_base)
declare -A member_pids=()

client_url() { echo "http://127.0.0.1:$((base + 10 * $1))"; }
peer_url() { echo "http://127.0.0.1:$((base + 10 * $1 + 1))"; }
endpoint() { echo "127.0.0.1:$((base + 10 * $1))"; }
endpoints() { # number...
    local list="" i
    for i in "$@"; do list+="${list:+,}$(endpoint "$i")"; done
    echo "$list"
}
cluster_of() { # number...
    local list="" i
    for i in "$@"; do list+="${list:+,}n$i=$(peer_url "$i")"; done
    echo "$list"
}
cluster=$(cluster_of 1 2 3)
# The proof of membership; empty: dial-backs. Unannounced members need it to be added.
(umask 077 && head -c 33 /dev/urandom | base64 >"$work/token")
proof=(--join-token-file "$work/token")

# start_member NUMBER [flags]: does not wait. Its log is appended to.
start_member() {
    local i=$1
    shift
    "$CAIRND" --name "n$i" --data-dir "$work/n$i" --listen-client-urls "$(client_url "$i")" \
        --advertise-client-urls "$(client_url "$i")" --listen-peer-urls "$(peer_url "$i")" \
        --initial-advertise-peer-urls "$(peer_url "$i")" --initial-cluster "$cluster" --initial-cluster-token e2e \
        --heartbeat-interval 50 --election-timeout 500 "${proof[@]}" \
        "$@" >>"$work/n$i.log" 2>&1 &
    member_pids[$i]=$!
}
# says NUMBER TEXT: the log has it, or gets it in time.
says() { within $LIMIT_S has "$work/n$1.log" "$2"; }
serves() { says "$1" 'ready to serve client requests'; }
# stop_member NUMBER SIGNAL: member_status is its exit code. A new log begins.
stop_member() {
    kill -"$2" "${member_pids[$1]}" 2>/dev/null
    ended "$1"
}
ended() {
    wait "${member_pids[$1]}" 2>/dev/null
    member_status=$?
    unset "member_pids[$1]"
    cp "$work/n$1.log" "$work/n$1.log.last"
    : >"$work/n$1.log"
}
ctl() { etcdctl --endpoints "$(endpoints 1 2 3)" "$@"; }
ctl_on() { # number, command
    local i=$1
    shift
    etcdctl --endpoints "$(endpoint "$i")" "$@"
}
# The number of the member that leads.
leader() {
    local i status end=$((SECONDS + LIMIT_S))
    while [ $SECONDS -le $end ]; do
        for i in 1 2 3; do
            status=$(etcdctl $impatient --endpoints "$(endpoint $i)" endpoint status -w json 2>/dev/null) || continue
            [ "$(jq '.[0].Status | .leader == .header.member_id' <<<"$status")" = true ] && echo $i && return 0
        done
        sleep 0.1
    done
    return 1
}
id_of() { ctl member list 2>/dev/null | grep ", n$1, " | cut -d, -f1; }
# votes NUMBER FROM: FROM's list has it as a started member that votes, and no learner.
votes() { ctl_on "$2" member list | grep -q "started, n$1, .*, false"; }

end_more() {
    local i
    for i in "${!member_pids[@]}"; do kill -KILL "${member_pids[$i]}"; done
    for i in "${!member_pids[@]}"; do wait "${member_pids[$i]}"; done
}
