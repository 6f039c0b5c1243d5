/* SPDX-License-Identifier: Apache-2.0
 * Simple tokens as in etcd: 16 letters, a point, the index of the log entry that made it.
 *
 * The entry reaches every member, so each has the same tokens, only in memory. A restart loses them, and
 * clients authenticate again. A token expires ttl_ms after its last use on this member. Time is an argument,
 * in milliseconds. */
#ifndef CONSENSUS_AUTH_TOKEN_H
#define CONSENSUS_AUTH_TOKEN_H

#include "base/list.h"
#include "base/map.h"

enum { AUTH_TOKEN_LETTERS = 16, AUTH_TOKEN_MAX = 40, AUTH_TOKENS_MAX = 262144 };

struct auth_tokens {
    struct strmap map;
    struct link by_age; /* the next one to expire is the first */
    uint64_t ttl_ms;
    size_t count;
};

void auth_tokens_init(struct auth_tokens *t, uint64_t ttl_ms);
void auth_tokens_clear(struct auth_tokens *t); /* also frees everything */
/* Adds a token. Beyond the maximum the one that expires next is removed. */
void auth_tokens_add(struct auth_tokens *t, struct slice token, const char *user, uint64_t now_ms);
/* The token's user, and its lifetime begins anew. NULL: there is no such token, or it has expired. */
const char *auth_tokens_use(struct auth_tokens *t, struct slice token, uint64_t now_ms);
void auth_tokens_drop_user(struct auth_tokens *t, const char *user);
void auth_tokens_expire(struct auth_tokens *t, uint64_t now_ms);
/* The token's index, if it has the form of a token; else 0. */
uint64_t auth_token_index(struct slice token);

#endif
