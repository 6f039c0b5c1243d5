#!/usr/bin/env bash
# The config center's routes on three members: what one publishes another shows, polls and listens to; writes that come in
# at a follower; one archive for all; and all of it again when the leader is killed.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
api() { echo "$(client_url "$1")/api/v1"; }
config_serves() { curl -sf -m 2 "$(client_url "$1")/readyz" >/dev/null; }
for i in 1 2 3; do start_member $i; done
for i in 1 2 3; do check "n$i serves" within $LIMIT_S config_serves $i; done
check "somebody leads" within $LIMIT_S leader
lead=$(leader)
followers=()
for i in 1 2 3; do [ $i = "$lead" ] || followers+=($i); done
a=${followers[0]} b=${followers[1]}

# --- a follower takes writes, all show them
publish() { curl -s -m 60 -X PUT --data-binary "$3" "$(api "$1")/configs/$2"; }
expect "a follower publishes" 1 "$(publish "$a" app.yaml 'port: 80' | jq .seq)"
for i in 1 2 3; do expect "n$i shows it at once" 'port: 80' "$(curl -s -m 60 "$(api $i)/configs/app.yaml")"; done
md5=$(printf 'port: 80' | md5sum | cut -d ' ' -f 1)
expect "compare and swap, the first" 200 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -X PUT -H "If-Match: \"$md5\"" -d 'port: 81' "$(api "$lead")/configs/app.yaml")"
expect "and the second elsewhere" 412 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -X PUT -H "If-Match: \"$md5\"" -d 'port: 82' "$(api "$b")/configs/app.yaml")"

# --- who waits on another member
revision=$(curl -s -m 60 "$(api "$b")/configs/app.yaml?meta=true" | jq .revision)
curl -s -m 60 "$(api "$b")/configs/app.yaml?wait_revision=$revision&timeout=50s&client_id=web-7" >"$work/poll" &
poll=$!
listens() { [ "$(curl -s -m 5 "$(api "$1")/configs/app.yaml/listeners" | jq -r '.listeners[] | "\(.client_id) \(.member)"')" = "web-7 n$b" ]; }
for i in 1 2 3; do check "n$i knows who waits on n$b" within $LIMIT_S listens $i; done
expect "delivery, asked elsewhere" "1 1" "$(curl -s -m 60 "$(api "$a")/configs/app.yaml/releases/2/delivery" | jq -r '"\(.chosen) \(.pending)"')"
publish "$a" app.yaml 'port: 83' >/dev/null
wait $poll
expect "the wait ends with a write on n$a" 'port: 83' "$(cat "$work/poll")"
expect "a bundle at a follower" 2 "$(curl -s -m 60 "$(api "$b")/bundles" -d '{"publish":[{"name":"b1","content":"x","if_absent":true},{"name":"b2","content":"y"}]}' | jq .changed)"
expect "gray rules at one, chosen at another" gray "$(curl -s -m 60 -X PUT "$(api "$a")/configs/b1/gray/r" -d '{"match":{"zone":["b"]},"content":"gray"}' >/dev/null
    curl -s -m 60 "$(api "$b")/configs/b1?labels=zone=b")"
expect "rollback at a follower" 4 "$(curl -s -m 60 "$(api "$b")/configs/app.yaml/rollback" -d '{"seq":1}' | jq .seq)"
expect "its history elsewhere" "[4,3,2,1]" "$(curl -s -m 60 "$(api "$a")/configs/app.yaml/history" | jq -c '[.releases[].seq]')"

# --- archives: the same from each, imported at a follower
for i in 1 2 3; do curl -s -m 60 "$(api $i)/export" -o "$work/$i.tgz"; done
check "n1 and n2 export the same bytes" cmp "$work/1.tgz" "$work/2.tgz"
check "so does n3" cmp "$work/1.tgz" "$work/3.tgz"
expect "import at a follower" "200 3" "$(curl -s -m 60 -w '%{stderr}%{http_code} ' --data-binary @"$work/1.tgz" "$(api "$a")/import?namespace=copy" 2>"$work/code" | jq .actions.created >"$work/created"; cat "$work/code" "$work/created")"
expect "is there on the others" "3 3" "$(for i in "$lead" "$b"; do curl -s -m 60 "$(api "$i")/configs?namespace=copy" | jq '.configs | length'; done | xargs)"

# --- the leader is killed while somebody waits
revision=$(curl -s -m 60 "$(api "$a")/configs/app.yaml?meta=true" | jq .revision)
curl -s -m 60 "$(api "$a")/configs/app.yaml?wait_revision=$revision&timeout=50s&client_id=cli" >"$work/poll" &
poll=$!
waits() { curl -s -m 5 "$(api "$b")/configs/app.yaml/listeners" | grep -q '"client_id":"cli"'; }
check "somebody waits" within $LIMIT_S waits
stop_member "$lead" KILL
writes() { [ "$(publish "$b" app.yaml 'port: 90' | jq .seq)" = 5 ]; }
check "the others take writes again" within $LIMIT_S writes
wait $poll
expect "the wait has lived through it" 'port: 90' "$(cat "$work/poll")"
stop_member "$b" KILL
expect "without a quorum nothing is claimed" 503 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' "$(api "$a")/configs/app.yaml")"
expect "but what a member has it says" 'port: 90' "$(curl -s -m 60 "$(api "$a")/configs/app.yaml?consistency=local")"
expect "nor exported" 503 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' "$(api "$a")/export")"
expect "but for who takes what is here" 7 "$(curl -s -m 60 "$(api "$a")/export?consistency=local" | tar tz | wc -l)"
stop_member "$a" TERM
expect "it leaves cleanly" 0 "$member_status"
finish
