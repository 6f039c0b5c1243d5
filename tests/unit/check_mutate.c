/* SPDX-License-Identifier: Apache-2.0
 * The mutations of a history; see check_mutate.h. */
#include "check_mutate.h"

/* --- finding something to change ------------------------------------------------------------------------ */

static uint64_t below(struct fake *f, uint64_t n)
{
    return rng_below(&f->rng, n);
}

/* A random operation that fits, or NULL. */
static struct history_op *pick(struct fake *f, bool (*fits)(struct fake *f, const struct history_op *op))
{
    struct history *h = &f->history;
    size_t start = below(f, h->op_count);
    for (size_t i = 0; i < h->op_count; i++) {
        struct history_op *op = h->ops[(start + i) % h->op_count];
        if (fits(f, op))
            return op;
    }
    return NULL;
}

static void *own(struct fake *f, const void *data, size_t size)
{
    return arena_copy(&f->history.arena, data, size);
}

/* The results of an operation, to be changed. */
static struct history_result *own_results(struct fake *f, struct history_op *op)
{
    struct history_result *r = own(f, op->reply.results, op->reply.result_count * sizeof *r);
    for (size_t i = 0; i < op->reply.result_count; i++)
        r[i].kvs = own(f, r[i].kvs, r[i].kv_count * sizeof *r[i].kvs);
    op->reply.results = r;
    return r;
}

static struct history_kv *own_kvs(struct history_result *r)
{
    return (struct history_kv *)(uintptr_t)r->kvs;
}

static struct history_commit *commit_of(struct fake *f, int64_t revision)
{
    for (size_t i = 0; i < f->history.commit_count; i++)
        if (f->history.commits[i].revision == revision)
            return &f->history.commits[i];
    return NULL;
}

static struct history_change *own_changes(struct fake *f, struct history_commit *c)
{
    struct history_change *changes = own(f, c->changes, c->count * sizeof *changes);
    c->changes = changes;
    return changes;
}

static void remove_commit(struct fake *f, int64_t revision)
{
    struct history_commit *c = commit_of(f, revision);
    *c = f->history.commits[--f->history.commit_count];
}

static bool is_ok(const struct history_op *op, enum history_kind kind)
{
    return op->outcome == HISTORY_OK && op->request.kind == kind;
}

static bool is_acked_put(struct fake *f, const struct history_op *op)
{
    (void)f;
    return is_ok(op, HISTORY_PUT);
}

/* --- reads and writes ------------------------------------------------------------------------------- */

static bool returns_pairs(struct fake *f, const struct history_op *op)
{
    (void)f;
    return is_ok(op, HISTORY_RANGE) && op->reply.results[0].kv_count > 0;
}

static bool read_another_value(struct fake *f)
{
    struct history_op *op = pick(f, returns_pairs);
    if (op)
        own_kvs(own_results(f, op))[0].value = slice_text("other");
    return op != NULL;
}

static bool read_another_version(struct fake *f)
{
    struct history_op *op = pick(f, returns_pairs);
    if (op)
        own_kvs(own_results(f, op))[0].version++;
    return op != NULL;
}

static bool read_loses_a_pair(struct fake *f)
{
    struct history_op *op = pick(f, returns_pairs);
    if (op) {
        struct history_result *r = own_results(f, op);
        r->kv_count--;
        r->count--;
    }
    return op != NULL;
}

/* Answers a range without a limit from the state of some revision. */
static void answer_from(struct fake *f, struct history_op *op, int64_t revision)
{
    struct history_step *s = own(f, op->request.then.items, sizeof *s);
    struct history_result *r = own_results(f, op);
    struct history_kv *kvs = arena_alloc(&f->history.arena, FAKE_KEYS * sizeof *kvs);
    s->limit = 0;
    s->is_count_only = false;
    op->request.then.items = s;
    *r = (struct history_result){.kvs = kvs};
    for (unsigned i = 0; i < FAKE_KEYS; i++)
        if (history_in_range(fake_key(i), s->key, s->range_end) && f->states[revision].kvs[i].version > 0)
            kvs[r->kv_count++] = f->states[revision].kvs[i];
    r->count = (int64_t)r->kv_count;
}

static bool is_plain_read(struct fake *f, const struct history_op *op)
{
    (void)f;
    return is_ok(op, HISTORY_RANGE) && !op->request.is_serializable &&
           op->request.then.items[0].at_revision == 0;
}

