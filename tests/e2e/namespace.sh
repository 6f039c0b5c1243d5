#!/usr/bin/env bash
# Namespaces on a real node: document, conditions, long polls, quotas, usage, the list with its pages, deletion of an empty
# namespace and with cascade, audit, role templates with users, and restarts.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
api=http://127.0.0.1:$port/api/v1
start_server "$work" "$port" || { cat "$work/log"; exit 1; }
cd "$work" || exit 1

# req METHOD PATH [CURL'S ARGUMENTS]: $answer = the status, and the error's code if there is one
req() {
    body=$(curl -s -m 60 -w '\n%{http_code}' -X "$1" "$api$2" "${auth[@]}" "${@:3}")
    answer="${body##*$'\n'} $(jq -r '.error.code // empty' <<<"${body%$'\n'*}" 2>/dev/null)"
    body=${body%$'\n'*}
}
auth=()
of() { jq -c "$1" <<<"$body"; }
message() { jq -r .error.message <<<"$body"; }

# --- the document
req GET /namespaces/prod && expect "a namespace that has nothing" "404 not_found" "$answer"
req PUT /namespaces/prod -d '{"title":"Production","owner":"shop","labels":{"team":"a"},"description":"d","colour":1}'
expect "an unknown field" "400 bad_request" "$answer"
req PUT /namespaces/prod -d '{"title":"Production","owner":"shop","labels":{"team":"a"},"description":"d","quotas":{"services":2,"instances":3,"configurations":2,"bytes":10,"subscribers":1}}'
expect "a document" "200 " "$answer"
first=$(of .revision)
req GET /namespaces/prod
expect "is read" '["prod",true,"Production","shop",{"team":"a"},"d","anonymous","127.0.0.1"]' \
    "$(of '[.name,.defined,.title,.owner,.labels,.description,.author,.address]')"
expect "its quotas" '{"services":2,"instances":3,"configurations":2,"bytes":10,"subscribers":1}' "$(of .quotas)"
expect "are its limits" '[2,3,2,10,1]' "$(of '[.limits[]]')"
expect "of which it uses nothing" '[0,0,0,0,0]' "$(of '[.usage[]]')"
expect "its revision" "$first" "$(of .mod_revision)"
req PUT /namespaces/prod -d '{"title":"Production","owner":"shop","labels":{"team":"a"},"description":"d"}'
expect "the same again writes nothing" '[true]' "$(of '[.unchanged]')"
req PUT "/namespaces/prod?if_revision=$((first - 1))" -d '{"title":"x"}'
expect "a condition that is false" "412 precondition_failed" "$answer"
expect "shows the current one" '"Production"' "$(of .error.current.title)"
req PUT "/namespaces/prod?if_revision=$first" -d '{"title":"P2"}' && expect "one that is true" "200 " "$answer"
req PUT "/namespaces/prod" -H 'If-None-Match: *' -d '{}' && expect "only if there is none" "412 precondition_failed" "$answer"
req GET /namespaces/prod && expect "quotas stay without quotas in the body" '["P2",2]' "$(of '[.title,.quotas.services]')"
req PUT /namespaces/prod -d '{"quotas":{"stones":1}}' && expect "an unknown quota" "400 bad_request" "$answer"
req PUT /namespaces/prod -d '{"quotas":{"services":-1}}' && expect "a negative quota" "400 bad_request" "$answer"
req PUT /namespaces/a%2Fb -d '{}' && expect "a name with a slash" "400 bad_request" "$answer"

# --- a long poll
req GET /namespaces/prod && at=$(of .revision)
req GET "/namespaces/prod?wait_revision=$at&timeout=0s" && expect "nothing new" "304 " "$answer"
curl -s -m 60 "$api/namespaces/prod?wait_revision=$at&timeout=50s" >poll & poll=$!
curl -s -m 60 "$api/namespaces?wait_revision=$at&timeout=50s" >polls & polls=$!
req PUT /namespaces/prod -d '{"title":"P3"}'
wait $poll $polls
expect "a poll wakes at the change" '"P3"' "$(jq -c .title poll)"
expect "a poll of the list too" '["P3"]' "$(jq -c '[.namespaces[].title]' polls)"

# --- quotas in place of the options
instance() { req PUT "/services/$1/instances/$2?namespace=prod" -d '{"host":"10.0.0.1","port":1}'; }
instance a 1 && instance a 2 && instance b 1 && expect "within the quotas" "200 " "$answer"
instance b 2 && expect "an instance too many" "429 quota_exceeded" "$answer"
expect "says which" "there are 3 instances in namespace prod; at most 3 are allowed (the namespace's quota)" "$(message)"
instance c 1 && expect "a service too many" "there are 2 services in namespace prod; at most 2 are allowed (the namespace's quota)" "$(message)"
publish() { req PUT "/configs/$1?namespace=prod" --data-binary "$2"; }
publish one 12345 && publish two 123 && expect "configurations within them" "200 " "$answer"
publish three 1 && expect "a configuration too many" "namespace prod is full: it may hold 2 configurations (the namespace's quota)" "$(message)"
publish two 123456 && expect "too many bytes" "namespace prod is full: its configurations may have 10 bytes together, and have 8 (the namespace's quota)" "$(message)"
used() { req GET /namespaces/prod && [ "$(of '[.usage[]]')" = "$1" ]; }
req GET "/services/a?namespace=prod" && at=$(of .revision)
curl -s -m 60 "$api/services/a?namespace=prod&wait_revision=$at&timeout=50s" >/dev/null & poll=$!
check "usage counts them, and a subscriber" within $LIMIT_S used '[2,3,2,8,1]'
req GET "/services/b?namespace=prod&wait_revision=$at&timeout=1s" && expect "a subscriber too many" "429 quota_exceeded" "$answer"
expect "says so" "namespace prod has 1 subscribers on this member; at most 1 are allowed (the namespace's quota)" "$(message)"
kill $poll
check "a subscriber that leaves makes room" within $LIMIT_S used '[2,3,2,8,0]'
req PUT /namespaces/prod -d '{"title":"P3","quotas":{"instances":0}}' && instance b 2 && expect "0 is no limit" "200 " "$answer"
req PUT /namespaces/prod -d '{"title":"P3","quotas":{}}' && req GET /namespaces/prod
expect "without quotas the options hold" '[null,100000]' "$(of '[.quotas,.limits.services]')"

