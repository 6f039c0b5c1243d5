/* SPDX-License-Identifier: Apache-2.0
 * A fake registry API over a real catalog, behind a real HTTP server, for tests of the native API. The fake
 * records each request, and the test chooses its result. A barrier ends by itself in the next turn unless
 * the test holds it. A program includes this file once, because it defines the symbols of the registry's
 * public API. */
#ifndef TESTS_UNIT_API_FAKE_H
#define TESTS_UNIT_API_FAKE_H

#include "tests/unit/http_client.h"

#include "server/api/api.h"

struct registry {
    struct catalog *catalog;
    bool is_ready;
    int64_t revision;
    struct link watches, barriers;
};

struct barrier {
    struct link link;
    struct registry_request *request;
};

static struct registry registry;
static struct api *api;
static uv_prepare_t turn_handle;
static uv_idle_t again_handle;
static uint64_t api_clock_step_ns; /* 0: real time; otherwise each reading of the clock advances it by this */

static struct {
    const char *call; /* the last one, NULL = none since it was cleared */
    struct registry_request *request;
    char key[600], text[4096];
    int64_t session;
    uint64_t deadline_ms;
    bool does_wait, holds_barriers;
    int barrier_err;
    unsigned canceled, barriers;
    struct registry_subscribers *subscribers;
    int64_t events_changed;
    struct event event; /* the only one; revision 0 = there is none */
    struct journal_watch *event_watch;
} fake_registry;

bool registry_is_ready(const struct registry *r)
{
    return r->is_ready;
}
int64_t registry_revision(const struct registry *r)
{
    return r->revision;
}
const struct registry_options *registry_defaults(const struct registry *r)
{
    static const struct registry_options none;
    (void)r;
    return &none;
}
struct catalog *registry_catalog(struct registry *r)
{
    return r->catalog;
}

struct audience *registry_audience(const struct registry *r, const struct auth_ranges *readable,
                                   bool with_services)
{
    (void)r, (void)readable, (void)with_services;
    return NULL;
}

int64_t registry_session_of(const struct registry *r, const struct registry_key *key)
{
    (void)r, (void)key;
    return 0;
}

bool registry_session_has_owner(const struct registry *r, int64_t session)
{
    (void)r, (void)session;
    return false;
}

static void remember(const char *call, struct registry_request *q, const struct registry_key *key)
{
    fake_registry.call = call;
    fake_registry.request = q;
    fake_registry.text[0] = fake_registry.key[0] = 0;
    if (key)
        snprintf(fake_registry.key, sizeof fake_registry.key, "%.*s|%.*s|%.*s|%.*s", (int)key->ns.size,
                 (const char *)key->ns.data, (int)key->group.size, (const char *)key->group.data,
                 (int)key->service.size, (const char *)key->service.data, (int)key->id.size,
                 key->id.size ? (const char *)key->id.data : "");
}

static void remember_text(struct buf *text)
{
    snprintf(fake_registry.text, sizeof fake_registry.text, "%s", buf_text(text));
    buf_done(text);
}

void registry_register(struct registry *r, struct registry_request *q, const struct registry_key *key,
                       const struct instance *doc, int64_t session)
{
    struct buf text = {0};
    (void)r;
    remember("register", q, key);
    fake_registry.session = session;
    instance_write(doc, &text);
    remember_text(&text);
}
void registry_register_list(struct registry *r, struct registry_request *q, const struct registry_item *list,
                            size_t count, uint32_t ttl_s, int64_t session)
{
    struct buf text = {0};
    (void)r;
    remember("register_list", q, &list[count - 1].key);
    fake_registry.session = session;
    buf_addf(&text, "%zu ttl %u ", count, ttl_s);
    for (size_t k = 0; k < count; k++)
        instance_write(list[k].doc, &text);
    remember_text(&text);
}
void registry_deregister(struct registry *r, struct registry_request *q, const struct registry_key *key)
{
    (void)r;
    remember("deregister", q, key);
}
bool registry_session_exists(const struct registry *r, int64_t session)
{
    (void)r, (void)session;
    return false;
}

int registry_session_check(const struct registry *r, int64_t session, const struct auth_who *who,
                           size_t *ret_count, struct registry_key *ret_refused)
{
    (void)r, (void)session, (void)who, (void)ret_count, (void)ret_refused;
    return OK;
}

void registry_session_prepare(struct registry *r, struct registry_request *q, int64_t session)
{
    (void)r, (void)session;
    remember("session_prepare", q, NULL);
}

