/* SPDX-License-Identifier: Apache-2.0
 * Tests of PUT /api/v1/instances, a list of instances: its form, the defaults of names, errors that name the
 * place in the list, reading in slices. */
#include "tests/unit/api_fake.h"

#define LIST  "/api/v1/instances"
#define FIRST "{\"service\":\"web\",\"id\":\"a\",\"host\":\"h\"}"

/* A document that the registry gets. */
#define WRITTEN(host, more)                                                                                  \
    "{\"host\":\"" host "\",\"weight\":100" more ",\"ttl\":15,\"grace\":15,\"state\":\"up\"}"

static void refuse(struct client *c, const char *body, int status, const char *code, const char *message)
{
    char wanted[400];
    snprintf(wanted, sizeof wanted, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}", code, message);
    fake_registry.call = NULL;
    int got = ask(c, "PUT", LIST, body);
    if (got != status || !strstr(body_of(c), wanted))
        fail_msg("%s: %d, not %s, but %s", body, got, wanted, body_of(c));
    assert_null(fake_registry.call);
}

static void test_accepted(void **state)
{
    (void)state;
    struct client c = connect_client();
    const struct registry_result result = {
        .revision = 7, .session = 0xab, .session_key = "k", .ttl_s = 60, .changed = 2};
    assert_int_equal(call_api(&c, "PUT", LIST "?session=ab&namespace=n&group=g",
                              " {\"instances\" : [ " FIRST
                              " , {\"service\":\"db\",\"id\":\"b\",\"host\":\"h2\",\"namespace\":"
                              "\"m\",\"metadata\":{\"x\":\"]},{\"}}\n] , \"ttl\":60} ",
                              "register_list", OK, &result),
                     200);
    assert_string_equal(fake_registry.key, "m|g|db|b");
    assert_string_equal(fake_registry.text,
                        "2 ttl 60 " WRITTEN("h", "") WRITTEN("h2", ",\"metadata\":{\"x\":\"]},{\"}"));
    assert_int_equal(fake_registry.session, 0xab);
    assert_string_equal(body_of(&c), "{\"revision\":7,\"session\":\"ab\",\"session_key\":\"k\",\"ttl\":60,"
                                     "\"heartbeat_ms\":20000,\"changed\":2}\n");
    /* Nothing to write; names and TTL are the defaults. */
    const struct registry_result same = {.revision = 7, .is_unchanged = true};
    assert_int_equal(call_api(&c, "PUT", LIST, "{\"instances\":[" FIRST "]}", "register_list", OK, &same),
                     200);
    assert_string_equal(fake_registry.key, "default|default|web|a");
    assert_string_equal(fake_registry.text, "1 ttl 15 " WRITTEN("h", ""));
    assert_int_equal(fake_registry.session, 0);
    assert_string_equal(body_of(&c), "{\"revision\":7,\"unchanged\":true,\"changed\":0}\n");
    done(&c);
}

static void test_frame(void **state)
{
    (void)state;
    struct client c = connect_client();
    refuse(&c, "{}", 400, "bad_request", "instances is missing");
    refuse(&c, "{\"instances\":null}", 400, "bad_request", "instances is missing");
    refuse(&c, "{\"instances\":[]}", 400, "bad_request", "instances is empty");
    refuse(&c, "{\"instances\":[ ]}", 400, "bad_request", "instances is empty");
    refuse(&c, "{\"instances\":{}}", 400, "bad_request", "instances is not a list");
    refuse(&c, "{\"instances\":[" FIRST "],\"colour\":1}", 400, "bad_request",
           "unknown field \\\"colour\\\"");
    refuse(&c, "{\"ttl\":2,\"instances\":[" FIRST "]}", 400, "bad_request",
           "ttl is not a whole number from 3 to 86400");
    assert_int_equal(ask(&c, "PUT", LIST, "{\"instances\":[" FIRST "],\"instances\":[]}"), 400);
    assert_int_equal(ask(&c, "PUT", LIST, "{\"instances\":[" FIRST "]"), 400);
    assert_int_equal(ask(&c, "PUT", LIST, "{\"instances\":[" FIRST "]]}"), 400);
    assert_int_equal(ask(&c, "PUT", LIST, "{\"instances\":[" FIRST "}"), 400);
    assert_int_equal(ask(&c, "PUT", LIST, "[" FIRST "]"), 400);
    assert_null(fake_registry.call);
    done(&c);
}

