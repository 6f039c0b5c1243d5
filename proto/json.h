/* SPDX-License-Identifier: Apache-2.0
 * protobuf messages as JSON text and back, driven by protobuf-c's descriptors: the rules of proto3 JSON as
 * etcd's gateway sets them (proto names out, proto or lowerCamel names in, zero fields left out, unknown
 * fields ignored). */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum { JSON_DEPTH_MAX = 100 }; /* objects and arrays inside each other, ignored ones included */

/* Reads the first JSON value of the text into a message that lives in the arena; what follows it is not
 * looked at. bytes fields are copied, so the text may go. ERR_MALFORMED with one sentence in error: "proto:
 * (line 1:8): …". */
MUST_CHECK int json_to_message(const ProtobufCMessageDescriptor *d, struct slice text, struct arena *a,
                               char *error, size_t error_size, ProtobufCMessage **ret_message);

/* Appends without spaces, fields in the order of their numbers. */
void message_to_json(const ProtobufCMessage *m, struct buf *out);

/* Cuts a stream that comes in pieces into JSON values, looking at each byte once. Valid when zeroed. */
struct json_scan {
    uint32_t depth;
    bool is_inside;   /* the value has begun */
    bool is_complete; /* the last json_scan ended exactly behind a value */
    bool in_string, in_escape, is_scalar;
};

/* Bytes of the piece that belong to the current value (blanks before it count). Whether the value is well
 * formed is for json_to_message to say: this only finds its end. */
size_t json_scan(struct json_scan *s, struct slice piece);

#endif
