/* SPDX-License-Identifier: Apache-2.0
 * Registering over a stream. All instances of a connection hang on one session: hello's, or one that the
 * first register makes. Every frame of the client keeps it alive (told to the registry at most twice per
 * heartbeat). When the connection ends the session lives out its TTL: who comes back in time changes nothing
 * for others.
 *
 * Of the session one thing at a time is asked; registers that need it wait behind it. */
#include "server/stream/private.h"

#include <stdio.h>

struct stream_request {
    struct registry_request request;
    struct link link; /* in conn->requests */
    struct stream_conn *conn;
    uint64_t rid;
    bool is_asking; /* else it waits for the session */
    bool is_register;
    struct registry_key key;
    struct instance doc;
    struct arena arena; /* of key and doc */
};

struct stream_beat {
    struct registry_request request;
    struct stream_conn *conn;
    bool is_new; /* the session is being made */
};

static struct registry *registry_of(const struct stream_conn *c)
{
    return c->server->options.registry;
}

/* Which user is asked is known since hello; that it may use the session was found then. */
const struct registry_proof *stream_session_proof(struct stream_conn *c)
{
    c->proof.key = slice_text(c->session_key);
    c->proof.user = c->user.user;
    c->proof.has_users = guard_is_on(c->server->options.identity);
    return &c->proof;
}

void stream_session_take(struct stream_conn *c, const struct registry_result *result)
{
    c->session = result->session;
    c->ttl_s = result->ttl_s;
    c->beat_ms = stream_now_ms(c->server);
    c->owes_key = result->session_key != NULL;
    if (c->owes_key)
        snprintf(c->session_key, sizeof c->session_key, "%s", result->session_key);
}

/* --- requests --------------------------------------------------------------------------------------- */

static void end_request(struct stream_request *r)
{
    list_remove(&r->link);
    r->conn->request_count--;
    arena_done(&r->arena);
    mem_free(r);
}

static void stream_session_answer(struct stream_request *r, int err, const struct registry_result *result)
{
    struct stream_conn *c = r->conn;
    struct buf text = {0};
    const char *message = result && result->error ? result->error : err_text(err);
    if (err) {
        stream_write_error_rid(&text, r->rid, stream_error_code(err), message);
    } else {
        struct registry_result told = *result;
        told.session_key = r->is_register && c->owes_key ? c->session_key : NULL;
        c->owes_key = c->owes_key && !told.session_key;
        stream_write_result(&text, r->rid, &told);
    }
    end_request(r);
    stream_conn_send(c, err ? "error" : "result", buf_slice(&text), NULL, NULL, 0);
    buf_done(&text);
}

static void stream_session_on_done(struct registry_request *q, int err, const struct registry_result *result)
{
    struct stream_request *r = container_of(q, struct stream_request, request);
    r->is_asking = false;
    if (err == ERR_SESSION_GONE && r->is_register)
        r->conn->session = 0;
    stream_session_answer(r, err, result);
}

static void stream_session_ask(struct stream_request *r)
{
    struct stream_conn *c = r->conn;
    r->is_asking = true;
    r->request.who = stream_conn_author(c);
    r->request.proof = stream_session_proof(c);
    r->request.source = c->q->source;
    if (r->is_register)
        registry_register(registry_of(c), &r->request, &r->key, &r->doc, c->session);
    else
        registry_deregister(registry_of(c), &r->request, &r->key);
}

static struct slice kept(struct arena *a, struct slice s, const char *otherwise)
{
    if (!s.size)
        return slice_text(otherwise);
    return slice_of(arena_copy(a, s.data, s.size), s.size);
}

