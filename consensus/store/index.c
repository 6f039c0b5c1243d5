/* SPDX-License-Identifier: Apache-2.0
 * The key index: see index.h. What is here is the life of one key; order and lookup are tree.c and keymap.c.
 */
#include "consensus/store/index.h"

#include "base/mem.h"
#include "base/plant.h"

void index_init(struct index *x, size_t expected)
{
    *x = (struct index){0};
    tree_init(&x->tree);
    keymap_init(&x->map, expected);
}

static void entry_free(struct index_entry *e)
{
    mem_free(e->history);
    mem_free(e);
}

void index_done(struct index *x)
{
    if (!x->tree.root)
        return;
    struct tree_cursor c = tree_seek(&x->tree, (struct slice){0});
    for (struct index_entry *e; (e = tree_next(&c));)
        entry_free(e);
    for (size_t i = 0; i < x->loaded_count; i++)
        entry_free(x->loaded[i]);
    mem_free(x->loaded);
    tree_done(&x->tree);
    keymap_done(&x->map);
    *x = (struct index){0};
}

struct index_entry *index_find(const struct index *x, struct slice key)
{
    return keymap_get(&x->map, key);
}

static struct index_entry *entry_new(struct index *x, struct slice key)
{
    struct index_entry *e = mem_alloc(sizeof *e + key.size);
    *e = (struct index_entry){.key_size = (uint32_t)key.size & 0x7fffffff};
    assert(e->key_size == key.size);
    memcpy(e->key, key.data, key.size);
    x->count++;
    x->key_bytes += key.size;
    keymap_add(&x->map, e);
    return e;
}

/* The latest revision becomes a past one. */
static void entry_push(struct index_entry *e)
{
    struct index_history *h = e->history;
    if (!h || h->count == h->capacity) {
        uint32_t capacity = h ? h->capacity * 2 : 1;
        h = mem_resize(h, sizeof *h + capacity * sizeof h->items[0]);
        if (!e->history)
            h->count = 0;
        h->capacity = capacity;
        e->history = h;
    }
    h->items[h->count++] =
        (struct index_past){.main = e->main, .sub = e->sub, .is_tombstone = e->version == 0};
}

static void entry_set(struct index *x, struct index_entry *e, struct revision revision, int64_t create,
                      int64_t version, bool has_lease)
{
    x->live += (version != 0) - (size_t)(e->version != 0);
    e->main = revision.main;
    e->sub = revision.sub;
    e->create = create;
    e->version = version;
    e->has_lease = has_lease;
}

struct index_entry *index_insert(struct index *x, struct slice key, struct revision revision, bool has_lease)
{
    struct index_entry *e = entry_new(x, key);
    entry_set(x, e, revision, revision.main, 1, has_lease);
    tree_add(&x->tree, e);
    return e;
}

void index_update(struct index *x, struct index_entry *e, struct revision revision, bool has_lease)
{
    assert(revision_compare((struct revision){e->main, e->sub}, revision) < 0);
    entry_push(e);
    bool is_new = e->version == 0;
    entry_set(x, e, revision, is_new ? revision.main : e->create, e->version + 1, has_lease);
}

void index_tombstone(struct index *x, struct index_entry *e, struct revision revision)
{
    assert(e->version != 0 && revision_compare((struct revision){e->main, e->sub}, revision) < 0);
    entry_push(e);
    entry_set(x, e, revision, 0, 0, false);
}

