/* SPDX-License-Identifier: Apache-2.0
 * /openapi.json: the API's tables as OpenAPI 3.1. It has nothing that is not in the tables. */
#include <ctype.h>
#include <stdio.h>

#include "server/api/openapi.h"
#include "server/version.h"

static void api_openapi_add(struct json_writer *w, const char *key, const char *text)
{
    jw_key(w, key);
    jw_text(w, text);
}

static void add_raw(struct json_writer *w, const char *key, const char *json)
{
    jw_key(w, key);
    jw_raw(w, slice_text(json));
}

/* --- schemas ---------------------------------------------------------------------------------------- */

/* Length limits are in bytes, which JSON Schema cannot express. */
#define NAME_PATTERN "\"pattern\":\"^[^/\\\\u0000-\\\\u001f\\\\u007f]+$\",\"not\":{\"enum\":[\".\",\"..\"]}"

static const char *type_of(enum api_param p)
{
    switch (api_params[p].type) {
    case TYPE_NAMESPACE:
        return "{\"type\":\"string\",\"minLength\":1,\"maxLength\":64," NAME_PATTERN "}";
    case TYPE_NAME:
        return "{\"type\":\"string\",\"minLength\":1,\"maxLength\":256," NAME_PATTERN "}";
    case TYPE_TEXT:
        return "{\"type\":\"string\",\"minLength\":1}";
    case TYPE_ANY:
        return "{\"type\":\"string\"}";
    case TYPE_FLAG:
        return "{\"anyOf\":[{\"type\":\"boolean\"},{\"const\":\"\"}]}"; /* alone = true */
    case TYPE_LINE:
        return "{\"type\":\"string\",\"minLength\":1,\"maxLength\":256}";
    case TYPE_COUNT:
        return "{\"type\":\"integer\",\"minimum\":1,\"maximum\":10000}";
    case TYPE_MOMENT:
    case TYPE_REVISION:
        return "{\"type\":\"integer\",\"format\":\"int64\",\"minimum\":0}";
    case TYPE_DURATION:
        return "{\"type\":\"string\",\"pattern\":\"^([0-9]+|([0-9]+([.][0-9]*)?(ns|us|ms|s|m|h))+)$\","
               "\"examples\":[\"30s\",\"1m30s\",\"30\"]}";
    case TYPE_PAIR:
        return "{\"type\":\"string\",\"pattern\":\"^[^=]+=\"}";
    case TYPE_SESSION:
        return "{\"type\":\"string\",\"pattern\":\"^[0-9a-fA-F]{1,16}$\"}";
    case TYPE_SEQ:
        return "{\"type\":\"integer\",\"format\":\"int64\",\"minimum\":0}";
    case TYPE_PROSE:
        return "{\"type\":\"string\"}";
    case TYPE_LABELS:
        return "{\"type\":\"string\",\"pattern\":\"^([^=,]+=[^,]*(,[^=,]+=[^,]*)*)?$\"}";
    case TYPE_ONLY:
        return "{\"type\":\"string\",\"enum\":[\"only\"]}";
    case TYPE_POLICY:
        return "{\"type\":\"string\",\"enum\":[\"abort\",\"skip\",\"overwrite\"]}";
    case TYPE_CONSISTENCY:
        return "{\"type\":\"string\",\"enum\":[\"linearizable\",\"local\"]}";
    }
    return "{}";
}

/* Whether a field of the marked schemas refers to this one. */
static bool is_referred_to(enum api_schema schema, const bool *is_marked)
{
    char name[128];
    snprintf(name, sizeof name, "/%s\"", api_schemas[schema].name);
    for (size_t i = 0; i < api_field_count; i++) {
        if (!strstr(api_fields[i].type, name))
            continue;
        for (int s = SCHEMA_NONE + 1; s < SCHEMAS; s++)
            if (is_marked[s] && (api_fields[i].schemas >> s & 1))
                return true;
    }
    return false;
}

/* Marks the schemas that are request bodies, or parts of one. */
static void mark_sent(bool ret_is_sent[SCHEMAS])
{
    bool bodies[SCHEMAS] = {false};
    for (size_t i = 0; i < api_route_count; i++)
        bodies[api_routes[i].body] = true;
    for (int s = SCHEMA_NONE + 1; s < SCHEMAS; s++)
        ret_is_sent[s] = bodies[s] || is_referred_to((enum api_schema)s, bodies);
}

