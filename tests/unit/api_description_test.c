/* SPDX-License-Identifier: Apache-2.0
 * Tests of what the native API says about itself: the page of errors and problems, the OpenAPI and AsyncAPI
 * documents, headers of deprecation, and that the examples of the documents are what the readers accept. */
#include "tests/unit/api_fake.h"

#include "base/json.h"
#include "server/api/openapi.h"

#define EXPECT_STATUS(status, method, target, body)                                                          \
    do {                                                                                                     \
        int got = ask(&c, method, target, body);                                                             \
        if (got != (status))                                                                                 \
            fail_msg("%s %s: %d, not %d: %s", method, target, got, status, buf_text(&c.in));                 \
    } while (0)

/* Each code has one heading on the page, and its type leads to it; the page has no other heading. */
static void test_problems(void **state)
{
    (void)state;
    struct client c = connect_client();
    EXPECT_STATUS(200, "GET", "/docs/errors.md", NULL);
    expect(&c, "Content-Type: text/markdown; charset=utf-8\r\n");
    size_t headings = 0;
    for (const char *at = body_of(&c); (at = strstr(at, "\n### ")); at++)
        headings++;
    assert_int_equal(headings, API_ERRORS);
    for (size_t e = 0; e < API_ERRORS; e++) {
        char heading[96];
        snprintf(heading, sizeof heading, "\n### %s\n\nHTTP %d. ", api_errors[e].code, api_errors[e].status);
        expect(&c, heading);
        assert_non_null(api_remedies[e]);
        expect(&c, api_remedies[e]);
    }
    request(&c, "GET", "/api/v1/services?limit=0", "Accept: text/html, application/problem+json\r\n", NULL);
    turn(&c, 20);
    expect(&c, "HTTP/1.1 400 ");
    expect(&c, "Content-Type: application/problem+json\r\n");
    expect(
        &c,
        "{\"type\":\"/docs/errors.md#bad_request\",\"title\":\"A parameter, a name or a field is not valid; "
        "the message names it.\",\"status\":400,\"detail\":\"limit is not a whole number from 1 to 10000\","
        "\"code\":\"bad_request\"}\n");
    request(&c, "GET", "/api/v1/services?limit=0", "Accept: application/json\r\n", NULL);
    turn(&c, 20);
    expect(&c, "{\"error\":{\"code\":\"bad_request\"");
    done(&c);
}

static void check_refs(const json_t *at, const json_t *schemas)
{
    const char *key;
    json_t *value;
    size_t index;
    json_object_foreach((json_t *)(uintptr_t)at, key, value)
    {
        if (strcmp(key, "$ref") == 0) {
            const char *text = json_string_value(value);
            assert_true(strncmp(text, "#/components/schemas/", 21) == 0);
            if (!json_object_get(schemas, text + 21))
                fail_msg("%s resolves to no route", text);
        }
        check_refs(value, schemas);
    }
    json_array_foreach(at, index, value) check_refs(value, schemas);
}

static void test_openapi(void **state)
{
    (void)state;
    struct client c = connect_client();
    char error[200];
    json_t *root;
    EXPECT_STATUS(200, "GET", "/openapi.json", NULL);
    if (json_parse(slice_text(body_of(&c)), &root, error, sizeof error))
        fail_msg("%s", error);
    assert_string_equal(json_string_value(json_object_get(root, "openapi")), "3.1.0");
    check_refs(root, json_object_get(json_object_get(root, "components"), "schemas"));
    for (size_t i = 0; i < api_route_count; i++) {
        char method[16];
        const json_t *path = json_object_get(json_object_get(root, "paths"), api_routes[i].path);
        api_methods_text(api_routes[i].method, method, sizeof method);
        for (char *at = method; *at; at++)
            *at = (char)(*at | 0x20);
        const json_t *operation = json_object_get(path, method);
        assert_string_equal(json_string_value(json_object_get(operation, "operationId")), api_routes[i].name);
    }
    json_decref(root);
    done(&c);
}

static void keep_header(void *arg, const char *name, const char *value)
{
    buf_addf(arg, "%s: %s\n", name, value);
}

