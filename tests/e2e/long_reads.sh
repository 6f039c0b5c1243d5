#!/usr/bin/env bash
# Responses with many keys, which the server makes in slices: complete and equal over gRPC and the gateway, with a
# limit, in every order, during writes; and short calls do not wait for them.
. "$(dirname "$0")/lib.sh"
port=$(free_port)
keys=50000
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
url=http://127.0.0.1:$port
start_server "$work" "$port" || { cat "$work/log"; exit 1; }
"$TOOLS/load" --port "$port" --op fill --connections 8 --streams 32 --keys $keys >/dev/null
get() { etcdctl get --prefix / --keys-only "$@" | grep .; }
get >"$work/keys"
expect "all keys" $keys "$(wc -l <"$work/keys")"
check "in order" sort -c "$work/keys"
expect "descending" "$(tac "$work/keys" | md5sum)" "$(get --order DESCEND | md5sum)"
expect "a long limit" "$(head -30000 "$work/keys" | md5sum)" "$(get --limit 30000 | md5sum)"
expect "the last of them" "$(tail -1 "$work/keys")" "$(get --order DESCEND --limit 1)"
first=$(etcdctl get --prefix / --sort-by CREATE --order ASCEND --limit 1 -w json | jq .kvs[0].create_revision)
expect "by creation" 2 "$first"
count() { jq -r '[(.kvs | length), .count, .more] | map(tostring) | join(" ")'; }
expect "over gRPC: keys, count, more" "20000 $keys true" "$(etcdctl get --prefix / --limit 20000 -w json | count)"
body='{"key":"Lw==","range_end":"MA==","limit":20000}'
expect "over the gateway" "20000 $keys true" "$(curl -s "$url/v3/kv/range" -d "$body" | count)"
expect "the gateway says the same as gRPC" "$(etcdctl get --prefix / -w json | jq -c .kvs[]  | md5sum)" \
    "$(curl -s "$url/v3/kv/range" -d '{"key":"Lw==","range_end":"MA=="}' |
        jq -c '.kvs[] | .create_revision |= tonumber | .mod_revision |= tonumber | .version |= tonumber' | md5sum)"
# Short reads beside them. If they waited for the long ones, some would in each turn; on a busy machine some wait in most turns.
case $CAIRND in *address* | *thread*) most=1000000 ;; *) most=100000 ;; esac # of wall time
for turn in $(seq 15); do
    (for i in 1 2 3 4 5; do etcdctl get --prefix / >/dev/null; done) &
    slowest=$("$TOOLS/load" --port "$port" --op range --connections 1 --seconds 2 --keys 1000 | jq .max_us)
    wait $!
    [ "$slowest" -ge $most ] || break
done
check "the slowest short read beside them in the best of $turn turns: $slowest us" test "$slowest" -lt $most
# One revision for all, although keys change meanwhile.
"$TOOLS/load" --port "$port" --op put --connections 4 --streams 8 --seconds 3 --keys $keys >/dev/null &
for i in 1 2 3; do
    etcdctl get --prefix / -w json | jq -r '[.header.revision, (.kvs | length), (.kvs | map(.mod_revision) | max)] | @tsv' >>"$work/seen"
done
wait $!
expect "keys, each time" $keys "$(cut -f2 "$work/seen" | sort -u)"
expect "no change of a later revision" "" "$(awk '$3 > $1' "$work/seen")"
stop_server
expect "exit 0" 0 "$server_status"
check "nothing wrong in its log" bash -c "! grep -qE '\"level\":\"(error|fatal|panic)\"|Sanitizer|runtime error' $work/log"
finish
