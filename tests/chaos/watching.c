/* SPDX-License-Identifier: Apache-2.0
 * Watchers, some on each member, of all keys or one, with and without previous pairs, filters and fragments.
 * One that loses its stream goes on at the next member, from the revision behind what it has seen: to the
 * judge that is a watch of its own, which must begin there. The first watcher sees everything from the
 * beginning: what it sees is the replay. */
#include <stdio.h>

#include "proto/rpc.pb-c.h"
#include "tests/chaos/recorder.h"

enum {
    WATCHERS_MAX = 64,
    RECONNECT_MS = 50,
    SILENCE_MS_MAX = 2500,
    ASK_AGAIN_MS = 400,
    CLIENT_OFFSET = 1000
};

struct watcher {
    uint32_t number;
    size_t endpoint;
    struct connection connection;
    struct call call;
    struct history_watch *watch; /* NULL = none is open */
    struct history_watch fetch;
    char key[16];
    int64_t next, reached; /* where it resumes; all up to reached was seen or covered by progress */
    uint64_t reconnect_ms, asked_ms;
    bool is_created, is_over, require_leader;
};

static struct watcher watchers[WATCHERS_MAX];
static size_t watcher_count;

/* --- what comes ------------------------------------------------------------------------------- */

static void add_commits(const struct history_response *r)
{
    struct history_change changes[256];
    for (size_t i = 0; i < r->event_count;) {
        struct history_commit commit = {.revision = r->events[i].change.kv.mod, .changes = changes};
        for (; i < r->event_count && r->events[i].change.kv.mod == commit.revision; i++)
            if (commit.count < sizeof changes / sizeof *changes)
                changes[commit.count++] = r->events[i].change;
        if (commit.revision <= recorder.replayed)
            continue;
        history_commit_add(&recorder.history, &commit);
        recorder.replayed = commit.revision;
    }
}

static void move_on(struct watcher *w, const struct history_response *r)
{
    if (r->is_canceled) {
        w->is_over = true;
        if (r->compact_revision)
            w->next = r->compact_revision;
    } else if (r->event_count) {
        int64_t last = r->events[r->event_count - 1].change.kv.mod;
        w->next = r->is_fragment ? last : last + 1;
    } else if (!r->is_created) {
        w->next = r->revision + 1;
    } else if (w->next == 0) {
        w->next = r->revision + 1; /* from now on */
    }
    if (w->next - 1 > w->reached && !r->is_canceled)
        w->reached = w->next - 1;
}

static void on_message(struct call *call, struct slice message)
{
    struct watcher *w = call->arg;
    struct history_response r;
    arena_reset(&recorder.scratch);
    if (!convert_watch_response(message, &recorder.scratch, &r)) {
        w->is_over = true;
        return;
    }
    history_watch_add(&recorder.history, w->watch, client_now_ns(), &r);
    w->is_created = w->is_created || r.is_created;
    recorder.events += r.event_count;
    saw_revision(r.revision);
    if (w->number == CLIENT_OFFSET)
        add_commits(&r);
    move_on(w, &r);
}

static void on_end(struct call *call, int status, const char *text)
{
    struct watcher *w = call->arg;
    (void)status;
    (void)text;
    w->is_over = true;
}

/* --- streams ---------------------------------------------------------------------------------- */

