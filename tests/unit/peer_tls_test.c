/* SPDX-License-Identifier: Apache-2.0
 * Tests of peers over TLS: which peers are accepted, which are refused, which side notices it; reload;
 * --peer-auto-tls. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/net/tls.h"
#include "tests/unit/peer_cert.h"
#include "tests/unit/peer_net.h"

#define LOG  PEER_STREAM_LOG
#define BULK PEER_STREAM_BULK

static char dir[64], crl_file[128], auto_dir[2][128];
static struct cert ca, other_ca, good, second, foreign, wrong_name, nameless, revoked;
static struct node a, b;

static int setup(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/peer_tls_test.XXXXXX");
    assert_non_null(mkdtemp(dir));
    cert_issue(&ca, dir, "ca", NULL, 1, NULL);
    cert_issue(&other_ca, dir, "other_ca", NULL, 1, NULL);
    cert_issue(&good, dir, "good", &ca, 2, "IP:127.0.0.1,DNS:localhost");
    cert_issue(&second, dir, "second", &ca, 3, "IP:127.0.0.1,DNS:second.test");
    cert_issue(&foreign, dir, "foreign", &other_ca, 4, "IP:127.0.0.1");
    cert_issue(&wrong_name, dir, "wrong_name", &ca, 5, "DNS:elsewhere.test");
    cert_issue(&nameless, dir, "nameless", &ca, 7, NULL);
    cert_issue(&revoked, dir, "revoked", &ca, 6, "IP:127.0.0.1");
    snprintf(crl_file, sizeof crl_file, "%s/list.crl", dir);
    cert_revoke(&revoked, &ca, crl_file);
    for (int i = 0; i < 2; i++)
        snprintf(auto_dir[i], sizeof auto_dir[i], "%s/auto%d", dir, i);
    return net_setup(state);
}

static int teardown(void **state)
{
    struct cert *all[] = {&ca, &other_ca, &good, &second, &foreign, &wrong_name, &nameless, &revoked};
    char command[128];
    for (size_t i = 0; i < COUNT_OF(all); i++)
        cert_free(all[i]);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) + net_teardown(state);
}

static struct peer_tls_options with(const struct cert *c)
{
    return (struct peer_tls_options){
        .cert_file = c->cert_file, .key_file = c->key_file, .ca_file = ca.cert_file, .crl_file = crl_file};
}

static void open_both(struct peer_tls_options of_a, struct peer_tls_options of_b)
{
    net_open(&a, 1, 0, "127.0.0.1", &of_a);
    net_open(&b, 2, 0, "127.0.0.1", &of_b);
    net_knows(&a, &b);
    net_knows(&b, &a);
}

static void close_both(void)
{
    net_close(&a);
    net_close(&b);
}

static void talk(void)
{
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
    for (uint64_t i = 1; i <= 3000; i++) {
        assert_true(net_send(&a, 2, LOG, i, 300));
        assert_true(net_send(&b, 1, LOG, i, 8 + i % 100));
    }
    assert_true(net_send(&a, 2, BULK, 1, PEER_MESSAGE_MAX)); /* more than one step of encryption */
    net_flush(&a);
    net_flush(&b);
    WAIT_UNTIL(b.messages[LOG] == 3000 && a.messages[LOG] == 3000 && b.messages[BULK] == 1);
    assert_true(a.is_ordered && b.is_ordered);
    net_run(400);
    assert_int_equal(a.unreachable + b.unreachable, 0);
}

static struct {
    unsigned count;
    int err;
    struct buf text;
} told;

static void on_notified(void *arg, int err, struct slice answer)
{
    (void)arg;
    told.count++;
    told.err = err;
    buf_clear(&told.text);
    buf_add_slice(&told.text, answer);
}

static void test_good(void **state)
{
    (void)state;
    open_both(with(&good), with(&second));
    talk();
    a.peers->ops->query(a.peers, b.url, slice_text("in secret"), 3000, on_notified, NULL);
    WAIT_UNTIL(told.count == 1);
    assert_int_equal(told.err, OK);
    assert_true(slice_equal(buf_slice(&told.text), slice_text("in secret")));
    buf_done(&told.text);
    close_both();
}

/* No message reaches b, and no message of b arrives. */
static void expect_apart(struct peer_tls_options of_a)
{
    open_both(of_a, with(&good));
    WAIT_UNTIL(a.unreachable >= 6 && b.unreachable >= 6);
    assert_int_equal(a.messages[LOG] + b.messages[LOG], 0);
    assert_int_equal(a.reachable, 0);
    assert_int_equal(b.reachable, 0);
    close_both();
}

