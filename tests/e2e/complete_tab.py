# SPDX-License-Identifier: Apache-2.0
"""complete_tab.py bash|zsh SCRIPT LINE...: types each LINE and the tab key into an interactive shell that has read SCRIPT, and
prints the line as the shell completed it. The shell's programs are those of PATH. A LINE has one completion only."""
import os
import pty
import re
import select
import sys
import time

LIMIT_S = 60
shell, script, *lines = sys.argv[1:]
ARGV = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
SETUP = {
    "bash": f". {script}; PS1='> '",
    "zsh": f"autoload -U compinit; compinit -u -D; . {script}; PS1='> '",
}

pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb" if shell == "bash" else "xterm", COLUMNS="400", LINES="50")
    os.execvp(ARGV[shell][0], ARGV[shell])
heard = b""


def hear(pattern, limit_s=LIMIT_S):
    """The shell's output since the last call, up to the pattern."""
    global heard
    end = time.monotonic() + limit_s
    while not (found := re.search(pattern, heard)):
        if time.monotonic() > end:
            sys.exit(f"{shell} does not say {pattern!r}, but {heard[-2000:]!r}")
        if select.select([fd], [], [], 0.1)[0]:
            try:
                heard += os.read(fd, 65536)
            except OSError:
                sys.exit(f"{shell} has ended: {heard[-2000:]!r}")
    heard = heard[found.end():]
    return found


def settle():
    """Waits until the shell has printed nothing for a while: completion is over."""
    quiet = time.monotonic()
    end = quiet + LIMIT_S
    global heard
    while time.monotonic() < min(quiet + 0.7, end):
        if select.select([fd], [], [], 0.1)[0]:
            heard += os.read(fd, 65536)
            quiet = time.monotonic()


settle()
os.write(fd, (SETUP[shell] + "; echo rea''dy\n").encode())
hear(rb"ready\r?\n")
for line in lines:
    settle()
    os.write(fd, line.encode() + b"\t")
    settle()
    # The beginning of the line, and a command that prints the rest of it.
    os.write(fd, b"\x01echo li''ne:\x05:en''d\n")
    print(hear(rb"(?<!')line:(.*?):end").group(1).decode().strip(), flush=True)
os.write(fd, b"exit\n")
