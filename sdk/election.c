/* SPDX-License-Identifier: Apache-2.0
 * The leader of an election: the oldest key under its name (lock.c), followed by a watch of all its keys.
 *
 *     read the oldest key -> report it -> watch from there -> a change that can matter -> read again
 *
 * A change matters if the leader's own key changed, or if there was no leader. Changes that arrive during a read
 * make another read follow it, so the last state is never missed. */
#include "base/clock.h"
#include "sdk/private.h"

struct cairn_leader_watch {
    struct object object;
    struct post post;
    struct cairn_client *client;
    struct buf name, key, value; /* name: with a slash behind it. key, value: of the leader; empty = none */
    int64_t revision;            /* of the leader's key */
    int64_t seen;                /* the revision of the last read */
    struct cairn_watch *watch;
    struct cairn_cancel *parts;
    struct timer again;
    unsigned failures;
    bool is_reading, is_stale, is_reported, is_over, is_notifying, is_stopped;
    void (*callback)(struct cairn_leader_watch *w, const struct cairn_leader *now,
                     const struct cairn_error *error, void *arg);
    void *arg;
};

static void leader_read(struct cairn_leader_watch *w);

static void leader_free_if_unused(struct cairn_leader_watch *w)
{
    if (!w->is_stopped || w->is_reading || w->is_notifying)
        return;
    cairn_cancel_free(w->parts);
    buf_done(&w->name);
    buf_done(&w->key);
    buf_done(&w->value);
    mem_free(w);
}

static void leader_end_parts(struct cairn_leader_watch *w)
{
    w->is_over = true;
    timer_stop(w->client, &w->again);
    cairn_watch_stop(w->watch);
    w->watch = NULL;
    cairn_cancel_now(w->parts);
}

static void leader_notify(struct cairn_leader_watch *w, const struct cairn_error *error)
{
    struct cairn_leader now = {.is_elected = w->key.size > 0,
                               .key = {w->key.data, w->key.size},
                               .value = {w->value.size ? w->value.data : (const void *)"", w->value.size},
                               .revision = w->revision};
    w->is_notifying = true;
    w->callback(w, &now, error, w->arg);
    w->is_notifying = false;
    leader_free_if_unused(w);
}

static void leader_refused(struct cairn_leader_watch *w, const struct cairn_error *error)
{
    struct cairn_error e = *error;
    leader_end_parts(w);
    leader_notify(w, &e);
}

/* --- changes -------------------------------------------------------------------------------------------- */
static bool leader_is_concerned(const struct cairn_leader_watch *w, const struct cairn_watch_update *u)
{
    if (u->kind == CAIRN_WATCH_RESYNC || !w->key.size)
        return true;
    for (size_t i = 0; i < u->event_count; i++)
        if (slice_equal(slice_of(u->events[i].kv.key.data, u->events[i].kv.key.size), buf_slice(&w->key)))
            return true;
    return false;
}

static void leader_on_update(struct cairn_watch *watch, const struct cairn_watch_update *u, void *arg)
{
    struct cairn_leader_watch *w = arg;
    (void)watch;
    if (u->kind == CAIRN_WATCH_ENDED)
        leader_refused(w, &u->error);
    else if (w->is_reading)
        w->is_stale = true;
    else if (leader_is_concerned(w, u))
        leader_read(w);
}

static void leader_watch_keys(struct cairn_leader_watch *w)
{
    struct cairn_watch_request q = {
        .key = {w->name.data, w->name.size}, .prefix = true, .start_revision = w->seen + 1};
    if (cairn_watch_start(w->client, &q, leader_on_update, w, &w->watch, NULL) != CAIRN_OK)
        leader_end_parts(w); /* the client is being closed */
}

/* --- the read ------------------------------------------------------------------------------------------- */
static void leader_on_again(struct timer *t)
{
    leader_read(container_of(t, struct cairn_leader_watch, again));
}

static bool leader_is_passing(int code)
{
    return code == CAIRN_UNAVAILABLE || code == CAIRN_UNKNOWN || code == CAIRN_TIMEOUT ||
           code == CAIRN_SERVER;
}

