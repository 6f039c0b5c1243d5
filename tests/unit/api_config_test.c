/* SPDX-License-Identifier: Apache-2.0
 * Tests of the config center's routes over HTTP on a real store: waits, tags and gray releases, and clients
 * that disconnect in between. tests/e2e/config.sh tests every route and error class. */
#include "tests/unit/http_client.h"

#include "base/tar.h"
#include "config/archive.h"
#include "server/api/api.h"
#include "server/api/private.h"
#include "server/api/table.h"
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
                                        .kv = node.node.kv,
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

static void request(struct client *c, const char *method, const char *target, const char *headers,
                    const char *body)
{
    struct buf text = {0};
    buf_clear(&c->in);
    const char *folder = strcmp(target, "bundles") == 0 ? "" : "configs/";
    buf_addf(&text, "%s /api/v1/%s%s HTTP/1.1\r\nHost: x\r\n%s", method, folder, target, headers);
    if (body)
        buf_addf(&text, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    else
        buf_add_text(&text, "\r\n");
    send_bytes(c, text.data, text.size);
    buf_done(&text);
}

static void put(const char *target, const char *body)
{
    struct client c = connect_client();
    request(&c, "PUT", target, "", body);
    expect(&c, "HTTP/1.1 200 OK\r\n");
    done(&c);
}

static size_t waiting;

static void on_seen(struct config_listeners *l, const struct config_listener *seen)
{
    (void)l, (void)seen;
    waiting++;
}

static void on_listeners(struct config_request *q, int err, const struct config_result *result)
{
    (void)result;
    assert_int_equal(err, 0);
    q->done = NULL;
}

static void await_waiting(struct client *c, const char *name, size_t count)
{
    const struct config_id key = config_id_of(name);
    uint64_t end = clock_mono_ms() + 60000;
    do {
        struct config_listeners l = {.request.done = on_listeners, .on_listener = on_seen};
        waiting = 0;
        config_listeners(node.config, &l, &key);
        while (l.request.done)
            pump(c);
    } while (waiting != count && clock_mono_ms() < end);
    assert_int_equal(waiting, count);
}

static void test_waits(void **state)
{
    (void)state;
    struct client live = connect_client(), gray = connect_client();
    char headers[100];
    const struct digest one = digest_of(slice_text("a: 1")), two = digest_of(slice_text("a: 2"));
    put("a.yaml", "a: 1");
    put("a.yaml/gray/b", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"a: 2\"}");
    /* Each waits for another version than it has. */
    snprintf(headers, sizeof headers, "If-None-Match: \"%s\"\r\n", one.md5);
    request(&live, "GET", "a.yaml?wait_revision=1&timeout=10m", headers, NULL);
    snprintf(headers, sizeof headers, "If-None-Match: \"%s\"\r\n", two.md5);
    request(&gray, "GET", "a.yaml?wait_revision=1&timeout=10m&labels=zone=b", headers, NULL);
    await_waiting(&live, "a.yaml", 2);
    /* A rule that changes nothing for a client ends no wait. */
    put("a.yaml/gray/c", "{\"match\":{\"zone\":[\"c\"]},\"seq\":1}");
    await_waiting(&live, "a.yaml", 2);
    put("a.yaml/gray/b", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"a: 3\"}");
    expect(&gray, "\r\n\r\na: 3");
    await_waiting(&live, "a.yaml", 1);
    assert_int_equal(live.in.size, 0);
    put("a.yaml", "a: 4");
    expect(&live, "\r\n\r\na: 4");
    expect(&live, "X-Cairn-Seq: 4\r\n");
    done(&live);
    done(&gray);
}

/* Unrelated changes end no wait, neither for an existing item nor for an absent one. */
static void test_unrelated(void **state)
{
    (void)state;
    struct client there = connect_client(), absent = connect_client();
    char target[100];
    put("a.txt", "x");
    long long revision = kv_revision(node.node.kv);
    snprintf(target, sizeof target, "a.txt?wait_revision=%lld&timeout=10m", revision);
    request(&there, "GET", target, "", NULL);
    snprintf(target, sizeof target, "b.txt?wait_revision=%lld&timeout=10m", revision);
    request(&absent, "GET", target, "", NULL);
    await_waiting(&there, "a.txt", 1);
    await_waiting(&absent, "b.txt", 1);
    for (int i = 0; i < 20; i++) {
        snprintf(target, sizeof target, i % 2 ? "a.txt%d" : "b.tx?group=g%d", i);
        put(target, "other");
    }
    put("b.txt?group=other", "other");
    await_waiting(&there, "a.txt", 1);
    await_waiting(&absent, "b.txt", 1);
    assert_true(there.in.size == 0 && absent.in.size == 0);
    put("b.txt", "now");
    expect(&absent, "\r\n\r\nnow");
    put("a.txt", "y");
    expect(&there, "\r\n\r\ny");
    done(&there);
    done(&absent);
}

/* Requests of one turn: one client may get gray releases, the other does not ask for them. */
static void test_same_turn(void **state)
{
    (void)state;
    struct client b = connect_client(), plain = connect_client();
    put("a.txt", "live");
    put("a.txt/gray/b", "{\"match\":{\"ip\":[\"0.0.0.0/0\",\"::/0\"]},\"content\":\"gray\"}");
    for (int i = 0; i < 20; i++) {
        request(&plain, "GET", "a.txt", "", NULL);
        request(&b, "GET", "a.txt?labels=", "", NULL);
        expect(&b, "\r\n\r\ngray");
        expect(&plain, "\r\n\r\nlive");
    }
    done(&b);
    done(&plain);
}

/* Clients disconnect while they wait, and while the answer is read and written: nothing is left. */
static void test_client_leaves(void **state)
{
    (void)state;
    static const char *const gets[] = {
        "a.txt",       "a.txt?seq=1",     "a.txt?labels=", "a.txt/history",      "a.txt/diff",
        "a.txt/draft", "a.txt/listeners", "k.json?key=a",  "k.json?key=a&seq=1", "k.json?key=a&labels="};
    struct client c = connect_client();
    put("a.txt", "x");
    put("k.json", "{\"a\":[1]}");
    request(&c, "GET", "a.txt?wait_revision=1000000&timeout=10m", "", NULL);
    done(&c);
    for (size_t i = 0; i < sizeof gets / sizeof *gets; i++)
        for (int turns = 0; turns < 4; turns++) {
            c = connect_client();
            request(&c, "GET", gets[i], "If-None-Match: \"x\"\r\n", NULL);
            for (int k = 0; k < turns; k++)
                uv_run(&loop, UV_RUN_NOWAIT);
            done(&c);
        }
    c = connect_client();
    request(&c, "PUT", "a.txt", "", "y");
    done(&c);
    c = connect_client();
    request(&c, "GET", "a.txt", "", NULL);
    expect(&c, "HTTP/1.1 200 OK\r\n");
    await_waiting(&c, "a.txt", 0);
    done(&c);
}

/* One value: of the live release, of a named one, of a gray one, and in a long poll. */
static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *target, *answer;
    } rows[] = {
        {"k.json?key=a.b[1]", "\r\n\r\n\"x\""},
        {"k.json?key=a&seq=1", "\r\n\r\n7"},
        {"k.json?key=a&labels=zone=b", "\r\n\r\n{\"b\":null}"},
        {"k.json?key=a.b[1]", "X-Cairn-Seq: 2\r\n"},
        {"k.json?key=a.c", "HTTP/1.1 404 Not Found\r\n"},
        {"k.json?key=a[", "HTTP/1.1 400 Bad Request\r\n"},
        {"k.json?key=a&meta", "key and meta exclude each other"},
        {"k.txt?key=a", "the format text has no values"},
        {"k.yaml?key=a", "this content has 2 documents"},
        {"none?key=a", "there is no such configuration"},
    };
    struct client c = connect_client();
    char headers[100];
    const struct digest now = digest_of(slice_text("{\"a\":{\"b\":[1,\"x\"]}}"));
    put("k.json", "{\"a\":7}");
    put("k.json", "{\"a\":{\"b\":[1,\"x\"]}}");
    put("k.json/gray/b", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"{\\\"a\\\":{\\\"b\\\":null}}\"}");
    put("k.txt", "a");
    put("k.yaml", "a: 1\n---\na: 2\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        request(&c, "GET", rows[i].target, "", NULL);
        expect(&c, rows[i].answer);
    }
    snprintf(headers, sizeof headers, "If-None-Match: \"%s\"\r\n", now.md5);
    request(&c, "GET", "k.json?key=a", headers, NULL);
    expect(&c, "HTTP/1.1 304 ");
    request(&c, "GET", "k.json?key=a.b[0]&wait_revision=1&timeout=10m", headers, NULL);
    await_waiting(&c, "k.json", 1);
    put("k.json", "{\"a\":{\"b\":[5]}}");
    expect(&c, "\r\n\r\n5");
    done(&c);
}

