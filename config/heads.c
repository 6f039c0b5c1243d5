/* SPDX-License-Identifier: Apache-2.0
 * The view of heads; see heads.h. Items lie in one list sorted by namespace, group and name. Every change
 * subtracts the item's old state from the sums and adds the new one. */
#include "config/heads.h"

#include <assert.h>
#include <stdio.h>

struct heads {
    void (*changed)(void *arg, struct heads_item *i);
    void *arg;
    struct heads_item **items;
    size_t count, capacity;
    struct strmap namespaces;
    struct heads_sums sums;
    struct link dirty;
    struct arena scratch;
    int64_t revision, absent_revision;
    uint64_t generation;
    bool is_whole;
};

static struct slice heads_copy_slice(struct slice s)
{
    return slice_of(mem_copy(s.data, s.size), s.size);
}

/* --- positions -------------------------------------------------------------------------------------- */

static int heads_compare(const struct config_item *i, const struct config_id *key)
{
    int c = slice_compare(i->ns, key->ns);
    if (!c)
        c = slice_compare(i->group, key->group);
    return c ? c : slice_compare(i->name, key->name);
}

static size_t find_position(const struct heads *h, const struct config_id *key)
{
    size_t low = 0, high = h->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (heads_compare(&h->items[middle]->item, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct heads_item *heads_find(const struct heads *h, const struct config_id *key)
{
    size_t at = find_position(h, key);
    return at < h->count && heads_compare(&h->items[at]->item, key) == 0 ? h->items[at] : NULL;
}

static struct heads_namespace *refer(struct heads *h, struct slice ns)
{
    struct heads_namespace *n = strmap_get(&h->namespaces, ns);
    if (!n) {
        n = mem_new(sizeof *n);
        n->name = heads_copy_slice(ns);
        strmap_put(&h->namespaces, ns, n);
    }
    n->references++;
    return n;
}

static void namespace_release(struct heads *h, struct heads_namespace *n)
{
    if (--n->references)
        return;
    strmap_remove(&h->namespaces, n->name);
    mem_free(n->name.data);
    mem_free(n);
}

static struct heads_item *item_of(struct heads *h, const struct config_id *key)
{
    size_t at = find_position(h, key);
    if (at < h->count && heads_compare(&h->items[at]->item, key) == 0)
        return h->items[at];
    struct heads_item *i = mem_new(sizeof *i);
    i->item.ns = heads_copy_slice(key->ns);
    i->item.group = heads_copy_slice(key->group);
    i->item.name = heads_copy_slice(key->name);
    i->in = refer(h, key->ns);
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? h->capacity * 2 : 64;
        h->items = mem_resize(h->items, h->capacity * sizeof *h->items);
    }
    memmove(h->items + at + 1, h->items + at, (h->count - at) * sizeof *h->items);
    h->items[at] = i;
    h->count++;
    return i;
}

static void free_item(struct heads *h, struct heads_item *i)
{
    namespace_release(h, i->in);
    arena_done(&i->arena);
    mem_free(i->item.ns.data);
    mem_free(i->item.group.data);
    mem_free(i->item.name.data);
    mem_free(i);
}

static void heads_drop(struct heads *h, struct heads_item *i)
{
    struct config_id key = {i->item.ns, i->item.group, i->item.name};
    size_t at = find_position(h, &key);
    assert(at < h->count && h->items[at] == i);
    h->count--;
    memmove(h->items + at, h->items + at + 1, (h->count - at) * sizeof *h->items);
    free_item(h, i);
}

/* --- changes ---------------------------------------------------------------------------------------- */

/* Keys beyond the limit, which only a client of the etcd API can name, are not counted. */
static void add_to_sealed(struct heads_sums *s, struct slice key, int sign)
{
    size_t i = 0;
    while (i < s->sealed_count && !slice_equal(s->sealed[i].key, key))
        i++;
    if (i == s->sealed_count && (i == HEADS_SEALED_MAX || sign < 0))
        return;
    if (i == s->sealed_count)
        s->sealed[s->sealed_count++] = (struct heads_sealed){heads_copy_slice(key), 0};
    s->sealed[i].count += (size_t)sign;
    if (s->sealed[i].count)
        return;
    mem_free(s->sealed[i].key.data);
    s->sealed[i] = s->sealed[--s->sealed_count];
}

/* Adds the item to the sums (sign 1) or subtracts it (-1). */
static void add_to_sums(struct heads *h, struct heads_item *i, int sign)
{
    const struct config_head *head = i->item.head;
    size_t by = (size_t)sign;
    if (!i->key_revision)
        return;
    if (!head) {
        h->sums.unreadable += by;
    } else if (head->is_deleted) {
        h->sums.deleted += by;
    } else {
        h->sums.live += by;
        i->in->live += by;
        h->sums.bytes += by * head->size;
        i->in->bytes += by * head->size;
        if (head->sealed.size)
            add_to_sealed(&h->sums, head->sealed, sign);
    }
}

static void mark_changed(struct heads *h, struct heads_item *i)
{
    if (!link_is_in_list(&i->dirty))
        list_add_last(&h->dirty, &i->dirty);
}

void heads_begin(struct heads *h, int64_t revision, bool is_whole)
{
    h->revision = revision;
    h->is_whole = is_whole;
    h->generation += is_whole;
}

/* Most heads have no data that needs an arena: they get none. */
static bool heads_read_head(struct heads *h, struct heads_item *i, struct slice value)
{
    char error[256];
    arena_reset(&h->scratch);
    arena_done(&i->arena);
    int err = config_head_read(value, &h->scratch, &i->head, error, sizeof error);
    if (!err && (i->head.title.size || i->head.sealed.size || i->head.gray.count))
        err = config_head_read(value, &i->arena, &i->head, error, sizeof error);
    return err == OK;
}

void heads_put(struct heads *h, const struct config_name *name, struct slice value, int64_t create_revision,
               int64_t revision)
{
    struct config_id key = {name->ns, name->group, name->name};
    struct heads_item *i = item_of(h, &key);
    i->generation = h->generation;
    if (i->key_revision == revision)
        return;
    add_to_sums(h, i, -1);
    bool was_there = i->item.head;
    i->key_revision = revision;
    i->item.create_revision = create_revision;
    i->item.revision = revision;
    i->in->revision = revision;
    i->item.head = heads_read_head(h, i, value) ? &i->head : NULL;
    add_to_sums(h, i, 1);
    if (!i->item.head && revision > h->absent_revision)
        h->absent_revision = revision;
    if (was_there || i->item.head)
        mark_changed(h, i);
}

static void remove_item(struct heads *h, struct heads_item *i, int64_t revision)
{
    add_to_sums(h, i, -1);
    i->item.head = NULL;
    i->item.revision = revision;
    i->in->revision = revision;
    i->key_revision = 0;
    if (revision > h->absent_revision)
        h->absent_revision = revision;
    mark_changed(h, i);
}

void heads_remove(struct heads *h, const struct config_name *name, int64_t revision)
{
    struct config_id key = {name->ns, name->group, name->name};
    struct heads_item *i = heads_find(h, &key);
    if (i && i->key_revision)
        remove_item(h, i, revision);
}

/* Removals before a whole state are unknown: any of them may have happened just before it. */
static void end_whole(struct heads *h)
{
    for (size_t k = 0; k < h->count; k++)
        if (h->items[k]->key_revision && h->items[k]->generation != h->generation)
            remove_item(h, h->items[k], h->revision);
    h->absent_revision = h->revision;
}

void heads_end(struct heads *h)
{
    struct link *l;
    if (h->is_whole)
        end_whole(h);
    h->is_whole = false;
    while ((l = list_take_first(&h->dirty))) {
        struct heads_item *i = container_of(l, struct heads_item, dirty);
        h->changed(h->arg, i);
        if (!i->key_revision)
            heads_drop(h, i);
    }
}

/* --- lookups ---------------------------------------------------------------------------------------- */

int64_t heads_revision(const struct heads *h)
{
    return h->revision;
}

int64_t heads_absent_revision(const struct heads *h)
{
    return h->absent_revision;
}

const struct heads_sums *heads_sums(const struct heads *h)
{
    return &h->sums;
}

static bool begins_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && (!prefix.size || memcmp(s.data, prefix.data, prefix.size) == 0);
}

static struct config_id heads_split(struct slice ns, struct slice after)
{
    const uint8_t *slash = after.size ? memchr(after.data, '/', after.size) : NULL;
    size_t size = slash ? (size_t)(slash - after.data) : after.size;
    struct config_id key = {ns, slice_of(after.data, size), {0}};
    if (slash)
        key.name = slice_of(slash + 1, after.size - size - 1);
    return key;
}

/* With ns and group given it starts at the first name with the prefix and ends after the last one. */
bool heads_each_some(const struct heads *h, struct slice ns, struct slice group, struct slice prefix,
                     struct slice after, size_t places, bool (*fn)(void *arg, const struct config_item *item),
                     void *arg, const struct config_item **ret_last)
{
    struct config_id last = heads_split(ns, after), start = {ns, group, prefix};
    bool is_one = ns.size && group.size;
    if (!is_one)
        start.name = (struct slice){0};
    if (!ns.size)
        start.group = (struct slice){0};
    size_t at = find_position(h, &start);
    if (after.size) {
        size_t next = find_position(h, &last);
        if (next < h->count && heads_compare(&h->items[next]->item, &last) == 0)
            next++;
        at = next > at ? next : at;
    }
    for (; at < h->count; at++) {
        const struct config_item *i = &h->items[at]->item;
        bool is_in = !group.size || slice_equal(i->group, group), fits = begins_with(i->name, prefix);
        if ((ns.size && !slice_equal(i->ns, ns)) || (is_one && !(is_in && fits)))
            return false;
        if (is_in && fits && i->head && !fn(arg, i))
            return false;
        *ret_last = i;
        if (--places == 0)
            return true;
    }
    return false;
}

void heads_each(const struct heads *h, struct slice ns, struct slice group, struct slice prefix,
                struct slice after, bool (*fn)(void *arg, const struct config_item *item), void *arg)
{
    const struct config_item *last;
    heads_each_some(h, ns, group, prefix, after, SIZE_MAX, fn, arg, &last);
}

int64_t heads_namespace_revision(const struct heads *h, struct slice ns)
{
    const struct heads_namespace *n = strmap_get(&h->namespaces, ns);
    return n && n->revision > h->absent_revision ? n->revision : h->absent_revision;
}

/* --- limits ----------------------------------------------------------------------------------------- */

const struct heads_namespace *heads_namespace(const struct heads *h, struct slice ns)
{
    return strmap_get(&h->namespaces, ns);
}

struct slice heads_next_namespace(const struct heads *h, struct slice after)
{
    struct buf place = {0};
    buf_add_slice(&place, after);
    if (after.size)
        buf_add_byte(&place, 0); /* no name has it: behind all items of `after` */
    size_t at = find_position(h, &(struct config_id){.ns = buf_slice(&place)});
    buf_done(&place);
    return at < h->count ? h->items[at]->item.ns : (struct slice){0};
}

bool heads_has_namespace(const struct heads *h, struct slice ns)
{
    return strmap_get(&h->namespaces, ns);
}

int heads_claim(struct heads *h, struct slice ns, size_t items, size_t bytes,
                const struct heads_limits *limits, struct heads_claim *claim, char *error, size_t error_size)
{
    struct heads_namespace *n = strmap_get(&h->namespaces, ns);
    size_t live = n ? n->live + n->claimed : 0, held = n ? n->bytes + n->claimed_bytes : 0;
    if (items && !n && limits->namespaces && h->namespaces.count >= limits->namespaces) {
        snprintf(error, error_size,
                 "the limit of %zu namespaces with configurations is reached: %.*s cannot be added "
                 "(--config-max-namespaces)",
                 limits->namespaces, (int)ns.size, ns.data);
        return ERR_QUOTA;
    }
    if (items && limits->items && live + items > limits->items) {
        snprintf(error, error_size,
                 "namespace %.*s is full: it may hold %zu configurations "
                 "(%s)",
                 (int)ns.size, ns.data, limits->items,
                 limits->items_setting ? limits->items_setting : "--config-max-items");
        return ERR_QUOTA;
    }
    if (bytes && limits->bytes && held + bytes > limits->bytes) {
        snprintf(error, error_size,
                 "namespace %.*s is full: its configurations may have %zu bytes together, and have %zu "
                 "(%s)",
                 (int)ns.size, ns.data, limits->bytes, held,
                 limits->bytes_setting ? limits->bytes_setting : "--config-max-total-bytes");
        return ERR_QUOTA;
    }
    claim->ns = refer(h, ns);
    claim->ns->claimed += claim->items = items;
    claim->ns->claimed_bytes += claim->bytes = bytes;
    return OK;
}

void heads_release(struct heads *h, struct heads_claim *claim)
{
    if (!claim->ns)
        return;
    claim->ns->claimed -= claim->items;
    claim->ns->claimed_bytes -= claim->bytes;
    namespace_release(h, claim->ns);
    *claim = (struct heads_claim){0};
}

/* --- init and free ---------------------------------------------------------------------------------- */

struct heads *heads_new(void (*changed)(void *arg, struct heads_item *i), void *arg)
{
    struct heads *h = mem_new(sizeof *h);
    h->changed = changed;
    h->arg = arg;
    list_init(&h->dirty);
    return h;
}

void heads_free(struct heads *h)
{
    for (size_t k = 0; k < h->count; k++)
        free_item(h, h->items[k]);
    assert(!h->namespaces.count);
    strmap_done(&h->namespaces);
    for (size_t k = 0; k < h->sums.sealed_count; k++)
        mem_free(h->sums.sealed[k].key.data);
    arena_done(&h->scratch);
    mem_free(h->items);
    mem_free(h);
}
