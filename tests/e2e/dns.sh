#!/usr/bin/env bash
# DNS with two clients of other projects: dig (bind9-dnsutils) and kdig (knot-dnsutils), over UDP and TCP, with EDNS and
# without, cut off, in odd letters; that changes of the registry appear there; and the number of bytes that a forged
# source can make the server send. That part needs an address that is not a loopback one, so it runs in a network
# namespace if possible.
NET=192.0.2.1
own_network() { ip link set lo up && ip address add $NET/24 dev lo; }
if [ -z "${DNS_NETWORK:-}" ] && unshare -rn bash -c "NET=$NET; $(declare -f own_network); own_network" 2>/dev/null; then
    DNS_NETWORK=1 exec unshare -rn "$0" "$@"
fi
[ -z "${DNS_NETWORK:-}" ] || own_network || exit 1
. "$(dirname "$0")/lib.sh"
for tool in dig kdig; do
    command -v $tool >/dev/null || { echo "  skip no $tool (Debian packages bind9-dnsutils, knot-dnsutils)"; exit 0; }
done
port=$(free_base)
dns=$((port + 40))
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
url=http://127.0.0.1:$port
flags=(--listen-dns "127.0.0.1:$dns${DNS_NETWORK:+,$NET:$dns}")
start_server "$work" "$port" "${flags[@]}" || { cat "$work/log"; exit 1; }

ask() { dig +time=30 +tries=1 @127.0.0.1 -p "$dns" "$@"; }
kask() { kdig +time=30 +retry=0 @127.0.0.1 -p "$dns" "$@"; }
short() { ask +short "$@" | sort; }
kshort() { kask +short "$@" | sort; }
status() { ask "$@" | sed -n 's/.*status: \([A-Z]*\).*/\1/p'; }
count() { ask "$@" | sed -n 's/.*ANSWER: \([0-9]*\),.*/\1/p'; }
put() { etcdctl put "/cairn/registry/instances/default/default/$1" "$2" >/dev/null; } # service/id, document
# DNS responses follow the writes, but not at the same instant.
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
check "the server's own name" grep -qx 127.0.0.1 <<<"$(short ns.cairn)"
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
size() { ask "$@" | sed -n 's/.*MSG SIZE *rcvd: \([0-9]*\)$/\1/p'; }
between() { [ "$2" -ge "$1" ] && [ "$2" -le "$3" ]; } # LEAST VALUE MOST
check "1232 bytes whatever EDNS says" between 1000 "$(size +bufsize=65535 +ignore many.svc.cairn SRV)" 1232
check "without EDNS 512" between 400 "$(size +noedns +ignore many.svc.cairn SRV)" 512
expect "kdig too" 60 "$(kshort many.svc.cairn SRV | grep -c inst)"
expect "several on one connection" 180 "$(ask +tcp +keepopen +short many.svc.cairn many.svc.cairn many.svc.cairn | wc -l)"

