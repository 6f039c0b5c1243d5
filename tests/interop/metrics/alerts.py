"""The alert rules of etcd's mixin on series that are recorded from three members, by promtool.

    alerts.py PROGRAM RULES.json FOLDER ETCDCTL     PROGRAM: cairnd or etcd

The members serve, lose one of them, and then another one. A sample of every 0.5 s stands for one minute of the
rules. Each name in a rule must have a series, and these alerts fire, and no other one but those of durations, which
depend on the machine:

    all serve          none
    one member lost    etcdMembersDown
    two members lost   etcdMembersDown, etcdInsufficientMembers, etcdNoLeader
"""
import concurrent.futures
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request

HEALTHY, ONE_LOST, TWO_LOST = 20, 26, 10  # samples
EVERY_S = 0.5
OF_DURATIONS = "etcdGRPCRequestsSlow|etcdMemberCommunicationSlow|etcdHighFsyncDurations|etcdHighCommitDurations"
SERIES = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for port, sock in enumerate(sockets):
        for at in range(22000 + 37 * port, 32000):
            try:
                sock.bind(("127.0.0.1", at))
                break
            except OSError:
                continue
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def start_members(program, folder):
    ports = free_ports(6)
    cluster = ",".join(f"n{i}=http://127.0.0.1:{ports[2 * i + 1]}" for i in range(3))
    members = []
    for i in range(3):
        client, peer = (f"http://127.0.0.1:{ports[2 * i + k]}" for k in range(2))
        with open(f"{folder}/alerts-{i}.log", "wb") as log:
            members.append(subprocess.Popen(
                [program, "--name", f"n{i}", "--data-dir", f"{folder}/alerts-{i}", "--metrics", "extensive",
                 "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                 "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster], stdout=log, stderr=log))
    return members, [f"127.0.0.1:{ports[2 * i]}" for i in range(3)]


def scrape(endpoint):
    try:
        with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return None


def record(series, at, endpoints, names):
    """Adds sample number `at` of every series of these names."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        texts = list(pool.map(scrape, endpoints))
    for i, text in enumerate(texts):
        own = f'job="etcd",instance="n{i}"'
        series.setdefault(f"up{{{own}}}", {})[at] = "1" if text else "0"
        for line in (text or "").splitlines():
            match = SERIES.match(line)
            if match and match[1] in names:
                labels = ",".join(filter(None, [own, match[2]]))
                series.setdefault(f"{match[1]}{{{labels}}}", {})[at] = match[3]


def drive(program, folder, etcdctl, names):
    members, endpoints = start_members(program, folder)
    series = {}
    try:
        for _ in range(60):
            done = subprocess.run([etcdctl, "--endpoints", ",".join(endpoints), "put", "a", "b"], capture_output=True)
            if done.returncode == 0:
                break
            time.sleep(0.5)
        begin = time.monotonic()
        for at in range(HEALTHY + ONE_LOST + TWO_LOST):
            if at in (HEALTHY, HEALTHY + ONE_LOST):
                lost = 2 if at == HEALTHY else 1
                members[lost].kill()
                members[lost].wait()
            time.sleep(max(0.0, begin + at * EVERY_S - time.monotonic()))
            record(series, at, endpoints, names)
    finally:
        for member in members:
            member.kill()
            member.wait()
    return series


def test_of(series, rules):
    count = HEALTHY + ONE_LOST + TWO_LOST
    firing = f'count by (alertname) (ALERTS{{alertstate="firing",alertname!~"{OF_DURATIONS}"}})'
    phases = ((HEALTHY - 1, {}), (HEALTHY + ONE_LOST - 1, {"etcdMembersDown": 1}),
              (count - 1, {"etcdMembersDown": 1, "etcdInsufficientMembers": 1, "etcdNoLeader": 1}))
    return {"rule_files": [rules], "evaluation_interval": "1m", "tests": [{
        "interval": "1m",
        "input_series": [{"series": name, "values": " ".join(samples.get(i, "_") for i in range(count))}
                         for name, samples in sorted(series.items())],
        "promql_expr_test": [{
            "expr": firing, "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": value} for name, value in alerts.items()],
        } for minute, alerts in phases]}]}


def main(program, rules, folder, etcdctl):
    with open(rules, encoding="utf-8") as file:
        groups = json.load(file)["groups"]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    names = set(re.findall(r"\b(?:etcd|grpc_server)_[a-z_]+\b", " ".join(expressions)))
    series = drive(program, folder, etcdctl, names)
    absent = names - {name.split("{")[0] for name in series}
    for name in sorted(absent):
        print(f"{name} is in a rule, and no member shows it")
    path = f"{folder}/alerts-test.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(test_of(series, rules), file)
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    print(done.stdout + done.stderr)
    print(f"{len(expressions)} rules, {len(names)} names, {len(series)} series")
    return done.returncode != 0 or bool(absent)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
