/* SPDX-License-Identifier: Apache-2.0
 * Questions out of us: a connection for each, with a hello that names nobody, so that a member can ask before
 * it knows who it is. All addresses of the URL's name are tried in turn; then, or when the time is over, the
 * asker is told, always from the loop. */
#include "consensus/peer/peer_impl.h"

#include "base/hash.h"
#include "base/log.h"

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

static void peer_query_finish(struct ask *a, int err, struct slice answer)
{
    void (*done)(void *, int, struct slice) = a->done;
    void *arg = a->arg;
    ask_free(a);
    done(arg, err, answer);
}

static void peer_query_on_open(struct conn *c)
{
    peer_opening_dial(c, &(struct wire_hello){.stream = WIRE_STREAM_QUESTION});
}

static void take_challenge(struct ask *a, struct conn *c, struct slice payload)
{
    uint8_t mac[PROOF_MAC_SIZE];
    int err = peer_opening_take_challenge(c, payload);
    if (err) {
        if (err == ERR_PERMISSION_DENIED &&
            peer_report_may_log(c->p, "query unproved", hash64(a->url, strlen(a->url))))
            log_warn("the process that listens at this peer URL did not prove that it is a member: it shows "
                     "neither a token of ours nor a certificate",
                     F_STR("url", a->url), F_STR("remote-address", c->remote));
        peer_query_finish(a, err == ERR_PERMISSION_DENIED ? err : ERR_CLOSED, (struct slice){0});
        return;
    }
    struct proof_opening o = peer_opening_proof(c, buf_slice(&a->text));
    proof_tokens_mac(&c->p->tokens, PROOF_DIALER, &o, mac);
    c->stage = WIRE_AWAIT_ANSWER;
    peer_conn_add(c, WIRE_QUESTION, slice_of(mac, sizeof mac), buf_slice(&a->text));
    peer_conn_flush(c);
}

static void peer_query_on_frame(struct conn *c, const struct wire_frame *frame)
{
    if (frame->kind == WIRE_CHALLENGE)
        take_challenge(c->owner, c, frame->payload);
    else if (frame->kind == WIRE_ANSWER)
        peer_query_finish(c->owner, OK, frame->payload);
    else
        peer_query_finish(c->owner, ERR_CLOSED, (struct slice){0}); /* another version */
}

static void on_conn_timer(struct conn *c)
{
    if (c->state < CONN_OPEN)
        peer_conn_close(c, ERR_TIMEOUT, "no connection in time");
}

static void peer_query_dial(struct ask *a);

static void peer_query_on_closed(struct conn *c)
{
    struct ask *a = c->owner;
    a->conn = NULL;
    if (c->err == ERR_LIMIT) {
        peer_query_finish(a, ERR_LIMIT, (struct slice){0});
    } else if (c->stage != WIRE_AWAIT_ANSWER && c->stage != WIRE_AWAIT_CHALLENGE &&
               a->address + 1 < c->address_count) {
        a->address++;
        peer_query_dial(a);
    } else {
        peer_query_finish(a, ERR_CLOSED, (struct slice){0});
    }
}

static const struct conn_ops ask_ops = {peer_query_on_open, peer_query_on_frame, on_conn_timer,
                                        peer_query_on_closed};

static void peer_query_dial(struct ask *a)
{
    if (peer_conn_dial(a->p, a->url, a->address, &ask_ops, a, &a->conn) != OK)
        peer_query_finish(a, ERR_CLOSED, (struct slice){0});
}

static void peer_query_on_timer(struct io_timer *t)
{
    struct ask *a = container_of(t, struct ask, timer);
    if (a->text.size > PEER_QUESTION_MAX) {
        peer_query_finish(a, ERR_LIMIT, (struct slice){0});
    } else if (a->is_started) {
        peer_query_finish(a, ERR_TIMEOUT, (struct slice){0});
    } else {
        a->is_started = true;
        a->p->io->ops->timer_start(a->p->io, &a->timer, a->timeout_ms);
        peer_query_dial(a);
    }
}

uint64_t peer_query_start(struct tcp_peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                          void (*done)(void *arg, int err, struct slice answer), void *arg)
{
    struct ask *a = mem_new(sizeof *a);
    a->p = p;
    a->number = ++p->next_ask;
    a->timeout_ms = timeout_ms;
    a->url = mem_string(url);
    buf_add_slice(&a->text, text);
    a->timer.fire = peer_query_on_timer;
    a->done = done;
    a->arg = arg;
    list_add_last(&p->asks, &a->link);
    p->io->ops->timer_start(p->io, &a->timer, 0);
    return a->number;
}

void peer_query_cancel(struct tcp_peers *p, uint64_t number)
{
    LIST_FOR_EACH (l, &p->asks) {
        struct ask *a = container_of(l, struct ask, link);
        if (a->number == number) {
            ask_free(a);
            return;
        }
    }
}

struct conn *peer_query_conn(struct tcp_peers *p, uint64_t number)
{
    LIST_FOR_EACH (l, &p->asks) {
        struct conn *c = container_of(l, struct ask, link)->conn;
        if (c && c->opening && c->opening->hello.number == number && c->stage == WIRE_AWAIT_ANSWER)
            return c;
    }
    return NULL;
}

void peer_queries_done(struct tcp_peers *p)
{
    while (!list_is_empty(&p->asks))
        ask_free(container_of(p->asks.next, struct ask, link));
}
