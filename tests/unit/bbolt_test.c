/* SPDX-License-Identifier: Apache-2.0
 * The bbolt format: files of drawn rows are written and read back, and damaged files are refused with the
 * page and the reason. The judge of the layout is bbolt's own `check`, in tests/interop. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/bbolt/bbolt.h"
#include "consensus/bbolt/page.h"
#include "unit.h"

enum { PAGE = BBOLT_WRITE_PAGE_SIZE };

/* --- drawn buckets ----------------------------------------------------------------------------------- */

struct shape {
    const char *name;
    size_t rows, key_max, value_max;
};

static void draw_key(const struct shape *s, size_t i, struct buf *key)
{
    key->size = 0;
    buf_addf(key, "%08zu", i);
    for (size_t n = i * 7919 % s->key_max; key->size < n;)
        buf_add_byte(key, (uint8_t)('a' + key->size % 26));
}

static void draw_value(const struct shape *s, size_t i, struct buf *value)
{
    uint64_t x = i * UINT64_C(0x9e3779b97f4a7c15) + 1;
    value->size = 0;
    for (size_t n = s->value_max ? (size_t)(x >> 20) % s->value_max : 0; value->size < n;
         x = x * 25214903917u + 11)
        buf_add_byte(value, (uint8_t)(x >> 32));
}

static void give(struct bbolt_writer *w, const struct shape *shapes, size_t count, struct buf *out)
{
    struct buf key = {0}, value = {0};
    for (size_t s = 0; s < count; s++) {
        bbolt_writer_bucket(w, slice_text(shapes[s].name), out);
        for (size_t i = 0; i < shapes[s].rows; i++) {
            draw_key(&shapes[s], i, &key);
            draw_value(&shapes[s], i, &value);
            bbolt_writer_put(w, buf_slice(&key), buf_slice(&value), out);
        }
    }
    buf_done(&key);
    buf_done(&value);
}

static struct buf write_file(const struct shape *shapes, size_t count)
{
    struct bbolt_writer *w = bbolt_writer_new();
    struct buf out = {0};
    give(w, shapes, count, &out);
    assert_int_equal(out.size, 0);
    uint64_t size = bbolt_writer_plan(w, &out);
    give(w, shapes, count, &out);
    assert_int_equal(bbolt_writer_finish(w, &out), OK);
    assert_int_equal(out.size, size);
    bbolt_writer_free(w);
    return out;
}

/* --- reading ----------------------------------------------------------------------------------------- */

static int read_bytes(void *arg, uint64_t offset, void *ret_bytes, size_t size)
{
    const struct buf *file = arg;
    assert_true(offset + size <= file->size);
    memcpy(ret_bytes, file->data + offset, size);
    return OK;
}

static struct bbolt_source source_of(struct buf *file)
{
    return (struct bbolt_source){.read = read_bytes, .arg = file, .size = file->size};
}

static void expect_bucket(struct bbolt_file *f, const struct shape *s)
{
    struct bbolt_problem problem;
    struct buf key = {0}, value = {0};
    struct slice got_key, got_value;
    struct bbolt_cursor *c;
    bbolt_cursor_new(f, slice_text(s->name), &c);
    assert_non_null(c);
    for (size_t i = 0; i < s->rows; i++) {
        assert_int_equal(bbolt_cursor_next(c, &got_key, &got_value, &problem), OK);
        draw_key(s, i, &key);
        draw_value(s, i, &value);
        assert_true(slice_equal(got_key, buf_slice(&key)));
        assert_true(slice_equal(got_value, buf_slice(&value)));
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bbolt_cursor_next(c, &got_key, &got_value, &problem), OK);
        assert_int_equal(got_key.size, 0);
    }
    bbolt_cursor_free(c);
    buf_done(&key);
    buf_done(&value);
}

static void expect_file(struct buf *file, const struct shape *shapes, size_t count)
{
    struct bbolt_problem problem;
    struct bbolt_source source = source_of(file);
    struct bbolt_file *f;
    assert_int_equal(bbolt_open(&source, &f, &problem), OK);
    assert_int_equal(bbolt_bucket_count(f), count);
    assert_int_equal(bbolt_used_bytes(f), file->size);
    for (size_t i = 0; i < count; i++)
        expect_bucket(f, &shapes[i]);
    bbolt_close(f);
}

/* Reads all rows of all buckets; the first error. */
static int read_all(struct buf *file, struct bbolt_problem *problem)
{
    struct bbolt_source source = source_of(file);
    struct bbolt_file *f;
    int err = bbolt_open(&source, &f, problem);
    for (size_t i = 0; !err && i < bbolt_bucket_count(f); i++) {
        struct slice key = slice_text("."), value;
        struct bbolt_cursor *c;
        bbolt_cursor_new(f, bbolt_bucket_name(f, i), &c);
        while (!err && key.size)
            err = bbolt_cursor_next(c, &key, &value, problem);
        bbolt_cursor_free(c);
    }
    bbolt_close(f);
    return err;
}

