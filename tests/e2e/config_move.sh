#!/usr/bin/env bash
# Export and import with other tools: GNU tar and Python's tarfile read our archives and write archives for us; an
# empty cluster imports all configurations of another; hostile, damaged or too large archives are refused with an
# error and change nothing.
. "$(dirname "$0")/lib.sh"
port=$(free_base)
api=http://127.0.0.1:$port/api/v1
start_server "$work" "$port" --config-import-max-bytes 4194304 || exit 1
cd "$work" || exit 1

put() { curl -s -m 60 -o /dev/null -X PUT --data-binary "$2" "$api/configs/$1"; }
# import FILE [QUERY]: $status, $body
import() {
    body=$(curl -s -m 60 -w '\n%{http_code}' --data-binary "@$1" "$api/import?${2:-}")
    status=${body##*$'\n'}
    body=${body%$'\n'*}
}
of() { jq -r "$1" <<<"$body"; }
revision() { curl -s -m 60 "$api/configs?limit=1" | jq .revision; }
# refused NAME STATUS CODE WORDS FILE [QUERY]: in one sentence, and nothing is written
refused() {
    local before
    before=$(revision)
    import "$5" "${6:-}"
    expect "$1" "$2 $3" "$status $(of .error.code)"
    case $(of .error.message) in
    *"$4"*) ;;
    *) expect "$1: says why" "$4" "$(of .error.message)" ;;
    esac
    expect "$1: nothing is written" "$before" "$(revision)"
}

# --- what is exported
put "app.yaml?title=first&note=why" 'port: 80'
put "app.yaml?title=second&note=why+not" 'port: 81'
put "app.json?namespace=prod&group=g" '{"a":[1,2]}'
put "gone?namespace=prod" 'x' && curl -s -X DELETE "$api/configs/gone?namespace=prod" >/dev/null
put "caf%C3%A9%20%25%20%5C%3A%2A%22%27%24x?namespace=prod&group=g" 'odd' # café % \:*"'$x
put "-rf?namespace=prod&group=g" 'a dash'
put "$(printf 'n%.0s' $(seq 256))?namespace=prod&group=g" 'long'
put "$(printf 'm%.0s' $(seq 180))?namespace=prod&group=$(printf 'g%.0s' $(seq 180))" 'deep'
put "x?namespace=manifest.json" 'a namespace called as the manifest is'
put "empty" ''
head -c 700000 /dev/urandom >big
put "big?type=bin" @big
curl -s -X PUT "$api/configs/app.yaml/draft" --data-binary 'draft' >/dev/null
curl -s -m 60 -D head -o all.tgz "$api/export"
expect "export" "200 application/gzip" "$(awk 'NR == 1 { print $2 }' head) $(awk 'tolower($1) == "content-type:" { print $2 }' head | tr -d '\r')"
mkdir all && tar xzf all.tgz -C all
expect "GNU tar reads it" 0 $?
expect "a file each" 9 "$(find all -type f ! -name manifest.json | wc -l)"
check "byte for byte" cmp big all/default/default/big
expect "what is live" 'port: 81' "$(cat all/default/default/app.yaml)"
expect "odd names" 'odd' "$(cat 'all/prod/g/café %25 \:*"'"'"'$x')"
expect "the manifest" '9 cairn-configs 1' "$(jq -r '"\(.items | length) \(.format) \(.version)"' all/manifest.json)"
expect "at one revision" "$(awk 'tolower($1) == "x-cairn-revision:" { print $2 }' head | tr -d '\r')" "$(jq .revision all/manifest.json)"
check "is the first file" test "$(tar tzf all.tgz | head -1)" = manifest.json
python3 - all.tgz <<'PY'
import sys, json, tarfile, hashlib
f = tarfile.open(sys.argv[1])
items = {i["path"]: i for i in json.load(f.extractfile("manifest.json"))["items"]}
names = [m.name for m in f if m.name != "manifest.json"]
assert sorted(names) == sorted(items), (names, list(items))
for m in f:
    if m.name in items:
        data, i = f.extractfile(m).read(), items[m.name]
        assert len(data) == i["size"] and hashlib.sha256(data).hexdigest() == i["sha256"], m.name
        assert hashlib.md5(data).hexdigest() == i["md5"]
