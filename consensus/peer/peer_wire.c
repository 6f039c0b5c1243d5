/* SPDX-License-Identifier: Apache-2.0
 * Frames and handshake payloads; see peer_wire.h. */
#include "consensus/peer/peer_wire.h"

#include <assert.h>

#include "base/hash.h"
#include "consensus/peer/peer.h"

/* header: | size 3 | kind 1 | CRC-32C of the payload 4 | CRC-32C of these 8 bytes 4 | */
enum { AT_KIND = 3, AT_PAYLOAD_CRC = 4, AT_HEADER_CRC = 8, SIZE_MASK = 0xffffff };

_Static_assert(PEER_MESSAGE_MAX <= SIZE_MASK, "a message's size fits three bytes");

/* Neither text nor TLS begins with these bytes, and a link that converts line ends is detected. */
static const uint8_t magic[8] = {0, 'C', 'A', 'I', 'R', 'N', '\r', '\n'};

const char *wire_reason_text(enum wire_reason reason)
{
    static const char *const texts[WIRE_REASON_COUNT] = {
        [WIRE_WELCOME] = "accepted",
        [WIRE_VERSION_UNKNOWN] = "peer protocol version not understood",
        [WIRE_NOT_READY] = "not a member of a cluster yet",
        [WIRE_WRONG_CLUSTER] = "cluster ID mismatch",
        [WIRE_WRONG_MEMBER] = "member ID mismatch",
        [WIRE_REMOVED] = "the member has been permanently removed from the cluster",
        [WIRE_TOO_MANY] = "too many unknown members",
        [WIRE_CERTIFICATE] = "the certificate is for none of the member's addresses",
        [WIRE_UNKNOWN_MEMBER] = "the member is not in the member list of the one that was dialed",
        [WIRE_UNPROVED] =
            "the member did not prove that it is one: give all members the same "
            "--join-token-file or peer TLS with --peer-trusted-ca-file, or let its recorded peer "
            "URL reach it",
        [WIRE_LEVEL] =
            ("the member is too old for the feature level of the cluster: start a newer version, or "
             "lower the cluster first with `etcdctl downgrade enable`"),
    };
    return reason < WIRE_REASON_COUNT ? texts[reason] : "refused";
}

const char *wire_reason_name(enum wire_reason reason)
{
    static const char *const names[WIRE_REASON_COUNT] = {
        [WIRE_WELCOME] = "none",
        [WIRE_VERSION_UNKNOWN] = "version",
        [WIRE_NOT_READY] = "not_ready",
        [WIRE_WRONG_CLUSTER] = "wrong_cluster",
        [WIRE_WRONG_MEMBER] = "wrong_member",
        [WIRE_REMOVED] = "removed",
        [WIRE_TOO_MANY] = "too_many",
        [WIRE_CERTIFICATE] = "certificate",
        [WIRE_UNKNOWN_MEMBER] = "unknown_member",
        [WIRE_UNPROVED] = "unproved",
        [WIRE_LEVEL] = "feature_level",
    };
    return reason < WIRE_REASON_COUNT ? names[reason] : "unknown";
}

/* --- frames --- */
void wire_add_frame(struct buf *out, enum wire_kind kind, struct slice head, struct slice body)
{
    size_t size = head.size + body.size;
    assert(size <= PEER_MESSAGE_MAX);
    uint8_t *p = buf_reserve(out, WIRE_HEADER_SIZE + size);
    put_le32(p, (uint32_t)size | (uint32_t)kind << 24);
    if (head.size)
        memcpy(p + WIRE_HEADER_SIZE, head.data, head.size);
    if (body.size)
        memcpy(p + WIRE_HEADER_SIZE + head.size, body.data, body.size);
    put_le32(p + AT_PAYLOAD_CRC, crc32c(0, p + WIRE_HEADER_SIZE, size));
    put_le32(p + AT_HEADER_CRC, crc32c(0, p, AT_HEADER_CRC));
    out->size += WIRE_HEADER_SIZE + size;
}

void wire_add_time(struct buf *out, enum wire_kind kind, uint64_t time_ns)
{
    uint8_t payload[WIRE_PING_SIZE];
    put_le64(payload, time_ns);
    wire_add_frame(out, kind, slice_of(payload, sizeof payload), (struct slice){0});
}