/* A table of its own: no route is deprecated yet. Each row of the real one names a route, and a later sunset. */
static void test_deprecations(void **state)
{
    (void)state;
    static const struct api_deprecation table[] = {
        {"service_list", 1688169599, 1735689600, "/api/v2/services"},
        {"audit_get", 1688169599, 0, NULL},
        {0}};
    struct buf text = {0};
    const struct api_route *list = api_route_find(HTTP_GET, slice_text("/api/v1/services")).route;
    const struct api_route *audit = api_route_find(HTTP_GET, slice_text("/api/v1/audit")).route;
    const struct api_route *configs = api_route_find(HTTP_GET, slice_text("/api/v1/configs")).route;
    assert_ptr_equal(api_deprecation_find(table, list), &table[0]);
    assert_ptr_equal(api_deprecation_find(table, audit), &table[1]);
    assert_null(api_deprecation_find(table, configs));
    assert_null(api_deprecation_find(table, NULL)); /* an answer before there is a route */
    api_deprecation_headers(&table[0], keep_header, &text);
    assert_string_equal(buf_text(&text), "Deprecation: @1688169599\nSunset: Wed, 01 Jan 2025 00:00:00 GMT\n"
                                         "Link: </api/v2/services>; rel=\"successor-version\"\n");
    buf_clear(&text);
    api_deprecation_headers(&table[1], keep_header, &text);
    assert_string_equal(buf_text(&text), "Deprecation: @1688169599\n");
    buf_done(&text);
    for (const struct api_deprecation *d = api_deprecations; d->handler; d++) {
        size_t i = 0;
        while (i < api_route_count && strcmp(api_routes[i].name, d->handler) != 0)
            i++;
        assert_true(i < api_route_count);
        assert_true(!d->sunset_s || d->sunset_s > d->since_s);
    }
}

/* Each frame of the client is a message; each field has a form; references lead somewhere. */
static void test_asyncapi(void **state)
{
    (void)state;
    static const char *const types[] = {
#define TYPE(id, name, need, must, may) name,
#include "server/stream/frame.def"
    };
    struct client c = connect_client();
    char error[200];
    json_t *root;
    assert_null(api_asyncapi_unknown_reader());
    EXPECT_STATUS(200, "GET", "/asyncapi.json", NULL);
    if (json_parse(slice_text(body_of(&c)), &root, error, sizeof error))
        fail_msg("%s", error);
    assert_string_equal(json_string_value(json_object_get(root, "asyncapi")), "3.0.0");
    const json_t *components = json_object_get(root, "components");
    const json_t *schemas = json_object_get(components, "schemas");
    check_refs(schemas, schemas);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_non_null(json_object_get(json_object_get(components, "messages"), types[i]));
        assert_non_null(json_object_get(json_object_get(root, "operations"), types[i]));
        assert_true(
            json_is_false(json_object_get(json_object_get(schemas, types[i]), "additionalProperties")));
    }
    assert_non_null(json_object_get(schemas, "InstanceView"));
    assert_non_null(json_object_get(schemas, "OverrideView")); /* by reference alone */
    assert_null(json_object_get(schemas, "ConfigList"));
    json_decref(root);
    done(&c);
}

/* The strict readers accept the examples of client input: alone and all together. */
static int read_as(enum api_schema schema, struct slice text, char *error)
{
    struct arena a = {0};
    struct instance instance;
    struct settings settings;
    struct override override;
    struct session session;
    int err = schema == SCHEMA_INSTANCE   ? instance_read(text, DOCUMENT_STRICT, &a, &instance, error, 200)
              : schema == SCHEMA_SETTINGS ? settings_read(text, DOCUMENT_STRICT, &a, &settings, error, 200)
              : schema == SCHEMA_OVERRIDE ? override_read(text, DOCUMENT_STRICT, &a, &override, error, 200)
                                          : session_read(text, DOCUMENT_STRICT, &a, &session, error, 200);
    arena_done(&a);
    return err;
}

static void test_schemas(void **state)
{
    (void)state;
    static const enum api_schema sent[] = {SCHEMA_INSTANCE, SCHEMA_SETTINGS, SCHEMA_OVERRIDE, SCHEMA_SESSION};
    for (size_t k = 0; k < sizeof sent / sizeof *sent; k++) {
        struct buf all = {0};
        char error[200] = "";
        for (size_t i = 0; i < api_field_count; i++) {
            const struct api_field_row *f = &api_fields[i];
            if (!(f->schemas >> sent[k] & 1))
                continue;
            assert_non_null(f->example);
            buf_addf(&all, "%s\"%s\":%s", all.size ? "," : "{", f->name, f->example);
            struct buf without = {0};
            buf_addf(&without, "{\"%s\":%s}", f->name, f->example);
            int err = read_as(sent[k], buf_slice(&without), error);
            bool needs_more = sent[k] == SCHEMA_INSTANCE || sent[k] == SCHEMA_OVERRIDE;
            if (err && (!needs_more || strstr(error, f->name)))
                fail_msg("%s: %s", buf_text(&without), error);
            buf_done(&without);
        }
        buf_add_byte(&all, '}');
        if (read_as(sent[k], buf_slice(&all), error))
            fail_msg("%s: %s", buf_text(&all), error);
        buf_done(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_problems, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_openapi, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_asyncapi, start_api, stop_api),
        cmocka_unit_test(test_deprecations),
        cmocka_unit_test(test_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
