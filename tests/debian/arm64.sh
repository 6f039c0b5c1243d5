#!/usr/bin/env bash
# arm64.sh: builds everything for arm64 with Debian 13's cross compiler, in a root with the arm64 libraries (build/arm64, kept),
# runs the daemon and the unit tests under qemu-user. T= picks tests as with make check; SHORT=1 the ones below.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.." || exit 1
. tests/debian/root.sh
name=arm64
suite=trixie
root=$PWD/build/$name
# Tests of architecture-dependent code: checksums and hashes, byte order and alignment in formats, atomics and
# threads, the store on LMDB.
short="base_ wal_ record store_test index codec peer_wire snapshot_wire raft_test pb_ json dns_ hpack"
libraries="libuv1-dev libnghttp2-dev libwebsockets-dev libwebsockets-evlib-uv liblmdb-dev libyaml-dev libssl-dev libprotobuf-c-dev
    libjansson-dev zlib1g-dev libjwt-dev libcrypt-dev libcmocka-dev libldns-dev"
install() {
    [ ! -e "$root/.arm64" ] || return 0
    within_root "export DEBIAN_FRONTEND=noninteractive && dpkg --add-architecture arm64 &&
        apt-get -o Acquire::Retries=5 update -qq && apt-get -o Acquire::Retries=5 install -y -qq --no-install-recommends pkgconf python3 \
        gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static protobuf-c-compiler $(for p in $libraries; do printf '%s:arm64 ' "$p"; done)" \
        >"$root.log" 2>&1 || { tail -n 3 "$root.log"; skipped "its packages cannot be installed ($root.log)"; }
    touch "$root/.arm64"
}
make_root ""
mkdir -p "$root/src"
install
copy_sources
# Bounds in milliseconds, which an emulated CPU does not keep.
timed="kv_test"
arguments="CC=aarch64-linux-gnu-gcc BUILD=build/arm64 BIN=build/arm64/bin EMULATOR=qemu-aarch64-static"
run="export PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig QEMU_LD_PREFIX=/usr/aarch64-linux-gnu; make -j$(nproc) $arguments"
failed=""
step() { # NAME COMMAND
    local start=$SECONDS
    if within_root "$2" 2>&1 | grep -av '^  \(CC\|LD\)  '; [ "${PIPESTATUS[0]}" = 0 ]; then
        printf '  ok   %-10s %s: %s s\n' $name "$1" $((SECONDS - start))
    else
        printf '  FAIL %-10s %s\n' $name "$1"
        failed="$failed $1"
    fi
}
alone=1
step build "$run all"
[ -z "$failed" ] && step daemon "QEMU_LD_PREFIX=/usr/aarch64-linux-gnu qemu-aarch64-static build/arm64/bin/cairnd --version | grep linux/arm64"
tests=""
for t in tests/unit/*_test.c; do
    t=$(basename "$t" .c)
    if [ -n "${SHORT:-}" ]; then
        for s in $short; do
            case $t in $s*) tests="$tests build/arm64/unit/$t" && break ;; esac
        done
    elif [[ " $timed " = *" $t "* ]] && [ "${T:-}" != "$t" ]; then
        printf '  --   %-10s %s: not run, it has bounds in real time\n' $name "$t"
    else
        tests="$tests build/arm64/unit/$t"
    fi
done
[ -n "$failed" ] || step check "$run T='${T:-}' UNIT_BIN='$tests' check"
[ -z "$failed" ] || { echo "$name: FAILED:$failed"; exit 1; }
