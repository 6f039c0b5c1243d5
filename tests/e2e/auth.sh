#!/usr/bin/env bash
# Users and roles on three members: enabled on one, enforced on all, also on one that gets its state as a snapshot and under
# another leader. The native API behind the same roles. Tokens of both kinds.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
watchers=()
flags=(--bcrypt-cost 4 --snapshot-catchup-entries 10)
as() { # USER NUMBER COMMAND...: root's password is root-pw, and so on
    local user=$1 i=$2
    shift 2
    ctl_on "$i" --user "$user:$user-pw" "$@" 2>&1 | sed 's/.*Error: //' | tail -n 1
}
api() { # [-u USER] METHOD PATH [BODY]: the status and the error's code, on member $on
    local who=()
    [ "$1" = -u ] && { who=(-u "$2:$2-pw") && shift 2; }
    curl -s -m 60 "${who[@]}" -o "$work/body" -w '%{http_code}' -X "$1" "$(client_url "$on")$2" ${3:+-d "$3"}
    jq -rj 'if .error then " " + .error.code else "" end' "$work/body" 2>/dev/null
}

for i in 1 2 3; do start_member $i "${flags[@]}"; done
for i in 1 2 3; do check "n$i serves" serves $i; done
stop_member 3 TERM

# --- as root, before it is enabled -----------------------------------------------------------------------------------
{
    for user in root alice bob; do ctl_on 1 user add "$user:$user-pw"; done
    ctl_on 1 user grant-role root root
    ctl_on 1 role add team
    ctl_on 1 role grant-permission team --prefix=true readwrite app/
    ctl_on 1 role grant-permission team --prefix=true readwrite /cairn/registry/instances/default/default/orders/
    ctl_on 1 role grant-permission team --prefix=true readwrite /cairn/config/heads/default/default/app
    ctl_on 1 user grant-role alice team
    ctl_on 1 role add looks
    ctl_on 1 role grant-permission looks --prefix=true read /cairn/
    ctl_on 1 user grant-role bob looks
    ctl_on 1 auth enable
} >"$work/out" 2>&1
expect "it is enabled" 'Authentication Enabled' "$(tail -n 1 "$work/out")"
for i in 1 2; do
    expect "n$i: nobody may nothing" 'etcdserver: user name is empty' "$(ctl_on $i put app/a 1 2>&1 | sed 's/.*Error: //' | tail -n 1)"
    expect "n$i: a wrong password" 'etcdserver: authentication failed, invalid user ID or password' \
        "$(ctl_on $i --user alice:other get app/a 2>&1 | sed 's/.*Error: //' | tail -n 1)"
    expect "n$i: what the role allows" OK "$(as alice $i put "app/$i" 1)"
    expect "n$i: and no more" 'etcdserver: permission denied' "$(as alice $i put other 1)"
    expect "n$i: a range over the role's end" 'etcdserver: permission denied' "$(as alice $i get app/ b)"
done
expect "a watch is refused, and says why" 'watch is canceled by the server' "$(as alice 2 watch other | tail -n 1)"
expect "a user who looks does not write" 'etcdserver: permission denied' "$(as bob 2 put /cairn/x 1)"
expect "only root compacts" 'etcdserver: permission denied' "$(as alice 1 compact 2)"

