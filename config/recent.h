/* SPDX-License-Identifier: Apache-2.0
 * A cache of recently read releases, decoded: thousands of reads after one change cost one decoding, and each
 * takes a reference. An entry belongs to a key at a revision. The caller looks it up by the key's current
 * revision, so the cache never returns a stale one. It is bounded in bytes; the least recently used entry
 * goes first. */
#ifndef CONFIG_RECENT_H
#define CONFIG_RECENT_H

#include "base/cache_budget.h"
#include "base/list.h"
#include "base/map.h"
#include "config/document.h"
#include "config/seal/keys.h"

enum { RECENT_BYTES_MAX = 2 << 20 }; /* the newest entry stays, however large */

struct recent {
    struct strmap entries; /* key -> struct recent_release */
    struct link order;     /* newest first */
    size_t bytes;          /* all memory of the entries */
    size_t cursor;         /* the position in entries where recent_next continues */
    struct cache_share share;
    const struct seal_keys *keys; /* set by the owner after recent_init; NULL = none */
};

struct recent_release {
    struct config_release release;
    int open_err;           /* it is sealed and does not open: ERR_KEY_MISSING, ERR_CORRUPT */
    const char *open_error; /* a sentence; in the arena */
    struct arena arena;     /* of the release's texts */
    int64_t revision;
    /* Private to recent.c. */
    struct slice key; /* owned */
    size_t size, references;
    struct link link;
};

void recent_init(struct recent *r, struct cache_budget *budget); /* NULL: RECENT_BYTES_MAX alone bounds it */
void recent_done(struct recent *r);                              /* references may outlive it */

/* Returns an entry with a reference; NULL: there is none of this revision. */
struct recent_release *recent_get(struct recent *r, struct slice key, int64_t revision);
/* Decodes a document, opens its content, and returns it with a reference. NULL: it cannot be read. */
struct recent_release *recent_read(struct recent *r, struct slice key, int64_t revision, struct slice text);
/* Iterates over the entries, one a call; NULL: the end was reached (the next call begins anew). */
struct recent_release *recent_next(struct recent *r);
void recent_drop(struct recent *r, struct recent_release *e); /* existing references stay valid */
void recent_unref(struct recent_release *e);                  /* NULL does nothing */

#endif
