/* SPDX-License-Identifier: Apache-2.0
 * Calls of the native API on the HTTP server: admission, and answers in one form. The other files have the
 * routes. The steps of a call:
 *
 *   1. call_begin        path, method, query, names, Content-Type, readiness: errors are answered before the
 *                        body arrives
 *   2. identify_client   with auth enabled: token, password or certificate
 *   3. authorize_call    the permissions of the route's OF_ flags; an existing session's owner, after a
 *                        barrier
 *   4. on_admitted       and call_end, whichever comes last: run the handler (BODY_STREAM: at once)
 *   5. api_respond…      a GET's permissions are checked again when it is answered
 *
 * Invariant: q->state is the call from call_begin until it is answered or gone, and nothing else. */
#include "server/api/call.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "base/log.h"
#include "base/text.h"
#include "registry/view.h"
#include "server/api/poll.h"
#include "server/api/result.h"

enum { BODY_MAX = 256 * 1024 }; /* the largest document with every character escaped fits */

static const char JSON_TYPE[] = "application/json";

struct kv *api_kv(const struct api_call *c)
{
    return c->api->options.kv;
}

struct audit *api_audit(const struct api_call *c)
{
    return c->api->options.audit;
}

struct registry *api_registry(const struct api_call *c)
{
    return c->api->options.registry;
}

struct registry_key api_key(const struct api_call *c)
{
    return (struct registry_key){c->ns, c->group, c->service, c->id};
}

const struct audience *api_audience(const struct api_call *c)
{
    return guard_audience(c->api->options.identity, &c->guard.who, api_registry(c));
}

/* --- parameters ----------------------------------------------------------------------------------------- */

bool api_next_param(const struct api_call *c, enum api_param p, size_t *at, struct slice *ret_value)
{
    if (!(c->route->params >> p & 1)) /* two parameters may have the same name */
        return false;
    return http_query_next(c->q, api_params[p].name, at, ret_value);
}

bool api_has_param(const struct api_call *c, enum api_param p)
{
    size_t at = 0;
    struct slice value;
    return api_next_param(c, p, &at, &value);
}

struct slice api_param(const struct api_call *c, enum api_param p)
{
    size_t at = 0;
    struct slice value;
    if (api_next_param(c, p, &at, &value))
        return value;
    return api_params[p].standard ? slice_text(api_params[p].standard) : (struct slice){0};
}

/* --- pages ---------------------------------------------------------------------------------------------- */

struct slice api_group_filter(const struct api_call *c)
{
    return slice_equal(c->group, slice_text("*")) ? (struct slice){0} : c->group;
}

static int continue_read(const struct api_call *c, struct buf *ret_after)
{
    int err = base64_decode(api_param(c, PARAM_CONTINUE), ret_after);
    if (!err && ret_after->size && !memchr(ret_after->data, '/', ret_after->size))
        err = ERR_MALFORMED;
    return err;
}

/* In base64: opaque, and valid in a query without escapes. */
static void continue_write(struct json_writer *w, struct slice group, struct slice name)
{
    struct buf place = {0}, token = {0};
    buf_add_slice(&place, group);
    buf_add_byte(&place, '/');
    buf_add_slice(&place, name);
    base64_encode(&token, buf_slice(&place));
    for (size_t i = 0; i < token.size; i++) {
        if (token.data[i] == '+')
            token.data[i] = '-';
        else if (token.data[i] == '/')
            token.data[i] = '_';
    }
    jw_key(w, "continue");
    jw_string(w, buf_slice(&token));
    buf_done(&place);
    buf_done(&token);
}

bool api_page_check(struct api_call *c)
{
    struct buf after = {0};
    int err = continue_read(c, &after);
    buf_done(&after);
    if (err)
        api_fail(c, API_BAD_REQUEST, "continue is not from an earlier answer");
    return !err;
}

void api_page_begin(struct api_page *p, const struct api_call *c)
{
    *p = (struct api_page){.left = api_number(api_param(c, PARAM_LIMIT))};
    if (continue_read(c, &p->after))
        buf_clear(&p->after); /* checked before */
}

void api_page_array(struct api_page *p, struct json_writer *w, const char *key)
{
    p->w = w;
    jw_key(w, key);
    jw_open(w, '[');
}

