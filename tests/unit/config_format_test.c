/* SPDX-License-Identifier: Apache-2.0
 * Tests of formats: how a format is recognized, the refusals and their places, and the refusal of hostile
 * texts of a megabyte. tests/interop/config/ runs the conformance suites of others. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/format/format.h"

static struct format_error error;

static void check_is(enum format f, struct slice text, const char *why)
{
    error = (struct format_error){0};
    int err = format_check(f, text, &error);
    if (!why && err)
        fail_msg("%s %.*s: %s", format_name(f), (int)text.size, (const char *)text.data, error.text);
    if (why && (err != ERR_MALFORMED || !strstr(error.text, why)))
        fail_msg("%s %.80s: %s, wanted %s", format_name(f), (const char *)text.data,
                 err ? error.text : "accepted", why);
    if (!why)
        return;
    char place[64];
    snprintf(place, sizeof place, "line %zu, column %zu: ", error.line, error.column);
    assert_int_equal(strncmp(error.text, place, strlen(place)), 0);
    assert_true(utf8_is_valid(slice_text(error.text)));
}

static void fine(enum format f, const char *text)
{
    check_is(f, slice_text(text), NULL);
}

static void refused(enum format f, const char *text, const char *why)
{
    check_is(f, slice_text(text), why);
}

/* --- recognition --------------------------------------------------------------------------------- */

static void assert_format(const char *explicit, const char *type, const char *name, enum format expected)
{
    enum format f = FORMATS;
    int err = format_find(slice_text(explicit), slice_text(type), slice_text(name), &f);
    if (err || f != expected)
        fail_msg("%s, %s, %s: err %d, %s", explicit, type, name, err, f < FORMATS ? format_name(f) : "?");
}

static void test_find(void **state)
{
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        enum format f = FORMATS;
        assert_int_equal(format_from_name(slice_text(format_name((enum format)i)), &f), OK);
        assert_int_equal(f, i);
        assert_format(format_name(f), "", "", f);
        if (f != FORMAT_BIN && f != FORMAT_TEXT)
            assert_format("", format_content_type(f), "x.txt", f);
        else
            assert_format("", format_content_type(f), "x", f);
    }
    assert_format("", "", "app.yaml", FORMAT_YAML);
    assert_format("", "", "app.YML", FORMAT_YAML);
    assert_format("", "", "a.b/c.properties", FORMAT_PROPERTIES);
    assert_format("", "", "Dockerfile", FORMAT_TEXT);
    assert_format("", "", "yaml", FORMAT_TEXT);
    assert_format("", "", "app.", FORMAT_TEXT);
    assert_format("", "", "app.exe", FORMAT_TEXT);
    assert_format("", "", "", FORMAT_TEXT);
    assert_format("JSON", "text/html", "app.yaml", FORMAT_JSON);
    assert_format("", "application/x-www-form-urlencoded", "app.toml", FORMAT_TOML);
    assert_format("", "Application/JSON ; charset=utf-8", "app.yaml", FORMAT_JSON);
    assert_format("", "application/vnd.api+json", "x", FORMAT_JSON);
    assert_format("", "image/svg+xml", "x", FORMAT_XML);
    assert_format("", "text/x-yaml", "x", FORMAT_YAML);
    assert_format("", "a+html", "x", FORMAT_TEXT);
    assert_format("", "text/plain;charset=UTF-8", "app.json", FORMAT_JSON);
    assert_format("", "application/octet-stream", "app.json", FORMAT_JSON);
    assert_format("", "application/octet-stream", "logo", FORMAT_BIN);
    assert_format("text", "application/json", "app.json", FORMAT_TEXT);
    enum format f = FORMAT_XML;
    assert_int_equal(format_find(slice_text("cobol"), (struct slice){0}, (struct slice){0}, &f), ERR_INVALID);
    assert_int_equal(format_from_name(slice_text("yam"), &f), ERR_NOT_FOUND);
    assert_int_equal(format_from_name((struct slice){0}, &f), ERR_NOT_FOUND);
    assert_int_equal(f, FORMAT_XML);
    assert_int_equal(format_find((struct slice){0}, (struct slice){0}, (struct slice){0}, &f), OK);
    assert_int_equal(f, FORMAT_TEXT);
}