static void test_other_authority(void **state)
{
    (void)state;
    expect_apart((struct peer_tls_options){
        .cert_file = foreign.cert_file, .key_file = foreign.key_file, .ca_file = other_ca.cert_file});
}

static void test_revoked(void **state)
{
    (void)state;
    struct peer_tls_options o = with(&revoked);
    expect_apart(o);
}

/* The name is not the one that b dials, and a is not there: b refuses it, except where names are not checked
 * (--peer-skip-client-san-verification). */
static void test_wrong_name(void **state)
{
    (void)state;
    expect_apart(with(&wrong_name));
    struct peer_tls_options lenient = with(&good);
    lenient.skip_client_san = true;
    open_both(with(&wrong_name), lenient);
    WAIT_UNTIL(a.reachable == 2 && b.unreachable >= 4);
    assert_int_equal(b.reachable, 0);
    close_both();
}

static void know_at(struct node *n, struct node *other, const char *host)
{
    snprintf(other->url, sizeof other->url, "https://%s:%d", host, other->port);
    net_knows(n, other);
}

/* A name in the certificate is one of the member's URLs, as the others know it; the member's own claim does
 * not count then. The certificate is that of --peer-client-cert-file and --peer-client-key-file. */
static void test_name_of_a_url(void **state)
{
    (void)state;
    struct peer_tls_options of_a = with(&good), of_b = with(&good);
    of_a.client_cert_file = wrong_name.cert_file;
    of_a.client_key_file = wrong_name.key_file;
    net_open(&a, 1, 0, "127.0.0.1", &of_a);
    net_open(&b, 2, 0, "127.0.0.1", &of_b);
    net_knows(&a, &b);
    know_at(&b, &a, "another.test");
    WAIT_UNTIL(a.unreachable >= 4);
    assert_int_equal(a.reachable, 0);
    know_at(&b, &a, "elsewhere.test");
    WAIT_UNTIL(a.reachable == 2);
    assert_true(net_send(&a, 2, LOG, 1, 100));
    net_flush(&a);
    WAIT_UNTIL(b.messages[LOG] == 1);
    close_both();
}

/* A certificate without a host name is not compared, as in etcd. */
static void test_no_name(void **state)
{
    (void)state;
    struct peer_tls_options of_a = with(&good);
    of_a.client_cert_file = nameless.cert_file;
    of_a.client_key_file = nameless.key_file;
    open_both(of_a, with(&good));
    talk();
    close_both();
}

/* Dials without a certificate of its own; --peer-cert-allowed-cn and --peer-cert-allowed-hostname. */
static void test_names_allowed(void **state)
{
    (void)state;
    struct peer_tls_options strict = with(&good);
    strict.allowed_cn = "good,second";
    open_both(with(&second), strict);
    talk();
    close_both();
    strict.allowed_cn = "good";
    open_both(with(&second), strict);
    WAIT_UNTIL(a.unreachable >= 4 && b.reachable == 2);
    assert_int_equal(a.reachable, 0);
    close_both();
    strict.allowed_cn = NULL;
    strict.allowed_hostname = "second.test";
    open_both(with(&second), strict);
    WAIT_UNTIL(a.reachable == 2);
    close_both();
}

/* A plain member and one with TLS: neither understands the other, neither hangs. */
static void test_plain_against_tls(void **state)
{
    (void)state;
    struct peer_tls_options o = with(&good);
    net_open(&a, 1, 0, "127.0.0.1", NULL);
    net_open(&b, 2, 0, "127.0.0.1", &o);
    struct node b_plain = b, a_tls = a;
    snprintf(b_plain.url, sizeof b_plain.url, "http://127.0.0.1:%d", b.port);
    b_plain.url_list[0] = b_plain.url;
    snprintf(a_tls.url, sizeof a_tls.url, "https://127.0.0.1:%d", a.port);
    a_tls.url_list[0] = a_tls.url;
    net_knows(&a, &b_plain);
    net_knows(&b, &a_tls);
    WAIT_UNTIL(a.unreachable >= 4 && b.unreachable >= 4);
    assert_int_equal(a.reachable + b.reachable, 0);
    close_both();
}

static void copy_file(const char *from, const char *to)
{
    char command[300];
    snprintf(command, sizeof command, "cp %s %s.new && mv %s.new %s", from, to, to, to);
    assert_int_equal(system(command), 0);
}

