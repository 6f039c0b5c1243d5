/* SPDX-License-Identifier: Apache-2.0
 * Immutable bytes with a reference count: a log entry's payload, or a watch event that is encoded once for
 * many readers. Loop thread only, because the count is not atomic. A worker may read the bytes while the
 * loop holds a reference. */
#ifndef BASE_BLOB_H
#define BASE_BLOB_H

#include "base/buf.h"
#include "base/mem.h"

struct blob {
    uint32_t references;
    uint32_t size;
    uint8_t data[];
};

/* A new blob with one reference and unset contents. The caller fills `data` before it shares the blob. */
static inline struct blob *blob_new(size_t size)
{
    struct blob *b = mem_take(sizeof *b + size);
    b->references = 1;
    b->size = (uint32_t)size;
    return b;
}

static inline struct blob *blob_copy(struct slice s)
{
    struct blob *b = blob_new(s.size);
    if (s.size)
        memcpy(b->data, s.data, s.size);
    return b;
}

static inline struct blob *blob_ref(struct blob *b)
{
    if (b)
        b->references++;
    return b;
}

static inline void blob_unref(struct blob *b)
{
    if (b && --b->references == 0)
        mem_give(b, sizeof *b + b->size);
}

static inline struct slice blob_slice(const struct blob *b)
{
    return b ? (struct slice){b->data, b->size} : (struct slice){0};
}

#endif
