/* SPDX-License-Identifier: Apache-2.0
 * Listeners of a configuration, on all members: this member's watches, and the others' by a member RPC
 * (kv_member_rpc_to_all). A member without an answer counts as silent, but not one that was never started. */
#include "config/config_private.h"
#include "config/listen_wire.h"

enum {
    LISTENERS_MAX = 100000, /* of one member in an answer */
    ANSWER_SIZE_MAX = KV_MEMBER_RPC_BYTES_MAX - 4096,
    RPC_TIMEOUT_MS = 2000,
};

/* --- this member ---------------------------------------------------------------------------------------- */

struct listener_list {
    const struct config_item *item; /* NULL = it does not exist */
    struct arena *arena;
    struct config_listener *list;
    size_t count, capacity, left_out;
};

static void config_listen_add(void *arg, const struct config_watch *w, const struct config_state *state)
{
    struct listener_list *l = arg;
    const struct config_subscriber *s = w->subscriber;
    if (l->count == LISTENERS_MAX) {
        l->left_out++;
        return;
    }
    if (l->count == l->capacity) {
        struct config_listener *list = arena_alloc(l->arena, (l->capacity * 2 + 16) * sizeof *list);
        if (l->count)
            memcpy(list, l->list, l->count * sizeof *list);
        l->list = list;
        l->capacity = l->capacity * 2 + 16;
    }
    struct config_listener *listener = &l->list[l->count++];
    *listener = (struct config_listener){.client_id = s->client_id,
                                         .peer = slice_text(s->peer ? s->peer : ""),
                                         .transport = slice_text(s->transport ? s->transport : ""),
                                         .labels = s->labels,
                                         .since_ms = w->since_ms};
    if (l->item)
        listener->chosen = config_choose(l->item, &s->labels, gray_address(s->peer), s->client_id);
    if (l->item && w->sent_revision >= l->item->revision)
        listener->sent = listener->chosen;
    if (!state)
        return;
    if (state->sent)
        listener->sent = state->sent;
    listener->applied = state->applied;
    listener->rejected = state->rejected;
    listener->error = slice_text(state->error ? state->error : "");
}

static void write_own(struct config *c, const struct config_id *key, size_t size_max, struct buf *out)
{
    struct arena a = {0};
    struct listener_list l = {.item = config_find(c, key), .arena = &a};
    config_each_listener(c, key, config_listen_add, &l);
    struct listen_answer answer = {slice_text(c->options.member), l.left_out, l.list, l.count};
    listen_write_answer(&answer, size_max, out);
    arena_done(&a);
}

static void on_listener_query(void *arg, struct kv_member_request *request, struct slice bytes)
{
    struct config *c = arg;
    struct config_id key;
    struct buf out = {0};
    if (listen_read_query(bytes, &key) == OK)
        write_own(c, &key, ANSWER_SIZE_MAX, &out);
    kv_member_request_answer(
        c->kv, request, buf_slice(&out)); /* an empty answer is malformed: this member counts as silent */
    buf_done(&out);
}

void config_listen_open(struct config *c)
{
    kv_member_rpc_handle(c->kv, KV_TOPIC_LISTENERS, on_listener_query, c);
}

void config_listen_close(struct config *c)
{
    kv_member_rpc_handle(c->kv, KV_TOPIC_LISTENERS, NULL, NULL);
}

/* --- all members ------------------------------------------------------------------------------------ */

struct listener_query {
    struct config_op op; /* first */
    struct config_listeners *listeners;
    struct config_id key;
    struct kv_member_rpc rpc;
    struct map answered; /* member ids */
    Etcdserverpb__MemberListRequest message;
};

