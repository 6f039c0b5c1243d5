/* SPDX-License-Identifier: Apache-2.0
 * Tests of the bytes on a connection between members: frames in any pieces, the frames that each stage
 * accepts, hellos.
 * peer_wire_test --corpus DIR writes the corpus of tests/fuzz/peer_wire_fuzz.c. */
#include "consensus/peer/peer_wire.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/peer/peer.h"
#include "tests/unit/unit.h"

static const struct wire_hello hello = {.version = WIRE_VERSION,
                                        .stream = PEER_STREAM_BULK,
                                        .level = 0xf0f0,
                                        .cluster_id = UINT64_C(0x1122334455667788),
                                        .from = 1,
                                        .to = UINT64_MAX - 1,
                                        .run = 7,
                                        .number = 8,
                                        .nonce = "a nonce has thirty-two bytes..."};

static int take(const struct buf *b, enum wire_stage stage, struct wire_frame *ret)
{
    struct slice in = buf_slice(b);
    return wire_take(&in, stage, ret);
}

static void test_frames_in_pieces(void **state)
{
    (void)state;
    struct buf b = {0};
    struct wire_frame f;
    wire_add_frame(&b, WIRE_MESSAGE, slice_text("head "), slice_text("and body"));
    wire_add_frame(&b, WIRE_MESSAGE, (struct slice){0}, (struct slice){0});
    wire_add_time(&b, WIRE_PING, 12345);
    size_t first = WIRE_HEADER_SIZE + 13;
    for (size_t n = 0; n < first; n++) {
        struct slice in = slice_of(b.data, n);
        assert_int_equal(wire_take(&in, WIRE_AWAIT_MESSAGES, &f), 0);
        assert_int_equal(in.size, n);
    }
    struct slice in = buf_slice(&b);
    assert_int_equal(wire_take(&in, WIRE_AWAIT_MESSAGES, &f), 1);
    assert_true(f.kind == WIRE_MESSAGE && slice_equal(f.payload, slice_text("head and body")));
    assert_int_equal(wire_take(&in, WIRE_AWAIT_MESSAGES, &f), 1);
    assert_int_equal(f.payload.size, 0);
    assert_int_equal(wire_take(&in, WIRE_AWAIT_MESSAGES, &f), 1);
    assert_true(f.kind == WIRE_PING && get_le64(f.payload.data) == 12345);
    assert_int_equal(in.size, 0);
    assert_int_equal(wire_take(&in, WIRE_AWAIT_MESSAGES, &f), 0);
    buf_done(&b);
}

