#!/usr/bin/env bash
# The promises of packaging/, one line a check: make packaging. Installs into a folder of its own; nothing of the
# machine is changed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/shell/ports.sh
work=$(mktemp -d)
out=$work/out
failed=0
pids=""
# shellcheck disable=SC2086
trap '[ -z "$pids" ] || kill -9 $pids 2>/dev/null; rm -rf "$work"; give_back_ports' EXIT

result() { # NAME STATUS WHAT
    if [ "$2" = 0 ]; then
        printf '  ok   %-10s %s\n' "$1" "$3"
    else
        cat "$out"
        printf '  FAIL %-10s %s\n' "$1" "$3"
        failed=1
    fi
}
skip() { printf '  --   %-10s %s\n' "$1" "$2"; }

installed() {
    local file
    make --no-print-directory install DESTDIR="$work/tree" PREFIX=/usr >"$work/install.log" 2>&1 || { cat "$work/install.log"; return 1; }
    for file in bin/cairnd lib/systemd/system/cairnd.service lib/sysusers.d/cairn.conf lib/tmpfiles.d/cairn.conf share/doc/cairn/README.md \
        bin/cairnctl share/man/man1/cairnd.1 share/man/man1/cairnctl.1 share/bash-completion/completions/cairnctl \
        share/zsh/site-functions/_cairnctl share/fish/vendor_completions.d/cairnctl.fish; do
        [ -s "$work/tree/usr/$file" ] || { echo "make install does not put /usr/$file"; return 1; }
    done
    ! grep -rn '@PREFIX@' "$work/tree/usr/lib/systemd" || return 1
    "$work/tree/usr/bin/cairnd" --version
}
# man and mandoc find different errors.
manuals() {
    local page
    for page in cairnd cairnctl; do
        if command -v man >/dev/null; then MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$work/tree/usr/share/man/man1/$page.1" >/dev/null; fi
        if command -v mandoc >/dev/null; then mandoc -T lint -W warning "$work/tree/usr/share/man/man1/$page.1"; fi
    done 2>&1 | grep -v 'WARNING: missing date' >"$work/warnings" # a build of the same sources has the same pages
    cat "$work/warnings"
    [ ! -s "$work/warnings" ]
}
unit() {
    local said
    # With a root of its own systemd-analyze knows no other unit and no binary; the program's place is made true instead.
    sed "s|^ExecStart=/usr/bin|ExecStart=$work/tree/usr/bin|; /^Documentation=/d" "$work/tree/usr/lib/systemd/system/cairnd.service" >"$work/cairnd.service"
    said=$(systemd-analyze verify --man=no "$work/cairnd.service" 2>&1)
    grep cairnd <<<"$said" && return 1
    said=$(systemd-analyze security --offline=yes --threshold=20 "$work/cairnd.service" 2>&1) || { tail -60 <<<"$said"; return 1; }
    tail -1 <<<"$said" >"$work/exposure"
}
users() {
    mkdir -p "$work/tree/etc"
    systemd-sysusers --root="$work/tree" cairn.conf && grep -q '^cairn:' "$work/tree/etc/passwd" || return 1
    # Without root nothing can be given to that user: only what the file says is read.
    [ "$(id -u)" != 0 ] || systemd-tmpfiles --root="$work/tree" --create cairn.conf || return 1
    [ "$(id -u)" != 0 ] || [ "$(stat -c %a "$work/tree/var/lib/cairn")" = 700 ]
}
# The unit's start: its variables, its program, and READY=1 before STOPPING=1.
notifies() {
    local base command
    base=$(free_base) || return 1
    command=$(sed -n "s|^ExecStart=||p" "$work/cairnd.service")
    python3 - "$work/notify" >"$work/states" <<'P' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    state = s.recv(1024).decode()
    print(state, flush=True)
    if "STOPPING=1" in state:
        break
P
    local listener=$!
    pids=$listener
    for _ in $(seq 300); do [ -S "$work/notify" ] && break; sleep 0.1; done
    env -i "PATH=$PATH" "NOTIFY_SOCKET=$work/notify" "ETCD_DATA_DIR=$work/data" "ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:$base" "ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:$base" \
        "ETCD_LISTEN_PEER_URLS=http://127.0.0.1:$((base + 1))" "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://127.0.0.1:$((base + 1))" "$command" >"$work/log" 2>&1 &
    local server=$!
    pids+=" $server"
    for _ in $(seq 600); do grep -q READY=1 "$work/states" && break; kill -0 $server 2>/dev/null || break; sleep 0.1; done
    curl -sf -m 10 "http://127.0.0.1:$base/readyz" || { cat "$work/log"; return 1; }
    kill -TERM $server
    wait $server || { cat "$work/log"; return 1; }
    wait $listener
    pids=""
    [ "$(tr '\n' ' ' <"$work/states")" = "READY=1 STOPPING=1 " ] || { cat "$work/states"; return 1; }
}

installed >"$out" 2>&1
result install $? "make install puts the program, the unit, its user and folders"
if [ $failed = 0 ]; then
    if command -v man >/dev/null || command -v mandoc >/dev/null; then
        manuals >"$out" 2>&1
        result manuals $? "man and mandoc, where they are, have no warnings about the manual pages"
    else
        skip manuals "man and mandoc are missing"
    fi
    if command -v systemd-analyze >/dev/null; then
        unit >"$out" 2>&1
        result unit $? "systemd-analyze verify; security: $(sed 's/^[^a-zA-Z]*//' "$work/exposure" 2>/dev/null)"
        users >"$out" 2>&1
        result users $? "systemd-sysusers and systemd-tmpfiles make them"
    else
        skip unit "systemd-analyze is missing"
        sed "s|^ExecStart=/usr/bin|ExecStart=$work/tree/usr/bin|" "$work/tree/usr/lib/systemd/system/cairnd.service" >"$work/cairnd.service"
    fi
    notifies >"$out" 2>&1
    result notify $? "Type=notify: READY=1 when requests are served, STOPPING=1, exit 0"
fi
python3 -B tests/packaging/dockerfile.py packaging/Dockerfile bin/cairnd bin/cairnctl >"$out" 2>&1
result image $? "the Dockerfile, read: it cannot be built here"
exit $failed
