"""Every flag of a real etcd 3.7.1, with values that it takes and values that it refuses, on both programs.

    server_flags.py ETCD CAIRND

Both are started with an --initial-cluster that does not name them, so a command line that is taken ends
with that error, and no server stays. The verdicts must agree: taken, or refused with the same exit code.
OURS lists where they do not, with the reason. The texts of refused numbers and durations are our own.
"""
import concurrent.futures
import json
import re
import subprocess
import sys
import tempfile

LATER = "refused later, when TLS uses it"
NOT_SAFE = "refused: it would promise what is not done"
NO_NUMBER = "refused: a value below zero has no meaning"
NO_VALUE = "refused: an empty value has no meaning"
OURS = {
    "--name=": NO_VALUE,
    "--listen-client-urls=": NO_VALUE,
    "--initial-advertise-peer-urls=": NO_VALUE,
    "--advertise-client-urls=": NO_VALUE,
    "--auth-token=": NO_VALUE,
    "--metrics=": NO_VALUE,
    "--log-format=": NO_VALUE,
    "--auth-token=no": NOT_SAFE,
    "--backend-batch-limit=-1": NO_NUMBER,
    "--grpc-keepalive-min-time=-1s": NO_NUMBER,
    "--grpc-keepalive-interval=-1s": NO_NUMBER,
    "--grpc-keepalive-timeout=-1s": NO_NUMBER,
    "--warning-unary-request-duration=-1s": NO_NUMBER,
    "--corrupt-check-time=-1s": NO_NUMBER,
    "--compaction-batch-limit=-1": NO_NUMBER,
    "--watch-progress-notify-interval=-1s": NO_NUMBER,
    "--max-txn-ops=0": "refused: no transaction could be made",
    "--max-request-bytes=0": "refused: no request could be made",
    "--client-cert-allowed-hostname=x": NOT_SAFE,
    "--client-cert-auth=true": NOT_SAFE,
    "--peer-client-cert-auth=true": NOT_SAFE,
    "--cert-file=x": NOT_SAFE,
    "--key-file=x": NOT_SAFE,
    "--peer-client-cert-file=x": NOT_SAFE,
    "--peer-client-key-file=x": NOT_SAFE,
    "--peer-trusted-ca-file=x": LATER,
    "--cipher-suites=x": LATER,
    "--cipher-suites=": LATER,
    "--log-level=no": "exit code 1, without a panic",
}
# Of 3.4 to 3.6: 3.7.1 defines none of them.
OLD = """proxy proxy-dial-timeout proxy-failure-wait proxy-read-timeout proxy-refresh-interval proxy-write-timeout
    discovery discovery-proxy debug log-package-levels log-output enable-v2 experimental-peer-skip-client-san
    experimental-peer-skip-client-san-verification experimental-initial-corrupt-checks
    experimental-initial-corrupt-check experimental-compact-hash-check-enabled
    experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist
    experimental-stop-grpc-service-on-defrag experimental-txn-mode-write-with-shared-buffer
    experimental-set-member-localaddr experimental-enable-v2v3 experimental-wait-cluster-ready-timeout
    experimental-corrupt-check-time experimental-compact-hash-check-time experimental-downgrade-check-time
    experimental-warning-apply-duration experimental-bootstrap-defrag-threshold-megabytes
    experimental-memory-mlock experimental-max-learners experimental-backend-bbolt-freelist-type
    experimental-enable-distributed-tracing experimental-distributed-tracing-address
    experimental-compaction-batch-limit experimental-compaction-sleep-interval
    experimental-watch-progress-notify-interval experimental-warning-unary-request-duration
    experimental-snapshot-catchup-entries""".split()
