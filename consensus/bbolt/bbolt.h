/* SPDX-License-Identifier: Apache-2.0
 * The bbolt file format (version 2), the format of etcd's database and of its snapshots: a writer from front
 * to back, and a reader that trusts no byte. README.md has the layout.
 *
 * Both are pure: the writer appends to a buffer, the reader gets bytes from a function of the caller. Neither
 * knows what etcd stores; buckets, keys and values are bytes here. */
#ifndef CONSENSUS_BBOLT_BBOLT_H
#define CONSENSUS_BBOLT_BBOLT_H

#include "base/buf.h"
#include "base/err.h"

enum {
    BBOLT_BUCKETS_MAX = 32,
    BBOLT_NAME_MAX = 64,        /* bytes of a bucket's name */
    BBOLT_WRITE_KEY_MAX = 2000, /* two keys fit a branch page of 4 KiB */
    BBOLT_READ_KEY_MAX = 32768, /* bbolt's own limit */
    BBOLT_WRITE_PAGE_SIZE = 4096,
};

#define BBOLT_VALUE_MAX ((UINT64_C(1) << 31) - 2) /* bbolt's own limit */

/* --- writer ------------------------------------------------------------------------------------------
 *
 * The same rows are given twice. The first pass only counts: it learns the size of the file and the place of
 * each root. The second pass returns the bytes of the file, in order. Memory: one page and two keys for each
 * level of a tree (the depth of a tree of a billion rows is 5).
 *
 *   1. bbolt_writer_new
 *   2. for each bucket: bbolt_writer_bucket, then bbolt_writer_put for its rows
 *   3. bbolt_writer_plan
 *   4. step 2 again, with the same rows
 *   5. bbolt_writer_finish
 *
 * Any thread, one at a time. */
struct bbolt_writer;

struct bbolt_writer *bbolt_writer_new(void);
void bbolt_writer_free(struct bbolt_writer *w); /* NULL is allowed */
/* Begins a bucket. Each name comes once, in any order; at most BBOLT_BUCKETS_MAX of at most BBOLT_NAME_MAX
 * bytes. */
void bbolt_writer_bucket(struct bbolt_writer *w, struct slice name, struct buf *out);
/* A row of the present bucket. Keys ascend by bytes and have 1 to BBOLT_WRITE_KEY_MAX bytes; values have at
 * most BBOLT_VALUE_MAX. */
void bbolt_writer_put(struct bbolt_writer *w, struct slice key, struct slice value, struct buf *out);
/* Ends the first pass, appends the first pages, and returns the size of the file in bytes. */
uint64_t bbolt_writer_plan(struct bbolt_writer *w, struct buf *out);
/* Ends the second pass. ERR_CORRUPT: its rows differ from those of the first. */
MUST_CHECK int bbolt_writer_finish(struct bbolt_writer *w, struct buf *out);

/* --- reader ------------------------------------------------------------------------------------------
 *
 * Every page is checked when it is read: its number, its kind, the bounds of each element, and the order of
 * keys within the page and against the branches above it. A walk ends after as many pages as the file has, so
 * no cycle is followed for ever. Memory: 64 KiB for each level of the tree, and the present key and value. */
struct bbolt_source {
    /* Reads exactly size bytes at an offset; a negative enum err, else 0. */
    int (*read)(void *arg, uint64_t offset, void *ret_bytes, size_t size);
    void *arg;
    uint64_t size; /* of the file in bytes, without anything that follows the last page */
};

/* Where a file is wrong, and why. */
struct bbolt_problem {
    uint64_t page; /* 0: the file as a whole, or its first page */
    char text[160];
};

struct bbolt_file;
struct bbolt_cursor;

/* Reads the meta pages and the list of buckets. The source's arg must live until bbolt_close. ERR_MALFORMED:
 * it is not a bbolt file. ERR_CORRUPT: it is, and is damaged. Other errors are the source's. *ret_problem is
 * set for the first two. */
MUST_CHECK int bbolt_open(const struct bbolt_source *source, struct bbolt_file **ret_file,
                          struct bbolt_problem *ret_problem);
void bbolt_close(struct bbolt_file *f); /* NULL is allowed; cursors are freed before */

uint64_t bbolt_transaction(const struct bbolt_file *f); /* the number of the last one */
uint64_t bbolt_used_bytes(const struct bbolt_file *f);  /* up to the end of the last page */
size_t bbolt_bucket_count(const struct bbolt_file *f);
struct slice bbolt_bucket_name(const struct bbolt_file *f, size_t i); /* lives as long as the file */

/* A walk over the rows of a bucket, from the first key. *ret_cursor is NULL when there is no such bucket. */
void bbolt_cursor_new(struct bbolt_file *f, struct slice bucket, struct bbolt_cursor **ret_cursor);
void bbolt_cursor_free(struct bbolt_cursor *c); /* NULL is allowed */
/* The next row; both slices live until the next call. A key of size 0: there are no more. Errors as for
 * bbolt_open. */
MUST_CHECK int bbolt_cursor_next(struct bbolt_cursor *c, struct slice *ret_key, struct slice *ret_value,
                                 struct bbolt_problem *ret_problem);

#endif
