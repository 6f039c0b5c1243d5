/* SPDX-License-Identifier: Apache-2.0
 * etcd's database file in process: a store is exported, the file is read, hashed and restored, and equals the
 * one from before. Damaged rows are refused. etcd itself judges the same files in tests/interop (snapshots). */
#include "consensus/etcd_db/etcd_db.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/auth/auth.h"
#include "consensus/etcd_db/buckets.h"
#include "consensus/node/alarms.h"
#include "consensus/node/conf_store.h"
#include "consensus/node/members.h"
#include "consensus/node/snapshot_install.h"
#include "consensus/store/etcd_row.h"
#include "consensus/store/export.h"
#include "consensus/store/lease.h"
#include "consensus/store/meta_row.h"
#include "consensus/wal/wal.h"
#include "proto/auth.pb-c.h"
#include "proto/lease.pb-c.h"
#include "tests/sim/sim_io.h"
#include "tests/unit/made_rows.h"
#include "unit.h"

enum { VALUE_MAX = 3 << 20, MAP = 1 << 28 };

static uint64_t seed = 1;

static uint64_t draw(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (seed >> 33) % below;
}

/* --- a store on a simulated disk --------------------------------------------------------------------- */

struct rig {
    struct sim_disk *disk;
    struct sim_clock clock;
    struct io *io;
    struct lease_table *leases;
    struct store *store;
    struct arena arena;
};

static bool add_lease(void *arg, struct slice key, struct slice value)
{
    assert_int_equal(key.size, 8);
    assert_int_equal(value.size, 16);
    lease_restore(arg, (int64_t)get_be64(key.data), (int64_t)get_be64(value.data),
                  (int64_t)get_be64(value.data + 8));
    return true;
}

static void rig_open(struct rig *r, const char *path)
{
    char error[256] = "";
    struct backend *backend;
    struct backend_view *view;
    assert_int_equal(backend_memory_open(r->io, path, MAP, error, sizeof error, &backend), OK);
    r->leases = lease_table_new(1);
    assert_int_equal(backend->ops->view_open(backend, &view), OK);
    assert_int_equal(backend->ops->scan(view, BACKEND_LEASES, (struct slice){0}, add_lease, r->leases), OK);
    backend->ops->view_close(backend, view);
    struct store_options options = {.io = r->io,
                                    .backend = backend,
                                    .leases = r->leases,
                                    .commit_interval_ms = 100,
                                    .commit_ops = 400,
                                    .compaction_batch = 3,
                                    .compaction_sleep_ms = 1000,
                                    .max_txn_ops = 128};
    if (store_open(&options, error, sizeof error, &r->store) != OK)
        fail_msg("%s", error);
    store_attach_leases(r->store);
}

static struct rig rig_new(void)
{
    struct rig r = {.disk = sim_disk_new()};
    return r;
}

/* The clock must not move after its io has it: the rig has its place now. */
static void rig_start(struct rig *r)
{
    r->io = sim_io_new(&(struct sim_io_options){.disk = r->disk, .clock = &r->clock, .seed = 1});
}

static void rig_close_store(struct rig *r)
{
    store_close(r->store);
    sim_clock_run(&r->clock);
    lease_table_free(r->leases);
}

static void rig_free(struct rig *r)
{
    sim_clock_run(&r->clock);
    sim_io_free(r->io);
    sim_clock_done(&r->clock);
    sim_disk_free(r->disk);
    arena_done(&r->arena);
}

static void begin(struct rig *r)
{
    store_begin(r->store, store_applied_index(r->store) + 1, 7);
}

static void end(struct rig *r)
{
    store_end(r->store);
    arena_reset(&r->arena);
    store_turn(r->store);
}

static ProtobufCBinaryData bytes_of(const char *text, size_t size)
{
    return (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)text};
}

static void put(struct rig *r, const char *key, size_t size, int64_t lease)
{
    static char value[VALUE_MAX];
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    for (size_t i = 0; i < size; i += 61)
        value[i] = (char)draw(256);
    m.key = bytes_of(key, strlen(key));
    m.value = bytes_of(value, size);
    m.lease = lease;
    begin(r);
    assert_int_equal(store_put(r->store, &m, &r->arena, NULL), OK);
    end(r);
}

