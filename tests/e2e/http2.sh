#!/usr/bin/env bash
# Every HTTP surface over HTTP/2, over TLS and in cleartext: the same answers as over HTTP/1.1, calls of gRPC beside them on one
# connection, large answers to slow readers, large bodies, streams, the end of the server.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=server \
    -addext subjectAltName=IP:127.0.0.1 2>openssl.log
check "the certificate is made" test -s tls.crt
port=$(free_base 6)
plain=http://127.0.0.1:$port secure=https://127.0.0.1:$((port + 1)) metrics=https://127.0.0.1:$((port + 2))
start() { # DIR [FLAGS]
    mkdir -p "$1" && : >"$1/log"
    "$CAIRND" --name default --data-dir "$1/data" --listen-client-urls "$plain,$secure" --advertise-client-urls "$plain" \
        --listen-metrics-urls "$metrics,http://127.0.0.1:$((port + 3))" --listen-peer-urls "http://127.0.0.1:$((port + 4))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 4))" --initial-cluster "default=http://127.0.0.1:$((port + 4))" \
        --cert-file tls.crt --key-file tls.key "${@:2}" >>"$1/log" 2>&1 &
    server_pid=$!
    within $LIMIT_S has "$1/log" 'ready to serve client requests' || fails "$1 does not start"
}
ask() { curl -s -m 60 --cacert tls.crt "$@"; }
h2=(--http2-prior-knowledge)
put() { printf '{"key":"%s","value":"%s"}' "$(printf %s "$1" | base64 -w0)" "$(base64 -w0)"; }

start one
# --- the same answers ------------------------------------------------------------------------------------------------------------
# answer ARGUMENTS of curl: status, fields and body, without what differs between versions or moments.
answer() {
    ask -D head -o body "$@" -w '%{http_code}\n' || echo "curl: $?"
    sed 's/\r$//; 1d' head | tr '[:upper:]' '[:lower:]' | grep -vE '^(date|connection|keep-alive|transfer-encoding):|^$' | sort
    [ "${*: -1}" = -I ] || sha256sum <body # of a HEAD curl writes the fields there
}
compared=0
same() { # NAME PATH [ARGUMENTS]
    local url other
    for url in "$plain" "$secure"; do
        other=$(answer "${h2[@]}" "$url$2" "${@:3}")
        expect "$1, ${url%%:*}" "$(answer --http1.1 "$url$2" "${@:3}")" "$other"
        compared=$((compared + 1))
    done
}
echo value | put some | ask "$plain/v3/kv/put" -d @- >first
etcdctl --endpoints "$plain" put /cairn/registry/instances/default/default/web/w1 '{"host":"10.0.0.5","port":8080}' >instance
ask -X PUT "$plain/api/v1/configs/app.txt" --data-binary 'a = b' >config
same "version" /version
same "health" /health
same "health by HEAD" /health -I
same "livez" '/livez?verbose'
same "a part of readyz, without another" '/readyz?verbose&exclude=non_learner'
same "a range" /v3/kv/range -d '{"key":"c29tZQ=="}'
same "a range with a body in two fields of a type" /v3/kv/range -H 'Content-Type: text/plain' -d '{"key":"c29tZQ==","serializable":true}'
same "no body" /v3/kv/range -X POST
same "JSON that is none" /v3/kv/range -d '{"key":'
same "a field that is none" /v3/kv/range -d '{"nothing":1}'
same "a method that is none" /v3/kv/nothing -d '{}'
same "GET of a gateway method" /v3/kv/range
same "no such page" /nothing
same "a gRPC path without gRPC" /etcdserverpb.KV/Range -d x
same "another method" /version -X DELETE
same "a method nobody knows" /version -X BREW
same "preflight of etcd's" /v3/kv/range -X OPTIONS -H 'Origin: http://other.example'
same "preflight of ours" /api/v1/services -X OPTIONS -H 'Origin: http://other.example'
same "a page of another origin writes" /api/v1/services/web/instances -X POST -H 'Origin: http://other.example' -d '{}'
same "a browser with a strange name" /api/v1/services -H 'Host: attacker.example' -H 'User-Agent: Mozilla/5.0' -H 'Sec-Fetch-Site: none'
same "services" /api/v1/services
same "instances" /api/v1/services/web
same "an escaped path" /api/v1/configs/app%2Etxt
same "a configuration" /api/v1/configs/app.txt
same "a type that needs no preflight" /api/v1/configs/app.txt -X POST -H 'Content-Type: text/plain' -H "Origin: $plain" -d x
same "openapi" /openapi.json
same "the console" /ui/
same "the console as gzip" /ui/ -H 'Accept-Encoding: gzip'
same "a console file as gzip" /ui/app.js -H 'Accept-Encoding: gzip, br'
same "the console by HEAD" /ui/ -I
etag=$(ask -D - -o body "$plain/ui/" | sed -n 's/^ETag: *//Ip' | tr -d '\r')
same "a console file that has not changed" /ui/ -H "If-None-Match: ${etag:-none}"
same "a target that is malformed" /%zz
same "cookies in pieces" /version -H 'Cookie: a=1' -H 'Cookie: b=2'
head -c 3000000 /dev/zero | tr '\0' x >large
same "a body over the limit" /v3/kv/put --data-binary @large
same "a head over the limit" /version -H "X-Long: $(head -c 20000 /dev/zero | tr '\0' x)"
expect "all were compared" 70 $compared
# The answer comes while the client sends: no client may take it for an error of the stream.
for _ in $(seq 100); do
    ask "${h2[@]}" -o body -w '%{http_code}\n' "$plain/v3/kv/put" --data-binary @large || echo "curl: $?"
