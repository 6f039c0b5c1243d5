/* SPDX-License-Identifier: Apache-2.0
 * Wire format of snapshot transfers between members, on the bulk stream. Pure. A message that does not decode
 * is refused as a whole. Integers are little-endian. The first byte is CODEC_SNAPSHOT.
 *
 *   kind   | byte | fields, with their sizes in bytes
 *   -------+------+---------------------------------------------------------------------------------
 *   offer  | 1    | id 8, size 8, algorithm 1, digest 32, raft's message as codec.h writes it
 *   piece  | 2    | id 8, offset 8, CRC-32C of the data 4, data
 *   answer | 3    | id 8, offset 8, status 1
 *
 * Size and digest are 0 while the sender does not know them; a later offer has them. The id names one copy of
 * a store: a member with a part of it can continue with it, whichever member offers it. */
#ifndef CONSENSUS_NODE_SNAPSHOT_WIRE_H
#define CONSENSUS_NODE_SNAPSHOT_WIRE_H

#include "consensus/peer/codec.h"

#define SNAPSHOT_PIECE_MAX   (256u << 10) /* bytes of data in one message */
#define SNAPSHOT_DIGEST_SIZE 32u          /* SHA-256 of the whole file */

enum snapshot_kind { SNAPSHOT_OFFER = 1, SNAPSHOT_PIECE = 2, SNAPSHOT_ANSWER = 3 };

enum snapshot_status {
    SNAPSHOT_CONTINUE, /* all bytes before offset are written: send more */
    SNAPSHOT_GAP,      /* a piece is missing: continue at offset */
    SNAPSHOT_UNKNOWN,  /* no such transfer here: offer it */
    SNAPSHOT_ACCEPTED, /* complete, checked, synced and passed to raft */
    SNAPSHOT_REFUSED,  /* not now, or not this snapshot */
    SNAPSHOT_STATUS_COUNT
};

struct snapshot_offer {
    uint64_t id;
    uint64_t size; /* 0 = not known yet, nor the digest */
    uint8_t digest[SNAPSHOT_DIGEST_SIZE];
    struct raft_message message; /* a SNAP; its pointers live in the arena */
};

struct snapshot_piece {
    uint64_t id, offset;
    struct slice data; /* borrowed; its checksum is right */
};

struct snapshot_answer {
    uint64_t id, offset;
    enum snapshot_status status;
};

struct snapshot_packet {
    enum snapshot_kind kind; /* says which of these is set */
    struct snapshot_offer offer;
    struct snapshot_piece piece;
    struct snapshot_answer answer;
};

void snapshot_add_offer(struct buf *out, const struct snapshot_offer *offer);
/* The bytes before the data. */
#define SNAPSHOT_PIECE_HEADER 22u
void snapshot_piece_header(uint8_t ret_header[SNAPSHOT_PIECE_HEADER], uint64_t id, uint64_t offset,
                           uint32_t crc);
void snapshot_add_answer(struct buf *out, const struct snapshot_answer *answer);
/* Decodes the bytes after CODEC_SNAPSHOT. ERR_MALFORMED, ERR_CORRUPT (a piece with a wrong checksum). Release
 * offer.message with codec_done_raft. */
MUST_CHECK int snapshot_read(struct slice bytes, struct arena *a, struct snapshot_packet *ret_packet);

#endif
