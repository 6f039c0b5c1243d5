/* SPDX-License-Identifier: Apache-2.0
 * HTTP/1.1 responses (RFC 9112), parsed as their bytes arrive: a head, then a body by length, in chunks, or
 * up to the end of the connection. Interim responses (1xx) are skipped. Pure. */
#ifndef SDK_HTTP_ANSWER_H
#define SDK_HTTP_ANSWER_H

#include "base/buf.h"
#include "base/err.h"

enum {
    HTTP_ANSWER_HEAD_MAX = 64 << 10, /* bytes of a head, and of trailers */
    HTTP_ANSWER_LINE_MAX = 4 << 10,  /* bytes of a chunk's size line */
};

struct http_answer { /* zeroed is ready */
    enum http_answer_phase {
        HTTP_ANSWER_HEAD,
        HTTP_ANSWER_BODY,     /* by length */
        HTTP_ANSWER_OPEN_END, /* up to the end of the connection */
        HTTP_ANSWER_CHUNK_LINE,
        HTTP_ANSWER_CHUNK,
        HTTP_ANSWER_CHUNK_END,
        HTTP_ANSWER_TRAILER,
        HTTP_ANSWER_DONE
    } phase;
    int status;       /* valid after the head */
    bool keeps_alive; /* the connection may be reused after the whole response */
    struct buf head;  /* status line and fields, then incomplete lines */
    size_t head_size; /* bytes of the head alone */
    uint64_t left;    /* remaining bytes of the body or chunk */
};

void http_answer_done(struct http_answer *a);
/* Consumes the front of *in and appends the bytes of the body. It stops behind the response, or, with
 * ret_body NULL, behind its head. ERR_MALFORMED, ERR_LIMIT. */
MUST_CHECK int http_answer_feed(struct http_answer *a, struct slice *in, struct buf *ret_body);
/* Handles the end of the connection: OK if that completes the response, else ERR_TRUNCATED. */
MUST_CHECK int http_answer_end(struct http_answer *a);
static inline bool http_answer_has_head(const struct http_answer *a)
{
    return a->phase != HTTP_ANSWER_HEAD;
}
/* A field's value without blanks around it, borrowed. Names are case-insensitive; the first field counts. */
bool http_answer_field(const struct http_answer *a, const char *name, struct slice *ret_value);

#endif
