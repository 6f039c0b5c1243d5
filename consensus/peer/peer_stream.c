/* SPDX-License-Identifier: Apache-2.0
 * Outgoing streams: a member dials a connection for each stream on which it sends. The dialed side only
 * receives and answers pings.
 *
 *     IDLE -- URLs and identity set --> WAITING -- timer --> DIALING -- HELLO_REPLY: welcome --> UP
 *      ^                                 ^   ^                  |                                 |
 *      |                                 |   |                  | refused, timeout, closed        | closed
 *      |                                 |   +---- backoff -----+                                 |
 *      |                                 +-------- backoff (50 ms to 2 s, half of it random) -----+
 *      +-- from every state: the member is removed, or has no URLs
 *
 *     WAITING, the other side dials us: the wait ends (peer_stream_retry_now), except after a refusal
 *     DIALING, another address of the name is left: the next attempt starts at once
 *     UP, a pong: the backoff is 50 ms again
 *
 * A stream has one direction, for three reasons:
 * - Two crossing connections need no rule which of them stays.
 * - A link that is dead in one direction is detected in that direction only.
 * - The order of a stream is the order of its connection.
 *
 * Dialing starts only in the timer's callback. Losses are reported in the connection's last callback, never
 * inside a call. */
#include "consensus/peer/peer_impl.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"

static const char *const stream_names[PEER_STREAM_COUNT] = {"log", "bulk"};

static void peer_stream_wait_for(struct stream *s, uint64_t ms)
{
    struct tcp_peers *p = s->member->p;
    s->state = PEER_STREAM_WAITING;
    p->io->ops->timer_start(p->io, &s->timer, ms);
}

/* Half of the delay is fixed and half is random, so that members that lost each other at the same time do not
 * retry at the same time. */
