# Two versions in one cluster, under recorded load: read by tests/chaos/run.sh in place of its own scenarios. OLD is the oldest
# supported build (old.sh), SERVER this one. Rolling is what an operator does: one member at a time, and each serves
# before the next one is replaced.
SHORT="oldest_formats upgrade_and_back snapshots_both_ways downgrade_and_up unknown_entry"
ALL="oldest_formats old_alone upgrade roll_back upgrade_and_back snapshots_both_ways snapshots_after_downgrade downgrade_and_up refused_without_downgrade unknown_entry newer_with_this"
LONG="storm_of_versions"

need_old() { [ -n "${OLD:-}" ] || skip "there is no older build here"; }
all_as() { local i; for i in $(all); do server_of[$i]=$1; done; }
begin() { # PROGRAM FLAGS...: of all members
    local program=$1
    shift
    members=3
    all_as "$program"
    cluster 3 "$@"
    record --compact 1000 400
}
roll() { # MEMBER PROGRAM
    stop_member "$1"
    server_of[$1]=$2
    say "member $1 is $(basename "$(dirname "$(dirname "$2")")") now"
    start "$1"
    ready || fail "member $1 does not come back as $2: $(tail -1 "$out/log$1" | cut -c1-300)"
}
roll_all() { local i; for i in $(all); do roll "$i" "$1"; sleep "${STAY:-1}"; done; } # each mixture gets its traffic
metric() { curl -s --max-time 5 "http://${ep[$1]}/metrics" | awk -v n="$2" '$1 == n { print $2 }'; }
this=$(grep -c '^FEATURE(' "$(dirname "${BASH_SOURCE[0]}")/../../consensus/feature.def") # the level of this build
newer=$((this + 1))
level_is() { # LEVEL: on all members, in time
    local i end=$((SECONDS + PATIENCE)) seen
    for i in $(all); do
        until seen=$(metric "$i" cairn_feature_level) && [ "$seen" = "$1" ]; do
            [ $SECONDS -le $end ] || fail "member $i is at feature level ${seen:-none}, not $1"
            sleep 0.2
        done
    done
    say "level $1"
}
still_level() { # LEVEL MEMBER...: of members of this build; it must not have moved
    local i seen level=$1
    shift
    for i in "$@"; do
        seen=$(metric "$i" cairn_feature_level)
        [ "$seen" = "$level" ] || fail "member $i is at feature level ${seen:-none}, not $level"
    done
}
maintenance() { # BODY: the gateway's answer to a downgrade request
    curl -s --max-time 10 -d "$1" "http://${ep[$(leader)]}/v3/maintenance/downgrade"
}
cluster_version() { curl -s --max-time 5 "http://${ep[$1]}/version" | sed 's/.*"etcdcluster":"\([^"]*\)".*/\1/'; }
enable_downgrade() {
    local i end=$((SECONDS + PATIENCE)) said
    said=$(maintenance '{"action":"ENABLE","version":"3.6"}')
    grep -q '"version"' <<<"$said" || fail "downgrade enable: $said"
    level_is 1
    for i in $(all); do
        until [ "$(cluster_version "$i")" = 3.6.0 ]; do
            [ $SECONDS -le $end ] || fail "member $i shows cluster version $(cluster_version "$i")"
            sleep 0.2
        done
    done
}
no_error_of_versions() { # the messages of a member that is damaged, or received unknown entries
    local said
    said=$(grep -hE 'does not decode|state differs|alarm raised' "$out"/log* | head -2 | cut -c1-300)
    [ -z "$said" ] || fail "$said"
}
end_well() {
    healed
    no_error_of_versions
    judge
}

