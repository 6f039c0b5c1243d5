/* SPDX-License-Identifier: Apache-2.0
 * Tests of every rule of the checkers with a history that only this rule refuses. The history is a few
 * operations in sequence, recorded correctly. All rules accept it; then the test changes one thing. */
#include "unit.h"

#include <stdio.h>

#include "check_fake.h"
#include "tests/check/revisions.h"

struct example {
    struct fake *f;
    bool is_bad; /* change that thing */
};

static struct history_commit *commit_of(struct fake *f, int64_t revision)
{
    assert_int_equal(f->history.commits[revision - 2].revision, revision);
    return &f->history.commits[revision - 2];
}

/* The changes of a revision of the replay, to be changed. */
static struct history_change *changes_of(struct fake *f, int64_t revision)
{
    struct history_commit *c = commit_of(f, revision);
    struct history_change *copy = arena_copy(&f->arena, c->changes, c->count * sizeof *copy);
    c->changes = copy;
    return copy;
}

static void add_commit(struct fake *f, const char *key, const char *value)
{
    struct history_change c = {false, {.key = slice_text(key), .value = slice_text(value)}};
    history_commit_add(&f->history, &(struct history_commit){f->revision + 1, &c, 1, 0});
}

static struct history_result *result_of(struct fake *f, struct history_op *op)
{
    struct history_result *r = arena_copy(&f->arena, op->reply.results, op->reply.result_count * sizeof *r);
    if (op->reply.result_count)
        op->reply.results = r;
    return r;
}

static void make_unknown(struct history_op *op)
{
    op->outcome = HISTORY_UNKNOWN;
    op->reply = (struct history_reply){0};
}

/* As if it had been called after everything else. */
static void move_behind(struct fake *f, struct history_op *op)
{
    op->call_ns = f->history.now_ns + 1;
    op->return_ns = f->history.now_ns + 2;
}

/* --- the order ------------------------------------------------------------------------------------------ */

static void order_gap(struct example *e)
{
    struct history_op *lost = fake_put(e->f, "k0", "a", 0);
    make_unknown(lost);
    fake_put(e->f, "k1", "b", 0);
    if (e->is_bad)
        e->f->history.commits[0] = e->f->history.commits[--e->f->history.commit_count];
}

static void order_shared(struct example *e)
{
    struct history_op *a = fake_put(e->f, "k0", "a", 0);
    struct history_op *again = history_call(&e->f->history, 1, e->f->now_ns, &a->request);
    history_return(&e->f->history, again, e->f->now_ns, HISTORY_OK, &a->reply);
    again->call_ns = a->call_ns;
    if (!e->is_bad)
        make_unknown(again);
}

static void order_lost(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    if (e->is_bad)
        changes_of(e->f, 2)->kv.value = slice_text("z");
}

static void order_lost_tail(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    e->f->history.commit_count -= e->is_bad;
}

static void order_record(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    fake_put(e->f, "k0", "b", 0);
    changes_of(e->f, 3)->kv.version += e->is_bad;
}

static void order_record_of_nothing(struct example *e)
{
    make_unknown(fake_put(e->f, "k0", "a", 0));
    if (e->is_bad) /* a transaction without changes */
        history_commit_add(&e->f->history, &(struct history_commit){.revision = 3});
}

static void order_record_twice(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    if (e->is_bad)
        history_commit_add(&e->f->history, commit_of(e->f, 2));
}

static void order_future(struct example *e)
{
    struct history_op *grant = fake_lease_op(e->f, HISTORY_GRANT, 7, 10);
    if (e->is_bad)
        grant->reply.revision = 9;
}

static void author_none(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    if (e->is_bad)
        add_commit(e->f, "k0", "ghost");
}

static void author_twice(struct example *e)
{
    make_unknown(fake_put(e->f, "k0", "a", 0));
    if (e->is_bad)
        add_commit(e->f, "k0", "a");
}

static void author_failed(struct example *e)
{
    struct history_op *op = fake_put(e->f, "k0", "a", 0);
    make_unknown(op);
    op->outcome = e->is_bad ? HISTORY_FAILED : HISTORY_UNKNOWN;
}

static void real_time(struct example *e)
{
    struct history_op *a = fake_put(e->f, "k0", "a", 0);
    fake_put(e->f, "k1", "b", 0);
    if (e->is_bad)
        move_behind(e->f, a);
}

