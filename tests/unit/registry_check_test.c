/* SPDX-License-Identifier: Apache-2.0
 * Tests of health checks: the field `check` of a document, the states that follow from a result, and the
 * addresses that a check may connect to. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "registry/check_address.h"
#include "registry/document.h"
#include "registry/quota.h"

static int read_instance(const char *text, enum document_reading how, struct arena *a, struct instance *ret,
                         char *error)
{
    return instance_read(slice_text(text), how, a, ret, error, 200);
}

static void check_written(const struct instance *i, const char *text)
{
    struct buf out = {0};
    instance_write(i, &out);
    assert_string_equal(buf_text(&out), text);
    buf_done(&out);
}

static void test_documents(void **state)
{
    static const char text[] =
        "{\"host\":\"h\",\"port\":1,\"weight\":100,\"ttl\":15,\"grace\":15,\"state\":\"starting\","
        "\"check\":{\"type\":\"https\",\"port\":8443,\"path\":\"/healthz?a=b\",\"insecure\":true,"
        "\"interval\":\"1m0s\",\"timeout\":\"500ms\",\"failures\":2,\"successes\":3,"
        "\"deregister_after\":\"1h0m0s\"},\"checked\":{\"state\":\"starting\"}}";
    struct arena a = {0};
    struct instance i;
    char error[200];
    (void)state;
    assert_int_equal(read_instance("{\"host\":\"h\",\"port\":1,\"check\":{\"type\":\"https\",\"port\":8443,"
                                   "\"path\":\"/healthz?a=b\",\"insecure\":true,\"interval\":\"60s\","
                                   "\"timeout\":\"0.5s\",\"failures\":2,\"successes\":3,"
                                   "\"deregister_after\":\"60m\"}}",
                                   DOCUMENT_STRICT, &a, &i, error),
                     OK);
    check_written(&i, text);
    assert_int_equal(read_instance(text, DOCUMENT_TOLERANT, &a, &i, error), OK);
    check_written(&i, text);
    struct instance *copy = instance_copy(&i);
    arena_reset(&a);
    check_written(copy, text);
    mem_free(copy);
    assert_int_equal(
        read_instance("{\"host\":\"h\",\"port\":1,\"check\":{\"type\":\"tcp\",\"interval\":\"1s\"}}",
                      DOCUMENT_STRICT, &a, &i, error),
        OK);
    assert_int_equal(i.check->timeout_ms, 1000); /* never longer than the interval */
    assert_int_equal(i.check->failures, 3);
    assert_int_equal(i.check->successes, 1);
    static const char grpc[] =
        "{\"host\":\"h\",\"port\":1,\"weight\":100,\"ttl\":15,\"grace\":15,\"state\":\"starting\","
        "\"check\":{\"type\":\"grpc\",\"service\":\"shop.v1.Orders\",\"tls\":true,\"insecure\":true,"
        "\"interval\":\"10s\",\"timeout\":\"2s\",\"failures\":3,\"successes\":1},"
        "\"checked\":{\"state\":\"starting\"}}";
    assert_int_equal(read_instance(grpc, DOCUMENT_TOLERANT, &a, &i, error), OK);
    copy = instance_copy(&i);
    check_written(copy, grpc);
    assert_true(check_equal(i.check, copy->check));
    copy->check->is_tls = false;
    assert_false(check_equal(i.check, copy->check));
    *copy->check = *i.check;
    copy->check->service.size--;
    assert_false(check_equal(i.check, copy->check));
    mem_free(copy);
    /* A TTL check needs no port, and has none of the fields of a run. */
    static const char ttl[] = "{\"host\":\"h\",\"weight\":100,\"ttl\":15,\"grace\":15,\"state\":\"down\","
                              "\"check\":{\"type\":\"ttl\",\"ttl\":\"30s\",\"deregister_after\":\"1h0m0s\"},"
                              "\"checked\":{\"state\":\"down\",\"output\":\"no report for 30s\"}}";
    assert_int_equal(read_instance(ttl, DOCUMENT_TOLERANT, &a, &i, error), OK);
    copy = instance_copy(&i);
    check_written(copy, ttl);
    assert_true(check_is_valid(copy->check));
    assert_true(check_equal(i.check, copy->check));
    copy->check->ttl_ms = CHECK_TTL_MAX_MS + 1;
    assert_false(check_is_valid(copy->check));
    assert_false(check_equal(i.check, copy->check));
    mem_free(copy);
    /* The result decides the state, also if the stored state says something else. */
    assert_int_equal(
        read_instance("{\"host\":\"h\",\"port\":1,\"state\":\"up\",\"check\":{\"type\":\"tcp\"},"
                      "\"checked\":{\"state\":\"down\",\"registered\":\"warn\",\"output\":\"x\"}}",
                      DOCUMENT_TOLERANT, &a, &i, error),
        OK);
    assert_int_equal(i.state, INSTANCE_DOWN);
    assert_int_equal(i.check->registered, INSTANCE_WARN);
    arena_done(&a);
}

