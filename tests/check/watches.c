/* SPDX-License-Identifier: Apache-2.0
 * Checks of watches. One pass over a watch's responses checks each event by itself and against earlier ones,
 * and removes it from the list of expected events. The events that remain in the list are missing. */
#include "tests/check/watches.h"

#include <inttypes.h>
#include <stdlib.h>

/* A matching change of the replay. */
struct expected {
    int64_t revision;
    const struct history_change *change;
    bool came;
};

struct check {
    const struct history *history;
    const struct revisions *revisions;
    struct check_report *report;
    const struct history_watch *watch;
    int64_t from; /* the first revision that concerns the watch; 0 = not known */
    struct expected *expected;
    size_t expected_count;
    int64_t last_event, progress; /* the highest revisions so far */
    const struct history_change *last_change;
    bool was_fragment, was_canceled, has_overtaken;
    const struct history_op **compactions; /* asked for, perhaps done */
    size_t compaction_count;
};

static void found(struct check *c, enum check_rule rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void found(struct check *c, enum check_rule rule, const char *format, ...)
{
    struct buf b = {0};
    va_list args;
    buf_addf(&b, "watch %zu of client %" PRIu32 " on ", c->watch->number, c->watch->client);
    history_add_quoted(&b, c->watch->key);
    if (c->watch->range_end.size) {
        buf_add_text(&b, "..");
        history_add_quoted(&b, c->watch->range_end);
    }
    if (c->watch->start_revision)
        buf_addf(&b, " from revision %" PRId64, c->watch->start_revision);
    buf_add_text(&b, ": ");
    va_start(args, format);
    buf_addv(&b, format, args);
    va_end(args);
    check_found(c->report, rule, "%s", buf_text(&b));
    buf_done(&b);
}

static bool is_progress(const struct history_response *response)
{
    return !response->is_created && !response->is_canceled && response->event_count == 0;
}

static bool is_wanted(const struct history_watch *w, const struct history_change *c)
{
    return history_in_range(c->kv.key, w->key, w->range_end) &&
           !(c->is_delete ? w->excludes_deletes : w->excludes_puts);
}

/* --- what had to come ------------------------------------------------------------------------------ */

static int64_t first_revision(const struct history_watch *w)
{
    if (w->start_revision > 0)
        return w->start_revision;
    for (size_t i = 0; i < w->count; i++) {
        const struct history_response *response = &w->responses[i];
        if (response->is_created || is_progress(response))
            return response->revision < INT64_MAX ? response->revision + 1 : 0;
        if (response->event_count)
            return response->events[0].change.kv.mod;
    }
    return 0;
}

static void build_expected(struct check *c)
{
    const struct history_watch *w = c->watch;
    int64_t to = w->complete_to;
    for (size_t i = 0; i < w->count; i++) {
        const struct history_response *response = &w->responses[i];
        int64_t last = is_progress(response) ? response->revision : 0;
        for (size_t j = 0; j < response->event_count; j++)
            if (response->events[j].change.kv.mod > last)
                last = response->events[j].change.kv.mod;
        to = last > to ? last : to;
    }
    c->from = first_revision(w);
    c->expected_count = 0;
    size_t capacity = 0;
    for (int64_t at = c->from < 2 ? 2 : c->from; c->from && at <= to && revisions_at(c->revisions, at);
         at++) {
        const struct revisions_entry *e = revisions_at(c->revisions, at);
        for (size_t i = 0; i < e->count; i++) {
            if (!is_wanted(w, &e->changes[i]))
                continue;
            if (c->expected_count == capacity) {
                capacity = capacity ? capacity * 2 : 64;
                c->expected = mem_resize(c->expected, capacity * sizeof *c->expected);
            }
            c->expected[c->expected_count++] = (struct expected){at, &e->changes[i], false};
        }
    }
}

static struct expected *find_expected(struct check *c, const struct history_change *change)
{
    size_t low = 0, high = c->expected_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->expected[middle].revision < change->kv.mod)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < c->expected_count && c->expected[low].revision == change->kv.mod; low++)
        if (slice_equal(c->expected[low].change->kv.key, change->kv.key))
            return &c->expected[low];
    return NULL;
}

/* One finding for each reason and watch: the first event that is missing and how many there are. */
static void check_missing(struct check *c)
{
    size_t counts[RULE_COUNT] = {0};
    const struct expected *firsts[RULE_COUNT] = {NULL};
    bool began = false;
    for (size_t i = 0; i < c->expected_count; i++) {
        const struct expected *e = &c->expected[i];
        enum check_rule rule = RULE_WATCH_RELIABLE;
        began |= e->came;
        if (e->came)
            continue;
        if (e->revision > c->last_event && e->revision <= c->progress)
            rule = RULE_WATCH_BOOKMARK;
        else if (!began && c->watch->start_revision > 0 && e->revision <= c->last_event)
            rule = RULE_WATCH_RESUMABLE;
        if (counts[rule]++ == 0)
            firsts[rule] = e;
    }
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        if (counts[rule] == 0)
            continue;
        struct buf key = {0};
        history_add_quoted(&key, firsts[rule]->change->kv.key);
        found(c, (enum check_rule)rule,
              "the %s of %s in revision %" PRId64 " never came (%zu events missing so), though %s",
              firsts[rule]->change->is_delete ? "delete" : "put", buf_text(&key), firsts[rule]->revision,
              counts[rule],
              rule == RULE_WATCH_BOOKMARK               ? "a progress notification said that it had"
              : rule == RULE_WATCH_RESUMABLE            ? "the watch had to begin with it"
              : firsts[rule]->revision <= c->last_event ? "later ones came"
                                                        : "there was time enough");
        buf_done(&key);
    }
}

