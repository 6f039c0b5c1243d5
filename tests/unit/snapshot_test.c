/* SPDX-License-Identifier: Apache-2.0
 * Tests of snapshots between members: pieces that arrive, pieces that are sent again after breaks, and the
 * effects of a false sender, a failing disk and a crash. The members are those of snapshot_world.h. */
#include "tests/unit/snapshot_world.h"

static void test_delivered(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, 0);
    struct machine *a = &w.machines[0], *b = &w.machines[1];
    start(&w, 1, 5);
    assert_int_equal(snapshot_send_needs(a->send), 1000);
    pass(&w, 2000);
    assert_int_equal(b->delivered, 1);
    assert_int_equal(b->delivered_index, 1000);
    assert_int_equal(b->delivered_term, 5);
    assert_int_equal(a->reports[1], 1);
    assert_int_equal(a->lost[1], 0);
    assert_int_equal(w.sent_data, a->size);
    expect_file(b, a);
    assert_int_equal(file_count(b), 1);
    /* The log is kept a little longer, the copy too. */
    assert_int_equal(snapshot_send_needs(a->send), 1000);
    assert_int_equal(file_count(a), 1);
    pass(&w, 45000);
    assert_true(snapshot_send_needs(a->send) == UINT64_MAX);
    assert_int_equal(file_count(a), 0);
    /* The next one waits until the first has become the store. */
    start(&w, 1, 5);
    pass(&w, 2000);
    assert_int_equal(a->lost[1], 1);
    snapshot_receive_done(b->receive);
    start(&w, 1, 5);
    pass(&w, 2000);
    assert_int_equal(a->reports[1], 2);
    assert_int_equal(a->copies, 2);
    world_end(&w);
}

/* The copy is sent while the store writes it, each byte once, and accepted only when its end is announced. */
static void test_sent_while_it_grows(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world w;
        world_start(&w, seed, 0);
        struct machine *a = &w.machines[0], *b = &w.machines[1];
        a->parts = 50;
        start(&w, 1, 5);
        size_t early = 0;
        for (unsigned i = 0; i < 5000 && (early == 0 || a->is_copying); i++, pass(&w, 1))
            early = part_size(b);
        assert_true(early > a->size / 4);
        assert_int_equal(b->delivered, 0);
        pass(&w, 3000);
        assert_int_equal(a->reports[1], 1);
        assert_int_equal(w.sent_data, a->size);
        expect_file(b, a);
        world_end(&w);
    }
}

/* The store cannot finish the copy when part of it is sent already; the next one succeeds. */
static void test_copy_fails_half_way(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 13, 0);
    struct machine *a = &w.machines[0], *b = &w.machines[1];
    a->parts = 50;
    a->fails_copy = true;
    start(&w, 1, 5);
    pass(&w, 3000);
    assert_int_equal(a->lost[1], 1);
    assert_true(file_count(a) == 0 && part_size(b) > 0);
    a->fails_copy = false;
    start(&w, 1, 5);
    pass(&w, 3000);
    assert_int_equal(a->reports[1], 1);
    expect_file(b, a);
    world_end(&w);
}

static void test_break_while_it_grows(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 14, 0);
    struct machine *a = &w.machines[0], *b = &w.machines[1];
    a->parts = 50;
    start(&w, 1, 5);
    for (unsigned i = 0; i < 1000 && part_size(b) < a->size / 4; i++)
        pass(&w, 1);
    w.is_down = true;
    pass(&w, 20000);
    assert_true(part_size(b) > 0 && part_size(b) < a->size);
    w.is_down = false;
    snapshot_send_reachable(a->send, id_of(1));
    pass(&w, 3000);
    assert_true(w.sent_data < a->size + (2 << 20)); /* pieces in flight are sent again, the rest is not */
    expect_file(b, a);
    world_end(&w);
}

