#!/usr/bin/env bash
# Tests of this folder's shell functions, on commands that fail once, twice or never.
set -u
cd "$(dirname "$0")" || exit 1
. ./environment.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0
same() { # NAME WANTED GOT
    [ "$2" = "$3" ] && return
    printf '%s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "$3"
    wrong=1
}
cat >"$work/fails" <<'S'
#!/usr/bin/env bash
# fails NAME TIMES: fails so many times, then passes
n=$(cat "$0.$1" 2>/dev/null || echo 0)
echo $((n + 1)) >"$0.$1"
echo "  run $((n + 1)) of $1"
[ "$n" -ge "$2" ] && exit 0
echo "  FAIL something of $1"
exit 3
S
chmod +x "$work/fails"

# A second try only where it is asked for, and only one.
tried() { # CI_RETRY NAME TIMES: the output, and the status
    CI_RETRY=$1 bash -c '. ./tries.sh; tries "$2" "$1/fails" "$2" "$3"; status=$?; echo "status $status$(at_second_try)"' - "$work" "$2" "$3"
}
same "passes" $'  run 1 of a\nstatus 0' "$(tried 1 a 0)"
same "fails, not asked for" $'  run 1 of b\n  FAIL something of b\nstatus 3' "$(tried '' b 1)"
same "fails once" $'  run 1 of c\n  FAIL something of c\nSECOND TRY: c, which ended with 3 (above)\n  run 2 of c
FLAKY: c passed at the second try\nstatus 0, 1 of them at the second try: c' "$(tried 1 c 1)"
same "fails twice" $'  run 1 of d\n  FAIL something of d\nSECOND TRY: d, which ended with 3 (above)\n  run 2 of d
  FAIL something of d\nstatus 3' "$(tried 1 d 9)"
same "skipped" "status 77" "$(CI_RETRY=1 bash -c '. ./tries.sh; tries x bash -c "exit 77"; echo "status $?$(at_second_try)"')"

# The whole run: failures are repeated at the end, passes at the second try are counted.
run() { # BASH: says all, then its status
    logs=$work/logs CI_RETRY=1 WORK=$work bash -c '. ./parts.sh; '"$1"'; closing; echo "status $?"' 2>&1
}
said=$(run 'part good echo fine; part "tsan x" echo fine')
same "nothing failed" $'2 passed, 0 failed\nstatus 0' "$(tail -n 2 <<<"$said")"
same "its output is shown" 2 "$(grep -c '^fine$' <<<"$said")"
said=$(run 'part_twice once "$WORK/fails" once 1; part good echo fine')
same "one at the second try" $'2 passed, 0 failed, 1 of them at the second try: once\nstatus 0' "$(tail -n 2 <<<"$said")"
same "and its failure is told, twice" 2 "$(sed -n '/^=== once: passed at the second try/,$ p' <<<"$said" | grep -c 'FAIL something of once')"
said=$(run 'part_twice twice "$WORK/fails" twice 9; part good echo fine; part lost "$WORK/fails" lost 9 || echo "seen: $?"')
same "two failed" $'failed: twice lost\n1 passed, 2 failed\nstatus 1' "$(tail -n 3 <<<"$said")"
same "tried twice, and once" "2 1" "$(cat "$work/fails.twice") $(cat "$work/fails.lost")"
same "a part has a status" "seen: 3" "$(grep '^seen' <<<"$said")"
same "failures are told again" 2 "$(sed -n '/^=== .* FAILED\. What says so/,$ p' <<<"$said" | grep -c 'FAIL something of lost')"
begin=$SECONDS
said=$(run 'part left bash -c "sleep 60 & echo \$! >$WORK/left; echo done"')
kill "$(cat "$work/left")"
same "a part that leaves a process behind delays nothing" 1 "$((SECONDS - begin < 40))"

