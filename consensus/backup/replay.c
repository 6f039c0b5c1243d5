/* SPDX-License-Identifier: Apache-2.0
 * Replay of a backup's log; see replay.h. The operations are those of kv/apply.c, without requests that wait.
 *
 * The restored cluster has its own members, versions and tokens: entries about these change nothing here. */
#include "consensus/backup/replay.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "consensus/auth/auth.h"
#include "consensus/entry.h"
#include "consensus/node/alarms.h"
#include "consensus/store/lease.h"
#include "consensus/store/meta_row.h"
#include "consensus/store/store.h"
#include "proto/internal.pb-c.h"

#define MAP_BYTES (UINT64_C(1) << 40) /* address space only */

struct replay {
    struct replay_options options;
    struct store *store;
    struct lease_table *leases;
    struct alarms alarms;
    struct auth auth;
    struct arena arena;
    uint64_t index, term, hashes;
    bool is_waiting;
    int waited_err;
};

/* --- open -------------------------------------------------------------------------------------------- */

static bool take_lease(void *arg, struct slice key, struct slice value)
{
    if (key.size == 8 && value.size == 16)
        lease_restore(arg, (int64_t)get_be64(key.data), (int64_t)get_be64(value.data),
                      (int64_t)get_be64(value.data + 8));
    return true;
}

static int open_backend(const struct replay_options *o, struct backend **ret_backend)
{
    return o->backend_open
               ? o->backend_open(o->io, o->store_path, MAP_BYTES, o->error, o->error_size, ret_backend)
               : backend_lmdb_open(o->store_path, MAP_BYTES, o->error, o->error_size, ret_backend);
}

static int load_store(struct replay *r)
{
    const struct replay_options *o = &r->options;
    struct backend *backend;
    struct backend_view *view;
    int err = open_backend(o, &backend);
    if (err)
        return err;
    err = backend->ops->view_open(backend, &view);
    if (!err) {
        err = backend->ops->scan(view, BACKEND_LEASES, (struct slice){0}, take_lease, r->leases);
        backend->ops->view_close(backend, view);
    }
    if (err) {
        backend->ops->close(backend);
        return err;
    }
    const struct store_options options = {
        .io = o->io,
        .backend = backend,
        .leases = r->leases,
        .commit_interval_ms = 1000,
        .commit_ops = 10000,
        .compaction_batch = 10000,
        .compaction_sleep_ms = 1,
        .max_txn_ops = UINT32_MAX, /* the member has checked it */
    };
    err = store_open(&options, o->error, o->error_size, &r->store);
    if (err)
        return err;
    store_set_needs_previous(r->store, false);
    store_set_needs_events(r->store, false);
    store_attach_leases(r->store);
    err = alarms_load(&r->alarms, r->store);
    return err ? err : auth_load(&r->auth, r->store);
}

int replay_open(const struct replay_options *options, struct replay **ret_replay)
{
    struct replay *r = mem_new(sizeof *r);
    *ret_replay = r;
    r->options = *options;
    r->index = options->index;
    r->term = options->term;
    *options->error = '\0';
    /* The shortest TTL, as the member that granted leases had it (kv/open.c). */
    r->leases = lease_table_new((int64_t)((3 * (uint64_t)options->election_ms / 2 + 999) / 1000));
    int err = load_store(r);
    if (err && !*options->error)
        snprintf(options->error, options->error_size, "cannot open %s: %s", options->store_path,
                 err_text(err));
    return err;
}

/* --- entries ----------------------------------------------------------------------------------------- */

static void save_lease(struct replay *r, int64_t id, int64_t ttl_s, int64_t remaining_s)
{
    uint8_t key[8], value[16];
    put_be64(key, (uint64_t)id);
    put_be64(value, (uint64_t)ttl_s);
    put_be64(value + 8, (uint64_t)remaining_s);
    store_set(r->store, BACKEND_LEASES, slice_of(key, 8), ttl_s ? slice_of(value, 16) : (struct slice){0});
}

static int replay_grant(struct replay *r, const Etcdserverpb__LeaseGrantRequest *m)
{
    int64_t ttl_s;
    int err = lease_grant(r->leases, m->id, m->ttl, 0, &ttl_s);
    if (!err)
        save_lease(r, m->id, ttl_s, 0);
    return err;
}

static int replay_revoke(struct replay *r, int64_t id)
{
    struct slice *keys = NULL;
    size_t count = 0;
    int err = lease_keys(r->leases, id, &keys, &count);
    if (!err) {
        store_delete_keys(r->store, keys, count);
        err = lease_revoke(r->leases, id);
        save_lease(r, id, 0, 0);
    }
    mem_free(keys);
    return err;
}

