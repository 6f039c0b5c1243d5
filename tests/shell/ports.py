# SPDX-License-Identifier: Apache-2.0
"""Like ports.sh: a range of free ports, which no other test on this machine gets as long as this process lives."""
import fcntl
import os
import random
import socket
import tempfile


def is_alive(pid):
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def free_ports(count):
    folder = f"{tempfile.gettempdir()}/cairn-ports.{os.getuid()}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for base in random.sample(range(20000, 30000, 100), 100):
            path = f"{folder}/{base}"
            if os.path.exists(path):
                with open(path, encoding="ascii") as owner:
                    if is_alive(owner.read()):
                        continue
            try:
                for port in range(base, base + count):
                    with socket.socket() as s:
                        s.bind(("127.0.0.1", port))
            except OSError:
                continue
            with open(path, "w", encoding="ascii") as owner:
                owner.write(f"{os.getpid()}\n")
            return base
    raise SystemExit("no free ports")


def tell_logs(folder, lines=15):
    """The end of each log in a folder, as logs.sh prints it."""
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".log")):
        with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as log:
            print(f"    --- {name} ends with:")
            for line in log.readlines()[-lines:]:
                print(f"    | {line.rstrip()[:260]}", flush=True)
