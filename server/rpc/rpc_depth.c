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
#include "base/varint.h"
#include "server/rpc/service.h"

static const char malformed[] = "proto: cannot parse invalid wire-format data";

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

static bool is_txn(const ProtobufCMessageDescriptor *d)
{
    return d == &etcdserverpb__txn_request__descriptor;
}

/* The field is the n-th element of a list of the transaction; returns n, or 0. */
static uint64_t count_op(struct txn_lists *lists, const ProtobufCMessageDescriptor *d,
                         const struct wire_field *field)
{
    if (!is_txn(d) || field->type != WIRE_BYTES || field->number > TXN_LISTS)
        return 0;
    return ++lists->counts[field->number - 1];
}

static const char *check(const ProtobufCMessageDescriptor *d, struct slice s, unsigned depth, struct walk *w)
{
    struct txn_lists lists = {0};
    if (depth > RPC_DEPTH_MAX)
        return "proto: exceeded maximum recursion depth";
    while (s.size) {
        struct wire_field field;
        if (!wire_field_take(&s, &field))
            return malformed;
        if (++w->fields > RPC_FIELDS_MAX)
            return "proto: too many fields";
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(d, field.number);
        if (!f) {
            if (++w->unknown > RPC_UNKNOWN_FIELDS_MAX)
                return "proto: too many unknown fields";
            continue;
        }
        if (field.type != WIRE_BYTES)
            continue;
        if (count_op(&lists, d, &field) > w->ops_max)
            w->has_surplus = true;
        if (!field.bytes.size && depth < RPC_DEPTH_MAX)
            continue; /* an empty message, and not too deep */
        if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
            const char *wrong = check(f->descriptor, field.bytes, depth + 1, w);
            if (wrong)
                return wrong;
        } else if (f->type == PROTOBUF_C_TYPE_STRING && !utf8_is_valid(field.bytes)) {
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

static void add_tag(struct buf *b, const struct wire_field *field)
{
    uint32_t tag = field->number << 3 | field->type;
    for (; tag >= 0x80; tag >>= 7)
        buf_add_byte(b, (uint8_t)(tag | 0x80));
    buf_add_byte(b, (uint8_t)tag);
}

static void rpc_depth_trim(const ProtobufCMessageDescriptor *d, struct slice s, uint64_t ops_max,
                           struct buf *out)
{
    struct txn_lists lists = {0};
    while (s.size) {
        const uint8_t *begin = s.data;
        struct wire_field field;
        if (!wire_field_take(&s, &field))
            return; /* it was checked */
        if (count_op(&lists, d, &field) > ops_max + 1)
            continue;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(d, field.number);
        if (may_be_trimmed(f) && field.type == WIRE_BYTES) {
            add_tag(out, &field);
            size_t place = out->size;
            buf_add(out, "\0\0\0\0\0", LENGTH_SIZE);
            rpc_depth_trim(f->descriptor, field.bytes, ops_max, out);
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
