/* SPDX-License-Identifier: Apache-2.0
 * TLS 1.2 and 1.3 on OpenSSL with memory BIOs. A tls_context holds one SSL_CTX, made from the current
 * files. After a change of the files it makes another one for new connections; existing connections keep
 * theirs. OpenSSL's verification checks the chain and the CRL of a connection. The names are checked after
 * the handshake.
 *
 * No session is resumed, by tickets or otherwise, because it would outlive the revocation of its
 * certificate. The defaults do not depend on OpenSSL's version or its configuration file. */
#include "base/net/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"

enum { FILES = 4, RECHECK_MS = 1000, READ_STEP = 16 << 10 };
/* Keys of RSA and DH have at least 2048 bits, elliptic curves 224; no SHA-1 in signatures. */
enum { SECURITY_LEVEL = 2 };

/* Without --cipher-suites: forward secrecy and AEAD, in Go's order. */
static const char SUITES_1_2[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char SUITES_1_3[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
/* Go's groups. OpenSSL knows the first one since 3.5. */
static const char *const groups[] = {"X25519MLKEM768:X25519:P-256:P-384:P-521", "X25519:P-256:P-384:P-521"};

/* As in Go, only the SAN names a host, never the CN; a wildcard is a whole label. */
enum { NAME_FLAGS = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS };

struct file_stamp {
    /* ctime: it also changes when a file is renamed over another or made readable */
    struct timespec changed;
    off_t size;
    ino_t inode;
};

struct tls_context {
    char *cert_file, *key_file, *ca_file, *crl_file, *allowed_cn, *allowed_hostname;
    char *cipher_suites, *min_version, *max_version, *alpn;
    bool require_client_cert, use_system_ca;
    SSL_CTX *ssl;
    struct file_stamp stamps[FILES];
    uint64_t checked_ms;
};

struct tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    const struct tls_context *context;
    bool is_server, is_ready;
    char error[256];
    char peer_name[256];
};

static int tls_fail(char *error, size_t size, const char *what, const char *where)
{
    unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (!reason && code && ERR_SYSTEM_ERROR(code))
        reason = strerror(ERR_GET_REASON(code));
    snprintf(error, size, "%s%s%s%s%s", what, where ? " " : "", where ? where : "", reason ? ": " : "",
             reason ? reason : "");
    ERR_clear_error();
    return ERR_INVALID;
}

/* --- cipher suites ------------------------------------------------------------------------------------ */
static const struct {
    const char *go, *openssl;
} suites[] = {
#define SUITE(go, openssl) {go, openssl},
#include "base/net/tls_suites.def"
#undef SUITE
};

/* Makes OpenSSL's list for 1.2 from Go's names. As in Go, the suites of 1.3 are always enabled: their names
 * are accepted without effect. An empty name is an error, as in etcd. */
static int map_suites(const char *names, struct buf *out, char *error, size_t error_size)
{
    for (bool has_more = true; has_more;) {
        size_t n = strcspn(names, ",");
        const char *found = NULL;
        for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
            if (strlen(suites[i].go) == n && memcmp(suites[i].go, names, n) == 0)
                found = suites[i].openssl;
        if (!found) {
            snprintf(error, error_size, "unexpected TLS cipher suite \"%.*s\"", (int)n, names);
            return ERR_INVALID;
        }
        if (*found) {
            if (out->size)
                buf_add_byte(out, ':');
            buf_add_text(out, found);
        }
        has_more = names[n] == ',';
        names += n + has_more;
    }
    return 0;
}

/* Sets the suites. With names of 1.3 alone there are none for 1.2, which is then disabled. */
static int set_suites(SSL_CTX *ssl, const char *names, char *error, size_t error_size)
{
    struct buf list = {0};
    int err = 0;
    bool is_given = names && *names;
    if (is_given)
        err = map_suites(names, &list, error, error_size);
    else
        buf_add_text(&list, SUITES_1_2);
    if (!err && !list.size && SSL_CTX_get_max_proto_version(ssl) == TLS1_2_VERSION) {
        snprintf(error, error_size, "cipher suites %s: none of them is of TLS 1.2, the maximum version",
                 names);
        err = ERR_INVALID;
    } else if (!err && !list.size) {
        SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION);
    } else if (!err && SSL_CTX_set_cipher_list(ssl, buf_text(&list)) != 1) {
        err = tls_fail(error, error_size, "cipher suites", names);
    }
    buf_done(&list);
    if (!err && SSL_CTX_set_ciphersuites(ssl, SUITES_1_3) != 1)
        err = tls_fail(error, error_size, "cipher suites", SUITES_1_3);
    return err;
}

