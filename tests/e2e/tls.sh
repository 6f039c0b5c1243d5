#!/usr/bin/env bash
# TLS on the client, metrics and peer port: offered versions and suites, accepted certificates, and that renewed
# certificates, authorities and revocation lists apply from the next connection on, while open connections stay.
# CAIRND may be etcd: "differs" marks known differences (tests/interop/DEVIATIONS.md), which are tried on cairnd
# alone.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
case $("$CAIRND" --version 2>&1) in *[Cc]airn*) is_ours=1 ;; *) is_ours="" ;; esac
differs() { [ -z "$is_ours" ] || "$@"; }

# --- certificates: issue NAME SUBJECT [ARGUMENTS of openssl ca] -------------------------------------------------------------------
cat >ca.cnf <<X
[ca]
default_ca = d
[d]
database = $work/index.txt
new_certs_dir = $work
serial = $work/serial
crlnumber = $work/crlnumber
default_md = sha256
default_days = 2
default_crl_days = 2
unique_subject = no
certificate = $work/ca.crt
private_key = $work/ca.key
policy = any
copy_extensions = none
[any]
commonName = optional
[leaf]
subjectAltName = IP:127.0.0.1
[named]
subjectAltName = DNS:client.test
[server_only]
extendedKeyUsage = serverAuth
X
: >index.txt
echo 01 | tee serial >crlnumber
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1" 2>>openssl.log; }
key ca.key && openssl req -x509 -new -key ca.key -subj /CN=ca -days 2 -out ca.crt 2>>openssl.log
key other.key && openssl req -x509 -new -key other.key -subj /CN=ca -days 2 -out other.crt 2>>openssl.log
issue() {
    local name=$1 subject=$2
    shift 2
    [ -f "$name.key" ] || key "$name.key"
    openssl req -new -key "$name.key" -subj "$subject" -out "$name.csr" 2>>openssl.log
    openssl ca -config ca.cnf -batch -notext -in "$name.csr" -out "$name.crt" -extensions leaf "$@" 2>>openssl.log
}
list() { openssl ca -config ca.cnf -gencrl -out list.pem 2>>openssl.log && openssl crl -in list.pem -outform DER -out "$1" && rm list.pem; }
openssl genrsa -out rsa.key 2048 2>>openssl.log
issue rsa /CN=rsa
issue server /CN=server
issue renewed /CN=renewed
issue root /CN=root
issue revoked /CN=revoked
issue nameless / -extensions leaf
issue two /CN=nobody/CN=root -multivalue-rdn
issue named /CN=root -extensions named
issue no_client /CN=root -extensions server_only
list empty.crl
openssl ca -config ca.cnf -revoke revoked.crt 2>>openssl.log
list revoked.crl
check "the certificates are made" test -s revoked.crl -a -s no_client.crt -a -s nameless.crt
replace() { cp "$1" "$2.new" && mv "$2.new" "$2"; }

# --- what is offered ------------------------------------------------------------------------------------------------------------
port=$(free_base 4)
peer=$((port + 1)) metrics=$((port + 2))
# shake PORT [ARGUMENTS]: what openssl says of a handshake
# The server's first HTTP/2 frame may stand in the output: it is binary.
shake() { (sleep 0.1) | timeout 30 openssl s_client -connect "127.0.0.1:$1" -CAfile ca.crt "${@:2}" 2>&1; }
suite_of() { shake "$port" -tls1_2 -cipher "$1:@SECLEVEL=0" | sed -n 's/^New, .*Cipher is //p'; }
begin() { # DIR [FLAGS]
    mkdir -p "$1" && : >"$1/log"
    "$CAIRND" --name default --data-dir "$1/data" --listen-client-urls "https://127.0.0.1:$port" --advertise-client-urls "https://127.0.0.1:$port" \
        --listen-metrics-urls "https://127.0.0.1:$metrics" --listen-peer-urls "https://127.0.0.1:$peer" \
        --initial-advertise-peer-urls "https://127.0.0.1:$peer" --initial-cluster "default=https://127.0.0.1:$peer" \
        --peer-cert-file live.crt --peer-key-file live.key --peer-trusted-ca-file trust.crt --peer-client-cert-auth --peer-crl-file live.crl \
        --cert-file live.crt --key-file live.key "${@:2}" >>"$1/log" 2>&1 &
    server_pid=$!
    within $LIMIT_S has "$1/log" 'ready to serve client requests' || fails "$1 does not start"
}
set_files() { replace "$1.crt" live.crt && replace "$1.key" live.key && replace ca.crt trust.crt && replace empty.crl live.crl; }

