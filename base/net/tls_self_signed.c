/* SPDX-License-Identifier: Apache-2.0
 * The certificate of --auto-tls: self-signed, on P-256, for the hosts that the daemon listens on; made once
 * and kept. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/net/tls.h"

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static bool add_hosts(X509 *cert, const char *const *hosts, size_t count)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool ok = names != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_OCTET_STRING *ip = a2i_IPADDRESS(hosts[i]);
        ASN1_IA5STRING *dns = ip ? NULL : ASN1_IA5STRING_new();
        ok = name && (ip || (dns && ASN1_STRING_set(dns, hosts[i], -1) == 1));
        if (ok)
            GENERAL_NAME_set0_value(name, ip ? GEN_IPADD : GEN_DNS, ip ? (void *)ip : (void *)dns);
        ok = ok && sk_GENERAL_NAME_push(names, name) > 0;
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *const *hosts, size_t count, unsigned years)
{
    uint8_t serial[16];
    random_bytes(serial, sizeof serial);
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 1); /* positive and of full length */
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    X509_NAME *name = X509_get_subject_name(cert);
    return ok && X509_set_version(cert, 2) == 1 && X509_gmtime_adj(X509_getm_notBefore(cert), 0) &&
           X509_time_adj_ex(X509_getm_notAfter(cert), (int)years * 365, 0, NULL) &&
           X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const uint8_t *)"cairn", -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, name) == 1 && X509_set_pubkey(cert, key) == 1 &&
           add_extension(cert, NID_key_usage, "critical,digitalSignature,keyEncipherment,keyCertSign") &&
           add_extension(cert, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") && add_hosts(cert, hosts, count) &&
           X509_sign(cert, key, EVP_sha256()) > 0;
}

static FILE *create(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f && fd >= 0)
        close(fd);
    return f;
}

static bool write_pair(const char *cert_path, const char *key_path, X509 *cert, EVP_PKEY *key)
{
    FILE *f = create(key_path, 0600);
    bool ok = f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;
    ok = f && fclose(f) == 0 && ok;
    f = ok ? create(cert_path, 0644) : NULL;
    ok = f && PEM_write_X509(f, cert) == 1;
    return f && fclose(f) == 0 && ok;
}

int tls_self_signed(const char *dir, const char *const *hosts, size_t host_count, unsigned years, char *error,
                    size_t error_size)
{
    struct buf cert_path = {0}, key_path = {0};
    X509 *cert = NULL;
    EVP_PKEY *key = NULL;
    int err = 0;
    buf_addf(&cert_path, "%s/cert.pem", dir);
    buf_addf(&key_path, "%s/key.pem", dir);
    if (access(buf_text(&cert_path), R_OK) == 0 && access(buf_text(&key_path), R_OK) == 0)
        goto out;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        err = err_from_errno(errno);
        snprintf(error, error_size, "cannot create %s: %s", dir, strerror(errno));
        goto out;
    }
    key = EVP_EC_gen("P-256");
    cert = X509_new();
    if (!key || !cert || !fill(cert, key, hosts, host_count, years)) {
        err = ERR_INVALID;
        snprintf(error, error_size, "cannot make a self-signed certificate for %s", dir);
    } else if (!write_pair(buf_text(&cert_path), buf_text(&key_path), cert, key)) {
        err = ERR_IO;
        snprintf(error, error_size, "cannot write %s and %s: %s", buf_text(&cert_path), buf_text(&key_path),
                 strerror(errno));
    }
out:
    X509_free(cert);
    EVP_PKEY_free(key);
    buf_done(&cert_path);
    buf_done(&key_path);
    return err;
}
