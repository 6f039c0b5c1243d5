#!/usr/bin/env python3
"""The ABI of libcairn against the list in sdk/abi.txt.

    abi.py LIBRARY            compares: exit 1 if the ABI changed without a version
    abi.py LIBRARY update     writes the list anew, with the version of cairn.h

The list has the exported symbols with their versions, each function's declaration, the values of enums, and size
and offsets of each public struct, as the compiler of this machine lays them out (x86-64).

While the version in cairn.h is the list's, additions are allowed: functions, structs, values of enums at their end, and
fields at the end of structs that may grow. Everything else is a change that breaks programs which were built before. With
another version in cairn.h, the list must be written anew; with the same major version (the SONAME), it may
have additions only.
"""
import os
import re
import subprocess
import sys
import tempfile

HEADER, LIST = "sdk/cairn.h", "sdk/abi.txt"
# The library makes these alone; options carry their size in their first field.
GROWING = re.compile(r"_result$|^cairn_state_change$")


def preprocessed():
    text = subprocess.run(["gcc", "-E", "-P", "-std=c99", HEADER], check=True, capture_output=True, text=True).stdout
    return re.sub(r"\s+", " ", text[text.index("cairn_err_index") - 10:])


def fields(body):
    """The names of the fields: of 'const char *a, *b', 'int x[3]' and 'void (*f)(int n)'."""
    depth, part, parts = 0, "", []
    for c in body:
        depth += (c == "(") - (c == ")")
        if c == ";" and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += c
    for declaration in parts:
        pointer = re.search(r"\(\s*\*\s*(\w+)\s*\)\s*\(", declaration)
        if pointer:
            yield pointer.group(1)
            continue
        for name in declaration.split(","):
            yield re.sub(r"\[[^]]*\]", "", name).split()[-1].lstrip("*")


def layouts(text):
    structs = [(m.group(1), list(fields(m.group(2)))) for m in re.finditer(r"struct (cairn_\w+) \{([^{}]*)\};", text)]
    constants = []
    for m in re.finditer(r"enum (cairn_\w+) \{([^{}]*)\}", text):
        constants += [(m.group(1), c.split("=")[0].strip()) for c in re.sub(r"\([^()]*\)", "", m.group(2)).split(",") if c.strip()]
    lines = ["#include <stdio.h>", '#include "cairn.h"', "int main(void) {"]
    for name, members in structs:
        lines.append(f'printf("struct {name} size %zu\\n", sizeof(struct {name}));')
        for f in members:
            lines.append(f'printf("field {name}.{f} at %zu size %zu\\n", offsetof(struct {name}, {f}), sizeof(((struct {name} *)0)->{f}));')
    for enum, constant in constants:
        lines.append(f'printf("value {enum} {constant} %d\\n", (int){constant});')
    lines.append("}")
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "abi.c"), os.path.join(folder, "abi")
        with open(source, "w") as f:
            f.write("\n".join(lines))
        subprocess.run(["gcc", "-std=c99", "-Isdk", source, "-o", program], check=True)
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def functions(text):
    text = re.sub(r"static inline .*?\}", "", text)
    text = re.sub(r"\{[^{}]*\}", "", text)
    found = re.findall(r"(?:^|;|\})\s*((?:const )?[\w ]+?[ *]+cairn_\w+\([^;]*\));".replace("};", ";"), text.replace(";", ";;"))
    return [f"function {re.sub(r' +', ' ', f).strip()}" for f in found]


def symbols(library):
    out = subprocess.run(["objdump", "-T", library], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"\.text\s+\w+\s+(?:\(?(\w+)\)?)\s+(cairn_\w+)$", out, re.M)
    return [f"symbol {name}@{version}" for version, name in found]


def key(line):
    kind, rest = line.split(" ", 1)
    if kind == "function":
        return "function " + re.search(r"(cairn_\w+)\(", rest).group(1)
    if kind == "symbol":
        return "symbol " + rest.split("@")[0]
    return " ".join(line.split()[:3 if kind == "value" else 2])


def may_grow(line, lines):
    """A struct that grew at its end only: its fields are compared one by one. Counters at the end of enums grow, too."""
    words = line.split()
    if words[0] == "value":
        return words[2].endswith("_COUNT")
    return words[0] == "struct" and (GROWING.search(words[1]) or f"field {words[1]}.size" in lines)


def main():
    version = re.search(r'CAIRN_SDK_VERSION "([^"]*)"', open(HEADER).read()).group(1)
    text = preprocessed()
    now = sorted(set(symbols(sys.argv[1]) + functions(text) + layouts(text)))
    if len(sys.argv) > 2:
        with open(LIST, "w") as f:
            f.write("\n".join([f"version {version}"] + now) + "\n")
        return 0
    first, *before = open(LIST).read().splitlines()
    recorded = first.split()[1]
    new, old = {key(line): line for line in now}, {key(line): line for line in before}
    broken = [f"- {line}" for k, line in old.items() if k not in new]
    for k, line in new.items():
        if k in old and old[k] != line and not may_grow(line, new):
            broken.append(f"- {old[k]}\n+ {line}")
        # A field before the old end of a struct, in padding, or a new field of a struct that cannot grow.
        if k not in old and line.startswith("field "):
            struct = k.split()[1].split(".")[0]
            was = old.get(f"struct {struct}")
            if was and (not may_grow(new[f"struct {struct}"], new) or int(line.split()[3]) < int(was.split()[3])):
                broken.append(f"+ {line}")
    added = [k for k in new if k not in old]
    if broken and version.split(".")[0] == recorded.split(".")[0]:
        print("\n".join(broken))
        print(f"abi: programs that were built with {recorded} would break: keep the layout, or change the major version in {HEADER}")
        return 1
    if version != recorded:
        print(f"abi: {LIST} is that of {recorded}, and the library is {version}: run tests/sdk/abi.py LIBRARY update")
        return 1
    print(f"abi: {len(new)} lines as version {recorded} has them" + (f", {len(added)} additions" if added else ""))
    return 0


sys.exit(main())