/* The longest payload allowed in this stage; false = the frame is not allowed. */
static bool limit_of(enum wire_stage stage, unsigned kind, size_t *ret_limit)
{
    static const struct {
        enum wire_stage stage;
        enum wire_kind kind;
        size_t limit;
    } allowed[] = {
        {WIRE_AWAIT_MESSAGES, WIRE_MESSAGE, PEER_MESSAGE_MAX},
        {WIRE_AWAIT_MESSAGES, WIRE_PING, WIRE_PING_SIZE},
        {WIRE_AWAIT_PONGS, WIRE_PONG, WIRE_PING_SIZE},
        /* Later versions may add fields. */
        {WIRE_AWAIT_HELLO, WIRE_HELLO, 2 * (WIRE_HELLO_SIZE + WIRE_URLS_MAX)},
        {WIRE_AWAIT_CHALLENGE, WIRE_CHALLENGE, 256},
        {WIRE_AWAIT_CHALLENGE, WIRE_HELLO_REPLY, 256}, /* refused */
        {WIRE_AWAIT_PROOF, WIRE_PROOF, PROOF_MAC_SIZE},
        {WIRE_AWAIT_REPLY, WIRE_HELLO_REPLY, 256},
        {WIRE_AWAIT_QUERY, WIRE_QUERY, PROOF_MAC_SIZE + PEER_QUERY_MAX},
        {WIRE_AWAIT_ANSWER, WIRE_ANSWER, PEER_QUERY_MAX},
        {WIRE_AWAIT_ANSWER, WIRE_HELLO_REPLY, 256}, /* refused */
        {WIRE_AWAIT_CONFIRM, WIRE_CONFIRM, WIRE_CONFIRM_SIZE},
        {WIRE_AWAIT_CONFIRMED, WIRE_CONFIRMED, PROOF_MAC_SIZE},
        {WIRE_AWAIT_CONFIRMED, WIRE_HELLO_REPLY, 256}, /* another version */
    };
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (allowed[i].stage == stage && allowed[i].kind == kind) {
            *ret_limit = allowed[i].limit;
            return true;
        }
    return false;
}

static bool is_size_valid(enum wire_kind kind, size_t size)
{
    if (kind == WIRE_PING || kind == WIRE_PONG)
        return size == WIRE_PING_SIZE;
    if (kind == WIRE_PROOF)
        return size == PROOF_MAC_SIZE;
    if (kind == WIRE_QUERY)
        return size >= PROOF_MAC_SIZE;
    if (kind == WIRE_CONFIRMED)
        return size == PROOF_MAC_SIZE || size == 0;
    return true;
}

int wire_take(struct slice *in, enum wire_stage stage, struct wire_frame *ret_frame)
{
    size_t limit;
    if (in->size < WIRE_HEADER_SIZE)
        return 0;
    if (get_le32(in->data + AT_HEADER_CRC) != crc32c(0, in->data, AT_HEADER_CRC))
        return ERR_MALFORMED;
    size_t size = get_le32(in->data) & SIZE_MASK;
    if (!limit_of(stage, in->data[AT_KIND], &limit))
        return ERR_MALFORMED;
    if (size > limit)
        return ERR_LIMIT;
    if (in->size - WIRE_HEADER_SIZE < size)
        return 0;
    struct slice payload = slice_of(in->data + WIRE_HEADER_SIZE, size);
    if (get_le32(in->data + AT_PAYLOAD_CRC) != crc32c(0, payload.data, size))
        return ERR_CORRUPT;
    if (!is_size_valid((enum wire_kind)in->data[AT_KIND], size))
        return ERR_MALFORMED;
    *ret_frame = (struct wire_frame){(enum wire_kind)in->data[AT_KIND], payload};
    *in = slice_of(payload.data + size, in->size - WIRE_HEADER_SIZE - size);
    return 1;
}

/* --- hello --- */
static void put_le16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* | magic 8 | version 2 | stream 1 | 0 | level 4 | cluster 8 | from 8 | to 8 | run 8 | number 8 |
 *   | size of urls 2 | nonce 32 | urls | */
void wire_add_hello(struct buf *out, const struct wire_hello *h)
{
    uint8_t b[WIRE_HELLO_SIZE];
    assert(h->urls.size <= WIRE_URLS_MAX);
    memcpy(b, magic, sizeof magic);
    put_le16(b + 8, h->version);
    b[10] = h->stream;
    b[11] = 0;
    put_le32(b + 12, h->level);
    put_le64(b + 16, h->cluster_id);
    put_le64(b + 24, h->from);
    put_le64(b + 32, h->to);
    put_le64(b + 40, h->run);
    put_le64(b + 48, h->number);
    put_le16(b + 56, (unsigned)h->urls.size);
    memcpy(b + 58, h->nonce, PROOF_NONCE_SIZE);
    wire_add_frame(out, WIRE_HELLO, slice_of(b, sizeof b), h->urls);
}

