/* SPDX-License-Identifier: Apache-2.0
 * HTTP/1.1 requests to one server, one after the other over one connection, which is opened when it is needed
 * and used again while both sides keep it. Blocking, with a limit of time for each step, for programs whose
 * thread has nothing else to do; TLS is base/net's.
 *
 * A call returns early when stop_fd can be read (ERR_CANCELED): a signal handler that writes to a pipe ends
 * it. It is never made twice by itself: whoever knows that a request may be repeated repeats it. */
#ifndef SDK_HTTP_CLIENT_H
#define SDK_HTTP_CLIENT_H

#include "base/buf.h"
#include "base/err.h"

struct tls_context;
struct http_client;

struct http_server {
    const char *host; /* name or address, copied */
    uint16_t port;
    struct tls_context *tls; /* NULL = plain; lives longer than the client */
    bool checks_name;        /* the certificate must be for host */
};

struct http_request {
    const char *method;
    struct slice target; /* "/path?query", encoded */
    struct slice fields; /* "Name: value\r\n" each, besides Host and what the body needs */
    struct slice body;
    bool has_body;    /* false: no Content-Length is sent */
    bool is_streamed; /* the body comes by http_client_send_piece */
};

struct http_client *http_client_new(const struct http_server *server, int64_t dial_timeout_ms, int stop_fd);
void http_client_free(struct http_client *c);

/* All times are milliseconds from now; negative = no limit. ERR_DEADLINE, ERR_CANCELED, ERR_CLOSED (no
 * connection, or it ended), ERR_MALFORMED (no HTTP); http_client_error says more. Connects if need be. */
MUST_CHECK int http_client_begin(struct http_client *c, const struct http_request *r, int64_t timeout_ms);
MUST_CHECK int http_client_send_piece(struct http_client *c, struct slice piece, int64_t timeout_ms);
MUST_CHECK int http_client_end_body(struct http_client *c, int64_t timeout_ms);
/* Waits for the answer's head. */
MUST_CHECK int http_client_head(struct http_client *c, int64_t timeout_ms);
/* Appends what has come of the body, at least a byte, or says by *ret_is_end that it is whole. With a wake_fd
 * (else -1) it also returns, perhaps without a byte, when that can be read. */
MUST_CHECK int http_client_read(struct http_client *c, int64_t timeout_ms, int wake_fd, struct buf *ret_body,
                                bool *ret_is_end);
/* All of it in one: begin, head, and the whole body. */
MUST_CHECK int http_client_call(struct http_client *c, const struct http_request *r, int64_t timeout_ms,
                                struct buf *ret_body);

int http_client_status(const struct http_client *c); /* after the head */
bool http_client_field(const struct http_client *c, const char *name, struct slice *ret_value); /* borrowed */
bool http_client_was_sent(
    const struct http_client *c); /* bytes of the last request may have reached the server */
const char *http_client_error(const struct http_client *c);
void http_client_close(struct http_client *c); /* the connection; the next request opens another one */

#endif
