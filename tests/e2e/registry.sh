#!/usr/bin/env bash
# The native API on a real node, with curl: every route of the registry, every class of error, long polls, and its keys
# as etcd's clients see them. tests/interop/run.sh has the description judged by others' tools (openapi) and a real
# Prometheus.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
url=http://127.0.0.1:$port
api=$url/api/v1
# Without events, which the leader writes after each change: revisions are compared. events.sh has them.
start_server "$work" "$port" --registry-max-instances 5 --registry-events=false || { cat "$work/log"; exit 1; }

# req METHOD PATH [BODY]: $status, $body, headers in $work/head.
req() {
    local data=()
    [ $# -gt 2 ] && data=(--data-binary "$3")
    body=$(curl -s -m 60 -D "$work/head" -X "$1" "${data[@]}" "$api$2")
    status=$(awk 'NR == 1 { print $2 }' "$work/head" | tr -d '\r')
}
header() { awk -v n="$1:" 'tolower($1) == tolower(n) { print $2 }' "$work/head" | tr -d '\r'; }
ids() { jq -r '[.instances[].id] | join(" ")' <<<"$body"; }
code() { jq -r '.error.code' <<<"$body"; }
# refused WANTED-STATUS WANTED-CODE METHOD PATH [BODY]
refused() {
    req "${@:3}"
    expect "$1 $2: $3 $4" "$1 $2 true" "$status $(code) $([ -n "$(header X-Cairn-Revision)" ] && echo true)"
}

# --- instances and sessions
req PUT /services/orders/instances/o1 '{"host":"10.0.0.5","port":8080,"zone":"b","tags":["x"]}'
expect "register" '200 15 5000' "$status $(jq -r '"\(.ttl) \(.heartbeat_ms)"' <<<"$body")"
expect "X-Cairn-Revision is the revision" "$(jq .revision <<<"$body")" "$(header X-Cairn-Revision)"
session=$(jq -r .session <<<"$body") revision=$(jq .revision <<<"$body")
# Heartbeats keep its session alive, however slow this machine is.
while sleep 2; do curl -s -m 20 -o "$work/kept" -X PUT "$api/sessions/$session/heartbeat"; done 2>/dev/null &
keeper=$!
end_more() { kill "$keeper"; }
req PUT /services/orders/instances/o1 '{"host":"10.0.0.5","port":8080,"zone":"b","tags":["x"]}'
expect "the same again writes nothing" "$revision $session true" "$(jq -r '"\(.revision) \(.session) \(.unchanged)"' <<<"$body")"
req PUT /sessions/"$session"/heartbeat
expect "heartbeat" "200 $session" "$status $(jq -r .session <<<"$body")"
req POST /sessions '{"ttl":60,"client_id":"web","labels":{"app":"web"}}'
shared=$(jq -r .session <<<"$body")
for i in o2 o3; do
    req PUT "/services/orders/instances/$i?session=$shared" '{"host":"10.0.0.6","version":"2","metadata":{"team":"shop"}}'
    expect "register on a session" "200 $shared" "$status $(jq -r .session <<<"$body")"
done
expect "an ordinary key" o1 "$(etcdctl --endpoints "127.0.0.1:$port" get /cairn/registry/instances/default/default/orders/o1 --print-value-only | jq -r 'if .host == "10.0.0.5" then "o1" else . end')"

# --- reading
req GET /services/orders
expect "the instances" "o1 o2 o3" "$(ids)"
expect "one of them" '{"id":"o1","host":"10.0.0.5","port":8080,"zone":"b","weight":100,"tags":["x"],"state":"up","serving":true}' \
    "$(jq -c '.instances[0] | {id, host, port, zone, weight, tags, state, serving}' <<<"$body")"
for q in tag=x:o1 version=2:"o2 o3" label=team=shop:"o2 o3" cluster=c: healthy=true:"o1 o2 o3" consistency=local:"o1 o2 o3"; do
    req GET "/services/orders?${q%%:*}"
    expect "?${q%%:*}" "${q#*:}" "$(ids)"
done
req GET /services/orders/instances/o1
expect "a single one" o1 "$(jq -r .instance.id <<<"$body")"
req GET /services
expect "the list" '{"name":"orders","group":"default","instances":3,"states":{"starting":0,"up":3,"warn":0,"draining":0,"lost":0,"down":0}}' \
    "$(jq -c '.services[]' <<<"$body")"
req PUT "/services/other/instances/1?namespace=n2&group=g" '{"host":"::1","ttl":600,"ports":{"http":80,"metrics":9100},"state":"starting"}'
req GET "/services?namespace=n2&group=*"
expect "another namespace, all groups" "other g" "$(jq -r '.services[] | "\(.name) \(.group)"' <<<"$body")"
req GET /services/orders/subscribers
expect "subscribers: none" '200 []' "$status $(jq -c .subscribers <<<"$body")"
expect "HEAD" 200 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -I "$api/services/orders")"

