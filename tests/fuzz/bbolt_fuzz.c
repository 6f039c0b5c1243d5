/* SPDX-License-Identifier: Apache-2.0
 * Database files of etcd that nobody wrote: read, hashed and restored. The checksums of the meta pages are made
 * to hold, so that the pages behind them are read. A restored file must open as a store, with the revision
 * that the restore told, and take a change. */
#include <assert.h>
#include <string.h>

#include "consensus/bbolt/page.h"
#include "consensus/etcd_db/etcd_db.h"
#include "consensus/store/lease.h"
#include "consensus/store/store.h"
#include "tests/sim/sim_io.h"

/* The simulated disk is no part of the archive that fuzz targets link with. */
#include "tests/sim/crash.c"
#include "tests/sim/disk.c"
#include "tests/sim/sim_io.c"

enum { PAGE = 4096 };

static void mend_meta(struct buf *file, size_t at)
{
    struct meta m;
    if (file->size < at + sizeof(struct page_head) + sizeof m)
        return;
    memcpy(&m, file->data + at + sizeof(struct page_head), sizeof m);
    m.checksum = meta_checksum(&m);
    memcpy(file->data + at + sizeof(struct page_head), &m, sizeof m);
}

static int read_bytes(void *arg, uint64_t offset, void *ret_bytes, size_t size)
{
    const struct buf *file = arg;
    assert(offset <= file->size && size <= file->size - offset);
    memcpy(ret_bytes, file->data + offset, size);
    return OK;
}

static void step(void *arg)
{
    bool stepped = sim_clock_step(arg);
    assert(stepped);
}

static bool add_lease(void *arg, struct slice key, struct slice value)
{
    assert(key.size == 8 && value.size == 16);
    lease_restore(arg, (int64_t)get_be64(key.data), (int64_t)get_be64(value.data),
                  (int64_t)get_be64(value.data + 8));
    return true;
}

/* As kv_open does. */
static void open_store(struct io *io, struct sim_clock *clock, const struct etcd_db_restored *d)
{
    struct lease_table *leases = lease_table_new(1);
    struct backend *backend;
    struct backend_view *view;
    struct store *store;
    char error[256];
    int err = backend_memory_open(io, "m/store", 1 << 30, error, sizeof error, &backend);
    if (!err)
        err = backend->ops->view_open(backend, &view);
    assert(!err);
    err = backend->ops->scan(view, BACKEND_LEASES, (struct slice){0}, add_lease, leases);
    backend->ops->view_close(backend, view);
    const struct store_options options = {.io = io,
                                          .backend = backend,
                                          .leases = leases,
                                          .commit_interval_ms = 100,
                                          .commit_ops = 100,
                                          .compaction_batch = 1000,
                                          .max_txn_ops = 128};
    if (!err)
        err = store_open(&options, error, sizeof error, &store);
    assert(!err);
    assert(store_revision(store) == d->revision);
    store_attach_leases(store);
    store_begin(store, store_applied_index(store) + 1, store_applied_term(store));
    store_set(store, BACKEND_META, slice_text("k"), slice_text("v"));
    store_end(store);
    store_close(store);
    sim_clock_run(clock);
    lease_table_free(leases);
}

static void restore(struct etcd_db *db)
{
    static const struct etcd_db_member cluster[] = {{"a", "http://127.0.0.1:1"}};
    struct sim_disk *disk = sim_disk_new();
    struct sim_clock clock = {0};
    struct etcd_db_restored d;
    char error[256] = "";
    struct io *io = sim_io_new(&(struct sim_io_options){.disk = disk, .clock = &clock, .seed = 1});
    const struct etcd_db_restore options = {.store_path = "m/store",
                                            .wal_dir = "m/wal",
                                            .name = "a",
                                            .token = "t",
                                            .cluster = cluster,
                                            .cluster_count = 1,
                                            .wal_segment_bytes = 64 << 10,
                                            .backend_open = backend_memory_open,
                                            .run_loop = step,
                                            .run_loop_arg = &clock};
    int err = io->ops->mkdir(io, "m");
    if (!err)
        err = etcd_db_restore(io, db, &options, &d, error, sizeof error);
    assert(!err == !*error);
    sim_clock_run(&clock);
    if (!err)
        open_store(io, &clock, &d);
    sim_io_free(io);
    sim_clock_done(&clock);
    sim_disk_free(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf file = {0};
    struct etcd_db *db;
    struct etcd_db_status status;
    struct etcd_db_hash hash;
    char error[256] = "";
    buf_add(&file, data, size);
    mend_meta(&file, 0);
    mend_meta(&file, PAGE);
    const struct bbolt_source source = {read_bytes, &file, file.size};
    int err = etcd_db_open(&source, "file", ETCD_DB_SKIP, error, sizeof error, &db);
    assert(!err == !*error);
    if (!err) {
        err = etcd_db_read_status(db, &status, error, sizeof error);
        assert(!err == !*error);
        (void)etcd_db_hash_kv(db, 0, &hash, error, sizeof error);
        restore(db);
    }
    etcd_db_close(db);
    buf_done(&file);
    return 0;
}
