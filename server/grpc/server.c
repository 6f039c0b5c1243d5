/* SPDX-License-Identifier: Apache-2.0
 * The gRPC server: all connections, the pool of calls, one heap of timers under one uv timer, and the flush
 * that writes the queued output of a loop turn.
 *
 * The daemon calls grpc_server_flush after its state has moved. If something is queued after that, the prepare
 * hook flushes before the loop sleeps, and the idle handle prevents it from sleeping. */
#include <assert.h>
#include <unistd.h>

#include "base/buf_release.h"
#include "base/log.h"
#include "base/turn.h"
#include "server/grpc/private.h"

enum { TRIM_MS = 1000, FLUSH_CLOCK = 4 /* connections between two checks of the clock */ };

/* --- timers ---------------------------------------------------------------------------------------- */
uint64_t server_now(const struct grpc_server *s)
{
    return uv_now(s->options.loop);
}

static void on_uv_timer(uv_timer_t *h);

/* The timer is only moved to an earlier time: a canceled deadline costs a wake-up, not a change per call. */
static void arm(struct grpc_server *s)
{
    struct heap_node *first = heap_first(&s->timers);
    if (!first || first->key >= s->timer_at || s->is_stopping)
        return;
    uint64_t now = server_now(s);
    s->timer_at = first->key;
    uv_timer_start(&s->timer, on_uv_timer, first->key > now ? first->key - now : 0, 0);
}

static void on_uv_timer(uv_timer_t *h)
{
    struct grpc_server *s = h->data;
    struct heap_node *n;
    turn_enter(TURN_TIMER);
    uint64_t now = server_now(s);
    s->timer_at = UINT64_MAX;
    while ((n = heap_first(&s->timers)) && n->key <= now) {
        struct grpc_timer *t = container_of(n, struct grpc_timer, node);
        heap_remove(&s->timers, n);
        t->fire(t);
    }
    arm(s);
}

void server_timer_set(struct grpc_server *s, struct grpc_timer *t, uint64_t at_ms)
{
    if (heap_contains(&t->node))
        heap_move(&s->timers, &t->node, at_ms);
    else
        heap_add(&s->timers, &t->node, at_ms);
    arm(s);
}

void server_timer_clear(struct grpc_server *s, struct grpc_timer *t)
{
    heap_remove(&s->timers, &t->node);
}

/* --- the pool of calls --------------------------------------------------------------------------------- */
struct grpc_call *server_call_take(struct grpc_server *s)
{
    struct link *l = list_take_first(&s->free_calls);
    if (!l)
        return mem_new(sizeof(struct grpc_call));
    s->free_count--;
    if (s->free_count < s->free_low)
        s->free_low = s->free_count;
    return container_of(l, struct grpc_call, link);
}

static void call_destroy(struct grpc_call *call)
{
    arena_done(&call->rpc.arena);
    buf_done(&call->text);
    buf_done(&call->fields);
    buf_done(&call->token);
    buf_done(&call->version);
    buf_done(&call->in);
    buf_release(&call->out);
    buf_release(&call->next);
    buf_done(&call->status_text);
    mem_free(call);
}

static struct buf keep_buf(struct buf *b)
{
    if (b->capacity > POOL_BUF_MAX)
        buf_release(b);
    buf_clear(b);
    return *b;
}

/* Returns a call to the pool: its memory is kept, every other field is zeroed. */
void server_call_give(struct grpc_server *s, struct grpc_call *call)
{
    if (s->free_count >= POOL_CALLS_MAX || call->rpc.arena.total > POOL_BUF_MAX || s->is_stopping) {
        call_destroy(call);
        return;
    }
    arena_reset(&call->rpc.arena);
    *call = (struct grpc_call){.rpc.arena = call->rpc.arena,
                               .text = keep_buf(&call->text),
                               .fields = keep_buf(&call->fields),
                               .token = keep_buf(&call->token),
                               .version = keep_buf(&call->version),
                               .in = keep_buf(&call->in),
                               .out = keep_buf(&call->out),
                               .status_text = keep_buf(&call->status_text)};
    list_add_first(&s->free_calls, &call->link);
    s->free_count++;
    if (!heap_contains(&s->trim.node))
        server_timer_set(s, &s->trim, server_now(s) + TRIM_MS);
}

/* Frees half of the calls that were idle since the last trim. */
static void on_trim(struct grpc_timer *t)
{
    struct grpc_server *s = container_of(t, struct grpc_server, trim);
    for (size_t n = (s->free_low + 1) / 2; n > 0; n--) {
        struct link *l = list_take_first(&s->free_calls);
        call_destroy(container_of(l, struct grpc_call, link));
        s->free_count--;
    }
    s->free_low = s->free_count;
    if (s->free_count)
        server_timer_set(s, &s->trim, server_now(s) + TRIM_MS);
}

/* --- slow requests --------------------------------------------------------------------------------- */
void server_watch_slow(struct grpc_server *s)
{
    if (!heap_contains(&s->slow.node))
        server_timer_set(s, &s->slow, server_now(s) + PARTIAL_LOOK_MS);
}

