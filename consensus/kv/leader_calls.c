/* SPDX-License-Identifier: Apache-2.0
 * Calls to the leader: requests that only the leader can answer (how long a lease lives, whether a learner is
 * ready). Every other member passes such a request on to the leader, and its answer back.
 *
 *   CALL    type (1), then
 *             KEEP_ALIVE          any number of: number (8), lease id (8)
 *             LOG_END             number (8)
 *             any other           number (8), request
 *   REPLY   type (1), then
 *             KEEP_ALIVE          any number of: number (8), TTL (8)
 *             FAILED              number (8), name of the error
 *             LOG_END             number (8), index (8)
 *             REFUSED             number (8), name of the error
 *             any other           number (8), response
 *
 * Numbers, lease ids, TTLs and indices are big-endian, requests and responses protobuf. REFUSED answers no
 * call: a proposal with this number, which was passed on, is not taken (dropped_proposals.c). A leader that
 * holds proposals back does not answer LOG_END.
 *
 * 1. All calls that wait at the end of a turn leave; keep-alives go in one message.
 * 2. A number names one attempt and is never used again: a late answer finds no request.
 * 3. A call without an answer is sent again, to the leader of then. Each kind of call can be
 *    served twice without harm.
 * 4. The leader never passes a call on. */
#include "base/log.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/peer/codec.h"

#define CALL_RETRY_MS    500
#define CALLS_IN_MESSAGE 65536

enum call_type {
#define CALL(id, number, what) CALL_##id = number,
#include "consensus/call.def"
#undef CALL
};

/* Answers of this turn to one member's keep-alives. */
struct kv_replies {
    uint64_t to;
    struct buf rows;
};

static bool send_message(struct kv *kv, uint64_t to, enum codec_kind kind, enum call_type type,
                         struct slice body)
{
    uint8_t head[2] = {(uint8_t)kind, (uint8_t)type};
    return kv->peers->ops->send(kv->peers, to, PEER_STREAM_LOG, slice_of(head, 2), body);
}

static void add_number(struct buf *b, uint64_t number)
{
    put_be64(buf_reserve(b, 8), number);
    b->size += 8;
}

static void add_message(struct buf *b, const ProtobufCMessage *m)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    protobuf_c_message_pack(m, buf_reserve(b, size));
    b->size += size;
}

/* --- calls ------------------------------------------------------------------------------------------- */

void kv_start_call(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m)
{
    r->kind = kind;
    r->message = m;
    r->slices = NULL;
    r->begun_ns = 0; /* none of the requests that etcd times */
    r->started_ms = kv_now_ms(kv);
    r->state = KV_CALL_QUEUED;
    list_add_last(&kv->leader_calls.queued, &r->link);
}

static void note_sent(struct kv *kv, struct kv_request *r)
{
    list_remove(&r->link);
    r->id = kv_ring_add(&kv->leader_calls.ring, r);
    r->index = kv_turn_ms(kv);
    r->state = KV_CALL_SENT;
    list_add_last(&kv->leader_calls.sent, &r->link);
}

static enum call_type type_of(const struct kv_request *r)
{
    return r->kind == KV_KEEP_ALIVE     ? CALL_KEEP_ALIVE
           : r->kind == KV_TIME_TO_LIVE ? CALL_TIME_TO_LIVE
                                        : CALL_PROMOTE;
}

/* The connection takes it or loses it: it counts as sent, and is sent again when no answer comes. */
static void send_renewals(struct kv *kv, struct link *requests)
{
    struct buf *b = &kv->leader_calls.out;
    size_t count = 0;
    buf_clear(b);
    LIST_FOR_EACH_SAFE (l, requests) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        note_sent(kv, r);
        if (r->kind == KV_KEEP_ALIVE && count < CALLS_IN_MESSAGE) {
            add_number(b, r->id);
            add_number(b, (uint64_t)((const Etcdserverpb__LeaseKeepAliveRequest *)r->message)->id);
            count++;
        }
    }
    if (count)
        (void)send_message(kv, kv->state.leader, CODEC_CALL, CALL_KEEP_ALIVE, buf_slice(b));
}

