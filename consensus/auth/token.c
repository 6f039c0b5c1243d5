/* SPDX-License-Identifier: Apache-2.0
 * Simple tokens; see token.h. Each use sets a token's lifetime to the same duration, so the list in the order
 * of last use is also the list in the order of expiry. */
#include "consensus/auth/token.h"

#include <string.h>

#include "base/mem.h"

struct token {
    struct link link; /* in by_age */
    uint64_t end_ms;
    struct slice text;
    char user[]; /* and a zero, then the text */
};

void auth_tokens_init(struct auth_tokens *t, uint64_t ttl_ms)
{
    *t = (struct auth_tokens){.ttl_ms = ttl_ms};
    list_init(&t->by_age);
}

static void auth_token_drop(struct auth_tokens *t, struct token *token)
{
    (void)strmap_remove(&t->map, token->text);
    list_remove(&token->link);
    t->count--;
    mem_free(token);
}

void auth_tokens_clear(struct auth_tokens *t)
{
    while (!list_is_empty(&t->by_age))
        auth_token_drop(t, container_of(t->by_age.next, struct token, link));
    strmap_done(&t->map);
}

void auth_tokens_add(struct auth_tokens *t, struct slice token, const char *user, uint64_t now_ms)
{
    size_t size = strlen(user) + 1;
    struct token *old = strmap_get(&t->map, token);
    if (old)
        auth_token_drop(t, old);
    if (t->count >= AUTH_TOKENS_MAX)
        auth_token_drop(t, container_of(t->by_age.next, struct token, link));
    struct token *new = mem_new(sizeof *new + size + token.size);
    memcpy(new->user, user, size);
    memcpy(new->user + size, token.data, token.size);
    new->text = slice_of(new->user + size, token.size);
    new->end_ms = now_ms + t->ttl_ms;
    list_add_last(&t->by_age, &new->link);
    (void)strmap_put(&t->map, new->text, new);
    t->count++;
}

const char *auth_tokens_use(struct auth_tokens *t, struct slice token, uint64_t now_ms)
{
    struct token *entry = strmap_get(&t->map, token);
    if (!entry || entry->end_ms <= now_ms)
        return NULL;
    entry->end_ms = now_ms + t->ttl_ms;
    list_remove(&entry->link);
    list_add_last(&t->by_age, &entry->link);
    return entry->user;
}

void auth_tokens_drop_user(struct auth_tokens *t, const char *user)
{
    LIST_FOR_EACH_SAFE (l, &t->by_age) {
        struct token *token = container_of(l, struct token, link);
        if (strcmp(token->user, user) == 0)
            auth_token_drop(t, token);
    }
}

void auth_tokens_expire(struct auth_tokens *t, uint64_t now_ms)
{
    while (!list_is_empty(&t->by_age)) {
        struct token *first = container_of(t->by_age.next, struct token, link);
        if (first->end_ms > now_ms)
            return;
        auth_token_drop(t, first);
    }
}

uint64_t auth_token_index(struct slice token)
{
    uint64_t index = 0;
    const uint8_t *point = token.size ? memchr(token.data, '.', token.size) : NULL;
    if (!point || token.size > AUTH_TOKEN_MAX)
        return 0;
    const uint8_t *end = token.data + token.size;
    for (const uint8_t *p = point + 1; p < end; p++) {
        if (*p < '0' || *p > '9' || index > UINT64_MAX / 10 - 1)
            return 0;
        index = index * 10 + (uint64_t)(*p - '0');
    }
    return index;
}
