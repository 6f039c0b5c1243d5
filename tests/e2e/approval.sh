#!/usr/bin/env bash
# The approval workflow on a real node, with users: who may do what, a review from the draft to the release, emergencies,
# a scheduled publish over kill -9, a gray release in steps that a client rejects, and the audit trail of all that.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
url=http://127.0.0.1:$port
api=$url/api/v1
start_server "$work" "$port" --bcrypt-cost 4 || { cat "$work/log"; exit 1; }
cairnctl=$(realpath bin/cairnctl)
client=$(realpath tests/e2e/stream_client.py)
admin() { "$cairnctl" --endpoints "$url" "$@" >>"$work/out" 2>&1 || fails "cairnctl $*: $(tail -n 1 "$work/out")"; }

# req USER METHOD PATH [BODY]: $answer = the status, and the error's code if there is one
req() {
    body=$(curl -s -m 60 -w '\n%{http_code}' -u "$1:$1-pw" -X "$2" "$api$3" ${4:+--data-binary "$4"})
    answer="${body##*$'\n'} $(jq -r '.error.code? // empty' <<<"${body%$'\n'*}" 2>/dev/null)"
    body=${body%$'\n'*}
}
of() { jq -rc "$1" <<<"$body"; }
as() { local user=$1 && shift && "$cairnctl" --endpoints "$url" --user "$user:$user-pw" "$@" 2>&1; }

# --- users: root, a writer of drafts, a reviewer, a publisher, and one that may do emergencies
for user in root wanda rita pete eve; do admin user add "$user:$user-pw"; done
admin user grant-role root root
grant() { # USER PREFIX...
    local user=$1 prefix
    shift
    admin role add "$user"
    for prefix in "$@"; do admin role grant-permission "$user" --prefix=true readwrite "/cairn/config/$prefix"; done
    admin user grant-role "$user" "$user"
}
grant wanda drafts/default/
grant rita reviews/default/
admin role grant-permission rita --prefix=true read /cairn/config/drafts/default/
grant pete drafts/default/ heads/default/
grant eve heads/default/ emergency/default/
admin auth enable

# --- the policy
req pete PUT /policy '{"review":["pay*"]}' && expect "a publisher does not write the policy" "403 forbidden" "$answer"
req root PUT /policy '{"review":["pay*x"]}' && expect "a pattern that is none" "400 bad_request" "$answer"
req root PUT /policy '{"review":["pay*"]}' && expect "root does" "200 " "$answer"
req root GET /policy && expect "and reads it" '["default",["pay*"],"root"]' "$(of '[.namespace,.review,.author]')"
req pete PUT /configs/pay.yaml 'a: 1' && expect "a publish without a review" "403 review_required" "$answer"
req pete PUT /configs/other.yaml 'a: 1' && expect "another name" "200 " "$answer"
req pete POST /bundles '{"publish":[{"name":"pay.yaml","content":"a: 1"}]}' && expect "a bundle" "403 review_required" "$answer"
mkdir -p "$work/files" && printf 'a: 1' >"$work/files/pay.yaml" && tar cf "$work/files.tar" -C "$work/files" pay.yaml
code=$(curl -s -m 60 -u root:root-pw --data-binary "@$work/files.tar" "$api/import" | jq -r '.error.code')
expect "an import, even by root" review_required "$code"

# --- a review
req wanda PUT /configs/pay.yaml/draft 'a: 1' && expect "a draft" "200 " "$answer"
req wanda POST /configs/pay.yaml/draft/submit '{"note":"please"}' && expect "submitted" "200 " "$answer"
req rita GET /configs/pay.yaml/draft/review && expect "the reviewer sees it" '["submitted",true,"wanda","please"]' "$(of '[.state,.current,.submitted.author,.submitted.note]')"
draft=$(of .draft_revision)
req pete POST /configs/pay.yaml/publish && expect "not approved" "403 review_required" "$answer"
expect "and says so" "pay.yaml needs a review: nobody has approved its draft yet" "$(of .error.message)"
req wanda POST /configs/pay.yaml/draft/approve "{\"draft_revision\":$draft}" && expect "the author may not approve" "403 forbidden" "$answer"
req root POST /configs/pay.yaml/draft/approve '{"draft_revision":1}' && expect "another draft" "409 conflict" "$answer"
req root POST /configs/pay.yaml/draft/approve '{}' && expect "no draft" "400 bad_request" "$answer"
req rita POST /configs/pay.yaml/draft/approve "{\"draft_revision\":$draft,\"note\":\"fine\"}" && expect "the reviewer does" "200 " "$answer"
req wanda PUT /configs/pay.yaml/draft 'a: 2'
req pete POST /configs/pay.yaml/publish && expect "a change voids it" "403 review_required" "$answer"
expect "submitted by the command line" 0 "$(as wanda config submit pay.yaml >/dev/null; echo $?)"
expect "and listed" 'pay.yaml submitted wanda' "$(as rita config reviews -o json | jq -r '.reviews[] | [.name, .state, .submitted.author] | join(" ")')"
expect "approved by the command line" 0 "$(as rita config approve pay.yaml --note ok >/dev/null; echo $?)"
expect "an author's own, by root's hand" 1 "$(as root config draft payroll.yaml <<<'x: 1' >/dev/null; as root config submit payroll.yaml >/dev/null; as root config approve payroll.yaml >/dev/null; echo $?)"
expect "published" "pay.yaml: release 1" "$(as pete config publish pay.yaml | sed 's/, revision.*//')"
req pete GET '/configs/pay.yaml?meta=true' && expect "the release names its reviewer" '["a: 2","pete","rita"]' "$(of '[.content,.author,.approved_by]')"

