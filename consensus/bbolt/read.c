/* SPDX-License-Identifier: Apache-2.0
 * Reader of bbolt files: the meta pages, the list of buckets, and walks over a bucket's rows.
 *
 * A walk keeps one level for each page from the root to the present leaf. Invariant: every key that it
 * returns is greater than the one before, and it visits no more pages than the file has. So a damaged file
 * can neither make it turn in circles nor return a row twice.
 *
 * The freelist is not read: pages that no bucket reaches are of no interest here. */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/bbolt/bbolt.h"
#include "consensus/bbolt/page.h"

enum {
    PAGE_SIZE_MIN = 512,
    PAGE_SIZE_MAX = 1 << 20,
    DEPTH_MAX = 32,
    HELD_MAX = 64 << 10, /* bytes of a page that a level keeps; the rest is read row by row */
};

struct bucket {
    struct buf name;
    uint64_t root;     /* 0 = within its parent */
    struct buf inside; /* the page then */
};

struct bbolt_file {
    struct bbolt_source source;
    uint64_t page_size, page_count, transaction;
    struct bucket buckets[BBOLT_BUCKETS_MAX];
    size_t bucket_count;
};

struct level {
    uint64_t page;
    uint64_t offset, size; /* of all its pages, in the file; offset is not used for an inside page */
    bool is_leaf, is_inside;
    size_t count, next; /* elements, and the one to visit */
    struct buf held;    /* the first bytes */
};

struct bbolt_cursor {
    struct bbolt_file *file;
    struct level levels[DEPTH_MAX];
    unsigned depth; /* levels in use; 0 = the end */
    uint64_t pages_visited;
    struct buf last_key, key, value;
    bool may_repeat; /* the next key may equal last_key */
    bool is_started;
    uint64_t root; /* 0 = inside */
    const struct buf *inside;
};

__attribute__((format(printf, 4, 5))) static int fail(struct bbolt_problem *p, int err, uint64_t page,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    p->page = page;
    vsnprintf(p->text, sizeof p->text, format, args);
    va_end(args);
    return err;
}

/* --- the file ---------------------------------------------------------------------------------------- */

static int source_read(const struct bbolt_file *f, uint64_t offset, void *ret_bytes, size_t size)
{
    if (offset > f->source.size || size > f->source.size - offset)
        return ERR_TRUNCATED;
    return f->source.read(f->source.arg, offset, ret_bytes, size);
}

/* The meta page at an offset, if it is one. */
static int read_meta(const struct bbolt_file *f, uint64_t offset, struct meta *ret_meta, bool *ret_is_valid)
{
    struct {
        struct page_head head;
        struct meta meta;
    } page;
    *ret_is_valid = false;
    int err = source_read(f, offset, &page, sizeof page);
    if (err == ERR_TRUNCATED)
        return OK;
    if (err)
        return err;
    const struct meta *m = &page.meta;
    bool is_size = m->page_size >= PAGE_SIZE_MIN && m->page_size <= PAGE_SIZE_MAX &&
                   (m->page_size & (m->page_size - 1)) == 0;
    *ret_is_valid =
        m->magic == BBOLT_MAGIC && m->version == BBOLT_VERSION && is_size && m->checksum == meta_checksum(m);
    *ret_meta = *m;
    return OK;
}

/* The valid meta page with the higher transaction. The second one lies at a page's size, which the first one
 * tells. Only where the first one is damaged every size is tried, as bbolt does: elsewhere than at a meta
 * page's place the bytes of a value could pretend to be one. */
static int find_meta(struct bbolt_file *f, struct meta *ret_meta, struct bbolt_problem *p)
{
    struct meta m;
    bool is_found = false, is_valid;
    int err = read_meta(f, 0, &m, &is_valid);
    if (!err && is_valid) {
        *ret_meta = m;
        is_found = true;
    }
    uint64_t from = is_found ? ret_meta->page_size : PAGE_SIZE_MIN;
    uint64_t to = is_found ? from : PAGE_SIZE_MAX;
    for (uint64_t size = from; !err && size <= to; size *= 2) {
        err = read_meta(f, size, &m, &is_valid);
        if (err || !is_valid || m.page_size != size)
            continue;
        if (!is_found || m.transaction > ret_meta->transaction)
            *ret_meta = m;
        is_found = true;
        break;
    }
    if (err || is_found)
        return err;
    uint32_t magic = 0;
    if (source_read(f, sizeof(struct page_head), &magic, sizeof magic) == OK && magic == BBOLT_MAGIC)
        return fail(p, ERR_CORRUPT, 0, "both meta pages are damaged");
    return fail(p, ERR_MALFORMED, 0,
                "it is not a bbolt file: it has no meta page; another program wrote it, or it is encrypted");
}

