/* SPDX-License-Identifier: Apache-2.0
 * Writer of bbolt files, from front to back:
 *
 *   pages 0, 1   the two meta pages
 *   page 2       the freelist, which is empty
 *   page 3       the root bucket: one leaf with the name and the root of each bucket
 *   from 4 on    the buckets: leaves as they fill, each branch when it is full
 *
 * A row that does not fit a page gets a leaf of its own with as many pages as it needs. An empty bucket lies
 * within page 3, as bbolt writes it. Pages are filled to the end: rows are only appended after a restore.
 *
 * Each level of a tree keeps one page in memory. The first pass does the same work without returning pages;
 * it learns the roots, which page 3 names. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/bbolt/bbolt.h"
#include "consensus/bbolt/page.h"

enum {
    PAGE = BBOLT_WRITE_PAGE_SIZE,
    ROOM = PAGE - (int)sizeof(struct page_head),
    ELEMENT = sizeof(struct leaf_element),
    ELEMENTS_MAX = ROOM / ELEMENT,
    LEVELS_MAX = 24,
    PAGE_OF_FREELIST = 2,
    PAGE_OF_ROOT = 3,
    FIRST_PAGE = 4,
};

#define NO_PAGE UINT64_MAX

union element {
    struct leaf_element leaf;
    struct branch_element branch;
};

struct level {
    uint8_t first[BBOLT_WRITE_KEY_MAX]; /* key of the first element */
    size_t first_size;
    size_t count, content_size;
    union element elements[ELEMENTS_MAX];
    uint8_t content[ROOM]; /* keys and values */
};

struct bucket {
    char name[BBOLT_NAME_MAX];
    size_t name_size;
    uint64_t root; /* NO_PAGE = it is empty */
    uint64_t rows;
};

struct bbolt_writer {
    bool is_second;
    uint64_t next_page, planned_pages;
    struct bucket buckets[BBOLT_BUCKETS_MAX], planned[BBOLT_BUCKETS_MAX];
    size_t bucket_count, planned_count;
    bool is_open; /* the last bucket takes rows */
    struct level *levels[LEVELS_MAX];
};

struct bbolt_writer *bbolt_writer_new(void)
{
    struct bbolt_writer *w = mem_new(sizeof *w);
    w->next_page = FIRST_PAGE;
    return w;
}

void bbolt_writer_free(struct bbolt_writer *w)
{
    if (!w)
        return;
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        mem_free(w->levels[i]);
    mem_free(w);
}

/* --- pages ------------------------------------------------------------------------------------------- */

static void add_zeros(struct buf *out, size_t size)
{
    memset(buf_reserve(out, size), 0, size);
    out->size += size;
}

static void add_head(struct buf *out, uint64_t number, uint16_t flags, size_t count, uint64_t pages)
{
    struct page_head head = {
        .number = number, .flags = flags, .count = (uint16_t)count, .overflow = (uint32_t)(pages - 1)};
    buf_add(out, &head, sizeof head);
}

static struct level *level_at(struct bbolt_writer *w, unsigned depth)
{
    assert(depth < LEVELS_MAX);
    if (!w->levels[depth])
        w->levels[depth] = mem_new(sizeof *w->levels[depth]);
    return w->levels[depth];
}

static bool level_has_room(const struct level *l, size_t size)
{
    return l->count * ELEMENT + l->content_size + ELEMENT + size <= ROOM;
}

static void level_add(struct level *l, union element element, struct slice key, struct slice value)
{
    if (l->count == 0) {
        memcpy(l->first, key.data, key.size);
        l->first_size = key.size;
    }
    memcpy(l->content + l->content_size, key.data, key.size);
    if (value.size)
        memcpy(l->content + l->content_size + key.size, value.data, value.size);
    l->content_size += key.size + value.size;
    l->elements[l->count++] = element;
}