/* --- each format --------------------------------------------------------------------------------- */

static void test_text(void **state)
{
    (void)state;
    fine(FORMAT_TEXT, "");
    check_is(FORMAT_TEXT, (struct slice){0}, NULL);
    check_is(FORMAT_BIN, (struct slice){0}, NULL);
    fine(FORMAT_TEXT, "gr\xc3\xbc\xc3\x9f\x65\r\n\x01");
    fine(FORMAT_HTML, "<p>&nbsp;<br>");
    check_is(FORMAT_BIN, slice_of("\0\xff", 2), NULL);
    refused(FORMAT_TEXT, "a\n\xc3\xa9x\xff", "line 2, column 3: byte 0xff is not UTF-8");
    refused(FORMAT_HTML, "\xc3", "line 1, column 1: byte 0xc3 is not UTF-8");
    check_is(FORMAT_TEXT, slice_of("a\r\nb\rc\0", 7), "line 3, column 2: a NUL character");
    refused(FORMAT_TEXT, "\xed\xa0\x80", "not UTF-8");
}

static void test_json(void **state)
{
    (void)state;
    fine(FORMAT_JSON,
         " {\"a\":[1,-0.5e+7,true,false,null,\"\\u0000\\ud83d\\ude00\"],\"b\":{\"a\":{}}} \r\n\t");
    fine(FORMAT_JSON, "1e999999");
    fine(FORMAT_JSON, "123456789012345678901234567890");
    fine(FORMAT_JSON, "[{\"a\":1},{\"a\":1}]");
    refused(FORMAT_JSON, "", "line 1, column 1: the end, where a value should be");
    refused(FORMAT_JSON, "{\n \"port\": 1,\n \"host\": 2,\n      \"port\": 3}",
            "line 4, column 7: duplicate key \"port\", first at line 2");
    refused(FORMAT_JSON, "{\"a\":1,\"\\u0061\":2}", "line 1, column 8: duplicate key \"a\", first at line 1");
    refused(FORMAT_JSON, "[1,]", "line 1, column 4: \"]\", where a value should be");
    refused(FORMAT_JSON, "{\"a\":1,}", "where a name in double quotes should be");
    refused(FORMAT_JSON, "{'a':1}", "\"'\", where a name in double quotes should be");
    refused(FORMAT_JSON, "{\"a\" 1}", "\"1\", where a colon should be");
    refused(FORMAT_JSON, "[1 2]", "\"2\", where a comma or ] should be");
    refused(FORMAT_JSON, "{\"a\":1 \"b\"}", "where a comma or } should be");
    refused(FORMAT_JSON, "{}\n{}", "line 2, column 1: \"{\", where the end should be");
    refused(FORMAT_JSON, "[01]", "not a JSON number");
    refused(FORMAT_JSON, "[-]", "not a JSON number");
    refused(FORMAT_JSON, "[+1]", "where a value");
    refused(FORMAT_JSON, "[NaN]", "where a value");
    refused(FORMAT_JSON, "[truex]", "where a value");
    refused(FORMAT_JSON, "[\"a\nb\"]", "line 1, column 4: a line break");
    refused(FORMAT_JSON, "[\"\\x\"]", "line 1, column 3: not a JSON escape");
    refused(FORMAT_JSON, "[\"\\ud800\"]", "half a surrogate pair");
    refused(FORMAT_JSON, "[\"\\udc00\\ud800\"]", "half a surrogate pair");
    refused(FORMAT_JSON, "[\"\xc3\xa9\xff\"]", "line 1, column 4: byte 0xff is not UTF-8");
    refused(FORMAT_JSON, "[\xff]", "byte 0xff, which is not UTF-8, where a value should be");
    refused(FORMAT_JSON, "[\"a", "line 1, column 2: this string has no end");
    refused(FORMAT_JSON, "// no\n{}", "where a value");
    refused(FORMAT_JSON, "\xef\xbb\xbf{}", "byte order mark");
    check_is(FORMAT_JSON, slice_of("{}\0", 3), "line 1, column 3: control character 0x00, where the end");
}

