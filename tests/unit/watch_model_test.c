/* SPDX-License-Identifier: Apache-2.0
 * Tests of watches with random clients against a model that knows the whole history: puts, deletes,
 * transactions, compactions, installed snapshots, watchers of all kinds, readers that stall. Each response
 * is checked for etcd's guarantees:
 * - ordered and unique,
 * - reliable (the next event is exactly the next matching one of the history),
 * - atomic (a response ends with all of its last revision),
 * - resumable and bookmarkable,
 * - prev_kv, filters, and the limit of a stalled stream. */
#include "watch_fake.h"

enum { STREAMS = 4, WATCHES_MAX = 400, PENDING_MAX = 64, KEYS = 9, STREAM_BYTES = 3000, VALUE_MAX = 300 };

struct client_watch {
    bool is_created, is_over, is_ended;
    int stream;
    int64_t id;
    const char *key, *end; /* end "" = from key on, NULL = one key */
    int64_t start;
    bool wants_previous, no_put, no_delete, may_fragment;
    int64_t at_revision; /* the next event is the first that matches from here on */
    size_t at_op;
    int64_t last_event, last_progress;
    bool is_fragment_open;
};

struct coverage {
    size_t events, behind, compacted, fragments, progress, joined, restored, previous, previous_gone;
};

struct world {
    struct store *store;
    struct watch_hub *hub;
    struct watch_stream *streams[STREAMS];
    int ready[STREAMS];
    bool is_stalled[STREAMS];
    struct client_watch watches[WATCHES_MAX];
    size_t count;
    struct coverage seen;
    uint64_t now_ms;
};

static uint64_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static const char *const keys[KEYS] = {"a", "aa", "ab", "b", "ba", "c", "ca", "cc", "d"};

static bool matches(const struct client_watch *w, const struct fake_op *op)
{
    if (op->is_delete ? w->no_delete : w->no_put)
        return false;
    if (!w->end)
        return strcmp(op->key, w->key) == 0;
    return strcmp(op->key, w->key) >= 0 && (!w->end[0] || strcmp(op->key, w->end) < 0);
}

/* The first operation from (revision, at) on that the watch must get; NULL when there is none. */
static const struct fake_op *next_op(const struct world *x, const struct client_watch *w, int64_t *revision,
                                     size_t *at)
{
    const struct store *s = x->store;
    for (int64_t r = *revision; r <= s->revision; r++)
        for (size_t i = r == *revision ? *at : 0; i < s->counts[r]; i++)
            if (matches(w, &s->ops[r][i])) {
                *revision = r;
                *at = i;
                return &s->ops[r][i];
            }
    return NULL;
}

