/* SPDX-License-Identifier: Apache-2.0
 * Rights of watchers that are open already. When rights change (watch_rejudge), the epoch of the hub moves
 * on, and each stream with a judge is asked for each of its watchers, a bounded number in a turn of the loop.
 *
 * Invariant: watch_next gives nothing out while the stream's epoch is not the hub's. So no event goes out
 * under rights that are gone, whether it was queued before the change or after; the turns judge idle streams
 * too, so that their watchers end. Responses that wait for a watcher that lost its right are dropped, and it
 * is canceled with the judge's reason.
 *
 * A stream is in hub.judged or in hub.unjudged; a change moves all of them over at once. */
#include "base/turn_queue.h"
#include "consensus/store/watch_state.h"

enum { WATCHERS_PER_TURN = 4096 /* judged in one turn, a share of it at most: about a millisecond */ };

void watch_stream_set_judge(struct watch_stream *s,
                            const char *(*judge)(void *arg, struct slice key, struct slice range_end))
{
    s->judge = judge;
    s->judged = s->hub->epoch;
    list_add_last(&s->hub->judged, &s->turn);
}

void watch_rejudge(struct watch_hub *h)
{
    h->epoch++;
    h->budget = WATCHERS_PER_TURN;
    h->share = turn_share();
    list_move_all(&h->unjudged, &h->judged);
    if (!list_is_empty(&h->unjudged) && h->options.on_work)
        h->options.on_work(h->options.on_work_arg);
}

static const char *judge(const struct watch_stream *s, const struct watcher *w)
{
    if (w->group->is_range) {
        const struct interval_node *n = &container_of(w->group, struct range_group, group)->node;
        return s->judge(s->arg, n->start, n->end.data ? n->end : slice_of("", 1));
    }
    return s->judge(s->arg, keyset_key(&container_of(w->group, struct key_group, group)->node),
                    (struct slice){0});
}

/* Moves on through one list; false: there is no budget left. The ones that lost their right go to `refused`.
 */
static bool judge_list(struct watch_stream *s, struct link *list, struct link *refused)
{
    struct watch_hub *h = s->hub;
    LIST_FOR_EACH_SAFE (l, list) {
        struct watcher *w = container_of(l, struct watcher, in_stream);
        if (w->judged == h->epoch)
            continue;
        if (!h->budget || turn_share_is_spent(h->share))
            return false;
        h->budget--;
        w->judged = h->epoch;
        w->refused = judge(s, w);
        if (!w->refused)
            continue;
        watcher_end(w);
        list_remove(&w->in_stream);
        list_add_last(refused, &w->in_stream);
    }
    return true;
}

/* Those of watchers that are there. One that ended by a compaction has none to lose: its client is told so.
 */
static bool is_wanted(void *arg, const struct watch_item *item)
{
    const struct watcher *w = watcher_find(arg, item->head.watch_id);
    return w && w->group && w->serial == item->head.serial;
}

static void watch_judge_cancel(struct watch_stream *s, struct watcher *w, bool is_first)
{
    struct watch_head head = {.watch_id = w->id, .is_canceled = true, .cancel_reason = w->refused};
    int64_t revision = s->hub->revision;
    watcher_free(w);
    if (is_first)
        watch_queue_add_first(&s->queue, &head, revision);
    else
        watch_queue_add_control(&s->queue, &head, revision);
}

/* A client that has some fragments of a response waits for the rest: there the cancellation comes first. */
static void cancel_refused(struct watch_stream *s, struct link *refused)
{
    if (list_is_empty(refused))
        return;
    int64_t begun = watch_queue_drop(&s->queue, is_wanted, s);
    for (struct link *l; (l = list_take_first(refused));) {
        struct watcher *w = container_of(l, struct watcher, in_stream);
        watch_judge_cancel(s, w, w->id == begun);
    }
}

bool watch_stream_is_judged(struct watch_stream *s)
{
    struct watch_hub *h = s->hub;
    struct link refused;
    list_init(&refused);
    bool is_whole = true;
    if (s->judge) {
        is_whole = judge_list(s, &s->level, &refused) && judge_list(s, &s->behind, &refused);
        cancel_refused(s, &refused);
        list_remove(&s->turn);
        list_add_last(is_whole ? &h->judged : &h->unjudged, &s->turn);
    }
    if (is_whole)
        s->judged = h->epoch;
    return is_whole;
}

bool watch_judge_turn(struct watch_hub *h)
{
    h->budget = WATCHERS_PER_TURN;
    h->share = turn_share();
    while (h->budget && !turn_share_is_spent(h->share) && !list_is_empty(&h->unjudged)) {
        struct watch_stream *s = container_of(h->unjudged.next, struct watch_stream, turn);
        h->budget--;
        if (watch_stream_is_judged(s) && s->queue.count)
            watch_stream_make_ready(s);
    }
    return !list_is_empty(&h->unjudged);
}
