/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rules of `migrate`: names of keys, batches of changes, comparing, the saved state. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "sdk/ctl/migrate_plan.h"

static struct migrate_op op(const char *key, int64_t revision)
{
    return (struct migrate_op){.key = slice_text(key), .value = slice_text("v"), .revision = revision};
}

static void names(void **state)
{
    (void)state;
    struct buf name = {0};
    struct migrate_rule all = {0}, some = {slice_text("a/"), slice_text("bb/")};
    assert_true(migrate_map_key(&all, slice_text("x"), &name));
    assert_string_equal(buf_text(&name), "x");
    assert_false(migrate_map_key(&all, slice_text("/cairn/registry/x"), &name));
    assert_true(migrate_map_key(&all, slice_text("/cairn"), &name));
    assert_true(migrate_map_key(&some, slice_text("a/x"), &name));
    assert_string_equal(buf_text(&name), "bb/x");
    assert_false(migrate_map_key(&some, slice_text("b/x"), &name));
    assert_false(migrate_map_key(&some, slice_text("a"), &name));
    struct migrate_rule into = {slice_text("a/"), slice_text("/cair")};
    assert_false(migrate_map_key(&into, slice_text("a/n/x"), &name)); /* it would be a key of Cairn */
    struct migrate_rule cut = {slice_text("a/"), slice_text("")};
    assert_false(migrate_map_key(&cut, slice_text("a/"), &name)); /* no key is empty */
    buf_done(&name);
}

static void range_ends(void **state)
{
    (void)state;
    struct buf end = {0};
    migrate_range_end(slice_text("ab"), &end);
    assert_string_equal(buf_text(&end), "ac");
    migrate_range_end(slice_text("a\xff\xff"), &end);
    assert_string_equal(buf_text(&end), "b");
    migrate_range_end(slice_text("\xff"), &end);
    assert_int_equal(end.size, 1);
    assert_int_equal(end.data[0], 0);
    migrate_range_end(slice_text(""), &end);
    assert_int_equal(end.size, 1);
    assert_int_equal(end.data[0], 0);
    buf_done(&end);
}

static void assert_batch(const struct migrate_op *ops, size_t count, size_t max_ops, size_t max_bytes,
                         size_t wanted, int64_t wanted_revision, bool wanted_torn)
{
    struct migrate_limits limits = {max_ops, max_bytes};
    int64_t revision = 0;
    bool is_torn;
    assert_int_equal(migrate_batch(ops, count, &limits, &revision, &is_torn), wanted);
    assert_int_equal(revision, wanted_revision);
    assert_int_equal(is_torn, wanted_torn);
}

static void batches(void **state)
{
    (void)state;
    const struct migrate_op ops[] = {op("a", 5), op("b", 5), op("c", 6), op("a", 7), op("d", 7)};
    assert_batch(ops, 5, 10, 1000, 3, 6, false);    /* a again: revision 7 waits, whole */
    assert_batch(ops, 5, 2, 1000, 2, 5, false);     /* limit of operations */
    assert_batch(ops + 1, 4, 2, 1000, 2, 6, false); /* the rest of a torn one joins the next */
    assert_batch(ops, 5, 1, 1000, 1, 4, true);      /* revision 5 alone is too large */
    assert_batch(ops, 5, 10, 5, 2, 5, false);       /* limit of bytes */
    assert_batch(ops, 5, 10, 1, 1, 4, true);        /* one operation always goes */
    assert_batch(ops + 3, 2, 10, 1000, 2, 7, false);
    assert_batch(ops + 4, 1, 1, 0, 1, 7, false);
    assert_batch(ops, 0, 10, 1000, 0, 0, false);
    const struct migrate_op late[] = {op("a", 5), op("b", 6), op("c", 6), op("b", 6)};
    assert_batch(late, 4, 10, 1000, 1, 5, false); /* never a part of a revision beside a whole one */
}

static void comparing(void **state)
{
    (void)state;
    struct migrate_op a = op("a", 1), b = op("b", 1), other = op("a", 9);
    assert_int_equal(migrate_compare(&a, NULL), MIGRATE_PUT);
    assert_int_equal(migrate_compare(NULL, &a), MIGRATE_DELETE);
    assert_int_equal(migrate_compare(&a, &b), MIGRATE_PUT);
    assert_int_equal(migrate_compare(&b, &a), MIGRATE_DELETE);
    assert_int_equal(migrate_compare(&a, &other), MIGRATE_SAME); /* revisions are each side's own */
    other.lease = 3;
    assert_int_equal(migrate_compare(&a, &other), MIGRATE_CHANGE);
    other.lease = 0;
    other.value = slice_text("w");
    assert_int_equal(migrate_compare(&a, &other), MIGRATE_CHANGE);
}

static void states(void **state)
{
    (void)state;
    struct buf text = {0};
    struct migrate_state s = {0xfedcba9876543210, 7, 1234567890123}, got = {0};
    migrate_state_add(&text, &s);
    assert_int_equal(migrate_state_read(buf_slice(&text), &got), OK);
    assert_memory_equal(&s, &got, sizeof s);
    static const char *const bad[] = {
        "",
        "x",
        "{}",
        "[]",
        "{\"run\":\"x\",\"seq\":1,\"revision\":1}",
        "{\"run\":\"1\",\"seq\":1}",
        "{\"run\":\"1\",\"seq\":-1,\"revision\":1}",
        "{\"run\":\"1\",\"seq\":1,\"revision\":-1}",
        "{\"run\":\"1\",\"seq\":1,\"revision\":\"1\"}",
        "{\"run\":\"00000000000000001\",\"seq\":1,\"revision\":1}",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(migrate_state_read(slice_text(bad[i]), &got), ERR_MALFORMED);
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),     cmocka_unit_test(range_ends), cmocka_unit_test(batches),
        cmocka_unit_test(comparing), cmocka_unit_test(states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
