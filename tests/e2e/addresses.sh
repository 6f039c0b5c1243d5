#!/usr/bin/env bash
# Every form of an address that etcd takes: http and https on one address, socket files of clients and of members.
. "$(dirname "$0")/lib.sh"
newer=$PWD/build/interop/etcdctl37
[ -x "$newer" ] || newer=etcdctl
base=$(free_base)
cd "$work" || exit 1
mkdir pki
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout pki/key.pem -out pki/cert.pem -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>pki/log || exit 1
pids=()
end_more() { kill -KILL "${pids[@]}"; }

echo "client addresses:"
port=$((base + 1))
clients=http://127.0.0.1:$port,https://127.0.0.1:$port,unix://localhost:$port,unix://$work/c.sock,unixs://$work/s.sock
"$CAIRND" --name one --data-dir one --listen-client-urls "$clients" --advertise-client-urls "$clients" \
    --cert-file pki/cert.pem --key-file pki/key.pem --listen-peer-urls "unix://$work/p.sock" \
    --initial-advertise-peer-urls "unix://$work/p.sock" --initial-cluster "one=unix://$work/p.sock" >one.log 2>&1 &
pids+=($!)
within $LIMIT_S has one.log 'ready to serve client requests'
for ctl in etcdctl "$newer"; do
    [ "$ctl" = etcdctl ] || unset ETCDCTL_API # 3.7 warns of it
    for url in "http://127.0.0.1:$port" "https://127.0.0.1:$port" "unix://localhost:$port" "unix://$work/c.sock" \
        "unixs://$work/s.sock"; do
        tls=()
        # Go takes the name to verify from the address, and a path has none.
        [[ $url != *s://* ]] || tls=(--cacert pki/cert.pem)
        [[ $url != unixs* ]] || tls=(--insecure-skip-tls-verify --insecure-transport=false)
        out=$("$ctl" --endpoints "$url" "${tls[@]}" put a b 2>&1)
        expect "$(basename "$ctl") writes by $url" OK "$out"
    done
done
check "the socket file has the name of the address" test -S "localhost:$port"
check "http answers" test "$(curl -s "http://127.0.0.1:$port/health" | grep -c true)" = 1
check "https answers on the same port" test "$(curl -s --cacert pki/cert.pem "https://127.0.0.1:$port/health" | grep -c true)" = 1
check "the socket file answers" test "$(curl -s --unix-socket c.sock http://x/health | grep -c true)" = 1
kill "${pids[0]}"
wait "${pids[0]}"
check "a stop removes the socket files" test ! -e "localhost:$port" -a ! -e c.sock -a ! -e s.sock -a ! -e p.sock

peers="http://127.0.0.1:$((base + 2)),https://127.0.0.1:$((base + 2))"
for program in "$CAIRND" ${ETCD:-}; do
    timeout 20 "$program" --name one --data-dir both --listen-client-urls "http://127.0.0.1:$port" \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "$peers" --peer-auto-tls \
        --initial-advertise-peer-urls "http://127.0.0.1:$((base + 2))" --initial-cluster "one=http://127.0.0.1:$((base + 2))" \
        >both.log 2>&1
    status=$?
    expect "$(basename "$program"): http and https on one peer address" 1 $status
    rm -rf both
done

export ETCDCTL_API=3
# trio SCHEME [flags]: three members by socket files.
trio() {
    local scheme=$1 i cluster="" path
    shift
    pids=()
    for i in 1 2 3; do
        path=localhost:$((base + 10 * i))
        cluster+="${cluster:+,}m$i=$scheme://$path"
    done
    for i in 1 2 3; do
        "$CAIRND" --name m$i --data-dir "$scheme-$i" --listen-client-urls "http://127.0.0.1:$((base + 2 + i))" \
            --advertise-client-urls "http://127.0.0.1:$((base + 2 + i))" \
            --listen-peer-urls "$scheme://localhost:$((base + 10 * i))" \
            --initial-advertise-peer-urls "$scheme://localhost:$((base + 10 * i))" --initial-cluster "$cluster" \
            "$@" >"$scheme-$i.log" 2>&1 &
        pids+=($!)
    done
    for i in 1 2 3; do within $LIMIT_S has "$scheme-$i.log" 'ready to serve client requests' || tail -3 "$scheme-$i.log"; done
}
for scheme in unix unixs; do
    echo "three members by $scheme:"
    tls=()
    [ $scheme = unix ] || tls=(--peer-cert-file pki/cert.pem --peer-key-file pki/key.pem \
        --peer-trusted-ca-file pki/cert.pem --peer-client-cert-auth)
    trio $scheme "${tls[@]}"
    check "a write by one member" test "$(etcdctl --endpoints "127.0.0.1:$((base + 3))" put k $scheme)" = OK
    check "a read by another" test "$(etcdctl --endpoints "127.0.0.1:$((base + 5))" get k --print-value-only)" = $scheme
    added() {
        etcdctl --endpoints "127.0.0.1:$((base + 3))" member add m4 --learner --peer-urls "$scheme://localhost:$((base + 40))" |
            grep ETCD_INITIAL_CLUSTER= >/dev/null # not -q: etcdctl would fail when its output is closed
    }
    # The leader wants to have heard the others for 5 s.
    check "a member with a socket file can be added" within $LIMIT_S added
    kill -KILL "${pids[2]}"
    wait "${pids[2]}"
    check "the socket file of a dead member is left" test -S "localhost:$((base + 30))"
    "$CAIRND" --name m3 --data-dir $scheme-3 --listen-client-urls "http://127.0.0.1:$((base + 5))" \
        --advertise-client-urls "http://127.0.0.1:$((base + 5))" --listen-peer-urls "$scheme://localhost:$((base + 30))" \
        --initial-advertise-peer-urls "$scheme://localhost:$((base + 30))" "${tls[@]}" >$scheme-3.log 2>&1 &
    pids[2]=$!
    check "and is taken over when it comes back" within $LIMIT_S has $scheme-3.log 'ready to serve client requests'
    kill "${pids[@]}"
    wait "${pids[@]}"
done
finish
