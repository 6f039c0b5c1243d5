/* SPDX-License-Identifier: Apache-2.0
 * Questions out of us: a connection for each, with a hello that names nobody, so that a member can ask before
 * it knows who it is. All addresses of the URL's name are tried in turn; then, or when the time is over, the
 * asker is told, always from the loop. */
#include "consensus/peer/peer_impl.h"

struct ask {
    struct link link; /* of tcp_peers.asks */
    struct tcp_peers *p;
    uint64_t number, timeout_ms;
    char *url;
    struct buf text;
    struct io_timer timer; /* the first dial, then the end */
    struct conn *conn;
    unsigned address;
    bool is_started;
    void (*done)(void *arg, int err, struct slice answer);
    void *arg;
};

static void ask_free(struct ask *a)
{
    list_remove(&a->link);
    a->p->io->ops->timer_stop(a->p->io, &a->timer);
    if (a->conn) {
        a->conn->owner = NULL;
        peer_conn_close(a->conn, ERR_CLOSED, "asked no more");
    }
    mem_free(a->url);
    buf_done(&a->text);
    mem_free(a);
}

static void finish(struct ask *a, int err, struct slice answer)
{
    void (*done)(void *, int, struct slice) = a->done;
    void *arg = a->arg;
    ask_free(a);
    done(arg, err, answer);
}

static void on_open(struct conn *c)
{
    struct ask *a = c->owner;
    c->stage = WIRE_AWAIT_ANSWER;
    wire_add_hello(&c->out, &(struct wire_hello){.version = WIRE_VERSION, .lane = WIRE_LANE_QUESTION});
    peer_conn_add(c, WIRE_QUESTION, buf_slice(&a->text), (struct slice){0});
    peer_conn_flush(c);
}

static void on_frame(struct conn *c, const struct wire_frame *frame)
{
    if (frame->kind == WIRE_ANSWER)
        finish(c->owner, OK, frame->payload);
    else
        finish(c->owner, ERR_CLOSED, (struct slice){0}); /* another version */
}

static void on_conn_timer(struct conn *c)
{
    if (c->state < CONN_OPEN)
        peer_conn_close(c, ERR_TIMEOUT, "no connection in time");
}

static void dial(struct ask *a);

static void on_closed(struct conn *c)
{
    struct ask *a = c->owner;
    a->conn = NULL;
    if (c->err == ERR_LIMIT) {
        finish(a, ERR_LIMIT, (struct slice){0});
    } else if (c->stage != WIRE_AWAIT_ANSWER && a->address + 1 < c->address_count) {
        a->address++;
        dial(a);
    } else {
        finish(a, ERR_CLOSED, (struct slice){0});
    }
}

static const struct conn_ops ask_ops = {on_open, on_frame, on_conn_timer, on_closed};

static void dial(struct ask *a)
{
    if (peer_conn_dial(a->p, a->url, a->address, &ask_ops, a, &a->conn) != OK)
        finish(a, ERR_CLOSED, (struct slice){0});
}

static void on_timer(struct io_timer *t)
{
    struct ask *a = container_of(t, struct ask, timer);
    if (a->text.size > PEER_QUESTION_MAX) {
        finish(a, ERR_LIMIT, (struct slice){0});
    } else if (a->is_started) {
        finish(a, ERR_TIMEOUT, (struct slice){0});
    } else {
        a->is_started = true;
        a->p->io->ops->timer_start(a->p->io, &a->timer, a->timeout_ms);
        dial(a);
    }
}

uint64_t peer_ask_start(struct tcp_peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                        void (*done)(void *arg, int err, struct slice answer), void *arg)
{
    struct ask *a = mem_new(sizeof *a);
    a->p = p;
    a->number = ++p->next_ask;
    a->timeout_ms = timeout_ms;
    a->url = mem_string(url);
    buf_add_slice(&a->text, text);
    a->timer.fire = on_timer;
    a->done = done;
    a->arg = arg;
    list_add_last(&p->asks, &a->link);
    p->io->ops->timer_start(p->io, &a->timer, 0);
    return a->number;
}

void peer_ask_cancel(struct tcp_peers *p, uint64_t number)
{
    LIST_FOR_EACH (l, &p->asks) {
        struct ask *a = container_of(l, struct ask, link);
        if (a->number == number) {
            ask_free(a);
            return;
        }
    }
}

void peer_asks_done(struct tcp_peers *p)
{
    while (!list_is_empty(&p->asks))
        ask_free(container_of(p->asks.next, struct ask, link));
}