static void erase(struct rig *r, const char *key)
{
    Etcdserverpb__DeleteRangeRequest m = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    m.key = bytes_of(key, strlen(key));
    begin(r);
    assert_int_equal(store_delete_range(r->store, &m, &r->arena, NULL), OK);
    end(r);
}

static void compact(struct rig *r, int64_t revision)
{
    begin(r);
    assert_int_equal(store_compact(r->store, revision), OK);
    end(r);
}

static void set(struct rig *r, enum backend_table table, struct slice key, struct slice value)
{
    begin(r);
    store_set(r->store, table, key, value);
    end(r);
}

static void grant(struct rig *r, int64_t id, int64_t ttl, int64_t remaining)
{
    uint8_t key[8], value[16];
    int64_t granted;
    put_be64(key, (uint64_t)id);
    put_be64(value, (uint64_t)ttl);
    put_be64(value + 8, (uint64_t)remaining);
    assert_int_equal(lease_grant(r->leases, id, ttl, 0, &granted), OK);
    set(r, BACKEND_LEASES, slice_of(key, 8), slice_of(value, 16));
}

static void pack_row(struct rig *r, const char *prefix, const char *name, const ProtobufCMessage *m)
{
    struct buf key = {0}, value = {0};
    buf_addf(&key, "%s%s", prefix, name);
    size_t size = protobuf_c_message_get_packed_size(m);
    protobuf_c_message_pack(m, buf_reserve(&value, size));
    value.size = size;
    set(r, BACKEND_AUTH, buf_slice(&key), buf_slice(&value));
    buf_done(&key);
    buf_done(&value);
}

static void add_user(struct rig *r, const char *name)
{
    Authpb__User m = AUTHPB__USER__INIT;
    char *roles[] = {(char *)(uintptr_t) "reader"};
    m.name = bytes_of(name, strlen(name));
    m.password = bytes_of("$2b$10$x", 8);
    m.roles = roles;
    m.n_roles = 1;
    m.credential_revision = 9;
    pack_row(r, AUTH_ROW_USER, name, &m.base);
}

static void add_role(struct rig *r, const char *name)
{
    Authpb__Role m = AUTHPB__ROLE__INIT;
    m.name = bytes_of(name, strlen(name));
    pack_row(r, AUTH_ROW_ROLE, name, &m.base);
}

/* --- the file ---------------------------------------------------------------------------------------- */

static void nothing(void *arg)
{
    (void)arg;
}

/* A snapshot of the store, with its SHA-256. */
static struct buf export_store(struct rig *r)
{
    struct buf file = {0};
    uint8_t digest[EXPORT_DIGEST_SIZE];
    struct store_export *x = store_export_new(r->store, &export_etcd, nothing, NULL);
    while (!store_export_is_done(x)) {
        struct slice block;
        int err = store_export_next(x, &block);
        if (err)
            fail_msg("export: %s", err_text(err));
        buf_add_slice(&file, block);
        store_turn(r->store);
        if (!block.size)
            (void)sim_clock_step(&r->clock);
    }
    assert_int_equal(file.size, store_export_size(x));
    store_export_digest(x, digest);
    buf_add(&file, digest, sizeof digest);
    store_export_close(x);
    return file;
}

static int read_bytes(void *arg, uint64_t offset, void *ret_bytes, size_t size)
{
    const struct buf *file = arg;
    assert_true(offset + size <= file->size);
    memcpy(ret_bytes, file->data + offset, size);
    return OK;
}

static struct bbolt_source source_of(struct buf *file)
{
    return (struct bbolt_source){.read = read_bytes, .arg = file, .size = file->size};
}

static struct etcd_db *open_file(struct buf *file)
{
    char error[256] = "";
    struct etcd_db *db;
    struct bbolt_source source = source_of(file);
    if (etcd_db_open(&source, "file", ETCD_DB_CHECK_IF_ANY, error, sizeof error, &db) != OK)
        fail_msg("%s", error);
    return db;
}

static void step(void *arg)
{
    assert_true(sim_clock_step(arg));
}

static const struct etcd_db_member three[] = {{"a", "http://127.0.0.1:1"},
                                              {"b", "http://127.0.0.1:3"},
                                              {"c", "http://127.0.0.1:5"},
                                              {"c", "http://[::1]:5"}};

