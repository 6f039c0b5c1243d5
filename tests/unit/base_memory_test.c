/* SPDX-License-Identifier: Apache-2.0
 * Tests of err, mem, buf, blob, list and clock. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <protobuf-c/protobuf-c.h>
#include <string.h>

#include <malloc.h>

#include "base/blob.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"

static void test_err(void **state)
{
    (void)state;
    assert_string_equal(err_name(OK), "OK");
    assert_string_equal(err_text(OK), "");
    assert_int_equal(err_grpc(OK), 0);
    assert_int_equal(err_http(OK), 200);
    assert_string_equal(err_name(ERR_KEY_EMPTY), "ERR_KEY_EMPTY");
    assert_string_equal(err_text(ERR_COMPACTED), "etcdserver: mvcc: required revision has been compacted");
    assert_int_equal(err_grpc(ERR_COMPACTED), 11);
    assert_int_equal(err_http(ERR_NO_LEADER), 503);
    for (int unknown = 1; unknown < 3; unknown++) {
        assert_string_equal(err_name(unknown), "ERR_UNKNOWN");
        assert_string_equal(err_name(-ERR_COUNT - unknown), "ERR_UNKNOWN");
    }
    assert_string_not_equal(err_name(-ERR_COUNT), "ERR_UNKNOWN");
    assert_string_equal(err_name(INT32_MIN), "ERR_UNKNOWN");
    assert_int_equal(err_from_errno(0), OK);
    assert_int_equal(err_from_errno(ENOSPC), ERR_NO_DISK_SPACE);
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(err_from_errno(EEXIST), ERR_EXISTS);
    assert_int_equal(err_from_errno(EBADF), ERR_IO);
}

static void test_buf(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_string_equal(buf_text(&b), "");
    buf_add(&b, NULL, 0);
    buf_addf(&b, "%d-%s", 12, "ab");
    buf_add_byte(&b, '!');
    assert_string_equal(buf_text(&b), "12-ab!");
    assert_int_equal(b.size, 6);
    buf_consume(&b, 3);
    assert_string_equal(buf_text(&b), "ab!");
    buf_consume(&b, 3);
    assert_int_equal(b.size, 0);
    for (int i = 0; i < 10000; i++)
        buf_addf(&b, "%04d", i);
    assert_int_equal(b.size, 40000);
    assert_memory_equal(b.data + 4 * 1234, "1234", 4);
    struct buf moved = buf_move(&b);
    assert_null(b.data);
    assert_int_equal(moved.size, 40000);
    buf_clear(&moved);
    assert_true(moved.capacity >= 40000);
    buf_done(&moved);
    assert_null(moved.data);
}

/* A formatted text that exactly fills the buffer, and one that is a byte longer: both hit vsnprintf's NUL. */
static void test_buf_format_edges(void **state)
{
    (void)state;
    for (size_t fill = 55; fill < 70; fill++) {
        struct buf b = {0};
        for (size_t i = 0; i < fill; i++)
            buf_add_byte(&b, 'x');
        buf_addf(&b, "%s", "12345678");
        assert_int_equal(b.size, fill + 8);
        assert_memory_equal(b.data + fill, "12345678", 8);
        buf_done(&b);
    }
}

static void test_slice(void **state)
{
    (void)state;
    assert_true(slice_compare(slice_text("a"), slice_text("ab")) < 0);
    assert_true(slice_compare(slice_text("b"), slice_text("ab")) > 0);
    assert_true(slice_compare(slice_text(""), (struct slice){0}) == 0);
    assert_true(slice_compare(slice_text("\xff"), slice_text("a")) > 0);
    assert_true(slice_equal((struct slice){0}, slice_text("")));
    uint8_t p[8];
    put_be64(p, 0x0102030405060708u);
    assert_int_equal(p[0], 1);
    assert_true(get_be64(p) == 0x0102030405060708u);
    put_be32(p, 0x01020304u);
    assert_int_equal(p[3], 4);
    assert_int_equal(get_be32(p), 0x01020304);
}

static void test_blob(void **state)
{
    (void)state;
    struct blob *b = blob_copy(slice_text("hello"));
    assert_ptr_equal(blob_ref(b), b);
    blob_unref(b);
    assert_true(slice_equal(blob_slice(b), slice_text("hello")));
    blob_unref(b);
    blob_unref(NULL);
    assert_null(blob_ref(NULL));
    assert_int_equal(blob_slice(NULL).size, 0);
}

