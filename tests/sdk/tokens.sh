#!/usr/bin/env bash
# libcairn's tokens on one member whose tokens end soon: PROGRAMS/tokens, which says what to do when.
. "$(dirname "$0")/../e2e/lib.sh"
PROGRAMS=$(realpath "$PROGRAMS")
port=$(free_port)
endpoint=127.0.0.1:$port
export ETCDCTL_ENDPOINTS=$endpoint
as_root() { etcdctl --user root:secret "$@" >>"$work/etcdctl" 2>&1; }
add_users() {
    etcdctl user add root:secret && etcdctl user grant-role root root && etcdctl user add tester:first && etcdctl role add all &&
        etcdctl role grant-permission --prefix=true all readwrite '' && etcdctl user grant-role tester all
} >>"$work/etcdctl" 2>&1
# runs NAME CASE: the program to its end; what it asks for is done by answer_WORD.
runs() {
    coproc program { "$PROGRAMS/tokens" "$endpoint" tester first "$1" 2>>"$work/tokens.log"; }
    local pid=$program_PID word="" status
    exec 7<&"${program[0]}" 8>&"${program[1]}"
    while read -r -t $((3 * LIMIT_S)) word <&7; do
        case $word in
            restart | change | enable) "answer_$word" && echo >&8 ;;
            done) ;;
            *) echo "    $word" ;;
        esac
    done
    exec 8>&-
    wait $pid
    status=$?
    [ $status = 0 ] || sed 's/^/       /' "$work/tokens.log" | tail -30
    return $status
}
answer_restart() { stop_server && start_server "$work/d" "$port" --auth-token-ttl 1; }
answer_change() { as_root user passwd tester --interactive=false <<<changed; }
answer_enable() { etcdctl auth enable >>"$work/etcdctl" 2>&1; }

check "a server starts" start_server "$work/d" "$port" --auth-token-ttl 1
check "with users" add_users
check "a client logs in when authentication is enabled" runs late
check "a client renews tokens that the server refuses" runs simple
stop_server
openssl genpkey -algorithm RSA -out "$work/key.pem" 2>/dev/null
answer_change_back() { as_root user passwd tester --interactive=false <<<first; }
check "a server with signed tokens starts" start_server "$work/d" "$port" --auth-token "jwt,priv-key=$work/key.pem,sign-method=RS256,ttl=2s"
check "the password is set" answer_change_back
check "a client renews signed tokens before they end" runs jwt
finish
