/* SPDX-License-Identifier: Apache-2.0
 * Tests of streams of configurations: what is sent, in which order, to which client; gray releases; contents
 * that are read late or not at all; publish and applied; the list of listeners. */
#include "tests/unit/stream_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/text.h"
#include "tests/unit/unit.h"

#define expect_frame   stream_client_expect_frame
#define expect_nothing stream_client_expect_nothing

static struct stream_world world;

static struct stream_options options;

static int open_world(void **state)
{
    (void)state;
    if (!options.mark_ms)
        options.mark_ms = 3600 * 1000;
    options.read = stream_reads_read;
    memset(&world, 0, sizeof world);
    stream_reads = (struct stream_reads){0};
    stream_world_open(&world, &options, NULL);
    options = (struct stream_options){0};
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    return 0;
}

static int64_t publish(const char *name, const char *content)
{
    return stream_world_publish(&world, name, slice_text(content));
}

static int64_t publish_bytes(const char *name, struct slice content)
{
    return stream_world_publish(&world, name, content);
}

static int64_t delete (const char *name)
{
    return stream_world_unpublish(&world, name);
}

/* --- one configuration -------------------------------------------------------------------------------- */

static void test_config(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t r1 = publish("app.yaml", "a: 1\n");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app.yaml\"");
    stream_client_expect(
        &c,
        stream_text("{\"type\":\"snapshot\",\"sid\":1,\"revision\":%d,\"part\":1,\"last\":true,\"items\":[{"
                    "\"id\":\"app.yaml\",\"name\":\"app.yaml\",\"seq\":1,\"revision\":%d,\"md5\":"
                    "\"e0ccdaf42c593022e15b18cc0e96d201\",\"format\":\"yaml\",\"size\":5,\"content\":"
                    "\"a: 1\\n\"}]}",
                    (int)r1, (int)r1));
    int64_t r2 = publish("app.yaml", "a: 2\n");
    assert_non_null(
        strstr(stream_client_next(&c),
               stream_text("\"revision\":%d,\"previous\":%d,\"put\":[{\"id\":\"app.yaml\",\"name\":"
                           "\"app.yaml\",\"seq\":2,\"revision\":%d,",
                           (int)r2, (int)r1, (int)r2)));
    int64_t r3 = delete ("app.yaml");
    stream_client_expect(&c,
                         stream_text("{\"type\":\"delta\",\"sid\":1,\"revision\":%d,\"previous\":%d,\"put\":"
                                     "[],\"delete\":[\"app.yaml\"],\"absent\":true}",
                                     (int)r3, (int)r2));
    publish("app.yaml", "a: 1\n");
    assert_non_null(strstr(stream_client_next(&c), "\"seq\":4,"));
    stream_client_close(&c);
}

/* A text of this size, of one letter. */
static struct buf text_of(char letter, size_t size)
{
    struct buf text = {0};
    memset(buf_reserve(&text, size), letter, size);
    text.size = size;
    return text;
}

static void test_large(void **state)
{
    (void)state;
    struct stream_client c;
    struct buf fits = text_of('x', 65536), large = text_of('y', 65537);
    publish_bytes("a", buf_slice(&fits));
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"a\"");
    expect_frame(&c, "snapshot", "\"size\":65536,\"content\":\"xxxx");
    publish_bytes("a", buf_slice(&large));
    const char *got = expect_frame(&c, "delta", "\"seq\":2,");
    assert_non_null(strstr(got, "\"format\":\"text\",\"size\":65537}"));
    assert_null(strstr(got, "\"content\""));
    publish("a", "small");
    expect_frame(&c, "delta", "\"content\":\"small\"");
    assert_int_equal(stream_reads.count, 2); /* by reference: nothing is read */
    publish_bytes("a", slice_of("\xff\x00", 2));
    expect_frame(&c, "delta", "\"content\":\"/wA=\",\"base64\":true}");
    stream_client_close(&c);
    buf_done(&fits);
    buf_done(&large);
}

/* --- many of them -------------------------------------------------------------------------------------- */

