/* SPDX-License-Identifier: Apache-2.0
 * Tests of the streams' kind `audit`: filters, the chain of revisions, compacted history, retention, readers
 * that are slow, rights. The records are written as keys; audit_test.c tests who writes them. */
#include <inttypes.h>
#include <stdio.h>

#include "consensus/audit.h"
#include "tests/unit/stream_world.h"
#include "tests/unit/unit.h"

static struct stream_world world;
static unsigned written;

static int open_world(void **state)
{
    (void)state;
    struct stream_options options = {.mark_ms = 3600 * 1000};
    world = (struct stream_world){.has_users = true};
    stream_world_open(&world, &options, NULL);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    return 0;
}

/* A record of one change; changes: of several, separated by commas. */
static int64_t put_record(int64_t time_ms, const char *user, const char *changes)
{
    struct buf key = {0};
    audit_key_from(time_ms, &key);
    buf_addf(&key, "-%016d-%016u", 1, ++written);
    assert_int_equal(key.size, AUDIT_KEY_SIZE);
    int64_t revision = one_node_put(
        &world.node, buf_text(&key),
        stream_text("{\"time_ms\":%" PRId64 ",\"author\":\"%s\",\"changes\":[%s]}", time_ms, user, changes),
        0);
    buf_done(&key);
    return revision;
}

static int64_t put_change(int64_t time_ms, const char *user, const char *kind, const char *ns,
                          const char *name)
{
    return put_record(
        time_ms, user,
        stream_text("{\"kind\":\"%s\",\"operation\":\"put\",\"namespace\":\"%s\",\"name\":\"%s\"}", kind, ns,
                    name));
}

/* The names of the last message's changes, in order: "a,b". */
static char *names_of(const char *message)
{
    static char names[4096];
    json_t *frame = NULL, *one;
    char error[200];
    size_t i, size = 0;
    assert_int_equal(json_parse(slice_text(message), &frame, error, sizeof error), OK);
    json_t *list = json_object_get(frame, "put");
    if (!list)
        list = json_object_get(frame, "items");
    names[0] = 0;
    json_array_foreach(list, i, one)
    {
        size += (size_t)snprintf(names + size, sizeof names - size, "%s%s", i ? "," : "",
                                 json_string_value(json_object_get(one, "name")));
    }
    json_decref(frame);
    return names;
}

static int64_t number_of(const char *message, const char *field)
{
    const char *at = strstr(message, stream_text("\"%s\":", field));
    assert_non_null(at);
    return strtoll(at + strlen(field) + 3, NULL, 10);
}

/* --- items and filters -------------------------------------------------------------------------------- */

static void test_records(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t first = put_change(1000, "ann", "config", "dev", "a.yaml");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 3, "audit", "");
    stream_client_expect(
        &c,
        stream_text("{\"type\":\"snapshot\",\"sid\":3,\"revision\":%d,\"part\":1,\"last\":true,\"items\":[{"
                    "\"record\":\"%013" PRId64 "-0000000000000001-%016u\",\"revision\":%d,\"time_ms\":1000,"
                    "\"author\":\"ann\",\"kind\":\"config\",\"operation\":\"put\",\"namespace\":\"dev\","
                    "\"name\":\"a.yaml\"}]}",
                    (int)kv_revision(world.node.kv), INT64_C(9999999999999) - 1000, written, (int)first));
    int64_t before = kv_revision(world.node.kv);
    one_node_put(&world.node, "/cairn/audit.at", "1", 0); /* no record */
    one_node_put(&world.node, AUDIT_PREFIX "mine", "x", 0);
    int64_t now = put_record(2000, "bob",
                             "{\"kind\":\"override\",\"operation\":\"put\",\"name\":\"web\",\"id\":\"w1\"},"
                             "{\"kind\":\"config\",\"operation\":\"delete\",\"name\":\"b\"}");
    stream_client_expect(
        &c,
        stream_text(
            "{\"type\":\"delta\",\"sid\":3,\"revision\":%d,\"previous\":%d,\"put\":[{\"record\":\"%013" PRId64
            "-0000000000000001-%016u\",\"revision\":%d,\"time_ms\":2000,\"author\":\"bob\","
            "\"kind\":\"override\",\"operation\":\"put\",\"name\":\"web\",\"id\":\"w1\"},{\"record\":"
            "\"%013" PRId64 "-0000000000000001-%016u\",\"revision\":%d,\"time_ms\":2000,\"author\":"
            "\"bob\",\"kind\":\"config\",\"operation\":\"delete\",\"name\":\"b\"}],\"delete\":[]}",
            (int)now, (int)before, INT64_C(9999999999999) - 2000, written, (int)now,
            INT64_C(9999999999999) - 2000, written, (int)now));
    /* Retention deletes records; that is not reported, and the chain goes on. */
    one_node_delete(&world.node, AUDIT_PREFIX, "/cairn/audit0");
    int64_t next = put_change(3000, "ann", "config", "dev", "c");
    const char *got = stream_client_expect_frame(&c, "delta", "\"delete\":[]");
    assert_int_equal(number_of(got, "revision"), next);
    assert_int_equal(number_of(got, "previous"), now);
    stream_client_close(&c);
}

