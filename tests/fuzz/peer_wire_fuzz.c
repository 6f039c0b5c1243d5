/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: bytes from the other end of a connection between members. The input is cut into pieces in two
 * ways. The same frames come out, within the limits of their stage, and hellos that decode encode again. The
 * first byte says which stage begins, the second how the pieces are cut. A flag corrects the checksums
 * first, so that the input reaches the code after the checksum test. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/peer/peer.h"
#include "consensus/peer/peer_wire.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

enum { MEND = 0x80 };

/* Walks the frames by their lengths. */
static void mend(struct buf *b)
{
    for (size_t at = 0; b->size - at >= WIRE_HEADER_SIZE;) {
        uint8_t *p = b->data + at;
        size_t size = get_le32(p) & 0xfff; /* short, so that there are several */
        if (size > b->size - at - WIRE_HEADER_SIZE)
            size = b->size - at - WIRE_HEADER_SIZE;
        put_le32(p, (uint32_t)size | (uint32_t)(p[3] % 13) << 24);
        put_le32(p + 4, crc32c(0, p + WIRE_HEADER_SIZE, size));
        put_le32(p + 8, crc32c(0, p, 8));
        at += WIRE_HEADER_SIZE + size;
    }
}

static enum wire_stage after_hello(struct slice payload)
{
    struct wire_hello h, again;
    struct buf b = {0};
    struct wire_frame f;
    if (wire_read_hello(payload, &h) != OK)
        return WIRE_AWAIT_NOTHING;
    if (h.version != WIRE_VERSION)
        return WIRE_AWAIT_NOTHING;
    MUST(h.urls.size <= WIRE_URLS_MAX && (h.stream < PEER_STREAM_COUNT || h.stream >= WIRE_STREAM_CONFIRM));
    wire_add_hello(&b, &h);
    struct slice in = buf_slice(&b);
    MUST(wire_take(&in, WIRE_AWAIT_HELLO, &f) == 1 && wire_read_hello(f.payload, &again) == OK);
    MUST(again.from == h.from && again.number == h.number && slice_equal(again.urls, h.urls));
    buf_done(&b);
    return h.stream == WIRE_STREAM_QUERY     ? WIRE_AWAIT_QUERY
           : h.stream == WIRE_STREAM_CONFIRM ? WIRE_AWAIT_CONFIRM
                                             : WIRE_AWAIT_PROOF;
}

static enum wire_stage after_challenge(const struct wire_frame *f)
{
    struct wire_challenge c, again;
    struct buf b = {0};
    struct wire_frame back;
    if (f->kind != WIRE_CHALLENGE || wire_read_challenge(f->payload, &c) != OK)
        return WIRE_AWAIT_NOTHING;
    wire_add_challenge(&b, &c);
    struct slice in = buf_slice(&b);
    MUST(wire_take(&in, WIRE_AWAIT_CHALLENGE, &back) == 1 && wire_read_challenge(back.payload, &again) == OK);
    MUST(memcmp(again.nonce, c.nonce, sizeof c.nonce) == 0 && memcmp(again.mac, c.mac, sizeof c.mac) == 0);
    buf_done(&b);
    return WIRE_AWAIT_REPLY;
}

/* Queries, answers, dial-backs: one frame, then nothing. */
static enum wire_stage after_query(const struct wire_frame *f)
{
    struct wire_confirm q, again;
    struct buf b = {0};
    struct wire_frame back;
    MUST(f->kind != WIRE_QUERY || f->payload.size >= PROOF_MAC_SIZE);
    MUST(f->kind != WIRE_CONFIRMED || f->payload.size == PROOF_MAC_SIZE || !f->payload.size);
    if (f->kind != WIRE_CONFIRM || wire_read_confirm(f->payload, &q) != OK)
        return WIRE_AWAIT_NOTHING;
    wire_add_confirm(&b, &q);
    struct slice in = buf_slice(&b);
    MUST(wire_take(&in, WIRE_AWAIT_CONFIRM, &back) == 1 && wire_read_confirm(back.payload, &again) == OK);
    MUST(again.stream == q.stream && again.cluster_id == q.cluster_id && again.from == q.from &&
         again.to == q.to);
    MUST(again.run == q.run && again.number == q.number && memcmp(again.tag, q.tag, sizeof q.tag) == 0);
    buf_done(&b);
    return WIRE_AWAIT_NOTHING;
}

/* Feeds the conversation in pieces; returns a hash of the frames that were read. */
static uint64_t converse(struct slice bytes, enum wire_stage stage, size_t piece)
{
    uint64_t seen = 0;
    struct buf in = {0};
    int n = 0;
    while (bytes.size && n >= 0) {
        size_t size = bytes.size < piece ? bytes.size : piece;
        buf_add(&in, bytes.data, size);
        bytes = slice_of(bytes.data + size, bytes.size - size);
        struct slice rest = buf_slice(&in);
        struct wire_frame f;
        while ((n = wire_take(&rest, stage, &f)) == 1) {
            seen = seen * 31 + f.kind + hash64(f.payload.data, f.payload.size);
            MUST(f.payload.size <= PEER_MESSAGE_MAX);
            struct wire_reply reply;
            if (stage == WIRE_AWAIT_HELLO)
                stage = after_hello(f.payload);
            else if (stage == WIRE_AWAIT_REPLY)
                stage = wire_read_reply(f.payload, &reply) == OK && reply.reason == WIRE_WELCOME
                            ? WIRE_AWAIT_PONGS
                            : WIRE_AWAIT_NOTHING;
            else if (stage == WIRE_AWAIT_CHALLENGE)
                stage = after_challenge(&f);
            else if (stage == WIRE_AWAIT_PROOF)
                stage = WIRE_AWAIT_MESSAGES;
            else if (stage != WIRE_AWAIT_MESSAGES && stage != WIRE_AWAIT_PONGS)
                stage = after_query(&f);
        }
        buf_consume(&in, in.size - rest.size);
    }
    buf_done(&in);
    return seen * 31 + (uint64_t)(n < 0 ? n : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct buf b = {0};
    buf_add(&b, data + 2, size - 2);
    if (data[0] & MEND)
        mend(&b);
    enum wire_stage stage = (enum wire_stage)((data[0] & ~MEND) % (WIRE_AWAIT_NOTHING + 1));
    MUST(converse(buf_slice(&b), stage, b.size + 1) == converse(buf_slice(&b), stage, 1 + data[1] % 64));
    buf_done(&b);
    return 0;
}
