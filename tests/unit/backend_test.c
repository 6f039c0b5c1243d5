/* SPDX-License-Identifier: Apache-2.0
 * Tests of both backends, then of what only one of them has: a crash of the memory backend, and files of
 * LMDB as a kill or a power cut leaves them. */
#include "consensus/store/backend.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "unit.h"

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[2][160];
    static unsigned turn;
    turn = 1 - turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static struct backend *open_lmdb(const char *name)
{
    struct backend *b;
    char error[200];
    int err = backend_lmdb_open(path_of(name), 256 << 20, error, sizeof error, &b);
    if (err)
        fail_msg("%s", error);
    return b;
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/backend_test_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* --- the same for both ------------------------------------------------------------------------- */

static struct backend_op op(int kind, enum backend_table table, const char *key, const char *value)
{
    struct backend_op o = {.table = table, .key = slice_text(key), .value = slice_text(value)};
    o.kind = kind == BACKEND_DELETE ? BACKEND_DELETE : kind == BACKEND_APPEND ? BACKEND_APPEND : BACKEND_PUT;
    return o;
}

static void commit(struct backend *b, const struct backend_op *ops, size_t count, uint64_t want_freed)
{
    uint64_t freed = 99;
    assert_int_equal(b->ops->commit(b, ops, count, &freed), 0);
    assert_int_equal(freed, want_freed);
}

static bool append_row(void *arg, struct slice key, struct slice value)
{
    buf_addf(arg, "%.*s=%.*s ", (int)key.size, key.data, (int)value.size, value.data);
    return true;
}

static bool append_first(void *arg, struct slice key, struct slice value)
{
    append_row(arg, key, value);
    return false;
}

static void expect(struct backend *b, enum backend_table table, const char *from, const char *want)
{
    struct backend_view *view;
    struct buf text = {0};
    assert_int_equal(b->ops->view_open(b, &view), 0);
    assert_int_equal(b->ops->scan(view, table, slice_text(from), append_row, &text), 0);
    b->ops->view_close(b, view);
    assert_string_equal(buf_text(&text), want);
    buf_done(&text);
}

static void same_for_both(struct backend *b)
{
    struct backend_view *view;
    struct slice value;
    struct buf text = {0};
    const struct backend_op first[] = {
        op(BACKEND_APPEND, BACKEND_RECORDS, "r1", "one"), op(BACKEND_APPEND, BACKEND_RECORDS, "r2", "two"),
        op(BACKEND_PUT, BACKEND_META, "m", "x"),          op(BACKEND_APPEND, BACKEND_RECORDS, "r3", ""),
        op(BACKEND_PUT, BACKEND_LEASES, "b", "2"),        op(BACKEND_PUT, BACKEND_LEASES, "a", "1"),
    };
    commit(b, first, COUNT_OF(first), 0);
    expect(b, BACKEND_RECORDS, "", "r1=one r2=two r3= ");
    expect(b, BACKEND_RECORDS, "r11", "r2=two r3= ");
    expect(b, BACKEND_RECORDS, "r4", "");
    expect(b, BACKEND_LEASES, "", "a=1 b=2 ");
    expect(b, BACKEND_AUTH, "", "");
    const struct backend_op second[] = {
        op(BACKEND_PUT, BACKEND_META, "m", "longer than before"),
        op(BACKEND_DELETE, BACKEND_RECORDS, "r1", ""),
        op(BACKEND_DELETE, BACKEND_RECORDS, "none", ""),
        op(BACKEND_APPEND, BACKEND_RECORDS, "r4", "four"),
        op(BACKEND_DELETE, BACKEND_RECORDS, "r4", ""),
        op(BACKEND_DELETE, BACKEND_LEASES, "a", ""),
    };
    commit(b, second, COUNT_OF(second), 5 + 6);
    expect(b, BACKEND_RECORDS, "", "r2=two r3= ");
    expect(b, BACKEND_META, "", "m=longer than before ");
    expect(b, BACKEND_LEASES, "", "b=2 ");
    assert_int_equal(b->ops->view_open(b, &view), 0);
    assert_int_equal(b->ops->get(view, BACKEND_RECORDS, slice_text("r2"), &value), 0);
    assert_true(slice_equal(value, slice_text("two")));
    assert_int_equal(b->ops->get(view, BACKEND_RECORDS, slice_text("r1"), &value), ERR_NOT_FOUND);
    assert_int_equal(b->ops->get(view, BACKEND_AUTH, slice_text("r2"), &value), ERR_NOT_FOUND);
    assert_int_equal(b->ops->count(view, BACKEND_RECORDS), 2);
    assert_int_equal(b->ops->scan(view, BACKEND_RECORDS, (struct slice){0}, append_first, &text), 0);
    assert_string_equal(buf_text(&text), "r2=two ");
    b->ops->view_close(b, view);
    buf_done(&text);
    struct backend_sizes sizes = b->ops->sizes(b);
    assert_true(sizes.file > 0 && sizes.in_use > 0 && sizes.in_use <= sizes.file);
    b->ops->trim(b);
    assert_int_equal(b->ops->copy(b, path_of("copy")), 0);
    struct stat st;
    assert_int_equal(stat(path_of("copy"), &st), 0);
    assert_true(st.st_size > 0);
    assert_int_equal(unlink(path_of("copy")), 0);
}

static void test_memory(void **state)
{
    (void)state;
    struct backend *b = backend_memory_new();
    same_for_both(b);
    b->ops->close(b);
    backend_memory_free(b);
}

static void test_lmdb(void **state)
{
    (void)state;
    struct backend *b = open_lmdb("db");
    assert_true(b->ops->sizes(b).file > 0);
    same_for_both(b);
    assert_int_equal(b->ops->copy(b, path_of("kept")), 0);
    b->ops->close(b);
    b = open_lmdb("db");
    expect(b, BACKEND_RECORDS, "", "r2=two r3= ");
    b->ops->close(b);
    b = open_lmdb("kept");
    expect(b, BACKEND_META, "", "m=longer than before ");
    b->ops->close(b);
}

/* --- memory ------------------------------------------------------------------------------------ */

static void test_memory_crash(void **state)
{
    (void)state;
    struct backend *b = backend_memory_new();
    const struct backend_op first[] = {op(BACKEND_APPEND, BACKEND_RECORDS, "r1", "one"),
                                       op(BACKEND_PUT, BACKEND_META, "m", "1")};
    const struct backend_op second[] = {
        op(BACKEND_APPEND, BACKEND_RECORDS, "r2", "two"), op(BACKEND_PUT, BACKEND_META, "m", "2"),
        op(BACKEND_DELETE, BACKEND_RECORDS, "r1", ""), op(BACKEND_PUT, BACKEND_META, "n", "3")};
    uint64_t freed;
    commit(b, first, 2, 0);
    backend_memory_crash(b);
    expect(b, BACKEND_RECORDS, "", "r1=one ");
    backend_memory_set_manual_sync(b, true);
    commit(b, second, 4, 5);
    expect(b, BACKEND_RECORDS, "", "r2=two ");
    backend_memory_crash(b);
    expect(b, BACKEND_RECORDS, "", "r1=one ");
    expect(b, BACKEND_META, "", "m=1 ");
    commit(b, second, 4, 5);
    backend_memory_sync(b);
    backend_memory_crash(b);
    expect(b, BACKEND_RECORDS, "", "r2=two ");
    expect(b, BACKEND_META, "", "m=2 n=3 ");
    backend_memory_fail(b, ERR_IO);
    assert_int_equal(b->ops->commit(b, first, 2, &freed), ERR_IO);
    backend_memory_free(b);
}

/* --- LMDB -------------------------------------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
    uint8_t buffer[65536];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, buffer, sizeof buffer)) > 0;)
        assert_int_equal(write(out, buffer, (size_t)n), n);
    close(in);
    close(out);
}

/* One commit: five records and the number of the commit, in one transaction. */
static void commit_numbered(struct backend *b, unsigned number)
{
    struct backend_op ops[6];
    char keys[5][16], mark[16];
    uint64_t freed;
    static uint8_t filler[900];
    for (unsigned i = 0; i < 5; i++) {
        snprintf(keys[i], sizeof keys[i], "%06u", number * 5 + i);
        ops[i] = op(BACKEND_APPEND, BACKEND_RECORDS, keys[i], "");
        ops[i].value = slice_of(filler, sizeof filler);
    }
    snprintf(mark, sizeof mark, "%u", number);
    ops[5] = op(BACKEND_PUT, BACKEND_META, "mark", mark);
    assert_int_equal(b->ops->commit(b, ops, 6, &freed), 0);
}

/* The mark and the records are of the same commit. */
static unsigned check_numbered(const char *path)
{
    struct backend *b;
    struct backend_view *view;
    struct slice value;
    char error[200];
    assert_int_equal(backend_lmdb_open(path, 256 << 20, error, sizeof error, &b), 0);
    assert_int_equal(b->ops->view_open(b, &view), 0);
    assert_int_equal(b->ops->get(view, BACKEND_META, slice_text("mark"), &value), 0);
    unsigned mark = 0;
    for (size_t i = 0; i < value.size; i++)
        mark = mark * 10 + (unsigned)(value.data[i] - '0');
    assert_int_equal(b->ops->count(view, BACKEND_RECORDS), (mark + 1) * 5);
    b->ops->view_close(b, view);
    b->ops->close(b);
    return mark;
}

/* A copy of the file taken after each commit opens and holds exactly that commit. */
static void test_lmdb_every_commit(void **state)
{
    (void)state;
    struct backend *b = open_lmdb("steps");
    for (unsigned i = 0; i < 60; i++) {
        commit_numbered(b, i);
        copy_file(path_of("steps"), path_of("image"));
        assert_int_equal(check_numbered(path_of("image")), i);
    }
    b->ops->close(b);
}

/* A kill in the middle of commits: the remaining file opens, and is one whole commit. */
static void test_lmdb_kill(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        char name[20];
        int pipes[2];
        snprintf(name, sizeof name, "kill%u", round);
        assert_int_equal(pipe(pipes), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct backend *b = open_lmdb(name);
            for (unsigned i = 0;; i++) {
                commit_numbered(b, i);
                if (write(pipes[1], &i, sizeof i) != sizeof i)
                    _exit(1);
            }
        }
        close(pipes[1]);
        unsigned told = 0;
        for (unsigned i = 0; i < 20 + round * 7; i++)
            assert_int_equal(read(pipes[0], &told, sizeof told), sizeof told);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(pipes[0], &told, sizeof told) == sizeof told)
            ;
        close(pipes[0]);
        assert_true(check_numbered(path_of(name)) >= told);
    }
}

