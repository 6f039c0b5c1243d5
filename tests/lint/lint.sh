#!/usr/bin/env bash
# lint.sh 'preprocessor and compiler flags': every check of `make lint`, one result line each, with its errors above
# it. It continues after a failure, so that one run shows all. QUICK=1 ends before the compilers; TIDY=1 adds clang-tidy (minutes).
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
flags=$1
here=tests/lint
failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

result() { # NAME STATUS COUNT-AND-UNIT
    if [ "$2" = 0 ]; then
        printf '  ok   %-10s %s\n' "$1" "$3"
    else
        cat "$out"
        printf '  FAIL %-10s %s\n' "$1" "$3"
        failed=1
    fi
}
# Two compilers at a time, each batch's complaints in one piece.
compile() { # FILE-LIST-ON-STDIN: COMPILER FLAGS...
    xargs -n 8 -P 2 bash -c 'said=$("${@:2:$1}" "${@:$1+2}" 2>&1); rc=$?; [ -z "$said" ] || echo "$said"; exit $rc' compile $# "$@" >"$out" 2>&1
}
skip() { printf '  --   %-10s %s\n' "$1" "$2"; }

# The files that git tracks or would add; build folders and other ignored files are excluded.
files() { git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r f; do [ -f "$f" ] && echo "$f"; done; }
mapfile -t code < <(files '*.c' '*.h')
mapfile -t sources < <(files '*.c')
mapfile -t headers < <(files '*.h')
mapfile -t scripts < <(files '*.sh')
mapfile -t texts < <(files '*.c' '*.h' '*.def' '*.S' '*.sh' '*.awk' '*.py' '*.md' '*.proto' '*.yaml' '*.yml' Makefile)

bash $here/selftest.sh >"$out" 2>&1
result selftest $? "the checkers find deliberate mistakes"
bash tests/shell/selftest.sh >"$out" 2>&1
result tries $? "the test runners report failures"

# Each version of clang-format lays out files in its own way; 14 is the one.
formatter=$(command -v clang-format-14 || command -v clang-format)
formats=$("${formatter:-false}" --version 2>/dev/null | grep -o 'version [0-9]*')
if [ "$formats" = "version 14" ]; then
    export formatter
    check='for f; do "$formatter" "$f" | cmp -s - "$f" || echo "$f: not as clang-format writes it"; done'
    printf '%s\n' "${code[@]}" | xargs -n 16 -P 2 bash -c "$check" format >"$out" 2>&1
    [ ! -s "$out" ]
    result format $? "${#code[@]} files (make format repairs)"
else
    skip format "clang-format 14 is missing${formats:+; here is $formats}"
fi

awk -f $here/layers.awk $here/layers "${code[@]}" >"$out"
result layers $? "${#code[@]} files"

awk -f $here/kv_parts.awk $here/kv_parts consensus/kv/*.c >"$out"
result parts $? "a part of struct kv is touched by its own file alone"

awk -f $here/names.awk "${code[@]}" >"$out"
result names $? "${#code[@]} files: licence, typedef, snake_case, lengths"

awk -f $here/comments.awk "${code[@]}" >"$out"
result comments $? "${#code[@]} files: ends of comments and rulers stand on the line that they belong to"

mapfile -t built < <(printf '%s\n' "${code[@]}" | grep -v ^tests/compiler/)
awk -f $here/folds.awk "${built[@]}" >"$out"
result folds $? "${#built[@]} files: nothing that gcc 14.2 reads through a null pointer"

mapfile -t daemon < <(printf '%s\n' "${sources[@]}" | grep -E '^(base|config|consensus|namespace|registry|server)/')
awk -f $here/turns.awk "${daemon[@]}" >"$out"
result turns $? "${#daemon[@]} sources: every callback of the loop names its work"

words='TO''DO|FIX''ME|X''XX|HA''CK'
! grep -nwE "$words" "${texts[@]}" >"$out"
result words $? "${#texts[@]} files: nothing left for later"

! grep -nE '^(<<<<<<<|>>>>>>>) ' "${texts[@]}" >"$out"
result merged $? "${#texts[@]} files: no marks of a merge"

bash $here/start_order.sh server/start.order "${code[@]}" >"$out" 2>&1
result start $? "each function of server/start.order exists"

bash $here/promises.sh docs/reliability.md >"$out" 2>&1
result promises $? "docs/reliability.md names mutants, tests, files and make targets that exist"

bash $here/flag_tests.sh tests/docs/etcd_flag.def >"$out" 2>&1
result flags $? "each flag of tests/docs/etcd_flag.def names a test that uses it"

"$ACCESS" docs tests/access/security.md.in | diff - docs/security.md >"$out" 2>&1
result docs $? "docs/security.md is what its tables say (make docs writes it)"

pages=$("$DOCS" list)
{
    "$DOCS" check
    for page in $pages; do "$DOCS" page "$page" | diff - "docs/$page" || echo "docs/$page is out of date"; done
} >"$out" 2>&1
[ ! -s "$out" ]
result pages $? "$(wc -w <<<"$pages") pages of docs/ are what their tables say (make docs writes them)"

python3 -B $here/pages.py >"$out" 2>&1
result links $? "links, names, tables of files and figures in pages are right, sizes hold, README.zh-CN.md says what README.md says"

python3 -B $here/prose.py >"$out" 2>&1
status=$?
summary=$(sed -n 's/^prose: //p' "$out")
sed -i '/^prose: /d' "$out"
result prose $status "${summary:-prose.py ended without its line}"

if command -v groff >/dev/null; then
    for page in cairnd cairnctl; do "$DOCS" man $page | groff -man -Tutf8 -ww -rCHECKSTYLE=3 -z; done >"$out" 2>&1
    [ ! -s "$out" ]
    result man $? "manual pages without warnings of groff"
else
    skip man "groff is missing"
fi

awk -v CHECK=1 -f $here/help.awk Makefile >"$out" 2>&1
result help $? "make help has a line for each word to type"

bash_ok=0
for s in "${scripts[@]}"; do bash -n "$s" || bash_ok=1; done >"$out" 2>&1
result shell $bash_ok "${#scripts[@]} scripts"

bash $here/environment.sh "${scripts[@]}" .ci/run >"$out" 2>&1
result locale $? "${#scripts[@]} scripts have the environment of tests/shell/environment.sh"

bash $here/path.sh >"$out" 2>&1
result path $? "a build in a folder whose path holds a blank, a quote and a dollar sign"

[ "${QUICK:-}" = 1 ] && exit $failed
printf '%s\n' "${headers[@]}" | compile gcc $flags -Werror -fsyntax-only -x c
result headers $? "${#headers[@]} headers compile alone"

# clang looks into macros of system headers for these three; gcc, which does not, checks the first two on our
# code, and the third forbids assert(!"why").
quiet_clang="-Wno-cast-qual -Wno-switch-enum -Wno-string-conversion"
for compiler in gcc clang; do
    [ $compiler = clang ] && flags="$flags $quiet_clang"
    if command -v $compiler >/dev/null; then
        printf '%s\n' "${sources[@]}" | compile $compiler $flags -Werror -fsyntax-only
        result $compiler $? "${#sources[@]} sources, warnings are errors"
    else
        skip $compiler "is missing"
    fi
done

if [ "${TIDY:-}" = 1 ] && command -v clang-tidy >/dev/null; then
    printf '%s\n' "${sources[@]}" | grep -v '^tests/' | xargs -n 4 -P 2 clang-tidy --quiet >"$out" 2>&1
    result tidy $? "clang-tidy"
fi
exit $failed
