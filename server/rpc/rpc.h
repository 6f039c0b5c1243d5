/* SPDX-License-Identifier: Apache-2.0
 * One call of the etcd v3 API, whatever it came in on: gRPC (server/grpc), the JSON gateway or its WebSocket
 * (server/http). Services see decoded messages and answer with messages; transports see bytes.
 *
 * Life of a call: the transport finds the method, fills a call and calls rpc_start; on_message for each
 * request message; on_half_close when no more will come; then the service answers with rpc_send and exactly
 * one rpc_finish, or the transport ends it with rpc_cancel (client gone, deadline passed, shutdown). After
 * rpc_finish or rpc_cancel the service touches the call no more; the transport frees it and its arena.
 *
 * Any rpc_* function may finish the call before it returns, so a transport looks at the call afterwards only
 * if it keeps it alive itself; rpc.c never touches a call after transport->finish. Loop thread only. */
#ifndef SERVER_RPC_RPC_H
#define SERVER_RPC_RPC_H

#include <protobuf-c/protobuf-c.h>

#include "base/access.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "consensus/kv.h"

struct rpc_call;

enum rpc_kind { RPC_UNARY, RPC_SERVER_STREAM, RPC_BIDI };

enum rpc_presence {
    RPC_SERVED,
    RPC_METHOD_ABSENT, /* UNIMPLEMENTED "method X not implemented" */
};

/* What is checked before the handler runs, once auth is enabled; methods.def. */
enum rpc_access { RPC_NOBODY, RPC_KEYS, RPC_USER, RPC_ROOT, RPC_EACH };

struct identity;

struct rpc_method {
    const char *path;    /* "/etcdserverpb.KV/Range" */
    const char *gateway; /* "/v3/kv/range", or NULL where the gateway has none */
    enum rpc_kind kind;
    enum rpc_presence presence;
    enum rpc_access access; /* what is checked before the handler */
    enum access need;       /* what the call needs in the end */
    const ProtobufCMessageDescriptor *request, *response;
    /* The message lives in the call's arena; for RPC_BIDI only until the handler returns. */
    void (*on_message)(struct rpc_call *c, const ProtobufCMessage *m);
    void (*on_half_close)(struct rpc_call *c); /* RPC_BIDI only; may be NULL */
    /* NULL for most unary ones: */
    void (*on_writable)(struct rpc_call *c); /* streams: go on sending; also called after rpc_wake */
    void (*on_cancel)(struct rpc_call *c);   /* release what the call holds */
};

/* NULL when there is none. Both are O(1). */
const struct rpc_method *rpc_method_find(struct slice path);
const struct rpc_method *rpc_gateway_find(struct slice path); /* aliases and /v3beta/ included */
const struct rpc_method *rpc_method_at(size_t index);         /* for metrics and docs; NULL past the end */
size_t rpc_method_index(const struct rpc_method *m);
/* What grpc-go says about a path that rpc_method_find does not know; the status is UNIMPLEMENTED (12). */
void rpc_unknown_path_text(struct slice path, char *ret_text, size_t size);

/* What every service may use. Zero what is not set. */
struct rpc_server {
    struct kv *kv;
    struct identity *identity; /* who calls are from; NULL: nobody can say (tests) */
    uint64_t (*mono_ms)(void);
    bool is_draining;           /* health answers NOT_SERVING; set by rpc_server_drain */
    uint64_t request_bytes_max; /* about the size of a RangeStream message; 0 = 1.5 MiB */
    uint64_t txn_ops_max;       /* of a transaction with more not all are decoded; 0 = all are */
    uint64_t slow_call_ns;      /* a unary call that takes longer is logged; 0 = none */
    /* rpc.c's own. */
    struct link streams; /* running calls of stream methods, and of those that may wait for long */
    struct link awake;   /* streams that rpc_server_turn goes on with */
    size_t calls;        /* running calls */
    uint64_t received;   /* messages so far */
    uint64_t asked;      /* of the store, so far, by calls that went on by themselves */
    unsigned leaderless_ticks;
    size_t places, place_bytes; /* taken by locks and elections */
    struct rpc_call *composer;  /* the watch whose long response is being composed: one at a time ... */
    struct link composing;      /* ... and those that wait for their turn */
};

/* Once per loop turn, after kv_turn and before the transports flush: lets streams send what has come up for
 * them. True: there is more to do, do not sleep before the next turn. */
bool rpc_server_turn(struct rpc_server *s);
/* Once per election timeout: after three of them without a leader, streams opened with hasleader end with
 * UNAVAILABLE "etcdserver: no leader", as etcd's. */
void rpc_server_tick(struct rpc_server *s);
/* Ends watches, keep-alives and who waits in a line with "etcdserver: server stopped", tells health watchers;
 * other calls go on. */
void rpc_server_drain(struct rpc_server *s);

#define RPC_FRAME_ROOM 5

