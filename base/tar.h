/* SPDX-License-Identifier: Apache-2.0
 * Tar archives, bytes in and bytes out. Written: ustar, with a pax header if a path does not fit. Read:
 * ustar, pax, GNU and the old V7 form. Pure.
 *
 * An archive is untrusted input. The reader reports paths as they are in the archive: they may be absolute
 * or contain "..". It reports sizes as claimed, and links and devices with their kind. The caller must
 * check them. The reader holds one header and at most TAR_META_MAX bytes of metadata before it. */
#ifndef BASE_TAR_H
#define BASE_TAR_H

#include "base/buf.h"
#include "base/err.h"

#define TAR_BLOCK    512
#define TAR_META_MAX (64u << 10) /* bytes of one pax header or GNU long name */

/* --- writing ------------------------------------------------------------------------------------------- */
/* Appends the header of a file. The caller then appends its bytes and calls tar_add_padding. time_s: since
 * 1970. */
void tar_add_file(struct buf *out, struct slice path, uint64_t size, int64_t time_s);
void tar_add_padding(struct buf *out, uint64_t size);
void tar_add_end(struct buf *out);

/* --- reading ------------------------------------------------------------------------------------------- */
enum tar_kind {
    TAR_FILE,
    TAR_FOLDER,
    TAR_HARD_LINK,
    TAR_SYMBOLIC_LINK,
    TAR_DEVICE,
    TAR_PIPE,
    TAR_OTHER, /* sparse files, volumes of several parts ... */
};
const char *tar_kind_name(enum tar_kind k); /* "a symbolic link" */

enum tar_event {
    TAR_MORE,     /* the input is used up */
    TAR_ENTRY,    /* entry is filled in */
    TAR_DATA,     /* a piece of the entry's bytes */
    TAR_DATA_END, /* the entry is complete; also for an entry without bytes */
    TAR_END,      /* the end mark; only zeros may follow */
};

struct tar_reader { /* zeroed is ready */
    struct {
        struct buf path; /* ends with NUL, which is not counted */
        enum tar_kind kind;
        uint64_t size;
    } entry;
    uint64_t at;     /* bytes read so far */
    char error[200]; /* for ERR_MALFORMED and ERR_LIMIT: one sentence */
    /* Private. */
    enum { TAR_IN_HEADER, TAR_IN_META, TAR_IN_DATA, TAR_IN_END } state;
    uint8_t block[TAR_BLOCK];
    size_t filled, zero_blocks, padding;
    uint64_t left;
    uint8_t meta_kind;
    bool has_path, has_size, is_sparse, is_data_end_reported;
    uint64_t size;
    struct buf meta, path;
};
void tar_reader_done(struct tar_reader *r);
/* Consumes the front of *in up to the next event. ERR_MALFORMED, ERR_LIMIT: the reader must not be used
 * again. */
MUST_CHECK int tar_read(struct tar_reader *r, struct slice *in, enum tar_event *ret_event,
                        struct slice *ret_data);
/* True if the end mark was read: an archive without it is truncated. */
bool tar_has_ended(const struct tar_reader *r);

#endif
