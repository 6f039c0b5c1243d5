/* SPDX-License-Identifier: Apache-2.0
 * An answer over HTTP/1.1 with its whole body in memory: http_answer.h with room for what has come. Pure:
 * bytes in, in any pieces; status, fields and body out. */
#ifndef SDK_HTTP_REPLY_H
#define SDK_HTTP_REPLY_H

#include "sdk/http_answer.h"

enum { HTTP_REPLY_BODY_MAX = 1 << 30 };

struct http_reply { /* zeroed is ready */
    struct http_answer answer;
    struct buf in; /* what has come and is not used; behind the end: what belongs to nobody */
    struct buf body;
    int status; /* 0 = the head is not complete yet */
    bool is_complete;
};

/* ERR_MALFORMED: that is no HTTP. ERR_LIMIT: too large. */
MUST_CHECK int http_reply_feed(struct http_reply *r, struct slice bytes);
/* The connection ended: completes an answer that lasts until then, else ERR_TRUNCATED. */
MUST_CHECK int http_reply_end(struct http_reply *r);
static inline bool http_reply_field(const struct http_reply *r, const char *name, struct slice *ret)
{
    return http_answer_field(&r->answer, name, ret);
}
void http_reply_done(struct http_reply *r);

#endif