for kind in rsa server; do
    name=$([ $kind = rsa ] && echo RSA || echo ECDSA)
    set_files $kind
    begin $kind
    for suite in AES128-GCM-SHA256 AES256-GCM-SHA384 CHACHA20-POLY1305; do
        expect "$name: ECDHE-$name-$suite" "ECDHE-$name-$suite" "$(suite_of "ECDHE-$name-$suite")"
    done
    expect "$name: no CBC with SHA-2, no key exchange by RSA, no DHE" "(NONE)" "$(suite_of "ECDHE-$name-AES128-SHA256:kRSA:DHE")"
    differs expect "$name: no CBC" "(NONE)" "$(suite_of "ECDHE-$name-AES128-SHA:ECDHE-$name-AES256-SHA")"
    for suite in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256; do
        check "$name: $suite" grep -q "Cipher is $suite" <<<"$(shake "$port" -tls1_3 -ciphersuites $suite)"
    done
    if [ $kind = server ]; then
        stop_server
        break
    fi
    for version in tls1 tls1_1; do
        check "no $version" grep -q 'Cipher is (NONE)' <<<"$(shake "$port" -$version -cipher ALL:@SECLEVEL=0)"
    done
    for group in X25519 P-256 P-384 P-521; do
        check "group $group" grep -q 'Cipher is TLS_' <<<"$(shake "$port" -groups $group)"
    done
    for group in X448 ffdhe2048; do
        check "no group $group" grep -q 'Cipher is (NONE)' <<<"$(shake "$port" -groups $group)"
    done
    expect "ALPN h2" "ALPN protocol: h2" "$(shake "$port" -alpn h2 | grep -a '^ALPN')"
    expect "ALPN h2 before http/1.1" "ALPN protocol: h2" "$(shake "$port" -alpn http/1.1,h2 | grep -a '^ALPN')"
    expect "no answer to ALPN http/1.1 alone" "No ALPN negotiated" "$(shake "$port" -alpn http/1.1 | grep -a 'ALPN')"
    check "another ALPN is refused" grep -q 'no application protocol' <<<"$(shake "$port" -alpn other)"
    check "no compression" grep -q '^Compression: NONE' <<<"$(shake "$port" -tls1_2 -comp)"
    check "no renegotiation" grep -qE 'no renegotiation|NO_RENEGOTIATION' <<<"$( (echo R && sleep 0.3) | timeout 30 openssl s_client -connect "127.0.0.1:$port" -tls1_2 2>&1)"
    check "an unknown SNI gets the same certificate" grep -q '^subject=CN = rsa' <<<"$(shake "$port" -servername other.example)"
    stop_server
done

# --- whose certificates are taken -------------------------------------------------------------------------------------------------
set_files server
begin mutual --trusted-ca-file trust.crt --client-cert-auth --client-crl-file live.crl
ask() { # CERTIFICATE [PORT] [PATH]: the status, 000 where TLS fails
    curl -s -m 30 -o /dev/null -w '%{http_code}' --cacert ca.crt ${1:+--cert $1.crt --key $1.key} "https://127.0.0.1:${2:-$port}${3:-/version}"
}
# A connection that stays open: speak asks on it once more. Its certificate is issued here, so that a slow
# machine does not see it expire before the first request.
issue short /CN=root -enddate "$(date -u -d '+8 seconds' +%y%m%d%H%M%SZ)"
coproc OLD { exec openssl s_client -quiet -connect "127.0.0.1:$port" -CAfile ca.crt -cert short.crt -key short.key 2>old.err; }
old_pid=$OLD_PID
exec {old_in}>&"${OLD[1]}" {old_out}<&"${OLD[0]}"
end_more() { kill "$old_pid" 2>/dev/null; }
speak() {
    printf 'GET /version HTTP/1.1\r\nHost: x\r\n\r\n' >&"$old_in"
    local line
    IFS= read -r -t 30 -u "$old_out" line || return 1
    echo "${line%$'\r'}"
    while IFS= read -r -t 30 -u "$old_out" line && [ "$line" != $'\r' ]; do
        case $line in [Cc]ontent-[Ll]ength:*) line=${line%$'\r'} && size=${line#*: } ;; esac
    done
    head -c "$size" <&"$old_out" >body
}
expect "a certificate that will expire soon" "HTTP/1.1 200 OK" "$(speak)"
expect "client: without a certificate" 000 "$(ask '')"
expect "client: of the authority" 200 "$(ask root)"
expect "client: without a CN" 200 "$(ask nameless)"
expect "client: of serverAuth alone" 000 "$(ask no_client)"
expect "client: not on the list of the revoked" 200 "$(ask revoked)"
expect "metrics: without a certificate" 000 "$(ask '' "$metrics" /health)"
expect "metrics: of the authority" 200 "$(ask root "$metrics" /health)"
# TLS 1.2: there the handshake ends after the certificate was judged.
peer_takes() { shake "$peer" -tls1_2 -cert "$1.crt" -key "$1.key" >out; } # not when the server's alert comes
peer_refuses() { ! peer_takes "$1"; }
check "peer: of the authority" peer_takes revoked