static int check_meta(struct bbolt_file *f, const struct meta *m, struct bbolt_problem *p)
{
    uint64_t pages = f->source.size / m->page_size;
    f->page_size = m->page_size;
    f->page_count = m->page_count;
    f->transaction = m->transaction;
    if (m->page_count > pages)
        return fail(p, ERR_CORRUPT, 0,
                    "the file is cut off: it should have %" PRIu64 " pages and has %" PRIu64, m->page_count,
                    pages);
    if (m->root.root < 2 || m->root.root >= m->page_count)
        return fail(p, ERR_CORRUPT, 0, "the root is page %" PRIu64 " of %" PRIu64, m->root.root,
                    m->page_count);
    return OK;
}

/* --- pages ------------------------------------------------------------------------------------------- */

/* Bytes of a page. Those that the level does not hold are read into *tmp. */
static int level_bytes(const struct bbolt_cursor *c, const struct level *l, uint64_t at, size_t size,
                       struct buf *tmp, struct slice *ret_bytes)
{
    assert(at <= l->size && size <= l->size - at);
    if (at + size <= l->held.size) {
        *ret_bytes = slice_of(l->held.data + at, size);
        return OK;
    }
    tmp->size = 0;
    int err = source_read(c->file, l->offset + at, buf_reserve(tmp, size), size);
    if (err)
        return err;
    tmp->size = size;
    *ret_bytes = buf_slice(tmp);
    return OK;
}

static struct page_head level_head(const struct level *l)
{
    struct page_head head;
    memcpy(&head, l->held.data, sizeof head);
    return head;
}

static int level_check(struct level *l, struct bbolt_problem *p)
{
    struct page_head head = level_head(l);
    l->is_leaf = head.flags == PAGE_LEAF;
    l->count = head.count;
    l->next = 0;
    if (!l->is_leaf && head.flags != PAGE_BRANCH)
        return fail(p, ERR_CORRUPT, l->page, "it is no page of a tree: its flags are 0x%x", head.flags);
    if (sizeof head + l->count * sizeof(struct leaf_element) > l->size)
        return fail(p, ERR_CORRUPT, l->page, "%zu elements do not fit its %" PRIu64 " bytes", l->count,
                    l->size);
    if (!l->is_leaf && l->count == 0)
        return fail(p, ERR_CORRUPT, l->page, "it is a branch without a child");
    return OK;
}

static int hold(struct bbolt_cursor *c, struct level *l, size_t size)
{
    l->held.size = 0;
    int err = source_read(c->file, l->offset, buf_reserve(&l->held, size), size);
    if (!err)
        l->held.size = size;
    return err;
}

static int push_page(struct bbolt_cursor *c, uint64_t number, struct bbolt_problem *p)
{
    struct bbolt_file *f = c->file;
    if (number < 2 || number >= f->page_count)
        return fail(p, ERR_CORRUPT, number, "it is named as a child, but the file has %" PRIu64 " pages",
                    f->page_count);
    if (c->depth == DEPTH_MAX || ++c->pages_visited > f->page_count)
        return fail(p, ERR_CORRUPT, number, "the tree of its bucket has a circle");
    struct level *l = &c->levels[c->depth++];
    *l = (struct level){
        .page = number, .offset = number * f->page_size, .size = f->page_size, .held = l->held};
    int err = hold(c, l, l->size < HELD_MAX ? l->size : HELD_MAX);
    if (err)
        return err;
    struct page_head head = level_head(l);
    if (head.number != number)
        return fail(p, ERR_CORRUPT, number, "it says that it is page %" PRIu64, head.number);
    if (head.overflow >= f->page_count - number)
        return fail(p, ERR_CORRUPT, number, "%" PRIu32 " pages should follow it, the file has %" PRIu64,
                    head.overflow, f->page_count);
    l->size = (head.overflow + UINT64_C(1)) * f->page_size;
    if (head.overflow)
        err = hold(c, l, l->size < HELD_MAX ? l->size : HELD_MAX);
    return err ? err : level_check(l, p);
}