/* References are replaced only if that is asked for; the tag is that of the rendered text. */
static void test_render(void **state)
{
    (void)state;
    struct client c = connect_client();
    char headers[100];
    const struct digest now = digest_of(slice_text("port: 80\n"));
    put("b.yaml", "port: 80\nto: ${a.yaml#to}\n");
    put("b.yaml/gray/b", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"port: 81\"}");
    put("a.yaml", "port: ${b.yaml#port}\n");
    request(&c, "GET", "a.yaml", "", NULL);
    expect(&c, "\r\n\r\nport: ${b.yaml#port}\n");
    request(&c, "GET", "a.yaml?render=true", "", NULL);
    expect(&c, "\r\n\r\nport: 80\n");
    assert_true(has(&c, now.md5) && has(&c, "X-Cairn-Rendered: 1\r\n"));
    snprintf(headers, sizeof headers, "If-None-Match: \"%s\"\r\n", now.md5);
    request(&c, "GET", "a.yaml?render=true", headers, NULL);
    expect(&c, "HTTP/1.1 304 ");
    request(&c, "GET", "a.yaml?render=true&seq=1", "", NULL);
    expect(&c, "\r\n\r\nport: 80\n");
    request(&c, "GET", "a.yaml?render=true&labels=zone=b", "", NULL);
    expect(&c, "\r\n\r\nport: 81\n");
    request(&c, "GET", "a.yaml?render=true&meta=true", "", NULL);
    expect(&c, "render cannot be combined");
    put("a.yaml", "x: 1\nto: ${b.yaml#to}\n");
    request(&c, "GET", "a.yaml?render=true", "", NULL);
    expect(&c, "line 2, column 5: the references go round: b.yaml#to -> a.yaml#to -> b.yaml#to");
    put("a.yaml", "${none.yaml#x}");
    request(&c, "GET", "a.yaml?render=true", "", NULL);
    expect(&c, "there is no configuration default/default/none.yaml");
    put("a.yaml", "${/#x}");
    request(&c, "GET", "a.yaml?render=true", "", NULL);
    expect(&c, "HTTP/1.1 400 Bad Request\r\n");
    for (int turns = 0; turns < 12; turns++) { /* clients that leave in between */
        struct client gone = connect_client();
        put("a.yaml", turns % 2 ? "${b.yaml#port} " : "${b.yaml#port}");
        request(&gone, "GET", "a.yaml?render=true", "", NULL);
        for (int k = 0; k < turns; k++)
            uv_run(&loop, UV_RUN_NOWAIT);
        done(&gone);
    }
    done(&c);
}

