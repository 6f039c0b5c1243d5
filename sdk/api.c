/* SPDX-License-Identifier: Apache-2.0
 * The routes of the native API (cairn_api.h): a request is written from the table of routes and the table of
 * fields below, sent by native.c, and its answer is read into one result. */
#include <stdio.h>

#include "sdk/item.h"
#include "sdk/native_call.h"

struct route {
    const char *method, *path, *parameters;
};

/* --- fields of a request -------------------------------------------------------------------------------- */
enum field_kind { FIELD_TEXT, FIELD_LIST, FIELD_U64, FIELD_U32, FIELD_MS, FIELD_FLAG };

#define AT(member) offsetof(struct cairn_api_request, member)
static const struct field {
    const char *parameter;
    enum field_kind kind;
    size_t at;
    const char *value; /* of a flag */
} fields[] = {
    {"namespace", FIELD_TEXT, AT(ns), NULL},
    {"group", FIELD_TEXT, AT(group), NULL},
    {"consistency", FIELD_FLAG, AT(is_local), "local"},
    {"wait_revision", FIELD_U64, AT(wait_revision), NULL},
    {"timeout", FIELD_MS, AT(wait_ms), NULL},
    {"prefix", FIELD_TEXT, AT(prefix), NULL},
    {"continue", FIELD_TEXT, AT(next), NULL},
    {"limit", FIELD_U32, AT(limit), NULL},
    {"healthy", FIELD_FLAG, AT(only_serving), "true"},
    {"guarded", FIELD_FLAG, AT(no_guarded), "false"},
    {"zone", FIELD_TEXT, AT(zone), NULL},
    {"region", FIELD_TEXT, AT(region), NULL},
    {"cluster", FIELD_TEXT, AT(cluster), NULL},
    {"version", FIELD_TEXT, AT(version), NULL},
    {"protocol", FIELD_TEXT, AT(protocol), NULL},
    {"tag", FIELD_LIST, AT(tags), NULL},
    {"label", FIELD_LIST, AT(labels), NULL},
    {"deleted", FIELD_FLAG, AT(with_deleted), "true"},
    {"meta", FIELD_FLAG, AT(with_meta), "true"},
    {"seq", FIELD_U64, AT(seq), NULL},
    {"from", FIELD_U64, AT(from), NULL},
    {"to", FIELD_U64, AT(to), NULL},
    {"service", FIELD_TEXT, AT(service), NULL},
    {"session", FIELD_TEXT, AT(session), NULL},
    {"type", FIELD_TEXT, AT(format), NULL},
    {"title", FIELD_TEXT, AT(title), NULL},
    {"note", FIELD_TEXT, AT(note), NULL},
    {"if_seq", FIELD_U64, AT(if_seq), NULL},
    {"if_seq", FIELD_FLAG, AT(if_absent), "0"},
    {"if_revision", FIELD_U64, AT(if_revision), NULL},
    {"validate", FIELD_FLAG, AT(only_validate), "only"},
    {"kind", FIELD_TEXT, AT(kind), NULL},
    {"user", FIELD_TEXT, AT(user), NULL},
    {"on_behalf_of", FIELD_TEXT, AT(on_behalf_of), NULL},
    {"policy", FIELD_TEXT, AT(policy), NULL},
    {"key", FIELD_TEXT, AT(key), NULL},
    {"render", FIELD_FLAG, AT(with_render), "true"},
    {"dry_run", FIELD_FLAG, AT(dry_run), "true"},
    {"cascade", FIELD_FLAG, AT(cascade), "true"},
    {"decrypt", FIELD_FLAG, AT(decrypt), "true"},
    {"to_namespace", FIELD_TEXT, AT(to_ns), NULL},
    {"emergency", FIELD_TEXT, AT(emergency), NULL},
    {"deletion", FIELD_FLAG, AT(is_deletion), "true"},
};
#undef AT