static void real_time_of_unknown(struct example *e)
{
    struct history_op *a = fake_put(e->f, "k0", "a", 0);
    fake_put(e->f, "k1", "b", 0);
    make_unknown(a);
    if (e->is_bad)
        move_behind(e->f, a);
}

static void stale_read(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    struct history_op *get = fake_get(e->f, "k0");
    fake_put(e->f, "k0", "b", 0);
    if (e->is_bad)
        move_behind(e->f, get);
}

static void stale_read_proven_by_watch(struct example *e)
{
    struct history_op *get = fake_get(e->f, "k0");
    struct history_op *put = fake_put(e->f, "k0", "b", 0);
    struct history_watch *w =
        fake_watch(e->f, &(struct history_watch){.key = slice_text("k0"), .start_revision = 2});
    make_unknown(put);
    fake_deliver(e->f, w, false);
    if (e->is_bad)
        move_behind(e->f, get);
}

static void serializable_may_be_stale(struct example *e)
{
    stale_read(e);
    e->f->history.ops[1]->request.is_serializable = true;
    if (e->is_bad) /* but has one state */
        result_of(e->f, e->f->history.ops[1])->kv_count = 0;
}

static void read_of_another_value(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    struct history_op *get = fake_get(e->f, "k0");
    if (e->is_bad) {
        struct history_kv *kv = arena_copy(&e->f->arena, get->reply.results[0].kvs, sizeof *kv);
        kv->value = slice_text("b");
        result_of(e->f, get)->kvs = kv;
    }
}

static void read_at_revision(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    fake_put(e->f, "k0", "b", 0);
    struct history_step s = {.kind = HISTORY_RANGE, .key = slice_text("k0"), .at_revision = 2};
    struct history_request r = history_one_step(&s);
    struct history_op *get = fake_do(e->f, &r);
    if (e->is_bad) /* the answer is that of revision 2, the request is not */
        get->request.then.items = arena_copy(
            &e->f->arena,
            &(struct history_step){.kind = HISTORY_RANGE, .key = slice_text("k0"), .at_revision = 3},
            sizeof s);
}

static void delete_of_nothing(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    struct history_op *none = fake_delete(e->f, "k1");
    fake_delete(e->f, "k0");
    none->reply.succeeded = false;
    if (e->is_bad)
        result_of(e->f, e->f->history.ops[2])->count = 2;
}

static struct history_op *do_txn(struct fake *f, int64_t mod)
{
    const struct history_compare c = {.key = slice_text("k0"), .target = HISTORY_MOD, .number = mod};
    const struct history_step get = {.kind = HISTORY_RANGE, .key = slice_text("k1")};
    return fake_do(f, &(struct history_request){.kind = HISTORY_TXN,
                                                .compares = &c,
                                                .compare_count = 1,
                                                .then = {&get, 1},
                                                .otherwise = {&get, 1}});
}

static void txn_branch(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    do_txn(e->f, 2);
    struct history_op *op = do_txn(e->f, 1);
    if (e->is_bad)
        op->reply.succeeded = true;
}

static void compacted(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    fake_put(e->f, "k0", "b", 0);
    struct history_step s = {.kind = HISTORY_RANGE, .key = slice_text("k0"), .at_revision = 2};
    struct history_request r = history_one_step(&s);
    struct history_op *get = fake_do(e->f, &r);
    fake_compact(e->f, 3);
    if (e->is_bad)
        move_behind(e->f, get);
}

/* --- watches ---------------------------------------------------------------------------------------- */

/* Revisions 2 to 5 on k0, k1, k0 and both, watched from revision 2; all come in one response. */
static struct history_watch *watch_example(struct example *e, bool with_progress)
{
    fake_put(e->f, "k0", "a", 0);
    fake_put(e->f, "k1", "b", 0);
    fake_put(e->f, "k0", "c", 0);
    struct history_step steps[] = {{.kind = HISTORY_PUT, .key = slice_text("k0"), .value = slice_text("d")},
                                   {.kind = HISTORY_DELETE, .key = slice_text("k1")}};
    fake_do(e->f, &(struct history_request){.kind = HISTORY_TXN, .then = {steps, 2}});
    struct history_watch *w = fake_watch(e->f, &(struct history_watch){.key = slice_text("k0"),
                                                                       .range_end = slice_text("k2"),
                                                                       .start_revision = 2,
                                                                       .wants_prev = true});
    fake_deliver(e->f, w, with_progress);
    w->complete_to = 5;
    return w;
}