void api_page_open(struct api_page *p, const struct api_call *c, struct json_writer *w, const char *key)
{
    api_page_begin(p, c);
    api_page_array(p, w, key);
}

bool api_page_take(struct api_page *p, struct slice group, struct slice name)
{
    p->has_more = p->left == 0;
    if (p->has_more)
        return false;
    p->left--;
    p->group = group;
    p->name = name;
    jw_open(p->w, '{');
    jw_key(p->w, "name");
    jw_string(p->w, name);
    jw_key(p->w, "group");
    jw_string(p->w, group);
    return true;
}

void api_page_end(const struct api_page *p, struct json_writer *w, bool has_more)
{
    if (has_more)
        continue_write(w, p->group, p->name);
}

void api_page_close(struct api_page *p)
{
    jw_close(p->w, ']');
    if (p->has_more)
        continue_write(p->w, p->group, p->name);
    buf_done(&p->after);
}

/* --- answers ------------------------------------------------------------------------------------------- */

void api_expose_headers(struct api_call *c)
{
    if (c->q->origin.size && !c->q->is_own_page && http_origin_is_allowed(c->q))
        http_add_header(c->q, "Access-Control-Expose-Headers",
                        "X-Cairn-Revision, X-Cairn-Seq, ETag, Location, Retry-After, Content-Disposition, "
                        "Idempotent-Replayed");
}

static void add_header(void *arg, const char *name, const char *value)
{
    http_add_header(arg, name, value);
}

static void add_common_headers(struct api_call *c, int status, int64_t revision)
{
    const struct api_deprecation *d = api_deprecation_find(api_deprecations, c->route);
    if (d)
        api_deprecation_headers(d, add_header, c->q);
    struct http_request *q = c->q;
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, revision);
    http_add_header(q, "X-Cairn-Revision", text);
    api_expose_headers(c);
    /* A content is user data. A browser must not treat it as a page of this server: no scripts, no loads, an
     * opaque origin. */
    if (c->route && (c->route->flags & ANSWER_RAW))
        http_add_header(q, "Content-Security-Policy", "default-src 'none'; sandbox");
    if (status == 503)
        http_add_header(q, "Retry-After", "1");
    if (status == 429)
        http_add_header(q, "Retry-After", "5");
}

static bool is_read(const struct api_call *c)
{
    return c->route && api_route_reads(c->route) && !(c->route->flags & IS_PUBLIC);
}

static bool refuse_unauthorized(struct api_call *c, int err, const char *message);

/* Checks the permissions of a read again before its answer. */
static bool recheck_before_answer(struct api_call *c)
{
    char error[500] = "";
    int err = is_read(c) ? api_recheck_rights(c, error, sizeof error) : OK;
    if (!err)
        return true;
    c->q->headers.size = c->header_bytes; /* drop the headers of the answer */
    return refuse_unauthorized(c, err, error);
}

bool api_respond_sized(struct api_call *c, int64_t revision, size_t size)
{
    if (!recheck_before_answer(c))
        return false;
    add_common_headers(c, 200, revision);
    http_stream_open_sized(c->q, 200, JSON_TYPE, size);
    return true;
}

void api_respond(struct api_call *c, int status, int64_t revision, const char *type, struct slice body)
{
    struct http_request *q = c->q;
    if (api_once_takes(c, status, revision, type, body) || (status < 400 && !recheck_before_answer(c)))
        return;
    q->state = NULL;
    add_common_headers(c, status, revision);
    http_respond(q, status, status == 304 ? NULL : type ? type : JSON_TYPE, body);
}

struct json_writer *api_json(struct api_call *c, int64_t revision)
{
    struct api *a = c->api;
    buf_clear(&a->out);
    a->writer = (struct json_writer){.out = &a->out};
    jw_open(&a->writer, '{');
    if (revision >= 0) {
        jw_key(&a->writer, "revision");
        jw_int(&a->writer, revision);
    }
    return &a->writer;
}

void api_answer(struct api_call *c, int64_t revision)
{
    struct api *a = c->api;
    jw_close(&a->writer, '}');
    buf_add_byte(&a->out, '\n');
    api_respond(c, 200, revision, NULL, buf_slice(&a->out));
}

