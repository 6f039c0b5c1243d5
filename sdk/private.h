/* SPDX-License-Identifier: Apache-2.0
 * What the files of the SDK share. All of it belongs to the client's thread, except where "any thread" is
 * said: other threads leave a `struct post` in the inbox, and nothing else is locked.
 *
 *     any thread   cairn_put -> call.c packs it -> client_post
 *     the thread   client.c -> sdk_rpc_start -> a stream of h2.c -> sock.c
 *                  sock.c -> h2.c collects bytes -> h2_deliver -> rpc.on_message, rpc.on_end */
#ifndef SDK_PRIVATE_H
#define SDK_PRIVATE_H

#include <pthread.h>
#include <uv.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/net/tls.h"
#include "sdk/cairn.h"

struct ProtobufCMessage;

enum {
    ENDPOINTS_MAX = 64,
    CALLS_MAX = 65536,
    ANSWER_SIZE_MAX = INT32_MAX,   /* gRPC's own limit */
    HEADER_TEXT_MAX = 4096,        /* of a grpc-message */
    PAUSE_MIN_MS = 50,             /* between rounds of attempts, doubled up to ... */
    PAUSE_MAX_MS = 2000,           /* ... this */
    QUEUED_BYTES_HIGH = 256 << 10, /* bytes a socket has not taken, beyond which no more are made */
};

/* ---- endpoints (endpoint.c, pure) -------------------------------------------------------------------- */

struct endpoint {
    char name[272]; /* as it was given */
    char host[256]; /* without [] */
    char authority[280];
    uint16_t port;
};
struct endpoints {
    struct endpoint *list;
    size_t count;
    bool is_tls;
};
/* All of them with https:// or none of them. */
MUST_CHECK int endpoints_parse(const char *text, struct endpoints *ret, struct cairn_error *error);

/* ---- errors (error.c) -------------------------------------------------------------------------------- */

