/* SPDX-License-Identifier: Apache-2.0
 * The two digests of a configuration's content, as lower-case hexadecimal text. Clients compare the md5
 * (ETag); the sha256 proves that nothing changed. Those of a sealed content are keyed. Pure. */
#ifndef CONFIG_DIGEST_H
#define CONFIG_DIGEST_H

#include <stdbool.h>

#include "base/buf.h"

#define DIGEST_MD5_SIZE    32
#define DIGEST_SHA256_SIZE 64

struct digest {
    char md5[DIGEST_MD5_SIZE + 1];
    char sha256[DIGEST_SHA256_SIZE + 1];
};

struct digest digest_of(struct slice content);
/* A keyed digest of 32 bytes (config/seal/seal.h) in the place of both: the md5 is its first half. */
struct digest digest_keyed(const uint8_t bytes[32]);
/* The same for a content in pieces. */
struct digester;
struct digester *digester_new(void);
void digester_add(struct digester *d, struct slice piece);
struct digest digester_finish(struct digester *d); /* frees d */
void digester_free(struct digester *d);            /* NULL is fine */
bool digest_is_md5(struct slice text);             /* 32 lower-case hexadecimal digits */
bool digest_equal(const struct digest *a, const struct digest *b);

#endif
