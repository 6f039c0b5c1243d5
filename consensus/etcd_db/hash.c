/* SPDX-License-Identifier: Apache-2.0
 * HashKV of a file: what etcd, and consensus/store/hash.c, compute for a store with these rows.
 *
 * A change above the compact revision counts. Below it those count that are live at the revision of the hash;
 * but where no key is live then, all that the compaction keeps. So the rows are walked twice: the first walk
 * learns the last change of each key at both revisions, the second one hashes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "consensus/etcd_db/buckets.h"
#include "consensus/etcd_db/etcd_db.h"
#include "consensus/store/etcd_row.h"

struct last_change {
    struct revision revision; /* main 0 = none */
    bool is_tombstone;
};

struct key_state {
    struct last_change at_hash, at_compaction;
};

struct hash_walk {
    int64_t to, compact, revision; /* revision: the latest one */
    struct strmap keys;            /* to struct key_state in the arena */
    struct arena arena;
    uint64_t live; /* keys at `to` */
    uint32_t crc;
    char *error;
    size_t error_size;
};

struct row {
    struct revision revision;
    bool is_tombstone;
    struct slice key;
};

static int read_row(struct hash_walk *h, struct slice key, struct slice value, struct row *ret_row)
{
    struct record record = {0};
    int err = etcd_row_read_key(key, &ret_row->revision, &ret_row->is_tombstone);
    if (!err && value.size) /* etcdutl's --bump-revision leaves an empty row: a key without name */
        err = etcd_row_read_value(value, ret_row->revision, ret_row->is_tombstone, &record);
    ret_row->key = record.key;
    if (err) {
        snprintf(h->error, h->error_size, "a change after revision %" PRId64 " cannot be read", h->revision);
        err = ERR_CORRUPT;
    }
    return err;
}

static int take_compaction(void *arg, struct slice key, struct slice value)
{
    struct hash_walk *h = arg;
    struct revision revision;
    bool is_tombstone;
    bool is_mark =
        slice_equal(key, slice_text(ETCD_META_SCHEDULED)) || slice_equal(key, slice_text(ETCD_META_FINISHED));
    if (is_mark && etcd_row_read_key(value, &revision, &is_tombstone) == OK && revision.main > h->compact)
        h->compact = revision.main;
    return OK;
}

static int learn_change(void *arg, struct slice key, struct slice value)
{
    struct hash_walk *h = arg;
    struct row row;
    int err = read_row(h, key, value, &row);
    if (err)
        return err;
    h->revision = row.revision.main;
    if (row.revision.main > h->to && row.revision.main > h->compact)
        return OK;
    struct key_state *k = strmap_get(&h->keys, row.key);
    if (!k) {
        k = arena_new(&h->arena, sizeof *k);
        strmap_put(&h->keys, row.key, k);
    }
    struct last_change last = {row.revision, row.is_tombstone};
    if (row.revision.main <= h->compact)
        k->at_compaction = last;
    if (row.revision.main <= h->to) {
        h->live -= k->at_hash.revision.main && !k->at_hash.is_tombstone;
        h->live += !row.is_tombstone;
        k->at_hash = last;
    }
    return OK;
}

static bool is_last(const struct last_change *last, struct revision revision)
{
    return last->revision.main && !last->is_tombstone && revision_compare(last->revision, revision) == 0;
}

static int hash_change(void *arg, struct slice key, struct slice value)
{
    struct hash_walk *h = arg;
    struct row row;
    int err = read_row(h, key, value, &row);
    if (err || row.revision.main > h->to)
        return err;
    if (row.revision.main <= h->compact) {
        const struct key_state *k = strmap_get(&h->keys, row.key);
        if (!is_last(h->live ? &k->at_hash : &k->at_compaction, row.revision))
            return OK;
    }
    h->crc = crc32c(crc32c(h->crc, key.data, key.size), value.data, value.size);
    return OK;
}

int etcd_db_hash_kv(struct etcd_db *db, int64_t revision, struct etcd_db_hash *ret_hash, char *error,
                    size_t error_size)
{
    struct hash_walk h = {.to = revision ? revision : INT64_MAX,
                          .compact = -1,
                          .revision = 1,
                          .error = error,
                          .error_size = error_size};
    int err = etcd_db_walk(db, ETCD_BUCKET_META, take_compaction, &h, error, error_size);
    if (!err)
        err = etcd_db_walk(db, ETCD_BUCKET_KEY, learn_change, &h, error, error_size);
    if (h.revision < h.compact)
        h.revision = h.compact;
    if (!err && revision > h.revision)
        err = ERR_FUTURE_REV;
    if (!err && revision > 0 && revision < h.compact)
        err = ERR_COMPACTED;
    if (!revision)
        h.to = h.revision;
    h.crc = crc32c(0, ETCD_BUCKET_KEY, strlen(ETCD_BUCKET_KEY));
    if (!err)
        err = etcd_db_walk(db, ETCD_BUCKET_KEY, hash_change, &h, error, error_size);
    *ret_hash = (struct etcd_db_hash){h.crc, h.to, h.compact};
    strmap_done(&h.keys);
    arena_done(&h.arena);
    return err;
}
