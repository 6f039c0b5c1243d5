/* SPDX-License-Identifier: Apache-2.0
 * Snapshots for clients over a store that makes blocks when the test says so: how many run, which wait and
 * for how long, and how slowly one may be read. */
#define KV_PARTS_REAL_EXPORTS
#include "kv_parts.h"

#include "base/metric.h"
#include "consensus/store/export.h"

enum {
    WAITING_MAX = 64,
    WAIT_MS = 60000,
    UNREAD_MS = 30000,
    GRACE_MS = 30000,
    RATE_MIN = 256 << 10,
    MAX = 2
};
enum { CLIENTS = MAX + WAITING_MAX + 1, BLOCK = 64 << 10, SIZE = 2 * BLOCK };

/* --- the store --------------------------------------------------------------------------------------------- */

const struct export_format export_etcd = {0};

struct store_export {
    int err;
    bool has_block, is_done;
};

static struct client {
    struct kv_export *export;
    struct store_export *source; /* NULL = it has not begun, or has ended */
    unsigned woken;
} clients[CLIENTS];

static struct {
    unsigned open, begun;
    bool may_not_start;
} store;

struct store_export *store_export_new(struct store *s, const struct export_format *format,
                                      void (*on_ready)(void *arg), void *arg)
{
    struct client *c = arg;
    (void)s;
    (void)on_ready;
    assert_ptr_equal(format, &export_etcd);
    store.open++;
    store.begun++;
    c->source = mem_new(sizeof *c->source);
    return c->source;
}

void store_export_close(struct store_export *x)
{
    for (size_t n = 0; n < CLIENTS; n++)
        if (clients[n].source == x)
            clients[n].source = NULL;
    store.open--;
    mem_free(x);
}

int store_export_next(struct store_export *x, struct slice *ret_block)
{
    static const uint8_t block[BLOCK];
    *ret_block = x->has_block ? slice_of(block, sizeof block) : (struct slice){0};
    x->has_block = false;
    return x->err;
}

bool store_export_has_block(const struct store_export *x)
{
    return x->has_block;
}

bool store_export_is_done(const struct store_export *x)
{
    return x->is_done;
}

void store_export_digest(const struct store_export *x, uint8_t ret_digest[EXPORT_DIGEST_SIZE])
{
    assert_true(x->is_done);
    memset(ret_digest, 0xab, EXPORT_DIGEST_SIZE);
}

uint64_t store_export_size(const struct store_export *x)
{
    (void)x;
    return SIZE;
}

int64_t store_export_revision(const struct store_export *x)
{
    (void)x;
    return 9;
}

bool store_export_may_start(const struct store *s)
{
    (void)s;
    return !store.may_not_start;
}

/* --- clients ------------------------------------------------------------------------------------------------ */

static void on_ready(void *arg)
{
    ((struct client *)arg)->woken++;
}

static void end(unsigned n)
{
    kv_export_close(clients[n].export);
    clients[n].export = NULL;
}

static struct kv *start(void)
{
    for (unsigned n = 0; n < CLIENTS; n++)
        if (clients[n].export)
            end(n);
    assert_int_equal(store.open, 0); /* of the test before */
    struct kv *kv = parts_start();
    memset(&store, 0, sizeof store);
    memset(clients, 0, sizeof clients);
    kv_exports_init(&kv->exports, MAX);
    return kv;
}

static void begin(struct kv *kv, unsigned n)
{
    clients[n].export = kv_export_open(kv, on_ready, &clients[n]);
}

static struct kv_export_progress progress;

static int next(unsigned n)
{
    struct slice block;
    return kv_export_next(clients[n].export, &block, &progress);
}

/* A block is ready and is taken. */
static void take(unsigned n)
{
    clients[n].source->has_block = true;
    assert_int_equal(next(n), OK);
}

static void assert_counts(const struct kv *kv, unsigned running, unsigned waiting)
{
    assert_int_equal(kv->exports.running_count, running);
    assert_int_equal(kv->exports.waiting_count, waiting);
    assert_int_equal((int)metric_get(METRIC_EXPORTS), (int)running);
    assert_int_equal((int)metric_get(METRIC_EXPORTS_WAITING), (int)waiting);
}

/* --- places -------------------------------------------------------------------------------------------------- */

/* Those that wait begin in their order, at a tick and not from inside a call that ends another one. */
static void test_places(void **state)
{
    (void)state;
    struct kv *kv = start();
    for (unsigned n = 0; n < 4; n++)
        begin(kv, n);
    assert_counts(kv, 2, 2);
    assert_null(clients[2].source);
    assert_int_equal(next(2), OK); /* nothing yet */
    end(0);
    assert_counts(kv, 1, 2);
    begin(kv, 4); /* it does not overtake those that wait */
    assert_null(clients[4].source);
    kv_exports_tick(kv);
    assert_non_null(clients[2].source);
    assert_null(clients[3].source);
    end(3); /* a client goes away while it waits */
    end(1);
    kv_exports_tick(kv);
    assert_non_null(clients[4].source);
    assert_counts(kv, 2, 0);
}

static void test_too_many_wait(void **state)
{
    (void)state;
    struct kv *kv = start();
    for (unsigned n = 0; n < CLIENTS; n++)
        begin(kv, n);
    assert_counts(kv, MAX, WAITING_MAX);
    assert_int_equal(next(CLIENTS - 2), OK);
    assert_int_equal(next(CLIENTS - 1), ERR_TOO_MANY_REQUESTS);
    assert_int_equal(next(CLIENTS - 1), ERR_TOO_MANY_REQUESTS);
}

