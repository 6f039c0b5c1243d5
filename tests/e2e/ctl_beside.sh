# cairnctl under the name etcdctl beside etcdctl 3.7.1 (ETCDCTL, else build/interop/etcdctl37, which make interop builds): every
# line of $work/list is run by both, each on a fresh node with the same flags, so that ids and revisions are the same; compared are
# standard output, the exit code, and the first line of an error. $E is the program. Source it; compare_lists does it all.
# Values that differ by nature are replaced: ids of leases (ID10 and ID16 say in which base), times, sizes, raft's index.
. "$(dirname "$0")/lib.sh"
theirs=$(realpath "${ETCDCTL:-build/interop/etcdctl37}")
[ -x "$theirs" ] || { echo "  skip: no etcdctl 3.7.1 at $theirs (make interop builds it)"; finish; }
port=$(free_base)
mkdir "$work/ours" "$work/theirs"
printf '#!/bin/bash\nunset ETCDCTL_API\nexec %q --dial-timeout=%ss --command-timeout=%ss "$@"\n' "$theirs" $LIMIT_S $LIMIT_S >"$work/theirs/etcdctl"
printf '#!/bin/bash\nexec -a etcdctl %q --dial-timeout=%ss --command-timeout=%ss "$@"\n' "$(realpath "$(dirname "$CAIRND")/cairnctl")" $LIMIT_S $LIMIT_S >"$work/ours/etcdctl"
chmod +x "$work/ours/etcdctl" "$work/theirs/etcdctl"
export ETCDCTL_ENDPOINTS=127.0.0.1:$port

lease() { command etcdctl lease grant 100 | awk '{ print $2 }'; } # the same in both runs
unstarted() { command etcdctl member list | awk -F, '/unstarted/ { print $1 }'; }
plain() {
    sed -E "s/(lease |^|\"ID\"[ ]?: ?|\"id\": ?)[0-9]{17,20}\b/\1ID10/g; s/(lease |^|\"ID\"[ ]?: ?\"?|\"id\": ?)[0-9a-f]{10,16}\b/\1ID16/g; s/took( =|\"|\" )[^,}]*/took/I; s/[0-9.]+ [kM]?B/SIZE/
            s/\"(dbSize|dbSizeInUse|raftIndex|raftAppliedIndex|DBSize|RaftIndex|RaftAppliedIndex)\" ?: ?[0-9]+/\1/g; s/, [0-9]+, [0-9]+, , , false$/, INDEX/
            s/[0-9]+%/PERCENT/; s/took [0-9.]+[mµ]?s/took T/; s/\"(DBSizeInUse|dbSizeInUse)\" : [0-9]+/\1/
            s/^(Member |) *[0-9a-f]{10,16}( added| updated| removed|, unstarted)( as learner)?/\1ID\2/; s/(\"ID\":)[0-9]+,\"peerURLs\":\[\"http:..127.0.0.1:(9|10)\"/\1ID/
            s/(\"[hH]ash\" ?: ?|, |│ +)[0-9]{6,10}( |$|,)/\1HASH\2/; /^([┌├└]|│ +ENDPOINT)/d; s/│( +[0-9]+ │){3} +│/INDEX/; s/\"Took\" : .*/took/"
}
run_list() { # PROGRAM FOLDER
    local line n=0 E=$1
    mkdir -p "$2"
    start_server "$work/node" "$port" || return 1
    cd "$2" || return 1
    while IFS= read -r line; do
        n=$((n + 1))
        (eval "$line") >"$2/$n.raw" 2>"$2/$n.err" </dev/null
        echo "exit $?" >"$2/$n.exit"
        plain <"$2/$n.raw" >"$2/$n.out"
        grep -a -E '^(Error:|watch was|127|Failed)' "$2/$n.err" | head -1 | plain >"$2/$n.said"
        cat "$2/$n.exit" "$2/$n.said" >>"$2/$n.out"
    done <"$work/list"
    cd - >/dev/null || return 1
    stop_server KILL
    rm -rf "$work/node/data"
}
compare_lists() {
    run_list "$work/theirs/etcdctl" "$work/theirs.out"
    run_list "$work/ours/etcdctl" "$work/ours.out"
    n=0
    same=0
    while IFS= read -r line; do
        n=$((n + 1))
        if cmp -s "$work/theirs.out/$n.out" "$work/ours.out/$n.out"; then
            same=$((same + 1))
        else
            fails "$(printf '%s\n' "$line" && diff <(cat -v "$work/theirs.out/$n.out") <(cat -v "$work/ours.out/$n.out") | sed 's/^/    /')"
        fi
    done <"$work/list"
    expect "lines that come out as etcdctl's" "$n" "$same"
}
