# shellcheck shell=bash
# The config center's part of run.sh, which sources it: publishes and reads over HTTP, long polls, streams, and
# beside them the nearest operation of etcd.

# "what|how cairnd is asked|how etcd is asked", each a load program and its flags; without a third, etcd has no
# similar operation.
config_rows=(
    "publish 1 KiB, text|config_load --op put --size 1024 --type text --names 10000|load --op publish --connections 64 --value-size 1024"
    "publish 1 KiB, YAML|config_load --op put --size 1024 --type yaml --names 10000|"
    "publish 16 KiB, text|config_load --op put --size 16384 --type text --names 10000|load --op publish --connections 64 --value-size 16384"
    "publish 16 KiB, YAML|config_load --op put --size 16384 --type yaml --names 10000|"
    "the same keys by gRPC, 1 KiB|load --op publish --connections 64 --value-size 1024|load --op publish --connections 64 --value-size 1024"
    "the same keys by gRPC, 16 KiB|load --op publish --connections 64 --value-size 16384|load --op publish --connections 64 --value-size 16384"
    "compare-and-swap, 1 client|config_load --op cas --size 1024|load --op publish --value-size 1024"
    "read 1 KiB|config_load --op get --size 1024|load --op range --connections 64 --value-size 1024 --keys 1000"
    "read 1 KiB, local|config_load --op get --size 1024 --query consistency=local|"
    "read 1 KiB, not modified|config_load --op get --size 1024 --match|"
    "read 16 KiB|config_load --op get --size 16384|load --op range --connections 64 --value-size 16384 --keys 1000"
)
WAITING=10000 CONFIG_CHANGES=5
if [ -n "${SMOKE:-}" ]; then WAITING=500 CONFIG_CHANGES=2; fi
# "what|server|how": the clients that wait for one change.
config_waits=(
    "long polls of one name|cairnd|config_load --op poll --pollers $WAITING --names 1 --changes $CONFIG_CHANGES"
    "long polls, 10 of each name|cairnd|config_load --op poll --pollers $WAITING --names $((WAITING / 10)) --changes $CONFIG_CHANGES"
    "polls of 1,000 names each|cairnd|config_load --op polls --pollers $((WAITING / 10)) --names 1000 --changes $CONFIG_CHANGES"
    "streams of one name|cairnd|stream_load --kind config --subscribers $WAITING --changes $CONFIG_CHANGES"
    "streams, permessage-deflate|cairnd|stream_load --kind config --subscribers $WAITING --changes $CONFIG_CHANGES --deflate"
    "gRPC watches of one key|cairnd|load --op fan --watchers $WAITING --connections $WAITING --value-size 1024 --changes $CONFIG_CHANGES"
    "gRPC watches of one key, etcd|etcd|load --op fan --watchers $WAITING --connections $WAITING --value-size 1024 --changes $CONFIG_CHANGES"
)
config_fields=(first_ms median_ms last_ms worst_ms bytes_per_subscriber server_cpu_us_per_delivery bytes_per_idle_subscriber)

# config_load_row SERVER ROW how...: row is what the reading is kept as
config_row() {
    local server=$1 row=$2 tool=$3 json
    shift 3
    [ -z "$(median "$server" "$row" "run$run")" ] || return 0 # two rows have the same beside them
    if [[ $* == *range* ]]; then # the names that are read must exist
        "$LOAD" --port "$(port_of "$server")" --op fill --connections 16 "${@:5}" >/dev/null
    fi
    json=$(timeout 60 "$TOOLS/$tool" --port "$(port_of "$server")" --pid "$pid" --seconds "$SECONDS_EACH" "$@") || {
        echo "bench: $server, $row: failed"
        return 0
    }
    note "$server" "$row" "run$run" 1
    note "$server" "$row" rate "$(jq .ops_per_s <<<"$json")"
    note "$server" "$row" cpu "$(jq .server_cpu_us <<<"$json")"
    note "$server" "$row" p50 "$(jq .p50_us <<<"$json")"
    note "$server" "$row" p99 "$(jq .p99_us <<<"$json")"
    printf '  %-7s %-34s %s\n' "$server" "$row" "$(jq -r '"\(.ops_per_s)/s, cpu \(.server_cpu_us) us, p50 \(.p50_us) us, p99 \(.p99_us) us"' <<<"$json")"
}

