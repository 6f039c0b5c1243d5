/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a frame of a stream's client. The reader accepts it or refuses it with an error text, and an
 * accepted frame keeps to the limits. The same bytes are also read as a compressed message, as an offer of
 * extensions and as a token. */
#include <assert.h>
#include <string.h>

#include "base/text.h"
#include "server/http/deflate.h"
#include "server/stream/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void frame(struct slice in)
{
    struct stream_frame f;
    struct buf text = {0};
    char error[240] = "";
    int err = stream_frame_read(in, &f, error, sizeof error);
    if (err) {
        assert(*error && strlen(error) < sizeof error);
        stream_write_error(&text, &f, stream_error_code(err), error);
    } else {
        assert(f.type < STREAM_TYPES && (in.size <= STREAM_FRAME_MAX || f.type == STREAM_PUBLISH));
        assert(!stream_frame_has(&f, STREAM_HAS_IF_MD5) || digest_is_md5(f.if_md5));
        assert(f.labels.count <= LABELS_MAX && f.known.count <= STREAM_KNOWN_MAX);
        assert(f.filter.tag_count <= SELECT_TERMS_MAX && f.filter.label_count <= SELECT_TERMS_MAX);
        assert(!stream_frame_has(&f, STREAM_HAS_SID) || f.sid > 0);
        stream_filter_key(&f.filter, &text);
    }
    if (text.size) { /* the reader's output is JSON, whatever the input was */
        json_t *root;
        err = json_parse(buf_slice(&text), &root, error, sizeof error);
        assert(err == 0 || f.filter.tag_count > 1 || f.filter.label_count > 1); /* a key may repeat there */
        if (!err)
            json_decref(root);
    }
    buf_done(&text);
    stream_frame_done(&f);
}

static void compressed(struct slice in)
{
    static struct deflater *d;
    struct buf out = {0}, again = {0}, back = {0};
    int err = deflate_unpack(&d, in, 4096, &out);
    assert(err || out.size <= 4096);
    if (!err) {
        deflate_pack(&d, buf_slice(&out), &again);
        err = deflate_unpack(&d, buf_slice(&again), 4096, &back);
        assert(err == 0 && slice_equal(buf_slice(&out), buf_slice(&back)));
    }
    buf_done(&out);
    buf_done(&again);
    buf_done(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    uint64_t cluster_id;
    int64_t revision;
    switch (data[0] % 4) {
    case 0:
        compressed(in);
        break;
    case 1:
        deflate_is_offered(in);
        break;
    case 2:
        if (stream_read_token(in, &cluster_id, &revision) == 0)
            assert(revision >= 0);
        break;
    default:
        frame(in);
    }
    return 0;
}
