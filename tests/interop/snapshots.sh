#!/usr/bin/env bash
# Snapshots in both directions: a random store of one side, restored by the other side's tool, served by the other side,
# saved there and restored by the first one again. Keys and HashKV at every revision, leases, users, roles and alarms must be equal
# each time, and so must be what etcdutl and `cairnctl etcdutl` tell of each file.
#
#   CAIRND=bin/cairnd CAIRNCTL=bin/cairnctl tests/interop/snapshots.sh [LAST [FIRST]]      seeds FIRST (1) to LAST (3)
#   MANY=1000000: then one store of each side with so many records, with the time of each restore
. "$(dirname "$0")/lib.sh"
CAIRND=$(realpath "${CAIRND:-$root/bin/cairnd}")
CAIRNCTL=$(realpath "${CAIRNCTL:-$root/bin/cairnctl}")
stores=${1:-3}
first=${2:-1}
many=() # words for fill
files=0
old_etcdctl=$(command -v etcdctl) && [[ $("$old_etcdctl" version) = *" 3.4."* ]] || old_etcdctl=""

stop() {
    { kill -TERM "${started[-1]}" && wait "${started[-1]}"; } 2>/dev/null
    unset 'started[-1]'
    give_back_ports
}
dump() { python3 -B "$here/snapshots.py" dump "http://127.0.0.1:$port" "${@:2}" >"$1"; } # FILE [START]
answers() { curl -sf --max-time 10 "$1/health?exclude=NOSPACE" 2>/dev/null | grep -q true; }
save() { # FILE, from a server that may want a user
    "$peers/etcdctl37" --endpoints "127.0.0.1:$port" snapshot save "$1" >"$work/save.log" 2>&1 && return
    "$peers/etcdctl37" --user root:secret --endpoints "127.0.0.1:$port" snapshot save "$1" >"$work/save.log" 2>&1 || { cat "$work/save.log"; return 1; }
}
# both COMMAND...: etcdutl and ours print the same and end alike. etcdutl's hashkv writes into its file, so each has a copy.
both() {
    local theirs ours file=${!#}
    local words=("${@:1:$#-1}")
    cp "$file" "$work/theirs.db" && cp "$file" "$work/ours.db"
    theirs=$("$peers/etcdutl" "${words[@]}" "$work/theirs.db" 2>&1; echo "status $?")
    ours=$("$CAIRNCTL" etcdutl "${words[@]}" "$work/ours.db" 2>&1; echo "status $?")
    [ "$theirs" = "$ours" ] || { printf '%s:\netcdutl: %s\nours:    %s\n' "$*" "$theirs" "$ours"; return 1; }
}
# pages FILE: bbolt's tool prints every page, and the keys of every bucket in order.
pages() {
    local bucket
    [ "$(stat -c %s "$1")" -lt 50000000 ] || return 0
    "$peers/bbolt" page --all "$1" >"$work/pages.log" 2>&1 || { tail -3 "$work/pages.log"; echo "bbolt page"; return 1; }
    for bucket in $("$peers/bbolt" buckets "$1"); do
        "$peers/bbolt" keys -f hex "$1" "$bucket" >"$work/keys.log" 2>&1 && sort -cu "$work/keys.log" ||
            { tail -3 "$work/keys.log"; echo "bbolt keys $bucket"; return 1; }
    done
}
judge() { # FILE: it is a sound snapshot, and both tools tell the same of it
    local form
    for form in simple table json fields; do
        both snapshot status -w $form "$1" && both hashkv -w $form "$1" || return 1
    done
    if [ "$old_etcdctl" ]; then # 3.4 has the command, and counts all rows
        cp "$1" "$work/theirs.db"
        [ "$("$old_etcdctl" snapshot status "$work/theirs.db")" = "$("$CAIRNCTL" etcdctl snapshot status "$1")" ] ||
            { echo "etcdctl 3.4: $("$old_etcdctl" snapshot status "$work/theirs.db")"; return 1; }
    fi
    head -c -32 "$1" >"$work/bare.db"
    "$peers/bbolt" check "$work/bare.db" >"$work/check.log" 2>&1 || { cat "$work/check.log"; return 1; }
    pages "$work/bare.db" || return 1
    files=$((files + 1))
}
restore() { # TOOL... : then FILE and the name of the folder
    local folder=${!#} file=${*: -2:1}
    "${@:1:$#-2}" snapshot restore "$file" --data-dir "$work/$folder" >"$work/restore.log" 2>&1 || { cat "$work/restore.log"; return 1; }
}
same() { diff "$1" "$2" >"$work/diff" || { head -20 "$work/diff"; return 1; }; }

# travel SEED FIRST SECOND: each of these is "etcd" or "ours".
declare -A server=([etcd]=$peers/etcd37 [ours]=$CAIRND) tool=([etcd]=$peers/etcdutl [ours]=$CAIRNCTL)
travel() {
    local name=$2-$1 kind=$2 other=$3 step began
    start_server "$name-0" "${server[$kind]}" || return 1
    python3 -B "$here/snapshots.py" fill "http://127.0.0.1:$port" "$1" ${many[@]+"${many[@]}"} || return 1
    dump "$work/$name.dump" && save "$work/$name-0.db" || return 1
    stop
    for step in 1 2; do
        judge "$work/$name-$((step - 1)).db" || { echo "the snapshot of $kind, seed $1, step $step"; return 1; }
        restoring_ms=$(date +%s%3N)
        restore "${tool[$other]}" "$work/$name-$((step - 1)).db" "$name-$step" || return 1
        [ ${#many[@]} = 0 ] || echo "$((${many[1]})) records and more, $(stat -c %s "$work/$name-$((step - 1)).db") bytes, restored for $other in $(($(date +%s%3N) - restoring_ms)) ms"
        began=$(date +%s)
        start_server "$name-$step" "${server[$other]}" || return 1
        dump "$work/$name-$step.dump" "$began" && save "$work/$name-$step.db" || return 1
        same "$work/$name.dump" "$work/$name-$step.dump" || { echo "$other after a restore of the snapshot of $kind, seed $1"; return 1; }
        stop
        other=$kind kind=$3
    done
    judge "$work/$name-2.db" || { echo "the last snapshot, seed $1"; return 1; }
    rm -rf "$work/$name"*
}

# bump: a revision that grows, restored by both tools from a file of each.
bump() {
    local kind
    start_server bump "$CAIRND" || return 1
    python3 -B "$here/snapshots.py" fill "http://127.0.0.1:$port" 2 open || return 1
    "$peers/etcdctl37" --endpoints "127.0.0.1:$port" put kept value >"$work/put" && save "$work/bump.db" || return 1
    stop
    for kind in etcd ours; do
        "${tool[$kind]}" snapshot restore "$work/bump.db" --data-dir "$work/bump-$kind" --bump-revision 1000 --mark-compacted \
            >"$work/restore.log" 2>&1 || { cat "$work/restore.log"; return 1; }
        start_server "bump-$kind" "${server[$kind]}" || return 1
        dump "$work/all.dump" || return 1
        grep -v '^hash' "$work/all.dump" >"$work/bump-$kind.dump" # deviation bump-row
        save "$work/bump-$kind.db" || return 1
        stop
    done
    grep -q '^key' "$work/bump-etcd.dump" || { echo 'no key was bumped'; return 1; }
    same "$work/bump-etcd.dump" "$work/bump-ours.dump" || { echo 'a bumped revision'; return 1; }
    both snapshot status "$work/bump-etcd.db" && both hashkv "$work/bump-etcd.db" || return 1
    restore "$CAIRNCTL" "$work/bump-etcd.db" bump-back && start_server bump-back "$CAIRND" || return 1
    dump "$work/all.dump" || return 1
    grep -v '^hash' "$work/all.dump" >"$work/bump-back.dump"
    stop
    same "$work/bump-etcd.dump" "$work/bump-back.dump" || { echo 'a bumped file of etcd, restored by us'; return 1; }
}

# old VERSION BINARY: five stores of an older etcd at most. The HashKV of 3.4 is not today's where something was compacted: etcdutl is asked
# for that of the file.
# without_newer VERSION DUMP: 3.5 shows no permissions of the role root, and no revision of a hash; 3.4 has no path that tells
# whether users are enabled.
without_newer() {
    [ "$1" = 3.6 ] || sed -i -E '/^role root /d; s/^(hash at [0-9]+ .[0-9]+), [^,]+/\1/; s/^(hash [0-9]+) [^ ]+/\1/' "$2"
    [ "$1" != 3.4 ] || sed -i '/^hash /d; /^auth /d' "$2"
}
old() {
    local seed last=$((stores < first + 4 ? stores : first + 4))
    for seed in $(seq "$first" "$last"); do
        rm -rf "$work"/old*
        start_server "old-$seed" "$2" || return 1
        python3 -B "$here/snapshots.py" fill "http://127.0.0.1:$port" "$seed" || return 1
        dump "$work/old.dump" && save "$work/old.db" || return 1
        stop
        restore "$CAIRNCTL" "$work/old.db" "old-$seed-restored" && start_server "old-$seed-restored" "$CAIRND" || return 1
        dump "$work/new.dump" || return 1
        stop
        local told
        told=$("$CAIRNCTL" etcdutl hashkv -w json "$work/old.db" | grep -o '"hash":[0-9]*' | tr -d '":' | sed 's/hash/hash /')
        grep -q "^$told " "$work/new.dump" || { echo "the hash after a restore of etcd $1, seed $seed"; return 1; }
        without_newer "$1" "$work/old.dump" && without_newer "$1" "$work/new.dump"
        both snapshot status "$work/old.db" && both hashkv "$work/old.db" || return 1
        same "$work/old.dump" "$work/new.dump" || { echo "a snapshot of etcd $1, seed $seed"; return 1; }
    done
}

for seed in $(seq "$first" "$stores"); do
    travel "$seed" ours etcd || exit 1
    travel "$seed" etcd ours || exit 1
done
bump || exit 1
if [ "${MANY:-}" ]; then
    many=(many "$MANY")
    travel 1001 ours etcd && travel 1001 etcd ours || exit 1
fi
older_etcds
with=""
for etcd in ${older[@]+"${older[@]}"}; do old "${etcd%%=*}" "${etcd#*=}" || exit 1; with+=", of etcd ${etcd%%=*} too"; done
echo "$((stores - first + 1)) stores of each side$with, restored by the other's tool and back; $files files judged by etcdutl and bbolt"