# A server of its own for each: memory is compared with that before.
config_wait() {
    local what=$1 server=$2 json field
    shift 2
    rm -rf "${work:?}/$server"
    start "$server"
    # shellcheck disable=SC2086
    json=$(timeout 120 "$TOOLS/$1" --port "$(port_of "$server")" --pid "$pid" "${@:2}") || {
        echo "bench: $server, $what: failed"
        json=
    }
    stop
    [ -n "$json" ] || return 0
    for field in "${config_fields[@]}"; do note "$server" "$what" "$field" "$(jq ".$field" <<<"$json")"; done
    printf '  %-7s %-34s %s\n' "$server" "$what" "$(jq -r '"last of all after \(.last_ms) ms, cpu \(.server_cpu_us_per_delivery) us and \(.bytes_per_idle_subscriber) bytes each"' <<<"$json")"
}

config_center() {
    local run server row what ours theirs how
    for run in $(seq "$RUNS"); do
        for server in "${servers[@]}"; do
            echo "run $run, $server, configurations"
            rm -rf "${work:?}/$server"
            start "$server"
            for row in "${config_rows[@]}"; do
                IFS='|' read -r what ours theirs <<<"$row"
                # shellcheck disable=SC2086
                if [ "$server" = cairnd ]; then
                    config_row cairnd "$what" $ours
                elif [ -n "$theirs" ]; then
                    config_row etcd "$theirs" $theirs
                fi
            done
            stop
            for row in "${config_waits[@]}"; do
                IFS='|' read -r what ours how <<<"$row"
                # shellcheck disable=SC2086
                [ "$ours" != "$server" ] || config_wait "$what" "$server" $how
            done
            rm -rf "${work:?}/$server"
        done
    done
}

config_report() {
    local row what ours theirs field last
    echo "## Config center"
    echo
    echo "64 connections, HTTP; a publish writes a release and its head in one transaction, and checks the content's format. etcd:"
    echo "a gRPC transaction that compares a key, replaces it and puts a document under another; reads are ranges of one key."
    echo
    echo "| configurations | /s | cpu us | p50 us | p99 us | etcd /s | etcd cpu us | cpu, etcd / ours |"
    echo "|---|---|---|---|---|---|---|---|"
    for row in "${config_rows[@]}"; do
        IFS='|' read -r what ours theirs <<<"$row"
        echo "| $what | $(median cairnd "$what" rate) | $(median cairnd "$what" cpu) | $(median cairnd "$what" p50) | $(median cairnd "$what" p99) | $(median etcd "$theirs" rate) | $(median etcd "$theirs" cpu) | $(ratio "$(median etcd "$theirs" cpu)" "$(median cairnd "$what" cpu)") |"
    done
    echo
    echo "One change of 1 KiB to clients with a connection each; the next change follows when all have it:"
    echo
    echo "| $WAITING wait | first ms | median | last | worst | bytes | cpu us each | idle bytes each | last, etcd / this |"
    echo "|---|---|---|---|---|---|---|---|---|"
    last=$(median etcd "gRPC watches of one key, etcd" last_ms)
    for row in "${config_waits[@]}"; do
        IFS='|' read -r what ours theirs <<<"$row"
        printf '| %s |' "$what"
        for field in "${config_fields[@]}"; do printf ' %s |' "$(median "$ours" "$what" "$field")"; done
        [[ $what == *"of each"* ]] && echo " - |" || echo " $(ratio "$last" "$(median "$ours" "$what" last_ms)") |"
    done
    echo
    cat tests/bench/OTHERS.md
}
