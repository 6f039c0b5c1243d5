/* SPDX-License-Identifier: Apache-2.0
 * Tests of the queue of batches that wait for the disk: lookups in it, and the life of its memory. */
#include "consensus/store/pending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK (256u << 10)

static void fill(struct pending *p, size_t blocks)
{
    for (size_t i = 0; i < 4 * blocks; i++)
        memset(pending_alloc(p, BLOCK / 4), (int)i, BLOCK / 4);
}

static struct pending_batch *submitted(struct pending *p, size_t blocks)
{
    fill(p, blocks);
    return pending_submit(p);
}

static void blocks_of_a_batch_serve_the_next_ones(void **state)
{
    (void)state;
    struct pending p;
    pending_init(&p);
    struct pending_batch *first = submitted(&p, 5);
    fill(&p, 1); /* there is more to write */
    pending_release(&p, first);
    assert_int_equal(p.block_count, 4); /* the fifth is the batch's own */
    fill(&p, 4);
    assert_int_equal(p.block_count, 0);
    struct pending_batch *second = pending_submit(&p);
    fill(&p, 1);
    pending_release(&p, second);
    assert_int_equal(p.block_count, 4);
    pending_done(&p);
}

static void blocks_go_when_nothing_waits(void **state)
{
    (void)state;
    struct pending p;
    pending_init(&p);
    pending_release(&p, submitted(&p, 5));
    assert_int_equal(p.block_count, 0);
    assert_null(p.blocks);
    pending_done(&p);
}

static void unused_blocks_of_a_batch_are_freed(void **state)
{
    (void)state;
    struct pending p;
    pending_init(&p);
    struct pending_batch *large = submitted(&p, 9), *small;
    fill(&p, 1);
    pending_release(&p, large);
    assert_int_equal(p.block_count, 8);
    small = submitted(&p, 1);
    fill(&p, 1);
    pending_release(&p, small);
    assert_int_equal(p.block_count, 1);
    pending_done(&p);
}

static void no_more_than_a_few_megabytes_are_kept(void **state)
{
    (void)state;
    struct pending p;
    pending_init(&p);
    struct pending_batch *huge = submitted(&p, 100);
    fill(&p, 1);
    pending_release(&p, huge);
    assert_int_equal(p.block_count, 16);
    pending_alloc(&p, 3 * BLOCK); /* larger than a block: not from there */
    assert_int_equal(p.block_count, 16);
    pending_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_a_batch_serve_the_next_ones),
        cmocka_unit_test(blocks_go_when_nothing_waits),
        cmocka_unit_test(unused_blocks_of_a_batch_are_freed),
        cmocka_unit_test(no_more_than_a_few_megabytes_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
