/* SPDX-License-Identifier: Apache-2.0
 * Incoming connections: unauthenticated at first, then a stream of a member, a bootstrap query or a
 * dial-back.
 *
 *   accept -> HELLO for a stream -> ids are checked -> CHALLENGE, PROOF -> [dial-back] -> its stream
 *          -> HELLO, CHALLENGE, QUERY -> on_query ... ANSWER -> closed
 *          -> HELLO, CONFIRM -> CONFIRMED (peer_confirm.c) -> closed
 *
 * Invariants:
 * - Unauthenticated connections are few, have little time, and get no memory beyond a hello or one query.
 * - A new stream of a member replaces its older one only after its proof.
 *
 * A member that is not in our list is accepted, too, when it names our cluster, was not removed, and is
 * proved. It may have been added while this member was behind, and be the leader that replicates that to us.
 * With a token or a certificate, its hello names its URLs. Without, the list of another member does
 * (set_vouched). */
#include "consensus/peer/peer_impl.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mutant.h"
#include "base/port_holder.h"
#include "base/turn.h"

enum { BACKLOG = 512, SOCKETS_MAX = 2, PONGS_MAX = 64 << 10 };

struct listener {
    struct listener *next;
    struct tcp_peers *p;
    bool is_tls;
    unsigned socket_count, open_count;
    uv_tcp_t sockets[SOCKETS_MAX];
    uv_pipe_t pipe; /* of a socket file; then there are no sockets */
};

struct peer_served_query {
    struct link link;  /* of tcp_peers.served_queries */
    struct conn *conn; /* NULL: its sender has disconnected */
    struct dial_back *back;
    void (*confirmed)(void *arg, bool is_confirmed);
    void *arg;
};

/* --- incoming streams -------------------------------------------------------------------------------- */
static enum peer_stream stream_of(const struct member *m, const struct conn *c)
{
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        if (m->in[i].conn == c)
            return (enum peer_stream)i;
    assert(false);
    return PEER_STREAM_LOG;
}

static void on_stream_frame(struct conn *c, const struct wire_frame *frame)
{
    struct member *m = c->owner;
    struct tcp_peers *p = c->p;
    if (frame->kind == WIRE_PING) {
        wire_add_time(&c->out, WIRE_PONG, get_le64(frame->payload.data));
        c->answered_n = c->received_n;
        if (peer_conn_queued(c) > PONGS_MAX)
            peer_conn_close(c, ERR_LIMIT, "it sends pings and does not read the pongs");
    } else if (p->events && p->events->on_message) {
        p->events->on_message(p->arg, m->id, stream_of(m, c), frame->payload);
    }
}

/* While much data is on the way to us, pings wait behind it: a pong without a ping shows that we are
 * alive. */
static void on_stream_timer(struct conn *c)
{
    if (peer_conn_is_silent(c)) {
        peer_conn_close(c, ERR_TIMEOUT, "silent for too long");
        return;
    }
    if (c->answered_n != c->received_n && peer_conn_queued(c) == 0) {
        c->answered_n = c->received_n;
        wire_add_time(&c->out, WIRE_PONG, 0);
        peer_conn_flush(c);
    }
    peer_conn_timer(c, c->p->ping_ms);
}

static void on_stream_closed(struct conn *c)
{
    struct member *m = c->owner;
    struct tcp_peers *p = c->p;
    m->in[stream_of(m, c)].conn = NULL;
    m->received_bytes += c->received_n;
    if (c->err == ERR_CORRUPT || c->err == ERR_MALFORMED || c->err == ERR_LIMIT)
        m->received_failures++;
    if (peer_report_may_log(p, c->text, m->id))
        log_warn("lost TCP streaming connection from remote peer", F_STR("error", c->text),
                 F_HEX("local-member-id", p->self), F_HEX("remote-peer-id", m->id),
                 F_STR("remote-address", c->remote));
    bool is_last = true;
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        is_last = is_last && !m->in[i].conn;
    if (m->is_learned && is_last)
        peer_member_free(m); /* the URLs of an unknown peer are valid as long as its connection */
}

