/* SPDX-License-Identifier: Apache-2.0
 * Walks over all keys of a lease, or over all leases, in parts, while leases and keys come and go. The result
 * is that of the moment when the walk began.
 *
 * Keys and leases are in rings, the newest at the end. The walk takes as many from the front as there were at
 * its start. Changes meanwhile are recorded in the walk:
 *
 * - A lease that ends is taken at once, if it is older than the walk and was not reached yet: leases have
 *   numbers.
 * - Keys have no numbers. Each key that is added or removed is one more item, which says whether the key
 *   existed right before. The sort is stable, so the first item of a key says whether it existed at the
 *   start.
 *
 * A lease that ends while its keys are collected ends the walk. */
#include "base/mem.h"
#include "base/merge_sort.h"
#include "consensus/store/lease_state.h"

#define BYTES_MAX      INT32_MAX /* of keys: a message cannot be larger */
#define BYTES_PER_UNIT 128
#define ITEMS_MIN      64

struct key_item {
    struct slice key;
    bool is_there;
};

struct id_item {
    uint64_t expires_ms;
    int64_t id;
};

struct lease_walk {
    struct link link; /* in the table's walks, while it collects */
    struct lease_table *table;
    struct lease *lease; /* NULL: a walk over all leases */
    struct link *next;   /* the next one to take */
    size_t left;         /* the number left to take, at most */
    uint64_t end;        /* of all leases: only numbers before this one */
    bool is_gone, is_gathered, is_in_order;
    struct merge_sort sort;
    size_t capacity, given;
    struct arena keys;
    size_t key_bytes;
};

/* --- items --------------------------------------------------------------------------------------------- */

static int compare_key_items(const void *a, const void *b, void *arg)
{
    (void)arg;
    return slice_compare(((const struct key_item *)a)->key, ((const struct key_item *)b)->key);
}