/* A torn meta page: LMDB falls back to the other one, which is the previous commit. */
static void test_lmdb_torn_meta(void **state)
{
    (void)state;
    struct backend *b = open_lmdb("torn");
    for (unsigned i = 0; i < 10; i++)
        commit_numbered(b, i);
    b->ops->close(b);
    unsigned marks = 0;
    for (int page = 0; page < 2; page++) {
        uint8_t zeros[4096] = {0};
        copy_file(path_of("torn"), path_of("image"));
        int fd = open(path_of("image"), O_WRONLY);
        /* The transaction number returns to 0, as if this meta page had never been written. */
        assert_int_equal(pwrite(fd, zeros, 8, page * 4096 + 16 + 24 + 2 * 48 + 8), 8);
        close(fd);
        marks += check_numbered(path_of("image"));
    }
    assert_int_equal(marks, 9 + 8);
}

static void test_lmdb_full_and_foreign(void **state)
{
    (void)state;
    struct backend *b;
    char error[200] = "";
    uint64_t freed;
    assert_int_equal(backend_lmdb_open(path_of("small"), 256 << 10, error, sizeof error, &b), 0);
    static uint8_t big[1 << 20];
    struct backend_op o = op(BACKEND_PUT, BACKEND_META, "k", "");
    o.value = slice_of(big, sizeof big);
    assert_int_equal(b->ops->commit(b, &o, 1, &freed), ERR_NO_DISK_SPACE);
    b->ops->close(b);
    FILE *f = fopen(path_of("foreign"), "w");
    for (int i = 0; i < 3000; i++)
        fputs("not a store", f);
    fclose(f);
    assert_int_equal(backend_lmdb_open(path_of("foreign"), 1 << 20, error, sizeof error, &b), ERR_CORRUPT);
    assert_true(strstr(error, "foreign") != NULL);
    assert_int_equal(backend_lmdb_open(path_of("none/db"), 1 << 20, error, sizeof error, &b), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_lmdb),
        cmocka_unit_test(test_memory_crash),
        cmocka_unit_test(test_lmdb_every_commit),
        cmocka_unit_test(test_lmdb_kill),
        cmocka_unit_test(test_lmdb_torn_meta),
        cmocka_unit_test(test_lmdb_full_and_foreign),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
