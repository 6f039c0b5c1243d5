/* SPDX-License-Identifier: Apache-2.0
 * Health checks: connects the plan (check_plan.h) and the division (check_share.h) to the kv, the other
 * members and the prober.
 *
 * A turn:
 *   1. A leader asks the members, once in CHECK_ROUND_MS, while there are checks.
 *   2. TTL checks without reports fail.
 *   3. Writes of the plan are proposed, at most WRITES_MAX at once. Each compares the mod revision of the
 *      instance on which it was decided, so a registration that was faster wins.
 *   4. Checks that are due start, at most check_concurrency at once and STARTS_MAX in a turn. Further ones
 *      are late.
 *
 * Invariant: this member runs a check only while a division that names it as the holder is valid. */
#include "registry/registry_check.h"

#include "base/log_limit.h"
#include "base/metric.h"
#include "registry/registry_private.h"

enum {
    WRITES_MAX = 64,
    STARTS_MAX = 64,
    FAILS_MAX = 512, /* clocks of TTL checks in a turn: about 0.5 ms */
    GRID_MS = 20,    /* checks that are due within this time start together */
    ASK_TIMEOUT_MS = CHECK_ROUND_MS,
};

struct run {                  /* of one check */
    struct check_probe probe; /* first */
    struct checks *checks;
    struct link link;
    uint64_t ticket;
    char *host, *path, *service;
};

struct checks {
    struct registry *registry;
    struct check_plan *plan;
    struct check_share share; /* the division in use */
    uint64_t asked_ms;        /* the leader of that term has asked last */
    struct check_prober *prober;
    struct link runs;
    size_t running, writing;
    struct log_limit failed_writes;
    struct io_timer timer;
    uint64_t timer_ms; /* it fires then; UINT64_MAX: it does not run */

    /* The leader's. */
    struct check_roll roll;
    struct check_share divided; /* what it tells the members */
    struct kv_member_rpc ask;
    bool is_asking;
    uint64_t ask_ms; /* the time of the next question */
};

static uint64_t checks_now_ms(const struct checks *c)
{
    struct io *io = kv_io(c->registry->kv);
    return io->ops->mono_ns(io) / 1000000;
}

/* --- division ------------------------------------------------------------------------------------------- */

static bool is_able(const struct checks *c)
{
    return c->prober && registry_is_ready(c->registry) && !kv_is_learner(c->registry->kv);
}

/* While the leader is silent, members cannot take reports for TTL checks: their time does not count. */
static void judge_silence(struct checks *c, uint64_t term_before, uint64_t now)
{
    if (c->share.term != term_before || now - c->asked_ms > CHECK_LATE_MS)
        check_plan_grant_grace(c->plan, now);
    else if (is_able(c))
        check_plan_judge(c->plan, now);
    c->asked_ms = now;
}

static int accept_division(struct checks *c, struct slice question, uint64_t now)
{
    bool is_changed;
    uint64_t term_before = c->share.term;
    int err = check_share_accept(&c->share, question, now, &is_changed);
    if (err)
        return err;
    if (is_changed)
        check_plan_divide(c->plan, &c->share, now);
    judge_silence(c, term_before, now);
    return OK;
}

bool checks_report(struct checks *c, struct slice key, enum instance_state state)
{
    return is_able(c) && check_plan_report(c->plan, key, state, checks_now_ms(c));
}

static void checks_on_request(void *arg, struct kv_member_request *asked, struct slice question)
{
    struct checks *c = arg;
    struct buf out = {0};
    if (accept_division(c, question, checks_now_ms(c)) == OK)
        check_share_write_answer(is_able(c), &out);
    kv_member_request_answer(c->registry->kv, asked, buf_slice(&out)); /* empty: this member does not count */
    buf_done(&out);
    pending_ops_schedule_turn(&c->registry->pending_ops);
}

static void checks_on_answer(struct kv_member_rpc *ask, uint64_t member_id, struct slice answer)
{
    struct checks *c = container_of(ask, struct checks, ask);
    if (check_share_read_answer(answer))
        check_roll_hear(&c->roll, member_id, checks_now_ms(c));
}

static void checks_on_asked(struct kv_member_rpc *ask, size_t asked, size_t answered)
{
    struct checks *c = container_of(ask, struct checks, ask);
    uint64_t now = checks_now_ms(c);
    (void)asked;
    (void)answered;
    c->is_asking = false;
    if (is_able(c))
        check_roll_hear(&c->roll, kv_member_id(c->registry->kv), now);
    if (!check_roll_take(&c->roll, now, &c->divided))
        return;
    c->ask_ms = now; /* the others learn at once that a member has come or gone */
    log_info("the health checks are divided among other members", F_UINT("members", c->divided.count));
    pending_ops_schedule_turn(&c->registry->pending_ops);
}

