/* SPDX-License-Identifier: Apache-2.0
 * The stream server: the kinds of subscriptions, fan-out and timers. One change reaches its readers so:
 *
 *   1. The source reports the change to its topic.
 *   2. The turn marks the topic's readers and their connections.
 *   3. The turn runs as many marked connections as fit into SLICE_NS. The others follow in the next turns.
 *
 * A connection that runs later gets the state of that moment, in one delta. */
#include "server/stream/private.h"

#include <assert.h>
#include <stdio.h>

#include "server/http/ws.h"

enum {
    SLICE_NS = 2 * 1000 * 1000, /* of fan-out in one turn */
    TICK_MS_MIN = 20,
    TICK_MS_MAX = 1000,
    CONNECTIONS_MAX = 65536,
    SUBSCRIPTIONS_MAX = 1000000,
    CONTENT_BYTES_MAX = 1 << 20,
};

/* --- kinds of subscriptions -------------------------------------------------------------------------- */

#define LEVEL(kind_source)                                                                                   \
    .source = &kind_source, .size = stream_level_size, .open = stream_level_open,                            \
    .close = stream_level_close, .send = stream_level_send, .position = stream_level_position,               \
    .acknowledge = stream_level_acknowledge, .written = stream_level_written,                                \
    .applied = stream_level_applied
#define KEYS                                                                                                 \
    .size = stream_kv_size, .open = stream_kv_open, .close = stream_kv_close, .send = stream_kv_send,        \
    .position = stream_kv_position, .acknowledge = stream_kv_acknowledge

#define AUDIT                                                                                                \
    .size = stream_kv_size, .open = stream_audit_open, .close = stream_kv_close, .send = stream_kv_send,     \
    .position = stream_kv_position, .acknowledge = stream_kv_acknowledge

static const struct stream_kind kinds[] = {
#define KIND(text, how, needs, what) {.name = text, .need = ACCESS_##needs, how},
#include "server/stream/kind.def"
#undef KIND
};

const struct stream_kind *stream_kind_find(struct slice name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (slice_equal(name, slice_text(kinds[i].name)))
            return &kinds[i];
    return NULL;
}

/* --- time -------------------------------------------------------------------------------------------- */

uint64_t stream_now_ms(const struct stream_server *s)
{
    return s->io->ops->mono_ns(s->io) / 1000000;
}

bool stream_is_slice_over(const struct stream_server *s)
{
    return s->io->ops->mono_ns(s->io) >= s->slice_end_ns;
}

uint64_t stream_random(const struct stream_server *s, uint64_t below)
{
    return below ? s->io->ops->random(s->io) % below : 0;
}

static void start_timer(struct stream_server *s)
{
    const struct heap_node *first = heap_first(&s->due);
    uint64_t now_ms = stream_now_ms(s), after_ms = TICK_MS_MAX;
    if (s->is_timer_on || (!first && !stream_topics_count(s->topics)))
        return;
    if (first)
        after_ms = first->key > now_ms ? first->key - now_ms : 0;
    after_ms = after_ms < TICK_MS_MIN ? TICK_MS_MIN : after_ms > TICK_MS_MAX ? TICK_MS_MAX : after_ms;
    s->is_timer_on = true;
    s->io->ops->timer_start(s->io, &s->timer, after_ms);
}

void stream_due(struct stream_conn *c, uint64_t after_ms)
{
    struct stream_server *s = c->server;
    uint64_t at = stream_now_ms(s) + after_ms;
    if (heap_contains(&c->due))
        heap_move(&s->due, &c->due, at);
    else
        heap_add(&s->due, &c->due, at);
    start_timer(s);
}

static void on_due(struct stream_conn *c)
{
    struct stream_server *s = c->server;
    if (c->phase == STREAM_CONN_NEW) {
        stream_conn_fail(c, ERR_INVALID, "no hello came in time");
        return;
    }
    if (c->phase == STREAM_CONN_HANDSHAKE) {
        stream_conn_fail(c, ERR_NOT_READY, err_text(ERR_NOT_READY));
        return;
    }
    stream_due(c, s->options.mark_ms);
    if (!stream_conn_recheck(c) || http_is_congested(c->q))
        return; /* frames are waiting already */
    c->wants_mark = c->watches;
    if (c->watches)
        watch_request_progress(c->watches); /* it responds at once, after its events, or not at all */
    if (!c->has_events)
        stream_conn_mark(c);
    if (c->q && c->is_events)
        http_stream_ping(c->q);
}