MORE = """--feature-gates= --feature-gates=AllAlpha=true --feature-gates=AllBeta=false
    --feature-gates=CompactHashCheck=true --feature-gates=FastLeaseKeepAlive=false
    --feature-gates=InitialCorruptCheck=true --feature-gates=LeaseCheckpoint=true
    --feature-gates=LeaseCheckpointPersist=true
    --feature-gates=LeaseCheckpoint=true,LeaseCheckpointPersist=true --feature-gates=PriorityRequest=true
    --feature-gates=SetMemberLocalAddr=true --feature-gates=StopGRPCServiceOnDefrag=true
    --feature-gates=TxnModeWriteWithSharedBuffer=false --feature-gates=TxnModeWriteWithSharedBuffer
    --feature-gates=CompactHashCheck=maybe --feature-gates=DistributedTracing=true
    --feature-gates=compacthashcheck=true --v2-deprecation=gone --v2-deprecation=not-yet --v2-deprecation=write-only-skip-check
    --auto-compaction-retention=5m --auto-compaction-retention=1.5h --auto-compaction-retention=x
    --auto-compaction-retention=-1 --auto-compaction-mode=revision --auto-compaction-mode=no
    --compaction-sleep-interval=0s --compaction-sleep-interval=1s --compaction-batch-limit=0
    --compaction-batch-limit=1 --log-level=no --log-format=console --log-format=no
    --metrics=extensive --tls-min-version=TLS1.3 --tls-min-version=TLS1.1 --auth-token=no
    --initial-cluster-state=existing --initial-cluster-state=no --discovery-fallback=proxy
    --listen-client-http-urls=http://127.0.0.1:23813 --listen-client-http-urls=localhost
    --discovery-srv=example.com --discovery-srv= --discovery-token=t --discovery-endpoints=localhost:1,localhost:2
    --listen-client-urls= --listen-peer-urls=http://no-name:1""".split()
BASE = {"--name": "x", "--initial-cluster": "y=http://localhost:1", "--listen-client-urls": "http://127.0.0.1:2%d",
        "--advertise-client-urls": "http://127.0.0.1:2%d", "--listen-peer-urls": "http://127.0.0.1:1%d",
        "--initial-advertise-peer-urls": "http://127.0.0.1:1%d"}


def values_of(default):
    if re.match(r"^\d+$", default):
        return ["1", "0", "-1", "abc"]
    if re.match(r"^\d+[smh]", default):
        return ["3s", "0s", "-1s", "abc", "5"]
    return {"true": ["false", "no"], "false": ["true", "no"]}.get(default, [default or "x", ""])


def cases_of(etcd):
    help_text = subprocess.run([etcd, "--help"], capture_output=True, text=True, check=True).stdout
    flags = re.findall(r"^  --([a-z0-9-]+) *(.*)$", help_text, re.M)
    assert len(flags) > 100, len(flags)
    skipped = ("data-dir", "wal-dir", "config-file", "log-outputs", "log-level", "initial-cluster", "force-new-cluster",
               "listen-peer-urls", "discovery-srv")
    cases = [f"--{name}={value}" for name, default in flags if name not in skipped
             if name != "listen-client-urls" for value in values_of(default.strip("' ")) if "${" not in value]
    return cases + MORE + [f"--{name}=1" for name in OLD]


def verdict(program, case, port):
    with tempfile.TemporaryDirectory() as folder:
        words = [program, f"--data-dir={folder}/d"]
        words += [f"{k}={v % port if '%d' in v else v}" for k, v in BASE.items() if k != case.split("=")[0]]
        try:
            done = subprocess.run(words + [case], capture_output=True, text=True, timeout=20, cwd=folder,
                                  env={"PATH": "/bin"})
        except subprocess.TimeoutExpired:
            return "runs", ""
    why = ""
    for line in (done.stderr + done.stdout).splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if entry["level"] in ("error", "fatal", "panic"):
                why = entry.get("error", entry["msg"])
        elif line.strip() and not why:
            why = line
    past_options = re.search("couldn't find local name|missing from --initial", why)
    return "taken" if past_options else f"refused, exit code {done.returncode}", why


def main(etcd, cairnd):
    cases = cases_of(etcd)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        theirs = pool.map(lambda at: verdict(etcd, at[1], 2000 + at[0]), enumerate(cases))
        ours = pool.map(lambda at: verdict(cairnd, at[1], 2500 + at[0]), enumerate(cases))
        results = list(zip(cases, theirs, ours))
    failed = 0
    for case, (etcds, etcds_why), (mine, my_why) in results:
        if (etcds != mine) != (case in OURS):
            failed += 1
            print(f"{case}\n  etcd: {etcds} {etcds_why[:200]}\n  here: {mine} {my_why[:200]}")
    print(f"{len(results)} command lines, {len(OURS)} differ as listed, {failed} otherwise")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
