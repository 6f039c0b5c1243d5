#!/usr/bin/env bash
# Events of services on three members: each change of a service with its cause, exactly once, also when the leader is killed;
# long polls, rights, cairnctl, and what a namespace's deletion leaves.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
CTL=$(realpath "$(dirname "$CAIRND")/cairnctl")
for i in 1 2 3; do start_member $i; done
for i in 1 2 3; do check "n$i serves" serves $i; done
api() { echo "$(client_url "$1")/api/v1"; }
# req MEMBER METHOD PATH [BODY]: $status, $body.
req() {
    local data=()
    [ $# -gt 3 ] && data=(-d "$4")
    body=$(curl -s -m 60 -w '\n%{http_code}' -X "$2" "${data[@]}" "$(api "$1")$3")
    status=${body##*$'\n'} body=${body%$'\n'*}
}
# causes MEMBER SERVICE: of its events, the earliest first.
causes() { curl -s -m 60 "$(api "$1")/services/$2/events" | jq -r '[.events[] | .cause + (if .id then ":" + .id else "" end)] | reverse | join(" ")'; }
is_causes() { [ "$(causes "$1" "$2")" = "$3" ]; }
lead=$(leader)
here=$((lead % 3 + 1)) other=$(((lead + 1) % 3 + 1))

# --- causes
req $here PUT /services/web/instances/w1 '{"host":"10.0.0.1","port":80,"ttl":3,"grace":1}'
expect "register" 200 "$status"
req $other PUT /services/web/instances/w2 '{"host":"10.0.0.2","port":80,"ttl":600}'
req $other PUT "/services/web/instances/w2/override?on_behalf_of=ann" '{"weight":0,"reason":"INC-7"}'
req $here DELETE /services/web/instances/w2/override
req $here PUT /services/web '{"protect_threshold":0.3}'
all="registered:w1 registered:w2 override_set:w2 override_cleared:w2 settings_changed heartbeat_lost:w1 expired:w1"
check "all causes, in order" within $LIMIT_S is_causes $other web "$all"
for i in 1 2 3; do check "n$i has the same" within $LIMIT_S is_causes $i web "$all"; done
req $here GET /services/web/events
expect "an event" '{"cause":"override_set","id":"w2","weight":0,"reason":"INC-7","author":"anonymous","on_behalf_of":"ann"}' \
    "$(jq -c '.events[] | select(.cause == "override_set") | del(.revision, .time_ms)' <<<"$body")"
expect "newest first" true "$(jq '[.events[].revision] as $r | $r == ($r | sort | reverse)' <<<"$body")"
req $here GET /services/none/events
expect "a service that does not exist has none" '200 []' "$status $(jq -c .events <<<"$body")"
req $here GET "/services/web/events?limit=3"
expect "an unknown parameter" 400 "$status"

# --- a long poll, and cairnctl
req $other GET /services/web/events
revision=$(jq .revision <<<"$body")
curl -s -m 60 "$(api $other)/services/web/events?wait_revision=$revision&timeout=50s" >"$work/poll" &
poll=$!
"$CTL" --endpoints "$(client_url $here)" service events web --watch >"$work/watched" &
watch=$!
check "cairnctl shows what is there" within $LIMIT_S grep -q heartbeat_lost "$work/watched"
req $here POST /services/web/instances/w2/drain '{"wait":false}'
expect "drain" 200 "$status"
wait $poll
expect "a long poll is answered by the next event" drain_started "$(jq -r '.events[0].cause' "$work/poll")"
check "cairnctl shows it too" within $LIMIT_S grep -q drain_started "$work/watched"
kill -INT $watch
wait $watch
expect "each event once" 8 "$(grep -c 'w1\|w2\|settings' "$work/watched")"
expect "as JSON" drain_started "$("$CTL" --endpoints "$(client_url $here)" -o json service events web | jq -r '.events[-1].cause')"

# --- exactly once, while leaders are killed
for round in 1 2 3; do
    for k in 1 2 3; do
        req $here PUT /services/kill/instances/k1 "{\"host\":\"10.0.0.1\",\"port\":$((round * 10 + k)),\"ttl\":600}"
        expect "change $round.$k" 200 "$status"
    done
    lead=$(leader)
    stop_member "$lead" KILL
    here=$((lead % 3 + 1))
    changed() { req $here PUT /services/kill/instances/k1 "{\"host\":\"10.0.0.1\",\"port\":$((round * 10 + 5)),\"ttl\":600}" && [ "$status" = 200 ]; }
    check "a change without the leader" within $LIMIT_S changed
    events="registered:k1$(printf ' updated:k1%.0s' $(seq $((round * 4 - 1))))"
    check "its events, each once" within $LIMIT_S is_causes $here kill "$events"
    start_member "$lead"
    is_back() { req "$lead" GET "/services/kill?consistency=local" && [ "$status" = 200 ]; }
    check "n$lead is back" within $LIMIT_S is_back # it knows the events from then on
done

# --- the last 100
for k in $(seq 130); do req $here PUT /services/many/instances/m1 "{\"host\":\"h\",\"port\":$k,\"ttl\":600}"; done
last() { curl -s -m 60 "$(api $here)/services/many/events" >"$work/last" && [ "$(jq '.events | length' "$work/last")" = 100 ]; }
check "the last 100 are kept" within $LIMIT_S last
expect "few keys hold them" true "$([ "$(ctl_on $here get --prefix --keys-only /cairn/events/default/default/many/ | grep -c many)" -le 8 ] && echo true)"

# --- a namespace's deletion
req $here PUT /namespaces/gone '{"title":"Gone"}'
req $here PUT "/services/web/instances/g1?namespace=gone" '{"host":"10.0.0.1","ttl":600}'
has_events() { ctl_on $here get --prefix --keys-only /cairn/events/gone/ | grep -q gone; }
check "it has events" within $LIMIT_S has_events
req $here DELETE "/services/web/instances/g1?namespace=gone"
req $here DELETE /namespaces/gone
expect "events do not keep a namespace" 200 "$status"
none() { ! has_events; }
check "they are deleted with it" within $LIMIT_S none
finish
