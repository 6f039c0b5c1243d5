#!/usr/bin/env bash
# Health checks as a way to addresses that a client must not reach: a daemon alone in a network namespace whose only device is lo, with a
# name server of the test's own. Every address has a trap behind it, which writes a line for each connection. Checks are registered with
# forbidden addresses in all forms, names of such addresses, names that change between lookups (DNS rebinding), answers with a permitted
# and a forbidden address, and redirects. Fails if a trap was touched, if a check that is permitted does not pass, or if a packet went to
# an address that is not the test's. Skipped where no namespace can be made.
#
#   tests/abuse/check_addresses.sh CAIRND
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
here=$(cd "$(dirname "$0")" && pwd)
cairnd=$(realpath "$1")
if ! command -v ip >/dev/null ||
    ! unshare -n -m sh -c 'mount --bind /dev/null /etc/resolv.conf && mount --bind /dev/null /etc/nsswitch.conf' 2>/dev/null; then
    echo "check_addresses: skipped: no network namespace with a name server of its own can be made here"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >"$work/resolv.conf"
printf 'hosts: dns\n' >"$work/nsswitch.conf"
# shellcheck disable=SC2016
unshare -n -m --propagation private -f --kill-child -p bash -c '
    set -e
    mount --bind "$1/resolv.conf" /etc/resolv.conf
    mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
    mount -t proc proc /proc
    ip link set lo up
    for address in 10.9.9.9 10.9.9.10 169.254.169.254 100.100.100.200 224.0.0.5; do ip address add "$address/32" dev lo; done
    ip -6 address add fd00:9::9/128 dev lo nodad
    ip -6 address add fd00:ec2::254/128 dev lo nodad
    ip -6 address add fe80::9/128 dev lo nodad
    exec python3 -B "$2/check_addresses.py" "$3" "$1"
' check "$work" "$here" "$cairnd"
