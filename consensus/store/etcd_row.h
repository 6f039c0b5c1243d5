/* SPDX-License-Identifier: Apache-2.0
 * One change as etcd stores it in its bucket "key": what HashKV covers and what a snapshot holds.
 *
 *     key     main revision 8 bytes BE, '_', sub revision 8 bytes BE; then 't' for a tombstone
 *     value   mvccpb.KeyValue; of a tombstone the key alone */
#ifndef CONSENSUS_STORE_ETCD_ROW_H
#define CONSENSUS_STORE_ETCD_ROW_H

#include "base/buf.h"
#include "consensus/store/record.h"

enum { ETCD_ROW_KEY_SIZE = 17, ETCD_ROW_KEY_SIZE_MAX = 18 };

/* Returns the bytes written. */
size_t etcd_row_key(struct revision revision, bool is_tombstone, uint8_t ret_key[ETCD_ROW_KEY_SIZE_MAX]);
/* Appends the value. */
void etcd_row_value(const struct record *record, struct revision revision, struct buf *out);

/* The reverse, for reading etcd's files. ERR_MALFORMED: not such a key. */
MUST_CHECK int etcd_row_read_key(struct slice key, struct revision *ret_revision, bool *ret_is_tombstone);
/* ERR_MALFORMED. The slices point into value. mod_revision is the revision's main part. */
MUST_CHECK int etcd_row_read_value(struct slice value, struct revision revision, bool is_tombstone,
                                   struct record *ret_record);

#endif