void api_fail_with(struct api_call *c, enum api_error error, const char *message,
                   const struct api_detail *detail)
{
    api_audit_refusal(c, error);
    struct json_writer *w = api_json(c, -1);
    bool is_problem = api_wants_problem(c);
    if (is_problem)
        api_problem_write(w, error, message, detail);
    else
        api_error_open(w, error, message, detail);
    if (detail->current.size) {
        jw_key(w, "current");
        jw_raw(w, detail->current);
    }
    if (!is_problem)
        jw_close(w, '}');
    jw_close(w, '}');
    buf_add_byte(w->out, '\n');
    int64_t revision = api_registry(c) ? registry_revision(api_registry(c)) : 0;
    api_respond(c, api_errors[error].status, revision, is_problem ? API_PROBLEM_TYPE : NULL,
                buf_slice(w->out));
}

void api_stream_open(struct api_call *c, int status, int64_t revision)
{
    add_common_headers(c, status, revision);
    http_stream_open(c->q, status, JSON_TYPE);
}

void api_fail(struct api_call *c, enum api_error error, const char *message)
{
    api_fail_with(c, error, message, &(struct api_detail){0});
}

void api_fail_err(struct api_call *c, int err, const char *message)
{
    enum api_error error = api_error_of(err);
    if (error == API_OUTCOME_UNKNOWN && c->route->method == HTTP_GET)
        error = API_UNAVAILABLE; /* a read changes nothing */
    api_fail(c, error, message);
}

/* --- bodies --------------------------------------------------------------------------------------------- */

static bool has_field(enum api_schema schema, const char *name)
{
    for (size_t i = 0; i < api_field_count; i++)
        if ((api_fields[i].schemas >> schema & 1) && strcmp(api_fields[i].name, name) == 0)
            return true;
    return false;
}

bool api_body(struct api_call *c, enum api_schema schema, json_t **ret_root)
{
    char error[200];
    const char *key;
    json_t *value, *root = NULL;
    if (json_parse(buf_slice(&c->q->body), &root, error, sizeof error)) {
        api_fail(c, API_MALFORMED, error);
        return false;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        api_fail(c, API_BAD_REQUEST, "the body is not a JSON object");
        return false;
    }
    json_object_foreach(root, key, value)
    {
        if (has_field(schema, key))
            continue;
        snprintf(error, sizeof error, "unknown field \"%.64s\"", key);
        json_decref(root);
        api_fail(c, API_BAD_REQUEST, error);
        return false;
    }
    *ret_root = root;
    return true;
}

static bool api_call_is_blank(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] != ' ' && s.data[i] != '\n' && s.data[i] != '\r' && s.data[i] != '\t')
            return false;
    return true;
}

/* Checks the body's size and presence. false: answered. */
static bool admit_body(struct api_call *c)
{
    struct buf *body = &c->q->body;
    const char *wrong = NULL;
    bool is_absent = api_call_is_blank(buf_slice(body));
    if (c->route->flags & BODY_RAW)
        return true; /* any bytes; config/ limits the size */
    if (body->size > BODY_MAX && !(c->route->flags & BODY_LARGE)) {
        api_fail(c, API_TOO_LARGE, "the body is larger than 256 KiB");
        return false;
    }
    if (c->route->body == SCHEMA_NONE)
        wrong = is_absent || c->route->method == HTTP_GET ? NULL : "this route takes no body";
    else if (is_absent && !(c->route->flags & BODY_OPTIONAL))
        wrong = "the body must be a JSON object";
    if (wrong) {
        api_fail(c, API_BAD_REQUEST, wrong);
        return false;
    }
    if (is_absent) {
        buf_clear(body);
        buf_add_text(body, "{}");
    }
    return true;
}

/* --- admission ------------------------------------------------------------------------------------------ */

static bool admit_path(struct api_call *c, const struct api_match *m)
{
    char allow[64];
    if (c->q->has_escaped_slash) {
        api_fail(c, API_BAD_REQUEST, "the path holds an escaped '/', which no name may have");
    } else if (!m->methods) {
        api_fail(c, API_NOT_FOUND, "there is no such path: see /openapi.json");
    } else if (!m->route) {
        api_methods_text(m->methods, allow, sizeof allow);
        http_add_header(c->q, "Allow", allow);
        api_fail(c, API_METHOD_NOT_ALLOWED, NULL);
    } else {
        return true;
    }
    return false;
}

