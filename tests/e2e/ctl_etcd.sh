#!/usr/bin/env bash
# The command lines below by cairnctl under the name etcdctl and by etcdctl 3.7.1: ctl_beside.sh.
. "$(dirname "$0")/ctl_beside.sh"

cat >"$work/list" <<'END'
$E put a 1
$E put a 2 --prev-kv
$E put b -- -x
$E put c x -w json
$E put c y --prev-kv -w json
$E put c y --prev-kv -w fields
$E put c z --prev-kv --hex
printf 'from\nstdin' | $E put p
$E put "sp ace" $'tab\tquote"\\ \x01\xff'
$E get a
$E get "sp ace" -w fields
$E get "sp ace" -w json
$E get a -w json
$E get a -w fields
$E get a -w protobuf
$E get a -w table
$E get a -w bogus
$E get a --hex
$E get --prefix "" --keys-only
$E get --prefix "" --limit=2 -w fields
$E get --prefix "" --limit=2 -w json
$E get --from-key b
$E get a c
$E get a c --print-value-only
$E get --prefix "" --sort-by=modify --order=descend
$E get --prefix "" --sort-by=value
$E get a --rev=2
$E get a --rev=999
$E get a --consistency=s
$E get a --consistency=x
$E get a --order=x
$E get a --sort-by=x
$E get zzz
$E get zzz -w json
$E get ""
$E get a --prefix --from-key
$E get a b --prefix
$E get
$E put
$E put a --lease=zz
$E put a b --lease=99
$E put a b --ignore-value
$E put a --ignore-value
$E put new --ignore-value
$E del a --prev-kv
$E del nope
$E del b -w json
$E del c -w fields --prev-kv
$E del --prefix s --prev-kv -w json
$E del a b c
$E put k1 1; $E put k2 2; $E put k3 3
$E del k1 k3
$E nosuch
$E gett
printf 'value("t") = "1"\n\nput t 1\n\nput t 1\nget t\n\n' | $E txn
printf 'value("t") = "1"\nmod("t") > "0"\n\nput t 2 --prev-kv\nget t\ndel zz\nput "k w" "v x"\n\nget t\n\n' | $E txn
printf 'version("t") = "2"\n\nget t\n\n\n' | $E txn -w json
printf 'create("t") < "1"\n\nget t\n\nget t\ndel t --prev-kv\nput t 9 --prev-kv\n\n' | $E txn -w json
printf 'val("t") != "9"\n\nget t\n\nget t\n\n' | $E txn -w fields
printf '\n\nputt a 1\n\n' | $E txn
printf '' | $E txn
printf 'value("t") = "1"\n' | $E txn
printf '\nput t cut\n' | $E txn
printf '\nput t cut\n\nput t cut\n' | $E txn
printf '\nput t cut\n\nput t cut' | $E txn
$E get t --print-value-only
printf 'version("a") < "x"\n\n\n\n' | $E txn
printf 'val("a") = "0"\n\nput a 1\n\n\n' | $E txn -i
printf 'val("a") = "0"\n\nput a 1\n\n' | $E txn -i
$E txn x
$E lease grant 100
$E lease grant 100 -w json
$E lease grant 100 -w fields
$E lease grant
$E lease grant x
L=$(lease); $E put lk 1 --lease=$L; $E lease timetolive $L --keys | sed 's/remaining([0-9]*s)/remaining/'
L=$(lease); $E lease timetolive $L | sed 's/remaining([0-9]*s)/remaining/'; $E lease revoke $L; $E lease timetolive $L
$E lease timetolive 1234
$E lease timetolive 1234 -w json
$E lease timetolive 1234 -w fields
$E lease timetolive
L=$(lease); $E lease keep-alive --once $L; $E lease keep-alive --once $L -w json; $E lease keep-alive --once $L -w fields
$E lease keep-alive --once 1234
L=$(lease); $E lease revoke $L -w json
L=$(lease); $E lease revoke $L -w fields
$E lease revoke 1234
$E lease revoke zz
$E lease revoke
$E lease list | sort
$E lease list -w json | jq -c '.leases | length'
$E put w 1; $E put w 2; $E del w
seconds w 9 --rev=$(first w) w
seconds w 13 --rev=$(first w) --prev-kv w
seconds w 1 --rev=$(first w) --prev-kv w -w json
seconds w 37 --rev=$(first w) --prev-kv w -w fields
seconds w 21 --rev=$(first w) w -- sh -c 'env | grep ETCD_WATCH | sort'
$E watch
$E watch a --prefix b
$E watch a --
ETCDCTL_WATCH_RANGE_END=z $E watch
ETCDCTL_WATCH_KEY=a $E watch b
ETCDCTL_WATCH_KEY=w seconds w 9 --rev=$(first w)
ETCDCTL_WATCH_KEY=w ETCDCTL_WATCH_RANGE_END=x seconds w 9 --rev=$(first w)
several 9 "watch w --rev=$(first w)"
several 9 "nonsense" "watch --rev=$(first w) w"
several 13 "watch w --rev=$(first w) --prev-kv"
printf 'watch\n' | $E watch -i 2>&1 | grep -v '^{'
printf 'x\n' | $E watch -i
$E lock l echo inside
$E lock l -- sh -c 'echo $ETCD_LOCK_KEY-$ETCD_LOCK_REV | sed "s/[0-9a-f]*-/LEASE-/"'
$E lock l -- sh -c 'exit 3'
$E lock l --ttl 5 -- cat
$E lock
$E lock l --ttl x
$E get l --prefix
holds l lock l
holds l lock l -w json
holds l lock l -w fields
holds b elect b me
holds b elect b me -w json
holds b elect b me -w fields
$E elect
$E elect b
$E elect b x -l
$E elect b x y
observes 2 elect -l b
observes 1 elect -l b -w json
observes 10 elect -l b -w fields
$E make-mirror
$E make-mirror a b
$E make-mirror --prefix a --dest-prefix b --no-dest-prefix 127.0.0.1:1
$E check perf --load z
$E check datascale --load z
$E put /etcdctl-check-perf/x 1; $E check perf; $E check datascale --prefix /etcdctl-check-perf/
$E get a --max-recv-bytes=3
$E put a bigger --max-request-bytes=3
$E get a --max-request-bytes=x
$E get --prefix "" --stream --keys-only
$E get a --auth-jwt-token=x
$E downgrade validate
$E downgrade validate 3.6
$E downgrade cancel
ETCDCTL_WRITE_OUT=json $E get a
ETCDCTL_WRITE_OUT=json $E get a -w fields 2>/dev/null
ETCDCTL_ENDPOINTS= $E get a --endpoints "$ETCDCTL_ENDPOINTS" 2>/dev/null
$E member list -w fields --hex
$E member list -w json --hex
$E member update 1234 --peer-urls=http://127.0.0.1:9 -w json --hex
$E lease grant 100 -w fields --hex
$E lease grant 100 -w json --hex
L=$($E lease grant 100 | cut -d" " -f2); $E lease timetolive $L -w fields --hex; $E lease keep-alive --once $L -w fields --hex; $E lease revoke $L
$E lease list -w fields --hex | sed -n 1,5p
$E alarm list -w fields --hex
$E endpoint status -w fields --hex
$E get a -w fields --hex
$E member list
$E member list -w json
$E member list -w fields
$E member list -w table
$E endpoint status
$E endpoint status -w json
$E endpoint status -w fields
$E endpoint status -w table
$E endpoint status --cluster
$E endpoint health
$E endpoint health -w json
$E endpoint health -w fields
$E endpoint hashkv
$E endpoint hashkv -w json
$E endpoint hashkv -w fields
$E endpoint hashkv -w table | tr -s ' -'
$E user add root:pw
$E user add u --new-user-password=x
$E user add n --no-password
$E user add u:x
$E user add
printf 'new\n' | $E user passwd u --interactive=false
$E role add r
$E role add r
$E role grant-permission r read a
$E role grant-permission r readwrite --prefix p/
$E role grant-permission r write --from-key z
$E role grant-permission r write b c
$E role grant-permission r own b
$E role grant-permission r
$E role get r
$E role get r -w json
$E role list
$E user grant-role u r
$E user grant-role u none
$E user get u
$E user get u --detail
$E user get nobody
$E user list
$E role revoke-permission r a
$E role revoke-permission r b c
$E role revoke-permission r nope
$E auth enable
$E get a
$E --user=u:new get a
$E --user=u:wrong get a
$E --user=root:pw get a --keys-only
$E --user=root:pw auth disable
$E user revoke-role u r
$E user delete u
$E role delete r
$E alarm list
$E alarm list -w json
$E alarm list -w fields
$E alarm disarm
$E alarm list x
$E compaction 3
$E compaction 3
$E compaction 9999
$E compaction x
$E compaction
$E get p --rev=2
$E watch p --rev=2
$E watch p --rev=2 -w json
$E defrag
$E snapshot save s.db && ls s.db
$E snapshot save
$E move-leader 123
$E move-leader zz
$E move-leader
$E member remove 1234
$E member remove zz
$E member remove
$E member promote 12
$E member update x --peer-urls=a
$E member add
$E member add x
$E member add x --peer-urls=
$E member add x y --peer-urls=http://127.0.0.1:9
$E member add nn --learner --peer-urls=http://127.0.0.1:9 | sed 's/^ETCD_INITIAL_CLUSTER=//' | tr ',' '\n' | tr -d '"' | sort
$E member list | sort -t, -k 3
$E member promote $(unstarted)
$E member update $(unstarted) --peer-urls=http://127.0.0.1:10
$E member list -w json | jq -c '.members | sort_by(.name) | map(del(.ID))'
$E member remove $(unstarted)
END

