/* SPDX-License-Identifier: Apache-2.0
 * The stream: one WebSocket to /api/v1/stream.
 *
 *     idle -> dialing -> upgrading -> hello -> ready -> paused -> dialing, at the next endpoint
 *
 * - The frame `hello` has the last revision that this client has seen (resume), so that a member which is
 *   behind cannot show an older state.
 * - It also has the session, so that others see no change after a reconnect.
 * - Each frame with a revision is acknowledged; the server may then send more.
 * - Each heartbeat is a frame, which keeps the session alive, and a ping. If a ping is not answered by the
 *   next heartbeat, the connection is dead. */
#include <stdio.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/text.h"
#include "sdk/native_call.h"
#include "sdk/stream.h"
#include "sdk/ws.h"

enum { BEAT_MAX_MS = 10000, CODE_MAX = 64, TOKEN_PAUSE_MS = 500 };

enum stream_state {
    STREAM_IDLE,
    STREAM_DIALING,
    STREAM_UPGRADING,
    STREAM_HELLO,
    STREAM_READY,
    STREAM_PAUSED
};

struct pending_request {
    struct link link;
    uint64_t rid;
    void (*done)(void *arg, const json_t *result, const struct cairn_error *error);
    void *arg;
};

struct stream {
    struct cairn_client *client;
    enum stream_state state;
    size_t endpoint;
    struct sock *sock;
    struct rpc *token_call;
    struct http_answer upgrade;
    char key[32], accept[29];
    struct ws_reader reader;
    /* unnotified: users that a change of state has not been reported to yet */
    struct link users, unnotified;
    struct link requests;
    struct map subscriptions; /* by sid */
    uint32_t last_sid;
    uint64_t last_rid, cluster_id;
    int64_t seen_revision;
    char session[32];     /* "" = none */
    char session_key[64]; /* proves ownership of the session; a secret, never logged. "" = none */
    struct timer timer;   /* dialing: timeout; paused: pause; ready: heartbeat */
    uint64_t beat_ms;
    bool is_ping_out, has_token;
    uint64_t token_serial; /* of the token that this connection's hello had */
    unsigned failures;
    char reason[320];
    struct cairn_error refusal; /* the last error frame of this connection; code 0 = none */
};

static void stream_dial(struct stream *s);
static void on_dial_timeout(struct timer *t);
static void on_beat(struct timer *t);
static void stream_on_pause_over(struct timer *t);

static struct stream *stream_of(struct cairn_client *c)
{
    if (!c->stream) {
        struct stream *s = c->stream = mem_new(sizeof *s);
        s->client = c;
        s->endpoint = c->next_endpoint % c->endpoints.count;
        list_init(&s->users);
        list_init(&s->unnotified);
        list_init(&s->requests);
    }
    return c->stream;
}

/* Calls each user that is in the list now, once; users may leave during the calls. */
static void notify_users(struct stream *s, void (*notify)(struct stream_user *u))
{
    list_move_all(&s->unnotified, &s->users);
    for (struct link *l; (l = list_take_first(&s->unnotified));) {
        list_add_last(&s->users, l);
        notify(container_of(l, struct stream_user, link));
    }
}

/* --- the end of a connection ---------------------------------------------------------------------------- */
static void end_requests(struct stream *s)
{
    struct cairn_error e = {0};
    set_error(&e, CAIRN_UNAVAILABLE, "%s", s->reason);
    for (struct link *l; (l = list_take_first(&s->requests));) {
        struct pending_request *q = container_of(l, struct pending_request, link);
        q->done(q->arg, NULL, &e);
        mem_free(q);
    }
}

static void notify_lost(struct stream_user *u)
{
    u->on_lost(u);
}

static const char *endpoint_name(const struct stream *s)
{
    return s->client->endpoints.list[s->endpoint].name;
}

