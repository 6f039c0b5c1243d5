/* SPDX-License-Identifier: Apache-2.0
 * Changes for watchers: those of an entry as it is applied, and past ones read again. Past changes are read
 * record by record in revision order, first from the backend, then from the pending queue. The cost is that
 * of the revisions in between, however many keys there are. */
#include "consensus/store/state.h"

#define PARTS 4 /* parts of a revision that is just large */

/* Collects the changes of one main revision. */
struct gather {
    struct store *s;
    int64_t main;
    size_t count;
    bool needs_previous;
    int err;
};

static void fill_event(struct store_event *event, struct revision revision, const struct record *record)
{
    *event = (struct store_event){.is_delete = record->version == 0};
    store_fill_kv(&event->kv, revision.main, record);
}

/* Reads the key as it was before the revision's transaction. */
static int fill_previous(struct store *s, struct store_event *event, int64_t main)
{
    struct revision before;
    struct record record;
    if (main - 1 < s->compact_revision)
        return 0;
    struct index_entry *e = index_find(&s->index, store_slice(event->kv.key));
    if (!e || !index_get(e, main - 1, &before))
        return 0;
    int err = store_fetch(s, before, &record);
    if (err)
        return err;
    event->has_previous = true;
    store_fill_kv(&event->previous, before.main, &record);
    return 0;
}

static struct store_event *event_add(struct store *s, size_t place)
{
    if (place == s->event_capacity) {
        s->event_capacity = s->event_capacity ? s->event_capacity * 2 : 16;
        s->events = mem_resize(s->events, s->event_capacity * sizeof *s->events);
    }
    return &s->events[place];
}

static int gather_add(struct gather *g, struct revision revision, const struct record *record)
{
    struct store_event *event = event_add(g->s, g->count);
    fill_event(event, revision, record);
    g->main = revision.main;
    g->count++;
    return g->needs_previous ? fill_previous(g->s, event, revision.main) : 0;
}

/* Collects the records of a pending main from sub `from` up to sub `to`, exclusive. */
static int gather_pending(struct gather *g, int64_t main, uint32_t from, uint32_t to)
{
    for (uint32_t sub = from; sub < to; sub++) {
        struct revision revision = {main, sub};
        struct record record;
        int err = store_fetch(g->s, revision, &record);
        if (err)
            return err;
        if (main <= g->s->compact_revision) {
            struct index_entry *e = index_find(&g->s->index, record.key);
            if (!e || !index_keeps(e, revision, g->s->compact_revision))
                continue;
        }
        err = gather_add(g, revision, &record);
        if (err)
            return err;
    }
    return 0;
}

void store_notify_changes(struct store *s)
{
    struct gather g = {.s = s, .needs_previous = s->needs_previous};
    if (!s->needs_events) {
        s->on_change(s->on_change_arg, &(struct store_change){.revision = s->revision});
        return;
    }
    for (int64_t main = s->entry_first_main + 1; main <= s->revision; main++) {
        uint32_t subs = pending_sub_count(&s->pending, main);
        g.count = 0;
        if (subs > s->large) {
            s->on_change(s->on_change_arg, &(struct store_change){.revision = main, .is_large = true});
            continue;
        }
        /* A read error makes the store fail: then no watcher is notified any more. */
        if (gather_pending(&g, main, 0, subs) != 0)
            return;
        struct store_change change = {.revision = main, .count = g.count, .events = s->events};
        if (g.count)
            s->on_change(s->on_change_arg, &change);
    }
}

/* --- history ----------------------------------------------------------------------------------- */

struct history {
    struct gather gather;
    int64_t to;
    size_t revisions_left, bytes_left;
    void (*fn)(void *arg, const struct store_change *change);
    void *arg;
    int64_t next; /* the first revision that was not delivered */
    bool is_full;
    uint32_t part_end; /* a part of revision `to` ends before this sub; 0 = whole revisions */
    bool has_more;     /* of that revision */
};

/* The collected main revision is complete: delivers it. */
static void history_flush(struct history *h)
{
    struct gather *g = &h->gather;
    if (g->count == 0)
        return;
    struct store_change change = {.revision = g->main, .count = g->count, .events = g->s->events};
    h->fn(h->arg, &change);
    h->next = g->main + 1;
    g->count = 0;
    h->revisions_left--;
    h->is_full = h->revisions_left == 0 || h->bytes_left == 0;
}

static void history_charge(struct history *h, size_t bytes)
{
    h->bytes_left -= bytes < h->bytes_left ? bytes : h->bytes_left;
}

