/* SPDX-License-Identifier: Apache-2.0
 * Linearizability by revisions. The steps: the order of mutations, the time when each was first seen, the
 * author of each (authors.c), the order of real time, and the reads. */
#include "tests/check/revisions_internal.h"

#include <inttypes.h>
#include <stdlib.h>

const struct revisions_entry *revisions_at(const struct revisions *r, int64_t revision)
{
    return revision >= 2 && (uint64_t)revision < r->count + 2 ? &r->entries[revision - 2] : NULL;
}

static bool is_key_value(const struct history_op *op)
{
    return op->request.kind <= HISTORY_TXN;
}

bool revisions_is_mutation(const struct history_op *op)
{
    const struct history_request *r = &op->request;
    if (op->outcome != HISTORY_OK || !is_key_value(op))
        return false;
    const struct history_steps *steps =
        r->kind != HISTORY_TXN || op->reply.succeeded ? &r->then : &r->otherwise;
    for (size_t i = 0; i < steps->count; i++)
        if (steps->items[i].kind == HISTORY_PUT ||
            (steps->items[i].kind == HISTORY_DELETE && i < op->reply.result_count &&
             op->reply.results[i].count > 0))
            return true;
    return false;
}

void revisions_describe_proof(struct buf *b, const struct revisions_entry *e)
{
    if (e->seen_by_op) {
        buf_add_text(b, "acknowledged by ");
        history_describe(b, e->seen_by_op);
        buf_addf(b, " (revision %" PRId64 ", returned at %" PRId64 ")", e->seen_by_op->reply.revision,
                 e->seen_ns);
    } else if (e->seen_by_watch) {
        buf_addf(b, "told by watch %zu of client %" PRIu32 " at %" PRId64, e->seen_by_watch->number,
                 e->seen_by_watch->client, e->seen_ns);
    } else {
        buf_add_text(b, "never acknowledged");
    }
}

void revisions_done(struct revisions *r)
{
    timeline_done(&r->timeline);
    mem_free(r->entries);
    mem_free(r->attachments);
    arena_done(&r->arena);
    *r = (struct revisions){0};
}

/* --- the order ------------------------------------------------------------------------------------- */

static size_t add_keys(struct slice *keys, size_t count, struct history_steps steps)
{
    for (size_t i = 0; i < steps.count; i++)
        if (steps.items[i].kind == HISTORY_PUT) {
            if (keys)
                keys[count] = steps.items[i].key;
            count++;
        }
    return count;
}

static size_t collect_keys(const struct history *h, struct slice *keys)
{
    size_t count = 0;
    for (size_t i = 0; i < h->op_count; i++) {
        count = add_keys(keys, count, h->ops[i]->request.then);
        count = add_keys(keys, count, h->ops[i]->request.otherwise);
    }
    for (size_t i = 0; i < h->commit_count; i++)
        for (size_t j = 0; j < h->commits[i].count; j++) {
            if (keys)
                keys[count] = h->commits[i].changes[j].kv.key;
            count++;
        }
    return count;
}

/* The evidence for a revision: an acknowledged mutation or the replay. */
struct claim {
    int64_t revision;
    const struct history_op *op;
    const struct history_commit *commit;
};

static int claim_compare(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    if (x->revision != y->revision)
        return x->revision < y->revision ? -1 : 1;
    if (!x->op != !y->op)
        return x->op ? 1 : -1; /* the replay first */
    return x->op ? (x->op->number > y->op->number) - (x->op->number < y->op->number) : 0;
}

static struct claim *collect_claims(const struct history *h, size_t *ret_count)
{
    struct claim *claims = mem_new((h->op_count + h->commit_count) * sizeof *claims);
    size_t count = 0;
    for (size_t i = 0; i < h->commit_count; i++)
        claims[count++] = (struct claim){h->commits[i].revision, NULL, &h->commits[i]};
    for (size_t i = 0; i < h->op_count; i++)
        if (revisions_is_mutation(h->ops[i]))
            claims[count++] = (struct claim){h->ops[i]->reply.revision, h->ops[i], NULL};
    if (count)
        qsort(claims, count, sizeof *claims, claim_compare);
    *ret_count = count;
    return claims;
}

