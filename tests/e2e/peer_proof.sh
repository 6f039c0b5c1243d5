#!/usr/bin/env bash
# Proofs on the peer port: which processes become members, with users enabled. Without arguments one short pass on a plain network
# and with a token; `peer_proof.sh all` (make peer-proof) runs every row: plain, token, TLS, each with scaling 1-3-5-3.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
rows=${1:-short}
user=(--user root:root-pw)
as_root() { ctl "${user[@]}" "$@"; }
members_are() { [ "$(as_root member list 2>/dev/null | wc -l)" = "$1" ]; }
voters_are() { [ "$(as_root member list 2>/dev/null | grep -c 'started, .*, false$')" = "$1" ]; }
id_by_name() { as_root member list 2>/dev/null | grep ", $1, " | cut -d, -f1; }
enable_users() {
    { ctl user add root:root-pw && ctl user grant-role root root && ctl auth enable; } >>"$work/out" 2>&1
}
# intruder NAME LISTEN_INDEX FLAGS...: a process of its own in $work/NAME; its exit code is in intruder_status unless it still waits.
intruder() {
    local name=$1 i=$2 pid
    shift 2
    "$CAIRND" --name "$name" --data-dir "$work/intruder" --listen-client-urls "$(client_url "$i")" \
        --advertise-client-urls "$(client_url "$i")" --listen-peer-urls "$(peer_url "$i")" --initial-cluster-token e2e \
        "$@" >>"$work/intruder.log" 2>&1 &
    pid=$!
    intruder_status=waits
    within "$patience" is_gone $pid && { wait $pid; intruder_status=$?; }
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
}
in_intruder_log() { grep -q -- "$1" "$work/intruder.log"; }
fresh() {
    end_more 2>/dev/null
    member_pids=()
    rm -rf "$work"/n? "$work"/n?.log "$work"/intruder* "$work/out"
    : >"$work/intruder.log"
}
add_member() { # NUMBER
    announce() { as_root member add "n$1" --learner --peer-urls="$(peer_url "$1")" >>"$work/out" 2>&1; }
    within $LIMIT_S announce "$1" && cluster=$(cluster_of "${present[@]}" "$1") && present+=("$1") &&
        start_member "$1" --initial-cluster-state existing && serves "$1" && within $LIMIT_S voters_are ${#present[@]}
}
remove_member() { # NUMBER
    take_out() { as_root member remove "$(id_by_name "n$1")" >>"$work/out" 2>&1; }
    within $LIMIT_S take_out "$1" && says "$1" 'permanently removed from the cluster' && ended "$1"
}

# --- nobody comes in who was not asked ---------------------------------------------------------------------------------------
refuse_intruders() { # ROW
    local row=$1 copied
    echo 1 >"$work/writes"
    patience=20
    [ "$row" = plain ] || patience=3
    rm -rf "$work/intruder"
    intruder unknown 8 --initial-cluster "n1=$(peer_url 1),unknown=$(peer_url 8)" --initial-advertise-peer-urls "$(peer_url 8)" \
        --initial-cluster-state existing "${other_proof[@]}"
    if [ "$row" = tls ]; then
        expect "$row: an uninvited process waits" waits "$intruder_status"
    elif [ "$row" = token ]; then
        expect "$row: an uninvited process waits" waits "$intruder_status"
        check "$row: and says what it lacks" in_intruder_log 'give this member the same --join-token-file'
    else
        expect "$row: an uninvited process ends" 1 "$intruder_status"
        for way in 'etcdctl member add' join-token-file peer-trusted-ca-file; do
            check "$row: its sentence names $way" in_intruder_log "$way"
        done
    fi
    check "$row: it has no log" test ! -e "$work/intruder/member/wal"
    check "$row: it is no member" members_are 3
    # n3's configuration, at another address, while n3 is away
    stop_member 3 KILL
    patience=2
    rm -rf "$work/intruder"
    copied=(--initial-cluster "$(cluster_of 1 2 3)" --initial-advertise-peer-urls "$(peer_url 3)")
    intruder n3 8 "${copied[@]}" "${other_proof[@]}"
    expect "$row: a copied configuration at another address waits" waits "$intruder_status"
    check "$row: and has no log" test ! -e "$work/intruder/member/wal"
    expect "$row: the cluster serves" OK "$(as_root put a "$row" 2>&1)"
    start_member 3
    check "$row: n3 comes back" serves 3
}

lose_a_disk() { # ROW
    local before
    before=$(id_by_name n2)
    stop_member 2 KILL
    rm -rf "$work/n2"
    start_member 2
    check "$1: a lost disk is replaced" serves 2
    check "$1: and votes again" within $LIMIT_S voters_are 3
    check "$1: under another id" test "$before" != "$(id_by_name n2)"
    expect "$1: with what it had" "$1" "$(ctl_on 2 "${user[@]}" get a --print-value-only)"
}

return_removed() { # ROW
    check "$1: n3 is removed" remove_member 3
    start_member 3
    check "$1: with its old data it stays removed" says 3 'permanently removed from the cluster'
    ended 3
    check "$1: two members are left" members_are 2
}

# A relay records everything that n1 sends n2, and sends it to n2 again after n1 is gone.
cat >"$work/relay.py" <<'PY'
import socket, sys, threading
listen, target, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def pump(a, b, keep):
    try:
        while data := a.recv(65536):
            if keep:
                keep.write(data)
                keep.flush()
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", listen))
server.listen(64)
n = 0
while True:
    a, _ = server.accept()
    n += 1
    try:
        b = socket.create_connection(("127.0.0.1", target))
    except OSError:
        a.close()
        continue
    threading.Thread(target=pump, args=(a, b, open(f"{folder}/{n}", "wb")), daemon=True).start()
    threading.Thread(target=pump, args=(b, a, None), daemon=True).start()
PY
cat >"$work/replay.py" <<'PY'
import os, socket, sys
# A HELLO_REPLY (kind 2) with reason 0 is a welcome; a challenge (kind 8) comes before it.
welcomes = played = 0
for name in sorted(os.listdir(sys.argv[2])):
    data = open(f"{sys.argv[2]}/{name}", "rb").read()
    if len(data) < 24 or data[3] != 1 or data[12 + 10] > 1:
        continue
    played += 1
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    s.settimeout(3)
    answer = b""
    try:
        s.sendall(data)
        while chunk := s.recv(65536):
            answer += chunk
    except OSError:
        pass
    while len(answer) >= 12:
        size = int.from_bytes(answer[:3], "little")
        welcomes += answer[3] == 2 and answer[14] == 0
        answer = answer[12 + size:]
    s.close()
print(played > 0, welcomes)
PY
replay() { # ROW
    local port=$((base + 95)) recorded=$work/recorded relay
    command -v python3 >/dev/null || { echo "  skipped: no python3 for the replay"; return; }
    fresh
    mkdir -p "$recorded"
    rm -f "$recorded"/*
    python3 "$work/relay.py" $port $((base + 21)) "$recorded" &
    relay=$!
    cluster="n1=$(peer_url 1),n2=http://127.0.0.1:$port,n3=$(peer_url 3)"
    for i in 1 3; do start_member $i; done
    start_member 2 --initial-advertise-peer-urls "http://127.0.0.1:$port"
    for i in 1 2 3; do check "$1: n$i serves behind the recorder" serves $i; done
    expect "$1: a write" OK "$(ctl_on 1 put a b)"
    stop_member 1 KILL
    stop_member 3 KILL
    stop_member 2 KILL
    start_member 2 --initial-advertise-peer-urls "http://127.0.0.1:$port"
    check "$1: n2 waits alone" says 2 'failed to reach remote peer'
    expect "$1: nothing that was recorded opens a stream" "True 0" "$(python3 "$work/replay.py" $((base + 21)) "$recorded")"
    kill $relay
    wait $relay 2>/dev/null
    cluster=$(cluster_of 1 2 3)
}

scale() { # ROW: 1-3-5-3
    fresh
    present=(1)
    cluster=$(cluster_of 1)
    start_member 1
    check "$1: one member begins" serves 1
    enable_users
    for i in 2 3 4 5; do check "$1: n$i was announced and comes" add_member $i; done
    for i in 5 4; do
        check "$1: n$i goes" remove_member $i
        unset "present[-1]"
    done
    check "$1: three vote" within $LIMIT_S voters_are 3
    expect "$1: and serve" OK "$(as_root put a b 2>&1)"
    cluster=$(cluster_of 1 2 3)
}

row() { # NAME
    fresh
    for i in 1 2 3; do start_member $i; done
    for i in 1 2 3; do check "$1: n$i serves" serves $i; done
    enable_users
    refuse_intruders "$1"
    lose_a_disk "$1"
    return_removed "$1"
}

# --- rows -------------------------------------------------------------------------------------------------------------------
token=("${proof[@]}")
proof=()
other_proof=()
row plain
check "plain: a line at start says what the peer port means" grep -q 'neither a join token nor TLS' "$work/n1.log"
check "plain: a sharper one when users are enabled" grep -q 'users are enabled, but the peer port' "$work/n1.log"
check "plain: the metric says so" sh -c "curl -s $(client_url 1)/metrics | grep -q 'cairn_peer_proof{kind=\"dial_back\"} 2'"
[ "$rows" = all ] && replay plain && scale plain

head -c 33 /dev/urandom | base64 >"$work/other-token"
chmod 600 "$work/other-token"
if [ "$rows" = all ]; then
    proof=("${token[@]}" --require-peer-proof)
    other_proof=(--join-token-file "$work/other-token")
    patience=5 row token
    check "token: no warning" sh -c "! grep -q 'neither a join token' $work/n1.log"
    replay token
    scale token
fi

# --- options ----------------------------------------------------------------------------------------------------------------
fresh
refused() { # FLAGS...
    "$CAIRND" --data-dir "$work/none" "$@" >"$work/out" 2>&1
    echo $?
}
expect "a token file that is not there" 2 "$(refused --join-token-file "$work/missing")"
: >"$work/empty-token"
expect "an empty one" 2 "$(refused --join-token-file "$work/empty-token")"
echo short >"$work/short-token"
expect "one that is too short" 2 "$(refused --join-token-file "$work/short-token")"
check "the sentence says what to do" grep -q 'openssl rand' "$work/out"
expect "a proof is required, and there is none to show" 2 "$(refused --require-peer-proof)"

# --- a token: one more joins by it, one with another does not; the token is replaced while they run -----------------------------
proof=("${token[@]}" --require-peer-proof)
cluster=$(cluster_of 1)
start_member 1
check "one member with a token serves" serves 1
cluster=$(cluster_of 1 2)
start_member 2 --initial-cluster-state existing
check "a second one joins by the token alone" serves 2
check "and votes" within $LIMIT_S sh -c "[ \$(etcdctl --endpoints $(endpoint 1) member list | grep -c 'started, n[12], .*, false') = 2 ]"
patience=3
intruder n3 8 --initial-cluster "n1=$(peer_url 1),n3=$(peer_url 8)" --initial-advertise-peer-urls "$(peer_url 8)" \
    --initial-cluster-state existing --join-token-file "$work/other-token"
check "another token is told nothing" in_intruder_log 'require-peer-proof'
check "and is no member" test ! -e "$work/intruder/member/wal"
cp "$work/token" "$work/old-token"
cat "$work/old-token" "$work/other-token" >"$work/token"
for i in 1 2; do kill -HUP "${member_pids[$i]}"; done
for i in 1 2; do check "n$i reads two tokens" says $i '"tokens":2'; done
cat "$work/other-token" "$work/old-token" >"$work/token"
times_read() { grep -c 'read the join tokens' "$work/n1.log"; }
kill -HUP "${member_pids[1]}"
read_again() { [ "$(times_read)" -ge 2 ]; }
check "n1 has them the other way round" within $LIMIT_S read_again
check "and has read them once for each signal" test "$(times_read)" = 2
stop_member 2 KILL
start_member 2
check "n2 comes back while the tokens change" serves 2
check "and the two go on" within $LIMIT_S ctl_on 2 put a b

# --- TLS --------------------------------------------------------------------------------------------------------------------
if [ "$rows" = all ]; then
    fresh
    peer_url() { echo "https://127.0.0.1:$((base + 10 * $1 + 1))"; }
    cluster=$(cluster_of 1 2 3)
    for name in ca other; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$name" \
            -keyout "$work/$name.key" -out "$work/$name.crt" 2>"$work/openssl.log"
    done
    certificate() { # name, authority
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout "$work/$1.key" \
            -out "$work/$1.csr" 2>>"$work/openssl.log" &&
            openssl x509 -req -in "$work/$1.csr" -CA "$work/$2.crt" -CAkey "$work/$2.key" -CAcreateserial -days 2 \
                -extfile <(echo subjectAltName=IP:127.0.0.1) -out "$work/$1.crt" 2>>"$work/openssl.log"
    }
    certificate peer ca && certificate foreign other
    proof=(--peer-trusted-ca-file "$work/ca.crt" --peer-client-cert-auth --peer-cert-file "$work/peer.crt" --peer-key-file "$work/peer.key" --require-peer-proof)
    other_proof=(--peer-trusted-ca-file "$work/other.crt" --peer-cert-file "$work/foreign.crt" --peer-key-file "$work/foreign.key")
    row tls
    check "tls: the metric says so" sh -c "curl -s $(client_url 1)/metrics | grep -q 'cairn_peer_proof{kind=\"mtls\"} 2'"
    scale tls
fi
finish