# Time: a part that hangs is ended, with what it started; later ones are not begun, and are named.
said=$(run 'PART_S=1; part hangs bash -c "sleep 61 & sleep 61"')
same "a part that hangs" $'failed: hangs\n0 passed, 1 failed\nstatus 1' "$(tail -n 3 <<<"$said")"
same "and its reason is told" 2 "$(grep -c '^    .*FAIL: ended after 1 s' <<<"$said")"
same "nothing of it is left" 0 "$(pgrep -fxc 'sleep 61')"
said=$(run 'PART_S=1; part_twice hangs bash -c "sleep 62"')
same "both tries are limited" 2 "$(grep -c '^FAIL: ended after 1 s' <<<"$said")"
said=$(run 'BEGIN_S=0; part_if_time part late echo x')
same "too late" $'not begun: late\n0 passed, 0 failed, 1 not begun\nstatus 0' "$(tail -n 3 <<<"$said")"
said=$(run 'in_turn 4 "part a echo 1" "part b echo 2" "part_twice c echo 3"')
same "each run begins at another one" "b c a" "$(sed -n 's/^=== \(.\): ok.*/\1/p' <<<"$said" | xargs)"

# Ports: two live processes get different ones; those of an ended process are free again.
mkdir "$work/tmp"
export TMPDIR=$work/tmp
. ./ports.sh
first=$(free_base) second=$(free_base)
same "two blocks" 1 "$([ -n "$first" ] && [ -n "$second" ] && [ "$first" != "$second" ] && echo 1)"
same "both are ours" "$$ $$" "$(cat "$TMPDIR"/cairn-ports.*/"$first" "$TMPDIR"/cairn-ports.*/"$second" | xargs)"
for p in $(seq 20000 100 29900); do echo $$ >"$(echo "$TMPDIR"/cairn-ports.*)/$p"; done
same "all are taken" "" "$(free_base 2>"$work/none")"
bash -c 'exit' & gone=$!
wait $gone
for p in $(seq 20000 100 29900); do echo $gone >"$(echo "$TMPDIR"/cairn-ports.*)/$p"; done
same "theirs are free again" 1 "$(free_base | wc -l)"
echo 1 >"$(echo "$TMPDIR"/cairn-ports.*)/20000" && free_base >"$work/one" && give_back_ports
same "all given back" "1 0" "$(cat "$TMPDIR"/cairn-ports.*/20000) $(grep -lx $$ "$TMPDIR"/cairn-ports.*/* | wc -l)"
# One at a time in a clone; a command again and again.
mkdir -p "$work/clone/tests/shell" && cp ./*.sh "$work/clone/tests/shell"
once() { "$work/clone/tests/shell/once.sh" word "$@" 2>&1; }
same "the first one runs" "runs 0" "$(once echo runs) $?"
same "its status is kept" 3 "$(once bash -c 'exit 3'; echo $?)"
: >"$work/clone/build/word.lock"
once sleep 60 &
holder=$!
until [ -s "$work/clone/build/word.lock" ]; do sleep 0.01; done
same "the second one is told which runs" "make word: another one runs in this folder (process $(cat "$work/clone/build/word.lock")); wait for it, or use a second clone 1" \
    "$(once echo no) $?"
until pkill -x -P "$(cat "$work/clone/build/word.lock")" sleep; do sleep 0.01; done
wait $holder 2>/dev/null
same "then the next one runs" "runs 0" "$(once echo runs) $?"
repeated=$("$work/clone/tests/shell/repeat.sh" 3 1 "$work/fails" often 1)
same "two of three passed" "repeat: 2 of 3 passed; failed: 1" "$(tail -n 1 <<<"$repeated")"
same "what failed is kept" "1.log" "$(ls "$work/clone/build/repeat")"
same "and shown" 1 "$(grep -c 'FAIL something of often' <<<"$repeated")"
. ./logs.sh
mkdir -p "$work/node/n1" && seq 100 >"$work/node/n1/log"
same "the end of a log" "    --- n1/log ends with: 15" "$(tell_logs "$work/node" | head -n 1) $(tell_logs "$work/node" | grep -c '|')"
[ $wrong = 0 ] && echo "tries, parts, ports, logs: as they should be"
exit $wrong
