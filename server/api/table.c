/* SPDX-License-Identifier: Apache-2.0
 * The API's tables and their stateless readers; see table.h. */
#include "server/api/table.h"

#include <stdio.h>
#include <time.h>

#include "base/text.h"
#include "registry/registry.h"
#include "registry/view.h"
#include "server/api/call.h"

#define P(id)       (1ull << PARAM_##id)
#define E(id)       (1ull << API_##id)
#define S(id)       (__extension__(unsigned __int128) 1 << SCHEMA_##id)
#define P_NAMES     (P(NAMESPACE) | P(GROUP))
#define P_AUTHOR    P(ON_BEHALF_OF)
#define P_RELEASE   (P(TYPE) | P(TITLE) | P(NOTE))
#define P_CONDITION (P(IF_SEQ) | P(IF_REVISION))
#define E_CONDITION (E(PRECONDITION_FAILED) | E(CONFLICT) | E(REVIEW_REQUIRED))
#define P_READ      (P(CONSISTENCY) | P(WAIT_REVISION) | P(TIMEOUT))

const struct api_error_row api_errors[API_ERRORS] = {
#define API_ERROR(id, code, status, when) [API_##id] = {code, status, when},
#include "server/api/error.def"
};

const char *const api_remedies[API_ERRORS] = {
#define API_REMEDY(id, text) [API_##id] = text,
#include "server/api/error.def"
};

const struct api_param_row api_params[PARAMS] = {
#define API_PARAM(id, name, type, standard, what) [PARAM_##id] = {name, TYPE_##type, standard, what},
#include "server/api/param.def"
#undef API_PARAM
};

const struct api_schema_row api_schemas[SCHEMAS] = {
#define API_SCHEMA(id, name, what) [SCHEMA_##id] = {name, what},
#define API_FIELD(schemas, name, is_required, type, example)
#include "server/api/schema.def"
#undef API_SCHEMA
#undef API_FIELD
};

const struct api_field_row api_fields[] = {
#define API_SCHEMA(id, name, what)
#define API_FIELD(schemas, name, is_required, type, example) {schemas, name, is_required, type, example},
#include "server/api/schema.def"
#undef API_SCHEMA
#undef API_FIELD
};
const size_t api_field_count = sizeof api_fields / sizeof *api_fields;

