/* SPDX-License-Identifier: Apache-2.0
 * The life of a call between a transport and a service: counting, checks before decoding, decoding, encoding
 * into one scratch buffer, the list of running streams, draining.
 *
 * Invariant: a call is finished exactly once, by rpc_finish*, rpc_cancel* or rpc_abort. From then on nothing
 * here touches it, because the transport may have freed it inside its finish callback. A function that must
 * know whether the call survived a handler holds a frame: finishing a call empties its frames. */
#include <assert.h>
#include <stdio.h>

#include "base/buf_release.h"
#include "base/clock.h"
#include "base/log_limit.h"
#include "base/text.h"
#include "base/turn_queue.h"
#include "server/auth/identity.h"
#include "server/rpc/service.h"

enum {
    SCRATCH_KEEP = 256 * 1024, /* a larger message's memory is given back */
    LEADERLESS_TICKS_MAX = 3,
    EARLY_MAX = 64 * 1024,      /* bytes of a stream's messages while its token is not known yet */
    AUTHORIZED_PER_TURN = 1024, /* open calls checked in one turn after rights changed: about 0.5 ms */
    COARSE_IS_FINE_NS = 100 * 1000 * 1000,
};

/* A function of this file that is running a handler of `call`; NULL once the call is finished. */
struct frame {
    struct rpc_call *call;
    struct frame *outer;
};

static struct frame *frames;
static struct buf scratch;

static void frame_enter(struct frame *f, struct rpc_call *c)
{
    *f = (struct frame){.call = c, .outer = frames};
    frames = f;
}

/* True if the call still exists. */
static bool frame_leave(struct frame *f)
{
    assert(frames == f);
    frames = f->outer;
    return f->call != NULL;
}

static void lists_init(struct rpc_server *s)
{
    if (s->streams.next)
        return;
    list_init(&s->streams);
    list_init(&s->awake);
    list_init(&s->composing);
}

/* The log of slow calls alone does not need better than a few milliseconds. */
static uint64_t now_ns(const struct rpc_server *s)
{
    return rpc_metrics_want_time() || s->slow_call_ns < COARSE_IS_FINE_NS ? clock_mono_ns()
                                                                          : clock_coarse_ns();
}

static void log_slow(const struct rpc_call *c, int grpc_status, uint64_t took_ns)
{
    log_warn("request stats", F_STR("remote", c->peer ? c->peer : ""),
             F_STR("response type", c->method->path), F_DOUBLE("time spent seconds", (double)took_ns / 1e9),
             F_INT("status", grpc_status));
}

/* Ends a call on our side. The caller notifies the transport, if needed. */
static void end_call(struct rpc_call *c, int grpc_status)
{
    assert(!c->is_finished);
    c->is_finished = true;
    list_remove(&c->link);
    list_remove(&c->awake);
    mem_free(c->holder_user);
    c->holder_user = NULL;
    c->server->calls--;
    for (struct frame *f = frames; f; f = f->outer)
        if (f->call == c)
            f->call = NULL;
    uint64_t took_ns = c->started_ns ? now_ns(c->server) - c->started_ns : 0;
    rpc_count_handled(c->method, grpc_status, took_ns);
    if (c->server->slow_call_ns && took_ns > c->server->slow_call_ns && c->method->kind == RPC_UNARY)
        log_slow(c, grpc_status, took_ns);
}

/* Releases what the call holds in the store and the service. */
static void rpc_release(struct rpc_call *c)
{
    if (c->is_waiting) {
        c->is_waiting = false;
        kv_cancel(c->server->kv, &c->request);
    }
    buf_release(&c->gathered);
    buf_done(&c->early);
    if (c->cancel)
        c->cancel(c);
    if (c->method->on_cancel && c->has_message)
        c->method->on_cancel(c);
}

/* Rejects a message with INTERNAL, as grpc-go. The text may live in the call's arena. */
static void rpc_reject(struct rpc_call *c, const char *text)
{
    rpc_release(c);
    rpc_finish_text(c, 13, text);
}

