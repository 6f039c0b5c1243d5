/* SPDX-License-Identifier: Apache-2.0
 * Execution of one native API request: a connection, the request, the response, the end. The retry rule is
 * that of rpc.c: a GET is retried always, other methods only if nothing was sent.
 *
 * With a user, the token comes first from Authenticate over gRPC: a cheap gRPC call makes the channel
 * authenticate. */
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "sdk/native_call.h"

static void attempt(struct native_call *q);
static void get_token(struct native_call *q);

static void drop_connection(struct native_call *q)
{
    sock_close(q->sock);
    q->sock = NULL;
    http_answer_done(&q->answer);
    buf_clear(&q->body);
}

static void native_call_detach(struct native_call *q)
{
    cancel_end(&q->canceling);
    timer_stop(q->client, &q->deadline);
    timer_stop(q->client, &q->pause);
    list_remove(&q->object.link);
    if (q->token_call)
        sdk_rpc_cancel(q->token_call);
    sock_close(q->sock);
}

static void native_call_free(struct native_call *q)
{
    http_answer_done(&q->answer);
    buf_done(&q->body);
    buf_done(&q->request);
    mem_free(q);
}

static void native_call_finish(struct native_call *q, const struct cairn_error *error)
{
    native_call_detach(q);
    q->on_end(q, error);
    native_call_free(q);
}

void native_call_cancel(struct native_call *q)
{
    if (!q)
        return;
    native_call_detach(q);
    native_call_free(q);
}

/* --- errors --------------------------------------------------------------------------------------------- */
int code_of_http(int status)
{
    static const struct {
        int status, code;
    } table[] = {
        {400, CAIRN_INVALID},       {401, CAIRN_UNAUTHENTICATED}, {403, CAIRN_DENIED},
        {404, CAIRN_NOT_FOUND},     {409, CAIRN_CONFLICT},        {410, CAIRN_LOST},
        {412, CAIRN_CONFLICT},      {413, CAIRN_LIMIT},           {429, CAIRN_LIMIT},
        {501, CAIRN_UNIMPLEMENTED}, {502, CAIRN_UNAVAILABLE},     {503, CAIRN_UNAVAILABLE},
        {504, CAIRN_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status)
            return table[i].code;
    return status < 500 ? CAIRN_INVALID : CAIRN_SERVER;
}

/* {"error":{"code":"…","message":"…"}} */
static void read_error(const struct native_call *q, struct cairn_error *e)
{
    int status = q->answer.status;
    char why[200];
    json_t *root = NULL;
    const char *message = NULL;
    if (q->body.size && json_parse(buf_slice(&q->body), &root, why, sizeof why) == OK)
        message = json_string_value(json_object_get(json_object_get(root, "error"), "message"));
    if (message)
        set_error(e, code_of_http(status), "%.500s", message);
    else
        set_error(e, code_of_http(status), "the server answered with HTTP status %d", status);
    e->status = status;
    json_decref(root);
}

/* --- attempts ------------------------------------------------------------------------------------------- */
static void native_call_on_pause_over(struct timer *t)
{
    attempt(container_of(t, struct native_call, pause));
}

static void attempt_failed(struct native_call *q, const struct cairn_error *e)
{
    if (!q->is_read && q->is_sent) {
        struct cairn_error unknown = *e;
        if (e->code == CAIRN_UNAVAILABLE)
            set_error(&unknown, CAIRN_UNKNOWN, "%.480s: it may have been done", e->message);
        unknown.status = e->status;
        native_call_finish(q, &unknown);
        return;
    }
    drop_connection(q);
    q->reason = *e;
    q->endpoint = (q->endpoint + 1) % q->client->endpoints.count;
    q->failures++;
    /* The first round of endpoints has no pauses. */
    uint64_t ms =
        q->failures < q->client->endpoints.count ? 0 : PAUSE_MIN_MS << (q->failures < 5 ? q->failures : 5);
    q->pause.run = native_call_on_pause_over;
    timer_start(q->client, &q->pause, ms ? ms / 2 + random_u64() % ms : 0);
}

static void on_deadline(struct timer *t)
{
    struct native_call *q = container_of(t, struct native_call, deadline);
    struct cairn_error e = {0};
    if (q->is_sent && !q->is_read)
        set_error(&e, CAIRN_UNKNOWN, "no answer in time: it may have been done");
    else if (q->reason.code)
        e = q->reason;
    else
        set_error(&e, q->is_sent ? CAIRN_TIMEOUT : CAIRN_UNAVAILABLE, "%s",
                  q->is_sent ? "no answer in time" : "no connection in time");
    native_call_finish(q, &e);
}

static void native_call_on_open(void *owner)
{
    struct native_call *q = owner;
    const struct endpoint *e = &q->client->endpoints.list[q->endpoint];
    struct buf head = {0};
    buf_addf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: libcairn/" CAIRN_SDK_VERSION "\r\n", q->method,
             q->path, e->authority);
    buf_addf(&head, "Connection: close\r\nContent-Length: %zu\r\n%s", q->request.size,
             q->fields ? q->fields : "");
    if (q->client->token)
        buf_addf(&head, "Authorization: %s\r\n", q->client->token);
    buf_add_text(&head, "\r\n");
    q->is_sent = true;
    q->token_serial = q->client->token_serial;
    struct sock *s = q->sock;
    buf_add_slice(&head, buf_slice(&q->request));
    sock_write(s, buf_slice(&head)); /* q may be freed inside */
    buf_done(&head);
}

