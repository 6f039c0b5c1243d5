/* SPDX-License-Identifier: Apache-2.0
 * Private header of server/grpc. Four layers, and the calls between them:
 *
 *   server.c  the pool of calls, the timers, adopt, flush, drain, stop
 *   conn.c    one socket: reading, TLS, one write per loop turn, keepalive, closing
 *   h2.c      HTTP/2 of one connection: bytes in, calls out (h2_read.c); frames pulled into a buffer (h2_write.c)
 *   call.c    one stream: metadata, messages, deadline, status; the rpc_transport
 *
 * h2*.c and call.c use no socket: tests and fuzz targets drive a connection of conn_new_memory by h2_feed and
 * h2_pull. */
#ifndef SERVER_GRPC_PRIVATE_H
#define SERVER_GRPC_PRIVATE_H

#include <uv.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/net/output.h"
#include "base/net/sources.h"
#include "base/turn_queue.h"
#include "server/grpc/grpc.h"
#include "server/grpc/h2.h"
#include "server/http/carrier.h"

enum {
    READ_SIZE = 64 << 10,           /* one read */
    SCRATCH_SIZE = 512 << 10,       /* one write */
    PULL_RESERVE = 20 << 10,        /* room for the frames of one call: HEADERS, DATA, trailers */
    FLUSH_ROUNDS = 4,               /* full scratches of one connection in one turn */
    STREAM_WINDOW = 1 << 20,        /* receive window of a stream */
    CONN_WINDOW = 16 << 20,         /* receive window of a connection */
    STREAMS_MAX = 10000,            /* announced at most, whatever --max-concurrent-streams says */
    HEADER_LIST_MAX = 64 << 10,     /* names + values + 32 each */
    MESSAGE_OVERHEAD = 512 << 10,   /* gRPC's own room above request_bytes_max, as etcd */
    STREAM_QUEUE_MAX = 256 << 10,   /* unsent bytes of a stream: congested above, writable below half */
    STREAM_QUEUE_MIN = 16 << 10,    /* the same when very many streams are not read */
    SERVER_QUEUE_MAX = 256 << 20,   /* unsent bytes of all streams; a stream may have as many as are left */
    CONN_QUEUE_MAX = 4 << 20,       /* unsent bytes of a connection's streams, and of its unary responses */
    HELD_SHARE_MAX = 1 << 20,       /* one unary response counts at most this much towards CONN_QUEUE_MAX */
    CONN_PARTIAL_MAX = 64 << 20,    /* bytes of incomplete requests on one connection */
    SERVER_PARTIAL_MAX = 512 << 20, /* and on all */
    PARTIAL_WAIT_MS = 20000,        /* time for the rest of a request that has begun */
    PARTIAL_BYTES_PER_S = 8 << 10,  /* one second more for so many bytes that have come */
    PARTIAL_LOOK_MS = 1000,         /* time between two checks for slow requests */
    CONN_RUNNING_MAX = 16 << 20,    /* bytes of requests in progress: above it the connection is not read */
    GREETING_MS = 10000,            /* from accept (and TLS) to the client's SETTINGS */
    LINGER_MS = 1000,               /* from the last byte sent to close */
    DRAIN_MS = 5000,                /* from the first GOAWAY to the final one, if no PING response comes */
    PING_STRIKES_MAX = 2,           /* grpc-go's */
    PING_IDLE_MS = 2 * 60 * 60 * 1000, /* grpc-go's: pings without calls, at most this often */
    PING_MIN_MS = 5 * 60 * 1000,       /* grpc-go's default where keepalive_min_ms is 0 */
    RESET_BURST = 10000,               /* resets that a client may send or provoke at once */
    RESET_RATE = 1000,                 /* and per second */
    IDLE_FRAME_BURST = 10000,          /* frames without a request that a client may send at once */
    IDLE_FRAME_RATE = 1000,            /* and per second */
    CALLS_PER_FRAME = 16,     /* a change of the windows of so many calls costs as much as such a frame */
    CONTINUATIONS_MAX = 8,    /* of one header block */
    CLOCK_STEPS = 16,         /* frames read between two checks of the turn's time */
    LARGE_MESSAGE = 16 << 10, /* the time is also checked after each message of this size */
    STREAM_PIECE = 4 << 10,   /* and after so many bytes of a stream: they may hold very many messages */
    RARE_BYTES_MAX =
        256 << 10, /* control frames that the client does not read: above it the connection closes */
    WEB_WRITABLE =
        31 << 10, /* unsent bytes at which an answer of HTTP goes on: half of its limit, rounded down */
    KEPT_FRAME_MAX = 4 << 10, /* a larger buffer for frames is freed */
    POOL_BUF_MAX = 16 << 10,  /* a larger buffer is freed when its call goes to the pool */
    POOL_CALLS_MAX = 4096,    /* free calls in the pool */
    COUNTED_BYTES = 64 << 10, /* with more unsent bytes output is counted at once, else at the next write */
    FORGET_STEP = 1 << 20,    /* memory of a sent part of a large response is returned in such steps */
};

