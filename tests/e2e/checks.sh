#!/usr/bin/env bash
# Health checks on three members: the members divide them, also when one is killed and comes back; a result is written once a
# change; TCP, HTTP, HTTPS and gRPC; and no connection to an address that is refused, in whatever form a client gives it.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
instances=$((base + 5)) tls=$((base + 6)) trap=$((base + 7)) closed=$((base + 8))
count=40
flags=(--registry-check-allow 127.0.0.2/32 --registry-max-checks 70 --registry-events=false) # it counts the writes
server=""
eval "end_members() $(declare -f end_more | tail -n +2)"
end_more() {
    end_members
    [ -z "$server" ] || kill -KILL "$server"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=instance \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
start_instances() {
    rm -f "$work/ready"
    tests/e2e/check_server.py $instances $tls $trap "$work" &
    server=$!
    within $LIMIT_S test -e "$work/ready"
}
stop_instances() {
    kill -KILL "$server"
    wait "$server" 2>/dev/null
    server=""
}
api() { echo "$(client_url "$1")/api/v1"; }
# put MEMBER ID HOST PORT CHECK: $status, $body.
put() {
    body=$(curl -s -m 60 -w '\n%{http_code}' -X PUT -d "{\"host\":\"$3\",\"port\":$4,\"check\":$5}" "$(api "$1")/services/web/instances/$2")
    status=${body##*$'\n'} body=${body%$'\n'*}
}
state_of() { curl -s -m 60 "$(api "$1")/services/web/instances/$2" | jq -r '.instance | "\(.state) \(.serving) \(.checked.output)"'; }
is_state() { [ "$(state_of "$1" "$2")" = "$3" ]; }
# all_are STATE: of the instances h1 to h40.
all_are() { [ "$(curl -s -m 60 "$(api "$here")/services/web" | jq "[.instances[] | select((.id | startswith(\"h\")) and .state == \"$1\")] | length")" = $count ]; }
metric() { curl -s -m 60 "$(client_url "$1")/metrics" | awk -v n="cairn_registry_$2" '$1 == n { print $2 }'; }
# total NAME MEMBER...: the sum of a metric.
total() {
    local name=$1 sum=0 i
    shift
    for i in "$@"; do sum=$((sum + $(metric "$i" "$name"))); done
    echo $sum
}
# divided COUNT MEMBER...: these members run so many checks together, and each runs some.
divided() {
    local i wanted=$1
    shift
    [ "$(total checks_held "$@")" = "$wanted" ] || return 1
    for i in "$@"; do [ "$(metric "$i" checks_held)" -gt 0 ] || return 1; done
}
revision() { ctl_on "$here" get x -w json | jq .header.revision; }

for i in 1 2 3; do start_member $i "${flags[@]}"; done
for i in 1 2 3; do check "n$i serves" serves $i; done
check "the instances listen" start_instances
lead=$(leader)
here=$((lead % 3 + 1)) other=$(((lead + 1) % 3 + 1))

# --- results
checked='{"type":"http","path":"/ok","interval":"1s","timeout":"1s","failures":3}'
put 1 h1 127.0.0.2 $instances "$checked"
expect "an instance with a check has no session" "200 null null" "$status $(jq -r '"\(.session) \(.ttl)"' <<<"$body")"
for i in $(seq 2 $count); do put $((i % 3 + 1)) "h$i" 127.0.0.2 $instances "$checked"; done
check "all are up" within $LIMIT_S all_are up
expect "and say why" "up true HTTP 200" "$(state_of 1 h7)"
check "three members divide them" within $LIMIT_S divided $count 1 2 3
before=$(revision)
probes=$(total check_probes_total 1 2 3)
more_probes() { [ "$(total check_probes_total 1 2 3)" -ge $((probes + 2 * count)) ]; }
check "they are checked on" within $LIMIT_S more_probes
expect "nothing is written while nothing changes" "$before" "$(revision)"
put 2 h7 127.0.0.2 $instances "$checked"
expect "the same registration writes nothing and keeps the result" "true up" "$(jq -r .unchanged <<<"$body") $(state_of 2 h7 | cut -d ' ' -f 1)"

# --- the instances' process is killed, and returns
stop_instances
check "all are down" within $LIMIT_S all_are down
expect "and say why" "down false connection refused" "$(state_of 1 h7)"
check "the instances listen again" start_instances
check "all are up again" within $LIMIT_S all_are up
expect "one write a change" $((before + 2 * count)) "$(revision)"

# --- a member is killed, and returns
stop_member "$other" KILL
check "the others run its checks" within $LIMIT_S divided $count "$lead" "$here"
stop_instances
check "all are down, on two members" within $LIMIT_S all_are down
start_instances
check "all are up, on two members" within $LIMIT_S all_are up
start_member "$other" "${flags[@]}"
check "it is back, and runs some" within $LIMIT_S divided $count 1 2 3
stop_member "$lead" KILL
check "the leader is killed: the others run its checks" within $LIMIT_S divided $count "$here" "$other"
start_member "$lead" "${flags[@]}"
check "it is back, too" within $LIMIT_S divided $count 1 2 3

# --- other checks
quick='"interval":"1s","failures":1'
put 1 tcp 127.0.0.2 $instances "{\"type\":\"tcp\",$quick}"
put 1 busy 127.0.0.2 $instances "{\"type\":\"http\",\"path\":\"/busy\",$quick}"
put 1 broken 127.0.0.2 $instances "{\"type\":\"http\",\"path\":\"/broken\",$quick}"
put 1 closed 127.0.0.2 $instances "{\"type\":\"tcp\",\"port\":$closed,$quick}"
put 1 sealed 127.0.0.2 $tls "{\"type\":\"https\",\"path\":\"/ok\",\"insecure\":true,$quick}"
put 1 unknown-ca 127.0.0.2 $tls "{\"type\":\"https\",\"path\":\"/ok\",$quick}"
check "TCP" within $LIMIT_S is_state 1 tcp "up true connected"
check "429 is a warning, in traffic" within $LIMIT_S is_state 1 busy "warn true HTTP 429"
check "500" within $LIMIT_S is_state 1 broken "down false HTTP 500"
check "a closed port" within $LIMIT_S is_state 1 closed "down false connection refused"
check "HTTPS with any certificate" within $LIMIT_S is_state 1 sealed "up true HTTP 200"
is_untrusted() { state_of 1 unknown-ca | grep -q '^down false tls: failed to verify certificate'; }
check "HTTPS with a certificate that this machine does not trust" within $LIMIT_S is_untrusted

# --- gRPC: one more node is the server
grpc=$((base + 50))
start_grpc() {
    "$CAIRND" --name grpc --data-dir "$work/grpc" --listen-client-urls "http://127.0.0.2:$grpc" --advertise-client-urls "http://127.0.0.2:$grpc" \
        --listen-peer-urls "http://127.0.0.2:$((grpc + 1))" --initial-advertise-peer-urls "http://127.0.0.2:$((grpc + 1))" \
        --initial-cluster "grpc=http://127.0.0.2:$((grpc + 1))" >"$work/grpc.log" 2>&1 &
    member_pids[grpc]=$!
}
start_grpc
put 1 grpc 127.0.0.2 $grpc "{\"type\":\"grpc\",$quick}"
put 1 nobody 127.0.0.2 $grpc "{\"type\":\"grpc\",\"service\":\"shop.v1.Nobody\",$quick}"
put 1 http1 127.0.0.2 $instances "{\"type\":\"grpc\",$quick}"
check "gRPC" within $LIMIT_S is_state 1 grpc "up true gRPC SERVING"
check "gRPC: an unknown service" within $LIMIT_S is_state 1 nobody "down false gRPC status 5 NOT_FOUND (the server does not know this service)"
check "gRPC: a server of HTTP/1.1" within $LIMIT_S is_state 1 http1 "down false the answer is no HTTP/2 answer"

# --- no connection to what is refused
n=0
for host in 127.0.0.1 localhost 127.1 0x7f000001 ::1 ::ffff:127.0.0.1 ::ffff:127.0.0.2 0.0.0.0 :: 169.254.169.254; do
    n=$((n + 1))
    type=http
    [ $((n % 2)) = 0 ] || type=grpc
    put 1 "refused$n" "$host" $trap "{\"type\":\"$type\",$quick}"
    is_refused() { state_of 1 "refused$n" | grep -q '^down false the address is not allowed: '; }
    check "refused: $host" within $LIMIT_S is_refused
done
put 1 redirect 127.0.0.2 $instances "{\"type\":\"http\",\"path\":\"/go\",$quick}"
check "a redirect is not followed" within $LIMIT_S is_state 1 redirect "down false HTTP 302 (redirects are not followed)"
check "the trap was not touched" test ! -e "$work/trapped"
put 1 trap 127.0.0.2 $trap "{\"type\":\"tcp\",$quick}"
check "(it can be touched)" within $LIMIT_S test -s "$work/trapped"

# --- limits and errors
for i in $(seq 1 10); do put 1 "more$i" 127.0.0.2 $instances "$checked"; done
expect "the number of checks is limited" "429 quota_exceeded" "$status $(jq -r .error.code <<<"$body")"
put 1 x 127.0.0.2 1 '{"type":"http","path":"/x\r\nHost: y"}'
expect "a path that would end the line" "400 bad_request" "$status $(jq -r .error.code <<<"$body")"
session=$(curl -s -m 60 "$(api 1)/sessions" -d '{"ttl":60}' | jq -r .session)
expect "not into a session" 400 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -X PUT -d '{"host":"127.0.0.2","port":1,"check":{"type":"tcp"}}' "$(api 1)/services/web/instances/y?session=$session")"
held=$(total checks_held 1 2 3)
curl -s -m 60 -o /dev/null -X DELETE "$(api 2)/services/web/instances/h1"
check "a deregistered one is not checked" within $LIMIT_S divided $((held - 1)) 1 2 3
finish
