/* SPDX-License-Identifier: Apache-2.0
 * Tests of buf_release, mem_release and arena_release. Small memory is released at once, large memory in
 * slices. Without turns all memory is released at once. */
#include "tests/unit/unit.h"

#include "base/buf_release.h"
#include "base/turn_queue.h"

enum { MIB = 1 << 20 };

static uint64_t now_ns;

static uint64_t fake_clock(void)
{
    return ++now_ns;
}

static struct buf filled(size_t size)
{
    struct buf b = {0};
    memset(buf_reserve(&b, size), 'x', size);
    b.size = size;
    return b;
}

static unsigned count_turns(void)
{
    unsigned turns = 0;
    for (; turn_queue_is_waiting() && turns < 1000; turns++)
        turn_queue_run();
    return turns;
}

static void test_in_slices(void **state)
{
    (void)state;
    struct buf small = filled(MIB / 2), large = filled(20 * MIB), other = filled(5 * MIB);
    turn_start(fake_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    buf_release(&small);
    assert_null(small.data);
    assert_false(turn_queue_is_waiting());
    buf_release(&large);
    buf_release(&other);
    assert_null(large.data);
    assert_int_equal(large.capacity, 0);
    assert_in_range(count_turns(), 10, 40);
    turn_start(NULL, NULL, NULL);
}

static void test_allocations(void **state)
{
    (void)state;
    turn_start(fake_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    mem_release(NULL, 0);
    mem_release(memset(mem_alloc(MIB), 'x', MIB), MIB);
    assert_false(turn_queue_is_waiting());
    mem_release(memset(mem_alloc(20 * MIB), 'x', 20 * MIB), 20 * MIB);
    assert_in_range(count_turns(), 5, 20);
    turn_start(NULL, NULL, NULL);
}

/* Small pieces and large ones; a released buffer is empty and takes new pieces at once. */
static void test_arenas(void **state)
{
    (void)state;
    struct arena small = {0}, large = {0};
    turn_start(fake_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    memset(arena_alloc(&small, 1000), 'x', 1000);
    arena_release(&small);
    assert_false(turn_queue_is_waiting());
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < 1000; k++)
            memset(arena_alloc(&large, 1000), 'x', 1000);
        memset(arena_alloc(&large, MIB / 4), 'x', MIB / 4);
    }
    arena_release(&large);
    assert_null(large.block);
    memset(arena_alloc(&large, 1000), 'y', 1000);
    assert_in_range(count_turns(), 5, 20);
    arena_release(&large);
    assert_false(turn_queue_is_waiting());
    turn_start(NULL, NULL, NULL);
}

static void test_without_turns(void **state)
{
    (void)state;
    struct buf large = filled(20 * MIB);
    turn_start(NULL, NULL, NULL);
    buf_release(&large);
    assert_null(large.data);
    assert_false(turn_queue_is_waiting());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_slices),
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_arenas),
        cmocka_unit_test(test_without_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
