#!/usr/bin/env bash
# A full store. A publisher in a loop is refused, while etcd's clients and registrations continue and no alarm is
# raised. When etcd's clients have filled the store (NOSPACE), the registry still deregisters instances, marks dead
# ones as lost and ends sessions, and old releases are collected.
. "$(dirname "$0")/lib.sh"
port=$(free_port)
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
url=http://127.0.0.1:$port api=http://127.0.0.1:$port/api/v1
start() { start_server "$work" "$port" --quota-backend-bytes 8000000 --config-releases-kept 3 --config-history-max-bytes 500000 "$@"; }
start || { cat "$work/log"; exit 1; }
put() { curl -s -m 60 -o "$work/body" -D "$work/head" -w '%{http_code}' -X PUT "$api/$1" --data-binary "$2"; }
delete() { curl -s -m 60 -o "$work/body" -w '%{http_code}' -X DELETE "$api/$1"; }
releases() { curl -s -m 60 "$api/configs/$1/history?limit=1000" | jq '.releases | length'; }
alarms() { etcdctl alarm list; }
metric() { curl -s "$url/metrics" | awk -v n="$1" '$1 == n { print $2 }'; }

# --- a publisher in a loop
head -c 99000 /dev/zero | tr '\0' x >"$work/content"
expect "registered before" 200 "$(put services/web/instances/dies '{"host":"10.0.0.1","port":80,"ttl":3}')"
refused=0
for i in $(seq 150); do
    echo "$i" >>"$work/content"
    [ "$(put configs/loop.txt @"$work/content")" = 200 ] || { refused=$((refused + 1)); cp "$work/body" "$work/refused"; cp "$work/head" "$work/refused_head"; }
done
check "it is refused in the end ($refused of 150)" test "$refused" -gt 20
check "with the setting's name" grep -q -- --quota-backend-bytes "$work/refused"
check "and told when to come again" grep -qi '^retry-after:' "$work/refused_head"
expect "no alarm" "" "$(alarms)"
expect "etcd's clients go on" OK "$(etcdctl put other client)"
expect "leases too" granted "$(etcdctl lease grant 60 | awk '{print $3}')"
expect "registrations go on" 200 "$(put services/web/instances/i1 '{"host":"10.0.0.1","port":80,"ttl":600}')"
bounded() { [ "$(releases loop.txt)" -le 6 ]; }
check "its history is within its bound soon" within $LIMIT_S bounded
check "and the metric says so" test "$(metric cairn_config_collected_young_releases_total)" -gt 20
etcdctl compaction "$(etcdctl get other -w json | jq .header.revision)" --physical >/dev/null
expect "with room again it publishes, nothing was disarmed" 200 "$(put configs/loop.txt "a word")"

# --- bytes a minute of one namespace: far fewer than what fills the store, which would refuse first
stop_server TERM
start --namespace-write-bytes-per-minute 1000000 || { cat "$work/log"; exit 1; }
limited() { [ "$(put "configs/rate.txt?namespace=busy" @"$work/large")" = 429 ]; }
head -c 400000 /dev/zero | tr '\0' y >"$work/large"
for i in $(seq 10); do
    echo "$i" >>"$work/large"
    limited && break
done
check "a namespace that writes too much is refused after $i of 400 KB" grep -q -- --namespace-write-bytes-per-minute "$work/body"
expect "another one is not" 200 "$(put 'configs/rate.txt?namespace=calm' "a: 1")"

# --- NOSPACE by etcd's clients
etcdctl compaction "$(etcdctl get other -w json | jq .header.revision)" --physical >/dev/null
for i in 1 2 3 4 5; do put configs/old.txt "release $i" >/dev/null; done
expect "registered before the store is full" 200 "$(put services/web/instances/late '{"host":"10.0.0.1","port":80,"ttl":3}')"
session=$(curl -s -X POST "$api/sessions" -d '{"ttl":600,"client_id":"c"}' | jq -r .session)
value=$(head -c 90000 /dev/zero | tr '\0' v)
for i in $(seq 200); do etcdctl put "fill" "$value" >/dev/null 2>&1 || break; done
alarm_is_on() { alarms | grep -q NOSPACE; }
check "the alarm is raised" within $LIMIT_S alarm_is_on
expect "a publish is refused" 429 "$(put configs/old.txt "release 6")"
expect "a registration too" 429 "$(put services/web/instances/i2 '{"host":"10.0.0.1","port":80}')"
expect "deregistering works" 200 "$(delete services/web/instances/i1)"
expect "a session's heartbeat works" 200 "$(curl -s -o /dev/null -w '%{http_code}' -X PUT "$api/sessions/$session/heartbeat")"
expect "a session ends" 200 "$(delete "sessions/$session")"
gone() { [ "$(curl -s "$api/services/web/instances/late" -o /dev/null -w '%{http_code}')" = 404 ]; }
check "an instance that died goes" within $LIMIT_S gone
expect "a member may be added" added "$(etcdctl member add other --peer-urls=http://127.0.0.1:1 2>&1 | grep -o 'added to cluster' | cut -d' ' -f1)"
stop_server KILL
finish