/* A slow store: a receiver that has everything so far waits, and is not given up. */
static void test_copy_takes_long(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 15, 0);
    struct machine *a = &w.machines[0];
    a->parts = 100;
    start(&w, 1, 5);
    pass(&w, 40);
    sim_io_set_job_time(a->io, 35000000000, 40000000000); /* longer than give_up_ms, not than keep_ms */
    pass(&w, 300000);
    assert_true(a->is_copying);
    sim_io_set_job_time(a->io, 50000, 2000000);
    pass(&w, 100000);
    assert_int_equal(a->reports[1], 1);
    expect_file(&w.machines[1], a);
    world_end(&w);
}

/* For any speed of the receiver, the bytes in flight and in memory are bounded. */
static void test_memory_is_bounded(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 16, 0);
    struct machine *a = &w.machines[0], *b = &w.machines[1];
    a->size = 16 << 20;
    a->parts = 3;
    sim_io_set_job_time(b->io, 100000000, 200000000);
    start(&w, 1, 5);
    size_t written = 0;
    for (unsigned i = 0; i < 20000 && a->reports[1] == 0; i++) {
        pass(&w, 1);
        written = part_size(b) ? part_size(b) : written;
        assert_true(w.queued <= (3u << 20) + SNAPSHOT_PIECE_MAX + 1024);
        assert_true(w.sent_data - written <= (8u << 20) + SNAPSHOT_PIECE_MAX);
    }
    assert_int_equal(a->reports[1], 1);
    assert_int_equal(w.sent_data, a->size);
    expect_file(b, a);
    world_end(&w);
}

static struct snapshot_offer offer_of_growing(void)
{
    static struct raft_snapshot of = {.index = 1000, .term = 3};
    const struct raft_message m = {RAFT_MSG_SNAP, .from = 3, .to = id_of(1), .term = 5, .snapshot = &of};
    return (struct snapshot_offer){.id = 77, .message = m};
}

/* Claims of a sender about a copy's size: valid and invalid ones. */
static void test_size_comes_late(void **state)
{
    (void)state;
    struct world w;
    uint8_t data[1000] = {7}, digest[SNAPSHOT_DIGEST_SIZE];
    struct sha256 *sha = sha256_new();
    sha256_add(sha, data, sizeof data);
    sha256_finish(sha, digest);
    static const struct {
        uint64_t size;
        bool lies, is_delivered;
    } cases[] = {{1000, false, true}, {999, false, false}, {65 << 20, false, false}, {1000, true, false}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        world_start(&w, 17, 0);
        struct machine *b = &w.machines[1];
        struct snapshot_offer o = offer_of_growing();
        struct snapshot_piece piece = {.id = 77, .data = slice_of(data, sizeof data)};
        snapshot_receive_offer(b->receive, 3, &o);
        pass(&w, 10);
        snapshot_receive_piece(b->receive, 3, &piece);
        snapshot_receive_offer(b->receive, 3, &o); /* still not known */
        pass(&w, 100);
        assert_int_equal(part_size(b), 1000);
        o.size = cases[i].size;
        memcpy(o.digest, digest, sizeof digest);
        o.digest[5] ^= cases[i].lies;
        snapshot_receive_offer(b->receive, 3, &o);
        pass(&w, 100);
        assert_int_equal(b->delivered, cases[i].is_delivered);
        assert_int_equal(file_count(b), cases[i].is_delivered);
        world_end(&w);
    }
}

/* A sender that never announces the end. */
static void test_endless(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 18, 0);
    struct machine *b = &w.machines[1];
    static uint8_t data[SNAPSHOT_PIECE_MAX];
    struct snapshot_offer o = offer_of_growing();
    struct snapshot_piece piece = {.id = 77, .data = slice_of(data, SNAPSHOT_PIECE_MAX)};
    snapshot_receive_offer(b->receive, 3, &o);
    pass(&w, 10);
    for (; file_count(b) && piece.offset <= 65 << 20; piece.offset += SNAPSHOT_PIECE_MAX) {
        snapshot_receive_piece(b->receive, 3, &piece);
        pass(&w, 10);
    }
    assert_int_equal(piece.offset, (64 << 20) + SNAPSHOT_PIECE_MAX);
    world_end(&w);
}

