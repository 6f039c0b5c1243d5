/* SPDX-License-Identifier: Apache-2.0
 * Tests of the registry's keys and documents: accepted ones, refusals and their texts, one text for one
 * content. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"
#include "registry/document.h"
#include "registry/name.h"

static void check_key(const struct name *name, const char *key)
{
    struct buf out = {0}, scratch = {0};
    struct name back;
    name_add_key(&out, name);
    assert_string_equal(buf_text(&out), key);
    assert_int_equal(name_parse(buf_slice(&out), &scratch, &back), OK);
    assert_int_equal(back.kind, name->kind);
    assert_true(slice_equal(back.ns, name->ns) && slice_equal(back.group, name->group));
    assert_true(slice_equal(back.service, name->service) && slice_equal(back.id, name->id));
    assert_int_equal(back.session, name->session);
    buf_done(&out);
    buf_done(&scratch);
}

static void test_keys_there_and_back(void **state)
{
    (void)state;
    check_key(&(struct name){NAME_INSTANCE, slice_text("default"), slice_text("default"),
                             slice_text("orders"), slice_text("o1"), 0},
              "/cairn/registry/instances/default/default/orders/o1");
    check_key(&(struct name){NAME_SERVICE, slice_text("prod"), slice_text("g"), slice_text("100%"), {0}, 0},
              "/cairn/registry/services/prod/g/100%25");
    check_key(&(struct name){NAME_OVERRIDE, slice_text("n"), slice_text("g"), slice_text("s"),
                             slice_text("10.0.0.1:80 \xc3\xa9"), 0},
              "/cairn/registry/overrides/n/g/s/10.0.0.1:80 \xc3\xa9");
    check_key(&(struct name){.kind = NAME_SESSION, .session = 0x694d77aa9e380405},
              "/cairn/registry/sessions/694d77aa9e380405");
}

static void test_keys_of_others_are_left_alone(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "",
        "/cairn/registry/",
        "/cairn/registry/instances/",
        "/cairn/registry/instances/a/b/c",
        "/cairn/registry/instances/a/b/c/d/e",
        "/cairn/registry/instances/a//c/d",
        "/cairn/registry/instances/a/b/c/",
        "/cairn/registry/instances/a/b/c/%41",
        "/cairn/registry/instances/a/b/c/%2f",
        "/cairn/registry/instances/a/b/c/%2",
        "/cairn/registry/instances/a/b/c/%",
        "/cairn/registry/instances/a/b/c/x\ny",
        "/cairn/registry/sessions/0000000000000000",
        "/cairn/registry/sessions/694D77AA9E380405",
        "/cairn/registry/sessions/694d",
        "/cairn/registry/others/a",
        "/cairn/config/heads/a/b/c",
    };
    struct buf scratch = {0};
    struct name name;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(name_parse(slice_text(keys[i]), &scratch, &name), ERR_MALFORMED);
    buf_done(&scratch);
}

static void test_names_that_may_stand_in_a_key(void **state)
{
    (void)state;
    char error[200];
    char longest[NAME_SIZE_MAX + 2];
    memset(longest, 'x', sizeof longest);
    assert_int_equal(name_check(slice_text("orders"), NAME_SIZE_MAX, "service", error, sizeof error), OK);
    assert_int_equal(
        name_check(slice_of(longest, NAME_SIZE_MAX), NAME_SIZE_MAX, "service", error, sizeof error), OK);
    struct slice bad[] = {slice_text(""),     slice_of(longest, NAME_SIZE_MAX + 1),
                          slice_text("a/b"),  slice_text("a\x01"),
                          slice_text("\xff"), slice_text(".."),
                          slice_of("a\0b", 3)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(name_check(bad[i], NAME_SIZE_MAX, "service", error, sizeof error), ERR_INVALID);
        assert_true(strncmp(error, "service ", 8) == 0);
    }
}

static int read_instance(const char *text, enum document_reading how, struct arena *a, struct instance *ret,
                         char error[200])
{
    error[0] = 0;
    return instance_read(slice_text(text), how, a, ret, error, 200);
}

static void test_one_text_for_one_content(void **state)
{
    (void)state;
    struct arena a = {0};
    struct instance i, j;
    char error[200];
    struct buf one = {0}, two = {0}, copied = {0};
    assert_int_equal(
        read_instance(
            "{\"tags\":[\"b\",\"a\",\"b\"],\"host\":\"10.0.0.5\",\"ports\":{\"http\":80,\"admin\":81},"
            "\"metadata\":{\"z\":\"1\",\"a\":\"\\u0007\"},\"weight\":5,\"zone\":\"b\"}",
            DOCUMENT_STRICT, &a, &i, error),
        OK);
    instance_write(&i, &one);
    assert_string_equal(
        buf_text(&one),
        "{\"host\":\"10.0.0.5\",\"port\":81,\"ports\":{\"admin\":81,\"http\":80},\"zone\":\"b\",\"weight\":5,"
        "\"tags\":[\"a\",\"b\"],\"metadata\":{\"a\":\"\\u0007\",\"z\":\"1\"},\"ttl\":15,\"grace\":15,"
        "\"state\":\"up\"}");
    assert_int_equal(read_instance(buf_text(&one), DOCUMENT_STRICT, &a, &j, error), OK);
    instance_write(&j, &two);
    assert_true(slice_equal(buf_slice(&one), buf_slice(&two)));
    struct instance *copy = instance_copy(&i);
    arena_done(&a); /* the copy is independent */
    instance_write(copy, &copied);
    assert_true(slice_equal(buf_slice(&one), buf_slice(&copied)));
    mem_free(copy);
    buf_done(&one);
    buf_done(&two);
    buf_done(&copied);
}

