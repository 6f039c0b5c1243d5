#!/usr/bin/env bash
# Point in time backups (--backup-dir): drawn writes whose state after each revision is known, kill -9 in between, restores to drawn
# revisions and times, and every key, version, lease, user and role compared. Then a torn and a damaged archive, a folder that cannot
# be written, a full disk, retention.
source "$(dirname "$0")/lib.sh"
port=$(free_port) || exit 1
url=http://127.0.0.1:$port
export CAIRNCTL_ENDPOINTS=$url ETCDCTL_ENDPOINTS=$url
CTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
backup=$work/backup
small=""
end_more() { [ -z "$small" ] || { stop_server KILL; umount -l "$small"; }; }
metric() { curl -s -m 30 "$url/metrics" | awk -v name="$1" '$1 == name { printf "%.15g\n", $2 }'; }
metric_is() { [ "$(metric "$1")" = "$2" ]; }
begin() { start_server "$work/a" "$port" --backup-dir "$backup" --backup-full-interval "${1:-1s}" --backup-retention-time 0s; }
# drive SEED COUNT: drawn writes; each line of $work/known is a revision, a time in ms, and the state then.
drive() {
    python3 - "$url" "$1" "$2" "$work/known" <<'PY'
import base64, json, random, sys, time, urllib.request
url, seed, count, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), open(sys.argv[4], "a")
draw = random.Random(seed)
text = lambda s: base64.b64encode(s.encode()).decode()
def call(path, **body):
    data = json.dumps(body).encode()
    return json.load(urllib.request.urlopen(urllib.request.Request(url + path, data=data), timeout=60))
def state():
    got = call("/v3/kv/range", key="AA==", range_end="AA==")
    leases = sorted(l["ID"] for l in call("/v3/kv/lease/leases").get("leases", []))
    users, roles = call("/v3/auth/user/list").get("users", []), call("/v3/auth/role/list").get("roles", [])
    return int(got["header"]["revision"]), {"kvs": got.get("kvs", []), "leases": leases, "users": users, "roles": roles}
leases = []
for n in range(count):
    key, kind = "k%02d" % draw.randrange(40), draw.random()
    put = {"key": text(key), "value": text("v%d-%s" % (n, "x" * draw.randrange(300)))}
    if kind < 0.5:
        call("/v3/kv/put", **put)
    elif kind < 0.6:
        call("/v3/kv/deleterange", key=text(key), range_end=text(key + "~"))
    elif kind < 0.7:
        ops = [{"requestPut": {"key": text("t%d" % i), "value": text("%d" % n)}} for i in range(draw.randrange(1, 9))]
        call("/v3/kv/txn", compare=[{"key": text(key), "target": "VERSION", "version": "0", "result": draw.choice(["EQUAL", "GREATER"])}],
             success=ops, failure=[{"requestDeleteRange": {"key": text("t"), "range_end": text("u")}}])
    elif kind < 0.8:
        leases.append(call("/v3/lease/grant", TTL=str(draw.randrange(1000, 9000)))["ID"])
        call("/v3/kv/put", lease=leases[-1], **put)
    elif kind < 0.85 and leases:
        call("/v3/lease/revoke", ID=leases.pop(draw.randrange(len(leases))))
    elif kind < 0.9:
        call("/v3/auth/user/add", name="u%d-%d" % (seed, n), password="p")
        call("/v3/auth/role/add", name="r%d-%d" % (seed, n))
        call("/v3/auth/role/grant", name="r%d-%d" % (seed, n), perm={"permType": "READWRITE", "key": text(key)})
    elif kind < 0.93:
        revision, _ = state()
        if revision > 30:
            call("/v3/kv/compaction", revision=str(revision - 20))
    else:
        call("/v3/kv/put", lease="0", **put)
    revision, now = state()
    print(revision, int(time.time() * 1000), json.dumps(now, sort_keys=True), file=out, flush=True)
    time.sleep(0.01)
