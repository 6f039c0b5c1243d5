#!/usr/bin/env bash
# cairnd and etcd side by side on this machine, in turn, the generator included: medians of RUNS runs, ratios, written to
# tests/bench/RESULTS.md. Reads first: CPU per operation, it moves less than rates do. SMOKE=1: one short run of everything,
# printed and not kept. ETCD=/path takes another etcd than Debian's. ONLY=single, cluster, catchup, dns, stream or config: one of
# the parts (catchup, dns and stream are printed and not kept; config takes the place of its section).
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/shell/ports.sh
. tests/shell/logs.sh
CAIRND=$(realpath "${CAIRND:-bin/cairnd}")
ETCD=${ETCD:-$(command -v etcd || true)}
TOOLS=${TOOLS:-build/release/tools}
LOAD=$(realpath "$TOOLS/load")
RUNS=${RUNS:-3}
SECONDS_EACH=${SECONDS_EACH:-4}
KEYS=100000
MANY=1000000
if [ -n "${SMOKE:-}" ]; then RUNS=1 SECONDS_EACH=1 KEYS=2000 MANY=20000; fi
[ -n "$ETCD" ] || { echo "bench: no etcd on PATH (Debian package etcd-server): only cairnd is measured"; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/bench.XXXXXX")
pid=""
member_pids=()
base=$(free_base 100)
clean_up() {
    local status=$? p
    [ $status = 0 ] || tell_logs "$work"
    for p in $pid "${member_pids[@]}"; do kill -9 "$p" 2>/dev/null; done
    rm -rf "$work"
}
trap clean_up EXIT
unset $(compgen -v | grep '^ETCD_' || true) 2>/dev/null || true
declare -A result
dns_flags=()

port_of() { [ "$1" = cairnd ] && echo "$base" || echo $((base + 50)); }

# start SERVER: on its own folder; sets pid and start_ms (exec to healthy)
start() {
    local server=$1 port binary begin
    port=$(port_of "$server")
    binary=$CAIRND
    [ "$server" = etcd ] && binary=$ETCD
    begin=$(date +%s%N)
    "$binary" --data-dir "$work/$server" --listen-client-urls "http://127.0.0.1:$port" \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" --quota-backend-bytes 8589934592 \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" "${dns_flags[@]}" >"$work/$server.log" 2>&1 &
    pid=$!
    until curl -sf -m 10 -o "$work/health" "http://127.0.0.1:$port/health" && grep -q '"true"' "$work/health"; do
        kill -0 $pid 2>/dev/null || exit 1
        [ $((($(date +%s%N) - begin) / 1000000000)) -lt 120 ] || { echo "bench: $server does not serve within 120 s"; exit 1; }
        sleep 0.003
    done
    start_ms=$((($(date +%s%N) - begin) / 1000000))
}
stop() {
    kill $pid
    wait $pid 2>/dev/null || true
    pid=""
}
rss_kib() { awk '/VmRSS/ {print $2}' "/proc/$pid/status"; }
disk_kib() { du -sk "$work/$1" | cut -f1; }

# note SERVER ROW FIELD VALUE: one reading more
note() { result["$1|$2|$3"]+="$4 "; }
median() { tr ' ' '\n' <<<"${result["$1|$2|$3"]:-}" | grep . | sort -g | awk '{a[NR]=$1} END {if (NR) print a[int((NR+1)/2)]}' || true; }

# load_row SERVER ROW flags...: at $ports, whose servers' pids are $pids
load_row() {
    local server=$1 row=$2 json
    shift 2
    json=$(timeout 300 "$LOAD" --port "$ports" --pid "$pids" --seconds "$SECONDS_EACH" --keys "$KEYS" "$@") || {
        echo "bench: $server, $row: failed"
        return
    }
    note "$server" "$row" rate "$(jq .ops_per_s <<<"$json")"
    note "$server" "$row" cpu "$(jq .server_cpu_us <<<"$json")"
    note "$server" "$row" p50 "$(jq .p50_us <<<"$json")"
    note "$server" "$row" p99 "$(jq .p99_us <<<"$json")"
    printf '  %-7s %-28s %s\n' "$server" "$row" "$(jq -r '"\(.ops_per_s)/s, cpu \(.server_cpu_us) us, p50 \(.p50_us) us, p99 \(.p99_us) us"' <<<"$json")"
}

rows=(
    "range, 1 connection|--op range"
    "range, 64 connections|--op range --connections 64"
    "range, 256 connections|--op range --connections 256"
    "range, 16 x 64 streams|--op range --connections 16 --streams 64"
    "serializable range, 64|--op srange --connections 64"
    "put, 1 connection|--op put"
    "put, 16 connections|--op put --connections 16"
    "put, 64 connections|--op put --connections 64"
    "put, 256 connections|--op put --connections 256"
    "put, 16 x 64 streams|--op put --connections 16 --streams 64"
    "mixed 20/80, 64|--op mixed --connections 64"
    "txn, 64 connections|--op txn --connections 64"
    "lease grant, 64 connections|--op lease --connections 64"
    "keep-alive, 10,000 leases|--op keepalive --connections 16 --streams 16 --keys 10000"
    "watch, 1,000 x 100 puts/s|--op watch --connections 10 --watchers 1000 --rate 100"
    "watch, 1,000, flooded|--op watch --connections 10 --watchers 1000 --streams 16"
    "watch, 10,000 own keys, 16 puts|--op spread --connections 100 --watchers 10000 --streams 16"
    "watch, 10,000 own keys, 128 puts|--op spread --connections 100 --watchers 10000 --streams 128"
)

servers=(cairnd)
[ -n "$ETCD" ] && servers=(etcd cairnd)
single_node() {
    for run in $(seq "$RUNS"); do
        for server in "${servers[@]}"; do
            echo "run $run, $server"
            rm -rf "${work:?}/$server"
            start "$server"
            note "$server" "first start" ms "$start_ms"
            sleep 1
            note "$server" "idle, empty" rss "$(rss_kib)"
            note "$server" "idle, empty" disk "$(disk_kib "$server")"
            # Reads come first and on a restarted server: etcd 3.4 reads at a quarter of its rate after a burst of writes.
            "$LOAD" --port "$(port_of "$server")" --op fill --connections 16 --streams 16 --keys "$KEYS" >/dev/null
            stop
            start "$server"
            for row in "${rows[@]}"; do
                ports=$(port_of "$server") pids=$pid
                # shellcheck disable=SC2086
                load_row "$server" "${row%%|*}" ${row#*|}
            done
            stop
        done
    done
    # A million keys of 64 + 256 bytes: memory, disk, start.
    for server in "${servers[@]}"; do
        echo "$MANY keys, $server"
        rm -rf "${work:?}/$server"
        start "$server"
        "$LOAD" --port "$(port_of "$server")" --op fill --connections 16 --streams 64 --keys "$MANY" >/dev/null
        sleep 2
        note "$server" "1M keys, loaded" rss "$(rss_kib)"
        note "$server" "1M keys, loaded" disk "$(disk_kib "$server")"
        stop
        for run in $(seq "$RUNS"); do
            start "$server"
            note "$server" "1M keys, start" ms "$start_ms"
            note "$server" "1M keys, restarted" rss "$(rss_kib)"
            stop
        done
        rm -rf "${work:?}/$server"
    done
}

# --- three members ---------------------------------------------------------------------------------
# Member i of a server listens on base + 10 i, its peers on the port behind. $ports and $pids are lists of all of them.

member_port() { echo $(($(port_of "$1") + 10 * $2)); }

# start_member SERVER I: member_pids[I]
start_member() {
    local server=$1 i=$2 binary=$CAIRND port initial="" k
    [ "$server" = etcd ] && binary=$ETCD
    port=$(member_port "$server" "$i")
    for k in 1 2 3; do initial+="${initial:+,}m$k=http://127.0.0.1:$(($(member_port "$server" "$k") + 1))"; done
    "$binary" --name "m$i" --data-dir "$work/$server$i" --listen-client-urls "http://127.0.0.1:$port" \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" --quota-backend-bytes 8589934592 \
        --initial-cluster "$initial" >>"$work/$server$i.log" 2>&1 &
    member_pids[i]=$!
}
# is_healthy SERVER I: it answers linearizable reads
is_healthy() {
    curl -sf -m 10 -o "$work/health" "http://127.0.0.1:$(member_port "$1" "$2")/health" && grep -q '"true"' "$work/health"
}
wait_healthy() {
    local i tries
    for i in 1 2 3; do
        for tries in $(seq 600); do
            is_healthy "$1" "$i" && break
            [ "$tries" = 600 ] && { tail -3 "$work/$1$i.log"; return 1; }
            sleep 0.1
        done
    done
}
status_of() { curl -sf -m 10 "http://127.0.0.1:$(member_port "$1" "$2")/v3/maintenance/status" -d '{}' || true; }
# leader_of SERVER: its number; the others' in $followers
leader_of() {
    local i status
    leader="" followers=""
    for i in 1 2 3; do
        status=$(status_of "$1" "$i")
        if [ "$(jq -r '.leader == .header.member_id' <<<"$status")" = true ]; then leader=$i; else followers+="$i "; fi
    done
    [ -n "$leader" ]
}
# revision_at SERVER I: of what this member has applied
revision_at() {
    curl -sf -m 30 "http://127.0.0.1:$(member_port "$1" "$2")/v3/kv/range" -d '{"key":"AA==","serializable":true}' | jq -r .header.revision
}
start_cluster() {
    local i
    stop_cluster
    for i in 1 2 3; do
        rm -rf "${work:?}/$1$i"
        start_member "$1" "$i"
    done
    wait_healthy "$1" && leader_of "$1" || { echo "bench: three members of $1 do not come up"; stop_cluster; return 1; }
    pids=$(IFS=,; echo "${member_pids[*]}")
    all_ports="$(member_port "$1" 1),$(member_port "$1" 2),$(member_port "$1" 3)"
}
stop_cluster() {
    local p
    for p in "${member_pids[@]}"; do kill "$p" 2>/dev/null || true; done
    for p in "${member_pids[@]}"; do wait "$p" 2>/dev/null || true; done
    member_pids=()
}

cluster_rows=(
    "3 members: put, 64 connections|all|--op put --connections 64"
    "3 members: put, 256 connections|all|--op put --connections 256"
    "3 members: put, 64, at the leader|leader|--op put --connections 64"
    "3 members: put, 256, at the leader|leader|--op put --connections 256"
    "3 members: range, 64 connections|all|--op range --connections 64"
    "3 members: range, 64, at the leader|leader|--op range --connections 64"
)

# The cost of one call in this machine's kernel today, measured with a server that only answers. Microseconds of another
# day or machine compare only in this unit.
null_calls=("64" "256")
yardstick() {
    local connections port
    port=$((base + 90))
    "$TOOLS/null_server" "$port" &
    pid=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        kill -0 $pid 2>/dev/null || { echo "bench: the server that only answers does not start"; return 0; }
        sleep 0.05
    done
    for connections in "${null_calls[@]}"; do
        ports=$port pids=$pid
        load_row null "only answers, $connections" --op put --connections "$connections"
    done
    kill $pid
    wait $pid 2>/dev/null || true
    pid=""
}
# in_calls SERVER ROW CONNECTIONS: a row's CPU in calls of the yardstick
in_calls() { ratio "$(median "$1" "$2" cpu)" "$(median null "only answers, $3" cpu)"; }
yardstick_report() {
    local connections row
    [ -n "$(median null "only answers, 64" cpu)" ] || return 0
    echo
    echo "| CPU of a put, in calls of a server that only answers | us a call | etcd | cairnd |"
    echo "|---|---|---|---|"
    for connections in "${null_calls[@]}"; do
        for row in "put, $connections connections" "3 members: put, $connections connections" "3 members: put, $connections, at the leader"; do
            [ -n "$(median cairnd "$row" cpu)" ] || continue
            echo "| $row | $(median null "only answers, $connections" cpu) | $(in_calls etcd "$row" "$connections") | $(in_calls cairnd "$row" "$connections") |"
        done
    done
}

cpu_ms() { awk -v tick="$(getconf CLK_TCK)" '{print ($14 + $15) * 1000 / tick}' "/proc/$1/stat"; }

# catch_up SERVER: a follower is away while all keys are written; ms from its start until it has applied them, and the CPU of that,
# its own and the leader's
catch_up() {
    local away begin want before ms cpu now=0
    leader_of "$1" || return 1
    away=${followers%% *}
    kill "${member_pids[away]}" && wait "${member_pids[away]}" 2>/dev/null || true
    "$LOAD" --port "$(member_port "$1" "$leader")" --op fill --connections 16 --streams 64 --keys "$MANY" >/dev/null || return 1
    want=$(revision_at "$1" "$leader")
    before=$(cpu_ms "${member_pids[leader]}")
    begin=$(date +%s%N)
    start_member "$1" "$away"
    until [ "${now:-0}" -ge "$want" ]; do
        [ $((($(date +%s%N) - begin) / 1000000000)) -lt 120 ] || { echo "bench: $1: the follower does not catch up"; return 1; }
        sleep 0.02
        now=$(revision_at "$1" "$away" 2>/dev/null || true)
    done
    ms=$((($(date +%s%N) - begin) / 1000000))
    cpu=$(($(cpu_ms "${member_pids[leader]}") - before + $(cpu_ms "${member_pids[away]}")))
    note "$1" "catch-up" ms $ms
    note "$1" "catch-up" cpu $cpu
    printf '  %-7s %-28s %s\n' "$1" "catch-up" "$ms ms, cpu $cpu ms"
}

# The leader is killed under writes: the time from the kill to the first response to a put that was called after it.
fail_over() {
    local said
    [ -x "$TOOLS/failover" ] || { echo "bench: no $TOOLS/failover: nobody kills the leader"; return 0; }
    leader_of "$1" || return 1
    # shellcheck disable=SC2046
    said=$("$TOOLS/failover" "${member_pids[leader]}" $((leader - 1)) \
        $(for i in 1 2 3; do echo "127.0.0.1:$(member_port "$1" "$i")"; done)) || return 1
    wait "${member_pids[leader]}" 2>/dev/null || true
    note "$1" "failover" ms "$(sed 's/.*answered=\([0-9]*\).*/\1/' <<<"$said")"
    start_member "$1" "$leader"
    wait_healthy "$1"
}

three_members() {
    local run server row name where flags
    for run in $(seq "$RUNS"); do
        yardstick
        for server in "${servers[@]}"; do
            echo "run $run, $server, three members"
            start_cluster "$server" || continue
            "$LOAD" --port "$(member_port "$server" "$leader")" --op fill --connections 16 --streams 16 --keys "$KEYS" >/dev/null
            for row in "${cluster_rows[@]}"; do
                IFS='|' read -r name where flags <<<"$row"
                leader_of "$server" || sleep 2
                ports=$all_ports
                [ "$where" = leader ] && leader_of "$server" && ports=$(member_port "$server" "$leader")
                # shellcheck disable=SC2086
                load_row "$server" "$name" $flags
            done
            fail_over "$server" || echo "bench: $server: no failover measured"
            stop_cluster
        done
    done
}

# On clusters of their own: after the rows above the faster server would hold, and have to transfer, more data than the
# other.
catch_ups() {
    local run server
    for run in $(seq "$RUNS"); do
        for server in "${servers[@]}"; do
            echo "run $run, $server, catching up"
            start_cluster "$server" && catch_up "$server" || echo "bench: $server: no catch-up measured"
            stop_cluster
        done
    done
}

# --- DNS ---------------------------------------------------------------------------------------------
# cairnd alone: 128 questions on the way, from 16 sockets, one core at most.
dns_questions=("orders.svc.cairn A" "orders.svc.cairn SRV" "many.svc.cairn A" "many.svc.cairn SRV" "nobody.svc.cairn A")
dns_answers() {
    local port run question json i
    port=$(port_of cairnd)
    rm -rf "${work:?}/cairnd"
    dns_flags=(--listen-dns "127.0.0.1:$((port + 5))")
    start cairnd
    dns_flags=()
    for i in $(seq 53); do
        printf '{"key":"%s","value":"%s"}' \
            "$(printf '/cairn/registry/instances/default/default/%s/i%d' "$([ "$i" -le 3 ] && echo orders || echo many)" "$i" | base64 -w0)" \
            "$(printf '{"host":"10.0.0.%d","port":8080}' "$i" | base64 -w0)" |
            curl -sf -o "$work/put" "http://127.0.0.1:$port/v3/kv/put" -d @-
    done
    for run in $(seq "$RUNS"); do
        for question in "${dns_questions[@]}"; do
            # shellcheck disable=SC2086
            json=$("$TOOLS/dns_load" $((port + 5)) "$pid" "$SECONDS_EACH" $question)
            note cairnd "dns, $question" rate "$(jq .ops_per_s <<<"$json")"
            note cairnd "dns, $question" cpu "$(jq .server_cpu_us <<<"$json")"
            note cairnd "dns, $question" p99 "$(jq .p99_us <<<"$json")"
            note cairnd "dns, $question" bytes "$(jq .bytes <<<"$json")"
            printf '  cairnd  %-28s %s\n' "$question" "$(jq -r '"\(.ops_per_s)/s, cpu \(.server_cpu_us) us, p99 \(.p99_us) us, \(.bytes) bytes"' <<<"$json")"
        done
    done
    stop
}

# --- streams: one change to many WebSocket subscribers, plain and compressed ---------------------------
SUBSCRIBERS=10000 CHANGES=20
if [ -n "${SMOKE:-}" ]; then SUBSCRIBERS=200 CHANGES=2; fi
stream_forms=("plain|" "permessage-deflate|--deflate")
stream_fields=(first_ms median_ms last_ms worst_ms bytes_per_subscriber server_cpu_us_per_delivery bytes_per_idle_subscriber
    rss_before_kib rss_with_kib)
stream_fan_out() {
    local run form json field
    for run in $(seq "$RUNS"); do
        for form in "${stream_forms[@]}"; do
            rm -rf "${work:?}/cairnd"
            start cairnd
            json=$(timeout 200 "$TOOLS/stream_load" --port "$(port_of cairnd)" --pid "$pid" --subscribers "$SUBSCRIBERS" \
                --changes "$CHANGES" ${form#*|}) || echo "bench: stream, ${form%%|*}: failed"
            for field in "${stream_fields[@]}"; do note cairnd "stream, ${form%%|*}" "$field" "$(jq ".$field" <<<"${json:-null}")"; done
            printf '  cairnd  stream, %-20s %s\n' "${form%%|*}" "$(jq -r '"last of \(.subscribers) after \(.last_ms) ms, \(.bytes_per_idle_subscriber) bytes each"' <<<"${json:-null}")"
            stop
        done
    done
}

# shellcheck source=tests/bench/config.sh
. tests/bench/config.sh

case ${ONLY:-} in
single) single_node ;;
cluster) three_members && catch_ups ;;
catchup) catch_ups ;;
dns) dns_answers ;;
stream) stream_fan_out ;;
config) config_center ;;
*) single_node && three_members && catch_ups && dns_answers && stream_fan_out && config_center ;;
esac

