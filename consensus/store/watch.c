/* SPDX-License-Identifier: Apache-2.0
 * Watch hub: streams, groups of watchers, and the requests of clients. watch_deliver.c brings the events to
 * the watchers. */
#include "consensus/store/watch_state.h"
#include "base/failpoint.h"
#include "base/mutant.h"

#include <assert.h>

enum {
    STREAM_IDS_MIN = 8,   /* a stream with at most this many watchers finds an id by linear search */
    CONTROLS_MAX = 16384, /* responses to requests that may be queued beyond the limit for events */
};

/* etcd's texts; its clients compare them. */
#define REASON_EMPTY_RANGE  "mvcc: watcher range is empty"
#define REASON_DUPLICATE_ID "mvcc: duplicate watch ID provided on the WatchStream"
#define STREAM_BYTES_MIN    (16 << 10) /* a stream may hold this much, however many streams there are */
#define REASON_TOO_MANY     "etcdserver: too many watches on this stream"
#define REASON_NO_ROOM      "etcdserver: too many watches (--max-watch-bytes)"
#define ID_BYTES            32 /* memory of its place in watch_stream.ids */

struct watch_hub *watch_hub_new(const struct watch_options *options)
{
    struct watch_hub *h = mem_new(sizeof *h);
    struct watch_options *o = &h->options;
    *o = *options;
    o->stream_queue_max = o->stream_queue_max ? o->stream_queue_max : 1024;
    o->stream_bytes_max = o->stream_bytes_max ? o->stream_bytes_max : 4 << 20;
    o->total_bytes_max = o->total_bytes_max ? o->total_bytes_max : 256 << 20;
    o->stream_watchers_max = o->stream_watchers_max ? o->stream_watchers_max : 100000;
    h->memory.bytes_max = o->watchers_bytes_max;
    o->response_bytes_max = o->response_bytes_max ? o->response_bytes_max : 2 << 20;
    o->progress_interval_ms = o->progress_interval_ms ? o->progress_interval_ms : 600000;
    store_set_needs_previous(o->store, false);
    store_set_needs_events(o->store, false);
    h->revision = store_revision(o->store);
    h->scan_revisions = WATCH_REVISIONS_MAX;
    list_init(&h->streams);
    list_init(&h->ready);
    list_init(&h->rereading);
    list_init(&h->scanning);
    list_init(&h->garbage);
    list_init(&h->checked);
    list_init(&h->unchecked);
    return h;
}

void watch_hub_free(struct watch_hub *h)
{
    if (!h)
        return;
    assert(list_is_empty(&h->streams));
    while (watch_garbage_release(&h->garbage, &h->queued_bytes)) {
    }
    watch_scratch_clear(&h->scratch);
    buf_done(&h->scratch.bytes);
    keyset_done(&h->keys);
    watch_budget_done(&h->memory);
    heap_done(&h->progress);
    mem_free(h);
}

/* --- streams ------------------------------------------------------------------------------------ */

/* One response for each watcher is free: it costs less memory than the watcher itself. */
static size_t responses_max(const struct watch_stream *s)
{
    return s->hub->options.stream_queue_max + s->count;
}

/* A stream may hold as many bytes as are left of the total. So n streams that nobody reads each stop at about
 * 1/n of the total, and the same share is left for a new stream. */
static size_t bytes_max(const struct watch_stream *s)
{
    const struct watch_options *o = &s->hub->options;
    size_t used = s->hub->queued_bytes, left = used < o->total_bytes_max ? o->total_bytes_max - used : 0;
    if (left < STREAM_BYTES_MIN)
        left = STREAM_BYTES_MIN;
    return left < o->stream_bytes_max ? left : o->stream_bytes_max;
}

bool watch_stream_is_full(const struct watch_stream *s)
{
    return s->queue.bytes >= bytes_max(s) || s->queue.count >= responses_max(s);
}

static bool stream_has_room(const struct watch_stream *s)
{
    return s->queue.bytes <= bytes_max(s) / 2 && s->queue.count <= responses_max(s) / 2;
}

void watch_stream_make_ready(struct watch_stream *s)
{
    if (!s->is_notified && !link_is_in_list(&s->ready))
        list_add_last(&s->hub->ready, &s->ready);
}

