/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: an HTTP request before its handler runs: its head, its target, the routes, the chunked
 * coding, WebSocket frames. Each input is also cut in two at a place that the input chooses. The pieces must
 * give the same result as the whole. */
#include <assert.h>

#include "base/text.h"
#include "server/http/access.h"
#include "server/http/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void head(struct slice in)
{
    static struct http_head h;
    struct buf a = {0};
    struct slice path, query, value;
    size_t n = http_head_size(in, 0), at = 0;
    for (size_t seen = 0; seen < in.size && n; seen += 7)
        assert(seen > n - 1 || http_head_size(in, seen) == n);
    if (n && http_head_parse(slice_of(in.data, n), &h) == 0) {
        assert(h.count <= HTTP_FIELDS_MAX && h.target.size);
        http_head_field(&h, "connection", &value, NULL);
        if (http_target_split(h.target, &a, &path, &query) == 0) {
            assert(path.size && strlen((const char *)path.data) == path.size);
            struct route_match m = router_find(http_routes, http_route_count, h.method, path, HTTP_ALL);
            assert((m.status == 404) == (m.route == NULL));
            struct http_request q = {.query = query};
            while (http_query_next(&q, "exclude", &at, &value))
                assert(value.size < query.size);
        }
        if (http_head_field(&h, "host", &value, NULL))
            http_access_is_same_origin(h.target, http_access_host_name(value));
    }
    buf_done(&a);
}

static int dechunk(struct http_chunks *p, struct slice in, struct buf *out)
{
    struct slice piece;
    do {
        size_t before = in.size;
        if (http_chunk_next(p, &in, &piece))
            return ERR_MALFORMED;
        assert(in.size <= before);
        buf_add_slice(out, piece);
    } while (piece.size);
    return 0;
}

static void chunks(struct slice in, size_t cut)
{
    struct http_chunks whole = {0}, parts = {0};
    struct buf a = {0}, b = {0};
    int err = dechunk(&whole, in, &a);
    int err_parts = dechunk(&parts, slice_of(in.data, cut), &b);
    if (!err_parts)
        err_parts = dechunk(&parts, slice_of(in.data + cut, in.size - cut), &b);
    assert(err == err_parts && slice_equal(buf_slice(&a), buf_slice(&b)));
    buf_done(&a);
    buf_done(&b);
}

static void frames(struct slice in, size_t cut)
{
    for (int round = 0; round < 2; round++) {
        struct ws_parser p = {0};
        struct buf message = {0};
        uint16_t status;
        struct slice pieces[2] = {slice_of(in.data, cut), slice_of(in.data + cut, in.size - cut)};
        bool is_over = false; /* the connection ends with the first close or error */
        for (int i = 0; i < 2 && !is_over; i++) {
            enum ws_event e;
            while (!is_over && (e = ws_parse(&p, &pieces[i], &message, 1000, &status)) != WS_EVENT_NONE) {
                assert(message.size <= 1000 && p.control_size <= 125);
                is_over = e == WS_EVENT_CLOSE || e == WS_EVENT_ERROR;
                if (e == WS_EVENT_MESSAGE)
                    buf_clear(&message);
            }
        }
        buf_done(&message);
        cut = in.size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct slice in = slice_of(data + 2, size - 2);
    size_t cut = in.size ? data[1] % (in.size + 1) : 0;
    switch (data[0] % 3) {
    case 0:
        head(in);
        break;
    case 1:
        chunks(in, cut);
        break;
    default:
        frames(in, cut);
    }
    return 0;
}
