/* SPDX-License-Identifier: Apache-2.0
 * Tests of the native API over HTTP: admission, every route of the registry, answers and errors, http_sd.
 * api_description_test.c has what the server says about itself. */
#include "tests/unit/api_fake.h"

#include "base/json.h"
#include "server/api/openapi.h"

#define EXPECT_STATUS(status, method, target, body)                                                          \
    do {                                                                                                     \
        int got = ask(&c, method, target, body);                                                             \
        if (got != (status))                                                                                 \
            fail_msg("%s %s: %d, not %d: %s", method, target, got, status, buf_text(&c.in));                 \
    } while (0)
#define EXPECT_ERROR(status, method, target, body, code, message)                                            \
    do {                                                                                                     \
        EXPECT_STATUS(status, method, target, body);                                                         \
        expect(&c, "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}\n");                     \
        expect(&c, "X-Cairn-Revision: ");                                                                    \
    } while (0)

/* --- admission -------------------------------------------------------------------------------------- */

static void test_paths(void **state)
{
    (void)state;
    struct client c = connect_client();
    EXPECT_ERROR(404, "GET", "/api/v1/nope", NULL, "not_found", "there is no such path: see /openapi.json");
    EXPECT_ERROR(404, "GET", "/api/v1/services/", NULL, "not_found",
                 "there is no such path: see /openapi.json");
    EXPECT_ERROR(404, "GET", "/api/v1/services//instances/a", NULL, "not_found",
                 "there is no such path: see /openapi.json");
    EXPECT_STATUS(405, "POST", "/api/v1/services/a", "{}");
    expect(&c, "Allow: GET, HEAD, PUT, DELETE\r\n");
    expect(&c, "\"code\":\"method_not_allowed\"");
    EXPECT_STATUS(405, "GET", "/api/v1/sessions", NULL);
    expect(&c, "Allow: POST\r\n");
    EXPECT_ERROR(400, "GET", "/api/v1/services/a%2Fb", NULL, "bad_request",
                 "the path holds an escaped '/', which no name may have");
    EXPECT_STATUS(400, "GET", "/api/v1/services/a%01b", NULL);
    expect(&c, "\"message\":\"service holds a '/' or a control character");
    EXPECT_STATUS(400, "GET", "/api/v1/services/..", NULL);
    EXPECT_STATUS(400, "PUT", "/api/v1/sessions/xyz/heartbeat", NULL);
    expect(&c, "\"message\":\"lease is not a session's id in hexadecimal digits\"");
    done(&c);
}

static void test_parameters(void **state)
{
    (void)state;
    struct client c = connect_client();
    EXPECT_ERROR(400, "GET", "/api/v1/services?zone=b", NULL, "unknown_parameter",
                 "unknown parameter \\\"zone\\\"");
    EXPECT_ERROR(400, "GET", "/api/v1/services?Limit=1", NULL, "unknown_parameter",
                 "unknown parameter \\\"Limit\\\"");
    EXPECT_ERROR(400, "GET", "/api/v1/services?name=app-*&wait_revision=1", NULL, "unknown_parameter",
                 "unknown parameter \\\"name\\\": a list takes prefix; GET /api/v1/stream?kind=...&name=... "
                 "follows a pattern, and POST /api/v1/polls many configurations");
    EXPECT_ERROR(400, "GET", "/api/v1/services/a?name=b", NULL, "unknown_parameter",
                 "unknown parameter \\\"name\\\"");
    EXPECT_ERROR(400, "GET", "/api/v1/services?limit=1&limit=2", NULL, "bad_request",
                 "limit is given too often");
    EXPECT_ERROR(400, "GET", "/api/v1/services?limit=0", NULL, "bad_request",
                 "limit is not a whole number from 1 to 10000");
    EXPECT_ERROR(400, "GET", "/api/v1/services?timeout=11m", NULL, "bad_request",
                 "timeout is not a duration from 0 to 10m, as in 30s, 1m30s or 30");
    EXPECT_ERROR(400, "GET", "/api/v1/services?wait_revision=-1", NULL, "bad_request",
                 "wait_revision is not a revision");
    EXPECT_ERROR(400, "GET", "/api/v1/services?consistency=eventual", NULL, "bad_request",
                 "consistency is neither linearizable nor local");
    EXPECT_ERROR(400, "GET", "/api/v1/services/a?healthy=yes", NULL, "bad_request",
                 "healthy is neither true nor false");
    EXPECT_ERROR(400, "GET", "/api/v1/services/a?label=k", NULL, "bad_request",
                 "label is not of the form key=value");
    EXPECT_ERROR(400, "GET", "/api/v1/services?continue=!!", NULL, "bad_request",
                 "continue is not from an earlier answer");
    EXPECT_STATUS(400, "GET",
                  "/api/v1/services?namespace="
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                  NULL);
    expect(&c, "namespace is too long");
    EXPECT_STATUS(400, "GET", "/api/v1/services?group=", NULL);
    expect(&c, "group is empty");
    EXPECT_STATUS(200, "GET", "/api/v1/services?timeout=90", NULL);
    EXPECT_STATUS(200, "GET", "/api/v1/services?timeout=1m30s&limit=10000&prefix=", NULL);
    done(&c);
}