static bool is_read_after_write(struct fake *f, const struct history_op *op)
{
    if (!is_plain_read(f, op) || op->reply.revision < 3)
        return false;
    for (size_t i = 0; i < op->number; i++)
        if (f->history.ops[i]->outcome == HISTORY_OK && f->history.ops[i]->return_ns < op->call_ns &&
            f->history.ops[i]->reply.revision == op->reply.revision)
            return true;
    return false;
}

static bool stale_read(struct fake *f)
{
    struct history_op *op = pick(f, is_read_after_write);
    if (op)
        answer_from(f, op, --op->reply.revision);
    return op != NULL;
}

static bool is_future_read(struct fake *f, const struct history_op *op)
{
    return is_plain_read(f, op) && op->reply.revision < f->revision - 20;
}

static bool read_of_the_future(struct fake *f)
{
    struct history_op *op = pick(f, is_future_read);
    if (op)
        answer_from(f, op, op->reply.revision = f->revision);
    return op != NULL;
}

static bool write_is_lost(struct fake *f)
{
    struct history_op *op = pick(f, is_acked_put);
    if (op)
        remove_commit(f, op->reply.revision);
    return op != NULL;
}

static bool tail_is_lost(struct fake *f)
{
    struct history_op *op = pick(f, is_acked_put);
    for (int64_t at = op ? op->reply.revision : INT64_MAX; at <= f->revision; at++)
        remove_commit(f, at);
    return op != NULL;
}

static void add_commit(struct fake *f, const struct history_change *changes, size_t count)
{
    struct history_change *copy = own(f, changes, count * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i].kv.mod = f->revision + 1, copy[i].kv.create = copy[i].kv.version = 0;
    history_commit_add(&f->history, &(struct history_commit){f->revision + 1, copy, count, 0});
}

static bool write_happens_twice(struct fake *f)
{
    for (int tries = 0; tries < 20; tries++) {
        const struct history_commit *c = &f->history.commits[below(f, f->history.commit_count)];
        if (c->changes[0].is_delete)
            continue;
        add_commit(f, c->changes, c->count);
        return true;
    }
    return false;
}

static bool unwritten_value(struct fake *f)
{
    add_commit(f, &(struct history_change){false, {.key = fake_key(0), .value = slice_text("ghost")}}, 1);
    return true;
}

static bool failed_write_happens(struct fake *f)
{
    struct history_op *op = pick(f, is_acked_put);
    if (op)
        op->outcome = HISTORY_FAILED;
    return op != NULL;
}

static bool revisions_are_exchanged(struct fake *f)
{
    struct history_op *a = pick(f, is_acked_put), *b = pick(f, is_acked_put);
    if (!a || a == b)
        return false;
    int64_t revision = a->reply.revision;
    a->reply.revision = b->reply.revision;
    b->reply.revision = revision;
    return true;
}

static bool revision_is_shared(struct fake *f)
{
    struct history_op *a = pick(f, is_acked_put), *b = pick(f, is_acked_put);
    if (!a || a == b)
        return false;
    b->reply.revision = a->reply.revision;
    return true;
}

static bool is_early_put(struct fake *f, const struct history_op *op)
{
    return is_acked_put(f, op) && op->reply.revision < f->revision - 20;
}

static bool write_before_its_call(struct fake *f)
{
    struct history_op *op = pick(f, is_early_put);
    if (op) {
        op->call_ns = f->history.now_ns + 1;
        op->return_ns = f->history.now_ns + 2;
    }
    return op != NULL;
}

static bool unknown_write_before_its_call(struct fake *f)
{
    bool done = write_before_its_call(f);
    for (size_t i = 0; done && i < f->history.op_count; i++)
        if (f->history.ops[i]->call_ns > f->history.now_ns) {
            f->history.ops[i]->outcome = HISTORY_UNKNOWN;
            f->history.ops[i]->reply = (struct history_reply){0};
        }
    return done;
}

static bool is_acked_txn(struct fake *f, const struct history_op *op)
{
    (void)f;
    return is_ok(op, HISTORY_TXN);
}

static bool other_branch(struct fake *f)
{
    struct history_op *op = pick(f, is_acked_txn);
    if (op)
        op->reply.succeeded = !op->reply.succeeded;
    return op != NULL;
}

static bool is_acked_delete(struct fake *f, const struct history_op *op)
{
    (void)f;
    return is_ok(op, HISTORY_DELETE);
}

