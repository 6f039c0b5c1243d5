/* SPDX-License-Identifier: Apache-2.0
 * Tests of cairnctl's leases: the pause between two keep-alives is that of etcd's client. */
#include "tests/unit/unit.h"

#include "sdk/ctl/rpc.h"

/* etcdctl 3.7.1 prints 9 lines in 13 s with a TTL of 4 s, and 4 with one of 10 s: pauses of 1.5 and 3.5 s. */
static void pauses_between_keep_alives(void **state)
{
    static const int64_t pauses[][2] = {{0, 500},  {1, 500},  {2, 1000},  {3, 1000},   {4, 1500},
                                        {5, 2000}, {6, 2000}, {10, 3500}, {60, 20000}, {100, 33500}};
    (void)state;
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++)
        assert_int_equal(ctl_keep_alive_pause_ms(pauses[i][0]), pauses[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_between_keep_alives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