/* In requests null means absent. */
static void add_field(struct json_writer *w, const struct api_field_row *f, bool may_be_null)
{
    jw_key(w, f->name);
    jw_open(w, '{');
    if (may_be_null) {
        jw_key(w, "anyOf");
        jw_open(w, '[');
        jw_open(w, '{');
        jw_raw(w, slice_text(f->type));
        jw_close(w, '}');
        jw_raw(w, slice_text("{\"type\":\"null\"}"));
        jw_close(w, ']');
    } else {
        jw_raw(w, slice_text(f->type));
    }
    if (f->example) {
        jw_key(w, "examples");
        jw_open(w, '[');
        jw_raw(w, slice_text(f->example));
        jw_close(w, ']');
    }
    jw_close(w, '}');
}

/* A request schema is closed: an unknown field is refused. An answer may get new fields. */
static void add_schema(struct json_writer *w, enum api_schema schema, bool is_sent)
{
    jw_key(w, api_schemas[schema].name);
    jw_open(w, '{');
    api_openapi_add(w, "type", "object");
    api_openapi_add(w, "description", api_schemas[schema].what);
    jw_key(w, "properties");
    jw_open(w, '{');
    for (size_t i = 0; i < api_field_count; i++)
        if (api_fields[i].schemas >> schema & 1)
            add_field(w, &api_fields[i], is_sent && !api_fields[i].is_required);
    jw_close(w, '}');
    jw_key(w, "required");
    jw_open(w, '[');
    for (size_t i = 0; i < api_field_count; i++)
        if ((api_fields[i].schemas >> schema & 1) && api_fields[i].is_required)
            jw_text(w, api_fields[i].name);
    jw_close(w, ']');
    if (is_sent) {
        jw_key(w, "additionalProperties");
        jw_bool(w, false);
    }
    jw_close(w, '}');
}

void api_openapi_add_schemas(struct json_writer *w, bool is_used[SCHEMAS])
{
    bool is_sent[SCHEMAS] = {false};
    mark_sent(is_sent);
    for (bool has_new = true; has_new;) {
        has_new = false;
        for (int s = SCHEMA_NONE + 1; s < SCHEMAS; s++)
            if (!is_used[s] && is_referred_to((enum api_schema)s, is_used))
                has_new = is_used[s] = true;
    }
    for (int s = SCHEMA_NONE + 1; s < SCHEMAS; s++)
        if (is_used[s])
            add_schema(w, (enum api_schema)s, is_sent[s]);
}

static void add_components(struct json_writer *w)
{
    bool is_used[SCHEMAS];
    memset(is_used, true, sizeof is_used);
    jw_key(w, "components");
    jw_open(w, '{');
    jw_key(w, "schemas");
    jw_open(w, '{');
    api_openapi_add_schemas(w, is_used);
    jw_close(w, '}');
    jw_close(w, '}');
}

/* --- operations ------------------------------------------------------------------------------------- */

static void add_param(struct json_writer *w, enum api_param p, const char *in)
{
    jw_open(w, '{');
    api_openapi_add(w, "name", api_params[p].name);
    api_openapi_add(w, "in", in);
    if (strcmp(in, "path") == 0)
        add_raw(w, "required", "true");
    struct buf what = {0};
    buf_add_text(&what, api_params[p].what);
    if (api_params[p].standard)
        buf_addf(&what, " Default: %s.", api_params[p].standard);
    api_openapi_add(w, "description", buf_text(&what));
    buf_done(&what);
    jw_key(w, "schema");
    if (api_repeats_max(p) > 1) {
        jw_open(w, '{');
        api_openapi_add(w, "type", "array");
        add_raw(w, "items", type_of(p));
        jw_key(w, "maxItems");
        jw_int(w, api_repeats_max(p));
        jw_close(w, '}');
    } else {
        jw_raw(w, slice_text(type_of(p)));
    }
    jw_close(w, '}');
}

static void add_params(struct json_writer *w, const struct api_route *r)
{
    jw_key(w, "parameters");
    jw_open(w, '[');
    for (const char *open = strchr(r->path, '{'); open; open = strchr(open + 1, '{')) {
        size_t size = (size_t)(strchr(open, '}') - open) - 1;
        add_param(w, api_path_param(slice_of(open + 1, size)), "path");
    }
    for (int p = 0; p < PARAMS; p++)
        if (r->params >> p & 1)
            add_param(w, (enum api_param)p, "query");
    if (r->flags & TAKES_KEY)
        jw_raw(
            w,
            slice_text(
                "{\"name\":\"Idempotency-Key\",\"in\":\"header\",\"description\":\"The same request with the "
                "same key, by the same user within 24 hours, gets the first answer and changes nothing.\","
                "\"schema\":{\"type\":\"string\",\"pattern\":\"^[!-~]{1,256}$\"}}"));
    jw_close(w, ']');
}

