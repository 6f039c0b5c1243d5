/* SPDX-License-Identifier: Apache-2.0
 * The head of an HTTP/1.1 request (RFC 9112), parsed in place. Pure. */
#ifndef SERVER_HTTP_HEAD_H
#define SERVER_HTTP_HEAD_H

#include "base/buf.h"
#include "base/err.h"
#include "server/http/request.h"

enum { HTTP_FIELDS_MAX = 100 };

struct http_head {
    enum http_method method;
    struct slice target; /* as sent; never empty */
    bool is_http11;      /* else 1.0 */
    bool is_connect;     /* HTTP/2: an extended CONNECT for a WebSocket (RFC 8441); method is GET */
    size_t count;
    struct {
        struct slice name, value; /* value without blanks around it */
    } fields[HTTP_FIELDS_MAX];
};

/* The size of the head with its blank line, 0 while it is incomplete. from: bytes that an earlier call has
 * seen. */
size_t http_head_size(struct slice in, size_t from);

/* Parses text, which is exactly one head; ret_head's slices point into it. Returns 0, or the HTTP status
 * to reject it with: 400, 431 (too many fields), 501 (method), 505 (version). */
int http_head_parse(struct slice text, struct http_head *ret_head);

/* The first value of a field; false: it is absent. ret_count (may be NULL): how often the field occurs. */
bool http_head_field(const struct http_head *h, const char *name, struct slice *ret_value, size_t *ret_count);

/* True: a comma-separated list ("keep-alive, Upgrade") has the word; case-insensitive. */
bool http_list_has(struct slice list, const char *word);
bool http_text_is(struct slice s, const char *text); /* in any case */

/* 0, 501 (unknown) or 400 (no method's name). */
int http_method_parse(struct slice name, enum http_method *ret_method);
/* Adds a field, with the blanks around its value taken off. 0, or 400 or 431. */
int http_head_add(struct http_head *h, struct slice name, struct slice value);

/* Splits "/a%20b?x=1&y" into a decoded path and query pieces, each NUL-ended, which live in text.
 * ERR_MALFORMED. */
int http_target_split(struct slice target, struct buf *text, struct slice *ret_path, struct slice *ret_query);

#endif
