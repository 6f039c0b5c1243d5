#!/usr/bin/env bash
# Patroni with PostgreSQL 15 on three members of ours, by its etcd3 module: bootstrap, a switchover, a killed primary, a killed leader
# of ours, two members that stand still (the primary steps down), and their return.
#
#   CAIRND=bin/cairnd PATRONI=build/interop/patroni/venv/bin tests/interop/patroni.sh
. "$(dirname "$0")/lib.sh"
CAIRND=$(realpath "${CAIRND:-$root/bin/cairnd}")
PATRONI=${PATRONI:-$peers/patroni/venv/bin}
postgres=$(dirname "$(realpath "$(command -v postgres || ls /usr/lib/postgresql/*/bin/postgres | tail -1)")")
run_as=() # PostgreSQL does not run as root
if [ "$(id -u)" = 0 ]; then
    run_as=(setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/tmp)
    chmod 711 "$work"
fi
nodes="p0 p1 p2"
declare -A api sql pid

start_members ours "$CAIRND" 3 || exit 1
for node in $nodes; do
    api[$node]=$(free_port) sql[$node]=$(free_port)
    mkdir "$work/$node"
    cat >"$work/$node.yml" <<END
scope: demo
name: $node
restapi: {listen: "127.0.0.1:${api[$node]}", connect_address: "127.0.0.1:${api[$node]}"}
etcd3: {hosts: [${endpoints//,/, }]}
bootstrap:
  dcs: {ttl: 20, loop_wait: 2, retry_timeout: 6, maximum_lag_on_failover: 1048576}
  initdb: [{encoding: UTF8}, data-checksums]
  pg_hba: ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
postgresql:
  listen: 127.0.0.1:${sql[$node]}
  connect_address: 127.0.0.1:${sql[$node]}
  data_dir: $work/$node/data
  bin_dir: $postgres
  authentication: {superuser: {username: postgres, password: x}, replication: {username: replicator, password: x}}
  parameters: {unix_socket_directories: "$work/$node", shared_buffers: 16MB, max_connections: 20, fsync: "off"}
END
    [ ${#run_as[@]} = 0 ] || chown -R postgres: "$work/$node"
done
[ ${#run_as[@]} = 0 ] || chown postgres: "$work"/*.yml

begin() { # NODE
    setsid "${run_as[@]}" "$PATRONI/patroni" "$work/$1.yml" >>"$work/$1.log" 2>&1 &
    pid[$1]=$!
    started+=($!)
    disown
}
end_all() { # the servers of PostgreSQL are not children of this shell
    local node
    for node in $nodes; do
        kill -9 -- "-${pid[$node]}" 2>/dev/null
        pkill -9 -f "$work/$node/data"
    done
    cleanup
}
trap end_all EXIT
is_primary() { [ "$(curl -s -o /dev/null -w '%{http_code}' -m 5 "http://127.0.0.1:${api[$1]}/primary")" = 200 ]; }
is_replica() { [ "$(curl -s -o /dev/null -w '%{http_code}' -m 5 "http://127.0.0.1:${api[$1]}/replica?lag=1MB")" = 200 ]; }
the_primary() {
    local node
    for node in $nodes; do is_primary "$node" && { echo "$node"; return; }; done
    return 1
}
no_primary() { ! the_primary >"$work/primary"; }
another_primary() { local p; p=$(the_primary) && [ "$p" != "$1" ]; }
ask() { "${run_as[@]}" psql -qAt -h 127.0.0.1 -p "${sql[$1]}" -U postgres -d postgres -c "$2" 2>&1; } # NODE STATEMENT
holds() { [ "$(ask "$1" 'select count(*) from t')" = "$2" ]; }
wants() { # SECONDS WHAT COMMAND...
    local begin=$SECONDS
    LIMIT_S=$1 within "${@:3}" && { echo "  ok   $2 ($((SECONDS - begin)) s)"; return 0; }
    echo "  FAIL $2"
    tail -5 "$work"/p?.log
    exit 1
}

for node in $nodes; do begin "$node"; done
wants 120 'a primary' the_primary
first=$(the_primary)
for node in $nodes; do [ "$node" = "$first" ] || wants 120 "$node follows" is_replica "$node"; done
ask "$first" 'create table t (n int); insert into t values (1)'
for node in $nodes; do wants 30 "$node has the row" holds "$node" 1; done

second=$(for node in $nodes; do [ "$node" = "$first" ] || { echo "$node"; break; }; done)
"${run_as[@]}" "$PATRONI/patronictl" -c "$work/$first.yml" switchover demo --leader "$first" --candidate "$second" --force >"$work/switchover.log" 2>&1
wants 60 'a switchover to the one that was named' is_primary "$second"
wants 90 'the former primary follows' is_replica "$first"
ask "$second" 'insert into t values (2)'

# Nobody gives the key of the leader back: its lease must end, and the others see that.
kill -9 -- "-${pid[$second]}"
pkill -9 -f "$work/$second/data"
wants 90 'another primary after kill -9, ttl 20' another_primary "$second"
third=$(the_primary)
wants 30 'it has both rows' holds "$third" 2
begin "$second"
wants 120 'the killed one follows' is_replica "$second"

# Our leader goes: nobody fails over.
leader=$(for i in 0 1 2; do
    curl -sf -m 10 "http://127.0.0.1:${ports[i]}/v3/maintenance/status" -d '{}' |
        python3 -c 'import json, sys; s = json.load(sys.stdin); sys.exit(s["leader"] != s["header"]["member_id"])' && echo "$i"
done)
timeline() { ask "$third" 'select left(pg_walfile_name(pg_current_wal_lsn()), 8)'; }
before=$(timeline)
disown "${started[leader]}"
kill -9 "${started[leader]}"
for _ in $(seq 15); do
    ask "$third" 'insert into t values (3)' >"$work/insert.log" && ! [ -s "$work/insert.log" ] || { echo "  FAIL the primary cannot write: $(<"$work/insert.log")"; exit 1; }
    is_primary "$third" || { echo "  FAIL the primary stepped down when our leader was killed"; tail -5 "$work/$third.log"; exit 1; }
    sleep 2
done
[ "$(timeline)" = "$before" ] || { echo "  FAIL the timeline changed"; exit 1; }
echo '  ok   our leader is killed and PostgreSQL does not notice (30 s)'

# Without a quorum no primary stays one.
for i in 0 1 2; do [ "$i" = "$leader" ] || { kill -STOP "${started[i]}"; stopped=${started[i]}; break; }; done
wants 90 'without a quorum the primary steps down' no_primary
kill -CONT "$stopped"
wants 90 'with a quorum there is a primary again' the_primary
wants 60 'all rows are there' holds "$(the_primary)" 17
echo "Patroni $("$PATRONI/patroni" --version | cut -d' ' -f2) with $("$postgres/postgres" --version | cut -d' ' -f2-3): bootstrap, switchover, killed primary, killed leader, lost quorum"
