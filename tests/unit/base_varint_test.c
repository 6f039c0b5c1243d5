/* SPDX-License-Identifier: Apache-2.0
 * Tests of the reader of protobuf's wire format: every size of number, padding, limits of 64 bits, input that
 * ends at every byte, fields of every type. */
#include "tests/unit/unit.h"

#include "base/varint.h"

#define BYTES(...) slice_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static size_t encode(uint64_t v, uint8_t at[VARINT_SIZE_MAX])
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        at[n++] = (uint8_t)(v | 0x80);
    at[n++] = (uint8_t)v;
    return n;
}

static void expect_number(struct slice s, uint64_t wanted, size_t left)
{
    uint64_t value = ~wanted;
    assert_true(varint_take(&s, &value));
    assert_int_equal(value, wanted);
    assert_int_equal(s.size, left);
}

static void expect_refused(struct slice s)
{
    uint64_t value;
    assert_false(varint_take(&s, &value));
}

static void numbers_of_every_size(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++)
        for (int more = -1; more <= 1; more++) {
            uint8_t bytes[VARINT_SIZE_MAX + 1];
            uint64_t v = (UINT64_C(1) << bit) + (uint64_t)more;
            size_t n = encode(v, bytes);
            bytes[n] = 0xff; /* of the next number: not touched */
            expect_number(slice_of(bytes, n + 1), v, 1);
            for (size_t cut = 0; cut < n; cut++)
                expect_refused(slice_of(bytes, cut));
        }
}

static void limits_of_64_bits(void **state)
{
    (void)state;
    expect_number(BYTES(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), UINT64_MAX, 0);
    expect_number(BYTES(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01), UINT64_C(1) << 63, 0);
    /* One bit more, and each higher bit of the tenth byte. */
    for (unsigned last = 2; last < 0x80; last++)
        expect_refused(BYTES(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, (uint8_t)last));
    /* An eleventh byte. */
    expect_refused(BYTES(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00));
    expect_refused(BYTES(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x81, 0x00));
}

static void padded_numbers_are_taken(void **state)
{
    (void)state;
    expect_number(BYTES(0x80, 0x00), 0, 0);
    expect_number(BYTES(0x81, 0x80, 0x00, 0x05), 1, 1);
    expect_number(BYTES(0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00), 5, 0);
}

static void no_bytes(void **state)
{
    (void)state;
    struct wire_field f;
    struct slice none = {0};
    expect_refused(none);
    assert_false(wire_field_take(&none, &f));
}

static void fields_of_every_type(void **state)
{
    (void)state;
    struct slice s = BYTES(0x08, 0x96, 0x01,                         /* 1: 150 */
                           0x12, 0x03, 'a', 'b', 'c',                /* 2: "abc" */
                           0x19, 1, 2, 3, 4, 5, 6, 7, 8,             /* 3: 8 bytes */
                           0xfd, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3, 4, /* the largest: 4 bytes */
                           0x22, 0x00);                              /* 4: no bytes */
    static const struct {
        uint32_t number;
        enum wire_type type;
        uint64_t value;
        size_t size;
        uint8_t first;
    } wanted[] = {{1, WIRE_VARINT, 150, 0, 0},
                  {2, WIRE_BYTES, 0, 3, 'a'},
                  {3, WIRE_64, 0, 8, 1},
                  {0x1fffffff, WIRE_32, 0, 4, 1},
                  {4, WIRE_BYTES, 0, 0, 0}};
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        struct wire_field f;
        assert_true(wire_field_take(&s, &f));
        assert_int_equal(f.number, wanted[i].number);
        assert_int_equal(f.type, wanted[i].type);
        assert_int_equal(f.value, wanted[i].value);
        assert_int_equal(f.bytes.size, wanted[i].size);
        if (f.bytes.size)
            assert_int_equal(f.bytes.data[0], wanted[i].first);
    }
    assert_int_equal(s.size, 0);
}

static void expect_no_field(struct slice whole, size_t size)
{
    struct wire_field f;
    struct slice s = slice_of(whole.data, size);
    if (wire_field_take(&s, &f))
        fail_msg("%zu of %zu bytes were taken for a field", size, whole.size);
}

static void a_field_that_ends_too_early(void **state)
{
    (void)state;
    const struct slice fields[] = {BYTES(0x88, 0x01, 0x96, 0x01), BYTES(0x12, 0x83, 0x00, 'a', 'b', 'c'),
                                   BYTES(0x19, 1, 2, 3, 4, 5, 6, 7, 8), BYTES(0x1d, 1, 2, 3, 4)};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        for (size_t size = 0; size < fields[i].size; size++)
            expect_no_field(fields[i], size);
    /* A length of 2^64 - 1. */
    struct slice endless = BYTES(0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'a');
    expect_no_field(endless, endless.size);
}

static void tags_that_protobuf_does_not_have(void **state)
{
    (void)state;
    const struct slice fields[] = {BYTES(0x00, 0x01),                         /* number 0 */
                                   BYTES(0x80, 0x80, 0x80, 0x80, 0x10, 0x01), /* number 2^29 */
                                   BYTES(0x0b, 0x0c),                         /* a group */
                                   BYTES(0x0c),
                                   BYTES(0x0e, 0x00),
                                   BYTES(0x0f, 0x00)};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        expect_no_field(fields[i], fields[i].size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_every_size),
        cmocka_unit_test(limits_of_64_bits),
        cmocka_unit_test(padded_numbers_are_taken),
        cmocka_unit_test(no_bytes),
        cmocka_unit_test(fields_of_every_type),
        cmocka_unit_test(a_field_that_ends_too_early),
        cmocka_unit_test(tags_that_protobuf_does_not_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