void revisions_found(struct check_report *report, enum check_rule rule, const struct history_op *op,
                     const char *format, ...)
{
    struct buf b = {0};
    va_list args;
    va_start(args, format);
    history_describe(&b, op);
    buf_add_byte(&b, ' ');
    buf_addv(&b, format, args);
    va_end(args);
    check_found(report, rule, "%s", buf_text(&b));
    buf_done(&b);
}

void revisions_describe_changes(struct buf *b, const struct history_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_text(b, i ? ", " : "");
        buf_add_text(b, changes[i].is_delete ? "delete " : "put ");
        history_add_quoted(b, changes[i].kv.key);
        if (!changes[i].is_delete) {
            buf_add_text(b, "=");
            history_add_quoted(b, changes[i].kv.value);
            if (changes[i].kv.lease)
                buf_addf(b, " lease %" PRId64, changes[i].kv.lease);
        }
    }
}

/* The replay must equal the model's result; it may omit create revisions and versions. */
static void check_record(const struct revisions *r, const struct history_commit *c,
                         struct check_report *report)
{
    if (c->count == 0)
        check_found(report, RULE_ORDER_RECORD, "revision %" PRId64 " of the replay changes nothing",
                    c->revision);
    for (size_t i = 0; i < c->count; i++) {
        const struct history_kv *kv = &c->changes[i].kv, *before;
        before = timeline_version(&r->timeline, kv->key, c->revision - 1);
        bool exists = before && before->version > 0;
        int64_t create = exists ? before->create : c->revision, version = 1;
        if (exists)
            version += before->version;
        struct buf b = {0};
        revisions_describe_changes(&b, &c->changes[i], 1);
        if (c->changes[i].is_delete && !exists)
            check_found(report, RULE_ORDER_RECORD,
                        "revision %" PRId64 " of the replay, %s: there is no such key", c->revision,
                        buf_text(&b));
        else if (!c->changes[i].is_delete &&
                 ((kv->version && kv->version != version) || (kv->create && kv->create != create)))
            check_found(report, RULE_ORDER_RECORD,
                        "revision %" PRId64 " of the replay, %s: create revision %" PRId64
                        " and version %" PRId64 " instead of %" PRId64 " and %" PRId64,
                        c->revision, buf_text(&b), kv->create, kv->version, create, version);
        buf_done(&b);
    }
}

static bool same_kv(const struct history_kv *a, const struct history_kv *b)
{
    return slice_equal(a->key, b->key) && slice_equal(a->value, b->value) && a->create == b->create &&
           a->mod == b->mod && a->version == b->version && a->lease == b->lease;
}

static void describe_kv(struct buf *b, const struct history_kv *kv)
{
    history_add_quoted(b, kv->key);
    buf_add_text(b, "=");
    history_add_quoted(b, kv->value);
    buf_addf(b, " (create %" PRId64 ", mod %" PRId64 ", version %" PRId64 ", lease %" PRId64 ")", kv->create,
             kv->mod, kv->version, kv->lease);
}

/* The first difference between results, in words; false when there is none. */
static bool describe_difference(struct buf *b, const struct history_result *want,
                                const struct history_result *got, enum history_kind kind)
{
    if (kind != HISTORY_PUT && want->count != got->count) {
        buf_addf(b, "count %" PRId64 " instead of %" PRId64, got->count, want->count);
        return true;
    }
    if (kind == HISTORY_RANGE && want->has_more != got->has_more) {
        buf_addf(b, "%s pairs beyond the limit", got->has_more ? "claims" : "conceals");
        return true;
    }
    for (size_t i = 0; i < want->kv_count || i < got->kv_count; i++) {
        if (i < want->kv_count && i < got->kv_count && same_kv(&want->kvs[i], &got->kvs[i]))
            continue;
        buf_add_text(b, "returned ");
        if (i < got->kv_count)
            describe_kv(b, &got->kvs[i]);
        else
            buf_add_text(b, "no pair");
        buf_add_text(b, " instead of ");
        if (i < want->kv_count)
            describe_kv(b, &want->kvs[i]);
        else
            buf_add_text(b, "no pair");
        return true;
    }
    return false;
}