static void leader_take(struct cairn_leader_watch *w, const struct cairn_range_result *r)
{
    static const struct cairn_kv nobody;
    const struct cairn_kv *kv = r->kv_count ? &r->kvs[0] : &nobody;
    bool is_same = w->is_reported && slice_equal(slice_of(kv->key.data, kv->key.size), buf_slice(&w->key)) &&
                   slice_equal(slice_of(kv->value.data, kv->value.size), buf_slice(&w->value)) &&
                   kv->create_revision == w->revision;
    w->failures = 0;
    w->seen = r->header.revision;
    buf_clear(&w->key);
    buf_clear(&w->value);
    buf_add(&w->key, kv->key.data, kv->key.size);
    buf_add(&w->value, kv->value.data, kv->value.size);
    w->revision = kv->create_revision;
    w->is_reported = true;
    if (!w->watch)
        leader_watch_keys(w);
    if (!w->is_over && w->is_stale)
        leader_read(w);
    if (!w->is_over && !is_same)
        leader_notify(w, NULL);
}

static void leader_on_read(struct cairn_range_result *r, const struct cairn_error *error, void *arg)
{
    struct cairn_leader_watch *w = arg;
    w->is_reading = false;
    if (w->is_over) {
        leader_free_if_unused(w);
    } else if (error->code && leader_is_passing(error->code)) {
        uint64_t ms = (uint64_t)PAUSE_MIN_MS << (w->failures < 5 ? w->failures : 5);
        w->failures++;
        timer_start(w->client, &w->again, ms / 2 + random_u64() % (ms / 2 + 1));
    } else if (error->code) {
        leader_refused(w, error);
    } else {
        leader_take(w, r);
    }
    cairn_result_free(r);
}

static void leader_read(struct cairn_leader_watch *w)
{
    struct cairn_range_request q = {.key = {w->name.data, w->name.size},
                                    .prefix = true,
                                    .limit = 1,
                                    .order = CAIRN_ASCEND,
                                    .by = CAIRN_BY_CREATE};
    struct cairn_call_options o = {.size = sizeof o, .cancel = w->parts};
    timer_stop(w->client, &w->again);
    w->is_stale = false;
    w->is_reading = cairn_range_async_with(w->client, &q, &o, leader_on_read, w) == CAIRN_OK;
}

/* --- start and stop ------------------------------------------------------------------------------------- */
static void leader_stop_here(struct object *o)
{
    struct cairn_leader_watch *w = container_of(o, struct cairn_leader_watch, object);
    list_remove(&o->link);
    if (!w->is_over)
        leader_end_parts(w);
    w->is_stopped = true;
    leader_free_if_unused(w);
}

static void leader_start_here(struct post *p)
{
    struct cairn_leader_watch *w = container_of(p, struct cairn_leader_watch, post);
    object_add(w->client, &w->object);
    leader_read(w);
}

int cairn_leader_start(struct cairn_client *c, struct cairn_bytes name,
                       void (*callback)(struct cairn_leader_watch *w, const struct cairn_leader *now,
                                        const struct cairn_error *error, void *arg),
                       void *arg, struct cairn_leader_watch **ret_watch, struct cairn_error *error)
{
    if (!name.size || name.size > 1024 || !callback)
        return set_error(error, CAIRN_INVALID, "an election's name has 1 to 1024 bytes, and not %zu",
                         name.size);
    struct cairn_leader_watch *w = mem_new(sizeof *w);
    w->client = c;
    w->callback = callback;
    w->arg = arg;
    w->object.stop = leader_stop_here;
    w->again.run = leader_on_again;
    w->post.run = leader_start_here;
    (void)cairn_cancel_new(c, &w->parts);
    buf_add(&w->name, name.data, name.size);
    buf_add_text(&w->name, "/");
    *ret_watch = w; /* set before the callback can run */
    int err = client_start(c, &w->post);
    if (err) {
        *ret_watch = NULL;
        w->is_stopped = true;
        leader_free_if_unused(w);
        return set_error(error, err, "%s", cairn_error_text(err));
    }
    return CAIRN_OK;
}

void cairn_leader_stop(struct cairn_leader_watch *w)
{
    if (w)
        object_stop(w->client, &w->object);
}
