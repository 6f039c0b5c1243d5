/* SPDX-License-Identifier: Apache-2.0
 * The keys that seal contents, as a key file or a key command gives them. Pure.
 *
 * One key a line: an id, white space, 32 bytes in base64. Empty lines and lines that begin with # are skipped.
 * The first key seals; all of them open. */
#ifndef CONFIG_SEAL_KEYS_H
#define CONFIG_SEAL_KEYS_H

#include "config/seal/seal.h"

enum { SEAL_KEYS_MAX = 32, SEAL_KEYS_TEXT_MAX = 65536 /* bytes of a file */ };

struct seal_keys {
    size_t count;
    struct seal_key list[SEAL_KEYS_MAX];
};

bool seal_is_id(struct slice text); /* 1 to 64 letters, digits, '.', '_', '-' */
/* ERR_INVALID with the rest of a sentence that begins with the file's name; then *ret is empty. An error text
 * never has anything of a secret. */
MUST_CHECK int seal_keys_parse(struct slice text, struct seal_keys *ret, char *error, size_t error_size);
/* NULL: there is no such key. */
const struct seal_key *seal_keys_find(const struct seal_keys *keys, struct slice id);
/* The key that seals; NULL: there are no keys. keys may be NULL. */
const struct seal_key *seal_keys_first(const struct seal_keys *keys);
void seal_keys_clear(struct seal_keys *keys); /* overwrites them */

#endif
