/* SPDX-License-Identifier: Apache-2.0
 * Tests of json: the limits of the parser, the writer's commas and escapes. */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/json.h"
#include "base/json_lex.h"

static void test_parse(void **state)
{
    (void)state;
    char error[160];
    json_t *root = NULL;
    struct slice text = slice_text("{\"a\": [1, 2.5, \"x\\u0000y\"], \"b\": null}");
    assert_int_equal(json_parse(text, &root, error, sizeof error), OK);
    json_t *array = json_object_get(root, "a");
    assert_int_equal(json_integer_value(json_array_get(array, 0)), 1);
    assert_int_equal(json_string_length(json_array_get(array, 2)), 3);
    json_decref(root);
    assert_int_equal(json_parse(slice_text("17"), &root, error, sizeof error), OK);
    json_decref(root);
}

static void test_parse_refusals(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "line 1"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":1} x", "end of file expected"},
        {"[1,\n 2,,]", "line 2, column 4"},
        {"\"\xff\"", "unable to decode byte 0xff"},
        {"[99999999999999999999]", "integer"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char error[160] = "";
        json_t *root = (json_t *)1;
        assert_int_equal(json_parse(slice_text(rows[i][0]), &root, error, sizeof error), ERR_MALFORMED);
        assert_ptr_equal(root, (json_t *)1);
        if (!strstr(error, rows[i][1]) || !strstr(error, "line "))
            fail_msg("%s: %s", rows[i][0], error);
    }
    char error[160];
    json_t *root;
    assert_int_equal(json_parse((struct slice){0}, &root, error, sizeof error), ERR_MALFORMED);
}

static int parse_nested(unsigned depth, char *error)
{
    struct buf b = {0};
    buf_add_text(&b, "\n{\"]]\\\"[[\": ");
    for (unsigned i = 1; i < depth; i++)
        buf_add_byte(&b, '[');
    for (unsigned i = 1; i < depth; i++)
        buf_add_byte(&b, ']');
    buf_add_byte(&b, '}');
    json_t *root;
    int err = json_parse(buf_slice(&b), &root, error, 160);
    if (!err)
        json_decref(root);
    buf_done(&b);
    return err;
}

static void test_depth(void **state)
{
    (void)state;
    char error[160];
    assert_int_equal(parse_nested(200, error), OK);
    assert_int_equal(parse_nested(201, error), ERR_MALFORMED);
    assert_string_equal(error, "line 2, column 211: nested deeper than 200 levels");
    assert_int_equal(parse_nested(1000000, error), ERR_MALFORMED);
}

static void test_writer(void **state)
{
    (void)state;
    struct buf b = {0};
    struct json_writer w = {.out = &b};
    jw_open(&w, '{');
    jw_key(&w, "i");
    jw_int(&w, -5);
    jw_key(&w, "u");
    jw_uint(&w, UINT64_MAX);
    jw_key(&w, "is");
    jw_int_string(&w, INT64_MIN);
    jw_key(&w, "us");
    jw_uint_string(&w, 7);
    jw_key(&w, "list");
    jw_open(&w, '[');
    jw_bool(&w, true);
    jw_bool(&w, false);
    jw_open(&w, '{');
    jw_close(&w, '}');
    jw_open(&w, '[');
    jw_close(&w, ']');
    jw_raw(&w, slice_text("null"));
    jw_close(&w, ']');
    jw_key(&w, "b");
    jw_base64(&w, slice_text("foob"));
    jw_close(&w, '}');
    assert_string_equal(buf_text(&b),
                        "{\"i\":-5,\"u\":18446744073709551615,\"is\":\"-9223372036854775808\",\"us\":\"7\","
                        "\"list\":[true,false,{},[],null],\"b\":\"Zm9vYg==\"}");
    buf_done(&b);
}

