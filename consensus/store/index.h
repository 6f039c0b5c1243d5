/* SPDX-License-Identifier: Apache-2.0
 * Key index: every key with the revisions at which it changed. It is in memory and rebuilt from the records
 * at the start. A B+tree (tree.h) keeps the entries in byte order for ranges; a hash table (keymap.h) finds
 * one key.
 *
 * As in etcd's key index, the revisions of a key form generations, each ended by a tombstone. Here they are
 * one ascending list: the latest is in the entry itself, older ones are in `history`. A key that was written
 * once has no history: its create revision is the revision itself, and its version is 1. Create revision and
 * version are known for the latest revision only; for older ones the record is read anyway.
 *
 * An entry lives until compaction removes it, so its address is valid until the next index_sweep. */
#ifndef CONSENSUS_STORE_INDEX_H
#define CONSENSUS_STORE_INDEX_H

#include "base/slab.h"
#include "consensus/store/keymap.h"
#include "consensus/store/revision.h"
#include "consensus/store/tree.h"

struct index_past {
    int64_t main;
    uint32_t sub;
    bool is_tombstone;
};

struct index_history {
    int64_t create, version; /* of the latest revision; 0 when that is a tombstone */
    uint32_t count, capacity;
    struct index_past items[]; /* ascending */
};

#define INDEX_SUB_BITS  16u
#define INDEX_SIZE_BITS 14u
#define INDEX_WIDE      UINT64_MAX                    /* in place of the latest revision: see index_entry */
#define INDEX_KEY_LONG  ((1u << INDEX_SIZE_BITS) - 1) /* in place of the key's size: see index_entry */

/* 16 bytes and the key, from the index's slab. Values that do not fit into their bits are stored elsewhere: a
 * latest revision after the past ones in history->items, a size in the 8 bytes before a long key. */
struct index_entry {
    uint64_t revision;                   /* the latest: main, then INDEX_SUB_BITS of sub; or INDEX_WIDE */
    uint64_t history : 48;               /* its address; 0 = the latest revision created the key and is the
                                            only one */
    uint64_t key_size : INDEX_SIZE_BITS; /* or INDEX_KEY_LONG */
    uint64_t has_lease : 1;              /* the record has its id */
    uint64_t is_deleted : 1;             /* the latest revision is a tombstone */
    uint8_t key[];
};

struct index {
    struct slab slab; /* entries and histories */
    struct tree tree;
    struct keymap map;
    size_t live;        /* keys whose latest revision is not a tombstone */
    size_t count;       /* entries */
    uint64_t key_bytes; /* of all entries */
    /* While loading: entries in the order of their arrival, not in the tree yet. */
    struct index_entry **load_list;
    size_t loaded_count, loaded_capacity;
};

static inline struct slice index_entry_key(const struct index_entry *e)
{
    if (e->key_size != INDEX_KEY_LONG)
        return slice_of(e->key, e->key_size);
    uint64_t size;
    memcpy(&size, e->key, sizeof size);
    return slice_of(e->key + sizeof size, size);
}

/* NULL when there is none. */
static inline struct index_history *index_entry_history(const struct index_entry *e)
{
    return (struct index_history *)(uintptr_t)e->history;
}

/* The latest revision. */
static inline struct revision index_entry_revision(const struct index_entry *e)
{
    if (e->revision == INDEX_WIDE) {
        const struct index_history *h = index_entry_history(e);
        return (struct revision){h->items[h->count].main, h->items[h->count].sub};
    }
    return (struct revision){(int64_t)(e->revision >> INDEX_SUB_BITS),
                             (uint32_t)e->revision & ((1u << INDEX_SUB_BITS) - 1)};
}

/* The create revision and the version of the latest revision; 0 when that is a tombstone. */
static inline int64_t index_entry_create(const struct index_entry *e)
{
    return e->history ? index_entry_history(e)->create : index_entry_revision(e).main;
}

static inline int64_t index_entry_version(const struct index_entry *e)
{
    return e->history ? index_entry_history(e)->version : 1;
}

void index_init(struct index *x, size_t expected);
void index_done(struct index *x);

struct index_entry *index_find(const struct index *x, struct slice key);
/* Adds the first revision of a new key, or the next one of a known key; revisions only grow. */
struct index_entry *index_insert(struct index *x, struct slice key, struct revision revision, bool has_lease);
void index_update(struct index *x, struct index_entry *e, struct revision revision, bool has_lease);
void index_tombstone(struct index *x, struct index_entry *e, struct revision revision);
/* The key's revision at `at` (all changes with main <= at). False: the key did not exist then. */
bool index_get(const struct index_entry *e, int64_t at, struct revision *ret_revision);
/* True if compaction at `compact` keeps this revision of this key, whether or not the sweep has reached
 * it. */
bool index_keeps(const struct index_entry *e, struct revision revision, int64_t compact);

/* Loads the index at the start: each record in revision order, then index_load_end before anything else. */
void index_load(struct index *x, struct slice key, struct revision revision, int64_t create, int64_t version,
                bool has_lease);
void index_load_end(struct index *x);

/* Compacts at `compact` a part of the index: at most max_keys keys, and max_drops revisions of one key, in
 * key order from `position` on (an owned key, empty at the start). Calls fn for each revision that is
 * dropped. True: the last key is done. */
bool index_sweep(struct index *x, struct buf *position, int64_t compact, size_t max_keys, uint32_t max_drops,
                 void (*drop)(void *arg, struct revision revision), void *arg);

#endif
