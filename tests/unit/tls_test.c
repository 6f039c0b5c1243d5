/* SPDX-License-Identifier: Apache-2.0
 * Tests of base/net/tls.c: handshakes in memory between two contexts, with certificates that OpenSSL makes
 * here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/net/tls.h"

/* --- certificates -------------------------------------------------------------------------------------- */
struct issued {
    X509 *cert;
    EVP_PKEY *key;
    char cert_file[128], key_file[128];
};
static char dir[64];
static struct issued ca, other_ca, server, alice, bob, foreign, expired;
static struct issued rsa, small, two_names, no_name, of_server, no_san;
/* The properties of a certificate beyond its name. */
struct unusual {
    unsigned rsa_bits; /* 0 = P-256 */
    const char *second_name, *usage;
    bool has_no_name;
};
static char ca_crl[128], bob_crl[128];

static void path(char *ret, const char *name, const char *suffix)
{
    snprintf(ret, 128, "%s/%s.%s", dir, name, suffix);
}
static void add_name(X509 *cert, const char *name)
{
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1,
                               0);
}
static void issue_unusual(struct issued *i, const char *name, const struct issued *by, long days, int serial,
                          const char *san, struct unusual u)
{
    i->key = u.rsa_bits ? EVP_RSA_gen(u.rsa_bits) : EVP_EC_gen("P-256");
    i->cert = X509_new();
    X509_set_version(i->cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(i->cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(i->cert), -86400 * 10);
    X509_gmtime_adj(X509_getm_notAfter(i->cert), days * 86400);
    if (!u.has_no_name)
        add_name(i->cert, name);
    if (u.second_name)
        add_name(i->cert, u.second_name);
    X509_set_issuer_name(i->cert, X509_get_subject_name(by ? by->cert : i->cert));
    X509_set_pubkey(i->cert, i->key);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, by ? by->cert : i->cert, i->cert, NULL, NULL, 0);
    X509_EXTENSION *e =
        X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, by ? "CA:FALSE" : "critical,CA:TRUE");
    X509_add_ext(i->cert, e, -1);
    X509_EXTENSION_free(e);
    if (san) {
        e = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san);
        X509_add_ext(i->cert, e, -1);
        X509_EXTENSION_free(e);
    }
    if (u.usage) {
        e = X509V3_EXT_conf_nid(NULL, &ctx, NID_ext_key_usage, u.usage);
        X509_add_ext(i->cert, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(i->cert, by ? by->key : i->key, EVP_sha256()) > 0);
    path(i->cert_file, name, "pem");
    path(i->key_file, name, "key");
    FILE *f = fopen(i->cert_file, "w");
    PEM_write_X509(f, i->cert);
    fclose(f);
    f = fopen(i->key_file, "w");
    PEM_write_PrivateKey(f, i->key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
}
static void issue(struct issued *i, const char *name, const struct issued *by, long days, int serial,
                  const char *san)
{
    issue_unusual(i, name, by, days, serial, san, (struct unusual){0});
}
static void make_crl(char *file, const char *name, const struct issued *who)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca.cert));
    X509_CRL_set1_lastUpdate(crl, now);
    X509_CRL_set1_nextUpdate(crl, now);
    if (who) {
        X509_REVOKED *r = X509_REVOKED_new();
        ASN1_INTEGER *serial = ASN1_INTEGER_dup(X509_get0_serialNumber(who->cert));
        X509_REVOKED_set_serialNumber(r, serial);
        X509_REVOKED_set_revocationDate(r, now);
        X509_CRL_add0_revoked(crl, r);
        ASN1_INTEGER_free(serial);
    }
    X509_CRL_sign(crl, ca.key, EVP_sha256());
    path(file, name, "crl");
    FILE *f = fopen(file, "w");
    PEM_write_X509_CRL(f, crl);
    fclose(f);
    X509_CRL_free(crl);
    ASN1_TIME_free(now);
}
static int make_all(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tls_test.XXXXXX");
    assert_non_null(mkdtemp(dir));
    issue(&ca, "ca", NULL, 30, 1, NULL);
    issue(&other_ca, "other_ca", NULL, 30, 1, NULL);
    issue(&server, "server", &ca, 30, 2, "DNS:cairn.test,IP:127.0.0.1");
    issue(&alice, "alice", &ca, 30, 3, "DNS:alice.test");
    issue(&bob, "bob", &ca, 30, 4, "DNS:bob.test");
    issue(&foreign, "foreign", &other_ca, 30, 5, "DNS:alice.test");
    issue(&expired, "expired", &ca, -1, 6, NULL);
    issue_unusual(&rsa, "rsa", &ca, 30, 7, "DNS:cairn.test", (struct unusual){.rsa_bits = 2048});
    issue_unusual(&small, "small", &ca, 30, 8, "DNS:cairn.test", (struct unusual){.rsa_bits = 1024});
    issue_unusual(&two_names, "two_names", &ca, 30, 9, NULL, (struct unusual){.second_name = "root"});
    issue_unusual(&no_name, "no_name", &ca, 30, 10, NULL, (struct unusual){.has_no_name = true});
    issue_unusual(&of_server, "of_server", &ca, 30, 11, NULL, (struct unusual){.usage = "serverAuth"});
    issue(&no_san, "bob.test", &ca, 30, 12, NULL);
    make_crl(ca_crl, "empty", NULL);
    make_crl(bob_crl, "bob", &bob);
    return 0;
}
static int remove_all(void **state)
{
    (void)state;
    struct issued *all[] = {&ca,  &other_ca, &server, &alice,     &bob,     &foreign,  &expired,
                            &rsa, &small,    &no_san, &two_names, &no_name, &of_server};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        X509_free(all[i]->cert);
        EVP_PKEY_free(all[i]->key);
    }
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