/* --- the list ------------------------------------------------------------------------------------------- */

enum { LISTED = 60, LIST_STEP_NS = 600000 };

static void put_listed(void)
{
    char name[20];
    for (int i = 0; i < LISTED; i++) {
        snprintf(name, sizeof name, "c%03d", i);
        put(name, "x");
    }
}

static void get_list(struct client *c, const char *query)
{
    struct buf text = {0};
    buf_clear(&c->in);
    buf_addf(&text, "GET /api/v1/configs%s HTTP/1.1\r\nHost: x\r\n\r\n", query);
    send_bytes(c, text.data, text.size);
    buf_done(&text);
}

static size_t count_of(const struct client *c, const char *what)
{
    size_t count = 0;
    for (const char *at = buf_text((struct buf *)(uintptr_t)&c->in); (at = strstr(at, what)); at++)
        count++;
    return count;
}

static void await_turns(struct client *c, size_t count)
{
    for (size_t end = turn_count + count; turn_count < end;)
        pump(c);
}

static long long number_after(const struct client *c, const char *text)
{
    const char *at = strstr(buf_text((struct buf *)(uintptr_t)&c->in), text);
    assert_non_null(at);
    return strtoll(at + strlen(text), NULL, 10);
}

static void remove_head(const char *name)
{
    config_node_put_raw(&node, CONFIG_HEAD, name, 0, NULL);
}

