/* SPDX-License-Identifier: Apache-2.0
 * What members send each other, as bytes: one kind byte, then the kind's own. Little-endian varints; made for
 * raft's messages, which are most of it. Pure; any bytes are survived: what does not decode is refused whole.
 */
#ifndef CONSENSUS_PEER_CODEC_H
#define CONSENSUS_PEER_CODEC_H

#include "base/buf.h"
#include "base/mem.h"
#include "consensus/raft/message.h"

/* The first byte of every message on a lane. */
enum codec_kind {
    CODEC_RAFT = 1,     /* a raft message */
    CODEC_CALL = 2,     /* a request that only the leader can serve, with a number (kv/leader_calls.c) */
    CODEC_REPLY = 3,    /* its answer */
    CODEC_SNAPSHOT = 4, /* pieces of a snapshot and their acknowledgements (node/snapshot_*.c) */
    CODEC_HASH = 5,     /* comparing members' states */
    CODEC_ASK = 6,      /* a question from memory to memory (kv/member_rpc.c) */
    CODEC_ANSWER = 7,   /* its answer */
};

/* Entries in one message, so that few bytes cannot ask for much memory. The smallest entry counts 4 bytes
 * in raft's own limit of a message (raft_config.max_size_per_message): 1 MiB of those is just this many. */
#define CODEC_ENTRIES_MAX (1u << 18)

/* Appends a whole message of a lane: the kind byte CODEC_RAFT and m, payloads copied. Never called with a
 * local message or with responses attached. */
void codec_add_raft(struct buf *out, const struct raft_message *m);
/* bytes: what follows the kind byte, all of it. What the message points to lies in the arena, but the
 * payloads (of entries and of a snapshot), which are blobs of their own: codec_done_raft gives them back when
 * the message has been stepped. ERR_MALFORMED, and nothing to give back: unknown type, a local one, lengths
 * that lie, positions beyond RAFT_POSITION_MAX, too many members or entries, bytes left over, and whatever
 * codec_add_raft would have written in another way. */
MUST_CHECK int codec_read_raft(struct slice bytes, struct arena *a, struct raft_message *ret_message);
void codec_done_raft(struct raft_message *m);

#endif
