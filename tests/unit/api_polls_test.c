/* SPDX-License-Identifier: Apache-2.0
 * Tests of the long poll for many configurations on a real store: what differs is answered at once, a change ends
 * the wait of exactly those that name it, a change of many names is one answer; gray releases; limits; clients that
 * leave at any time; thousands of waits end in slices. */
#include "tests/unit/http_client.h"

#include "server/api/api.h"
#include "server/api/poll.h"
#include "server/api/private.h"
#include "tests/unit/config_node.h"

static struct config_node node;
static struct registry *registry;
static struct api *api;
static uv_prepare_t turn_handle;
static uint64_t clock_step_ns; /* 0: real time, and a turn does all the work; otherwise each reading of the
                                * clock advances it by this, and a turn is one of the API */
static size_t turn_count;

static uint64_t api_clock(void)
{
    static uint64_t now_ns;
    return clock_step_ns ? (now_ns += clock_step_ns) : clock_mono_ns();
}

static void on_node_turn(void *arg)
{
    (void)arg;
    if (registry)
        registry_turn(registry);
    if (api)
        while (api_turn(api) && !clock_step_ns)
            ;
    turn_count++;
}

static bool is_registry_ready(void *arg)
{
    (void)arg;
    return registry_is_ready(registry);
}

/* The store's loop turns within the server's. */
static void on_turn(uv_prepare_t *handle)
{
    (void)handle;
    uv_run(&node.node.loop, UV_RUN_NOWAIT);
}

static int start_api(void **state)
{
    (void)state;
    static struct http_mount mounts[API_MOUNTS];
    node = (struct config_node){.turn = on_node_turn};
    config_node_open(&node, NULL);
    registry = registry_new(&(struct registry_options){.kv = node.node.kv, .member = "n1"});
    one_node_run(&node.node, is_registry_ready, NULL);
    api = api_new(&(struct api_options){.registry = registry,
                                        .config = node.config,
                                        .mono_ms = clock_mono_ms,
                                        .mono_ns = api_clock,
                                        .import_bytes_max = 2500 << 10});
    api_mounts(api, mounts);
    open_server(mounts, API_MOUNTS);
    uv_prepare_init(&loop, &turn_handle);
    uv_prepare_start(&turn_handle, on_turn);
    return 0;
}

static int stop_api(void **state)
{
    uv_prepare_stop(&turn_handle);
    uv_close((uv_handle_t *)&turn_handle, NULL);
    stop_server(state);
    api_free(api);
    registry_free(registry);
    api = NULL;
    registry = NULL;
    config_node_close(&node);
    return 0;
}

static void request(struct client *c, const char *method, const char *target, const char *body)
{
    struct buf text = {0};
    buf_clear(&c->in);
    const char *type = strcmp(method, "PUT") == 0 ? "text/plain" : "application/json";
    buf_addf(&text, "%s /api/v1/%s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
             method, target, type, strlen(body), body);
    send_bytes(c, text.data, text.size);
    buf_done(&text);
}

static void poll_for(struct client *c, const char *query, const char *configs)
{
    struct buf body = {0};
    char target[300];
    buf_addf(&body, "{\"configs\":[%s]}", configs);
    snprintf(target, sizeof target, "polls%s", query);
    request(c, "POST", target, buf_text(&body));
    buf_done(&body);
}

static void put(const char *target, const char *body)
{
    struct client c = connect_client();
    char path[200];
    snprintf(path, sizeof path, "configs/%s", target);
    request(&c, "PUT", path, body);
    expect(&c, "HTTP/1.1 200 OK\r\n");
    done(&c);
}

static void delete_config(const char *name)
{
    assert_int_equal(config_node_delete(&node, name).err, 0);
}

static void await_waiting(struct client *c, size_t count)
{
    uint64_t end = clock_mono_ms() + 60000;
    while (api_polled_waiting(api) != count && clock_mono_ms() < end)
        pump(c);
    assert_int_equal(api_polled_waiting(api), count);
}

#define WAIT "?timeout=10m"

static void test_differs(void **state)
{
    (void)state;
    struct client c = connect_client();
    char text[300];
    const struct digest one = digest_of(slice_text("a: 1"));
    put("a.yaml", "a: 1");
    put("b.yaml", "b: 1");
    poll_for(&c, WAIT, "{\"name\":\"a.yaml\"},{\"name\":\"b.yaml\",\"seq\":1},{\"name\":\"c.yaml\"}");
    snprintf(text, sizeof text,
             "\"configs\":[{\"name\":\"a.yaml\",\"group\":\"default\",\"namespace\":\"default\",\"seq\":1,"
             "\"md5\":\"%s\"}]}",
             one.md5);
    expect(&c, text);
    expect(&c, "X-Cairn-Revision: ");
    /* The configuration that the client has is gone. */
    poll_for(&c, WAIT, "{\"name\":\"c.yaml\",\"md5\":\"900150983cd24fb0d6963f7d28e17f72\"}");
    expect(&c, "\"absent\":true}]}");
    /* Without a wait: nothing differs. */
    snprintf(text, sizeof text, "{\"name\":\"a.yaml\",\"md5\":\"%s\"},{\"name\":\"c.yaml\",\"absent\":true}",
             one.md5);
    poll_for(&c, "?timeout=0", text);
    expect(&c, "\"configs\":[]}");
    /* The deadline. */
    poll_for(&c, "?timeout=1", text);
    expect(&c, "\"configs\":[]}");
    done(&c);
}