static void test_elements(void **state)
{
    (void)state;
    struct client c = connect_client();
    static const char form[] =
        "instances[1]: this is not a JSON object with a comma or the list's end after it";
    refuse(&c, "{\"instances\":[" FIRST ",{\"service\":\"web\",\"id\":\"b\"}]}", 400, "bad_request",
           "instances[1]: host is missing");
    refuse(&c, "{\"instances\":[{\"id\":\"b\",\"host\":\"h\"}]}", 400, "bad_request",
           "instances[0]: service is missing");
    refuse(&c, "{\"instances\":[{\"service\":\"web\",\"host\":\"h\"}]}", 400, "bad_request",
           "instances[0]: id is missing");
    refuse(&c, "{\"instances\":[{\"service\":\"web\",\"id\":\"b\",\"host\":\"h\",\"ttl\":60}]}", 400,
           "bad_request", "instances[0]: ttl belongs to the whole list: give it beside instances");
    refuse(&c, "{\"instances\":[{\"service\":\"web\",\"id\":\"b\",\"host\":\"h\",\"prot\":1}]}", 400,
           "bad_request", "instances[0]: unknown field \\\"prot\\\"");
    refuse(&c, "{\"instances\":[" FIRST ",{\"host\":h}]}", 400, "malformed",
           "instances[1]: line 1, column 9: invalid token near 'h'");
    refuse(&c, "{\"instances\":[" FIRST ",7]}", 400, "malformed", form);
    refuse(&c, "{\"instances\":[" FIRST ",]}", 400, "malformed", form);
    refuse(&c, "{\"instances\":[" FIRST " " FIRST "]}", 400, "malformed",
           "instances[0]: line 1, column 39: end of file expected near '{'");
    done(&c);
}

/* 100 elements are read in slices, each reading of the clock being 1 ms; one more is refused. */
static void test_many(void **state)
{
    (void)state;
    struct client c = connect_client();
    struct buf body = {0};
    const struct registry_result result = {.revision = 7, .changed = 100};
    for (int count = 100; count <= 101; count++) {
        buf_clear(&body);
        for (int i = 0; i < count; i++)
            buf_addf(&body, "%s{\"service\":\"web\",\"id\":\"i%d\",\"host\":\"h\"}",
                     i ? "," : "{\"instances\":[", i);
        buf_add_text(&body, "]}");
        api_clock_step_ns = 1000000;
        if (count == 100)
            assert_int_equal(call_api(&c, "PUT", LIST, buf_text(&body), "register_list", OK, &result), 200);
        else
            refuse(&c, buf_text(&body), 400, "bad_request",
                   "instances is not a list of at most 100 elements");
        api_clock_step_ns = 0;
        assert_string_equal(count == 100 ? fake_registry.key : "",
                            count == 100 ? "default|default|web|i99" : "");
    }
    buf_done(&body);
    done(&c);
}

/* The client leaves while the list is read, and while the registry writes it. */
static void test_client_leaves(void **state)
{
    (void)state;
    struct client c = connect_client();
    uint64_t end = clock_mono_ms() + WAIT_MS;
    request(&c, "PUT", LIST, NULL, "{\"instances\":[" FIRST "]}");
    while (!fake_registry.call && clock_mono_ms() < end)
        pump(&c);
    assert_string_equal(fake_registry.call, "register_list");
    done(&c);
    while (!fake_registry.canceled && clock_mono_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(fake_registry.canceled, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_accepted, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_frame, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_elements, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_many, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_client_leaves, start_api, stop_api),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
