/* SPDX-License-Identifier: Apache-2.0
 * Tests of JSON Schema: keywords with the place and the sentence of a fault, the rules for YAML and properties,
 * refused schemas, patterns, and hostile schemas and contents, which end at a limit. The official test suite is
 * read from the folder JSON_SCHEMA_SUITE (tests/draft2020-12 of JSON-Schema-Test-Suite); without it it is skipped. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/schema/regex.h"
#include "config/schema/schema.h"

static struct format_error error;

static struct schema *compile(const char *text)
{
    struct schema *s = NULL;
    error = (struct format_error){0};
    if (schema_compile(slice_text(text), &s, &error))
        fail_msg("%s: %s", text, error.text);
    return s;
}

/* why NULL: the content is fine; else a part of the fault. */
static void check_is(const char *schema, enum format f, const char *content, const char *why)
{
    struct schema *s = compile(schema);
    error = (struct format_error){0};
    assert_int_equal(format_check(f, slice_text(content), &error), OK);
    int err = schema_check(s, f, slice_text(content), &error);
    if (!why && err)
        fail_msg("%s is refused: %s", content, error.text);
    if (why && (err != ERR_MALFORMED || !strstr(error.text, why)))
        fail_msg("%s by %s: %s, wanted %s", content, schema, err ? error.text : "accepted", why);
    schema_free(s);
}

static void fine(const char *schema, const char *content)
{
    check_is(schema, FORMAT_JSON, content, NULL);
}

static void wrong(const char *schema, const char *content, const char *why)
{
    check_is(schema, FORMAT_JSON, content, why);
}

static void no_schema(const char *text, const char *why)
{
    struct schema *s = NULL;
    error = (struct format_error){0};
    int err = schema_compile(slice_text(text), &s, &error);
    if (err != ERR_MALFORMED || s || !strstr(error.text, why))
        fail_msg("%.200s: %s, wanted %s", text, err ? error.text : "compiled", why);
}

/* --- keywords ------------------------------------------------------------------------------------------- */

static void test_scalars(void **state)
{
    (void)state;
    fine("true", "1");
    wrong("false", "1", "line 1, column 1: 1: no value is allowed here");
    fine("{\"type\":\"integer\"}", "1.0");
    fine("{\"type\":\"integer\"}", "1e3");
    wrong("{\"type\":\"integer\"}", "1.5", "1.5 is of type number; it must be integer");
    wrong("{\"type\":[\"string\",\"null\"]}", "{}",
          "an object of 0 is of type object; it must be null or string");
    wrong("{\"enum\":[1,\"a\",{\"b\":[2]}]}", "{\"b\":[3]}", "is none of the 3 allowed values");
    fine("{\"enum\":[1,\"a\",{\"b\":[2]}]}", "{\"b\":[2.0]}");
    wrong("{\"const\":1}", "2", "2 must be 1");
    fine("{\"multipleOf\":0.01}", "4.35");
    wrong("{\"multipleOf\":0.01}", "4.353", "4.353 is no multiple of 0.01");
    fine("{\"multipleOf\":3}", "3e400");
    wrong("{\"multipleOf\":7}", "1e400", "is no multiple of 7");
    wrong("{\"maximum\":65535}", "70000", "70000 must be at most 65535");
    wrong("{\"exclusiveMaximum\":1}", "1.0", "1.0 must be below 1");
    wrong("{\"minimum\":-1}", "-1.0000000000000000000000001", "must be at least -1");
    fine("{\"minimum\":-1}", "-0.99999999999999999999");
    wrong("{\"exclusiveMinimum\":0}", "-0", "-0 must be above 0");
    fine("{\"maximum\":1e999999999999999999999}", "1e400");
    wrong("{\"maxLength\":2}", "\"\xc3\xa4\xc3\xb6\xc3\xbc\"", "it has 3 characters; at most 2 are allowed");
    wrong("{\"minLength\":2}", "\"a\"", "it has 1 characters; at least 2 are allowed");
    wrong("{\"pattern\":\"^a+$\"}", "\"ab\"", "\"ab\" does not match the pattern \"^a+$\"");
    fine("{\"pattern\":\"^a+$\"}", "1");
    fine("{\"format\":\"ipv4\",\"x-mine\":1}", "\"no address\"");
}

