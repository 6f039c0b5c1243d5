#!/usr/bin/env bash
# environment.sh SCRIPT...: names each script that neither sources tests/shell/environment.sh nor a file that does, and each
# that sets a locale of its own. Run it at the repository's top; SCRIPT is a path from there.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
wrong=0

# The files that FILE sources: `. path`, beginning at the file's folder or at the top; a variable or $(...) before the
# path's own part is left out.
sourced() { # FILE
    local part candidate
    sed -nE 's/^[[:space:]]*(\.|source) +"?//p' "$1" | sed -E 's/"?[[:space:]]*(#.*)?$//; s/^\$\([^)]*\)"?\)?//; s/^\$\{?[a-z_]+\}?//; s/^"?\/+//' |
        while read -r part; do
            for candidate in "$(dirname "$1")/$part" "$part"; do
                [ -f "$candidate" ] && realpath --relative-to=. "$candidate" && break
            done
        done
}
has_environment() { # FILE [DEPTH]
    local next
    [ "$1" = tests/shell/environment.sh ] && return 0
    [ "${2:-0}" -lt 4 ] || return 1
    while read -r next; do
        has_environment "$next" $((${2:-0} + 1)) && return 0
    done < <(sourced "$1")
    return 1
}

for script in "$@"; do
    head -n 1 "$script" | grep -q '^#!.*sh$' || continue # what is only sourced has its environment from its caller
    has_environment "$script" || { echo "$script: does not source tests/shell/environment.sh"; wrong=1; }
    [ "$script" = tests/shell/environment.sh ] || ! grep -nE '\b(LC_[A-Z]+|LANG|LANGUAGE)=' "$script" | sed "s|^|$script:|;s|\$| (tests/shell/environment.sh sets it)|" | grep . || wrong=1
done
exit $wrong
