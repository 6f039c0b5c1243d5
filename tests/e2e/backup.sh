#!/usr/bin/env bash
# Snapshots that clients save: ten at once, on a full disk, read slowly, given up in the middle, over kill -9, over leftovers of an
# older version. Nothing of them is ever in the data folder.
source "$(dirname "$0")/lib.sh"
source tests/shell/ports.sh
port=$(free_port) || exit 1
url=http://127.0.0.1:$port
export CAIRNCTL_ENDPOINTS=$url ETCDCTL_ENDPOINTS=$url
CTL=$(realpath bin/cairnctl)
save() { "$CTL" --endpoints "$url" snapshot save "$@" >"$work/save.out" 2>&1; }
status() { "$CTL" snapshot status "$1" >/dev/null 2>&1; }
metric() { curl -s -m 30 "$url/metrics" | awk -v name="$1" '$1 == name { print int($2) }'; }
running() { [ "$(metric cairn_snapshots_running)" = "$1" ]; }
waiting() { [ "$(metric cairn_snapshots_waiting)" = "$1" ]; }
copies() { find "$1/data" -name 'snapshot-*' | wc -l; }
# fill TAG COUNT: so many transactions of 64 values of 3 KB.
fill() {
    python3 - "$url" "$1" "$2" <<'PY'
import base64, json, sys, urllib.request
url, tag, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
text = lambda s: base64.b64encode(s.encode()).decode()
for k in range(count):
    ops = [{"requestPut": {"key": text("%s-%d-%d" % (tag, k, i)), "value": text("v%d" % k * 1000)}} for i in range(64)]
    urllib.request.urlopen(urllib.request.Request(url + "/v3/kv/txn", data=json.dumps({"success": ops}).encode()), timeout=60).read()
PY
}
# slow_reader [HEADER]: begins a snapshot and reads a piece of it, then nothing more, until it is killed.
slow_reader() {
    python3 - "$port" "${1:-X: x}" <<'PY' &
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
s.connect(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + sys.argv[2].encode() + b"\r\n\r\n{}")
s.recv(4096)
time.sleep(600)
PY
    reader=$!
}
end_more() { [ -z "${reader:-}" ] || kill "$reader" 2>/dev/null; [ -z "${small:-}" ] || { stop_server KILL; umount -l "$small"; }; }

check "a member serves" start_server "$work/a" "$port" --max-snapshots 2
fill load 200

# --- many at once, beside writes -------------------------------------------------------------------------------------------
before=$(du -sk "$work/a/data" | cut -f1)
fill beside 30 &
writer=$!
for i in $(seq 10); do
    "$CTL" --endpoints "$url" snapshot save "$work/at-once$i" >"$work/at-once$i.out" 2>&1 &
    saves[$i]=$!
done
saved=0
for i in $(seq 10); do wait "${saves[$i]}" && saved=$((saved + 1)); done
wait $writer
expect "ten snapshots at once, beside writes" 10 $saved
whole=0
for i in $(seq 10); do status "$work/at-once$i" && whole=$((whole + 1)); done
expect "all of them are whole" 10 $whole
grew=$(($(du -sk "$work/a/data" | cut -f1) - before))
check "the data folder has grown by the writes alone ($grew KiB)" test $grew -lt 40000
etcdctl snapshot save "$work/by-etcdctl" >/dev/null 2>&1
check "etcdctl saves one" test -s "$work/by-etcdctl"
rm -f "$work"/at-once* "$work/by-etcdctl"

# --- read slowly, given up -------------------------------------------------------------------------------------------------
slow_reader
check "a client that does not read has a place" within $LIMIT_S running 1
expect "nothing of it is in the data folder" 0 "$(copies "$work/a")"
first=$reader
slow_reader
check "so has another one" within $LIMIT_S running 2
save "$work/third" &
third=$!
check "a third one waits for a place" within $LIMIT_S waiting 1
kill "$first"
check "and gets it when a client goes" wait $third
check "what it got is whole" status "$work/third"
kill "$reader"
check "the last place is free as well" within $LIMIT_S running 0
slow_reader "Grpc-Timeout: 3S"
check "a client with a deadline has a place" within $LIMIT_S running 1
check "which is free when that has passed" within $LIMIT_S running 0
kill "$reader"
slow_reader
within $LIMIT_S running 1

# --- kill -9 ---------------------------------------------------------------------------------------------------------------
stop_server KILL
kill "$reader"
expect "kill -9 in the middle leaves nothing" 0 "$(copies "$work/a")"
for i in 0 1 2; do echo old >"$work/a/data/member/snapshot-000000000000000$i.tmp"; done
check "it starts again" start_server "$work/a" "$port"
expect "what an older version left is cleared" 0 "$(copies "$work/a")"
check "a snapshot is saved" save "$work/after"
check "and whole" status "$work/after"
stop_server

# --- a disk with 1 MiB left ------------------------------------------------------------------------------------------------
if [ "$(id -u)" = 0 ] && mkdir "$work/small" && mount -t tmpfs -o size=300m tmpfs "$work/small" 2>/dev/null; then
    small=$work/small
    check "a member on a small disk" start_server "$small" "$port"
    fill small 200
    sleep 0.5 # its store is written down
    left=$(df --output=avail -k "$small" | tail -1)
    head -c $(((left - 1024) * 1024)) /dev/zero >"$small/balloon"
    check "a snapshot is saved while 1 MiB is left" save "$work/tight"
    check "and whole" status "$work/tight"
    check "it holds the state" test "$(stat -c %s "$work/tight" 2>/dev/null || echo 0)" -gt 38000000
    check "the member goes on" etcdctl put more more
else
    echo "  skip a disk with 1 MiB left: no root or no tmpfs"
fi
finish
