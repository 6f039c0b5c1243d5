/* SPDX-License-Identifier: Apache-2.0
 * Append-only file of the memory backend; backend_file.h has the format. A replacement:
 *
 *   1. Write the new file beside the old one.
 *   2. Sync it.
 *   3. Rename it over the old one.
 *   4. Sync the folder.
 *
 * A crash before step 3 leaves a file that opening deletes. A crash after it leaves one of two files with the
 * same content.
 *
 * The bytes that opening reads need not be durable. After a failed sync the page cache has bytes that the
 * disk never got, and the next sync would not write them. So the caller that opens an old file replaces it
 * before it appends. */
#include "consensus/store/backend_file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"

static const char file_magic[16] = "CAIRN-BATCHES-1";

#define RECORD_MAGIC  0x48435442u /* "BTCH" */
#define RECORD_HEADER 32u
#define CHANGE_HEADER 12u

enum { AT_MAGIC = 0, AT_CRC = 4, AT_SEQUENCE = 8, AT_SIZE = 16, AT_PAYLOAD_CRC = 24, AT_COUNT = 28 };

struct backend_file {
    struct io *io;
    char *path, *dir;
    struct io_file *file;
    uint64_t size, batches;
    bool is_new;
    int err; /* final */
};

/* --- batches ----------------------------------------------------------------------------------- */

void backend_batch_begin(struct buf *batch)
{
    buf_clear(batch);
    memset(buf_reserve(batch, RECORD_HEADER), 0, RECORD_HEADER);
    batch->size = RECORD_HEADER;
}

void backend_batch_add(struct buf *batch, const struct backend_op *op)
{
    uint8_t header[CHANGE_HEADER] = {(uint8_t)op->kind, (uint8_t)op->table};
    assert(op->key.size <= UINT32_MAX && op->value.size <= UINT32_MAX);
    put_le32(header + 4, (uint32_t)op->key.size);
    put_le32(header + 8, (uint32_t)op->value.size);
    buf_add(batch, header, sizeof header);
    buf_add_slice(batch, op->key);
    buf_add_slice(batch, op->value);
    put_le32(batch->data + AT_COUNT, get_le32(batch->data + AT_COUNT) + 1);
}

static void batch_finish(struct buf *batch, uint64_t sequence)
{
    uint64_t size = batch->size - RECORD_HEADER;
    put_le32(batch->data + AT_MAGIC, RECORD_MAGIC);
    put_le64(batch->data + AT_SEQUENCE, sequence);
    put_le64(batch->data + AT_SIZE, size);
    put_le32(batch->data + AT_PAYLOAD_CRC, crc32c(0, batch->data + RECORD_HEADER, size));
    put_le32(batch->data + AT_CRC, crc32c(0, batch->data + AT_SEQUENCE, RECORD_HEADER - AT_SEQUENCE));
    while (batch->size % 8)
        buf_add_byte(batch, 0);
}

/* True if the bytes begin with a record whose checksums are right. */
static bool record_is_good(struct slice bytes, uint64_t *ret_sequence, struct slice *ret_payload)
{
    const uint8_t *p = bytes.data;
    if (bytes.size < RECORD_HEADER || get_le32(p + AT_MAGIC) != RECORD_MAGIC ||
        get_le32(p + AT_CRC) != crc32c(0, p + AT_SEQUENCE, RECORD_HEADER - AT_SEQUENCE))
        return false;
    uint64_t size = get_le64(p + AT_SIZE);
    if (size > bytes.size - RECORD_HEADER ||
        get_le32(p + AT_PAYLOAD_CRC) != crc32c(0, p + RECORD_HEADER, (size_t)size))
        return false;
    *ret_sequence = get_le64(p + AT_SEQUENCE);
    *ret_payload = slice_of(p + RECORD_HEADER, (size_t)size);
    return true;
}