static struct history_event *events_of(struct history_watch *w)
{
    return (struct history_event *)(uintptr_t)w->responses[1].events;
}

static void drop_event(struct history_watch *w, size_t at)
{
    struct history_event *events = events_of(w);
    w->responses[1].event_count--;
    memmove(&events[at], &events[at + 1], (w->responses[1].event_count - at) * sizeof *events);
}

static void watch_filter(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    if (e->is_bad)
        w->range_end = (struct slice){0};
}

static void watch_filter_of_kind(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    w->excludes_deletes = e->is_bad;
}

static void watch_ordered(struct example *e)
{
    struct history_event *events = events_of(watch_example(e, false)), first = events[0];
    if (e->is_bad) {
        events[0] = events[1];
        events[1] = first;
    }
}

static void watch_ordered_within(struct example *e)
{
    struct history_event *events = events_of(watch_example(e, false)), last = events[4];
    if (e->is_bad) {
        events[4] = events[3];
        events[3] = last;
    }
}

static void watch_unique(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    struct history_event *events = arena_alloc(&e->f->arena, 6 * sizeof *events);
    memcpy(events, events_of(w), 5 * sizeof *events);
    events[5] = events[4];
    w->responses[1].events = events;
    w->responses[1].event_count += e->is_bad;
}

static void split(struct example *e, struct history_watch *w)
{
    struct history_response rest = w->responses[1];
    rest.events += 4;
    rest.event_count = 1;
    w->responses[1].event_count = 4;
    history_watch_add(&e->f->history, w, e->f->now_ns, &rest);
}

static void watch_atomic(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    split(e, w);
    w->responses[1].is_fragment = w->allows_fragments = true;
    if (e->is_bad)
        w->responses[1].is_fragment = false;
}

static void watch_fragments_not_allowed(struct example *e)
{
    watch_atomic(&(struct example){e->f, false});
    e->f->history.watches[0]->allows_fragments = !e->is_bad;
}

static void watch_bookmark(struct example *e)
{
    struct history_watch *w = watch_example(e, true);
    struct history_response progress = w->responses[2];
    if (e->is_bad) {
        w->responses[2] = w->responses[1];
        w->responses[1] = progress;
    }
}

static void watch_bookmark_goes_back(struct example *e)
{
    struct history_watch *w = watch_example(e, true);
    if (e->is_bad)
        w->responses[2].revision = 4;
}

static void watch_bookmark_before_all(struct example *e)
{
    struct history_watch *w = watch_example(e, true);
    w->complete_to = 0;
    if (e->is_bad) { /* the events never came, though the notification implies it */
        w->responses[1] = w->responses[2];
        w->count = 2;
    }
}

static void watch_resumable(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    if (e->is_bad)
        drop_event(w, 0);
}

static void watch_before_start(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    w->start_revision += e->is_bad;
}

static void watch_reliable(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    if (e->is_bad)
        drop_event(w, 2);
}

static void watch_reliable_at_the_end(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    if (e->is_bad)
        drop_event(w, 4);
}

static void watch_event(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    if (e->is_bad)
        events_of(w)[1].change.kv.value = slice_text("z");
}

static void watch_event_of_no_revision(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    struct history_event *events = arena_new(&e->f->arena, 6 * sizeof *events);
    memcpy(events, events_of(w), 5 * sizeof *events);
    events[5].change = (struct history_change){true, {.key = slice_text("k11"), .mod = 5}};
    w->responses[1].events = events;
    w->responses[1].event_count += e->is_bad;
}

static void watch_prev_kv(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    if (e->is_bad)
        events_of(w)[2].prev.value = slice_text("z");
}

static void watch_prev_kv_missing(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    fake_compact(e->f, 4); /* after the events: no excuse */
    if (e->is_bad)
        events_of(w)[2].has_prev = false;
}

static void watch_prev_kv_compacted(struct example *e)
{
    fake_put(e->f, "k0", "a", 0);
    fake_put(e->f, "k0", "b", 0);
    fake_compact(e->f, e->is_bad ? 2 : 3); /* revision 3's previous pair is removed by 3, not by 2 */
    struct history_watch *w = fake_watch(
        e->f, &(struct history_watch){.key = slice_text("k0"), .start_revision = 3, .wants_prev = true});
    fake_deliver(e->f, w, false);
    events_of(w)[0].has_prev = false;
}