static void test_configs(void **state)
{
    (void)state;
    struct stream_client one, all;
    struct stream_model m = {.sid = 1}, a = {.sid = 1};
    publish("app.a", "1");
    publish("other", "1");
    publish("blue/app.b", "1");
    stream_client_hello(&one, &world, "");
    stream_client_hello(&all, &world, "");
    stream_client_subscribe(&one, 1, "configs", ",\"prefix\":\"app.\"");
    stream_client_subscribe(&all, 1, "configs", ",\"prefix\":\"app.\",\"group\":\"\"");
    stream_model_take(&m, stream_client_next(&one));
    assert_int_equal(json_object_size(m.items), 1);
    stream_model_take(
        &a, expect_frame(&all, "snapshot", "{\"id\":\"blue/app.b\",\"name\":\"app.b\",\"group\":\"blue\","));
    assert_int_equal(json_object_size(a.items), 2);
    publish("blue/app.c", "2");
    publish("green/other", "2");
    stream_model_take(&a, expect_frame(&all, "delta", "{\"id\":\"blue/app.c\""));
    publish("app.d", "3");
    stream_model_take(&m, expect_frame(&one, "delta", "{\"id\":\"app.d\""));
    stream_model_take(&a, expect_frame(&all, "delta", "{\"id\":\"default/app.d\""));
    delete ("app.a");
    stream_model_take(&m, expect_frame(&one, "delta", "\"delete\":[\"app.a\"]"));
    stream_model_take(&a, expect_frame(&all, "delta", "\"delete\":[\"default/app.a\"]"));
    expect_nothing(&one);
    assert_int_equal(json_object_size(m.items), 1);
    assert_int_equal(json_object_size(a.items), 3);
    stream_model_done(&m);
    stream_model_done(&a);
    stream_client_close(&one);
    stream_client_close(&all);
}

/* Many contents: a snapshot in parts, with each content in it. */
static void test_many(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    for (int i = 0; i < 300; i++)
        publish(stream_text("c%03d", i), stream_text("%01000d", i));
    size_t before = stream_reads.count;
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "configs", "");
    while (!m.snapshots)
        stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 300);
    assert_int_equal(stream_reads.count - before, 300);
    const char *key;
    json_t *item;
    json_object_foreach(m.items, key, item)
        assert_int_equal(atoi(json_string_value(json_object_get(item, "content"))), atoi(key + 1));
    stream_model_done(&m);
    stream_client_close(&c);
}

/* A content that does not stay in memory is read once more, and then sent by reference: the read ends,
 * whatever the budget. */
static void test_no_room(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    for (int i = 0; i < 20; i++)
        publish(stream_text("c%02d", i), "content");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "configs", "");
    stream_model_take(&m, expect_frame(&c, "snapshot", "\"content\":\"content\""));
    assert_int_equal(m.snapshots, 1);
    assert_int_equal(json_object_size(m.items), 20);
    publish("c07", "changed");
    stream_model_take(&m, expect_frame(&c, "delta", "\"content\":\"changed\""));
    stream_model_done(&m);
    stream_client_close(&c);
}

static int open_small(void **state)
{
    options.release_bytes_max = 1;
    return open_world(state);
}

/* --- gray releases ------------------------------------------------------------------------------------- */

static int64_t put_gray(const char *name, const char *rule, const char *text, const char *content)
{
    return stream_world_put_gray(&world, name, rule, text, content);
}

static void delete_gray(const char *name, const char *rule)
{
    stream_world_put_gray(&world, name, rule, NULL, NULL);
}

/* Clients on both sides of a rule; a client that is not concerned gets nothing. */
static void test_gray(void **state)
{
    (void)state;
    struct stream_client a, b;
    publish("app", "live");
    stream_client_hello(&a, &world, ",\"labels\":{\"zone\":\"a\"}");
    stream_client_hello(&b, &world, ",\"labels\":{\"zone\":\"b\"}");
    stream_client_subscribe(&a, 1, "config", ",\"name\":\"app\"");
    stream_client_subscribe(&b, 1, "config", ",\"name\":\"app\"");
    expect_frame(&a, "snapshot", "\"seq\":1,");
    expect_frame(&b, "snapshot", "\"seq\":1,");
    put_gray("app", "r", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"x\"}", "gray");
    expect_frame(&b, "delta", "\"seq\":2,");
    expect_nothing(&a);
    put_gray("app", "r", "{\"match\":{\"zone\":[\"a\",\"b\"]},\"seq\":2}", NULL); /* the rule grows */
    expect_frame(&a, "delta", "\"content\":\"gray\"");
    expect_nothing(&b);
    publish("app", "newer"); /* live: neither gets it */
    expect_nothing(&a);
    expect_nothing(&b);
    put_gray("app", "r", "{\"match\":{\"zone\":[\"b\"]},\"seq\":2}", NULL); /* and shrinks */
    expect_frame(&a, "delta", "\"content\":\"newer\"");
    expect_nothing(&b);
    delete_gray("app", "r");
    expect_frame(&b, "delta", "\"content\":\"newer\"");
    expect_nothing(&a);
    /* A tombstone for some. */
    int64_t gone = delete ("app");
    expect_frame(&a, "delta", "\"delete\":[\"app\"]");
    expect_frame(&b, "delta", stream_text("\"revision\":%d,", (int)gone));
    publish("app", "back");
    expect_frame(&a, "delta", "\"seq\":5,");
    expect_frame(&b, "delta", "\"seq\":5,");
    put_gray("app", "none", "{\"match\":{\"zone\":[\"b\"]},\"seq\":4}", NULL);
    expect_frame(&b, "delta", "\"put\":[],\"delete\":[\"app\"]");
    expect_nothing(&a);
    stream_client_close(&a);
    stream_client_close(&b);
}

