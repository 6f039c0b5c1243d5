#!/usr/bin/env bash
# Three real members; one is away while the others cut their logs, and gets the state as a snapshot: once undisturbed, then killed at
# moments of the transfer and the installation, then its sender killed. In the end all hold the same.
source "$(dirname "$0")/lib.sh"
source tests/e2e/members.sh
flags="--snapshot-catchup-entries 50"

# put_many NUMBER TAG: 3,000 keys of 700 bytes, in 60 entries and then 140 small ones, through that member.
put_many() {
    python3 - "$(client_url "$1")" "$2" <<'PY'
import base64, json, sys, urllib.request
url, tag = sys.argv[1:]
text = lambda s: base64.b64encode(s.encode()).decode()
def call(path, body):
    urllib.request.urlopen(urllib.request.Request(url + path, data=json.dumps(body).encode()), timeout=60).read()
for k in range(60):
    call("/v3/kv/txn", {"success": [{"requestPut": {"key": text("k%d-%d" % (k, i)), "value": text(tag * 100)}} for i in range(50)]})
for k in range(140):
    call("/v3/kv/put", {"key": text("n%d" % k), "value": text(tag)})
PY
}
hash_of() { curl -s -m 60 "$(client_url "$1")/v3/maintenance/hashkv" -d '{}' | sed 's/.*"hash":\([0-9]*\).*/\1/'; }
same() { local a; a=$(hash_of 1) && [ -n "$a" ] && [ "$a" = "$(hash_of 2)" ] && [ "$a" = "$(hash_of 3)" ]; }
clean() { [ -z "$(find "$work"/n? -name 'snapshot-in*')" ]; }
for i in 1 2 3; do start_member $i $flags; done
check "three members serve" serves 3
put_many 1 first
check "a follower is there" test -n "$(leader)"
behind=$((3 - $(leader) / 3)) # never the leader
other=$((6 - behind - $(leader)))

stop_member $behind KILL
put_many "$other" second
start_member $behind $flags
check "the member that was away gets a snapshot" says $behind "installed a snapshot"
check "all hold the same" within 90 same

for ms in 0.1 0.25 0.4 0.7; do
    sleep 10.5 # the leader keeps its log for a while after a member got a snapshot
    stop_member $behind KILL
    put_many "$other" "at$ms"
    start_member $behind $flags
    sleep $ms
    stop_member $behind KILL
    start_member $behind $flags
    check "killed after $ms s, started again: all hold the same" within 90 same
done

sleep 10.5
stop_member $behind KILL
put_many "$other" third
sender=$(leader)
start_member $behind $flags
sleep 0.2
stop_member "$sender" KILL
start_member "$sender" $flags
check "the sender killed on the way: all hold the same" within 90 same
check "nothing is left of snapshots" within 120 clean
for i in 1 2 3; do stop_member $i TERM; done
finish
