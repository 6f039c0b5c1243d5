#!/usr/bin/env bash
# Encryption at rest on three members: no member stores, exports, backs up or logs a sealed content in clear; all serve it;
# a rotation of the key with a rolling restart, with kill -9 while everything is sealed again; a member without the key.
. "$(dirname "$0")/lib.sh"
. tests/e2e/members.sh
CAIRNCTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
api() { echo "$(client_url "$1")/api/v1"; }
ctl() { "$CAIRNCTL" --endpoints "$(client_url "$1")" --command-timeout ${LIMIT_S}s "${@:2}"; }
serves() { curl -sf -m 2 "$(client_url "$1")/readyz" >/dev/null; }
key() { head -c 32 /dev/urandom | base64 -w 0; }
old=$(key) new=$(key)
umask 077
echo "old $old" >"$work/keys"
restart() { # MEMBER [flags]
    stop_member "$1" TERM
    start_member "$@"
    check "n$1 serves again" within $LIMIT_S serves "$1"
}
# The secret in clear, and in base64 at each of its three offsets without the letters that its neighbors share.
secret='hunter2-hunter2-hunter2'
clear=(-e "$secret" -e "$(printf %s "$secret" | base64 -w 0 | cut -c 1-28)" -e "$(printf 'x%s' "$secret" | base64 -w 0 | cut -c 3-28)" -e "$(printf 'xx%s' "$secret" | base64 -w 0 | cut -c 5-28)")
is_clear() { grep -raqF "${clear[@]}" "$@"; }
hides() { ! is_clear "$@"; }

for i in 1 2 3; do start_member $i --encryption-key-file "$work/keys"; done
for i in 1 2 3; do check "n$i serves" within $LIMIT_S serves $i; done
check "somebody leads" within $LIMIT_S leader

# --- what a policy names is sealed everywhere
expect "a policy with encrypt" "policy: done" "$(ctl 1 config policy-set --encrypt 'db*' | sed 's/,.*//;s/saved/done/')"
publish() { curl -s -m 60 -X PUT --data-binary "$3" "$(api "$1")/configs/$2"; }
expect "a publish" 1 "$(publish 1 db.txt "$secret 1" | jq .seq)"
curl -s -m 60 -X PUT --data-binary "$secret draft" "$(api 2)/configs/db.txt/draft" >/dev/null
curl -s -m 60 -X PUT "$(api 2)/configs/db.txt/gray/canary" -d "{\"match\":{\"zone\":[\"b\"]},\"content\":\"$secret gray\"}" >/dev/null
for i in 1 2 3; do
    expect "n$i serves it" "$secret 1" "$(curl -s -m 60 "$(api $i)/configs/db.txt")"
    expect "n$i says that it is sealed" old "$(curl -s -m 60 "$(api $i)/configs" | jq -r '.configs[0].sealed')"
    expect "n$i serves the gray release" "$secret gray" "$(curl -s -m 60 "$(api $i)/configs/db.txt?labels=zone=b")"
done
expect "one keyed digest on all members" 1 "$(for i in 1 2 3; do curl -s -m 60 "$(api $i)/configs/db.txt?meta=true" | jq -r .md5; done | sort -u | wc -l)"
expect "the digest is not that of the content" 0 "$(curl -s -m 60 "$(api 1)/configs/db.txt?meta=true" | grep -c "$(printf %s "$secret 1" | md5sum | cut -d ' ' -f 1)")"
expect "unchanged at another member" true "$(publish 3 db.txt "$secret 1" | jq .unchanged)"
expect "an event stream has the content" "$secret 1" "$(curl -sN -m 5 "$(api 2)/stream?kind=config&name=db.txt" | sed -n 's/^data: //p' | jq -r 'select(.items) | .items[0].content' | head -1)"
etcdctl --endpoints "$(client_url 1)" get --prefix /cairn/ >"$work/etcd"
check "etcd's API shows sealed bytes only" hides "$work/etcd"
check "and that they are sealed" has "$work/etcd" '"sealed":"old"'
ctl 1 snapshot save "$work/snapshot" >/dev/null 2>&1
check "a snapshot was saved" test -s "$work/snapshot"
check "the snapshot has nothing in clear" hides "$work/snapshot"
check "the folders and logs of the members neither" hides "$work"/n[1-3] "$work"/n[1-3].log
check "the audit trail neither" hides <(curl -s -m 60 "$(api 1)/audit")

# --- exports
ctl 1 config export "$work/sealed.tgz" >/dev/null
mkdir "$work/sealed" && tar xzf "$work/sealed.tgz" -C "$work/sealed"
check "an export is sealed" hides "$work/sealed"
expect "its manifest says so" old "$(jq -r '.items[0].sealed' "$work/sealed/manifest.json")"
ctl 1 config export --decrypt "$work/clear.tgz" >/dev/null
mkdir "$work/clear" && tar xzf "$work/clear.tgz" -C "$work/clear"
expect "with decrypt it is not" "$secret 1" "$(cat "$work/clear/default/default/db.txt")"
rm -rf "$work/clear"
import() { curl -s -m 60 --data-binary @"$work/$1.tgz" "$(api 2)/import?namespace=$1" | jq -c .actions.created; }
expect "the sealed export is imported elsewhere" 1 "$(import sealed)"
expect "and the clear one" 1 "$(import clear)"
rm -f "$work/clear.tgz"
for ns in sealed clear; do
    expect "$ns: it is served" "$secret 1" "$(curl -s -m 60 "$(api 3)/configs/db.txt?namespace=$ns")"
    expect "$ns: it is sealed, though no policy says so" old "$(curl -s -m 60 "$(api 3)/configs?namespace=$ns" | jq -r '.configs[0].sealed')"
