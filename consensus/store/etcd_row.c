/* SPDX-License-Identifier: Apache-2.0
 * Rows of etcd's bucket "key". See etcd_row.h. */
#include "consensus/store/etcd_row.h"

#include "base/varint.h"
#include "consensus/store/kv_wire.h"

#define SEPARATOR '_'
#define TOMBSTONE 't'

size_t etcd_row_key(struct revision revision, bool is_tombstone, uint8_t ret_key[ETCD_ROW_KEY_SIZE_MAX])
{
    put_be64(ret_key, (uint64_t)revision.main);
    ret_key[8] = SEPARATOR;
    put_be64(ret_key + 9, revision.sub);
    if (is_tombstone)
        ret_key[ETCD_ROW_KEY_SIZE] = TOMBSTONE;
    return ETCD_ROW_KEY_SIZE + (size_t)is_tombstone;
}

static ProtobufCBinaryData etcd_row_bytes(struct slice s)
{
    return (ProtobufCBinaryData){s.size, (uint8_t *)(uintptr_t)s.data};
}

void etcd_row_value(const struct record *record, struct revision revision, struct buf *out)
{
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    kv.key = etcd_row_bytes(record->key);
    if (record->version) {
        kv.create_revision = record->create_revision;
        kv.mod_revision = revision.main;
        kv.version = record->version;
        kv.value = etcd_row_bytes(record->value);
        kv.lease = record->lease;
    }
    size_t size = kv_wire_size(&kv);
    uint8_t *at = buf_reserve(out, size);
    out->size += (size_t)(kv_wire_put(at, &kv) - at);
}

/* --- reading ----------------------------------------------------------------------------------------- */

int etcd_row_read_key(struct slice key, struct revision *ret_revision, bool *ret_is_tombstone)
{
    bool is_tombstone = key.size == ETCD_ROW_KEY_SIZE_MAX && key.data[ETCD_ROW_KEY_SIZE] == TOMBSTONE;
    if ((key.size != ETCD_ROW_KEY_SIZE && !is_tombstone) || key.data[8] != SEPARATOR)
        return ERR_MALFORMED;
    uint64_t main = get_be64(key.data), sub = get_be64(key.data + 9);
    if (main > INT64_MAX || sub > UINT32_MAX)
        return ERR_MALFORMED;
    *ret_revision = (struct revision){(int64_t)main, (uint32_t)sub};
    *ret_is_tombstone = is_tombstone;
    return OK;
}

int etcd_row_read_value(struct slice value, struct revision revision, bool is_tombstone,
                        struct record *ret_record)
{
    struct record r = {0};
    uint64_t mod = 0;
    while (value.size) {
        struct wire_field f;
        if (!wire_field_take(&value, &f) || (f.type != WIRE_VARINT && f.type != WIRE_BYTES))
            return ERR_MALFORMED;
        uint32_t tag = f.number << 3 | f.type;
        if (tag == KV_WIRE_BYTES(1))
            r.key = f.bytes;
        else if (tag == KV_WIRE_VARINT(2))
            r.create_revision = (int64_t)f.value;
        else if (tag == KV_WIRE_VARINT(3))
            mod = f.value;
        else if (tag == KV_WIRE_VARINT(4))
            r.version = (int64_t)f.value;
        else if (tag == KV_WIRE_BYTES(5))
            r.value = f.bytes;
        else if (tag == KV_WIRE_VARINT(6))
            r.lease = (int64_t)f.value;
    }
    if (!r.key.size || (is_tombstone && r.version))
        return ERR_MALFORMED;
    bool is_whole = mod == (uint64_t)revision.main && r.version >= 1 && r.create_revision >= 1 &&
                    r.create_revision <= revision.main;
    if (!is_tombstone && !is_whole)
        return ERR_MALFORMED;
    *ret_record = r;
    return OK;
}