/* A client without an address is in no network; a share of the clients, by their ids. */
static void test_gray_share(void **state)
{
    (void)state;
    struct stream_client in, out;
    char id_in[16], id_out[16];
    int n = 0;
    struct slice item = slice_text("default/default/app");
    do
        snprintf(id_in, sizeof id_in, "c%d", n++);
    while (gray_bucket(slice_text(id_in), item) >= 30);
    do
        snprintf(id_out, sizeof id_out, "c%d", n++);
    while (gray_bucket(slice_text(id_out), item) < 30);
    publish("app", "live");
    put_gray("app", "net", "{\"priority\":2,\"match\":{\"ip\":[\"0.0.0.0/0\",\"::/0\"]},\"content\":\"x\"}",
             "net");
    put_gray("app", "some", "{\"priority\":1,\"percent\":30,\"content\":\"x\"}", "some");
    stream_client_hello(&in, &world, stream_text(",\"client_id\":\"%s\"", id_in));
    stream_client_hello(&out, &world, stream_text(",\"client_id\":\"%s\"", id_out));
    stream_client_subscribe(&in, 1, "config", ",\"name\":\"app\"");
    stream_client_subscribe(&out, 1, "config", ",\"name\":\"app\"");
    expect_frame(&in, "snapshot", "\"content\":\"some\"");
    expect_frame(&out, "snapshot", "\"content\":\"live\"");
    put_gray("app", "some", "{\"priority\":1,\"percent\":100,\"seq\":3}", NULL);
    expect_frame(&out, "delta", "\"content\":\"some\"");
    expect_nothing(&in);
    stream_client_close(&in);
    stream_client_close(&out);
}

/* Several items with rules: each client gets its own of each. */
static void test_gray_configs(void **state)
{
    (void)state;
    static const char *const labels[] = {"", ",\"labels\":{\"x\":\"1\"}", ",\"labels\":{\"y\":\"1\"}",
                                         ",\"labels\":{\"x\":\"1\",\"y\":\"1\"}"};
    struct stream_client c[4];
    struct stream_model m[4];
    publish("a", "live");
    publish("b", "live");
    publish("c", "live");
    put_gray("a", "r", "{\"match\":{\"x\":[\"1\"]},\"content\":\"x\"}", "gray");
    for (size_t i = 0; i < 4; i++) {
        m[i] = (struct stream_model){.sid = 1};
        stream_client_hello(&c[i], &world, labels[i]);
        stream_client_subscribe(&c[i], 1, "configs", "");
        stream_model_take(&m[i], expect_frame(&c[i], "snapshot", ""));
    }
    put_gray("b", "r", "{\"match\":{\"y\":[\"1\"]},\"content\":\"x\"}", "gray");
    for (size_t i = 0; i < 4; i++) {
        stream_model_take(&m[i], expect_frame(&c[i], "delta", "\"id\":\"b\""));
        for (size_t k = 0; k < 3; k++) {
            const char *name = k == 0 ? "a" : k == 1 ? "b" : "c";
            const char *wanted = i & (k + 1) & 3 && k < 2 ? "gray" : "live";
            json_t *item = json_object_get(m[i].items, name);
            assert_string_equal(json_string_value(json_object_get(item, "content")), wanted);
        }
    }
    delete_gray("a", "r");
    for (size_t i = 0; i < 4; i++) {
        stream_model_take(&m[i], expect_frame(&c[i], "delta", "\"id\":\"a\""));
        json_t *item = json_object_get(m[i].items, "a");
        assert_string_equal(json_string_value(json_object_get(item, "content")), "live");
        item = json_object_get(m[i].items, "b");
        assert_string_equal(json_string_value(json_object_get(item, "content")), i & 2 ? "gray" : "live");
        stream_model_done(&m[i]);
        stream_client_close(&c[i]);
    }
}

