/* SPDX-License-Identifier: Apache-2.0
 * Tests of the dump of a log on a real disk, line by line, while the owner has it open. The log has entries
 * of every type, replaced ones and marks. A torn tail is no error, damage is an error with its place, and a
 * missing segment is reported. The test checks the frames and checksums of etcd's form; etcd's own reader
 * reads it in tests/interop. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/entry.h"
#include "consensus/raft/message.h"
#include "consensus/tools/waldump.h"
#include "consensus/wal/wal.h"
#include "proto/internal.pb-c.h"
#include "tests/unit/unit.h"

struct place {
    char dir[64], log[96];
    uv_loop_t loop;
    struct io *io;
    struct wal *wal;
    char *told, *complaints;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    uint8_t metadata[16];
    snprintf(p->dir, sizeof(p->dir), "/tmp/cairn-waldump-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->log, sizeof(p->log), "%s/member/wal", p->dir);
    assert_int_equal(uv_loop_init(&p->loop), 0);
    p->io = io_real_new(&p->loop, false);
    put_be64(metadata, 0xc0ffee);
    put_be64(metadata + 8, 0xbeef);
    struct wal_options options = {
        .io = p->io, .dir = p->log, .segment_size = 64 << 10, .metadata = slice_of(metadata, 16)};
    assert_int_equal(wal_create(&options, &p->wal), OK);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[96];
    wal_close(p->wal);
    io_real_free(p->io);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
    snprintf(command, sizeof(command), "rm -rf %s", p->dir);
    assert_int_equal(system(command), 0);
    free(p->told);
    free(p->complaints);
    free(p);
    return 0;
}

static void on_written(void *arg, const struct wal_result *result)
{
    assert_int_equal(result->err, OK);
    *(bool *)arg = true;
}

static void write_batch(struct place *p)
{
    bool is_done = false;
    wal_submit(p->wal, true, on_written, &is_done);
    while (!is_done)
        uv_run(&p->loop, UV_RUN_ONCE);
}

static void add(struct place *p, uint64_t index, uint64_t term, uint8_t type, struct blob *data)
{
    struct wal_entry e = {index, term, type, data ? blob_slice(data) : (struct slice){0}};
    wal_add_entry(p->wal, &e);
    if (data)
        blob_unref(data);
}

static void add_put(struct place *p, uint64_t index, uint64_t term, const char *key, size_t value_size)
{
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    uint8_t *value = mem_new(value_size + 1);
    put.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    put.value = (ProtobufCBinaryData){value_size, value};
    add(p, index, term, RAFT_ENTRY_NORMAL, entry_encode(1, 7, ENTRY_PUT, &put.base, &(struct entry_who){0}));
    mem_free(value);
}

static int dump(struct place *p, const char *etcd_dir, uint64_t from)
{
    struct waldump_options o = {.dir = p->dir, .etcd_dir = etcd_dir, .from = from};
    size_t size;
    free(p->told);
    free(p->complaints);
    FILE *out = open_memstream(&p->told, &size), *complaints = open_memstream(&p->complaints, &size);
    int err = waldump(&o, out, complaints);
    fclose(out);
    fclose(complaints);
    return err;
}

static void segment_path(const struct place *p, unsigned sequence, char path[160])
{
    snprintf(path, 160, "%s/%016x.wal", p->log, sequence);
}

static void overwrite(const struct place *p, unsigned sequence, off_t at, uint8_t byte)
{
    char path[160];
    segment_path(p, sequence, path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void every_type_is_printed(void **state)
{
    struct place *p = *state;
    struct raft_conf_change add_one = {.count = 1, .changes = {{RAFT_ADD_LEARNER, 0xabc}}};
    struct raft_conf_change two = {.count = 2, .changes = {{RAFT_ADD_NODE, 1}, {RAFT_REMOVE_NODE, 2}}};
    struct wal_hard_state hard_state = {3, 0xbeef, 2};
    wal_add_snapshot(p->wal, 1, 1);
    write_batch(p);
    add(p, 2, 3, RAFT_ENTRY_NORMAL, NULL);
    add_put(p, 3, 3, "k", 1);
    add(p, 3, 4, RAFT_ENTRY_CONF_CHANGE, raft_conf_change_encode(&add_one, true)); /* replaces it */
    add(p, 4, 4, RAFT_ENTRY_CONF_CHANGE_V2, raft_conf_change_encode(&two, false));
    add(p, 5, 4, RAFT_ENTRY_NORMAL, blob_copy(slice_of("\xff\xff", 2)));
    wal_add_hard_state(p->wal, &hard_state);
    write_batch(p);
    assert_int_equal(dump(p, NULL, 0), OK);
    assert_string_equal(p->complaints, "");
    static const char want[] =
        "{\"segment\":\"0000000000000001.wal\",\"offset\":0,\"type\":\"segment\",\"sequence\":1,"
        "\"cluster_id\":\"c0ffee\",\"member_id\":\"beef\",\"index_before\":0}\n"
        "{\"segment\":\"0000000000000001.wal\",\"offset\":552,\"type\":\"snapshot\",\"index\":1,\"term\":1}\n"
        "{\"segment\":\"0000000000000001.wal\",\"offset\":1064,\"type\":\"entry\",\"index\":2,\"term\":3,"
        "\"entry\":\"normal\"}\n"
        "{\"segment\":\"0000000000000001.wal\",\"offset\":1088,\"type\":\"entry\",\"index\":3,\"term\":3,"
        "\"entry\":\"normal\",\"request\":{\"put\":{\"key\":\"aw==\",\"value\":\"AA==\"},\"header\":{\"ID\":"
        "\"7\",\"member\":\"1\"}}}\n"
        "{\"segment\":\"0000000000000001.wal\",\"offset\":1135,\"type\":\"entry\",\"index\":3,\"term\":4,"
        "\"entry\":\"conf_change\",\"change\":{\"transition\":\"auto\",\"changes\":[{\"type\":\"add_"
        "learner\","
        "\"member_id\":\"abc\"}],\"context\":\"\"}}\n";
    assert_memory_equal(p->told, want, sizeof want - 1);
    const char *rest = p->told + sizeof want - 1;
    assert_non_null(strstr(rest,
                           "\"index\":4,\"term\":4,\"entry\":\"conf_change_v2\",\"change\":{\"transition\":"
                           "\"auto\",\"changes\":[{\"type\":\"add_node\",\"member_id\":\"1\"},{\"type\":"
                           "\"remove_node\",\"member_id\":\"2\"}],\"context\":\"\"}}\n"));
    assert_non_null(strstr(rest, "\"index\":5,\"term\":4,\"entry\":\"normal\",\"data\":\"//8=\"}\n"));
    assert_non_null(strstr(rest, "\"type\":\"hard_state\",\"term\":3,\"vote\":\"beef\",\"commit\":2}\n"));

    assert_int_equal(dump(p, NULL, 5), OK);
    assert_null(strstr(p->told, "\"index\":4"));
    assert_non_null(strstr(p->told, "\"index\":5"));
}

