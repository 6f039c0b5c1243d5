/* SPDX-License-Identifier: Apache-2.0
 * Cache of DNS_CHOICES selections; the least recently used one is replaced. See dns_choice.h. */
#include "server/dns/dns_choice.h"

#include <string.h>

enum { SMALL = 64 }; /* instances: services with fewer are not cached */

static void dns_choice_choose(const struct catalog_service *s, struct slice tag,
                              const struct audience *audience, struct arena *a, struct select_result *ret)
{
    struct select_query q = {.only_serving = true, .audience = audience};
    if (tag.size)
        q.tags[q.tag_count++] = tag;
    select_run(&q, s, a, ret);
}

static bool is_of(const struct dns_choice *k, uint64_t edition, const struct catalog_service *s,
                  struct slice tag, const struct audience *audience)
{
    return k->edition == edition && k->service == s && k->has_audience == (audience != NULL) &&
           slice_equal(buf_slice(&k->tag), tag) &&
           (!audience || memcmp(k->digest, audience->digest, sizeof k->digest) == 0);
}

/* A copy, because the caller reorders it: an answer depends on the question and its random number alone. */
static struct select_result copy_of(const struct select_result *kept, struct arena *a)
{
    struct select_result result = *kept;
    result.list = arena_copy(a, kept->list, kept->count * sizeof *kept->list);
    return result;
}

struct select_result dns_choose(struct dns_choices *x, const struct catalog *c,
                                const struct catalog_service *s, struct slice tag,
                                const struct audience *audience, struct arena *a)
{
    struct select_result result;
    uint64_t edition = x && s->count >= SMALL ? catalog_edition(c) : 0;
    if (!edition) {
        dns_choice_choose(s, tag, audience, a, &result);
        return result;
    }
    struct dns_choice *oldest = &x->list[0];
    x->uses++;
    for (size_t i = 0; i < DNS_CHOICES; i++) {
        struct dns_choice *k = &x->list[i];
        if (is_of(k, edition, s, tag, audience)) {
            k->used = x->uses;
            return copy_of(&k->result, a);
        }
        if (k->used < oldest->used)
            oldest = k;
    }
    arena_done(&oldest->arena);
    buf_clear(&oldest->tag);
    buf_add_slice(&oldest->tag, tag);
    oldest->has_audience = audience != NULL;
    if (audience)
        memcpy(oldest->digest, audience->digest, sizeof oldest->digest);
    oldest->service = s;
    oldest->edition = edition;
    oldest->used = x->uses;
    dns_choice_choose(s, tag, audience, &oldest->arena, &oldest->result);
    return copy_of(&oldest->result, a);
}

void dns_choices_done(struct dns_choices *x)
{
    for (size_t i = 0; i < DNS_CHOICES; i++) {
        arena_done(&x->list[i].arena);
        buf_done(&x->list[i].tag);
    }
    *x = (struct dns_choices){0};
}
