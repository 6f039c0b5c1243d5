/* SPDX-License-Identifier: Apache-2.0
 * The store's own rows of BACKEND_META, for code that reads or writes a store's file without opening it as
 * one: exports, and files of etcd. */
#ifndef CONSENSUS_STORE_META_ROW_H
#define CONSENSUS_STORE_META_ROW_H

#include "base/buf.h"

#define META_FORMAT    "store.format"            /* 8 bytes BE: META_FORMAT_VERSION */
#define META_APPLIED   "store.applied"           /* struct meta_applied: 8 bytes BE each */
#define META_SCHEDULED "store.compact.scheduled" /* 8 bytes BE: the compact revision; absent = never */
#define META_FINISHED  "store.compact.finished"  /* 8 bytes BE: the last one whose sweep has ended */
#define META_NOTE      "store.note"              /* store_on_commit; of this member alone */

enum { META_FORMAT_VERSION = 1, META_APPLIED_SIZE = 32 };

struct meta_applied {
    uint64_t index, term; /* of the last applied entry */
    int64_t revision;
    uint64_t digest; /* of the state, as node/corrupt.h compares it */
};

static inline void meta_applied_write(const struct meta_applied *m, uint8_t ret_bytes[META_APPLIED_SIZE])
{
    put_be64(ret_bytes, m->index);
    put_be64(ret_bytes + 8, m->term);
    put_be64(ret_bytes + 16, (uint64_t)m->revision);
    put_be64(ret_bytes + 24, m->digest);
}

/* False: it has another size. */
static inline bool meta_applied_read(struct slice value, struct meta_applied *ret_applied)
{
    if (value.size != META_APPLIED_SIZE)
        return false;
    *ret_applied = (struct meta_applied){get_be64(value.data), get_be64(value.data + 8),
                                         (int64_t)get_be64(value.data + 16), get_be64(value.data + 24)};
    return true;
}

#endif