/* --- compaction -------------------------------------------------------------------------------------- */

/* Could revision `at` have been compacted by that time? */
static bool may_be_compacted(const struct check *c, int64_t at, int64_t by_ns)
{
    for (size_t i = 0; i < c->compaction_count; i++)
        if (c->compactions[i]->call_ns <= by_ns && c->compactions[i]->request.compact_revision >= at)
            return true;
    return false;
}

static void check_cancel(struct check *c, const struct history_response *response)
{
    int64_t next = c->from;
    next = c->last_event >= next && c->last_event < INT64_MAX ? c->last_event + 1 : next;
    next = c->progress >= next && c->progress < INT64_MAX ? c->progress + 1 : next;
    int64_t compacted = response->compact_revision;
    c->was_canceled = true;
    if (compacted == 0)
        return;
    bool is_known = false;
    for (size_t i = 0; i < c->compaction_count; i++)
        is_known |= c->compactions[i]->request.compact_revision == compacted &&
                    c->compactions[i]->call_ns <= response->time_ns;
    if (!is_known)
        found(c, RULE_WATCH_CANCEL,
              "canceled because of a compaction of %" PRId64 ", which nobody had asked for", compacted);
    else if (c->from && next >= compacted)
        found(c, RULE_WATCH_CANCEL,
              "canceled because of the compaction of %" PRId64 ", but revision %" PRId64
              ", which it needed next, was not removed by it",
              compacted, next);
}

/* The member had applied the compaction when it created the watch: its revision was above the compaction's.
 */
static void check_not_canceled(struct check *c)
{
    const struct history_watch *w = c->watch;
    if (w->count == 0 || !w->responses[0].is_created || w->start_revision <= 0)
        return;
    bool served = false;
    for (size_t i = 1; i < w->count; i++)
        served |= !w->responses[i].is_canceled;
    for (size_t i = 0; served && i < c->compaction_count; i++) {
        const struct history_op *op = c->compactions[i];
        if (op->outcome != HISTORY_OK || op->return_ns >= w->call_ns ||
            w->start_revision >= op->request.compact_revision ||
            op->reply.revision >= w->responses[0].revision)
            continue;
        struct buf b = {0};
        history_describe(&b, op);
        found(c, RULE_WATCH_CANCEL, "was served, though %s was acknowledged before it was created",
              buf_text(&b));
        buf_done(&b);
        return;
    }
}

/* --- one event ---------------------------------------------------------------------------------------- */

static bool same_kv(const struct history_kv *a, const struct history_kv *b)
{
    return slice_equal(a->key, b->key) && slice_equal(a->value, b->value) && a->create == b->create &&
           a->mod == b->mod && a->version == b->version && a->lease == b->lease;
}

/* Create revision, version and previous pair, by the state before the event. */
static void check_before(struct check *c, const struct history_event *e, int64_t time_ns, const char *key)
{
    const struct history_kv *kv = &e->change.kv;
    struct history_kv before = {0};
    bool existed = timeline_get(&c->revisions->timeline, kv->key, kv->mod - 1, &before);
    int64_t create = existed ? before.create : kv->mod, version = before.version + 1;
    if (!e->change.is_delete && (kv->create != create || kv->version != version))
        found(c, RULE_WATCH_CREATE,
              "%s in revision %" PRId64 " has create revision %" PRId64 " and version %" PRId64
              " instead of %" PRId64 " and %" PRId64,
              key, kv->mod, kv->create, kv->version, create, version);
    if (e->has_prev && !c->watch->wants_prev) {
        found(c, RULE_WATCH_PREV_KV,
              "%s in revision %" PRId64 " has a previous pair, which was not asked for", key, kv->mod);
    } else if (e->has_prev && (!existed || !same_kv(&e->prev, &before))) {
        struct buf b = {0};
        history_add_quoted(&b, e->prev.value);
        buf_addf(&b, " of revision %" PRId64 ", the true one is ", e->prev.mod);
        history_add_quoted(&b, before.value);
        found(c, RULE_WATCH_PREV_KV,
              "%s in revision %" PRId64 " has the previous pair %s of revision %" PRId64 "%s", key, kv->mod,
              buf_text(&b), before.mod, existed ? "" : " (none)");
        buf_done(&b);
    } else if (!e->has_prev && c->watch->wants_prev && existed && !may_be_compacted(c, kv->mod, time_ns)) {
        found(c, RULE_WATCH_PREV_KV,
              "%s in revision %" PRId64 " lacks its previous pair, of revision %" PRId64, key, kv->mod,
              before.mod);
    }
}

