/* SPDX-License-Identifier: Apache-2.0
 * document: an object of strings that is read apart is what the parser of the whole text reads, errors
 * included, and costs no allocation for each string. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/document.h"

enum { COUNT_MAX = 4, BYTES_MAX = 40 };

struct reading {
    int err;
    char error[200];
    struct document_map map;
    int64_t number;
    bool has_number;
};

static struct reading read_text(struct slice text, enum document_reading how, bool is_apart, struct arena *a)
{
    struct reading ret = {0};
    struct document_reader r = document_reader_of(how, a, ret.error, sizeof ret.error);
    if (is_apart)
        document_begin_map(&r, text, "m", COUNT_MAX);
    else
        document_begin(&r, text);
    ret.has_number = document_number(&r, "n", 0, 9, &ret.number);
    document_strings(&r, "m", COUNT_MAX, BYTES_MAX, &ret.map);
    ret.err = document_end(&r);
    return ret;
}

static void check_same(struct slice text, enum document_reading how)
{
    struct arena a = {0};
    struct reading whole = read_text(text, how, false, &a), apart = read_text(text, how, true, &a);
    if (whole.err != apart.err || strcmp(whole.error, apart.error) != 0)
        fail_msg("%.*s: %d %s, not %d %s", (int)text.size, text.data, apart.err, apart.error, whole.err,
                 whole.error);
    assert_int_equal(whole.has_number, apart.has_number);
    assert_int_equal(whole.number, apart.number);
    if (!whole.err) {
        assert_int_equal(whole.map.count, apart.map.count);
        for (size_t i = 0; i < whole.map.count; i++) {
            assert_true(slice_equal(whole.map.list[i].key, apart.map.list[i].key));
            assert_true(slice_equal(whole.map.list[i].value, apart.map.list[i].value));
        }
    }
    arena_done(&a);
}

static void test_apart_is_whole(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"m\":{}}",
        "{ \"n\" : 1 , \"m\" : { } } ",
        "{\"n\":1,\"m\":{\"b\":\"1\",\"a\":\"2\"}}",
        "{\"m\":{\"a\":\"2\",\"b\":\"1\"},\"n\":1}",
        "{\"m\":\n{ \"b\" : \"x\\ny\\u0000\" ,\t\"a\\n\" : \"\\u20ac\" , \"\" : \"\" }\r\n, \"n\":1}",
        "{\"m\":{\"\xc3\xa9\":\"\xf0\x9f\x98\x80\",\"\\ud83d\\ude00\":\"\x7f\"}}",
        "{\"m\":{\"longer than eight\":\"\",\"longer than 8\":\"\",\"longer t\":\"\",\"longer\":\"\"}}",
        "{\"\\u006d\":{\"b\":\"1\",\"a\":\"2\"}}",
        "{\"x\":{\"m\":{\"a\":1}},\"m\":{\"a\":\"1\"}}",
        "{\"m\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\",\"d\":\"4\"}}",
        "{\"m\":null}",
        "{\"n\":3}",
        "{}",
        /* refused */
        "{\"m\":{\"a\":\"0123456789012345678901234567890123456789\"}}",
        "{\"m\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\",\"d\":\"4\",\"e\":\"5\"}}",
        "{\"m\":{\"a\":\"1\",\"b\":2}}",
        "{\"m\":{\"a\":\"1\",\"a\":\"2\"}}",
        "{\"m\":{\"b\":\"1\",\"c\":\"\",\"b\":\"2\"}}",
        "{\"m\":{\"a\":\"1\"},\"m\":{}}",
        "{\"m\":{\"a\":\"1\"},\n\"n\":x}",
        "{\"m\":{\"a\":\"1\"},\"n\":10}",
        "{\"m\":{\"a\":\"1\"},\"other\":10}",
        "{\"m\":{\"a\":\"1\",}}",
        "{\"m\":{,}}",
        "{\"m\":{\"a\":\"1\"",
        "{\"m\":{\"a\":\"1\"}",
        "{\"m\":{\"a\":\"1\"} \"n\":1}",
        "{\"m\":{\"a\":\"1\"}} x",
        "{\"m\":{\"a\":\"\\ud800\"}}",
        "{\"m\":{\"a\":\"\xff\"}}",
        "{\"m\":{\"a\":\"\t\"}}",
        "{\"m\":{\"a\\u0000\":\"1\"}}",
        "{\"m\":{\"a\" \"1\"}}",
        "{\"m\":{1:\"1\"}}",
        "{\"m\":[\"a\"]}",
        "{\"m\":\"a\"}",
        "{\"m\":",
        "{\"m\"",
        "[]",
        "",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        check_same(slice_text(texts[i]), DOCUMENT_STRICT);
        check_same(slice_text(texts[i]), DOCUMENT_TOLERANT);
    }
    check_same((struct slice){0}, DOCUMENT_STRICT);
}