static void api_call_take_name(struct api_call *c, enum api_param p, struct slice value)
{
    if (p == PARAM_SERVICE)
        c->service = value;
    else if (p == PARAM_ID)
        c->id = value;
    else if (p == PARAM_NAME)
        c->name = value;
    else if (p == PARAM_RULE)
        c->rule = value;
    else if (p == PARAM_RELEASE)
        c->release = api_number(value);
    else if (p == PARAM_NS)
        c->ns = value;
    else if (p == PARAM_LEASE && view_session_read(value, &c->lease))
        c->lease = 0; /* checked before */
}

static bool admit_values(struct api_call *c, const struct api_match *m)
{
    char error[200];
    for (size_t i = 0; i < m->name_count; i++) {
        if (api_check_value(m->names[i].param, m->names[i].value, error, sizeof error)) {
            api_fail(c, API_BAD_REQUEST, error);
            return false;
        }
        api_call_take_name(c, m->names[i].param, m->names[i].value);
    }
    enum api_error wrong = api_check_query(c->route, c->q->query, error, sizeof error);
    if (wrong != API_ERRORS) {
        api_fail(c, wrong, error);
        return false;
    }
    if (!c->ns.size) /* the path names it */
        c->ns = api_param(c, PARAM_NAMESPACE);
    c->group = api_param(c, PARAM_GROUP);
    return true;
}

static struct api_call *call_new(struct http_request *q)
{
    struct api_call *c = arena_new(&q->arena, sizeof *c);
    c->api = q->context;
    c->proof.key = q->session_key;
    c->q = q;
    q->state = c;
    return c;
}

/* A permission that the call needs. */
struct api_right {
    struct guard_need need;
    struct api_right *next;
};

/* --- authentication and authorization ------------------------------------------------------------------- */

static bool refuse_unauthorized(struct api_call *c, int err, const char *message)
{
    err = guard_public_error(err);
    if (err == ERR_INVALID_AUTH_TOKEN)
        http_add_header(c->q, "WWW-Authenticate", "Bearer realm=\"cairn\"");
    api_fail_err(c, err, err == ERR_INVALID_AUTH_TOKEN || err == ERR_PERMISSION_DENIED ? message : NULL);
    return false;
}

static void remember_right(struct api_call *c, const struct guard_need *need)
{
    struct api_right *r = arena_new(&c->q->arena, sizeof *r);
    r->need = *need; /* its names are the call's */
    r->next = c->rights;
    c->rights = r;
}

static bool authorize(struct api_call *c, const struct guard_need *need)
{
    char error[500] = "";
    int err = guard_check(c->api->options.identity, &c->guard.who, need, error, sizeof error);
    if (err)
        return refuse_unauthorized(c, err, error);
    remember_right(c, need);
    return true;
}

struct author api_author(const struct api_call *c)
{
    const char *certificate = http_common_name(c->q);
    struct slice name = slice_text(AUTHOR_ANONYMOUS);
    if (c->guard.who.user.size)
        name = c->guard.who.user;
    else if (*certificate)
        name = slice_text(certificate);
    return (struct author){name, api_param(c, PARAM_ON_BEHALF_OF), gray_address(c->q->peer)};
}

const struct auth_who *api_who(const struct api_call *c)
{
    return c->api->options.identity ? &c->guard.who : NULL;
}

int api_recheck_rights(struct api_call *c, char *error, size_t error_size)
{
    const struct identity *i = c->api->options.identity;
    uint64_t epoch = guard_epoch(i);
    if (c->rights_epoch == epoch)
        return OK;
    c->rights_epoch = epoch;
    int err = guard_check_user(i, &c->guard.who, error, error_size);
    for (const struct api_right *r = c->rights; r && !err; r = r->next)
        err = guard_check(i, &c->guard.who, &r->need, error, error_size);
    return err;
}

void api_refuse(struct api_call *c, int err, const char *message)
{
    c->q->headers.size = c->header_bytes;
    refuse_unauthorized(c, err, message);
}

bool api_authorize(struct api_call *c, enum guard_kind kind, bool is_write, struct slice ns,
                   struct slice group, struct slice name)
{
    return authorize(
        c, &(struct guard_need){.kind = kind, .is_write = is_write, .ns = ns, .group = group, .name = name});
}

bool api_authorize_prefix(struct api_call *c, enum guard_kind kind, struct slice ns, struct slice group,
                          struct slice prefix)
{
    return authorize(c,
                     &(struct guard_need){
                         .kind = kind, .is_prefix = prefix.size, .ns = ns, .group = group, .name = prefix});
}

