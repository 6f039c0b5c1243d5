#!/usr/bin/env bash
# gateway_compare.sh OURS_URL ETCD_URL: sends the same requests to both (each fresh and empty) and prints where the
# answers differ. Compared: status, the headers that mean something, the body. Not compared: ids, terms, sizes and
# tokens (they differ by nature, so numbers in those fields become N), the blanks Go's protojson puts in by chance,
# the order of readyz's lines (a Go map), and the metrics' values.
# Known and wanted differences are marked "wanted" and not counted.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
ours=$1
etcd=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
differences=0
absent=0
count=0

normalize() {
    sed -E -e 's/\r$//; s/\xc2\xa0/ /g' \
        -e '/^(Date|Content-Length|Connection|Keep-Alive|Transfer-Encoding):/d' \
        -e '/^\{/{s/, "/,"/g; s/, \{/,{/g; s/": "/":"/g}' \
        -e 's/"(cluster_id|member_id|memberID|raft_term|ID|leader|dbSize|dbSizeInUse|dbSizeQuota|raftIndex|raftAppliedIndex|raftTerm|hash|lease)":"?[0-9]+"?/"\1":N/g' \
        -e 's/"token":"[^"]*"/"token":T/g; s#"(peerURLs|clientURLs)":\[[^]]*\]#"\1":URLS#g' \
        -e 's/; escaping=underscores//' \
        -e 's#127\.0\.0\.1:[0-9]+#HOST#g' |
        awk 'head == 0 && /^HTTP/ { head = 1; print; next }
             head == 1 && /^$/ { # header lines in alphabetical order
                 for (i = 2; i <= k; i++)
                     for (j = i; j > 1 && h[j - 1] > h[j]; j--) { t = h[j]; h[j] = h[j - 1]; h[j - 1] = t }
                 for (i = 1; i <= k; i++) print h[i]
                 head = 2; print ""; next
             }
             head == 1 { h[++k] = tolower($0); next }
             { print }'
}

ask() { # url, curl arguments with URL in place of the server
    local url=$1
    shift
    timeout 70 curl -s -i --max-time 60 "${@/URL/$url}" 2>&1 | tr -d '\000' | normalize
}

same() { # [wanted] name, curl arguments
    local wanted=
    [ "$1" = wanted ] && { wanted=1; shift; }
    local name=$1
    shift
    count=$((count + 1))
    ask "$ours" "$@" >"$work/ours"
    ask "$etcd" "$@" >"$work/etcd"
    if [ -n "${SORTED:-}" ]; then
        sort -o "$work/ours" "$work/ours"
        sort -o "$work/etcd" "$work/etcd"
    fi
    cmp -s "$work/ours" "$work/etcd" && return
    if [ -n "$wanted" ]; then
        echo "--- $name: differs, as wanted"
        return
    fi
    if [ -z "${STRICT:-}" ] && grep -q '"message":"method [A-Za-z]* not implemented"' "$work/ours"; then
        absent=$((absent + 1)) # STRICT=1 counts it as a difference
        echo "--- $name: absent"
        return
    fi
    differences=$((differences + 1))
    echo "--- $name (< ours, > etcd): ${*}"
    diff "$work/ours" "$work/etcd"
}

post() { # name path body
    same "$1" "URL$2" -d "$3"
}

same version URL/version
same "version by PUT" -X PUT URL/version
same health URL/health
same "health of this member" "URL/health?serializable=true"
same "health, unknown parameter" "URL/health?nope=1"
same "version, unknown parameter" "URL/version?nope=1"
same "health, excluded alarm" "URL/health?exclude=NOSPACE"
same "health by POST" -X POST URL/health
same "health by HEAD" -I URL/health
same livez URL/livez
same "livez verbose" "URL/livez?verbose"
same "livez, one check" "URL/livez/serializable_read?verbose=1"
same "livez, no such check" URL/livez/nope
same "livez by POST" -X POST URL/livez
same readyz URL/readyz
SORTED=1 same "readyz verbose" "URL/readyz?verbose"
SORTED=1 same "readyz, excluded" "URL/readyz?verbose&exclude=linearizable_read&exclude=non_learner"
for check in data_corruption serializable_read linearizable_read non_learner; do
    same "readyz $check" "URL/readyz/$check?verbose"
done
same "metrics by HEAD" -I URL/metrics
same "not found" URL/nope
same "root" URL/
same options -X OPTIONS URL/v3/kv/range -H "Origin: http://example.com"
same wanted "a path with two slashes" URL//version