/* The callback may close this stream and others. */
void watch_hub_notify_ready(struct watch_hub *h)
{
    struct link *link;
    while ((link = list_take_first(&h->ready))) {
        struct watch_stream *s = container_of(link, struct watch_stream, ready);
        s->is_notified = true;
        s->on_ready(s->arg);
    }
}

void watch_hub_notify_garbage(struct watch_hub *h)
{
    if (!list_is_empty(&h->garbage) && h->options.on_work)
        h->options.on_work(h->options.on_work_arg);
}

/* Schedules a re-read. Watchers of a full stream cost no work until the stream is half empty. */
void watch_stream_reread(struct watch_stream *s)
{
    struct watch_hub *h = s->hub;
    if (!s->unsynced_count || link_is_in_list(&s->rereading) || !stream_has_room(s))
        return;
    FAILPOINT(BEFORE_MOVE_VICTIMS);
    bool is_first = list_is_empty(&h->rereading);
    list_add_last(&h->rereading, &s->rereading);
    if (is_first && h->options.on_work)
        h->options.on_work(h->options.on_work_arg);
}

struct watch_stream *watch_stream_open(struct watch_hub *h, void (*on_ready)(void *arg), void *arg)
{
    struct watch_stream *s = mem_new(sizeof *s);
    s->hub = h;
    s->on_ready = on_ready;
    s->arg = arg;
    list_init(&s->synced);
    list_init(&s->unsynced);
    list_init(&s->ended);
    watch_queue_init(&s->queue, &h->queued_bytes, &h->garbage);
    list_add_last(&h->streams, &s->link);
    h->stream_count++;
    return s;
}

void watch_stream_set_source(struct watch_stream *s, uint64_t source)
{
    assert(!s->source && s->count == 0);
    s->source = watch_budget_enter(&s->hub->memory, source);
}

void watch_stream_queue_control(struct watch_stream *s, const struct watch_head *head,
                                int64_t header_revision)
{
    watch_queue_add_control(&s->queue, head, header_revision);
    watch_stream_make_ready(s);
}

/* --- groups ------------------------------------------------------------------------------------- */
static void group_init(struct group *g, bool is_range)
{
    list_init(&g->synced);
    list_init(&g->unsynced);
    g->is_range = is_range;
}

static struct group *key_group_get(struct watch_hub *h, struct slice key)
{
    struct keyset_node *n = keyset_find(&h->keys, key);
    if (n)
        return &container_of(n, struct key_group, node)->group;
    struct key_group *g = keyset_alloc(sizeof *g, key);
    group_init(&g->group, false);
    keyset_add(&h->keys, &g->node);
    return &g->group;
}

/* end.data NULL: all keys from start on. */
static struct group *range_group_get(struct watch_hub *h, struct slice start, struct slice end)
{
    struct interval_node *n = interval_find(&h->ranges, start, end);
    if (n)
        return &container_of(n, struct range_group, node)->group;
    struct range_group *g = mem_new(sizeof *g + start.size + end.size);
    uint8_t *bytes = (uint8_t *)(g + 1);
    memcpy(bytes, start.data, start.size);
    g->node.start = slice_of(bytes, start.size);
    if (end.data) {
        memcpy(bytes + start.size, end.data, end.size);
        g->node.end = slice_of(bytes + start.size, end.size);
    }
    group_init(&g->group, true);
    interval_add(&h->ranges, &g->node);
    return &g->group;
}

static void group_free_if_empty(struct watch_hub *h, struct group *g)
{
    if (!list_is_empty(&g->synced) || !list_is_empty(&g->unsynced))
        return;
    if (g->is_range) {
        struct range_group *r = container_of(g, struct range_group, group);
        interval_remove(&h->ranges, &r->node);
        mem_free(r);
    } else {
        struct key_group *k = container_of(g, struct key_group, group);
        keyset_remove(&h->keys, &k->node);
        mem_free(k);
    }
}

/* --- watchers ----------------------------------------------------------------------------------- */
static void watcher_enlist(struct watcher *w, bool is_unsynced)
{
    w->is_unsynced = is_unsynced;
    list_add_last(is_unsynced ? &w->group->unsynced : &w->group->synced, &w->in_group);
    list_add_last(is_unsynced ? &w->stream->unsynced : &w->stream->synced, &w->in_stream);
    w->stream->unsynced_count += is_unsynced;
    w->stream->hub->unsynced_count += is_unsynced;
}