static void test_bodies(void **state)
{
    (void)state;
    struct client c = connect_client();
    const char *path = "/api/v1/services/a/instances/1";
    EXPECT_ERROR(400, "PUT", path, "", "bad_request", "the body must be a JSON object");
    EXPECT_ERROR(400, "PUT", path, "{\"host\":\"h\",\"prot\":1}", "bad_request",
                 "unknown field \\\"prot\\\"");
    EXPECT_STATUS(400, "PUT", path, "{\"host\":\n  h}");
    expect(&c, "\"code\":\"malformed\",\"message\":\"line 2, column ");
    EXPECT_STATUS(400, "PUT", path, "[1]");
    EXPECT_ERROR(400, "DELETE", path, "{}", "bad_request", "this route takes no body");
    EXPECT_ERROR(400, "POST", "/api/v1/services/a/instances/1/drain", "{\"wait\":1}", "bad_request",
                 "wait is not true or false");
    EXPECT_ERROR(400, "POST", "/api/v1/services/a/instances/1/drain", "{\"deadline_ms\":0}", "bad_request",
                 "deadline_ms is not a whole number from 1 to 600000");
    EXPECT_ERROR(400, "POST", "/api/v1/services/a/instances/1/drain", "{\"until\":0}", "bad_request",
                 "unknown field \\\"until\\\"");
    EXPECT_ERROR(400, "POST", "/api/v1/services/a/instances/1/drain", "[]", "bad_request",
                 "the body is not a JSON object");
    char *large = mem_alloc(300 * 1024);
    memset(large, ' ', 300 * 1024 - 1);
    large[300 * 1024 - 1] = 0;
    EXPECT_ERROR(413, "PUT", path, large, "too_large", "the body is larger than 256 KiB");
    mem_free(large);
    /* Beyond the limit of the HTTP server: it refuses before the body arrives, in the same form. */
    buf_clear(&c.in);
    request(&c, "PUT", path, "Content-Length: 100000000\r\nExpect: 100-continue\r\n", NULL);
    expect(&c, "HTTP/1.1 413 Request Entity Too Large\r\n");
    expect(&c, "{\"error\":{\"code\":\"too_large\"");
    assert_false(has(&c, "100 Continue"));
    expect_closed(&c);
    assert_null(fake_registry.call);
    done(&c);
}

static void test_not_ready(void **state)
{
    (void)state;
    struct client c = connect_client();
    registry.is_ready = false;
    const char *gets[] = {"/api/v1/services", "/api/v1/services/a", "/sd/prometheus",
                          "/api/v1/services/a?consistency=local"};
    for (size_t i = 0; i < sizeof gets / sizeof *gets; i++) {
        EXPECT_STATUS(503, "GET", gets[i], NULL);
        expect(&c, "\"code\":\"not_ready\"");
        expect(&c, "Retry-After: 1\r\n");
    }
    EXPECT_STATUS(503, "PUT", "/api/v1/services/a/instances/1", "{\"host\":\"h\"}");
    EXPECT_STATUS(200, "GET", "/openapi.json", NULL);
    registry.is_ready = true;
    fake_registry.barrier_err = ERR_NO_LEADER;
    EXPECT_STATUS(503, "GET", "/api/v1/services", NULL);
    expect(&c, "\"code\":\"no_leader\"");
    expect(&c, "Retry-After: 1\r\n");
    EXPECT_STATUS(503, "GET", "/sd/prometheus", NULL);
    fake_registry.barrier_err = ERR_TIMEOUT;
    EXPECT_STATUS(503, "GET", "/sd/prometheus", NULL);
    expect(&c, "\"code\":\"unavailable\"");
    EXPECT_STATUS(200, "GET", "/api/v1/services?consistency=local", NULL);
    EXPECT_STATUS(200, "GET", "/sd/prometheus?consistency=local", NULL);
    done(&c);
}

/* --- writes ----------------------------------------------------------------------------------------- */

