/* SPDX-License-Identifier: Apache-2.0
 * What a route's handler sees: one call of the native API. The path is a row of route.def, the query was
 * checked against it, names are filled in with their defaults, the body (if the row has one) is whole in
 * q->body.
 *
 * A handler answers once, now or later, with api_answer or api_fail…; nothing of the call may be touched
 * after that. Whoever answers later sets cancel first: it comes when the client leaves or the server stops,
 * instead of an answer. All that a call needs lies in q->arena. */
#ifndef SERVER_API_CALL_H
#define SERVER_API_CALL_H

#include "base/json.h"
#include "base/list.h"
#include "config/config.h"
#include "registry/registry.h"
#include "server/api/api.h"
#include "server/api/table.h"
#include "server/auth/guard.h"

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
    bool is_ended;              /* the request is whole: its handler has run */
    bool is_whole, is_admitted; /* the request has come; it is known who asks, and that he may */
    struct guard guard;         /* who asks */
    struct api_right *rights;   /* what was found to be allowed, at the epoch of rights `judged` */
    uint64_t judged;
    size_t header_bytes;          /* of q->headers, when it was admitted: without the answer's own */
    struct registry_proof proof;  /* its right to the session, where there is one */
    struct registry_request sure; /* the barrier before a session is looked at */
    /* Set by who answers later. */
    void *state;
    void (*cancel)(struct api_call *c);   /* let go of everything; no answer is wanted */
    void (*expired)(struct api_call *c);  /* q->deadline_ms has passed; NULL: cancel, and 504 */
    void (*drain)(struct api_call *c);    /* the server is going down: answer; NULL: go on */
    void (*writable)(struct api_call *c); /* of a stream (http_stream_open): it may go on */
    /* slice.h */
    struct link sliced;
    void (*step)(struct api_call *c);
    /* Of a route with BODY_STREAM, whose handler is called before the body comes and sets them. */
    void (*body)(struct api_call *c, struct slice piece);
    void (*end)(struct api_call *c);
};

struct registry *api_registry(const struct api_call *c);
struct registry_key api_key(const struct api_call *c);
/* What the caller is shown of projected instances, by its rights as of now; NULL = all. */
const struct audience *api_audience(const struct api_call *c);

/* The value, or the default of param.def, or empty. */
struct slice api_param(const struct api_call *c, enum api_param p);
bool api_has_param(const struct api_call *c, enum api_param p);
/* For one that may come several times; begin with at 0. */
bool api_next_param(const struct api_call *c, enum api_param p, size_t *at, struct slice *ret_value);

/* Of a list: the group, empty = all of them. */
struct slice api_group_asked(const struct api_call *c);
/* A page of a list that is ordered by group and name. */
struct api_page {
    struct json_writer *w;
    struct buf after;         /* "group/name" that it begins behind; empty = at the first */
    struct slice group, name; /* of the last that was taken */
    uint64_t left;
    bool has_more;
};
/* What the call asks for: `after` and `left`. api_page_open begins with it. */
void api_page_begin(struct api_page *p, const struct api_call *c);
/* The array of one that was begun. */
void api_page_array(struct api_page *p, struct json_writer *w, const char *key);

/* Before anything else: false, and the call has failed, if its `continue` is not what an answer gave. */
bool api_page_check(struct api_call *c);
/* The array under this key, until close, which says where to go on. */
void api_page_open(struct api_page *p, const struct api_call *c, struct json_writer *w, const char *key);
/* Opens the next one's object with its name and its group; false: there is no room, only more. The texts stay
 * until close. */
bool api_page_take(struct api_page *p, struct slice group, struct slice name);
void api_page_close(struct api_page *p);

/* Scratch for one answer, good until the next call of it: it begins with '{' and, unless negative, the
 * revision. */
struct json_writer *api_json(struct api_call *c, int64_t revision);
/* Closes api_json's object and sends it, 200. */
void api_answer(struct api_call *c, int64_t revision);
/* Any other answer; type NULL: JSON. */
void api_respond(struct api_call *c, int status, int64_t revision, const char *type, struct slice body);

/* 200 with a body of this size, which follows by http_stream_send_bytes and http_stream_close. False:
 * answered otherwise. */
bool api_respond_sized(struct api_call *c, int64_t revision, size_t size);

/* message NULL: what err_text or error.def says. */
void api_fail(struct api_call *c, enum api_error error, const char *message);
void api_fail_err(struct api_call *c, int err, const char *message);
struct api_detail {
    struct slice current; /* what is there instead of what was expected, a JSON object; empty = not told */
    size_t line, column;  /* in what was sent; 0 = not told */
    struct slice name;    /* of several things, the one that it is about; empty = not told */
};
void api_fail_with(struct api_call *c, enum api_error error, const char *message,
                   const struct api_detail *detail);

/* The error's object without its end: for an answer that is sent in pieces. */
void api_error_open(struct json_writer *w, enum api_error error, const char *message,
                    const struct api_detail *detail);
/* An answer in pieces of JSON: http_stream_send_bytes, and http_stream_close behind the last one. */
void api_stream_open(struct api_call *c, int status, int64_t revision);

/* The body as an object of the schema: parsed, nothing unknown in it. false: answered. The caller drops
 * root. */
bool api_body(struct api_call *c, enum api_schema schema, json_t **ret_root);

/* For what a row of route.def does not say by its flags; false: answered. */
bool api_may(struct api_call *c, enum guard_kind kind, bool is_write, struct slice ns, struct slice group,
             struct slice name);

/* The client behind a write, for registry_request.who and config_request.who; NULL where no users are known
 * (in tests). Lives as the call does. */
const struct auth_who *api_author(const struct api_call *c);
/* Of a read that takes long: its rights are still there. One comparison while nobody's rights have changed.
 * error: why not, a sentence for the client. Each answer to a GET passes it too (api_respond). */
MUST_CHECK int api_judge(struct api_call *c, char *error, size_t error_size);
/* A read that is waiting has lost its right: canceled and answered. */
void api_refuse(struct api_call *c, int err, const char *message);

/* READ on all of the namespaces that the query names; without any, and with *, of all there are. */
bool api_may_namespaces(struct api_call *c, enum guard_kind kind);

/* The handlers. */
#define API_ROUTE(method, path, handler, params, body, answer, errors, flags, summary)                       \
    void api_##handler(struct api_call *c);
#include "server/api/route.def"
#undef API_ROUTE

#endif
