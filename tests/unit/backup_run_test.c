/* SPDX-License-Identifier: Apache-2.0
 * The continuous backup of a member in this process: its states, retries, being behind, and starts; and its
 * files alone: what is found again of a torn, a damaged and an older segment, and what the retention keeps. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/metric.h"
#include "consensus/backup/archive.h"
#include "one_node.h"
#include "server/backup.h"
#include "server/backup_files.h"
#include "unit.h"

static char dir[256];

/* --- a member -------------------------------------------------------------------------------------------- */

static struct one_node node;
static struct backup *backup;

static void member_turn(void *arg)
{
    (void)arg;
    backup_turn(backup);
}

static void open_backup(void *arg)
{
    static struct options o;
    o = (struct options){.backup_dir = dir,
                         .dir = node.dir,
                         .name = (char[]){"n1"},
                         .election_ms = 1000,
                         .backup_full_ns = INT64_C(3600000000000),
                         .unsafe_no_fsync = true};
    (void)arg;
    backup = backup_open(&node.loop, node.kv, &o);
    assert_non_null(backup);
}

static void open_member(void)
{
    node.opened = open_backup;
    node.turn = member_turn;
    metric_set(METRIC_BACKUP_REVISION, 0);
    metric_set(METRIC_BACKUP_BEHIND, 0);
    one_node_open(&node);
}

static void close_member(void)
{
    node.turn = NULL;
    backup_close(backup);
    one_node_close(&node);
}

static bool is_complete(void *arg)
{
    (void)arg;
    return metric_get(METRIC_BACKUP_REVISION) == (double)kv_revision(node.kv) &&
           metric_get(METRIC_BACKUP_BEHIND) == 0;
}

static bool is_behind(void *arg)
{
    (void)arg;
    return metric_get(METRIC_BACKUP_BEHIND) == 1;
}

/* --- the folder ------------------------------------------------------------------------------------------ */

static char folder[512]; /* of the member */

static int list_folder(void *arg, void (*fn)(void *fn_arg, const char *name, uint64_t size), void *fn_arg)
{
    (void)arg;
    DIR *d = opendir(folder);
    if (!d)
        return ERR_NOT_FOUND;
    for (struct dirent *e; (e = readdir(d));)
        fn(fn_arg, e->d_name, 0);
    closedir(d);
    return OK;
}

static int read_folder(void *arg, const char *name, struct buf *ret_bytes)
{
    char path[1024], bytes[4096];
    size_t n;
    (void)arg;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return ERR_NOT_FOUND;
    while ((n = fread(bytes, 1, sizeof bytes, f)))
        buf_add(ret_bytes, bytes, n);
    fclose(f);
    return OK;
}

static const struct backup_folder reader = {.list = list_folder, .read = read_folder};

static size_t count_files(int kind)
{
    struct backup_catalog c;
    size_t count = 0;
    assert_int_equal(backup_catalog_read(&reader, &c), OK);
    for (size_t i = 0; i < c.count; i++)
        count += (int)c.list[i].kind == kind;
    backup_catalog_done(&c);
    return count;
}

static size_t count_runs(void)
{
    struct backup_catalog c;
    size_t count = 0;
    assert_int_equal(backup_catalog_read(&reader, &c), OK);
    for (size_t i = 0; i < c.count; i++)
        count += i == 0 || c.list[i].run != c.list[i - 1].run;
    backup_catalog_done(&c);
    return count;
}

/* A plan for the revision: its log is whole. */
static int plan_to(int64_t revision)
{
    const struct backup_target target = {.kind = BACKUP_AT_REVISION, .revision = revision};
    struct backup_catalog c;
    struct backup_plan plan;
    char error[512];
    assert_int_equal(backup_catalog_read(&reader, &c), OK);
    int err = backup_plan_make(&reader, &c, &target, 0, &plan, error, sizeof error);
    if (err)
        print_message("revision %d: %s\n", (int)revision, error);
    assert_true(err || plan.revision == revision);
    backup_catalog_done(&c);
    return err;
}

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

static void put_many(int64_t *revision, int count)
{
    for (int i = 0; i < count; i++)
        *revision = one_node_put(&node, "key", "value", 0);
}

static void open_folder(void)
{
    strcpy(dir, "/tmp/backup_run.XXXXXX");
    assert_non_null(mkdtemp(dir));
    open_member();
    snprintf(folder, sizeof folder, "%s/%016llx/n1", dir, (unsigned long long)kv_cluster_id(node.kv));
}

/* Until the run has its first snapshot; returns the first revision that can be restored. */
static int64_t start_run(int64_t *ret_revision)
{
    put_many(ret_revision, 3);
    one_node_run(&node, is_complete, NULL);
    return *ret_revision;
}

static void remove_all(void)
{
    one_node_remove(&node);
    shell("rm -rf %s", dir);
}

/* --- tests of a member ----------------------------------------------------------------------------------- */