static void watch_create(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    if (e->is_bad)
        events_of(w)[2].change.kv.create = 4;
}

static void watch_header(struct example *e)
{
    struct history_watch *w = watch_example(e, false);
    if (e->is_bad)
        w->responses[1].revision = 4;
}

/* Revisions 2 to 4, compacted at 3: a watch from 2 is canceled, one from 3 is not. */
static struct history_watch *cancel_example(struct example *e, int64_t from)
{
    fake_put(e->f, "k0", "a", 0);
    fake_put(e->f, "k0", "b", 0);
    fake_compact(e->f, 3);
    fake_put(e->f, "k0", "c", 0);
    struct history_watch *w =
        fake_watch(e->f, &(struct history_watch){.key = slice_text("k0"), .start_revision = from});
    fake_deliver(e->f, w, false);
    return w;
}

static void watch_canceled_without_a_compaction(struct example *e)
{
    struct history_watch *w = cancel_example(e, 2);
    assert_int_equal(w->responses[1].compact_revision, 3);
    if (e->is_bad)
        w->responses[1].compact_revision = 4;
}

static void watch_canceled_without_need(struct example *e)
{
    struct history_watch *w = cancel_example(e, 2);
    if (e->is_bad)
        w->start_revision = 3;
}

static void watch_not_canceled(struct example *e)
{
    struct history_watch *w = cancel_example(e, 3);
    if (e->is_bad) {
        w->start_revision = 2; /* served from 2, all of it */
        struct history_event *events = arena_new(&e->f->arena, 3 * sizeof *events);
        memcpy(events + 1, events_of(w), 2 * sizeof *events);
        events[0].change = commit_of(e->f, 2)->changes[0];
        w->responses[1].events = events;
        w->responses[1].event_count = 3;
    }
}

static void watch_after_cancel(struct example *e)
{
    struct history_watch *w = cancel_example(e, 3);
    struct history_response cancel = {.time_ns = e->f->now_ns, .revision = 4, .is_canceled = true};
    history_watch_add(&e->f->history, w, e->f->now_ns, &cancel);
    if (e->is_bad) {
        w->responses[2] = w->responses[1];
        w->responses[1] = cancel;
    }
}

/* --- leases --------------------------------------------------------------------------------------------- */

/* Lease 7 of 5 seconds with two keys, revisions 2 and 3; ends after a keepalive with revision 4. */
static void lease_example(struct example *e)
{
    fake_lease_op(e->f, HISTORY_GRANT, 7, 5);
    fake_put(e->f, "k0", "a", 7);
    fake_put(e->f, "k1", "b", 7);
    fake_wait(e->f, 2000);
    fake_lease_op(e->f, HISTORY_KEEPALIVE, 7, 0);
    fake_wait(e->f, 3000);
    fake_get(e->f, "k0");
    fake_wait(e->f, 2100);
    fake_put(e->f, "k2", "c", 0);
    assert_int_equal(e->f->revision, 5);
}

static void lease_early(struct example *e)
{
    lease_example(e);
    if (e->is_bad)
        e->f->history.ops[0]->reply.ttl_s = 50;
}

static void lease_early_after_keepalive(struct example *e)
{
    lease_example(e);
    if (e->is_bad) /* as if it had been sent only just before the end was seen */
        e->f->history.ops[3]->call_ns = e->f->history.ops[3]->return_ns =
            e->f->history.ops[5]->call_ns - FAKE_MS;
}

static void lease_early_for_keepalive(struct example *e)
{
    fake_lease_op(e->f, HISTORY_GRANT, 7, 5);
    fake_wait(e->f, 2000);
    struct history_op *keepalive = fake_lease_op(e->f, HISTORY_KEEPALIVE, 7, 0);
    if (e->is_bad)
        keepalive->reply.ttl_s = 0;
}

static void lease_late(struct example *e)
{
    lease_example(e);
    if (e->is_bad)
        e->f->history.ops[0]->reply.ttl_s = e->f->history.ops[3]->reply.ttl_s = 1;
}

static void lease_whole(struct example *e)
{
    lease_example(e);
    commit_of(e->f, 4)->count -= e->is_bad;
    e->f->history.op_count--; /* no read: otherwise the other key is late as well */
    e->f->history.commit_count--;
}

