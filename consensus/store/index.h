/* SPDX-License-Identifier: Apache-2.0
 * Every key the store knows, with the revisions at which it changed: in memory, rebuilt at start from the
 * records. A B+tree (tree.h) keeps the entries in byte order for ranges, a hash table (keymap.h) finds one.
 *
 * As etcd's key index: the revisions of a key form generations, each ended by a tombstone. Here they lie in
 * one ascending list; the latest is in the entry itself, older ones in `history`. A key that was written once
 * has no history: its create revision is the revision itself, its version is 1.
 * Only the latest knows its create revision and version: for older ones the record is read anyway.
 *
 * An entry lives until compaction removes it, so its address is good until the next index_sweep. */
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
#define INDEX_WIDE      UINT64_MAX                    /* in place of the latest revision */
#define INDEX_KEY_LONG  ((1u << INDEX_SIZE_BITS) - 1) /* in place of the key's size */

/* 16 bytes and the key, from the index's slab. What is too large for its bits lies elsewhere: a latest
 * revision behind the past ones in history->items, a size in the 8 bytes before a long key. */
struct index_entry {
    uint64_t revision;                   /* the latest: main, then INDEX_SUB_BITS of sub; or INDEX_WIDE */
    uint64_t history : 48;               /* its address; 0 = the latest revision created the key and is
                                            the only one */
    uint64_t key_size : INDEX_SIZE_BITS; /* or INDEX_KEY_LONG */
    uint64_t has_lease : 1;              /* which one is in the record */
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
    /* While loading: entries in the order they came, not yet in the tree. */
    struct index_entry **loaded;
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
/* A new key's first revision, or the next one of a known key; revisions only grow. */
struct index_entry *index_insert(struct index *x, struct slice key, struct revision revision, bool has_lease);
void index_update(struct index *x, struct index_entry *e, struct revision revision, bool has_lease);
void index_tombstone(struct index *x, struct index_entry *e, struct revision revision);
/* The key's revision as of at (every change with main <= at); false when it did not exist then. */
bool index_get(const struct index_entry *e, int64_t at, struct revision *ret_revision);
/* Does compaction at `compact` leave this revision of this key? Known whether or not the sweep has come by.
 */
bool index_keeps(const struct index_entry *e, struct revision revision, int64_t compact);

/* Loading at start: each record in revision order, then index_load_end before anything else. */
void index_load(struct index *x, struct slice key, struct revision revision, int64_t create, int64_t version,
                bool has_lease);
void index_load_end(struct index *x);

/* Compaction at `compact`, some keys at a time, and of one key max_drops revisions, in key order, from where
 * `position` (an owned key, empty at the start) stands. Tells each revision that goes. True when the last key
 * was done. */
bool index_sweep(struct index *x, struct buf *position, int64_t compact, size_t max_keys, uint32_t max_drops,
                 void (*drop)(void *arg, struct revision revision), void *arg);

#endif