static void disconnect_as(struct stream *s, enum cairn_state state, const struct cairn_error *error,
                          uint64_t pause_ms)
{
    struct cairn_client *c = s->client;
    struct cairn_error copy = *error; /* it may be a part of *s */
    client_report(c, CAIRN_LINK_STREAM, state, endpoint_name(s), &copy);
    s->refusal.code = 0;
    sock_close(s->sock);
    s->sock = NULL;
    if (s->token_call)
        sdk_rpc_cancel(s->token_call);
    s->token_call = NULL;
    http_answer_done(&s->upgrade);
    ws_done(&s->reader);
    map_done(&s->subscriptions);
    s->is_ping_out = s->has_token = false;
    snprintf(s->reason, sizeof s->reason, "%.300s", copy.message);
    if (s->state == STREAM_READY)
        s->failures = 0;
    s->state = STREAM_PAUSED;
    s->endpoint = (s->endpoint + 1) % c->endpoints.count;
    /* The other endpoints are tried without a pause. */
    unsigned rounds = s->failures++ / (unsigned)c->endpoints.count;
    uint64_t ms = rounds ? (uint64_t)PAUSE_MIN_MS << (rounds < 6 ? rounds : 6) : 0;
    ms = pause_ms ? pause_ms : ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS;
    s->timer.run = stream_on_pause_over;
    timer_start(c, &s->timer, ms / 2 + random_u64() % (ms / 2 + 1));
    end_requests(s);
    notify_users(s, notify_lost);
}

/* A connection that was lost; its server gave no reason. */
static void disconnect(struct stream *s, const char *why)
{
    struct cairn_error e = {0};
    set_error(&e, CAIRN_UNAVAILABLE, "%s", why);
    disconnect_as(s, CAIRN_STATE_LOST, &e, 0);
}

void stream_report(struct cairn_client *c, const char *subject, const struct cairn_error *error)
{
    struct cairn_error e = {0};
    set_error(&e, error->code, "%.200s: %.300s", subject, error->message);
    e.status = error->status;
    client_report(c, CAIRN_LINK_STREAM, state_of_error(error->code),
                  c->stream ? endpoint_name(c->stream) : "", &e);
}

static void stream_on_pause_over(struct timer *t)
{
    struct stream *s = container_of(t, struct stream, timer);
    s->state = STREAM_IDLE;
    if (!list_is_empty(&s->users))
        stream_dial(s);
}

static void on_dial_timeout(struct timer *t)
{
    disconnect(container_of(t, struct stream, timer), "no answer in time");
}

/* --- sending -------------------------------------------------------------------------------------------- */
static void send_frame(struct stream *s, enum ws_opcode opcode, struct slice payload)
{
    struct buf out = {0};
    uint8_t mask[4];
    random_bytes(mask, sizeof mask);
    ws_write(&out, opcode, payload, mask);
    if (s->sock)
        sock_write(s->sock, buf_slice(&out));
    buf_done(&out);
}

void stream_send(struct cairn_client *c, struct slice frame)
{
    if (stream_is_ready(c))
        send_frame(c->stream, WS_OP_TEXT, frame);
}

void stream_send_request(struct cairn_client *c, struct slice frame,
                         void (*done)(void *arg, const json_t *result, const struct cairn_error *error),
                         void *arg)
{
    struct stream *s = c->stream;
    struct pending_request *q = mem_new(sizeof *q);
    struct buf text = {0};
    q->rid = ++s->last_rid;
    q->done = done;
    q->arg = arg;
    list_add_last(&s->requests, &q->link);
    buf_add_slice(&text, frame);
    buf_addf(&text, ",\"rid\":%llu}", (unsigned long long)q->rid);
    send_frame(s, WS_OP_TEXT, buf_slice(&text));
    buf_done(&text);
}

void stream_forget(struct cairn_client *c, const void *arg)
{
    if (!c->stream)
        return;
    LIST_FOR_EACH_SAFE (l, &c->stream->requests) {
        struct pending_request *q = container_of(l, struct pending_request, link);
        if (q->arg == arg) {
            list_remove(l);
            mem_free(q);
        }
    }
}

/* --- hello ---------------------------------------------------------------------------------------------- */
static void add_labels(struct json_writer *w, const char *labels)
{
    jw_key(w, "labels");
    jw_open(w, '{');
    while (*labels) {
        size_t n = strcspn(labels, ","), k = strcspn(labels, "=");
        char key[257];
        if (k < n && k < sizeof key) {
            memcpy(key, labels, k);
            key[k] = 0;
            jw_key(w, key);
            jw_string(w, slice_of(labels + k + 1, n - k - 1));
        }
        labels += n + (labels[n] == ',');
    }
    jw_close(w, '}');
}

