/* SPDX-License-Identifier: Apache-2.0
 * Streams as Server-Sent Events: a GET without an upgrade, with the subscriptions in its query.
 *
 *   /api/v1/stream?client_id=web-7&labels=zone=b&kind=service&name=orders&healthy=true&kind=services&prefix=a
 *
 * The query:
 *   - client_id and labels of the client come before the first `kind`;
 *   - each `kind` begins a subscription; the sids are 1, 2, ...;
 *   - the parameters up to the next `kind` belong to that subscription.
 *
 * An event has the frame's type as its name, the frame as its data and the resume token as its id. The client
 * sends that id back as Last-Event-ID, and every subscription resumes from there. There are no
 * acknowledgements: what the socket has taken counts as acknowledged. */
#include "server/stream/private.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* The next "name=value" of the query. */
static bool next_pair(const struct http_request *q, size_t *at, struct slice *ret_name,
                      struct slice *ret_value)
{
    while (*at < q->query.size) {
        const char *piece = (const char *)q->query.data + *at;
        size_t size = strlen(piece);
        const char *mark = memchr(piece, '=', size);
        *at += size + 1;
        if (size == 0)
            continue;
        size_t n = mark ? (size_t)(mark - piece) : size;
        *ret_name = slice_of(piece, n);
        *ret_value = mark ? slice_of(mark + 1, size - n - 1) : slice_of(piece + size, 0);
        return true;
    }
    return false;
}

static bool is(struct slice name, const char *text)
{
    return slice_equal(name, slice_text(text));
}

bool stream_query_has_token(const struct http_request *q)
{
    struct slice name, value;
    for (size_t at = 0; next_pair(q, &at, &name, &value);)
        if (is(name, "token") || is(name, "access_token") || is(name, "authorization"))
            return true;
    return false;
}

static bool stream_events_split(struct slice text, char mark, struct slice *ret_left, struct slice *ret_right)
{
    const uint8_t *at = text.size ? memchr(text.data, mark, text.size) : NULL;
    if (!at)
        return false;
    size_t n = (size_t)(at - text.data);
    *ret_left = slice_of(text.data, n);
    *ret_right = slice_of(at + 1, text.size - n - 1);
    return true;
}

static int query_error(char *error, size_t size, const char *why, struct slice name)
{
    snprintf(error, size, "%s: %.*s", why, (int)(name.size < 60 ? name.size : 60), (const char *)name.data);
    return ERR_INVALID;
}

static void stream_events_take(struct stream_frame *f, enum stream_field field, struct slice *to,
                               struct slice value)
{
    f->has |= STREAM_FIELD(field);
    *to = value;
}

static bool take_number(struct stream_frame *f, enum stream_field field, uint64_t *to, struct slice value)
{
    f->has |= STREAM_FIELD(field);
    return text_to_u64(value, to) == 0 && *to <= STREAM_NUMBER_MAX;
}

/* Reads a parameter of the last subscription that was begun. */
static int read_more(struct stream_frame *f, struct slice name, struct slice value, char *error, size_t size)
{
    struct select_query *q = &f->filter;
    bool is_filter = true, is_right = value.size <= STREAM_KEY_MAX;
    if (is(name, "healthy"))
        is_right = text_to_bool(value, &q->only_serving) == 0;
    else if (is(name, "guarded")) {
        bool has_guarded = true;
        is_right = text_to_bool(value, &has_guarded) == 0;
        q->no_guarded = !has_guarded;
    } else if (is(name, "cluster"))
        q->cluster = value;
    else if (is(name, "version"))
        q->version = value;
    else if (is(name, "protocol"))
        q->protocol = value;
    else if (is(name, "tag") && q->tag_count < SELECT_TERMS_MAX)
        q->tags[q->tag_count++] = value;
    else if (is(name, "label") && q->label_count < SELECT_TERMS_MAX) {
        struct document_pair *pair = &q->labels[q->label_count++];
        is_right = stream_events_split(value, '=', &pair->key, &pair->value);
    } else
        is_filter = false;
    if (is_filter)
        f->has |= STREAM_FIELD(STREAM_HAS_FILTER);
    else if (is(name, "namespace"))
        stream_events_take(f, STREAM_HAS_NAMESPACE, &f->ns, value);
    else if (is(name, "group"))
        stream_events_take(f, STREAM_HAS_GROUP, &f->group, value);
    else if (is(name, "name"))
        stream_events_take(f, STREAM_HAS_NAME, &f->name, value);
    else if (is(name, "user"))
        stream_events_take(f, STREAM_HAS_USER, &f->user, value);
    else if (is(name, "change_kind"))
        stream_events_take(f, STREAM_HAS_CHANGE_KIND, &f->change_kind, value);
    else if (is(name, "from"))
        is_right = take_number(f, STREAM_HAS_FROM, &f->from, value);
    else if (is(name, "from_revision"))
        is_right = take_number(f, STREAM_HAS_FROM_REVISION, &f->from_revision, value);
    else if (is(name, "groups") && f->groups.count < STREAM_GROUPS_MAX) {
        f->has |= STREAM_FIELD(STREAM_HAS_GROUPS);
        f->groups.list[f->groups.count++] = value;
    } else if (is(name, "prefix"))
        stream_events_take(f, STREAM_HAS_PREFIX, &f->prefix, value);
    else
        return query_error(error, size, "unknown parameter, or one too many", name);
    return is_right ? 0 : query_error(error, size, "not a value of this parameter", name);
}

