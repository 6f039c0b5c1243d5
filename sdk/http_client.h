/* SPDX-License-Identifier: Apache-2.0
 * Blocking HTTP/1.1 client for one server: one request after the other over one connection, which is opened
 * when it is needed and reused while both sides keep it. Each step has a timeout. For programs whose thread
 * has no other work. base/net does the TLS.
 *
 * A call returns early with ERR_CANCELED if stop_fd becomes readable: a signal handler that writes to a
 * pipe ends it. The client never repeats a request; the caller does that if the request is safe to repeat. */
#ifndef SDK_HTTP_CLIENT_H
#define SDK_HTTP_CLIENT_H

#include "base/buf.h"
#include "base/err.h"

struct tls_context;
struct http_client;

struct http_server {
    const char *host; /* name or address; copied */
    uint16_t port;
    struct tls_context *tls; /* NULL = plain; must outlive the client */
    bool checks_name;        /* the certificate must be for host */
};

struct http_request {
    const char *method;
    struct slice target; /* "/path?query", encoded */
    struct slice fields; /* "Name: value\r\n" each; Host and the body's fields are added */
    struct slice body;
    bool has_body;    /* false: no Content-Length is sent */
    bool is_streamed; /* http_client_send_piece sends the body */
};

struct http_client *http_client_new(const struct http_server *server, int64_t dial_timeout_ms, int stop_fd);
void http_client_free(struct http_client *c);

/* Sends the head of a request and its body; connects first if needed. All times are milliseconds from now;
 * negative = no limit. The errors of all calls; http_client_error has the sentence:
 *
 * - ERR_DEADLINE: timeout
 * - ERR_CANCELED: stop_fd became readable
 * - ERR_CLOSED: no connection, or it ended
 * - ERR_MALFORMED: the response is not HTTP */
MUST_CHECK int http_client_begin(struct http_client *c, const struct http_request *r, int64_t timeout_ms);
MUST_CHECK int http_client_send_piece(struct http_client *c, struct slice piece, int64_t timeout_ms);
MUST_CHECK int http_client_end_body(struct http_client *c, int64_t timeout_ms);
/* Waits for the head of the response. */
MUST_CHECK int http_client_head(struct http_client *c, int64_t timeout_ms);
/* Appends at least one byte of the body, or sets *ret_is_end when the body is complete. If wake_fd is not
 * -1 it also returns when that is readable, then perhaps without a byte. */
MUST_CHECK int http_client_read(struct http_client *c, int64_t timeout_ms, int wake_fd, struct buf *ret_body,
                                bool *ret_is_end);
/* Begin, head and the whole body in one call. */
MUST_CHECK int http_client_call(struct http_client *c, const struct http_request *r, int64_t timeout_ms,
                                struct buf *ret_body);

int http_client_status(const struct http_client *c); /* valid after the head */
bool http_client_field(const struct http_client *c, const char *name, struct slice *ret_value); /* borrowed */
bool http_client_was_sent(
    const struct http_client *c); /* true: bytes of the last request may have reached the server */
const char *http_client_error(const struct http_client *c);
/* closes the connection; the next request opens another one */
void http_client_close(struct http_client *c);

#endif
