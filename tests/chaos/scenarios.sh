# The scenarios: each a function, with what it means above it. A scenario starts a cluster, records, does harm, heals, and
# judges. SHORT is CI's form, ALL those of at most half a minute, LONG the others.
SHORT="selftest healthy one_member kill_follower kill_leader kill_all stop_leader isolate_leader isolate_follower
one_way_to_leader partial_partition flaky_links wiped_disk full_disk rolling_restart handover_storm snapshot_catch_up
compaction_under_faults learner replace_member impostor failpoints failpoints_of_snapshots divergence corrupt_links"
ALL="$SHORT five_members kill_majority stop_leader_briefly one_way_from_leader clock_jumps disk_fails divergence_of_leader
slow_links resets stalled_links"
LONG="stop_leader_long kill_all_again storm"

plain() { cluster 3; record --compact 1000 400; }

# A test of the recorder and the judge: two servers that do not know each other are no cluster, and must not pass.
selftest() {
    members=2
    for i in 0 1; do
        place "$i"
        initial_cluster=$(cluster_flag "$i")
        start "$i"
    done
    ready || fail "the servers do not start"
    record --seconds 2 --patience 2
    wait "$recorder_pid" && fail "the recorder sees equal members"
    recorder_pid=""
    grep -q 'differ' "$out/recorder" || fail "other complaints than expected: $(head -3 "$out/recorder")"
    "$TOOLS/check-history" "$out/history" >"$out/findings" && fail "the judge finds nothing"
    echo "two servers that are no cluster: $(tail -1 "$out/findings")"
}
# No fault: leases must also expire in time.
healthy() {
    plain
    fault
    sleep 8 # and longer than the judge lets a lease be late: a busy machine's server may be
    healed
    judge --healthy 6000
}
# One member alone: kill -9 and again.
one_member() {
    cluster 1
    record
    fault
    for _ in 1 2 3; do kill_member 0; start 0; ready; sleep 0.3; done
    healed
    judge
}
# Five: the leader and one more die.
five_members() {
    local l f
    cluster 5
    record --clients 2 --watchers 1
    l=$(leader) f=$(follower)
    fault
    kill_member "$l"
    kill_member "$f"
    wait_writes 2 200 || fail "three of five do not go on"
    start "$l"
    start "$f"
    healed
    judge
}
kill_follower() {
    local f
    plain
    f=$(follower)
    fault
    kill_member "$f"
    wait_writes 2 200 || fail "two of three do not go on"
    start "$f"
    healed
    judge
}
kill_leader() {
    local l
    plain
    l=$(leader)
    fault
    kill_member "$l"
    wait_writes 2 200 || fail "two of three do not elect"
    start "$l"
    healed
    judge
}
# Power is lost: all die at once, in the middle of writes.
kill_all() {
    local i
    plain
    fault
    for i in $(all); do signal_member "$i" KILL; done
    for i in $(all); do wait "${pid[$i]}" 2>/dev/null; done
    for i in $(all); do start "$i"; done
    healed
    judge
}
kill_all_again() {
    local i
    plain
    fault
    for _ in 1 2 3 4 5; do
        for i in $(all); do signal_member "$i" KILL; done
        for i in $(all); do wait "${pid[$i]}" 2>/dev/null; done
        for i in $(all); do start "$i"; done
        ready || fail "not back"
        sleep 1
    done
    healed
    judge
}
# The remaining member must not serve; the two others come back one after the other.
kill_majority() {
    local l f
    plain
    l=$(leader) f=$(follower)
    fault
    kill_member "$l"
    kill_member "$f"
    sleep 1.5
    start "$f"
    sleep 1
    start "$l"
    healed
    judge
}
stop_for() { # SECONDS
    local l=$1
    signal_member "$1" STOP
    sleep "$2"
    signal_member "$1" CONT
}
# Shorter than an election: the old leader goes on, again and again.
stop_leader_briefly() {
    local l
    plain
    fault
    for _ in 1 2 3 4 5 6 7 8; do
        l=$(leader)
        stop_for "$l" 0.1
        sleep 0.15
    done
    healed
    judge
}
# Faults of all kinds, one after the other, for STORM seconds (60); SEED repeats the choices, not the times.
storm() {
    local end i j
    need_links
    RANDOM=${SEED:=$RANDOM}
    say "SEED=$SEED"
    cluster 3 --snapshot-catchup-entries 300
    record --compact 700 300
    fault
    end=$((SECONDS + ${STORM:-60}))
    while [ $SECONDS -lt $end ]; do
        i=$((RANDOM % 3)) j=$(((i + 1 + RANDOM % 2) % 3))
        case $((RANDOM % 9)) in
        0) kill_member $i && pause 1500 && start $i ;;
        1) kill_member $i && kill_member $j && pause 300 && start $i && pause 300 && start $j ;;
        2) signal_member $i STOP && pause 2500 && signal_member $i CONT ;;
        3) isolate $i && pause 3000 && heal ;;
        4) cut_link $i $j && pause 3000 && heal ;;
        5) drop_out $i $j && pause 3000 && heal ;;
        6) stop_member $i && pause 1000 && start $i ;;
        7) isolate $i && pause 500 && kill_member $j && pause 500 && heal && start $j ;;
        8) ctl --endpoints="${ep[$i]}" move-leader "$(member_id "${name_of[$j]}")" >>"$out/steps" 2>&1 ;;
        esac
        pause 1500
    done
    healed
    echo "SEED=$SEED"
    judge
}
pause() { # up to so many milliseconds
    local ms=$((RANDOM % ($1 + 1)))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}
