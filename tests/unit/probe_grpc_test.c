/* SPDX-License-Identifier: Apache-2.0
 * Tests of server/probe/probe_grpc: the request of a gRPC health check, and the outcome of each kind of answer,
 * whole and byte by byte. */
#include "tests/unit/unit.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

#include "server/grpc/frame.h"
#include "server/probe/probe_grpc.h"

static void add_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
                      size_t size)
{
    frame_add(out, (struct frame){(uint32_t)size, type, flags, stream}, payload);
}

/* The answer of a server: SETTINGS, headers, a message, trailers. NULL leaves a part out. */
struct answer {
    const char *status, *type, *message, *grpc_status;
    uint32_t message_size;
    uint32_t reset; /* not 0: RST_STREAM at the end */
};

static void add_answer(struct buf *out, const struct answer *a)
{
    struct buf block = {0};
    add_frame(out, FRAME_SETTINGS, 0, 0, NULL, 0);
    add_frame(out, FRAME_SETTINGS, FRAME_ACK, 0, NULL, 0);
    if (a->status) {
        hpack_add_literal(&block, ":status", slice_text(a->status));
        hpack_add_literal(&block, "content-type", slice_text(a->type));
        bool is_end = !a->message && !a->reset;
        if (is_end && a->grpc_status)
            hpack_add_literal(&block, "grpc-status", slice_text(a->grpc_status));
        frame_add_block(out, 1, is_end ? FRAME_END_STREAM : 0, buf_slice(&block));
    }
    if (a->message)
        add_frame(out, FRAME_DATA, a->grpc_status || a->reset ? 0 : FRAME_END_STREAM, 1, a->message,
                  a->message_size);
    buf_clear(&block);
    if (a->message && a->grpc_status) {
        hpack_add_literal(&block, "grpc-status", slice_text(a->grpc_status));
        hpack_add_literal(&block, "grpc-message", slice_text("a secret text"));
        frame_add_block(out, 1, FRAME_END_STREAM, buf_slice(&block));
    }
    if (a->reset)
        add_frame(out, FRAME_RST_STREAM, 0, 1,
                  (uint8_t[]){(uint8_t)(a->reset >> 24), (uint8_t)(a->reset >> 16), (uint8_t)(a->reset >> 8),
                              (uint8_t)a->reset},
                  4);
    buf_done(&block);
}

static struct probe_grpc *begin(const char *service, struct buf *ret_request)
{
    struct probe_grpc *g = probe_grpc_new("10.0.0.5", 9000, false, service);
    assert_non_null(g);
    assert_int_equal(probe_grpc_take_output(g, ret_request), OK);
    return g;
}

/* piece: bytes that arrive at once. */
static void expect(const struct buf *answer, size_t piece, enum check_outcome wanted, const char *text)
{
    char output[CHECK_OUTPUT_MAX] = "no end";
    struct buf out = {0};
    enum check_outcome outcome = CHECK_WARN;
    struct probe_grpc *g = begin("", &out);
    int err = OK;
    for (size_t at = 0; at < answer->size && !err; at += piece) {
        size_t size = answer->size - at < piece ? answer->size - at : piece;
        err = probe_grpc_feed(g, slice_of(answer->data + at, size));
        if (!err)
            err = probe_grpc_take_output(g, &out);
    }
    if (err)
        snprintf(output, sizeof output, "%s", err == ERR_LIMIT ? "limit" : "malformed");
    else
        (void)probe_grpc_outcome(g, &outcome, output, sizeof output);
    assert_string_equal(output, text);
    if (!err)
        assert_int_equal(outcome, wanted);
    buf_done(&out);
    probe_grpc_free(g);
}

static const char serving[] = "\0\0\0\0\2\10\1", not_serving[] = "\0\0\0\0\2\10\2", unknown[] = "\0\0\0\0\0",
                  service_unknown[] = "\0\0\0\0\2\10\3", odd_number[] = "\0\0\0\0\2\10\7",
                  compressed[] = "\1\0\0\0\2\10\1", cut[] = "\0\0\0\0\3\10\1", endless[100] = {0};
#define MESSAGE(m) .message = (m), .message_size = sizeof(m) - 1
#define GRPC       .status = "200", .type = "application/grpc"