static void native_call_handle_response(struct native_call *q)
{
    struct cairn_error e = {0};
    int status = q->answer.status;
    if (status != 401)
        token_accepted(q->client, q->token_serial);
    if ((status >= 200 && status < 300) || status == 304) {
        native_call_finish(q, &e);
        return;
    }
    read_error(q, &e);
    if (status == 401 && token_refused(q->client, q->token_serial)) {
        q->is_sent = q->has_token = false; /* a rejected token: the server did nothing */
        drop_connection(q);
        attempt(q);
    } else if (e.code == CAIRN_UNAVAILABLE)
        attempt_failed(q, &e);
    else
        native_call_finish(q, &e);
}

static void on_data(void *owner, struct slice bytes)
{
    struct native_call *q = owner;
    struct cairn_error e = {0};
    if (http_answer_feed(&q->answer, &bytes, &q->body) != OK || q->body.size > NATIVE_BODY_MAX) {
        set_error(&e, CAIRN_PROTOCOL, "the server's response is not HTTP, or too large");
        native_call_finish(q, &e);
    } else if (q->answer.phase == HTTP_ANSWER_DONE) {
        native_call_handle_response(q);
    }
}

static void native_call_on_drain(void *owner)
{
    (void)owner;
}

static void native_call_on_close(void *owner, const char *why)
{
    struct native_call *q = owner;
    struct cairn_error e = {0};
    q->sock = NULL;
    if (http_answer_end(&q->answer) == OK) {
        native_call_handle_response(q);
        return;
    }
    set_error(&e, CAIRN_UNAVAILABLE, "%.80s: %.300s", q->client->endpoints.list[q->endpoint].name, why);
    attempt_failed(q, &e);
}

static const struct sock_ops sock_ops = {native_call_on_open, on_data, native_call_on_drain,
                                         native_call_on_close};

static void on_token_call(struct rpc *r, const struct cairn_error *error)
{
    struct native_call *q = r->owner;
    q->token_call = NULL;
    if (error->code)
        native_call_finish(q, error);
    else
        attempt(q);
}

static void get_token(struct native_call *q)
{
    q->has_token = true;
    q->token_call = channel_get_token(q->client, on_token_call, q);
}

static void attempt(struct native_call *q)
{
    struct cairn_client *c = q->client;
    if (token_is_needed(c) && !q->has_token) {
        get_token(q);
        return;
    }
    q->sock = sock_dial(&c->loop, &c->endpoints.list[q->endpoint], c->tls_http, &sock_ops, q);
}

static void native_call_stop_here(struct object *o)
{
    struct cairn_error e = {0};
    set_error(&e, CAIRN_CLOSED, "%s", cairn_error_text(CAIRN_CLOSED));
    native_call_finish(container_of(o, struct native_call, object), &e);
}

struct native_call *native_call_new(struct cairn_client *c, const char *method, const char *path)
{
    struct native_call *q = mem_new(sizeof *q);
    q->client = c;
    q->method = method;
    q->path = path;
    q->is_read = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    q->object.stop = native_call_stop_here;
    q->deadline.run = on_deadline;
    return q;
}

static void cancel_native_call(struct cancel_op *op, const struct cairn_error *error)
{
    struct native_call *q = container_of(op, struct native_call, canceling);
    struct cairn_error e = *error;
    if (q->is_sent && !q->is_read)
        set_error(&e, CAIRN_UNKNOWN, "%.480s: it may have been done", error->message);
    native_call_finish(q, &e);
}

void native_call_start(struct native_call *q, uint32_t timeout_ms)
{
    struct cairn_client *c = q->client;
    struct cairn_error e = {0};
    q->canceling.run = cancel_native_call;
    if (cancel_begin(&q->canceling, &e)) {
        native_call_finish(q, &e);
        return;
    }
    q->endpoint = c->next_endpoint % c->endpoints.count;
    object_add(c, &q->object);
    timer_start(c, &q->deadline, timeout_ms);
    attempt(q);
}