/* Methods whose calls end only when the client ends them, or other clients release a key. */
static bool is_endless(const struct rpc_method *m)
{
    return m->kind == RPC_BIDI || (m->kind == RPC_UNARY && m->on_cancel) ||
           m->on_message == rpc_observe_message;
}

static bool may_stay_open(const struct rpc_method *m)
{
    return m->kind != RPC_UNARY || is_endless(m);
}

/* --- rights of calls that are open ----------------------------------------------------------------- */

/* OK, or the error with which an open call must end. The keys that it reads are checked where they are
 * read: watchers by the hub, a range for each of its parts, a lease for each of its messages. */
static int why_over(const struct rpc_call *c)
{
    const struct kv *kv = c->server->kv;
    enum rpc_access access = c->method->access;
    if (!kv_auth_is_enabled(kv) || access == RPC_NOBODY || !c->has_message || c->is_held)
        return OK;
    int err = access == RPC_ROOT ? kv_auth_check_admin(kv, &c->holder) : kv_auth_check_user(kv, &c->holder);
    if (err == ERR_USER_EMPTY && c->method->on_message == rpc_watch_message)
        return OK; /* its watchers are canceled one by one */
    return err == ERR_USER_NOT_FOUND || err == ERR_AUTH_OLD_REVISION ? ERR_INVALID_AUTH_TOKEN : err;
}

/* False: the call has lost the right to stay open, and has ended. The calls that are not yet checked are
 * the first of server->streams. */
static bool rpc_authorize_open(struct rpc_call *c)
{
    c->authorized_epoch = kv_auth_epoch(c->server->kv);
    int err = why_over(c);
    if (link_is_in_list(&c->link)) {
        list_remove(&c->link);
        list_add_last(&c->server->streams, &c->link);
    }
    if (!err)
        return true;
    log_info("a stream has lost its right to stay open", F_STR("method", c->method->path), F_ERR(err),
             F_STR("remote", c->peer ? c->peer : ""));
    rpc_abort(c, err);
    return false;
}

static bool is_authorized(struct rpc_call *c)
{
    return c->authorized_epoch == kv_auth_epoch(c->server->kv) || !may_stay_open(c->method) ||
           rpc_authorize_open(c);
}

/* Checks idle calls too. True: there are more to check. */
static bool authorize_some(struct rpc_server *s)
{
    if (list_is_empty(&s->streams))
        return false;
    uint64_t epoch = kv_auth_epoch(s->kv);
    for (unsigned i = 0; i < AUTHORIZED_PER_TURN && !list_is_empty(&s->streams); i++) {
        struct rpc_call *c = container_of(s->streams.next, struct rpc_call, link);
        if (c->authorized_epoch == epoch)
            return false;
        rpc_authorize_open(c);
    }
    return !list_is_empty(&s->streams) &&
           container_of(s->streams.next, struct rpc_call, link)->authorized_epoch != epoch;
}

const char *rpc_watch_refusal(int err)
{
    static char text[160];
    if (err != ERR_INVALID_AUTH_TOKEN && err != ERR_AUTH_OLD_REVISION && err != ERR_USER_EMPTY)
        err = ERR_PERMISSION_DENIED;
    snprintf(text, sizeof text, "rpc error: code = %s desc = %s", rpc_status_name(err_grpc(err)),
             err_text(err));
    return text;
}

static const char *authorize_watcher(void *arg, struct slice key, struct slice range_end)
{
    struct rpc_call *c = arg;
    int err = kv_auth_check_range(c->server->kv, &c->holder, key, range_end, false);
    return err ? rpc_watch_refusal(err) : NULL;
}

static void on_watch_ready(void *arg)
{
    rpc_wake(arg);
}

struct watch_stream *rpc_watch_open(struct rpc_call *c)
{
    struct watch_stream *s = kv_watch_open(c->server->kv, on_watch_ready, c);
    watch_stream_set_permission_check(s, authorize_watcher);
    return s;
}

/* --- for transports -------------------------------------------------------------------------------- */
/* A learner serves Status, serializable ranges (Range looks at that itself) and snapshots only. */
static bool is_served_by_learner(const struct rpc_method *m)
{
    return m->on_message == rpc_kv_range || m->on_message == rpc_status ||
           m->on_message == rpc_snapshot_message;
}

