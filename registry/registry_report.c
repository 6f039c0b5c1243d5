/* SPDX-License-Identifier: Apache-2.0
 * Reports for TTL checks.
 *
 *   1. A report that changes the state or the output is written, by one transaction that compares the
 *      instance's mod revision.
 *   2. One that changes nothing is decided again after a barrier. Then the member that holds the check must
 *      confirm that it has moved the clock: this member, or another one. The other members are asked together,
 *      for all reports that wait.
 *   3. If none confirms it, the same document is written again: the new mod revision moves the clock of every
 *      holder, and defeats a failure that a holder has decided before.
 *
 * Invariant: a report that is answered without an error is in the log, or a holder has moved the clock for it
 * (check_plan.h says why a check of an instance that reports in time does not fail then). */
#include "registry/registry_report.h"

#include "base/metric.h"
#include "base/mutant.h"
#include "registry/check_report.h"
#include "registry/registry_private.h"

enum {
    ROUNDS_MAX = 8, /* under way at once; a member that does not answer keeps one for ASK_TIMEOUT_MS */
    ASK_TIMEOUT_MS = 500,
    DECISIONS_MAX = 16, /* in a turn: an instance may have 4,096 keys of metadata */
    QUESTION_BYTES_MAX = KV_MEMBER_RPC_BYTES_MAX / 2,
};

struct report_round;

struct report_op {
    struct registry_op op;
    struct registry_key key;
    struct slice at; /* the instance's key in the store */
    enum instance_state state;
    struct slice output;
    unsigned attempts;
    bool is_confirmed;          /* the view has reached a barrier */
    bool is_unheld;             /* no member has confirmed that it holds the check */
    struct link link;           /* in reports.waiting or reports.unheld */
    struct report_round *round; /* in which other members are asked; NULL = none */
    size_t place;               /* in it */
    struct txn txn;
};

/* A question to the other members. */
struct report_round {
    struct kv_member_rpc rpc;
    struct reports *reports;
    struct report_op *ops[CHECK_REPORTS_MAX]; /* NULL: it is confirmed, or has ended */
    size_t count, left;
    bool is_under_way;
};

struct reports {
    struct registry *registry;
    struct link waiting; /* for a round */
    struct link unheld;  /* asked for in vain: to be decided again */
    struct report_round rounds[ROUNDS_MAX];
};

static void report_decide(struct report_op *w);

/* --- the holder's side ---------------------------------------------------------------------------------- */

static void reports_on_request(void *arg, struct kv_member_request *asked, struct slice question)
{
    struct reports *p = arg;
    struct check_report list[CHECK_REPORTS_MAX];
    bool are_held[CHECK_REPORTS_MAX];
    struct buf out = {0};
    size_t count;
    if (check_report_read_question(question, list, &count) == OK) {
        for (size_t i = 0; i < count; i++)
            are_held[i] = checks_report(p->registry->checks, list[i].key, list[i].state);
        check_report_write_answer(are_held, count, &out);
    }
    kv_member_request_answer(p->registry->kv, asked, buf_slice(&out));
    buf_done(&out);
}

/* --- asking --------------------------------------------------------------------------------------------- */

static void leave_round(struct report_op *w)
{
    list_remove(&w->link);
    if (!w->round)
        return;
    w->round->ops[w->place] = NULL;
    w->round->left--;
    w->round = NULL;
}

static void free_report_op(struct registry_op *op)
{
    leave_round(container_of(op, struct report_op, op));
}

static void report_end(struct report_op *w)
{
    struct registry *r = w->op.registry;
    metric_add(METRIC_CHECK_REPORTS, 1);
    w->op.result.is_unchanged = true;
    w->op.result.revision = registry_revision(r);
    pending_op_end(&w->op.pending_ops, OK);
}

static void reports_on_answer(struct kv_member_rpc *rpc, uint64_t member_id, struct slice answer)
{
    struct report_round *round = container_of(rpc, struct report_round, rpc);
    bool are_held[CHECK_REPORTS_MAX];
    (void)member_id;
    if (check_report_read_answer(answer, round->count, are_held) != OK)
        return;
    for (size_t i = 0; i < round->count; i++) {
        struct report_op *w = round->ops[i];
        if (!w || !are_held[i])
            continue;
        leave_round(w);
        report_end(w);
    }
    pending_ops_schedule_turn(&round->reports->registry->pending_ops);
}

