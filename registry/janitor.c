/* SPDX-License-Identifier: Apache-2.0
 * The janitor: proposes the actions of the plan (janitor_plan.h) and reports their outcomes to it.
 *
 * The life of an instance that belongs to a session. Dying is known to the leader alone; the other states are
 * in the instance's document. "In traffic" means that readers get the instance (catalog_effect().serves).
 *
 *                     register                    register again; or the session is back
 *     (no instance) ───────────► up ◄───────────────────────────────┐
 *                                │ the session ends                 │
 *                                ▼                                  │
 *                              dying ───────────────────────────────┤
 *         not in traffic, or     │      │  in traffic and           │
 *         no guard is on         │      │  the guard is on          │
 *                                ▼      ▼                           │
 *                             lost ◄── held (guarded) ──► returned ─┘
 *                                │   the guard ends     session back
 *                    grace ends  ▼
 *                            (deleted)
 *
 *     state     | event                                    | next     | PLAN_...  | decided by
 *     up        | its session's key is deleted             | dying    | -         | the store: TTL, revoke
 *     dying     | decision delay is over, no guard is on   | lost     | LOSE      | janitor_plan.c
 *     dying     | decision delay is over, the guard is on  | held     | GUARD     | janitor_guard.c, _storm.c
 *     held      | the guard ends, or a check refuses it    | lost     | LOSE      | janitor_guard.c
 *     held      | its session is back                      | returned | -         | the store
 *     returned  | at once: `guarded` is removed            | up       | UNGUARD   | janitor_plan.c
 *     lost      | `grace` is over                          | deleted  | DELETE    | janitor_plan.c
 *     any       | its client registers it again            | up       | -         | the client
 *
 *   - The decision delay is 1 s. It is TTL/3 (at most 10 s) while a storm may be beginning, so that the first
 *     deaths wait for the others, and 0 where such deaths are usual.
 *   - A lost instance whose session comes back by itself stays lost, and is not deleted, until its client
 *     registers it.
 *   - A store without room accepts deletes alone: a dying instance is then deleted at once (delete_dead).
 *
 * How the actions are proposed:
 *   1. Up to BATCH_MAX actions travel in one transaction, each as an inner transaction that compares the
 *      document's mod revision and that the session does not exist. A failed one does not affect the others.
 *   2. Puts and deletes travel apart and back off apart: a store without room refuses the puts alone.
 *   3. At most IN_FLIGHT_MAX transactions are in flight, so that a storm does not fill the log.
 *   4. After an error all actions of the class wait, 200 ms to 10 s.
 *
 * An instance whose client registered again is never marked lost, whatever the janitor knew: the compare of
 * the mod revision fails. Times are those of the leader's monotonic clock; a new leader begins them again. A
 * deposed leader that does not know it yet may still propose, for the same reason without harm. */
#include "registry/janitor.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "registry/registry_private.h"

#define BATCH_MAX       64 /* actions of one transaction */
#define BATCH_BYTES_MAX (256u << 10)
#define IN_FLIGHT_MAX   4
#define BACKOFF_MIN_MS  200
#define BACKOFF_MAX_MS  10000
#define WAKE_MAX_MS     10000 /* the wall clock may jump */
#define REVIEW_MAX      100   /* instances between two looks at the clock */
#define SLICE_NS        2000000

struct proposal {
    struct kv_request request;
    struct janitor *janitor;
    struct link link; /* in flight */
    enum plan_class class;
    size_t count, bytes;
    bool deletes_dead; /* instead of marking them lost: the store has no room for that */
    struct {
        uint64_t ticket;
        enum plan_kind kind;
        struct slice key;
    } actions[BATCH_MAX];
    Etcdserverpb__TxnRequest txn;
    struct arena arena;
};

struct handover { /* the write of one namespace's history, for the next leader; one is under way at a time */
    struct kv_request request;
    bool is_under_way;
    struct slice ns; /* in the arena */
    Etcdserverpb__TxnRequest *txn;
    struct arena arena;
};

struct janitor {
    struct handover handover;
    uint64_t handover_after_ms;
    struct kv *kv;
    struct io *io;
    struct catalog *catalog;
    struct plan *plan;
    struct link in_flight;
    size_t in_flight_count, batch_max;
    struct {
        uint64_t until_ms, delay_ms;
    } backoff[PLAN_CLASSES];
    struct io_timer timer;
    uint64_t timer_ms; /* it fires then; UINT64_MAX: it does not run */
    struct buf scratch;
};

static uint64_t janitor_now_ms(const struct janitor *j)
{
    return j->io->ops->mono_ns(j->io) / 1000000;
}

