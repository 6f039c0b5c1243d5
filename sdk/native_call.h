/* SPDX-License-Identifier: Apache-2.0
 * One HTTP request of the native API. See native_call.c. The client's thread only. */
#ifndef SDK_NATIVE_CALL_H
#define SDK_NATIVE_CALL_H

#include "sdk/http_answer.h"
#include "sdk/private.h"

enum { NATIVE_BODY_MAX = 1 << 30 };

struct native_call {
    struct object object;
    struct cairn_client *client;
    const char *method, *path; /* borrowed from the owner during the call */
    const char *fields;        /* "Name: value\r\n" each; NULL = none */
    struct buf request;        /* the body */
    bool is_read, is_sent, has_token;
    uint64_t token_serial;
    size_t endpoint;
    unsigned failures;
    struct sock *sock;
    struct rpc *token_call;
    struct timer deadline, pause;
    struct cancel_op canceling; /* its owner takes the options */
    struct http_answer answer;
    struct buf body; /* of the response */
    struct cairn_error reason;
    /* error->code 0: the status is 2xx or 304. q is freed after it. */
    void (*on_end)(struct native_call *q, const struct cairn_error *error);
    void *owner;
};

struct native_call *native_call_new(struct cairn_client *c, const char *method, const char *path);
void native_call_start(struct native_call *q, uint32_t timeout_ms);
/* The code for a status of HTTP, as an upgrade or a request gets it. */
int code_of_http(int status);
void native_call_cancel(struct native_call *q); /* on_end is not called */

#endif