PY
}
# compare NAME REVISION ARGUMENTS...: restores with them, starts the member, and compares its state with the known one at REVISION.
compare() {
    local name=$1 revision=$2 other
    shift 2
    rm -rf "$work/r" && mkdir "$work/r"
    if ! "$CTL" snapshot restore --backup-dir "$backup" "$@" --data-dir "$work/r/data" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" >"$work/r/said" 2>&1; then
        cat "$work/r/said"
        fails "$name"
        return
    fi
    start_server "$work/r" "$port" || fails "$name: it does not start"
    other=$(
        python3 - "$url" "$revision" "$work/known" <<'PY'
import json, sys, urllib.request
url, wanted = sys.argv[1], int(sys.argv[2])
def call(path, **body):
    return json.load(urllib.request.urlopen(urllib.request.Request(url + path, data=json.dumps(body).encode()), timeout=60))
got = call("/v3/kv/range", key="AA==", range_end="AA==")
now = {"kvs": got.get("kvs", []), "leases": sorted(l["ID"] for l in call("/v3/kv/lease/leases").get("leases", [])),
       "users": call("/v3/auth/user/list").get("users", []), "roles": call("/v3/auth/role/list").get("roles", [])}
if int(got["header"]["revision"]) != wanted:
    print("the revision is", got["header"]["revision"])
# The last line of a revision: what changed without one (leases, users) belongs to it.
known = [json.loads(l.split(" ", 2)[2]) for l in open(sys.argv[3]) if int(l.split()[0]) == wanted][-1]
for part in known:
    if known[part] != now[part]:
        print(part, "wanted", str(known[part])[:600], "got", str(now[part])[:600])
PY
    )
    stop_server TERM
    expect "$name" "" "$other"
}
last_known() { tail -1 "$work/known" | cut -d' ' -f1; }
drawn_revision() { cut -d' ' -f1 "$work/known" | sort -un | awk -v part="$1" '{ r[NR] = $1 } END { print r[int(NR * part) + 1] }'; }

check "a member serves with a backup" begin
for cycle in 1 2 3 4; do
    drive $cycle 60
    sleep 1.3 # a snapshot is due
    stop_server KILL
    check "killed and back" begin "$([ $cycle = 4 ] && echo 1h)"
done
drive 5 60
revision=$(last_known)
check "all is durable in the backup" within $LIMIT_S metric_is cairn_backup_last_revision "$revision"
check "it is not behind" metric_is cairn_backup_behind 0
stop_server TERM
folder=$(dirname "$(find "$backup" -name 'log-*.open')")
echo "  $(find "$backup" -name 'full-*' | wc -l) snapshots, $(grep -c 'backup goes on' "$work/a/log") starts went on, $(grep -c 'backup begins a new run' "$work/a/log") runs"
check "list" "$CTL" backup list "$backup"
check "verify" "$CTL" backup verify "$backup"
compare "the latest state" "$revision"
# Changes that were in the store and not in the archive when the member was killed are read from the log.
expect "all starts went on with the same run" 1 "$(grep -c 'backup begins a new run' "$work/a/log")"
for part in 0.15 0.4 0.6 0.85 0.97; do
    n=$(drawn_revision $part)
    compare "revision $n" "$n" --to-revision "$n"
done
read -r n at _ < <(awk '{ r[NR] = $0 } END { print r[int(NR * 0.95)] }' "$work/known")
compare "time $at" "$n" --to-time "$((at / 1000)).$(printf %03d $((at % 1000)))"
check "a time before all is refused" test "$("$CTL" snapshot restore --backup-dir "$backup" --to-time -100h --data-dir "$work/no" 2>&1 | grep -c 'before the first snapshot')" = 1
check "a revision after all is refused" test "$("$CTL" snapshot restore --backup-dir "$backup" --to-revision 99999 --data-dir "$work/no" 2>&1 | grep -c "it ends at $revision")" = 1
check "nothing is left of them" test ! -e "$work/no"
mkdir "$work/b"
"$CTL" snapshot restore --backup-dir "$backup" --bump-revision 1000000 --mark-compacted --data-dir "$work/b/data" \
    --initial-cluster "default=http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" >/dev/null 2>&1
check "with a higher revision it starts" start_server "$work/b" "$port"
expect "and has it" $((revision + 1000000)) "$(etcdctl get k -w json | jq .header.revision)"
# The same folder of a backup, another history: it must not go on where the old one ended.
stop_server TERM
cp -r "$backup" "$work/copy"
mv "$work/a" "$work/a.old"
mkdir "$work/a" && "$CTL" snapshot restore --backup-dir "$backup" --to-revision "$(drawn_revision 0.9)" --data-dir "$work/a/data" \
    --initial-cluster "default=http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" >/dev/null 2>&1