static void test_yaml(void **state)
{
    (void)state;
    fine(FORMAT_YAML, "");
    fine(FORMAT_YAML, "# nothing\n");
    fine(FORMAT_YAML, "\xef\xbb\xbf"
                      "a: 1\n");
    fine(FORMAT_YAML, "a: &x {k: v}\nb: {<<: *x, l: w}\n? [complex, {key: 1}]\n: !mine yes\n");
    fine(FORMAT_YAML, "---\na: 1\n---\na: 1\n...\n--- !!set {x, y}\n");
    fine(FORMAT_YAML,
         "1: int\n\"1\": text\n1.0: float\n!x 1: mine\n!y 1: yours\nyes: a\ntrue: b\n~: c\n'': d\n");
    fine(FORMAT_YAML, "[&a 1, &a 2, *a]");
    fine(FORMAT_YAML, "? {a: 1}\n: x\n? {a: 2}\n: y\n? [a]\n: z\n? [a, a]\n: z\n? !t [a]\n: z\n");
    refused(FORMAT_YAML, "host: x\nport: 1\nlog:\n  port: 2\nport: 3\n",
            "line 5, column 1: duplicate key \"port\", first at line 2");
    refused(FORMAT_YAML, "\xc3\xa9: 1\na: {\xc3\xa9: 1, b: 2, \"\xc3\xa9\": 2}\n",
            "line 2, column 17: duplicate key");
    refused(FORMAT_YAML, "10: a\n0xa: b\n", "line 2, column 1: duplicate key \"0xa\", first at line 1");
    refused(FORMAT_YAML, "0o17: a\n+015: b\n", "duplicate key \"+015\"");
    refused(FORMAT_YAML, "1.50: a\n15e-1: b\n", "duplicate key");
    refused(FORMAT_YAML, "-.inf: a\n-.INF: b\n", "duplicate key");
    refused(FORMAT_YAML, "null: a\n~: b\n", "duplicate key \"~\"");
    refused(FORMAT_YAML, "true: a\nTRUE: b\n", "duplicate key");
    refused(FORMAT_YAML, "a: 1\n!!str a: 2\n", "duplicate key");
    refused(FORMAT_YAML, "! 1: 1\n\"1\": 2\n", "duplicate key");
    refused(FORMAT_YAML, "!x a: 1\n!x a: 2\n", "duplicate key");
    refused(FORMAT_YAML, "&k a: 1\nb: 2\n*k : 3\n", "line 3, column 1: duplicate key \"k\", first at line 1");
    refused(FORMAT_YAML, "? {a: 1, b: 2}\n: x\n? {b: 2, a: 1}\n: y\n",
            "line 3, column 3: duplicate key \"{...}\", first at line 1");
    refused(FORMAT_YAML, "? [a, 1]\n: x\n? [a, 0x1]\n: y\n", "duplicate key \"[...]\"");
    refused(FORMAT_YAML, ".5: a\n5e-1: b\n", "duplicate key");
    refused(FORMAT_YAML, "False: a\nfalse: b\n", "duplicate key");
    refused(FORMAT_YAML, ".NAN: a\n.nan: b\n", "duplicate key");
    refused(FORMAT_YAML, "? {a: [1, {b: x}]}\n: 1\n? {a: [0x1, {b: x}]}\n: 2\n", "duplicate key \"{...}\"");
    refused(FORMAT_YAML, "x: &k {a: [1, yes]}\n*k : 1\n? {a: [0x1, yes]}\n: 2\n", "duplicate key \"{...}\"");
    refused(FORMAT_YAML, "x: {y: [&k 1]}\n*k : 1\n0x1: 2\n", "duplicate key \"0x1\"");
    fine(FORMAT_YAML, "? {a: [1, {b: x}]}\n: 1\n? {a: [1, {b: y}]}\n: 2\n? {a: [1, {c: x}]}\n: 3\n");
    refused(FORMAT_YAML, "<<: {a: 1}\n<<: {b: 1}\n", "duplicate key \"<<\"");
    refused(FORMAT_YAML, "99999999999999999999: a\n+099999999999999999999: b\n", "duplicate key");
    refused(FORMAT_YAML, "a: 1\n---\nb: 1\nb: 2\n", "line 4, column 1: duplicate key \"b\", first at line 3");
    refused(FORMAT_YAML, "a: *x\n", "line 1, column 4: undefined alias \"x\"");
    refused(FORMAT_YAML, "--- &x a\n--- *x\n", "line 2, column 5: undefined alias");
    refused(FORMAT_YAML, "&x [1, *x]\n", "alias inside its own anchor");
    refused(FORMAT_YAML, "a: [1\n",
            "did not find expected ',' or ']', while parsing a flow sequence from line 1");
    refused(FORMAT_YAML, "a: [", "while parsing a flow node from line 1");
    refused(FORMAT_YAML, "a: 1\nb: [\n", "while parsing a flow node from line 2");
    refused(FORMAT_YAML, "a: b: c\n", "line 1, column 5: mapping values are not allowed");
    refused(FORMAT_YAML, "a:\n\t- b\n", "line 2, column 1");
    refused(FORMAT_YAML, "a: 1\nb: \xc3\xa9\xff\n", "line 2, column 5: byte 0xff is not UTF-8");
    refused(FORMAT_YAML, "a: \x01\n", "line 1, column 4: control characters are not allowed");
    check_is(FORMAT_YAML, slice_of("a: \0b\n", 6), "line 1, column 4: a NUL character");
}

