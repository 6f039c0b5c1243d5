/* SPDX-License-Identifier: Apache-2.0
 * Drains: an instance is taken out of traffic, and the caller learns when no subscriber uses it any more.
 * Also the list of those subscribers.
 *
 *   1. look the instance up, after a barrier if the view does not have it
 *   2. one transaction puts an override with the state `draining`; wait until the view shows it
 *   3. survey the subscribers of the service on every member; if all have acknowledged the revision, end
 *   4. else survey again after a while, or when a subscriber on this member acknowledges
 *   5. at the deadline: a last survey; end with the subscribers that have not acknowledged
 *
 * A member that does not answer counts as one subscriber that waits: its subscribers are not known. */
#include "registry/registry_private.h"

#include "consensus/audit.h"
#include "registry/survey.h"

enum {
    DEADLINE_MS = 30000,
    DEADLINE_MAX_MS = 600000,
    SURVEY_MS = 2000,
    LAST_SURVEY_MS = 500,
    AGAIN_MIN_MS = 50,
    AGAIN_MAX_MS = 1000,
    WAITING_MAX = 100, /* waiting subscribers that are listed */
};

struct drain_op {
    struct registry_op op;
    struct registry_key key;
    struct slice at, instance_at;
    bool does_wait, is_confirmed, is_last, is_same;
    uint64_t until_ms, again_ms;
    int64_t seen; /* mod revision of the override's key that is compared */
    int64_t
        unread; /* the one that the last failed compare has returned, for an override that does not parse */
    unsigned attempts;
    struct slice record; /* of the audit trail */
    struct txn txn;
    struct survey survey;
    struct link link; /* in registry.draining between two surveys */
};

static void registry_drain_decide(struct drain_op *d);
static void survey(struct drain_op *d);

static void free_drain(struct registry_op *op)
{
    struct drain_op *d = container_of(op, struct drain_op, op);
    list_remove(&d->link);
    survey_done(&d->survey);
}

/* --- waiting for acknowledgements ------------------------------------------------------------------- */

struct list {
    struct registry_waiting *items;
    size_t count;
};

static void registry_drain_add(struct list *list, struct registry_waiting one)
{
    if (list->count < WAITING_MAX)
        list->items[list->count++] = one;
}

static void registry_drain_end(struct drain_op *d)
{
    const struct survey *s = &d->survey;
    struct registry_result *result = &d->op.result;
    struct list list = {arena_alloc(&d->op.pending_ops.arena, WAITING_MAX * sizeof *list.items), 0};
    result->waiting_count = s->silent_count;
    for (size_t i = 0; i < s->silent_count; i++)
        registry_drain_add(&list, (struct registry_waiting){.member = s->silent[i]});
    for (size_t i = 0; i < s->part_count; i++) {
        const struct survey_answer *a = &s->parts[i].answer;
        result->acknowledged += a->acknowledged;
        result->waiting_count += a->waiting;
        for (size_t k = 0; k < a->count; k++)
            registry_drain_add(&list,
                               (struct registry_waiting){a->list[k].client_id, a->list[k].peer, a->member});
    }
    if (list.count < WAITING_MAX) /* a member may list fewer subscribers than it counts */
        result->waiting_count = list.count;
    result->waiting = list.items;
    pending_op_end(&d->op.pending_ops, OK);
}

static void registry_drain_on_again(struct pending_op *op)
{
    survey(container_of(op, struct drain_op, op.pending_ops));
}

static void on_surveyed(struct survey *s)
{
    struct drain_op *d = container_of(s, struct drain_op, survey);
    uint64_t now = pending_ops_now_ms(&d->op.registry->pending_ops), waiting = s->silent_count;
    for (size_t i = 0; i < s->part_count; i++)
        waiting += s->parts[i].answer.waiting;
    if (!waiting || d->is_last) {
        registry_drain_end(d);
        return;
    }
    uint64_t left = d->until_ms > now ? d->until_ms - now : 0;
    pending_op_limit(&d->op.pending_ops, d->again_ms < left ? d->again_ms : left, registry_drain_on_again);
    d->again_ms = d->again_ms * 2 < AGAIN_MAX_MS ? d->again_ms * 2 : AGAIN_MAX_MS;
    list_add_last(&d->op.registry->draining, &d->link);
}

