/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the answer to a gRPC health check, once as a whole and once in pieces. The first byte is the size of
 * the pieces. If both ways end the call, they give the same outcome. */
#include <assert.h>
#include <string.h>

#include "server/probe/probe_grpc.h"

static bool ends(struct slice text, size_t piece, char output[CHECK_OUTPUT_MAX])
{
    struct probe_grpc *g = probe_grpc_new("10.0.0.5", 1, false, "shop");
    struct buf out = {0};
    enum check_outcome outcome;
    size_t total = text.size;
    assert(g);
    int err = probe_grpc_take_output(g, &out);
    bool is_over = false;
    while (!err && !is_over && text.size) {
        size_t size = text.size < piece ? text.size : piece;
        err = probe_grpc_feed(g, slice_of(text.data, size));
        is_over = !err && probe_grpc_outcome(g, &outcome, output, CHECK_OUTPUT_MAX);
        text = slice_of(text.data + size, text.size - size);
        if (!err && !is_over)
            err = probe_grpc_take_output(g, &out);
    }
    assert(out.size <= 1000 + 4 * total); /* a server cannot make it send much */
    buf_done(&out);
    probe_grpc_free(g);
    return is_over;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char whole[CHECK_OUTPUT_MAX], cut[CHECK_OUTPUT_MAX];
    if (size < 2)
        return 0;
    struct slice text = slice_of(data + 1, size - 1);
    if (ends(text, SIZE_MAX, whole) && ends(text, (size_t)data[0] + 1, cut))
        assert(strcmp(whole, cut) == 0);
    return 0;
}
