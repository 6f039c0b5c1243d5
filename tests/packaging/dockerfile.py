#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks a Dockerfile without building it: dockerfile.py DOCKERFILE PROGRAM... Prints a line for each error.

Its last stage must run as a number, by exec forms, and install exactly the Debian packages of the libraries that the programs are
linked with (as dpkg on this machine has it), the plugin that is opened at run time, and etcdctl's."""
import json
import re
import subprocess
import sys
from pathlib import Path

# Not by ldd: libwebsockets opens its plugin for libuv; people and the chart run etcdctl. Packages that every Debian has are not
# installed.
OPENED = {"libwebsockets-evlib-uv", "etcd-client"}
ESSENTIAL = {"libc6", "libgcc-s1", "libcap2"}
EXEC_FORM = {"ENTRYPOINT", "CMD"}
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions(text):
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, re.sub(r"\s+", " ", rest)


def packages_of(program):
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for path in re.findall(r"=> (/\S+)", said):
        real = Path(path).resolve()
        for name in (str(real), str(real).removeprefix("/usr"), path):
            found = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True, check=False)
            if found.returncode == 0:
                yield found.stdout.split(":")[0]
                break
        else:
            yield f"({path} is of no package)"


def main():
    wrong = []
    stages, last = set(), {}
    for word, rest in instructions(Path(sys.argv[1]).read_text()):
        if word not in KNOWN:
            wrong.append(f"{word}: not an instruction that is used here")
        if word == "FROM":
            m = re.fullmatch(r"([\w./-]+):([\w.-]+)(?: AS (\w+))?", rest)
            if not m or m[2] == "latest":
                wrong.append(f"FROM {rest}: an image and a tag that is not latest")
            else:
                stages.add(m[3])
            last = {}
        if word in EXEC_FORM or (word == "HEALTHCHECK" and " CMD " in f" {rest}"):
            form = rest[rest.index("["):] if "[" in rest else rest
            try:
                json.loads(form)
            except ValueError:
                wrong.append(f"{word} {rest}: not the exec form, a JSON array")
        if word == "COPY":
            m = re.match(r"--from=(\w+) ", rest)
            if m and m[1] not in stages:
                wrong.append(f"COPY {rest}: there is no stage {m[1]}")
        if word == "RUN" and "apt-get install" in rest:
            if "--no-install-recommends" not in rest or "rm -rf /var/lib/apt/lists" not in rest or "apt-get update" not in rest:
                wrong.append("apt-get: update, install --no-install-recommends and rm -rf /var/lib/apt/lists/* belong in one RUN")
            last["packages"] = set(re.search(r"apt-get install (.*?) &&", rest)[1].split()) - {"-y", "--no-install-recommends"}
        last[word] = rest
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", last.get("USER", "")):
        wrong.append("USER: two numbers that are not 0, which runAsNonRoot can see")
    if "ENTRYPOINT" not in last:
        wrong.append("no ENTRYPOINT")
    wanted = set(OPENED)
    for program in sys.argv[2:]:
        wanted |= set(packages_of(program)) - ESSENTIAL
    for name in sorted(wanted - last.get("packages", set())):
        wrong.append(f"{name} is needed and not installed")
    for name in sorted(last.get("packages", set()) - wanted):
        wrong.append(f"{name} is installed, and nothing is linked with it")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
