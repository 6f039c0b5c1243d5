#!/usr/bin/env bash
# Clients of other projects against our server, most of them beside a real etcd. Runs each part that this machine can
# run, one line a part; exit 0 if none failed. A part whose tool is absent, or cannot be fetched, is skipped and says so.
#
#   CAIRND=bin/cairnd tests/interop/run.sh [part ...]      LONG=1: 20 seeds, `check perf`, the clients' own tests
#                                                       STRICT=1: a method that is not served is a failure
#
# README.md says what each part does. Logs and everything built or downloaded: build/interop/.
. "$(dirname "$0")/lib.sh"
. "$root/tests/shell/tries.sh"
CAIRND=$(realpath "${CAIRND:-$root/bin/cairnd}")
export CAIRND
mkdir -p "$peers"
passed=0 failed=0 skipped=0
SKIPPED=77 # a part's status: absent tool

# Requirements of a part besides our server. Each prints on stdout why it is missing.
go_tools() {
    command -v go >"$peers/which.log" || { echo 'no go'; return 1; }
    local target
    for target in etcd37=go.etcd.io/etcd/server/v3 etcdctl37=go.etcd.io/etcd/etcdctl/v3 \
        etcdutl=go.etcd.io/etcd/etcdutl/v3 bbolt=go.etcd.io/bbolt/cmd/bbolt differential=./differential; do
        (cd "$here" && timeout 900 go build -buildvcs=false -o "$peers/${target%%=*}" "${target#*=}") >"$peers/go.log" 2>&1 ||
            { echo "go cannot build ${target#*=}, see build/interop/go.log"; return 1; }
    done
    (cd "$here" && timeout 900 go test -c -buildvcs=false -o "$peers/goclient.test" ./goclient) >"$peers/go.log" 2>&1 ||
        { echo 'go cannot build goclient, see build/interop/go.log'; return 1; }
}
npm_tools() {
    command -v npm >"$peers/which.log" || { echo 'no npm'; return 1; }
    mkdir -p "$peers/npm"
    cmp -s "$here/npm/package-lock.json" "$peers/npm/installed" && return 0
    cp "$here"/npm/package*.json "$peers/npm/"
    (cd "$peers/npm" && timeout 600 npm ci --ignore-scripts --no-audit --no-fund) >"$peers/npm.log" 2>&1 ||
        { echo 'npm cannot install the clients, see build/interop/npm.log'; return 1; }
    cp "$here/npm/package-lock.json" "$peers/npm/installed"
}
python_tools() {
    python3 -c 'import etcd3' 2>"$peers/which.log" && { python=python3; return 0; }
    python=$peers/venv/bin/python
    "$python" -c 'import etcd3' 2>"$peers/which.log" && return 0
    command -v python3 >"$peers/which.log" || { echo 'no python3'; return 1; }
    { python3 -m venv "$peers/venv" && timeout 200 "$peers/venv/bin/pip" install -q -r "$here/python/requirements.txt"; } \
        >"$peers/pip.log" 2>&1 || { echo 'pip cannot install etcd3, see build/interop/pip.log'; return 1; }
}

# The clients' own tests, at a known commit of theirs: ..._OWN may name another place to clone from.
own_tests() { # NAME URL COMMIT
    [ -d "$peers/$1/.git" ] && [ "$(git -C "$peers/$1" rev-parse HEAD)" = "$3" ] && return 0
    rm -rf "${peers:?}/$1"
    GIT_TERMINAL_PROMPT=0 timeout 60 git clone -q "$2" "$peers/$1" >"$peers/$1.log" 2>&1 &&
        git -C "$peers/$1" checkout -q "$3" >>"$peers/$1.log" 2>&1 && return 0
    rm -rf "${peers:?}/$1"
    echo "git cannot fetch $2, see build/interop/$1.log"
    return 1
}
npm_own_tools() {
    command -v npm >"$peers/which.log" || { echo 'no npm'; return 1; }
    own_tests npm-own "${NPM_OWN:-https://github.com/microsoft/etcd3}" e74db2a81c68006feb770c1c21dbed5af46fdf40 || return 1
    [ -d "$peers/npm-own/lib" ] && return 0
    (cd "$peers/npm-own" && timeout 600 npm ci --ignore-scripts --no-audit --no-fund && timeout 100 npx tsc) \
        >"$peers/npm-own.log" 2>&1 || { echo 'npm cannot build its tests, see build/interop/npm-own.log'; return 1; }
}
# The source archive of the package holds its tests; PYTHON_OWN is a place to clone a later commit from.
python_own_source() {
    if [ "${PYTHON_OWN:-}" ]; then
        own_tests python-own "$PYTHON_OWN" e58a899579ba416449c4e225b61f039457c8072a
        return
    fi
    [ -d "$peers/python-own/tests" ] && [ ! -d "$peers/python-own/.git" ] && return 0
    rm -rf "$peers/python-own" "$peers/python-sdist"
    timeout 200 "$python" -m pip download -q --no-deps --no-binary :all: --require-hashes \
        -r "$here/python/own.txt" -d "$peers/python-sdist" >"$peers/pip.log" 2>&1 ||
        { echo 'pip cannot fetch the source of etcd3, see build/interop/pip.log'; return 1; }
    mkdir "$peers/python-own" && tar xzf "$peers"/python-sdist/etcd3-*.tar.gz -C "$peers/python-own" --strip-components 1
}
python_own_tools() {
    python_tools && command -v etcdctl >"$peers/which.log" || { echo 'no etcdctl of the distribution'; return 1; }
    python_own_source || return 1
    "$python" -c 'import pytest, hypothesis, mock, six, tenacity.compat' 2>"$peers/which.log" ||
        timeout 200 "$python" -m pip install -q pytest hypothesis mock 'tenacity==6.3.1' six >"$peers/pip.log" 2>&1 ||
        { echo 'pip cannot install what the tests need, see build/interop/pip.log'; return 1; }
}

# One of registrars/, into $peers/registrar-NAME. Those without a module of their own here take the newest there is.
declare -A registrar_needs=([kratos]=github.com/go-kratos/kratos/contrib/registry/etcd/v3 [gomicro]=go-micro.dev/v6
    [dubbo]=dubbo.apache.org/dubbo-go/v3)
registrar() { # NAME
    local name=$1 folder=$here/registrars/$1 target=. binary=$peers/registrar-$1
    [ -x "$binary" ] && [ "$binary" -nt "$folder/main.go" ] && return 0
    case $name in
    grpc) folder=$here target=./registrars/grpc ;;
    gozero) ;;
    *)
        rm -rf "${peers:?}/$name" && cp -r "$folder" "$peers/$name" && folder=$peers/$name
        (cd "$folder" && go mod init "registrars/$name" && timeout 100 go get "${registrar_needs[$name]}@latest" &&
            timeout 200 go mod tidy) >"$peers/registrar-$name.log" 2>&1 || return 1
        ;;
    esac
    (cd "$folder" && timeout 300 go build -buildvcs=false -o "$binary" "$target") >"$peers/registrar-$name.log" 2>&1
}