static bool route_has(const struct route *r, const char *parameter)
{
    size_t n = strlen(parameter);
    for (const char *p = r->parameters; (p = strstr(p, parameter)) != NULL; p += n)
        if ((p == r->parameters || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

/* The value as text, in `number` if it is one; NULL = not given. */
static const char *field_value(const struct field *f, const struct cairn_api_request *q, char number[32])
{
    const uint8_t *p = (const uint8_t *)q + f->at;
    const char *text;
    uint64_t u64 = 0;
    uint32_t u32 = 0;
    bool flag;
    switch (f->kind) {
    case FIELD_TEXT:
    case FIELD_LIST:
        memcpy(&text, p, sizeof text);
        return text && *text ? text : NULL;
    case FIELD_FLAG:
        memcpy(&flag, p, sizeof flag);
        return flag ? f->value : NULL;
    case FIELD_U64:
        memcpy(&u64, p, sizeof u64);
        break;
    case FIELD_U32:
    case FIELD_MS:
        memcpy(&u32, p, sizeof u32);
        u64 = u32;
        break;
    }
    snprintf(number, 32, "%llu%s", (unsigned long long)u64, f->kind == FIELD_MS ? "ms" : "");
    return u64 ? number : NULL;
}

static void add_list(struct buf *out, const char *parameter, const char *list)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        struct buf one = {0};
        buf_add(&one, list, n);
        path_add_parameter(out, parameter, buf_text(&one));
        buf_done(&one);
        list += n + (list[n] == ',');
    }
}

static int add_fields(const struct route *r, const struct cairn_client *c, const struct cairn_api_request *q,
                      struct buf *out, struct cairn_error *error)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char number[32];
        const struct field *f = &fields[i];
        const char *value = field_value(f, q, number);
        if (!value)
            continue;
        if (!route_has(r, f->parameter))
            return set_error(error, CAIRN_INVALID, "%s %s has no parameter %s", r->method, r->path,
                             f->parameter);
        if (f->kind == FIELD_LIST)
            add_list(out, f->parameter, value);
        else
            path_add_parameter(out, f->parameter, value);
    }
    /* Gray rules choose by the client's labels and id. */
    if (route_has(r, "labels") && !q->seq)
        path_add_parameter(out, "labels", c->labels);
    if (route_has(r, "client_id") && !q->seq)
        path_add_parameter(out, "client_id", c->client_id);
    return CAIRN_OK;
}

static int add_path(const struct route *r, const struct cairn_api_request *q, struct buf *out,
                    struct cairn_error *error)
{
    bool has_name = false, has_id = false;
    for (const char *p = r->path; *p;) {
        if (*p != '{') {
            buf_add_byte(out, (uint8_t)*p++);
            continue;
        }
        bool is_name =
            strncmp(p, "{service}", 9) == 0 || strncmp(p, "{name}", 6) == 0 || strncmp(p, "{ns}", 4) == 0;
        const char *value = is_name ? q->name : q->id;
        has_name |= is_name;
        has_id |= !is_name;
        if (!value || !*value)
            return set_error(error, CAIRN_INVALID, "%s %s needs %s", r->method, r->path,
                             is_name ? "name" : "id");
        path_add_escaped(out, value);
        p = strchr(p, '}') + 1;
    }
    if (q->name && !has_name && route_has(r, "name")) {
        path_add_parameter(out, "name", q->name); /* a filter */
        has_name = true;
    }
    if ((q->name && !has_name) || (q->id && !has_id))
        return set_error(error, CAIRN_INVALID, "%s %s has no %s", r->method, r->path,
                         q->name && !has_name ? "name" : "id");
    return CAIRN_OK;
}

static bool is_plain(const char *text)
{
    return strcspn(text, "\r\n\"") == strlen(text) && strlen(text) <= 256;
}

static int add_headers(const struct route *r, const struct cairn_api_request *q, struct buf *out,
                       struct cairn_error *error)
{
    if ((q->etag && !is_plain(q->etag)) || (q->session_key && !is_plain(q->session_key)) ||
        (q->if_md5 && (strlen(q->if_md5) != 32 || strspn(q->if_md5, "0123456789abcdef") != 32)))
        return set_error(error, CAIRN_INVALID, "etag, session_key or if_md5 is not one of the server's");
    if ((q->etag && !route_has(r, "wait_revision")) || (q->if_md5 && !route_has(r, "if_seq")) ||
        (q->session_key && strcmp(r->method, "GET") == 0))
        return set_error(error, CAIRN_INVALID, "%s %s takes no etag, if_md5 or session_key", r->method,
                         r->path);
    if (q->idempotency_key && (!*q->idempotency_key || !is_plain(q->idempotency_key)))
        return set_error(error, CAIRN_INVALID, "idempotency_key is not 1 to 256 visible characters");
    if (q->idempotency_key && strcmp(r->method, "POST") != 0)
        return set_error(error, CAIRN_INVALID, "%s %s takes no idempotency_key", r->method, r->path);
    if (q->idempotency_key)
        buf_addf(out, "Idempotency-Key: %s\r\n", q->idempotency_key);
    if (q->etag)
        buf_addf(out, "If-None-Match: \"%s\"\r\n", q->etag);
    if (q->if_md5)
        buf_addf(out, "If-Match: \"%s\"\r\n", q->if_md5);
    if (q->session_key)
        buf_addf(out, "X-Cairn-Session-Key: %s\r\n", q->session_key);
    if (strcmp(r->path, "/api/v1/import") == 0)
        buf_add_text(out, "Content-Type: application/octet-stream\r\n");
    return CAIRN_OK;
}

