#!/usr/bin/env bash
# Every command of etcdctl 3.7.1 in every --write-out form, and every variable ETCDCTL_*, by cairnctl under the name etcdctl and
# by the real one: ctl_beside.sh. Commands whose output cannot end by itself (watch, lock, elect) are in ctl_etcd.sh.
. "$(dirname "$0")/ctl_beside.sh"

# One line a command; each is run in every form, in this order, so the second form meets what the first has left.
cat >"$work/commands" <<'END'
$E put a "$W"
$E put a 1 --prev-kv
$E get a
$E get a --keys-only
$E get a --print-value-only
$E get a --hex
$E get "" --prefix --count-only
$E get none
$E put d 1; $E del d --prev-kv
$E del none
printf 'value("a") = "1"\n\nget a\nput t 1 --prev-kv\ndel none\n\nget t\n\n' | $E txn
printf 'value("a") = "2"\n\nget a\n\nget a\nput t 1 --prev-kv\ndel t --prev-kv\n\n' | $E txn
printf '\n\n\n' | $E txn
$E compaction $(($(command etcdctl get x -w json | jq .header.revision)))
$E compaction 1
$E lease grant 100 --hex
$E lease timetolive 99
$E lease timetolive 99 --keys
L=$(lease); command etcdctl put on$W 1 --lease=$L; $E lease timetolive $L --keys | sed 's/remaining([0-9]*s)/remaining/; s/"ttl":[0-9]*/ttl/; s/"TTL" : [0-9]*/TTL/'; command etcdctl lease revoke $L
$E lease keep-alive --once 99
$E lease revoke 99
$E lease list | sed -n 1p
$E member list
$E member list --consistency=s
$E member add m$W --peer-urls=http://127.0.0.1:$((port + 9)) --learner | sed -E 's/^(ETCD_INITIAL_CLUSTER=).*/\1/' | grep -v '[0-9]"ID"\|^"ID\|MemberID"' | wc -l
$E member update $(unstarted) --peer-urls=http://127.0.0.1:$((port + 8)) | wc -l
$E member promote $(unstarted) | wc -l
$E member remove $(unstarted) | wc -l
$E member remove 1
$E endpoint status
$E endpoint health | sed -E 's/[0-9.]+[mµ]?s/T/'
$E endpoint hashkv
$E endpoint status --cluster
$E endpoint hashkv --rev=99999
$E alarm list
$E alarm disarm
$E defrag
$E defrag --cluster
$E move-leader 1
$E downgrade validate 3.6
$E downgrade enable 3.6
$E downgrade cancel | sed 's/3[.][67]/VERSION/'
$E downgrade validate 3.1
$E user add u$W:pw
$E user add u$W:pw
$E user get u$W
$E user get u$W --detail
$E user list
printf 'new\n' | $E user passwd u$W --interactive=false
$E role add r$W
$E role grant-permission r$W readwrite k
$E role grant-permission r$W read k2 k5
$E role grant-permission r$W write k7 --prefix
$E role grant-permission r$W write z --from-key
$E role get r$W
$E role get root
$E role list
$E user grant-role u$W r$W
$E user get u$W
$E user get u$W --detail
$E user revoke-role u$W r$W
$E role revoke-permission r$W k
$E role revoke-permission r$W k2 k5
$E role revoke-permission r$W z --from-key
$E role delete r$W
$E user delete u$W
$E auth status
$E auth enable
$E auth disable
$E version
$E snapshot save s.db | grep -v saved
$E check perf --load z
END
for form in simple fields json protobuf table; do
    while IFS= read -r line; do printf 'W=%s ETCDCTL_WRITE_OUT=%s; %s\n' "$form" "$form" "${line//\$E /\$E -w $form }"; done <"$work/commands"
done >"$work/list"

# Each flag as a variable: a value that works, one that is refused, and the flag beside it.
cat >>"$work/list" <<'END'
ETCDCTL_WRITE_OUT=fields $E get a
ETCDCTL_WRITE_OUT=no $E get a
ETCDCTL_HEX=true $E get a
ETCDCTL_USER=u:pw $E get a
ETCDCTL_USER=u ETCDCTL_PASSWORD=pw $E get a
ETCDCTL_PASSWORD=pw $E get a
ETCDCTL_AUTH_JWT_TOKEN=x $E get a
ETCDCTL_AUTH_JWT_TOKEN=x ETCDCTL_USER=u:pw $E get a
ETCDCTL_CACERT=/none $E get a
ETCDCTL_CERT=/none $E get a
ETCDCTL_CERT=/none ETCDCTL_KEY=/none $E get a
ETCDCTL_KEY=/none $E get a
ETCDCTL_KEEPALIVE_TIME=3s ETCDCTL_KEEPALIVE_TIMEOUT=5s $E get a
ETCDCTL_MAX_RECV_BYTES=3 $E get a
ETCDCTL_MAX_REQUEST_BYTES=3 $E put a bigger
ETCDCTL_INSECURE_TRANSPORT=true $E get a
ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true $E get a
ETCDCTL_DISCOVERY_SRV=none.invalid ETCDCTL_ENDPOINTS= $E get a 2>/dev/null
ETCDCTL_DISCOVERY_SRV_NAME=x $E get a
ETCDCTL_NO_SUCH=1 $E get a
ETCDCTL_API=2 $E get a
ETCDCTL_API=3 $E get a
ETCDCTL_ENDPOINTS=http://$ETCDCTL_ENDPOINTS,127.0.0.1:1 $E get a
unset ETCDCTL_ENDPOINTS; $E -d none.invalid --endpoints= get a 2>/dev/null
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:$port,127.0.0.1:1 endpoint health
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:1 endpoint health -w json --command-timeout=500ms | jq -c 'map(del(.took))'
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:1 endpoint status --command-timeout=500ms
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:1 get a --command-timeout=500ms
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:1 member list --command-timeout=500ms
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:1 alarm list --command-timeout=500ms
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:1 defrag --command-timeout=500ms
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:1 snapshot save x.db --command-timeout=500ms
unset ETCDCTL_ENDPOINTS; $E --endpoints=127.0.0.1:$port,127.0.0.1:$port snapshot save x.db
$E get a --write-out
$E get a -x
$E get a --limit=x
$E completion nonsense
$E completion
$E completion powershell | grep -c .  | sed 's/[0-9]*/n/'
END
compare_lists

# A variable with a malformed value is an error here; etcdctl uses the default, or what the text was read as.
check "a node starts" start_server "$work/node" "$port"
for variable in HEX DEBUG KEEPALIVE_TIME KEEPALIVE_TIMEOUT MAX_RECV_BYTES INSECURE_TRANSPORT INSECURE_SKIP_TLS_VERIFY \
    INSECURE_DISCOVERY; do
    said=$(env "ETCDCTL_$variable=x" "$work/ours/etcdctl" get a 2>&1)
    expect "ETCDCTL_$variable=x: exit code" 1 $?
    check "and its sentence" grep -q '^Error: invalid argument "x"' <<<"$said"
done
finish
