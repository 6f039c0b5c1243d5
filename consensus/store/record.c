/* SPDX-License-Identifier: Apache-2.0
 * Encoding and decoding of stored records; record.h has the format. Decoding trusts no byte: it also detects
 * bit rot, because LMDB has no checksums. */
#include "consensus/store/record.h"

#include "base/hash.h"
#include "base/varint.h"

enum { RECORD_TOMBSTONE = 1, RECORD_LEASE = 2 };

static uint8_t *record_put_varint(uint8_t *at, uint64_t v)
{
    while (v >= 0x80) {
        *at++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *at++ = (uint8_t)v;
    return at;
}

static uint32_t record_crc(struct revision revision, const uint8_t *body, size_t size)
{
    uint8_t key[REVISION_KEY_SIZE];
    revision_encode(revision, key);
    return crc32c(crc32c(0, key, sizeof key), body, size);
}

size_t record_encode(const struct record *record, struct revision revision, uint8_t *at)
{
    uint8_t *p = at + 4;
    bool is_tombstone = record->version == 0;
    *p++ = (uint8_t)((is_tombstone ? RECORD_TOMBSTONE : 0) | (record->lease ? RECORD_LEASE : 0));
    if (!is_tombstone) {
        p = record_put_varint(p, (uint64_t)(revision.main - record->create_revision));
        p = record_put_varint(p, (uint64_t)record->version);
    }
    if (record->lease) {
        put_le64(p, (uint64_t)record->lease);
        p += 8;
    }
    p = record_put_varint(p, record->key.size);
    if (record->key.size)
        memcpy(p, record->key.data, record->key.size);
    p += record->key.size;
    if (record->value.size)
        memcpy(p, record->value.data, record->value.size);
    p += record->value.size;
    put_le32(at, record_crc(revision, at + 4, (size_t)(p - at - 4)));
    return (size_t)(p - at);
}

int record_decode(struct slice data, struct revision revision, bool check_crc, struct record *ret_record)
{
    const uint8_t *p = data.data;
    struct record r = {0};
    uint64_t age, version, key_size;

    if (data.size < 6 || revision.main <= 0)
        return ERR_CORRUPT;
    if (check_crc && get_le32(p) != record_crc(revision, p + 4, data.size - 4))
        return ERR_CORRUPT;
    uint8_t flags = p[4];
    struct slice rest = slice_of(p + 5, data.size - 5);
    if (flags > (RECORD_TOMBSTONE | RECORD_LEASE) || flags == (RECORD_TOMBSTONE | RECORD_LEASE))
        return ERR_CORRUPT;
    if (!(flags & RECORD_TOMBSTONE)) {
        if (!varint_take(&rest, &age) || !varint_take(&rest, &version))
            return ERR_CORRUPT;
        if (age >= (uint64_t)revision.main || version == 0 || version > INT64_MAX)
            return ERR_CORRUPT;
        r.create_revision = revision.main - (int64_t)age;
        r.version = (int64_t)version;
    }
    if (flags & RECORD_LEASE) {
        if (rest.size < 8)
            return ERR_CORRUPT;
        r.lease = (int64_t)get_le64(rest.data);
        rest = slice_of(rest.data + 8, rest.size - 8);
        if (r.lease == 0)
            return ERR_CORRUPT;
    }
    if (!varint_take(&rest, &key_size) || key_size == 0 || key_size > rest.size)
        return ERR_CORRUPT;
    r.key = slice_of(rest.data, (size_t)key_size);
    r.value = slice_of(rest.data + key_size, rest.size - (size_t)key_size);
    if ((flags & RECORD_TOMBSTONE) && r.value.size)
        return ERR_CORRUPT;
    *ret_record = r;
    return 0;
}
