/* SPDX-License-Identifier: Apache-2.0
 * Connections into us. Who dials is a guest until his hello has been judged; guests are few, have little
 * time, and get no memory beyond a hello (or one question).
 *
 *   accept -> guest --hello for a lane--> judged: a lane of that member, instead of the one he had before
 *                `----hello, question---> on_question ... answer -> closed
 *
 * A member that we do not know is let in if it names our cluster and was not removed: it may have been added
 * while we were behind, and be the leader we have to learn it from. Its hello says where it can be answered.
 */
#include "consensus/peer/peer_impl.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/plant.h"

enum { BACKLOG = 512, SOCKETS_MAX = 2, PONGS_MAX = 64 << 10 };

struct listener {
    struct listener *next;
    struct tcp_peers *p;
    bool is_tls;
    unsigned socket_count, open_count;
    uv_tcp_t sockets[SOCKETS_MAX];
};

struct peer_question {
    struct link link;  /* of tcp_peers.questions */
    struct conn *conn; /* NULL: the asker is gone */
};

/* --- lanes into us ------------------------------------------------------------------------------------- */
static enum peer_lane lane_of(const struct member *m, const struct conn *c)
{
    for (unsigned i = 0; i < PEER_LANE_COUNT; i++)
        if (m->in[i].conn == c)
            return (enum peer_lane)i;
    assert(false);
    return PEER_LANE_LOG;
}

static void on_lane_frame(struct conn *c, const struct wire_frame *frame)
{
    struct member *m = c->owner;
    struct tcp_peers *p = c->p;
    if (frame->kind == WIRE_PING) {
        wire_add_time(&c->out, WIRE_PONG, get_le64(frame->payload.data));
        c->seen_n = c->received_n;
        if (peer_conn_queued(c) > PONGS_MAX)
            peer_conn_close(c, ERR_LIMIT, "it does not read what it asks for");
    } else if (p->events && p->events->on_message) {
        p->events->on_message(p->arg, m->id, lane_of(m, c), frame->payload);
    }
}

/* While much is on the way to us, pings wait behind it: a pong without one says that we are alive. */
static void on_lane_timer(struct conn *c)
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

static void on_lane_closed(struct conn *c)
{
    struct member *m = c->owner;
    struct tcp_peers *p = c->p;
    m->in[lane_of(m, c)].conn = NULL;
    m->received_bytes += c->received_n;
    if (c->err == ERR_CORRUPT || c->err == ERR_MALFORMED || c->err == ERR_LIMIT)
        m->received_failures++;
    if (peer_report_may_log(p, c->text, m->id))
        log_warn("lost TCP streaming connection from remote peer", F_STR("error", c->text),
                 F_HEX("local-member-id", p->self), F_HEX("remote-peer-id", m->id),
                 F_STR("remote-address", c->remote));
    bool is_last = true;
    for (unsigned i = 0; i < PEER_LANE_COUNT; i++)
        is_last = is_last && !m->in[i].conn;
    if (m->is_learned && is_last)
        peer_member_free(m); /* a stranger's word lasts as long as its connection */
}

static const struct conn_ops in_ops = {NULL, on_lane_frame, on_lane_timer, on_lane_closed};

void peer_listen_forget(struct member *m)
{
    for (unsigned i = 0; i < PEER_LANE_COUNT; i++)
        if (m->in[i].conn) {
            m->in[i].conn->owner = NULL;
            peer_conn_close(m->in[i].conn, ERR_CLOSED, "no longer a member");
            m->in[i].conn = NULL;
        }
}

