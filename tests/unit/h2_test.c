/* SPDX-License-Identifier: Apache-2.0
 * Tests of server/grpc's HTTP/2 against bytes that no honest client sends, frame by frame, and of its header
 * blocks against nghttp2's decoder. grpc_test.c tests honest clients. */
#include "tests/unit/h2_wire.h"

/* A request's fields, by literals. */
static void request_block(struct buf *b, const char *path)
{
    buf_add_byte(b, 0x83); /* :method POST */
    hpack_add_literal(b, ":path", slice_text(path));
    hpack_add_literal(b, "content-type", slice_text("application/grpc"));
}
static void add_request(struct wire *w, uint32_t stream_id, const char *path)
{
    struct buf b = {0};
    request_block(&b, path);
    add(w, FRAME_HEADERS, FRAME_END_HEADERS, stream_id, b.data, b.size);
    buf_done(&b);
}
#define PATH_ECHO "/test.T/Echo"
#define MESSAGE3  "\0\0\0\0\3abc"

/* --- frames that end a connection, a stream, or nothing ------------------------------------------------- */
struct trial {
    const char *name;
    int goaway, reset;
    uint8_t type, flags;
    uint32_t stream_id; /* 1: a call that is open, 3: one that has ended, 5 and more: not begun */
    const char *payload;
    size_t size;
};
#define P(literal) literal, sizeof(literal) - 1
static const struct trial trials[] = {
    {"nothing wrong", -1, -1, FRAME_PING, 0, 0, P("12345678")},
    {"DATA of stream 0", H2_PROTOCOL_ERROR, -1, FRAME_DATA, 0, 0, P("x")},
    {"DATA of an idle stream", H2_PROTOCOL_ERROR, -1, FRAME_DATA, 0, 9, P("x")},
    {"DATA of an ended stream", -1, H2_STREAM_CLOSED, FRAME_DATA, 0, 3, P("x")},
    {"too much padding", H2_PROTOCOL_ERROR, -1, FRAME_DATA, FRAME_PADDED, 1, P("\3xx")},
    {"no padding length", H2_FRAME_SIZE_ERROR, -1, FRAME_DATA, FRAME_PADDED, 1, P("")},
    {"HEADERS of stream 0", H2_PROTOCOL_ERROR, -1, FRAME_HEADERS, FRAME_END_HEADERS, 0, P("\x83")},
    {"HEADERS of an even stream", H2_PROTOCOL_ERROR, -1, FRAME_HEADERS, FRAME_END_HEADERS, 6, P("\x83")},
    {"a second HEADERS without end", -1, H2_PROTOCOL_ERROR, FRAME_HEADERS, FRAME_END_HEADERS, 1, P("\x83")},
    {"HEADERS of an ended stream", H2_STREAM_CLOSED, -1, FRAME_HEADERS, FRAME_END_HEADERS, 3, P("\x83")},
    {"padding longer than HEADERS", H2_PROTOCOL_ERROR, -1, FRAME_HEADERS, FRAME_PADDED | FRAME_END_HEADERS, 5,
     P("\x09\x83")},
    {"no room for the priority", H2_PROTOCOL_ERROR, -1, FRAME_HEADERS, FRAME_HAS_PRIORITY | FRAME_END_HEADERS,
     5, P("\0\0")},
    {"an index beyond the table", H2_COMPRESSION_ERROR, -1, FRAME_HEADERS, FRAME_END_HEADERS, 5,
     P("\xff\x7f")},
    {"half a field", H2_COMPRESSION_ERROR, -1, FRAME_HEADERS, FRAME_END_HEADERS, 5, P("\x00\x05xy")},
    {"a CONTINUATION of nothing", H2_PROTOCOL_ERROR, -1, FRAME_CONTINUATION, FRAME_END_HEADERS, 1, P("\x83")},
    {"a short PRIORITY", H2_FRAME_SIZE_ERROR, -1, FRAME_PRIORITY, 0, 1, P("1234")},
    {"PRIORITY", -1, -1, FRAME_PRIORITY, 0, 7, P("12345")},
    {"RST_STREAM of stream 0", H2_PROTOCOL_ERROR, -1, FRAME_RST_STREAM, 0, 0, P("\0\0\0\0")},
    {"RST_STREAM of an idle stream", H2_PROTOCOL_ERROR, -1, FRAME_RST_STREAM, 0, 5, P("\0\0\0\0")},
    {"a short RST_STREAM", H2_FRAME_SIZE_ERROR, -1, FRAME_RST_STREAM, 0, 1, P("\0\0\0")},
    {"RST_STREAM of an ended stream", -1, -1, FRAME_RST_STREAM, 0, 3, P("\0\0\0\0")},
    {"SETTINGS of a stream", H2_PROTOCOL_ERROR, -1, FRAME_SETTINGS, 0, 1, P("")},
    {"SETTINGS cut short", H2_FRAME_SIZE_ERROR, -1, FRAME_SETTINGS, 0, 0, P("\0\3\0\0\0")},
    {"an acknowledgement with settings", H2_FRAME_SIZE_ERROR, -1, FRAME_SETTINGS, FRAME_ACK, 0,
     P("\0\3\0\0\0\1")},
    {"ENABLE_PUSH 2", H2_PROTOCOL_ERROR, -1, FRAME_SETTINGS, 0, 0, P("\0\2\0\0\0\2")},
    {"a window of 2^31", H2_FLOW_CONTROL_ERROR, -1, FRAME_SETTINGS, 0, 0, P("\0\4\x80\0\0\0")},
    {"MAX_FRAME_SIZE 16383", H2_PROTOCOL_ERROR, -1, FRAME_SETTINGS, 0, 0, P("\0\5\0\0\x3f\xff")},
    {"MAX_FRAME_SIZE 2^24", H2_PROTOCOL_ERROR, -1, FRAME_SETTINGS, 0, 0, P("\0\5\1\0\0\0")},
    {"an unknown setting", -1, -1, FRAME_SETTINGS, 0, 0, P("\0\x63\1\0\0\0")},
    {"PUSH_PROMISE", H2_PROTOCOL_ERROR, -1, FRAME_PUSH_PROMISE, FRAME_END_HEADERS, 1, P("\0\0\0\2\x83")},
    {"PING of a stream", H2_PROTOCOL_ERROR, -1, FRAME_PING, 0, 1, P("12345678")},
    {"a short PING", H2_FRAME_SIZE_ERROR, -1, FRAME_PING, 0, 0, P("1234567")},
    {"GOAWAY of a stream", H2_PROTOCOL_ERROR, -1, FRAME_GOAWAY, 0, 1, P("\0\0\0\0\0\0\0\0")},
    {"a short GOAWAY", H2_FRAME_SIZE_ERROR, -1, FRAME_GOAWAY, 0, 0, P("\0\0\0\0\0\0\0")},
    {"WINDOW_UPDATE of nothing", H2_PROTOCOL_ERROR, -1, FRAME_WINDOW_UPDATE, 0, 0, P("\0\0\0\0")},
    {"a stream's WINDOW_UPDATE of nothing", -1, H2_PROTOCOL_ERROR, FRAME_WINDOW_UPDATE, 0, 1, P("\0\0\0\0")},
    {"too large a window", H2_FLOW_CONTROL_ERROR, -1, FRAME_WINDOW_UPDATE, 0, 0, P("\x7f\xff\xff\xff")},
    {"too large a window of a stream", -1, H2_FLOW_CONTROL_ERROR, FRAME_WINDOW_UPDATE, 0, 1,
     P("\x7f\xff\xff\xff")},
    {"WINDOW_UPDATE of an idle stream", H2_PROTOCOL_ERROR, -1, FRAME_WINDOW_UPDATE, 0, 5, P("\0\0\0\1")},
    {"WINDOW_UPDATE of an ended stream", -1, -1, FRAME_WINDOW_UPDATE, 0, 3, P("\0\0\0\1")},
    {"a short WINDOW_UPDATE", H2_FRAME_SIZE_ERROR, -1, FRAME_WINDOW_UPDATE, 0, 1, P("\0\0\1")},
    {"a frame nobody knows", -1, -1, 0x77, 0xff, 1, P("whatever")},
};