static void test_instances(void **state)
{
    (void)state;
    struct client c = connect_client();
    const struct registry_result registered = {.revision = 7, .session = 0x694d9f3b2a1c0e01, .ttl_s = 15};
    assert_int_equal(call_api(&c, "PUT", "/api/v1/services/orders/instances/o1",
                              "{\"host\":\"10.0.0.5\",\"port\":8080}", "register", 0, &registered),
                     200);
    assert_string_equal(body_of(&c), "{\"revision\":7,\"session\":\"694d9f3b2a1c0e01\",\"ttl\":15,"
                                     "\"heartbeat_ms\":5000}\n");
    expect(&c, "Content-Type: application/json\r\n");
    assert_int_equal(header_revision(&c), 7);
    assert_string_equal(fake_registry.key, "default|default|orders|o1");
    assert_int_equal(fake_registry.session, 0);
    assert_string_equal(fake_registry.text, "{\"host\":\"10.0.0.5\",\"port\":8080,\"weight\":100,\"ttl\":15,"
                                            "\"grace\":15,\"state\":\"up\"}");
    const struct registry_result same = {.revision = 7, .session = 0x10, .ttl_s = 30, .is_unchanged = true};
    call_api(&c, "PUT", "/api/v1/services/orders/instances/o%202?session=10&namespace=n&group=g",
             "{\"host\":\"h\"}", "register", 0, &same);
    assert_string_equal(body_of(&c), "{\"revision\":7,\"session\":\"10\",\"ttl\":30,\"heartbeat_ms\":10000,"
                                     "\"unchanged\":true}\n");
    assert_string_equal(fake_registry.key, "n|g|orders|o 2");
    assert_int_equal(fake_registry.session, 0x10);
    const struct registry_result written = {.revision = 8};
    call_api(&c, "DELETE", "/api/v1/services/orders/instances/o1", NULL, "deregister", 0, &written);
    assert_string_equal(body_of(&c), "{\"revision\":8}\n");
    done(&c);
}

static void test_sessions(void **state)
{
    (void)state;
    struct client c = connect_client();
    const struct registry_result opened = {.revision = 7, .session = 0x1f, .ttl_s = 9};
    call_api(&c, "POST", "/api/v1/sessions", "{\"ttl\":9,\"labels\":{\"app\":\"web\"}}", "session_open", 0,
             &opened);
    assert_string_equal(body_of(&c), "{\"revision\":7,\"session\":\"1f\",\"ttl\":9,\"heartbeat_ms\":3000}\n");
    assert_string_equal(fake_registry.text, "{\"ttl\":9,\"labels\":{\"app\":\"web\"}}");
    call_api(&c, "POST", "/api/v1/sessions", NULL, "session_open", 0, &opened);
    assert_string_equal(fake_registry.text, "{\"ttl\":15}");
    call_api(&c, "PUT", "/api/v1/sessions/1f/heartbeat", NULL, "heartbeat", 0, &opened);
    assert_int_equal(fake_registry.session, 0x1f);
    assert_int_equal(
        call_api(&c, "PUT", "/api/v1/sessions/1f/heartbeat", NULL, "heartbeat", ERR_SESSION_GONE, &nothing),
        410);
    expect(&c, "HTTP/1.1 410 Gone\r\n");
    expect(&c, "\"code\":\"session_gone\"");
    const struct registry_result closed = {.revision = 9, .instances = 2};
    call_api(&c, "DELETE", "/api/v1/sessions/1F", NULL, "session_close", 0, &closed);
    assert_string_equal(body_of(&c), "{\"revision\":9,\"instances\":2}\n");
    done(&c);
}

static void test_report(void **state)
{
    (void)state;
    struct client c = connect_client();
    const struct registry_result written = {.revision = 8};
    char expected[40];
    call_api(&c, "PUT", "/api/v1/services/a/instances/1/check",
             "{\"state\":\"warn\",\"output\":\"queue is long\"}", "report", 0, &written);
    snprintf(expected, sizeof expected, "%d queue is long", (int)INSTANCE_WARN);
    assert_string_equal(fake_registry.text, expected);
    assert_string_equal(fake_registry.key, "default|default|a|1");
    EXPECT_STATUS(400, "PUT", "/api/v1/services/a/instances/1/check", "{\"state\":\"starting\"}");
    EXPECT_STATUS(400, "PUT", "/api/v1/services/a/instances/1/check", "{}");
    done(&c);
}

static void test_operators(void **state)
{
    (void)state;
    struct client c = connect_client();
    const struct registry_result written = {.revision = 8};
    call_api(&c, "PUT", "/api/v1/services/a", "{\"protect_threshold\":0.5}", "put_settings", 0, &written);
    assert_string_equal(fake_registry.text, "{\"protect_threshold\":0.5}");
    assert_string_equal(fake_registry.key, "default|default|a|");
    call_api(&c, "DELETE", "/api/v1/services/a", NULL, "delete_settings", 0, &written);
    call_api(&c, "PUT", "/api/v1/services/a/instances/1/override", "{\"weight\":0,\"reason\":\"x\"}",
             "put_override", 0, &written);
    assert_string_equal(fake_registry.text, "{\"weight\":0,\"reason\":\"x\"}");
    assert_string_equal(body_of(&c), "{\"revision\":8}\n");
    call_api(&c, "DELETE", "/api/v1/services/a/instances/1/override", NULL, "delete_override", 0, &written);
    const struct registry_waiting waiting[] = {
        {slice_text("web-7"), slice_text("10.0.0.9"), slice_text("n2")}};
    const struct registry_result drained = {
        .revision = 12, .acknowledged = 3, .waiting = waiting, .waiting_count = 1};
    call_api(&c, "POST", "/api/v1/services/a/instances/1/drain", NULL, "drain", 0, &drained);
    assert_true(fake_registry.does_wait);
    assert_int_equal(fake_registry.deadline_ms, 30000);
    assert_string_equal(body_of(&c),
                        "{\"revision\":12,\"complete\":false,\"acknowledged\":3,\"waiting\":[{\"client_id\":"
                        "\"web-7\",\"peer\":\"10.0.0.9\",\"member\":\"n2\"}],\"waiting_count\":1}\n");
    call_api(&c, "POST", "/api/v1/services/a/instances/1/drain", "{\"deadline_ms\":5,\"wait\":false}",
             "drain", 0, &written);
    assert_false(fake_registry.does_wait);
    assert_int_equal(fake_registry.deadline_ms, 5);
    assert_string_equal(body_of(&c), "{\"revision\":8,\"complete\":true,\"acknowledged\":0,\"waiting\":[],"
                                     "\"waiting_count\":0}\n");
    done(&c);
}

