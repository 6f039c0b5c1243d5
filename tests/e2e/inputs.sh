#!/usr/bin/env bash
# Invalid input on the client port: each gets one clear error, and the node continues unaffected.
. "$(dirname "$0")/lib.sh"
port=$(free_port)
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
start_server "$work" "$port" --max-request-bytes 100000 || { cat "$work/log"; exit 1; }
url=http://127.0.0.1:$port
etcdctl put before x >/dev/null

code() { curl -s -m 60 -o "$work/out" -w '%{http_code}' "$@"; }
expect "malformed JSON" 400 "$(code "$url/v3/kv/put" -d '{"key":')"
expect "wrong type" 400 "$(code "$url/v3/kv/put" -d '{"key":{"a":1}}')"
expect "not base64" 400 "$(code "$url/v3/kv/put" -d '{"key":"***"}')"
expect "empty key" '{"code":3,"message":"etcdserver: key is not provided"}' "$(curl -s "$url/v3/kv/put" -d '{}' | jq -c .)"
expect "unknown path" 404 "$(code "$url/v3/kv/nothing" -d '{}')"
expect "wrong method" 405 "$(code -X DELETE "$url/health")"
expect "unknown lease" 404 "$(code "$url/v3/lease/revoke" -d '{"ID":"12345"}')"
expect "future revision" 400 "$(code "$url/v3/kv/range" -d '{"key":"Zm9v","revision":"99999"}')"
head -c 3000000 /dev/zero | tr '\0' 'a' >"$work/big"
expect "huge body" 413 "$(code "$url/v3/kv/put" --data-binary @"$work/big")"
(printf '{"key":"'; head -c 20000 /dev/zero | tr '\0' '['; printf '"}') >"$work/deep"
head -c 100000 /dev/zero | tr '\0' '[' >"$work/nested"
expect "nested beyond measure" 400 "$(code "$url/v3/kv/txn" --data-binary @"$work/nested")"

check "a value over --max-request-bytes is refused with etcd's words" grep -q 'request is too large' \
    <<<"$(etcdctl put big "$(head -c 110000 /dev/zero | tr '\0' v)" 2>&1)"

# Bytes that are no protocol at all; connections that say nothing or stop half-way.
for bytes in 'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n' '\x16\x03\x01\xff\xff' '\x00\x00\x00' 'GET / HTTP/9.9\r\n\r\n' \
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00' 'GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n'; do
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf "$bytes" >&3
    timeout 0.3 cat <&3 >/dev/null 2>&1
    exec 3>&-
done
for _ in $(seq 50); do exec 3<>"/dev/tcp/127.0.0.1/$port"; done
head -c 200000 /dev/urandom | timeout 1 cat >"/dev/tcp/127.0.0.1/$port" 2>/dev/null
check "the node is alive" kill -0 "$server_pid"
expect "and answers" x "$(etcdctl get before --print-value-only)"
expect "revision: nothing of it was written" 2 "$(etcdctl get before -w json | jq .header.revision)"
stop_server
expect "and stops cleanly" 0 "$server_status"
check "no error or panic in its log" bash -c "! grep -qE '\"level\":\"(panic|fatal)\"' $work/log"
finish
