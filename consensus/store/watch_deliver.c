/* SPDX-License-Identifier: Apache-2.0
 * Delivery of events to watchers, and re-reads of the past for unsynced watchers.
 *
 *     change -> groups (keys: hash table; ranges: interval tree) -> offer_event -> queue -> watch_next
 *
 * - A new change is offered to the synced watchers of its groups.
 * - A scan of the past is offered to the unsynced watchers that take part in the scan.
 * - offer_event queues a reference to the encoded event. When the stream is full, it only stores the
 *   revision from which the watcher re-reads later.
 * - A turn offers new changes to LIVE_OFFERS_MAX watchers. The others become unsynced, and re-read the
 *   changes in the next turns. A scan serves SCAN_WATCHERS_MAX watchers. The first limit is high: under a
 *   steady stream of changes, watchers that are left out catch up late.
 *
 * A slow reader loses its watcher when that revision is compacted, and its connection when it exceeds the
 * limits of base/net/output.h. */
#include "consensus/store/watch_state.h"

#include <assert.h>

#include "base/hash.h"
#include "base/failpoint.h"
#include "base/mutant.h"

enum {
    SCAN_REVISIONS_MIN = 1,
    SCAN_REVISIONS_MAX = WATCH_REVISIONS_MAX, /* the most that one response can hold */
    SCAN_BYTES_MAX = 1 << 20,
    SCAN_OFFERS_MAX = 10000, /* events x watchers in one scan */
    SCAN_WATCHERS_MAX = 2000,
    LIVE_OFFERS_MAX = 100000, /* events x watchers of new changes in a turn */
};

/* --- delivery ----------------------------------------------------------------------------------- */

/* One event on its way to the groups. Each form is encoded when the first watcher needs it. */
struct event_offer {
    struct watch_hub *hub;
    const struct store_event *event;
    int64_t revision, header_revision;
    bool is_scan;
    struct blob *plain, *with_previous;
};

static struct blob *encode_once(struct event_offer *o, bool wants_previous)
{
    if (wants_previous && watch_event_has_previous(o->event)) {
        if (!o->with_previous)
            o->with_previous = watch_encode_event(o->event, true);
        return o->with_previous;
    }
    if (!o->plain)
        o->plain = watch_encode_event(o->event, false);
    return o->plain;
}

/* The watcher re-reads this revision later: when its stream has room, or in a later turn. */
static void refuse_event(struct event_offer *o, struct watcher *w, bool is_full)
{
    if (o->is_scan) {
        w->next_revision = o->revision;
        o->hub->scan_full = o->revision;
    } else {
        watcher_mark_unsynced(w, o->revision + MUTANT(WATCH_FULL_SKIPS));
        if (!is_full)
            watch_stream_reread(w->stream);
    }
    w->is_in_scan = false;
}

/* Queues the event for one watcher. A full stream refuses whole revisions only: when the first events of a
 * revision are queued, the rest follows. */
static void offer_event(struct event_offer *o, struct watcher *w)
{
    struct watch_stream *s = w->stream;
    bool is_early = w->next_revision > o->revision && !(MUTANT(WATCH_EVENT_TWICE) && o->is_scan);
    if (is_early || (o->event->is_delete ? w->no_delete : w->no_put))
        return;
    bool is_begun = w->open && w->open->last_revision == o->revision;
    bool is_full = watch_stream_is_full(s);
    bool is_late = !o->is_scan && o->hub->live_offers >= LIVE_OFFERS_MAX;
    if (!is_begun && (is_full || is_late)) {
        refuse_event(o, w, is_full);
        return;
    }
    struct watch_head head = {.watch_id = w->id, .serial = w->serial};
    watch_queue_add_event(&s->queue, &w->open, &head, w->may_fragment, o->revision, o->header_revision,
                          encode_once(o, w->has_previous));
    w->open->is_partial = o->hub->part_revision == o->revision && !MUTANT(WATCH_PART_IS_SENT);
    w->has_news = true;
    if (o->is_scan) {
        o->hub->scan_offers++;
        o->hub->scan_last = o->revision;
    } else {
        o->hub->live_offers++;
    }
    watch_stream_make_ready(s);
}

static void offer_group(struct event_offer *o, struct group *g)
{
    LIST_FOR_EACH_SAFE (link, o->is_scan ? &g->unsynced : &g->synced) {
        struct watcher *w = container_of(link, struct watcher, in_group);
        if (!o->is_scan || w->is_in_scan)
            offer_event(o, w);
    }
}

