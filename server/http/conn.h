/* SPDX-License-Identifier: Apache-2.0
 * Private header of server/http: the server and its connections, for http.c, conn.c, request.c and ws.c. */
#ifndef SERVER_HTTP_CONN_H
#define SERVER_HTTP_CONN_H

#include <libwebsockets.h>
#include <sys/uio.h>
#include <uv.h>

#include "base/list.h"
#include "base/net/output.h"
#include "base/net/sources.h"
#include "base/turn_queue.h"
#include "server/http/carrier.h"
#include "server/http/conversion.h"
#include "server/http/head.h"
#include "server/http/request.h"
#include "server/http/sockets.h"
#include "server/http/router.h"
#include "server/http/deflate.h"
#include "server/http/ws.h"

enum {
    HEAD_BYTES_MAX = 16 * 1024 + 1024, /* request line and headers: room for JWTs; then 431 */
    HEAD_WAIT_MS = 10 * 1000,          /* from the first byte to the blank line */
    BODY_WAIT_MS = 20 * 1000,          /* from the blank line to the last byte, except for streams */
    BODY_BYTES_PER_S = 8 * 1024,       /* each so many received bytes add a second */
    DISCARD_WAIT_MS = 60 * 1000,       /* for the rest of a body after the answer */
    IDLE_WAIT_MS = 120 * 1000,         /* Go's clients keep idle connections for 90 s */
    FIRST_WAIT_MS = 20 * 1000,         /* from the connection (and its TLS handshake) to the first byte */
    LINGER_MS = 2 * 1000,              /* after our last byte, for the client to close first */
    WS_PING_MS = 60 * 1000,
    WS_HANGUP_MS = 80 * 1000,
    SWEEP_MS = 500,
    SWEEP_SLICE_NS = 2000000,
    READ_BYTES = 16 * 1024,
    AHEAD_NS = 1000 * 1000,       /* time for pipelined requests in one turn of the loop */
    HEAD_KEEP_BYTES = 1024,       /* memory kept for the next request's head */
    WRITE_BYTES_MAX = 128 * 1024, /* one write */
    WRITE_TURN_BYTES =
        1 << 20,           /* written to one connection at once: a fast reader must not delay the others */
    FORGET_STEP = 1 << 20, /* written memory of a large answer is given back to the kernel in such steps */
    TLS_STEP_BYTES = 64 * 1024, /* encrypted at a time */
    CONGESTED_BYTES =
        64 * 1024, /* queued on one connection; beyond, streams pause and the socket is not read */
    GATHERED_BYTES_MAX = 256 * 1024 * 1024, /* of incomplete bodies, of all connections; then 503 */
    DISCARD_BYTES_MAX = 256 * 1024,         /* of an unused body; a longer one closes the connection */
};

enum conn_phase {
    CONN_IDLE,     /* between requests */
    CONN_REQUEST,  /* a handler has a request and has not answered */
    CONN_ANSWERED, /* the answer is complete; it may be unwritten, and the body may go on */
    CONN_LINGERING /* written and our side shut down; waits until the client closes */
};

/* Parser of Transfer-Encoding: chunked. */
struct http_chunks {
    enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE } state;
    uint64_t left;
    unsigned digits, line_bytes;
};

struct http_conn {
    struct link link; /* in server->conns */
    struct http_server *server;
    struct lws *wsi;
    enum http_role role;
    enum conn_phase phase;
    struct http_request request;
    struct buf head, target; /* the request's own copies, reused by the next */
    struct buf in;           /* not parsed yet: part of a head, pipelined requests */
    struct buf out;          /* not written yet, from out_at on */
    struct buf wire;         /* TLS: ciphertext of bytes taken from `out`, unwritten from wire_at on */
    size_t out_at, wire_at, head_seen;
    struct tls *tls; /* NULL = plain, or carried */
    const struct http_carrier
        *carrier;             /* NULL = a connection of our own: the rest of the socket's fields count */
    void *stream;             /* the carrier's */
    const char *carried_name; /* the CN of its client's certificate */
    uint64_t carried_source;
    struct http_chunks chunks;
    struct ws_parser ws;
    uint64_t body_bytes, body_length; /* received; announced by Content-Length */
    size_t gathered;                  /* of the request's body, in the server's count */
    uint64_t since_ms;                /* when the phase began, or the last byte came in it */
    uint64_t begun_ms;                /* when the request's head was complete */
    bool is_chunked, has_body_ended, is_keep_alive, knows_chunks, is_head;
    bool must_close; /* after this answer */
    bool is_tls;
    bool is_broken;      /* the answer could not be completed */
    bool has_ended;      /* the carrier knows the end of the answer */
    bool is_input_ended; /* carried: no further byte of the body comes */
    uint64_t took_ms;    /* carried: the client's last progress with the output that waits */
    struct link killed;  /* in server->sockets */
    uint32_t interest;   /* events of the socket that are reported */
    bool wants_write, is_closing;
    bool is_paused, was_congested, is_processing, is_pinged;
    bool is_served; /* has had an answer */
    bool is_websocket;
    bool is_deflated;             /* permessage-deflate was agreed on */
    bool is_held;                 /* output waits for the rest of the turn (http_stream_hold) */
    bool is_frugal;               /* an idle stream: no memory is kept for later */
    bool has_yielded;             /* pipelined requests wait in `in` for the next turn of the loop */
    bool is_backlogged;           /* input waits in `in` until the client has read some of its answers */
    bool is_body_held;            /* the handler takes no piece of the body now (http_body_hold) */
    struct output_account output; /* of unwritten bytes and request.charged_bytes */
    struct source_conn source;
    struct turn_waiter wait; /* for a turn that has time for the input */
    struct buf sealed;       /* TLS: ciphertext that waits for such a turn */
    char peer[64];
};