static void a_start_goes_on_with_the_run(void **state)
{
    int64_t revision, first;
    (void)state;
    open_folder();
    first = start_run(&revision);
    for (int start = 0; start < 3; start++) {
        if (start)
            open_member();
        put_many(&revision, 10);
        one_node_run(&node, is_complete, NULL);
        put_many(&revision, 5); /* written at the end */
        close_member();
        assert_int_equal(plan_to(revision), OK);
    }
    for (int64_t r = first; r <= revision; r++)
        assert_int_equal(plan_to(r), OK);
    assert_int_equal(plan_to(revision + 1), ERR_NOT_FOUND);
    assert_int_equal(count_runs(), 1);
    assert_int_equal(count_files(BACKUP_FILE_OPEN), 1);
    remove_all();
}

/* Its folder is taken from the start: nothing is lost, and the member says that it is behind. */
static void a_folder_that_cannot_be_used_is_tried_again(void **state)
{
    int64_t revision, first;
    (void)state;
    open_folder();
    first = start_run(&revision);
    close_member();
    char path[600];
    snprintf(path, sizeof path, "%s/LOCK", folder);
    FILE *lock = fopen(path, "r");
    assert_non_null(lock);
    assert_int_equal(flock(fileno(lock), LOCK_EX), 0);
    open_member();
    put_many(&revision, 7);
    one_node_run(&node, is_behind, NULL);
    assert_true(metric_get(METRIC_BACKUP_ERRORS) > 0);
    close_member();
    assert_int_equal(plan_to(revision), ERR_NOT_FOUND);
    open_member(); /* still taken; the notes of before are in the store */
    one_node_run(&node, is_behind, NULL);
    put_many(&revision, 5);
    fclose(lock);
    one_node_run(&node, is_complete, NULL);
    close_member();
    for (int64_t r = first; r <= revision; r++)
        assert_int_equal(plan_to(r), OK);
    assert_int_equal(count_runs(), 1);
    remove_all();
}

static void a_folder_that_is_gone_gets_a_new_run(void **state)
{
    int64_t revision = 1;
    (void)state;
    open_folder();
    put_many(&revision, 3);
    one_node_run(&node, is_complete, NULL);
    shell("rm -rf %s", dir);
    put_many(&revision, 3);
    one_node_run_ms(&node, 1500);
    put_many(&revision, 1);
    one_node_run(&node, is_complete, NULL);
    close_member();
    assert_int_equal(count_runs(), 1);
    assert_int_equal(plan_to(revision), OK);
    remove_all();
}

static void a_damaged_segment_ends_its_run(void **state)
{
    int64_t revision;
    (void)state;
    open_folder();
    (void)start_run(&revision);
    put_many(&revision, 9);
    one_node_run(&node, is_complete, NULL);
    close_member();
    /* Two bytes of a record that is followed by others. */
    shell("f=$(echo %s/*.open); printf XY | dd of=$f bs=1 seek=$(($(stat -c %%s $f) - 300)) conv=notrunc "
          "2>/dev/null",
          folder);
    assert_int_equal(plan_to(revision), ERR_CORRUPT);
    open_member();
    put_many(&revision, 3);
    one_node_run(&node, is_complete, NULL);
    close_member();
    assert_int_equal(count_runs(), 2);
    assert_int_equal(plan_to(revision), OK);
    remove_all();
}

/* --- the files alone ------------------------------------------------------------------------------------- */

static struct backup_files *files_new(uint64_t segment_bytes)
{
    static char marker[512];
    snprintf(folder, sizeof folder, "%s/x/n1", dir);
    snprintf(marker, sizeof marker, "%s/marker", dir);
    const struct backup_files_options o = {.dir = folder,
                                           .marker = marker,
                                           .cluster_id = 1,
                                           .member_id = 2,
                                           .election_ms = 1000,
                                           .segment_bytes = segment_bytes,
                                           .segment_ms = 1000000};
    return backup_files_new(&o);
}

/* The entries from .. to: each makes a revision, index + 1. */
static void append(struct backup_files *f, uint64_t from, uint64_t to)
{
    struct buf bytes = {0};
    for (uint64_t i = from; i <= to; i++) {
        const struct backup_record record = {.kind = BACKUP_ENTRY,
                                             .index = i,
                                             .term = 3,
                                             .revision = (int64_t)i + 1,
                                             .time_ms = 1000 * i,
                                             .data = slice_text("some bytes")};
        buf_clear(&bytes);
        backup_record_add(&bytes, &record);
        assert_int_equal(backup_files_append(f, bytes.data, bytes.size, 5000), OK);
    }
    assert_int_equal(backup_files_sync(f), OK);
    buf_done(&bytes);
}

static struct backup_tail find(uint64_t from_index, uint64_t applied_index)
{
    struct backup_tail tail;
    struct backup_files *f = files_new(1 << 20);
    assert_int_equal(backup_files_open(f, from_index, applied_index, &tail), OK);
    backup_files_free(f);
    return tail;
}

static void make_run(uint64_t segment_bytes, uint64_t run, uint64_t index, uint64_t last)
{
    struct backup_tail tail;
    struct backup_files *f = files_new(segment_bytes);
    assert_int_equal(backup_files_open(f, 0, 0, &tail), OK);
    assert_int_equal(backup_files_run(f, run, index, 4000), OK);
    append(f, index + 1, last);
    backup_files_free(f);
    mem_free(tail.list);
}

