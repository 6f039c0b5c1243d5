/* SPDX-License-Identifier: Apache-2.0
 * WatchResponse encoder. As in proto3, zero values are left out and a length precedes its content. */
#include "consensus/store/watch_encode.h"

#include <assert.h>

#include "consensus/store/kv_wire.h"

void watch_encode_head(const struct watch_head *head, struct buf *out)
{
    uint8_t *start = buf_reserve(out, WATCH_HEAD_SIZE_MAX), *p = start;
    p = kv_wire_put_int(p, KV_WIRE_VARINT(2), head->watch_id);
    p = kv_wire_put_int(p, KV_WIRE_VARINT(3), head->is_created);
    p = kv_wire_put_int(p, KV_WIRE_VARINT(4), head->is_canceled);
    p = kv_wire_put_int(p, KV_WIRE_VARINT(5), head->compact_revision);
    p = kv_wire_put_int(p, KV_WIRE_VARINT(7), head->is_fragment);
    out->size += (size_t)(p - start);
    size_t size = head->cancel_reason ? strlen(head->cancel_reason) : 0;
    if (!size)
        return;
    p = start = buf_reserve(out, 11);
    *p++ = KV_WIRE_BYTES(6);
    p = kv_wire_put_varint(p, size);
    out->size += (size_t)(p - start);
    buf_add(out, head->cancel_reason, size);
}

bool watch_event_has_previous(const struct store_event *e)
{
    return e->has_previous && (e->is_delete || e->kv.create_revision != e->kv.mod_revision);
}

struct blob *watch_encode_event(const struct store_event *e, bool with_previous)
{
    with_previous = with_previous && watch_event_has_previous(e);
    size_t kv = kv_wire_size(&e->kv), previous = with_previous ? kv_wire_size(&e->previous) : 0;
    size_t size = kv_wire_int_size(e->is_delete) + 1 + kv_wire_varint_size(kv) + kv;
    if (with_previous)
        size += 1 + kv_wire_varint_size(previous) + previous;
    struct blob *b = blob_new(1 + kv_wire_varint_size(size) + size);
    uint8_t *p = b->data;
    *p++ = KV_WIRE_BYTES(11);
    p = kv_wire_put_varint(p, size);
    p = kv_wire_put_int(p, KV_WIRE_VARINT(1), e->is_delete);
    *p++ = KV_WIRE_BYTES(2);
    p = kv_wire_put_varint(p, kv);
    p = kv_wire_put(p, &e->kv);
    if (with_previous) {
        *p++ = KV_WIRE_BYTES(3);
        p = kv_wire_put_varint(p, previous);
        p = kv_wire_put(p, &e->previous);
    }
    assert(p == b->data + b->size);
    return b;
}