/* Every single flipped bit is detected, at the latest when the frame is whole. */
static void test_every_bit_counts(void **state)
{
    (void)state;
    struct buf b = {0};
    struct wire_frame f;
    wire_add_frame(&b, WIRE_MESSAGE, slice_text("bytes that must not change"), (struct slice){0});
    for (size_t bit = 0; bit < b.size * 8; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(take(&b, WIRE_AWAIT_MESSAGES, &f),
                         bit / 8 < WIRE_HEADER_SIZE ? ERR_MALFORMED : ERR_CORRUPT);
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(take(&b, WIRE_AWAIT_MESSAGES, &f), 1);
    buf_done(&b);
}

/* A header alone, with a valid checksum. */
static void add_header(struct buf *b, unsigned kind, size_t size)
{
    uint8_t *p = buf_reserve(b, WIRE_HEADER_SIZE);
    put_le32(p, (uint32_t)size | (uint32_t)kind << 24);
    put_le32(p + 4, 0);
    put_le32(p + 8, crc32c(0, p, 8));
    b->size += WIRE_HEADER_SIZE;
}

static void test_frames_of_each_stage(void **state)
{
    (void)state;
    struct wire_frame f;
    static const struct {
        enum wire_stage stage;
        enum wire_kind kind;
        size_t limit;
    } allowed[] = {
        {WIRE_AWAIT_HELLO, WIRE_HELLO, 2228},
        {WIRE_AWAIT_CHALLENGE, WIRE_CHALLENGE, 256},
        {WIRE_AWAIT_CHALLENGE, WIRE_HELLO_REPLY, 256},
        {WIRE_AWAIT_PROOF, WIRE_PROOF, 32},
        {WIRE_AWAIT_REPLY, WIRE_HELLO_REPLY, 256},
        {WIRE_AWAIT_MESSAGES, WIRE_MESSAGE, PEER_MESSAGE_MAX},
        {WIRE_AWAIT_MESSAGES, WIRE_PING, 8},
        {WIRE_AWAIT_PONGS, WIRE_PONG, 8},
        {WIRE_AWAIT_QUERY, WIRE_QUERY, 32 + PEER_QUERY_MAX},
        {WIRE_AWAIT_ANSWER, WIRE_ANSWER, PEER_QUERY_MAX},
        {WIRE_AWAIT_ANSWER, WIRE_HELLO_REPLY, 256},
        {WIRE_AWAIT_CONFIRM, WIRE_CONFIRM, 80},
        {WIRE_AWAIT_CONFIRMED, WIRE_CONFIRMED, 32},
        {WIRE_AWAIT_CONFIRMED, WIRE_HELLO_REPLY, 256},
    };
    for (unsigned stage = WIRE_AWAIT_HELLO; stage <= WIRE_AWAIT_NOTHING; stage++)
        for (unsigned kind = 0; kind < 256; kind++) {
            size_t limit = 0;
            bool is_allowed = false;
            for (size_t i = 0; i < COUNT_OF(allowed); i++)
                if (allowed[i].stage == stage && allowed[i].kind == kind) {
                    limit = allowed[i].limit;
                    is_allowed = true;
                }
            struct buf b = {0};
            add_header(&b, kind, is_allowed ? limit : 1);
            assert_int_equal(take(&b, (enum wire_stage)stage, &f), is_allowed ? 0 : ERR_MALFORMED);
            buf_clear(&b);
            add_header(&b, kind, limit + 1);
            assert_int_equal(take(&b, (enum wire_stage)stage, &f), is_allowed ? ERR_LIMIT : ERR_MALFORMED);
            buf_done(&b);
        }
    struct buf b = {0};
    static const struct {
        enum wire_stage stage;
        enum wire_kind kind;
    } sized[] = {{WIRE_AWAIT_MESSAGES, WIRE_PING},
                 {WIRE_AWAIT_PROOF, WIRE_PROOF},
                 {WIRE_AWAIT_QUERY, WIRE_QUERY},
                 {WIRE_AWAIT_CONFIRMED, WIRE_CONFIRMED}};
    for (size_t i = 0; i < COUNT_OF(sized); i++) {
        wire_add_frame(&b, sized[i].kind, slice_text("short"), (struct slice){0});
        assert_int_equal(take(&b, sized[i].stage, &f), ERR_MALFORMED);
        buf_clear(&b);
    }
    wire_add_frame(&b, WIRE_CONFIRMED, (struct slice){0}, (struct slice){0}); /* no */
    assert_int_equal(take(&b, WIRE_AWAIT_CONFIRMED, &f), 1);
    buf_done(&b);
}

static void test_hello(void **state)
{
    (void)state;
    struct buf b = {0};
    struct wire_frame f;
    struct wire_hello h = hello, back;
    h.urls = slice_text("http://10.0.0.1:2380,http://10.0.0.2:2380");
    wire_add_hello(&b, &h);
    assert_int_equal(take(&b, WIRE_AWAIT_HELLO, &f), 1);
    assert_int_equal(wire_read_hello(f.payload, &back), OK);
    assert_true(back.version == h.version && back.stream == h.stream && back.level == h.level);
    assert_true(back.cluster_id == h.cluster_id && back.from == h.from && back.to == h.to);
    assert_true(back.run == h.run && back.number == h.number && slice_equal(back.urls, h.urls));
    assert_memory_equal(back.nonce, h.nonce, sizeof h.nonce);
    struct buf payload = {0};
    buf_add_slice(&payload, f.payload);
    for (size_t n = 0; n < payload.size; n++)
        assert_int_equal(wire_read_hello(slice_of(payload.data, n), &back), ERR_MALFORMED);
    buf_add_text(&payload, "what a later version adds");
    assert_int_equal(wire_read_hello(buf_slice(&payload), &back), OK);
    payload.data[10] = 9; /* an unknown stream */
    assert_int_equal(wire_read_hello(buf_slice(&payload), &back), ERR_MALFORMED);
    payload.data[8] = 3; /* another version: nothing else is known about it */
    assert_int_equal(wire_read_hello(slice_of(payload.data, 10), &back), OK);
    assert_true(back.version == 3 && back.from == 0);
    payload.data[3] ^= 1;
    assert_int_equal(wire_read_hello(buf_slice(&payload), &back), ERR_MALFORMED);
    buf_done(&payload);
    buf_done(&b);
}

static void test_reply(void **state)
{
    (void)state;
    struct buf b = {0};
    struct wire_frame f;
    struct wire_reply r = {WIRE_VERSION, WIRE_REMOVED, 5, 6, 7}, back;
    wire_add_reply(&b, &r);
    assert_int_equal(take(&b, WIRE_AWAIT_REPLY, &f), 1);
    assert_int_equal(wire_read_reply(f.payload, &back), OK);
    assert_true(back.version == r.version && back.reason == r.reason && back.level == r.level);
    assert_true(back.cluster_id == r.cluster_id && back.member_id == r.member_id);
    assert_int_equal(wire_read_reply(slice_of(f.payload.data, f.payload.size - 1), &back), ERR_MALFORMED);
    for (int i = 0; i < 300; i++)
        assert_true(strlen(wire_reason_text((enum wire_reason)i)) > 3);
    buf_done(&b);
}

static void test_challenge_and_confirm(void **state)
{
    (void)state;
    struct buf b = {0};
    struct wire_frame f;
    struct wire_challenge c = {.version = WIRE_VERSION, .nonce = "nonce", .mac = "mac"}, c_back;
    struct wire_confirm q = {.stream = PEER_STREAM_BULK,
                             .cluster_id = 1,
                             .from = 2,
                             .to = 3,
                             .run = 4,
                             .number = 5,
                             .tag = "tag"},
                        q_back;
    wire_add_challenge(&b, &c);
    assert_int_equal(take(&b, WIRE_AWAIT_CHALLENGE, &f), 1);
    assert_int_equal(wire_read_challenge(f.payload, &c_back), OK);
    assert_memory_equal(&c_back, &c, sizeof c);
    for (size_t n = 0; n < f.payload.size; n++)
        assert_int_equal(wire_read_challenge(slice_of(f.payload.data, n), &c_back), ERR_MALFORMED);
    buf_clear(&b);
    wire_add_confirm(&b, &q);
    assert_int_equal(take(&b, WIRE_AWAIT_CONFIRM, &f), 1);
    assert_int_equal(wire_read_confirm(f.payload, &q_back), OK);
    assert_true(q_back.stream == q.stream && q_back.cluster_id == 1 && q_back.from == 2 && q_back.to == 3 &&
                q_back.run == 4 && q_back.number == 5);
    assert_memory_equal(q_back.tag, q.tag, sizeof q.tag);
    for (size_t n = 0; n < f.payload.size; n++)
        assert_int_equal(wire_read_confirm(slice_of(f.payload.data, n), &q_back), ERR_MALFORMED);
    b.data[WIRE_HEADER_SIZE] = WIRE_STREAM_CONFIRM; /* no dial-back of a dial-back */
    assert_int_equal(wire_read_confirm(slice_of(b.data + WIRE_HEADER_SIZE, WIRE_CONFIRM_SIZE), &q_back),
                     ERR_MALFORMED);
    buf_done(&b);
}

static void put(const char *dir, const char *name, uint8_t stage, struct buf *bytes)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!f || fputc(stage, f) == EOF || fputc(3, f) == EOF || fwrite(bytes->data, bytes->size, 1, f) != 1 ||
        fclose(f))
        exit(1);
    buf_clear(bytes);
}

