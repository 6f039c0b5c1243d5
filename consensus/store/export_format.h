/* SPDX-License-Identifier: Apache-2.0
 * A file format that an export is written in: ordered rows go in, the bytes of the file come out from its
 * beginning to its end. The rows are given twice: the first pass only counts, so that the size and the place
 * of every page are known before the first byte is written.
 *
 * The caller gives the same rows in both passes: tables in ascending order, each once, keys ascending by
 * bytes. A writer holds a bounded number of pages, never a whole table. Any thread, one at a time. */
#ifndef CONSENSUS_STORE_EXPORT_FORMAT_H
#define CONSENSUS_STORE_EXPORT_FORMAT_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/store/backend.h"

struct export_writer;

struct export_format {
    struct export_writer *(*new)(void);
    /* The rows that follow are this table's. */
    void (*table)(struct export_writer *w, enum backend_table table, struct buf *out);
    /* Appends to out what can be written now; in the first pass nothing. */
    void (*row)(struct export_writer *w, struct slice key, struct slice value, struct buf *out);
    /* The first pass ends: the size of the file. The second begins. */
    uint64_t (*plan)(struct export_writer *w, struct buf *out);
    /* The second pass ends. ERR_CORRUPT: its rows were not those of the first. */
    int (*finish)(struct export_writer *w, struct buf *out);
    void (*free)(struct export_writer *w);
};

/* What backend_lmdb_open opens: a store's file, compacted. */
extern const struct export_format export_lmdb;
/* The names of the tables in LMDB's file. */
extern const char *const backend_table_names[BACKEND_TABLES];

#endif