/* --- resuming --------------------------------------------------------------------------------------- */

static void test_resume(void **state)
{
    (void)state;
    struct stream_client c;
    publish("app", "1");
    int64_t base = publish("other", "1");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config",
                            stream_text(",\"name\":\"app\",\"from_revision\":%d", (int)base + 1));
    expect_nothing(&c);
    int64_t r2 = publish("app", "2");
    expect_frame(&c, "delta", stream_text("\"revision\":%d,\"previous\":%d,", (int)r2, (int)base));
    stream_client_close(&c);
    int64_t r3 = publish("app", "3");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config",
                            stream_text(",\"name\":\"app\",\"from_revision\":%d", (int)r2 + 1));
    expect_frame(&c, "delta", stream_text("\"revision\":%d,\"previous\":%d,", (int)r3, (int)r2));
    stream_client_close(&c);
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\",\"from_revision\":2");
    stream_client_expect(&c, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"overflow\"}");
    expect_frame(&c, "snapshot", "\"seq\":3,");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\",\"from_revision\":100000");
    expect_frame(&c, "error", "\"exists\"");
    stream_client_close(&c);
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\",\"from_revision\":100000");
    expect_frame(&c, "error", "\"future_rev\"");
    stream_client_close(&c);
    /* Under gray rules a revision does not identify the client's content: it may reconnect with other labels.
     */
    int64_t r4 = put_gray("app", "r", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"x\"}", "gray");
    stream_client_hello(&c, &world, ",\"labels\":{\"zone\":\"b\"}");
    stream_client_subscribe(&c, 1, "config",
                            stream_text(",\"name\":\"app\",\"from_revision\":%d", (int)r4 + 1));
    stream_client_expect(&c, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"gray\"}");
    expect_frame(&c, "snapshot", "\"content\":\"gray\"");
    stream_client_close(&c);
}

static void test_known(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t r1 = publish("a", "1"), r2 = publish("b", "1"), r3 = publish("c", "1");
    put_gray("c", "r", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"x\"}", "gray");
    int64_t now = publish("d", "1");
    stream_client_hello(&c, &world, ",\"labels\":{\"zone\":\"b\"}");
    /* Resuming by revision; by seq, whatever else happened; not by revision where it is not enough. */
    stream_client_subscribe(
        &c, 1, "configs",
        stream_text(",\"known\":[{\"id\":\"a\",\"revision\":%d},{\"id\":\"b\",\"revision\":%d,\"seq\":1},"
                    "{\"id\":\"c\",\"revision\":%d,\"seq\":1},{\"id\":\"d\",\"revision\":%d,\"seq\":1},"
                    "{\"id\":\"gone\",\"revision\":1}]",
                    (int)r1, (int)r2 + 2, (int)r3, (int)now - 1));
    struct stream_model m = {.sid = 1, .items = json_object()};
    json_object_set_new(m.items, "a", json_null());
    json_object_set_new(m.items, "b", json_null());
    json_object_set_new(m.items, "gone", json_null());
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(m.deltas, 1);
    assert_int_equal(m.revision, now);
    assert_true(json_is_null(json_object_get(m.items, "a")) && json_is_null(json_object_get(m.items, "b")));
    assert_null(json_object_get(m.items, "gone"));
    json_t *gray = json_object_get(m.items, "c"), *again = json_object_get(m.items, "d");
    assert_string_equal(json_string_value(json_object_get(gray, "content")), "gray");
    assert_string_equal(json_string_value(json_object_get(again, "content")), "1"); /* new seq 1 */
    publish("a", "2");
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 4);
    stream_model_done(&m);
    stream_client_close(&c);
}

/* --- late contents -------------------------------------------------------------------------------------- */

/* Marks alone, none of them beyond this revision; for longer than it takes until they would be. */
static void expect_marks(struct stream_client *c, int64_t revision)
{
    uint64_t end = clock_mono_ms() + 1500;
    int64_t mark;
    while (clock_mono_ms() < end) {
        if (!stream_client_receives(c, 50))
            continue;
        if (sscanf(buf_text(&c->message), "{\"type\":\"mark\",\"revision\":%" SCNd64 "}", &mark) != 1)
            fail_msg("unexpected: %s", buf_text(&c->message));
        assert_true(mark <= revision);
    }
}

/* Two changes while a content is being read: the state between is skipped, the last one arrives. Meanwhile no
 * mark claims that the client has them. */