post "put" /v3/kv/put '{"key":"Zm9v","value":"YmFy"}'
post "put, previous" /v3/kv/put '{"key":"Zm9v","value":"YmF6","prev_kv":true}'
post "put, lowerCamel" /v3/kv/put '{"key":"Zm9v","value":"YmF6","prevKv":true}'
post "put, no key" /v3/kv/put '{}'
post "put, no body" /v3/kv/put ''
post "put, no such lease" /v3/kv/put '{"key":"Zm9v","lease":"77"}'
post "put, ignore_value with a value" /v3/kv/put '{"key":"Zm9v","value":"YQ==","ignore_value":true}'
post "put, null and unknown fields" /v3/kv/put '{"key":"Zm9v","value":null,"unknown":{"a":[1,2]}}'
post "put, URL alphabet without padding" /v3/kv/put '{"key":"-_8","value":"-_8"}'
post "range" /v3/kv/range '{"key":"Zm9v"}'
post "range, prefix" /v3/kv/range '{"key":"AA==","range_end":"AA==","keys_only":true}'
post "range, numbers as they come" /v3/kv/range '{"key":"Zm9v","limit":1e0,"revision":"2"}'
post "range, enum by number and name" /v3/kv/range '{"key":"AA==","range_end":"AA==","sort_order":2,"sort_target":"MOD"}'
post "range, a query parameter" '/v3/kv/range?key=Yg%3D%3D&nope=1' '{"key":"Zm9v"}'
post "range, unknown enum name" /v3/kv/range '{"key":"Zm9v","sort_order":"SIDEWAYS"}'
post "range, future revision" /v3/kv/range '{"key":"Zm9v","revision":1000000}'
post "range, count only" /v3/kv/range '{"key":"AA==","range_end":"AA==","count_only":true}'
post "range, what follows is ignored" /v3/kv/range '{"key":"Zm9v"} {"key":'
post "v3beta" /v3beta/kv/range '{"key":"Zm9v"}'
post "wrong type" /v3/kv/range '{"key":1}'
post "wrong integer" /v3/kv/range '{"key":"Zm9v","limit":1.5}'
post "integer out of range" /v3/kv/range '{"key":"Zm9v","limit":"9223372036854775808"}'
post "duplicate field" /v3/kv/range '{"key":"Zm9v","key":"Zm9v"}'
post "broken off" /v3/kv/range '{"key":"Zm9v"'
same wanted "not JSON (their text names a byte, ours line and column)" URL/v3/kv/range -d 'value=1'
same "range by GET" URL/v3/kv/range
same "range by PUT" -X PUT URL/v3/kv/range -d '{}'
post "no such method" /v3/kv/nope '{}'
post "txn" /v3/kv/txn '{"compare":[{"key":"Zm9v","target":"VERSION","version":"0","result":"GREATER"}],"success":[{"request_range":{"key":"Zm9v"}},{"request_put":{"key":"YmFy","value":"MQ=="}}],"failure":[]}'
post "txn, compare value, else" /v3/kv/txn '{"compare":[{"key":"Zm9v","target":"VALUE","value":"bm8="}],"failure":[{"request_delete_range":{"key":"YmFy","prev_kv":true}}]}'
post "txn, empty" /v3/kv/txn '{}'
post "txn, duplicate key" /v3/kv/txn '{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}'
post "deleterange" /v3/kv/deleterange '{"key":"Zm9v","prev_kv":true}'
post "deleterange, nothing there" /v3/kv/deleterange '{"key":"Zm9v"}'
post "compaction" /v3/kv/compaction '{"revision":"3"}'
post "compaction again" /v3/kv/compaction '{"revision":"3"}'
post "range, compacted" /v3/kv/range '{"key":"Zm9v","revision":2}'

post "lease grant" /v3/lease/grant '{"ID":"1234","TTL":"100"}'
post "lease grant, there already" /v3/lease/grant '{"ID":"1234","TTL":"100"}'
post "lease grant, too long" /v3/lease/grant '{"ID":"1235","TTL":"9000000001"}'
post "put with the lease" /v3/kv/put '{"key":"bGVhc2Vk","lease":"1234"}'
post "lease timetolive" /v3/lease/timetolive '{"ID":"999","keys":true}'
post "lease keepalive" /v3/lease/keepalive '{"ID":"1234"}'
post "lease keepalive, two" /v3/lease/keepalive '{"ID":"1234"}{"ID":"5"}'
post "lease leases" /v3/lease/leases '{}'
post "lease leases, alias" /v3/kv/lease/leases '{}'
post "lease revoke" /v3/lease/revoke '{"ID":"1234"}'
post "lease revoke, gone" /v3/kv/lease/revoke '{"ID":"1234"}'