static void replay_checkpoint(struct replay *r, const Etcdserverpb__LeaseCheckpointRequest *m)
{
    for (size_t i = 0; i < m->n_checkpoints; i++) {
        const Etcdserverpb__LeaseCheckpoint *c = m->checkpoints[i];
        int64_t remaining_s, granted_s;
        if (!lease_exists(r->leases, c->id))
            continue;
        lease_time_to_live(r->leases, c->id, 0, &remaining_s, &granted_s);
        lease_set_remaining(r->leases, c->id, c->remaining_ttl);
        save_lease(r, c->id, granted_s, c->remaining_ttl);
    }
}

static int replay_auth(struct replay *r, const struct entry *e, const ProtobufCMessage *m)
{
    ProtobufCMessage *response;
    const struct auth_who who = {.user = e->who.user, .revision = e->who.auth_revision};
    return auth_apply(&r->auth, r->store, (int)e->op, m, &who, &r->arena, &response);
}

static int replay_operation(struct replay *r, const struct entry *e, const ProtobufCMessage *m)
{
    Etcdserverpb__AlarmResponse alarm = ETCDSERVERPB__ALARM_RESPONSE__INIT;
    switch ((int)e->op) {
    case ENTRY_PUT:
    case ENTRY_TRIAL:
        return store_put(r->store, (const Etcdserverpb__PutRequest *)m, &r->arena, NULL);
    case ENTRY_DELETE_RANGE:
        return store_delete_range(r->store, (const Etcdserverpb__DeleteRangeRequest *)m, &r->arena, NULL);
    case ENTRY_TXN:
        return store_txn(r->store, (const Etcdserverpb__TxnRequest *)m, &r->arena, NULL);
    case ENTRY_COMPACTION:
        return store_compact(r->store, ((const Etcdserverpb__CompactionRequest *)m)->revision);
    case ENTRY_LEASE_GRANT:
        return replay_grant(r, (const Etcdserverpb__LeaseGrantRequest *)m);
    case ENTRY_LEASE_REVOKE:
        return replay_revoke(r, ((const Etcdserverpb__LeaseRevokeRequest *)m)->id);
    case ENTRY_LEASE_CHECKPOINT:
        replay_checkpoint(r, (const Etcdserverpb__LeaseCheckpointRequest *)m);
        return OK;
    case ENTRY_ALARM:
        alarms_apply(&r->alarms, r->store, (const Etcdserverpb__AlarmRequest *)m, &r->arena, &alarm);
        return OK;
    case ENTRY_CLUSTER_VERSION:
    case ENTRY_MEMBER_ATTRIBUTES:
    case ENTRY_DOWNGRADE_INFO:
    case ENTRY_STATE_CHECK:
    case ENTRY_AUTHENTICATE:
        return OK;
    default:
        return replay_auth(r, e, m);
    }
}

/* The bytes of an entry; nothing for an entry that changed nothing. */
static int replay_data(struct replay *r, struct slice data)
{
    struct entry e;
    if (!data.size)
        return OK;
    int err = entry_decode(data, &e);
    const ProtobufCMessageDescriptor *type = err ? NULL : entry_descriptor(e.op);
    if (err || e.unknown || !type)
        return ERR_LEVEL;
    const ProtobufCMessage *m =
        protobuf_c_message_unpack(type, arena_allocator(&r->arena), e.body.size, e.body.data);
    return m ? replay_operation(r, &e, m) : ERR_CORRUPT;
}

static void run_store(struct replay *r)
{
    store_turn(r->store);
    while (store_is_full(r->store) && !store_failed(r->store)) {
        r->options.run_loop(r->options.run_loop_arg);
        store_turn(r->store);
    }
}

static int replay_entry(struct replay *r, const struct backup_record *record)
{
    char *error = r->options.error;
    if (record->index != r->index + 1) {
        snprintf(error, r->options.error_size, "the entry %" PRIu64 " follows %" PRIu64, record->index,
                 r->index);
        return ERR_CORRUPT;
    }
    arena_reset(&r->arena);
    store_begin(r->store, record->index + ETCD_DB_FIRST_INDEX, record->term + 1);
    int err = replay_data(r, record->data);
    store_end(r->store);
    r->index = record->index;
    r->term = record->term;
    run_store(r);
    if (!err && store_revision(r->store) != record->revision)
        err = ERR_CORRUPT;
    if (err)
        snprintf(error, r->options.error_size,
                 "the entry %" PRIu64 " does not apply: %s; the revision is %" PRId64
                 ", the member had %" PRId64,
                 record->index, err_text(err), store_revision(r->store), record->revision);
    if (!err && store_failed(r->store)) {
        err = store_failed(r->store);
        snprintf(error, r->options.error_size, "cannot write %s: %s", r->options.store_path, err_text(err));
    }
    return err;
}

