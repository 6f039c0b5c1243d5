#!/usr/bin/env bash
# Three members as real processes: they begin, restart, lose their leader, their disks, and take members in and out.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
watches() { curl -s -m 5 "$(client_url "$1")/metrics" | grep -q '^grpc_server_msg_sent_total{grpc_method="Watch",.* [1-9]'; } # NUMBER: a watch there has been answered

# --- the beginning --------------------------------------------------------------------------------------------------
start_member 1
start_member 2
check "a member without data waits for the others, and says for whom" says 1 "\"for\":\"n3 ($(peer_url 3))\""
stop_member 2 TERM
expect "SIGTERM while it waits ends it at once" 0 "$member_status"
# Both wait for others and query each other: the first that gets a response is refused, and the other may keep waiting.
tokens=(- e2e other)
one_is_refused() {
    for refused in 1 2; do has "$work/n$refused.log" 'cannot start the server' && return; done
    return 1
}
start_member 2 --initial-cluster-token "${tokens[2]}"
within $LIMIT_S one_is_refused
ended $refused
left=$((3 - refused))
expect "another token is refused" 1 "$member_status"
check "and the sentence names it" grep -qF -- "--initial-cluster-token is \\\"${tokens[refused]}\\\" here and \\\"${tokens[left]}\\\" on n$left" \
    "$work/n$refused.log.last"
stop_member $left TERM
for i in 1 2 3; do start_member $i; done
for i in 1 2 3; do check "n$i serves" serves $i; done
within $LIMIT_S sh -c "[ \$(etcdctl --endpoints $(endpoint 1) member list | grep -c 'started, n[123], http.*, http.*, false') = 3 ]"
expect "all are voting members" "3" "$(ctl_on 1 member list | grep -c 'started, n[123], http.*, http.*, false')"
ctl_on 1 put city Lisbon >/dev/null
expect "what one takes, another has" Lisbon "$(ctl_on 3 get city --print-value-only)"

# --- one after the other, while somebody writes ------------------------------------------------------------------------
writes() { # until $work/stop is there: how many writes were refused
    local n=0 bad=0
    while [ ! -e "$work/stop" ]; do
        n=$((n + 1))
        ctl put "count/$n" $n >/dev/null 2>>"$work/writes.err" || bad=$((bad + 1))
        echo "$n $bad" >"$work/writes"
    done
}
writes &
writer=$!
for i in 1 2 3; do
    stop_member $i TERM
    expect "n$i leaves cleanly" 0 "$member_status"
    start_member $i
    check "n$i serves again" serves $i
done
touch "$work/stop"
wait $writer
read -r written refused_writes <"$work/writes"
expect "of $written writes meanwhile none was refused" 0 "$refused_writes"
expect "and all are there, on every member" "$written $written $written" \
    "$(for i in 1 2 3; do ctl_on $i get --prefix count/ --keys-only | grep -c count; done | xargs)"

# --- the leader is killed ----------------------------------------------------------------------------------------------
lead=$(leader)
others=()
for i in 1 2 3; do [ $i = "$lead" ] || others+=($i); done
timeout 300 etcdctl --endpoints "$(endpoint "${others[0]}")" watch city >"$work/watch" 2>&1 &
watcher=$!
check "a watch is there" within $LIMIT_S watches "${others[0]}"
stop_member "$lead" KILL
check "the others go on without n$lead, who led" within $LIMIT_S etcdctl $impatient --endpoints "$(endpoints "${others[@]}")" put city Porto
check "a watch on n${others[0]} goes on" within $LIMIT_S grep -q Porto "$work/watch"
kill "$watcher"
start_member "$lead"
check "n$lead comes back" serves "$lead"
expect "with what it missed" Porto "$(ctl_on "$lead" get city --print-value-only)"
check "the lead is given away" within $LIMIT_S sh -c "etcdctl --endpoints $(endpoints 1 2 3) move-leader $(id_of "$lead")"
expect "to the one that was named" "$lead" "$(leader)"

# --- all are killed ----------------------------------------------------------------------------------------------------
for i in 1 2 3; do stop_member $i KILL; done
for i in 1 2 3; do start_member $i; done
for i in 1 2 3; do check "n$i serves after all were killed" serves $i; done
expect "nothing is lost" Porto "$(ctl get city --print-value-only)"

# --- a disk is lost: the member comes back by itself ------------------------------------------------------------------
old_id=$(id_of 2)
stop_member 2 KILL
rm -rf "$work/n2"
start_member 2
check "a member whose disk is lost comes back" serves 2
new_id=$(id_of 2)
check "under another id ($old_id -> $new_id)" test "$old_id" != "$new_id"
check "as a voting member" within $LIMIT_S votes 2 1
expect "with what it had" Porto "$(ctl_on 2 get city --print-value-only)"
stop_member 3 KILL
rm -rf "$work/n3"
start_member 3 --auto-join=false
says 3 'cannot start the server'
ended 3
expect "--auto-join=false: it ends, as etcd's" 1 "$member_status"
check "in etcd's words" grep -q 'has already been bootstrapped' "$work/n3.log.last"
start_member 3
check "otherwise it is replaced" serves 3
check "as a voting member again" within $LIMIT_S votes 3 1