static void test_subscribers(void **state)
{
    (void)state;
    struct client c = connect_client();
    request(&c, "GET", "/api/v1/services/a/subscribers", NULL, NULL);
    turn(&c, 20);
    assert_string_equal(fake_registry.call, "subscribers");
    struct document_pair pair = {slice_text("app"), slice_text("web")};
    const struct registry_seen seen = {slice_text("w"),         slice_text("p"), slice_text("n1"),
                                       slice_text("websocket"), {&pair, 1},      41};
    struct registry_subscribers *s = fake_registry.subscribers;
    s->seen(s, &seen);
    s->seen(s, &seen);
    s->members_silent = 1;
    const struct registry_result result = {.revision = 42};
    s->request.done(&s->request, 0, &result);
    await_answer(&c);
    const char *one = "{\"client_id\":\"w\",\"peer\":\"p\",\"member\":\"n1\",\"transport\":\"websocket\","
                      "\"labels\":{\"app\":\"web\"},\"revision\":41}";
    char wanted[1000];
    snprintf(wanted, sizeof wanted, "{\"revision\":42,\"subscribers\":[%s,%s],\"members_silent\":1}\n", one,
             one);
    assert_string_equal(body_of(&c), wanted);
    done(&c);
    c = connect_client();
    request(&c, "GET", "/api/v1/services/a/subscribers", NULL, NULL);
    turn(&c, 20);
    s = fake_registry.subscribers;
    s->seen(s, &seen);
    done(&c); /* disconnected: the gathered input is freed */
    assert_int_equal(fake_registry.canceled, 1);
}

/* Read from the store, and a poll is answered when they change. */
static void test_events(void **state)
{
    (void)state;
    struct client c = connect_client();
    request(&c, "GET", "/api/v1/services/a/events", NULL, NULL);
    await_answer(&c);
    assert_string_equal(fake_registry.call, "events");
    assert_non_null(strstr(body_of(&c), "\"events\":[]}"));
    done(&c);
    c = connect_client();
    request(&c, "GET", "/api/v1/services/a/events?wait_revision=1000000&timeout=30s&consistency=local", NULL,
            NULL);
    turn(&c, 20);
    done(&c); /* at the barrier */
    registry.revision = 50;
    fake_registry.events_changed = 42;
    c = connect_client();
    request(&c, "GET", "/api/v1/services/a/events?wait_revision=42&timeout=30s&consistency=local", NULL,
            NULL);
    turn(&c, 20);
    assert_non_null(fake_registry.event_watch);
    fake_registry.event = (struct event){.revision = 51,
                                         .time_ms = 7,
                                         .cause = EVENT_HEARTBEAT_LOST,
                                         .id = slice_text("i1"),
                                         .from = INSTANCE_UP,
                                         .state = INSTANCE_LOST};
    registry.revision = fake_registry.events_changed = 52;
    fake_registry.event_watch->changed(fake_registry.event_watch);
    await_answer(&c);
    assert_null(fake_registry.event_watch);
    assert_string_equal(body_of(&c),
                        "{\"revision\":52,\"events\":[{\"revision\":51,\"time_ms\":7,\"cause\":"
                        "\"heartbeat_lost\",\"id\":\"i1\",\"from\":\"up\",\"state\":\"lost\"}]}\n");
    done(&c);
    fake_registry.event = (struct event){0};
}

