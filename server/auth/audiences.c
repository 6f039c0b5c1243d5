/* SPDX-License-Identifier: Apache-2.0
 * Cache of audiences; see audiences.h. An entry is built again when the auth revision has changed. If the
 * relevant permissions are the same, so is the audience's digest, and subscriptions go on without a
 * resync. */
#include "server/auth/audiences.h"

#include "base/hash.h"

struct entry {
    struct slice user;     /* owned */
    uint64_t revision;     /* 0 = free */
    uint64_t who_revision; /* of a token: an outdated one has no permissions */
    bool is_role;
    enum audience_scope scope;
    struct audience *audience;
    size_t bytes;
};

struct audiences {
    struct entry list[AUDIENCES];
    struct cache_share share;
    size_t hand;
};

static void clear(struct audiences *as, struct entry *e)
{
    mem_free(e->user.data);
    audience_unref(e->audience);
    cache_share_sub(&as->share, e->bytes);
    *e = (struct entry){0};
}

/* Evicts the next used entry after the clock hand. */
static bool evict(struct cache_share *share)
{
    struct audiences *as = container_of(share, struct audiences, share);
    for (size_t i = 0; i < AUDIENCES; i++) {
        struct entry *e = &as->list[as->hand++ % AUDIENCES];
        if (e->bytes) {
            clear(as, e);
            return true;
        }
    }
    return false;
}

struct audiences *audiences_new(struct cache_budget *budget)
{
    struct audiences *as = mem_new(sizeof *as);
    cache_share_init(&as->share, budget, METRIC_CACHE_AUDIENCES, evict);
    return as;
}

void audiences_free(void *data)
{
    struct audiences *as = data;
    if (!as)
        return;
    for (size_t i = 0; i < AUDIENCES; i++)
        clear(as, &as->list[i]);
    cache_share_done(&as->share);
    mem_free(as);
}

static struct audience *make(const struct kv *kv, const struct registry *r, const struct auth_who *who,
                             enum audience_scope scope)
{
    static const struct auth_ranges none;
    static const char *const heads = "/cairn/config/heads/";
    const struct auth_ranges *readable;
    int err = kv_auth_readable(kv, who, &readable);
    if (!err && !readable)
        return NULL;
    if (scope == AUDIENCE_CONFIGS)
        return audience_new(err ? &none : readable, &heads, 1);
    return registry_audience(r, err ? &none : readable, scope == AUDIENCE_SERVICES);
}

struct audience *audiences_get(struct audiences *as, const struct kv *kv, const struct registry *r,
                               const struct auth_who *who, enum audience_scope scope)
{
    uint64_t revision = kv_auth_revision(kv), who_revision = who->is_renewed ? 0 : who->revision;
    uint64_t place = hash64(who->user.data, who->user.size) + who->is_role + 2u * scope;
    struct entry *e = &as->list[place % AUDIENCES];
    if (e->revision == revision && e->who_revision == who_revision && e->is_role == who->is_role &&
        e->scope == scope && slice_equal(e->user, who->user))
        return e->audience;
    struct audience *audience = make(kv, r, who, scope);
    clear(as, e);
    *e = (struct entry){.user = slice_of(mem_copy(who->user.data, who->user.size), who->user.size),
                        .revision = revision,
                        .who_revision = who_revision,
                        .is_role = who->is_role,
                        .scope = scope,
                        .audience = audience,
                        .bytes = cache_block_bytes(who->user.size) + audience_bytes(audience)};
    cache_share_add(&as->share, e->bytes);
    return audience;
}
