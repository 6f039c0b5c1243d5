/* SPDX-License-Identifier: Apache-2.0
 * Memory allocation that cannot fail: out of memory ends the daemon with one line. Limits on all inputs
 * make it a bug. `arena` is the memory of one request: allocated piece by piece, released at once. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Defined in builds with the address sanitizer. */
#if defined(__SANITIZE_ADDRESS__)
#define MEM_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_HAS_ASAN 1
#endif
#endif

struct slice;

_Noreturn void mem_exhausted(void);       /* writes an error and ends the process */
void *mem_new(size_t size);               /* zeroed; size 0 returns a unique pointer */
void *mem_alloc(size_t size);             /* not zeroed */
void *mem_resize(void *ptr, size_t size); /* as realloc */
void *mem_copy(const void *data, size_t size);
char *mem_string(const char *text); /* copy of a C string */
void mem_free(const void *ptr);     /* NULL is allowed */
/* Releases the pages of these bytes of an allocation now. The contents become undefined. */
void mem_forget(void *bytes, size_t size);
void mem_give_back(void); /* returns free pages to the system; takes milliseconds when there are many */

/* A per-thread free list for small objects that are allocated and freed by the thousand. It keeps at most 2
 * MiB of each size class for later mem_take calls of this thread. Both calls must use the same `size`. */
void *mem_take(size_t size); /* not zeroed */
void mem_give(void *ptr, size_t size);

/* An arena is valid when zeroed. Pieces are 16-byte aligned and live until reset or done. */
struct arena {
    struct arena_block *block; /* newest first */
    uint8_t *next, *end;       /* free room in the newest block */
    size_t total;              /* bytes handed out since the last reset */
};

void *arena_alloc(struct arena *a, size_t size); /* not zeroed */
void *arena_new(struct arena *a, size_t size);   /* zeroed */
void *arena_copy(struct arena *a, const void *data, size_t size);
char *arena_string(struct arena *a, const void *data, size_t size); /* adds a NUL */
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_reset(struct arena *a); /* keeps one block of at most 64 KiB for the next request */
void arena_done(struct arena *a);
/* Like arena_done, for about `bytes` bytes, whose pages are released now. True when nothing is left.
 * Between two steps the arena must not be used for anything else. */
bool arena_done_step(struct arena *a, size_t bytes);
size_t arena_bytes(const struct arena *a); /* bytes that it has allocated */

/* A protobuf-c allocator that takes memory from an arena and frees nothing. The struct lives in the arena. */
struct ProtobufCAllocator *arena_allocator(struct arena *a);

#endif
