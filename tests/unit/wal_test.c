/* SPDX-License-Identifier: Apache-2.0
 * Tests of the log in plain use over the simulated disk, and of damaged files. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tests/unit/unit.h"
#include "tests/unit/wal_model.h"

/* --- plain use -------------------------------------------------------------------------------- */

static void create_open_and_lock(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine a, b;
    struct wal_model found;
    bool exists;

    (void)state;
    wal_machine_start(&a, disk, 1);
    wal_machine_start(&b, disk, 2);
    assert_int_equal(wal_exists(a.io, wal_machine_dir, &exists), 0);
    assert_false(exists);
    assert_int_equal(wal_machine_open(&a, &found), ERR_NOT_FOUND);
    assert_int_equal(wal_machine_create(&a), 0);
    assert_int_equal(wal_exists(b.io, wal_machine_dir, &exists), 0);
    assert_true(exists);
    assert_int_equal(wal_machine_open(&b, &found), ERR_EXISTS);
    assert_string_equal(b.error, "data/wal: the log is in use by another process");
    assert_int_equal(wal_machine_create(&b), ERR_EXISTS);
    sim_clock_run(&a.clock);
    assert_int_equal(wal_disk_size(a.wal), 4096);
    assert_int_equal(sim_disk_size(disk), 4096);
    sim_io_kill(a.io);
    assert_int_equal(wal_machine_create(&b), ERR_EXISTS);
    assert_int_equal(wal_machine_open(&b, &found), 0);
    assert_int_equal(found.first, 0);
    wal_machine_stop(&a);
    wal_machine_stop(&b);
    sim_disk_free(disk);
}

static void script_replays(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_run r;
    struct wal_machine m;
    struct wal_model found;

    (void)state;
    wal_run_init(&r, wal_long_script, WAL_LONG_SCRIPT_STEPS);
    wal_run_once(&r, disk);
    for (int i = 0; i < 3; i++) {
        wal_machine_start(&m, disk, 5);
        assert_int_equal(wal_machine_open(&m, &found), 0);
        assert_int_equal(wal_run_find(&r, &found, 0), r.count);
        assert_in_range(found.first, 25, 32);
        wal_machine_stop(&m);
    }
    sim_disk_free(disk);
}

static size_t file_count(struct sim_disk *disk)
{
    struct buf names = {0};
    size_t n = 0;

    sim_disk_list(disk, wal_machine_dir, &names);
    for (size_t i = 0; i < names.size; i++)
        n += names.data[i] == 0;
    buf_done(&names);
    return n;
}