static void test_wrong_documents(void **state)
{
    static const struct {
        const char *check, *error;
    } rows[] = {
        {"1", "check is not an object"},
        {"{}", "check is wrong: type is missing: give tcp, http, https, grpc or ttl"},
        {"{\"type\":\"udp\"}", "check is wrong: type is not one of tcp, http, https, grpc, ttl"},
        {"{\"type\":\"ttl\"}", "check is wrong: ttl is missing: give the longest time between two reports"},
        {"{\"type\":\"ttl\",\"ttl\":\"999ms\"}", "check is wrong: ttl is not a duration from 1s to 24h0m0s"},
        {"{\"type\":\"ttl\",\"ttl\":\"24h0m1s\"}",
         "check is wrong: ttl is not a duration from 1s to 24h0m0s"},
        {"{\"type\":\"ttl\",\"ttl\":\"9s\",\"port\":1}",
         "check is wrong: port is given, but the type is ttl"},
        {"{\"type\":\"ttl\",\"ttl\":\"9s\",\"interval\":\"1s\"}",
         "check is wrong: interval is given, but the type is ttl"},
        {"{\"type\":\"ttl\",\"ttl\":\"9s\",\"failures\":1}",
         "check is wrong: failures is given, but the type is ttl"},
        {"{\"type\":\"tcp\",\"ttl\":\"9s\"}", "check is wrong: ttl is given, but the type is tcp"},
        {"{\"type\":\"tcp\",\"host\":\"10.0.0.1\"}", "check is wrong: unknown field \"host\""},
        {"{\"type\":\"tcp\",\"port\":0}", "check is wrong: port is not a whole number from 1 to 65535"},
        {"{\"type\":\"tcp\",\"path\":\"/x\"}", "check is wrong: path is given, but the type is tcp"},
        {"{\"type\":\"http\",\"path\":\"x\"}",
         "check is wrong: path is not a path that begins with / and is printable ASCII without blanks"},
        {"{\"type\":\"http\",\"path\":\"/ HTTP/1.1\"}",
         "check is wrong: path is not a path that begins with / and is printable ASCII without blanks"},
        {"{\"type\":\"http\",\"path\":\"/\\r\\nX: y\"}", "check is wrong: path holds a control character"},
        {"{\"type\":\"http\",\"insecure\":true}", "check is wrong: insecure is given, but the type is http"},
        {"{\"type\":\"grpc\",\"insecure\":true}", "check is wrong: insecure is given, but tls is not"},
        {"{\"type\":\"grpc\",\"path\":\"/x\"}", "check is wrong: path is given, but the type is grpc"},
        {"{\"type\":\"http\",\"service\":\"x\"}", "check is wrong: service is given, but the type is http"},
        {"{\"type\":\"https\",\"tls\":true}", "check is wrong: tls is given, but the type is https"},
        {"{\"type\":\"grpc\",\"service\":\"a b\"}",
         "check is wrong: service is not printable ASCII without blanks, of at most 200 bytes"},
        {"{\"type\":\"tcp\",\"interval\":\"999ms\"}",
         "check is wrong: interval is not a duration from 1s to 1h0m0s"},
        {"{\"type\":\"tcp\",\"interval\":\"61m\"}",
         "check is wrong: interval is not a duration from 1s to 1h0m0s"},
        {"{\"type\":\"tcp\",\"interval\":\"1500us\"}",
         "check is wrong: interval is not a duration from 1s to 1h0m0s"},
        {"{\"type\":\"tcp\",\"timeout\":\"11s\"}", "check is wrong: timeout is longer than interval"},
        {"{\"type\":\"tcp\",\"failures\":0}", "check is wrong: failures is not a whole number from 1 to 100"},
        {"{\"type\":\"tcp\",\"deregister_after\":\"59s\"}",
         "check is wrong: deregister_after is not a duration from 1m0s to 24h0m0s"},
    };
    struct arena a = {0};
    struct instance i;
    (void)state;
    for (size_t n = 0; n < COUNT_OF(rows); n++) {
        char error[200] = "", text[400];
        snprintf(text, sizeof text, "{\"host\":\"h\",\"port\":1,\"check\":%s}", rows[n].check);
        assert_int_equal(read_instance(text, DOCUMENT_STRICT, &a, &i, error), ERR_INVALID);
        assert_string_equal(error, rows[n].error);
    }
    char error[200];
    assert_int_equal(
        read_instance("{\"host\":\"h\",\"check\":{\"type\":\"tcp\"}}", DOCUMENT_STRICT, &a, &i, error),
        ERR_INVALID);
    assert_string_equal(error, "check has no port: give it one, or the instance");
    assert_int_equal(read_instance("{\"host\":\"h\",\"port\":1,\"check\":{\"type\":\"tcp\"},"
                                   "\"checked\":{\"state\":\"up\"}}",
                                   DOCUMENT_STRICT, &a, &i, error),
                     ERR_INVALID);
    assert_string_equal(error, "unknown field \"checked\"");
    arena_done(&a);
}