static void test_waits(void **state)
{
    (void)state;
    struct client a = connect_client(), b = connect_client();
    put("a.yaml", "1");
    put("b.yaml", "1");
    poll_for(&a, WAIT,
             "{\"name\":\"a.yaml\",\"seq\":1},{\"name\":\"late.yaml\"},{\"namespace\":\"dev\",\"group\":"
             "\"g\",\"name\":\"x\"}");
    poll_for(&b, WAIT, "{\"name\":\"b.yaml\",\"seq\":1}");
    await_waiting(&a, 2);
    put("other.yaml", "1");
    put("late.yaml?group=other", "1");
    put("b.yaml", "2");
    expect(&b, "\"seq\":2");
    await_waiting(&a, 1);
    assert_int_equal(a.in.size, 0);
    put("late.yaml", "1"); /* it comes into being */
    expect(&a, "\"configs\":[{\"name\":\"late.yaml\"");
    assert_null(strstr(buf_text(&a.in), "a.yaml\",\"g"));
    poll_for(&a, WAIT,
             "{\"name\":\"late.yaml\",\"seq\":1},{\"namespace\":\"dev\",\"group\":\"g\",\"name\":\"x\"}");
    await_waiting(&a, 1);
    put("x?namespace=dev&group=g", "1");
    expect(&a, "\"namespace\":\"dev\",\"seq\":1");
    poll_for(&a, WAIT, "{\"name\":\"late.yaml\",\"seq\":1}");
    await_waiting(&a, 1);
    delete_config("late.yaml"); /* and goes */
    expect(&a, "\"absent\":true}]}");
    done(&a);
    done(&b);
}

/* A bundle of many names is one answer with all of them. */
static void test_bundle(void **state)
{
    (void)state;
    struct client c = connect_client(), writer = connect_client();
    poll_for(&c, WAIT, "{\"name\":\"b1\"},{\"name\":\"b2\"},{\"name\":\"b3\"},{\"name\":\"b4\"}");
    await_waiting(&c, 1);
    request(&writer, "POST", "bundles",
            "{\"publish\":[{\"name\":\"b1\",\"content\":\"1\"},{\"name\":\"b2\",\"content\":\"1\"},"
            "{\"name\":\"b3\",\"content\":\"1\"}]}");
    expect(&writer, "\"changed\":3");
    expect(&c, "]}");
    const char *text = buf_text(&c.in);
    assert_true(strstr(text, "\"b1\"") && strstr(text, "\"b2\"") && strstr(text, "\"b3\"") &&
                !strstr(text, "\"b4\""));
    done(&c);
    done(&writer);
}

static void test_gray(void **state)
{
    (void)state;
    struct client b = connect_client(), plain = connect_client();
    put("a.yaml", "1");
    poll_for(&b, WAIT "&labels=zone=b", "{\"name\":\"a.yaml\",\"seq\":1}");
    poll_for(&plain, WAIT, "{\"name\":\"a.yaml\",\"seq\":1}");
    await_waiting(&b, 2);
    put("a.yaml/gray/b", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"2\"}");
    expect(&b, "\"seq\":2}]}"); /* without the md5, which the head does not have */
    await_waiting(&plain, 1);
    assert_int_equal(plain.in.size, 0);
    put("a.yaml", "3");
    expect(&plain, "\"seq\":3,\"md5\":");
    poll_for(&b, WAIT "&labels=zone=b", "{\"name\":\"a.yaml\",\"md5\":\"900150983cd24fb0d6963f7d28e17f72\"}");
    expect(&b, "seq is missing: with labels or client_id");
    done(&b);
    done(&plain);
}

