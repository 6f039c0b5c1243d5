/* SPDX-License-Identifier: Apache-2.0
 * Requests as handlers see them: one request as plain values, and the ways to answer it. The same handler
 * serves HTTP and WebSocket; there every message is one text frame, and every body piece is one received
 * message.
 *
 * Life of a request:
 *   1. begin: the headers are complete.
 *   2. body: a piece of the body came. With body NULL the body is gathered in q->body, within the limit of
 *      bodies.
 *   3. end: the body is complete.
 *   4. The handler answers once, now or later: http_respond; or http_stream_open, any number of
 *      http_stream_send, http_stream_close. After the answer is complete the handler must not use q.
 *
 * gone is called instead when the client disconnects or the server stops before the answer is complete:
 * drop q and do not use it again. */
#ifndef SERVER_HTTP_REQUEST_H
#define SERVER_HTTP_REQUEST_H

#include "base/blob.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/turn.h"
#include "server/http/http.h"

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_PATCH = 16,
    HTTP_DELETE = 32,
    HTTP_OPTIONS = 64,
    HTTP_ANY = 127,
};

struct http_request {
    struct http_server *server;
    const struct http_handler *handler;
    void *context; /* of the mount */
    enum http_method method;
    bool is_websocket, is_tls;
    bool has_escaped_slash;     /* the path had a %2F; it is decoded to '/' */
    bool is_native;             /* the route is a mount, not etcd's: the rules for browsers apply */
    bool is_from_browser;       /* access.h */
    bool has_body;              /* announced by the head */
    bool is_own_page;           /* no page of another origin caused this request */
    bool is_stream;             /* http_stream_open was called */
    struct slice path;          /* percent-decoded, begins with '/', NUL-ended */
    struct slice query;         /* decoded pieces, each NUL-ended: "exclude=NOSPACE\0verbose\0" */
    struct slice authorization; /* the header's value, or a WebSocket's token from subprotocol or cookie */
    struct slice client_api_version;
    struct slice origin, host, content_type, if_match, if_none_match;
    struct slice accept, accept_encoding;
    struct slice session_key; /* X-Cairn-Session-Key: a secret, never logged */
    struct slice idempotency_key;
    size_t idempotency_keys;    /* how many there are */
    struct slice last_event_id; /* Last-Event-ID: where an event stream resumes */
    size_t message_bytes_max;   /* of one WebSocket message; begin may set it; 0 = the limit of bodies */
    bool has_leader_required;
    size_t charged_bytes; /* http_charge_output */
    uint64_t deadline_ms; /* monotonic; 0 = none */
    const char *peer;
    uint64_t source;    /* source_conn_id */
    struct arena arena; /* lives as long as the request */
    struct buf headers; /* header lines to add to the answer, each with CRLF */
    struct buf body;
    void *state; /* the handler's own */
};

struct http_handler {
    void (*begin)(struct http_request *q); /* may be NULL */
    void (*body)(struct http_request *q, struct slice piece);
    void (*end)(struct http_request *q);
    void (*writable)(struct http_request *q); /* http_is_congested has become false */
    void (*expired)(struct http_request *q);  /* deadline_ms has passed */
    void (*gone)(struct http_request *q);
    /* The server rejects the request (413, 400) before end, perhaps before begin: answer in the handler's
     * own form and drop q. NULL: gone is called, and the answer is a line of text. */
    void (*refuse)(struct http_request *q, int status, const char *text);
    /* The server is shutting down: end waits for events now. Requests that will be answered soon go on. */
    void (*drain)(struct http_request *q);

    enum turn_work work; /* the kind of work of its callbacks, for the turn's accounting; 0: http_request */

    /* For WebSockets. */
    const char *subprotocol;     /* accepted when the client offers it; NULL = none */
    bool takes_deflate;          /* permessage-deflate, without context on either side */
    uint32_t ping_ms, silent_ms; /* time without a byte until a ping, until disconnection; 0 = 60 s, 80 s */
};

/* The CN of the client's certificate, or "". Also "" for pages of other origins on a mount: a browser
 * sends the certificate without asking the user, so it does not prove that the user wants this request. */
