/* SPDX-License-Identifier: Apache-2.0
 * Tests of permessage-deflate: negotiation, messages in and out, compression bombs. */
#include "server/http/deflate.h"

#include <stdlib.h>

#include "server/http/ws.h"
#include "tests/unit/unit.h"

static void test_offers(void **state)
{
    (void)state;
    static const char *const good[] = {
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "Permessage-Deflate;client_max_window_bits=10 ; server_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate",
        "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        "permessage-deflate; server_max_window_bits=\"15\"; client_no_context_takeover",
    };
    static const char *const bad[] = {
        "",
        "permessage-deflate2",
        "permessage-deflate; server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; what",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (!deflate_is_offered(slice_text(good[i])))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (deflate_is_offered(slice_text(bad[i])))
            fail_msg("taken: %s", bad[i]);
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct deflater *d = NULL;
    for (size_t size = 0; size < 200000; size = size * 3 + 1) {
        struct buf text = {0}, packed = {0}, back = {0};
        for (size_t i = 0; i < size; i++)
            buf_add_byte(&text, (uint8_t)(i * i >> 7));
        /* After a stored block, as a frame's head is. */
        uint8_t head[DEFLATE_STORED_HEAD];
        deflate_stored_head(head, 5);
        buf_add(&packed, head, sizeof head);
        buf_add_text(&packed, "hello");
        deflate_pack(&d, buf_slice(&text), &packed);
        assert_int_equal(deflate_unpack(&d, buf_slice(&packed), size + 5, &back), 0);
        assert_int_equal(back.size, size + 5);
        assert_memory_equal(back.data, "hello", 5);
        assert_true(size == 0 || memcmp(back.data + 5, text.data, size) == 0);
        buf_clear(&back);
        assert_int_equal(deflate_unpack(&d, buf_slice(&packed), size + 4, &back), ERR_LIMIT);
        buf_done(&text);
        buf_done(&packed);
        buf_done(&back);
    }
    deflater_free(d);
}

static void test_others(void **state)
{
    (void)state;
    struct deflater *d = NULL;
    struct buf out = {0};
    /* RFC 7692, 7.2.3: "Hello" compressed, in two blocks, stored, with a last block. */
    static const struct {
        const char *bytes;
        size_t size;
    } hello[] = {
        {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7},
        {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13},
        {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11},
        {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8},
    };
    for (size_t i = 0; i < COUNT_OF(hello); i++) {
        buf_clear(&out);
        assert_int_equal(deflate_unpack(&d, slice_of(hello[i].bytes, hello[i].size), 100, &out), 0);
        assert_string_equal(buf_text(&out), "Hello");
    }
    assert_int_equal(deflate_unpack(&d, slice_text("\xff\xff\xff\xff"), 100, &out), ERR_MALFORMED);
    /* A bomb: a kilobyte that unpacks to a megabyte is read up to the limit, no further. */
    struct buf zeros = {0}, bomb = {0};
    memset(buf_reserve(&zeros, 1 << 20), 0, 1 << 20);
    zeros.size = 1 << 20;
    deflate_pack(&d, buf_slice(&zeros), &bomb);
    assert_true(bomb.size < 2000);
    buf_done(&out);
    assert_int_equal(deflate_unpack(&d, buf_slice(&bomb), 65536, &out), ERR_LIMIT);
    assert_true(out.capacity < 200000);
    buf_done(&zeros);
    buf_done(&bomb);
    buf_done(&out);
    deflater_free(d);
}

/* RSV1 is for the first frame of a data message, and only if it was negotiated. */
static void test_frames(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        bool is_agreed;
        enum ws_event event;
        bool is_deflated;
    } cases[] = {
        {"\xc1\x81\0\0\0\0a", 7, true, WS_EVENT_MESSAGE, true},
        {"\x81\x81\0\0\0\0a", 7, true, WS_EVENT_MESSAGE, false},
        {"\xc1\x81\0\0\0\0a", 7, false, WS_EVENT_ERROR, false},
        {"\xa1\x81\0\0\0\0a", 7, true, WS_EVENT_ERROR, false},
        {"\xc9\x81\0\0\0\0a", 7, true, WS_EVENT_ERROR, false},
        {"\x41\x81\0\0\0\0a\x80\x81\0\0\0\0b", 14, true, WS_EVENT_MESSAGE, true},
        {"\x41\x81\0\0\0\0a\xc0\x81\0\0\0\0b", 14, true, WS_EVENT_ERROR, true},
        {"\xc1\x81\0\0\0\0\xff", 7, true, WS_EVENT_MESSAGE, true}, /* checked when it is unpacked */
        {"\x81\x81\0\0\0\0\xff", 7, true, WS_EVENT_ERROR, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct ws_parser p = {.takes_deflate = cases[i].is_agreed};
        struct buf message = {0};
        struct slice in = slice_of(cases[i].bytes, cases[i].size);
        uint16_t status;
        assert_int_equal(ws_parse(&p, &in, &message, 100, &status), cases[i].event);
        if (cases[i].event == WS_EVENT_MESSAGE)
            assert_int_equal(p.is_deflated, cases[i].is_deflated);
        buf_done(&message);
    }
}

int main(void)
{
    cmocka_set_test_filter(getenv("ONLY"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offers),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