/* How many past revisions have main <= at. */
static uint32_t history_until(const struct index_history *h, int64_t at)
{
    uint32_t low = 0, high = h ? h->count : 0;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (h->items[middle].main <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool index_get(const struct index_entry *e, int64_t at, struct revision *ret_revision)
{
    if (e->main <= at) {
        if (e->version == 0)
            return false;
        *ret_revision = (struct revision){e->main, e->sub};
        return true;
    }
    uint32_t n = history_until(e->history, at);
    if (n == 0 || e->history->items[n - 1].is_tombstone)
        return false;
    *ret_revision = (struct revision){e->history->items[n - 1].main, e->history->items[n - 1].sub};
    return true;
}

/* etcd's rule: of the revisions up to the compaction only the last stays; if that is a tombstone it stays
 * only when it was written by the compaction's own revision, so that a watcher from there sees the delete. */
static bool past_stays(struct index_past last, int64_t compact)
{
    return !last.is_tombstone || (last.main == compact && !PLANTED(COMPACT_DROPS_TOMBSTONE));
}

bool index_keeps(const struct index_entry *e, struct revision revision, int64_t compact)
{
    if (revision.main > compact)
        return true;
    struct index_past last = {.main = e->main, .sub = e->sub, .is_tombstone = e->version == 0};
    if (e->main > compact) {
        uint32_t n = history_until(e->history, compact);
        if (n == 0)
            return false;
        last = e->history->items[n - 1];
    }
    return last.main == revision.main && last.sub == revision.sub && past_stays(last, compact);
}

void index_load(struct index *x, struct slice key, struct revision revision, int64_t create, int64_t version,
                bool has_lease)
{
    struct index_entry *e = keymap_get(&x->map, key);
    if (e) {
        entry_push(e);
    } else {
        e = entry_new(x, key);
        if (x->loaded_count == x->loaded_capacity) {
            x->loaded_capacity = x->loaded_capacity ? x->loaded_capacity * 2 : 1024;
            x->loaded = mem_resize(x->loaded, x->loaded_capacity * sizeof *x->loaded);
        }
        x->loaded[x->loaded_count++] = e;
    }
    entry_set(x, e, revision, create, version, has_lease);
}

void index_load_end(struct index *x)
{
    tree_sort(x->loaded, x->loaded_count);
    tree_build(&x->tree, x->loaded, x->loaded_count);
    mem_free(x->loaded);
    x->loaded = NULL;
    x->loaded_count = x->loaded_capacity = 0;
}

/* Drops what compaction takes from one key; true when nothing of it is left. */
static bool entry_compact(struct index_entry *e, int64_t compact, uint32_t max,
                          void (*drop)(void *arg, struct revision revision), void *arg, bool *ret_is_done)
{
    struct index_history *h = e->history;
    uint32_t n = history_until(h, compact);
    *ret_is_done = n <= max;
    if (!*ret_is_done)
        n = max;
    bool latest_goes = *ret_is_done && e->main <= compact && e->version == 0 && e->main != compact;
    uint32_t gone = n; /* past ones to drop, from the oldest */
    if (*ret_is_done && e->main > compact && n > 0 && past_stays(h->items[n - 1], compact) &&
        !PLANTED(COMPACT_DROPS_LIVE))
        gone--;
    for (uint32_t i = 0; i < gone; i++)
        drop(arg, (struct revision){h->items[i].main, h->items[i].sub});
    if (latest_goes) {
        drop(arg, (struct revision){e->main, e->sub});
        return true;
    }
    if (gone == 0)
        return false;
    h->count -= gone;
    if (h->count == 0) {
        mem_free(h);
        e->history = NULL;
        return false;
    }
    memmove(h->items, h->items + gone, h->count * sizeof h->items[0]);
    if (h->count <= h->capacity / 4) {
        h->capacity = h->count;
        e->history = mem_resize(h, sizeof *h + h->count * sizeof h->items[0]);
    }
    return false;
}

bool index_sweep(struct index *x, struct buf *position, int64_t compact, size_t max_keys, uint32_t max_drops,
                 void (*drop)(void *arg, struct revision revision), void *arg)
{
    struct index_entry **empty = NULL, *e;
    size_t empty_count = 0;
    struct tree_cursor c = tree_seek(&x->tree, buf_slice(position));
    while ((e = tree_next(&c)) && max_keys-- > 0) {
        bool is_done;
        if (!e->history && (e->version != 0 || e->main >= compact))
            continue;
        bool is_empty = entry_compact(e, compact, max_drops, drop, arg, &is_done);
        if (!is_done)
            break; /* the rest of this key is for the next call */
        if (!is_empty)
            continue;
        if (!empty)
            empty = mem_alloc((max_keys + 1) * sizeof *empty);
        empty[empty_count++] = e;
    }
    buf_clear(position);
    if (e)
        buf_add_slice(position, index_entry_key(e));
    for (size_t i = 0; i < empty_count; i++) {
        tree_remove(&x->tree, empty[i]);
        keymap_remove(&x->map, empty[i]);
        x->count--;
        x->key_bytes -= empty[i]->key_size;
        entry_free(empty[i]);
    }
    mem_free(empty);
    return !e;
}
