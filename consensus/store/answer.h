/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a long answer, written while it is being made, so that neither the messages nor what they
 * borrow from the store need to live until the end.
 *
 * A message inside another one has its length in front, which is not known when the message begins: five
 * bytes are reserved for the length, and set when the message ends. The result is a padded varint, which
 * every protobuf decoder accepts. */
#ifndef CONSENSUS_STORE_ANSWER_H
#define CONSENSUS_STORE_ANSWER_H

#include "base/buf.h"
#include "proto/rpc.pb-c.h"

#define ANSWER_BYTES_MAX INT32_MAX /* of one message of gRPC, as etcd's */

struct answer {
    struct buf *out;   /* NULL = nobody waits for it */
    bool is_too_large; /* nothing is written any more */
};

static inline bool answer_is_wanted(const struct answer *a)
{
    return a->out && !a->is_too_large;
}

/* Begins a message in this field; returns the place that answer_close needs. */
size_t answer_open(struct answer *a, unsigned field);
void answer_close(struct answer *a, size_t place);
/* The fields of a message of the type under way: merged with those that are there. */
void answer_add(struct answer *a, const ProtobufCMessage *fields);
void answer_add_bool(struct answer *a, unsigned field, bool value);

#endif
