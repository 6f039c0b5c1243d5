/* SPDX-License-Identifier: Apache-2.0
 * etcd's write-ahead log from bytes that nobody wrote: as one file, and cut in two. Input: the index of the
 * database (2 bytes, little-endian), then the log. The checksums of records are made to hold as far as they can
 * be read, so that the records behind them are read. Entries of a plan are all there and are read without harm. */
#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "consensus/etcd_db/etcd_log.h"

enum { FRAME = 8, HEAD = 2, CRC_TYPE = 4 };

static int read_bytes(void *arg, uint64_t offset, void *ret_bytes, size_t size)
{
    const struct slice *file = arg;
    assert(offset <= file->size && size <= file->size - offset);
    memcpy(ret_bytes, file->data + offset, size);
    return OK;
}

/* A record as every etcd writes it: type (1 byte), checksum (5 bytes as a long varint, or fewer), data. Returns
 * the place of the checksum; its size is in *ret_size. */
static uint8_t *find_checksum(uint8_t *record, size_t size, size_t *ret_size)
{
    size_t n = 3;
    if (size < 4 || record[0] != 1 << 3 || record[2] != 2 << 3)
        return NULL;
    while (n < size && record[n] & 0x80)
        n++;
    *ret_size = n < size ? n - 2 : 0;
    return record + 3;
}

static uint32_t mend_record(uint8_t *record, size_t size, uint32_t crc)
{
    size_t checksum_size = 0, at;
    uint64_t data_size = 0;
    uint8_t *checksum = find_checksum(record, size, &checksum_size);
    at = 3 + checksum_size;
    if (!checksum || !checksum_size || at >= size || record[at] != (3 << 3 | 2) || record[1] == CRC_TYPE)
        return crc;
    at++;
    for (unsigned shift = 0; at < size && shift < 28; shift += 7) {
        data_size |= (uint64_t)(record[at] & 0x7f) << shift;
        if (!(record[at++] & 0x80))
            break;
    }
    if (data_size > size - at)
        return crc;
    crc = crc32c(crc, record + at, data_size);
    for (size_t i = 0; i < checksum_size; i++)
        checksum[i] = (uint8_t)((i < 5 ? crc >> (7 * i) & 0x7f : 0) | (i + 1 < checksum_size ? 0x80 : 0));
    return crc;
}

static void mend(struct buf *file)
{
    uint32_t crc = 0;
    for (size_t at = 0; file->size - at >= FRAME;) {
        uint64_t length = get_le64(file->data + at), size = length & ((UINT64_C(1) << 56) - 1);
        uint64_t padding = length >> 63 ? (length >> 56) & 7 : 0;
        if (!size || size > file->size - at - FRAME || padding > file->size - at - FRAME - size)
            break;
        crc = mend_record(file->data + at + FRAME, size, crc);
        at += FRAME + size + padding;
    }
}

static void read_plan(struct etcd_log *log, uint64_t index, size_t members)
{
    const struct etcd_db_marks marks = {.index = index, .members = members};
    struct etcd_log_plan plan;
    char error[256] = "";
    int err = etcd_log_plan(log, &marks, &plan, error, sizeof error);
    assert(!err == !*error);
    for (size_t i = 0; !err && i < plan.count; i++) {
        enum etcd_entry_kind kind;
        struct slice data;
        err = etcd_log_entry(log, plan.first + i, &kind, &data, error, sizeof error);
        assert(!err == !*error);
        assert(err || kind <= ETCD_ENTRY_PASSWORD || !data.size);
    }
}

static void read_log(struct slice *pieces, size_t count, uint64_t after)
{
    struct etcd_log_file files[2];
    struct etcd_log *log;
    char error[256] = "";
    for (size_t i = 0; i < count; i++)
        files[i] = (struct etcd_log_file){"file", {read_bytes, &pieces[i], pieces[i].size}};
    int err = etcd_log_read(files, count, after, NULL, NULL, error, sizeof error, &log);
    assert(!err == !*error);
    if (err)
        return;
    read_plan(log, after, 1);
    read_plan(log, after, 3);
    read_plan(log, after + 5, 1);
    etcd_log_free(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf file = {0};
    if (size <= HEAD)
        return 0;
    uint64_t after = (uint64_t)(data[0] | data[1] << 8);
    buf_add(&file, data + HEAD, size - HEAD);
    mend(&file);
    struct slice pieces[2] = {buf_slice(&file)};
    read_log(pieces, 1, after);
    size_t half = file.size / 2 / FRAME * FRAME;
    pieces[0] = slice_of(file.data, half);
    pieces[1] = slice_of(file.data + half, file.size - half);
    read_log(pieces, 2, after);
    buf_done(&file);
    return 0;
}
