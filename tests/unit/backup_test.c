/* SPDX-License-Identifier: Apache-2.0
 * The format of a continuous backup, and the choice of files: segments are written and read back, cut at every
 * length, and changed at every byte; chains with a gap, a missing or a foreign segment are refused with the
 * last revision that can be restored. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/backup/archive.h"
#include "unit.h"

enum { RUN = 0x1234, FIRST = 10, FILES_MAX = 8 };

/* --- segments ---------------------------------------------------------------------------------------- */

/* count entries after the header's: entry i has the revision i * 2 and the time i * 1000. */
static void build(struct backup_header *h, unsigned count, bool is_sealed, struct buf *out)
{
    uint8_t header[BACKUP_HEADER_SIZE];
    struct buf records = {0};
    backup_header_write(h, header);
    buf_add(out, header, sizeof header);
    for (unsigned i = 0; i < count; i++) {
        uint64_t index = h->index + 1 + i;
        char data[32];
        int size = snprintf(data, sizeof data, "entry %u", (unsigned)index);
        const struct backup_record record = {.kind = BACKUP_ENTRY,
                                             .index = index,
                                             .term = 3,
                                             .revision = (int64_t)index * 2,
                                             .time_ms = index * 1000,
                                             .data = slice_of(data, (size_t)size)};
        backup_record_add(&records, &record);
    }
    backup_records_sum(records.data, records.size, h);
    buf_add_slice(out, buf_slice(&records));
    struct backup_segment_end end;
    assert_int_equal(backup_segment_walk(buf_slice(out), true, NULL, NULL, &end), OK);
    assert_false(end.is_torn);
    if (is_sealed) {
        const struct backup_record seal = {.kind = BACKUP_SEAL,
                                           .index = end.index,
                                           .term = end.term,
                                           .data = slice_of(end.digest, sizeof end.digest)};
        buf_clear(&records);
        backup_record_add(&records, &seal);
        backup_records_sum(records.data, records.size, h);
        buf_add_slice(out, buf_slice(&records));
    }
    buf_done(&records);
    h->sequence++;
    h->index = end.index;
    h->term = end.term;
    memcpy(h->previous, end.digest, sizeof end.digest);
}

static struct backup_header first_header(void)
{
    return (struct backup_header){
        .election_ms = 1000, .cluster_id = 1, .member_id = 2, .run = RUN, .sequence = 1, .index = FIRST};
}

static int count_one(void *arg, const struct backup_record *record)
{
    unsigned *count = arg;
    char data[32];
    assert_int_equal(record->index, FIRST + 1 + *count);
    assert_int_equal(record->revision, (int64_t)record->index * 2);
    snprintf(data, sizeof data, "entry %u", (unsigned)record->index);
    assert_true(slice_equal(record->data, slice_text(data)));
    ++*count;
    return OK;
}

static void a_segment_reads_as_it_was_written(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        struct backup_header h = first_header();
        struct backup_segment_end end;
        struct buf bytes = {0};
        unsigned count = 0;
        build(&h, 5, sealed, &bytes);
        assert_int_equal(backup_segment_walk(buf_slice(&bytes), !sealed, count_one, &count, &end), OK);
        assert_int_equal(count, 5);
        assert_int_equal(end.index, FIRST + 5);
        assert_int_equal(end.revision, (FIRST + 5) * 2);
        assert_int_equal(end.is_sealed, sealed);
        assert_int_equal(end.good_size, bytes.size);
        assert_int_equal(end.header.election_ms, 1000);
        buf_done(&bytes);
    }
}