first() { command etcdctl get "$1" --rev="$(($(command etcdctl get x -w json | jq .header.revision) - 1))" -w json | jq '.kvs[0].create_revision'; }
# A watch does not end by itself: it is killed when it has printed the given number of lines.
seconds() { # KEY LINES FLAGS...
    local lines=$2
    shift 2
    $E watch "$@" >"$work/watched" 2>&1 &
    local pid=$!
    said() { [ "$(wc -l <"$work/watched")" -ge "$lines" ]; }
    within $LIMIT_S said
    sleep 0.2 # and nothing behind it
    kill $pid
    wait $pid 2>/dev/null
    cat "$work/watched"
}
# Several watches from standard input, until so many lines are printed.
several() { # LINES INPUT...
    local lines=$1
    shift
    rm -f "$work/watched"
    mkfifo "$work/typed"
    $E watch -i <"$work/typed" >"$work/watched" 2>&1 &
    local pid=$!
    exec 7>"$work/typed"
    printf '%s\n' "$@" >&7
    said() { [ "$(wc -l <"$work/watched")" -ge "$lines" ]; }
    within $LIMIT_S said
    sleep 0.2
    kill $pid
    wait $pid 2>/dev/null
    exec 7>&-
    rm "$work/typed"
    cat "$work/watched"
}
# A command that holds a key below PREFIX/ until SIGINT: what it prints, the key meanwhile and afterwards, its exit code.
holds() { # PREFIX ARGUMENTS...
    local prefix=$1 pid
    shift
    rm -f "$work/held"
    $E "$@" >"$work/held" 2>"$work/held.err" &
    pid=$!
    within $LIMIT_S test -s "$work/held"
    command etcdctl get "$prefix/" --prefix | sed "s#$prefix/[0-9a-f]*#$prefix/LEASE#"
    kill -INT $pid
    wait $pid
    echo "ends with $?"
    sed -E "s#$prefix/[0-9a-f]+#$prefix/LEASE#; s/\"(key|Key)\" ?: ?\"[^\"]*\"/KEY/; s/\"(lease|Lease)\" ?: ?[0-9]*/LEASE/" "$work/held"
    grep '^Error' "$work/held.err"
    command etcdctl get "$prefix/" --prefix
}
# The output of an observer of two leaders, until so many lines are there.
observes() { # LINES ARGUMENTS...
    local lines=$1 pid
    shift
    command etcdctl put b/1 first >/dev/null
    rm -f "$work/seen"
    $E "$@" >"$work/seen" 2>&1 &
    pid=$!
    heard() { [ "$(wc -l <"$work/seen")" -ge $1 ]; }
    within $LIMIT_S heard "$lines"
    command etcdctl put b/1 again >/dev/null
    within $LIMIT_S heard $((2 * lines))
    command etcdctl put b/2 second >/dev/null
    command etcdctl del b/1 >/dev/null
    within $LIMIT_S heard $((3 * lines))
    sleep 0.2
    kill -INT $pid
    wait $pid
    echo "ends with $?"
    cat "$work/seen"
    command etcdctl del b/2 >/dev/null
}
compare_lists
finish
