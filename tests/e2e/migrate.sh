#!/usr/bin/env bash
# cairnctl migrate between two clusters of Cairn: the copy, the watch, kill -9 and going on, a compaction of the source in between,
# leases that end, prefixes, users of the source, and what is refused. tests/interop/migrate.sh does it with a real etcd.
source "$(dirname "$0")/lib.sh"
port=$(free_port) || exit 1
other=$(free_port) || exit 1
CTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
helper=$(realpath tests/e2e/migrate.py)
cd "$work" || exit 1
from=http://127.0.0.1:$port to=http://127.0.0.1:$other
more=()
end_more() { for pid in "${more[@]}"; do kill -KILL "$pid" 2>/dev/null; done; }
py() { python3 -B "$helper" "$@"; }
at_from() { "$CTL" --endpoints "$from" "$@"; }
at_to() { "$CTL" --endpoints "$to" "$@"; }
move() { timeout 120 "$CTL" --endpoints "$to" migrate from-etcd --from "$from" "$@" >>moved 2>&1; }
begin() { # FLAGS: in the background; its id is in $moving
    : >moved
    "$CTL" --endpoints "$to" migrate from-etcd --from "$from" "$@" >>moved 2>&1 &
    moving=$!
    more+=($!)
}
end_now() { # SIGNAL
    kill -"$1" "$moving" 2>/dev/null
    wait "$moving" 2>/dev/null
}
same() { py dump "$from" >from.dump && py dump "$to" >to.dump && cmp -s from.dump to.dump; }
# refuses NAME STATUS PATTERN ARGUMENTS...: migrate from-etcd ends at once
refuses() {
    local name=$1 status=$2 pattern=$3 got
    shift 3
    timeout 60 "$CTL" --endpoints "$to" migrate from-etcd "$@" >said 2>&1
    got=$?
    expect "$name" "$status" $got
    check "and why" has said "$pattern"
}

check "the target serves" start_server "$work/to" "$other"
more+=("$server_pid")
check "the source serves" start_server "$work/from" "$port"

# --- what is refused -------------------------------------------------------------------------------------------------------
refuses "no source" 128 '--from names the source'
refuses "one cluster twice" 128 'the same cluster' --from "$to"
refuses "keys of Cairn" 128 'belong to Cairn' --from "$from" --dest-prefix /cairn/
refuses "a source that is not there" 2 'cannot reach' --from http://127.0.0.1:1
at_to put mine v >/dev/null
refuses "a target with keys" 1 'has 1 keys already' --from "$from"
expect "and nothing is left" 1 "$(at_to get '' --from-key --count-only)"
at_to del mine >/dev/null

# --- the copy, killed, while writers run ------------------------------------------------------------------------------------
at_from user add alice --new-user-password secret >/dev/null
at_from role add reader >/dev/null
at_from role grant-permission reader read w1/ --prefix >/dev/null
at_from user grant-role alice reader >/dev/null
check "a snapshot for the passwords" at_from snapshot save save.db
at_from service register web i1 10.0.0.1:80 --ttl 60s --once >/dev/null
writers=()
for i in 1 2; do
    py write "$from" $i stop &
    writers+=($!) more+=($!)
done
sleep 0.5
for pause in 0.1 0.7 1.5; do
    begin --snapshot save.db
    sleep $pause
    check "a run of $pause s is killed" kill -0 "$moving"
    end_now KILL
done
begin
check "it follows" within $LIMIT_S has moved 'lag'
check "keys of the registry are left out" has moved 'keys below /cairn/ are not copied'
sleep 2
check "no transaction is torn" py pairs "$to"
touch stop
wait "${writers[@]}"
check "it says when to switch" within $LIMIT_S has moved '^Switch whenever you like'
check "and that it is equal" has moved '^verified: source revision'
end_now INT

# --- the source is compacted, and a lease ends at the target, while it is away --------------------------------------------------
at_from put gone v >/dev/null
begin
check "it goes on" within $LIMIT_S has moved 'goes on after source revision'
arrived() { [ "$(at_to get "$1" --print-value-only)" = "$2" ]; }
check "a key arrives" within $LIMIT_S arrived gone v
lease=$(at_from lease grant 600 | awk '{ print $2 }')
at_from put leased v --lease "$lease" >/dev/null
check "a key with a lease arrives" within $LIMIT_S arrived leased v
expect "the lease has its TTL" 1 "$(at_to lease timetolive "$lease" | grep -c 'TTL(600s)')"
end_now KILL
at_to lease revoke "$lease" >/dev/null
at_from del gone >/dev/null
at_from put late v >/dev/null
at_from compaction "$(at_from get late -w json | grep -o '"revision": *[0-9]*' | head -1 | grep -o '[0-9]*')" >/dev/null
begin
check "the sides are compared" within $LIMIT_S has moved '^The target has the keys of source revision'
check "the deleted key goes" within $LIMIT_S arrived gone ''
check "the lost key comes again" within $LIMIT_S arrived leased v
at_from lease revoke "$lease" >/dev/null
is_revoked() { ! at_to lease list | grep -q "$lease"; }
check "a lease that is revoked ends there too" within $LIMIT_S is_revoked
end_now INT
check "the end" move --finish
check "it says so" has moved '^Start the clients on'
check "equal keys, leases, users, roles" within $LIMIT_S same
expect "the state is gone" 0 "$(at_to get /cairn/migrate/ --prefix --count-only)"
at_to user add root --new-user-password toor >/dev/null
at_to auth enable >/dev/null
expect "the password came from the snapshot" 0 "$(at_to --user alice:secret get w1/1 >/dev/null 2>said; echo $?)"
at_to --user alice:wrong get w1/1 >said 2>&1
check "another one is wrong" has said 'authentication failed'

# --- the way back, with users at both sides, prefixes, and few operations a transaction ------------------------------------------
echo toor >password
at_from user add root --new-user-password toor >/dev/null
at_from auth enable >/dev/null
for i in 1 2 3 4 5; do echo "put a/$i v$i"; done >ops
{ echo; cat ops; echo; echo; } | at_to --user root:toor txn >/dev/null
back=("$CTL" --endpoints "$to" --user root --password-file password migrate to-etcd --to "$from" --to-user root --to-password-file password)
expect "back, below another prefix" 0 "$("${back[@]}" --prefix a/ --dest-prefix back/ --max-txn-ops 3 --finish >moved 2>&1; echo $?)"
expect "the keys" "back/1 back/2 back/3 back/4 back/5" "$(at_from --user root:toor get back/ --prefix --keys-only | xargs)"
at_from --user root:toor put back/x v >/dev/null
expect "again, with a key that is not the source's" 1 "$("${back[@]}" --prefix a/ --dest-prefix back/ --finish >said 2>&1; echo $?)"
expect "which --replace deletes" 0 "$("${back[@]}" --prefix a/ --dest-prefix back/ --finish --replace >said 2>&1; echo $?)"
expect "the keys again" 5 "$(at_from --user root:toor get back/ --prefix --count-only)"

# --- one migration at a time ---------------------------------------------------------------------------------------------------
"${back[@]}" --prefix a/ --dest-prefix b/ >moved 2>&1 &
first=$!
more+=($!)
check "a first one runs" within $LIMIT_S has moved '^Switch whenever'
"${back[@]}" --prefix a/ --dest-prefix b/ >moved2 2>&1 &
more+=($!)
check "a second one runs" within $LIMIT_S has moved2 'goes on'
at_to --user root:toor put a/6 v >/dev/null
check "the first one ends" within $LIMIT_S is_gone $first
check "and says why" has moved 'another migration has taken over'
finish