static void test_state_in_effect(void **state)
{
    (void)state;
    assert_int_equal(check_effect(INSTANCE_UP, INSTANCE_STARTING), INSTANCE_STARTING);
    assert_int_equal(check_effect(INSTANCE_UP, INSTANCE_UP), INSTANCE_UP);
    assert_int_equal(check_effect(INSTANCE_WARN, INSTANCE_UP), INSTANCE_WARN);
    assert_int_equal(check_effect(INSTANCE_UP, INSTANCE_WARN), INSTANCE_WARN);
    assert_int_equal(check_effect(INSTANCE_WARN, INSTANCE_DOWN), INSTANCE_DOWN);
    assert_int_equal(check_effect(INSTANCE_DRAINING, INSTANCE_UP), INSTANCE_DRAINING);
    assert_int_equal(check_effect(INSTANCE_DOWN, INSTANCE_UP), INSTANCE_DOWN);
}

/* NULL: allowed. */
static const char *refusal(const struct check_networks *allowed, const char *address)
{
    uint8_t bytes[16];
    bool is_v6 = strchr(address, ':') != NULL;
    assert_int_equal(inet_pton(is_v6 ? AF_INET6 : AF_INET, address, bytes), 1);
    return check_address_refusal(allowed, is_v6, bytes);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *address, *reason;
    } rows[] = {
        {"10.0.0.5", NULL},
        {"172.16.0.1", NULL},
        {"192.168.1.1", NULL},
        {"8.8.8.8", NULL},
        {"100.64.0.1", NULL},
        {"0.0.0.0", "unspecified"},
        {"0.1.2.3", "unspecified"},
        {"127.0.0.1", "loopback"},
        {"127.255.255.255", "loopback"},
        {"126.255.255.255", NULL},
        {"128.0.0.0", NULL},
        {"169.254.169.254", "cloud metadata"},
        {"169.254.170.2", "cloud metadata"},
        {"169.254.1.1", "link-local"},
        {"169.253.255.255", NULL},
        {"100.100.100.200", "cloud metadata"},
        {"168.63.129.16", "cloud metadata"},
        {"192.0.0.192", "cloud metadata"},
        {"192.0.1.1", NULL},
        {"224.0.0.1", "multicast"},
        {"239.255.255.255", "multicast"},
        {"240.0.0.1", "reserved"},
        {"255.255.255.255", "reserved"},
        {"2001:db8::1", NULL},
        {"2a00:1450::1", NULL},
        {"fd12:3456::1", NULL},
        {"::", "unspecified"},
        {"::1", "loopback"},
        {"::2", "IPv4-compatible"},
        {"::127.0.0.1", "IPv4-compatible"},
        {"::10.0.0.5", "IPv4-compatible"},
        {"::ffff:127.0.0.1", "IPv4-mapped"},
        {"::ffff:10.0.0.5", "IPv4-mapped"},
        {"::ffff:a9fe:a9fe", "IPv4-mapped"},
        {"::ffff:0:127.0.0.1", "IPv4-translated"},
        {"64:ff9b::7f00:1", "IPv4 through NAT64"},
        {"64:ff9b:1::1", "IPv4 through NAT64"},
        {"2001::1", "IPv4 through Teredo"},
        {"2001:1::1", NULL},
        {"2002:7f00:1::", "IPv4 through 6to4"},
        {"2003::1", NULL},
        {"fe80::1", "link-local"},
        {"febf::1", "link-local"},
        {"fec0::1", "site-local"},
        {"fd00:ec2::254", "cloud metadata"},
        {"fd20:ce::254", "cloud metadata"},
        {"fd00:42::42", "cloud metadata"},
        {"ff02::1", "multicast"},
    };
    const struct check_networks none = {0};
    (void)state;
    for (size_t n = 0; n < COUNT_OF(rows); n++) {
        const char *reason = refusal(&none, rows[n].address);
        if (!reason != !rows[n].reason || (reason && strcmp(reason, rows[n].reason) != 0))
            fail_msg("%s: %s, but should be %s", rows[n].address, reason ? reason : "allowed",
                     rows[n].reason ? rows[n].reason : "allowed");
    }
}