static uint64_t wall_ms(const struct janitor *j)
{
    return j->io->ops->wall_ns(j->io) / 1000000;
}

/* --- messages ----------------------------------------------------------------------------------------- */

static struct slice janitor_keep(struct proposal *q, const struct buf *b)
{
    q->bytes += b->size;
    return slice_of(arena_copy(&q->arena, b->data, b->size), b->size);
}

static struct slice janitor_key_of(struct proposal *q, const struct name *name)
{
    struct buf *b = &q->janitor->scratch;
    buf_clear(b);
    name_add_key(b, name);
    return janitor_keep(q, b);
}

/* Puts the document with one field changed. A lease that a client attached to the key stays attached. */
static void put_document(struct proposal *q, struct txn *t, const struct plan_action *a, struct slice key)
{
    struct instance doc = *a->instance->doc;
    if (a->kind == PLAN_LOSE)
        doc.state = INSTANCE_LOST;
    doc.is_guarded = a->kind == PLAN_GUARD;
    buf_clear(&q->janitor->scratch);
    instance_write(&doc, &q->janitor->scratch);
    txn_put(t, key, janitor_keep(q, &q->janitor->scratch), 0);
    t->message.success[0]->request_put->ignore_lease = !MUTANT(JANITOR_LEASE_DETACHED);
}

static void janitor_add(struct proposal *q, const struct plan_action *a)
{
    const struct catalog_service *s = a->instance->service;
    enum name_kind kind = a->kind == PLAN_END_OVERRIDE ? NAME_OVERRIDE : NAME_INSTANCE;
    struct slice key = janitor_key_of(q, &(struct name){kind, s->ns, s->group, s->name, a->instance->id, 0});
    struct txn *t = arena_alloc(&q->arena, sizeof *t);
    txn_init(t, &q->arena);
    if (!MUTANT(JANITOR_DOC_UNSEEN))
        txn_if_revision(t, key, a->revision);
    if (a->session && !MUTANT(JANITOR_SESSION_UNSEEN))
        txn_if_created(t, janitor_key_of(q, &(struct name){.kind = NAME_SESSION, .session = a->session}), 0);
    if (a->kind == PLAN_DELETE || a->kind == PLAN_END_OVERRIDE)
        txn_delete(t, key);
    else
        put_document(q, t, a, key);
    if (a->kind == PLAN_DELETE && !MUTANT(JANITOR_DRAIN_STAYS))
        registry_end_drain(
            t, a->instance,
            janitor_key_of(q, &(struct name){NAME_OVERRIDE, s->ns, s->group, s->name, a->instance->id, 0}));
    Etcdserverpb__RequestOp *outer = arena_alloc(&q->arena, sizeof *outer);
    etcdserverpb__request_op__init(outer);
    outer->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    outer->request_txn = &t->message;
    q->txn.success[q->txn.n_success++] = outer;
    q->actions[q->count].ticket = a->ticket;
    q->actions[q->count].kind = a->kind;
    q->actions[q->count++].key = key;
}

/* --- outcomes ------------------------------------------------------------------------------------------ */

static void report_actions(const struct proposal *q, enum plan_kind kind, const char *what,
                           enum metric metric, const Etcdserverpb__TxnResponse *response)
{
    size_t count = 0;
    struct slice first = {0};
    for (size_t i = 0; i < q->count; i++) {
        if (q->actions[i].kind != kind || !response->responses[i]->response_txn->succeeded)
            continue;
        if (!count++)
            first = q->actions[i].key;
    }
    if (!count)
        return;
    metric_add(metric, (double)count);
    log_info(what, F_UINT("count", count), F_BYTES("first", first));
}

static void free_proposal(struct proposal *q)
{
    list_remove(&q->link);
    q->janitor->in_flight_count--;
    arena_done(&q->arena);
    mem_free(q);
}

static void back_off(struct janitor *j, enum plan_class class, int err)
{
    uint64_t delay_ms = j->backoff[class].delay_ms * 2;
    if (delay_ms < BACKOFF_MIN_MS)
        delay_ms = BACKOFF_MIN_MS;
    if (delay_ms > BACKOFF_MAX_MS)
        delay_ms = BACKOFF_MAX_MS;
    j->backoff[class].delay_ms = delay_ms;
    j->backoff[class].until_ms = janitor_now_ms(j) + delay_ms;
    log_warn("the janitor's transaction failed; it is tried again", F_ERR(err), F_UINT("after-ms", delay_ms));
}

static bool has_dead(const struct proposal *q)
{
    for (size_t i = 0; i < q->count; i++)
        if (q->actions[i].kind == PLAN_LOSE)
            return true;
    return false;
}

