# Members of a cluster as real processes, their faults, and the recorder beside them. Sourced by run.sh, which has set:
# SERVER (the program), TOOLS, out (this scenario's folder), NET (1: each member in a network namespace of its own, links
# are cut by nft; else all on loopback behind the fault proxy, if the server speaks what that understands).
#
# Members are 0, 1, ...; ip[i], pid[i], url of clients in ep[i].
set -uo pipefail
declare -a pid=() ip=() client_port=() peer_port=() peer_ep=() holder=() extra=() prefix=() server_of=()
members=3 name_of=() common_flags=() recorder_pid=""
SKIP=77 VOID=78
PATIENCE=60 # seconds for what should happen; a busy machine may let a process wait for many

say() { echo "$(date +%T.%3N) $*" >>"$out/steps"; }
fail() { echo "$*"; exit 1; }
skip() { echo "$*"; exit $SKIP; }
is_cairnd() { [[ $(basename "$SERVER") == cairnd* ]]; }
need_net() { [ "$NET" = 1 ] || skip "needs root and nft for network namespaces"; }
need_links() { [ "$NET" = 1 ] || need_cairnd; }
need_proxy() { need_cairnd && NET=0; } # faults that packet filters cannot inject: slow, damaged, cut in the middle
need_cairnd() { is_cairnd || skip "not with this server"; }

# --- members ------------------------------------------------------------------------------------