void registry_session_open(struct registry *r, struct registry_request *q, const struct session *doc)
{
    struct buf text = {0};
    (void)r;
    remember("session_open", q, NULL);
    session_write(doc, &text);
    remember_text(&text);
}
void registry_session_heartbeat(struct registry *r, struct registry_request *q, int64_t session)
{
    (void)r;
    remember("heartbeat", q, NULL);
    fake_registry.session = session;
}
void registry_session_close(struct registry *r, struct registry_request *q, int64_t session)
{
    (void)r;
    remember("session_close", q, NULL);
    fake_registry.session = session;
}
void registry_put_settings(struct registry *r, struct registry_request *q, const struct registry_key *key,
                           const struct settings *doc)
{
    struct buf text = {0};
    (void)r;
    remember(doc ? "put_settings" : "delete_settings", q, key);
    if (doc)
        settings_write(doc, &text);
    remember_text(&text);
}
void registry_put_override(struct registry *r, struct registry_request *q, const struct registry_key *key,
                           const struct override *doc)
{
    struct buf text = {0};
    (void)r;
    remember(doc ? "put_override" : "delete_override", q, key);
    if (doc)
        override_write(doc, &text);
    remember_text(&text);
}
void registry_report(struct registry *r, struct registry_request *q, const struct registry_key *key,
                     enum instance_state state, struct slice note)
{
    struct buf text = {0};
    (void)r;
    remember("report", q, key);
    buf_addf(&text, "%d %.*s", (int)state, (int)note.size, (const char *)note.data);
    remember_text(&text);
}
void registry_drain(struct registry *r, struct registry_request *q, const struct registry_key *key,
                    uint64_t deadline_ms, bool does_wait)
{
    (void)r;
    remember("drain", q, key);
    fake_registry.deadline_ms = deadline_ms;
    fake_registry.does_wait = does_wait;
}
void registry_subscribers(struct registry *r, struct registry_subscribers *s, const struct registry_key *key)
{
    (void)r;
    remember("subscribers", &s->request, key);
    fake_registry.subscribers = s;
}

void registry_barrier(struct registry *r, struct registry_request *q)
{
    struct barrier *b = mem_new(sizeof *b);
    b->request = q;
    fake_registry.barriers++;
    list_add_last(&r->barriers, &b->link);
}

void registry_cancel(struct registry *r, struct registry_request *q)
{
    fake_registry.canceled++;
    LIST_FOR_EACH_SAFE (l, &r->barriers) {
        struct barrier *b = container_of(l, struct barrier, link);
        if (b->request == q) {
            list_remove(l);
            mem_free(b);
        }
    }
    if (fake_registry.request == q)
        fake_registry.request = NULL;
}

/* --- watches: notified from a list that may change meanwhile ---------------------------------------- */

void registry_watch_service(struct registry *r, struct registry_watch *w, const struct registry_key *key)
{
    w->registry = r;
    w->service = catalog_hold(r->catalog, key->ns, key->group, key->service);
    list_add_last(&r->watches, &w->link);
}
void registry_watch_services(struct registry *r, struct registry_watch *w, struct slice ns,
                             struct slice group, struct slice prefix)
{
    (void)ns, (void)group, (void)prefix; /* notified of everything: the API compares */
    w->registry = r;
    w->service = NULL;
    list_add_last(&r->watches, &w->link);
}
void registry_unwatch(struct registry_watch *w)
{
    list_remove(&w->link);
    if (w->service)
        catalog_release(w->registry->catalog, w->service);
    w->service = NULL;
}

int registry_events(struct registry *r, const struct registry_key *key,
                    void (*fn)(void *arg, const struct event *e), void *arg)
{
    (void)r;
    remember("events", NULL, key);
    if (fake_registry.event.revision)
        fn(arg, &fake_registry.event);
    return OK;
}
int64_t registry_events_changed(struct registry *r, const struct registry_key *key)
{
    (void)r;
    (void)key;
    return fake_registry.events_changed;
}
void registry_watch_events(struct registry *r, struct journal_watch *w, const struct registry_key *key)
{
    (void)r;
    (void)key;
    fake_registry.event_watch = w;
}
void registry_unwatch_events(struct registry *r, struct journal_watch *w)
{
    (void)r;
    assert_ptr_equal(fake_registry.event_watch, w);
    fake_registry.event_watch = NULL;
}

static void on_catalog_changed(void *arg, const struct catalog_change *change)
{
    struct registry *r = arg;
    struct link old;
    list_init(&old);
    list_move_all(&old, &r->watches);
    for (struct link *l; (l = list_take_first(&old));) {
        struct registry_watch *w = container_of(l, struct registry_watch, link);
        list_add_last(&r->watches, l);
        if (!w->service || w->service == change->service)
            w->changed(w, change);
    }
}

/* --- the world -------------------------------------------------------------------------------------- */

static const struct registry_result nothing;

static uint64_t api_clock(void)
{
    static uint64_t now_ns;
    return api_clock_step_ns ? (now_ns += api_clock_step_ns) : clock_mono_ns();
}

static void on_again(uv_idle_t *handle)
{
    (void)handle;
}

static void on_turn(uv_prepare_t *handle)
{
    (void)handle;
    struct link due;
    list_init(&due);
    if (!fake_registry.holds_barriers)
        list_move_all(&due, &registry.barriers);
    for (struct link *l; (l = list_take_first(&due));) {
        struct barrier *b = container_of(l, struct barrier, link);
        struct registry_request *q = b->request;
        mem_free(b);
        q->done(q, fake_registry.barrier_err, &nothing);
    }
    if (api_turn(api))
        uv_idle_start(&again_handle, on_again);
    else
        uv_idle_stop(&again_handle);
}