static void write_corpus(const char *dir)
{
    struct buf b = {0};
    struct wire_hello h = hello;
    h.urls = slice_text("http://10.0.0.1:2380");
    wire_add_hello(&b, &h);
    wire_add_frame(&b, WIRE_PROOF, slice_of(h.nonce, sizeof h.nonce), (struct slice){0});
    for (int i = 0; i < 3; i++) {
        wire_add_frame(&b, WIRE_MESSAGE, slice_text("message"), slice_text("body"));
        wire_add_time(&b, WIRE_PING, 99);
    }
    put(dir, "unknown_stream", WIRE_AWAIT_HELLO, &b);
    h.stream = WIRE_STREAM_QUERY;
    wire_add_hello(&b, &h);
    wire_add_frame(&b, WIRE_QUERY, slice_of(h.nonce, sizeof h.nonce), slice_text("who?"));
    put(dir, "question", WIRE_AWAIT_HELLO, &b);
    wire_add_challenge(&b, &(struct wire_challenge){.version = WIRE_VERSION, .nonce = "nonce"});
    wire_add_reply(&b, &(struct wire_reply){WIRE_VERSION, WIRE_WELCOME, 0, 1, 2});
    wire_add_time(&b, WIRE_PONG, 99);
    put(dir, "reply", WIRE_AWAIT_CHALLENGE, &b);
    h.stream = WIRE_STREAM_CONFIRM;
    wire_add_hello(&b, &h);
    wire_add_confirm(&b, &(struct wire_confirm){.stream = PEER_STREAM_BULK, .from = 2, .tag = "tag"});
    put(dir, "confirm", WIRE_AWAIT_HELLO, &b);
    wire_add_frame(&b, WIRE_CONFIRMED, slice_of(h.nonce, sizeof h.nonce), (struct slice){0});
    put(dir, "confirmed", WIRE_AWAIT_CONFIRMED, &b);
    wire_add_frame(&b, WIRE_ANSWER, slice_text("me"), (struct slice){0});
    put(dir, "answer", WIRE_AWAIT_ANSWER, &b);
    buf_add_text(&b, "GET / HTTP/1.1\r\n\r\n");
    put(dir, "http", WIRE_AWAIT_HELLO, &b);
    buf_done(&b);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--corpus") == 0) {
        write_corpus(argv[2]);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_in_pieces),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_frames_of_each_stage),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_challenge_and_confirm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
