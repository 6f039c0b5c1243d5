#!/usr/bin/env bash
# A cluster that is found: by SRV records of a DNS server of our own, in a network and mount namespace, and by the keys of
# another cluster. ETCD=<a real etcd 3.7>: its members discover beside ours with the same records and tokens.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
records=$work/records

# --- DNS: everything below runs in its own namespaces ---------------------------------------------------------------
if [ -z "${IN_NAMESPACE:-}" ] && unshare -rmn true 2>/dev/null; then
    CAIRND=$CAIRND IN_NAMESPACE=1 unshare -rmn tests/e2e/discovery.sh
    failures=$?
    finish
fi
dns=""
if [ -n "${IN_NAMESPACE:-}" ]; then
    ip link set lo up 2>/dev/null || ifconfig lo up
    echo 'nameserver 127.0.0.1' >"$work/resolv.conf"
    printf 'options timeout:1 attempts:1\n' >>"$work/resolv.conf"
    if mount --bind "$work/resolv.conf" "$(realpath /etc/resolv.conf)"; then
        : >"$records"
        python3 tests/e2e/dns_srv.py "$records" >"$work/dns.log" 2>&1 &
        dns=$!
        within 10 has "$work/dns.log" ready || dns=""
    fi
fi
end_more() {
    local i
    for i in "${!member_pids[@]}"; do kill -KILL "${member_pids[$i]}"; done
    for i in "${!member_pids[@]}"; do wait "${member_pids[$i]}"; done
    [ -z "$dns" ] || kill "$dns"
}
port_of() { echo $((base + 10 * $1 + 1)); }
# found_member NUMBER PROGRAM [flags]: as start_member, but without --initial-cluster.
found_member() {
    local i=$1 program=$2
    shift 2
    "$program" --name "n$i" --data-dir "$work/n$i" --listen-client-urls "$(client_url "$i")" \
        --advertise-client-urls "$(client_url "$i")" --listen-peer-urls "$(peer_url "$i")" \
        --initial-advertise-peer-urls "$(peer_url "$i")" --heartbeat-interval 50 --election-timeout 500 \
        "$@" >>"$work/n$i.log" 2>&1 &
    member_pids[$i]=$!
}
names() { ctl_on "$1" member list | cut -d, -f3 | sort | tr -d '\n'; }
has_names() { [ "$(names "$1")" = "$2" ]; }
fresh() {
    local i
    for i in "${!member_pids[@]}"; do stop_member "$i" TERM; done
    rm -rf "$work"/n[0-9]*
}
one_way() { # LABEL PROGRAM FLAGS...: three members find each other
    local label=$1 program=$2 i
    shift 2
    for i in 1 2 3; do found_member $i "$program" "$@"; done
    for i in 1 2 3; do check "$label: n$i serves" serves $i; done
    check "$label: they have their names" within $LIMIT_S has_names 1 ' n1 n2 n3'
    expect "$label: a write" OK "$(ctl_on 2 put found "$label")"
    expect "$label: is read on another member" "$label" "$(ctl_on 3 get found --print-value-only)"
}

if [ -n "$dns" ]; then
    for i in 1 2 3; do echo "_etcd-server._tcp.cairn.test SRV 0 0 $(port_of $i) m$i.cairn.test" >>"$records"; done
    for i in 1 2 3; do echo "m$i.cairn.test A 127.0.0.1" >>"$records"; done
    one_way "SRV" "$CAIRND" --discovery-srv cairn.test
    expect "SRV: the peer URLs are those of DNS" 3 "$(ctl_on 1 member list | grep -c "http://m[123].cairn.test:")"
    stop_member 2 TERM
    sed -i '/SRV/d' "$records"
    found_member 2 "$CAIRND" --discovery-srv cairn.test
    check "SRV: a member with data needs no DNS" serves 2
    check "SRV: and says so" has "$work/n2.log" 'discovery token is ignored since cluster already initialized'
    fresh
    refused_with() { # NAME TEXT FLAGS...
        local name=$1 text=$2
        shift 2
        found_member 1 "$CAIRND" "$@"
        ended 1
        expect "$name: exit code" 1 "$member_status"
        check "$name: the sentence" grep -q -- "$text" "$work/n1.log.last"
        rm -rf "$work/n1"
    }
    refused_with "no records" 'error querying DNS SRV records for _etcd-server-ssl lookup _etcd-server-ssl._tcp.cairn.test: no such host; error querying DNS SRV records for _etcd-server lookup' \
        --discovery-srv cairn.test
    echo "_etcd-server._tcp.cairn.test SRV 0 0 $(port_of 2) m2.cairn.test" >"$records"
    echo "m2.cairn.test A 127.0.0.1" >>"$records"
    refused_with "not this member" 'cannot find local etcd member \\"n1\\" in SRV records' --discovery-srv cairn.test
    echo "_etcd-server-ssl._tcp.cairn.test SRV 0 0 $(port_of 1) m2.cairn.test" >>"$records"
    refused_with "another scheme" 'has scheme mismatch with expected peer' --discovery-srv cairn.test
    for i in 1 2 3; do echo "_etcd-server-blue._tcp.cairn.test SRV 0 0 $(port_of $i) m2.cairn.test" >>"$records"; done
    one_way "SRV with a name" "$CAIRND" --discovery-srv cairn.test --discovery-srv-name blue
    echo "_etcd-client._tcp.cairn.test SRV 0 0 $((base + 10)) m2.cairn.test" >>"$records"
    expect "a client finds its endpoint" found "$("$(dirname "$CAIRND")/cairnctl" --discovery-srv cairn.test get found --keys-only | head -1)"
    fresh
    if [ -n "${ETCD:-}" ]; then
        for i in 1 2 3; do found_member $i "$ETCD" --discovery-srv cairn.test --discovery-srv-name blue; done
        for i in 1 2 3; do check "etcd with these records: n$i serves" serves $i; done
        fresh
    fi
