/* SPDX-License-Identifier: Apache-2.0
 * The simulated disk: images, unsynced operations, faults. crash.c has the enumeration of crashes. */
#include "tests/sim/disk_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

/* --- names ------------------------------------------------------------------------------------ */

static size_t name_place(const struct sim_names *n, const char *path, bool *ret_found)
{
    size_t low = 0, high = n->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int c = strcmp(n->rows[middle].path, path);
        if (c == 0) {
            *ret_found = true;
            return middle;
        }
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = false;
    return low;
}

static bool names_find(const struct sim_names *n, const char *path, size_t *ret_inode)
{
    bool found;
    size_t place = name_place(n, path, &found);

    if (found)
        *ret_inode = n->rows[place].inode;
    return found;
}

static void names_set(struct sim_names *n, const char *path, size_t inode)
{
    bool found;
    size_t place = name_place(n, path, &found);

    if (!found) {
        n->rows = mem_resize(n->rows, (n->count + 1) * sizeof(*n->rows));
        memmove(n->rows + place + 1, n->rows + place, (n->count - place) * sizeof(*n->rows));
        n->rows[place].path = mem_string(path);
        n->count++;
    }
    n->rows[place].inode = inode;
}

static void names_remove(struct sim_names *n, const char *path)
{
    bool found;
    size_t place = name_place(n, path, &found);

    if (!found)
        return;
    mem_free(n->rows[place].path);
    n->count--;
    memmove(n->rows + place, n->rows + place + 1, (n->count - place) * sizeof(*n->rows));
}

static void names_copy(struct sim_names *to, const struct sim_names *from)
{
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->rows[i].path, from->rows[i].inode);
}

static void names_done(struct sim_names *n)
{
    for (size_t i = 0; i < n->count; i++)
        mem_free(n->rows[i].path);
    mem_free(n->rows);
    *n = (struct sim_names){0};
}

static bool is_in_dir(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

/* --- operations ------------------------------------------------------------------------------- */

static char *string_or_null(const char *s)
{
    return s ? mem_string(s) : NULL;
}

void sim_ops_add(struct sim_ops *list, const struct sim_op *op)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 16;
        list->rows = mem_resize(list->rows, list->capacity * sizeof(*list->rows));
    }
    struct sim_op *copy = &list->rows[list->count++];
    *copy = *op;
    copy->data = (struct buf){0};
    buf_add_slice(&copy->data, buf_slice(&op->data));
    copy->path = string_or_null(op->path);
    copy->to = string_or_null(op->to);
}

static void op_done(struct sim_op *op)
{
    buf_done(&op->data);
    mem_free(op->path);
    mem_free(op->to);
}

void sim_ops_done(struct sim_ops *list)
{
    for (size_t i = 0; i < list->count; i++)
        op_done(&list->rows[i]);
    mem_free(list->rows);
    *list = (struct sim_ops){0};
}

static void content_resize(struct buf *b, uint64_t size)
{
    if (size > b->size)
        memset(buf_reserve(b, (size_t)size - b->size), 0, (size_t)size - b->size);
    b->size = (size_t)size;
}

static void content_write(struct buf *b, uint64_t at, const uint8_t *data, size_t size)
{
    if (at + size > b->size)
        content_resize(b, at + size);
    memcpy(b->data + at, data, size);
}

/* Applies the operation to one image; `fate` says how much of it. */
static void image_apply(struct buf *contents, struct sim_names *names, const struct sim_op *op,
                        struct sim_fate fate)
{
    struct buf *b = &contents[op->inode];
    uint64_t from = fate.from < op->data.size ? fate.from : op->data.size;
    uint64_t to = fate.to < op->data.size ? fate.to : op->data.size;

    if (fate.is_lost)
        return;
    switch ((unsigned)op->kind) {
    case SIM_OP_WRITE:
        if (fate.grows && op->at + op->data.size > b->size)
            content_resize(b, op->at + op->data.size);
        if (to > from)
            content_write(b, op->at + from, op->data.data + from, (size_t)(to - from));
        break;
    case SIM_OP_TRUNCATE:
        content_resize(b, op->at);
        break;
    case SIM_OP_CREATE:
        names_set(names, op->path, op->inode);
        break;
    case SIM_OP_RENAME: {
        size_t inode;
        if (names_find(names, op->path, &inode) && inode == op->inode)
            names_remove(names, op->path);
        names_set(names, op->to, op->inode);
        break;
    }
    case SIM_OP_UNLINK:
        names_remove(names, op->path);
        break;
    default:
        assert(false);
    }
}

