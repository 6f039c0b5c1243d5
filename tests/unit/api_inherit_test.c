/* SPDX-License-Identifier: Apache-2.0
 * Tests of inherited metadata in the answers of the API: of a service, of one instance, by label, by ETag, in
 * /sd/prometheus, while a long answer is written; and of settings that a client may not send. */
#include "tests/unit/api_fake.h"

#define ORDERS "/api/v1/services/orders"

static void settings(const char *text)
{
    change(NAME_SERVICE, "default", "default", "orders", "", text);
}

#define SHOP "{\"metadata\":{\"team\":\"shop\",\"tier\":\"1\"},\"inherit\":true}"

static void begin(void)
{
    put("orders", "o1", "{\"host\":\"h1\",\"port\":80,\"metadata\":{\"team\":\"own\"}}");
    put("orders", "o2", "{\"host\":\"h2\",\"port\":80}");
    settings(SHOP);
}

static void test_answers(void **state)
{
    (void)state;
    struct client c = connect_client();
    begin();
    assert_int_equal(ask(&c, "GET", ORDERS, NULL), 200);
    assert_string_equal(
        body_of(&c),
        "{\"revision\":4,\"protected\":false,\"instances\":["
        "{\"id\":\"o1\",\"host\":\"h1\",\"port\":80,\"weight\":100,\"metadata\":{\"team\":\"own\",\"tier\":"
        "\"1\"},"
        "\"ttl\":15,\"grace\":15,\"state\":\"up\",\"inherited\":[\"tier\"],\"settings_revision\":4,"
        "\"serving\":true,\"create_revision\":2,\"mod_revision\":2},"
        "{\"id\":\"o2\",\"host\":\"h2\",\"port\":80,\"weight\":100,\"metadata\":{\"team\":\"shop\",\"tier\":"
        "\"1\"},"
        "\"ttl\":15,\"grace\":15,\"state\":\"up\",\"inherited\":[\"team\",\"tier\"],\"settings_revision\":4,"
        "\"serving\":true,\"create_revision\":3,\"mod_revision\":3}],"
        "\"settings\":{\"metadata\":{\"team\":\"shop\",\"tier\":\"1\"},\"inherit\":true}}\n");
    assert_int_equal(ask(&c, "GET", ORDERS "/instances/o2", NULL), 200);
    assert_non_null(strstr(body_of(&c), "\"inherited\":[\"team\",\"tier\"],\"settings_revision\":4"));
    static const struct {
        const char *query, *ids;
    } rows[] = {
        {"?label=tier=1", "o1 o2 "},
        {"?label=team=shop", "o2 "},
        {"?label=team=own&label=tier=1", "o1 "},
        {"?label=tier=2", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char target[200], ids[100] = "";
        snprintf(target, sizeof target, ORDERS "%s", rows[i].query);
        assert_int_equal(ask(&c, "GET", target, NULL), 200);
        for (const char *at = body_of(&c); (at = strstr(at, "{\"id\":\"")); at += 7)
            strncat(strncat(ids, at + 7, 2), " ", 2);
        assert_string_equal(ids, rows[i].ids);
    }
    settings(NULL);
    assert_int_equal(ask(&c, "GET", ORDERS "/instances/o2", NULL), 200);
    assert_null(strstr(body_of(&c), "metadata"));
    done(&c);
}

/* A wait on one instance ends when what it inherits changes. */
static void test_wait(void **state)
{
    (void)state;
    struct client c = connect_client();
    begin();
    buf_clear(&c.in);
    request(&c, "GET", ORDERS "/instances/o2?wait_revision=4&timeout=60s", NULL, NULL);
    turn(&c, 20);
    assert_int_equal(c.in.size, 0);
    settings("{\"metadata\":{\"team\":\"pay\"},\"inherit\":true}");
    await_answer(&c);
    assert_non_null(strstr(body_of(&c), "\"metadata\":{\"team\":\"pay\"}"));
    done(&c);
}

/* The settings change while the instances are written: the answer is of its revision. */
static void test_long_answer(void **state)
{
    (void)state;
    struct client c = connect_client();
    begin();
    for (int i = 0; i < 300; i++) {
        char id[16];
        snprintf(id, sizeof id, "p%03d", i);
        put("orders", id, "{\"host\":\"h\"}");
    }
    buf_clear(&c.in);
    api_clock_step_ns = 200000; /* a slice is a few instances */
    request(&c, "GET", ORDERS, NULL, NULL);
    turn(&c, 5);
    settings("{\"metadata\":{\"team\":\"pay\"},\"inherit\":true}");
    await_answer(&c);
    api_clock_step_ns = 0;
    const char *body = body_of(&c);
    bool is_before = strstr(body, "\"revision\":304,") == strchr(body, '"');
    size_t shop = 0, pay = 0;
    for (const char *at = body; (at = strstr(at, "\"metadata\":{\"team\":\"")); at += 20) {
        shop += strncmp(at + 20, "shop", 4) == 0;
        pay += strncmp(at + 20, "pay", 3) == 0;
    }
    assert_int_equal(is_before ? shop : pay, 302); /* o1 has its own; the settings are there once */
    assert_int_equal(is_before ? pay : shop, 0);
    done(&c);
}

static void test_prometheus(void **state)
{
    (void)state;
    struct client c = connect_client();
    begin();
    assert_int_equal(ask(&c, "GET", "/sd/prometheus", NULL), 200);
    const char *o2 = strstr(body_of(&c), "\"__meta_cairn_instance\":\"o2\"");
    assert_non_null(
        strstr(body_of(&c), "\"__meta_cairn_metadata_team\":\"own\",\"__meta_cairn_metadata_tier\":\"1\""));
    assert_non_null(o2);
    assert_non_null(
        strstr(o2, "\"__meta_cairn_metadata_team\":\"shop\",\"__meta_cairn_metadata_tier\":\"1\""));
    done(&c);
}

static void test_settings(void **state)
{
    (void)state;
    struct client c = connect_client();
    const struct registry_result result = {.revision = 7};
    assert_int_equal(
        call_api(&c, "PUT", ORDERS, "{\"metadata\":{\"team\":\"shop\"}}", "put_settings", OK, &result), 200);
    fake_registry.call = NULL;
    assert_int_equal(ask(&c, "PUT", ORDERS, "{\"metadata\":{\"team\":\"shop\"},\"inherit\":true}"), 400);
    assert_non_null(strstr(body_of(&c), "unknown field \\\"inherit\\\""));
    assert_null(fake_registry.call);
    done(&c);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, start_api, stop_api)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers),    TEST(test_wait),     TEST(test_long_answer),
        TEST(test_prometheus), TEST(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