/* --- a pair --------------------------------------------------------------------------------------------- */
static struct tls_options serving(void)
{
    return (struct tls_options){.cert_file = server.cert_file, .key_file = server.key_file, .alpn = "h2"};
}
static struct tls_options dialing(const struct issued *who)
{
    return (struct tls_options){.cert_file = who ? who->cert_file : NULL,
                                .key_file = who ? who->key_file : NULL,
                                .ca_file = ca.cert_file,
                                .alpn = "h2"};
}
static struct tls_context *context(struct tls_options o)
{
    char error[256] = "";
    struct tls_context *c = NULL;
    if (tls_context_new(&o, error, sizeof error, &c) != 0)
        fail_msg("%s", error);
    return c;
}
/* Moves the output of `from` to `to` in pieces of `step` bytes; decrypted data of `to` are appended to out.
 */
static int move(struct tls *from, struct tls *to, size_t step, struct buf *out)
{
    struct buf wire = {0};
    int err = 0;
    tls_take_output(from, &wire);
    for (size_t at = 0; at < wire.size && !err; at += step)
        err = tls_receive(to, slice_of(wire.data + at, wire.size - at < step ? wire.size - at : step), out);
    buf_done(&wire);
    return err;
}
struct pair {
    struct tls *client, *server;
    int client_err, server_err;
};
static struct pair shake(struct tls_context *cc, struct tls_context *sc, const char *host, size_t step)
{
    struct pair p = {tls_connect(cc, host), tls_accept(sc), 0, 0};
    struct buf none = {0};
    for (int i = 0; i < 10 && !p.client_err && !p.server_err; i++) {
        p.server_err = move(p.client, p.server, step, &none);
        p.client_err = move(p.server, p.client, step, &none);
    }
    assert_int_equal(0, none.size);
    buf_done(&none);
    return p;
}
static void pair_free(struct pair *p)
{
    tls_free(p->client);
    tls_free(p->server);
}
/* The server's side of a handshake between fresh contexts: true if it accepts the client. */
static bool accepts(struct tls_options so, struct tls_options co, const char *ret_error_part)
{
    struct tls_context *sc = context(so), *cc = context(co);
    struct pair p = shake(cc, sc, "cairn.test", SIZE_MAX / 2);
    bool ok = tls_is_ready(p.server) && !p.server_err;
    if (!ok && ret_error_part && !strstr(tls_error(p.server), ret_error_part))
        fail_msg("error is \"%s\"", tls_error(p.server));
    pair_free(&p);
    tls_context_free(sc);
    tls_context_free(cc);
    return ok;
}