etcdctl_as() { # CERTIFICATE ARGUMENTS
    etcdctl --endpoints "https://127.0.0.1:$port" --cacert ca.crt --cert "$1.crt" --key "$1.key" "${@:2}" 2>&1 | grep -v '^{"level"' | tail -1
}
etcdctl_as root put k v >setup.log
etcdctl_as root user add root:pw >>setup.log
etcdctl_as root role add root >>setup.log
etcdctl_as root user grant-role root root >>setup.log
expect "users on" "Authentication Enabled" "$(etcdctl_as root auth enable)"
expect "the CN is the user" v "$(etcdctl_as root get k --print-value-only)"
expect "of two CNs the last is the user" v "$(etcdctl_as two get k --print-value-only)"
check "no CN, no user" grep -qE 'user name is empty|permission denied' <<<"$(etcdctl_as nameless get k)"
expect "a password counts before the CN" v "$(etcdctl_as nameless --user root:pw get k --print-value-only)"

# --- no session is resumed past a revocation ------------------------------------------------------------------------------------------
for version in tls1_2 tls1_3; do
    (sleep 0.3) | openssl s_client -connect "127.0.0.1:$port" -$version -cert revoked.crt -key revoked.key -sess_out session.$version >out 2>&1
    [ ! -s session.$version ] || [ -n "$is_ours" ] || continue
    check "$version: no session to keep" test ! -s session.$version
done

# --- renewed files --------------------------------------------------------------------------------------------------------------------
replace revoked.crl live.crl
differs kill -HUP "$server_pid"
is_refused() { [ "$(ask "$@")" = 000 ]; }
check "revoked: refused on the client port" within $LIMIT_S is_refused revoked
check "revoked: refused on the metrics port" within $LIMIT_S is_refused revoked "$metrics" /health
check "revoked: refused on the peer port" within $LIMIT_S peer_refuses revoked
expect "revoked: others are not" "200 200" "$(ask root) $(ask root "$metrics" /health)"
check "revoked: others are not, peer" peer_takes root
replace renewed.key live.key && replace renewed.crt live.crt # a moment apart: half of a pair is not loaded
has_renewed() { grep -q '^subject=CN = renewed' <<<"$(shake "$1")"; }
for at in $port $metrics $peer; do
    check "renewed: the certificate of port +$((at - port))" within $LIMIT_S has_renewed "$at"
done
if [ -n "$is_ours" ]; then
    replace other.crt trust.crt
    check "another authority: refused, client" within $LIMIT_S is_refused root
    check "another authority: refused, metrics" within $LIMIT_S is_refused root "$metrics" /health
    check "another authority: refused, peer" within $LIMIT_S peer_refuses root
    cat other.crt ca.crt >both.crt && replace both.crt trust.crt
    takes_again() { [ "$(ask root)" = 200 ] && peer_takes root; }
    check "both authorities: taken" within $LIMIT_S takes_again
    echo nonsense >broken && replace broken live.crl
    check "a broken list keeps the one before" within $LIMIT_S has mutual/log 'kept the old TLS files'
    expect "a broken list: still refused, and others not" "000 200" "$(ask revoked) $(ask root)"
fi

# --- expired in the middle ---------------------------------------------------------------------------------------------------------------
check "expired: refused" within $LIMIT_S is_refused short
expect "expired in the middle: the connection goes on, also over all that was renewed" "HTTP/1.1 200 OK" "$(speak)"
stop_server
expect "the server ends well" 0 "$server_status"

# --- names of clients ---------------------------------------------------------------------------------------------------------------------
set_files rsa
begin names --trusted-ca-file trust.crt --client-cert-auth --client-cert-allowed-hostname other.test,client.test
expect "--client-cert-allowed-hostname: a certificate with the name" 200 "$(ask named)"
expect "--client-cert-allowed-hostname: one without it" 000 "$(ask root)"
expect "--client-cert-allowed-hostname: none" 000 "$(ask '')"
stop_server
finish
