/* SPDX-License-Identifier: Apache-2.0
 * The guard before protobuf-c: walks the wire format by descriptor, without allocating, so that nothing a
 * client sends can cost more than a small multiple of its size. A TxnRequest can nest a million levels in 2
 * MiB (the decoder recurses), and a million two-byte fields decode into a hundred bytes each.
 *
 * Pure. It does not check values: a known field with the wrong wire type is the decoder's to refuse. */
#include "base/text.h"
#include "server/rpc/service.h"

static const char malformed[] = "proto: cannot parse invalid wire-format data";

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct walk {
    size_t fields, unknown;
};

static bool read_varint(struct slice *s, uint64_t *ret_value)
{
    uint64_t value = 0;
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

/* The field's value is taken off s; *ret_value is its bytes when it is of WIRE_BYTES. */
static bool take_value(struct slice *s, unsigned wire_type, struct slice *ret_value)
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

static const char *check(const ProtobufCMessageDescriptor *d, struct slice s, unsigned depth, struct walk *w)
{
    if (depth > RPC_DEPTH_MAX)
        return "proto: exceeded maximum recursion depth";
    while (s.size) {
        uint64_t tag;
        struct slice value = {0};
        if (!read_varint(&s, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
            return malformed;
        if (!take_value(&s, tag & 7, &value))
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

const char *rpc_message_check(const ProtobufCMessageDescriptor *descriptor, struct slice bytes)
{
    struct walk w = {0};
    return check(descriptor, bytes, 1, &w);
}
