#!/usr/bin/env bash
# pods.sh CAIRND [plain|single|tls ...]: pods.py with the helm that make chart has, too. Where it cannot run it says why, and is no failure.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/chart/tools.sh
why=$(fetch_tools) || { echo "  --   pods       $why"; exit 0; }
python3 -B tests/chart/pods.py "$1" "$tools/helm4/helm/helm" "${@:2}"
status=$?
[ $status = 77 ] || exit $status