/* --- the hello ----------------------------------------------------------------------------------------- */
static void refuse(struct conn *c, const struct wire_hello *h, enum wire_reason reason)
{
    struct tcp_peers *p = c->p;
    const char *text = wire_reason_text(reason);
    if (peer_report_may_log(p, text, h->from))
        log_warn("rejected connection of remote peer", F_STR("error", text),
                 F_HEX("local-member-id", p->self), F_HEX("local-member-cluster-id", p->cluster_id),
                 F_HEX("remote-peer-id", h->from), F_HEX("remote-peer-cluster-id", h->cluster_id),
                 F_HEX("meant-member-id", h->to), F_UINT("remote-peer-protocol", h->version),
                 F_STR("remote-address", c->remote));
    wire_add_reply(&c->out, &(struct wire_reply){WIRE_VERSION, reason, 0, p->cluster_id, p->self});
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
    char text[WIRE_URLS_MAX + 16];
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
    snprintf(text, sizeof text, "%.*s", (int)h->urls.size, (const char *)h->urls.data);
    char *rest = text;
    for (char *url; (url = strsep(&rest, ",")) != NULL;)
        if (is_certified_for(c, url))
            return true;
    return false;
}

static enum wire_reason judge(const struct conn *c, const struct wire_hello *h)
{
    struct tcp_peers *p = c->p;

