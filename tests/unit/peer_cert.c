/* SPDX-License-Identifier: Apache-2.0
 * Certificates for the tests of peer TLS; see peer_cert.h. */
#include "tests/unit/peer_cert.h"

#include <assert.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static void add_extension(X509 *x, const X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, (X509 *)(uintptr_t)issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static FILE *create(char *path, const char *dir, const char *name, const char *suffix)
{
    snprintf(path, 128, "%s/%s.%s", dir, name, suffix);
    FILE *f = fopen(path, "w");
    assert(f);
    return f;
}

void cert_issue(struct cert *c, const char *dir, const char *name, const struct cert *by, int serial,
                const char *san)
{
    *c = (struct cert){.key = EVP_EC_gen("P-256"), .x509 = X509_new()};
    X509_set_version(c->x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c->x509), serial);
    X509_gmtime_adj(X509_getm_notBefore(c->x509), -86400);
    X509_gmtime_adj(X509_getm_notAfter(c->x509), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c->x509), "CN", MBSTRING_ASC, (const uint8_t *)name, -1,
                               -1, 0);
    const X509 *issuer = by ? by->x509 : c->x509;
    X509_set_issuer_name(c->x509, X509_get_subject_name(issuer));
    X509_set_pubkey(c->x509, c->key);
    add_extension(c->x509, issuer, NID_basic_constraints, by ? "CA:FALSE" : "critical,CA:TRUE");
    if (san)
        add_extension(c->x509, issuer, NID_subject_alt_name, san);
    int size = X509_sign(c->x509, by ? by->key : c->key, EVP_sha256());
    assert(size > 0);
    FILE *f = create(c->cert_file, dir, name, "pem");
    PEM_write_X509(f, c->x509);
    fclose(f);
    f = create(c->key_file, dir, name, "key");
    PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
}

void cert_revoke(const struct cert *c, const struct cert *by, const char *crl_file)
{
    X509_CRL *crl = X509_CRL_new();
    X509_REVOKED *r = X509_REVOKED_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
    ASN1_INTEGER *serial = ASN1_INTEGER_dup(X509_get0_serialNumber(c->x509));
    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(by->x509));
    X509_CRL_set1_lastUpdate(crl, now);
    X509_CRL_set1_nextUpdate(crl, now);
    X509_REVOKED_set_serialNumber(r, serial);
    X509_REVOKED_set_revocationDate(r, now);
    X509_CRL_add0_revoked(crl, r);
    X509_CRL_sign(crl, by->key, EVP_sha256());
    FILE *f = fopen(crl_file, "w");
    assert(f);
    PEM_write_X509_CRL(f, crl);
    fclose(f);
    ASN1_INTEGER_free(serial);
    ASN1_TIME_free(now);
    X509_CRL_free(crl);
}

void cert_free(struct cert *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
}
