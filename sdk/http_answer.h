/* SPDX-License-Identifier: Apache-2.0
 * The answer to an HTTP/1.1 request (RFC 9112), read as its bytes come: head, then a body by length, in
 * chunks, or up to the end of the connection. Interim answers (1xx) are passed over. Pure. */
#ifndef SDK_HTTP_ANSWER_H
#define SDK_HTTP_ANSWER_H

#include "base/buf.h"
#include "base/err.h"

enum {
    HTTP_ANSWER_HEAD_MAX = 64 << 10, /* bytes of a head, and of trailers */
    HTTP_ANSWER_LINE_MAX = 4 << 10,  /* bytes of a chunk's first line */
};

struct http_answer { /* zeroed is ready */
    enum http_answer_phase {
        HTTP_ANSWER_HEAD,
        HTTP_ANSWER_BODY,     /* by length */
        HTTP_ANSWER_OPEN_END, /* until the connection ends */
        HTTP_ANSWER_CHUNK_LINE,
        HTTP_ANSWER_CHUNK,
        HTTP_ANSWER_CHUNK_END,
        HTTP_ANSWER_TRAILER,
        HTTP_ANSWER_DONE
    } phase;
    int status;       /* from the head's end on */
    bool keeps_alive; /* the connection may be used again when all is read */
    struct buf head;  /* status line and fields, then lines that are not complete yet */
    size_t head_size; /* of the head alone */
    uint64_t left;    /* bytes of the body or chunk */
};

void http_answer_done(struct http_answer *a);
/* Uses up the front of *in and appends what is body. Stops behind the answer; with ret_body NULL behind its
 * head. ERR_MALFORMED, ERR_LIMIT. */
MUST_CHECK int http_answer_feed(struct http_answer *a, struct slice *in, struct buf *ret_body);
/* The connection has ended: OK if the answer is whole by that, else ERR_TRUNCATED. */
MUST_CHECK int http_answer_end(struct http_answer *a);
static inline bool http_answer_has_head(const struct http_answer *a)
{
    return a->phase != HTTP_ANSWER_HEAD;
}
/* A field's value, without blanks around it, borrowed; names in any case; the first one counts. */
bool http_answer_field(const struct http_answer *a, const char *name, struct slice *ret_value);

#endif