static void test_filters(void **state)
{
    (void)state;
    static const struct {
        const char *more, *names; /* names: of the snapshot; the same changes come live */
    } cases[] = {
        {"", "d,c,b,a"},
        {",\"user\":\"ann\"", "c,a"},
        {",\"change_kind\":\"config\"", "b,a"},
        {",\"namespace\":\"dev\"", "c,b"},
        {",\"name\":\"a\"", "a"},
        {",\"user\":\"ann\",\"change_kind\":\"config\"", "a"},
        {",\"from\":2000", "d,c,b"},
        {",\"from\":2000,\"user\":\"ann\"", "c"},
        {",\"user\":\"nobody\"", ""},
    };
    enum { CASES = sizeof cases / sizeof *cases };
    struct stream_client c[CASES];
    static const struct {
        int64_t time_ms;
        const char *user, *kind, *ns, *name;
    } records[] = {{1000, "ann", "config", "prod", "a"},
                   {2000, "bob", "config", "dev", "b"},
                   {3000, "ann", "service", "dev", "c"},
                   {4000, "bob", "override", "prod", "d"}};
    for (int live = 0; live < 2; live++) {
        for (int i = 0; live && i < CASES; i++) {
            stream_client_hello(&c[i], &world, "");
            stream_client_subscribe(&c[i], 1, "audit", cases[i].more);
            assert_string_equal(names_of(stream_client_next(&c[i])), cases[i].names);
        }
        for (int i = 0; i < 4; i++)
            put_change(records[i].time_ms, records[i].user, records[i].kind, records[i].ns, records[i].name);
    }
    for (int i = 0; i < CASES; i++) {
        char seen[100] = "";
        int64_t last = -1;
        for (size_t n = strlen(cases[i].names); n; n -= n > 1 ? 2 : 1) { /* the oldest comes first now */
            const char *got = stream_client_next(&c[i]);
            assert_true(last < 0 || number_of(got, "previous") == last);
            last = number_of(got, "revision");
            snprintf(seen, sizeof seen, "%s", names_of(got));
            assert_int_equal(strlen(seen), 1);
            assert_int_equal(seen[0], cases[i].names[n - 1]);
        }
        stream_client_expect_nothing(&c[i]);
        stream_client_close(&c[i]);
    }
}

static void test_refused_fields(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *more, *says;
    } cases[] = {
        {"audit", ",\"group\":\"g\"", "subscribe: audit takes no group"},
        {"audit", ",\"prefix\":\"p\"", "subscribe: audit takes no group"},
        {"audit", ",\"known\":[]", "subscribe: audit takes no group"},
        {"audit", ",\"filter\":{}", "subscribe: audit takes no group"},
        {"audit", ",\"groups\":[\"g\"]", "subscribe: audit takes no group"},
        {"audit", ",\"from\":-1", "subscribe: from must be an integer"},
        {"audit", ",\"user\":1", "subscribe: user must be a string"},
        {"audit", ",\"from_revision\":9999", "future"},
        {"kv", ",\"prefix\":\"/\",\"user\":\"u\"", "belong to audit"},
        {"config", ",\"name\":\"a\",\"change_kind\":\"config\"", "belong to audit"},
        {"services", ",\"from\":1", "belong to audit"},
    };
    struct stream_client c;
    stream_client_hello(&c, &world, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stream_client_subscribe(&c, 1, cases[i].kind, cases[i].more);
        stream_client_expect_frame(&c, "error", cases[i].says);
    }
    stream_client_subscribe(&c, 1, "audit", ""); /* none of them was opened */
    stream_client_expect_frame(&c, "snapshot", "\"sid\":1");
    stream_client_close(&c);
}

/* --- resuming ----------------------------------------------------------------------------------------- */

