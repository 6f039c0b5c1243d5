/* SPDX-License-Identifier: Apache-2.0
 * Private declarations of the SDK. All objects belong to the client's thread. Functions for "any thread"
 * say so: other threads leave a `struct post` in the inbox. No other lock exists.
 *
 *     any thread   cairn_put -> call.c encodes it -> client_post
 *     the thread   client.c -> sdk_rpc_start -> a stream of h2.c -> sock.c
 *                  sock.c -> h2.c collects bytes -> h2_deliver -> rpc.on_message, rpc.on_end */
#ifndef SDK_PRIVATE_H
#define SDK_PRIVATE_H

#include <pthread.h>
#include <signal.h>
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
    HEADER_TEXT_MAX = 4096,        /* bytes of a grpc-message */
    PAUSE_MIN_MS = 50,             /* between rounds of attempts, doubled up to ... */
    PAUSE_MAX_MS = 2000,           /* ... this */
    QUEUED_BYTES_HIGH = 256 << 10, /* unsent bytes of a socket above which h2.c makes no more */
};

/* ---- endpoints (endpoint.c, pure) -------------------------------------------------------------------- */

struct endpoint {
    char name[272]; /* as the user wrote it */
    char host[256]; /* without [] */
    char authority[280];
    uint16_t port;
};
struct endpoints {
    struct endpoint *list;
    size_t count;
    bool is_tls;
};
/* Either all endpoints have https:// or none. CAIRN_INVALID. */
MUST_CHECK int endpoints_parse(const char *text, struct endpoints *ret, struct cairn_error *error);

/* ---- errors (error.c) -------------------------------------------------------------------------------- */

