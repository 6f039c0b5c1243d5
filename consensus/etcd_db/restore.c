/* SPDX-License-Identifier: Apache-2.0
 * Restore of a member from a file of etcd's: rows become a store's file, and a log begins with it.
 *
 *   1. The rows of "key" become records, in order, some MiB in a commit.
 *   2. Leases, alarms, users and roles follow.
 *   3. META is last: the applied mark, the compaction, the members and this member's identity. A file without
 *      the mark is not opened as a store.
 *   4. The log gets a snapshot mark at the applied index, the entries that the file does not have (an import
 *      of a data folder), and a hard state that commits them.
 *
 * The raft configuration and the members of the file are not taken: the restored cluster has the members that
 * the caller names. The digest of the state is the CRC-32C of all rows, so members that were restored from
 * different files are told apart by the state check. */
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/auth/auth.h"
#include "consensus/etcd_db/buckets.h"
#include "consensus/etcd_db/etcd_db.h"
#include "consensus/node/conf_store.h"
#include "consensus/node/identity.h"
#include "consensus/node/members.h"
#include "consensus/node/snapshot_install.h"
#include "consensus/raft/message.h"
#include "consensus/store/etcd_row.h"
#include "consensus/store/lease.h"
#include "consensus/store/meta_row.h"
#include "consensus/wal/wal.h"
#include "proto/auth.pb-c.h"
#include "proto/lease.pb-c.h"
#include "proto/rpc.pb-c.h"

enum {
    COMMIT_BYTES = 8 << 20,
    COMMIT_OPS = 10000,
    SEGMENT_SIZE = 8 << 20,
    MARK_SEGMENT_SIZE =
        64
        << 10, /* of a log that has only marks: a segment is filled with zeros and synced when it is made */
    ENTRY_SIZE_MAX = 32 << 20, /* below the log's own bound */
    ENTRY_OVERHEAD = 64,
};

#define MAP_BYTES (UINT64_C(1) << 40) /* address space only */

struct restore {
    const struct etcd_db_restore *options;
    struct etcd_db_restored *restored;
    struct backend *backend;
    struct backend_op ops[COMMIT_OPS];
    size_t op_count;
    struct arena arena; /* bytes of these ops */
    size_t op_bytes;
    struct buf value;
    uint64_t read_bytes;
    uint64_t index, term; /* of the file */
    int64_t scheduled, finished, revision;
    bool has_left_out;        /* changes after until_revision */
    struct revision last_row; /* of the bucket "key" */
    int64_t last_change;      /* the revision of the last one that was copied */
    uint32_t digest;
    struct members members;
    char *error;
    size_t error_size;
};

/* --- commits ----------------------------------------------------------------------------------------- */

static int restore_commit(struct restore *r)
{
    uint64_t freed;
    int err = r->op_count ? r->backend->ops->commit(r->backend, r->ops, r->op_count, &freed) : OK;
    if (err)
        snprintf(r->error, r->error_size, "cannot write %s: %s", r->options->store_path, err_text(err));
    r->op_count = r->op_bytes = 0;
    arena_reset(&r->arena);
    return err;
}

static int add_op(struct restore *r, enum backend_table table, struct slice key, struct slice value)
{
    r->digest = crc32c(crc32c(r->digest, key.data, key.size), value.data, value.size);
    r->ops[r->op_count++] = (struct backend_op){
        .kind = table == BACKEND_RECORDS ? BACKEND_APPEND : BACKEND_PUT,
        .table = table,
        .key = slice_of(arena_copy(&r->arena, key.data, key.size), key.size),
        .value = slice_of(arena_copy(&r->arena, value.data, value.size), value.size),
    };
    r->op_bytes += key.size + value.size;
    return r->op_count == COMMIT_OPS || r->op_bytes >= COMMIT_BYTES ? restore_commit(r) : OK;
}

static int refuse_row(const struct restore *r, const char *bucket, struct slice key)
{
    snprintf(r->error, r->error_size, "a row of the bucket %s cannot be read (its key has %zu bytes)", bucket,
             key.size);
    return ERR_CORRUPT;
}

static void note_progress(struct restore *r, struct slice key, struct slice value)
{
    r->read_bytes += key.size + value.size;
    if (r->options->on_progress)
        r->options->on_progress(r->options->arg, r->read_bytes);
}

/* --- rows -------------------------------------------------------------------------------------------- */

