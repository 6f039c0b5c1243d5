/* SPDX-License-Identifier: Apache-2.0
 * Tests of references between configurations: their syntax and defaults, what is inserted, cycles and limits with the
 * place of the reference, and what is needed from the caller. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "config/render/render.h"

static struct render_document document(const char *ns, const char *group, const char *name, enum format f,
                                       const char *content)
{
    return (struct render_document){
        {slice_text(ns), slice_text(group), slice_text(name)}, f, slice_text(content)};
}

/* result: the text, or a part of the fault. */
static void renders(const char *content, int wanted, const char *result)
{
    const struct render_document list[] = {
        document("n", "g", "a.yaml", FORMAT_YAML, content),
        document("n", "g", "b.yaml", FORMAT_YAML,
                 "x: 1\ns: hello\no: {p: [true, ~]}\nr: ${c.json#k}\nloop: ${b.yaml#loop}\n"
                 "here: ${#s}\nto: ${a.yaml#t}\nnested: {q: \"${#s}!\"}\n"),
        document("n", "g", "c.json", FORMAT_JSON, "{\"k\":\"from c ${b.yaml#x}\",\"x.y\":2}"),
        document("n", "h", "b.yaml", FORMAT_YAML, "x: other group\n"),
        document("m", "g", "d.properties", FORMAT_PROPERTIES, "a.b=5\n"),
        document("n", "g", "many.yaml", FORMAT_YAML, "a: 1\n---\na: 2\n"),
        document("n", "g", "t.txt", FORMAT_TEXT, "a"),
    };
    struct render_result r;
    int err = render_run(list, COUNT_OF(list), &r);
    const char *is = err ? r.where.text : buf_text(&r.out);
    if (err != wanted || (err ? !strstr(is, result) : strcmp(is, result) != 0))
        fail_msg("%s: %d, %s; wanted %s", content, err, is, result);
    render_result_done(&r);
}

static void test_inserts(void **state)
{
    (void)state;
    renders("", OK, "");
    renders("a: ${b.yaml#x}\nb: ${b.yaml#s}\n", OK, "a: 1\nb: hello\n");
    renders("${b.yaml#o}|${b.yaml#o.p[0]}|${b.yaml#o.p[1]}", OK, "{\"p\":[true,null]}|true|null");
    renders("${b.yaml#r}", OK, "from c 1");
    renders("${b.yaml#here} ${b.yaml#nested}", OK, "hello {\"q\":\"hello!\"}");
    renders("${h/b.yaml#x} ${n/h/b.yaml#x} ${m/g/d.properties#a.b}", OK, "other group other group 5");
    renders("${c.json#[\"x.y\"]}", OK, "2");
    renders("t: 7\nu: ${#t}\n", OK, "t: 7\nu: 7\n");
}

static void test_stays(void **state)
{
    (void)state;
    static const char *const texts[] = {"${HOME}",  "$",       "$$",      "${",   "${a",  "${a#",
                                        "${a\n#b}", "$ {a#b}", "${a${b}", "#{a}", "$x#y}"};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        renders(texts[i], OK, texts[i]);
    renders("$${b.yaml#x} $$${b.yaml#x}", OK, "${b.yaml#x} $${b.yaml#x}");
    renders("${${b.yaml#x}}", OK, "${1}");
}

static void test_faults(void **state)
{
    (void)state;
    renders("x\n  ${b.yaml#none}", ERR_MALFORMED, "line 2, column 3: b.yaml: there is no key none");
    renders("${b.yaml#}", ERR_MALFORMED, "line 1, column 1: b.yaml: key has 0 bytes");
    renders("${b.yaml#x[}", ERR_MALFORMED, "b.yaml: key x[:");
    renders("${many.yaml#a}", ERR_MALFORMED, "several documents");
    renders("${t.txt#a}", ERR_MALFORMED, "t.txt has no keys: ");
    renders("${b.yaml#loop}", ERR_MALFORMED, "the references go round: b.yaml#loop -> b.yaml#loop");
    renders("t: ${b.yaml#to}", ERR_MALFORMED, "b.yaml#to -> a.yaml#t -> b.yaml#to");
    renders("${none.yaml#a}", ERR_NOT_READY, "none.yaml");
}

static void test_needed(void **state)
{
    (void)state;
    const struct render_document list[] = {document("n", "g", "a", FORMAT_TEXT, "${b#o}"),
                                           document("n", "g", "b", FORMAT_JSON, "{\"o\":[\"${h/c#x}\"]}")};
    struct render_result r;
    assert_int_equal(render_run(list, 2, &r), ERR_NOT_READY);
    assert_true(slice_equal(r.needed.ns, slice_text("n")) && slice_equal(r.needed.group, slice_text("h")) &&
                slice_equal(r.needed.name, slice_text("c")));
    render_result_done(&r);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf text = {0}, deep = {0};
    struct render_result r;
    struct render_document list[2];
    for (int i = 0; i < 1001; i++)
        buf_add_text(&text, "${b.yaml#x}");
    renders(buf_text(&text), ERR_REQUEST_TOO_LARGE, "more than 1000 references");
    /* Nine levels. */
    for (int i = 0; i < 9; i++)
        buf_addf(&deep, "k%d: ${#k%d}\n", i, i + 1);
    buf_add_text(&deep, "k9: end\n");
    list[0] = document("n", "g", "a", FORMAT_TEXT, "${b#k0}");
    list[1] = document("n", "g", "b", FORMAT_YAML, buf_text(&deep));
    assert_int_equal(render_run(list, 2, &r), ERR_REQUEST_TOO_LARGE);
    assert_non_null(strstr(r.where.text, "nested deeper than 8 levels"));
    render_result_done(&r);
    list[0].content = slice_text("${b#k2}");
    assert_int_equal(render_run(list, 2, &r), OK);
    assert_string_equal(buf_text(&r.out), "end");
    render_result_done(&r);
    /* 2^n: each key is the one before it twice. */
    buf_clear(&deep);
    buf_add_text(&deep, "k0: ");
    for (int i = 0; i < 40000; i++)
        buf_add_byte(&deep, 'x');
    for (int i = 1; i < 8; i++)
        buf_addf(&deep, "\nk%d: ${#k%d}${#k%d}", i, i - 1, i - 1);
    list[1].content = slice_text(buf_text(&deep));
    list[0].content = slice_text("${b#k7}");
    assert_int_equal(render_run(list, 2, &r), ERR_REQUEST_TOO_LARGE);
    assert_non_null(strstr(r.where.text, "more than 1 MiB"));
    render_result_done(&r);
    /* No reference ends: linear. */
    buf_clear(&text);
    for (int i = 0; i < 300000; i++)
        buf_add_text(&text, "${#");
    list[0].content = buf_slice(&text);
    assert_int_equal(render_run(list, 2, &r), OK);
    assert_true(slice_equal(buf_slice(&r.out), buf_slice(&text)));
    render_result_done(&r);
    buf_done(&text);
    buf_done(&deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inserts), cmocka_unit_test(test_stays),  cmocka_unit_test(test_faults),
        cmocka_unit_test(test_needed),  cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
