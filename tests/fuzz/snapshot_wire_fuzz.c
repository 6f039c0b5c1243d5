/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: messages of a snapshot transfer between members. The first byte chooses whether the checksum
 * of a piece is corrected. A message that can be read is written as the same bytes. */
#include <assert.h>

#include "base/hash.h"
#include "consensus/node/snapshot_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct buf bytes = {0}, again = {0};
    struct snapshot_packet words;
    static const uint8_t no_digest[SNAPSHOT_DIGEST_SIZE];
    if (size < 2)
        return 0;
    buf_add(&bytes, data + 1, size - 1);
    if (data[0] & 1 && bytes.size > SNAPSHOT_PIECE_HEADER - 1)
        put_le32(bytes.data + 17,
                 crc32c(0, bytes.data + SNAPSHOT_PIECE_HEADER - 1, bytes.size - SNAPSHOT_PIECE_HEADER + 1));
    if (snapshot_read(buf_slice(&bytes), &arena, &words) == 0) {
        uint8_t header[SNAPSHOT_PIECE_HEADER];
        if (words.kind == SNAPSHOT_OFFER) {
            snapshot_add_offer(&again, &words.offer);
        } else if (words.kind == SNAPSHOT_ANSWER) {
            snapshot_add_answer(&again, &words.answer);
        } else {
            struct slice d = words.piece.data;
            assert(d.size > 0 && d.size <= SNAPSHOT_PIECE_MAX);
            snapshot_piece_header(header, words.piece.id, words.piece.offset, crc32c(0, d.data, d.size));
            buf_add(&again, header, sizeof header);
            buf_add_slice(&again, d);
        }
        assert(again.data[0] == CODEC_SNAPSHOT && again.data[1] == words.kind);
        if (words.kind != SNAPSHOT_OFFER)
            assert(slice_equal(buf_slice(&bytes), slice_of(again.data + 1, again.size - 1)));
        else /* the digest comes with the size, never before */
            assert(words.offer.message.snapshot &&
                   (words.offer.size || memcmp(words.offer.digest, no_digest, sizeof no_digest) == 0) &&
                   words.offer.message.type == RAFT_MSG_SNAP);
    }
    buf_done(&bytes);
    buf_done(&again);
    arena_done(&arena);
    return 0;
}