static bool delete_counts_one_more(struct fake *f)
{
    struct history_op *op = pick(f, is_acked_delete);
    if (op)
        own_results(f, op)[0].count++;
    return op != NULL;
}

static bool replay_miscounts(struct fake *f)
{
    struct history_commit *c = &f->history.commits[below(f, f->history.commit_count)];
    if (c->changes[0].is_delete)
        return false;
    own_changes(f, c)[0].kv.version++;
    return true;
}

static bool is_after_compaction(struct fake *f, const struct history_op *op)
{
    for (size_t i = 0; is_plain_read(f, op) && i < op->number; i++) {
        const struct history_op *o = f->history.ops[i];
        if (is_ok(o, HISTORY_COMPACT) && o->return_ns < op->call_ns && o->request.compact_revision > 2)
            return true;
    }
    return false;
}

static bool compacted_is_read(struct fake *f)
{
    struct history_op *op = pick(f, is_after_compaction);
    if (!op)
        return false;
    answer_from(f, op, 1);
    ((struct history_step *)(uintptr_t)op->request.then.items)->at_revision = 1;
    return true;
}

/* --- watches -------------------------------------------------------------------------------------------- */

struct place {
    struct history_watch *watch;
    struct history_response *response;
    struct history_event *events; /* of the response, to be changed */
    size_t index;                 /* one of them */
};

/* A random event; with `after`, one with later events or progress on its watch. */
static bool pick_event(struct fake *f, bool after, struct place *p)
{
    for (int tries = 0; tries < 200 && f->history.watch_count; tries++) {
        struct history_watch *w = f->history.watches[below(f, f->history.watch_count)];
        struct history_response *r = &w->responses[below(f, w->count)];
        if (r->event_count == 0)
            continue;
        size_t i = below(f, r->event_count);
        if (after && r->events[i].change.kv.mod >= w->complete_to)
            continue;
        *p = (struct place){w, r, own(f, r->events, r->event_count * sizeof *r->events), i};
        r->events = p->events;
        return true;
    }
    return false;
}

static void insert_response(struct history_watch *w, size_t at, const struct history_response *r)
{
    struct history_response copy = *r;
    w->responses = mem_resize(w->responses, (w->count + 1) * sizeof copy);
    memmove(&w->responses[at + 1], &w->responses[at], (w->count - at) * sizeof copy);
    w->responses[at] = copy;
    w->capacity = ++w->count;
}

static bool event_is_dropped(struct fake *f)
{
    struct place p;
    if (!pick_event(f, true, &p))
        return false;
    memmove(&p.events[p.index], &p.events[p.index + 1],
            (p.response->event_count - p.index - 1) * sizeof *p.events);
    if (--p.response->event_count == 0) { /* an empty response is a progress notification */
        size_t at = (size_t)(p.response - p.watch->responses);
        memmove(p.response, p.response + 1, (p.watch->count - at - 1) * sizeof *p.response);
        p.watch->count--;
    }
    return true;
}

static bool event_comes_twice(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p))
        return false;
    size_t n = p.response->event_count;
    struct history_event *events = arena_alloc(&f->history.arena, (n + 1) * sizeof *events);
    memcpy(events, p.events, (p.index + 1) * sizeof *events);
    memcpy(events + p.index + 1, p.events + p.index, (n - p.index) * sizeof *events);
    p.response->events = events;
    p.response->event_count++;
    return true;
}

static bool response_comes_twice(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p))
        return false;
    size_t at = (size_t)(p.response - p.watch->responses);
    insert_response(p.watch, at, p.response);
    return true;
}

static bool events_are_exchanged(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p) || p.index == 0)
        return false;
    struct history_event e = p.events[p.index];
    p.events[p.index] = p.events[p.index - 1];
    p.events[p.index - 1] = e;
    return true;
}

static bool revision_is_split(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p) || p.index == 0 ||
        p.events[p.index].change.kv.mod != p.events[p.index - 1].change.kv.mod)
        return false;
    struct history_response first = *p.response;
    first.event_count = p.index;
    p.response->events += p.index;
    p.response->event_count -= p.index;
    insert_response(p.watch, (size_t)(p.response - p.watch->responses), &first);
    return true;
}

static bool event_of_another_value(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p) || p.events[p.index].change.is_delete)
        return false;
    p.events[p.index].change.kv.value = slice_text("other");
    return true;
}