static void test_collections(void **state)
{
    (void)state;
    wrong("{\"maxItems\":1}", "[1,2]", "it has 2 elements; at most 1 are allowed");
    wrong("{\"uniqueItems\":true}", "[1,{\"a\":1,\"b\":2},{\"b\":2.0,\"a\":1}]",
          "two of its 3 elements are equal");
    fine("{\"uniqueItems\":true}", "[1,\"1\",true,[1],{\"a\":1}]");
    wrong("{\"prefixItems\":[{\"type\":\"string\"}],\"items\":{\"type\":\"integer\"}}", "[\"a\",1,\"b\"]",
          "line 1, column 8: [2]: \"b\" is of type string");
    wrong("{\"contains\":{\"minimum\":5},\"minContains\":2}", "[5,1]",
          "1 of its elements are as `contains` asks; at least 2");
    wrong("{\"contains\":true,\"maxContains\":1}", "[5,1]", "at most 1 may be");
    wrong("{\"required\":[\"a\",\"b\"]}", "{\"a\":1}", "\"b\" is missing");
    wrong("{\"minProperties\":1}", "{}", "it has 0 names; at least 1 are allowed");
    wrong("{\"properties\":{\"server\":{\"properties\":{\"port\":{\"maximum\":65535}}}}}",
          "{\n  \"server\": {\n    \"port\": 70000}}",
          "line 3, column 13: server.port: 70000 must be at most 65535");
    wrong("{\"properties\":{\"a\":true},\"patternProperties\":{\"^x-\":{\"type\":\"string\"}},"
          "\"additionalProperties\":false}",
          "{\"a\":1,\"x-b\":\"c\",\n\"d.e\":2}",
          "line 2, column 1: [\"d.e\"]: this name is not allowed here");
    wrong("{\"patternProperties\":{\"^x-\":{\"type\":\"string\"}}}", "{\"x-b\":1}",
          "x-b: 1 is of type number");
    wrong("{\"propertyNames\":{\"maxLength\":2}}", "{\"abc\":1}", "it has 3 characters");
    wrong("{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}", "\"b\" is missing, which a requires");
    wrong("{\"dependentSchemas\":{\"a\":{\"required\":[\"c\"]}}}", "{\"a\":1}", "\"c\" is missing");
}

static void test_combinations(void **state)
{
    (void)state;
    static const char if_text[] =
        "{\"if\":{\"properties\":{\"tls\":{\"const\":true}},\"required\":[\"tls\"]},"
        "\"then\":{\"required\":[\"cert\"]},\"else\":{\"required\":[\"plain\"]}}";
    wrong("{\"allOf\":[true,{\"minimum\":3}]}", "2", "2 must be at least 3");
    wrong("{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":3}]}", "2",
          "2 fits none of the 2 schemas of anyOf");
    wrong("{\"anyOf\":[{\"minimum\":3}]}", "2", "2 must be at least 3");
    wrong("{\"oneOf\":[{\"minimum\":1},{\"minimum\":2}]}", "2", "2 fits more than one schema of oneOf");
    fine("{\"oneOf\":[{\"minimum\":1},{\"minimum\":2}]}", "1");
    wrong("{\"not\":{\"type\":\"null\"}}", "null", "null is as the schema of `not` says");
    wrong(if_text, "{\"tls\":true}", "\"cert\" is missing");
    wrong(if_text, "{\"tls\":false}", "\"plain\" is missing");
    fine(if_text, "{\"tls\":true,\"cert\":1}");
}

