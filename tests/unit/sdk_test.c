/* SPDX-License-Identifier: Apache-2.0
 * Tests of the pure parts of the SDK: endpoints, errors, the keys that a request names, WebSocket frames. */
#include "base/text.h"
#include "sdk/message.h"
#include "sdk/ws.h"
#include "tests/unit/unit.h"

/* --- endpoints -------------------------------------------------------------------------------------- */
static void test_endpoints(void **state)
{
    (void)state;
    struct endpoints e = {0};
    struct cairn_error error;
    assert_int_equal(endpoints_parse("a:1, http://[::1]:2 ,10.0.0.1:3", &e, &error), CAIRN_OK);
    assert_int_equal(e.count, 3);
    assert_false(e.is_tls);
    assert_string_equal(e.list[1].host, "::1");
    assert_string_equal(e.list[1].authority, "[::1]:2");
    assert_string_equal(e.list[1].name, "http://[::1]:2");
    assert_int_equal(e.list[2].port, 3);
    mem_free(e.list);
    assert_int_equal(endpoints_parse("https://a:1,https://b:2/", &e, &error), CAIRN_OK);
    assert_true(e.is_tls);
    mem_free(e.list);
}

static void test_bad_endpoints(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "a",     "a:0",       "a:65536",      "a:1,",
                                      ",a:1",     "a:1/x", "ftp://a:1", "http://u@a:1", "https://a:1,b:2",
                                      "unix://x", "[::1]"};
    struct endpoints e = {0};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct cairn_error error = {0};
        assert_int_equal(endpoints_parse(bad[i], &e, &error), CAIRN_INVALID);
        assert_true(error.message[0]);
    }
    struct buf many = {0};
    for (int i = 0; i <= ENDPOINTS_MAX; i++)
        buf_addf(&many, "%sa:%d", i ? "," : "", i + 1);
    assert_int_equal(endpoints_parse(buf_text(&many), &e, NULL), CAIRN_INVALID);
    buf_done(&many);
}

/* --- errors ----------------------------------------------------------------------------------------- */
static void test_errors(void **state)
{
    (void)state;
    struct cairn_error e;
    assert_int_equal(error_of_grpc(&e, 0, (struct slice){0}), CAIRN_OK);
    assert_int_equal(
        error_of_grpc(&e, 11, slice_text("etcdserver: mvcc: required revision has been compacted")),
        CAIRN_COMPACTED);
    assert_int_equal(error_of_grpc(&e, 11, slice_text("… is a future revision")), CAIRN_FUTURE);
    assert_int_equal(error_of_grpc(&e, 14, (struct slice){0}), CAIRN_UNAVAILABLE);
    assert_true(e.message[0] && e.status == 14);
    assert_int_equal(error_of_grpc(&e, 99, (struct slice){0}), CAIRN_PROTOCOL);
    assert_string_equal(cairn_error_name(CAIRN_CONFLICT), "CAIRN_CONFLICT");
    assert_string_equal(cairn_error_name(-1000), "?");
    set_error(&e, CAIRN_IO, "x");
    set_error(&e, CAIRN_IO, "<%s>", e.message); /* its own text */
    assert_string_equal(e.message, "<x>");
}

/* --- keys of a request ---------------------------------------------------------------------------------- */
static void check_range(struct cairn_bytes key, bool prefix, bool from_key, struct cairn_bytes want_key,
                        struct cairn_bytes want_end)
{
    struct arena a = {0};
    ProtobufCBinaryData k, end;
    assert_int_equal(fill_range_end(key, (struct cairn_bytes){0}, prefix, from_key, &a, &k, &end, NULL),
                     CAIRN_OK);
    assert_true(slice_equal(slice_of(k.data, k.len), slice_of(want_key.data, want_key.size)));
    assert_true(slice_equal(slice_of(end.data, end.len), slice_of(want_end.data, want_end.size)));
    arena_done(&a);
}

