#!/usr/bin/env bash
# `make console`: the web console in headless chromium, driven by playwright, against real servers. CAIRND says which; node's test
# runner prints what passed. Arguments are node's: --test-name-pattern=keys. What is downloaded lies in build/console. PICTURE=FILE.png: no
# tests, but the README's picture. LOADS=10: no tests, but how long ten loads of the console take by each version of HTTP.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$root/tests/shell/ports.sh"
trap give_back_ports EXIT
built=$root/build/console
for tool in node npm; do
    command -v "$tool" >/dev/null || { echo "console: $tool is missing (Node 20 or later, with npm)" >&2; exit 1; }
done
CHROMIUM=$(command -v chromium || command -v chromium-browser) || { echo 'console: no chromium (DEPS=test make deps installs it)' >&2; exit 1; }
mkdir -p "$built/npm"
if ! cmp -s "$here/package-lock.json" "$built/npm/installed"; then
    cp "$here"/package*.json "$built/npm/"
    (cd "$built/npm" && timeout 600 npm ci --ignore-scripts --no-audit --no-fund) >"$built/npm.log" 2>&1 ||
        { tail -20 "$built/npm.log" >&2; echo 'console: npm cannot install playwright-core and axe-core' >&2; exit 1; }
    cp "$here/package-lock.json" "$built/npm/installed"
fi
# Modules are looked for beside the importing file.
cp "$here"/*.mjs "$built/npm/"
cp "$root"/server/http/console/*.js "$built/npm/" # for the tests of single modules
export CHROMIUM CONSOLE=$built/npm BASE_PORT CAIRND
CAIRND=$(realpath "${CAIRND:-$root/bin/cairnd}")
cd "$built/npm"
if [ -n "${PICTURE:-}" ]; then
    BASE_PORT=$(free_base 99)
    node picture.mjs "$PICTURE"
    exit
fi
if [ -n "${LOADS:-}" ]; then
    BASE_PORT=$(free_base 99)
    node load.mjs "$LOADS"
    exit
fi
for t in diff pages origin failover; do
    BASE_PORT=$(free_base 99)
    timeout 900 node --test --test-reporter=spec "$@" "$t.test.mjs"
done
