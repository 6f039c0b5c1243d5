#!/usr/bin/env bash
# cairnctl against real daemons: services and configurations from the shell, on one node and on three of which one
# dies; its output and exit codes, and that standard output has nothing but the result.
. "$(dirname "$0")/lib.sh"
CTL=$(realpath "$(dirname "$CAIRND")/cairnctl")
unset $(compgen -v | grep -E '^CAIRN_' || true) 2>/dev/null || true
port=$(free_base)
start_server "$work/one" "$port" --registry-events=false || { fails "the node does not start"; finish; }
export CAIRN_ENDPOINTS=127.0.0.1:$port CAIRN_COMMAND_TIMEOUT=${LIMIT_S}s CAIRN_DIAL_TIMEOUT=${LIMIT_S}s CAIRN_CONFIG=$work/contexts.yaml
cd "$work" || exit 1

ctl() { "$CTL" "$@" >"$work/out" 2>"$work/err"; } # the exit code, and both outputs in files
# prints NAME EXIT OUTPUT WORDS...: exactly that, on standard output
prints() {
    local name=$1 code=$2 wanted=$3 got
    shift 3
    ctl "$@"
    got=$?
    expect "$name: exit" "$code" "$got"
    expect "$name" "$wanted" "$(cat "$work/out")"
}
# complains NAME EXIT PATTERN WORDS...: that on standard error, nothing on standard output
complains() {
    local name=$1 code=$2 pattern=$3 got
    shift 3
    ctl "$@"
    got=$?
    expect "$name: exit" "$code" "$got"
    check "$name" grep -qE -- "$pattern" "$work/err"
    expect "$name: says nothing else" "" "$(cat "$work/out")"
}

# --- services ---
"$CTL" service register web w1 10.0.0.5:8080 --zone b --tag x --meta team=shop >register.out 2>register.err &
register_pid=$!
check "an instance registers" within $LIMIT_S has register.out 'registered w1 of web at 10.0.0.5:8080'
prints "its service is listed" 0 web service ls -o name
prints "and shown" 0 "$(printf 'w1\t10.0.0.5:8080\tup\tyes\t100\tb\t\tx\t')" service get web -o simple

expect "as JSON too: the server's words" shop "$("$CTL" service get web -o json | jq -r '.instances[0].metadata.team')"
"$CTL" service watch web -o simple >watch.out 2>watch.err &
watch_pid=$!
check "a watch begins with what is there" within $LIMIT_S has watch.out 'added.w1.10.0.0.5:8080.up'
prints "a drain takes it out of traffic" 0 "w1 of web is out of traffic; 1 subscribers know" service drain web w1 --deadline 60s
check "the watch tells" within $LIMIT_S has watch.out 'changed.w1.10.0.0.5:8080.draining (drained)'
prints "undrain takes it back" 0 "w1 of web has traffic again, if it is up" service undrain web w1
kill -TERM $register_pid
wait $register_pid
expect "Ctrl-C deregisters" 0 $?
check "and says so" has register.err 'deregistered w1 of web'
check "the watch tells that, too" within $LIMIT_S has watch.out 'removed.w1'
kill -TERM $watch_pid
wait $watch_pid
expect "a stopped watch says by its exit that it was stopped" 5 $?
"$CTL" service register web w2 10.0.0.6:8080 -- sh -c 'cairnctl=$1; "$cairnctl" service get web -o name; exit 7' sh "$CTL" >run.out 2>run.err
expect "a command's exit is the registration's" 7 $?
check "it was registered meanwhile" has run.out '^w2$'
"$CTL" service watch 'many-*' --group '*' --version v2 --tag x --label k=v -o simple >many.out 2>many.err &
watch_pid=$!
"$CTL" service register many-a m1 10.0.0.7:80 --version v2 --tag x --meta k=v --once --ttl 300s >register.out
"$CTL" service register many-a m2 10.0.0.8:80 --version v1 --tag x --meta k=v --once --ttl 300s >register.out
"$CTL" service register many-b m3 10.0.0.9:80 --group g --version v2 --tag x --meta k=v --once --ttl 300s >register.out
check "a watch by pattern and selectors" within $LIMIT_S has many.out 'added.default/many-a/m1.10.0.0.7:80.up'
check "in all groups" within $LIMIT_S has many.out 'added.g/many-b/m3.10.0.0.9:80.up'
check "one goes" ctl service deregister many-b m3 --group g
check "which comes" within $LIMIT_S has many.out 'removed.g/many-b/m3'
kill -TERM $watch_pid
wait $watch_pid
expect "and no other" 0 "$(grep -c m2 many.out)"
check "gone" ctl service deregister many-a m1
check "and gone" ctl service deregister many-a m2
complains "a service that is not there" 1 'there is no such service \(127.0.0.1' service get web