struct grpc_timer {
    struct heap_node node;
    void (*fire)(struct grpc_timer *t);
};

struct grpc_server {
    struct grpc_options options;
    struct http_server *http; /* NULL = none is served here */
    const struct http_carried *carried;
    uint64_t message_max;
    uv_prepare_t prepare; /* flushes before the loop sleeps */
    uv_idle_t idle;       /* runs while `dirty` has members: the loop does not sleep */
    uv_timer_t timer;     /* for the first of `timers` */
    unsigned open_handles;

    struct heap timers;
    uint64_t timer_at; /* the time for which the uv timer is set; UINT64_MAX = not running */

    struct link conns;
    struct link dirty; /* connections that may have something to write */
    size_t conn_count;

    struct link free_calls;
    size_t free_count, free_low;  /* free_low: the least since the last trim; that many are not needed */
    struct grpc_timer trim, slow; /* slow: set while there are incomplete requests */

    uint8_t *read_buffer, *scratch;
    struct buf plain, cipher; /* of the TLS connection at work */
    uint64_t partial_bytes;
    uint64_t queued_streams; /* unsent bytes of all calls that are no unary ones */
    bool is_draining, is_stopping, is_full_logged;
    void (*done)(void *arg);
    void *done_arg;
};

enum conn_state {
    CONN_OPEN,
    CONN_LINGERING, /* our side is shut down; input is discarded */
    CONN_CLOSED,    /* nothing left but its handle */
};

struct grpc_conn {
    struct link link;  /* server->conns */
    struct link dirty; /* server->dirty */
    struct grpc_server *server;
    enum conn_state state;
    enum grpc_serves serves;
    struct h2 h2;
    struct tls *tls;
    struct tls_context *tls_context;

    struct link calls;         /* every call of this connection */
    struct link full;          /* calls above STREAM_QUEUE_MAX */
    struct link held;          /* complete requests that wait until unary answers have drained */
    struct grpc_call *current; /* of the last stream that was looked up */
    size_t call_count;
    uint64_t queued, queued_unary; /* bytes of messages not yet pulled */
    uint64_t partial_bytes, running_bytes;

    struct grpc_timer timer;
    uint64_t last_read_ms, last_ping_ms;
    unsigned ping_strikes;
    bool is_ping_free;         /* something was sent since the last PING: it is no strike */
    bool is_ping_out;          /* ours, not answered yet */
    bool is_ping_overdue;      /* no answer in time; the socket is read once more before closing */
    bool is_greeted;           /* the client's SETTINGS have come */
    bool is_over;              /* `queued` went above CONN_QUEUE_MAX and has not halved yet */
    bool is_unary_over;        /* `queued_unary`: the same */
    bool is_drain_begun;       /* the first GOAWAY of two is submitted */
    bool is_drained;           /* the final GOAWAY is submitted */
    bool is_evicted;           /* GOAWAY with an error is submitted */
    bool must_close;           /* and pulled: close when it is written */
    bool is_running_over;      /* `running_bytes`: the same */
    bool has_read_enough;      /* a full buffer in this turn: reading goes on when it is flushed */
    bool has_read_large;       /* a large message since the last look at the clock */
    bool is_over_output_limit; /* it holds too much unread output: only a GOAWAY goes out */
    bool is_reading, is_writing, has_socket;
    struct output_account output;
    struct source_conn source;
    struct turn_waiter wait; /* waits for a turn with time for its input */
    struct buf rest;         /* decrypted input that waits for such a turn; the socket is not read before */
    size_t write_left;       /* size of write_rest at the last check */
    char peer[64];

    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    uv_write_t write;
    uv_shutdown_t shutdown;
    uint8_t *write_rest; /* the bytes that the kernel did not accept */
};

enum call_state {
    CALL_HEADERS,  /* its metadata is arriving */
    CALL_RUNNING,  /* with the service */
    CALL_ANSWERED, /* its status is known; the answer drains */
};