/* etcd's interceptors, in their order. */
void rpc_start(struct rpc_call *c)
{
    struct rpc_server *s = c->server;
    lists_init(s);
    s->calls++;
    if (s->slow_call_ns || rpc_metrics_want_time())
        c->started_ns = now_ns(s);
    rpc_count_started(c->method);
    c->authorized_epoch = kv_auth_epoch(s->kv);
    if (may_stay_open(c->method))
        list_add_last(&s->streams, &c->link);
    if (kv_is_learner(s->kv) && !is_served_by_learner(c->method)) {
        rpc_finish(c, ERR_NOT_SUPPORTED_FOR_LEARNER);
        return;
    }
    if (c->client_api_version.size && !utf8_is_valid(c->client_api_version)) {
        rpc_finish(c, ERR_INVALID_CLIENT_API_VERSION);
        return;
    }
    rpc_count_request(c->method, c->client_api_version);
    if (c->has_leader_required && kv_leader(s->kv) == 0) {
        rpc_finish(c, ERR_NO_LEADER);
        return;
    }
    if (s->is_draining && is_endless(c->method))
        rpc_finish(c, ERR_STOPPED);
}

/* --- who it is from: only while auth is enabled --------------------------------------------------------- */

/* OK with c->who set, or the error of the credentials. */
static int identify(struct rpc_call *c)
{
    const struct identity_shown shown = {.token = c->token,
                                         .common_name = c->is_gateway ? NULL : c->common_name};
    struct rpc_server *s = c->server;
    c->who = (struct auth_who){0};
    c->who_err = OK;
    if (c->method->access == RPC_NOBODY)
        return OK;
    int err = s->identity ? identity_of(s->identity, &shown, &c->arena, &c->who) : OK;
    if (err == ERR_NOT_READY)
        return err;
    if (!err && c->method->access == RPC_USER && !c->who.revision)
        err = ERR_USER_EMPTY;
    if (!err && c->method->access == RPC_ROOT)
        err = kv_auth_check_admin(s->kv, &c->who);
    if (err == ERR_INVALID_AUTH_TOKEN) {
        static struct log_limit limit;
        log_warn_limited(&limit, s->mono_ms(), "invalid auth token", F_STR("remote", c->peer ? c->peer : ""));
    }
    if (c->method->access != RPC_EACH)
        return err;
    c->who_err = err;
    return OK;
}

/* In a call that may stay open the author is kept after its message. From then on its current permissions
 * count, and the credential counts until it is void. */
static void keep_author(struct rpc_call *c)
{
    if (!may_stay_open(c->method) || c->who_err)
        return;
    void *old = c->holder_user;
    c->holder_user = mem_copy(c->who.user.data, c->who.user.size);
    c->holder = (struct auth_who){.user = slice_of(c->holder_user, c->who.user.size),
                                  .revision = c->who.revision,
                                  .is_renewed = c->who.revision != 0};
    mem_free(old);
}

static void rpc_hand_over(struct rpc_call *c, const ProtobufCMessage *m);

/* Delivers held messages in their order. They were checked and counted when they came. */
static void hand_over_early(struct rpc_call *c)
{
    struct buf early = buf_move(&c->early);
    struct frame f;
    bool is_there = true;
    for (size_t at = 0; at < early.size && is_there;) {
        size_t size = get_be32(early.data + at);
        const uint8_t *bytes = early.data + at + 4;
        at += 4 + size;
        frame_enter(&f, c);
        rpc_hand_over(c,
                      protobuf_c_message_unpack(c->method->request, arena_allocator(&c->arena), size, bytes));
        is_there = frame_leave(&f);
    }
    buf_done(&early);
    if (is_there && c->is_held_closed)
        rpc_half_close(c);
}

static void on_token_known(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    (void)m;
    c->is_waiting = c->is_held = false;
    c->is_token_old = true;
    if (err && err != ERR_TIMEOUT)
        rpc_finish(c, err);
    else if (c->method->kind == RPC_BIDI)
        hand_over_early(c);
    else
        rpc_hand_over(c, c->held);
}

