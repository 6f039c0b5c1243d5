/* SPDX-License-Identifier: Apache-2.0
 * Tests of authors: round trips in documents, texts that a document cannot hold. */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/author.h"

static struct arena arena;

static struct author read_back(const char *text, int err)
{
    char error[200];
    struct author author = {0};
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, &arena, error, sizeof error);
    document_begin(&r, slice_text(text));
    author_read(&r, &author);
    assert_int_equal(document_end(&r), err);
    return author;
}

static void test_round_trip(void **state)
{
    (void)state;
    const struct author author = {slice_text("al\"ice"), slice_text("bob"), slice_text("10.0.0.5")};
    struct buf text = {0};
    struct json_writer w = {.out = &text};
    jw_open(&w, '{');
    author_write_members(&author, &w);
    jw_close(&w, '}');
    assert_string_equal(buf_text(&text),
                        "{\"author\":\"al\\\"ice\",\"on_behalf_of\":\"bob\",\"address\":\"10.0.0.5\"}");
    struct author back = read_back(buf_text(&text), OK);
    assert_true(slice_equal(back.name, author.name) && slice_equal(back.on_behalf_of, author.on_behalf_of) &&
                slice_equal(back.address, author.address));
    buf_done(&text);
    back = read_back("{}", OK); /* a document of an older version */
    assert_int_equal(back.name.size + back.on_behalf_of.size + back.address.size, 0);
    (void)read_back("{\"author\":7}", ERR_INVALID);
}

/* The name of a certificate may be anything; what is copied can be written and read again. */
static void test_copy(void **state)
{
    (void)state;
    char longer[TEXT_SIZE_MAX + 2];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    const char *const refused[] = {"a\nb", "\x7f", "\xff", longer};
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        char error[200] = "";
        struct author author = {.name = slice_text(refused[i]), .on_behalf_of = slice_text("bob")};
        author = author_copy(&arena, &author);
        assert_int_equal(author.name.size, 0);
        assert_true(slice_equal(author.on_behalf_of, slice_text("bob")));
        assert_int_equal(author_check(slice_text(refused[i]), error, sizeof error), ERR_INVALID);
        assert_non_null(strstr(error, "on_behalf_of "));
    }
    struct author largest = {.name = slice_of(longer, TEXT_SIZE_MAX)};
    assert_int_equal(author_copy(&arena, &largest).name.size, TEXT_SIZE_MAX);
    assert_int_equal(author_check(largest.name, (char[200]){0}, 200), OK);
}

static int done(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_copy)};
    return cmocka_run_group_tests(tests, NULL, done);
}
