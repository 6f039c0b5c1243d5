#!/usr/bin/env bash
# Two namespaces on a real node, with users and a key: what a comparison shows, what a promotion copies in one revision, the
# proof of what was compared, rights on both sides, reviews, schemas and quotas of the target, idempotency keys, kill -9.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
url=http://127.0.0.1:$port
api=$url/api/v1
umask 077
echo "k1 $(head -c 32 /dev/urandom | base64 -w 0)" >"$work/keys"
start() { start_server "$work/n1" "$port" --bcrypt-cost 4 --encryption-key-file "$work/keys" || { cat "$work/log"; exit 1; }; }
start
cairnctl=$(realpath "${CAIRNCTL:-bin/cairnctl}")
admin() { "$cairnctl" --endpoints "$url" "$@" >>"$work/out" 2>&1 || fails "cairnctl $*: $(tail -n 1 "$work/out")"; }

# req USER METHOD PATH [BODY [HEADER]]: $answer = the status, and the error's code if there is one
req() {
    body=$(curl -s -m 60 -w '\n%{http_code}' -u "$1:$1-pw" -X "$2" "$api$3" ${4:+--data-binary "$4"} ${5:+-H "$5"})
    answer="${body##*$'\n'} $(jq -r '.error.code? // empty' <<<"${body%$'\n'*}" 2>/dev/null)"
    body=${body%$'\n'*}
}
of() { jq -rc "$1" <<<"$body"; }
as() { local user=$1 && shift && "$cairnctl" --endpoints "$url" --user "$user:$user-pw" --command-timeout ${LIMIT_S}s "$@" 2>&1; }
promote() { req "$1" POST "/promote${3:-}" "{\"from\":\"dev\",\"to\":\"prod\",\"items\":[$2]}" "${4:-}"; }
item() { echo "{\"name\":\"$1\",\"seq\":$2,\"to_seq\":$3}"; }

for user in root dev ops; do admin user add "$user:$user-pw"; done
admin user grant-role root root
for user in dev ops; do admin role add $user && admin user grant-role $user $user; done
admin role grant-permission dev --prefix=true readwrite /cairn/config/heads/dev/
admin role grant-permission ops --prefix=true read /cairn/config/heads/dev/
admin role grant-permission ops --prefix=true readwrite /cairn/config/heads/prod/
admin auth enable
put() { req dev PUT "/configs/$1?namespace=dev" "$2" && expect "dev publishes $1" "200 " "$answer"; }
put app.yaml 'port: 1'
put app.yaml 'port: 2'
put db.yaml 'host: a'
put same.txt x
req ops PUT '/configs/same.txt?namespace=prod' x && expect "ops publishes in prod" "200 " "$answer"
req ops PUT '/configs/db.yaml?namespace=prod&title=old' 'host: b' && expect "and another content" "200 " "$answer"
req ops PUT '/configs/own.txt?namespace=prod' y && expect "and one that dev does not have" "200 " "$answer"

# --- compare
states() { of '[.configs[] | .name + " " + .state + " " + (.seq | tostring) + " " + (.to_seq | tostring)] | join(", ")'; }
req ops GET '/compare?namespace=dev&to_namespace=prod' && expect "a comparison" "app.yaml only_from 2 0, db.yaml differs 1 1, own.txt only_to 0 1, same.txt same 1 1" "$(states)"
req ops GET '/compare?namespace=dev&to_namespace=prod&limit=1' && expect "a page" "app.yaml only_from 2 0" "$(states)"
req ops GET "/compare?namespace=dev&to_namespace=prod&limit=2&continue=$(of .continue)" && expect "the next one" "db.yaml differs 1 1, own.txt only_to 0 1" "$(states)"
req ops GET "/compare?namespace=dev&to_namespace=prod&limit=2&continue=$(of .continue)" && expect "the last one" "same.txt same 1 1" "$(states)"
expect "has no continue" null "$(of .continue)"
req ops GET '/compare?namespace=dev&to_namespace=prod&prefix=d' && expect "a prefix" "db.yaml differs 1 1" "$(states)"
req ops GET '/compare?namespace=dev&to_namespace=prod&group=*' && expect "all groups" 4 "$(of '.configs | length')"
req ops GET '/compare?namespace=dev' && expect "without to_namespace" "400 bad_request" "$answer"
req ops GET '/compare?namespace=dev&to_namespace=dev' && expect "a namespace with itself" "400 bad_request" "$answer"
req dev GET '/compare?namespace=dev&to_namespace=prod' && expect "without READ on the second one" "403 forbidden" "$answer"
req dev GET '/compare?namespace=prod&to_namespace=dev' && expect "nor on the first one" "403 forbidden" "$answer"