static size_t inode_new(struct sim_disk *d)
{
    size_t i = d->inode_count++;
    d->live = mem_resize(d->live, d->inode_count * sizeof(*d->live));
    d->durable = mem_resize(d->durable, d->inode_count * sizeof(*d->durable));
    d->live[i] = d->durable[i] = (struct buf){0};
    return i;
}

/* Frees the bytes of inodes without a name. Open handles then read nothing, which no program of ours does. */
static void collect_garbage(struct sim_disk *d)
{
    bool *used = mem_new(d->inode_count + 1);

    for (size_t i = 0; i < d->names.count; i++)
        used[d->names.rows[i].inode] = true;
    for (size_t i = 0; i < d->durable_names.count; i++)
        used[d->durable_names.rows[i].inode] = true;
    for (size_t i = 0; i < d->pending.count; i++)
        used[d->pending.rows[i].inode] = true;
    for (size_t i = 0; i < d->inode_count; i++) {
        if (!used[i]) {
            buf_done(&d->live[i]);
            buf_done(&d->durable[i]);
        }
    }
    mem_free(used);
}

static bool is_covered(const struct sim_op *sync, const struct sim_op *op)
{
    if (sync->kind == SIM_OP_SYNC)
        return op->inode == sync->inode && (op->kind & (SIM_OP_WRITE | SIM_OP_TRUNCATE));
    if (op->kind == SIM_OP_RENAME)
        return is_in_dir(op->to, sync->path);
    return (op->kind & (SIM_OP_CREATE | SIM_OP_UNLINK)) && is_in_dir(op->path, sync->path);
}

/* A sync: the operations that it covers leave the pending list, into the durable image unless the sync
 * failed. Names are in the file system's own journal: a failed sync of a folder leaves them undecided. */
static void fold(struct sim_disk *d, const struct sim_op *sync)
{
    size_t kept = 0;

    if (sync->has_failed && sync->kind == SIM_OP_SYNC_DIR)
        return;
    for (size_t i = 0; i < d->pending.count; i++) {
        struct sim_op *op = &d->pending.rows[i];
        if (!is_covered(sync, op)) {
            d->pending.rows[kept++] = *op;
            continue;
        }
        if (!sync->has_failed)
            image_apply(d->durable, &d->durable_names, op, sim_fate_kept);
        op_done(op);
    }
    d->pending.count = kept;
    if (sync->kind == SIM_OP_SYNC_DIR)
        collect_garbage(d);
}

void sim_disk_apply(struct sim_disk *d, const struct sim_op *op)
{
    if (op->kind == SIM_OP_CREATE && op->inode == d->inode_count)
        inode_new(d);
    if (op->kind & (SIM_OP_SYNC | SIM_OP_SYNC_DIR)) {
        fold(d, op);
    } else if (op->kind != SIM_OP_MARK) {
        image_apply(d->live, &d->names, op, sim_fate_kept);
        sim_ops_add(&d->pending, op);
    }
    if (d->base)
        sim_ops_add(&d->journal, op);
}

/* --- life ------------------------------------------------------------------------------------- */

struct sim_disk *sim_disk_new(void)
{
    return mem_new(sizeof(struct sim_disk));
}

void sim_disk_free(struct sim_disk *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->inode_count; i++) {
        buf_done(&d->live[i]);
        buf_done(&d->durable[i]);
    }
    mem_free(d->live);
    mem_free(d->durable);
    names_done(&d->names);
    names_done(&d->durable_names);
    names_done(&d->locks);
    sim_ops_done(&d->pending);
    sim_ops_done(&d->journal);
    sim_disk_free(d->base);
    mem_free(d);
}

/* The durable image with each pending operation having met its fate, in the given order. */
struct sim_disk *sim_disk_after_crash(const struct sim_disk *d, const struct sim_fate *fates,
                                      const size_t *order)
{
    struct sim_disk *image = sim_disk_new();

    for (size_t i = 0; i < d->inode_count; i++) {
        inode_new(image);
        buf_add_slice(&image->durable[i], buf_slice(&d->durable[i]));
    }
    names_copy(&image->durable_names, &d->durable_names);
    for (size_t i = 0; i < d->pending.count; i++) {
        size_t n = order ? order[i] : i;
        image_apply(image->durable, &image->durable_names, &d->pending.rows[n], fates[n]);
    }
    for (size_t i = 0; i < d->inode_count; i++)
        buf_add_slice(&image->live[i], buf_slice(&image->durable[i]));
    names_copy(&image->names, &image->durable_names);
    return image;
}

