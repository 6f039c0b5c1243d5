/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the answer to an HTTP health check, once as a whole and once in pieces. The first byte is the
 * size of the pieces. Both ways must give the same status. */
#include <assert.h>

#include "server/probe/probe_http.h"

static int feed(struct slice text, size_t piece, struct probe_answer *a)
{
    int err = OK;
    while (!err && text.size && !a->status) {
        size_t size = text.size < piece ? text.size : piece;
        err = probe_answer_feed(a, slice_of(text.data, size));
        text = slice_of(text.data + size, text.size - size);
    }
    assert(a->size <= PROBE_LINE_MAX && a->total <= PROBE_ANSWER_MAX + 1);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct probe_answer whole = {0}, cut = {0};
    struct slice text = slice_of(data + 1, size - 1);
    int err = feed(text, SIZE_MAX, &whole);
    assert(feed(text, (size_t)data[0] + 1, &cut) == err);
    assert(whole.status == cut.status && (!whole.status || (whole.status >= 200 && whole.status <= 599)));
    return 0;
}