static void test_references(void **state)
{
    (void)state;
    static const char tree[] =
        "{\"$id\":\"https://example.com/tree\",\"$ref\":\"#/$defs/node\",\"$defs\":{\"node\":{"
        "\"type\":\"object\",\"properties\":{\"sub\":{\"type\":\"array\",\"items\":{\"$ref\":"
        "\"https://example.com/tree#here\"}}},\"additionalProperties\":false,\"$anchor\":\"here\"}}}";
    fine(tree, "{\"sub\":[{\"sub\":[]},{}]}");
    wrong(tree, "{\"sub\":[{\"sub\":[{},{\"sup\":1}]}]}", "sub[0].sub[1].sup: this name is not allowed");
    fine("{\"$ref\":\"#/%24defs/a~1b~0c\",\"$defs\":{\"a/b~c\":{\"type\":\"null\"}}}", "null");
    wrong("{\"properties\":{\"a\":{\"$ref\":\"#/x-types/1\"}},\"x-types\":[0,{\"type\":\"null\"}]}",
          "{\"a\":1}", "a: 1 is of type number");
    wrong("{\"$ref\":\"#/$defs/n\",\"maximum\":5,\"$defs\":{\"n\":{\"minimum\":1}}}", "6",
          "6 must be at most 5");
}

/* --- formats -------------------------------------------------------------------------------------------- */

static void test_yaml(void **state)
{
    (void)state;
    static const char ports[] =
        "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\",\"maximum\":65535}}";
    check_is(ports, FORMAT_YAML, "a: 80\nb: 0x50\nc: +1.0\n", NULL);
    check_is(ports, FORMAT_YAML, "a: 80\nb:  0x10000\n", "line 2, column 5: b: 65536 must be at most 65535");
    check_is(ports, FORMAT_YAML, "a: 80\nb: \"80\"\n", "b: \"80\" is of type string; it must be integer");
    check_is(ports, FORMAT_YAML, "a: 80\nb: yes\n", "\"yes\" is of type string");
    check_is(ports, FORMAT_YAML, "\xc3\xa4: 1\n\xc3\xb6: !!str 5\n",
             "line 2, column 4: \xc3\xb6: \"5\" is of type string");
    check_is(ports, FORMAT_YAML, "a: 1\n---\nb: null\n", "line 3, column 4: b: null is of type null");
    check_is(ports, FORMAT_YAML, "x: &x 70000\ny: *x\n", "70000 must be at most");
    check_is(ports, FORMAT_YAML, "1: 2\n~: 3\ntrue: 4\n", NULL);
    check_is(ports, FORMAT_YAML, "? [a]\n: 1\n", "a key that is a list or a mapping has no form in JSON");
    check_is("{\"type\":\"null\"}", FORMAT_YAML, "# nothing\n", NULL);
    check_is("{\"properties\":{\"b\":{\"required\":[\"x\",\"y\"],\"properties\":{\"x\":{\"const\":2}}}}}",
             FORMAT_YAML, "a: &a {x: 1, y: 1}\nb:\n  <<: *a\n  x: 2\n", NULL);
    check_is("{\"properties\":{\"b\":{\"properties\":{\"x\":{\"const\":2}}}}}", FORMAT_YAML,
             "a: &a {x: 1}\nc: &c {x: 2, z: 3}\nb:\n  <<: [*c, *a]\n", NULL);
    check_is("{\"properties\":{\"a\":{\"type\":\"string\"}}}", FORMAT_YAML, "a: .inf\n", NULL);
    check_is("{\"properties\":{\"a\":{\"const\":0.5}}}", FORMAT_YAML, "a: +.5e0\n", NULL);
}

