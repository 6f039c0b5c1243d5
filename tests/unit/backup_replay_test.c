/* SPDX-License-Identifier: Apache-2.0
 * Replay of a backup's records over an empty store: entries with and without bytes, a gap, another result than
 * the member's, hashes that are equal and not, entries of a later version, and the revision that is raised. */
#include <stdlib.h>

#include "base/blob.h"
#include "base/mem.h"
#include "consensus/backup/replay.h"
#include "consensus/entry.h"
#include "fake_io.h"
#include "proto/internal.pb-c.h"
#include "unit.h"

static struct fake_io io;
static struct backend *memory;
static struct replay *replay;
static char error[512];
static uint64_t next_index;

static int open_memory(struct io *unused, const char *path, uint64_t map_size, char *text, size_t size,
                       struct backend **ret)
{
    (void)unused;
    (void)path;
    (void)map_size;
    (void)text;
    (void)size;
    *ret = memory;
    return OK;
}

static void run_loop(void *arg)
{
    (void)arg;
    fake_io_run_jobs(&io);
    fake_io_pass(&io, 10);
}

static void begin(void)
{
    fake_io_init(&io);
    memory = backend_memory_new();
    next_index = 6;
    const struct replay_options o = {.io = &io.io,
                                     .store_path = "store",
                                     .election_ms = 1000,
                                     .index = 5,
                                     .term = 3,
                                     .run_loop = run_loop,
                                     .backend_open = open_memory,
                                     .error = error,
                                     .error_size = sizeof error};
    assert_int_equal(replay_open(&o, &replay), OK);
}

static void end(void)
{
    replay_close(replay);
    replay = NULL;
    fake_io_run_jobs(&io);
    backend_memory_free(memory);
}

static int give(enum backup_kind kind, uint64_t index, int64_t revision, struct slice data)
{
    const struct backup_record record = {
        .kind = kind, .index = index, .term = 3, .revision = revision, .time_ms = index, .data = data};
    return replay_record(replay, &record);
}

static int put(const char *value, int64_t lease, int64_t revision)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){1, (uint8_t[]){'k'}};
    m.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
    m.lease = lease;
    const struct entry_who who = {.is_own = true};
    struct blob *b = entry_encode(1, 1, ENTRY_PUT, &m.base, &who);
    int err = give(BACKUP_ENTRY, next_index++, revision, blob_slice(b));
    blob_unref(b);
    return err;
}

static int hash(int64_t revision, uint32_t value, int64_t compact_revision)
{
    uint8_t bytes[BACKUP_HASH_SIZE];
    put_be32(bytes, value);
    put_be64(bytes + 4, (uint64_t)compact_revision);
    return give(BACKUP_HASH, next_index - 1, revision, slice_of(bytes, sizeof bytes));
}

static void entries_make_the_recorded_revisions(void **state)
{
    struct etcd_db_replayed replayed;
    struct etcd_db_hash now;
    (void)state;
    begin();
    assert_int_equal(put("1", 0, 2), OK);
    assert_int_equal(give(BACKUP_ENTRY, next_index++, 2, (struct slice){0}), OK); /* was refused */
    assert_int_equal(put("2", 0, 3), OK);
    assert_int_equal(replay_hash_kv(replay, &now), OK);
    assert_int_equal(now.revision, 3);
    assert_int_equal(hash(3, now.hash, now.compact_revision), OK);
    assert_int_equal(replay_hashes(replay), 1);
    assert_int_equal(hash(3, now.hash + 1, now.compact_revision + 5), OK); /* a compaction came between */
    assert_int_equal(replay_hashes(replay), 1);
    assert_int_equal(replay_finish(replay, 1000, &replayed), OK);
    assert_int_equal(replayed.revision, 1003);
    assert_int_equal(replayed.index, 8 + ETCD_DB_FIRST_INDEX);
    end();
}

static void another_hash_is_refused(void **state)
{
    struct etcd_db_hash now;
    (void)state;
    begin();
    assert_int_equal(put("1", 0, 2), OK);
    assert_int_equal(replay_hash_kv(replay, &now), OK);
    assert_int_equal(hash(2, now.hash ^ 1, now.compact_revision), ERR_CORRUPT);
    assert_non_null(strstr(error, "the hash at revision 2 is"));
    end();
}

static void entries_come_in_order(void **state)
{
    (void)state;
    for (int back = 0; back < 2; back++) {
        begin();
        assert_int_equal(put("1", 0, 2), OK);
        next_index += back ? UINT64_MAX : 1; /* the same again, or one is missing */
        assert_int_equal(put("2", 0, 3), ERR_CORRUPT);
        assert_non_null(strstr(error, "follows 6"));
        end();
    }
}

static void another_result_is_refused(void **state)
{
    (void)state;
    begin();
    assert_int_equal(put("1", 0, 3), ERR_CORRUPT); /* the member had another revision */
    assert_non_null(strstr(error, "the revision is 2, the member had 3"));
    end();
    begin();
    assert_int_equal(put("1", 77, 2), ERR_LEASE_NOT_FOUND); /* the member had this lease */
    assert_non_null(strstr(error, "does not apply"));
    end();
}

static void bytes_of_a_later_version_are_refused(void **state)
{
    (void)state;
    begin();
    assert_int_equal(give(BACKUP_ENTRY, 6, 1, slice_text("no entry")), ERR_LEVEL);
    end();
    begin();
    static const uint8_t later[] = {0xc2, 0xbb, 0x01, 0x00}; /* a field 3000 */
    assert_int_equal(give(BACKUP_ENTRY, 6, 1, slice_of(later, sizeof later)), ERR_LEVEL);
    end();
}

static void a_revision_cannot_be_raised_too_far(void **state)
{
    struct etcd_db_replayed replayed;
    (void)state;
    begin();
    assert_int_equal(put("1", 0, 2), OK);
    assert_int_equal(replay_finish(replay, INT64_MAX, &replayed), ERR_INVALID);
    assert_non_null(strstr(error, "cannot grow"));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_make_the_recorded_revisions),
        cmocka_unit_test(another_hash_is_refused),
        cmocka_unit_test(entries_come_in_order),
        cmocka_unit_test(another_result_is_refused),
        cmocka_unit_test(bytes_of_a_later_version_are_refused),
        cmocka_unit_test(a_revision_cannot_be_raised_too_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
