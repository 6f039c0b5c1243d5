/* SPDX-License-Identifier: Apache-2.0
 * Tests of frames in and out: accepted frames, refusals and their texts. */
#include "server/stream/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

static struct stream_frame f;
static char error[240];

static int read_text(const char *text)
{
    stream_frame_done(&f);
    *error = 0;
    return stream_frame_read(slice_text(text), &f, error, sizeof error);
}

static bool is(struct slice s, const char *text)
{
    return slice_equal(s, slice_text(text));
}

static void test_reading(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("{\"type\":\"hello\",\"client_id\":\"web-7\",\"labels\":{\"zone\":\"b\",\"app\":\"a\"},"
                  "\"token\":\"secret\",\"window\":65536,\"resume\":{\"cluster_id\":"
                  "\"14841639068965178418\",\"revision\":41},\"session\":{\"ttl\":15}}"),
        0);
    assert_int_equal(f.type, STREAM_HELLO);
    assert_true(is(f.client_id, "web-7"));
    assert_int_equal(f.labels.count, 2);
    assert_true(is(f.labels.list[0].key, "app") && is(f.labels.list[1].value, "b"));
    assert_int_equal(f.window, 65536);
    assert_true(f.resume.cluster_id == 14841639068965178418u);
    assert_int_equal(f.resume.revision, 41);
    assert_int_equal(f.session.ttl_s, 15);
    assert_int_equal(read_text("{\"type\":\"hello\",\"session\":{\"id\":\"694d71ddacfda22d\"}}"), 0);
    assert_int_equal(f.session.ttl_s, 0);
    assert_true(f.session.id == 0x694d71ddacfda22d);
    assert_int_equal(
        read_text("{\"sid\":7,\"kind\":\"service\",\"name\":\"orders\",\"namespace\":\"n\",\"group\":\"g\","
                  "\"from_revision\":42,\"known\":[{\"id\":\"a\",\"revision\":3}],\"filter\":{\"healthy\":"
                  "true,\"version\":\"2\",\"tags\":[\"y\",\"x\"],\"labels\":{\"k\":\"v\"}},\"type\":"
                  "\"subscribe\"}"),
        0);
    assert_int_equal(f.sid, 7);
    assert_true(stream_frame_has(&f, STREAM_HAS_KNOWN) && !stream_frame_has(&f, STREAM_HAS_PREFIX));
    assert_int_equal(f.known.count, 1);
    assert_int_equal(f.known.list[0].revision, 3);
    assert_true(f.filter.only_serving && is(f.filter.tags[0], "x") && is(f.filter.labels[0].value, "v"));
    assert_int_equal(
        read_text("{\"type\":\"register\",\"rid\":0,\"name\":\"a\",\"id\":\"b\",\"instance\":{\"host\":"
                  "\"\\u00e9\\\"\"}}"),
        0);
    assert_true(is(f.instance, "{\"host\":\"é\\\"\"}"));
    assert_int_equal(
        read_text("{\"type\":\"applied\",\"sid\":1,\"name\":\"a\",\"seq\":3,\"ok\":false,\"error\":\"e\"}"),
        0);
    assert_false(f.ok);
    assert_int_equal(
        read_text("{\"type\":\"publish\",\"rid\":1,\"name\":\"a\",\"content\":\"/wA=\",\"base64\":true,"
                  "\"if_absent\":true,\"if_seq\":0,\"if_revision\":9,\"validate\":\"only\","
                  "\"if_md5\":\"c4ca4238a0b923820dcc509a6f75849b\"}"),
        0);
    assert_true(f.is_base64 && f.if_absent && f.only_validate && f.if_md5.size == 32);
    assert_true(stream_frame_has(&f, STREAM_HAS_IF_SEQ) && f.if_revision == 9 &&
                !stream_frame_has(&f, STREAM_HAS_TITLE));
    assert_int_equal(
        read_text("{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"config\",\"name\":\"a\","
                  "\"known\":[{\"id\":\"a\",\"revision\":5,\"seq\":3},{\"id\":\"b\",\"revision\":6,"
                  "\"settings_revision\":8}]}"),
        0);
    assert_true(f.known.list[0].seq == 3 && f.known.list[1].seq == 0 && f.known.list[1].revision == 6);
    assert_true(f.known.list[0].settings_revision == 0 && f.known.list[1].settings_revision == 8);
    assert_int_equal(read_text("{\"type\":\"ack\",\"revision\":9007199254740992}"), 0);
    assert_int_equal(read_text("{\"type\":\"heartbeat\"}"), 0);
}

