#!/usr/bin/env bash
# Moving while running: a real etcd into ours, and ours into a real etcd. Writers go on during the copy, cairnctl is killed with -9
# at random moments and run again, the source is compacted. In the end both sides are equal: keys, values, leases, users, roles, and
# passwords that came from a snapshot. No transaction of the source is ever seen torn at the target.
#
#   CAIRND=bin/cairnd CAIRNCTL=bin/cairnctl SEEDS=2 tests/interop/migrate.sh
. "$(dirname "$0")/lib.sh"
CAIRND=$(realpath "${CAIRND:-$root/bin/cairnd}")
CAIRNCTL=$(realpath "${CAIRNCTL:-$root/bin/cairnctl}")
helper=$root/tests/e2e/migrate.py
kills=0
py() { python3 -B "$helper" "$@"; }
fail() { echo "$*"; tail -n 20 "$work"/migrate.log; exit 1; }

# accounts URL: users with passwords, one without, roles with ranges
accounts() {
    local e=("$peers/etcdctl37" --endpoints "${1#http://}")
    "${e[@]}" user add alice:secret && "${e[@]}" user add --no-password cert && "${e[@]}" role add reader &&
        "${e[@]}" role grant-permission reader read w1/ --prefix=true && "${e[@]}" role grant-permission reader readwrite k &&
        "${e[@]}" user grant-role alice reader && "${e[@]}" user add root:toor && "${e[@]}" user grant-role root root
}
same() { py dump "$from" >"$work/from.dump" && py dump "$to" >"$work/to.dump" && cmp -s "$work/from.dump" "$work/to.dump"; }

# move SEED COMMAND: COMMAND is from-etcd or to-etcd; $from and $to are two servers.
move() {
    local seed=$1 command=(timeout 300 "$CAIRNCTL" migrate "$2" --from "$from" --to "$to" --snapshot "$work/save-$1-$2.db") i pid writers=()
    accounts "$from" >"$work/accounts" 2>&1 || fail "accounts: $(cat "$work/accounts")"
    "$peers/etcdctl37" --endpoints "${from#http://}" snapshot save "$work/save-$seed-$2.db" >"$work/save" 2>&1 || fail "$(cat "$work/save")"
    rm -f "$work/stop"
    for i in 1 2; do
        py write "$from" $((10 * seed + i)) "$work/stop" &
        writers+=($!) started+=($!)
    done
    sleep 1
    for i in $(seq 1 6); do
        "${command[@]}" >>"$work/migrate.log" 2>&1 &
        pid=$!
        sleep "$(awk "BEGIN { srand($seed$i); print 0.05 + rand() * 3 }")"
        kill -0 $pid 2>/dev/null || fail "run $i ended by itself"
        kill -9 "$(pgrep -P $pid)" $pid 2>/dev/null
        wait $pid 2>/dev/null
        kills=$((kills + 1))
        py pairs "$to" || fail "a transaction was torn at the target"
    done
    "${command[@]}" >>"$work/migrate.log" 2>&1 &
    pid=$!
    started+=($pid)
    sleep 3
    py pairs "$to" || fail "a transaction was torn at the target"
    touch "$work/stop"
    wait "${writers[@]}"
    kill -INT "$(pgrep -P $pid)"
    wait $pid
    [ $? = 5 ] || fail "an interrupted run has another status"
    "${command[@]}" --finish >>"$work/migrate.log" 2>&1 || fail "--finish failed"
    grep -q '^Start the clients on' "$work/migrate.log" || fail "it does not say when to switch"
    within same || { diff "$work/from.dump" "$work/to.dump" | head -20; fail "the sides differ, seed $seed, $2"; }
    grep -q '^lease' "$work/from.dump" && grep -q "^user alice \['reader'\]" "$work/to.dump" || fail "the store is too simple"
    curl -sf "$to/v3/auth/enable" -d '{}' >"$work/enable" || fail "auth cannot be enabled at the target"
    "$peers/etcdctl37" --endpoints "${to#http://}" --user alice:secret get k >"$work/get" 2>&1 || fail "the password did not come: $(cat "$work/get")"
    ! "$peers/etcdctl37" --endpoints "${to#http://}" --user alice:wrong get k >"$work/get" 2>&1 || fail "any password is right"
}

