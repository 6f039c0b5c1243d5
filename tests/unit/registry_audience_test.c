/* SPDX-License-Identifier: Apache-2.0
 * Tests of audiences. The right to a projected instance is the right to read its source key. An audience is
 * never notified of a change that it may not know. Clients with equal rights share one audience. */
#include "registry/audience.h"

#include "registry/projection.h"
#include "registry/select.h"
#include "tests/unit/unit.h"

#define KRATOS   "/microservices/orders/k1"
#define GO_MICRO "/micro/registry/orders/m1"
#define ENDPOINT "{\"endpoints\":[\"grpc://10.0.0.5:9000\"]}"
#define NODE     "{\"name\":\"orders\",\"version\":\"1\",\"nodes\":[{\"id\":\"m1\",\"address\":\"10.0.0.6:80\"}]}"

static struct world {
    struct catalog *catalog;
    struct projections *projections;
    const char *prefixes[PROJECTIONS_MAX];
    size_t count;
    int64_t revision;
    /* The ids of the last batch that each watching audience was notified of. */
    struct audience *looking;
    size_t told, kept_back;
} w;

static void on_changed(void *arg, const struct catalog_change *change)
{
    (void)arg;
    for (size_t i = 0; i < change->id_count; i++)
        *(audience_sees_change(w.looking, change, i) ? &w.told : &w.kept_back) += 1;
    assert_int_equal(audience_sees_any(w.looking, change), w.told > 0 || change->are_settings_changed);
}

static int setup(void **state)
{
    (void)state;
    char error[200];
    const struct catalog_events events = {.changed = on_changed};
    w = (struct world){.catalog = catalog_new(&events)};
    assert_int_equal(projections_parse(slice_text("defaults"), error, sizeof error, &w.projections), OK);
    w.count = projections_count(w.projections);
    for (size_t i = 0; i < w.count; i++)
        w.prefixes[i] = projections_prefix(w.projections, i);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    audience_unref(w.looking);
    catalog_free(w.catalog);
    projections_free(w.projections);
    return 0;
}

static void begin(void)
{
    w.told = w.kept_back = 0;
    catalog_begin(w.catalog, ++w.revision);
}

/* NULL: the key is deleted. */
static void set_source(const char *key, const char *value)
{
    struct slice k = slice_text(key), v = value ? slice_text(value) : (struct slice){0};
    Mvccpb__KeyValue pair = MVCCPB__KEY_VALUE__INIT;
    pair.key.len = k.size;
    memcpy(&pair.key.data, &k.data, sizeof k.data);
    pair.value.len = v.size;
    memcpy(&pair.value.data, &v.data, sizeof v.data);
    pair.create_revision = pair.mod_revision = w.revision;
    if (value)
        assert_true(projections_put(w.projections, w.catalog, &pair));
    else
        assert_true(projections_remove(w.projections, w.catalog, k));
}

static void source(const char *key, const char *value)
{
    begin();
    set_source(key, value);
    catalog_end(w.catalog);
}

static void own(enum name_kind kind, const char *id, const char *text)
{
    const struct slice name = slice_text("default");
    const struct name n = {kind, name, name, slice_text("orders"), slice_text(id), 0};
    begin();
    if (text)
        catalog_put(w.catalog, &n, slice_text(text), w.revision, w.revision);
    else
        catalog_delete(w.catalog, &n);
    catalog_end(w.catalog);
}

/* Pairs of a key and its range's end ("" = the key alone), up to NULL. */
static struct audience *reads(const char *const *pairs, bool with_services)
{
    struct auth_ranges r = {0};
    for (size_t i = 0; pairs[i]; i += 2)
        auth_ranges_add(&r, slice_text(pairs[i]), slice_text(pairs[i + 1]));
    auth_ranges_merge(&r);
    struct audience *a = with_services ? audience_new_with_services(&r, w.prefixes, w.count)
                                       : audience_new(&r, w.prefixes, w.count);
    auth_ranges_done(&r);
    return a;
}
#define READS(...) reads((const char *const[]){__VA_ARGS__, NULL}, false)