static void test_refusing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int err;
        const char *says;
    } wrong[] = {
        {"", ERR_MALFORMED, NULL},
        {"[1]", ERR_MALFORMED, "a frame is a JSON object"},
        {"{\"type\":\"ack\",\"revision\":1}x", ERR_MALFORMED, NULL},
        {"{\"type\":\"ack\",\"revision\":1,\"revision\":2}", ERR_MALFORMED, NULL},
        {"{}", ERR_INVALID, "a frame needs a type, which is a string"},
        {"{\"type\":1}", ERR_INVALID, "a frame needs a type, which is a string"},
        {"{\"type\":\"\\u0000\"}", ERR_INVALID, NULL},
        {"{\"type\":\"sub\"}", ERR_INVALID, "unknown type \"sub\""},
        {"{\"type\":\"ack\"}", ERR_INVALID, "ack: revision is missing"},
        {"{\"type\":\"ack\",\"revision\":-1}", ERR_INVALID,
         "ack: revision must be an integer from 0 to 9007199254740992"},
        {"{\"type\":\"ack\",\"revision\":9007199254740993}", ERR_INVALID, NULL},
        {"{\"type\":\"ack\",\"revision\":1.0}", ERR_INVALID, NULL},
        {"{\"type\":\"ack\",\"revision\":\"1\"}", ERR_INVALID, NULL},
        {"{\"type\":\"ack\",\"revision\":1,\"sid\":1}", ERR_INVALID, "ack: unknown field \"sid\""},
        {"{\"type\":\"subscribe\",\"sid\":0,\"kind\":\"kv\"}", ERR_INVALID,
         "subscribe: sid must be an integer from 1 to 4294967295"},
        {"{\"type\":\"subscribe\",\"sid\":1}", ERR_INVALID, "subscribe: kind is missing"},
        {"{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"Name\":\"x\"}", ERR_INVALID,
         "subscribe: unknown field \"Name\""},
        {"{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"filter\":{\"zone\":\"x\"}}", ERR_INVALID,
         "subscribe: filter must be without the unknown field \"zone\""},
        {"{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"filter\":{\"tags\":[1]}}", ERR_INVALID, NULL},
        {"{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"filter\":{\"labels\":{\"a\":1}}}", ERR_INVALID,
         NULL},
        {"{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"known\":[{\"id\":\"a\"}]}", ERR_INVALID, NULL},
        {"{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"known\":[{\"id\":\"a\",\"revision\":1,\"x\":1}]"
         "}",
         ERR_INVALID, NULL},
        {"{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"config\",\"known\":[{\"id\":\"a\",\"revision\":1,"
         "\"seq\":-1}]}",
         ERR_INVALID, NULL},
        {"{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"known\":[{\"id\":\"a\",\"revision\":1,"
         "\"settings_revision\":\"8\"}]}",
         ERR_INVALID, NULL},
        {"{\"type\":\"publish\",\"rid\":1,\"name\":\"a\",\"content\":\"\",\"if_md5\":"
         "\"C4CA4238A0B923820DCC509A6F75849B\"}",
         ERR_INVALID, "publish: if_md5 must be an md5: 32 lower-case hexadecimal digits"},
        {"{\"type\":\"publish\",\"rid\":1,\"name\":\"a\",\"content\":\"\",\"validate\":true}", ERR_INVALID,
         "publish: validate must be \"only\""},
        {"{\"type\":\"publish\",\"rid\":1,\"name\":\"a\"}", ERR_INVALID, "publish: content is missing"},
        {"{\"type\":\"hello\",\"token\":12}", ERR_INVALID,
         "hello: token must be a string of at most 16384 bytes"},
        {"{\"type\":\"hello\",\"labels\":{\"a\":1}}", ERR_INVALID,
         "hello: labels must be an object of at most 64 strings"},
        {"{\"type\":\"hello\",\"resume\":{\"cluster_id\":12,\"revision\":1}}", ERR_INVALID, NULL},
        {"{\"type\":\"hello\",\"resume\":{\"cluster_id\":\"12\"}}", ERR_INVALID, NULL},
        {"{\"type\":\"hello\",\"session\":{\"ttl\":2}}", ERR_INVALID,
         "hello: session must be {\"ttl\": 3 to 86400 seconds} or {\"id\": a session's id, \"key\": its "
         "key}"},
        {"{\"type\":\"hello\",\"session\":{\"ttl\":15,\"id\":\"1\"}}", ERR_INVALID, NULL},
        {"{\"type\":\"hello\",\"session\":{\"id\":\"0\"}}", ERR_INVALID, NULL},
        {"{\"type\":\"hello\",\"session\":{}}", ERR_INVALID, NULL},
        {"{\"type\":\"register\",\"rid\":1,\"name\":\"a\",\"id\":\"b\",\"instance\":[]}", ERR_INVALID,
         "register: instance must be an object"},
        {"{\"type\":\"applied\",\"sid\":1,\"name\":\"a\",\"seq\":3,\"ok\":1}", ERR_INVALID,
         "applied: ok must be true or false"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        int err = read_text(wrong[i].text);
        if (err != wrong[i].err || (wrong[i].says && strcmp(error, wrong[i].says) != 0) || !*error)
            fail_msg("%s: %s, \"%s\"", wrong[i].text, err_name(err), error);
    }
    assert_int_equal(read_text("{\"type\":\"dance\",\"sid\":3,\"rid\":4}"), ERR_INVALID); /* still numbers */
    assert_true(stream_frame_has(&f, STREAM_HAS_SID) && stream_frame_has(&f, STREAM_HAS_RID) && f.rid == 4);
}

