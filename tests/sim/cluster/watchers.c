/* SPDX-License-Identifier: Apache-2.0
 * Clients that only watch. Each follows some keys for the whole run, on one member after the other. It
 * changes the member when the member ends, when its watch is canceled, and at random. At the new member it
 * continues where it was, or starts again from the past. Each watch that it opens is one watch in the
 * history. Some clients read slowly, so that they fall behind. */
#include <inttypes.h>

#include "tests/sim/cluster/requests.h"
#include "tests/sim/cluster/workload.h"

enum { WATCHERS_MAX = 16, FIRST_CLIENT = 100 };

struct watcher {
    struct watchers *all;
    uint32_t number;
    struct slice key, range_end;
    int64_t next; /* the first revision it has not seen; 0 = from now on */
    int64_t seen; /* everything up to here, by events or progress */
    struct history_watch *watch;
    struct watch_stream *stream; /* NULL: between two members */
    struct process *at;
    unsigned slot;
    uint64_t slow_until_ns;
    bool has_part;         /* of revision `next` */
    struct sim_event move; /* opens, or leaves */
};

struct watchers {
    struct world *world;
    struct history *history;
    struct watcher list[WATCHERS_MAX];
    unsigned count;
    uint64_t events;
    struct buf bytes;
    struct arena arena;
    bool is_stopped, is_restricted;
    bool is_in_core[MACHINES_MAX];
};

static uint64_t draw(struct watchers *t, uint64_t from, uint64_t to)
{
    return world_draw(&t->world->load_random, from, to);
}

static void on_stream_ready(void *arg)
{
    (void)arg; /* the end of the turn looks at every stream */
}

static void leave(struct watcher *x)
{
    if (!x->stream)
        return;
    watch_stream_close(x->stream);
    x->stream = NULL;
    x->at = NULL;
}

static void wake_later(struct watcher *x, uint64_t from_ms, uint64_t to_ms)
{
    struct sim_clock *c = &x->all->world->clock;
    sim_clock_remove(c, &x->move);
    if (!x->all->is_stopped)
        sim_clock_add(c, &x->move, draw(x->all, from_ms, to_ms) * 1000000);
}

static void choose_start(struct watcher *x)
{
    struct watchers *t = x->all;
    int64_t revision = workload_revision(t->world->workload);
    uint64_t n = draw(t, 0, 19);
    if (n == 0)
        x->next = 0;
    else if (n == 1)
        x->next = (int64_t)draw(t, 1, (uint64_t)revision + 2);
}