static bool event_is_invented(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p))
        return false;
    p.events[p.index].change.is_delete = !p.events[p.index].change.is_delete;
    return !p.watch->excludes_puts && !p.watch->excludes_deletes;
}

static bool event_not_asked_for(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p) || p.watch->range_end.size == 0)
        return false;
    p.watch->range_end = (struct slice){0};
    p.watch->key = slice_text("k");
    return true;
}

static bool event_before_the_start(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p) || p.watch->start_revision == 0)
        return false;
    p.watch->start_revision = p.events[p.index].change.kv.mod + 1;
    return true;
}

static bool wrong_previous_pair(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p) || !p.events[p.index].has_prev)
        return false;
    p.events[p.index].prev.mod--;
    return true;
}

static bool previous_pair_is_missing(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p) || !p.events[p.index].has_prev ||
        p.events[p.index].change.kv.mod <= f->revision - 20)
        return false;
    /* The generator compacts no revision as early as this. */
    for (size_t i = 0; i < f->history.op_count; i++)
        if (f->history.ops[i]->request.compact_revision >= p.events[p.index].change.kv.mod)
            return false;
    p.events[p.index].has_prev = false;
    return true;
}

static bool create_is_wrong(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p) || p.events[p.index].change.is_delete)
        return false;
    struct history_kv *kv = &p.events[p.index].change.kv;
    kv->create = kv->create == kv->mod ? kv->mod - 1 : kv->mod;
    return true;
}

static bool header_is_behind(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p))
        return false;
    p.response->revision = p.events[p.response->event_count - 1].change.kv.mod - 1;
    return true;
}

static bool progress_is_early(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p))
        return false;
    struct history_response progress = {.time_ns = p.response->time_ns,
                                        .revision = p.events[p.index].change.kv.mod};
    insert_response(p.watch, (size_t)(p.response - p.watch->responses), &progress);
    return true;
}

static bool progress_goes_back(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p))
        return false;
    struct history_response progress = {.time_ns = p.response->time_ns,
                                        .revision = p.events[0].change.kv.mod - 1};
    insert_response(p.watch, (size_t)(p.response - p.watch->responses) + 1, &progress);
    return true;
}

static bool canceled_for_nothing(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p))
        return false;
    struct history_response cancel = {.time_ns = p.response->time_ns,
                                      .revision = p.response->revision,
                                      .is_canceled = true,
                                      .compact_revision = p.events[0].change.kv.mod};
    p.watch->complete_to = 0;
    p.watch->count = (size_t)(p.response - p.watch->responses) + 1;
    insert_response(p.watch, p.watch->count, &cancel);
    return true;
}

static bool response_after_cancel(struct fake *f)
{
    struct place p;
    if (!pick_event(f, false, &p))
        return false;
    struct history_response cancel = {
        .time_ns = p.response->time_ns, .revision = p.response->revision, .is_canceled = true};
    insert_response(p.watch, (size_t)(p.response - p.watch->responses), &cancel);
    return true;
}

/* --- leases --------------------------------------------------------------------------------------------- */

/* An operation that may be the reason why a key of a lease was deleted. */
static bool may_have_done(const struct history_op *op, const struct history_commit *c, int64_t lease)
{
    const struct history_request *q = &op->request;
    if (op->outcome == HISTORY_FAILED)
        return false;
    if (q->kind == HISTORY_REVOKE)
        return q->lease == lease;
    if (op->outcome == HISTORY_OK)
        return (q->kind == HISTORY_DELETE || q->kind == HISTORY_TXN) && op->reply.revision == c->revision;
    const struct history_steps *steps = q->kind == HISTORY_TXN ? &q->otherwise : &q->then;
    return steps->count && steps->items[0].kind == HISTORY_DELETE &&
           history_in_range(c->changes[0].kv.key, steps->items[0].key, steps->items[0].range_end);
}

/* A lease whose keys were deleted at its end, which was seen, and how many; by expiry or by a revoke. */
static int64_t pick_end(struct fake *f, size_t at_least, bool by_expiry, struct history_commit **ret_end)
{
    size_t start = below(f, f->history.commit_count);
    for (size_t i = 0; i < f->history.commit_count; i++) {
        struct history_commit *c = &f->history.commits[(start + i) % f->history.commit_count];
        if (c->count < at_least || !c->changes[0].is_delete || c->revision > f->revision - 5)
            continue;
        for (size_t j = 0; j < f->lease_count; j++) {
            const struct fake_lease *l = &f->leases[j];
            size_t attached = 0, after = 0;
            for (unsigned k = 0; k < FAKE_KEYS; k++) {
                attached += f->states[c->revision - 1].kvs[k].lease == l->id;
                after += f->states[c->revision].kvs[k].lease == l->id;
            }
            bool is_asked = false;
            for (size_t k = 0; k < f->history.op_count; k++)
                is_asked |= may_have_done(f->history.ops[k], c, l->id);
            if (attached == c->count && after == 0 && !(by_expiry && is_asked)) {
                *ret_end = c;
                return l->id;
            }
        }
    }
    return 0;
}

