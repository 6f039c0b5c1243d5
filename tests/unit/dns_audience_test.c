/* SPDX-License-Identifier: Apache-2.0
 * Tests of DNS for callers without credentials while users are enabled. The answer for a name that the
 * caller may not read equals, byte for byte, the answer for a name that does not exist. The test queries two
 * worlds: in one an audience may not read some of the data, in the other these data are deleted. */
#include "tests/unit/unit.h"

#include "tests/unit/dns_world.h"

static const char *const names[] = {
    "cairn.",
    "ns.cairn.",
    "svc.cairn.",
    "inst.cairn.",
    "nobody.cairn.",
    "default.svc.cairn.",
    "prod.svc.cairn.",
    "shop.prod.svc.cairn.",
    "default.prod.svc.cairn.",
    "test.svc.cairn.",
    "default.test.svc.cairn.",
    "orders.svc.cairn.",
    "orders.default.svc.cairn.",
    "blue.orders.svc.cairn.",
    "orders.prod.svc.cairn.",
    "orders.shop.prod.svc.cairn.",
    "blue.prod.svc.cairn.",
    "v2.orders.default.default.svc.cairn.",
    "_orders._http.svc.cairn.",
    "_tcp.orders.svc.cairn.",
    "_grpc._tcp.orders.svc.cairn.",
    "_orders._tcp.shop.prod.svc.cairn.",
    "com.foo.bar.svc.cairn.",
    "foo.bar.svc.cairn.",
    "bar.default.svc.cairn.",
    "upper.default.test.svc.cairn.",
    "named.svc.cairn.",
    "mixed.svc.cairn.",
    "settled.svc.cairn.",
    "guarded.svc.cairn.",
    "same.svc.cairn.",
    "10-0-0-1.orders.default.default.inst.cairn.",
    "10-1-0-1.orders.shop.prod.inst.cairn.",
    "orders.default.default.inst.cairn.",
    "shop.prod.inst.cairn.",
    "1.0.0.10.in-addr.arpa.",
    "1.0.1.10.in-addr.arpa.",
    "1.0.6.10.in-addr.arpa.",
    "7.0.40.10.in-addr.arpa.",
    "shown.svc.cairn.",
    "projected.svc.cairn.",
    "green.shown.svc.cairn.",
    "10-40-0-7.shown.default.default.inst.cairn.",
    "10-41-0-1.shown.default.default.inst.cairn.",
    "example.com.",
};
static const unsigned types[] = {DNS_A, DNS_AAAA, DNS_SRV, DNS_TXT, DNS_ANY, DNS_NS, DNS_SOA, DNS_PTR};

static size_t ask(struct dns_world *w, const char *name, unsigned type, uint8_t *out, struct dns_result *ret)
{
    uint8_t query[300] = "\x12\x34\x01\x00\0\1\0\0\0\0\0\0";
    struct dns_name n = {0};
    size_t size = 12;
    assert_int_equal(dns_name_read_text(slice_text(name), &n), 0);
    memcpy(query + size, n.wire, n.size);
    size += n.size;
    memcpy(query + size, (uint8_t[]){(uint8_t)(type >> 8), (uint8_t)type, 0, 1}, 4);
    const struct dns_request request = {.query = slice_of(query, size + 4), .is_tcp = true, .random = 7};
    return dns_world_answer(w, request, out, ret);
}

/* host NULL: deletes it. */
static void project(struct dns_world *w, const char *service, const char *id, const char *host,
                    const char *origin)
{
    struct slice name = slice_text("default");
    const struct name n = {NAME_INSTANCE, name, name, slice_text(service), slice_text(id), 0};
    struct slice tag = slice_text("green");
    struct instance doc = {.port = 1,
                           .weight = 100,
                           .state = INSTANCE_UP,
                           .source = slice_text("kratos"),
                           .tags = &tag,
                           .tag_count = 1};
    if (host)
        doc.host = slice_text(host);
    if (origin)
        doc.origin = slice_text(origin);
    catalog_begin(w->catalog, ++w->revision);
    catalog_project(w->catalog, &n, host ? &doc : NULL, w->revision, w->revision);
    catalog_end(w->catalog);
}

static struct audience *audience_of(const char *const *ranges)
{
    static const char *const prefixes[] = {"/microservices/"};
    struct auth_ranges r = {0};
    for (size_t i = 0; ranges[i]; i += 2)
        auth_ranges_add(&r, slice_text(ranges[i]), slice_text(ranges[i + 1]));
    auth_ranges_merge(&r);
    struct audience *a = audience_new_with_services(&r, prefixes, 1);
    auth_ranges_done(&r);
    return a;
}

static bool is_shown(const char *key, const char *const *shown)
{
    for (; *shown; shown++)
        if (strncmp(key, *shown, strlen(*shown)) == 0)
            return true;
    return false;
}

