/* SPDX-License-Identifier: Apache-2.0
 * A file of etcd with rows that a test has chosen. */
#ifndef TESTS_UNIT_MADE_ROWS_H
#define TESTS_UNIT_MADE_ROWS_H

#include <string.h>

#include "base/mem.h"
#include "consensus/bbolt/bbolt.h"
#include "proto/lease.pb-c.h"
#include "unit.h"

struct made_row {
    const char *bucket;
    struct slice key, value;
};

static void give(struct bbolt_writer *w, const struct made_row *rows, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(rows[i].bucket, rows[i - 1].bucket) != 0)
            bbolt_writer_bucket(w, slice_text(rows[i].bucket), out);
        bbolt_writer_put(w, rows[i].key, rows[i].value, out);
    }
}

static struct buf make_file(const struct made_row *rows, size_t count)
{
    struct bbolt_writer *w = bbolt_writer_new();
    struct buf out = {0};
    give(w, rows, count, &out);
    (void)bbolt_writer_plan(w, &out);
    give(w, rows, count, &out);
    assert_int_equal(bbolt_writer_finish(w, &out), OK);
    bbolt_writer_free(w);
    return out;
}

static inline struct slice lease_value(struct arena *a, int64_t id, int64_t ttl, int64_t remaining)
{
    Leasepb__Lease m = LEASEPB__LEASE__INIT;
    m.id = id;
    m.ttl = ttl;
    m.remainingttl = remaining;
    size_t size = protobuf_c_message_get_packed_size(&m.base);
    uint8_t *bytes = arena_alloc(a, size + 1);
    protobuf_c_message_pack(&m.base, bytes);
    return slice_of(bytes, size);
}

#endif
