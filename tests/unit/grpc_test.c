/* SPDX-License-Identifier: Apache-2.0
 * Tests of server/grpc against nghttp2's own client, with fake methods in place of server/rpc (grpc_fake.h).
 */
#include "tests/unit/grpc_fake.h"

#include "base/gzip.h"

/* --- tests ------------------------------------------------------------------------------------------ */
static void test_unary(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, 16000, 16384, 40000, 1 << 20, (1 << 20) + (512 << 10)};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_echo(call(f, "/test.T/Echo", sizes[i], NULL, NULL), sizes[i]);
    assert_string_equal("application/grpc", f->replies[0].content_type);
    assert_string_equal("application/grpc+proto",
                        call(f, "/test.T/Echo", 3, "content-type", "application/grpc+proto")->content_type);
    assert_int_equal(0, seen.canceled);
}

static void test_metadata(void **state)
{
    struct fixture *f = *state;
    call(f, "/test.T/Echo", 1, "token", "abc");
    assert_string_equal("abc", seen.token);
    assert_false(seen.has_leader_required);
    call(f, "/test.T/Echo", 1, "authorization", "Bearer xyz");
    assert_string_equal("xyz", seen.token);
    call(f, "/test.T/Echo", 1, "hasleader", "true");
    assert_string_equal("", seen.token);
    assert_true(seen.has_leader_required);
    call(f, "/test.T/Echo", 1, "client-api-version", "3.7");
    assert_string_equal("3.7", seen.version);
    assert_echo(call(f, "/test.T/Echo", 1, ":authority", "http://127.0.0.1:2379"), 1); /* etcdctl 3.4 */
}

static void test_status(void **state)
{
    struct fixture *f = *state;
    assert_error(call(f, "/test.T/Fail", 1, NULL, NULL), 200, 9, "50%25 b%C3%A4d%0A");
}

static void test_refused_headers(void **state)
{
    struct fixture *f = *state;
    assert_error(call(f, "/test.T/Nope", 1, NULL, NULL), 200, 12, "unknown method Nope for service test.T");
    assert_error(call(f, "/test.U/Echo", 1, NULL, NULL), 200, 12, "unknown service test.U");
    assert_error(call(f, "/test", 1, NULL, NULL), 200, 12, "malformed method name: \"/test\"");
    assert_error(call(f, "/test.T/Echo", 1, "content-type", "text/plain"), 415, 3,
                 "invalid gRPC request content-type \"text/plain\"");
    assert_error(call(f, "/test.T/Echo", 1, ":method", "GET"), 405, 13,
                 "Received a HEADERS frame with a :method which should be POST");
    assert_error(call(f, "/test.T/Echo", 1, "grpc-encoding", "snappy"), 200, 12,
                 "grpc: Decompressor is not installed for grpc-encoding \"snappy\"");
    assert_error(call(f, "/test.T/Echo", 1, "grpc-timeout", "5x"), 400, 13, "malformed grpc-timeout");
    assert_error(call(f, "/test.T/Echo", 1, "grpc-timeout", "0S"), 200, 4, "context deadline exceeded");
    assert_int_equal(0, seen.started);
    assert_echo(call(f, "/test.T/Echo", 5, "grpc-encoding", "identity"), 5);
}

static void test_bad_messages(void **state)
{
    struct fixture *f = *state;
    struct body b = {0};
    frame(&b, 0, (1 << 20) + (512 << 10) + 1, 100); /* refused by the prefix alone */
    b.is_open = true;
    int32_t id = request(f, "/test.T/Echo", &b, NULL, NULL);
    UNTIL(f, reply_of(id)->is_closed);
    assert_error(reply_of(id), 200, 8, "grpc: received message larger than max (1572865 vs. 1572864)");
    assert_int_equal(1, seen.canceled);
    body_done(&b);

    b = (struct body){0};
    frame(&b, 1, 4, 4);
    id = request(f, "/test.T/Echo", &b, NULL, NULL);
    UNTIL(f, reply_of(id)->is_closed);
    assert_error(reply_of(id), 200, 13, "grpc: compressed flag set with identity or empty encoding");
    body_done(&b);

    b = (struct body){0};
    frame(&b, 0, 100, 99);
    id = request(f, "/test.T/Echo", &b, NULL, NULL);
    UNTIL(f, reply_of(id)->is_closed);
    assert_error(reply_of(id), 200, 13, "unexpected EOF");
    body_done(&b);

    b = (struct body){0};
    id = request(f, "/test.T/Echo", &b, NULL, NULL);
    UNTIL(f, reply_of(id)->is_closed);
    assert_error(reply_of(id), 200, 2, "EOF");
    assert_int_equal(0, seen.received);

    b = (struct body){0};
    frame(&b, 0, 4, 4);
    frame(&b, 0, 5, 5); /* passed over */
    id = request(f, "/test.T/Echo", &b, NULL, NULL);
    UNTIL(f, reply_of(id)->is_closed);
    assert_echo(reply_of(id), 4);
    assert_int_equal(1, seen.received);
    body_done(&b);
    assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
}