# --- configurations ---
printf 'a: 1\n' | prints "publish from standard input" 0 "app.yaml: release 1, revision $(($("$CTL" config ls -o json | jq .revision) + 1))" config set app.yaml --title first
printf 'a: 1\n' >same.yaml
prints "the same again" 0 "app.yaml is unchanged: release 1 has this content" config set app.yaml same.yaml
printf 'a: 2\n' >app.yaml
complains "with another expectation" 1 'release 7 is not the live one .*Look at what is there' config set app.yaml app.yaml --if-seq 7
check "with the right one" ctl config set app.yaml app.yaml --if-seq 1
printf 'a: 1\na: 2\n' >bad.yaml
complains "what does not parse" 3 'line 2, column 1' config set app.yaml bad.yaml
prints "is found before" 0 "app.yaml is valid" config set app.yaml app.yaml --check
prints "get gives it as it was put" 0 "a: 2" config get app.yaml
prints "an older one too" 0 "a: 1" config get app.yaml --seq 1
prints "a diff is an exit of 1" 1 "$(printf -- '--- app.yaml (release 1)\n+++ app.yaml (release 2)\n@@ -1 +1 @@\n-a: 1\n+a: 2')" config diff app.yaml
prints "a file that is the same is none" 0 "" config diff app.yaml app.yaml
prints "one that is not" 1 "$(printf -- '--- app.yaml (release 2)\n+++ same.yaml\n@@ -1 +1 @@\n-a: 2\n+a: 1')" config diff app.yaml same.yaml
check "a release for somebody" ctl config set -n audited --on-behalf-of carol audited.yaml app.yaml
expect "is in the audit trail" 'publish carol 1' "$("$CTL" audit -n audited --name audited.yaml --kind config -o json --since 1h | jq -r '.changes[] | "\(.operation) \(.on_behalf_of) \(.seq)"')"
"$CTL" audit -n audited --watch -o json >audit.out 2>audit.err &
watch_pid=$!
check "a watch begins with what is there" within $LIMIT_S has audit.out '"operation":"publish"'
check "it is deleted" ctl config rm -n audited audited.yaml
check "the watch has it" within $LIMIT_S has audit.out '"operation":"delete"'
check "something elsewhere" ctl config set -n elsewhere --on-behalf-of carol other.yaml app.yaml
check "and again here" ctl config set -n audited third.yaml app.yaml
check "which comes" within $LIMIT_S has audit.out '"name":"third.yaml"'
kill -TERM $watch_pid
wait $watch_pid
expect "each once, and nothing of elsewhere" "publish audited.yaml delete audited.yaml publish third.yaml" "$(jq -r '[.operation, .name] | join(" ")' audit.out | xargs)"
check "they are deleted" ctl config rm -n audited third.yaml
check "both" ctl config rm -n elsewhere other.yaml
prints "history" 0 "$(printf '2\n1')" config history app.yaml -o name
"$CTL" config watch app.yaml -- sh -c 'echo "$CAIRN_CONFIG_SEQ $(cat)" >>seen' 2>watch.err &
watch_pid=$!
check "a watch runs a command with what is live" within $LIMIT_S has seen '^2 a: 2$'
check "rollback" ctl config rollback app.yaml 1 --note 'too much'
check "and with each release" within $LIMIT_S has seen '^3 a: 1$'
kill -TERM $watch_pid
wait $watch_pid
printf 'm: 1\n' >many.yaml
check "one of many" ctl config set many-a.yaml many.yaml
"$CTL" config watch 'many-*' --group '*' -- sh -c 'echo "$CAIRN_CONFIG_ID $CAIRN_CONFIG_NAME $CAIRN_CONFIG_SEQ $(cat)" >>seen_many' 2>watch.err &
watch_pid=$!
"$CTL" config watch 'many-*' --group '*' -o simple >many.out 2>many.err &
second_pid=$!
check "a watch by pattern runs the command for it" within $LIMIT_S has seen_many '^default/many-a.yaml many-a.yaml 1 m: 1$'
check "another one in a group" ctl config set --group g many-b.yaml many.yaml
check "which comes, too" within $LIMIT_S has seen_many '^g/many-b.yaml many-b.yaml 1 m: 1$'
check "a name that does not fit" ctl config set other.yaml many.yaml
check "it goes" ctl config rm --group g many-b.yaml
check "and the command runs without a content" within $LIMIT_S has seen_many '^g/many-b.yaml many-b.yaml 0 $'
check "printed" within $LIMIT_S has many.out 'g/many-b.yaml.deleted'
check "each with its id" has many.out '^default/many-a.yaml.1.yaml'
kill -TERM $watch_pid $second_pid
wait $watch_pid $second_pid
expect "nothing else" 0 "$(grep -c other seen_many)"
check "gone" ctl config rm many-a.yaml
check "and gone" ctl config rm other.yaml
EDITOR='sed -i s/1/5/' ctl config edit app.yaml
expect "edit publishes" 0 $?
prints "what the editor left" 0 "a: 5" config get app.yaml
EDITOR=true complains "an edit that changes nothing" 0 'unchanged; nothing is published' config edit app.yaml
cat >slow_editor <<END
#!/bin/sh
sed -i s/5/6/ "\$1"
printf 'a: 7\n' | ${CTL@Q} config set app.yaml
END
chmod +x slow_editor
EDITOR=./slow_editor ctl config edit app.yaml
expect "an edit that somebody overtook" 1 $?
check "keeps the file and says where" has err 'the edited content is in /'
prints "and changes nothing" 0 "a: 7" config get app.yaml
check "export" ctl config export all.tgz
check "import into another namespace" ctl config import all.tgz -n stage
prints "brings all" 0 app.yaml config ls -n stage -o name
printf 'a: 8\n' >other.yaml
ctl config set app.yaml other.yaml -n stage
ctl config import all.tgz -n stage
expect "an import that stands against something is refused" 1 $?
check "with a report" has out 'conflict'
check "rm" ctl config rm app.yaml -n stage
complains "what is gone" 1 'there is no such configuration' config get app.yaml -n stage

