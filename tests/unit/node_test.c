/* SPDX-License-Identifier: Apache-2.0
 * Tests of the replicated log of one member on a simulated disk. An entry that was applied once is applied
 * again after any power cut, at the same index, and no entry is applied before it is durable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "consensus/node/node_impl.h"
#include "consensus/peer/codec.h"
#include "consensus/raft/log.h"
#include "consensus/wal/wal.h"
#include "tests/sim/sim_io.h"

enum { MEMBER = 7, OTHER = 8, ENTRIES_MAX = 4096 };

struct world {
    uint64_t catchup_entries, disk_bytes_max, segment_bytes; /* 0 = 50, no limit, 8 MiB */
    struct sim_disk *disk;
    struct sim_clock clock;
    struct io *io;
    struct node *node;
    struct node_state state;
    uint64_t applied;              /* index of the last entry that came */
    uint64_t numbers[ENTRIES_MAX]; /* by index: the entry that any run applied there */
    uint64_t read_id, read_index;
    int failed;
    bool is_closed;
    bool has_other;  /* may_apply returns false when none is left */
    bool is_bounded; /* may_apply says no when none is left */
    int applies_left;
};

static bool on_apply(void *arg, const struct raft_entry *e)
{
    struct world *w = arg;
    assert_int_equal(e->index, w->applied + 1);
    w->applied = e->index;
    assert_true(e->index < ENTRIES_MAX);
    uint64_t number = 0;
    if (e->data && e->data->size >= 8)
        memcpy(&number, e->data->data, 8);
    if (w->numbers[e->index])
        assert_int_equal(number, w->numbers[e->index]);
    w->numbers[e->index] = number;
    return true;
}

static void on_read(void *arg, uint64_t id, uint64_t index)
{
    struct world *w = arg;
    w->read_id = id;
    w->read_index = index;
}

static void on_state(void *arg, const struct node_state *state)
{
    ((struct world *)arg)->state = *state;
}

static void on_failed(void *arg, int err)
{
    ((struct world *)arg)->failed = err;
}

static bool may_apply(void *arg)
{
    struct world *w = arg;
    if (!w->is_bounded)
        return true;
    return w->applies_left > 0 && w->applies_left--;
}

static void on_closed(void *arg)
{
    ((struct world *)arg)->is_closed = true;
}

static struct raft_conf_state conf_state(const struct world *w)
{
    struct raft_conf_state s = {0};
    s.voters.count = w->has_other ? 2 : 1;
    s.voters.id[0] = MEMBER;
    s.voters.id[1] = w->has_other ? OTHER : 0;
    return s;
}

/* A new process on the disk; applied_index is the index that its store would have. */
static int start(struct world *w, uint64_t seed, uint64_t applied_index, char *error, size_t error_size)
{
    struct sim_io_options io = {.disk = w->disk, .clock = &w->clock, .seed = seed, .job_max_ns = 200000};
    w->io = sim_io_new(&io);
    struct raft_conf_state conf = conf_state(w);
    struct node_options o = {
        .io = w->io,
        .wal_dir = "/wal",
        .member_id = MEMBER,
        .cluster_id = 9,
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .entry_bytes_max = 1 << 20,
        .pending_bytes_max = 1 << 20,
        .catchup_entries = w->catchup_entries ? w->catchup_entries : 50,
        .disk_bytes_max = w->disk_bytes_max,
        .wal_segment_bytes = w->segment_bytes,
        .pre_vote = true,
        .applied_index = applied_index,
        .applied_term = 1,
        .conf_state = &conf,
        .apply = on_apply,
        .may_apply = may_apply,
        .read_done = on_read,
        .state_changed = on_state,
        .failed = on_failed,
        .arg = w,
    };
    bool exists;
    assert_int_equal(node_exists(w->io, "/wal", &exists), OK);
    o.is_new = !exists;
    w->applied = applied_index;
    w->state = (struct node_state){0};
    return node_open(&o, error, error_size, &w->node);
}