# This build reads the old build's files: log, store, documents of registry and config center, users, an
# export archive, the file of --join-token-file.
api() { curl -s -S --fail --max-time 20 -X "$1" "${@:3}" "http://${ep[0]}/api/v1/$2"; }
gateway() { curl -s -S --fail --max-time 20 -d "$2" "http://${ep[0]}/v3/$1"; }
everything() { # as the API returns it, in a form that two builds share
    local what
    for what in configs "configs/app.yaml?meta=true" configs/app.yaml/history configs/app.yaml/draft?meta=true "configs/gray.yaml?meta=true" services services/web; do
        echo "== $what" && api GET "$what" | jq -S 'del(.revision)' || return 1
    done
    gateway kv/range '{"key":"AA==","range_end":"AA=="}' | jq -S '[.kvs[] | {key, value, version, create_revision, lease}]'
    gateway auth/role/list '{}' | jq -S .roles
    gateway auth/user/list '{}' | jq -S .users
    gateway auth/user/get '{"name":"joe"}' | jq -S .roles
    gateway auth/role/get '{"role":"reader"}' | jq -S .perm
    gateway cluster/member/list '{}' | jq -S .members
    gateway lease/leases '{}' | jq -S '.leases | sort_by(.ID)'
}
oldest_formats() {
    local i session
    need_old
    members=1
    head -c 32 /dev/urandom | base64 -w0 >"$out/token"
    chmod 600 "$out/token"
    all_as "$OLD"
    cluster 1 --join-token-file "$out/token" --snapshot-count 100
    api PUT configs/app.yaml --data-binary 'a: 1' >/dev/null || fail "the old build takes no configuration"
    api PUT configs/app.yaml --data-binary 'a: 2' >/dev/null || fail "the old build takes no second release"
    api PUT configs/gray.yaml --data-binary 'b: 1' >/dev/null || fail "the old build takes no configuration"
    api PUT services/web/instances/w1 -d '{"host":"10.0.0.1","port":80,"ttl":3600,"metadata":{"a":"b"}}' >/dev/null || fail "the old build takes no instance"
    api PUT configs/gray.yaml/gray/canary -d '{"priority":1,"match":{"zone":["b"]},"content":"b: 2"}' >/dev/null || fail "the old build takes no gray rule"
    api PUT configs/app.yaml/draft --data-binary 'a: 3' >/dev/null || fail "the old build takes no draft"
    gateway auth/role/add '{"name":"reader"}' >/dev/null || fail "the old build takes no role"
    gateway auth/role/grant '{"name":"reader","perm":{"permType":"READ","key":"aw==","range_end":"bA=="}}' >/dev/null || fail "the old build grants nothing"
    gateway auth/user/add '{"name":"joe","password":"pw"}' >/dev/null || fail "the old build takes no user"
    gateway auth/user/grant '{"user":"joe","role":"reader"}' >/dev/null || fail "the old build gives no role"
    session=$(api POST sessions -d '{"ttl":3600}' | jq -r .session)
    [ "${session:-null}" != null ] || fail "the old build opens no session"
    api PUT "services/web/instances/w2?session=$session" -d '{"host":"10.0.0.2","port":80}' >/dev/null || fail "the old build takes no instance of a session"
    gateway lease/grant '{"TTL":3600,"ID":77}' >/dev/null || fail "the old build grants no lease"
    for i in $(seq 300); do gateway kv/put "{\"key\":\"$(printf 'k%03d' $((i % 50)) | base64)\",\"value\":\"$(printf '%d' "$i" | base64)\",\"lease\":77}" >/dev/null || fail "put"; done
    everything >"$out/before" || fail "the old build does not tell what it holds"
    "$(dirname "$SERVER")/cairnctl" --endpoints="${ep[0]}" config export "$out/old.tar.gz" >>"$out/steps" 2>&1 || fail "no export of the old build"
    "$(dirname "$SERVER")/cairnctl" --endpoints="${ep[0]}" snapshot save "$out/old.db" >>"$out/steps" 2>&1 || fail "no snapshot file of the old build"
    "$(dirname "$SERVER")/cairnctl" snapshot status "$out/old.db" >"$out/old.status" 2>&1 || fail "its snapshot file is not read: $(tail -1 "$out/old.status")"
    "$(dirname "$SERVER")/cairnctl" snapshot restore "$out/old.db" --data-dir "$out/restored" >>"$out/steps" 2>&1 || fail "its snapshot file is not restored: $(tail -1 "$out/steps")"
    kill_member 0 # nothing is tidied up
    server_of[0]=$SERVER
    start 0
    ready || fail "this build does not start on the old one's folder: $(tail -1 "$out/log0" | cut -c1-300)"
    everything >"$out/after" || fail "this build does not tell what the old one held"
    diff "$out/before" "$out/after" >"$out/difference" || fail "this build tells something else: $(head -3 "$out/difference")"
    level_is $this
    api PUT "sessions/$session/heartbeat" >/dev/null || fail "the old build's session does not go on"
    api DELETE configs/app.yaml >/dev/null || fail "delete"
    "$(dirname "$SERVER")/cairnctl" --endpoints="${ep[0]}" config import "$out/old.tar.gz" >>"$out/steps" 2>&1 || fail "the old archive is not taken: $(tail -1 "$out/steps")"
    [ "$(api GET configs/app.yaml)" = 'a: 2' ] || fail "the old archive brings another content"
    stop_member 0
    echo "$(wc -l <"$out/before") lines of state, and an archive of the old build"
}