/* Restores the file as member `name` on a disk of its own; `until` 0 = all of it. */
static int restore_until(struct rig *r, struct buf *file, const char *name, int64_t until, uint64_t bump,
                         struct etcd_db_restored *ret, char error[256])
{
    struct etcd_db *db = open_file(file);
    const struct etcd_db_restore options = {.store_path = "m/store",
                                            .wal_dir = "m/wal",
                                            .name = name,
                                            .token = "token",
                                            .cluster = three,
                                            .cluster_count = COUNT_OF(three),
                                            .until_revision = until,
                                            .bump_revision = bump,
                                            .backend_open = backend_memory_open,
                                            .run_loop = step,
                                            .run_loop_arg = &r->clock};
    rig_start(r);
    assert_int_equal(r->io->ops->mkdir(r->io, "m"), OK);
    *error = 0;
    int err = etcd_db_restore(r->io, db, &options, ret, error, 256);
    assert_true(!err == !*error);
    etcd_db_close(db);
    return err;
}

static int restore_as(struct rig *r, struct buf *file, const char *name, uint64_t bump,
                      struct etcd_db_restored *ret, char error[256])
{
    return restore_until(r, file, name, 0, bump, ret, error);
}

/* --- comparing --------------------------------------------------------------------------------------- */

struct listing {
    struct buf text;
    enum backend_table table;
};

/* The revision of a password is Cairn's alone and is not exported. */
static void add_listed_user(struct listing *l, struct slice value)
{
    Authpb__User *m = authpb__user__unpack(NULL, value.size, value.data);
    assert_non_null(m);
    m->credential_revision = 0;
    size_t size = protobuf_c_message_get_packed_size(&m->base);
    protobuf_c_message_pack(&m->base, buf_reserve(&l->text, size));
    l->text.size += size;
    authpb__user__free_unpacked(m, NULL);
}

static bool list_row(void *arg, struct slice key, struct slice value)
{
    struct listing *l = arg;
    bool is_user = l->table == BACKEND_AUTH && key.size > 5 && memcmp(key.data, AUTH_ROW_USER, 5) == 0;
    buf_addf(&l->text, "[%zu]", key.size);
    buf_add_slice(&l->text, key);
    if (is_user)
        add_listed_user(l, value);
    else if (l->table != BACKEND_ALARMS)
        buf_add_slice(&l->text, value);
    return true;
}

static void same_table(struct rig *a, struct rig *b, enum backend_table table)
{
    struct listing one = {.table = table}, two = {.table = table};
    assert_int_equal(store_scan(a->store, table, list_row, &one), OK);
    assert_int_equal(store_scan(b->store, table, list_row, &two), OK);
    assert_int_equal(one.text.size, two.text.size);
    assert_int_equal(slice_compare(buf_slice(&one.text), buf_slice(&two.text)), 0);
    buf_done(&one.text);
    buf_done(&two.text);
}

static uint32_t hash_of(struct rig *r, int64_t revision, int64_t *ret_compact)
{
    Etcdserverpb__HashKVResponse m = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    assert_int_equal(store_hash_kv(r->store, revision, &m), OK);
    *ret_compact = m.compact_revision;
    return m.hash;
}

/* The hash of the file is the store's, at every revision. */
static void same_hashes(struct rig *r, struct buf *file)
{
    struct etcd_db *db = open_file(file);
    char error[256];
    int64_t from = store_compact_revision(r->store) > 0 ? store_compact_revision(r->store) : 1;
    for (int64_t at = from; at <= store_revision(r->store); at++) {
        struct etcd_db_hash h;
        int64_t compact_revision;
        uint32_t hash = hash_of(r, at, &compact_revision);
        assert_int_equal(etcd_db_hash_kv(db, at, &h, error, sizeof error), OK);
        if (h.hash != hash || h.revision != at || h.compact_revision != compact_revision)
            fail_msg("revision %d: %x, not %x; compacted %d, not %d", (int)at, h.hash, hash,
                     (int)h.compact_revision, (int)compact_revision);
    }
    struct etcd_db_hash h;
    assert_int_equal(etcd_db_hash_kv(db, store_revision(r->store) + 1, &h, error, sizeof error),
                     ERR_FUTURE_REV);
    if (from > 1)
        assert_int_equal(etcd_db_hash_kv(db, from - 1, &h, error, sizeof error), ERR_COMPACTED);
    etcd_db_close(db);
}