static void wait_with_backoff(struct stream *s)
{
    struct tcp_peers *p = s->member->p;
    uint64_t half = s->backoff_ms / 2;
    peer_stream_wait_for(s, half + p->io->ops->random(p->io) % (half + 1));
    s->backoff_ms = s->backoff_ms * 2 < BACKOFF_MAX_MS ? s->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static void notify_unreachable(struct tcp_peers *p, uint64_t id, enum peer_stream kind)
{
    if (p->events && p->events->on_unreachable && !p->is_closing)
        p->events->on_unreachable(p->arg, id, kind);
}

/* --- callbacks of the connection ----------------------------------------------------------------------- */
static void peer_stream_on_open(struct conn *c)
{
    struct stream *s = c->owner;
    struct tcp_peers *p = c->p;
    peer_handshake_dial(c, &(struct wire_hello){.stream = (uint8_t)s->kind,
                                                .cluster_id = p->cluster_id,
                                                .from = p->self,
                                                .to = s->member->id});
}

/* Stores the address of a member: its own connections likely come from there. */
static void store_address(struct member *m, const struct conn *c)
{
    struct slice host = peer_conn_host(c);
    snprintf(m->address, sizeof m->address, "%.*s", (int)host.size, (const char *)host.data);
}

static void mark_up(struct stream *s, struct conn *c)
{
    struct tcp_peers *p = c->p;
    s->state = PEER_STREAM_UP;
    s->up_ms = peer_now_ms(p);
    s->is_refused = false;
    c->stage = WIRE_AWAIT_PONGS;
    wire_add_time(&c->out, WIRE_PING, p->io->ops->mono_ns(p->io));
    peer_conn_flush(c);
    peer_conn_timer(c, p->ping_ms);
    if (!s->is_up_reported)
        log_info("established TCP streaming connection with remote peer", F_HEX("local-member-id", p->self),
                 F_HEX("remote-peer-id", s->member->id), F_STR("stream-type", stream_names[s->kind]),
                 F_STR("remote-address", c->remote));
    s->is_up_reported = true;
    if (p->events && p->events->on_reachable)
        p->events->on_reachable(p->arg, s->member->id, s->kind);
}

/* A refusal is final only when the member that we dialed sends it, in our cluster. */
static void handle_refusal(struct stream *s, struct conn *c, const struct wire_reply *r)
{
    struct tcp_peers *p = c->p;
    uint64_t id = s->member->id;
    const char *text = wire_reason_text(r->reason);
    bool is_believed = !p->requires_proof || c->handshake->proof >= PEER_PROOF_TOKEN;
    bool is_final =
        is_believed && r->reason == WIRE_REMOVED && r->cluster_id == p->cluster_id && r->member_id == id;
    s->is_refused = true;
    if (peer_report_may_log(p, text, id))
        log_warn("remote peer refused our connection", F_STR("error", text),
                 F_HEX("local-member-id", p->self), F_HEX("local-member-cluster-id", p->cluster_id),
                 F_HEX("remote-peer-id", id), F_HEX("answered-by-member-id", r->member_id),
                 F_HEX("answered-by-cluster-id", r->cluster_id), F_STR("remote-address", c->remote));
    peer_conn_close(c, ERR_CLOSED, text);
    if (is_final && p->events && p->events->on_removed)
        p->events->on_removed(p->arg, id);
}

static void handle_pong(struct stream *s, struct conn *c, uint64_t time_ns)
{
    uint64_t now = c->p->io->ops->mono_ns(c->p->io);
    if (time_ns == 0 || time_ns > now)
        return;
    struct member *m = s->member;
    s->backoff_ms = BACKOFF_MIN_MS; /* the stream works in both directions: retry soon when it is lost */
    histogram_observe(&m->round_trips, RTT_FIRST, RTT_FACTOR, RTT_BUCKETS, (double)(now - time_ns) / 1e9);
    if (s->kind == PEER_STREAM_LOG)
        m->round_trip_ns = now - time_ns ? now - time_ns : 1;
}

static void handle_challenge(struct stream *s, struct conn *c, struct slice payload)
{
    int err = peer_handshake_read_challenge(c, payload);
    store_address(s->member, c);
    if (err == ERR_PERMISSION_DENIED) {
        s->is_refused = true;
        if (peer_report_may_log(c->p, "unproved", s->member->id))
            log_warn(
                "the process that listens at this member's peer URL did not prove that it is that member: "
                "it shows neither a token of ours nor a certificate",
                F_HEX("remote-peer-id", s->member->id), F_STR("remote-address", c->remote));
        peer_conn_close(c, err, "it did not prove that it is a member");
    } else if (err) {
        peer_conn_close(c, err, "bytes that are not of the peer protocol");
    } else {
        c->stage = WIRE_AWAIT_REPLY;
        peer_conn_timer(c, REPLY_MS);
        peer_handshake_add_proof(c);
    }
}

static void peer_stream_on_frame(struct conn *c, const struct wire_frame *frame)
{
    struct stream *s = c->owner;
    struct wire_reply reply;
    if (frame->kind == WIRE_PONG) {
        handle_pong(s, c, get_le64(frame->payload.data));
    } else if (frame->kind == WIRE_CHALLENGE) {
        handle_challenge(s, c, frame->payload);
    } else if (wire_read_reply(frame->payload, &reply) != OK) {
        peer_conn_close(c, ERR_MALFORMED, "bytes that are not of the peer protocol");
    } else if (reply.reason == WIRE_WELCOME && peer_level_is_low(c->p, reply.level)) {
        reply.reason = WIRE_LEVEL;
        handle_refusal(s, c, &reply);
    } else if (c->stage == WIRE_AWAIT_REPLY && reply.reason == WIRE_WELCOME &&
               reply.version == WIRE_VERSION && reply.member_id == s->member->id &&
               reply.cluster_id == c->p->cluster_id) {
        mark_up(s, c);
    } else {
        handle_refusal(s, c, &reply);
    }
}

static void on_conn_timer(struct conn *c)
{
    struct stream *s = c->owner;
    if (s->state == PEER_STREAM_DIALING) {
        peer_conn_close(c, ERR_TIMEOUT, "no answer in time");
    } else if (peer_conn_is_silent(c)) {
        peer_conn_close(c, ERR_TIMEOUT, "silent for too long");
    } else {
        wire_add_time(&c->out, WIRE_PING, c->p->io->ops->mono_ns(c->p->io));
        peer_conn_timer(c, c->p->ping_ms);
        peer_conn_flush(c);
    }
}

/* Chooses the next attempt. True: another address of the name, at once. False: the next URL, after a
 * delay. */
static bool choose_next_attempt(struct stream *s, const struct conn *c, bool was_up)
{
    if (!was_up && !s->is_refused && s->address + 1 < c->address_count) {
        s->address++;
        return true;
    }
    s->address = 0;
    if (!was_up && s->member->url_count)
        s->url = (s->url + 1) % s->member->url_count;
    return false;
}

/* After a line that says that a stream is lost, another line will say that it is back. */
static void log_loss(struct stream *s, const struct conn *c, bool was_up)
{
    struct tcp_peers *p = c->p;
    if (!peer_report_may_log(p, c->text, s->member->id ^ s->kind))
        return;
    s->is_up_reported = false;
    log_warn(was_up ? "lost TCP streaming connection with remote peer" : "failed to reach remote peer",
             F_STR("error", c->text), F_HEX("local-member-id", p->self),
             F_HEX("remote-peer-id", s->member->id), F_STR("stream-type", stream_names[s->kind]),
             F_STR("remote-address", c->remote));
}

static void peer_stream_on_closed(struct conn *c)
{
    struct stream *s = c->owner;
    struct member *m = s->member;
    struct tcp_peers *p = c->p;
    bool was_up = s->up_ms != 0;
    uint64_t id = m->id;
    enum peer_stream kind = s->kind;
    s->conn = NULL;
    m->sent_bytes += c->written_n;
    m->disconnects += was_up;
    s->up_ms = 0;
    if (was_up || !s->is_refused)
        log_loss(s, c, was_up);
    if (!m->url_count) {
        s->state = PEER_STREAM_IDLE;
    } else if (choose_next_attempt(s, c, was_up)) {
        peer_stream_wait_for(s, 0);
        return;
    } else if (s->redials_at_once) {
        peer_stream_wait_for(s, 0);
    } else {
        wait_with_backoff(s);
    }
    s->redials_at_once = false;
    notify_unreachable(p, id, kind);
}

static const struct conn_ops stream_ops = {peer_stream_on_open, peer_stream_on_frame, on_conn_timer,
                                           peer_stream_on_closed};

/* --- dialing ------------------------------------------------------------------------------------------- */
static void on_stream_timer(struct io_timer *t)
{
    struct stream *s = container_of(t, struct stream, timer);
    struct member *m = s->member;
    struct tcp_peers *p = m->p;
    assert(s->state == PEER_STREAM_WAITING && !s->conn);
    s->dialed_ms = peer_now_ms(p);
    s->is_refused = false;
    s->url = s->url < m->url_count ? s->url : 0;
    if (peer_conn_dial(p, m->urls[s->url], s->address, &stream_ops, s, &s->conn) == OK) {
        s->state = PEER_STREAM_DIALING;
        return;
    }
    if (peer_report_may_log(p, "bad url", m->id))
        log_warn("cannot dial this peer URL", F_HEX("remote-peer-id", m->id), F_STR("url", m->urls[s->url]));
    s->url = (s->url + 1) % m->url_count;
    wait_with_backoff(s);
    notify_unreachable(p, m->id, s->kind);
}

bool peer_stream_is_up(const struct stream *s)
{
    return s->state == PEER_STREAM_UP && s->conn->state == CONN_OPEN;
}

void peer_stream_start(struct stream *s)
{
    struct tcp_peers *p = s->member->p;
    s->timer.fire = on_stream_timer;
    if (s->state != PEER_STREAM_IDLE || !p->self || !s->member->url_count || s->member->id == p->self)
        return;
    s->backoff_ms = BACKOFF_MIN_MS;
    peer_stream_wait_for(s, 0);
}

/* Ends the wait, but not after a refusal: two members that refuse each other would retry without end. */
void peer_stream_retry_now(struct stream *s)
{
    uint64_t since = peer_now_ms(s->member->p) - s->dialed_ms;
    if (s->state == PEER_STREAM_WAITING && !s->is_refused) {
        s->backoff_ms = BACKOFF_MIN_MS;
        peer_stream_wait_for(s, since < BACKOFF_MIN_MS ? BACKOFF_MIN_MS - since : 0);
    } else if (s->conn && s->conn->state == CONN_CLOSING) {
        s->redials_at_once = true;
    } else if (s->conn && s->conn->state == CONN_CONNECTING && since > RETRY_NOW_MS) {
        s->redials_at_once =
            true; /* its packets were lost while the link was cut, and TCP's next retransmission
                                 would be late */
        peer_conn_close(s->conn, ERR_CLOSED, "replaced by a new attempt");
    }
}

void peer_stream_restart(struct stream *s)
{
    struct tcp_peers *p = s->member->p;
    s->url = s->address = 0;
    if (s->conn) {
        s->redials_at_once = true;
        peer_conn_close(s->conn, ERR_CLOSED, "its URLs or our identity have changed");
        return;
    }
    p->io->ops->timer_stop(p->io, &s->timer);
    s->state = PEER_STREAM_IDLE;
    peer_stream_start(s);
}

void peer_stream_done(struct stream *s)
{
    struct tcp_peers *p = s->member->p;
    p->io->ops->timer_stop(p->io, &s->timer);
    s->state = PEER_STREAM_IDLE;
    if (s->conn) {
        s->conn->owner = NULL;
        peer_conn_close(s->conn, ERR_CLOSED, "no longer a member");
        s->conn = NULL;
    }
}
