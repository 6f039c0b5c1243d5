/* SPDX-License-Identifier: Apache-2.0
 * Writes: put, delete range, and the keys of a revoked lease. One request is one transaction: its changes
 * share the main revision s->revision + 1 and get the subs 0, 1, 2 ... in order; readers within it see them
 * at once. Checks come first: after the first change nothing can fail but the backend, which is final. */
#include "base/hash.h"
#include "base/mutant.h"
#include "consensus/store/lease.h"
#include "consensus/store/state.h"

/* Encodes the record directly into the batch: the only copy of the value. */
static void write_record(struct store *s, struct revision revision, const struct record *record)
{
    size_t max = REVISION_KEY_SIZE + RECORD_OVERHEAD_MAX + record->key.size + record->value.size;
    uint8_t *at = pending_alloc(&s->pending, max);
    revision_encode(revision, at);
    size_t size = record_encode(record, revision, at + REVISION_KEY_SIZE);
    pending_give_back(&s->pending, max - REVISION_KEY_SIZE - size);
    pending_append(&s->pending, revision, slice_of(at, REVISION_KEY_SIZE),
                   slice_of(at + REVISION_KEY_SIZE, size));
    s->live_bytes += REVISION_KEY_SIZE + size;
    /* the record's own CRC, which covers it all */
    s->digest = crc32c(s->digest, at + REVISION_KEY_SIZE, RECORD_CRC_SIZE);
}

/* The lease of the key, which only its record has. 0 also when the store has just failed. */
static int64_t lease_of(struct store *s, const struct index_entry *e)
{
    struct record record;
    if (!e->has_lease || store_fetch(s, index_entry_revision(e), &record) != 0)
        return 0;
    return record.lease;
}

void store_write_put(struct store *s, struct slice key, struct slice value, int64_t lease)
{
    struct revision revision = {.main = s->revision + 1, .sub = s->sub};
    struct index_entry *e = index_find(&s->index, key);
    bool exists = e && !e->is_deleted;
    int64_t old_lease = exists && lease == 0 ? lease_of(s, e) : 0;
    struct record record = {.key = key, .value = value, .lease = lease};
    record.create_revision = exists ? index_entry_create(e) : revision.main;
    record.version = 1;
    if (exists) /* not by ?: here and wherever a 1 is added: see tests/compiler */
        record.version += index_entry_version(e);
    write_record(s, revision, &record);
    if (e) {
        index_update(&s->index, e, revision, lease != 0);
    } else {
        index_insert(&s->index, key, revision, lease != 0);
        s->live_bytes += key.size;
    }
    s->sub++;
    if (lease)
        lease_attach(s->leases, lease, key);
    else if (old_lease)
        lease_detach(s->leases, old_lease, key);
}

void store_write_delete(struct store *s, struct index_entry *e, bool detach)
{
    struct revision revision = {.main = s->revision + 1, .sub = s->sub};
    int64_t old_lease = detach && !MUTANT(LEASE_KEEPS_DELETED_KEY) ? lease_of(s, e) : 0;
    write_record(s, revision, &(struct record){.key = index_entry_key(e)});
    index_tombstone(&s->index, e, revision);
    s->sub++;
    if (old_lease)
        lease_detach(s->leases, old_lease, index_entry_key(e));
}

void store_change_end(struct store *s)
{
    if (s->sub || MUTANT(STORE_EMPTY_CHANGE_COUNTS))
        s->revision++;
    s->sub = 0;
    op_counts_end(&s->ops);
}

bool store_put_reads(const Etcdserverpb__PutRequest *request)
{
    return request->prev_kv || request->ignore_value || request->ignore_lease;
}

/* etcd's order: the lease first, then the key that must exist. */
int store_put_check(struct store *s, const Etcdserverpb__PutRequest *request)
{
    if (request->lease && !lease_exists(s->leases, request->lease))
        return ERR_LEASE_NOT_FOUND;
    if (request->ignore_value || request->ignore_lease) {
        struct index_entry *e = index_find(&s->index, store_slice(request->key));
        if (!e || e->is_deleted)
            return ERR_KEY_NOT_FOUND;
    }
    return 0;
}

/* The key can be missing although the check found it: a txn deletes all keys from some point on and then puts
 * one of them with ignore_value. etcd's process ends there; here the old value reads as empty. */