static bool history_record(void *arg, struct slice key, struct slice value)
{
    struct history *h = arg;
    struct gather *g = &h->gather;
    struct record record;
    struct revision revision = revision_decode(key.data);
    h->has_more = h->part_end && revision.main == h->to && revision.sub >= h->part_end;
    if (revision.main > h->to || h->has_more)
        return false;
    if (revision.main != g->main)
        history_flush(h);
    if (!h->is_full && !h->part_end && g->count >= g->s->large && revision.main == g->main) {
        g->count = 0; /* too many: delivered in parts, not here */
        h->next = g->main;
        h->is_full = true;
    }
    if (h->is_full)
        return false;
    g->err = record_decode(value, revision, true, &record);
    if (g->err) {
        store_fail(g->s, g->err);
        return false;
    }
    g->s->reads_since_trim++;
    history_charge(h, value.size);
    if (revision.main <= g->s->compact_revision) {
        struct index_entry *e = index_find(&g->s->index, record.key);
        if (!e || !index_keeps(e, revision, g->s->compact_revision))
            return true;
    }
    g->err = gather_add(g, revision, &record);
    return g->err == 0;
}

static int history_backend(struct history *h, int64_t from, uint32_t from_sub)
{
    struct store *s = h->gather.s;
    struct backend_view *view;
    uint8_t key[REVISION_KEY_SIZE];
    revision_encode((struct revision){from, from_sub}, key);
    int err = store_view(s, &view);
    if (!err)
        err = s->backend->ops->scan(view, BACKEND_RECORDS, slice_of(key, sizeof key), history_record, h);
    if (!err)
        err = h->gather.err;
    if (!err && !h->is_full)
        history_flush(h);
    return err;
}

static int history_pending(struct history *h, int64_t from)
{
    struct gather *g = &h->gather;
    for (int64_t main = from; main <= h->to && !h->is_full; main++) {
        uint32_t subs = pending_sub_count(&g->s->pending, main);
        h->is_full = subs > g->s->large;
        if (h->is_full) {
            h->next = main;
            return 0;
        }
        int err = gather_pending(g, main, 0, subs);
        if (err)
            return err;
        for (size_t i = 0; i < g->count; i++)
            history_charge(h, g->s->events[i].kv.key.len + g->s->events[i].kv.value.len);
        history_flush(h);
    }
    return 0;
}

int store_changes(struct store *s, int64_t from, int64_t to, size_t max_revisions, size_t max_bytes,
                  bool needs_previous, void (*fn)(void *arg, const struct store_change *change), void *arg,
                  int64_t *ret_next)
{
    struct history h = {
        .gather = {.s = s, .needs_previous = needs_previous}, .fn = fn, .arg = arg, .next = from};
    if (from < s->compact_revision)
        return ERR_COMPACTED;
    if (from < 1)
        from = 1;
    h.revisions_left = max_revisions;
    h.bytes_left = max_bytes;
    h.is_full = max_revisions == 0;
    int err = 0;
    /* The pending queue is read by revision: the worker may have committed records that the loop still counts
     * as pending. */
    int64_t backend_to = to < s->committed_revision ? to : s->committed_revision;
    h.to = backend_to;
    if (from <= backend_to && !h.is_full)
        err = history_backend(&h, from, 0);
    h.to = to < s->revision ? to : s->revision;
    if (!err && !h.is_full)
        err = history_pending(&h, from > backend_to + 1 ? from : backend_to + 1);
    if (err)
        return err;
    *ret_next = h.is_full || h.to + 1 < from ? h.next : h.to + 1;
    return 0;
}

int store_changes_part(struct store *s, int64_t revision, uint32_t *sub, size_t max, bool needs_previous,
                       void (*fn)(void *arg, const struct store_change *change), void *arg, bool *ret_is_last)
{
    struct history h = {.gather = {.s = s, .needs_previous = needs_previous}, .to = revision};
    struct gather *g = &h.gather;
    size_t part = max ? max : s->large / PARTS + 1;
    uint32_t end = *sub + (uint32_t)part, subs = pending_sub_count(&s->pending, revision);
    int err;
    if (revision < s->compact_revision)
        return ERR_COMPACTED;
    h.revisions_left = h.bytes_left = SIZE_MAX;
    h.part_end = end;
    h.fn = fn;
    h.arg = arg;
    if (revision <= s->committed_revision)
        err = history_backend(&h, revision, *sub);
    else
        err = gather_pending(g, revision, *sub, end < subs ? end : subs);
    if (!err)
        history_flush(&h);
    *sub = end;
    *ret_is_last = revision <= s->committed_revision ? !h.has_more : end >= subs;
    return err;
}