/* Reports an answer's listeners. The caller may cancel from inside the callback: then it stops. */
static bool config_listen_report(struct listener_query *l, struct slice bytes)
{
    struct arena a = {0};
    struct listen_answer answer;
    int err = listen_read_answer(bytes, &a, &answer);
    l->op.pending_ops.goes_on = true;
    if (!err && l->op.pending_ops.handle)
        l->listeners->left_out += answer.left_out;
    for (size_t i = 0; !err && i < answer.count && l->op.pending_ops.handle; i++)
        l->listeners->on_listener(l->listeners, &answer.list[i]);
    arena_done(&a);
    return err == OK;
}

static void config_listen_on_answer(struct kv_member_rpc *rpc, uint64_t member_id, struct slice bytes)
{
    struct listener_query *l = container_of(rpc, struct listener_query, rpc);
    if (config_listen_report(l, bytes))
        map_put(&l->answered, member_id, l);
}

static void on_members(struct kv_request *request, int err, const ProtobufCMessage *message)
{
    struct listener_query *l = container_of(request, struct listener_query, op.pending_ops.kv);
    const Etcdserverpb__MemberListResponse *response = (const Etcdserverpb__MemberListResponse *)message;
    size_t silent = err != OK; /* the member list is unknown: count one as silent */
    for (size_t i = 0; !err && i < response->n_members; i++) {
        const Etcdserverpb__Member *m = response->members[i];
        silent += m->name && *m->name && !map_get(&l->answered, m->id);
    }
    if (l->op.pending_ops.handle)
        l->listeners->members_silent = silent;
    pending_op_end(&l->op.pending_ops, OK);
}

static void config_listen_on_done(struct kv_member_rpc *rpc, size_t asked, size_t answered)
{
    struct listener_query *l = container_of(rpc, struct listener_query, rpc);
    struct config *c = l->op.config;
    (void)asked;
    (void)answered;
    etcdserverpb__member_list_request__init(&l->message);
    l->op.pending_ops.kv.done = on_members;
    kv_member_list(c->kv, &l->op.pending_ops.kv, &l->message);
    pending_ops_schedule_turn(&c->pending_ops);
}

static void query_members(struct listener_query *l)
{
    struct config *c = l->op.config;
    struct buf bytes = {0};
    listen_write_query(&l->key, &bytes);
    l->rpc.on_answer = config_listen_on_answer;
    l->rpc.done = config_listen_on_done;
    kv_member_rpc_to_all(c->kv, &l->rpc, KV_TOPIC_LISTENERS, buf_slice(&bytes), RPC_TIMEOUT_MS);
    pending_ops_schedule_turn(&c->pending_ops);
    buf_done(&bytes);
}

/* This member's own listeners take the same path as the others' answers: a copy, independent of the
 * watches. */
static void config_listen_on_view(struct feed_waiter *w)
{
    struct listener_query *l = container_of(w, struct listener_query, op.pending_ops.waiter);
    struct config *c = l->op.config;
    struct buf bytes = {0};
    l->op.result.revision = w->revision;
    write_own(c, &l->key, SIZE_MAX, &bytes);
    config_listen_report(l, buf_slice(&bytes));
    map_put(&l->answered, kv_member_id(c->kv), l);
    query_members(l);
    buf_done(&bytes);
}

static void config_listen_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct listener_query *l = container_of(kv, struct listener_query, op.pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&l->op.pending_ops, err);
    else
        pending_op_view(&l->op.pending_ops, kv_revision(l->op.config->kv), config_listen_on_view);
}

static void free_listener_query(struct pending_op *op)
{
    struct listener_query *l = container_of(op, struct listener_query, op.pending_ops);
    kv_member_rpc_cancel(l->op.config->kv, &l->rpc);
    map_done(&l->answered);
}

void config_listeners(struct config *c, struct config_listeners *l, const struct config_id *key)
{
    struct listener_query *p = config_op_new(c, &l->request, sizeof *p);
    p->op.pending_ops.on_free = free_listener_query;
    p->listeners = l;
    l->members_silent = l->left_out = 0;
    if (!config_check_id(&p->op, key))
        return;
    p->key = config_copy_id(&p->op.pending_ops.arena, key);
    config_op_barrier(&p->op, config_listen_on_barrier);
}
