#!/usr/bin/env bash
# Streams of a daemon: curl reads events, clients that misbehave affect no other client, and a client that
# follows through kill -9 and orderly restarts misses no revision and gets none twice.
. "$(dirname "$0")/lib.sh"
client=$(realpath tests/e2e/stream_client.py)
port=$(free_port)
start_server "$work" "$port" || { cat "$work/log"; exit 1; }

etcdctl --endpoints "127.0.0.1:$port" put /cairn/registry/instances/default/default/orders/o1 '{"host":"10.0.0.5","port":8080}' >/dev/null
hear "$work/events" 1 '"id":"o1"' curl -sN "http://127.0.0.1:$port/api/v1/stream?kind=service&name=orders"
events=$(cat "$work/events")
check "curl hears welcome" grep -q '^event: welcome$' <<<"$events"
check "and a snapshot with a token" grep -Eq '^id: [0-9]+:[0-9]+$' <<<"$events"
check "with the instance" grep -q '"id":"o1","host":"10.0.0.5","port":8080' <<<"$events"
expect "what is asked wrongly is refused" '{"error":{"code":"invalid","message":"unknown parameter before the first kind: name"}}' \
    "$(curl -s "http://127.0.0.1:$port/api/v1/stream?name=orders")"

curl -s -X PUT --data-binary 'port: 80' "http://127.0.0.1:$port/api/v1/configs/shop.yaml" >/dev/null
hear "$work/events" 2 '"sid":2,.*"id":"default/shop.yaml"|"content":"port: 80"' \
    curl -sN "http://127.0.0.1:$port/api/v1/stream?kind=config&name=shop.yaml&kind=configs&prefix=shop&group="
events=$(cat "$work/events")
check "curl hears a configuration" grep -q '"id":"shop.yaml","name":"shop.yaml","seq":1,.*"content":"port: 80"' <<<"$events"
check "and those of all groups" grep -q '"sid":2,.*"id":"default/shop.yaml"' <<<"$events"
printf '%s\n' "$events" | timeout 60 python3 "$client" events "$port" >"$work/described" 2>&1
status=$?
[ $status = 0 ] || cat "$work/described"
check "as /asyncapi.json describes them: $(tail -1 "$work/described")" [ $status = 0 ]
timeout 300 python3 "$client" frames "$port" >"$work/frames" 2>&1
status=$?
[ $status = 0 ] || cat "$work/frames"
check "frames of each kind are as /asyncapi.json describes them: $(tail -1 "$work/frames")" [ $status = 0 ]
timeout 300 python3 "$client" config "$port" >"$work/config" 2>&1
status=$?
[ $status = 0 ] || cat "$work/config"
check "configurations: $(tail -1 "$work/config")" [ $status = 0 ]

timeout 300 python3 "$client" hostile "$port" "$server_pid" >"$work/hostile" 2>&1
status=$?
[ $status = 0 ] || cat "$work/hostile"
check "hostile clients: $(tail -1 "$work/hostile")" [ $status = 0 ]

timeout 300 python3 "$client" chain "$port" 12 >"$work/chain" 2>&1 &
chain=$!
for signal in KILL TERM KILL TERM; do
    sleep 2
    stop_server $signal
    start_server "$work" "$port" || { cat "$work/log"; exit 1; }
done
wait $chain
status=$?
[ $status = 0 ] || cat "$work/chain"
check "the chain holds over restarts: $(tail -1 "$work/chain")" [ $status = 0 ]

# Shutdown: every stream gets a notice, and the process does not wait for them.
timeout 120 curl -sN "http://127.0.0.1:$port/api/v1/stream?kind=service&name=orders" >"$work/left" &
reader=$!
within $LIMIT_S has "$work/left" snapshot
stop_server TERM
expect "SIGTERM: exit 0" 0 "$server_status"
wait $reader
check "goaway, with a time to come back" grep -q '"type":"goaway","after_ms":' "$work/left"
finish