static void lease_after_end(struct example *e)
{
    lease_example(e);
    struct history_op *keepalive = fake_lease_op(e->f, HISTORY_KEEPALIVE, 7, 0);
    if (e->is_bad)
        keepalive->reply.ttl_s = 5;
}

static void lease_after_revoke(struct example *e)
{
    fake_lease_op(e->f, HISTORY_GRANT, 7, 500);
    struct history_op *revoke = fake_lease_op(e->f, HISTORY_REVOKE, 7, 0);
    if (e->is_bad) { /* the store forgot that it was revoked */
        e->f->leases[0].is_alive = true;
        fake_put(e->f, "k0", "a", 7);
    }
    assert_int_equal(revoke->reply.revision, 1);
}

static void lease_remains(struct example *e)
{
    fake_lease_op(e->f, HISTORY_GRANT, 7, 500);
    fake_put(e->f, "k0", "a", 7);
    struct history_op *revoke = fake_lease_op(e->f, HISTORY_REVOKE, 7, 0);
    if (e->is_bad)
        revoke->reply.revision = 2;
}

static void lease_ttl(struct example *e)
{
    fake_lease_op(e->f, HISTORY_GRANT, 7, 50);
    struct history_op *keepalive = fake_lease_op(e->f, HISTORY_KEEPALIVE, 7, 0);
    keepalive->reply.ttl_s += e->is_bad;
}

/* --- all of them ------------------------------------------------------------------------------------ */

static const struct {
    enum check_rule rule;
    void (*make)(struct example *e);
} examples[] = {
    {RULE_ORDER_GAP, order_gap},
    {RULE_ORDER_SHARED, order_shared},
    {RULE_ORDER_LOST, order_lost},
    {RULE_ORDER_LOST, order_lost_tail},
    {RULE_ORDER_RECORD, order_record},
    {RULE_ORDER_RECORD, order_record_of_nothing},
    {RULE_ORDER_RECORD, order_record_twice},
    {RULE_ORDER_FUTURE, order_future},
    {RULE_AUTHOR_NONE, author_none},
    {RULE_AUTHOR_TWICE, author_twice},
    {RULE_AUTHOR_FAILED, author_failed},
    {RULE_REAL_TIME, real_time},
    {RULE_REAL_TIME, real_time_of_unknown},
    {RULE_STALE_READ, stale_read},
    {RULE_STALE_READ, stale_read_proven_by_watch},
    {RULE_READ, serializable_may_be_stale},
    {RULE_READ, read_of_another_value},
    {RULE_READ, read_at_revision},
    {RULE_TXN, delete_of_nothing},
    {RULE_TXN, txn_branch},
    {RULE_COMPACTED, compacted},
    {RULE_WATCH_FILTER, watch_filter},
    {RULE_WATCH_FILTER, watch_filter_of_kind},
    {RULE_WATCH_ORDERED, watch_ordered},
    {RULE_WATCH_ORDERED, watch_ordered_within},
    {RULE_WATCH_UNIQUE, watch_unique},
    {RULE_WATCH_ATOMIC, watch_atomic},
    {RULE_WATCH_ATOMIC, watch_fragments_not_allowed},
    {RULE_WATCH_BOOKMARK, watch_bookmark},
    {RULE_WATCH_BOOKMARK, watch_bookmark_goes_back},
    {RULE_WATCH_BOOKMARK, watch_bookmark_before_all},
    {RULE_WATCH_RESUMABLE, watch_resumable},
    {RULE_WATCH_RESUMABLE, watch_before_start},
    {RULE_WATCH_RELIABLE, watch_reliable},
    {RULE_WATCH_RELIABLE, watch_reliable_at_the_end},
    {RULE_WATCH_EVENT, watch_event},
    {RULE_WATCH_EVENT, watch_event_of_no_revision},
    {RULE_WATCH_PREV_KV, watch_prev_kv},
    {RULE_WATCH_PREV_KV, watch_prev_kv_missing},
    {RULE_WATCH_PREV_KV, watch_prev_kv_compacted},
    {RULE_WATCH_CREATE, watch_create},
    {RULE_WATCH_HEADER, watch_header},
    {RULE_WATCH_CANCEL, watch_canceled_without_a_compaction},
    {RULE_WATCH_CANCEL, watch_canceled_without_need},
    {RULE_WATCH_CANCEL, watch_not_canceled},
    {RULE_WATCH_CANCEL, watch_after_cancel},
    {RULE_LEASE_EARLY, lease_early},
    {RULE_LEASE_EARLY, lease_early_after_keepalive},
    {RULE_LEASE_EARLY, lease_early_for_keepalive},
    {RULE_LEASE_LATE, lease_late},
    {RULE_LEASE_WHOLE, lease_whole},
    {RULE_LEASE_AFTER_END, lease_after_end},
    {RULE_LEASE_AFTER_END, lease_after_revoke},
    {RULE_LEASE_REMAINS, lease_remains},
    {RULE_LEASE_TTL, lease_ttl},
};

