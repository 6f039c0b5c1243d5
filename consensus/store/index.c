/* SPDX-License-Identifier: Apache-2.0
 * Key index: the revisions of one key; see index.h. tree.c and keymap.c hold order and lookup. */
#include "consensus/store/index.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"

enum { GROW_APART_MIN = 64 }; /* past revisions of a key */

void index_init(struct index *x, size_t expected)
{
    *x = (struct index){0};
    slab_init(&x->slab);
    tree_init(&x->tree);
    keymap_init(&x->map, expected);
}

static size_t entry_bytes(size_t key_size)
{
    size_t size = sizeof(struct index_entry) + key_size;
    return key_size < INDEX_KEY_LONG ? size : size + sizeof(uint64_t);
}

static size_t history_bytes(uint32_t capacity)
{
    return sizeof(struct index_history) + capacity * sizeof(struct index_past);
}

static void history_free(struct index *x, struct index_history *h)
{
    if (h)
        slab_free(&x->slab, h, history_bytes(h->capacity));
}

/* Gives the history another capacity; a key that was written once gets its first. */
static struct index_history *history_resize(struct index *x, struct index_entry *e, uint32_t capacity)
{
    struct index_history *old = index_entry_history(e), *h;
    size_t size = history_bytes(capacity);
    assert(!old || old->count + (e->revision == INDEX_WIDE) <= capacity);
    h = old ? slab_resize(&x->slab, old, history_bytes(old->capacity), size) : slab_alloc(&x->slab, size);
    if (!old)
        *h = (struct index_history){.create = index_entry_create(e), .version = index_entry_version(e)};
    h->capacity = capacity;
    assert((uintptr_t)h >> 48 == 0);
    e->history = (uintptr_t)h & ((UINT64_C(1) << 48) - 1);
    return h;
}

/* The next capacity of a full history. Long ones grow by a half to the whole, which differs between keys: a
 * transaction that writes the same keys again and again would otherwise copy all their histories at once. */
static uint32_t grown_capacity(const struct index_entry *e, uint32_t capacity)
{
    uint32_t half = capacity / 2;
    if (capacity < GROW_APART_MIN)
        return capacity ? capacity * 2 : 1;
    struct slice key = index_entry_key(e);
    return capacity + half + (uint32_t)(hash64(key.data, key.size) % half);
}

/* Reserves room for one more item. */
static struct index_history *history_reserve(struct index *x, struct index_entry *e)
{
    struct index_history *h = index_entry_history(e);
    if (h && h->count + (e->revision == INDEX_WIDE) < h->capacity)
        return h;
    return history_resize(x, e, grown_capacity(e, h ? h->capacity : 0));
}

static void entry_free(struct index *x, struct index_entry *e)
{
    history_free(x, index_entry_history(e));
    slab_free(&x->slab, e, entry_bytes(index_entry_key(e).size));
}

void index_done(struct index *x)
{
    if (!x->tree.root)
        return;
    struct tree_cursor c = tree_seek(&x->tree, (struct slice){0});
    for (struct index_entry *e; (e = tree_next(&c));)
        entry_free(x, e);
    for (size_t i = 0; i < x->loaded_count; i++)
        entry_free(x, x->load_list[i]);
    mem_free(x->load_list);
    tree_done(&x->tree);
    keymap_done(&x->map);
    slab_done(&x->slab);
    *x = (struct index){0};
}

struct index_entry *index_find(const struct index *x, struct slice key)
{
    return keymap_get(&x->map, key);
}

static struct index_entry *entry_new(struct index *x, struct slice key)
{
    struct index_entry *e = slab_alloc(&x->slab, entry_bytes(key.size));
    bool is_long = key.size >= INDEX_KEY_LONG;
    uint64_t size = key.size;
    *e = (struct index_entry){.key_size = (is_long ? INDEX_KEY_LONG : size) & INDEX_KEY_LONG,
                              .is_deleted = true};
    if (is_long)
        memcpy(e->key, &size, sizeof size);
    memcpy(e->key + (is_long ? sizeof size : 0), key.data, key.size);
    x->count++;
    x->key_bytes += key.size;
    keymap_add(&x->map, e);
    return e;
}

static bool revision_is_wide(struct revision r)
{
    return (uint64_t)r.main >> (64 - INDEX_SUB_BITS - 1) != 0 || r.sub >> INDEX_SUB_BITS != 0;
}

/* Moves the latest revision to the past ones. */
static void entry_push(struct index *x, struct index_entry *e)
{
    struct revision latest = index_entry_revision(e);
    struct index_history *h = e->revision == INDEX_WIDE ? index_entry_history(e) : history_reserve(x, e);
    h->items[h->count++] =
        (struct index_past){.main = latest.main, .sub = latest.sub, .is_tombstone = e->is_deleted};
    e->revision = 0;
}

static void entry_set(struct index *x, struct index_entry *e, struct revision revision, int64_t create,
                      int64_t version, bool has_lease)
{
    bool is_wide = revision_is_wide(revision);
    struct index_history *h = index_entry_history(e);
    x->live += (version != 0) - (size_t)!e->is_deleted;
    e->is_deleted = version == 0;
    e->has_lease = has_lease;
    if (is_wide)
        h = history_reserve(x, e);
    else if (!h && (version != 1 || create != revision.main))
        h = history_resize(x, e, 0);
    if (h) {
        h->create = create;
        h->version = version;
    }
    if (is_wide) {
        h->items[h->count] = (struct index_past){.main = revision.main, .sub = revision.sub};
        e->revision = INDEX_WIDE;
    } else {
        e->revision = (uint64_t)revision.main << INDEX_SUB_BITS | revision.sub;
    }
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
    assert(revision_compare(index_entry_revision(e), revision) < 0);
    entry_push(x, e);
    const struct index_history *h = index_entry_history(e);
    entry_set(x, e, revision, e->is_deleted ? revision.main : h->create, h->version + 1, has_lease);
}

