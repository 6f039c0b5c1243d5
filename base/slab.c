/* SPDX-License-Identifier: Apache-2.0
 * Slab allocator. See slab.h. A chunk is a mapping of 1 MiB, aligned to the size of a block. Chunks are
 * unmapped by slab_done only. */
#include "base/slab.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

#define BLOCK_BYTES ((size_t)16 << 10)
#define CHUNK_BYTES ((size_t)1 << 20)

struct slab_object {
    struct slab_object *next;
};

struct slab_block {
    struct slab_block *next, *prev; /* in the list of blocks of this size with free room */
    struct slab_object *free;       /* list of freed objects */
    uint32_t fresh;                 /* offset of the part that was never allocated */
    uint16_t size, live;
};

static bool is_small(size_t size)
{
#ifdef MEM_HAS_ASAN
    (void)size;
    return false;
#else
    return size <= SLAB_OBJECT_MAX;
#endif
}

static size_t class_of(size_t size)
{
    return size ? (size + SLAB_STEP - 1) / SLAB_STEP : 1;
}

void slab_init(struct slab *s)
{
    *s = (struct slab){0};
}

void slab_done(struct slab *s)
{
    for (size_t i = 0; i < s->chunk_count; i++)
        munmap(s->chunks[i], CHUNK_BYTES);
    mem_free(s->chunks);
    mem_free(s->empty);
    *s = (struct slab){0};
}

/* Maps more than a chunk and unmaps the parts outside the aligned chunk. */
static uint8_t *map_aligned(void)
{
    size_t size = CHUNK_BYTES + BLOCK_BYTES;
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        mem_exhausted();
    size_t before = (BLOCK_BYTES - (uintptr_t)p % BLOCK_BYTES) % BLOCK_BYTES;
    if (before)
        munmap(p, before);
    munmap(p + before + CHUNK_BYTES, size - before - CHUNK_BYTES);
    return p + before;
}

static void push_empty(struct slab *s, struct slab_block *b)
{
    if (s->empty_count == s->empty_capacity) {
        s->empty_capacity = s->empty_capacity ? s->empty_capacity * 2 : CHUNK_BYTES / BLOCK_BYTES;
        s->empty = mem_resize(s->empty, s->empty_capacity * sizeof(void *));
    }
    s->empty[s->empty_count++] = b;
}

static void add_chunk(struct slab *s)
{
    if (s->chunk_count == s->chunk_capacity) {
        s->chunk_capacity = s->chunk_capacity ? s->chunk_capacity * 2 : 16;
        s->chunks = mem_resize(s->chunks, s->chunk_capacity * sizeof(void *));
    }
    uint8_t *chunk = map_aligned();
    s->chunks[s->chunk_count++] = chunk;
    for (size_t at = CHUNK_BYTES; at > 0; at -= BLOCK_BYTES)
        push_empty(s, (struct slab_block *)(void *)(chunk + at - BLOCK_BYTES));
}

static void list_push(struct slab *s, struct slab_block *b)
{
    struct slab_block **first = &s->open[b->size / SLAB_STEP];
    b->prev = NULL;
    b->next = *first;
    if (b->next)
        b->next->prev = b;
    *first = b;
}

static void list_remove_block(struct slab *s, struct slab_block *b)
{
    if (b->prev)
        b->prev->next = b->next;
    else
        s->open[b->size / SLAB_STEP] = b->next;
    if (b->next)
        b->next->prev = b->prev;
}

static struct slab_block *open_block(struct slab *s, size_t class)
{
    if (s->empty_count == 0)
        add_chunk(s);
    struct slab_block *b = s->empty[--s->empty_count];
    *b = (struct slab_block){.fresh = sizeof *b, .size = (uint16_t)(class * SLAB_STEP)};
    list_push(s, b);
    return b;
}

static bool block_is_full(const struct slab_block *b)
{
    return !b->free && b->fresh + b->size > BLOCK_BYTES;
}

void *slab_alloc(struct slab *s, size_t size)
{
    if (!is_small(size))
        return mem_alloc(size);
    struct slab_block *b = s->open[class_of(size)];
    if (!b)
        b = open_block(s, class_of(size));
    struct slab_object *object = b->free;
    if (object) {
        b->free = object->next;
    } else {
        object = (struct slab_object *)(void *)((uint8_t *)b + b->fresh);
        b->fresh += b->size;
    }
    b->live++;
    if (block_is_full(b))
        list_remove_block(s, b);
    return object;
}

void slab_free(struct slab *s, void *object, size_t size)
{
    if (!object)
        return;
    if (!is_small(size)) {
        mem_free(object);
        return;
    }
    struct slab_block *b = (struct slab_block *)(void *)((uint8_t *)object - (uintptr_t)object % BLOCK_BYTES);
    assert(b->size == class_of(size) * SLAB_STEP && b->live > 0);
    bool was_full = block_is_full(b);
    if (--b->live == 0) {
        if (!was_full)
            list_remove_block(s, b);
        mem_forget(b, BLOCK_BYTES);
        push_empty(s, b);
        return;
    }
    struct slab_object *freed = object;
    freed->next = b->free;
    b->free = freed;
    if (was_full)
        list_push(s, b);
}

void *slab_resize(struct slab *s, void *object, size_t old_size, size_t size)
{
    if (!is_small(old_size) && !is_small(size))
        return mem_resize(object, size);
    void *moved = slab_alloc(s, size);
    memcpy(moved, object, old_size < size ? old_size : size);
    slab_free(s, object, old_size);
    return moved;
}

size_t slab_bytes(const struct slab *s)
{
    return s->chunk_count * CHUNK_BYTES - s->empty_count * BLOCK_BYTES;
}
