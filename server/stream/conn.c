/* SPDX-License-Identifier: Apache-2.0
 * One stream connection: the client's frames in, the server's frames out, flow control.
 *
 *   NEW --hello--> HANDSHAKE (handshake.c) --welcome--> OPEN
 *
 * Frames are not queued: a subscription that has changed is in `dirty`, and makes its frame when there is
 * room. There is room while both hold:
 *   - less than 64 KiB wait in the queue of the socket,
 *   - less than `window` bytes were sent and not acknowledged by the client.
 *
 * A connection that ends detaches from everything at once. It is freed in the next turn, because a caller up
 * the stack may still use it. */
#include "server/stream/private.h"

#include <assert.h>
#include <stdio.h>

#include "base/metric.h"
#include "server/http/ws.h"

enum { UNACKED_MARKS = 16 };

/* The bytes that an acknowledged revision stands for: a mark for each sixteenth of the window. It is
 * allocated only when a sixteenth is unacknowledged, so a connection with little traffic costs no memory. */
struct stream_unacked {
    unsigned first, count;
    struct {
        int64_t revision;
        uint64_t bytes; /* sent up to and with it */
    } marks[UNACKED_MARKS];
};

/* --- life -------------------------------------------------------------------------------------------- */

struct stream_conn *stream_conn_new(struct stream_server *s, struct http_request *q, bool is_events)
{
    struct stream_conn *c = mem_new(sizeof *c);
    c->server = s;
    c->q = q;
    c->is_events = is_events;
    c->window = STREAM_WINDOW;
    list_init(&c->subs);
    list_init(&c->dirty);
    list_init(&c->requests);
    list_init(&c->publishes);
    list_add_last(&s->conns, &c->link);
    s->conn_count++;
    metric_set(METRIC_STREAMS, (double)s->conn_count);
    c->rights_epoch = guard_epoch(s->options.identity);
    buf_add_slice(&c->credential, q->authorization); /* the request's head is freed before hello comes */
    q->state = c;
    return c;
}

void stream_sub_end(struct stream_sub *sub)
{
    struct stream_conn *c = sub->conn;
    list_remove(&sub->link);
    list_remove(&sub->dirty);
    sub->kind->close(sub);
    namespace_unsubscribe(sub->conn->server->options.namespaces, sub->counted);
    mem_free(sub->right);
    mem_free(sub);
    c->sub_count--;
    c->server->subscription_count--;
    metric_set(METRIC_STREAM_SUBSCRIPTIONS, (double)c->server->subscription_count);
}

void stream_conn_detach(struct stream_conn *c)
{
    struct stream_server *s = c->server;
    if (!c->q)
        return;
    c->q->state = NULL;
    c->q = NULL;
    while (!list_is_empty(&c->subs))
        stream_sub_end(container_of(c->subs.next, struct stream_sub, link));
    stream_kv_detach(c);
    stream_session_detach(c);
    stream_publish_detach(c);
    stream_handshake_free(c);
    heap_remove(&s->due, &c->due);
    list_remove(&c->ready);
    list_remove(&c->link);
    list_add_last(&s->dead, &c->link);
    s->conn_count--;
    metric_set(METRIC_STREAMS, (double)s->conn_count);
}

void stream_conn_free(struct stream_conn *c)
{
    assert(!c->q);
    list_remove(&c->link);
    mem_free(c->unacked);
    mem_free(c->subscriber_memory);
    mem_free(c->user_memory);
    stream_handshake_wipe_credential(c);
    mem_free(c);
}

void stream_conn_close(struct stream_conn *c, uint16_t ws_status)
{
    struct http_request *q = c->q;
    if (!q)
        return;
    stream_conn_detach(c);
    http_stream_end(q, ws_status);
}

void stream_conn_fail(struct stream_conn *c, int err, const char *message)
{
    struct http_request *q = c->q;
    if (c->is_events && c->phase != STREAM_CONN_OPEN && q) { /* there is no stream yet */
        stream_conn_detach(c);
        stream_events_refuse(q, err, message);
        return;
    }
    stream_conn_error(c, NULL, err, message);
    stream_conn_close(c, err == ERR_LIMIT       ? WS_TOO_LARGE
                         : err_http(err) == 503 ? STREAM_TRY_LATER
                                                : STREAM_POLICY);
}