static void open_world(struct world *w, uint64_t seed, uint64_t applied_index)
{
    char error[300] = "";
    int err = start(w, seed, applied_index, error, sizeof error);
    if (err)
        fail_msg("node_open: %s", error);
}

static void close_world(struct world *w)
{
    w->is_closed = false;
    node_close(w->node, on_closed, w);
    while (!w->is_closed || w->clock.events.count)
        if (!sim_clock_step(&w->clock))
            break;
    assert_true(w->is_closed);
    sim_io_free(w->io);
}

static void run(struct world *w, int steps)
{
    for (int i = 0; i < steps; i++) {
        node_turn(w->node);
        sim_clock_step(&w->clock);
    }
    node_turn(w->node);
}

static void propose(struct world *w, uint64_t number, size_t size)
{
    struct blob *b = blob_new(size < 8 ? 8 : size);
    memset(b->data, 'x', b->size);
    memcpy(b->data, &number, 8);
    assert_int_equal(node_propose(w->node, b), OK);
}

static void world_done(struct world *w)
{
    sim_clock_done(&w->clock);
    sim_disk_free(w->disk);
    mem_free(w);
}

static struct world *world_new(void)
{
    struct world *w = mem_new(sizeof *w);
    w->disk = sim_disk_new();
    return w;
}

static void a_lone_member_leads_and_applies_in_order(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_world(w, 1, 1);
    run(w, 10);
    assert_true(w->state.is_leader);
    assert_int_equal(w->applied, 2); /* the entry that begins a term */
    for (uint64_t i = 1; i <= 100; i++)
        propose(w, i, 100);
    run(w, 10);
    assert_int_equal(w->applied, 102);
    assert_int_equal(w->numbers[3], 1);
    assert_int_equal(w->numbers[102], 100);
    assert_int_equal(node_read(w->node, 4711), OK);
    node_turn(w->node);
    assert_int_equal(w->read_id, 4711);
    assert_int_equal(w->read_index, 102);
    close_world(w);
    world_done(w);
}

/* A turn of the loop does not wait until a mebibyte is written: the thread of the log does that. */
static void a_large_batch_is_written_by_the_thread(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        bool is_here;
    } rows[] = {{100, true}, {60000, true}, {600000, false}, {100, true}};
    struct world *w = world_new();
    open_world(w, 1, 1);
    run(w, 10);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t applied = w->applied;
        for (uint64_t n = 0; n < 4; n++)
            propose(w, n, rows[i].size / 4);
        node_turn(w->node);
        assert_int_equal(w->applied, rows[i].is_here ? applied + 4 : applied);
        run(w, 20);
        assert_int_equal(w->applied, applied + 4);
    }
    close_world(w);
    world_done(w);
}

static void too_much_uncommitted_is_refused(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_world(w, 1, 1);
    run(w, 10);
    int err = OK;
    for (int i = 0; i < 20 && !err; i++)
        err = node_propose(w->node, blob_new(100000));
    assert_int_equal(err, ERR_TOO_MANY_REQUESTS);
    run(w, 20);
    propose(w, 1, 8); /* there is room again */
    close_world(w);
    world_done(w);
}

/* Clients do not starve the cluster's own proposals, which have a limit, too. */
static void a_reserve_is_kept_for_the_cluster(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_world(w, 1, 1);
    run(w, 10);
    while (node_propose(w->node, blob_new(10000)) == OK)
        ;
    assert_in_range(node_pending_bytes(w->node), (1 << 20) - 10000, 1 << 20);
    int own = 0;
    while (node_propose_internal(w->node, blob_new(10000)) == OK)
        own++;
    assert_in_range(own, 26, 27); /* a quarter */
    assert_int_equal(node_propose_as_leader(w->node, blob_new(10000)), ERR_TOO_MANY_REQUESTS);
    run(w, 20);
    assert_int_equal(node_pending_bytes(w->node), 0);
    assert_int_equal(node_propose(w->node, blob_new(2 << 20)), OK); /* larger than the limit: alone */
    assert_int_equal(node_propose(w->node, blob_new(8)), ERR_TOO_MANY_REQUESTS);
    close_world(w);
    world_done(w);
}