/* A page takes several turns, and is of one revision. */
static void test_list_in_slices(void **state)
{
    (void)state;
    struct client c = connect_client();
    put_listed();
    clock_step_ns = LIST_STEP_NS;
    size_t before = turn_count;
    get_list(&c, "?limit=50");
    expect(&c, "}\n");
    assert_in_range(turn_count - before, 50 / 8, 1000);
    assert_int_equal(count_of(&c, "{\"name\":"), 50);
    assert_true(has(&c, "\"continue\":"));
    /* An item that was already visited is deleted: a list of a later revision does not show it. */
    get_list(&c, "?limit=50");
    await_turns(&c, 4);
    assert_int_equal(c.in.size, 0);
    remove_head("c001");
    expect(&c, "}\n");
    assert_false(has(&c, "\"c001\""));
    assert_true(has(&c, "\"c050\""));
    assert_int_equal(count_of(&c, "{\"name\":"), 50);
    clock_step_ns = 0;
    done(&c);
}

/* The namespace changes in each turn. The page still arrives, and shows nothing older than its revision. */
static void test_list_never_calm(void **state)
{
    (void)state;
    struct client c = connect_client();
    char name[20], shown[40];
    long long removed_at[LISTED] = {0};
    put_listed();
    clock_step_ns = LIST_STEP_NS;
    get_list(&c, "?limit=50");
    for (int i = 0; i < LISTED && !c.in.size; i++) {
        int k = i * 7 % LISTED;
        await_turns(&c, 1);
        snprintf(name, sizeof name, "c%03d", k);
        remove_head(name);
        removed_at[k] = kv_revision(node.node.kv);
    }
    clock_step_ns = 0;
    expect(&c, "}\n");
    long long revision = number_after(&c, "X-Cairn-Revision: ");
    int removed = 0;
    for (int k = 0; k < LISTED; k++) {
        snprintf(shown, sizeof shown, "\"name\":\"c%03d\"", k);
        if (removed_at[k] && removed_at[k] <= revision)
            assert_false(has(&c, shown));
        if (!removed_at[k] && k < LISTED / 2)
            assert_true(has(&c, shown));
        removed += removed_at[k] && removed_at[k] <= revision;
    }
    assert_in_range(removed, 3, LISTED); /* it was begun anew, and then not any more */
    done(&c);
}

/* --- archives ------------------------------------------------------------------------------------------- */

static void get_export(struct client *c, const char *query)
{
    struct buf text = {0};
    buf_clear(&c->in);
    buf_addf(&text, "GET /api/v1/export%s HTTP/1.1\r\nHost: x\r\n\r\n", query);
    send_bytes(c, text.data, text.size);
    buf_done(&text);
}

/* Text that gzip cannot make smaller. */
static void put_noise(const char *name)
{
    enum { SIZE = 60000 };
    char *text = mem_new(SIZE + 1);
    static uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < SIZE; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        text[i] = (char)(' ' + x % 95);
    }
    put(name, text);
    mem_free(text);
}

/* A client that does not read delays its answer, not the server's memory. Items that retention removed
 * meanwhile cannot be sent: the answer ends incomplete, and the client can see that. */
