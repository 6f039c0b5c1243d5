/* SPDX-License-Identifier: Apache-2.0
 * Routes that change the registry: instances, sessions, settings, overrides, drains. A handler reads its
 * document strictly and calls the registry; the route's schema has the form of the answer. */
#include "base/text.h"
#include "registry/view.h"
#include "server/api/call.h"

enum { HEARTBEATS_PER_TTL = 3, DRAIN_MS = 30000, DRAIN_MS_MAX = 600000, WAITING_LISTED = 100 };

/* One registry request, and the function that answers with its result. */
struct write {
    struct registry_request request;
    struct api_call *call;
    void (*answer)(struct api_call *c, const struct registry_result *result);
};

static void api_registry_write_on_done(struct registry_request *q, int err,
                                       const struct registry_result *result)
{
    struct write *write = container_of(q, struct write, request);
    if (err)
        api_fail_err(write->call, err, result->error);
    else
        write->answer(write->call, result);
}

static void api_registry_write_cancel(struct api_call *c)
{
    struct write *write = c->state;
    registry_cancel(api_registry(c), &write->request);
}

static struct registry_request *
write_new(struct api_call *c, void (*answer)(struct api_call *c, const struct registry_result *result))
{
    struct write *write = arena_new(&c->q->arena, sizeof *write);
    write->request.done = api_registry_write_on_done;
    write->request.who = api_who(c);
    write->request.author = api_author(c);
    write->request.proof = &c->proof;
    write->request.source = c->q->source;
    write->call = c;
    write->answer = answer;
    c->state = write;
    c->cancel = api_registry_write_cancel;
    return &write->request;
}

/* Answers a reader's error, with its place in the text or the field. */
static bool is_read(struct api_call *c, int err, const char *error)
{
    if (err)
        api_fail_err(c, err, error);
    return !err;
}

/* --- answers ---------------------------------------------------------------------------------------- */

static void answer_written(struct api_call *c, const struct registry_result *result)
{
    struct json_writer *w = api_json(c, result->revision);
    if (result->is_unchanged) {
        jw_key(w, "unchanged");
        jw_bool(w, true);
    }
    api_answer(c, result->revision);
}

static void answer_session(struct api_call *c, const struct registry_result *result)
{
    struct json_writer *w = api_json(c, result->revision);
    if (result->session) { /* an instance with a check has none */
        jw_key(w, "session");
        view_session_write(result->session, w);
        if (result->session_key) {
            jw_key(w, "session_key");
            jw_text(w, result->session_key);
        }
        jw_key(w, "ttl");
        jw_uint(w, result->ttl_s);
        jw_key(w, "heartbeat_ms");
        jw_uint(w, (uint64_t)result->ttl_s * 1000 / HEARTBEATS_PER_TTL);
    }
    if (result->is_unchanged) {
        jw_key(w, "unchanged");
        jw_bool(w, true);
    }
    api_answer(c, result->revision);
}

static void answer_closed(struct api_call *c, const struct registry_result *result)
{
    struct json_writer *w = api_json(c, result->revision);
    jw_key(w, "instances");
    jw_uint(w, result->instances);
    api_answer(c, result->revision);
}

static void answer_drained(struct api_call *c, const struct registry_result *result)
{
    struct json_writer *w = api_json(c, result->revision);
    jw_key(w, "complete");
    jw_bool(w, result->waiting_count == 0);
    jw_key(w, "acknowledged");
    jw_uint(w, result->acknowledged);
    jw_key(w, "waiting");
    jw_open(w, '[');
    for (size_t i = 0; result->waiting && i < result->waiting_count && i < WAITING_LISTED; i++) {
        jw_open(w, '{');
        jw_key(w, "client_id");
        jw_string(w, result->waiting[i].client_id);
        jw_key(w, "peer");
        jw_string(w, result->waiting[i].peer);
        jw_key(w, "member");
        jw_string(w, result->waiting[i].member);
        jw_close(w, '}');
    }
    jw_close(w, ']');
    jw_key(w, "waiting_count");
    jw_uint(w, result->waiting_count);
    api_answer(c, result->revision);
}

/* --- instances -------------------------------------------------------------------------------------- */

