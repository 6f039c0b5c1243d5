/* SPDX-License-Identifier: Apache-2.0
 * etcd's simple tokens: 16 letters, a point, the index of the log entry that made it. The entry reaches every
 * member, so each has the same tokens, in memory alone: a restart forgets them, and clients authenticate
 * anew. A token lives ttl_ms behind its last use on this member. Time is the caller's. */
#ifndef CONSENSUS_AUTH_TOKEN_H
#define CONSENSUS_AUTH_TOKEN_H

#include "base/list.h"
#include "base/map.h"

enum { AUTH_TOKEN_LETTERS = 16, AUTH_TOKEN_MAX = 40, AUTH_TOKENS_MAX = 262144 };

struct auth_tokens {
    struct strmap map;
    struct link by_age; /* the one that ends next is the first */
    uint64_t ttl_ms;
    size_t count;
};

void auth_tokens_init(struct auth_tokens *t, uint64_t ttl_ms);
void auth_tokens_clear(struct auth_tokens *t); /* also the end */
/* Of too many the oldest goes. */
void auth_tokens_add(struct auth_tokens *t, struct slice token, const char *user, uint64_t now_ms);
/* The user, and the token's time begins anew; NULL: it is none, or over. */
const char *auth_tokens_use(struct auth_tokens *t, struct slice token, uint64_t now_ms);
void auth_tokens_drop_user(struct auth_tokens *t, const char *user);
void auth_tokens_expire(struct auth_tokens *t, uint64_t now_ms);
/* Its index, if it has the form of one; else 0. */
uint64_t auth_token_index(struct slice token);

#endif
