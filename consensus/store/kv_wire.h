/* SPDX-License-Identifier: Apache-2.0
 * mvccpb.KeyValue as protobuf bytes, encoded by hand: for events, and for rows as etcd stores them. As in
 * proto3, zero values are left out; fields are in the order of their numbers, as every encoder of etcd's
 * writes them. Private to consensus/store/. */
#ifndef CONSENSUS_STORE_KV_WIRE_H
#define CONSENSUS_STORE_KV_WIRE_H

#include <string.h>

#include "proto/kv.pb-c.h"

#define KV_WIRE_VARINT(field) ((uint8_t)((field) << 3))
#define KV_WIRE_BYTES(field)  ((uint8_t)((field) << 3 | 2))

static inline size_t kv_wire_varint_size(uint64_t v)
{
    return (size_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

static inline uint8_t *kv_wire_put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

static inline size_t kv_wire_int_size(int64_t v)
{
    return v ? 1 + kv_wire_varint_size((uint64_t)v) : 0;
}

static inline uint8_t *kv_wire_put_int(uint8_t *p, uint8_t tag, int64_t v)
{
    if (!v)
        return p;
    *p++ = tag;
    return kv_wire_put_varint(p, (uint64_t)v);
}

static inline size_t kv_wire_bytes_size(size_t size)
{
    return size ? 1 + kv_wire_varint_size(size) + size : 0;
}

static inline uint8_t *kv_wire_put_bytes(uint8_t *p, uint8_t tag, const ProtobufCBinaryData *b)
{
    if (!b->len)
        return p;
    *p++ = tag;
    p = kv_wire_put_varint(p, b->len);
    memcpy(p, b->data, b->len);
    return p + b->len;
}

static inline size_t kv_wire_size(const Mvccpb__KeyValue *kv)
{
    return kv_wire_bytes_size(kv->key.len) + kv_wire_int_size(kv->create_revision) +
           kv_wire_int_size(kv->mod_revision) + kv_wire_int_size(kv->version) +
           kv_wire_bytes_size(kv->value.len) + kv_wire_int_size(kv->lease);
}

static inline uint8_t *kv_wire_put(uint8_t *p, const Mvccpb__KeyValue *kv)
{
    p = kv_wire_put_bytes(p, KV_WIRE_BYTES(1), &kv->key);
    p = kv_wire_put_int(p, KV_WIRE_VARINT(2), kv->create_revision);
    p = kv_wire_put_int(p, KV_WIRE_VARINT(3), kv->mod_revision);
    p = kv_wire_put_int(p, KV_WIRE_VARINT(4), kv->version);
    p = kv_wire_put_bytes(p, KV_WIRE_BYTES(5), &kv->value);
    return kv_wire_put_int(p, KV_WIRE_VARINT(6), kv->lease);
}

#endif