/* Cut anywhere: an open one has its whole records, a sealed one is refused. */
static void a_torn_tail_keeps_what_is_before_it(void **state)
{
    (void)state;
    struct backup_header h = first_header();
    struct buf bytes = {0}, sealed = {0};
    build(&h, 5, false, &bytes);
    h = first_header();
    build(&h, 5, true, &sealed);
    for (size_t size = 0; size < bytes.size; size++) {
        struct backup_segment_end end;
        unsigned count = 0;
        assert_int_equal(backup_segment_walk(slice_of(bytes.data, size), true, count_one, &count, &end), OK);
        assert_int_equal(count, size < BACKUP_HEADER_SIZE ? 0 : (size - BACKUP_HEADER_SIZE) / 56);
        assert_int_equal(end.is_torn, size < BACKUP_HEADER_SIZE || (size - BACKUP_HEADER_SIZE) % 56 != 0);
        if (size >= BACKUP_HEADER_SIZE)
            assert_int_equal(end.good_size, BACKUP_HEADER_SIZE + count * 56);
    }
    for (size_t size = 0; size < sealed.size; size++) {
        struct backup_segment_end end;
        assert_int_not_equal(backup_segment_walk(slice_of(sealed.data, size), false, NULL, NULL, &end), OK);
    }
    buf_done(&bytes);
    buf_done(&sealed);
}

/* A changed byte: never another content. In an open segment the last record is then a torn tail. */
static void a_changed_byte_is_found(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        struct backup_header h = first_header();
        struct buf bytes = {0};
        build(&h, 5, sealed, &bytes);
        for (size_t at = 0; at < bytes.size; at++) {
            struct backup_segment_end end;
            unsigned count = 0;
            bytes.data[at] ^= 0x40;
            int err = backup_segment_walk(buf_slice(&bytes), !sealed, count_one, &count, &end);
            bytes.data[at] ^= 0x40;
            if (sealed || at < BACKUP_HEADER_SIZE + 4 * 56) {
                assert_int_not_equal(err, OK);
                if (at >= BACKUP_HEADER_SIZE && at < BACKUP_HEADER_SIZE + 5 * 56)
                    assert_int_equal(end.bad_offset, at - (at - BACKUP_HEADER_SIZE) % 56);
            } else {
                assert_int_equal(err, OK);
                assert_true(end.is_torn);
                assert_int_equal(count, 4);
            }
        }
        buf_done(&bytes);
    }
}

/* The tail of an older file under a newer one is not read as its records. */
static void records_of_another_segment_are_not_taken(void **state)
{
    (void)state;
    struct backup_header h = first_header(), other = first_header();
    struct backup_segment_end end;
    struct buf bytes = {0}, foreign = {0};
    unsigned count = 0;
    build(&h, 2, false, &bytes);
    other.run = RUN + 1;
    build(&other, 5, false, &foreign);
    buf_add(&bytes, foreign.data + bytes.size, foreign.size - bytes.size);
    assert_int_equal(backup_segment_walk(buf_slice(&bytes), true, count_one, &count, &end), OK);
    assert_true(end.is_torn);
    assert_int_equal(count, 2);
    buf_done(&bytes);
    buf_done(&foreign);
}