# Forged source addresses. The test measures the response size in relation to the request; dig sends no cookie.
if [ -n "${DNS_NETWORK:-}" ]; then
    far() { dig +time=30 +tries=1 @$NET -p "$dns" "$@"; }
    for question in 'A' 'SRV' 'TXT' 'ANY' 'A +noedns' 'SRV +noedns' 'TXT +noedns'; do
        # shellcheck disable=SC2086
        sizes=$(far +qr +nocookie +ignore +bufsize=65535 many.svc.cairn $question | awk '/QUERY SIZE/ {sent = $NF} /MSG SIZE/ {came = $NF} END {print sent, came, came / sent}')
        check "$question: $(awk '{print $3 " times what was sent, " $2 " bytes"}' <<<"$sizes")" awk '{exit !($2 > 0 && $2 <= 512 && $3 <= 16)}' <<<"$sizes"
    done
    cookie=$(far orders.svc.cairn | sed -n 's/.*COOKIE: \([0-9a-f]*\) (good)$/\1/p')
    expect "a cookie of 24 bytes" 48 ${#cookie}
    check "with it more than 512 bytes" between 1000 "$(far +cookie="$cookie" +bufsize=4096 +ignore many.svc.cairn SRV | sed -n 's/.*MSG SIZE *rcvd: //p')" 1232
    check "a changed one is worth nothing" between 400 "$(far +cookie="${cookie%??}00" +bufsize=4096 +ignore many.svc.cairn SRV | sed -n 's/.*MSG SIZE *rcvd: //p')" 512
    expect "kdig, with its cookie" 60 "$(kdig +time=30 +retry=0 @$NET -p "$dns" +cookie="$cookie" +bufsize=1232 +ignore +short many.svc.cairn | wc -l)"
else
    echo "  skip no network of its own (unshare -rn, iproute2): answers to sources that may be forged are not measured"
fi
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
if [ -n "${DNS_NETWORK:-}" ]; then
    start_server "$work" "$port" "${flags[@]}" --dns-rate-limit 1
    limited() { curl -s "$url/metrics" | awk -v name="cairn_dns_limited_$1_total" '$1 == name {print $2}'; }
    flood() { # a hundred questions for nobody.svc.cairn at a time
        for _ in $(seq 100); do printf '\0\1\1\0\0\1\0\0\0\0\0\0\6nobody\3svc\5cairn\0\0\1\0\1' >"/dev/udp/$1/$dns"; done
        echo $(("$(limited dropped)" > 10 && "$(limited slipped)" > 10))
    }
    expect "loopback has no limit" 0 "$(flood 127.0.0.1)"
    becomes "over the limit" 1 flood $NET
    patient=(+time=1 +tries=20) # of two queries one is dropped; the response to the other asks for TCP, or has a cookie
    expect "a real client comes back over TCP" 60 "$(far +nocookie +short "${patient[@]}" many.svc.cairn | grep -c '^10\.')"
    expect "or with its cookie" 60 "$(far +short +bufsize=1232 "${patient[@]}" many.svc.cairn | grep -c '^10\.')"
    check "the cookie is what helped" test "$(curl -s "$url/metrics" | awk '$1 == "cairn_dns_cookies_valid_total" {print $2}')" -ge 1
fi
stop_server TERM
start_server "$work" "$port" --listen-dns "127.0.0.1:$dns" --dns-zone mesh.example.com --dns-ttl 30s
becomes "a zone and a TTL of one's own" $'many.svc.mesh.example.com.\t30' eval 'ask many.svc.mesh.example.com | awk "/^many/ {print \$1 \"\\t\" \$2; exit}"'

# With users: callers without credentials are shown what the role anonymous may read, projected instances by their source keys.
zone=svc.mesh.example.com
sd() { curl -s -m 60 -o "$work/sd" -w '%{http_code}' "$@" "$url/sd/prometheus?namespace=default"; }
hosts() { jq -r '[.[].targets[]] | sort | join(" ")' "$work/sd"; }
role() { etcdctl --user root:root-pw role grant-permission anonymous --prefix=true read "$1" >/dev/null; }
put shown/s1 '{"host":"10.8.0.1","port":1}'
put hidden/h1 '{"host":"10.8.0.2","port":1}'
etcdctl put /microservices/shown/k1 '{"endpoints":["grpc://10.8.0.3:1"]}' >/dev/null
becomes "without users all is shown" $'10.8.0.1\n10.8.0.3' short shown.$zone
{
    for user in root alice; do etcdctl user add "$user:$user-pw"; etcdctl user grant-role $user root; done
    etcdctl user revoke-role alice root; etcdctl role add anonymous; etcdctl role add reader; etcdctl user grant-role alice reader
    etcdctl role grant-permission reader --prefix=true read /cairn/registry/instances/
    etcdctl auth enable
} >/dev/null
becomes "with users nothing is answered" REFUSED status shown.$zone
expect "nor told to Prometheus" 401 "$(sd)"
within $LIMIT_S grep -q 'role grant-permission anonymous' "$work/log"
check "the log says so, and what to do" grep -q 'role grant-permission anonymous' "$work/log"
expect "Basic" 200 "$(sd -u alice:alice-pw)"
check "without what alice may not read" test -z "$(hosts | grep 10.8.0.3)"
token=$(curl -s -m 60 "$url/v3/auth/authenticate" -d '{"name":"root","password":"root-pw"}' | jq -r .token)
expect "Bearer" 200 "$(sd -H "Authorization: Bearer $token")"
check "root sees all" grep -q 10.8.0.3 <<<"$(hosts)"
role /cairn/registry/instances/default/default/shown/
becomes "what the role may read is answered" 10.8.0.1 short shown.$zone
# The serial is a revision: an event of the registration may be written between the two.
denial() { ask "$1.$zone" | sed -n 's/.*status: //p;/SOA/p' | sed -E 's/,.*//; s/(hostmaster\.[^ ]+ )[0-9]+/\1SERIAL/'; }
expect "what it may not is not there" "$(denial nobody)" "$(denial hidden)"
expect "http_sd wants all of a namespace" 401 "$(sd)"
role /cairn/registry/instances/default/
role /microservices/
becomes "source keys too" $'10.8.0.1\n10.8.0.3' short shown.$zone
expect "then Prometheus needs no credentials" 200 "$(sd)"
check "and sees what is projected" grep -q 10.8.0.3 <<<"$(hosts)"
expect "wrong ones are refused" 401 "$(sd -u alice:wrong)"
finish
