/* SPDX-License-Identifier: Apache-2.0
 * Export in etcd's format: rows of our tables go in, etcd's buckets come out (etcd_db.h).
 *
 * Records and leases have our order in etcd's file, too, and pass through. The other tables are small, and
 * their keys sort differently there: their rows are collected, sorted and written when the last table has
 * ended. Memory: a copy of these rows, as the export itself has one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "consensus/auth/auth.h"
#include "consensus/bbolt/bbolt.h"
#include "consensus/etcd_db/buckets.h"
#include "consensus/etcd_db/etcd_db.h"
#include "consensus/feature.h"
#include "consensus/node/alarms.h"
#include "consensus/node/conf_store.h"
#include "consensus/node/members.h"
#include "consensus/store/etcd_row.h"
#include "consensus/store/meta_row.h"
#include "consensus/store/record.h"
#include "proto/lease.pb-c.h"

/* The buckets whose rows are collected. */
enum small {
    SMALL_META,
    SMALL_ALARM,
    SMALL_CLUSTER,
    SMALL_MEMBERS,
    SMALL_REMOVED,
    SMALL_AUTH,
    SMALL_USERS,
    SMALL_ROLES,
    SMALL_COUNT,
};

static const char *const small_names[SMALL_COUNT] = {
    [SMALL_META] = ETCD_BUCKET_META,
    [SMALL_ALARM] = ETCD_BUCKET_ALARM,
    [SMALL_CLUSTER] = ETCD_BUCKET_CLUSTER,
    [SMALL_MEMBERS] = ETCD_BUCKET_MEMBERS,
    [SMALL_REMOVED] = ETCD_BUCKET_MEMBERS_REMOVED,
    [SMALL_AUTH] = ETCD_BUCKET_AUTH,
    [SMALL_USERS] = ETCD_BUCKET_AUTH_USERS,
    [SMALL_ROLES] = ETCD_BUCKET_AUTH_ROLES,
};

struct row {
    struct slice key, value; /* in the arena */
};

struct rows {
    struct row *list;
    size_t count, capacity;
};

struct export_writer {
    struct bbolt_writer *bbolt;
    enum backend_table table;
    struct rows small[SMALL_COUNT];
    struct arena arena; /* of these rows */
    struct buf value;   /* of the row under way */
    int err;            /* the first row that could not be read */
};

static struct export_writer *etcd_writer_new(void)
{
    struct export_writer *w = mem_new(sizeof *w);
    w->bbolt = bbolt_writer_new();
    return w;
}

static void clear_small(struct export_writer *w)
{
    for (unsigned i = 0; i < SMALL_COUNT; i++)
        w->small[i].count = 0;
    arena_reset(&w->arena);
}

static void etcd_writer_free(struct export_writer *w)
{
    for (unsigned i = 0; i < SMALL_COUNT; i++)
        mem_free(w->small[i].list);
    arena_done(&w->arena);
    buf_done(&w->value);
    bbolt_writer_free(w->bbolt);
    mem_free(w);
}

/* --- collected rows ---------------------------------------------------------------------------------- */

static void collect(struct export_writer *w, enum small bucket, struct slice key, struct slice value)
{
    struct rows *r = &w->small[bucket];
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? r->capacity * 2 : 16;
        r->list = mem_resize(r->list, r->capacity * sizeof *r->list);
    }
    r->list[r->count++] = (struct row){slice_of(arena_copy(&w->arena, key.data, key.size), key.size),
                                       slice_of(arena_copy(&w->arena, value.data, value.size), value.size)};
}

static void collect_text(struct export_writer *w, enum small bucket, const char *key, struct slice value)
{
    collect(w, bucket, slice_text(key), value);
}

static void collect_number(struct export_writer *w, enum small bucket, const char *key, uint64_t number)
{
    uint8_t bytes[8];
    put_be64(bytes, number);
    collect_text(w, bucket, key, slice_of(bytes, sizeof bytes));
}

/* Collects what is in w->value. */
static void collect_value(struct export_writer *w, enum small bucket, const char *key)
{
    collect_text(w, bucket, key, buf_slice(&w->value));
    buf_clear(&w->value);
}

static int by_key(const void *a, const void *b)
{
    return slice_compare(((const struct row *)a)->key, ((const struct row *)b)->key);
}

static void write_small(struct export_writer *w, struct buf *out)
{
    for (unsigned i = 0; i < SMALL_COUNT; i++) {
        struct rows *r = &w->small[i];
        if (r->count)
            qsort(r->list, r->count, sizeof *r->list, by_key);
        bbolt_writer_bucket(w->bbolt, slice_text(small_names[i]), out);
        for (size_t k = 0; k < r->count; k++)
            bbolt_writer_put(w->bbolt, r->list[k].key, r->list[k].value, out);
    }
    clear_small(w);
}

/* --- META -------------------------------------------------------------------------------------------- */

