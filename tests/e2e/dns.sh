#!/usr/bin/env bash
# DNS as two other people's clients see it: dig (bind9-dnsutils) and kdig (knot-dnsutils), over UDP and TCP, with EDNS and
# without, cut off, in odd letters; and that what changes in the registry changes there.
. "$(dirname "$0")/lib.sh"
for tool in dig kdig; do
    command -v $tool >/dev/null || { echo "  skip no $tool (Debian packages bind9-dnsutils, knot-dnsutils)"; exit 0; }
done
port=$(free_base)
dns=$((port + 40))
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
url=http://127.0.0.1:$port
flags=(--listen-dns "127.0.0.1:$dns")
start_server "$work" "$port" "${flags[@]}" || { cat "$work/log"; exit 1; }

ask() { dig +time=30 +tries=1 @127.0.0.1 -p "$dns" "$@"; }
kask() { kdig +time=30 +retry=0 @127.0.0.1 -p "$dns" "$@"; }
short() { ask +short "$@" | sort; }
kshort() { kask +short "$@" | sort; }
status() { ask "$@" | sed -n 's/.*status: \([A-Z]*\).*/\1/p'; }
count() { ask "$@" | sed -n 's/.*ANSWER: \([0-9]*\),.*/\1/p'; }
put() { etcdctl put "/cairn/registry/instances/default/default/$1" "$2" >/dev/null; } # service/id, document
# What clients are told follows what is written, though not in the same instant.
becomes() { # name, wanted, command...
    local got end=$((SECONDS + LIMIT_S))
    while :; do
        got=$("${@:3}")
        [ "$got" != "$2" ] && [ $SECONDS -le $end ] || break
        sleep 0.05
    done
    expect "$1" "$2" "$got"
}

put orders/o1 '{"host":"10.0.0.1","port":8080,"weight":10,"tags":["v2"],"metadata":{"rack":"a"}}'
put orders/o2 '{"host":"10.0.0.2","port":8081}'
put orders/o6 '{"host":"2001:db8::6","port":8086}'
put named/n1 '{"host":"web-1.example.com","port":80}'
becomes "A" $'10.0.0.1\n10.0.0.2' short orders.svc.cairn
for client in short kshort; do
    expect "$client: A over TCP" $'10.0.0.1\n10.0.0.2' "$($client +tcp orders.svc.cairn)"
    expect "$client: A without EDNS" $'10.0.0.1\n10.0.0.2' "$($client +noedns orders.svc.cairn)"
    expect "$client: AAAA" 2001:db8::6 "$($client orders.default.default.svc.cairn AAAA)"
    expect "$client: SRV" "0 10 8080 10-0-0-1.orders.default.default.inst.cairn.
0 100 8081 10-0-0-2.orders.default.default.inst.cairn.
0 100 8086 20010db8000000000000000000000006.orders.default.default.inst.cairn." "$($client _orders._tcp.svc.cairn SRV)"
    expect "$client: a target" 10.0.0.2 "$($client 10-0-0-2.orders.default.default.inst.cairn)"
    expect "$client: a tag" 10.0.0.1 "$($client v2.orders.svc.cairn)"
    expect "$client: TXT" '"id=o1" "host=10.0.0.1" "port=8080" "tag=v2" "rack=a"' "$($client v2.orders.svc.cairn TXT)"
    expect "$client: an alias" web-1.example.com. "$($client named.svc.cairn CNAME)"
    expect "$client: ANY is small" '"RFC8482" ""' "$($client orders.svc.cairn ANY)"
    expect "$client: PTR" 10-0-0-2.orders.default.default.inst.cairn. "$($client -x 10.0.0.2)"
    expect "$client: PTR, IPv6" 20010db8000000000000000000000006.orders.default.default.inst.cairn. "$($client -x 2001:db8::6)"
    expect "$client: NS" ns.cairn. "$($client cairn NS)"
