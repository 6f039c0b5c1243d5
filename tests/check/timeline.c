/* SPDX-License-Identifier: Apache-2.0
 * The model of the store. Each key has the list of its versions; a bisection finds the state at a
 * revision. */
#include "tests/check/timeline.h"

#include <assert.h>
#include <stdlib.h>

static int key_compare(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

void timeline_init(struct timeline *t, struct slice *keys, size_t count)
{
    *t = (struct timeline){.revision = 1};
    if (count)
        qsort(keys, count, sizeof *keys, key_compare);
    t->keys = mem_new(count * sizeof *t->keys);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || !slice_equal(keys[i], keys[i - 1]))
            t->keys[t->key_count++].key = keys[i];
}

void timeline_done(struct timeline *t)
{
    for (size_t i = 0; i < t->key_count; i++)
        mem_free(t->keys[i].versions);
    mem_free(t->keys);
    *t = (struct timeline){0};
}

/* The first key that is not below `key`. */
static size_t key_bound(const struct timeline *t, struct slice key)
{
    size_t low = 0, high = t->key_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(t->keys[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct timeline_key *key_find(const struct timeline *t, struct slice key)
{
    size_t i = key_bound(t, key);
    return i < t->key_count && slice_equal(t->keys[i].key, key) ? &t->keys[i] : NULL;
}

static const struct history_kv *key_version(const struct timeline_key *k, int64_t at)
{
    size_t low = 0, high = k->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (k->versions[middle].mod <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &k->versions[low - 1] : NULL;
}

const struct history_kv *timeline_version(const struct timeline *t, struct slice key, int64_t at)
{
    const struct timeline_key *k = key_find(t, key);
    return k ? key_version(k, at) : NULL;
}

bool timeline_get(const struct timeline *t, struct slice key, int64_t at, struct history_kv *ret_kv)
{
    const struct history_kv *kv = timeline_version(t, key, at);
    if (!kv || kv->version == 0)
        return false;
    *ret_kv = *kv;
    return true;
}

void timeline_append(struct timeline *t, const struct history_change *changes, size_t count)
{
    t->revision++;
    for (size_t i = 0; i < count; i++) {
        struct timeline_key *k = key_find(t, changes[i].kv.key);
        assert(k);
        struct history_kv kv = changes[i].kv;
        const struct history_kv *last = k->count ? &k->versions[k->count - 1] : NULL;
        kv.mod = t->revision;
        kv.version = last ? last->version : 0;
        kv.version = changes[i].is_delete ? 0 : kv.version + 1;
        kv.create = kv.version > 1 ? last->create : kv.mod;
        if (k->count == k->capacity) {
            k->capacity = k->capacity ? k->capacity * 2 : 4;
            k->versions = mem_resize(k->versions, k->capacity * sizeof *k->versions);
        }
        k->versions[k->count++] = kv;
    }
}

/* --- execution ------------------------------------------------------------------------------------- */

struct execution {
    const struct timeline *timeline;
    struct arena *arena;
    int64_t base;
    struct history_change *changes;
    size_t count, capacity;
};

/* The state that a later step of the same transaction sees. */
static bool execution_get(const struct execution *e, struct slice key, int64_t at, struct history_kv *ret_kv)
{
    for (size_t i = e->count; at == e->base && i-- > 0;)
        if (slice_equal(e->changes[i].kv.key, key)) {
            *ret_kv = e->changes[i].kv;
            return !e->changes[i].is_delete;
        }
    return timeline_get(e->timeline, key, at, ret_kv);
}

static void execution_change(struct execution *e, bool is_delete, const struct history_kv *kv)
{
    if (e->count == e->capacity) {
        size_t capacity = e->capacity ? e->capacity * 2 : 8;
        struct history_change *changes = arena_alloc(e->arena, capacity * sizeof *changes);
        if (e->count)
            memcpy(changes, e->changes, e->count * sizeof *changes);
        e->changes = changes;
        e->capacity = capacity;
    }
    e->changes[e->count++] = (struct history_change){is_delete, *kv};
}

/* Pairs of a range; ret_kvs has room for all of them. */
static size_t execution_range(const struct execution *e, struct slice from, struct slice end, int64_t at,
                              struct history_kv **ret_kvs)
{
    const struct timeline *t = e->timeline;
    size_t first = key_bound(t, from), last = first, count = 0;
    while (last < t->key_count && history_in_range(t->keys[last].key, from, end))
        last++;
    struct history_kv *kvs = arena_alloc(e->arena, (last - first) * sizeof *kvs);
    for (size_t i = first; i < last; i++)
        count += execution_get(e, t->keys[i].key, at, &kvs[count]);
    *ret_kvs = kvs;
    return count;
}

static void execution_step(struct execution *e, const struct history_step *s,
                           struct history_result *ret_result)
{
    struct history_result result = {0};
    struct history_kv *kvs, before = {0};
    size_t count;
    if (s->kind == HISTORY_PUT) {
        count = execution_range(e, s->key, (struct slice){0}, e->base, &kvs);
        if (count)
            before = kvs[0];
        result.kvs = kvs;
        result.kv_count = s->wants_prev ? count : 0;
        execution_change(e, false,
                         &(struct history_kv){s->key, s->value, count ? before.create : e->base + 1,
                                              e->base + 1, before.version + 1, s->lease});
    } else if (s->kind == HISTORY_DELETE) {
        count = execution_range(e, s->key, s->range_end, e->base, &kvs);
        result.kvs = kvs;
        result.kv_count = s->wants_prev ? count : 0;
        result.count = (int64_t)count;
        for (size_t i = 0; i < count; i++)
            execution_change(e, true, &(struct history_kv){.key = kvs[i].key, .mod = e->base + 1});
    } else {
        count = execution_range(e, s->key, s->range_end, s->at_revision ? s->at_revision : e->base, &kvs);
        result.kvs = kvs;
        result.count = (int64_t)count;
        result.has_more = s->limit > 0 && (size_t)s->limit < count && !s->is_count_only;
        result.kv_count = s->is_count_only ? 0 : result.has_more ? (size_t)s->limit : count;
    }
    *ret_result = result;
}

static bool compare_holds(const struct execution *e, const struct history_compare *c)
{
    struct history_kv kv = {0};
    bool exists = timeline_get(e->timeline, c->key, e->base, &kv);
    int64_t number = c->target == HISTORY_MOD ? kv.mod : c->target == HISTORY_CREATE ? kv.create : kv.version;
    int order = (number > c->number) - (number < c->number);
    if (c->target == HISTORY_VALUE) {
        if (!exists) /* a missing key has no value that could compare */
            return false;
        order = slice_compare(kv.value, c->value);
    }
    switch (c->relation) {
    case HISTORY_EQUAL:
        return order == 0;
    case HISTORY_NOT_EQUAL:
        return order != 0;
    case HISTORY_GREATER:
        return order > 0;
    case HISTORY_LESS:
        return order < 0;
    }
    return false;
}

struct timeline_outcome timeline_execute(const struct timeline *t, const struct history_request *r,
                                         int64_t base, struct arena *a)
{
    struct execution e = {.timeline = t, .arena = a, .base = base};
    struct timeline_outcome o = {.succeeded = true};
    for (size_t i = 0; i < r->compare_count; i++)
        o.succeeded &= compare_holds(&e, &r->compares[i]);
    const struct history_steps *steps = o.succeeded ? &r->then : &r->otherwise;
    o.results = arena_new(a, steps->count * sizeof *o.results);
    o.result_count = steps->count;
    for (size_t i = 0; i < steps->count; i++)
        execution_step(&e, &steps->items[i], &o.results[i]);
    o.changes = e.changes;
    o.change_count = e.count;
    return o;
}

bool timeline_same_changes(const struct history_change *a, size_t a_count, const struct history_change *b,
                           size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++) {
        if (a[i].is_delete != b[i].is_delete || !slice_equal(a[i].kv.key, b[i].kv.key))
            return false;
        if (!a[i].is_delete && (!slice_equal(a[i].kv.value, b[i].kv.value) || a[i].kv.lease != b[i].kv.lease))
            return false;
    }
    return true;
}