# --- an emergency
req pete PUT '/configs/pay.yaml?emergency=INC-7' 'a: 3' && expect "an emergency needs its own right" "403 forbidden" "$answer"
req eve PUT '/configs/pay.yaml?emergency=' 'a: 3' && expect "and a reason" "400 bad_request" "$answer"
req eve PUT '/configs/pay.yaml?emergency=INC-7' 'a: 3' && expect "an emergency" "200 " "$answer"
req eve GET /configs/pay.yaml/history && expect "in the history" '["eve","INC-7"]' "$(of '.releases[0] | [.author,.emergency]')"
req eve POST '/bundles?emergency=INC-8' '{"publish":[{"name":"pay2.yaml","content":"a: 1"}]}' && expect "a bundle, too" "200 " "$answer"
req pete POST '/bundles?emergency=INC-8' '{"publish":[{"name":"pay2.yaml","content":"a: 2"}]}' && expect "with the right only" "403 forbidden" "$answer"

import() { # USER QUERY: the status and the error's code
    body=$(curl -s -m 60 -w '\n%{http_code}' -H "Authorization: $(curl -s "$url/v3/auth/authenticate" -d "{\"name\":\"$1\",\"password\":\"$1-pw\"}" | jq -r .token)" \
        --data-binary "@$work/files.tar" "$api/import?namespace=default&group=default$2")
    answer="${body##*$'\n'} $(jq -r '.error.code? // empty' <<<"${body%$'\n'*}")"
    body=${body%$'\n'*}
}
printf 'a: 4' >"$work/files/pay.yaml" && tar cf "$work/files.tar" -C "$work/files" pay.yaml
import pete '&policy=overwrite&emergency=INC-9' && expect "an import needs the right, too" "403 forbidden" "$answer"
import eve '&policy=overwrite' && expect "and the reason" "403 review_required" "$answer"
import eve '&policy=overwrite&emergency=INC-9' && expect "then it is an emergency" "200 " "$answer"
req eve GET /configs/pay.yaml/history && expect "with its reason" '["eve","INC-9","import"]' "$(of '.releases[0] | [.author,.emergency,.operation]')"

# --- scheduled, over kill -9: done once, at its time
at() { date -u -d "+$1 seconds" +%Y-%m-%dT%H:%M:%SZ; }
as pete config draft other.yaml <<<'a: 2' >/dev/null
expect "a time that is none" 128 "$(as pete config schedule other.yaml tomorrow >/dev/null; echo $?)"
expect "scheduled" 0 "$(as pete config schedule other.yaml "$(at 4)" >/dev/null; echo $?)"
req pete POST /configs/other.yaml/publish "{\"at\":\"$(at 9)\"}" && expect "one at a time" "409 conflict" "$answer"
expect "listed" 'other.yaml pending pete' "$(as pete config schedules -o json | jq -r '.schedules[] | [.name, .state, .scheduled.author] | join(" ")')"
stop_server KILL
start_server "$work" "$port" --bcrypt-cost 4 || { cat "$work/log"; exit 1; }
is_live() { req pete GET /configs/other.yaml && [ "${body%$'\n'}" = 'a: 2' ]; }
check "published at its time" within $LIMIT_S is_live
req pete GET /configs/other.yaml/schedule && expect "and consumed" "404 not_found" "$answer"
req pete GET /configs/other.yaml/history && expect "once" 2 "$(of '.releases | length')"
as pete config draft other.yaml <<<'a: 3' >/dev/null
as pete config schedule other.yaml "$(at 2)" >/dev/null
req pete PUT /configs/other.yaml 'a: faster'
has_failed() { req pete GET /configs/other.yaml/schedule && [ "$(of .state)" = failed ]; }
check "not over what went live meanwhile" within $LIMIT_S has_failed
expect "with the reason" "release 3 went live since the publish was scheduled, upon release 2" "$(of .error)"
expect "removed" 0 "$(as pete config unschedule other.yaml >/dev/null; echo $?)"

# --- a gray release in steps
expect "no steps" 128 "$(as pete config gray-start other.yaml <<<'a: 4' >/dev/null; echo $?)"
expect "started" "other.yaml: release 4" "$(as pete config gray-start other.yaml --step 5:1h --step 50:1h --abort-over 0.5 <<<'a: 4' | sed 's/, revision.*//')"
req pete GET /configs/other.yaml/gray/rollout && expect "its first step" 5 "$(of .rule.percent)"
expect "paused" 0 "$(as pete config gray-pause other.yaml --note wait >/dev/null; echo $?)"
expect "shown" 'paused 4 0' "$(as pete config gray-ls other.yaml -o json | jq -r '[.state, .seq, .step] | join(" ")')"
expect "resumed" 0 "$(as pete config gray-resume other.yaml >/dev/null; echo $?)"
expect "promoted" "other.yaml: release 5" "$(as pete config gray-promote other.yaml | sed 's/, revision.*//')"
req pete GET /configs/other.yaml && expect "it is live" 'a: 4' "${body%$'\n'}"
expect "it has ended" 1 "$(as pete config gray-abort other.yaml >/dev/null; echo $?)"
as pete config gray-start other.yaml --step 50:1s --step 100:1s <<<'a: 6' >/dev/null
is_promoted() { req pete GET /configs/other.yaml/rollout && [ "$(of .state)" = promoted ]; }
check "by itself" within $LIMIT_S is_promoted
req pete GET /configs/other.yaml && expect "then it is live" 'a: 6' "${body%$'\n'}"

# --- a client that rejects the release: the leader aborts, and the client gets the live release again
python3 "$client" reject "$port" pete other.yaml >"$work/rejecter" 2>&1 &
rejecter=$!
end_more() { kill "$rejecter" 2>/dev/null; }
live=$(as pete config history other.yaml -o json | jq '.releases[0].seq')
check "a client follows it" within $LIMIT_S has "$work/rejecter" "applied $live"
req pete PUT /configs/other.yaml/rollout '{"rule":"bad","content":"a: 7","steps":[{"percent":100,"for":"1h"}],"abort_if":{"rejected_over":0.5}}' &&
    expect "a gray release to it" "200 " "$answer"
bad=$(of .seq)
check "it rejects the release" within $LIMIT_S has "$work/rejecter" "rejected $bad"
is_aborted() { req pete GET /configs/other.yaml/rollout && [ "$(of .state)" = aborted ]; }
check "the rollout is aborted" within $LIMIT_S is_aborted
check "with the share that rejected it" grep -q reject <<<"$(of .reason)"
req pete GET "/configs/other.yaml?client_id=rejecter" && expect "its clients have the live release" 'a: 6' "${body%$'\n'}"
req pete GET "/configs/other.yaml/gray/bad" && expect "the rule is gone" "404 not_found" "$answer"
kill "$rejecter" && wait "$rejecter" 2>/dev/null

# --- the audit trail
req root GET '/audit?kind=config&name=pay.yaml&limit=100'
expect "who did what to it" 'put draft,submit,approve,draft,submit,approve,publish,publish,import' \
    "put $(of '[.changes[] | select(.error == null) | .operation] | reverse | join(",")')"
expect "emergencies are marked" '["eve","INC-7"]' "$(of '[.changes[] | select(.emergency and .operation == "publish")][0] | [.author, .emergency]')"
expect "refusals, too" true "$(of '[.changes[] | select(.error == "review_required")] | length > 0')"
req root GET '/audit?kind=config&name=other.yaml&limit=100'
expect "what the leader did" 'schedule,scheduled_publish,schedule,schedule_failed,cancel_schedule,rollout_start,rollout_pause,rollout_resume,rollout_promote,rollout_start,rollout_step,rollout_promote,rollout_start,rollout_abort' \
    "$(of '[.changes[] | select(.error == null) | .operation | select(test("schedule|rollout"))] | reverse | join(",")')"
expect "in whose name" '["pete"]' "$(of '[.changes[] | select(.operation == "scheduled_publish") | .author]')"
finish
