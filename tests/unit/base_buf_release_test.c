/* SPDX-License-Identifier: Apache-2.0
 * buf_release: small buffers at once, large ones in slices, and where there are no turns all at once. */
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
    unsigned turns = 0;
    for (; turn_queue_is_waiting() && turns < 1000; turns++)
        turn_queue_run();
    assert_in_range(turns, 10, 40);
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
        cmocka_unit_test(test_without_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