static void say_hello(struct stream *s)
{
    struct cairn_client *c = s->client;
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    jw_open(&w, '{');
    jw_key(&w, "type");
    jw_text(&w, "hello");
    if (c->client_id) {
        jw_key(&w, "client_id");
        jw_text(&w, c->client_id);
    }
    if (c->labels)
        add_labels(&w, c->labels);
    s->token_serial = c->token_serial;
    s->has_token = false;
    if (c->token) {
        jw_key(&w, "token");
        jw_text(&w, c->token);
    }
    if (s->seen_revision) {
        jw_key(&w, "resume");
        jw_open(&w, '{');
        jw_key(&w, "cluster_id");
        jw_uint_string(&w, s->cluster_id);
        jw_key(&w, "revision");
        jw_int(&w, s->seen_revision);
        jw_close(&w, '}');
    }
    if (s->session[0]) {
        jw_key(&w, "session");
        jw_open(&w, '{');
        jw_key(&w, "id");
        jw_text(&w, s->session);
        if (s->session_key[0]) {
            jw_key(&w, "key");
            jw_text(&w, s->session_key);
        }
        jw_close(&w, '}');
    }
    jw_close(&w, '}');
    s->state = STREAM_HELLO;
    send_frame(s, WS_OP_TEXT, buf_slice(&out));
    buf_done(&out);
}

static void on_beat(struct timer *t)
{
    struct stream *s = container_of(t, struct stream, timer);
    if (s->is_ping_out) {
        disconnect(s, "the server does not answer a ping");
        return;
    }
    s->is_ping_out = true;
    send_frame(s, WS_OP_PING, (struct slice){0});
    if (s->state == STREAM_READY && s->session[0])
        send_frame(s, WS_OP_TEXT, slice_text("{\"type\":\"heartbeat\"}"));
    if (s->state == STREAM_READY)
        timer_start(s->client, t, s->beat_ms);
}

static void set_beat(struct stream *s, const json_t *frame)
{
    json_int_t ms = json_integer_value(json_object_get(frame, "heartbeat_ms"));
    uint64_t beat_ms = ms > 0 && ms < BEAT_MAX_MS ? (uint64_t)ms : BEAT_MAX_MS;
    if (s->beat_ms && s->beat_ms <= beat_ms)
        return;
    s->beat_ms = beat_ms;
    s->timer.run = on_beat;
    timer_start(s->client, &s->timer, s->beat_ms);
}

static void forget_session(struct stream *s)
{
    s->session[0] = 0;
    explicit_bzero(s->session_key, sizeof s->session_key);
}

/* Stores the session. The server sends the key once, when it opens the session; the client keeps it with
 * the session. */
static void take_session(struct stream *s, const json_t *frame)
{
    const char *session = json_string_value(json_object_get(frame, "session"));
    const char *key = json_string_value(json_object_get(frame, "session_key"));
    if (session && strcmp(session, s->session) != 0) {
        forget_session(s);
        snprintf(s->session, sizeof s->session, "%s", session);
    }
    if (session && key)
        snprintf(s->session_key, sizeof s->session_key, "%s", key);
}

static void notify_ready(struct stream_user *u)
{
    u->on_ready(u);
}

static void on_welcome(struct stream *s, const json_t *frame)
{
    const char *cluster = json_string_value(json_object_get(frame, "cluster_id"));
    uint64_t id = 0;
    if (cluster && text_to_u64(slice_text(cluster), &id) == OK && id != s->cluster_id) {
        s->cluster_id = id;
        s->seen_revision = 0; /* revisions of another cluster cannot be compared */
    }
    if (!json_object_get(frame, "session"))
        forget_session(s);
    token_accepted(s->client, s->token_serial);
    take_session(s, frame);
    s->state = STREAM_READY;
    s->failures = 0;
    s->beat_ms = 0;
    set_beat(s, frame);
    client_report(s->client, CAIRN_LINK_STREAM, CAIRN_STATE_CONNECTED, endpoint_name(s), NULL);
    notify_users(s, notify_ready);
}

