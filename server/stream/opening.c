/* SPDX-License-Identifier: Apache-2.0
 * From hello to welcome: the registry's view must be readable (nothing is served before), this member must
 * have reached the resume token (a follower may need a moment; after 2 s the client is sent elsewhere), and
 * the session, if one is wished, must be there. Frames that come meanwhile wait, up to a limit. */
#include "server/stream/private.h"

#include <stdio.h>
#include <string.h>

struct stream_opening {
    struct registry_request request;
    struct config_request config;
    struct stream_conn *conn;
    struct link waiting;              /* in server->waiting */
    bool is_asking, is_asking_config; /* request, config are under way */
    struct guard guard;               /* who comes */
    struct arena arena;               /* the guard's */
    struct buf token;                 /* hello's */
    enum {
        OPENING_WHO,
        OPENING_VIEW,
        OPENING_TOKEN,
        OPENING_TOKEN_CONFIG,
        OPENING_SURE, /* what hangs on the session is known for sure */
        OPENING_SESSION,
        OPENING_DONE
    } stage; /* next */
    bool has_session;
    bool is_session_unsure;   /* this member knew of none when it was asked who may */
    uint64_t resume_revision; /* 0 = none */
    uint32_t ttl_s;           /* a new session; 0 = session is meant */
    int64_t session;
    struct buf early; /* frames, each behind its size */
};

/* --- who it is ------------------------------------------------------------------------------------- */

static struct slice put(uint8_t **at, struct slice s)
{
    struct slice copy = slice_of(*at, s.size);
    if (s.size)
        memcpy(*at, s.data, s.size);
    *at += s.size;
    return copy;
}

void stream_conn_who(struct stream_conn *c, struct slice client_id, const struct document_map *labels)
{
    size_t size = client_id.size + labels->count * sizeof *labels->list;
    for (size_t i = 0; i < labels->count; i++)
        size += labels->list[i].key.size + labels->list[i].value.size;
    c->who_memory = size ? mem_alloc(size) : NULL;
    struct document_pair *pairs = c->who_memory;
    uint8_t *at = (uint8_t *)(pairs + labels->count);
    for (size_t i = 0; i < labels->count; i++) {
        pairs[i].key = put(&at, labels->list[i].key);
        pairs[i].value = put(&at, labels->list[i].value);
    }
    c->who = (struct registry_subscriber){
        .client_id = put(&at, client_id),
        .peer = c->q->peer,
        .transport = c->is_events ? "sse" : "websocket",
        .labels = {pairs, labels->count},
    };
}

/* --- step by step ------------------------------------------------------------------------------------- */

static void wipe(struct buf *secret)
{
    if (secret->size)
        explicit_bzero(secret->data, secret->size);
    buf_done(secret);
}

void stream_opening_wipe(struct stream_conn *c)
{
    wipe(&c->shown);
}

void stream_opening_free(struct stream_conn *c)
{
    struct stream_opening *o = c->opening;
    c->opening = NULL;
    if (!o)
        return;
    if (o->is_asking)
        registry_cancel(c->server->options.registry, &o->request);
    if (o->is_asking_config)
        config_cancel(c->server->options.config, &o->config);
    list_remove(&o->waiting);
    guard_cancel(&o->guard);
    arena_done(&o->arena);
    wipe(&o->token);
    wipe(&c->shown);
    buf_done(&o->early);
    mem_free(o);
}

/* --- who comes --------------------------------------------------------------------------------------- */

static void on_who(struct guard *g, int err)
{
    struct stream_opening *o = container_of(g, struct stream_opening, guard);
    struct stream_conn *c = o->conn;
    char error[300] = "";
    if (err) {
        stream_conn_fail(c, guard_public_error(err), guard_text(err));
        return;
    }
    c->user = g->who;
    c->user_memory = mem_copy(g->who.user.data, g->who.user.size);
    c->user.user.data = c->user_memory;
    c->user.is_renewed =
        true; /* from here on its permissions are those of now, until what it showed is void */
    c->judged = guard_epoch(c->server->options.identity);
    const struct guard_need sessions = {.kind = GUARD_SESSIONS, .is_write = true};
    struct identity *i = c->server->options.identity;
    if (o->has_session && o->ttl_s)
        err = guard_check(i, &c->user, &sessions, error, sizeof error);
    if (err) {
        stream_conn_fail(c, guard_public_error(err), error);
        return;
    }
    o->stage = OPENING_VIEW;
    stream_opening_go_on(c);
}

