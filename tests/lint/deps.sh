#!/usr/bin/env bash
# Installs the packages of Debian 12 or 13 that building, running and testing need, only those that are missing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
packages="build-essential pkg-config libuv1-dev libnghttp2-dev libwebsockets-dev libwebsockets-evlib-uv liblmdb-dev
libyaml-dev libssl-dev libprotobuf-c-dev protobuf-c-compiler libjansson-dev zlib1g-dev libjwt-dev libcrypt-dev libcmocka-dev libldns-dev curl jq etcd-client python3"
# Packages that tests/debian needs on the machine itself.
[ "${DEPS:-}" = debian ] && packages="debootstrap"
[ "${DEPS:-}" = test ] && packages="$packages clang clang-format clang-tidy libclang-rt-dev etcd-server prometheus procps bind9-dnsutils knot-dnsutils nginx-light nghttp2-client protobuf-compiler nftables iproute2 chromium python3-yaml yamllint shellcheck"
missing=""
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "deps: not root and no sudo; please install:$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "deps: installing$missing"
# Debian's etcd-server package starts a server of its own on port 2379; it must not.
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod +x $policy
    made=1
fi
trap '[ -n "$made" ] && $sudo rm -f $policy' EXIT
$sudo apt-get -o Acquire::Retries=5 update -qq
$sudo apt-get -o Acquire::Retries=5 install -y -qq --no-install-recommends $missing
