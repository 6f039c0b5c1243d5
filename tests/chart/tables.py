#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What of the chart is written twice is the same: tables.py [--update] ROOT

  values.schema.json  knows every value of values.yaml and no other; its list of flags is server/options.def's, without
                      those that the chart sets itself
  README.md           its table of values is values.yaml's comments

--update writes the list and the table anew. Prints what differs, a line each; status 1 if anything does."""
import json
import re
import sys
from pathlib import Path

import yaml

# The chart sets these; more of them in the same place would be refused by the daemon, or be another member's.
OWN = set("""name data-dir config-file version initial-advertise-peer-urls initial-cluster initial-cluster-state
initial-cluster-token advertise-client-urls listen-client-urls listen-peer-urls listen-metrics-urls listen-dns dns-zone dns-ttl
cert-file key-file client-cert-auth trusted-ca-file auto-tls peer-cert-file peer-key-file peer-client-cert-auth
peer-trusted-ca-file peer-auto-tls join-token-file require-peer-proof force-new-cluster""".split())


def flags(root=Path(".")):
    """Flags that mean something today; the others can be given in extraArgs."""
    found = set()
    for line in (root / "server/options.def").read_text().splitlines():
        m = re.match(r'(?:OPT\(\w+, \w+|ACCEPT\(\w+), "([a-z0-9-]+)"', line)
        if m and m[1] not in OWN and not m[1].startswith(("discovery-", "v2-")):
            found.add(m[1])
    return sorted(found)


def as_text(value, indent=0):
    """JSON with short things on one line."""
    one = json.dumps(value)
    if len(one) + indent < 150:
        return one + ("\n" if not indent else "")
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        body = ",\n".join(f"{pad}{json.dumps(k)}: {as_text(v, indent + 2)}" for k, v in value.items())
        text = "{\n" + body + "\n" + " " * indent + "}"
    else:
        lines, line = [], pad
        for item in value:
            if len(line) + len(json.dumps(item)) > 140:
                lines.append(line.rstrip())
                line = pad
            line += json.dumps(item) + ", "
        text = "[\n" + "\n".join(lines + [line.rstrip(", ")]) + "\n" + " " * indent + "]"
    return text + ("\n" if not indent else "")


def rows(text):
    """(name, default, comment) of values.yaml: a comment that begins with `-- ` is the row of the next key."""
    path, comment, found = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("# "):
            comment = [stripped[5:]] if stripped.startswith("# -- ") else comment + [stripped[2:]] if comment else []
            continue
        m = re.match(r"( *)([A-Za-z]+):(?: (.*))?$", line)
        if m:
            depth = len(m[1]) // 2
            path = path[:depth] + [m[2]]
            if comment:
                found.append((".".join(path), " ".join(comment)))
            elif m[3] is not None and not any(".".join(path[:n]) in dict(found) for n in range(1, depth + 1)):
                raise SystemExit(f"charts/cairn/values.yaml:{number}: {'.'.join(path)} has no comment that begins with `# -- `")
        comment = []
    values = yaml.safe_load(text)
    for name, said in found:
        value = values
        for part in name.split("."):
            value = value[part]
        yield name, value, said


def table(text):
    out = ["| value | default | |", "|---|---|---|"]
    for name, value, said in rows(text):
        default = json.dumps(value)
        default = "see `values.yaml`" if len(default) > 60 else f"`{default}`"
        out.append(f"| `{name}` | {default} | {said.replace('|', chr(92) + '|')} |")
    return "\n".join(out)


def only_in_one(value, schema, path=""):
    """Names that only one of values.yaml and the schema has."""
    if not isinstance(value, dict) or "properties" not in schema:
        return
    known = schema["properties"]
    for name in sorted(set(value) - set(known)):
        yield f"values.schema.json has no {path}{name}, which values.yaml has"
    for name in sorted(set(known) - set(value) - {"initialDelaySeconds", "terminationGracePeriodSeconds", "rollingUpdate", "claims"}):
        if path + name not in OPTIONAL:
            yield f"values.yaml has no {path}{name}, which values.schema.json has"
    if schema.get("additionalProperties") is not False:
        yield f"values.schema.json takes anything under {path or 'the top'}"
    for name in set(value) & set(known):
        yield from only_in_one(value[name], known[name], f"{path}{name}.")


# Values that the schema allows and values.yaml does not have.
OPTIONAL = {"lifecycle.preStop", "lifecycle.postStart", "resources.claims", "backup.resources.requests", "backup.resources.limits",
            "tls.certManager.issuerRef.name", "tls.certManager.issuerRef.kind", "tls.certManager.issuerRef.group"}


def main():
    update = sys.argv[1] == "--update"
    root = Path(sys.argv[-1])
    chart = root / "charts/cairn"
    text = (chart / "values.yaml").read_text()
    wrong = []

    schema = json.loads((chart / "values.schema.json").read_text())
    schema["properties"]["config"]["propertyNames"]["enum"] = flags(root)
    if update:
        (chart / "values.schema.json").write_text(as_text(schema))
    elif as_text(schema) != (chart / "values.schema.json").read_text():
        wrong.append("charts/cairn/values.schema.json: its flags are not server/options.def's (make chart UPDATE=1 writes them)")
    wrong += only_in_one(yaml.safe_load(text), schema)

    readme = (chart / "README.md").read_text()
    head, _, rest = readme.partition("<!-- values -->\n")
    _, _, tail = rest.partition("<!-- end of values -->\n")
    new = f"{head}<!-- values -->\n{table(text)}\n<!-- end of values -->\n{tail}"
    if update:
        (chart / "README.md").write_text(new)
    elif new != readme:
        wrong.append("charts/cairn/README.md: the table of values is not values.yaml's (make chart UPDATE=1 writes it)")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