static void test_export_breaks(void **state)
{
    (void)state;
    enum { ITEMS = 150 };
    char name[20];
    for (int i = 0; i < ITEMS; i++) {
        snprintf(name, sizeof name, "n%03d", i);
        put_noise(name);
    }
    struct client c = connect_client();
    get_export(&c, "");
    for (int i = 0; i < 3000; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    snprintf(name, sizeof name, "n%03d", ITEMS - 1);
    config_node_put_raw(&node, CONFIG_RELEASE, name, 1, NULL);
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (!c.is_closed && clock_mono_ms() < end)
        pump(&c);
    assert_true(c.is_closed);
    assert_true(has(&c, "HTTP/1.1 200 OK\r\n"));
    assert_true(c.in.size > 1000000);
    assert_memory_not_equal(c.in.data + c.in.size - 7, "\r\n0\r\n\r\n", 7);
    done(&c);
    /* Before the first byte it is an error like any other. */
    c = connect_client();
    get_export(&c, "");
    expect(&c, "HTTP/1.1 404");
    expect(&c, "there is no release 1 of n149 (any more)");
    get_export(&c, "?prefix=n14&group=nope");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    expect(&c, "\r\n0\r\n\r\n");
    done(&c);
}

/* A release that does not match its digests is not sent. */
static void test_export_digests(void **state)
{
    (void)state;
    struct client c = connect_client();
    put("a.txt", "x");
    struct config_release r = {
        .content = slice_text("y"), .digest = digest_of(slice_text("x")), .format = FORMAT_TEXT};
    struct buf text = {0};
    config_release_write(&r, &text);
    config_node_put_raw(&node, CONFIG_RELEASE, "a.txt", 1, buf_text(&text));
    buf_done(&text);
    get_export(&c, "");
    expect(&c, "HTTP/1.1 500");
    expect(&c, "the content of a.txt does not match its digests");
    done(&c);
}

static void begin_import(struct client *c, const char *query, size_t length)
{
    struct buf text = {0};
    buf_clear(&c->in);
    buf_addf(&text, "POST /api/v1/import%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", query,
             length);
    send_bytes(c, text.data, text.size);
    buf_done(&text);
}

static void add_files(struct buf *out, int count)
{
    char path[20];
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "g/f%d", i);
        tar_add_file(out, slice_text(path), 1, 0);
        buf_add_byte(out, 'x');
        tar_add_padding(out, 1);
    }
    tar_add_end(out);
}

/* Clients disconnect at every point: nothing is left, and the count of running requests returns to its start.
 */
static void test_transfers_left(void **state)
{
    (void)state;
    struct buf archive = {0};
    struct client c;
    put("a.txt", "x");
    for (int turns = 0; turns < 40; turns++) {
        c = connect_client();
        get_export(&c, "");
        for (int k = 0; k < turns; k++)
            uv_run(&loop, UV_RUN_NOWAIT);
        done(&c);
    }
    add_files(&archive, 300);
    for (int turns = 0; turns < 40; turns++) {
        c = connect_client();
        begin_import(&c, "?policy=skip", archive.size);
        send_bytes(&c, archive.data, turns % 2 ? archive.size : archive.size - 1000);
        for (int k = 0; k < turns; k++)
            uv_run(&loop, UV_RUN_NOWAIT);
        done(&c);
    }
    c = connect_client();
    begin_import(&c, "?policy=skip", archive.size);
    send_bytes(&c, archive.data, archive.size);
    expect(&c, "HTTP/1.1 200 OK\r\n");
    expect(&c, "\"refused\":0");
    done(&c);
    for (int i = 0; i < 5; i++) {
        c = connect_client();
        get_export(&c, "");
        expect(&c, "\r\n0\r\n\r\n");
        done(&c);
    }
    buf_done(&archive);
}

/* Larger than any other body may be; all clients together have room for one such body. */
static void test_import_room(void **state)
{
    (void)state;
    struct buf archive = {0};
    struct client a = connect_client(), b = connect_client();
    add_files(&archive, 1000); /* 1 MB; the server's limit of bodies is 576 KiB */
    begin_import(&a, "", archive.size);
    send_bytes(&a, archive.data, archive.size - 1024);
    uint64_t end = clock_mono_ms() + WAIT_MS;
    size_t held = archive.size - 1024 + 1000 * ARCHIVE_FILE_ROOM; /* except for the end mark */
    while (api->import_bytes < held && clock_mono_ms() < end)
        pump(&a);
    assert_int_equal(api->import_bytes, held);
    begin_import(&b, "", archive.size);
    send_bytes(&b, archive.data, archive.size);
    expect(&b, "HTTP/1.1 429");
    expect(&b, "try again later");
    send_bytes(&a, archive.data + archive.size - 1024, 1024);
    expect(&a, "HTTP/1.1 200 OK\r\n");
    expect(&a, "\"created\":1000");
    done(&b);
    b = connect_client();
    begin_import(&b, "?dry_run", archive.size);
    send_bytes(&b, archive.data, archive.size);
    expect(&b, "\"unchanged\":1000");
    assert_int_equal(api->import_bytes, 0);
    done(&a);
    done(&b);
    buf_done(&archive);
}

