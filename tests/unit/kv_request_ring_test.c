/* SPDX-License-Identifier: Apache-2.0
 * Tests of request numbers: each is assigned once, and finds its request until it is cleared. */
#include "unit.h"

#include "consensus/kv/request_ring.h"

#define FIRST (UINT64_C(1700000000000) << 20 | 77)

/* Addresses that stand for requests. */
static char places[5000];

static struct kv_request *request(size_t i)
{
    return (struct kv_request *)(void *)&places[i];
}

static void test_numbers_ascend_and_find(void **state)
{
    (void)state;
    struct kv_ring ring;
    kv_ring_init(&ring, FIRST);
    assert_null(kv_ring_find(&ring, FIRST)); /* before anything was added */
    for (size_t i = 0; i < 3; i++)
        assert_true(kv_ring_add(&ring, request(i)) == FIRST + i);
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(kv_ring_find(&ring, FIRST + i), request(i));
    assert_null(kv_ring_find(&ring, FIRST - 1)); /* of an earlier run */
    assert_null(kv_ring_find(&ring, FIRST + 3));
    kv_ring_done(&ring);
}

/* The begin moves over cleared numbers, never over a pending one; no number is used again. */
static void test_clearing(void **state)
{
    (void)state;
    struct kv_ring ring;
    kv_ring_init(&ring, FIRST);
    for (size_t i = 0; i < 4; i++)
        (void)kv_ring_add(&ring, request(i));
    kv_ring_clear(&ring, FIRST + 1);
    assert_true(ring.first == FIRST);
    assert_null(kv_ring_find(&ring, FIRST + 1));
    kv_ring_clear(&ring, FIRST);
    assert_true(ring.first == FIRST + 2);
    kv_ring_clear(&ring, FIRST + 3);
    kv_ring_clear(&ring, FIRST + 2);
    assert_true(ring.first == FIRST + 4 && ring.next == FIRST + 4);
    assert_true(kv_ring_add(&ring, request(9)) == FIRST + 4);
    kv_ring_done(&ring);
}

/* The ring grows while numbers are pending, and keeps them; then thousands pass through without another
 * growth. */
static void test_growth(void **state)
{
    (void)state;
    struct kv_ring ring;
    kv_ring_init(&ring, FIRST);
    for (size_t i = 0; i < COUNT_OF(places); i++)
        (void)kv_ring_add(&ring, request(i));
    size_t capacity = ring.capacity;
    assert_true(capacity >= COUNT_OF(places) && (capacity & (capacity - 1)) == 0);
    for (size_t i = 0; i < COUNT_OF(places); i++)
        assert_ptr_equal(kv_ring_find(&ring, FIRST + i), request(i));
    for (size_t i = 0; i < 20000; i++) {
        kv_ring_clear(&ring, ring.first);
        (void)kv_ring_add(&ring, request(i % COUNT_OF(places)));
    }
    assert_true(ring.capacity == capacity);
    kv_ring_done(&ring);
}

/* A number without a request: it is assigned, no lookup returns it, and it is cleared at once. */
static void test_a_number_alone(void **state)
{
    (void)state;
    struct kv_ring ring;
    kv_ring_init(&ring, FIRST);
    uint64_t number = kv_ring_add(&ring, NULL);
    kv_ring_clear(&ring, number);
    assert_null(kv_ring_find(&ring, number));
    assert_true(ring.first == ring.next && ring.next == number + 1);
    kv_ring_done(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_ascend_and_find),
        cmocka_unit_test(test_clearing),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_a_number_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