static void same_stores(struct rig *a, struct rig *b)
{
    int64_t one, two;
    assert_int_equal(store_revision(a->store), store_revision(b->store));
    assert_int_equal(store_compact_revision(a->store), store_compact_revision(b->store));
    assert_int_equal(hash_of(a, 0, &one), hash_of(b, 0, &two));
    assert_int_equal(one, two);
    same_table(a, b, BACKEND_LEASES);
    same_table(a, b, BACKEND_ALARMS);
    same_table(a, b, BACKEND_AUTH);
    int64_t *ids;
    size_t count = lease_list(a->leases, &ids);
    assert_int_equal(count, lease_count(b->leases));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(lease_key_count(a->leases, ids[i]), lease_key_count(b->leases, ids[i]));
    mem_free(ids);
}

/* --- what was restored beside the keys ---------------------------------------------------------------- */

struct log_content {
    struct wal_hard_state state;
    uint64_t index, term;
    unsigned entries;
};

static int note_entry(void *arg, const struct wal_entry *entry)
{
    (void)entry;
    ((struct log_content *)arg)->entries++;
    return OK;
}

static int note_state(void *arg, const struct wal_hard_state *state)
{
    ((struct log_content *)arg)->state = *state;
    return OK;
}

static int note_snapshot(void *arg, uint64_t index, uint64_t term)
{
    ((struct log_content *)arg)->index = index;
    ((struct log_content *)arg)->term = term;
    return OK;
}

static void right_log(struct rig *r, const struct etcd_db_restored *d)
{
    struct log_content content = {0};
    struct buf metadata = {0};
    struct wal *wal;
    char error[256];
    const struct wal_options options = {.io = r->io, .dir = "m/wal", .segment_size = 8 << 20};
    const struct wal_replay replay = {note_entry, note_state, note_snapshot, &content};
    assert_int_equal(wal_open(&options, &replay, &metadata, error, sizeof error, &wal), OK);
    assert_int_equal(metadata.size, 16);
    assert_true(get_be64(metadata.data) == d->cluster_id && get_be64(metadata.data + 8) == d->member_id);
    assert_int_equal(content.entries, 0);
    assert_int_equal(content.index, store_applied_index(r->store));
    assert_int_equal(content.term, store_applied_term(r->store));
    assert_int_equal(content.state.term, content.term);
    assert_int_equal(content.state.commit, content.index);
    wal_close(wal);
    sim_clock_run(&r->clock);
    buf_done(&metadata);
}

static void right_cluster(struct rig *r, const struct etcd_db_restored *d)
{
    struct members members = {0};
    struct raft_conf_state conf;
    struct slice identity;
    assert_int_equal(members_load(&members, r->store), OK);
    assert_int_equal(members.count, 3);
    assert_int_equal(conf_store_load(r->store, &conf), OK);
    assert_int_equal(conf.voters.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct member *m = &members.list[i];
        assert_int_equal(m->peer_url_count, strcmp(m->name, "c") == 0 ? 2 : 1);
    }
    assert_int_equal(
        store_get(r->store, BACKEND_META, slice_text(SNAPSHOT_IDENTITY_KEY), &r->arena, &identity), OK);
    assert_true(get_be64(identity.data) == d->cluster_id && get_be64(identity.data + 8) == d->member_id);
    members_done(&members);
}

/* Exports, restores as each of three members, compares; the copy is a store that takes writes and whose own
 * export has the same hash. */
static void round_trip(struct rig *r)
{
    struct buf file = export_store(r);
    uint64_t cluster = 0, digest = 0, index = store_applied_index(r->store);
    char error[256];
    same_hashes(r, &file);
    for (size_t i = 0; i < 3; i++) {
        struct rig copy = rig_new();
        struct etcd_db_restored d;
        if (restore_as(&copy, &file, three[i].name, 0, &d, error) != OK)
            fail_msg("%s", error);
        sim_clock_run(&copy.clock);
        rig_open(&copy, "m/store");
        assert_int_equal(d.revision, store_revision(r->store));
        assert_true(store_applied_index(copy.store) > index);
        same_stores(r, &copy);
        right_cluster(&copy, &d);
        right_log(&copy, &d);
        assert_true(i == 0 || (cluster == d.cluster_id && digest == store_digest(copy.store)));
        cluster = d.cluster_id;
        digest = store_digest(copy.store);
        struct buf again = export_store(&copy);
        same_hashes(&copy, &again);
        buf_done(&again);
        put(&copy, "k1", 100, 0);
        rig_close_store(&copy);
        rig_free(&copy);
    }
    buf_done(&file);
}