/* A message of `size` bytes as gzip, of which the last `cut` bytes are missing. */
static void gzip_frame(struct body *b, size_t size, size_t cut)
{
    struct body plain = {0};
    struct buf packed = {0};
    struct gzip_writer *g = gzip_writer_new();
    frame(&plain, 0, (uint32_t)size, size);
    gzip_write(g, slice_of(plain.bytes.data + 5, size), &packed);
    gzip_write_end(g, &packed);
    gzip_writer_free(g);
    frame(b, 1, (uint32_t)(packed.size - cut), 0);
    buf_add(&b->bytes, packed.data, packed.size - cut);
    buf_done(&packed);
    body_done(&plain);
}

static struct reply *gzip_call(struct fixture *f, size_t size, size_t cut)
{
    struct body b = {0};
    gzip_frame(&b, size, cut);
    int32_t id = request(f, "/test.T/Echo", &b, "grpc-encoding", "gzip");
    UNTIL(f, reply_of(id)->is_closed);
    body_done(&b);
    return reply_of(id);
}

static void test_gzip(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, 300, 65536, (1 << 20) + (512 << 10)};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_echo(gzip_call(f, sizes[i], 0), sizes[i]);
    assert_echo(call(f, "/test.T/Echo", 5, "grpc-encoding", "gzip"), 5); /* allowed without the flag */
    assert_error(gzip_call(f, 300, 1), 200, 13, "grpc: failed to read decompressed data: unexpected EOF");
    assert_error(gzip_call(f, (1 << 20) + (512 << 10) + 1, 0), 200, 8,
                 "grpc: received message after decompression larger than max 1572864");
    struct body b = {0};
    frame(&b, 1, 40, 40);
    int32_t id = request(f, "/test.T/Echo", &b, "grpc-encoding", "gzip");
    UNTIL(f, reply_of(id)->is_closed);
    assert_error(reply_of(id), 200, 13, "grpc: failed to decompress the message: gzip: invalid header");
    body_done(&b);
    f->step = 1;
    assert_echo(gzip_call(f, 300, 0), 300);
}

static void test_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    f->step = 1;
    assert_echo(call(f, "/test.T/Echo", 300, NULL, NULL), 300);
    assert_echo(call(f, "/test.T/Echo", 0, "token", "t"), 0);
}

static void test_bidi(void **state)
{
    struct fixture *f = *state;
    struct body b = {.is_open = true};
    int32_t id = request(f, "/test.T/Bidi", &b, NULL, NULL);
    for (unsigned i = 1; i <= 20; i++) {
        frame(&b, 0, 50, 50);
        frame(&b, 0, 20000, 20000);
        nghttp2_session_resume_data(f->client, id);
        UNTIL(f, reply_of(id)->body_size == i * (50 + 20000 + 10));
    }
    assert_int_equal(40, seen.received);
    assert_false(reply_of(id)->has_trailers);
    b.is_open = false;
    nghttp2_session_resume_data(f->client, id);
    UNTIL(f, reply_of(id)->is_closed);
    assert_int_equal(0, reply_of(id)->grpc_status);
    assert_int_equal(1, seen.half_closed);
    assert_int_equal(0, seen.canceled);
    body_done(&b);
}

/* The congestion signal, and the memory when the client gives no window. */
static void test_stream_congestion(void **state)
{
    struct fixture *f = *state;
    seen.stream_left = 1000; /* 10 MB */
    struct body b = {0};
    frame(&b, 0, 1, 1);
    int32_t id = request(f, "/test.T/Stream", &b, NULL, NULL);
    UNTIL(f, reply_of(id)->is_closed);
    assert_int_equal(1000 * 10005, reply_of(id)->body_size);
    assert_int_equal(0, reply_of(id)->grpc_status);
    assert_true(seen.writable > 10);
    body_done(&b);
}

