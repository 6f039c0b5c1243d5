/* SPDX-License-Identifier: Apache-2.0
 * Dial-backs: the proof of a member that shows neither a token nor a certificate.
 *
 *  1. The granting side connects to the peer URL that is recorded for the member. It never dials a URL that
 *     a hello names.
 *  2. It sends CONFIRM: the ids and numbers of the connection, and a tag.
 *  3. The member looks for its own outgoing connection with these numbers that waits for its reply, and
 *     checks the tag.
 *  4. It answers CONFIRMED with another tag (yes), or empty (no). The first answer decides.
 *
 * Both tags are HMACs keyed by the dialer's nonce. So the request does not reveal the nonce, and only a
 * process that has it can confirm. A connection is confirmed once, and only while its dialer waits for the
 * reply on it. */
#include "consensus/peer/peer_impl.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mutant.h"

struct dial_back {
    struct link link; /* of tcp_peers.dial_backs */
    struct tcp_peers *p;
    struct wire_confirm request;
    uint8_t expected[PROOF_MAC_SIZE];
    char *urls[KNOWN_URLS_MAX];
    unsigned url_count, url, address;
    struct conn *conn;
    struct io_timer timer; /* first starts the dial, then ends the wait */
    bool is_started;
    void (*done)(void *arg, bool is_confirmed);
    void *arg;
};

/* --- the granting side --------------------------------------------------------------------------------- */
static void start_next(struct tcp_peers *p)
{
    unsigned count = 0;
    LIST_FOR_EACH (l, &p->dial_backs) {
        struct dial_back *d = container_of(l, struct dial_back, link);
        if (count++ == CONFIRMS_MAX)
            break;
        if (!d->is_started)
            p->io->ops->timer_start(p->io, &d->timer, 0);
    }
}

void peer_dial_back_cancel(struct dial_back *d)
{
    struct tcp_peers *p = d->p;
    list_remove(&d->link);
    p->io->ops->timer_stop(p->io, &d->timer);
    if (d->conn) {
        d->conn->owner = NULL;
        peer_conn_close(d->conn, ERR_CLOSED, "no longer needed");
    }
    for (unsigned i = 0; i < d->url_count; i++)
        mem_free(d->urls[i]);
    secret_clear(d, sizeof *d);
    mem_free(d);
    if (!p->is_closing)
        start_next(p);
}

static void peer_confirm_finish(struct dial_back *d, bool is_confirmed)
{
    void (*done)(void *, bool) = d->done;
    void *arg = d->arg;
    *(is_confirmed ? &d->p->confirmed : &d->p->not_confirmed) += 1;
    peer_dial_back_cancel(d);
    done(arg, is_confirmed);
}

static void peer_confirm_on_open(struct conn *c)
{
    struct dial_back *d = c->owner;
    c->stage = WIRE_AWAIT_CONFIRMED;
    wire_add_hello(&c->out, &(struct wire_hello){.version = WIRE_VERSION, .stream = WIRE_STREAM_CONFIRM});
    wire_add_confirm(&c->out, &d->request);
    peer_conn_timer(c, CONFIRM_MS);
    peer_conn_flush(c);
}

/* The first answer decides: the URL is the member's. */
static void peer_confirm_on_frame(struct conn *c, const struct wire_frame *frame)
{
    struct dial_back *d = c->owner;
    peer_confirm_finish(d, (frame->kind == WIRE_CONFIRMED && frame->payload.size == PROOF_MAC_SIZE &&
                            secret_equal(frame->payload.data, d->expected, PROOF_MAC_SIZE)) ||
                               MUTANT(PEER_DIAL_BACK_BELIEVED));
}

static void on_conn_timer(struct conn *c)
{
    peer_conn_close(c, ERR_TIMEOUT, "no answer in time");
}

static void peer_confirm_dial(struct dial_back *d);

static void peer_confirm_on_closed(struct conn *c)
{
    struct dial_back *d = c->owner;
    d->conn = NULL;
    d->address++;
    if (d->address >= c->address_count) {
        d->address = 0;
        d->url++;
    }
    peer_confirm_dial(d);
}

static const struct conn_ops confirm_ops = {peer_confirm_on_open, peer_confirm_on_frame, on_conn_timer,
                                            peer_confirm_on_closed};

static void peer_confirm_dial(struct dial_back *d)
{
    for (; d->url < d->url_count; d->url++, d->address = 0)
        if (peer_conn_dial(d->p, d->urls[d->url], d->address, &confirm_ops, d, &d->conn) == OK) {
            peer_conn_timer(d->conn, CONFIRM_MS);
            return;
        }
    peer_confirm_finish(d, MUTANT(PEER_DIAL_BACK_BELIEVED));
}

