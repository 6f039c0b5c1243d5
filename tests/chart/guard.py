#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chart refuses to scale down without a word: guard.py HELM, which says `template --dry-run=server` to an API server that
knows one StatefulSet of five replicas and nothing else. Prints each error, and exits with 1."""
import json
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = {"v1": ["Service", "Secret", "ServiceAccount", "Pod"], "apps/v1": ["StatefulSet"], "policy/v1": ["PodDisruptionBudget"],
         "networking.k8s.io/v1": ["NetworkPolicy"]}


def plural(kind):
    return kind.lower()[:-1] + "ies" if kind.endswith("y") else kind.lower() + "s"


def group(version):
    names = [{"groupVersion": version, "version": version.partition("/")[2]}]
    return {"name": version.partition("/")[0], "versions": names, "preferredVersion": names[0]}


ANSWERS = {
    "/version": {"major": "1", "minor": "31", "gitVersion": "v1.31.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(v) for v in KINDS if "/" in v]},
    "/apis/apps/v1/namespaces/default/statefulsets/cairn": {
        "kind": "StatefulSet", "apiVersion": "apps/v1", "spec": {"replicas": 5},
        "metadata": {"name": "cairn", "namespace": "default", "labels": {"app.kubernetes.io/managed-by": "Helm"},
                     "annotations": {"meta.helm.sh/release-name": "cairn", "meta.helm.sh/release-namespace": "default"}}},
}
for api_version, kinds in KINDS.items():
    ANSWERS[("/apis/" if "/" in api_version else "/api/") + api_version] = {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version,
        "resources": [{"name": plural(k), "singularName": k.lower(), "namespaced": True, "kind": k, "verbs": ["get", "list"]} for k in kinds]}
WANTED = "remove members cairn-3 and above first"


class Api(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802, the base's name
        answer = ANSWERS.get(self.path.partition("?")[0])
        body = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wrong = 0
    with tempfile.TemporaryDirectory() as home:
        with open(f"{home}/kubeconfig", "w", encoding="ascii") as f:
            f.write(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                                "users": [{"name": "u", "user": {}}],
                                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "default"}}]}))
        for arguments, is_refused in ((["replicaCount=3"], True), (["replicaCount=3", "scaleDownConfirmed=true"], False),
                                      (["replicaCount=5"], False), (["replicaCount=7"], False), (["replicaCount=1", "fullnameOverride=kv"], False)):
            said = subprocess.run([sys.argv[1], "template", "cairn", "charts/cairn", "--namespace", "default", "--dry-run=server",
                                   "--disable-openapi-validation", *[x for a in arguments for x in ("--set", a)]], check=False, capture_output=True, text=True,
                                  env={"HOME": home, "PATH": "/usr/bin:/bin", "KUBECONFIG": f"{home}/kubeconfig"})
            if (said.returncode != 0) != is_refused or (is_refused and WANTED not in said.stderr):
                print(f"{' '.join(arguments)}: {'taken' if said.returncode == 0 else said.stderr[:500]}")
                wrong = 1
    server.shutdown()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
