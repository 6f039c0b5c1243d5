/* SPDX-License-Identifier: Apache-2.0
 * Releases of configurations as the streams show them: read from the store when they are wished for, kept as
 * encoded members for a while, within a budget. A release is immutable: (item, its life, seq) names one
 * content for good; the life is the revision in which its head was made, because an item that was gone
 * altogether begins again at seq 1.
 *
 * A release that its item's head does not name any more is dropped as soon as that is known here: nobody is
 * sent it again. Contents of at most RELEASE_INLINE_MAX bytes are kept; of larger ones only what is known
 * beside them. What is asked for is here, or wished for and then here; it may be evicted before it was looked
 * at, and is wished for again. Loop thread only. */
#ifndef SERVER_STREAM_RELEASE_H
#define SERVER_STREAM_RELEASE_H

#include "base/cache_budget.h"
#include "base/list.h"
#include "config/config.h"

#define RELEASE_INLINE_MAX (64 * 1024)

struct stream_releases;

struct stream_releases_options {
    struct config *config;
    size_t bytes_max;                  /* of what is kept; 0 = 64 MiB */
    size_t count_max;                  /* 0 = 65,536 */
    struct cache_budget *cache_budget; /* borrowed; NULL = none */
    /* In place of config_read, for tests; NULL = that. */
    void (*read)(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                 bool is_local);
};

struct stream_releases *stream_releases_new(const struct stream_releases_options *options);
void stream_releases_free(struct stream_releases *rs); /* nobody wishes for anything; before the config's */
/* In each turn, after config_turn: what could not be read is tried again. */
void stream_releases_turn(struct stream_releases *rs, uint64_t now_ms);

struct stream_release_id {
    struct config_id key;
    int64_t life; /* the head's create_revision */
    uint64_t seq;
};

struct stream_release {
    bool is_missing;      /* there is none, or it cannot be read: the item is as if it were not there */
    bool is_deleted;      /* a tombstone */
    bool is_large;        /* its content is not here */
    struct slice members; /* "md5":…,"format":…,"size":…,"title":…,"content":… */
};
/* NULL: it must be wished for. Valid until the next wish or turn. */
const struct stream_release *stream_releases_get(struct stream_releases *rs,
                                                 const struct stream_release_id *id);
/* As they stand in a release's members, without the content; of a live one they are in its head. */
void stream_release_write(const char *md5, enum format format, uint64_t size, struct slice title,
                          struct json_writer *w);

struct stream_fetch {
    /* It was read: get has it. Never from inside stream_release_fetch; may wish, and free the wish. */
    void (*ready)(struct stream_fetch *w);
    struct link link; /* the releases' own */
};
void stream_release_fetch(struct stream_releases *rs, struct stream_fetch *w,
                          const struct stream_release_id *id);
void stream_release_fetch_cancel(struct stream_fetch *w);
/* The item has changed: what its head does not name any more goes. NULL: the item is gone, all of it goes. */
void stream_releases_settle(struct stream_releases *rs, const struct config_id *key,
                            const struct config_item *item);
/* A missing one is asked for again: its item has changed. */
void stream_release_doubt(struct stream_releases *rs, const struct stream_release_id *id);

struct stream_releases_counts {
    size_t count, bytes, reading, reads;
};
struct stream_releases_counts stream_releases_counts(const struct stream_releases *rs);

#endif
