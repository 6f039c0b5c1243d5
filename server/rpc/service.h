/* SPDX-License-Identifier: Apache-2.0
 * Private header of server/rpc: the handlers of methods.def, the check before decoding, and the counting. */
#ifndef SERVER_RPC_SERVICE_H
#define SERVER_RPC_SERVICE_H

#include "server/rpc/rpc.h"

/* --- handlers, declared from the table ------------------------------------------------------------ */
#define UNARY(service, method, gateway, request, response, handler, who, need)                               \
    void handler(struct rpc_call *c, const ProtobufCMessage *m);
#define STREAM(service, method, kind, gateway, request, response, prefix, who, need)                         \
    void prefix##_message(struct rpc_call *c, const ProtobufCMessage *m);                                    \
    void prefix##_half_close(struct rpc_call *c);                                                            \
    void prefix##_writable(struct rpc_call *c);                                                              \
    void prefix##_cancel(struct rpc_call *c);
#define WAITS(service, method, gateway, request, response, prefix, who, need)                                \
    void prefix##_message(struct rpc_call *c, const ProtobufCMessage *m);                                    \
    void prefix##_writable(struct rpc_call *c);                                                              \
    void prefix##_cancel(struct rpc_call *c);
#include "server/rpc/methods.def"
#undef UNARY
#undef STREAM
#undef WAITS

enum { RPC_METHODS_MAX = 96, RPC_STATUS_COUNT = 17 };

/* --- rpc_depth.c: pure ------------------------------------------------------------------------------ */
enum {
    RPC_DEPTH_MAX = 300,     /* nested messages; with etcd's limit of operations a txn reaches 258 */
    RPC_FIELDS_MAX = 262144, /* fields of one message, nested ones included */
    RPC_UNKNOWN_FIELDS_MAX = 1024,
};
/* Checks bytes before protobuf-c decodes them: well-formed, not too deep, not too many fields, strings in
 * UTF-8. Returns NULL, or the error text in the words of Go's decoder. *ret_has_surplus: a transaction in
 * it has a list of more than ops_max elements (0 = no limit). */
const char *rpc_message_check(const ProtobufCMessageDescriptor *descriptor, struct slice bytes,
                              uint64_t ops_max, bool *ret_has_surplus);
/* The same checked message without the surplus that store_check_txn does not need to reject it. */
void rpc_message_trim(const ProtobufCMessageDescriptor *descriptor, struct slice bytes, uint64_t ops_max,
                      struct buf *out);

/* --- rpc_metrics.c ----------------------------------------------------------------------------------- */
void rpc_count_request(const struct rpc_method *m, struct slice client_api_version);
void rpc_count_started(const struct rpc_method *m);
void rpc_count_received(const struct rpc_method *m);
void rpc_count_sent(const struct rpc_method *m);
void rpc_count_handled(const struct rpc_method *m, int grpc_status, uint64_t took_ns);
bool rpc_metrics_want_time(void);
const char *rpc_status_name(int grpc_status); /* in Go's words: "InvalidArgument" */

/* --- rpc_audit.c -------------------------------------------------------------------------------------- */
/* Before the caller is authenticated: notes what the message is going to change. */
void rpc_audit_begin(struct rpc_call *c, const ProtobufCMessage *m);
/* The caller is authenticated: names it. */
void rpc_audit_identified(struct rpc_call *c);
/* The call ends: reports a refusal, or a change that the log does not report. */
void rpc_audit_end(struct rpc_call *c, int err);

/* --- shared by services ------------------------------------------------------------------------------ */
/* Ends a stream from the server's side: calls on_cancel, then finishes it with this error. */
void rpc_abort(struct rpc_call *c, int err);
/* Opens a watch stream whose on_ready wakes the call. Its watchers last while the call's author may read
 * the watched range; otherwise they are canceled with etcd's text. */
struct watch_stream *rpc_watch_open(struct rpc_call *c);
/* The text with which etcd rejects a watch for this error, in Go's words for a status. */
const char *rpc_watch_refusal(int err);
/* The buffer in which one long message is gathered, part by part; rpc_send_gathered sends it. It is
 * released with the call, or by buf_release. */
struct buf *rpc_gathered(struct rpc_call *c);
void rpc_send_gathered(struct rpc_call *c);
/* A response header with the IDs, term and revision of this moment. */
void rpc_header_now(const struct rpc_call *c, Etcdserverpb__ResponseHeader *ret_header);
/* Encodes the header as field 1 of a response, length included. ret_bytes has room for RPC_HEADER_MAX
 * bytes. */
enum { RPC_HEADER_MAX = 48 };
size_t rpc_header_encode(const Etcdserverpb__ResponseHeader *header, uint8_t *ret_bytes);
void rpc_health_changed(struct rpc_server *s);

/* --- recipe.c: what locks and elections share ---------------------------------------------------------- */
/* Locks and elections use Txn, Range, Watch and LeaseGrant only, as a client's recipes do. Their requests
 * to the store carry the caller's own rights. They answer every error of the store as UNKNOWN, as etcd
 * does, which runs them over a client of its own. */
void rpc_recipe_fail(struct rpc_call *c, int err);
void rpc_recipe_refuse(struct rpc_call *c, const char *text); /* UNKNOWN too */
/* Reserves a place for a call that may wait for long, with the bytes of its names; false: there is none
 * left. */
bool rpc_place_take(struct rpc_server *s, size_t bytes);
void rpc_place_give(struct rpc_server *s, size_t bytes);
/* Decodes one output of a watch stream. */
Etcdserverpb__WatchResponse *rpc_watch_response(const struct watch_output *out, struct arena *a);

/* observe.c: the range request for the oldest key of an election, which is the leader's. */
void election_range(struct arena *a, struct slice name, Etcdserverpb__RangeRequest *ret_range);

/* line.c: the queue of a lock or an election. The first waiter has the lock, or is the leader. A place in
 * the queue is a key, <name>/<lease in hexadecimal>, that lives as long as the lease. Its create revision
 * is its number. */
struct line_place {
    const Etcdserverpb__ResponseHeader *header;
    ProtobufCBinaryData name, key;
    int64_t revision, lease;
};

struct line_kind {
    bool updates_value;             /* an existing key of the same lease gets the new value */
    bool is_answered_as_of_joining; /* the header has the revision at which the place was taken */
    const char *lost;               /* error text when the place is deleted before its turn */
    void (*on_turn)(struct rpc_call *c, const struct line_place *place); /* finishes the call */
};

/* Takes a place and waits for its turn. A call that ends or fails gives its place up. lease 0: a new lease
 * of 60 s, as in etcd. */
void line_join(struct rpc_call *c, const struct line_kind *kind, struct slice name, int64_t lease,
               struct slice value);
void line_writable(struct rpc_call *c);
void line_leave(struct rpc_call *c); /* on_cancel */

#endif