/* --- requests ---------------------------------------------------------------------------------------- */
static void create(struct world *x)
{
    static const char *const ends[] = {NULL, NULL, "", "b", "c", "e", "cb"};
    if (x->count == WATCHES_MAX)
        return;
    struct client_watch *w = &x->watches[x->count];
    *w = (struct client_watch){.stream = (int)draw(STREAMS)};
    w->key = keys[draw(KEYS)];
    if (watch_is_full(x->streams[w->stream]))
        return;
    w->end = ends[draw(7)];
    if (w->end && w->end[0] && strcmp(w->key, w->end) >= 0)
        w->end = NULL;
    w->start = draw(3) == 0 ? 0 : 1 + draw((uint32_t)x->store->revision + 10);
    if (draw(5) == 0 && x->store->compact_revision > 0) /* older ones are compacted */
        w->start = x->store->compact_revision;
    w->wants_previous = draw(2);
    w->may_fragment = draw(2);
    w->no_put = draw(8) == 0;
    w->no_delete = draw(8) == 0;
    Etcdserverpb__WatchCreateRequest r = request_of(w->key, w->end, w->start);
    Etcdserverpb__WatchCreateRequest__FilterType filters[2];
    r.filters = filters;
    if (w->no_put)
        filters[r.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    if (w->no_delete)
        filters[r.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    r.prev_kv = w->wants_previous;
    r.fragment = w->may_fragment;
    r.progress_notify = draw(2);
    w->at_revision = w->start ? w->start : x->store->revision + 1;
    x->count++;
    watch_create(x->streams[w->stream], &r, NULL);
}

static void cancel(struct world *x)
{
    if (!x->count)
        return;
    const struct client_watch *w = &x->watches[draw((uint32_t)x->count)];
    if (w->is_created && !w->is_over)
        watch_cancel(x->streams[w->stream], w->id);
}

static void write_revision(struct world *x, struct watch_hub *hub)
{
    if (x->store->revision + 2 >= FAKE_REVISIONS_MAX)
        return;
    for (uint32_t n = 1 + draw(draw(4) ? 2 : FAKE_OPS_MAX); n; n--) {
        size_t size = draw(VALUE_MAX);
        bool is_delete = draw(3) == 0;
        fake_add(x->store, keys[draw(KEYS)], is_delete, size);
    }
    fake_commit(x->store, hub);
}

static void install_snapshot(struct world *x)
{
    for (uint32_t n = draw(20); n; n--)
        write_revision(x, NULL);
    if (draw(2) && x->store->revision > 10)
        x->store->compact_revision = x->store->revision - draw(5);
    watch_store_replaced(x->hub, x->store);
    x->seen.restored++;
}

/* --- responses --------------------------------------------------------------------------------------- */
static struct client_watch *find(struct world *x, int stream, int64_t id)
{
    for (size_t i = 0; i < x->count; i++) {
        struct client_watch *w = &x->watches[i];
        if (w->stream == stream && w->is_created && !w->is_over && w->id == id)
            return w;
    }
    fail_msg("response for the unknown watch %ld", id);
    return NULL;
}

/* The client had canceled before it received the compaction. */
static bool is_answer_to_late_cancel(struct world *x, int stream, int64_t id)
{
    for (size_t i = 0; i < x->count; i++) {
        struct client_watch *w = &x->watches[i];
        if (w->stream == stream && w->is_ended && w->id == id) {
            w->is_ended = false;
            return true;
        }
    }
    return false;
}

static void receive_created(struct world *x, int stream, int64_t id)
{
    for (size_t i = 0; i < x->count; i++) {
        struct client_watch *w = &x->watches[i];
        if (w->stream == stream && w->is_created && !w->is_over)
            assert_true(w->id != id);
        if (w->stream != stream || w->is_created)
            continue;
        w->is_created = true;
        w->id = id;
        return;
    }
    fail_msg("created without a request");
}

static void receive_progress(struct world *x, struct client_watch *w, int64_t revision)
{
    int64_t r = w->at_revision;
    size_t at = w->at_op;
    const struct fake_op *op = next_op(x, w, &r, &at);
    assert_true(!op || op->revision > revision);
    assert_true(revision >= w->last_progress && revision >= w->last_event && revision >= w->start);
    w->last_progress = revision;
    x->seen.progress++;
}

static void receive_previous(struct world *x, const struct client_watch *w, const struct fake_op *op,
                             const Mvccpb__KeyValue *previous)
{
    if (!previous) {
        bool is_gone = op->revision - 1 < x->store->compact_revision;
        assert_true(!w->wants_previous || !op->before || is_gone);
        x->seen.previous_gone += w->wants_previous && op->before;
        return;
    }
    assert_true(w->wants_previous && op->before);
    assert_int_equal(previous->mod_revision, op->before->revision);
    assert_int_equal(previous->version, op->before->version);
    assert_int_equal(previous->value.len, op->before->value_size);
    x->seen.previous++;
}

static void receive_events(struct world *x, struct client_watch *w, const Etcdserverpb__WatchResponse *r,
                           int64_t header)
{
    size_t revisions = 0;
    for (size_t i = 0; i < r->n_events; i++) {
        const Mvccpb__Event *e = r->events[i];
        const struct fake_op *op = next_op(x, w, &w->at_revision, &w->at_op);
        assert_non_null(op);
        assert_int_equal(e->kv->mod_revision, op->revision);
        assert_true(slice_equal(slice_of(e->kv->key.data, e->kv->key.len), slice_text(op->key)));
        assert_int_equal(e->type, op->is_delete);
        assert_int_equal(e->kv->version, op->version);
        assert_int_equal(e->kv->create_revision, op->create_revision);
        assert_int_equal(e->kv->value.len, op->value_size);
        assert_true(op->revision > w->last_progress && op->revision <= header);
        receive_previous(x, w, op, e->prev_kv);
        revisions += op->revision != w->last_event;
        w->last_event = op->revision;
        w->at_op++;
        x->seen.events++;
    }
    assert_true(revisions <= 1000);
    x->seen.joined += revisions > 1;
    assert_true(!r->fragment || w->may_fragment);
    x->seen.fragments += r->fragment;
    if (r->fragment)
        return;
    int64_t next = w->at_revision;
    size_t at = w->at_op;
    const struct fake_op *rest = next_op(x, w, &next, &at);
    assert_true(!rest || rest->revision > w->last_event);
}

static void receive(struct world *x, int stream, const Etcdserverpb__WatchResponse *r, int64_t header)
{
    assert_true(header <= x->store->revision);
    if (r->created) {
        assert_false(r->canceled);
        receive_created(x, stream, r->watch_id);
    } else if (r->canceled && !r->compact_revision && is_answer_to_late_cancel(x, stream, r->watch_id)) {
        return;
    } else if (r->canceled) {
        struct client_watch *w = find(x, stream, r->watch_id);
        w->is_over = true;
        if (!r->compact_revision)
            return;
        assert_int_equal(header, 0);
        assert_true(r->compact_revision <= x->store->compact_revision);
        assert_true(w->last_event + 1 < r->compact_revision && w->last_progress + 1 < r->compact_revision);
        assert_true(w->start < r->compact_revision);
        w->is_ended = true;
        x->seen.compacted++;
    } else if (r->n_events) {
        receive_events(x, find(x, stream, r->watch_id), r, header);
    } else if (r->watch_id == -1) {
        for (size_t i = 0; i < x->count; i++)
            if (x->watches[i].stream == stream && x->watches[i].is_created && !x->watches[i].is_over)
                receive_progress(x, &x->watches[i], header);
    } else {
        receive_progress(x, find(x, stream, r->watch_id), header);
    }
}

/* The most that a stream may hold: its limit, and for each watcher the rest of a revision that has begun. */
static size_t pending_bytes_max(const struct world *x, int stream)
{
    size_t bytes = STREAM_BYTES;
    for (size_t i = 0; i < x->count; i++)
        if (x->watches[i].stream == stream)
            bytes += FAKE_OPS_MAX * (2 * VALUE_MAX + 100);
    return bytes;
}

/* Takes at most `most` responses. */
static bool listen(struct world *x, int stream, uint32_t most)
{
    Etcdserverpb__WatchResponse *r;
    int64_t header;
    size_t size, total = 0;
    uint32_t n = 0;
    while (n < most && (r = take(x->streams[stream], &header, &size))) {
        receive(x, stream, r, header);
        if (r->n_events)
            total += size;
        etcdserverpb__watch_response__free_unpacked(r, NULL);
        n++;
    }
    assert_true(total < pending_bytes_max(x, stream) + 32 * n);
    return n;
}

/* --- the walk --------------------------------------------------------------------------------------- */
static void step(struct world *x)
{
    bool is_turned;
    switch (draw(16)) {
    case 0:
    case 1:
        create(x);
        break;
    case 2:
        if (draw(3) == 0)
            cancel(x);
        break;
    case 3:
        watch_request_progress(x->streams[draw(STREAMS)]);
        break;
    case 4:
        if (draw(20) == 0 && x->store->revision > 10)
            x->store->compact_revision +=
                draw((uint32_t)(x->store->revision - x->store->compact_revision) + 1);
        break;
    case 5:
        if (draw(30) == 0)
            install_snapshot(x);
        break;
    case 6:
        is_turned = draw(3) == 0;
        x->is_stalled[draw(STREAMS)] ^= is_turned;
        break;
    case 7:
    case 8:
        x->now_ms += draw(200);
        watch_turn(x->hub, x->now_ms);
        break;
    default:
        for (uint32_t n = draw(4) ? 1 : draw(30); n; n--)
            write_revision(x, x->hub);
    }
    int stream = (int)draw(STREAMS);
    if (!x->is_stalled[stream])
        listen(x, stream, draw(2) ? 1 : 1000);
    x->seen.behind += watch_counts(x->hub).unsynced;
}

/* Every client reads again: nothing may be missing. */
static void finish(struct world *x)
{
    bool is_busy = true;
    for (int turns = 0; is_busy; turns++) {
        assert_true(turns < 20000);
        is_busy = watch_turn(x->hub, x->now_ms);
        for (int s = 0; s < STREAMS; s++)
            is_busy |= listen(x, s, 100000);
    }
    assert_int_equal(watch_counts(x->hub).unsynced, 0);
    size_t live = 0;
    for (size_t i = 0; i < x->count; i++) {
        struct client_watch *w = &x->watches[i];
        assert_true(w->is_created);
        if (w->is_over)
            continue;
        live++;
        assert_null(next_op(x, w, &w->at_revision, &w->at_op));
    }
    assert_int_equal(watch_counts(x->hub).watchers, live);
}

static void walk(struct coverage *total)
{
    struct world *x = mem_new(sizeof *x);
    x->store = fake_new();
    x->hub = watch_hub_new(&(struct watch_options){.store = x->store,
                                                   .stream_queue_max = 40,
                                                   .stream_bytes_max = STREAM_BYTES,
                                                   .response_bytes_max = 700,
                                                   .progress_interval_ms = 500});
    for (int i = 0; i < STREAMS; i++)
        x->streams[i] = watch_stream_open(x->hub, count_ready, &x->ready[i]);
    for (int i = 0; i < 1500; i++)
        step(x);
    finish(x);
    for (int i = 0; i < STREAMS; i++)
        watch_stream_close(x->streams[i]);
    watch_hub_free(x->hub);
    const size_t *from = (const size_t *)&x->seen;
    size_t *to = (size_t *)total;
    for (size_t i = 0; i < sizeof *total / sizeof *to; i++)
        to[i] += from[i];
    mem_free(x->store);
    mem_free(x);
}

static void test_random_walks(void **state)
{
    (void)state;
    struct coverage total = {0};
    const char *from = getenv("SEED"), *walks = getenv("WALKS");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1, count = walks ? strtoull(walks, NULL, 10) : 12;
    for (uint64_t i = first; i < first + count; i++) {
        seed = i * 7919;
        print_message("SEED=%lu\n", i);
        walk(&total);
    }
    print_message(
        "events %zu, behind %zu, compacted %zu, fragments %zu, progress %zu, joined %zu, restored %zu, "
        "previous %zu, gone %zu\n",
        total.events, total.behind, total.compacted, total.fragments, total.progress, total.joined,
        total.restored, total.previous, total.previous_gone);
    /* A walk that never reaches a place proves nothing about it. */
    const size_t *each = (const size_t *)&total;
    for (size_t i = 0; count >= 12 && i < sizeof total / sizeof *each; i++)
        assert_true(each[i] > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_walks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