# --- a token that one member made is good on another at once ------------------------------------------------------------
token() { curl -s -m 60 "$(client_url "$1")/v3/auth/authenticate" -d '{"name":"alice","password":"alice-pw"}' | jq -r .token; }
put_with() { curl -s -m 60 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $2" "$(client_url "$1")/v3/kv/put" -d "{\"key\":\"$(printf %s "$3" | base64)\"}"; }
for n in 1 2 3 4 5; do
    made=$(token 1)
    expect "token $n of n1 on n2" "200 403" "$(put_with 2 "$made" app/t) $(put_with 2 "$made" other)"
done
expect "one that was made up" 401 "$(put_with 2 abcdefghijklmnop.7 app/t)"

# --- a member that was away gets it all as a snapshot -------------------------------------------------------------------
for n in $(seq 60); do curl -s -m 60 -o /dev/null -H "Authorization: $made" "$(client_url 1)/v3/kv/put" -d '{"key":"YXBwL24="}'; done
within $LIMIT_S sh -c "curl -s $(client_url 1)/metrics | grep -q ." # its log has been cut since
start_member 3 "${flags[@]}"
check "n3 serves" serves 3
expect "n3: nobody may nothing" 'etcdserver: user name is empty' "$(ctl_on 3 get app/a 2>&1 | sed 's/.*Error: //' | tail -n 1)"
expect "n3: what the role allows" OK "$(as alice 3 put app/3 1)"
expect "n3: and no more" 'etcdserver: permission denied' "$(as alice 3 put other 1)"

# --- the native API -----------------------------------------------------------------------------------------------------
for on in 1 3; do
    instance='{"host":"10.0.0.1","port":80}'
    expect "n$on: without a user" "401 unauthorized" "$(api GET /api/v1/services/orders)"
    expect "n$on: alice registers" 200 "$(api -u alice PUT /api/v1/services/orders/instances/o$on "$instance")"
    session=$(jq -r .session "$work/body")
    expect "n$on: another service is not hers" "403 forbidden" "$(api -u alice PUT /api/v1/services/bills/instances/b1 "$instance")"
    expect "n$on: bob sees it" 200 "$(api -u bob GET /api/v1/services/orders)"
    expect "n$on: and does not keep it" "403 forbidden" "$(api -u bob PUT "/api/v1/sessions/$session/heartbeat")"
    expect "n$on: nor end it" "403 forbidden" "$(api -u bob DELETE "/api/v1/sessions/$session")"
    expect "n$on: nor join it" "403 forbidden" "$(api -u bob PUT "/api/v1/services/orders/instances/o9?session=$session" "$instance")"
    expect "n$on: alice keeps it" 200 "$(api -u alice PUT "/api/v1/sessions/$session/heartbeat")"
    expect "n$on: a configuration of hers" 200 "$(api -u alice PUT /api/v1/configs/app.txt "n$on")"
    expect "n$on: one that is not" "403 forbidden" "$(api -u alice PUT /api/v1/configs/other.txt x)"
    expect "n$on: nor in a bundle" "403 forbidden" \
        "$(api -u alice POST /api/v1/bundles '{"publish":[{"name":"app2.txt","content":"x"},{"name":"other.txt","content":"y"}]}')"
    expect "n$on: bob reads it" "200" "$(api -u bob GET /api/v1/configs/app.txt)"
    expect "n$on: bob does not publish" "403 forbidden" "$(api -u bob PUT /api/v1/configs/app.txt y)"
    expect "n$on: all of it is not alice's" "403 forbidden" "$(api -u alice GET /api/v1/services)"
    expect "n$on: nor an export" "403 forbidden" "$(api -u alice GET /api/v1/export)"
    expect "n$on: a stream without a user" "401 invalid_auth_token" "$(api GET '/api/v1/stream?kind=service&name=orders')"
    expect "n$on: health is open" 200 "$(api GET /health)"
    expect "n$on: metrics are open" 200 "$(api GET /metrics)"
done
# --- authors --------------------------------------------------------------------------------------------------------------
said() { jq -r "$1" "$work/body"; } # FILTER: of the last answer
expect "a release" 200 "$(on=1 api -u alice PUT '/api/v1/configs/app.txt?on_behalf_of=carol' hers)"
expect "its history" 200 "$(on=3 api -u bob GET /api/v1/configs/app.txt/history)"
expect "names its author" "alice carol 127.0.0.1" "$(said '.releases[0] | "\(.author) \(.on_behalf_of) \(.address)"')"
expect "an override" 200 "$(on=1 api -u root PUT /api/v1/services/orders/instances/o1/override '{"weight":5}')"
expect "its instance" 200 "$(on=1 api -u bob GET /api/v1/services/orders/instances/o1)"
expect "names its author, without the address" "root null" "$(said '.instance.override | "\(.author) \(.address)"')"
# --- the audit trail: refused attempts above, and what was done ------------------------------------------------------------
expect "it needs READ on all of it" "403 forbidden" "$(on=1 api -u alice GET /api/v1/audit)"
expect "bob may read it" 200 "$(on=3 api -u bob GET '/api/v1/audit?kind=override')"
expect "the override" "root put orders o1 127.0.0.1" "$(said '.changes[0] | "\(.author) \(.operation) \(.name) \(.id) \(.address)"')"
expect "what alice wrote" 200 "$(on=3 api -u bob GET '/api/v1/audit?user=alice&name=app.txt&limit=1')"
expect "for whom" "carol publish" "$(said '.changes[0] | "\(.on_behalf_of) \(.operation)"')"
expect "what was refused" 200 "$(on=3 api -u bob GET '/api/v1/audit?name=other.txt')"
expect "to whom" "alice config_put forbidden" "$(said '.changes[0] | "\(.author) \(.operation) \(.error)"')"
expect "alice registers another" 200 "$(on=1 api -u alice PUT /api/v1/services/orders/instances/own "$instance")"
expect "and deregisters it" 200 "$(on=2 api -u alice DELETE /api/v1/services/orders/instances/own)"
expect "and registers it again" 200 "$(on=1 api -u alice PUT /api/v1/services/orders/instances/own "$instance")"
expect "root deregisters it" 200 "$(on=2 api -u root DELETE /api/v1/services/orders/instances/own)"
expect "alice registers it once more" 200 "$(on=1 api -u alice PUT /api/v1/services/orders/instances/own "$instance")"
opened=$(said .session)
expect "root ends its session" 200 "$(on=3 api -u root DELETE "/api/v1/sessions/$opened")"
expect "the trail" 200 "$(on=3 api -u bob GET '/api/v1/audit?limit=20')"
expect "what root did is in it, what alice did with her own is not" "session close $opened root
instance deregister own root
instance deregister own root" "$(said '[.changes[] | select(.error | not) | select(.kind == "session" or .id == "own")] | sort_by(.kind) | reverse[] | "\(.kind) \(.operation) \(.id) \(.author)"')"
expect "no password and no content" 0 "$(ctl_on 1 --user root:root-pw get --prefix /cairn/audit/ | grep -c -e 'alice-pw' -e '"hers"')"
expect "a longer name is refused" "400 bad_request" "$(on=1 api -u alice PUT "/api/v1/configs/app.txt?on_behalf_of=$(printf '%257s' '' | tr ' ' x)" more)"
hear "$work/denied" 3 '"code":"forbidden"' \
    curl -s -N -u alice:alice-pw "$(client_url 1)/api/v1/stream?kind=config&name=other.txt&kind=kv&prefix=/&kind=service&name=bills"
expect "a stream refuses what is not allowed, each by itself" 3 "$(grep -c '"code":"forbidden"' "$work/denied")"

# --- rights of what is open: taken away on n1, lost on each member ---------------------------------------------------------
saw() { within $LIMIT_S grep -q -e "$1" "$2"; } # TEXT FILE
for on in 1 2 3; do
    ctl_on $on --user alice:alice-pw watch --prefix app/ >"$work/watch$on" 2>&1 &
    watchers+=($!)
    lease=$(as alice $on lease grant 60 | awk '{print $2}')
    ctl_on $on --user alice:alice-pw lease keep-alive "$lease" >"$work/keep$on" 2>&1 &
    watchers+=($!)
    curl -s -N -m 120 -H "Authorization: Bearer $(token $on)" "$(client_url $on)/api/v1/stream?kind=kv&prefix=app/&kind=config&name=app.txt" >"$work/events$on" &
    watchers+=($!)
done
for on in 1 2 3; do
    check "n$on: its events are there" saw 'event: snapshot' "$work/events$on"
    check "n$on: its lease is kept" saw 'keepalived' "$work/keep$on"
    within $LIMIT_S sh -c "etcdctl $impatient --endpoints $(endpoint $on) --user alice:alice-pw put app/seen 1 && grep -q app/seen $work/watch$on"
    check "n$on: its watch sees" saw app/seen "$work/watch$on"
done
expect "the right is taken" 'Permission of range [app/, app0) is revoked from role team' "$(as root 1 role revoke-permission team app/ --prefix=true)"
expect "then it is written" OK "$(as root 1 put app/secret 1)"
for on in 1 2 3; do
    check "n$on: the watch is canceled" saw 'watch is canceled by the server' "$work/watch$on"
    check "n$on: the subscription ends" saw '"sid":1,"code":"forbidden"' "$work/events$on"
    expect "n$on: nothing was seen without the right" 0 "$(cat "$work/watch$on" "$work/events$on" | grep -c app/secret)"
done
expect "what is still allowed goes on" 200 "$(on=1 api -u root PUT /api/v1/configs/app.txt after)"
for on in 1 2 3; do check "n$on: and is told" saw '"title"\|"delta"' "$work/events$on"; done
old=$(token 2)
expect "a token is good" 200 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -H "Authorization: $old" "$(client_url 3)/api/v1/configs/app.txt")"
expect "the password is changed" 'Password updated' "$(printf 'alice-pw\nalice-pw\n' | as root 1 user passwd alice --interactive=false)"
for on in 1 2 3; do
    check "n$on: the stream ends as unauthenticated" saw '"code":"invalid_auth_token"' "$work/events$on"
    expect "n$on: the token is void" 401 \
        "$(within $LIMIT_S sh -c "[ \$(curl -s -m 60 -o /dev/null -w '%{http_code}' -H 'Authorization: $old' $(client_url $on)/api/v1/configs/app.txt) = 401 ]" && echo 401)"