/* A large message is not copied again; messages before and after it keep their place. */
static void test_whole_message_of_a_stream(void **state)
{
    struct fixture *f = *state;
    struct body b = {.is_open = true};
    int32_t id = request(f, "/test.T/Bidi", &b, NULL, NULL);
    frame(&b, 0, 2, 2);
    nghttp2_session_resume_data(f->client, id);
    UNTIL(f, reply_of(id)->body_size == 7);
    struct rpc_call *c = seen.last;
    for (unsigned round = 1; round <= 2; round++) {
        for (unsigned i = 0; i < 4; i++) {
            struct buf whole = {0};
            memset(buf_reserve(&whole, RPC_FRAME_ROOM + (3 << 20)), 7, RPC_FRAME_ROOM + (3 << 20));
            whole.size = RPC_FRAME_ROOM + (3 << 20);
            if (i != 2)
                send_zeros(c, 1000);
            c->transport->send_whole(c, &whole);
            assert_null(whole.data);
            assert_true(c->transport->is_congested(c));
        }
        UNTIL(f, reply_of(id)->body_size == 7 + round * (3 * 1005 + 4 * (5 + (3 << 20))));
        assert_false(c->transport->is_congested(c));
        assert_int_equal(f->server->queued_streams, 0);
    }
    nghttp2_submit_rst_stream(f->client, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    UNTIL(f, seen.canceled == 1);
    body_done(&b);
}

static struct grpc_conn *only_conn(struct fixture *f)
{
    assert_int_equal(1, grpc_server_connections(f->server));
    return container_of(f->server->conns.next, struct grpc_conn, link);
}

static void test_deaf_client(void **state)
{
    struct fixture *f = *state;
    UNTIL(f, only_conn(f)->is_greeted);
    enum { BIGS = 100 };
    struct body b[BIGS + 1] = {0};
    f->is_deaf = true;
    nghttp2_session_set_local_window_size(f->client, 0, 0, 1 << 30);
    for (int i = 0; i < BIGS; i++) {
        frame(&b[i], 0, 1, 1);
        request(f, "/test.T/Big", &b[i], NULL, NULL);
    }
    seen.stream_left = 1000;
    frame(&b[BIGS], 0, 1, 1);
    int32_t id = request(f, "/test.T/Stream", &b[BIGS], NULL, NULL);
    for (int i = 0; i < 300; i++)
        turn(f);
    assert_int_equal(BIGS + 1, seen.started);
    assert_true(seen.received <= 8); /* of 101: the others are held back */
    assert_true(only_conn(f)->queued <= CONN_QUEUE_MAX + (2 << 20));
    assert_true(seen.stream_left > 900);
    f->is_deaf = false;
    UNTIL(f, reply_of(id)->is_closed);
    for (int i = 0; i <= BIGS; i++) {
        UNTIL(f, f->replies[i].is_closed);
        assert_int_equal(0, f->replies[i].grpc_status);
        assert_int_equal(i < BIGS ? (1 << 20) + 5 : 1000 * 10005, f->replies[i].body_size);
        body_done(&b[i]);
    }
    assert_int_equal(0, only_conn(f)->queued);
    assert_int_equal(0, only_conn(f)->partial_bytes);
}

/* The memory of a client that does not read counts, with libuv's part of it. The server closes the client
 * above the limit, and the client reads the reason if it reads again. */
static void test_cut_off(void **state)
{
    struct fixture *f = *state;
    UNTIL(f, only_conn(f)->is_greeted);
    struct body b[8] = {0};
    f->is_deaf = true;
    nghttp2_session_set_local_window_size(f->client, 0, 0, 1 << 30);
    for (int i = 0; i < 8; i++) {
        frame(&b[i], 0, 1, 1);
        request(f, "/test.T/Big", &b[i], NULL, NULL);
    }
    for (int i = 0; i < 300; i++)
        turn(f);
    uint64_t now = server_now(f->server);
    assert_true(f->output.bytes > 4 << 20);
    assert_true(only_conn(f)->write_left > 100000);
    assert_int_equal(only_conn(f)->queued + only_conn(f)->write_left, f->output.bytes);
    f->output.bytes_max = f->output.bytes;
    (void)output_budget_turn(&f->output, now + 2000);
    assert_int_equal(0, f->output.closed[OUTPUT_TOTAL]);
    f->output.bytes_max = 1 << 20;
    (void)output_budget_turn(&f->output, now + 3000);
    assert_int_equal(1, f->output.closed[OUTPUT_TOTAL]);
    assert_int_equal(0, only_conn(f)->queued);
    assert_int_equal(0, only_conn(f)->call_count);
    f->is_deaf = false;
    UNTIL(f, f->goaways);
    assert_int_equal(H2_ENHANCE_YOUR_CALM, f->goaway_code);
    assert_string_equal("too many unread bytes", f->goaway_text);
    UNTIL(f, f->is_gone);
    for (int i = 0; i < 8; i++)
        body_done(&b[i]);
}

static void test_stalled(void **state)
{
    struct fixture *f = *state;
    UNTIL(f, only_conn(f)->is_greeted);
    struct body b[4] = {0};
    f->is_deaf = true;
    nghttp2_session_set_local_window_size(f->client, 0, 0, 1 << 30);
    for (int i = 0; i < 4; i++) {
        frame(&b[i], 0, 1, 1);
        request(f, "/test.T/Big", &b[i], NULL, NULL);
    }
    for (int i = 0; i < 300; i++)
        turn(f);
    f->output.stall_ms = 60000;
    (void)output_budget_turn(&f->output, server_now(f->server) + 50000);
    assert_int_equal(1, grpc_server_connections(f->server));
    (void)output_budget_turn(&f->output, server_now(f->server) + 70000);
    assert_int_equal(1, f->output.closed[OUTPUT_STALLED]);
    UNTIL(f, grpc_server_connections(f->server) == 0);
    for (int i = 0; i < 4; i++)
        body_done(&b[i]);
}

/* A request with one byte now and then is ended; a request that is fast enough is not. */
static void test_slow_request(void **state)
{
    struct fixture *f = *state;
    struct body slow = {.is_open = true}, fast = {.is_open = true};
    static uint8_t bytes[200000];
    buf_add(&slow.bytes, "\0\0\4\0\0a", 6);
    buf_add(&fast.bytes, "\0\0\4\0\0", 5);
    buf_add(&fast.bytes, bytes, sizeof bytes);
    int32_t first = request(f, "/test.T/Echo", &slow, NULL, NULL);
    int32_t second = request(f, "/test.T/Echo", &fast, NULL, NULL);
    UNTIL(f, only_conn(f)->partial_bytes == 1 + sizeof bytes);
    assert_true(heap_contains(&f->server->slow.node));
    uint64_t now = server_now(f->server);
    call_end_slow(only_conn(f), now + PARTIAL_WAIT_MS / 2);
    assert_int_equal(1 + sizeof bytes, only_conn(f)->partial_bytes);
    call_end_slow(only_conn(f), now + PARTIAL_WAIT_MS + 1000);
    UNTIL(f, reply_of(first)->is_closed);
    assert_int_equal(4, reply_of(first)->grpc_status);
    assert_int_equal(sizeof bytes, only_conn(f)->partial_bytes);
    assert_false(reply_of(second)->is_closed);
    call_end_slow(only_conn(f), now + PARTIAL_WAIT_MS + 60000);
    UNTIL(f, reply_of(second)->is_closed);
    assert_int_equal(0, only_conn(f)->partial_bytes);
    body_done(&slow);
    body_done(&fast);
}

/* One huge answer that is read slowly delays no other. */
static void test_slow_reader_may_put(void **state)
{
    struct fixture *f = *state;
    struct body b[4] = {0};
    for (int i = 0; i < 3; i++) { /* the windows of 64 KiB are used up at once: the client never consumes */
        frame(&b[i], 0, 1, 1);
        request(f, "/test.T/Big", &b[i], NULL, NULL);
    }
    UNTIL(f, seen.received == 3);
    assert_true(only_conn(f)->queued_unary <= 3 * (uint64_t)HELD_SHARE_MAX);
    frame(&b[3], 0, 1, 1);
    request(f, "/test.T/Echo", &b[3], NULL, NULL);
    UNTIL(f, seen.received == 4);
    for (int i = 0; i < 4; i++)
        body_done(&b[i]);
}

/* Incomplete requests end when they have too many bytes; the connection stays open. */
static void test_partial_limit(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 50, SIZE = (1 << 20) + (512 << 10) };
    static struct body b[COUNT];
    memset(b, 0, sizeof b);
    for (int i = 0; i < COUNT; i++) {
        b[i].is_open = true;
        frame(&b[i], 0, SIZE, SIZE - 1);
        request(f, "/test.T/Echo", &b[i], NULL, NULL);
    }
    UNTIL(f, seen.canceled == COUNT - CONN_PARTIAL_MAX / SIZE);
    for (int i = 0; i < 50; i++)
        turn(f);
    assert_true(only_conn(f)->partial_bytes <= CONN_PARTIAL_MAX);
    int refused = 0;
    for (int i = 0; i < COUNT; i++) {
        refused += f->replies[i].grpc_status == 8;
        body_done(&b[i]);
    }
    assert_int_equal(COUNT - CONN_PARTIAL_MAX / SIZE, refused);
    assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
}