/* The log entry that made the token is not applied on this member yet. */
static void hold_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    c->is_held = c->is_waiting = true;
    c->held = m;
    c->request.done = on_token_known;
    kv_auth_wait(c->server->kv, &c->request, c->token);
}

static void keep_early(struct rpc_call *c, const ProtobufCMessage *m)
{
    uint8_t head[4];
    size_t size = protobuf_c_message_get_packed_size(m);
    if (c->early.size + size > EARLY_MAX) {
        rpc_abort(c, ERR_TOO_MANY_REQUESTS);
        return;
    }
    put_be32(head, (uint32_t)size);
    buf_add(&c->early, head, sizeof head);
    protobuf_c_message_pack(m, buf_reserve(&c->early, size));
    c->early.size += size;
}

/* --- messages ------------------------------------------------------------------------------------------ */

static bool is_same_author(const struct rpc_call *c)
{
    return c->who.revision == c->holder.revision && slice_equal(c->who.user, c->holder.user);
}

static void rpc_hand_over(struct rpc_call *c, const ProtobufCMessage *m)
{
    int err = OK;
    rpc_audit_begin(c, m);
    if (kv_auth_is_enabled(c->server->kv))
        err = identify(c);
    else if (c->who.revision)
        c->who = (struct auth_who){0};
    rpc_audit_identified(c);
    if (err == ERR_NOT_READY && !c->is_token_old) {
        hold_message(c, m);
        if (c->method->kind == RPC_BIDI)
            keep_early(c, m);
        return;
    }
    if (err) {
        rpc_finish(c, err == ERR_NOT_READY ? ERR_INVALID_AUTH_TOKEN : err);
        return;
    }
    if (!is_same_author(c))
        keep_author(c);
    struct frame f;
    frame_enter(&f, c);
    c->method->on_message(c, m);
    if (frame_leave(&f) && c->method->kind == RPC_BIDI)
        arena_reset(&c->arena);
}

void rpc_receive_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    if (c->is_finished)
        return;
    if (c->has_message && c->method->kind != RPC_BIDI) {
        rpc_reject(c, "cardinality violation: received multiple request messages for a call that takes one");
        return;
    }
    c->has_message = true;
    c->server->received++;
    rpc_count_received(c->method);
    if (c->is_held) {
        keep_early(c, m);
        return;
    }
    rpc_hand_over(c, m);
}

static ProtobufCMessage *rpc_decode(struct rpc_call *c, struct slice bytes)
{
    return protobuf_c_message_unpack(c->method->request, arena_allocator(&c->arena), bytes.size, bytes.data);
}

void rpc_receive(struct rpc_call *c, struct slice message)
{
    if (c->is_finished)
        return;
    uint64_t ops_max = c->server->txn_ops_max;
    bool has_surplus;
    struct buf trimmed = {0};
    const char *wrong = rpc_message_check(c->method->request, message, ops_max, &has_surplus);
    ProtobufCMessage *m = NULL;
    if (!wrong && has_surplus) {
        rpc_message_trim(c->method->request, message, ops_max, &trimmed);
        message = buf_slice(&trimmed);
    }
    if (!wrong) {
        m = rpc_decode(c, message);
        if (!m)
            wrong = "proto: cannot parse invalid wire-format data";
    }
    buf_done(&trimmed);
    if (wrong) {
        const char *what = c->method->kind == RPC_UNARY ? "grpc: error unmarshalling request"
                                                        : "grpc: failed to unmarshal the received message";
        rpc_reject(c, arena_printf(&c->arena, "%s: %s", what, wrong));
        return;
    }
    rpc_receive_message(c, m);
}

void rpc_half_close(struct rpc_call *c)
{
    if (c->is_finished)
        return;
    if (c->method->kind != RPC_BIDI) {
        if (!c->has_message)
            rpc_reject(c, "cardinality violation: received no request message for a call that takes one");
        return;
    }
    if (c->is_held)
        c->is_held_closed = true;
    else if (c->method->on_half_close)
        c->method->on_half_close(c);
}