/* --- tests ---------------------------------------------------------------------------------------------- */
static void test_talk(void **state)
{
    (void)state;
    struct tls_context *sc = context(serving()), *cc = context(dialing(NULL));
    static const size_t steps[] = {1, 7, 100000};
    for (size_t i = 0; i < 3; i++) {
        struct pair p = shake(cc, sc, i ? "cairn.test" : "127.0.0.1", steps[i]);
        assert_true(tls_is_ready(p.client) && tls_is_ready(p.server));
        assert_string_equal("server", tls_peer_name(p.client));
        assert_string_equal("", tls_peer_name(p.server));
        struct buf got = {0};
        uint8_t *big = mem_new(100000);
        memset(big, 7, 100000);
        assert_int_equal(0, tls_send(p.client, slice_of(big, 100000)));
        assert_int_equal(0, move(p.client, p.server, steps[i] * 100, &got));
        assert_true(slice_equal(slice_of(big, 100000), buf_slice(&got)));
        buf_clear(&got);
        assert_int_equal(0, tls_send(p.server, slice_text("hello")));
        assert_int_equal(0, move(p.server, p.client, steps[i], &got));
        assert_true(slice_equal(slice_text("hello"), buf_slice(&got)));
        buf_done(&got);
        mem_free(big);
        pair_free(&p);
    }
    tls_context_free(sc);
    tls_context_free(cc);
}

static void test_names(void **state)
{
    (void)state;
    struct tls_context *sc = context(serving()), *cc = context(dialing(NULL));
    struct pair p = shake(cc, sc, "evil.test", 100000);
    assert_int_equal(ERR_MALFORMED, p.client_err);
    assert_non_null(strstr(tls_error(p.client), "ostname mismatch"));
    assert_false(tls_is_ready(p.client));
    pair_free(&p);
    tls_context_free(cc);
    struct tls_options o = dialing(NULL);
    o.ca_file = other_ca.cert_file;
    cc = context(o);
    p = shake(cc, sc, "cairn.test", 100000);
    assert_int_equal(ERR_MALFORMED, p.client_err);
    pair_free(&p);
    tls_context_free(sc);
    tls_context_free(cc);
}

static void test_client_certificates(void **state)
{
    (void)state;
    struct tls_options o = serving();
    o.ca_file = ca.cert_file;
    o.require_client_cert = true;
    assert_true(accepts(o, dialing(&alice), NULL));
    assert_true(accepts(o, dialing(&bob), NULL));
    assert_false(accepts(o, dialing(NULL), "peer did not return a certificate"));
    assert_false(accepts(o, dialing(&foreign), "failed to verify certificate"));
    assert_false(accepts(o, dialing(&expired), "expired"));
    o.crl_file = ca_crl;
    assert_true(accepts(o, dialing(&bob), NULL));
    o.crl_file = bob_crl;
    assert_true(accepts(o, dialing(&alice), NULL));
    assert_false(accepts(o, dialing(&bob), "revoked"));
    o.crl_file = NULL;
    o.allowed_cn = "carol,alice";
    assert_true(accepts(o, dialing(&alice), NULL));
    assert_false(accepts(o, dialing(&bob), "client certificate authentication failed"));
    o.allowed_cn = "alic,lice,alicee";
    assert_false(accepts(o, dialing(&alice), "client certificate authentication failed"));
    o.allowed_cn = NULL;
    o.allowed_hostname = "x.test,bob.test";
    assert_true(accepts(o, dialing(&bob), NULL));
    assert_false(accepts(o, dialing(&alice), "client certificate authentication failed"));
}

static void test_versions_and_suites(void **state)
{
    (void)state;
    struct tls_options so = serving(), co = dialing(NULL);
    so.min_version = "TLS1.3";
    co.max_version = "TLS1.2";
    assert_false(accepts(so, co, "unsupported protocol"));
    so.min_version = NULL;
    assert_true(accepts(so, co, NULL));
    so.cipher_suites = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256";
    co.cipher_suites = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    assert_false(accepts(so, co, "no shared cipher"));
    co.cipher_suites = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    assert_true(accepts(so, co, NULL));
    co = dialing(NULL);
    co.alpn = "http/1.1";
    assert_false(accepts(so, co, "no application protocol"));
    co.alpn = NULL;
    assert_true(accepts(so, co, NULL));
}