static int read_labels(struct document_map *labels, struct slice value, char *error, size_t size)
{
    while (value.size) {
        struct slice one = value, rest = {0};
        if (!stream_events_split(value, ',', &one, &rest))
            one = value;
        value = rest;
        if (labels->count == LABELS_MAX)
            return query_error(error, size, "too many labels", one);
        struct document_pair *pair = &labels->list[labels->count++];
        if (!stream_events_split(one, '=', &pair->key, &pair->value) || !pair->key.size ||
            one.size > TEXT_SIZE_MAX)
            return query_error(error, size, "a label is name=value, not", one);
    }
    return 0;
}

/* Reads the whole query and calls fn for each subscription; fn NULL: it only checks. */
static int read_query(struct http_request *q, struct stream_frame *hello,
                      void (*fn)(void *arg, const struct stream_frame *frame), void *arg, char *error,
                      size_t size)
{
    struct stream_frame frame = {.type = STREAM_SUBSCRIBE};
    struct slice name, value;
    int err = 0;
    for (size_t at = 0; !err && next_pair(q, &at, &name, &value);) {
        if (!utf8_is_valid(value)) {
            err = query_error(error, size, "not UTF-8", name);
        } else if (is(name, "kind")) {
            if (frame.sid && fn)
                fn(arg, &frame);
            frame = (struct stream_frame){.type = STREAM_SUBSCRIBE, .sid = frame.sid + 1};
            frame.has = STREAM_FIELD(STREAM_HAS_SID);
            stream_events_take(&frame, STREAM_HAS_KIND, &frame.kind, value);
        } else if (frame.sid) {
            err = read_more(&frame, name, value, error, size);
        } else if (is(name, "client_id") && value.size <= TEXT_SIZE_MAX) {
            hello->client_id = value;
        } else if (is(name, "labels")) {
            err = read_labels(&hello->labels, value, error, size);
        } else {
            err = query_error(error, size, "unknown parameter before the first kind", name);
        }
    }
    if (!err && !frame.sid)
        err =
            query_error(error, size, "a stream without a WebSocket upgrade needs subscriptions in its query",
                        slice_text("kind"));
    if (!err && fn)
        fn(arg, &frame);
    return err;
}

/* --- life -------------------------------------------------------------------------------------------- */

void stream_events_refuse(struct http_request *q, int err, const char *message)
{
    struct buf text = {0};
    struct json_writer w = {.out = &text};
    jw_open(&w, '{');
    jw_key(&w, "error");
    jw_open(&w, '{');
    jw_key(&w, "code");
    jw_text(&w, stream_error_code(err));
    jw_key(&w, "message");
    jw_text(&w, message);
    jw_close(&w, '}');
    jw_close(&w, '}');
    if (err_http(err) == 503)
        http_add_header(q, "Retry-After", "1");
    http_respond(q, err_http(err), "application/json", buf_slice(&text));
    buf_done(&text);
}

void stream_events_begin(struct stream_server *s, struct http_request *q)
{
    struct document_pair pairs[LABELS_MAX];
    struct stream_frame hello = {.type = STREAM_HELLO, .labels.list = pairs};
    char error[240] = "";
    int64_t revision;
    if (q->method != HTTP_GET) {
        http_add_header(q, "Allow", "GET");
        http_respond_error(q, 405, "Method Not Allowed");
        return;
    }
    int err = http_origin_is_allowed(q) ? 0 : ERR_PERMISSION_DENIED;
    if (err)
        snprintf(error, sizeof error, "pages of this origin must not open a stream: see --cors");
    if (!err && stream_query_has_token(q)) {
        err = ERR_INVALID;
        snprintf(error, sizeof error, "%s", STREAM_TOKEN_IN_QUERY);
    }
    if (!err)
        err = read_query(q, &hello, NULL, NULL, error, sizeof error);
    if (!err && s->conn_count >= s->options.connections_max) {
        err = ERR_NOT_READY;
        snprintf(error, sizeof error,
                 "this member has reached its limit of streams: connect to another member");
    }
    if (err) {
        stream_events_refuse(q, err, error);
        return;
    }
    http_add_header(q, "Cache-Control", "no-store");
    http_add_header(q, "X-Accel-Buffering", "no"); /* proxies must not buffer the response */
    struct stream_conn *c = stream_conn_new(s, q, true);
    stream_due(c, s->options.hello_ms);
    if (stream_read_token(q->last_event_id, &hello.resume.cluster_id, &revision) == 0) {
        hello.has |= STREAM_FIELD(STREAM_HAS_RESUME);
        hello.resume.revision = (uint64_t)revision;
    }
    stream_handshake_begin(c, &hello);
}

struct resumed {
    struct stream_conn *conn;
    int64_t revision;
};

static void subscribe(void *arg, const struct stream_frame *frame)
{
    struct resumed *r = arg;
    struct stream_frame f = *frame;
    if (r->revision >= 0 && r->conn->q) {
        f.has |= STREAM_FIELD(STREAM_HAS_FROM_REVISION);
        f.from_revision = (uint64_t)r->revision + 1;
    }
    if (r->conn->q)
        stream_conn_subscribe(r->conn, &f);
}

void stream_events_opened(struct stream_conn *c)
{
    struct document_pair pairs[LABELS_MAX];
    struct stream_frame hello = {.labels.list = pairs};
    struct resumed r = {.conn = c, .revision = -1};
    uint64_t cluster_id;
    char error[240];
    if (stream_read_token(c->q->last_event_id, &cluster_id, &r.revision))
        r.revision = -1;
    int err = read_query(c->q, &hello, subscribe, &r, error, sizeof error);
    (void)err; /* it was checked before */
}
