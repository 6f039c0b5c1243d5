/* SPDX-License-Identifier: Apache-2.0
 * One call of the etcd v3 API over any transport: gRPC (server/grpc), the JSON gateway or its WebSocket
 * (server/http). Services see decoded messages and answer with messages; transports see bytes.
 *
 * Life of a call:
 *
 *   1. The transport finds the method, fills a struct rpc_call and calls rpc_start.
 *   2. The service's on_message runs for each request message, then on_half_close when no more will come.
 *   3. The service answers with rpc_send, any number of times, and ends with exactly one rpc_finish. Or the
 *      transport ends the call with rpc_cancel: the client is gone, the deadline passed, or the server stops.
 *   4. The service does not touch the call any more; the transport frees it and its arena.
 *
 * Any rpc_* function may finish the call before it returns. A transport that looks at the call afterwards must
 * keep it alive itself; rpc.c never touches a call after transport->finish. Loop thread only. */
#ifndef SERVER_RPC_RPC_H
#define SERVER_RPC_RPC_H

#include <protobuf-c/protobuf-c.h>

#include "base/access.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "consensus/audit.h"
#include "consensus/kv.h"

struct rpc_call;

enum rpc_kind { RPC_UNARY, RPC_SERVER_STREAM, RPC_BIDI };

/* Checks before the handler runs, while auth is enabled; methods.def explains each. */
enum rpc_access { RPC_NOBODY, RPC_KEYS, RPC_USER, RPC_ROOT, RPC_EACH };

struct identity;

struct rpc_method {
    const char *path;    /* "/etcdserverpb.KV/Range" */
    const char *gateway; /* "/v3/kv/range", or NULL where the gateway has none */
    enum rpc_kind kind;
    enum rpc_access access; /* the check before the handler */
    enum access need;       /* the permission that the call needs, wherever it is checked */
    const ProtobufCMessageDescriptor *request, *response;
    /* The message lives in the call's arena; for RPC_BIDI only until the handler returns. */
    void (*on_message)(struct rpc_call *c, const ProtobufCMessage *m);
    void (*on_half_close)(struct rpc_call *c); /* RPC_BIDI only; may be NULL */
    /* NULL for most unary ones: */
    void (*on_writable)(struct rpc_call *c); /* streams: go on sending; also called after rpc_wake */
    void (*on_cancel)(struct rpc_call *c);   /* releases the resources of the call */
};

/* NULL when there is none. Both are O(1). */
const struct rpc_method *rpc_method_find(struct slice path);
const struct rpc_method *rpc_gateway_find(struct slice path); /* aliases and /v3beta/ included */
const struct rpc_method *rpc_method_at(size_t index);         /* for metrics and docs; NULL past the end */
size_t rpc_method_index(const struct rpc_method *m);
/* grpc-go's error text for a path that rpc_method_find does not know; the status is UNIMPLEMENTED (12). */
void rpc_unknown_path_text(struct slice path, char *ret_text, size_t size);

/* The environment of all services. Fields that are not set are zero. */
struct rpc_server {
    struct kv *kv;
    struct identity *identity; /* authentication of callers; NULL: every caller is anonymous (tests) */
    /* Gets refused administrative attempts (with an error), and operations that are no entry of the log. NULL:
     * no audit trail. */
    void (*on_audit)(void *arg, const struct audit_record *r);
    void *audit_arg;
    uint64_t (*mono_ms)(void);
    bool is_draining;           /* health answers NOT_SERVING; set by rpc_server_drain */
    uint64_t request_bytes_max; /* approximate size of a RangeStream message; 0 = 1.5 MiB */
    uint64_t txn_ops_max;       /* operations of a transaction that are decoded, about; 0 = all */
    uint64_t slow_call_ns;      /* a unary call that takes longer is logged; 0 = none */
    /* Private to rpc.c. */
    struct link streams;     /* running calls of stream methods and of WAITS methods */
    struct link awake;       /* streams whose on_writable rpc_server_turn will call */
    size_t calls;            /* running calls */
    uint64_t received;       /* request messages so far */
    uint64_t store_requests; /* requests to the store so far, by calls that continue by themselves */
    unsigned leaderless_ticks;
    size_t places, place_bytes; /* calls of locks and elections, and bytes of their names */
    struct rpc_call *composer;  /* the watch call that composes a long response; one at a time ... */
    struct link composing;      /* ... and the calls that wait for it to end */
};

/* Sends pending output of streams. Call it once per loop turn, after kv_turn and before the transports
 * flush. Returns true if there is more to do: then the loop must not sleep before the next turn. */
bool rpc_server_turn(struct rpc_server *s);
/* Ends streams without a leader. Call it once per election timeout: after three calls without a leader,
 * streams opened with the metadata hasleader end with UNAVAILABLE "etcdserver: no leader", as in etcd. */
