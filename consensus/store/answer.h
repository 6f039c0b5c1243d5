/* SPDX-License-Identifier: Apache-2.0
 * Encoder of a long response: its bytes are written while it is computed, so that neither the messages nor
 * the store's bytes that they point to must live until the end.
 *
 * A nested message has its length in front, which is not known when the message begins. Five bytes are
 * reserved for the length and set when the message ends. The result is a padded varint, which every protobuf
 * decoder accepts. */
#ifndef CONSENSUS_STORE_ANSWER_H
#define CONSENSUS_STORE_ANSWER_H

#include "base/buf.h"
#include "proto/rpc.pb-c.h"

#define ANSWER_BYTES_MAX INT32_MAX /* of one gRPC message, as etcd's */

struct answer {
    struct buf *out;   /* NULL = nobody waits for the response */
    bool is_too_large; /* nothing more is written */
};

static inline bool answer_is_wanted(const struct answer *a)
{
    return a->out && !a->is_too_large;
}

/* Begins a message in this field; returns the place for answer_close. */
size_t answer_open(struct answer *a, unsigned field);
void answer_close(struct answer *a, size_t place);
/* Adds the fields of a message of the present type; they merge with those that are there. */
void answer_add(struct answer *a, const ProtobufCMessage *fields);
void answer_add_bool(struct answer *a, unsigned field, bool value);

#endif
