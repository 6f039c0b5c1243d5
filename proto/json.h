/* SPDX-License-Identifier: Apache-2.0
 * protobuf messages as JSON text and back, by protobuf-c's descriptors, in proto3 JSON as etcd's gateway
 * writes and reads it:
 *
 * - written: proto names; fields with their default value are left out.
 * - read: proto or lowerCamel names; unknown fields are ignored. */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum { JSON_DEPTH_MAX = 100 }; /* nesting of objects and arrays, ignored ones included */

/* Reads the first JSON value of the text into a message in the arena. It ignores the text after the value
 * and copies bytes fields, so the text may be freed. ERR_MALFORMED with one sentence in error: "proto:
 * (line 1:8): …". */
MUST_CHECK int json_to_message(const ProtobufCMessageDescriptor *d, struct slice text, struct arena *a,
                               char *error, size_t error_size, ProtobufCMessage **ret_message);

/* Appends the message without spaces; fields are in the order of their numbers. */
void message_to_json(const ProtobufCMessage *m, struct buf *out);

/* Splits a stream that arrives in pieces into JSON values. It reads each byte once. Valid when zeroed. */
struct json_scan {
    uint32_t depth;
    bool is_inside;   /* the value has begun */
    bool is_complete; /* the last json_scan ended exactly after a value */
    bool in_string, in_escape, is_scalar;
};

/* Returns the bytes of the piece that belong to the current value, blanks before it included. It only finds
 * the end of the value; json_to_message checks it. */
size_t json_scan(struct json_scan *s, struct slice piece);

#endif