# --- keys and the cluster, in our own grammar ---
prints "put" 0 OK put k1 v1
prints "get" 0 "$(printf 'k1\nv1')" get k1
prints "count" 0 1 get --prefix k --count-only
prints "a value from standard input" 0 OK put k2 < <(printf 'v2')
prints "get of several" 0 "$(printf 'v1\nv2')" get --prefix k --print-value-only
complains "an error says where" 1 'required revision is a future revision \(127.0.0.1.*No change has that revision yet' get k1 --rev 999999
printf 'watch k1\n' >lines
{ cat lines; sleep 0.2; while ! grep -q v3 watched; do sleep 0.2; "$CTL" put k1 v3 >put.out; done; } | "$CTL" watch -i >watched 2>watched.err
check "watches from standard input" grep -q v3 watched
check "snapshot save" ctl snapshot save s.db
check "snapshot status" ctl snapshot status s.db
head -c -1 s.db >cut.db
complains "a cut snapshot" 1 'is cut off: its size is that of neither' snapshot status cut.db
printf 'x' | dd of=s.db bs=1 seek=100 conv=notrunc status=none
complains "a damaged one" 1 'is damaged: its SHA-256 is wrong' snapshot status s.db
expect "cluster status: one member" "$(printf 'default\tleader\tyes')" "$("$CTL" cluster status -o simple | cut -f 1,4,5)"
ctl doctor
expect "doctor: nothing is wrong" 0 $?
check "and says so" has out 'All 1 members respond, agree on the leader, and have no alarm'

# --- downgrade ---
complains "a downgrade to what is no version" 1 'wrong downgrade target version format' downgrade validate abc
complains "to two versions below" 1 'invalid downgrade target version .*It is the version one below' downgrade enable 3.5
complains "to nothing" 128 "TARGET_VERSION not provided" downgrade validate
prints "a downgrade may begin" 0 "Downgrade validate success, cluster version 3.7" downgrade validate 3.6
prints "cancel, with nothing to end, is etcd's success" 0 "Downgrade cancel success, cluster version 3.7" downgrade cancel
prints "it begins" 0 "Downgrade enable success, cluster version 3.7" downgrade enable 3.6
at_version() { [ "$("$CTL" endpoint status -o json | jq -r '.[0].Status.storageVersion')" = "$1" ]; }
check "the status shows it" within $LIMIT_S at_version 3.6.0
complains "it cannot begin twice" 1 'cluster has a downgrade job in progress .*cancel' downgrade enable 3.5
expect "as JSON" 3.6 "$("$CTL" downgrade cancel -o json | jq -r .version)"
check "the version rises again" within $LIMIT_S at_version 3.7.0
export ETCDCTL_ENDPOINTS=127.0.0.1:$port
complains "etcdctl refuses a flag that is a variable too" 1 'ETCDCTL_ENDPOINTS. is shadowed by' etcdctl --endpoints 127.0.0.1:1 get a
unset ETCDCTL_ENDPOINTS

