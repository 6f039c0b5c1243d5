/* SPDX-License-Identifier: Apache-2.0
 * TLS by OpenSSL memory BIOs: bytes in, bytes out, no sockets. The one place that includes openssl/ssl.h. A
 * context is reloaded when its files change (certificate, key, CA, CRL), so nothing has to be restarted. */
#ifndef BASE_NET_TLS_H
#define BASE_NET_TLS_H

#include "base/buf.h"
#include "base/err.h"

struct tls_context;
struct tls;

struct tls_options {
    const char *cert_file, *key_file; /* PEM */
    const char *ca_file;              /* verify the other side against it */
    bool use_system_ca;               /* ... or against what this machine trusts */
    const char *crl_file;
    bool require_client_cert;
    const char *allowed_cn; /* comma-separated; NULL = any */
    const char *allowed_hostname;
    const char *cipher_suites;             /* Go's names, comma-separated; NULL = ECDHE with AEAD */
    const char *min_version, *max_version; /* "TLS1.2", "TLS1.3" */
    const char *alpn;                      /* "h2" */
};

MUST_CHECK int tls_context_new(const struct tls_options *options, char *error, size_t error_size,
                               struct tls_context **ret);
void tls_context_free(struct tls_context *c);
/* Looks at the files' times at most once a second and loads them anew; a bad file keeps the old context
 * (logged). */
void tls_context_refresh(struct tls_context *c, uint64_t now_ms);
/* Writes a self-signed pair valid for years to dir/cert.pem and dir/key.pem unless both are there
 * (--auto-tls). */
MUST_CHECK int tls_self_signed(const char *dir, const char *const *hosts, size_t host_count, unsigned years,
                               char *error, size_t error_size);

struct tls *tls_accept(struct tls_context *c);
struct tls *tls_connect(struct tls_context *c, const char *host);
void tls_free(struct tls *t);
/* Ciphertext from the peer in, plaintext appended to out. ERR_CLOSED on close_notify, ERR_MALFORMED else. */
MUST_CHECK int tls_receive(struct tls *t, struct slice in, struct buf *out);
MUST_CHECK int tls_send(struct tls *t, struct slice plain);
/* Ciphertext to send now (handshake, alerts, data), appended to out. */
void tls_take_output(struct tls *t, struct buf *out);
bool tls_is_ready(const struct tls *t); /* handshake complete */
const char *tls_error(const struct tls *t);
/* The peer's certificate is for this name or address; or there is none, or one that names neither. */
bool tls_peer_is(const struct tls *t, const char *host);
const char *tls_peer_name(const struct tls *t); /* the peer certificate's CN, or "" */

#endif
