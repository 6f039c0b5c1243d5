/* SPDX-License-Identifier: Apache-2.0
 * Codec of the messages between members: one byte for the kind, then the content of that kind. This file
 * encodes raft's messages, which are most of the traffic, with little-endian varints. Pure. Any input is
 * safe: bytes that do not decode are refused as a whole. */
#ifndef CONSENSUS_PEER_CODEC_H
#define CONSENSUS_PEER_CODEC_H

#include "base/buf.h"
#include "base/mem.h"
#include "consensus/raft/message.h"

/* The first byte of every message on a stream. */
enum codec_kind {
    CODEC_RAFT = 1,     /* a raft message */
    CODEC_CALL = 2,     /* a request that only the leader serves, with a number (kv/leader_calls.c) */
    CODEC_REPLY = 3,    /* its response */
    CODEC_SNAPSHOT = 4, /* pieces of a snapshot and their acknowledgements (node/snapshot_*.c) */
    CODEC_HASH = 5,     /* compares the states of members */
    CODEC_ASK = 6,      /* a member RPC: a request that is answered from memory (kv/member_rpc.c) */
    CODEC_ANSWER = 7,   /* its response */
};

/* Limits the entries of one message, so that few bytes cannot cause a large allocation. In raft's own limit
 * of a message (raft_config.max_size_per_message) the smallest entry counts 4 bytes: 1 MiB of those is this
 * number. */
#define CODEC_ENTRIES_MAX (1u << 18)

/* Appends a whole message of a stream: the kind byte CODEC_RAFT and m; payloads are copied. m must not be a
 * local message or have responses attached. */
void codec_add_raft(struct buf *out, const struct raft_message *m);
/* Decodes all bytes after the kind byte. The message points into the arena. The payloads (of entries and of a
 * snapshot) are blobs of their own; codec_done_raft releases them after the message was stepped.
 *
 * ERR_MALFORMED, with nothing to release:
 * - an unknown or local type
 * - wrong lengths, or bytes left over
 * - positions above RAFT_POSITION_MAX
 * - too many members or entries
 * - an encoding that differs from codec_add_raft's */
MUST_CHECK int codec_read_raft(struct slice bytes, struct arena *a, struct raft_message *ret_message);
void codec_done_raft(struct raft_message *m);

#endif