static void reports_on_asked(struct kv_member_rpc *rpc, size_t asked, size_t answered)
{
    struct report_round *round = container_of(rpc, struct report_round, rpc);
    (void)asked;
    (void)answered;
    round->is_under_way = false;
    for (size_t i = 0; i < round->count; i++) {
        struct report_op *w = round->ops[i];
        if (!w)
            continue;
        leave_round(w);
        w->is_unheld = true;
        list_add_last(&round->reports->unheld, &w->link);
    }
    pending_ops_schedule_turn(&round->reports->registry->pending_ops);
}

static void start_round(struct reports *p, struct report_round *round)
{
    struct check_report list[CHECK_REPORTS_MAX];
    struct buf question = {0};
    size_t size = 0;
    round->count = 0;
    while (!list_is_empty(&p->waiting) && round->count < CHECK_REPORTS_MAX && size < QUESTION_BYTES_MAX) {
        struct report_op *w = container_of(p->waiting.next, struct report_op, link);
        list_remove(&w->link);
        w->round = round;
        w->place = round->count;
        round->ops[round->count] = w;
        list[round->count++] = (struct check_report){w->at, w->state};
        size += w->at.size;
    }
    round->left = round->count;
    round->is_under_way = true;
    round->rpc.on_answer = reports_on_answer;
    round->rpc.done = reports_on_asked;
    check_report_write(list, round->count, &question);
    kv_member_rpc_to_all(p->registry->kv, &round->rpc, KV_TOPIC_REPORTS, buf_slice(&question),
                         ASK_TIMEOUT_MS);
    buf_done(&question);
}

static void decide_again(struct reports *p)
{
    for (int n = 0; n < DECISIONS_MAX && !list_is_empty(&p->unheld); n++) {
        struct report_op *w = container_of(p->unheld.next, struct report_op, link);
        list_remove(&w->link);
        if (MUTANT(TTL_UNCONFIRMED))
            report_end(w);
        else
            report_decide(w);
    }
    if (!list_is_empty(&p->unheld))
        pending_ops_schedule_turn(&p->registry->pending_ops);
}

void reports_turn(struct reports *p)
{
    decide_again(p);
    for (int i = 0; i < ROUNDS_MAX; i++) {
        struct report_round *round = &p->rounds[i];
        if (round->is_under_way && !round->left) { /* the other answers are not needed */
            kv_member_rpc_cancel(p->registry->kv, &round->rpc);
            round->is_under_way = false;
        }
        if (!round->is_under_way && !list_is_empty(&p->waiting))
            start_round(p, round);
    }
}

/* --- the write ------------------------------------------------------------------------------------------ */

static void report_on_view(struct feed_waiter *waiter)
{
    struct report_op *w = container_of(waiter, struct report_op, op.pending_ops.waiter);
    w->is_confirmed = true;
    report_decide(w);
}

static void report_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct report_op *w = container_of(kv, struct report_op, op.pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&w->op.pending_ops, err);
    else
        pending_op_view(&w->op.pending_ops, kv_revision(w->op.registry->kv), report_on_view);
}

static void confirm(struct report_op *w)
{
    w->op.pending_ops.kv.done = report_on_barrier;
    kv_barrier(w->op.registry->kv, &w->op.pending_ops.kv);
    pending_ops_schedule_turn(&w->op.registry->pending_ops);
}