static void test_late(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t r1 = publish("app", "1");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\"");
    expect_frame(&c, "snapshot", "\"seq\":1,");
    stream_reads.is_held = true;
    publish("app", "2");
    int64_t r3 = publish("app", "3");
    expect_marks(&c, r1);
    assert_int_equal(stream_reads.held_count, 2);
    stream_reads_finish(1);
    expect_nothing(&c);
    stream_reads_finish(1);
    expect_frame(&c, "delta", stream_text("\"revision\":%d,\"previous\":%d,", (int)r3, (int)r1));
    assert_non_null(strstr(buf_text(&c.message), "\"seq\":3,"));
    expect_nothing(&c);
    stream_client_close(&c);
}

static int open_marking(void **state)
{
    options.mark_ms = 150;
    return open_world(state);
}

/* Contents that a reader needs were evicted: they are read again, once, and no mark is ahead of it. */
static void test_late_reader(void **state)
{
    (void)state;
    struct stream_client quick, late;
    int64_t r1 = publish("a", "1");
    stream_client_hello(&quick, &world, "");
    stream_client_subscribe(&quick, 1, "configs", "");
    expect_frame(&quick, "snapshot", "");
    publish("b", "2");
    expect_frame(&quick, "delta", "\"id\":\"b\"");
    publish("c", "3");
    expect_frame(&quick, "delta", "\"id\":\"c\"");
    stream_reads.is_held = true;
    stream_client_hello(&late, &world, "");
    stream_client_subscribe(&late, 1, "configs", stream_text(",\"from_revision\":%d", (int)r1 + 1));
    expect_marks(&late, r1);
    assert_int_equal(stream_reads.held_count, 1);
    stream_reads_finish(1);
    stream_world_run_ms(&world, 20);
    stream_reads_finish(1);
    const char *got =
        expect_frame(&late, "delta", stream_text("\"previous\":%d,\"put\":[{\"id\":\"b\"", (int)r1));
    assert_non_null(strstr(got, "\"content\":\"3\""));
    stream_client_close(&quick);
    stream_client_close(&late);
}

static int open_small_marking(void **state)
{
    options.release_bytes_max = 1;
    return open_marking(state);
}

/* The client subscribes while a content is being read, then the item is deleted: no client needs the content
 * any more. */
static void test_late_delete(void **state)
{
    (void)state;
    struct stream_client c, late;
    publish("app", "1");
    stream_client_hello(&c, &world, "");
    stream_client_hello(&late, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\"");
    expect_frame(&c, "snapshot", "\"seq\":1,");
    stream_reads.is_held = true;
    publish("app", "2");
    stream_client_subscribe(&late, 1, "config", ",\"name\":\"app\"");
    expect_nothing(&late);
    expect_nothing(&c);
    delete ("app");
    expect_frame(&c, "delta", "\"put\":[],\"delete\":[\"app\"]");
    expect_frame(&late, "snapshot", "\"items\":[],\"absent\":true}");
    stream_reads_finish(9);
    expect_nothing(&late);
    expect_nothing(&c);
    stream_client_close(&c);
    stream_client_close(&late);
}

static void test_failing(void **state)
{
    (void)state;
    struct stream_client c;
    publish("app", "1");
    stream_client_hello(&c, &world, "");
    stream_reads.fail = 2;
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\"");
    expect_frame(&c, "snapshot", "\"content\":\"1\"");
    assert_int_equal(stream_reads.count, 3);
    stream_client_close(&c);
}

/* A release was deleted by an etcd client, or the head names an absent one: as if the item did not exist. */
static void test_missing(void **state)
{
    (void)state;
    static const char head[] =
        "{\"seq\":9,\"type\":\"text\",\"size\":1,\"md5\":\"c4ca4238a0b923820dcc509a6f75849b\","
        "\"sha256\":\"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\"}";
    static const char release[] =
        "{\"operation\":\"publish\",\"type\":\"text\",\"size\":1,\"md5\":"
        "\"c4ca4238a0b923820dcc509a6f75849b\","
        "\"sha256\":\"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\",\"content\":\"1\"}";
    struct stream_client c;
    publish("app", "1");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\"");
    expect_frame(&c, "snapshot", "\"seq\":1,");
    one_node_put(&world.node, "/cairn/config/heads/default/default/app", head, 0);
    expect_frame(&c, "delta", "\"put\":[],\"delete\":[\"app\"]");
    /* It was only late: it is sent with the next change of the head. */
    one_node_put(&world.node, "/cairn/config/releases/default/default/app/0000000000000009", release, 0);
    one_node_put(&world.node, "/cairn/config/heads/default/default/app", head, 0);
    expect_frame(&c, "delta", "\"seq\":9,");
    publish("app", "2");
    expect_frame(&c, "delta", "\"seq\":10,");
    /* Deleted completely, and created again: the same seq, and another content. */
    stream_reads.is_held = true;
    one_node_delete(&world.node, "/cairn/config/", "/cairn/config0");
    publish("app", "3");
    publish("app", "4");
    stream_world_run_ms(&world, 20);
    stream_reads.is_held = false;
    stream_reads_finish(99);
    while (!strstr(stream_client_next(&c), "\"content\":\"4\""))
        assert_non_null(strstr(buf_text(&c.message), "\"delete\":[\"app\"]"));
    stream_client_close(&c);
}

