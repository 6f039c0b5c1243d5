/* SPDX-License-Identifier: Apache-2.0
 * A slab allocator: many small objects of few sizes without a header for each. Blocks of 16 KiB hold
 * objects of one size; the block follows from an object's address. The caller passes the size when it
 * frees.
 *
 * Invariants: an object is aligned to 8 bytes. A block without objects keeps no memory, whatever its chunk
 * holds. Objects over SLAB_OBJECT_MAX come from mem_alloc. One thread at a time. Under the address
 * sanitizer all objects come from mem_alloc, so that it detects misuse. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

#define SLAB_OBJECT_MAX 512u
#define SLAB_STEP       8u

struct slab_block;

struct slab {
    /* by size: the blocks that have free room */
    struct slab_block *open[SLAB_OBJECT_MAX / SLAB_STEP + 1];
    uint8_t **chunks; /* the mappings */
    size_t chunk_count, chunk_capacity;
    struct slab_block **empty; /* blocks without objects, whose pages were released */
    size_t empty_count, empty_capacity;
};

void slab_init(struct slab *s);
void slab_done(struct slab *s);                /* the caller has freed objects over SLAB_OBJECT_MAX before */
void *slab_alloc(struct slab *s, size_t size); /* not zeroed */
void slab_free(struct slab *s, void *object, size_t size); /* NULL is allowed; size as allocated */
/* Keeps the content up to the smaller of both sizes; the object may move. */
void *slab_resize(struct slab *s, void *object, size_t old_size, size_t size);
size_t slab_bytes(const struct slab *s); /* of blocks that hold objects */

#endif