static int push_inside(struct bbolt_cursor *c, struct bbolt_problem *p)
{
    struct level *l = &c->levels[c->depth++];
    *l = (struct level){.size = c->inside->size, .is_inside = true, .held = l->held};
    l->held.size = 0;
    buf_add_slice(&l->held, buf_slice(c->inside));
    if (l->size < sizeof(struct page_head))
        return fail(p, ERR_CORRUPT, 0, "a bucket within the root has %" PRIu64 " bytes", l->size);
    int err = level_check(l, p);
    if (!err && !l->is_leaf)
        return fail(p, ERR_CORRUPT, 0, "a bucket within the root has a branch");
    return err;
}

/* --- elements ---------------------------------------------------------------------------------------- */

struct element {
    uint32_t flags;
    uint64_t child;           /* of a branch */
    uint64_t value, value_at; /* size and place */
    struct slice key;
};

/* The next element of a level: its key, and where its value is. */
static int read_element(struct bbolt_cursor *c, struct level *l, struct element *ret_element,
                        struct bbolt_problem *p)
{
    uint64_t at = sizeof(struct page_head) + l->next * sizeof(struct leaf_element);
    struct buf tmp = {0};
    struct slice bytes;
    struct leaf_element leaf;
    struct branch_element branch;
    int err = level_bytes(c, l, at, sizeof leaf, &tmp, &bytes);
    if (!err) {
        memcpy(&leaf, bytes.data, sizeof leaf);
        memcpy(&branch, bytes.data, sizeof branch);
    }
    buf_done(&tmp);
    if (err)
        return err;
    uint64_t position = l->is_leaf ? leaf.position : branch.position;
    uint64_t key_size = l->is_leaf ? leaf.key_size : branch.key_size;
    uint64_t value_size = l->is_leaf ? leaf.value_size : 0;
    if (at + position + key_size + value_size > l->size)
        return fail(p, ERR_CORRUPT, l->page, "element %zu of %zu reaches beyond its end", l->next, l->count);
    if (key_size > BBOLT_READ_KEY_MAX || (l->is_leaf && key_size == 0))
        return fail(p, ERR_CORRUPT, l->page, "element %zu has a key of %" PRIu64 " bytes", l->next, key_size);
    *ret_element = (struct element){.flags = l->is_leaf ? leaf.flags : 0,
                                    .child = branch.page,
                                    .value = value_size,
                                    .value_at = at + position + key_size};
    return level_bytes(c, l, at + position, key_size, &c->key, &ret_element->key);
}

/* A leaf's key is above all keys before it. A branch's key is above all before it, too, and not above the
 * first one of its child. */
static int check_order(struct bbolt_cursor *c, const struct level *l, struct slice key,
                       struct bbolt_problem *p)
{
    int order = slice_compare(key, buf_slice(&c->last_key));
    if (order < 0 || (order == 0 && !c->may_repeat))
        return fail(p, ERR_CORRUPT, l->page, "the key of element %zu is not above those before it", l->next);
    c->may_repeat = !l->is_leaf;
    c->last_key.size = 0;
    buf_add_slice(&c->last_key, key);
    return OK;
}

/* Goes down to the next row. c->depth 0: there are no more. */
static int find_row(struct bbolt_cursor *c, struct element *ret_element, struct bbolt_problem *p)
{
    int err = OK;
    while (!err && c->depth) {
        struct level *l = &c->levels[c->depth - 1];
        if (l->next == l->count) {
            c->depth--;
            continue;
        }
        err = read_element(c, l, ret_element, p);
        if (!err)
            err = check_order(c, l, ret_element->key, p);
        if (err)
            return err;
        l->next++;
        if (l->is_leaf)
            return OK;
        err = push_page(c, ret_element->child, p);
    }
    return err;
}

/* --- cursors ----------------------------------------------------------------------------------------- */

static struct bbolt_cursor *cursor_new(struct bbolt_file *f, uint64_t root, const struct buf *inside)
{
    struct bbolt_cursor *c = mem_new(sizeof *c);
    c->file = f;
    c->root = root;
    c->inside = inside;
    c->may_repeat = true; /* the first key of a branch may be empty */
    return c;
}

void bbolt_cursor_new(struct bbolt_file *f, struct slice bucket, struct bbolt_cursor **ret_cursor)
{
    *ret_cursor = NULL;
    for (size_t i = 0; i < f->bucket_count && !*ret_cursor; i++)
        if (slice_equal(buf_slice(&f->buckets[i].name), bucket))
            *ret_cursor = cursor_new(f, f->buckets[i].root, &f->buckets[i].inside);
}