/* The keys of a lease are the same on all members: only its time is asked of the leader. */
static bool reads_keys_here(const struct kv_request *r)
{
    return r->kind == KV_TIME_TO_LIVE && r->on_part &&
           ((const Etcdserverpb__LeaseTimeToLiveRequest *)r->message)->keys;
}

static void send_one(struct kv *kv, struct kv_request *r)
{
    const ProtobufCMessage *m = r->message;
    Etcdserverpb__LeaseTimeToLiveRequest time_alone = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    if (reads_keys_here(r)) {
        time_alone.id = ((const Etcdserverpb__LeaseTimeToLiveRequest *)r->message)->id;
        m = &time_alone.base;
    }
    note_sent(kv, r);
    buf_clear(&kv->leader_calls.out);
    add_number(&kv->leader_calls.out, r->id);
    add_message(&kv->leader_calls.out, m);
    (void)send_message(kv, kv->state.leader, CODEC_CALL, type_of(r), buf_slice(&kv->leader_calls.out));
}

/* A call that was queued under another leader; now this member leads. */
static void serve_here(struct kv *kv, struct kv_request *r)
{
    uint64_t started_ms = r->started_ms;
    list_remove(&r->link);
    if (r->kind == KV_MEMBER_PROMOTE)
        kv_member_promote(kv, r, (const Etcdserverpb__MemberPromoteRequest *)r->message);
    else
        kv_start_read(kv, r, (enum kv_kind)r->kind, r->message, false);
    r->started_ms = started_ms;
}

bool kv_send_calls(struct kv *kv)
{
    struct link renewals;
    if (list_is_empty(&kv->leader_calls.queued) || !kv->state.leader)
        return false;
    list_init(&renewals);
    LIST_FOR_EACH_SAFE (l, &kv->leader_calls.queued) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        if (kv->state.is_leader) {
            serve_here(kv, r);
        } else if (r->kind == KV_KEEP_ALIVE) {
            list_remove(l);
            list_add_last(&renewals, l);
        } else {
            send_one(kv, r);
        }
    }
    if (!list_is_empty(&renewals))
        send_renewals(kv, &renewals);
    return true;
}

void kv_forget_call(struct kv *kv, struct kv_request *r)
{
    if (kv_ring_find(&kv->leader_calls.ring, r->id) == r)
        kv_ring_clear(&kv->leader_calls.ring, r->id);
}

static void requeue(struct kv *kv, struct kv_request *r)
{
    kv_forget_call(kv, r);
    list_remove(&r->link);
    r->state = KV_CALL_QUEUED;
    list_add_last(&kv->leader_calls.queued, &r->link);
}

void kv_requeue_calls(struct kv *kv)
{
    LIST_FOR_EACH_SAFE (l, &kv->leader_calls.sent)
        requeue(kv, container_of(l, struct kv_request, link));
}

void kv_retry_calls(struct kv *kv)
{
    uint64_t now = kv_now_ms(kv);
    LIST_FOR_EACH_SAFE (l, &kv->leader_calls.sent) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        if (now - r->index < CALL_RETRY_MS)
            break;
        requeue(kv, r);
    }
}

/* --- answers ----------------------------------------------------------------------------------------- */

static void finish_keep_alive(struct kv *kv, struct kv_request *r, int64_t ttl)
{
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    kv_header(kv, store_revision(kv->store), &header);
    response.header = &header;
    response.id = ((const Etcdserverpb__LeaseKeepAliveRequest *)r->message)->id;
    response.ttl = ttl;
    kv_finish(kv, r, OK, &response.base);
}