int store_put_run(struct store *s, const Etcdserverpb__PutRequest *request, struct arena *a,
                  Etcdserverpb__PutResponse **ret_response)
{
    struct slice key = store_slice(request->key), value = store_slice(request->value);
    int64_t lease = request->lease;
    struct record old = {0};
    bool existed = false;
    int64_t old_main = 0;
    if (request->ignore_value || request->ignore_lease || (request->prev_kv && ret_response)) {
        struct index_entry *e = index_find(&s->index, key);
        if (e && !e->is_deleted) {
            int err = store_fetch(s, index_entry_revision(e), &old);
            if (err)
                return err;
            existed = true;
            old_main = index_entry_revision(e).main;
        }
    }
    if (request->ignore_value)
        value = old.value;
    if (request->ignore_lease)
        lease = old.lease;
    s->ops.puts++;
    s->ops.ranges += store_put_reads(request);
    s->ops.put_bytes += key.size + value.size;
    store_write_put(s, key, value, lease);
    if (!ret_response)
        return 0;
    Etcdserverpb__PutResponse *response = arena_alloc(a, sizeof *response);
    etcdserverpb__put_response__init(response);
    response->header = store_header(a, s->revision + 1);
    if (existed && request->prev_kv) {
        response->prev_kv = arena_alloc(a, sizeof *response->prev_kv);
        store_fill_kv(response->prev_kv, old_main, &old);
    }
    *ret_response = response;
    return 0;
}

/* Reads the previous values before the first key is deleted. */
static int delete_previous(struct store *s, struct index_entry **keys, size_t count, struct arena *a,
                           Etcdserverpb__DeleteRangeResponse *response)
{
    response->prev_kvs = arena_alloc(a, count * sizeof *response->prev_kvs);
    for (size_t i = 0; i < count; i++) {
        struct record old;
        int err = store_fetch(s, index_entry_revision(keys[i]), &old);
        if (err)
            return err;
        response->prev_kvs[i] = arena_alloc(a, sizeof **response->prev_kvs);
        store_fill_kv(response->prev_kvs[i], index_entry_revision(keys[i]).main, &old);
    }
    response->n_prev_kvs = count;
    return 0;
}

int store_delete_run(struct store *s, const Etcdserverpb__DeleteRangeRequest *request, struct arena *a,
                     Etcdserverpb__DeleteRangeResponse **ret_response)
{
    struct key_range range = key_range_of(request->key, request->range_end);
    struct range_cursor c = range_open(s, &range);
    struct index_entry *e, *one[1], **keys = one;
    size_t count = 0, capacity = 1;
    s->ops.deletes++;
    s->ops.ranges += request->prev_kv;
    while ((e = range_next(&c))) {
        if (e->is_deleted)
            continue;
        if (count == capacity) {
            struct index_entry **more = arena_alloc(a, 16 * capacity * sizeof *more);
            memcpy(more, keys, count * sizeof *more);
            keys = more;
            capacity *= 16;
        }
        keys[count++] = e;
    }
    Etcdserverpb__DeleteRangeResponse *response = NULL;
    if (ret_response) {
        response = arena_alloc(a, sizeof *response);
        etcdserverpb__delete_range_response__init(response);
        int err = request->prev_kv && count ? delete_previous(s, keys, count, a, response) : 0;
        if (err)
            return err;
    }
    for (size_t i = 0; i < count; i++)
        store_write_delete(s, keys[i], true);
    if (!ret_response)
        return 0;
    response->deleted = (int64_t)count;
    response->header = store_header(a, store_view_revision(s));
    *ret_response = response;
    return 0;
}

int store_put(struct store *s, const Etcdserverpb__PutRequest *request, struct arena *a,
              Etcdserverpb__PutResponse **ret_response)
{
    assert(s->in_entry && s->sub == 0);
    int err = store_put_check(s, request);
    if (err)
        return err;
    err = store_put_run(s, request, a, ret_response);
    store_change_end(s);
    return err;
}

int store_delete_range(struct store *s, const Etcdserverpb__DeleteRangeRequest *request, struct arena *a,
                       Etcdserverpb__DeleteRangeResponse **ret_response)
{
    assert(s->in_entry && s->sub == 0);
    int err = store_delete_run(s, request, a, ret_response);
    store_change_end(s);
    return err;
}

void store_delete_keys(struct store *s, const struct slice *keys, size_t count)
{
    assert(s->in_entry && s->sub == 0);
    for (size_t i = 0; i < count; i++) {
        assert(i == 0 || slice_compare(keys[i - 1], keys[i]) < 0);
        struct index_entry *e = index_find(&s->index, keys[i]);
        if (e && !e->is_deleted)
            store_write_delete(s, e, false);
    }
    s->ops.deletes = (uint32_t)count;
    store_change_end(s);
}