static struct catalog_service *orders(void)
{
    struct slice name = slice_text("default");
    return catalog_find(w.catalog, name, name, slice_text("orders"));
}

static const struct catalog_instance *instance(const char *id)
{
    return catalog_instance(orders(), slice_text(id));
}

static void test_source_key_decides(void **state)
{
    (void)state;
    struct audience *none = READS("/cairn/", "/cairn0"),
                    *kratos = READS("/microservices/", "/microservices0"), *one = READS(KRATOS, ""),
                    *all = READS("/", "0", "kitex/", "kitex0");
    source(KRATOS, ENDPOINT);
    source("/microservices/orders/k2", ENDPOINT);
    source(GO_MICRO, NODE);
    own(NAME_INSTANCE, "o1", "{\"host\":\"h\"}");
    assert_int_equal(orders()->instances, 4);
    assert_int_equal(orders()->projected, 3);
    assert_non_null(none);
    assert_null(all); /* which is the audience that sees everything */
    struct audience *list[] = {none, kratos, one, all};
    static const char *const ids[] = {"o1", "kratos:k1", "kratos:k2", "go-micro:m1"};
    static const bool sees[][4] = {{true, false, false, false},
                                   {true, true, true, false},
                                   {true, true, false, false},
                                   {true, true, true, true}};
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        struct select_query q = {.audience = list[i]};
        struct select_result result;
        struct audience_counts counts;
        struct arena arena = {0};
        size_t wanted = 0;
        for (size_t k = 0; k < COUNT_OF(ids); k++) {
            assert_int_equal(audience_sees(list[i], instance(ids[k])), sees[i][k]);
            wanted += sees[i][k];
        }
        select_run(&q, orders(), &arena, &result);
        audience_count(list[i], orders(), &counts);
        assert_int_equal(result.count, wanted);
        assert_int_equal(result.serving, wanted);
        assert_int_equal(counts.instances, wanted);
        assert_int_equal(counts.by_state[INSTANCE_UP], wanted);
        arena_done(&arena);
        audience_unref(list[i]);
    }
}

/* A service without any readable instance does not exist. */
static void test_existence(void **state)
{
    (void)state;
    struct audience *none = READS("/cairn/", "/cairn0");
    struct audience_counts counts;
    source(KRATOS, ENDPOINT);
    audience_count(none, orders(), &counts);
    assert_false(counts.exists);
    audience_count(NULL, orders(), &counts);
    assert_true(counts.exists);
    own(NAME_SERVICE, "", "{\"metadata\":{\"a\":\"b\"}}");
    audience_count(none, orders(), &counts);
    assert_true(counts.exists);
    assert_int_equal(counts.instances, 0);
    int64_t settings = counts.revision;
    source("/microservices/orders/k2", ENDPOINT);
    audience_count(none, orders(), &counts);
    assert_int_equal(counts.revision, settings); /* a hidden instance moves no visible revision */
    audience_unref(none);
}

static void expect_change(size_t told, size_t kept_back)
{
    assert_int_equal(w.told, told);
    assert_int_equal(w.kept_back, kept_back);
}