static void test_properties(void **state)
{
    (void)state;
    fine(FORMAT_PROPERTIES, "");
    fine(FORMAT_PROPERTIES, "# c\n! c \\\na=1\n b : 2\r\nc 3\rd\n\\ e\\=\\:\\#=x\nf=a\\\n   # no comment\\\n "
                            " b\n\n  =empty key\n");
    fine(FORMAT_PROPERTIES, "a=\\u00e9\\uD83D\\uDE00\\z\\\\\nb=\\uD800\n");
    fine(FORMAT_PROPERTIES, "A=1\na=2\na.b=3\n");
    fine(FORMAT_PROPERTIES, "a=\\u00\\\n  e9\n");
    fine(FORMAT_PROPERTIES, "a=1\\");
    fine(FORMAT_PROPERTIES, "=1\n\\\n ");
    refused(FORMAT_PROPERTIES, "k\\\n\\\n  x\\u12=1\n", "line 3, column 4: \\u must be followed");
    refused(FORMAT_PROPERTIES, "k=\\\n  a\\\n bc\\u12\n", "line 3, column 4: \\u must be followed");
    refused(FORMAT_PROPERTIES, "k=a\\\n\\u12", "line 2, column 1: \\u must be followed");
    refused(FORMAT_PROPERTIES, "=1\n\\\n", "duplicate key \"\"");
    refused(FORMAT_PROPERTIES, "=1\n\\", "duplicate key \"\"");
    refused(FORMAT_PROPERTIES, "a=1\n# a=2\n\n  a : 3\n",
            "line 4, column 3: duplicate key \"a\", first at line 1");
    refused(FORMAT_PROPERTIES, "a b=1\na=2\n", "duplicate key \"a\"");
    refused(FORMAT_PROPERTIES, "a\\ b=1\r\na\\u0020b 2\r\n",
            "line 2, column 1: duplicate key \"a b\", first at line 1");
    refused(FORMAT_PROPERTIES, "\\uD83D\\uDE00=1\n\xf0\x9f\x98\x80=2", "duplicate key");
    refused(FORMAT_PROPERTIES, "long\\\n  key=1\nlongkey=2",
            "line 3, column 1: duplicate key \"longkey\", first at line 1");
    refused(FORMAT_PROPERTIES, "a=x\\\\\na=1\n", "line 2, column 1: duplicate key \"a\"");
    refused(FORMAT_PROPERTIES, "=1\n=2\n", "duplicate key \"\"");
    refused(FORMAT_PROPERTIES, "a=\\u12g4\n", "line 1, column 3: \\u must be followed by four");
    refused(FORMAT_PROPERTIES, "a=x\\\n  \\u12", "line 2, column 3: \\u must");
    refused(FORMAT_PROPERTIES, "\\u=1\n", "line 1, column 1: \\u must");
    refused(FORMAT_PROPERTIES,
            "\xef\xbb\xbf"
            "a=1\n",
            "byte order mark");
    refused(FORMAT_PROPERTIES, "a=\xe9\n", "not UTF-8");
}

