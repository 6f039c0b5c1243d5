/* SPDX-License-Identifier: Apache-2.0
 * Allocation that ends the process on failure, and arenas.
 *
 * An arena is a chain of blocks, newest first. Pieces are cut from the newest block. Blocks double from 4
 * KiB to 64 KiB. A larger piece gets its own block, linked behind the newest, so that the newest block's
 * free room stays in use. Under the address sanitizer, memory that was not handed out is poisoned. */
#include "base/mem.h"

#include <assert.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <protobuf-c/protobuf-c.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef MEM_HAS_ASAN
#include <sanitizer/asan_interface.h>
#define MEM_POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define MEM_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#define ARENA_REDZONE      16
#else
#define MEM_POISON(p, n)   ((void)(p), (void)(n))
#define MEM_UNPOISON(p, n) ((void)(p), (void)(n))
#define ARENA_REDZONE      0
#endif

enum {
    ARENA_ALIGN = 16,
    ARENA_BLOCK_MIN = 4 << 10,
    ARENA_BLOCK_MAX = 64 << 10,
    ARENA_PIECE_MAX = 16 << 10, /* larger pieces get their own block */
};

struct arena_block {
    struct arena_block *older;
    size_t size; /* header included */
    bool is_own; /* holds one big piece and nothing else */
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

/* Uses no stdio and does not allocate, because the heap has just failed. */
void mem_exhausted(void)
{
    static const char line[] = "cairn: out of memory\n";
    ssize_t ignored = write(STDERR_FILENO, line, sizeof line - 1);
    (void)ignored;
    abort();
}

void *mem_new(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        mem_exhausted();
    return p;
}

void *mem_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        mem_exhausted();
    return p;
}

/* --- small objects ---------------------------------------------------------------------------------------
 * The C library caches seven free blocks of a size; beyond that it merges and splits neighbours. Under the
 * address sanitizer every block returns to the C library, so that the sanitizer detects misuse. */
enum {
    SMALL_STEP = 64,
    SMALL_CLASSES = 16,
    SMALL_KEPT = 2 << 20, /* bytes of one class */
};

struct small_block {
    struct small_block *next;
};

static _Thread_local struct {
    struct small_block *first;
    size_t kept;
} small[SMALL_CLASSES];

static size_t small_class(size_t size)
{
#ifdef MEM_HAS_ASAN
    (void)size;
    return SMALL_CLASSES;
#else
    return size ? (size - 1) / SMALL_STEP : 0;
#endif
}

void *mem_take(size_t size)
{
    size_t class = small_class(size);
    if (class >= SMALL_CLASSES)
        return mem_alloc(size);
    struct small_block *b = small[class].first;
    if (!b)
        return mem_alloc((class + 1) * SMALL_STEP);
    small[class].first = b->next;
    small[class].kept -= (class + 1) * SMALL_STEP;
    return b;
}

void mem_give(void *ptr, size_t size)
{
    size_t class = small_class(size);
    if (class >= SMALL_CLASSES || small[class].kept >= SMALL_KEPT) {
        mem_free(ptr);
        return;
    }
    struct small_block *b = ptr;
    b->next = small[class].first;
    small[class].first = b;
    small[class].kept += (class + 1) * SMALL_STEP;
}

static void free_small_to_system(void)
{
    for (size_t i = 0; i < SMALL_CLASSES; i++) {
        for (struct small_block *b; (b = small[i].first);) {
            small[i].first = b->next;
            mem_free(b);
        }
        small[i].kept = 0;
    }
}

void *mem_resize(void *ptr, size_t size)
{
    void *p = realloc(ptr, size ? size : 1);
    if (!p)
        mem_exhausted();
    return p;
}

void *mem_copy(const void *data, size_t size)
{
    void *p = mem_alloc(size);
    if (size)
        memcpy(p, data, size);
    return p;
}

char *mem_string(const char *text)
{
    return mem_copy(text, strlen(text) + 1);
}

void mem_free(const void *ptr)
{
    union {
        const void *in;
        void *out;
    } p = {ptr};
    free(p.out);
}

