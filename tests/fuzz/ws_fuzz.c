/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the bytes that a server sends over a WebSocket, once as a whole and once in pieces. The first
 * byte is the size of the pieces. Both ways must give the same messages in the same order. */
#include <assert.h>

#include "sdk/ws.h"

/* All messages, one after the other; the result says how the connection ended. */
static int read_all(struct slice bytes, size_t piece, struct buf *out)
{
    struct ws_reader r = {0};
    int err = OK;
    while (!err && bytes.size) {
        size_t n = bytes.size < piece ? bytes.size : piece;
        enum ws_event event = WS_TEXT;
        struct slice payload;
        buf_add(&r.in, bytes.data, n);
        bytes = slice_of(bytes.data + n, bytes.size - n);
        while (!err && event != WS_NOTHING) {
            err = ws_next(&r, &event, &payload);
            if (err || event == WS_NOTHING)
                continue;
            buf_addf(out, "%d %zu ", (int)event, payload.size);
            buf_add_slice(out, payload);
        }
    }
    ws_done(&r);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct buf whole = {0}, cut = {0};
    struct slice bytes = slice_of(data + 1, size - 1);
    int err = read_all(bytes, SIZE_MAX, &whole);
    assert(read_all(bytes, (size_t)data[0] + 1, &cut) == err);
    assert(slice_equal(buf_slice(&whole), buf_slice(&cut)));
    buf_done(&whole);
    buf_done(&cut);
    return 0;
}