static int set_groups(SSL_CTX *ssl, char *error, size_t error_size)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (SSL_CTX_set1_groups_list(ssl, groups[i]) == 1) {
            ERR_clear_error();
            return 0;
        }
    return tls_fail(error, error_size, "TLS groups", groups[0]);
}

/* 0 for "", -1 for an unknown version. */
static int version_of(const char *name)
{
    if (!name || !*name)
        return 0;
    if (strcmp(name, "TLS1.2") == 0)
        return TLS1_2_VERSION;
    if (strcmp(name, "TLS1.3") == 0)
        return TLS1_3_VERSION;
    return -1;
}

/* --- a context ------------------------------------------------------------------------------------------ */
/* Selects our protocol if the client offers it. A client that offers only others is refused; one without
 * ALPN is accepted. HTTP/1.1 needs no answer, and etcd gives none. */
static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_size, const unsigned char *in,
                   unsigned size, void *arg)
{
    (void)ssl;
    const char *want = arg;
    size_t n = strlen(want);
    for (unsigned i = 0; i < size; i += 1u + in[i])
        if (in[i] == n && i + 1 + n <= size && memcmp(in + i + 1, want, n) == 0) {
            *ret = in + i + 1;
            *ret_size = (unsigned char)n;
            return strcmp(want, "http/1.1") == 0 ? SSL_TLSEXT_ERR_NOACK : SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Reads the CRLs into the store. As in etcd, revocation is checked against the file only: an issuer without
 * a list is not an error. */
static int load_crl(X509_STORE *store, const char *file, char *error, size_t error_size)
{
    BIO *bio = BIO_new_file(file, "r");
    if (!bio)
        return tls_fail(error, error_size, "cannot read CRL", file);
    X509_CRL *crl;
    size_t count = 0;
    while ((crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL))) {
        X509_STORE_add_crl(store, crl);
        X509_CRL_free(crl);
        count++;
    }
    if (!count) { /* one DER list */
        (void)BIO_reset(bio);
        crl = d2i_X509_CRL_bio(bio, NULL);
        if (crl) {
            X509_STORE_add_crl(store, crl);
            X509_CRL_free(crl);
            count++;
        }
    }
    BIO_free(bio);
    if (!count)
        return tls_fail(error, error_size, "no CRL in", file);
    ERR_clear_error();
    return 0;
}

/* Checks every certificate of the chain against its issuer's lists; called after the chain's verification. */
static bool is_revoked(X509_STORE *store, STACK_OF(X509) * chain)
{
    bool found = false;
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
    for (int i = 0; i < sk_X509_OBJECT_num(objects) && !found; i++) {
        X509_CRL *crl = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));
        for (int k = 0; crl && k < sk_X509_num(chain) && !found; k++) {
            X509 *x = sk_X509_value(chain, k);
            X509_REVOKED *entry;
            found = X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_issuer_name(x)) == 0 &&
                    X509_CRL_get0_by_serial(crl, &entry, X509_get0_serialNumber(x)) == 1;
        }
    }
    return found;
}

static int on_verify(int is_ok, X509_STORE_CTX *ctx)
{
    if (is_ok && X509_STORE_CTX_get_error_depth(ctx) == 0 &&
        is_revoked(X509_STORE_CTX_get0_store(ctx), X509_STORE_CTX_get0_chain(ctx))) {
        X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_REVOKED);
        return 0;
    }
    return is_ok;
}