static void test_ranges(void **state)
{
    (void)state;
    struct cairn_bytes none = {0}, nul = {"", 1};
    check_range(cairn_text("a"), false, false, cairn_text("a"), none);
    check_range(cairn_text("a"), true, false, cairn_text("a"), cairn_text("b"));
    check_range((struct cairn_bytes){"a\xff\xff", 3}, true, false, (struct cairn_bytes){"a\xff\xff", 3},
                cairn_text("b"));
    check_range((struct cairn_bytes){"\xff\xff", 2}, true, false, (struct cairn_bytes){"\xff\xff", 2}, nul);
    check_range(none, true, false, nul, nul);
    check_range(cairn_text("a"), false, true, cairn_text("a"), nul);
}

/* --- WebSocket frames ----------------------------------------------------------------------------------- */
/* As a server writes: without a mask. */
static void add_frame(struct buf *out, unsigned first, const char *payload, size_t size)
{
    uint8_t head[10] = {(uint8_t)first, (uint8_t)size};
    size_t n = 2;
    if (size >= 65536) {
        head[1] = 127;
        put_be64(head + 2, size);
        n = 10;
    } else if (size >= 126) {
        head[1] = 126;
        head[2] = (uint8_t)(size >> 8);
        head[3] = (uint8_t)size;
        n = 4;
    }
    buf_add(out, head, n);
    buf_add(out, payload, size);
}

static void expect_event(struct ws_reader *r, enum ws_event want, const char *payload, size_t size)
{
    enum ws_event event;
    struct slice got;
    assert_int_equal(ws_next(r, &event, &got), OK);
    assert_int_equal(event, want);
    if (want != WS_NOTHING)
        assert_true(slice_equal(got, slice_of(payload, size)));
}

/* The same bytes whole, and one at a time. */
static void test_ws_pieces(void **state)
{
    (void)state;
    struct buf bytes = {0};
    char large[70000];
    memset(large, 'x', sizeof large);
    add_frame(&bytes, 0x81, "hello", 5);
    add_frame(&bytes, 0x01, "a", 1);
    add_frame(&bytes, 0x89, "p", 1); /* a ping between the pieces of a text */
    add_frame(&bytes, 0x00, "b", 1);
    add_frame(&bytes, 0x80, "c", 1);
    add_frame(&bytes, 0x81, large, 300);
    add_frame(&bytes, 0x81, large, sizeof large);
    add_frame(&bytes, 0x88, "\x03\xe8", 2);
    static const size_t steps[] = {1, 3, 1000000};
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        struct ws_reader r = {0};
        const enum ws_event want[] = {WS_TEXT, WS_PING, WS_TEXT, WS_TEXT, WS_TEXT, WS_CLOSED};
        const size_t sizes[] = {5, 1, 3, 300, sizeof large, 2};
        size_t n = 0;
        for (size_t at = 0; at < bytes.size; at += steps[i]) {
            enum ws_event event = WS_TEXT;
            struct slice got;
            buf_add(&r.in, bytes.data + at, bytes.size - at < steps[i] ? bytes.size - at : steps[i]);
            while (event != WS_NOTHING) {
                assert_int_equal(ws_next(&r, &event, &got), OK);
                if (event == WS_NOTHING)
                    continue;
                assert_int_equal(event, want[n]);
                assert_int_equal(got.size, sizes[n]);
                if (n == 2)
                    assert_memory_equal(got.data, "abc", 3);
                n++;
            }
        }
        assert_int_equal(n, COUNT_OF(want));
        ws_done(&r);
    }
    buf_done(&bytes);
}