done
kill "${watchers[@]}" 2>/dev/null
wait "${watchers[@]}" 2>/dev/null
expect "the right is given back" 'Role team updated' "$(as root 1 role grant-permission team --prefix=true readwrite app/)"

# --- another leader -----------------------------------------------------------------------------------------------------
lead=$(ctl --user root:root-pw endpoint status -w json 2>/dev/null | jq -r '[.[].Status.leader] | first')
for i in 1 2 3; do
    [ "$(ctl_on $i --user root:root-pw endpoint status -w json | jq -r '.[0].Status.header.member_id')" = "$lead" ] && leads=$i
done
stop_member "$leads" KILL
on=$((leads % 3 + 1))
within $LIMIT_S sh -c "etcdctl $impatient --endpoints $(endpoint $on) --user alice:alice-pw put app/after 1"
expect "the leader is gone: what the role allows" OK "$(as alice $on put app/after 2)"
expect "and no more" 'etcdserver: permission denied' "$(as alice $on put other 1)"
expect "root disables it" 'Authentication Disabled' "$(as root $on auth disable)"
expect "then everybody may" OK "$(ctl_on $on put other 1)"

# --- nothing of it is in a log ------------------------------------------------------------------------------------------
expect "no password in a log" 0 "$(cat "$work"/n?.log* | grep -c -e '-pw')"
expect "no token in a log" 0 "$(cat "$work"/n?.log* | grep -c "$made")"

