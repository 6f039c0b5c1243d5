/* SPDX-License-Identifier: Apache-2.0
 * Tests of when a store hands its open batch to the worker: at its time, and at once when the store is full.
 */
#include "consensus/store/store.h"

#include "consensus/store/lease.h"
#include "fake_io.h"
#include "store_model.h"
#include "unit.h"

enum { PENDING_BYTES = 1000, INTERVAL_MS = 100 };

struct rig {
    struct fake_io io;
    struct backend *backend;
    struct lease_table *leases;
    struct store *store;
};

static void rig_open(struct rig *rig)
{
    char error[100];
    *rig = (struct rig){0};
    fake_io_init(&rig->io);
    rig->backend = backend_memory_new();
    rig->leases = lease_table_new(1);
    struct store_options options = {.io = &rig->io.io,
                                    .backend = rig->backend,
                                    .leases = rig->leases,
                                    .commit_interval_ms = INTERVAL_MS,
                                    .commit_ops = 100,
                                    .compaction_batch = 10,
                                    .compaction_sleep_ms = 1,
                                    .max_txn_ops = 128,
                                    .pending_bytes_max = PENDING_BYTES};
    assert_int_equal(store_open(&options, error, sizeof error, &rig->store), 0);
}

static void rig_close(struct rig *rig)
{
    store_close(rig->store);
    fake_io_run_jobs(&rig->io);
    backend_memory_free(rig->backend);
    lease_table_free(rig->leases);
}

static void put(struct rig *rig, size_t value_bytes)
{
    static char value[PENDING_BYTES];
    char key[] = "key";
    struct arena arena = {0};
    Etcdserverpb__PutRequest q = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__PutResponse *r;
    q.key = (ProtobufCBinaryData){3, (uint8_t *)key};
    q.value = (ProtobufCBinaryData){value_bytes, (uint8_t *)value};
    store_begin(rig->store, store_applied_index(rig->store) + 1, 1);
    assert_int_equal(store_put(rig->store, &q, &arena, &r), 0);
    store_end(rig->store);
    arena_done(&arena);
}

static bool is_all_durable(struct rig *rig)
{
    store_turn(rig->store);
    fake_io_run_jobs(&rig->io);
    return store_durable_index(rig->store) == store_applied_index(rig->store);
}

static void test_small_batch_waits_for_its_time(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    put(&rig, 1);
    assert_false(is_all_durable(&rig));
    rig.io.now_ns += (uint64_t)INTERVAL_MS * 1000000;
    assert_true(is_all_durable(&rig));
    rig_close(&rig);
}

/* Nothing is applied while the store is full: a wait for the interval would only delay the requests. */
static void test_full_store_commits_at_once(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    put(&rig, PENDING_BYTES);
    assert_true(store_is_full(rig.store));
    assert_true(is_all_durable(&rig));
    assert_false(store_is_full(rig.store));
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_batch_waits_for_its_time),
        cmocka_unit_test(test_full_store_commits_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