static const struct conn_ops in_ops = {NULL, on_stream_frame, on_stream_timer, on_stream_closed};

void peer_listen_close_streams(struct member *m)
{
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        if (m->in[i].conn) {
            m->in[i].conn->owner = NULL;
            peer_conn_close(m->in[i].conn, ERR_CLOSED, "no longer a member");
            m->in[i].conn = NULL;
        }
}

/* --- the hello ----------------------------------------------------------------------------------------- */
static void refuse_handshake(struct conn *c, enum wire_reason reason)
{
    struct tcp_peers *p = c->p;
    const struct wire_hello *h = &c->handshake->hello;
    const char *text = wire_reason_text(reason);
    p->refused[reason]++;
    if (peer_report_may_log(p, text, h->from))
        log_warn("rejected connection of remote peer", F_STR("error", text),
                 F_HEX("local-member-id", p->self), F_HEX("local-member-cluster-id", p->cluster_id),
                 F_HEX("remote-peer-id", h->from), F_HEX("remote-peer-cluster-id", h->cluster_id),
                 F_HEX("meant-member-id", h->to), F_UINT("remote-peer-protocol", h->version),
                 F_STR("remote-address", c->remote));
    wire_add_reply(&c->out, &(struct wire_reply){WIRE_VERSION, reason, p->level, p->cluster_id, p->self});
    peer_conn_finish(c);
}

/* Checks that a certificate that names hosts names one of the member's peer URLs, or the address it dials
 * from. So the stolen key of one member does not open streams as another. Of an unknown member we only have
 * the URLs of its hello. etcd looks names up in the DNS and compares addresses. Here names are compared with
 * the URLs, because every member that dials that member must find them in its certificate anyway. */
static bool is_certificate_valid(const struct conn *c, const struct wire_hello *h)
{
    char text[sizeof c->remote + 16];
    const struct member *m = peer_member_get(c->p, h->from);
    if (!c->tls || c->p->skip_client_san)
        return true;
    snprintf(text, sizeof text, "https://%s", c->remote);
    if (peer_is_certified_for(c, text))
        return true;
    for (unsigned i = 0; m && !m->is_learned && i < m->url_count; i++)
        if (peer_is_certified_for(c, m->urls[i]))
            return true;
    if (m && !m->is_learned)
        return false;
    return peer_handshake_is_certified(c, false);
}

static enum wire_reason check_hello(const struct conn *c, const struct wire_hello *h)
{
    struct tcp_peers *p = c->p;

    if (h->version != WIRE_VERSION)
        return WIRE_VERSION_UNKNOWN;
    if (!p->self)
        return WIRE_NOT_READY;
    if (h->cluster_id != p->cluster_id && !MUTANT(PEER_OF_ANOTHER_CLUSTER))
        return WIRE_WRONG_CLUSTER;
    if (h->to != p->self || h->from == p->self || h->from == 0)
        return WIRE_WRONG_MEMBER;
    if (map_get(&p->removed, h->from) && !MUTANT(PEER_REMOVED_LET_IN))
        return WIRE_REMOVED;
    if (peer_level_is_low(p, h->level))
        return WIRE_LEVEL;
    if (!peer_member_get(p, h->from) && p->learned_count >= LEARNED_MAX)
        return WIRE_TOO_MANY;
    if (!is_certificate_valid(c, h) && !MUTANT(PEER_CERTIFICATE_UNCHECKED))
        return WIRE_CERTIFICATE;
    return WIRE_WELCOME;
}

static struct member *add_learned_member(struct tcp_peers *p, const struct wire_hello *h)
{
    const char *urls[KNOWN_URLS_MAX];
    char text[WIRE_URLS_MAX + 1];
    size_t count = 0;
    struct member *m = peer_member_add(p, h->from);
    m->is_learned = true;
    p->learned_count++;
    snprintf(text, sizeof text, "%.*s", (int)h->urls.size, h->urls.size ? (const char *)h->urls.data : "");
    char *rest = text;
    for (char *url; count < KNOWN_URLS_MAX && (url = strsep(&rest, ",")) != NULL;) {
        struct url parsed;
        if (url_parse(slice_text(url), &parsed) == OK)
            urls[count++] = url;
    }
    if (peer_report_may_log(p, "learned", h->from))
        log_info("added a remote peer that is not in the member list", F_HEX("local-member-id", p->self),
                 F_HEX("remote-peer-id", h->from), F_STR("remote-peer-urls", text));
    peer_member_set_urls(m, urls, count);
    return m;
}