static void test_properties(void **state)
{
    (void)state;
    static const char schema[] =
        "{\"properties\":{\"server.port\":{\"type\":\"integer\",\"maximum\":65535},\"debug\":{\"type\":"
        "\"boolean\"},"
        "\"version\":{\"type\":\"string\",\"pattern\":\"^1\\\\.\"},\"mode\":{\"enum\":[\"a\",5,true]}},"
        "\"required\":[\"server.port\"],\"additionalProperties\":{\"type\":\"string\"}}";
    check_is(schema, FORMAT_PROPERTIES, "server.port=8080\ndebug : true\nversion 1.10\nmode=5\nother=7\n",
             NULL);
    check_is(schema, FORMAT_PROPERTIES, "server.port = 8080x",
             "line 1, column 15: [\"server.port\"]: \"8080x\" is of type "
             "string; it must be integer");
    check_is(schema, FORMAT_PROPERTIES, "# c\nserver.port=70000\n", "line 2, column 13: [\"server.port\"]");
    check_is(schema, FORMAT_PROPERTIES, "debug=1\nserver.port=1",
             "debug: \"1\" is of type string; it must be boolean");
    check_is(schema, FORMAT_PROPERTIES, "server.port=1\nmode=false",
             "mode: \"false\" is none of the 3 allowed values");
    check_is(schema, FORMAT_PROPERTIES, "server.port=1\nmode=true", NULL);
    check_is(schema, FORMAT_PROPERTIES, "a=1", "\"server.port\" is missing");
    check_is("{\"properties\":{\"a\":{\"const\":\"x=y z\"}}}", FORMAT_PROPERTIES, "a \\\n  :   x=y \\u007a",
             NULL);
}

static void test_no_values(void **state)
{
    (void)state;
    check_is("true", FORMAT_TEXT, "a", "the format text has no values");
    check_is("true", FORMAT_TOML, "a = 1", "the format toml has no values");
}

/* --- schemas that are refused --------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    (void)state;
    no_schema("{", "line 1, column 2: the end");
    no_schema("1", "a schema is an object, true or false");
    no_schema("{\n\"type\": \"int\"}", "line 2, column 9: type: it is null, boolean, number");
    no_schema("{\"properties\":{\"a\":{\"minimum\":\"1\"}}}", "minimum: it is a number");
    no_schema("{\"maxLength\":-1}", "maxLength: it is an integer that is not negative");
    no_schema("{\"multipleOf\":0}", "it is a number above 0");
    no_schema("{\"multipleOf\":1234567890123456789}", "more than 18 digits");
    no_schema("{\"allOf\":[]}", "a list of schemas that is not empty");
    no_schema("{\"required\":\"a\"}", "it is a list of names");
    no_schema("{\"items\":[true]}", "use prefixItems");
    no_schema("{\"unevaluatedProperties\":false}",
              "line 1, column 2: unevaluatedProperties: it is not supported");
    no_schema("{\"dependencies\":{}}", "of an older draft");
    no_schema("{\"$schema\":\"http://json-schema.org/draft-07/schema#\"}",
              "only https://json-schema.org/draft/2020-12");
    no_schema("{\"properties\":{\"a\":{\"$id\":\"b\"}}}", "only the whole schema has one");
    no_schema("{\"$ref\":\"https://example.com/other.json\"}", "nothing is fetched");
    no_schema("{\"$ref\":\"other.json#/a\"}", "nothing is fetched");
    no_schema("{\"$ref\":\"#/$defs/none\"}", "there is nothing at this place");
    no_schema("{\"$ref\":\"#none\"}", "there is nothing at this place");
    no_schema("{\"$ref\":\"#/required\",\"required\":[]}", "a schema is an object, true or false");
    no_schema("{\"$ref\":\"#\"}", "refers to itself");
    no_schema(
        "{\"$defs\":{\"a\":{\"allOf\":[{\"$ref\":\"#/$defs/b\"}]},\"b\":{\"not\":{\"$ref\":\"#/$defs/a\"}}}}",
        "refers to itself");
    no_schema("{\"$defs\":{\"a\":{\"$anchor\":\"x\"},\"b\":{\"$anchor\":\"x\"}}}", "stands twice");
    no_schema("{\"pattern\":\"a(?=b)\"}", "look-ahead");
    no_schema("{\"patternProperties\":{\"(a)\\\\1\":true}}", "references to groups");
}

/* --- patterns ------------------------------------------------------------------------------------------- */