int set_error(struct cairn_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Makes an error from a gRPC status and its text; code is 0 for status 0. */
int error_of_grpc(struct cairn_error *error, int status, struct slice text);

/* ---- reports to the program (state.c) ------------------------------------------------------------------ */

/* Queue a report of a connection, and a line of the log; on the client's thread. The program's callbacks run
 * in the next turn of the loop, never inside these functions. error NULL = no reason. */
void client_report(struct cairn_client *c, enum cairn_link connection, enum cairn_state state,
                   const char *endpoint, const struct cairn_error *error);
void client_log(struct cairn_client *c, enum cairn_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void client_deliver_reports(struct cairn_client *c);
enum cairn_state state_of_error(int code); /* the state that a refusal with this code is */

/* ---- canceling (cancel.c) ------------------------------------------------------------------------------ */

/* A running call as its cancel sees it; the client's thread only. */
struct cancel_op {
    struct link link;
    struct cairn_cancel *cancel;                                        /* NULL = none */
    void (*run)(struct cancel_op *op, const struct cairn_error *error); /* ends the call */
};
/* any thread: the options are valid, or CAIRN_INVALID; the call holds its cancel from here on */
MUST_CHECK int call_options_take(const struct cairn_client *c, const struct cairn_call_options *options,
                                 uint32_t *timeout_ms, struct cancel_op *op, struct cairn_error *error);
/* The client's thread: true = it is canceled already, and *ret says so. */
bool cancel_begin(struct cancel_op *op, struct cairn_error *ret);
void cancel_end(struct cancel_op *op); /* any number of times; any thread for a call that never began */

/* ---- timers, inbox (client.c) ------------------------------------------------------------------------ */

struct timer {
    struct heap_node node; /* the key is the due time in ms of clock_mono_ms */
    void (*run)(struct timer *t);
};
/* a running timer is moved */
void timer_start(struct cairn_client *c, struct timer *t, uint64_t delay_ms);
void timer_stop(struct cairn_client *c, struct timer *t);

struct post {
    struct link link;
    void (*run)(struct post *p);
};
/* Any thread. The error CAIRN_CLOSED: the client is being closed; `run` will not be called. */
MUST_CHECK int client_post(struct cairn_client *c, struct post *p);
/* As client_post, but on the client's own thread it runs the post at once, so that an object started in a
 * callback can be stopped in the same callback. The same error. */
MUST_CHECK int client_start(struct cairn_client *c, struct post *p);
void client_before_sleep(struct cairn_client *c);         /* connections, reports, the clock */
bool client_is_own_process(const struct cairn_client *c); /* false in a child made by fork */
bool client_is_own_thread(const struct cairn_client *c);
/* Any thread: runs the function on the client's thread and waits for it; at once if that is this thread. */
int client_run(struct cairn_client *c, void (*run)(void *arg), void *arg);

/* ---- a client without a thread (loop.c) ---------------------------------------------------------------- */

struct sigpipe_guard {
    sigset_t before;
    bool was_pending;
};
struct sigpipe_guard loop_block_sigpipe(void);
void loop_restore_sigpipe(const struct sigpipe_guard *g);
void loop_enter(struct cairn_client *c); /* one turn, without waiting */
void loop_close(struct cairn_client *c); /* until the loop has ended */
/* Runs a function for the program on the client's own thread. */
void loop_run_here(struct cairn_client *c, void (*run)(void *arg), void *arg);

/* ---- waiting (wait.c) ---------------------------------------------------------------------------------- */

struct waiter { /* zeroed */
    pthread_mutex_t mutex;
    pthread_cond_t is_over_changed;
    bool is_over;
    bool was_posted; /* false: the post never ran */
    void *result;
    struct cairn_error error;
};
/* Posts and waits until code on the client's thread calls waiter_end. The caller owns the result; it is
 * freed if ret is NULL. */
int waiter_run(struct waiter *w, struct cairn_client *c, struct post *p, void **ret,
               struct cairn_error *error);
void waiter_end(struct waiter *w, void *result, const struct cairn_error *error);

/* ---- a socket (sock.c) ------------------------------------------------------------------------------- */

struct sock;
struct sock_ops {
    void (*on_open)(void *owner); /* connected, TLS done */
    void (*on_data)(void *owner, struct slice bytes);
    void (*on_drain)(void *owner);                  /* the kernel has taken all bytes */
    void (*on_close)(void *owner, const char *why); /* closed by peer or error; never after sock_close */
};
/* Resolves the name and tries its addresses one after the other. tls may be NULL. */
struct sock *sock_dial(uv_loop_t *loop, const struct endpoint *e, struct tls_context *tls,
                       const struct sock_ops *ops, void *owner);
void sock_write(struct sock *s, struct slice bytes); /* sent at once or copied */
size_t sock_queued(const struct sock *s);
void sock_close(struct sock *s); /* no more callbacks; NULL is allowed */

/* ---- a call (rpc.c) ---------------------------------------------------------------------------------- */

enum rpc_kind {
    RPC_READ,  /* repeated after any failure */
    RPC_WRITE, /* repeated only if the server did not process it */
    RPC_STREAM /* never repeated: its owner opens a new one */
};

struct rpc {
    struct link link; /* in client.waiting, or in h2.running */
    struct cairn_client *client;
    struct h2 *h2; /* NULL = waiting for a connection */
    const char *path;
    enum rpc_kind kind;
    struct buf out;   /* messages with their prefixes; a unary call keeps its message for another attempt */
    size_t out_taken; /* ... bytes of it that this attempt has taken */
    bool is_half_closed, is_out_deferred;
    uint64_t timeout_ms, deadline_ms; /* 0 = none */
    struct timer timer, pause;        /* deadline; pause before the next attempt */
    unsigned attempts;
    bool is_sent;              /* its HEADERS were handed to the socket in this attempt */
    bool was_sent;             /* ... in this or an earlier one */
    uint64_t token_serial;     /* of the token that it was sent with */
    bool is_first_on_h2;       /* Authenticate: sent before the connection is ready */
    bool needs_leader;         /* metadata hasleader */
    struct cairn_error reason; /* why the last attempt failed */

    int32_t stream_id;
    struct buf in;
    int http_status, grpc_status; /* -1 = not received */
    struct buf grpc_message;
    struct link touched; /* in h2.touched: it has messages or an end to deliver */
    bool is_stream_over, is_refused, is_delivering, is_canceled;

    void (*on_message)(struct rpc *r, struct slice message);
    /* code 0: success; r is freed after it */
    void (*on_end)(struct rpc *r, const struct cairn_error *error);
    void *owner;
};

struct rpc *rpc_new(struct cairn_client *c, const char *path, enum rpc_kind kind, void *owner);
void rpc_add_message(struct rpc *r, struct slice message); /* appended to `out` */
void rpc_add_packed(struct rpc *r, const struct ProtobufCMessage *message);
void sdk_rpc_start(struct rpc *r, uint64_t timeout_ms); /* 0 = no timeout (streams) */
void sdk_rpc_half_close(struct rpc *r);
void sdk_rpc_cancel(struct rpc *r); /* on_end is not called; frees r (after on_message, if called there) */
void rpc_free(struct rpc *r);       /* for a call that was never started */
/* Called by h2.c: an attempt has ended. */
void rpc_attempt_over(struct rpc *r, const struct cairn_error *reason, bool is_refused);
void sdk_rpc_finish(struct rpc *r, const struct cairn_error *error);
void rpc_end_all(struct link *list, int code); /* closing */

/* ---- HTTP/2 (h2.c; the one file that includes nghttp2) ------------------------------------------------- */

struct h2;
struct h2 *h2_dial(struct cairn_client *c, size_t endpoint);
void h2_submit(struct h2 *h, struct rpc *r);
void h2_resume(struct h2 *h, struct rpc *r); /* the call has more to send */
void h2_drop(struct h2 *h, struct rpc *r);   /* resets the stream and removes the call */
void h2_flush(struct h2 *h);
void h2_free(struct h2 *h); /* it must have no calls */

struct h2 {
    struct link link; /* in client.h2s */
    struct cairn_client *client;
    size_t endpoint;
    struct sock *sock;
    struct nghttp2_session *session;
    struct link running; /* the calls on it */
    struct link touched; /* calls with messages or an end to deliver */
    struct timer keepalive;
    uint64_t received_ms;
    bool is_ready, is_ping_out;
    bool is_draining; /* it takes no new calls and is closed after its last one */
    bool is_closed;   /* channel_turn will free it; the reason is in `why` */
    char why[320];
};

/* ---- the connection in use (channel.c) --------------------------------------------------------------- */

enum channel_state {
    CHANNEL_IDLE,    /* there are no calls */
    CHANNEL_DIALING, /* until the server's SETTINGS */
    CHANNEL_AUTH,    /* Authenticate is under way */
    CHANNEL_READY,
    CHANNEL_PAUSED /* all endpoints have failed: pause before the next round */
};

void channel_opened(struct h2 *h);   /* h2.c: SETTINGS arrived */
void channel_draining(struct h2 *h); /* h2.c: GOAWAY, or the member cannot serve */
/* Makes a call after which there is a token: any call makes the channel authenticate. */
struct rpc *channel_get_token(struct cairn_client *c,
                              void (*on_end)(struct rpc *r, const struct cairn_error *error), void *owner);
/* ---- the user's token (token.c) ------------------------------------------------------------------------ */

void token_take(struct cairn_client *c, const char *token); /* Authenticate returned it */
void token_drop(struct cairn_client *c);
bool token_is_needed(const struct cairn_client *c); /* Authenticate must be called before the next use */
bool is_token_refusal(int code, const char *message);
/* The server refused the token with this serial. True: the next use authenticates, so the caller may repeat
 * what was refused. False: there is no user, or several tokens in a row were refused. */
MUST_CHECK bool token_refused(struct cairn_client *c, uint64_t serial);
void token_accepted(struct cairn_client *c, uint64_t serial);
/* The life of a JWT in ms from now on; 0 = it is none, or says no end. Pure. */
int64_t token_life_ms(struct slice token, int64_t now_ms);

void channel_turn(struct cairn_client *c); /* before the loop sleeps: opens and closes connections */
void channel_end(struct cairn_client *c);  /* the client is being closed */

struct cairn_client {
    /* constant after cairn_open */
    struct endpoints endpoints;
    struct tls_context *tls;      /* NULL = none; ALPN h2 */
    struct tls_context *tls_http; /* ALPN http/1.1 */
    char *client_id, *labels, *cache_dir;
    uint32_t dial_timeout_ms, command_timeout_ms, keepalive_interval_ms, keepalive_timeout_ms;
    uint32_t token_lifetime_ms;
    void (*on_state)(struct cairn_client *c, const struct cairn_state_change *change, void *arg);
    void (*on_log)(struct cairn_client *c, enum cairn_log_level level, const char *line, void *arg);
    void *report_arg;
    pthread_t thread;   /* of the client; without one, the thread that opened it */
    bool is_threadless; /* the program's loop calls cairn_process */
    pid_t pid;          /* of the process that opened the client: others made by fork must not use it */

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
    bool is_processing; /* threadless: inside cairn_process; is_due: it is to be called without waiting */
    bool is_due;
    struct heap timers;
    enum channel_state state;
    struct h2 *current;  /* the connection that is dialing or in use */
    struct link h2s;     /* all connections, draining ones included */
    struct link waiting; /* calls without a connection */
    struct link paused;  /* calls that pause before the next attempt */
    size_t next_endpoint, failed_in_a_row;
    uint64_t pause_ms;
    struct timer pause, dial_timer;
    char *user, *password;
    char *token;
    uint64_t token_serial, token_due_ms; /* due: when it is renewed before its next use */
    unsigned token_failures;             /* tokens in a row that the server refused */
    bool is_auth_off;                    /* the server said that authentication is not enabled */
    struct rpc *auth;                    /* Authenticate, under way */
    char last_reason[400];               /* why there is no connection */
    size_t call_count;
    struct stream *stream; /* NULL until its first user */
    struct link objects;   /* of `struct object`: stopped when the client is closed */
    struct link reports;   /* not delivered yet (state.c) */
};

/* An object of the client, such as a watch. It lives until its owner stops it or the client is closed. */
struct object {
    struct link link;
    void (*stop)(struct object *o); /* frees it */
};
void object_add(struct cairn_client *c, struct object *o);
/* any thread: runs `stop` on the client's thread and waits */
void object_stop(struct cairn_client *c, struct object *o);

/* ---- results (call.c) ---------------------------------------------------------------------------------- */

/* A zeroed result; its arena holds all its parts. */
void *result_new(size_t size, struct arena **ret_arena);

#endif
