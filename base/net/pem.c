/* SPDX-License-Identifier: Apache-2.0
 * PEM keys through OpenSSL. See pem.h. */
#include "base/net/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>

/* A password callback that has none, so that OpenSSL does not prompt. */
static int no_password(char *text, int size, int is_writing, void *arg)
{
    (void)text, (void)size, (void)is_writing, (void)arg;
    return 0;
}

static int write_public(EVP_PKEY *key, struct buf *out)
{
    char *text = NULL;
    BIO *to = BIO_new(BIO_s_mem());
    bool ok = key && to && PEM_write_bio_PUBKEY(to, key) == 1;
    long size = ok ? BIO_get_mem_data(to, &text) : 0;
    if (size > 0)
        buf_add(out, text, (size_t)size);
    BIO_free(to);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok ? OK : ERR_MALFORMED;
}

int pem_public_of(struct slice private_key, struct buf *out)
{
    BIO *from = BIO_new_mem_buf(private_key.data, (int)private_key.size);
    EVP_PKEY *key = from ? PEM_read_bio_PrivateKey(from, NULL, no_password, NULL) : NULL;
    BIO_free(from);
    return write_public(key, out);
}

int pem_public(struct slice public_key, struct buf *out)
{
    BIO *from = BIO_new_mem_buf(public_key.data, (int)public_key.size);
    EVP_PKEY *key = from ? PEM_read_bio_PUBKEY(from, NULL, no_password, NULL) : NULL;
    if (!key && from && BIO_reset(from) == 1) {
        X509 *cert = PEM_read_bio_X509(from, NULL, no_password, NULL);
        key = cert ? X509_get_pubkey(cert) : NULL;
        X509_free(cert);
    }
    BIO_free(from);
    return write_public(key, out);
}