/* By their end; by id when it is equal. */
static int compare_id_items(const void *a, const void *b, void *arg)
{
    const struct id_item *x = a, *y = b;
    (void)arg;
    if (x->expires_ms != y->expires_ms)
        return x->expires_ms < y->expires_ms ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void lease_walk_add_item(struct lease_walk *w, const void *item)
{
    struct merge_sort *m = &w->sort;
    if (m->count == w->capacity) {
        w->capacity *= 2;
        m->items = mem_resize(m->items, w->capacity * m->size);
    }
    uint8_t *at = m->items + m->count * m->size;
    memcpy(at, item, m->size);
    if (m->count++ && m->compare(at - m->size, at, NULL) > 0)
        w->is_in_order = false;
}

/* Returns its cost. */
static int64_t add_key(struct lease_walk *w, struct slice key, bool is_there)
{
    struct key_item item = {slice_of(arena_copy(&w->keys, key.data, key.size), key.size), is_there};
    w->key_bytes += key.size;
    lease_walk_add_item(w, &item);
    return 1 + (int64_t)(key.size / BYTES_PER_UNIT);
}

static void add_lease(struct lease_walk *w, const struct lease *l)
{
    lease_walk_add_item(w, &(struct id_item){lease_end_ms(w->table, l), l->id});
}

/* --- changes during the walk ---------------------------------------------------------------------------- */

void lease_walks_note_key(struct lease_table *t, const struct lease *l, const struct lease_key *k,
                          bool is_coming)
{
    LIST_FOR_EACH (link, &t->walks) {
        struct lease_walk *w = container_of(link, struct lease_walk, link);
        if (w->lease != l)
            continue;
        if (w->next == &k->link && !is_coming)
            w->next = k->link.next;
        add_key(w, keyset_key(&k->node), !is_coming);
    }
}

void lease_walks_note_end(struct lease_table *t, const struct lease *l)
{
    LIST_FOR_EACH_SAFE (link, &t->walks) {
        struct lease_walk *w = container_of(link, struct lease_walk, link);
        if (w->lease == l) {
            w->is_gone = true;
            list_remove(link);
        }
        if (w->lease || w->next == &t->all)
            continue;
        const struct lease *next = container_of(w->next, struct lease, in_all);
        if (l->number >= next->number && l->number < w->end)
            add_lease(w, l);
        if (l == next)
            w->next = w->next->next;
    }
}

void lease_walks_forget_table(struct lease_table *t)
{
    struct link *link;
    while ((link = list_take_first(&t->walks)))
        container_of(link, struct lease_walk, link)->is_gone = true;
}

/* --- the walk ------------------------------------------------------------------------------------------- */

static struct lease_walk *walk_new(struct lease_table *t, size_t count, size_t size,
                                   int (*compare)(const void *a, const void *b, void *arg))
{
    struct lease_walk *w = mem_new(sizeof *w);
    w->table = t;
    w->left = count;
    w->is_in_order = true;
    w->capacity = count + ITEMS_MIN;
    w->sort = (struct merge_sort){.items = mem_alloc(w->capacity * size), .size = size, .compare = compare};
    list_add_last(&t->walks, &w->link);
    return w;
}

struct lease_walk *lease_walk_keys(struct lease_table *t, int64_t id)
{
    struct lease *l = map_get(&t->leases, (uint64_t)id);
    if (!l)
        return NULL;
    struct lease_walk *w = walk_new(t, l->key_count, sizeof(struct key_item), compare_key_items);
    w->lease = l;
    w->next = l->keys.next;
    return w;
}

struct lease_walk *lease_walk_all(struct lease_table *t)
{
    struct lease_walk *w = walk_new(t, t->leases.count, sizeof(struct id_item), compare_id_items);
    w->next = t->all.next;
    w->end = t->next_number;
    return w;
}

void lease_walk_free(struct lease_walk *w)
{
    if (!w)
        return;
    list_remove(&w->link);
    merge_sort_done(&w->sort);
    arena_done(&w->keys);
    mem_free(w);
}

static void gather_keys(struct lease_walk *w, int64_t *units)
{
    for (; *units > 0 && w->left > 0 && w->next != &w->lease->keys; w->left--) {
        const struct lease_key *k = container_of(w->next, struct lease_key, link);
        w->next = w->next->next;
        *units -= add_key(w, keyset_key(&k->node), true);
    }
    w->is_gathered = !w->left || w->next == &w->lease->keys;
}

static void gather_leases(struct lease_walk *w, int64_t *units)
{
    const struct link *ring = &w->table->all;
    for (; *units > 0 && w->next != ring; --*units) {
        const struct lease *l = container_of(w->next, struct lease, in_all);
        if (l->number >= w->end)
            break;
        w->next = w->next->next;
        add_lease(w, l);
    }
    w->is_gathered = w->next == ring || container_of(w->next, struct lease, in_all)->number >= w->end;
}

int lease_walk_step(struct lease_walk *w, int64_t *units, bool *ret_is_ready)
{
    *ret_is_ready = false;
    if (w->is_gone)
        return ERR_LEASE_NOT_FOUND;
    if (!w->is_gathered) {
        if (w->lease)
            gather_keys(w, units);
        else
            gather_leases(w, units);
        if (w->key_bytes > BYTES_MAX)
            return ERR_LIMIT;
        if (w->is_gathered)
            list_remove(&w->link);
    }
    if (w->is_gathered)
        *ret_is_ready = w->is_in_order || merge_sort_step(&w->sort, units);
    return OK;
}

/* --- the result ----------------------------------------------------------------------------------------- */

size_t lease_walk_take_keys(struct lease_walk *w, int64_t *units, struct slice *ret_keys, size_t max)
{
    const struct key_item *items = (const void *)w->sort.items;
    size_t count = 0;
    for (; w->given < w->sort.count && count<max && * units> 0; w->given++) {
        const struct key_item *item = &items[w->given];
        bool is_first = w->given == 0 || !slice_equal(item[-1].key, item->key);
        *units -= 1 + (int64_t)(item->key.size / BYTES_PER_UNIT);
        if (is_first && item->is_there)
            ret_keys[count++] = item->key;
    }
    return count;
}

size_t lease_walk_take_ids(struct lease_walk *w, int64_t *units, int64_t *ret_ids, size_t max)
{
    const struct id_item *items = (const void *)w->sort.items;
    size_t count = 0;
    for (; w->given < w->sort.count && count<max && * units> 0; w->given++, --*units)
        ret_ids[count++] = items[w->given].id;
    return count;
}

bool lease_walk_is_taken(const struct lease_walk *w)
{
    return w->given == w->sort.count;
}