/* An append of the other voter, as leader of a term: so many entries after `prev`. */
static void receive_append(struct world *w, uint64_t term, struct raft_position prev, size_t count,
                           size_t size, uint64_t commit)
{
    struct raft_entry entries[4] = {{0}};
    struct buf bytes = {0};
    assert_true(count <= sizeof entries / sizeof *entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct raft_entry){.index = prev.index + 1 + i, .term = term, .data = blob_new(size)};
    struct raft_message m = {.type = RAFT_MSG_APP,
                             .to = MEMBER,
                             .from = OTHER,
                             .term = term,
                             .index = prev.index,
                             .log_term = prev.term,
                             .entries = entries,
                             .entry_count = count,
                             .commit = commit};
    codec_add_raft(&bytes, &m);
    node_receive(w->node, OTHER, slice_of(bytes.data + 1, bytes.size - 1)); /* without the kind */
    for (size_t i = 0; i < count; i++)
        blob_unref(entries[i].data);
    buf_done(&bytes);
    run(w, 20);
}

/* Beyond its limit a follower drops appends while it has entries to apply. It may never drop uncommitted
 * entries by itself: a new leader commits them with entries of its own, and must be able to. */
static void a_follower_accepts_entries_that_let_it_commit(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->has_other = true;
    open_world(w, 1, 1);
    receive_append(w, 2, (struct raft_position){1, 1}, 2, 700000, 1);
    assert_int_equal(raft_last_index(w->node->raft), 3);
    assert_int_equal(w->applied, 1);
    receive_append(w, 3, (struct raft_position){3, 2}, 1, 8, 1);
    assert_int_equal(raft_last_index(w->node->raft), 4);
    w->is_bounded = true; /* from here on its store is slow */
    receive_append(w, 3, (struct raft_position){4, 3}, 1, 8, 4);
    assert_int_equal(raft_last_index(w->node->raft), 5);
    assert_int_equal(w->applied, 1);
    receive_append(w, 3, (struct raft_position){5, 3}, 1, 8, 4);
    assert_int_equal(raft_last_index(w->node->raft), 5);
    w->is_bounded = false;
    run(w, 20);
    assert_int_equal(w->applied, 4);
    receive_append(w, 3, (struct raft_position){5, 3}, 1, 8, 5);
    assert_int_equal(raft_last_index(w->node->raft), 6);
    close_world(w);
    world_done(w);
}

/* The store takes no more: committed entries wait, proposers are refused, and later everything continues. */
static void a_full_store_is_waited_for(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_world(w, 1, 1);
    run(w, 10);
    w->applies_left = 3;
    w->is_bounded = true;
    uint64_t next = 1;
    while (next < 500 && node_pending_bytes(w->node) < (1 << 20) - 20000) {
        propose(w, next++, 10000);
        run(w, 2);
    }
    assert_int_equal(w->applied, 5);
    int err = OK;
    for (int i = 0; i < 4 && !err; i++) {
        err = node_propose(w->node, blob_new(10000));
        run(w, 2);
    }
    assert_int_equal(err, ERR_TOO_MANY_REQUESTS);
    w->applies_left = 10;
    run(w, 3);
    assert_int_equal(w->applied, 15);
    w->is_bounded = false;
    run(w, 10);
    assert_in_range(w->applied, next + 1, next + 6);
    for (uint64_t i = 1; i < next; i++)
        assert_int_equal(w->numbers[i + 2], i);
    assert_int_equal(node_pending_bytes(w->node), 0);
    w->is_bounded = true; /* and it may end meanwhile */
    propose(w, next, 10000);
    run(w, 5);
    close_world(w);
    world_done(w);
}