static void run_trial(struct fixture *f, const struct trial *t, size_t step)
{
    struct wire w;
    wire_open(&w, f);
    seen.canceled = 0;
    add_request(&w, 1, "/test.T/Slow");
    add_request(&w, 3, PATH_ECHO);
    ADD(&w, FRAME_DATA, FRAME_END_STREAM, 3, MESSAGE3);
    feed(&w, step);
    assert_int_equal(1, w.conn->call_count);
    add(&w, t->type, t->flags, t->stream_id, t->payload, t->size);
    ADD(&w, FRAME_PING, 0, 0, "87654321");
    feed(&w, step);
    if (w.goaway != t->goaway || w.reset != t->reset)
        fail_msg("%s: GOAWAY %d, RST_STREAM %d", t->name, w.goaway, w.reset);
    bool is_alive = t->goaway == -1;
    assert_int_equal(is_alive ? 1 + (t->type == FRAME_PING) : 0, w.pings);
    assert_int_equal(!is_alive, h2_is_over(w.conn));
    if (t->reset != -1) {
        assert_int_equal(t->stream_id, w.reset_stream);
        assert_int_equal(t->stream_id == 1, seen.canceled);
    }
    wire_close(&w);
    assert_int_equal(1, seen.canceled);
}

static void test_trials(void **state)
{
    static const size_t steps[] = {1 << 20, 1, 7};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++)
        for (size_t i = 0; i < sizeof trials / sizeof *trials; i++)
            run_trial(*state, &trials[i], steps[s]);
}