static void make_dir(void)
{
    strcpy(dir, "/tmp/backup_run.XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void a_run_goes_on_if_all_after_it_is_known(void **state)
{
    (void)state;
    make_dir();
    make_run(1 << 20, 77, 10, 30);
    struct backup_tail tail = find(30, 30);
    assert_true(tail.can_continue);
    assert_int_equal(tail.index, 30);
    assert_int_equal(tail.revision, 31);
    assert_int_equal(tail.count, 0);
    tail = find(25, 28); /* 29 and 30 will be applied again */
    assert_true(tail.can_continue);
    assert_int_equal(tail.count, 2);
    assert_int_equal(tail.list[0].term, 3);
    mem_free(tail.list);
    tail = find(29, 45); /* behind the store, but the outcomes of 30 .. 45 are known */
    assert_true(tail.can_continue);
    assert_int_equal(tail.index, 30);
    mem_free(tail.list);
    assert_false(find(31, 45).can_continue); /* nothing is known of 31 */
    /* A torn record is left out. */
    shell("truncate -s -5 $(echo %s/*.open)", folder);
    tail = find(20, 45);
    assert_true(tail.can_continue);
    assert_int_equal(tail.index, 29);
    assert_false(find(30, 45).can_continue);
    /* A record in the middle is damaged. */
    shell("printf X | dd of=$(echo %s/*.open) bs=1 seek=300 conv=notrunc 2>/dev/null", folder);
    assert_false(find(20, 45).can_continue);
    shell("rm -rf %s", dir);
}

/* Sealed with the digest of what was written, and of what was read after a start: the chain is whole. */
static void segments_follow_each_other(void **state)
{
    (void)state;
    make_dir();
    make_run(400, 77, 10, 30);
    struct backup_tail tail;
    struct backup_files *f = files_new(400);
    assert_int_equal(backup_files_open(f, 30, 30, &tail), OK);
    assert_true(tail.can_continue);
    append(f, 31, 50);
    assert_true(backup_files_full_add(f, slice_text("x")) == OK);
    const uint8_t digest[BACKUP_DIGEST_SIZE] = {0};
    const struct backup_file full = {.kind = BACKUP_FILE_FULL, .run = 77, .index = 10, .revision = 11};
    assert_int_equal(backup_files_full_end(f, digest, &full), OK);
    backup_files_free(f);
    assert_true(count_files(BACKUP_FILE_LOG) > 5);
    for (int64_t r = 11; r <= 51; r++)
        assert_int_equal(plan_to(r), OK);
    /* Without a segment in the middle the ones after it cannot be used. */
    shell("rm $(ls %s/log-*.log | sed -n 3p)", folder);
    assert_int_equal(plan_to(13), OK);
    assert_int_not_equal(plan_to(40), OK);
    shell("rm -rf %s", dir);
}

static void retention_keeps_what_a_restore_needs(void **state)
{
    (void)state;
    make_dir();
    make_run(400, 77, 10, 50);
    struct backup_tail tail;
    struct backup_files *f = files_new(400);
    const uint8_t digest[BACKUP_DIGEST_SIZE] = {0};
    uint64_t bytes;
    assert_int_equal(backup_files_open(f, 50, 50, &tail), OK);
    for (uint64_t i = 10; i <= 40; i += 10) {
        const struct backup_file full = {
            .kind = BACKUP_FILE_FULL, .run = 77, .index = i, .revision = (int64_t)i + 1, .time_ms = 1000 * i};
        assert_int_equal(backup_files_full_add(f, slice_text("x")), OK);
        assert_int_equal(backup_files_full_end(f, digest, &full), OK);
    }
    assert_int_equal(backup_files_retain(f, 50000, 0, 0, &bytes), OK); /* no limit */
    assert_int_equal(count_files(BACKUP_FILE_FULL), 4);
    /* The last 25 s: the snapshot at 20 s is the newest one before. */
    assert_int_equal(backup_files_retain(f, 50000, 25000, 0, &bytes), OK);
    assert_int_equal(count_files(BACKUP_FILE_FULL), 3);
    assert_int_not_equal(plan_to(15), OK);
    for (int64_t r = 21; r <= 51; r++)
        assert_int_equal(plan_to(r), OK);
    /* However few bytes: never the newest one and what follows. */
    assert_int_equal(backup_files_retain(f, 50000, 0, 1, &bytes), OK);
    assert_int_equal(count_files(BACKUP_FILE_FULL), 1);
    for (int64_t r = 41; r <= 51; r++)
        assert_int_equal(plan_to(r), OK);
    backup_files_free(f);
    shell("rm -rf %s", dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_goes_on_with_the_run),
        cmocka_unit_test(a_folder_that_cannot_be_used_is_tried_again),
        cmocka_unit_test(a_folder_that_is_gone_gets_a_new_run),
        cmocka_unit_test(a_damaged_segment_ends_its_run),
        cmocka_unit_test(a_run_goes_on_if_all_after_it_is_known),
        cmocka_unit_test(segments_follow_each_other),
        cmocka_unit_test(retention_keeps_what_a_restore_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
