#!/usr/bin/env bash
# Schemas of configurations on a real node, with users: who may set one, what it refuses on every way in, kill -9 in between,
# references and keys by the reader's permissions, the audit trail, and the deletion of the namespace.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
url=http://127.0.0.1:$port
api=$url/api/v1
start_server "$work" "$port" --bcrypt-cost 4 || { cat "$work/log"; exit 1; }
cairnctl=$(realpath bin/cairnctl)
admin() { "$cairnctl" --endpoints "$url" "$@" >>"$work/out" 2>&1 || fails "cairnctl $*: $(tail -n 1 "$work/out")"; }

# req USER METHOD PATH [BODY]: $answer = the status, and the error's code if there is one
req() {
    body=$(curl -s -m 60 -w '\n%{http_code}' -u "$1:$1-pw" -X "$2" "$api$3" ${4:+--data-binary "$4"})
    answer="${body##*$'\n'} $(jq -r '.error.code? // empty' <<<"${body%$'\n'*}" 2>/dev/null)"
    body=${body%$'\n'*}
}
of() { jq -rc "$1" <<<"$body"; }
as() { local user=$1 && shift && "$cairnctl" --endpoints "$url" --user "$user:$user-pw" "$@" 2>&1; }

for user in root pete sam; do admin user add "$user:$user-pw"; done
admin user grant-role root root
for user in pete sam; do admin role add $user && admin user grant-role $user $user; done
admin role grant-permission pete --prefix=true readwrite /cairn/config/heads/
admin role grant-permission pete --prefix=true readwrite /cairn/config/drafts/
admin role grant-permission sam --prefix=true readwrite /cairn/config/schemas/default/
admin auth enable
schema='{"type":"object","required":["port"],"properties":{"port":{"type":"integer","maximum":65535}}}'

# --- who may do what
req pete PUT '/schemas/app-*' "$schema" && expect "a publisher sets no schema" "403 forbidden" "$answer"
req pete GET '/schemas/app-*' && expect "and does not read it" "403 forbidden" "$answer"
req sam PUT '/schemas/app-*?namespace=other' "$schema" && expect "in another namespace" "403 forbidden" "$answer"
req sam PUT '/schemas/app-*' "$schema" && expect "its keeper sets it" "200 " "$answer"
req sam PUT '/schemas/app-*' '{"type":"objekt"}' && expect "no schema" "400 malformed" "$answer"
req sam PUT '/schemas/a*b' "$schema" && expect "no pattern" "400 bad_request" "$answer"
req sam GET '/schemas/app-*' && expect "the schema as it was set" "$schema" "$(of .schema)"
req sam PUT '/configs/app-a.json' '{"port":1}' && expect "the keeper publishes nothing" "403 forbidden" "$answer"

# --- every way in
req pete PUT /configs/app-a.json '{"port":70000}' && expect "a publish" "400 malformed" "$answer"
expect "its place" "line 1, column 9: port: 70000 must be at most 65535" "$(of .error.message)"
req pete PUT '/configs/app-a.json?validate=only' '{}' && expect "a validation" "400 malformed" "$answer"
req pete PUT '/configs/app-a.json?type=text' '{}' && expect "another format" "400 malformed" "$answer"
req pete POST /bundles '{"publish":[{"name":"b.json","content":"{}"},{"name":"app-a.json","content":"{}"}]}'
expect "a bundle" "400 malformed" "$answer"
req pete PUT /configs/app-a.json/draft '{}' && expect "a draft may be anything" "200 " "$answer"
req pete POST /configs/app-a.json/publish && expect "its publish" "400 malformed" "$answer"
req pete PUT /configs/app-a.json '{"port":1}' && expect "one that fits" "200 " "$answer"
req pete PUT /configs/app-a.json/gray/g '{"percent":10,"content":"{}"}' && expect "a gray release" "400 malformed" "$answer"
mkdir "$work/in" && printf '{}' >"$work/in/app-b.json"
tar cz -C "$work/in" . >"$work/in.tgz"
token=$(curl -s -m 60 "$url/v3/auth/authenticate" -d '{"name":"root","password":"root-pw"}' | jq -r .token)
expect "an import" refused "$(curl -s -m 60 -H "Authorization: Bearer $token" --data-binary @"$work/in.tgz" "$api/import?dry_run=true" | jq -r '.items[0].action')"

# --- it survives kill -9
stop_server KILL
start_server "$work" "$port" --bcrypt-cost 4 || { cat "$work/log"; exit 1; }
req pete PUT /configs/app-a.json '{"port":70000}' && expect "after a kill" "400 malformed" "$answer"
expect "cairnctl lists it" "app-*" "$(as sam config schema-ls | awk 'NR==2 {print $1}')"
printf '{"maximum":5}' >"$work/five.json"
expect "cairnctl sets one" "n.json: done" "$(as sam config schema-set n.json "$work/five.json" | cut -d, -f1)"
expect "cairnctl prints it" '{"maximum":5}' "$(as sam config schema-get n.json | jq -c .)"
req pete PUT /configs/n.json 6 && expect "it holds" "400 malformed" "$answer"
expect "cairnctl deletes it" "n.json: done" "$(as sam config schema-rm n.json | cut -d, -f1)"
req pete PUT /configs/n.json 6 && expect "it is gone" "200 " "$answer"

# --- references: each configuration with the reader's permission
req pete PUT /configs/inner.yaml 'x: 7' && req pete PUT /configs/outer.yaml 'y: ${inner.yaml#x}'
as root role grant-permission sam read /cairn/config/heads/default/default/outer.yaml >>"$work/out"
req pete GET '/configs/outer.yaml?render=true' && expect "rendered" "y: 7" "$body"
req sam GET '/configs/outer.yaml' && expect "the outer one may be read" 'y: ${inner.yaml#x}' "$body"
req sam GET '/configs/outer.yaml?render=true' && expect "the inner one may not" "403 forbidden" "$answer"
req sam GET '/configs/outer.yaml?key=y' && expect "a key" '"${inner.yaml#x}"' "$body"
req sam GET '/configs/inner.yaml?key=x' && expect "a key of the other" "403 forbidden" "$answer"

# --- the audit trail, and the namespace's deletion
req root GET '/audit?kind=config&limit=100'
expect "audit" '[["delete_schema","n.json","sam"],["schema","app-*","sam"],["schema","n.json","sam"]]' \
    "$(jq -c '[.changes[] | select(.operation | test("schema")) | select(.error | not) | [.operation, .name, .author]] | sort' <<<"$body")"
req root PUT '/schemas/x?namespace=gone' true && expect "a schema alone" "200 " "$answer"
req root DELETE /namespaces/gone && expect "keeps its namespace" "409 conflict" "$answer"
req root DELETE '/namespaces/gone?cascade=true'
for _ in $(seq 100); do
    req root GET '/schemas?namespace=gone'
    [ "$(of '.schemas | length')" = 0 ] && break
    sleep 0.1
done
expect "it goes with its namespace" 0 "$(of '.schemas | length')"
finish