static void add_content(struct json_writer *w, enum api_schema schema, unsigned flags)
{
    char ref[128];
    snprintf(ref, sizeof ref, "{\"$ref\":\"#/components/schemas/%s\"}", api_schemas[schema].name);
    jw_key(w, "content");
    jw_open(w, '{');
    if (flags & ANSWER_FILE) {
        add_raw(w, "application/gzip", "{\"schema\":{\"type\":\"string\",\"format\":\"binary\"}}");
        jw_close(w, '}');
        return;
    }
    if (flags & ANSWER_TEXT) {
        add_raw(w, "text/markdown", "{\"schema\":{\"type\":\"string\"}}");
        jw_close(w, '}');
        return;
    }
    if (flags & ANSWER_RAW) /* a content has its own type */
        add_raw(w, "*/*", "{\"schema\":{}}");
    if (schema == SCHEMA_ERROR) { /* the plain ones are of the HTTP layer, before there is a path */
        add_raw(w, "text/plain", "{\"schema\":{\"type\":\"string\"}}");
        add_raw(w, API_PROBLEM_TYPE, "{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}");
    }
    jw_key(w, "application/json");
    jw_open(w, '{');
    jw_key(w, "schema");
    if (flags & ANSWER_RAW) { /* a content may be any JSON, too */
        jw_open(w, '{');
        jw_key(w, "anyOf");
        jw_open(w, '[');
        jw_raw(w, slice_text(ref));
        jw_raw(w, slice_text("{}"));
        jw_close(w, ']');
        jw_close(w, '}');
    } else if (schema == SCHEMA_NONE) {
        jw_raw(w, slice_text("{\"type\":\"object\"}"));
    } else if (flags & IS_ARRAY) {
        jw_open(w, '{');
        api_openapi_add(w, "type", "array");
        add_raw(w, "items", ref);
        jw_close(w, '}');
    } else {
        jw_raw(w, slice_text(ref));
    }
    jw_close(w, '}');
    jw_close(w, '}');
}

static void add_headers(struct json_writer *w, bool has_etag)
{
    jw_key(w, "headers");
    jw_open(w, '{');
    add_raw(w, "X-Cairn-Revision",
            "{\"description\":\"The answer is the state at this revision.\","
            "\"schema\":{\"type\":\"integer\",\"format\":\"int64\"}}");
    if (has_etag)
        add_raw(w, "ETag", "{\"schema\":{\"type\":\"string\"}}");
    jw_close(w, '}');
}

/* Errors with the same status are one answer. */
static void add_errors(struct json_writer *w, uint64_t errors)
{
    for (int e = 0; e < API_ERRORS; e++) {
        char status[16];
        struct buf what = {0};
        bool is_told = false;
        for (int k = 0; k < API_ERRORS; k++) {
            if (api_errors[k].status != api_errors[e].status || !(errors >> k & 1))
                continue;
            is_told = is_told || k < e;
            buf_addf(&what, "%s`%s`: %s", what.size ? " " : "", api_errors[k].code, api_errors[k].when);
        }
        if ((errors >> e & 1) && !is_told) {
            snprintf(status, sizeof status, "%d", api_errors[e].status);
            jw_key(w, status);
            jw_open(w, '{');
            api_openapi_add(w, "description", buf_text(&what));
            add_headers(w, false);
            add_content(w, SCHEMA_ERROR, 0);
            jw_close(w, '}');
        }
        buf_done(&what);
    }
}