static void watcher_delist(struct watcher *w)
{
    list_remove(&w->in_group);
    list_remove(&w->in_stream);
    w->stream->unsynced_count -= w->is_unsynced;
    w->stream->hub->unsynced_count -= w->is_unsynced;
}

void watcher_mark_unsynced(struct watcher *w, int64_t next_revision)
{
    assert(!w->is_unsynced && w->next_revision <= next_revision);
    watcher_delist(w);
    w->next_revision = next_revision;
    watcher_enlist(w, true);
}

void watcher_mark_synced(struct watcher *w)
{
    assert(w->is_unsynced && w->next_revision > w->stream->hub->revision);
    watcher_delist(w);
    watcher_enlist(w, false);
}

struct watcher *watcher_find(const struct watch_stream *s, int64_t id)
{
    if (s->ids.capacity)
        return map_get(&s->ids, (uint64_t)id);
    const struct link *lists[3] = {&s->synced, &s->unsynced, &s->ended};
    for (int i = 0; i < 3; i++)
        LIST_FOR_EACH (link, lists[i]) {
            struct watcher *w = container_of(link, struct watcher, in_stream);
            if (w->id == id)
                return w;
        }
    return NULL;
}

static void ids_add(struct watch_stream *s, struct watcher *w)
{
    s->count++;
    if (!s->ids.capacity && s->count > STREAM_IDS_MIN) {
        const struct link *lists[3] = {&s->synced, &s->unsynced, &s->ended};
        for (int i = 0; i < 3; i++)
            LIST_FOR_EACH (link, lists[i]) {
                struct watcher *other = container_of(link, struct watcher, in_stream);
                map_put(&s->ids, (uint64_t)other->id, other);
            }
    }
    if (s->ids.capacity)
        map_put(&s->ids, (uint64_t)w->id, w);
}

/* Like in etcd, a watcher that a compaction ended keeps its id until a cancel comes, and answers that
 * cancel. */
void watcher_end(struct watcher *w)
{
    struct watch_stream *s = w->stream;
    struct watch_hub *h = s->hub;
    watch_queue_close_item(&w->open);
    watcher_delist(w);
    group_free_if_empty(h, w->group);
    w->group = NULL;
    if (--h->watcher_count == 0)
        store_set_needs_events(h->options.store, false);
    if (w->has_previous && --h->previous_count == 0)
        store_set_needs_previous(h->options.store, false);
    if (w->wants_progress && --s->progress_count == 0)
        heap_remove(&h->progress, &s->progress);
    list_add_last(&s->ended, &w->in_stream);
}

void watcher_free(struct watcher *w)
{
    struct watch_stream *s = w->stream;
    if (w->group)
        watcher_end(w);
    list_remove(&w->in_stream);
    if (s->source)
        watch_budget_give(&s->hub->memory, s->source, w->bytes);
    if (s->ids.capacity)
        map_remove(&s->ids, (uint64_t)w->id);
    s->count--;
    mem_free(w);
}

static struct watcher *first_watcher(struct watch_stream *s)
{
    struct link *list = list_is_empty(&s->synced) ? &s->unsynced : &s->synced;
    return list_is_empty(list) ? NULL : container_of(list->next, struct watcher, in_stream);
}

void watch_stream_close(struct watch_stream *s)
{
    struct watch_hub *h = s->hub;
    struct watcher *w;
    while ((w = first_watcher(s)))
        watcher_free(w);
    LIST_FOR_EACH_SAFE (ended, &s->ended)
        watcher_free(container_of(ended, struct watcher, in_stream));
    map_done(&s->ids);
    if (s->source)
        watch_budget_leave(&h->memory, s->source);
    watch_queue_done(&s->queue);
    watch_hub_notify_garbage(h);
    list_remove(&s->ready);
    list_remove(&s->rereading);
    list_remove(&s->turn);
    list_remove(&s->link);
    h->stream_count--;
    mem_free(s);
}

/* --- requests ----------------------------------------------------------------------------------- */
static const char *find_refusal(const struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *r,
                                struct slice key, const char *refuse_reason)
{
    struct slice end = slice_of(r->range_end.data, r->range_end.len);
    bool is_from_key = end.size == 1 && end.data[0] == 0;
    if (r->start_revision < 0)
        return err_text(ERR_COMPACTED);
    if (refuse_reason)
        return refuse_reason;
    if (end.size && !is_from_key && slice_compare(key, end) >= 0)
        return REASON_EMPTY_RANGE;
    if (r->watch_id != 0 && watcher_find(s, r->watch_id))
        return REASON_DUPLICATE_ID;
    if (s->count >= s->hub->options.stream_watchers_max)
        return REASON_TOO_MANY;
    return NULL;
}

