/* SPDX-License-Identifier: Apache-2.0
 * Tests of the daemon's options: every flag of etcd 3.7, environment and file, every check with its error
 * text. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/options.h"
#include "server/version.h"

static const char *const etcd_flags[] = {
    "data-dir",
    "wal-dir",
    "listen-peer-urls",
    "listen-client-urls",
    "listen-client-http-urls",
    "listen-metrics-urls",
    "max-wals",
    "name",
    "snapshot-count",
    "heartbeat-interval",
    "election-timeout",
    "initial-election-tick-advance",
    "quota-backend-bytes",
    "backend-bbolt-freelist-type",
    "backend-batch-interval",
    "backend-batch-limit",
    "max-txn-ops",
    "max-request-bytes",
    "grpc-keepalive-min-time",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "socket-reuse-port",
    "socket-reuse-address",
    "max-concurrent-streams",
    "raft-read-timeout",
    "raft-write-timeout",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "discovery-endpoints",
    "discovery-token",
    "discovery-dial-timeout",
    "discovery-request-timeout",
    "discovery-keepalive-time",
    "discovery-keepalive-timeout",
    "discovery-insecure-transport",
    "discovery-insecure-skip-tls-verify",
    "discovery-cert",
    "discovery-key",
    "discovery-cacert",
    "discovery-user",
    "discovery-password",
    "discovery-srv",
    "discovery-srv-name",
    "initial-cluster",
    "initial-cluster-token",
    "strict-reconfig-check",
    "pre-vote",
    "cert-file",
    "key-file",
    "client-cert-file",
    "client-key-file",
    "client-cert-auth",
    "client-crl-file",
    "client-cert-allowed-hostname",
    "trusted-ca-file",
    "auto-tls",
    "peer-cert-file",
    "peer-key-file",
    "peer-client-cert-file",
    "peer-client-key-file",
    "peer-client-cert-auth",
    "peer-trusted-ca-file",
    "peer-auto-tls",
    "self-signed-cert-validity",
    "peer-crl-file",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "cipher-suites",
    "peer-skip-client-san-verification",
    "tls-min-version",
    "tls-max-version",
    "cors",
    "host-whitelist",
    "logger",
    "log-outputs",
    "log-level",
    "log-format",
    "enable-log-rotation",
    "log-rotation-config-json",
    "auto-compaction-retention",
    "auto-compaction-mode",
    "enable-pprof",
    "metrics",
    "enable-distributed-tracing",
    "distributed-tracing-address",
    "distributed-tracing-service-name",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
    "auth-token",
    "bcrypt-cost",
    "auth-token-ttl",
    "enable-grpc-gateway",
    "corrupt-check-time",
    "compact-hash-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "watch-progress-notify-interval",
    "downgrade-check-time",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "memory-mlock",
    "bootstrap-defrag-threshold-megabytes",
    "max-learners",
    "snapshot-catchup-entries",
    "unsafe-no-fsync",
    "force-new-cluster",
    "feature-gates",
    "config-file",
    "initial-cluster-state",
    "discovery-fallback",
    "version",
};

static char *no_env[] = {NULL};

static enum options_next load_env(struct options *o, char *const *env, const char *const *flags)
{
    char *argv[32] = {(char *)(uintptr_t) "cairnd"};
    int argc = 1;
    for (; flags && *flags; flags++)
        argv[argc++] = (char *)(uintptr_t)*flags;
    *o = (struct options){0};
    return options_load(o, argc, argv, env);
}

#define LOAD(o, ...) load_env(o, no_env, (const char *const[]){__VA_ARGS__, NULL})

static enum options_next load_file(struct options *o, const char *text)
{
    char path[] = "/tmp/options-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    enum options_next next = LOAD(o, "--config-file", path, "--name", "ignored");
    unlink(path);
    return next;
}

static void expect(struct options *o, enum options_next next, enum options_next wanted, const char *error)
{
    if (!strstr(o->error, error) || next != wanted)
        fail_msg("got %d \"%s\", wanted %d \"%s\"", (int)next, o->error, (int)wanted, error);
    options_done(o);
}

#define REFUSED(error, ...)                                                                                  \
    do {                                                                                                     \
        struct options it;                                                                                   \
        enum options_next got = LOAD(&it, __VA_ARGS__);                                                      \
        expect(&it, got, OPTIONS_REFUSED, error);                                                            \
    } while (0)
#define USAGE(error, ...)                                                                                    \
    do {                                                                                                     \
        struct options it;                                                                                   \
        enum options_next got = LOAD(&it, __VA_ARGS__);                                                      \
        expect(&it, got, OPTIONS_USAGE, error);                                                              \
    } while (0)

/* --- the list of flags ------------------------------------------------------------------------------ */
static void defaults_are_etcds(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(load_env(&o, no_env, NULL), OPTIONS_START);
    assert_string_equal(o.name, "default");
    assert_string_equal(o.dir, "default.etcd");
    assert_int_equal(o.listen_client.count, 1);
    assert_string_equal(o.listen_client.items[0], "http://localhost:2379");
    assert_string_equal(o.advertise_client.items[0], "http://localhost:2379");
    assert_string_equal(o.advertise_peer.items[0], "http://localhost:2380");
    assert_int_equal(o.member_count, 1);
    assert_string_equal(o.members[0].name, "default");
    assert_string_equal(o.members[0].peer_url, "http://localhost:2380");
    assert_int_equal(o.heartbeat_ms, 100);
    assert_int_equal(o.election_ms, 1000);
    assert_int_equal(o.max_request_bytes, 1572864);
    assert_int_equal(o.max_txn_ops, 128);
    assert_int_equal(o.max_streams, 4294967295);
    assert_int_equal(o.keepalive_min_ns, 5000000000);
    assert_int_equal(o.retention, 0);
    assert_true(o.pre_vote);
    assert_true(o.strict_reconfig_check);
    assert_true(o.enable_gateway);
    assert_int_equal(o.set.warnings.size, 0);
    assert_int_equal(options_check_bootstrap(&o), 0);
    options_done(&o);
}

