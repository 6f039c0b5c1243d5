/* SPDX-License-Identifier: Apache-2.0
 * Snapshot of one service; see service_snapshot.h. Matching instances are kept sorted by id, as in the
 * service's list, with a reference to their documents. */
#include "registry/service_snapshot.h"

enum {
    LOOKS_PER_CLOCK = 32, /* instances between two readings of the clock: some 3 us */
    CHANGES_MAX =
        64, /* with more changes at once all instances are taken again: it costs less than moving each */
};

struct service_snapshot {
    const struct select_query *query;
    struct arena arena;
    struct select_candidate *list; /* of instances in the arena */
    size_t count, capacity;
    struct buf place; /* the last id that was visited */
    bool has_place, is_complete;
};

struct service_snapshot *service_snapshot_new(const struct select_query *query)
{
    struct service_snapshot *x = mem_new(sizeof *x);
    x->query = query;
    return x;
}

static void service_snapshot_release(const struct select_candidate *taken)
{
    catalog_snapshot_release((struct catalog_instance *)(uintptr_t)taken->instance);
}

static void clear(struct service_snapshot *x)
{
    for (size_t i = 0; i < x->count; i++)
        service_snapshot_release(&x->list[i]);
    x->count = 0;
    x->has_place = false;
    buf_clear(&x->place);
    arena_reset(&x->arena);
}

bool service_snapshot_free_some(struct service_snapshot *x, size_t max)
{
    for (; x->count && max; max--)
        service_snapshot_release(&x->list[--x->count]);
    if (x->count)
        return false;
    mem_free(x->list);
    buf_done(&x->place);
    arena_done(&x->arena);
    mem_free(x);
    return true;
}

/* The index of this id in the list, or where it would be. */
static size_t service_snapshot_place_of(const struct service_snapshot *x, struct slice id)
{
    size_t low = 0, high = x->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(x->list[middle].instance->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(struct service_snapshot *x, const struct select_candidate *candidate, size_t at)
{
    if (x->count == x->capacity) {
        x->capacity = x->capacity ? 2 * x->capacity : 64;
        x->list = mem_resize(x->list, x->capacity * sizeof *x->list);
    }
    memmove(x->list + at + 1, x->list + at, (x->count - at) * sizeof *x->list);
    struct catalog_instance *taken = arena_alloc(&x->arena, sizeof *taken);
    catalog_snapshot(candidate->instance, &x->arena, taken);
    x->list[at] = *candidate;
    x->list[at].instance = taken;
    x->count++;
}

static void remove_at(struct service_snapshot *x, size_t at)
{
    service_snapshot_release(&x->list[at]);
    x->count--;
    memmove(x->list + at, x->list + at + 1, (x->count - at) * sizeof *x->list);
}

bool service_snapshot_take(struct service_snapshot *x, const struct catalog_service *s,
                           bool (*is_over)(const void *arg), const void *arg)
{
    struct select_candidate candidate;
    size_t at = s && x->has_place ? catalog_place_behind(s, buf_slice(&x->place)) : 0;
    for (size_t n = 1; s && at < s->count; at++, n++) {
        if (select_match(x->query, s->list[at], &candidate))
            insert(x, &candidate, x->count);
        if (n % LOOKS_PER_CLOCK == 0 && at + 1 < s->count && is_over(arg)) {
            buf_clear(&x->place);
            buf_add_slice(&x->place, s->list[at]->id);
            x->has_place = true;
            return false;
        }
    }
    x->is_complete = true;
    return true;
}

void service_snapshot_change(struct service_snapshot *x, const struct catalog_change *change)
{
    struct select_candidate candidate;
    if (x->is_complete || !x->has_place)
        return;
    /* Other inherited metadata: instances that do not match any more, and others that begin to. */
    bool is_other_choice = change->is_inheritance_changed && x->query->label_count;
    if (change->id_count > CHANGES_MAX || is_other_choice) {
        clear(x);
        return;
    }
    for (size_t i = 0; i < change->id_count; i++) {
        struct slice id = change->ids[i];
        if (slice_compare(id, buf_slice(&x->place)) > 0)
            continue;
        size_t at = service_snapshot_place_of(x, id);
        if (at < x->count && slice_equal(x->list[at].instance->id, id))
            remove_at(x, at);
        const struct catalog_instance *now = catalog_instance(change->service, id);
        if (now && select_match(x->query, now, &candidate))
            insert(x, &candidate, at);
    }
}

void service_snapshot_choose(struct service_snapshot *x, double protect_threshold,
                             struct select_result *ret_result)
{
    select_choose(x->query, protect_threshold, x->list, x->count, &x->arena, ret_result);
}

size_t service_snapshot_bytes(const struct service_snapshot *x)
{
    return arena_bytes(&x->arena) + x->capacity * sizeof *x->list;
}