static void test_toml(void **state)
{
    (void)state;
    fine(FORMAT_TOML, "");
    fine(FORMAT_TOML, "\xef\xbb\xbf"
                      "a = 1\r\n");
    fine(FORMAT_TOML,
         "[a.b.c]\nz=9\n[a]\nd.e=1\nd.f=2\n[a.d.g]\nx=1\n[[p]]\n[p.q]\n[[p]]\n[p.q]\n[[p.r]]\n[[p.r]]\n");
    fine(FORMAT_TOML, "\"\" = ''\n'a.b' = 1\na.b = 2\n3.14 = \"x\"\nd = 1979-05-27 07:32:00.5-07:00 # c\n"
                      "t = 07:32:00\nf = [-inf, +nan, 6.26e-3_4, 0xdead_BEEF, 0b1, 0o7]\n");
    fine(FORMAT_TOML,
         "a = [1, [2, {b.c = 1, b.d = 2}], # c\n]\ns = \"\"\"\nx\\\n   y\"\"\"\"\"\nl = '''\n'a'''\n");
    refused(FORMAT_TOML, "port = 1\n\nport = 2\n",
            "line 3, column 1: duplicate key \"port\", first at line 1");
    refused(FORMAT_TOML, "[a]\n[a]\n", "line 2, column 2: duplicate key \"a\", first at line 1");
    refused(FORMAT_TOML, "a.b=1\n[a]\n", "\"a\" is already a table, by a dotted key (first at line 1)");
    refused(FORMAT_TOML, "[a.b]\n[a]\nb.c=1\n",
            "\"b\" has a header: a dotted key cannot add to it (first at line 1)");
    refused(FORMAT_TOML, "a={b=1}\na.c=2\n", "\"a\" is an inline table");
    refused(FORMAT_TOML, "a={b=1}\n[a.c]\n", "\"a\" is an inline table");
    refused(FORMAT_TOML, "a={b.c=1,b={}}\n", "duplicate key \"b\"");
    refused(FORMAT_TOML, "a=1\n[a.b]\n", "\"a\" is a value");
    refused(FORMAT_TOML, "a=1\na.b=1\n", "\"a\" is a value");
    refused(FORMAT_TOML, "[[a]]\n[a]\n", "array of tables");
    refused(FORMAT_TOML, "[a]\n[[a]]\n", "not an array of tables");
    refused(FORMAT_TOML, "a=[]\n[[a]]\n", "duplicate key \"a\"");
    refused(FORMAT_TOML, "a=1 b=2\n", "line 1, column 5: \"b\", where the end of the line should be");
    refused(FORMAT_TOML, "a=\n", "the end of the line, where a value should be");
    refused(FORMAT_TOML, "a=hello\n", "a string needs quotes");
    refused(FORMAT_TOML, "a={b=1,}\n", "where a key should be");
    refused(FORMAT_TOML, "a={b=1\n}\n", "where a comma or } should be");
    refused(FORMAT_TOML, "a=9223372036854775808\n", "beyond 64 bits");
    fine(FORMAT_TOML, "a=-9223372036854775808\nb=0x7fffffffffffffff");
    refused(FORMAT_TOML, "a=0xffffffffffffffff\n", "beyond 64 bits");
    refused(FORMAT_TOML, "a=01\n", "begin with 0");
    refused(FORMAT_TOML, "a=1__0\n", "not a TOML number");
    refused(FORMAT_TOML, "a=2023-02-29\n", "not a TOML date");
    fine(FORMAT_TOML, "a=2024-02-29\nb=2000-02-29T00:00:60z");
    refused(FORMAT_TOML, "a=1900-02-29\n", "not a TOML date");
    refused(FORMAT_TOML, "a=07:32\n", "not a TOML date");
    refused(FORMAT_TOML, "a=\"\\x\"\n", "not a TOML 1.0 escape");
    refused(FORMAT_TOML, "a=\"\\ud800\"\n", "not a Unicode character");
    refused(FORMAT_TOML, "a=\"x\n\"\n", "no end in its line");
    refused(FORMAT_TOML, "a='''x\n", "no end");
    refused(FORMAT_TOML, "a=1\rb=2\n", "the end of the line, where the end of the line should be");
    refused(FORMAT_TOML, "# \x01\n", "control character");
    refused(FORMAT_TOML, "a=\"\xff\"", "not UTF-8");
}

