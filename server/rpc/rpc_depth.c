/* SPDX-License-Identifier: Apache-2.0
 * Checks of a message before protobuf-c decodes it: a walk over the wire format by descriptor, without
 * allocation. So the cost of any message is at most a small multiple of its size. Without them a TxnRequest of
 * 2 MiB can nest a million levels (the decoder recurses), or hold a million two-byte fields that decode into a
 * hundred bytes each.
 *
 * The store rejects a transaction with too many operations, in etcd's order of checks. So that not all of them
 * are decoded before, rpc_message_trim leaves one more than allowed in each list. A list within the limit is
 * not changed.
 *
 * Pure. It does not check values: the decoder rejects a known field with the wrong wire type. */
#include "base/text.h"
#include "server/rpc/service.h"

static const char malformed[] = "proto: cannot parse invalid wire-format data";

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum {
    TXN_LISTS = 3, /* fields 1 to 3 of a TxnRequest: compare, success, failure */
    LENGTH_SIZE = 5,
};

struct walk {
    size_t fields, unknown;
    uint64_t ops_max;
    bool has_surplus;
};

/* The number of elements seen of each list of a TxnRequest. */
struct txn_lists {
    uint64_t counts[TXN_LISTS];
};

static bool read_varint(struct slice *s, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (s->size && s->data[0] < 0x80) { /* most of them */
        *ret_value = s->data[0];
        s->data++;
        s->size--;
        return true;
    }
    for (unsigned i = 0; i < 10 && i < s->size; i++) {
        value |= (uint64_t)(s->data[i] & 0x7f) << (7 * i);
        if (!(s->data[i] & 0x80)) {
            s->data += i + 1;
            s->size -= i + 1;
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* Takes the value of the field off s. *ret_value is its bytes if it is of WIRE_BYTES. */
static bool rpc_depth_take_value(struct slice *s, unsigned wire_type, struct slice *ret_value)
{
    uint64_t size;
    switch (wire_type) {
    case WIRE_VARINT:
        return read_varint(s, &size);
    case WIRE_64:
        size = 8;
        break;
    case WIRE_32:
        size = 4;
        break;
    case WIRE_BYTES:
        if (!read_varint(s, &size))
            return false;
        break;
    default: /* groups: in no message of ours, and protobuf-c does not know them */
        return false;
    }
    if (size > s->size)
        return false;
    *ret_value = slice_of(s->data, size);
    s->data += size;
    s->size -= size;
    return true;
}

static bool is_txn(const ProtobufCMessageDescriptor *d)
{
    return d == &etcdserverpb__txn_request__descriptor;
}

/* The field is the n-th element of a list of the transaction; returns n, or 0. */
static uint64_t count_op(struct txn_lists *lists, const ProtobufCMessageDescriptor *d, uint64_t tag)
{
    if (!is_txn(d) || (tag & 7) != WIRE_BYTES || tag >> 3 > TXN_LISTS)
        return 0;
    return ++lists->counts[(tag >> 3) - 1];
}

static const char *check(const ProtobufCMessageDescriptor *d, struct slice s, unsigned depth, struct walk *w)
{
    struct txn_lists lists = {0};
    if (depth > RPC_DEPTH_MAX)
        return "proto: exceeded maximum recursion depth";
    while (s.size) {
        uint64_t tag;
        struct slice value = {0};
        if (!read_varint(&s, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
            return malformed;
        if (!rpc_depth_take_value(&s, tag & 7, &value))
            return malformed;
        if (++w->fields > RPC_FIELDS_MAX)
            return "proto: too many fields";
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
        if (!f) {
            if (++w->unknown > RPC_UNKNOWN_FIELDS_MAX)
                return "proto: too many unknown fields";
            continue;
        }
        if ((tag & 7) != WIRE_BYTES)
            continue;
        if (count_op(&lists, d, tag) > w->ops_max)
            w->has_surplus = true;
        if (!value.size && depth < RPC_DEPTH_MAX)
            continue; /* an empty message, and not too deep */
        if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
            const char *wrong = check(f->descriptor, value, depth + 1, w);
            if (wrong)
                return wrong;
        } else if (f->type == PROTOBUF_C_TYPE_STRING && !utf8_is_valid(value)) {
            return "string field contains invalid UTF-8";
        }
    }
    return NULL;
}

const char *rpc_message_check(const ProtobufCMessageDescriptor *descriptor, struct slice bytes,
                              uint64_t ops_max, bool *ret_has_surplus)
{
    struct walk w = {.ops_max = ops_max ? ops_max : UINT64_MAX};
    const char *wrong = check(descriptor, bytes, 1, &w);
    *ret_has_surplus = w.has_surplus;
    return wrong;
}

/* --- trimming ------------------------------------------------------------------------------------------ */

/* A transaction, or a message that may hold one. */
static bool may_be_trimmed(const ProtobufCFieldDescriptor *f)
{
    return f && f->type == PROTOBUF_C_TYPE_MESSAGE &&
           (f->descriptor == &etcdserverpb__request_op__descriptor || is_txn(f->descriptor));
}

/* A length of five bytes: a padded varint, which every decoder accepts. */
static void set_length(struct buf *b, size_t place)
{
    size_t length = b->size - place - LENGTH_SIZE;
    for (unsigned i = 0; i < LENGTH_SIZE; i++, length >>= 7)
        b->data[place + i] = (uint8_t)((length & 0x7f) | (i + 1 < LENGTH_SIZE ? 0x80 : 0));
}

static void rpc_depth_trim(const ProtobufCMessageDescriptor *d, struct slice s, uint64_t ops_max,
                           struct buf *out)
{
    struct txn_lists lists = {0};
    while (s.size) {
        const uint8_t *begin = s.data, *behind_tag;
        uint64_t tag;
        struct slice value = {0};
        if (!read_varint(&s, &tag))
            return; /* it was checked */
        behind_tag = s.data;
        if (!rpc_depth_take_value(&s, tag & 7, &value))
            return;
        if (count_op(&lists, d, tag) > ops_max + 1)
            continue;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
        if (may_be_trimmed(f) && (tag & 7) == WIRE_BYTES) {
            buf_add(out, begin, (size_t)(behind_tag - begin));
            size_t place = out->size;
            buf_add(out, "\0\0\0\0\0", LENGTH_SIZE);
            rpc_depth_trim(f->descriptor, value, ops_max, out);
            set_length(out, place);
        } else {
            buf_add(out, begin, (size_t)(s.data - begin));
        }
    }
}

void rpc_message_trim(const ProtobufCMessageDescriptor *descriptor, struct slice bytes, uint64_t ops_max,
                      struct buf *out)
{
    rpc_depth_trim(descriptor, bytes, ops_max, out);
}
