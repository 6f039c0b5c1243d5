/* SPDX-License-Identifier: Apache-2.0
 * Memory backend, for tests and the simulator: sorted arrays, one thread. It has two modes:
 * - Alone: every commit keeps an undo list until it is synced, so that a simulated crash can revert it.
 * - Over a file of batches (backend_file.h): a commit is first on the disk and then in the tables; opening
 *   replays the file. */
#include <assert.h>
#include <stdio.h>

#include "base/mem.h"
#include "consensus/store/backend_file.h"

#define REWRITE_SLACK                                                                                        \
    (256u << 10) /* a file is rewritten when it is larger than four times its content and
                                      this */

struct row {
    struct slice key, value; /* owned */
};

struct table {
    struct row *rows;
    size_t count, capacity;
    uint64_t bytes;
};

/* The reverse of one change: restores the old row, or removes the key. */
struct undo {
    enum backend_table table;
    bool existed;
    struct row row;
};

struct backend_view {
    struct memory *owner;
    struct table *side; /* of a pinned view: a copy of the side tables; NULL = the loop's view */
};

struct memory {
    struct backend base;
    struct table tables[BACKEND_TABLES];
    struct undo *undo;
    size_t undo_count, undo_capacity;
    struct backend_view view;
    bool view_is_open, manual_sync;
    int err;
    struct io *io;             /* NULL = no file */
    struct backend_file *file; /* every commit is in it */
    uint64_t map_size;         /* the limit of its size, as LMDB's */
    struct buf batch;          /* kept between commits */
};

static struct memory *memory_of(struct backend *b)
{
    return (struct memory *)(void *)b;
}

static struct slice slice_copy(struct slice s)
{
    uint8_t *data = mem_alloc(s.size + 1);
    if (s.size)
        memcpy(data, s.data, s.size);
    return (struct slice){data, s.size};
}

static void row_free(struct row *r)
{
    mem_free(r->key.data);
    mem_free(r->value.data);
}