/* For any loss, the end is notified once and the file is whole. */
static void test_losses(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        world_start(&w, seed, 0);
        w.loss = (unsigned)(seed * 7 % 300);
        start(&w, 1, 5);
        for (unsigned i = 0; i < 300 && !w.machines[1].delivered; i++) {
            pass(&w, 1000);
            if (seed % 3 == 0 && i % 5 == 2) {
                w.is_down = !w.is_down;
                if (!w.is_down)
                    snapshot_send_reachable(w.machines[0].send, id_of(1));
            }
        }
        w.is_down = false;
        pass(&w, 60000);
        assert_int_equal(w.machines[0].reports[1] + w.machines[0].lost[1], 1);
        if (w.machines[0].reports[1])
            expect_file(&w.machines[1], &w.machines[0]);
        else
            assert_true(seed % 3 == 0 || w.loss > 200);
        world_end(&w);
    }
}

static void test_goes_on_after_a_break(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 3, 1 << 20); /* 3 seconds */
    start(&w, 1, 5);
    pass(&w, 1500);
    assert_int_equal(w.machines[1].delivered, 0);
    w.is_down = true;
    pass(&w, 20000);
    w.is_down = false;
    snapshot_send_reachable(w.machines[0].send, id_of(1));
    pass(&w, 500);
    assert_int_equal(w.machines[1].delivered, 0);
    pass(&w, 3000);
    assert_int_equal(w.machines[0].reports[1], 1);
    expect_file(&w.machines[1], &w.machines[0]);
    assert_true(w.sent_data < w.machines[0].size + 2 * SNAPSHOT_PIECE_MAX);
    world_end(&w);
}

static void test_rate(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 4, 500000);
    start(&w, 1, 5);
    pass(&w, 5000);
    assert_int_equal(w.machines[1].delivered, 0);
    assert_in_range(w.sent_data, 2200000, 500000 * 5 + SNAPSHOT_PIECE_MAX);
    pass(&w, 2000);
    assert_int_equal(w.machines[1].delivered, 1);
    world_end(&w);
}

static void test_given_up(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 5, 1 << 20);
    start(&w, 1, 5);
    pass(&w, 1000);
    w.is_down = true;
    pass(&w, 29000);
    assert_int_equal(w.machines[0].lost[1], 0);
    pass(&w, 2500);
    assert_int_equal(w.machines[0].lost[1], 1);
    assert_true(snapshot_send_needs(w.machines[0].send) == UINT64_MAX);
    /* The part is kept, and removed after a while. */
    assert_int_equal(file_count(&w.machines[1]), 1);
    pass(&w, 40000);
    assert_int_equal(file_count(&w.machines[1]), 0);
    assert_int_equal(file_count(&w.machines[0]), 0);
    world_end(&w);
}

static void test_a_copy_is_shared(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 6, 0);
    struct machine *a = &w.machines[0];
    start(&w, 1, 5);
    pass(&w, 20);
    start(&w, 2, 5);
    pass(&w, 5000);
    start(&w, 3, 5);
    pass(&w, 5000);
    assert_int_equal(a->reports[1] + a->reports[2] + a->reports[3], 3);
    assert_int_equal(a->copies, 1);
    expect_file(&w.machines[3], a);
    /* The log has moved on: a new snapshot. */
    a->index = 2000;
    snapshot_receive_done(w.machines[1].receive);
    struct raft_snapshot offered = {.index = 2000, .term = 3};
    struct raft_message m = {
        .type = RAFT_MSG_SNAP, .from = 1, .to = id_of(1), .term = 5, .snapshot = &offered};
    snapshot_send_start(a->send, &m, 1500);
    pass(&w, 5000);
    assert_int_equal(a->copies, 2);
    assert_int_equal(w.machines[1].delivered_index, 2000);
    world_end(&w);
}

