/* SPDX-License-Identifier: Apache-2.0
 * Permissions of open watchers: they are checked again when users or roles change.
 *
 *  1. watch_recheck_permissions increments the hub's epoch and moves all streams from hub.checked to
 *     hub.unchecked.
 *  2. Each turn calls the permission check of some streams, for a bounded number of watchers. Idle streams
 *     are checked, too, so that their watchers end.
 *  3. A watcher that lost its permission is canceled with the reason. Its queued responses are dropped.
 *  4. A stream whose watchers are all checked returns to hub.checked.
 *
 * Invariant: watch_next gives no output while the stream's epoch is not the hub's. So no event leaves under a
 * permission that is gone, whether it was queued before or after the change. */
#include "base/turn_queue.h"
#include "consensus/store/watch_state.h"

enum {
    WATCHERS_PER_TURN = 4096 /* watchers checked in one turn, within the turn's share of time: about a
                                   millisecond */
};

void watch_stream_set_permission_check(struct watch_stream *s,
                                       const char *(*check)(void *arg, struct slice key,
                                                            struct slice range_end))
{
    s->check = check;
    s->checked_epoch = s->hub->epoch;
    list_add_last(&s->hub->checked, &s->turn);
}

void watch_recheck_permissions(struct watch_hub *h)
{
    h->epoch++;
    h->budget = WATCHERS_PER_TURN;
    h->share = turn_share();
    list_move_all(&h->unchecked, &h->checked);
    if (!list_is_empty(&h->unchecked) && h->options.on_work)
        h->options.on_work(h->options.on_work_arg);
}

static const char *check_watcher(const struct watch_stream *s, const struct watcher *w)
{
    if (w->group->is_range) {
        const struct interval_node *n = &container_of(w->group, struct range_group, group)->node;
        return s->check(s->arg, n->start, n->end.data ? n->end : slice_of("", 1));
    }
    return s->check(s->arg, keyset_key(&container_of(w->group, struct key_group, group)->node),
                    (struct slice){0});
}

/* Checks the watchers of one list. False: the budget is spent. Watchers that lost their permission move to
 * `denied`. */
static bool check_list(struct watch_stream *s, struct link *list, struct link *denied)
{
    struct watch_hub *h = s->hub;
    LIST_FOR_EACH_SAFE (l, list) {
        struct watcher *w = container_of(l, struct watcher, in_stream);
        if (w->checked_epoch == h->epoch)
            continue;
        if (!h->budget || turn_share_is_spent(h->share))
            return false;
        h->budget--;
        w->checked_epoch = h->epoch;
        w->denial = check_watcher(s, w);
        if (!w->denial)
            continue;
        watcher_end(w);
        list_remove(&w->in_stream);
        list_add_last(denied, &w->in_stream);
    }
    return true;
}

/* True for responses of watchers that exist. A watcher that a compaction ended has none to lose: its client
 * is notified of that. */
static bool is_wanted(void *arg, const struct watch_item *item)
{
    const struct watcher *w = watcher_find(arg, item->head.watch_id);
    return w && w->group && w->serial == item->head.serial;
}

static void cancel_denied_watcher(struct watch_stream *s, struct watcher *w, bool is_first)
{
    struct watch_head head = {.watch_id = w->id, .is_canceled = true, .cancel_reason = w->denial};
    int64_t revision = s->hub->revision;
    watcher_free(w);
    if (is_first)
        watch_queue_add_first(&s->queue, &head, revision);
    else
        watch_queue_add_control(&s->queue, &head, revision);
}

/* A client that has some fragments of a response waits for the rest, so there the cancel response goes
 * first. */
static void cancel_denied(struct watch_stream *s, struct link *denied)
{
    if (list_is_empty(denied))
        return;
    int64_t begun = watch_queue_drop(&s->queue, is_wanted, s);
    watch_hub_notify_garbage(s->hub);
    for (struct link *l; (l = list_take_first(denied));) {
        struct watcher *w = container_of(l, struct watcher, in_stream);
        cancel_denied_watcher(s, w, w->id == begun);
    }
}

bool watch_stream_check_permissions(struct watch_stream *s)
{
    struct watch_hub *h = s->hub;
    struct link denied;
    list_init(&denied);
    bool is_whole = true;
    if (s->check) {
        is_whole = check_list(s, &s->synced, &denied) && check_list(s, &s->unsynced, &denied);
        cancel_denied(s, &denied);
        list_remove(&s->turn);
        list_add_last(is_whole ? &h->checked : &h->unchecked, &s->turn);
    }
    if (is_whole)
        s->checked_epoch = h->epoch;
    return is_whole;
}

bool watch_permission_turn(struct watch_hub *h)
{
    h->budget = WATCHERS_PER_TURN;
    h->share = turn_share();
    while (h->budget && !turn_share_is_spent(h->share) && !list_is_empty(&h->unchecked)) {
        struct watch_stream *s = container_of(h->unchecked.next, struct watch_stream, turn);
        h->budget--;
        if (watch_stream_check_permissions(s) && s->queue.count)
            watch_stream_make_ready(s);
    }
    return !list_is_empty(&h->unchecked);
}