static void attach_stream(struct conn *c, struct member *m, enum peer_stream kind)
{
    struct tcp_peers *p = c->p;
    const struct wire_hello *h = &c->handshake->hello;
    struct conn **place = &m->in[kind].conn;
    if (*place) {
        m->received_bytes += (*place)->received_n;
        (*place)->owner = NULL;
        peer_conn_close(*place, ERR_CLOSED, "replaced by a newer one");
    }
    *place = c;
    m->in[kind].run = h->run;
    m->in[kind].number = h->number;
    list_remove(&c->unauthenticated);
    p->unauthenticated_count--;
    output_exempt(&c->output);
    c->ops = &in_ops;
    c->owner = m;
    c->stage = WIRE_AWAIT_MESSAGES;
}

/* Accepts the stream. The connection dialed last wins, in whatever order they arrive: nothing of an older
 * connection is read after something of a newer one. */
static void accept_stream(struct conn *c)
{
    struct tcp_peers *p = c->p;
    const struct wire_hello *h = &c->handshake->hello;
    struct member *m = peer_member_get(p, h->from);
    if (!m)
        m = add_learned_member(p, h);
    if (m->in[h->stream].run == h->run && h->number <= m->in[h->stream].number) {
        peer_conn_close(c, ERR_CLOSED, "a newer connection of this stream exists");
        return;
    }
    attach_stream(c, m, (enum peer_stream)h->stream);
    wire_add_reply(&c->out,
                   &(struct wire_reply){WIRE_VERSION, WIRE_WELCOME, p->level, p->cluster_id, p->self});
    peer_conn_timer(c, p->ping_ms);
    peer_conn_flush(c);
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        peer_stream_retry_now(&m->streams[i]);
}

/* --- the proof ----------------------------------------------------------------------------------------- */
/* Checks the ids again: they may have changed during the dial-back. */
static void decide_handshake(struct conn *c, bool is_proved)
{
    enum wire_reason reason = check_hello(c, &c->handshake->hello);
    if (reason == WIRE_WELCOME && is_proved)
        accept_stream(c);
    else
        refuse_handshake(c, reason == WIRE_WELCOME ? WIRE_UNPROVED : reason);
}

static void dial_back(struct conn *c, struct member *m);

/* Starts the next dial-back of a member's stream; there is one at a time. Connections from the member's
 * addresses go first, so that forged ones from elsewhere do not delay the member. */
static void dial_back_next(struct tcp_peers *p, uint64_t from, uint8_t stream)
{
    struct member *m = peer_member_get(p, from);
    struct conn *next = NULL;
    if (!m || m->dialing_back[stream])
        return;
    LIST_FOR_EACH (l, &p->unauthenticated) {
        struct conn *c = container_of(l, struct conn, unauthenticated);
        if (c->state == CONN_OPEN && c->handshake && c->handshake->is_waiting &&
            c->handshake->hello.from == from && c->handshake->hello.stream == stream &&
            (!next || (c->is_from_member && !next->is_from_member)))
            next = c;
    }
    if (next)
        dial_back(next, m);
}

static void clear_dial_back(struct conn *c)
{
    struct handshake *o = c->handshake;
    struct member *m = o ? peer_member_get(c->p, o->hello.from) : NULL;
    if (!o || !o->back)
        return;
    o->back = NULL;
    if (m && m->dialing_back[o->hello.stream] == c)
        m->dialing_back[o->hello.stream] = NULL;
}

static void notify_unconfirmed(struct tcp_peers *p, uint64_t id)
{
    if (p->events && p->events->on_unconfirmed)
        p->events->on_unconfirmed(p->arg, id);
}