PY
expect "Python reads it, digests and all" 0 $?
check "gzip says it is whole" gzip -t all.tgz
curl -s -m 60 "$api/export?namespace=prod&group=g&prefix=app" | tar tz >list
expect "filters" $'manifest.json\nprod/g/app.json' "$(cat list)"
expect "several namespaces" 3 "$(curl -s "$api/export?namespace=default&namespace=default&namespace=nope" | tar tz | grep -c default/)"
expect "all, by a word" 10 "$(curl -s "$api/export?namespace=*&group=*" | tar tz | wc -l)"
expect "nothing" manifest.json "$(curl -s "$api/export?namespace=nope" | tar tz)"
expect "HEAD" 200 "$(curl -s -m 60 -o /dev/null -w '%{http_code}' -I "$api/export")"
expect "an unknown parameter" 400 "$(curl -s -o /dev/null -w '%{http_code}' "$api/export?ns=x")"
expect "many at once" "200 " "$(for _ in 1 2 3 4; do curl -s -m 60 -o /dev/null -w '%{http_code}\n' "$api/export" & done | sort -u | tr '\n' ' '; wait %1 %2 %3 %4 2>/dev/null)"
# A client that leaves in the middle frees its place.
for _ in $(seq 12); do curl -s -m 60 "$api/export" 2>/dev/null | head -c 100 >/dev/null; done
exports() { [ "$(curl -s -m 60 -o /dev/null -w '%{http_code}' "$api/export")" = 200 ]; }
check "after clients that left" within $LIMIT_S exports

# --- into another cluster
stop_server TERM
expect "the node stops cleanly" 0 "$server_status"
other=$((port + 20))
start_server "$work/other" "$other" --config-import-max-bytes 4194304 || { echo "  FAIL the other node does not start"; exit 1; }
api=http://127.0.0.1:$other/api/v1
import all.tgz dry_run=true
expect "a dry run" "200 true 9 0" "$status $(of '"\(.dry_run) \(.actions.created) \(.transactions)"')"
expect "writes nothing" 0 "$(curl -s "$api/configs?namespace=prod&group=*" | jq '.configs | length')"
import all.tgz
expect "import" "200 9 1" "$status $(of '"\(.actions.created) \(.transactions)"')"
expect "in one revision" 1 "$(curl -s "$api/configs?namespace=prod&group=*" | jq '[.configs[].mod_revision] | unique | length')"
curl -s -m 60 "$api/export" -o again.tgz
mkdir again && tar xzf again.tgz -C again
strip() { jq -S 'del(.cluster_id, .revision) | .items |= map(del(.seq))' "$1"; }
expect "exported again it is the same" "" "$(diff <(strip all/manifest.json) <(strip again/manifest.json); rm all/manifest.json again/manifest.json; diff -r all again)"
expect "title and note" "second why not import" "$(curl -s "$api/configs/app.yaml?meta=true" | jq -r '"\(.title) \(.note) \(.operation)"')"
before=$(revision)
import all.tgz
expect "the same again changes nothing" "200 9 0 $before" "$status $(of '"\(.actions.unchanged) \(.transactions)"') $(revision)"

# --- policies
put app.yaml 'port: 99' >/dev/null
before=$(revision)
refused "abort" 409 conflict "default/default/app.yaml: another content is live" all.tgz
expect "lists them" "app.yaml conflict" "$(of '.error.current.items[] | select(.action == "conflict") | "\(.name) \(.action)"')"
import all.tgz policy=skip
expect "skip" "200 1 8 port: 99" "$status $(of '"\(.actions.skipped) \(.actions.unchanged)"') $(curl -s "$api/configs/app.yaml")"
import all.tgz "policy=overwrite&dry_run=true"
expect "a dry run of overwrite" "200 1 port: 99" "$status $(of .actions.updated) $(curl -s "$api/configs/app.yaml")"
import all.tgz policy=overwrite
expect "overwrite" "200 1 port: 81" "$status $(of .actions.updated) $(curl -s "$api/configs/app.yaml")"
refused "no policy" 400 bad_request "policy must be abort, skip or overwrite" all.tgz policy=merge
import all.tgz "namespace=copy&dry_run=true"
expect "into another namespace" "200 9 copy" "$status $(of '"\(.actions.created) \([.items[].namespace] | unique | join(","))"')"

# --- folders of people
mkdir -p mine/prod/web && printf 'a: 1\n' >mine/prod/web/app.yaml && printf '{}' >mine/prod/web/app.json
for format in gnu ustar pax v7; do
    tar c --format=$format -C mine . | gzip >mine.tgz
    import mine.tgz "dry_run=true"
    expect "a folder, $format" "200 prod/web/app.json:json prod/web/app.yaml:yaml" \
        "$status $(of '[.items[] | "\(.namespace)/\(.group)/\(.name):\(.type)"] | join(" ")')"