/* The store has no room and accepts deletes alone. Dead instances leave traffic all the same: they are
 * deleted without their grace, in which their clients could not register again for lack of room. The rest
 * waits. */
static void delete_dead(struct proposal *q)
{
    struct janitor *j = q->janitor;
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++) {
        if (q->actions[i].kind != PLAN_LOSE) {
            plan_done(j->plan, q->actions[i].ticket, PLAN_UNKNOWN, janitor_now_ms(j));
            continue;
        }
        struct txn t = {&q->arena, *q->txn.success[i]->request_txn};
        t.message.n_success = 0;
        txn_delete(&t, q->actions[i].key);
        *q->txn.success[i]->request_txn = t.message;
        q->txn.success[kept] = q->txn.success[i];
        q->actions[kept++] = q->actions[i];
    }
    if (kept < q->count)
        back_off(j, q->class, ERR_NO_SPACE);
    q->count = q->txn.n_success = kept;
    q->deletes_dead = true;
    kv_txn(j->kv, &q->request, &q->txn);
}

static void janitor_on_done(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct proposal *q = container_of(r, struct proposal, request);
    struct janitor *j = q->janitor;
    const Etcdserverpb__TxnResponse *response = (const void *)message;
    if (err == ERR_NO_SPACE && !q->deletes_dead && has_dead(q) && !MUTANT(JANITOR_DEAD_NEED_ROOM)) {
        delete_dead(q);
        return;
    }
    for (size_t i = 0; i < q->count; i++) {
        enum plan_outcome outcome = err                                               ? PLAN_UNKNOWN
                                    : response->responses[i]->response_txn->succeeded ? PLAN_DONE
                                                                                      : PLAN_REFUSED;
        plan_done(j->plan, q->actions[i].ticket, outcome, janitor_now_ms(j));
    }
    if (!err) {
        j->backoff[q->class].delay_ms = 0;
        if (q->deletes_dead)
            report_actions(q, PLAN_LOSE,
                           "dead instances are deleted at once: the store has no room to mark them lost",
                           METRIC_EXPIRED, response);
        else
            report_actions(q, PLAN_LOSE, "instances are lost: their sessions have ended", METRIC_LOST,
                           response);
        report_actions(q, PLAN_DELETE, "lost instances did not come back and are deleted", METRIC_EXPIRED,
                       response);
        report_actions(q, PLAN_END_OVERRIDE, "overrides have ended", METRIC_OVERRIDES_ENDED, response);
    } else if ((err == ERR_TOO_MANY_OPS || err == ERR_REQUEST_TOO_LARGE) && q->count > 1) {
        size_t half = q->count / 2; /* half of this transaction: others of its size are in flight */
        j->batch_max = half < j->batch_max ? half : j->batch_max;
    } else {
        back_off(j, q->class, err);
    }
    free_proposal(q);
}

/* --- handover of the guards' histories ----------------------------------------------------------------- */

static void on_handed_over(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct handover *h = container_of(r, struct handover, request);
    struct janitor *j = container_of(h, struct janitor, handover);
    (void)message;
    h->is_under_way = false;
    j->handover_after_ms = 0;
    if (!err)
        return;
    plan_handover_failed(j->plan, h->ns, janitor_now_ms(j));
    j->handover_after_ms = janitor_now_ms(j) + BACKOFF_MAX_MS;
    log_warn("the history of a storm guard could not be written; it is tried again", F_ERR(err),
             F_BYTES("namespace", h->ns));
}

/* Compares nothing: another leader would write nearly the same. */
static void janitor_hand_over(struct janitor *j, uint64_t now)
{
    struct plan_handover next;
    struct handover *h = &j->handover;
    struct txn t;
    if (h->is_under_way || j->handover_after_ms > now || !plan_next_handover(j->plan, now, &next))
        return;
    arena_reset(&h->arena);
    h->ns = slice_of(arena_copy(&h->arena, next.ns.data, next.ns.size), next.ns.size);
    buf_clear(&j->scratch);
    name_add_key(&j->scratch, &(struct name){.kind = NAME_GUARD, .ns = h->ns});
    struct slice key = slice_of(arena_copy(&h->arena, j->scratch.data, j->scratch.size), j->scratch.size);
    txn_init(&t, &h->arena);
    buf_clear(&j->scratch);
    guard_history_write(&next.history, &j->scratch);
    if (next.is_delete)
        txn_delete(&t, key);
    else
        txn_put(&t, key, slice_of(arena_copy(&h->arena, j->scratch.data, j->scratch.size), j->scratch.size),
                0);
    h->txn = arena_alloc(&h->arena, sizeof *h->txn);
    *h->txn = t.message;
    h->request.done = on_handed_over;
    h->is_under_way = true;
    kv_txn(j->kv, &h->request, h->txn);
}