static int take_change(void *arg, struct slice key, struct slice value)
{
    struct restore *r = arg;
    struct revision revision;
    struct record record;
    bool is_tombstone;
    uint8_t bytes[REVISION_KEY_SIZE];
    note_progress(r, key, value);
    int err = etcd_row_read_key(key, &revision, &is_tombstone);
    /* A change and a tombstone of one revision differ in the file's keys, and not in a store's. */
    if (!err && (revision.main < 1 || revision_compare(revision, r->last_row) <= 0))
        err = ERR_MALFORMED;
    if (!err && value.size)
        err = etcd_row_read_value(value, revision, is_tombstone, &record);
    if (err)
        return refuse_row(r, ETCD_BUCKET_KEY, key);
    r->last_row = revision;
    r->has_left_out = r->options->until_revision && revision.main > r->options->until_revision;
    if (r->has_left_out)
        return OK;
    r->revision = revision.main;
    if (!value.size) /* etcdutl's --bump-revision leaves such a row */
        return OK;
    r->last_change = revision.main;
    r->value.size = 0;
    uint8_t *at = buf_reserve(&r->value, RECORD_OVERHEAD_MAX + record.key.size + record.value.size);
    r->value.size = record_encode(&record, revision, at);
    revision_encode(revision, bytes);
    r->restored->keys++;
    return add_op(r, BACKEND_RECORDS, slice_of(bytes, sizeof bytes), buf_slice(&r->value));
}

static int take_lease(void *arg, struct slice key, struct slice value)
{
    struct restore *r = arg;
    uint8_t id[8], times[16];
    Leasepb__Lease *m = leasepb__lease__unpack(NULL, value.size, value.data);
    if (!m || m->id <= 0 || m->ttl <= 0 || m->ttl > LEASE_TTL_MAX || m->remainingttl < 0 ||
        m->remainingttl > m->ttl) {
        if (m)
            leasepb__lease__free_unpacked(m, NULL);
        return refuse_row(r, ETCD_BUCKET_LEASE, key);
    }
    put_be64(id, (uint64_t)m->id);
    put_be64(times, (uint64_t)m->ttl);
    put_be64(times + 8, (uint64_t)m->remainingttl);
    leasepb__lease__free_unpacked(m, NULL);
    r->restored->leases++;
    return add_op(r, BACKEND_LEASES, slice_of(id, sizeof id), slice_of(times, sizeof times));
}

static int take_alarm_row(void *arg, struct slice key, struct slice value)
{
    struct restore *r = arg;
    uint8_t bytes[9];
    (void)value;
    Etcdserverpb__AlarmMember *m = etcdserverpb__alarm_member__unpack(NULL, key.size, key.data);
    if (!m)
        return refuse_row(r, ETCD_BUCKET_ALARM, key);
    put_be64(bytes, m->memberid);
    bytes[8] = (uint8_t)m->alarm;
    etcdserverpb__alarm_member__free_unpacked(m, NULL);
    return add_op(r, BACKEND_ALARMS, slice_of(bytes, sizeof bytes), slice_text("1"));
}

static int add_named(struct restore *r, const char *prefix, struct slice name, struct slice value)
{
    struct buf key = {0};
    if (name.size > AUTH_NAME_MAX) {
        snprintf(r->error, r->error_size, "the name of a user or role has %zu bytes; at most %d are possible",
                 name.size, AUTH_NAME_MAX);
        return ERR_LIMIT;
    }
    buf_add_text(&key, prefix);
    buf_add_slice(&key, name);
    int err = add_op(r, BACKEND_AUTH, buf_slice(&key), value);
    buf_done(&key);
    return err;
}

static int take_user_row(void *arg, struct slice key, struct slice value)
{
    struct restore *r = arg;
    Authpb__User *m = authpb__user__unpack(NULL, value.size, value.data);
    bool is_right = m && slice_equal(slice_of(m->name.data, m->name.len), key);
    if (m)
        authpb__user__free_unpacked(m, NULL);
    r->restored->users += is_right;
    return is_right ? add_named(r, AUTH_ROW_USER, key, value) : refuse_row(r, ETCD_BUCKET_AUTH_USERS, key);
}

static int take_role_row(void *arg, struct slice key, struct slice value)
{
    struct restore *r = arg;
    Authpb__Role *m = authpb__role__unpack(NULL, value.size, value.data);
    bool is_right = m && slice_equal(slice_of(m->name.data, m->name.len), key);
    if (m)
        authpb__role__free_unpacked(m, NULL);
    r->restored->roles += is_right;
    return is_right ? add_named(r, AUTH_ROW_ROLE, key, value) : refuse_row(r, ETCD_BUCKET_AUTH_ROLES, key);
}