done
tar c -C mine/prod/web . >plain.tar
import plain.tar "namespace=test&group=api"
expect "without gzip, into a group" "200 test/api/app.json test/api/app.yaml" "$status $(of '[.items[] | "\(.namespace)/\(.group)/\(.name)"] | join(" ")')"
long=$(printf 'l%.0s' $(seq 150))
mkdir -p "deep/$long/$long" && echo x >"deep/$long/${long}/é$long"
tar cz --format=gnu -C deep . >deep.tgz
import deep.tgz "namespace=test"
expect "GNU's long names" "200 1" "$status $(of .actions.created)"
python3 - <<'PY'
import tarfile, io
for name, fmt in (("py-pax.tgz", tarfile.PAX_FORMAT), ("py-gnu.tgz", tarfile.GNU_FORMAT)):
    f = tarfile.open(name, "w:gz", format=fmt)
    for n in ("d/é" + "n" * 200, "d/plain.json"):
        i = tarfile.TarInfo(n); i.size = 2; i.mtime = 1700000000.5
        f.addfile(i, io.BytesIO(b"[]"))
    f.close()
PY
for f in py-pax py-gnu; do
    import $f.tgz "namespace=test&dry_run=true"
    expect "Python's $f" "200 2" "$status $(of '.items | length')"
done
cat plain.tar >doubled && gzip -c plain.tar >one.gz && cat one.gz >two.gz && head -c 512 /dev/zero >>two.gz
import two.gz "namespace=test&group=api"
expect "zeros behind the gzip" "200 2" "$status $(of .actions.unchanged)"

# --- what is wrong with one is wrong with all
printf 'a: 1\na: 2\n' >mine/prod/web/bad.yaml
tar cz -C mine . >bad.tgz
refused "malformed content" 400 malformed "prod/web/bad.yaml: line 2, column 1" bad.tgz policy=overwrite
expect "line and column" "2 1" "$(of '"\(.error.line) \(.error.column)"')"
import bad.tgz "dry_run=true"
expect "a dry run tells" "200 bad.yaml 2" "$status $(of '.items[] | select(.action == "refused") | "\(.name) \(.line)"')"
rm mine/prod/web/bad.yaml

# --- hostile archives
python3 - <<'PY'
import tarfile, io, gzip, json
def arc(out, entries, trailer=b""):
    b = io.BytesIO()
    f = tarfile.open(fileobj=b, mode="w", format=tarfile.GNU_FORMAT)
    for name, data, kind in entries:
        i = tarfile.TarInfo(name); i.type = kind; i.size = len(data) if kind == tarfile.REGTYPE else 0
        i.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
        f.addfile(i, io.BytesIO(data))
    f.close()
    open(out, "wb").write(gzip.compress(b.getvalue()) + trailer)
R = tarfile.REGTYPE
arc("climb.tgz", [("good", b"x", R), ("../../etc/x", b"x", R)])
arc("root.tgz", [("/etc/x", b"x", R)])
arc("sym.tgz", [("good", b"x", R), ("l", b"", tarfile.SYMTYPE)])
arc("hard.tgz", [("l", b"", tarfile.LNKTYPE)])
arc("dev.tgz", [("d", b"", tarfile.CHRTYPE)])
arc("fifo.tgz", [("d", b"", tarfile.FIFOTYPE)])
arc("twice.tgz", [("a", b"x", R), ("./a", b"y", R)])
arc("deep4.tgz", [("a/b/c/d", b"x", R)])
arc("behind.tgz", [("a", b"x", R)], b"something")
arc("large.tgz", [("a", b"x" * 1048577, R)])
def manifest(out, item, extra=()):
    m = json.dumps({"format": "cairn-configs", "version": 1, "items": [item]}).encode()
    arc(out, [("manifest.json", m, R), ("n/g/a", b"abc", R), *extra])