static void survey(struct drain_op *d)
{
    struct registry *r = d->op.registry;
    uint64_t now = pending_ops_now_ms(&r->pending_ops);
    list_remove(&d->link);
    d->is_last = now >= d->until_ms;
    uint64_t left = d->is_last ? LAST_SURVEY_MS : d->until_ms - now;
    d->survey.registry = r;
    d->survey.done = on_surveyed;
    d->survey.request =
        (struct survey_request){d->key.ns, d->key.group, d->key.service, d->op.result.revision, WAITING_MAX};
    survey_start(&d->survey, left < SURVEY_MS ? left : SURVEY_MS);
}

/* A subscriber of this member has acknowledged or left: the drain may be complete. */
void registry_drain_again(struct registry *r)
{
    struct link now;
    list_init(&now);
    list_move_all(&now, &r->draining);
    struct link *l;
    while ((l = list_take_first(&now))) {
        struct drain_op *d = container_of(l, struct drain_op, link);
        struct arena a = {0};
        struct survey_answer own;
        survey_local(r, &d->survey.request, &a, &own);
        arena_done(&a);
        if (own.waiting)
            list_add_last(&r->draining, &d->link);
        else
            survey(d);
    }
}

/* --- the override ----------------------------------------------------------------------------------- */

static void registry_drain_on_view(struct feed_waiter *waiter)
{
    struct drain_op *d = container_of(waiter, struct drain_op, op.pending_ops.waiter);
    d->is_confirmed = true;
    registry_drain_decide(d);
}

static void registry_drain_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct drain_op *d = container_of(kv, struct drain_op, op.pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&d->op.pending_ops, err);
    else
        pending_op_view(&d->op.pending_ops, kv_revision(d->op.registry->kv), registry_drain_on_view);
}

static void on_shown(struct feed_waiter *waiter)
{
    struct drain_op *d = container_of(waiter, struct drain_op, op.pending_ops.waiter);
    d->op.pending_ops.goes_on = false; /* the write is done: a cancel now ends the request */
    if (d->op.pending_ops.handle)
        survey(d);
    else
        pending_op_end(&d->op.pending_ops, OK);
}