static void refused(struct buf *file, int err, uint64_t page, const char *text)
{
    struct bbolt_problem problem = {0};
    assert_int_equal(read_all(file, &problem), err);
    if (!strstr(problem.text, text))
        fail_msg("page %d: \"%s\", not \"%s\"", (int)problem.page, problem.text, text);
    assert_int_equal(problem.page, page);
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void test_round_trip(void **state)
{
    (void)state;
    const struct shape shapes[][3] = {
        {{"key", 0, 1, 0}, {"meta", 1, 1, 0}, {"zz", 0, 1, 0}},
        {{"key", 1, 1, 10}, {"auth", 5, 40, 100}, {"alarm", 3, 1, 0}},
        {{"key", 5000, 1, 300}, {"lease", 400, 1, 20}, {"members", 2, 1, 300}},
        {{"key", 300, 1, 20000}, {"a", 3, 1, 200000}, {"b", 30, 1, 4200}},
        {{"key", 3000, 2000, 40}, {"long", 300, 2000, 9000}, {"c", 100000, 1, 1}},
    };
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct buf file = write_file(shapes[i], 3);
        expect_file(&file, shapes[i], 3);
        buf_done(&file);
    }
    struct buf none = write_file(shapes[0], 0);
    expect_file(&none, shapes[0], 0);
    buf_done(&none);
}

/* Any number of rows around the borders of one and two levels. */
static void test_borders(void **state)
{
    (void)state;
    for (size_t rows = 0; rows < 400; rows++) {
        struct shape s = {"key", rows, 2000, 30};
        struct buf file = write_file(&s, 1);
        expect_file(&file, &s, 1);
        buf_done(&file);
    }
}

static void test_passes_differ(void **state)
{
    (void)state;
    struct bbolt_writer *w = bbolt_writer_new();
    struct shape first = {"key", 100, 1, 100}, second = {"key", 101, 1, 100};
    struct buf out = {0};
    give(w, &first, 1, &out);
    (void)bbolt_writer_plan(w, &out);
    give(w, &second, 1, &out);
    assert_int_equal(bbolt_writer_finish(w, &out), ERR_CORRUPT);
    bbolt_writer_free(w);
    buf_done(&out);
}

static struct meta *meta_of(struct buf *file, size_t page)
{
    return (struct meta *)(void *)(file->data + page * PAGE + sizeof(struct page_head));
}

static void test_meta(void **state)
{
    (void)state;
    struct shape s = {"key", 1000, 1, 100};
    struct buf file = write_file(&s, 1), other = {0};
    meta_of(&file, 0)->transaction++; /* one of the two is enough */
    expect_file(&file, &s, 1);
    meta_of(&file, 1)->root.root = 0;
    refused(&file, ERR_CORRUPT, 0, "both meta pages are damaged");
    meta_of(&file, 1)->checksum = meta_checksum(meta_of(&file, 1));
    refused(&file, ERR_CORRUPT, 0, "the root is page 0");
    meta_of(&file, 1)->root.root = 3;
    meta_of(&file, 1)->checksum = meta_checksum(meta_of(&file, 1));
    expect_file(&file, &s, 1);
    file.size -= PAGE;
    refused(&file, ERR_CORRUPT, 0, "the file is cut off");
    file.size += PAGE;
    buf_done(&file);
    refused(&other, ERR_MALFORMED, 0, "it is not a bbolt file");
    for (size_t i = 0; i < 9000; i++)
        buf_add_byte(&other, (uint8_t)i);
    refused(&other, ERR_MALFORMED, 0, "it is not a bbolt file");
    buf_done(&other);
}

/* A value that begins where the second meta page of a larger page size would be pretends to be a newer one. */
static void test_false_meta(void **state)
{
    (void)state;
    struct shape s = {"key", 1, 1, 0};
    struct bbolt_writer *w = bbolt_writer_new();
    struct buf file = {0}, value = {0};
    for (size_t i = 0; i < 16 * PAGE; i++)
        buf_add_byte(&value, 0);
    for (int pass = 0; pass < 2; pass++) {
        bbolt_writer_bucket(w, slice_text(s.name), &file);
        bbolt_writer_put(w, slice_text("00000000"), buf_slice(&value), &file);
        if (pass == 0)
            (void)bbolt_writer_plan(w, &file);
    }
    assert_int_equal(bbolt_writer_finish(w, &file), OK);
    bbolt_writer_free(w);
    struct meta *lie = meta_of(&file, 8); /* 32 KiB */
    *lie = *meta_of(&file, 0);
    lie->page_size = 8 * PAGE;
    lie->page_count = 2;
    lie->transaction = 100;
    lie->checksum = meta_checksum(lie);
    struct bbolt_problem problem;
    struct bbolt_source source = source_of(&file);
    struct bbolt_file *f;
    assert_int_equal(bbolt_open(&source, &f, &problem), OK);
    assert_int_equal(bbolt_transaction(f), 2);
    bbolt_close(f);
    buf_done(&file);
    buf_done(&value);
}