struct grpc_call {
    struct rpc_call rpc; /* first: the service's pointer is ours */
    struct grpc_conn *conn;
    struct link link; /* conn->calls or server->free_calls */
    struct link wait; /* conn->full or conn->held */
    struct grpc_timer deadline;
    uint32_t stream_id;
    struct grpc_call *next_stream; /* in h2.streams */
    struct link ready;             /* h2.ready or h2.starved */
    int64_t window;                /* what may be sent */
    uint32_t received;             /* received bytes for which the client's window was not yet reopened */
    enum call_state state;
    bool is_half_closed; /* the client has sent all */
    bool is_complete;    /* not RPC_BIDI: its only message has come */
    bool is_submitted;   /* there is an answer, or the beginning of one */
    bool is_begun;       /* its HEADERS are out */
    bool is_full;
    bool is_held;
    bool is_unsendable; /* an answer larger than any client takes was dropped */
    bool is_proto_type; /* content-type application/grpc+proto */
    bool is_any_grpc;   /* content-type has application/grpc in it: etcd's rule */
    bool is_gzip;       /* messages with the compressed flag are gzip */
    bool is_grpc_type, is_encoded, has_timeout, is_timeout_bad, is_post;
    uint64_t timeout_ms;
    size_t header_bytes;
    struct buf token, version; /* what rpc.token and .client_api_version point into */
    bool is_token_final;       /* from "token", which goes before "authorization" */
    struct buf text;           /* cold path: unknown path, bad content-type, bad encoding */

    /* web.c: fields as they come, until it is known that the request is a call. */
    struct buf fields;
    uint8_t pseudo; /* the pseudo-header fields that have come, as bits */
    bool has_regular, is_malformed, is_head_too_large;
    bool is_web;           /* a request of HTTP, not a call */
    bool is_web_stream;    /* its answer is a stream */
    bool is_web_empty;     /* it has no body */
    bool is_web_sent;      /* the answer is out, and the request has not ended */
    bool is_web_broken;    /* the answer cannot be completed */
    bool ends_in_block;    /* the request has no body */
    bool has_length;       /* content-length has come */
    uint32_t consumed;     /* received bytes that are used, and not yet given back */
    uint64_t length_left;  /* bytes that are still to come */
    struct http_conn *web; /* NULL before it has begun */
    struct buf head;       /* the answer's header block, until it is sent */

    struct buf in; /* the message that is arriving, without its prefix */
    uint8_t prefix[5];
    uint8_t prefix_size;
    uint32_t message_size;
    uint64_t partial_bytes, running_bytes; /* our share of the connection's */
    uint64_t partial_ms;                   /* when the first byte of the incomplete request came */

    struct buf out; /* framed messages; [out_at, size) not yet pulled */
    size_t out_at;
    struct buf next;    /* of a stream: a large message behind `out`; empty where that is */
    size_t unary_share; /* our part of conn->queued_unary */
    int status;
    struct buf status_text;   /* percent-encoded */
    const char *error_status; /* HTTP's: the status goes in the headers, and nothing else */
};

/* --- server.c --------------------------------------------------------------------------------- */
uint64_t server_now(const struct grpc_server *s);
void server_timer_set(struct grpc_server *s, struct grpc_timer *t, uint64_t at_ms);
void server_timer_clear(struct grpc_server *s, struct grpc_timer *t);
struct grpc_call *server_call_take(struct grpc_server *s);
void server_call_give(struct grpc_server *s, struct grpc_call *c);
void server_conn_gone(struct grpc_server *s);
void server_watch_slow(struct grpc_server *s); /* there is an incomplete request */
void server_stay_awake(struct grpc_server *s); /* keeps the loop awake until the next flush */

/* --- conn.c --------------------------------------------------------------------------------------- */
struct grpc_conn *conn_new_memory(struct grpc_server *s); /* serves all that its server has */
void conn_adopt(struct grpc_server *s, int fd, struct tls_context *tls, enum grpc_serves serves);
void conn_count_output(struct grpc_conn *c);
void conn_touch(struct grpc_conn *c); /* schedules one write before the loop sleeps */
void conn_flush(struct grpc_conn *c);
void conn_drain(struct grpc_conn *c);
void conn_close(struct grpc_conn *c);
void conn_check_reading(struct grpc_conn *c);
void conn_on_ping(struct grpc_conn *c);
void conn_on_ping_answer(struct grpc_conn *c);
void conn_on_greeting(struct grpc_conn *c);

