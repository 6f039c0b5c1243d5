#!/usr/bin/env bash
# libcairn on one member: the examples as the README has them, what the shared library shows, what `make install` puts
# down. EXAMPLES and LIBRARY are the folders they were built into.
. "$(dirname "$0")/../e2e/lib.sh"
PROGRAMS=$(realpath "$PROGRAMS")
EXAMPLES=$(realpath "$EXAMPLES") LIBRARY=$(realpath "$LIBRARY")
port=$(free_port)
check "a server starts" start_server "$work/d" "$port"
endpoint=127.0.0.1:$port

check "every call" "$PROGRAMS/calls" "$endpoint"
"$EXAMPLES/kv" "$endpoint" >"$work/kv"
expect "example kv" "0 example/counter = 1 swapped: yes" "$? $(xargs <"$work/kv")"
"$EXAMPLES/service" "$endpoint" | sort >"$work/service"
expect "example service" "payments.yaml: limit: 10 payments: p1 at 10.0.0.5:8080 is up" "$(xargs <"$work/service")"
"$EXAMPLES/watch" seen/ "$endpoint" >"$work/watch" &
watch_pid=$!
check "example watch begins" within $LIMIT_S has "$work/watch" watching
export ETCDCTL_ENDPOINTS=$endpoint
etcdctl put seen/a 1 >"$work/put" && etcdctl put other 1 >"$work/put" && etcdctl del seen/a >"$work/put"
wait $watch_pid
expect "and tells" "0 watching put seen/a 1 delete seen/a" "$? $(xargs <"$work/watch")"

shown=$(nm -D --defined-only "$LIBRARY/libcairn.so" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort)
expect "the shared library shows cairn_* alone" "" "$(grep -v '^cairn_' <<<"$shown")"
said=$(gcc -E -P sdk/cairn.h | tr '\n' ' ' | grep -oE 'cairn_[a-z_]+\(' | tr -d '(' | sort -u | grep -vxE 'cairn_text')
expect "and all that the header says" "" "$(comm -3 <(echo "$said") <(sort -u <<<"$shown") | xargs)"
expect "its name" libcairn.so.0 "$(objdump -p "$LIBRARY/libcairn.so" | awk '/SONAME/ { print $2 }')"
expect "the static library defines nothing else" "" "$(nm -g --defined-only "$LIBRARY/libcairn.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^cairn_/ { print $3 }' | grep -v '^__' | xargs)"
printf '#include <cairn.h>\n#include <stdio.h>\nint main() { puts(cairn_version()); }\n' >"$work/p.cc"
check "the header is C++ as well" g++ -Wall -Wextra -Werror -Isdk -fsyntax-only "$work/p.cc"
check "and C99" gcc -std=c99 -Wall -Wextra -Wpedantic -Werror -Isdk -fsyntax-only -x c sdk/cairn.h

make --no-print-directory install DESTDIR="$work/root" PREFIX=/opt/cairn >"$work/install" 2>&1
expect "make install" 0 $?
export PKG_CONFIG_PATH=$work/root/opt/cairn/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root
check "a program finds it by pkg-config" gcc sdk/examples/kv.c $(pkg-config --cflags --libs cairn) -o "$work/installed"
expect "and runs on the shared library" 0 "$(LD_LIBRARY_PATH=$work/root/opt/cairn/lib "$work/installed" "$endpoint" >/dev/null; echo $?)"
check "and is linked with the static one alone" gcc sdk/examples/kv.c -I"$work/root/opt/cairn/include" "$work/root/opt/cairn/lib/libcairn.a" $(pkg-config --static --libs-only-l cairn | sed 's/-lcairn//') -o "$work/static"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" -days 2 \
    -subj /CN=cairn -addext subjectAltName=IP:127.0.0.1 2>/dev/null
start_tls() {
    "$CAIRND" --data-dir "$work/tls" --cert-file "$work/cert.pem" --key-file "$work/key.pem" \
        --listen-client-urls "https://127.0.0.1:$((port + 10))" --advertise-client-urls "https://127.0.0.1:$((port + 10))" \
        --listen-peer-urls "http://127.0.0.1:$((port + 11))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 11))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 11))" >"$work/tls.log" 2>&1 &
    tls_pid=$!
    within $LIMIT_S has "$work/tls.log" 'ready to serve client requests'
}
end_more() { kill "${tls_pid:-}" 2>/dev/null; }
check "a server with TLS starts" start_tls
check "every call over TLS" "$PROGRAMS/calls" "https://127.0.0.1:$((port + 10))" "$work/cert.pem"

mkdir -p "$work/auth"
end_more() { kill "${tls_pid:-}" "${auth_pid:-}" 2>/dev/null; }
auth=127.0.0.1:$((port + 20))
start_auth() {
    "$CAIRND" --data-dir "$work/auth/data" --listen-client-urls "http://$auth" --advertise-client-urls "http://$auth" \
        --listen-peer-urls "http://127.0.0.1:$((port + 21))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 21))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 21))" >"$work/auth.log" 2>&1 &
    auth_pid=$!
    within $LIMIT_S has "$work/auth.log" 'ready to serve client requests'
}
check "a server for users starts" start_auth
as_root() { ETCDCTL_ENDPOINTS=$auth etcdctl "$@" >>"$work/put" 2>&1; }
as_root user add root:secret && as_root user grant-role root root && as_root auth enable
check "every call as somebody" "$PROGRAMS/calls" "$auth" - root secret

mkdir "$work/cache"
check "a cache folder is filled" "$PROGRAMS/calls" "$endpoint" "$work/cache" leave
stop_server
check "and found when no member is there" "$PROGRAMS/calls" "$endpoint" "$work/cache" find
finish
