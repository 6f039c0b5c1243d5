/* SPDX-License-Identifier: Apache-2.0
 * Encoding and decoding of stored records; record.h has the format. Decoding trusts no byte: it also detects
 * bit rot, because LMDB has no checksums. */
#include "consensus/store/record.h"

#include "base/hash.h"

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

/* NULL when the input ends too early or the number has more than 64 bits. */
static const uint8_t *get_varint(const uint8_t *at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t v = 0;
    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        uint8_t b = *at++;
        if (shift == 63 && b > 1)
            return NULL;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret_value = v;
            return at;
        }
    }
    return NULL;
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
    const uint8_t *p = data.data, *end = p + data.size;
    struct record r = {0};
    uint64_t age, version, key_size;

    if (data.size < 6 || revision.main <= 0)
        return ERR_CORRUPT;
    if (check_crc && get_le32(p) != record_crc(revision, p + 4, data.size - 4))
        return ERR_CORRUPT;
    uint8_t flags = p[4];
    p += 5;
    if (flags > (RECORD_TOMBSTONE | RECORD_LEASE) || flags == (RECORD_TOMBSTONE | RECORD_LEASE))
        return ERR_CORRUPT;
    if (!(flags & RECORD_TOMBSTONE)) {
        if (!(p = get_varint(p, end, &age)) || !(p = get_varint(p, end, &version)))
            return ERR_CORRUPT;
        if (age >= (uint64_t)revision.main || version == 0 || version > INT64_MAX)
            return ERR_CORRUPT;
        r.create_revision = revision.main - (int64_t)age;
        r.version = (int64_t)version;
    }
    if (flags & RECORD_LEASE) {
        if (end - p < 8)
            return ERR_CORRUPT;
        r.lease = (int64_t)get_le64(p);
        p += 8;
        if (r.lease == 0)
            return ERR_CORRUPT;
    }
    if (!(p = get_varint(p, end, &key_size)) || key_size == 0 || key_size > (uint64_t)(end - p))
        return ERR_CORRUPT;
    r.key = slice_of(p, (size_t)key_size);
    p += key_size;
    r.value = slice_of(p, (size_t)(end - p));
    if ((flags & RECORD_TOMBSTONE) && r.value.size)
        return ERR_CORRUPT;
    *ret_record = r;
    return 0;
}