java_tools() {
    command -v mvn >"$peers/which.log" && command -v java >>"$peers/which.log" || { echo 'no mvn or no java'; return 1; }
    mkdir -p "$peers/java"
    cmp -s "$here/java/pom.xml" "$peers/java/pom.xml" && return 0
    timeout 600 mvn -q -B -f "$here/java/pom.xml" dependency:build-classpath "-Dmdep.outputFile=$peers/java/classpath" \
        >"$peers/mvn.log" 2>&1 || { echo 'mvn cannot fetch jetcd, see build/interop/mvn.log'; return 1; }
    cp "$here/java/pom.xml" "$peers/java/"
}

fresh_hash() { curl -sf -m 30 "http://127.0.0.1:$1/v3/maintenance/hashkv" -d '{}' | jq -c 'del(.header)'; }
part_differential() {
    go_tools || return $SKIPPED
    local hash
    start_server etcd "$peers/etcd37" && a=$port || return 1
    start_server ours "$CAIRND" && b=$port || return 1
    hash=$(fresh_hash "$a")
    [ "$hash" ] && [ "$hash" = "$(fresh_hash "$b")" ] || { echo "HashKV of a fresh store: etcd $hash, ours $(fresh_hash "$b")"; return 1; }
    timeout 1200 "$peers/differential" -a "127.0.0.1:$a" -b "127.0.0.1:$b" \
        -seeds "$([ "${LONG:-}" ] && echo 20 || echo 5)" ${STRICT:+-strict}
}
part_goclient() {
    go_tools || return $SKIPPED
    timeout 600 "$peers/goclient.test" -test.timeout 590s -test.skip Cluster && echo "etcd's client 3.7.1 and its recipes"
}
part_cluster() {
    go_tools || return $SKIPPED
    timeout 900 "$peers/goclient.test" -test.timeout 890s -test.run Cluster -test.parallel 3 &&
        echo "etcd's client 3.7.1 on three members, leaders killed"
}
part_etcdctl37() {
    go_tools || return $SKIPPED
    timeout 900 "$here/etcdctl.sh"
}
part_etcdctl34() {
    ETCDCTL=$(command -v etcdctl) || { echo 'no etcdctl of the distribution'; return $SKIPPED; }
    go_tools || return $SKIPPED
    LONG='' ETCDCTL=$ETCDCTL timeout 900 "$here/etcdctl.sh"
}
part_members() {
    go_tools || return $SKIPPED
    timeout 900 "$here/members.sh"
}
part_downgrade() {
    go_tools || return $SKIPPED
    timeout 600 "$here/downgrade.sh"
}
part_snapshots() {
    go_tools || return $SKIPPED
    timeout 2400 "$here/snapshots.sh" "$([ "${LONG:-}" ] && echo 50 || echo 3)"
}
part_migrate() {
    go_tools || return $SKIPPED
    SEEDS=$([ "${LONG:-}" ] && echo 10 || echo 1) timeout 1200 "$here/migrate.sh"
}
part_import() {
    go_tools || return $SKIPPED
    STORES=$([ "${LONG:-}" ] && echo 30 || echo 4) timeout 2400 "$here/import.sh"
}
npm_tests() { # ENDPOINTS
    cp "$here/npm/etcd3.test.mjs" "$peers/npm/"
    (cd "$peers/npm" && HOST=$1 timeout 400 node --test etcd3.test.mjs)
}
part_npm() {
    npm_tools || return $SKIPPED
    start_server ours "$CAIRND" || return 1
    npm_tests "127.0.0.1:$port" && echo 'etcd3 for Node'
}
part_npm_cluster() {
    npm_tools || return $SKIPPED
    start_members ours "$CAIRND" 3 || return 1
    npm_tests "$endpoints" && echo 'etcd3 for Node, knowing three members'
}
part_npm_stream() {
    npm_tools || return $SKIPPED
    start_server ours "$CAIRND" --cors https://good.example || return 1
    cp "$here/npm/stream.test.mjs" "$peers/npm/"
    (cd "$peers/npm" && HOST=127.0.0.1:$port timeout 400 node --test stream.test.mjs) && echo 'ws and eventsource on the stream'
}
part_browser() {
    local chromium page_port
    chromium=$(command -v chromium || command -v chromium-browser) || { echo 'no chromium'; return $SKIPPED; }
    page_port=$(free_port)
    start_server ours "$CAIRND" --cors "http://127.0.0.1:$page_port" || return 1
    "$here/browser.sh" "$chromium" "$port" "$page_port"
}
# All of microsoft/etcd3's own tests, over TLS with their certificate.
part_npm_own() {
    npm_own_tools || return $SKIPPED
    local certs=$peers/npm-own/src/test/certs log=$work/mocha
    SCHEME=https start_members ours "$CAIRND" 3 --cert-file "$certs/certs/etcd0.localhost.crt" \
        --key-file "$certs/private/etcd0.localhost.key" || return 1
    (cd "$peers/npm-own" && ETCD_ADDR=127.0.0.1:${ports[0]} ETCD_VERSION=3.5.0 timeout 150 npx mocha) \
        >"$log" 2>&1 || { cat "$log"; return 1; }
    cat "$log"
    echo "microsoft/etcd3's own tests:$(grep passing "$log")"
}
part_python() {
    python_tools || return $SKIPPED
    start_server ours "$CAIRND" || return 1
    timeout 300 "$python" "$here/python/smoke.py" 127.0.0.1 "$port" && echo 'etcd3 for Python'
}
part_python_cluster() {
    python_tools || return $SKIPPED
    start_members ours "$CAIRND" 3 || return 1
    local i
    i=$(a_follower) || return 1
    timeout 300 "$python" "$here/python/smoke.py" 127.0.0.1 "${ports[i]}" 3 && echo 'etcd3 for Python, on a follower'
}
# All of python-etcd3's own tests. They call etcdctl, suspend the members whom pgrep names, and expect these names.
part_python_own() {
    python_own_tools || return $SKIPPED
    local list log=$work/pytest
    start_members pifpaf "$CAIRND" 3 || return 1
    list=$(printf ',http://127.0.0.1:%s' "${ports[@]}")
    mkdir "$work/bin"
    printf '#!/bin/sh\nprintf "%%s\\n" %s %s\n' "${started[1]}" "${started[2]}" >"$work/bin/pgrep"
    # etcdctl 3.4 does not take the flag and the variable together.
    printf '#!/bin/sh\ncase "$*" in *--endpoints*) unset ETCDCTL_ENDPOINTS ;; esac\nexec %s "$@"\n' \
        "$(command -v etcdctl)" >"$work/bin/etcdctl"
    chmod +x "$work"/bin/*
    (cd "$peers/python-own" && PATH=$work/bin:$PATH PYTHONPATH=.:./etcd3:$here/python \
        PYTHON_ETCD_HTTP_URL=http://127.0.0.1:${ports[0]} ETCDCTL_ENDPOINTS=${list#,} TEST_ETCD_VERSION=v3.4.0 \
        timeout 250 "$python" -m pytest -p own_suite -p no:cacheprovider -q --tb=short tests) \
        >"$log" 2>&1 || { cat "$log"; return 1; }
    cat "$log"
    echo "python-etcd3's own tests: $(tail -1 "$log")"
}
part_java() {
    java_tools || return $SKIPPED
    start_server ours "$CAIRND" || return 1
    timeout 400 java -cp "$(cat "$peers/java/classpath")" "$here/java/Smoke.java" "http://127.0.0.1:$port"
}
part_gateway() {
    [ -x "$here/gateway_compare.sh" ] || { echo 'no gateway_compare.sh'; return $SKIPPED; }
    go_tools || return $SKIPPED
    start_server etcd "$peers/etcd37" && a=$port || return 1
    start_server ours "$CAIRND" || return 1
    timeout 900 "$here/gateway_compare.sh" "http://127.0.0.1:$port" "http://127.0.0.1:$a"
}

# Our log of one seed of the differential run, as an etcd WAL: read by etcd's reader, equal to our own dump of it.
part_waldump() {
    go_tools || return $SKIPPED
    (cd "$here" && timeout 900 go build -buildvcs=false -o "$peers/walread" ./walread) || return $SKIPPED
    start_server etcd "$peers/etcd37" && a=$port || return 1
    start_server ours "$CAIRND" --snapshot-catchup-entries 500 && b=$port || return 1
    timeout 600 "$peers/differential" -a "127.0.0.1:$a" -b "127.0.0.1:$b" -seeds 1 &
    local running=$! beside=0
    while kill -0 "$running" 2>/dev/null; do # beside a member that writes
        "$CAIRND" waldump "$work/ours" >"$work/beside.json" || return 1
        beside=$((beside + 1))
        sleep 0.5
    done
    wait "$running" || echo 'differences are the part differential'"'"'s to judge'
    { kill -9 "${started[1]}" && wait "${started[1]}"; } 2>/dev/null
    "$CAIRND" waldump --json --data-dir "$work/ours" >"$work/all.json" || return 1
    "$CAIRND" waldump --etcd "$work/etcd-wal" "$work/ours" || return 1
    local told
    told=$("$peers/walread" "$work/etcd-wal" "$work/all.json") || return 1
    "$CAIRND" waldump --etcd "$work/etcd-wal" "$work/ours" && { echo 'an existing log was overwritten'; return 1; }
    # A flipped byte under a durable batch is found, with its place.
    local victim
    victim=$(find "$work/ours" -name '*.wal' | sort | head -1)
    printf '\377' | dd of="$victim" bs=1 seek=560 conv=notrunc status=none
    "$CAIRND" waldump "$work/ours" >"$work/damaged.json" 2>"$work/damaged.log" && { echo 'damage was not seen'; return 1; }
    grep 'offset 512: ' "$work/damaged.log" || { cat "$work/damaged.log"; return 1; }
    echo "$told, $beside dumps beside the member"
}

# Others' conformance suites against the config center's checkers; needs no server.
part_formats() {
    [ -x "${FORMATS:-$root/build/release/tools/formats}" ] || { echo 'formats is not built: make interop'; return $SKIPPED; }
    timeout 1200 "$here/config/formats.sh"
}

# The native API as its own description has it, judged by others: is it OpenAPI, and does the server do what it says?
openapi_tools() {
    tools=$peers/venv-openapi/bin
    cmp -s "$here/openapi/requirements.txt" "$peers/venv-openapi/installed" && return 0
    command -v python3 >"$peers/which.log" || { echo 'no python3'; return 1; }
    { python3 -m venv "$peers/venv-openapi" && timeout 300 "$tools/pip" install -q -r "$here/openapi/requirements.txt"; } \
        >"$peers/pip-openapi.log" 2>&1 || { echo 'pip cannot install schemathesis, see build/interop/pip-openapi.log'; return 1; }
    cp "$here/openapi/requirements.txt" "$peers/venv-openapi/installed"
}
part_openapi() {
    openapi_tools || return $SKIPPED
    (umask 077 && echo "first $(openssl rand -base64 32)" >"$work/keys") # without a key, sealing is answered 503
    start_server ours "$CAIRND" --encryption-key-file "$work/keys" || return 1
    curl -sf "http://127.0.0.1:$port/openapi.json" >"$work/openapi.json" || return 1
    timeout 300 "$tools/python" -c 'import json, sys, openapi_spec_validator as v; v.validate(json.load(open(sys.argv[1])))' \
        "$work/openapi.json" || return 1
    # JSON Schema cannot say bytes, "at least one of" or "a session that lives": a refusal is no failure, a wrong form is.
    (cd "$work" && timeout 600 "$tools/schemathesis" --config-file "$here/openapi/schemathesis.toml" run \
        "http://127.0.0.1:$port/openapi.json" --phases examples,coverage,fuzzing --exclude-checks positive_data_acceptance \
        --max-time "$([ "${LONG:-}" ] && echo 120 || echo 30)" --seed "${SEED:-1}") || return 1
    answers "http://127.0.0.1:$port" || { echo 'the server does not answer any more'; return 1; }
    echo "openapi-spec-validator, schemathesis: $(jq '[.paths[] | length] | add' "$work/openapi.json") operations"
}

# The stream's description, judged by the parser of the AsyncAPI project: its JSON schema, and its rules.
asyncapi_tools() {
    cmp -s "$here/asyncapi/package-lock.json" "$peers/asyncapi/installed" && return 0
    command -v npm >"$peers/which.log" || { echo 'no npm'; return 1; }
    mkdir -p "$peers/asyncapi" && cp "$here/asyncapi/package.json" "$here/asyncapi/package-lock.json" "$peers/asyncapi/" &&
        (cd "$peers/asyncapi" && timeout 300 npm ci --no-audit --no-fund >"$peers/npm-asyncapi.log" 2>&1) ||
        { echo 'npm cannot install @asyncapi/parser, see build/interop/npm-asyncapi.log'; return 1; }
    cp "$here/asyncapi/package-lock.json" "$peers/asyncapi/installed"
}
part_asyncapi() {
    asyncapi_tools || return $SKIPPED
    start_server ours "$CAIRND" || return 1
    curl -sf "http://127.0.0.1:$port/asyncapi.json" >"$work/asyncapi.json" || return 1
    cp "$here/asyncapi/check.mjs" "$peers/asyncapi/" && timeout 120 node "$peers/asyncapi/check.mjs" "$work/asyncapi.json"
}

# A real Prometheus that finds its targets by http_sd. It scrapes our server's own metrics.
sees() { # PROMQL WANTED: names of instances, in order
    local got k
    for k in $(seq 600); do
        got=$(curl -s "http://127.0.0.1:$prometheus/api/v1/query" --data-urlencode "query=$1" |
            jq -r '[.data.result[].metric.id] | sort | join(" ")' 2>/dev/null)
        [ "$got" = "$2" ] && { echo "$1: $2"; return 0; }
        sleep 0.2
    done
    echo "$1: '$got', not '$2'"
    return 1
}
part_prometheus() {
    command -v prometheus >"$peers/which.log" || { echo 'no prometheus'; return $SKIPPED; }
    start_server ours "$CAIRND" || return 1
    local api=http://127.0.0.1:$port/api/v1/services url=http://127.0.0.1:$port pid=$!
    prometheus=$(free_port)
    session=$(curl -s "${api%/services}/sessions" -d '{"ttl":600}' | jq -r .session)
    put() { curl -sf -X PUT "$api/$1?session=$session" -d "$2" || return 1; }
    put self/instances/s1 '{"host":"127.0.0.1","port":'"$port"',"zone":"b","tags":["scraped"],"metadata":{"team-name":"core"}}' || return 1
    put self/instances/s2 '{"host":"127.0.0.1","ports":{"metrics":1},"tags":["scraped"]}' || return 1
    put other/instances/s3 '{"host":"127.0.0.1","port":1}' || return 1
    cat >"$work/prometheus.yml" <<Y
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: all
  http_sd_configs: [{url: $url/sd/prometheus, refresh_interval: 1s}]
  relabel_configs: &labels
  - {source_labels: [__meta_cairn_instance], target_label: id}
  - {source_labels: [__meta_cairn_zone], target_label: zone}
  - {source_labels: [__meta_cairn_port_name], target_label: port_name}
  - {source_labels: [__meta_cairn_metadata_team_name], target_label: team}
- job_name: serving
  http_sd_configs: [{url: '$url/sd/prometheus?namespace=default&service=self&tag=scraped', refresh_interval: 1s}]
  relabel_configs:
  - {source_labels: [__meta_cairn_instance], target_label: id}
  - {source_labels: [__meta_cairn_serving], regex: 'true', action: keep}
  - {source_labels: [__meta_cairn_tags], regex: '.*,scraped,.*', action: keep}
Y
    promtool check config "$work/prometheus.yml" || return 1
    prometheus --config.file "$work/prometheus.yml" --storage.tsdb.path "$work/tsdb" \
        --web.listen-address "127.0.0.1:$prometheus" >"$work/prometheus.log" 2>&1 &
    started+=($!)
    sees 'up{job="all"}' 's1 s2 s3' && sees 'up{job="all"} == 1' s1 &&
        sees 'up{job="all",zone="b",team="core"}' s1 && sees 'up{job="all",port_name="metrics"}' s2 &&
        sees 'up{job="serving"}' 's1 s2' && sees 'etcd_server_has_leader{job="serving"}' s1 || return 1
    curl -sf -X PUT "$api/self/instances/s2/override" -d '{"enabled":false}' || return 1
    sees 'up{job="serving"}' s1 && sees 'up{job="all"}' 's1 s2 s3' || return 1
    curl -sf -X DELETE "$api/other/instances/s3" || return 1
    sees 'up{job="all"}' 's1 s2' || return 1
    # While the server is away Prometheus keeps its targets: s1 is down, not gone.
    { kill -9 "$pid" && wait "$pid"; } 2>/dev/null
    sees 'up{job="all"} == 0' 's1 s2' || return 1
    echo "$(prometheus --version 2>&1 | head -1 | cut -d' ' -f1-3): finds, relabels, drops; keeps its targets while we are away"
}

# Our metrics beside a real etcd's under the same load, the names of etcd's mixin, and promtool on the exposition.
part_metrics() {
    go_tools || return $SKIPPED
    command -v python3 >"$peers/which.log" || { echo 'no python3'; return $SKIPPED; }
    start_server ours "$CAIRND" --metrics extensive || return 1
    if command -v promtool >"$peers/which.log"; then
        curl -sf "http://127.0.0.1:$port/metrics" | promtool check metrics >"$work/promtool" 2>&1
        # It advises against names that are etcd's own, and exits with 3 for that; a form that it cannot parse is 1.
        [ $? != 1 ] || { cat "$work/promtool"; return 1; }
        echo 'promtool parses the exposition'
    else
        echo 'skip: no promtool (Debian package prometheus)'
    fi
    timeout 500 python3 "$here/metrics/compare.py" "$peers/etcd37" "$CAIRND" "$peers/etcdctl37" "$work"
}

# The alert rules of etcd's mixin on series that are recorded from three members which lose two, of our server and of etcd.
mixin_tools() {
    command -v go >"$peers/which.log" || { echo 'no go'; return 1; }
    command -v promtool >"$peers/which.log" || { echo 'no promtool (Debian package prometheus)'; return 1; }
    [ -x "$peers/jsonnet" ] || GOBIN=$peers timeout 600 go install github.com/google/go-jsonnet/cmd/jsonnet@v0.20.0 \
        >"$peers/jsonnet.log" 2>&1 || { echo 'go cannot build jsonnet, see build/interop/jsonnet.log'; return 1; }
    mixin=$(cd "$peers" && timeout 300 go mod download -json go.etcd.io/etcd/v3@v3.7.1 2>"$peers/mixin.log" |
        sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/contrib/mixin
    [ -d "$mixin/alerts" ] || { echo 'go cannot fetch go.etcd.io/etcd/v3, see build/interop/mixin.log'; return 1; }
}
part_alerts() {
    go_tools && mixin_tools || return $SKIPPED
    "$peers/jsonnet" -J "$mixin" -e '((import "config.libsonnet") + (import "alerts/alerts.libsonnet")).prometheusAlerts' \
        >"$work/rules.json" && promtool check rules "$work/rules.json" || return 1
    local program
    for program in "$peers/etcd37" "$CAIRND"; do
        mkdir "$work/${program##*/}"
        timeout 200 python3 "$here/metrics/alerts.py" "$program" "$work/rules.json" "$work/${program##*/}" "$peers/etcdctl37" || return 1
    done
}