/* Entries are kept by number; large ones also by the bytes that the log takes on the disk. Entries that are
 * not durable in the store are kept, whatever their size. */
static void the_log_on_disk_is_bounded_in_bytes(void **state)
{
    (void)state;
    enum { LIMIT = 384 << 10, SEGMENT = 64 << 10, LARGE = 8000 };
    struct world *w = world_new();
    w->catchup_entries = 5000;
    w->disk_bytes_max = LIMIT;
    w->segment_bytes = SEGMENT;
    open_world(w, 1, 1);
    run(w, 10);
    uint64_t next = 1;
    for (; next <= 120; next++) { /* nothing is durable */
        propose(w, next, LARGE);
        run(w, 20);
    }
    assert_true(node_log_disk_bytes(w->node) > 2 * LIMIT);
    assert_int_equal(node_log_begin(w->node), 1);
    for (; next <= 300; next++) {
        propose(w, next, LARGE);
        run(w, 20);
        node_release(w->node, w->applied);
        if (next > 125)
            assert_true(node_log_disk_bytes(w->node) <= LIMIT + 2 * SEGMENT);
    }
    assert_true(w->applied - node_log_begin(w->node) >=
                LIMIT / LARGE - 2 * SEGMENT / LARGE); /* no more than needed */
    node_release(w->node, w->applied - 1);
    uint64_t applied = w->applied;
    close_world(w);
    open_world(w, 2, applied);
    run(w, 10);
    assert_true(w->applied > applied);
    assert_true(node_log_disk_bytes(w->node) <= LIMIT + 2 * SEGMENT);
    close_world(w);
    world_done(w);
}

/* Power cuts at random moments, many runs on one disk, small and large batches, the log compacted now and
 * then. */
static void runs_end_in_power_cuts(uint64_t seed)
{
    struct world *w = world_new();
    uint64_t random_state = seed, next = 1, durable = 1;
    for (int life = 0; life < 8; life++) {
        open_world(w, sim_random(&random_state), durable);
        run(w, 6);
        uint64_t best = w->applied;
        assert_true(w->state.is_leader);
        for (int round = 0; round < 12; round++) {
            for (uint64_t i = sim_random(&random_state) % 20; i > 0; i--)
                propose(w, next++, sim_random(&random_state) % 2000);
            run(w, (int)(sim_random(&random_state) % 6));
            if (sim_random(&random_state) % 4 == 0) {
                durable = w->applied;
                node_release(w->node, durable);
            }
        }
        best = w->applied > best ? w->applied : best;
        sim_io_kill(w->io);
        w->is_closed = false;
        node_close(w->node, on_closed, w);
        while (sim_clock_step(&w->clock))
            ;
        sim_io_free(w->io);
        sim_disk_crash(w->disk, sim_random(&random_state));
        /* on_apply compares repeated entries with the earlier ones; here: that all of them are repeated. */
        open_world(w, sim_random(&random_state), durable);
        run(w, 8);
        assert_true(w->applied >= best);
        close_world(w);
        /* Entries beyond were proposed and never applied: the next run may put other entries there. */
        for (uint64_t i = w->applied + 1; i < ENTRIES_MAX; i++)
            w->numbers[i] = 0;
    }
    world_done(w);
}

static void applied_entries_survive_power_cuts(void **state)
{
    (void)state;
    const char *seeds = getenv("SEEDS");
    for (uint64_t seed = 1; seed <= (seeds ? strtoull(seeds, NULL, 10) : 25); seed++)
        runs_end_in_power_cuts(seed);
}

static void a_failed_sync_is_final(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_world(w, 1, 1);
    run(w, 10);
    uint64_t before = w->applied;
    sim_disk_fail(w->disk, SIM_OP_SYNC, 1, ERR_IO, false);
    propose(w, 1, 8);
    run(w, 10);
    assert_int_equal(w->failed, ERR_IO);
    assert_int_equal(w->applied, before);
    propose(w, 2, 8); /* has no effect */
    run(w, 10);
    assert_int_equal(w->applied, before);
    close_world(w);
    world_done(w);
}