/* The clients reconnect to this member or another one, spread over STREAM_GOAWAY_MS. */
void stream_conn_goaway(struct stream_conn *c)
{
    uint64_t after_ms = stream_random(c->server, STREAM_GOAWAY_MS);
    struct buf *text = &c->server->scratch;
    if (c->is_events && c->phase != STREAM_CONN_OPEN) {
        stream_conn_fail(c, ERR_STOPPED, "this member is shutting down");
        return;
    }
    if (c->is_events) { /* how long an EventSource waits before it reconnects */
        buf_clear(text);
        buf_addf(text, "retry: %llu\n", (unsigned long long)after_ms);
        http_stream_send(c->q, buf_slice(text));
    }
    buf_clear(text);
    stream_write_goaway(text, after_ms);
    stream_conn_send(c, "goaway", buf_slice(text), NULL, NULL, 0);
    stream_conn_close(c, WS_GOING_AWAY);
}

/* --- the window: bytes that the client has not acknowledged ------------------------------------------ */

static void note_sent(struct stream_conn *c, size_t bytes, int64_t revision)
{
    struct stream_unacked *unacked = c->unacked;
    c->sent_bytes += bytes;
    if (revision > c->sent_revision)
        c->sent_revision = revision;
    unsigned last = unacked ? (unacked->first + unacked->count - 1) % UNACKED_MARKS : 0;
    uint64_t marked = unacked && unacked->count ? unacked->marks[last].bytes : c->acked_bytes;
    if (c->is_events || c->sent_bytes - marked < c->window / UNACKED_MARKS)
        return;
    if (!unacked)
        unacked = c->unacked = mem_new(sizeof *c->unacked);
    if (unacked->count < UNACKED_MARKS)
        unacked->count++; /* else the newest mark covers more bytes */
    last = (unacked->first + unacked->count - 1) % UNACKED_MARKS;
    unacked->marks[last].revision = c->sent_revision;
    unacked->marks[last].bytes = c->sent_bytes;
}

static void acknowledge(struct stream_conn *c, int64_t revision)
{
    if (revision > c->sent_revision)
        revision = c->sent_revision; /* a client cannot have what was not sent */
    struct stream_unacked *unacked = c->unacked;
    while (unacked && unacked->count && unacked->marks[unacked->first].revision <= revision) {
        c->acked_bytes = unacked->marks[unacked->first].bytes;
        unacked->first = (unacked->first + 1) % UNACKED_MARKS;
        unacked->count--;
    }
    if (revision == c->sent_revision)
        c->acked_bytes = c->sent_bytes;
    if (c->acked_bytes == c->sent_bytes) {
        mem_free(c->unacked);
        c->unacked = NULL;
    }
    c->is_window_announced = false;
    LIST_FOR_EACH (l, &c->subs) {
        struct stream_sub *sub = container_of(l, struct stream_sub, link);
        sub->kind->acknowledge(sub, revision);
    }
    stream_wake(c);
}

bool stream_conn_has_room(struct stream_conn *c)
{
    if (!c->q || http_is_congested(c->q))
        return false;
    if (c->is_events || c->sent_bytes - c->acked_bytes < c->window)
        return true;
    if (!c->is_window_announced) {
        c->is_window_announced = true;
        stream_conn_error(c, NULL, ERR_LIMIT,
                          "the window is full: send ack with the last revision that was read");
    }
    return false;
}

/* --- frames out -------------------------------------------------------------------------------------- */

int64_t stream_conn_position(struct stream_conn *c)
{
    int64_t least = registry_revision(c->server->options.registry);
    LIST_FOR_EACH (l, &c->subs) {
        struct stream_sub *sub = container_of(l, struct stream_sub, link);
        int64_t position = sub->kind->position(sub);
        least = position < least ? position : least;
    }
    return least;
}

