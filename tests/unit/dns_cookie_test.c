/* SPDX-License-Identifier: Apache-2.0
 * Tests of DNS cookies: the test vectors of RFC 9018 appendix A, and every kind of invalid cookie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdlib.h>

#include "server/dns/dns_cookie.h"

static size_t read_hex(const char *text, uint8_t *out)
{
    size_t n = 0;
    for (; text[2 * n]; n++) {
        char pair[] = {text[2 * n], text[2 * n + 1], 0};
        out[n] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

static struct dns_address read_address(const char *text)
{
    struct dns_address a;
    assert_int_equal(dns_address_read(slice_text(text), &a), 0);
    return a;
}

static struct dns_cookie_secrets secrets_of(const char *hex, uint32_t now_s)
{
    struct dns_cookie_secrets s = {0};
    uint8_t secret[SIPHASH_KEY_SIZE];
    assert_int_equal(read_hex(hex, secret), sizeof secret);
    dns_cookie_set_secret(&s, secret, now_s);
    return s;
}

static void expect_made(const struct dns_cookie_secrets *s, const char *query, const char *client,
                        uint32_t now_s, const char *wanted)
{
    uint8_t from[DNS_COOKIE_SIZE_MAX], want[DNS_COOKIE_SIZE_MAX], got[DNS_COOKIE_SIZE];
    struct dns_address address = read_address(client);
    read_hex(query, from);
    assert_int_equal(read_hex(wanted, want), sizeof got);
    dns_cookie_make(s, from, &address, now_s, got);
    assert_memory_equal(got, want, sizeof got);
}

static enum dns_cookie_state check(const struct dns_cookie_secrets *s, const char *cookie, const char *client,
                                   uint32_t now_s)
{
    uint8_t bytes[DNS_COOKIE_SIZE_MAX];
    struct dns_address address = read_address(client);
    size_t size = read_hex(cookie, bytes);
    return dns_cookie_check(s, slice_of(bytes, size), &address, now_s);
}

#define SECRET  "e5e973e5a6b2a43f48e7dc849e37bfcf"
#define CLIENT  "198.51.100.100"
#define COOKIE  "2464c4abcf10c957"
#define LEARNED "2464c4abcf10c957010000005cf79f111f8130c3eee29480"
enum { LEARNED_S = 1559731985 };

static void test_vectors(void **state)
{
    (void)state;
    struct dns_cookie_secrets s = secrets_of(SECRET, 1559700000);
    /* A.1: a new client. */
    assert_int_equal(check(&s, COOKIE, CLIENT, LEARNED_S), DNS_COOKIE_CLIENT_ONLY);
    expect_made(&s, COOKIE, CLIENT, LEARNED_S, LEARNED);
    /* A.2: the same one 40 minutes later. */
    assert_int_equal(check(&s, LEARNED, CLIENT, 1559734385), DNS_COOKIE_VALID);
    expect_made(&s, LEARNED, CLIENT, 1559734385, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
    /* A.3: reserved bytes that are set are hashed as they are. The text has the cookie made at 09:46:25,
     * which is 1559727985, and the answer at 1559734700: 112 minutes, older than the hour that the RFC itself
     * allows. */
    const char *reserved = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
    assert_int_equal(check(&s, reserved, "203.0.113.203", 1559727985 + 1800), DNS_COOKIE_VALID);
    assert_int_equal(check(&s, reserved, "203.0.113.203", 1559734700), DNS_COOKIE_BAD);
    expect_made(&s, reserved, "203.0.113.203", 1559734700,
                "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
    /* A.4: IPv6, and a secret that was changed meanwhile. */
    const char *client6 = "2001:db8:220:1:59de:d0f4:8769:82b8";
    const char *old = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
    s = secrets_of("dd3bdf9344b678b185a6f5cb60fca715", 1559700000);
    assert_int_equal(check(&s, old, client6, 1559741961), DNS_COOKIE_VALID);
    uint8_t secret[SIPHASH_KEY_SIZE];
    read_hex("445536bcd2513298075a5d379663c962", secret);
    dns_cookie_set_secret(&s, secret, 1559741900);
    assert_int_equal(check(&s, old, client6, 1559741961), DNS_COOKIE_VALID);
    expect_made(&s, old, client6, 1559741961, "22681ab97d52c298010000005cf7c609a6bb79d16625507a");
}

static void test_each_bit_counts(void **state)
{
    (void)state;
    struct dns_cookie_secrets s = secrets_of(SECRET, LEARNED_S);
    struct dns_address client = read_address(CLIENT), other = read_address("198.51.100.101");
    uint8_t cookie[DNS_COOKIE_SIZE];
    read_hex(LEARNED, cookie);
    for (size_t bit = 0; bit < sizeof cookie * 8; bit++) {
        cookie[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(dns_cookie_check(&s, slice_of(cookie, sizeof cookie), &client, LEARNED_S),
                         DNS_COOKIE_BAD);
        cookie[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(dns_cookie_check(&s, slice_of(cookie, sizeof cookie), &client, LEARNED_S),
                     DNS_COOKIE_VALID);
    assert_int_equal(dns_cookie_check(&s, slice_of(cookie, sizeof cookie), &other, LEARNED_S),
                     DNS_COOKIE_BAD);
    s = secrets_of("00000000000000000000000000000000", LEARNED_S);
    assert_int_equal(dns_cookie_check(&s, slice_of(cookie, sizeof cookie), &client, LEARNED_S),
                     DNS_COOKIE_BAD);
}

static void test_sizes(void **state)
{
    (void)state;
    struct dns_cookie_secrets s = secrets_of(SECRET, LEARNED_S);
    struct dns_address client = read_address(CLIENT);
    uint8_t cookie[DNS_COOKIE_SIZE_MAX] = {0};
    read_hex(LEARNED, cookie);
    assert_int_equal(dns_cookie_check(&s, (struct slice){0}, &client, LEARNED_S), DNS_COOKIE_NONE);
    for (size_t n = DNS_COOKIE_SIZE_MIN; n <= DNS_COOKIE_SIZE_MAX; n++)
        assert_int_equal(dns_cookie_check(&s, slice_of(cookie, n), &client, LEARNED_S),
                         n == DNS_COOKIE_SIZE ? DNS_COOKIE_VALID : DNS_COOKIE_BAD);
}

static void test_age(void **state)
{
    (void)state;
    static const struct {
        int64_t after_s;
        enum dns_cookie_state wanted;
    } rows[] = {{0, DNS_COOKIE_VALID},     {DNS_COOKIE_AGE_MAX_S, DNS_COOKIE_VALID},
                {-300, DNS_COOKIE_VALID},  {DNS_COOKIE_AGE_MAX_S + 1, DNS_COOKIE_BAD},
                {-301, DNS_COOKIE_BAD},    {86400, DNS_COOKIE_BAD},
                {1u << 31, DNS_COOKIE_BAD}};
    struct dns_address client = read_address(CLIENT);
    const uint32_t made[] = {LEARNED_S, 0, UINT32_MAX, 200}; /* the count passes 2^32 */
    for (size_t m = 0; m < sizeof made / sizeof *made; m++) {
        struct dns_cookie_secrets s = secrets_of(SECRET, made[m]);
        uint8_t cookie[DNS_COOKIE_SIZE] = "12345678";
        dns_cookie_make(&s, cookie, &client, made[m], cookie);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            assert_int_equal(dns_cookie_check(&s, slice_of(cookie, sizeof cookie), &client,
                                              made[m] + (uint32_t)rows[i].after_s),
                             rows[i].wanted);
    }
}

/* A cookie outlives one change of the secret, for its hour, and no second one. */
static void test_secrets_change(void **state)
{
    (void)state;
    struct dns_cookie_secrets s = {0};
    assert_true(dns_cookie_is_due(&s, LEARNED_S));
    s = secrets_of(SECRET, LEARNED_S);
    assert_false(s.has_previous);
    assert_false(dns_cookie_is_due(&s, LEARNED_S + DNS_COOKIE_SECRET_AGE_S - 1));
    assert_true(dns_cookie_is_due(&s, LEARNED_S + DNS_COOKIE_SECRET_AGE_S));
    uint8_t second[SIPHASH_KEY_SIZE] = "the second one.", third[SIPHASH_KEY_SIZE] = "the third one..";
    dns_cookie_set_secret(&s, second, LEARNED_S + 60);
    assert_int_equal(check(&s, LEARNED, CLIENT, LEARNED_S + 61), DNS_COOKIE_VALID);
    dns_cookie_set_secret(&s, third, LEARNED_S + 120);
    assert_int_equal(check(&s, LEARNED, CLIENT, LEARNED_S + 121), DNS_COOKIE_BAD);
    /* The last second in which a previous secret is valid. */
    s = secrets_of(SECRET, LEARNED_S - 7200);
    dns_cookie_set_secret(&s, second, LEARNED_S - 3600);
    assert_int_equal(check(&s, LEARNED, CLIENT, LEARNED_S), DNS_COOKIE_VALID);
    assert_int_equal(check(&s, LEARNED, CLIENT, LEARNED_S + 1), DNS_COOKIE_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_each_bit_counts), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_age),     cmocka_unit_test(test_secrets_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