static void test_lies(void **state)
{
    (void)state;
    for (unsigned truthfully = 0; truthfully < 2; truthfully++) {
        struct world w;
        world_start(&w, 7, 0);
        w.corrupt_at = 6;
        w.corrupts_truthfully = truthfully == 1;
        start(&w, 1, 5);
        pass(&w, 10000);
        assert_int_equal(w.machines[0].reports[1], !truthfully);
        assert_int_equal(w.machines[0].lost[1], truthfully);
        assert_int_equal(w.machines[1].delivered, !truthfully);
        assert_int_equal(file_count(&w.machines[1]), !truthfully);
        if (!truthfully)
            expect_file(&w.machines[1], &w.machines[0]);
        world_end(&w);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 8, 1 << 20);
    struct machine *a = &w.machines[0], *b = &w.machines[1];
    /* Too large; not for this member. */
    a->size = 65 << 20;
    start(&w, 1, 5);
    pass(&w, 3000);
    assert_int_equal(a->lost[1], 1);
    pass(&w, 35000);
    a->size = 3000017;
    struct raft_snapshot offered = {.index = 1000, .term = 3};
    struct raft_message m = {.type = RAFT_MSG_SNAP, .from = 1, .to = 99, .term = 5, .snapshot = &offered};
    struct snapshot_offer o = {.id = 77, .size = 100, .message = m};
    snapshot_receive_offer(b->receive, 1, &o);
    o.message.to = id_of(1);
    snapshot_receive_offer(b->receive, 3, &o); /* 3 sends in the name of 1 */
    pass(&w, 10);
    assert_int_equal(file_count(b), 0);
    /* An older term does not replace a newer one, a newer one does. */
    start(&w, 1, 5);
    pass(&w, 1000);
    assert_int_equal(file_count(b), 1);
    o.message.from = 3;
    o.message.term = 4;
    snapshot_receive_offer(b->receive, 3, &o);
    pass(&w, 4000);
    assert_int_equal(b->delivered, 1);
    assert_int_equal(a->reports[1], 1);
    snapshot_receive_done(b->receive);
    start(&w, 2, 5);
    pass(&w, 1000);
    o.message.to = id_of(2);
    o.message.term = 6;
    snapshot_receive_offer(w.machines[2].receive, 3, &o);
    pass(&w, 4000);
    assert_int_equal(w.machines[2].delivered, 0);
    world_end(&w);
}

/* Raft may refuse it: the file is removed, and the same offer would be accepted again. */
static void test_raft_does_not_want_it(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 9, 0);
    w.machines[1].refuses = true;
    start(&w, 1, 5);
    pass(&w, 3000);
    assert_int_equal(w.machines[1].delivered, 1);
    assert_int_equal(w.machines[0].reports[1], 1);
    assert_int_equal(file_count(&w.machines[1]), 0);
    w.machines[1].refuses = false;
    start(&w, 1, 5);
    pass(&w, 3000);
    assert_int_equal(w.machines[1].delivered, 2);
    assert_int_equal(w.machines[0].copies, 1);
    expect_file(&w.machines[1], &w.machines[0]);
    world_end(&w);
}

static void test_disks_fail(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 10, 0);
    struct machine *a = &w.machines[0];
    sim_disk_set_space(w.machines[1].disk, 1 << 20);
    start(&w, 1, 5);
    pass(&w, 3000);
    assert_int_equal(a->lost[1], 1);
    assert_int_equal(w.machines[1].failed, 0);
    assert_int_equal(file_count(&w.machines[1]), 0);
    sim_disk_set_space(w.machines[1].disk, 0);
    start(&w, 1, 5);
    pass(&w, 3000);
    assert_int_equal(a->reports[1], 1);
    const unsigned kinds[] = {SIM_OP_WRITE, SIM_OP_SYNC, SIM_OP_RENAME, SIM_OP_SYNC_DIR};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        sim_disk_fail(w.machines[2].disk, kinds[i], 1, ERR_IO, false);
        start(&w, 2, 5);
        pass(&w, 3000);
        assert_int_equal(w.machines[2].failed, i + 1);
        assert_int_equal(a->lost[2], i + 1);
    }
    assert_int_equal(w.machines[2].delivered, 0);
    /* The sender's own disk: when copying, then when reading. */
    pass(&w, 40000);
    a->fails_copy = true;
    start(&w, 3, 5);
    pass(&w, 3000);
    assert_int_equal(a->lost[3], 1);
    a->fails_copy = false;
    sim_disk_fail(a->disk, SIM_OP_READ, 6, ERR_IO, false);
    start(&w, 3, 5);
    pass(&w, 3000);
    assert_int_equal(a->lost[3], 2);
    start(&w, 3, 5);
    pass(&w, 3000);
    assert_int_equal(a->reports[3], 1);
    world_end(&w);
}

