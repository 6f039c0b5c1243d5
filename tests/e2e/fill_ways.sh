#!/usr/bin/env bash
# The ways in which one client can fill the store, each to its limit: instances, services, namespaces, overrides, sessions,
# configurations, drafts, gray rules, histories, bytes a minute; users, roles, leases, watches and keys by etcd's API.
# Only the client that does it is refused, with the setting's name: another client's heartbeat, registration, delete and
# publish still work.
. "$(dirname "$0")/lib.sh"
port=$(free_port)
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
url=http://127.0.0.1:$port api=http://127.0.0.1:$port/api/v1
start_server "$work" "$port" --quota-backend-bytes 16000000 --registry-max-instances 40 --registry-max-services 20 \
    --registry-max-namespaces 5 --registry-max-sessions 120 --config-max-items 12 --config-max-namespaces 5 \
    --config-max-total-bytes 300000 --config-releases-kept 3 --config-releases-max 10 --namespace-write-bytes-per-minute 2000000 \
    --max-watch-bytes 200000 ||
    { cat "$work/log"; exit 1; }
from=127.0.0.1 # the source of the client that misbehaves
put() { curl -s --interface $from -m 60 -o "$work/body" -w '%{http_code}' -X PUT "$api/$1" --data-binary "$2"; }
post() { curl -s --interface $from -m 60 -o "$work/body" -w '%{http_code}' -X POST "$api/$1" --data-binary "$2"; }
delete() { curl -s --interface $from -m 60 -o "$work/body" -w '%{http_code}' -X DELETE "$api/$1"; }
beat() { curl -s --interface $from -m 60 -o /dev/null -w '%{http_code}' -X PUT "$api/sessions/$1/heartbeat"; }
instance='{"host":"10.0.0.1","port":80,"ttl":600}'

# --- the other client: at an address and in a namespace of its own, before anybody misbehaves
session=$(curl -s --interface 127.0.0.9 -X POST "$api/sessions" -d '{"ttl":600,"client_id":"calm"}' | jq -r .session)
expect "the other client registers" 200 "$(from=127.0.0.9 && put "services/web/instances/a?namespace=calm" "$instance")"
expect "and publishes" 200 "$(put "configs/app.yaml?namespace=calm" "a: 0")"
round=0
others_go_on() { # WHILE
    local from=127.0.0.9
    round=$((round + 1))
    expect "meanwhile ($1) its heartbeat works" 200 "$(beat "$session")"
    expect "meanwhile ($1) it publishes" 200 "$(put "configs/app.yaml?namespace=calm" "a: $round")"
    expect "meanwhile ($1) it deletes" 200 "$(delete "services/web/instances/a?namespace=calm")"
    expect "meanwhile ($1) it registers" 200 "$(put "services/web/instances/a?namespace=calm" "$instance")"
}
# fill WAY MOST STATUS SETTING COMMAND...: COMMAND N is refused with STATUS after MOST times at the most, and says the setting.
fill() {
    local way=$1 most=$2 status=$3 setting=$4 got=200 n=0
    shift 4
    while [ "$got" = 200 ] && [ $n -lt "$most" ]; do
        n=$((n + 1))
        got=$("$@" "$n")
    done
    expect "$way: refused (at $n)" "$status" "$got"
    check "$way: the answer names $setting" grep -q -- "$setting" "$work/body"
    [ -z "$(etcdctl alarm list)" ] || fails "$way: an alarm"
    others_go_on "$way"
}

instances() { put "services/many/instances/i$1?namespace=busy" "$instance"; }
services() { put "services/s$1?namespace=busy2" '{"metadata":{"a":"b"}}'; }
overrides() { put "services/web/instances/o$1/override?namespace=busy2" '{"weight":0}'; }
namespaces() { put "services/web/instances/i?namespace=n$1" "$instance"; }
sessions() { post sessions '{"ttl":600,"client_id":"busy"}'; }
items() { put "configs/c$1.txt?namespace=busy" "small"; }
head -c 60000 /dev/zero | tr '\0' y >"$work/large"
large_items() { put "configs/c$1.txt?namespace=busy2" @"$work/large"; }
config_namespaces() { put "configs/c.txt?namespace=n$1" small; }
drafts() { put "configs/d$1.txt/draft?namespace=busy" small; }
gray() { put "configs/c1.txt/gray/g$1?namespace=busy" '{"match":{"zone":["b"]},"content":"other '"$1"'"}'; }
publish() { echo "$1" >>"$work/large"; put "configs/loop.txt?namespace=loop" @"$work/large"; }