static void test_xml(void **state)
{
    (void)state;
    fine(FORMAT_XML, "<a/>");
    fine(FORMAT_XML,
         "\xef\xbb\xbf<?xml version='1.0' encoding=\"utf-8\" standalone = 'no' ?>\n<!-- c --><?pi x?>\n"
         "<!DOCTYPE a PUBLIC \"-//x//y\" 'http://x/y.dtd' >\n<a b='1' c=\"&lt;&#x41;&#65;\"><b:c/>"
         "<![CDATA[<&]]>]] &amp;<?xml-x?></a >\n<!---->\n");
    fine(FORMAT_XML, "<!DOCTYPE a SYSTEM 'b'><\xc3\xa9 \xc3\xa9='x'></\xc3\xa9>");
    refused(FORMAT_XML, "", "the end, where an element should be");
    refused(FORMAT_XML, "<a>\n <b>\n </a>", "line 3, column 2: </a> ends no <b>");
    refused(FORMAT_XML, "<a>\n <b></b>\n", "line 1, column 1: <a> has no end");
    refused(FORMAT_XML, "<a/><b/>", "\"<\", where the end should be");
    refused(FORMAT_XML, "<a/>x", "where the end should be");
    refused(FORMAT_XML, "x<a/>", "where an element should be");
    refused(FORMAT_XML, "<a b='1'\n   c='2' b='3'/>",
            "line 2, column 10: duplicate attribute \"b\", first at line 1");
    refused(FORMAT_XML, "<a b='1'c='2'/>", "where a blank, > or /> should be");
    refused(FORMAT_XML, "<a b=1/>", "where a quote should be");
    refused(FORMAT_XML, "<a b/>", "where = should be");
    refused(FORMAT_XML, "<a b='<'/>", "write &lt;");
    refused(FORMAT_XML, "<a>x & y</a>", "line 1, column 6: & begins an entity: write &amp;");
    refused(FORMAT_XML, "<a>&nbsp;</a>", "unknown entity \"nbsp\"");
    refused(FORMAT_XML, "<a>&#0;</a>", "not an XML character");
    refused(FORMAT_XML, "<a>&#xffffffffffff;</a>", "not an XML character");
    refused(FORMAT_XML, "<a>&#;</a>", "with digits");
    refused(FORMAT_XML, "<a>]]></a>", "write ]]&gt;");
    refused(FORMAT_XML, "<a><!-- -- --></a>", "within a comment");
    refused(FORMAT_XML, "<a><!-- </a>", "this comment has no end");
    refused(FORMAT_XML, "<a><![CDATA[</a>", "this CDATA section has no end");
    refused(FORMAT_XML, " <?xml version='1.0'?><a/>", "at the very beginning");
    refused(FORMAT_XML, "<?xml encoding='UTF-8'?><a/>", "begins with version");
    refused(FORMAT_XML, "<?xml version='1.0' encoding='GBK'?><a/>", "encoding \"GBK\": only UTF-8");
    refused(FORMAT_XML, "<!DOCTYPE a [<!ENTITY x 'y'>]><a/>",
            "line 1, column 13: declarations in the document type");
    refused(FORMAT_XML, "<!DOCTYPE a SYSTEM 'x' [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
            "declarations");
    refused(FORMAT_XML, "<!DOCTYPE a><!DOCTYPE a><a/>", "where a name should be");
    refused(FORMAT_XML, "<a>\x01</a>", "a character that XML does not have");
    refused(FORMAT_XML, "<a>\xef\xbf\xbf</a>", "a character that XML does not have");
    refused(FORMAT_XML, "<a>\xff</a>", "not UTF-8");
    refused(FORMAT_XML, "<1/>", "where a name should be");
}