done | sort | uniq -c | sed 's/^ *//' >answers
expect "each client of 100 gets the answer to a body over the limit" "100 413" "$(cat answers)"
expect "metrics over h2" "2 200" "$(ask --http2 -o body -w '%{http_version} %{http_code}' "$metrics/metrics")"
check "with their type" has body '^# TYPE etcd_server_has_leader gauge'
expect "no other page there" "2 404" "$(ask --http2 -o body -w '%{http_version} %{http_code}' "$metrics/version")"
expect "h2 is given before http/1.1" 2 "$(ask --http2 -o body -w '%{http_version}' "$secure/version")"
expect "http/1.1 alone" 1.1 "$(ask --http1.1 -o body -w '%{http_version}' "$secure/version")"

# --- calls beside ------------------------------------------------------------------------------------------------------------------
expect "a call over TLS" OK "$(etcdctl --cacert tls.crt --endpoints "$secure" put call x 2>&1)"
expect "a call in cleartext" OK "$(etcdctl --endpoints "$plain" put call y 2>&1)"
if command -v h2load >h2load.path; then
    printf '\0\0\0\0\06\012\01a\022\01b' >message
    # Without options it offers h2 and http/1.1.
    h2load -n 300 -c 3 -m 10 -d message -H 'content-type: application/grpc' -H 'te: trailers' "$secure/etcdserverpb.KV/Put" >h2load.log 2>&1
    check "calls by a client that offers both versions" has h2load.log '300 succeeded, 0 failed'
    printf '{"key":"YQ==","value":"Yg=="}' >message
    h2load -n 300 -c 3 -m 10 -d message "$secure/v3/kv/put" >h2load.log 2>&1
    check "the gateway by many streams" has h2load.log 'status codes: 300 2xx'
    h2load -n 200 -c 1 -m 100 "$plain/metrics" >h2load.log 2>&1
    check "large answers to many streams" has h2load.log 'status codes: 200 2xx'
else
    echo "  skip h2load is not installed"
fi
expect "one connection, several requests" "200 200 404 0" \
    "$(ask --http2 -o a -o b -o c "$secure/version" "$secure/health" "$secure/nothing" -w '%{http_code} ' && echo $?)"

# --- large, slow -------------------------------------------------------------------------------------------------------------------
for i in 1 2 3 4 5 6 7 8; do
    head -c 1000000 /dev/urandom | put "large$i" >request
    expect "a large body $i" 200 "$(ask "${h2[@]}" "$plain/v3/kv/put" --data-binary @request -o body -w '%{http_code}')"
done
range=$(printf '{"key":"%s","range_end":"%s","serializable":true}' "$(printf large | base64)" "$(printf largf | base64)")
wanted=$(ask --http1.1 "$plain/v3/kv/range" -d "$range" | sha256sum)
expect "a large answer" "$wanted" "$(ask "${h2[@]}" "$plain/v3/kv/range" -d "$range" | sha256sum)"
expect "a large answer to a slow reader" "$wanted" "$(ask "${h2[@]}" --limit-rate 4M "$plain/v3/kv/range" -d "$range" | sha256sum)"
expect "the same over TLS" "$wanted" "$(ask --http2 --limit-rate 8M "$secure/v3/kv/range" -d "$range" | sha256sum)"
head -c 700000 /dev/urandom | base64 >config.txt
expect "a large configuration" 2 "$(ask --http2 -X PUT "$secure/api/v1/configs/large.txt" --data-binary @config.txt -o body -w '%{http_code}' | cut -c1)"
expect "comes back" "$(sha256sum <config.txt)" "$(ask --http2 "$secure/api/v1/configs/large.txt" | sha256sum)"

# --- streams -----------------------------------------------------------------------------------------------------------------------
hear events 1 '"id":"w1"' curl -sN --cacert tls.crt --http2 "$secure/api/v1/stream?kind=service&name=web"
check "an event stream" has events '"id":"w1"'
check "is one" has events '^event: '
hear lines 1 '"created":true' curl -sN "${h2[@]}" "$plain/v3/watch" -d '{"create_request":{"key":"d2F0Y2hlZA=="}}'
check "a watch of the gateway" has lines '"created":true'
curl -sN "${h2[@]}" "$plain/v3/watch" -d '{"create_request":{"key":"d2F0Y2hlZA=="}}' >lines &
watcher=$!
within $LIMIT_S has lines '"created":true'
echo x | put watched | ask "${h2[@]}" "$plain/v3/kv/put" -d @- >body
check "hears of a change" within $LIMIT_S has lines '"events"'
curl -sN --cacert tls.crt --http2 "$secure/api/v1/stream?kind=service&name=web" >events &
reader=$!
within $LIMIT_S has events '"id":"w1"'
stop_server
expect "streams do not keep the server" 0 "$server_status"
wait $watcher $reader
check "the server's log has no fault" grep -qvE '"level":"(error|panic|fatal)"' one/log
finish