static void ask_who(struct stream_conn *c)
{
    struct stream_opening *o = c->opening;
    /* The header decides if there is one, also when it is wrong. */
    struct slice shown = c->shown.size ? buf_slice(&c->shown) : buf_slice(&o->token);
    o->guard.done = on_who;
    o->guard.peer = c->q->peer;
    int err =
        guard_identify(&o->guard, c->server->options.identity, shown, http_common_name(c->q), &o->arena);
    if (err != ERR_NOT_READY)
        on_who(&o->guard, err);
}

static void send_welcome(struct stream_conn *c)
{
    struct stream_server *s = c->server;
    uint64_t ttl_ms = c->session ? (uint64_t)c->ttl_s * 1000 : STREAM_SILENT_MS;
    struct stream_welcome w = {
        .cluster_id = kv_cluster_id(s->options.kv),
        .member = s->options.member,
        .revision = registry_revision(s->options.registry),
        .session = c->session,
        .session_key = c->owes_key ? c->session_key : NULL,
        .ttl_ms = ttl_ms,
        .heartbeat_ms = ttl_ms / 3,
        .window = c->window,
        .subscriptions_max = STREAM_SUBSCRIPTIONS_MAX,
        .requests_max = STREAM_REQUESTS_MAX,
        .silent_ms = STREAM_SILENT_MS,
    };
    c->owes_key = false;
    buf_clear(&s->scratch);
    stream_write_welcome(&s->scratch, &w);
    stream_conn_send(c, "welcome", buf_slice(&s->scratch), NULL, NULL, 0);
}

static void open_now(struct stream_conn *c)
{
    struct stream_server *s = c->server;
    struct buf early = buf_move(&c->opening->early);
    stream_opening_free(c);
    if (c->is_events) {
        http_stream_open(c->q, 200, "text/event-stream");
        http_stream_hold(c->q, true);
    }
    c->phase = STREAM_CONN_OPEN;
    /* A publish: base64 and escapes make text longer. */
    c->q->message_bytes_max = STREAM_FRAME_MAX + 2 * s->options.content_bytes_max;
    send_welcome(c);
    if (!c->q)
        return;
    stream_due(c, 1 + stream_random(s, s->options.mark_ms));
    if (c->is_events) {
        stream_events_opened(c);
        http_stream_hold(c->q, false);
        http_forget_head(c->q);
    }
    for (size_t at = 0; at < early.size && c->q;) {
        size_t size = get_be32(early.data + at);
        stream_conn_receive(c, slice_of(early.data + at + 4, size));
        at += 4 + size;
    }
    buf_done(&early);
}

static void stream_opening_on_asked(struct registry_request *q, int err, const struct registry_result *result)
{
    struct stream_opening *o = container_of(q, struct stream_opening, request);
    struct stream_conn *c = o->conn;
    o->is_asking = false;
    if (o->stage == OPENING_SESSION && err) {
        stream_conn_fail(c, err, err_text(err));
        return;
    }
    if (o->stage == OPENING_TOKEN_CONFIG && err) { /* the token was not reached */
        stream_conn_goaway(c);
        return;
    }
    if (o->stage == OPENING_DONE && err == ERR_SESSION_GONE) {
        stream_conn_error(c, NULL, err, err_text(err)); /* go on without: the client registers again */
    } else if (o->stage == OPENING_DONE && err) {
        stream_conn_fail(c, err, result && result->error ? result->error : err_text(err));
        return;
    } else if (o->stage == OPENING_DONE) {
        stream_session_take(c, result);
    }
    stream_opening_go_on(c);
}

static void on_config_reached(struct config_request *q, int err, const struct config_result *result)
{
    struct stream_opening *o = container_of(q, struct stream_opening, config);
    (void)result;
    o->is_asking_config = false;
    if (err)
        stream_conn_goaway(o->conn);
    else
        stream_opening_go_on(o->conn);
}

static bool reach_token_config(struct stream_opening *o)
{
    struct config *c = o->conn->server->options.config;
    if ((int64_t)o->resume_revision <= config_revision(c))
        return false;
    o->is_asking_config = true;
    o->config.done = on_config_reached;
    config_wait_revision(c, &o->config, (int64_t)o->resume_revision, STREAM_RESUME_WAIT_MS);
    return true;
}

/* True: it is being waited for. */
static bool reach_token(struct stream_opening *o)
{
    struct registry *r = o->conn->server->options.registry;
    if ((int64_t)o->resume_revision <= registry_revision(r))
        return false;
    o->is_asking = true;
    registry_wait_revision(r, &o->request, (int64_t)o->resume_revision, STREAM_RESUME_WAIT_MS);
    return true;
}

static bool is_session_asked(const struct stream_opening *o)
{
    return o->has_session && !o->ttl_s && guard_is_on(o->conn->server->options.identity);
}

