/* SPDX-License-Identifier: Apache-2.0
 * The slab allocator: objects do not overlap and keep their content, blocks without objects give their pages
 * back, and little is lost between objects. */
#include "base/slab.h"

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

/* Objects of all sizes come and go; each keeps what was written into it. */
static void test_objects_keep_their_content(void **state)
{
    (void)state;
    struct slab s;
    struct rng r = {7};
    struct object *objects = mem_new(OBJECTS * sizeof *objects);
    slab_init(&s);
    for (unsigned step = 0; step < 10 * OBJECTS; step++) {
        struct object *o = &objects[rng_below(&r, OBJECTS)];
        if (o->bytes) {
            check(o);
            slab_free(&s, o->bytes, o->size);
            o->bytes = NULL;
            continue;
        }
        *o = (struct object){.size = rng_below(&r, 20) ? rng_below(&r, 200) : rng_below(&r, 2000),
                             .mark = (uint8_t)step};
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

/* A hundredth is lost to the heads of blocks and their ends; what is freed serves another size. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_keep_their_content),
        cmocka_unit_test(test_little_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
