/* SPDX-License-Identifier: Apache-2.0
 * Connections into us: unauthenticated at first, then a stream of a member, a bootstrap query or a dial-back.
 * Unauthenticated connections are few, have little time, and get no memory beyond a hello (or one query).
 *
 *   accept -> HELLO for a stream -> judged -> PROOF -> [dial-back] -> the member's stream, instead of its
 * last one
 *          -> HELLO, QUESTION -> on_query ... answer -> closed
 *          -> HELLO, CONFIRM -> answered (peer_confirm.c) -> closed
 *
 * A member that is not in our list is taken, too, when it names our cluster, was not removed, and is proved:
 * it may have been added while we were behind, and be the leader we have to learn it from. With a token or a
 * certificate its hello says where it can be answered; without, another member's list says so (set_vouched).
 */
#include "consensus/peer/peer_impl.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>

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
};

struct peer_served_query {
    struct link link;  /* of tcp_peers.questions */
    struct conn *conn; /* NULL: the asker is gone */
    struct dial_back *back;
    void (*confirmed)(void *arg, bool is_confirmed);
    void *arg;
};

/* --- lanes into us ------------------------------------------------------------------------------------- */
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
        c->seen_n = c->received_n;
        if (peer_conn_queued(c) > PONGS_MAX)
            peer_conn_close(c, ERR_LIMIT, "it does not read what it asks for");
    } else if (p->events && p->events->on_message) {
        p->events->on_message(p->arg, m->id, stream_of(m, c), frame->payload);
    }
}

/* While much is on the way to us, pings wait behind it: a pong without one says that we are alive. */
static void on_stream_timer(struct conn *c)
{
    if (peer_conn_is_silent(c)) {
        peer_conn_close(c, ERR_TIMEOUT, "silent for too long");
        return;
    }
    if (c->seen_n != c->received_n && peer_conn_queued(c) == 0) {
        c->seen_n = c->received_n;
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
        peer_member_free(m); /* a stranger's word lasts as long as its connection */
}

static const struct conn_ops in_ops = {NULL, on_stream_frame, on_stream_timer, on_stream_closed};

void peer_listen_forget(struct member *m)
{
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        if (m->in[i].conn) {
            m->in[i].conn->owner = NULL;
            peer_conn_close(m->in[i].conn, ERR_CLOSED, "no longer a member");
            m->in[i].conn = NULL;
        }
}

/* --- the hello ----------------------------------------------------------------------------------------- */
static void peer_listen_refuse(struct conn *c, enum wire_reason reason)
{
    struct tcp_peers *p = c->p;
    const struct wire_hello *h = &c->opening->hello;
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

static bool is_certified_for(const struct conn *c, const char *url)
{
    struct url parsed;
    return url_parse(slice_text(url), &parsed) == OK && tls_peer_is(c->tls, parsed.host);
}

/* A certificate that names hosts must name one where this member is, or the address it comes from: so who has
 * stolen one member's key cannot speak as another. Of a member that we do not know we have its own word only.
 * etcd looks names up in the DNS and compares addresses; here they are compared with the URLs, which
 * everybody who dials that member must find in its certificate anyway. */
static bool has_its_certificate(const struct conn *c, const struct wire_hello *h)
{
    char text[sizeof c->remote + 16];
    const struct member *m = peer_member_get(c->p, h->from);
    if (!c->tls || c->p->skip_client_san)
        return true;
    snprintf(text, sizeof text, "https://%s", c->remote);
    if (is_certified_for(c, text))
        return true;
    for (unsigned i = 0; m && !m->is_learned && i < m->url_count; i++)
        if (is_certified_for(c, m->urls[i]))
            return true;
    if (m && !m->is_learned)
        return false;
    return peer_opening_is_certified(c, false);
}

static enum wire_reason peer_listen_judge(const struct conn *c, const struct wire_hello *h)
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
    if (!has_its_certificate(c, h) && !MUTANT(PEER_CERTIFICATE_UNCHECKED))
        return WIRE_CERTIFICATE;
    return WIRE_WELCOME;
}

static struct member *learn(struct tcp_peers *p, const struct wire_hello *h)
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
        if (url_parse(slice_text(url), &parsed) == OK && parsed.scheme[0] == 'h')
            urls[count++] = url;
    }
    if (peer_report_may_log(p, "learned", h->from))
        log_info("added a remote peer that told us of itself", F_HEX("local-member-id", p->self),
                 F_HEX("remote-peer-id", h->from), F_STR("remote-peer-urls", text));
    peer_member_set_urls(m, urls, count);
    return m;
}