# --- the list
for ns in alpha beta gamma; do req PUT "/namespaces/$ns" -d '{}'; done
req PUT "/services/s/instances/i?namespace=implicit" -d '{"host":"10.0.0.1"}'
req PUT "/configs/c?namespace=plain" -d 'x'
req GET /namespaces
expect "the list, with namespaces that have no document" '[["alpha",true],["beta",true],["gamma",true],["implicit",false],["plain",false],["prod",true]]' \
    "$(of '[.namespaces[]|[.name,.defined]]')"
names=""
next=""
while :; do
    req GET "/namespaces?limit=2${next:+&continue=$next}"
    names+="$(of '[.namespaces[].name]')"
    next=$(jq -r '.continue // empty' <<<"$body")
    [ -n "$next" ] || break
done
expect "in pages" '["alpha","beta"]["gamma","implicit"]["plain","prod"]' "$names"
req GET "/namespaces?prefix=p&limit=1" && expect "with a prefix" '["plain"]' "$(of '[.namespaces[].name]')"
req GET "/namespaces?prefix=gam" && expect "of one" '["gamma"]' "$(of '[.namespaces[].name]')"
req GET "/namespaces?prefix=zz" && expect "of none" '[]' "$(of .namespaces)"
req GET "/namespaces?continue=x" && expect "a wrong continue" "400 bad_request" "$answer"

# --- deletion
req DELETE /namespaces/alpha && expect "an empty namespace" '["200 ","done"]' "$(jq -cn --arg a "$answer" --argjson s "$(of .state)" '[$a,$s]')"
req DELETE /namespaces/alpha && expect "again" "404 not_found" "$answer"
req DELETE /namespaces/prod && expect "one that is not empty" "409 conflict" "$answer"
expect "says what is left" "namespace prod is not empty, it has 4 instances, 2 configurations, 2 releases: delete these first, or all with cascade=true" "$(message)"
expect "as numbers too" '{"instances":4,"configurations":2,"releases":2}' "$(of .error.current.found)"
req DELETE "/namespaces/prod?cascade=true&dry_run=true"
expect "a dry run tells what would go" '["dry_run",{"instances":4,"configurations":2,"releases":2}]' "$(of '[.state,.found]')"
req GET /namespaces/prod && expect "and does nothing" '[true,null,4]' "$(of '[.defined,.deleting,.usage.instances]')"
req DELETE "/namespaces/prod?cascade=true&if_revision=1" && expect "a condition of a deletion" "412 precondition_failed" "$answer"
req DELETE "/namespaces/prod?cascade=true" && expect "with cascade" '["running",{"instances":4,"configurations":2,"releases":2}]' "$(of '[.state,.found]')"
is_done() { req GET "/namespaces/$1/deletion" && [ "$(of .state)" = '"done"' ]; }
check "it ends" within $LIMIT_S is_done prod
expect "everything was removed" '[{"instances":4,"configurations":2,"releases":2},"anonymous"]' "$(of '[.removed,.author]')"
req GET /namespaces/prod && expect "the namespace is gone" "404 not_found" "$answer"
req GET "/configs/one?namespace=prod" && expect "its configurations too" "404 not_found" "$answer"
left() { etcdctl --endpoints "127.0.0.1:$port" get --prefix /cairn/ --keys-only | grep -c '/prod\(/\|$\)'; }
expect "only the deletion is left of it" 1 "$(left)"
req PUT "/configs/one?namespace=prod" -d 'x' && expect "the name can be used again" "200 " "$answer"
req DELETE "/namespaces/plain?cascade=true" && expect "a namespace without a document" '"running"' "$(of .state)"
check "goes too" within $LIMIT_S is_done plain

# --- the audit trail
req GET "/audit?kind=namespace&namespace=prod&limit=100"
expect "each change has a record" '["delete","cascade","put_quotas","put_quotas","put","put","put_quotas"]' "$(of '[.changes[].operation]')"
expect "with its author" '["anonymous"]' "$(of '[.changes[].author]|unique')"

# --- after a restart
req PUT /namespaces/beta -d '{"title":"B","quotas":{"services":1}}'
stop_server KILL
start_server "$work" "$port" || exit 1
req GET /namespaces/beta && expect "a document after kill -9" '["B",1]' "$(of '[.title,.limits.services]')"
req PUT "/services/s/instances/i?namespace=beta" -d '{"host":"h"}'
req PUT "/services/t/instances/i?namespace=beta" -d '{"host":"h"}' && expect "its quotas hold" "429 quota_exceeded" "$answer"
finish
