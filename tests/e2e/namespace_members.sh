#!/usr/bin/env bash
# A namespace is deleted on three members while leaders are killed with kill -9: the deletion goes on with the next leader, every key
# is counted once, quotas hold on each member, and nothing of the namespace is left.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
api() { echo "$(client_url "$1")/api/v1"; }
config_serves() { curl -sf -m 2 "$(client_url "$1")/readyz" >/dev/null; }
for i in 1 2 3; do start_member $i; done
for i in 1 2 3; do check "n$i serves" within $LIMIT_S config_serves $i; done
check "somebody leads" within $LIMIT_S leader
cd "$work" || exit 1

# --- quotas hold everywhere
curl -s -m 60 -X PUT -d '{"title":"T","quotas":{"services":1}}' "$(api 1)/namespaces/small" >/dev/null
curl -s -m 60 -X PUT -d '{"host":"h"}' "$(api 2)/services/a/instances/i?namespace=small" >/dev/null
refused() { [ "$(curl -s -m 60 -X PUT -d '{"host":"h"}' "$(api "$1")/services/b/instances/i?namespace=small" | jq -r .error.code)" = quota_exceeded ]; }
for i in 1 2 3; do check "a quota holds on n$i" within $LIMIT_S refused $i; done

# --- a namespace with many keys
count=4000
mkdir -p in/big/g && for i in $(seq $count); do echo "$i" >"in/big/g/c$i"; done
tar cz -C in big >in.tgz
expect "an import" "$count" "$(curl -s -m 120 --data-binary @in.tgz "$(api 1)/import" | jq .actions.created)"
expect "a dry run counts its keys" "{\"configurations\":$count,\"releases\":$count}" \
    "$(curl -s -m 60 -X DELETE "$(api 2)/namespaces/big?cascade=true&dry_run=true" | jq -c .found)"
# removed: what the deletion has removed, as a member that answers says
removed() {
    local i
    for i in 1 2 3; do
        curl -sf -m 5 "$(api $i)/namespaces/big/deletion?consistency=local" | jq '[.removed[]] | add // 0' 2>/dev/null && return
    done
}
moves() { local n; n=$(removed) && [ "${n:-0}" -gt "$1" ]; }
lead=$(leader)
expect "the deletion begins" running "$(curl -s -m 60 -X DELETE "$(api 3)/namespaces/big?cascade=true" | jq -r .state)"
check "it removes keys" within $LIMIT_S moves 0
stop_member "$lead" KILL
at=$(removed)
check "its leader is killed meanwhile: $at of $((2 * count)) keys" test "$at" -lt $((2 * count))
check "the next one goes on with it" within $LIMIT_S moves "$at"
second=$(leader)
stop_member "$second" KILL
start_member "$lead"
start_member "$second"
for i in 1 2 3; do check "n$i serves again" within $LIMIT_S config_serves $i; done
is_done() { [ "$(curl -s -m 10 "$(api 1)/namespaces/big/deletion" | jq -r .state)" = "done" ]; }
check "it ends" within $LIMIT_S is_done
for i in 1 2 3; do
    expect "n$i counts each key once" "{\"configurations\":$count,\"releases\":$count}" "$(curl -s -m 60 "$(api $i)/namespaces/big/deletion" | jq -c .removed)"
done
expect "nothing is left" 1 "$(ctl get --prefix /cairn/ --keys-only | grep -c '/big\(/\|$\)')"
expect "the namespace is gone" 404 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' "$(api 2)/namespaces/big")"
expect "the other one is there" T "$(curl -s -m 60 "$(api 3)/namespaces/small" | jq -r .title)"
finish