/* shown: prefixes of ns/group/service/id; ranges: the same as an audience's ranges. */
static void compare_worlds(const char *const *ranges, const char *const *shown)
{
    struct dns_world *hidden = dns_world_new(), *gone = dns_world_new();
    struct audience *audience = audience_of(ranges);
    unsigned answers = 0, nothing = 0;
    project(hidden, "shown", "kratos:1", "10.40.0.7", "/microservices/secret/1");
    project(gone, "shown", "kratos:1", NULL, NULL);
    project(hidden, "shown", "kratos:3", "10.41.0.1", "/microservices/secret/3"); /* beside a shown one */
    project(gone, "shown", "kratos:3", NULL, NULL);
    project(hidden, "projected", "kratos:2", "10.40.0.7", "/microservices/secret/2");
    project(gone, "projected", "kratos:2", NULL, NULL);
    dns_world_put(hidden, NAME_INSTANCE, "default/default/shown/s1", "{\"host\":\"10.41.0.1\",\"port\":1}");
    dns_world_put(gone, NAME_INSTANCE, "default/default/shown/s1",
                  is_shown("default/default/shown/", shown) ? "{\"host\":\"10.41.0.1\",\"port\":1}" : NULL);
    for (size_t i = 0; i < COUNT_OF(dns_world_instances); i++) {
        const char *key = dns_world_instances[i].key, *value = dns_world_instances[i].value;
        dns_world_put(hidden, NAME_INSTANCE, key, value);
        dns_world_put(gone, NAME_INSTANCE, key, is_shown(key, shown) ? value : NULL);
    }
    static const char *const settings[] = {"default/default/guarded", "default/default/settled"};
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        hidden->revision++, gone->revision++;
        if (!is_shown(settings[i], shown))
            dns_world_put(gone, NAME_SERVICE, settings[i], NULL);
        else
            dns_world_put(gone, NAME_OVERRIDE, "none/none/none/none", NULL);
        dns_world_put(hidden, NAME_OVERRIDE, "none/none/none/none", NULL);
    }
    hidden->view.audience = audience;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        for (size_t k = 0; k < COUNT_OF(types); k++) {
            static uint8_t a[DNS_ANSWER_MAX], b[DNS_ANSWER_MAX];
            struct dns_result x, y;
            dns_world_now_ns += 2000000000;
            size_t size = ask(hidden, names[i], types[k], a, &x),
                   other = ask(gone, names[i], types[k], b, &y);
            if (size != other || memcmp(a, b, size) != 0)
                fail_msg("%s %u: %u, and %u where it is not there", names[i], types[k], x.rcode, y.rcode);
            answers += x.rcode == DNS_NOERROR;
            nothing += x.rcode == DNS_NXDOMAIN;
        }
    assert_true(answers > 20 && nothing > 20);
    hidden->view.audience = NULL;
    audience_unref(audience);
    dns_world_free(hidden);
    dns_world_free(gone);
}

#define INSTANCES "/cairn/registry/instances/"

static void hidden_is_absent(void **state)
{
    (void)state;
    compare_worlds((const char *const[]){INSTANCES "prod/", INSTANCES "prod0", NULL},
                   (const char *const[]){"prod/", NULL});
    compare_worlds((const char *const[]){INSTANCES "prod/shop/", INSTANCES "prod/shop0", NULL},
                   (const char *const[]){"prod/shop/", NULL});
    compare_worlds((const char *const[]){INSTANCES "default/", INSTANCES "default0", NULL},
                   (const char *const[]){"default/", NULL});
    compare_worlds((const char *const[]){INSTANCES "default/default/shown/",
                                         INSTANCES "default/default/shown0", INSTANCES "Test/",
                                         INSTANCES "Test0", NULL},
                   (const char *const[]){"default/default/shown/", "Test/", NULL});
    /* A right to a single key shows no service. */
    compare_worlds((const char *const[]){INSTANCES "default/default/same/", INSTANCES "default/default/same0",
                                         INSTANCES "default/default/orders/o1", "", NULL},
                   (const char *const[]){"default/default/same/", NULL});
}

static void nothing_is_refused(void **state)
{
    (void)state;
    static uint8_t out[DNS_ANSWER_MAX];
    struct dns_world *w = dns_world_new();
    struct dns_result result;
    w->view.audience = audience_of((const char *const[]){"/microservices/", "/microservices0", NULL});
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        ask(w, names[i], DNS_A, out, &result);
        assert_int_equal(result.rcode, DNS_REFUSED);
    }
    audience_unref(w->view.audience);
    /* A change of rights applies at once, independent of the time when the index was built. */
    w->view.audience = audience_of((const char *const[]){INSTANCES, "/cairn/registry/instances0", NULL});
    ask(w, "com.foo.bar.svc.cairn.", DNS_A, out, &result);
    assert_int_equal(result.rcode, DNS_NOERROR);
    audience_unref(w->view.audience);
    w->view.audience = audience_of((const char *const[]){INSTANCES "prod/", INSTANCES "prod0", NULL});
    ask(w, "com.foo.bar.svc.cairn.", DNS_A, out, &result);
    assert_int_equal(result.rcode, DNS_NXDOMAIN);
    audience_unref(w->view.audience);
    w->view.audience = NULL;
    dns_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hidden_is_absent),
        cmocka_unit_test(nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
