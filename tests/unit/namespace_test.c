/* SPDX-License-Identifier: Apache-2.0
 * The pure parts of namespaces: documents, areas and role templates, the view with its limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "namespace/view.h"

/* --- documents ------------------------------------------------------------------------------------------ */

static int read_change(struct arena *a, const char *text, struct namespace_change *ret, char error[256])
{
    return namespace_change_read(slice_text(text), a, ret, error, 256);
}

static void test_change(void **state)
{
    (void)state;
    struct arena a = {0};
    struct namespace_change c;
    char error[256];
    assert_int_equal(read_change(&a,
                                 "{\"title\":\"T\",\"labels\":{\"b\":\"2\",\"a\":\"1\"},\"owner\":\"o\","
                                 "\"quotas\":{\"bytes\":7,\"services\":0}}",
                                 &c, error),
                     OK);
    assert_int_equal(c.document.labels.count, 2);
    assert_true(slice_equal(c.document.labels.list[0].key, slice_text("a")));
    assert_true(c.has_limits && c.limits.has[NAMESPACE_BYTES] && c.limits.has[NAMESPACE_SERVICES]);
    assert_false(c.limits.has[NAMESPACE_INSTANCES]);
    assert_int_equal(c.limits.value[NAMESPACE_BYTES], 7);
    assert_int_equal(read_change(&a, "{}", &c, error), OK);
    assert_false(c.has_limits);
    arena_done(&a);
}

static void test_change_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
        int err;
    } rows[] = {
        {"{", NULL, ERR_MALFORMED},
        {"[]", NULL, ERR_INVALID},
        {"{\"colour\":1}", "colour", ERR_INVALID},
        {"{\"title\":1}", "title", ERR_INVALID},
        {"{\"title\":\"a\\nb\"}", "title", ERR_INVALID},
        {"{\"labels\":{\"a\":1}}", "labels", ERR_INVALID},
        {"{\"quotas\":[]}", "quotas is not an object", ERR_INVALID},
        {"{\"quotas\":{\"stones\":1}}", "stones", ERR_INVALID},
        {"{\"quotas\":{\"bytes\":-1}}", "bytes", ERR_INVALID},
        {"{\"quotas\":{\"bytes\":\"1\"}}", "bytes", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena a = {0};
        struct namespace_change c;
        char error[256] = "";
        assert_int_equal(read_change(&a, rows[i].text, &c, error), rows[i].err);
        assert_true(!rows[i].error || strstr(error, rows[i].error));
        arena_done(&a);
    }
}