static void start(struct rig *r)
{
    *r = rig_new();
    rig_start(r);
    rig_open(r, "store");
}

static void finish(struct rig *r)
{
    rig_close_store(r);
    rig_free(r);
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void test_empty(void **state)
{
    struct rig r;
    (void)state;
    start(&r);
    set(&r, BACKEND_META, slice_text("other"), slice_text("row"));
    round_trip(&r);
    finish(&r);
}

static void fill(struct rig *r, unsigned count, unsigned keys)
{
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", (unsigned)draw(keys));
        if (draw(4) == 0)
            erase(r, key);
        else
            put(r, key, draw(8) ? draw(200) : draw(9000), 0);
    }
}

static void test_everything(void **state)
{
    struct rig r;
    uint8_t number[8], alarm[9] = {0};
    (void)state;
    start(&r);
    fill(&r, 300, 40);
    grant(&r, 77, 600, 0);
    grant(&r, INT64_MAX, 9000000000, 12);
    put(&r, "leased1", 10, 77);
    put(&r, "leased2", 10, 77);
    add_role(&r, "root");
    add_role(&r, "reader");
    add_user(&r, "root");
    add_user(&r, "zoe");
    put_be64(number, 5);
    set(&r, BACKEND_AUTH, slice_text(AUTH_ROW_REVISION), slice_of(number, 8));
    set(&r, BACKEND_AUTH, slice_text(AUTH_ROW_ENABLED), slice_of((const uint8_t *)"\1", 1));
    put_be64(alarm, 12345);
    alarm[8] = 1;
    set(&r, BACKEND_ALARMS, slice_of(alarm, 9), slice_text("1"));
    round_trip(&r);
    finish(&r);
}

static int gather(void *arg, struct slice bytes)
{
    buf_add_slice(arg, bytes);
    return OK;
}

static int refuse(void *arg, struct slice bytes)
{
    (void)arg;
    (void)bytes;
    return ERR_NO_DISK_SPACE;
}

/* The store's own file, without a store: the same bytes as an export. */
static void test_convert(void **state)
{
    struct rig r;
    struct backend *b;
    struct buf converted = {0};
    char error[256] = "";
    (void)state;
    start(&r);
    fill(&r, 300, 40);
    put(&r, "large", VALUE_MAX, 0);
    grant(&r, 77, 600, 0);
    add_user(&r, "zoe");
    struct buf exported = export_store(&r);
    rig_close_store(&r);
    assert_int_equal(backend_memory_open(r.io, "store", MAP, error, sizeof error, &b), OK);
    assert_int_equal(etcd_db_convert(b, gather, &converted), OK);
    assert_int_equal(converted.size, exported.size);
    assert_memory_equal(converted.data, exported.data, exported.size);
    assert_int_equal(etcd_db_convert(b, refuse, NULL), ERR_NO_DISK_SPACE);
    b->ops->close(b);
    buf_done(&converted);
    buf_done(&exported);
    rig_free(&r);
}

static void test_large_values(void **state)
{
    struct rig r;
    (void)state;
    start(&r);
    put(&r, "a", 1 << 20, 0);
    put(&r, "b", VALUE_MAX, 0);
    put(&r, "c", 0, 0);
    put(&r, "b", 2 << 20, 0);
    round_trip(&r);
    finish(&r);
}