void rpc_server_tick(struct rpc_server *s);
/* Ends watches, keep-alives, and calls that wait for a lock or an election with "etcdserver: server
 * stopped". Notifies health watchers. Other calls continue. */
void rpc_server_drain(struct rpc_server *s);

#define RPC_FRAME_ROOM 5

struct rpc_transport {
    /* Sends one response message, given as pieces. The pieces are copied or queued before it returns. */
    void (*send)(struct rpc_call *c, const struct slice *pieces, size_t count);
    /* Sends one large message: takes the buffer. Its first RPC_FRAME_ROOM bytes are for the transport's
     * frame head. NULL: `send` is used. */
    void (*send_whole)(struct rpc_call *c, struct buf *message);
    /* Ends the call; grpc_status 0 = OK. Everything sent before goes out first. May free the call. */
    void (*finish)(struct rpc_call *c, int grpc_status, const char *text);
    /* True: the service stops sending and waits for rpc_writable. For a unary call it means that the
     * client has not read earlier answers; the service may delay this one. */
    bool (*is_congested)(const struct rpc_call *c);
};

struct rpc_call {
    const struct rpc_transport
        *transport; /* set by the transport, as all fields of this block; the rest is zero */
    const struct rpc_method *method;
    struct rpc_server *server;
    uint64_t deadline_ms;     /* monotonic; 0 = none; the transport ends a call that passes it */
    bool has_leader_required; /* metadata hasleader: true */
    bool is_gateway;
    struct slice token;      /* metadata token or authorization, "Bearer " cut off; lives with the call */
    const char *common_name; /* of the client's certificate; NULL = none; ignored for the gateway */
    struct slice client_api_version;
    const char *peer; /* "127.0.0.1:50123", for logs */
    uint64_t source;  /* source_conn_id: several clients may share one */

    struct arena arena;        /* the call's memory; RPC_BIDI: reset after each message */
    struct kv_request request; /* for unary methods */
    struct auth_who who;       /* the caller, set before each message; anonymous without auth */
    /* Of a call that may stay open: the author of its last message, and the epoch of rights
     * (kv_auth_epoch) of the last check. */
    struct auth_who holder;
    void *holder_user;
    uint64_t authorized_epoch;
    /* Of an administrative operation, for the audit trail: the change and its client. NULL = of no such. */
    struct audit_change *change;
    struct author *author;
    int who_err;                  /* of RPC_EACH: the error with which the service must answer */
    const ProtobufCMessage *held; /* the message that waits until its token is known on this member */
    struct buf early;             /* of RPC_BIDI: all messages that wait, each after its size */
    bool is_held, is_held_closed;
    bool is_token_old;                  /* the wait for the token is over: an unknown token is invalid */
    struct buf gathered;                /* the parts of a long answer, after RPC_FRAME_ROOM bytes */
    void *state;                        /* the service's state; it frees it in finish or on_cancel */
    void (*cancel)(struct rpc_call *c); /* of a unary call that waits for something other than the store */
    bool is_finished;
    bool is_waiting;     /* the store has `request`: rpc_cancel takes it back */
    bool has_message;    /* at least one message came */
    struct link link;    /* in server->streams */
    struct link awake;   /* in server->awake */
    struct link compose; /* in server->composing */
    uint64_t started_ns; /* set by rpc_start, for metrics */
};

/* --- for transports --------------------------------------------------------------------------- */
/* Counts the call, checks metadata (client-api-version UTF-8, hasleader): may finish the call at once. */
void rpc_start(struct rpc_call *c);
/* Decodes the message into the arena, within limits of depth and size, and delivers it. A message that
 * does not decode finishes the call with INTERNAL, as does a second message on a unary call. */
void rpc_receive(struct rpc_call *c, struct slice message);
/* As rpc_receive, for a decoded message in the call's arena (the JSON gateway). */
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
/* The next rpc_server_turn calls on_writable. */
void rpc_wake(struct rpc_call *c);
/* The call's own request, set up to answer the call with the store's response. For unary methods. */
struct kv_request *rpc_store_request(struct rpc_call *c);
/* The default `done` of that request, for a service that set another one. It appends the last part to the
 * gathered ones. */
void rpc_store_reply(struct rpc_call *c, int err, const ProtobufCMessage *response);

/* --- metrics ------------------------------------------------------------------------------------- */
/* The labelled metrics of calls: grpc_server_started_total, _handled_total, _msg_received_total,
 * _msg_sent_total, etcd_server_client_requests_total. */
void rpc_metrics_start(void);
/* --metrics=extensive: grpc_server_handling_seconds too. */
void rpc_metrics_extensive(bool is_on);

#endif
