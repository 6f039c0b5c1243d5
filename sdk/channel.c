/* SPDX-License-Identifier: Apache-2.0
 * The gRPC connection in use: choice of the endpoint, authentication, failover.
 *
 *     idle -> dialing -> (auth) -> ready -> idle, at the next endpoint
 *               |  all endpoints have failed
 *               +-> paused (50 ms to 2 s, jittered) -> dialing
 *
 * The channel leaves an endpoint when
 *   - the connection is lost,
 *   - the server sends GOAWAY,
 *   - the member cannot serve a read or a stream (no leader, stopping), or
 *   - the refresh of a lease gets no response in time, and there is another endpoint (keepalive.c).
 *
 * The old connection completes its calls and is then closed. Connections are opened and closed only in
 * channel_turn, just before the loop sleeps, never inside a callback. */
#include <stdio.h>

#include "base/clock.h"
#include "proto/rpc.pb-c.h"
#include "sdk/private.h"

static void channel_leave(struct cairn_client *c)
{
    timer_stop(c, &c->dial_timer);
    timer_stop(c, &c->pause);
    c->current = NULL;
    c->state = CHANNEL_IDLE;
    c->next_endpoint = (c->next_endpoint + 1) % c->endpoints.count;
    if (c->auth)
        sdk_rpc_cancel(c->auth);
    c->auth = NULL;
    pthread_mutex_lock(&c->mutex);
    c->connected[0] = 0;
    pthread_mutex_unlock(&c->mutex);
}

static void on_dial_timeout(struct timer *t)
{
    struct cairn_client *c = container_of(t, struct cairn_client, dial_timer);
    struct h2 *h = c->current;
    h->is_closed = true;
    snprintf(h->why, sizeof h->why, "no answer within %u ms", c->dial_timeout_ms);
}

static void channel_on_pause_over(struct timer *t)
{
    struct cairn_client *c = container_of(t, struct cairn_client, pause);
    c->failed_in_a_row = 0;
    c->state = CHANNEL_IDLE;
}

static void channel_dial(struct cairn_client *c)
{
    if (c->failed_in_a_row >= c->endpoints.count) {
        c->pause_ms = c->pause_ms ? c->pause_ms * 2 : PAUSE_MIN_MS;
        c->pause_ms = c->pause_ms < PAUSE_MAX_MS ? c->pause_ms : PAUSE_MAX_MS;
        c->state = CHANNEL_PAUSED;
        c->pause.run = channel_on_pause_over;
        timer_start(c, &c->pause, c->pause_ms / 2 + random_u64() % (c->pause_ms / 2 + 1));
        return;
    }
    c->state = CHANNEL_DIALING;
    c->current = h2_dial(c, c->next_endpoint);
    list_add_last(&c->h2s, &c->current->link);
    client_report(c, CAIRN_LINK_CALLS, CAIRN_STATE_CONNECTING, c->endpoints.list[c->next_endpoint].name,
                  NULL);
    c->dial_timer.run = on_dial_timeout;
    timer_start(c, &c->dial_timer, c->dial_timeout_ms);
}

/* --- opening -------------------------------------------------------------------------------------------- */
static void become_ready(struct cairn_client *c)
{
    timer_stop(c, &c->dial_timer);
    c->state = CHANNEL_READY;
    c->failed_in_a_row = 0;
    c->pause_ms = 0;
    c->last_reason[0] = 0;
    pthread_mutex_lock(&c->mutex);
    snprintf(c->connected, sizeof c->connected, "%s", c->endpoints.list[c->current->endpoint].name);
    pthread_mutex_unlock(&c->mutex);
    client_report(c, CAIRN_LINK_CALLS, CAIRN_STATE_CONNECTED, c->connected, NULL);
}

static void on_token(struct rpc *r, struct slice message)
{
    struct cairn_client *c = r->client;
    Etcdserverpb__AuthenticateResponse *a =
        etcdserverpb__authenticate_response__unpack(NULL, message.size, message.data);
    if (a) {
        token_take(c, a->token);
        etcdserverpb__authenticate_response__free_unpacked(a, NULL);
    }
}

/* Handles the response to Authenticate. A server with authentication disabled accepts all calls, as for
 * etcd's clients. Any other error except CAIRN_UNAVAILABLE ends all waiting calls. */
static void on_authenticated(struct rpc *r, const struct cairn_error *error)
{
    struct cairn_client *c = r->client;
    struct h2 *h = c->current;
    c->auth = NULL;
    if (error->code == CAIRN_OK || strstr(error->message, "authentication is not enabled")) {
        c->is_auth_off = error->code != CAIRN_OK;
        become_ready(c);
        return;
    }
    /* etcd answers a wrong name or password with "invalid argument". */
    struct cairn_error e = *error;
    if (e.code == CAIRN_INVALID || e.code == CAIRN_PRECONDITION)
        e.code = CAIRN_UNAUTHENTICATED;
    snprintf(h->why, sizeof h->why, "authenticate %s: %.250s", c->user, error->message);
    h->is_closed = true;
    if (error->code == CAIRN_UNAVAILABLE)
        return;
    client_report(c, CAIRN_LINK_CALLS, state_of_error(e.code), c->endpoints.list[h->endpoint].name, &e);
    while (!list_is_empty(&c->waiting))
        sdk_rpc_finish(container_of(c->waiting.next, struct rpc, link), &e);
}