/* Running requests stop the reading when they have too many bytes, and their answers start it again. */
static void test_running_limit(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 24, SIZE = 1 << 20 };
    static struct body b[COUNT];
    memset(b, 0, sizeof b);
    struct grpc_conn *c = only_conn(f);
    for (unsigned i = 0; i < COUNT; i++) {
        frame(&b[i], 0, SIZE, SIZE);
        request(f, "/test.T/Slow", &b[i], NULL, NULL);
        UNTIL(f, seen.received > i || c->running_bytes > CONN_RUNNING_MAX);
    }
    for (int i = 0; i < 50; i++)
        turn(f);
    assert_false(c->is_reading);
    assert_int_equal(CONN_RUNNING_MAX / SIZE + 1, seen.received);
    for (int done = 0; done < COUNT; turn(f))
        LIST_FOR_EACH_SAFE (l, &c->calls) {
            struct grpc_call *call = container_of(l, struct grpc_call, link);
            if (call->state == CALL_RUNNING && call->is_complete) {
                call->rpc.transport->finish(&call->rpc, 0, NULL);
                done++;
            }
        }
    for (int i = 0; i < COUNT; i++) {
        UNTIL(f, f->replies[i].is_closed);
        assert_int_equal(0, f->replies[i].grpc_status);
        body_done(&b[i]);
    }
    assert_true(c->is_reading);
    assert_int_equal(0, c->running_bytes);
}