static void test_ws_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        int err;
    } cases[] = {
        {"\x80\x00", 2, ERR_MALFORMED}, /* continues nothing */
        {"\x01\x01"
         "a\x81\x00",
         5, ERR_MALFORMED},                                          /* a text inside a text */
        {"\x82\x00", 2, ERR_MALFORMED},                              /* binary */
        {"\xc1\x00", 2, ERR_MALFORMED},                              /* compressed */
        {"\x81\x80", 2, ERR_MALFORMED},                              /* masked */
        {"\x09\x00", 2, ERR_MALFORMED},                              /* a ping in pieces */
        {"\x89\x7e\x01\x00", 4, ERR_MALFORMED},                      /* a long ping */
        {"\x83\x00", 2, ERR_MALFORMED},                              /* no such frame */
        {"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00", 10, ERR_LIMIT}, /* 4 GiB */
        {"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10, ERR_LIMIT},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct ws_reader r = {0};
        enum ws_event event;
        struct slice got;
        buf_add(&r.in, cases[i].bytes, cases[i].size);
        assert_int_equal(ws_next(&r, &event, &got), cases[i].err);
        ws_done(&r);
    }
}

static void test_ws_write(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 125, 126, 65535, 65536};
    static const uint8_t mask[4] = {1, 2, 3, 4};
    char payload[65536];
    memset(payload, 'y', sizeof payload);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct buf out = {0};
        size_t head = sizes[i] < 126 ? 2 : sizes[i] < 65536 ? 4 : 10;
        ws_write(&out, WS_OP_TEXT, slice_of(payload, sizes[i]), mask);
        assert_int_equal(out.size, head + 4 + sizes[i]);
        assert_int_equal(out.data[0], 0x81);
        assert_true(out.data[1] & 0x80);
        assert_memory_equal(out.data + head, mask, 4);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(out.data[head + 4 + k] ^ mask[k % 4], 'y');
        buf_done(&out);
    }
    char accept[29];
    ws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept); /* RFC 6455, 1.3 */
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void test_ws_waits(void **state)
{
    (void)state;
    struct ws_reader r = {0};
    expect_event(&r, WS_NOTHING, NULL, 0);
    buf_add(&r.in, "\x81\x02h", 3);
    expect_event(&r, WS_NOTHING, NULL, 0);
    buf_add(&r.in, "i\x8a\x00", 3);
    expect_event(&r, WS_TEXT, "hi", 2);
    expect_event(&r, WS_PONG, "", 0);
    expect_event(&r, WS_NOTHING, NULL, 0);
    ws_done(&r);
}

/* --- tokens ------------------------------------------------------------------------------------------ */
static int64_t life_of(const char *claims, int64_t now_ms)
{
    struct buf text = {0};
    buf_add_text(&text, "eyJhbGciOiJub25lIn0.");
    base64_encode(&text, slice_text(claims));
    buf_add_text(&text, ".c2ln");
    int64_t life_ms = token_life_ms(buf_slice(&text), now_ms);
    buf_done(&text);
    return life_ms;
}

static void test_life_of_tokens(void **state)
{
    (void)state;
    assert_int_equal(life_of("{\"exp\":1000}", 990400), 9600);
    assert_int_equal(life_of("{\"exp\":1000,\"iat\":900}", 5), 99001); /* whatever the clock here says */
    assert_int_equal(life_of("{\"exp\":1000}", 1000000), 0);
    assert_int_equal(life_of("{\"exp\":-5}", 0), 0);
    assert_int_equal(life_of("{\"exp\":9223372036854775807}", 0), 0);
    assert_int_equal(life_of("{\"exp\":\"soon\"}", 0), 0);
    assert_int_equal(life_of("[1]", 0), 0);
    assert_int_equal(life_of("{}", 0), 0);
    static const char *const others[] = {"", "kJdsFbsdf.17", ".", "..", "a.b", "a..b", "a.!!!.b", "...."};
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_int_equal(token_life_ms(slice_text(others[i]), 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoints),      cmocka_unit_test(test_bad_endpoints),
        cmocka_unit_test(test_errors),         cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_ws_pieces),      cmocka_unit_test(test_ws_refused),
        cmocka_unit_test(test_ws_write),       cmocka_unit_test(test_ws_waits),
        cmocka_unit_test(test_life_of_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