/* --- the answer ----------------------------------------------------------------------------------------- */
static const char *header_text(const struct cairn_http_result *h, const char *name, struct arena *a)
{
    struct http_answer answer = {.head_size = strlen(h->fields), .phase = HTTP_ANSWER_DONE};
    struct slice value = {0};
    buf_add_text(&answer.head, h->fields);
    if (http_answer_field(&answer, name, &value) && value.size > 1 && value.data[0] == '"')
        value = slice_of(value.data + 1, value.size - 2);
    const char *text = arena_string(a, value.data, value.size);
    buf_done(&answer.head);
    return text;
}

static void read_items(struct cairn_api_result *r, const json_t *root, struct arena *a)
{
    static const char *const names[] = {"services",    "instances", "configs",   "releases",   "items",
                                        "subscribers", "clients",   "listeners", "namespaces", "events"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *list = json_object_get(root, names[i]);
        if (!json_is_array(list))
            continue;
        size_t n = json_array_size(list), at;
        struct cairn_item *items = arena_new(a, (n + 1) * sizeof *items);
        json_t *item;
        json_array_foreach(list, at, item) items[at] = item_of(item, a);
        r->items = items;
        r->item_count = n;
        if (strcmp(names[i], "instances") == 0)
            r->instances = instances_of_list(list, json_integer_value(json_object_get(root, "revision")), a);
        return;
    }
}

static void read_json(struct cairn_api_result *r, const json_t *root, struct arena *a)
{
    const struct {
        const char *name, **to;
    } texts[] = {
        {"md5", &r->md5}, {"session", &r->session}, {"session_key", &r->session_key}, {"continue", &r->next}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *text = json_string_value(json_object_get(root, texts[i].name));
        if (text)
            *texts[i].to = arena_string(a, text, strlen(text));
    }
    const json_t *revision = json_object_get(root, "revision"), *seq = json_object_get(root, "seq");
    if (revision)
        r->revision = json_integer_value(revision);
    if (seq)
        r->seq = (uint64_t)json_integer_value(seq);
    r->is_unchanged = json_is_true(json_object_get(root, "unchanged"));
    r->ttl_seconds = (uint32_t)json_integer_value(json_object_get(root, "ttl"));
    r->heartbeat_ms = (uint32_t)json_integer_value(json_object_get(root, "heartbeat_ms"));
    read_items(r, root, a);
}

static struct cairn_api_result *read_answer(const struct cairn_http_result *h, bool is_content,
                                            struct cairn_error *error)
{
    struct arena *a;
    struct cairn_api_result *r = result_new(sizeof *r, &a);
    char why[200];
    json_t *root = NULL;
    r->status = h->status;
    r->body = (struct cairn_bytes){arena_string(a, h->body.data, h->body.size), h->body.size};
    r->etag = header_text(h, "etag", a);
    r->md5 = r->session = r->session_key = r->next = "";
    r->revision = strtoll(header_text(h, "x-cairn-revision", a), NULL, 10);
    r->seq = strtoull(header_text(h, "x-cairn-seq", a), NULL, 10);
    bool is_json = strncmp(header_text(h, "content-type", a), "application/json", 16) == 0;
    if (!is_json || is_content || !h->body.size)
        return r;
    if (json_parse(slice_of(h->body.data, h->body.size), &root, why, sizeof why) != OK) {
        set_error(error, CAIRN_PROTOCOL, "the server's response is not JSON: %s", why);
        cairn_result_free(r);
        return NULL;
    }
    read_json(r, root, a);
    json_decref(root);
    return r;
}

/* --- calls ---------------------------------------------------------------------------------------------- */
struct api_call {
    struct buf path, headers;
    struct cairn_http_request http;
    bool is_content; /* the answer is a configuration's content, which may be JSON */
    void (*callback)(struct cairn_api_result *result, const struct cairn_error *error, void *arg);
    void *arg;
};