static void test_preface(void **state)
{
    struct wire w;
    wire_open(&w, *state);
    w.to.data[20] ^= 1;
    feed(&w, 5);
    assert_int_equal(ERR_MALFORMED, w.err);
    wire_close(&w);

    wire_open(&w, *state);
    w.to.size = H2_PREFACE_SIZE;
    ADD(&w, FRAME_PING, 0, 0, "12345678");
    feed(&w, 100);
    assert_int_equal(H2_PROTOCOL_ERROR, w.goaway); /* SETTINGS come first */
    wire_close(&w);
}

static void test_frame_too_large(void **state)
{
    static const uint8_t zeros[FRAME_MAX + 1];
    for (uint8_t type = FRAME_DATA; type <= FRAME_CONTINUATION + 1; type++) {
        struct wire w;
        wire_open(&w, *state);
        add(&w, type, 0, 1, zeros, sizeof zeros);
        feed(&w, 1 << 20);
        assert_int_not_equal(-1, w.goaway);
        wire_close(&w);
    }
}

/* --- header blocks ------------------------------------------------------------------------------------- */
static void test_continuations(void **state)
{
    struct wire w;
    struct buf b = {0};
    request_block(&b, PATH_ECHO);
    wire_open(&w, *state);
    add(&w, FRAME_HEADERS, 0, 1, b.data, 3);
    add(&w, FRAME_CONTINUATION, 0, 1, b.data + 3, 0);
    add(&w, FRAME_CONTINUATION, FRAME_END_HEADERS, 1, b.data + 3, b.size - 3);
    ADD(&w, FRAME_DATA, FRAME_END_STREAM | FRAME_PADDED, 1, "\2\0\0\0\0\3abc\0\0");
    feed(&w, 4);
    assert_string_equal("0", w.last_status);
    assert_int_equal(8, w.data);
    add(&w, FRAME_HEADERS, 0, 3, b.data, b.size);
    ADD(&w, FRAME_PING, 0, 0, "12345678"); /* not in between */
    feed(&w, 100);
    assert_int_equal(H2_PROTOCOL_ERROR, w.goaway);
    wire_close(&w);

    wire_open(&w, *state);
    add(&w, FRAME_HEADERS, 0, 1, b.data, b.size);
    for (int i = 0; i <= CONTINUATIONS_MAX; i++)
        ADD(&w, FRAME_CONTINUATION, 0, 1, "");
    feed(&w, 100);
    assert_int_equal(H2_ENHANCE_YOUR_CALM, w.goaway);
    wire_close(&w);
    buf_done(&b);
}