bool api_authorize_namespaces(struct api_call *c, enum guard_kind kind)
{
    size_t at = 0, count = 0;
    struct slice ns;
    for (; api_next_param(c, PARAM_NAMESPACES, &at, &ns); count++)
        if (!api_authorize(c, kind, false, slice_equal(ns, slice_text("*")) ? (struct slice){0} : ns,
                           (struct slice){0}, (struct slice){0}))
            return false;
    return count || api_authorize(c, kind, false, (struct slice){0}, (struct slice){0}, (struct slice){0});
}

/* Checks the permissions of the row's OF_ flags. false: answered. */
static bool authorize_route(struct api_call *c)
{
    unsigned flags = c->route->flags;
    bool is_write = c->route->method != HTTP_GET;
    struct slice group = api_group_filter(c), prefix = api_param(c, PARAM_PREFIX);
    const struct {
        unsigned flag;
        struct guard_need need;
    } needs[] = {
        {OF_SERVICE,
         {GUARD_INSTANCES, is_write, prefix.size, c->ns, group, prefix.size ? prefix : c->service, {0}}},
        {OF_SETTINGS, {GUARD_SETTINGS, is_write, false, c->ns, c->group, c->service, {0}}},
        {OF_INSTANCE, {GUARD_INSTANCES, is_write, false, c->ns, c->group, c->service, c->id}},
        {OF_OVERRIDE, {GUARD_OVERRIDE, is_write, false, c->ns, c->group, c->service, c->id}},
        {OF_SESSIONS, {.kind = GUARD_SESSIONS, .is_write = true}},
        {OF_CONFIG, {GUARD_CONFIG, is_write, prefix.size, c->ns, group, prefix.size ? prefix : c->name, {0}}},
        {OF_DRAFT, {GUARD_DRAFT, is_write, false, c->ns, group, c->name, {0}}},
        {OF_AUDIT, {.kind = GUARD_AUDIT}},
        {OF_REVIEW, {GUARD_REVIEW, is_write, false, c->ns, group, c->name, {0}}},
        {OF_SCHEMA, {GUARD_SCHEMA, is_write, false, c->ns, group, c->name, {0}}},
        {OF_POLICY, {.kind = GUARD_POLICY, .is_write = is_write, .ns = c->ns}},
        {OF_NAMESPACE, {.kind = GUARD_NAMESPACE, .is_write = is_write, .ns = c->ns}},
    };
    const struct guard_need emergency = {GUARD_EMERGENCY, true, false, c->ns, group, c->name, {0}};
    if (api_has_param(c, PARAM_EMERGENCY) && c->name.size && !authorize(c, &emergency))
        return false; /* the names of a bundle are in its body */
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if ((flags & needs[i].flag) && !authorize(c, &needs[i].need))
            return false;
    return true;
}

static void on_admitted(struct api_call *c);

/* The session in the path or in the query of an instance; 0 = none. */
static int64_t named_session(const struct api_call *c)
{
    int64_t session = c->lease;
    if (api_has_param(c, PARAM_SESSION) && view_session_read(api_param(c, PARAM_SESSION), &session))
        session = 0; /* checked before */
    return session;
}

static void cancel_identification(struct api_call *c)
{
    guard_cancel(&c->guard);
}

static void cancel_session_barrier(struct api_call *c)
{
    registry_cancel(api_registry(c), &c->session_barrier);
}

/* The session whose right is checked: the named one, or that of the instance; 0 = none. For an instance's
 * session, the check only fills the proof: the registry itself refuses an instance of another's session. */
static int64_t session_to_check(const struct api_call *c)
{
    const struct registry_key key = api_key(c);
    int64_t session = named_session(c);
    return session || !c->id.size ? session : registry_session_of(api_registry(c), &key);
}

static void authorize_session(struct api_call *c)
{
    char error[500] = "";
    int64_t session = session_to_check(c);
    int err = guard_check_session(c->api->options.identity, &c->guard.who, api_registry(c), session,
                                  &c->proof, error, sizeof error);
    if (err == ERR_NOT_READY) {
        c->cancel = cancel_session_barrier;
        c->session_barrier.who = &c->guard.who;
        registry_session_prepare(api_registry(c), &c->session_barrier, session);
    } else if (err && named_session(c)) {
        refuse_unauthorized(c, err, error);
    } else {
        on_admitted(c);
    }
}