static void jw_ids(struct json_writer *w, const char *name, const struct raft_ids *ids)
{
    if (!ids->count)
        return;
    jw_key(w, name);
    jw_open(w, '[');
    for (uint32_t i = 0; i < ids->count; i++)
        jw_uint(w, ids->id[i]);
    jw_close(w, ']');
}

static int take_conf_state(struct export_writer *w, struct slice value)
{
    struct raft_conf_state conf;
    struct json_writer json = {.out = &w->value};
    int err = conf_store_read(value, &conf);
    if (err)
        return err;
    jw_open(&json, '{');
    jw_ids(&json, "voters", &conf.voters);
    jw_ids(&json, "learners", &conf.learners);
    jw_ids(&json, "voters_outgoing", &conf.voters_outgoing);
    jw_ids(&json, "learners_next", &conf.learners_next);
    jw_key(&json, "auto_leave");
    jw_bool(&json, conf.auto_leave);
    jw_close(&json, '}');
    collect_value(w, SMALL_META, ETCD_META_CONF_STATE);
    return OK;
}

static int take_feature(struct export_writer *w, struct slice value)
{
    struct feature_state state;
    char version[32];
    int err = feature_state_read(value, &state);
    if (err)
        return err;
    snprintf(version, sizeof version, "3.%u.0", state.minor);
    collect_text(w, SMALL_CLUSTER, ETCD_CLUSTER_VERSION, slice_text(version));
    if (!state.target_minor)
        return OK;
    buf_addf(&w->value, "{\"target-version\":\"3.%u.0\",\"enabled\":true}", state.target_minor);
    collect_value(w, SMALL_CLUSTER, ETCD_CLUSTER_DOWNGRADE);
    return OK;
}

static void jw_texts(struct json_writer *w, const char *name, char *const *list, size_t count)
{
    jw_key(w, name);
    jw_open(w, '[');
    for (size_t i = 0; i < count; i++)
        jw_text(w, list[i]);
    jw_close(w, ']');
}

static void collect_member(struct export_writer *w, const struct member *m)
{
    struct json_writer json = {.out = &w->value};
    char key[17];
    jw_open(&json, '{');
    jw_key(&json, "id");
    jw_uint(&json, m->id);
    jw_texts(&json, "peerURLs", m->peer_urls, m->peer_url_count);
    if (m->is_learner) {
        jw_key(&json, "isLearner");
        jw_bool(&json, true);
    }
    if (*m->name) {
        jw_key(&json, "name");
        jw_text(&json, m->name);
    }
    if (m->client_url_count)
        jw_texts(&json, "clientURLs", m->client_urls, m->client_url_count);
    jw_close(&json, '}');
    snprintf(key, sizeof key, "%" PRIx64, m->id);
    collect_value(w, SMALL_MEMBERS, key);
}

static int take_member(struct export_writer *w, struct slice key, struct slice value)
{
    struct members members = {0};
    int err = members_read_row(&members, key, value);
    for (size_t i = 0; !err && i < members.count; i++)
        collect_member(w, &members.list[i]);
    for (size_t i = 0; !err && i < members.removed_count; i++) {
        char id[17];
        snprintf(id, sizeof id, "%" PRIx64, members.removed[i]);
        collect_text(w, SMALL_REMOVED, id, slice_text("removed"));
    }
    members_done(&members);
    return err;
}

static int take_applied(struct export_writer *w, struct slice value)
{
    struct meta_applied applied;
    if (!meta_applied_read(value, &applied))
        return ERR_CORRUPT;
    collect_number(w, SMALL_META, ETCD_META_INDEX, applied.index);
    collect_number(w, SMALL_META, ETCD_META_TERM, applied.term);
    collect_text(w, SMALL_META, ETCD_META_STORAGE_VERSION, slice_text(ETCD_VERSION));
    return OK;
}

static int take_compaction(struct export_writer *w, const char *key, struct slice value)
{
    uint8_t bytes[ETCD_ROW_KEY_SIZE_MAX];
    if (value.size != 8)
        return ERR_CORRUPT;
    size_t size = etcd_row_key((struct revision){.main = (int64_t)get_be64(value.data)}, false, bytes);
    collect_text(w, SMALL_META, key, slice_of(bytes, size));
    return OK;
}

static int take_meta(struct export_writer *w, struct slice key, struct slice value)
{
    if (slice_equal(key, slice_text(META_APPLIED)))
        return take_applied(w, value);
    if (slice_equal(key, slice_text(META_SCHEDULED)))
        return take_compaction(w, ETCD_META_SCHEDULED, value);
    if (slice_equal(key, slice_text(META_FINISHED)))
        return take_compaction(w, ETCD_META_FINISHED, value);
    if (slice_equal(key, slice_text(CONF_STORE_KEY)))
        return take_conf_state(w, value);
    if (slice_equal(key, slice_text(FEATURE_STORE_KEY)))
        return take_feature(w, value);
    return take_member(w, key, value);
}

/* --- the other tables -------------------------------------------------------------------------------- */

static struct slice pack(struct export_writer *w, const ProtobufCMessage *m)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    buf_clear(&w->value);
    protobuf_c_message_pack(m, buf_reserve(&w->value, size));
    w->value.size = size;
    return buf_slice(&w->value);
}