/* Each error of the public API, once. */
static void test_errors(void **state)
{
    (void)state;
    struct client c = connect_client();
    static const struct {
        int err, status;
        const char *code;
    } rows[] = {
        {ERR_INVALID, 400, "bad_request"},
        {ERR_NOT_FOUND, 404, "not_found"},
        {ERR_CONFLICT, 409, "conflict"},
        {ERR_SESSION_GONE, 410, "session_gone"},
        {ERR_PRECONDITION, 412, "precondition_failed"},
        {ERR_REQUEST_TOO_LARGE, 413, "too_large"},
        {ERR_QUOTA, 429, "quota_exceeded"},
        {ERR_NO_SPACE, 429, "quota_exceeded"},
        {ERR_NO_LEADER, 503, "no_leader"},
        {ERR_TIMEOUT, 503, "outcome_unknown"},
        {ERR_UNHEALTHY, 503, "outcome_unknown"},
        {ERR_STOPPED, 503, "stopping"},
        {ERR_NOT_READY, 503, "not_ready"},
        {ERR_PERMISSION_DENIED, 403, "forbidden"},
        {ERR_INVALID_AUTH_TOKEN, 401, "unauthorized"},
        {ERR_CORRUPT, 500, "internal"},
        {ERR_CANCELED, 500, "internal"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char code[64];
        int status = call_api(&c, "DELETE", "/api/v1/services/a/instances/1", NULL, "deregister", rows[i].err,
                              &nothing);
        assert_int_equal(status, rows[i].status);
        snprintf(code, sizeof code, "{\"error\":{\"code\":\"%s\",\"message\":\"", rows[i].code);
        expect(&c, code);
        assert_int_equal(has(&c, "Retry-After: "), status == 503 || status == 429);
    }
    const struct registry_result told = {.error = "the namespace has 3 services"};
    call_api(&c, "DELETE", "/api/v1/services/a/instances/1", NULL, "deregister", ERR_QUOTA, &told);
    expect(&c, "\"message\":\"the namespace has 3 services\"");
    /* Every link resolves. */
    for (int err = -1; err >= -(int)ERR_COUNT; err--)
        assert_true(api_error_of(err) < API_ERRORS);
    done(&c);
}

static void test_client_leaves(void **state)
{
    (void)state;
    struct client c = connect_client();
    request(&c, "DELETE", "/api/v1/services/a/instances/1", NULL, NULL);
    turn(&c, 20);
    assert_string_equal(fake_registry.call, "deregister");
    assert_int_equal(http_server_waiting(server), 1);
    done(&c);
    assert_int_equal(fake_registry.canceled, 1);
    assert_int_equal(http_server_waiting(server), 0);
    c = connect_client();
    fake_registry.holds_barriers = true;
    request(&c, "GET", "/api/v1/services", NULL, NULL);
    turn(&c, 20);
    done(&c);
    assert_int_equal(fake_registry.canceled, 2);
    assert_true(list_is_empty(&registry.barriers));
    /* A deadline that the client set. */
    c = connect_client();
    request(&c, "DELETE", "/api/v1/services/a/instances/1", "Grpc-Timeout: 1m\r\n", NULL);
    await_answer(&c);
    expect(&c, "HTTP/1.1 504 ");
    expect(&c, "\"code\":\"deadline\"");
    assert_int_equal(fake_registry.canceled, 3);
    done(&c);
}

/* --- reads ------------------------------------------------------------------------------------------ */

static void test_service(void **state)
{
    (void)state;
    struct client c = connect_client();
    EXPECT_ERROR(404, "GET", "/api/v1/services/orders", NULL, "not_found", "there is no such service");
    assert_int_equal(header_revision(&c), 1);
    put("orders", "o1", "{\"host\":\"h1\",\"port\":80,\"zone\":\"a\",\"tags\":[\"x\"]}");
    put("orders", "o2",
        "{\"host\":\"h2\",\"zone\":\"b\",\"metadata\":{\"team\":\"shop\"},\"session\":\"1f\"}");
    put("orders", "o3", "{\"host\":\"h3\",\"state\":\"down\"}");
    EXPECT_STATUS(200, "GET", "/api/v1/services/orders", NULL);
    assert_string_equal(
        body_of(&c),
        "{\"revision\":4,\"protected\":false,\"instances\":["
        "{\"id\":\"o1\",\"host\":\"h1\",\"port\":80,\"zone\":\"a\",\"weight\":100,\"tags\":[\"x\"],"
        "\"ttl\":15,\"grace\":15,\"state\":\"up\",\"serving\":true,\"create_revision\":2,\"mod_revision\":2},"
        "{\"id\":\"o2\",\"host\":\"h2\",\"zone\":\"b\",\"weight\":100,\"metadata\":{\"team\":\"shop\"},"
        "\"ttl\":15,\"grace\":15,\"state\":\"up\",\"session\":\"1f\",\"serving\":true,\"create_revision\":3,"
        "\"mod_revision\":3},"
        "{\"id\":\"o3\",\"host\":\"h3\",\"weight\":100,\"ttl\":15,\"grace\":15,\"state\":\"down\","
        "\"serving\":false,\"create_revision\":4,\"mod_revision\":4}]}\n");
    static const struct {
        const char *query;
        const char *ids; /* in order */
    } rows[] = {
        {"", "o1 o2 o3 "},        {"?healthy=true", "o1 o2 "},
        {"?healthy", "o1 o2 "},   {"?healthy=false", "o1 o2 o3 "},
        {"?zone=b", "o2 o1 o3 "}, {"?tag=x", "o1 "},
        {"?tag=x&tag=y", ""},     {"?label=team=shop", "o2 "},
        {"?label=team=", ""},     {"?cluster=blue", ""},
        {"?version=1", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char target[200], ids[100] = "";
        snprintf(target, sizeof target, "/api/v1/services/orders%s", rows[i].query);
        EXPECT_STATUS(200, "GET", target, NULL);
        for (const char *at = body_of(&c); (at = strstr(at, "{\"id\":\"")); at += 7)
            strncat(strncat(ids, at + 7, 2), " ", 2);
        assert_string_equal(ids, rows[i].ids);
    }
    change(NAME_SERVICE, "default", "default", "orders", "", "{\"protect_threshold\":0.7}");
    EXPECT_STATUS(200, "GET", "/api/v1/services/orders?healthy=true", NULL);
    expect(&c, "\"protected\":true,");
    expect(&c, "\"settings\":{\"protect_threshold\":0.7}}");
    expect_times(&c, "\"id\":", 3);
    done(&c);
}

static void test_instance_view(void **state)
{
    (void)state;
    struct client c = connect_client();
    EXPECT_ERROR(404, "GET", "/api/v1/services/s/instances/i", NULL, "not_found",
                 "there is no such instance");
    change(NAME_OVERRIDE, "default", "default", "s", "i", "{\"enabled\":false,\"weight\":5}");
    EXPECT_STATUS(404, "GET", "/api/v1/services/s/instances/i", NULL); /* an override alone is no instance */
    EXPECT_STATUS(404, "GET", "/api/v1/services/s", NULL);
    put("s", "i", "{\"host\":\"h\"}");
    EXPECT_STATUS(200, "GET", "/api/v1/services/s/instances/i", NULL);
    assert_string_equal(
        body_of(&c),
        "{\"revision\":3,\"instance\":{\"id\":\"i\",\"host\":\"h\",\"weight\":5,\"ttl\":15,\"grace\":15,"
        "\"state\":\"up\",\"serving\":false,\"override\":{\"enabled\":false,\"weight\":5},"
        "\"registered\":{\"state\":\"up\",\"weight\":100},\"create_revision\":3,\"mod_revision\":3}}\n");
    change(NAME_OVERRIDE, "default", "default", "s", "i", "{\"state\":\"draining\"}");
    EXPECT_STATUS(200, "GET", "/api/v1/services/s/instances/i", NULL);
    expect(&c, "\"weight\":100,\"ttl\":15,\"grace\":15,\"state\":\"draining\",");
    expect(&c, "\"mod_revision\":4}");
    buf_clear(&c.in);
    request(&c, "HEAD", "/api/v1/services/s/instances/i", NULL, NULL);
    expect(&c, "HTTP/1.1 200 OK\r\n");
    expect(&c, "ETag: \"");
    turn(&c, 20);
    assert_string_equal(body_of(&c), "");
    done(&c);
}

static void test_list(void **state)
{
    (void)state;
    struct client c = connect_client();
    EXPECT_STATUS(200, "GET", "/api/v1/services", NULL);
    assert_string_equal(body_of(&c), "{\"revision\":1,\"services\":[]}\n");
    put("b", "1", "{\"host\":\"h\"}");
    put("b", "2", "{\"host\":\"h\",\"state\":\"warn\"}");
    put("b", "3", "{\"host\":\"h\",\"state\":\"lost\"}");
    put("a", "1", "{\"host\":\"h\"}");
    put("ab", "1", "{\"host\":\"h\"}");
    change(NAME_SERVICE, "default", "g/2", "a", "", "{}");
    EXPECT_STATUS(200, "GET", "/api/v1/services?prefix=b", NULL);
    assert_string_equal(body_of(&c),
                        "{\"revision\":7,\"services\":[{\"name\":\"b\",\"group\":\"default\","
                        "\"instances\":3,\"states\":{\"starting\":0,\"up\":1,\"warn\":1,\"draining\":0,"
                        "\"lost\":1,\"down\":0}}]}\n");
    EXPECT_STATUS(200, "GET", "/api/v1/services?group=*", NULL);
    expect_times(&c, "{\"name\":", 4);
    EXPECT_STATUS(200, "GET", "/api/v1/services?namespace=other", NULL);
    assert_string_equal(body_of(&c), "{\"revision\":7,\"services\":[]}\n");
    /* Page by page, every item once. */
    char target[300] = "/api/v1/services?limit=1", names[50] = "";
    for (int i = 0; i < 3; i++) {
        EXPECT_STATUS(200, "GET", target, NULL);
        const char *at = strstr(body_of(&c), "{\"name\":\""), *next = strstr(body_of(&c), "\"continue\":\"");
        strncat(names, at + 9, strcspn(at + 9, "\""));
        strcat(names, " ");
        assert_int_equal(next != NULL, i < 2);
        if (next)
            snprintf(target, sizeof target, "/api/v1/services?limit=1&continue=%.*s",
                     (int)strcspn(next + 12, "\""), next + 12);
    }
    assert_string_equal(names, "a ab b ");
    done(&c);
}

static void test_local(void **state)
{
    (void)state;
    struct client c = connect_client();
    fake_registry.holds_barriers = true;
    EXPECT_STATUS(200, "GET", "/api/v1/services?consistency=local", NULL);
    assert_int_equal(fake_registry.barriers, 0);
    buf_clear(&c.in);
    request(&c, "GET", "/api/v1/services", NULL, NULL);
    turn(&c, 20);
    assert_int_equal(fake_registry.barriers, 1);
    assert_int_equal(c.in.size, 0);
    put("a", "1", "{\"host\":\"h\"}"); /* seen: the answer is the state after the barrier */
    fake_registry.holds_barriers = false;
    await_answer(&c);
    expect(&c, "{\"revision\":2,");
    done(&c);
}

/* --- http_sd ---------------------------------------------------------------------------------------- */

static void sd(struct client *c, const char *target, struct buf *ret_json)
{
    assert_int_equal(ask(c, "GET", target, NULL), 200);
    const char *at = body_of(c);
    buf_clear(ret_json);
    for (;;) { /* chunks */
        char *end;
        unsigned long size = strtoul(at, &end, 16);
        if (size == 0)
            return;
        buf_add(ret_json, end + 2, size);
        at = end + 2 + size + 2;
    }
}

/* A service that a storm guard protects says so in every answer, and can be left out of each. */
static void test_guarded(void **state)
{
    (void)state;
    struct client c = connect_client();
    struct buf json = {0};
    put("orders", "o1", "{\"host\":\"10.0.0.5\",\"port\":80}");
    put("orders", "o2", "{\"host\":\"10.0.0.6\",\"port\":80,\"guarded\":true,\"session\":\"5\"}");
    assert_int_equal(ask(&c, "GET", "/api/v1/services/orders", NULL), 200);
    assert_non_null(strstr(body_of(&c), "\"guarded\":true"));
    assert_int_equal(ask(&c, "GET", "/api/v1/services/orders/instances/o2", NULL), 200);
    assert_non_null(strstr(body_of(&c), "\"guarded\":true"));
    assert_int_equal(ask(&c, "GET", "/api/v1/services/orders?guarded=false", NULL), 200);
    assert_null(strstr(body_of(&c), "\"o2\""));
    assert_non_null(strstr(body_of(&c), "\"o1\""));
    assert_int_equal(ask(&c, "GET", "/api/v1/services/orders?guarded=true", NULL), 200);
    assert_non_null(strstr(body_of(&c), "\"o2\""));
    assert_int_equal(ask(&c, "GET", "/api/v1/services/orders?guarded=maybe", NULL), 400);
    sd(&c, "/sd/prometheus", &json);
    assert_non_null(strstr(buf_text(&json),
                           "\"__meta_cairn_instance\":\"o2\",\"__meta_cairn_state\":\"up\","
                           "\"__meta_cairn_serving\":\"true\",\"__meta_cairn_guarded\":\"true\""));
    sd(&c, "/sd/prometheus?guarded=false", &json);
    assert_null(strstr(buf_text(&json), "\"o2\""));
    buf_done(&json);
    done(&c);
}

static void test_prometheus(void **state)
{
    (void)state;
    struct client c = connect_client();
    struct buf json = {0};
    sd(&c, "/sd/prometheus", &json);
    assert_string_equal(buf_text(&json), "[\n]\n");
    put("orders", "o1",
        "{\"host\":\"10.0.0.5\",\"port\":80,\"zone\":\"a\",\"tags\":[\"x\",\"y\"],"
        "\"metadata\":{\"a.b\":\"1\",\"a_b\":\"2\"}}");
    change(NAME_INSTANCE, "other", "g", "m", "i",
           "{\"host\":\"::1\",\"ports\":{\"http\":1,\"metrics\":2},\"state\":\"down\"}");
    sd(&c, "/sd/prometheus", &json);
    assert_string_equal(
        buf_text(&json),
        "[\n{\"targets\":[\"10.0.0.5:80\"],\"labels\":{\"__meta_cairn_namespace\":\"default\","
        "\"__meta_cairn_group\":\"default\",\"__meta_cairn_service\":\"orders\","
        "\"__meta_cairn_instance\":\"o1\",\"__meta_cairn_state\":\"up\",\"__meta_cairn_serving\":\"true\","
        "\"__meta_cairn_guarded\":\"false\","
        "\"__meta_cairn_zone\":\"a\",\"__meta_cairn_tags\":\",x,y,\",\"__meta_cairn_metadata_a_b\":\"1\"}}"
        ",{\"targets\":[\"[::1]:1\"],\"labels\":{\"__meta_cairn_namespace\":\"other\","
        "\"__meta_cairn_group\":\"g\",\"__meta_cairn_service\":\"m\",\"__meta_cairn_instance\":\"i\","
        "\"__meta_cairn_port_name\":\"http\",\"__meta_cairn_state\":\"down\","
        "\"__meta_cairn_serving\":\"false\",\"__meta_cairn_guarded\":\"false\"}},"
        "{\"targets\":[\"[::1]:2\"],\"labels\":{\"__meta_cairn_namespace\":\"other\","
        "\"__meta_cairn_group\":\"g\",\"__meta_cairn_service\":\"m\",\"__meta_cairn_instance\":\"i\","
        "\"__meta_cairn_port_name\":\"metrics\",\"__meta_cairn_state\":\"down\","
        "\"__meta_cairn_serving\":\"false\",\"__meta_cairn_guarded\":\"false\"}}\n]\n");
    static const struct {
        const char *query;
        unsigned targets;
    } rows[] = {
        {"?namespace=other", 2},
        {"?namespace=other&namespace=default", 3},
        {"?namespace=nope", 0},
        {"?namespace=default&namespace=default", 1},
        {"?service=orders", 1},
        {"?service=nope", 0},
        {"?tag=x", 1},
        {"?tag=x&tag=z", 0},
        {"?consistency=local", 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char target[200];
        snprintf(target, sizeof target, "/sd/prometheus%s", rows[i].query);
        sd(&c, target, &json);
        assert_int_equal(count(&c, "\"targets\""), rows[i].targets);
    }
    EXPECT_STATUS(400, "GET", "/sd/prometheus?group=a", NULL);
    buf_done(&json);
    done(&c);
}

/* While the answer is made in slices, everything changes. An instance that exists all the time is there once,
 * with all ports of one revision. */
static void test_prometheus_in_slices(void **state)
{
    (void)state;
    enum { INSTANCES = 40, PORTS = 3 };
    char id[20], text[200];
    static const char form[] = "{\"host\":\"%s\",\"ports\":{\"a\":%d,\"b\":%d,\"c\":%d}}";
    for (int i = 0; i < INSTANCES; i++) {
        snprintf(id, sizeof id, "i%02d", i);
        snprintf(text, sizeof text, form, "h0", 1000, 1001, 1002);
        put("s", id, text);
    }
    struct client c = connect_client();
    api_clock_step_ns = 1100000; /* two steps a turn */
    request(&c, "GET", "/sd/prometheus", NULL, NULL);
    unsigned turns = 0;
    for (; !strstr(buf_text(&c.in), "0\r\n\r\n"); turns++) {
        pump(&c);
        assert_true(turns < 10000);
        snprintf(id, sizeof id, "i%02u", turns % INSTANCES);
        int port = 2000 + 10 * (int)turns;
        snprintf(text, sizeof text, form, "h1", port, port + 1, port + 2);
        put("s", id, text);
        for (unsigned i = 0; turns % 3 == 0 && i < INSTANCES; i++) { /* they come and go */
            snprintf(id, sizeof id, "i%02u.5", i);
            change(NAME_INSTANCE, "default", "default", "s", id, turns % 2 ? NULL : text);
        }
        snprintf(id, sizeof id, "%u", turns % 7);
        change(NAME_INSTANCE, "default", "default", id, "x", turns % 2 ? NULL : text);
    }
    api_clock_step_ns = 0;
    assert_true(turns > INSTANCES);
    const char *at = buf_text(&c.in);
    for (int i = 0; i < INSTANCES; i++) {
        snprintf(id, sizeof id, "\"i%02d\"", i);
        assert_int_equal(count(&c, id), PORTS);
        int port = 0;
        for (int k = 0; k < PORTS; k++) {
            at = strstr(at, id);
            assert_non_null(at);
            const char *target = at;
            while (strncmp(target, "\"targets\":[\"h", 13) != 0)
                target--;
            int this_port = atoi(strchr(target + 13, ':') + 1);
            assert_true(k == 0 || this_port == port + 1);
            port = this_port;
            at++;
        }
    }
    done(&c);
}

/* A client that does not read holds 64 KiB and the kernel's buffers, not everything; later it gets all. */
static void test_prometheus_slow(void **state)
{
    (void)state;
    enum { SERVICES = 300, INSTANCES = 60 };
    char service[20], id[20], text[600], filler[400];
    memset(filler, 'f', sizeof filler - 1);
    filler[sizeof filler - 1] = 0;
    for (int s = 0; s < SERVICES; s++) {
        for (int i = 0; i < INSTANCES; i++) {
            snprintf(service, sizeof service, "s%03d", s);
            snprintf(id, sizeof id, "i%d", i);
            snprintf(text, sizeof text, "{\"host\":\"h\",\"port\":1,\"metadata\":{\"m\":\"%s\"}}", filler);
            put(service, id, text);
        }
    }
    struct client c = connect_client();
    request(&c, "GET", "/sd/prometheus", NULL, NULL);
    for (int i = 0; i < 200; i++) /* the client reads nothing */
        uv_run(&loop, UV_RUN_NOWAIT);
    int before = (int)http_server_connections(server);
    put("s299", "late", "{\"host\":\"late\",\"port\":1}");
    await_answer(&c);
    assert_int_equal(count(&c, "\"targets\""), SERVICES * INSTANCES + 1);
    expect(&c, "\"targets\":[\"late:1\"]");
    assert_int_equal(before, 1);
    buf_clear(&c.in);
    request(&c, "GET", "/sd/prometheus", NULL, NULL);
    for (int i = 0; i < 200; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    done(&c); /* disconnects in the middle */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_paths, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_parameters, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_bodies, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_not_ready, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_instances, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_sessions, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_report, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_operators, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_subscribers, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_events, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_errors, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_client_leaves, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_service, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_instance_view, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_list, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_local, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_guarded, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_prometheus, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_prometheus_in_slices, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_prometheus_slow, start_api, stop_api),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
