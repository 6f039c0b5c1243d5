/* SPDX-License-Identifier: Apache-2.0
 * One call of the native API, as a route's handler sees it.
 *
 * When the handler runs:
 *   - the path has matched a row of route.def, and the query is valid for it
 *   - names have their defaults
 *   - the client is authorized
 *   - the body, if the row has one, is whole in q->body
 *
 * A handler answers once, now or later, with api_answer, api_respond or api_fail…; it must not touch the call
 * after that. A handler that answers later sets cancel first: cancel is called instead of an answer when the
 * client leaves or the server stops. All memory of a call lies in q->arena. */
#ifndef SERVER_API_CALL_H
#define SERVER_API_CALL_H

#include "base/json.h"
#include "base/list.h"
#include "config/config.h"
#include "registry/registry.h"
#include "server/api/api.h"
#include "server/api/table.h"
#include "server/auth/guard.h"

struct api_once;
struct api_right;

struct api_call {
    struct api *api;
    struct http_request *q;
    const struct api_route *route;
    struct slice ns, group;     /* with defaults */
    struct slice service, id;   /* of the path; empty where it has none */
    struct slice name, rule;    /* of the path: a configuration, a gray rule */
    uint64_t release;           /* of the path */
    int64_t lease;              /* of the path */
    bool is_ended;              /* the request is whole and its handler has run */
    bool is_whole, is_admitted; /* the request has arrived; the client is identified and authorized */
    struct guard guard;         /* identifies the client */
    struct api_right *rights;   /* the permissions that were granted, checked at rights_epoch */
    uint64_t rights_epoch;
    size_t header_bytes;                     /* of q->headers at admission: without the answer's own */
    struct registry_proof proof;             /* its right to the session, where there is one */
    struct registry_request session_barrier; /* before the session's owner is checked, and while it is */
    /* Set by handlers that answer later. */
    void *state;
    void (*cancel)(struct api_call *c);   /* release everything; no answer is wanted */
    void (*expired)(struct api_call *c);  /* q->deadline_ms has passed; NULL: cancel, and 504 */
    void (*drain)(struct api_call *c);    /* the server is stopping: answer; NULL: go on */
    void (*writable)(struct api_call *c); /* of a stream (http_stream_open): it may go on */
    struct api_once *once;                /* its idempotency key (once.c); NULL = none */
    /* slice.h */
    struct link sliced;
    void (*step)(struct api_call *c);
    /* For a route with BODY_STREAM: its handler is called before the body and sets these. */
    void (*body)(struct api_call *c, struct slice piece);
    void (*end)(struct api_call *c);
};

struct kv *api_kv(const struct api_call *c);
struct audit *api_audit(const struct api_call *c); /* NULL = there is no audit trail */
struct namespaces *api_namespaces(const struct api_call *c);
struct namespace_view *api_namespace_view(const struct api_call *c); /* NULL in tests */
struct registry *api_registry(const struct api_call *c);
struct registry_key api_key(const struct api_call *c);
/* Limits the projected instances that the caller may see, by its current rights; NULL = all. */
const struct audience *api_audience(const struct api_call *c);

/* The value, or the default of param.def, or empty. */
struct slice api_param(const struct api_call *c, enum api_param p);
bool api_has_param(const struct api_call *c, enum api_param p);
/* Iterates over a parameter that may be repeated; *at is 0 at first. */
bool api_next_param(const struct api_call *c, enum api_param p, size_t *at, struct slice *ret_value);

/* The group of a list's query; empty = all groups. */
struct slice api_group_filter(const struct api_call *c);
/* A page of a list that is ordered by group and name. */
struct api_page {
    struct json_writer *w;
    struct buf after;         /* "group/name" before its first entry; empty = from the first */
    struct slice group, name; /* of the last entry */
    uint64_t left;
    bool has_more;
};
/* Sets `after` and `left` from the query. api_page_open calls it. */
void api_page_begin(struct api_page *p, const struct api_call *c);
/* Opens the array of a page that was begun. */
void api_page_array(struct api_page *p, struct json_writer *w, const char *key);

/* Checks `continue`, before anything else. False: it is not from an earlier answer; the call has failed. */
bool api_page_check(struct api_call *c);
/* Opens the array under this key. api_page_close ends it and writes `continue`. */
void api_page_open(struct api_page *p, const struct api_call *c, struct json_writer *w, const char *key);
/* Opens the next entry's object with its name and group. False: the page is full and there are more. The
 * texts must live until close. */
bool api_page_take(struct api_page *p, struct slice group, struct slice name);
void api_page_close(struct api_page *p);
/* Writes `continue` alone, if there is more after the entry with the page's group and name. */
void api_page_end(const struct api_page *p, struct json_writer *w, bool has_more);