static void every_flag_of_etcd_is_known(void **state)
{
    (void)state;
    assert_int_equal(COUNT_OF(etcd_flags), 111);
    struct options o;
    assert_int_equal(load_env(&o, no_env, NULL), OPTIONS_START);
    for (size_t i = 0; i < COUNT_OF(etcd_flags); i++) {
        bool is_known = false;
        for (size_t k = 0; k < o.set.count; k++)
            is_known |= o.set.options[k].name && strcmp(o.set.options[k].name, etcd_flags[i]) == 0;
        if (!is_known)
            fail_msg("--%s is missing", etcd_flags[i]);
    }
    options_done(&o);
}

static void kubeadm_starts(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(
        LOAD(&o, "--advertise-client-urls=https://10.0.0.1:2379", "--cert-file=/pki/server.crt",
             "--client-cert-auth=true", "--data-dir=/var/lib/etcd",
             "--feature-gates=InitialCorruptCheck=true",
             "--initial-advertise-peer-urls=https://10.0.0.1:2380",
             "--initial-cluster=cp1=https://10.0.0.1:2380", "--key-file=/pki/server.key",
             "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
             "--listen-metrics-urls=http://127.0.0.1:2381", "--listen-peer-urls=https://10.0.0.1:2380",
             "--name=cp1", "--peer-cert-file=/pki/peer.crt", "--peer-client-cert-auth=true",
             "--peer-key-file=/pki/peer.key", "--peer-trusted-ca-file=/pki/ca.crt", "--snapshot-count=10000",
             "--trusted-ca-file=/pki/ca.crt", "--watch-progress-notify-interval=5s"),
        OPTIONS_START);
    assert_int_equal(o.progress_interval_ns, 5000000000);
    assert_int_equal(o.listen_client.count, 2);
    assert_string_equal(o.listen_client.items[0], "https://10.0.0.1:2379"); /* sorted */
    assert_string_equal(o.dir, "/var/lib/etcd");
    assert_non_null(strstr(buf_text(&o.set.warnings), "flag --snapshot-count is accepted"));
    assert_int_equal(options_check_bootstrap(&o), 0);
    options_done(&o);
}

/* As etcd 3.7.1, which has dropped them all. */
static void old_spellings_are_refused(void **state)
{
    (void)state;
    USAGE("flag provided but not defined: -experimental-initial-corrupt-check",
          "--experimental-initial-corrupt-check=true");
    USAGE("flag provided but not defined: -experimental-compaction-batch-limit",
          "--experimental-compaction-batch-limit", "7");
    USAGE("flag provided but not defined: -enable-v2", "--enable-v2");
    struct options o;
    assert_int_equal(LOAD(&o, "--force", "-v"), OPTIONS_START);
    assert_int_equal(o.set.warnings.size, 0);
    options_done(&o);
    char *env[] = {(char *)(uintptr_t) "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=3s", NULL};
    assert_int_equal(load_env(&o, env, NULL), OPTIONS_START);
    assert_int_equal(o.progress_interval_ns, 0);
    assert_non_null(strstr(buf_text(&o.set.warnings), "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL"));
    options_done(&o);
    USAGE("invalid value \"not-yet\" for flag -v2-deprecation: invalid value", "--v2-deprecation=not-yet");
    USAGE("invalid value \"\" for flag -v2-deprecation: invalid value", "--v2-deprecation=");
    assert_int_equal(LOAD(&o, "--v2-deprecation=gone"), OPTIONS_START);
    assert_non_null(strstr(buf_text(&o.set.warnings), "--v2-deprecation is deprecated and scheduled for"));
    options_done(&o);
}

