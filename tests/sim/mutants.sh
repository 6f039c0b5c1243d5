#!/usr/bin/env bash
# mutants.sh [quick|all] [NAME...]: for every line of mutants.txt, runs the tool that must see the mutant until it does, and the
# same without a bug, which must see nothing. Prints the table; exits 1 when a bug stays unseen within its bound, a mutant
# has no line, or a run without one is not clean. MUTANTS_BUILD=folder of the build with -DMUTANTS, JOBS=2.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
here=tests/sim
how=all
case ${1:-} in quick | all) how=$1 && shift ;; esac
for name; do
    grep -q "^[a-z]* *$name " $here/mutants.txt || { echo "$here/mutants.txt has no mutant $name"; exit 1; }
done
only=" $* "
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export out MUTANTS_BUILD JOBS=${JOBS:-2}

# One line: found or not, how soon, which rule. Bug "-" = without one.
try() { # FILE BUG TOOL BOUND ARGUMENTS
    local file=$1 bug=$2 tool=$3 bound=$4 arguments=$5 text rule="" soon="" rc=0 start=$SECONDS
    local mutant=()
    [ "$bug" = - ] || mutant=(--mutant "$bug")
    case $tool in
    explore | walk)
        local limit=--states
        [ $tool = walk ] && limit=--walks
        # shellcheck disable=SC2086
        text=$(timeout 900 "$MUTANTS_BUILD/explore" "${mutant[@]}" $limit "$bound" --story /dev/null $arguments 2>&1)
        rc=$?
        rule=$(sed -n 's/.*VIOLATION of \([A-Za-z]*\) after \([0-9]*\) actions.*/\1, \2 actions/p' <<<"$text" | head -1)
        soon=$(sed -n 's/^ *[a-z0-9-]* *\([0-9]*\) \(states\|walks\) .*/\1 \2/p' <<<"$text" | tail -1)
        ;;
    sim)
        # shellcheck disable=SC2086
        text=$(timeout 1800 "$MUTANTS_BUILD/sim" "${mutant[@]}" --first 1 --seeds "$bound" --jobs 1 --stop $arguments 2>&1)
        rc=$?
        rule=$(grep -a -o '^seed [0-9]*: VIOLATED: .*' <<<"$text" | head -1 | sed -E 's/^seed ([0-9]+): VIOLATED: (at [0-9]+ ms: )?([a-z_]+):.*/\3/')
        soon=$(grep -a -o '^seed [0-9]*: VIOLATED' <<<"$text" | head -1 | sed -E 's/^seed ([0-9]+):.*/seed \1/')
        ;;
    unit)
        text=$(MUTANT=${bug#-} timeout 300 "$MUTANTS_BUILD/unit/$arguments" 2>&1)
        rc=$?
        rule=$(grep -a -o 'FAILED  \] [a-z_0-9]*' <<<"$text" | head -1 | cut -c11-)
        [ $rc = 0 ] || rule=${rule:-"the test program died"}
        soon="1 run"
        ;;
    scenario)
        # shellcheck disable=SC2086
        text=$(MUTANT=${bug#-} timeout 300 "$MUTANTS_BUILD/scenario" $arguments 2>&1)
        rc=$?
        rule=$(grep -a -o 'FAIL [^:]*' <<<"$text" | head -1 | sed 's/.*\///')
        [ $rc = 0 ] || rule=${rule:-"the scenario runner died"}
        soon="1 run"
        ;;
    *)
        rule="no tool $tool"
        rc=99
        ;;
    esac
    local verdict=found
    [ $rc = 0 ] && verdict=unseen
    [ $rc = 124 ] || [ $rc = 99 ] || [ $rc = 2 ] && [ -z "$rule" ] && verdict=broken
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$verdict" "${soon:--}" "${rule:--}" $((SECONDS - start)) "$bound" "$tool ${arguments%% *}" >"$out/$file"
    [ "$verdict" = found ] || printf '%s\n' "$text" | tail -20 >"$out/$file.text"
}
export -f try

# The work list: file, bug, tool, bound, arguments; then each distinct run once without a bug, with the largest bound.
grep -v '^ *#' $here/mutants.txt | awk -v how="$how" -v only="$only" 'NF {
    if (how == "quick" && $1 != "quick") next
    if (only !~ /^ *$/ && index(only, " " $2 " ") == 0) next
    arguments = ""; for (i = 5; i <= NF; i++) arguments = arguments (i > 5 ? " " : "") $i
    printf "%03d\t%s\t%s\t%s\t%s\n", ++n, $2, $3, $4, arguments
    run = $3 "\t" arguments
    if ($4 > bound[run]) bound[run] = $4
}
END { for (run in bound) { split(run, part, "\t"); printf "clean%03d\t-\t%s\t%s\t%s\n", ++c, part[1], bound[run], part[2] } }' >"$out/plan"
tr '\t' '\n' <"$out/plan" | xargs -r -d '\n' -n 5 -P "$JOBS" bash -c 'try "$@"' try

# A seed that fails without a bug proves nothing about one, and nor does any behind it.
number() { tr -dc 0-9 <<<"$1"; }
is_proof() { # TOOL ARGUMENTS SOON
    local file bug tool bound arguments verdict soon rule
    while IFS=$'\t' read -r file bug tool bound arguments; do
        [ "$bug" = - ] && [ "$tool" = "$1" ] && [ "$arguments" = "$2" ] || continue
        IFS=$'\t' read -r verdict soon rule _ <"$out/$file"
        [ "$verdict" = unseen ] && return 0
        [ "$(number "$3")" -lt "$(number "$soon")" ]
        return
    done <"$out/plan"
}

printf '%-26s %-24s %-16s %-46s %5s\n' bug "found by" after rule s
failed=0 count=0 bugs=0 last=""
while IFS=$'\t' read -r file bug tool bound arguments; do
    [ "$bug" = - ] && continue
    IFS=$'\t' read -r verdict soon rule seconds _ by <"$out/$file"
    count=$((count + 1))
    [ "$bug" = "$last" ] || bugs=$((bugs + 1))
    last=$bug
    [ "$verdict" != found ] || is_proof "$tool" "$arguments" "$soon" || verdict=unsure
    if [ "$verdict" = found ]; then
        printf '%-26s %-24s %-16s %-46s %5s\n' "$bug" "$by" "$soon" "$rule" "$seconds"
    else
        printf '%-26s %-24s %-16s %-46s %5s\n' "$bug" "$by" "$verdict" "NOT FOUND within $bound" "$seconds"
        failed=$((failed + 1))
    fi
done <"$out/plan"
dirty=0 runs=0
while IFS=$'\t' read -r file bug tool bound arguments; do
    [ "$bug" = - ] || continue
    IFS=$'\t' read -r verdict soon rule seconds _ by <"$out/$file"
    runs=$((runs + 1))
    [ "$verdict" = unseen ] && continue
    printf 'without a bug: %s %s: %s %s\n' "$tool" "$arguments" "$soon" "$rule"
    dirty=$((dirty + 1))
done <"$out/plan"
missing=$(comm -23 <(sed -n 's/^MUTANT_ROW(\([A-Z_0-9]*\),.*/\1/p' base/mutant.def | sort -u) <(awk '!/^ *#/ && NF {print $2}' $here/mutants.txt | sort -u))
[ -z "$missing" ] || printf 'a mutant, but no line says who finds it: %s\n' $missing
echo "sim-mutants: $bugs bugs, $count runs with one, $failed not found; $runs runs without one, $dirty not clean"
[ "$failed" = 0 ] && [ "$dirty" = 0 ] && [ -z "$missing" ]