done
expect "the server's own name" 127.0.0.1 "$(short ns.cairn)"
expect "letters stay as they were asked" OrDeRs.SvC.CaIrN. "$(ask OrDeRs.SvC.CaIrN v2.orders.svc.cairn | awk '/IN.*A.*10.0.0.1$/ {print $1; exit}')"
expect "nobody" NXDOMAIN "$(status nobody.svc.cairn)"
expect "no such record" NOERROR "$(status orders.svc.cairn MX)"
check "with the zone's SOA" grep -q '^cairn\..*SOA.*ns\.cairn\. hostmaster\.cairn\.' <<<"$(ask nobody.svc.cairn)"
expect "others' names" REFUSED "$(status example.com)"
expect "others' classes" REFUSED "$(status version.bind CH TXT)"
expect "a transfer" "; Transfer failed." "$(ask cairn AXFR | grep -o '^; Transfer failed.')"
expect "another opcode" NOTIMP "$(status +opcode=NOTIFY orders.svc.cairn)"
expect "another EDNS" BADVERS "$(status +edns=1 +noednsneg orders.svc.cairn)"
check "DO comes back" grep -q 'flags: do' <<<"$(ask +dnssec orders.svc.cairn)"

# More than fit.
for i in $(seq 60); do echo "put /cairn/registry/instances/default/default/many/i$i {\"host\":\"10.1.0.$i\",\"port\":80}"; done >"$work/puts"
while read -r _ key value; do etcdctl put "$key" "$value" >/dev/null; done <"$work/puts"
becomes "60 addresses fit into 1232 bytes" 60 count many.svc.cairn
check "cut off at 512 bytes, and said so" grep -q 'flags: qr aa tc' <<<"$(ask +noedns +ignore many.svc.cairn)"
expect "then over TCP" 60 "$(count +noedns many.svc.cairn)"
expect "SRV over TCP" 60 "$(count many.svc.cairn SRV)"
expect "SRV in 4096 bytes" 60 "$(count +bufsize=4096 +ignore many.svc.cairn SRV)"
expect "kdig too" 60 "$(kshort many.svc.cairn SRV | grep -c inst)"
expect "several on one connection" 180 "$(ask +tcp +keepopen +short many.svc.cairn many.svc.cairn many.svc.cairn | wc -l)"
check "the order changes" test "$(for i in 1 2 3 4 5 6; do ask +short many.svc.cairn | head -1; done | sort -u | wc -l)" -gt 1

# What changes.
etcdctl put /cairn/registry/overrides/default/default/orders/o1 '{"enabled":false,"reason":"test"}' >/dev/null
becomes "taken out by the operator" 10.0.0.2 short orders.svc.cairn
etcdctl del /cairn/registry/overrides/default/default/orders/o1 >/dev/null
put orders/o2 '{"host":"10.0.0.2","port":8081,"state":"draining"}'
becomes "draining" 10.0.0.1 short orders.svc.cairn
etcdctl del --prefix /cairn/registry/instances/default/default/orders/ >/dev/null
becomes "gone" NXDOMAIN status orders.svc.cairn
put Mixed.Case/m1 '{"host":"10.9.0.1","port":1}'
becomes "names with dots and large letters" 10.9.0.1 short mixed.case.svc.cairn
check "metrics" test "$(curl -s "$url/metrics" | sed -n 's/^cairn_dns_queries_total{transport="tcp"} //p')" -ge 10
stop_server TERM
expect "it stops cleanly" 0 "$server_status"

# Its options.
refuses() { # name, exit code, what it says, flags...
    local out status
    out=$("$CAIRND" --data-dir "$work/no" "${@:4}" 2>&1)
    status=$?
    expect "$1" "$2" "$status"
    check "$1: the sentence" grep -qF -- "$3" <<<"$out"
}
refuses "a bad address" 1 'cannot listen for DNS on nowhere: expected IP:port or localhost:port' --listen-dns nowhere
refuses "a bad zone" 1 'not a DNS zone' --dns-zone a..b
refuses "half a second" 1 'must be whole seconds' --dns-ttl 1500ms
start_server "$work" "$port" --listen-dns "127.0.0.1:$dns" --dns-zone mesh.example.com --dns-ttl 30s
becomes "a zone and a TTL of one's own" $'many.svc.mesh.example.com.\t30' eval 'ask many.svc.mesh.example.com | awk "/^many/ {print \$1 \"\\t\" \$2; exit}"'
finish
