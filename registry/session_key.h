/* SPDX-License-Identifier: Apache-2.0
 * Session keys: the secret with which a client proves that it opened a session. 128 random bits as 32
 * hexadecimal digits, returned to the opener once. The store has only their SHA-256. */
#ifndef REGISTRY_SESSION_KEY_H
#define REGISTRY_SESSION_KEY_H

#include "base/buf.h"
#include "consensus/kv.h"

enum { SESSION_KEY_SIZE = 32, SESSION_DIGEST_SIZE = 32 };

void session_key_make(struct io *io, char ret_key[SESSION_KEY_SIZE + 1]);
void session_key_digest(struct slice key, uint8_t ret_digest[SESSION_DIGEST_SIZE]);
/* Constant time. */
bool session_key_matches(struct slice key, const uint8_t digest[SESSION_DIGEST_SIZE]);

#endif
