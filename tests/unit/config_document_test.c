/* SPDX-License-Identifier: Apache-2.0
 * Tests of the config center's keys, heads, releases and drafts: round trips, canonical bytes, unreadable
 * documents. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/document.h"
#include "config/name.h"

static struct arena arena;
static char error[200];

/* --- keys ---------------------------------------------------------------------------------------- */

static void test_keys(void **state)
{
    (void)state;
    struct buf key = {0}, scratch = {0};
    struct config_name n = {CONFIG_RELEASE, slice_text("default"), slice_text("a/b"), slice_text("app.yaml"),
                            255};
    config_name_add_key(&key, &n);
    assert_string_equal(buf_text(&key), "/cairn/config/releases/default/a%2Fb/app.yaml/00000000000000ff");
    struct config_name back;
    assert_int_equal(config_name_parse(buf_slice(&key), &scratch, &back), OK);
    assert_int_equal(back.kind, CONFIG_RELEASE);
    assert_true(slice_equal(back.group, slice_text("a/b")) && slice_equal(back.name, slice_text("app.yaml")));
    assert_int_equal(back.seq, 255);
    for (int kind = 0; kind < CONFIG_KEYS; kind++) {
        n.kind = (enum config_key)kind;
        n.seq = kind == CONFIG_RELEASE ? CONFIG_SEQ_MAX : 0;
        buf_clear(&key);
        config_name_add_key(&key, &n);
        assert_int_equal(config_name_parse(buf_slice(&key), &scratch, &back), OK);
        assert_int_equal(back.kind, kind);
        assert_true(back.seq == n.seq && slice_equal(back.ns, n.ns));
    }
    buf_clear(&key);
    config_name_add_prefix(&key, CONFIG_RELEASE, slice_text("n"), slice_text("g"), slice_text("a%"));
    assert_string_equal(buf_text(&key), "/cairn/config/releases/n/g/a%25/");
    buf_clear(&key);
    config_name_add_prefix(&key, CONFIG_HEAD, slice_text("n"), (struct slice){0}, slice_text("ignored"));
    assert_string_equal(buf_text(&key), "/cairn/config/heads/n/");
    buf_clear(&key);
    config_name_add_beginning(&key, CONFIG_DRAFT, slice_text("n"), slice_text("g"), slice_text("ap"));
    assert_string_equal(buf_text(&key), "/cairn/config/drafts/n/g/ap");
    static const char *const bad[] = {"",
                                      "/cairn/config/",
                                      "/cairn/config/heads/",
                                      "/cairn/config/heads/n/g",
                                      "/cairn/config/heads/n/g/",
                                      "/cairn/config/heads/n/g/a/b",
                                      "/cairn/config/heads//g/a",
                                      "/cairn/config/heads/n/g/%41",
                                      "/cairn/config/tails/n/g/a",
                                      "/cairn/config/heads/n/g/%2f",
                                      "/cairn/config/releases/n/g/a",
                                      "/cairn/config/releases/n/g/a/0000000000000000",
                                      "/cairn/config/releases/n/g/a/00000000000000FF",
                                      "/cairn/config/releases/n/g/a/ff",
                                      "/cairn/config/releases/n/g/a/ffffffffffffffff",
                                      "/cairn/registry/heads/n/g/a"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (config_name_parse(slice_text(bad[i]), &scratch, &back) != ERR_MALFORMED)
            fail_msg("%s is a key", bad[i]);
    buf_done(&key);
    buf_done(&scratch);
}

static void test_digest(void **state)
{
    (void)state;
    struct digest d = digest_of(slice_text("a: 1\n")), empty = digest_of((struct slice){0});
    assert_string_equal(d.md5, "e0ccdaf42c593022e15b18cc0e96d201");
    assert_string_equal(d.sha256, "37b128c59f1f5097f73f82691cb519f1f568667faab5ced1b4ab979d36837eae");
    assert_string_equal(empty.md5, "d41d8cd98f00b204e9800998ecf8427e");
    assert_string_equal(empty.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_true(digest_equal(&d, &d) && !digest_equal(&d, &empty));
}

/* --- documents ------------------------------------------------------------------------------------- */

static struct config_release read_release(struct slice text)
{
    struct config_release r;
    if (config_release_read(text, &arena, &r, error, sizeof error))
        fail_msg("%.*s: %s", (int)text.size, (const char *)text.data, error);
    return r;
}

/* A document that was written through the etcd API: no member parses it. */
static void test_head_too_long(void **state)
{
    (void)state;
    struct arena a = {0};
    struct config_head h;
    struct buf text = {0};
    buf_add_text(&text, "{\"seq\":1,\"type\":\"text\",\"deleted\":true");
    while (text.size < CONFIG_HEAD_MAX - 1)
        buf_add_byte(&text, ' ');
    buf_add_byte(&text, '}');
    assert_int_equal(config_head_read(buf_slice(&text), &a, &h, error, sizeof error), OK);
    buf_add_byte(&text, ' ');
    assert_int_equal(config_head_read(buf_slice(&text), &a, &h, error, sizeof error), ERR_INVALID);
    assert_non_null(strstr(error, "65536"));
    arena_done(&a);
    buf_done(&text);
}

static void test_release(void **state)
{
    (void)state;
    struct buf out = {0}, again = {0};
    struct slice content = slice_text("port: 1\nname: \"\xc3\xa9\"\n");
    struct config_release r = {.operation = CONFIG_ROLLBACK,
                               .format = FORMAT_YAML,
                               .content = content,
                               .digest = digest_of(content),
                               .title = slice_text("t"),
                               .note = slice_text("one\ntwo"),
                               .time_ms = 1700000000123,
                               .previous_seq = 3,
                               .origin_seq = 1,
                               .origin_ns = slice_text("dev")};
    config_release_write(&r, &out);
    char expected[512];
    snprintf(expected, sizeof expected,
             "{\"operation\":\"rollback\",\"type\":\"yaml\",\"title\":\"t\",\"note\":\"one\\ntwo\",\"time_"
             "ms\":1700000000123,"
             "\"previous_seq\":3,\"origin_seq\":1,\"origin_namespace\":\"dev\",\"size\":19,\"md5\":\"%s\","
             "\"sha256\":\"%s\","
             "\"content\":\"port: 1\\nname: \\\"\xc3\xa9\\\"\\n\"}",
             r.digest.md5, r.digest.sha256);
    assert_string_equal(buf_text(&out), expected);
    struct config_release back = read_release(buf_slice(&out));
    assert_true(slice_equal(back.content, content) && slice_equal(back.note, r.note));
    assert_int_equal(back.operation, CONFIG_ROLLBACK);
    config_release_write(&back, &again);
    assert_true(slice_equal(buf_slice(&out), buf_slice(&again)));
    r = (struct config_release){.operation = CONFIG_DELETE, .format = FORMAT_YAML, .previous_seq = 4};
    buf_clear(&out);
    config_release_write(&r, &out);
    assert_string_equal(buf_text(&out),
                        "{\"operation\":\"delete\",\"type\":\"yaml\",\"time_ms\":0,\"previous_seq\":4}");
    assert_int_equal(read_release(buf_slice(&out)).content.size, 0);
    buf_done(&out);
    buf_done(&again);
}

/* All bytes survive the round trip, in at most 4/3 of their size and a little. */
static void test_content(void **state)
{
    (void)state;
    struct buf content = {0}, out = {0};
    for (int kind = 0; kind < 5; kind++)
        for (size_t size = 0; size < 3000; size = size * 3 + 1) {
            buf_clear(&content);
            for (size_t i = 0; i < size; i++)
                buf_add_byte(&content, (uint8_t)(kind == 0   ? 'x'
                                                 : kind == 1 ? 0
                                                 : kind == 2 ? i * 7
                                                 : kind == 3 ? '"'
                                                             : 0xff));
            struct config_release r = {.operation = CONFIG_PUBLISH,
                                       .format = FORMAT_BIN,
                                       .content = buf_slice(&content),
                                       .digest = digest_of(buf_slice(&content))};
            buf_clear(&out);
            config_release_write(&r, &out);
            assert_true(out.size <= (size + 2) / 3 * 4 + 400);
            bool is_base64 = strstr(buf_text(&out), "\"base64\":true") != NULL;
            if (kind == 0 || (kind == 4 && size))
                assert_int_equal(is_base64, kind == 4);
            assert_true(slice_equal(read_release(buf_slice(&out)).content, buf_slice(&content)));
            arena_reset(&arena);
        }
    buf_done(&content);
    buf_done(&out);
}

static void test_head(void **state)
{
    (void)state;
    struct buf out = {0};
    struct config_head back;
    struct gray_rule rule = {.name = slice_text("canary"), .percent = 10, .seq = 8};
    struct config_head h = {.seq = 7,
                            .last_seq = 8,
                            .format = FORMAT_JSON,
                            .digest = digest_of(slice_text("{}")),
                            .size = 2,
                            .title = slice_text("x"),
                            .time_ms = 5,
                            .gray = {&rule, 1}};
    config_head_write(&h, &out);
    assert_string_equal(
        buf_text(&out),
        "{\"seq\":7,\"last_seq\":8,\"type\":\"json\",\"size\":2,\"md5\":\"99914b932bd37a50b983c5e7c90ae93b\","
        "\"sha256\":\"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"title\":\"x\","
        "\"time_ms\":5,\"gray\":[{\"name\":\"canary\",\"priority\":0,\"percent\":10,\"seq\":8}]}");
    assert_int_equal(config_head_read(buf_slice(&out), &arena, &back, error, sizeof error), OK);
    assert_true(back.seq == 7 && back.last_seq == 8 && back.size == 2 && back.gray.count == 1);
    assert_true(digest_equal(&back.digest, &h.digest));
    h = (struct config_head){.seq = 9, .last_seq = 9, .format = FORMAT_TOML, .is_deleted = true};
    buf_clear(&out);
    config_head_write(&h, &out);
    assert_string_equal(buf_text(&out), "{\"seq\":9,\"type\":\"toml\",\"deleted\":true,\"time_ms\":0}");
    assert_int_equal(config_head_read(buf_slice(&out), &arena, &back, error, sizeof error), OK);
    assert_true(back.is_deleted && back.last_seq == 9);
    buf_done(&out);
}

static void test_draft(void **state)
{
    (void)state;
    struct buf out = {0};
    struct config_draft back,
        d = {.format = FORMAT_TEXT, .content = slice_text("x"), .base_seq = 2, .time_ms = 3};
    config_draft_write(&d, &out);
    assert_string_equal(buf_text(&out),
                        "{\"type\":\"text\",\"base_seq\":2,\"time_ms\":3,\"size\":1,\"content\":\"x\"}");
    assert_int_equal(config_draft_read(buf_slice(&out), &arena, &back, error, sizeof error), OK);
    assert_true(slice_equal(back.content, d.content) && back.base_seq == 2);
    buf_done(&out);
}

static void test_unreadable(void **state)
{
    (void)state;
#define DIGESTS                                                                                              \
    "\"md5\":\"d41d8cd98f00b204e9800998ecf8427e\",\"sha256\":"                                               \
    "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""
    static const struct {
        const char *text, *why;
    } heads
        [] =
            {
                {"{\"seq\":1,\"type\":\"text\",\"size\":0," DIGESTS ",\"later\":[1]}", NULL},
                {"{\"type\":\"text\",\"size\":0," DIGESTS "}", "seq is missing"},
                {"{\"seq\":\"1\",\"type\":\"text\",\"deleted\":true}", "seq is not a whole number"},
                {"{\"seq\":3,\"last_seq\":2,\"type\":\"text\",\"deleted\":true}", "last_seq is below seq"},
                {"{\"seq\":1,\"deleted\":true}", "type is missing or unknown"},
                {"{\"seq\":1,\"type\":\"cobol\",\"deleted\":true}", "type is missing or unknown"},
                {"{\"seq\":1,\"type\":\"text\"}", "md5 is not the digest"},
                {"{\"seq\":1,\"type\":\"text\",\"deleted\":1}", "deleted is not true or false"},
                {"{\"seq\":1,\"type\":\"text\",\"deleted\":true,\"gray\":{}}", "gray is not a list"},
                {"{\"seq\":1,\"type\":\"text\",\"deleted\":true,\"time_ms\":-1}", "time_ms is not"},
            },
   releases[] = {
       {"{\"operation\":\"publish\",\"type\":\"text\",\"size\":0,\"content\":\"\"," DIGESTS "}", NULL},
       {"{\"operation\":\"publish\",\"type\":\"text\",\"size\":1,\"content\":\"\"," DIGESTS "}",
        "size is not that of the content"},
       {"{\"operation\":\"publish\",\"type\":\"text\",\"content\":\"\"," DIGESTS "}", "size is not that"},
       {"{\"operation\":\"publish\",\"type\":\"text\",\"size\":0," DIGESTS "}", "content is missing"},
       {"{\"operation\":\"publish\",\"type\":\"text\",\"size\":0,\"content\":\"!\",\"base64\":true," DIGESTS
        "}",
        "no base64"},
       {"{\"operation\":\"steal\",\"type\":\"text\",\"size\":0,\"content\":\"\"," DIGESTS "}",
        "operation is missing or unknown"},
       {"{\"operation\":\"publish\",\"type\":\"text\",\"size\":0,\"content\":\"\",\"md5\":"
        "\"D41d8cd98f00b204e9800998ecf8427e\"}",
        "md5 is not"},
   };
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        struct config_head h;
        error[0] = 0;
        int err = config_head_read(slice_text(heads[i].text), &arena, &h, error, sizeof error);
        if (heads[i].why ? err != ERR_INVALID || !strstr(error, heads[i].why) : err)
            fail_msg("%s: %d, %s", heads[i].text, err, error);
    }
    for (size_t i = 0; i < COUNT_OF(releases); i++) {
        struct config_release r;
        error[0] = 0;
        int err = config_release_read(slice_text(releases[i].text), &arena, &r, error, sizeof error);
        if (releases[i].why ? err != ERR_INVALID || !strstr(error, releases[i].why) : err)
            fail_msg("%s: %d, %s", releases[i].text, err, error);
    }
    struct config_draft d;
    assert_int_equal(config_draft_read(slice_text("{"), &arena, &d, error, sizeof error), ERR_MALFORMED);
    assert_int_equal(config_draft_read(slice_text("{\"type\":\"json\"}"), &arena, &d, error, sizeof error),
                     ERR_INVALID);
}

static void test_words(void **state)
{
    (void)state;
    char text[CONFIG_NOTE_MAX + 2];
    memset(text, 'x', sizeof text);
    assert_int_equal(config_check_title(slice_of(text, 256), error, sizeof error), OK);
    assert_int_equal(config_check_title(slice_of(text, 257), error, sizeof error), ERR_INVALID);
    assert_int_equal(config_check_title(slice_text("a\nb"), error, sizeof error), ERR_INVALID);
    assert_int_equal(config_check_title(slice_text("\xff"), error, sizeof error), ERR_INVALID);
    assert_int_equal(config_check_title((struct slice){0}, error, sizeof error), OK);
    assert_int_equal(config_check_note(slice_of(text, CONFIG_NOTE_MAX), error, sizeof error), OK);
    assert_int_equal(config_check_note(slice_of(text, CONFIG_NOTE_MAX + 1), error, sizeof error),
                     ERR_INVALID);
    assert_int_equal(config_check_note(slice_text("a\nb"), error, sizeof error), OK);
    /* The worst note and title fit into the size that is promised for them. */
    struct buf out = {0};
    memset(text, 1, sizeof text);
    char title[CONFIG_TITLE_MAX];
    memset(title, '"', sizeof title);
    struct config_release r = {.operation = CONFIG_ROLLBACK,
                               .format = FORMAT_PROPERTIES,
                               .title = slice_of(title, sizeof title),
                               .note = slice_of(text, CONFIG_NOTE_MAX),
                               .digest = digest_of((struct slice){0}),
                               .time_ms = INT64_MAX,
                               .previous_seq = INT64_MAX,
                               .origin_seq = INT64_MAX};
    config_release_write(&r, &out);
    assert_true(out.size <= CONFIG_DOCUMENT_ROOM);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),    cmocka_unit_test(test_digest),
        cmocka_unit_test(test_release), cmocka_unit_test(test_head_too_long),
        cmocka_unit_test(test_content), cmocka_unit_test(test_head),
        cmocka_unit_test(test_draft),   cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_words),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&arena);
    return failed;
}