static void offer_range(void *arg, struct interval_node *n)
{
    offer_group(arg, &container_of(n, struct range_group, node)->group);
}

static void offer_change(struct watch_hub *h, const struct store_change *change, bool is_scan)
{
    for (size_t i = 0; i < change->count; i++) {
        const struct store_event *e = &change->events[i];
        struct slice key = slice_of(e->kv.key.data, e->kv.key.len);
        struct event_offer o = {.hub = h, .event = e, .revision = change->revision, .is_scan = is_scan};
        o.header_revision = is_scan ? h->revision : change->revision;
        struct keyset_node *n = keyset_find(&h->keys, key);
        if (n)
            offer_group(&o, &container_of(n, struct key_group, node)->group);
        interval_stab(&h->ranges, key, offer_range, &o);
        blob_unref(o.plain);
        blob_unref(o.with_previous);
    }
}

/* The revision has too many events for one turn: all its watchers become unsynced and re-read it, a part a
 * turn. */
static void deliver_large(struct watch_hub *h, int64_t revision)
{
    LIST_FOR_EACH (stream_link, &h->streams) {
        struct watch_stream *s = container_of(stream_link, struct watch_stream, link);
        LIST_FOR_EACH_SAFE (link, &s->synced) {
            struct watcher *w = container_of(link, struct watcher, in_stream);
            if (w->next_revision <= revision)
                watcher_mark_unsynced(w, revision);
        }
        watch_stream_reread(s);
    }
}

void watch_deliver(struct watch_hub *h, const struct store_change *change)
{
    assert(change->revision > h->revision);
    h->revision = change->revision;
    if (change->is_large)
        deliver_large(h, change->revision);
    else
        offer_change(h, change, false);
}

/* Each cache miss would cost its full time when the change is delivered; here the misses overlap. Only the
 * first group of a hash chain and its first watcher are prefetched. */
void watch_will_deliver(const struct watch_hub *h, const struct slice *keys, size_t count)
{
    struct keyset_node *const *chains[WATCH_WILL_DELIVER_MAX];
    const struct watcher *watchers[WATCH_WILL_DELIVER_MAX];
    assert(count <= WATCH_WILL_DELIVER_MAX);
    if (!h->keys.count)
        return;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!keys[i].size)
            continue;
        chains[n] = keyset_chain(&h->keys, keys[i]);
        __builtin_prefetch(chains[n++]);
    }
    for (size_t i = 0; i < n; i++) {
        __builtin_prefetch(*chains[i]);
        __builtin_prefetch((const char *)*chains[i] + 64);
    }
    for (size_t i = 0; i < n; i++) {
        struct key_group *g = *chains[i] ? container_of(*chains[i], struct key_group, node) : NULL;
        bool has_watcher = g && !list_is_empty(&g->group.synced);
        watchers[i] = has_watcher ? container_of(g->group.synced.next, struct watcher, in_group) : NULL;
        __builtin_prefetch(watchers[i]);
    }
    for (size_t i = 0; i < n; i++)
        if (watchers[i]) {
            __builtin_prefetch(watchers[i]->stream);
            __builtin_prefetch(&watchers[i]->stream->queue);
            __builtin_prefetch(&watchers[i]->stream->ready);
        }
}

/* --- re-reading --------------------------------------------------------------------------------- */

/* Ends watchers whose next revision is compacted, and marks those that have every revision as synced. Returns
 * the smallest revision that a watcher of this stream needs; INT64_MAX if none does. */
static int64_t sort_unsynced(struct watch_stream *s, int64_t compact_revision)
{
    struct watch_hub *h = s->hub;
    int64_t from = INT64_MAX;
    LIST_FOR_EACH_SAFE (link, &s->unsynced) {
        struct watcher *w = container_of(link, struct watcher, in_stream);
        if (MUTANT(WATCH_COMPACTED_GOES_ON) && w->next_revision < compact_revision)
            w->next_revision = compact_revision;
        if (w->next_revision < compact_revision) {
            struct watch_head head = {
                .watch_id = w->id, .is_canceled = true, .compact_revision = compact_revision};
            watcher_end(w);
            watch_stream_queue_control(s, &head, 0);
        } else if (w->next_revision > h->revision) {
            watcher_mark_synced(w);
        } else if (from > w->next_revision) {
            from = w->next_revision;
        }
    }
    return from;
}

