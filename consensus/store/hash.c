/* SPDX-License-Identifier: Apache-2.0
 * HashKV and the hash of all data.
 *
 * HashKV equals etcd's: CRC-32C over the name of etcd's bucket, then key and value of each change as etcd
 * stores it (etcd_row.h), in the order of revisions. hash_judge says which count. A tombstone of the compact
 * revision itself does not, though it is kept: versions of etcd before 3.5.16 deleted it. The hash does not depend on the progress of the sweep, nor on what is
 * committed or pending. The hash of all data adds the side tables and the applied index. */
#include "base/hash.h"
#include "base/map.h"
#include "consensus/store/etcd_row.h"
#include "consensus/store/state.h"

#define BYTES_PER_UNIT 512

static const char etcd_bucket[] = "key";

struct store_hash_walk {
    struct store *s;
    bool is_everything;
    int64_t to, compact_revision;
    struct revision next; /* the first record that is not hashed yet */
    int64_t units;        /* left in this step */
    struct buf row;       /* the value of the present change */
    bool is_any_live;     /* a key is live at `to` */
    uint32_t crc;
    uint32_t crc_if_none; /* if no key is live; of no use once one is */
    int err;
};

static bool is_live_at(const struct index_entry *e, int64_t at, struct revision revision)
{
    struct revision live;
    return e && index_get(e, at, &live) && revision_compare(live, revision) == 0;
}

/* Above the compact revision every change counts. Below it those count that are live at the revision of the
 * hash; but where no key is live then, all that the compaction keeps. Which case it is, is known at the first
 * live key: until then both hashes are computed. The hash of all data covers all that the compaction keeps. */
static void hash_judge(struct store_hash_walk *h, const struct record *record, struct revision revision,
                       bool *ret_counts, bool *ret_counts_if_none)
{
    bool is_above = revision.main > h->compact_revision;
    bool is_left_out = revision.main == h->compact_revision && !record->version;
    *ret_counts = *ret_counts_if_none = is_above;
    if (is_left_out || (is_above && h->is_any_live))
        return;
    const struct index_entry *e = index_find(&h->s->index, record->key);
    bool is_live = is_live_at(e, h->to, revision);
    bool is_kept = is_above || (e && index_keeps(e, revision, h->compact_revision));
    h->is_any_live = h->is_any_live || is_live;
    *ret_counts = h->is_everything ? is_kept : is_above || is_live;
    *ret_counts_if_none = is_kept;
}

static void hash_record(struct store_hash_walk *h, struct revision revision, struct slice value)
{
    uint8_t key[ETCD_ROW_KEY_SIZE_MAX];
    struct record record;
    bool counts, counts_if_none;
    h->units -= 1 + (int64_t)(value.size / BYTES_PER_UNIT);
    h->next = (struct revision){revision.main, revision.sub + 1};
    h->err = record_decode(value, revision, true, &record);
    if (h->err)
        return;
    hash_judge(h, &record, revision, &counts, &counts_if_none);
    size_t key_size = etcd_row_key(revision, !record.version, key);
    buf_clear(&h->row);
    etcd_row_value(&record, revision, &h->row);
    if (counts)
        h->crc = crc32c(crc32c(h->crc, key, key_size), h->row.data, h->row.size);
    if (counts_if_none && !h->is_any_live)
        h->crc_if_none = crc32c(crc32c(h->crc_if_none, key, key_size), h->row.data, h->row.size);
}

static int64_t last_in_backend(const struct store_hash_walk *h)
{
    return h->to < h->s->committed_revision ? h->to : h->s->committed_revision;
}

static bool hash_backend(void *arg, struct slice key, struct slice value)
{
    struct store_hash_walk *h = arg;
    struct revision revision = revision_decode(key.data);
    if (revision.main > last_in_backend(h))
        return false;
    h->s->reads_since_trim++;
    hash_record(h, revision, value);
    return h->err == 0 && h->units > 0;
}

static int hash_committed(struct store_hash_walk *h)
{
    uint8_t from[REVISION_KEY_SIZE];
    struct backend_view *view;
    revision_encode(h->next, from);
    int err = store_view(h->s, &view);
    if (!err)
        err = h->s->backend->ops->scan(view, BACKEND_RECORDS, slice_of(from, sizeof from), hash_backend, h);
    if (!err)
        err = h->err;
    if (!err && h->units > 0)
        h->next = (struct revision){last_in_backend(h) + 1, 0};
    return err;
}

/* Hashes records up to `to`, as many as the units allow. A record that is pending now may be in the backend
 * when the next step begins: only its revision is kept between steps. */
static int hash_records(struct store_hash_walk *h)
{
    int err = h->next.main <= last_in_backend(h) ? hash_committed(h) : 0;
    while (!err && h->units > 0 && h->next.main <= h->to) {
        struct slice value;
        if (h->next.sub < pending_sub_count(&h->s->pending, h->next.main)) {
            struct revision revision = h->next;
            bool found = pending_find(&h->s->pending, revision, &value);
            assert(found);
            hash_record(h, revision, value);
            err = h->err;
        } else {
            h->next = (struct revision){h->next.main + 1, 0};
        }
    }
    return err ? store_fail(h->s, err) : 0;
}

/* --- hash of all data ---------------------------------------------------------------------------- */

/* Row hashes are added up, so that pending and committed rows may come in any order. */
struct rows {
    struct store *s;
    enum backend_table table;
    uint64_t sum;
    struct strmap pending_keys; /* pending keys: newer than the backend's */
};

