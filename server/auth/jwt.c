/* SPDX-License-Identifier: Apache-2.0
 * JSON Web Tokens through libjwt; see jwt.h. The algorithm in a token's header must equal the configured
 * one; the configured key is always used. */
#include "server/auth/jwt.h"

#include <errno.h>
#include <inttypes.h>
#include <jwt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/net/pem.h"
#include "base/text.h"

#define TTL_S         300
#define KEY_BYTES_MAX 65536

struct jwt_keys {
    jwt_alg_t alg;
    struct buf sign, verify; /* sign is empty: verify only */
    uint64_t ttl_s;
};

/* The methods of Debian 12's libjwt; golang-jwt also has PS256 to PS512 and EdDSA. */
static const struct {
    const char *name;
    jwt_alg_t alg;
} algorithms[] = {
    {"HS256", JWT_ALG_HS256}, {"HS384", JWT_ALG_HS384}, {"HS512", JWT_ALG_HS512},
    {"RS256", JWT_ALG_RS256}, {"RS384", JWT_ALG_RS384}, {"RS512", JWT_ALG_RS512},
    {"ES256", JWT_ALG_ES256}, {"ES384", JWT_ALG_ES384}, {"ES512", JWT_ALG_ES512},
};

static bool is_secret(jwt_alg_t alg)
{
    return alg == JWT_ALG_HS256 || alg == JWT_ALG_HS384 || alg == JWT_ALG_HS512;
}

/* --- options ----------------------------------------------------------------------------------------- */

struct jwt_options {
    char *pub, *priv, *method, *ttl;
};

static void asked_done(struct jwt_options *a)
{
    mem_free(a->pub);
    mem_free(a->priv);
    mem_free(a->method);
    mem_free(a->ttl);
}

static int take_option(struct jwt_options *a, struct slice option, char *error, size_t error_size)
{
    const uint8_t *equal = option.size ? memchr(option.data, '=', option.size) : NULL;
    struct {
        const char *name;
        char **value;
    } known[] = {{"pub-key", &a->pub}, {"priv-key", &a->priv}, {"sign-method", &a->method}, {"ttl", &a->ttl}};
    if (!equal) {
        snprintf(error, error_size, "--auth-token: \"%.*s\" is no option=value", (int)option.size,
                 (const char *)option.data);
        return ERR_INVALID;
    }
    size_t name_size = (size_t)(equal - option.data);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!slice_equal(slice_of(option.data, name_size), slice_text(known[i].name)))
            continue;
        if (*known[i].value) {
            snprintf(error, error_size, "--auth-token gives %s twice", known[i].name);
            return ERR_INVALID;
        }
        size_t size = option.size - name_size - 1;
        *known[i].value = mem_new(size + 1);
        memcpy(*known[i].value, equal + 1, size);
        return OK;
    }
    snprintf(error, error_size,
             "--auth-token jwt has no option \"%.*s\": pub-key, priv-key, sign-method, ttl", (int)name_size,
             (const char *)option.data);
    return ERR_INVALID;
}

static int parse(struct slice options, struct jwt_options *a, char *error, size_t error_size)
{
    int err = OK;
    while (options.size && !err) {
        const uint8_t *comma = memchr(options.data, ',', options.size);
        size_t size = comma ? (size_t)(comma - options.data) : options.size;
        err = take_option(a, slice_of(options.data, size), error, error_size);
        size += comma != NULL;
        options = slice_of(options.data + size, options.size - size);
    }
    return err;
}

static int read_key(const char *path, struct buf *out, char *error, size_t error_size)
{
    char bytes[4096];
    FILE *f = fopen(path, "re");
    size_t n;
    while (f && out->size <= KEY_BYTES_MAX && (n = fread(bytes, 1, sizeof bytes, f)) > 0)
        buf_add(out, bytes, n);
    bool is_read = f && !ferror(f) && out->size && out->size <= KEY_BYTES_MAX;
    if (!is_read)
        snprintf(error, error_size, "--auth-token: cannot read a key from %.300s: %s", path,
                 out->size > KEY_BYTES_MAX ? "it is too large"
                 : f && !ferror(f)         ? "it is empty"
                                           : strerror(errno));
    if (f)
        fclose(f);
    explicit_bzero(bytes, sizeof bytes);
    return is_read ? OK : ERR_INVALID;
}

static int find_method(const char *name, jwt_alg_t *ret_alg, char *error, size_t error_size)
{
    for (size_t i = 0; name && i < sizeof algorithms / sizeof *algorithms; i++) {
        if (strcmp(name, algorithms[i].name) != 0)
            continue;
        *ret_alg = algorithms[i].alg;
        return OK;
    }
    snprintf(
        error, error_size,
        "--auth-token jwt needs sign-method=HS256, RS256, ES256 or one of their -384 and -512 forms, not "
        "\"%.32s\"",
        name ? name : "");
    return ERR_INVALID;
}

static int find_ttl(const char *text, uint64_t *ret_s, char *error, size_t error_size)
{
    int64_t ns = (int64_t)TTL_S * 1000000000;
    if ((text && text_to_duration_ns(slice_text(text), &ns)) || ns < 1000000000) {
        snprintf(error, error_size, "--auth-token: ttl=%.32s is no duration of a second or more such as 5m",
                 text);
        return ERR_INVALID;
    }
    *ret_s = (uint64_t)ns / 1000000000;
    return OK;
}

