/* SPDX-License-Identifier: Apache-2.0
 * The client's side of HTTP/1.1, as far as the native API and the WebSocket's upgrade need it. Pure: bytes of
 * an answer in, in any pieces; status, fields and body out. */
#ifndef SDK_HTTP_H
#define SDK_HTTP_H

#include "base/buf.h"
#include "base/err.h"

enum {
    HTTP_HEAD_MAX = 64 << 10,
    HTTP_BODY_MAX = 1 << 30,
};

struct http_answer {
    struct buf in; /* what has come and is not the body yet; behind the end: what belongs to nobody */
    struct buf head, body;
    int status;        /* 0 = the head is not complete yet */
    int64_t body_left; /* of a counted body or the chunk; -1 = until the connection ends */
    bool is_chunked, is_in_trailer;
    bool is_complete;
};

/* ERR_MALFORMED: that is no HTTP. ERR_LIMIT: too large. After the end bytes are kept in `in`. */
MUST_CHECK int http_answer_feed(struct http_answer *a, struct slice bytes);
/* The connection ended: completes an answer that lasts until then, else ERR_TRUNCATED. */
MUST_CHECK int http_answer_end(struct http_answer *a);
/* A field's value, without the spaces around it; the first one of that name. */
bool http_answer_field(const struct http_answer *a, const char *name, struct slice *ret);
void http_answer_done(struct http_answer *a);

#endif