static void finish_time_to_live(struct kv *kv, struct kv_request *r, struct slice body)
{
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__LeaseTimeToLiveResponse *response =
        etcdserverpb__lease_time_to_live_response__unpack(arena_allocator(&kv->arena), body.size, body.data);
    if (!response)
        return;
    if (reads_keys_here(r) && response->header && response->grantedttl > 0) {
        kv_cancel(kv, r);
        kv_scan_lease_keys(kv, r, response->header->revision, response->ttl, response->grantedttl);
        return;
    }
    kv_header(kv, store_revision(kv->store), &header);
    response->header = &header;
    kv_finish(kv, r, OK, &response->base);
}

static void finish_promote(struct kv *kv, struct kv_request *r, struct slice body)
{
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__MemberPromoteResponse *response =
        etcdserverpb__member_promote_response__unpack(arena_allocator(&kv->arena), body.size, body.data);
    if (!response)
        return;
    kv_header(kv, 0, &header);
    response->header = &header;
    kv_finish(kv, r, OK, &response->base);
}

/* Errors travel by name: numbers differ between versions of the table. */
static int error_of(struct slice name)
{
    for (int err = -1; err >= -(int)ERR_COUNT; err--)
        if (slice_equal(name, slice_text(err_name(err))))
            return err;
    return ERR_UNKNOWN;
}

/* The member does not lead (any more): the call is sent again a moment later, to the leader of then. */
static void finish_failed(struct kv *kv, struct kv_request *r, struct slice body)
{
    int err = error_of(body);
    if (err == ERR_NOT_LEADER || err == ERR_LEADER_CHANGED || err == ERR_NOT_PRIMARY_LESSOR)
        kv_ring_clear(&kv->leader_calls.ring, r->id); /* stays in the list of those that are sent again */
    else
        kv_finish(kv, r, err, NULL);
}

/* Has no request of a client: the number is all there is. */
void kv_query_log_end(struct kv *kv, uint64_t number)
{
    buf_clear(&kv->leader_calls.out);
    add_number(&kv->leader_calls.out, number);
    (void)send_message(kv, kv->state.leader, CODEC_CALL, CALL_LOG_END, buf_slice(&kv->leader_calls.out));
}

static void on_reply(struct kv *kv, enum call_type type, struct slice body)
{
    arena_reset(&kv->arena);
    if (type == CALL_KEEP_ALIVE) {
        for (; body.size >= 16; body = slice_of(body.data + 16, body.size - 16)) {
            struct kv_request *r = kv_ring_find(&kv->leader_calls.ring, get_be64(body.data));
            if (r && r->kind == KV_KEEP_ALIVE)
                finish_keep_alive(kv, r, (int64_t)get_be64(body.data + 8));
        }
        return;
    }
    if (body.size < 8)
        return;
    uint64_t number = get_be64(body.data);
    struct kv_request *r = kv_ring_find(&kv->leader_calls.ring, number);
    body = slice_of(body.data + 8, body.size - 8);
    if (type == CALL_REFUSED)
        kv_fail_refused(kv, number, error_of(body));
    else if (type == CALL_LOG_END && body.size == 8)
        kv_note_leader_log_end(kv, number, get_be64(body.data));
    if (!r || type == CALL_REFUSED || type == CALL_LOG_END)
        return;
    if (type == CALL_FAILED)
        finish_failed(kv, r, body);
    else if (type == CALL_TIME_TO_LIVE && r->kind == KV_TIME_TO_LIVE)
        finish_time_to_live(kv, r, body);
    else if (type == CALL_PROMOTE && r->kind == KV_MEMBER_PROMOTE)
        finish_promote(kv, r, body);
}

/* --- calls of other members --------------------------------------------------------------------------- */

/* One call, or one row of a message of them, in the place of a client's request. */
struct served {
    struct kv_request request;
    struct served_message *owner;
    uint64_t number;
    union {
        Etcdserverpb__LeaseKeepAliveRequest keep_alive;
        ProtobufCMessage *message;
    } u;
};

struct served_message {
    struct kv *kv;
    uint64_t from;
    enum call_type type;
    size_t left;
    struct served rows[];
};

