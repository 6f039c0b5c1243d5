/* SPDX-License-Identifier: Apache-2.0
 * Tests of the DNS index, which is built in slices while the catalog changes. dns_answer_test.c tests its
 * content. */
#include "tests/unit/unit.h"

#include "tests/unit/dns_world.h"

enum { INSTANCES = 2000, STEP_NS = 100000 };

static void put_many(struct dns_world *w, const char *service, unsigned third)
{
    char key[64], value[64];
    for (unsigned i = 0; i < INSTANCES; i++) {
        snprintf(key, sizeof key, "default/default/%s/i%05u", service, i);
        snprintf(value, sizeof value, "{\"host\":\"10.%u.%u.%u\"}", third, i / 250, i % 250);
        dns_world_put(w, NAME_INSTANCE, key, value);
    }
}

static void delete_large(struct dns_world *w, unsigned from, unsigned to)
{
    char key[64];
    for (unsigned i = from; i < to; i++) {
        snprintf(key, sizeof key, "default/default/large/i%05u", i);
        dns_world_put(w, NAME_INSTANCE, key, NULL);
    }
}

static bool is_at(struct dns_world *w, const char *host, const char *service)
{
    const struct catalog_service *list[4];
    struct dns_address address;
    assert_int_equal(dns_address_read(slice_text(host), &address), 0);
    size_t n = dns_index_at_address(w->index, w->catalog, &address, list, 4);
    return n == 1 && slice_equal(list[0]->name, slice_text(service));
}

static enum dns_rcode rcode_of(struct dns_world *w, const char *text)
{
    uint8_t query[300] = "\x12\x34\x01\x00\0\1\0\0\0\0\0\0", out[DNS_ANSWER_MAX];
    struct dns_name n = {0};
    struct dns_result result;
    size_t size = 12;
    assert_int_equal(dns_name_read_text(slice_text(text), &n), 0);
    memcpy(query + size, n.wire, n.size);
    size += n.size;
    memcpy(query + size, (uint8_t[]){0, DNS_A, 0, 1}, 4);
    const struct dns_request request = {.query = slice_of(query, size + 4), .is_tcp = true};
    dns_world_answer(w, request, out, &result);
    return result.rcode;
}

static size_t finish(struct dns_world *w)
{
    size_t slices = 1;
    while (dns_index_turn(w->index, w->catalog))
        slices++;
    assert_false(dns_index_is_building(w->index));
    return slices;
}

/* Until the index is complete no answer says that a name does not exist. */
static void test_first(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    put_many(w, "large", 50);
    dns_world_step_ns = STEP_NS;
    assert_int_equal(rcode_of(w, "orders.svc.cairn."), DNS_NOERROR);
    assert_false(dns_index_is_building(w->index)); /* no query has needed it */
    assert_int_equal(rcode_of(w, "nobody.svc.cairn."), DNS_SERVFAIL);
    assert_int_equal(rcode_of(w, "99.7.50.10.in-addr.arpa."), DNS_SERVFAIL);
    assert_int_equal(rcode_of(w, "upper.default.test.svc.cairn."), DNS_SERVFAIL);
    assert_int_equal(rcode_of(w, "orders.svc.cairn."), DNS_NOERROR);
    assert_in_range(finish(w), 3, 50);
    assert_int_equal(rcode_of(w, "nobody.svc.cairn."), DNS_NXDOMAIN);
    assert_int_equal(rcode_of(w, "99.7.50.10.in-addr.arpa."), DNS_NOERROR);
    assert_int_equal(rcode_of(w, "upper.default.test.svc.cairn."), DNS_NOERROR);
    dns_world_step_ns = 0;
    dns_world_free(w);
}

/* Queries use the previous index while the next one is built. */
static void test_next(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    put_many(w, "large", 50);
    put_many(w, "larger", 51);
    dns_world_step_ns = STEP_NS;
    assert_false(dns_index_is_ready(w->index, w->catalog));
    finish(w);
    dns_world_put(w, NAME_INSTANCE, "default/default/new/1", "{\"host\":\"10.52.0.1\"}");
    dns_world_now_ns += 10000000000;
    assert_false(is_at(w, "10.52.0.1", "new"));
    assert_true(dns_index_is_building(w->index));
    assert_true(is_at(w, "10.50.7.99", "large"));
    assert_true(dns_index_turn(w->index, w->catalog)); /* it is in the middle of a service */
    delete_large(w, 0, INSTANCES / 2);
    assert_true(is_at(w, "10.50.7.99", "large"));
    finish(w);
    assert_true(is_at(w, "10.52.0.1", "new"));
    assert_true(is_at(w, "10.50.7.99", "large"));
    assert_true(is_at(w, "10.51.7.249", "larger"));

    dns_world_now_ns += 10000000000;
    assert_true(is_at(w, "10.51.7.249", "larger"));
    assert_true(dns_index_is_building(w->index));
    delete_large(w, INSTANCES / 2, INSTANCES); /* the service that it is in is deleted */
    finish(w);
    assert_false(is_at(w, "10.50.7.99", "large"));
    assert_true(is_at(w, "10.51.7.249", "larger"));
    dns_world_step_ns = 0;
    dns_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first), cmocka_unit_test(test_next)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
