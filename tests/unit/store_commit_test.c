/* SPDX-License-Identifier: Apache-2.0
 * When the store commits: by time, by number, and as soon as entries wait for room (store_is_full). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "consensus/store/lease.h"
#include "consensus/store/store.h"
#include "fake_io.h"
#include "unit.h"

enum { INTERVAL_MS = 100, PENDING_MAX = 4000 };

struct rig {
    struct fake_io io;
    struct backend *backend;
    struct lease_table *leases;
    struct store *store;
    struct arena arena;
    uint64_t index;
};

static struct rig rig;

static int set_up(void **state)
{
    (void)state;
    char error[100];
    rig = (struct rig){0};
    fake_io_init(&rig.io);
    rig.backend = backend_memory_new();
    rig.leases = lease_table_new(1);
    struct store_options options = {.io = &rig.io.io,
                                    .backend = rig.backend,
                                    .leases = rig.leases,
                                    .commit_interval_ms = INTERVAL_MS,
                                    .commit_ops = 10000,
                                    .pending_bytes_max = PENDING_MAX,
                                    .compaction_batch = 10,
                                    .compaction_sleep_ms = 1,
                                    .max_txn_ops = 128};
    return store_open(&options, error, sizeof error, &rig.store);
}

static int tear_down(void **state)
{
    (void)state;
    store_close(rig.store);
    fake_io_run_jobs(&rig.io);
    backend_memory_free(rig.backend);
    lease_table_free(rig.leases);
    arena_done(&rig.arena);
    return 0;
}

static void put(size_t size)
{
    static uint8_t value[PENDING_MAX];
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "k"};
    m.value = (ProtobufCBinaryData){size, value};
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_put(rig.store, &m, &rig.arena, NULL), OK);
    store_end(rig.store);
}

static void a_commit_waits_for_its_interval(void **state)
{
    (void)state;
    put(10);
    store_turn(rig.store);
    assert_false(fake_io_run_job(&rig.io));
    fake_io_pass(&rig.io, INTERVAL_MS);
    store_turn(rig.store);
    assert_true(fake_io_run_job(&rig.io));
    assert_int_equal(store_durable_index(rig.store), 1);
}

/* Nothing more is applied until it has committed: waiting for the interval would make one batch each out of
 * it. */
static void a_full_store_commits_at_once(void **state)
{
    (void)state;
    put(PENDING_MAX - 1);
    assert_true(store_is_full(rig.store));
    store_turn(rig.store);
    assert_true(fake_io_run_job(&rig.io));
    assert_int_equal(store_durable_index(rig.store), 1);
    assert_false(store_is_full(rig.store));
}

/* One commit at a time: the next takes all that has come meanwhile. */
static void a_full_store_waits_for_the_commit_under_way(void **state)
{
    (void)state;
    put(PENDING_MAX - 1);
    store_turn(rig.store);
    put(10);
    put(10);
    store_turn(rig.store);
    assert_true(fake_io_run_job(&rig.io));
    assert_false(fake_io_run_job(&rig.io));
    store_turn(rig.store);
    assert_false(fake_io_run_job(&rig.io));
    assert_int_equal(store_durable_index(rig.store), 1);
    fake_io_pass(&rig.io, INTERVAL_MS);
    store_turn(rig.store);
    assert_true(fake_io_run_job(&rig.io));
    assert_int_equal(store_durable_index(rig.store), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_commit_waits_for_its_interval),
        TEST(a_full_store_commits_at_once),
        TEST(a_full_store_waits_for_the_commit_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
