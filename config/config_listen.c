/* SPDX-License-Identifier: Apache-2.0
 * Who listens to a configuration, on all members: this one's watches, and the others' by a question
 * (kv_member_rpc_to_all). A member that does not answer is silent; of one that was never started nobody expects
 * anything. */
#include "config/config_private.h"
#include "config/listen_wire.h"

enum {
    LISTENERS_MAX = 100000, /* of one member in an answer */
    ANSWER_SIZE_MAX = KV_MEMBER_RPC_BYTES_MAX - 4096,
    ASK_MS = 2000,
};

/* --- this member ---------------------------------------------------------------------------------------- */

struct looking {
    const struct config_item *item; /* NULL = not there */
    struct arena *arena;
    struct config_listener *list;
    size_t count, capacity, left_out;
};

static void config_listen_look(void *arg, const struct config_watch *w, const struct config_state *state)
{
    struct looking *l = arg;
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
    struct looking l = {.item = config_find(c, key), .arena = &a};
    config_each_listener(c, key, config_listen_look, &l);
    struct listen_answer answer = {slice_text(c->options.member), l.left_out, l.list, l.count};
    listen_write_answer(&answer, size_max, out);
    arena_done(&a);
}

static void on_question(void *arg, struct kv_member_request *asked, struct slice bytes)
{
    struct config *c = arg;
    struct config_id key;
    struct buf out = {0};
    if (listen_read_question(bytes, &key) == OK)
        write_own(c, &key, ANSWER_SIZE_MAX, &out);
    kv_member_request_answer(c->kv, asked,
                             buf_slice(&out)); /* empty: malformed, so this member counts as silent */
    buf_done(&out);
}

void config_listen_open(struct config *c)
{
    kv_member_rpc_handle(c->kv, KV_TOPIC_LISTENERS, on_question, c);
}

void config_listen_close(struct config *c)
{
    kv_member_rpc_handle(c->kv, KV_TOPIC_LISTENERS, NULL, NULL);
}

/* --- all of them ---------------------------------------------------------------------------------------- */

struct listing {
    struct config_op op; /* first */
    struct config_listeners *listeners;
    struct config_id key;
    struct kv_member_rpc ask;
    struct map answered; /* member ids */
    Etcdserverpb__MemberListRequest message;
};

/* The caller may cancel from inside: then nobody is told any more. */
static bool config_listen_tell(struct listing *l, struct slice bytes)
{
    struct arena a = {0};
    struct listen_answer answer;
    int err = listen_read_answer(bytes, &a, &answer);
    l->op.pending_ops.goes_on = true;
    if (!err && l->op.pending_ops.handle)
        l->listeners->left_out += answer.left_out;
    for (size_t i = 0; !err && i < answer.count && l->op.pending_ops.handle; i++)
        l->listeners->seen(l->listeners, &answer.list[i]);
    arena_done(&a);
    return err == OK;
}

static void config_listen_on_answer(struct kv_member_rpc *ask, uint64_t member_id, struct slice bytes)
{
    struct listing *l = container_of(ask, struct listing, ask);
    if (config_listen_tell(l, bytes))
        map_put(&l->answered, member_id, l);
}

static void on_members(struct kv_request *request, int err, const ProtobufCMessage *message)
{
    struct listing *l = container_of(request, struct listing, op.pending_ops.kv);
    const Etcdserverpb__MemberListResponse *response = (const Etcdserverpb__MemberListResponse *)message;
    size_t silent = err != OK; /* who the members are is not known: not all answered */
    for (size_t i = 0; !err && i < response->n_members; i++) {
        const Etcdserverpb__Member *m = response->members[i];
        silent += m->name && *m->name && !map_get(&l->answered, m->id);
    }
    if (l->op.pending_ops.handle)
        l->listeners->members_silent = silent;
    pending_op_end(&l->op.pending_ops, OK);
}

static void config_listen_on_asked(struct kv_member_rpc *ask, size_t asked, size_t answered)
{
    struct listing *l = container_of(ask, struct listing, ask);
    struct config *c = l->op.config;
    (void)asked;
    (void)answered;
    etcdserverpb__member_list_request__init(&l->message);
    l->op.pending_ops.kv.done = on_members;
    kv_member_list(c->kv, &l->op.pending_ops.kv, &l->message);
    pending_ops_schedule_turn(&c->pending_ops);
}

static void ask_others(struct listing *l)
{
    struct config *c = l->op.config;
    struct buf bytes = {0};
    listen_write_question(&l->key, &bytes);
    l->ask.on_answer = config_listen_on_answer;
    l->ask.done = config_listen_on_asked;
    kv_member_rpc_to_all(c->kv, &l->ask, KV_TOPIC_LISTENERS, buf_slice(&bytes), ASK_MS);
    pending_ops_schedule_turn(&c->pending_ops);
    buf_done(&bytes);
}

/* Through the same bytes as the others' answers: so it is a copy, whatever becomes of the watches. */
static void config_listen_on_view(struct feed_waiter *w)
{
    struct listing *l = container_of(w, struct listing, op.pending_ops.waiter);
    struct config *c = l->op.config;
    struct buf bytes = {0};
    l->op.result.revision = w->revision;
    write_own(c, &l->key, SIZE_MAX, &bytes);
    config_listen_tell(l, buf_slice(&bytes));
    map_put(&l->answered, kv_member_id(c->kv), l);
    ask_others(l);
    buf_done(&bytes);
}

static void config_listen_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct listing *l = container_of(kv, struct listing, op.pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&l->op.pending_ops, err);
    else
        pending_op_view(&l->op.pending_ops, kv_revision(l->op.config->kv), config_listen_on_view);
}

static void free_listing(struct pending_op *op)
{
    struct listing *l = container_of(op, struct listing, op.pending_ops);
    kv_member_rpc_cancel(l->op.config->kv, &l->ask);
    map_done(&l->answered);
}

void config_listeners(struct config *c, struct config_listeners *l, const struct config_id *key)
{
    struct listing *p = config_op_new(c, &l->request, sizeof *p);
    p->op.pending_ops.on_free = free_listing;
    p->listeners = l;
    l->members_silent = l->left_out = 0;
    if (!config_check_id(&p->op, key))
        return;
    p->key = config_copy_id(&p->op.pending_ops.arena, key);
    config_op_barrier(&p->op, config_listen_on_barrier);
}