/* A stream that could send for ever must not delay a unary call. */
static void test_fairness(void **state)
{
    struct fixture *f = *state;
    struct body b = {0}, big[4] = {0};
    nghttp2_session_set_local_window_size(f->client, 0, 0, 1 << 30);
    nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 28};
    nghttp2_submit_settings(f->client, 0, &window, 1);
    UNTIL(f, only_conn(f)->is_greeted);
    seen.stream_left = 1 << 30;
    frame(&b, 0, 1, 1);
    for (int i = 0; i < 4; i++) {
        frame(&big[i], 0, 1, 1);
        request(f, "/test.T/Stream", &big[i], NULL, NULL);
    }
    UNTIL(f, f->replies[3].body_size > 100000);
    int32_t id = request(f, "/test.T/Echo", &b, NULL, NULL);
    size_t before = f->replies[0].body_size;
    UNTIL(f, reply_of(id)->is_closed);
    assert_true(f->replies[0].body_size - before < 3 << 20);
    body_done(&b);
    for (int i = 0; i < 4; i++)
        body_done(&big[i]);
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    struct body b = {0};
    frame(&b, 0, 10, 10);
    int32_t id = request(f, "/test.T/Slow", &b, NULL, NULL);
    UNTIL(f, seen.received == 1);
    nghttp2_submit_rst_stream(f->client, 0, id, NGHTTP2_CANCEL);
    UNTIL(f, seen.canceled == 1);
    assert_int_equal(0, only_conn(f)->call_count);
    request(f, "/test.T/Slow", NULL, NULL, NULL);
    b.at = 0;
    request(f, "/test.T/Slow", &b, NULL, NULL);
    UNTIL(f, seen.received == 2);
    shutdown(f->fd, SHUT_RDWR);
    UNTIL(f, grpc_server_connections(f->server) == 0);
    assert_int_equal(3, seen.canceled);
    body_done(&b);
}

static void test_deadline(void **state)
{
    struct fixture *f = *state;
    struct body b = {0};
    frame(&b, 0, 10, 10);
    uint64_t start = clock_mono_ms();
    int32_t id = request(f, "/test.T/Slow", &b, "grpc-timeout", "40000u");
    UNTIL(f, seen.received == 1);
    assert_true(seen.last->deadline_ms >= start + 40 && seen.last->deadline_ms < start + 1000);
    UNTIL(f, reply_of(id)->is_closed);
    assert_true(clock_mono_ms() - start >= 39);
    assert_error(reply_of(id), 200, 4, "context deadline exceeded");
    assert_int_equal(1, seen.canceled);
    assert_echo(call(f, "/test.T/Echo", 5, "grpc-timeout", "99999999H"), 5);
    assert_int_equal(1, seen.canceled);
    body_done(&b);
}