struct sim_disk *sim_disk_copy(const struct sim_disk *d)
{
    struct sim_disk *copy = sim_disk_new();

    for (size_t i = 0; i < d->inode_count; i++) {
        inode_new(copy);
        buf_add_slice(&copy->durable[i], buf_slice(&d->live[i]));
        buf_add_slice(&copy->live[i], buf_slice(&d->live[i]));
    }
    names_copy(&copy->names, &d->names);
    names_copy(&copy->durable_names, &d->names);
    return copy;
}

void sim_disk_crash(struct sim_disk *d, uint64_t seed)
{
    struct sim_fate *fates = mem_new((d->pending.count + 1) * sizeof(*fates));

    for (size_t i = 0; i < d->pending.count; i++)
        fates[i] = sim_fate_draw(&d->pending.rows[i], &seed);
    struct sim_disk *after = sim_disk_after_crash(d, fates, NULL);
    after->space = d->space;
    after->op_count = d->op_count;
    struct sim_disk old = *d;
    *d = *after;
    *after = old;
    sim_disk_free(after);
    mem_free(fates);
}

struct sim_disk *sim_disk_copy_unsynced(const struct sim_disk *d)
{
    struct sim_fate *fates = mem_new((d->pending.count + 1) * sizeof(*fates));

    for (size_t i = 0; i < d->pending.count; i++)
        fates[i].is_lost = true;
    struct sim_disk *copy = sim_disk_after_crash(d, fates, NULL);
    for (size_t i = 0; i < d->pending.count; i++)
        sim_disk_apply(copy, &d->pending.rows[i]);
    mem_free(fates);
    return copy;
}

void sim_disk_record(struct sim_disk *d)
{
    sim_disk_free(d->base);
    sim_ops_done(&d->journal);
    d->base = NULL;
    d->base = sim_disk_copy_unsynced(d);
}

void sim_disk_mark(struct sim_disk *d, uint64_t mark)
{
    sim_disk_apply(d, &(struct sim_op){.kind = SIM_OP_MARK, .at = mark});
}

/* --- operations of programs ------------------------------------------------------------------- */

bool sim_disk_find(const struct sim_disk *d, const char *path, size_t *ret_inode)
{
    return names_find(&d->names, path, ret_inode);
}

struct slice sim_disk_content(const struct sim_disk *d, size_t inode)
{
    return buf_slice(&d->live[inode]);
}

void sim_disk_list(const struct sim_disk *d, const char *dir, struct buf *ret_names)
{
    for (size_t i = 0; i < d->names.count; i++) {
        const char *path = d->names.rows[i].path;
        if (is_in_dir(path, dir))
            buf_add(ret_names, path + strlen(dir) + 1, strlen(path) - strlen(dir));
    }
}

uint64_t sim_disk_size(const struct sim_disk *d)
{
    uint64_t size = 0;

    for (size_t i = 0; i < d->names.count; i++)
        size += d->live[d->names.rows[i].inode].size;
    return size;
}

/* The error that is due for an operation of this kind, or 0. */
static int fault(struct sim_disk *d, enum sim_op_kind kind)
{
    if (kind & SIM_OP_CHANGES)
        d->op_count++;
    if (!(d->fail_kinds & kind) || d->fail_in == 0)
        return 0;
    if (d->fail_in > 1) {
        d->fail_in--;
        return 0;
    }
    if (!d->fail_stays)
        d->fail_in = 0;
    return d->fail_err;
}

static int no_space(const struct sim_disk *d, size_t inode, uint64_t end)
{
    uint64_t have = d->live[inode].size;
    return d->space && end > have && sim_disk_size(d) + (end - have) > d->space ? ERR_NO_DISK_SPACE : 0;
}

int sim_disk_create(struct sim_disk *d, const char *path, size_t *ret_inode)
{
    if (names_find(&d->names, path, ret_inode))
        return 0;
    int err = fault(d, SIM_OP_CREATE);
    if (err)
        return err;
    struct sim_op op = {.kind = SIM_OP_CREATE, .inode = d->inode_count};
    op.path = mem_string(path);
    sim_disk_apply(d, &op);
    mem_free(op.path);
    *ret_inode = op.inode;
    return 0;
}

int sim_disk_read(struct sim_disk *d, size_t inode, uint64_t at, void *data, size_t size, size_t *ret_got)
{
    const struct buf *b = &d->live[inode];
    int err = fault(d, SIM_OP_READ);

    if (err)
        return err;
    *ret_got = at >= b->size ? 0 : b->size - at < size ? b->size - (size_t)at : size;
    if (*ret_got)
        memcpy(data, b->data + at, *ret_got);
    return 0;
}

