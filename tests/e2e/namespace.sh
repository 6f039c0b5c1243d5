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
req PUT "/configs/elsewhere" --data-binary x && at=$(of .revision)
req GET "/namespaces/prod?wait_revision=$at&timeout=0s" && expect "nor at the revision of another route" "304 " "$answer"
req GET "/namespaces?wait_revision=$at&timeout=0s" && expect "nor in the list" "304 " "$answer"
# An answer at the timeout would come too late for curl.
curl -s -m 60 "$api/namespaces/prod?wait_revision=$at&timeout=300s" >poll & poll=$!
curl -s -m 60 "$api/namespaces?wait_revision=$at&timeout=300s" >polls & polls=$!
req PUT /namespaces/prod -d '{"title":"P3"}'
wait $poll $polls
expect "a poll wakes at the change" '"P3"' "$(jq -c .title poll)"
expect "a poll of the list too" '["P3"]' "$(jq -c '[.namespaces[].title // empty]' polls)"

# --- quotas in place of the options
instance() { req PUT "/services/$1/instances/$2?namespace=prod" -d '{"host":"10.0.0.1","port":1,"ttl":600}'; }
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
curl -s -m 60 "$api/services/a?namespace=prod&wait_revision=$at&timeout=300s" >/dev/null & poll=$!
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
req PUT "/services/s/instances/i?namespace=implicit" -d '{"host":"10.0.0.1","ttl":600}'
req PUT "/configs/c?namespace=plain" -d 'x'
req GET /namespaces
expect "the list, with namespaces that have no document" '[["alpha",true],["beta",true],["default",false],["gamma",true],["implicit",false],["plain",false],["prod",true]]' \
    "$(of '[.namespaces[]|[.name,.defined]]')"
names=""
next=""
while :; do
    req GET "/namespaces?limit=2${next:+&continue=$next}"
    names+="$(of '[.namespaces[].name]')"
    next=$(jq -r '.continue // empty' <<<"$body")
    [ -n "$next" ] || break
done
expect "in pages" '["alpha","beta"]["default","gamma"]["implicit","plain"]["prod"]' "$names"
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
req PUT "/services/s/instances/i?namespace=beta" -d '{"host":"h","ttl":600}'
req PUT "/services/t/instances/i?namespace=beta" -d '{"host":"h","ttl":600}' && expect "its quotas hold" "429 quota_exceeded" "$answer"

# --- cairnctl
CTL=$(realpath "$(dirname "$CAIRND")/cairnctl")
ctl() { "$CTL" --endpoints "127.0.0.1:$port" --command-timeout ${LIMIT_S}s "$@" 2>&1; }
expect "namespace put" "delta: saved" "$(ctl namespace put delta --title "The delta" --owner me --label a=1 --label b=2 --quota services=5 --quota bytes=100)"
expect "the same again" "delta: no change" "$(ctl namespace put delta --title "The delta")"
expect "it keeps what is not named" "delta: saved" "$(ctl namespace put delta --label a= --quota bytes=)"
expect "namespace get" '["The delta","me",{"b":"2"},{"services":5}]' "$(ctl -o json namespace get delta | jq -c '[.title,.owner,.labels,.quotas]')"
expect "namespace list" $'NAME   TITLE      OWNER  SERVICES  INSTANCES  CONFIGURATIONS  BYTES  DELETING\ndelta  The delta  me     0         0          0               0' \
    "$(ctl namespace list del | sed 's/ *$//')"
expect "of a name that is none" "cairnctl namespace get: there is no such namespace: it has no document, no service and no configuration" "$(ctl namespace get nowhere | sed 's/ (.*//')"
for i in 1 2 3; do ctl -n delta config set "c$i" - <<<"$i" >/dev/null; done
expect "namespace delete refuses what is not empty" "namespace delta is not empty, it has 3 configurations, 3 releases: delete these first, or all with cascade=true" "$(ctl namespace delete delta | grep -o 'namespace delta is.*true')"
expect "a dry run" "delta: a deletion with --cascade would remove 3 configurations, 3 releases" "$(ctl namespace delete delta --dry-run)"
expect "and with cascade" "delta: deleted, with 3 configurations, 3 releases" "$(ctl namespace delete delta --cascade)"
expect "its progress stays readable" '["done",{"configurations":3,"releases":3}]' "$(ctl -o json namespace get delta --deletion | jq -c '[.state,.removed]')"

