#!/usr/bin/env bash
# compile_commands.sh 'compiler and flags' file.c...: prints the database that clangd and clang-tidy read.
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
flags=${1//\"/\\\"}
shift
sep="["
for f in "$@"; do
    printf '%s\n{"directory":"%s","file":"%s","command":"%s -c %s"}' "$sep" "$PWD" "$f" "$flags" "$f"
    sep=","
done
printf '\n]\n'