# nginx resolves its backends by our DNS, again for each request once a response is too old. It reads A records alone.
part_dns() {
    command -v nginx >"$peers/which.log" || { echo 'no nginx (Debian package nginx-light)'; return $SKIPPED; }
    local dns web i ip
    web=$(free_port) dns=$(free_port)
    start_server ours "$CAIRND" --listen-dns "127.0.0.1:$dns" --dns-ttl 1s || return 1
    for ip in 127.0.0.11 127.0.0.12 127.0.0.13; do # backends that say who they are
        python3 "$here/dns/backend.py" "$ip" "$web" >"$work/backend-$ip.log" 2>&1 &
        started+=($!)
    done
    mkdir -p "$work/nginx"
    sed -e "s|@DIR@|$work/nginx|; s|@WEB@|$web|; s|@FRONT@|$((web + 1))|; s|@DNS@|$dns|" "$here/dns/nginx.conf" >"$work/nginx.conf"
    nginx -e "$work/nginx/error.log" -c "$work/nginx.conf" >"$work/nginx.out" 2>&1 &
    started+=($!)
    seen() { # the backends that twenty requests reach
        for _ in $(seq 20); do curl -sf -m 30 "http://127.0.0.1:$((web + 1))/" || echo none; done | sort -u | paste -sd ' '
    }
    reaches() { # WANTED: and stays with that
        for i in $(seq 300); do
            [ "$(seen)" = "$1" ] && [ "$(seen)" = "$1" ] && { echo "nginx reaches $1"; return 0; }
            sleep 0.2
        done
        echo "nginx reaches '$(seen)', not '$1'"
        tail -3 "$work/nginx/error.log"
        return 1
    }
    put() { # key under instances/default/default/, value; none: delete
        local key
        key=$(printf '/cairn/registry/instances/default/default/%s' "$1" | base64 -w0)
        if [ "${2:-}" ]; then
            curl -sf -o "$work/put" "http://127.0.0.1:$port/v3/kv/put" -d "{\"key\":\"$key\",\"value\":\"$(printf %s "$2" | base64 -w0)\"}"
        else
            curl -sf -o "$work/put" "http://127.0.0.1:$port/v3/kv/deleterange" -d "{\"key\":\"$key\"}"
        fi
    }
    put web/1 "{\"host\":\"127.0.0.11\",\"port\":$web}" && put web/2 "{\"host\":\"127.0.0.12\",\"port\":$web}" || return 1
    reaches '127.0.0.11 127.0.0.12' || return 1
    put web/1 "{\"host\":\"127.0.0.11\",\"port\":$web,\"state\":\"draining\"}" || return 1
    reaches 127.0.0.12 || return 1
    put web/3 "{\"host\":\"127.0.0.13\",\"port\":$web}" && put web/2 || return 1
    reaches 127.0.0.13 || return 1
    echo "nginx finds backends by DNS and follows: two, one drained, another one"
}