static bool make_sure(struct stream_opening *o)
{
    o->is_asking = is_session_asked(o);
    if (o->is_asking)
        registry_barrier(o->conn->server->options.registry, &o->request);
    return o->is_asking;
}

/* Of somebody else's session nobody goes on. False: it is over. */
static bool may_have_session(struct stream_opening *o)
{
    struct stream_conn *c = o->conn;
    const struct stream_options *options = &c->server->options;
    char error[500] = "";
    int err = is_session_asked(o) ? guard_check_session(options->identity, &c->user, options->registry,
                                                        o->session, &c->proof, error, sizeof error)
                                  : OK;
    if (err)
        stream_conn_fail(c, guard_public_error(err), error);
    return !err;
}

static bool make_session(struct stream_opening *o)
{
    struct stream_conn *c = o->conn;
    struct registry *r = c->server->options.registry;
    if (!o->has_session)
        return false;
    o->is_asking = true;
    o->request.proof = stream_session_proof(c);
    o->request.source = c->q->source;
    if (o->ttl_s) {
        struct session doc = {.client_id = c->who.client_id, .ttl_s = o->ttl_s, .labels = c->who.labels};
        o->request.who = stream_conn_author(c);
        registry_session_open(r, &o->request, &doc);
    } else {
        o->request.who = stream_conn_author(c);
        registry_session_heartbeat(r, &o->request, o->session);
    }
    return true;
}

void stream_opening_go_on(struct stream_conn *c)
{
    struct stream_opening *o = c->opening;
    list_remove(&o->waiting);
    if (o->stage == OPENING_WHO) {
        if (guard_is_on(c->server->options.identity)) {
            ask_who(c);
            return;
        }
        o->stage = OPENING_VIEW;
    }
    if (o->stage == OPENING_VIEW) {
        if (!c->server->is_ready) {
            list_add_last(&c->server->waiting, &o->waiting);
            return;
        }
        o->stage = OPENING_TOKEN;
    }
    if (o->stage == OPENING_TOKEN) {
        o->stage = OPENING_TOKEN_CONFIG;
        if (reach_token(o))
            return;
    }
    if (o->stage == OPENING_TOKEN_CONFIG) {
        o->stage = OPENING_SURE;
        if (reach_token_config(o))
            return;
    }
    if (o->stage == OPENING_SURE) {
        o->stage = OPENING_SESSION;
        if (make_sure(o))
            return;
    }
    if (o->stage == OPENING_SESSION) {
        o->stage = OPENING_DONE;
        if (!may_have_session(o))
            return;
        if (make_session(o))
            return;
    }
    open_now(c);
}

void stream_opening_wake(struct link *waiting)
{
    stream_opening_go_on(container_of(waiting, struct stream_opening, waiting)->conn);
}

static uint64_t window_of(const struct stream_frame *hello)
{
    uint64_t window = stream_frame_has(hello, STREAM_HAS_WINDOW) ? hello->window : STREAM_WINDOW;
    return window < STREAM_WINDOW_MIN   ? STREAM_WINDOW_MIN
           : window > STREAM_WINDOW_MAX ? STREAM_WINDOW_MAX
                                        : window;
}

void stream_opening_begin(struct stream_conn *c, const struct stream_frame *hello)
{
    struct stream_opening *o = mem_new(sizeof *o);
    o->conn = c;
    o->request.done = stream_opening_on_asked;
    c->opening = o;
    c->phase = STREAM_CONN_OPENING;
    c->window = window_of(hello);
    buf_add_slice(&o->token, hello->token);
    stream_conn_who(c, hello->client_id, &hello->labels);
    if (stream_frame_has(hello, STREAM_HAS_RESUME)) {
        c->is_foreign = hello->resume.cluster_id != kv_cluster_id(c->server->options.kv);
        o->resume_revision = c->is_foreign ? 0 : hello->resume.revision;
    }
    if (stream_frame_has(hello, STREAM_HAS_SESSION)) {
        o->has_session = true;
        o->ttl_s = hello->session.ttl_s;
        o->session = hello->session.id;
        snprintf(c->session_key, sizeof c->session_key, "%.*s", (int)hello->session.key.size,
                 hello->session.key.size ? (const char *)hello->session.key.data : "");
    }
    stream_opening_go_on(c);
}

void stream_opening_keep(struct stream_conn *c, struct slice text)
{
    struct stream_opening *o = c->opening;
    uint8_t size[4];
    if (o->early.size + text.size + sizeof size > STREAM_EARLY_MAX) {
        stream_conn_fail(c, ERR_LIMIT, "too much was sent before welcome came");
        return;
    }
    put_be32(size, (uint32_t)text.size);
    buf_add(&o->early, size, sizeof size);
    buf_add_slice(&o->early, text);
}