/* NULL: refused. */
static struct stream_request *new_request(struct stream_conn *c, const struct stream_frame *f)
{
    if (c->request_count >= STREAM_REQUESTS_MAX) {
        stream_conn_error(c, f, ERR_LIMIT, "too many requests are under way: wait for results");
        return NULL;
    }
    struct stream_request *r = mem_new(sizeof *r);
    r->conn = c;
    r->rid = f->rid;
    r->request.done = stream_session_on_done;
    r->key = (struct registry_key){
        .ns = kept(&r->arena, f->ns, "default"),
        .group = kept(&r->arena, f->group, "default"),
        .service = kept(&r->arena, f->name, ""),
        .id = kept(&r->arena, f->id, ""),
    };
    list_add_last(&c->requests, &r->link);
    c->request_count++;
    return r;
}

/* --- the session --------------------------------------------------------------------------------------- */

static void go_on_with_waiting(struct stream_conn *c, int err, const struct registry_result *result)
{
    LIST_FOR_EACH_SAFE (l, &c->requests) {
        struct stream_request *r = container_of(l, struct stream_request, link);
        if (r->is_asking)
            continue;
        if (!err)
            stream_session_ask(r);
        else
            stream_session_answer(r, err, result);
        if (!c->q)
            return;
    }
}

static void on_session(struct registry_request *q, int err, const struct registry_result *result)
{
    struct stream_beat *b = container_of(q, struct stream_beat, request);
    struct stream_conn *c = b->conn;
    bool was_new = b->is_new;
    c->beat = NULL;
    mem_free(b);
    if (was_new) {
        if (!err)
            stream_session_take(c, result);
        go_on_with_waiting(c, err, result);
    } else if (err == ERR_SESSION_GONE || err == ERR_PERMISSION_DENIED) {
        c->session = 0;
        stream_conn_error(c, NULL, err, result && result->error ? result->error : err_text(err));
    } /* else the next frame asks again */
}

static struct stream_beat *new_beat(struct stream_conn *c, bool is_new)
{
    struct stream_beat *b = mem_new(sizeof *b);
    b->request.done = on_session;
    b->request.proof = stream_session_proof(c);
    b->request.source = c->q->source;
    b->conn = c;
    b->is_new = is_new;
    c->beat = b;
    return b;
}

void stream_session_heard(struct stream_conn *c)
{
    uint64_t now_ms = stream_now_ms(c->server);
    if (!c->session || c->beat || now_ms - c->beat_ms < (uint64_t)c->ttl_s * 1000 / 6)
        return;
    c->beat_ms = now_ms;
    struct stream_beat *b = new_beat(c, false);
    b->request.who = stream_conn_author(c);
    registry_session_heartbeat(registry_of(c), &b->request, c->session);
}

/* --- frames ----------------------------------------------------------------------------------------------
 */

void stream_session_register(struct stream_conn *c, const struct stream_frame *f)
{
    char error[240] = "";
    struct stream_request *r = new_request(c, f);
    if (!r)
        return;
    r->is_register = true;
    struct slice text = kept(&r->arena, f->instance, "");
    int err = instance_read(text, DOCUMENT_STRICT, &r->arena, &r->doc, error, sizeof error);
    if (err) {
        struct registry_result result = {.error = error};
        stream_session_answer(r, err, &result);
    } else if (c->session) {
        stream_session_ask(r);
    } else if (!c->beat) {
        struct session doc = {.client_id = c->who.client_id, .ttl_s = r->doc.ttl_s, .labels = c->who.labels};
        /* The right to the instance is enough for a session of its own; it is checked with the instance. */
        struct stream_beat *b = new_beat(c, true);
        registry_session_open(registry_of(c), &b->request, &doc);
    } /* else it waits for the session that is being made */
}

void stream_session_deregister(struct stream_conn *c, const struct stream_frame *f)
{
    struct stream_request *r = new_request(c, f);
    if (r)
        stream_session_ask(r);
}

void stream_session_detach(struct stream_conn *c)
{
    while (!list_is_empty(&c->requests)) {
        struct stream_request *r = container_of(c->requests.next, struct stream_request, link);
        if (r->is_asking)
            registry_cancel(registry_of(c), &r->request);
        end_request(r);
    }
    if (c->beat)
        registry_cancel(registry_of(c), &c->beat->request);
    mem_free(c->beat);
    c->beat = NULL;
}