const char *http_common_name(const struct http_request *q);
/* The next value of a parameter; *at is 0 before the first call. False: there is no further value. */
bool http_query_next(const struct http_request *q, const char *name, size_t *at, struct slice *ret_value);

void http_add_header(struct http_request *q, const char *name, const char *value);
/* Sends the complete answer; type NULL = no Content-Type. On a WebSocket the text is sent as a frame, and
 * then the WebSocket is closed. */
void http_respond(struct http_request *q, int status, const char *type, struct slice text);
/* As http_respond with a text that begins at offset `room`; takes it. It is not copied if no older output
 * waits. */
void http_respond_whole(struct http_request *q, int status, const char *type, struct buf *text, size_t room);
/* An error in the form of Go's http.Error, as etcd sends many: text/plain, nosniff, a newline after the
 * text. */
void http_respond_error(struct http_request *q, int status, const char *text);

/* True: the page that sends the request (if a page does) may use this path. For a mount: the page is of
 * this server, or the option origins has its Origin. For etcd's paths: --cors has its Origin. On a mount,
 * methods other than GET and HEAD are rejected before the handler begins; a handler calls this before it
 * opens a stream. */
bool http_origin_is_allowed(const struct http_request *q);

/* Counts bytes that the handler holds for the rest of an answer as unread output, until the answer is
 * complete. */
void http_charge_output(struct http_request *q, size_t bytes);

/* An answer of unknown length: each message a chunk that ends with a newline. */
void http_stream_open(struct http_request *q, int status, const char *type);
/* An answer of known length, sent in pieces by http_stream_send_bytes; then http_stream_close. */
void http_stream_open_sized(struct http_request *q, int status, const char *type, size_t size);
void http_stream_send(struct http_request *q, struct slice message);
/* The same for a large message: takes the buffer, whose first `room` bytes (some 100) are for what stands before
 * the message. */
void http_stream_send_whole(struct http_request *q, struct buf *text, size_t room);
/* Bytes as they are, without a newline behind them; not for WebSockets. */
void http_stream_send_bytes(struct http_request *q, struct slice bytes);
void http_stream_close(struct http_request *q);
/* The answer cannot be completed: closes the connection without its end, so that the client notices. Not for
 * WebSockets. */
void http_stream_break(struct http_request *q);
/* Pauses or resumes a body. While it is paused, its handler gets no piece and the connection is not read;
 * `end` still follows the last piece. On a WebSocket no message is delivered. Resuming may call body and
 * end, which may answer: do not use the request afterwards. */
void http_body_hold(struct http_request *q, bool is_held);
bool http_is_congested(const struct http_request *q);
size_t http_unsent(const struct http_request *q); /* bytes that the socket has not taken */
void http_want_writable(struct http_request *q);  /* calls writable once the socket takes some of them */
/* Sends a keep-alive: an event stream's comment, or a WebSocket's ping. */
void http_stream_ping(struct http_request *q);
/* Ends a WebSocket with this status (ws.h); an event stream just ends. */
void http_stream_end(struct http_request *q, uint16_t ws_status);
/* While held, messages are collected; when it is released, they leave in one write. */
void http_stream_hold(struct http_request *q, bool is_held);
/* Frees the text of the request (path, query, headers), so that an idle stream needs little memory. Its
 * slices become empty. */
void http_forget_head(struct http_request *q);

/* A part of a message that many connections get: it is compressed once, and copied only for a connection
 * whose socket is full. */
struct http_shared {
    uint32_t references;
    struct blob *text, *deflated; /* deflated: made when it is first needed */
    bool is_incompressible;
};
struct http_shared *http_shared_new(struct slice text);
struct http_shared *http_shared_ref(struct http_shared *m);
void http_shared_unref(struct http_shared *m);
/* As http_stream_send of head, shared and end as one message; head and end are short, shared may be NULL. */
void http_stream_send_shared(struct http_request *q, struct slice head, struct http_shared *shared,
                             struct slice end);

#endif