/* Every text that begins one of these, and every one with a byte more or less. */
static void test_damaged(void **state)
{
    (void)state;
    static const char text[] = "{\"n\":1,\"m\":{\"b\":\"\\n1\",\"a\":\"2\"},\"x\":[{}]}";
    static const char more[] = "{}[]\",:\\ 1\n";
    char damaged[sizeof text + 1];
    for (size_t at = 0; at < sizeof text; at++) {
        check_same(slice_of(text, at), DOCUMENT_TOLERANT);
        memcpy(damaged, text, at);
        memcpy(damaged + at, text + at + 1, sizeof text - at - 1);
        check_same(slice_of(damaged, sizeof text - 2), DOCUMENT_TOLERANT);
        for (size_t i = 0; more[i]; i++) {
            damaged[at] = more[i];
            memcpy(damaged + at + 1, text + at, sizeof text - at);
            check_same(slice_of(damaged, sizeof text), DOCUMENT_TOLERANT);
        }
    }
}

static size_t allocations;

static void *count_malloc(size_t size)
{
    allocations++;
    return malloc(size);
}

/* {"n":1,"m":{"k9999":"","k9998":"",...}} */
static void add_many(struct buf *out, unsigned count)
{
    buf_add_text(out, "{\"n\":1,\"m\":{");
    for (unsigned i = 0; i < count; i++)
        buf_addf(out, "%s\"k%u\":\"\"", i ? "," : "", 99999 - i);
    buf_add_text(out, "}}");
}

/* jansson needs three allocations for each string: about half a microsecond, and a turn of the loop has
 * eight documents of 4,096. */
static void test_no_tree(void **state)
{
    (void)state;
    static const struct {
        unsigned count;
        int err;
    } rows[] = {{4096, OK}, {40000, ERR_INVALID}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena a = {0};
        struct buf text = {0};
        struct document_map map = {0};
        int64_t number;
        char error[200];
        add_many(&text, rows[i].count);
        allocations = 0;
        json_set_alloc_funcs(count_malloc, free);
        struct document_reader r = document_reader_of(DOCUMENT_STRICT, &a, error, sizeof error);
        document_begin_map(&r, buf_slice(&text), "m", 4096);
        document_number(&r, "n", 0, 9, &number);
        document_strings(&r, "m", 4096, 1 << 20, &map);
        assert_int_equal(document_end(&r), rows[i].err);
        json_set_alloc_funcs(malloc, free);
        assert_in_range(allocations, 0, 50);
        assert_int_equal(map.count, rows[i].err ? 0 : rows[i].count);
        for (size_t k = 1; k < map.count; k++)
            assert_true(slice_compare(map.list[k - 1].key, map.list[k].key) < 0);
        if (rows[i].err)
            assert_string_equal(error, "m is not an object of strings, or has too many");
        buf_done(&text);
        arena_done(&a);
    }
}

/* A document that is refused for its size costs nothing either: unknown fields, lists, and a text whose map
 * is not simply right. */
static void test_too_many_values(void **state)
{
    (void)state;
    static const struct {
        const char *begin, *key, *value, *end;
        unsigned count;
        bool is_refused;
    } rows[] = {
        {"{\"n\":1", "k", "1", "}", 20000, true},
        {"{\"n\":1,\"x\":[0", NULL, ",0", "],\"m\":{}}", 100000, true},
        {"{\"n\":1,\"m\":{},\"x\":[0", NULL, ",[]", "]}", 50000, true},
        {"{\"n\":1,\"m\":{\"a\":1},\"x\":[0", NULL, ",[]", "]}", 50000, true},
        {"{\"n\":1,\"m\":{},\"x\":[0", NULL, ",0", "]}", 1000, false},
        {"{\"n\":1", "k", "\",,[[{{\"", "}", 1000, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena a = {0};
        struct buf text = {0};
        int64_t number = 0;
        char error[200] = "";
        buf_add_text(&text, rows[i].begin);
        for (unsigned k = 0; k < rows[i].count; k++) {
            if (rows[i].key)
                buf_addf(&text, ",\"%s%u\":", rows[i].key, k);
            buf_add_text(&text, rows[i].value);
        }
        buf_add_text(&text, rows[i].end);
        allocations = 0;
        json_set_alloc_funcs(count_malloc, free);
        struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, &a, error, sizeof error);
        document_begin_map(&r, buf_slice(&text), "m", 4);
        document_number(&r, "n", 0, 9, &number);
        assert_int_equal(document_end(&r), rows[i].is_refused ? ERR_INVALID : OK);
        json_set_alloc_funcs(malloc, free);
        assert_string_equal(error, rows[i].is_refused ? "the document has too many values" : "");
        assert_int_equal(number, rows[i].is_refused ? 0 : 1);
        if (rows[i].is_refused)
            assert_int_equal(allocations, 0);
        buf_done(&text);
        arena_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apart_is_whole),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_no_tree),
        cmocka_unit_test(test_too_many_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