/* A text that is written can be read; it is canonical. */
static void test_round_trip(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf text = {0}, again = {0};
    struct namespace_deletion d = {.author = {.name = slice_text("alice")}, .time_ms = 5, .done_ms = 9}, read;
    d.found[AREA_INSTANCES] = 3;
    d.removed[AREA_INSTANCES] = 2;
    d.is_done = true;
    namespace_deletion_write(&d, &text);
    assert_string_equal(buf_text(&text),
                        "{\"state\":\"done\",\"author\":\"alice\",\"time_ms\":5,\"done_ms\":9,"
                        "\"found\":{\"instances\":3},\"removed\":{\"instances\":2}}");
    assert_int_equal(namespace_deletion_read(buf_slice(&text), &a, &read), OK);
    namespace_deletion_write(&read, &again);
    assert_string_equal(buf_text(&text), buf_text(&again));
    static const char *const broken[] = {"{}", "{\"state\":\"paused\"}", "{\"state\":\"done\",\"found\":1}",
                                         "{\"state\":\"done\",\"removed\":{\"instances\":-1}}", "x"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_int_not_equal(namespace_deletion_read(slice_text(broken[i]), &a, &read), OK);
    struct namespace_limits l = {.has = {[NAMESPACE_BYTES] = true}, .value = {[NAMESPACE_BYTES] = 9}}, l2;
    buf_clear(&text);
    namespace_limits_write(&l, &text);
    assert_int_equal(namespace_limits_read(buf_slice(&text), &a, &l2), OK);
    assert_true(namespace_limits_equal(&l, &l2) && namespace_limits_any(&l2));
    struct buf left = {0};
    namespace_counts_text((uint64_t[AREAS]){[AREA_INSTANCES] = 3, [AREA_RELEASES] = 1}, &left);
    assert_string_equal(buf_text(&left), "3 instances, 1 releases");
    buf_done(&left);
    buf_done(&text);
    buf_done(&again);
    arena_done(&a);
}

/* --- areas and templates -------------------------------------------------------------------------------- */

static void test_areas(void **state)
{
    (void)state;
    struct buf key = {0}, end = {0};
    namespace_area_range(AREA_HEADS, slice_text("a%b"), &key, &end);
    assert_string_equal(buf_text(&key), "/cairn/config/heads/a%25b/");
    assert_string_equal(buf_text(&end), "/cairn/config/heads/a%25b0");
    namespace_area_range(AREA_DOCUMENT, slice_text("prod"), &key, &end);
    assert_string_equal(buf_text(&key), "/cairn/namespaces/documents/prod");
    assert_int_equal(end.size, 0);
    buf_done(&key);
    buf_done(&end);
}

/* Each template allows what the one before it does, nobody but the admin may write what the admin's deletion
 * needs, and no template may write quotas. */
static void test_templates(void **state)
{
    (void)state;
    assert_int_equal(role_template_find(slice_text("publisher")), TEMPLATE_PUBLISHER);
    assert_int_equal(role_template_find(slice_text("Publisher")), TEMPLATES);
    for (int a = 0; a < AREAS; a++) {
        const enum namespace_permission *p = namespace_areas[a].permissions;
        for (int t = 1; t < TEMPLATES; t++)
            assert_int_equal(p[t] & p[t - 1], p[t - 1]);
        if (namespace_areas[a].form == AREA_ALL)
            assert_int_equal(p[TEMPLATE_ADMIN], PERMISSION_BOTH);
    }
    assert_int_equal(namespace_areas[AREA_QUOTAS].permissions[TEMPLATE_ADMIN], PERMISSION_READ);
    assert_int_equal(namespace_areas[AREA_DELETION].permissions[TEMPLATE_ADMIN], PERMISSION_READ);
    assert_int_equal(namespace_areas[AREA_DOCUMENT].permissions[TEMPLATE_OPERATOR], PERMISSION_READ);
    assert_int_equal(namespace_areas[AREA_RELEASES].permissions[TEMPLATE_OPERATOR], PERMISSION_READ);
}

/* --- the view ------------------------------------------------------------------------------------------- */

struct seen {
    struct namespace_view *view;
    char names[256];
};

static void on_changed(void *arg, const struct namespace_entry *e)
{
    struct seen *s = arg;
    size_t size = strlen(s->names);
    snprintf(s->names + size, sizeof s->names - size, "%.*s ", (int)e->name.size, (const char *)e->name.data);
}

static void put(struct seen *s, const char *key, const char *value, int64_t revision)
{
    namespace_view_begin(s->view, revision, false);
    namespace_view_put(s->view, slice_text(key), slice_text(value), revision);
    namespace_view_end(s->view);
}

static void drop(struct seen *s, const char *key, int64_t revision)
{
    namespace_view_begin(s->view, revision, false);
    namespace_view_remove(s->view, slice_text(key), revision);
    namespace_view_end(s->view);
}

#define DOC(ns)    "/cairn/namespaces/documents/" ns
#define QUOTAS(ns) "/cairn/namespaces/quotas/" ns
#define GONE(ns)   "/cairn/namespaces/deletions/" ns

static void test_view(void **state)
{
    (void)state;
    struct seen s = {0};
    s.view = namespace_view_new(on_changed, &s);
    put(&s, DOC("b"), "{\"title\":\"B\"}", 5);
    put(&s, DOC("a"), "{\"title\":\"A\"}", 6);
    put(&s, QUOTAS("b"), "{\"services\":2}", 7);
    put(&s, "/cairn/namespaces/other/x", "{}", 8);
    put(&s, DOC("x/y"), "{}", 9);
    assert_string_equal(s.names, "b a b ");
    assert_int_equal(namespace_view_count(s.view), 2);
    const struct namespace_entry *e = namespace_view_next(s.view, (struct slice){0});
    assert_true(slice_equal(e->document->title, slice_text("A")));
    e = namespace_view_next(s.view, e->name);
    assert_true(slice_equal(e->document->title, slice_text("B")));
    assert_int_equal(e->revision, 7);
    assert_null(namespace_view_next(s.view, e->name));
    const char *setting;
    assert_int_equal(namespace_view_limit(s.view, slice_text("b"), NAMESPACE_SERVICES, 9, &setting), 2);
    assert_string_equal(setting, "the namespace's quota");
    assert_int_equal(namespace_view_limit(s.view, slice_text("a"), NAMESPACE_SERVICES, 9, &setting), 9);
    assert_string_equal(setting, "--registry-max-services");
    assert_int_equal(namespace_view_limit(NULL, slice_text("b"), NAMESPACE_SERVICES, 9, &setting), 9);
    /* An unreadable document is counted, and keeps its revision. */
    put(&s, QUOTAS("b"), "junk", 10);
    assert_int_equal(namespace_view_unreadable(s.view), 1);
    assert_int_equal(namespace_view_limit(s.view, slice_text("b"), NAMESPACE_SERVICES, 9, NULL), 9);
    assert_int_equal(namespace_view_find(s.view, slice_text("b"))->revisions[KEY_QUOTAS], 10);
    /* An entry goes with its last key. */
    drop(&s, DOC("b"), 11);
    assert_non_null(namespace_view_find(s.view, slice_text("b")));
    drop(&s, QUOTAS("b"), 12);
    assert_null(namespace_view_find(s.view, slice_text("b")));
    assert_int_equal(namespace_view_absent_revision(s.view), 12);
    assert_int_equal(namespace_view_count(s.view), 1);
    namespace_view_free(s.view);
}

/* A whole state replaces all, also if it begins again before its end. */
static void test_view_whole(void **state)
{
    (void)state;
    struct seen s = {0};
    s.view = namespace_view_new(on_changed, &s);
    put(&s, DOC("a"), "{}", 5);
    put(&s, GONE("b"), "{\"state\":\"running\"}", 6);
    assert_int_equal(namespace_view_running_count(s.view), 1);
    namespace_view_begin(s.view, 8, true);
    namespace_view_put(s.view, slice_text(DOC("a")), slice_text("{}"), 5);
    namespace_view_begin(s.view, 9, true);
    namespace_view_put(s.view, slice_text(DOC("c")), slice_text("{}"), 7);
    namespace_view_end(s.view);
    assert_null(namespace_view_find(s.view, slice_text("a")));
    assert_null(namespace_view_find(s.view, slice_text("b")));
    assert_non_null(namespace_view_find(s.view, slice_text("c")));
    assert_int_equal(namespace_view_running_count(s.view), 0);
    assert_int_equal(namespace_view_count(s.view), 1);
    assert_int_equal(namespace_view_absent_revision(s.view), 9);
    namespace_view_free(s.view);
}

static void test_admit(void **state)
{
    (void)state;
    struct seen s = {0};
    char error[200];
    s.view = namespace_view_new(on_changed, &s);
    put(&s, GONE("a"), "{\"state\":\"running\"}", 5);
    assert_int_equal(namespace_view_admit(s.view, slice_text("a"), error, sizeof error), ERR_CONFLICT);
    assert_string_equal(error, "namespace a is being deleted: wait until its deletion is done");
    assert_int_equal(namespace_view_admit(s.view, slice_text("b"), error, sizeof error), OK);
    assert_int_equal(namespace_view_admit(NULL, slice_text("a"), error, sizeof error), OK);
    put(&s, GONE("a"), "{\"state\":\"done\",\"done_ms\":10}", 6);
    assert_int_equal(namespace_view_admit(s.view, slice_text("a"), error, sizeof error), OK);
    put(&s, GONE("b"), "{\"state\":\"done\",\"done_ms\":5}", 7);
    assert_null(namespace_view_ended(s.view, 5, 2));
    assert_true(slice_equal(namespace_view_ended(s.view, 6, 2)->name, slice_text("b")));
    assert_true(slice_equal(namespace_view_ended(s.view, 0, 1)->name, slice_text("b")));
    namespace_view_free(s.view);
}

static void test_subscribers(void **state)
{
    (void)state;
    struct seen s = {0};
    char error[200];
    struct namespace_count *one, *two, *three;
    s.view = namespace_view_new(on_changed, &s);
    put(&s, QUOTAS("a"), "{\"subscribers\":2}", 5);
    assert_int_equal(namespace_subscribe(s.view, slice_text("a"), &one, error, sizeof error), OK);
    assert_int_equal(namespace_subscribe(s.view, slice_text("a"), &two, error, sizeof error), OK);
    assert_int_equal(namespace_subscribe(s.view, slice_text("a"), &three, error, sizeof error), ERR_QUOTA);
    assert_null(three);
    assert_int_equal(namespace_view_subscribers(s.view, slice_text("a")), 2);
    namespace_unsubscribe(s.view, two);
    assert_int_equal(namespace_subscribe(s.view, slice_text("a"), &three, error, sizeof error), OK);
    assert_int_equal(namespace_subscribe(s.view, slice_text("b"), &two, error, sizeof error), OK);
    namespace_unsubscribe(s.view, one);
    namespace_unsubscribe(s.view, two);
    namespace_unsubscribe(s.view, three);
    assert_int_equal(namespace_view_subscribers(s.view, slice_text("a")), 0);
    namespace_view_free(s.view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change),      cmocka_unit_test(test_change_refused),
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_areas),
        cmocka_unit_test(test_templates),   cmocka_unit_test(test_view),
        cmocka_unit_test(test_view_whole),  cmocka_unit_test(test_admit),
        cmocka_unit_test(test_subscribers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