else
    echo "  skip SRV records: no namespace with its own resolver can be made here"
fi

# --- the discovery service: keys of another cluster -----------------------------------------------------------------
service_way() { # LABEL NAME PROGRAM: n9 keeps the tokens
    local label=$1 token=e2e
    ctl_on 9 del --prefix /_etcd/registry/ >/dev/null
    ctl_on 9 put "/_etcd/registry/$token/_config/size" 3 >/dev/null
    found_member 1 "$3" --discovery-token "$token" --discovery-endpoints "$(client_url 9)"
    found_member 2 "$3" --discovery-token "$token" --discovery-endpoints "$(endpoint 9)"
    registered() { [ "$(ctl_on 9 get --prefix "/_etcd/registry/$token/members" --keys-only | grep -c registry)" = "$1" ]; }
    check "$label: two have registered" within $LIMIT_S registered 2
    check "$label: and wait" within $LIMIT_S has "$work/n1.log" 'waiting for peers from discovery service'
    found_member 3 "$3" --discovery-token "$token" --discovery-endpoints "$(client_url 9)"
    for i in 1 2 3; do check "$label: n$i serves" serves $i; done
    check "$label: they have their names" within $LIMIT_S has_names 1 ' n1 n2 n3'
    found_member 4 "$3" --discovery-token "$token" --discovery-endpoints "$(client_url 9)"
    ended 4
    expect "$label: a fourth is refused" 1 "$member_status"
    check "$label: with etcd's sentence" has "$work/n4.log.last" 'discovery: cluster is full'
    ctl_on 9 get --prefix "/_etcd/registry/$token/" >"$work/rows.$2"
    for i in 1 2 3; do stop_member $i TERM; done
    rm -rf "$work"/n[1234]
}
cluster="n9=$(peer_url 9)"
start_member 9
check "the cluster with the tokens serves" serves 9
service_way "tokens" ours "$CAIRND"
if [ -n "${ETCD:-}" ]; then
    service_way "tokens, etcd's members" etcd "$ETCD"
    check "the keys are those of etcd's members" cmp "$work/rows.ours" "$work/rows.etcd"
fi
found_member 1 "$CAIRND" --discovery-token none --discovery-endpoints "$(client_url 9)"
ended 1
expect "a token without a size: exit code" 1 "$member_status"
check "and the sentence" has "$work/n1.log.last" 'failed to join discovery cluster (discovery: size key not found)'
ctl_on 9 put /_etcd/registry/bad/_config/size many >/dev/null
found_member 1 "$CAIRND" --discovery-token bad --discovery-endpoints "$(client_url 9)"
ended 1
check "a size that is no number" has "$work/n1.log.last" 'discovery: size key is bad'
found_member 1 "$CAIRND" --discovery-token x --discovery-endpoints "$(client_url 8)" --discovery-dial-timeout 200ms --discovery-request-timeout 500ms \
    --discovery-keepalive-time 1s --discovery-keepalive-timeout 2s
check "no service: it tries again" within $LIMIT_S has "$work/n1.log" 'retry connecting to discovery service'
stop_member 1 TERM
expect "and SIGTERM ends it at once" 0 "$member_status"
rm -rf "$work/n1"

# With users and TLS.
ctl_on 9 user add root:pw >/dev/null && ctl_on 9 user grant-role root root >/dev/null && ctl_on 9 auth enable >/dev/null
etcdctl --endpoints "$(endpoint 9)" --user root:pw put /_etcd/registry/auth/_config/size 1 >/dev/null
found_member 1 "$CAIRND" --discovery-token auth --discovery-endpoints "$(client_url 9)" --discovery-user root:pw
check "with a user and its password" serves 1
stop_member 1 TERM
rm -rf "$work/n1"
found_member 1 "$CAIRND" --discovery-token auth --discovery-endpoints "$(client_url 9)" --discovery-user root --discovery-password pw
check "with the password apart" serves 1
stop_member 1 TERM
rm -rf "$work/n1"
stop_member 9 TERM
rm -rf "$work/n9"
https=https://$(endpoint 9)
found_member 9 "$CAIRND" --initial-cluster "$cluster" --auto-tls --listen-client-urls "$https" --advertise-client-urls "$https"
check "a service with TLS" serves 9
etcdctl --endpoints "$https" --insecure-skip-tls-verify --insecure-transport=false put /_etcd/registry/tls/_config/size 1 >/dev/null
cert=$(find "$work/n9" -name cert.pem | head -1)
tls_way() { # NAME FLAGS...
    local name=$1
    shift
    found_member 1 "$CAIRND" --discovery-token tls --discovery-endpoints "$https" --discovery-insecure-transport=false "$@"
    check "$name" serves 1
    stop_member 1 TERM
    rm -rf "$work/n1"
}
tls_way "TLS without a check of the certificate" --discovery-insecure-skip-tls-verify
tls_way "TLS with its CA" --discovery-cacert "$cert"
tls_way "TLS with a certificate of its own" --discovery-cacert "$cert" --discovery-cert "$cert" --discovery-key "${cert%cert.pem}key.pem"
found_member 1 "$CAIRND" --discovery-token tls --discovery-endpoints "$https" --discovery-insecure-transport=false
check "TLS with an unknown CA: it does not go on" within $LIMIT_S has "$work/n1.log" 'retry connecting to discovery service.*certificate'
stop_member 1 TERM
finish