/* A list that is too long costs its stream only: the table is followed to the end of the block. */
static void test_header_list_limit(void **state)
{
    struct wire w;
    struct buf b = {0};
    static char text[1000];
    memset(text, 'x', sizeof text - 1);
    request_block(&b, PATH_ECHO);
    for (int i = 0; i < 70; i++)
        hpack_add_literal(&b, "padding", slice_text(text));
    wire_open(&w, *state);
    frame_add_block(&w.to, 1, 0, buf_slice(&b));
    add_request(&w, 3, PATH_ECHO);
    ADD(&w, FRAME_DATA, FRAME_END_STREAM, 3, MESSAGE3);
    feed(&w, 1 << 20);
    assert_int_equal(H2_ENHANCE_YOUR_CALM, w.reset);
    assert_int_equal(1, w.reset_stream);
    assert_int_equal(-1, w.goaway);
    assert_string_equal("0", w.last_status);
    wire_close(&w);
    buf_done(&b);
}

/* nghttp2 follows our table, in any order of answers and with changes of its size. */
static void test_said(void **state)
{
    (void)state;
    for (unsigned plan = 0; plan < 4096; plan++) {
        struct hpack_state said = {0};
        struct wire w = {0};
        nghttp2_hd_inflate_new(&w.inflater);
        for (unsigned i = 0; i < 6; i++) {
            uint8_t frame_bytes[128];
            unsigned what = plan >> 2 * i & 3;
            size_t n;
            if (what == 3) {
                assert_int_equal(0, nghttp2_hd_inflate_change_table_size(w.inflater, plan % 2 ? 100 : 0));
                hpack_table_changed(&said);
                continue;
            }
            n = what == 2 ? frame_write_trailers_ok(frame_bytes, &said, 1)
                          : frame_write_headers_ok(frame_bytes, &said, 1, what);
            w.last_status[0] = 0;
            read_block(&w, slice_of(frame_bytes + FRAME_HEAD, n - FRAME_HEAD));
            assert_string_equal(what == 2 ? "0" : "", w.last_status);
        }
        nghttp2_hd_inflate_del(w.inflater);
    }
}

static void test_long_block(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, FRAME_MAX - 1, FRAME_MAX, FRAME_MAX + 1, 2 * FRAME_MAX, 50000};
    static uint8_t block[50000];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf out = {0};
        frame_add_block(&out, 7, FRAME_END_STREAM, slice_of(block, sizes[i]));
        size_t total = 0, frames = 0;
        for (size_t at = 0; at < out.size; frames++) {
            struct frame f = frame_read_head(out.data + at);
            total += f.size;
            at += FRAME_HEAD + f.size;
            assert_int_equal(frames ? FRAME_CONTINUATION : FRAME_HEADERS, f.type);
            assert_int_equal(at == out.size, (f.flags & FRAME_END_HEADERS) != 0);
            assert_int_equal(frames == 0, (f.flags & FRAME_END_STREAM) != 0);
            assert_true(f.size <= FRAME_MAX && f.stream_id == 7);
        }
        assert_int_equal(sizes[i], total);
        buf_done(&out);
    }
}