static void test_allowed_networks(void **state)
{
    struct check_networks n;
    char error[200];
    (void)state;
    assert_int_equal(check_networks_parse(slice_text("127.0.0.0/8,::1,fe80::/10,10.1.2.3"), &n, error, 200),
                     OK);
    assert_int_equal(n.count, 4);
    assert_null(refusal(&n, "127.3.4.5"));
    assert_null(refusal(&n, "::1"));
    assert_null(refusal(&n, "fe80::9"));
    assert_string_equal(refusal(&n, "::ffff:127.0.0.1"), "IPv4-mapped"); /* another form of an allowed one */
    assert_string_equal(refusal(&n, "169.254.169.254"), "cloud metadata");
    assert_int_equal(check_networks_parse(slice_text("0.0.0.0/0"), &n, error, 200), OK);
    assert_null(refusal(&n, "169.254.169.254"));
    assert_string_equal(refusal(&n, "::1"), "loopback");
    assert_int_equal(check_networks_parse(slice_text(""), &n, error, 200), OK);
    assert_int_equal(n.count, 0);
    static const char *const wrong[] = {"127.0.0.0/33", "::/129", "localhost", "127.1", "/8",
                                        "10.0.0.0/-1",  ",",      "1.2.3.4/",  "::1%lo"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(check_networks_parse(slice_text(wrong[i]), &n, error, 200), ERR_INVALID);
}

/* Claims of pending requests count, too; the first limit that is reached is named. */
static void test_quota(void **state)
{
    const struct catalog_events events = {0};
    struct catalog *catalog = catalog_new(&events);
    struct quota q = {.checks_max = 3, .namespace_checks_max = 2};
    struct quota_claim claims[5] = {0};
    const char *const namespaces[] = {"a", "a", "a", "b", "b"};
    char error[200];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(claims); i++) {
        struct quota_key key = {slice_text(namespaces[i]), slice_text("g"), slice_text("s")};
        int err = quota_claim_check(&q, catalog, &key, &claims[i], error, sizeof error);
        assert_int_equal(err, i == 2 || i == 4 ? ERR_QUOTA : OK);
        if (i == 2)
            assert_string_equal(error,
                                "there are 2 instances with a check in namespace a; at most 2 are allowed "
                                "(--registry-max-namespace-checks)");
        if (i == 4)
            assert_string_equal(error, "there are 3 instances with a check; at most 3 are allowed "
                                       "(--registry-max-checks)");
    }
    quota_release(&q, &claims[0]);
    struct quota_key key = {slice_text("b"), slice_text("g"), slice_text("s")};
    assert_int_equal(quota_claim_check(&q, catalog, &key, &claims[4], error, sizeof error), OK);
    for (size_t i = 0; i < COUNT_OF(claims); i++)
        quota_release(&q, &claims[i]);
    quota_done(&q);
    catalog_free(catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents),        cmocka_unit_test(test_wrong_documents),
        cmocka_unit_test(test_state_in_effect),  cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_allowed_networks), cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
