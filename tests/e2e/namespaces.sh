#!/usr/bin/env bash
# Both limits on namespaces on a real node: one namespace too many is refused with an error, alone and in an import,
# which is checked as a whole; existing ones keep working; a deleted one makes room.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
api=http://127.0.0.1:$port/api/v1
start_server "$work" "$port" --registry-max-namespaces 2 --config-max-namespaces 3 --registry-events=false || { cat "$work/log"; exit 1; }
cd "$work" || exit 1

# req METHOD PATH [CURL'S ARGUMENTS]: $answer = the status, and the error's code if there is one
req() {
    body=$(curl -s -m 60 -w '\n%{http_code}' -X "$1" "$api$2" "${@:3}")
    answer="${body##*$'\n'} $(jq -r '.error.code // empty' <<<"${body%$'\n'*}" 2>/dev/null)"
    body=${body%$'\n'*}
}
of() { jq -r "$1" <<<"$body"; }

# --- the registry: namespaces that hold a service
instance() { req PUT "/services/web/instances/i?namespace=$1" -d '{"host":"h","port":1}'; }
instance one && expect "a first namespace" "200 " "$answer"
instance two && expect "a second one" "200 " "$answer"
instance three && expect "a third is one too many" "429 quota_exceeded" "$answer"
expect "and says so" "there are 2 namespaces with services, and three is not one of them; at most 2 are allowed (--registry-max-namespaces)" "$(of .error.message)"
instance one && expect "what is there goes on" "200 " "$answer"
req PUT '/services/mail/instances/i?namespace=two' -d '{"host":"h"}' && expect "and may grow" "200 " "$answer"
req DELETE '/services/web/instances/i?namespace=one' && expect "the last instance of a namespace goes" "200 " "$answer"
has_room() { instance three && [ "$answer" = "200 " ]; }
check "then there is room again" within $LIMIT_S has_room

# --- configurations: namespaces that hold one, also a deleted one
publish() { req PUT "/configs/a?namespace=$1" --data-binary "$2"; }
publish one x && expect "a configuration" "200 " "$answer"
publish two x && expect "in a second namespace" "200 " "$answer"
mkdir -p in/{two,three,four}/g && for ns in two three four; do echo "$ns" >in/$ns/g/b; done
archive() { tar cz -C in "$@" >in.tgz; }
import() { req POST "/import?$1" --data-binary @in.tgz; }
archive two three four && before=$(curl -s "$api/configs?limit=1" | jq .revision)
import dry_run=true
expect "a dry run tells which is too many" "200  three/b refused" \
    "$answer $(of '.items[] | select(.action == "refused") | "\(.namespace)/\(.name) \(.action)"')"
import ""
expect "an import that does not fit as a whole" "429 quota_exceeded" "$answer"
expect "says why" "the limit of 3 namespaces with configurations is reached: three cannot be added (--config-max-namespaces)" "$(of '.error.message' | sed 's/^[^:]*: //')"
expect "nothing of it is written" "$before" "$(curl -s "$api/configs?limit=1" | jq .revision)"
archive two three && import ""
expect "one that fits" "200 " "$answer"
publish four x && expect "a fourth namespace" "429 quota_exceeded" "$answer"
publish three y && expect "what is there goes on" "200 " "$answer"
req DELETE '/configs/a?namespace=one' && expect "a deleted configuration" "200 " "$answer"
publish four x && expect "keeps its namespace" "429 quota_exceeded" "$answer"

# --- after a restart it is counted anew
stop_server TERM
start_server "$work" "$port" --registry-max-namespaces 2 --config-max-namespaces 3 --registry-events=false || exit 1
instance one && expect "the registry after a restart" "429 quota_exceeded" "$answer"
publish four x && expect "configurations after a restart" "429 quota_exceeded" "$answer"