/* A compaction between the hash and its record changes the hash: it is left out then. */
static int replay_hash(struct replay *r, const struct backup_record *record)
{
    Etcdserverpb__HashKVResponse response = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    int64_t compact_revision = (int64_t)get_be64(record->data.data + 4);
    response.header = &header;
    if (store_compact_revision(r->store) != compact_revision)
        return OK;
    int err = store_hash_kv(r->store, record->revision, &response);
    if (err || response.hash != get_be32(record->data.data)) {
        snprintf(r->options.error, r->options.error_size,
                 "the hash at revision %" PRId64 " is %" PRIu32 "; the member recorded %" PRIu32,
                 record->revision, response.hash, get_be32(record->data.data));
        return ERR_CORRUPT;
    }
    r->hashes++;
    return OK;
}

int replay_record(struct replay *r, const struct backup_record *record)
{
    return record->kind == BACKUP_ENTRY ? replay_entry(r, record) : replay_hash(r, record);
}

int replay_hash_kv(struct replay *r, struct etcd_db_hash *ret_hash)
{
    Etcdserverpb__HashKVResponse response = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    response.header = &header;
    int err = store_hash_kv(r->store, 0, &response);
    *ret_hash = (struct etcd_db_hash){response.hash, store_revision(r->store), response.compact_revision};
    return err;
}

uint64_t replay_hashes(const struct replay *r)
{
    return r->hashes;
}

/* --- the end ----------------------------------------------------------------------------------------- */

static void replay_on_waited(void *arg, int err)
{
    struct replay *r = arg;
    r->is_waiting = false;
    r->waited_err = err;
}

static int replay_wait(struct replay *r)
{
    while (r->is_waiting && !store_failed(r->store)) {
        store_turn(r->store);
        if (r->is_waiting)
            r->options.run_loop(r->options.run_loop_arg);
    }
    return r->is_waiting ? store_failed(r->store) : r->waited_err;
}

/* Raises the revision of a closed store and marks everything before as compacted. */
static int replay_bump(const struct replay *r, int64_t revision, uint32_t digest)
{
    struct backend *backend;
    uint8_t applied_bytes[META_APPLIED_SIZE], number[8];
    uint64_t freed;
    int err = open_backend(&r->options, &backend);
    if (err)
        return err;
    const struct meta_applied applied = {r->index + ETCD_DB_FIRST_INDEX, r->term + 1, revision, digest};
    meta_applied_write(&applied, applied_bytes);
    put_be64(number, (uint64_t)revision);
    const struct backend_op ops[] = {
        {.kind = BACKEND_PUT,
         .table = BACKEND_META,
         .key = slice_text(META_SCHEDULED),
         .value = slice_of(number, sizeof number)},
        {.kind = BACKEND_PUT,
         .table = BACKEND_META,
         .key = slice_text(META_APPLIED),
         .value = slice_of(applied_bytes, sizeof applied_bytes)},
    };
    err = backend->ops->commit(backend, ops, 2, &freed);
    backend->ops->close(backend);
    return err;
}

int replay_finish(struct replay *r, uint64_t bump_revision, struct etcd_db_replayed *ret)
{
    int64_t revision = store_revision(r->store);
    if (bump_revision > (uint64_t)(INT64_MAX - revision)) {
        snprintf(r->options.error, r->options.error_size,
                 "--bump-revision: revision %" PRId64 " cannot grow by %" PRIu64, revision, bump_revision);
        return ERR_INVALID;
    }
    r->is_waiting = true;
    store_when_compacted(r->store, replay_on_waited, r);
    int err = replay_wait(r);
    if (!err) {
        r->is_waiting = true;
        store_force_commit(r->store, replay_on_waited, r);
        err = replay_wait(r);
    }
    uint32_t digest = store_digest(r->store);
    store_close(r->store);
    r->store = NULL;
    if (!err && bump_revision) {
        revision += (int64_t)bump_revision;
        err = replay_bump(r, revision, digest);
    }
    if (err)
        snprintf(r->options.error, r->options.error_size, "cannot write %s: %s", r->options.store_path,
                 err_text(err));
    *ret = (struct etcd_db_replayed){r->index + ETCD_DB_FIRST_INDEX, r->term + 1, revision};
    return err;
}

void replay_close(struct replay *r)
{
    if (!r)
        return;
    if (r->store)
        store_close(r->store);
    lease_table_free(r->leases);
    alarms_done(&r->alarms);
    auth_done(&r->auth);
    arena_done(&r->arena);
    mem_free(r);
}