void api_instance_put(struct api_call *c)
{
    struct instance doc;
    char error[200];
    const struct registry_key key = api_key(c);
    int64_t session = 0;
    int err = instance_read(buf_slice(&c->q->body), DOCUMENT_STRICT, &c->q->arena, &doc, error, sizeof error);
    if (!is_read(c, err, error))
        return;
    if (api_has_param(c, PARAM_SESSION) && view_session_read(api_param(c, PARAM_SESSION), &session))
        session = 0; /* checked before */
    registry_register(api_registry(c), write_new(c, answer_session), &key, &doc, session);
}

void api_instance_delete(struct api_call *c)
{
    const struct registry_key key = api_key(c);
    registry_deregister(api_registry(c), write_new(c, answer_written), &key);
}

/* --- sessions --------------------------------------------------------------------------------------- */

void api_session_post(struct api_call *c)
{
    struct session doc;
    char error[200];
    int err = session_read(buf_slice(&c->q->body), DOCUMENT_STRICT, &c->q->arena, &doc, error, sizeof error);
    if (is_read(c, err, error))
        registry_session_open(api_registry(c), write_new(c, answer_session), &doc);
}

void api_session_heartbeat(struct api_call *c)
{
    registry_session_heartbeat(api_registry(c), write_new(c, answer_session), c->lease);
}

void api_session_delete(struct api_call *c)
{
    registry_session_close(api_registry(c), write_new(c, answer_closed), c->lease);
}

/* --- settings and overrides ------------------------------------------------------------------------- */

void api_settings_put(struct api_call *c)
{
    struct settings doc;
    char error[200];
    const struct registry_key key = api_key(c);
    int err = settings_read(buf_slice(&c->q->body), DOCUMENT_STRICT, &c->q->arena, &doc, error, sizeof error);
    if (is_read(c, err, error))
        registry_put_settings(api_registry(c), write_new(c, answer_written), &key, &doc);
}

void api_settings_delete(struct api_call *c)
{
    const struct registry_key key = api_key(c);
    registry_put_settings(api_registry(c), write_new(c, answer_written), &key, NULL);
}

void api_override_put(struct api_call *c)
{
    struct override doc;
    char error[200];
    const struct registry_key key = api_key(c);
    int err = override_read(buf_slice(&c->q->body), DOCUMENT_STRICT, &c->q->arena, &doc, error, sizeof error);
    if (is_read(c, err, error))
        registry_put_override(api_registry(c), write_new(c, answer_written), &key, &doc);
}

void api_override_delete(struct api_call *c)
{
    const struct registry_key key = api_key(c);
    registry_put_override(api_registry(c), write_new(c, answer_written), &key, NULL);
}

/* --- draining --------------------------------------------------------------------------------------- */

/* Ends the wait for a drain: the instance stays draining; acknowledgements are not reported. */
static void on_server_drain(struct api_call *c)
{
    api_registry_write_cancel(c);
    api_fail(c, API_STOPPING, "the server is stopping; the instance is draining or will be soon");
}

/* A projected instance that the client may not read is treated as missing. */
static bool is_shown(const struct api_call *c)
{
    const struct catalog_service *s =
        catalog_find(registry_catalog(api_registry(c)), c->ns, c->group, c->service);
    const struct catalog_instance *i = s ? catalog_instance(s, c->id) : NULL;
    return !i || !i->doc || audience_sees(api_audience(c), i);
}

void api_drain_post(struct api_call *c)
{
    const struct registry_key key = api_key(c);
    json_t *root;
    const char *wrong = NULL;
    if (!api_body(c, SCHEMA_DRAIN, &root))
        return;
    const json_t *deadline = json_object_get(root, "deadline_ms"), *wait = json_object_get(root, "wait");
    int64_t ms = deadline ? json_integer_value(deadline) : DRAIN_MS;
    bool does_wait = !wait || json_is_true(wait);
    if (deadline && (!json_is_integer(deadline) || ms < 1 || ms > DRAIN_MS_MAX))
        wrong = "deadline_ms is not a whole number from 1 to 600000";
    else if (wait && !json_is_boolean(wait))
        wrong = "wait is not true or false";
    json_decref(root);
    if (wrong) {
        api_fail(c, API_BAD_REQUEST, wrong);
        return;
    }
    if (!is_shown(c)) {
        api_fail(c, API_NOT_FOUND, "there is no such instance");
        return;
    }
    struct registry_request *request = write_new(c, answer_drained);
    c->drain = does_wait ? on_server_drain : NULL;
    registry_drain(api_registry(c), request, &key, (uint64_t)ms, does_wait);
}
