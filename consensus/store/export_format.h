/* SPDX-License-Identifier: Apache-2.0
 * Interface of an export's file format: ordered rows go in, the bytes of the file come out from its beginning
 * to its end. The rows are given twice. The first pass only counts, so that the size and the place of every
 * page are known before the first byte is written.
 *
 * The caller gives the same rows in both passes: tables in ascending order, each once, and keys ascending by
 * bytes. A writer holds a bounded number of pages, never a whole table. Any thread, one at a time. */
#ifndef CONSENSUS_STORE_EXPORT_FORMAT_H
#define CONSENSUS_STORE_EXPORT_FORMAT_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/store/backend.h"

struct export_writer;

struct export_format {
    struct export_writer *(*new)(void);
    /* Begins a table: the next rows belong to it. */
    void (*table)(struct export_writer *w, enum backend_table table, struct buf *out);
    /* Appends to out what can be written now; nothing in the first pass. */
    void (*row)(struct export_writer *w, struct slice key, struct slice value, struct buf *out);
    /* Ends the first pass, begins the second, and returns the size of the file. */
    uint64_t (*plan)(struct export_writer *w, struct buf *out);
    /* Ends the second pass. ERR_CORRUPT: its rows differ from those of the first. */
    int (*finish)(struct export_writer *w, struct buf *out);
    void (*free)(struct export_writer *w);
};

#endif