static struct buf *replies_to(struct kv *kv, uint64_t to)
{
    for (size_t i = 0; i < kv->leader_calls.reply_count; i++)
        if (kv->leader_calls.replies[i].to == to)
            return &kv->leader_calls.replies[i].rows;
    kv->leader_calls.replies = mem_resize(kv->leader_calls.replies, (kv->leader_calls.reply_count + 1) *
                                                                        sizeof *kv->leader_calls.replies);
    kv->leader_calls.replies[kv->leader_calls.reply_count] = (struct kv_replies){.to = to};
    return &kv->leader_calls.replies[kv->leader_calls.reply_count++].rows;
}

static void send_error(struct kv *kv, uint64_t to, enum call_type type, uint64_t number, int err)
{
    buf_clear(&kv->leader_calls.out);
    add_number(&kv->leader_calls.out, number);
    buf_add_text(&kv->leader_calls.out, err_name(err));
    (void)send_message(kv, to, CODEC_REPLY, type, buf_slice(&kv->leader_calls.out));
}

static void fail_call(struct kv *kv, uint64_t to, uint64_t number, int err)
{
    send_error(kv, to, CALL_FAILED, number, err);
}

void kv_send_refusal(struct kv *kv, uint64_t member, uint64_t number, int err)
{
    send_error(kv, member, CALL_REFUSED, number, err);
}

static void answer_log_end(struct kv *kv, uint64_t to, uint64_t number)
{
    if (node_has_queued(kv->node))
        return;
    buf_clear(&kv->leader_calls.out);
    add_number(&kv->leader_calls.out, number);
    add_number(&kv->leader_calls.out, node_last_index(kv->node));
    (void)send_message(kv, to, CODEC_REPLY, CALL_LOG_END, buf_slice(&kv->leader_calls.out));
}

static void answer_call(struct served *s, int err, const ProtobufCMessage *response)
{
    struct served_message *m = s->owner;
    struct kv *kv = m->kv;
    if (err) {
        fail_call(kv, m->from, s->number, err);
    } else if (m->type == CALL_KEEP_ALIVE) {
        struct buf *rows = replies_to(kv, m->from);
        add_number(rows, s->number);
        add_number(rows, (uint64_t)((const Etcdserverpb__LeaseKeepAliveResponse *)response)->ttl);
    } else {
        buf_clear(&kv->leader_calls.out);
        add_number(&kv->leader_calls.out, s->number);
        add_message(&kv->leader_calls.out, response);
        (void)send_message(kv, m->from, CODEC_REPLY, m->type, buf_slice(&kv->leader_calls.out));
    }
}

static void on_served(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct served *s = container_of(r, struct served, request);
    struct served_message *m = s->owner;
    if (!kv_is_closing(m->kv))
        answer_call(s, err, response);
    if (m->type != CALL_KEEP_ALIVE)
        protobuf_c_message_free_unpacked(s->u.message, NULL);
    if (--m->left == 0)
        mem_free(m);
}

bool kv_is_from_member(const struct kv_request *r)
{
    return r->done == on_served;
}

static struct served_message *new_served(struct kv *kv, uint64_t from, enum call_type type, size_t count)
{
    struct served_message *m = mem_new(sizeof *m + count * sizeof m->rows[0]);
    *m = (struct served_message){.kv = kv, .from = from, .type = type, .left = count};
    for (size_t i = 0; i < count; i++) {
        m->rows[i].owner = m;
        m->rows[i].request.done = on_served;
    }
    return m;
}

static void serve_keep_alives(struct kv *kv, uint64_t from, struct slice body)
{
    size_t count = body.size / 16;
    if (count == 0 || count > CALLS_IN_MESSAGE)
        return;
    struct served_message *m = new_served(kv, from, CALL_KEEP_ALIVE, count);
    for (size_t i = 0; i < count; i++) {
        struct served *s = &m->rows[i];
        s->number = get_be64(body.data + i * 16);
        etcdserverpb__lease_keep_alive_request__init(&s->u.keep_alive);
        s->u.keep_alive.id = (int64_t)get_be64(body.data + i * 16 + 8);
        kv_lease_keep_alive(kv, &s->request, &s->u.keep_alive);
    }
}