/* Approximate memory of a watcher. Its group counts in full, even when others share it. */
static size_t watcher_bytes(struct slice key, const ProtobufCBinaryData *range_end)
{
    return sizeof(struct watcher) + ID_BYTES + sizeof(struct range_group) + key.size + range_end->len;
}

static struct group *group_get(struct watch_hub *h, struct slice key, const ProtobufCBinaryData *range_end)
{
    if (!range_end->len)
        return key_group_get(h, key);
    if (range_end->len == 1 && range_end->data[0] == 0)
        return range_group_get(h, key, (struct slice){0});
    return range_group_get(h, key, slice_of(range_end->data, range_end->len));
}

static int64_t choose_id(struct watch_stream *s, int64_t requested_id)
{
    if (requested_id != 0)
        return requested_id;
    while (watcher_find(s, s->next_id))
        s->next_id++;
    return s->next_id++;
}

/* The watcher is synced unless it starts in the past. A watcher that starts in the future waits among the
 * synced. */
static void watcher_start(struct watcher *w, int64_t start_revision)
{
    struct watch_stream *s = w->stream;
    int64_t next = s->hub->revision + 1;
    w->start_revision = start_revision;
    if (s->start_max < start_revision)
        s->start_max = start_revision;
    w->next_revision = start_revision > 0 ? start_revision : next;
    if (MUTANT(WATCH_FUTURE_TOO_SOON) && w->next_revision > next)
        w->next_revision = next;
    watcher_enlist(w, w->next_revision < next);
}

static void watcher_add(struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *r, struct slice key,
                        int64_t id, size_t bytes)
{
    struct watch_hub *h = s->hub;
    struct watcher *w = mem_new(sizeof *w);
    w->stream = s;
    w->bytes = bytes;
    w->group = group_get(h, key, &r->range_end);
    w->id = id;
    w->serial = ++h->serial;
    w->checked_epoch = h->epoch;
    w->has_previous = r->prev_kv;
    w->may_fragment = r->fragment;
    w->wants_progress = r->progress_notify;
    for (size_t i = 0; i < r->n_filters; i++) {
        w->no_put |= r->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
        w->no_delete |= r->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    }
    watcher_start(w, r->start_revision);
    ids_add(s, w);
    if (h->watcher_count++ == 0)
        store_set_needs_events(h->options.store, true);
    if (w->has_previous && h->previous_count++ == 0)
        store_set_needs_previous(h->options.store, true);
    if (w->wants_progress && s->progress_count++ == 0)
        heap_add(&h->progress, &s->progress, 0);
}

void watch_create(struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *request,
                  const char *refuse_reason)
{
    struct slice key = request->key.len ? slice_of(request->key.data, request->key.len) : slice_of("", 1);
    struct watch_head head = {.watch_id = -1, .is_created = true};
    size_t bytes = watcher_bytes(key, &request->range_end);
    head.cancel_reason = find_refusal(s, request, key, refuse_reason);
    if (!head.cancel_reason && s->source && !watch_budget_take(&s->hub->memory, s->source, bytes))
        head.cancel_reason = REASON_NO_ROOM;
    head.is_canceled = head.cancel_reason;
    if (!head.is_canceled)
        head.watch_id = choose_id(s, request->watch_id);
    watch_stream_queue_control(s, &head, s->hub->revision);
    if (!head.is_canceled)
        watcher_add(s, request, key, head.watch_id, bytes);
    watch_stream_reread(s);
    watch_hub_notify_ready(s->hub);
}

void watch_cancel(struct watch_stream *s, int64_t watch_id)
{
    struct watch_hub *h = s->hub;
    struct watcher *w = watcher_find(s, watch_id);
    if (!w)
        return;
    watcher_free(w);
    watch_stream_queue_control(s, &(struct watch_head){.watch_id = watch_id, .is_canceled = true},
                               h->revision);
    watch_hub_notify_ready(h);
}

