/* SPDX-License-Identifier: Apache-2.0
 * gRPC calls: messages, deadline, retries.
 *
 *     new -> waiting -> on a stream of h2 -> ended
 *              ^            |
 *              +- pause <---+  the attempt failed, and a retry is allowed
 *
 * The retry rule:
 *
 * - Any call is retried if the server provably did not process it.
 * - A read is also retried if its result is unknown or its member could not serve it.
 * - A write then ends with CAIRN_UNKNOWN.
 * - A stream ends. */
#include <protobuf-c/protobuf-c.h>

#include "base/clock.h"
#include "sdk/private.h"

static void on_deadline(struct timer *t);

struct rpc *rpc_new(struct cairn_client *c, const char *path, enum rpc_kind kind, void *owner)
{
    struct rpc *r = mem_new(sizeof *r);
    r->client = c;
    r->path = path;
    r->kind = kind;
    r->owner = owner;
    r->grpc_status = r->http_status = -1;
    r->timer.run = on_deadline;
    return r;
}

void rpc_add_message(struct rpc *r, struct slice message)
{
    uint8_t head[5] = {0};
    put_be32(head + 1, (uint32_t)message.size);
    buf_add(&r->out, head, sizeof head);
    buf_add_slice(&r->out, message);
    if (r->h2 && !r->is_stream_over)
        h2_resume(r->h2, r);
}

void rpc_add_packed(struct rpc *r, const ProtobufCMessage *message)
{
    struct buf bytes = {0};
    uint8_t *end = buf_reserve(&bytes, protobuf_c_message_get_packed_size(message));
    bytes.size += protobuf_c_message_pack(message, end);
    rpc_add_message(r, buf_slice(&bytes));
    buf_done(&bytes);
}

void sdk_rpc_half_close(struct rpc *r)
{
    r->is_half_closed = true;
    if (r->h2 && !r->is_stream_over)
        h2_resume(r->h2, r);
}

void rpc_free(struct rpc *r)
{
    if (!r)
        return;
    buf_done(&r->out);
    buf_done(&r->in);
    buf_done(&r->grpc_message);
    mem_free(r);
}

/* Removes the call from all lists and stops its timers. */
static void detach(struct rpc *r)
{
    if (r->h2)
        h2_drop(r->h2, r);
    r->h2 = NULL;
    list_remove(&r->link);
    list_remove(&r->touched);
    timer_stop(r->client, &r->timer);
    timer_stop(r->client, &r->pause);
}

static void on_no_connection(struct timer *t)
{
    struct rpc *r = container_of(t, struct rpc, pause);
    struct cairn_client *c = r->client;
    struct cairn_error e = {0};
    set_error(&e, CAIRN_UNAVAILABLE, "no connection within %u ms%s%s", c->dial_timeout_ms,
              c->last_reason[0] ? ": " : "", c->last_reason);
    sdk_rpc_finish(r, &e);
}

static void wait_for_connection(struct rpc *r)
{
    struct cairn_client *c = r->client;
    list_add_last(&c->waiting, &r->link);
    r->pause.run = on_no_connection;
    timer_start(c, &r->pause, c->dial_timeout_ms); /* the turn finds it in the waiting list */
}

void sdk_rpc_start(struct rpc *r, uint64_t timeout_ms)
{
    struct cairn_client *c = r->client;
    r->timeout_ms = timeout_ms;
    c->call_count++;
    if (timeout_ms) {
        r->deadline_ms = clock_mono_ms() + timeout_ms;
        timer_start(c, &r->timer, timeout_ms);
    }
    wait_for_connection(r);
}

/* Changes the error of a write that was sent to CAIRN_UNKNOWN if its result is open: no response, or
 * "unavailable" (etcd: "request timed out"). */
static void classify_write_error(const struct rpc *r, struct cairn_error *e)
{
    if (r->kind != RPC_WRITE || !r->is_sent || r->is_refused)
        return;
    if (e->code == CAIRN_UNAVAILABLE || e->code == CAIRN_TIMEOUT || e->code == CAIRN_CANCELED) {
        int status = e->status;
        set_error(e, CAIRN_UNKNOWN, "%.480s: it may have been done", e->message);
        e->status = status;
    }
}

void sdk_rpc_finish(struct rpc *r, const struct cairn_error *error)
{
    struct cairn_error e = *error;
    classify_write_error(r, &e);
    detach(r);
    r->client->call_count--;
    r->on_end(r, &e);
    if (r->is_delivering)
        r->is_canceled = true;
    else
        rpc_free(r);
}

void sdk_rpc_cancel(struct rpc *r)
{
    detach(r);
    r->client->call_count--;
    if (r->is_delivering)
        r->is_canceled = true;
    else
        rpc_free(r);
}

static void on_deadline(struct timer *t)
{
    struct rpc *r = container_of(t, struct rpc, timer);
    struct cairn_client *c = r->client;
    struct cairn_error e = {0};
    unsigned long long ms = r->timeout_ms;
    if (r->was_sent || r->is_sent)
        set_error(&e, CAIRN_TIMEOUT, "no answer within %llu ms%s%s", ms,
                  r->reason.code ? "; before that: " : "", r->reason.code ? r->reason.message : "");
    else if (r->reason.code)
        e = r->reason;
    else
        set_error(&e, CAIRN_UNAVAILABLE, "no connection within %llu ms%s%s", ms,
                  c->last_reason[0] ? ": " : "", c->last_reason);
    sdk_rpc_finish(r, &e);
}

static void rpc_on_pause_over(struct timer *t)
{
    struct rpc *r = container_of(t, struct rpc, pause);
    list_remove(&r->link);
    wait_for_connection(r);
}

/* Resets the call for another attempt, except the request and its deadline. */
static void rewind_call(struct rpc *r)
{
    r->out_taken = 0;
    r->is_sent = r->is_out_deferred = r->is_stream_over = r->is_refused = false;
    r->stream_id = 0;
    r->http_status = r->grpc_status = -1;
    buf_clear(&r->in);
    buf_clear(&r->grpc_message);
}

/* The pause before the next attempt: 25, 50, 100 ... 1,000 ms, half of it random. */
static uint64_t pause_of(unsigned attempts)
{
    uint64_t ms = attempts < 6 ? 25u << attempts : 1000;
    return ms / 2 + random_u64() % (ms / 2 + 1);
}

static bool can_retry(const struct rpc *r, bool is_refused)
{
    if (r->kind == RPC_STREAM)
        return false;
    return r->kind == RPC_READ || !r->is_sent || is_refused;
}

void rpc_attempt_over(struct rpc *r, const struct cairn_error *reason, bool is_refused)
{
    if (!can_retry(r, is_refused)) {
        sdk_rpc_finish(r, reason);
        return;
    }
    r->reason = *reason;
    r->was_sent |= r->is_sent && !is_refused;
    if (r->h2)
        h2_drop(r->h2, r);
    r->h2 = NULL;
    list_remove(&r->link);
    list_remove(&r->touched);
    rewind_call(r);
    list_add_last(&r->client->paused, &r->link);
    r->pause.run = rpc_on_pause_over;
    timer_start(r->client, &r->pause, pause_of(r->attempts++));
}

void rpc_end_all(struct link *list, int code)
{
    struct cairn_error e = {0};
    set_error(&e, code, "%s", cairn_error_text(code));
    while (!list_is_empty(list))
        sdk_rpc_finish(container_of(list->next, struct rpc, link), &e);
}