# --- the operator's word
req PUT /services/orders '{"protect_threshold":0.4}'
expect "settings" 200 "$status"
req PUT /services/orders/instances/o1/override '{"weight":0,"reason":"INC-7"}'
req GET "/services/orders?healthy=true"
expect "an override takes it out" "o2 o3" "$(ids)"
req GET /services/orders/instances/o1
expect "and is shown" '0 false INC-7 100' "$(jq -r '.instance | "\(.weight) \(.serving) \(.override.reason) \(.registered.weight)"' <<<"$body")"
req DELETE /services/orders/instances/o1/override
expect "taken back" 200 "$status"
req POST /services/orders/instances/o3/drain '{"deadline_ms":2000}'
expect "drain" '200 true 0' "$status $(jq -r '"\(.complete) \(.acknowledged)"' <<<"$body")"
req GET /services/orders
expect "draining" "up up draining" "$(jq -r '[.instances[].state] | join(" ")' <<<"$body")"
req DELETE /services/orders
expect "settings gone" 200 "$status"

# --- long polls
req GET /services/orders
revision=$(header X-Cairn-Revision) etag=$(header ETag)
req GET "/services/orders?wait_revision=$revision&timeout=0"
expect "nothing new" "304 $revision" "$status $(header X-Cairn-Revision)"
before=$(descriptors "$url")
waiting() { curl -s -m 60 -o "$work/$1" -w '%{http_code}' "${@:3}" "$api$2" >"$work/$1.status" & }
waiting service "/services/orders?wait_revision=$revision"
waits=$!
waiting absent "/services/new?wait_revision=$revision"
waits+=" $!"
waiting list "/services?wait_revision=$revision"
waits+=" $!"
waiting tagged "/services/orders?tag=x&wait_revision=$revision&timeout=1s"
waits+=" $!"
connections_come "$url" "$before" 4
req PUT /services/other/instances/1 '{"host":"a"}' # neither of the three services, but the list
req PUT /services/orders/instances/o2?session="$shared" '{"host":"10.0.0.7"}'
req PUT /services/new/instances/1?session="$shared" '{"host":"b"}'
wait $waits
expect "a change ends the wait" "200 10.0.0.7" "$(cat "$work/service.status") $(jq -r '.instances[1].host' "$work/service")"
expect "a service comes to be" "200 b" "$(cat "$work/absent.status") $(jq -r '.instances[0].host' "$work/absent")"
expect "a list" "200 2" "$(cat "$work/list.status") $(jq '.services | length' "$work/list")"
expect "a change that the filter hides does not" 304 "$(cat "$work/tagged.status")"
expect "If-None-Match" "304 200" "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -H "If-None-Match: $(curl -s -m 60 -o /dev/null -D - "$api/services/orders" | awk 'tolower($1) == "etag:" { print $2 }' | tr -d '\r')" "$api/services/orders") \
$(curl -s -m 60 -o /dev/null -w '%{http_code}' -H "If-None-Match: $etag" "$api/services/orders")"
expect "a revision of another life" 200 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' "$api/services/orders?wait_revision=999999")"

# --- refusals
refused 429 quota_exceeded PUT /services/orders/instances/o9 '{"host":"h"}'
check "Retry-After" test -n "$(header Retry-After)"
refused 400 unknown_parameter GET '/services?zone=b'
refused 400 bad_request GET '/services?limit=0'
refused 400 bad_request PUT /services/a/instances/1 '{"host":"h","colour":1}'
expect "the field is named" 'unknown field "colour"' "$(jq -r .error.message <<<"$body")"
refused 400 malformed PUT /services/a/instances/1 $'{"host":\n"h",}'
check "with its line" grep -q '^line 2, column' <<<"$(jq -r .error.message <<<"$body")"
refused 400 bad_request GET /services/a%2Fb
refused 400 bad_request DELETE /services/a/instances/1 '{}'
refused 404 not_found GET /services/nope
refused 404 not_found GET /nope
refused 404 not_found DELETE /services/orders/instances/nope
refused 404 not_found DELETE /services/orders
refused 404 not_found POST /services/orders/instances/nope/drain
refused 405 method_not_allowed POST /services
expect "Allow" "GET," "$(header Allow)"
refused 410 session_gone PUT /sessions/123/heartbeat
refused 410 session_gone PUT '/services/orders/instances/o1?session=123' '{"host":"h"}'
head -c 300000 /dev/zero | tr '\0' ' ' >"$work/large"
refused 413 too_large PUT /services/a/instances/1 "@$work/large"
head -c 3000000 /dev/zero | tr '\0' ' ' >"$work/large"
refused 413 too_large PUT /services/a/instances/1 "@$work/large"