static void names_are_read_as_they_are_written(void **state)
{
    (void)state;
    static const char *const wrong[] = {"full-1.db",    "log-0000000000001234-000001-10.tmp",
                                        "LOCK",         "full-0000000000001234-10-20-30.db.tmp",
                                        "snapshot.tmp", ""};
    const struct backup_file files[] = {
        {.kind = BACKUP_FILE_FULL, .run = RUN, .index = 10, .revision = 20, .time_ms = 30},
        {.kind = BACKUP_FILE_LOG, .run = UINT64_MAX, .sequence = 1, .index = 10},
        {.kind = BACKUP_FILE_OPEN, .run = RUN, .sequence = 12345678, .index = UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[BACKUP_NAME_SIZE];
        struct backup_file read;
        backup_file_name(&files[i], name);
        assert_true(backup_file_parse(name, &read));
        assert_int_equal(backup_file_compare(&files[i], &read), 0);
        assert_int_equal(read.kind, files[i].kind);
        assert_int_equal(read.revision, files[i].revision);
        assert_int_equal(read.time_ms, files[i].time_ms);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct backup_file read;
        assert_false(backup_file_parse(wrong[i], &read));
    }
}

/* --- plans ------------------------------------------------------------------------------------------- */

struct shelf {
    struct {
        char name[BACKUP_NAME_SIZE];
        struct buf bytes;
        bool is_absent;
    } files[FILES_MAX];
    size_t count;
};

static int shelf_list(void *arg, void (*fn)(void *fn_arg, const char *name, uint64_t size), void *fn_arg)
{
    struct shelf *s = arg;
    for (size_t i = 0; i < s->count; i++)
        if (!s->files[i].is_absent)
            fn(fn_arg, s->files[i].name, s->files[i].bytes.size);
    return OK;
}

static int shelf_read(void *arg, const char *name, struct buf *ret_bytes)
{
    struct shelf *s = arg;
    for (size_t i = 0; i < s->count; i++)
        if (!s->files[i].is_absent && strcmp(s->files[i].name, name) == 0) {
            buf_add_slice(ret_bytes, buf_slice(&s->files[i].bytes));
            return OK;
        }
    return ERR_NOT_FOUND;
}

static void put_full(struct shelf *s, uint64_t index)
{
    const struct backup_file f = {.kind = BACKUP_FILE_FULL,
                                  .run = RUN,
                                  .index = index,
                                  .revision = (int64_t)index * 2,
                                  .time_ms = index * 1000};
    backup_file_name(&f, s->files[s->count++].name);
}

static void put_segment(struct shelf *s, struct backup_header *h, unsigned count, bool is_sealed)
{
    const struct backup_file f = {.kind = is_sealed ? BACKUP_FILE_LOG : BACKUP_FILE_OPEN,
                                  .run = h->run,
                                  .sequence = h->sequence,
                                  .index = h->index};
    backup_file_name(&f, s->files[s->count].name);
    build(h, count, is_sealed, &s->files[s->count++].bytes);
}

/* Snapshots at 10 and 22; segments 11-15, 16-20, 21-25 (open). */
static void fill_shelf(struct shelf *s)
{
    struct backup_header h = first_header();
    *s = (struct shelf){0};
    put_full(s, 10);
    put_full(s, 22);
    put_segment(s, &h, 5, true);
    put_segment(s, &h, 5, true);
    put_segment(s, &h, 5, false);
}

static void shelf_done(struct shelf *s)
{
    for (size_t i = 0; i < s->count; i++)
        buf_done(&s->files[i].bytes);
}

static int plan_of(struct shelf *s, const struct backup_target *t, size_t skip, struct backup_plan *plan,
                   char *error)
{
    const struct backup_folder folder = {shelf_list, shelf_read, s};
    struct backup_catalog c;
    assert_int_equal(backup_catalog_read(&folder, &c), OK);
    *error = '\0';
    int err = backup_plan_make(&folder, &c, t, skip, plan, error, 512);
    backup_catalog_done(&c);
    return err;
}

static int take_index(void *arg, const struct backup_record *record)
{
    uint64_t *next = arg;
    assert_int_equal(record->index, *next);
    ++*next;
    return OK;
}

static void a_plan_ends_at_its_target(void **state)
{
    (void)state;
    struct shelf s;
    char error[512];
    fill_shelf(&s);
    for (uint64_t index = 10; index <= 25; index++) {
        const struct backup_target targets[] = {
            {.kind = BACKUP_AT_REVISION, .revision = (int64_t)index * 2},
            {.kind = BACKUP_AT_TIME, .time_ms = index * 1000 + 999},
        };
        for (size_t i = 0; i < 2; i++) {
            const struct backup_folder folder = {shelf_list, shelf_read, &s};
            struct backup_plan plan;
            struct backup_catalog c;
            assert_int_equal(plan_of(&s, &targets[i], 0, &plan, error), OK);
            assert_int_equal(plan.index, index);
            assert_int_equal(plan.revision, (int64_t)index * 2);
            assert_int_equal(plan.full.index, index < 22 ? 10 : 22);
            assert_int_equal(plan.election_ms, 1000);
            uint64_t next = plan.full.index + 1;
            assert_int_equal(backup_catalog_read(&folder, &c), OK);
            assert_int_equal(backup_plan_walk(&folder, &c, &plan, take_index, &next, error, sizeof error),
                             OK);
            assert_int_equal(next, index + 1);
            backup_catalog_done(&c);
        }
    }
    struct backup_plan plan;
    assert_int_equal(plan_of(&s, &(struct backup_target){0}, 0, &plan, error), OK);
    assert_int_equal(plan.index, 25);
    assert_int_equal(plan_of(&s, &(struct backup_target){0}, 1, &plan, error), OK);
    assert_int_equal(plan.full.index, 10);
    assert_int_equal(plan.index, 25);
    shelf_done(&s);
}

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    struct shelf s;
    struct backup_plan plan;
    char error[512];
    fill_shelf(&s);
    struct backup_target t = {.kind = BACKUP_AT_REVISION, .revision = 51};
    assert_int_equal(plan_of(&s, &t, 0, &plan, error), ERR_NOT_FOUND);
    assert_string_equal(error, "revision 51 is not in this backup: it ends at 50");
    t.revision = 19;
    assert_int_equal(plan_of(&s, &t, 0, &plan, error), ERR_NOT_FOUND);
    assert_string_equal(error, "revision 19 is before the first one of this backup, 20");
    t = (struct backup_target){.kind = BACKUP_AT_TIME, .time_ms = 9999};
    assert_int_equal(plan_of(&s, &t, 0, &plan, error), ERR_NOT_FOUND);
    shelf_done(&s);
}

