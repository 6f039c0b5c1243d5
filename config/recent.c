/* SPDX-License-Identifier: Apache-2.0
 * See recent.h. An entry in the map has a reference for that. */
#include "config/recent.h"

enum { ENTRY_ROOM = 1024 }; /* what an entry takes beside its texts, about */

void recent_init(struct recent *r)
{
    *r = (struct recent){0};
    list_init(&r->order);
}

void recent_unref(struct recent_release *e)
{
    if (!e || --e->references)
        return;
    arena_done(&e->arena);
    mem_free(e->key.data);
    mem_free(e);
}

static void drop(struct recent *r, struct recent_release *e)
{
    strmap_remove(&r->entries, e->key);
    list_remove(&e->link);
    r->bytes -= e->size;
    recent_unref(e);
}

void recent_done(struct recent *r)
{
    while (!list_is_empty(&r->order))
        drop(r, container_of(r->order.next, struct recent_release, link));
    strmap_done(&r->entries);
}

struct recent_release *recent_get(struct recent *r, struct slice key, int64_t revision)
{
    struct recent_release *e = strmap_get(&r->entries, key);
    if (!e)
        return NULL;
    if (e->revision != revision) {
        drop(r, e);
        return NULL;
    }
    list_remove(&e->link);
    list_add_first(&r->order, &e->link);
    e->references++;
    return e;
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
    e->revision = revision;
    e->key = slice_of(mem_copy(key.data, key.size), key.size);
    e->size = ENTRY_ROOM + key.size + e->release.content.size;
    if (old)
        drop(r, old);
    strmap_put(&r->entries, e->key, e);
    list_add_first(&r->order, &e->link);
    r->bytes += e->size;
    e->references++;
    while (r->bytes > RECENT_BYTES_MAX && r->order.prev != &e->link)
        drop(r, container_of(r->order.prev, struct recent_release, link));
    return e;
}
