/* SPDX-License-Identifier: Apache-2.0
 * Session keys; see session_key.h. */
#include "registry/session_key.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"

void session_key_make(struct io *io, char ret_key[SESSION_KEY_SIZE + 1])
{
    uint64_t high = io->ops->random(io), low = io->ops->random(io);
    snprintf(ret_key, SESSION_KEY_SIZE + 1, "%016" PRIx64 "%016" PRIx64, high, low);
}

void session_key_digest(struct slice key, uint8_t ret_digest[SESSION_DIGEST_SIZE])
{
    struct sha256 *sha = sha256_new();
    sha256_add(sha, key.data, key.size);
    sha256_finish(sha, ret_digest);
}

bool session_key_matches(struct slice key, const uint8_t digest[SESSION_DIGEST_SIZE])
{
    uint8_t shown[SESSION_DIGEST_SIZE], difference = 0;
    session_key_digest(key, shown);
    for (size_t i = 0; i < sizeof shown; i++)
        difference |= shown[i] ^ digest[i];
    return difference == 0;
}