static void on_advanced(struct registry_request *q, int err, const struct registry_result *result)
{
    (void)err, (void)result;
    container_of(q, struct stream_server, advance)->is_advancing = false;
}

static void on_config_advanced(struct config_request *q, int err, const struct config_result *result)
{
    (void)err, (void)result;
    container_of(q, struct stream_server, advance_config)->is_advancing_config = false;
}

/* A view advances only with the revisions that concern it, unless it is requested to reach one. Marks need
 * the store's revision. */
static void advance(struct stream_server *s)
{
    int64_t now = kv_revision(s->options.kv);
    if (!s->is_ready)
        return;
    if (!s->is_advancing && now > registry_revision(s->options.registry)) {
        s->is_advancing = true;
        registry_wait_revision(s->options.registry, &s->advance, now, STREAM_RESUME_WAIT_MS);
    }
    if (!s->is_advancing_config && now > config_revision(s->options.config)) {
        s->is_advancing_config = true;
        config_wait_revision(s->options.config, &s->advance_config, now, STREAM_RESUME_WAIT_MS);
    }
}

static void stream_on_timer(struct io_timer *timer)
{
    struct stream_server *s = container_of(timer, struct stream_server, timer);
    uint64_t now_ms = stream_now_ms(s);
    struct heap_node *n;
    s->is_timer_on = false;
    advance(s);
    while ((n = heap_first(&s->due)) && n->key <= now_ms)
        on_due(container_of(n, struct stream_conn, due));
    if (now_ms - s->swept_ms >= TICK_MS_MAX) {
        s->swept_ms = now_ms;
        stream_topics_sweep(s->topics, now_ms);
    }
    start_timer(s);
}

/* --- the turn ---------------------------------------------------------------------------------------- */

void stream_wake(struct stream_conn *c)
{
    if (c->q && !link_is_in_list(&c->ready))
        list_add_last(&c->server->ready, &c->ready);
}

static void free_dead(struct stream_server *s)
{
    struct link *l;
    while ((l = list_take_first(&s->dead)))
        stream_conn_free(container_of(l, struct stream_conn, link));
}

/* The views are ready, for the first time or again: continues the handshakes that wait, and marks all
 * subscriptions. */
static void become_ready(struct stream_server *s)
{
    struct link waiting;
    if (!s->began)
        s->began = registry_revision(s->options.registry);
    LIST_FOR_EACH (l, &s->conns) {
        struct stream_conn *c = container_of(l, struct stream_conn, link);
        LIST_FOR_EACH (k, &c->subs)
            stream_sub_mark_dirty(container_of(k, struct stream_sub, link));
    }
    list_init(&waiting);
    list_move_all(&waiting, &s->waiting);
    while (!list_is_empty(&waiting))
        stream_handshake_wake(waiting.next); /* removes itself from the list */
}

/* Permissions may have changed: each subscription checks its audience before its next frame
 * (stream_level_send). Until then it is dirty, so that no mark covers frames of the old permissions. */
static void follow_rights(struct stream_server *s)
{
    uint64_t rights = guard_revision(s->options.identity);
    if (!s->is_ready || rights == s->rights)
        return;
    s->rights = rights;
    s->rights_at = registry_revision(s->options.registry);
    LIST_FOR_EACH (l, &s->conns) {
        struct stream_conn *c = container_of(l, struct stream_conn, link);
        LIST_FOR_EACH (k, &c->subs)
            stream_sub_mark_dirty(container_of(k, struct stream_sub, link));
    }
}

bool stream_server_turn(struct stream_server *s)
{
    bool was_ready = s->is_ready;
    /* The registry applies a batch over several turns: topics would have a part of its changes. */
    if (was_ready && registry_is_ready(s->options.registry) && !registry_is_settled(s->options.registry))
        return true;
    struct stream_topic *t;
    struct link *l;
    free_dead(s);
    s->is_ready = registry_is_ready(s->options.registry) && config_is_ready(s->options.config);
    follow_rights(s);
    if (s->is_ready && !was_ready)
        become_ready(s);
    stream_releases_turn(s->releases, stream_now_ms(s));
    stream_config_turn(s);
    while ((t = stream_topics_next(s->topics)))
        stream_level_wake(t);
    bool has_unchecked = stream_recheck_turn(s);
    s->slice_end_ns = s->io->ops->mono_ns(s->io) + SLICE_NS;
    while ((l = list_take_first(&s->ready))) {
        stream_conn_run(container_of(l, struct stream_conn, ready));
        if (stream_is_slice_over(s))
            break;
    }
    return has_unchecked || !list_is_empty(&s->ready);
}

