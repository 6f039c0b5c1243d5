/* SPDX-License-Identifier: Apache-2.0
 * Tests of the slab allocator. Objects do not overlap and keep their content. Blocks without objects give
 * their pages back. Full blocks are used again after a free. Little memory is lost between objects. */
#include "base/slab.h"

#include <unistd.h>

#include "base/mem.h"
#include "tests/unit/store_model.h"
#include "tests/unit/unit.h"

#define OBJECTS 20000u

struct object {
    uint8_t *bytes;
    size_t size;
    uint8_t mark;
};

static void check(const struct object *o)
{
    for (size_t i = 0; i < o->size; i++)
        assert_int_equal(o->bytes[i], o->mark);
}

/* Objects of all sizes are allocated and freed; each keeps its content. */
static void test_objects_keep_their_content(void **state)
{
    (void)state;
    struct slab s;
    struct rng r = {7};
    struct object *objects = mem_new(OBJECTS * sizeof *objects);
    slab_init(&s);
    for (unsigned step = 0; step < 10 * OBJECTS; step++) {
        struct object *o = &objects[rng_below(&r, OBJECTS)];
        size_t size = rng_below(&r, 20) ? rng_below(&r, 200) : rng_below(&r, 2000);
        if (o->bytes && rng_below(&r, 2)) {
            o->bytes = slab_resize(&s, o->bytes, o->size, size);
            o->size = size < o->size ? size : o->size;
            check(o);
            o->size = size;
            memset(o->bytes, o->mark, o->size);
            continue;
        }
        if (o->bytes) {
            check(o);
            slab_free(&s, o->bytes, o->size);
            o->bytes = NULL;
            continue;
        }
        *o = (struct object){.size = size, .mark = (uint8_t)step};
        o->bytes = slab_alloc(&s, o->size);
        assert_int_equal((uintptr_t)o->bytes % 8, 0);
        memset(o->bytes, o->mark, o->size);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (objects[i].bytes)
            check(&objects[i]);
        slab_free(&s, objects[i].bytes, objects[i].size);
    }
    assert_int_equal(slab_bytes(&s), 0);
    mem_free(objects);
    slab_done(&s);
}

/* A hundredth is lost to the heads of blocks and their ends; freed memory serves another size. */
static void test_little_is_lost(void **state)
{
    (void)state;
    struct slab s;
    void **objects = mem_new(OBJECTS * sizeof *objects);
    slab_init(&s);
    size_t chunks = 0;
    for (size_t size = 88; size <= 104; size += 16) {
        for (unsigned i = 0; i < OBJECTS; i++)
            objects[i] = slab_alloc(&s, size);
        assert_true(slab_bytes(&s) <= OBJECTS * size + OBJECTS * size / 50);
        assert_true(!chunks || s.chunk_count <= chunks + 1);
        chunks = s.chunk_count;
        for (unsigned i = 0; i < OBJECTS; i++)
            slab_free(&s, objects[i], size);
        assert_int_equal(slab_bytes(&s), 0);
    }
    mem_free(objects);
    slab_done(&s);
}

/* A full block with a freed object has room again: the next allocation takes that room. */
static void test_a_full_block_is_open_again(void **state)
{
    (void)state;
    struct slab s;
    void **objects = mem_new(OBJECTS * sizeof *objects);
    slab_init(&s);
    for (size_t size = 24; size <= SLAB_OBJECT_MAX; size += 61) {
        for (unsigned i = 0; i < OBJECTS; i++)
            objects[i] = slab_alloc(&s, size);
        size_t bytes = slab_bytes(&s), chunks = s.chunk_count;
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned i = round % 2; i < OBJECTS; i += 2)
                slab_free(&s, objects[i], size);
            for (unsigned i = round % 2; i < OBJECTS; i += 2)
                objects[i] = slab_alloc(&s, size);
            assert_int_equal(slab_bytes(&s), bytes);
            assert_int_equal(s.chunk_count, chunks);
        }
        for (unsigned i = 0; i < OBJECTS; i++)
            slab_free(&s, objects[i], size);
    }
    assert_int_equal(slab_bytes(&s), 0);
    mem_free(objects);
    slab_done(&s);
}

/* A private mapping whose pages were given back reads as zeros; others of the same chunk keep theirs. */
static void test_an_emptied_block_keeps_no_pages(void **state)
{
    (void)state;
#ifdef MEM_HAS_ASAN
    skip(); /* each object comes from mem_alloc */
#endif
    if (sysconf(_SC_PAGESIZE) > 16 << 10)
        skip(); /* a page is larger than a block */
    enum { KEPT = 3 };
    const size_t size = 512;
    struct slab s;
    slab_init(&s);
    uint8_t **objects = mem_new(OBJECTS * sizeof *objects), *kept[KEPT];
    for (unsigned i = 0; i < KEPT; i++)
        memset(kept[i] = slab_alloc(&s, size / 2), 'k', size / 2);
    for (unsigned i = 0; i < OBJECTS; i++)
        memset(objects[i] = slab_alloc(&s, size), 'x', size);
    for (unsigned i = 0; i < OBJECTS; i++)
        slab_free(&s, objects[i], size);
    for (unsigned i = 0; i < OBJECTS; i++) /* the slab keeps the mapping until its end */
        for (size_t k = 0; k < size; k++)
            assert_int_equal(objects[i][k], 0);
    for (unsigned i = 0; i < KEPT; i++) {
        for (size_t k = 0; k < size / 2; k++)
            assert_int_equal(kept[i][k], 'k');
        slab_free(&s, kept[i], size / 2);
    }
    mem_free(objects);
    slab_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_keep_their_content),
        cmocka_unit_test(test_little_is_lost),
        cmocka_unit_test(test_a_full_block_is_open_again),
        cmocka_unit_test(test_an_emptied_block_keeps_no_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
