/* SPDX-License-Identifier: Apache-2.0
 * Releases that were read lately, decoded: thousands who wait for one change then cost one decoding of it,
 * and each takes a reference. An entry is that of a key at a revision; who looks it up gives the revision
 * that the key has in the store now, so nothing stale is found, whoever wrote it. Bounded in bytes: what was
 * used longest ago goes first. */
#ifndef CONFIG_RECENT_H
#define CONFIG_RECENT_H

#include "base/cache_budget.h"
#include "base/list.h"
#include "base/map.h"
#include "config/document.h"

enum { RECENT_BYTES_MAX = 2 << 20 }; /* and the newest, however large */

struct recent {
    struct strmap entries; /* key -> struct recent_release */
    struct link order;     /* newest first */
    size_t bytes;          /* with all that an entry takes */
    struct cache_share share;
};

struct recent_release {
    struct config_release release;
    struct arena arena; /* of the release's texts */
    int64_t revision;
    /* Its own. */
    struct slice key; /* owned */
    size_t size, references;
    struct link link;
};

void recent_init(struct recent *r, struct cache_budget *budget); /* NULL: RECENT_BYTES_MAX alone bounds it */
void recent_done(struct recent *r); /* references may outlive it */

/* With a reference; NULL: it is not there, or of another revision. */
struct recent_release *recent_get(struct recent *r, struct slice key, int64_t revision);
/* Decodes a document, with a reference. NULL: it cannot be read. */
struct recent_release *recent_read(struct recent *r, struct slice key, int64_t revision, struct slice text);
void recent_unref(struct recent_release *e); /* NULL does nothing */

#endif