static void test_timeout_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"1H", 3600000}, {"2M", 120000},     {"3S", 3000}, {"4m", 4},
                {"1u", 1},       {"4998813u", 4999}, {"1n", 1},    {"99999999n", 100}};
    static const char *const bad[] = {"", "S", "5", "1s", "123456789S", "-1S", "1 S", "1.5S"};
    uint64_t ms;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(0, header_timeout(slice_text(good[i].text), &ms));
        assert_int_equal(good[i].ms, ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_not_equal(0, header_timeout(slice_text(bad[i]), &ms));
}

static void test_drain(void **state)
{
    struct fixture *f = *state;
    struct body b = {0};
    frame(&b, 0, 10, 10);
    int32_t id = request(f, "/test.T/Slow", &b, NULL, NULL);
    UNTIL(f, seen.received == 1);
    grpc_server_drain(f->server);
    UNTIL(f, f->goaways == 2); /* the notice, then after our PING is answered the real one */
    assert_int_equal(NGHTTP2_NO_ERROR, f->goaway_code);
    assert_int_equal(id, f->goaway_last);
    seen.last->transport->finish(seen.last, 0, NULL);
    UNTIL(f, f->is_gone);
    assert_true(reply_of(id)->is_closed);
    assert_int_equal(0, reply_of(id)->grpc_status);
    assert_int_equal(0, seen.canceled);
    close(f->fd);
    UNTIL(f, grpc_server_connections(f->server) == 0);
    f->fd = open("/dev/null", 0);
    body_done(&b);
}

static void test_ping_flood(void **state)
{
    struct fixture *f = *state;
    assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
    for (int i = 0; i < 4; i++) { /* one free after the answer, then two strikes */
        assert_int_equal(0, f->goaways);
        nghttp2_submit_ping(f->client, 0, NULL);
        for (int k = 0; k < 5; k++)
            turn(f);
    }
    UNTIL(f, f->goaways == 1);
    assert_int_equal(NGHTTP2_ENHANCE_YOUR_CALM, f->goaway_code);
    assert_string_equal("too_many_pings", f->goaway_text);
    UNTIL(f, f->is_gone);
}

static void test_allowed_pings(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
        nghttp2_submit_ping(f->client, 0, NULL); /* grpc-go's bandwidth estimate: one after each answer */
        turn(f);
    }
    assert_int_equal(0, f->goaways);
}

static void test_server_keepalive(void **state)
{
    struct fixture *f = *state;
    uint64_t end = clock_mono_ms() + 400;
    for (int turns = 0; clock_mono_ms() < end; turns++) { /* answers: stays, also over long turns */
        turn(f);
        usleep(turns < 6 ? 40000 : 1000);
    }
    assert_false(f->is_gone);
    assert_int_equal(1, grpc_server_connections(f->server));
    f->is_deaf = true;
    UNTIL(f, grpc_server_connections(f->server) == 0);
}

static void test_1000_streams(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 1000 };
    static struct body b[COUNT];
    memset(b, 0, sizeof b);
    for (int i = 0; i < COUNT; i++) {
        b[i].is_open = true;
        frame(&b[i], 0, 30, 30);
        request(f, "/test.T/Bidi", &b[i], NULL, NULL);
    }
    for (int i = 0; i < COUNT; i++)
        UNTIL(f, f->replies[i].body_size == 35);
    for (int i = 0; i < COUNT; i++) {
        b[i].is_open = false;
        nghttp2_session_resume_data(f->client, 2 * i + 1);
    }
    for (int i = 0; i < COUNT; i++) {
        UNTIL(f, f->replies[i].is_closed);
        assert_int_equal(0, f->replies[i].grpc_status);
        body_done(&b[i]);
    }
    assert_int_equal(0, only_conn(f)->call_count);
    assert_int_equal(0, seen.canceled);
}

static uint64_t slow_ns;

/* Each reading of the clock takes half of the share of input. */
static uint64_t slow_clock(void)
{
    return slow_ns += TURN_INPUT_NS / 2;
}

