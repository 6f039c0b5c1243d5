/* SPDX-License-Identifier: Apache-2.0
 * Tests of response rate limiting in virtual time: the answers that a prefix gets, and the answers that
 * slip. A flood from other sources gives a limited prefix no more answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "server/dns/dns_rate.h"

enum { MS = 1000000, SECOND = 1000 * MS };
static const uint8_t key[SIPHASH_KEY_SIZE] = "a key of 16 byte";

static struct dns_address v4(uint32_t number)
{
    return (struct dns_address){
        {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number}, 4};
}

struct counts {
    unsigned passed, slipped, dropped;
};

static void ask(struct dns_rate *r, struct dns_address source, uint64_t now_ns, struct counts *c)
{
    enum dns_rate_verdict verdict = dns_rate_check(r, &source, now_ns);
    c->passed += verdict == DNS_RATE_PASS;
    c->slipped += verdict == DNS_RATE_SLIP;
    c->dropped += verdict == DNS_RATE_DROP;
}

/* For every type of query: a second's worth of answers at once, then so many a second. */
static void test_limit(void **state)
{
    (void)state;
    static const unsigned limits[] = {1, 2, 3, 10, 999, 1000, 50000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct dns_rate *r = dns_rate_new(limits[i], key);
        struct counts c = {0};
        uint64_t now = 5ull * SECOND;
        for (unsigned n = 0; n < 3 * limits[i]; n++)
            ask(r, v4(0x0a000001), now, &c);
        assert_int_equal(c.passed, limits[i]);
        assert_in_range(c.slipped, c.dropped - 1, c.dropped); /* every second one */
        assert_int_equal(c.slipped + c.dropped, 2 * limits[i]);
        /* Ten times the limit for ten seconds. */
        c = (struct counts){0};
        for (unsigned n = 0; n < 100 * limits[i]; n++)
            ask(r, v4(0x0a000001), now + (uint64_t)n * SECOND / limits[i] / 10, &c);
        assert_in_range(c.passed, 9 * limits[i], 10 * limits[i]);
        /* After a second without queries the full limit is back. */
        c = (struct counts){0};
        now += 12ull * SECOND;
        for (unsigned n = 0; n < 2 * limits[i]; n++)
            ask(r, v4(0x0a000001), now, &c);
        assert_int_equal(c.passed, limits[i]);
        dns_rate_free(r);
    }
}

static void test_prefixes(void **state)
{
    (void)state;
    enum { LIMIT = 10 };
    struct dns_rate *r = dns_rate_new(LIMIT, key);
    struct counts same = {0}, other = {0}, same6 = {0}, other6 = {0};
    for (uint8_t i = 0; i < 255; i++) {
        ask(r, v4(0x0a000000u + i), SECOND, &same);                                             /* one /24 */
        ask(r, (struct dns_address){{0x20, 1, 13, 184, 0, 0, 1, i, i, 7}, 16}, SECOND, &same6); /* one /56 */
    }
    assert_int_equal(same.passed, LIMIT);
    assert_int_equal(same6.passed, LIMIT);
    for (uint8_t i = 0; i < 100; i++) {
        ask(r, v4(0x0a000100u + i * 0x100u), SECOND, &other);
        ask(r, (struct dns_address){{0x20, 1, 13, 184, 0, 0, 2 + i}, 16}, SECOND, &other6);
    }
    assert_int_equal(other.passed, 100);
    assert_int_equal(other6.passed, 100);
    struct dns_address a = {{1, 2, 3, 4}, 4}, b = {{1, 2, 3, 4, 5, 6, 7, 8, 9}, 16};
    assert_true(memcmp(dns_rate_prefix(&a).bytes, "\1\2\3\0", 4) == 0);
    assert_true(memcmp(dns_rate_prefix(&b).bytes, "\1\2\3\4\5\6\7\0\0", 9) == 0);
    dns_rate_free(r);
}

/* An attacker who forges all addresses does not get a limited prefix more answers. The attacker does not
 * limit others as long as the number of prefixes stays below the table's size. */
static void test_floods(void **state)
{
    (void)state;
    enum { LIMIT = 5, FLOOD = 1 << 20 };
    struct dns_rate *r = dns_rate_new(LIMIT, key);
    struct counts victim = {0}, flood = {0}, other = {0};
    for (unsigned i = 0; i < 100; i++)
        ask(r, v4(0xc0000201), SECOND, &victim);
    assert_int_equal(victim.passed, LIMIT);
    for (uint32_t i = 0; i < FLOOD; i++)
        ask(r, v4(i << 8), SECOND + i / 1024, &flood); /* in about a microsecond */
    for (unsigned i = 0; i < 100; i++)
        ask(r, v4(0xc0000201), SECOND + MS, &victim);
    assert_int_equal(victim.passed, LIMIT);
    assert_true(flood.passed < FLOOD);
    /* The flood leaves no trace. */
    for (uint32_t i = 0; i < 1000; i++)
        ask(r, v4(i << 8), 3ull * SECOND, &other);
    assert_int_equal(other.passed, 1000);
    /* 300,000 packets a second for a limit of 1,000 can exhaust 300 prefixes: others share both cells with
     * them once in 3,000 times. */
    dns_rate_free(r);
    r = dns_rate_new(1000, key);
    for (uint32_t i = 0; i < 300; i++)
        for (unsigned n = 0; n < 1000; n++)
            ask(r, v4(i << 8), SECOND, &flood);
    other = (struct counts){0};
    for (uint32_t i = 300; i < 10300; i++)
        ask(r, v4(i << 8), SECOND, &other);
    assert_in_range(other.passed, 9980, 10000);
    dns_rate_free(r);
}

/* Another key, other neighbours: an attacker without the key cannot choose which prefixes share its cells. */
static void test_key(void **state)
{
    (void)state;
    enum { LIMIT = 1, SOURCES = 60000 };
    unsigned same = 0, limited = 0;
    struct dns_rate *x = dns_rate_new(LIMIT, key),
                    *y = dns_rate_new(LIMIT, (const uint8_t *)"another key, too");
    for (uint32_t i = 0; i < SOURCES; i++) {
        struct dns_address a = v4(i << 8);
        bool in_x = dns_rate_check(x, &a, SECOND), in_y = dns_rate_check(y, &a, SECOND);
        limited += in_x;
        same += in_x && in_y;
    }
    assert_in_range(limited, SOURCES / 2, SOURCES * 9 / 10); /* 60,000 in 32,768 cells */
    assert_in_range(same, 1, limited - 1000);
    dns_rate_free(x);
    dns_rate_free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
