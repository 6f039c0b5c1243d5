#!/usr/bin/env bash
# Idempotency keys on a real node: the first answer again, another request with the same key, users, rights and
# namespaces, what is not kept, and kill -9 at random moments: each key has its effect exactly once.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
url=http://127.0.0.1:$port
api=$url/api/v1
start_server "$work" "$port" --bcrypt-cost 4 || { cat "$work/log"; exit 1; }
cairnctl=$(realpath bin/cairnctl)
admin() { "$cairnctl" --endpoints "$url" "$@" >>"$work/out" 2>&1 || fails "cairnctl $*: $(tail -n 1 "$work/out")"; }

# post USER KEY PATH [BODY]: $answer = the status, the error's code, and "again" for a kept answer
post() {
    body=$(curl -s -m 60 -D "$work/head" -w '\n%{http_code}' -u "$1:$1-pw" -H "Idempotency-Key: $2" -X POST "$api$3" ${4:+-d "$4"})
    answer="${body##*$'\n'} $(jq -r '.error.code? // empty' <<<"${body%$'\n'*}" 2>/dev/null)$(sed -n 's/^Idempotent-Replayed: true.*/again/p' "$work/head")"
    body=${body%$'\n'*}
}
put() { curl -s -m 60 -o /dev/null -u "root:root-pw" -X PUT --data-binary "$2" "$api/configs/$1"; }
newest() { curl -s -m 60 -u root:root-pw "$api/configs/$1/history" | jq -r '.releases[0].seq'; }

for user in root ann bob; do admin user add "$user:$user-pw"; done
admin user grant-role root root
for user in ann bob; do
    admin role add $user
    for part in heads drafts; do for ns in default other; do
        admin role grant-permission $user --prefix=true readwrite "/cairn/config/$part/$ns/"
    done; done
    admin user grant-role $user $user
done
admin auth enable

put a.yaml 'a: 1' && put a.yaml 'a: 2'
post ann k1 /configs/a.yaml/rollback '{"seq":1}' && first=$body && expect "a rollback" "200 " "$answer"
put a.yaml 'a: 4'
post ann k1 /configs/a.yaml/rollback '{"seq":1}' && expect "the first answer" "200 again $first" "$answer $body"
expect "and no release" 4 "$(newest a.yaml)"
post ann k1 /configs/a.yaml/rollback '{"seq":2}' && expect "another body" "422 key_reused" "$answer"
post ann k1 '/configs/a.yaml/rollback?namespace=other' '{"seq":1}' && expect "another namespace" "422 key_reused" "$answer"
post bob k1 /configs/a.yaml/rollback '{"seq":1}' && expect "another user's key" "200 " "$answer"
expect "has its own effect" 5 "$(newest a.yaml)"
post ann k2 /configs/a.yaml/publish && expect "an error" "404 not_found" "$answer"
put a.yaml/draft 'a: 6'
post ann k2 /configs/a.yaml/publish && expect "is not kept" "200 " "$answer"
post ann k2 /configs/a.yaml/publish && expect "though the draft is gone" "200 again" "$answer"
post ann k3 /bundles '{"publish":[{"name":"b.yaml","content":"b: 1","namespace":"other"},{"name":"c.yaml","content":"c: 1"}]}' && first=$body
post ann k3 /bundles '{"publish":[{"name":"b.yaml","content":"b: 1","namespace":"other"},{"name":"c.yaml","content":"c: 1"}]}' &&
    expect "a bundle of two namespaces" "200 again $first" "$answer $body"
post ann k4 '/bundles?validate=only' '{"publish":[{"name":"b.yaml","content":"b: 2"}]}' && expect "a check" "200 " "$answer"
post ann k4 /bundles '{"publish":[{"name":"b.yaml","content":"b: 2"}]}' && expect "keeps nothing" "200 " "$answer"
post root k5 /sessions '{}' && expect "a route without keys" "400 bad_request" "$answer"
post ann "$(printf 'k%.0s' {1..257})" /configs/a.yaml/rollback '{"seq":1}' && expect "a key that is too long" "400 bad_request" "$answer"
expect "no user reads the records" 403 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -H "Authorization: $(curl -s "$url/v3/auth/authenticate" -d '{"name":"ann","password":"ann-pw"}' | jq -r .token)" \
    "$url/v3/kv/range" -d "{\"key\":\"$(printf /cairn/idempotency/ | base64)\",\"range_end\":\"$(printf /cairn/idempotency0 | base64)\"}")"
# Without its permission a user does not get its old answer.
admin --user root:root-pw role revoke-permission ann --prefix=true /cairn/config/heads/default/
post ann k1 /configs/a.yaml/rollback '{"seq":1}' && expect "a permission that is gone" "403 forbidden" "$answer"

# kill -9 at random moments, while a client repeats each request until it has an answer. Between two tries the configuration
# changes, so that a second effect would make a release.
put kill.yaml 'k: 0' && put kill.yaml 'k: 1'
rounds=12
for round in $(seq $rounds); do
    put kill.yaml "k: $round.0"
    (post bob "kill-$round" /configs/kill.yaml/rollback '{"seq":1}') &
    asked=$!
    sleep "0.0$((RANDOM % 10))"
    stop_server KILL
    wait $asked
    start_server "$work" "$port" --bcrypt-cost 4 || { cat "$work/log"; exit 1; }
    put kill.yaml "k: $round.1"
    for _ in $(seq 100); do
        post bob "kill-$round" /configs/kill.yaml/rollback '{"seq":1}'
        [[ $answer == 200* ]] && break
        sleep 0.1
    done
    expect "round $round has an answer" 200 "${answer%% *}"
    echo "$answer" >>"$work/rounds"
done
expect "each rollback was made once" $rounds \
    "$(curl -s -m 60 -u root:root-pw "$api/configs/kill.yaml/history" | jq '[.releases[] | select(.operation == "rollback")] | length')"
echo "   $(grep -c again "$work/rounds") of $rounds were made before the process died"
expect "the count of the records" "$(((4 + 1) + rounds))" "$(curl -s "$url/metrics" | sed -n 's/^cairn_idempotency_keys //p')"
finish