static void serve_one(struct kv *kv, uint64_t from, enum call_type type, uint64_t number, struct slice body)
{
    const ProtobufCMessageDescriptor *descriptor =
        type == CALL_PROMOTE ? &etcdserverpb__member_promote_request__descriptor
                             : &etcdserverpb__lease_time_to_live_request__descriptor;
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, body.size, body.data);
    if (!message)
        return;
    struct served *s = new_served(kv, from, type, 1)->rows;
    s->number = number;
    s->u.message = message;
    if (type == CALL_PROMOTE)
        kv_member_promote(kv, &s->request, (const Etcdserverpb__MemberPromoteRequest *)message);
    else
        kv_lease_time_to_live(kv, &s->request, (const Etcdserverpb__LeaseTimeToLiveRequest *)message);
}

static void on_call(struct kv *kv, uint64_t from, enum call_type type, struct slice body)
{
    if (body.size < 8)
        return;
    if (!kv->state.is_leader) {
        size_t step = type == CALL_KEEP_ALIVE ? 16 : body.size;
        for (; body.size >= step; body = slice_of(body.data + step, body.size - step))
            fail_call(kv, from, get_be64(body.data), ERR_NOT_LEADER);
    } else if (type == CALL_KEEP_ALIVE) {
        serve_keep_alives(kv, from, body);
    } else if (type == CALL_LOG_END) {
        answer_log_end(kv, from, get_be64(body.data));
    } else if (type == CALL_TIME_TO_LIVE || type == CALL_PROMOTE) {
        serve_one(kv, from, type, get_be64(body.data), slice_of(body.data + 8, body.size - 8));
    }
}

/* --- messages and the end ---------------------------------------------------------------------------- */

void kv_leader_calls_on_message(struct kv *kv, uint64_t from, bool is_reply, struct slice body)
{
    if (body.size < 1)
        return;
    enum call_type type = (enum call_type)body.data[0];
    body = slice_of(body.data + 1, body.size - 1);
    if (is_reply)
        on_reply(kv, type, body);
    else
        on_call(kv, from, type, body);
}

void kv_send_replies(struct kv *kv)
{
    for (size_t i = 0; i < kv->leader_calls.reply_count; i++) {
        struct kv_replies *r = &kv->leader_calls.replies[i];
        if (r->rows.size)
            (void)send_message(kv, r->to, CODEC_REPLY, CALL_KEEP_ALIVE, buf_slice(&r->rows));
        buf_clear(&r->rows);
    }
}

uint64_t kv_new_call_number(struct kv *kv)
{
    uint64_t number = kv_ring_add(&kv->leader_calls.ring, NULL);
    kv_ring_clear(&kv->leader_calls.ring, number);
    return number;
}

void kv_expire_calls(struct kv *kv)
{
    kv_expire_list(kv, &kv->leader_calls.queued);
    kv_expire_list(kv, &kv->leader_calls.sent);
}

void kv_leader_calls_stop(struct kv *kv)
{
    kv_stop_list(kv, &kv->leader_calls.queued);
    kv_stop_list(kv, &kv->leader_calls.sent);
}

void kv_leader_calls_init(struct kv_leader_calls *c, uint64_t first_number)
{
    kv_ring_init(&c->ring, first_number);
    list_init(&c->queued);
    list_init(&c->sent);
}

void kv_leader_calls_done(struct kv_leader_calls *c)
{
    kv_ring_done(&c->ring);
    for (size_t i = 0; i < c->reply_count; i++)
        buf_done(&c->replies[i].rows);
    mem_free(c->replies);
    buf_done(&c->out);
}