static uint64_t row_hash(enum backend_table table, struct slice key, struct slice value)
{
    uint8_t head[16];
    put_be64(head, (uint64_t)table);
    put_be64(head + 8, key.size);
    uint32_t low = crc32c(crc32c(crc32c(0, head, sizeof head), key.data, key.size), value.data, value.size);
    uint32_t high =
        crc32c(crc32c(crc32c(low, value.data, value.size), key.data, key.size), head, sizeof head);
    uint64_t h = (uint64_t)high << 32 | low;
    h = (h ^ h >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static bool is_own(enum backend_table table, struct slice key)
{
    return table == BACKEND_META && key.size > 6 && memcmp(key.data, "store.", 6) == 0;
}

static bool hash_row(void *arg, struct slice key, struct slice value)
{
    struct rows *r = arg;
    if (!is_own(r->table, key) && !strmap_get(&r->pending_keys, key))
        r->sum += row_hash(r->table, key, value);
    return true;
}

static void hash_pending_rows(struct rows *r, const struct pending_batch *b)
{
    for (size_t i = b->count; i-- > 0;) {
        const struct backend_op *op = &b->ops[i];
        if (op->table != r->table || strmap_get(&r->pending_keys, op->key))
            continue;
        if (op->kind != BACKEND_DELETE)
            hash_row(r, op->key, op->value);
        strmap_put(&r->pending_keys, op->key, r);
    }
}

static int hash_table(struct store *s, enum backend_table table, uint64_t *sum)
{
    struct rows r = {.s = s, .table = table};
    struct backend_view *view;
    hash_pending_rows(&r, s->pending.open);
    for (struct link *l = s->pending.batches.prev; l != &s->pending.batches; l = l->prev)
        hash_pending_rows(&r, container_of(l, struct pending_batch, link));
    int err = store_view(s, &view);
    if (!err)
        err = s->backend->ops->scan(view, table, (struct slice){0}, hash_row, &r);
    strmap_done(&r.pending_keys);
    if (!err)
        *sum += r.sum;
    return err;
}

static int finish_everything(struct store_hash_walk *h)
{
    struct store *s = h->s;
    uint64_t sum = 0;
    uint8_t tail[40];
    int err = 0;
    for (unsigned table = BACKEND_META; table < BACKEND_TABLES && !err; table++)
        err = hash_table(s, (enum backend_table)table, &sum);
    if (err)
        return store_fail(s, err);
    put_be64(tail, sum);
    put_be64(tail + 8, s->applied_index);
    put_be64(tail + 16, s->applied_term);
    put_be64(tail + 24, (uint64_t)s->revision);
    put_be64(tail + 32, (uint64_t)s->compact_revision);
    h->crc = crc32c(h->crc, tail, sizeof tail);
    return 0;
}

/* --- public functions -------------------------------------------------------------------------- */

int store_hash_walk_new(struct store *s, bool is_everything, int64_t revision,
                        struct store_hash_walk **ret_walk)
{
    if (revision > 0 && revision < s->compact_revision)
        return ERR_COMPACTED;
    if (revision > s->revision)
        return ERR_FUTURE_REV;
    struct store_hash_walk *h = mem_new(sizeof *h);
    h->s = s;
    h->is_everything = is_everything;
    h->to = revision ? revision : s->revision; /* negative: nothing is hashed, as in etcd */
    h->compact_revision = s->compact_revision;
    h->crc = h->crc_if_none = crc32c(0, etcd_bucket, strlen(etcd_bucket));
    *ret_walk = h;
    return 0;
}

int store_hash_walk_step(struct store_hash_walk *h, int64_t units, bool *ret_is_last)
{
    if (h->compact_revision != h->s->compact_revision)
        return ERR_COMPACTED;
    h->units = units;
    if (h->is_everything)
        h->to = h->s->revision;
    int err = hash_records(h);
    *ret_is_last = h->next.main > h->to;
    if (!err && *ret_is_last && h->is_everything)
        err = finish_everything(h);
    return err;
}

void store_hash_walk_result(const struct store_hash_walk *h, Etcdserverpb__HashKVResponse *ret_response)
{
    ret_response->hash = h->is_everything || h->is_any_live ? h->crc : h->crc_if_none;
    ret_response->compact_revision = h->compact_revision;
    ret_response->hash_revision = h->to;
}

void store_hash_walk_free(struct store_hash_walk *h)
{
    if (h)
        buf_done(&h->row);
    mem_free(h);
}

static int hash_at_once(struct store *s, bool is_everything, int64_t revision,
                        Etcdserverpb__HashKVResponse *ret_response)
{
    struct store_hash_walk *h;
    bool is_last = false;
    int err = store_hash_walk_new(s, is_everything, revision, &h);
    if (err)
        return err;
    err = store_hash_walk_step(h, INT64_MAX, &is_last);
    if (!err) {
        assert(is_last);
        store_hash_walk_result(h, ret_response);
    }
    store_hash_walk_free(h);
    return err;
}

int store_hash_kv(struct store *s, int64_t revision, Etcdserverpb__HashKVResponse *ret_response)
{
    return hash_at_once(s, false, revision, ret_response);
}

uint32_t store_hash(struct store *s)
{
    Etcdserverpb__HashKVResponse response = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    return hash_at_once(s, true, 0, &response) ? 0 : response.hash;
}