/* As the client's only suite of TLS 1.2: taken by default if it is ECDHE with AEAD, and if the server's list
 * names it. */
static void test_default_suites(void **state)
{
    static const struct {
        const char *go, *openssl;
    } suites[] = {
#define SUITE(go, openssl) {go, openssl},
#include "base/net/tls_suites.def"
#undef SUITE
    };
    (void)state;
    size_t taken = 0;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        const char *name = suites[i].go;
        bool is_modern = strstr(name, "ECDHE") && (strstr(name, "GCM") || strstr(name, "CHACHA20"));
        struct tls_options so = serving(), co = dialing(NULL);
        if (!*suites[i].openssl)
            continue;
        so.cert_file = strstr(name, "ECDSA") ? server.cert_file : rsa.cert_file;
        so.key_file = strstr(name, "ECDSA") ? server.key_file : rsa.key_file;
        co.max_version = "TLS1.2";
        co.cipher_suites = name;
        if (accepts(so, co, "no shared cipher") != is_modern)
            fail_msg("%s", name);
        taken += is_modern;
        so.cipher_suites = name;
        if (!accepts(so, co, NULL))
            fail_msg("%s, which was requested", name);
    }
    assert_int_equal(taken, 8);
}

static void test_suite_lists(void **state)
{
    (void)state;
    struct tls_options so = serving(), co = dialing(NULL);
    so.cipher_suites = "TLS_AES_128_GCM_SHA256"; /* nothing is left for 1.2 */
    assert_true(accepts(so, co, NULL));
    co.max_version = "TLS1.2";
    assert_false(accepts(so, co, "unsupported protocol"));
    static const char *const wrong[] = {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,", ",",
                                        "TLS_AES_128_GCM_SHA256, x", "tls_aes_128_gcm_sha256",
                                        "TLS_RSA_WITH_RC4_128_SHA"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char error[256] = "";
        struct tls_context *c = NULL;
        so.cipher_suites = wrong[i];
        assert_int_equal(ERR_INVALID, tls_context_new(&so, error, sizeof error, &c));
        assert_non_null(strstr(error, "unexpected TLS cipher suite \""));
    }
}

/* The client's name in the server after a handshake; NULL: it is refused. */
static const char *name_of(const struct issued *who)
{
    static char name[256];
    struct tls_options so = serving();
    so.ca_file = ca.cert_file;
    so.require_client_cert = true;
    struct tls_context *sc = context(so), *cc = context(dialing(who));
    struct pair p = shake(cc, sc, "cairn.test", 100000);
    bool ok = tls_is_ready(p.server) && !p.server_err;
    snprintf(name, sizeof name, "%s", tls_peer_name(p.server));
    pair_free(&p);
    tls_context_free(sc);
    tls_context_free(cc);
    return ok ? name : NULL;
}

static void test_client_names(void **state)
{
    (void)state;
    assert_string_equal(name_of(&alice), "alice");
    assert_string_equal(name_of(&two_names), "root"); /* the last one, as Go has it */
    assert_string_equal(name_of(&no_name), "");
    assert_null(name_of(&of_server)); /* its certificate is not for clients */
    struct tls_options o = serving();
    o.ca_file = ca.cert_file;
    o.require_client_cert = true;
    o.allowed_hostname = "bob.test"; /* of the SAN, not of the CN */
    assert_true(accepts(o, dialing(&bob), NULL));
    assert_false(accepts(o, dialing(&no_san), "client certificate authentication failed"));
    o.allowed_hostname = NULL;
    o.allowed_cn = "two_names";
    assert_false(accepts(o, dialing(&two_names), "client certificate authentication failed"));
}