static void api_call_done(struct api_call *k)
{
    buf_done(&k->path);
    buf_done(&k->headers);
}

static int api_call_make(struct api_call *k, const struct route *r, const struct cairn_client *c,
                         const struct cairn_api_request *request, const struct cairn_call_options *options,
                         struct cairn_error *error)
{
    static const struct cairn_api_request nothing;
    const struct cairn_api_request *q = request ? request : &nothing;
    int err = add_path(r, q, &k->path, error);
    if (!err)
        err = add_fields(r, c, q, &k->path, error);
    if (!err)
        err = add_headers(r, q, &k->headers, error);
    if (!err && q->body.size && (strcmp(r->method, "GET") == 0 || strcmp(r->method, "DELETE") == 0))
        err = set_error(error, CAIRN_INVALID, "%s %s takes no body", r->method, r->path);
    if (err) {
        api_call_done(k);
        return err;
    }
    k->http = (struct cairn_http_request){
        .method = r->method, .path = buf_text(&k->path), .fields = buf_text(&k->headers), .body = q->body};
    const char *end = strstr(r->path, "{name}");
    k->is_content =
        strcmp(r->method, "GET") == 0 && !q->with_meta && end && (!end[6] || strcmp(end + 6, "/draft") == 0);
    uint32_t ms =
        options && options->size >= offsetof(struct cairn_call_options, cancel) && options->timeout_ms
            ? options->timeout_ms
            : c->command_timeout_ms;
    if (q->wait_revision)
        k->http.timeout_ms = ms + (q->wait_ms ? q->wait_ms : 30000);
    return CAIRN_OK;
}

static int api_wait(const struct route *r, struct cairn_client *c, const struct cairn_api_request *request,
                    const struct cairn_call_options *options, struct cairn_api_result **ret,
                    struct cairn_error *error)
{
    struct api_call k = {0};
    struct cairn_http_result *h;
    struct cairn_error ignored;
    int err = api_call_make(&k, r, c, request, options, error);
    if (err)
        return err;
    err = cairn_http_with(c, &k.http, options, &h, error);
    api_call_done(&k);
    if (err || !ret) {
        if (!err)
            cairn_result_free(h);
        return err;
    }
    *ret = read_answer(h, k.is_content, error ? error : &ignored);
    cairn_result_free(h);
    return *ret ? CAIRN_OK : CAIRN_PROTOCOL;
}

static void on_http(struct cairn_http_result *h, const struct cairn_error *error, void *arg)
{
    struct api_call *k = arg;
    struct cairn_error e = *error;
    struct cairn_api_result *r = h ? read_answer(h, k->is_content, &e) : NULL;
    cairn_result_free(h);
    k->callback(r, &e, k->arg);
    mem_free(k);
}

static int api_start(const struct route *r, struct cairn_client *c, const struct cairn_api_request *request,
                     const struct cairn_call_options *options,
                     void (*callback)(struct cairn_api_result *result, const struct cairn_error *error,
                                      void *arg),
                     void *arg)
{
    struct api_call *k = mem_new(sizeof *k);
    int err = api_call_make(k, r, c, request, options, NULL);
    if (err) {
        mem_free(k);
        return err;
    }
    k->callback = callback;
    k->arg = arg;
    struct api_call copied = *k; /* the callback may run, and free k, before the next line */
    err = cairn_http_async(c, &copied.http, options, on_http, k);
    api_call_done(&copied);
    if (err)
        mem_free(k);
    return err;
}

#define CAIRN_API_CALL(name, method, path, parameters)                                                       \
    static const struct route route_##name = {method, path, parameters};                                     \
    int cairn_##name(struct cairn_client *c, const struct cairn_api_request *request,                        \
                     const struct cairn_call_options *options, struct cairn_api_result **ret,                \
                     struct cairn_error *error)                                                              \
    {                                                                                                        \
        return api_wait(&route_##name, c, request, options, ret, error);                                     \
    }                                                                                                        \
    int cairn_##name##_async(                                                                                \
        struct cairn_client *c, const struct cairn_api_request *request,                                     \
        const struct cairn_call_options *options,                                                            \
        void (*callback)(struct cairn_api_result * result, const struct cairn_error *error, void *arg),      \
        void *arg)                                                                                           \
    {                                                                                                        \
        return api_start(&route_##name, c, request, options, callback, arg);                                 \
    }
CAIRN_API_CALLS(CAIRN_API_CALL)
