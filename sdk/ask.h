/* SPDX-License-Identifier: Apache-2.0
 * One request of the native API over HTTP; see ask.c. The client's thread. */
#ifndef SDK_ASK_H
#define SDK_ASK_H

#include "sdk/http_answer.h"
#include "sdk/private.h"

enum { ASK_BODY_MAX = 1 << 30 };

struct ask {
    struct object object;
    struct cairn_client *client;
    const char *method, *path; /* the owner's, as long as it runs */
    const char *fields;        /* "Name: value\r\n" each; NULL = none */
    struct buf request;        /* the body */
    bool is_read, is_sent, has_token, was_refused;
    size_t endpoint;
    unsigned failures;
    struct sock *sock;
    struct rpc *token_call;
    struct timer deadline, pause;
    struct http_answer answer;
    struct buf body; /* the answer's */
    struct cairn_error reason;
    /* error->code 0: the status is 2xx or 304. q is freed behind it. */
    void (*on_end)(struct ask *q, const struct cairn_error *error);
    void *owner;
};

struct ask *ask_new(struct cairn_client *c, const char *method, const char *path);
void ask_start(struct ask *q, uint32_t timeout_ms);
void ask_cancel(struct ask *q); /* on_end is not called */

#endif
