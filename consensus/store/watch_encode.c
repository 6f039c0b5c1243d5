/* SPDX-License-Identifier: Apache-2.0
 * WatchResponse encoder. As in proto3, zero values are left out and a length precedes its content. */
#include "consensus/store/watch_encode.h"

#include <assert.h>

#define TAG_VARINT(field) ((uint8_t)((field) << 3))
#define TAG_BYTES(field)  ((uint8_t)((field) << 3 | 2))

static size_t varint_size(uint64_t v)
{
    return (size_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

static uint8_t *watch_encode_put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

static size_t int_size(int64_t v)
{
    return v ? 1 + varint_size((uint64_t)v) : 0;
}

static uint8_t *put_int(uint8_t *p, uint8_t tag, int64_t v)
{
    if (!v)
        return p;
    *p++ = tag;
    return watch_encode_put_varint(p, (uint64_t)v);
}

static size_t bytes_size(size_t size)
{
    return size ? 1 + varint_size(size) + size : 0;
}

static uint8_t *put_bytes(uint8_t *p, uint8_t tag, const ProtobufCBinaryData *b)
{
    if (!b->len)
        return p;
    *p++ = tag;
    p = watch_encode_put_varint(p, b->len);
    memcpy(p, b->data, b->len);
    return p + b->len;
}

void watch_encode_head(const struct watch_head *head, struct buf *out)
{
    uint8_t *start = buf_reserve(out, WATCH_HEAD_SIZE_MAX), *p = start;
    p = put_int(p, TAG_VARINT(2), head->watch_id);
    p = put_int(p, TAG_VARINT(3), head->is_created);
    p = put_int(p, TAG_VARINT(4), head->is_canceled);
    p = put_int(p, TAG_VARINT(5), head->compact_revision);
    p = put_int(p, TAG_VARINT(7), head->is_fragment);
    out->size += (size_t)(p - start);
    size_t size = head->cancel_reason ? strlen(head->cancel_reason) : 0;
    if (!size)
        return;
    p = start = buf_reserve(out, 11);
    *p++ = TAG_BYTES(6);
    p = watch_encode_put_varint(p, size);
    out->size += (size_t)(p - start);
    buf_add(out, head->cancel_reason, size);
}

static size_t kv_size(const Mvccpb__KeyValue *kv)
{
    return bytes_size(kv->key.len) + int_size(kv->create_revision) + int_size(kv->mod_revision) +
           int_size(kv->version) + bytes_size(kv->value.len) + int_size(kv->lease);
}

static uint8_t *put_kv(uint8_t *p, const Mvccpb__KeyValue *kv)
{
    p = put_bytes(p, TAG_BYTES(1), &kv->key);
    p = put_int(p, TAG_VARINT(2), kv->create_revision);
    p = put_int(p, TAG_VARINT(3), kv->mod_revision);
    p = put_int(p, TAG_VARINT(4), kv->version);
    p = put_bytes(p, TAG_BYTES(5), &kv->value);
    return put_int(p, TAG_VARINT(6), kv->lease);
}

bool watch_event_has_previous(const struct store_event *e)
{
    return e->has_previous && (e->is_delete || e->kv.create_revision != e->kv.mod_revision);
}

struct blob *watch_encode_event(const struct store_event *e, bool with_previous)
{
    with_previous = with_previous && watch_event_has_previous(e);
    size_t kv = kv_size(&e->kv), previous = with_previous ? kv_size(&e->previous) : 0;
    size_t size = int_size(e->is_delete) + 1 + varint_size(kv) + kv;
    if (with_previous)
        size += 1 + varint_size(previous) + previous;
    struct blob *b = blob_new(1 + varint_size(size) + size);
    uint8_t *p = b->data;
    *p++ = TAG_BYTES(11);
    p = watch_encode_put_varint(p, size);
    p = put_int(p, TAG_VARINT(1), e->is_delete);
    *p++ = TAG_BYTES(2);
    p = watch_encode_put_varint(p, kv);
    p = put_kv(p, &e->kv);
    if (with_previous) {
        *p++ = TAG_BYTES(3);
        p = watch_encode_put_varint(p, previous);
        p = put_kv(p, &e->previous);
    }
    assert(p == b->data + b->size);
    return b;
}
