/* SPDX-License-Identifier: Apache-2.0
 * Tests of the real I/O interface: files, folders, locks, timers, workers, and the log on top of them in a
 * folder of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include "consensus/wal/wal.h"
#include "tests/unit/unit.h"

/* The two system calls that a synced write may make, in place of libc's: counted, and made to fail. */
static struct {
    int err;    /* pwritev2 fails with it */
    bool halve; /* or writes one half */
    unsigned direct, synced;
} calls;

ssize_t pwritev2(int fd, const struct iovec *pieces, int count, off_t at, int flags)
{
    calls.direct++;
    if (calls.err) {
        errno = calls.err;
        return -1;
    }
    struct iovec half = pieces[0];
    if (calls.halve) {
        half.iov_len /= 2;
        pieces = &half;
    }
    return syscall(SYS_pwritev2, fd, pieces, count, (long)at, 0L, flags);
}

int fdatasync(int fd)
{
    calls.synced++;
    return (int)syscall(SYS_fdatasync, fd);
}

struct place {
    char dir[64];
    uv_loop_t loop;
    struct io *io;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    memset(&calls, 0, sizeof(calls));
    snprintf(p->dir, sizeof(p->dir), "/tmp/cairn-io-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    assert_int_equal(uv_loop_init(&p->loop), 0);
    p->io = io_real_new(&p->loop, false);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[256];

    io_real_free(p->io);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0); /* no handle is left */
    snprintf(command, sizeof(command),
             "cd %s && if [ -f device ]; then umount -l mounted 2>/dev/null; losetup -d $(cat device); fi; "
             "rm -rf --one-file-system %s",
             p->dir, p->dir);
    assert_int_equal(system(command), 0);
    free(p);
    return 0;
}

static const char *path_of(const struct place *p, const char *name)
{
    static char path[4][128];
    static int next;
    char *s = path[next++ % 4];
    snprintf(s, sizeof(path[0]), "%s/%s", p->dir, name);
    return s;
}

static void files(void **state)
{
    struct place *p = *state;
    const struct io_ops *ops = p->io->ops;
    struct io_file *file;
    struct buf names = {0};
    char data[16] = {0};
    uint64_t size;
    size_t got;

    assert_int_equal(ops->open(p->io, path_of(p, "a/b/f"), false, &file), ERR_NOT_FOUND);
    assert_int_equal(ops->list(p->io, path_of(p, "a/b"), &names), ERR_NOT_FOUND);
    assert_int_equal(ops->mkdir(p->io, path_of(p, "a//b/")), 0);
    assert_int_equal(ops->mkdir(p->io, path_of(p, "a/b")), 0);
    assert_int_equal(ops->open(p->io, path_of(p, "a/b/f"), true, &file), 0);
    assert_int_equal(ops->write(p->io, file, 5, "hello", 5), 0);
    assert_int_equal(ops->sync(p->io, file), 0);
    assert_int_equal(ops->sync_dir(p->io, path_of(p, "a/b")), 0);
    assert_int_equal(ops->sync_dir(p->io, path_of(p, "none")), ERR_NOT_FOUND);
    assert_int_equal(ops->size(p->io, file, &size), 0);
    assert_int_equal(size, 10);
    assert_int_equal(ops->read(p->io, file, 3, data, sizeof(data), &got), 0);
    assert_int_equal(got, 7);
    assert_memory_equal(data, "\0\0hello", 7);
    assert_int_equal(ops->truncate(p->io, file, 6), 0);
    assert_int_equal(ops->read(p->io, file, 6, data, sizeof(data), &got), 0);
    assert_int_equal(got, 0);
    ops->close(p->io, file);
    assert_int_equal(ops->mkdir(p->io, path_of(p, "a/b/f")), ERR_IO);
    assert_int_equal(ops->rename(p->io, path_of(p, "a/b/f"), path_of(p, "a/b/z")), 0);
    assert_int_equal(ops->open(p->io, path_of(p, "a/b/Y"), true, &file), 0);
    ops->close(p->io, file);
    assert_int_equal(ops->list(p->io, path_of(p, "a/b"), &names), 0);
    assert_true(slice_equal(buf_slice(&names), slice_of("Y\0z", 4)));
    assert_int_equal(ops->unlink(p->io, path_of(p, "a/b/z")), 0);
    assert_int_equal(ops->unlink(p->io, path_of(p, "a/b/z")), ERR_NOT_FOUND);
    buf_done(&names);
}

static void expect_bytes(struct place *p, struct io_file *file, uint64_t at, const uint8_t *data, size_t size)
{
    uint8_t *read = malloc(size);
    size_t got;
    assert_int_equal(p->io->ops->read(p->io, file, at, read, size, &got), 0);
    assert_int_equal(got, size);
    assert_memory_equal(read, data, size);
    free(read);
}