static void on_dialed_back(void *arg, bool is_confirmed)
{
    struct conn *c = arg;
    struct tcp_peers *p = c->p;
    uint64_t from = c->handshake->hello.from;
    uint8_t stream = c->handshake->hello.stream;
    clear_dial_back(c);
    if (c->state == CONN_OPEN) {
        if (is_confirmed)
            c->handshake->proof = PEER_PROOF_DIAL_BACK;
        decide_handshake(c, is_confirmed);
    }
    dial_back_next(p, from, stream);
    if (!is_confirmed)
        notify_unconfirmed(p, from);
}

/* Starts the dial-back, or waits for the present one. The URL of our own stream to the member is tried
 * first. */
static void dial_back(struct conn *c, struct member *m)
{
    const char *urls[KNOWN_URLS_MAX];
    struct handshake *o = c->handshake;
    o->is_waiting = m->dialing_back[o->hello.stream] != NULL;
    if (o->is_waiting)
        return;
    for (unsigned i = 0; i < m->url_count; i++)
        urls[i] = m->urls[(m->streams[PEER_STREAM_LOG].url + i) % m->url_count];
    m->dialing_back[o->hello.stream] = c;
    peer_conn_timer(c, HELLO_MS);
    o->back = peer_dial_back_start(c, urls, m->url_count, on_dialed_back, c);
}

static void handle_proof(struct conn *c, struct slice mac)
{
    struct tcp_peers *p = c->p;
    struct handshake *o = c->handshake;
    struct member *m = peer_member_get(p, o->hello.from);
    enum peer_operation operation = m ? PEER_OPEN_STREAM : PEER_OPEN_UNKNOWN_STREAM;
    c->stage = WIRE_AWAIT_NOTHING;
    o->proof = peer_handshake_check_proof(c, mac.data, (struct slice){0});
    enum peer_verdict verdict = peer_proof_judge(operation, o->proof, p->requires_proof);
    if (verdict == PEER_DIAL_BACK && m) {
        dial_back(c, m);
    } else if (verdict == PEER_DIAL_BACK) {
        refuse_handshake(c, WIRE_UNKNOWN_MEMBER);
        notify_unconfirmed(p, o->hello.from);
    } else {
        decide_handshake(c, verdict == PEER_ACCEPT);
    }
}

/* --- bootstrap queries --------------------------------------------------------------------------------- */
static void on_served_query_timer(struct conn *c)
{
    peer_conn_close(c, ERR_TIMEOUT, "not answered in time");
}

static void on_served_query_closed(struct conn *c)
{
    ((struct peer_served_query *)c->owner)->conn = NULL;
    c->p->served_query_count--;
}

static const struct conn_ops served_query_ops = {NULL, NULL, on_served_query_timer, on_served_query_closed};

/* Closes the oldest query without a proof when there are too many. */
static void limit_served_queries(struct tcp_peers *p)
{
    struct conn *victim = NULL;
    if (p->served_query_count < QUERIES_MAX)
        return;
    LIST_FOR_EACH (l, &p->served_queries) {
        struct conn *c = container_of(l, struct peer_served_query, link)->conn;
        if (c && c->state == CONN_OPEN &&
            (!victim ||
             (victim->handshake->proof != PEER_PROOF_NONE && c->handshake->proof == PEER_PROOF_NONE)))
            victim = c;
    }
    if (victim)
        peer_conn_close(victim, ERR_LIMIT, "too many bootstrap queries");
}

/* A certificate must be for all URLs that the sender claims. */
static enum peer_proof check_query_proof(struct conn *c, const uint8_t *mac, struct slice text)
{
    enum peer_proof proof = peer_handshake_check_proof(c, mac, text);
    if (proof != PEER_PROOF_CERTIFICATE || c->p->skip_client_san || peer_handshake_is_certified(c, true))
        return proof;
    return PEER_PROOF_NONE;
}