static int read_changes(struct slice payload, uint32_t count,
                        int (*fn)(void *arg, const struct backend_op *op), void *arg)
{
    const uint8_t *p = payload.data;
    size_t left = payload.size;
    for (uint32_t i = 0; i < count; i++) {
        if (left < CHANGE_HEADER || p[0] > BACKEND_DELETE || p[1] >= BACKEND_TABLES)
            return ERR_CORRUPT;
        uint32_t key_size = get_le32(p + 4), value_size = get_le32(p + 8);
        if (left - CHANGE_HEADER < (uint64_t)key_size + value_size)
            return ERR_CORRUPT;
        struct backend_op op = {.table = p[1]};
        op.kind = p[0];
        op.key = slice_of(p + CHANGE_HEADER, key_size);
        op.value = slice_of(p + CHANGE_HEADER + key_size, value_size);
        int err = fn(arg, &op);
        if (err)
            return err;
        p += CHANGE_HEADER + key_size + value_size;
        left -= CHANGE_HEADER + (size_t)key_size + value_size;
    }
    return left == 0 ? 0 : ERR_CORRUPT;
}

/* True if a good record follows a bad one: then the bad one is not the end that a crash tears. */
static bool good_record_follows(struct slice bytes, size_t at, uint64_t sequence)
{
    for (; at + RECORD_HEADER <= bytes.size; at += 8) {
        uint64_t found;
        struct slice payload;
        if (record_is_good(slice_of(bytes.data + at, bytes.size - at), &found, &payload) && found > sequence)
            return true;
    }
    return false;
}

int backend_file_replay(struct slice bytes, int (*fn)(void *arg, const struct backend_op *op), void *arg,
                        size_t *ret_end, uint64_t *ret_batches)
{
    size_t at = sizeof file_magic;
    uint64_t expected = 1;
    if (bytes.size < at || memcmp(bytes.data, file_magic, at) != 0)
        return ERR_CORRUPT;
    for (;;) {
        uint64_t sequence;
        struct slice payload;
        struct slice rest = slice_of(bytes.data + at, bytes.size - at);
        if (!record_is_good(rest, &sequence, &payload) || sequence != expected) {
            if (good_record_follows(bytes, at, expected))
                return ERR_CORRUPT;
            break;
        }
        size_t padded = (payload.size + 7) / 8 * 8;
        if (padded > rest.size - RECORD_HEADER)
            break; /* the padding is torn off, so the append cannot have returned */
        int err = read_changes(payload, get_le32(rest.data + AT_COUNT), fn, arg);
        if (err)
            return err;
        at += RECORD_HEADER + padded;
        expected++;
    }
    *ret_end = at;
    *ret_batches = expected - 1;
    return 0;
}

/* --- files ------------------------------------------------------------------------------------- */

static char *path_with(const char *path, const char *suffix)
{
    struct buf b = {0};
    buf_addf(&b, "%s%s", path, suffix);
    char *text = mem_string(buf_text(&b));
    buf_done(&b);
    return text;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? mem_string(path) : mem_string(".");
    if (slash)
        dir[slash == path ? 1 : slash - path] = 0;
    return dir;
}

static int backend_file_read_all(struct io *io, struct io_file *file, struct buf *ret_bytes)
{
    uint64_t size;
    size_t got = 0;
    int err = io->ops->size(io, file, &size);
    while (!err && ret_bytes->size < size) {
        size_t room = (size_t)(size - ret_bytes->size);
        err = io->ops->read(io, file, ret_bytes->size, buf_reserve(ret_bytes, room), room, &got);
        if (!err && got == 0)
            err = ERR_IO;
        if (!err)
            ret_bytes->size += got;
    }
    return err;
}

/* True if the first write of a new file was torn: it is not longer than the magic, and each byte is zero or
 * the magic's. */
static bool is_first_write_torn(struct slice bytes)
{
    if (bytes.size > sizeof file_magic)
        return false;
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] != 0 && bytes.data[i] != (uint8_t)file_magic[i])
            return false;
    }
    return bytes.size < sizeof file_magic || memcmp(bytes.data, file_magic, bytes.size) != 0;
}

static int file_begin(struct backend_file *f)
{
    int err = f->io->ops->write(f->io, f->file, 0, file_magic, sizeof file_magic);
    if (!err)
        err = f->io->ops->sync(f->io, f->file);
    if (!err)
        err = f->io->ops->sync_dir(f->io, f->dir);
    f->size = sizeof file_magic;
    return err;
}

