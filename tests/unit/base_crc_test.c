/* SPDX-License-Identifier: Apache-2.0
 * The portable CRC-32C, which machines with the instruction would otherwise never run. */
#include "tests/unit/unit.h"

#define CRC32C_PORTABLE
#include "base/hash.c"

static void test_portable(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    static uint8_t data[1000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 3));
    uint32_t slow = ~0u;
    for (size_t i = 0; i < sizeof data; i++) {
        slow ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            slow = (slow >> 1) ^ ((slow & 1) ? 0x82f63b78u : 0);
    }
    assert_int_equal(crc32c(0, data, sizeof data), ~slow);
    for (size_t cut = 0; cut < 20; cut++)
        assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, sizeof data - cut), ~slow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_portable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