post "member list" /v3/cluster/member/list '{}'
post "status" /v3/maintenance/status '{}'
post "alarm" /v3/maintenance/alarm '{}'
post "defragment" /v3/maintenance/defragment '{}'
post "hash" /v3/maintenance/hash '{}'
post "move leader to nobody" /v3/maintenance/transfer-leadership '{}'
post "downgrade, no version" /v3/maintenance/downgrade '{}'
post "downgrade, one minor version: possible" /v3/maintenance/downgrade '{"action":"VALIDATE","version":"3.6"}'
post "downgrade, with a patch version" /v3/maintenance/downgrade '{"action":"VALIDATE","version":"3.6.11"}'
post "downgrade, two minor versions" /v3/maintenance/downgrade '{"action":"ENABLE","version":"3.5"}'
post "downgrade, nothing to cancel" /v3/maintenance/downgrade '{"action":"CANCEL"}'
post "downgrade, with a v" /v3/maintenance/downgrade '{"action":"VALIDATE","version":"v3.6.0"}'
post "downgrade, to its own version" /v3/maintenance/downgrade '{"action":"ENABLE","version":"3.7"}'
post "downgrade, no such action" /v3/maintenance/downgrade '{"action":7}'

post "lease for locks" /v3/lease/grant '{"ID":"51","TTL":"1000"}'
post "lock" /v3/lock/lock '{"name":"bA==","lease":"51"}'
post "lock, held already" /v3/lock/lock '{"name":"bA==","lease":51}'
post "lock, no such lease" /v3/lock/lock '{"name":"bA==","lease":"99"}'
post "lock, no name" /v3/lock/lock '{"lease":"51"}'
post "unlock" /v3/lock/unlock '{"key":"bC8zMw=="}'
post "unlock, no key" /v3/lock/unlock '{}'
post "leader of nobody" /v3/election/leader '{"name":"ZQ=="}'
post "campaign" /v3/election/campaign '{"name":"ZQ==","lease":"51","value":"bWU="}'
post "campaign again" /v3/election/campaign '{"name":"ZQ==","lease":"51","value":"bWUy"}'
post "leader" /v3/election/leader '{"name":"ZQ=="}'
post "proclaim, not the leader" /v3/election/proclaim '{"leader":{"name":"ZQ==","key":"ZS8zMw==","rev":"1","lease":"51"},"value":"eA=="}'
post "proclaim, no leader" /v3/election/proclaim '{"value":"eA=="}'
post "resign, not the leader" /v3/election/resign '{"leader":{"key":"ZS8zMw==","rev":"1","lease":"51"}}'
post "resign, no leader" /v3/election/resign '{}'

post "auth status" /v3/auth/status '{}'
post "auth enable without root" /v3/auth/enable '{}'
post "user add, no name" /v3/auth/user/add '{}'
post "user add" /v3/auth/user/add '{"name":"alice","password":"secret"}'
post "user add, there already" /v3/auth/user/add '{"name":"alice","password":"secret"}'
post "user get" /v3/auth/user/get '{"name":"alice"}'
post "user get, unknown" /v3/auth/user/get '{"name":"bob"}'
post "role add" /v3/auth/role/add '{"name":"reader"}'
post "role grant" /v3/auth/role/grant '{"name":"reader","perm":{"permType":"READWRITE","key":"Zm9v","range_end":"Zm9w"}}'
post "role get" /v3/auth/role/get '{"role":"reader"}'
post "user list" /v3/auth/user/list '{}'
post "authenticate without auth" /v3/auth/authenticate '{"name":"alice","password":"secret"}'

two_lines() { # url, stream's path, its request, put's request: the stream's first line, and the one after the put
    local pid
    curl -s -N --max-time 120 "$1$2" -d "$3" >"$work/watch" &
    pid=$!
    lines_are 1
    curl -s --max-time 60 "$1/v3/kv/put" -d "$4" >/dev/null
    lines_are 2
    { kill $pid && wait $pid; } 2>/dev/null
    head -2 "$work/watch" | normalize
}
lines_are() { # COUNT: so many have come, in time
    local end=$((SECONDS + 60))
    until [ "$(wc -l <"$work/watch")" -ge "$1" ] || [ $SECONDS -gt $end ]; do sleep 0.05; done
}
same_lines() { # name, what two_lines takes behind the url
    count=$((count + 1))
    two_lines "$ours" "${@:2}" >"$work/ours"
    two_lines "$etcd" "${@:2}" >"$work/etcd"
    cmp -s "$work/ours" "$work/etcd" || { differences=$((differences + 1)); echo "--- $1"; diff "$work/ours" "$work/etcd"; }
}
same_lines "watch" /v3/watch '{"create_request":{"key":"d2F0Y2hlZA=="}}' '{"key":"d2F0Y2hlZA==","value":"MQ=="}'
same_lines "observe" /v3/election/observe '{"name":"ZQ=="}' '{"key":"ZS8zMw==","value":"bWUz","lease":"51"}'

echo "gateway: $count requests, $differences differences, $absent to methods that are absent"
[ $differences = 0 ]