static void test_arena(void **state)
{
    (void)state;
    struct arena a = {0};
    uint8_t *pieces[600];
    for (int round = 0; round < 3; round++) {
        size_t sum = 0;
        for (size_t i = 0; i < COUNT_OF(pieces); i++) {
            size_t size = i % 97 == 0 ? 20000 + i : i;
            pieces[i] = arena_alloc(&a, size);
            assert_int_equal((uintptr_t)pieces[i] % 16, 0);
            memset(pieces[i], (int)(i & 0xff), size);
            sum += size;
        }
        assert_int_equal(a.total, sum);
        for (size_t i = 0; i < COUNT_OF(pieces); i++)
            for (size_t k = 0; k < (i % 97 == 0 ? 20000 + i : i); k++)
                assert_int_equal(pieces[i][k], i & 0xff);
        arena_reset(&a);
        assert_int_equal(a.total, 0);
        assert_true(a.end - a.next <= 64 << 10);
    }
    assert_string_equal(arena_printf(&a, "%s=%d", "x", 7), "x=7");
    assert_string_equal(arena_string(&a, "abcd", 2), "ab");
    uint8_t *zeroed = arena_new(&a, 5000);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(zeroed[i], 0);
    arena_done(&a);
    assert_null(a.block);
}

/* The free space of the newest block survives a big piece, and a big first piece leaves nothing. */
static void test_arena_big(void **state)
{
    (void)state;
    struct arena a = {0};
    arena_alloc(&a, 1 << 20);
    arena_reset(&a);
    assert_null(a.block);
    arena_alloc(&a, 100);
    uint8_t *next = a.next;
    arena_alloc(&a, 1 << 20);
    assert_ptr_equal(a.next, next);
    arena_reset(&a);
    assert_non_null(a.block);
    arena_done(&a);
}

static void test_arena_protobuf(void **state)
{
    (void)state;
    struct arena a = {0};
    ProtobufCAllocator *p = arena_allocator(&a);
    void *piece = p->alloc(p->allocator_data, 64);
    assert_non_null(piece);
    memset(piece, 1, 64);
    p->free(p->allocator_data, piece);
    arena_done(&a);
}

struct item {
    int value;
    struct link link;
};

static void test_list(void **state)
{
    (void)state;
    struct link a, b;
    list_init(&a);
    list_init(&b);
    assert_null(list_take_first(&a));
    struct item items[5] = {0};
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_add_last(i < 3 ? &a : &b, &items[i].link);
    }
    list_move_all(&a, &b);
    assert_true(list_is_empty(&b));
    int sum = 0, place = 0;
    LIST_FOR_EACH_SAFE (l, &a) {
        struct item *item = container_of(l, struct item, link);
        sum += item->value * ++place;
        list_remove(l);
        assert_false(link_is_in_list(l));
        list_remove(l);
    }
    assert_int_equal(sum, 0 * 1 + 1 * 2 + 2 * 3 + 3 * 4 + 4 * 5);
    assert_true(list_is_empty(&a));
    list_add_first(&a, &items[0].link);
    list_add_first(&a, &items[1].link);
    assert_ptr_equal(list_take_first(&a), &items[1].link);
}

static void test_clock(void **state)
{
    (void)state;
    uint64_t before = clock_mono_ns();
    assert_true(clock_mono_ns() >= before);
    assert_true(clock_mono_ms() >= before / 1000000);
    assert_true(clock_wall_ns() > 1700000000ull * 1000000000);
    assert_true(random_u64() != random_u64());
    uint8_t bytes[1000] = {0};
    random_bytes(bytes, sizeof bytes);
    int zeros = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        zeros += bytes[i] == 0;
    assert_true(zeros < 50);
}

/* Only allocations of their size reuse blocks, and the number of kept blocks is bounded. */
static void test_take_and_give(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static uint8_t *blocks[COUNT];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = i * 37 % 1500;
            blocks[i] = mem_take(size);
            memset(blocks[i], (int)(i & 255), size);
        }
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = i * 37 % 1500;
            for (size_t k = 0; k < size; k++)
                assert_int_equal(i & 255, blocks[i][k]);
            mem_give(blocks[i], size);
        }
    }
    mem_give_back();
    struct mallinfo2 before = mallinfo2();
    static void *many[8000];
    for (size_t i = 0; i < 8000; i++)
        many[i] = mem_take(1000);
    for (size_t i = 0; i < 8000; i++)
        mem_give(many[i], 1000);
    struct mallinfo2 after = mallinfo2();
    assert_true(after.uordblks <= before.uordblks + (3 << 20));
    mem_give_back();
    after = mallinfo2();
    assert_true(after.uordblks <= before.uordblks + (64 << 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_and_give),
        cmocka_unit_test(test_err),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_buf_format_edges),
        cmocka_unit_test(test_slice),
        cmocka_unit_test(test_blob),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arena_big),
        cmocka_unit_test(test_arena_protobuf),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
