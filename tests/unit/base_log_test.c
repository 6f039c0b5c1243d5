/* SPDX-License-Identifier: Apache-2.0
 * Tests of log: the form of a line, field limits, levels, outputs and rotation, lines from several threads.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log_limit.h"
#include "base/mem.h"

static char folder[] = "/tmp/cairn-log-XXXXXX";
static char path[64];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/cairn-log-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/log", folder);
    log_set_level(LOG_INFO);
    log_set_format(LOG_JSON);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_close();
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));)
        unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(folder);
}

static struct buf read_file(const char *name)
{
    struct buf b = {0};
    FILE *f = fopen(name, "r");
    if (!f)
        return b;
    for (size_t n; (n = fread(buf_reserve(&b, 4096), 1, 4096, f)) > 0;)
        b.size += n;
    fclose(f);
    return b;
}

static void test_json_line(void **state)
{
    (void)state;
    assert_int_equal(log_open(path, 0, 0), OK);
    log_debug("not shown");
    log_info("ready \"now\"", F_STR("s", "a\nb"), F_STR("none", NULL), F_BYTES("bytes", slice_of("\xff", 1)),
             F_INT("i", -1), F_UINT("u", 9223372036854775807), F_HEX("id", 0x8e9e05c5), F_BOOL("b", true),
             F_DOUBLE("d", 0.5), F_DOUBLE("nan", __builtin_nan("")), F_ERR(ERR_NO_LEADER));
    log_warn("bare");
    struct buf text = read_file(path);
    char *second = strchr(buf_text(&text), '\n');
    assert_non_null(second);
    *second++ = 0;
    json_t *root;
    char error[160];
    assert_int_equal(json_parse(slice_text((char *)text.data), &root, error, sizeof error), OK);
    static const char ts[] = "0000-00-00T00:00:00.000000Z";
    const char *got = json_string_value(json_object_get(root, "ts"));
    assert_int_equal(strlen(got), strlen(ts));
    for (size_t i = 0; ts[i]; i++)
        assert_true(ts[i] == '0' ? got[i] >= '0' && got[i] <= '9' : got[i] == ts[i]);
    json_decref(root);
    assert_int_equal(strncmp((char *)text.data, "{\"level\":\"info\",\"ts\":\"", 22), 0);
    const char *rest = strstr((char *)text.data, ",\"msg\"");
    assert_string_equal(
        rest, ",\"msg\":\"ready \\\"now\\\"\",\"s\":\"a\\nb\",\"none\":\"\",\"bytes\":\"\ufffd\",\"i\":-1,"
              "\"u\":9223372036854775807,\"id\":\"8e9e05c5\",\"b\":true,\"d\":0.5,\"nan\":\"NaN\","
              "\"error\":\"etcdserver: no leader\"}");
    assert_non_null(strstr((char *)text.data, "\"caller\":\"tests/unit/base_log_test.c:"));
    assert_non_null(strstr(second, "\"level\":\"warn\""));
    assert_non_null(strstr(second, "\"msg\":\"bare\"}\n"));
    buf_done(&text);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_console_line(void **state)
{
    (void)state;
    assert_int_equal(log_open(path, 0, 0), OK);
    log_set_format(LOG_CONSOLE);
    log_error("two\nlines", F_STR("a", "b"), F_INT("n", 3));
    log_error("bare");
    struct buf text = read_file(path);
    const char *line = strchr(buf_text(&text), '\t');
    assert_int_equal(line - (char *)text.data, strlen("2026-11-21T06:40:00.123Z"));
    assert_int_equal(strncmp(line, "\terror\ttests/unit/base_log_test.c:", 34), 0);
    assert_non_null(strstr(line, "\ttwo lines\t{\"a\": \"b\", \"n\": 3}\n"));
    assert_non_null(strstr(line, "\tbare\n"));
    buf_done(&text);
}

static void test_long_field(void **state)
{
    (void)state;
    assert_int_equal(log_open(path, 0, 0), OK);
    struct buf value = {0};
    buf_add_byte(&value, 'x');
    for (int i = 0; i < 5000; i++)
        buf_add_text(&value, "\u00e9");
    log_info("long", F_BYTES("v", buf_slice(&value)));
    struct buf text = read_file(path);
    json_t *root;
    char error[160];
    assert_int_equal(json_parse(buf_slice(&text), &root, error, sizeof error), OK);
    json_t *v = json_object_get(root, "v");
    assert_int_equal(json_string_length(v), 4095 + 3);
    assert_string_equal(json_string_value(v) + 4093, "\u00e9...");
    json_decref(root);
    buf_done(&text);
    buf_done(&value);
}

static void test_levels(void **state)
{
    (void)state;
    enum log_level level;
    assert_int_equal(log_level_parse("warn", &level), OK);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_level_parse("fatal", &level), OK);
    assert_int_equal(level, LOG_FATAL);
    assert_int_equal(log_level_parse("WARN", &level), ERR_INVALID);
    assert_int_equal(log_level_parse("", &level), ERR_INVALID);
    log_set_level(LOG_WARN);
    assert_false(log_is_on(LOG_INFO));
    assert_true(log_is_on(LOG_WARN));
    log_set_level(LOG_DEBUG);
    assert_true(log_is_on(LOG_DEBUG));
}

static void test_rotation(void **state)
{
    (void)state;
    assert_int_equal(log_open(path, 1, 2), OK);
    char filler[4000];
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = 0;
    for (int i = 0; i < 1200; i++)
        log_info("fill", F_STR("x", filler), F_INT("i", i));
    char name[80];
    struct stat st;
    for (int i = 1; i <= 2; i++) {
        snprintf(name, sizeof name, "%s.%d", path, i);
        assert_int_equal(stat(name, &st), 0);
        assert_in_range(st.st_size, (1 << 20) - 5000, 1 << 20);
    }
    snprintf(name, sizeof name, "%s.3", path);
    assert_int_not_equal(stat(name, &st), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 0 && st.st_size <= 1 << 20);
    struct buf text = read_file(path);
    assert_non_null(strstr(buf_text(&text), "\"i\":1199}"));
    buf_done(&text);
}

static void test_open_fails(void **state)
{
    (void)state;
    assert_int_equal(log_open(path, 0, 0), OK);
    char outputs[200];
    snprintf(outputs, sizeof outputs, "%s,%s/no/such/folder", path, folder);
    assert_int_equal(log_open(outputs, 0, 0), ERR_IO);
    struct buf text = read_file(path);
    assert_non_null(strstr(buf_text(&text), "failed to open log output"));
    buf_done(&text);
}

static void *writer(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_info("from a thread", F_STR("who", arg), F_INT("i", i));
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    assert_int_equal(log_open(path, 0, 0), OK);
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer, names[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct buf text = read_file(path);
    size_t lines = 0;
    for (const char *p = buf_text(&text), *end; (end = strchr(p, '\n')); p = end + 1, lines++) {
        json_t *root;
        char error[160];
        assert_int_equal(json_parse(slice_of(p, (size_t)(end - p)), &root, error, sizeof error), OK);
        json_decref(root);
    }
    assert_int_equal(lines, 2000);
    buf_done(&text);
}

/* Some lines in ten seconds, and the number of the suppressed ones. */
static void test_limit(void **state)
{
    (void)state;
    struct log_limit l = {0};
    uint64_t left_out = 99, written = 0;
    for (unsigned i = 0; i < 1000; i++)
        written += log_limit_take(&l, 5 + i, &left_out);
    assert_int_equal(written, LOG_LIMIT_LINES);
    assert_int_equal(left_out, 0);
    assert_true(log_limit_take(&l, 5 + LOG_LIMIT_MS, &left_out));
    assert_int_equal(left_out, 1000 - LOG_LIMIT_LINES);
    assert_true(log_limit_take(&l, 6 + LOG_LIMIT_MS, &left_out));
    assert_int_equal(left_out, 0);
    assert_int_equal(log_open(path, 0, 0), OK);
    for (unsigned i = 0; i < 100; i++)
        log_warn_limited(&l, 6 + LOG_LIMIT_MS, "again", F_UINT("i", i));
    log_warn_limited(&l, 3 * LOG_LIMIT_MS, "later", F_UINT("i", 0));
    log_close();
    struct buf text = read_file(path);
    assert_non_null(strstr(buf_text(&text), "\"i\":7}"));
    assert_null(strstr(buf_text(&text), "\"i\":8}"));
    assert_non_null(strstr(buf_text(&text), "\"lines-left-out\":92}"));
    buf_done(&text);
}

static void test_fatal(void **state)
{
    (void)state;
    assert_int_equal(log_open(path, 0, 0), OK);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        log_fatal("the end", F_INT("code", 1));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    struct buf text = read_file(path);
    assert_non_null(strstr(buf_text(&text), "\"level\":\"fatal\""));
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_json_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_console_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_field, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_levels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fatal, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
