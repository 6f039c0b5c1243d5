/* SPDX-License-Identifier: Apache-2.0
 * Tests of the framing of records and batches, and of the segment header. */
#include "base/hash.h"
#include "consensus/wal/segment.h"
#include "tests/unit/unit.h"

static void records_round_trip(void **state)
{
    struct buf b = {0};
    uint32_t chain = 77;
    const struct wal_entry entry = {.index = 5, .term = 3, .type = 2, .data = slice_text("value")};
    const struct wal_entry empty = {.index = UINT64_MAX, .term = 9};
    const struct wal_hard_state hard_state = {4, 0xfedcba9876543210, 3};
    const struct wal_snapshot snapshot = {100, 2};

    (void)state;
    wal_record_add_entry(&b, &chain, &entry);
    wal_record_add_entry(&b, &chain, &empty);
    wal_record_add_hard_state(&b, &chain, &hard_state);
    wal_record_add_snapshot(&b, &chain, &snapshot);
    assert_int_equal(chain, crc32c(77, b.data, b.size));

    struct slice rest = buf_slice(&b);
    struct wal_record r;
    assert_int_equal(wal_record_take(&rest, &r), 0);
    assert_int_equal(r.kind, WAL_RECORD_ENTRY);
    assert_int_equal(r.entry.index, 5);
    assert_int_equal(r.entry.term, 3);
    assert_int_equal(r.entry.type, 2);
    assert_true(slice_equal(r.entry.data, entry.data));
    assert_int_equal(wal_record_take(&rest, &r), 0);
    assert_int_equal(r.entry.index, UINT64_MAX);
    assert_int_equal(r.entry.data.size, 0);
    assert_int_equal(wal_record_take(&rest, &r), 0);
    assert_int_equal(r.kind, WAL_RECORD_HARD_STATE);
    assert_memory_equal(&r.hard_state, &hard_state, sizeof(hard_state));
    assert_int_equal(wal_record_take(&rest, &r), 0);
    assert_int_equal(r.kind, WAL_RECORD_SNAPSHOT);
    assert_memory_equal(&r.snapshot, &snapshot, sizeof(snapshot));
    assert_int_equal(rest.size, 0);
    buf_done(&b);
}

/* Every cut, and every length that reaches too far or is too short for the kind. */
static void malformed_records_are_refused(void **state)
{
    struct buf b = {0};
    uint32_t chain = 0;
    const struct wal_entry entry = {.index = 5, .term = 3, .data = slice_text("value")};
    struct wal_record r;

    (void)state;
    wal_record_add_entry(&b, &chain, &entry);
    for (size_t cut = 1; cut < b.size; cut++) {
        struct slice rest = slice_of(b.data, cut);
        assert_int_equal(wal_record_take(&rest, &r), ERR_MALFORMED);
    }
    for (uint8_t kind = 0; kind < 6; kind++) {
        for (uint32_t size = 0; size < 40; size++) {
            uint8_t data[8 + 30] = {kind};
            struct slice rest = slice_of(data, sizeof(data));
            bool fits = (kind == WAL_RECORD_ENTRY && size >= 16 && size <= 30) ||
                        (kind == WAL_RECORD_HARD_STATE && size == 24) ||
                        (kind == WAL_RECORD_SNAPSHOT && size == 16);
            put_le32(data + 4, size);
            assert_int_equal(wal_record_take(&rest, &r), fits ? 0 : ERR_MALFORMED);
        }
    }
    put_le32(b.data + 4, UINT32_MAX);
    struct slice rest = buf_slice(&b);
    assert_int_equal(wal_record_take(&rest, &r), ERR_MALFORMED);
    buf_done(&b);
}

static void batch_header_round_trips_and_sees_each_flip(void **state)
{
    const struct wal_batch batch = {
        .salt = 1, .number = 2, .size = 3, .previous = 4, .chain = 5, .synced = 6};
    uint8_t data[WAL_BATCH_HEADER_SIZE];
    struct wal_batch got;

    (void)state;
    wal_batch_encode(data, &batch);
    assert_true(wal_batch_decode(data, &got));
    assert_memory_equal(&got, &batch, sizeof(batch));
    for (size_t bit = 0; bit < 8 * sizeof(data); bit++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(wal_batch_decode(data, &got));
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    memset(data, 0, sizeof(data));
    assert_false(wal_batch_decode(data, &got));
}

static void segment_names_sort_as_numbers(void **state)
{
    char a[WAL_SEGMENT_NAME_SIZE], b[WAL_SEGMENT_NAME_SIZE];
    uint64_t sequence;

    (void)state;
    wal_segment_name(0xab, a);
    wal_segment_name(0x10000, b);
    assert_string_equal(a, "00000000000000ab.wal");
    assert_true(strcmp(a, b) < 0);
    assert_true(wal_segment_parse_name(a, &sequence));
    assert_int_equal(sequence, 0xab);
    const char *bad[] = {"",
                         "LOCK",
                         "spare",
                         "00000000000000ab.waL",
                         "00000000000000AB.wal",
                         "0000000000000ab.wal",
                         "00000000000000abc.wal",
                         "00000000000000a/.wal"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(wal_segment_parse_name(bad[i], &sequence));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_round_trip),
        cmocka_unit_test(malformed_records_are_refused),
        cmocka_unit_test(batch_header_round_trips_and_sees_each_flip),
        cmocka_unit_test(segment_names_sort_as_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