# The old build by itself, so that its own limits do not count as failures of a mixed cluster.
old_alone() {
    need_old
    begin "$OLD"
    fault
    for i in $(all); do roll "$i" "$OLD"; done
    end_well
}
# Old to new, one by one: the level stays until the last one is new, then it rises by itself.
upgrade() {
    need_old
    begin "$OLD"
    fault
    roll 0 "$SERVER"
    sleep 2
    still_level 1 0
    roll 1 "$SERVER"
    sleep 6 # longer than a leader waits between two questions
    still_level 1 0 1
    roll 2 "$SERVER"
    level_is $this
    end_well
}
# Half-way up and down again, before the level was raised: nothing has to be enabled.
roll_back() {
    need_old
    begin "$OLD"
    fault
    roll 0 "$SERVER"
    roll 1 "$SERVER"
    sleep 2
    still_level 1 0 1
    roll 1 "$OLD"
    roll 0 "$OLD"
    end_well
}
# Away until the log is compacted beyond it, it comes back as another version and gets a snapshot of the leader's version.
SHORT_LOG="--snapshot-catchup-entries 100 --snapshot-count 100"
lead_to() { # MEMBER
    local end=$((SECONDS + PATIENCE))
    until [ "$(leader)" = "$1" ]; do
        [ $SECONDS -le $end ] || fail "member $1 does not lead"
        ctl --endpoints="${ep[$(leader)]}" move-leader "$(member_id "${name_of[$1]}")" >>"$out/steps" 2>&1
        sleep 0.2
    done
    say "member $1 leads"
}
snapshots_of() { grep -c '"installed a snapshot"' "$out/log$1"; }
# For 10 s after the delivery of a snapshot its sender keeps the log after it (KEEP_LOG_MS).
settled=0
by_snapshot() { # MEMBER PROGRAM LEADER
    local had writes end
    while [ $SECONDS -lt $settled ]; do sleep 0.5; done
    end=$((SECONDS + PATIENCE))
    had=$(snapshots_of "$1")
    stop_member "$1"
    lead_to "$3"
    writes=$(writes 2)
    wait_writes 2 $((writes + 3000)) || fail "two of three do not go on"
    server_of[$1]=$2
    say "member $1 is $(basename "$(dirname "$(dirname "$2")")") now"
    start "$1"
    ready || fail "member $1 does not come back as $2: $(tail -1 "$out/log$1" | cut -c1-300)"
    until [ "$(snapshots_of "$1")" -gt "$had" ]; do
        [ $SECONDS -le $end ] || fail "member $1 has got no snapshot"
        sleep 0.1
    done
    settled=$((SECONDS + 12))
}
snapshots_both_ways() {
    need_old
    # shellcheck disable=SC2086
    begin "$OLD" $SHORT_LOG
    fault
    by_snapshot 2 "$SERVER" 0 # this build gets one of the old
    by_snapshot 1 "$SERVER" 0
    still_level 1 1 2
    by_snapshot 0 "$OLD" 2 # the old build gets one of this
    by_snapshot 1 "$OLD" 2
    still_level 1 2
    roll 0 "$SERVER"
    roll 1 "$SERVER"
    level_is $this
    by_snapshot 0 "$SERVER" 2 # with the level in it
    level_is $this
    end_well
}
# The old build takes in what a cluster of this one holds after its level was lowered.
snapshots_after_downgrade() {
    local said
    need_old
    # shellcheck disable=SC2086
    begin "$SERVER" $SHORT_LOG
    level_is $this
    fault
    enable_downgrade
    by_snapshot 2 "$OLD" 0
    by_snapshot 1 "$OLD" 0
    still_level 1 0
    by_snapshot 1 "$SERVER" 2
    roll 2 "$SERVER"
    said=$(maintenance '{"action":"CANCEL"}')
    grep -q '"version"' <<<"$said" || fail "downgrade cancel: $said"
    level_is $this
    end_well
}
# Both of the above in one history: CI's form.
upgrade_and_back() {
    need_old
    begin "$OLD"
    fault
    roll 0 "$SERVER"
    roll 1 "$SERVER"
    sleep 5
    still_level 1 0 1
    roll 0 "$OLD"
    roll 1 "$OLD"
    roll_all "$SERVER"
    level_is $this
    end_well
}
# Down by an enabled downgrade, with old members until the last, and up again by its cancellation.
downgrade_and_up() {
    local said
    need_old
    begin "$SERVER"
    level_is $this
    fault
    said=$(maintenance '{"action":"ENABLE","version":"3.5"}')
    grep -q 'invalid downgrade target version' <<<"$said" || fail "downgrade to 3.5: $said"
    enable_downgrade
    roll_all "$OLD"
    roll_all "$SERVER"
    said=$(maintenance '{"action":"CANCEL"}')
    grep -q '"version"' <<<"$said" || fail "downgrade cancel: $said"
    level_is $this
    [ "$(cluster_version 0)" = 3.7.0 ] || fail "cluster version $(cluster_version 0) after all are new again"
    end_well
}
# Without a downgrade the cluster refuses an old member: the member logs it, disturbs no other, and comes back as this build.
refused_without_downgrade() {
    need_old
    begin "$SERVER"
    level_is $this
    fault
    stop_member 2
    server_of[2]=$OLD
    start 2
    wait_writes 2 200 || fail "the others do not go on"
    sleep 5
    grep -q 'too old for the feature level of the cluster' "$out/log0" "$out/log1" || fail "nobody refused the old member"
    kill_member 2
    server_of[2]=$SERVER
    start 2
    end_well
}
# Members of a version that is not there yet (trialLevel) write entries of a kind of their own. A member of this build that
# was one of them stops with a sentence before the first, and goes on as the newer one.
newer() { [ -n "${FAILPOINT_SERVER:-}" ] || skip "needs FAILPOINT_SERVER"; all_newer; }
all_newer() { local i; for i in $(all); do prefix[$i]="env GOFAIL_FAILPOINTS=trialLevel=return"; done; }
unknown_entry() {
    local end
    members=3
    newer
    begin "$FAILPOINT_SERVER"
    level_is $newer
    fault
    stop_member 2
    prefix[2]=""
    server_of[2]=$SERVER
    start 2
    end=$((SECONDS + PATIENCE))
    while kill -0 "${pid[2]}" 2>/dev/null; do
        [ $SECONDS -le $end ] || fail "a member of this build serves in a cluster of a newer level"
        sleep 0.1
    done
    wait "${pid[2]}" && fail "a member that cannot go on ends with status 0"
    pid[2]=""
    grep -q "needs feature level $newer, this build has $this: start cairnd trial or later" "$out/log2" || fail "it does not say why: $(tail -1 "$out/log2")"
    wait_writes 2 300 || fail "the others do not go on"
    newer
    server_of[2]=$FAILPOINT_SERVER
    start 2
    end_well
}
# This build among newer ones keeps the level where it is; when it is newer, too, the level rises under load.
newer_with_this() {
    members=3
    newer
    prefix[2]=""
    all_as "$FAILPOINT_SERVER"
    server_of[2]=$SERVER
    cluster 3
    record --compact 1000 400
    level_is $this
    fault
    sleep 6
    still_level $this 0 1 2
    newer
    roll 2 "$FAILPOINT_SERVER"
    level_is $newer
    end_well
}
# Up and down some times while members die.
storm_of_versions() {
    local round
    need_old
    begin "$OLD"
    fault
    for round in 1 2 3; do
        roll 0 "$SERVER"
        kill_member 1
        start 1
        ready || fail "member 1 does not come back"
        roll 1 "$SERVER"
        roll 0 "$OLD"
        kill_member 1
        server_of[1]=$OLD
        start 1
        ready || fail "member 1 does not come back"
    done
    roll_all "$SERVER"
    level_is $this
    enable_downgrade
    kill_member 2
    start 2
    ready || fail "member 2 does not come back"
    roll_all "$OLD"
    roll_all "$SERVER"
    end_well
}