/* --- limits -------------------------------------------------------------------------------------- */

static void repeat(struct buf *b, const char *unit, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_add_text(b, unit);
}

static void nested(enum format f, const char *open, const char *middle, const char *close, size_t extra,
                   const char *prefix)
{
    struct buf b = {0};
    size_t most = FORMAT_DEPTH_MAX - extra;
    for (size_t depth = most; depth <= most + 1; depth++) {
        buf_clear(&b);
        buf_add_text(&b, prefix);
        repeat(&b, open, depth);
        buf_add_text(&b, middle);
        repeat(&b, close, depth);
        check_is(f, buf_slice(&b), depth > most ? "nested deeper than 200 levels" : NULL);
    }
    buf_done(&b);
}

static void test_depth(void **state)
{
    (void)state;
    nested(FORMAT_JSON, "[", "1", "]", 0, "");
    nested(FORMAT_JSON, "{\"a\":", "1", "}", 0, "");
    nested(FORMAT_YAML, "[", "1", "]", 0, "");
    nested(FORMAT_TOML, "[", "1", "]", 1, "a=");
    nested(FORMAT_TOML, "{a=", "1", "}", 1, "a=");
    nested(FORMAT_TOML, "a.", "a=1", "", 1, "");
    nested(FORMAT_XML, "<a>", "", "</a>", 0, "");
}

/* The peak memory of a child process that checks the text, or that does nothing. */
static long kib_in_child(enum format f, struct slice text, bool checks)
{
    struct rusage usage;
    fflush(stdout);
    mem_give_back(); /* memory that is free already would not count */
    pid_t child = fork();
    if (child == 0) {
        struct format_error e;
        int err = checks ? format_check(f, text, &e) : OK;
        _exit(err ? 1 : 0);
    }
    assert_int_equal(wait4(child, NULL, 0, &usage), child);
    return usage.ru_maxrss;
}

/* The test prints the cost of hostile texts of up to a megabyte. It asserts no times: the machine may be
 * slow. */
static void hostile(enum format f, const char *what, struct buf *text, const char *why)
{
    clock_t start = clock();
    check_is(f, buf_slice(text), why);
    double ms = (double)(clock() - start) * 1e3 / CLOCKS_PER_SEC;
    long kib = kib_in_child(f, buf_slice(text), true) - kib_in_child(f, buf_slice(text), false);
    printf("  %-10s %-26s %8zu bytes %6.1f ms %6ld KiB  %.60s\n", format_name(f), what, text->size, ms,
           kib > 0 ? kib : 0, why ? error.text : "ok");
    buf_done(text);
}

static void hostile_repeat(enum format f, const char *what, const char *prefix, const char *unit,
                           size_t count, const char *why)
{
    struct buf b = {0};
    buf_add_text(&b, prefix);
    repeat(&b, unit, count);
    hostile(f, what, &b, why);
}

static void hostile_numbered(enum format f, const char *what, const char *prefix, const char *format_of_line,
                             const char *suffix, const char *why)
{
    struct buf b = {0};
    buf_add_text(&b, prefix);
    for (int i = 0; b.size < (1 << 20) - 64; i++) {
        char line[64];
        const char *at = strchr(format_of_line, '#');
        snprintf(line, sizeof line, "%.*s%d%s", (int)(at - format_of_line), format_of_line, i, at + 1);
        buf_add_text(&b, line);
    }
    buf_add_text(&b, suffix);
    hostile(f, what, &b, why);
}

