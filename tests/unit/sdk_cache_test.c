/* SPDX-License-Identifier: Apache-2.0
 * Tests of the SDK's cache files: their age and checksum, files that are torn, changed or foreign, and
 * writers that are killed. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sdk/stream.h"
#include "tests/unit/unit.h"

static char dir[] = "/tmp/cairn-cache-XXXXXX", ns[] = "default", group[] = "g", name[] = "n";
static char lines[4096];

static void on_log(struct cairn_client *c, enum cairn_log_level level, const char *line, void *arg)
{
    (void)c;
    (void)level;
    (void)arg;
    strncat(lines, line, sizeof lines - strlen(lines) - 1);
}

/* A client that is no more than its log and its folder. */
static struct cairn_client *client(void)
{
    static struct cairn_client c;
    static bool is_ready;
    if (!is_ready) {
        list_init(&c.reports);
        assert_int_equal(uv_loop_init(&c.loop), 0);
        assert_int_equal(uv_async_init(&c.loop, &c.wake, NULL), 0);
        c.cache_dir = dir;
        c.on_log = on_log;
        is_ready = true;
    }
    return &c;
}

static void write_view(int64_t revision, size_t items)
{
    struct subscription s = {
        .client = client(), .kind = "service", .ns = ns, .group = group, .name = name, .revision = revision};
    s.items = json_object();
    for (size_t i = 0; i < items; i++) {
        char id[32];
        snprintf(id, sizeof id, "i%zu", i);
        json_object_set_new(s.items, id, json_pack("{ss sI}", "id", id, "of", (json_int_t)revision));
    }
    cache_write(&s);
    json_decref(s.items);
}

static json_t *read_view(struct cache_state *state)
{
    return cache_read(client(), "service", ns, group, name, state);
}

static void path_of_file(char path[600])
{
    DIR *d = opendir(dir);
    path[0] = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (strstr(e->d_name, ".json") && !strstr(e->d_name, ".new"))
            snprintf(path, 600, "%s/%s", dir, e->d_name);
    closedir(d);
    assert_true(path[0]);
}

/* The file is refused, and the log says why. */
static void must_refuse(const char *why)
{
    struct cache_state state;
    lines[0] = 0;
    assert_null(read_view(&state));
    client_deliver_reports(client());
    if (!strstr(lines, why))
        fail_msg("\"%s\" does not say \"%s\"", lines, why);
}

static void the_age_is_shown(void **s)
{
    (void)s;
    struct cache_state state;
    write_view(7, 3);
    usleep(20000);
    json_t *items = read_view(&state);
    assert_int_equal(json_object_size(items), 3);
    assert_int_equal(state.revision, 7);
    assert_in_range(state.age_ms, 20, 60000);
    json_decref(items);
}

static void torn_changed_and_foreign_files_are_refused(void **s)
{
    (void)s;
    char path[600], other[700];
    struct stat st;
    write_view(7, 3);
    path_of_file(path);
    assert_int_equal(stat(path, &st), 0);
    for (off_t size = 0; size < st.st_size; size++) {
        write_view(7, 3);
        assert_int_equal(truncate(path, size), 0);
        must_refuse("cache: refused");
    }
    write_view(7, 3);
    FILE *f = fopen(path, "r+");
    fseek(f, -3, SEEK_END);
    fputc('x', f);
    fclose(f);
    must_refuse("checksum");
    f = fopen(path, "w");
    fputs("#!/bin/sh\n", f);
    fclose(f);
    must_refuse("not a cache file");
    struct subscription foreign = {
        .client = client(), .kind = "service", .ns = ns, .group = group, .name = group, .revision = 1};
    assert_int_equal(unlink(path), 0);
    foreign.items = json_object();
    cache_write(&foreign);
    json_decref(foreign.items);
    path_of_file(other);
    assert_int_equal(rename(other, path), 0);
    must_refuse("another view");
    assert_int_equal(unlink(path), 0);
    lines[0] = 0;
    struct cache_state state;
    assert_null(read_view(&state)); /* no file: no reason */
    client_deliver_reports(client());
    assert_string_equal(lines, "");
}

/* A writer is killed at any moment: the file is that of one write, whole. */
static void a_killed_writer_leaves_a_whole_file(void **s)
{
    (void)s;
    int64_t last = 0;
    write_view(1, 2000);
    for (int round = 0; round < 40; round++) {
        pid_t pid = fork();
        if (!pid)
            for (int64_t revision = 2 + round * 100000;; revision++)
                write_view(revision, 2000);
        usleep(3000 + (useconds_t)(random() % 20000));
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        struct cache_state state;
        json_t *items = read_view(&state), *item;
        const char *id;
        assert_non_null(items);
        assert_int_equal(json_object_size(items), 2000);
        json_object_foreach(items, id, item)
            assert_int_equal(json_integer_value(json_object_get(item, "of")), state.revision);
        last = state.revision;
        json_decref(items);
    }
    assert_true(last > 1); /* some writes were completed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_age_is_shown),
        cmocka_unit_test(torn_changed_and_foreign_files_are_refused),
        cmocka_unit_test(a_killed_writer_leaves_a_whole_file),
    };
    assert_non_null(mkdtemp(dir));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) || failed;
}
