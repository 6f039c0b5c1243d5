#!/usr/bin/env bash
# Data folders of etcd that was killed: `cairnctl import etcd-data-dir` makes a member of one, and a real etcd starts on a copy.
# Both must answer equally: keys at several revisions, HashKV, leases, users, roles, alarms. The database of the folder is
# behind its log by 100 ms, by everything since the start, or by a few operations; the log has one file or several.
#
#   CAIRND=bin/cairnd CAIRNCTL=bin/cairnctl STORES=4 tests/interop/import.sh
. "$(dirname "$0")/lib.sh"
CAIRND=$(realpath "${CAIRND:-$root/bin/cairnd}")
CAIRNCTL=$(realpath "${CAIRNCTL:-$root/bin/cairnctl}")
stores=${STORES:-4} # seeds 1 to STORES
older_etcds
old_etcd="" # 3.4
for etcd in ${older[@]+"${older[@]}"}; do [ "${etcd%%=*}" != 3.4 ] || old_etcd=${etcd#*=}; done
entries=0

kill_last() {
    { kill -KILL "${started[-1]}" && wait "${started[-1]}"; } 2>/dev/null
    unset 'started[-1]'
    give_back_ports
}
py() { python3 -B "$here/import.py" "$1" "http://127.0.0.1:$port" "${@:2}"; }
same() { diff "$1" "$2" >"$work/diff" || { head -20 "$work/diff"; return 1; }; }
documented=$(sed -n 's/^cairnctl import/import/p' "$root/docs/etcd.md") # with /var/lib/etcd and /var/lib/cairn
# import FROM TO: runs the command of the page. Its output is in $work/import.log.
import() {
    local line=${documented//\/var\/lib\/etcd/$work/$1}
    "$CAIRNCTL" ${line//\/var\/lib\/cairn/$work/$2} >"$work/import.log" 2>&1 || { cat "$work/import.log"; return 1; }
    entries=$((entries + $(grep -o 'applies [0-9]* entries' "$work/import.log" | grep -o '[0-9]*')))
}
serve() { start_server "$@" && py dump >"$work/$1.dump" && kill_last; }

# without_newer ETCD DUMP...: without the lines of what this etcd does not have; 3.5 shows no permissions of the role root.
without_newer() {
    local lines='^new: role root'
    [ "$1" != "$old_etcd" ] || lines='^new:'
    [ "$1" = "$peers/etcd37" ] || sed -i "/$lines/d" "${@:2}"
}

# compare NAME ETCD [flags of the etcd on the copy]: the folder NAME, whose etcd was killed.
compare() {
    local name=$1 etcd=$2
    shift 2
    cp -a "$work/$name" "$work/$name-etcd" && import "$name" "$name-ours" || return 1
    serve "$name-etcd" "$etcd" "$@" && serve "$name-ours" "$CAIRND" || return 1
    without_newer "$etcd" "$work/$name-etcd.dump" "$work/$name-ours.dump"
    same "$work/$name-etcd.dump" "$work/$name-ours.dump" || { echo "the import of $name differs from etcd"; return 1; }
    grep -q '^key' "$work/$name-ours.dump" || { echo "$name has no key"; return 1; }
    serve "$name-ours" "$CAIRND" || return 1 # a second start: what was applied is in the store
    without_newer "$etcd" "$work/$name-ours.dump"
    same "$work/$name-etcd.dump" "$work/$name-ours.dump" || { echo "the import of $name, started again"; return 1; }
    rm -rf "$work/$name" "$work/$name-etcd" "$work/$name-ours"
}

# alone SEED ETCD [flags]: work on one member, which is killed.
alone() {
    local seed=$1 etcd=$2
    shift 2
    start_server "alone-$seed" "$etcd" "$@" && py work "$seed" && kill_last || return 1
    compare "alone-$seed" "$etcd" "$@" || { echo "seed $seed, $*"; return 1; }
}

# Several files of the log: etcd begins another one after 64 MB.
several() {
    start_server several "$peers/etcd37" --backend-batch-interval 1h --backend-batch-limit 1000000 && py work 2 && py large 70 && kill_last || return 1
    [ "$(ls "$work/several/member/wal/"*.wal | wc -l)" -ge 2 ] || { echo 'the log has one file'; return 1; }
    compare several "$peers/etcd37"
}

# Three members, all killed: each of their folders becomes the only member, as with --force-new-cluster of etcd.
three() {
    start_members three "$peers/etcd37" 3 --snapshot-count 100 && port=${ports[0]} && py work 4 || return 1
    for i in 0 1 2; do kill_last; done
    for i in 0 1 2; do
        mv "$work/three$i" "$work/part$i"
        compare "part$i" "$peers/etcd37" --force-new-cluster || { echo "member $i of three"; return 1; }
    done
}

# received ETCD FLAG: a member that was behind has received a snapshot, and is killed before it is its database: the file
# INDEX.snap.db lies beside the old one. Made of a folder whose etcd has taken it.
received() {
    local etcd=$1 i last index
    start_members behind "$etcd" 3 --snapshot-count 10 "$2" 5 && port=${ports[0]} && py work 6 || return 1
    mapfile -t commands < <(for i in "${started[@]: -1}"; do tr '\0' '\n' <"/proc/$i/cmdline"; done)
    kill -KILL "${started[-1]}" && wait "${started[-1]}" 2>/dev/null
    unset 'started[-1]'
    last=$work/behind2
    cp "$last/member/snap/db" "$work/behind.db"
    py work 8 || return 1
    "${commands[@]}" >"$work/behind2.log" 2>&1 &
    started+=($!)
    within grep -q 'applied snapshot' "$work/behind2.log" || { echo 'no snapshot was received'; return 1; }
    within answers "http://127.0.0.1:${ports[2]}" || return 1
    sleep 1
    for i in 0 1 2; do kill_last; done
    index=$(basename "$(ls "$last"/member/snap/*.snap | tail -1)" .snap)
    mv "$last/member/snap/db" "$last/member/snap/${index#*-}.snap.db"
    cp "$work/behind.db" "$last/member/snap/db"
    mv "$last" "$work/received"
    cp -a "$work/received" "$work/lacking" && rm "$work/lacking/member/snap/"*.snap.db
    complains 'snap.db is not there: the folder is incomplete' "$work/lacking" || return 1
    compare received "$etcd" --force-new-cluster || { echo "a received snapshot"; return 1; }
    rm -rf "$work"/behind* "$work/lacking"
}

# A restore into three members from one folder, without a request among them.
into_three() {
    start_server source "$peers/etcd37" && py work 6 && kill_last || return 1
    local base i cluster=""
    base=$(free_base)
    for i in 0 1 2; do cluster+=",into$i=http://127.0.0.1:$((base + 10 * i + 1))"; done
    for i in 0 1 2; do
        "$CAIRNCTL" import etcd-data-dir "$work/source" --data-dir "$work/into$i" --name "into$i" --initial-cluster "${cluster#,}" \
            --initial-advertise-peer-urls "http://127.0.0.1:$((base + 10 * i + 1))" >"$work/import.log" 2>&1 || { cat "$work/import.log"; return 1; }
    done
    for i in 0 1 2; do
        "$CAIRND" --name "into$i" --data-dir "$work/into$i" --listen-client-urls "http://127.0.0.1:$((base + 10 * i))" \
            --advertise-client-urls "http://127.0.0.1:$((base + 10 * i))" --listen-peer-urls "http://127.0.0.1:$((base + 10 * i + 1))" \
            --initial-advertise-peer-urls "http://127.0.0.1:$((base + 10 * i + 1))" --initial-cluster "${cluster#,}" >"$work/into$i.log" 2>&1 &
        started+=($!)
    done
    for i in 0 1 2; do
        within answers "http://127.0.0.1:$((base + 10 * i))" || { echo "member $i does not start"; return 1; }
        port=$((base + 10 * i)) py dump >"$work/into$i.dump" || return 1
    done
    for i in 0 1 2; do kill_last; done
    serve source "$peers/etcd37" || return 1
    for i in 0 1 2; do same "$work/source.dump" "$work/into$i.dump" || { echo "member $i of three imported ones"; return 1; }; done
}

# complains PATTERN ARGUMENTS...: the import fails with one line that has the pattern, and leaves nothing.
complains() {
    local pattern=$1
    shift
    "$CAIRNCTL" import etcd-data-dir "$@" --data-dir "$work/bad" >"$work/said" 2>&1 && { echo "accepted: $*"; return 1; }
    [ "$(wc -l <"$work/said")" = 1 ] && grep -q -- "$pattern" "$work/said" || { cat "$work/said"; echo "does not say: $pattern"; return 1; }
    [ ! -e "$work/bad" ] || { echo "left behind: $(find "$work/bad")"; return 1; }
}
damage() { printf 'damage' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# Refused are a folder in use, a foreign one, a damaged or incomplete log. The folder of etcd stays as it is.
refusals() {
    start_server used "$peers/etcd37" --backend-batch-interval 1h --backend-batch-limit 1000000 && py large 70 || return 1
    complains 'is in use by a running etcd: stop it first' "$work/used" || return 1
    kill_last
    local log=$work/used/member/wal files sum
    files=("$log"/*.wal)
    sum=$(cd "$work/used" && find . -type f -exec sha256sum {} + | sort | sha256sum)
    mkdir -p "$work/foreign"
    complains 'is not a data folder of etcd' "$work/foreign" || return 1
    complains 'is not a data folder of etcd' "$work/none" || return 1
    complains 'has no log of etcd.*--etcd-wal-dir' "$work/used" --etcd-wal-dir "$work/foreign" || return 1
    complains "couldn't find local name" "$work/used" --name other || return 1
    cp -a "$work/used" "$work/hurt"
    local hurt=("$work/hurt/member/wal"/*.wal)
    damage "${hurt[0]}" 20000000
    complains "${hurt[0]##*/} is damaged at offset [0-9]*: the checksum of a record is wrong" "$work/hurt" || return 1
    cp "${files[0]}" "${hurt[0]}" && truncate -s 30000000 "${hurt[0]}"
    complains 'is damaged at offset' "$work/hurt" || return 1
    rm "${hurt[0]}"
    complains 'the entries between are missing' "$work/hurt" || return 1 # the rest of the log does not begin where the database ends
    cp "${files[0]}" "${hurt[0]}" && damage "${hurt[1]}" 2000000
    complains "${hurt[1]##*/} is damaged at offset" "$work/hurt" || return 1
    cp "${files[1]}" "${hurt[1]}" && mv "${hurt[1]}" "${hurt[1]%/*}/0000000000000005-0000000000000047.wal"
    complains 'a file is missing between' "$work/hurt" || return 1
    rm -rf "$work/hurt"
    # kill -9 and a signal at any moment: the next run works, and cairnd does not begin empty meanwhile
    local i pid killed=0
    for i in $(seq 0 30); do
        rm -rf "$work/cut"
        "$CAIRNCTL" import etcd-data-dir "$work/used" --data-dir "$work/cut" >/dev/null 2>&1 & pid=$!
        sleep "0.0$((i * 3 / 10))$((i * 3 % 10))"
        { kill -KILL $pid && wait $pid; } 2>/dev/null
        [ -d "$work/cut/member.restoring" ] && [ ! -d "$work/cut/member" ] || continue
        killed=$((killed + 1))
        "$CAIRND" --data-dir "$work/cut" >"$work/said" 2>&1 && { echo 'cairnd begins in an unfinished import'; return 1; }
        grep -q 'a restore was interrupted' "$work/said" || { cat "$work/said"; return 1; }
        import used cut || return 1
        [ "$(ls "$work/cut")" = member ] || { ls "$work/cut"; return 1; }
    done
    [ $killed -gt 0 ] || { echo 'no import was killed in the middle'; return 1; }
    [ "$sum" = "$(cd "$work/used" && find . -type f -exec sha256sum {} + | sort | sha256sum)" ] || { echo 'the folder of etcd has changed'; return 1; }
    # a power failure cuts the last record off: etcd starts, and so do we
    mv "$work/used" "$work/torn"
    python3 - "${files[-1]/used/torn}" <<'PY' || return 1
import sys
with open(sys.argv[1], "r+b") as f:
    end = len(f.read().rstrip(b"\0"))
    f.truncate(end - 5)
PY
    compare torn "$peers/etcd37" --backend-batch-interval 1h --backend-batch-limit 1000000 || return 1
    grep -q 'was cut off at offset' "$work/import.log" || { cat "$work/import.log"; return 1; }
}

for seed in $(seq "$stores"); do
    flags=()
    [ $((seed % 3)) = 1 ] && flags=(--backend-batch-interval 1h --backend-batch-limit 1000000)
    [ $((seed % 3)) = 2 ] && flags=(--backend-batch-limit 3 --snapshot-count 50)
    alone "$seed" "$peers/etcd37" ${flags[@]+"${flags[@]}"} || exit 1
done
several && three && into_three && refusals || exit 1
received "$peers/etcd37" --snapshot-catchup-entries || exit 1
for etcd in ${older[@]+"${older[@]}"}; do
    binary=${etcd#*=}
    alone 100 "$binary" && alone 101 "$binary" --backend-batch-interval 1h || { echo "etcd ${etcd%%=*}"; exit 1; }
    [ "$binary" = "$old_etcd" ] || received "$binary" --experimental-snapshot-catchup-entries || { echo "etcd ${etcd%%=*}"; exit 1; }
done
[ $entries -gt 0 ] || { echo 'no log was ahead of its database'; exit 1; }
echo "imports of $stores random stores, of several log files, of and into three members${older[*]:+, of etcd ${older[*]%%=*}}: equal; $entries entries of logs applied"