/* --- h2.c ----------------------------------------------------------------------------------------- */
void h2_open(struct grpc_conn *c);
void h2_close(struct grpc_conn *c);
bool h2_is_over(const struct grpc_conn *c); /* neither side has anything to send any more */
void h2_ping(struct grpc_conn *c);
void h2_announce_end(struct grpc_conn *c); /* GOAWAY that does not reject any stream yet */
void h2_goaway(struct grpc_conn *c, enum h2_error error, const char *text);
void h2_fail(struct grpc_conn *c, enum h2_error error, const char *text); /* GOAWAY, and nothing after it */
void h2_reset(struct grpc_call *call, enum h2_error error);               /* frees it */
void h2_fail_stream(struct grpc_conn *c, uint32_t stream_id,
                    enum h2_error error); /* the client's fault; the same */
struct grpc_call *h2_find(struct grpc_conn *c, uint32_t stream_id);
struct grpc_call *h2_add(struct grpc_conn *c, uint32_t stream_id);
void h2_forget(struct grpc_call *call);
void h2_add_frame(struct grpc_conn *c, enum frame_type type, uint8_t flags, uint32_t stream_id,
                  struct slice payload);
void h2_add_reset(struct grpc_conn *c, uint32_t stream_id, enum h2_error error);
/* A header block; flags may be FRAME_END_STREAM. */
void h2_add_block(struct grpc_conn *c, uint32_t stream_id, uint8_t flags, struct slice block);
void h2_give_window(struct grpc_conn *c, uint32_t stream_id, uint32_t size);
bool h2_has_rare(const struct grpc_conn *c);

/* --- h2_read.c: ERR_MALFORMED: write what is left, then close ---------------------------------------- */
/* On return h2.left is the input for which the turn had no time. */
MUST_CHECK int h2_feed(struct grpc_conn *c, struct slice in);

/* --- h2_write.c --------------------------------------------------------------------------------------- */
size_t h2_pull(struct grpc_conn *c, uint8_t *to, size_t capacity);
void h2_answer(struct grpc_call *call); /* schedules output, or the end of the stream */
void h2_answer_error(struct grpc_call *call, const char *http_status); /* headers alone, status inside */
void h2_wake(struct grpc_call *call);                                  /* its window may have opened */

/* --- call.c --------------------------------------------------------------------------------------- */
struct grpc_call *call_new(struct grpc_conn *c, uint32_t stream_id);
void call_free(struct grpc_call *call); /* cancels it if it runs */
void call_header(struct grpc_call *call, struct slice name, struct slice value);
bool call_begin(struct grpc_call *call); /* false: it is freed */
void call_data(struct grpc_call *call, struct slice chunk);
void call_half_close(struct grpc_call *call);
void call_end_slow(struct grpc_conn *c, uint64_t now); /* requests that come too slowly */
void call_taken(struct grpc_call *call, size_t size);  /* bytes of out were pulled */
void call_wake_all(struct grpc_conn *c);               /* after a write: congested streams, held requests */

bool call_hold_bytes(struct grpc_call *call, size_t size); /* false: too many bytes of incomplete requests */
void call_queue(struct grpc_call *call, size_t size);      /* bytes were added to `out` or `next` */
void call_drop_partial(struct grpc_call *call);
size_t call_unsent(const struct grpc_call *call);
size_t call_queue_max(const struct grpc_server *s);

/* --- web.c: requests of HTTP ------------------------------------------------------------------------- */
void web_field(struct grpc_call *call, struct slice name, struct slice value);
bool web_takes(const struct grpc_call *call);
bool web_takes_websockets(const struct grpc_conn *c);
bool web_begin(struct grpc_call *call); /* false: it is freed */
bool web_open(struct grpc_call *call);  /* the same; it may have waited before */
void web_data(struct grpc_call *call, struct slice chunk);
void web_half_close(struct grpc_call *call);
void web_taken(struct grpc_call *call, size_t size);
void web_writable(struct grpc_call *call);
void web_sent(struct grpc_call *call); /* the whole answer is out; may free it */
void web_free(struct grpc_call *call);

/* --- header.c: pure ------------------------------------------------------------------------------------ */
MUST_CHECK int header_timeout(struct slice value, uint64_t *ret_ms);
bool header_is_grpc(struct slice content_type);
void header_percent(struct buf *out, const char *text);
void header_quote(struct buf *out, struct slice s); /* Go's %q, for bytes in an error text */

#endif