static void open_watch(struct watcher *x, struct process *p)
{
    struct watchers *t = x->all;
    Etcdserverpb__WatchCreateRequest m = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filters[2];
    choose_start(x);
    struct history_watch w = {
        .key = x->key,
        .range_end = x->range_end,
        .start_revision = x->next,
    };
    w.excludes_puts = draw(t, 0, 11) == 0;
    w.excludes_deletes = draw(t, 0, 11) == 0;
    w.wants_prev = draw(t, 0, 3) == 0;
    w.allows_fragments = draw(t, 0, 3) == 0;
    x->watch = history_watch_open(t->history, x->number, (int64_t)t->world->clock.now_ns, &w);
    m.key = (ProtobufCBinaryData){x->key.size, (uint8_t *)(uintptr_t)x->key.data};
    m.range_end = (ProtobufCBinaryData){x->range_end.size, (uint8_t *)(uintptr_t)x->range_end.data};
    m.start_revision = x->next;
    m.prev_kv = w.wants_prev;
    m.fragment = w.allows_fragments;
    m.progress_notify = draw(t, 0, 1) == 0;
    m.filters = filters;
    if (w.excludes_puts)
        filters[m.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    if (w.excludes_deletes)
        filters[m.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    x->at = p;
    x->slot = p->machine->slot;
    x->seen = 0;
    cluster_running = p;
    x->stream = kv_watch_open(p->kv, on_stream_ready, x);
    watch_create(x->stream, &m, NULL);
    cluster_running = NULL;
    world_note(t->world, "client %u: watch #%zu from %" PRId64 " at %s", x->number, x->watch->number, x->next,
               p->machine->name);
    process_touch(p);
}

/* Asks for progress, reads slowly for a while, or changes the member. */
static void do_something(struct watcher *x)
{
    struct watchers *t = x->all;
    uint64_t n = draw(t, 0, 9);
    if (n < 4) {
        watch_request_progress(x->stream);
        process_touch(x->at);
    } else if (n < 6 && !t->is_restricted) {
        x->slow_until_ns = t->world->clock.now_ns + draw(t, 1, 4000) * 1000000;
    } else if (!t->is_restricted) {
        leave(x);
        wake_later(x, 1, 200);
        return;
    }
    wake_later(x, 200, t->is_restricted ? 600 : 3000);
}

static void on_move(struct sim_event *event)
{
    struct watcher *x = container_of(event, struct watcher, move);
    struct world *w = x->all->world;
    if (x->stream && process_paused_until(x->at)) {
        wake_later(x, 50, 500);
        return;
    }
    if (x->stream) {
        do_something(x);
        return;
    }
    unsigned slot = (unsigned)draw(x->all, 0, w->machine_count - 1);
    struct process *p = w->machines[slot]->process;
    bool is_out = x->all->is_restricted && !x->all->is_in_core[slot];
    if (!process_is_up(p) || process_paused_until(p) || is_out) {
        wake_later(x, 10, 200);
        return;
    }
    open_watch(x, p);
    wake_later(x, 200, 5000);
}

/* --- responses ---------------------------------------------------------------------------------------- */

static struct history_event read_event(const Mvccpb__Event *e)
{
    struct history_event r = {
        .change = {e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE, request_kv(e->kv)},
        .has_prev = e->prev_kv != NULL,
    };
    if (e->prev_kv)
        r.prev = request_kv(e->prev_kv);
    return r;
}

static void follow(struct watcher *x, const Etcdserverpb__WatchResponse *m, int64_t header)
{
    if (m->n_events) {
        int64_t last = m->events[m->n_events - 1]->kv->mod_revision;
        x->next = m->fragment ? last : last + 1;
        x->seen = m->fragment ? last - 1 : last;
    } else if (m->canceled && m->compact_revision) {
        x->next = m->compact_revision;
    } else if (m->created && x->next == 0) {
        x->next = header + 1;
    } else if (!m->created && !m->canceled && header > x->seen) {
        x->seen = header; /* progress */
    }
}

static void receive(struct watcher *x, const struct watch_output *out)
{
    struct watchers *t = x->all;
    buf_clear(&t->bytes);
    for (size_t i = 0; i < out->count; i++)
        buf_add_slice(&t->bytes, out->pieces[i]);
    arena_reset(&t->arena);
    Etcdserverpb__WatchResponse *m =
        etcdserverpb__watch_response__unpack(arena_allocator(&t->arena), t->bytes.size, t->bytes.data);
    if (!m) {
        world_violated(t->world, "watch_bytes", "a watch response does not decode");
        return;
    }
    struct history_event *events = arena_alloc(&t->arena, (m->n_events + 1) * sizeof *events);
    for (size_t i = 0; i < m->n_events; i++)
        events[i] = read_event(m->events[i]);
    struct history_response r = {
        .revision = out->header_revision,
        .is_created = m->created,
        .is_canceled = m->canceled,
        .is_fragment = m->fragment,
        .compact_revision = m->compact_revision,
        .events = events,
        .event_count = m->n_events,
    };
    history_watch_add(t->history, x->watch, (int64_t)t->world->clock.now_ns, &r);
    t->events += m->n_events;
    world_mark(t->world, (uint64_t)out->header_revision, x->watch->number << 16 | m->n_events);
    follow(x, m, out->header_revision);
    if (m->canceled) {
        world_note(t->world, "client %u: watch #%zu canceled, compacted %" PRId64 "%s%s", x->number,
                   x->watch->number, m->compact_revision, m->cancel_reason[0] ? ": " : "", m->cancel_reason);
        x->slow_until_ns = 0;
    }
}

void watchers_flush(struct watchers *t, struct process *p)
{
    for (unsigned i = 0; i < t->count; i++) {
        struct watcher *x = &t->list[i];
        if (x->at != p || x->slow_until_ns > t->world->clock.now_ns)
            continue;
        struct watch_output out;
        while (!t->world->is_violated && watch_next(x->stream, &out))
            receive(x, &out);
        if (x->watch->count && x->watch->responses[x->watch->count - 1].is_canceled) {
            leave(x);
            wake_later(x, 1, 100);
        }
    }
}

void watchers_process_ended(struct watchers *t, struct process *p)
{
    for (unsigned i = 0; i < t->count; i++) {
        struct watcher *x = &t->list[i];
        if (x->at != p)
            continue;
        leave(x);
        wake_later(x, 10, 1000);
    }
}

/* --- life ---------------------------------------------------------------------------------------------- */

struct watchers *watchers_new(struct world *w, struct history *h)
{
    static const char *const ranges[][2] = {
        {"k", "l"}, {"\0", "\0"}, {"k03", ""}, {"k01", "k05"}, {"k02", ""}};
    struct watchers *t = mem_new(sizeof *t);
    t->world = w;
    t->history = h;
    t->count = (unsigned)w->plan.watchers;
    for (unsigned i = 0; i < t->count; i++) {
        struct watcher *x = &t->list[i];
        x->all = t;
        x->number = FIRST_CLIENT + i;
        x->key = slice_text(ranges[i % 5][0]);
        x->range_end = slice_text(ranges[i % 5][1]);
        if (i % 5 == 1)
            x->key = x->range_end = slice_of("", 1); /* everything */
        x->next = 1;
        x->move.fire = on_move;
    }
    return t;
}

void watchers_start(struct watchers *t)
{
    for (unsigned i = 0; i < t->count; i++)
        wake_later(&t->list[i], 1, 500);
}

void watchers_stop(struct watchers *t, int64_t complete_to)
{
    t->is_stopped = true;
    for (unsigned i = 0; i < t->count; i++) {
        struct watcher *x = &t->list[i];
        if (x->stream && complete_to)
            x->watch->complete_to = complete_to;
        sim_clock_remove(&t->world->clock, &x->move);
        leave(x);
    }
}

void watchers_free(struct watchers *t)
{
    watchers_stop(t, 0);
    buf_done(&t->bytes);
    arena_done(&t->arena);
    mem_free(t);
}

uint64_t watchers_events(const struct watchers *t)
{
    return t->events;
}

void watchers_keep_to(struct watchers *t, const bool *is_in_core)
{
    memcpy(t->is_in_core, is_in_core, sizeof t->is_in_core);
    t->is_restricted = true;
    for (unsigned i = 0; i < t->count; i++) {
        struct watcher *x = &t->list[i];
        x->slow_until_ns = 0;
        if (x->stream && !is_in_core[x->slot])
            leave(x);
        wake_later(x, 10, 500);
    }
}

static bool is_level(const struct watcher *x, int64_t revision)
{
    if (x->stream && x->watch->start_revision > revision)
        return true; /* it waits for later events, and gets no response before */
    return x->stream && x->watch->count &&
           (x->seen >= revision || x->watch->responses[0].revision >= revision);
}

bool watchers_are_level(const struct watchers *t, int64_t revision)
{
    for (unsigned i = 0; i < t->count; i++)
        if (!is_level(&t->list[i], revision))
            return false;
    return true;
}

void watchers_print(const struct watchers *t, int64_t revision)
{
    for (unsigned i = 0; i < t->count; i++) {
        const struct watcher *x = &t->list[i];
        if (!x->stream)
            world_print(t->world, "client %u watches nothing", x->number);
        else if (!is_level(x, revision))
            world_print(t->world,
                        "client %u: watch #%zu at m%u has seen %" PRId64 " of %" PRId64
                        " in %zu responses, the "
                        "first at %" PRId64,
                        x->number, x->watch->number, x->slot, x->seen, revision, x->watch->count,
                        x->watch->count ? x->watch->responses[0].revision : 0);
    }
}