static void handle_query(struct conn *c, struct slice payload)
{
    struct tcp_peers *p = c->p;
    struct slice text = slice_of(payload.data + PROOF_MAC_SIZE, payload.size - PROOF_MAC_SIZE);
    if (!p->events || !p->events->on_query) {
        peer_conn_close(c, ERR_CLOSED, "this process does not answer bootstrap queries");
        return;
    }
    limit_served_queries(p);
    c->handshake->proof = check_query_proof(c, payload.data, text);
    struct peer_served_query *q = mem_new(sizeof *q);
    q->conn = c;
    list_add_last(&p->served_queries, &q->link);
    p->served_query_count++;
    list_remove(&c->unauthenticated);
    p->unauthenticated_count--;
    c->stage = WIRE_AWAIT_NOTHING;
    c->ops = &served_query_ops;
    c->owner = q;
    peer_conn_timer(c, ANSWER_MS);
    struct peer_query_sender sender = {c->handshake->proof, buf_slice(&c->handshake->urls)};
    p->events->on_query(p->arg, q, &sender, text);
}

static void served_query_free(struct tcp_peers *p, struct peer_served_query *q)
{
    list_remove(&q->link);
    if (q->conn) {
        q->conn->owner = NULL;
        p->served_query_count--;
    }
    if (q->back)
        peer_dial_back_cancel(q->back);
    mem_free(q);
}

static void on_query_dialed_back(void *arg, bool is_confirmed)
{
    struct peer_served_query *q = arg;
    q->back = NULL;
    q->confirmed(q->arg, is_confirmed && q->conn);
}

void peer_served_query_confirm(struct tcp_peers *p, struct peer_served_query *q, const char *const *urls,
                               size_t count, void (*done)(void *arg, bool is_confirmed), void *arg)
{
    assert(!q->back);
    q->confirmed = done;
    q->arg = arg;
    if (q->conn)
        q->back = peer_dial_back_start(q->conn, urls, count, on_query_dialed_back, q);
    else
        q->back = peer_dial_back_none(p, on_query_dialed_back, q);
}

void peer_served_query_answer(struct tcp_peers *p, struct peer_served_query *q, struct slice text)
{
    struct conn *c = q->conn;
    served_query_free(p, q);
    if (!c || c->state != CONN_OPEN)
        return;
    if (text.size > PEER_QUERY_MAX) {
        if (peer_report_may_log(p, "answer too long", 0))
            log_warn("the answer to a bootstrap query is too long", F_UINT("bytes", text.size));
        peer_conn_close(c, ERR_LIMIT, "the answer is too long");
        return;
    }
    peer_conn_add(c, WIRE_ANSWER, text, (struct slice){0});
    peer_conn_finish(c);
}

void peer_served_queries_done(struct tcp_peers *p)
{
    while (!list_is_empty(&p->served_queries))
        served_query_free(p, container_of(p->served_queries.next, struct peer_served_query, link));
}

/* --- unauthenticated connections ------------------------------------------------------------------------ */
static void handle_hello(struct conn *c, struct slice payload)
{
    struct tcp_peers *p = c->p;
    struct wire_hello h;
    if (wire_read_hello(payload, &h) != OK) {
        peer_conn_close(c, ERR_MALFORMED, "bytes that are not of the peer protocol");
        return;
    }
    if (h.version == WIRE_VERSION && h.stream == WIRE_STREAM_CONFIRM) {
        c->stage = WIRE_AWAIT_CONFIRM;
        return;
    }
    peer_handshake_accept(c, &h);
    if (h.version == WIRE_VERSION && h.stream == WIRE_STREAM_QUERY) {
        c->stage = WIRE_AWAIT_QUERY;
        peer_conn_flush(c);
        return;
    }
    struct member *m = peer_member_get(p, h.from);
    if (MUTANT(PEER_FORGED_DISPLACES) && m && h.version == WIRE_VERSION && m->in[h.stream].conn)
        peer_conn_close(m->in[h.stream].conn, ERR_CLOSED, "replaced by a newer one");
    enum wire_reason reason = check_hello(c, &c->handshake->hello);
    if (reason != WIRE_WELCOME) {
        refuse_handshake(c, reason);
        return;
    }
    c->stage = WIRE_AWAIT_PROOF;
    peer_conn_flush(c);
}