/* --- frames from the server ----------------------------------------------------------------------------- */
int code_of_name(const char *code)
{
    static const struct {
        const char *name;
        int code;
    } table[] = {
        {"session_gone", CAIRN_LOST},
        {"not_ready", CAIRN_UNAVAILABLE},
        {"closed", CAIRN_UNAVAILABLE},
        {"no_leader", CAIRN_UNAVAILABLE},
        {"stopped", CAIRN_UNAVAILABLE},
        {"timeout", CAIRN_UNKNOWN},
        {"compacted", CAIRN_COMPACTED},
        {"forbidden", CAIRN_DENIED},
        {"permission_denied", CAIRN_DENIED},
        {"invalid_auth_token", CAIRN_UNAUTHENTICATED},
        {"not_found", CAIRN_NOT_FOUND},
        {"exists", CAIRN_EXISTS},
        {"limit", CAIRN_LIMIT},
        {"quota", CAIRN_LIMIT},
        {"conflict", CAIRN_CONFLICT},
        {"precondition", CAIRN_CONFLICT},
        {"invalid", CAIRN_INVALID},
        {"malformed", CAIRN_INVALID},
        {"future_rev", CAIRN_FUTURE},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, code) == 0)
            return table[i].code;
    return CAIRN_SERVER;
}

static struct pending_request *take_request(struct stream *s, const json_t *frame)
{
    json_int_t rid = json_integer_value(json_object_get(frame, "rid"));
    LIST_FOR_EACH (l, &s->requests) {
        struct pending_request *q = container_of(l, struct pending_request, link);
        if (q->rid == (uint64_t)rid) {
            list_remove(l);
            return q;
        }
    }
    return NULL;
}

static void stream_answer(struct stream *s, const json_t *frame, const struct cairn_error *error)
{
    struct pending_request *q = take_request(s, frame);
    if (q)
        q->done(q->arg, error->code ? NULL : frame, error);
    mem_free(q);
}

static void notify_session_gone(struct stream_user *u)
{
    if (u->on_session_gone)
        u->on_session_gone(u);
}

static void on_error(struct stream *s, const json_t *frame)
{
    const char *code = json_string_value(json_object_get(frame, "code"));
    const char *message = json_string_value(json_object_get(frame, "message"));
    json_int_t sid = json_integer_value(json_object_get(frame, "sid"));
    struct cairn_error e = {0};
    set_error(&e, code_of_name(code ? code : ""), "%.500s", message ? message : "the server gave no reason");
    bool is_refusal = e.code == CAIRN_UNAUTHENTICATED && token_refused(s->client, s->token_serial);
    if (is_refusal && s->state == STREAM_READY) {
        /* Everything on it is refused: its user was changed, or authentication was enabled after it. */
        disconnect_as(s, CAIRN_STATE_UNAUTHENTICATED, &e, TOKEN_PAUSE_MS);
    } else if (json_object_get(frame, "rid")) {
        stream_answer(s, frame, &e);
    } else if (sid > 0) {
        struct subscription *sub = map_get(&s->subscriptions, (uint64_t)sid);
        if (sub)
            subscription_refused(sub, &e);
    } else if (e.code == CAIRN_LOST) {
        forget_session(s);
        client_report(s->client, CAIRN_LINK_STREAM, CAIRN_STATE_SESSION_LOST, endpoint_name(s), &e);
        if (s->state == STREAM_READY)
            notify_users(s, notify_session_gone);
    } else if (e.code == CAIRN_UNAUTHENTICATED) {
        disconnect_as(s, CAIRN_STATE_UNAUTHENTICATED, &e, 0);
    } else {
        s->refusal = e;
        if (s->state == STREAM_READY)
            client_report(s->client, CAIRN_LINK_STREAM, state_of_error(e.code), endpoint_name(s), &e);
    }
}

static void acknowledge(struct stream *s, int64_t revision)
{
    char text[64];
    int n = snprintf(text, sizeof text, "{\"type\":\"ack\",\"revision\":%lld}", (long long)revision);
    send_frame(s, WS_OP_TEXT, slice_of(text, (size_t)n));
}

static void on_mark(struct stream *s, int64_t revision)
{
    uint64_t sid;
    void *sub;
    for (size_t at = 0; map_next(&s->subscriptions, &at, &sid, &sub);)
        subscription_mark(sub, revision);
}