static void set_ttl(struct fake *f, int64_t lease, enum history_kind kind, int64_t ttl_s)
{
    for (size_t i = 0; i < f->history.op_count; i++) {
        struct history_op *op = f->history.ops[i];
        if (op->request.lease == lease && op->reply.ttl_s > 0 && op->request.kind == kind)
            op->reply.ttl_s = ttl_s;
    }
}

static bool grant_is_acked(const struct fake *f, int64_t lease)
{
    for (size_t i = 0; i < f->history.op_count; i++)
        if (f->history.ops[i]->request.lease == lease && is_ok(f->history.ops[i], HISTORY_GRANT))
            return true;
    return false;
}

static bool lease_ends_early(struct fake *f)
{
    struct history_commit *end;
    int64_t lease = pick_end(f, 1, true, &end);
    if (!lease || !grant_is_acked(f, lease))
        return false;
    set_ttl(f, lease, HISTORY_GRANT, 1000);
    return true;
}

/* Everything about the lease happened a second earlier: so it lived a second too long. */
static bool lease_ends_late(struct fake *f)
{
    struct history_commit *end;
    int64_t lease = pick_end(f, 1, true, &end), due_ns = 0;
    if (!lease || !grant_is_acked(f, lease))
        return false;
    for (size_t i = 0; i < f->history.op_count; i++) {
        struct history_op *op = f->history.ops[i];
        bool is_refresh = op->request.lease == lease && op->request.kind != HISTORY_REVOKE;
        if (!is_refresh || op->request.kind <= HISTORY_TXN)
            continue;
        if (op->outcome != HISTORY_OK)
            return false;
        op->reply.ttl_s = op->reply.ttl_s > 0 ? 1 : 0;
        op->call_ns -= 2000 * FAKE_MS;
        op->return_ns -= 2000 * FAKE_MS;
        op->reply.revision = 0;
        due_ns = op->return_ns > due_ns ? op->return_ns : due_ns;
    }
    due_ns += 1000 * FAKE_MS + fake_options.lease_late_bound_ns;
    for (size_t i = 0; i < f->history.op_count; i++) {
        const struct history_op *op = f->history.ops[i];
        if (is_plain_read(f, op) && op->call_ns > due_ns && op->reply.revision == end->revision - 1)
            return true;
    }
    return false;
}

static bool lease_ends_in_parts(struct fake *f)
{
    struct history_commit *end;
    if (!pick_end(f, 2, true, &end))
        return false;
    end->count--;
    return true;
}

static bool is_keepalive_after_end(struct fake *f, const struct history_op *op)
{
    for (size_t i = 0; is_ok(op, HISTORY_KEEPALIVE) && op->reply.ttl_s == 0 && i < op->number; i++) {
        const struct history_op *o = f->history.ops[i];
        if (is_ok(o, HISTORY_REVOKE) && o->request.lease == op->request.lease && o->return_ns < op->call_ns)
            return true;
    }
    return false;
}

static bool keepalive_after_revoke(struct fake *f)
{
    struct history_op *op = pick(f, is_keepalive_after_end);
    if (op)
        op->reply.ttl_s = 1;
    return op != NULL;
}

static bool is_live_keepalive(struct fake *f, const struct history_op *op)
{
    return is_ok(op, HISTORY_KEEPALIVE) && op->reply.ttl_s > 0 && grant_is_acked(f, op->request.lease);
}

static bool keepalive_promises_more(struct fake *f)
{
    struct history_op *op = pick(f, is_live_keepalive);
    if (op)
        op->reply.ttl_s += 10;
    return op != NULL;
}