/* Reads the private and the public key, from one or two files. A shared secret is both. */
static int find_keys(struct jwt_keys *k, const struct jwt_options *a, char *error, size_t error_size)
{
    int err = a->priv ? read_key(a->priv, &k->sign, error, error_size) : OK;
    if (err)
        return err;
    if (is_secret(k->alg)) {
        buf_add_slice(&k->verify, buf_slice(&k->sign));
        if (!a->priv)
            snprintf(error, error_size, "--auth-token jwt with an HS method needs priv-key=FILE");
        return a->priv ? OK : ERR_INVALID;
    }
    if (!a->priv && !a->pub) {
        snprintf(error, error_size, "--auth-token jwt needs priv-key=FILE, or pub-key=FILE to verify only");
        return ERR_INVALID;
    }
    if (a->priv && pem_public_of(buf_slice(&k->sign), &k->verify)) {
        snprintf(error, error_size, "--auth-token: %.300s holds no private key in PEM", a->priv);
        return ERR_INVALID;
    }
    struct buf given = {0}, normal = {0};
    err = a->pub ? read_key(a->pub, &given, error, error_size) : OK;
    if (!err && a->pub && pem_public(buf_slice(&given), &normal)) {
        snprintf(error, error_size, "--auth-token: %.300s holds no public key in PEM", a->pub);
        err = ERR_INVALID;
    }
    if (!err && a->pub && a->priv && !slice_equal(buf_slice(&normal), buf_slice(&k->verify))) {
        snprintf(error, error_size, "--auth-token: pub-key and priv-key do not belong together");
        err = ERR_INVALID;
    }
    if (!err && !a->priv)
        k->verify = buf_move(&normal);
    buf_done(&given);
    buf_done(&normal);
    return err;
}

/* Signs and verifies once, so that a key that does not match the method fails at start, not at the first
 * login. */
static int try_keys(const struct jwt_keys *k, char *error, size_t error_size)
{
    struct buf token = {0}, user = {0};
    uint64_t revision;
    int err = k->sign.size ? jwt_make(k, "a", 1, 1000, &token) : OK;
    if (!err && k->sign.size)
        err = jwt_read(k, buf_slice(&token), 1000, &user, &revision);
    if (err)
        snprintf(error, error_size, "--auth-token: the key is not one for this sign-method");
    buf_done(&token);
    buf_done(&user);
    return err ? ERR_INVALID : OK;
}

int jwt_keys_new(struct slice options, char *error, size_t error_size, struct jwt_keys **ret)
{
    struct jwt_options a = {0};
    struct jwt_keys *k = mem_new(sizeof *k);
    int err = parse(options, &a, error, error_size);
    if (!err)
        err = find_method(a.method, &k->alg, error, error_size);
    if (!err)
        err = find_ttl(a.ttl, &k->ttl_s, error, error_size);
    if (!err)
        err = find_keys(k, &a, error, error_size);
    if (!err)
        err = try_keys(k, error, error_size);
    asked_done(&a);
    if (err || !ret)
        jwt_keys_free(k);
    else
        *ret = k;
    return err;
}

void jwt_keys_free(struct jwt_keys *k)
{
    if (!k)
        return;
    if (k->sign.size)
        explicit_bzero(k->sign.data, k->sign.size);
    buf_done(&k->sign);
    buf_done(&k->verify);
    mem_free(k);
}

/* --- tokens ------------------------------------------------------------------------------------------ */

int jwt_make(const struct jwt_keys *k, const char *user, uint64_t revision, uint64_t now_s, struct buf *out)
{
    jwt_t *jwt;
    char *text = NULL;
    if (!k->sign.size)
        return ERR_VERIFY_ONLY_KEY;
    if (jwt_new(&jwt))
        return ERR_INTERNAL;
    if (!jwt_add_grant(jwt, "username", user) && !jwt_add_grant_int(jwt, "revision", (long)revision) &&
        !jwt_add_grant_int(jwt, "exp", (long)(now_s + k->ttl_s)) &&
        !jwt_set_alg(jwt, k->alg, k->sign.data, (int)k->sign.size))
        text = jwt_encode_str(jwt);
    if (text)
        buf_add_text(out, text);
    free(text); /* allocated by libjwt with malloc */
    jwt_free(jwt);
    return text ? OK : ERR_INTERNAL;
}

/* libjwt returns 0 with errno ENOENT for a missing claim. */
static bool claim(jwt_t *jwt, const char *name, long *ret_value)
{
    errno = 0;
    *ret_value = jwt_get_grant_int(jwt, name);
    return errno == 0;
}

int jwt_read(const struct jwt_keys *k, struct slice token, uint64_t now_s, struct buf *ret_user,
             uint64_t *ret_revision)
{
    jwt_t *jwt = NULL;
    long revision, end, begin;
    int err = ERR_INVALID_AUTH_TOKEN;
    if (!token.size || token.size > JWT_BYTES_MAX)
        return err;
    char *text = mem_new(token.size + 1);
    memcpy(text, token.data, token.size);
    if (jwt_decode(&jwt, text, k->verify.data, (int)k->verify.size) == 0 && jwt_get_alg(jwt) == k->alg) {
        const char *user = jwt_get_grant(jwt, "username");
        bool is_over = claim(jwt, "exp", &end) && (end < 0 || (uint64_t)end <= now_s);
        bool is_early = claim(jwt, "nbf", &begin) && begin > 0 && (uint64_t)begin > now_s;
        if (user && claim(jwt, "revision", &revision) && revision >= 0 && !is_over && !is_early) {
            buf_add_text(ret_user, user);
            *ret_revision = (uint64_t)revision;
            err = OK;
        }
    }
    if (jwt)
        jwt_free(jwt);
    mem_free(text);
    return err;
}