/* The segment in the middle is gone, or is of another history. */
static void a_broken_chain_ends_before_it(void **state)
{
    (void)state;
    for (int foreign = 0; foreign < 2; foreign++) {
        struct shelf s;
        struct backup_plan plan;
        char error[512];
        fill_shelf(&s);
        if (foreign) { /* the same entries, another predecessor */
            struct backup_header h = first_header();
            struct buf first = {0};
            build(&h, 5, true, &first);
            h.previous[0] ^= 1;
            buf_clear(&s.files[3].bytes);
            build(&h, 5, true, &s.files[3].bytes);
            buf_done(&first);
        } else {
            s.files[3].is_absent = true;
        }
        struct backup_target t = {.kind = BACKUP_AT_REVISION, .revision = 36};
        assert_int_equal(plan_of(&s, &t, 0, &plan, error), ERR_CORRUPT);
        assert_non_null(strstr(error, "the last revision that can be restored is 30"));
        t.revision = 30;
        assert_int_equal(plan_of(&s, &t, 0, &plan, error), OK);
        assert_int_equal(plan.index, 15);
        /* A later snapshot does not need it. */
        assert_int_equal(plan_of(&s, &(struct backup_target){0}, 0, &plan, error), OK);
        assert_int_equal(plan.index, 25);
        shelf_done(&s);
    }
}

static void damage_is_named_with_its_offset(void **state)
{
    (void)state;
    struct shelf s;
    struct backup_plan plan;
    char error[512];
    fill_shelf(&s);
    s.files[4].bytes.data[BACKUP_HEADER_SIZE + 2 * 56 + 50] ^= 1; /* the entry 23 */
    assert_int_equal(plan_of(&s, &(struct backup_target){0}, 0, &plan, error), ERR_CORRUPT);
    assert_string_equal(error,
                        "log-0000000000001234-000003-20.open is damaged at offset 240: data is corrupt; "
                        "the last revision that can be restored is 44");
    const struct backup_target t = {.kind = BACKUP_AT_REVISION, .revision = 44};
    assert_int_equal(plan_of(&s, &t, 0, &plan, error), OK);
    shelf_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_reads_as_it_was_written),
        cmocka_unit_test(a_torn_tail_keeps_what_is_before_it),
        cmocka_unit_test(a_changed_byte_is_found),
        cmocka_unit_test(records_of_another_segment_are_not_taken),
        cmocka_unit_test(names_are_read_as_they_are_written),
        cmocka_unit_test(a_plan_ends_at_its_target),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(a_broken_chain_ends_before_it),
        cmocka_unit_test(damage_is_named_with_its_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