void watch_cancel_all(struct watch_stream *s, const char *reason)
{
    struct watch_hub *h = s->hub;
    struct watcher *w;
    while ((w = first_watcher(s))) {
        struct watch_head head = {.watch_id = w->id, .is_canceled = true, .cancel_reason = reason};
        watcher_free(w);
        watch_stream_queue_control(s, &head, h->revision);
    }
    watch_hub_notify_ready(h);
}

bool watch_is_full(const struct watch_stream *s)
{
    return s->queue.count >= responses_max(s) + CONTROLS_MAX;
}

/* --- progress ----------------------------------------------------------------------------------- */

bool watcher_has_started(const struct watcher *w)
{
    return w->stream->hub->revision >= w->start_revision;
}

static bool have_all_started(struct watch_stream *s)
{
    if (s->hub->revision >= s->start_max)
        return true;
    s->start_max = 0; /* its watcher may be gone */
    LIST_FOR_EACH (link, &s->synced) {
        const struct watcher *w = container_of(link, struct watcher, in_stream);
        if (s->start_max < w->start_revision)
            s->start_max = w->start_revision;
    }
    return s->hub->revision >= s->start_max;
}

static bool is_last_progress(const struct watch_stream *s, int64_t revision)
{
    if (list_is_empty(&s->queue.items))
        return false;
    const struct watch_item *last = container_of(s->queue.items.prev, struct watch_item, link);
    return last->count == 0 && last->head.watch_id == -1 && !last->head.is_created &&
           last->header_revision == revision;
}

/* The request gets no answer where etcd gives none; the client requests it again. */
void watch_request_progress(struct watch_stream *s)
{
    struct watch_hub *h = s->hub;
    FAILPOINT(BEFORE_PROGRESS_IF_SYNC);
    bool is_unsynced = s->unsynced_count && !MUTANT(WATCH_PROGRESS_EARLY);
    if (!first_watcher(s) || is_unsynced || !have_all_started(s) || watch_stream_is_full(s) ||
        is_last_progress(s, h->revision))
        return;
    watch_stream_queue_control(s, &(struct watch_head){.watch_id = -1}, h->revision);
    watch_hub_notify_ready(h);
}

/* --- a new store -------------------------------------------------------------------------------- */
void watch_store_replaced(struct watch_hub *h, struct store *store)
{
    int64_t next = h->revision + 1;
    h->options.store = store;
    h->revision = store_revision(store);
    store_set_needs_previous(store, h->previous_count);
    store_set_needs_events(store, h->watcher_count);
    LIST_FOR_EACH (stream_link, &h->streams) {
        struct watch_stream *s = container_of(stream_link, struct watch_stream, link);
        LIST_FOR_EACH_SAFE (link, &s->synced) {
            struct watcher *w = container_of(link, struct watcher, in_stream);
            int64_t from = w->next_revision > next ? w->next_revision : next;
            if (MUTANT(WATCH_SNAPSHOT_SKIPS))
                from = h->revision + 1;
            if (from <= h->revision)
                watcher_mark_unsynced(w, from);
            else
                w->next_revision = from;
        }
        watch_stream_reread(s);
    }
}

/* --- output ------------------------------------------------------------------------------------- */
bool watch_next_part(struct watch_stream *s, size_t part_bytes, struct watch_output *ret_output)
{
    struct watch_hub *h = s->hub;
    if (s->checked_epoch != h->epoch && !watch_stream_check_permissions(s)) {
        s->is_notified = false; /* watch_permission_turn notifies it */
        return false;
    }
    if (!watch_queue_next(&s->queue, h->options.response_bytes_max, part_bytes, &h->scratch, ret_output)) {
        s->is_notified = false;
        return false;
    }
    watch_stream_reread(s);
    return true;
}

bool watch_next(struct watch_stream *s, struct watch_output *ret_output)
{
    return watch_next_part(s, SIZE_MAX, ret_output);
}

bool watch_next_is_long(const struct watch_stream *s, size_t part_bytes)
{
    return watch_queue_next_is_long(&s->queue, part_bytes);
}

bool watch_has_next(const struct watch_stream *s)
{
    return watch_queue_has_next(&s->queue);
}

struct watch_counts watch_counts(const struct watch_hub *h)
{
    return (struct watch_counts){h->stream_count, h->watcher_count, h->unsynced_count, h->queued_bytes,
                                 h->memory.bytes};
}
