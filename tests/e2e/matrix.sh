#!/usr/bin/env bash
# matrix.sh [all]: tries every cell of the table of permissions on a real server, over plain sockets; with "all" over TLS and mutual TLS
# too. ACCESS is the program that prints the table. The peer port: without a token, with one, and with --require-peer-proof.
. "$(dirname "$0")/lib.sh"
ACCESS=$(realpath "${ACCESS:-$TOOLS/access}")
port=$(free_base)
flags=(--bcrypt-cost 4 --listen-dns "127.0.0.1:$((port + 2))" --listen-metrics-urls "http://127.0.0.1:$((port + 4))")

openssl_quietly() { openssl "$@" 2>>"$work/openssl.log"; }
authority() { # NAME
    openssl_quietly req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" -keyout "$work/$1.key" \
        -out "$work/$1.crt"
}
certificate() { # NAME SUBJECT: signed by ca
    openssl_quietly req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$work/$1.key" -out "$work/$1.csr" &&
        openssl_quietly x509 -req -in "$work/$1.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
            -extfile <(echo subjectAltName=IP:127.0.0.1) -out "$work/$1.crt"
}
member_call() { curl -s -m $LIMIT_S "http://127.0.0.1:$port/v3/cluster/member/$1" -d "$2"; }
# A new cluster begins at level 0 and raises it in its first turns; a member that was added and announced nothing holds it where it is.
level_last=$(grep -c '^FEATURE(' consensus/feature.def)
has_last_level() { curl -s -m $LIMIT_S "http://127.0.0.1:$port/metrics" | grep -qx "cairn_feature_level $level_last"; }
# peer_port POLICY [flags]: a member, a learner that was added and never started, and one that was removed.
peer_port() {
    local policy=$1 added removed dir
    shift
    dir=$work/peer-$#
    start_server "$dir" "$port" "$@" || fails "the server does not start"
    within $LIMIT_S has_last_level || fails "the cluster does not raise its feature level"
    removed=$(member_call add "{\"peerURLs\":[\"http://127.0.0.1:$((port + 7))\"],\"isLearner\":true}" | jq -r .member.ID)
    member_call remove "{\"ID\":\"$removed\"}" >"$dir/removed.json"
    added=$(member_call add "{\"peerURLs\":[\"http://127.0.0.1:$((port + 6))\"],\"isLearner\":true}" | jq -r .member.ID)
    member_call list '{}' | jq --arg policy "$policy" --arg added "$added" --arg removed "$removed" \
        --arg token "$(cat "$work/token")" --arg url "http://127.0.0.1:$((port + 6))" --argjson port "$port" --argjson level "$level_last" \
        '{policy: $policy, peer: ($port + 1), client: $port, added: $added, removed: $removed, added_url: $url, token: $token, level: $level,
          cluster: (.header.cluster_id | tostring), self: (.header.member_id | tostring)}
         | if $policy == "no token" then del(.token) else . end' >"$dir/server.json"
    check "the peer port, $policy" python3 -B tests/access/peer.py "$ACCESS" "$dir/server.json"
    stop_server TERM
}
peer_ports() {
    openssl rand -hex 32 >"$work/token"
    peer_port "no token"
    peer_port "a token" --join-token-file "$work/token"
    [ "${1:-}" != all ] || peer_port --require-peer-proof --require-peer-proof --join-token-file "$work/token"
}
# The servers' ports, and where the certificates lie, for matrix.py.
if [ "${1:-}" = all ]; then
    authority ca
    for name in server root granted user; do certificate $name "/CN=$name"; done
    certificate none "/O=none"
    start_server "$work/tls" "$port" "${flags[@]}" --cert-file "$work/server.crt" --key-file "$work/server.key" \
        --listen-client-urls "http://127.0.0.1:$port,https://127.0.0.1:$((port + 3))" || fails "the server does not start"
    python3 -c 'import json, sys; w, p = sys.argv[1], int(sys.argv[2]); print(json.dumps({"plain": p, "peer": p + 1, "dns": p + 2, "metrics": p + 4, "tls": p + 3, "ca": w + "/ca.crt"}))' \
        "$work" "$port" >"$work/server.json"
    check "every cell, plain and TLS" python3 -B tests/access/matrix.py "$ACCESS" "$work/server.json"
    stop_server TERM
    start_server "$work/mutual" "$port" "${flags[@]}" --cert-file "$work/server.crt" --key-file "$work/server.key" \
        --client-cert-auth --trusted-ca-file "$work/ca.crt" \
        --listen-client-urls "http://127.0.0.1:$port,https://127.0.0.1:$((port + 3))" || fails "the server does not start"
    python3 -c 'import json, sys
w, p = sys.argv[1], int(sys.argv[2])
certificates = {n: (f"{w}/{n}.crt", f"{w}/{n}.key") for n in ("root", "granted", "user", "none")}
print(json.dumps({"plain": p, "peer": p + 1, "dns": p + 2, "metrics": p + 4, "mutual": p + 3, "ca": w + "/ca.crt", "certificates": certificates}))' \
        "$work" "$port" >"$work/server.json"
    check "every cell, mutual TLS" python3 -B tests/access/matrix.py "$ACCESS" "$work/server.json"
else
    start_server "$work/plain" "$port" "${flags[@]}" || fails "the server does not start"
    echo "{\"plain\": $port, \"peer\": $((port + 1)), \"dns\": $((port + 2)), \"metrics\": $((port + 4))}" >"$work/server.json"
    check "every cell" python3 -B tests/access/matrix.py "$ACCESS" "$work/server.json"
fi
stop_server TERM
peer_ports "$@"
finish
