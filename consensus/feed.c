/* SPDX-License-Identifier: Apache-2.0
 * Feed of key changes; see feed.h.
 *
 *   1. LOADING: a barrier.
 *   2. READING: the pages of each prefix, at the barrier's revision.
 *   3. FOLLOWING: one watch stream from the next revision on, with one watch for each prefix.
 *
 * With one prefix, events are given as they come, within the time of a turn. The watches of several
 * prefixes may be at different revisions: their events are held until a progress notification proves that
 * all events up to its revision have come, and are then given by revision. The feed requests progress in
 * the turn in which it holds something; mostly the notification comes in the same turn. */
#include "consensus/feed.h"
#include "consensus/watch_events.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"

#define RETRY_MS           200
#define RESPONSES_PER_TURN 256
#define PAGE_KEYS          64
#define READING_NS         4000000     /* time for pages in one turn */
#define READING_KEYS       1024        /* keys in one turn, for tests whose clock stands still */
#define GIVING_NS          2000000     /* time for changes in one turn */
#define HELD_BYTES_MAX     (64u << 20) /* with more, the state is read again */

enum feed_state {
    FEED_LOADING,  /* waits for the barrier */
    FEED_RETRYING, /* the barrier failed: waits before the next one */
    FEED_READING,  /* the state at `whole`, page by page */
    FEED_FOLLOWING,
};

/* A response; its events before `events` were given. Events are unpacked one at a time: one response may have
 * 100,000 of them. */
struct held {
    struct link link;
    struct buf bytes;
    struct watch_events events;
    struct arena arena;   /* of event */
    Mvccpb__Event *event; /* the next event; NULL = none */
};

struct feed {
    struct kv *kv;
    struct io *io;
    const struct feed_events *events;
    void *arg;
    char **prefixes;
    size_t count;
    enum feed_state state;
    struct kv_request barrier;
    struct io_timer retry;
    struct watch_stream *stream;
    bool is_woken, is_canceled, is_begun;
    int64_t revision;
    int64_t whole;  /* the revision being read */
    size_t reading; /* index of the prefix being read */
    struct buf key; /* the first key of its next page */
    struct link waiters;
    struct link *held; /* a list of struct held for each prefix */
    size_t held_count, held_bytes;
    int64_t vouched; /* all events up to this revision have come (progress) */
    int64_t giving;  /* the revision between begin and end; 0 = none */
    bool is_cut;     /* with one prefix: the last response was a fragment */
    bool is_ending;  /* all changes of `giving`, or of the whole state, were given; end has returned false */
    uint64_t until_ns; /* of this turn */
};

static void feed_load(struct feed *f);

/* --- the first state ------------------------------------------------------------------------------- */

/* The first key after all keys with the prefix. */
static size_t range_end(const char *prefix, uint8_t *ret_end)
{
    size_t n = strlen(prefix);
    memcpy(ret_end, prefix, n);
    while (n > 0 && ret_end[n - 1] == 0xff)
        n--;
    if (n)
        ret_end[n - 1]++;
    return n;
}

static void begin_prefix(struct feed *f)
{
    buf_clear(&f->key);
    if (f->reading < f->count)
        buf_add_text(&f->key, f->prefixes[f->reading]);
}

/* Reads a page. The next page begins right after the last key of this one. */
static int read_page(struct feed *f, struct arena *a)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *page;
    const char *prefix = f->prefixes[f->reading];
    uint8_t *end = arena_alloc(a, strlen(prefix) + 1);
    m.key = (ProtobufCBinaryData){f->key.size, f->key.data};
    m.range_end = (ProtobufCBinaryData){range_end(prefix, end), end};
    m.serializable = true;
    m.revision = f->whole;
    m.limit = PAGE_KEYS;
    int err = kv_range_page(f->kv, &m, a, &page);
    if (err)
        return err;
    for (size_t i = 0; i < page->n_kvs; i++)
        f->events->put(f->arg, page->kvs[i]);
    if (page->n_kvs == PAGE_KEYS) {
        const Mvccpb__KeyValue *last = page->kvs[page->n_kvs - 1];
        buf_clear(&f->key);
        buf_add(&f->key, last->key.data, last->key.len);
        buf_add_byte(&f->key, 0);
    } else {
        f->reading++;
        begin_prefix(f);
    }
    return OK;
}

