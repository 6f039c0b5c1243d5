#!/usr/bin/env bash
# The chart, without a cluster: one line a check; exit 0 if none failed. Without npm, or when it cannot fetch the tools, it says so
# and only what needs none of them is checked. UPDATE=1 writes what is generated anew. README.md says what each check is.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/shell/ports.sh
. tests/chart/tools.sh
here=tests/chart
CAIRND=${CAIRND:-bin/cairnd}
update=${UPDATE:+--update}
work=$(mktemp -d)
out=$work/out
failed=0
trap 'rm -rf "$work"; give_back_ports' EXIT

result() { # NAME STATUS WHAT
    if [ "$2" = 0 ]; then
        printf '  ok   %-10s %s\n' "$1" "$3"
    else
        cat "$out"
        printf '  FAIL %-10s %s\n' "$1" "$3"
        failed=1
    fi
}
skip() { printf '  --   %-10s %s\n' "$1" "$2"; }

helm() { # MAJOR ARGUMENTS...: with no cluster, cache or configuration of the user's
    local major=$1
    shift
    HELM_CACHE_HOME=$work/cache HELM_CONFIG_HOME=$work/config HELM_DATA_HOME=$work/data KUBECONFIG=/dev/null "$tools/helm$major/helm/helm" "$@"
}
render() { # MAJOR VALUES
    helm "$1" template cairn charts/cairn --namespace default --kube-version 1.31.0 -f "$2"
}

lint() {
    local values
    for values in $here/values/*.yaml; do helm "$1" lint charts/cairn --strict -f "$values" || return 1; done
}
golden() { # MAJOR: the same objects from both, whatever their order
    local values name status=0
    for values in $here/values/*.yaml; do
        name=$(basename "$values")
        render "$1" "$values" >"$work/$name" || { status=1; continue; }
        python3 $here/sort.py "$work/$name" >"$work/sorted"
        if [ -n "$update" ] && [ "$1" = 4 ]; then
            cp "$work/sorted" "$here/golden/$name"
        else
            diff -u "$here/golden/$name" "$work/sorted" || { echo "$here/golden/$name is not what helm $1 renders (make chart UPDATE=1 writes it)"; status=1; }
        fi
    done
    return $status
}
types() {
    local from=$tools/rendered.ts
    cp $here/strict.mjs "$tools/" # modules are looked for beside it
    node "$tools/strict.mjs" "$from" $here/golden/*.yaml || return 1
    (cd "$tools" && node node_modules/typescript/bin/tsc --noEmit --skipLibCheck --strict --module nodenext --moduleResolution nodenext --target es2022 rendered.ts)
}
# Proof that the check can fail: a name that Kubernetes does not know, one place at a time.
types_see() {
    local typo
    for typo in s/automountServiceAccountToken/automountServiceAcountToken/ s/whenScaled/whenScalled/ s/podMetricsEndpoints/podMetricEndpoints/ \
        s/renewBefore/renewBefor/ 's/replicas: 5/replicas: five/'; do
        sed "$typo" $here/golden/full.yaml >"$work/typo.yaml"
        cmp -s "$work/typo.yaml" $here/golden/full.yaml && { echo "$typo changes nothing"; return 1; }
        node "$tools/strict.mjs" "$tools/typo.ts" "$work/typo.yaml" >/dev/null || return 1
        (cd "$tools" && node node_modules/typescript/bin/tsc --noEmit --skipLibCheck --strict --module nodenext --moduleResolution nodenext --target es2022 typo.ts) >/dev/null &&
            { echo "not seen: $typo"; return 1; }
    done
    return 0
}
refused() { # MAJOR
    local arguments wanted said status=0
    while IFS='|' read -r arguments wanted; do
        wanted=${wanted# }
        # shellcheck disable=SC2086
        if said=$(helm "$1" template cairn charts/cairn $arguments 2>&1); then
            echo "helm $1 takes $arguments"
            status=1
        elif [[ $said != *"$wanted"* ]]; then
            printf 'helm %s refuses %s, and does not say "%s":\n%s\n' "$1" "$arguments" "$wanted" "${said:0:400}"
            status=1
        fi
    done < <(grep -v '^#' $here/bad/values.txt)
    return $status
}
# Helm accepts the commands of the README and NOTES.
said_commands() {
    local line status=0
    while read -r line; do
        line=${line/helm install/helm template}
        line=${line/helm upgrade/helm template}
        eval "${line/helm template/helm 4 template}" >"$work/said" || { echo "the README's: $line"; status=1; }
    done < <(grep -hE '^ +helm (install|upgrade) cairn' README.md charts/cairn/README.md | sed 's/--reuse-values//; s/ #.*//')
    helm 4 install cairn charts/cairn --dry-run=client -f $here/values/auto-tls.yaml | sed -n '/^NOTES/,$p' >"$work/notes"
    grep -q 'etcdctl --endpoints=https://127.0.0.1:2379 --insecure-transport=false --insecure-skip-tls-verify member list' "$work/notes" || { cat "$work/notes"; status=1; }
    return $status
}
alerts() {
    python3 - "$work" <<'P' || return 1
import sys, yaml
work = sys.argv[1]
for o in yaml.safe_load_all(open("tests/chart/golden/auto-tls.yaml")):
    if o and o["kind"] == "PrometheusRule":
        yaml.safe_dump(o["spec"], open(f"{work}/alerts.yaml", "w"))
P
    cp $here/alerts_test.yaml "$work/"
    promtool check rules "$work/alerts.yaml" && promtool test rules "$work/alerts_test.yaml"
}
# Each metric of an alert is one that a member of three serves; kubelet's are others'.
metrics() {
    local base name i cluster="" status=0 pids=""
    base=$(free_base) || return 1
    for i in 1 2; do cluster+="${cluster:+,}n$i=http://127.0.0.1:$((base + 10 * i))"; done
    for i in 1 2; do
        "$CAIRND" --name n$i --data-dir "$work/n$i" --listen-client-urls "http://127.0.0.1:$((base + 10 * i + 1))" --advertise-client-urls "http://127.0.0.1:$((base + 10 * i + 1))" \
            --listen-peer-urls "http://127.0.0.1:$((base + 10 * i))" --initial-advertise-peer-urls "http://127.0.0.1:$((base + 10 * i))" --initial-cluster "$cluster" \
            --listen-metrics-urls "http://127.0.0.1:$((base + 10 * i + 2))" >"$work/n$i.log" 2>&1 &
        pids+=" $!"
    done
    for i in $(seq 600); do
        curl -sf -m 10 "http://127.0.0.1:$((base + 12))/readyz" >"$work/ready" && break
        sleep 0.1
    done
    curl -s -m 10 "http://127.0.0.1:$((base + 11))/v3/kv/range" -d '{"key":"Zm9v"}' >/dev/null
    curl -s -m 10 "http://127.0.0.1:$((base + 12))/metrics" >"$work/metrics"
    for name in $(grep -oE '\b(etcd|cairn|grpc|process)_[a-z_]+\b' charts/cairn/files/alerts.yaml | grep -vE '^grpc_(code|service|method)$' | sort -u); do
        grep -q "^${name}[{ ]" "$work/metrics" || { echo "no metric $name"; status=1; }
    done
    # shellcheck disable=SC2086
    kill -9 $pids && wait $pids 2>/dev/null
    return $status
}
versions() {
    [ "$(sed -n 's/^appVersion: "\(.*\)"/\1/p' charts/cairn/Chart.yaml)" = "$(sed -n 's/^#define CAIRN_VERSION *"\(.*\)"/\1/p' server/version.h)" ] ||
        { echo "appVersion in charts/cairn/Chart.yaml is not CAIRN_VERSION in server/version.h"; return 1; }
}