void bbolt_cursor_free(struct bbolt_cursor *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < DEPTH_MAX; i++)
        buf_done(&c->levels[i].held);
    buf_done(&c->last_key);
    buf_done(&c->key);
    buf_done(&c->value);
    mem_free(c);
}

static int next_row(struct bbolt_cursor *c, uint32_t *ret_flags, struct slice *ret_key,
                    struct slice *ret_value, struct bbolt_problem *p)
{
    struct element e = {0};
    *ret_key = *ret_value = (struct slice){0};
    int err = OK;
    if (!c->is_started)
        err = c->root ? push_page(c, c->root, p) : push_inside(c, p);
    c->is_started = true;
    if (!err)
        err = find_row(c, &e, p);
    if (err || !c->depth)
        return err;
    err = level_bytes(c, &c->levels[c->depth - 1], e.value_at, e.value, &c->value, ret_value);
    if (err)
        return err;
    *ret_key = e.key;
    *ret_flags = e.flags;
    return OK;
}

int bbolt_cursor_next(struct bbolt_cursor *c, struct slice *ret_key, struct slice *ret_value,
                      struct bbolt_problem *ret_problem)
{
    uint32_t flags = 0;
    int err = next_row(c, &flags, ret_key, ret_value, ret_problem);
    if (!err && flags)
        err = fail(ret_problem, ERR_CORRUPT, c->levels[c->depth - 1].page,
                   "a row of a bucket has the flags 0x%" PRIx32, flags);
    return err;
}

/* --- opening ----------------------------------------------------------------------------------------- */

static int add_bucket(struct bbolt_file *f, struct slice name, struct slice value, struct bbolt_problem *p)
{
    struct bucket_head head;
    if (f->bucket_count == BBOLT_BUCKETS_MAX || name.size > BBOLT_NAME_MAX)
        return fail(p, ERR_CORRUPT, 0, "more than %d buckets, or a name of more than %d bytes",
                    BBOLT_BUCKETS_MAX, BBOLT_NAME_MAX);
    if (value.size < sizeof head)
        return fail(p, ERR_CORRUPT, 0, "a bucket's head has %zu bytes, not %zu", value.size, sizeof head);
    memcpy(&head, value.data, sizeof head);
    struct bucket *b = &f->buckets[f->bucket_count++];
    b->root = head.root;
    buf_add_slice(&b->name, name);
    if (!head.root)
        buf_add(&b->inside, value.data + sizeof head, value.size - sizeof head);
    return OK;
}

static int read_buckets(struct bbolt_file *f, uint64_t root, struct bbolt_problem *p)
{
    struct bbolt_cursor *c = cursor_new(f, root, NULL);
    struct slice name, value;
    uint32_t flags = 0;
    int err;
    while (!(err = next_row(c, &flags, &name, &value, p)) && name.size) {
        if (flags != LEAF_BUCKET)
            err = fail(p, ERR_CORRUPT, c->levels[c->depth - 1].page,
                       "the root holds something else than buckets");
        if (!err)
            err = add_bucket(f, name, value, p);
        if (err)
            break;
    }
    bbolt_cursor_free(c);
    return err;
}

int bbolt_open(const struct bbolt_source *source, struct bbolt_file **ret_file,
               struct bbolt_problem *ret_problem)
{
    struct bbolt_file *f = mem_new(sizeof *f);
    struct meta meta = {0};
    f->source = *source;
    *ret_file = NULL;
    int err = find_meta(f, &meta, ret_problem);
    if (!err)
        err = check_meta(f, &meta, ret_problem);
    if (!err)
        err = read_buckets(f, meta.root.root, ret_problem);
    if (err)
        bbolt_close(f);
    else
        *ret_file = f;
    return err;
}

void bbolt_close(struct bbolt_file *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->bucket_count; i++) {
        buf_done(&f->buckets[i].name);
        buf_done(&f->buckets[i].inside);
    }
    mem_free(f);
}

uint64_t bbolt_transaction(const struct bbolt_file *f)
{
    return f->transaction;
}

uint64_t bbolt_used_bytes(const struct bbolt_file *f)
{
    return f->page_count * f->page_size;
}

size_t bbolt_bucket_count(const struct bbolt_file *f)
{
    return f->bucket_count;
}

struct slice bbolt_bucket_name(const struct bbolt_file *f, size_t i)
{
    assert(i < f->bucket_count);
    return buf_slice(&f->buckets[i].name);
}
