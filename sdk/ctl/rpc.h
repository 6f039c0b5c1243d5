/* SPDX-License-Identifier: Apache-2.0
 * etcd's RPCs with its messages as structs. They travel as JSON through the gateway that every member has
 * beside gRPC, so that this program needs one kind of connection only. */
#ifndef SDK_CTL_RPC_H
#define SDK_CTL_RPC_H

#include "proto/rpc.pb-c.h"
#include "sdk/ctl/ctl.h"

struct ctl_rpc {
    const char *path; /* "/v3/kv/range" */
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *answer;
    bool is_read;       /* may be repeated */
    bool is_quiet;      /* errors are not reported, only left in `error` */
    int64_t timeout_ms; /* 0 = --command-timeout; negative = none */
    char error[400];    /* in etcdctl's words */
    int code;           /* gRPC status; 0 = the error is not from the server */
};

/* Calls an RPC on any endpoint. The response lives in c->arena. */
enum ctl_exit ctl_rpc(struct ctl *c, struct ctl_rpc *rpc, void *ret_answer);
/* Calls an RPC on one endpoint. */
enum ctl_exit ctl_rpc_at(struct ctl *c, size_t endpoint, struct ctl_rpc *rpc, void *ret_answer);

/* A streaming response. */
struct ctl_stream {
    struct http_client *client;
    struct buf in;
    size_t used;    /* bytes of `in` that the last message used */
    size_t scanned; /* bytes of `in` without an end of line */
    struct arena arena;
    const ProtobufCMessageDescriptor *answer;
    bool is_quiet; /* set before it is opened: errors are not reported */
};
enum ctl_exit ctl_stream_open(struct ctl *c, struct ctl_rpc *rpc, struct ctl_stream *s);
/* Waits for the next message, which lives until the next call. *ret_answer NULL: the stream has ended. */
enum ctl_exit ctl_stream_next(struct ctl *c, struct ctl_stream *s, int64_t timeout_ms, void *ret_answer);
/* As ctl_stream_next, but also returns, perhaps with NULL, when wake_fd is readable. */
enum ctl_exit ctl_stream_poll(struct ctl *c, struct ctl_stream *s, int wake_fd, void *ret_answer);
/* Opens a stream in both directions: http_client_send_piece sends more requests. */
enum ctl_exit ctl_stream_open_two_way(struct ctl *c, struct ctl_rpc *rpc, struct ctl_stream *s);
void ctl_stream_done(struct ctl_stream *s);

/* --- etcdctl's outputs (etcd_show.c) -------------------------------------------------------------------- */
void ctl_show_message(
    /* as Go's encoding/json in one line, or the protobuf's bytes */
    struct ctl *c, const ProtobufCMessage *m);
void ctl_add_go_json(struct buf *out, const ProtobufCMessage *m);
/* Appends the fields of a header without the braces around them. */
void ctl_add_go_header(struct buf *out, const Etcdserverpb__ResponseHeader *h);
/* Lines of the form fields; with --hex the ids are hexadecimal. */
void ctl_show_member_id(struct ctl *c, const char *name, uint64_t id);
void ctl_show_lease_id(struct ctl *c, int64_t id);
void ctl_show_header_fields(struct ctl *c, const Etcdserverpb__ResponseHeader *h);
void ctl_show_kv(struct ctl *c, const Mvccpb__KeyValue *kv, bool with_key, bool with_value);
void ctl_show_kv_fields(struct ctl *c, const char *prefix, const Mvccpb__KeyValue *kv);
void ctl_show_range(struct ctl *c, const Etcdserverpb__RangeResponse *r, bool values_only);
void ctl_show_put(struct ctl *c, const Etcdserverpb__PutResponse *r);
void ctl_show_delete(struct ctl *c, const Etcdserverpb__DeleteRangeResponse *r);
void ctl_show_txn(struct ctl *c, const Etcdserverpb__TxnResponse *r);
/* Commands without the form table call this before their request; the error has exit code 4. In etcdctl's grammar the
 * request is sent nevertheless, as etcdctl does: the error comes at the end, in place of the output. */
enum ctl_exit ctl_no_table(struct ctl *c);
/* For commands that print more than once: the error comes at once in both grammars. */
enum ctl_exit ctl_no_table_ever(struct ctl *c);
/* In etcdctl's grammar the command does not have this form either; cairnctl's own has. */
void ctl_refuse_form(struct ctl *c, enum ctl_form form);
enum ctl_exit ctl_fail_form(struct ctl *c, const char *form);
/* Shows a message of which etcdctl's form protobuf has the header alone. */
void ctl_show_with_header(struct ctl *c, const ProtobufCMessage *m, const Etcdserverpb__ResponseHeader *h);

/* Numbers as Go reads them; an invalid one is reported. */
enum ctl_exit ctl_read_lease(struct ctl *c, const char *text, const char *what, int64_t *ret_id);
/* The time from one keep-alive of a lease to the next, in ms: a third of its TTL (seconds), rounded up to the half seconds at
 * which etcd's client looks whether one is due. */
int64_t ctl_keep_alive_pause_ms(int64_t ttl);
enum ctl_exit ctl_read_member(struct ctl *c, const char *text, uint64_t *ret_id);
bool ctl_hex_u64(const char *text, uint64_t *ret); /* the whole text, which must not be empty */
/* The ranges of --prefix and --from-key; the key may be empty. range_end lives in c->arena. */
void ctl_prefix_range(struct ctl *c, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end);
void ctl_from_key_range(struct ctl *c, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end);
static inline ProtobufCBinaryData ctl_bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

#endif