# Services register themselves as their framework does it, through the etcd API, and are seen in the registry.
part_registrars() {
    command -v go >"$peers/which.log" || { echo 'no go'; return $SKIPPED; }
    start_server ours "$CAIRND" --registry-projections 'defaults,go-zero=user.rpc,grpc=grpc-services/@prod/g' || return 1
    local name pid n done_by=() without=()
    instance() { # NAME: its instances in the registry, one a line
        local query
        for query in ${registrar_sees[$1]}; do curl -sf -m 30 "http://127.0.0.1:$port/api/v1/services/$query"; done |
            grep -o '{"id".*' | sed 's/"create_revision.*//'
    }
    declare -A registrar_sees=([grpc]='orders?namespace=prod&group=g' [gozero]=user.rpc [kratos]=helloworld
        [gomicro]=greeter [dubbo]='order-app com.example.GreetService')
    declare -A registrar_shows=(
        [grpc]='"id":"grpc:10.0.0.3:50051","host":"10.0.0.3","port":50051,"protocol":"grpc","zone":"b"'
        [gozero]='"id":"go-zero:[0-9]*","host":"10.0.0.9","port":8080'
        [kratos]='"id":"kratos:k1","host":"10.0.0.5","port":9000,"ports":{"grpc":9000,"http":8000},"protocol":"grpc","zone":"b"'
        [gomicro]='"id":"go-micro:greeter-1","host":"10.0.0.7","port":40001,"protocol":"grpc","version":"latest"'
        [dubbo]='"id":"dubbo:10.0.0.6:20000","host":"10.0.0.6","port":20000,"protocol":"dubbo".*"id":"dubbo-interface:10.0.0.6:20000:[0-9a-f]*","host":"10.0.0.6","port":20000,"protocol":"dubbo","version":"1.2.0","weight":50')
    waits_for() { # NAME, a pattern or nothing, seconds
        for _ in $(seq $(($3 * 5))); do
            local seen
            seen=$(instance "$1" | tr -d '\n')
            if [ "$2" ] && grep -q "$2" <<<"$seen"; then return 0; fi
            [ "$2" ] || [ "$seen" ] || return 0
            sleep 0.2
        done
        echo "$1: seen is '$seen', not '$2'"
        cat "$work/$1.log"
        return 1
    }
    begin() { # NAME: it runs until descriptor 3 is closed, or it is killed
        mkfifo "$work/$1.in.$SECONDS.$RANDOM" && n=$(ls -t "$work" | grep "^$1.in" | head -1)
        "$peers/registrar-$1" "127.0.0.1:$port" <"$work/$n" >"$work/$1.log" 2>&1 &
        pid=$!
        started+=("$pid")
        exec 3>"$work/$n"
    }
    for name in grpc gozero kratos gomicro dubbo; do
        registrar "$name" || { without+=("$name"); continue; }
        begin "$name"
        waits_for "$name" "${registrar_shows[$name]}" 90 || return 1
        exec 3>&- # it takes itself away, as far as it can
        wait "$pid"
        [ "$name" = dubbo ] || waits_for "$name" '' 90 || return 1
        begin "$name"
        waits_for "$name" "${registrar_shows[$name]}" 90 || return 1
        kill -9 "$pid" && wait "$pid" 2>/dev/null # its lease ends, and it is gone
        exec 3>&-
        waits_for "$name" '' 180 || return 1
        done_by+=("$name")
    done
    echo "registered by ${done_by[*]}, seen, gone when they end or die${without:+; not to be had: ${without[*]}}"
    [ "${done_by[*]}" ] || return $SKIPPED
}