static void peer_confirm_on_timer(struct io_timer *t)
{
    struct dial_back *d = container_of(t, struct dial_back, timer);
    if (d->is_started) {
        peer_confirm_finish(d, false);
        return;
    }
    d->is_started = true;
    d->p->io->ops->timer_start(d->p->io, t, CONFIRM_ALL_MS);
    peer_confirm_dial(d);
}

struct dial_back *peer_dial_back_none(struct tcp_peers *p, void (*done)(void *arg, bool is_confirmed),
                                      void *arg)
{
    struct dial_back *d = mem_new(sizeof *d);
    d->p = p;
    d->done = done;
    d->arg = arg;
    d->timer.fire = peer_confirm_on_timer;
    list_add_last(&p->dial_backs, &d->link);
    start_next(p);
    return d;
}

struct dial_back *peer_dial_back_start(struct conn *c, const char *const *urls, size_t count,
                                       void (*done)(void *arg, bool is_confirmed), void *arg)
{
    const struct wire_hello *h = &c->handshake->hello;
    struct proof_handshake o = peer_handshake_input(c, (struct slice){0});
    struct dial_back *d = peer_dial_back_none(c->p, done, arg);
    d->request = (struct wire_confirm){.stream = h->stream,
                                       .cluster_id = h->cluster_id,
                                       .from = h->from,
                                       .to = h->to,
                                       .run = h->run,
                                       .number = h->number};
    struct slice key = slice_of(h->nonce, PROOF_NONCE_SIZE);
    proof_mac(key, PROOF_CONFIRM_REQUEST, &o, d->request.tag);
    proof_mac(key, PROOF_CONFIRM_ANSWER, &o, d->expected);
    for (; d->url_count < count && d->url_count < KNOWN_URLS_MAX; d->url_count++)
        d->urls[d->url_count] = mem_string(urls[d->url_count]);
    return d;
}

void peer_dial_backs_done(struct tcp_peers *p)
{
    while (!list_is_empty(&p->dial_backs))
        peer_dial_back_cancel(container_of(p->dial_backs.next, struct dial_back, link));
}

/* --- the dialer ---------------------------------------------------------------------------------------- */
/* Finds our outgoing connection that the request names, while it waits for its reply; NULL: none. */
static struct conn *find_outgoing(struct tcp_peers *p, const struct wire_confirm *q)
{
    struct conn *c = NULL;
    if (q->stream == WIRE_STREAM_QUERY) {
        c = peer_query_conn(p, q->number);
    } else if (q->cluster_id == p->cluster_id && q->from == p->self) {
        struct member *m = peer_member_get(p, q->to);
        c = m && m->streams[q->stream].state == PEER_STREAM_DIALING ? m->streams[q->stream].conn : NULL;
    }
    bool is_open = c && c->state == CONN_OPEN && c->handshake && c->handshake->is_challenged;
    return is_open && c->handshake->hello.number == q->number && q->run == p->run ? c : NULL;
}

void peer_confirm_answer(struct conn *c, struct slice payload)
{
    struct tcp_peers *p = c->p;
    struct wire_confirm q;
    uint8_t tag[PROOF_MAC_SIZE];
    size_t size = 0;
    if (wire_read_confirm(payload, &q) != OK) {
        peer_conn_close(c, ERR_MALFORMED, "bytes that are not of the peer protocol");
        return;
    }
    struct conn *dialed = find_outgoing(p, &q);
    if (dialed && (!dialed->handshake->is_confirmed || MUTANT(PEER_CONFIRM_TWICE))) {
        struct proof_handshake o = peer_handshake_input(dialed, (struct slice){0});
        struct slice key = slice_of(dialed->handshake->hello.nonce, PROOF_NONCE_SIZE);
        if (proof_mac_matches(key, PROOF_CONFIRM_REQUEST, &o, q.tag)) {
            proof_mac(key, PROOF_CONFIRM_ANSWER, &o, tag);
            dialed->handshake->is_confirmed = true;
            size = PROOF_MAC_SIZE;
        }
    }
    if (!size && peer_report_may_log(p, "not ours", q.to))
        log_warn("a member received a connection in the name of this member, which did not open it",
                 F_HEX("local-member-id", p->self), F_HEX("remote-peer-id", q.to),
                 F_STR("remote-address", c->remote));
    wire_add_frame(&c->out, WIRE_CONFIRMED, slice_of(tag, size), (struct slice){0});
    peer_conn_finish(c);
}
