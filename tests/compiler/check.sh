#!/usr/bin/env bash
# check.sh STAMP COMPILER FLAGS...: builds wrong_code.c and runs it, by an emulator when the machine cannot. The Makefile
# calls it once for each compiler and each build folder, before the first source; STAMP is written when nothing is wrong.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
stamp=$1
shift
source=$(dirname "$0")/wrong_code.c
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The arguments are flags and a compiler, which may be more than one word (ccache gcc).
# shellcheck disable=SC2068
$@ -w -o "$work/wrong_code" "$source" || { echo "compiler: $1 does not build $source" >&2; exit 1; }

name=$($1 --version 2>/dev/null | head -n 1)
name=${name:-$1}
result=$("$work/wrong_code" 2>/dev/null)
if [ -z "$result" ]; then
    machine=$($1 -dumpmachine 2>/dev/null)
    for emulator in ${EMULATOR:+"$EMULATOR"} "qemu-${machine%%-*}-static -L /usr/$machine" "qemu-${machine%%-*} -L /usr/$machine"; do
        command -v "${emulator%% *}" >/dev/null || continue
        # shellcheck disable=SC2086
        result=$($emulator "$work/wrong_code" 2>/dev/null)
        [ -z "$result" ] || break
    done
fi
case $result in
right) ;;
avoided*) echo "  --  compiler: $name reads p->x of \`flag ? p->x + 1 : 1\` always; the sources avoid this form (tests/compiler)" ;;
wrong*)
    echo "compiler: $name builds wrong code (${result#wrong } in $source reads through a null pointer); use another one: make CC=clang" >&2
    exit 1
    ;;
*) echo "  --  compiler: $name is not checked: its programs cannot be run here (EMULATOR= names what runs them)" ;;
esac
mkdir -p "$(dirname "$stamp")"
echo "$name: ${result:-not run}" >"$stamp"