static void slow_turn(struct fixture *f)
{
    struct turn_result r;
    client_write(f);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    turn_enter(TURN_OTHER);
    turn_queue_run();
    turn_end(&r);
    client_read(f);
}

/* Many requests in one read, and turns that have time for a few of them: each is answered once. Then the
 * client disconnects while others of its requests wait. */
static void test_requests_wait_for_a_turn(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 400, MORE = 200 };
    static struct body b[COUNT + MORE];
    memset(b, 0, sizeof b);
    UNTIL(f, only_conn(f)->is_greeted);
    turn_start(slow_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    for (int i = 0; i < COUNT; i++) {
        frame(&b[i], 0, 30, 30);
        request(f, "/test.T/Echo", &b[i], NULL, NULL);
    }
    unsigned waited = 0;
    for (unsigned i = 0; i < 5000 && !f->replies[COUNT - 1].is_closed; i++) {
        slow_turn(f);
        waited += turn_queue_is_waiting();
    }
    assert_true(waited > 5);
    for (int i = 0; i < COUNT; i++) {
        assert_true(f->replies[i].is_closed);
        assert_echo(&f->replies[i], 30);
        body_done(&b[i]);
    }
    for (int i = COUNT; i < COUNT + MORE; i++) {
        frame(&b[i], 0, 30, 30);
        request(f, "/test.T/Echo", &b[i], NULL, NULL);
    }
    for (unsigned i = 0; i < 100 && !turn_queue_is_waiting(); i++)
        slow_turn(f);
    assert_true(turn_queue_is_waiting());
    conn_close(only_conn(f));
    assert_false(turn_queue_is_waiting());
    turn_start(NULL, NULL, NULL);
    for (int i = COUNT; i < COUNT + MORE; i++)
        body_done(&b[i]);
}

/* The clock is read after each large message, and not only after some steps: one is enough for a turn. */
static void test_a_large_message_may_be_all_of_a_turn(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 3 };
    static struct body b[COUNT];
    memset(b, 0, sizeof b);
    UNTIL(f, only_conn(f)->is_greeted);
    for (int i = 0; i < COUNT; i++) {
        frame(&b[i], 0, LARGE_MESSAGE, LARGE_MESSAGE);
        request(f, "/test.T/Echo", &b[i], NULL, NULL);
    }
    turn_start(slow_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    for (unsigned i = 0; i < 100 && !seen.received; i++)
        slow_turn(f);
    assert_int_equal(seen.received, 1);
    for (unsigned i = 0; i < 1000 && !f->replies[COUNT - 1].is_closed; i++)
        slow_turn(f);
    for (int i = 0; i < COUNT; i++) {
        assert_echo(&f->replies[i], LARGE_MESSAGE);
        body_done(&b[i]);
    }
}

/* Small messages of a stream: one frame holds thousands of them, and the clock is looked at between. */
static void test_a_frame_of_small_messages_takes_several_turns(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 3000 };
    UNTIL(f, only_conn(f)->is_greeted);
    struct body b = {.is_open = true};
    int32_t id = request(f, "/test.T/Bidi", &b, NULL, NULL);
    for (int i = 0; i < COUNT; i++)
        frame(&b, 0, 0, 0);
    turn_start(slow_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    for (unsigned i = 0; i < 100 && !seen.received; i++)
        slow_turn(f);
    assert_in_range(seen.received, 1, STREAM_PIECE / 5 + 1);
    for (unsigned i = 0; i < 1000 && seen.received < COUNT; i++)
        slow_turn(f);
    assert_int_equal(seen.received, COUNT);
    turn_start(NULL, NULL, NULL);
    b.is_open = false;
    nghttp2_session_resume_data(f->client, id);
    UNTIL(f, reply_of(id)->is_closed);
    assert_int_equal(0, reply_of(id)->grpc_status);
    assert_int_equal(reply_of(id)->body_size, COUNT * 5);
    body_done(&b);
}

/* A table size that changes in the middle: without it, hand-made trailers would lack the announcement that
 * nghttp2's client requires. */
static void test_table_size_change(void **state)
{
    struct fixture *f = *state;
    assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
    struct body b = {.is_open = true};
    int32_t id = request(f, "/test.T/Bidi", &b, NULL, NULL);
    frame(&b, 0, 3, 3);
    nghttp2_session_resume_data(f->client, id);
    UNTIL(f, reply_of(id)->body_size == 8);
    nghttp2_settings_entry size = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 100};
    nghttp2_submit_settings(f->client, 0, &size, 1);
    turn(f);
    turn(f);
    b.is_open = false;
    nghttp2_session_resume_data(f->client, id);
    UNTIL(f, reply_of(id)->is_closed);
    assert_int_equal(0, reply_of(id)->grpc_status);
    assert_true(reply_of(id)->has_trailers);
    assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
    body_done(&b);
}