# --- http_sd
expect "targets" '10.0.0.5:8080 10.0.0.6 10.0.0.7' "$(curl -s -m 60 "$url/sd/prometheus?service=orders" | jq -r '[.[].targets[]] | sort | join(" ")')"
expect "named ports, IPv6" '[::1]:80 [::1]:9100' "$(curl -s -m 60 "$url/sd/prometheus?namespace=n2" | jq -r '[.[].targets[]] | join(" ")')"
expect "labels" '{"__meta_cairn_namespace":"n2","__meta_cairn_group":"g","__meta_cairn_service":"other","__meta_cairn_instance":"1","__meta_cairn_port_name":"http","__meta_cairn_state":"starting","__meta_cairn_serving":"false","__meta_cairn_guarded":"false"}' \
    "$(curl -s -m 60 "$url/sd/prometheus?namespace=n2" | jq -c '.[0].labels')"

# --- ends
req DELETE /services/orders/instances/o1
expect "deregister" 200 "$status"
req DELETE /sessions/"$shared"
expect "a session ends with its instances" '200 3' "$status $(jq .instances <<<"$body")"
refused 404 not_found GET /services/orders

# --- the description
curl -s -m 60 "$url/openapi.json" >"$work/openapi.json"
expect "OpenAPI" 3.1.0 "$(jq -r .openapi "$work/openapi.json")"
check "no reference leads nowhere" jq -e '([.. | objects | .["$ref"]? // empty] | unique | map(ltrimstr("#/components/schemas/"))) - (.components.schemas | keys) == []' \
    "$work/openapi.json" -r >"$work/jq"

# --- the node goes while somebody waits
before=$(descriptors "$url")
waiting leaving "/services?wait_revision=$(curl -s -m 60 "$api/services" | jq .revision)"
waits=$!
connections_come "$url" "$before" 1
stop_server TERM
wait "$waits"
expect "a wait ends with the node" "304 0" "$(cat "$work/leaving.status") $server_status"

# --- one of two: no quorum. What is known is shown on demand; nothing else is.
pair="a=http://127.0.0.1:$((port + 11)),b=http://127.0.0.1:$((port + 13))"
pids=""
for m in a:10 b:12; do
    "$CAIRND" --name "${m%:*}" --data-dir "$work/${m%:*}" --listen-client-urls "http://127.0.0.1:$((port + ${m#*:}))" \
        --advertise-client-urls "http://127.0.0.1:$((port + ${m#*:}))" --listen-peer-urls "http://127.0.0.1:$((port + ${m#*:} + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + ${m#*:} + 1))" --initial-cluster "$pair" \
        --heartbeat-interval 50 --election-timeout 500 >"$work/${m%:*}.log" 2>&1 &
    pids+="$! "
done
read -r first server_pid <<<"$pids" # the second is stopped by the trap
api=http://127.0.0.1:$((port + 12))/api/v1
registers() {
    req PUT /services/pair/instances/1 '{"host":"h"}'
    [ "$status" = 200 ]
}
within $LIMIT_S registers
expect "two members" 200 "$status"
kill -KILL "$first"
wait "$first" 2>/dev/null
curl -s -m 60 -X PUT "$api/services/pair/instances/2" -d '{"host":"h"}' >"$work/refused" &
waits=$!
is_unavailable() {
    req GET /services/pair
    [ "$status" = 503 ]
}
within $LIMIT_S is_unavailable
check "503 without a quorum: $(code)" grep -qE '^(no_leader|unavailable)$' <<<"$(code)"
expect "Retry-After" 1 "$(header Retry-After)"
wait "$waits"
check "a write is not confirmed: $(jq -r .error.code "$work/refused")" grep -qE '"(no_leader|outcome_unknown)"' "$work/refused"
req GET '/services/pair?consistency=local'
expect "consistency=local is answered" "200 1" "$status $(ids)"
stop_server KILL
finish