static int file_load(struct backend_file *f, int (*fn)(void *arg, const struct backend_op *op), void *arg)
{
    struct buf bytes = {0};
    size_t end = 0;
    int err = backend_file_read_all(f->io, f->file, &bytes);
    if (err)
        goto out;
    f->is_new = is_first_write_torn(buf_slice(&bytes));
    if (f->is_new) {
        err = file_begin(f);
        goto out;
    }
    err = backend_file_replay(buf_slice(&bytes), fn, arg, &end, &f->batches);
    f->size = end;
out:
    buf_done(&bytes);
    return err;
}

static int remove_leftover(struct io *io, const char *path)
{
    char *left = path_with(path, ".new");
    struct io_file *file;
    int err = io->ops->open(io, left, false, &file);
    if (!err) {
        io->ops->close(io, file);
        err = io->ops->unlink(io, left);
    } else if (err == ERR_NOT_FOUND) {
        err = 0;
    }
    mem_free(left);
    return err;
}

int backend_file_open(struct io *io, const char *path, int (*fn)(void *arg, const struct backend_op *op),
                      void *arg, char *error, size_t error_size, struct backend_file **ret_file)
{
    struct backend_file *f = mem_new(sizeof *f);
    f->io = io;
    f->path = mem_string(path);
    f->dir = folder_of(path);
    int err = remove_leftover(io, path);
    if (!err)
        err = io->ops->open(io, path, true, &f->file);
    if (!err)
        err = file_load(f, fn, arg);
    if (err) {
        snprintf(error, error_size, "cannot open the store %s: %s", path, err_text(err));
        backend_file_close(f);
        return err;
    }
    *ret_file = f;
    return 0;
}

void backend_file_close(struct backend_file *f)
{
    if (f->file)
        f->io->ops->close(f->io, f->file);
    mem_free(f->path);
    mem_free(f->dir);
    mem_free(f);
}

bool backend_file_is_new(const struct backend_file *f)
{
    return f->is_new;
}

int backend_file_append(struct backend_file *f, struct buf *batch)
{
    if (f->err)
        return f->err;
    batch_finish(batch, f->batches + 1);
    int err = f->io->ops->write(f->io, f->file, f->size, batch->data, batch->size);
    if (!err)
        err = f->io->ops->sync(f->io, f->file);
    if (err) {
        f->err = err;
        return err;
    }
    f->size += batch->size;
    f->batches++;
    return 0;
}

/* Leaves the file open; the caller closes it. */
static int write_new(struct io *io, const char *path, struct buf *batch, struct io_file **ret_file)
{
    struct io_file *file;
    batch_finish(batch, 1);
    int err = io->ops->open(io, path, true, &file);
    if (err)
        return err;
    err = io->ops->write(io, file, 0, file_magic, sizeof file_magic);
    if (!err)
        err = io->ops->write(io, file, sizeof file_magic, batch->data, batch->size);
    if (!err)
        err = io->ops->sync(io, file);
    if (err)
        io->ops->close(io, file);
    else
        *ret_file = file;
    return err;
}

int backend_file_replace(struct backend_file *f, struct buf *batch)
{
    struct io_file *file;
    if (f->err)
        return f->err;
    char *beside = path_with(f->path, ".new");
    int err = write_new(f->io, beside, batch, &file);
    if (!err) {
        f->io->ops->close(f->io, f->file);
        f->file = file;
        f->size = sizeof file_magic + batch->size;
        f->batches = 1;
        err = f->io->ops->rename(f->io, beside, f->path);
        if (!err)
            err = f->io->ops->sync_dir(f->io, f->dir);
    }
    f->err = err;
    mem_free(beside);
    return err;
}

void backend_file_moved(struct backend_file *f, const char *path)
{
    mem_free(f->path);
    mem_free(f->dir);
    f->path = mem_string(path);
    f->dir = folder_of(path);
}

uint64_t backend_file_size(const struct backend_file *f)
{
    return f->size;
}

int backend_file_write(struct io *io, const char *path, struct buf *batch)
{
    struct io_file *file;
    int err = io->ops->open(io, path, false, &file);
    if (err != ERR_NOT_FOUND) {
        if (!err)
            io->ops->close(io, file);
        return err ? err : ERR_EXISTS;
    }
    err = write_new(io, path, batch, &file);
    if (!err)
        io->ops->close(io, file);
    return err;
}