static void test_refusals_name_the_field(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"{}", "host is missing"},
        {"[]", "the document is not a JSON object"},
        {"{\"hots\":\"x\"}", "unknown field \"hots\""},
        {"{\"host\":\"h\",\"colour\":1}", "unknown field \"colour\""},
        {"{\"host\":\"h\",\"port\":0}", "port is not a whole number from 1 to 65535"},
        {"{\"host\":\"h\",\"port\":\"80\"}", "port is not a whole number from 1 to 65535"},
        {"{\"host\":\"h\",\"ports\":{\"a\":70000}}", "ports has a value that is not a port from 1 to 65535"},
        {"{\"host\":\"h\",\"weight\":65536}", "weight is not a whole number from 0 to 65535"},
        {"{\"host\":\"h\",\"ttl\":2}", "ttl is not a whole number from 3 to 86400"},
        {"{\"host\":\"h\",\"state\":\"lost\"}", "state \"lost\" is set by the registry only: use \"down\""},
        {"{\"host\":\"h\",\"state\":\"UP\"}", "state is not one of starting, up, warn, draining, lost, down"},
        {"{\"host\":\"h\",\"session\":\"1\"}", "unknown field \"session\""},
        {"{\"host\":\"h\",\"tags\":[1]}", "tags has an element that is not a string of 1 to 256 bytes"},
        {"{\"host\":\"h\",\"metadata\":{\"a\":1}}", "metadata holds a value that is not a string"},
        {"{\"host\":\"h\\n\"}", "host holds a control character"},
    };
    struct arena a = {0};
    struct instance i;
    char error[200];
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        assert_int_equal(read_instance(rows[n].text, DOCUMENT_STRICT, &a, &i, error), ERR_INVALID);
        assert_string_equal(error, rows[n].error);
    }
    assert_int_equal(read_instance("{\"host\":\"h\",\n \"host\":\"i\"}", DOCUMENT_STRICT, &a, &i, error),
                     ERR_MALFORMED);
    assert_true(strncmp(error, "line 2", 6) == 0);
    struct buf large = {0};
    buf_addf(&large, "{\"host\":\"h\",\"metadata\":{\"k\":\"%0*d\"}}", INSTANCE_METADATA_MAX, 0);
    assert_int_equal(read_instance(buf_text(&large), DOCUMENT_STRICT, &a, &i, error), ERR_INVALID);
    buf_done(&large);
    arena_done(&a);
}

static void test_stored_documents_are_read_leniently(void **state)
{
    (void)state;
    struct arena a = {0};
    struct instance i;
    char error[200];
    assert_int_equal(
        read_instance("{\"host\":\"h\",\"new\":{},\"state\":\"lost\",\"session\":\"694d77aa9e380405\","
                      "\"guarded\":true,\"source\":\"kratos\"}",
                      DOCUMENT_TOLERANT, &a, &i, error),
        OK);
    assert_int_equal(i.state, INSTANCE_LOST);
    assert_int_equal(i.session, 0x694d77aa9e380405);
    assert_true(i.is_guarded && !instance_state_serves(i.state) && instance_state_serves(INSTANCE_WARN));
    assert_int_equal(read_instance("{\"host\":\"h\",\"session\":\"x\"}", DOCUMENT_TOLERANT, &a, &i, error),
                     ERR_INVALID);
    arena_done(&a);
}