static void report_on_written(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct report_op *w = container_of(kv, struct report_op, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (!err && !response->succeeded && ++w->attempts < REGISTRY_ATTEMPTS_MAX) {
        metric_add(METRIC_REGISTRY_CONFLICTS, 1);
        pending_op_view(&w->op.pending_ops, response->header->revision, report_on_view);
        return;
    }
    if (!err && !response->succeeded)
        err = ERR_CONFLICT;
    if (err) {
        pending_op_end(&w->op.pending_ops, err);
        return;
    }
    metric_add(METRIC_CHECK_REPORTS, 1);
    metric_add(METRIC_CHECK_REPORT_WRITES, 1);
    registry_op_written(&w->op, response->header->revision);
}

static void report_propose(struct report_op *w, const struct catalog_instance *i)
{
    struct registry *r = w->op.registry;
    txn_init(&w->txn, &w->op.pending_ops.arena);
    txn_if_revision(&w->txn, w->at, i->mod_revision);
    size_t size = checks_put_result(&w->txn, w->at, i->doc, w->state, w->output);
    if (!registry_admit(&w->op, w->key.ns, w->at.size + size))
        return;
    w->op.pending_ops.kv.done = report_on_written;
    pending_op_sign_key(&w->op.pending_ops, w->at);
    kv_txn(r->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&r->pending_ops);
}

/* --- the decision --------------------------------------------------------------------------------------- */

static void ask_holder(struct report_op *w)
{
    struct registry *r = w->op.registry;
    int err = pending_op_check_key(&w->op.pending_ops, w->at);
    if (err) {
        pending_op_end(&w->op.pending_ops, err);
    } else if (checks_report(r->checks, w->at, w->state)) {
        report_end(w);
    } else {
        list_add_last(&r->reports->waiting, &w->link);
        pending_ops_schedule_turn(&r->pending_ops);
    }
}

static void report_refuse(struct report_op *w, const struct catalog_instance *i)
{
    struct pending_op *op = &w->op.pending_ops;
    if (!i || !i->doc)
        pending_op_refuse(op, ERR_NOT_FOUND,
                          "there is no such instance: register it before its state is reported");
    else if (i->doc->check)
        pending_op_refuse(
            op, ERR_CONFLICT,
            "the check of this instance has the type %s: only a check of the type ttl takes reports",
            check_type_name(i->doc->check->type));
    else
        pending_op_refuse(op, ERR_CONFLICT,
                          "this instance has no check: only one with a check of the type ttl takes reports");
}

/* Decides on the view as it is now. */
static void report_decide(struct report_op *w)
{
    const struct catalog_instance *i = registry_find(w->op.registry, &w->key);
    const struct check *check = i && i->doc ? i->doc->check : NULL;
    bool is_ttl = check && check->type == CHECK_TTL;
    bool is_same = is_ttl && check->result == w->state && slice_equal(check->output, w->output);
    if ((!is_ttl || is_same) && !w->is_confirmed)
        confirm(w);
    else if (!is_ttl)
        report_refuse(w, i);
    else if (is_same && !w->is_unheld)
        ask_holder(w);
    else
        report_propose(w, i);
}

void registry_report(struct registry *r, struct registry_request *q, const struct registry_key *key,
                     enum instance_state state, struct slice output)
{
    struct report_op *w = registry_op_new(r, q, sizeof *w);
    w->op.on_free = free_report_op;
    if (!registry_write_begin(&w->op, key, NAME_INSTANCE, &w->key, &w->at))
        return;
    w->state = state;
    w->output = registry_copy(&w->op.pending_ops.arena, output);
    report_decide(w);
}

/* --- the whole ------------------------------------------------------------------------------------------ */

struct reports *reports_new(struct registry *r)
{
    struct reports *p = mem_new(sizeof *p);
    p->registry = r;
    list_init(&p->waiting);
    list_init(&p->unheld);
    for (int i = 0; i < ROUNDS_MAX; i++)
        p->rounds[i].reports = p;
    kv_member_rpc_handle(r->kv, KV_TOPIC_REPORTS, reports_on_request, p);
    return p;
}

void reports_free(struct reports *p)
{
    struct kv *kv = p->registry->kv;
    kv_member_rpc_handle(kv, KV_TOPIC_REPORTS, NULL, NULL);
    for (int i = 0; i < ROUNDS_MAX; i++)
        if (p->rounds[i].is_under_way)
            kv_member_rpc_cancel(kv, &p->rounds[i].rpc);
    mem_free(p);
}
