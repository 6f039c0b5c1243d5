/* SPDX-License-Identifier: Apache-2.0
 * Authenticated encryption of contents: key, nonce and bytes in, bytes out. AES-256-GCM (NIST SP 800-38D)
 * through OpenSSL's EVP. Pure: no clock, no file, no randomness of its own. Any thread may call it.
 *
 * A sealed content is nonce (12 bytes), ciphertext (as long as the content), tag (16 bytes).
 *
 * - From each key of the file two keys are derived by HMAC-SHA-256, one that seals and one for digests. So
 *   neither use says anything about the other.
 * - The names of the configuration are authenticated with it (AAD): sealed bytes that are stored under another
 *   name do not open.
 * - The caller gives each call of seal_add a new random nonce. SP 800-38D allows 2^32 of them for one key: 136
 *   years at one a second. Then the key must be replaced. */
#ifndef CONFIG_SEAL_SEAL_H
#define CONFIG_SEAL_SEAL_H

#include "base/buf.h"
#include "base/err.h"

enum {
    SEAL_KEY_SIZE = 32,
    SEAL_NONCE_SIZE = 12,
    SEAL_TAG_SIZE = 16,
    SEAL_ROOM = SEAL_NONCE_SIZE + SEAL_TAG_SIZE, /* bytes that sealing adds */
    SEAL_DIGEST_SIZE = 32,
    SEAL_ID_MAX = 64, /* bytes of a key's id */
};

struct seal_key {
    char id[SEAL_ID_MAX + 1];
    uint8_t content[SEAL_KEY_SIZE], digest[SEAL_KEY_SIZE]; /* derived */
};

void seal_key_init(struct seal_key *ret, struct slice id, const uint8_t secret[SEAL_KEY_SIZE]);

/* The names that a content belongs to, for the functions below: each with its length. */
void seal_add_names(struct buf *out, struct slice ns, struct slice group, struct slice name);

/* Appends the sealed content. ERR_INTERNAL: libcrypto has failed. */
MUST_CHECK int seal_add(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_SIZE], struct slice names,
                        struct slice content, struct buf *out);
/* Writes sealed.size - SEAL_ROOM bytes. ERR_CORRUPT: these bytes were not sealed with this key under these
 * names; then *ret is zeroed. */
MUST_CHECK int seal_open(const struct seal_key *key, struct slice names, struct slice sealed, uint8_t *ret);
/* HMAC-SHA-256 of the names and the content's SHA-256. Without the key it does not show which of several contents it is of, nor
 * that two configurations have the same content. */
void seal_digest(const struct seal_key *key, struct slice names, struct slice content,
                 uint8_t ret[SEAL_DIGEST_SIZE]);

/* The cipher alone, for tests with published vectors. ERR_INTERNAL: libcrypto has failed. */
MUST_CHECK int seal_aes_gcm(const uint8_t key[SEAL_KEY_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE],
                            struct slice aad, struct slice in, uint8_t *ret, uint8_t ret_tag[SEAL_TAG_SIZE]);

#endif