# Longer: it comes back and believes that it leads (etcd #12528, #20418).
stop_leader() {
    local l
    plain
    l=$(leader)
    fault
    stop_for "$l" 3
    healed
    judge
}
stop_leader_long() {
    local l
    plain
    l=$(leader)
    fault
    stop_for "$l" 30
    healed
    judge
}
isolate_leader() {
    local l
    need_links
    plain
    l=$(leader)
    fault
    isolate "$l"
    wait_writes 2 200 || fail "two of three do not elect"
    sleep 1.5
    heal
    healed
    judge
}
isolate_follower() {
    local f
    need_links
    plain
    f=$(follower)
    fault
    isolate "$f"
    wait_writes 2 500 || fail "two of three do not go on"
    sleep 2.5
    heal
    healed
    judge
}
# The leader speaks and does not hear: it must step down.
one_way_to_leader() {
    local l j
    need_links
    plain
    l=$(leader)
    fault
    for j in $(all); do [ "$j" = "$l" ] || drop_in "$l" "$j"; done
    wait_writes 2 200 || fail "a deaf leader is not replaced"
    heal
    healed
    judge
}
# It hears and is not heard.
one_way_from_leader() {
    local l j
    need_links
    plain
    l=$(leader)
    fault
    for j in $(all); do [ "$j" = "$l" ] || drop_out "$l" "$j"; done
    wait_writes 2 200 || fail "a mute leader is not replaced"
    heal
    healed
    judge
}
# Leader and one follower do not see each other, both see the third: no endless elections (Cloudflare, November 2020).
partial_partition() {
    local l f
    need_links
    plain
    l=$(leader) f=$(follower)
    fault
    cut_link "$l" "$f"
    wait_writes 2 1000 || fail "a partial partition stops the cluster"
    heal
    healed
    judge
}
# Packets are lost and connections are reset, on all links.
flaky_links() {
    local i
    need_net
    plain
    fault
    for i in $(all); do
        in_net "$i" nft "add rule inet chaos out ip daddr 10.77.0.10-10.77.0.20 numgen random mod 100 < 3 drop
            add rule inet chaos out ip daddr 10.77.0.10-10.77.0.20 tcp flags ack numgen random mod 200 < 1 reject with tcp reset" ||
            skip "nft here cannot choose packets by chance"
    done
    sleep 5
    heal
    healed
    judge
}
# A tenth of a second and more each way.
slow_links() {
    need_proxy
    plain
    fault
    proxy "delay * 120 60"
    wait_writes 2 150 || fail "slow links stop the cluster"
    heal
    healed
    judge
}
# Bits flip on all links: no member accepts damaged data.
corrupt_links() {
    need_proxy
    plain
    fault
    proxy "flip * 0.01"
    sleep 5
    grep -qh 'checksum\|malformed\|damaged\|CRC' "$out"/log* || say "no member says that it saw damage"
    heal
    healed
    judge
}
# Connections are reset, closed half, closed, again and again.
resets() {
    local f
    need_proxy
    plain
    f=$(follower)
    fault
    for _ in 1 2 3 4 5 6; do
        proxy "reset *"
        sleep 0.4
        proxy "halfclose m$f up"
        sleep 0.2
        proxy "drop m$f"
        sleep 0.2
    done
    heal
    healed
    judge
}
# Nothing comes through between one member and the others while the connections stand.
stalled_links() {
    local f
    need_proxy
    plain
    f=$(follower)
    fault
    proxy "pause m$f both"
    wait_writes 2 500 || fail "two of three do not go on"
    sleep 2
    heal
    healed
    judge
}
# A member's disk is replaced by an empty one: it joins again by itself.
wiped_disk() {
    local f
    need_cairnd
    plain
    f=$(follower)
    fault
    kill_member "$f"
    rm -rf "$out/data$f"
    wait_writes 2 200 || fail "two of three do not go on"
    start "$f"
    healed
    judge
}
# A follower's disk fills up: it ends, the others go on; with room it goes on too.
full_disk() {
    local f
    [ "$(id -u)" = 0 ] || skip "needs root for a small file system"
    cluster_on_small_disks
    record --compact 1000 400
    f=$(follower)
    fault
    fallocate -l 1G "$out/data$f/filler" 2>/dev/null || dd if=/dev/zero of="$out/data$f/filler" bs=1M status=none 2>/dev/null
    wait_writes 2 500 || fail "two of three do not go on"
    sleep 2
    rm -f "$out/data$f/filler"
    if kill -0 "${pid[$f]}" 2>/dev/null; then say "member $f did not notice"; else wait "${pid[$f]}"; start "$f"; fi
    healed
    judge
}
cluster_on_small_disks() {
    local i
    for i in 0 1 2; do
        mkdir -p "$out/data$i"
        mount -t tmpfs -o size=300m,mode=700 chaos "$out/data$i" || skip "tmpfs cannot be mounted here"
    done
    cluster 3
}
# Every disk error ends the process, whatever it is; here writes beyond a size are refused.
disk_fails() {
    local f
    command -v prlimit >/dev/null || skip "no prlimit"
    plain
    f=$(follower)
    fault
    say "files of $f cannot grow"
    prlimit --pid "${pid[$f]}" --fsize=0
    has_ended $f
    kill -0 "${pid[$f]}" 2>/dev/null && kill_member "$f" # etcd writes into files that are allocated already
    wait "${pid[$f]}" 2>/dev/null
    start "$f"
    healed
    judge
}
rolling_restart() {
    local i
    plain
    fault
    for i in $(all); do
        stop_member "$i"
        start "$i"
        ready || fail "member $i does not come back"
    done
    healed
    judge
}
handover_storm() {
    local l
    plain
    fault
    for _ in $(seq 12); do
        l=$(leader)
        ctl --endpoints="${ep[$l]}" move-leader "$(member_id "${name_of[$(((l + 1) % members))]}")" >>"$out/steps" 2>&1
        sleep 0.1
    done
    healed
    judge
}
# A member is away until the log no longer reaches back: it catches up by a snapshot.
snapshot_catch_up() {
    local f
    cluster 3 --snapshot-catchup-entries 100 --snapshot-count 100
    record --think 2 --compact 300 200
    f=$(follower)
    fault
    kill_member "$f"
    wait_writes 2 4000 || fail "two of three do not go on"
    start "$f"
    healed
    judge
}
# Compactions all the time, sweeping in small steps, while members die.
compaction_under_faults() {
    local i
    cluster 3 --compaction-batch-limit 5
    record --compact 60 40
    fault
    for i in $(all); do
        kill_member "$i"
        sleep 0.4
        start "$i"
        ready || fail "member $i does not come back"
    done
    healed
    judge
}
# A fourth member comes as a learner and becomes a voter, under load.
learner() {
    local id
    plain
    fault
    add_member 3 --learner
    for _ in $(seq 300); do # not ready until it has caught up
        is_voter "${name_of[3]}" && break
        ctl member promote "$(member_id "${name_of[3]}")" >>"$out/steps" 2>&1
        sleep 0.2
    done
    members=4
    is_voter "${name_of[3]}" || fail "the learner did not become a voter: $(ctl member list | tr '\n' ';')"
    healed
    judge
}
is_voter() { # NAME
    local list
    list=$(ctl member list | tee -a "$out/steps")
    grep -q ", $1, .*, false" <<<"$list"
}
# patiently COMMAND...: etcd changes members only when all have been connected for five seconds.
patiently() {
    local t
    for t in $(seq 240); do
        "$@" >>"$out/steps" 2>&1 && return
        sleep 0.25
    done
    fail "$*: $(tail -1 "$out/steps")"
}
add_member() { # MEMBER [--learner]
    local i=$1
    place "$i"
    patiently ctl member add "${name_of[$i]}" --peer-urls="http://${peer_ep[$i]}" "${@:2}"
    # shellcheck disable=SC2046
    initial_cluster=$(cluster_flag $(all) "$i")
    extra[$i]="--initial-cluster-state existing"
    start "$i"
}
# A member is lost for good; another takes its place.
replace_member() {
    local f id
    plain
    f=$(follower)
    id=$(member_id "${name_of[$f]}")
    fault
    kill_member "$f"
    patiently ctl --endpoints="${ep[$(((f + 1) % 3))]}" member remove "$id"
    rm -rf "$out/data$f"
    name_of[$f]=new
    patiently ctl --endpoints="${ep[$(((f + 1) % 3))]}" member add new --peer-urls="http://${peer_ep[$f]}"
    # shellcheck disable=SC2046
    initial_cluster=$(cluster_flag $(all))
    extra[$f]="--initial-cluster-state existing"
    start "$f"
    healed
    judge
}
# Unannounced processes with a copied configuration ask to be added: none is added, nothing is disturbed.
impostor() {
    local before n
    plain
    before=$(ctl member list | sort)
    fault
    place 3
    name_of[3]=impostor
    extra[3]="--initial-cluster-state existing"
    # shellcheck disable=SC2046
    initial_cluster=$(cluster_flag $(all) 3)
    for n in 1 2 3; do
        start 3
        has_ended 3 || fail "the impostor goes on"
        [ ! -e "$out/data3/member/wal" ] || fail "the impostor has a log"
    done
    kill_member "$(follower)"
    start 3
    has_ended 3 || fail "the impostor goes on"
    [ "$(ctl member list | sort)" = "$before" ] || fail "the members are other ones: $(ctl member list | tr '\n' ';')"
    for n in $(all); do kill -0 "${pid[$n]}" 2>/dev/null || start "$n"; done
    healed
    judge
}
# The wall clocks of all members jump, each in its own way: it must have no effect.
clock_jumps() {
    local i lib jump
    lib=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null) || skip "libfaketime is missing"
    need_cairnd
    grep -q __asan_init "$SERVER" && skip "a sanitizer wants to be loaded before libfaketime"
    for i in 0 1 2; do
        echo +0 >"$out/clock$i"
        prefix[$i]="env LD_PRELOAD=$lib FAKETIME_TIMESTAMP_FILE=$out/clock$i FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
    done
    plain
    fault
    for jump in +3600 -86400 +0 -5 +864000 +0; do
        echo $jump >"$out/clock0"
        echo "${jump/+/-}" >"$out/clock1"
        sleep 0.5
    done
    healed
    judge --healthy 3500
}
# Death at each step of installing a snapshot: first of a member that was away, then of one that lost its disk (the
# leader keeps its log for a while after a member got a snapshot, so an absence alone would need no second one).
failpoints_of_snapshots() {
    local point f
    [ -x "${FAILPOINT_SERVER:-}" ] || skip "needs a build with failpoints: FAILPOINT_SERVER"
    SERVER=$FAILPOINT_SERVER
    cluster 3 --snapshot-catchup-entries 100
    record --think 2
    f=$(follower)
    fault
    kill_member "$f"
    wait_writes 2 600 || fail "two of three do not go on"
    for point in raftBeforeApplySnap raftBeforeSaveSnap raftAfterSaveSnap applyAfterOpenSnapshot raftAfterApplySnap \
        raftAfterWALRelease; do
        say "$point at $f"
        prefix[$f]="env GOFAIL_FAILPOINTS=$point=panic"
        start "$f"
        has_ended $f
        kill -0 "${pid[$f]}" 2>/dev/null && fail "member $f passes $point and lives"
        wait "${pid[$f]}"
        prefix[$f]=""
        start "$f"
        ready || fail "member $f does not come back after $point"
        sleep 0.3
        [ $point = raftAfterWALRelease ] && break
        kill_member "$f"
        rm -rf "$out/data$f"
    done
    healed
    judge
}
# One member loses an entry: it is detected, stops, sets its folder aside and joins again; the others go on.
divergence() {
    local f
    [ -x "${FAILPOINT_SERVER:-}" ] || skip "needs a build with failpoints: FAILPOINT_SERVER"
    [ "$NET" = 1 ] || skip "needs root and nft for network namespaces"
    SERVER=$FAILPOINT_SERVER
    for i in 0 1 2; do prefix[$i]="env GOFAIL_HTTP=10.77.0.$((10 + i)):2381"; done
    cluster 3 --corrupt-check-time 1s
    record --limit 1000
    f=$(${1:-follower})
    fault
    curl -s --max-time 30 -X PUT -d '1*return' "http://10.77.0.$((10 + f)):2381/applyIsSkipped"
    has_ended $f
    kill -0 "${pid[$f]}" 2>/dev/null && fail "a member with another state than the others goes on"
    wait "${pid[$f]}" && fail "it ended as if all was well"
    wait_writes 2 300 || fail "two of three do not go on"
    start "$f"
    ready || fail "it does not come back"
    [ -n "$(echo "$out/data$f/member.diverged-"*)" ] || fail "its folder was not set aside"
    for _ in $(seq 300); do [ -z "$(ctl alarm list)" ] && break; sleep 0.1; done
    [ -z "$(ctl alarm list)" ] || fail "the alarm stays: $(ctl alarm list)"
    healed
    kill -TERM "$recorder_pid" # the member's responses before it was detected are wrong: its clients' reads are not judged
    wait "$recorder_pid" || fail "$(tail -4 "$out/recorder")"
    recorder_pid=""
    for i in $(all); do stop_member "$i"; done
    tail -1 "$out/recorder" | sed 's/ reads.*//'
}
divergence_of_leader() { divergence leader; }
# Death at the places that matter, in a cluster under load; needs a build with failpoints.
failpoints() {
    local point i=0
    [ -x "${FAILPOINT_SERVER:-}" ] || skip "needs a build with failpoints: FAILPOINT_SERVER"
    SERVER=$FAILPOINT_SERVER
    [ "$NET" = 1 ] || skip "needs root and nft for network namespaces"
    for i in 0 1 2; do prefix[$i]="env GOFAIL_HTTP=10.77.0.$((10 + i)):2381"; done
    plain
    fault
    for point in walBeforeSync walAfterSync raftBeforeSave raftAfterSave beforeCommit afterCommit \
        beforeApplyOneEntryNormal raftBeforeFollowerSend raftBeforeLeaderSend; do
        i=$(((i + 1) % 3))
        for _ in $(seq 12); do # the leader that was to be killed may have lost leadership meanwhile
            [ $point != raftBeforeFollowerSend ] || i=$(follower)
            [ $point != raftBeforeLeaderSend ] || i=$(leader)
            say "$point at $i"
            curl -s --max-time 30 -X PUT -d panic "http://10.77.0.$((10 + i)):2381/$point"
            PATIENCE=5 has_ended $i && break
            curl -s --max-time 30 -X DELETE "http://10.77.0.$((10 + i)):2381/$point"
        done
        kill -0 "${pid[$i]}" 2>/dev/null && fail "member $i passes $point and lives"
        wait "${pid[$i]}"
        start "$i"
        ready || fail "member $i does not come back after $point"
    done
    healed
    judge
}