static int load_verify(struct tls_context *c, SSL_CTX *ssl, char *error, size_t error_size)
{
    int err = 0;
    if (c->use_system_ca && SSL_CTX_set_default_verify_paths(ssl) != 1)
        return tls_fail(error, error_size, "cannot load the system's CAs", NULL);
    if (c->ca_file) {
        if (SSL_CTX_load_verify_file(ssl, c->ca_file) != 1)
            return tls_fail(error, error_size, "cannot load CA", c->ca_file);
        SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(c->ca_file));
    }
    if (c->crl_file)
        err = load_crl(SSL_CTX_get_cert_store(ssl), c->crl_file, error, error_size);
    if (c->require_client_cert)
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    else if (c->ca_file || c->use_system_ca)
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, on_verify);
    return err;
}

static int tls_load(struct tls_context *c, char *error, size_t error_size, SSL_CTX **ret)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(TLS_method());
    int err = ssl ? 0 : tls_fail(error, error_size, "TLS", NULL);
    int min = version_of(c->min_version), max = version_of(c->max_version);
    if (!err && (min < 0 || max < 0 || (min && max && min > max))) {
        snprintf(error, error_size,
                 "TLS versions must be TLS1.2 or TLS1.3, the minimum not above the maximum");
        err = ERR_INVALID;
    }
    if (err)
        goto out;
    SSL_CTX_set_security_level(ssl, SECURITY_LEVEL);
    SSL_CTX_set_min_proto_version(ssl, min ? min : TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ssl, max);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
    if (c->cert_file && SSL_CTX_use_certificate_chain_file(ssl, c->cert_file) != 1)
        err = tls_fail(error, error_size, "cannot load certificate", c->cert_file);
    else if (c->key_file && SSL_CTX_use_PrivateKey_file(ssl, c->key_file, SSL_FILETYPE_PEM) != 1)
        err = tls_fail(error, error_size, "cannot load key", c->key_file);
    else
        err = load_verify(c, ssl, error, error_size);
    if (!err)
        err = set_suites(ssl, c->cipher_suites, error, error_size);
    if (!err)
        err = set_groups(ssl, error, error_size);
    if (!err && c->alpn)
        SSL_CTX_set_alpn_select_cb(ssl, on_alpn, c->alpn);
out:
    if (err)
        SSL_CTX_free(ssl);
    else
        *ret = ssl;
    return err;
}

static void take_stamps(const struct tls_context *c, struct file_stamp *ret)
{
    const char *files[FILES] = {c->cert_file, c->key_file, c->ca_file, c->crl_file};
    for (int i = 0; i < FILES; i++) {
        struct stat st;
        ret[i] = (struct file_stamp){0};
        if (files[i] && stat(files[i], &st) == 0)
            ret[i] = (struct file_stamp){st.st_ctim, st.st_size, st.st_ino};
    }
}

static bool same_stamps(const struct file_stamp *a, const struct file_stamp *b)
{
    for (int i = 0; i < FILES; i++)
        if (a[i].changed.tv_sec != b[i].changed.tv_sec || a[i].changed.tv_nsec != b[i].changed.tv_nsec ||
            a[i].size != b[i].size || a[i].inode != b[i].inode)
            return false;
    return true;
}

static char *tls_copy(const char *s)
{
    return s && *s ? mem_string(s) : NULL;
}

int tls_context_new(const struct tls_options *o, char *error, size_t error_size, struct tls_context **ret)
{
    struct tls_context *c = mem_new(sizeof *c);
    c->cert_file = tls_copy(o->cert_file);
    c->key_file = tls_copy(o->key_file);
    c->ca_file = tls_copy(o->ca_file);
    c->crl_file = tls_copy(o->crl_file);
    c->allowed_cn = tls_copy(o->allowed_cn);
    c->allowed_hostname = tls_copy(o->allowed_hostname);
    c->cipher_suites = tls_copy(o->cipher_suites);
    c->min_version = tls_copy(o->min_version);
    c->max_version = tls_copy(o->max_version);
    c->alpn = tls_copy(o->alpn);
    c->require_client_cert = o->require_client_cert;
    c->use_system_ca = o->use_system_ca;
    take_stamps(c, c->stamps);
    int err = tls_load(c, error, error_size, &c->ssl);
    if (err)
        tls_context_free(c);
    else
        *ret = c;
    return err;
}

