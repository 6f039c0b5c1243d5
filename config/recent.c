/* SPDX-License-Identifier: Apache-2.0
 * The cache of recently read releases; see recent.h. The map holds one reference to each entry. */
#include "config/recent.h"

#include "config/config.h"
#include "config/sealed.h"

static bool evict_oldest(struct cache_share *share);

void recent_init(struct recent *r, struct cache_budget *budget)
{
    *r = (struct recent){0};
    list_init(&r->order);
    cache_share_init(&r->share, budget, METRIC_CACHE_CONTENTS, evict_oldest);
}

void recent_unref(struct recent_release *e)
{
    if (!e || --e->references)
        return;
    arena_done(&e->arena);
    mem_free(e->key.data);
    mem_free(e);
}

void recent_drop(struct recent *r, struct recent_release *e)
{
    strmap_remove(&r->entries, e->key);
    list_remove(&e->link);
    r->bytes -= e->size;
    cache_share_sub(&r->share, e->size);
    recent_unref(e);
}

static bool evict_oldest(struct cache_share *share)
{
    struct recent *r = container_of(share, struct recent, share);
    if (list_is_empty(&r->order))
        return false;
    recent_drop(r, container_of(r->order.prev, struct recent_release, link));
    return true;
}

/* Its memory: the struct, the key, its place in the map, and the arena with all that decoding left in it. */
static size_t size_of(const struct recent_release *e)
{
    return cache_block_bytes(sizeof *e) + cache_block_bytes(e->key.size) + 2 * sizeof(struct link) +
           arena_bytes(&e->arena);
}

void recent_done(struct recent *r)
{
    while (!list_is_empty(&r->order))
        recent_drop(r, container_of(r->order.next, struct recent_release, link));
    strmap_done(&r->entries);
    cache_share_done(&r->share);
}

struct recent_release *recent_get(struct recent *r, struct slice key, int64_t revision)
{
    struct recent_release *e = strmap_get(&r->entries, key);
    if (!e)
        return NULL;
    if (e->revision != revision) {
        recent_drop(r, e);
        return NULL;
    }
    list_remove(&e->link);
    list_add_first(&r->order, &e->link);
    e->references++;
    return e;
}

static void recent_open(struct recent *r, struct recent_release *e, struct slice key)
{
    struct buf scratch = {0};
    struct config_name name;
    char error[256] = "";
    int err = config_name_parse(key, &scratch, &name);
    if (!err)
        err = sealed_open_release(r->keys, &(struct config_id){name.ns, name.group, name.name}, &e->release,
                                  &e->arena, error, sizeof error);
    if (err)
        e->open_error = arena_printf(&e->arena, "%s", error);
    e->open_err = err;
    buf_done(&scratch);
}

struct recent_release *recent_read(struct recent *r, struct slice key, int64_t revision, struct slice text)
{
    char error[256];
    struct recent_release *e = mem_new(sizeof *e), *old = strmap_get(&r->entries, key);
    e->references = 1;
    if (config_release_read(text, &e->arena, &e->release, error, sizeof error)) {
        recent_unref(e);
        return NULL;
    }
    if (e->release.sealed.size)
        recent_open(r, e, key);
    e->revision = revision;
    e->key = slice_of(mem_copy(key.data, key.size), key.size);
    e->size = size_of(e);
    if (old)
        recent_drop(r, old);
    strmap_put(&r->entries, e->key, e);
    list_add_first(&r->order, &e->link);
    r->bytes += e->size;
    cache_share_add(&r->share, e->size);
    e->references++;
    while (r->bytes > RECENT_BYTES_MAX && r->order.prev != &e->link)
        recent_drop(r, container_of(r->order.prev, struct recent_release, link));
    return e;
}

struct recent_release *recent_next(struct recent *r)
{
    struct slice key;
    void *value;
    if (strmap_next(&r->entries, &r->cursor, &key, &value))
        return value;
    r->cursor = 0;
    return NULL;
}