fill instances 100 429 --registry-max-instances instances
fill services 100 429 --registry-max-services services
fill overrides 100 429 --registry-max-instances overrides
fill namespaces 100 429 --registry-max-namespaces namespaces
fill configurations 100 429 --config-max-items items
fill "bytes of configurations" 100 429 --config-max-total-bytes large_items
fill drafts 100 429 --config-max-items drafts
fill "gray rules" 40 429 "16" gray
fill "publishes in a loop" 100 429 --namespace-write-bytes-per-minute publish
short_history() { [ "$(curl -s "$api/configs/loop.txt/history?namespace=loop&limit=1000" | jq '.releases | length')" -le 10 ]; }
check "a history in a loop has its bound" within $LIMIT_S short_history
fill "namespaces of configurations" 100 429 --config-max-namespaces config_namespaces
# One source may hold at most as many sessions as remain for all others, so another one can still open some.
fill sessions 90 429 "of this address.*--registry-max-sessions" sessions
expect "sessions: another source opens one" 200 "$(from=127.0.0.2 && sessions)"
python3 - "$port" >"$work/stream" <<'PY'
import json, socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
s.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
          b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: cairn.v1+json\r\n\r\n")
text = json.dumps({"type": "hello", "client_id": "busy", "session": {"ttl": 60}}).encode()
s.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
data = b""
while b'"code":"quota"' not in data and b'"welcome"' not in data:
    data += s.recv(65536) or b'"welcome"'
print(data[data.index(b"{"):data.rindex(b"}") + 1].decode())
PY
check "sessions: the first source is refused over a WebSocket too" grep -q '"code":"quota".*of this address' "$work/stream"

# --- by etcd's API: its own rule, NOSPACE for what grows; what shrinks, or keeps something alive, works
users() { etcdctl user add "u$1" --new-user-password=p >/dev/null 2>&1 && echo 200; }
expect "users and roles are few bytes: 50 of them raise no alarm" "" "$(for i in $(seq 50); do users "$i" >/dev/null; etcdctl role add "r$i" >/dev/null; done; etcdctl alarm list)"
others_go_on "users, roles"
for i in $(seq 300); do curl -s "$url/v3/lease/grant" -d '{"TTL":600}' >/dev/null; done
expect "leases are few bytes: 300 of them raise no alarm" "" "$(etcdctl alarm list)"
others_go_on leases
# Watches take memory, in a share for each source: the one at 127.0.0.1 fills its own, while 127.0.0.2 still gets what it asks for.
python3 - "$port" >"$work/watches" <<'PY'
import base64, json, socket, sys
body = json.dumps({"create_request": {"key": base64.b64encode(b"w" * 4000).decode()}}).encode()
held = []
def watch(source):  # of a key of 4,000 bytes, on a connection of its own; why it was canceled
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30, (source, 0))
    held.append(s)
    s.sendall(b"POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = b""
    while b"}}" not in answer:
        answer += s.recv(65536) or b"}}"
    return json.loads(answer[answer.index(b"{"):answer.index(b"}}") + 2])["result"].get("cancel_reason")
reason = None
while len(held) < 100 and not reason:
    reason = watch("127.0.0.1")
print(len(held), reason)
print("the other:", watch("127.0.0.2"))
PY
check "watches: canceled ($(head -1 "$work/watches"))" grep -Eq '^2[0-9] etcdserver: too many watches \(--max-watch-bytes\)$' "$work/watches"
expect "watches: of another source" "the other: None" "$(tail -1 "$work/watches")"
freed() { [ "$(curl -s "$url/metrics" | awk '$1 == "cairn_watch_bytes" { print $2 }')" = 0 ]; }
check "watches: their room is free again" within $LIMIT_S freed
others_go_on watches
value=$(head -c 90000 /dev/zero | tr '\0' v | base64 -w0)
for i in $(seq 300); do
    echo '{"key":"'"$(printf 'k%d' "$i" | base64)"'","value":"'"$value"'"}' >"$work/put"
    [ "$(curl -s -o "$work/body" -w '%{http_code}' "$url/v3/kv/put" --data-binary @"$work/put")" = 200 ] || break
done
check "keys by the gateway: NOSPACE at $i" grep -q 'database space exceeded' "$work/body"
expect "the other client's heartbeat works" 200 "$(beat "$session")"
expect "it deregisters" 200 "$(delete "services/web/instances/a?namespace=calm")"
expect "it deletes a configuration's draft" 200 "$(delete "configs/d1.txt/draft?namespace=busy")"
stop_server KILL
finish
