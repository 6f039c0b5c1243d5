#!/usr/bin/env bash
# Completion of cairnctl in real shells: every command and flag is offered, values where there is a list of them, names of
# services and configurations. zsh and fish where they are installed.
. "$(dirname "$0")/lib.sh"
CTL=$(realpath "${CTL:-bin/cairnctl}")
tab=$PWD/tests/e2e/complete_tab.py
cd "$work" || exit 1
for shell in bash zsh fish; do "$CTL" completion $shell >completion.$shell; done
touch cert.pem

# A program that knows names, one of them with a command in it.
mkdir names
cat >names/cairnctl <<'P'
#!/bin/sh
printf '%s\n' orders 'or$(touch hurt)' '`touch hurt`' payments
P
chmod +x names/cairnctl

# offers NAME WANTED WORD...: bash offers exactly that for the last word
offered() {
    # shellcheck disable=SC2016
    PATH=$work/names:$PATH bash -c '. ./completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cairnctl; echo "${COMPREPLY[*]}"' bash cairnctl "$@" 2>&1
}
offers() { expect "bash: $1" "$2" "$(offered "${@:3}")"; }
offers "a command of a group" history config hi
offers "flags of a command" --limit config history name --li
offers "flags of all commands behind a key" "--endpoints" get key --end
offers "values of a flag" "table simple json yaml name fields protobuf" get key -o ""
offers "a value behind =" json --output = j
offers "values of a command's flag" "abort skip overwrite" config import --policy ""
offers "a file as a flag's value" cert.pem --cacert ce
offers "a file as an argument" cert.pem config import ce
offers "one of an argument's words" "read readwrite" role grant-permission r "rea"
offers "the command behind endpoints that bash has cut" "ls listeners" --endpoints 127.0.0.1 : 2379 config l
offers "nothing of our own behind --" "" service register a b c:1 -- ""
offers "names, and runs nothing that stands in one" 'orders or\$\(touch\ hurt\)' service get or
check "nothing was run" test ! -e hurt

# Every command by its own words, as the manual has them.
"$CTL" man | sed -n 's/^\.SS //p' | sed 's/\\//g' >commands
missing=""
while read -r first second rest; do
    if [[ $second =~ ^[a-z-]+$ ]]; then
        got=$(offered "$first" "$second") wanted=$second
    else
        got=$(offered "$first") wanted=$first
    fi
    [[ " $got " == *" $wanted "* ]] || missing+=" $first $second;"
done <commands
expect "bash: all $(wc -l <commands) commands" "" "$missing"

# The tab key itself.
lines=("cairnctl config hi" "cairnctl config history name --li" "cairnctl get key -o js" "cairnctl role grant-permission r readw" "cairnctl --cacert ce" "cairnctl service get pay")
wanted=$(printf '%s\n' "cairnctl config history" "cairnctl config history name --limit" "cairnctl get key -o json" "cairnctl role grant-permission r readwrite" "cairnctl --cacert cert.pem" "cairnctl service get payments")
for shell in bash zsh; do
    if command -v $shell >/dev/null; then
        expect "$shell: the tab key" "$wanted" "$(PATH=$work/names:$PATH python3 -B "$tab" $shell "$work/completion.$shell" "${lines[@]}" 2>&1)"
    else
        echo "  --   $shell is missing"
    fi
done
if command -v fish >/dev/null; then
    # shellcheck disable=SC2016
    got=$(PATH=$work/names:$PATH fish --no-config -c 'source completion.fish; for line in $argv; complete -C $line; end' "${lines[@]}" | cut -f 1)
    expect "fish: the same" "$(printf '%s\n' history --limit json readwrite cert.pem payments)" "$got"
    check "fish runs nothing that stands in a name" test ! -e hurt
else
    echo "  --   fish is missing"
fi
finish