static int put_record(struct export_writer *w, struct slice key, struct slice value, struct buf *out)
{
    struct record record;
    uint8_t bytes[ETCD_ROW_KEY_SIZE_MAX];
    struct revision revision = revision_decode(key.data);
    int err = record_decode(value, revision, true, &record);
    if (err)
        return err;
    size_t size = etcd_row_key(revision, !record.version, bytes);
    buf_clear(&w->value);
    etcd_row_value(&record, revision, &w->value);
    bbolt_writer_put(w->bbolt, slice_of(bytes, size), buf_slice(&w->value), out);
    return OK;
}

static int put_lease(struct export_writer *w, struct slice key, struct slice value, struct buf *out)
{
    Leasepb__Lease m = LEASEPB__LEASE__INIT;
    if (key.size != 8 || value.size != 16)
        return ERR_CORRUPT;
    m.id = (int64_t)get_be64(key.data);
    m.ttl = (int64_t)get_be64(value.data);
    m.remainingttl = (int64_t)get_be64(value.data + 8);
    bbolt_writer_put(w->bbolt, key, pack(w, &m.base), out);
    return OK;
}

static int take_alarm(struct export_writer *w, struct slice key)
{
    struct alarms alarms = {0};
    alarms_read_row(&alarms, key);
    for (size_t i = 0; i < alarms.count; i++)
        collect(w, SMALL_ALARM, pack(w, &alarms.list[i].base), (struct slice){0});
    buf_clear(&w->value);
    alarms_done(&alarms);
    return OK;
}

/* The name of the row, if its key begins with the prefix; else size 0. */
static struct slice name_after(struct slice key, const char *prefix)
{
    size_t size = strlen(prefix);
    bool begins = key.size > size && memcmp(key.data, prefix, size) == 0;
    return begins ? slice_of(key.data + size, key.size - size) : (struct slice){0};
}

static int take_user(struct export_writer *w, struct slice name, struct slice value)
{
    Authpb__User *m = authpb__user__unpack(NULL, value.size, value.data);
    if (!m)
        return ERR_CORRUPT;
    m->credential_revision = 0; /* ours alone */
    collect(w, SMALL_USERS, name, pack(w, &m->base));
    buf_clear(&w->value);
    authpb__user__free_unpacked(m, NULL);
    return OK;
}

static int take_auth(struct export_writer *w, struct slice key, struct slice value)
{
    struct slice user = name_after(key, AUTH_ROW_USER), role = name_after(key, AUTH_ROW_ROLE);
    if (user.size)
        return take_user(w, user, value);
    if (role.size)
        collect(w, SMALL_ROLES, role, value);
    else if (slice_equal(key, slice_text(AUTH_ROW_ENABLED)))
        collect_text(w, SMALL_AUTH, ETCD_AUTH_ENABLED, value);
    else if (slice_equal(key, slice_text(AUTH_ROW_REVISION)))
        collect_text(w, SMALL_AUTH, ETCD_AUTH_REVISION, value);
    else
        return ERR_CORRUPT;
    return OK;
}

/* --- the format -------------------------------------------------------------------------------------- */

static void etcd_table(struct export_writer *w, enum backend_table table, struct buf *out)
{
    w->table = table;
    if (table == BACKEND_RECORDS)
        bbolt_writer_bucket(w->bbolt, slice_text(ETCD_BUCKET_KEY), out);
    else if (table == BACKEND_LEASES)
        bbolt_writer_bucket(w->bbolt, slice_text(ETCD_BUCKET_LEASE), out);
}

static int take_row(struct export_writer *w, struct slice key, struct slice value, struct buf *out)
{
    switch (w->table) {
    case BACKEND_RECORDS:
        return put_record(w, key, value, out);
    case BACKEND_META:
        return take_meta(w, key, value);
    case BACKEND_LEASES:
        return put_lease(w, key, value, out);
    case BACKEND_ALARMS:
        return take_alarm(w, key);
    case BACKEND_AUTH:
        return take_auth(w, key, value);
    case BACKEND_TABLES:
        break;
    }
    return ERR_CORRUPT;
}

static void etcd_row(struct export_writer *w, struct slice key, struct slice value, struct buf *out)
{
    int err = w->err ? w->err : take_row(w, key, value, out);
    if (err && !w->err)
        w->err = err;
}

static uint64_t etcd_plan(struct export_writer *w, struct buf *out)
{
    write_small(w, out);
    return bbolt_writer_plan(w->bbolt, out);
}

static int etcd_finish(struct export_writer *w, struct buf *out)
{
    write_small(w, out);
    int err = bbolt_writer_finish(w->bbolt, out);
    return w->err ? w->err : err;
}

const struct export_format export_etcd = {
    .new = etcd_writer_new,
    .table = etcd_table,
    .row = etcd_row,
    .plan = etcd_plan,
    .finish = etcd_finish,
    .free = etcd_writer_free,
};