ratio() { awk -v a="$1" -v b="$2" 'BEGIN {if (a > 0 && b > 0) printf "%.2f", a / b; else printf "-"}'; }
report() {
    echo "# cairnd beside etcd"
    echo
    echo "\`make bench\` wrote this: $(nproc) cores, $("$ETCD" --version 2>/dev/null | sed -n 1p || echo 'no etcd'), medians of $RUNS runs of"
    echo "$SECONDS_EACH s, servers in turn, the load generator (tests/bench/load.c) on the same cores. Keys of 64 bytes, values of 256."
    echo "Read CPU per operation first: rates share two cores with the generator and move from run to run."
    echo
    echo "| row | etcd /s | cairnd /s | ratio | etcd cpu us | cairnd cpu us | 1/ratio | etcd p99 us | cairnd p99 us |"
    echo "|---|---|---|---|---|---|---|---|---|"
    local row e c
    for row in "${rows[@]}" "${cluster_rows[@]}"; do
        row=${row%%|*}
        [ -n "$(median cairnd "$row" rate)$(median etcd "$row" rate)" ] || continue
        echo "| $row | $(median etcd "$row" rate) | $(median cairnd "$row" rate) | $(ratio "$(median cairnd "$row" rate)" "$(median etcd "$row" rate)") | $(median etcd "$row" cpu) | $(median cairnd "$row" cpu) | $(ratio "$(median etcd "$row" cpu)" "$(median cairnd "$row" cpu)") | $(median etcd "$row" p99) | $(median cairnd "$row" p99) |"
    done
    echo
    echo "| size and start | etcd | cairnd | ratio |"
    echo "|---|---|---|---|"
    for row in "idle, empty|rss|KiB RSS" "idle, empty|disk|KiB disk" "first start|ms|ms" "1M keys, loaded|rss|KiB RSS" \
        "1M keys, loaded|disk|KiB disk" "1M keys, restarted|rss|KiB RSS" "1M keys, start|ms|ms" \
        "failover|ms|leader killed until a put is answered" "catch-up|ms|ms to catch up with 1M keys" \
        "catch-up|cpu|CPU ms of leader and follower meanwhile"; do
        IFS='|' read -r name field unit <<<"$row"
        e=$(median etcd "$name" "$field")
        c=$(median cairnd "$name" "$field")
        [ -n "$e$c" ] || continue
        echo "| $name, $unit | $e | $c | $(ratio "$c" "$e") |"
    done
    yardstick_report
}
dns_report() {
    local row
    echo
    echo "| DNS over UDP: 3 instances in orders, 50 in many | /s | cpu us | p99 us | bytes |"
    echo "|---|---|---|---|---|"
    for row in "${dns_questions[@]}"; do
        echo "| $row | $(median cairnd "dns, $row" rate) | $(median cairnd "dns, $row" cpu) | $(median cairnd "dns, $row" p99) | $(median cairnd "dns, $row" bytes) |"
    done
}
stream_report() {
    local form field
    echo
    echo "| stream: one change to $SUBSCRIBERS WebSocket subscribers | first ms | median | last | worst | bytes | cpu us each | idle bytes each | RSS before KiB | RSS with |"
    echo "|---|---|---|---|---|---|---|---|---|---|"
    for form in "${stream_forms[@]}"; do
        printf '| %s |' "${form%%|*}"
        for field in "${stream_fields[@]}"; do printf ' %s |' "$(median cairnd "stream, ${form%%|*}" "$field")"; done
        echo
    done
}
# Everything but the registry's and the core's own tables.
more_reports() { dns_report && stream_report && echo && config_report; }
# Rewrites the config center's section of RESULTS.md; the rest stays.
keep_config() {
    local kept=tests/bench/RESULTS.md
    touch $kept
    awk '/^## / {exit} {print}' $kept >"$work/head"
    awk '/^## / {keep = !/^## Config center/} keep' $kept >"$work/tail"
    { cat "$work/head"; config_report; echo; cat "$work/tail"; } >"$work/results"
    cat "$work/results" >$kept
}
if [ "${ONLY:-}" = dns ]; then
    dns_report
elif [ "${ONLY:-}" = stream ]; then
    stream_report
elif [ "${ONLY:-}" = config ]; then
    [ -n "${SMOKE:-}" ] || keep_config
    config_report
elif [ -n "${SMOKE:-}" ] || [ "${ONLY:-}" = catchup ]; then
    report
    [ -n "${ONLY:-}" ] || more_reports
else
    { report; [ -n "${ONLY:-}" ] || more_reports; cat tests/bench/LIMITS.md 2>/dev/null || true; } >tests/bench/RESULTS.md
    cat tests/bench/RESULTS.md
fi