    if (h->version != WIRE_VERSION)
        return WIRE_VERSION_UNKNOWN;
    if (!p->self)
        return WIRE_NOT_READY;
    if (h->cluster_id != p->cluster_id && !PLANTED(PEER_OF_ANOTHER_CLUSTER))
        return WIRE_WRONG_CLUSTER;
    if (h->to != p->self || h->from == p->self || h->from == 0)
        return WIRE_WRONG_MEMBER;
    if (map_get(&p->removed, h->from) && !PLANTED(PEER_REMOVED_LET_IN))
        return WIRE_REMOVED;
    if (!peer_member_get(p, h->from) && p->learned_count >= LEARNED_MAX)
        return WIRE_TOO_MANY;
    if (!has_its_certificate(c, h) && !PLANTED(PEER_CERTIFICATE_UNCHECKED))
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
    memcpy(text, h->urls.data, h->urls.size);
    text[h->urls.size] = 0;
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

/* The connection dialed last counts, in whatever order they arrive: nothing of an older one may be read after
 * something of a newer one. */
static void welcome(struct conn *c, const struct wire_hello *h)
{
    struct tcp_peers *p = c->p;
    struct member *m = peer_member_get(p, h->from);
    if (!m)
        m = learn(p, h);
    struct conn **place = &m->in[h->lane].conn;
    if (m->in[h->lane].run == h->run && h->number <= m->in[h->lane].number) {
        peer_conn_close(c, ERR_CLOSED, "an older connection");
        return;
    }
    if (*place) {
        m->received_bytes += (*place)->received_n;
        (*place)->owner = NULL;
        peer_conn_close(*place, ERR_CLOSED, "replaced by a newer one");
    }
    *place = c;
    m->in[h->lane].run = h->run;
    m->in[h->lane].number = h->number;
    list_remove(&c->guest);
    p->guest_count--;
    c->ops = &in_ops;
    c->owner = m;
    c->stage = WIRE_AWAIT_MESSAGES;
    wire_add_reply(&c->out, &(struct wire_reply){WIRE_VERSION, WIRE_WELCOME, 0, p->cluster_id, p->self});
    peer_conn_timer(c, p->ping_ms);
    for (unsigned i = 0; i < PEER_LANE_COUNT; i++)
        peer_lane_hurry(&m->lanes[i]);
}

/* --- questions ----------------------------------------------------------------------------------------- */
static void on_asker_timer(struct conn *c)
{
    peer_conn_close(c, ERR_TIMEOUT, "not answered in time");
}

static void on_asker_closed(struct conn *c)
{
    ((struct peer_question *)c->owner)->conn = NULL;
}

static const struct conn_ops asker_ops = {NULL, NULL, on_asker_timer, on_asker_closed};

static void take_question(struct conn *c, struct slice text)
{
    struct tcp_peers *p = c->p;
    if (!p->events || !p->events->on_question) {
        peer_conn_close(c, ERR_CLOSED, "nobody answers here");
        return;
    }
    struct peer_question *q = mem_new(sizeof *q);
    q->conn = c;
    list_add_last(&p->questions, &q->link);
    c->stage = WIRE_AWAIT_NOTHING;
    c->ops = &asker_ops;
    c->owner = q;
    peer_conn_timer(c, ANSWER_MS);
    p->events->on_question(p->arg, q, text);
}

static void question_free(struct peer_question *q)
{
    list_remove(&q->link);
    if (q->conn)
        q->conn->owner = NULL;
    mem_free(q);
}

void peer_question_answer(struct tcp_peers *p, struct peer_question *q, struct slice text)
{
    struct conn *c = q->conn;
    question_free(q);
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

void peer_questions_done(struct tcp_peers *p)
{
    while (!list_is_empty(&p->questions))
        question_free(container_of(p->questions.next, struct peer_question, link));
}

/* --- guests -------------------------------------------------------------------------------------------- */
static void on_guest_frame(struct conn *c, const struct wire_frame *frame)
{
    struct wire_hello h;
    if (frame->kind == WIRE_QUESTION) {
        take_question(c, frame->payload);
        return;
    }
    if (wire_read_hello(frame->payload, &h) != OK) {
        peer_conn_close(c, ERR_MALFORMED, "bytes that are not of the peer protocol");
        return;
    }
    if (h.version == WIRE_VERSION && h.lane == WIRE_LANE_QUESTION) {
        c->stage = WIRE_AWAIT_QUESTION;
        return;
    }
    enum wire_reason reason = judge(c, &h);
    if (reason == WIRE_WELCOME)
        welcome(c, &h);
    else
        refuse(c, &h, reason);
}

static void on_guest_timer(struct conn *c)
{
    peer_conn_close(c, ERR_TIMEOUT, "no hello in time");
}

/* Its address without the port. */
static uint64_t host_of(const struct conn *c)
{
    const char *colon = strrchr(c->remote, ':');
    return hash64(c->remote, colon ? (size_t)(colon - c->remote) : strlen(c->remote));
}

/* Somebody who connects and goes without a word looks whether the port is open. */
static void on_guest_closed(struct conn *c)
{
    if (c->received_n && peer_report_may_log(c->p, c->text, host_of(c)))
        log_warn("rejected connection on peer endpoint", F_STR("error", c->text),
                 F_STR("remote-addr", c->remote));
}

static const struct conn_ops guest_ops = {NULL, on_guest_frame, on_guest_timer, on_guest_closed};

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *l = server->data;
    struct tcp_peers *p = l->p;
    struct conn *c;
    if (status < 0) {
        if (peer_report_may_log(p, "accept", 0))
            log_warn("cannot accept connections for now", F_STR("error", uv_strerror(status)));
        return;
    }
    if (p->is_closing || peer_conn_accept(p, server, l->is_tls, &guest_ops, &c) != OK)
        return;
    if (p->guest_count >= GUESTS_MAX)
        peer_conn_close(container_of(p->guests.next, struct conn, guest), ERR_LIMIT, "too many connections");
    c->owner = p;
    c->stage = WIRE_AWAIT_HELLO;
    list_add_last(&p->guests, &c->guest);
    p->guest_count++;
    peer_conn_timer(c, HELLO_MS);
}

/* --- sockets ------------------------------------------------------------------------------------------- */
static int tell(char *error, size_t size, const char *url, const char *what, int status)
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
        return tell(error, error_size, url, "not a URL of http or https", 0);
    bool is_tls = strcmp(u.scheme, "https") == 0;
    if (is_tls && !p->tls_in)
        return tell(error, error_size, url, "no certificate and key are given", 0);
    struct listener *l = mem_new(sizeof *l);
    l->p = p;
    l->is_tls = is_tls;
    l->next = p->listeners;
    p->listeners = l;
    bool is_local = strcmp(u.host, "localhost") == 0;
    int rc = open_socket(l, is_local ? "127.0.0.1" : u.host, u.port);
    if (rc == UV_EINVAL)
        return tell(error, error_size, url, "expected an IP address or localhost", 0);
    if (rc)
        return tell(error, error_size, url, "bind", rc);
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