static void cancel_handover(struct janitor *j)
{
    if (j->handover.is_under_way)
        kv_cancel(j->kv, &j->handover.request);
    j->handover.is_under_way = false;
}

void janitor_history(struct janitor *j, struct slice ns, struct slice text)
{
    struct guard_history history;
    bool has_session = text.size && guard_history_read(text, &history) == OK;
    plan_history(j->plan, ns, has_session ? &history : NULL);
}

/* --- turns --------------------------------------------------------------------------------------------- */

static void janitor_on_timer(struct io_timer *timer)
{
    container_of(timer, struct janitor, timer)->timer_ms = UINT64_MAX; /* janitor_turn runs next */
}

/* A timer that fires too early, or without need, does no harm. */
static void wake_at(struct janitor *j, uint64_t at_ms, uint64_t now)
{
    if (at_ms >= j->timer_ms)
        return;
    j->timer_ms = at_ms;
    j->io->ops->timer_start(j->io, &j->timer, at_ms > now ? at_ms - now : 0);
}

/* False: nothing is due. */
static bool janitor_propose(struct janitor *j, enum plan_class class, uint64_t now)
{
    struct plan_action action;
    uint64_t wall = wall_ms(j);
    if (!plan_next(j->plan, class, now, wall, &action))
        return false;
    struct proposal *q = mem_new(sizeof *q);
    q->janitor = j;
    q->class = class;
    q->request.done = janitor_on_done;
    etcdserverpb__txn_request__init(&q->txn);
    q->txn.success = arena_alloc(&q->arena, BATCH_MAX * sizeof *q->txn.success);
    do {
        janitor_add(q, &action);
    } while (q->count < j->batch_max && q->bytes < BATCH_BYTES_MAX &&
             plan_next(j->plan, class, now, wall, &action));
    list_add_last(&j->in_flight, &q->link);
    j->in_flight_count++;
    kv_txn(j->kv, &q->request, &q->txn);
    return true;
}

static void cancel_in_flight(struct janitor *j)
{
    LIST_FOR_EACH_SAFE (l, &j->in_flight) {
        struct proposal *q = container_of(l, struct proposal, link);
        kv_cancel(j->kv, &q->request);
        free_proposal(q);
    }
}

static void follow_leadership(struct janitor *j, uint64_t now)
{
    bool does_lead = kv_leader(j->kv) == kv_member_id(j->kv) && catalog_revision(j->catalog) > 0;
    if (!does_lead) {
        cancel_in_flight(j);
        cancel_handover(j);
    }
    plan_lead(j->plan, does_lead, now);
}

static bool is_slice_over(const struct janitor *j, uint64_t begin_ns)
{
    return j->io->ops->mono_ns(j->io) - begin_ns >= SLICE_NS;
}

/* False: the slice ended before all instances were reviewed; nothing is decided yet. */
static bool review_in_slices(struct janitor *j, uint64_t begin_ns, uint64_t now)
{
    while (plan_step(j->plan, now, REVIEW_MAX))
        if (is_slice_over(j, begin_ns))
            return false;
    return true;
}

/* Sets the timer for the next turn. */
static void schedule_turn(struct janitor *j, bool review_budget, uint64_t now)
{
    uint64_t wake_ms = plan_wake_ms(j->plan, now, wall_ms(j));
    uint64_t handover_ms = plan_handover_wake_ms(j->plan);
    if (handover_ms < j->handover_after_ms)
        handover_ms = j->handover_after_ms;
    if (handover_ms < wake_ms)
        wake_ms = handover_ms;
    if (wake_ms <= now) /* blocked: a response, or the end of the backoff, causes the next turn */
        wake_ms = now + BACKOFF_MIN_MS;
    if (wake_ms != UINT64_MAX && wake_ms > now + WAKE_MAX_MS)
        wake_ms = now + WAKE_MAX_MS;
    wake_at(j, review_budget ? now : wake_ms, now);
}

void janitor_turn(struct janitor *j)
{
    uint64_t now = janitor_now_ms(j), begin_ns = j->io->ops->mono_ns(j->io);
    follow_leadership(j, now);
    bool has_more = !review_in_slices(j, begin_ns, now);
    for (int class = PLAN_CLASSES - 1; class >= 0 && !has_more; class --) {
        while (j->backoff[class].until_ms <= now && j->in_flight_count < IN_FLIGHT_MAX &&
               !is_slice_over(j, begin_ns) && janitor_propose(j, (enum plan_class) class, now))
            has_more = true;
    }
    janitor_hand_over(j, now);
    schedule_turn(j, has_more, now);
    metric_set(METRIC_GUARDED, (double)plan_held(j->plan));
    metric_set(METRIC_WARDS, (double)plan_waiting(j->plan));
}