static void stream_on_frame(struct stream *s, const char *type, const json_t *frame)
{
    json_int_t revision = json_integer_value(json_object_get(frame, "revision"));
    json_int_t sid = json_integer_value(json_object_get(frame, "sid"));
    if (strcmp(type, "welcome") != 0 && revision > s->seen_revision)
        s->seen_revision = revision;
    if (s->state == STREAM_HELLO && strcmp(type, "welcome") == 0) {
        on_welcome(s, frame);
    } else if (strcmp(type, "error") == 0) {
        on_error(s, frame);
    } else if (strcmp(type, "goaway") == 0) {
        json_int_t ms = json_integer_value(json_object_get(frame, "after_ms"));
        struct cairn_error e = {0};
        set_error(&e, CAIRN_UNAVAILABLE, "the member stops or is behind: another one is used");
        disconnect_as(s, CAIRN_STATE_REDIRECTED, &e, ms > 0 && ms < 10000 ? (uint64_t)ms : 1);
    } else if (strcmp(type, "result") == 0) {
        struct cairn_error none = {0};
        take_session(s, frame);
        if (json_object_get(frame, "heartbeat_ms"))
            set_beat(s, frame);
        stream_answer(s, frame, &none);
    } else if (strcmp(type, "mark") == 0) {
        on_mark(s, revision);
        acknowledge(s, revision);
    } else if (sid > 0) {
        struct subscription *sub = map_get(&s->subscriptions, (uint64_t)sid);
        if (revision)
            acknowledge(s, revision);
        if (sub)
            subscription_frame(sub, type, frame);
    }
}

static void on_text(struct stream *s, struct slice text)
{
    char why[200];
    json_t *frame = NULL;
    int err = json_parse(text, &frame, why, sizeof why);
    const char *type = json_string_value(json_object_get(frame, "type"));
    if (err || !type)
        disconnect(s, "the server sent a frame that is not valid");
    else
        stream_on_frame(s, type, frame);
    json_decref(frame);
}

/* --- the socket ----------------------------------------------------------------------------------------- */
/* A close frame: its status and text (RFC 6455, 5.5.1). An error frame before it is the reason. */
static void on_closed(struct stream *s, struct slice payload)
{
    struct cairn_error e = {0};
    int status = payload.size >= 2 ? payload.data[0] << 8 | payload.data[1] : 0;
    size_t size = payload.size > 2 ? payload.size - 2 : 0;
    if (s->refusal.code) {
        e = s->refusal;
        disconnect_as(s, s->state == STREAM_READY ? CAIRN_STATE_CLOSED : state_of_error(e.code), &e, 0);
        return;
    }
    set_error(&e, status == 1008 ? CAIRN_DENIED : CAIRN_UNAVAILABLE, "closed by the server, status %d%s%.*s",
              status, size ? ": " : "", (int)size, size ? (const char *)payload.data + 2 : "");
    e.status = status;
    disconnect_as(s, CAIRN_STATE_CLOSED, &e, 0);
}

static void read_frames(struct stream *s)
{
    enum ws_event event = WS_TEXT;
    struct slice payload;
    while (s->sock && event != WS_NOTHING) {
        if (ws_next(&s->reader, &event, &payload) != OK) {
            disconnect(s, "the server sent invalid WebSocket frames");
        } else if (event == WS_TEXT) {
            on_text(s, payload);
        } else if (event == WS_PING) {
            send_frame(s, WS_OP_PONG, payload);
        } else if (event == WS_PONG) {
            s->is_ping_out = false;
        } else if (event == WS_CLOSED) {
            on_closed(s, payload);
        }
    }
}

static void on_refused_upgrade(struct stream *s)
{
    struct cairn_error e = {0};
    struct slice to;
    int status = s->upgrade.status, code = code_of_http(status);
    bool is_redirect = status >= 300 && status < 400;
    set_error(&e, code, "the server answered the upgrade with HTTP status %d", status);
    if (is_redirect && http_answer_field(&s->upgrade, "location", &to))
        set_error(&e, CAIRN_UNAVAILABLE, "the server redirects with HTTP status %d to %.*s", status,
                  (int)(to.size < 300 ? to.size : 300), (const char *)to.data);
    e.status = status;
    disconnect_as(s, is_redirect ? CAIRN_STATE_REDIRECTED : state_of_error(e.code), &e, 0);
}

static void read_upgrade(struct stream *s, struct slice bytes)
{
    struct slice accept;
    struct http_answer *a = &s->upgrade;
    if (http_answer_feed(a, &bytes, NULL) != OK) {
        disconnect(s, "the response to the upgrade is not HTTP");
    } else if (http_answer_has_head(a) && a->status != 101) {
        on_refused_upgrade(s);
    } else if (http_answer_has_head(a) && (!http_answer_field(a, "sec-websocket-accept", &accept) ||
                                           !slice_equal(accept, slice_text(s->accept)))) {
        disconnect(s, "the server's WebSocket upgrade does not match the request");
    } else if (http_answer_has_head(a)) {
        buf_add_slice(&s->reader.in, bytes);
        http_answer_done(a);
        say_hello(s);
        read_frames(s);
    }
}