static void on_slow(struct grpc_timer *t)
{
    struct grpc_server *s = container_of(t, struct grpc_server, slow);
    LIST_FOR_EACH (l, &s->conns) {
        struct grpc_conn *c = container_of(l, struct grpc_conn, link);
        if (c->partial_bytes && c->state == CONN_OPEN)
            call_end_slow(c, server_now(s));
    }
    if (s->partial_bytes)
        server_watch_slow(s);
}

/* --- flushing ------------------------------------------------------------------------------------------ */
static void on_prepare(uv_prepare_t *h)
{
    turn_enter(TURN_GRPC_WRITE);
    grpc_server_flush(h->data);
}

static void on_idle(uv_idle_t *h)
{
    (void)h;
}

void server_stay_awake(struct grpc_server *s)
{
    if (!s->is_stopping)
        uv_idle_start(&s->idle, on_idle);
}

/* A connection that is touched during the flush (a full socket's next round) waits for the next turn,
 * after those for which this turn has no time. */
void grpc_server_flush(struct grpc_server *s)
{
    if (list_is_empty(&s->dirty))
        return;
    struct link turn, *l;
    uint64_t share = turn_share();
    list_init(&turn);
    list_move_all(&turn, &s->dirty);
    for (unsigned n = 1; (l = list_take_first(&turn)); n++) {
        conn_flush(container_of(l, struct grpc_conn, dirty));
        if (n % FLUSH_CLOCK == 0 && turn_share_is_spent(share))
            break;
    }
    list_move_all(&turn, &s->dirty);
    list_move_all(&s->dirty, &turn);
    if (list_is_empty(&s->dirty) && !s->is_stopping)
        uv_idle_stop(&s->idle);
}

/* --- life ------------------------------------------------------------------------------------------ */
struct grpc_server *grpc_server_new(const struct grpc_options *options)
{
    struct grpc_server *s = mem_new(sizeof *s);
    s->options = *options;
    s->message_max = options->request_bytes_max + MESSAGE_OVERHEAD;
    s->timer_at = UINT64_MAX;
    s->trim.fire = on_trim;
    s->slow.fire = on_slow;
    list_init(&s->conns);
    list_init(&s->dirty);
    list_init(&s->free_calls);
    s->read_buffer = mem_alloc(READ_SIZE);
    s->scratch = mem_alloc(SCRATCH_SIZE);
    uv_prepare_init(options->loop, &s->prepare);
    uv_idle_init(options->loop, &s->idle);
    uv_timer_init(options->loop, &s->timer);
    s->prepare.data = s->idle.data = s->timer.data = s;
    s->open_handles = 3;
    uv_prepare_start(&s->prepare, on_prepare);
    /* The listener keeps the loop alive, not these. */
    uv_unref((uv_handle_t *)&s->prepare);
    uv_unref((uv_handle_t *)&s->timer);
    return s;
}

void grpc_server_use_http(struct grpc_server *s, struct http_server *http, const struct http_carried *carried)
{
    s->http = http;
    s->carried = carried;
}

void grpc_server_adopt(struct grpc_server *s, int fd, struct tls_context *tls, enum grpc_serves serves)
{
    if (s->is_draining || s->is_stopping) {
        close(fd);
        return;
    }
    if (s->conn_count >= s->options.connections_max) {
        if (!s->is_full_logged)
            log_warn("too many gRPC connections, closing new ones",
                     F_UINT("limit", s->options.connections_max));
        s->is_full_logged = true;
        close(fd);
        return;
    }
    s->is_full_logged = false;
    conn_adopt(s, fd, tls, serves);
}

size_t grpc_server_connections(const struct grpc_server *s)
{
    return s->conn_count;
}

void grpc_server_drain(struct grpc_server *s)
{
    s->is_draining = true;
    LIST_FOR_EACH (l, &s->conns)
        conn_drain(container_of(l, struct grpc_conn, link));
}

static void server_free_if_done(struct grpc_server *s)
{
    if (!s->is_stopping || s->conn_count || s->open_handles)
        return;
    struct link *l;
    while ((l = list_take_first(&s->free_calls)))
        call_destroy(container_of(l, struct grpc_call, link));
    heap_done(&s->timers);
    buf_done(&s->plain);
    buf_done(&s->cipher);
    mem_free(s->read_buffer);
    mem_free(s->scratch);
    void (*done)(void *arg) = s->done;
    void *arg = s->done_arg;
    mem_free(s);
    if (done)
        done(arg);
}

void server_conn_gone(struct grpc_server *s)
{
    s->conn_count--;
    server_free_if_done(s);
}

static void on_handle_close(uv_handle_t *h)
{
    struct grpc_server *s = h->data;
    s->open_handles--;
    server_free_if_done(s);
}

void grpc_server_stop(struct grpc_server *s, void (*done)(void *arg), void *arg)
{
    assert(!s->is_stopping);
    grpc_server_flush(s);
    s->is_stopping = true;
    s->done = done;
    s->done_arg = arg;
    LIST_FOR_EACH_SAFE (l, &s->conns)
        conn_close(container_of(l, struct grpc_conn, link));
    heap_remove(&s->timers, &s->trim.node);
    heap_remove(&s->timers, &s->slow.node);
    uv_close((uv_handle_t *)&s->prepare, on_handle_close);
    uv_close((uv_handle_t *)&s->idle, on_handle_close);
    uv_close((uv_handle_t *)&s->timer, on_handle_close);
}