void mem_forget(void *bytes, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)bytes + page - 1) & ~(page - 1),
              end = ((uintptr_t)bytes + size) & ~(page - 1);
    if (begin < end) /* on failure the pages only stay */
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void mem_give_back(void)
{
    free_small_to_system();
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static struct arena_block *arena_block_new(size_t size)
{
    struct arena_block *b = mem_alloc(size);
    b->older = NULL;
    b->size = size;
    b->is_own = false;
    MEM_POISON(b->data, size - sizeof *b);
    return b;
}

static void arena_block_free(struct arena_block *b)
{
    MEM_UNPOISON(b->data, b->size - sizeof *b);
    mem_free(b);
}

static void *arena_alloc_own(struct arena *a, size_t size)
{
    struct arena_block *b = arena_block_new(sizeof *b + size);
    b->is_own = true;
    if (a->block) {
        b->older = a->block->older;
        a->block->older = b;
    } else {
        a->block = b;
    }
    return b->data;
}

static void arena_grow(struct arena *a, size_t size)
{
    size_t want = ARENA_BLOCK_MIN;
    if (a->block && !a->block->is_own)
        want = a->block->size * 2;
    while (want < sizeof(struct arena_block) + size)
        want *= 2;
    if (want > ARENA_BLOCK_MAX)
        want = ARENA_BLOCK_MAX;
    struct arena_block *b = arena_block_new(want);
    b->older = a->block;
    a->block = b;
    a->next = b->data;
    a->end = (uint8_t *)b + want;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX / 2)
        mem_exhausted();
    size_t room = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN + ARENA_REDZONE;
    if (room == 0)
        room = ARENA_ALIGN;
    void *p = a->next;
    if (room > (size_t)(a->end - a->next)) {
        if (room > ARENA_PIECE_MAX) {
            p = arena_alloc_own(a, room);
            goto out;
        }
        arena_grow(a, room);
        p = a->next;
    }
    a->next += room;
out:
    a->total += size;
    MEM_UNPOISON(p, size);
    return p;
}

void *arena_new(struct arena *a, size_t size)
{
    return memset(arena_alloc(a, size), 0, size);
}

void *arena_copy(struct arena *a, const void *data, size_t size)
{
    void *p = arena_alloc(a, size);
    if (size)
        memcpy(p, data, size);
    return p;
}

char *arena_string(struct arena *a, const void *data, size_t size)
{
    char *p = arena_alloc(a, size + 1);
    if (size)
        memcpy(p, data, size);
    p[size] = 0;
    return p;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->block;
    if (keep && keep->is_own)
        keep = NULL;
    for (struct arena_block *b = a->block, *older; b; b = older) {
        older = b->older;
        if (b != keep)
            arena_block_free(b);
    }
    *a = (struct arena){.block = keep};
    if (keep) {
        keep->older = NULL;
        a->next = keep->data;
        a->end = (uint8_t *)keep + keep->size;
        MEM_POISON(keep->data, keep->size - sizeof *keep);
    }
}

void arena_done(struct arena *a)
{
    for (struct arena_block *b = a->block, *older; b; b = older) {
        older = b->older;
        arena_block_free(b);
    }
    *a = (struct arena){0};
}

/* Releases pages in steps before the blocks are freed. The C library returns memory when the last block
 * before the heap's end is freed: then all free memory there at once, which takes long. */
bool arena_done_step(struct arena *a, size_t bytes)
{
    for (size_t freed = 0; a->block && freed < bytes;) {
        struct arena_block *b = a->block;
        a->block = b->older;
        freed += b->size;
        MEM_UNPOISON(b->data, b->size - sizeof *b);
        mem_forget(b->data, b->size - sizeof *b);
        mem_free(b);
    }
    if (a->block)
        return false;
    *a = (struct arena){0};
    return true;
}

size_t arena_bytes(const struct arena *a)
{
    size_t bytes = 0;
    for (const struct arena_block *b = a->block; b; b = b->older)
        bytes += b->size;
    return bytes;
}

static void *arena_protobuf_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void arena_protobuf_free(void *arena, void *ptr)
{
    (void)arena;
    (void)ptr;
}

struct ProtobufCAllocator *arena_allocator(struct arena *a)
{
    struct ProtobufCAllocator *p = arena_alloc(a, sizeof *p);
    *p = (struct ProtobufCAllocator){
        .alloc = arena_protobuf_alloc, .free = arena_protobuf_free, .allocator_data = a};
    return p;
}