/* Scratch for one answer, valid until the next call of it: begins with '{' and, unless negative, the
 * revision. */
struct json_writer *api_json(struct api_call *c, int64_t revision);
/* Closes api_json's object and sends it, 200. */
void api_answer(struct api_call *c, int64_t revision);
/* Sends any other answer; type NULL: JSON. */
void api_respond(struct api_call *c, int status, int64_t revision, const char *type, struct slice body);

/* Opens a 200 answer with a body of this size; send it by http_stream_send_bytes and http_stream_close.
 * False: the call was answered with an error. */
bool api_respond_sized(struct api_call *c, int64_t revision, size_t size);

/* message NULL: the text of err_text or error.def. */
void api_fail(struct api_call *c, enum api_error error, const char *message);
void api_fail_err(struct api_call *c, int err, const char *message);
struct api_detail {
    struct slice current; /* the current state instead of the expected one, a JSON object; empty = none */
    size_t line, column;  /* in the request's body; 0 = none */
    struct slice name;    /* of several items, the one with the error; empty = none */
};
void api_fail_with(struct api_call *c, enum api_error error, const char *message,
                   const struct api_detail *detail);

/* audit.c: reports a write that was refused for want of a permission; nothing for any other error. */
void api_audit_refusal(const struct api_call *c, enum api_error error);

/* once.c: idempotency keys. api_once_begin reads the record and runs the handler after that. False: the call
 * has no key, the caller runs the handler. */
bool api_once_begin(struct api_call *c);
/* For config_request.once; NULL = the call has no key. */
struct config_once *api_once_for_config(struct api_call *c,
                                        void (*answer)(struct config_request *q,
                                                       const struct config_result *result, struct buf *out));
/* Until it is called again with NULL, an answer of the call is appended to `out`, behind its revision, and not
 * sent. */
void api_once_capture(struct api_call *c, struct buf *out);
/* api_respond asks it first. True: the answer was captured, or is held back until the record was read again. */
bool api_once_takes(struct api_call *c, int status, int64_t revision, const char *type, struct slice body);

/* problem.c: the error as a problem of RFC 9457 is wanted (Accept: application/problem+json). */
bool api_wants_problem(const struct api_call *c);
extern const char API_PROBLEM_TYPE[];
/* Writes the members of a problem, without the braces. */
void api_problem_write(struct json_writer *w, enum api_error error, const char *message,
                       const struct api_detail *detail);
/* Writes the headings of docs/errors.md, one for each code: `type` of a problem refers to them. */
void api_errors_write(struct buf *out);

/* Writes the error's object without its end: for an answer in pieces. */
void api_error_open(struct json_writer *w, enum api_error error, const char *message,
                    const struct api_detail *detail);
/* Opens an answer of JSON in pieces: send them by http_stream_send_bytes, then http_stream_close. */
void api_stream_open(struct api_call *c, int status, int64_t revision);

/* Parses the body as an object of the schema without unknown fields. false: answered. The caller frees
 * root. */
bool api_body(struct api_call *c, enum api_schema schema, json_t **ret_root);

/* Checks a permission that the row in route.def does not name by its flags; false: answered. */
bool api_authorize(struct api_call *c, enum guard_kind kind, bool is_write, struct slice ns,
                   struct slice group, struct slice name);

/* The same for READ on all names with the prefix; an empty group means all groups. */
bool api_authorize_prefix(struct api_call *c, enum guard_kind kind, struct slice ns, struct slice group,
                          struct slice prefix);

/* The author that documents written by this call name. Lives as long as the call. */
struct author api_author(const struct api_call *c);
/* The client of a write, for registry_request.who and config_request.who; NULL if there are no users (in
 * tests). Lives as long as the call. */
const struct auth_who *api_who(const struct api_call *c);
/* Checks the permissions of a long read again; one comparison if no rights have changed. Every answer to a
 * GET calls it too (api_respond). Returns the authorization's error; error gets a sentence for the client. */
MUST_CHECK int api_recheck_rights(struct api_call *c, char *error, size_t error_size);
/* Answers a canceled read that has lost its permission. */
void api_refuse(struct api_call *c, int err, const char *message);

/* Requires READ on all namespaces of the query; without any, and with *, on all that exist. false:
 * answered. */
bool api_authorize_namespaces(struct api_call *c, enum guard_kind kind);

/* The handlers. */
#define API_ROUTE(method, path, handler, params, body, answer, errors, flags, summary)                       \
    void api_##handler(struct api_call *c);
#include "server/api/route.def"
#undef API_ROUTE

#endif