/* "event: delta\nid: 1:44\ndata: ". The id is the resume token: the least revision of all the connection's
 * subscriptions, where `sub` counts as being at `revision`. */
static void add_event_head(struct stream_conn *c, const char *type, const struct stream_sub *sub,
                           int64_t revision, struct buf *out)
{
    buf_addf(out, "event: %s\n", type);
    for (struct link *l = c->subs.next; revision > 0 && l != &c->subs; l = l->next) {
        struct stream_sub *other = container_of(l, struct stream_sub, link);
        int64_t position = other == sub ? revision : other->kind->position(other);
        revision = position < revision ? position : revision;
    }
    if (revision > 0) {
        buf_add_text(out, "id: ");
        stream_write_token(out, kv_cluster_id(c->server->options.kv), revision);
        buf_add_byte(out, '\n');
    }
    buf_add_text(out, "data: ");
}

void stream_conn_send(struct stream_conn *c, const char *type, struct slice head, struct http_shared *shared,
                      const struct stream_sub *sub, int64_t revision)
{
    if (!c->q)
        return;
    size_t size = head.size + (shared ? shared->text->size : 0);
    if (c->is_events) {
        struct buf text = {0};
        add_event_head(c, type, sub, revision, &text);
        buf_add_slice(&text, head);
        http_stream_send_shared(c->q, buf_slice(&text), shared, slice_text("\n"));
        buf_done(&text);
        c->is_unacknowledged = true;
    } else {
        http_stream_send_shared(c->q, head, shared, (struct slice){0});
    }
    metric_add(METRIC_STREAM_FRAMES, 1);
    metric_add(METRIC_STREAM_BYTES, (double)size);
    note_sent(c, size, revision);
}

void stream_conn_error(struct stream_conn *c, const struct stream_frame *about, int err, const char *message)
{
    struct buf text = {0};
    stream_write_error(&text, about, stream_error_code(err), message);
    stream_conn_send(c, "error", buf_slice(&text), NULL, NULL, 0);
    buf_done(&text);
}

void stream_conn_mark(struct stream_conn *c)
{
    int64_t revision = stream_conn_position(c);
    struct buf *text = &c->server->scratch;
    c->wants_mark = false;
    if (revision < 0 || !c->q)
        return;
    buf_clear(text);
    stream_write_mark(text, revision);
    stream_conn_send(c, "mark", buf_slice(text), NULL, NULL, revision);
}

/* An event stream has no acknowledgements: what the socket has taken counts as acknowledged. */
void stream_conn_written(struct stream_conn *c)
{
    if (!c->q || !(c->is_unwritten || c->is_unacknowledged))
        return;
    if (http_unsent(c->q) > 0) {
        http_want_writable(c->q);
        return;
    }
    bool was_unwritten = c->is_unwritten, was_unacknowledged = c->is_unacknowledged;
    c->is_unwritten = c->is_unacknowledged = false;
    for (struct link *l = c->subs.next; was_unwritten && l != &c->subs; l = l->next) {
        struct stream_sub *sub = container_of(l, struct stream_sub, link);
        if (sub->kind->written)
            sub->kind->written(sub);
    }
    if (!was_unacknowledged)
        return;
    LIST_FOR_EACH (l, &c->subs) {
        struct stream_sub *sub = container_of(l, struct stream_sub, link);
        sub->kind->acknowledge(sub, sub->revision);
    }
}

void stream_sub_mark_dirty(struct stream_sub *sub)
{
    if (!link_is_in_list(&sub->dirty))
        list_add_last(&sub->conn->dirty, &sub->dirty);
    stream_wake(sub->conn);
}

/* Sends one frame of each dirty subscription in turn, so that a large one does not delay the others. At least
 * one frame is sent, then until the slice is over: a frame may be expensive (a snapshot, many gray rules). */
