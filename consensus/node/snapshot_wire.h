/* SPDX-License-Identifier: Apache-2.0
 * What two members say to each other while a snapshot goes over, as bytes on the bulk lane. Pure; whatever
 * does not decode is refused whole. All integers are little-endian; the first byte is CODEC_SNAPSHOT.
 *
 *   offer  1, id 8, size 8, algorithm 1, digest 32, raft's message as codec.h writes it; size and digest are
 *          0 as long as the sender does not know them: then another offer with them follows
 *   piece  2, id 8, offset 8, CRC-32C of the data 4, data
 *   answer 3, id 8, offset 8, status 1
 *
 * The id names one copy of a store: who has a part of it can go on with it, whoever asks. */
#ifndef CONSENSUS_NODE_SNAPSHOT_WIRE_H
#define CONSENSUS_NODE_SNAPSHOT_WIRE_H

#include "consensus/peer/codec.h"

#define SNAPSHOT_PIECE_MAX   (256u << 10) /* bytes of data in one message */
#define SNAPSHOT_DIGEST_SIZE 32u          /* SHA-256 of the whole file */

enum snapshot_kind { SNAPSHOT_OFFER = 1, SNAPSHOT_PIECE = 2, SNAPSHOT_ANSWER = 3 };

enum snapshot_status {
    SNAPSHOT_GOES_ON, /* everything before offset is written: more may come */
    SNAPSHOT_GAP,     /* a piece is missing: begin again at offset */
    SNAPSHOT_UNKNOWN, /* no such transfer here: offer it */
    SNAPSHOT_TAKEN,   /* whole, checked, synced and handed to raft */
    SNAPSHOT_REFUSED, /* not now, or not this */
    SNAPSHOT_STATUS_COUNT
};

struct snapshot_offer {
    uint64_t id;
    uint64_t size; /* 0 = not known yet, nor the digest */
    uint8_t digest[SNAPSHOT_DIGEST_SIZE];
    struct raft_message message; /* a SNAP; what it points to lies in the arena */
};

struct snapshot_piece {
    uint64_t id, offset;
    struct slice data; /* borrowed; its checksum holds */
};

struct snapshot_answer {
    uint64_t id, offset;
    enum snapshot_status status;
};

struct snapshot_words {
    enum snapshot_kind kind; /* which of these is set */
    struct snapshot_offer offer;
    struct snapshot_piece piece;
    struct snapshot_answer answer;
};

void snapshot_add_offer(struct buf *out, const struct snapshot_offer *offer);
/* Only what stands before the data. */
#define SNAPSHOT_PIECE_HEADER 22u
void snapshot_piece_header(uint8_t ret_header[SNAPSHOT_PIECE_HEADER], uint64_t id, uint64_t offset,
                           uint32_t crc);
void snapshot_add_answer(struct buf *out, const struct snapshot_answer *answer);
/* bytes after CODEC_SNAPSHOT. ERR_MALFORMED, ERR_CORRUPT (a piece whose checksum does not hold). */
MUST_CHECK int snapshot_read(struct slice bytes, struct arena *a, struct snapshot_words *ret_words);

#endif