void tls_thread_end(void)
{
    OPENSSL_thread_stop();
}

void tls_context_free(struct tls_context *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ssl);
    const char *texts[] = {
        c->cert_file,        c->key_file,      c->ca_file,     c->crl_file,    c->allowed_cn,
        c->allowed_hostname, c->cipher_suites, c->min_version, c->max_version, c->alpn};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        mem_free(texts[i]);
    mem_free(c);
}

void tls_context_refresh(struct tls_context *c, uint64_t now_ms)
{
    struct file_stamp now[FILES];
    char error[256];
    SSL_CTX *ssl;
    if (now_ms < c->checked_ms + RECHECK_MS)
        return;
    c->checked_ms = now_ms;
    take_stamps(c, now);
    if (same_stamps(c->stamps, now))
        return;
    memcpy(c->stamps, now, sizeof now);
    if (tls_load(c, error, sizeof error, &ssl) != 0) {
        log_warn("kept the old TLS files: the new ones do not load", F_STR("error", error));
        return;
    }
    SSL_CTX_free(c->ssl);
    c->ssl = ssl;
    log_info("loaded changed TLS files", F_STR("cert", c->cert_file ? c->cert_file : ""));
}

/* --- a connection ----------------------------------------------------------------------------------- */
static struct tls *tls_new(struct tls_context *c, bool is_server)
{
    struct tls *t = mem_new(sizeof *t);
    t->context = c;
    t->is_server = is_server;
    t->ssl = SSL_new(c->ssl);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(t->in, -1);
    BIO_set_mem_eof_return(t->out, -1);
    SSL_set_bio(t->ssl, t->in, t->out);
    return t;
}

struct tls *tls_accept(struct tls_context *c)
{
    struct tls *t = tls_new(c, true);
    SSL_set_accept_state(t->ssl);
    return t;
}

struct tls *tls_connect(struct tls_context *c, const char *host)
{
    return tls_connect_for(c, host, c->alpn);
}

struct tls *tls_connect_for(struct tls_context *c, const char *host, const char *alpn)
{
    struct tls *t = tls_new(c, false);
    SSL_set_connect_state(t->ssl);
    if (alpn) {
        uint8_t protocols[64];
        size_t n = strlen(alpn) < sizeof protocols - 1 ? strlen(alpn) : sizeof protocols - 1;
        protocols[0] = (uint8_t)n;
        memcpy(protocols + 1, alpn, n);
        SSL_set_alpn_protos(t->ssl, protocols, (unsigned)n + 1);
    }
    if (host) {
        X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
        X509_VERIFY_PARAM_set_hostflags(param, NAME_FLAGS);
        if (X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1) {
            SSL_set_tlsext_host_name(t->ssl, host);
            SSL_set1_host(t->ssl, host);
        }
    }
    SSL_do_handshake(t->ssl);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    mem_free(t);
}

static int note_error(struct tls *t)
{
    long verify = SSL_get_verify_result(t->ssl);
    unsigned long code = ERR_peek_last_error();
    if (!t->error[0]) {
        if (verify != X509_V_OK)
            snprintf(t->error, sizeof t->error, "tls: failed to verify certificate: %s",
                     X509_verify_cert_error_string(verify));
        else
            snprintf(t->error, sizeof t->error, "tls: %s",
                     code && ERR_reason_error_string(code) ? ERR_reason_error_string(code)
                                                           : "protocol error");
    }
    ERR_clear_error();
    return ERR_MALFORMED;
}

static bool is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; n && p && *p;) {
        size_t piece = strcspn(p, ",");
        if (piece == n && memcmp(p, name, n) == 0)
            return true;
        p += piece + (p[piece] == ',');
    }
    return false;
}

static bool has_listed_host(const char *list, X509 *cert)
{
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        char host[256];
        if (n > 0 && n < sizeof host) {
            memcpy(host, p, n);
            host[n] = 0;
            if (X509_check_host(cert, host, n, NAME_FLAGS, NULL) == 1 ||
                X509_check_ip_asc(cert, host, 0) == 1)
                return true;
        }
        p += n + (p[n] == ',');
    }
    return false;
}