/* A file of two leaves (4, 5) under a branch (6). */
static struct buf small_file(void)
{
    struct shape s = {"key", 60, 1, 200};
    struct buf file = write_file(&s, 1);
    assert_int_equal(file.size, 7 * PAGE);
    return file;
}

static void *at(struct buf *file, size_t page, size_t offset)
{
    return file->data + page * PAGE + offset;
}

static void test_pages(void **state)
{
    (void)state;
    struct buf file = small_file();
    struct page_head *leaf = at(&file, 5, 0), *branch = at(&file, 6, 0);
    struct branch_element *second = at(&file, 6, 32);
    struct leaf_element *row = at(&file, 5, 32);
    leaf->number = 9;
    refused(&file, ERR_CORRUPT, 5, "it says that it is page 9");
    leaf->number = 5;
    leaf->flags = PAGE_FREELIST;
    refused(&file, ERR_CORRUPT, 5, "its flags are 0x10");
    leaf->flags = PAGE_LEAF;
    leaf->count += 4096 / 16;
    refused(&file, ERR_CORRUPT, 5, "do not fit its 4096 bytes");
    leaf->count -= 4096 / 16;
    leaf->overflow = 2;
    refused(&file, ERR_CORRUPT, 5, "2 pages should follow it");
    leaf->overflow = 0;
    row->value_size += 1 << 20;
    refused(&file, ERR_CORRUPT, 5, "element 1 of");
    row->value_size -= 1 << 20;
    row->flags = LEAF_BUCKET;
    refused(&file, ERR_CORRUPT, 5, "has the flags 0x1");
    row->flags = 0;
    uint32_t key_size = row->key_size;
    row->key_size = 0;
    refused(&file, ERR_CORRUPT, 5, "a key of 0 bytes");
    row->key_size = key_size;
    second->page = 700;
    refused(&file, ERR_CORRUPT, 700, "it is named as a child, but the file has 7 pages");
    second->page = 6;
    refused(&file, ERR_CORRUPT, 6, "is not above those before it");
    second->page = 4;
    refused(&file, ERR_CORRUPT, 4, "is not above those before it");
    second->page = 5;
    branch->count = 0;
    refused(&file, ERR_CORRUPT, 6, "a branch without a child");
    branch->count = 2;
    refused(&file, OK, 0, "");
    buf_done(&file);
}

static void test_circle(void **state)
{
    (void)state;
    struct buf file = small_file();
    struct page_head *branch = at(&file, 6, 0);
    struct branch_element *first = at(&file, 6, 16);
    branch->count = 1;
    first->page = 6;
    refused(&file, ERR_CORRUPT, 6, "has a circle");
    buf_done(&file);
}

static void test_order(void **state)
{
    (void)state;
    struct buf file = small_file();
    struct leaf_element *row = at(&file, 4, 48), *last = at(&file, 6, 32);
    uint8_t *key = (uint8_t *)row + row->position;
    key[0] = 0;
    refused(&file, ERR_CORRUPT, 4, "the key of element 2 is not above those before it");
    key[0] = '0';
    struct branch_element *b = (void *)last;
    key = (uint8_t *)b + b->position;
    key[0] = 1; /* below the rows of the first leaf */
    refused(&file, ERR_CORRUPT, 6, "is not above those before it");
    key[0] = '9'; /* above the rows of its own */
    refused(&file, ERR_CORRUPT, 5, "is not above those before it");
    buf_done(&file);
}

/* Every byte of a small file, changed: an error, or rows; never a crash, and never a walk without end. */
static void test_flipped_bytes(void **state)
{
    (void)state;
    struct buf file = small_file();
    struct bbolt_problem problem;
    for (size_t i = 0; i < file.size; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            file.data[i] ^= (uint8_t)(1 << bit);
            (void)read_all(&file, &problem);
            file.data[i] ^= (uint8_t)(1 << bit);
        }
    buf_done(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_borders),
        cmocka_unit_test(test_passes_differ), cmocka_unit_test(test_meta),
        cmocka_unit_test(test_pages),         cmocka_unit_test(test_circle),
        cmocka_unit_test(test_order),         cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_false_meta),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
