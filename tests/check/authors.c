/* SPDX-License-Identifier: Apache-2.0
 * Authors of the committed transactions that were not acknowledged: operations of unknown outcome, each at
 * most once, called before the transaction was seen, and doing exactly this in the state before it. If
 * several fit (deletes of one key, for example) a matching decides, so that a bad guess causes no false
 * alarm. Expired leases delete their keys without a request; if a recorder knows which lease did, nothing is
 * guessed. */
#include "tests/check/revisions_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* An operation that may have written a key. */
struct writer {
    struct slice key;
    const struct history_op *op;
};

struct matching {
    struct revisions *r;
    struct writer *writers; /* by key */
    size_t writer_count;
    const struct history_op **wide; /* delete ranges: may have written any key */
    size_t wide_count;
    struct arena scratch;
    struct candidates {
        const struct history_op **ops;
        size_t count, capacity;
    } * candidates;                 /* of each entry */
    struct revisions_entry **taken; /* by operation number: the entry it is the author of */
    uint32_t *tried;                /* by operation number: in this round */
    uint32_t round;
};

static int writer_compare(const void *a, const void *b)
{
    const struct writer *x = a, *y = b;
    return slice_compare(x->key, y->key);
}

static void add_writers(struct matching *m, const struct history_op *op, struct history_steps steps)
{
    for (size_t i = 0; i < steps.count; i++)
        if (steps.items[i].kind == HISTORY_DELETE && steps.items[i].range_end.size > 0)
            m->wide[m->wide_count++] = op;
        else if (steps.items[i].kind != HISTORY_RANGE)
            m->writers[m->writer_count++] = (struct writer){steps.items[i].key, op};
}

static void collect_writers(struct matching *m)
{
    const struct history *h = m->r->history;
    size_t steps = 0;
    for (size_t i = 0; i < h->op_count; i++)
        if (h->ops[i]->outcome == HISTORY_UNKNOWN)
            steps += h->ops[i]->request.then.count + h->ops[i]->request.otherwise.count;
    m->writers = mem_new(steps * sizeof *m->writers);
    m->wide = mem_new(steps * sizeof(struct history_op *));
    for (size_t i = 0; i < h->op_count; i++)
        if (h->ops[i]->outcome == HISTORY_UNKNOWN) {
            add_writers(m, h->ops[i], h->ops[i]->request.then);
            add_writers(m, h->ops[i], h->ops[i]->request.otherwise);
        }
    if (m->writer_count)
        qsort(m->writers, m->writer_count, sizeof *m->writers, writer_compare);
}

static bool does_this(struct matching *m, const struct history_op *op, const struct revisions_entry *e)
{
    struct timeline_outcome o = timeline_execute(&m->r->timeline, &op->request, e->revision - 1, &m->scratch);
    bool same = timeline_same_changes(e->changes, e->count, o.changes, o.change_count);
    arena_reset(&m->scratch);
    return same;
}

static void try_candidate(struct matching *m, const struct revisions_entry *e, const struct history_op *op)
{
    struct candidates *c = &m->candidates[e - m->r->entries];
    if (op->call_ns > e->seen_ns || (c->count && c->ops[c->count - 1] == op) || !does_this(m, op, e))
        return;
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? c->capacity * 2 : 4;
        c->ops = mem_resize(c->ops, c->capacity * sizeof(struct history_op *));
    }
    c->ops[c->count++] = op;
}

