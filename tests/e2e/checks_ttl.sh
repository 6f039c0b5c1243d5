#!/usr/bin/env bash
# TTL checks on three members: clients report through all of them while the holder and the leader are killed and return, and
# no instance leaves traffic; one without reports is down, once, and up again with the next report; refusals.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
CTL=$(realpath "$(dirname "$CAIRND")/cairnctl")
reporters=() clients=4 each=8 ttl=10s
count=$((clients * each))
eval "end_members() $(declare -f end_more | tail -n +2)"
end_more() {
    stop_reports
    end_members
}
api() { echo "$(client_url "$1")/api/v1"; }
# ask METHOD MEMBER PATH BODY: $status, $body.
ask() {
    body=$(curl -s -m 60 -w '\n%{http_code}' -X "$1" -d "$4" "$(api "$2")/services/$3")
    status=${body##*$'\n'} body=${body%$'\n'*}
}
# reports FIRST LAST: a client: reports for its instances every second, at another member each time. Those that fail are sent
# to the next member at once. A line of $work/reports is a second of a client.
reports() {
    local at=$((RANDOM % 3)) wanted
    wanted=$(printf '200\n%.0s' $(seq 1 $each))
    while [ ! -e "$work/silent" ]; do
        at=$(((at + 1) % 3))
        [ "$(curl -s -m 2 -o /dev/null -w '%{http_code}\n' -X PUT -d '{"state":"up"}' "$(api $((at + 1)))/services/web/instances/r[$1-$2]/check" | grep 200)" = "$wanted" ] &&
            echo x >>"$work/reports" && sleep 1
    done
}
start_reports() {
    rm -f "$work/silent"
    for i in $(seq 1 $each $count); do
        reports "$i" $((i + each - 1)) &
        reporters+=($!)
    done
}
stop_reports() {
    touch "$work/silent"
    [ ${#reporters[@]} = 0 ] || wait "${reporters[@]}" 2>/dev/null
    reporters=()
}
more_reports() { [ "$(wc -l <"$work/reports")" -ge $((reported + $1)) ]; }
# expect_reports TEXT NUMBER: so many more are taken.
expect_reports() {
    reported=$(wc -l <"$work/reports")
    check "$1" within $LIMIT_S more_reports "$2"
}
all_are() { [ "$(curl -s -m 60 "$(api "$here")/services/web" | jq "[.instances[] | select(.state == \"$1\")] | length")" = $count ]; }
metric() { curl -s -m 60 "$(client_url "$1")/metrics" | awk -v n="cairn_registry_$2" '$1 == n { print $2 }'; }
writes() { echo $(($(metric 1 check_report_writes_total) + $(metric 2 check_report_writes_total) + $(metric 3 check_report_writes_total))); }
# holds MEMBER: it watches some.
holds() { [ "$(metric "$1" checks_held)" -gt 0 ]; }
held_by() { # MEMBER...: all are watched by these
    local sum=0 i
    for i in "$@"; do sum=$((sum + $(metric "$i" checks_held))); done
    [ $sum = $count ]
}
# failures: events of checks that failed, since the beginning.
failures() { curl -s -m 60 "$(api "$here")/services/web/events" | jq '[.events[] | select(.cause == "check_failing")] | length'; }
are_failures() { [ "$(failures)" = "$1" ]; }
revision() { ctl_on "$here" get x -w json | jq .header.revision; }

for i in 1 2 3; do start_member $i; done
for i in 1 2 3; do check "n$i serves" serves $i; done
lead=$(leader)
here=$((lead % 3 + 1)) other=$(((lead + 1) % 3 + 1))

# --- reports at all members
for i in $(seq 1 $count); do ask PUT $((i % 3 + 1)) "web/instances/r$i" "{\"host\":\"10.0.0.$i\",\"check\":{\"type\":\"ttl\",\"ttl\":\"$ttl\"}}"; done
expect "an instance with a TTL check has no session" "200 null" "$status $(jq -r .session <<<"$body")"
touch "$work/reports"
start_reports
check "all are up" within $LIMIT_S all_are up
check "the members divide the checks" within $LIMIT_S held_by 1 2 3
expect_reports "reports are taken" 24 # longer than members do not confirm after the division
events_are_stored() { [ "$(curl -s -m 60 "$(api "$here")/services/web/events" | jq '.events | length')" = $((2 * count)) ]; }
check "each has its events" within $LIMIT_S events_are_stored
writes=$(writes)
before=$(revision)
expect_reports "more reports" 24
revisions=$(($(revision) - before))
writes=$(($(writes) - writes)) # a busy member may confirm some too late
check "reports that change nothing are not written" test $writes -lt 48
check "and nothing else is" test $revisions -le $writes

# --- members are killed
for victim in "$other" "$lead"; do
    left=$(seq 1 3 | grep -v "^$victim$" | xargs)
    check "n$victim watches some" within $LIMIT_S holds "$victim"
    stop_member "$victim" KILL
    expect_reports "n$victim is killed: the others take reports" 12
    # shellcheck disable=SC2086
    check "and watch its checks" within $LIMIT_S held_by $left
    expect_reports "for longer than the TTL" 60
    start_member "$victim"
    check "it is back, and watches some" within $LIMIT_S holds "$victim"
    expect_reports "it takes reports, too" 12
done
check "all are up" all_are up
expect "none has ever been down" 0 "$(failures)"

# --- no reports
stop_reports
check "without reports all are down" within $LIMIT_S all_are down
expect "and say why" "no report for $ttl" "$(curl -s -m 60 "$(api 1)/services/web/instances/r2" | jq -r .instance.checked.output)"
check "each has failed once" within $LIMIT_S are_failures $count
before=$(revision)
sleep 3 # three rounds
expect "that is written once" "$before" "$(revision)"
ask PUT 2 web/instances/r1/check '{"state":"up"}'
expect "a report sets it up" "200 up true" "$status $(curl -s -m 60 "$(api 2)/services/web/instances/r1" | jq -r '.instance | "\(.state) \(.serving)"')"
ask PUT 1 web/instances/r1/check '{"state":"down","output":"disk full"}'
expect "a report sets it down" "200 down disk full" "$status $(curl -s -m 60 "$(api 1)/services/web/instances/r1" | jq -r '.instance | "\(.state) \(.checked.output)"')"
expect "cairnctl reports up if no state is given" "reported r1 of web as up" "$("$CTL" --endpoints "$(endpoint 1)" service report web r1 2>&1)"
expect "so it is" up "$(curl -s -m 60 "$(api 1)/services/web/instances/r1" | jq -r .instance.state)"

# --- refusals
ask PUT 1 web/instances/unknown/check '{"state":"up"}'
expect "an unknown instance" "404 not_found" "$status $(jq -r .error.code <<<"$body")"
ask PUT 1 web/instances/plain '{"host":"h","port":1}'
ask PUT 2 web/instances/plain/check '{"state":"up"}'
expect "an instance without a TTL check" "409 conflict" "$status $(jq -r .error.code <<<"$body")"
ask PUT 1 web/instances/r1/check '{"state":"passing"}'
expect "another word" "400 state is not one of up, warn, down" "$status $(jq -r .error.message <<<"$body")"
ask PUT 1 web/instances/r1 '{"host":"h","check":{"type":"ttl","ttl":"25h"}}'
expect "a TTL that is too long" "400 check is wrong: ttl is not a duration from 1s to 24h0m0s" "$status $(jq -r .error.message <<<"$body")"
finish
