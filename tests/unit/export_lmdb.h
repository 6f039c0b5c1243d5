/* SPDX-License-Identifier: Apache-2.0
 * An export format for tests: LMDB's data file (format version 1, as liblmdb 0.9 reads it), from front to back:
 *
 *   pages 0, 1   the two meta pages
 *   page 2       the main tree: one leaf with the name and the root of each table
 *   from 3 on    the tables: leaves as they fill, the pages of a value too large for a leaf before its leaf,
 *                each branch page when it is full
 *
 * Each level of a tree keeps one page in memory, so the memory depends on the height of the tree only. The
 * first pass does the same work without returning pages; it learns the roots, which the first pages name.
 *
 * LMDB requires at least two children in a branch page. So the last child of a level is kept apart until
 * another one comes, and a page is closed when that child and its successor do not both fit. */
#ifndef TESTS_UNIT_EXPORT_LMDB_H
#define TESTS_UNIT_EXPORT_LMDB_H

#include <assert.h>

#include "base/mem.h"
#include "consensus/store/export_format.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "LMDB's nodes are laid out otherwise here");

enum {
    PAGE = 4096,
    PAGE_HEADER = 16,
    NODE_HEADER = 8,
    OFFSET = 2,      /* a node's place in its page */
    NODE_MAX = 2038, /* LMDB's limit: two nodes fit into a page */
    KEY_MAX = 511,
    LEVELS_MAX = 24,
    FIRST_PAGE = 3,

    P_BRANCH = 0x01,
    P_LEAF = 0x02,
    P_OVERFLOW = 0x04,
    P_META = 0x08,
    NODE_BIG = 0x01,
    NODE_TREE = 0x02,
    TREE_INTEGER_KEY = 0x08,

    MAGIC = (int)0xBEEFC0DE,
    VERSION = 1,
};

#define NO_PAGE UINT64_MAX