static void on_log_written(void *arg, const struct wal_result *result)
{
    (void)arg;
    assert_int_equal(result->err, OK);
}

/* A leader of another term overwrote the end of the log: replay takes the last entry of each index. */
static void an_overwritten_tail_is_replayed_right(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct sim_io_options options = {.disk = w->disk, .clock = &w->clock, .seed = 1};
    w->io = sim_io_new(&options);
    uint8_t metadata[16];
    put_be64(metadata, 9);
    put_be64(metadata + 8, MEMBER);
    struct wal_options wal = {
        .io = w->io, .dir = "/wal", .segment_size = 8 << 20, .metadata = slice_of(metadata, 16)};
    struct wal *log;
    assert_int_equal(wal_create(&wal, &log), OK);
    wal_add_snapshot(log, 1, 1);
    for (uint64_t i = 2; i <= 6; i++) {
        uint64_t number = 100 + i;
        wal_add_entry(log, &(struct wal_entry){i, 2, RAFT_ENTRY_NORMAL, slice_of(&number, 8)});
    }
    for (uint64_t i = 4; i <= 5; i++) {
        uint64_t number = 200 + i;
        wal_add_entry(log, &(struct wal_entry){i, 3, RAFT_ENTRY_NORMAL, slice_of(&number, 8)});
    }
    wal_add_hard_state(log, &(struct wal_hard_state){3, 0, 3});
    wal_submit(log, true, on_log_written, NULL);
    sim_clock_run(&w->clock);
    wal_close(log);
    sim_clock_run(&w->clock);
    sim_io_free(w->io);

    open_world(w, 2, 1);
    run(w, 10);
    assert_int_equal(w->numbers[3], 103);
    assert_int_equal(w->numbers[4], 204);
    assert_int_equal(w->numbers[5], 205);
    assert_int_equal(w->numbers[6], 0); /* the new term's own entry */
    assert_int_equal(w->applied, 6);
    close_world(w);
    /* With a store that has them: overwritten entries are in no memory, and the rest is the same. */
    open_world(w, 3, 5);
    assert_int_equal(node_log_begin(w->node), 1);
    run(w, 10);
    assert_int_equal(w->numbers[6], 0);
    assert_int_equal(w->applied, 7);
    close_world(w);
    world_done(w);
}

static void stores_and_logs_that_do_not_belong_together_are_refused(void **state)
{
    (void)state;
    struct world *w = world_new();
    char error[300] = "";
    open_world(w, 1, 1);
    run(w, 10);
    propose(w, 1, 8);
    run(w, 10);
    close_world(w);
    assert_int_equal(start(w, 2, 50, error, sizeof error), ERR_CORRUPT);
    assert_non_null(strstr(error, "the store holds entry 50 but the log holds entries 2 to"));
    sim_clock_run(&w->clock);
    sim_io_free(w->io);
    world_done(w);
}

int main(void)
{
    log_set_level(LOG_FATAL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_member_leads_and_applies_in_order),
        cmocka_unit_test(a_large_batch_is_written_by_the_thread),
        cmocka_unit_test(too_much_uncommitted_is_refused),
        cmocka_unit_test(a_reserve_is_kept_for_the_cluster),
        cmocka_unit_test(a_full_store_is_waited_for),
        cmocka_unit_test(a_follower_accepts_entries_that_let_it_commit),
        cmocka_unit_test(the_log_on_disk_is_bounded_in_bytes),
        cmocka_unit_test(applied_entries_survive_power_cuts),
        cmocka_unit_test(a_failed_sync_is_final),
        cmocka_unit_test(an_overwritten_tail_is_replayed_right),
        cmocka_unit_test(stores_and_logs_that_do_not_belong_together_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
