# SPDX-License-Identifier: Apache-2.0
"""What HTTP itself, the registry's lists and the pages for machines let a client ask for."""
from attack import Attack


def tiny_metadata(size=8 * 1024):
    """The most keys that a document of 8 KiB has room for."""
    letters = [chr(c) for c in range(33, 127) if chr(c) not in '"\\']
    names = letters + [a + b for a in letters for b in letters]
    metadata, used = {}, 0
    for name in names[:4090]:
        used += len(name)
        if used > size:
            break
        metadata[name] = ""
    return metadata


def fat_instances(client):
    ports = {f"p{i}": 9000 + i for i in range(32)}
    metadata = tiny_metadata()
    for i in range(12):
        client.register("fat", f"i{i}", {"host": "10.0.0.1", "port": 8080, "ports": ports, "metadata": metadata, "ttl": 600})


def prometheus(client):
    client.request("GET", "/sd/prometheus")


ATTACKS = [
    Attack("prometheus_metadata", "reads /sd/prometheus of twelve instances with 4,000 keys of metadata and 32 ports each",
           "8 KiB of metadata, 32 ports", prometheus, fat_instances),
]