static void test_hostile(void **state)
{
    (void)state;
    static const char deep[] = "nested deeper than 200 levels";
    struct buf b = {0};
    buf_add_text(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 30; i++)
        buf_addf(&b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1,
                 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    hostile(FORMAT_YAML, "alias bomb", &b, "line 6, column 10: more than 100000 nodes");
    hostile_repeat(FORMAT_JSON, "20,000 brackets", "", "[", 20000, deep);
    hostile_repeat(FORMAT_YAML, "20,000 brackets", "", "[", 20000, deep);
    hostile_repeat(FORMAT_YAML, "1 MiB of [", "", "[", 1 << 20, deep);
    hostile_repeat(FORMAT_YAML, "1 MiB of {", "", "{", 1 << 20, deep);
    hostile_repeat(FORMAT_YAML, "1 MiB of \"- \"", "", "- ", 1 << 19, deep);
    hostile_repeat(FORMAT_YAML, "1 MiB of \"? \"", "", "? ", 1 << 19, deep);
    hostile_repeat(FORMAT_YAML, "1 MiB of \"[],\"", "[", "[],", 349525, "more than 100000 nodes");
    hostile_repeat(FORMAT_TOML, "20,000 brackets", "a=", "[", 20000, deep);
    hostile_repeat(FORMAT_TOML, "1 MiB of \"a.\"", "", "a.", 1 << 19, deep);
    hostile_repeat(FORMAT_XML, "1 MiB of <a>", "", "<a>", 349525, deep);
    hostile_repeat(FORMAT_JSON, "1 MiB in one line", "[1", ",1", 524286, "a comma or ]");
    hostile_repeat(FORMAT_YAML, "1 MiB in one line", "a: ", "xxxx ", 209714, NULL);
    hostile_repeat(FORMAT_YAML, "1 MiB in one quote", "\"", "\\n", 1 << 19, "unexpected end of stream");
    hostile_repeat(FORMAT_PROPERTIES, "1 MiB in one line", "a=", "xxxx", 262143, NULL);
    hostile_repeat(FORMAT_PROPERTIES, "1 MiB of continuations", "a=", "\\\n", 524287, NULL);
    hostile_repeat(FORMAT_TOML, "1 MiB in one line", "a=\"", "xxxx", 262143, "no end in its line");
    hostile_repeat(FORMAT_XML, "1 MiB in one line", "<a>", "xxxx", 262143, "<a> has no end");
    hostile_repeat(FORMAT_JSON, "1 MiB of \"{},\"", "[", "{},", 349525, "where a value should be");
    hostile_numbered(FORMAT_JSON, "names", "{", "\"k#\":1,", "\"k7\":1}",
                     "duplicate key \"k7\", first at line 1");
    hostile_numbered(FORMAT_YAML, "keys", "k7: 1\n", "k#a: xxxxxxxxxxxxxxxxxxxxxxxx\n", "k7: 1\n",
                     "duplicate key \"k7\", first at line 1");
    hostile_numbered(FORMAT_YAML, "anchors", "", "- &a# xxxxxxxxxxxxxxx\n", "- *b\n", "undefined alias");
    hostile_numbered(FORMAT_PROPERTIES, "keys", "", "k#=1\n", "k7=1\n",
                     "duplicate key \"k7\", first at line 8");
    hostile_numbered(FORMAT_TOML, "keys", "", "k#=1\n", "k7=1\n", "duplicate key \"k7\", first at line 8");
    hostile_numbered(FORMAT_TOML, "tables", "", "[[a]]\nb#=1\n", "b=2\nb=3\n", "duplicate key \"b\"");
    hostile_numbered(FORMAT_XML, "attributes", "<a", " k#=''", " k7=''/>",
                     "duplicate attribute \"k7\", first at line 1");
    for (int f = 0; f < FORMAT_BIN; f++) {
        const char *before = f == FORMAT_JSON   ? "[\""
                             : f == FORMAT_XML  ? "<a>"
                             : f == FORMAT_TOML ? "#"
                                                : "# ";
        for (int nul = 0; nul < 2; nul++) {
            repeat(&b, before, 1);
            repeat(&b, "xxxxxxxx", 131000);
            buf_add_byte(&b, nul ? 0 : 0xff);
            buf_add_byte(&b, '"');
            const char *why = !nul               ? "byte 0xff is not UTF-8"
                              : f == FORMAT_JSON ? "control character"
                                                 : "a NUL character";
            hostile((enum format)f, nul ? "NUL behind 1 MB" : "invalid UTF-8 behind 1 MB", &b, why);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find), cmocka_unit_test(test_text),       cmocka_unit_test(test_json),
        cmocka_unit_test(test_yaml), cmocka_unit_test(test_properties), cmocka_unit_test(test_toml),
        cmocka_unit_test(test_xml),  cmocka_unit_test(test_depth),      cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
