/* SPDX-License-Identifier: Apache-2.0
 * A slab allocator: many small objects of few sizes without a header for each. Blocks of 16 KiB hold objects
 * of one size; a block is found from an object's address. The caller gives the size back when it frees.
 *
 * Invariants: an object is aligned to 8 bytes; a block without objects keeps no memory, whatever else lives
 * in its chunk. Objects over SLAB_OBJECT_MAX come from mem_alloc. Not for several threads at once. Under the
 * address sanitizer all objects come from mem_alloc, so that misuse shows. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

#define SLAB_OBJECT_MAX 512u
#define SLAB_STEP       8u

struct slab_block;

struct slab {
    struct slab_block *open[SLAB_OBJECT_MAX / SLAB_STEP + 1]; /* by size: the blocks that have room */
    uint8_t **chunks;                                         /* the mappings */
    size_t chunk_count, chunk_capacity;
    struct slab_block **empty; /* blocks without objects, whose pages were given back */
    size_t empty_count, empty_capacity;
};

void slab_init(struct slab *s);
void slab_done(struct slab *s);                /* objects from mem_alloc must have been freed before */
void *slab_alloc(struct slab *s, size_t size); /* not zeroed */
void slab_free(struct slab *s, void *object, size_t size); /* NULL is fine; size as it was allocated */
size_t slab_bytes(const struct slab *s);                   /* of blocks that hold objects */

#endif