static void check_example(size_t i, bool is_bad)
{
    struct example e = {fake_new(i + 1), is_bad};
    struct check_report r = {0};
    examples[i].make(&e);
    bool passed = check_history(&e.f->history, &fake_options, &r);
    enum check_rule rule = examples[i].rule;
    if (!is_bad && !passed)
        fail_msg("example %zu of %s is refused before the change:\n%s", i, check_rule_name(rule),
                 buf_text(&r.text));
    if (is_bad && (r.counts[rule] == 0 || r.count != r.counts[rule]))
        fail_msg("example %zu of %s: found %zu, of this rule %zu:\n%s", i, check_rule_name(rule), r.count,
                 r.counts[rule], buf_text(&r.text));
    if (is_bad)
        printf("%s", buf_text(&r.text));
    check_report_done(&r);
    fake_free(e.f);
}

static void test_each_rule_alone(void **state)
{
    (void)state;
    bool covered[RULE_COUNT] = {false};
    for (size_t i = 0; i < COUNT_OF(examples); i++) {
        check_example(i, false);
        check_example(i, true);
        covered[examples[i].rule] = true;
    }
    for (int rule = 0; rule < RULE_COUNT; rule++)
        if (!covered[rule])
            fail_msg("no history for %s: %s", check_rule_name((enum check_rule)rule),
                     check_rule_text((enum check_rule)rule));
}

/* Without a replay the acknowledged mutations are the order; where one is missing nothing is decided. */
static void test_without_replay(void **state)
{
    (void)state;
    struct check_options options = {0};
    struct check_report r = {0};
    struct fake *f = fake_new(1);
    struct history_op *first = fake_put(f, "k0", "a", 0);
    struct history_op *second = fake_put(f, "k0", "b", 0);
    struct history_op *get = fake_get(f, "k0");
    f->history.commit_count = 0;
    assert_true(check_history(&f->history, &options, &r));
    result_of(f, get)->kv_count = 0;
    assert_false(check_history(&f->history, &options, &r));
    assert_int_equal(r.counts[RULE_READ], 1);
    make_unknown(first);
    check_report_done(&r);
    assert_false(check_history(&f->history, &options, &r));
    assert_int_equal(r.count, 0);
    assert_true(r.is_undecided);
    first->outcome = HISTORY_OK;
    first->reply = second->reply;
    check_report_done(&r);
    fake_free(f);
}

/* Unknown deletes of one key look alike: each finds its place, independent of the order of the search. */
static void test_unknown_operations_are_matched(void **state)
{
    (void)state;
    struct fake *f = fake_new(1);
    struct check_report r = {0};
    struct revisions order;
    fake_put(f, "k0", "a", 0);
    struct history_op *late = fake_delete(f, "k0");
    fake_put(f, "k0", "b", 0);
    struct history_op *early = fake_delete(f, "k0");
    fake_get(f, "k0");
    make_unknown(late);
    make_unknown(early);
    /* The second delete was called first. The first, called later, could not have been seen so early
     * otherwise. */
    early->call_ns = 0;
    assert_true(revisions_check(&order, &f->history, &fake_options, &r));
    assert_int_equal(r.count, 0);
    assert_int_equal(revisions_at(&order, 3)->author, AUTHOR_OPERATION);
    assert_int_equal(revisions_at(&order, 5)->author, AUTHOR_OPERATION);
    assert_ptr_not_equal(revisions_at(&order, 3)->op, revisions_at(&order, 5)->op);
    revisions_done(&order);
    /* One of them alone cannot have done both. */
    early->outcome = HISTORY_FAILED;
    assert_true(revisions_check(&order, &f->history, &fake_options, &r));
    assert_int_equal(r.count, 1);
    revisions_done(&order);
    check_report_done(&r);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_rule_alone),
        cmocka_unit_test(test_without_replay),
        cmocka_unit_test(test_unknown_operations_are_matched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
