# SPDX-License-Identifier: Apache-2.0
"""Archives of configurations that are costly to unpack, sort, check, write or pack."""
import gzip
import io
import tarfile

from attack import Attack
from attacks.config import MIB, contents, many_large


def archive(files, compresslevel=6):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=compresslevel) as tar:
        for name, body in files:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def post_archive(client, body, query="policy=overwrite"):
    try:
        return client.request("POST", f"/api/v1/import?{query}", body, {"Content-Type": "application/octet-stream"})[0]
    except ConnectionError:
        return "closed"  # the server rejected it before most of it was sent


def importing(build, query="policy=overwrite&dry_run"):
    """Setup and run of an attack that imports archives repeatedly. The setup builds them before the measurement."""
    bodies = []

    def setup(_):
        bodies[:] = bodies or build()

    def run(client):
        count, last = 0, {}
        while not client.is_over():
            for n, body in enumerate(bodies):
                last[n] = post_archive(client, body, query)
                count += 1
        client.note(f"{count} imports; answered {', '.join(str(s) for s in last.values())}")
    return {"setup": setup, "run": run}


def many():
    return [archive((f"ns{i % 10}/g/item{i:05d}.yaml", f"a: {i}\n".encode()) for i in range(10000))]


def tiny():
    """As many empty files as the limit allows, in no sorted order."""
    return [archive((f"ns{i * 7919 % 100}/g/{i * 104729 % 1000003}.txt", b"") for i in range(80000))]


def long_names():
    """A path of 600 bytes each, in pax headers."""
    return [archive((f"{'n' * 90}{i % 10}/{'g' * 250}/{i:05d}{'x' * 245}", b"x") for i in range(10000))]


def largest():
    """An archive as large as the limit allows, from 120 KB of gzip: 16 KiB are unpacked to 16 MiB."""
    return [archive(((f"ns/g/zeros{i:03d}.bin", b"\0" * (MIB - 1)) for i in range(120)), 9)]


def manifests():
    """One value of 100 MiB, 100 MiB of blanks, and 200,000 items that are not there."""
    long = b'{"version":1,"note":"' + b"x" * (100 * MIB) + b'","items":[]}'
    blanks = b'{"version":1,' + b" " * (100 * MIB) + b'"items":[]}'
    missing = b'{"version":1,"items":[' + b",".join(b'{"path":"a","name":"b"}' for _ in range(200000)) + b"]}"
    return [archive([("manifest.json", m), ("a", b"x")], 9) for m in (long, blanks, missing)]


def hostile():
    return [archive([(f"ns/g/{n}-{name}", body) for n in range(4) for name, body in contents().items() if not name.startswith("escapes")], 1)]


def bombs():
    """Zeros that gzip shrinks to a thousandth, gzip within gzip, links, concatenated empty gzip files, and files that the import skips."""
    zeros = gzip.compress(b"\0" * (100 * MIB))
    links = io.BytesIO()
    with tarfile.open(fileobj=links, mode="w:gz") as tar:
        for i in range(20000):
            info = tarfile.TarInfo(f"ns/g/link{i}")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    large = archive([(f"ns/g/z{i}.bin", b"\0" * MIB) for i in range(60)])
    empty = gzip.compress(b"") * 100000
    skipped = archive((f"ns/._{i}", b"") for i in range(100000))
    return [zeros, gzip.compress(zeros), links.getvalue(), large, empty, skipped]


def export_all(client):
    while not client.is_over():
        client.request("GET", "/api/v1/export")


def export_together(client):
    def export(_):
        while not client.is_over():
            client.request("GET", "/api/v1/export")
    client.together(4, export)


def many_and_history(client):
    """10,000 configurations, and 256 MiB of releases of another one."""
    c = client.connection(timeout_s=300)
    post_archive(client, many()[0])
    for i in range(256):
        client.expect("PUT", "/api/v1/configs/history.txt", b"%d " % i + b"x" * (MIB - 100), connection=c)
    c.close()


ATTACKS = [
    Attack("import_many", "imports 10,000 configurations, over those that are there", "--config-import-max-bytes",
           **importing(many, "policy=overwrite")),
    Attack("import_dry", "looks at an import of 10,000 configurations", "--config-import-max-bytes", **importing(many)),
    Attack("import_tiny", "looks at an import of 80,000 empty files", "1 KiB a file of --config-import-max-bytes", short=False,
           **importing(tiny)),
    Attack("import_long", "looks at an import of 10,000 files with the longest names", "255 bytes a name", **importing(long_names)),
    Attack("import_largest", "looks at an import of 120 MiB of zeros", "--config-import-max-bytes", **importing(largest)),
    Attack("import_manifest", "imports with manifests of 100 MiB", "256 KiB a value of the manifest", **importing(manifests)),
    Attack("import_hostile", "imports 50 MiB of hostile documents", "--config-import-max-bytes", **importing(hostile, "policy=overwrite")),
    Attack("import_bombs", "imports zeros, gzip within gzip, links, 100,000 files that are passed over", "--config-import-max-bytes",
           **importing(bombs)),
    Attack("export", "exports 60 contents of 1 MiB, half of it escapes", "4 exports at once", export_all, many_large, restart=True),
    Attack("export_many", "four clients export 10,000 configurations beside 256 MiB of history", "4 exports at once", export_together,
           many_and_history, restart=True, options=("--quota-backend-bytes", str(2048 * MIB), "--config-history-max-bytes", str(1024 * MIB))),
]