static void test_begun_again(void **state)
{
    (void)state;
    struct stream_client c;
    publish("app", "1");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\"");
    expect_frame(&c, "snapshot", "\"content\":\"1\"");
    world.is_held = true; /* both are seen at once */
    one_node_delete(&world.node, "/cairn/config/", "/cairn/config0");
    world.is_held = false;
    publish("app", "2");
    while (!strstr(expect_frame(&c, "delta", ""), "\"seq\":1,"))
        assert_non_null(strstr(buf_text(&c.message), "\"delete\":[\"app\"]"));
    assert_non_null(strstr(buf_text(&c.message), "\"content\":\"2\""));
    stream_client_close(&c);
}

/* --- slow readers, and many ------------------------------------------------------------------------- */

static void test_slow_reader(void **state)
{
    (void)state;
    struct stream_client slow, quick;
    struct stream_model m = {.sid = 1}, q = {.sid = 1};
    publish("app", "first");
    stream_client_hello(&slow, &world, ",\"window\":16384");
    stream_client_hello(&quick, &world, "");
    stream_client_subscribe(&slow, 1, "config", ",\"name\":\"app\"");
    stream_client_subscribe(&quick, 1, "config", ",\"name\":\"app\"");
    stream_model_take(&q, stream_client_next(&quick));
    int64_t last = 0;
    for (int i = 0; i < 100; i++) {
        last = publish("app", stream_text("%03000d", i));
        stream_model_take(&q, stream_client_next(&quick));
        stream_client_say(&quick, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)last));
    }
    assert_int_equal(q.deltas, 100);
    while (m.revision < last) {
        const char *got = stream_client_next(&slow);
        if (!strstr(got, "the window is full"))
            stream_model_take(&m, got);
        stream_client_say(&slow, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)m.revision));
    }
    assert_true(m.deltas < 50);
    assert_true(json_equal(m.items, q.items));
    stream_model_done(&m);
    stream_model_done(&q);
    stream_client_close(&slow);
    stream_client_close(&quick);
}

static void test_read_once(void **state)
{
    (void)state;
    enum { CLIENTS = 60 };
    static struct stream_client c[CLIENTS];
    publish("app", "1");
    for (size_t i = 0; i < CLIENTS; i++) {
        stream_client_hello(&c[i], &world, i % 2 ? ",\"labels\":{\"zone\":\"b\"}" : "");
        stream_client_subscribe(&c[i], 1, "config", ",\"name\":\"app\"");
        expect_frame(&c[i], "snapshot", "\"seq\":1,");
    }
    assert_int_equal(stream_reads.count, 1);
    publish("app", "2");
    put_gray("app", "r", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"x\"}", "gray");
    for (size_t i = 0; i < CLIENTS; i++) {
        while (!strstr(stream_client_next(&c[i]), i % 2 ? "gray" : "\"seq\":2,"))
            ;
        stream_client_close(&c[i]);
    }
    assert_int_equal(stream_reads.count, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_config),
        TEST(test_large),
        TEST(test_configs),
        TEST(test_many),
        cmocka_unit_test_setup_teardown(test_no_room, open_small, close_world),
        TEST(test_gray),
        TEST(test_gray_share),
        TEST(test_gray_configs),
        TEST(test_resume),
        TEST(test_known),
        cmocka_unit_test_setup_teardown(test_late, open_marking, close_world),
        cmocka_unit_test_setup_teardown(test_late_reader, open_small_marking, close_world),
        TEST(test_late_delete),
        TEST(test_failing),
        TEST(test_missing),
        TEST(test_begun_again),
        TEST(test_slow_reader),
        TEST(test_read_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