int sim_disk_write(struct sim_disk *d, size_t inode, uint64_t at, const void *data, size_t size)
{
    int err = fault(d, SIM_OP_WRITE);

    if (!err)
        err = no_space(d, inode, at + size);
    if (err)
        size /= 2;
    if (size) {
        struct sim_op op = {.kind = SIM_OP_WRITE, .inode = inode, .at = at};
        buf_add(&op.data, data, size);
        if (!err || !no_space(d, inode, at + size))
            sim_disk_apply(d, &op);
        buf_done(&op.data);
    }
    return err;
}

int sim_disk_truncate(struct sim_disk *d, size_t inode, uint64_t size)
{
    int err = fault(d, SIM_OP_TRUNCATE);

    if (!err)
        err = no_space(d, inode, size);
    if (!err)
        sim_disk_apply(d, &(struct sim_op){.kind = SIM_OP_TRUNCATE, .inode = inode, .at = size});
    return err;
}

int sim_disk_sync(struct sim_disk *d, size_t inode)
{
    int err = fault(d, SIM_OP_SYNC);

    if (!(d->ignored & SIM_OP_SYNC))
        sim_disk_apply(d, &(struct sim_op){.kind = SIM_OP_SYNC, .inode = inode, .has_failed = err != 0});
    return err;
}

int sim_disk_sync_dir(struct sim_disk *d, const char *dir)
{
    struct sim_op op = {.kind = SIM_OP_SYNC_DIR};
    int err = fault(d, SIM_OP_SYNC_DIR);

    if (d->ignored & SIM_OP_SYNC_DIR)
        return err;
    op.path = mem_string(dir);
    op.has_failed = err != 0;
    sim_disk_apply(d, &op);
    mem_free(op.path);
    return err;
}

int sim_disk_rename(struct sim_disk *d, const char *from, const char *to)
{
    struct sim_op op = {.kind = SIM_OP_RENAME};

    if (!names_find(&d->names, from, &op.inode))
        return ERR_NOT_FOUND;
    int err = fault(d, SIM_OP_RENAME);
    if (err)
        return err;
    op.path = mem_string(from);
    op.to = mem_string(to);
    sim_disk_apply(d, &op);
    mem_free(op.path);
    mem_free(op.to);
    return 0;
}

int sim_disk_unlink(struct sim_disk *d, const char *path)
{
    struct sim_op op = {.kind = SIM_OP_UNLINK};

    if (!names_find(&d->names, path, &op.inode))
        return ERR_NOT_FOUND;
    int err = fault(d, SIM_OP_UNLINK);
    if (err)
        return err;
    op.path = mem_string(path);
    sim_disk_apply(d, &op);
    mem_free(op.path);
    return 0;
}

bool sim_disk_lock(struct sim_disk *d, const char *path)
{
    size_t unused;

    if (names_find(&d->locks, path, &unused))
        return false;
    names_set(&d->locks, path, 0);
    return true;
}

void sim_disk_unlock(struct sim_disk *d, const char *path)
{
    names_remove(&d->locks, path);
}

/* --- changes that no program made ------------------------------------------------------------- */

void sim_disk_put(struct sim_disk *d, const char *path, struct slice content)
{
    size_t inode;

    if (!names_find(&d->names, path, &inode))
        inode = inode_new(d);
    names_set(&d->names, path, inode);
    names_set(&d->durable_names, path, inode);
    buf_clear(&d->live[inode]);
    buf_clear(&d->durable[inode]);
    buf_add_slice(&d->live[inode], content);
    buf_add_slice(&d->durable[inode], content);
}

void sim_disk_flip(struct sim_disk *d, const char *path, uint64_t at, uint8_t mask)
{
    size_t inode = 0;
    bool found = names_find(&d->names, path, &inode);

    assert(found && at < d->live[inode].size);
    d->live[inode].data[at] ^= mask;
    if (at < d->durable[inode].size)
        d->durable[inode].data[at] ^= mask;
}

void sim_disk_fail(struct sim_disk *d, unsigned kinds, uint64_t n, int err, bool stays)
{
    d->fail_kinds = kinds;
    d->fail_in = n;
    d->fail_err = err;
    d->fail_stays = stays;
}

uint64_t sim_disk_op_count(const struct sim_disk *d)
{
    return d->op_count;
}

void sim_disk_set_space(struct sim_disk *d, uint64_t bytes)
{
    d->space = bytes;
}

void sim_disk_ignore_sync(struct sim_disk *d, unsigned kinds)
{
    d->ignored = kinds;
}
