/* SPDX-License-Identifier: Apache-2.0
 * Tests of forms: clients that get the same content share a number, and a void form is never accepted. */
#include "server/stream/form.h"

#include "unit.h"

static uint64_t seq_of_a, seq_of_b;

static uint64_t choose(void *arg, struct slice id)
{
    (void)arg;
    return id.data[0] == 'a' ? seq_of_a : seq_of_b;
}

static uint32_t number_of(struct stream_forms *fs, uint64_t a, uint64_t b)
{
    seq_of_a = a;
    seq_of_b = b;
    return stream_forms_number(fs, choose, NULL);
}

static uint64_t seq(const struct stream_forms *fs, uint32_t number, const char *id)
{
    uint64_t seq = 0;
    return stream_forms_seq(fs, number, slice_text(id), &seq) ? seq : UINT64_MAX;
}

static void test_numbers(void **state)
{
    (void)state;
    struct stream_forms fs = {0};
    stream_forms_note(&fs, slice_text("c"), false);
    assert_false(stream_forms_any(&fs));
    assert_int_equal(number_of(&fs, 1, 1), 0);
    assert_true(seq(&fs, 0, "c") == UINT64_MAX);
    stream_forms_note(&fs, slice_text("a"), true);
    stream_forms_note(&fs, slice_text("b"), true);
    assert_true(stream_forms_any(&fs) && stream_forms_have(&fs, slice_text("b")));
    uint32_t live = number_of(&fs, 1, 2), gray = number_of(&fs, 1, 3);
    assert_true(live && gray && live != gray);
    assert_int_equal(number_of(&fs, 1, 2), live);
    assert_true(seq(&fs, live, "b") == 2 && seq(&fs, gray, "b") == 3 && seq(&fs, gray, "a") == 1);
    assert_true(seq(&fs, gray, "c") == UINT64_MAX);
    stream_forms_done(&fs);
}

static void test_void(void **state)
{
    (void)state;
    struct stream_forms fs = {0};
    stream_forms_note(&fs, slice_text("a"), true);
    stream_forms_note(&fs, slice_text("b"), true);
    uint32_t before = number_of(&fs, 1, 2);
    stream_forms_note(&fs, slice_text("b"), true); /* other rules, perhaps */
    assert_true(seq(&fs, before, "a") == UINT64_MAX);
    uint32_t after = number_of(&fs, 1, 2);
    assert_true(after != before && seq(&fs, after, "b") == 2);
    stream_forms_note(&fs, slice_text("a"), false); /* b takes its place */
    assert_true(seq(&fs, after, "b") == UINT64_MAX);
    after = number_of(&fs, 9, 4);
    assert_true(seq(&fs, after, "b") == 4 && seq(&fs, after, "a") == UINT64_MAX);
    stream_forms_done(&fs);
}

/* More lists than are remembered: old numbers are void, and no number is assigned to two lists. */
static void test_many(void **state)
{
    (void)state;
    struct stream_forms fs = {0};
    stream_forms_note(&fs, slice_text("a"), true);
    uint32_t first = number_of(&fs, 1, 0), number = first;
    for (uint64_t i = 2; i < 70000; i++) {
        uint32_t next = number_of(&fs, i, 0);
        assert_true(next > number);
        number = next;
    }
    assert_true(seq(&fs, first, "a") == UINT64_MAX && seq(&fs, number, "a") == 69999);
    assert_true(fs.forms.count < 65537);
    stream_forms_done(&fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_void),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
