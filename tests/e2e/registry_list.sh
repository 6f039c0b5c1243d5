#!/usr/bin/env bash
# Lists of instances in one request, on a real node with users: rights of each element, all or none, the audit trail, one
# session for all, and `cairnctl service register-list`.
. "$(dirname "$0")/lib.sh"
CTL=$(realpath "$(dirname "$CAIRND")/cairnctl")
port=$(free_base)
api=http://127.0.0.1:$port/api/v1
start_server "$work/one" "$port" --registry-max-instances 4 --registry-events=false --bcrypt-cost 4 || { cat "$work/one/log"; exit 1; }
export CAIRN_ENDPOINTS=127.0.0.1:$port CAIRN_COMMAND_TIMEOUT=${LIMIT_S}s CAIRN_DIAL_TIMEOUT=${LIMIT_S}s XDG_CONFIG_HOME=$work
cd "$work" || exit 1

# put USER QUERY BODY [CURL-OPTIONS]: $status, $body. USER "": none.
put() {
    body=$(curl -s -m 60 ${1:+-u "$1:secret"} -w '\n%{http_code}' -X PUT "${@:4}" --data-binary "$3" "$api/instances$2")
    status=${body##*$'\n'} body=${body%$'\n'*}
}
message() { jq -r '"\(.error.code) \(.error.message)"' <<<"$body"; }
instances() { curl -s -m 60 ${1:+-u "$1:secret"} "$api/services/$2" | jq -r '[.instances[]?.id] | join(" ")'; }

# --- cairnctl
printf '[{"service":"web","id":"w1","host":"10.0.0.1","port":80},{"service":"web","id":"w2","host":"10.0.0.2","port":80}]' >list.json
"$CTL" service register-list list.json --ttl 6s >register.out 2>register.err &
pid=$!
check "cairnctl registers a list" within $LIMIT_S grep -q '^2 instances written, session ' register.out
expect "both are there" "w1 w2" "$(instances "" web)"
curl -s -m 60 -X DELETE "$api/services/web/instances/w2" >deleted.out
are() { [ "$(instances "" web)" = "$1" ]; }
check "each heartbeat is the list again" within $LIMIT_S are "w1 w2"
expect "in one session" 1 "$(curl -s -m 60 "$api/services/web" | jq '[.instances[].session] | unique | length')"
kill -TERM $pid
wait $pid
expect "Ctrl-C ends it" 0 $?
check "which deregisters" grep -q '^deregistered 2 instances' register.err
expect "both are gone" "" "$(instances "" web)"
echo '{"service":' >bad.json
"$CTL" service register-list bad.json --once 2>bad.err
expect "no JSON" 1 $?
check "and says where" grep -q 'bad.json is no JSON: line 2' bad.err
jq '.[1].port = 0' list.json | "$CTL" service register-list - --once 2>bad.err
expect "a refused list" 3 $?
check "names the place" grep -q 'instances\[1\]: port is not a whole number' bad.err

# --- all or none
put "" "" '{"instances":[{"service":"web","id":"a","host":"h"},{"service":"web","id":"b","host":"h"},{"service":"db","id":"c","host":"h"},{"service":"db","id":"d","host":"h"},{"service":"mq","id":"e","host":"h"}]}'
expect "a quota of all together" "429 quota_exceeded true" "$status $(jq -r '"\(.error.code) \(.error.message | startswith("instances[4]: there are 4 instances"))"' <<<"$body")"
expect "nothing was written" " 0" "$(instances "" web) $(curl -s -m 60 "$api/services" | jq '.services | length')"
put "" "?namespace=n2" '{"ttl":600,"instances":[{"service":"web","id":"a","host":"h"},{"service":"web","id":"b","host":"h","namespace":"default"}]}'
expect "two namespaces" "200 2" "$status $(jq .changed <<<"$body")"
expect "the element's own" "b" "$(instances "" web)"

# --- users
{
    for user in root alice bob; do
        echo secret | etcdctl --endpoints "$CAIRN_ENDPOINTS" user add $user --interactive=false
        etcdctl --endpoints "$CAIRN_ENDPOINTS" role add $user
        etcdctl --endpoints "$CAIRN_ENDPOINTS" user grant-role $user $user
    done
    for user in alice bob; do
        etcdctl --endpoints "$CAIRN_ENDPOINTS" role grant-permission $user --prefix=true readwrite /cairn/registry/instances/default/default/web/
    done
    etcdctl --endpoints "$CAIRN_ENDPOINTS" auth enable
} >"$work/users" 2>&1
put "" "" '{"instances":[{"service":"web","id":"x","host":"h"}]}'
expect "without credentials" "401 unauthorized" "$status $(jq -r .error.code <<<"$body")"
put alice "" '{"ttl":600,"instances":[{"service":"web","id":"x","host":"h"},{"service":"db","id":"y","host":"h"}]}'
expect "an element without the right" "403 true" "$status $(jq -r '.error.message | startswith("instances[1]: the roles of user alice do not allow this")' <<<"$body")"
put alice "" '{"ttl":600,"instances":[{"service":"web","id":"x","host":"h"},{"service":"web","id":"z","host":"h"}]}'
expect "with it" "200 2" "$status $(jq .changed <<<"$body")"
key=$(jq -r .session_key <<<"$body") session=$(jq -r .session <<<"$body")
put alice "" '{"ttl":600,"instances":[{"service":"web","id":"x","host":"h"},{"service":"web","id":"z","host":"h"}]}'
expect "the same again" "200 true $session" "$status $(jq -r '"\(.unchanged) \(.session)"' <<<"$body")"
put bob "" '{"ttl":600,"instances":[{"service":"web","id":"x","host":"h"},{"service":"web","id":"z","host":"h"}]}'
expect "another user without the session's key" "403" "$status"
put bob "?session=$session" '{"ttl":600,"instances":[{"service":"web","id":"z","host":"other"}]}'
expect "nor by its name" "403" "$status"
put bob "?session=$session" '{"ttl":600,"instances":[{"service":"web","id":"z","host":"other"}]}' -H "X-Cairn-Session-Key: $key"
expect "with the key" "200 1" "$status $(jq .changed <<<"$body")"
expect "the refusal is in the audit trail" "instance instance_list_put default db y alice" \
    "$(curl -s -m 60 -u root:secret "$api/audit?name=db" | jq -r '.changes[0] | "\(.kind) \(.operation) \(.namespace) \(.name) \(.id) \(.author)"')"
finish