/* A client checks the name of the server in the SAN alone. */
static void test_server_names(void **state)
{
    (void)state;
    struct tls_options so = serving();
    so.cert_file = no_san.cert_file;
    so.key_file = no_san.key_file;
    struct tls_context *sc = context(so), *cc = context(dialing(NULL));
    struct pair p = shake(cc, sc, "bob.test", 100000);
    assert_false(tls_is_ready(p.client));
    pair_free(&p);
    tls_context_free(sc);
    tls_context_free(cc);
}

static void test_small_keys(void **state)
{
    (void)state;
    char error[256] = "";
    struct tls_context *c = NULL;
    struct tls_options o = serving();
    o.cert_file = small.cert_file;
    o.key_file = small.key_file;
    assert_int_equal(ERR_INVALID, tls_context_new(&o, error, sizeof error, &c));
    assert_non_null(strstr(error, "too small"));
}

static void test_bad_options(void **state)
{
    (void)state;
    char error[256];
    struct tls_context *c = NULL;
    struct tls_options o[8];
    for (int i = 0; i < 8; i++)
        o[i] = serving();
    o[0].cert_file = "/nonexistent/cert.pem";
    o[1].key_file = alice.key_file; /* of another certificate */
    o[2].ca_file = "/nonexistent/ca.pem";
    o[3].crl_file = server.cert_file; /* not a CRL */
    o[4].cipher_suites = "TLS_NONSENSE";
    o[5].min_version = "TLS1.1";
    o[6].min_version = "TLS1.3";
    o[6].max_version = "TLS1.2";
    o[7].cert_file = server.key_file;
    for (int i = 0; i < 8; i++) {
        error[0] = 0;
        assert_int_equal(ERR_INVALID, tls_context_new(&o[i], error, sizeof error, &c));
        assert_true(strlen(error) > 10);
    }
}

static void copy_file(const char *from, const char *to)
{
    char command[300];
    snprintf(command, sizeof command, "cp %s %s.new && mv %s.new %s", from, to, to, to);
    assert_int_equal(0, system(command));
}

static void test_reload(void **state)
{
    (void)state;
    char cert[128], key[128];
    path(cert, "live", "pem");
    path(key, "live", "key");
    copy_file(server.cert_file, cert);
    copy_file(server.key_file, key);
    struct tls_options o = serving();
    o.cert_file = cert;
    o.key_file = key;
    struct tls_context *sc = context(o), *cc = context(dialing(NULL));
    struct pair old = shake(cc, sc, NULL, 100000);
    assert_string_equal("server", tls_peer_name(old.client));

    FILE *f = fopen(cert, "w"); /* an invalid file keeps the old one */
    fputs("nonsense", f);
    fclose(f);
    tls_context_refresh(sc, 5000);
    struct pair p = shake(cc, sc, NULL, 100000);
    assert_string_equal("server", tls_peer_name(p.client));
    pair_free(&p);

    copy_file(alice.cert_file, cert);
    copy_file(alice.key_file, key);
    tls_context_refresh(sc, 5500); /* checked a moment ago */
    p = shake(cc, sc, NULL, 100000);
    assert_string_equal("server", tls_peer_name(p.client));
    pair_free(&p);
    tls_context_refresh(sc, 6001);
    p = shake(cc, sc, NULL, 100000);
    assert_string_equal("alice", tls_peer_name(p.client));
    pair_free(&p);

    struct buf got = {0};
    assert_int_equal(0, tls_send(old.server, slice_text("still here")));
    assert_int_equal(0, move(old.server, old.client, 100000, &got));
    assert_int_equal(10, got.size);
    buf_done(&got);
    pair_free(&old);
    tls_context_free(sc);
    tls_context_free(cc);
}