check "a restored member writes into the same backup" begin
check "with a run of its own" within $LIMIT_S has "$work/a/log" 'the backup begins a new run'
etcdctl put other history >/dev/null
stop_server TERM
check "both histories are whole" "$CTL" backup verify "$backup"
backup=$work/copy

# --- torn and damaged ------------------------------------------------------------------------------------------------------
open=$(find "$backup" -name 'log-*.open')
size=$(stat -c %s "$open")
truncate -s $((size - 7)) "$open"
"$CTL" snapshot restore --backup-dir "$backup" --data-dir "$work/torn" >"$work/said" 2>&1
expect "a torn tail is accepted" 0 $?
check "and named with its offset" has "$work/said" 'ends within a record at offset'
check "verify accepts it too" "$CTL" backup verify "$backup"
python3 - "$open" "$(find "$backup" -name 'full-*' | sort -V | tail -1 | sed 's/.*full-[^-]*-\([0-9]*\)-.*/\1/')" <<'PY'
import struct, sys
# Flips a bit of the third entry after the newest snapshot.
data, index = bytearray(open(sys.argv[1], "rb").read()), int(sys.argv[2])
at = 128
while struct.unpack(">Q", data[at + 16:at + 24])[0] < index + 3:
    at += 48 + struct.unpack(">I", data[at + 4:at + 8])[0]
data[at + 50 if struct.unpack(">I", data[at + 4:at + 8])[0] > 2 else at + 44] ^= 4
open(sys.argv[1], "wb").write(data)
PY
"$CTL" snapshot restore --backup-dir "$backup" --data-dir "$work/no" >"$work/said" 2>&1
expect "a damaged middle is refused" 1 $?
check "with file, offset and the last revision" grep -Eq 'log-.*open is damaged at offset [0-9]+: .*; the last revision that can be restored is [0-9]+' "$work/said"
n=$(sed 's/.*can be restored is //' "$work/said")
check "that one can be restored" "$CTL" snapshot restore --backup-dir "$backup" --to-revision "$n" --data-dir "$work/until"
check "verify names the file" test "$("$CTL" backup verify "$backup" 2>&1 | grep -c 'open is damaged at offset')" -ge 1
full=$(find "$backup" -name 'full-*' | sort -V | tail -1)
printf X | dd of="$full" bs=1 seek=9000 conv=notrunc 2>/dev/null
check "a damaged snapshot is left out for the one before" test "$("$CTL" snapshot restore --backup-dir "$backup" --to-revision "$n" --data-dir "$work/before" 2>&1 | grep -c 'the snapshot before it is used')" = 1

# --- a folder that cannot be written, another process in it ------------------------------------------------------------------
touch "$work/file"
check "a member with an impossible folder serves" start_server "$work/c" "$port" --backup-dir "$work/file"
check "and says that it is behind" within $LIMIT_S metric_is cairn_backup_behind 1
expect "it writes" OK "$(etcdctl put a 1)"
check "its status says so" within $LIMIT_S sh -c "etcdctl endpoint status -w json | grep -q 'the backup is behind'"
rm "$work/file"
check "the folder becomes good: it catches up" within $LIMIT_S metric_is cairn_backup_behind 0
check "and has it" within $LIMIT_S metric_is cairn_backup_last_revision 2
stop_server TERM

# Another process in the folder.
exec 9>"$(find "$work/file" -name LOCK)"
flock 9
check "a member whose folder is taken serves" start_server "$work/c" "$port" --backup-dir "$work/file"
check "and says that it is taken" within $LIMIT_S has "$work/c/log" 'another process writes in this folder'
flock -u 9
check "it goes on when the other one has gone" within $LIMIT_S metric_is cairn_backup_behind 0
stop_server TERM