/* The change of that key in that revision, if the event matches it. */
static const struct history_change *find_change(const struct check *c, const struct history_change *change)
{
    const struct revisions_entry *e = revisions_at(c->revisions, change->kv.mod);
    for (size_t i = 0; e && i < e->count; i++)
        if (slice_equal(e->changes[i].kv.key, change->kv.key)) {
            const struct history_kv *kv = &e->changes[i].kv;
            bool same = e->changes[i].is_delete == change->is_delete &&
                        (change->is_delete ||
                         (slice_equal(kv->value, change->kv.value) && kv->lease == change->kv.lease));
            return same ? &e->changes[i] : NULL;
        }
    return NULL;
}

static void check_event(struct check *c, const struct history_event *e, int64_t time_ns)
{
    int64_t revision = e->change.kv.mod;
    struct buf key = {0};
    buf_add_text(&key, e->change.is_delete ? "the delete of " : "the put of ");
    history_add_quoted(&key, e->change.kv.key);
    const char *name = buf_text(&key);
    const struct history_change *change = find_change(c, &e->change);
    struct expected *expected = find_expected(c, &e->change);
    if (!is_wanted(c->watch, &e->change))
        found(c, RULE_WATCH_FILTER, "%s in revision %" PRId64 " was not asked for", name, revision);
    else if (!change)
        found(c, RULE_WATCH_EVENT, "%s in revision %" PRId64 " was never committed, or not so", name,
              revision);
    else if (!expected)
        found(c, RULE_WATCH_RESUMABLE,
              "%s in revision %" PRId64 " is before revision %" PRId64 ", where the watch begins", name,
              revision, c->from);
    else if (expected->came)
        found(c, RULE_WATCH_UNIQUE, "%s in revision %" PRId64 " came before", name, revision);
    else if (revision < c->last_event || (revision == c->last_event && change < c->last_change))
        found(c, RULE_WATCH_ORDERED, "%s in revision %" PRId64 " came after one in revision %" PRId64, name,
              revision, c->last_event);
    if (change)
        check_before(c, e, time_ns, name);
    if (revision <= c->progress && !c->has_overtaken) { /* the first says it for all */
        c->has_overtaken = true;
        found(c, RULE_WATCH_BOOKMARK,
              "%s in revision %" PRId64 " came after a progress notification of revision %" PRId64, name,
              revision, c->progress);
    }
    if (expected)
        expected->came = true;
    if (revision >= c->last_event) {
        c->last_event = revision;
        c->last_change = change;
    }
    buf_done(&key);
}

static void check_response(struct check *c, const struct history_response *response)
{
    if (c->was_canceled)
        found(c, RULE_WATCH_CANCEL, "a response came after it was canceled");
    if (response->event_count) {
        int64_t first = response->events[0].change.kv.mod, last = first;
        if (first == c->last_event && !c->was_fragment)
            found(c, RULE_WATCH_ATOMIC, "revision %" PRId64 " is split over responses that are no fragments",
                  first);
        c->was_fragment = response->is_fragment;
        for (size_t i = 0; i < response->event_count; i++) {
            const struct history_event *e = &response->events[i];
            last = e->change.kv.mod > last ? e->change.kv.mod : last;
            check_event(c, e, response->time_ns);
        }
        if (response->revision < last)
            found(c, RULE_WATCH_HEADER,
                  "a response of revision %" PRId64 " has an event of revision %" PRId64, response->revision,
                  last);
    }
    if (response->is_fragment && !c->watch->allows_fragments)
        found(c, RULE_WATCH_ATOMIC, "a fragment at revision %" PRId64 ", but fragments were not allowed",
              response->revision);
    if (is_progress(response)) {
        if (response->revision < c->progress || response->revision < c->last_event)
            found(c, RULE_WATCH_BOOKMARK,
                  "a progress notification of revision %" PRId64 " came after revision %" PRId64,
                  response->revision, c->progress > c->last_event ? c->progress : c->last_event);
        c->progress = response->revision > c->progress ? response->revision : c->progress;
    }
    if (response->is_canceled)
        check_cancel(c, response);
}

void watches_check(const struct history *h, const struct revisions *r, struct check_report *report)
{
    struct check c = {.history = h, .revisions = r, .report = report};
    c.compactions = mem_new(h->op_count * sizeof(struct history_op *));
    for (size_t i = 0; i < h->op_count; i++)
        if (h->ops[i]->request.kind == HISTORY_COMPACT && h->ops[i]->outcome != HISTORY_FAILED)
            c.compactions[c.compaction_count++] = h->ops[i];
    for (size_t i = 0; i < h->watch_count; i++) {
        c.watch = h->watches[i];
        c.last_event = c.progress = 0;
        c.last_change = NULL;
        c.was_fragment = c.was_canceled = c.has_overtaken = false;
        build_expected(&c);
        for (size_t j = 0; j < c.watch->count; j++)
            check_response(&c, &c.watch->responses[j]);
        check_missing(&c);
        check_not_canceled(&c);
        mem_free(c.expected);
        c.expected = NULL;
    }
    mem_free(c.compactions);
}
