#!/usr/bin/env bash
# Runs every command of the console blocks of README.md, SECURITY.md and docs/*.md (or of the pages in PAGES) and compares what they
# print: `...` in a page stands for anything within a line. Each page has a node of its own, with DNS, TLS on port 2389 and a join token;
# below its heading "## Three members" it has three members (tests/e2e/three.sh). The ports 2379, 2389, 2399, 2409, 2419, those one above, and
# 8600 are others here; so is the process that pidof finds.
. "$(dirname "$0")/lib.sh"
top=$PWD
three=$PWD/tests/e2e/three.sh
port=$(free_base)
export PATH="$(dirname "$CAIRND"):$PATH"
# A page with C finds what `make install` would have put down, and the examples beside it.
LIBCAIRN=$(realpath "${LIBCAIRN:-build/release/lib/libcairn.a}")
mkdir -p "$work/cairn/include" "$work/cairn/lib/pkgconfig"
cp sdk/cairn*.h "$work/cairn/include"
cp "$LIBCAIRN" "$work/cairn/lib"
sed "s|@PREFIX@|$work/cairn|; s|@VERSION@|0|; s|@LIBS@|$(pkg-config --libs libuv libnghttp2 openssl libprotobuf-c jansson) -lpthread|" \
    sdk/cairn.pc.in >"$work/cairn/lib/pkgconfig/cairn.pc"
export PKG_CONFIG_PATH=$work/cairn/lib/pkgconfig

# In two steps: the replacement of a port may look like another port.
real_ports() {
    sed -E 's/\b(23[7-9]|24[01])(9)\b/@\19@/g; s/\b(2[34][0-9]0)\b/@\1@/g' <<<"$1" |
        sed "s/@2379@/$port/g; s/@2380@/$((port + 1))/g; s/@2389@/$((port + 10))/g; s/@2390@/$((port + 11))/g
             s/@2399@/$((port + 20))/g; s/@2400@/$((port + 21))/g; s/@2409@/$((port + 30))/g; s/@2410@/$((port + 31))/g; s/@2419@/$((port + 50))/g; s/@2420@/$((port + 51))/g; s/-p 8600/-p $((port + 40))/g"
}
cluster_pid=""
start_cluster() {
    stop_keeper
    stop_server TERM
    expect "the node stops cleanly" 0 "$server_status"
    CLUSTER_DIR=$PWD/cluster CLUSTER_PORT=$port "$three" >"$work/three" 2>&1 &
    cluster_pid=$!
    within $LIMIT_S has "$work/three" 'Ctrl-C stops them' || fails "make cluster: $(cat "$work/three")"
}
stop_cluster() {
    kill -TERM "$cluster_pid"
    wait "$cluster_pid"
    expect "make cluster stops cleanly" 0 $?
    cluster_pid=""
    check "and leaves no member behind" test -z "$(ps -eo args | grep "[c]airnd.*$work")"
}
stop_keeper() {
    [ -z "$keeper" ] || kill "$keeper"
    keeper=""
}
end_more() {
    local p
    stop_keeper
    for p in "$work"/*/cluster/n?.pid; do [ -f "$p" ] && kill -KILL "$(cat "$p")"; done
    [ -z "$cluster_pid" ] || kill -KILL "$cluster_pid"
}

# The pages' times are those of a machine that has nothing else to do. Here a short sleep, which lets a watch begin or a process
# end, is longer, and a command with a time limit gets more time, but ends as soon as its output is complete.
sleep() {
    case $1 in 0.? | 1) command sleep "$(awk -v s="$1" 'BEGIN { print 4 * s }')" ;; *) command sleep "$1" ;; esac
}
curl() { # -m 3 is -m 9, and so on
    local words=() w
    for w in "$@"; do [[ $w = [34] ]] && words+=($((3 * w))) || words+=("$w"); done
    command curl "${words[@]}"
}
timeout() {
    shift
    "$@" &
    local pid=$! end=$((SECONDS + LIMIT_S))
    while kill -0 $pid && [ $SECONDS -le $end ] && [ "$(wc -l <"$work/out")" -lt "$wanted_lines" ]; do command sleep 0.1; done
    command sleep 0.3 # and nothing behind it
    kill $pid && wait $pid
} 2>>"$work/timeout.err"
# The instances and the session of a page live for 15 and 30 s without a word; their owners would go on to say that they live.
keeper=""
keep_alive() { # session
    while command sleep 2; do
        command curl -s -m 20 -X PUT "localhost:$port/api/v1/services/carts/instances/c1" -d '{"host":"10.0.0.5","port":8080,"zone":"b"}'
        command curl -s -m 20 -X PUT "localhost:$port/api/v1/sessions/$1/heartbeat"
    done >>"$work/kept" 2>&1
}
answers() { # command, pattern
    eval "$1" >"$work/out" 2>&1
    got=$(cat "$work/out")
    [ "$(printf '%s' "$wanted" | wc -l)" = "$(printf '%s' "$got" | wc -l)" ] &&
        printf '%s\n' "$got" | tr '\n' '\001' | grep -qE "^$(printf '%s\n' "$2" | tr '\n' '\001')\$"
}
run_one() { # command, wanted output
    local command wanted got pattern end=$((SECONDS + LIMIT_S)) wanted_lines is_early=""
    command=$(real_ports "$1")
    wanted=$(real_ports "$2")
    wanted_lines=$(grep -c '' <<<"$wanted")
    # The page's text, literally, with ... as a wildcard.
    pattern=$(printf '%s' "$wanted" | sed -e 's/[][\.*^$()+?{}|]/\\&/g' -e 's/\\\.\\\.\\\./.*/g')
    until answers "$command" "$pattern"; do
        # Output after a sleep may come later here: the test retries after an error or without output.
        if [[ $command =~ (^|' & '|'; ')'sleep '[0-9.]+'; '([^\)]*)$ ]]; then command=${BASH_REMATCH[2]}; is_early=1; fi
        if [ -z "$is_early" ] || { [ -n "$got" ] && [[ $got != *Error* && $command != dig* ]]; } || [ $SECONDS -gt $end ]; then
            fails "$(printf '%s\n    wanted: %s\n    got:    %s' "$1" "$wanted" "$got")"
            return
        fi
        command sleep 1
    done
    echo "  ok   $1"
    if [[ $command == session=* ]]; then
        keep_alive "$session" &
        keeper=$!
    fi
}