# --- members come and go -------------------------------------------------------------------------------------------------
cluster=$(cluster_of 1 4)
start_member 4
says 4 'cannot start the server'
ended 4
expect "an unlisted member is refused" 1 "$member_status"
check "with what to do" grep -q 'initial-cluster-state=existing' "$work/n4.log.last"
add() { ctl_on 1 member add n4 --peer-urls="$(peer_url 4)" >"$work/added"; }
check "member add, once the others have been there for 5 s" within $LIMIT_S add
check "member add says what to start it with" grep -q 'ETCD_INITIAL_CLUSTER_STATE="existing"' "$work/added"
id4=$(sed -n 's/^Member *\([0-9a-f]*\) added.*/\1/p' "$work/added")
start_member 4 --initial-cluster-state existing
check "n4 serves" serves 4
expect "under the id it was given" "$id4" "$(id_of 4)"
expect "and has the data" Porto "$(ctl_on 4 get city --print-value-only)"
ctl_on 1 member remove "$id4" >/dev/null
check "once removed it says so" says 4 'permanently removed from the cluster'
ended 4
expect "and ends, as etcd's" 0 "$member_status"
start_member 4
check "started again with its old data it still is" says 4 'permanently removed from the cluster'
ended 4
rm -rf "$work/n4"
start_member 4 --initial-cluster-state existing
check "with an empty folder it adds itself" serves 4
check "as a learner that comes to vote" within $LIMIT_S votes 4 1
ctl_on 1 member remove "$(id_of 4)" >/dev/null
says 4 'permanently removed from the cluster'
ended 4

# --- most disks are lost: nobody guesses --------------------------------------------------------------------------------
cluster=$(cluster_of 1 2 3)
for i in 1 2 3; do stop_member $i TERM; done
rm -rf "$work/n2" "$work/n3"
for i in 1 2 3; do start_member $i; done
check "two disks of three lost: the remaining member waits, and says what can be done" says 2 'force-new-cluster'
sleep 1
check "and nobody begins a new cluster" test ! -e "$work/n2/member/wal" -a ! -e "$work/n3/member/wal"
for i in 1 2 3; do stop_member $i TERM; done
start_member 1 --force-new-cluster
check "--force-new-cluster on the one that is left" serves 1
expect "it has everything" Porto "$(ctl_on 1 get city --print-value-only)"
expect "and is alone" 1 "$(ctl_on 1 member list | wc -l)"
ctl_on 1 member add n2 --peer-urls="$(peer_url 2)" >/dev/null
check "a second voter added to one leaves no leader until it is there" says 1 '"leader-id":"0"'
cluster=$(cluster_of 1 2)
start_member 2 --initial-cluster-state existing
check "the second voter comes all the same" serves 2
check "and the two lead and follow" within $LIMIT_S ctl_on 2 put city Porto
cluster=$(cluster_of 1 2 3)
start_member 3 --initial-cluster-state existing
check "n3 adds itself" serves 3
check "and votes" within $LIMIT_S votes 3 1
expect "three again, with the data" Porto "$(ctl_on 3 get city --print-value-only)"
for i in 1 2 3; do stop_member $i TERM; done

# --- no leader ---------------------------------------------------------------------------------------------------------
for i in 1 2 3; do start_member $i; done
for i in 1 2 3; do serves $i; done
timeout 300 etcdctl --endpoints "$(endpoint 1)" watch city >"$work/watch" 2>&1 &
watcher=$!
check "a watch is there" within $LIMIT_S watches 1
stop_member 2 KILL
stop_member 3 KILL
check "without a quorum /health says so" within $LIMIT_S sh -c "curl -s $(client_url 1)/health | grep -q 'RAFT NO LEADER'"
expect "status too" "etcdserver: no leader" "$(ctl_on 1 endpoint status -w json | jq -r '.[0].Status.errors[0]')"
expect "a local read goes on" Porto "$(ctl_on 1 get city --consistency=s --print-value-only)"
wait $watcher
check "a watch that wants a leader ends" grep -q 'no leader' "$work/watch"
stop_member 1 TERM
expect "and it leaves cleanly" 0 "$member_status"

# --- TLS between members --------------------------------------------------------------------------------------------------
peer_url() { echo "https://127.0.0.1:$((base + 10 * $1 + 1))"; }
cluster=$(cluster_of 1 2 3)
rm -rf "$work"/n[123]
authority() { # name
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$work/$1.key" -out "$work/$1.crt" 2>"$work/openssl.log"
}
certificate() { # name, authority
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout "$work/$1.key" \
        -out "$work/$1.csr" 2>>"$work/openssl.log" &&
        openssl x509 -req -in "$work/$1.csr" -CA "$work/$2.crt" -CAkey "$work/$2.key" -CAcreateserial -days 2 \
            -extfile <(echo subjectAltName=IP:127.0.0.1) -out "$work/$1.crt" 2>>"$work/openssl.log"
}
tls=(--peer-trusted-ca-file "$work/ca.crt" --peer-client-cert-auth --peer-cert-file "$work/peer.crt" --peer-key-file "$work/peer.key")
authority ca && certificate peer ca && authority other && certificate foreign other
start_member 1 "${tls[@]}"
start_member 2 "${tls[@]}"
start_member 3 --peer-trusted-ca-file "$work/other.crt" --peer-client-cert-auth --peer-cert-file "$work/foreign.crt" \
    --peer-key-file "$work/foreign.key"
check "a certificate of another authority is refused" says 3 'rejected connection'
sleep 1
check "and no cluster begins with it" test ! -e "$work/n1/member/wal"
stop_member 3 TERM
start_member 3 "${tls[@]}"
for i in 1 2 3; do check "n$i serves over TLS between members" serves $i; done
expect "a write goes through" OK "$(ctl put a b)"
finish
