/* SPDX-License-Identifier: Apache-2.0
 * Delivery of events to watchers, and re-reads of the past for unsynced watchers.
 *
 *     change -> groups (keys: hash table; ranges: interval tree) -> offer_event -> queue -> watch_next
 *
 * - A new change is offered to the synced watchers of its groups.
 * - A scan of the past is offered to the unsynced watchers that take part in the scan.
 * - offer_event queues a reference to the encoded event. When the stream is full, it only stores the
 *   revision from which the watcher re-reads later. Nothing else ever happens to a slow reader. */
#include "consensus/store/watch_state.h"

#include <assert.h>

#include "base/hash.h"
#include "base/failpoint.h"
#include "base/mutant.h"

enum {
    SCAN_REVISIONS_MIN = 1,
    SCAN_REVISIONS_MAX = WATCH_REVISIONS_MAX, /* the most that one response can hold */
    SCAN_BYTES_MAX = 1 << 20,
    SCAN_OFFERS_MAX = 40000, /* events x watchers in one scan: about a millisecond */
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

/* Queues the event for one watcher. A full stream refuses whole revisions only: when the first events of a
 * revision are queued, the rest follows. */
static void offer_event(struct event_offer *o, struct watcher *w)
{
    struct watch_stream *s = w->stream;
    bool is_early = w->next_revision > o->revision && !(MUTANT(WATCH_EVENT_TWICE) && o->is_scan);
    if (is_early || (o->event->is_delete ? w->no_delete : w->no_put))
        return;
    bool is_begun = w->open && w->open->last_revision == o->revision;
    if (!is_begun && watch_stream_is_full(s)) {
        if (o->is_scan) {
            w->next_revision = o->revision;
            o->hub->scan_full = o->revision;
        } else {
            watcher_mark_unsynced(w, o->revision + MUTANT(WATCH_FULL_SKIPS));
        }
        w->is_in_scan = false;
        return;
    }
    struct watch_head head = {.watch_id = w->id, .serial = w->serial};
    watch_queue_add_event(&s->queue, &w->open, &head, w->may_fragment, o->revision, o->header_revision,
                          encode_once(o, w->has_previous));
    w->open->is_partial = o->hub->part_revision == o->revision && !MUTANT(WATCH_PART_IS_SENT);
    w->has_news = true;
    o->hub->scan_offers++;
    o->hub->scan_last = o->revision;
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

/* Chooses the first revision of the next scan. The streams take turns; every watcher whose next revision is
 * not below the start takes part. */
static int64_t choose_start(struct watch_hub *h, int64_t compact_revision)
{
    int64_t from = INT64_MAX;
    LIST_FOR_EACH_SAFE (link, &h->rereading) {
        struct watch_stream *s = container_of(link, struct watch_stream, rereading);
        int64_t first = sort_unsynced(s, compact_revision);
        if (!s->unsynced_count)
            list_remove(&s->rereading);
        else if (from == INT64_MAX)
            from = first;
    }
    if (from != INT64_MAX) {
        struct link *chooser = list_take_first(&h->rereading);
        list_add_last(&h->rereading, chooser);
    }
    return from;
}

/* Returns the number of watchers that take part. */
static size_t join_scan(struct watch_hub *h, int64_t from, bool *ret_needs_previous)
{
    size_t watchers = 0;
    bool needs_previous = false;
    LIST_FOR_EACH (stream_link, &h->rereading) {
        struct watch_stream *s = container_of(stream_link, struct watch_stream, rereading);
        LIST_FOR_EACH (link, &s->unsynced) {
            struct watcher *w = container_of(link, struct watcher, in_stream);
            w->is_in_scan = w->next_revision >= from;
            watchers += w->is_in_scan;
            needs_previous |= w->is_in_scan && w->has_previous;
        }
    }
    *ret_needs_previous = needs_previous;
    return watchers;
}

static void leave_scan(struct watch_hub *h, int64_t next)
{
    LIST_FOR_EACH_SAFE (stream_link, &h->rereading) {
        struct watch_stream *s = container_of(stream_link, struct watch_stream, rereading);
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
        if (!s->unsynced_count || watch_stream_is_full(s))
            list_remove(&s->rereading);
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
    LIST_FOR_EACH (stream_link, &h->rereading) {
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

/* Runs one scan of the store for all watchers that can use it. */
static bool reread(struct watch_hub *h)
{
    struct store *store = h->options.store;
    if (h->part_revision)
        return reread_part(h, h->previous_count > 0);
    int64_t from = choose_start(h, store_compact_revision(store));
    if (from == INT64_MAX)
        return false;
    FAILPOINT(BEFORE_SYNC_WATCHERS);
    bool needs_previous;
    limit_scan(h, join_scan(h, from, &needs_previous));
    int64_t next = from;
    h->scan_offers = 0;
    h->scan_last = h->scan_full = 0;
    int err = store_changes(store, from, h->revision, h->scan_revisions, SCAN_BYTES_MAX, needs_previous,
                            on_past_change, h, &next);
    if (err == OK && next == from) {
        h->part_revision = from;
        h->part_sub = 0;
        return reread_part(h, needs_previous);
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
    progress_turn(h, now_ms);
    bool has_unchecked = watch_permission_turn(h);
    bool has_more = reread(h);
    watch_hub_notify_ready(h);
    return has_more || has_unchecked || !list_is_empty(&h->ready);
}