static void stream_on_open(void *owner)
{
    struct stream *s = owner;
    struct buf out = {0}, key = {0};
    uint8_t nonce[16];
    random_bytes(nonce, sizeof nonce);
    base64_encode(&key, slice_of(nonce, sizeof nonce));
    snprintf(s->key, sizeof s->key, "%s", buf_text(&key));
    ws_accept(s->key, s->accept);
    buf_addf(&out,
             "GET /api/v1/stream HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n"
             "Sec-WebSocket-Protocol: cairn.v1+json\r\nUser-Agent: libcairn/" CAIRN_SDK_VERSION "\r\n\r\n",
             s->client->endpoints.list[s->endpoint].authority, s->key);
    s->state = STREAM_UPGRADING;
    sock_write(s->sock, buf_slice(&out));
    buf_done(&out);
    buf_done(&key);
}

static void on_data(void *owner, struct slice bytes)
{
    struct stream *s = owner;
    if (s->state == STREAM_UPGRADING) {
        read_upgrade(s, bytes);
        return;
    }
    buf_add_slice(&s->reader.in, bytes);
    read_frames(s);
}

static void stream_on_drain(void *owner)
{
    (void)owner;
}

static void stream_on_close(void *owner, const char *why)
{
    struct stream *s = owner;
    s->sock = NULL;
    disconnect(s, why);
}

static const struct sock_ops sock_ops = {stream_on_open, on_data, stream_on_drain, stream_on_close};

static void on_token(struct rpc *r, const struct cairn_error *error)
{
    struct stream *s = r->owner;
    s->token_call = NULL;
    if (error->code)
        disconnect_as(s, state_of_error(error->code), error, 0);
    else
        stream_dial(s);
}

static void stream_dial(struct stream *s)
{
    struct cairn_client *c = s->client;
    s->state = STREAM_DIALING;
    s->timer.run = on_dial_timeout;
    timer_start(c, &s->timer, c->dial_timeout_ms);
    if (token_is_needed(c) && !s->has_token && !s->token_call) {
        s->has_token = true; /* by the end of this call there is one, or the server needs none */
        s->token_call = channel_get_token(c, on_token, s);
        return;
    }
    client_report(c, CAIRN_LINK_STREAM, CAIRN_STATE_CONNECTING, endpoint_name(s), NULL);
    s->sock = sock_dial(&c->loop, &c->endpoints.list[s->endpoint], c->tls_http, &sock_ops, s);
}

/* --- users ---------------------------------------------------------------------------------------------- */
bool stream_is_ready(const struct cairn_client *c)
{
    return c->stream && c->stream->state == STREAM_READY;
}

void stream_retry_now(struct cairn_client *c)
{
    if (c->stream && c->stream->state == STREAM_PAUSED)
        timer_start(c, &c->stream->timer, 0);
}

void stream_join(struct cairn_client *c, struct stream_user *u)
{
    struct stream *s = stream_of(c);
    list_add_last(&s->users, &u->link);
    if (s->state == STREAM_READY)
        u->on_ready(u);
    else if (s->state == STREAM_IDLE)
        stream_dial(s);
}

void stream_leave(struct cairn_client *c, struct stream_user *u)
{
    (void)c;
    list_remove(&u->link);
}

uint32_t stream_add_subscription(struct cairn_client *c, struct subscription *sub)
{
    struct stream *s = c->stream;
    map_put(&s->subscriptions, ++s->last_sid, sub);
    return s->last_sid;
}

void stream_drop_subscription(struct cairn_client *c, uint32_t sid)
{
    if (sid && c->stream)
        map_remove(&c->stream->subscriptions, sid);
}

void stream_free(struct cairn_client *c)
{
    struct stream *s = c->stream;
    if (!s)
        return;
    sock_close(s->sock);
    if (s->token_call)
        sdk_rpc_cancel(s->token_call);
    timer_stop(c, &s->timer);
    http_answer_done(&s->upgrade);
    ws_done(&s->reader);
    map_done(&s->subscriptions);
    forget_session(s);
    mem_free(s);
    c->stream = NULL;
}