static void test_refused(void **state)
{
    (void)state;
    struct client c = connect_client();
    static const char *const list[][2] = {
        {"", "configs is not a list of 1 to 1000"},
        {"{\"name\":\"\"}", "name is empty"},
        {"{\"name\":\"a/b\"}", "name holds a '/'"},
        {"{\"seq\":1}", "name is empty"},
        {"{\"name\":\"a\",\"md5\":\"x\"}", "md5 is not an md5"},
        {"{\"name\":\"a\",\"seq\":1,\"absent\":true}", "absent is true beside"},
        {"{\"name\":\"a\",\"colour\":1}", "colour"},
        {"7", "bad_request"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        poll_for(&c, WAIT, list[i][0]);
        expect(&c, "HTTP/1.1 400 ");
        expect(&c, list[i][1]);
    }
    struct buf many = {0};
    for (int i = 0; i <= API_POLL_NAMES_MAX; i++)
        buf_addf(&many, "%s{\"name\":\"n%d\"}", i ? "," : "", i);
    poll_for(&c, WAIT, buf_text(&many));
    expect(&c, "configs is not a list of 1 to 1000");
    request(&c, "GET", "polls", "");
    expect(&c, "HTTP/1.1 405 ");
    buf_done(&many);
    done(&c);
}

/* Clients leave while they wait, and at every turn before. */
static void test_client_leaves(void **state)
{
    (void)state;
    struct client c = connect_client();
    put("a.yaml", "1");
    for (int turns = 0; turns < 12; turns++) {
        struct client other = connect_client();
        poll_for(&other, turns % 2 ? WAIT : WAIT "&consistency=local",
                 "{\"name\":\"a.yaml\",\"seq\":1},{\"name\":\"b\"}");
        for (int k = 0; k < turns; k++)
            uv_run(&loop, UV_RUN_NOWAIT);
        done(&other);
    }
    await_waiting(&c, 0);
    put("a.yaml", "2");
    poll_for(&c, WAIT, "{\"name\":\"a.yaml\",\"seq\":1}");
    expect(&c, "\"seq\":2");
    done(&c);
}

/* Many polls of the same thousand names: the wait of each ends, and no turn does more than a few readings of the
 * clock: 100 us pass between two of them, and a turn has 1 ms. */
static void test_many(void **state)
{
    (void)state;
    enum { POLLS = 60, NAMES = 1000 };
    static struct client list[POLLS];
    struct buf many = {0};
    put("n7", "1");
    for (int i = 0; i < NAMES; i++)
        buf_addf(&many, "%s{\"name\":\"n%d\"%s}", i ? "," : "", i, i == 7 ? ",\"seq\":1" : "");
    for (int i = 0; i < POLLS; i++) {
        list[i] = connect_client();
        poll_for(&list[i], WAIT, buf_text(&many));
    }
    await_waiting(&list[0], POLLS);
    clock_step_ns = 100 * 1000;
    size_t before = turn_count;
    put("n7", "2");
    for (int i = 0; i < POLLS; i++)
        expect(&list[i], "\"configs\":[{\"name\":\"n7\"");
    /* At most some ten answers a turn. */
    assert_true(turn_count - before >= POLLS / 12);
    clock_step_ns = 0;
    assert_int_equal(api_polled_waiting(api), 0);
    for (int i = 0; i < POLLS; i++)
        done(&list[i]);
    buf_done(&many);
}

/* Each answer has exactly those names whose seq is another than the client sent. */
static void test_random(void **state)
{
    (void)state;
    enum { NAMES = 12, POLLS = 6 };
    struct client list[POLLS];
    unsigned seq[NAMES] = {0}, known[POLLS][NAMES];
    srand(3);
    for (int i = 0; i < POLLS; i++) {
        list[i] = connect_client();
        memset(known[i], 0, sizeof known[i]);
    }
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < POLLS; i++) {
            struct buf text = {0};
            for (int n = i; n < NAMES; n += 1 + i % 3) {
                buf_addf(&text, "%s{\"name\":\"r%d\"", text.size ? "," : "", n);
                if (known[i][n])
                    buf_addf(&text, ",\"seq\":%u", known[i][n]);
                buf_add_byte(&text, '}');
            }
            poll_for(&list[i], "?timeout=0", buf_text(&text));
            expect(&list[i], "]}\n");
            const char *answer = buf_text(&list[i].in);
            for (int n = 0; n < NAMES; n++) {
                char item[100];
                bool names_it = n >= i && (n - i) % (1 + i % 3) == 0;
                snprintf(item, sizeof item,
                         "{\"name\":\"r%d\",\"group\":\"default\",\"namespace\":\"default\",\"seq\":%u,", n,
                         seq[n]);
                assert_true((strstr(answer, item) != NULL) == (names_it && known[i][n] != seq[n]));
                if (names_it)
                    known[i][n] = seq[n];
            }
            buf_done(&text);
        }
        for (int k = rand() % 4; k > 0; k--) {
            int n = rand() % NAMES;
            char name[20], body[20];
            snprintf(name, sizeof name, "r%d", n);
            snprintf(body, sizeof body, "%u", ++seq[n]);
            put(name, body);
        }
    }
    for (int i = 0; i < POLLS; i++)
        done(&list[i]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, start_api, stop_api)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_differs), TEST(test_waits),         TEST(test_bundle), TEST(test_gray),
        TEST(test_refused), TEST(test_client_leaves), TEST(test_many),   TEST(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
