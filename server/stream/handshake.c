/* SPDX-License-Identifier: Apache-2.0
 * Handshake of a connection, from hello to welcome. The stages (enum stage):
 *
 *   1. USER          authentication, if users are enabled
 *   2. VIEW          the views of registry and config center must be ready; nothing is served before
 *   3. TOKEN         the registry's view must reach the resume token. A follower may be behind it: after
 *                    STREAM_RESUME_WAIT_MS the client gets goaway and reconnects to another member
 *   4. TOKEN_CONFIG  the same for the config center's view
 *   5. BARRIER       a read barrier, if hello names a session and users are enabled
 *   6. SESSION       the session is checked and opened, or kept alive
 *   7. DONE          welcome is sent; frames that came meanwhile are handled
 *
 * Frames that come before welcome are held, at most STREAM_EARLY_MAX bytes. */
#include "server/stream/private.h"

#include <stdio.h>
#include <string.h>

struct stream_handshake {
    struct registry_request request;
    struct config_request config;
    struct stream_conn *conn;
    struct link waiting;                /* in server->waiting */
    bool is_pending, is_config_pending; /* request, config are under way */
    struct guard guard;                 /* of the authentication */
    struct arena arena;                 /* the guard's */
    struct buf token;                   /* hello's */
    enum {
        HANDSHAKE_USER,
        HANDSHAKE_VIEW,
        HANDSHAKE_TOKEN,
        HANDSHAKE_TOKEN_CONFIG,
        HANDSHAKE_BARRIER, /* read barrier: the session's instances are known */
        HANDSHAKE_SESSION,
        HANDSHAKE_DONE
    } stage; /* the next one to do */
    bool has_session;
    uint64_t resume_revision; /* 0 = none */
    uint32_t ttl_s;           /* of a new session, seconds; 0 = `session` names one */
    int64_t session;
    struct buf early; /* frames, each after its size (4 bytes, big-endian) */
};

/* --- client id and labels ---------------------------------------------------------------------------- */

static struct slice put(uint8_t **at, struct slice s)
{
    struct slice copy = slice_of(*at, s.size);
    if (s.size)
        memcpy(*at, s.data, s.size);
    *at += s.size;
    return copy;
}

void stream_conn_set_subscriber(struct stream_conn *c, struct slice client_id,
                                const struct document_map *labels)
{
    size_t size = client_id.size + labels->count * sizeof *labels->list;
    for (size_t i = 0; i < labels->count; i++)
        size += labels->list[i].key.size + labels->list[i].value.size;
    c->subscriber_memory = size ? mem_alloc(size) : NULL;
    struct document_pair *pairs = c->subscriber_memory;
    uint8_t *at = (uint8_t *)(pairs + labels->count);
    for (size_t i = 0; i < labels->count; i++) {
        pairs[i].key = put(&at, labels->list[i].key);
        pairs[i].value = put(&at, labels->list[i].value);
    }
    c->subscriber = (struct registry_subscriber){
        .client_id = put(&at, client_id),
        .peer = c->q->peer,
        .transport = c->is_events ? "sse" : "websocket",
        .labels = {pairs, labels->count},
    };
}

/* --- life -------------------------------------------------------------------------------------------- */

static void wipe(struct buf *secret)
{
    if (secret->size)
        explicit_bzero(secret->data, secret->size);
    buf_done(secret);
}

void stream_handshake_wipe_credential(struct stream_conn *c)
{
    wipe(&c->credential);
}

void stream_handshake_free(struct stream_conn *c)
{
    struct stream_handshake *o = c->handshake;
    c->handshake = NULL;
    if (!o)
        return;
    if (o->is_pending)
        registry_cancel(c->server->options.registry, &o->request);
    if (o->is_config_pending)
        config_cancel(c->server->options.config, &o->config);
    list_remove(&o->waiting);
    guard_cancel(&o->guard);
    arena_done(&o->arena);
    wipe(&o->token);
    wipe(&c->credential);
    buf_done(&o->early);
    mem_free(o);
}

/* --- authentication ---------------------------------------------------------------------------------- */