static bool matches(const char *pattern, const char *text)
{
    char why[200];
    struct arena a = {0};
    struct regex *r = NULL;
    int64_t steps = 1000000;
    uint32_t left = REGEX_STATES_MAX;
    if (regex_compile(slice_text(pattern), &a, &left, &r, why, sizeof why))
        fail_msg("%s: %s", pattern, why);
    bool does = regex_matches(r, slice_text(text), &steps);
    assert_true(steps > 0);
    arena_done(&a);
    return does;
}

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *fits, *other;
    } rows[] = {
        {"", "x", NULL},
        {"b", "abc", "ac"},
        {"^abc$", "abc", "abcd"},
        {"^(a|bc|)d$", "bcd", "bd"},
        {"^(a|bc|)d$", "d", "abcd"},
        {"^(?:(?:a|b)|(?:c|d(e|f)))$", "df", "dg"},
        {"^a*b+c?$", "bbc", "aac"},
        {"^(ab){2}$", "abab", "ababab"},
        {"^(ab){2,}$", "ababab", "ab"},
        {"^(ab){1,3}$", "ababab", "abababab"},
        {"^a{0,2}b$", "aab", "aaab"},
        {"^a{0}b$", "b", "ab"},
        {"^(a|b{2,3}){2,4}$", "abbabbb",
         "abab"
         "ab"},
        {"^(x?y+){3}z$", "yxyyyz", "yxyz"},
        {"^.$", "\xf0\x9f\x98\x80", "ab"},
        {"^[a-cx_]+$", "abx_", "abd"},
        {"^[^a-c]$", "\xc3\xa4", "b"},
        {"^[\\]\\-a]+$", "]-a", "\\"},
        {"^[\\d-]+$", "1-2", "a"},
        {"^\\d{3}-\\D\\w\\W$", "123-x_!", "123-5_!"},
        {"^\\s\\S$", "\xc2\xa0x", "xx"},
        {"^[^\\s]$", "x", " "},
        {"\\bfoo\\b", "a foo b", "afoo b"},
        {"o\\B", "oo", "o"},
        {"^\\u00e4\\x41\\u{1F600}\\uD83D\\uDE00\\t\\cA\\0?$",
         "\xc3\xa4"
         "A\xf0\x9f\x98\x80\xf0\x9f\x98\x80\t\x01",
         "a"},
        {"^(?<year>\\d{4})$", "2026", "26"},
        {"^a+?b*?$", "aab", "b"},
        {"^(a*)*$", "aaaa", "aab"},
        {"^(a?){20}a{20}$", "aaaaaaaaaaaaaaaaaaaa", "aaaa"},
        {"^\\/\\.\\*\\$$", "/.*$", "/a*$"},
        {"(^a|b$)", "xb",
         "xa"
         "b"
         "c"},
        {"()+a", "a", "b"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (!matches(rows[i].pattern, rows[i].fits))
            fail_msg("%s does not match %s", rows[i].pattern, rows[i].fits);
        if (rows[i].other && matches(rows[i].pattern, rows[i].other))
            fail_msg("%s matches %s", rows[i].pattern, rows[i].other);
    }
}

static void test_wrong_patterns(void **state)
{
    (void)state;
    static const char *const rows[] = {"(",
                                       ")",
                                       "[a",
                                       "*a",
                                       "a**",
                                       "a{2",
                                       "a{3,2}",
                                       "{1}",
                                       "a{x}",
                                       "[b-a]",
                                       "[\\d-z]",
                                       "\\",
                                       "\\u12",
                                       "\\u{110000}",
                                       "\\p{L}",
                                       "(?=a)",
                                       "(?<!a)b",
                                       "\\1",
                                       "\\k<a>",
                                       "(?i)a",
                                       "]",
                                       "a{2000}b",
                                       "(((a{100}){100}){100})",
                                       "\\q"};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char why[200] = "";
        struct arena a = {0};
        struct regex *r = NULL;
        uint32_t left = REGEX_STATES_MAX;
        if (regex_compile(slice_text(rows[i]), &a, &left, &r, why, sizeof why) != ERR_INVALID || r)
            fail_msg("%s is accepted", rows[i]);
        assert_true(strncmp(why, "pattern: ", 9) == 0);
        arena_done(&a);
    }
}