int wire_read_hello(struct slice in, struct wire_hello *ret_hello)
{
    const uint8_t *b = in.data;
    if (in.size < 10 || memcmp(b, magic, sizeof magic) != 0)
        return ERR_MALFORMED;
    struct wire_hello h = {.version = get_le16(b + 8)};
    if (h.version != WIRE_VERSION) {
        *ret_hello = h;
        return OK;
    }
    if (in.size < WIRE_HELLO_SIZE)
        return ERR_MALFORMED;
    h.stream = b[10];
    h.level = get_le32(b + 12);
    h.cluster_id = get_le64(b + 16);
    h.from = get_le64(b + 24);
    h.to = get_le64(b + 32);
    h.run = get_le64(b + 40);
    h.number = get_le64(b + 48);
    memcpy(h.nonce, b + 58, PROOF_NONCE_SIZE);
    size_t urls = get_le16(b + 56);
    if (urls > WIRE_URLS_MAX || urls > in.size - WIRE_HELLO_SIZE ||
        (h.stream >= PEER_STREAM_COUNT && h.stream < WIRE_STREAM_CONFIRM))
        return ERR_MALFORMED;
    h.urls = slice_of(b + WIRE_HELLO_SIZE, urls);
    *ret_hello = h;
    return OK;
}

/*  | version 2 | 0 2 | nonce 32 | MAC 32 | */
void wire_add_challenge(struct buf *out, const struct wire_challenge *c)
{
    uint8_t b[WIRE_CHALLENGE_SIZE] = {0};
    put_le16(b, c->version);
    memcpy(b + 4, c->nonce, PROOF_NONCE_SIZE);
    memcpy(b + 36, c->mac, PROOF_MAC_SIZE);
    wire_add_frame(out, WIRE_CHALLENGE, slice_of(b, sizeof b), (struct slice){0});
}

int wire_read_challenge(struct slice in, struct wire_challenge *ret_challenge)
{
    if (in.size < WIRE_CHALLENGE_SIZE)
        return ERR_MALFORMED;
    ret_challenge->version = get_le16(in.data);
    memcpy(ret_challenge->nonce, in.data + 4, PROOF_NONCE_SIZE);
    memcpy(ret_challenge->mac, in.data + 36, PROOF_MAC_SIZE);
    return OK;
}

/* | stream 1 | 0 7 | cluster 8 | from 8 | to 8 | run 8 | number 8 | tag 32 | */
void wire_add_confirm(struct buf *out, const struct wire_confirm *c)
{
    uint8_t b[WIRE_CONFIRM_SIZE] = {c->stream};
    put_le64(b + 8, c->cluster_id);
    put_le64(b + 16, c->from);
    put_le64(b + 24, c->to);
    put_le64(b + 32, c->run);
    put_le64(b + 40, c->number);
    memcpy(b + 48, c->tag, PROOF_MAC_SIZE);
    wire_add_frame(out, WIRE_CONFIRM, slice_of(b, sizeof b), (struct slice){0});
}

int wire_read_confirm(struct slice in, struct wire_confirm *ret_confirm)
{
    if (in.size != WIRE_CONFIRM_SIZE)
        return ERR_MALFORMED;
    *ret_confirm = (struct wire_confirm){.stream = in.data[0],
                                         .cluster_id = get_le64(in.data + 8),
                                         .from = get_le64(in.data + 16),
                                         .to = get_le64(in.data + 24),
                                         .run = get_le64(in.data + 32),
                                         .number = get_le64(in.data + 40)};
    memcpy(ret_confirm->tag, in.data + 48, PROOF_MAC_SIZE);
    if (ret_confirm->stream >= PEER_STREAM_COUNT && ret_confirm->stream != WIRE_STREAM_QUERY)
        return ERR_MALFORMED;
    return OK;
}

/*  | version 2 | reason 1 | 0 | level 4 | cluster 8 | member 8 | */
void wire_add_reply(struct buf *out, const struct wire_reply *r)
{
    uint8_t b[WIRE_REPLY_SIZE];
    put_le16(b, r->version);
    b[2] = (uint8_t)r->reason;
    b[3] = 0;
    put_le32(b + 4, r->level);
    put_le64(b + 8, r->cluster_id);
    put_le64(b + 16, r->member_id);
    wire_add_frame(out, WIRE_HELLO_REPLY, slice_of(b, sizeof b), (struct slice){0});
}

int wire_read_reply(struct slice in, struct wire_reply *ret_reply)
{
    if (in.size < WIRE_REPLY_SIZE)
        return ERR_MALFORMED;
    *ret_reply = (struct wire_reply){.version = get_le16(in.data),
                                     .reason = (enum wire_reason)in.data[2],
                                     .level = get_le32(in.data + 4),
                                     .cluster_id = get_le64(in.data + 8),
                                     .member_id = get_le64(in.data + 16)};
    return OK;
}