static bool names_a_host(X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && !found; i++) {
        int type = sk_GENERAL_NAME_value(names, i)->type;
        found = type == GEN_DNS || type == GEN_IPADD;
    }
    GENERAL_NAMES_free(names);
    return found;
}

bool tls_peer_is(const struct tls *t, const char *host)
{
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    return !cert || !names_a_host(cert) || X509_check_ip_asc(cert, host, 0) == 1 ||
           X509_check_host(cert, host, 0, NAME_FLAGS, NULL) == 1;
}

/* Reads the CN in UTF-8; of several the last, as Go does. "": there is none, it is too long for a user's
 * name, or it contains a NUL. */
static void read_common_name(X509 *cert, char *ret, size_t size)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int last = -1;
    for (int i; (i = X509_NAME_get_index_by_NID(name, NID_commonName, last)) >= 0;)
        last = i;
    ret[0] = 0;
    if (last < 0)
        return;
    uint8_t *text = NULL;
    int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)));
    if (n > 0 && (size_t)n < size && !memchr(text, 0, (size_t)n)) {
        memcpy(ret, text, (size_t)n);
        ret[n] = 0;
    }
    OPENSSL_free(text);
}

/* Reads the peer's name and checks it against --peer-cert-allowed-cn and --peer-cert-allowed-hostname. */
static int check_peer(struct tls *t)
{
    const struct tls_context *c = t->context;
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    if (cert)
        read_common_name(cert, t->peer_name, sizeof t->peer_name);
    if (!t->is_server)
        return 0;
    if ((c->allowed_cn && !is_listed(c->allowed_cn, t->peer_name)) ||
        (c->allowed_hostname && !(cert && has_listed_host(c->allowed_hostname, cert)))) {
        snprintf(t->error, sizeof t->error, "client certificate authentication failed");
        return ERR_MALFORMED;
    }
    return 0;
}

static int handshake(struct tls *t)
{
    int rc = SSL_do_handshake(t->ssl);
    if (rc != 1) {
        int why = SSL_get_error(t->ssl, rc);
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : note_error(t);
    }
    int err = check_peer(t);
    if (!err)
        t->is_ready = true;
    return err;
}

int tls_receive(struct tls *t, struct slice in, struct buf *out)
{
    int err;
    ERR_clear_error();
    if (in.size && BIO_write(t->in, in.data, (int)in.size) != (int)in.size)
        return ERR_INTERNAL;
    if (t->error[0])
        return ERR_MALFORMED;
    if (!t->is_ready && ((err = handshake(t)) != 0 || !t->is_ready))
        return err;
    for (;;) {
        uint8_t *p = buf_reserve(out, READ_STEP);
        int n = SSL_read(t->ssl, p, READ_STEP);
        if (n > 0) {
            out->size += (size_t)n;
            continue;
        }
        switch (SSL_get_error(t->ssl, n)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            return 0;
        case SSL_ERROR_ZERO_RETURN:
            return ERR_CLOSED;
        default:
            return note_error(t);
        }
    }
}

int tls_send(struct tls *t, struct slice plain)
{
    if (!t->is_ready)
        return ERR_INVALID;
    ERR_clear_error();
    while (plain.size) {
        int n = SSL_write(t->ssl, plain.data, plain.size < (1 << 20) ? (int)plain.size : 1 << 20);
        if (n <= 0)
            return note_error(t);
        plain = slice_of(plain.data + n, plain.size - (size_t)n);
    }
    return 0;
}

void tls_take_output(struct tls *t, struct buf *out)
{
    size_t size = BIO_ctrl_pending(t->out);
    if (!size)
        return;
    int n = BIO_read(t->out, buf_reserve(out, size), (int)size);
    if (n > 0)
        out->size += (size_t)n;
}

bool tls_is_ready(const struct tls *t)
{
    return t->is_ready;
}

const char *tls_error(const struct tls *t)
{
    return t->error;
}

const char *tls_peer_name(const struct tls *t)
{
    return t->peer_name;
}
