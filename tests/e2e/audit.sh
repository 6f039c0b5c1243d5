#!/usr/bin/env bash
# The audit trail of etcd's API on three members: each administrative operation has one line in --audit-log, and
# with --audit-etcd one record, with its author; so have refused attempts. Nothing is missing after leaders change
# and a member is killed while operations run. Nothing secret is in it. Without --audit-etcd there is no record.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
watchers=()
root() { ctl_on "$1" --user root:root-secret "${@:2}"; }
changes() { # QUERY: lines "kind operation name id author error"
    curl -s -m 60 -u root:root-secret "$(client_url 1)/api/v1/audit?limit=1000$1" |
        jq -r '.changes[] | [.kind, .operation, .name // "-", .id // "-", .author, .error // "ok"] | join(" ")'
}
count() { # LINE: how often the trail has it
    changes "" | grep -cxF -- "$1"
}
has_one() { [ "$(count "$1")" = 1 ]; }
once() { # LINE: in the store exactly once; lines of all members together likewise
    check "recorded once: $1" within "$LIMIT_S" has_one "$1"
}
flags=(--bcrypt-cost 4)
for i in 1 2 3; do start_member $i "${flags[@]}" --audit-etcd --audit-log "$work/audit$i"; done
for i in 1 2 3; do check "n$i serves" serves $i; done
lines() { cat "$work"/audit[123] | jq -r 'select(.changes) | . as $r | .changes[] | [.kind, .operation, .name // "-", .id // "-", $r.author, $r.error // "ok"] | join(" ")'; }

# --- each operation, on any member ---------------------------------------------------------------------------------------
{
    ctl_on 1 user add root:root-secret
    ctl_on 2 user add alice:alice-secret
    ctl_on 3 role add team
    ctl_on 1 role grant-permission team --prefix=true readwrite app/
    ctl_on 2 user grant-role root root
    ctl_on 3 user grant-role alice team
    ctl_on 1 auth enable
    root 2 role revoke-permission team --prefix=true app/
    root 3 user revoke-role alice team
    echo alice-other | root 1 user passwd alice --interactive=false
    root 2 put app/secret-key secret-value
    root 3 compact 2
    root 1 snapshot save "$work/saved"
    root 2 defrag
    root 1 alarm disarm
    ctl_on 1 --user alice:alice-other role add mine
    ctl_on 2 --user alice:wrong-secret get app/a
    ctl_on 3 user add eve:eve-secret
    root 2 role delete team
} >"$work/out" 2>&1
once "user add root - anonymous ok"
once "user add alice - anonymous ok"
once "role add team - anonymous ok"
once "role grant_permission team app/ anonymous ok"
once "user grant_role root root anonymous ok"
once "user grant_role alice team anonymous ok"
once "auth enable - - anonymous ok"
once "role revoke_permission team app/ root ok"
once "user revoke_role alice team root ok"
once "user change_password alice - root ok"
once "maintenance compact 2 - root ok"
once "maintenance snapshot - - root ok"
once "maintenance defragment - - root ok"
once "role add mine - alice forbidden"
once "auth authenticate alice - anonymous unauthorized"
once "user add eve - anonymous unauthorized"
once "role delete team - root ok"
expect "the address of each client" "127.0.0.1" \
    "$(curl -s -u root:root-secret "$(client_url 1)/api/v1/audit?limit=1000" | jq -r '.changes[] | .address' | sort -u)"
expect "writes of keys are not in it" 0 "$(changes "" | grep -c secret-key)"
expect "a line for each record" "$(changes "" | sort)" "$(lines | sort)"

# --- while leaders change and a member is killed ---------------------------------------------------------------------------
operate() {
    for n in $(seq 40); do
        for i in 1 2 3; do
            [ -e "$work/down$i" ] || root $i role add "r$i-$n" >/dev/null 2>&1 && echo "r$i-$n" >>"$work/acknowledged$i"
        done
    done
}
touch "$work/acknowledged1"
CTL=${CTL:-bin/cairnctl}
"$CTL" --endpoints "$(client_url 3),$(client_url 1),$(client_url 2)" --user root:root-secret audit --watch --kind role -o json >"$work/watched" 2>"$work/watched.err" &
watch_pid=$!
member_pids[9]=$watch_pid # so that it ends also when the script breaks off
watches() { grep -q '"operation":"add"' "$work/watched"; }
check "a watch of the trail, at n3" within "$LIMIT_S" watches
operate &
worker=$!
has_lines() { [ "$(cat "$work"/acknowledged* | wc -l)" -ge "$1" ]; }
member_id() { root "$2" member list | grep ", n$1, " | cut -d, -f1; } # of N, asked on MEMBER
leads() { # N: it is the leader
    [ "$(root "$1" endpoint status -w json | jq '.[0].Status | .leader == .header.member_id')" = true ]
}
for target in 10 20; do
    within $LIMIT_S has_lines $target
    to=$((target / 10))
    for i in 1 2 3; do ! leads $i || now=$i; done
    [ "$now" != $to ] || to=3
    id=$(member_id $to 1)
    check "n$now hands over to n$to" root "$now" move-leader "$id"
    once "maintenance move_leader - $id root ok"
done
within $LIMIT_S has_lines 30
touch "$work/down3"
stop_member 3 KILL
wait $worker
rm "$work/down3"
start_member 3 "${flags[@]}" --audit-etcd --audit-log "$work/audit3"
check "n3 serves again" serves 3
roles_and_records() {
    root 1 role list 2>/dev/null | grep '^r[123]-' | sort >"$work/roles"
    changes "&kind=role" | sed -n 's/^role add \(r[123]-[0-9]*\) - root ok$/\1/p' | sort >"$work/records"
    cmp -s "$work/roles" "$work/records"
}
check "each role that was added has exactly one record" within "$LIMIT_S" roles_and_records
is_watched() { jq -r 'select(.error | not) | select(.operation == "add") | .name' "$work/watched" | grep '^r[123]-' | sort | cmp -s - "$work/records"; }
check "the watch has each of them once, though its member was killed" within "$LIMIT_S" is_watched
check "it went on at another member" grep -q 'going on at another one' "$work/watched.err"
kill $watch_pid
wait $watch_pid
unset "member_pids[9]"
check "there are many" [ "$(wc -l <"$work/roles")" -gt 30 ]
check "nothing secret" sh -c "! grep -q -e secret -e '\$2[aby]\\$' '$work'/audit? '$work/records'"
expect "nor in the store" 0 "$(root 1 get --prefix /cairn/audit | grep -c -e 'root-secret' -e alice-other -e 'wrong-secret')"

# --- members that join, are removed ----------------------------------------------------------------------------------------
id3=$(member_id 3 1)
stop_member 3 TERM
root 1 member remove "$id3" >>"$work/out" 2>&1
once "member remove - $id3 root ok"
add_learner() { # waits until the connection has stood long enough for a change of members
    root 2 member add n4 --learner --peer-urls="http://127.0.0.1:$((base + 41))" >"$work/added" 2>/dev/null
}
check "a learner is added" within $LIMIT_S add_learner
added=$(root 1 member list | grep ":$((base + 41))" | cut -d, -f1)
once "member add http://127.0.0.1:$((base + 41)) $added root ok"
finish