static void test_overrides_settings_sessions(void **state)
{
    (void)state;
    struct arena a = {0};
    struct override o;
    struct settings s;
    struct session c;
    char error[200];
    struct buf out = {0};
    const char *text = "{\"enabled\":false,\"weight\":0,\"state\":\"down\",\"reason\":\"disk\",\"until\":"
                       "\"2026-11-21T12:00:00Z\"}";
    assert_int_equal(override_read(slice_text(text), DOCUMENT_STRICT, &a, &o, error, sizeof error), OK);
    assert_true(o.has_enabled && !o.is_enabled && o.has_weight && o.weight == 0 && o.state == INSTANCE_DOWN);
    override_write(&o, &out);
    assert_string_equal(buf_text(&out), text);
    assert_int_equal(
        override_read(slice_text("{\"state\":\"\"}"), DOCUMENT_STRICT, &a, &o, error, sizeof error),
        ERR_INVALID);
    assert_int_equal(override_read(slice_text("{\"enabled\":true,\"until\":\"tomorrow\"}"), DOCUMENT_STRICT,
                                   &a, &o, error, sizeof error),
                     ERR_INVALID);
    assert_string_equal(error, "until is not a time as in 2026-01-31T12:00:00Z");
    assert_int_equal(
        override_read(slice_text("{\"enable\":true}"), DOCUMENT_STRICT, &a, &o, error, sizeof error),
        ERR_INVALID);
    assert_string_equal(error, "unknown field \"enable\"");
    text = "{\"state\":\"draining\",\"reason\":\"drain\",\"drain\":true}";
    assert_int_equal(override_read(slice_text(text), DOCUMENT_STRICT, &a, &o, error, sizeof error),
                     ERR_INVALID);
    assert_string_equal(error, "unknown field \"drain\"");
    assert_int_equal(override_read(slice_text(text), DOCUMENT_TOLERANT, &a, &o, error, sizeof error), OK);
    buf_clear(&out);
    override_write(&o, &out);
    assert_string_equal(buf_text(&out), text);
    buf_clear(&out);
    assert_int_equal(settings_read(slice_text("{\"protect_threshold\":0.5}"), DOCUMENT_STRICT, &a, &s, error,
                                   sizeof error),
                     OK);
    settings_write(&s, &out);
    assert_string_equal(buf_text(&out), "{\"protect_threshold\":0.5}");
    assert_int_equal(settings_read(slice_text("{\"protect_threshold\":1.5}"), DOCUMENT_STRICT, &a, &s, error,
                                   sizeof error),
                     ERR_INVALID);
    buf_clear(&out);
    assert_int_equal(session_read(slice_text("{\"client_id\":\"web-7\",\"labels\":{\"zone\":\"b\"}}"),
                                  DOCUMENT_STRICT, &a, &c, error, sizeof error),
                     OK);
    session_write(&c, &out);
    assert_string_equal(buf_text(&out), "{\"client_id\":\"web-7\",\"ttl\":15,\"labels\":{\"zone\":\"b\"}}");
    const char *implicit = "{\"ttl\":15,\"implicit\":true}";
    assert_int_equal(session_read(slice_text(implicit), DOCUMENT_STRICT, &a, &c, error, sizeof error),
                     ERR_INVALID);
    assert_int_equal(session_read(slice_text(implicit), DOCUMENT_TOLERANT, &a, &c, error, sizeof error), OK);
    buf_clear(&out);
    session_write(&c, &out);
    assert_string_equal(buf_text(&out), implicit);
    buf_done(&out);
    arena_done(&a);
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t s;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-21T10:00:00Z", 1795255200},
        {"2026-11-21T12:00:00.123456+02:00", 1795255200},
        {"2024-02-29T23:59:59-00:30", 1709252999},
    };
    static const char *const bad[] = {"",
                                      "2026-11-21",
                                      "2026-02-29T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-11-21T24:00:00Z",
                                      "2026-11-21T10:00:00",
                                      "2026-11-21T10:00:00Zx",
                                      "2026-11-21T10:00:00.Z",
                                      "2026-11-21T10:00:00+2:00"};
    int64_t s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(text_to_time(slice_text(rows[i].text), &s), OK);
        assert_int_equal(s, rows[i].s);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(text_to_time(slice_text(bad[i]), &s), ERR_MALFORMED);
    struct buf out = {0};
    text_add_time(&out, 1795255200);
    assert_string_equal(buf_text(&out), "2026-11-21T10:00:00Z");
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_there_and_back),
        cmocka_unit_test(test_keys_of_others_are_left_alone),
        cmocka_unit_test(test_names_that_may_stand_in_a_key),
        cmocka_unit_test(test_one_text_for_one_content),
        cmocka_unit_test(test_refusals_name_the_field),
        cmocka_unit_test(test_stored_documents_are_read_leniently),
        cmocka_unit_test(test_overrides_settings_sessions),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