static void on_session_barrier(struct registry_request *r, int err, const struct registry_result *result)
{
    struct api_call *c = container_of(r, struct api_call, session_barrier);
    (void)result;
    c->cancel = NULL;
    if (err)
        refuse_unauthorized(c, err, "");
    else
        authorize_session(c);
}

/* The owner of a session is only certain after a barrier. */
static void authorize_call(struct api_call *c)
{
    if (!authorize_route(c))
        return;
    c->session_barrier.done = on_session_barrier;
    if (!named_session(c)) {
        authorize_session(c);
        return;
    }
    c->cancel = cancel_session_barrier;
    registry_barrier(api_registry(c), &c->session_barrier);
}

static void on_identified(struct guard *g, int err)
{
    struct api_call *c = container_of(g, struct api_call, guard);
    c->cancel = NULL;
    if (err == ERR_USER_EMPTY && (c->route->flags & FOR_ANONYMOUS)) {
        c->guard.who = guard_anonymous();
        err = OK;
    }
    if (err)
        refuse_unauthorized(c, err, guard_text(err));
    else
        authorize_call(c);
}

/* A body that arrives in pieces cannot wait for a password check: such routes need a token. */
static void identify_client(struct api_call *c)
{
    struct http_request *q = c->q;
    c->guard.done = on_identified;
    c->guard.peer = q->peer;
    int err =
        guard_identify(&c->guard, c->api->options.identity, q->authorization, http_common_name(q), &q->arena);
    if (err != ERR_NOT_READY) {
        on_identified(&c->guard, err);
    } else if (c->route->flags & BODY_STREAM) {
        guard_cancel(&c->guard);
        refuse_unauthorized(c, ERR_INVALID_AUTH_TOKEN,
                            "this route needs a token that this member knows: send Authorization: Bearer "
                            "<token>, with a token from "
                            "POST /v3/auth/authenticate");
    } else {
        c->cancel = cancel_identification;
    }
}

static bool type_is(struct slice type, const char *name)
{
    return type.size == strlen(name) && strncasecmp((const char *)type.data, name, type.size) == 0;
}

/* A POST with a Content-Type of HTML forms: any page may send it without a preflight request. The type of
 * curl -d, and no type, are accepted from clients that are not browsers. */
static bool is_form(const struct api_call *c)
{
    const struct http_request *q = c->q;
    struct slice type = q->content_type;
    const uint8_t *end = type.size ? memchr(type.data, ';', type.size) : NULL;
    if (end)
        type.size = (size_t)(end - type.data);
    while (type.size && (type.data[type.size - 1] == ' ' || type.data[type.size - 1] == '\t'))
        type.size--;
    if (q->method != HTTP_POST)
        return false;
    if (type_is(type, "text/plain") || type_is(type, "multipart/form-data"))
        return true;
    bool is_unnamed = !type.size && q->has_body;
    return q->is_from_browser && (is_unnamed || type_is(type, "application/x-www-form-urlencoded"));
}

/* Errors in the head are answered before the body arrives. */
static void call_begin(struct http_request *q)
{
    struct api_call *c = call_new(q);
    struct api_match m = api_route_find(q->method, q->path);
    if (!admit_path(c, &m))
        return;
    c->route = m.route;
    if (!admit_values(c, &m))
        return;
    if (is_form(c)) {
        api_fail(c, API_UNSUPPORTED_MEDIA, NULL);
        return;
    }
    const struct config *config = c->api->options.config;
    bool is_ready = registry_is_ready(api_registry(c)) && (!config || config_is_ready(config)) &&
                    (!api_namespaces(c) || namespaces_is_ready(api_namespaces(c)));
    if (!(c->route->flags & IS_PUBLIC) && !is_ready)
        api_fail(c, API_NOT_READY, NULL);
    else if (!(c->route->flags & IS_PUBLIC) && guard_is_on(c->api->options.identity))
        identify_client(c);
    else
        on_admitted(c);
}

/* For the paths whose bodies arrive in pieces. */
static void call_body(struct http_request *q, struct slice piece)
{
    struct api_call *c = q->state;
    c->body(c, piece);
}