# --- TLS, and a user with a password, at the etcd side, both ways ---------------------------------------------------------------
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1.key"; }
issue() { # NAME SUBJECT
    printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >"$work/leaf"
    key "$1" && openssl req -new -key "$work/$1.key" -subj "$2" -out "$work/$1.csr" &&
        openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 -extfile "$work/leaf" -out "$work/$1.crt"
}
# It presents a certificate without CN, which a server that asks for none does not look at.
answers() { curl -skf --max-time 10 --cert "$work/plain.crt" --key "$work/plain.key" "$1/health" 2>/dev/null | grep -q true; }
ctl_at() { "$peers/etcdctl37" --endpoints "$secure" --cacert "$work/ca.crt" "$@"; }
values() { "$peers/etcdctl37" --endpoints "$@" get s/ --prefix; }
# secure_move NAME USER [FLAGS of etcd]: the etcd of $secure into a new Cairn, and that into the etcd below another prefix. USER is '' or NAME:PASSWORD.
secure_move() {
    local name=$1 user=$2 side=() access=() ours
    shift 2
    SCHEME=https start_members "$name" "$peers/etcd37" 1 --cert-file "$work/server.crt" --key-file "$work/server.key" "$@" || exit 1
    secure=https://127.0.0.1:${ports[0]}
    [ $# = 0 ] || access=(--cert "$work/plain.crt" --key "$work/plain.key")
    for i in 1 2 3; do ctl_at "${access[@]}" put "s/$i" "v$i" || exit 1; done >"$work/put"
    if [ "$user" ]; then
        { ctl_at "${access[@]}" user add "$user" && ctl_at "${access[@]}" user grant-role "${user%:*}" root &&
            ctl_at "${access[@]}" auth enable; } >"$work/enable" 2>&1 || fail "auth: $(cat "$work/enable")"
        access+=(--user "$user")
    fi
    start_server "$name-ours" "$CAIRND" || exit 1
    ours=127.0.0.1:$port
    flags_of() { # SIDE: the access to the etcd as flags of that side
        local at
        side=("--$1-cacert" "$work/ca.crt")
        for at in "${access[@]}"; do side+=("${at/#--/--$1-}"); done
    }
    flags_of from
    timeout 60 "$CAIRNCTL" --endpoints "$ours" migrate from-etcd --from "$secure" "${side[@]}" --finish >>"$work/migrate.log" 2>&1 || fail "$name: from etcd"
    [ "$(values "$ours")" = "$(values "$secure" --cacert "$work/ca.crt" "${access[@]}")" ] && [ "$(values "$ours" | wc -l)" = 6 ] || fail "$name: the sides differ"
    flags_of to
    timeout 60 "$CAIRNCTL" --endpoints "$ours" migrate to-etcd --to "$secure" "${side[@]}" --prefix s/ --dest-prefix back/ --finish >>"$work/migrate.log" 2>&1 || fail "$name: to etcd"
    [ "$(ctl_at "${access[@]}" get back/ --prefix --print-value-only | xargs)" = "v1 v2 v3" ] || fail "$name: the keys did not come back"
}
{ key ca && openssl req -x509 -new -key "$work/ca.key" -subj /CN=ca -days 2 -out "$work/ca.crt" && issue server /CN=server &&
    issue plain /O=migration && issue named /CN=root; } 2>"$work/openssl.log" || fail "openssl: $(cat "$work/openssl.log")"
secure_move tls ''
secure_move password root:toor
secure_move client root:toor --trusted-ca-file "$work/ca.crt" --client-cert-auth
refused() { # FLAGS: the certificate has a CN, which etcd's gateway refuses
    timeout 60 "$CAIRNCTL" --endpoints "127.0.0.1:$port" migrate from-etcd --from "$secure" --from-cacert "$work/ca.crt" \
        --from-cert "$work/named.crt" --from-key "$work/named.key" "$@" --finish >"$work/refused" 2>&1 && fail "a certificate with a CN is served"
    grep -q "gateway serves no client whose certificate has a CN" "$work/refused" || fail "it does not say why: $(cat "$work/refused")"
}
refused
refused --from-user root:toor

for seed in $(seq 1 "${SEEDS:-1}"); do
    start_server "etcd-$seed" "$peers/etcd37" || exit 1
    from=http://127.0.0.1:$port
    start_server "ours-$seed" "$CAIRND" || exit 1
    to=http://127.0.0.1:$port
    move "$seed" from-etcd
    start_server "ours2-$seed" "$CAIRND" || exit 1
    from=http://127.0.0.1:$port
    start_server "etcd2-$seed" "$peers/etcd37" || exit 1
    to=http://127.0.0.1:$port
    move "$seed" to-etcd
done
echo "etcd 3.7.1 into ours and ours into etcd while writers ran, $kills runs killed; keys, leases, users, roles, passwords equal; TLS, users"
