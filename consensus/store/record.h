/* SPDX-License-Identifier: Apache-2.0
 * Record: the stored form of one change; its revision is the key.
 *
 *     crc      4 bytes LE   CRC-32C over the 12-byte revision key and everything after this field
 *     flags    1 byte       1 = tombstone, 2 = has a lease; others must be 0
 *     created  varint       mod revision - create revision       \  not in a tombstone
 *     version  varint       at least 1                            |
 *     lease    8 bytes LE   only with flag 2, never 0             /
 *     key size varint
 *     key, value            the value takes the rest; a tombstone has none
 *
 * A key of 64 and a value of 256 bytes take 328 bytes, so that eleven records fit one 4 KiB page of LMDB. The
 * checksum covers the revision, too: a record under the wrong key is detected. */
#ifndef CONSENSUS_STORE_RECORD_H
#define CONSENSUS_STORE_RECORD_H

#include "base/err.h"
#include "consensus/store/revision.h"

#define RECORD_CRC_SIZE     4
#define RECORD_OVERHEAD_MAX (RECORD_CRC_SIZE + 1 + 10 + 10 + 8 + 5)

struct record {
    struct slice key, value;
    int64_t create_revision;
    int64_t version; /* 0 = tombstone */
    int64_t lease;   /* 0 = none */
};

/* Writes at most RECORD_OVERHEAD_MAX + key + value bytes; returns their number. */
size_t record_encode(const struct record *record, struct revision revision, uint8_t *at);
/* ERR_CORRUPT. The slices point into data. check_crc false: for bytes that never left the memory of this
 * process. */
MUST_CHECK int record_decode(struct slice data, struct revision revision, bool check_crc,
                             struct record *ret_record);

#endif
