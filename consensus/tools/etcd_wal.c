/* SPDX-License-Identifier: Apache-2.0
 * Writer of etcd's WAL format.
 *
 *   file     frames
 *   frame    length 8, little-endian | walpb.Record | zeros to the next 8 bytes
 *            The top byte of the length is 0x80 + the number of padding bytes, when there are any.
 *   record   type (field 1), checksum (2), data (3)
 *            The checksum is a CRC-32C, continued over the data of all records so far.
 *
 * The first record of a file has type 4 and contains the checksum before it. Then come metadata, the snapshot
 * after which the log begins, and the entries. etcd's log begins at entry 1 with the bootstrap, ours begins
 * after it. So an empty entry 1 is written, which changes nothing for etcd. */
#include "consensus/tools/etcd_wal.h"

#include <stdio.h>

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/entry.h"
#include "consensus/raft/message.h"

enum etcd_record_type {
    ETCD_METADATA = 1,
    ETCD_ENTRY = 2,
    ETCD_STATE = 3,
    ETCD_CRC = 4,
    ETCD_SNAPSHOT = 5,
};

enum { PAGE = 4096, WIRE_VARINT = 0, WIRE_BYTES = 2, BOOTSTRAP_INDEX = 1 };

struct etcd_wal {
    FILE *file;
    uint32_t crc;
    uint64_t size;
    bool is_begun;
    bool is_from_start; /* the log is complete: its first record will be the mark of the bootstrap */
    int err;
    struct buf data, record;
};

/* --- protobuf by hand ------------------------------------------------------------------------- */

static void add_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_add_byte(b, (uint8_t)(v | 0x80));
    buf_add_byte(b, (uint8_t)v);
}

static void etcd_wal_add_number(struct buf *b, unsigned field, uint64_t v)
{
    add_varint(b, field << 3 | WIRE_VARINT);
    add_varint(b, v);
}

static void add_bytes(struct buf *b, unsigned field, struct slice bytes)
{
    add_varint(b, field << 3 | WIRE_BYTES);
    add_varint(b, bytes.size);
    buf_add_slice(b, bytes);
}

/* --- records ---------------------------------------------------------------------------------- */

static void write_bytes(struct etcd_wal *w, const void *data, size_t size)
{
    if (size && fwrite(data, 1, size, w->file) != size && !w->err)
        w->err = err_from_errno(errno);
    w->size += size;
}

static void write_record(struct etcd_wal *w, enum etcd_record_type type)
{
    static const uint8_t zeros[8];
    uint8_t length[8];
    w->crc = crc32c(w->crc, w->data.data, w->data.size);
    buf_clear(&w->record);
    etcd_wal_add_number(&w->record, 1, type);
    etcd_wal_add_number(&w->record, 2, w->crc);
    if (w->data.size)
        add_bytes(&w->record, 3, buf_slice(&w->data));
    uint64_t padding = (8 - w->record.size % 8) % 8;
    put_le64(length, w->record.size | (padding ? (0x80 | padding) << 56 : 0));
    write_bytes(w, length, sizeof length);
    write_bytes(w, w->record.data, w->record.size);
    write_bytes(w, zeros, padding);
    buf_clear(&w->data);
}

static void write_snapshot(struct etcd_wal *w, uint64_t index, uint64_t term)
{
    etcd_wal_add_number(&w->data, 1, index);
    etcd_wal_add_number(&w->data, 2, term);
    write_record(w, ETCD_SNAPSHOT);
}

/* Entries of kinds that etcd does not know become empty ones: they change no state that etcd has. */
static bool is_known_to_etcd(const struct wal_entry *e)
{
    struct entry entry;
    return e->type != RAFT_ENTRY_NORMAL || entry_decode(e->data, &entry) != OK ||
           (entry.op && entry.op != ENTRY_STATE_CHECK && entry.op != ENTRY_TRIAL && !entry.unknown);
}

static void write_entry(struct etcd_wal *w, const struct wal_entry *e)
{
    etcd_wal_add_number(&w->data, 1, e->type);
    etcd_wal_add_number(&w->data, 2, e->term);
    etcd_wal_add_number(&w->data, 3, e->index);
    if (e->data.size && is_known_to_etcd(e))
        add_bytes(&w->data, 4, e->data);
    write_record(w, ETCD_ENTRY);
}

static void write_state(struct etcd_wal *w, const struct wal_hard_state *s)
{
    etcd_wal_add_number(&w->data, 1, s->term);
    etcd_wal_add_number(&w->data, 2, s->vote);
    etcd_wal_add_number(&w->data, 3, s->commit);
    write_record(w, ETCD_STATE);
}

/* --- the file --------------------------------------------------------------------------------- */

static int check_no_log(const char *dir)
{
    DIR *d = opendir(dir);
    int err = d ? OK : err_from_errno(errno);
    for (struct dirent *e; !err && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot && strcmp(dot, ".wal") == 0)
            err = ERR_EXISTS;
    }
    if (d)
        closedir(d);
    return err;
}

int etcd_wal_create(const char *dir, struct etcd_wal **ret_wal)
{
    struct buf path = {0};
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_from_errno(errno);
    int err = check_no_log(dir);
    if (err)
        return err;
    buf_addf(&path, "%s/%016x-%016x.wal", dir, 0, 0);
    FILE *file = fopen(buf_text(&path), "wx");
    err = file ? OK : err_from_errno(errno);
    buf_done(&path);
    if (err)
        return err;
    *ret_wal = mem_new(sizeof **ret_wal);
    (*ret_wal)->file = file;
    write_record(*ret_wal, ETCD_CRC);
    return OK;
}

void etcd_wal_begin(struct etcd_wal *w, const struct wal_segment_header *h)
{
    if (w->is_begun)
        return;
    w->is_begun = true;
    if (h->metadata.size == 16) { /* ours: cluster, member; etcd's: member, cluster */
        etcd_wal_add_number(&w->data, 1, get_be64(h->metadata.data + 8));
        etcd_wal_add_number(&w->data, 2, get_be64(h->metadata.data));
    }
    write_record(w, ETCD_METADATA);
    w->is_from_start = h->state.last_index == 0 && h->state.snapshot.index == 0;
    write_snapshot(w, h->state.snapshot.index, h->state.snapshot.term);
    if (h->state.hard_state.term)
        write_state(w, &h->state.hard_state);
}

void etcd_wal_add(struct etcd_wal *w, const struct wal_record *r)
{
    if (r->kind == WAL_RECORD_HARD_STATE) {
        write_state(w, &r->hard_state);
    } else if (r->kind == WAL_RECORD_ENTRY) {
        write_entry(w, &r->entry);
    } else {
        if (w->is_from_start && r->snapshot.index == BOOTSTRAP_INDEX) {
            struct wal_entry bootstrap = {.index = BOOTSTRAP_INDEX, .term = r->snapshot.term};
            write_entry(w, &bootstrap);
        }
        w->is_from_start = false;
        write_snapshot(w, r->snapshot.index, r->snapshot.term);
    }
}

int etcd_wal_finish(struct etcd_wal *w)
{
    static const uint8_t zeros[PAGE];
    write_bytes(w, zeros, PAGE - w->size % PAGE); /* etcd's files end in zeros */
    if (fclose(w->file) != 0 && !w->err)
        w->err = err_from_errno(errno);
    int err = w->err;
    buf_done(&w->data);
    buf_done(&w->record);
    mem_free(w);
    return err;
}
