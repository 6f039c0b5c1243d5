/* SPDX-License-Identifier: Apache-2.0
 * See http_reply.h. */
#include "sdk/http_reply.h"

int http_reply_feed(struct http_reply *r, struct slice bytes)
{
    buf_add_slice(&r->in, bytes);
    struct slice in = buf_slice(&r->in);
    int err = http_answer_feed(&r->answer, &in, &r->body);
    if (!err && r->body.size > HTTP_REPLY_BODY_MAX)
        err = ERR_LIMIT;
    if (err)
        return err;
    buf_consume(&r->in, r->in.size - in.size);
    if (http_answer_has_head(&r->answer))
        r->status = r->answer.status;
    r->is_complete = r->answer.phase == HTTP_ANSWER_DONE;
    return OK;
}

int http_reply_end(struct http_reply *r)
{
    int err = http_answer_end(&r->answer);
    r->is_complete |= err == OK;
    return err;
}

void http_reply_done(struct http_reply *r)
{
    http_answer_done(&r->answer);
    buf_done(&r->in);
    buf_done(&r->body);
    *r = (struct http_reply){0};
}