static void test_sizes(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_add_text(&text, "{\"type\":\"hello\"}");
    memset(buf_reserve(&text, 70000), ' ', 70000);
    text.size = STREAM_FRAME_MAX;
    assert_int_equal(read_text(buf_text(&text)), 0);
    text.size++;
    text.data[text.size - 1] = ' ';
    assert_int_equal(read_text(buf_text(&text)), ERR_LIMIT);
    buf_clear(&text);
    buf_add_text(&text, "{\"type\":\"publish\",\"rid\":1,\"name\":\"a\",\"content\":\"");
    memset(buf_reserve(&text, 100000), 'x', 100000);
    text.size += 100000;
    buf_add_text(&text, "\"}");
    assert_int_equal(read_text(buf_text(&text)), 0);
    assert_int_equal(f.content.size, 100000);
    buf_done(&text);
}

static void test_filter_keys(void **state)
{
    (void)state;
    static const char *const same[] = {"{\"tags\":[\"a\",\"b\"],\"labels\":{\"x\":\"1\",\"y\":\"2\"}}",
                                       "{\"labels\":{\"y\":\"2\",\"x\":\"1\"},\"tags\":[\"b\",\"a\",\"a\"]}"};
    struct buf keys[2] = {0}, other = {0};
    for (int i = 0; i < 2; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"filter\":%s}",
                 same[i]);
        assert_int_equal(read_text(text), 0);
        stream_filter_key(&f.filter, &keys[i]);
    }
    assert_true(slice_equal(buf_slice(&keys[0]), buf_slice(&keys[1])));
    f.filter.no_guarded = true;
    stream_filter_key(&f.filter, &other);
    assert_false(slice_equal(buf_slice(&keys[0]), buf_slice(&other)));
    buf_clear(&other);
    f.filter.no_guarded = false;
    f.filter.only_serving = true;
    stream_filter_key(&f.filter, &other);
    assert_false(slice_equal(buf_slice(&keys[0]), buf_slice(&other)));
    buf_done(&keys[0]);
    buf_done(&keys[1]);
    buf_done(&other);
}

