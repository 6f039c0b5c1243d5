/* SPDX-License-Identifier: Apache-2.0
 * Tests of http_answer: responses of every form, whole and byte by byte, and refused responses. */
#include "tests/unit/unit.h"

#include <string.h>

#include "sdk/http_answer.h"

struct outcome {
    int err, status;
    bool is_whole, keeps_alive;
    size_t left;
};

static struct outcome read_in_pieces(const char *text, size_t piece, struct buf *body)
{
    struct http_answer a = {0};
    struct outcome o = {0};
    size_t size = strlen(text), at = 0;
    while (!o.err && at < size && a.phase != HTTP_ANSWER_DONE) {
        size_t n = size - at < piece ? size - at : piece;
        struct slice in = slice_of(text + at, n);
        o.err = http_answer_feed(&a, &in, body);
        at += n - in.size;
    }
    o.is_whole = !o.err && http_answer_end(&a) == OK;
    o.status = a.status;
    o.keeps_alive = a.keeps_alive;
    o.left = size - at;
    http_answer_done(&a);
    return o;
}

static void reads(const char *text, int status, const char *wanted, bool keeps_alive, size_t left)
{
    for (size_t piece = 1; piece <= 64; piece += piece == 1 ? 1 : 31) {
        struct buf body = {0};
        struct outcome o = read_in_pieces(text, piece, &body);
        assert_int_equal(o.err, OK);
        assert_true(o.is_whole);
        assert_int_equal(o.status, status);
        assert_string_equal(buf_text(&body), wanted);
        assert_int_equal(o.keeps_alive, keeps_alive);
        assert_int_equal(o.left, left);
        buf_done(&body);
    }
}

static void every_form_of_body(void **state)
{
    (void)state;
    reads("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP", 200, "hello", true, 4);
    reads("HTTP/1.1 200 OK\r\ncontent-length:  0 \r\n\r\n", 200, "", true, 0);
    reads("HTTP/1.1 200\r\nTransfer-Encoding: "
          "chunked\r\n\r\n3\r\nabc\r\n0A;x=1\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nX",
          200, "abc0123456789", true, 1);
    reads("HTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end", false, 0);
    reads("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, "ab", false, 0);
    reads("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", 204, "", false, 0);
    reads("HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n", 304, "", true, 0);
    reads("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\nContent-Length: 1\n\nx", 404, "x", true, 0);
}

static void invalid_answers_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct buf body = {0};
        assert_int_equal(read_in_pieces(texts[i], 1, &body).err, ERR_MALFORMED);
        buf_clear(&body);
        assert_int_equal(read_in_pieces(texts[i], 1000, &body).err, ERR_MALFORMED);
        buf_done(&body);
    }
}

static void a_cut_answer_is_not_whole(void **state)
{
    (void)state;
    static const char *const texts[] = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
                                        "HTTP/1.1 200 OK\r\nContent-Le",
                                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct buf body = {0};
        struct outcome o = read_in_pieces(texts[i], 7, &body);
        assert_int_equal(o.err, OK);
        assert_false(o.is_whole);
        buf_done(&body);
    }
}

static void a_head_has_a_limit(void **state)
{
    (void)state;
    struct http_answer a = {0};
    struct buf body = {0};
    struct slice in = slice_text("HTTP/1.1 200 OK\r\n");
    int err = http_answer_feed(&a, &in, &body);
    for (int i = 0; !err && i < 10000; i++) {
        in = slice_text("X-Field: 0123456789\r\n");
        err = http_answer_feed(&a, &in, &body);
    }
    assert_int_equal(err, ERR_LIMIT);
    assert_true(a.head.size <= HTTP_ANSWER_HEAD_MAX);
    http_answer_done(&a);
    buf_done(&body);
}

static void fields_are_found_in_any_case(void **state)
{
    (void)state;
    struct http_answer a = {0};
    struct slice in = slice_text("HTTP/1.1 200 OK\r\nX-Cairn-Revision:12 \r\netag: \"a\"\r\nETag: "
                                 "\"b\"\r\nContent-Length: 1\r\n\r\nx"),
                 value;
    assert_int_equal(http_answer_feed(&a, &in, NULL), OK); /* stops after the head */
    assert_int_equal(in.size, 1);
    assert_true(http_answer_field(&a, "x-cairn-revision", &value));
    assert_true(slice_equal(value, slice_text("12")));
    assert_true(http_answer_field(&a, "ETag", &value));
    assert_true(slice_equal(value, slice_text("\"a\"")));
    assert_false(http_answer_field(&a, "X-Cairn", &value));
    http_answer_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_body),           cmocka_unit_test(invalid_answers_are_refused),
        cmocka_unit_test(a_cut_answer_is_not_whole),    cmocka_unit_test(a_head_has_a_limit),
        cmocka_unit_test(fields_are_found_in_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