static void send_dirty(struct stream_conn *c)
{
    for (unsigned n = 0; !list_is_empty(&c->dirty) && stream_conn_has_room(c); n++) {
        if (n && stream_is_slice_over(c->server)) {
            stream_wake(c); /* after the other connections */
            return;
        }
        struct stream_sub *sub = container_of(c->dirty.next, struct stream_sub, dirty);
        list_remove(&sub->dirty); /* it is added again below if it has sent something: there may be more */
        bool has_sent = sub->kind->send(sub);
        if (!c->q)
            return;
        if (has_sent && !link_is_in_list(&sub->dirty))
            list_add_last(&c->dirty, &sub->dirty);
    }
}

void stream_conn_run(struct stream_conn *c)
{
    if (!c->q || c->phase != STREAM_CONN_OPEN || !stream_conn_recheck(c))
        return;
    bool are_several = c->has_events || (!list_is_empty(&c->dirty) && c->dirty.next != c->dirty.prev);
    if (are_several)
        http_stream_hold(c->q, true);
    send_dirty(c);
    while (c->q && c->has_events && stream_conn_has_room(c) && stream_kv_pull(c)) {
        if (!c->q || !stream_is_slice_over(c->server))
            continue;
        stream_wake(c); /* after the other connections */
        break;
    }
    if (c->q && are_several)
        http_stream_hold(c->q, false);
    stream_conn_written(c);
}

/* --- subscriptions ----------------------------------------------------------------------------------- */

struct stream_sub *stream_conn_find(struct stream_conn *c, uint32_t sid)
{
    LIST_FOR_EACH (l, &c->subs) {
        struct stream_sub *sub = container_of(l, struct stream_sub, link);
        if (sub->sid == sid)
            return sub;
    }
    return NULL;
}

static bool check_subscribe_limits(struct stream_conn *c, const struct stream_frame *frame)
{
    const struct stream_server *s = c->server;
    if (stream_conn_find(c, frame->sid))
        stream_conn_error(c, frame, ERR_EXISTS, "subscribe: this sid is in use");
    else if (c->sub_count >= STREAM_SUBSCRIPTIONS_MAX)
        stream_conn_error(c, frame, ERR_LIMIT,
                          "subscribe: this connection has reached its limit of subscriptions");
    else if (s->subscription_count >= s->options.subscriptions_max)
        stream_conn_error(c, frame, ERR_LIMIT,
                          "subscribe: this member has reached its limit of subscriptions");
    else
        return true;
    return false;
}

bool stream_conn_authorize(struct stream_conn *c, const struct stream_frame *f, const struct guard_need *need)
{
    char error[500] = "";
    int err = guard_check(c->server->options.identity, &c->user, need, error, sizeof error);
    if (err)
        stream_conn_error(c, f, guard_public_error(err), error);
    return !err;
}

/* Opens the source, and counts a subscriber of a namespace. */
static int open_subscription(struct stream_sub *sub, const struct stream_frame *frame, char *error,
                             size_t error_size)
{
    struct namespace_view *namespaces = sub->conn->server->options.namespaces;
    int err = stream_audit_check(frame, error, error_size);
    if (!err && sub->kind->source)
        err = namespace_subscribe(namespaces, stream_subscribe_ns(frame), &sub->counted, error, error_size);
    if (err)
        return err;
    err = sub->kind->open(sub, frame, error, error_size);
    if (err) {
        sub->kind->close(sub);
        namespace_unsubscribe(namespaces, sub->counted);
    }
    return err;
}