/* A certificate that is replaced on disk serves the next connection; open ones stay. */
static void test_reload(void **state)
{
    (void)state;
    char cert_file[128], key_file[128];
    snprintf(cert_file, sizeof cert_file, "%s/live.pem", dir);
    snprintf(key_file, sizeof key_file, "%s/live.key", dir);
    copy_file(foreign.cert_file, cert_file);
    copy_file(foreign.key_file, key_file);
    struct peer_tls_options live = with(&good);
    live.cert_file = cert_file;
    live.key_file = key_file;
    open_both(live, with(&good));
    WAIT_UNTIL(a.unreachable >= 4);
    assert_int_equal(a.reachable + b.reachable, 0);
    copy_file(second.cert_file, cert_file);
    copy_file(second.key_file, key_file);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
    close_both();
}

/* Pairs made here, without a CA: encrypted, not checked. */
static void test_auto(void **state)
{
    (void)state;
    open_both((struct peer_tls_options){.auto_dir = auto_dir[0]},
              (struct peer_tls_options){.auto_dir = auto_dir[1]});
    talk();
    close_both();
}

static enum peer_proof proof_of_query(struct peer_tls_options of_a, struct peer_tls_options of_b)
{
    told.count = 0;
    net_open(&a, 0, 0, "127.0.0.1", &of_a);
    net_open(&b, 2, 0, "127.0.0.1", &of_b);
    a.peers->ops->query(a.peers, b.url, slice_text("query"), RAW_LIMIT_MS, on_notified, NULL);
    WAIT_UNTIL(told.count == 1);
    assert_int_equal(told.err, OK);
    buf_done(&told.text);
    enum peer_proof proof = b.last_proof;
    close_both();
    return proof;
}

/* A certificate of the peer CA proves the identity, for the URLs in it. Encryption alone does not. */
static void test_operations_and_proofs(void **state)
{
    (void)state;
    struct peer_tls_options for_another = with(&good), lenient = with(&good);
    struct peer_tls_options made = {.auto_dir = auto_dir[0]}, made_too = {.auto_dir = auto_dir[1]};
    for_another.client_cert_file = wrong_name.cert_file;
    for_another.client_key_file = wrong_name.key_file;
    lenient.skip_client_san = true;
    assert_int_equal(proof_of_query(with(&good), with(&second)), PEER_PROOF_CERTIFICATE);
    assert_int_equal(proof_of_query(for_another, with(&good)), PEER_PROOF_NONE);
    assert_int_equal(proof_of_query(for_another, lenient), PEER_PROOF_CERTIFICATE);
    assert_int_equal(proof_of_query(made, made_too), PEER_PROOF_NONE);
    net_requires_proof = true;
    struct peer_tls_options of_a = with(&good), of_b = with(&second);
    net_open(&a, 1, 0, "127.0.0.1", &of_a);
    net_requires_proof = true;
    net_open(&b, 2, 0, "127.0.0.1", &of_b);
    net_knows(&a, &b);
    net_knows(&b, &a);
    WAIT_UNTIL(a.reachable == 2 && b.reachable == 2);
    close_both();
    net_requires_proof = true; /* a gets no proof from b, and sends nothing to it */
    net_open(&a, 1, 0, "127.0.0.1", &made);
    net_open(&b, 2, 0, "127.0.0.1", &made_too);
    net_knows(&a, &b);
    net_knows(&b, &a);
    WAIT_UNTIL(a.unreachable >= 4 && b.unreachable >= 4);
    assert_int_equal(a.reachable + b.reachable, 0);
    close_both();
}

/* Without a CA file the system's authorities must know the dialed member: they do not know our CA. */
static void test_system_authorities(void **state)
{
    (void)state;
    struct peer_tls_options o = {.cert_file = good.cert_file, .key_file = good.key_file};
    open_both(o, o);
    WAIT_UNTIL(a.unreachable >= 4 && b.unreachable >= 4);
    assert_int_equal(a.reachable + b.reachable, 0);
    close_both();
}

static void test_bad_files(void **state)
{
    (void)state;
    char error[300] = "";
    struct peers *p;
    const char *url = "https://127.0.0.1:1";
    struct peer_tcp_options o = {
        .io = net_io, .loop = &net_loop, .listen_urls = &url, .listen_url_count = 1, .tls = with(&good)};
    o.tls.key_file = "/nowhere";
    assert_int_not_equal(peer_tcp_new(&o, error, sizeof error, &p), OK);
    assert_non_null(strstr(error, "/nowhere"));
    net_run(5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_other_authority),
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_wrong_name),
        cmocka_unit_test(test_name_of_a_url),
        cmocka_unit_test(test_no_name),
        cmocka_unit_test(test_names_allowed),
        cmocka_unit_test(test_plain_against_tls),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_operations_and_proofs),
        cmocka_unit_test(test_system_authorities),
        cmocka_unit_test(test_bad_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