static void watch_from(struct feed *f, int64_t revision);

static void on_retry(struct io_timer *timer)
{
    struct feed *f = container_of(timer, struct feed, retry);
    f->state = FEED_LOADING;
    feed_load(f);
}

static void retry(struct feed *f)
{
    f->state = FEED_RETRYING;
    f->io->ops->timer_start(f->io, &f->retry, RETRY_MS);
}

static void feed_on_barrier(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct feed *f = container_of(r, struct feed, barrier);
    (void)response;
    if (err) {
        retry(f); /* mostly there is no leader: the view stays as it is until there is one */
        return;
    }
    f->whole = kv_revision(f->kv);
    f->reading = 0;
    f->is_begun = false;
    begin_prefix(f);
    f->state = FEED_READING;
}

static void read_on(struct feed *f)
{
    struct arena a = {0};
    uint64_t until = f->io->ops->mono_ns(f->io) + READING_NS;
    int err = OK;
    if (!f->is_begun)
        f->events->begin(f->arg, f->whole, true);
    f->is_begun = true;
    for (unsigned n = 0; !err && f->reading < f->count && n < READING_KEYS / PAGE_KEYS; n++) {
        err = read_page(f, &a);
        arena_reset(&a);
        if (f->io->ops->mono_ns(f->io) >= until)
            break;
    }
    arena_done(&a);
    if (err) { /* compacted in the meantime */
        log_info("the state that was being read is compacted, it is read anew", F_INT("revision", f->whole));
        f->state = FEED_LOADING;
        feed_load(f);
    } else if (f->reading == f->count && f->events->end(f->arg, until)) {
        f->revision = f->whole;
        f->state = FEED_FOLLOWING;
        watch_from(f, f->whole + 1); /* waiters are called at the end of the read */
    }
}

static void feed_load(struct feed *f)
{
    f->barrier.done = feed_on_barrier;
    kv_barrier(f->kv, &f->barrier);
}

/* --- following --------------------------------------------------------------------------------------- */

static void feed_on_ready(void *arg)
{
    ((struct feed *)arg)->is_woken = true;
}

static void watch_from(struct feed *f, int64_t revision)
{
    f->stream = kv_watch_open(f->kv, feed_on_ready, f);
    for (size_t i = 0; i < f->count; i++) {
        Etcdserverpb__WatchCreateRequest m = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
        size_t n = strlen(f->prefixes[i]);
        uint8_t *end = mem_alloc(n + 1);
        m.key = (ProtobufCBinaryData){n, (uint8_t *)f->prefixes[i]};
        m.range_end = (ProtobufCBinaryData){range_end(f->prefixes[i], end), end};
        m.start_revision = revision;
        m.fragment = true;
        watch_create(f->stream, &m, NULL);
        mem_free(end);
    }
    f->is_woken = true;
    f->vouched = 0;
    f->is_cut = false;
}

static void free_held(struct feed *f, struct held *h)
{
    list_remove(&h->link);
    f->held_count--;
    f->held_bytes -= h->bytes.size;
    buf_done(&h->bytes);
    arena_done(&h->arena);
    mem_free(h);
}

static void unwatch(struct feed *f)
{
    if (f->stream)
        watch_stream_close(f->stream);
    f->stream = NULL;
    f->is_canceled = false;
    while (f->is_ending && !f->events->end(f->arg, UINT64_MAX)) {
    }
    f->is_ending = false;
    f->giving = 0; /* a revision that was given in part: the whole state includes the rest */
    for (size_t i = 0; i < f->count; i++)
        while (!list_is_empty(&f->held[i]))
            free_held(f, container_of(f->held[i].next, struct held, link));
}