static void stop_asking(struct checks *c)
{
    if (c->is_asking)
        kv_member_rpc_cancel(c->registry->kv, &c->ask);
    c->is_asking = false;
    c->roll.count = c->divided.count = 0;
    c->ask_ms = 0;
}

static void ask_members(struct checks *c, uint64_t now)
{
    struct kv *kv = c->registry->kv;
    Etcdserverpb__ResponseHeader header;
    struct buf question = {0};
    etcdserverpb__response_header__init(&header);
    if (kv_leader(kv) != kv_member_id(kv) || !check_plan_count(c->plan)) {
        stop_asking(c);
        return;
    }
    if (c->is_asking || now < c->ask_ms)
        return;
    kv_header(kv, 0, &header);
    c->divided.term = header.raft_term;
    check_share_write(&c->divided, &question);
    if (accept_division(c, buf_slice(&question), now) != OK)
        log_warn("the division of the health checks is of an older term", F_UINT("term", c->divided.term));
    c->ask.on_answer = checks_on_answer;
    c->ask.done = checks_on_asked;
    c->is_asking = true;
    c->ask_ms = now + CHECK_ROUND_MS;
    kv_member_rpc_to_all(kv, &c->ask, KV_TOPIC_CHECKS, buf_slice(&question), ASK_TIMEOUT_MS);
    buf_done(&question);
    pending_ops_schedule_turn(&c->registry->pending_ops);
}

/* --- runs ----------------------------------------------------------------------------------------------- */

static void free_run(struct run *run)
{
    list_remove(&run->link);
    run->checks->running--;
    mem_free(run->host);
    mem_free(run->path);
    mem_free(run->service);
    mem_free(run);
}

static void on_probed(struct check_probe *probe, enum check_outcome outcome, const char *output)
{
    struct run *run = container_of(probe, struct run, probe);
    struct checks *c = run->checks;
    check_plan_outcome(c->plan, run->ticket, outcome, output, checks_now_ms(c));
    metric_add(METRIC_CHECK_PROBES, 1);
    if (outcome == CHECK_FAIL)
        metric_add(METRIC_CHECK_FAILURES, 1);
    free_run(run);
    pending_ops_schedule_turn(&c->registry->pending_ops);
}

static char *c_string(struct slice s)
{
    char *text = mem_alloc(s.size + 1);
    if (s.size)
        memcpy(text, s.data, s.size);
    text[s.size] = 0;
    return text;
}

static void start_run(struct checks *c, const struct check_run *due)
{
    const struct instance *doc = due->instance->doc;
    struct run *run = mem_new(sizeof *run);
    run->checks = c;
    run->ticket = due->ticket;
    run->host = c_string(doc->host);
    run->path = c_string(doc->check->path.size ? doc->check->path : slice_text("/"));
    run->service = c_string(doc->check->service);
    run->probe = (struct check_probe){
        .type = doc->check->type,
        .is_tls = doc->check->is_tls,
        .is_insecure = doc->check->is_insecure,
        .port = doc->check->port ? doc->check->port : doc->port,
        .timeout_ms = doc->check->timeout_ms,
        .host = run->host,
        .path = run->path,
        .service = run->service,
        .done = on_probed,
    };
    list_add_last(&c->runs, &run->link);
    c->running++;
    c->prober->start(c->prober, &run->probe);
}

/* --- writes --------------------------------------------------------------------------------------------- */

struct check_write_op {
    struct registry_op op;
    struct checks *checks;
    uint64_t ticket;
    bool is_deregistration;
    struct txn txn;
};