static void test_escapes(void **state)
{
    (void)state;
    static const struct {
        struct slice in;
        const char *out;
    } rows[] = {
        {{NULL, 0}, "\"\""},
        {{(const uint8_t *)"", 0}, "\"\""},
        {{(const uint8_t *)"a\"b\\c/", 6}, "\"a\\\"b\\\\c/\""},
        {{(const uint8_t *)"\b\f\n\r\t\x01\x1f\x7f", 8}, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\""},
        {{(const uint8_t *)"a\0b", 3}, "\"a\\u0000b\""},
        {{(const uint8_t *)"\xc2\xb5\xe2\x82\xac", 5}, "\"\u00b5\u20ac\""},
        {{(const uint8_t *)"x\xff\xc3", 3}, "\"x\ufffd\ufffd\""},
        {{(const uint8_t *)"\xed\xa0\x80z", 4}, "\"\ufffd\ufffd\ufffdz\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = {0};
        struct json_writer w = {.out = &b};
        jw_string(&w, rows[i].in);
        assert_string_equal(buf_text(&b), rows[i].out);
        char error[160];
        json_t *root;
        assert_int_equal(json_parse(buf_slice(&b), &root, error, sizeof error), OK);
        json_decref(root);
        buf_done(&b);
    }
}

/* Every byte at every place of a word and beyond it. */
static void test_plain(void **state)
{
    (void)state;
    uint8_t text[24];
    for (unsigned c = 0; c < 256; c++) {
        bool is_plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        for (size_t at = 0; at < sizeof text; at++) {
            memset(text, 'a', sizeof text);
            text[at] = (uint8_t)c;
            assert_int_equal(json_plain_size(text, sizeof text), is_plain ? sizeof text : at);
            assert_int_equal(json_plain_size(text, at), at);
        }
    }
}

static void test_find_string(void **state)
{
    (void)state;
    static const struct {
        const char *text, *found; /* NULL = not found */
        size_t from, to;
    } rows[] = {
        {"{\"x\":\"abc\"}", "abc", 5, 10},
        {" {\"a\":[{\"x\":1},\"}\"], \"b\" : {\"x\":\"no\"},\"x\" : \"a\\n\\u20ac\" ,", "a\n\u20ac", 44, 55},
        {"{\"\\u0078\":\"y\"}", "y", 10, 13},
        {"{\"a\":1.5e3,\"x\":\"\"", "", 15, 17},
        {"{\"x\":\"y\",\"x\":\"z\"}", "y", 5, 8},
        {"{\"x\":null}", NULL, 0, 0},
        {"{\"x\":{\"x\":\"y\"}}", NULL, 0, 0},
        {"{\"xx\":\"y\"}", NULL, 0, 0},
        {"[\"x\",\"y\"]", NULL, 0, 0},
        {"{\"x\":\"y", NULL, 0, 0},
        {"{\"x\":\"\\ud800\"}", NULL, 0, 0},
        {"{\"x\" \"y\"}", NULL, 0, 0},
        {"{\"a\":]},\"x\":\"y\"}", NULL, 0, 0},
        {"{\"a\":1", NULL, 0, 0},
        {"{", NULL, 0, 0},
        {"", NULL, 0, 0},
    };
    struct buf scratch = {0};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice string;
        size_t from, to;
        bool is_found = json_find_string(slice_text(rows[i].text), "x", &scratch, &string, &from, &to);
        if (is_found != (rows[i].found != NULL))
            fail_msg("%s", rows[i].text);
        if (!is_found)
            continue;
        assert_true(slice_equal(string, slice_text(rows[i].found)));
        assert_int_equal(from, rows[i].from);
        assert_int_equal(to, rows[i].to);
    }
    buf_done(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),       cmocka_unit_test(test_parse_refusals),
        cmocka_unit_test(test_depth),       cmocka_unit_test(test_writer),
        cmocka_unit_test(test_escapes),     cmocka_unit_test(test_plain),
        cmocka_unit_test(test_find_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