void rpc_writable(struct rpc_call *c)
{
    if (c->is_finished || !c->has_message || c->is_held || !is_authorized(c))
        return;
    if (c->method->on_writable)
        c->method->on_writable(c);
    else if (c->is_waiting)
        kv_resume(c->server->kv, &c->request);
}

void rpc_cancel_as(struct rpc_call *c, int err)
{
    if (c->is_finished)
        return;
    rpc_release(c);
    end_call(c, err_grpc(err));
}

void rpc_cancel(struct rpc_call *c)
{
    rpc_cancel_as(c, ERR_CANCELED);
}

/* --- for services ----------------------------------------------------------------------------------- */
void rpc_send_pieces(struct rpc_call *c, const struct slice *pieces, size_t count)
{
    assert(!c->is_finished);
    rpc_count_sent(c->method);
    c->transport->send(c, pieces, count);
}

void rpc_send(struct rpc_call *c, const ProtobufCMessage *m)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    buf_clear(&scratch);
    struct slice piece = {buf_reserve(&scratch, size), size};
    protobuf_c_message_pack(m, scratch.data);
    rpc_send_pieces(c, &piece, 1);
    if (scratch.capacity > SCRATCH_KEEP)
        buf_done(&scratch);
}

void rpc_finish_text(struct rpc_call *c, int grpc_status, const char *text)
{
    end_call(c, grpc_status);
    c->transport->finish(c, grpc_status, text);
}

void rpc_finish(struct rpc_call *c, int err)
{
    if (c->change)
        rpc_audit_end(c, err);
    rpc_finish_text(c, err_grpc(err), err_text(err));
}

void rpc_reply(struct rpc_call *c, int err, const ProtobufCMessage *m)
{
    if (!err)
        rpc_send(c, m);
    rpc_finish(c, err);
}

void rpc_abort(struct rpc_call *c, int err)
{
    rpc_release(c);
    rpc_finish(c, err);
}

bool rpc_is_congested(const struct rpc_call *c)
{
    return c->transport->is_congested(c);
}

/* --- long answers, as the store makes them ----------------------------------------------------------- */
static struct buf *store_answer(struct kv_request *r)
{
    struct buf *b = &container_of(r, struct rpc_call, request)->gathered;
    if (b->size == 0)
        b->size = (size_t)(buf_reserve(b, RPC_FRAME_ROOM) + RPC_FRAME_ROOM - b->data);
    return b;
}

struct buf *rpc_gathered(struct rpc_call *c)
{
    return store_answer(&c->request);
}

static void rpc_gather(struct rpc_call *c, const ProtobufCMessage *part)
{
    struct buf *b = store_answer(&c->request);
    protobuf_c_message_pack(part, buf_reserve(b, protobuf_c_message_get_packed_size(part)));
    b->size += protobuf_c_message_get_packed_size(part);
}

static bool store_part(struct kv_request *r, const ProtobufCMessage *part)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    if (part)
        rpc_gather(c, part);
    else
        buf_clear(&c->gathered);
    return c->gathered.size <= INT32_MAX;
}

void rpc_send_gathered(struct rpc_call *c)
{
    struct slice message = slice_of(c->gathered.data + RPC_FRAME_ROOM, c->gathered.size - RPC_FRAME_ROOM);
    if (c->transport->send_whole) {
        rpc_count_sent(c->method);
        c->transport->send_whole(c, &c->gathered);
    } else {
        rpc_send_pieces(c, &message, 1);
        buf_done(&c->gathered);
    }
}

/* The answer of most puts is only a header, which is encoded by hand. */
static bool reply_put(struct rpc_call *c, int err, const ProtobufCMessage *response)
{
    if (err || response->descriptor != &etcdserverpb__put_response__descriptor)
        return false;
    const Etcdserverpb__PutResponse *r = (const Etcdserverpb__PutResponse *)response;
    if (r->prev_kv)
        return false;
    uint8_t bytes[RPC_HEADER_MAX];
    struct slice piece = slice_of(bytes, rpc_header_encode(r->header, bytes));
    rpc_send_pieces(c, &piece, 1);
    rpc_finish(c, OK);
    return true;
}

