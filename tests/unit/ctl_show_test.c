/* SPDX-License-Identifier: Apache-2.0
 * Tests of cairnctl's output forms, character by character. */
#include "tests/unit/unit.h"

#include <string.h>

#include "sdk/ctl/show.h"

static const char document[] = "{\"revision\":7,\"items\":[{\"id\":\"a\",\"host\":\"10.0.0.1\",\"port\":80,"
                               "\"state\":\"up\",\"tags\":[\"x\",\"y\"],\"up\":true,\"time\":0},"
                               "{\"id\":\"b-long\",\"host\":\"::1\",\"ports\":{\"m\":1,\"n\":2},\"state\":"
                               "\"down\",\"override\":{\"enabled\":false},\"up\":false,"
                               "\"note\":\"a\\u0007b\\u001b[31m\"}]}";
static const struct ctl_column columns[] = {
    {"ID", "id", CTL_CELL_PLAIN},     {"ADDRESS", "", CTL_CELL_ADDRESS}, {"STATE", "", CTL_CELL_STATE},
    {"UP", "up", CTL_CELL_YES},       {"TIME", "time", CTL_CELL_TIME},   {"TAGS", "tags", CTL_CELL_PLAIN},
    {"NOTE", "note", CTL_CELL_PLAIN},
};

static void shows(enum ctl_form form, const char *wanted)
{
    char error[200];
    json_t *doc;
    struct buf out = {0};
    assert_int_equal(json_parse(slice_text(document), &doc, error, sizeof error), OK);
    ctl_show_rows(&out, form, doc, "items", columns, COUNT_OF(columns));
    assert_string_equal(buf_text(&out), wanted);
    buf_done(&out);
    json_decref(doc);
}

static void a_list_in_each_form(void **state)
{
    (void)state;
    static const char table[] =
        "ID      ADDRESS        STATE            UP   TIME                  TAGS  NOTE\n"
        "a       10.0.0.1:80    up               yes  1970-01-01T00:00:00Z  x,y\n"
        "b-long  [::1]:m=1,n=2  down (disabled)                                   a\\x07b\\x1b[31m\n";
    shows(CTL_FORM_NONE, table);
    shows(CTL_FORM_TABLE, table);
    shows(CTL_FORM_SIMPLE, "a\t10.0.0.1:80\tup\tyes\t1970-01-01T00:00:00Z\tx,y\t\n"
                           "b-long\t[::1]:m=1,n=2\tdown (disabled)\t\t\t\ta\\x07b\\x1b[31m\n");
    shows(CTL_FORM_NAME, "a\nb-long\n");
    shows(CTL_FORM_JSON, "{\"revision\":7,\"items\":[{\"id\":\"a\",\"host\":\"10.0.0.1\",\"port\":80,"
                         "\"state\":\"up\",\"tags\":[\"x\",\"y\"],\"up\":true,\"time\":0},"
                         "{\"id\":\"b-long\",\"host\":\"::1\",\"ports\":{\"m\":1,\"n\":2},\"state\":\"down\","
                         "\"override\":{\"enabled\":false},\"up\":false,"
                         "\"note\":\"a\\u0007b\\u001B[31m\"}]}\n");
    shows(CTL_FORM_YAML, "revision: 7\nitems:\n- id: a\n  host: \"10.0.0.1\"\n  port: 80\n  state: up\n  "
                         "tags:\n  - x\n  - \"y\"\n  up: true\n"
                         "  time: 0\n- id: b-long\n  host: \"::1\"\n  ports:\n    m: 1\n    \"n\": 2\n  "
                         "state: down\n  override:\n    enabled: false\n"
                         "  up: false\n  note: \"a\\u0007b\\u001b[31m\"\n");
}

