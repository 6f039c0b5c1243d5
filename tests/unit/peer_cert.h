/* SPDX-License-Identifier: Apache-2.0
 * Certificates for the tests of peer TLS, made in a folder of their own. */
#ifndef TESTS_UNIT_PEER_CERT_H
#define TESTS_UNIT_PEER_CERT_H

#include <openssl/x509.h>

struct cert {
    X509 *x509;
    EVP_PKEY *key;
    char cert_file[128], key_file[128];
};

/* by NULL: signs itself and others. dir/name.pem and dir/name.key; san in OpenSSL's form, or NULL. */
void cert_issue(struct cert *c, const char *dir, const char *name, const struct cert *by, int serial,
                const char *san);
void cert_revoke(const struct cert *c, const struct cert *by, const char *crl_file);
void cert_free(struct cert *c);

#endif
