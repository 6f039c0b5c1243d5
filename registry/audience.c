/* SPDX-License-Identifier: Apache-2.0
 * Audiences; see audience.h. The ranges are copied and cut to the source prefixes, so that a change of
 * other rights makes no new audience. A check is one binary search for the source key. */
#include "registry/audience.h"

#include "base/hash.h"
#include "registry/projection.h"

/* --- init and free ---------------------------------------------------------------------------------- */

static struct slice audience_keep(struct arena *a, struct slice s)
{
    return slice_of(arena_copy(a, s.data, s.size), s.size);
}

/* The first key after all keys with the prefix. Prefixes are text, so their last byte is not 0xff. */
static struct slice end_of(struct arena *a, const char *prefix)
{
    size_t size = strlen(prefix);
    uint8_t *end = arena_copy(a, prefix, size);
    end[size - 1]++;
    return slice_of(end, size);
}

static struct slice greater(struct slice a, struct slice b)
{
    return slice_compare(a, b) > 0 ? a : b;
}

/* Adds the part of the ranges that lies below the prefix. */
static void add_prefix(struct audience *a, const struct auth_ranges *readable, const char *prefix)
{
    struct arena *arena = &a->ranges.arena;
    struct slice begin = slice_text(prefix), end = end_of(arena, prefix);
    for (size_t i = 0; i < readable->count; i++) {
        const struct auth_range *r = &readable->list[i];
        if (slice_compare(r->begin, end) >= 0 || (!r->is_open && slice_compare(r->end, begin) <= 0))
            continue;
        bool ends_before = !r->is_open && slice_compare(r->end, end) < 0;
        auth_ranges_add(&a->ranges, audience_keep(arena, greater(r->begin, begin)),
                        audience_keep(arena, ends_before ? r->end : end));
    }
}

static void add_to_digest(struct sha256 *sha, struct slice s)
{
    uint8_t size[4];
    put_be32(size, (uint32_t)s.size);
    sha256_add(sha, size, sizeof size);
    sha256_add(sha, s.data, s.size);
}

static struct audience *make(const struct auth_ranges *readable, const char *const *prefixes, size_t count,
                             const char *more)
{
    struct audience *a = mem_new(sizeof *a);
    struct sha256 *sha = sha256_new();
    uint8_t digest[32];
    a->references = 1;
    for (size_t i = 0; i < count; i++)
        add_prefix(a, readable, prefixes[i]);
    if (more)
        add_prefix(a, readable, more);
    auth_ranges_merge(&a->ranges);
    for (size_t i = 0; i < a->ranges.count; i++) {
        add_to_digest(sha, a->ranges.list[i].begin);
        add_to_digest(sha, a->ranges.list[i].end);
    }
    sha256_finish(sha, digest);
    memcpy(a->digest, digest, sizeof a->digest);
    return a;
}

struct audience *audience_new(const struct auth_ranges *readable, const char *const *prefixes, size_t count)
{
    struct audience *a = make(readable, prefixes, count, NULL);
    struct arena scratch = {0};
    bool is_all = true;
    for (size_t i = 0; is_all && i < count; i++)
        is_all = auth_ranges_allow(&a->ranges, slice_text(prefixes[i]), end_of(&scratch, prefixes[i]));
    arena_done(&scratch);
    if (!is_all)
        return a;
    audience_unref(a);
    return NULL;
}

struct audience *audience_new_with_services(const struct auth_ranges *readable, const char *const *prefixes,
                                            size_t count)
{
    return make(readable, prefixes, count, REGISTRY_PREFIX "instances/");
}

struct audience *audience_ref(struct audience *a)
{
    if (a)
        a->references++;
    return a;
}

size_t audience_bytes(const struct audience *a)
{
    if (!a)
        return 0;
    return sizeof *a + a->ranges.capacity * sizeof *a->ranges.list + arena_bytes(&a->ranges.arena);
}

void audience_unref(struct audience *a)
{
    if (!a || --a->references)
        return;
    auth_ranges_done(&a->ranges);
    mem_free(a);
}

bool audience_is_same(const struct audience *a, const struct audience *b)
{
    return a == b || (a && b && memcmp(a->digest, b->digest, sizeof a->digest) == 0);
}

/* --- instances -------------------------------------------------------------------------------------- */

static bool may_read(const struct audience *a, struct slice key)
{
    return auth_ranges_allow(&a->ranges, key, (struct slice){0});
}

bool audience_sees(const struct audience *a, const struct catalog_instance *i)
{
    return i->doc && (!a || !i->doc->origin.size || may_read(a, i->doc->origin));
}

bool audience_sees_change(const struct audience *a, const struct catalog_change *change, size_t at)
{
    if (!a || !projection_is_reserved(change->ids[at]))
        return true;
    if (change->origins[at].size && may_read(a, change->origins[at]))
        return true;
    const struct catalog_instance *i = catalog_instance(change->service, change->ids[at]);
    return i && audience_sees(a, i);
}

bool audience_sees_any(const struct audience *a, const struct catalog_change *change)
{
    if (!a || change->are_settings_changed)
        return true;
    for (size_t i = 0; i < change->id_count; i++)
        if (audience_sees_change(a, change, i))
            return true;
    return false;
}

void audience_count(const struct audience *a, const struct catalog_service *s,
                    struct audience_counts *ret_counts)
{
    *ret_counts = (struct audience_counts){.instances = s->instances, .revision = s->revision};
    if (!a || !s->was_projected) {
        memcpy(ret_counts->by_state, s->by_state, sizeof s->by_state);
        ret_counts->exists = catalog_exists(s);
        return;
    }
    ret_counts->instances = 0;
    ret_counts->revision = s->has_settings ? s->settings_revision : 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct catalog_instance *one = s->list[i];
        if (!audience_sees(a, one))
            continue;
        ret_counts->instances++;
        ret_counts->by_state[catalog_effect(one).state]++;
        int64_t last =
            one->mod_revision > one->override_revision ? one->mod_revision : one->override_revision;
        ret_counts->revision = last > ret_counts->revision ? last : ret_counts->revision;
    }
    ret_counts->exists = ret_counts->instances || s->has_settings;
}

/* --- services --------------------------------------------------------------------------------------- */

bool audience_sees_service(const struct audience *a, const struct catalog_service *s)
{
    struct audience_counts counts;
    audience_count(a, s, &counts);
    return counts.exists && audience_may_read(a, s->ns, s->group, s->name, (struct slice){0});
}

bool audience_may_read(const struct audience *a, struct slice ns, struct slice group, struct slice service,
                       struct slice id)
{
    struct buf key = {0}, end = {0};
    if (!a)
        return true;
    name_add_prefix(&key, NAME_INSTANCE, ns, group, service);
    if (id.size && !projection_is_reserved(id)) {
        name_add_segment(&key, id);
    } else {
        buf_add_slice(&end, buf_slice(&key));
        end.data[end.size - 1]++; /* '/' */
    }
    bool may = auth_ranges_allow(&a->ranges, buf_slice(&key), buf_slice(&end));
    buf_done(&key);
    buf_done(&end);
    return may;
}

bool audience_sees_registry(const struct audience *a)
{
    static const char begin[] = REGISTRY_PREFIX "instances/", end[] = REGISTRY_PREFIX "instances0";
    return !a || auth_ranges_overlap(&a->ranges, slice_text(begin), slice_text(end));
}
