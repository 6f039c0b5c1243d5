/* SPDX-License-Identifier: Apache-2.0
 * JSON Web Tokens as etcd makes them (--auth-token jwt,pub-key=…,priv-key=…,sign-method=…,ttl=…), with the
 * claims username, revision and exp. Only jwt.c uses libjwt. Keys are read once. */
#ifndef SERVER_AUTH_JWT_H
#define SERVER_AUTH_JWT_H

#include "base/buf.h"
#include "base/err.h"

struct jwt_keys;

enum { JWT_BYTES_MAX = 8192 /* a longer token is rejected */ };

/* Reads the keys. options: the text after "jwt,". An error has a sentence in `error`. With `ret` NULL it only
 * checks the options. */
MUST_CHECK int jwt_keys_new(struct slice options, char *error, size_t error_size, struct jwt_keys **ret);
void jwt_keys_free(struct jwt_keys *k); /* NULL is fine */

/* Appends a token for the user. ERR_VERIFY_ONLY_KEY: there is only a public key. */
MUST_CHECK int jwt_make(const struct jwt_keys *k, const char *user, uint64_t revision, uint64_t now_s,
                        struct buf *out);
/* Checks a token and appends its user. ERR_INVALID_AUTH_TOKEN: a wrong signature, expired, or a missing
 * claim. */
MUST_CHECK int jwt_read(const struct jwt_keys *k, struct slice token, uint64_t now_s, struct buf *ret_user,
                        uint64_t *ret_revision);

#endif