static int take_auth_row(void *arg, struct slice key, struct slice value)
{
    struct restore *r = arg;
    if (slice_equal(key, slice_text(ETCD_AUTH_ENABLED)) && value.size == 1)
        return add_op(r, BACKEND_AUTH, slice_text(AUTH_ROW_ENABLED), value);
    if (slice_equal(key, slice_text(ETCD_AUTH_REVISION)) && value.size == 8)
        return add_op(r, BACKEND_AUTH, slice_text(AUTH_ROW_REVISION), value);
    return refuse_row(r, ETCD_BUCKET_AUTH, key);
}

static bool take_number(struct slice key, const char *name, struct slice value, uint64_t *ret_number)
{
    if (!slice_equal(key, slice_text(name)) || value.size != 8)
        return false;
    *ret_number = get_be64(value.data);
    return true;
}

static bool take_revision(struct slice key, const char *name, struct slice value, int64_t *ret_revision)
{
    struct revision revision;
    bool is_tombstone;
    if (!slice_equal(key, slice_text(name)) || etcd_row_read_key(value, &revision, &is_tombstone))
        return false;
    *ret_revision = revision.main;
    return true;
}

/* The others are of the old cluster. */
static int take_meta_row(void *arg, struct slice key, struct slice value)
{
    struct restore *r = arg;
    (void)(take_number(key, ETCD_META_INDEX, value, &r->index) ||
           take_number(key, ETCD_META_TERM, value, &r->term) ||
           take_revision(key, ETCD_META_SCHEDULED, value, &r->scheduled) ||
           take_revision(key, ETCD_META_FINISHED, value, &r->finished));
    return OK;
}

static int take_rows(struct restore *r, struct etcd_db *db)
{
    static const struct {
        const char *bucket;
        int (*take)(void *arg, struct slice key, struct slice value);
    } buckets[] = {
        {ETCD_BUCKET_KEY, take_change},          {ETCD_BUCKET_META, take_meta_row},
        {ETCD_BUCKET_LEASE, take_lease},         {ETCD_BUCKET_ALARM, take_alarm_row},
        {ETCD_BUCKET_AUTH, take_auth_row},       {ETCD_BUCKET_AUTH_ROLES, take_role_row},
        {ETCD_BUCKET_AUTH_USERS, take_user_row},
    };
    int err = OK;
    for (size_t i = 0; !err && i < sizeof buckets / sizeof *buckets; i++)
        err = etcd_db_walk(db, buckets[i].bucket, buckets[i].take, r, r->error, r->error_size);
    return err;
}

/* --- the new cluster --------------------------------------------------------------------------------- */

static size_t restore_urls(const struct etcd_db_restore *o, const char *name, const char **ret_urls)
{
    size_t count = 0;
    for (size_t i = 0; i < o->cluster_count; i++)
        if (strcmp(o->cluster[i].name, name) == 0)
            ret_urls[count++] = o->cluster[i].peer_url;
    return count;
}

static int name_members(struct restore *r)
{
    const struct etcd_db_restore *o = r->options;
    const char **urls = mem_new((o->cluster_count + 1) * sizeof *urls);
    uint64_t ids[RAFT_MEMBERS_MAX + 1];
    for (size_t i = 0; i < o->cluster_count && r->members.count <= RAFT_MEMBERS_MAX; i++) {
        size_t count = restore_urls(o, o->cluster[i].name, urls);
        uint64_t id = identity_member_id(urls, count, o->token);
        member_set_attributes(member_set(&r->members, id, urls, count, false), o->cluster[i].name, NULL, 0);
        if (strcmp(o->cluster[i].name, o->name) == 0)
            r->restored->member_id = id;
    }
    mem_free(urls);
    if (!r->restored->member_id)
        snprintf(r->error, r->error_size, "--initial-cluster does not name \"%s\"", o->name);
    else if (r->members.count > RAFT_MEMBERS_MAX)
        snprintf(r->error, r->error_size, "--initial-cluster names more than %d members", RAFT_MEMBERS_MAX);
    else {
        for (size_t i = 0; i < r->members.count; i++)
            ids[i] = r->members.list[i].id;
        r->restored->cluster_id = identity_cluster_id(ids, r->members.count);
        return OK;
    }
    return ERR_INVALID;
}

static int add_meta_number(struct restore *r, const char *key, uint64_t number)
{
    uint8_t bytes[8];
    put_be64(bytes, number);
    return add_op(r, BACKEND_META, slice_text(key), slice_of(bytes, sizeof bytes));
}

