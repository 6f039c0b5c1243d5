/* SPDX-License-Identifier: Apache-2.0
 * Translation of cairn.h's requests to etcd's messages, and of etcd's responses to cairn.h's results. The
 * translated message borrows from the arena and from the original. Pure. */
#ifndef SDK_MESSAGE_H
#define SDK_MESSAGE_H

#include "proto/rpc.pb-c.h"
#include "sdk/private.h"

/* fill_NAME: CAIRN_INVALID with a sentence if the request is invalid. A NULL request counts as a zeroed
 * one. */
#define CALL(name, path, kind, request, response)                                                            \
    MUST_CHECK int fill_##name(const struct cairn_##name##_request *in, struct arena *a,                     \
                               ProtobufCMessage *message, struct cairn_error *error);                        \
    void read_##name(const ProtobufCMessage *message, struct arena *a, struct cairn_##name##_result *out);
#include "sdk/call.def"

struct cairn_kv *read_kv(const Mvccpb__KeyValue *in, struct cairn_kv *out);
void read_header(const Etcdserverpb__ResponseHeader *in, struct cairn_header *out);
bool txn_is_read(const struct cairn_txn_request *t);
ProtobufCBinaryData bytes_out(struct cairn_bytes b);
/* Computes key and range_end from prefix and from_key; CAIRN_INVALID if they contradict each other. */
MUST_CHECK int fill_range_end(struct cairn_bytes key, struct cairn_bytes range_end, bool prefix,
                              bool from_key, struct arena *a, ProtobufCBinaryData *ret_key,
                              ProtobufCBinaryData *ret_end, struct cairn_error *error);

#endif