static void test_changes(void **state)
{
    (void)state;
    w.looking = READS(KRATOS, "");
    source(KRATOS, ENDPOINT);
    expect_change(1, 0);
    source("/microservices/orders/k2", ENDPOINT);
    expect_change(0, 1);
    own(NAME_OVERRIDE, "kratos:k2", "{\"weight\":0}");
    expect_change(0, 1);
    own(NAME_OVERRIDE, "kratos:k1", "{\"weight\":0}");
    expect_change(1, 0);
    own(NAME_INSTANCE, "o1", "{\"host\":\"h\"}");
    expect_change(1, 0);
    source(KRATOS, NULL);
    expect_change(1, 0); /* it saw it before */
    own(NAME_OVERRIDE, "kratos:k1", NULL);
    expect_change(0, 1); /* there is nothing that it could have seen */
    source("/microservices/orders/k2", NULL);
    expect_change(0, 1);
    own(NAME_INSTANCE, "o1", NULL);
    expect_change(1, 0);
    /* Of several changes in one batch the first holds the previous state. */
    source(KRATOS, ENDPOINT);
    begin();
    set_source(KRATOS, NULL);
    set_source(KRATOS, ENDPOINT);
    set_source(KRATOS, NULL);
    catalog_end(w.catalog);
    expect_change(1, 0);
    begin();
    set_source(KRATOS, ENDPOINT);
    set_source(KRATOS, NULL);
    catalog_end(w.catalog);
    expect_change(0, 1);
}

/* Two keys may be one instance ("a/b" and "a.b" are one service): the visible key counts. */
static void test_two_keys(void **state)
{
    (void)state;
    static const char first[] = "/microservices/a.b/k", second[] = "/microservices/a/b/k";
    struct slice name = slice_text("default");
    w.looking = READS(first, "");
    source(first, ENDPOINT);
    expect_change(1, 0);
    struct catalog_service *s = catalog_find(w.catalog, name, name, slice_text("a.b"));
    assert_true(audience_sees(w.looking, s->list[0]));
    source(second, ENDPOINT);
    expect_change(1, 0); /* it must learn that its instance is deleted */
    assert_false(audience_sees(w.looking, s->list[0]));
    source(second, "{\"endpoints\":[\"grpc://10.0.0.7:9000\"]}");
    expect_change(0, 1);
}

static void test_equal_rights(void **state)
{
    (void)state;
    struct audience *a = READS("/microservices/a/", "/microservices/a0", "/app/", "/app0"),
                    *b = READS("/microservices/a/", "/microservices/a0"),
                    *c = READS("/microservices/b/", "/z"),
                    *d = READS("/microservices/b/", "/microservices0", "/other", "");
    assert_true(audience_is_same(a, b)); /* other keys make no difference */
    assert_false(audience_is_same(a, c));
    assert_false(audience_is_same(a, NULL));
    assert_true(audience_is_same(NULL, NULL));
    assert_false(audience_is_same(c, d)); /* c reads /services/ (dubbo) as well */
    struct audience *list[] = {a, b, c, d};
    for (size_t i = 0; i < COUNT_OF(list); i++)
        audience_unref(list[i]);
}

static void test_services(void **state)
{
    (void)state;
    static const char *const some[] = {"/cairn/registry/instances/default/default/orders/",
                                       "/cairn/registry/instances/default/default/orders0", NULL},
                             *const half[] = {"/cairn/registry/instances/default/default/orders/o1", "",
                                              NULL},
                             *const other[] = {"/microservices/", "/microservices0", NULL};
    struct audience *a = reads(some, true), *b = reads(half, true), *c = reads(other, true);
    source(KRATOS, ENDPOINT);
    assert_true(audience_sees_registry(a) && audience_sees_registry(b) && !audience_sees_registry(c));
    assert_true(audience_sees_registry(NULL) && audience_sees_service(NULL, orders()));
    assert_false(audience_sees_service(a, orders())); /* it has nothing that a may read */
    own(NAME_INSTANCE, "o1", "{\"host\":\"h\"}");
    assert_true(audience_sees_service(a, orders()));
    assert_false(audience_sees_service(b, orders())); /* READ on all of it is needed */
    assert_false(audience_sees_service(c, orders()));
    audience_unref(a);
    audience_unref(b);
    audience_unref(c);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_source_key_decides), TEST(test_existence),    TEST(test_changes),
        TEST(test_two_keys),           TEST(test_equal_rights), TEST(test_services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
