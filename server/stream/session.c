/* SPDX-License-Identifier: Apache-2.0
 * Registration over a stream. All instances of a connection belong to one session: the session of hello,
 * or one that the first register opens.
 *
 *   - Every frame of the client keeps the session alive. The registry gets a heartbeat at most every TTL /
 *     6.
 *   - When the connection ends, the session lives until its TTL ends. A client that reconnects in time
 *     causes no change that others see.
 *   - At most one request about the session is under way; register frames that need it wait.
 *   - After a change of users or roles the right to the session is checked again. Meanwhile register and
 *     deregister frames wait. */
#include "server/stream/private.h"

#include <stdio.h>

struct stream_request {
    struct registry_request request;
    struct link link; /* in conn->requests */
    struct stream_conn *conn;
    uint64_t rid;
    bool is_pending; /* the registry has it; else it waits for the session */
    bool is_register;
    struct registry_key key;
    struct instance doc;
    struct arena arena; /* of key and doc */
};

struct stream_heartbeat {
    struct registry_request request;
    struct stream_conn *conn;
    enum { HEARTBEAT, OPENING, CHECK } what;
};

static struct registry *registry_of(const struct stream_conn *c)
{
    return c->server->options.registry;
}

/* The user is known since hello; that it may use the session was checked then. */
const struct registry_proof *stream_session_proof(struct stream_conn *c)
{
    c->proof.key = slice_text(c->session_key);
    c->proof.user = c->user.user;
    c->proof.has_users = guard_is_on(c->server->options.identity);
    return &c->proof;
}

void stream_session_adopt(struct stream_conn *c, const struct registry_result *result)
{
    c->session = result->session;
    c->ttl_s = result->ttl_s;
    c->heartbeat_ms = stream_now_ms(c->server);
    c->must_send_key = result->session_key != NULL;
    if (c->must_send_key)
        snprintf(c->session_key, sizeof c->session_key, "%s", result->session_key);
}

/* --- requests ---------------------------------------------------------------------------------------- */

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
        struct registry_result answer = *result;
        answer.session_key = r->is_register && c->must_send_key ? c->session_key : NULL;
        c->must_send_key = c->must_send_key && !answer.session_key;
        stream_write_result(&text, r->rid, &answer);
    }
    end_request(r);
    stream_conn_send(c, err ? "error" : "result", buf_slice(&text), NULL, NULL, 0);
    buf_done(&text);
}

static void stream_session_on_done(struct registry_request *q, int err, const struct registry_result *result)
{
    struct stream_request *r = container_of(q, struct stream_request, request);
    r->is_pending = false;
    if (err == ERR_SESSION_GONE && r->is_register)
        r->conn->session = 0;
    stream_session_answer(r, err, result);
}

static void stream_session_send(struct stream_request *r)
{
    struct stream_conn *c = r->conn;
    r->is_pending = true;
    r->request.who = stream_conn_who(c);
    r->request.proof = stream_session_proof(c);
    r->request.source = c->q->source;
    if (r->is_register)
        registry_register(registry_of(c), &r->request, &r->key, &r->doc, c->session);
    else
        registry_deregister(registry_of(c), &r->request, &r->key);
}

static struct slice copy_or(struct arena *a, struct slice s, const char *otherwise)
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
        .ns = copy_or(&r->arena, f->ns, "default"),
        .group = copy_or(&r->arena, f->group, "default"),
        .service = copy_or(&r->arena, f->name, ""),
        .id = copy_or(&r->arena, f->id, ""),
    };
    list_add_last(&c->requests, &r->link);
    c->request_count++;
    return r;
}

/* --- the session ------------------------------------------------------------------------------------- */

static void begin_request(struct stream_request *r);

/* err: they have failed. */
static void go_on_with_waiting(struct stream_conn *c, int err, const struct registry_result *result)
{
    LIST_FOR_EACH_SAFE (l, &c->requests) {
        struct stream_request *r = container_of(l, struct stream_request, link);
        if (r->is_pending)
            continue;
        if (!err)
            begin_request(r);
        else
            stream_session_answer(r, err, result);
        if (!c->q)
            return;
    }
}

static void stream_session_drop(struct stream_conn *c, int err, const char *message)
{
    c->session = 0;
    stream_conn_error(c, NULL, err, message);
}

