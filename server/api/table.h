/* SPDX-License-Identifier: Apache-2.0
 * The tables of the native API in C (route.def, param.def, schema.def, error.def), and their pure readers:
 * the route of a path, and whether its query is valid. */
#ifndef SERVER_API_TABLE_H
#define SERVER_API_TABLE_H

#include "base/access.h"
#include "base/buf.h"
#include "base/err.h"
#include "server/http/request.h"

struct api_call;

/* --- errors -------------------------------------------------------------------------------------------- */
enum api_error {
#define API_ERROR(id, code, status, when) API_##id,
#include "server/api/error.def"
    API_ERRORS
};
struct api_error_row {
    const char *code;
    int status;
    const char *when;
};
extern const char *const api_remedies[API_ERRORS]; /* what to do; NULL = its row is missing */
extern const struct api_error_row api_errors[API_ERRORS];
enum api_error api_error_of(int err);

/* --- parameters ---------------------------------------------------------------------------------------- */
enum api_param {
#define API_PARAM(id, name, type, standard, what) PARAM_##id,
#include "server/api/param.def"
#undef API_PARAM
    PARAMS
};
enum api_type {
    TYPE_NAMESPACE,
    TYPE_NAME,
    TYPE_TEXT,
    TYPE_LINE,
    TYPE_ANY,
    TYPE_FLAG,
    TYPE_COUNT,
    TYPE_REVISION,
    TYPE_MOMENT,
    TYPE_DURATION,
    TYPE_PAIR,
    TYPE_SESSION,
    TYPE_CONSISTENCY,
    TYPE_SEQ,
    TYPE_PROSE,
    TYPE_LABELS,
    TYPE_ONLY,
    TYPE_POLICY,
};
struct api_param_row {
    const char *name;
    enum api_type type;
    const char *standard; /* NULL = none */
    const char *what;
};
extern const struct api_param_row api_params[PARAMS];

enum { API_COUNT_MAX = 10000, API_WAIT_MAX_S = 600, API_REPEATS_MAX = 16 };

unsigned api_repeats_max(enum api_param p); /* how often it may stand in a query */

/* Values that have passed api_check_value. */
uint64_t api_number(struct slice text); /* COUNT, REVISION, SESSION */
uint64_t api_duration_ms(struct slice text);
bool api_flag(struct slice text);
/* Takes one k=v from the front of LABELS, which must not be empty; false: it has no "=". */
bool api_next_label(struct slice *rest, struct slice *ret_key, struct slice *ret_value);
/* ERR_INVALID with a sentence that begins with the parameter's name. */
MUST_CHECK int api_check_value(enum api_param p, struct slice value, char *error, size_t error_size);

/* --- schemas -------------------------------------------------------------------------------------------- */
enum api_schema {
    SCHEMA_NONE,
#define API_SCHEMA(id, name, what) SCHEMA_##id,
#define API_FIELD(schemas, name, is_required, type, example)
#include "server/api/schema.def"
#undef API_SCHEMA
#undef API_FIELD
    SCHEMAS
};
struct api_schema_row {
    const char *name, *what;
};
struct api_field_row {
    __extension__ unsigned __int128 schemas; /* 1 << enum api_schema */
    const char *name;
    bool is_required;
    const char *type, *example; /* fields of a JSON schema; JSON or NULL */
};
extern const struct api_schema_row api_schemas[SCHEMAS];
extern const struct api_field_row api_fields[];
extern const size_t api_field_count;