static void unpack_next(struct held *h)
{
    arena_reset(&h->arena);
    h->event = watch_events_next(&h->events, &h->arena);
}

static void give(struct feed *f, const Mvccpb__Event *e)
{
    if (e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE)
        f->events->remove(f->arg, slice_of(e->kv->key.data, e->kv->key.len), e->kv->mod_revision);
    else
        f->events->put(f->arg, e->kv);
}

static bool is_time_over(const struct feed *f)
{
    return f->io->ops->mono_ns(f->io) >= f->until_ns;
}

/* Gives the held events of the revision under way. Returns true when the turn's time is over. */
static bool give_held(struct feed *f)
{
    for (size_t i = 0; i < f->count; i++) {
        while (!list_is_empty(&f->held[i])) {
            struct held *h = container_of(f->held[i].next, struct held, link);
            for (; h->event && h->event->kv->mod_revision == f->giving; unpack_next(h)) {
                if (f->events->takes_slices && is_time_over(f))
                    return true;
                give(f, h->event);
            }
            if (h->event)
                break;
            free_held(f, h);
        }
    }
    return false;
}

static int64_t first_held(const struct feed *f)
{
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < f->count; i++) {
        if (list_is_empty(&f->held[i]))
            continue;
        const struct held *h = container_of(f->held[i].next, struct held, link);
        int64_t revision = h->event->kv->mod_revision;
        first = revision < first ? revision : first;
    }
    return first;
}

/* Gives revision by revision, as far as they are known to be whole; with one prefix, events as they come.
 * Returns true when the turn's time is over and there is more. */
static bool give_some(struct feed *f)
{
    for (;;) {
        if (!f->giving) {
            int64_t first = first_held(f);
            if (first == INT64_MAX || (f->count > 1 && first > f->vouched))
                return false;
            if (is_time_over(f))
                return true;
            f->events->begin(f->arg, first, false);
            f->giving = first;
        }
        if (!f->is_ending && give_held(f))
            return true;
        if (!f->is_ending && f->is_cut && !f->held_count)
            return false; /* the rest of the response has not come yet */
        f->is_ending = !f->events->end(f->arg, f->until_ns);
        if (f->is_ending)
            return true;
        f->revision = f->giving;
        f->giving = 0;
    }
}

static void hold(struct feed *f, struct held *h)
{
    assert(h->events.watch_id >= 0 &&
           (size_t)h->events.watch_id < f->count); /* watch ids count from 0, in the order of creation */
    list_add_last(&f->held[h->events.watch_id], &h->link);
    f->held_count++;
    f->held_bytes += h->bytes.size;
    f->is_cut = f->count == 1 && h->events.is_fragment;
    if (f->held_bytes > HELD_BYTES_MAX)
        f->is_canceled = true;
}

static void take_response(struct feed *f, const struct watch_output *out)
{
    struct held *h = mem_new(sizeof *h);
    for (size_t i = 0; i < out->count; i++)
        buf_add_slice(&h->bytes, out->pieces[i]);
    h->events = watch_events_begin(buf_slice(&h->bytes));
    if (h->events.is_canceled) {
        f->is_canceled = true;
    } else {
        unpack_next(h);
        if (h->event) {
            hold(f, h);
            return;
        }
        bool is_progress = !h->events.is_created && h->events.watch_id == -1;
        if (is_progress)
            f->vouched = out->header_revision;
    }
    buf_done(&h->bytes);
    arena_done(&h->arena);
    mem_free(h);
}

static void notify_waiters(struct feed *f)
{
    LIST_FOR_EACH_SAFE (l, &f->waiters) {
        struct feed_waiter *w = container_of(l, struct feed_waiter, link);
        if (w->revision > f->revision)
            continue;
        list_remove(l);
        w->fn(w);
    }
}