/* Takes the streams of the next scan from the front of `rereading`, as many as SCAN_WATCHERS_MAX allows.
 * Returns its first revision, which the first of them needs; INT64_MAX: there is nothing to read. */
static int64_t choose_streams(struct watch_hub *h, int64_t compact_revision)
{
    int64_t from = INT64_MAX;
    size_t watchers = 0;
    while (watchers < SCAN_WATCHERS_MAX && !list_is_empty(&h->rereading)) {
        struct watch_stream *s = container_of(list_take_first(&h->rereading), struct watch_stream, rereading);
        int64_t first = sort_unsynced(s, compact_revision);
        if (!s->unsynced_count)
            continue;
        if (from == INT64_MAX)
            from = first;
        watchers += s->unsynced_count;
        list_add_last(&h->scanning, &s->rereading);
    }
    return from;
}

struct scan_members {
    size_t count;
    bool needs_previous;
};

static void join_stream(struct watch_stream *s, int64_t from, int64_t to, struct scan_members *m)
{
    LIST_FOR_EACH (link, &s->unsynced) {
        struct watcher *w = container_of(link, struct watcher, in_stream);
        if (m->count == SCAN_WATCHERS_MAX)
            return;
        if (w->is_in_scan || w->next_revision < from || w->next_revision > to)
            continue;
        w->is_in_scan = true;
        m->count++;
        m->needs_previous |= w->has_previous;
    }
}

/* The watchers that need the first revision join before all others, so each scan makes progress. */
static struct scan_members join_scan(struct watch_hub *h, int64_t from)
{
    struct scan_members m = {0};
    struct watch_stream *first = container_of(h->scanning.next, struct watch_stream, rereading);
    join_stream(first, from, from, &m);
    LIST_FOR_EACH (link, &h->scanning)
        join_stream(container_of(link, struct watch_stream, rereading), from, INT64_MAX, &m);
    return m;
}

static void leave_stream(struct watch_stream *s, int64_t next)
{
    struct watch_hub *h = s->hub;
    LIST_FOR_EACH_SAFE (link, &s->unsynced) {
        struct watcher *w = container_of(link, struct watcher, in_stream);
        if (!w->is_in_scan)
            continue;
        w->is_in_scan = false;
        if (w->next_revision < next)
            w->next_revision = next;
        if (MUTANT(WATCH_EVENT_SKIPPED) && next > h->revision)
            w->next_revision = next + 1;
        if (w->next_revision > h->revision)
            watcher_mark_synced(w);
    }
}

/* The streams return to `rereading`: the one that chose the start to its end, the others to the front in their
 * order. So each stream chooses a start in its turn, and a slow one holds up no other. */
static void leave_scan(struct watch_hub *h, int64_t next)
{
    bool is_first = true;
    struct link others;
    list_init(&others);
    for (struct link *l; (l = list_take_first(&h->scanning)); is_first = false) {
        struct watch_stream *s = container_of(l, struct watch_stream, rereading);
        leave_stream(s, next);
        if (s->unsynced_count && !watch_stream_is_full(s))
            list_add_last(is_first ? &h->rereading : &others, l);
    }
    while (!list_is_empty(&others)) {
        struct link *l = others.prev;
        list_remove(l);
        list_add_first(&h->rereading, l);
    }
}

static void on_past_change(void *arg, const struct store_change *change)
{
    offer_change(arg, change, true);
}

/* Many watchers that come at once (clients after a restart) may all watch the same keys: begin with a short
 * scan. */
static void limit_scan(struct watch_hub *h, size_t watchers)
{
    size_t revisions_max = SCAN_OFFERS_MAX / watchers + SCAN_REVISIONS_MIN;
    if (watchers > 2 * h->scan_watchers && h->scan_revisions > revisions_max)
        h->scan_revisions = revisions_max;
    h->scan_watchers = watchers;
}

/* Adapts the length of the next scan to the work of this one, and to how much of its output was queued. */
static void adapt_scan(struct watch_hub *h, int64_t from, int64_t next)
{
    bool is_wasted = h->scan_full && h->scan_last - from < (next - from) / 2;
    if (h->scan_offers > SCAN_OFFERS_MAX || is_wasted)
        h->scan_revisions /= 2;
    else if (h->scan_offers < SCAN_OFFERS_MAX / 4)
        h->scan_revisions *= 2;
    if (h->scan_revisions < SCAN_REVISIONS_MIN)
        h->scan_revisions = SCAN_REVISIONS_MIN;
    if (h->scan_revisions > SCAN_REVISIONS_MAX)
        h->scan_revisions = SCAN_REVISIONS_MAX;
}