/* --- the HTTP handler -------------------------------------------------------------------------------- */

static void stream_on_begin(struct http_request *q)
{
    struct stream_server *s = q->context;
    if (!q->is_websocket) {
        stream_events_begin(s, q);
        return;
    }
    q->message_bytes_max = STREAM_FRAME_MAX;
    bool has_token = stream_query_has_token(q);
    struct stream_conn *c = stream_conn_new(s, q, false);
    http_forget_head(q);
    if (has_token)
        stream_conn_fail(c, ERR_INVALID, STREAM_TOKEN_IN_QUERY);
    else if (s->conn_count > s->options.connections_max)
        stream_conn_fail(c, ERR_NOT_READY,
                         "this member has reached its limit of streams: connect to another member");
    else
        stream_due(c, s->options.hello_ms);
}

static void on_body(struct http_request *q, struct slice piece)
{
    struct stream_conn *c = q->state;
    if (c && !c->is_events)
        stream_conn_receive(c, piece);
}

static void stream_on_end(struct http_request *q)
{
    (void)q; /* the response goes on */
}

static void on_writable(struct http_request *q)
{
    struct stream_conn *c = q->state;
    if (!c)
        return;
    stream_wake(c);
}

static void on_gone(struct http_request *q)
{
    if (q->state)
        stream_conn_detach(q->state);
}

static void stream_on_drain(struct http_request *q)
{
    if (q->state)
        stream_conn_goaway(q->state);
}

const struct http_handler stream_http_handler = {
    .work = TURN_STREAM_SUBSCRIBE,
    .begin = stream_on_begin,
    .body = on_body,
    .end = stream_on_end,
    .writable = on_writable,
    .gone = on_gone,
    .drain = stream_on_drain,
    .subprotocol = "cairn.v1+json",
    .takes_deflate = true,
    .ping_ms = STREAM_SILENT_MS * 2 / 3,
    .silent_ms = STREAM_SILENT_MS,
};

/* --- life -------------------------------------------------------------------------------------------- */

struct stream_counts stream_server_counts(const struct stream_server *s)
{
    return (struct stream_counts){s->conn_count, s->subscription_count, stream_topics_count(s->topics)};
}

struct stream_server *stream_server_new(const struct stream_options *options)
{
    struct stream_server *s = mem_new(sizeof *s);
    s->options = *options;
    if (!s->options.connections_max)
        s->options.connections_max = CONNECTIONS_MAX;
    if (!s->options.subscriptions_max)
        s->options.subscriptions_max = SUBSCRIPTIONS_MAX;
    if (!s->options.content_bytes_max)
        s->options.content_bytes_max = CONTENT_BYTES_MAX;
    if (!s->options.hello_ms)
        s->options.hello_ms = STREAM_HELLO_MS;
    if (!s->options.mark_ms)
        s->options.mark_ms = STREAM_MARK_MS;
    s->io = kv_io(options->kv);
    s->rights_at = -1;
    s->timer.fire = stream_on_timer;
    s->advance.done = on_advanced;
    s->advance_config.done = on_config_advanced;
    list_init(&s->busy_views);
    struct stream_releases_options releases = {
        .config = options->config,
        .bytes_max = options->release_bytes_max,
        .cache_budget = options->cache_budget,
        .read = options->read,
    };
    s->releases = stream_releases_new(&releases);
    list_init(&s->conns);
    list_init(&s->ready);
    list_init(&s->waiting);
    list_init(&s->dead);
    struct stream_topics_options topics = {
        .owner = s, .snapshot_bytes_max = options->snapshot_bytes_max, .cache_budget = options->cache_budget};
    s->topics = stream_topics_new(&topics);
    return s;
}

void stream_server_free(struct stream_server *s)
{
    if (!s)
        return;
    assert(s->conn_count == 0);
    free_dead(s);
    s->io->ops->timer_stop(s->io, &s->timer);
    if (s->is_advancing)
        registry_cancel(s->options.registry, &s->advance);
    if (s->is_advancing_config)
        config_cancel(s->options.config, &s->advance_config);
    stream_topics_free(s->topics);
    stream_releases_free(s->releases);
    heap_done(&s->due);
    buf_done(&s->scratch);
    mem_free(s);
}