static void test_writing(void **state)
{
    (void)state;
    struct buf b = {0};
    struct registry_result r = {.revision = 7, .session = 0x694d, .ttl_s = 15, .is_unchanged = true};
    stream_write_result(&b, 3, &r);
    assert_string_equal(buf_text(&b),
                        "{\"type\":\"result\",\"rid\":3,\"revision\":7,\"session\":\"694d\",\"ttl\":15,"
                        "\"heartbeat_ms\":5000,\"unchanged\":true}");
    buf_clear(&b);
    stream_write_error_sid(&b, 9, stream_error_code(ERR_SESSION_GONE), "a \"b\"");
    assert_string_equal(
        buf_text(&b), "{\"type\":\"error\",\"sid\":9,\"code\":\"session_gone\",\"message\":\"a \\\"b\\\"\"}");
    buf_clear(&b);
    stream_write_token(&b, 14841639068965178418u, 44);
    assert_string_equal(buf_text(&b), "14841639068965178418:44");
    uint64_t cluster;
    int64_t revision;
    assert_int_equal(stream_read_token(buf_slice(&b), &cluster, &revision), 0);
    assert_true(cluster == 14841639068965178418u && revision == 44);
    static const char *const bad[] = {"", ":", "1", "1:", ":1", "1:-1", "x:1", "1:9007199254740993", "1:1:1"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(stream_read_token(slice_text(bad[i]), &cluster, &revision), ERR_MALFORMED);
    buf_done(&b);
}

/* {"type":"register",...,"instance":{"host":"h","metadata":{"k0":"",...}},"rid":7} */
static void add_large_register(struct buf *out, unsigned count, const char *end)
{
    buf_clear(out);
    buf_add_text(
        out,
        "{\"type\":\"register\",\"name\":\"s\",\"id\":\"i\",\"instance\" : {\"host\":\"h\",\"metadata\":{");
    for (unsigned i = 0; i < count; i++)
        buf_addf(out, "%s\"k%u\":\"\"", i ? "," : "", i);
    buf_add_text(out, end);
}

/* Its reader parses it: 4,096 keys would take three milliseconds to be parsed and written here. */
static void test_large_instance(void **state)
{
    (void)state;
    struct buf text = {0};
    add_large_register(&text, 4000, "}} , \"rid\":7}");
    assert_int_equal(read_text(buf_text(&text)), 0);
    assert_int_equal(f.type, STREAM_REGISTER);
    assert_int_equal(f.rid, 7);
    assert_true(is(f.id, "i"));
    const char *at = strstr(buf_text(&text), "{\"host\"");
    assert_true(slice_equal(f.instance, slice_of(at, strlen(at) - strlen(", \"rid\":7}"))));
    assert_int_equal(json_object_size(json_object_get(f.root, "instance")), 0);
    add_large_register(&text, 10, "}},\"rid\":7}");
    assert_int_equal(read_text(buf_text(&text)), 0);
    assert_int_equal(json_object_size(json_object_get(f.root, "instance")), 2);
    add_large_register(&text, 4000, "}},\"rid\":7,\"instance\":{}}");
    assert_int_equal(read_text(buf_text(&text)), ERR_MALFORMED);
    add_large_register(&text, 4000, "}},\"rid\":7,\"other\":{}}");
    assert_int_equal(read_text(buf_text(&text)), ERR_INVALID);
    add_large_register(&text, 4000, "},\"rid\":7}");
    assert_int_equal(read_text(buf_text(&text)), ERR_MALFORMED);
    buf_done(&text);
}

static int done(void **state)
{
    (void)state;
    stream_frame_done(&f);
    return 0;
}

int main(void)
{
    cmocka_set_test_filter(getenv("ONLY"));
#define TEST(name) cmocka_unit_test_teardown(name, done)
    const struct CMUnitTest tests[] = {
        TEST(test_reading),     TEST(test_refusing), TEST(test_sizes),
        TEST(test_filter_keys), TEST(test_writing),  TEST(test_large_instance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