done

# --- what was there before the policy
for n in 1 2 3; do for i in 1 2 3 4 5 6 7 8; do publish 1 "old$i.txt" "$secret $n" >/dev/null; done; done
check "the search finds what is in clear on a disk" is_clear "$work/n1"
check "and in etcd's API" is_clear <(etcdctl --endpoints "$(client_url 1)" get --prefix /cairn/)
ctl 1 config policy-set --encrypt 'db*' --encrypt 'old*' >/dev/null
expect "config encrypt" '[9,24,0]' "$(ctl 1 -o json config encrypt | jq -c '[.examined,.sealed,.failed]')"
check "now everything is sealed" hides <(etcdctl --endpoints "$(client_url 1)" get --prefix /cairn/)
expect "an old release is served" "$secret 2" "$(curl -s -m 60 "$(api 2)/configs/old3.txt?seq=2")"
expect "nothing is left to do" '[9,0,0]' "$(ctl 2 -o json config encrypt | jq -c '[.examined,.sealed,.failed]')"

# --- rotation: the new key opens everywhere, then seals everywhere
printf 'old %s\nnew %s\n' "$old" "$new" >"$work/keys"
for i in 1 2 3; do restart $i --encryption-key-file "$work/keys"; done
printf 'new %s\nold %s\n' "$new" "$old" >"$work/keys"
for i in 1 2 3; do restart $i --encryption-key-file "$work/keys"; done
expect "the same content is unchanged under the new key" true "$(publish 1 db.txt "$secret 1" | jq .unchanged)"
for n in $(seq 40); do publish 2 many.txt "plain $n" >/dev/null; done
# The member that seals is killed in the middle, again and again; each time the rest is done by the next call.
for round in 1 2 3; do
    curl -s -m 60 -X POST "$(api $round)/seal?group=*&limit=$((round + 1))" >/dev/null &
    call=$!
    sleep 0.0$((round * 2))
    stop_member $round KILL
    wait $call
    start_member $round --encryption-key-file "$work/keys"
    check "n$round serves after kill -9" within $LIMIT_S serves $round
done
seals() { ctl 2 -o json -g '*' config encrypt >"$work/sums" && [ "$(jq .failed "$work/sums")" = 0 ]; }
check "config encrypt goes on after it" within $LIMIT_S seals
for ns in sealed clear; do check "config encrypt in $ns" ctl 3 -n $ns config encrypt; done
check "no release has the old key" eval '! etcdctl --endpoints "$(client_url 1)" get --prefix /cairn/config/ | grep -q "\"sealed\":\"old\""'
expect "each release has its content" "$secret 1,$secret 2,$secret 3" "$(for n in 1 2 3; do curl -s -m 60 "$(api 3)/configs/old5.txt?seq=$n"; echo; done | paste -sd ,)"
metric() { curl -s -m 60 "$(client_url "$1")/metrics" | grep "^cairn_config_sealed{" | tr '\n' ' '; }
expect "the metric names the new key alone" 'cairn_config_sealed{key="new"} 11 ' "$(metric 1)"
echo "new $new" >"$work/keys"
for i in 1 2 3; do restart $i --encryption-key-file "$work/keys"; done
for i in 1 2 3; do expect "n$i needs the old key no more" "$secret 1" "$(curl -s -m 60 "$(api $i)/configs/db.txt")"; done
expect "the draft opens, too" "$secret draft" "$(curl -s -m 60 "$(api 2)/configs/db.txt/draft")"

# --- a member without the key says so, and the others serve
restart 3 --encryption-key-command "echo other $old"
expect "a read without the key" "503 key_missing" "$(curl -s -m 60 -w '%{stderr}%{http_code}' "$(api 3)/configs/db.txt" 2>"$work/code" | jq -r .error.code >"$work/error"; echo "$(cat "$work/code") $(cat "$work/error")")"
check "its message names the key" has <(curl -s -m 60 "$(api 3)/configs/db.txt") 'key new'
expect "what is clear is served" "plain 40" "$(curl -s -m 60 "$(api 3)/configs/many.txt")"
expect "a sealed export needs no key" new "$(curl -s -m 60 "$(api 3)/export?namespace=default&prefix=db" | tar xzO manifest.json | jq -r '.items[0].sealed')"
expect "a stream has the release without its content" '[1,null]' "$(curl -sN -m 5 "$(api 3)/stream?kind=config&name=db.txt" | sed -n 's/^data: //p' | jq -c 'select(.items) | .items[0] | [.seq, .content]' | head -1)"
check "config encrypt says what it cannot open" has <(ctl 3 config encrypt 2>&1) 'did not open'
restart 3
expect "a publish without any key" key_missing "$(publish 3 db.txt "$secret 5" | jq -r .error.code)"
expect "the others serve" "$secret 1" "$(curl -s -m 60 "$(api 1)/configs/db.txt")"

# --- wrong keys are refused at start
refused() { # PATTERN flags: on a folder of its own
    "$CAIRND" --data-dir "$work/none" "${@:2}" >"$work/refused" 2>&1
    [ $? = 2 ] && has "$work/refused" "$1"
}
echo "a AAECAw==" >"$work/bad"
check "a short key" refused 'line 1: after the id there must be 32 bytes' --encryption-key-file "$work/bad"
check "no file" refused 'cannot read' --encryption-key-file "$work/absent"
check "a command that fails" refused 'has failed' --encryption-key-command 'exit 3'
check "a command that prints too much" refused 'prints too much' --encryption-key-command 'head -c 100000 /dev/zero'
check "file and command" refused 'together' --encryption-key-command 'true' --encryption-key-file "$work/keys"
finish