/* --- windows ------------------------------------------------------------------------------------------- */
static void test_windows_out(void **state)
{
    struct wire w;
    wire_open(&w, *state);
    ADD(&w, FRAME_SETTINGS, 0, 0, "\0\4\0\0\0\x0a"); /* ten bytes a stream */
    add_request(&w, 1, "/test.T/Big");
    ADD(&w, FRAME_DATA, FRAME_END_STREAM, 1, MESSAGE3);
    feed(&w, 100);
    assert_int_equal(10, w.data);
    ADD(&w, FRAME_SETTINGS, 0, 0, "\0\4\0\0\0\x05"); /* five below */
    ADD(&w, FRAME_WINDOW_UPDATE, 0, 1, "\0\0\0\5");
    feed(&w, 100);
    assert_int_equal(10, w.data);
    ADD(&w, FRAME_WINDOW_UPDATE, 0, 1, "\0\0\0\1");
    feed(&w, 100);
    assert_int_equal(11, w.data);
    ADD(&w, FRAME_WINDOW_UPDATE, 0, 1, "\x00\x20\0\0");
    feed(&w, 100);
    assert_int_equal(WINDOW_DEFAULT, w.data); /* now it is the connection's */
    assert_int_equal(0, w.ended);
    ADD(&w, FRAME_WINDOW_UPDATE, 0, 0, "\x00\x20\0\0");
    feed(&w, 100);
    assert_int_equal((1 << 20) + 5, w.data);
    assert_int_equal(1, w.ended);
    assert_int_equal(0, w.conn->call_count);
    wire_close(&w);
}

static void test_windows_in(void **state)
{
    static const uint8_t zeros[FRAME_MAX] = {0, 0, 0x17, 0xff, 0};
    struct wire w;
    wire_open(&w, *state);
    add_request(&w, 1, "/test.T/Slow");
    feed(&w, 1 << 20);
    assert_int_equal(1, w.windows); /* the connection's, at the beginning */
    for (size_t n = 0; n < STREAM_WINDOW / 2; n += sizeof zeros)
        add(&w, FRAME_DATA, 0, 1, zeros, sizeof zeros);
    feed(&w, 100000);
    assert_int_equal(2, w.windows);
    assert_int_equal(0, w.conn->h2.received % FRAME_MAX);
    assert_int_equal(-1, w.goaway);
    wire_close(&w);
}

/* --- floods -------------------------------------------------------------------------------------------- */
static void test_reset_flood(void **state)
{
    struct wire w;
    wire_open(&w, *state);
    feed(&w, 100);
    for (uint32_t i = 0; i < RESET_BURST + RESET_BURST / 2 && w.goaway == -1; i++) {
        add_request(&w, 2 * i + 1, "/test.T/Slow");
        ADD(&w, FRAME_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x08");
        feed(&w, 1 << 20);
        assert_true(i < RESET_BURST || w.conn->call_count == 0);
    }
    assert_int_equal(H2_ENHANCE_YOUR_CALM, w.goaway);
    wire_close(&w);
}

/* Frames that request nothing: a client may send some, and then gets ENHANCE_YOUR_CALM. */
static void test_idle_frames(void **state)
{
    static const struct {
        const char *name;
        uint8_t type, flags;
        uint32_t stream_id; /* 1: a call that runs, 3: one that the server has reset */
        const char *payload;
        size_t size;
    } floods[] = {
        {"SETTINGS", FRAME_SETTINGS, 0, 0, P("")},
        {"acknowledged SETTINGS", FRAME_SETTINGS, FRAME_ACK, 0, P("")},
        {"answered PINGs", FRAME_PING, FRAME_ACK, 0, P("12345678")},
        {"PRIORITY", FRAME_PRIORITY, 0, 1, P("\0\0\0\0\x10")},
        {"empty DATA", FRAME_DATA, 0, 1, P("")},
        {"trailers of a stream that was reset", FRAME_HEADERS, FRAME_END_HEADERS, 3, P("")},
        {"frames nobody knows", 0x77, 0, 1, P("")},
    };
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        struct wire w;
        unsigned sent = 0;
        wire_open(&w, *state);
        add_request(&w, 1, "/test.T/Slow");
        add_request(&w, 3, PATH_ECHO);
        add(&w, FRAME_DATA, FRAME_END_STREAM, 3, MESSAGE3, sizeof MESSAGE3 - 1);
        add(&w, FRAME_DATA, 0, 3, "x", 1);
        feed(&w, 1 << 20);
        for (; sent < 3 * IDLE_FRAME_BURST && w.goaway == -1; sent += 100) {
            for (int n = 0; n < 100; n++)
                add(&w, floods[i].type, floods[i].flags, floods[i].stream_id, floods[i].payload,
                    floods[i].size);
            feed(&w, 1 << 20);
        }
        if (w.goaway != H2_ENHANCE_YOUR_CALM || sent < IDLE_FRAME_BURST)
            fail_msg("%s: after %u frames: %d", floods[i].name, sent, w.goaway);
        wire_close(&w);
    }
}