/* --- events -------------------------------------------------------------------------------------------- */

static void on_storm(void *arg, struct slice ns, size_t died, size_t at_risk, bool is_resumed)
{
    (void)arg;
    if (is_resumed) {
        log_warn("the storm guard of the last leader is still on: this leader continues it",
                 F_BYTES("namespace", ns));
        return;
    }
    metric_add(METRIC_GUARD_TRIPS, 1);
    log_warn("too many instances died at once: the storm guard holds them in traffic",
             F_BYTES("namespace", ns), F_UINT("died", died), F_UINT("of", at_risk));
}

static void on_storm_over(void *arg, struct slice ns, size_t held)
{
    (void)arg;
    log_info("the storm guard has ended: the instances that it held are lost", F_BYTES("namespace", ns),
             F_UINT("lost", held));
}

void janitor_session_gone(struct janitor *j, struct catalog_session *session)
{
    plan_session_gone(j->plan, session, janitor_now_ms(j));
}

void janitor_session_back(struct janitor *j, struct catalog_session *session)
{
    plan_session_back(j->plan, session, janitor_now_ms(j));
}

void janitor_changed(struct janitor *j, const struct catalog_change *change)
{
    plan_changed(j->plan, change, janitor_now_ms(j));
}

/* --- gauges --------------------------------------------------------------------------------------------- */

#define SHOWN_MAX 32

struct shown {
    struct buf *out;
    const char *metric;
    bool is_bar;
    size_t count;
};

static void add_label_value(struct buf *out, struct slice value)
{
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] == '"' || value.data[i] == '\\')
            buf_add_byte(out, '\\');
        buf_add_byte(out, value.data[i]);
    }
}

static void show_guard(void *arg, struct slice ns, const struct plan_guard_view *view)
{
    static const char *const groups[STORM_GROUPS] = {"all", "established"};
    struct shown *s = arg;
    if (s->count++ >= SHOWN_MAX)
        return;
    for (int k = 0; k < STORM_GROUPS; k++) {
        struct buf name = {0};
        buf_addf(&name, "%s{namespace=\"", s->metric);
        add_label_value(&name, ns);
        buf_addf(&name, "\",sessions=\"%s\"}", groups[k]);
        metric_print_value(s->out, buf_text(&name),
                           s->is_bar ? (double)view->bar[k] : (double)view->usual[k]);
        buf_done(&name);
    }
}

void janitor_metric_collect(struct janitor *j, struct buf *out)
{
    struct shown usual = {.out = out, .metric = "cairn_registry_guard_usual_deaths"};
    struct shown bar = {.out = out, .metric = "cairn_registry_guard_bar_deaths", .is_bar = true};
    metric_print_head(
        out, usual.metric, "gauge",
        "Usual number of deaths in one window in a namespace, on the leader, where there are any.");
    plan_each_guard(j->plan, janitor_now_ms(j), show_guard, &usual);
    metric_print_head(
        out, bar.metric, "gauge",
        "Deaths in one window up to which no storm guard sets off in a namespace, on the leader.");
    plan_each_guard(j->plan, janitor_now_ms(j), show_guard, &bar);
}

/* --- the whole ---------------------------------------------------------------------------------------- */

struct janitor *janitor_new_with(struct kv *kv, struct catalog *catalog, const struct plan_rules *rules)
{
    struct janitor *j = mem_new(sizeof *j);
    const struct plan_events events = {on_storm, on_storm_over, j};
    j->kv = kv;
    j->io = kv_io(kv);
    j->catalog = catalog;
    j->plan = plan_new(catalog, rules, &events);
    j->batch_max = BATCH_MAX;
    j->timer.fire = janitor_on_timer;
    j->timer_ms = UINT64_MAX;
    list_init(&j->in_flight);
    return j;
}

struct janitor *janitor_new(struct kv *kv, struct catalog *catalog)
{
    struct plan_rules rules = plan_rules_default();
    return janitor_new_with(kv, catalog, &rules);
}

void janitor_free(struct janitor *j)
{
    cancel_in_flight(j);
    cancel_handover(j);
    arena_done(&j->handover.arena);
    j->io->ops->timer_stop(j->io, &j->timer);
    plan_free(j->plan);
    metric_set(METRIC_GUARDED, 0);
    metric_set(METRIC_WARDS, 0);
    buf_done(&j->scratch);
    mem_free(j);
}