int set_error(struct cairn_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* From a gRPC status and its text; code is 0 for status 0. */
int error_of_grpc(struct cairn_error *error, int status, struct slice text);

/* ---- timers, inbox (client.c) ------------------------------------------------------------------------ */

struct timer {
    struct heap_node node; /* its key is when, in ms of clock_mono_ms */
    void (*run)(struct timer *t);
};
void timer_start(struct cairn_client *c, struct timer *t, uint64_t delay_ms); /* moves one that runs */
void timer_stop(struct cairn_client *c, struct timer *t);

struct post {
    struct link link;
    void (*run)(struct post *p);
};
/* Any thread. CAIRN_CLOSED if the client is being closed: then run will not be called. */
MUST_CHECK int client_post(struct cairn_client *c, struct post *p);
/* As client_post, but on the client's own thread it runs at once: what is started in a callback may be
 * stopped in the same one. */
MUST_CHECK int client_start(struct cairn_client *c, struct post *p);
bool client_is_own_thread(const struct cairn_client *c);
/* Any thread: runs it on the client's thread and waits; at once if that is this one. */
int client_run(struct cairn_client *c, void (*run)(void *arg), void *arg);

/* ---- waiting (wait.c) ---------------------------------------------------------------------------------- */

struct waiter { /* zeroed */
    pthread_mutex_t mutex;
    pthread_cond_t is_over_changed;
    bool is_over;
    bool was_posted; /* else the post never ran */
    void *result;
    struct cairn_error error;
};
/* Leaves the post and waits for waiter_end, which something behind it calls on the client's thread. The
 * result, if any, is the caller's, or freed if nobody wants it. */
int waiter_run(struct waiter *w, struct cairn_client *c, struct post *p, void **ret,
               struct cairn_error *error);
void waiter_end(struct waiter *w, void *result, const struct cairn_error *error);

/* ---- a socket (sock.c) ------------------------------------------------------------------------------- */

struct sock;
struct sock_ops {
    void (*on_open)(void *owner); /* connected, TLS done */
    void (*on_data)(void *owner, struct slice bytes);
    void (*on_drain)(void *owner);                  /* all that was written has been taken by the kernel */
    void (*on_close)(void *owner, const char *why); /* by itself; never after sock_close */
};
/* Looks the name up and tries its addresses one after the other. tls may be NULL. */
struct sock *sock_dial(uv_loop_t *loop, const struct endpoint *e, struct tls_context *tls,
                       const struct sock_ops *ops, void *owner);
void sock_write(struct sock *s, struct slice bytes); /* copied, or sent */
size_t sock_queued(const struct sock *s);
void sock_close(struct sock *s); /* the owner hears nothing more; NULL is fine */

/* ---- a call (rpc.c) ---------------------------------------------------------------------------------- */

enum rpc_kind {
    RPC_READ,  /* asked again whatever happened */
    RPC_WRITE, /* asked again only if it was not sent */
    RPC_STREAM /* never asked again: its owner knows what to ask */
};

struct rpc {
    struct link link; /* in client.waiting, or in h2.running */
    struct cairn_client *client;
    struct h2 *h2; /* NULL = waiting */
    const char *path;
    enum rpc_kind kind;
    struct buf out;   /* messages with their prefixes; a unary call keeps its one for another attempt */
    size_t out_taken; /* ... how much of it this attempt has taken */
    bool is_half_closed, is_out_deferred;
    uint64_t timeout_ms, deadline_ms; /* 0 = none */
    struct timer timer, pause;        /* deadline; until it is asked again, or how long it waits */
    unsigned attempts;
    bool is_sent;              /* its HEADERS were handed to the socket in this attempt */
    bool was_sent;             /* ... in this or an earlier one */
    bool has_authenticated;    /* its token was refused once already */
    bool is_first_on_h2;       /* Authenticate: goes out before the connection is ready */
    bool needs_leader;         /* metadata hasleader */
    struct cairn_error reason; /* why the last attempt failed */

    int32_t stream_id;
    struct buf in;
    int http_status, grpc_status; /* -1 = not seen */
    struct buf grpc_message;
    struct link touched; /* in h2.touched: it has bytes or an end to deliver */
    bool is_stream_over, is_refused, is_delivering, is_canceled;

    void (*on_message)(struct rpc *r, struct slice message);
    void (*on_end)(struct rpc *r, const struct cairn_error *error); /* code 0: well; r is freed behind it */
    void *owner;
};

struct rpc *rpc_new(struct cairn_client *c, const char *path, enum rpc_kind kind, void *owner);
void rpc_add_message(struct rpc *r, struct slice message); /* to what is to be sent */
void rpc_add_packed(struct rpc *r, const struct ProtobufCMessage *message);
void sdk_rpc_start(struct rpc *r, uint64_t timeout_ms); /* 0 = no time limit (streams) */
void sdk_rpc_half_close(struct rpc *r);
void sdk_rpc_cancel(
    struct rpc *r); /* on_end is not called; frees it (behind on_message, if it is called from there) */
void rpc_free(struct rpc *r); /* one that was never started */
/* h2.c's: an attempt is over. */
void rpc_attempt_over(struct rpc *r, const struct cairn_error *reason, bool is_refused);
void sdk_rpc_finish(struct rpc *r, const struct cairn_error *error);
void rpc_end_all(struct link *list, int code); /* closing */

/* ---- HTTP/2 (h2.c; the one file that includes nghttp2) ------------------------------------------------- */

struct h2;
struct h2 *h2_dial(struct cairn_client *c, size_t endpoint);
void h2_submit(struct h2 *h, struct rpc *r);
void h2_resume(struct h2 *h, struct rpc *r); /* it has more to send */
void h2_drop(struct h2 *h, struct rpc *r);   /* resets its stream, forgets it */
void h2_flush(struct h2 *h);
void h2_free(struct h2 *h); /* the calls on it must be gone */

struct h2 {
    struct link link; /* in client.h2s */
    struct cairn_client *client;
    size_t endpoint;
    struct sock *sock;
    struct nghttp2_session *session;
    struct link running; /* its calls */
    struct link touched; /* those with something to deliver */
    struct timer keepalive;
    uint64_t received_ms;
    bool is_ready, is_ping_out;
    bool is_draining; /* takes no further calls, goes when it has none */
    bool is_closed;   /* the turn will end it; why is said below */
    char why[320];
};

/* ---- the connection in use (channel.c) ------------------------------------------------------------------
 */

enum channel_state {
    CHANNEL_IDLE,    /* nobody asks anything */
    CHANNEL_DIALING, /* until the server's SETTINGS */
    CHANNEL_AUTH,    /* Authenticate is under way */
    CHANNEL_READY,
    CHANNEL_PAUSED /* all endpoints have failed: waiting before the next round */
};

void channel_opened(struct h2 *h);        /* h2: SETTINGS came */
void channel_draining(struct h2 *h);      /* h2: GOAWAY, or its member can do nothing */
void channel_token_refused(struct h2 *h); /* authenticate again */
/* A call behind which there is a token: any call makes the channel authenticate. */
struct rpc *channel_get_token(struct cairn_client *c,
                              void (*on_end)(struct rpc *r, const struct cairn_error *error), void *owner);
void channel_turn(struct cairn_client *c); /* before the loop sleeps: all that moves connections */
void channel_end(struct cairn_client *c);  /* the client is being closed */

struct cairn_client {
    /* fixed when it was made */
    struct endpoints endpoints;
    struct tls_context *tls;      /* NULL = none; ALPN h2 */
    struct tls_context *tls_http; /* ALPN http/1.1 */
    char *user, *password;
    char *client_id, *labels, *cache_dir;
    uint32_t dial_timeout_ms, command_timeout_ms, keepalive_interval_ms, keepalive_timeout_ms;
    pthread_t thread;

    /* any thread, under the mutex */
    pthread_mutex_t mutex;
    struct link inbox;
    bool is_closing;
    char connected[272]; /* cairn_endpoint */

    /* the thread's own */
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t clock;
    uv_prepare_t before_sleep;
    struct heap timers;
    enum channel_state state;
    struct h2 *current;  /* dialing, or in use */
    struct link h2s;     /* all, with those that only end their calls */
    struct link waiting; /* calls without a connection */
    struct link paused;  /* calls that will be asked again */
    size_t next_endpoint, failed_in_a_row;
    uint64_t pause_ms;
    struct timer pause, dial_timer;
    char *token;
    struct rpc *auth;      /* Authenticate, under way */
    char last_reason[400]; /* why there is no connection */
    size_t call_count;
    struct stream *stream; /* NULL until somebody needs it */
    struct link objects;   /* of `struct object`: stopped when the client is closed */
};

/* Watches and such: what lives as long as the client unless its owner stops it before. */
struct object {
    struct link link;
    void (*stop)(struct object *o); /* frees it */
};
void object_add(struct cairn_client *c, struct object *o);
void object_stop(struct cairn_client *c, struct object *o); /* any thread: runs stop there and waits */

/* ---- results (call.c) ---------------------------------------------------------------------------------- */

/* Zeroed; its arena is where everything inside lies. */
void *result_new(size_t size, struct arena **ret_arena);

#endif
