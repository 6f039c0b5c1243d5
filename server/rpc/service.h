/* SPDX-License-Identifier: Apache-2.0
 * Inside server/rpc only: the handlers that methods.def names, the guard before decoding, the counting. */
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
#define ABSENT(service, method, kind, gateway, request, response, presence)
#include "server/rpc/methods.def"
#undef UNARY
#undef STREAM
#undef WAITS
#undef ABSENT

enum { RPC_METHODS_MAX = 96, RPC_STATUS_COUNT = 17 };

/* --- rpc_depth.c: pure ------------------------------------------------------------------------------ */
enum {
    RPC_DEPTH_MAX = 300,     /* messages in messages; etcd's limit of operations lets a txn reach 258 */
    RPC_FIELDS_MAX = 262144, /* fields of one message, nested ones included */
    RPC_UNKNOWN_FIELDS_MAX = 1024,
};
/* NULL when the bytes may be given to protobuf-c: well-formed, not too deep, not more fields than an honest
 * request has, strings in UTF-8. Otherwise what is wrong, in the words of Go's decoder. *ret_has_surplus: a
 * transaction in it has a list of more than ops_max elements (0 = no limit). */
const char *rpc_message_check(const ProtobufCMessageDescriptor *descriptor, struct slice bytes,
                              uint64_t ops_max, bool *ret_has_surplus);
/* The same message without what store_check_txn does not need to refuse it; it has been checked. */
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

/* --- shared by services ------------------------------------------------------------------------------ */
/* Ends a stream from the server's side: on_cancel, then finish. */
void rpc_abort(struct rpc_call *c, int err);
/* A watch stream whose on_ready wakes the call, and whose watchers last as long as the call's author may read
 * what they watch: else they are canceled with etcd's text. */
struct watch_stream *rpc_watch_open(struct rpc_call *c);
/* With which text etcd refuses a watch that `err` stands against, in Go's words for a status. */
const char *rpc_watch_refusal(int err);
/* For one long message: where its bytes are gathered, one part behind the other, and then sent. Released with
 * the call, or by buf_release. */
struct buf *rpc_gathered(struct rpc_call *c);
void rpc_send_gathered(struct rpc_call *c);
/* Ids, term and revision of now. */
void rpc_header_now(const struct rpc_call *c, Etcdserverpb__ResponseHeader *ret_header);
/* The header as field 1 of a response, length included; room for RPC_HEADER_MAX bytes. */
enum { RPC_HEADER_MAX = 48 };
size_t rpc_header_encode(const Etcdserverpb__ResponseHeader *header, uint8_t *ret_bytes);
void rpc_health_changed(struct rpc_server *s);

/* --- recipe.c: what locks and elections share ---------------------------------------------------------- */
/* They are written on Txn, Range, Watch and LeaseGrant alone, as a client's recipes are: what is asked of the
 * store for a caller passes kv_* with the caller's own rights. As etcd's, which has them over a client of its
 * own, they answer every error of the store as UNKNOWN. */
void rpc_recipe_fail(struct rpc_call *c, int err);
void rpc_recipe_refuse(struct rpc_call *c, const char *text); /* UNKNOWN too */
/* A place for a call that may stay for long, with the bytes it remembers; false: there is none left. */
bool rpc_place_take(struct rpc_server *s, size_t bytes);
void rpc_place_give(struct rpc_server *s, size_t bytes);
/* One output of a watch stream as the message it is. */
Etcdserverpb__WatchResponse *rpc_watch_response(const struct watch_output *out, struct arena *a);

/* observe.c: the leader of an election is its oldest key. */
void election_range(struct arena *a, struct slice name, Etcdserverpb__RangeRequest *ret_range);

/* line.c: who stands first in a line has the lock, or is the leader. A place in it is a key,
 * <name>/<lease in hexadecimal>, that lives as long as the lease; its create revision is its number. */
struct line_place {
    const Etcdserverpb__ResponseHeader *header;
    ProtobufCBinaryData name, key;
    int64_t revision, lease;
};

struct line_kind {
    bool updates_value;             /* a key of the same lease that is there already gets the new value */
    bool is_answered_as_of_joining; /* header: of the moment the place was taken, not of its turn */
    const char *lost;               /* the place is gone before its turn came */
    void (*on_turn)(struct rpc_call *c, const struct line_place *place); /* finishes the call */
};

/* Takes a place and waits for its turn. A call that goes gives its place up; one that fails, too. lease 0:
 * one of 60 s, as etcd. */
void line_join(struct rpc_call *c, const struct line_kind *kind, struct slice name, int64_t lease,
               struct slice value);
void line_writable(struct rpc_call *c);
void line_leave(struct rpc_call *c); /* on_cancel */

#endif
