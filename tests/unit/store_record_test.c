/* SPDX-License-Identifier: Apache-2.0
 * Tests of the stored form of a change: round trips, sizes, and that no damaged byte is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "consensus/store/record.h"

static void round_trip(const struct record *in, struct revision revision)
{
    uint8_t bytes[4096];
    struct record out;
    size_t size = record_encode(in, revision, bytes);
    assert_true(size <= RECORD_OVERHEAD_MAX + in->key.size + in->value.size);
    assert_int_equal(record_decode(slice_of(bytes, size), revision, true, &out), 0);
    assert_true(slice_equal(in->key, out.key) && slice_equal(in->value, out.value));
    assert_int_equal(in->create_revision, out.create_revision);
    assert_int_equal(in->version, out.version);
    assert_int_equal(in->lease, out.lease);
}

static void test_round_trips(void **state)
{
    (void)state;
    struct revision big = {INT64_MAX, UINT32_MAX};
    round_trip(&(struct record){slice_text("k"), slice_text("v"), 1, 1, 0}, (struct revision){1, 0});
    round_trip(&(struct record){slice_text("k"), slice_text(""), 3, 7, -5}, (struct revision){1000, 3});
    round_trip(&(struct record){slice_text("key"), slice_text("value"), 1, INT64_MAX, INT64_MAX}, big);
    round_trip(&(struct record){.key = slice_text("gone")}, (struct revision){9, 2});
    uint8_t binary[300] = {0};
    round_trip(&(struct record){slice_of(binary, 300), slice_of(binary, 300), 5, 1, 1},
               (struct revision){5, 0});
}

/* Eleven records of 64 + 256 bytes must fit a page of LMDB: see record.h. */
static void test_size(void **state)
{
    (void)state;
    uint8_t key[64] = {1}, value[256] = {2}, bytes[512];
    struct record r = {slice_of(key, 64), slice_of(value, 256), 5000000, 1, 0};
    assert_int_equal(record_encode(&r, (struct revision){5000000, 0}, bytes), 328);
    r = (struct record){slice_of(key, 64), slice_of(value, 256), 1, 100000, INT64_MAX};
    assert_true(record_encode(&r, (struct revision){5000000, 0}, bytes) <= 348);
}

/* Every single flipped bit, every cut, and a wrong revision must be detected. */
static void test_damage(void **state)
{
    (void)state;
    uint8_t bytes[256];
    struct record in = {slice_text("some/key"), slice_text("a value"), 90, 3, 77}, out;
    struct revision revision = {100, 4};
    size_t size = record_encode(&in, revision, bytes);
    for (size_t i = 0; i < size * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(record_decode(slice_of(bytes, size), revision, true, &out), ERR_CORRUPT);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(record_decode(slice_of(bytes, cut), revision, true, &out), ERR_CORRUPT);
    assert_int_equal(record_decode(slice_of(bytes, size), (struct revision){100, 5}, true, &out),
                     ERR_CORRUPT);
    assert_int_equal(record_decode(slice_of(bytes, size), (struct revision){101, 4}, true, &out),
                     ERR_CORRUPT);
    assert_int_equal(record_decode(slice_of(bytes, size), revision, true, &out), 0);
}

static void test_revision_order(void **state)
{
    (void)state;
    struct revision all[] = {{1, 0}, {1, 1}, {1, 256}, {2, 0}, {255, 9}, {256, 0}, {INT64_MAX, 1}};
    for (size_t i = 1; i < sizeof all / sizeof *all; i++) {
        uint8_t a[REVISION_KEY_SIZE], b[REVISION_KEY_SIZE];
        revision_encode(all[i - 1], a);
        revision_encode(all[i], b);
        assert_true(memcmp(a, b, sizeof a) < 0);
        assert_true(revision_compare(all[i - 1], all[i]) < 0);
        assert_int_equal(revision_compare(revision_decode(b), all[i]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_revision_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