/* A field that is present and empty is not an absent one: otherwise its condition would silently not hold. */
static void test_empty_fields(void **state)
{
    (void)state;
    static const struct {
        const char *field, *error;
    } cases[] = {{"\"if_md5\":\"\"", "if_md5 is not an md5"}, {"\"type\":\"\"", "type is none of text"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client c = connect_client();
        char body[200];
        snprintf(body, sizeof body, "{\"publish\":[{\"name\":\"a\",\"content\":\"x\",%s}]}", cases[i].field);
        request(&c, "POST", "bundles", "Content-Type: application/json\r\n", body);
        expect(&c, "HTTP/1.1 400");
        expect(&c, cases[i].error);
        done(&c);
    }
}

/* --- pages of other origins ---------------------------------------------------------------------------- */

static void test_origins(void **state)
{
    (void)state;
    assert_int_equal(restart_with("http://good.example, https://other.example", "*"), 0);
    struct client c = connect_client();
    send_text(&c, "OPTIONS /api/v1/configs/a.txt HTTP/1.1\r\nHost: x\r\nOrigin: http://good.example\r\n"
                  "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: if-match\r\n\r\n");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    expect(&c, "Access-Control-Allow-Origin: http://good.example\r\n");
    expect(&c, "Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n");
    expect(&c, "Access-Control-Allow-Headers: accept, content-type, authorization, if-match, if-none-match, "
               "idempotency-key, "
               "last-event-id, x-cairn-session-key\r\n");
    expect(&c, "Access-Control-Max-Age: 600\r\n");
    expect(&c, "Vary: Origin\r\n");
    /* etcd's own paths answer as etcd does. */
    buf_clear(&c.in);
    send_text(&c, "OPTIONS /v3/kv/put HTTP/1.1\r\nHost: x\r\nOrigin: http://good.example\r\n\r\n");
    expect(&c, "Access-Control-Allow-Headers: accept, content-type, authorization\r\n");
    assert_false(has(&c, "Vary"));
    request(&c, "PUT", "a.txt", "Origin: http://good.example\r\n", "x");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    request(&c, "GET", "a.txt", "Origin: http://good.example\r\n", NULL);
    expect(&c, "Access-Control-Expose-Headers: X-Cairn-Revision, X-Cairn-Seq, ETag, Location");
    expect(&c, "Access-Control-Allow-Origin: http://good.example\r\n");
    expect(&c, "\r\n\r\nx");
    /* Other origins: no header allows them, and a form without a preflight writes nothing. */
    buf_clear(&c.in);
    send_text(&c, "OPTIONS /api/v1/configs/a.txt HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n\r\n");
    expect(&c, "HTTP/1.1 403");
    assert_false(has(&c, "Access-Control-Allow"));
    request(&c, "PUT", "a.txt", "Origin: http://evil.example\r\n", "y");
    expect(&c, "HTTP/1.1 403");
    expect(&c, "\"code\":\"forbidden\"");
    request(&c, "GET", "a.txt", "Origin: http://evil.example\r\n", NULL);
    expect(&c, "\r\n\r\nx");
    assert_false(has(&c, "Access-Control-Allow"));
    /* A page of this server itself, and a client that is no page. */
    request(&c, "PUT", "a.txt", "Origin: http://x\r\n", "z");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    request(&c, "PUT", "a.txt", "", "zz");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    done(&c);
}

/* A content that is an HTML page, opened in a browser: it runs no scripts and has no origin. */
static void test_content_is_sandboxed(void **state)
{
    (void)state;
    static const char *const raw[] = {"page.html", "page.html?seq=1", "page.html/diff?from=1&to=2",
                                      "page.html/draft"};
    put("page.html?type=html", "<script>alert(1)</script>");
    put("page.html?type=html", "<script>alert(2)</script>");
    put("page.html/draft?type=html", "<script>alert(3)</script>");
    struct client c = connect_client();
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++) {
        request(&c, "GET", raw[i], "User-Agent: Mozilla/5.0\r\n", NULL);
        expect(&c, "HTTP/1.1 200 OK\r\n");
        expect(&c, "Content-Security-Policy: default-src 'none'; sandbox\r\n");
        expect(&c, "X-Content-Type-Options: nosniff\r\n");
    }
    done(&c);
}

