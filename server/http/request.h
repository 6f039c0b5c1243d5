/* SPDX-License-Identifier: Apache-2.0
 * What a handler sees: one request as plain values and the ways to answer it. The same handler serves a plain
 * HTTP exchange and a WebSocket, where every message is one text frame and every body piece one received
 * frame.
 *
 * Life: begin when the headers are there; body for each piece of it (then the handler says how much it
 * takes), or (body NULL) it is gathered in q->body, within the limit of bodies; end when it is complete. The
 * handler answers once, at once or later: http_respond, or http_stream_open, any number of http_stream_send,
 * http_stream_close. gone comes when the client leaves (or the server stops) before the answer is complete:
 * let go of q and never touch it again. After the answer is complete q is not the handler's any more. */
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
    bool has_escaped_slash;     /* the path was sent with a %2F: it reads as '/' here */
    bool is_native;             /* not etcd's: a mount; the rules for browsers hold */
    bool is_from_browser;       /* access.h */
    bool has_body;              /* announced by the head */
    bool is_own_page;           /* no page of another origin caused this request */
    bool is_stream;             /* http_stream_open was called */
    struct slice path;          /* percent-decoded, begins with '/', NUL-ended */
    struct slice query;         /* decoded pieces, each NUL-ended: "exclude=NOSPACE\0verbose\0" */
    struct slice authorization; /* the header's value, or what a WebSocket gave in its place */
    struct slice client_api_version;
    struct slice origin, host, content_type, if_match, if_none_match;
    struct slice accept_encoding;
    struct slice session_key;   /* X-Cairn-Session-Key: a secret, never logged */
    struct slice last_event_id; /* Last-Event-ID: where an event stream is to go on */
    size_t message_bytes_max;   /* begin may set it: of one WebSocket message; 0 = the limit of bodies */
    bool has_leader_required;
    size_t owed_bytes;    /* http_charge_output */
    uint64_t deadline_ms; /* monotonic; 0 = none */
    const char *peer;
    uint64_t source;    /* source_conn_id */
    struct arena arena; /* lives as long as the request */
    struct buf headers; /* lines to add to the answer's head, each with CRLF */
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
    /* The server refuses the request (413, 400) before end, perhaps before begin: answer in your own form and
     * let go of q. NULL: gone, and a line of text. */
    void (*refuse)(struct http_request *q, int status, const char *text);
    /* The server is going down: a wait for something to happen ends now. What is about to be answered goes
     * on. */
    void (*drain)(struct http_request *q);

    enum turn_work work; /* what its callbacks do, for the turn's account; 0: http_request */

    /* Of WebSockets. */
    const char *subprotocol;     /* spoken here; said when the client offers it */
    bool takes_deflate;          /* permessage-deflate, without context on either side */
    uint32_t ping_ms, silent_ms; /* pinged, cut off after so long without a byte; 0 = 60 s and 80 s */
};

/* The CN of the client's certificate, or "". Also "" for pages of other origins on a mount: a browser shows
 * the certificate without asking the user, so it does not say that the user wants this. */
const char *http_common_name(const struct http_request *q);
/* For one of several values of the same name begin with at 0; false when there is none (left). */
bool http_query_next(const struct http_request *q, const char *name, size_t *at, struct slice *ret_value);

void http_add_header(struct http_request *q, const char *name, const char *value);
/* The whole answer; type NULL = no Content-Type. On a WebSocket the text is sent as a frame, then it is
 * closed. */
void http_respond(struct http_request *q, int status, const char *type, struct slice text);
/* The same with a text that begins at `room`; takes it, without a copy where nothing else waits to be
 * written. */
void http_respond_whole(struct http_request *q, int status, const char *type, struct buf *text, size_t room);
/* As Go's http.Error, which many of etcd's answers are: text/plain, nosniff, a newline behind the text. */
void http_respond_error(struct http_request *q, int status, const char *text);

/* Whether the page that sends this, if one does, may use this path. A mount: the page is of this server, or
 * the option origins has its Origin. etcd's own paths: --cors has it. Every other method than GET and HEAD
 * is refused on a mount before its handler begins; a handler asks before it opens a stream. */
bool http_origin_is_allowed(const struct http_request *q);

/* Bytes that the handler holds for the rest of an answer: they count as unread output until it is complete.
 */
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
/* The answer cannot be brought to its end: the connection is closed without it, so that the client sees that
 * something is missing. Not for WebSockets. */
void http_stream_break(struct http_request *q);
/* While a body is held its handler gets no further piece, and the connection is not read; `end` still follows
 * the last piece. On a WebSocket no further message is taken. Ending the hold may call body and end, which
 * may answer: the caller touches nothing of the request afterwards. */
void http_body_hold(struct http_request *q, bool is_held);
bool http_is_congested(const struct http_request *q);
size_t http_unsent(const struct http_request *q); /* bytes that the socket has not taken */
void http_want_writable(struct http_request *q);  /* writable, once the socket takes some of them */
/* An event stream's comment, or a WebSocket's ping: says that we are there. */
void http_stream_ping(struct http_request *q);
/* Ends a WebSocket with this status (ws.h); an event stream just ends. */
void http_stream_end(struct http_request *q, uint16_t ws_status);
/* Until it is let go, messages are put behind each other; then all leave in one write. */
void http_stream_hold(struct http_request *q, bool is_held);
/* The text of the request (path, query, headers) is not needed any more: an idle stream should cost little.
 * Its slices become empty. */
void http_forget_head(struct http_request *q);

/* The part of a message that many connections get: compressed once, for those who take that, and copied only
 * for a connection whose socket is full. */
struct http_shared {
    uint32_t references;
    struct blob *text, *deflated; /* deflated: made when it is first needed */
    bool is_incompressible;
};
struct http_shared *http_shared_new(struct slice text);
struct http_shared *http_shared_ref(struct http_shared *m);
void http_shared_unref(struct http_shared *m);
/* As http_stream_send of the three behind each other; head and end are short, shared may be NULL. */
void http_stream_send_shared(struct http_request *q, struct slice head, struct http_shared *shared,
                             struct slice end);

#endif
