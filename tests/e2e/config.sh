#!/usr/bin/env bash
# The config center on a real node, with curl: every route, every class of error, long polls.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
url=http://127.0.0.1:$port
api=$url/api/v1
start_server "$work" "$port" --config-max-bytes 200000 --config-max-items 8 || { cat "$work/log"; exit 1; }

# req METHOD PATH [BODY [HEADER]]: $status, $body, headers in $work/head. Body @file: its bytes.
req() {
    local more=()
    [ $# -gt 2 ] && more=(--data-binary "$3")
    [ $# -gt 3 ] && more+=(-H "$4")
    body=$(curl -s -m 60 -D "$work/head" -X "$1" "${more[@]}" "$api$2")
    status=$(awk 'NR == 1 { print $2 }' "$work/head" | tr -d '\r')
}
# get PATH [HEADER]
get() {
    local more=()
    [ $# -gt 1 ] && more=(-H "$2")
    body=$(curl -s -m 60 -D "$work/head" "${more[@]}" "$api$1")
    status=$(awk 'NR == 1 { print $2 }' "$work/head" | tr -d '\r')
}
header() { awk -v n="$1:" 'tolower($1) == tolower(n) { $1 = ""; print substr($0, 2) }' "$work/head" | tr -d '\r'; }
of() { jq -r "$1" <<<"$body"; }
md5() { printf '%s' "$1" | md5sum | cut -d ' ' -f 1; }
# refused WANTED-STATUS WANTED-CODE METHOD PATH [BODY [HEADER]]
refused() {
    req "${@:3}"
    expect "$1 $2: $3 $4" "$1 $2 true" "$status $(of .error.code) $([ -n "$(header X-Cairn-Revision)" ] && echo true)"
}

# --- publish and read
req PUT "/configs/app.yaml?title=first&note=why" 'port: 80'
expect "publish" "200 1 yaml $(md5 'port: 80')" "$status $(of '"\(.seq) \(.type) \(.md5)"')"
expect "sha256" "$(printf 'port: 80' | sha256sum | cut -d ' ' -f 1)" "$(of .sha256)"
expect "X-Cairn-Revision is the revision" "$(of .revision)" "$(header X-Cairn-Revision)"
first=$(of .revision)
req PUT /configs/app.yaml 'port: 80'
expect "the same again changes nothing" "200 1 true $first" "$status $(of '"\(.seq) \(.unchanged) \(.revision)"')"
get /configs/app.yaml
expect "the content" "200 port: 80" "$status $body"
expect "its headers" "application/yaml 1 \"$(md5 'port: 80')\"" "$(header Content-Type) $(header X-Cairn-Seq) $(header ETag)"
expect "no page of this server" "nosniff default-src 'none'; sandbox" "$(header X-Content-Type-Options) $(header Content-Security-Policy)"
get /configs/app.yaml "If-None-Match: \"$(md5 'port: 80')\""
expect "304 for its ETag" "304 \"$(md5 'port: 80')\"" "$status $(header ETag)"
get /configs/app.yaml 'If-None-Match: "00000000000000000000000000000000"'
expect "200 for another ETag" "200 port: 80" "$status $body"
get "/configs/app.yaml?meta=true&consistency=local"
expect "as JSON" '["app.yaml","default","default",1,"publish","yaml","first","why","port: 80"]' \
    "$(of '[.name, .group, .namespace, .seq, .operation, .type, .title, .note, .content]' | jq -c .)"
expect "HEAD" 200 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -I "$api/configs/app.yaml")"
head -c 3000 /dev/urandom >"$work/bytes"
req PUT "/configs/logo?group=g" @"$work/bytes" 'Content-Type: application/octet-stream'
expect "any bytes" "200 bin" "$status $(of .type)"
curl -s "$api/configs/logo?group=g" >"$work/got"
check "are what is got" cmp "$work/bytes" "$work/got"
req PUT "/configs/notes?namespace=n2&type=json" '{}'
expect "?type=" "200 json" "$status $(of .type)"
req PUT "/configs/notes?namespace=n2" '{"a":1}' 'Content-Type: text/plain'
expect "a vague type is what it was" "200 json" "$status $(of .type)"
req PUT "/configs/notes?namespace=n2" 'a = 1' 'Content-Type: application/toml; charset=utf-8'
expect "Content-Type" "200 toml" "$status $(of .type)"
expect "ordinary keys" 1 "$(etcdctl --endpoints "127.0.0.1:$port" get /cairn/config/heads/default/default/app.yaml --print-value-only | jq .seq)"

# --- checks
refused 400 malformed PUT /configs/app.yaml $'port: 80\nport: 81\n'
expect "line and column" '2 1 line 2, column 1: duplicate key "port", first at line 1' "$(of '"\(.error.line) \(.error.column) \(.error.message)"')"
req PUT "/configs/app.yaml?validate=only" 'port: 81'
expect "validate=only" "200 true null" "$status $(of '"\(.valid) \(.seq)"')"
get /configs/app.yaml
expect "writes nothing" "port: 80" "$body"
refused 400 malformed PUT "/configs/app.yaml?validate=only" 'port: ['
refused 400 bad_request PUT "/configs/app.yaml?type=ini" 'a=1'
refused 400 bad_request PUT "/configs/app.yaml?validate=yes" 'a: 1'
refused 400 unknown_parameter PUT "/configs/app.yaml?titel=x" 'a: 1'
refused 400 bad_request PUT /configs/a%2Fb 'x'
refused 400 bad_request PUT "/configs/app.yaml?title=$(printf 'x%.0s' $(seq 300))" 'a: 1'
head -c 200001 /dev/zero | tr '\0' x >"$work/large"
refused 413 too_large PUT /configs/large @"$work/large"
head -c 3000000 /dev/zero | tr '\0' x >"$work/huge"
refused 413 too_large PUT /configs/large @"$work/huge"
refused 404 not_found GET /configs/nope
refused 404 not_found GET "/configs/app.yaml?seq=7"
refused 400 bad_request GET "/configs/app.yaml?seq=1&wait_revision=1"
refused 400 bad_request GET "/configs/app.yaml?labels=zone"
refused 405 method_not_allowed POST /configs/app.yaml x

# --- compare and swap
refused 412 precondition_failed PUT /configs/app.yaml 'port: 82' 'If-None-Match: *'
expect "what stands there" "1 $(md5 'port: 80')" "$(of '"\(.error.current.seq) \(.error.current.md5)"')"
refused 412 precondition_failed PUT /configs/app.yaml 'port: 82' "If-Match: \"$(md5 x)\""
refused 412 precondition_failed PUT "/configs/app.yaml?if_seq=7" 'port: 82'
refused 400 bad_request PUT /configs/app.yaml 'port: 82' 'If-Match: *'
refused 400 bad_request PUT /configs/app.yaml 'port: 82' 'If-None-Match: "x"'
refused 412 precondition_failed DELETE "/configs/app.yaml?if_seq=7"
req PUT /configs/app.yaml 'port: 82' "If-Match: \"$(md5 'port: 80')\""
expect "If-Match" "200 2" "$status $(of .seq)"
req PUT "/configs/app.yaml?if_seq=2" 'port: 83'
expect "if_seq" "200 3" "$status $(of .seq)"
get "/configs/app.yaml?seq=1"
expect "an old release" "200 1 port: 80" "$status $(header X-Cairn-Seq) $body"

# --- the long poll
revision=$(header X-Cairn-Revision)
get "/configs/app.yaml?wait_revision=1&timeout=20s"
expect "changed since: at once" "200 port: 83" "$status $body"
get "/configs/app.yaml?wait_revision=$revision&timeout=100ms"
expect "304 at the time-out" "304 \"$(md5 'port: 83')\"" "$status $(header ETag)"
curl -s -m 60 -D "$work/poll_head" "$api/configs/app.yaml?wait_revision=$revision&timeout=50s&client_id=web-7&labels=zone=b" >"$work/poll" &
poll=$!
one_listens() { # NAME
    get "/configs/$1/listeners"
    [ "$(of '.listeners | length')" = 1 ]
}
within $LIMIT_S one_listens app.yaml
expect "who waits listens" "web-7 b 127.0.0.1 http 3 3" "$(of '.listeners[0] | "\(.client_id) \(.labels.zone) \(.peer) \(.transport) \(.chosen) \(.sent)"')"
get /configs/app.yaml/releases/3/delivery
expect "delivery" "3 1 0 0 1" "$(of '"\(.seq) \(.chosen) \(.applied) \(.rejected) \(.pending)"')"
refused 400 bad_request GET /configs/app.yaml/releases/0/delivery
req PUT /configs/app.yaml $'port: 84\nhost: a\n'
wait "$poll"
expect "the wait ends with the change" $'port: 84\nhost: a' "$(cat "$work/poll")"
expect "at its revision" "$(of .revision)" "$(awk 'tolower($1) == "x-cairn-revision:" { print $2 }' "$work/poll_head" | tr -d '\r')"
curl -s -m 60 "$api/configs/later?wait_revision=$(of .revision)&timeout=50s" >"$work/poll" &
poll=$!
within $LIMIT_S one_listens later
req PUT /configs/later 'now'
wait "$poll"
expect "what is not there can be waited for" now "$(cat "$work/poll")"

# --- history, diff, rollback, delete
get "/configs/app.yaml/history?limit=2"
expect "history" '[4,3] 3' "$(of '[.releases[].seq]' | jq -c .) $(of .continue)"
get "/configs/app.yaml/history?limit=2&continue=3"
expect "the rest" '[2,1] null' "$(of '[.releases[].seq]' | jq -c .) $(of .continue)"
refused 400 bad_request GET "/configs/app.yaml/history?continue=x"
refused 404 not_found GET /configs/nope/history
get "/configs/app.yaml/diff?from=3"
expect "diff" $'--- app.yaml (release 3)\n+++ app.yaml (release 4)\n@@ -1 +1,2 @@\n-port: 83\n\\ No newline at end of file\n+port: 84\n+host: a' "$body"
get "/configs/app.yaml/diff?to=3&meta=true"
expect "diff as JSON" '2 3 ["-port: 82","\\ No newline at end of file","+port: 83","\\ No newline at end of file"]' \
    "$(of '"\(.from) \(.to) \(.diff.hunks[0].lines | tojson)"')"
refused 400 bad_request GET "/configs/logo/diff?group=g"
refused 404 not_found GET "/configs/app.yaml/diff?from=99"
req POST /configs/app.yaml/rollback '{"seq":1,"note":"84 is wrong"}'
expect "rollback" "200 5 $(md5 'port: 80')" "$status $(of '"\(.seq) \(.md5)"')"
get "/configs/app.yaml?meta=true"
expect "says so" 'rollback 1 84 is wrong' "$(of '"\(.operation) \(.origin_seq) \(.note)"')"
refused 404 not_found POST /configs/app.yaml/rollback '{"seq":99}'
refused 400 bad_request POST /configs/app.yaml/rollback '{}'
refused 400 bad_request POST /configs/app.yaml/rollback '{"seq":1,"why":"x"}'
refused 400 malformed POST /configs/app.yaml/rollback '{'
refused 412 precondition_failed POST "/configs/app.yaml/rollback?if_seq=4" '{"seq":2}'
req DELETE "/configs/later?note=done"
expect "delete" "200 2" "$status $(of .seq)"
refused 404 not_found GET /configs/later
refused 404 not_found DELETE /configs/later
refused 404 not_found GET "/configs/later?seq=2"
req POST /configs/later/rollback '{"seq":1}'
get /configs/later
expect "a deleted one can be rolled back" now "$body"

# --- the list
get "/configs?limit=1"
expect "a page" '["app.yaml"]' "$(of '[.configs[].name]' | jq -c .)"
get "/configs?limit=1&continue=$(of .continue)"
expect "the next" '["later"] null' "$(of '[.configs[].name]' | jq -c .) $(of .continue)"
get "/configs?prefix=app&group=*"
expect "prefix" 'app.yaml default 5 yaml' "$(of '.configs[] | "\(.name) \(.group) \(.seq) \(.type)"')"
req DELETE /configs/later
get /configs
expect "without deleted ones" '["app.yaml"]' "$(of '[.configs[].name]' | jq -c .)"
get "/configs?deleted=true"
expect "with them" 'app.yaml null,later true' "$(of '[.configs[] | "\(.name) \(.deleted)"] | join(",")')"
revision=$(of .revision)
refused 400 bad_request GET "/configs?continue=!!"
before=$(descriptors "$url")
curl -s -m 60 "$api/configs?prefix=list&wait_revision=$revision&timeout=50s" >"$work/poll" &
poll=$!
connections_come "$url" "$before" 1
req PUT /configs/list-1 x
wait "$poll"
expect "a list can be waited for" list-1 "$(jq -r '.configs[].name' "$work/poll")"

# --- drafts
req PUT "/configs/app.yaml/draft?title=next" 'port: ['
expect "a draft may be unfinished" 200 "$status"
get /configs/app.yaml/draft
expect "the draft" "200 port: [ application/yaml" "$status $body $(header Content-Type)"
refused 400 malformed POST /configs/app.yaml/publish '{}'
req PUT "/configs/app.yaml/draft?title=next" 'port: 90'
get "/configs/app.yaml/draft?meta=true"
expect "the draft as JSON" 'next 5 port: 90' "$(of '"\(.title) \(.base_seq) \(.content)"')"
req POST /configs/app.yaml/publish
expect "publish the draft" "200 6" "$status $(of .seq)"
get "/configs/app.yaml?meta=true"
expect "it is live" "port: 90 next" "$(of '"\(.content) \(.title)"')"
refused 404 not_found GET /configs/app.yaml/draft
refused 404 not_found POST /configs/app.yaml/publish '{"title":"x"}'
req PUT /configs/app.yaml/draft 'x: 1'
req DELETE /configs/app.yaml/draft
expect "thrown away" 200 "$status"
refused 404 not_found DELETE /configs/app.yaml/draft

# --- gray releases
req PUT /configs/app.yaml/gray/canary '{"priority":1,"match":{"zone":["b"]},"content":"port: 99"}'
expect "a gray release" "200 7" "$status $(of .seq)"
get /configs/app.yaml
expect "the others have the live one" "6 port: 90" "$(header X-Cairn-Seq) $body"
get "/configs/app.yaml?labels=app=x,zone=b"
expect "a client that matches gets it" "200 7 port: 99 \"$(md5 'port: 99')\"" "$status $(header X-Cairn-Seq) $body $(header ETag)"
get "/configs/app.yaml?labels=zone=b" "If-None-Match: \"$(md5 'port: 99')\""
expect "304 of a gray release" 304 "$status"
get "/configs/app.yaml?labels=zone=b" "If-None-Match: \"$(md5 'port: 90')\""
expect "200 for the ETag of the live release" "200 port: 99" "$status $body"
get "/configs/app.yaml?labels=zone=a"
expect "a client that does not match gets the live release" "port: 90" "$body"
req PUT /configs/app.yaml/gray/here '{"priority":9,"match":{"ip":["127.0.0.0/8"]},"seq":1}'
get "/configs/app.yaml?labels="
expect "by address" "port: 80" "$body"
get /configs/app.yaml/gray/canary
expect "the rule" '{"name":"canary","priority":1,"match":{"zone":["b"]},"percent":100,"seq":7}' "$(of '.rule | {name, priority, match, percent, seq} | tojson')"
req DELETE /configs/app.yaml/gray/here
expect "a rule goes" 200 "$status"
refused 404 not_found DELETE /configs/app.yaml/gray/here
refused 404 not_found GET /configs/app.yaml/gray/here
refused 404 not_found PUT /configs/app.yaml/gray/x '{"seq":99}'
refused 400 bad_request PUT /configs/app.yaml/gray/x '{"percent":10}'
refused 400 bad_request PUT /configs/app.yaml/gray/x '{"percent":101,"seq":1}'
refused 400 malformed PUT /configs/app.yaml/gray/x '{"content":"a: ["}'
expect "line and column of the content" "1" "$(of .error.line)"
refused 412 precondition_failed PUT "/configs/app.yaml/gray/canary?if_revision=1" '{"content":"port: 1"}'
expect "what the rule names" 7 "$(of '.error.current.gray[] | select(.name == "canary").seq')"
refused 412 precondition_failed DELETE "/configs/app.yaml/gray/canary?if_revision=1"
refused 412 precondition_failed POST "/configs/app.yaml/gray/canary/promote?if_revision=1" '{}'
refused 412 precondition_failed PUT "/configs/app.yaml?if_revision=1" 'port: 1'
get "/configs/app.yaml?meta=true"
req POST "/configs/app.yaml/gray/canary/promote?if_revision=$(of .revision)" '{"note":"went well"}'
expect "promote" "200 8" "$status $(of .seq)"
get "/configs/app.yaml?meta=true"
expect "is for all" "port: 99 promote 7 null" "$(of '"\(.content) \(.operation) \(.origin_seq) \(.gray)"')"
refused 404 not_found POST /configs/app.yaml/gray/canary/promote

# --- bundles
req POST /bundles '{"publish":[{"name":"b1.json","content":"{}"},{"name":"b2","group":"g","content":"AAE=","base64":true,"type":"bin"}],"delete":[{"name":"list-1"}]}'
expect "a bundle" "200 3 b1.json:json b2:bin list-1:null" "$status $(of .changed) $(of '[.items[] | "\(.name):\(.type)"] | join(" ")')"
get "/configs?deleted=true&prefix=b1"
b1=$(of '.configs[0].mod_revision')
get "/configs?deleted=true&prefix=list-1"
expect "in one revision" "$b1" "$(of '.configs[0].mod_revision')"
refused 400 malformed POST /bundles '{"publish":[{"name":"b3","content":"x"},{"name":"b4.json","content":"{"}]}'
expect "names whose error it is" b4.json "$(of .error.name)"
refused 404 not_found GET /configs/b3
refused 412 precondition_failed POST /bundles '{"publish":[{"name":"b1.json","content":"[]","if_seq":9}]}'
refused 412 precondition_failed POST /bundles '{"publish":[{"name":"b3","content":"x"},{"name":"b1.json","content":"[]","if_absent":true}]}'
expect "names whose condition it is, and what stands there" "b1.json 1" "$(of '"\(.error.name) \(.error.current.seq)"')"
refused 412 precondition_failed POST /bundles '{"publish":[{"name":"b1.json","content":"[]","if_md5":"'"$(md5 x)"'"}]}'
refused 412 precondition_failed POST /bundles '{"delete":[{"name":"b1.json","if_seq":7}]}'
refused 412 precondition_failed POST /bundles '{"delete":[{"name":"b1.json","if_md5":"'"$(md5 x)"'"}]}'
refused 400 bad_request POST /bundles '{"publish":[{"name":"b1.json","content":"[]","if_md5":"x"}]}'
refused 400 bad_request POST /bundles '{"delete":[{"name":"b1.json","if_absent":true}]}'
req POST /bundles '{"publish":[{"name":"b1.json","content":"[]","if_md5":"'"$(md5 '{}')"'"},{"name":"b6","content":"x","if_absent":true}]}'
expect "a bundle with conditions that hold" "200 2" "$status $(of .changed)"
refused 412 precondition_failed POST /bundles '{"delete":[{"name":"b6","if_revision":1}]}'
req POST /bundles '{"delete":[{"name":"b6","if_md5":"'"$(md5 x)"'","if_seq":1}]}'
expect "deletes too" "200 1" "$status $(of .changed)"
refused 404 not_found POST /bundles '{"delete":[{"name":"nope"}]}'
refused 400 bad_request POST /bundles '{}'
refused 400 bad_request POST /bundles '{"publish":[{"name":"a","content":"x"},{"name":"a","content":"y"}]}'
refused 400 bad_request POST /bundles '{"publish":[{"content":"x"}]}'
refused 400 bad_request POST /bundles '{"publish":{}}'
refused 400 bad_request POST "/bundles?validate=only" '{"delete":[{"name":"b1.json"}]}'
req POST "/bundles?validate=only" '{"publish":[{"name":"b5","content":"x"}]}'
expect "a bundle, only validated" "200 true 0" "$status $(of '"\(.valid) \(.changed)"')"
refused 404 not_found GET /configs/b5

# --- limits
for i in $(seq 9); do req PUT "/configs/limit-$i" x; done
expect "a full namespace" "429 quota_exceeded 5" "$status $(of .error.code) $(header Retry-After)"

stop_server TERM
expect "the node stops cleanly" 0 "$server_status"
finish
