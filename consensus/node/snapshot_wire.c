/* SPDX-License-Identifier: Apache-2.0
 * Encoding and decoding of snapshot messages; see the header. */
#include "consensus/node/snapshot_wire.h"

#include "base/hash.h"

enum { ALGORITHM_SHA256 = 1 };
/* Without the first byte, CODEC_SNAPSHOT. */
enum {
    OFFER_SIZE = 1 + 8 + 8 + 1 + SNAPSHOT_DIGEST_SIZE,
    PIECE_SIZE = 1 + 8 + 8 + 4,
    ANSWER_SIZE = 1 + 8 + 8 + 1
};

static uint8_t *node_snapshot_wire_begin(struct buf *out, enum snapshot_kind kind, size_t size)
{
    uint8_t *p = buf_reserve(out, 1 + size);
    out->size += 1 + size;
    p[0] = CODEC_SNAPSHOT;
    p[1] = (uint8_t)kind;
    return p + 2;
}

void snapshot_add_offer(struct buf *out, const struct snapshot_offer *offer)
{
    uint8_t *p = node_snapshot_wire_begin(out, SNAPSHOT_OFFER, OFFER_SIZE);
    put_le64(p, offer->id);
    put_le64(p + 8, offer->size);
    p[16] = ALGORITHM_SHA256;
    memcpy(p + 17, offer->digest, SNAPSHOT_DIGEST_SIZE);
    codec_add_raft(out, &offer->message);
}

void snapshot_piece_header(uint8_t ret_header[SNAPSHOT_PIECE_HEADER], uint64_t id, uint64_t offset,
                           uint32_t crc)
{
    ret_header[0] = CODEC_SNAPSHOT;
    ret_header[1] = SNAPSHOT_PIECE;
    put_le64(ret_header + 2, id);
    put_le64(ret_header + 10, offset);
    put_le32(ret_header + 18, crc);
}

void snapshot_add_answer(struct buf *out, const struct snapshot_answer *answer)
{
    uint8_t *p = node_snapshot_wire_begin(out, SNAPSHOT_ANSWER, ANSWER_SIZE);
    put_le64(p, answer->id);
    put_le64(p + 8, answer->offset);
    p[16] = (uint8_t)answer->status;
}

static bool node_snapshot_wire_is_zero(const uint8_t digest[SNAPSHOT_DIGEST_SIZE])
{
    static const uint8_t zeros[SNAPSHOT_DIGEST_SIZE];
    return memcmp(digest, zeros, sizeof zeros) == 0;
}

static int read_offer(struct slice bytes, struct arena *a, struct snapshot_offer *ret)
{
    const uint8_t *p = bytes.data + 1;
    if (bytes.size < OFFER_SIZE || p[16] != ALGORITHM_SHA256)
        return ERR_MALFORMED;
    ret->id = get_le64(p);
    ret->size = get_le64(p + 8);
    memcpy(ret->digest, p + 17, SNAPSHOT_DIGEST_SIZE);
    struct slice message = slice_of(bytes.data + OFFER_SIZE, bytes.size - OFFER_SIZE);
    if (message.size == 0 || message.data[0] != CODEC_RAFT)
        return ERR_MALFORMED;
    int err = codec_read_raft(slice_of(message.data + 1, message.size - 1), a, &ret->message);
    if (err)
        return err;
    const struct raft_message *m = &ret->message;
    bool fits = m->type == RAFT_MSG_SNAP && m->entry_count == 0 && m->snapshot && !m->snapshot->data &&
                m->snapshot->index && (ret->size || node_snapshot_wire_is_zero(ret->digest));
    if (!fits)
        codec_done_raft(&ret->message); /* an error returns nothing that must be freed */
    return fits ? 0 : ERR_MALFORMED;
}

static int read_piece(struct slice bytes, struct snapshot_piece *ret)
{
    const uint8_t *p = bytes.data + 1;
    if (bytes.size <= PIECE_SIZE || bytes.size > PIECE_SIZE + SNAPSHOT_PIECE_MAX)
        return ERR_MALFORMED;
    ret->id = get_le64(p);
    ret->offset = get_le64(p + 8);
    ret->data = slice_of(bytes.data + PIECE_SIZE, bytes.size - PIECE_SIZE);
    return crc32c(0, ret->data.data, ret->data.size) == get_le32(p + 16) ? 0 : ERR_CORRUPT;
}

static int read_answer(struct slice bytes, struct snapshot_answer *ret)
{
    const uint8_t *p = bytes.data + 1;
    if (bytes.size != ANSWER_SIZE || p[16] >= SNAPSHOT_STATUS_COUNT)
        return ERR_MALFORMED;
    ret->id = get_le64(p);
    ret->offset = get_le64(p + 8);
    ret->status = (enum snapshot_status)p[16];
    return 0;
}

int snapshot_read(struct slice bytes, struct arena *a, struct snapshot_packet *ret_packet)
{
    if (bytes.size == 0)
        return ERR_MALFORMED;
    ret_packet->kind = (enum snapshot_kind)bytes.data[0];
    switch (ret_packet->kind) {
    case SNAPSHOT_OFFER:
        return read_offer(bytes, a, &ret_packet->offer);
    case SNAPSHOT_PIECE:
        return read_piece(bytes, &ret_packet->piece);
    case SNAPSHOT_ANSWER:
        return read_answer(bytes, &ret_packet->answer);
    default:
        return ERR_MALFORMED;
    }
}