# --- promote
both="$(item app.yaml 2 0),$(item db.yaml 1 1)"
promote dev "$both" && expect "dev may not write in prod" "403 forbidden" "$answer"
req dev GET '/configs/app.yaml?namespace=dev' && at=$(curl -s -m 60 -u dev:dev-pw "$api/configs?namespace=dev" | jq .revision)
promote ops "$both" '?dry_run=true' && expect "a dry run" "200 " "$answer"
expect "it is valid" '[true,0,2]' "$(of '[.valid, .changed, (.items | length)]')"
promote ops "$(item app.yaml 1 0),$(item db.yaml 1 1)" && expect "a source of before" "412 precondition_failed" "$answer"
promote ops "$(item app.yaml 2 0),$(item db.yaml 1 0)" && expect "a target of before" "412 precondition_failed" "$answer"
expect "which is shown" old "$(of .error.current.title)"
promote ops "$(item app.yaml 2 0),$(item none 1 0)" && expect "what is not there" "412 precondition_failed" "$answer"
promote ops '{"name":"app.yaml","seq":2}' && expect "without a proof" "400 bad_request" "$answer"
expect "nothing was written" "$at" "$(curl -s -m 60 -u dev:dev-pw "$api/configs?namespace=dev" | jq .revision)"
promote ops "$both" '?on_behalf_of=alice' 'Idempotency-Key: p1' && expect "a promotion" "200 " "$answer"
expect "two have changed" 2 "$(of .changed)"
first=$body
promote ops "$both" '?on_behalf_of=alice' 'Idempotency-Key: p1' && expect "again with its key: the same answer" "$first" "$body"
promote ops "$both" && expect "without the key it is refused" "412 precondition_failed" "$answer"
for name in app.yaml db.yaml; do
    req ops GET "/configs/$name?namespace=prod&meta=true" && expect "$name comes from dev" dev "$(of .origin_namespace)"
done
expect "its author" "ops alice" "$(of '.author + " " + .on_behalf_of')"
expect "in one revision" 1 "$(for name in app.yaml db.yaml; do curl -s -m 60 -u ops:ops-pw "$api/configs?namespace=prod&prefix=$name" | jq '.configs[0].mod_revision'; done | sort -u | wc -l)"
expect "the audit trail has both" 2 "$(curl -s -m 60 -u root:root-pw "$api/audit?namespace=prod&user=ops" | jq '[.changes[] | select(.on_behalf_of == "alice" and .operation == "publish")] | length')"
expect "and the refused attempt" promote_post "$(curl -s -m 60 -u root:root-pw "$api/audit?user=dev" | jq -r '[.changes[] | select(.error == "forbidden" and .operation == "promote_post")][0].operation')"

# --- it survives kill -9
stop_server KILL
start
req ops GET '/compare?namespace=dev&to_namespace=prod' && expect "after a kill" "app.yaml same 2 1, db.yaml same 1 2, own.txt only_to 0 1, same.txt same 1 1" "$(states)"