static void test_resume(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t first = put_change(1000, "ann", "config", "dev", "a");
    int64_t second = put_change(2000, "bob", "config", "dev", "b");
    int64_t third = put_change(3000, "ann", "config", "dev", "c");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "audit",
                            stream_text(",\"user\":\"ann\",\"from_revision\":%d", (int)first + 1));
    const char *got = stream_client_expect_frame(&c, "delta", "\"name\":\"c\"");
    assert_int_equal(number_of(got, "revision"), third);
    assert_int_equal(number_of(got, "previous"), first);
    (void)second;
    one_node_compact(&world.node, kv_revision(world.node.kv));
    stream_client_subscribe(&c, 2, "audit", stream_text(",\"from_revision\":%d", (int)first + 1));
    stream_client_expect(&c, "{\"type\":\"resync\",\"sid\":2,\"reason\":\"compacted\"}");
    assert_string_equal(names_of(stream_client_expect_frame(&c, "snapshot", "\"last\":true")), "c,b,a");
    stream_client_close(&c);
    stream_client_hello(&c, &world, ",\"resume\":{\"cluster_id\":\"7\",\"revision\":1}");
    stream_client_subscribe(&c, 1, "audit", ",\"from_revision\":2");
    stream_client_expect_frame(&c, "resync", "cluster_changed");
    assert_string_equal(names_of(stream_client_expect_frame(&c, "snapshot", "\"last\":true")), "c,b,a");
    stream_client_close(&c);
}

/* 1,500 records, of which one fits: by a snapshot, and by history. */
static void test_needle(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t before = kv_revision(world.node.kv);
    for (int i = 0; i < 1500; i++)
        put_change(1000 + i, i == 700 ? "ann" : "bob", "config", "dev", stream_text("n%d", i));
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "audit", ",\"user\":\"ann\"");
    const char *got;
    char names[100] = "";
    do {
        got = stream_client_expect_frame(&c, "snapshot", "");
        strcat(names, names_of(got));
    } while (!strstr(got, "\"last\":true"));
    assert_string_equal(names, "n700");
    stream_client_subscribe(&c, 2, "audit",
                            stream_text(",\"user\":\"ann\",\"from_revision\":%d", (int)before + 1));
    assert_string_equal(names_of(stream_client_expect_frame(&c, "delta", "\"sid\":2")), "n700");
    stream_client_expect_nothing(&c);
    stream_client_close(&c);
}

/* A reader that acknowledges late gets everything all the same, each record once, from the store. */
static void test_slow_reader(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t before = kv_revision(world.node.kv), last = before;
    for (int i = 0; i < 1200; i++)
        put_change(1000 + i, "ann", "config", "dev", stream_text("n%d", i));
    stream_client_hello(&c, &world, ",\"window\":16384");
    stream_client_subscribe(&c, 1, "audit", stream_text(",\"from_revision\":%d", (int)before + 1));
    size_t bytes = 0, halts = 0;
    for (int next = 0; next < 1200;) {
        if (!stream_client_receives(&c, bytes < 15000 ? 10000 : 20)) {
            assert_in_range(bytes, 15000, 17000); /* no frame beyond the window */
            halts++;
            bytes = 0;
            stream_client_say(&c, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)last));
            continue;
        }
        const char *got = buf_text(&c.message);
        if (strstr(got, "\"type\":\"error\""))
            continue; /* that the window is full */
        bytes += c.message.size;
        assert_string_equal(names_of(got), stream_text("n%d", next++));
        assert_int_equal(number_of(got, "previous"), last);
        last = number_of(got, "revision");
    }
    assert_true(halts > 5);
    stream_client_close(&c);
}

/* A subscription that ends while its response is being sent. */
static void test_unsubscribe_between(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t before = kv_revision(world.node.kv);
    for (int i = 0; i < 300; i++)
        put_change(1000 + i, "ann", "config", "dev", stream_text("n%d", i));
    stream_client_hello(&c, &world, ",\"window\":16384");
    stream_client_subscribe(&c, 1, "audit", stream_text(",\"from_revision\":%d", (int)before + 1));
    stream_client_expect_frame(&c, "delta", "\"n0\"");
    stream_client_say(&c, "{\"type\":\"unsubscribe\",\"sid\":1}");
    stream_client_subscribe(&c, 1, "audit", ",\"name\":\"n7\"");
    stream_client_say(&c, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)kv_revision(world.node.kv)));
    const char *got;
    do
        got = stream_client_next(&c);
    while (!strstr(got, "\"snapshot\""));
    while (!strstr(got, "\"last\":true"))
        got = stream_client_expect_frame(&c, "snapshot", "");
    put_change(9000, "ann", "config", "dev", "n8");
    put_change(9001, "ann", "config", "dev", "n7");
    assert_string_equal(names_of(stream_client_expect_frame(&c, "delta", "")), "n7");
    stream_client_close(&c);
}