/* Compares a reply with what the state after revision `base` makes of the request. */
static void check_reply(const struct history_op *op, const struct timeline_outcome *want, int64_t base,
                        struct check_report *report)
{
    const struct history_reply *got = &op->reply;
    bool is_txn = op->request.kind == HISTORY_TXN;
    const struct history_steps *steps = want->succeeded ? &op->request.then : &op->request.otherwise;
    enum check_rule rule = op->request.kind == HISTORY_RANGE ? RULE_READ : RULE_TXN;
    if (is_txn && got->succeeded != want->succeeded) {
        revisions_found(report, rule, op,
                        "took the %s branch, but in the state after revision %" PRId64 " its compares %s",
                        got->succeeded ? "then" : "else", base, want->succeeded ? "hold" : "do not hold");
        return;
    }
    if (got->result_count != want->result_count) {
        revisions_found(report, rule, op, "has %zu results instead of %zu", got->result_count,
                        want->result_count);
        return;
    }
    struct buf b = {0};
    for (size_t i = 0; i < want->result_count; i++) {
        if (!describe_difference(&b, &want->results[i], &got->results[i], steps->items[i].kind))
            continue;
        if (is_txn && steps->items[i].kind == HISTORY_RANGE)
            rule = RULE_READ;
        revisions_found(report, rule, op,
                        "(step %zu) at revision %" PRId64 ": %s, which is the state after revision %" PRId64,
                        i + 1, got->revision, buf_text(&b), base);
        break;
    }
    buf_done(&b);
}

/* One revision: the replay's transaction, or what the acknowledged mutation must have done. */
static void add_entry(struct revisions *r, const struct claim *claims, size_t count, bool has_replay,
                      struct check_report *report)
{
    struct revisions_entry *e = &r->entries[r->count++];
    *e = (struct revisions_entry){.revision = claims[0].revision, .seen_ns = HISTORY_NEVER};
    if (claims[0].commit) {
        e->changes = claims[0].commit->changes;
        e->count = claims[0].commit->count;
        e->told_lease = claims[0].commit->ended_lease;
        check_record(r, claims[0].commit, report);
    }
    for (size_t i = 0; i < count; i++) {
        const struct history_op *op = claims[i].op;
        if (claims[i].commit && i > 0)
            check_found(report, RULE_ORDER_RECORD, "revision %" PRId64 " is twice in the replay",
                        e->revision);
        if (!op)
            continue;
        if (e->author == AUTHOR_OPERATION) {
            struct buf b = {0};
            history_describe(&b, e->op);
            revisions_found(report, RULE_ORDER_SHARED, op,
                            "was acknowledged with revision %" PRId64 ", which is that of %s", e->revision,
                            buf_text(&b));
            buf_done(&b);
            continue;
        }
        e->author = AUTHOR_OPERATION;
        e->op = op;
        struct timeline_outcome o = timeline_execute(&r->timeline, &op->request, e->revision - 1, &r->arena);
        check_reply(op, &o, e->revision - 1, report);
        struct buf b = {0};
        revisions_describe_changes(&b, e->changes, e->count);
        if (has_replay && !claims[0].commit)
            revisions_found(report, RULE_ORDER_LOST, op,
                            "was acknowledged with revision %" PRId64 ", which the replay lacks",
                            e->revision);
        else if (claims[0].commit && !timeline_same_changes(e->changes, e->count, o.changes, o.change_count))
            revisions_found(report, RULE_ORDER_LOST, op,
                            "was acknowledged with revision %" PRId64 ", where the replay has: %s",
                            e->revision, buf_text(&b));
        if (!claims[0].commit) {
            e->changes = o.changes;
            e->count = o.change_count;
        }
        buf_done(&b);
    }
    timeline_append(&r->timeline, e->changes, e->count);
}

