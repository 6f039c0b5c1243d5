/* SPDX-License-Identifier: Apache-2.0
 * Streams of configurations: what is sent, in which order, to whom; gray releases; contents that are read
 * late or not at all; publish and applied; who is shown as a listener. */
#include "tests/unit/stream_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/unit/unit.h"

static struct stream_world world;

/* --- reads that are held back or fail ------------------------------------------------------------- */

static struct {
    bool is_held;
    int fail; /* so many reads end as "not ready" */
    size_t count;
} reads;

struct held {
    struct config *config;
    struct config_request *q;
    struct config_id key;
    uint64_t seq;
};
static struct held held[256];
static size_t held_count;

static void read_release(struct config *c, struct config_request *q, const struct config_id *key,
                         uint64_t seq, bool is_local)
{
    assert_true(is_local);
    reads.count++;
    if (reads.is_held) {
        assert_true(held_count < COUNT_OF(held));
        held[held_count++] = (struct held){c, q, *key, seq};
        return;
    }
    config_read(c, q, key, seq, true);
    if (reads.fail > 0) {
        reads.fail--;
        config_cancel(c, q);
        struct config_id bad = {slice_text(""), key->group, key->name}; /* ERR_INVALID, for now */
        config_read(c, q, &bad, seq, true);
    }
}

static void let_reads_go(size_t count)
{
    for (size_t i = 0; i < count && held_count; i++) {
        struct held h = held[0];
        memmove(held, held + 1, --held_count * sizeof *held);
        config_read(h.config, h.q, &h.key, h.seq, true);
    }
}

static struct stream_options options;

static int open_world(void **state)
{
    (void)state;
    options.mark_ms = 3600 * 1000;
    options.read = read_release;
    memset(&world, 0, sizeof world);
    memset(&reads, 0, sizeof reads);
    held_count = 0;
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

static char *format(const char *text, ...) __attribute__((format(printf, 1, 2)));
static char *format(const char *text, ...)
{
    static char texts[8][4096];
    static unsigned next;
    va_list args;
    char *to = texts[next++ % 8];
    va_start(args, text);
    vsnprintf(to, sizeof texts[0], text, args);
    va_end(args);
    return to;
}

static void say_hello(struct stream_client *c, const char *more)
{
    stream_client_open(c, &world, "");
    stream_client_say(c, format("{\"type\":\"hello\"%s}", more));
    assert_true(strncmp(stream_client_next(c), "{\"type\":\"welcome\"", 17) == 0);
}

static void subscribe(struct stream_client *c, const char *kind, const char *more)
{
    stream_client_say(c, format("{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"%s\"%s}", kind, more));
}

/* --- writing ---------------------------------------------------------------------------------------- */

struct asked {
    struct config_request request;
    bool is_done;
    int64_t revision;
    uint64_t seq;
};

static void on_done(struct config_request *q, int err, const struct config_result *result)
{
    struct asked *a = container_of(q, struct asked, request);
    if (err)
        fail_msg("a request failed: %s", result && result->error ? result->error : err_text(err));
    a->revision = result->revision;
    a->seq = result->seq;
    a->is_done = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

static struct config_id key_of(const char *name)
{
    const char *slash = strchr(name, '/');
    struct slice group = slash ? slice_of(name, (size_t)(slash - name)) : slice_text("default");
    return (struct config_id){slice_text("default"), group, slice_text(slash ? slash + 1 : name)};
}

static struct asked publish_bytes(const char *name, struct slice content)
{
    struct asked a = {.request.done = on_done};
    struct config_publish p = {.key = key_of(name), .content = content};
    config_publish(world.config, &a.request, &p);
    one_node_run(&world.node, is_true, &a.is_done);
    return a;
}

static int64_t publish(const char *name, const char *content)
{
    return publish_bytes(name, slice_text(content)).revision;
}

static int64_t delete (const char *name)
{
    struct asked a = {.request.done = on_done};
    struct config_id key = key_of(name);
    config_delete(world.config, &a.request, &key, (struct slice){0}, &(struct config_condition){0});
    one_node_run(&world.node, is_true, &a.is_done);
    return a.revision;
}

/* --- one configuration -------------------------------------------------------------------------------- */

static void test_config(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t r1 = publish("app.yaml", "a: 1\n");
    say_hello(&c, "");
    subscribe(&c, "config", ",\"name\":\"app.yaml\"");
    stream_client_expect(
        &c, format("{\"type\":\"snapshot\",\"sid\":1,\"revision\":%d,\"part\":1,\"last\":true,\"items\":[{"
                   "\"id\":\"app.yaml\",\"name\":\"app.yaml\",\"seq\":1,\"revision\":%d,\"md5\":"
                   "\"e0ccdaf42c593022e15b18cc0e96d201\",\"format\":\"yaml\",\"size\":5,\"content\":"
                   "\"a: 1\\n\"}]}",
                   (int)r1, (int)r1));
    int64_t r2 = publish("app.yaml", "a: 2\n");
    assert_non_null(strstr(stream_client_next(&c),
                           format("\"revision\":%d,\"previous\":%d,\"put\":[{\"id\":\"app.yaml\",\"name\":"
                                  "\"app.yaml\",\"seq\":2,\"revision\":%d,",
                                  (int)r2, (int)r1, (int)r2)));
    int64_t r3 = delete ("app.yaml");
    stream_client_expect(&c, format("{\"type\":\"delta\",\"sid\":1,\"revision\":%d,\"previous\":%d,\"put\":"
                                    "[],\"delete\":[\"app.yaml\"]}",
                                    (int)r3, (int)r2));
    publish("app.yaml", "a: 1\n");
    assert_non_null(strstr(stream_client_next(&c), "\"seq\":4,"));
    stream_client_close(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