/* Past the page cache or through it, in any order: every read sees the last write. */
static void check_synced_writes(struct place *p, const char *path)
{
    enum { SIZE = 3 << 20 };
    static const struct {
        size_t at, size;
        bool is_synced;
    } writes[] = {
        {0, SIZE, false},  {512, 1024, true},  {4096, 4096, true},      {100, 700, false},
        {0, 512, true},    {1000, 5000, true}, {512, 2 << 20, true},    {700, 9, false},
        {1024, 512, true}, {4000, 200, false}, {SIZE - 512, 512, true}, {1536, 1 << 20, true},
        {3, 1, true},
    };
    const struct io_ops *ops = p->io->ops;
    uint8_t *expected = calloc(1, SIZE + 8192);
    struct io_file *file;

    assert_int_equal(ops->open(p->io, path, true, &file), 0);
    for (size_t i = 0; i < sizeof(writes) / sizeof(*writes); i++) {
        uint8_t *from = expected + writes[i].at;
        for (size_t k = 0; k < writes[i].size; k++)
            from[k] = (uint8_t)(i * 37 + k / 512 + k);
        assert_int_equal((writes[i].is_synced ? ops->write_synced : ops->write)(p->io, file, writes[i].at,
                                                                                from, writes[i].size),
                         0);
        if (i % 3 == 0) /* reads use the page cache: not between all of them */
            expect_bytes(p, file, 0, expected, SIZE);
    }
    expect_bytes(p, file, 0, expected, SIZE);
    memset(expected + SIZE, 7, 1024); /* a batch that makes its segment larger */
    assert_int_equal(ops->write_synced(p->io, file, SIZE, expected + SIZE, 1024), 0);
    expect_bytes(p, file, 0, expected, SIZE + 1024);
    ops->close(p->io, file);
    free(expected);
}

/* --unsafe-no-fsync: a sync returns without the system call. */
static void without_fsync_nothing_is_synced(void **state)
{
    struct place *p = *state;
    struct io *io = io_real_new(&p->loop, true);
    struct io_file *file;
    assert_int_equal(io->ops->open(io, path_of(p, "f"), true, &file), 0);
    assert_int_equal(io->ops->write(io, file, 0, "hello", 5), 0);
    assert_int_equal(io->ops->sync(io, file), 0);
    assert_int_equal(calls.synced, 0);
    io->ops->close(io, file);
    io_real_free(io);
    assert_int_equal(p->io->ops->open(p->io, path_of(p, "f"), true, &file), 0);
    assert_int_equal(p->io->ops->write(p->io, file, 0, "hello", 5), 0);
    assert_int_equal(p->io->ops->sync(p->io, file), 0);
    assert_int_equal(calls.synced, 1);
    p->io->ops->close(p->io, file);
}

static void synced_writes_are_read(void **state)
{
    struct place *p = *state;
    check_synced_writes(p, path_of(p, "f"));
}

/* Systems where O_DIRECT is not available (older kernels) or has no meaning. */
static void synced_writes_in_memory_are_read(void **state)
{
    struct place *p = *state;
    char path[] = "/dev/shm/cairn-io-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        skip();
    close(fd);
    check_synced_writes(p, path);
    unlink(path);
}

/* The device's sectors are larger, or the file system does not support it: EINVAL and EOPNOTSUPP mean that
 * nothing was written. Then two calls write and sync, and the direct call is not tried again. */
static void without_direct_io_writes_are_synced(void **state)
{
    struct place *p = *state;
    const struct io_ops *ops = p->io->ops;
    static const int errors[] = {EINVAL, EOPNOTSUPP};
    uint8_t data[2048];
    struct io_file *file;

    memset(data, 'x', sizeof(data));
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        memset(&calls, 0, sizeof(calls));
        calls.err = errors[i];
        assert_int_equal(ops->open(p->io, path_of(p, i ? "g" : "f"), true, &file), 0);
        assert_int_equal(ops->write_synced(p->io, file, 512, data, 1024), 0);
        if (!calls.direct)
            skip(); /* O_DIRECT is not even defined here */
        assert_int_equal(calls.direct, 1);
        assert_int_equal(calls.synced, 1);
        assert_int_equal(ops->write_synced(p->io, file, 1536, data, 512), 0);
        assert_int_equal(calls.direct, 1);
        assert_int_equal(calls.synced, 2); /* each is on the disk when it returns */
        expect_bytes(p, file, 512, data, 1536);
        ops->close(p->io, file);
    }
    memset(&calls, 0, sizeof(calls));
    calls.err = EINVAL;
    check_synced_writes(p, path_of(p, "h"));
    assert_int_equal(calls.direct, 1);
}