static void on_unauthenticated_frame(struct conn *c, const struct wire_frame *frame)
{
    if (frame->kind == WIRE_QUERY)
        handle_query(c, frame->payload);
    else if (frame->kind == WIRE_CONFIRM)
        peer_confirm_answer(c, frame->payload);
    else if (frame->kind == WIRE_PROOF)
        handle_proof(c, frame->payload);
    else
        handle_hello(c, frame->payload);
}

static void on_unauthenticated_timer(struct conn *c)
{
    peer_conn_close(c, ERR_TIMEOUT, "no hello in time");
}

static uint64_t host_of(const struct conn *c)
{
    struct slice host = peer_conn_host(c);
    return hash64(host.data, host.size);
}

/* A connection that is closed without a byte only tests whether the port is open; it is not logged. */
static void on_unauthenticated_closed(struct conn *c)
{
    struct tcp_peers *p = c->p;
    struct dial_back *back = c->handshake ? c->handshake->back : NULL;
    if (back) {
        clear_dial_back(c);
        peer_dial_back_cancel(back);
        dial_back_next(p, c->handshake->hello.from, c->handshake->hello.stream);
    }
    if (c->received_n && peer_report_may_log(p, c->text, host_of(c)))
        log_warn("rejected connection on peer endpoint", F_STR("error", c->text),
                 F_STR("remote-addr", c->remote));
}

static const struct conn_ops unauthenticated_ops = {NULL, on_unauthenticated_frame, on_unauthenticated_timer,
                                                    on_unauthenticated_closed};

static bool is_from_member(struct tcp_peers *p, const struct conn *c)
{
    struct slice host = peer_conn_host(c);
    struct url url;
    uint64_t id;
    void *value;
    for (size_t at = 0; map_next(&p->members, &at, &id, &value);) {
        const struct member *m = value;
        if (m->is_learned)
            continue;
        if (slice_equal(host, slice_text(m->address)))
            return true;
        for (unsigned i = 0; i < m->url_count; i++)
            if (url_parse(slice_text(m->urls[i]), &url) == OK && slice_equal(host, slice_text(url.host)))
                return true;
    }
    return false;
}

/* Chooses the unauthenticated connection to close: the oldest of the address that has the most of them.
 * Connections from addresses of members stay while there are others. */
static struct conn *choose_victim(struct tcp_peers *p)
{
    struct conn *victim = NULL;
    unsigned most = 0;
    LIST_FOR_EACH (l, &p->unauthenticated) {
        struct conn *c = container_of(l, struct conn, unauthenticated);
        unsigned count = 0;
        LIST_FOR_EACH (k, &p->unauthenticated)
            count += c->host_hash == container_of(k, struct conn, unauthenticated)->host_hash;
        bool is_better = !victim || (victim->is_from_member && !c->is_from_member) ||
                         (victim->is_from_member == c->is_from_member && count > most);
        if (is_better) {
            victim = c;
            most = count;
        }
    }
    return victim;
}

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *l = server->data;
    struct tcp_peers *p = l->p;
    struct conn *c;
    turn_enter(TURN_ACCEPT);
    if (status < 0) {
        if (peer_report_may_log(p, "accept", 0))
            log_warn("cannot accept connections for now", F_STR("error", uv_strerror(status)));
        return;
    }
    if (p->is_closing || peer_conn_accept(p, server, l->is_tls, &unauthenticated_ops, &c) != OK)
        return;
    c->owner = p;
    c->stage = WIRE_AWAIT_HELLO;
    c->is_from_member = is_from_member(p, c);
    c->host_hash = host_of(c);
    list_add_last(&p->unauthenticated, &c->unauthenticated);
    p->unauthenticated_count++;
    peer_conn_timer(c, HELLO_MS);
    if (p->unauthenticated_count > UNAUTHENTICATED_MAX)
        peer_conn_close(choose_victim(p), ERR_LIMIT, "too many connections");
}

