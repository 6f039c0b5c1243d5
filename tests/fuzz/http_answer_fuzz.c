/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the bytes of an HTTP response, once as a whole and once in pieces. The first byte is the size
 * of the pieces. Both ways must give the same result. */
#include <assert.h>

#include "sdk/http_answer.h"

static int feed(struct slice text, size_t piece, struct http_answer *a, struct buf *body)
{
    int err = OK;
    while (!err && text.size && a->phase != HTTP_ANSWER_DONE) {
        size_t size = text.size < piece ? text.size : piece;
        struct slice in = slice_of(text.data, size);
        err = http_answer_feed(a, &in, body);
        assert(err || in.size == 0 || a->phase == HTTP_ANSWER_DONE);
        text = slice_of(text.data + size - in.size, text.size - size + in.size);
    }
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct http_answer whole = {0}, cut = {0};
    struct buf whole_body = {0}, cut_body = {0};
    struct slice text = slice_of(data + 1, size - 1), value;
    int err = feed(text, SIZE_MAX, &whole, &whole_body);
    assert(feed(text, (size_t)data[0] + 1, &cut, &cut_body) == err);
    if (!err) {
        assert(whole.phase == cut.phase && whole.status == cut.status &&
               whole.keeps_alive == cut.keeps_alive);
        assert(slice_equal(buf_slice(&whole_body), buf_slice(&cut_body)));
        assert(http_answer_field(&whole, "ETag", &value) == http_answer_field(&cut, "ETag", &value));
        assert(http_answer_end(&whole) == http_answer_end(&cut));
    }
    http_answer_done(&whole);
    http_answer_done(&cut);
    buf_done(&whole_body);
    buf_done(&cut_body);
    return 0;
}