static void on_session(struct registry_request *q, int err, const struct registry_result *result)
{
    struct stream_heartbeat *b = container_of(q, struct stream_heartbeat, request);
    struct stream_conn *c = b->conn;
    const char *message = result && result->error ? result->error : err_text(err);
    int what = b->what;
    c->heartbeat = NULL;
    mem_free(b);
    if (what == OPENING && !err)
        stream_session_adopt(c, result);
    else if (what == HEARTBEAT && (err == ERR_SESSION_GONE || err == ERR_PERMISSION_DENIED))
        stream_session_drop(c, err, message); /* after other errors the next frame sends a heartbeat again */
    else if (what == CHECK && err)
        stream_session_drop(c, err, message);
    if (c->q && c->is_session_unchecked)
        stream_session_recheck(c);
    if (c->q && !c->is_session_unchecked)
        go_on_with_waiting(c, what == HEARTBEAT ? OK : err, result);
}

static struct stream_heartbeat *new_heartbeat(struct stream_conn *c, int what)
{
    struct stream_heartbeat *b = mem_new(sizeof *b);
    b->request.done = on_session;
    b->request.proof = stream_session_proof(c);
    b->request.source = c->q->source;
    b->conn = c;
    b->what = what;
    c->heartbeat = b;
    return b;
}

/* A connection without the permission drops its session, which then lives until its TTL ends. */
void stream_session_recheck(struct stream_conn *c)
{
    const struct stream_options *o = &c->server->options;
    char error[500] = "";
    c->proof = (struct registry_proof){0}; /* of the old permissions */
    (void)stream_session_proof(c);
    c->is_session_unchecked = false;
    int err = c->session ? guard_check_session(o->identity, &c->user, o->registry, c->session, &c->proof,
                                               error, sizeof error)
                         : OK;
    if (err == ERR_NOT_READY) {
        c->is_session_unchecked = true;
        if (c->heartbeat) /* it calls this again when it has ended */
            return;
        struct stream_heartbeat *b = new_heartbeat(c, CHECK);
        b->request.who = stream_conn_who(c);
        registry_session_prepare(o->registry, &b->request, c->session);
    } else if (err) {
        stream_session_drop(c, guard_public_error(err), error);
    }
}

void stream_session_keep_alive(struct stream_conn *c)
{
    uint64_t now_ms = stream_now_ms(c->server);
    if (!c->session || c->heartbeat || now_ms - c->heartbeat_ms < (uint64_t)c->ttl_s * 1000 / 6)
        return;
    c->heartbeat_ms = now_ms;
    struct stream_heartbeat *b = new_heartbeat(c, HEARTBEAT);
    b->request.who = stream_conn_who(c);
    registry_session_heartbeat(registry_of(c), &b->request, c->session);
}

/* --- frames ----------------------------------------------------------------------------------------- */

/* It waits while the session is opened or checked. */
static void begin_request(struct stream_request *r)
{
    struct stream_conn *c = r->conn;
    if (c->is_session_unchecked)
        return;
    if (c->session || !r->is_register) {
        stream_session_send(r);
    } else if (!c->heartbeat) {
        struct session doc = {
            .client_id = c->subscriber.client_id, .ttl_s = r->doc.ttl_s, .labels = c->subscriber.labels};
        /* A permission for the instance is enough to open a session; it is checked with the instance. */
        struct stream_heartbeat *b = new_heartbeat(c, OPENING);
        registry_session_open(registry_of(c), &b->request, &doc);
    }
}

void stream_session_register(struct stream_conn *c, const struct stream_frame *f)
{
    char error[240] = "";
    struct stream_request *r = new_request(c, f);
    if (!r)
        return;
    r->is_register = true;
    struct slice text = copy_or(&r->arena, f->instance, "");
    int err = instance_read(text, DOCUMENT_STRICT, &r->arena, &r->doc, error, sizeof error);
    if (err == ERR_MALFORMED) { /* as the frame itself, whose instance nobody has parsed before */
        end_request(r);
        stream_conn_fail(c, err, error);
    } else if (err) {
        struct registry_result result = {.error = error};
        stream_session_answer(r, err, &result);
    } else {
        begin_request(r);
    }
}

void stream_session_deregister(struct stream_conn *c, const struct stream_frame *f)
{
    struct stream_request *r = new_request(c, f);
    if (r)
        begin_request(r);
}

void stream_session_detach(struct stream_conn *c)
{
    while (!list_is_empty(&c->requests)) {
        struct stream_request *r = container_of(c->requests.next, struct stream_request, link);
        if (r->is_pending)
            registry_cancel(registry_of(c), &r->request);
        end_request(r);
    }
    if (c->heartbeat)
        registry_cancel(registry_of(c), &c->heartbeat->request);
    mem_free(c->heartbeat);
    c->heartbeat = NULL;
}