static bool build_order(struct revisions *r, const struct check_options *options, struct check_report *report)
{
    const struct history *h = r->history;
    size_t count;
    struct claim *claims = collect_claims(h, &count);
    r->entries = mem_new(count * sizeof *r->entries);
    bool has_replay = options->is_replay_complete, is_whole = true;
    size_t from = 0, to;
    for (; from < count && is_whole; from = to) {
        for (to = from; to < count && claims[to].revision == claims[from].revision; to++)
            ;
        int64_t want = (int64_t)r->count + 2, got = claims[from].revision;
        is_whole = got == want;
        if (is_whole) {
            add_entry(r, &claims[from], to - from, has_replay, report);
        } else if (has_replay || got < want) {
            check_found(report, RULE_ORDER_GAP,
                        "revision %" PRId64 " is neither in the replay nor acknowledged; %" PRId64 " is",
                        want, got);
        } else {
            report->is_undecided = true;
            buf_addf(&report->text,
                     "undecided: revision %" PRId64 " is nowhere told, and there is no replay\n", want);
        }
    }
    mem_free(claims);
    return is_whole;
}

/* --- when was it seen ------------------------------------------------------------------------------ */

static void see(struct revisions *r, int64_t revision, int64_t at_ns, const struct history_op *op,
                const struct history_watch *w, struct check_report *report)
{
    if (revision == 1)
        return;
    if (!revisions_at(r, revision)) {
        if (revision == 0 && (w || !is_key_value(op)))
            return;
        if (op)
            revisions_found(report, RULE_ORDER_FUTURE, op,
                            "returned revision %" PRId64 ", the last one committed is %zu", revision,
                            r->count + 1);
        else
            check_found(report, RULE_ORDER_FUTURE,
                        "watch %zu of client %" PRIu32 " told revision %" PRId64
                        ", the last one committed is %zu",
                        w->number, w->client, revision, r->count + 1);
        return;
    }
    struct revisions_entry *e = &r->entries[revision - 2];
    if (at_ns < e->seen_ns) {
        e->seen_ns = at_ns;
        e->seen_by_op = op;
        e->seen_by_watch = w;
    }
}

static void find_proofs(struct revisions *r, struct check_report *report)
{
    const struct history *h = r->history;
    for (size_t i = 0; i < h->op_count; i++)
        if (h->ops[i]->outcome == HISTORY_OK)
            see(r, h->ops[i]->reply.revision, h->ops[i]->return_ns, h->ops[i], NULL, report);
    for (size_t i = 0; i < h->watch_count; i++)
        for (size_t j = 0; j < h->watches[i]->count; j++)
            see(r, h->watches[i]->responses[j].revision, h->watches[i]->responses[j].time_ns, NULL,
                h->watches[i], report);
    /* A client that saw a revision saw all revisions before it. */
    for (size_t i = r->count; i-- > 1;)
        if (r->entries[i].seen_ns < r->entries[i - 1].seen_ns) {
            r->entries[i - 1].seen_ns = r->entries[i].seen_ns;
            r->entries[i - 1].seen_by_op = r->entries[i].seen_by_op;
            r->entries[i - 1].seen_by_watch = r->entries[i].seen_by_watch;
        }
}

/* --- real time --------------------------------------------------------------------------------------- */

/* Keepalives do not go through the log, serializable reads are of one member: neither must be recent. */
static bool must_be_recent(const struct history_op *op)
{
    return op->outcome == HISTORY_OK && op->request.kind != HISTORY_KEEPALIVE &&
           !op->request.is_serializable && op->reply.revision > 0;
}

/* seen_ns rises with the revision, so the last one seen before a call is found by bisection. */
static const struct revisions_entry *last_seen_before(const struct revisions *r, int64_t ns)
{
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r->entries[middle].seen_ns < ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &r->entries[low - 1] : NULL;
}

