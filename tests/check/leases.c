/* SPDX-License-Identifier: Apache-2.0
 * Checks of leases. The checker groups the operations of each lease and finds its end: the first committed
 * transaction that deletes its keys, or an acknowledged revoke. No client knows the exact time of that
 * commit, but it was before the end was first seen: "early" is measured against that time. */
#include "tests/check/leases.h"

#include <inttypes.h>
#include <stdlib.h>

#define SECOND_NS INT64_C(1000000000)

struct lease {
    int64_t id;
    const struct history_op **ops; /* in the order of their calls */
    size_t count;
    const struct history_op *grant;      /* acknowledged */
    const struct revisions_entry **ends; /* transactions that deleted its keys: one if all is well */
    size_t end_count;
    const struct revisions_entry *end; /* the first of them; NULL: it had no keys, or lives */
    const struct history_op *revoke;   /* the acknowledged one that returned first */
    int64_t end_seen_ns;               /* by the end's proof or the revoke's return */
};

struct check {
    const struct history *history;
    const struct revisions *revisions;
    const struct check_options *options;
    struct check_report *report;
    const struct history_op **ops;       /* of leases: by id, then call */
    const struct revisions_entry **ends; /* by lease, then revision */
    size_t end_count;
    const struct history_op **recent; /* acknowledged through the log or a quorum: by call */
    size_t recent_count;
};

static void found(struct check *c, enum check_rule rule, const struct history_op *op, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void found(struct check *c, enum check_rule rule, const struct history_op *op, const char *format, ...)
{
    struct buf b = {0};
    va_list args;
    if (op)
        history_describe(&b, op);
    va_start(args, format);
    buf_addv(&b, format, args);
    va_end(args);
    check_found(c->report, rule, "%s", buf_text(&b));
    buf_done(&b);
}

static int call_compare(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a,
                            *y = *(const struct history_op *const *)b;
    if (x->call_ns != y->call_ns)
        return x->call_ns < y->call_ns ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static int lease_compare(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a,
                            *y = *(const struct history_op *const *)b;
    if (x->request.lease != y->request.lease)
        return x->request.lease < y->request.lease ? -1 : 1;
    return call_compare(a, b);
}

/* Histories come from files as well: no number in them may overflow. */
static int64_t time_after(int64_t ns, int64_t more_ns)
{
    int64_t sum;
    return __builtin_add_overflow(ns, more_ns, &sum) ? HISTORY_NEVER : sum;
}

static int64_t time_after_ttl(int64_t ns, int64_t ttl_s)
{
    int64_t ttl_ns;
    return __builtin_mul_overflow(ttl_s, SECOND_NS, &ttl_ns) ? HISTORY_NEVER : time_after(ns, ttl_ns);
}

static bool is_refresh(const struct history_op *op)
{
    return op->request.kind == HISTORY_GRANT || op->request.kind == HISTORY_KEEPALIVE;
}

/* --- not early ---------------------------------------------------------------------------------------- */

/* A TTL on the fastest clock that a member may have. */
static int64_t time_after_fast_ttl(int64_t ns, int64_t ttl_s, int64_t fast_ppm)
{
    int64_t until = time_after_ttl(ns, ttl_s);
    return until == HISTORY_NEVER ? until : until - (until - ns) / (1000000 + fast_ppm) * fast_ppm;
}

/* The acknowledged refresh that promises the longest life, of those sent before a time. */
static const struct history_op *longest_promise(const struct check *c, const struct lease *l,
                                                int64_t before_ns, int64_t *ret_until_ns)
{
    const struct history_op *best = NULL;
    *ret_until_ns = INT64_MIN;
    for (size_t i = 0; i < l->count && l->ops[i]->call_ns <= before_ns; i++) {
        const struct history_op *op = l->ops[i];
        int64_t until = time_after_fast_ttl(op->call_ns, op->reply.ttl_s, c->options->clock_fast_ppm);
        if (is_refresh(op) && op->outcome == HISTORY_OK && op->reply.ttl_s > 0 && until > *ret_until_ns) {
            best = op;
            *ret_until_ns = until;
        }
    }
    return best;
}

static bool may_be_revoked(const struct lease *l, int64_t by_ns)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->ops[i]->request.kind == HISTORY_REVOKE && l->ops[i]->outcome != HISTORY_FAILED &&
            l->ops[i]->call_ns <= by_ns)
            return true;
    return false;
}

