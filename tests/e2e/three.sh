#!/usr/bin/env bash
# `make cluster`: three members on this machine until Ctrl-C. CLUSTER_DIR says where their data lies (./cluster), CLUSTER_PORT
# the first client port (2379; the others are 10 and 20 higher, each peer port is one above its client port).
#
# Every member has a script of its own in that folder, with the whole command: cluster/n1.sh starts n1, cluster/n1.pid is
# its process. Kill one, remove its data, start it again: the others continue.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
cd "$(dirname "$0")/../.." || exit 1
cairnd=$(realpath "${CAIRND:-bin/cairnd}")
dir=${CLUSTER_DIR:-cluster}
port=${CLUSTER_PORT:-2379}
mkdir -p "$dir" || exit 1
dir=$(realpath "$dir")
cluster=""
clients=""
for i in 1 2 3; do
    client=$((port + 10 * (i - 1)))
    cluster+="${cluster:+,}n$i=http://127.0.0.1:$((client + 1))"
    clients+="${clients:+,}127.0.0.1:$client"
done

# Members authenticate each other with it; a process without it gets no answer and is not added.
[ -s "$dir/join-token" ] || (umask 077 && head -c 33 /dev/urandom | base64 >"$dir/join-token") || exit 1

write_script() { # number
    local client=$((port + 10 * ($1 - 1)))
    local peer=$((client + 1))
    local pid_file=${dir@Q}/n$1.pid # quoted for sh: the path may hold a blank, a quote or a dollar sign
    cat >"$dir/n$1.sh" <<END
#!/bin/sh
# Starts n$1 in the foreground. With data in $dir/n$1 it goes on with that; without, it begins, joins, or asks to be replaced.
if [ -f $pid_file ] && kill -0 "\$(cat $pid_file)" 2>/dev/null; then
    echo "n$1 is running already" >&2
    exit 1
fi
echo \$\$ >$pid_file.new && mv $pid_file.new $pid_file # never seen empty
exec ${cairnd@Q} --name n$1 --data-dir ${dir@Q}/n$1 \\
    --listen-client-urls http://127.0.0.1:$client --advertise-client-urls http://127.0.0.1:$client \\
    --listen-peer-urls http://127.0.0.1:$peer --initial-advertise-peer-urls http://127.0.0.1:$peer \\
    --initial-cluster $cluster \\
    --join-token-file "$dir/join-token" --require-peer-proof \\
    --initial-cluster-token three "\$@"
END
    chmod +x "$dir/n$1.sh"
}

# The pids as they are now: a member may have been started again by hand.
pids() { cat "$dir"/n[123].pid 2>/dev/null; }
stop() {
    trap '' INT TERM
    kill $(pids) 2>/dev/null
    for _ in $(seq 100); do
        kill -0 $(pids) 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL $(pids) 2>/dev/null && echo "they did not end in 10 s and were killed"
    rm -f "$dir"/n[123].pid
    echo "stopped; the data stays in $dir"
    exit "${1:-0}"
}

for i in 1 2 3; do
    write_script $i
    if [ -f "$dir/n$i.pid" ] && kill -0 "$(cat "$dir/n$i.pid")" 2>/dev/null; then
        echo "n$i is running already (process $(cat "$dir/n$i.pid")): stop it first" >&2
        exit 1
    fi
done
trap stop INT TERM
for i in 1 2 3; do
    : >"$dir/n$i.log"
    setsid "$dir/n$i.sh" >>"$dir/n$i.log" 2>&1 & # Ctrl-C is for this script; it stops them in order
done
for i in 1 2 3; do
    for _ in $(seq 200); do
        grep -q 'ready to serve client requests' "$dir/n$i.log" && continue 2
        kill -0 "$(cat "$dir/n$i.pid" 2>/dev/null || echo $$)" 2>/dev/null || break
        sleep 0.1
    done
    echo "n$i does not serve; its log ends with:" >&2
    tail -3 "$dir/n$i.log" >&2
    grep -qi 'address already in use' "$dir/n$i.log" && echo "choose other ports: make cluster CLUSTER_PORT=$((port + 100))" >&2
    stop 1
done
cat <<END

Three members serve on $clients; their data, logs and start scripts are in
$dir. Ctrl-C stops them.
Web console: http://127.0.0.1:$port/ui/
Try in another shell:
  export ETCDCTL_ENDPOINTS=$clients
  etcdctl put city Lisbon && etcdctl endpoint status --cluster -w table
  kill -9 \$(cat $(printf %q "$dir")/n1.pid); etcdctl put city Porto; etcdctl get city

END
while :; do
    sleep 1 & # a trap runs when wait ends, not when sleep does
    wait $!
done
