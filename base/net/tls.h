/* SPDX-License-Identifier: Apache-2.0
 * TLS through OpenSSL memory BIOs: bytes in, bytes out, no sockets. The one place that includes
 * openssl/ssl.h. A context reloads its files when they change (certificate, key, CA, CRL), without a
 * restart. */
#ifndef BASE_NET_TLS_H
#define BASE_NET_TLS_H

#include "base/buf.h"
#include "base/err.h"

struct tls_context;
struct tls;

struct tls_options {
    const char *cert_file, *key_file; /* PEM */
    const char *ca_file;              /* verify the peer's certificate with it */
    bool use_system_ca;               /* ... or with the CAs that this machine trusts */
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
/* Frees what OpenSSL keeps for the calling thread: for threads of a pool, which may outlive OpenSSL. */
void tls_thread_end(void);
/* Checks the files' times at most once a second and reloads them. If a file does not load, the context
 * keeps the old ones and logs a warning. */
void tls_context_refresh(struct tls_context *c, uint64_t now_ms);
/* Writes a self-signed pair, valid for `years`, to dir/cert.pem and dir/key.pem unless both exist
 * (--auto-tls). */
MUST_CHECK int tls_self_signed(const char *dir, const char *const *hosts, size_t host_count, unsigned years,
                               char *error, size_t error_size);

struct tls *tls_accept(struct tls_context *c);
struct tls *tls_connect(struct tls_context *c, const char *host);
/* With this protocol instead of the context's; NULL: none. */
struct tls *tls_connect_for(struct tls_context *c, const char *host, const char *alpn);
void tls_free(struct tls *t);
/* Reads ciphertext from the peer and appends the plaintext to out. ERR_CLOSED: close_notify. ERR_MALFORMED:
 * any other error, see tls_error. */
MUST_CHECK int tls_receive(struct tls *t, struct slice in, struct buf *out);
MUST_CHECK int tls_send(struct tls *t, struct slice plain);
/* Appends the ciphertext to send now (handshake, alerts, data) to out. */
void tls_take_output(struct tls *t, struct buf *out);
bool tls_is_ready(const struct tls *t); /* handshake complete */
const char *tls_error(const struct tls *t);
/* True if the peer's certificate is for this name or address, if it names neither, or if there is none. */
bool tls_peer_is(const struct tls *t, const char *host);
const char *tls_peer_name(const struct tls *t); /* the peer certificate's CN, or "" */

#endif