/* The CA and the CRL are loaded anew too; open connections continue. */
static void test_reload_of_trust(void **state)
{
    (void)state;
    char crl[128], trust[128];
    path(crl, "live", "crl");
    path(trust, "trust", "pem");
    copy_file(ca_crl, crl);
    copy_file(ca.cert_file, trust);
    struct tls_options o = serving();
    o.ca_file = trust;
    o.crl_file = crl;
    o.require_client_cert = true;
    struct tls_context *sc = context(o), *bobs = context(dialing(&bob)), *others = context(dialing(&foreign));
    struct pair old = shake(bobs, sc, NULL, 100000);
    assert_true(tls_is_ready(old.server));
    copy_file(bob_crl, crl);
    tls_context_refresh(sc, 1000);
    struct pair p = shake(bobs, sc, NULL, 100000);
    assert_false(tls_is_ready(p.server));
    pair_free(&p);
    FILE *f = fopen(crl, "w"); /* half of a list: the previous one counts */
    fputs("-----BEGIN X509 CRL-----\nMII", f);
    fclose(f);
    tls_context_refresh(sc, 2001);
    p = shake(bobs, sc, NULL, 100000);
    assert_false(tls_is_ready(p.server));
    pair_free(&p);
    copy_file(ca_crl, crl);
    copy_file(other_ca.cert_file, trust);
    tls_context_refresh(sc, 3002);
    p = shake(others, sc, NULL, 100000);
    assert_true(tls_is_ready(p.server));
    pair_free(&p);
    p = shake(bobs, sc, NULL, 100000);
    assert_false(tls_is_ready(p.server));
    pair_free(&p);
    struct buf got = {0};
    assert_int_equal(0, tls_send(old.client, slice_text("still here")));
    assert_int_equal(0, move(old.client, old.server, 100000, &got));
    assert_int_equal(10, got.size);
    buf_done(&got);
    pair_free(&old);
    tls_context_free(sc);
    tls_context_free(bobs);
    tls_context_free(others);
}

static void test_self_signed(void **state)
{
    (void)state;
    char error[256], where[80], cert[128], key[128];
    struct stat st, again;
    const char *hosts[] = {"127.0.0.1", "::1", "my.host"};
    snprintf(where, sizeof where, "%s/auto", dir);
    snprintf(cert, sizeof cert, "%s/cert.pem", where);
    snprintf(key, sizeof key, "%s/key.pem", where);
    assert_int_equal(0, tls_self_signed(where, hosts, 3, 10, error, sizeof error));
    assert_int_equal(0, stat(key, &st));
    assert_int_equal(0600, st.st_mode & 0777);
    assert_int_equal(0, tls_self_signed(where, hosts, 3, 10, error, sizeof error));
    assert_int_equal(0, stat(key, &again));
    assert_int_equal(st.st_ino, again.st_ino); /* kept */
    assert_int_equal(st.st_mtim.tv_nsec, again.st_mtim.tv_nsec);
    for (int i = 0; i < 4; i++) {
        struct tls_options so = {.cert_file = cert, .key_file = key}, co = {.ca_file = cert};
        struct tls_context *sc = context(so), *cc = context(co);
        struct pair p = shake(cc, sc, i < 3 ? hosts[i] : "other.host", 100000);
        assert_int_equal(i < 3, tls_is_ready(p.client));
        pair_free(&p);
        tls_context_free(sc);
        tls_context_free(cc);
    }
    assert_int_not_equal(0, tls_self_signed("/proc/nowhere", hosts, 3, 10, error, sizeof error));
}

static void test_garbage(void **state)
{
    (void)state;
    struct tls_context *sc = context(serving());
    struct tls *t = tls_accept(sc);
    struct buf out = {0}, alert = {0};
    assert_int_equal(ERR_MALFORMED, tls_receive(t, slice_text("GET / HTTP/1.1\r\n\r\n"), &out));
    assert_true(strlen(tls_error(t)) > 5);
    tls_take_output(t, &alert);
    assert_int_equal(ERR_MALFORMED, tls_receive(t, slice_text("more"), &out));
    assert_int_not_equal(0, tls_send(t, slice_text("x")));
    buf_done(&out);
    buf_done(&alert);
    tls_free(t);
    tls_context_free(sc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_talk),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_versions_and_suites),
        cmocka_unit_test(test_default_suites),
        cmocka_unit_test(test_suite_lists),
        cmocka_unit_test(test_client_names),
        cmocka_unit_test(test_server_names),
        cmocka_unit_test(test_small_keys),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_reload_of_trust),
        cmocka_unit_test(test_self_signed),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
