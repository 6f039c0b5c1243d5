#!/usr/bin/env bash
# promises.sh PAGE...: in a page of promises (docs/reliability.md) each mutant, unit test, file and make target that is named
# exists; a mutant also has a finder in tests/sim/mutants.txt. Prints what does not; exit 1 then.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
failed=0
missing() {
    echo "$page: there is no $1 $2"
    failed=1
}
for page in "$@"; do
    while read -r name; do
        grep -q "MUTANT_ROW($name," base/mutant.def && awk -v n="$name" '!/^#/ && $2 == n { found = 1 } END { exit !found }' tests/sim/mutants.txt ||
            missing mutant "$name"
    done < <(grep -oE '\b[A-Z]+(_[A-Z]+)+\b' "$page" | sort -u)
    while read -r name; do
        [ -f "tests/unit/$name.c" ] || missing "unit test" "$name"
    done < <(grep -oE '`[a-z_]+_test`' "$page" | tr -d '`' | sort -u)
    while read -r name; do
        [ -e "$name" ] || missing file "$name"
    done < <(grep -oE '`(base|tests)/[a-z0-9_/.]+`' "$page" | tr -d '`' | sort -u)
    while read -r name; do
        grep -qE "^([a-z0-9-]+ )*$name( [a-z0-9-]+)*:" Makefile || missing "make target" "$name"
    done < <(grep -oE '`make [a-z0-9 -]+' "$page" | sed 's/`make //' | tr ' ' '\n' | grep . | sort -u)
done
exit $failed