void index_tombstone(struct index *x, struct index_entry *e, struct revision revision)
{
    assert(!e->is_deleted && revision_compare(index_entry_revision(e), revision) < 0);
    entry_push(x, e);
    entry_set(x, e, revision, 0, 0, false);
}

/* The number of past revisions with main <= at. */
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
    struct revision latest = index_entry_revision(e);
    if (latest.main <= at) {
        if (e->is_deleted)
            return false;
        *ret_revision = latest;
        return true;
    }
    const struct index_history *h = index_entry_history(e);
    uint32_t n = history_until(h, at);
    if (n == 0 || h->items[n - 1].is_tombstone)
        return false;
    *ret_revision = (struct revision){h->items[n - 1].main, h->items[n - 1].sub};
    return true;
}

/* etcd's rule: of the revisions up to the compaction only the last is kept. A tombstone is kept only when its
 * revision is the compaction's own, so that a watcher that starts there sees the delete. */
static bool past_stays(struct index_past last, int64_t compact)
{
    return !last.is_tombstone || (last.main == compact && !MUTANT(COMPACT_DROPS_TOMBSTONE));
}

bool index_keeps(const struct index_entry *e, struct revision revision, int64_t compact)
{
    if (revision.main > compact)
        return true;
    struct revision latest = index_entry_revision(e);
    struct index_past last = {.main = latest.main, .sub = latest.sub, .is_tombstone = e->is_deleted};
    if (latest.main > compact) {
        const struct index_history *h = index_entry_history(e);
        uint32_t n = history_until(h, compact);
        if (n == 0)
            return false;
        last = h->items[n - 1];
    }
    return last.main == revision.main && last.sub == revision.sub && past_stays(last, compact);
}

void index_load(struct index *x, struct slice key, struct revision revision, int64_t create, int64_t version,
                bool has_lease)
{
    struct index_entry *e = keymap_get(&x->map, key);
    if (e) {
        entry_push(x, e);
    } else {
        e = entry_new(x, key);
        if (x->loaded_count == x->loaded_capacity) {
            x->loaded_capacity = x->loaded_capacity ? x->loaded_capacity * 2 : 1024;
            x->load_list = mem_resize(x->load_list, x->loaded_capacity * sizeof *x->load_list);
        }
        x->load_list[x->loaded_count++] = e;
    }
    entry_set(x, e, revision, create, version, has_lease);
}

void index_load_end(struct index *x)
{
    tree_sort(x->load_list, x->loaded_count);
    tree_build(&x->tree, x->load_list, x->loaded_count);
    mem_free(x->load_list);
    x->load_list = NULL;
    x->loaded_count = x->loaded_capacity = 0;
}

/* Drops the compacted revisions of one key; true when none is left. */
static bool entry_compact(struct index *x, struct index_entry *e, int64_t compact, uint32_t max,
                          void (*drop)(void *arg, struct revision revision), void *arg, bool *ret_is_done)
{
    struct index_history *h = index_entry_history(e);
    struct revision latest = index_entry_revision(e);
    uint32_t n = history_until(h, compact);
    *ret_is_done = n <= max;
    if (!*ret_is_done)
        n = max;
    bool latest_goes = *ret_is_done && latest.main < compact && e->is_deleted;
    uint32_t gone = n; /* past revisions to drop, from the oldest */
    if (*ret_is_done && latest.main > compact && n > 0 && past_stays(h->items[n - 1], compact) &&
        !MUTANT(COMPACT_DROPS_LIVE))
        gone--;
    for (uint32_t i = 0; i < gone; i++)
        drop(arg, (struct revision){h->items[i].main, h->items[i].sub});
    if (latest_goes) {
        drop(arg, latest);
        return true;
    }
    if (gone == 0)
        return false;
    uint32_t items = h->count - gone + (e->revision == INDEX_WIDE);
    h->count -= gone;
    memmove(h->items, h->items + gone, items * sizeof h->items[0]);
    if (items == 0 && h->version == 1 && h->create == latest.main) {
        history_free(x, h);
        e->history = 0;
    } else if (items <= h->capacity / 4) {
        history_resize(x, e, items);
    }
    return false;
}

static bool entry_has_no_past(const struct index_entry *e)
{
    return !e->history || index_entry_history(e)->count == 0;
}

bool index_sweep(struct index *x, struct buf *position, int64_t compact, size_t max_keys, uint32_t max_drops,
                 void (*drop)(void *arg, struct revision revision), void *arg)
{
    struct index_entry **empty = NULL, *e;
    size_t empty_count = 0;
    struct tree_cursor c = tree_seek(&x->tree, buf_slice(position));
    while ((e = tree_next(&c)) && max_keys-- > 0) {
        bool is_done;
        if (entry_has_no_past(e) && (!e->is_deleted || index_entry_revision(e).main >= compact))
            continue;
        bool is_empty = entry_compact(x, e, compact, max_drops, drop, arg, &is_done);
        if (!is_done)
            break; /* the next call handles the rest of this key */
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
        x->key_bytes -= index_entry_key(empty[i]).size;
        entry_free(x, empty[i]);
    }
    mem_free(empty);
    return !e;
}