static void come_in(struct conn *c, struct member *m, enum peer_stream kind)
{
    struct tcp_peers *p = c->p;
    const struct wire_hello *h = &c->opening->hello;
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

/* The connection dialed last counts, in whatever order they arrive: nothing of an older one may be read after
 * something of a newer one. */
static void welcome(struct conn *c)
{
    struct tcp_peers *p = c->p;
    const struct wire_hello *h = &c->opening->hello;
    struct member *m = peer_member_get(p, h->from);
    if (!m)
        m = learn(p, h);
    if (m->in[h->stream].run == h->run && h->number <= m->in[h->stream].number) {
        peer_conn_close(c, ERR_CLOSED, "an older connection");
        return;
    }
    come_in(c, m, (enum peer_stream)h->stream);
    wire_add_reply(&c->out,
                   &(struct wire_reply){WIRE_VERSION, WIRE_WELCOME, p->level, p->cluster_id, p->self});
    peer_conn_timer(c, p->ping_ms);
    peer_conn_flush(c);
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        peer_stream_retry_now(&m->streams[i]);
}

/* --- the proof ----------------------------------------------------------------------------------------- */
/* Whatever was true when the hello came may have changed while the dial-back was under way. */
static void peer_listen_decide(struct conn *c, bool is_proved)
{
    enum wire_reason reason = peer_listen_judge(c, &c->opening->hello);
    if (reason == WIRE_WELCOME && is_proved)
        welcome(c);
    else
        peer_listen_refuse(c, reason == WIRE_WELCOME ? WIRE_UNPROVED : reason);
}

static void dial_back(struct conn *c, struct member *m);

/* One dial-back at a time for a member's stream. Openings that come from one of its addresses go first:
 * forged ones from elsewhere cannot keep the member waiting. */
static void dial_back_next(struct tcp_peers *p, uint64_t from, uint8_t stream)
{
    struct member *m = peer_member_get(p, from);
    struct conn *next = NULL;
    if (!m || m->proving[stream])
        return;
    LIST_FOR_EACH (l, &p->unauthenticated) {
        struct conn *c = container_of(l, struct conn, unauthenticated);
        if (c->state == CONN_OPEN && c->opening && c->opening->is_waiting && c->opening->hello.from == from &&
            c->opening->hello.stream == stream && (!next || (c->is_from_member && !next->is_from_member)))
            next = c;
    }
    if (next)
        dial_back(next, m);
}

static void forget_dial_back(struct conn *c)
{
    struct opening *o = c->opening;
    struct member *m = o ? peer_member_get(c->p, o->hello.from) : NULL;
    if (!o || !o->back)
        return;
    o->back = NULL;
    if (m && m->proving[o->hello.stream] == c)
        m->proving[o->hello.stream] = NULL;
}

static void tell_unconfirmed(struct tcp_peers *p, uint64_t id)
{
    if (p->events && p->events->on_unconfirmed)
        p->events->on_unconfirmed(p->arg, id);
}

static void on_dialed_back(void *arg, bool is_confirmed)
{
    struct conn *c = arg;
    struct tcp_peers *p = c->p;
    uint64_t from = c->opening->hello.from;
    uint8_t stream = c->opening->hello.stream;
    forget_dial_back(c);
    if (c->state == CONN_OPEN) {
        if (is_confirmed)
            c->opening->proof = PEER_PROOF_DIAL_BACK;
        peer_listen_decide(c, is_confirmed);
    }
    dial_back_next(p, from, stream);
    if (!is_confirmed)
        tell_unconfirmed(p, from);
}

/* The URL that our own stream to the member uses comes first. */
static void dial_back(struct conn *c, struct member *m)
{
    const char *urls[KNOWN_URLS_MAX];
    struct opening *o = c->opening;
    o->is_waiting = m->proving[o->hello.stream] != NULL;
    if (o->is_waiting)
        return;
    for (unsigned i = 0; i < m->url_count; i++)
        urls[i] = m->urls[(m->streams[PEER_STREAM_LOG].url + i) % m->url_count];
    m->proving[o->hello.stream] = c;
    peer_conn_timer(c, HELLO_MS);
    o->back = peer_dial_back_start(c, urls, m->url_count, on_dialed_back, c);
}

static void take_proof(struct conn *c, struct slice mac)
{
    struct tcp_peers *p = c->p;
    struct opening *o = c->opening;
    struct member *m = peer_member_get(p, o->hello.from);
    enum peer_operation operation = m ? PEER_OPEN_STREAM : PEER_OPEN_UNKNOWN_STREAM;
    c->stage = WIRE_AWAIT_NOTHING;
    o->proof = peer_opening_shown(c, mac.data, (struct slice){0});
    enum peer_verdict verdict = peer_proof_judge(operation, o->proof, p->requires_proof);
    if (verdict == PEER_ASK_BACK && m) {
        dial_back(c, m);
    } else if (verdict == PEER_ASK_BACK) {
        peer_listen_refuse(c, WIRE_UNKNOWN_MEMBER);
        tell_unconfirmed(p, o->hello.from);
    } else {
        peer_listen_decide(c, verdict == PEER_ACCEPT);
    }
}

/* --- questions ----------------------------------------------------------------------------------------- */
static void on_asker_timer(struct conn *c)
{
    peer_conn_close(c, ERR_TIMEOUT, "not answered in time");
}

static void on_asker_closed(struct conn *c)
{
    ((struct peer_served_query *)c->owner)->conn = NULL;
    c->p->question_count--;
}

static const struct conn_ops asker_ops = {NULL, NULL, on_asker_timer, on_asker_closed};

/* The oldest query that showed no proof makes room. */
static void limit_questions(struct tcp_peers *p)
{
    struct conn *victim = NULL;
    if (p->question_count < QUESTIONS_MAX)
        return;
    LIST_FOR_EACH (l, &p->questions) {
        struct conn *c = container_of(l, struct peer_served_query, link)->conn;
        if (c && c->state == CONN_OPEN &&
            (!victim || (victim->opening->proof != PEER_PROOF_NONE && c->opening->proof == PEER_PROOF_NONE)))
            victim = c;
    }
    if (victim)
        peer_conn_close(victim, ERR_LIMIT, "too many bootstrap queries");
}

/* A certificate must be for all URLs that the asker claims. */
static enum peer_proof proof_of_question(struct conn *c, const uint8_t *mac, struct slice text)
{
    enum peer_proof proof = peer_opening_shown(c, mac, text);
    if (proof != PEER_PROOF_CERTIFICATE || c->p->skip_client_san || peer_opening_is_certified(c, true))
        return proof;
    return PEER_PROOF_NONE;
}

static void take_question(struct conn *c, struct slice payload)
{
    struct tcp_peers *p = c->p;
    struct slice text = slice_of(payload.data + PROOF_MAC_SIZE, payload.size - PROOF_MAC_SIZE);
    if (!p->events || !p->events->on_query) {
        peer_conn_close(c, ERR_CLOSED, "nobody answers here");
        return;
    }
    limit_questions(p);
    c->opening->proof = proof_of_question(c, payload.data, text);
    struct peer_served_query *q = mem_new(sizeof *q);
    q->conn = c;
    list_add_last(&p->questions, &q->link);
    p->question_count++;
    list_remove(&c->unauthenticated);
    p->unauthenticated_count--;
    c->stage = WIRE_AWAIT_NOTHING;
    c->ops = &asker_ops;
    c->owner = q;
    peer_conn_timer(c, ANSWER_MS);
    struct peer_asker asker = {c->opening->proof, buf_slice(&c->opening->urls)};
    p->events->on_query(p->arg, q, &asker, text);
}

static void question_free(struct tcp_peers *p, struct peer_served_query *q)
{
    list_remove(&q->link);
    if (q->conn) {
        q->conn->owner = NULL;
        p->question_count--;
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
    question_free(p, q);
    if (!c || c->state != CONN_OPEN)
        return;
    if (text.size > PEER_QUESTION_MAX) {
        if (peer_report_may_log(p, "answer too long", 0))
            log_warn("an answer to a peer's question is too long", F_UINT("bytes", text.size));
        peer_conn_close(c, ERR_LIMIT, "the answer is too long");
        return;
    }
    peer_conn_add(c, WIRE_ANSWER, text, (struct slice){0});
    peer_conn_finish(c);
}

void peer_served_queries_done(struct tcp_peers *p)
{
    while (!list_is_empty(&p->questions))
        question_free(p, container_of(p->questions.next, struct peer_served_query, link));
}

/* --- unauthenticated connections -------------------------------------------------------------------------
 */
static void take_hello(struct conn *c, struct slice payload)
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
    peer_opening_accept(c, &h);
    if (h.version == WIRE_VERSION && h.stream == WIRE_STREAM_QUESTION) {
        c->stage = WIRE_AWAIT_QUESTION;
        peer_conn_flush(c);
        return;
    }
    struct member *m = peer_member_get(p, h.from);
    if (MUTANT(PEER_FORGED_DISPLACES) && m && h.version == WIRE_VERSION && m->in[h.stream].conn)
        peer_conn_close(m->in[h.stream].conn, ERR_CLOSED, "replaced by a newer one");
    enum wire_reason reason = peer_listen_judge(c, &c->opening->hello);
    if (reason != WIRE_WELCOME) {
        peer_listen_refuse(c, reason);
        return;
    }
    c->stage = WIRE_AWAIT_PROOF;
    peer_conn_flush(c);
}

static void on_unauthenticated_frame(struct conn *c, const struct wire_frame *frame)
{
    if (frame->kind == WIRE_QUESTION)
        take_question(c, frame->payload);
    else if (frame->kind == WIRE_CONFIRM)
        peer_confirm_answer(c, frame->payload);
    else if (frame->kind == WIRE_PROOF)
        take_proof(c, frame->payload);
    else
        take_hello(c, frame->payload);
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

/* A connection that is closed without a byte looks whether the port is open. */
static void on_unauthenticated_closed(struct conn *c)
{
    struct tcp_peers *p = c->p;
    struct dial_back *back = c->opening ? c->opening->back : NULL;
    if (back) {
        forget_dial_back(c);
        peer_dial_back_cancel(back);
        dial_back_next(p, c->opening->hello.from, c->opening->hello.stream);
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

/* Which of the unauthenticated connections makes room: the oldest of the address that has the most of them.
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
static int peer_listen_tell(char *error, size_t size, const char *url, const char *what, int status)
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

int peer_listen_open(struct tcp_peers *p, const char *url, char *error, size_t error_size)
{
    struct url u;
    if (url_parse(slice_text(url), &u) != OK || u.scheme[0] != 'h')
        return peer_listen_tell(error, error_size, url, "not a URL of http or https", 0);
    bool is_tls = strcmp(u.scheme, "https") == 0;
    if (is_tls && !p->tls_in)
        return peer_listen_tell(error, error_size, url, "no certificate and key are given", 0);
    struct listener *l = mem_new(sizeof *l);
    l->p = p;
    l->is_tls = is_tls;
    l->next = p->listeners;
    p->listeners = l;
    bool is_local = strcmp(u.host, "localhost") == 0;
    int rc = open_socket(l, is_local ? "127.0.0.1" : u.host, u.port);
    if (rc == UV_EINVAL)
        return peer_listen_tell(error, error_size, url, "expected an IP address or localhost", 0);
    if (rc) {
        int err = peer_listen_tell(error, error_size, url, "bind", rc);
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
        else
            for (unsigned i = 0, n = l->socket_count; i < n; i++)
                uv_close((uv_handle_t *)&l->sockets[i], on_listener_closed);
    }
}