static void on_identified(struct guard *g, int err)
{
    struct stream_handshake *o = container_of(g, struct stream_handshake, guard);
    struct stream_conn *c = o->conn;
    char error[300] = "";
    if (err) {
        stream_conn_fail(c, guard_public_error(err), guard_text(err));
        return;
    }
    c->user = g->who;
    c->user_memory = mem_copy(g->who.user.data, g->who.user.size);
    c->user.user.data = c->user_memory;
    c->user.is_renewed = true; /* its current permissions count from now on, until its credential is void */
    c->rights_epoch = guard_epoch(c->server->options.identity);
    const struct guard_need sessions = {.kind = GUARD_SESSIONS, .is_write = true};
    struct identity *i = c->server->options.identity;
    if (o->has_session && o->ttl_s)
        err = guard_check(i, &c->user, &sessions, error, sizeof error);
    if (err) {
        stream_conn_fail(c, guard_public_error(err), error);
        return;
    }
    o->stage = HANDSHAKE_VIEW;
    stream_handshake_continue(c);
}

static void identify_user(struct stream_conn *c)
{
    struct stream_handshake *o = c->handshake;
    /* If there is an Authorization header, it decides, also when it is invalid. */
    struct slice shown = c->credential.size ? buf_slice(&c->credential) : buf_slice(&o->token);
    o->guard.done = on_identified;
    o->guard.peer = c->q->peer;
    int err =
        guard_identify(&o->guard, c->server->options.identity, shown, http_common_name(c->q), &o->arena);
    if (err != ERR_NOT_READY)
        on_identified(&o->guard, err);
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
        .session_key = c->must_send_key ? c->session_key : NULL,
        .ttl_ms = ttl_ms,
        .heartbeat_ms = ttl_ms / 3,
        .window = c->window,
        .subscriptions_max = STREAM_SUBSCRIPTIONS_MAX,
        .requests_max = STREAM_REQUESTS_MAX,
        .silent_ms = STREAM_SILENT_MS,
    };
    c->must_send_key = false;
    buf_clear(&s->scratch);
    stream_write_welcome(&s->scratch, &w);
    stream_conn_send(c, "welcome", buf_slice(&s->scratch), NULL, NULL, 0);
}

