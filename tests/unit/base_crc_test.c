/* SPDX-License-Identifier: Apache-2.0
 * Tests of CRC-32C against a bitwise implementation. Machines with the CRC instruction would otherwise never
 * run the tables. On ARM the test also runs the instruction, which the program detects when it starts. */
#include "tests/unit/unit.h"

#ifndef __aarch64__
#define CRC32C_PORTABLE
#endif
#include "base/hash.c"

static uint32_t by_bits(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void compare(uint32_t (*fn)(uint32_t crc, const void *data, size_t size))
{
    assert_int_equal(fn(0, "123456789", 9), 0xe3069283u);
    static uint8_t data[1000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 3));
    uint32_t want = by_bits(0, data, sizeof data);
    assert_int_equal(fn(0, data, sizeof data), want);
    for (size_t cut = 0; cut < 20; cut++) {
        assert_int_equal(fn(fn(0, data, cut), data + cut, sizeof data - cut), want);
        assert_int_equal(fn(7, data + cut, cut), by_bits(7, data + cut, cut));
    }
}

static void test_by_table(void **state)
{
    (void)state;
    compare(crc32c_by_table);
    compare(crc32c);
}

static void test_by_instruction(void **state)
{
    (void)state;
#ifdef CRC32C_BY_ARM
    if (!has_crc_instruction)
        skip();
    compare(crc32c_by_instruction);
    has_crc_instruction = false; /* a CPU without it */
    compare(crc32c);
    has_crc_instruction = true;
#else
    skip(); /* x86: base_map_test, with the compiler's flags for the CPU */
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_table),
                                       cmocka_unit_test(test_by_instruction)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