/* --- events ------------------------------------------------------------------------------------------- */

static void test_events(void **state)
{
    (void)state;
    struct stream_client c;
    put_change(1000, "ann", "config", "dev", "a");
    put_change(2000, "bob", "config", "dev", "b");
    stream_client_ask(&c, &world,
                      "GET " STREAM_PATH "?kind=audit&user=bob&change_kind=config&namespace=dev&from=1500 "
                      "HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(stream_client_has_text(&c, "event: snapshot\nid: "));
    assert_true(stream_client_has_text(&c, "\"name\":\"b\""));
    assert_null(strstr(buf_text(&c.in), "\"name\":\"a\""));
    put_change(3000, "ann", "config", "dev", "c");
    int64_t now = put_change(3000, "bob", "config", "dev", "d");
    assert_true(stream_client_has_text(
        &c, stream_text("event: delta\nid: %" PRIu64 ":%d\n", kv_cluster_id(world.node.kv), (int)now)));
    assert_true(stream_client_has_text(&c, "\"name\":\"d\""));
    assert_null(strstr(buf_text(&c.in), "\"name\":\"c\""));
    stream_client_close(&c);
    stream_client_ask(
        &c, &world,
        stream_text("GET " STREAM_PATH "?kind=audit&from_revision=%d HTTP/1.1\r\nHost: x\r\n\r\n", (int)now));
    assert_true(stream_client_has_text(&c, "event: delta\n"));
    assert_true(stream_client_has_text(&c, stream_text("\"previous\":%d,", (int)now - 1)));
    assert_null(strstr(buf_text(&c.in), "snapshot"));
    stream_client_close(&c);
    stream_client_ask(&c, &world, "GET " STREAM_PATH "?kind=audit&from=soon HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(stream_client_has_text(&c, "not a value of this parameter: from"));
    stream_client_close(&c);
}

/* --- rights ------------------------------------------------------------------------------------------- */

static void open_as(struct stream_client *c, const char *user)
{
    stream_client_hello(c, &world, stream_text(",\"token\":\"%s\"", stream_world_token(&world, user)));
}

static void test_rights(void **state)
{
    (void)state;
    struct stream_client c, all;
    stream_world_add_user(&world, "reader"); /* of a configuration of that name */
    stream_world_grant(&world, "reader", "/cairn/config/", false);
    stream_world_add_user(&world, "part");
    stream_world_grant(&world, "part", "/cairn/audit/9", false);
    stream_world_add_user(&world, "writer");
    stream_world_grant(&world, "writer", "/cairn/registry/", true);
    stream_world_add_user(&world, "auditor");
    stream_world_grant(&world, "auditor", "/cairn/audit/", false);
    stream_world_enable(&world);
    put_change(1000, "ann", "config", "dev", "a");
    static const char *const refused[] = {"reader", "part", "writer"};
    for (size_t i = 0; i < 3; i++) {
        open_as(&c, refused[i]);
        stream_client_subscribe(&c, 1, "audit", ",\"name\":\"a\"");
        stream_client_expect_frame(&c, "error", "\"sid\":1,\"code\":\"forbidden\"");
        put_change(1001, "ann", "config", "dev", "a");
        stream_client_expect_nothing(&c);
        stream_client_close(&c);
    }
    open_as(&all, "auditor");
    stream_client_subscribe(&all, 1, "audit", ",\"from\":2000");
    stream_client_subscribe(&all, 2, "audit", ",\"name\":\"a\",\"from\":2000");
    stream_client_expect_frame(&all, "snapshot", "\"sid\":1");
    stream_client_expect_frame(&all, "snapshot", "\"sid\":2");
    put_change(3000, "ann", "config", "dev", "b");
    stream_client_expect_frame(&all, "delta", "\"name\":\"b\"");
    stream_world_revoke(&world, "auditor", "/cairn/audit/");
    stream_client_expect_frame(&all, "error", "\"sid\":1,\"code\":\"forbidden\"");
    stream_client_expect_frame(&all, "error", "\"sid\":2,\"code\":\"forbidden\"");
    put_change(4000, "ann", "config", "dev", "a");
    stream_client_expect_nothing(&all);
    stream_client_close(&all);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_records), TEST(test_filters),     TEST(test_refused_fields),      TEST(test_resume),
        TEST(test_needle),  TEST(test_slow_reader), TEST(test_unsubscribe_between), TEST(test_events),
        TEST(test_rights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