static void end_request(struct api_call *c)
{
    c->is_ended = true;
    if (c->route->flags & BODY_STREAM)
        c->end(c);
    else if (admit_body(c) && !api_once_begin(c))
        c->route->handle(c);
}

/* The handler runs when the client is authorized and the request is whole, whichever comes last. */
static void on_admitted(struct api_call *c)
{
    c->is_admitted = true;
    c->rights_epoch = guard_epoch(c->api->options.identity);
    c->guard.who.is_renewed = c->guard.who.revision != 0; /* later checks use its current permissions */
    c->header_bytes = c->q->headers.size;
    if (c->route->flags & BODY_STREAM)
        c->route->handle(c);
    else if (c->is_whole)
        end_request(c);
}

static void call_end(struct http_request *q)
{
    struct api_call *c = q->state;
    c->is_whole = true;
    if (c->is_admitted)
        end_request(c);
}

static void call_gone(struct http_request *q)
{
    struct api_call *c = q->state;
    q->state = NULL;
    if (c && c->cancel)
        c->cancel(c);
}

static void call_expired(struct http_request *q)
{
    struct api_call *c = q->state;
    if (c->expired) {
        c->expired(c);
        return;
    }
    if (c->cancel)
        c->cancel(c);
    api_fail(c, API_DEADLINE, NULL);
}

static void call_drain(struct http_request *q)
{
    struct api_call *c = q->state;
    if (c && c->drain)
        c->drain(c);
}

/* 413, 403, or a malformed chunked body; possibly before begin. */
static void call_refuse(struct http_request *q, int status, const char *text)
{
    struct api_call *c = q->state ? q->state : call_new(q);
    if (c->cancel)
        c->cancel(c);
    enum api_error error = status == 413 ? API_TOO_LARGE : status == 403 ? API_FORBIDDEN : API_BAD_REQUEST;
    api_fail(c, error, text);
}

static void call_writable(struct http_request *q)
{
    struct api_call *c = q->state;
    if (c && c->writable)
        c->writable(c);
}

static const struct http_handler api_handler = {
    .work = TURN_API_REQUEST,
    .begin = call_begin,
    .end = call_end,
    .writable = call_writable,
    .expired = call_expired,
    .gone = call_gone,
    .refuse = call_refuse,
    .drain = call_drain,
};

static const struct http_handler stream_handler = {
    .work = TURN_API_REQUEST,
    .begin = call_begin,
    .body = call_body,
    .end = call_end,
    .writable = call_writable,
    .expired = call_expired,
    .gone = call_gone,
    .refuse = call_refuse,
    .drain = call_drain,
};

/* --- init and free -------------------------------------------------------------------------------------- */

struct api *api_new(const struct api_options *options)
{
    struct api *a = mem_new(sizeof *a);
    a->options = *options;
    list_init(&a->polls);
    list_init(&a->sliced);
    list_init(&a->changed);
    list_init(&a->rendering);
    list_init(&a->rendered);
    list_init(&a->garbage);
    if (!a->options.import_bytes_max)
        a->options.import_bytes_max = 128u << 20;
    return a;
}

bool api_turn(struct api *a)
{
    enum { KEPT = 64 * 1024 };
    bool has_polls = api_polls_turn(a), has_polled = api_polled_turn(a);
    bool has_results = api_results_turn(a);
    bool has_more = api_slices_turn(a) || has_polls || has_polled || has_results;
    if (!has_polls)
        api_results_drop_kept(a);
    if (a->out.capacity > KEPT)
        buf_done(&a->out);
    has_more = has_more || a->has_read;
    a->has_read = false;
    return api_recheck_polls(a) || has_more;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    api_turn(a);
    api_results_done(a);
    api_polled_free(a->polled);
    buf_done(&a->openapi);
    buf_done(&a->asyncapi);
    buf_done(&a->out);
    mem_free(a);
}

void api_mounts(struct api *a, struct http_mount ret_mounts[API_MOUNTS])
{
    static const char *const paths[API_MOUNTS] = {"/api/",          "/sd/prometheus",  "/openapi.json",
                                                  "/asyncapi.json", "/docs/errors.md", "/api/v1/import"};
    for (size_t i = 0; i < API_MOUNTS; i++)
        ret_mounts[i] = (struct http_mount){.path = paths[i], .handler = &api_handler, .context = a};
    ret_mounts[API_MOUNTS - 1].handler = &stream_handler;
}