static void check_early(struct check *c, const struct lease *l)
{
    int64_t until;
    const struct history_op *promise;
    if (l->end && l->end->seen_ns != HISTORY_NEVER && !may_be_revoked(l, l->end->seen_ns)) {
        promise = longest_promise(c, l, l->end->seen_ns, &until);
        struct buf b = {0};
        revisions_describe_proof(&b, l->end);
        if (promise && until > l->end->seen_ns)
            found(c, RULE_LEASE_EARLY, promise,
                  " promised %" PRId64 " s from %" PRId64 ", until %" PRId64
                  ", but the lease ended with revision %" PRId64 ", %s",
                  promise->reply.ttl_s, promise->call_ns, until, l->end->revision, buf_text(&b));
        buf_done(&b);
    }
    /* A keepalive that finds no lease is also evidence of an end. */
    for (size_t i = 0; i < l->count; i++) {
        const struct history_op *op = l->ops[i];
        if (op->request.kind != HISTORY_KEEPALIVE || op->outcome != HISTORY_OK || op->reply.ttl_s > 0 ||
            may_be_revoked(l, op->return_ns))
            continue;
        promise = longest_promise(c, l, op->call_ns, &until);
        if (!promise || promise->return_ns > op->call_ns || until <= op->return_ns)
            continue;
        struct buf b = {0};
        history_describe(&b, promise);
        found(c, RULE_LEASE_EARLY, op, " found no lease at %" PRId64 ", but %s promised it until %" PRId64,
              op->return_ns, buf_text(&b), until);
        buf_done(&b);
    }
}

/* --- in time ------------------------------------------------------------------------------------------ */

static size_t first_attachment(const struct revisions *r, int64_t lease)
{
    size_t low = 0, high = r->attachment_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r->attachments[middle].lease < lease)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The revision in which a key joined a lease last; 0 when none did. */
static int64_t last_attachment(const struct revisions *r, int64_t lease)
{
    int64_t last = 0;
    for (size_t i = first_attachment(r, lease); i < r->attachment_count && r->attachments[i].lease == lease;
         i++)
        last = r->attachments[i].revision > last ? r->attachments[i].revision : last;
    return last;
}

static void check_late(struct check *c, const struct lease *l)
{
    int64_t last_ns = 0, ttl_s = 0;
    for (size_t i = 0; i < l->count; i++) {
        const struct history_op *op = l->ops[i];
        if (!is_refresh(op))
            continue;
        if (op->return_ns == HISTORY_NEVER)
            return; /* it may be refreshed at any time */
        /* A request that the client gave up may still be in flight. */
        int64_t by_ns =
            op->return_ns + (op->outcome == HISTORY_UNKNOWN ? c->options->lease_late_bound_ns : 0);
        last_ns = by_ns > last_ns ? by_ns : last_ns;
        ttl_s = op->outcome == HISTORY_OK && op->reply.ttl_s > ttl_s ? op->reply.ttl_s : ttl_s;
    }
    if (!c->options->was_healthy || !l->grant)
        return;
    int64_t due = time_after(time_after_ttl(last_ns, ttl_s), c->options->lease_late_bound_ns);
    size_t low = 0, high = c->recent_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->recent[middle]->call_ns <= due)
            low = middle + 1;
        else
            high = middle;
    }
    /* Usually the first answer after that time decides; keys that join later may prove it as well. */
    int64_t last_joined = last_attachment(c->revisions, l->id);
    struct slice key;
    size_t at = low;
    for (; at < c->recent_count; at++)
        if (revisions_attached(c->revisions, l->id, c->recent[at]->reply.revision, &key))
            break;
        else if (c->recent[at]->reply.revision >= last_joined)
            return;
    if (at == c->recent_count)
        return;
    const struct history_op *proof = c->recent[at];
    struct buf b = {0};
    history_add_quoted(&b, key);
    found(c, RULE_LEASE_LATE, proof,
          " called at %" PRId64 " has revision %" PRId64 ", where key %s of lease %" PRId64
          " still exists; it was due at %" PRId64,
          proof->call_ns, proof->reply.revision, buf_text(&b), l->id, due);
    buf_done(&b);
}

/* --- the end ------------------------------------------------------------------------------------------ */

static int end_compare(const void *a, const void *b)
{
    const struct revisions_entry *x = *(const struct revisions_entry *const *)a;
    const struct revisions_entry *y = *(const struct revisions_entry *const *)b;
    if (x->lease != y->lease)
        return x->lease < y->lease ? -1 : 1;
    return (x->revision > y->revision) - (x->revision < y->revision);
}

static void collect_ends(struct check *c)
{
    const struct revisions *r = c->revisions;
    c->ends = mem_new(r->count * sizeof(struct revisions_entry *));
    for (size_t i = 0; i < r->count; i++)
        if (r->entries[i].author == AUTHOR_LEASE || r->entries[i].author == AUTHOR_LEASE_PART)
            c->ends[c->end_count++] = &r->entries[i];
    if (c->end_count)
        qsort(c->ends, c->end_count, sizeof(struct revisions_entry *), end_compare);
}

static void find_end(struct lease *l, const struct check *c)
{
    size_t low = 0, high = c->end_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->ends[middle]->lease < l->id)
            low = middle + 1;
        else
            high = middle;
    }
    l->ends = c->ends + low;
    while (low + l->end_count < c->end_count && l->ends[l->end_count]->lease == l->id)
        l->end_count++;
    l->end = l->end_count ? l->ends[0] : NULL;
    l->end_seen_ns = l->end ? l->end->seen_ns : HISTORY_NEVER;
    for (size_t i = 0; i < l->count; i++) {
        const struct history_op *op = l->ops[i];
        if (op->request.kind == HISTORY_GRANT && op->outcome == HISTORY_OK)
            l->grant = op;
        if (op->request.kind == HISTORY_REVOKE && op->outcome == HISTORY_OK &&
            (!l->revoke || op->return_ns < l->revoke->return_ns))
            l->revoke = op;
    }
    if (l->revoke && l->revoke->return_ns < l->end_seen_ns)
        l->end_seen_ns = l->revoke->return_ns;
}

