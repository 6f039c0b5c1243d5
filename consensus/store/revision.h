/* SPDX-License-Identifier: Apache-2.0
 * Revision: main (one for each transaction that changed something) and sub (the place of a change within it).
 * As a backend key it is 12 bytes, big-endian, so that byte order is revision order. */
#ifndef CONSENSUS_STORE_REVISION_H
#define CONSENSUS_STORE_REVISION_H

#include <assert.h>

#include "base/buf.h"

#define REVISION_KEY_SIZE 12

struct revision {
    int64_t main;
    uint32_t sub;
};

static inline int revision_compare(struct revision a, struct revision b)
{
    if (a.main != b.main)
        return a.main < b.main ? -1 : 1;
    return (a.sub > b.sub) - (a.sub < b.sub);
}

static inline void revision_encode(struct revision r, uint8_t *at)
{
    put_be64(at, (uint64_t)r.main);
    put_be32(at + 8, r.sub);
}

static inline struct revision revision_decode(const uint8_t *at)
{
    return (struct revision){.main = (int64_t)get_be64(at), .sub = get_be32(at + 8)};
}

#endif