static void catalog_open(int64_t revision)
{
    const struct catalog_events events = {.changed = on_catalog_changed, .arg = &registry};
    registry.catalog = catalog_new(&events);
    registry.revision = revision;
    catalog_begin(registry.catalog, revision);
}

HELPER static int start_api(void **state)
{
    (void)state;
    static struct http_mount mounts[API_MOUNTS];
    memset(&fake_registry, 0, sizeof fake_registry);
    registry = (struct registry){.is_ready = true};
    list_init(&registry.watches);
    list_init(&registry.barriers);
    catalog_open(1);
    catalog_end(registry.catalog);
    api =
        api_new(&(struct api_options){.registry = &registry, .mono_ms = clock_mono_ms, .mono_ns = api_clock});
    api_mounts(api, mounts);
    open_server(mounts, API_MOUNTS);
    uv_idle_init(&loop, &again_handle);
    uv_prepare_init(&loop, &turn_handle);
    uv_prepare_start(&turn_handle, on_turn);
    return 0;
}

HELPER static int stop_api(void **state)
{
    uv_prepare_stop(&turn_handle);
    uv_idle_stop(&again_handle);
    uv_close((uv_handle_t *)&again_handle, NULL);
    uv_close((uv_handle_t *)&turn_handle, NULL);
    stop_server(state);
    assert_true(list_is_empty(&registry.watches));
    assert_true(list_is_empty(&registry.barriers));
    api_free(api);
    catalog_free(registry.catalog);
    return 0;
}

static struct name name_of(enum name_kind kind, const char *ns, const char *group, const char *service,
                           const char *id)
{
    return (struct name){kind,
                         slice_text(ns),
                         slice_text(group),
                         slice_text(service),
                         kind == NAME_SERVICE ? (struct slice){0} : slice_text(id),
                         0};
}

/* One revision with one key; text NULL = deleted. */
HELPER static void change(enum name_kind kind, const char *ns, const char *group, const char *service,
                          const char *id, const char *text)
{
    const struct name name = name_of(kind, ns, group, service, id);
    registry.revision++;
    catalog_begin(registry.catalog, registry.revision);
    if (text)
        catalog_put(registry.catalog, &name, slice_text(text), registry.revision, registry.revision);
    else
        catalog_delete(registry.catalog, &name);
    catalog_end(registry.catalog);
}
HELPER static void put(const char *service, const char *id, const char *text)
{
    change(NAME_INSTANCE, "default", "default", service, id, text);
}

HELPER static void request(struct client *c, const char *method, const char *target, const char *headers,
                           const char *body)
{
    struct buf text = {0};
    buf_addf(&text, "%s %s HTTP/1.1\r\nHost: x\r\n%s", method, target, headers ? headers : "");
    if (body)
        buf_addf(&text, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    else
        buf_add_text(&text, "\r\n");
    send_bytes(c, text.data, text.size);
    buf_done(&text);
}

/* Turns the loop until one whole response has arrived. */
HELPER static void await_answer(struct client *c)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (clock_mono_ms() < end && !c->is_closed) {
        const char *head = buf_text(&c->in), *blank = strstr(head, "\r\n\r\n"),
                   *length = blank ? memmem(head, (size_t)(blank - head), "Content-Length: ", 16) : NULL;
        if (blank && strncmp(head, "HTTP/1.1 304", 12) == 0)
            return;
        if (blank && length && (size_t)(blank - head) + 4 + strtoul(length + 16, NULL, 10) <= c->in.size)
            return;
        if (c->in.size > 7 && memcmp(c->in.data + c->in.size - 7, "\r\n0\r\n\r\n", 7) == 0)
            return;
        pump(c);
    }
    fail_msg("no whole answer in:\n%s", buf_text(&c->in));
}

/* One request and its response; earlier input is dropped. Returns the status. */
HELPER static int ask(struct client *c, const char *method, const char *target, const char *body)
{
    buf_clear(&c->in);
    request(c, method, target, NULL, body);
    await_answer(c);
    return atoi(buf_text(&c->in) + 9);
}

HELPER static const char *body_of(struct client *c)
{
    const char *blank = strstr(buf_text(&c->in), "\r\n\r\n");
    return blank ? blank + 4 : "";
}

HELPER static int64_t header_revision(struct client *c)
{
    const char *at = strstr(buf_text(&c->in), "X-Cairn-Revision: ");
    assert_non_null(at);
    return atoll(at + 18);
}

/* The request reaches the registry's public API, which then ends it with err. Returns the response's status.
 */
HELPER static int call_api(struct client *c, const char *method, const char *target, const char *body,
                           const char *call, int err, const struct registry_result *result)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    buf_clear(&c->in);
    fake_registry.call = NULL;
    request(c, method, target, NULL, body);
    while (!fake_registry.call && clock_mono_ms() < end)
        pump(c);
    if (!fake_registry.call)
        fail_msg("%s %s does not reach the registry:\n%s", method, target, buf_text(&c->in));
    assert_string_equal(fake_registry.call, call);
    struct registry_request *q = fake_registry.request;
    q->done(q, err, result);
    await_answer(c);
    return atoi(buf_text(&c->in) + 9);
}

#endif
