/* SPDX-License-Identifier: Apache-2.0
 * Archives of configurations: a tar (mostly gzipped) that people can open. It has one file for each
 * configuration, <namespace>/<group>/<name>, and manifest.json for what paths cannot say. README.md has the
 * format. Pure.
 *
 * To read one: archive_step until all bytes are used up, archive_end, then archive_match until it is done.
 * Each call does a bounded amount of work, however the bytes are compressed. Nothing in an archive is
 * trusted; each fault gives one sentence. Contents are held in memory, so bytes_max bounds it. A file counts
 * with ARCHIVE_FILE_ROOM beside its bytes, so that many empty files are bounded too. Formats and digests are
 * not checked here but in config_import. */
#ifndef CONFIG_ARCHIVE_H
#define CONFIG_ARCHIVE_H

#include "config/config.h"

#define ARCHIVE_MANIFEST  "manifest.json"
#define ARCHIVE_FILE_ROOM 1024 /* bytes that a file takes beside its content: names, the item, tables */

/* The path of a configuration in an archive: its names as in keys. A name over 255 bytes, the limit of file
 * systems, is cut and gets a digest. Different configurations have different paths. */
void archive_add_path(struct buf *out, const struct config_id *key);

/* The manifest, piece by piece. */
void archive_manifest_begin(struct buf *out, uint64_t cluster_id, int64_t revision);
/* A sealed release is in the archive with its sealed bytes, or, with decrypts, in clear. The manifest says so;
 * it has no digests of it, which are keyed. */
void archive_manifest_item(struct buf *out, bool is_first, const struct config_id *key, uint64_t seq,
                           const struct config_release *release, bool decrypts);
/* The bytes of a release in an archive. */
struct slice archive_content(const struct config_release *release, bool decrypts);
void archive_manifest_end(struct buf *out);

struct archive_options {
    uint64_t content_bytes_max; /* of one configuration */
    uint64_t bytes_max;         /* of the whole, unpacked, with ARCHIVE_FILE_ROOM for each file */
    struct slice ns, group;     /* not empty: all files go there and the archive's own names are ignored */
};

struct archive;
struct archive *archive_new(const struct archive_options *options);
void archive_free(struct archive *a); /* NULL is fine */
/* The next three: ERR_INVALID, ERR_MALFORMED, ERR_REQUEST_TOO_LARGE, with a sentence in archive_error; after
 * an error only archive_free may follow. */
/* Takes the front of *bytes and unpacks at most 64 KiB. *ret_is_done: all bytes are taken, and everything
 * that was unpacked from them is processed. */
MUST_CHECK int archive_step(struct archive *a, struct slice *bytes, bool *ret_is_done);
MUST_CHECK int archive_end(struct archive *a);
MUST_CHECK int archive_match(struct archive *a, bool *ret_is_done);
const char *archive_error(const struct archive *a);
uint64_t archive_bytes(const struct archive *a); /* that count against bytes_max so far */
/* The items of the archive, in no particular order; the archive owns them. */
struct config_import_item *archive_items(struct archive *a, size_t *ret_count);

#endif
