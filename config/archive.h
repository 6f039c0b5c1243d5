/* SPDX-License-Identifier: Apache-2.0
 * Configurations as an archive that people can open: a tar (mostly gzipped) of one file for each, under
 * <namespace>/<group>/<name>, and manifest.json, which says what paths cannot: README.md has the form. Pure.
 *
 * Reading: archive_step until all bytes are used up, archive_end, then archive_match until it is done. Each
 * call is a bounded piece of work, however well the bytes were packed. Nothing of an archive is trusted: each
 * of its lies is one sentence. Contents are held in memory, so bytes_max bounds it: a file counts with
 * ARCHIVE_FILE_ROOM beside its bytes, so that many empty ones do not take more. Formats and digests are not
 * looked at here (config_import). */
#ifndef CONFIG_ARCHIVE_H
#define CONFIG_ARCHIVE_H

#include "config/config.h"

#define ARCHIVE_MANIFEST  "manifest.json"
#define ARCHIVE_FILE_ROOM 1024 /* bytes that a file takes beside its content: names, the item, tables */

/* Where a configuration lies in an archive: its names as in keys, each at most 255 bytes, as file systems
 * want it; of longer ones the beginning and a digest. Different ones never have one path. */
void archive_add_path(struct buf *out, const struct config_id *key);

/* The manifest, piece by piece. */
void archive_manifest_begin(struct buf *out, uint64_t cluster_id, int64_t revision);
void archive_manifest_item(struct buf *out, bool is_first, const struct config_id *key, uint64_t seq,
                           const struct config_release *release);
void archive_manifest_end(struct buf *out);

struct archive_options {
    uint64_t content_bytes_max; /* of one configuration */
    uint64_t bytes_max;         /* of the whole, unpacked, with ARCHIVE_FILE_ROOM for each file */
    struct slice ns, group;     /* not empty: everything goes there, whatever the archive says */
};

struct archive;
struct archive *archive_new(const struct archive_options *options);
void archive_free(struct archive *a); /* NULL is fine */
/* ERR_INVALID, ERR_MALFORMED, ERR_REQUEST_TOO_LARGE: archive_error says what is wrong; only archive_free may
 * follow. */
/* Takes the front of *bytes: at most 64 KiB are unpacked. True in ret_is_done: all bytes are taken and
 * nothing that came out of them is left to be read. */
MUST_CHECK int archive_step(struct archive *a, struct slice *bytes, bool *ret_is_done);
MUST_CHECK int archive_end(struct archive *a);
MUST_CHECK int archive_match(struct archive *a, bool *ret_is_done);
const char *archive_error(const struct archive *a);
uint64_t archive_bytes(const struct archive *a); /* that count against bytes_max so far */
/* What it holds, in no particular order; the archive's. */
struct config_import_item *archive_items(struct archive *a, size_t *ret_count);

#endif