/* A text that YAML would read as another type is in quotes, so that it stays a string. */
static void yaml_keeps_strings_strings(void **state)
{
    (void)state;
    static const struct {
        const char *json, *yaml;
    } rows[] = {
        {"\"plain text\"", "plain text\n"},
        {"\"true\"", "\"true\"\n"},
        {"\"1\"", "\"1\"\n"},
        {"\"\"", "\"\"\n"},
        {"\"a: b\"", "\"a: b\"\n"},
        {"\"a:b\"", "a:b\n"},
        {"\"- a\"", "\"- a\"\n"},
        {"\"a #b\"", "\"a #b\"\n"},
        {"[]", "[]\n"},
        {"{}", "{}\n"},
        {"[[1,2],[3]]", "- - 1\n  - 2\n- - 3\n"},
        {"{\"a\":[{\"b\":null}]}", "a:\n- b: null\n"},
        {"\"a\\nb\"", "\"a\\nb\"\n"},
        {"\"0x1f\"", "\"0x1f\"\n"},
        {"\"1e3\"", "\"1e3\"\n"},
        {"\"NO\"", "\"NO\"\n"},
        {"\"end:\"", "\"end:\"\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char error[200];
        json_t *outer;
        struct buf text = {0}, out = {0};
        buf_addf(&text, "[%s]", rows[i].json);
        assert_int_equal(json_parse(buf_slice(&text), &outer, error, sizeof error), OK);
        ctl_show_yaml(&out, json_array_get(outer, 0));
        assert_string_equal(buf_text(&out), rows[i].yaml);
        json_decref(outer);
        buf_done(&text);
        buf_done(&out);
    }
}

static void etcdctls_table_has_borders(void **state)
{
    (void)state;
    struct ctl_table t = {.columns = 2};
    struct buf out = {0};
    static const char *const cells[] = {"ID", "STATUS", "39534d", "ok"};
    for (size_t i = 0; i < COUNT_OF(cells); i++)
        ctl_table_add(&t, slice_text(cells[i]));
    ctl_table_show_bordered(&t, &out);
    assert_string_equal(buf_text(&out), "+--------+--------+\n|   ID   | STATUS |\n+--------+--------+\n| "
                                        "39534d |     ok |\n+--------+--------+\n");
    ctl_table_done(&t);
    buf_done(&out);
}

static void etcdutls_table_is_a_box(void **state)
{
    (void)state;
    struct buf out = {0};
    struct ctl_table t = {.columns = 2};
    static const char *const cells[] = {"HASH", "TOTAL KEYS", "5db6b86c", "2"};
    for (size_t i = 0; i < COUNT_OF(cells); i++)
        ctl_table_add(&t, slice_text(cells[i]));
    ctl_table_show_boxed(&t, &out);
    assert_string_equal(buf_text(&out),
                        "┌──────────┬────────────┐\n│   HASH   │ TOTAL KEYS │\n├──────────┼────────────┤\n"
                        "│ 5db6b86c │          2 │\n└──────────┴────────────┘\n");
    ctl_table_done(&t);
    buf_done(&out);
}

static void bytes_as_text(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},       {9, "9 B"},       {999, "999 B"},      {1000, "1.0 kB"},
                 {9949, "9.9 kB"}, {57344, "57 kB"}, {20480000, "20 MB"}, {2147483648, "2.1 GB"}};
    struct buf out = {0};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        buf_clear(&out);
        ctl_add_bytes(&out, sizes[i].bytes);
        assert_string_equal(buf_text(&out), sizes[i].text);
    }
    buf_clear(&out);
    ctl_add_quoted(&out, slice_of("a\"\\\n\t\x01\xff\xc3\xa9\x00z", 11));
    assert_string_equal(buf_text(&out), "\"a\\\"\\\\\\n\\t\\x01\\xff\xc3\xa9\\x00z\"");
    buf_clear(&out);
    ctl_add_hex(&out, slice_text("az"));
    assert_string_equal(buf_text(&out), "\\x61\\x7a");
    buf_clear(&out);
    ctl_add_line(&out, slice_of("a\xc2\x9b\xc3\xa9", 5)); /* CSI in one character */
    assert_string_equal(buf_text(&out), "a\\xc2\\x9b\xc3\xa9");
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_in_each_form),
        cmocka_unit_test(yaml_keeps_strings_strings),
        cmocka_unit_test(etcdctls_table_has_borders),
        cmocka_unit_test(etcdutls_table_is_a_box),
        cmocka_unit_test(bytes_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
