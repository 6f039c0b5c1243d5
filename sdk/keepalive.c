/* SPDX-License-Identifier: Apache-2.0
 * Lease keepalive: one stream, one request every third of the TTL. If the response has not arrived when the
 * next request is due, this member is stuck: the keepalive leaves the connection and uses another one. The
 * lease is lost in two cases: a server says so, or a whole TTL has passed since the last request that was
 * answered. */
#include "base/clock.h"
#include "sdk/message.h"

enum { TTL_GUESS_MS = 3000 }; /* used until the server reports the TTL */

struct cairn_keepalive {
    struct object object;
    struct post post;
    struct cairn_client *client;
    int64_t lease;
    uint64_t ttl_ms;     /* 0 = not known yet */
    uint64_t request_ms; /* time of the request without a response, 0 = none */
    struct rpc *rpc;
    struct timer next, expiry;
    bool is_over, is_notifying, is_stopped;
    void (*callback)(struct cairn_keepalive *k, int64_t ttl_seconds, const struct cairn_error *error,
                     void *arg);
    void *arg;
};

static void cairn_keepalive_open_stream(struct cairn_keepalive *k);

static bool cairn_keepalive_notify(struct cairn_keepalive *k, int64_t ttl_seconds,
                                   const struct cairn_error *error)
{
    k->is_notifying = true;
    k->callback(k, ttl_seconds, error, k->arg);
    k->is_notifying = false;
    if (!k->is_stopped)
        return true;
    mem_free(k);
    return false;
}

static void cairn_keepalive_stop_timers(struct cairn_keepalive *k)
{
    timer_stop(k->client, &k->next);
    timer_stop(k->client, &k->expiry);
    if (k->rpc)
        sdk_rpc_cancel(k->rpc);
    k->rpc = NULL;
}

static void report_lost(struct cairn_keepalive *k, int code, const char *why)
{
    struct cairn_error e = {0};
    cairn_keepalive_stop_timers(k);
    k->is_over = true;
    set_error(&e, code, "%s", why);
    (void)cairn_keepalive_notify(k, 0, &e);
}

static uint64_t third(const struct cairn_keepalive *k)
{
    uint64_t ms = (k->ttl_ms ? k->ttl_ms : TTL_GUESS_MS) / 3;
    return ms ? ms : 1;
}

static void cairn_keepalive_send(struct cairn_keepalive *k)
{
    Etcdserverpb__LeaseKeepAliveRequest m = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    m.id = k->lease;
    k->request_ms = clock_mono_ms();
    rpc_add_packed(k->rpc, &m.base);
    timer_start(k->client, &k->next, third(k));
}

static void on_next(struct timer *t)
{
    struct cairn_keepalive *k = container_of(t, struct cairn_keepalive, next);
    if (k->rpc && !k->request_ms) {
        cairn_keepalive_send(k);
        return;
    }
    if (k->rpc) { /* no response */
        struct h2 *h = k->rpc->h2;
        sdk_rpc_cancel(k->rpc);
        k->rpc = NULL;
        if (h && k->client->endpoints.count > 1)
            channel_draining(h);
    }
    cairn_keepalive_open_stream(k);
}

static void on_expiry(struct timer *t)
{
    struct cairn_keepalive *k = container_of(t, struct cairn_keepalive, expiry);
    report_lost(k, CAIRN_TIMEOUT, "the lease could not be refreshed within its TTL");
}

static void cairn_keepalive_on_message(struct rpc *r, struct slice bytes)
{
    struct cairn_keepalive *k = r->owner;
    Etcdserverpb__LeaseKeepAliveResponse *m =
        etcdserverpb__lease_keep_alive_response__unpack(NULL, bytes.size, bytes.data);
    if (!m)
        return;
    int64_t ttl = m->ttl;
    bool is_ours = m->id == k->lease;
    etcdserverpb__lease_keep_alive_response__free_unpacked(m, NULL);
    if (!is_ours)
        return;
    if (ttl <= 0) {
        report_lost(k, CAIRN_LOST, "the lease is not there any more");
        return;
    }
    uint64_t since_ms = k->request_ms ? clock_mono_ms() - k->request_ms : 0;
    k->ttl_ms = (uint64_t)ttl * 1000;
    k->request_ms = 0;
    timer_start(k->client, &k->next, third(k));
    timer_start(k->client, &k->expiry, k->ttl_ms > since_ms ? k->ttl_ms - since_ms : 0);
    struct cairn_error none = {0};
    (void)cairn_keepalive_notify(k, ttl, &none);
}

static void cairn_keepalive_on_end(struct rpc *r, const struct cairn_error *error)
{
    struct cairn_keepalive *k = r->owner;
    k->rpc = NULL;
    switch (error->code) {
    case CAIRN_NOT_FOUND:
        report_lost(k, CAIRN_LOST, error->message);
        return;
    case CAIRN_UNAUTHENTICATED:
        if (k->ttl_ms) { /* the credentials were changed: they may come before the lease expires */
            timer_start(k->client, &k->next, third(k));
            return;
        }
        report_lost(k, error->code, error->message);
        return;
    case CAIRN_INVALID:
    case CAIRN_DENIED:
    case CAIRN_UNIMPLEMENTED:
    case CAIRN_CLOSED:
        report_lost(k, error->code, error->message);
        return;
    default:
        timer_start(k->client, &k->next, PAUSE_MIN_MS / 2 + random_u64() % PAUSE_MIN_MS);
    }
}

static void cairn_keepalive_open_stream(struct cairn_keepalive *k)
{
    k->rpc = rpc_new(k->client, "/etcdserverpb.Lease/LeaseKeepAlive", RPC_STREAM, k);
    k->rpc->on_message = cairn_keepalive_on_message;
    k->rpc->on_end = cairn_keepalive_on_end;
    k->rpc->needs_leader = true;
    cairn_keepalive_send(k);
    sdk_rpc_start(k->rpc, 0);
}

/* --- start and stop ------------------------------------------------------------------------------------- */
static void cairn_keepalive_stop_here(struct object *o)
{
    struct cairn_keepalive *k = container_of(o, struct cairn_keepalive, object);
    list_remove(&o->link);
    cairn_keepalive_stop_timers(k);
    k->is_stopped = true;
    if (!k->is_notifying)
        mem_free(k);
}

static void cairn_keepalive_start_here(struct post *p)
{
    struct cairn_keepalive *k = container_of(p, struct cairn_keepalive, post);
    object_add(k->client, &k->object);
    cairn_keepalive_open_stream(k);
}

int cairn_keepalive_start(struct cairn_client *c, int64_t lease,
                          void (*callback)(struct cairn_keepalive *k, int64_t ttl_seconds,
                                           const struct cairn_error *error, void *arg),
                          void *arg, struct cairn_keepalive **ret_keepalive, struct cairn_error *error)
{
    struct cairn_keepalive *k = mem_new(sizeof *k);
    k->client = c;
    k->lease = lease;
    k->callback = callback;
    k->arg = arg;
    k->object.stop = cairn_keepalive_stop_here;
    k->next.run = on_next;
    k->expiry.run = on_expiry;
    k->post.run = cairn_keepalive_start_here;
    *ret_keepalive = k; /* set before the callback can run */
    int err = client_start(c, &k->post);
    if (err) {
        *ret_keepalive = NULL;
        mem_free(k);
        return set_error(error, err, "%s", cairn_error_text(err));
    }
    return CAIRN_OK;
}

void cairn_keepalive_stop(struct cairn_keepalive *k)
{
    if (k)
        object_stop(k->client, &k->object);
}
