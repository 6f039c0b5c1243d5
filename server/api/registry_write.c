/* SPDX-License-Identifier: Apache-2.0
 * Routes that change the registry: instances, sessions, settings, overrides, drains. A handler reads its
 * document strictly and calls the registry; the route's schema has the form of the answer. */
#include <stdio.h>

#include "base/json_lex.h"
#include "base/text.h"
#include "registry/view.h"
#include "server/api/private.h"
#include "server/api/slice.h"

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

static struct json_writer *begin_session(struct api_call *c, const struct registry_result *result)
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
    return w;
}

static void answer_session(struct api_call *c, const struct registry_result *result)
{
    begin_session(c, result);
    api_answer(c, result->revision);
}

static void answer_list(struct api_call *c, const struct registry_result *result)
{
    struct json_writer *w = begin_session(c, result);
    jw_key(w, "changed");
    jw_uint(w, result->changed);
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

static int64_t session_param(const struct api_call *c)
{
    int64_t session = 0;
    if (api_has_param(c, PARAM_SESSION) && view_session_read(api_param(c, PARAM_SESSION), &session))
        session = 0; /* checked before */
    return session;
}

void api_instance_put(struct api_call *c)
{
    struct instance doc;
    char error[200];
    const struct registry_key key = api_key(c);
    int err = instance_read(buf_slice(&c->q->body), DOCUMENT_STRICT, &c->q->arena, &doc, error, sizeof error);
    if (is_read(c, err, error))
        registry_register(api_registry(c), write_new(c, answer_session), &key, &doc, session_param(c));
}

void api_instance_delete(struct api_call *c)
{
    const struct registry_key key = api_key(c);
    registry_deregister(api_registry(c), write_new(c, answer_written), &key);
}

void api_check_put(struct api_call *c)
{
    enum instance_state state;
    struct slice output;
    char error[200];
    const struct registry_key key = api_key(c);
    int err = report_read(buf_slice(&c->q->body), &c->q->arena, &state, &output, error, sizeof error);
    if (is_read(c, err, error))
        registry_report(api_registry(c), write_new(c, answer_written), &key, state, output);
}

/* --- a list of instances ----------------------------------------------------------------------------
 * {"ttl":15,"instances":[...]}. The elements are found in the text and read one by one, in slices: each may have
 * as many values as a whole document. */

struct instance_list {
    struct registry_item *items;
    size_t count;
    uint32_t ttl_s;
    const uint8_t *at, *end; /* the elements that are not read yet; at NULL = all are read */
};

static void list_fail(struct api_call *c, const struct instance_list *list, int err, const char *why)
{
    char text[300];
    snprintf(text, sizeof text, "instances[%zu]: %s", list->count, why);
    api_fail_err(c, err, text);
}

/* Reads the element at list->at, and moves behind it and the comma. False: answered. */
static bool read_element(struct api_call *c, struct instance_list *list)
{
    struct instance *doc = arena_new(&c->q->arena, sizeof *doc);
    struct instance_names names = {.ns = c->ns, .group = c->group};
    struct buf scratch = {0};
    char error[200] = "";
    if (list->count == REGISTRY_LIST_MAX) {
        api_fail_err(c, ERR_INVALID, "instances is not a list of at most 100 elements");
        return false;
    }
    const uint8_t *end =
        list->at < list->end && *list->at == '{' ? json_lex_value_end(list->at, list->end, &scratch) : NULL;
    buf_done(&scratch);
    if (!end || end == list->end || (*end != ',' && *end != ']')) {
        list_fail(c, list, ERR_MALFORMED,
                  "this is not a JSON object with a comma or the list's end after it");
        return false;
    }
    int err = instance_read_item(slice_of(list->at, (size_t)(end - list->at)), &c->q->arena, &names, doc,
                                 error, sizeof error);
    if (err) {
        list_fail(c, list, err, error);
        return false;
    }
    list->items[list->count++] =
        (struct registry_item){{names.ns, names.group, names.service, names.id}, doc};
    list->at = *end == ',' ? json_skip_blanks(end + 1, list->end) : NULL;
    if (*end == ']' && json_skip_blanks(end + 1, list->end) != list->end) {
        list_fail(c, list, ERR_MALFORMED, "the list does not end where its brackets do");
        return false;
    }
    return true;
}

/* Checks WRITE on an element. The call has its names from then on, for the audit trail. False: answered. */
static bool authorize_element(struct api_call *c, const struct instance_list *list, size_t i)
{
    const struct registry_key *key = &list->items[i].key;
    const struct guard_need need = {GUARD_INSTANCES, true, false, key->ns, key->group, key->service, key->id};
    char error[500] = "", text[540];
    int err = guard_check(c->api->options.identity, &c->guard.who, &need, error, sizeof error);
    snprintf(text, sizeof text, "instances[%zu]: %s", i, error);
    c->ns = key->ns, c->group = key->group, c->service = key->service, c->id = key->id;
    if (err)
        api_refuse(c, err, text);
    return !err;
}

static void register_list(struct api_call *c);

static void on_session_checked(struct registry_request *q, int err, const struct registry_result *result)
{
    struct api_call *c = container_of(q, struct api_call, session_barrier);
    (void)result;
    c->cancel = api_slice_never;
    if (err)
        api_fail_err(c, err, NULL);
    else
        register_list(c);
}

static void cancel_check(struct api_call *c)
{
    registry_cancel(api_registry(c), &c->session_barrier);
}

/* Without ?session=, the proof is for the sessions of the instances: the client is an operator if it is one of
 * all of them. If they are of one session, it may be that the client may write all instances of it. False: it
 * goes on when a large session has been checked. */
static bool prove_sessions(struct api_call *c, const struct instance_list *list)
{
    struct registry *r = api_registry(c);
    int64_t seen[REGISTRY_LIST_MAX], may_all_of = 0;
    size_t count = 0;
    bool is_operator = true;
    for (size_t i = 0; i < list->count; i++) {
        struct registry_proof proof = c->proof;
        int64_t session = registry_session_of(r, &list->items[i].key);
        char error[500];
        size_t k = 0;
        while (k < count && seen[k] != session)
            k++;
        if (!session || k < count)
            continue;
        proof.is_operator = false;
        proof.may_all_of = 0;
        int err = guard_check_session(c->api->options.identity, &c->guard.who, r, session, &proof, error,
                                      sizeof error);
        if (err == ERR_NOT_READY) {
            c->session_barrier = (struct registry_request){.done = on_session_checked, .who = &c->guard.who};
            c->cancel = cancel_check;
            registry_session_prepare(r, &c->session_barrier, session);
            return false;
        }
        is_operator = is_operator && proof.is_operator; /* after any other error the registry refuses */
        may_all_of = proof.may_all_of;
        seen[count++] = session;
    }
    c->proof.is_operator = count && is_operator;
    c->proof.may_all_of = count == 1 ? may_all_of : 0;
    return true;
}

static void register_list(struct api_call *c)
{
    const struct instance_list *list = c->state;
    for (size_t i = 0; i < list->count; i++)
        if (!authorize_element(c, list, i))
            return;
    if (!api_has_param(c, PARAM_SESSION) && !prove_sessions(c, list))
        return;
    registry_register_list(api_registry(c), write_new(c, answer_list), list->items, list->count, list->ttl_s,
                           session_param(c));
}

static void read_more(struct api_call *c)
{
    struct instance_list *list = c->state;
    do {
        if (!read_element(c, list))
            return;
    } while (list->at && !api_slice_is_over(c));
    if (list->at)
        api_slice_later(c, read_more);
    else
        api_slice_later(c, register_list);
}

/* Reads the body without the elements of the list, whose place it finds. False: answered. */
static bool read_frame(struct api_call *c, struct instance_list *list)
{
    struct slice body = buf_slice(&c->q->body);
    const uint8_t *stop = body.data + body.size;
    struct buf scratch = {0}, frame = {0};
    char error[200] = "";
    int64_t ttl = INSTANCE_TTL_S;
    const uint8_t *from = json_find_value(body, "instances", &scratch);
    const uint8_t *to = from && from < stop && *from == '[' ? json_lex_value_end(from, stop, &scratch) : NULL;
    if (to) {
        buf_add(&frame, body.data, (size_t)(from - body.data));
        buf_add_text(&frame, "[]");
        buf_add(&frame, to, (size_t)(stop - to));
    } else {
        buf_add_slice(&frame, body);
    }
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, &c->q->arena, error, sizeof error);
    if (json_has_more_values(buf_slice(&frame), DOCUMENT_VALUES_MAX))
        document_refuse(&r, "the document", "has too many values beside instances");
    else
        document_begin(&r, buf_slice(&frame));
    document_number(&r, "ttl", INSTANCE_TTL_MIN_S, INSTANCE_TIME_MAX_S, &ttl);
    json_t *instances = document_take(&r, "instances");
    if (!instances)
        document_refuse_last(&r, "instances", "is missing");
    else if (!json_is_array(instances))
        document_refuse(&r, "instances", "is not a list");
    int err = document_end(&r);
    list->ttl_s = (uint32_t)ttl;
    if (to) {
        list->at = json_skip_blanks(from + 1, to);
        list->end = to;
    }
    buf_done(&scratch);
    buf_done(&frame);
    return is_read(c, err, error);
}

void api_instance_list_put(struct api_call *c)
{
    struct instance_list *list = arena_new(&c->q->arena, sizeof *list);
    list->items = arena_new(&c->q->arena, REGISTRY_LIST_MAX * sizeof *list->items);
    if (!read_frame(c, list))
        return;
    if (!list->at || *list->at == ']') {
        api_fail_err(c, ERR_INVALID, "instances is empty");
        return;
    }
    c->state = list;
    c->cancel = api_slice_never;
    api_slice_later(c, read_more);
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