/* Returns true when the turn's time is over and there is more to be given. */
static bool take_responses(struct feed *f)
{
    struct watch_output out;
    unsigned n = 0;
    bool has_more;
    if (!f->stream || (!f->is_woken && !f->held_count && !f->giving))
        return false;
    while (!(has_more = give_some(f))) {
        if (f->vouched > f->revision && !f->giving)
            f->revision = f->vouched;
        if (n == RESPONSES_PER_TURN || f->is_canceled || !watch_next(f->stream, &out))
            break;
        take_response(f, &out);
        n++;
        has_more = is_time_over(f); /* checked after each response: one may have 2 MiB */
        if (has_more)
            break;
    }
    f->is_woken = has_more || n == RESPONSES_PER_TURN;
    notify_waiters(f);
    return has_more;
}

/* Requests progress if events are held or somebody waits for a revision. The notification comes after all
 * events up to its revision, mostly in the same turn. So a waiter for a revision without changes of these
 * prefixes need not wait for the next change. While a watch catches up there is no progress; the turn in
 * which it has caught up requests it again. */
bool feed_turn(struct feed *f)
{
    bool was_reading = f->state == FEED_READING;
    if (was_reading)
        read_on(f);
    f->until_ns = f->io->ops->mono_ns(f->io) + GIVING_NS;
    bool has_more = take_responses(f);
    if (f->stream && !has_more && !f->is_canceled && (f->held_count || !list_is_empty(&f->waiters))) {
        watch_request_progress(f->stream);
        f->is_woken = true;
        has_more = take_responses(f);
    }
    if (f->is_canceled) {
        log_info("a view could not follow (history was compacted, or it is far behind): it is read again",
                 F_INT("revision", f->revision));
        unwatch(f);
        f->state = FEED_LOADING;
        feed_load(f);
        return true;
    }
    return f->is_woken || was_reading; /* the kv closes the read in its next turn */
}

bool feed_is_following(const struct feed *f)
{
    return f->state == FEED_FOLLOWING;
}

int64_t feed_revision(const struct feed *f)
{
    return f->revision;
}

void feed_wait(struct feed *f, struct feed_waiter *w, int64_t revision)
{
    w->revision = revision;
    if (f->revision >= revision) {
        w->fn(w);
        return;
    }
    list_add_last(&f->waiters, &w->link);
}

void feed_forget(struct feed_waiter *w)
{
    list_remove(&w->link);
}

/* --- the whole --------------------------------------------------------------------------------------- */

struct feed *feed_new(struct kv *kv, const char *const *prefixes, size_t count,
                      const struct feed_events *events, void *arg)
{
    struct feed *f = mem_new(sizeof *f);
    f->kv = kv;
    f->io = kv_io(kv);
    f->events = events;
    f->arg = arg;
    f->prefixes = mem_new((count + 1) * sizeof(char *));
    for (f->count = 0; f->count < count; f->count++)
        f->prefixes[f->count] = mem_string(prefixes[f->count]);
    f->held = mem_alloc(count * sizeof *f->held);
    for (size_t i = 0; i < count; i++)
        list_init(&f->held[i]);
    f->retry.fire = on_retry;
    list_init(&f->waiters);
    feed_load(f);
    return f;
}

void feed_free(struct feed *f)
{
    kv_cancel(f->kv, &f->barrier);
    f->io->ops->timer_stop(f->io, &f->retry); /* also after it has fired: io still has its handle */
    unwatch(f);
    while (!list_is_empty(&f->waiters))
        list_remove(f->waiters.next);
    for (size_t i = 0; i < f->count; i++)
        mem_free(f->prefixes[i]);
    mem_free(f->prefixes);
    mem_free(f->held);
    buf_done(&f->key);
    mem_free(f);
}