note=$(printf '%4000s' | tr ' ' '"') # 8,000 bytes in the answer, of which a page has 512 KiB
for i in $(seq 70); do "$CTL" config set -n pages noted.txt - --note "$note" <<<"$i" >/dev/null; done
expect "a history of several pages" 70 "$("$CTL" config history -n pages noted.txt -o name | wc -l)"
expect "as far as it is wanted" '68 3' "$("$CTL" config history -n pages noted.txt --limit 68 -o json | jq -r '"\(.releases | length) \(.continue)"')"

# --- the program itself ---
complains "nobody is there" 2 'cannot reach 127.0.0.1:1: .*Does cairnd run there' --endpoints 127.0.0.1:1 --dial-timeout 2s service ls
prints "the next endpoint is asked" 0 app.yaml --endpoints "127.0.0.1:1,127.0.0.1:$port" config ls -o name
complains "a server that is none" 2 'cannot reach .*the server closed the connection' --endpoints "127.0.0.1:$((port + 1))" service ls
env -u CAIRN_ENDPOINTS "$CTL" context set here --endpoints "127.0.0.1:$port" --namespace stage >out 2>&1
expect "a context is kept" "context here is saved and in use" "$(cat out)"
expect "and used" "" "$(env -u CAIRN_ENDPOINTS "$CTL" config ls -o name)"
expect "a flag wins over it" app.yaml "$(env -u CAIRN_ENDPOINTS "$CTL" config ls -o name -n default)"
expect "a variable, too" app.yaml "$(env -u CAIRN_ENDPOINTS CAIRN_NAMESPACE=default "$CTL" config ls -o name)"
"$CTL" context rm here >/dev/null
"$CTL" completion bash >completion
# shellcheck disable=SC2016
expect "bash completes" "history" "$(bash -c '. ./completion; COMP_WORDS=(cairnctl config hi); COMP_CWORD=2; _cairnctl; echo "${COMPREPLY[@]}"')"
expect "also names, which it asks for" "app.yaml" \
    "$(PATH=$(dirname "$CTL"):$PATH bash -c '. ./completion; COMP_WORDS=(cairnctl config get ""); COMP_CWORD=3; _cairnctl; echo "${COMPREPLY[@]}"')"

# --- three members, one of which dies ---
stop_server TERM
CLUSTER_DIR=$work/cluster CLUSTER_PORT=$((port + 10)) CAIRND=$CAIRND "$OLDPWD/tests/e2e/three.sh" >three.out 2>&1 &
three_pid=$!
end_more() {
    local p
    for p in "$work"/cluster/n?.pid; do [ -f "$p" ] && kill -KILL "$(cat "$p")"; done
    kill -KILL "$three_pid"
}
check "three members start" within $LIMIT_S has three.out 'Ctrl-C stops them'
export CAIRN_ENDPOINTS=127.0.0.1:$((port + 10)),127.0.0.1:$((port + 20)),127.0.0.1:$((port + 30))
"$CTL" service register api a1 10.0.0.1:80 --ttl 60s >register.out 2>register.err &
register_pid=$!
check "an instance registers at one of them" within $LIMIT_S has register.out 'registered a1'
"$CTL" service watch api >watch.out 2>watch.err &
watch_pid=$!
check "a watch at the same" within $LIMIT_S has watch.out 'added.a1'
kill -KILL "$(cat cluster/n1.pid)"
check "which dies; the watch goes on at another" within $LIMIT_S has watch.err 'going on at another one'
registers() { ctl service register api a2 10.0.0.2:80 --once; }
check "another instance registers there" within $LIMIT_S registers
check "and is seen, the first one not again" within $LIMIT_S has watch.out 'added.a2'
expect "one line for each" 2 "$(grep -c added watch.out)"
ctl doctor
expect "doctor: one of three is down, the service is not" 0 $?
check "which it says, and what to do" has out 'Member n1 at http.* does not answer'
check "and what may come" has out '2 of 3 voting members answer: one more loss'
ctl cluster status -o simple
expect "cluster status says by its exit that it is not whole" 5 $?
kill -TERM $register_pid
wait $register_pid
expect "the first one deregisters at another member" 0 $?
check "which is seen" within $LIMIT_S has watch.out 'removed.a1'
kill -TERM $watch_pid
wait $watch_pid
kill -KILL "$(cat cluster/n2.pid)"
ctl doctor --command-timeout 3s
expect "two of three are down: not healthy" 5 $?
check "nothing can be written" has out 'Only 1 of 3 voting members answer and 2 are needed'
cd - >/dev/null || exit 1
finish