/* The index of the first key >= key. */
static size_t table_find(const struct table *t, struct slice key, bool *ret_found)
{
    size_t low = 0, high = t->count;
    if (high && slice_compare(t->rows[high - 1].key, key) < 0)
        low = high;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(t->rows[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = low < t->count && slice_equal(t->rows[low].key, key);
    return low;
}

/* Takes the row; returns the row that it replaces (NULL pointers when there was none). */
static struct row table_put(struct table *t, struct row row)
{
    bool found;
    size_t at = table_find(t, row.key, &found);
    t->bytes += row.key.size + row.value.size;
    if (found) {
        struct row old = t->rows[at];
        t->bytes -= old.key.size + old.value.size;
        t->rows[at] = row;
        return old;
    }
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? t->capacity * 2 : 16;
        t->rows = mem_resize(t->rows, t->capacity * sizeof *t->rows);
    }
    memmove(&t->rows[at + 1], &t->rows[at], (t->count - at) * sizeof *t->rows);
    t->rows[at] = row;
    t->count++;
    return (struct row){0};
}

static struct row table_remove(struct table *t, struct slice key)
{
    bool found;
    size_t at = table_find(t, key, &found);
    if (!found)
        return (struct row){0};
    struct row old = t->rows[at];
    t->bytes -= old.key.size + old.value.size;
    memmove(&t->rows[at], &t->rows[at + 1], (t->count - at - 1) * sizeof *t->rows);
    t->count--;
    return old;
}

static void backend_memory_remember(struct memory *m, enum backend_table table, struct row old,
                                    struct slice key)
{
    if (m->undo_count == m->undo_capacity) {
        m->undo_capacity = m->undo_capacity ? m->undo_capacity * 2 : 64;
        m->undo = mem_resize(m->undo, m->undo_capacity * sizeof *m->undo);
    }
    bool existed = old.key.data != NULL;
    struct row row = existed ? old : (struct row){.key = slice_copy(key)};
    m->undo[m->undo_count++] = (struct undo){.table = table, .existed = existed, .row = row};
}

static void undo_drop(struct memory *m)
{
    for (size_t i = 0; i < m->undo_count; i++)
        row_free(&m->undo[i].row);
    m->undo_count = 0;
}

/* Applies one change to the tables. A delete of a missing key does nothing. */
static void apply(struct memory *m, const struct backend_op *op, uint64_t *freed)
{
    struct table *t = &m->tables[op->table];
    struct row old;
    if (op->kind == BACKEND_DELETE) {
        old = table_remove(t, op->key);
        if (!old.key.data)
            return;
        if (op->table == BACKEND_RECORDS)
            *freed += old.key.size + old.value.size;
    } else {
        old = table_put(t, (struct row){slice_copy(op->key), slice_copy(op->value)});
    }
    if (m->io)
        row_free(&old);
    else
        backend_memory_remember(m, op->table, old, op->key);
}

static bool is_appendable(const struct memory *m, const struct backend_op *op)
{
    const struct table *t = &m->tables[op->table];
    return op->kind != BACKEND_APPEND || t->count == 0 ||
           slice_compare(t->rows[t->count - 1].key, op->key) < 0;
}

static uint64_t content_bytes(const struct memory *m)
{
    uint64_t bytes = 4096;
    for (unsigned i = 0; i < BACKEND_TABLES; i++)
        bytes += m->tables[i].bytes;
    return bytes;
}

static void batch_of_everything(struct memory *m)
{
    backend_batch_begin(&m->batch);
    for (unsigned i = 0; i < BACKEND_TABLES; i++) {
        for (size_t k = 0; k < m->tables[i].count; k++) {
            struct backend_op op = {.table = i, .key = m->tables[i].rows[k].key};
            op.kind = BACKEND_APPEND;
            op.value = m->tables[i].rows[k].value;
            backend_batch_add(&m->batch, &op);
        }
    }
}

/* Writes the disk first, then the tables: readers see durable data only. */
static int file_commit(struct memory *m, const struct backend_op *ops, size_t count)
{
    backend_batch_begin(&m->batch);
    for (size_t i = 0; i < count; i++)
        backend_batch_add(&m->batch, &ops[i]);
    if (m->map_size && content_bytes(m) + m->batch.size > m->map_size)
        return ERR_NO_DISK_SPACE;
    return backend_file_append(m->file, &m->batch);
}

static int memory_commit(struct backend *b, const struct backend_op *ops, size_t count, uint64_t *ret_freed)
{
    struct memory *m = memory_of(b);
    uint64_t freed = 0;
    int err = m->err;
    assert(m->file || !m->view_is_open);
    if (!err && m->file)
        err = file_commit(m, ops, count);
    if (err) {
        if (m->file)
            m->err = err;
        return err;
    }
    for (size_t i = 0; i < count; i++) {
        assert(is_appendable(m, &ops[i]));
        apply(m, &ops[i], &freed);
    }
    if (!m->manual_sync)
        undo_drop(m);
    if (m->file && backend_file_size(m->file) > 4 * content_bytes(m) + REWRITE_SLACK) {
        batch_of_everything(m);
        m->err = backend_file_replace(m->file, &m->batch);
        if (m->err)
            return m->err;
    }
    *ret_freed = freed;
    return 0;
}

static int memory_view_open(struct backend *b, struct backend_view **ret_view)
{
    struct memory *m = memory_of(b);
    assert(!m->view_is_open);
    m->view_is_open = true;
    *ret_view = &m->view;
    return 0;
}

static void memory_view_close(struct backend *b, struct backend_view *view)
{
    (void)view;
    memory_of(b)->view_is_open = false;
}

static void table_free(struct table *t)
{
    for (size_t k = 0; k < t->count; k++)
        row_free(&t->rows[k]);
    mem_free(t->rows);
}

/* Copies the side tables. Records are not copied: a pinned view reads only records that are neither changed
 * nor deleted. */
static int memory_pin(struct backend *b, struct backend_view **ret_view)
{
    struct backend_view *view = mem_new(sizeof *view);
    view->owner = memory_of(b);
    view->side = mem_new(BACKEND_TABLES * sizeof *view->side);
    for (unsigned i = BACKEND_RECORDS + 1; i < BACKEND_TABLES; i++) {
        const struct table *t = &view->owner->tables[i];
        for (size_t k = 0; k < t->count; k++) {
            struct row row = {slice_copy(t->rows[k].key), slice_copy(t->rows[k].value)};
            (void)table_put(&view->side[i], row);
        }
    }
    *ret_view = view;
    return 0;
}

static void memory_unpin(struct backend_view *view)
{
    for (unsigned i = 0; i < BACKEND_TABLES; i++)
        table_free(&view->side[i]);
    mem_free(view->side);
    mem_free(view);
}

static struct table *view_table(struct backend_view *view, enum backend_table table)
{
    return view->side && table != BACKEND_RECORDS ? &view->side[table] : &view->owner->tables[table];
}

static int memory_get(struct backend_view *view, enum backend_table table, struct slice key,
                      struct slice *ret_value)
{
    struct table *t = view_table(view, table);
    bool found;
    size_t at = table_find(t, key, &found);
    if (!found)
        return ERR_NOT_FOUND;
    *ret_value = t->rows[at].value;
    return 0;
}

static int memory_scan(struct backend_view *view, enum backend_table table, struct slice from,
                       bool (*fn)(void *arg, struct slice key, struct slice value), void *arg)
{
    struct table *t = view_table(view, table);
    bool found;
    for (size_t i = table_find(t, from, &found); i < t->count; i++) {
        if (!fn(arg, t->rows[i].key, t->rows[i].value))
            break;
    }
    return 0;
}

static uint64_t memory_count(struct backend_view *view, enum backend_table table)
{
    return view_table(view, table)->count;
}

static struct backend_sizes memory_sizes(struct backend *b)
{
    struct memory *m = memory_of(b);
    struct backend_sizes sizes = {.in_use = content_bytes(m)};
    sizes.file = sizes.in_use;
    if (m->file && backend_file_size(m->file) > sizes.in_use)
        sizes.file = backend_file_size(m->file);
    return sizes;
}

static void write_slice(FILE *f, struct slice s)
{
    uint8_t size[8];
    put_be64(size, s.size);
    fwrite(size, 1, sizeof size, f);
    fwrite(s.data, 1, s.size, f);
}

/* For tests only, without a file of its own: table, key, value of every row. */
static int memory_copy(struct backend *b, const char *path)
{
    struct memory *m = memory_of(b);
    if (m->file) {
        batch_of_everything(m);
        return backend_file_write(m->io, path, &m->batch);
    }
    FILE *f = fopen(path, "wbx");
    if (!f)
        return ERR_IO;
    for (unsigned i = 0; i < BACKEND_TABLES; i++) {
        struct table *t = &memory_of(b)->tables[i];
        for (size_t k = 0; k < t->count; k++) {
            fputc((int)i, f);
            write_slice(f, t->rows[k].key);
            write_slice(f, t->rows[k].value);
        }
    }
    return fclose(f) == 0 ? 0 : ERR_IO;
}

static void memory_moved(struct backend *b, const char *path)
{
    if (memory_of(b)->file)
        backend_file_moved(memory_of(b)->file, path);
}

static void memory_trim(struct backend *b)
{
    (void)b;
}

static void memory_close(struct backend *b)
{
    struct memory *m = memory_of(b);
    m->view_is_open = false;
    if (m->file)
        backend_memory_free(b);
}

static const struct backend_ops memory_ops = {
    .close = memory_close,
    .commit = memory_commit,
    .view_open = memory_view_open,
    .view_close = memory_view_close,
    .pin = memory_pin,
    .unpin = memory_unpin,
    .get = memory_get,
    .scan = memory_scan,
    .count = memory_count,
    .sizes = memory_sizes,
    .copy = memory_copy,
    .moved = memory_moved,
    .trim = memory_trim,
};

struct backend *backend_memory_new(void)
{
    struct memory *m = mem_new(sizeof *m);
    m->base.ops = &memory_ops;
    m->view.owner = m;
    return &m->base;
}

/* The file may come from elsewhere: a change that does not fit is refused, not asserted. */
static int replay(void *arg, const struct backend_op *op)
{
    struct memory *m = arg;
    uint64_t freed = 0;
    if (op->key.size == 0 || !is_appendable(m, op))
        return ERR_CORRUPT;
    apply(m, op, &freed);
    return 0;
}

int backend_memory_open(struct io *io, const char *path, uint64_t map_size, char *error, size_t error_size,
                        struct backend **ret)
{
    struct memory *m = memory_of(backend_memory_new());
    m->io = io;
    m->map_size = map_size;
    int err = backend_file_open(io, path, replay, m, error, error_size, &m->file);
    if (!err && !backend_file_is_new(m->file)) {
        batch_of_everything(m);
        err = backend_file_replace(m->file, &m->batch);
        if (err)
            snprintf(error, error_size, "cannot write the store %s again: %s", path, err_text(err));
    }
    if (err) {
        backend_memory_free(&m->base);
        return err;
    }
    *ret = &m->base;
    return 0;
}

void backend_memory_free(struct backend *b)
{
    if (!b)
        return;
    struct memory *m = memory_of(b);
    undo_drop(m);
    mem_free(m->undo);
    if (m->file)
        backend_file_close(m->file);
    buf_done(&m->batch);
    for (unsigned i = 0; i < BACKEND_TABLES; i++)
        table_free(&m->tables[i]);
    mem_free(m);
}

void backend_memory_set_manual_sync(struct backend *b, bool manual)
{
    memory_of(b)->manual_sync = manual;
    if (!manual)
        undo_drop(memory_of(b));
}

void backend_memory_sync(struct backend *b)
{
    undo_drop(memory_of(b));
}

void backend_memory_crash(struct backend *b)
{
    struct memory *m = memory_of(b);
    m->view_is_open = false;
    while (m->undo_count) {
        struct undo *u = &m->undo[--m->undo_count];
        struct row now = u->existed ? table_put(&m->tables[u->table], u->row)
                                    : table_remove(&m->tables[u->table], u->row.key);
        row_free(&now);
        if (!u->existed)
            row_free(&u->row);
    }
}

void backend_memory_fail(struct backend *b, int err)
{
    memory_of(b)->err = err;
}