static int add_members(struct restore *r)
{
    struct raft_conf_state conf = {0};
    uint8_t identity[SNAPSHOT_IDENTITY_SIZE];
    int err = OK;
    for (size_t i = 0; !err && i < r->members.count; i++) {
        struct buf key = {0}, value = {0};
        (void)raft_ids_add(&conf.voters, r->members.list[i].id);
        member_write_row(&r->members.list[i], &key, &value);
        err = add_op(r, BACKEND_META, buf_slice(&key), buf_slice(&value));
        buf_done(&key);
        buf_done(&value);
    }
    r->value.size = 0;
    conf_store_write(&conf, &r->value);
    if (!err)
        err = add_op(r, BACKEND_META, slice_text(CONF_STORE_KEY), buf_slice(&r->value));
    uint32_t digest = r->digest; /* of what all members have in common */
    put_be64(identity, r->restored->cluster_id);
    put_be64(identity + 8, r->restored->member_id);
    if (!err)
        err = add_op(r, BACKEND_META, slice_text(SNAPSHOT_IDENTITY_KEY), slice_of(identity, sizeof identity));
    r->digest = digest;
    return err;
}

/* The revision that was asked for must be one of the file whose state is complete in it. */
static int check_until(const struct restore *r)
{
    int64_t until = r->options->until_revision;
    if (until && until < r->scheduled) {
        snprintf(r->error, r->error_size,
                 "revision %" PRId64 " is compacted; the first one that can be restored is %" PRId64, until,
                 r->scheduled);
        return ERR_COMPACTED;
    }
    int64_t latest = r->revision > r->scheduled ? r->revision : r->scheduled;
    if (until > (latest > 1 ? latest : 1) && !r->has_left_out) {
        snprintf(r->error, r->error_size, "there is no revision %" PRId64 "; the latest one is %" PRId64,
                 until, latest > 1 ? latest : 1);
        return ERR_FUTURE_REV;
    }
    return OK;
}

static int add_marks(struct restore *r)
{
    if (r->scheduled < r->finished)
        r->scheduled = r->finished;
    int err = check_until(r);
    if (err)
        return err;
    if (r->last_change < r->revision && r->revision > r->scheduled) {
        snprintf(r->error, r->error_size, "revision %" PRId64 " is the latest one and has no change",
                 r->revision);
        return ERR_CORRUPT;
    }
    if (r->revision < r->scheduled)
        r->revision = r->scheduled;
    if (r->revision < 1)
        r->revision = 1; /* of a store without a change, as in etcd */
    if (r->options->bump_revision > (uint64_t)(INT64_MAX - r->revision)) {
        snprintf(r->error, r->error_size, "--bump-revision: revision %" PRId64 " cannot grow by %" PRIu64,
                 r->revision, r->options->bump_revision);
        return ERR_INVALID;
    }
    if (r->options->bump_revision) {
        r->revision += (int64_t)r->options->bump_revision;
        r->scheduled = r->revision;
    }
    err = add_meta_number(r, META_FORMAT, META_FORMAT_VERSION);
    if (!err && r->scheduled)
        err = add_meta_number(r, META_SCHEDULED, (uint64_t)r->scheduled);
    if (!err && r->finished)
        err = add_meta_number(r, META_FINISHED, (uint64_t)r->finished);
    return err;
}

/* The index and the term are those of the file, or more: both are above those of a member that begins
 * empty. */
static int add_applied(struct restore *r)
{
    uint8_t bytes[META_APPLIED_SIZE];
    if (r->index > INT64_MAX || r->term > INT64_MAX) {
        snprintf(r->error, r->error_size, "the index %" PRIu64 " or the term %" PRIu64 " cannot be right",
                 r->index, r->term);
        return ERR_CORRUPT;
    }
    const struct etcd_db_tail *tail = r->options->tail;
    if (tail && r->index < tail->after)
        r->index = tail->after;
    if (tail && r->term < tail->term)
        r->term = tail->term;
    r->index += ETCD_DB_FIRST_INDEX;
    r->term += 1;
    const struct meta_applied applied = {r->index, r->term, r->revision, r->digest};
    meta_applied_write(&applied, bytes);
    r->restored->revision = r->revision;
    return add_op(r, BACKEND_META, slice_text(META_APPLIED), slice_of(bytes, sizeof bytes));
}

/* --- the log ----------------------------------------------------------------------------------------- */

struct log_result {
    bool is_done;
    int err;
};

static void on_log_written(void *arg, const struct wal_result *result)
{
    *(struct log_result *)arg = (struct log_result){true, result->err};
}