static void authenticate(struct cairn_client *c)
{
    Etcdserverpb__AuthenticateRequest m = ETCDSERVERPB__AUTHENTICATE_REQUEST__INIT;
    m.name = c->user;
    m.password = c->password ? c->password : (char[]){""};
    struct rpc *r = rpc_new(c, "/etcdserverpb.Auth/Authenticate", RPC_WRITE, c);
    r->on_message = on_token;
    r->on_end = on_authenticated;
    r->is_first_on_h2 = r->is_half_closed = true;
    rpc_add_packed(r, &m.base);
    c->auth = r;
    c->state = CHANNEL_AUTH;
    c->call_count++;
    h2_submit(c->current, r);
}

void channel_opened(struct h2 *h)
{
    struct cairn_client *c = h->client;
    if (h != c->current)
        return;
    if (c->user)
        authenticate(c);
    else
        become_ready(c);
}

static void no_message(struct rpc *r, struct slice message)
{
    (void)r;
    (void)message;
}

struct rpc *channel_get_token(struct cairn_client *c,
                              void (*on_end)(struct rpc *r, const struct cairn_error *error), void *owner)
{
    struct rpc *r = rpc_new(c, "/etcdserverpb.Maintenance/Status", RPC_READ, owner);
    r->on_message = no_message;
    r->on_end = on_end;
    r->is_half_closed = true;
    rpc_add_message(r, (struct slice){0});
    sdk_rpc_start(r, c->command_timeout_ms);
    return r;
}

/* --- leaving -------------------------------------------------------------------------------------------- */
void channel_draining(struct h2 *h)
{
    struct cairn_client *c = h->client;
    struct cairn_error e = {0};
    if (h == c->current && c->state == CHANNEL_READY) {
        set_error(&e, CAIRN_UNAVAILABLE, "the member cannot serve now, or it leaves");
        client_report(c, CAIRN_LINK_CALLS, CAIRN_STATE_REDIRECTED, c->endpoints.list[h->endpoint].name, &e);
    }
    h->is_draining = true;
    if (h == c->current)
        channel_leave(c);
}

static void close_connection(struct h2 *h)
{
    struct cairn_client *c = h->client;
    struct cairn_error e = {0};
    char reason[400];
    snprintf(reason, sizeof reason, "%.80s: %.300s", c->endpoints.list[h->endpoint].name, h->why);
    set_error(&e, CAIRN_UNAVAILABLE, "%s", reason);
    if (h == c->current) {
        client_report(c, CAIRN_LINK_CALLS, CAIRN_STATE_LOST, c->endpoints.list[h->endpoint].name, &e);
        snprintf(c->last_reason, sizeof c->last_reason, "%s", reason);
        if (c->state == CHANNEL_DIALING || c->state == CHANNEL_AUTH)
            c->failed_in_a_row++;
        channel_leave(c);
    }
    while (!list_is_empty(&h->running))
        rpc_attempt_over(container_of(h->running.next, struct rpc, link), &e, false);
    h2_free(h);
}

static void end_connections(struct cairn_client *c)
{
    LIST_FOR_EACH_SAFE (l, &c->h2s) {
        struct h2 *h = container_of(l, struct h2, link);
        if (!h->is_closed)
            h2_flush(h);
        if (h->is_closed)
            close_connection(h);
        else if (h->is_draining && list_is_empty(&h->running))
            h2_free(h);
    }
}

static bool has_more(const struct cairn_client *c)
{
    if (c->state == CHANNEL_IDLE && !list_is_empty(&c->waiting))
        return true;
    LIST_FOR_EACH (l, &c->h2s)
        if (container_of(l, struct h2, link)->is_closed)
            return true;
    return false;
}

void channel_turn(struct cairn_client *c)
{
    end_connections(c);
    if (c->state == CHANNEL_IDLE && !list_is_empty(&c->waiting))
        channel_dial(c);
    if (c->state == CHANNEL_READY && !list_is_empty(&c->waiting) && token_is_needed(c))
        authenticate(c);
    while (!list_is_empty(&c->waiting) && c->state == CHANNEL_READY)
        h2_submit(c->current, container_of(c->waiting.next, struct rpc, link));
    if (c->state == CHANNEL_READY || c->state == CHANNEL_AUTH)
        h2_flush(c->current);
    if (has_more(c))
        uv_async_send(&c->wake); /* run another turn before the loop sleeps */
}

void channel_end(struct cairn_client *c)
{
    if (c->current)
        channel_leave(c);
    timer_stop(c, &c->pause);
    rpc_end_all(&c->waiting, CAIRN_CLOSED);
    rpc_end_all(&c->paused, CAIRN_CLOSED);
    LIST_FOR_EACH_SAFE (l, &c->h2s) {
        struct h2 *h = container_of(l, struct h2, link);
        rpc_end_all(&h->running, CAIRN_CLOSED);
        h2_free(h);
    }
}