versions >"$out" 2>&1
result versions $? "the chart's appVersion is the daemon's"
# shellcheck disable=SC2086
python3 -B $here/tables.py $update . >"$out" 2>&1
result tables $? "values.yaml, its schema and the README's table say the same; flags are those of options.def"
if why=$(fetch_tools); then
    for major in 3 4; do
        lint $major >"$out" 2>&1
        result "lint $major" $? "$(helm $major version --short), over $(ls $here/values | wc -l) files of values"
    done
    for major in 4 3; do
        golden $major >"$out" 2>&1
        result "golden $major" $? "helm $major renders what tests/chart/golden holds"
    done
    types >"$out" 2>&1
    result types $? "$(head -1 "$out"): no field that Kubernetes, cert-manager or the Prometheus operator does not know, no null"
    types_see >"$out" 2>&1
    result typos $? "that check finds deliberate mistakes"
    for major in 3 4; do
        refused $major >"$out" 2>&1
        result "schema $major" $? "$(grep -cv '^#' $here/bad/values.txt) wrong values are refused"
    done
    for major in 3 4; do
        python3 -B $here/guard.py "$tools/helm$major/helm/helm" >"$out" 2>&1
        result "guard $major" $? "a smaller replicaCount is refused until the members are said to be removed"
    done
    said_commands >"$out" 2>&1
    result commands $? "what the READMEs and NOTES say to type"
else
    skip helm "$why: nothing is rendered"
fi
if command -v promtool >/dev/null; then
    alerts >"$out" 2>&1
    result alerts $? "promtool: the rules, and when they fire"
else
    skip alerts "promtool is missing"
fi
if [ -x "$CAIRND" ]; then
    metrics >"$out" 2>&1
    result metrics $? "every metric of an alert is served"
else
    skip metrics "$CAIRND is missing"
fi
if command -v yamllint >/dev/null; then
    yamllint -s -d '{extends: default, rules: {line-length: {max: 240}, document-start: disable, braces: disable, comments: disable, brackets: disable}}' \
        charts/cairn/*.yaml charts/cairn/files $here/values >"$out" 2>&1
    result yamllint $? "the chart's YAML"
else
    skip yamllint "is missing"
fi
if command -v shellcheck >/dev/null; then
    shellcheck -x -S warning -e SC1091,SC2034,SC2154 $here/*.sh >"$out" 2>&1
    result shellcheck $? "the scripts here; the chart has none"
else
    skip shellcheck "is missing"
fi
exit $failed