/* Positions count from the element, and the content begins after the last one. */
static void level_set_positions(struct level *l, bool is_leaf)
{
    size_t at = l->count * ELEMENT;
    for (size_t i = 0; i < l->count; i++) {
        union element *e = &l->elements[i];
        uint32_t position = (uint32_t)(at - i * ELEMENT);
        if (is_leaf) {
            e->leaf.position = position;
            at += (size_t)e->leaf.key_size + e->leaf.value_size;
        } else {
            e->branch.position = position;
            at += e->branch.key_size;
        }
    }
}

static void level_write(struct level *l, uint64_t number, bool is_leaf, struct buf *out)
{
    level_set_positions(l, is_leaf);
    add_head(out, number, is_leaf ? PAGE_LEAF : PAGE_BRANCH, l->count, 1);
    buf_add(out, l->elements, l->count * ELEMENT);
    buf_add(out, l->content, l->content_size);
    add_zeros(out, ROOM - l->count * ELEMENT - l->content_size);
}

static void branch_add(struct bbolt_writer *w, unsigned depth, struct slice first, uint64_t page,
                       struct buf *out);

static void level_close(struct bbolt_writer *w, unsigned depth, struct buf *out)
{
    struct level *l = level_at(w, depth);
    uint64_t number = w->next_page++;
    if (w->is_second)
        level_write(l, number, depth == 0, out);
    l->count = l->content_size = 0;
    branch_add(w, depth + 1, slice_of(l->first, l->first_size), number, out);
}

static void branch_add(struct bbolt_writer *w, unsigned depth, struct slice first, uint64_t page,
                       struct buf *out)
{
    struct level *l = level_at(w, depth);
    if (!level_has_room(l, first.size))
        level_close(w, depth, out);
    level_add(l, (union element){.branch = {.key_size = (uint32_t)first.size, .page = page}}, first,
              (struct slice){0});
}

/* --- rows -------------------------------------------------------------------------------------------- */

/* A row that is larger than a page, in pages of its own. */
static void put_large(struct bbolt_writer *w, struct slice key, struct slice value, struct buf *out)
{
    uint64_t number = w->next_page;
    size_t size = sizeof(struct page_head) + ELEMENT + key.size + value.size;
    size_t pages = (size + PAGE - 1) / PAGE;
    w->next_page += pages;
    if (w->is_second) {
        struct leaf_element e = {
            .position = ELEMENT, .key_size = (uint32_t)key.size, .value_size = (uint32_t)value.size};
        add_head(out, number, PAGE_LEAF, 1, pages);
        buf_add(out, &e, sizeof e);
        buf_add_slice(out, key);
        buf_add_slice(out, value);
        add_zeros(out, pages * PAGE - size);
    }
    branch_add(w, 1, key, number, out);
}

void bbolt_writer_put(struct bbolt_writer *w, struct slice key, struct slice value, struct buf *out)
{
    struct level *leaf = level_at(w, 0);
    assert(w->is_open && key.size && key.size <= BBOLT_WRITE_KEY_MAX && value.size <= BBOLT_VALUE_MAX);
    if (!level_has_room(leaf, key.size + value.size) && leaf->count)
        level_close(w, 0, out);
    if (level_has_room(leaf, key.size + value.size))
        level_add(
            leaf,
            (union element){.leaf = {.key_size = (uint32_t)key.size, .value_size = (uint32_t)value.size}},
            key, value);
    else
        put_large(w, key, value, out);
    w->buckets[w->bucket_count - 1].rows++;
}

/* Closes the open pages from the leaf up. A level with one child and none above it is not written: that
 * child is the root. */
static void bucket_close(struct bbolt_writer *w, struct buf *out)
{
    if (!w->is_open)
        return;
    w->is_open = false;
    if (level_at(w, 0)->count)
        level_close(w, 0, out);
    for (unsigned depth = 1; depth < LEVELS_MAX && w->levels[depth] && w->levels[depth]->count; depth++) {
        struct level *l = w->levels[depth];
        bool is_top = depth + 1 == LEVELS_MAX || !w->levels[depth + 1] || !w->levels[depth + 1]->count;
        if (l->count == 1 && is_top) {
            w->buckets[w->bucket_count - 1].root = l->elements[0].branch.page;
            l->count = l->content_size = 0;
            return;
        }
        level_close(w, depth, out);
    }
}