static void begin(struct watcher *w)
{
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchRequest m = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filters[2];
    create.key = (ProtobufCBinaryData){w->fetch.key.size, (uint8_t *)(uintptr_t)w->fetch.key.data};
    create.range_end =
        (ProtobufCBinaryData){w->fetch.range_end.size, (uint8_t *)(uintptr_t)w->fetch.range_end.data};
    create.start_revision = w->next;
    create.prev_kv = w->fetch.wants_prev;
    create.fragment = w->fetch.allows_fragments;
    create.progress_notify = true;
    create.filters = filters;
    if (w->fetch.excludes_puts)
        filters[create.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    if (w->fetch.excludes_deletes)
        filters[create.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    m.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    m.create_request = &create;
    w->fetch.start_revision = w->next;
    w->watch = history_watch_open(&recorder.history, w->number, client_now_ns(), &w->fetch);
    w->is_created = w->is_over = false;
    w->call.on_message = on_message;
    w->call.on_end = on_end;
    w->call.arg = w;
    call_start(&w->connection, &w->call, "/etcdserverpb.Watch/Watch", &m.base, false, w->require_leader);
}

static void leave(struct watcher *w)
{
    if (w->watch)
        recorder.resumed++;
    call_drop(&w->call);
    connection_close(&w->connection, "the watcher goes on elsewhere");
    w->watch = NULL;
    w->is_over = w->is_created = false;
    w->endpoint = (w->endpoint + 1) % recorder.endpoint_count;
    w->reconnect_ms = client_now_ms() + RECONNECT_MS;
}

static void tick(struct watcher *w)
{
    connection_check(&w->connection, SILENCE_MS_MAX);
    if (w->is_over || (w->watch && w->connection.state == CONNECTION_DOWN))
        leave(w);
    if (w->connection.state == CONNECTION_DOWN && client_now_ms() >= w->reconnect_ms) {
        w->reconnect_ms = client_now_ms() + RECONNECT_MS;
        w->endpoint = (w->endpoint + !w->watch) % recorder.endpoint_count;
        connection_open(&w->connection, &recorder.endpoints[w->endpoint]);
    } else if (w->connection.state == CONNECTION_UP && !w->watch) {
        begin(w);
    }
}

/* --- public API --------------------------------------------------------------------------------- */

/* Chooses by the watcher's number: half watch all keys, the others one; each option comes in several
 * combinations. */
static void choose_fetch(struct watcher *w)
{
    unsigned n = w->number - CLIENT_OFFSET;
    if (n == 0) {
        w->fetch.key = slice_of("\0", 1);
        w->fetch.range_end = slice_of("\0", 1);
        w->next = 1;
        return;
    }
    w->fetch.key = slice_text("k/");
    w->fetch.range_end = slice_text("k0");
    if (n % 3 == 0) {
        snprintf(w->key, sizeof w->key, "k/%02u", n % recorder.keys);
        w->fetch.key = slice_text(w->key);
        w->fetch.range_end = (struct slice){0};
    }
    w->fetch.wants_prev = n % 2;
    w->fetch.allows_fragments = n % 4 == 1;
    w->fetch.excludes_deletes = n % 7 == 5;
    w->fetch.excludes_puts = n % 11 == 6;
    w->require_leader = n % 5 == 2;
    w->next = n % 4 == 3 ? 1 : 0;
}

void watching_start(void)
{
    watcher_count = 1 + recorder.endpoint_count * recorder.watchers;
    if (watcher_count > WATCHERS_MAX)
        watcher_count = WATCHERS_MAX;
    for (size_t i = 0; i < watcher_count; i++) {
        struct watcher *w = &watchers[i];
        w->number = CLIENT_OFFSET + (uint32_t)i;
        w->endpoint = i % recorder.endpoint_count;
        w->connection.arg = w;
        choose_fetch(w);
    }
}

void watching_tick(void)
{
    for (size_t i = 0; i < watcher_count; i++)
        tick(&watchers[i]);
}

static void ask_progress(struct watcher *w)
{
    Etcdserverpb__WatchProgressRequest progress = ETCDSERVERPB__WATCH_PROGRESS_REQUEST__INIT;
    Etcdserverpb__WatchRequest m = ETCDSERVERPB__WATCH_REQUEST__INIT;
    m.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    m.progress_request = &progress;
    w->asked_ms = client_now_ms();
    call_send(&w->call, &m.base);
}

bool watching_is_complete(int64_t revision)
{
    bool is_complete = true;
    for (size_t i = 0; i < watcher_count; i++) {
        struct watcher *w = &watchers[i];
        if (w->is_created && w->reached >= revision)
            continue;
        is_complete = false;
        if (w->is_created && w->call.connection && client_now_ms() - w->asked_ms > ASK_AGAIN_MS)
            ask_progress(w);
    }
    return is_complete;
}

void watching_finish(int64_t revision)
{
    for (size_t i = 0; i < watcher_count; i++) {
        struct watcher *w = &watchers[i];
        if (w->is_created && w->call.connection)
            w->watch->complete_to = revision;
        if (!w->is_created || w->reached < revision)
            printf("watcher %u on %s has seen up to revision %lld of %lld\n", w->number - CLIENT_OFFSET,
                   w->connection.endpoint.name, (long long)w->reached, (long long)revision);
        call_drop(&w->call);
        connection_close(&w->connection, "the run is over");
    }
}