static void find_candidates(struct matching *m, const struct revisions_entry *e)
{
    size_t low = 0, high = m->writer_count;
    struct slice key = e->changes[0].kv.key;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(m->writers[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < m->writer_count && slice_equal(m->writers[low].key, key); low++)
        try_candidate(m, e, m->writers[low].op);
    for (size_t i = 0; i < m->wide_count; i++)
        try_candidate(m, e, m->wide[i]);
}

/* Kuhn's augmenting path: takes an operation, if need be from an entry that can have another one. */
static bool match(struct matching *m, struct revisions_entry *e)
{
    const struct candidates *c = &m->candidates[e - m->r->entries];
    for (size_t i = 0; i < c->count; i++) {
        const struct history_op *op = c->ops[i];
        if (m->tried[op->number] == m->round)
            continue;
        m->tried[op->number] = m->round;
        if (m->taken[op->number] && !match(m, m->taken[op->number]))
            continue;
        m->taken[op->number] = e;
        e->author = AUTHOR_OPERATION;
        e->op = op;
        return true;
    }
    return false;
}

/* --- leases ------------------------------------------------------------------------------------------ */

static int attachment_compare(const void *a, const void *b)
{
    const struct revisions_attachment *x = a, *y = b;
    if (x->lease != y->lease)
        return x->lease < y->lease ? -1 : 1;
    int c = slice_compare(x->key, y->key);
    return c ? c : (x->revision > y->revision) - (x->revision < y->revision);
}

static void collect_attachments(struct revisions *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++)
        count += r->entries[i].count;
    r->attachments = mem_new(count * sizeof *r->attachments);
    for (size_t i = 0; i < r->count; i++)
        for (size_t j = 0; j < r->entries[i].count; j++) {
            const struct history_change *c = &r->entries[i].changes[j];
            if (!c->is_delete && c->kv.lease)
                r->attachments[r->attachment_count++] =
                    (struct revisions_attachment){c->kv.lease, r->entries[i].revision, c->kv.key};
        }
    if (r->attachment_count)
        qsort(r->attachments, r->attachment_count, sizeof *r->attachments, attachment_compare);
}

size_t revisions_attached(const struct revisions *r, int64_t lease, int64_t at, struct slice *ret_key)
{
    size_t low = 0, high = r->attachment_count, count = 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r->attachments[middle].lease < lease)
            low = middle + 1;
        else
            high = middle;
    }
    const struct revisions_attachment *last = NULL;
    for (; low < r->attachment_count && r->attachments[low].lease == lease; low++) {
        const struct revisions_attachment *a = &r->attachments[low];
        struct history_kv kv;
        if ((last && slice_equal(last->key, a->key)) || !timeline_get(&r->timeline, a->key, at, &kv))
            continue;
        last = a;
        if (kv.lease != lease)
            continue;
        count++;
        if (ret_key)
            *ret_key = a->key;
    }
    return count;
}

/* The lease that all keys of an entry of deletes were attached to; 0 when there is none. */
static int64_t ended_lease(const struct revisions *r, const struct revisions_entry *e)
{
    int64_t lease = 0;
    if (e->told_lease)
        return e->told_lease > 0 ? e->told_lease : 0;
    for (size_t i = 0; i < e->count; i++) {
        struct history_kv kv = {0};
        bool exists = timeline_get(&r->timeline, e->changes[i].kv.key, e->revision - 1, &kv);
        if (!e->changes[i].is_delete || !exists || kv.lease == 0 || (i && kv.lease != lease))
            return 0;
        lease = kv.lease;
    }
    return lease;
}

/* Deletes that a lease explains may be an operation's all the same. Those need one most that the end of a
 * lease explains badly: some keys are left, or something succeeds on the lease later. */
enum need { NEEDS_OPERATION, NEEDS_RATHER, NEEDS_HARDLY, NEEDS };

static bool lives_on(const struct revisions *r, int64_t lease, const struct revisions_entry *e)
{
    const struct history *h = r->history;
    for (size_t i = 0; i < r->attachment_count; i++)
        if (r->attachments[i].lease == lease && r->attachments[i].revision > e->revision)
            return true;
    for (size_t i = 0; i < h->op_count; i++)
        if (h->ops[i]->request.kind == HISTORY_KEEPALIVE && h->ops[i]->request.lease == lease &&
            h->ops[i]->outcome == HISTORY_OK && h->ops[i]->reply.ttl_s > 0 && h->ops[i]->call_ns > e->seen_ns)
            return true;
    return false;
}