# --- sessions and projected instances, with users and with session keys
stop_server TERM
start_server "$work/keys" "$port" --session-keys || exit 1
key() { [ -n "$1" ] && echo "X-Cairn-Session-Key: $1"; }
beat() { req PUT "/sessions/$session/heartbeat" -H "$(key "$1")"; }
req POST /sessions -d '{"ttl":600}' && session=$(of .session) secret=$(of .session_key)
beat "" && expect "a session asks for its key" "403 forbidden" "$answer"
beat "00000000000000000000000000000000" && expect "for the right one" "403 forbidden" "$answer"
beat "$secret" && expect "which its opener has" "200 " "$answer"
req PUT "/services/web/instances/i?session=$session" -H "$(key "$secret")" -d '{"host":"h"}' && expect "to register" "200 " "$answer"
req PUT /services/web/instances/i -d '{"host":"evil"}' && expect "without it the instance stays" "403 forbidden" "$answer"
req DELETE "/sessions/$session" && expect "and the session" "403 forbidden" "$answer"
stored=$(etcdctl --endpoints "127.0.0.1:$port" get --prefix / --print-value-only)
check "the key is stored nowhere" test "${stored/$secret/}" = "$stored"
check "nor logged" test "$(grep -c "$secret" "$work/keys/log")" = 0
etcdctl --endpoints "127.0.0.1:$port" put "/cairn/registry/sessions/$(printf %016x "0x$session")" junk >/dev/null
beat "$secret" && expect "junk over its document ends nothing" "200 " "$answer"
is_repaired() { etcdctl --endpoints "127.0.0.1:$port" get --prefix /cairn/registry/sessions/ --print-value-only | grep -q key_sha256; }
check "and is repaired" within $LIMIT_S is_repaired

ctl() { etcdctl --endpoints "127.0.0.1:$port" --user root:root-pw "$@" >/dev/null; }
etcdctl --endpoints "127.0.0.1:$port" put /microservices/shop/k1 '{"endpoints":["grpc://10.0.0.5:9000"]}' >/dev/null
{
    for user in root alice bob; do etcdctl --endpoints "127.0.0.1:$port" user add "$user:$user-pw"; done
    etcdctl --endpoints "127.0.0.1:$port" user grant-role root root
    etcdctl --endpoints "127.0.0.1:$port" role add team
    for prefix in instances sessions/0000; do
        etcdctl --endpoints "127.0.0.1:$port" role grant-permission team --prefix=true readwrite "/cairn/registry/$prefix/"
    done
    for user in alice bob; do etcdctl --endpoints "127.0.0.1:$port" user grant-role $user team; done
    etcdctl --endpoints "127.0.0.1:$port" auth enable
} >/dev/null
ctl role add source && ctl role grant-permission source --prefix=true read /microservices/ && ctl user grant-role alice source
req GET /services/shop -u alice:alice-pw && expect "alice may read the source key" "kratos:k1" "$(of '.instances[].id')"
req GET /services/shop/instances/kratos:k1 -u bob:bob-pw && expect "bob may not: there is no such instance" "404 not_found" "$answer"
req GET /services/shop -u bob:bob-pw && expect "nor service" "404 not_found" "$answer"
req GET /services -u bob:bob-pw && expect "nor an entry in the list" "web" "$(of '[.services[].name] | join(" ")')"
req GET /services -u alice:alice-pw && expect "alice sees it there" "shop web" "$(of '[.services[].name] | join(" ")')"
req PUT /services/mine/instances/a -u alice:alice-pw -d '{"host":"h","ttl":600}' && session=$(of .session)
req PUT "/sessions/$session/heartbeat" -u alice:alice-pw && expect "alice keeps her session" "200 " "$answer"
for try in "PUT /sessions/$session/heartbeat" "DELETE /sessions/$session" "PUT /services/mine/instances/b?session=$session" "PUT /services/mine/instances/a"; do
    data=(-d '{"host":"h"}') && [[ $try == *services* ]] || data=()
    req ${try% *} "${try#* }" -u bob:bob-pw "${data[@]}" && expect "bob: ${try/$session/ID}" "403 forbidden" "$answer"
done
req PUT "/sessions/$session/heartbeat" -u root:root-pw && expect "an operator may" "200 " "$answer"

# --- an operator who may write sessions alone: the instances need no further right, other keys of the lease do
ctl role add operate && ctl role grant-permission operate --prefix=true readwrite /cairn/registry/sessions/ && ctl user add ops:ops-pw && ctl user grant-role ops operate
req PUT "/sessions/$session/heartbeat" -u ops:ops-pw && expect "an operator of sessions may" "200 " "$answer"
ctl put secret x --lease="$session"
req PUT "/sessions/$session/heartbeat" -u ops:ops-pw && expect "not with a key that the operator may not write" "403 forbidden" "$answer"
req DELETE "/sessions/$session" -u ops:ops-pw && expect "nor end it" "403 forbidden" "$answer"
finish