/* --- routes --------------------------------------------------------------------------------------------- */
enum {
    BODY_OPTIONAL = 1,
    IS_ARRAY = 2,
    IS_PUBLIC = 4,
    BODY_RAW = 8,
    BODY_LARGE = 16,
    ANSWER_RAW = 32,
    /* The permission that the call needs, by its keys (server/auth/guard.h): a GET reads, other methods
     * write. */
    OF_SERVICE = 1 << 12, /* its instances; of a list all services of the query */
    OF_SETTINGS = 1 << 13,
    OF_INSTANCE = 1 << 14,
    OF_OVERRIDE = 1 << 15,
    OF_SESSION = 1 << 16,
    OF_SESSIONS = 1 << 17, /* to create one */
    OF_CONFIG = 1 << 18,
    OF_DRAFT = 1 << 19,
    OF_ANY = 1 << 20,        /* the handler checks, by api_authorize */
    OF_AUDIT = 1 << 21,      /* the whole audit trail */
    OF_REVIEW = 1 << 22,     /* to review changes of a configuration */
    OF_POLICY = 1 << 23,     /* the policy of a namespace */
    OF_SCHEMA = 1 << 25,     /* a schema of configurations */
    OF_NAMESPACE = 1 << 24,  /* the document of a namespace */
    OF_NOTHING = 1 << 28,    /* no permission is needed */
    FOR_ANONYMOUS = 1 << 29, /* without credentials: the permissions of the role `anonymous` */
    OF_MASK = OF_SERVICE | OF_SETTINGS | OF_INSTANCE | OF_OVERRIDE | OF_SESSION | OF_SESSIONS | OF_CONFIG |
              OF_DRAFT | OF_ANY | OF_AUDIT | OF_REVIEW | OF_POLICY | OF_NAMESPACE | OF_SCHEMA | OF_NOTHING,
    BODY_STREAM = 64,
    ANSWER_FILE = 128,
    IS_READ = 256, /* a POST that changes nothing */
    ANSWER_TEXT = 512,
    TAKES_KEY = 1024,
    READS_TOO = 2048 /* a write that needs READ on what it copies */
};
enum { API_NAMES_MAX = 3 }; /* of {…} in one path */

struct api_route {
    const char *name;
    enum http_method method;
    const char *path;
    void (*handle)(struct api_call *c);
    uint64_t params; /* 1 << enum api_param */
    enum api_schema body, answer;
    uint64_t errors; /* 1 << enum api_error */
    unsigned flags;
    const char *summary;
};
extern const struct api_route api_routes[];
extern const size_t api_route_count;
/* It changes nothing. */
bool api_route_reads(const struct api_route *route);
/* The permission that a route needs, by its OF_ flags and its method. */
enum access api_route_need(const struct api_route *route);

/* --- deprecations (deprecation.def) --- */
struct api_deprecation {
    const char *handler; /* NULL: the end of the table */
    int64_t since_s, sunset_s;
    const char *successor;
};
extern const struct api_deprecation api_deprecations[];
/* The row of a route in a table that ends with handler NULL; NULL = it is not deprecated. */
const struct api_deprecation *api_deprecation_find(const struct api_deprecation *table,
                                                   const struct api_route *route);
/* Calls add(arg, name, value) for each header that the row asks for. */
void api_deprecation_headers(const struct api_deprecation *d,
                             void (*add)(void *arg, const char *name, const char *value), void *arg);

struct api_match {
    const struct api_route *route; /* NULL: no such path, or another method */
    unsigned methods;              /* that the path has; 0 = no such path */
    struct {
        enum api_param param;
        struct slice value;
    } names[API_NAMES_MAX];
    size_t name_count;
};
/* HEAD matches the routes of GET. */
struct api_match api_route_find(enum http_method method, struct slice path);

/* "GET, HEAD" of a mask. */
void api_methods_text(unsigned methods, char *ret_text, size_t size);

/* The parameter at the front of a route's path pattern; PARAMS: none of that name. */
enum api_param api_path_param(struct slice name);

/* Checks a query (http_request.query): each parameter belongs to the route, has its form, and is not repeated
 * more than it may be. API_ERRORS = no error; else error gets a sentence. */
enum api_error api_check_query(const struct api_route *route, struct slice query, char *error,
                               size_t error_size);

#endif