# --- a full disk -----------------------------------------------------------------------------------------------------------
fill() { python3 -c "
import base64, json, urllib.request
for k in range($1):
    body = {'key': base64.b64encode(b'f%d' % (k % 20)).decode(), 'value': base64.b64encode(b'v' * 100000).decode()}
    urllib.request.urlopen(urllib.request.Request('$url/v3/kv/put', data=json.dumps(body).encode()), timeout=60).read()"; }
mkdir "$work/small"
if mount -t tmpfs -o size=6m tmpfs "$work/small" 2>/dev/null; then
    small=$work/small
    check "a member with a small disk" start_server "$work/d" "$port" --backup-dir "$small" --backup-full-interval 1h
    fill 500
    check "the disk is full: it is behind" within $LIMIT_S metric_is cairn_backup_behind 1
    check "its memory is bounded" test "$(metric cairn_backup_queued_bytes)" -le 33554432
    expect "it serves" OK "$(etcdctl put after full)"
    check "what is kept is good" "$CTL" backup verify "$small"
    mount -o remount,size=400m "$small"
    check "there is room: it catches up" within $LIMIT_S metric_is cairn_backup_behind 0
    n=$(etcdctl get k -w json | jq .header.revision)
    check "to the last revision" within $LIMIT_S metric_is cairn_backup_last_revision "$n"
    within $LIMIT_S sh -c "'$CTL' snapshot restore --backup-dir $small --to-revision $n --data-dir $work/whole"
    check "and can be restored" test -d "$work/whole/member"
    stop_server TERM
    check "all of it is good" "$CTL" backup verify "$small"
    umount -l "$small"
    small=""
else
    echo "  SKIP the full disk: it needs the right to mount a tmpfs"
fi

# --- retention ---------------------------------------------------------------------------------------------------------------
backup=$work/kept
check "a member keeps 1 MB" start_server "$work/e" "$port" --backup-dir "$backup" --backup-full-interval 1s --backup-retention-bytes 1000000
for i in 1 2 3 4; do
    fill 15
    sleep 1.5
done
few() { [ "$(find "$backup" -name 'full-*.db' | wc -l)" -le 2 ]; }
check "old snapshots are removed" within $LIMIT_S few
n=$(etcdctl get k -w json | jq .header.revision)
check "the newest state is there" within $LIMIT_S metric_is cairn_backup_last_revision "$n"
stop_server TERM
check "and is good" "$CTL" backup verify "$backup"

# By time: what is older than 6 s goes, but for the snapshot that the oldest kept moment needs.
backup=$work/recent
check "a member keeps 6 s" start_server "$work/f" "$port" --backup-dir "$backup" --backup-full-interval 1s --backup-retention-time 6s
first=""
snapshots() { find "$backup" -name 'full-*.db' -printf '%f\n' | sort; }
turned_over() { # the first snapshot is gone, and several of the last seconds are there
    "$CTL" put k "$RANDOM" >/dev/null
    [ "$first" ] || first=$(snapshots | head -1)
    [ "$first" ] && ! snapshots | grep -qxF -e "$first" && [ "$(snapshots | wc -l)" -ge 3 ]
}
check "older snapshots are removed, the others stay" within $LIMIT_S turned_over
n=$(etcdctl get k -w json | jq .header.revision)
check "the newest state is there" within $LIMIT_S metric_is cairn_backup_last_revision "$n"
stop_server TERM
"$CTL" backup list "$backup" -o json >"$work/list"
expect "one snapshot is older than 6 s before the last one, at most" true "$(jq '
    [.snapshots[].time | sub("\\.[0-9]+Z$"; "Z") | fromdate] | sort | . as $at | [$at[] | select(. < $at[-1] - 7)] | length <= 1' "$work/list")"
at=$(jq '[.snapshots[].revision] | min' "$work/list")
check "more than one moment can be restored" test "$at" -lt "$n"
restore_to() { rm -rf "$work/r"; "$CTL" snapshot restore --backup-dir "$backup" --to-revision "$1" --data-dir "$work/r" >"$work/said" 2>&1; }
for r in "$at" $(((at + n) / 2)) "$n"; do check "revision $r of $at to $n can be restored" restore_to "$r"; done
cannot() { ! restore_to "$1"; }
check "one before them cannot" cannot $((at - 1))
check "and the sentence says from when on" has "$work/said" "$at"
check "all of it is good" "$CTL" backup verify "$backup"
finish
