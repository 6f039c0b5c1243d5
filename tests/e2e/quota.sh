#!/usr/bin/env bash
# The quota: requests that grow the store are refused with etcd's error, requests that shrink it
# work, and after a compaction and a disarm all requests work. The alarm survives a restart.
. "$(dirname "$0")/lib.sh"
port=$(free_port)
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
url=http://127.0.0.1:$port
start_server "$work" "$port" --quota-backend-bytes 4000000 || { cat "$work/log"; exit 1; }
value=$(head -c 50000 /dev/zero | tr '\0' v)
for i in $(seq 200); do
    etcdctl put "fill$((i % 5))" "$value" >/dev/null 2>"$work/error" || break
done
check "the quota is met after $i puts of 50 KB" test "$i" -gt 60 -a "$i" -lt 90
space="etcdserver: mvcc: database space exceeded"
check "etcd's words" grep -q "$space" "$work/error"
alarm_is_on() { etcdctl alarm list | grep -q 'alarm:NOSPACE'; }
check "the alarm is raised" within $LIMIT_S alarm_is_on
refused() { check "refused: $1" grep -q "$space" <<<"$("${@:2}" 2>&1)"; }
refused "a small put" etcdctl put a b
refused "a lease" etcdctl lease grant 60
refused "a txn that puts" etcdctl txn <<<$'value("x") = "y"\n\nput a b\n\nput a b\n'
refused "a put over HTTP" curl -s "$url/v3/kv/put" -d '{"key":"YQ==","value":"YQ=="}'
expect "its HTTP status" 429 "$(curl -s -o /dev/null -w '%{http_code}' "$url/v3/kv/put" -d '{"key":"YQ==","value":"YQ=="}')"
check "health says so" grep -q 'ALARM NOSPACE' <<<"$(curl -s "$url/health")"
check "status says so" grep -q NOSPACE <<<"$(etcdctl endpoint status -w json)"
check "reads go on" test "$(etcdctl get fill1 --print-value-only | wc -c)" = 50001
check "a txn that only reads goes on" grep -q FAILURE <<<"$(etcdctl txn <<<$'value("x") = "y"\n\nget a\n\nget fill1 --keys-only\n' 2>&1)"
rm "$work/log"
stop_server KILL
start_server "$work" "$port" --quota-backend-bytes 4000000
check "the alarm survives kill -9" grep -q 'alarm:NOSPACE' <<<"$(etcdctl alarm list)"
refused "a put after the restart" etcdctl put a b
expect "deleting works" 1 "$(etcdctl del fill2)"
expect "a txn that deletes works" SUCCESS "$(etcdctl txn <<<$'version("fill3") > "0"\n\ndel fill3\n\n\n' 2>&1 | head -1)"
revision=$(etcdctl get fill1 -w json | jq .header.revision)
check "compacting works" etcdctl compaction "$revision" --physical
refused "a put before the alarm is disarmed" etcdctl put a b
check "disarming works" grep -q NOSPACE <<<"$(etcdctl alarm disarm)"
expect "no alarm" "" "$(etcdctl alarm list)"
expect "puts go on" OK "$(etcdctl put a b)"
expect "leases too" granted "$(etcdctl lease grant 60 | awk '{print $3}')"
expect "health" '{"health":"true","reason":""}' "$(curl -s "$url/health")"
# Disarmed without having made room: the next put raises it again.
for i in $(seq 200); do etcdctl put "again$((i % 5))" "$value" >/dev/null 2>&1 || break; done
etcdctl alarm disarm >/dev/null
refused "a large put after a disarm without room" etcdctl put more "$value"
check "and the alarm is there again" within $LIMIT_S alarm_is_on
# Repeated fills: the file does not grow beyond the quota.
for turn in 1 2 3; do
    etcdctl compaction "$(etcdctl get a -w json | jq .header.revision)" --physical >/dev/null 2>&1
    etcdctl del --prefix "" >/dev/null
    etcdctl compaction "$(etcdctl get a -w json | jq .header.revision)" --physical >/dev/null 2>&1
    etcdctl alarm disarm >/dev/null
    for i in $(seq 200); do etcdctl put "turn$turn/$i" "$value" >/dev/null 2>&1 || break; done
    expect "turn $turn holds as much as the first" yes "$([ "$i" -gt 60 ] && echo yes || echo "$i")"
done
size=$(stat -c %s "$work/data/member/store")
check "the file stays within three times the quota ($((size / 1000)) kB)" test "$size" -lt 12000000
stop_server
expect "exit 0" 0 "$server_status"
finish