/* The sweep has done nothing, or a part. Also with no key left, which etcd hashes by another rule. */
static void test_compactions(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        struct rig r;
        start(&r);
        fill(&r, 80, 10);
        compact(&r, 2 + (int64_t)draw((uint64_t)store_revision(r.store) - 2));
        for (unsigned n = (unsigned)draw(12); n; n--) {
            (void)sim_clock_step(&r.clock);
            store_turn(r.store);
        }
        if (i % 3 == 1)
            fill(&r, 5, 10);
        for (unsigned k = 0; k < 10 && i % 3 == 2; k++) {
            char key[16];
            snprintf(key, sizeof key, "k%u", k);
            erase(&r, key);
        }
        if (i % 4 == 3 && store_compact_revision(r.store) < store_revision(r.store))
            compact(&r, store_revision(r.store));
        round_trip(&r);
        finish(&r);
    }
}

static void test_bump(void **state)
{
    struct rig r, copy = rig_new();
    struct etcd_db_restored d;
    char error[256];
    (void)state;
    start(&r);
    fill(&r, 50, 10);
    int64_t revision = store_revision(r.store);
    struct buf file = export_store(&r);
    assert_int_equal(restore_as(&copy, &file, "a", 1000, &d, error), OK);
    sim_clock_run(&copy.clock);
    rig_open(&copy, "m/store");
    assert_int_equal(store_revision(copy.store), revision + 1000);
    assert_int_equal(store_compact_revision(copy.store), revision + 1000);
    put(&copy, "k1", 10, 0);
    assert_int_equal(store_revision(copy.store), revision + 1001);
    finish(&copy);
    copy = rig_new();
    assert_int_equal(restore_as(&copy, &file, "a", INT64_MAX, &d, error), ERR_INVALID);
    assert_non_null(strstr(error, "--bump-revision: revision"));
    rig_free(&copy);
    buf_done(&file);
    finish(&r);
}

/* A restore until each revision of a store: its history has the store's hash there, and a change follows it. */
static void test_until(void **state)
{
    struct rig r;
    struct etcd_db_restored d;
    char error[256];
    (void)state;
    start(&r);
    fill(&r, 60, 7);
    compact(&r, 20);
    int64_t latest = store_revision(r.store);
    struct buf file = export_store(&r);
    for (int64_t until = 18; until <= latest + 1; until++) {
        struct rig copy = rig_new();
        int err = restore_until(&copy, &file, "a", until, 0, &d, error);
        sim_clock_run(&copy.clock);
        if (until < 20 || until > latest) {
            assert_int_equal(err, until < 20 ? ERR_COMPACTED : ERR_FUTURE_REV);
            assert_non_null(
                strstr(error, until < 20 ? "the first one that can be restored is 20" : "the latest one is"));
            rig_free(&copy);
            continue;
        }
        assert_int_equal(err, OK);
        rig_open(&copy, "m/store");
        assert_int_equal(store_revision(copy.store), until);
        int64_t compacted, compacted_copy;
        assert_int_equal(hash_of(&copy, 0, &compacted_copy), hash_of(&r, until, &compacted));
        assert_int_equal(compacted_copy, compacted);
        put(&copy, "new", 10, 0);
        assert_int_equal(store_revision(copy.store), until + 1);
        finish(&copy);
    }
    buf_done(&file);
    finish(&r);
}

static void test_status(void **state)
{
    struct rig r;
    struct etcd_db_status s;
    char error[256];
    (void)state;
    start(&r);
    put(&r, "a", 1, 0);
    put(&r, "b", 1, 0);
    put(&r, "a", 2, 0);
    erase(&r, "b");
    struct buf file = export_store(&r);
    struct etcd_db *db = open_file(&file);
    assert_int_equal(etcd_db_read_status(db, &s, error, sizeof error), OK);
    assert_int_equal(s.revision, 5);
    assert_int_equal(s.keys, 1);
    assert_int_equal(s.size, file.size - ETCD_DB_DIGEST_SIZE);
    assert_string_equal(s.version, ETCD_VERSION);
    etcd_db_close(db);
    buf_done(&file);
    finish(&r);
}

/* --- files that no store wrote ------------------------------------------------------------------------ */

static void refused(const struct made_row *rows, size_t count, int err, const char *says)
{
    struct rig copy = rig_new();
    struct etcd_db_restored d;
    char error[256];
    struct buf file = make_file(rows, count);
    int got = restore_as(&copy, &file, "a", 0, &d, error);
    if (got != err || !strstr(error, says))
        fail_msg("%s: \"%s\", not \"%s\"", err_name(got), error, says);
    rig_free(&copy);
    buf_done(&file);
}

