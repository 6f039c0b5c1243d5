# A Debian release in a folder: made once by debootstrap, entered by chroot with /proc, /dev and /sys of its own. Source it.
# Mounts are made in a mount namespace of the command that runs there, so that removing the folder removes nothing else.
# $root is the folder, $suite the release's name.

# skipped REASON: ends the script, visibly, without a failure.
skipped() { printf '  --   %-10s %s\n' "$name" "skipped: $1"; exit 0; }

# The mirror that the machine's own apt uses; DEBIAN_MIRROR says another one.
mirror() {
    local release
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -z "${DEBIAN_MIRROR:-}" ] || { echo "$DEBIAN_MIRROR"; return; }
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        awk -v r="$release" '$1 == "deb" { i = $2 ~ /^\[/ ? 3 : 2; while ($(i - 1) !~ /\]$/ && i > 2) i++; if ($(i + 1) == r) { print $i; exit } }' | grep . ||
        cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
        awk -v r="$release" '/^URIs:/ { uri = $2 } /^Suites:/ { for (i = 2; i <= NF; i++) if ($i == r) { print uri; exit } }'
}

# make_root EXTRA-PACKAGES: $root, unless it is there already.
make_root() {
    local from
    [ "$(id -u)" = 0 ] || skipped "a root can be made by root only"
    unshare -m -n true 2>/dev/null || skipped "no mount and network namespaces can be made here"
    [ ! -e "$root/.made" ] || return 0
    command -v debootstrap >/dev/null || DEPS=debian tests/lint/deps.sh || skipped "debootstrap is missing"
    from=$(mirror)
    [ -n "$from" ] || skipped "/etc/apt names no mirror of Debian (DEBIAN_MIRROR= names one)"
    rm -rf "$root" "$root.part"
    debootstrap --variant=minbase --include="ca-certificates,make,git${1:+,$1}" "$suite" "$root.part" "$from" >"$root.log" 2>&1 ||
        { tail -n 3 "$root.log"; rm -rf "$root.part"; skipped "debootstrap of $suite from $from failed ($root.log)"; }
    printf '#!/bin/sh\nexit 101\n' >"$root.part/usr/sbin/policy-rc.d" # no package starts a server
    chmod +x "$root.part/usr/sbin/policy-rc.d"
    mv "$root.part" "$root" && touch "$root/.made"
}

# within_root COMMAND: by a shell in the root's /src. With alone=1 in a network of its own, where no port is taken.
within_root() {
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    root=$root unshare -m --propagation private ${alone:+-n} bash -c '
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && mount --rbind /sys "$root/sys" &&
            mount -t tmpfs tmpfs "$root/dev/shm" || exit 1
        exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            LC_ALL=C.UTF-8 http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" \
            bash -c "cd /src && $0"' "${alone:+python3 -c \"import fcntl,socket,struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x49))\" && }$1"
}

# The sources as git knows them and as they are now; what was built there before is kept.
copy_sources() {
    mkdir -p "$root/src"
    find "$root/src" -mindepth 1 -maxdepth 1 ! -name build ! -name bin -exec rm -rf {} +
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
        tar -c --null -T - | tar -x --no-same-owner -C "$root/src"
}