static void check_after_end(struct check *c, const struct lease *l)
{
    const struct revisions *r = c->revisions;
    for (size_t i = 0; i < l->count; i++) {
        const struct history_op *op = l->ops[i];
        if (op->request.kind == HISTORY_KEEPALIVE && op->outcome == HISTORY_OK && op->reply.ttl_s > 0 &&
            op->call_ns > l->end_seen_ns)
            found(c, RULE_LEASE_AFTER_END, op,
                  " called at %" PRId64 " succeeded, but the end of the lease was known at %" PRId64,
                  op->call_ns, l->end_seen_ns);
    }
    for (size_t low = first_attachment(r, l->id);
         low < r->attachment_count && r->attachments[low].lease == l->id; low++) {
        const struct revisions_attachment *a = &r->attachments[low];
        const struct revisions_entry *e = revisions_at(r, a->revision);
        bool is_late = l->end && a->revision > l->end->revision;
        if (!is_late && l->revoke && e->author == AUTHOR_OPERATION)
            is_late = e->op->call_ns > l->revoke->return_ns;
        struct buf key = {0};
        history_add_quoted(&key, a->key);
        if (is_late)
            found(c, RULE_LEASE_AFTER_END, NULL,
                  "revision %" PRId64 " attaches key %s to lease %" PRId64 ", which had ended", a->revision,
                  buf_text(&key), l->id);
        buf_done(&key);
    }
}

static void check_end(struct check *c, const struct lease *l)
{
    const struct revisions *r = c->revisions;
    struct slice key;
    for (size_t i = 0; i < l->end_count; i++)
        if (l->ends[i]->author == AUTHOR_LEASE_PART)
            found(c, RULE_LEASE_WHOLE, NULL,
                  "revision %" PRId64 " deletes %zu of the %zu keys of lease %" PRId64, l->ends[i]->revision,
                  l->ends[i]->count, revisions_attached(r, l->id, l->ends[i]->revision - 1, NULL), l->id);
    if (!l->revoke || l->revoke->reply.revision <= 0)
        return;
    size_t left = revisions_attached(r, l->id, l->revoke->reply.revision, &key);
    if (left == 0)
        return;
    struct buf b = {0};
    history_add_quoted(&b, key);
    found(c, RULE_LEASE_REMAINS, l->revoke,
          " was acknowledged at revision %" PRId64 ", where %zu of its keys remain, as %s",
          l->revoke->reply.revision, left, buf_text(&b));
    buf_done(&b);
}

static void check_ttl(struct check *c, const struct lease *l)
{
    for (size_t i = 0; l->grant && i < l->count; i++) {
        const struct history_op *op = l->ops[i];
        if (op->request.kind == HISTORY_KEEPALIVE && op->outcome == HISTORY_OK &&
            op->reply.ttl_s > l->grant->reply.ttl_s)
            found(c, RULE_LEASE_TTL, op,
                  " promises %" PRId64 " s, more than the %" PRId64 " s that were granted", op->reply.ttl_s,
                  l->grant->reply.ttl_s);
    }
}

static void check_lease(struct check *c, const struct history_op **ops, size_t count)
{
    struct lease l = {.id = ops[0]->request.lease, .ops = ops, .count = count};
    find_end(&l, c);
    check_early(c, &l);
    check_late(c, &l);
    check_end(c, &l);
    check_after_end(c, &l);
    check_ttl(c, &l);
}

void leases_check(const struct history *h, const struct revisions *r, const struct check_options *options,
                  struct check_report *report)
{
    struct check c = {.history = h, .revisions = r, .options = options, .report = report};
    c.ops = mem_new(h->op_count * sizeof(struct history_op *));
    c.recent = mem_new(h->op_count * sizeof(struct history_op *));
    size_t count = 0;
    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = h->ops[i];
        enum history_kind kind = op->request.kind;
        if (kind == HISTORY_GRANT || kind == HISTORY_KEEPALIVE || kind == HISTORY_REVOKE)
            c.ops[count++] = op;
        else if (op->outcome == HISTORY_OK && !op->request.is_serializable && op->reply.revision > 0)
            c.recent[c.recent_count++] = op;
    }
    if (count)
        qsort(c.ops, count, sizeof(struct history_op *), lease_compare);
    if (c.recent_count)
        qsort(c.recent, c.recent_count, sizeof(struct history_op *), call_compare);
    collect_ends(&c);
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from; to < count && c.ops[to]->request.lease == c.ops[from]->request.lease; to++)
            ;
        check_lease(&c, &c.ops[from], to - from);
    }
    mem_free(c.ops);
    mem_free(c.recent);
    mem_free(c.ends);
}