static void finish_handshake(struct stream_conn *c)
{
    struct stream_server *s = c->server;
    struct buf early = buf_move(&c->handshake->early);
    stream_handshake_free(c);
    if (c->is_events) {
        http_stream_open(c->q, 200, "text/event-stream");
        http_stream_hold(c->q, true);
    }
    c->phase = STREAM_CONN_OPEN;
    /* Room for a publish: base64 and JSON escapes make a content longer. */
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

static void stream_handshake_on_done(struct registry_request *q, int err,
                                     const struct registry_result *result)
{
    struct stream_handshake *o = container_of(q, struct stream_handshake, request);
    struct stream_conn *c = o->conn;
    o->is_pending = false;
    if (o->stage == HANDSHAKE_SESSION && err) {
        stream_conn_fail(c, err, err_text(err));
        return;
    }
    if (o->stage == HANDSHAKE_TOKEN_CONFIG && err) { /* this member did not reach the token */
        stream_conn_goaway(c);
        return;
    }
    if (o->stage == HANDSHAKE_DONE && err == ERR_SESSION_GONE) {
        stream_conn_error(c, NULL, err, err_text(err)); /* continue without it: the client registers again */
    } else if (o->stage == HANDSHAKE_DONE && err) {
        stream_conn_fail(c, err, result && result->error ? result->error : err_text(err));
        return;
    } else if (o->stage == HANDSHAKE_DONE) {
        stream_session_adopt(c, result);
    }
    stream_handshake_continue(c);
}

static void on_config_reached(struct config_request *q, int err, const struct config_result *result)
{
    struct stream_handshake *o = container_of(q, struct stream_handshake, config);
    (void)result;
    o->is_config_pending = false;
    if (err)
        stream_conn_goaway(o->conn);
    else
        stream_handshake_continue(o->conn);
}

static bool reach_token_config(struct stream_handshake *o)
{
    struct config *c = o->conn->server->options.config;
    if ((int64_t)o->resume_revision <= config_revision(c))
        return false;
    o->is_config_pending = true;
    o->config.done = on_config_reached;
    config_wait_revision(c, &o->config, (int64_t)o->resume_revision, STREAM_RESUME_WAIT_MS);
    return true;
}

/* True: the handshake waits for it. */
static bool reach_token(struct stream_handshake *o)
{
    struct registry *r = o->conn->server->options.registry;
    if ((int64_t)o->resume_revision <= registry_revision(r))
        return false;
    o->is_pending = true;
    registry_wait_revision(r, &o->request, (int64_t)o->resume_revision, STREAM_RESUME_WAIT_MS);
    return true;
}

static bool needs_session_check(const struct stream_handshake *o)
{
    return o->has_session && !o->ttl_s && guard_is_on(o->conn->server->options.identity);
}

static bool start_barrier(struct stream_handshake *o)
{
    o->is_pending = needs_session_check(o);
    if (o->is_pending)
        registry_barrier(o->conn->server->options.registry, &o->request);
    return o->is_pending;
}

/* A client cannot continue a session that it may not write. False: the connection was ended, or the handshake
 * waits until the check takes little time. */
static bool check_session_right(struct stream_handshake *o)
{
    struct stream_conn *c = o->conn;
    const struct stream_options *options = &c->server->options;
    char error[500] = "";
    int err = needs_session_check(o) ? guard_check_session(options->identity, &c->user, options->registry,
                                                           o->session, &c->proof, error, sizeof error)
                                     : OK;
    if (err == ERR_NOT_READY) {
        o->stage = HANDSHAKE_SESSION;
        o->is_pending = true;
        o->request.who = &c->user;
        registry_session_prepare(options->registry, &o->request, o->session);
    } else if (err) {
        stream_conn_fail(c, guard_public_error(err), error);
    }
    return !err;
}

static bool make_session(struct stream_handshake *o)
{
    struct stream_conn *c = o->conn;
    struct registry *r = c->server->options.registry;
    if (!o->has_session)
        return false;
    o->is_pending = true;
    o->request.proof = stream_session_proof(c);
    o->request.source = c->q->source;
    if (o->ttl_s) {
        struct session doc = {
            .client_id = c->subscriber.client_id, .ttl_s = o->ttl_s, .labels = c->subscriber.labels};
        o->request.who = stream_conn_who(c);
        registry_session_open(r, &o->request, &doc);
    } else {
        o->request.who = stream_conn_who(c);
        registry_session_heartbeat(r, &o->request, o->session);
    }
    return true;
}

void stream_handshake_continue(struct stream_conn *c)
{
    struct stream_handshake *o = c->handshake;
    list_remove(&o->waiting);
    if (o->stage == HANDSHAKE_USER) {
        if (guard_is_on(c->server->options.identity)) {
            identify_user(c);
            return;
        }
        o->stage = HANDSHAKE_VIEW;
    }
    if (o->stage == HANDSHAKE_VIEW) {
        if (!c->server->is_ready) {
            list_add_last(&c->server->waiting, &o->waiting);
            return;
        }
        o->stage = HANDSHAKE_TOKEN;
    }
    if (o->stage == HANDSHAKE_TOKEN) {
        o->stage = HANDSHAKE_TOKEN_CONFIG;
        if (reach_token(o))
            return;
    }
    if (o->stage == HANDSHAKE_TOKEN_CONFIG) {
        o->stage = HANDSHAKE_BARRIER;
        if (reach_token_config(o))
            return;
    }
    if (o->stage == HANDSHAKE_BARRIER) {
        o->stage = HANDSHAKE_SESSION;
        if (start_barrier(o))
            return;
    }
    if (o->stage == HANDSHAKE_SESSION) {
        o->stage = HANDSHAKE_DONE;
        if (!check_session_right(o))
            return;
        if (make_session(o))
            return;
    }
    finish_handshake(c);
}

void stream_handshake_wake(struct link *waiting)
{
    stream_handshake_continue(container_of(waiting, struct stream_handshake, waiting)->conn);
}

static uint64_t window_of(const struct stream_frame *hello)
{
    uint64_t window = stream_frame_has(hello, STREAM_HAS_WINDOW) ? hello->window : STREAM_WINDOW;
    return window < STREAM_WINDOW_MIN   ? STREAM_WINDOW_MIN
           : window > STREAM_WINDOW_MAX ? STREAM_WINDOW_MAX
                                        : window;
}

void stream_handshake_begin(struct stream_conn *c, const struct stream_frame *hello)
{
    struct stream_handshake *o = mem_new(sizeof *o);
    o->conn = c;
    o->request.done = stream_handshake_on_done;
    c->handshake = o;
    c->phase = STREAM_CONN_HANDSHAKE;
    c->window = window_of(hello);
    buf_add_slice(&o->token, hello->token);
    stream_conn_set_subscriber(c, hello->client_id, &hello->labels);
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
    stream_handshake_continue(c);
}

void stream_handshake_hold_frame(struct stream_conn *c, struct slice text)
{
    struct stream_handshake *o = c->handshake;
    uint8_t size[4];
    if (o->early.size + text.size + sizeof size > STREAM_EARLY_MAX) {
        stream_conn_fail(c, ERR_LIMIT, "too many bytes were sent before welcome");
        return;
    }
    put_be32(size, (uint32_t)text.size);
    buf_add(&o->early, size, sizeof size);
    buf_add_slice(&o->early, text);
}