/* Three segments: each put fills a third of one. */
static void write_segments(struct place *p)
{
    for (uint64_t index = 1; index <= 8; index++) {
        add_put(p, index, 1, "big", 20 << 10);
        write_batch(p);
    }
    char path[160];
    segment_path(p, 3, path);
    assert_int_equal(access(path, F_OK), 0);
}

static void damage_is_reported_with_its_place(void **state)
{
    struct place *p = *state;
    write_segments(p);
    assert_int_equal(dump(p, NULL, 0), OK);
    overwrite(p, 1, 700, 0xff);
    assert_int_equal(dump(p, NULL, 0), ERR_CORRUPT);
    assert_non_null(strstr(p->complaints, "member/wal/0000000000000001.wal: offset 512: a batch is damaged"));
    assert_non_null(strstr(p->told, "\"offset\":512,\"type\":\"damage\""));
    assert_null(strstr(p->told, "\"index\":1,"));
    assert_non_null(strstr(p->told, "\"index\":8,")); /* the later segments are readable alone */
    overwrite(p, 2, 3, 'x');
    assert_int_equal(dump(p, NULL, 0), ERR_CORRUPT);
    assert_non_null(strstr(p->complaints, "0000000000000002.wal: offset 0: this is not a log segment"));
}

static void a_missing_segment_is_reported(void **state)
{
    struct place *p = *state;
    char path[160];
    write_segments(p);
    segment_path(p, 2, path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(dump(p, NULL, 0), ERR_CORRUPT);
    assert_non_null(
        strstr(p->complaints, "0000000000000003.wal: offset 0: the segment before this one is missing"));
}

static void a_torn_tail_is_no_damage(void **state)
{
    struct place *p = *state;
    add_put(p, 1, 1, "a", 1000);
    write_batch(p);
    add_put(p, 2, 1, "b", 1000);
    write_batch(p);
    overwrite(p, 1, 512 + 1536 + 600, 0xff); /* in the second batch, the last */
    assert_int_equal(dump(p, NULL, 0), OK);
    assert_non_null(strstr(p->told, "\"index\":1,"));
    assert_null(strstr(p->told, "\"index\":2,"));
    add_put(p, 3, 1, "c", 1000);
    write_batch(p); /* proves that the second was durable */
    assert_int_equal(dump(p, NULL, 0), ERR_CORRUPT);
    assert_non_null(strstr(p->complaints, "offset 2048: a batch is damaged"));
}

static void a_missing_log_is_reported(void **state)
{
    struct place *p = *state;
    struct waldump_options o = {.dir = "/tmp/cairn-waldump-none"};
    char *text;
    size_t size;
    FILE *complaints = open_memstream(&text, &size);
    (void)p;
    assert_int_equal(waldump(&o, stdout, complaints), ERR_NOT_FOUND);
    fclose(complaints);
    assert_string_equal(text, "cairnd waldump: /tmp/cairn-waldump-none: there is no log here\n");
    free(text);
}

/* Frames of 8 bytes, a checksum that continues over the data: bootstrap mark and entry, then ours. */
static void etcd_form_has_frames_and_checksums(void **state)
{
    struct place *p = *state;
    char dir[96], path[160];
    static uint8_t file[8192];
    static const uint8_t types[] = {4, 1, 5, 2, 5, 2};
    uint32_t crc = 0;
    size_t at = 0;
    wal_add_snapshot(p->wal, 1, 1);
    add_put(p, 2, 3, "k", 100);
    write_batch(p);
    snprintf(dir, sizeof dir, "%s/etcd", p->dir);
    assert_int_equal(dump(p, dir, 0), OK);
    snprintf(path, sizeof path, "%s/0000000000000000-0000000000000000.wal", dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fread(file, 1, sizeof file, f), 4096);
    fclose(f);
    for (size_t i = 0; i < sizeof types; i++) {
        uint64_t length = get_le64(file + at), padding = length >> 56 & 7, size = length & 0xffffff;
        assert_int_equal((size + padding) % 8, 0);
        const uint8_t *r = file + at + 8;
        assert_int_equal(r[0], 1 << 3);
        assert_int_equal(r[1], types[i]);
        assert_int_equal(r[2], 2 << 3);
        uint64_t told = 0;
        size_t n = 3;
        for (unsigned shift = 0;; shift += 7) {
            told |= (uint64_t)(r[n] & 0x7f) << shift;
            if (!(r[n++] & 0x80))
                break;
        }
        if (n < size) {
            assert_int_equal(r[n++], 3 << 3 | 2);
            while (r[n++] & 0x80)
                ;
            crc = crc32c(crc, r + n, size - n);
        }
        assert_int_equal(told, crc);
        at += 8 + size + padding;
    }
    assert_int_equal(get_le64(file + at), 0);
    assert_int_equal(dump(p, dir, 0), ERR_EXISTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_type_is_printed, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_reported_with_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_segment_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_tail_is_no_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_log_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(etcd_form_has_frames_and_checksums, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