in_net() { # MEMBER COMMAND...: in the member's namespace
    local i=$1
    shift
    if [ "$NET" = 1 ]; then nsenter -t "${holder[$i]}" -n "$@"; else "$@"; fi
}
place() { # MEMBER: its addresses, and its namespace
    local i=$1
    name_of[$i]=${name_of[$i]:-m$i}
    if [ "$NET" != 1 ]; then
        ip[$i]=127.0.0.1 client_port[$i]=$((base_port + 10 * i)) peer_port[$i]=$((base_port + 10 * i + 1))
    else
        ip[$i]=10.77.0.$((10 + i)) client_port[$i]=2379 peer_port[$i]=2380
        unshare -n sleep 1200 &
        holder[$i]=$!
        until [ "$(readlink /proc/${holder[$i]}/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
        ip link add "veth$i" type veth peer name "peer$i"
        ip link set "peer$i" netns "${holder[$i]}"
        ip link set "veth$i" master chaos up
        in_net "$i" sh -c "ip link set lo up; ip link set peer$i name eth0; ip addr add ${ip[$i]}/24 dev eth0; ip link set eth0 up
            nft 'add table inet chaos; add chain inet chaos in { type filter hook input priority 0; }
                 add chain inet chaos out { type filter hook output priority 0; }'"
    fi
    ep[$i]=${ip[$i]}:${client_port[$i]}
    peer_ep[$i]=${ip[$i]}:${peer_port[$i]}
    if [ "$NET" != 1 ] && is_cairnd; then peer_ep[$i]=127.0.0.1:$((peer_port[i] + 1)); fi # the proxy's
}
proxy_pid="" id_of=()
start_proxy() { # links m0, m1, ...: to each member, also to some that may come later
    local i list=()
    for i in $(seq 0 6); do list+=("m$i=$((base_port + 10 * i + 2)):$((base_port + 10 * i + 1))"); done
    coproc PROXY { exec "$TOOLS/faultproxy" - "${list[@]}" 2>>"$out/proxy"; }
    proxy_pid=$PROXY_PID proxy_in=${PROXY[1]} proxy_out=${PROXY[0]}
}
proxy() { # a command of it
    local answer
    say "proxy $*"
    echo "$*" >&"$proxy_in"
    read -r -t 30 -u "$proxy_out" answer
    [ "$answer" = ok ] || fail "the proxy answers '$answer' to '$*'"
}
cluster_flag() { # MEMBER...: the value of --initial-cluster
    local i list=""
    for i in "$@"; do list+=",${name_of[$i]}=http://${peer_ep[$i]}"; done
    echo "${list#,}"
}
# start MEMBER: with the flags of ${extra[i]}, below ${prefix[i]} (faketime and the like), as ${server_of[i]} where that is set.
start() {
    local i=$1 inside=()
    say "start $i"
    [ "$NET" = 1 ] && inside=(nsenter -t "${holder[$i]}" -n) # not in_net: the kill would hit its shell
    # shellcheck disable=SC2086
    "${inside[@]}" ${prefix[$i]:-} "${server_of[$i]:-$SERVER}" --name "${name_of[$i]}" --data-dir "$out/data$i" \
        --listen-client-urls "http://${ip[$i]}:${client_port[$i]}" --advertise-client-urls "http://${ep[$i]}" \
        --listen-peer-urls "http://${ip[$i]}:${peer_port[$i]}" --initial-advertise-peer-urls "http://${peer_ep[$i]}" \
        --initial-cluster "${initial_cluster}" "${common_flags[@]}" ${extra[$i]:-} >>"$out/log$i" 2>&1 &
    pid[$i]=$!
}
has_ended() { # MEMBER: or does so in time
    local end=$((SECONDS + PATIENCE))
    while kill -0 "${pid[$1]}" 2>/dev/null; do
        [ $SECONDS -le $end ] || return 1
        sleep 0.05
    done
}
signal_member() { # a member that has exited by itself is detected here
    say "SIG$2 to $1"
    kill -"$2" "${pid[$1]}" 2>/dev/null || fail "member $1 has ended by itself: $(tail -1 "$out/log$1" | cut -c1-300)"
}
kill_member() { # with -9, and waits
    signal_member "$1" KILL
    wait "${pid[$1]}" 2>/dev/null
    pid[$1]=""
}
stop_member() { # with SIGTERM: must end by itself with status 0
    local i=$1 status
    signal_member "$i" TERM
    has_ended "$i" || fail "member $i does not end $PATIENCE s after SIGTERM"
    wait "${pid[$i]}"
    status=$?
    pid[$i]=""
    [ $status = 0 ] || { [ $status = 143 ] && ! is_cairnd; } || fail "member $i ended with $status after SIGTERM"
}
# cluster N [FLAGS]: N new members that serve.
cluster() {
    local i
    members=$1
    shift
    common_flags=("$@")
    for i in $(all); do place "$i"; done
    # shellcheck disable=SC2046
    initial_cluster=$(cluster_flag $(all))
    [ "$NET" = 1 ] || ! is_cairnd || start_proxy
    for i in $(all); do start "$i"; done
    ready || fail "the cluster does not begin to serve: $(tail -qn 1 "$out"/log* | cut -c1-300)"
    # shellcheck disable=SC2046
    [ -z "$proxy_pid" ] || mapfile -t id_of < <("$TOOLS/ask" status $(endpoints) | sed 's/.*: id \([0-9a-f]*\) .*/\1/')
}
all() { seq 0 $((members - 1)); }
endpoints() { local i; for i in ${*:-$(all)}; do echo "${ep[$i]}"; done; }
# shellcheck disable=SC2046
ready() { "$TOOLS/ask" ready "${1:-$PATIENCE}" $(endpoints); }
# shellcheck disable=SC2046
leader() { "$TOOLS/ask" leader "${1:-$PATIENCE}" $(endpoints) || fail "no leader"; }
follower() { local l; l=$(leader) || exit 1; echo $(((l + 1) % members)); }
other_follower() { local l; l=$(leader) || exit 1; echo $(((l + 2) % members)); }
# shellcheck disable=SC2046
ctl() { ETCDCTL_API=3 etcdctl --command-timeout=30s --endpoints="$(endpoints | paste -sd,)" "$@"; }
# As hex, by name.
member_id() { ctl member list | awk -F', ' -v n="$1" '$3 == n { print $1 }'; }

# --- links: by nft in the member's namespace, or by the proxy ---------------------------------------

drop_out() { # all that member $1 sends to $2
    say "drop $1 -> $2"
    if [ "$NET" = 1 ]; then
        in_net "$1" nft add rule inet chaos out ip daddr "${ip[$2]}" drop
    else # on the connections that it made, and on those that were made to it
        proxy "blackhole m$2@${id_of[$1]} up"
        proxy "blackhole m$1@${id_of[$2]} down"
    fi
}
drop_in() { drop_out "$2" "$1"; }
cut_link() { drop_out "$1" "$2"; drop_out "$2" "$1"; }
isolate() { local j; for j in $(all); do [ "$j" = "$1" ] || cut_link "$1" "$j"; done; }
heal() {
    local i
    say heal
    [ -z "$proxy_pid" ] || proxy "heal *"
    [ "$NET" != 1 ] || for i in $(all); do in_net "$i" nft flush table inet chaos; done
}

# --- the recorder ---------------------------------------------------------------------------------

# shellcheck disable=SC2046
record() { # [options]
    "$TOOLS/recorder" --status "$out/status" "$@" "$out/history" $(endpoints) >"$out/recorder" 2>&1 &
    recorder_pid=$!
}
# The counter of writes acknowledged in a phase (1 before, 2 fault, 3 after).
writes() { sed 's/.*writes=\([0-9/]*\).*/\1/' "$out/status" 2>/dev/null | cut -d/ -f"$1"; }
# wait_writes PHASE COUNT: 1 when they do not come.
wait_writes() {
    local end=$((SECONDS + PATIENCE))
    until [ "$(writes "$1")" -ge "$2" ] 2>/dev/null; do
        kill -0 "$recorder_pid" 2>/dev/null || { cat "$out/recorder"; fail "the recorder ended"; }
        [ $SECONDS -le $end ] || return 1
        sleep 0.05
    done
}
fault() { # the fault begins
    wait_writes 1 300 || { echo "void: only $(writes 1) writes before the fault"; exit $VOID; }
    say fault
    kill -USR1 "$recorder_pid"
}
healed() { # the fault is over: traffic must resume on all members
    say healed
    ready || fail "not all members serve after the fault: $("$TOOLS/ask" status $(endpoints) | tr '\n' ';')"
    kill -USR1 "$recorder_pid"
    wait_writes 3 300 || { echo "void: only $(writes 3) writes after the fault"; exit $VOID; }
}
# All logs agree in their committed entries.
logs_agree() {
    local i list=() said
    is_cairnd || return 0
    for i in $(all); do
        "$SERVER" waldump "$out/data$i" >"$out/waldump$i" 2>>"$out/steps" || fail "$(tail -1 "$out/steps")"
        list+=("$out/waldump$i")
    done
    said=$(awk -f tests/chaos/logs_agree.awk "${list[@]}") || fail "$said"
    say "$said"
    rm -f "${list[@]}"
}
# judge [check-history options]: everything that must hold, and a clean end.
judge() {
    local i complaints
    say judge
    kill -TERM "$recorder_pid"
    wait "$recorder_pid" || fail "$(tail -4 "$out/recorder")"
    recorder_pid=""
    "$TOOLS/check-history" "$@" "$out/history" >"$out/findings" 2>&1 || fail "$(head -5 "$out/findings"; tail -1 "$out/findings")"
    for i in $(all); do [ -z "${pid[$i]:-}" ] || stop_member "$i"; done
    logs_agree
    complaints=$(grep -hE 'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed' "$out"/log* | head -3)
    [ -z "$complaints" ] || fail "$complaints"
    sed -n 's/.*writes=\([^ ]*\) reads=\([^ ]*\) unknown=\([0-9]*\).*gap_ms=\([0-9]*\)/writes \1, reads \2, unknown \3, longest gap \4 ms/p' "$out/recorder"
}
# Ends all processes of this scenario, whatever its result.
clean_up() {
    local p
    for p in ${watchdog:+"$watchdog"} ${recorder_pid:+"$recorder_pid"} ${proxy_pid:+"$proxy_pid"} "${pid[@]}" "${holder[@]}"; do
        [ -n "$p" ] && kill -9 "$p" 2>/dev/null && wait "$p" 2>/dev/null
    done
    [ "$NET" = 1 ] && for p in $(ip -o link | grep -o 'veth[0-9]*'); do ip link del "$p"; done
    grep -q " $out/" /proc/mounts && for p in $(awk -v o="$out/" 'index($2, o) == 1 { print $2 }' /proc/mounts); do umount -l "$p"; done
    return 0
}
