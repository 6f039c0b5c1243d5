/* SPDX-License-Identifier: Apache-2.0
 * JSON Web Tokens as etcd makes them (--auth-token jwt,pub-key=…,priv-key=…,sign-method=…,ttl=…): claims
 * username, revision, exp. The only file beside its .c that knows libjwt is that one. Keys are read once. */
#ifndef SERVER_AUTH_JWT_H
#define SERVER_AUTH_JWT_H

#include "base/buf.h"
#include "base/err.h"

struct jwt_keys;

enum { JWT_BYTES_MAX = 8192 /* of a token that is looked at */ };

/* options: what stands behind "jwt,". On an error one sentence says what is wrong; with `ret` NULL nothing is
 * kept, the options are only tried. */
MUST_CHECK int jwt_keys_new(struct slice options, char *error, size_t error_size, struct jwt_keys **ret);
void jwt_keys_free(struct jwt_keys *k); /* NULL is fine */

/* ERR_VERIFY_ONLY_KEY when there is only a public key. The text is appended. */
MUST_CHECK int jwt_make(const struct jwt_keys *k, const char *user, uint64_t revision, uint64_t now_s,
                        struct buf *out);
/* ERR_INVALID_AUTH_TOKEN: not ours, over, or without a claim that it must have. The user is appended. */
MUST_CHECK int jwt_read(const struct jwt_keys *k, struct slice token, uint64_t now_s, struct buf *ret_user,
                        uint64_t *ret_revision);

#endif
