/* SPDX-License-Identifier: Apache-2.0
 * Outgoing bootstrap queries: one connection for each query. Its hello has no ids, so that a member can query
 * before it has an identity. All addresses of the URL's name are tried in turn. The caller is notified from
 * the loop, with the answer, an error or a timeout. */
#include "consensus/peer/peer_impl.h"

#include "base/hash.h"
#include "base/log.h"

struct query {
    struct link link; /* of tcp_peers.queries */
    struct tcp_peers *p;
    uint64_t number, timeout_ms;
    char *url;
    struct buf text;
    struct io_timer timer; /* first starts the dial, then ends the wait */
    struct conn *conn;
    unsigned address;
    bool is_started;
    void (*done)(void *arg, int err, struct slice answer);
    void *arg;
};

static void query_free(struct query *q)
{
    list_remove(&q->link);
    q->p->io->ops->timer_stop(q->p->io, &q->timer);
    if (q->conn) {
        q->conn->owner = NULL;
        peer_conn_close(q->conn, ERR_CLOSED, "the query was canceled");
    }
    mem_free(q->url);
    buf_done(&q->text);
    mem_free(q);
}

static void peer_query_finish(struct query *q, int err, struct slice answer)
{
    void (*done)(void *, int, struct slice) = q->done;
    void *arg = q->arg;
    query_free(q);
    done(arg, err, answer);
}

static void peer_query_on_open(struct conn *c)
{
    peer_handshake_dial(c, &(struct wire_hello){.stream = WIRE_STREAM_QUERY});
}

static void handle_challenge(struct query *q, struct conn *c, struct slice payload)
{
    uint8_t mac[PROOF_MAC_SIZE];
    int err = peer_handshake_read_challenge(c, payload);
    if (err) {
        if (err == ERR_PERMISSION_DENIED &&
            peer_report_may_log(c->p, "query unproved", hash64(q->url, strlen(q->url))))
            log_warn("the process that listens at this peer URL did not prove that it is a member: it shows "
                     "neither a token of ours nor a certificate",
                     F_STR("url", q->url), F_STR("remote-address", c->remote));
        peer_query_finish(q, err == ERR_PERMISSION_DENIED ? err : ERR_CLOSED, (struct slice){0});
        return;
    }
    struct proof_handshake o = peer_handshake_input(c, buf_slice(&q->text));
    proof_tokens_mac(&c->p->tokens, PROOF_DIALER, &o, mac);
    c->stage = WIRE_AWAIT_ANSWER;
    peer_conn_add(c, WIRE_QUERY, slice_of(mac, sizeof mac), buf_slice(&q->text));
    peer_conn_flush(c);
}

static void peer_query_on_frame(struct conn *c, const struct wire_frame *frame)
{
    if (frame->kind == WIRE_CHALLENGE)
        handle_challenge(c->owner, c, frame->payload);
    else if (frame->kind == WIRE_ANSWER)
        peer_query_finish(c->owner, OK, frame->payload);
    else
        peer_query_finish(c->owner, ERR_CLOSED, (struct slice){0}); /* a refusal: another version */
}

static void on_conn_timer(struct conn *c)
{
    if (c->state < CONN_OPEN)
        peer_conn_close(c, ERR_TIMEOUT, "no connection in time");
}

static void peer_query_dial(struct query *q);

static void peer_query_on_closed(struct conn *c)
{
    struct query *q = c->owner;
    q->conn = NULL;
    if (c->err == ERR_LIMIT) {
        peer_query_finish(q, ERR_LIMIT, (struct slice){0});
    } else if (c->stage != WIRE_AWAIT_ANSWER && c->stage != WIRE_AWAIT_CHALLENGE &&
               q->address + 1 < c->address_count) {
        q->address++;
        peer_query_dial(q);
    } else {
        peer_query_finish(q, ERR_CLOSED, (struct slice){0});
    }
}

static const struct conn_ops query_ops = {peer_query_on_open, peer_query_on_frame, on_conn_timer,
                                          peer_query_on_closed};

static void peer_query_dial(struct query *q)
{
    if (peer_conn_dial(q->p, q->url, q->address, &query_ops, q, &q->conn) != OK)
        peer_query_finish(q, ERR_CLOSED, (struct slice){0});
}

static void peer_query_on_timer(struct io_timer *t)
{
    struct query *q = container_of(t, struct query, timer);
    if (q->text.size > PEER_QUERY_MAX) {
        peer_query_finish(q, ERR_LIMIT, (struct slice){0});
    } else if (q->is_started) {
        peer_query_finish(q, ERR_TIMEOUT, (struct slice){0});
    } else {
        q->is_started = true;
        q->p->io->ops->timer_start(q->p->io, &q->timer, q->timeout_ms);
        peer_query_dial(q);
    }
}

uint64_t peer_query_start(struct tcp_peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                          void (*done)(void *arg, int err, struct slice answer), void *arg)
{
    struct query *q = mem_new(sizeof *q);
    q->p = p;
    q->number = ++p->next_query_number;
    q->timeout_ms = timeout_ms;
    q->url = mem_string(url);
    buf_add_slice(&q->text, text);
    q->timer.fire = peer_query_on_timer;
    q->done = done;
    q->arg = arg;
    list_add_last(&p->queries, &q->link);
    p->io->ops->timer_start(p->io, &q->timer, 0);
    return q->number;
}

void peer_query_cancel(struct tcp_peers *p, uint64_t number)
{
    LIST_FOR_EACH (l, &p->queries) {
        struct query *q = container_of(l, struct query, link);
        if (q->number == number) {
            query_free(q);
            return;
        }
    }
}

struct conn *peer_query_conn(struct tcp_peers *p, uint64_t number)
{
    LIST_FOR_EACH (l, &p->queries) {
        struct conn *c = container_of(l, struct query, link)->conn;
        if (c && c->handshake && c->handshake->hello.number == number && c->stage == WIRE_AWAIT_ANSWER)
            return c;
    }
    return NULL;
}

void peer_queries_done(struct tcp_peers *p)
{
    while (!list_is_empty(&p->queries))
        query_free(container_of(p->queries.next, struct query, link));
}