const struct api_route api_routes[] = {
#define API_ROUTE(method, path, handler, params, body, answer, errors, flags, summary)                       \
    {#handler,      HTTP_##method,   path,   api_##handler, params,                                          \
     SCHEMA_##body, SCHEMA_##answer, errors, flags,         summary},
#include "server/api/route.def"
#undef API_ROUTE
};
const size_t api_route_count = sizeof api_routes / sizeof *api_routes;

#define API_ROUTE(method, path, handler, params, body, answer, errors, flags, summary)                       \
    _Static_assert(((flags)&OF_MASK) != 0, #handler " needs an OF_ flag: the permission it requires");
#include "server/api/route.def"
#undef API_ROUTE

bool api_route_reads(const struct api_route *route)
{
    return route->method == HTTP_GET || route->flags & IS_READ;
}

enum access api_route_need(const struct api_route *route)
{
    if (route->flags & OF_NOTHING)
        return ACCESS_OPEN;
    if (route->flags & FOR_ANONYMOUS)
        return ACCESS_ANONYMOUS;
    if (route->flags & READS_TOO)
        return ACCESS_READ_WRITE;
    return api_route_reads(route) ? ACCESS_READ : ACCESS_WRITE;
}

/* --- deprecations ---------------------------------------------------------------------------------- */

const struct api_deprecation api_deprecations[] = {
#define API_DEPRECATED(handler, since, sunset, successor) {#handler, since, sunset, successor},
#include "server/api/deprecation.def"
    {0},
};

const struct api_deprecation *api_deprecation_find(const struct api_deprecation *table,
                                                   const struct api_route *route)
{
    for (const struct api_deprecation *d = table; route && d->handler; d++)
        if (strcmp(d->handler, route->name) == 0)
            return d;
    return NULL;
}

void api_deprecation_headers(const struct api_deprecation *d,
                             void (*add)(void *arg, const char *name, const char *value), void *arg)
{
    char text[300];
    time_t sunset = (time_t)d->sunset_s;
    struct tm tm;
    snprintf(text, sizeof text, "@%lld", (long long)d->since_s); /* a Date of RFC 9651 */
    add(arg, "Deprecation", text);
    if (d->sunset_s && gmtime_r(&sunset, &tm) &&
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        add(arg, "Sunset", text);
    if (!d->successor)
        return;
    snprintf(text, sizeof text, "<%s>; rel=\"successor-version\"", d->successor);
    add(arg, "Link", text);
}

/* --- errors ---------------------------------------------------------------------------------------- */

enum api_error api_error_of(int err)
{
    switch (err) {
#define API_FROM(error, id)                                                                                  \
    case error:                                                                                              \
        return API_##id;
#include "server/api/error.def"
    default:
        break;
    }
    for (int i = 0; i < API_ERRORS; i++)
        if (api_errors[i].status == err_http(err) && api_errors[i].status != 503)
            return (enum api_error)i;
    return err_http(err) == 503 ? API_OUTCOME_UNKNOWN : API_INTERNAL;
}

/* --- values ------------------------------------------------------------------------------------------ */

uint64_t api_number(struct slice text)
{
    uint64_t n = 0;
    return text_to_u64(text, &n) ? 0 : n;
}

uint64_t api_duration_ms(struct slice text)
{
    uint64_t seconds;
    int64_t ns = 0;
    if (text_to_u64(text, &seconds) == OK)
        return seconds > API_WAIT_MAX_S ? UINT64_MAX : seconds * 1000;
    if (text_to_duration_ns(text, &ns) || ns < 0)
        return UINT64_MAX;
    return (uint64_t)ns / 1000000;
}

bool api_flag(struct slice text)
{
    bool is_true = false;
    return text.size == 0 || (text_to_bool(text, &is_true) == OK && is_true);
}

bool api_next_label(struct slice *rest, struct slice *ret_key, struct slice *ret_value)
{
    const uint8_t *comma = memchr(rest->data, ',', rest->size);
    size_t size = comma ? (size_t)(comma - rest->data) : rest->size;
    const uint8_t *equals = size ? memchr(rest->data, '=', size) : NULL;
    if (!equals)
        return false;
    size_t n = (size_t)(equals - rest->data), skip = size + (comma != NULL);
    *ret_key = slice_of(rest->data, n);
    *ret_value = slice_of(equals + 1, size - n - 1);
    *rest = slice_of(rest->data + skip, rest->size - skip);
    return true;
}

static bool is_text(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] < 0x20 || s.data[i] == 0x7f)
            return false;
    return s.size <= INSTANCE_METADATA_MAX && utf8_is_valid(s);
}

static bool is_labels(struct slice s)
{
    struct slice key, value;
    while (s.size)
        if (!api_next_label(&s, &key, &value) || !key.size || !is_text(key) || !is_text(value))
            return false;
    return true;
}

/* The end of an error sentence; NULL = the value is valid. */
static const char *value_error(enum api_type type, struct slice value)
{
    uint64_t n;
    int64_t session;
    bool flag;
    const uint8_t *equals = value.size ? memchr(value.data, '=', value.size) : NULL;
    switch (type) {
    case TYPE_FLAG:
        return value.size == 0 || text_to_bool(value, &flag) == OK ? NULL : "is neither true nor false";
    case TYPE_COUNT:
        if (text_to_u64(value, &n) || n < 1 || n > API_COUNT_MAX)
            return "is not a whole number from 1 to 10000";
        return NULL;
    case TYPE_REVISION:
        return text_to_u64(value, &n) || n > INT64_MAX ? "is not a revision" : NULL;
    case TYPE_MOMENT:
        return text_to_u64(value, &n) || n > INT64_MAX ? "is not a time in milliseconds since 1970" : NULL;
    case TYPE_DURATION:
        if (api_duration_ms(value) > API_WAIT_MAX_S * 1000)
            return "is not a duration from 0 to 10m, as in 30s, 1m30s or 30";
        return NULL;
    case TYPE_PAIR:
        return !equals || equals == value.data || !is_text(value) ? "is not of the form key=value" : NULL;
    case TYPE_SESSION:
        return view_session_read(value, &session) ? "is not a session's id in hexadecimal digits" : NULL;
    case TYPE_CONSISTENCY:
        if (slice_equal(value, slice_text("local")) || slice_equal(value, slice_text("linearizable")))
            return NULL;
        return "is neither linearizable nor local";
    case TYPE_SEQ:
        return text_to_u64(value, &n) || n > INT64_MAX ? "is not a release's number" : NULL;
    case TYPE_PROSE:
        return utf8_is_valid(value) ? NULL : "is not text";
    case TYPE_LABELS:
        return is_labels(value) ? NULL : "is not of the form key=value,key=value";
    case TYPE_ONLY:
        return slice_equal(value, slice_text("only")) ? NULL : "must be only";
    case TYPE_POLICY:
        if (slice_equal(value, slice_text("abort")) || slice_equal(value, slice_text("skip")) ||
            slice_equal(value, slice_text("overwrite")))
            return NULL;
        return "must be abort, skip or overwrite";
    case TYPE_ANY:
        return is_text(value) ? NULL : "is too long, or not text";
    case TYPE_LINE:
        return value.size && value.size <= TEXT_SIZE_MAX && is_text(value)
                   ? NULL
                   : "is empty, longer than 256 bytes, or not text";
    case TYPE_TEXT:
    case TYPE_NAMESPACE:
    case TYPE_NAME:
        return value.size && is_text(value) ? NULL : "is empty, too long, or not text";
    }
    return NULL;
}

int api_check_value(enum api_param p, struct slice value, char *error, size_t error_size)
{
    const struct api_param_row *row = &api_params[p];
    if (row->type == TYPE_NAMESPACE)
        return name_check(value, NAMESPACE_SIZE_MAX, row->name, error, error_size);
    if (row->type == TYPE_NAME)
        return name_check(value, NAME_SIZE_MAX, row->name, error, error_size);
    const char *wrong = value_error(row->type, value);
    if (!wrong)
        return OK;
    snprintf(error, error_size, "%s %s", row->name, wrong);
    return ERR_INVALID;
}

/* --- the query --------------------------------------------------------------------------------------- */

static enum api_param find_param(const struct api_route *route, struct slice name)
{
    for (int p = 0; p < PARAMS; p++)
        if ((route->params >> p & 1) && slice_equal(name, slice_text(api_params[p].name)))
            return (enum api_param)p;
    return PARAMS;
}

unsigned api_repeats_max(enum api_param p)
{
    return p == PARAM_TAG || p == PARAM_LABEL || p == PARAM_NAMESPACES ? API_REPEATS_MAX : 1;
}

/* A list has no patterns: equal queries share one result, and a pattern shows each reader what it may read. */
static const char *pattern_hint(const struct api_route *route, struct slice name)
{
    const uint64_t list = UINT64_C(1) << PARAM_PREFIX | UINT64_C(1) << PARAM_WAIT_REVISION;
    bool is_list = (route->params & list) == list;
    if (!is_list || !slice_equal(name, slice_text("name")))
        return "";
    return ": a list takes prefix; GET /api/v1/stream?kind=...&name=... follows a pattern, and POST "
           "/api/v1/polls many configurations";
}

enum api_error api_check_query(const struct api_route *route, struct slice query, char *error,
                               size_t error_size)
{
    uint8_t counts[PARAMS] = {0};
    for (size_t at = 0; at < query.size;) {
        const uint8_t *piece = query.data + at;
        size_t size = strlen((const char *)piece); /* pieces end with NUL */
        const uint8_t *equals = size ? memchr(piece, '=', size) : NULL;
        size_t name_size = equals ? (size_t)(equals - piece) : size;
        enum api_param p = find_param(route, slice_of(piece, name_size));
        at += size + 1;
        if (p == PARAMS) {
            snprintf(error, error_size, "unknown parameter \"%.*s\"%s", name_size < 64 ? (int)name_size : 64,
                     (const char *)piece, pattern_hint(route, slice_of(piece, name_size)));
            return API_UNKNOWN_PARAMETER;
        }
        if (++counts[p] > api_repeats_max(p)) {
            snprintf(error, error_size, "%s is given too often", api_params[p].name);
            return API_BAD_REQUEST;
        }
        struct slice value = slice_of(piece + name_size, size - name_size);
        if (equals)
            value = slice_of(equals + 1, size - name_size - 1);
        if (api_check_value(p, value, error, error_size))
            return API_BAD_REQUEST;
    }
    return API_ERRORS;
}

/* --- the path ------------------------------------------------------------------------------------------ */

enum api_param api_path_param(struct slice name)
{
    for (int p = 0; p < PARAMS; p++)
        if (slice_equal(name, slice_text(api_params[p].name)))
            return (enum api_param)p;
    return PARAMS;
}

/* A pattern's {name} matches one segment that is not empty. */
static bool api_table_fits(const char *pattern, struct slice path, struct api_match *m)
{
    const uint8_t *at = path.data, *end = path.data + path.size;
    struct slice names[API_NAMES_MAX];
    m->name_count = 0;
    while (*pattern) {
        if (*pattern != '{') {
            if (at == end || *at++ != (uint8_t)*pattern++)
                return false;
            continue;
        }
        const char *close = strchr(pattern, '}');
        const uint8_t *slash = at == end ? NULL : memchr(at, '/', (size_t)(end - at));
        const uint8_t *stop = slash ? slash : end;
        if (stop == at)
            return false;
        names[m->name_count] = slice_of(pattern + 1, (size_t)(close - pattern) - 1);
        m->names[m->name_count++].value = slice_of(at, (size_t)(stop - at));
        pattern = close + 1;
        at = stop;
    }
    if (at != end)
        return false;
    for (size_t i = 0; i < m->name_count; i++)
        m->names[i].param = api_path_param(names[i]);
    return true;
}

struct api_match api_route_find(enum http_method method, struct slice path)
{
    struct api_match result = {0}, m = {0};
    for (size_t i = 0; i < api_route_count; i++) {
        const struct api_route *r = &api_routes[i];
        if (!api_table_fits(r->path, path, &m))
            continue;
        result.methods |= r->method | (r->method == HTTP_GET ? HTTP_HEAD : 0);
        if (r->method != (method == HTTP_HEAD ? HTTP_GET : method) || result.route)
            continue;
        m.route = r;
        m.methods = result.methods;
        result = m;
    }
    return result;
}

void api_methods_text(unsigned methods, char *ret_text, size_t size)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    size_t at = 0;
    ret_text[0] = 0;
    for (unsigned i = 0; i < sizeof names / sizeof *names && at < size; i++) {
        if (!(methods >> i & 1))
            continue;
        int n = snprintf(ret_text + at, size - at, "%s%s", at ? ", " : "", names[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}
