#!/usr/bin/env python3
"""Commands and flags of etcdctl and etcdutl, read from their --help. One line each, in columns separated by tabs:
program, command, flag, letter, type ("bool" = takes no value). "-" as the command means all commands, as the flag the command
itself, as the letter none.

    tests/interop/flags.py etcdctl=build/interop/etcdctl37 etcdutl=build/interop/etcdutl >tests/interop/flags.txt
"""
import re
import subprocess
import sys

FLAG = re.compile(r"^ +(?:-(\w), )?--([a-z][a-z-]*)(?: (string|strings|int|uint|duration))?   *\S")
COMMAND = re.compile(r"^  ([a-z][a-z-]*) +[A-Za-z]")


def sections(binary, words):
    """The lines of a help text by the title above them."""
    done = subprocess.run([binary, *words], capture_output=True, text=True, timeout=60, check=False)
    found, title = {}, ""
    for line in done.stdout.splitlines():
        if line and not line.startswith((" ", "$")):
            title = line.rstrip(":")
        found.setdefault(title, []).append(line)
    return found


def flags_of(lines):
    return [(m[2], m[1] or "-", m[3] or "bool") for m in map(FLAG.match, lines) if m and m[2] != "help"]


def walk(program, binary, words, inherited):
    """Prints the commands below `words`."""
    help_text = sections(binary, [*words, "--help"])
    own = flags_of(help_text.get("Flags", []))
    commands = [m[1] for title, lines in help_text.items() if title.lower().endswith("commands")
                for m in map(COMMAND.match, lines) if m]
    if commands and len(words) < 2:
        for flag in own if not words else []:
            print(program, "-", *flag, sep="\t")
        for name in sorted(commands):
            walk(program, binary, [*words, name], inherited + own if words else [])
        return
    print(program, " ".join(words), "-", "-", "-", sep="\t")
    for flag in inherited + own:
        print(program, " ".join(words), *flag, sep="\t")


def main():
    for argument in sys.argv[1:]:
        program, binary = argument.split("=", 1)
        for lines in sections(binary, ["options"]).values() if program == "etcdctl" else []:
            for flag in flags_of(lines):
                print(program, "-", *flag, sep="\t")
        walk(program, binary, [], [])


main()
