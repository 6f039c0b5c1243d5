/* SPDX-License-Identifier: Apache-2.0
 * Cache of configuration releases, as the streams send them: fetched from the store, kept as encoded JSON.
 *
 * A release is immutable: (item, life, seq) names one content forever. The life is the create_revision of the
 * item's head; it is needed because an item that was removed completely begins again at seq 1.
 *
 * To use a release:
 *   1. stream_releases_get returns it if it is in the cache.
 *   2. If not, stream_release_fetch reads it and calls ready.
 *   3. Call stream_releases_get again. It may return NULL, because the release may be evicted meanwhile; then
 *      fetch again.
 *
 * A release that the head of its item names no longer is superseded. It is dropped as soon as that is known.
 * Contents of at most RELEASE_INLINE_MAX bytes are kept; of larger ones only the fields beside the content.
 * Loop thread only. */
#ifndef SERVER_STREAM_RELEASE_H
#define SERVER_STREAM_RELEASE_H

#include "base/cache_budget.h"
#include "base/list.h"
#include "config/config.h"

#define RELEASE_INLINE_MAX (64 * 1024)

struct stream_releases;

struct stream_releases_options {
    struct config *config;
    size_t bytes_max;                  /* of cached releases; 0 = 64 MiB */
    size_t count_max;                  /* of cached releases; 0 = 65,536 */
    struct cache_budget *cache_budget; /* borrowed; NULL = none */
    /* For tests: replaces config_read. NULL = config_read. */
    void (*read)(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                 bool is_local);
};

struct stream_releases *stream_releases_new(const struct stream_releases_options *options);
/* All fetches must be done or cancelled before. Call it before the config center is freed. */
void stream_releases_free(struct stream_releases *rs);
/* Call it in each turn, after config_turn: it starts reads that wait, and retries reads that failed. */
void stream_releases_turn(struct stream_releases *rs, uint64_t now_ms);

struct stream_release_id {
    struct config_id key;
    int64_t life; /* the head's create_revision */
    uint64_t seq;
};

struct stream_release {
    bool is_missing;      /* the store has no such release: treat the item as absent */
    bool is_deleted;      /* a tombstone */
    bool is_large;        /* the content is not here: it is larger than RELEASE_INLINE_MAX, or sealed and
                             this member cannot open it. A client that reads it then gets the reason */
    struct slice members; /* JSON fields "md5":…,"format":…,"size":…,"title":…,"content":… */
};
/* NULL: it must be fetched. The result is borrowed, and valid until the next fetch or turn. */
const struct stream_release *stream_releases_get(struct stream_releases *rs,
                                                 const struct stream_release_id *id);
/* Writes the fields of a release without its content. Those of the live release are in the item's head. */
void stream_release_write(const char *md5, enum format format, uint64_t size, struct slice title,
                          struct json_writer *w);

/* One fetch; the caller embeds it and keeps it until ready is called or it is cancelled. */
struct stream_fetch {
    /* The release was read. It is never called from inside stream_release_fetch. It may start fetches and
     * free this one. */
    void (*ready)(struct stream_fetch *w);
    struct link link; /* the releases' own */
};
void stream_release_fetch(struct stream_releases *rs, struct stream_fetch *w,
                          const struct stream_release_id *id);
void stream_release_fetch_cancel(struct stream_fetch *w);
/* The item has changed: drops the releases that its head does not name any longer. item NULL: the item was
 * deleted, all its releases are dropped. */
void stream_releases_drop_superseded(struct stream_releases *rs, const struct config_id *key,
                                     const struct config_item *item);
/* Drops the release if it was missing, so that the next fetch reads it again: its item has changed. */
void stream_release_forget_missing(struct stream_releases *rs, const struct stream_release_id *id);

struct stream_releases_counts {
    size_t count, bytes, reading, reads;
};
struct stream_releases_counts stream_releases_counts(const struct stream_releases *rs);

#endif