static uint64_t errors_of(const struct api_route *r)
{
    uint64_t all = 1ull << API_BAD_REQUEST | 1ull << API_UNKNOWN_PARAMETER | 1ull << API_INTERNAL |
                   1ull << API_UNAUTHORIZED | 1ull << API_FORBIDDEN;
    if (!(r->flags & IS_PUBLIC))
        all |= 1ull << API_NOT_READY | 1ull << API_NO_LEADER | 1ull << API_STOPPING | 1ull << API_DEADLINE;
    if (r->method == HTTP_GET)
        all |= 1ull << API_UNAVAILABLE;
    else
        all |= 1ull << API_OUTCOME_UNKNOWN | 1ull << API_QUOTA_EXCEEDED | 1ull << API_TOO_LARGE;
    if (r->body != SCHEMA_NONE)
        all |= 1ull << API_MALFORMED;
    if (r->flags & TAKES_KEY)
        all |= 1ull << API_KEY_REUSED | 1ull << API_UNIMPLEMENTED;
    if (r->method == HTTP_POST)
        all |= 1ull << API_UNSUPPORTED_MEDIA;
    return all | r->errors;
}

static void add_operation(struct json_writer *w, const struct api_route *r)
{
    char method[16];
    bool can_wait = r->params >> PARAM_WAIT_REVISION & 1;
    api_methods_text(r->method, method, sizeof method);
    for (char *at = method; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    jw_key(w, method);
    jw_open(w, '{');
    api_openapi_add(w, "operationId", r->name);
    api_openapi_add(w, "summary", r->summary);
    if (api_deprecation_find(api_deprecations, r))
        add_raw(w, "deprecated", "true");
    add_params(w, r);
    if (r->flags & (BODY_RAW | BODY_STREAM))
        add_raw(w, "requestBody", "{\"required\":true,\"content\":{\"*/*\":{\"schema\":{}}}}");
    if (r->body != SCHEMA_NONE) {
        jw_key(w, "requestBody");
        jw_open(w, '{');
        add_raw(w, "required", r->flags & BODY_OPTIONAL ? "false" : "true");
        add_content(w, r->body, 0);
        jw_close(w, '}');
    }
    jw_key(w, "responses");
    jw_open(w, '{');
    jw_key(w, "200");
    jw_open(w, '{');
    api_openapi_add(w, "description", r->answer == SCHEMA_NONE ? r->summary : api_schemas[r->answer].what);
    add_headers(w, can_wait || r->flags & ANSWER_RAW);
    add_content(w, r->answer, r->flags);
    jw_close(w, '}');
    if (can_wait || r->flags & ANSWER_RAW) {
        jw_key(w, "304");
        jw_open(w, '{');
        api_openapi_add(w, "description", "Nothing has changed up to X-Cairn-Revision.");
        add_headers(w, true);
        jw_close(w, '}');
    }
    add_errors(w, errors_of(r));
    jw_close(w, '}');
    jw_close(w, '}');
}

static bool is_first_of_path(const struct api_route *r)
{
    for (const struct api_route *other = api_routes; other < r; other++)
        if (strcmp(other->path, r->path) == 0)
            return false;
    return true;
}

static void add_paths(struct json_writer *w)
{
    jw_key(w, "paths");
    jw_open(w, '{');
    for (size_t i = 0; i < api_route_count; i++) {
        if (!is_first_of_path(&api_routes[i]))
            continue;
        jw_key(w, api_routes[i].path);
        jw_open(w, '{');
        for (size_t k = i; k < api_route_count; k++)
            if (strcmp(api_routes[k].path, api_routes[i].path) == 0)
                add_operation(w, &api_routes[k]);
        jw_close(w, '}');
    }
    jw_close(w, '}');
}

static void describe(struct json_writer *w)
{
    api_openapi_add(w, "openapi", "3.1.0");
    jw_key(w, "info");
    jw_open(w, '{');
    api_openapi_add(w, "title", "Cairn");
    api_openapi_add(w, "version", CAIRN_VERSION);
    api_openapi_add(
        w, "description",
        "Service registry and config center. namespace and group default to `default`; every answer carries "
        "X-Cairn-Revision; reads are linearizable.");
    add_raw(w, "license", "{\"name\":\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}");
    jw_close(w, '}');
    add_paths(w);
    add_components(w);
    jw_close(w, '}');
    buf_add_byte(w->out, '\n');
}

/* The document never changes: it is written once. */
void api_openapi_get(struct api_call *c)
{
    struct api *a = c->api;
    struct registry *registry = api_registry(c);
    if (!a->openapi.size) {
        struct json_writer *w = api_json(c, -1);
        describe(w);
        buf_add_slice(&a->openapi, buf_slice(w->out));
    }
    api_respond(c, 200, registry && registry_is_ready(registry) ? registry_revision(registry) : 0, NULL,
                buf_slice(&a->openapi));
}