static bool keepalive_finds_nothing(struct fake *f)
{
    struct history_op *op = pick(f, is_live_keepalive), *grant = NULL;
    if (!op)
        return false;
    for (size_t i = 0; i < f->history.op_count; i++) {
        struct history_op *o = f->history.ops[i];
        if (o->request.lease != op->request.lease)
            continue;
        if (o->request.kind == HISTORY_REVOKE)
            return false;
        if (is_ok(o, HISTORY_GRANT))
            grant = o;
    }
    op->reply.ttl_s = 0;
    return grant->return_ns < op->call_ns &&
           grant->call_ns + grant->reply.ttl_s * 1000 * FAKE_MS > op->return_ns;
}

static bool is_revoke_of_keys(struct fake *f, const struct history_op *op)
{
    const struct history_commit *c = commit_of(f, op->reply.revision);
    if (!is_ok(op, HISTORY_REVOKE) || !c || !c->changes[0].is_delete)
        return false;
    for (unsigned k = 0; k < FAKE_KEYS; k++)
        if (f->states[c->revision - 1].kvs[k].lease == op->request.lease &&
            f->states[c->revision].kvs[k].lease != op->request.lease)
            return true;
    return false;
}

static bool revoke_leaves_keys(struct fake *f)
{
    struct history_op *op = pick(f, is_revoke_of_keys);
    if (op)
        op->reply.revision--;
    return op != NULL;
}

static bool is_put_without_lease(struct fake *f, const struct history_op *op)
{
    return is_acked_put(f, op) && op->request.then.items[0].lease == 0 &&
           op->reply.revision > f->revision - 20;
}

static bool key_joins_ended_lease(struct fake *f)
{
    struct history_commit *end;
    int64_t lease = pick_end(f, 1, false, &end);
    struct history_op *op = pick(f, is_put_without_lease);
    if (!lease || !op || op->reply.revision <= end->revision)
        return false;
    own_changes(f, commit_of(f, op->reply.revision))[0].kv.lease = lease;
    ((struct history_step *)(uintptr_t)op->request.then.items)->lease = lease;
    return true;
}

const struct mutation mutations[] = {
    {"a read returns another value", read_another_value},
    {"a read returns another version", read_another_version},
    {"a read loses a pair", read_loses_a_pair},
    {"a read is of the state before an acknowledged write", stale_read},
    {"a read is of a state of the future", read_of_the_future},
    {"an acknowledged write is not in the replay", write_is_lost},
    {"the replay's tail is lost", tail_is_lost},
    {"a write is committed again", write_happens_twice},
    {"a value that no operation wrote", unwritten_value},
    {"a write that failed for certain is committed", failed_write_happens},
    {"two acknowledged revisions are exchanged", revisions_are_exchanged},
    {"two writes are acknowledged with one revision", revision_is_shared},
    {"an acknowledged write is seen before its call", write_before_its_call},
    {"an unknown write is seen before its call", unknown_write_before_its_call},
    {"a transaction takes the other branch", other_branch},
    {"a delete counts one more", delete_counts_one_more},
    {"the replay miscounts a version", replay_miscounts},
    {"a compacted revision is read", compacted_is_read},
    {"an event is dropped", event_is_dropped},
    {"an event comes twice", event_comes_twice},
    {"a response comes twice", response_comes_twice},
    {"two events are exchanged", events_are_exchanged},
    {"a revision is split over responses", revision_is_split},
    {"an event has another value", event_of_another_value},
    {"a put is told as a delete, or inversely", event_is_invented},
    {"events of keys that were not asked for", event_not_asked_for},
    {"an event before the start revision", event_before_the_start},
    {"a previous pair is of another revision", wrong_previous_pair},
    {"a previous pair is missing", previous_pair_is_missing},
    {"a create revision is wrong", create_is_wrong},
    {"a response's revision is below its events'", header_is_behind},
    {"progress is notified before an event", progress_is_early},
    {"progress goes back", progress_goes_back},
    {"a watch is canceled for a compaction that was not", canceled_for_nothing},
    {"responses after a cancel", response_after_cancel},
    {"a lease ends early", lease_ends_early},
    {"a lease ends late", lease_ends_late},
    {"a lease ends in parts", lease_ends_in_parts},
    {"a keepalive succeeds after a revoke", keepalive_after_revoke},
    {"a keepalive promises more than was granted", keepalive_promises_more},
    {"a keepalive finds no lease though it must live", keepalive_finds_nothing},
    {"a revoke leaves keys behind", revoke_leaves_keys},
    {"a key joins a lease that ended", key_joins_ended_lease},
};
const size_t mutation_count = sizeof mutations / sizeof *mutations;