static int submit_log(const struct restore *r, struct wal *wal)
{
    struct log_result written = {0};
    wal_submit(wal, true, on_log_written, &written);
    while (!written.is_done)
        r->options->run_loop(r->options->run_loop_arg);
    return written.err;
}

/* *ret_is_told: the error has its sentence. */
static int add_tail(const struct restore *r, struct wal *wal, bool *ret_is_told)
{
    const struct etcd_db_tail *tail = r->options->tail;
    size_t bytes = 0;
    int err = OK;
    for (size_t i = 0; !err && i < tail->count; i++) {
        struct wal_entry entry = {.index = r->index + 1 + i, .term = r->term, .type = RAFT_ENTRY_NORMAL};
        err = tail->read(tail->arg, i, &entry.data, r->error, r->error_size);
        *ret_is_told = err != OK;
        if (!err && entry.data.size > ENTRY_SIZE_MAX) {
            snprintf(r->error, r->error_size, "an entry of the log has %zu bytes; at most %d are possible",
                     entry.data.size, ENTRY_SIZE_MAX);
            *ret_is_told = true;
            err = ERR_LIMIT;
        }
        if (err)
            break;
        wal_add_entry(wal, &entry);
        bytes += entry.data.size + ENTRY_OVERHEAD;
        if (bytes >= COMMIT_BYTES) {
            bytes = 0;
            err = submit_log(r, wal);
        }
    }
    return err;
}

static int write_log(const struct restore *r, struct io *io)
{
    uint8_t metadata[16];
    struct wal *wal;
    bool is_told = false;
    uint64_t tail_count = r->options->tail ? r->options->tail->count : 0;
    uint64_t segment = r->options->wal_segment_bytes;
    put_be64(metadata, r->restored->cluster_id);
    put_be64(metadata + 8, r->restored->member_id);
    const struct wal_options options = {.io = io,
                                        .dir = r->options->wal_dir,
                                        .segment_size = segment      ? segment
                                                        : tail_count ? SEGMENT_SIZE
                                                                     : MARK_SEGMENT_SIZE,
                                        .metadata = slice_of(metadata, sizeof metadata)};
    const struct wal_hard_state state = {.term = r->term, .commit = r->index + tail_count};
    int err = wal_create(&options, &wal);
    if (!err) {
        wal_add_snapshot(wal, r->index, r->term);
        if (tail_count)
            err = add_tail(r, wal, &is_told);
        wal_add_hard_state(wal, &state);
        if (!err)
            err = submit_log(r, wal);
        wal_close(wal);
    }
    if (err && !is_told)
        snprintf(r->error, r->error_size, "cannot write a log in %s: %s", r->options->wal_dir, err_text(err));
    return err;
}

static int restore_replay(struct restore *r)
{
    struct etcd_db_replayed replayed = {r->index, r->term, r->revision};
    int err = r->options->replay ? r->options->replay(r->options->arg, r->options->store_path, &replayed,
                                                      r->error, r->error_size)
                                 : OK;
    r->index = replayed.index;
    r->term = replayed.term;
    r->restored->index = replayed.index;
    r->restored->revision = replayed.revision;
    return err;
}

int etcd_db_restore(struct io *io, struct etcd_db *db, const struct etcd_db_restore *options,
                    struct etcd_db_restored *ret_restored, char *error, size_t error_size)
{
    struct restore *r = mem_new(sizeof *r);
    *ret_restored = (struct etcd_db_restored){0};
    r->options = options;
    r->restored = ret_restored;
    r->error = error;
    r->error_size = error_size;
    int err = name_members(r);
    if (!err && options->backend_open)
        err = options->backend_open(io, options->store_path, MAP_BYTES, error, error_size, &r->backend);
    else if (!err)
        err = backend_lmdb_open(options->store_path, MAP_BYTES, error, error_size, &r->backend);
    /* One sync for all: a file without the mark is not opened, and the caller deletes it. */
    if (!err && !options->backend_open)
        backend_lmdb_set_synced(r->backend, false);
    if (!err)
        err = take_rows(r, db);
    if (!err)
        err = add_marks(r);
    if (!err)
        err = add_members(r);
    if (!err && !options->backend_open)
        backend_lmdb_set_synced(r->backend, true); /* the commit of the mark is after this */
    if (!err)
        err = add_applied(r);
    if (!err)
        err = restore_commit(r);
    if (r->backend)
        r->backend->ops->close(r->backend);
    if (!err)
        err = restore_replay(r);
    if (!err)
        err = write_log(r, io);
    members_done(&r->members);
    arena_done(&r->arena);
    buf_done(&r->value);
    mem_free(r);
    return err;
}