struct tree { /* MDB_db */
    uint32_t pad;
    uint16_t flags, depth;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta { /* MDB_meta */
    uint32_t magic, version;
    uint64_t address, map_size;
    struct tree free, main;
    uint64_t last_page, transaction;
};

_Static_assert(sizeof(struct tree) == 48 && sizeof(struct meta) == 136, "the layout is LMDB's");

struct key {
    uint16_t size;
    uint8_t bytes[KEY_MAX];
};

struct level {
    struct key first;   /* of the page's first node */
    struct key last;    /* of the child that is kept apart; branch levels only */
    uint64_t last_page; /* of that child; NO_PAGE = none */
    uint16_t count, lower, upper;
    uint8_t page[PAGE];
};

struct export_writer {
    bool is_second;
    uint64_t next_page;
    struct tree trees[BACKEND_TABLES]; /* of this pass */
    struct tree planned[BACKEND_TABLES];
    uint64_t planned_pages;
    struct tree *tree; /* of the present table; NULL before the first */
    struct level *levels[LEVELS_MAX];
};

static void pass_begin(struct export_writer *w)
{
    w->next_page = FIRST_PAGE;
    for (unsigned i = 0; i < BACKEND_TABLES; i++)
        w->trees[i] = (struct tree){.root = NO_PAGE};
}

static struct export_writer *lmdb_writer_new(void)
{
    struct export_writer *w = mem_new(sizeof *w);
    pass_begin(w);
    return w;
}

static void lmdb_writer_free(struct export_writer *w)
{
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        mem_free(w->levels[i]);
    mem_free(w);
}

/* --- pages --------------------------------------------------------------------------------------- */

static void page_header(uint8_t *page, uint64_t number, uint16_t flags, uint16_t lower, uint16_t upper)
{
    uint16_t rest[4] = {0, flags, lower, upper};
    memcpy(page, &number, sizeof number);
    memcpy(page + sizeof number, rest, sizeof rest);
}

static void level_clear(struct level *l)
{
    l->count = 0;
    l->lower = PAGE_HEADER;
    l->upper = PAGE;
}

static struct level *level_at(struct export_writer *w, unsigned depth)
{
    assert(depth < LEVELS_MAX);
    if (!w->levels[depth]) {
        w->levels[depth] = mem_new(sizeof *w->levels[depth]);
        level_clear(w->levels[depth]);
        w->levels[depth]->last_page = NO_PAGE;
    }
    return w->levels[depth];
}

static size_t node_size(size_t content)
{
    return (NODE_HEADER + content + 1) & ~(size_t)1;
}

static bool level_has_room(const struct level *l, size_t size)
{
    return (size_t)(l->upper - l->lower) >= size;
}

/* Adds a node: 32 bits with the size of a leaf's data or the low bits of a branch's page, the flags or its
 * high bits, the key. Returns the place of the data. */
static uint8_t *level_add(struct level *l, uint32_t low, uint16_t flags, struct slice key, size_t data_size)
{
    size_t size = node_size(key.size + data_size);
    uint16_t key_size = (uint16_t)key.size;
    assert(level_has_room(l, size + OFFSET));
    l->upper = (uint16_t)(l->upper - size);
    memcpy(l->page + l->lower, &l->upper, OFFSET);
    l->lower += OFFSET;
    l->count++;
    uint8_t *node = l->page + l->upper;
    memcpy(node, &low, 4);
    memcpy(node + 4, &flags, 2);
    memcpy(node + 6, &key_size, 2);
    if (key.size)
        memcpy(node + NODE_HEADER, key.data, key.size);
    if ((key.size + data_size) % 2)
        node[size - 1] = 0;
    return node + NODE_HEADER + key.size;
}

static uint64_t level_emit(struct export_writer *w, struct level *l, uint16_t flags, struct buf *out)
{
    uint64_t number = w->next_page++;
    if (w->is_second) {
        memset(l->page + l->lower, 0, (size_t)(l->upper - l->lower));
        page_header(l->page, number, flags, l->lower, l->upper);
        buf_add(out, l->page, PAGE);
    }
    if (flags == P_LEAF)
        w->tree->leaf_pages++;
    else
        w->tree->branch_pages++;
    level_clear(l);
    return number;
}

/* --- branches ------------------------------------------------------------------------------------ */

static struct slice key_slice(const struct key *k)
{
    return slice_of(k->bytes, k->size);
}

static void key_set(struct key *k, struct slice key)
{
    k->size = (uint16_t)key.size;
    if (key.size)
        memcpy(k->bytes, key.data, key.size);
}

/* Moves the child that was kept apart into the page. The key of the first child is that of the page
 * itself. */
static void branch_place_last(struct level *l)
{
    uint64_t page = l->last_page;
    bool is_first = l->count == 0;
    if (is_first)
        l->first = l->last;
    (void)level_add(l, (uint32_t)page, (uint16_t)(page >> 32),
                    is_first ? (struct slice){0} : key_slice(&l->last), 0);
    l->last_page = NO_PAGE;
}

static void branch_add(struct export_writer *w, unsigned depth, struct slice first, uint64_t page,
                       struct buf *out)
{
    struct level *l = level_at(w, depth);
    if (l->last_page != NO_PAGE) {
        size_t both = node_size(l->last.size) + node_size(first.size) + 2 * OFFSET;
        if (!level_has_room(l, both)) {
            uint64_t number = level_emit(w, l, P_BRANCH, out);
            branch_add(w, depth + 1, key_slice(&l->first), number, out);
        }
        branch_place_last(l);
    }
    key_set(&l->last, first);
    l->last_page = page;
}

static void leaf_close(struct export_writer *w, struct buf *out)
{
    struct level *leaf = level_at(w, 0);
    uint64_t number = level_emit(w, leaf, P_LEAF, out);
    branch_add(w, 1, key_slice(&leaf->first), number, out);
}

/* Closes the open pages from the leaf up. A level with one child is not written: that child is the root. */
static void tree_close(struct export_writer *w, struct buf *out)
{
    if (!w->tree)
        return;
    if (level_at(w, 0)->count)
        leaf_close(w, out);
    for (unsigned depth = 1; depth < LEVELS_MAX && w->levels[depth]; depth++) {
        struct level *l = w->levels[depth];
        if (l->last_page == NO_PAGE)
            break;
        if (l->count == 0) {
            w->tree->root = l->last_page;
            w->tree->depth = (uint16_t)depth;
            l->last_page = NO_PAGE;
            break;
        }
        branch_place_last(l);
        uint64_t number = level_emit(w, l, P_BRANCH, out);
        branch_add(w, depth + 1, key_slice(&l->first), number, out);
    }
    w->tree = NULL;
}

/* --- leaves -------------------------------------------------------------------------------------- */

static void add_zeros(struct buf *out, size_t size)
{
    memset(buf_reserve(out, size), 0, size);
    out->size += size;
}

/* Writes a value to pages of its own; returns the first. */
static uint64_t add_overflow(struct export_writer *w, struct slice value, struct buf *out)
{
    uint64_t number = w->next_page;
    uint64_t pages = (PAGE_HEADER - 1 + value.size) / PAGE + 1;
    w->next_page += pages;
    w->tree->overflow_pages += pages;
    if (w->is_second) {
        uint8_t header[PAGE_HEADER];
        page_header(header, number, P_OVERFLOW, (uint16_t)pages, (uint16_t)(pages >> 16));
        buf_add(out, header, sizeof header);
        buf_add_slice(out, value);
        add_zeros(out, pages * PAGE - PAGE_HEADER - value.size);
    }
    return number;
}

static void lmdb_row(struct export_writer *w, struct slice key, struct slice value, struct buf *out)
{
    struct level *leaf = level_at(w, 0);
    assert(w->tree && key.size && key.size <= KEY_MAX);
    bool is_big = NODE_HEADER + key.size + value.size > NODE_MAX;
    size_t inside = is_big ? sizeof(uint64_t) : value.size;
    if (!level_has_room(leaf, node_size(key.size + inside) + OFFSET))
        leaf_close(w, out);
    if (leaf->count == 0)
        key_set(&leaf->first, key);
    uint8_t *at = level_add(leaf, (uint32_t)value.size, is_big ? NODE_BIG : 0, key, inside);
    if (is_big) {
        uint64_t number = add_overflow(w, value, out);
        memcpy(at, &number, sizeof number);
    } else if (value.size) {
        memcpy(at, value.data, value.size);
    }
    w->tree->entries++;
}

static void lmdb_table(struct export_writer *w, enum backend_table table, struct buf *out)
{
    tree_close(w, out);
    w->tree = &w->trees[table];
}

/* --- the first pages ------------------------------------------------------------------------------ */

static void add_meta(const struct export_writer *w, uint64_t number, struct buf *out)
{
    struct meta meta = {
        .magic = (uint32_t)MAGIC,
        .version = VERSION,
        .map_size = w->planned_pages * PAGE,
        .free = {.pad = PAGE, .flags = TREE_INTEGER_KEY, .root = NO_PAGE},
        .main = {.depth = 1, .leaf_pages = 1, .entries = BACKEND_TABLES, .root = 2},
        .last_page = w->planned_pages - 1,
        .transaction = number,
    };
    uint8_t header[PAGE_HEADER];
    page_header(header, number, P_META, 0, 0);
    buf_add(out, header, sizeof header);
    buf_add(out, &meta, sizeof meta);
    add_zeros(out, PAGE - PAGE_HEADER - sizeof meta);
}

/* The tables in the order of their names. */
static void add_main(const struct export_writer *w, struct buf *out)
{
    struct level *l = mem_new(sizeof *l);
    const char *before = "";
    level_clear(l);
    for (unsigned i = 0; i < BACKEND_TABLES; i++) {
        const char *next = NULL;
        unsigned at = 0;
        for (unsigned k = 0; k < BACKEND_TABLES; k++) {
            const char *name = backend_table_names[k];
            if (strcmp(name, before) > 0 && (!next || strcmp(name, next) < 0)) {
                next = name;
                at = k;
            }
        }
        memcpy(level_add(l, sizeof(struct tree), NODE_TREE, slice_text(next), sizeof(struct tree)),
               &w->planned[at], sizeof(struct tree));
        before = next;
    }
    page_header(l->page, 2, P_LEAF, l->lower, l->upper);
    buf_add(out, l->page, PAGE);
    mem_free(l);
}

static uint64_t lmdb_plan(struct export_writer *w, struct buf *out)
{
    tree_close(w, out);
    memcpy(w->planned, w->trees, sizeof w->planned);
    w->planned_pages = w->next_page;
    w->is_second = true;
    pass_begin(w);
    add_meta(w, 0, out);
    add_meta(w, 1, out);
    add_main(w, out);
    return w->planned_pages * PAGE;
}

static int lmdb_finish(struct export_writer *w, struct buf *out)
{
    tree_close(w, out);
    bool is_as_planned =
        w->next_page == w->planned_pages && memcmp(w->planned, w->trees, sizeof w->planned) == 0;
    return is_as_planned ? 0 : ERR_CORRUPT;
}

static const struct export_format export_lmdb = {
    .new = lmdb_writer_new,
    .table = lmdb_table,
    .row = lmdb_row,
    .plan = lmdb_plan,
    .finish = lmdb_finish,
    .free = lmdb_writer_free,
};

#endif
