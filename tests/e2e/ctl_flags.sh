#!/usr/bin/env bash
# Every command and flag of etcdctl and etcdutl 3.7.1 is known under their names (tests/interop/flags.txt, which
# tests/interop/flags.py writes from the help of the real programs). Where these are built, the list is made anew and must be
# the same.
source "$(dirname "$0")/lib.sh"
CTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
list=tests/interop/flags.txt
peers=build/interop

# knows PROGRAM COMMAND FLAG LETTER TYPE: the help of the command comes, and the flag is no error.
knows() {
    local program=$1 words=() value=x
    [ "$2" = - ] || read -ra words <<<"$2"
    case $5 in
    int | uint) value=1 ;;
    duration) value=1s ;;
    esac
    [ "$2" != - ] || words=(version)
    [ "$2" != help ] || words=(help version)
    [ "$3" != - ] || { "$CTL" "$program" "${words[@]}" --help; return; }
    if [ "$5" = bool ]; then
        "$CTL" "$program" "${words[@]}" "--$3" --help && "$CTL" "$program" "${words[@]}" "--$3=false" --help
    else
        "$CTL" "$program" "${words[@]}" "--$3" $value --help && "$CTL" "$program" "${words[@]}" "--$3=$value" --help
    fi || return 1
    [ "$4" = - ] || { [ "$5" = bool ] && value=; "$CTL" "$program" "${words[@]}" "-$4" $value --help; }
}
absent=()
count=0
while IFS=$'\t' read -r program command flag letter type; do
    count=$((count + 1))
    knows "$program" "$command" "$flag" "$letter" "$type" >"$work/said" 2>&1 ||
        absent+=("$program $command --$flag: $(head -1 "$work/said")")
    # The help names what it is about: another command's help must not pass.
    [ "$flag" != - ] || [ "$command" = help ] || has "$work/said" "usage: $program $command" ||
        absent+=("$program $command: $(head -1 "$work/said")")
done <$list
check "the list is not empty" [ $count -gt 150 ]
expect "commands and flags that are not known" "" "$(printf '%s\n' "${absent[@]}")"
"$CTL" etcdctl get --no-such-flag --help >"$work/said" 2>&1
expect "a flag that etcdctl does not have is refused" 1 $?

if [ -x $peers/etcdctl37 ] && [ -x $peers/etcdutl ]; then
    tests/interop/flags.py etcdctl=$peers/etcdctl37 etcdutl=$peers/etcdutl >"$work/list"
    check "the list is that of the real programs" diff $list "$work/list"
else
    echo "  skip the list beside the real programs: $peers has no etcdctl37 or no etcdutl (make interop builds them)"
fi
finish