/* --- sockets ------------------------------------------------------------------------------------------- */
static int set_listen_error(char *error, size_t size, const char *url, const char *what, int status)
{
    snprintf(error, size, "cannot listen on %s for peers: %s%s%s", url, what, status ? ": " : "",
             status ? uv_strerror(status) : "");
    return status == UV_EADDRINUSE ? ERR_EXISTS : ERR_INVALID;
}

static int open_socket(struct listener *l, const char *ip, uint16_t port)
{
    struct sockaddr_storage a = {0};
    bool is_v4 = uv_ip4_addr(ip, port, (struct sockaddr_in *)&a) == 0;
    if (!is_v4 && uv_ip6_addr(ip, port, (struct sockaddr_in6 *)&a) != 0)
        return UV_EINVAL;
    uv_tcp_t *s = &l->sockets[l->socket_count++];
    uv_tcp_init(l->p->loop, s);
    s->data = l;
    l->open_count++;
    l->p->open_handles++;
    int rc = uv_tcp_bind(s, (struct sockaddr *)&a, is_v4 ? 0 : UV_TCP_IPV6ONLY);
    return rc ? rc : uv_listen((uv_stream_t *)s, BACKLOG, on_connection);
}

/* A socket file that a dead process left is in the way; any other file of that name is not ours to remove.
 * libuv removes it when the handle is closed. */
static int open_file(struct listener *l, const char *path)
{
    struct stat st;
    if (strlen(path) > PEER_SOCKET_PATH_MAX)
        return UV_ENAMETOOLONG;
    uv_pipe_init(l->p->loop, &l->pipe, 0);
    l->pipe.data = l;
    l->open_count++;
    l->p->open_handles++;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path);
    int rc = uv_pipe_bind(&l->pipe, path);
    return rc ? rc : uv_listen((uv_stream_t *)&l->pipe, BACKLOG, on_connection);
}

int peer_listen_open(struct tcp_peers *p, const char *url, char *error, size_t error_size)
{
    struct url u;
    if (url_parse(slice_text(url), &u) != OK)
        return set_listen_error(error, error_size, url, "not a URL of http, https, unix or unixs", 0);
    bool is_tls = strchr(u.scheme + 4, 's') != NULL;
    if (is_tls && !p->tls_in)
        return set_listen_error(error, error_size, url, "no certificate and key are given", 0);
    struct listener *l = mem_new(sizeof *l);
    l->p = p;
    l->is_tls = is_tls;
    l->next = p->listeners;
    p->listeners = l;
    if (u.scheme[0] == 'u') {
        int error_number = open_file(l, u.host);
        return error_number ? set_listen_error(error, error_size, url, "bind", error_number) : OK;
    }
    bool is_local = strcmp(u.host, "localhost") == 0;
    int rc = open_socket(l, is_local ? "127.0.0.1" : u.host, u.port);
    if (rc == UV_EINVAL)
        return set_listen_error(error, error_size, url, "expected an IP address or localhost", 0);
    if (rc) {
        int err = set_listen_error(error, error_size, url, "bind", rc);
        size_t n = strlen(error);
        if (err == ERR_EXISTS)
            port_holder_describe(u.port, false, "--listen-peer-urls and --initial-advertise-peer-urls",
                                 error + n, error_size - n);
        return err;
    }
    if (is_local)
        (void)!open_socket(l, "::1", u.port); /* a machine may have no IPv6 */
    return OK;
}

static void on_listener_closed(uv_handle_t *h)
{
    struct listener *l = h->data;
    struct tcp_peers *p = l->p;
    if (--l->open_count == 0)
        mem_free(l);
    p->open_handles--;
    peer_release(p);
}

void peer_listen_close(struct tcp_peers *p)
{
    struct listener *l = p->listeners, *next;
    p->listeners = NULL;
    for (; l; l = next) {
        next = l->next;
        if (!l->open_count)
            mem_free(l);
        else if (!l->socket_count)
            uv_close((uv_handle_t *)&l->pipe, on_listener_closed);
        else
            for (unsigned i = 0, n = l->socket_count; i < n; i++)
                uv_close((uv_handle_t *)&l->sockets[i], on_listener_closed);
    }
}
