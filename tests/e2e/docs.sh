#!/usr/bin/env bash
# docs/metrics.md, docs/metrics-services.md and docs/metrics-etcd.md list exactly the metrics that a daemon has, with its types and help. make lint
# compares the pages with their tables; here the tables are compared with what the daemon says.
. "$(dirname "$0")/lib.sh"
pages=("$PWD/docs/metrics.md" "$PWD/docs/metrics-services.md" "$PWD/docs/metrics-etcd.md")
port=$(free_base) || exit 1
check "a node starts" start_server "$work/n" "$port" --metrics extensive --listen-dns "127.0.0.1:$((port + 2))"
# Metrics of peers are there when there are other members, be they down.
adds() { etcdctl --endpoints "127.0.0.1:$port" member add b --learner --peer-urls "http://127.0.0.1:$((port + 3))" >"$work/added"; }
check "a member is added" adds
answers() { curl -s -m 5 "http://127.0.0.1:$port/metrics" >"$work/metrics" && [ -s "$work/metrics" ]; }
check "a member tells its metrics" within $LIMIT_S answers
# name, type, help; what a page escapes or shows as code is plain again
awk '/^# HELP / { name = $3; sub(/^# HELP [^ ]* /, ""); help = $0 } /^# TYPE / { print name "|" $4 "|" help }' "$work/metrics" | sort >"$work/said"
sed -n 's/^| `\([a-z_]*\)[^`]*` | \([a-z]*\) | \(.*\) |$/\1|\2|\3/p' "${pages[@]}" | sed 's/`--/--/g; s/`//g; s/\\//g' | sort >"$work/listed"
sed -i 's/`//g' "$work/said"
check "and they are those of the pages: $(wc -l <"$work/said")" diff "$work/listed" "$work/said"
# A metric that no code writes stays at 0 and tells nothing.
unwritten() {
    local id
    for id in $(sed -n 's/^[A-Z]*(\(METRIC_[A-Z_]*\|FAMILY_[A-Z_]*\),.*/\1/p' base/metric.def base/metric_family.def); do
        grep -rqw --include='*.[ch]' "$id" base config consensus namespace registry server || echo "$id"
    done
}
each_is_written() { [ -z "$(unwritten)" ] || { unwritten && return 1; }; }
check "and each metric of the tables is written somewhere" each_is_written
finish