static void test_no_limit(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv->exports.max = 0;
    for (unsigned n = 0; n < CLIENTS; n++)
        begin(kv, n);
    assert_counts(kv, CLIENTS, 0);
}

/* A store that cannot begin one now keeps it waiting, also when there is a place. */
static void test_store_is_busy(void **state)
{
    (void)state;
    struct kv *kv = start();
    store.may_not_start = true;
    begin(kv, 0);
    kv_exports_tick(kv);
    assert_counts(kv, 0, 1);
    store.may_not_start = false;
    begin(kv, 1);
    assert_counts(kv, 0, 2);
    kv_exports_tick(kv);
    assert_counts(kv, 2, 0);
}

/* --- blocks -------------------------------------------------------------------------------------------------- */

/* The place is free with the last block, before the client closes. */
static void test_blocks(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0);
    take(0);
    assert_int_equal(progress.size, SIZE);
    assert_int_equal(progress.revision, 9);
    clients[0].source->is_done = true; /* all were made, one of them is not taken yet */
    take(0);
    assert_false(progress.is_done);
    assert_counts(kv, 1, 0);
    assert_int_equal(next(0), OK);
    assert_true(progress.is_done);
    assert_int_equal(progress.digest[31], 0xab);
    assert_counts(kv, 0, 0);
    assert_int_equal(store.open, 1);
}

static void test_store_fails(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0);
    clients[0].source->err = ERR_SNAPSHOT_SLOW;
    assert_int_equal(next(0), ERR_SNAPSHOT_SLOW);
    assert_int_equal(store.open, 0);
    assert_counts(kv, 0, 0);
    assert_int_equal(next(0), ERR_SNAPSHOT_SLOW); /* final */
}

/* --- time ---------------------------------------------------------------------------------------------------- */

static void test_waits_for_a_minute(void **state)
{
    (void)state;
    struct kv *kv = start();
    store.may_not_start = true;
    begin(kv, 0);
    parts.now_ms += WAIT_MS - 1;
    kv_exports_tick(kv);
    assert_int_equal(clients[0].woken, 0);
    parts.now_ms += 1;
    kv_exports_tick(kv);
    assert_int_equal(clients[0].woken, 1);
    assert_int_equal(next(0), ERR_TOO_MANY_REQUESTS);
    assert_counts(kv, 0, 0);
}

/* A block that waits for its client is counted, a store that takes its time is not. */
static void test_unread(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0);
    for (unsigned i = 0; i < 5; i++, parts.now_ms += UNREAD_MS - 1)
        kv_exports_tick(kv); /* no block so far */
    clients[0].source->has_block = true;
    kv_exports_tick(kv);
    parts.now_ms += 1;
    kv_exports_tick(kv);
    assert_int_equal(clients[0].woken, 1);
    assert_int_equal(next(0), ERR_SNAPSHOT_UNREAD);
    begin(kv, 1);
    for (unsigned i = 0; i < 5; i++, parts.now_ms += UNREAD_MS - 1) {
        take(1);
        clients[1].source->has_block = true; /* the next one waits */
        kv_exports_tick(kv);
    }
    assert_int_equal(clients[1].woken, 0);
}

/* 256 KiB a second on average, after 30 s, and only while others wait. */
static void test_slow(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0);
    begin(kv, 1);
    unsigned enough = (GRACE_MS / 1000 + 1) * (RATE_MIN / BLOCK);
    for (unsigned i = 0; i < enough; i++)
        take(0);
    for (unsigned i = 0; i < enough - 1; i++)
        take(1);
    parts.now_ms += GRACE_MS + 1000;
    kv_exports_tick(kv);
    assert_int_equal(clients[1].woken, 0); /* nobody waits for its place */
    begin(kv, 2);
    kv_exports_tick(kv);
    assert_int_equal(clients[0].woken, 0);
    assert_int_equal(clients[1].woken, 1);
    assert_int_equal(next(1), ERR_SNAPSHOT_SLOW);
    assert_non_null(clients[2].source); /* in the same tick */
}

/* Its rate counts from its begin, not from the request that had to wait. */
static void test_slow_after_waiting(void **state)
{
    (void)state;
    struct kv *kv = start();
    for (unsigned n = 0; n < 4; n++)
        begin(kv, n);
    parts.now_ms += GRACE_MS;
    end(0);
    kv_exports_tick(kv);
    assert_non_null(clients[2].source);
    parts.now_ms += 1000;
    take(2);
    kv_exports_tick(kv);
    assert_int_equal(clients[2].woken, 0);
    assert_int_equal(next(1), ERR_SNAPSHOT_SLOW); /* it has run all the time */
    parts.now_ms += GRACE_MS - 1000;
    begin(kv, 4);
    take(2);
    kv_exports_tick(kv);
    assert_int_equal(clients[2].woken, 0);
    parts.now_ms += 1;
    kv_exports_tick(kv);
    assert_int_equal(next(2), ERR_SNAPSHOT_SLOW);
}

static void test_close(void **state)
{
    (void)state;
    struct kv *kv = start();
    for (unsigned n = 0; n < 3; n++)
        begin(kv, n);
    kv_exports_close(kv);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(clients[n].woken, 1);
        assert_int_equal(next(n), ERR_STOPPED);
    }
    assert_int_equal(store.open, 0);
    assert_counts(kv, 0, 0);
    (void)start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_too_many_wait),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_store_is_busy),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_store_fails),
        cmocka_unit_test(test_waits_for_a_minute),
        cmocka_unit_test(test_unread),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_slow_after_waiting),
        cmocka_unit_test(test_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
