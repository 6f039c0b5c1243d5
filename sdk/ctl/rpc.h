/* SPDX-License-Identifier: Apache-2.0
 * etcd's calls, with its messages as structs. They travel as JSON through the gateway every member has beside
 * gRPC, so that one kind of connection does for all of this program. */
#ifndef SDK_CTL_RPC_H
#define SDK_CTL_RPC_H

#include "proto/rpc.pb-c.h"
#include "sdk/ctl/ctl.h"

struct ctl_rpc {
    const char *path; /* "/v3/kv/range" */
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *answer;
    bool is_read;       /* may be asked twice */
    bool is_quiet;      /* failures are not said, but left in `error` */
    int64_t timeout_ms; /* 0 = the command's; negative = none */
    char error[400];    /* as etcdctl words it */
    int code;           /* gRPC's; 0 = it did not come from the server */
};

/* The answer lives in c->arena. */
enum ctl_exit ctl_rpc(struct ctl *c, struct ctl_rpc *rpc, void *ret_answer);
/* Of one endpoint alone. */
enum ctl_exit ctl_rpc_at(struct ctl *c, size_t endpoint, struct ctl_rpc *rpc, void *ret_answer);

/* An answer in many messages. */
struct ctl_stream {
    struct http_client *client;
    struct buf in;
    size_t used;   /* of in, by the message that was given last */
    size_t looked; /* so far there is no end of a line */
    struct arena arena;
    const ProtobufCMessageDescriptor *answer;
};
enum ctl_exit ctl_stream_open(struct ctl *c, struct ctl_rpc *rpc, struct ctl_stream *s);
/* The next message, which lives until the next call. *ret_answer NULL: it has ended. */
enum ctl_exit ctl_stream_next(struct ctl *c, struct ctl_stream *s, int64_t timeout_ms, void *ret_answer);
/* The same, but perhaps without one (NULL) when wake_fd can be read. */
enum ctl_exit ctl_stream_look(struct ctl *c, struct ctl_stream *s, int wake_fd, void *ret_answer);
/* More requests may follow the first one, by http_client_send_piece. */
enum ctl_exit ctl_stream_open_two_way(struct ctl *c, struct ctl_rpc *rpc, struct ctl_stream *s);
void ctl_stream_done(struct ctl_stream *s);

/* --- etcdctl's outputs (etcd_show.c)
 * ------------------------------------------------------------------------- */
void ctl_show_message(
    struct ctl *c, const ProtobufCMessage *m); /* as Go's encoding/json, one line; or the protobuf's bytes */
void ctl_add_go_json(struct buf *out, const ProtobufCMessage *m);
/* The members of a header without the brackets around it. */
void ctl_add_go_header(struct buf *out, const Etcdserverpb__ResponseHeader *h);
void ctl_show_header_fields(struct ctl *c, const Etcdserverpb__ResponseHeader *h);
void ctl_show_kv(struct ctl *c, const Mvccpb__KeyValue *kv, bool with_key, bool with_value);
void ctl_show_kv_fields(struct ctl *c, const char *prefix, const Mvccpb__KeyValue *kv);
void ctl_show_range(struct ctl *c, const Etcdserverpb__RangeResponse *r, bool values_only);
void ctl_show_put(struct ctl *c, const Etcdserverpb__PutResponse *r);
void ctl_show_delete(struct ctl *c, const Etcdserverpb__DeleteRangeResponse *r);
void ctl_show_txn(struct ctl *c, const Etcdserverpb__TxnResponse *r);
/* Has this command a form of output like that? etcdctl says no with exit 4. */
enum ctl_exit ctl_no_table(struct ctl *c);

/* Numbers as Go reads them, and what is said when they are none. */
enum ctl_exit ctl_read_lease(struct ctl *c, const char *text, const char *what, int64_t *ret_id);
enum ctl_exit ctl_read_member(struct ctl *c, const char *text, uint64_t *ret_id);
bool ctl_hex_u64(const char *text, uint64_t *ret); /* all of it, and something */
/* Its range for --prefix and --from-key; the key may be empty. range_end lives in c->arena. */
void ctl_prefix_range(struct ctl *c, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end);
void ctl_from_key_range(struct ctl *c, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end);
static inline ProtobufCBinaryData ctl_bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

#endif