void bbolt_writer_bucket(struct bbolt_writer *w, struct slice name, struct buf *out)
{
    bucket_close(w, out);
    assert(w->bucket_count < BBOLT_BUCKETS_MAX && name.size && name.size <= BBOLT_NAME_MAX);
    struct bucket *b = &w->buckets[w->bucket_count++];
    *b = (struct bucket){.name_size = name.size, .root = NO_PAGE};
    memcpy(b->name, name.data, name.size);
    w->is_open = true;
}

/* --- the first pages --------------------------------------------------------------------------------- */

static void add_meta(const struct bbolt_writer *w, uint64_t number, struct buf *out)
{
    struct meta meta = {
        .magic = BBOLT_MAGIC,
        .version = BBOLT_VERSION,
        .page_size = PAGE,
        .root = {.root = PAGE_OF_ROOT},
        .freelist = PAGE_OF_FREELIST,
        .page_count = w->planned_pages,
        .transaction = 2 - number, /* the first one is valid */
    };
    meta.checksum = meta_checksum(&meta);
    add_head(out, number, PAGE_META, 0, 1);
    buf_add(out, &meta, sizeof meta);
    add_zeros(out, ROOM - sizeof meta);
}

static int by_name(const void *a, const void *b)
{
    const struct bucket *x = a, *y = b;
    return slice_compare(slice_of(x->name, x->name_size), slice_of(y->name, y->name_size));
}

static void add_root(const struct bbolt_writer *w, struct buf *out)
{
    struct bucket sorted[BBOLT_BUCKETS_MAX];
    struct level *l = mem_new(sizeof *l);
    memcpy(sorted, w->planned, sizeof sorted);
    qsort(sorted, w->planned_count, sizeof *sorted, by_name);
    for (size_t i = 0; i < w->planned_count; i++) {
        struct {
            struct bucket_head head;
            struct page_head page;
        } value = {.head.root = sorted[i].root, .page.flags = PAGE_LEAF};
        size_t size = sizeof value;
        if (sorted[i].root == NO_PAGE)
            value.head.root = 0;
        else
            size = sizeof value.head;
        level_add(l,
                  (union element){.leaf = {.flags = LEAF_BUCKET,
                                           .key_size = (uint32_t)sorted[i].name_size,
                                           .value_size = (uint32_t)size}},
                  slice_of(sorted[i].name, sorted[i].name_size), slice_of(&value, size));
    }
    level_write(l, PAGE_OF_ROOT, true, out);
    mem_free(l);
}

uint64_t bbolt_writer_plan(struct bbolt_writer *w, struct buf *out)
{
    assert(!w->is_second);
    bucket_close(w, out);
    memcpy(w->planned, w->buckets, sizeof w->planned);
    w->planned_count = w->bucket_count;
    w->planned_pages = w->next_page;
    w->is_second = true;
    w->bucket_count = 0;
    w->next_page = FIRST_PAGE;
    add_meta(w, META_FIRST, out);
    add_meta(w, META_SECOND, out);
    add_head(out, PAGE_OF_FREELIST, PAGE_FREELIST, 0, 1);
    add_zeros(out, ROOM);
    add_root(w, out);
    return w->planned_pages * PAGE;
}

int bbolt_writer_finish(struct bbolt_writer *w, struct buf *out)
{
    assert(w->is_second);
    bucket_close(w, out);
    bool is_as_planned = w->next_page == w->planned_pages && w->bucket_count == w->planned_count &&
                         memcmp(w->planned, w->buckets, w->planned_count * sizeof *w->planned) == 0;
    return is_as_planned ? OK : ERR_CORRUPT;
}