void stream_conn_subscribe(struct stream_conn *c, const struct stream_frame *frame)
{
    char error[500] = "";
    if (!check_subscribe_limits(c, frame))
        return;
    struct buf right = {0};
    bool is_prefix = stream_subscribe_right(frame, &right), is_selection = stream_scope_is_selection(frame);
    int err = OK;
    if (is_selection)
        err = guard_check_user(c->server->options.identity, &c->user, error, sizeof error);
    else if (guard_is_on(c->server->options.identity))
        err = stream_conn_check_read(c, buf_slice(&right), is_prefix, error, sizeof error);
    if (err) {
        buf_done(&right);
        stream_conn_error(c, frame, guard_public_error(err), error);
        return;
    }
    const struct stream_kind *kind = stream_kind_find(frame->kind);
    if (!kind) {
        buf_done(&right);
        snprintf(error, sizeof error, "subscribe: unknown kind \"%.*s\"", (int)frame->kind.size,
                 (const char *)frame->kind.data);
        stream_conn_error(c, frame, ERR_INVALID, error);
        return;
    }
    struct stream_sub *sub = mem_new(kind->size());
    sub->conn = c;
    sub->kind = kind;
    sub->sid = frame->sid;
    sub->is_selection = is_selection;
    stream_sub_set_right(sub, buf_slice(&right), is_prefix);
    buf_done(&right);
    err = open_subscription(sub, frame, error, sizeof error);
    if (err) {
        mem_free(sub->right);
        mem_free(sub);
        stream_conn_error(c, frame, err, error);
        return;
    }
    list_add_last(&c->subs, &sub->link);
    c->sub_count++;
    c->server->subscription_count++;
    metric_set(METRIC_STREAM_SUBSCRIPTIONS, (double)c->server->subscription_count);
    stream_sub_mark_dirty(sub);
}

static void unsubscribe(struct stream_conn *c, const struct stream_frame *f)
{
    struct stream_sub *sub = stream_conn_find(c, f->sid);
    if (sub)
        stream_sub_end(sub);
    else
        stream_conn_error(c, f, ERR_NOT_FOUND, "unsubscribe: there is no such subscription");
}

/* --- frames in -------------------------------------------------------------------------------------- */

static bool authorize_write(struct stream_conn *c, const struct stream_frame *f, enum guard_kind kind)
{
    struct slice group = f->group.size ? f->group : slice_text("default");
    const struct guard_need need = {kind, true, false, stream_subscribe_ns(f), group, f->name, f->id};
    return stream_conn_authorize(c, f, &need);
}

static void stream_conn_on_frame(struct stream_conn *c, const struct stream_frame *f)
{
    switch (f->type) {
    case STREAM_HELLO:
        stream_conn_error(c, f, ERR_INVALID, "hello: it was sent already");
        break;
    case STREAM_SUBSCRIBE:
        stream_conn_subscribe(c, f);
        break;
    case STREAM_UNSUBSCRIBE:
        unsubscribe(c, f);
        break;
    case STREAM_REGISTER:
        if (authorize_write(c, f, GUARD_INSTANCES))
            stream_session_register(c, f);
        break;
    case STREAM_DEREGISTER:
        if (authorize_write(c, f, GUARD_INSTANCES))
            stream_session_deregister(c, f);
        break;
    case STREAM_ACK:
        acknowledge(c, (int64_t)f->revision);
        break;
    case STREAM_HEARTBEAT:
        break;
    case STREAM_PUBLISH:
        if (authorize_write(c, f, GUARD_CONFIG))
            stream_publish(c, f);
        break;
    case STREAM_APPLIED:
        stream_applied(c, f);
        break;
    case STREAM_TYPES:
        break;
    }
}

/* Input that is not a frame ends the connection. A frame with an invalid field gets an error frame. */
static void on_bad_frame(struct stream_conn *c, const struct stream_frame *f, int err, const char *error)
{
    if (err == ERR_INVALID && c->phase == STREAM_CONN_OPEN)
        stream_conn_error(c, f, err, error);
    else
        stream_conn_fail(c, err, error);
}

void stream_conn_receive(struct stream_conn *c, struct slice text)
{
    struct stream_frame f;
    char error[240] = "";
    if (c->phase == STREAM_CONN_HANDSHAKE) {
        stream_handshake_hold_frame(c, text);
        return;
    }
    if (!stream_conn_recheck(c))
        return;
    int err = stream_frame_read(text, &f, error, sizeof error);
    if (err)
        on_bad_frame(c, &f, err, error);
    else if (c->phase == STREAM_CONN_OPEN)
        stream_conn_on_frame(c, &f);
    else if (f.type == STREAM_HELLO)
        stream_handshake_begin(c, &f);
    else
        stream_conn_fail(c, ERR_INVALID, "the first frame must be hello");
    stream_frame_done(&f);
    if (c->q && c->phase == STREAM_CONN_OPEN)
        stream_session_keep_alive(c);
}
