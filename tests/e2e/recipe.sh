#!/usr/bin/env bash
# Follows CONTRIBUTING.md's recipe "An option" in a copy of the tree, step by step: a row in the table, a check, the field handed on, a test,
# and the generated pages. What the recipe promises must then be there: flag, variable, YAML key, --help, the refusal, the page.
. "$(dirname "$0")/lib.sh"
top=$PWD
objects=$(dirname "$TOOLS")
copy=$work/copy
mkdir -p "$copy"
# The copy includes the objects, so that only the changed files are compiled again.
git ls-files -z | tar -c --null -T - | tar -x -C "$copy"
(cd "$objects" && find . \( -name '*.o' -o -name '*.d' -o -name '*.a' -o -name '*.pb-c.[ch]' \) -print0 | tar -c --null -T -) |
    (mkdir -p "$copy/$objects" && tar -x -C "$copy/$objects")
find "$copy/$objects" -type f -exec touch {} + # newer than the sources that tar wrote a moment ago
cd "$copy" || exit 1
check "CONTRIBUTING.md has the recipe" grep -q '^### An option$' CONTRIBUTING.md
for named in server/options.def server/options_check.c server/server.c tests/unit/options_test.c; do
    check "it names $named" bash -c "sed -n '/^### An option/,/^### A metric/p' CONTRIBUTING.md | grep -q '$named'"
done

# 1. A row in the table.
sed -i '/^OPT(max_watch_bytes,/a OPT(example_limit, UINT, "example-limit", "7", 0, 100, NULL, "Example of a recipe, at most 100.")' server/options.def
# 2. A check that a range cannot express.
sed -i 's|^    if (o->election_ms > ELECTION_MS_MAX)|    if (o->example_limit % 2 == 0)\n        return refuse(o, "--example-limit is %" PRIu64 "; it must be odd", o->example_limit);\n&|' server/options_check.c
# 3. The field is handed on.
sed -i 's|\.watch_bytes_max = o->max_watch_bytes,|.watch_bytes_max = o->max_watch_bytes + 0 * o->example_limit,|' server/server.c
# 4. A refusal in the test.
sed -i '0,/    REFUSED("cannot read the configuration file \/nowhere/s||    REFUSED("--example-limit is 8; it must be odd", "--example-limit=8");\n&|' tests/unit/options_test.c
# 5. Pages and tests.
make_quietly() { make -j2 CC="${CC:-gcc}" BUILD="$objects" BIN=bin "$@" >>"$work/make.log" 2>&1 || { tail -20 "$work/make.log"; return 1; }; }
check "it builds" make_quietly all
check "make docs" make_quietly docs
check "make check T=options" make_quietly check T=options

check "--help has it" bash -c "bin/cairnd --help 2>&1 | grep -q -- --example-limit"
check "its page has it" grep -q 'ETCD_EXAMPLE_LIMIT' docs/options.md
text='--example-limit is 8; it must be odd'
refuses() { "$@" >"$work/out" 2>&1; grep -qF -- "$text" "$work/out"; }
check "the flag is refused with a sentence" refuses bin/cairnd --example-limit=8
check "so is the variable" refuses env ETCD_EXAMPLE_LIMIT=8 bin/cairnd
printf 'name: n1\nexample-limit: 8\n' >bad.yaml
check "and the YAML key" refuses bin/cairnd --config-file bad.yaml
cd "$top" || exit 1
finish