static void registry_drain_on_put(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct drain_op *d = container_of(kv, struct drain_op, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (!err && !response->succeeded && ++d->attempts == REGISTRY_ATTEMPTS_MAX)
        err = ERR_CONFLICT;
    if (err) {
        pending_op_end(&d->op.pending_ops, err);
    } else if (!response->succeeded) {
        d->unread = txn_mod_revision(response);
        pending_op_view(&d->op.pending_ops, response->header->revision, registry_drain_on_view);
    } else {
        d->op.result.is_unchanged = d->is_same;
        if (!d->is_same)
            audit_written(d->op.registry->options.audit, d->record);
        d->op.result.revision = d->is_same ? d->seen : response->header->revision;
        if (d->does_wait)
            pending_op_view(&d->op.pending_ops, d->op.result.revision, on_shown);
        else
            registry_op_written(&d->op, d->op.result.revision);
    }
}

/* The document of the override with the drain: the operator's override, except for its state. */
static struct slice override_text(struct drain_op *d, const struct override *now)
{
    struct override o = now ? *now : (struct override){0};
    struct buf text = {0};
    o.has_state = true;
    o.state = INSTANCE_DRAINING;
    o.is_drain = true;
    if (!o.reason.size)
        o.reason = slice_text(OVERRIDE_DRAIN);
    o.author = d->op.author;
    o.time_ms = registry_wall_ms(d->op.registry);
    override_write(&o, &text);
    struct slice copy = registry_copy(&d->op.pending_ops.arena, buf_slice(&text));
    buf_done(&text);
    return copy;
}

static void registry_drain_propose(struct drain_op *d, const struct catalog_instance *i)
{
    struct registry *r = d->op.registry;
    const struct override *now = i->override;
    d->is_same = now && now->has_state && now->state == INSTANCE_DRAINING;
    d->seen = now ? i->override_revision : d->unread;
    txn_init(&d->txn, &d->op.pending_ops.arena);
    if (!i->doc->source.size)
        txn_if_there(&d->txn, d->instance_at);
    txn_if_revision(&d->txn, d->at, d->seen);
    if (!d->is_same) {
        txn_put(&d->txn, d->at, override_text(d, now), 0);
        d->record = registry_audit(&d->op, &d->txn, TXN_THEN, "override", "drain", &d->key);
    }
    txn_else_get(&d->txn, d->at);
    d->op.pending_ops.kv.done = registry_drain_on_put;
    const struct auth_need needs[] = {{.key = d->at, .is_write = true},
                                      {.key = d->instance_at, .is_write = true}};
    pending_op_sign(&d->op.pending_ops, needs, 2);
    kv_txn(r->kv, &d->op.pending_ops.kv, &d->txn.message);
    pending_ops_schedule_turn(&r->pending_ops);
}

static void registry_drain_decide(struct drain_op *d)
{
    struct registry *r = d->op.registry;
    const struct catalog_instance *i = registry_find(r, &d->key);
    if (i && i->doc) {
        registry_drain_propose(d, i);
    } else if (d->is_confirmed) {
        registry_refuse_absent(&d->op, &d->key);
    } else {
        d->op.pending_ops.kv.done = registry_drain_on_barrier;
        kv_barrier(r->kv, &d->op.pending_ops.kv);
        pending_ops_schedule_turn(&r->pending_ops);
    }
}

void registry_drain(struct registry *r, struct registry_request *q, const struct registry_key *key,
                    uint64_t deadline_ms, bool does_wait)
{
    struct drain_op *d = registry_op_new(r, q, sizeof *d);
    char error[512];
    if (!registry_write_begin(&d->op, key, NAME_OVERRIDE, &d->key, &d->at))
        return;
    if (deadline_ms > DEADLINE_MAX_MS) {
        pending_op_refuse(&d->op.pending_ops, ERR_INVALID, "deadline_ms must be at most %d", DEADLINE_MAX_MS);
        return;
    }
    const struct catalog_instance *i = registry_find(r, &d->key);
    struct quota_key place = registry_quota_key(&d->key);
    int err = OK;
    if (!i || !i->override)
        err = quota_claim_override(&r->quota, r->catalog, &place, &d->op.claim, error, sizeof error);
    if (err) {
        pending_op_refuse(&d->op.pending_ops, err, "%s", error);
        return;
    }
    d->op.on_free = free_drain;
    d->instance_at = registry_key_text(&d->op.pending_ops.arena, NAME_INSTANCE, &d->key);
    d->does_wait = does_wait;
    d->again_ms = AGAIN_MIN_MS;
    d->until_ms = pending_ops_now_ms(&r->pending_ops) + (deadline_ms ? deadline_ms : DEADLINE_MS);
    registry_drain_decide(d);
}

/* --- the list of subscribers ------------------------------------------------------------------------ */

struct subscribers_op {
    struct registry_op op;
    struct registry_key key;
    struct slice at;
    struct survey survey;
};

static void free_subscribers(struct registry_op *op)
{
    survey_done(&container_of(op, struct subscribers_op, op)->survey);
}

static void on_all_seen(struct survey *s)
{
    struct subscribers_op *a = container_of(s, struct subscribers_op, survey);
    a->op.result.revision = registry_revision(a->op.registry);
    pending_op_end(&a->op.pending_ops, OK);
}

/* Runs right before done. The caller may cancel from inside `seen`. */
static void give_subscribers(struct pending_op *pending_ops)
{
    struct registry_op *op = container_of(pending_ops, struct registry_op, pending_ops);
    struct subscribers_op *a = container_of(op, struct subscribers_op, op);
    for (size_t i = 0; i < a->survey.part_count; i++) {
        const struct survey_answer *part = &a->survey.parts[i].answer;
        for (size_t k = 0; k < part->count && op->pending_ops.handle; k++) {
            struct registry_subscribers *to = container_of(op->request, struct registry_subscribers, request);
            const struct survey_entry *e = &part->list[k];
            const struct registry_seen seen = {e->client_id, e->peer,   part->member,
                                               e->transport, e->labels, e->revision};
            to->seen(to, &seen);
        }
        if (op->pending_ops.handle)
            container_of(op->request, struct registry_subscribers, request)->left_out +=
                part->acknowledged + part->waiting - part->count;
    }
    if (op->pending_ops.handle)
        container_of(op->request, struct registry_subscribers, request)->members_silent =
            a->survey.silent_count;
}

void registry_subscribers(struct registry *r, struct registry_subscribers *s, const struct registry_key *key)
{
    struct subscribers_op *a = registry_op_new(r, &s->request, sizeof *a);
    if (!registry_write_begin(&a->op, key, NAME_SERVICE, &a->key, &a->at))
        return;
    a->op.pending_ops.goes_on = false;
    a->op.on_free = free_subscribers;
    a->op.pending_ops.before_answer = give_subscribers;
    s->members_silent = s->left_out = 0;
    a->survey.registry = r;
    a->survey.done = on_all_seen;
    a->survey.request = (struct survey_request){a->key.ns, a->key.group, a->key.service, 0, UINT32_MAX};
    survey_start(&a->survey, SURVEY_MS);
}