static void lists_drop_duplicates(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(LOAD(&o, "--listen-client-urls",
                          "http://[::1]:2379, http://127.0.0.1:2379,http://[::1]:2379",
                          "--advertise-client-urls", "http://some.name:1,unix:///tmp/s"),
                     OPTIONS_START);
    assert_int_equal(o.listen_client.count, 2);
    assert_int_equal(o.advertise_client.count, 2);
    options_done(&o);
}

static void a_name_alone_makes_its_cluster(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(LOAD(&o, "--name=abc", "--initial-advertise-peer-urls=http://a:1,http://b:2"),
                     OPTIONS_START);
    assert_int_equal(o.member_count, 2);
    assert_string_equal(o.members[1].name, "abc");
    assert_string_equal(o.members[1].peer_url, "http://b:2");
    assert_string_equal(o.dir, "abc.etcd");
    assert_int_equal(options_check_bootstrap(&o), 0);
    options_done(&o);
}

static void retention_has_two_meanings(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(LOAD(&o, "--auto-compaction-retention=2"), OPTIONS_START);
    assert_int_equal(o.retention, 7200000000000);
    options_done(&o);
    assert_int_equal(LOAD(&o, "--auto-compaction-retention=5m"), OPTIONS_START);
    assert_int_equal(o.retention, 300000000000);
    options_done(&o);
    assert_int_equal(LOAD(&o, "--auto-compaction-retention=1000", "--auto-compaction-mode=revision"),
                     OPTIONS_START);
    assert_int_equal(o.retention, 1000);
    options_done(&o);
}

/* --- flags, environment, file --------------------------------------------------------------------------- */
static void environment_is_read(void **state)
{
    (void)state;
    struct options o;
    char *env[] = {(char *)(uintptr_t) "ETCD_NAME=n1",
                   (char *)(uintptr_t) "ETCD_VERSION=3.4",
                   (char *)(uintptr_t) "ETCD_PORT=tcp://x",
                   (char *)(uintptr_t) "ETCD_UNSUPPORTED_ARCH=arm64",
                   (char *)(uintptr_t) "HOME=/",
                   NULL};
    assert_int_equal(load_env(&o, env, NULL), OPTIONS_START);
    assert_string_equal(o.name, "n1");
    assert_false(o.version);
    const char *warnings = buf_text(&o.set.warnings);
    assert_non_null(strstr(warnings, "cannot set special environment variable ETCD_VERSION"));
    assert_non_null(strstr(warnings, "unrecognized environment variable ETCD_PORT"));
    assert_null(strstr(warnings, "ARCH"));
    options_done(&o);
    enum options_next next = load_env(&o, env, (const char *const[]){"--name=n2", NULL});
    expect(&o, next, OPTIONS_REFUSED,
           "conflicting environment variable is shadowed by corresponding command-line flag");
}

static void file_stands_alone(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(load_file(&o, "name: filed\n"
                                   "data-dir: /tmp/x\n"
                                   "quota-backend-bytes: 1000\n"
                                   "listen-client-urls: https://127.0.0.1:1\n"
                                   "advertise-client-urls: https://127.0.0.1:1\n"
                                   "grpc-keepalive-min-time: 7000000000\n"
                                   "log-outputs: [stdout, /tmp/l]\n"
                                   "socket-options:\n  reuse-port: true\n"
                                   "client-transport-security:\n"
                                   "  cert-file: /c\n"
                                   "  key-file: /k\n"
                                   "  client-cert-auth: yes\n"
                                   "  trusted-ca-file: /ca\n"
                                   "peer-transport-security:\n"
                                   "  cert-file: /pc\n"
                                   "  key-file: /pk\n"
                                   "  auto-tls: true\n"
                                   "no-such-thing: 1\n"),
                     OPTIONS_START);
    assert_string_equal(o.name, "filed"); /* not the flag's */
    assert_string_equal(o.cert_file, "/c");
    assert_string_equal(o.trusted_ca_file, "/ca");
    assert_true(o.client_cert_auth);
    assert_false(o.auto_tls);
    assert_true(o.reuse_port);
    assert_int_equal(o.quota_bytes, 1000);
    assert_int_equal(o.keepalive_min_ns, 7000000000);
    assert_string_equal(o.log_outputs, "stdout,/tmp/l");
    const char *warnings = buf_text(&o.set.warnings);
    assert_non_null(strstr(warnings, "no-such-thing is not a known option"));
    assert_string_equal(o.peer_cert_file, "/pc");
    assert_true(o.peer_auto_tls);
    options_done(&o);

    char path[] = "/tmp/options-test-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "name: e\n", 8), 8);
    close(fd);
    char variable[64];
    snprintf(variable, sizeof variable, "ETCD_CONFIG_FILE=%s", path);
    char *env[] = {variable, (char *)(uintptr_t) "ETCD_NAME=other", NULL};
    assert_int_equal(load_env(&o, env, NULL), OPTIONS_START);
    assert_string_equal(o.name, "e");
    options_done(&o);
    unlink(path);
}