/* Rotation, and a folder that stays small: released segments are reused as the spare. */
static void release_keeps_the_folder_small(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    struct wal_model found;

    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    for (uint64_t i = 1; i < WAL_MODEL_ENTRIES; i++) {
        if (i == 20) /* from here on the files suffice */
            sim_disk_fail(disk, SIM_OP_CREATE | SIM_OP_UNLINK, 1, ERR_IO, true);
        wal_machine_add(m.wal, i, 1, 600);
        assert_int_equal(wal_machine_submit(&m, true), 0);
        assert_int_equal(m.result.bytes, 1024);
        wal_release(m.wal, i);
        sim_clock_run(&m.clock);
        assert_true(file_count(disk) <= 4); /* LOCK, spare, at most two segments */
        assert_int_equal(wal_disk_size(m.wal), sim_disk_size(disk));
    }
    sim_disk_fail(disk, 0, 0, 0, false);
    wal_machine_stop(&m);
    wal_machine_start(&m, disk, 2);
    assert_int_equal(wal_machine_open(&m, &found), 0);
    assert_int_equal(found.last, WAL_MODEL_ENTRIES - 1);
    assert_true(found.last - found.first < 4);
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

/* A segment that a large entry made large is not kept for reuse. */
static void large_segments_go_away(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;

    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    wal_machine_add(m.wal, 1, 1, 20000);
    assert_int_equal(wal_machine_submit(&m, true), 0);
    sim_clock_run(&m.clock);
    assert_true(sim_disk_size(disk) > 20000);
    wal_release(m.wal, 1);
    wal_machine_add(m.wal, 2, 1, 600);
    assert_int_equal(wal_machine_submit(&m, true), 0);
    sim_clock_run(&m.clock);
    assert_int_equal(sim_disk_size(disk), 4096);
    assert_int_equal(wal_disk_size(m.wal), 4096);
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

/* The entry after the released index stays, and any suffix of segments has the hard state. */
static void release_keeps_later_entries(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    struct wal_model found;

    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    wal_add_hard_state(m.wal, &(struct wal_hard_state){9, 8, 7});
    wal_add_snapshot(m.wal, 10, 6);
    for (uint64_t i = 11; i < 60; i++) {
        wal_machine_add(m.wal, i, 7, 300);
        if (i == 58)
            wal_release(m.wal, 30);
        assert_int_equal(wal_machine_submit(&m, true), 0);
    }
    wal_machine_stop(&m);
    wal_machine_start(&m, disk, 2);
    assert_int_equal(wal_machine_open(&m, &found), 0);
    assert_in_range(found.first, 14, 31);
    assert_int_equal(found.last, 59);
    assert_int_equal(found.hard_state.term, 9);
    assert_int_equal(found.hard_state.commit, 7);
    assert_int_equal(found.snapshot_index, 10);
    assert_int_equal(found.snapshot_term, 6);
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

/* --- corruption ------------------------------------------------------------------------------- */

static const struct wal_step short_script[] = {
    {.index = 1, .term = 1, .count = 1, .size = 20, .commit = 1},
    {.index = 2, .term = 1, .count = 2, .size = 300},
    {.index = 4, .term = 1, .count = 1, .size = 1500, .commit = 3},
    {.index = 5, .term = 1, .count = 1, .size = 10},
    {.index = 6, .term = 1, .count = 1, .size = 900},
    {.index = 7, .term = 1, .count = 1, .size = 700, .commit = 6},
};

/* Each byte of each file flipped: the log is as it was, or it lacks its last batch, or it is not opened. */
static void no_flip_loses_an_earlier_batch(void **state)
{
    struct wal_run *r = mem_new(sizeof(*r));
    struct sim_disk *disk = sim_disk_new();
    struct buf names = {0};
    size_t same = 0, torn = 0, refused = 0;

    (void)state;
    wal_run_init(r, short_script, COUNT_OF(short_script));
    wal_run_once(r, disk);
    sim_disk_list(disk, wal_machine_dir, &names);
    for (const char *name = (const char *)names.data; name < (const char *)names.data + names.size;
         name += strlen(name) + 1) {
        char path[64];
        size_t inode;

        snprintf(path, sizeof(path), "%s/%s", wal_machine_dir, name);
        assert_true(sim_disk_find(disk, path, &inode));
        for (size_t at = 0; at < sim_disk_content(disk, inode).size; at++) {
            struct sim_disk *image = sim_disk_copy(disk);
            struct wal_machine m;
            struct wal_model found;

            sim_disk_flip(image, path, at, (uint8_t)(1 << at % 8));
            wal_machine_start(&m, image, 2);
            int err = wal_machine_open(&m, &found);
            int n = wal_run_find(r, &found, 0);
            if (err) {
                assert_int_equal(err, ERR_CORRUPT);
                assert_non_null(strstr(m.error, name));
                refused++;
            } else if (n == (int)r->count) {
                same++;
            } else {
                if (n != (int)r->count - 1)
                    fail_msg("%s byte %zu: %d batches left", name, at, n);
                torn++;
            }
            wal_machine_stop(&m);
            sim_disk_free(image);
        }
    }
    print_message("flips: %zu harmless, %zu cut the last batch, %zu refused\n", same, torn, refused);
    assert_true(refused > 3500 && torn > 700 && torn < 900);
    buf_done(&names);
    sim_disk_free(disk);
    mem_free(r);
}

/* A lazy batch after it proves that the last synced one was durable: then it is damage, not a torn write. */
static void damage_before_a_lazy_batch_is_seen(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    struct wal_model found;

    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    wal_machine_add(m.wal, 1, 1, 100);
    assert_int_equal(wal_machine_submit(&m, true), 0);
    wal_add_hard_state(m.wal, &(struct wal_hard_state){1, 0, 1});
    assert_int_equal(wal_machine_submit(&m, false), 0);
    wal_machine_stop(&m);
    sim_disk_flip(disk, "data/wal/0000000000000001.wal", 600, 1);
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_open(&m, &found), ERR_CORRUPT);
    assert_string_equal(m.error,
                        "data/wal/0000000000000001.wal: offset 512: a batch is damaged that was durable "
                        "when the one at 1024 was written");
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

static void missing_segments_are_seen(void **state)
{
    (void)state;
    for (int missing = 2; missing <= 3; missing++) {
        struct sim_disk *disk = sim_disk_new();
        struct wal_machine m;
        struct wal_model found;
        char path[64];

        wal_machine_start(&m, disk, 1);
        assert_int_equal(wal_machine_create(&m), 0);
        for (uint64_t i = 1; i < 40; i++) {
            wal_machine_add(m.wal, i, 1, 300);
            assert_int_equal(wal_machine_submit(&m, true), 0);
        }
        wal_machine_stop(&m);
        snprintf(path, sizeof(path), "%s/%016x.wal", wal_machine_dir, missing);
        assert_int_equal(sim_disk_unlink(disk, path), 0);
        wal_machine_start(&m, disk, 1);
        assert_int_equal(wal_machine_open(&m, &found), ERR_CORRUPT);
        assert_non_null(strstr(m.error, path));
        wal_machine_stop(&m);
        sim_disk_free(disk);
    }
}

/* Data that a client stores cannot pass for a batch of ours, not even a copy of a real one. */
static void stored_batches_are_not_taken_for_ours(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    struct wal_model found;
    size_t inode;

    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    wal_machine_add(m.wal, 1, 1, 100);
    assert_int_equal(wal_machine_submit(&m, true), 0);
    assert_true(sim_disk_find(disk, "data/wal/0000000000000001.wal", &inode));
    /* An entry whose sectors each hold another log's batch header with a high number and "everything synced".
     */
    uint8_t fake[2048] = {0};
    for (size_t at = 448; at + 512 <= sizeof(fake); at += 512)
        memcpy(fake + at, sim_disk_content(disk, inode).data + 512, 512);
    for (size_t at = 448; at + 512 <= sizeof(fake); at += 512) {
        fake[at + 8] ^= 1; /* not our salt: no client knows that one */
        put_le64(fake + at + 16, 1000);
        put_le32(fake + at + 36, 1000);
        put_le32(fake + at + 4, crc32c(0, fake + at + 8, 32));
    }
    wal_add_entry(m.wal, &(struct wal_entry){.index = 2, .term = 1, .data = slice_of(fake, sizeof(fake))});
    assert_int_equal(wal_machine_submit(&m, true), 0);
    wal_machine_stop(&m);
    sim_disk_flip(disk, "data/wal/0000000000000001.wal", 1024 + 20, 1); /* torn */
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_open(&m, &found), 0);
    assert_int_equal(found.last, 1);
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

/* After a cut none of the old bytes are left, so that no later batch can border on them. */
static void cut_tail_becomes_zeros(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    struct wal_model found;
    size_t inode;

    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    wal_machine_add(m.wal, 1, 1, 100);
    assert_int_equal(wal_machine_submit(&m, true), 0);
    wal_machine_add(m.wal, 2, 1, 1200);
    assert_int_equal(wal_machine_submit(&m, true), 0);
    wal_machine_stop(&m);
    sim_disk_flip(disk, "data/wal/0000000000000001.wal", 1024, 1);
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_open(&m, &found), 0);
    assert_int_equal(found.last, 1);
    wal_machine_stop(&m);
    assert_true(sim_disk_find(disk, "data/wal/0000000000000001.wal", &inode));
    struct slice content = sim_disk_content(disk, inode);
    assert_int_equal(content.size, 4096);
    for (size_t i = 1024; i < content.size; i++)
        assert_int_equal(content.data[i], 0);
    sim_disk_free(disk);
}

/* A real batch of this segment in the place of another: a misdirected write. */
static void a_batch_in_a_wrong_place_is_seen(void **state)
{
    (void)state;
    for (int place = 1; place <= 4; place++) {
        struct sim_disk *disk = sim_disk_new();
        struct wal_machine m;
        struct wal_model found;
        struct buf content = {0};
        size_t inode;

        wal_machine_start(&m, disk, 1);
        assert_int_equal(wal_machine_create(&m), 0);
        for (uint64_t i = 1; i <= 4; i++) {
            wal_machine_add(m.wal, i, 1, 100);
            assert_int_equal(wal_machine_submit(&m, true), 0);
        }
        wal_machine_stop(&m);
        assert_true(sim_disk_find(disk, "data/wal/0000000000000001.wal", &inode));
        buf_add_slice(&content, sim_disk_content(disk, inode));
        memcpy(content.data + place * 512, content.data + (place == 2 ? 3 : 2) * 512, 512);
        sim_disk_put(disk, "data/wal/0000000000000001.wal", buf_slice(&content));
        wal_machine_start(&m, disk, 1);
        assert_int_equal(wal_machine_open(&m, &found), place == 4 ? 0 : ERR_CORRUPT);
        assert_true(place < 4 || found.last == 3);
        wal_machine_stop(&m);
        buf_done(&content);
        sim_disk_free(disk);
    }
}

/* --- reading back ------------------------------------------------------------------------------ */

struct read_result {
    int err;
    size_t count;
    struct wal_model_entry entries[WAL_MODEL_ENTRIES];
    uint64_t first;
};

static void on_read(void *arg, int err, const struct wal_entry *entries, size_t count)
{
    struct read_result *r = arg;
    struct wal_model model = {0};
    r->err = err;
    r->count = count;
    if (count)
        r->first = entries[0].index;
    for (size_t i = 0; i < count; i++) {
        (void)wal_model_entry(&model, &entries[i]);
        r->entries[i] = model.entries[entries[i].index % WAL_MODEL_ENTRIES];
    }
}

static struct read_result read_back(struct wal_machine *m, uint64_t from, uint64_t to, uint64_t term,
                                    size_t bytes)
{
    struct read_result r = {.err = 1};
    struct wal_range range = {from, to, term, bytes};
    wal_read(m->wal, &range, on_read, &r);
    sim_clock_run(&m->clock);
    assert_false(wal_is_reading(m->wal));
    return r;
}

/* Over several segments, in pieces, beginning anywhere, while batches are added. */
static void reads_back(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    for (uint64_t i = 1; i <= 60; i++) {
        wal_machine_add(m.wal, i, 1, 300);
        if (i % 3 == 0)
            assert_int_equal(wal_machine_submit(&m, true), 0);
    }
    for (uint64_t from = 1; from <= 60; from++) {
        struct read_result r = read_back(&m, from, 60, 1, 900);
        assert_int_equal(r.err, 0);
        assert_int_equal(r.first, from);
        assert_int_equal(r.count, 61 - from < 3 ? 61 - from : 3);
    }
    struct read_result all = read_back(&m, 1, 60, 1, 1 << 20);
    assert_int_equal(all.count, 60);
    for (uint64_t from = 60; from > 0; from -= 7) { /* backwards: no earlier place helps */
        assert_int_equal(read_back(&m, from, 60, 1, 1).count, 1);
        if (from < 7)
            break;
    }
    assert_int_equal(read_back(&m, 61, 61, 1, 1).err, ERR_NOT_FOUND);
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

/* Each index has several versions on disk; the term says which one is meant. */
static void reads_back_entries_that_were_not_overwritten(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    for (uint64_t term = 1; term <= 4; term++) /* the tail from 10 * term on is written anew */
        for (uint64_t i = term == 1 ? 1 : 10 * term; i <= 50; i++) {
            wal_machine_add(m.wal, i, term, 200);
            assert_int_equal(wal_machine_submit(&m, true), 0);
        }
    for (uint64_t term = 1; term <= 4; term++) {
        uint64_t from = term == 1 ? 1 : 10 * term, to = term == 1 ? 19 : term == 4 ? 50 : 10 * term + 9;
        struct read_result r = read_back(&m, from, to, term, 1 << 20);
        assert_int_equal(r.err, 0);
        assert_int_equal(r.count, to - from + 1);
        for (size_t i = 0; i < r.count; i++)
            assert_int_equal(r.entries[i].term, term);
    }
    assert_int_equal(read_back(&m, 45, 45, 9, 1).err, ERR_NOT_FOUND);
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

/* Released entries are not found, and the ones after them are. */
static void reads_back_behind_a_release(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    (void)state;
    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    for (uint64_t i = 1; i <= 100; i++) {
        wal_machine_add(m.wal, i, 1, 300);
        assert_int_equal(wal_machine_submit(&m, true), 0);
    }
    assert_int_equal(read_back(&m, 1, 100, 1, 1).err, 0); /* leaves a place in the first segment */
    wal_add_snapshot(m.wal, 80, 1);
    wal_release(m.wal, 80);
    assert_int_equal(wal_machine_submit(&m, true), 0);
    sim_clock_run(&m.clock);
    assert_int_equal(read_back(&m, 2, 100, 1, 1).err, ERR_NOT_FOUND);
    assert_int_equal(read_back(&m, 81, 100, 1, 1 << 20).count, 20);
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_open_and_lock),
        cmocka_unit_test(script_replays),
        cmocka_unit_test(release_keeps_the_folder_small),
        cmocka_unit_test(large_segments_go_away),
        cmocka_unit_test(release_keeps_later_entries),
        cmocka_unit_test(no_flip_loses_an_earlier_batch),
        cmocka_unit_test(damage_before_a_lazy_batch_is_seen),
        cmocka_unit_test(missing_segments_are_seen),
        cmocka_unit_test(stored_batches_are_not_taken_for_ours),
        cmocka_unit_test(cut_tail_becomes_zeros),
        cmocka_unit_test(a_batch_in_a_wrong_place_is_seen),
        cmocka_unit_test(reads_back),
        cmocka_unit_test(reads_back_entries_that_were_not_overwritten),
        cmocka_unit_test(reads_back_behind_a_release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