static void test_garbage(void **state)
{
    struct fixture *f = *state;
    buf_add_text(&f->to_send, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    while (f->to_send.size)
        turn(f);
    UNTIL(f, grpc_server_connections(f->server) == 0 || f->is_gone);
}

/* Connections of one source without a request make room for each other. */
static void test_sources(void **state)
{
    struct fixture *f = *state;
    int fds[4][2];
    char bytes[256];
    f->sources.source_opening_max = 2;
    assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds[i]));
        grpc_server_adopt(f->server, fds[i][1], NULL, GRPC_ALONE);
        turn(f);
    }
    assert_int_equal(2, f->sources.evicted_opening);
    assert_int_equal(3, grpc_server_connections(f->server));
    for (int i = 0; i < 4; i++) {
        while (recv(fds[i][0], bytes, sizeof bytes, 0) > 0) /* our SETTINGS */
            ;
        assert_int_equal(i < 2 ? 0 : -1, recv(fds[i][0], bytes, 1, 0));
        close(fds[i][0]);
    }
    assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
    UNTIL(f, grpc_server_connections(f->server) == 1);
}

static void test_connection_limit(void **state)
{
    struct fixture *f = *state;
    f->server->options.connections_max = 1;
    int fds[2];
    char byte;
    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    grpc_server_adopt(f->server, fds[1], NULL, GRPC_ALONE);
    assert_int_equal(0, recv(fds[0], &byte, 1, 0));
    close(fds[0]);
    assert_echo(call(f, "/test.T/Echo", 5, NULL, NULL), 5);
}

static void test_stop_cancels(void **state)
{
    struct fixture *f = *state;
    struct body b = {0};
    frame(&b, 0, 10, 10);
    request(f, "/test.T/Slow", &b, NULL, NULL);
    UNTIL(f, seen.received == 1);
    body_done(&b); /* teardown stops the server with the call still running */
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the daemon */
    const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        TEST(test_unary),
        cmocka_unit_test_setup_teardown(test_unary, setup_tls, teardown),
        cmocka_unit_test_setup_teardown(test_byte_by_byte, setup_tls, teardown),
        cmocka_unit_test_setup_teardown(test_stream_congestion, setup_tls, teardown),
        cmocka_unit_test_setup_teardown(test_whole_message_of_a_stream, setup_tls, teardown),
        cmocka_unit_test_setup_teardown(test_deaf_client, setup_tls, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup_tls, teardown),
        cmocka_unit_test_setup_teardown(test_drain, setup_tls, teardown),
        cmocka_unit_test_setup_teardown(test_ping_flood, setup_tls, teardown),
        TEST(test_metadata),
        TEST(test_status),
        TEST(test_refused_headers),
        TEST(test_bad_messages),
        TEST(test_gzip),
        TEST(test_byte_by_byte),
        TEST(test_bidi),
        TEST(test_stream_congestion),
        TEST(test_whole_message_of_a_stream),
        TEST(test_deaf_client),
        TEST(test_cut_off),
        TEST(test_slow_request),
        TEST(test_stalled),
        cmocka_unit_test_setup_teardown(test_slow_reader_may_put, setup_lazy, teardown),
        TEST(test_partial_limit),
        TEST(test_running_limit),
        TEST(test_fairness),
        TEST(test_cancel),
        TEST(test_deadline),
        cmocka_unit_test(test_timeout_units),
        TEST(test_drain),
        TEST(test_ping_flood),
        TEST(test_allowed_pings),
        cmocka_unit_test_setup_teardown(test_server_keepalive, setup_keepalive, teardown),
        TEST(test_1000_streams),
        TEST(test_requests_wait_for_a_turn),
        TEST(test_a_large_message_may_be_all_of_a_turn),
        TEST(test_a_frame_of_small_messages_takes_several_turns),
        cmocka_unit_test_setup_teardown(test_requests_wait_for_a_turn, setup_tls, teardown),
        TEST(test_table_size_change),
        TEST(test_garbage),
        TEST(test_connection_limit),
        TEST(test_sources),
        TEST(test_stop_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