/* A change of the windows of many calls is work: its cost is their number. */
static void test_window_settings(void **state)
{
    enum { CALLS = 2000 };
    struct wire w;
    unsigned changes = 0;
    wire_open(&w, *state);
    for (uint32_t i = 0; i < CALLS; i++)
        add_request(&w, 2 * i + 1, "/test.T/Slow");
    feed(&w, 1 << 20);
    for (; changes < 10000 && w.goaway == -1; changes++) {
        if (changes % 2)
            ADD(&w, FRAME_SETTINGS, 0, 0, "\0\4\0\0\0\0\0\4\0\1\0\0"); /* the second one counts */
        else
            ADD(&w, FRAME_SETTINGS, 0, 0, "\0\4\0\2\0\0");
        feed(&w, 1 << 20);
        if (w.goaway == -1)
            assert_int_equal(changes % 2 ? 0x10000 : 0x20000, h2_find(w.conn, 1)->window);
    }
    assert_int_equal(H2_ENHANCE_YOUR_CALM, w.goaway);
    assert_true(changes >= 10 && changes < 1000);
    wire_close(&w);
}

static void test_streams_limit(void **state)
{
    struct fixture *f = *state;
    struct wire w;
    f->server->options.streams_max = 2;
    wire_open(&w, f);
    for (uint32_t id = 1; id <= 5; id += 2)
        add_request(&w, id, "/test.T/Slow");
    feed(&w, 100);
    assert_int_equal(H2_REFUSED_STREAM, w.reset);
    assert_int_equal(5, w.reset_stream);
    assert_int_equal(2, w.conn->call_count);
    wire_close(&w);
}

/* The server closes a client that sends requests and does not read the answers; it does not buffer for it. */
static void test_unread_acks(void **state)
{
    struct wire w;
    wire_open(&w, *state);
    while (!w.err) {
        assert_true(w.to.size < 10 * RARE_BYTES_MAX);
        ADD(&w, FRAME_PING, 0, 0, "12345678");
        w.err = h2_feed(w.conn, buf_slice(&w.to));
        w.to.size = 0;
        assert_true(w.conn->h2.out.size < 2 * RARE_BYTES_MAX);
        w.conn->ping_strikes = 0; /* this is not what this test is about */
        w.conn->is_ping_free = true;
    }
    assert_int_equal(ERR_MALFORMED, w.err);
    wire_close(&w);
}

/* After our GOAWAY new streams are ignored, but their header blocks are still decoded. */
static void test_leaving(void **state)
{
    struct wire w;
    wire_open(&w, *state);
    add_request(&w, 1, "/test.T/Slow");
    feed(&w, 100);
    conn_drain(w.conn);
    ADD(&w, FRAME_PING, FRAME_ACK, 0, "\0\0\0\0\0\0\0\0");
    feed(&w, 100);
    assert_int_equal(H2_NO_ERROR, w.goaway);
    assert_int_equal(1, w.goaway_last);
    unsigned started = seen.started;
    add_request(&w, 3, PATH_ECHO);
    feed(&w, 100);
    assert_int_equal(started, seen.started);
    assert_false(h2_is_over(w.conn));
    ADD(&w, FRAME_RST_STREAM, 0, 1, "\0\0\0\x08");
    feed(&w, 100);
    assert_true(h2_is_over(w.conn));
    wire_close(&w);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        TEST(test_trials),
        TEST(test_preface),
        TEST(test_frame_too_large),
        TEST(test_continuations),
        TEST(test_header_list_limit),
        cmocka_unit_test(test_said),
        cmocka_unit_test(test_long_block),
        TEST(test_windows_out),
        TEST(test_windows_in),
        TEST(test_reset_flood),
        TEST(test_idle_frames),
        TEST(test_window_settings),
        TEST(test_streams_limit),
        TEST(test_unread_acks),
        TEST(test_leaving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