/* Expressions that take a backtracking matcher 2^n steps. */
static void test_no_backtracking(void **state)
{
    (void)state;
    static const char *const rows[] = {"^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(a*)*b$", "^([a-z]+)*[0-9]$"};
    enum { SIZE = 10000 };
    char *text = mem_new(SIZE + 2);
    memset(text, 'a', SIZE);
    text[SIZE] = '!';
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char why[200];
        struct arena a = {0};
        struct regex *r = NULL;
        uint32_t left = REGEX_STATES_MAX;
        int64_t steps = 100 * SIZE;
        assert_int_equal(regex_compile(slice_text(rows[i]), &a, &left, &r, why, sizeof why), OK);
        assert_false(regex_matches(r, slice_of(text, SIZE + 1), &steps));
        assert_true(steps > 0); /* linear: it did not end at the limit */
        steps = 1000;
        assert_false(regex_matches(r, slice_of(text, SIZE + 1), &steps));
        assert_true(steps < 0);
        arena_done(&a);
    }
    mem_free(text);
}

/* --- hostile -------------------------------------------------------------------------------------------- */

static void test_costly(void **state)
{
    (void)state;
    struct buf schema = {0}, content = {0};
    buf_add_text(&schema, "{\"$defs\":{\"d0\":{\"type\":\"string\"}");
    for (int i = 1; i <= 40; i++)
        buf_addf(&schema, ",\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]}", i,
                 i - 1, i - 1);
    buf_add_text(&schema, "},\"$ref\":\"#/$defs/d40\"}");
    wrong(buf_text(&schema), "1", "the check takes more than 5000000 steps");
    buf_clear(&schema);
    buf_add_text(&schema, "{\"properties\":{\"a\":{\"$ref\":\"#\"}},\"allOf\":[");
    for (int i = 0; i < 20; i++)
        buf_add_text(&schema, "{\"allOf\":[");
    buf_add_text(&schema, "{\"properties\":{\"a\":{\"$ref\":\"#\"}}}");
    for (int i = 0; i < 20; i++)
        buf_add_text(&schema, "]}");
    buf_add_text(&schema, "]}");
    for (int i = 0; i < 150; i++)
        buf_add_text(&content, "{\"a\":");
    buf_add_text(&content, "1");
    for (int i = 0; i < 150; i++)
        buf_add_text(&content, "}");
    wrong(buf_text(&schema), buf_text(&content), "");
    buf_clear(&content);
    buf_add_text(&content, "[0");
    for (int i = 0; i < VALUE_COUNT_MAX; i++)
        buf_add_text(&content, ",0");
    buf_add_text(&content, "]");
    wrong("true", buf_text(&content), "it has more than 100000 values");
    buf_done(&schema);
    buf_done(&content);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf text = {0};
    for (int i = 0; i < 70; i++)
        buf_add_text(&text, "{\"not\":");
    buf_add_text(&text, "true");
    for (int i = 0; i < 70; i++)
        buf_add_text(&text, "}");
    no_schema(buf_text(&text), "nested deeper than 64 levels");
    buf_clear(&text);
    buf_add_text(&text, "{\"allOf\":[true");
    for (int i = 0; i < 5000; i++)
        buf_add_text(&text, ",true");
    buf_add_text(&text, "]}");
    no_schema(buf_text(&text), "more than 5,000 schemas");
    buf_clear(&text);
    buf_add_text(&text, "{\"allOf\":[true");
    for (int i = 0; i < 12; i++)
        buf_add_text(&text, ",{\"pattern\":\"a{1900}\"}");
    buf_add_text(&text, "]}");
    no_schema(buf_text(&text), "more than 20,000 parts together");
    buf_clear(&text);
    buf_add_text(&text, "{\"title\":\"");
    for (size_t i = 0; i < SCHEMA_SIZE_MAX; i++)
        buf_add_byte(&text, 'x');
    buf_add_text(&text, "\"}");
    no_schema(buf_text(&text), "at most 64 KiB");
    buf_done(&text);
}

