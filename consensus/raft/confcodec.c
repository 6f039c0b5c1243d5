/* SPDX-License-Identifier: Apache-2.0
 * Encoding of configuration changes as protobuf messages raftpb.ConfChange and raftpb.ConfChangeV2, so that
 * etcd's tools can read a log. Written by hand: two flat messages, whose bytes come from the network. */
#include "base/varint.h"
#include "consensus/raft/message.h"

enum { V1_ID = 1, V1_TYPE = 2, V1_NODE = 3, V1_CONTEXT = 4 };
enum { V2_TRANSITION = 1, V2_CHANGES = 2, V2_CONTEXT = 3 };
enum { SINGLE_TYPE = 1, SINGLE_NODE = 2 };

/* --- encode --- */
static void raft_confcodec_put_varint(struct buf *b, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        buf_add_byte(b, (uint8_t)(value | 0x80));
    buf_add_byte(b, (uint8_t)value);
}

static void put_number(struct buf *b, unsigned field, uint64_t value)
{
    raft_confcodec_put_varint(b, field << 3 | WIRE_VARINT);
    raft_confcodec_put_varint(b, value);
}

static void put_bytes(struct buf *b, unsigned field, struct slice bytes)
{
    raft_confcodec_put_varint(b, field << 3 | WIRE_BYTES);
    raft_confcodec_put_varint(b, bytes.size);
    buf_add_slice(b, bytes);
}

static void encode_v1(struct buf *b, const struct raft_conf_change *change)
{
    if (change->id)
        put_number(b, V1_ID, change->id);
    put_number(b, V1_TYPE, change->changes[0].type);
    put_number(b, V1_NODE, change->changes[0].node_id);
    if (change->context.size)
        put_bytes(b, V1_CONTEXT, change->context);
}

static void encode_v2(struct buf *b, const struct raft_conf_change *change)
{
    struct buf single = {0};
    put_number(b, V2_TRANSITION, change->transition);
    for (uint32_t i = 0; i < change->count; i++) {
        buf_clear(&single);
        put_number(&single, SINGLE_TYPE, change->changes[i].type);
        put_number(&single, SINGLE_NODE, change->changes[i].node_id);
        put_bytes(b, V2_CHANGES, buf_slice(&single));
    }
    if (change->context.size)
        put_bytes(b, V2_CONTEXT, change->context);
    buf_done(&single);
}

struct blob *raft_conf_change_encode(const struct raft_conf_change *change, bool v1)
{
    struct buf b = {0};
    if (v1)
        encode_v1(&b, change);
    else
        encode_v2(&b, change);
    struct blob *blob = blob_copy(buf_slice(&b));
    buf_done(&b);
    return blob;
}

/* --- decode --- */
static bool is_number(const struct wire_field *f, unsigned number)
{
    return f->type == WIRE_VARINT && f->number == number;
}

static bool is_bytes(const struct wire_field *f, unsigned number)
{
    return f->type == WIRE_BYTES && f->number == number;
}

static int decode_v1(struct slice in, struct raft_conf_change *change)
{
    change->count = 1;
    while (in.size) {
        struct wire_field f;
        if (!wire_field_take(&in, &f))
            return ERR_MALFORMED;
        if (is_number(&f, V1_TYPE)) {
            if (f.value > RAFT_ADD_LEARNER)
                return ERR_MALFORMED;
            change->changes[0].type = (enum raft_conf_change_type)f.value;
        } else if (is_number(&f, V1_NODE)) {
            change->changes[0].node_id = f.value;
        } else if (is_number(&f, V1_ID)) {
            change->id = f.value;
        } else if (is_bytes(&f, V1_CONTEXT)) {
            change->context = f.bytes;
        }
    }
    return 0;
}

static int decode_single(struct slice in, struct raft_conf_change_single *single)
{
    while (in.size) {
        struct wire_field f;
        if (!wire_field_take(&in, &f))
            return ERR_MALFORMED;
        if (is_number(&f, SINGLE_TYPE)) {
            if (f.value > RAFT_ADD_LEARNER)
                return ERR_MALFORMED;
            single->type = (enum raft_conf_change_type)f.value;
        } else if (is_number(&f, SINGLE_NODE)) {
            single->node_id = f.value;
        }
    }
    return 0;
}

static int decode_v2(struct slice in, struct raft_conf_change *change)
{
    while (in.size) {
        struct wire_field f;
        if (!wire_field_take(&in, &f))
            return ERR_MALFORMED;
        if (is_number(&f, V2_TRANSITION)) {
            if (f.value > RAFT_TRANSITION_JOINT_EXPLICIT)
                return ERR_MALFORMED;
            change->transition = (enum raft_transition)f.value;
        } else if (is_bytes(&f, V2_CHANGES)) {
            if (change->count == RAFT_CHANGES_MAX)
                return ERR_LIMIT;
            int err = decode_single(f.bytes, &change->changes[change->count++]);
            if (err)
                return err;
        } else if (is_bytes(&f, V2_CONTEXT)) {
            change->context = f.bytes;
        }
    }
    return 0;
}

int raft_conf_change_decode(struct slice data, bool v1, struct raft_conf_change *ret_change)
{
    struct raft_conf_change change = {0};
    int err = v1 ? decode_v1(data, &change) : decode_v2(data, &change);
    if (err == 0)
        *ret_change = change;
    return err;
}