struct http_server {
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct tls_context *tls; /* NULL = plain only */
    struct buf text;         /* scratch: one message as JSON */
    struct arena arena;      /* scratch: one message */
    struct buf plain;        /* scratch: what one read has deciphered */
    struct conversions conversions;
    struct deflater *deflater; /* scratch of all connections: no message depends on the one before */
    struct http_options options;
    char *texts[8];       /* copies of the options' strings */
    struct route *routes; /* routes.def and the mounts */
    size_t route_count;
    struct http_sockets sockets;
    struct link conns;
    size_t conn_count, carried_count; /* conn_count: with carried requests */
    size_t sweep_left;                /* connections not checked yet in this sweep */
    uint64_t gathered;                /* bytes of incomplete bodies and messages */
    uv_timer_t sweep, stopper;
    unsigned open_handles;
    bool is_draining, is_stopping, is_destroying;
    void (*stop_done)(void *arg);
    void *stop_arg;
    char date[48];
    uint64_t date_second;
};

extern const struct route http_routes[];
extern const size_t http_route_count;

/* conn.c */
void http_conn_begin(struct http_conn *c, const struct http_head *head, int status);
void http_conn_receive(struct http_conn *c, struct slice in); /* bytes after the head */
void http_conn_end_body(struct http_conn *c);
void http_conn_end_input(struct http_conn *c); /* carried: the client's side has ended */
bool http_conn_gather(struct http_conn *c, size_t size);
void http_conn_refuse(struct http_conn *c, int status, const char *text);
void http_conn_reset_request(struct http_conn *c);
void http_conn_go_on(struct http_conn *c); /* the client has taken output */
int http_conn_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size);
struct http_conn *http_conn_new(struct http_server *s, enum http_role role, bool is_tls);
void http_conn_evict(struct source_conn *s); /* its place goes to a connection from another source */
void http_conn_free(struct http_conn *c);
void http_conn_flush(struct http_conn *c); /* writes what the socket takes, then continues the connection */
/* Writes past the queue; returns the bytes that were written, 0 when older output waits. */
size_t http_conn_write_direct(struct http_conn *c, const struct iovec *pieces, size_t count);
void http_conn_answered(struct http_conn *c);
void http_conn_resume(struct http_conn *c);       /* parses the input that waits */
void http_conn_count_output(struct http_conn *c); /* call it when output was queued and not flushed */
/* True: the client has so much unread output that no more input is taken; http_conn_flush resumes it. */
bool http_conn_is_backlogged(struct http_conn *c);
void http_conn_hold_body(struct http_conn *c, bool is_held);
void http_conn_kill(struct http_conn *c);       /* closes it soon */
void http_conn_want_write(struct http_conn *c); /* http_conn_on_writable when the socket takes bytes */
void http_conn_on_writable(struct http_conn *c);
void http_conn_notify_gone(struct http_conn *c); /* notifies a handler that has not answered yet */
void http_conn_sweep(struct http_conn *c, uint64_t now_ms);
void http_conn_drain(struct http_conn *c);
/* From now on the turn's time is accounted to the handler's kind of work. */
void http_conn_account_work(const struct http_conn *c);

/* request.c: makes a request of a head; false: it is answered already (400, 421, OPTIONS, 404 ...). */
bool http_request_read(struct http_conn *c, const struct http_head *head);
bool http_request_admit(struct http_conn *c);

/* chunk.c: the body bytes at the front of `in`; consumes them and the framing before them. ERR_MALFORMED:
 * it is not a chunked body. */
int http_chunk_next(struct http_chunks *p, struct slice *in, struct slice *ret_data);

/* ws.c */
bool http_ws_upgrade(struct http_conn *c,
                     const struct http_head *head); /* true: it is a WebSocket now, or it is answered */
void http_ws_receive(struct http_conn *c, struct slice *in);
/* One message as a frame, in up to 4 borrowed pieces; room (64 bytes) holds the frame's head. */
size_t http_ws_frame(struct http_conn *c, struct slice head, struct http_shared *shared, struct slice end,
                     uint8_t *room, struct iovec *ret_pieces);
void http_ws_close(struct http_conn *c, uint16_t status);
void http_ws_end(struct http_conn *c);
void http_ws_ping(struct http_conn *c);

/* http.c */
void http_server_watch(struct http_server *s); /* begins the periodic check */
const char *http_date(struct http_server *s);
uint64_t http_now_ms(const struct http_server *s);

#endif