/* Every key of etcd.conf.yml.sample of 3.7.1, with its values. */
static void etcds_sample_file_starts(void **state)
{
    (void)state;
    struct options o;
    const char *text =
        "name: 'default'\ndata-dir:\nwal-dir:\nsnapshot-count: 10000\nheartbeat-interval: 100\n"
        "election-timeout: 1000\nquota-backend-bytes: 0\nlisten-peer-urls: http://localhost:2380\n"
        "listen-client-urls: http://localhost:2379\nmax-snapshots: 5\nmax-wals: 5\ncors:\n"
        "initial-advertise-peer-urls: http://localhost:2380\n"
        "advertise-client-urls: http://localhost:2379\ndiscovery:\ndiscovery-fallback: 'proxy'\n"
        "discovery-proxy:\ndiscovery-srv:\ninitial-cluster:\ninitial-cluster-token: 'etcd-cluster'\n"
        "initial-cluster-state: 'new'\nstrict-reconfig-check: false\nenable-pprof: true\nproxy: 'off'\n"
        "proxy-failure-wait: 5000\nproxy-refresh-interval: 30000\nproxy-dial-timeout: 1000\n"
        "proxy-write-timeout: 5000\nproxy-read-timeout: 0\n"
        "client-transport-security:\n  cert-file:\n  key-file:\n  client-cert-auth: false\n"
        "  trusted-ca-file:\n  auto-tls: false\n"
        "peer-transport-security:\n  cert-file:\n  key-file:\n  client-cert-auth: false\n"
        "  trusted-ca-file:\n  auto-tls: false\n  allowed-cn:\n  allowed-hostname:\n"
        "self-signed-cert-validity: 1\nlog-level: debug\nlogger: zap\nlog-outputs: [stderr]\n"
        "force-new-cluster: false\nauto-compaction-mode: periodic\nauto-compaction-retention: \"1\"\n"
        "cipher-suites: [\n  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,\n"
        "  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n]\ntls-min-version: 'TLS1.2'\n"
        "tls-max-version: 'TLS1.3'\n";
    enum options_next next = load_file(&o, text);
    if (next != OPTIONS_START)
        fail_msg("%s", o.error);
    assert_string_equal(o.dir, "default.etcd");
    assert_int_equal(o.retention, 3600000000000);
    assert_false(o.strict_reconfig_check);
    assert_string_equal(o.cipher_suites,
                        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
    assert_int_equal(options_check_bootstrap(&o), 0);
    options_done(&o);
}

/* They are checked, and a warning says that they change nothing. */
static void flags_without_effect_are_warned_about(void **state)
{
    (void)state;
    static const char *const accepted[] = {
        "--max-wals=3",
        "--backend-bbolt-freelist-type=array",
        "--raft-read-timeout=3s",
        "--raft-write-timeout=3s",
        "--client-cert-file=/c",
        "--client-key-file=/k",
        "--enable-pprof=true",
        "--enable-distributed-tracing=true",
        "--distributed-tracing-address=localhost:1",
        "--distributed-tracing-service-name=s",
        "--distributed-tracing-instance-id=i",
        "--distributed-tracing-sampling-rate=1",
        "--downgrade-check-time=1s",
        "--snapshot-count=5",
    };
    for (size_t i = 0; i < COUNT_OF(accepted); i++) {
        struct options o;
        char warning[128];
        assert_int_equal(LOAD(&o, accepted[i]), OPTIONS_START);
        snprintf(warning, sizeof warning, "flag %.*s is accepted", (int)strcspn(accepted[i], "="),
                 accepted[i]);
        if (!strstr(buf_text(&o.set.warnings), warning))
            fail_msg("no warning: %s", accepted[i]);
        options_done(&o);
    }
    USAGE("flag provided but not defined: -discovery", "--discovery=http://x");
    USAGE("flag provided but not defined: -discovery-proxy", "--discovery-proxy=http://x");
}

static void bad_files_are_one_sentence(void **state)
{
    (void)state;
    struct options o;
    enum options_next next = load_file(&o, "name: [a\n");
    expect(&o, next, OPTIONS_REFUSED, "line");
    next = load_file(&o, "election-timeout: soon\n");
    expect(&o, next, OPTIONS_REFUSED, "election-timeout is \"soon\", but must be a whole number");
    next = load_file(&o, "feature-gates: Nope=true\n");
    expect(&o, next, OPTIONS_REFUSED, "unrecognized feature gate: Nope");
    next = load_file(&o, "listen-client-urls: http://127.0.0.1:1\n");
    expect(&o, next, OPTIONS_REFUSED,
           "--advertise-client-urls is required when --listen-client-urls is set explicitly");
    REFUSED("cannot read the configuration file /nowhere: No such file or directory",
            "--config-file=/nowhere");
    REFUSED("cannot read the configuration file /tmp: Is a directory", "--config-file=/tmp");
}

static void version_and_help(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(LOAD(&o, "--version"), OPTIONS_PRINT);
    assert_memory_equal(buf_text(&o.output), "cairnd Version: 0.1.0\netcd Version: 3.7.1\nGit SHA: ", 49);
    options_done(&o);
    struct buf out = {0};
    options_version("/usr/bin/etcd", &out);
    assert_memory_equal(buf_text(&out), "etcd Version: 3.7.1\nGit SHA: ", 29);
    unsigned lines = 0;
    for (size_t i = 0; i < out.size; i++)
        lines += out.data[i] == '\n';
    assert_int_equal(lines, 4);
    buf_done(&out);
    assert_int_equal(LOAD(&o, "--name", "x", "-h"), OPTIONS_PRINT);
    const char *text = buf_text(&o.output);
    assert_non_null(strstr(text, "\nMember:\n  --name 'default'\n"));
    assert_non_null(strstr(text, "\nUnsafe feature:\n"));
    assert_null(strstr(text, "--vv"));
    options_done(&o);
}

/* --- refusals ------------------------------------------------------------------------------------------- */
static void bad_flags(void **state)
{
    (void)state;
    USAGE("flag provided but not defined: -bogus", "--bogus");
    USAGE("flag needs an argument: -name", "--name");
    USAGE("--max-txn-ops is \"abc\", but must be a whole number", "--max-txn-ops=abc");
    USAGE("--max-txn-ops is 0, but must be between 1 and 50000", "--max-txn-ops=0");
    USAGE("--pre-vote is \"perhaps\"", "--pre-vote=perhaps");
    USAGE("--backend-batch-interval is \"5\", but must be a duration", "--backend-batch-interval=5");
    REFUSED("\"positional\" is not a valid flag", "positional");
    REFUSED("\"gateway\" of etcd is not part of cairnd", "gateway", "start");
    REFUSED("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
            "--feature-gates=LeaseCheckpointPersist=true");
    USAGE("--encryption-key-file: cannot read /nowhere: No such file or directory",
          "--encryption-key-file=/nowhere");
    USAGE("--encryption-key-command: line 1: an id has 1 to 64 letters",
          "--encryption-key-command=echo 'a! AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='");
    USAGE("--encryption-key-command: the command has failed", "--encryption-key-command=exit 1");
    USAGE("--encryption-key-command: the command prints too much",
          "--encryption-key-command=head -c 70000 /dev/zero");
    USAGE("cannot be given together", "--encryption-key-command=true", "--encryption-key-file=/nowhere");
    USAGE("unrecognized feature gate: Nope", "--feature-gates=LeaseCheckpoint=true,Nope=true");
    USAGE("missing bool value for X", "--feature-gates=X");
    USAGE("invalid value of AllBeta", "--feature-gates=AllBeta=7");
    USAGE("invalid value \"zz\" for flag -initial-cluster-state: invalid value",
          "--initial-cluster-state=zz");
    USAGE("invalid value \"zz\" for flag -discovery-fallback", "--discovery-fallback=zz");
    USAGE("invalid value \"\" for flag -cors: URL scheme must be http, https, unix, or unixs: ", "--cors=");
    REFUSED("--compact-hash-check-time must be >0 (set to 0s)", "--compact-hash-check-time=0s");
    REFUSED("--compact-hash-check-time must be >0 (set to -1s)", "--compact-hash-check-time=-1s");
    struct options o;
    char *env[] = {(char *)(uintptr_t) "ETCD_CORS=", NULL};
    assert_int_equal(load_env(&o, env, NULL), OPTIONS_START); /* etcd does not look at an empty variable */
    options_done(&o);
}

static void bad_urls(void **state)
{
    (void)state;
    USAGE("URL scheme must be http, https, unix, or unixs: 127.0.0.1:1", "--listen-client-urls=127.0.0.1:1");
    USAGE("URL address does not have the form \"host:port\": http://127.0.0.1",
          "--listen-client-urls=http://127.0.0.1");
    USAGE("URL must not contain a path: http://127.0.0.1:1/x",
          "--advertise-client-urls=http://127.0.0.1:1/x");
    REFUSED("expected IP in URL for binding (http://foo.bar:1)", "--listen-client-urls=http://foo.bar:1",
            "--advertise-client-urls=http://a:1");
    REFUSED("expected IP in URL for binding (http://foo.bar:1)", "--listen-peer-urls=http://foo.bar:1");
    REFUSED("expected IP in URL for binding (http://foo.bar:1)", "--listen-metrics-urls=http://foo.bar:1");
    REFUSED("--advertise-client-urls is required when --listen-client-urls is set explicitly",
            "--listen-client-urls=http://127.0.0.1:1");
    REFUSED("TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with "
            "HTTPS scheme",
            "--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1");
    REFUSED("--listen-client-urls must not be empty", "--listen-client-urls=");
    /* Clients may have both schemes on one address; members may not, as with etcd ("address already in use"). */
    REFUSED(
        "--listen-peer-urls has http://127.0.0.1:1 and https://127.0.0.1:1: an address for members has one "
        "scheme",
        "--listen-peer-urls=http://127.0.0.1:1,https://127.0.0.1:1", "--peer-auto-tls");
}

static void bad_clusters(void **state)
{
    (void)state;
    REFUSED("--election-timeout[300ms] should be at least as 5 times as --heartbeat-interval[100ms]",
            "--election-timeout=300");
    REFUSED("--election-timeout[50001ms] is too long, and should be set less than 50000ms",
            "--election-timeout=50001");
    REFUSED("--heartbeat-interval must be >0", "--heartbeat-interval=0");
    REFUSED("--election-timeout must be >0", "--election-timeout=0");
    REFUSED("--discovery-fallback can't be configured as \"proxy\"", "--discovery-fallback=proxy");
    REFUSED("both --discovery-token and --discovery-endpoints must be set", "--discovery-token=t");
    const char *several = "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", "
                          "\"discovery-endpoints\" or \"discovery-srv\"";
    REFUSED(several, "--discovery-srv=example.com", "--initial-cluster=default=http://localhost:2380");
    REFUSED(several, "--discovery-endpoints=a:1", "--initial-cluster=default=http://localhost:2380");
    REFUSED(several, "--discovery-endpoints=a:1", "--discovery-token=t", "--discovery-srv=example.com");
    REFUSED("both --discovery-token and --discovery-endpoints must be set", "--discovery-endpoints=");
    REFUSED("--discovery-endpoints must not contain empty endpoints",
            "--discovery-endpoints=", "--discovery-token=t");
    REFUSED("--discovery-endpoints must not contain empty endpoints", "--discovery-endpoints=a:1,,b:1",
            "--discovery-token=t");
    REFUSED("--discovery-endpoints must not contain empty endpoints", "--discovery-endpoints=a:1,",
            "--discovery-token=t");
    REFUSED("expected name=URL", "--initial-cluster=http://a:1");
    REFUSED("URL scheme must be", "--initial-cluster=a=ftp://a:1");
    REFUSED("unknown auto-compaction-mode \"x\"", "--auto-compaction-mode=x");
    REFUSED("undefined auto-compaction-mode", "--auto-compaction-mode=");
    REFUSED("error parsing CompactionRetention: time: missing unit in duration \"-1\"",
            "--auto-compaction-retention=-1");
    REFUSED("error parsing CompactionRetention: time: invalid duration \"xx\"",
            "--auto-compaction-retention=xx");
    REFUSED("--name must not be empty", "--name=");
}

/* What discovery has found takes the place of --initial-cluster. */
static void a_found_cluster_replaces_the_one_of_the_flags(void **state)
{
    (void)state;
    struct options o;
    char error[400];
    assert_int_equal(LOAD(&o, "--name=a", "--discovery-srv=example.com",
                          "--initial-advertise-peer-urls=http://127.0.0.1:1"),
                     OPTIONS_START);
    assert_int_equal(
        options_replace_cluster(&o, "0=http://m0:1,1=http://m1:1", "1", "http://m1:1", error, sizeof error),
        OK);
    assert_int_equal(options_check_bootstrap(&o), 0);
    assert_int_equal(o.member_count, 2);
    assert_string_equal(o.members[1].peer_url, "http://m1:1");
    assert_string_equal(o.initial_name, "1");
    assert_string_equal(o.name, "a");
    assert_int_equal(o.advertise_peer.count, 1);
    assert_string_equal(o.advertise_peer.items[0], "http://m1:1");
    assert_int_equal(options_replace_cluster(&o, "a=http://m0", "a", NULL, error, sizeof error), ERR_INVALID);
    assert_non_null(strstr(error, "does not have the form"));
    options_done(&o);
    assert_int_equal(LOAD(&o, "--discovery-srv-name=x"), OPTIONS_START);
    assert_int_not_equal(options_check_bootstrap(&o), 0);
    assert_non_null(strstr(o.error, "couldn't find local name \"default\" in the initial cluster"));
    options_done(&o);
}

static void bad_bootstraps(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(LOAD(&o, "--name=a", "--initial-cluster=b=http://localhost:2380"), OPTIONS_START);
    assert_int_equal(options_check_bootstrap(&o), ERR_INVALID);
    assert_string_equal(o.error, "couldn't find local name \"a\" in the initial cluster configuration");
    options_done(&o);
    assert_int_equal(LOAD(&o, "--name=a", "--initial-cluster=a=http://localhost:1"), OPTIONS_START);
    assert_int_equal(options_check_bootstrap(&o), ERR_INVALID);
    assert_string_equal(o.error, "--initial-cluster has a=http://localhost:1 but missing from "
                                 "--initial-advertise-peer-urls=http://localhost:2380");
    options_done(&o);
    assert_int_equal(LOAD(&o, "--name=a", "--initial-cluster=a=http://x:1",
                          "--initial-advertise-peer-urls=http://x:1,http://y:1"),
                     OPTIONS_START);
    assert_int_equal(options_check_bootstrap(&o), ERR_INVALID);
    assert_string_equal(
        o.error,
        "--initial-advertise-peer-urls has http://y:1 but missing from --initial-cluster=a=http://x:1");
    options_done(&o);
}

static void automatic_states(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(LOAD(&o, "--initial-cluster-state=auto"), OPTIONS_START);
    assert_int_equal(options_check_bootstrap(&o), 0);
    assert_true(o.is_auto && !o.is_existing);
    options_done(&o);
    assert_int_equal(LOAD(&o, "--name=d", "--initial-cluster=a=http://x:1,b=http://y:1",
                          "--initial-cluster-state=auto", "--initial-advertise-peer-urls=http://z:1"),
                     OPTIONS_START);
    assert_int_equal(options_check_bootstrap(&o), 0);
    assert_true(o.is_existing && !o.is_auto); /* it came later */
    assert_int_equal(o.member_count, 3);
    assert_string_equal(o.members[2].name, "d");
    assert_string_equal(o.members[2].peer_url, "http://z:1");
    options_done(&o);
    assert_int_equal(LOAD(&o, "--name=d", "--initial-cluster=a=http://x:1,b=http://y:1",
                          "--initial-cluster-state=auto", "--initial-advertise-peer-urls=http://y:1"),
                     OPTIONS_START);
    assert_int_equal(options_check_bootstrap(&o), ERR_INVALID); /* a second process on b's port */
    assert_non_null(strstr(o.error, "has duplicate url"));
    options_done(&o);
    assert_int_equal(LOAD(&o, "--initial-cluster-state=existing"), OPTIONS_START);
    assert_int_equal(options_check_bootstrap(&o), 0);
    assert_true(o.is_existing && !o.is_auto);
    options_done(&o);
}

static void bad_security_and_logs(void **state)
{
    (void)state;
    REFUSED("unexpected TLS version \"TLS1.1\"", "--tls-min-version=TLS1.1");
    REFUSED("min version (TLS1.3) is greater than max version (TLS1.2)", "--tls-min-version=TLS1.3",
            "--tls-max-version=TLS1.2");
    REFUSED("cipher suites cannot be configured when only TLS1.3", "--tls-min-version=TLS1.3",
            "--cipher-suites=X");
    REFUSED("--cert-file and --key-file must be given together", "--cert-file=/c");
    REFUSED("--client-cert-auth needs --trusted-ca-file", "--client-cert-auth");
    REFUSED("--client-cert-allowed-hostname needs --trusted-ca-file", "--client-cert-allowed-hostname=h");
    REFUSED("unknown logger option \"capnslog\"", "--logger=capnslog");
    REFUSED("unrecognized level: \"zz\"", "--log-level=zz");
    REFUSED("unknown log format: xml", "--log-format=xml");
    REFUSED("--metrics is \"all\"", "--metrics=all");
    REFUSED("requires a single file path", "--enable-log-rotation");
    REFUSED("improperly formatted JSON", "--enable-log-rotation", "--log-outputs=/tmp/l",
            "--log-rotation-config-json={");
    struct options o;
    assert_int_equal(LOAD(&o, "--enable-log-rotation", "--log-outputs=/tmp/l"), OPTIONS_START);
    assert_int_equal(o.log_rotate_mb, 100);
    options_done(&o);
}

static void bad_peer_security(void **state)
{
    (void)state;
    REFUSED("--peer-cert-file and --peer-key-file must be given together", "--peer-cert-file=a");
    REFUSED("--peer-client-cert-file and --peer-client-key-file", "--peer-client-key-file=a");
    REFUSED("AllowedCN and AllowedHostname are mutually exclusive", "--peer-cert-allowed-cn=a",
            "--peer-cert-allowed-hostname=b");
    REFUSED("--peer-client-cert-auth needs --peer-trusted-ca-file", "--peer-client-cert-auth");
    REFUSED("cannot listen on TLS for https://127.0.0.1:1: KeyFile and CertFile are not presented",
            "--listen-peer-urls=https://127.0.0.1:1");
}

static void bad_dns(void **state)
{
    (void)state;
    REFUSED("cannot listen for DNS on 8600: expected IP:port or localhost:port", "--listen-dns=8600");
    REFUSED("not a DNS zone of 1 to 128 bytes: \".\"", "--dns-zone=.");
    REFUSED("--dns-ttl must be whole seconds", "--dns-ttl=1500ms");
    USAGE("flag --dns-rate-limit is 1000001, but must be between 0 and 1000000", "--dns-rate-limit=1000001");
    struct options o;
    assert_int_equal(LOAD(&o, "--listen-dns=127.0.0.1:53,[::1]:53", "--dns-ttl=0"), OPTIONS_START);
    assert_int_equal(o.dns_rate_limit, 1000);
    options_done(&o);
    assert_int_equal(LOAD(&o, "--dns-rate-limit=0"), OPTIONS_START);
    assert_int_equal(o.dns_rate_limit, 0);
    options_done(&o);
}

static void states_are_compared(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(LOAD(&o, "--name=a"), OPTIONS_START);
    assert_int_equal(o.compare_states_ms, 60000);
    options_done(&o);
    assert_int_equal(LOAD(&o, "--corrupt-check-time=5s", "--feature-gates=CompactHashCheck=false"),
                     OPTIONS_START);
    assert_int_equal(o.compare_states_ms, 5000);
    options_done(&o);
    assert_int_equal(LOAD(&o, "--feature-gates=CompactHashCheck=false"), OPTIONS_START);
    assert_int_equal(o.compare_states_ms, 0);
    options_done(&o);
    assert_int_equal(LOAD(&o, "--compact-hash-check-time=2s"), OPTIONS_START);
    assert_int_equal(o.compare_states_ms, 2000);
    options_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_etcds),
        cmocka_unit_test(every_flag_of_etcd_is_known),
        cmocka_unit_test(kubeadm_starts),
        cmocka_unit_test(old_spellings_are_refused),
        cmocka_unit_test(lists_drop_duplicates),
        cmocka_unit_test(a_name_alone_makes_its_cluster),
        cmocka_unit_test(retention_has_two_meanings),
        cmocka_unit_test(environment_is_read),
        cmocka_unit_test(file_stands_alone),
        cmocka_unit_test(etcds_sample_file_starts),
        cmocka_unit_test(flags_without_effect_are_warned_about),
        cmocka_unit_test(bad_files_are_one_sentence),
        cmocka_unit_test(version_and_help),
        cmocka_unit_test(bad_flags),
        cmocka_unit_test(bad_urls),
        cmocka_unit_test(bad_clusters),
        cmocka_unit_test(a_found_cluster_replaces_the_one_of_the_flags),
        cmocka_unit_test(bad_bootstraps),
        cmocka_unit_test(automatic_states),
        cmocka_unit_test(bad_security_and_logs),
        cmocka_unit_test(bad_peer_security),
        cmocka_unit_test(bad_dns),
        cmocka_unit_test(states_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