# --- the rules of the target's namespace
put app.yaml 'port: x'
req root PUT '/schemas/app*?namespace=prod' '{"properties":{"port":{"type":"integer"}}}' && expect "a schema in prod" "200 " "$answer"
promote ops "$(item app.yaml 3 1)" && expect "is asked" "400 malformed" "$answer"
promote ops "$(item app.yaml 3 1)" '?dry_run=true' && expect "also in a dry run" "400 malformed" "$answer"
put app.yaml 'port: 3'
req root PUT '/policy?namespace=prod' '{"review":["app*"],"encrypt":[]}' && expect "a policy in prod" "200 " "$answer"
promote ops "$(item app.yaml 4 1)" && expect "requires a review" "403 review_required" "$answer"
promote ops "$(item app.yaml 4 1)" '?emergency=INC-7' && expect "an emergency needs its right" "403 forbidden" "$answer"
promote root "$(item app.yaml 4 1)" '?emergency=INC-7' && expect "with it" "200 " "$answer"
req root GET "/configs/app.yaml?namespace=prod&meta=true" && expect "its reason stays" INC-7 "$(of .emergency)"
req root PUT '/policy?namespace=dev' '{"review":[],"encrypt":["secret*"]}' && expect "dev seals" "200 " "$answer"
put secret.txt 'hunter2-hunter2'
promote ops "$(item secret.txt 1 0)" && expect "a sealed one is promoted" "200 " "$answer"
req ops GET '/configs/secret.txt?namespace=prod&meta=true' && expect "it is sealed, though prod does not say so" "k1 hunter2-hunter2" "$(of '.sealed + " " + .content')"
req ops GET '/compare?namespace=dev&to_namespace=prod&prefix=secret' && expect "both are the same" "secret.txt same 1 1" "$(states)"
expect "though their digests are not" false "$(of '.configs[0] | .md5 == .to_md5')"
req root PUT '/namespaces/prod' '{"quotas":{"configurations":6}}' && expect "a quota of prod" "200 " "$answer"
put more.txt 1
put other.txt 1
promote ops "$(item more.txt 1 0),$(item other.txt 1 0)" && expect "it holds" "429 quota_exceeded" "$answer"
req root PUT '/namespaces/prod' '{"quotas":{}}' && expect "which is taken back" "200 " "$answer"

# --- cairnctl
expect "compare ends with 1" 1 "$(as ops config compare dev prod >"$work/table"; echo $?)"
check "its table has what differs" has "$work/table" '^more.txt *default *only_from *1 *0'
check "and not the rest" eval '! has "$work/table" same.txt'
check "--all has it" has <(as ops config compare dev prod --all) same.txt
expect "json" only_to "$(as ops -o json config compare dev prod own | jq -r '.configs[0].state')"
put db.yaml 'host: c'
as ops config compare dev prod db --diff >"$work/diff"
check "--diff has what goes" has "$work/diff" '^-host: a'
check "and what comes" has "$work/diff" '^+host: c'
check "with both releases" has "$work/diff" '^+++ dev/db.yaml (release 2)'
expect "a dry run names what would be done" "would be promoted from dev to prod: db.yaml, more.txt" "$(as ops config promote dev prod db.yaml more.txt --dry-run)"
check "a promotion of one" has <(as ops config promote dev prod db.yaml --note 'release 42') '^promoted from dev to prod: db.yaml; revision'
req ops GET '/configs/db.yaml?namespace=prod&meta=true' && expect "its note" "release 42" "$(of .note)"
check "a name that dev does not have" has <(as ops config promote dev prod own.txt) 'there is no configuration own.txt in namespace dev'
check "of all that differ" has <(as ops config promote dev prod) '^promoted from dev to prod: more.txt, other.txt; revision'
check "and again" has <(as ops config promote dev prod) '^dev has nothing that differs in prod'
expect "what only prod has stays" y "$(curl -s -m 60 -u ops:ops-pw "$api/configs/own.txt?namespace=prod")"
finish