struct rpc_transport {
    /* One response message as pieces; copied or queued before it returns. */
    void (*send)(struct rpc_call *c, const struct slice *pieces, size_t count);
    /* The same for a large message: takes the buffer, whose first RPC_FRAME_ROOM bytes are the transport's to
     * fill. NULL: `send` is used. */
    void (*send_whole)(struct rpc_call *c, struct buf *message);
    /* grpc_status 0 = OK. Everything sent before goes out first. May free the call. */
    void (*finish)(struct rpc_call *c, int grpc_status, const char *text);
    /* True: stop sending and wait for rpc_writable. Of a unary call: its client has not read earlier answers,
     * so this one need not be made yet. */
    bool (*is_congested)(const struct rpc_call *c);
};

struct rpc_call {
    const struct rpc_transport
        *transport; /* set by the transport, with all of this block; the rest is zero */
    const struct rpc_method *method;
    struct rpc_server *server;
    uint64_t deadline_ms;     /* monotonic; 0 = none; the transport ends a call that passes it */
    bool has_leader_required; /* metadata hasleader: true */
    bool is_gateway;
    struct slice token;      /* metadata token or authorization, "Bearer " cut off; lives with the call */
    const char *common_name; /* of the client's certificate; NULL = none. Of the gateway it does not count */
    struct slice client_api_version;
    const char *peer; /* "127.0.0.1:50123", for logs */
    uint64_t source;  /* source_conn_id: several clients may share one */

    struct arena arena;        /* the call's memory; RPC_BIDI: reset after each message */
    struct kv_request request; /* for unary methods */
    struct auth_who who;       /* set before each message is handed over; nobody while auth is not enabled */
    /* Of a call that may stay open: the author of its last message, and the epoch of rights (kv_auth_epoch)
     * at which it was judged last. */
    struct auth_who holder;
    void *holder_user;
    uint64_t judged;
    int who_err;                  /* of RPC_EACH: what the service is to say to it */
    const ProtobufCMessage *held; /* the message waits until its token is known here */
    struct buf early;             /* of RPC_BIDI: all messages that wait, each behind its size */
    bool is_held, is_held_closed;
    bool is_token_old;                  /* it was waited for: what is not known now is no token */
    struct buf gathered;                /* the parts of a long answer, behind RPC_FRAME_ROOM */
    void *state;                        /* the service's own; freed by it in finish or on_cancel */
    void (*cancel)(struct rpc_call *c); /* of a unary call that waits for something else than the store */
    bool is_finished;
    bool is_waiting;     /* request is with the store: rpc_cancel takes it back */
    bool has_message;    /* at least one message came */
    struct link link;    /* in server->streams */
    struct link awake;   /* in server->awake */
    struct link compose; /* in server->composing */
    uint64_t started_ns; /* set by rpc_start, for metrics */
};

/* --- for transports --------------------------------------------------------------------------- */
/* Counts the call, checks metadata (client-api-version UTF-8, hasleader): may finish the call at once. */
void rpc_start(struct rpc_call *c);
/* Decodes into the arena (depth and size limits) and hands over; a message that does not decode finishes the
 * call with INTERNAL, a second message on a unary call too. */
void rpc_receive(struct rpc_call *c, struct slice message);
/* The same for a message that is decoded already (the JSON gateway) and lives in the call's arena. */
void rpc_receive_message(struct rpc_call *c, const ProtobufCMessage *m);
void rpc_half_close(struct rpc_call *c);
void rpc_writable(struct rpc_call *c);
void rpc_cancel(struct rpc_call *c);             /* no callback of the transport comes after it */
void rpc_cancel_as(struct rpc_call *c, int err); /* the same; counted as this error, such as ERR_DEADLINE */

/* --- for services --------------------------------------------------------------------------------- */
void rpc_send(struct rpc_call *c, const ProtobufCMessage *m);
void rpc_send_pieces(struct rpc_call *c, const struct slice *pieces, size_t count); /* one encoded message */
void rpc_finish(struct rpc_call *c, int err); /* status and text from the table; 0 = OK */
void rpc_finish_text(struct rpc_call *c, int grpc_status, const char *text);
void rpc_reply(struct rpc_call *c, int err, const ProtobufCMessage *m); /* send if err is 0, then finish */
bool rpc_is_congested(const struct rpc_call *c);
/* on_writable will be called by the next rpc_server_turn. */
void rpc_wake(struct rpc_call *c);
/* The call's own request, set up to answer with what the store answers. For unary methods. */
struct kv_request *rpc_store_request(struct rpc_call *c);
/* What the request's own `done` does, for a service that set another one: the last part behind the others. */
void rpc_store_reply(struct rpc_call *c, int err, const ProtobufCMessage *response);

/* --- metrics ------------------------------------------------------------------------------------- */
/* The labelled metrics of calls: grpc_server_started_total, _handled_total, _msg_received_total,
 * _msg_sent_total, etcd_server_client_requests_total. */
void rpc_metrics_start(void);
/* --metrics=extensive: grpc_server_handling_seconds too. */
void rpc_metrics_extensive(bool is_on);

#endif
