/* SPDX-License-Identifier: Apache-2.0
 * Tests of base/net/sources.c: which source's connection is closed to make room for another. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/net/sources.h"

struct conn {
    struct source_conn source;
    unsigned evicted;
};

static void on_evict(struct source_conn *s)
{
    container_of(s, struct conn, source)->evicted++;
    sources_leave(s);
}

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = 77};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = 77};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        memcpy(&a, &v4, sizeof v4);
    else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
        memcpy(&a, &v6, sizeof v6);
    else
        a.ss_family = AF_UNIX;
    return a;
}

static void enter(struct sources *s, struct conn *c, const char *from)
{
    struct sockaddr_storage a = address_of(from);
    sources_enter(s, &c->source, &a, on_evict);
}

static uint64_t id(const char *text)
{
    struct sockaddr_storage a = address_of(text);
    return sources_id(&a);
}

static void leave_all(struct sources *s, struct conn *conns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sources_leave(&conns[i].source);
    assert_int_equal(0, s->count);
    assert_int_equal(0, s->opening);
    assert_int_equal(0, s->table.count);
    assert_int_equal(0, s->most.count);
    assert_int_equal(0, s->most_opening.count);
    sources_done(s);
}

static void test_ids(void **state)
{
    (void)state;
    assert_true(id("10.0.0.1") != id("10.0.0.2"));
    assert_int_equal(id("10.0.0.1"), id("::ffff:10.0.0.1"));
    assert_int_equal(id("2001:db8:1:2::1"), id("2001:db8:1:2:ffff::9"));
    assert_true(id("2001:db8:1:2::1") != id("2001:db8:1:3::1"));
    assert_int_equal(id("unix"), id("unix"));
    assert_true(id("unix") != id("127.0.0.1"));
}

/* One source opens more and more: it loses its own oldest ones, and other sources lose none. */
static void test_limit_of_a_source(void **state)
{
    (void)state;
    struct sources s;
    struct conn c[6] = {0};
    sources_init(&s, 100, 3, 100);
    enter(&s, &c[0], "10.0.0.1");
    for (size_t i = 1; i < 5; i++)
        enter(&s, &c[i], "10.0.0.9");
    assert_int_equal(1, c[1].evicted);
    assert_int_equal(0, c[0].evicted + c[2].evicted + c[3].evicted + c[4].evicted);
    sources_serve(&c[2].source); /* it counts no more */
    sources_serve(&c[2].source);
    enter(&s, &c[5], "10.0.0.9");
    assert_int_equal(0, c[2].evicted + c[3].evicted + c[4].evicted + c[5].evicted);
    assert_int_equal(4, s.opening);
    assert_int_equal(5, s.count);
    assert_int_equal(1, s.evicted_opening);
    leave_all(&s, c, 6);
}

static void test_limit_of_opening(void **state)
{
    (void)state;
    struct sources s;
    struct conn c[8] = {0};
    sources_init(&s, 4, 0, 100);
    enter(&s, &c[0], "10.0.0.1");
    for (size_t i = 1; i < 4; i++)
        enter(&s, &c[i], "10.0.0.9");
    enter(&s, &c[4], "10.0.0.2"); /* a newcomer: the one with the most makes room */
    assert_int_equal(1, c[1].evicted);
    enter(&s, &c[5], "10.0.0.9"); /* and it takes no other's place */
    assert_int_equal(1, c[2].evicted);
    assert_int_equal(0, c[0].evicted + c[4].evicted);
    enter(&s, &c[6], "10.0.0.3");
    assert_int_equal(1, c[3].evicted);
    enter(&s, &c[7], "10.0.0.9"); /* all have one: its own second one, not another's only one */
    assert_int_equal(1, c[5].evicted);
    assert_int_equal(4, s.opening);
    leave_all(&s, c, 8);
}

/* The limit of all: opening ones are closed first, then the oldest served one, of the source with the most.
 */
static void test_limit_of_all(void **state)
{
    (void)state;
    struct sources s;
    struct conn c[7] = {0};
    sources_init(&s, 100, 100, 4);
    enter(&s, &c[0], "10.0.0.1");
    sources_serve(&c[0].source);
    for (size_t i = 1; i < 4; i++) {
        enter(&s, &c[i], "10.0.0.9");
        if (i < 3)
            sources_serve(&c[i].source);
    }
    enter(&s, &c[4], "10.0.0.2");
    assert_int_equal(1, c[3].evicted);
    enter(&s, &c[5], "10.0.0.3");
    assert_int_equal(1, c[1].evicted);
    assert_int_equal(1, s.evicted_served);
    assert_int_equal(0, c[0].evicted + c[2].evicted + c[4].evicted + c[5].evicted);
    leave_all(&s, c, 7);
}

static void test_no_limits(void **state)
{
    (void)state;
    struct sources s;
    struct conn c[50] = {0};
    sources_init(&s, 0, 0, 0);
    for (size_t i = 0; i < 50; i++)
        enter(&s, &c[i], "10.0.0.1");
    assert_int_equal(50, s.count);
    leave_all(&s, c, 50);
    struct conn uncounted = {0};
    enter(NULL, &uncounted, "10.0.0.1");
    sources_serve(&uncounted.source);
    sources_leave(&uncounted.source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_limit_of_a_source),
        cmocka_unit_test(test_limit_of_opening),
        cmocka_unit_test(test_limit_of_all),
        cmocka_unit_test(test_no_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