static void test_outcomes(void **state)
{
    static const struct {
        struct answer answer;
        enum check_outcome outcome;
        const char *output;
    } rows[] = {
        {{GRPC, MESSAGE(serving), .grpc_status = "0"}, CHECK_PASS, "gRPC SERVING"},
        {{.status = "200", .type = "application/grpc+proto", MESSAGE(serving), .grpc_status = "0"},
         CHECK_PASS,
         "gRPC SERVING"},
        {{GRPC, MESSAGE(not_serving), .grpc_status = "0"}, CHECK_FAIL, "gRPC NOT_SERVING"},
        {{GRPC, MESSAGE(unknown), .grpc_status = "0"}, CHECK_FAIL, "gRPC UNKNOWN"},
        {{GRPC, MESSAGE(service_unknown), .grpc_status = "0"}, CHECK_FAIL, "gRPC SERVICE_UNKNOWN"},
        {{GRPC, .grpc_status = "12"},
         CHECK_FAIL,
         "gRPC status 12 UNIMPLEMENTED (the server has no health service)"},
        {{GRPC, .grpc_status = "5"},
         CHECK_FAIL,
         "gRPC status 5 NOT_FOUND (the server does not know this service)"},
        {{GRPC, MESSAGE(serving), .grpc_status = "14"}, CHECK_FAIL, "gRPC status 14 UNAVAILABLE"},
        {{GRPC, .grpc_status = "77"}, CHECK_FAIL, "gRPC status 2 UNKNOWN"},
        {{.status = "404", .type = "text/html"}, CHECK_FAIL, "HTTP 404 instead of a gRPC response"},
        {{.status = "200", .type = "text/html"},
         CHECK_FAIL,
         "the response is not of gRPC: another content-type"},
        {{.status = "200", .type = "application/grpc-web"},
         CHECK_FAIL,
         "the response is not of gRPC: another content-type"},
        {{GRPC, MESSAGE(serving)}, CHECK_FAIL, "the server ended the call without a gRPC status"},
        {{GRPC, .reset = 2}, CHECK_FAIL, "the server ended the call with HTTP/2 error 2"},
        {{GRPC, MESSAGE(odd_number), .grpc_status = "0"},
         CHECK_FAIL,
         "the response is no HealthCheckResponse"},
        {{GRPC, MESSAGE(compressed), .grpc_status = "0"},
         CHECK_FAIL,
         "the response is no HealthCheckResponse"},
        {{GRPC, MESSAGE(cut), .grpc_status = "0"}, CHECK_FAIL, "the response is no HealthCheckResponse"},
        {{GRPC, MESSAGE(endless), .grpc_status = "0"}, CHECK_FAIL, "the response is no HealthCheckResponse"},
        {{GRPC, .grpc_status = "0"}, CHECK_FAIL, "the response is no HealthCheckResponse"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf answer = {0};
        add_answer(&answer, &rows[i].answer);
        expect(&answer, answer.size, rows[i].outcome, rows[i].output);
        expect(&answer, 1, rows[i].outcome, rows[i].output);
        buf_done(&answer);
    }
}

static void test_other_protocols_and_limits(void **state)
{
    static const char http1[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    struct buf bytes = {0};
    (void)state;
    buf_add_text(&bytes, http1);
    expect(&bytes, bytes.size, CHECK_FAIL, "malformed");
    buf_clear(&bytes);
    add_frame(&bytes, FRAME_SETTINGS, 0, 0, NULL, 0);
    add_frame(&bytes, FRAME_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8); /* the call is not taken */
    expect(&bytes, bytes.size, CHECK_FAIL, "the server ended the call with HTTP/2 error 7");
    buf_clear(&bytes);
    add_frame(&bytes, FRAME_SETTINGS, 0, 0, NULL, 0);
    while (bytes.size <= PROBE_GRPC_BYTES_MAX)
        add_frame(&bytes, FRAME_PING, FRAME_ACK, 0, "12345678", 8);
    expect(&bytes, 1000, CHECK_FAIL, "limit");
    /* A PING is answered, with no more bytes than it has. */
    buf_clear(&bytes);
    add_frame(&bytes, FRAME_SETTINGS, 0, 0, NULL, 0);
    add_frame(&bytes, FRAME_PING, 0, 0, "12345678", 8);
    struct buf out = {0};
    struct probe_grpc *g = begin("", &out);
    buf_clear(&out);
    assert_int_equal(probe_grpc_feed(g, buf_slice(&bytes)), OK);
    assert_int_equal(probe_grpc_take_output(g, &out), OK);
    assert_int_equal(out.size, bytes.size);
    buf_done(&out);
    buf_done(&bytes);
    probe_grpc_free(g);
}

/* --- the request: read by nghttp2's server session ------------------------------------------------------ */

struct request {
    char fields[1000];
    struct buf body;
    bool is_end;
};

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                    size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags, void *arg)
{
    struct request *r = arg;
    size_t n = strlen(r->fields);
    (void)session;
    (void)frame;
    (void)flags;
    snprintf(r->fields + n, sizeof r->fields - n, "%.*s: %.*s\n", (int)name_size, (const char *)name,
             (int)value_size, (const char *)value);
    return 0;
}

static int on_body(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                   void *arg)
{
    (void)session;
    (void)flags;
    (void)stream;
    buf_add(&((struct request *)arg)->body, data, size);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    if (frame->hd.type == NGHTTP2_DATA && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        ((struct request *)arg)->is_end = true;
    return 0;
}

static void test_request(void **state)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session;
    struct request r = {0};
    struct buf out = {0};
    char service[CHECK_SERVICE_MAX + 1];
    (void)state;
    memset(service, 's', CHECK_SERVICE_MAX);
    service[CHECK_SERVICE_MAX] = 0;
    struct probe_grpc *g = begin(service, &out);
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_body);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    assert_int_equal(nghttp2_session_server_new(&session, callbacks, &r), 0);
    assert_int_equal(nghttp2_session_mem_recv(session, out.data, out.size), out.size);
    assert_string_equal(r.fields, ":method: POST\n:scheme: http\n:path: /grpc.health.v1.Health/Check\n"
                                  ":authority: 10.0.0.5:9000\ncontent-type: application/grpc\n"
                                  "te: trailers\nuser-agent: cairn-check\n");
    assert_true(r.is_end);
    assert_int_equal(r.body.size, 5 + 3 + CHECK_SERVICE_MAX);
    assert_memory_equal(r.body.data, "\0\0\0\0\xcb\x0a\xc8\x01ss", 10);
    nghttp2_session_del(session);
    nghttp2_session_callbacks_del(callbacks);
    probe_grpc_free(g);
    buf_done(&r.body);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_other_protocols_and_limits),
        cmocka_unit_test(test_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