/* --- a large revision ----------------------------------------------------------------------------- */

/* Ends the delivery of a large revision: it is complete, or a compaction removed it meanwhile. */
static void end_part(struct watch_hub *h, bool is_whole)
{
    LIST_FOR_EACH (stream_link, &h->scanning) {
        struct watch_stream *s = container_of(stream_link, struct watch_stream, rereading);
        LIST_FOR_EACH (link, &s->unsynced) {
            struct watcher *w = container_of(link, struct watcher, in_stream);
            if (!w->is_in_scan || !w->open || !w->open->is_partial)
                continue;
            if (!is_whole)
                watch_queue_drop_partial(&s->queue, &w->open);
            else
                w->open->is_partial = false;
            watch_stream_make_ready(s);
        }
    }
    int64_t revision = h->part_revision;
    h->part_revision = 0;
    leave_scan(h, is_whole ? revision + 1 : revision);
}

/* Delivers the next part. The watchers that joined at the first part take part until the end, unless they
 * end. */
static bool reread_part(struct watch_hub *h, bool needs_previous)
{
    bool is_last = false;
    h->scan_offers = 0;
    int err = store_changes_part(h->options.store, h->part_revision, &h->part_sub, 0, needs_previous,
                                 on_past_change, h, &is_last);
    if (err || is_last)
        end_part(h, !err);
    return err == OK || err == ERR_COMPACTED;
}

/* Runs one scan of the store for the watchers that can use it. */
static bool reread(struct watch_hub *h)
{
    struct store *store = h->options.store;
    if (h->part_revision)
        return reread_part(h, h->previous_count > 0);
    int64_t from = choose_streams(h, store_compact_revision(store));
    if (from == INT64_MAX)
        return false;
    FAILPOINT(BEFORE_SYNC_WATCHERS);
    struct scan_members members = join_scan(h, from);
    limit_scan(h, members.count);
    int64_t next = from;
    h->scan_offers = 0;
    h->scan_last = h->scan_full = 0;
    int err = store_changes(store, from, h->revision, h->scan_revisions, SCAN_BYTES_MAX,
                            members.needs_previous, on_past_change, h, &next);
    if (err == OK && next == from) {
        h->part_revision = from;
        h->part_sub = 0;
        return reread_part(h, members.needs_previous);
    }
    leave_scan(h, next);
    adapt_scan(h, from, next);
    /* The store reports its own errors; the watchers keep their next_revision. */
    return err == OK && next > from && !list_is_empty(&h->rereading);
}

/* --- the turn ----------------------------------------------------------------------------------- */
static void progress_tick(struct watch_stream *s)
{
    LIST_FOR_EACH (link, &s->synced) {
        struct watcher *w = container_of(link, struct watcher, in_stream);
        if (w->wants_progress && !w->has_news && watcher_has_started(w) && !watch_stream_is_full(s))
            watch_stream_queue_control(s, &(struct watch_head){.watch_id = w->id}, s->hub->revision);
        w->has_news = false;
    }
    LIST_FOR_EACH (link, &s->unsynced)
        container_of(link, struct watcher, in_stream)->has_news = false;
}

/* Spreads the ticks: each is late by up to a tenth of the interval, so that streams that were opened together
 * do not all send in the same moment. */
static void progress_turn(struct watch_hub *h, uint64_t now_ms)
{
    struct heap_node *first;
    while ((first = heap_first(&h->progress)) && first->key <= now_ms) {
        struct watch_stream *s = container_of(first, struct watch_stream, progress);
        if (first->key)
            progress_tick(s);
        uint64_t interval_ms = h->options.progress_interval_ms;
        uint64_t late_ms = hash64_u64(h->ticks++) % (interval_ms / 10 + 1);
        heap_move(&h->progress, first, now_ms + interval_ms + late_ms);
    }
}

bool watch_turn(struct watch_hub *h, uint64_t now_ms)
{
    h->live_offers = 0;
    progress_turn(h, now_ms);
    bool has_unchecked = watch_permission_turn(h);
    bool has_more = reread(h);
    bool has_garbage = watch_garbage_release(&h->garbage, &h->queued_bytes);
    watch_hub_notify_ready(h);
    return has_more || has_unchecked || has_garbage || !list_is_empty(&h->ready);
}