static enum need need_of(const struct matching *m, const struct revisions_entry *e)
{
    int64_t lease = ended_lease(m->r, e);
    if (!lease)
        return NEEDS_OPERATION;
    bool is_part = revisions_attached(m->r, lease, e->revision - 1, NULL) != e->count;
    /* An entry that can have only one author needs no order. */
    return is_part || (m->candidates[e - m->r->entries].count && lives_on(m->r, lease, e)) ? NEEDS_RATHER
                                                                                           : NEEDS_HARDLY;
}

static void find_author(struct matching *m, struct revisions_entry *e, enum need need)
{
    m->round++;
    if (match(m, e) || need == NEEDS_OPERATION)
        return;
    e->lease = ended_lease(m->r, e);
    e->author = revisions_attached(m->r, e->lease, e->revision - 1, NULL) == e->count ? AUTHOR_LEASE
                                                                                      : AUTHOR_LEASE_PART;
}

/* --- nobody ------------------------------------------------------------------------------------------- */

static void report_nobody(struct matching *m, const struct revisions_entry *e, struct check_report *report)
{
    const struct history *h = m->r->history;
    const struct history_op *failed = NULL, *twice = NULL, *late = NULL;
    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = h->ops[i];
        if (op->request.kind > HISTORY_TXN || op->request.kind == HISTORY_RANGE || !does_this(m, op, e))
            continue;
        if (op->outcome == HISTORY_FAILED)
            failed = op;
        else if (op->outcome == HISTORY_OK || m->taken[op->number])
            twice = op;
        else
            late = op;
    }
    struct buf changes = {0}, proof = {0};
    revisions_describe_changes(&changes, e->changes, e->count);
    revisions_describe_proof(&proof, e);
    if (late)
        revisions_found(report, RULE_REAL_TIME, late,
                        "called at %" PRId64 " is the only one that can have made revision %" PRId64
                        " (%s), which was already %s",
                        late->call_ns, e->revision, buf_text(&changes), buf_text(&proof));
    else if (failed)
        revisions_found(report, RULE_AUTHOR_FAILED, failed,
                        "failed for certain, but revision %" PRId64 " (%s) can only be its work", e->revision,
                        buf_text(&changes));
    else if (twice)
        revisions_found(report, RULE_AUTHOR_TWICE, twice,
                        "was committed as revision %" PRId64 " and again as revision %" PRId64 " (%s)",
                        m->taken[twice->number] ? m->taken[twice->number]->revision : twice->reply.revision,
                        e->revision, buf_text(&changes));
    else
        check_found(report, RULE_AUTHOR_NONE,
                    "revision %" PRId64 " (%s) is the work of no operation; it was %s", e->revision,
                    buf_text(&changes), buf_text(&proof));
    buf_done(&changes);
    buf_done(&proof);
}

void revisions_find_authors(struct revisions *r, struct check_report *report)
{
    struct matching m = {.r = r};
    collect_attachments(r);
    collect_writers(&m);
    m.candidates = mem_new(r->count * sizeof *m.candidates);
    m.taken = mem_new(r->history->op_count * sizeof(struct revisions_entry *));
    m.tried = mem_new(r->history->op_count * sizeof *m.tried);
    enum need *needs = mem_new(r->count * sizeof *needs);
    for (size_t i = 0; i < r->count; i++) {
        struct revisions_entry *e = &r->entries[i];
        needs[i] = NEEDS;
        if (e->author != AUTHOR_NOBODY || e->count == 0)
            continue;
        if (e->told_lease <= 0)
            find_candidates(&m, e);
        needs[i] = need_of(&m, e);
    }
    for (enum need need = NEEDS_OPERATION; need < NEEDS; need++)
        for (size_t i = 0; i < r->count; i++)
            if (needs[i] == need)
                find_author(&m, &r->entries[i], need);
    mem_free(needs);
    for (size_t i = 0; i < r->count; i++)
        if (r->entries[i].author == AUTHOR_NOBODY && r->entries[i].count > 0)
            report_nobody(&m, &r->entries[i], report);
    for (size_t i = 0; i < r->count; i++)
        mem_free(m.candidates[i].ops);
    mem_free(m.candidates);
    mem_free(m.taken);
    mem_free(m.tried);
    mem_free(m.writers);
    mem_free(m.wide);
    arena_done(&m.scratch);
}