/* The sender dies in the middle; another takes over with a copy of its own. Any job may be running when a
 * member closes. */
static void test_ends_mid_way(void **state)
{
    (void)state;
    for (unsigned ms = 0; ms < 120; ms += 7) {
        struct world w;
        world_start(&w, 11 + ms, 0);
        start(&w, 1, 5);
        pass(&w, ms);
        if (ms % 2)
            snapshot_send_stop(w.machines[0].send);
        else
            machine_close(&w.machines[0]);
        machine_close(&w.machines[2]);
        world_end(&w);
    }
}

/* --- crashes of the receiver ------------------------------------------------------------------- */

struct crash_test {
    const struct machine *source;
    size_t wholes, states;
    bool may_lose, has_lost;
};

/* Mark 1: raft was notified, so the whole file must exist under its name. Before, a file with that name is
 * whole if it exists. */
static bool on_crash(void *arg, struct sim_disk *image, const struct sim_crash *crash)
{
    struct crash_test *t = arg;
    struct machine m = {.disk = image};
    struct sim_clock clock = {0};
    struct io *io = sim_io_new(&(struct sim_io_options){.disk = image, .clock = &clock, .seed = 1});
    size_t inode;
    struct buf want = {0};
    assert_int_equal(snapshot_receive_clean(io, "data", true), 0);
    bool is_there = sim_disk_find(image, "data/snapshot-in", &inode);
    fill(&want, t->source->seed, t->source->size);
    bool is_whole = is_there && slice_equal(sim_disk_content(image, inode), buf_slice(&want));
    bool is_well = is_there ? is_whole : crash->mark == 0;
    if (!is_well)
        t->has_lost = true;
    if (!is_well && !t->may_lose)
        fail_msg("after %zu operations: %s", crash->position, crash->what);
    assert_int_equal(file_count(&m), is_there);
    assert_int_equal(snapshot_receive_clean(io, "data", false), 0);
    assert_int_equal(file_count(&m), 0);
    t->wholes += is_whole;
    t->states++;
    buf_done(&want);
    sim_io_free(io);
    sim_clock_done(&clock);
    return !t->has_lost;
}

static void crashes(struct crash_test *t, unsigned ignored)
{
    struct world w;
    world_start(&w, 12, 0);
    w.machines[0].size = 5000;
    sim_disk_record(w.machines[1].disk);
    sim_disk_ignore_sync(w.machines[1].disk, ignored);
    t->source = &w.machines[0];
    start(&w, 1, 5);
    pass(&w, 3000);
    assert_int_equal(w.machines[1].delivered, 1);
    sim_disk_each_crash(w.machines[1].disk, on_crash, t);
    world_end(&w);
}

static void test_every_crash(void **state)
{
    (void)state;
    struct crash_test t = {0};
    crashes(&t, 0);
    print_message("%zu crash states, %zu with the whole file\n", t.states, t.wholes);
    assert_true(t.states > 20 && t.wholes > 1);
}

static void test_missing_syncs_are_noticed(void **state)
{
    (void)state;
    const unsigned kinds[] = {SIM_OP_SYNC, SIM_OP_SYNC_DIR};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct crash_test t = {.may_lose = true};
        crashes(&t, kinds[i]);
        assert_true(t.has_lost);
    }
}

static int quiet(void **state)
{
    (void)state;
    log_set_level(LOG_FATAL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivered),
        cmocka_unit_test(test_sent_while_it_grows),
        cmocka_unit_test(test_copy_fails_half_way),
        cmocka_unit_test(test_break_while_it_grows),
        cmocka_unit_test(test_copy_takes_long),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_size_comes_late),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_goes_on_after_a_break),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_a_copy_is_shared),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_raft_does_not_want_it),
        cmocka_unit_test(test_disks_fail),
        cmocka_unit_test(test_ends_mid_way),
        cmocka_unit_test(test_every_crash),
        cmocka_unit_test(test_missing_syncs_are_noticed),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