void rpc_store_reply(struct rpc_call *c, int err, const ProtobufCMessage *response)
{
    c->is_waiting = false;
    if (c->gathered.size == 0) {
        if (!reply_put(c, err, response))
            rpc_reply(c, err, response);
        return;
    }
    if (err == OK) {
        rpc_gather(c, response);
        rpc_send_gathered(c);
    } else {
        buf_done(&c->gathered);
    }
    rpc_finish(c, err);
}

static void store_done(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    rpc_store_reply(container_of(r, struct rpc_call, request), err, response);
}

static bool rpc_has_room(const struct kv_request *r)
{
    const struct rpc_call *c = (const void *)((uintptr_t)r - offsetof(struct rpc_call, request));
    return !rpc_is_congested(c);
}

struct kv_request *rpc_store_request(struct rpc_call *c)
{
    c->is_waiting = true;
    c->request.done = store_done;
    c->request.has_room = rpc_has_room;
    c->request.on_part = store_part;
    c->request.answer = store_answer;
    c->request.who = &c->who;
    c->request.author = c->author;
    return &c->request;
}

void rpc_header_now(const struct rpc_call *c, Etcdserverpb__ResponseHeader *ret_header)
{
    kv_header(c->server->kv, kv_revision(c->server->kv), ret_header);
}

static size_t rpc_put_varint(uint8_t *p, uint8_t tag, uint64_t v)
{
    if (!v)
        return 0;
    size_t n = 0;
    p[n++] = tag;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

size_t rpc_header_encode(const Etcdserverpb__ResponseHeader *header, uint8_t *ret_bytes)
{
    size_t n = 2;
    n += rpc_put_varint(ret_bytes + n, 1 << 3, header->cluster_id);
    n += rpc_put_varint(ret_bytes + n, 2 << 3, header->member_id);
    n += rpc_put_varint(ret_bytes + n, 3 << 3, (uint64_t)header->revision);
    n += rpc_put_varint(ret_bytes + n, 4 << 3, header->raft_term);
    ret_bytes[0] = 1 << 3 | 2;
    ret_bytes[1] = (uint8_t)(n - 2);
    assert(n <= RPC_HEADER_MAX);
    return n;
}

/* --- the server's turn ------------------------------------------------------------------------------- */
void rpc_wake(struct rpc_call *c)
{
    if (!link_is_in_list(&c->awake))
        list_add_last(&c->server->awake, &c->awake);
}

bool rpc_server_turn(struct rpc_server *s)
{
    lists_init(s);
    struct link now;
    uint64_t share = turn_share();
    list_init(&now);
    list_move_all(&now, &s->awake);
    for (struct link *l; (l = list_take_first(&now));) {
        struct rpc_call *c = container_of(l, struct rpc_call, awake);
        if (is_authorized(c))
            c->method->on_writable(c);
        if (turn_share_is_spent(share))
            break;
    }
    list_move_all(&now, &s->awake); /* calls that had no time are the first of the next turn */
    list_move_all(&s->awake, &now);
    bool has_unchecked = authorize_some(s);
    return has_unchecked || !list_is_empty(&s->awake);
}

void rpc_server_tick(struct rpc_server *s)
{
    lists_init(s);
    if (kv_leader(s->kv) != 0) {
        s->leaderless_ticks = 0;
        return;
    }
    if (++s->leaderless_ticks < LEADERLESS_TICKS_MAX)
        return;
    LIST_FOR_EACH_SAFE (l, &s->streams) {
        struct rpc_call *c = container_of(l, struct rpc_call, link);
        if (c->has_leader_required && c->method->kind != RPC_UNARY)
            rpc_abort(c, ERR_NO_LEADER);
    }
}

void rpc_server_drain(struct rpc_server *s)
{
    lists_init(s);
    s->is_draining = true;
    rpc_health_changed(s);
    LIST_FOR_EACH_SAFE (l, &s->streams) {
        struct rpc_call *c = container_of(l, struct rpc_call, link);
        if (is_endless(c->method) || c->method->on_message == rpc_health_watch_message)
            rpc_abort(c, ERR_STOPPED);
    }
}