# --- role templates: each may do what its row says, in its namespace alone
ctl namespace put team --title Team >/dev/null
ctl -n team config set app.yaml - <<<"a: 1" >/dev/null
ctl -n team service register web i1 10.0.0.1:80 --once --ttl 1h >/dev/null
ctl user add root --new-user-password pw >/dev/null
ctl role add root >/dev/null
ctl user grant-role root root >/dev/null
for t in reader publisher operator admin; do
    ctl role add "r-$t" >/dev/null
    expect "role grant as $t" "Role r-$t is $t of namespace team" "$(ctl -n team role grant "r-$t" --as "$t")"
    ctl user add "$t" --new-user-password pw >/dev/null
    ctl user grant-role "$t" "r-$t" >/dev/null
done
expect "an unknown template" 1 "$(ctl role grant r-reader --as emperor | grep -c 'must be reader, publisher, operator or admin')"
expect "a role that does not exist" 1 "$(ctl role grant r-none --as reader | grep -c 'role name not found')"
ctl auth enable >/dev/null
# may USER METHOD PATH [BODY]: the status, 2 for any success
may() {
    auth=(--user "$1:pw")
    req "$2" "${3/USER/$1}" ${4:+--data-binary "$4"}
    case $answer in 2*) echo 2 ;; *) echo "${answer% *}" ;; esac
}
# row NAME METHOD PATH BODY READER PUBLISHER OPERATOR ADMIN
row() {
    local got=""
    for t in reader publisher operator admin; do got+="$(may "$t" "$2" "$3" "$4") "; done
    expect "rights: $1" "$5 $6 $7 $8 " "$got"
}
row "read a service" GET '/services/web?namespace=team' '' 2 2 2 2
row "read a configuration" GET '/configs/app.yaml?namespace=team' '' 2 2 2 2
row "read the document" GET '/namespaces/team' '' 2 2 2 2
row "publish" PUT '/configs/app.yaml?namespace=team' 'a: 2' 403 2 2 2
row "write a draft" PUT '/configs/app.yaml/draft?namespace=team' 'a: 3' 403 2 2 2
row "register an instance" PUT '/services/web/instances/i-USER?namespace=team' '{"host":"h"}' 403 2 2 2
row "override an instance" PUT '/services/web/instances/i1/override?namespace=team' '{"weight":1}' 403 403 2 2
row "set a service" PUT '/services/web?namespace=team' '{"protect_threshold":0.1}' 403 403 2 2
row "set the document" PUT '/namespaces/team' '{"title":"T"}' 403 403 403 2
row "set the quotas" PUT '/namespaces/team' '{"title":"T","quotas":{"services":9}}' 403 403 403 403
row "count what a deletion removes" DELETE '/namespaces/team?dry_run=true' '' 403 403 403 2
row "another namespace" GET '/services/s?namespace=implicit' '' 403 403 403 403
row "another namespace's document" PUT '/namespaces/beta' '{}' 403 403 403 403
row "the list" GET '/namespaces' '' 2 2 2 2
auth=(--user reader:pw)
req GET /namespaces && expect "which shows what may be read" '["team"]' "$(of '[.namespaces[].name]')"
root() { ctl --user root:pw "$@"; }
root user add nobody --new-user-password pw >/dev/null
expect "a user without rights gets no list" 403 "$(may nobody GET /namespaces)"
root -n team role grant r-admin --as reader >/dev/null
expect "a template replaces another one" 403 "$(may admin PUT '/configs/app.yaml/draft?namespace=team' 'a: 3')"
root -n team role grant r-admin --as admin >/dev/null
expect "the quotas of an operator of the cluster" 2 "$(may root PUT /namespaces/team '{"title":"T","quotas":{"services":9}}')"
expect "protect a namespace from its admin" 403 "$(may admin DELETE '/namespaces/team?cascade=true')"
expect "until they are gone" 2 "$(may root PUT /namespaces/team '{"title":"T","quotas":{}}')"
expect "an operator may not delete" 403 "$(may operator DELETE '/namespaces/team?cascade=true')"
expect "an admin may" 2 "$(may admin DELETE '/namespaces/team?cascade=true')"
auth=(--user root:pw)
check "and it is gone" within $LIMIT_S is_done team
expect "by the admin" '"admin"' "$(of .author)"
req GET '/audit?kind=namespace&namespace=team&limit=2' && expect "so says the audit trail" '[["delete","admin"],["cascade","admin"]]' "$(of '[.changes[]|[.operation,.author]]')"
expect "role revoke" "Role r-reader has no more permissions for namespace team" "$(root -n team role revoke r-reader)"
expect "takes all" 0 "$(root -o json role get r-reader | jq '.perm // [] | length')"
expect "once" 1 "$(root -n team role revoke r-reader | grep -c 'has no permission of a template')"
finish