/* --- paths ---------------------------------------------------------------------------------------------- */

static void path_is(enum format f, const char *text, const char *path, int wanted, const char *result)
{
    struct value_tree t;
    const struct value *v = NULL;
    char why[256] = "";
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    assert_int_equal(value_read(f, slice_text(text), &t, &error), OK);
    int err = value_find(f, t.documents[0], slice_text(path), &v, why, sizeof why);
    if (!err)
        assert_true(value_write(v, &w, 1000));
    const char *is = err ? why : buf_text(&out);
    if (err != wanted || !strstr(is, result) || (!err && strcmp(is, result) != 0))
        fail_msg("%s of %s: %s, wanted %s", path, text, is, result);
    buf_done(&out);
    value_tree_done(&t);
}

static void test_paths(void **state)
{
    (void)state;
    static const char json[] = "{\"a\":{\"b\":[1,{\"c\":\"x\"},[true,null]]},\"x.y\":{\"\":1.50},\"z[0]\":2}";
    path_is(FORMAT_JSON, json, "a.b[1].c", OK, "\"x\"");
    path_is(FORMAT_JSON, json, "a.b[2][1]", OK, "null");
    path_is(FORMAT_JSON, json, "a", OK, "{\"b\":[1,{\"c\":\"x\"},[true,null]]}");
    path_is(FORMAT_JSON, json, "[\"x.y\"][\"\"]", OK, "1.50");
    path_is(FORMAT_JSON, json, "[\"z[0]\"]", OK, "2");
    path_is(FORMAT_JSON, json, "[\"a\"].b[0]", OK, "1");
    path_is(FORMAT_JSON, json, "a.c", ERR_NOT_FOUND, "there is no key a.c: the object has no such name");
    path_is(FORMAT_JSON, json, "a.b.c", ERR_NOT_FOUND, "of a value of type array");
    path_is(FORMAT_JSON, json, "a[0]", ERR_NOT_FOUND, "this index is asked of a value of type object");
    path_is(FORMAT_JSON, json, "a.b[3]", ERR_NOT_FOUND, "the array has 3 elements");
    static const char *const bad[] = {".a",     "a.",    "a..b",     "a[",    "a[x]",          "a[1", "a[-1]",
                                      "a[\"b]", "a[0]b", "[\"a\"]b", "a.[0]", "a[9999999999]", "[]"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        path_is(FORMAT_JSON, "{\"a\":{\"b\":1}}", bad[i],
                strcmp(bad[i], "a[0]b") == 0 ? ERR_NOT_FOUND : ERR_INVALID, "");
    path_is(FORMAT_YAML, "a:\n  - b: 0x10\n  - {c: yes, d: .5}\n", "a[0].b", OK, "16");
    path_is(FORMAT_YAML, "a:\n  - b: 0x10\n  - {c: yes, d: .5}\n", "a[1]", OK, "{\"c\":\"yes\",\"d\":0.5}");
    path_is(FORMAT_PROPERTIES, "a.b=1\na.c=true\nd=1.10\ne=x\n", "a.b", OK, "1");
    path_is(FORMAT_PROPERTIES, "a.b=1\na.c=true\nd=1.10\ne=x\n", "a.c", OK, "true");
    path_is(FORMAT_PROPERTIES, "a.b=1\na.c=true\nd=1.10\ne=x\n", "d", OK, "1.10");
    path_is(FORMAT_PROPERTIES, "a.b=1\na.c=true\nd=1.10\ne=x\n", "e", OK, "\"x\"");
    path_is(FORMAT_PROPERTIES, "a.b=1\n", "a", ERR_NOT_FOUND, "no such name");
}

/* --- the official suite --------------------------------------------------------------------------------- */

/* Files of keywords that are refused, and single groups that need one of them. */
static bool is_skipped(const char *name)
{
    static const char *const names[] = {"dynamicRef.json", "refRemote.json", "unevaluatedItems.json",
                                        "unevaluatedProperties.json", "vocabulary.json"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

struct counts {
    unsigned passed, refused, wrong;
};

static void run_group(const struct value *group, const char *file, struct counts *n)
{
    struct buf schema = {0};
    struct json_writer w = {.out = &schema};
    struct schema *s = NULL;
    const struct value *tests = value_member(group, slice_text("tests"))->value;
    assert_true(value_write(value_member(group, slice_text("schema"))->value, &w, 1 << 20));
    if (schema_compile(buf_slice(&schema), &s, &error)) {
        n->refused += (unsigned)tests->count;
        print_message("%s: refused: %s: %.*s\n", file, error.text, (int)schema.size,
                      (const char *)schema.data);
    }
    for (size_t i = 0; s && i < tests->count; i++) {
        const struct value *test = tests->list[i].value;
        struct buf data = {0};
        w = (struct json_writer){.out = &data};
        assert_true(value_write(value_member(test, slice_text("data"))->value, &w, 1 << 20));
        bool is_valid = schema_check(s, FORMAT_JSON, buf_slice(&data), &error) == OK;
        if (is_valid == value_member(test, slice_text("valid"))->value->is_true) {
            n->passed++;
        } else {
            n->wrong++;
            print_message("%s: %.*s: %s by %.*s\n", file, (int)data.size, (const char *)data.data,
                          is_valid ? "accepted" : error.text, (int)schema.size, (const char *)schema.data);
        }
        buf_done(&data);
    }
    schema_free(s);
    buf_done(&schema);
}

static void run_file(const char *folder, const char *name, struct counts *n)
{
    struct buf path = {0}, text = {0};
    struct value_tree t;
    buf_addf(&path, "%s/%s", folder, name);
    FILE *f = fopen(buf_text(&path), "rb");
    assert_non_null(f);
    for (size_t got = 1; got;) {
        got = fread(buf_reserve(&text, 65536), 1, 65536, f);
        text.size += got;
    }
    fclose(f);
    assert_int_equal(value_read(FORMAT_JSON, buf_slice(&text), &t, &error), OK);
    for (size_t i = 0; i < t.documents[0]->count; i++)
        run_group(t.documents[0]->list[i].value, name, n);
    value_tree_done(&t);
    buf_done(&text);
    buf_done(&path);
}

static void test_suite(void **state)
{
    const char *folder = getenv("JSON_SCHEMA_SUITE");
    DIR *d = folder && *folder ? opendir(folder) : NULL;
    struct counts n = {0};
    (void)state;
    if (!d) {
        print_message(
            "skipped: JSON_SCHEMA_SUITE names no folder tests/draft2020-12 of JSON-Schema-Test-Suite\n");
        skip();
    }
    for (struct dirent *e; (e = readdir(d));) {
        size_t size = strlen(e->d_name);
        if (size > 5 && strcmp(e->d_name + size - 5, ".json") == 0 && !is_skipped(e->d_name))
            run_file(folder, e->d_name, &n);
    }
    closedir(d);
    print_message("suite: %u passed, %u of refused schemas, %u wrong\n", n.passed, n.refused, n.wrong);
    assert_int_equal(n.wrong, 0);
    assert_true(n.passed > 900);
    assert_true(n.refused < n.passed / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_collections),
        cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_no_values),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_wrong_patterns),
        cmocka_unit_test(test_no_backtracking),
        cmocka_unit_test(test_costly),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_suite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