# --- JWT ------------------------------------------------------------------------------------------------------------------
head -c 40 /dev/urandom | base64 >"$work/secret"
port=$(free_base)
start_server "$work/jwt" "$port" --bcrypt-cost 4 --auth-token "jwt,priv-key=$work/secret,sign-method=HS256,ttl=10m"
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
{
    etcdctl user add root:root-pw
    etcdctl user grant-role root root
    etcdctl auth enable
} >/dev/null 2>&1
jwt=$(curl -s -m 60 "http://127.0.0.1:$port/v3/auth/authenticate" -d '{"name":"root","password":"root-pw"}' | jq -r .token)
claims() { jq -rR 'split(".")[1] | gsub("-"; "+") | gsub("_"; "/") | . + "=" * ((4 - length % 4) % 4) | @base64d | fromjson | .username + " " + (.revision | tostring)' <<<"$jwt"; }
expect "a JWT has etcd's claims" "root 3" "$(claims)"
expect "and is a token" 200 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -H "Authorization: $jwt" "http://127.0.0.1:$port/v3/auth/user/list" -d '{}')"
expect "etcdctl logs in by it" OK "$(etcdctl --user root:root-pw put a 1 2>&1)"
etcdctl --user root:root-pw user add eve:eve-pw >/dev/null 2>&1
expect "users have changed: it is old" 'etcdserver: revision of auth store is old' \
    "$(curl -s -m 60 -H "Authorization: $jwt" "http://127.0.0.1:$port/v3/kv/put" -d '{"key":"YQ=="}' | jq -r .message)"
list_users() { curl -s -m 60 -o "$work/body" -w '%{http_code} ' -H "Authorization: $jwt" "http://127.0.0.1:$port/v3/auth/user/list" -d '{}' && jq -r '.message // "fine"' "$work/body"; }
expect "it still administers, as etcd's" "200 fine" "$(list_users)"
expect "root's password is changed" 'Password updated' "$(echo root-pw | etcdctl --user root:root-pw user passwd root --interactive=false 2>&1)"
expect "a JWT of before it does nothing any more" "400 etcdserver: revision of auth store is old" "$(list_users)"
expect "another's signature" 401 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -H "Authorization: ${jwt%?????}AAAAA" "http://127.0.0.1:$port/v3/auth/user/list" -d '{}')"
stop_server TERM
"$CAIRND" --data-dir "$work/none" --auth-token jwt,sign-method=RS256 >"$work/out" 2>&1
expect "a jwt without a key is refused" 1 $?
check "and the sentence says what is missing" grep -q 'priv-key' "$work/out"
finish