/* A partial write: the rest is not lost. A disk error is final: no later write continues. */
static void a_failed_direct_write_is_reported(void **state)
{
    struct place *p = *state;
    const struct io_ops *ops = p->io->ops;
    uint8_t data[4096];
    struct io_file *file;

    memset(data, 'y', sizeof(data));
    assert_int_equal(ops->open(p->io, path_of(p, "f"), true, &file), 0);
    calls.halve = true;
    assert_int_equal(ops->write_synced(p->io, file, 0, data, sizeof(data)), 0);
    assert_int_equal(calls.synced, 1);
    expect_bytes(p, file, 0, data, sizeof(data));
    calls.halve = false;
    calls.err = EIO;
    int err = ops->write_synced(p->io, file, 0, data, 1024);
    assert_int_equal(err, calls.direct > 0 ? ERR_IO : 0);
    assert_int_equal(calls.synced, calls.direct > 0 ? 1 : 2);
    ops->close(p->io, file);
}

/* A file system on a device of 4 KiB sectors, where root may have one: the kernel itself refuses 512 bytes.
 */
static void sectors_of_4_kib_are_written(void **state)
{
    struct place *p = *state;
    char command[1024], line[64] = "";

    snprintf(command, sizeof(command),
             "cd %s && exec 2>&1 && truncate -s 48M image && mkdir mounted && "
             "device=$(losetup -f --show -b 4096 image) && echo $device >device && "
             "mkfs.ext4 -q -F $device && mount $device mounted >/dev/null && echo ready",
             p->dir);
    FILE *out = popen(command, "r");
    while (out && fgets(line, sizeof(line), out))
        continue;
    bool is_mounted = out && pclose(out) == 0 && !strcmp(line, "ready\n");
    if (!is_mounted)
        skip();
    check_synced_writes(p, path_of(p, "mounted/f"));
    assert_int_equal(calls.direct, 1); /* tried, refused, not tried again */
    assert_true(calls.synced > 1);
}

static void full_device_is_no_disk_space(void **state)
{
    struct place *p = *state;
    struct io_file *file;

    if (p->io->ops->open(p->io, "/dev/full", false, &file) != 0)
        skip();
    static const uint8_t sector[512];
    assert_int_equal(p->io->ops->write(p->io, file, 0, "x", 1), ERR_NO_DISK_SPACE);
    assert_int_equal(p->io->ops->write_synced(p->io, file, 0, sector, sizeof(sector)), ERR_NO_DISK_SPACE);
    p->io->ops->close(p->io, file);
}

static void locks_exclude(void **state)
{
    struct place *p = *state;
    struct io_file *a, *b;

    assert_int_equal(p->io->ops->lock(p->io, path_of(p, "LOCK"), &a), 0);
    assert_int_equal(p->io->ops->lock(p->io, path_of(p, "LOCK"), &b), ERR_EXISTS);
    p->io->ops->close(p->io, a);
    assert_int_equal(p->io->ops->lock(p->io, path_of(p, "LOCK"), &b), 0);
    p->io->ops->close(p->io, b);
}

struct ticker {
    struct io_timer timer;
    struct io *io;
    int count;
    uint64_t first_ns;
};

static void on_tick(struct io_timer *timer)
{
    struct ticker *t = container_of(timer, struct ticker, timer);

    if (t->count++ == 0)
        t->first_ns = t->io->ops->mono_ns(t->io);
    if (t->count < 3)
        t->io->ops->timer_start(t->io, timer, 1);
    else
        t->io->ops->timer_stop(t->io, timer);
}

static void timers(void **state)
{
    struct place *p = *state;
    struct ticker a = {.timer.fire = on_tick, .io = p->io}, b = a;
    uint64_t start = p->io->ops->mono_ns(p->io);

    p->io->ops->timer_start(p->io, &a.timer, 5);
    p->io->ops->timer_start(p->io, &b.timer, 5);
    p->io->ops->timer_stop(p->io, &b.timer);
    p->io->ops->timer_stop(p->io, &b.timer);
    while (a.count < 3)
        uv_run(&p->loop, UV_RUN_ONCE);
    assert_int_equal(b.count, 0);
    assert_true(a.first_ns - start >= 4000000);
    assert_int_not_equal(p->io->ops->random(p->io), p->io->ops->random(p->io));
    assert_true(p->io->ops->wall_ns(p->io) > 1700000000000000000);
}

struct busy {
    struct io_timer timer;
    struct io *io;
    int *fired;
};