static struct slice change(struct arena *a, int64_t main, uint32_t sub, bool is_tombstone)
{
    uint8_t *key = arena_alloc(a, ETCD_ROW_KEY_SIZE_MAX);
    return slice_of(key, etcd_row_key((struct revision){main, sub}, is_tombstone, key));
}

static struct slice key_value(struct arena *a, const char *key, int64_t create, int64_t mod, int64_t version,
                              int64_t lease)
{
    struct buf value = {0};
    struct record record = {.key = slice_text(key),
                            .value = slice_text("v"),
                            .create_revision = create,
                            .version = version,
                            .lease = lease};
    etcd_row_value(&record, (struct revision){.main = mod}, &value);
    struct slice copy = slice_of(arena_copy(a, value.data, value.size), value.size);
    buf_done(&value);
    return copy;
}

static void test_refused_rows(void **state)
{
    struct arena a = {0};
    char *long_name = arena_alloc(&a, 300);
    struct slice ok = key_value(&a, "k", 2, 2, 1, 0), id = slice_text("12345678");
    (void)state;
    memset(long_name, 'x', 299);
    long_name[299] = 0;
    const struct {
        struct made_row row;
        const char *says;
        int err;
    } cases[] = {
        {{"key", slice_text("short"), ok}, "a row of the bucket key cannot be read (its key has 5 bytes)", 0},
        {{"key", change(&a, 2, 0, false), slice_text("\xff")}, "a row of the bucket key cannot be read", 0},
        {{"key", change(&a, 3, 0, false), ok}, "a row of the bucket key", 0},
        {{"key", change(&a, 2, 0, true), ok}, "a row of the bucket key", 0},
        {{"key", change(&a, 0, 1, false), key_value(&a, "k", 1, 0, 1, 0)}, "a row of the bucket key", 0},
        {{"key", change(&a, 0, 1, true), key_value(&a, "k", 0, 0, 0, 0)}, "a row of the bucket key", 0},
        {{"key", change(&a, 2, 0, false), {0}}, "revision 2 is the latest one and has no change", 0},
        {{"key", change(&a, 2, 0, false), key_value(&a, "k", 3, 2, 1, 0)}, "a row of the bucket key", 0},
        {{"key", change(&a, 2, 0, false), key_value(&a, "k", 2, 2, -1, 0)}, "a row of the bucket key", 0},
        {{"key", change(&a, 2, 0, false), key_value(&a, "", 2, 2, 1, 0)}, "a row of the bucket key", 0},
        {{"lease", id, slice_text("\xff")}, "a row of the bucket lease", 0},
        {{"lease", id, lease_value(&a, 0, 5, 0)}, "a row of the bucket lease", 0},
        {{"lease", id, lease_value(&a, 5, 0, 0)}, "a row of the bucket lease", 0},
        {{"lease", id, lease_value(&a, 5, INT64_MAX, 0)}, "a row of the bucket lease", 0},
        {{"lease", id, lease_value(&a, 5, 5, -1)}, "a row of the bucket lease", 0},
        {{"alarm", slice_text("\xff"), {0}}, "a row of the bucket alarm", 0},
        {{"auth", slice_text("authEnabled"), slice_text("12")}, "a row of the bucket auth cannot", 0},
        {{"auth", slice_text("authRevision"), slice_text("1")}, "a row of the bucket auth cannot", 0},
        {{"auth", slice_text("other"), slice_text("1")}, "a row of the bucket auth cannot", 0},
        {{"authUsers", slice_text("joe"), slice_text("\xff")}, "a row of the bucket authUsers", 0},
        {{"authUsers", slice_text("joe"), slice_text("")}, "a row of the bucket authUsers", 0},
        {{"authRoles", slice_text("joe"), slice_text("\xff")}, "a row of the bucket authRoles", 0},
        {{"meta", slice_text("consistent_index"), slice_text("\xff\xff\xff\xff\xff\xff\xff\xff")},
         "the index 18446744073709551615",
         0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        refused(&cases[i].row, 1, cases[i].err ? cases[i].err : ERR_CORRUPT, cases[i].says);
    Authpb__User user = AUTHPB__USER__INIT;
    user.name = bytes_of(long_name, 299);
    struct buf packed = {0};
    size_t size = protobuf_c_message_get_packed_size(&user.base);
    protobuf_c_message_pack(&user.base, buf_reserve(&packed, size));
    packed.size = size;
    const struct made_row row = {"authUsers", slice_text(long_name), buf_slice(&packed)};
    refused(&row, 1, ERR_LIMIT, "has 299 bytes; at most 256");
    buf_done(&packed);
    const struct made_row same_revision[] = {
        {"key", change(&a, 2, 0, false), ok},
        {"key", change(&a, 2, 0, true), key_value(&a, "k", 0, 0, 0, 0)},
    };
    refused(same_revision, 2, ERR_CORRUPT, "a row of the bucket key cannot be read (its key has 18 bytes)");
    arena_done(&a);
}

/* Keys whose lease is not in the file, an empty row of etcdutl's --bump-revision, a compaction that is marked
 * finished and not scheduled, buckets that are not there: all of that is a store. */
static void test_odd_files(void **state)
{
    struct arena a = {0};
    struct rig copy = rig_new();
    struct etcd_db_restored d;
    struct etcd_db_status status;
    struct etcd_db_hash hash;
    char error[256];
    (void)state;
    const struct made_row rows[] = {
        {"key", change(&a, 2, 0, false), key_value(&a, "k", 2, 2, 1, 99)},
        {"key", change(&a, 3, 0, true), key_value(&a, "gone", 0, 0, 0, 0)},
        {"key", change(&a, 50, 0, false), {0}},
        {"meta", slice_text("finishedCompactRev"), change(&a, 50, 0, false)},
    };
    struct buf file = make_file(rows, COUNT_OF(rows));
    assert_int_equal(restore_as(&copy, &file, "b", 0, &d, error), OK);
    assert_int_equal(d.revision, 50);
    sim_clock_run(&copy.clock);
    struct etcd_db *db = open_file(&file);
    assert_int_equal(etcd_db_read_status(db, &status, error, sizeof error), OK);
    assert_int_equal(status.revision, 50);
    assert_int_equal(status.keys, 2); /* etcdutl counts the empty row as a key */
    assert_int_equal(etcd_db_hash_kv(db, 0, &hash, error, sizeof error), OK);
    assert_int_equal(hash.revision, 50);
    assert_int_equal(hash.compact_revision, 50);
    etcd_db_close(db);
    rig_open(&copy, "m/store");
    assert_int_equal(store_revision(copy.store), 50);
    put(&copy, "k", 10, 0); /* takes the key from a lease that is not there */
    erase(&copy, "k");
    assert_int_equal(store_revision(copy.store), 52);
    finish(&copy);
    buf_done(&file);
    arena_done(&a);
}

static void test_members(void **state)
{
    struct rig copy = rig_new();
    struct etcd_db_restored d;
    char error[256];
    (void)state;
    const struct made_row row = {"meta", slice_text("term"), slice_text("\0\0\0\0\0\0\0\1")};
    struct buf file = make_file(&row, 1);
    assert_int_equal(restore_as(&copy, &file, "nobody", 0, &d, error), ERR_INVALID);
    assert_string_equal(error, "--initial-cluster does not name \"nobody\"");
    rig_free(&copy);
    buf_done(&file);
}

/* A full disk, at each place: an error with a sentence. */
static void test_full_disk(void **state)
{
    struct rig r;
    struct etcd_db_restored d;
    char error[256];
    (void)state;
    start(&r);
    fill(&r, 200, 40);
    struct buf file = export_store(&r);
    for (uint64_t space = 1000; space < (20 << 20); space *= 4) {
        struct rig copy = rig_new();
        sim_disk_set_space(copy.disk, space);
        int err = restore_as(&copy, &file, "a", 0, &d, error);
        if (space < (64 << 10) || space >= (1 << 20)) /* the log takes 64 KiB */
            assert_int_equal(err, space < (1 << 20) ? ERR_NO_DISK_SPACE : OK);
        rig_free(&copy);
    }
    buf_done(&file);
    finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_large_values), cmocka_unit_test(test_compactions),
        cmocka_unit_test(test_bump),         cmocka_unit_test(test_until),
        cmocka_unit_test(test_convert),      cmocka_unit_test(test_status),
        cmocka_unit_test(test_refused_rows), cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_members),      cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
