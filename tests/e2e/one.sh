#!/usr/bin/env bash
# `make run`: one node in the foreground, its data in ./default.etcd. PORT is the client port (2379), the peer port is one
# above it; DNS_PORT (8600) is for UDP and TCP. Says which process holds a port that is taken.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cairnd=${CAIRND:-bin/cairnd}
port=${PORT:-2379}
dns=${DNS_PORT:-8600}

# holder PORT [udp]: the process that receives there, as far as /proc shows it.
holder() {
    local tables=(/proc/net/tcp /proc/net/tcp6) state=0A inode pid
    [ "${2:-tcp}" = tcp ] || { tables=(/proc/net/udp /proc/net/udp6) state=07; }
    inode=$(cat "${tables[@]}" 2>/dev/null | awk -v port="$(printf ':%04X' "$1")" -v state=$state '$2 ~ port "$" && $4 == state { print $10; exit }')
    [ -n "$inode" ] || return 1
    pid=$(find /proc/[0-9]*/fd -lname "socket:\\[$inode\\]" 2>/dev/null | head -n 1 | cut -d/ -f3)
    if [ -n "$pid" ]; then echo "process $pid ($(cat "/proc/$pid/comm" 2>/dev/null))"; else echo "a process of another user"; fi
}
# check_port PORT VARIABLE=OTHER [udp]: ends the script when the port is taken.
check_port() {
    local process
    process=$(holder "$1" "${3:-tcp}") || return 0
    echo "make run: port $1 is in use by $process; stop it, or choose another: make run $2" >&2
    exit 1
}
check_port "$port" PORT=$((port + 100))
check_port $((port + 1)) PORT=$((port + 100))
check_port "$dns" DNS_PORT=$((dns + 100))
check_port "$dns" DNS_PORT=$((dns + 100)) udp
# The three commands need only the programs that were just built; tests/e2e/options.sh runs them as they are
# printed.
bin=$(dirname "$cairnd")
cat <<END

cairnd serves on http://127.0.0.1:$port and keeps its data in ./default.etcd. Ctrl-C stops it.
Web console: http://127.0.0.1:$port/ui/
Try in another shell, in this folder:
$([ "$port" = 2379 ] || echo "  export CAIRN_ENDPOINTS=127.0.0.1:$port")
  $bin/cairnctl put greeting hello
  echo 'limit: 10' | $bin/cairnctl config set limits.yaml
  $bin/cairnctl service register web w1 127.0.0.1:8080 -- $bin/cairnctl service get web
To call cairnctl without its folder: export PATH="\$PWD/$bin:\$PATH", or sudo make install.

END
flags=(--listen-dns "127.0.0.1:$dns")
if [ "$port" != 2379 ]; then # else the defaults, as a person would start it
    peer=http://localhost:$((port + 1))
    flags+=(--listen-client-urls "http://localhost:$port" --advertise-client-urls "http://localhost:$port"
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer")
fi
exec "$cairnd" "${flags[@]}"