/* Work that continues in the next turn. */
static void on_busy(struct io_timer *timer)
{
    struct busy *b = container_of(timer, struct busy, timer);
    uint64_t end = b->io->ops->mono_ns(b->io) + 2000000;
    while (b->io->ops->mono_ns(b->io) < end)
        ;
    if (++*b->fired < 20)
        b->io->ops->timer_start(b->io, timer, 0);
}

static void count_turn(uv_prepare_t *handle)
{
    ++*(int *)handle->data;
}

/* Each fires once before sockets have their turn, however long it took. */
static void timers_leave_turns_to_others(void **state)
{
    struct place *p = *state;
    int fired = 0, turns = 0;
    struct busy a = {.timer.fire = on_busy, .io = p->io, .fired = &fired}, b = a;
    uv_prepare_t prepare = {.data = &turns};
    uv_prepare_init(&p->loop, &prepare);
    uv_prepare_start(&prepare, count_turn);
    p->io->ops->timer_start(p->io, &a.timer, 0);
    p->io->ops->timer_start(p->io, &b.timer, 0);
    while (fired < 20)
        uv_run(&p->loop, UV_RUN_ONCE);
    assert_true(turns >= 4); /* UV_RUN_ONCE fires before and after the poll: 2 timers, 4 times a turn */
    p->io->ops->timer_stop(p->io, &a.timer);
    p->io->ops->timer_stop(p->io, &b.timer);
    uv_close((uv_handle_t *)&prepare, NULL);
    uv_run(&p->loop, UV_RUN_ONCE);
}

/* --- the log ---------------------------------------------------------------------------------- */

struct feed {
    struct wal *wal;
    uint64_t index, last, seen;
    bool is_done;
};

static void on_done(void *arg, const struct wal_result *result)
{
    struct feed *f = arg;
    uint8_t data[700] = {0};

    assert_int_equal(result->err, 0);
    if (f->index == f->last) {
        f->is_done = true;
        return;
    }
    for (int i = 0; i < 10; i++)
        wal_add_entry(f->wal, &(struct wal_entry){
                                  .index = ++f->index, .term = 1, .data = slice_of(data, sizeof(data))});
    wal_release(f->wal, f->index > 200 ? f->index - 200 : 0);
    wal_submit(f->wal, true, on_done, f);
}

static int on_entry(void *arg, const struct wal_entry *entry)
{
    ((struct feed *)arg)->seen = entry->index;
    return 0;
}

static void log_over_files(void **state)
{
    struct place *p = *state;
    struct feed f = {.last = 2000};
    const struct wal_options options = {
        .io = p->io, .dir = path_of(p, "member/wal"), .segment_size = 64 << 10, .metadata = slice_text("m")};
    struct wal_replay replay = {.on_entry = on_entry, .arg = &f};
    char error[256] = "";

    assert_int_equal(wal_create(&options, &f.wal), 0);
    for (int round = 1; round <= 3; round++, f.last += 500) {
        struct wal *second;
        assert_int_equal(wal_open(&options, &replay, NULL, error, sizeof(error), &second), ERR_EXISTS);
        f.is_done = false;
        wal_add_hard_state(f.wal, &(struct wal_hard_state){1, 2, 3});
        wal_submit(f.wal, true, on_done, &f);
        while (!f.is_done)
            uv_run(&p->loop, UV_RUN_ONCE);
        assert_in_range(wal_disk_size(f.wal), 2 * options.segment_size, 8 * options.segment_size);
        wal_close(f.wal);
        int err;
        while ((err = wal_open(&options, &replay, NULL, error, sizeof(error), &f.wal)) == ERR_EXISTS)
            uv_run(&p->loop, UV_RUN_ONCE); /* its last housekeeping job ends by itself */
        assert_int_equal(err, 0);
        assert_int_equal(f.seen, f.last);
    }
    wal_close(f.wal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files, setup, teardown),
        cmocka_unit_test_setup_teardown(without_fsync_nothing_is_synced, setup, teardown),
        cmocka_unit_test_setup_teardown(synced_writes_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(synced_writes_in_memory_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(without_direct_io_writes_are_synced, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_direct_write_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(sectors_of_4_kib_are_written, setup, teardown),
        cmocka_unit_test_setup_teardown(full_device_is_no_disk_space, setup, teardown),
        cmocka_unit_test_setup_teardown(locks_exclude, setup, teardown),
        cmocka_unit_test_setup_teardown(timers, setup, teardown),
        cmocka_unit_test_setup_teardown(timers_leave_turns_to_others, setup, teardown),
        cmocka_unit_test_setup_teardown(log_over_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