static void check_real_time(const struct revisions *r, struct check_report *report)
{
    const struct history *h = r->history;
    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = h->ops[i];
        const struct revisions_entry *e = must_be_recent(op) ? last_seen_before(r, op->call_ns) : NULL;
        bool is_mutation = revisions_is_mutation(op);
        if (!e || (is_mutation ? op->reply.revision > e->revision : op->reply.revision >= e->revision))
            continue;
        struct buf b = {0};
        revisions_describe_proof(&b, e);
        revisions_found(report, is_mutation ? RULE_REAL_TIME : RULE_STALE_READ, op,
                        "called at %" PRId64 " has revision %" PRId64 ", but revision %" PRId64
                        " was already %s",
                        op->call_ns, op->reply.revision, e->revision, buf_text(&b));
        buf_done(&b);
    }
}

/* --- what was read ------------------------------------------------------------------------------------ */

static void check_reads(struct revisions *r, struct check_report *report)
{
    const struct history *h = r->history;
    struct arena scratch = {0};
    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = h->ops[i];
        int64_t at = op->reply.revision;
        if (op->outcome != HISTORY_OK || !is_key_value(op) || revisions_is_mutation(op) ||
            at > r->timeline.revision || at < 1)
            continue;
        struct timeline_outcome o = timeline_execute(&r->timeline, &op->request, at, &scratch);
        check_reply(op, &o, at, report);
        arena_reset(&scratch);
    }
    arena_done(&scratch);
}

/* The highest revision compacted by what had returned at that time. */
struct compaction {
    int64_t return_ns, revision;
    const struct history_op *op;
};

static int compaction_compare(const void *a, const void *b)
{
    const struct compaction *x = a, *y = b;
    return (x->return_ns > y->return_ns) - (x->return_ns < y->return_ns);
}

static struct compaction *collect_compactions(const struct history *h, size_t *ret_count)
{
    struct compaction *all = mem_new(h->op_count * sizeof *all);
    size_t count = 0;
    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = h->ops[i];
        if (op->request.kind == HISTORY_COMPACT && op->outcome == HISTORY_OK)
            all[count++] = (struct compaction){op->return_ns, op->request.compact_revision, op};
    }
    if (count)
        qsort(all, count, sizeof *all, compaction_compare);
    for (size_t i = 1; i < count; i++)
        if (all[i - 1].revision > all[i].revision) {
            all[i].revision = all[i - 1].revision;
            all[i].op = all[i - 1].op;
        }
    *ret_count = count;
    return all;
}

/* Reads of a revision below one that was compacted before the call, as any member that is recent knows. */
static void check_compacted(const struct revisions *r, struct check_report *report)
{
    const struct history *h = r->history;
    size_t count;
    struct compaction *all = collect_compactions(h, &count);
    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = h->ops[i];
        if (op->request.kind != HISTORY_RANGE || !must_be_recent(op) || op->request.then.count == 0)
            continue;
        int64_t at = op->request.then.items[0].at_revision;
        size_t low = 0, high = count;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (all[middle].return_ns < op->call_ns)
                low = middle + 1;
            else
                high = middle;
        }
        if (at <= 0 || low == 0 || at >= all[low - 1].revision)
            continue;
        struct buf b = {0};
        history_describe(&b, all[low - 1].op);
        revisions_found(report, RULE_COMPACTED, op, "succeeded though %s was acknowledged before its call",
                        buf_text(&b));
        buf_done(&b);
    }
    mem_free(all);
}

bool revisions_check(struct revisions *r, const struct history *h, const struct check_options *options,
                     struct check_report *report)
{
    *r = (struct revisions){.history = h};
    size_t key_count = collect_keys(h, NULL);
    struct slice *keys = mem_new(key_count * sizeof *keys);
    collect_keys(h, keys);
    timeline_init(&r->timeline, keys, key_count);
    mem_free(keys);
    if (!build_order(r, options, report))
        return false;
    find_proofs(r, report);
    revisions_find_authors(r, report);
    check_real_time(r, report);
    check_reads(r, report);
    check_compacted(r, report);
    return true;
}