# Ours under the names etcdctl and etcdutl, beside the real ones: outputs, and the list of commands and flags.
part_cairnctl() {
    command -v etcdctl >/dev/null || { echo 'no etcdctl'; return $SKIPPED; }
    go_tools || return $SKIPPED
    "$root/tests/e2e/ctl_flags.sh" && "$root/tests/e2e/ctl_etcd.sh" && "$root/tests/e2e/ctl_forms.sh"
}

# The faults that keep us from libwebsockets' own HTTP and WebSocket roles, shown by the installed version: server/http/README.md.
part_libwebsockets() {
    local folder=${TOOLS:-$root/build/release/tools}/libwebsockets program name line version found wanted changed=0 count=0
    [ -x "$folder/second_post" ] || { echo 'its programs are not built: make interop'; return $SKIPPED; }
    for program in "$here"/libwebsockets/*.c; do
        name=$(basename "$program" .c)
        [ "$name" != fault ] || continue
        line=$(timeout 120 "$folder/$name") || { echo "$name ended with status $?: $line"; return 1; }
        version=$(grep -oE '[0-9]+(\.[0-9]+)+' <<<"$line" | head -1)
        case $line in
        'fault: still there'*) found=there ;;
        'mended in'*) found=mended ;;
        *) found=unseen ;;
        esac
        wanted=$(awk -v v="$version" -v n="$name" '$1 == v && $2 == n { print $3 }' "$here/libwebsockets/expected.txt")
        echo "$name: $line"
        count=$((count + 1))
        [ "$found" = "${wanted:-none}" ] && continue
        changed=$((changed + 1))
        echo "$name: the verdict is '$found', expected.txt says '${wanted:-nothing}' for libwebsockets $version"
    done
    [ $changed = 0 ] || {
        echo "libwebsockets $version differs in $changed of $count: reconsider rule 2 of server/http/README.md, then expected.txt"
        return 1
    }
    echo "libwebsockets $version: $count programs, all verdicts as in expected.txt"
}

# Autobahn's fuzzing client against server/http. It needs Python 2.7, which few machines have any more.
# h2spec, in cleartext and over TLS. /debug/vars answers any method, after the body: cases that break a rule within a body need that.
part_h2spec() {
    command -v go >"$peers/which.log" || { echo 'no go'; return $SKIPPED; }
    (cd "$here/h2spec" && timeout 600 go build -buildvcs=false -o "$peers/h2spec" github.com/summerwind/h2spec/cmd/h2spec) \
        >"$peers/h2spec-build.log" 2>&1 || { echo 'go cannot build h2spec, see build/interop/h2spec-build.log'; return $SKIPPED; }
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/tls.key" -out "$work/tls.crt" -days 2 \
        -subj /CN=server -addext subjectAltName=IP:127.0.0.1 2>"$work/openssl.log"
    local plain secure peer
    plain=$(free_port) secure=$(free_port) peer=$(free_port)
    "$CAIRND" --data-dir "$work/ours" --listen-client-urls "http://127.0.0.1:$plain,https://127.0.0.1:$secure" \
        --advertise-client-urls "http://127.0.0.1:$plain" --listen-peer-urls "http://127.0.0.1:$peer" \
        --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
        --cert-file "$work/tls.crt" --key-file "$work/tls.key" >"$work/ours.log" 2>&1 &
    started+=($!)
    timeout $LIMIT_S sh -c "until curl -sf -o '$work/health' 'http://127.0.0.1:$plain/health'; do sleep 0.1; done" || { echo 'no server'; return 1; }
    timeout 300 "$peers/h2spec" -h 127.0.0.1 -p "$plain" -P /debug/vars -o 5 -j "$work/plain.xml" >"$work/h2spec.log" 2>&1
    timeout 300 "$peers/h2spec" -h 127.0.0.1 -p "$secure" -t -k -P /debug/vars -o 5 -j "$work/tls.xml" >>"$work/h2spec.log" 2>&1
    python3 "$here/h2spec/judge.py" "$here/h2spec/exceptions.txt" plain="$work/plain.xml" tls="$work/tls.xml"
}

autobahn_tools() {
    python2=$(command -v python2.7) && "$python2" -c '' 2>"$peers/which.log" ||
        python2=$(PYENV_VERSION=2.7.18 pyenv which python2.7 2>"$peers/which.log") || { echo 'no Python 2.7'; return 1; }
    cmp -s "$here/websocket/requirements.txt" "$peers/autobahn/installed" && return 0
    rm -rf "${peers:?}/autobahn"
    timeout 500 "$python2" -m pip install -q --target "$peers/autobahn" -r "$here/websocket/requirements.txt" \
        >"$peers/pip-autobahn.log" 2>&1 || { echo 'pip cannot install Autobahn, see build/interop/pip-autobahn.log'; return 1; }
    cp "$here/websocket/requirements.txt" "$peers/autobahn/installed"
}
part_websocket() {
    local echo=${TOOLS:-$root/build/release/tools}/ws_echo cases='"1.*","2.*","3.*","4.*","5.*","6.*","7.*","9.*","10.*"' python2
    [ -x "$echo" ] || { echo 'ws_echo is not built: make interop'; return $SKIPPED; }
    autobahn_tools || return $SKIPPED
    [ -z "${LONG:-}" ] || cases+=',"12.*","13.*"' # permessage-deflate
    port=$(free_port)
    "$echo" "$port" deflate 2>"$work/echo.log" &
    started+=($!)
    printf '{"outdir": "%s", "servers": [{"agent": "cairnd", "url": "ws://127.0.0.1:%s/echo"}],
        "cases": [%s], "exclude-cases": [], "exclude-agent-cases": {}}' "$work/autobahn" "$port" "$cases" >"$work/spec.json"
    timeout $([ "${LONG:-}" ] && echo 3000 || echo 600) "$python2" "$here/websocket/wstest.py" "$peers/autobahn" \
        -m fuzzingclient -s "$work/spec.json" >"$work/wstest.log" 2>&1 || { tail -5 "$work/wstest.log"; return 1; }
    python3 "$here/websocket/judge.py" "$work/autobahn/index.json" "$here/websocket/expected.txt"
}

# CoreDNS answers from the keys that its etcd plugin reads here, and forwards another zone to our DNS.
coredns_tools() {
    local folder=$peers/coredns
    command -v go >"$peers/which.log" || { echo 'no go'; return 1; }
    [ -x "$folder/coredns" ] && [ "$folder/coredns" -nt "$here/coredns/main.go" ] && return 0
    rm -rf "${folder:?}" && cp -r "$here/coredns" "$folder"
    (cd "$folder" && go mod init interop/coredns && timeout 300 go get github.com/coredns/coredns@v1.15.0 &&
        timeout 300 go mod tidy && timeout 900 go build -buildvcs=false -o coredns .) >"$peers/coredns.log" 2>&1 && return 0
    echo 'go cannot build it, see build/interop/coredns.log'
    return 1
}
part_coredns() {
    coredns_tools || return $SKIPPED
    command -v dig >"$peers/which.log" || { echo 'no dig'; return $SKIPPED; }
    local dns core
    core=$(free_port) dns=$(free_port)
    start_server ours "$CAIRND" --listen-dns "127.0.0.1:$dns" --dns-ttl 1s || return 1
    printf '%s\n' ".:$core {" '    bind 127.0.0.1' '    errors' '    etcd skydns.test {' '        path /skydns' \
        "        endpoint http://127.0.0.1:$port" '    }' "    forward cairn 127.0.0.1:$dns" '}' >"$work/Corefile"
    "$peers/coredns/coredns" -conf "$work/Corefile" >"$work/coredns.out" 2>&1 &
    started+=($!)
    put() { # KEY [VALUE]; none: delete
        local key
        key=$(printf %s "$1" | base64 -w0)
        if [ "${2:-}" ]; then
            curl -sf -o "$work/put" "http://127.0.0.1:$port/v3/kv/put" -d "{\"key\":\"$key\",\"value\":\"$(printf %s "$2" | base64 -w0)\"}"
        else
            curl -sf -o "$work/put" "http://127.0.0.1:$port/v3/kv/deleterange" -d "{\"key\":\"$key\"}"
        fi
    }
    answers() { # NAME TYPE WANTED
        local i got
        for i in $(seq 150); do
            got=$(dig @127.0.0.1 -p "$core" +tries=1 +time=2 +short "$1" "$2" | sort | paste -sd ' ')
            [ "$got" = "$3" ] && return 0
            sleep 0.2
        done
        echo "$1 $2 is '$got', not '$3'"
        tail -3 "$work/coredns.out"
        return 1
    }
    put /skydns/test/skydns/web/a '{"host":"10.0.0.1","port":80}' && put /skydns/test/skydns/web/b '{"host":"10.0.0.2","port":80}' || return 1
    answers web.skydns.test A '10.0.0.1 10.0.0.2' && answers a.web.skydns.test A 10.0.0.1 || return 1
    answers web.skydns.test SRV '10 50 80 a.web.skydns.test. 10 50 80 b.web.skydns.test.' || return 1
    put /skydns/test/skydns/web/a && answers web.skydns.test A 10.0.0.2 || return 1
    curl -sf -o "$work/put" -X PUT "http://127.0.0.1:$port/api/v1/services/orders/instances/o1" -d '{"host":"10.0.0.7","port":8080}' || return 1
    answers orders.svc.cairn A 10.0.0.7 && echo 'CoreDNS 1.15: etcd plugin (A, SRV, a key that goes), and forward to our DNS'
}

# etcd's own sample configuration file, unchanged but for the ports.
sample_file() {
    local file pid port
    file=$(go mod download -json go.etcd.io/etcd/v3@v3.7.1 2>"$peers/sample.log" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])' 2>>"$peers/sample.log")/etcd.conf.yml.sample
    [ -f "$file" ] || { echo "skipped: the sample file of etcd cannot be fetched, see build/interop/sample.log"; return 0; }
    port=$(free_port)
    mkdir -p "$work/sample"
    sed "s/:2380/:$((port + 1))/; s/:2379/:$port/" "$file" >"$work/sample/etcd.conf.yml"
    (cd "$work/sample" && exec "$CAIRND" --config-file etcd.conf.yml) >"$work/sample.log" 2>&1 &
    pid=$!
    started+=($pid)
    within answers "http://127.0.0.1:$port" || return 1
    echo "the sample file of etcd starts it"
}
part_flags() {
    [ -x "$peers/etcd37" ] || { echo 'no etcd 3.7.1: make interop builds it for etcdctl37'; return $SKIPPED; }
    sample_file || return 1
    python3 "$here/server_flags.py" "$peers/etcd37" "$CAIRND"
}

part_discovery() {
    [ -x "$peers/etcd37" ] || { echo 'no etcd 3.7.1: make interop builds it for etcdctl37'; return $SKIPPED; }
    ETCD=$peers/etcd37 "$root/tests/e2e/discovery.sh" && echo 'three members of each found each other'
}

# Other projects' tests against our program, each case judged by a table: suites/judge.py.
suite_module() { # FOLDER MODULE VERSION: its source in $peers/FOLDER, to be written to
    command -v go >"$peers/which.log" || { echo 'no go'; return 1; }
    [ "$(cat "$peers/$1/version" 2>/dev/null)" = "$3" ] && return 0
    local source
    source=$(cd "$peers" && timeout 300 go mod download -json "$2@$3" 2>"$peers/$1.log" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    [ -d "$source" ] || { echo "go cannot fetch $2, see build/interop/$1.log"; return 1; }
    rm -rf "${peers:?}/$1" && mkdir -p "$peers/$1/bin" && cp -r "$source" "$peers/$1/tests" && chmod -R u+w "$peers/$1" &&
        echo "$3" >"$peers/$1/version"
}
etcd_suite() { # NAME: builds tests/NAME of etcd, and names our program as its etcd
    local m folder=$peers/etcd-suites
    [ -x "$folder/$1.test" ] || (cd "$folder/tests" && for m in api cache client/pkg client etcdctl etcdutl pkg server; do
        go mod edit "-dropreplace=go.etcd.io/etcd/$m/v3" || exit 1
    done && GOFLAGS=-mod=mod timeout 900 go test -c -buildvcs=false -tags e2e -o "$folder/$1.test" "./$1") \
        >"$peers/etcd-suites.log" 2>&1 || { echo 'go cannot build it, see build/interop/etcd-suites.log'; return 1; }
    ln -sf "$CAIRND" "$folder/bin/etcd" && ln -sf "$peers/etcdctl37" "$folder/bin/etcdctl" && ln -sf "$peers/etcdutl" "$folder/bin/etcdutl"
}
part_etcd_common() {
    go_tools && suite_module etcd-suites go.etcd.io/etcd/tests/v3 v3.7.1 || return $SKIPPED
    local folder=$peers/etcd-suites
    etcd_suite common || return $SKIPPED
    E2E_TEST_MINIMAL=true timeout 1200 python3 "$here/suites/judge.py" "etcd's tests/common" "$folder/common.test" \
        "$folder/tests/common" "$here/suites/common.txt" --limit 150 --part "$suite_part" --logs "$work/logs" -- -bin-dir "$folder/bin" || return 1
    [ "$suite_part" = 0/1 ] || return 0 # else HashKV also on the kinds of clusters that are left out above
    timeout 600 python3 "$here/suites/judge.py" "its HashKV, on every kind of cluster" "$folder/common.test" "$folder/tests/common" \
        "$here/suites/common.txt" --limit 150 --only '^TestVerifyHashKV' --logs "$work/logs" -- -bin-dir "$folder/bin"
}

# Kubernetes' storage, as its API server uses it; a file of ours starts the server in place of theirs.
part_kubernetes() {
    suite_module kubernetes k8s.io/apiserver v0.37.2 || return $SKIPPED
    local folder=$peers/kubernetes
    if ! [ -x "$folder/storage.test" ] || [ "$here/suites/kubernetes/test_server.go" -nt "$folder/storage.test" ]; then
        rm -f "$folder/tests/pkg/storage/etcd3/testserver/"*.go
        cp "$here/suites/kubernetes/test_server.go" "$folder/tests/pkg/storage/etcd3/testserver/"
        (cd "$folder/tests" && GOFLAGS=-mod=mod timeout 1500 go test -c -buildvcs=false -o "$folder/storage.test" ./pkg/storage/etcd3) \
            >"$peers/kubernetes.log" 2>&1 || { echo 'go cannot build it, see build/interop/kubernetes.log'; return $SKIPPED; }
    fi
    timeout 1200 python3 "$here/suites/judge.py" "Kubernetes' storage" "$folder/storage.test" \
        "$folder/tests/pkg/storage/etcd3" "$here/suites/kubernetes.txt" --limit 150 --part "$suite_part" --logs "$work/logs"
}

# etcd's tests of its program by flags and tools: tests/e2e, with our program in its place.
part_etcd_e2e() {
    go_tools && suite_module etcd-suites go.etcd.io/etcd/tests/v3 v3.7.1 || return $SKIPPED
    local folder=$peers/etcd-suites sample
    etcd_suite e2e || return $SKIPPED
    # One test starts with the sample file of etcd's own folder; some leave data in the folder of the tests.
    sample=$(cd "$folder/tests" && timeout 100 go mod download -json go.etcd.io/etcd/v3@v3.7.1 2>>"$peers/etcd-suites.log" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    cp -f "$sample/etcd.conf.yml.sample" "$folder/" && rm -rf "$folder"/tests/e2e/*.etcd || return $SKIPPED
    E2E_TEST_MINIMAL=true timeout 1400 python3 "$here/suites/judge.py" "etcd's tests/e2e" "$folder/e2e.test" \
        "$folder/tests/e2e" "$here/suites/e2e.txt" --limit 150 --part "$suite_part" --logs "$work/logs" -- -bin-dir "$folder/bin"
}

# The Rust client's own tests: the crate's source, with our address in them.
part_rust() {
    command -v cargo >"$peers/which.log" && command -v protoc >>"$peers/which.log" ||
        { echo 'no cargo or no protoc (Debian packages cargo, protobuf-compiler)'; return $SKIPPED; }
    local folder=$peers/rust source server
    mkdir -p "$folder" && cp -r "$here/rust/." "$folder/fetch"
    source=$(cd "$folder/fetch" && timeout 200 cargo metadata --format-version 1 2>"$peers/rust-fetch.log" |
        python3 -c 'import json, os, sys; print(*[os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "etcd-client"])')
    [ -d "$source/tests" ] || { echo 'cargo cannot fetch etcd-client, see build/interop/rust-fetch.log'; return $SKIPPED; }
    if ! [ -d "$folder/own" ]; then
        cp -r "$source" "$folder/own" && chmod -R u+w "$folder/own"
        sed -i -E 's/\[(DEFAULT_TEST_ENDPOINT|"localhost:2379")\]/[std::env::var("ENDPOINT").unwrap()]/' "$folder"/own/tests/*.rs
    fi
    (cd "$folder/own" && timeout 900 cargo test --test client --test namespace --no-run) >"$peers/rust-build.log" 2>&1 ||
        { echo 'cargo cannot build it, see build/interop/rust-build.log'; return $SKIPPED; }
    start_server ours "$CAIRND" || return 1
    # The one that enables users wants root to be there.
    root_user() { curl -sf -o "$work/put" "http://127.0.0.1:$port/v3/auth/$1" -d "$2"; }
    root_user user/add '{"name":"root","password":"rootpwd"}' && root_user role/add '{"name":"root"}' &&
        root_user user/grant '{"user":"root","role":"root"}' || return 1
    # Those that are left out by default change users; they run alone. test_cluster adds members that do not exist.
    (cd "$folder/own" && export ENDPOINT=127.0.0.1:$port && timeout 300 cargo test --test client --test namespace -- --test-threads=1 &&
        timeout 100 cargo test --test client -- --test-threads=1 --ignored test_auth) >"$work/rust.log" 2>&1 ||
        { grep -E '^test .*FAILED|panicked|error' "$work/rust.log"; return 1; }
    echo "etcd-client for Rust: $(grep -c '^test .* ok$' "$work/rust.log") of its own tests"
}

part_patroni() {
    command -v postgres >"$peers/which.log" || ls /usr/lib/postgresql/15/bin/postgres >>"$peers/which.log" 2>&1 ||
        { echo 'no PostgreSQL 15 (Debian package postgresql-15)'; return $SKIPPED; }
    local folder=$peers/patroni/venv
    [ -x "$folder/bin/patroni" ] || { /usr/bin/python3 -m venv "$folder" && timeout 300 "$folder/bin/pip" install -q \
        -r "$here/patroni.txt"; } >"$peers/patroni-pip.log" 2>&1 || { echo 'pip cannot install Patroni, see build/interop/patroni-pip.log'; return $SKIPPED; }
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups "$folder/bin/patroni" --version >"$peers/which.log" 2>&1 ||
            { echo 'the user postgres cannot run build/interop/patroni'; return $SKIPPED; }
    fi
    timeout 700 "$here/patroni.sh"
}

# Traefik, which reads its routes from etcd and follows them.
part_traefik() {
    command -v go >"$peers/which.log" || { echo 'no go'; return $SKIPPED; }
    local folder=$peers/traefik source web front
    if ! [ -x "$folder/traefik" ]; then
        source=$(cd "$peers" && timeout 300 go mod download -json github.com/traefik/traefik/v3@v3.1.0 2>"$peers/traefik-fetch.log" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
        [ -d "$source" ] || { echo 'go cannot fetch it, see build/interop/traefik-fetch.log'; return $SKIPPED; }
        rm -rf "$folder" && mkdir -p "$folder" && cp -r "$source" "$folder/source" && chmod -R u+w "$folder/source"
        mkdir -p "$folder/source/webui/static" && echo none >"$folder/source/webui/static/index.html" # its console is built elsewhere
        (cd "$folder/source" && timeout 1400 go build -buildvcs=false -o ../traefik ./cmd/traefik) >"$peers/traefik-build.log" 2>&1 ||
            { echo 'go cannot build it, see build/interop/traefik-build.log'; return $SKIPPED; }
    fi
    web=$(free_port) front=$(free_port)
    start_members ours "$CAIRND" 3 || return 1
    port=${ports[1]}
    for name in 1 2; do # backends that say who they are
        mkdir "$work/web$name" && echo "web$name" >"$work/web$name/hello"
        python3 -m http.server --bind 127.0.0.1 -d "$work/web$name" $((web + name - 1)) >"$work/web$name.log" 2>&1 &
        started+=($!)
    done
    put() { # KEY [VALUE]; none: delete
        local key
        key=$(printf %s "traefik/$1" | base64 -w0)
        if [ "${2:-}" ]; then
            curl -sf -o "$work/put" "http://127.0.0.1:$port/v3/kv/put" -d "{\"key\":\"$key\",\"value\":\"$(printf %s "$2" | base64 -w0)\"}"
        else
            curl -sf -o "$work/put" "http://127.0.0.1:$port/v3/kv/deleterange" -d "{\"key\":\"$key\"}"
        fi
    }
    put http/services/hello/loadbalancer/servers/0/url "http://127.0.0.1:$web" || return 1
    put http/routers/hello/service hello && put http/routers/hello/rule 'Path(`/hello`)' || return 1
    "$folder/traefik" --entryPoints.web.address="127.0.0.1:$front" --log.level=INFO --providers.providersThrottleDuration=200ms \
        --providers.etcd.endpoints="$endpoints" --providers.etcd.rootKey=traefik >"$work/traefik.log" 2>&1 &
    started+=($!)
    routes() { # PATH WANTED
        local i got
        for i in $(seq 150); do
            got=$(curl -s -m 5 "http://127.0.0.1:$front/$1")
            [ "$got" = "$2" ] && return 0
            sleep 0.2
        done
        echo "/$1 is '$got', not '$2'"
        tail -3 "$work/traefik.log"
        return 1
    }
    routes hello web1 || return 1
    put http/services/hello/loadbalancer/servers/0/url "http://127.0.0.1:$((web + 1))" && routes hello web2 || return 1
    put http/middlewares/cut/stripPrefix/prefixes/0 /v1 && put http/routers/cut/middlewares cut && put http/routers/cut/service hello &&
        put http/routers/cut/rule 'PathPrefix(`/v1`)' && routes v1/hello web2 || return 1
    kill -9 "${started[0]}" # one of ours goes, and routes are still followed
    put http/services/hello/loadbalancer/servers/0/url "http://127.0.0.1:$web" && routes hello web1 && routes v1/hello web1 || return 1
    put http/routers/hello/rule && put http/routers/hello/service && routes hello '404 page not found' || return 1
    echo 'Traefik 3.1: routes, backends and middlewares from the store, followed over kill -9 of a member'
}

try_part() {
    local name=$1 log=$peers/$1.log begin=$SECONDS status word
    (
        work=$(mktemp -d) # servers and files of this part end with it
        started=()
        trap cleanup EXIT
        "part_$name"
    ) >"$log" 2>&1
    status=$?
    case $status in
    0) word=ok ;;
    "$SKIPPED") word=skip ;;
    *) word=FAIL ;;
    esac
    printf '  %-4s %-14s %s (%d s)\n' "$word" "$name" "$(grep -av '^    \(---\||\) ' "$log" | tail -1 | cut -c1-110)" $((SECONDS - begin))
    if [ $word = FAIL ]; then
        tail -120 "$log" | cut -c1-400 | sed 's/^/       | /'
    fi
    return $status
}
run_part() {
    tries "$1" try_part "$1"
    case $? in
    0) passed=$((passed + 1)) ;;
    "$SKIPPED") skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
}

usual="differential goclient cluster etcdctl37 etcdctl34 cairnctl members downgrade snapshots migrate import npm npm_cluster npm_stream browser python python_cluster java gateway waldump dns coredns flags discovery formats openapi asyncapi prometheus metrics alerts registrars libwebsockets websocket h2spec"
# Long suites: all of them with LONG=1, else one each day, and a sixth of it where it has parts.
suites=(etcd_common kubernetes etcd_e2e rust patroni traefik)
day=$((10#$(date +%j)))
if [ "${LONG:-}" ]; then
    long="${suites[*]} npm_own python_own"
    suite_part=0/1
else
    long=${suites[day % ${#suites[@]}]}
    suite_part=$((day / ${#suites[@]} % 6))/6
fi
# `usual` and `long` are the two halves, which CI runs as parts of their own.
for name in "${@:-usual long}"; do
    for name in $name; do
        case $name in
        usual) names=$usual ;;
        long) names=$long ;;
        *) names=$name ;;
        esac
        for name in $names; do run_part "$name"; done
    done
done
echo "interop: $passed passed, $failed failed, $skipped skipped$(at_second_try)"
[ "$failed" = 0 ]