static void on_check_written(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct check_write_op *w = container_of(kv, struct check_write_op, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    struct checks *c = w->checks;
    c->writing--;
    if (err)
        log_warn_limited(&c->failed_writes, checks_now_ms(c),
                         "the result of a health check could not be written; the next one is tried",
                         F_ERR(err));
    if (err || !response->succeeded)
        check_plan_write_failed(c->plan, w->ticket);
    else if (w->is_deregistration)
        metric_add(METRIC_CHECK_DEREGISTRATIONS, 1);
    else
        metric_add(METRIC_CHECK_WRITES, 1);
    pending_op_end(&w->op.pending_ops, OK);
}

size_t checks_put_result(struct txn *txn, struct slice at, const struct instance *before,
                         enum instance_state result, struct slice output)
{
    struct instance doc = *before;
    struct check check = *doc.check;
    struct buf text = {0};
    check.result = result;
    check.output = output;
    doc.check = &check;
    doc.state = check_effect(check.registered, check.result);
    instance_write(&doc, &text);
    txn_put(txn, at, registry_copy(txn->arena, buf_slice(&text)), 0);
    txn->message.success[0]->request_put->ignore_lease = true;
    size_t size = text.size;
    buf_done(&text);
    return size;
}

static void write_result(struct checks *c, const struct check_write *write)
{
    struct registry *r = c->registry;
    const struct catalog_instance *i = write->instance;
    const struct catalog_service *s = i->service;
    const struct registry_key key = {s->ns, s->group, s->name, i->id};
    struct check_write_op *w = registry_op_new(r, NULL, sizeof *w);
    struct arena *a = &w->op.pending_ops.arena;
    struct slice at = registry_key_text(a, NAME_INSTANCE, &key);
    w->checks = c;
    w->ticket = write->ticket;
    w->is_deregistration = write->is_deregistration;
    txn_init(&w->txn, a);
    txn_if_revision(&w->txn, at, i->mod_revision);
    if (write->is_deregistration) {
        txn_delete(&w->txn, at);
        registry_end_drain(&w->txn, i, registry_key_text(a, NAME_OVERRIDE, &key));
    } else {
        checks_put_result(&w->txn, at, i->doc, write->result, write->output);
    }
    w->op.pending_ops.kv.done = on_check_written;
    c->writing++;
    kv_txn(r->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&r->pending_ops);
}

/* --- turns ---------------------------------------------------------------------------------------------- */

static void checks_on_timer(struct io_timer *timer)
{
    container_of(timer, struct checks, timer)->timer_ms = UINT64_MAX; /* checks_turn runs next */
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void schedule_timer(struct checks *c, bool is_full, uint64_t now)
{
    struct io *io = kv_io(c->registry->kv);
    uint64_t at_ms = is_full ? UINT64_MAX : check_plan_wake_ms(c->plan);
    if (check_plan_count(c->plan))
        at_ms = earlier(at_ms, c->ask_ms > now ? c->ask_ms : now + CHECK_ROUND_MS);
    if (c->share.count)
        at_ms = earlier(at_ms, c->share.until_ms);
    if (at_ms == UINT64_MAX || at_ms >= c->timer_ms)
        return;
    c->timer_ms = at_ms < now + GRID_MS ? now + GRID_MS : at_ms;
    io->ops->timer_start(io, &c->timer, c->timer_ms - now);
}

void checks_turn(struct checks *c)
{
    uint64_t now = checks_now_ms(c);
    struct check_write write;
    struct check_run due;
    size_t started = 0;
    if (!check_plan_count(c->plan) && !c->share.count && !c->is_asking)
        return;
    ask_members(c, now);
    if (check_share_expire(&c->share, now))
        check_plan_divide(c->plan, &c->share, now);
    if (check_plan_fail_some(c->plan, FAILS_MAX, now))
        pending_ops_schedule_turn(&c->registry->pending_ops);
    while (c->writing < WRITES_MAX && check_plan_next_write(c->plan, &write))
        write_result(c, &write);
    size_t most = c->registry->options.check_concurrency;
    while (c->prober && (!most || c->running < most) && started < STARTS_MAX &&
           check_plan_next(c->plan, now, &due)) {
        start_run(c, &due);
        started++;
    }
    bool is_full = most && c->running >= most; /* the end of a probe causes the next turn */
    schedule_timer(c, is_full, now);
}

void checks_changed(struct checks *c, const struct catalog_change *change)
{
    uint64_t now = checks_now_ms(c);
    for (size_t i = 0; i < change->id_count; i++)
        check_plan_changed(c->plan, change->service, change->ids[i], c->registry->options.checks_max, now);
}

void checks_metric_collect(const struct checks *c)
{
    uint64_t wake_ms = check_plan_wake_ms(c->plan), now = checks_now_ms(c);
    metric_set(METRIC_CHECKS, (double)check_plan_count(c->plan));
    metric_set(METRIC_CHECKS_HELD, (double)check_plan_held(c->plan));
    metric_set(METRIC_CHECKS_RUNNING, (double)c->running);
    metric_set(METRIC_CHECKS_LATE, wake_ms < now ? (double)(now - wake_ms) / 1000 : 0);
}

/* --- the whole ------------------------------------------------------------------------------------------ */

struct checks *checks_new(struct registry *r)
{
    struct checks *c = mem_new(sizeof *c);
    struct io *io = kv_io(r->kv);
    c->registry = r;
    c->prober = r->options.prober;
    c->plan = check_plan_new(r->catalog, kv_member_id(r->kv), io->ops->random(io));
    c->timer.fire = checks_on_timer;
    c->timer_ms = UINT64_MAX;
    list_init(&c->runs);
    kv_member_rpc_handle(r->kv, KV_TOPIC_CHECKS, checks_on_request, c);
    return c;
}

void checks_free(struct checks *c)
{
    struct io *io = kv_io(c->registry->kv);
    kv_member_rpc_handle(c->registry->kv, KV_TOPIC_CHECKS, NULL, NULL);
    stop_asking(c);
    LIST_FOR_EACH_SAFE (l, &c->runs) {
        struct run *run = container_of(l, struct run, link);
        c->prober->cancel(c->prober, &run->probe);
        free_run(run);
    }
    io->ops->timer_stop(io, &c->timer);
    check_plan_free(c->plan);
    mem_free(c);
}
