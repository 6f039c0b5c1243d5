/* SPDX-License-Identifier: Apache-2.0
 * Lanes out of us: each member dials what it wants to say something on, and what is dialed only listens.
 *
 *   IDLE -> WAITING -timer-> DIALING -hello, reply-> UP
 *              ^                |                    |
 *              `----------------+--------------------'   when the connection has been closed
 *
 * One way each, because then nobody has to decide which of two crossing connections stays, a link that is
 * dead in one direction is seen in just that direction, and a lane's order is its connection's. Dialing
 * happens in the timer's callback only, and losses are told in the connection's last callback, never inside a
 * call. */
#include "consensus/peer/peer_impl.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"

static const char *const stream_names[PEER_STREAM_COUNT] = {"log", "bulk"};

static void peer_stream_wait_for(struct stream *l, uint64_t ms)
{
    struct tcp_peers *p = l->member->p;
    l->state = PEER_STREAM_WAITING;
    p->io->ops->timer_start(p->io, &l->timer, ms);
}

/* Half of it for sure, half by chance, so that members that lost each other together do not meet again. */
static void wait_longer(struct stream *l)
{
    struct tcp_peers *p = l->member->p;
    uint64_t half = l->backoff_ms / 2;
    peer_stream_wait_for(l, half + p->io->ops->random(p->io) % (half + 1));
    l->backoff_ms = l->backoff_ms * 2 < BACKOFF_MAX_MS ? l->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static void tell_unreachable(struct tcp_peers *p, uint64_t id, enum peer_stream kind)
{
    if (p->events && p->events->on_unreachable && !p->is_closing)
        p->events->on_unreachable(p->arg, id, kind);
}

/* --- the connection's life ----------------------------------------------------------------------------- */
static void peer_stream_on_open(struct conn *c)
{
    struct stream *l = c->owner;
    struct tcp_peers *p = c->p;
    peer_opening_dial(c, &(struct wire_hello){.stream = (uint8_t)l->kind,
                                              .cluster_id = p->cluster_id,
                                              .from = p->self,
                                              .to = l->member->id});
}

/* The source of what this member dials is likely this address, too. */
static void note_address(struct member *m, const struct conn *c)
{
    struct slice host = peer_conn_host(c);
    snprintf(m->address, sizeof m->address, "%.*s", (int)host.size, (const char *)host.data);
}

static void come_up(struct stream *l, struct conn *c)
{
    struct tcp_peers *p = c->p;
    l->state = PEER_STREAM_UP;
    l->up_ms = peer_now_ms(p);
    l->is_refused = false;
    c->stage = WIRE_AWAIT_PONGS;
    wire_add_time(&c->out, WIRE_PING, p->io->ops->mono_ns(p->io));
    peer_conn_flush(c);
    peer_conn_timer(c, p->ping_ms);
    if (!l->is_up_reported)
        log_info("established TCP streaming connection with remote peer", F_HEX("local-member-id", p->self),
                 F_HEX("remote-peer-id", l->member->id), F_STR("stream-type", stream_names[l->kind]),
                 F_STR("remote-address", c->remote));
    l->is_up_reported = true;
    if (p->events && p->events->on_reachable)
        p->events->on_reachable(p->arg, l->member->id, l->kind);
}

/* Final only when it is said by the member that was meant, in our cluster. */
static void take_refusal(struct stream *l, struct conn *c, const struct wire_reply *r)
{
    struct tcp_peers *p = c->p;
    uint64_t id = l->member->id;
    const char *text = wire_reason_text(r->reason);
    bool is_believed = !p->requires_proof || c->opening->proof >= PEER_PROOF_TOKEN;
    bool is_final =
        is_believed && r->reason == WIRE_REMOVED && r->cluster_id == p->cluster_id && r->member_id == id;
    l->is_refused = true;
    if (peer_report_may_log(p, text, id))
        log_warn("remote peer refused our connection", F_STR("error", text),
                 F_HEX("local-member-id", p->self), F_HEX("local-member-cluster-id", p->cluster_id),
                 F_HEX("remote-peer-id", id), F_HEX("answered-by-member-id", r->member_id),
                 F_HEX("answered-by-cluster-id", r->cluster_id), F_STR("remote-address", c->remote));
    peer_conn_close(c, ERR_CLOSED, text);
    if (is_final && p->events && p->events->on_removed)
        p->events->on_removed(p->arg, id);
}

static void take_pong(struct stream *l, struct conn *c, uint64_t time_ns)
{
    uint64_t now = c->p->io->ops->mono_ns(c->p->io);
    if (time_ns == 0 || time_ns > now)
        return;
    struct member *m = l->member;
    l->backoff_ms = BACKOFF_MIN_MS; /* the lane works both ways: when it is lost, there is hope */
    histogram_observe(&m->round_trips, RTT_FIRST, RTT_FACTOR, RTT_BUCKETS, (double)(now - time_ns) / 1e9);
    if (l->kind == PEER_STREAM_LOG)
        m->round_trip_ns = now - time_ns ? now - time_ns : 1;
}

static void take_challenge(struct stream *l, struct conn *c, struct slice payload)
{
    int err = peer_opening_take_challenge(c, payload);
    note_address(l->member, c);
    if (err == ERR_PERMISSION_DENIED) {
        l->is_refused = true;
        if (peer_report_may_log(c->p, "unproved", l->member->id))
            log_warn(
                "the process that listens at this member's peer URL did not prove that it is that member: "
                "it shows neither a token of ours nor a certificate",
                F_HEX("remote-peer-id", l->member->id), F_STR("remote-address", c->remote));
        peer_conn_close(c, err, "it did not prove that it is a member");
    } else if (err) {
        peer_conn_close(c, err, "bytes that are not of the peer protocol");
    } else {
        c->stage = WIRE_AWAIT_REPLY;
        peer_conn_timer(c, REPLY_MS);
        peer_opening_add_proof(c);
    }
}

static void peer_stream_on_frame(struct conn *c, const struct wire_frame *frame)
{
    struct stream *l = c->owner;
    struct wire_reply reply;
    if (frame->kind == WIRE_PONG) {
        take_pong(l, c, get_le64(frame->payload.data));
    } else if (frame->kind == WIRE_CHALLENGE) {
        take_challenge(l, c, frame->payload);
    } else if (wire_read_reply(frame->payload, &reply) != OK) {
        peer_conn_close(c, ERR_MALFORMED, "bytes that are not of the peer protocol");
    } else if (reply.reason == WIRE_WELCOME && peer_level_is_low(c->p, reply.level)) {
        reply.reason = WIRE_LEVEL;
        take_refusal(l, c, &reply);
    } else if (c->stage == WIRE_AWAIT_REPLY && reply.reason == WIRE_WELCOME &&
               reply.version == WIRE_VERSION && reply.member_id == l->member->id &&
               reply.cluster_id == c->p->cluster_id) {
        come_up(l, c);
    } else {
        take_refusal(l, c, &reply);
    }
}

static void on_conn_timer(struct conn *c)
{
    struct stream *l = c->owner;
    if (l->state == PEER_STREAM_DIALING) {
        peer_conn_close(c, ERR_TIMEOUT, "no answer in time");
    } else if (peer_conn_is_silent(c)) {
        peer_conn_close(c, ERR_TIMEOUT, "silent for too long");
    } else {
        wire_add_time(&c->out, WIRE_PING, c->p->io->ops->mono_ns(c->p->io));
        peer_conn_timer(c, c->p->ping_ms);
        peer_conn_flush(c);
    }
}

/* Where to next: another address of the name at once, else the next URL after a while. */
static bool next_way(struct stream *l, const struct conn *c, bool was_up)
{
    if (!was_up && !l->is_refused && l->address + 1 < c->address_count) {
        l->address++;
        return true;
    }
    l->address = 0;
    if (!was_up && l->member->url_count)
        l->url = (l->url + 1) % l->member->url_count;
    return false;
}

/* When a line says that it is lost, another will say that it is back. */
static void report_loss(struct stream *l, const struct conn *c, bool was_up)
{
    struct tcp_peers *p = c->p;
    if (!peer_report_may_log(p, c->text, l->member->id ^ l->kind))
        return;
    l->is_up_reported = false;
    log_warn(was_up ? "lost TCP streaming connection with remote peer" : "failed to reach remote peer",
             F_STR("error", c->text), F_HEX("local-member-id", p->self),
             F_HEX("remote-peer-id", l->member->id), F_STR("stream-type", stream_names[l->kind]),
             F_STR("remote-address", c->remote));
}

static void peer_stream_on_closed(struct conn *c)
{
    struct stream *l = c->owner;
    struct member *m = l->member;
    struct tcp_peers *p = c->p;
    bool was_up = l->up_ms != 0;
    uint64_t id = m->id;
    enum peer_stream kind = l->kind;
    l->conn = NULL;
    m->sent_bytes += c->written_n;
    m->disconnects += was_up;
    l->up_ms = 0;
    if (was_up || !l->is_refused)
        report_loss(l, c, was_up);
    if (!m->url_count) {
        l->state = PEER_STREAM_IDLE;
    } else if (next_way(l, c, was_up)) {
        peer_stream_wait_for(l, 0);
        return;
    } else if (l->is_hurried) {
        peer_stream_wait_for(l, 0);
    } else {
        wait_longer(l);
    }
    l->is_hurried = false;
    tell_unreachable(p, id, kind);
}

static const struct conn_ops stream_ops = {peer_stream_on_open, peer_stream_on_frame, on_conn_timer,
                                           peer_stream_on_closed};

/* --- dialing ------------------------------------------------------------------------------------------- */
static void on_stream_timer(struct io_timer *t)
{
    struct stream *l = container_of(t, struct stream, timer);
    struct member *m = l->member;
    struct tcp_peers *p = m->p;
    assert(l->state == PEER_STREAM_WAITING && !l->conn);
    l->dialed_ms = peer_now_ms(p);
    l->is_refused = false;
    l->url = l->url < m->url_count ? l->url : 0;
    if (peer_conn_dial(p, m->urls[l->url], l->address, &stream_ops, l, &l->conn) == OK) {
        l->state = PEER_STREAM_DIALING;
        return;
    }
    if (peer_report_may_log(p, "bad url", m->id))
        log_warn("cannot dial this peer URL", F_HEX("remote-peer-id", m->id), F_STR("url", m->urls[l->url]));
    l->url = (l->url + 1) % m->url_count;
    wait_longer(l);
    tell_unreachable(p, m->id, l->kind);
}

bool peer_stream_is_up(const struct stream *l)
{
    return l->state == PEER_STREAM_UP && l->conn->state == CONN_OPEN;
}

void peer_stream_start(struct stream *l)
{
    struct tcp_peers *p = l->member->p;
    l->timer.fire = on_stream_timer;
    if (l->state != PEER_STREAM_IDLE || !p->self || !l->member->url_count || l->member->id == p->self)
        return;
    l->backoff_ms = BACKOFF_MIN_MS;
    peer_stream_wait_for(l, 0);
}

/* Not after a refusal: two members that refuse each other would never rest. */
void peer_stream_retry_now(struct stream *l)
{
    uint64_t since = peer_now_ms(l->member->p) - l->dialed_ms;
    if (l->state == PEER_STREAM_WAITING && !l->is_refused) {
        l->backoff_ms = BACKOFF_MIN_MS;
        peer_stream_wait_for(l, since < BACKOFF_MIN_MS ? BACKOFF_MIN_MS - since : 0);
    } else if (l->conn && l->conn->state == CONN_CLOSING) {
        l->is_hurried = true;
    } else if (l->conn && l->conn->state == CONN_CONNECTING && since > RETRY_NOW_MS) {
        l->is_hurried = true; /* its packets were lost while the link was cut; the next try would be late */
        peer_conn_close(l->conn, ERR_CLOSED, "dialed anew");
    }
}

void peer_stream_restart(struct stream *l)
{
    struct tcp_peers *p = l->member->p;
    l->url = l->address = 0;
    if (l->conn) {
        l->is_hurried = true;
        peer_conn_close(l->conn, ERR_CLOSED, "its URLs or our identity have changed");
        return;
    }
    p->io->ops->timer_stop(p->io, &l->timer);
    l->state = PEER_STREAM_IDLE;
    peer_stream_start(l);
}

void peer_stream_done(struct stream *l)
{
    struct tcp_peers *p = l->member->p;
    p->io->ops->timer_stop(p->io, &l->timer);
    l->state = PEER_STREAM_IDLE;
    if (l->conn) {
        l->conn->owner = NULL;
        peer_conn_close(l->conn, ERR_CLOSED, "no longer a member");
        l->conn = NULL;
    }
}