run_page() { # FILE; count: the commands so far
    local command="" wanted="" in_block=0 line
    while IFS= read -r line; do
        case $line in
        '```console') in_block=1 ;;
        '```')
            [ $in_block = 1 ] && [ -n "$command" ] && run_one "$command" "${wanted%$'\n'}"
            in_block=0
            command=""
            wanted=""
            ;;
        '$ '*)
            if [ $in_block = 1 ]; then
                [ -n "$command" ] && run_one "$command" "${wanted%$'\n'}"
                command=${line#\$ }
                wanted=""
                count=$((count + 1))
            fi
            ;;
        '## Three members') start_cluster ;;
        *) [ $in_block = 1 ] && wanted+="$line"$'\n' ;;
        esac
    done <"$1"
}

pidof() { echo "$server_pid"; }
for page in ${PAGES:-README.md SECURITY.md docs/*.md}; do
    grep -q '^```console' "$top/$page" || continue
    echo "$page"
    dir=$work/$(basename "$page" .md)
    mkdir "$dir"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -keyout "$dir/server.key" \
        -out "$dir/server.crt" 2>>"$work/openssl.log"
    (umask 077 && openssl rand -base64 33 >"$dir/join-token")
    cp sdk/examples/*.c "$dir"
    start_server "$dir" "$port" --bcrypt-cost 4 --join-token-file "$dir/join-token" --cert-file "$dir/server.crt" --key-file "$dir/server.key" \
        --listen-dns "127.0.0.1:$((port + 40))" --listen-client-urls "http://127.0.0.1:$port,https://127.0.0.1:$((port + 10))" ||
        fails "no node for $page"
    export ETCDCTL_ENDPOINTS=127.0.0.1:$port
    count=0
    cd "$dir" || exit 1
    run_page "$top/$page"
    check "$page: its commands were run" test "$count" -gt 0
    cd "$top" || exit 1
    stop_keeper
    if [ -n "$cluster_pid" ]; then stop_cluster; else stop_server TERM; fi
done
finish