static void test_labels(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int err;
    } cases[] = {{"", OK},
                 {"a=b", OK},
                 {"a=,b=c=d", OK},
                 {"a", ERR_INVALID},
                 {"=b", ERR_INVALID},
                 {"a=b,", OK},
                 {"a=b,,c=d", ERR_INVALID},
                 {"a=\x01", ERR_INVALID}};
    char error[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(api_check_value(PARAM_LABELS, slice_text(cases[i].text), error, sizeof error),
                         cases[i].err);
}

static const char *answer_of(struct client *c)
{
    expect(c, "}\n");
    return strstr(buf_text(&c->in), "\r\n\r\n") + 4;
}

static void post_once(struct client *c, const char *target, const char *key, const char *body)
{
    char header[400];
    snprintf(header, sizeof header, "Idempotency-Key: %s\r\n", key);
    request(c, "POST", target, header, body);
}

static void test_idempotency_keys(void **state)
{
    (void)state;
    char same[300];
    struct client c = connect_client(), other = connect_client();
    put("a.txt", "1");
    put("a.txt", "2");
    post_once(&c, "a.txt/rollback", "k1", "{\"seq\":1}");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    assert_false(has(&c, "Idempotent-Replayed"));
    snprintf(same, sizeof same, "%s", answer_of(&c));
    assert_non_null(strstr(same, "\"seq\":3"));
    put("a.txt", "4");
    post_once(&c, "a.txt/rollback", "k1", "{\"seq\":1}");
    expect(&c, "Idempotent-Replayed: true\r\n");
    expect(&c, same);
    /* The same key for another body, another path, another query. */
    post_once(&c, "a.txt/rollback", "k1", "{\"seq\":2}");
    expect(&c, "HTTP/1.1 422 Unprocessable Entity\r\n");
    expect(&c, "\"code\":\"key_reused\"");
    post_once(&c, "b.txt/rollback", "k1", "{\"seq\":1}");
    expect(&c, "HTTP/1.1 422 ");
    post_once(&c, "a.txt/rollback?if_seq=4", "k1", "{\"seq\":1}");
    expect(&c, "HTTP/1.1 422 ");
    request(&c, "POST", "a.txt/rollback",
            "Idempotency-Key: k1\r\nIf-Match: \"a87ff679a2f3e71d9181a67b7542122c\"\r\n", "{\"seq\":1}");
    expect(&c, "HTTP/1.1 422 ");
    /* Two at once. The second one finds no draft, and then the record. */
    put("a.txt/draft", "5");
    post_once(&c, "a.txt/publish", "k2", "{}");
    post_once(&other, "a.txt/publish", "k2", "{}");
    expect(&c, "\"seq\":5");
    expect(&other, "\"seq\":5");
    post_once(&c, "a.txt/publish", "k3", "{}");
    expect(&c, "HTTP/1.1 404 "); /* leaves no record: it may be tried again */
    put("a.txt/draft", "6");
    post_once(&c, "a.txt/publish", "k3", "{}");
    expect(&c, "\"seq\":6");
    post_once(&c, "bundles", "k4", "{\"publish\":[{\"name\":\"b.txt\",\"content\":\"1\"}]}");
    expect(&c, "\"changed\":1");
    snprintf(same, sizeof same, "%s", answer_of(&c));
    post_once(&c, "bundles", "k4", "{\"publish\":[{\"name\":\"b.txt\",\"content\":\"1\"}]}");
    expect(&c, same);
    /* Refused: a key of a wrong form, two keys, a route without keys. */
    post_once(&c, "a.txt/rollback", "a b", "{\"seq\":1}");
    expect(&c, "HTTP/1.1 400 ");
    request(&c, "POST", "a.txt/rollback", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", "{\"seq\":1}");
    expect(&c, "HTTP/1.1 400 ");
    request(&c, "POST", "../sessions", "Idempotency-Key: a\r\n", "{}");
    expect(&c, "HTTP/1.1 40");
    done(&c);
    done(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_waits, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_unrelated, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_same_turn, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_client_leaves, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_keys, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_render, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_list_in_slices, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_list_never_calm, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_export_breaks, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_export_digests, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_transfers_left, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_import_room, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_empty_fields, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_origins, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_content_is_sandboxed, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_idempotency_keys, start_api, stop_api),
        cmocka_unit_test(test_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
