/* SPDX-License-Identifier: Apache-2.0
 * The layout of bbolt's pages. Private to consensus/bbolt/.
 *
 * bbolt writes the structs of its memory, so all numbers are in the byte order of the machine that wrote the
 * file. Every system that etcd supports is little-endian, and so is this code. */
#ifndef CONSENSUS_BBOLT_PAGE_H
#define CONSENSUS_BBOLT_PAGE_H

#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bbolt's pages are laid out otherwise here");

enum {
    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_META = 0x04,
    PAGE_FREELIST = 0x10,

    LEAF_BUCKET = 0x01, /* the flag of a leaf's element: its value is a struct bucket_head */

    BBOLT_VERSION = 2,
    META_FIRST = 0, /* pages with a fixed place */
    META_SECOND = 1,
};

#define BBOLT_MAGIC UINT32_C(0xED0CDAED)

struct page_head {
    uint64_t number;
    uint16_t flags, count; /* count: elements */
    uint32_t overflow;     /* pages that follow and belong to this one */
};

/* Elements follow the head; their keys and values follow the elements. A position counts from the element. */
struct leaf_element {
    uint32_t flags, position, key_size, value_size;
};

struct branch_element {
    uint32_t position, key_size;
    uint64_t page;
};

/* The value that a bucket has in its parent. Root 0: a page of the bucket follows, without a number. */
struct bucket_head {
    uint64_t root, sequence;
};

struct meta {
    uint32_t magic, version, page_size, flags;
    struct bucket_head root;
    uint64_t freelist;    /* its page */
    uint64_t page_count;  /* pages from here on are not in use */
    uint64_t transaction; /* of the two meta pages, the one with the higher number is valid */
    uint64_t checksum;    /* FNV-1a, 64 bits, over the fields before it */
};

_Static_assert(sizeof(struct page_head) == 16 && sizeof(struct leaf_element) == 16 &&
                   sizeof(struct branch_element) == 16 && sizeof(struct meta) == 64,
               "the layout is bbolt's");

static inline uint64_t meta_checksum(const struct meta *m)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (unsigned i = 0; i < sizeof *m - sizeof m->checksum; i++)
        h = (h ^ ((const uint8_t *)m)[i]) * UINT64_C(0x100000001b3);
    return h;
}

#endif