good = {"path": "n/g/a", "namespace": "n", "group": "g", "name": "a", "size": 3}
manifest("lies-size.tgz", {**good, "size": 4})
manifest("lies-md5.tgz", {**good, "md5": "0" * 32})
manifest("lies-sha.tgz", {**good, "sha256": "0" * 64})
manifest("lies-path.tgz", {**good, "path": "n/g/b"})
manifest("unknown.tgz", good, [("n/g/extra", b"x", R)])
manifest("name.tgz", {**good, "name": "a/b"})
open("bomb.tgz", "wb").write(gzip.compress(b"\0" * (64 << 20), 6))
b = bytearray(open("all.tgz", "rb").read()); b[len(b) // 2] ^= 1; open("flipped.tgz", "wb").write(b)
open("cut.tgz", "wb").write(open("all.tgz", "rb").read()[:-300])
open("cut.tar", "wb").write(open("plain.tar", "rb").read()[:1400])
open("text", "w").write("hello, this is no archive\n" * 100)
open("nothing", "w").write("")
PY
refused "a path that climbs" 400 bad_request '"../../etc/x": a path may have no empty, "." or ".." part' climb.tgz
refused "an absolute path" 400 bad_request '"/etc/x" is not a relative path' root.tgz
refused "a symbolic link" 400 bad_request '"l" is a symbolic link' sym.tgz
refused "a hard link" 400 bad_request '"l" is a hard link' hard.tgz
refused "a device" 400 bad_request '"d" is a device' dev.tgz
refused "a pipe" 400 bad_request '"d" is a pipe' fifo.tgz
refused "a file twice" 400 bad_request '"a" is in the archive twice' twice.tgz
refused "too deep" 400 bad_request 'is too deep' deep4.tgz
refused "something behind" 400 malformed 'something follows it' behind.tgz
refused "a large file" 413 too_large '"a" has 1048577 bytes; a configuration may have 1048576 (--config-max-bytes)' large.tgz
refused "a size that lies" 400 bad_request 'has 3 bytes, by manifest.json 4' lies-size.tgz
refused "an md5 that lies" 400 bad_request "does not match the manifest's md5 or sha256" lies-md5.tgz
refused "a sha256 that lies" 400 bad_request "does not match the manifest's md5 or sha256" lies-sha.tgz
refused "a file that is not there" 400 bad_request 'names "n/g/b", which is not in the archive' lies-path.tgz
refused "a file the manifest has not" 400 bad_request '"n/g/extra" is in the archive, but not in its manifest.json' unknown.tgz
refused "a name that is none" 400 bad_request "holds a '/'" name.tgz
refused "a bomb" 413 too_large 'more than 4194304 bytes unpacked, 1024 for each file included (--config-import-max-bytes)' bomb.tgz
refused "a flipped bit" 400 malformed '' flipped.tgz
refused "a gzip cut off" 400 malformed 'cut off' cut.tgz
refused "a tar cut off" 400 malformed 'cut off' cut.tar
refused "no archive" 400 malformed 'no header of a tar archive' text
refused "no body" 400 bad_request 'the body must be an archive' nothing
expect "GET" 405 "$(curl -s -o /dev/null -w '%{http_code}' "$api/import")"

# --- more than one transaction: 300 small ones, then one of them changed
mkdir -p many/bulk/g && for i in $(seq 300); do echo "v: $i" >many/bulk/g/c$i.yaml; done
tar cz -C many . >many.tgz
import many.tgz
expect "300 configurations" "200 300 5" "$status $(of '"\(.actions.created) \(.transactions)"')"
echo 'v: 0' >many/bulk/g/c7.yaml
tar cz -C many . >many.tgz
import many.tgz policy=overwrite
expect "one changed" "200 1 299 1" "$status $(of '"\(.actions.updated) \(.actions.unchanged) \(.transactions)"')"
# A body in pieces of any size, and one that never ends.
expect "a slow body" 200 "$(python3 - "$other" <<'PY'
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
data = open("many.tgz", "rb").read()
s.sendall(b"POST /api/v1/import?policy=skip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
for i in range(0, len(data), 97):
    part = data[i:i + 97]
    s.sendall(b"%x\r\n%s\r\n" % (len(part), part))
s.sendall(b"0\r\n\r\n")
print(s.recv(100).split()[1].decode())
# A client disconnects during another import.
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"POST /api/v1/import HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + data[:500])
s.close()
PY
)"
import many.tgz
expect "after a client that left" "200 300" "$status $(of .actions.unchanged)"

# --- a right that is taken away while the archive comes
export ETCDCTL_ENDPOINTS=127.0.0.1:$other
for user in root mover; do etcdctl user add "$user:$user-pw" >/dev/null; done
etcdctl user grant-role root root >/dev/null 2>&1
etcdctl role add movers >/dev/null
etcdctl role grant-permission movers --prefix=true readwrite /cairn/config/ >/dev/null
etcdctl user grant-role mover movers >/dev/null
etcdctl auth enable >/dev/null
before=$(etcdctl --user root:root-pw get --prefix --keys-only /cairn/config/releases/taken/ | grep -c .)
expect "an import whose right is taken away meanwhile" 403 "$(python3 - "$other" <<'PY'
import json, socket, subprocess, sys, time, urllib.request
port = int(sys.argv[1])
asked = urllib.request.Request(f"http://127.0.0.1:{port}/v3/auth/authenticate", b'{"name":"mover","password":"mover-pw"}')
token = json.load(urllib.request.urlopen(asked))["token"]
data = open("many.tgz", "rb").read()
s = socket.create_connection(("127.0.0.1", port))
s.sendall(b"POST /api/v1/import?namespace=taken HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
          % (token.encode(), len(data)) + data[:len(data) // 2])
time.sleep(0.5)  # the first half is unpacked
subprocess.run(["etcdctl", "--user", "root:root-pw", "role", "revoke-permission", "--prefix=true", "movers", "/cairn/config/"],
               check=True, stdout=subprocess.DEVNULL)
s.sendall(data[len(data) // 2:])
print(s.recv(100).split()[1].decode())
PY
)"
expect "nothing of it is written" "$before" "$(etcdctl --user root:root-pw get --prefix --keys-only /cairn/config/releases/taken/ | grep -c .)"

stop_server TERM
expect "the node stops cleanly" 0 "$server_status"
finish
