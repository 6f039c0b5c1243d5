/* SPDX-License-Identifier: Apache-2.0
 * Results of reads, rendered in slices and shared; see result.h. */
#include "server/api/result.h"

#include "base/turn.h"
#include "server/api/read.h"
#include "server/api/slice.h"

enum {
    QUANTUM_NS = API_SLICE_NS / 2,         /* of one result; then the next one has its turn */
    RENDERING_BYTES_MAX = 64 * 1024 * 1024 /* of all results; beyond that only the oldest is rendered */
};

/* --- keys ----------------------------------------------------------------------------------------------- */

static bool is_wait_param(const char *piece)
{
    static const enum api_param waiting[] = {PARAM_WAIT_REVISION, PARAM_TIMEOUT, PARAM_CONSISTENCY};
    for (size_t i = 0; i < sizeof waiting / sizeof *waiting; i++) {
        const char *name = api_params[waiting[i]].name;
        size_t n = strlen(name);
        if (strncmp(piece, name, n) == 0 && (piece[n] == '=' || piece[n] == 0))
            return true;
    }
    return false;
}

/* The key: the path and the part of the query that decides the result. */
static void add_key(const struct api_read *r, struct buf *key)
{
    const struct http_request *q = r->call->q;
    buf_add_slice(key, q->path);
    for (size_t at = 0; at < q->query.size;) {
        const char *piece = (const char *)q->query.data + at;
        size_t size = strlen(piece) + 1;
        if (!is_wait_param(piece)) {
            buf_add_byte(key, 0);
            buf_add(key, piece, size);
        }
        at += size;
    }
    if (r->source->add_key)
        r->source->add_key(r, key);
}

/* --- references and lists ------------------------------------------------------------------------------ */

struct api_shared *api_result_ref(struct api_shared *s)
{
    s->references++;
    return s;
}

void api_result_unref(struct api_shared *s)
{
    if (--s->references)
        return;
    buf_done(&s->key);
    buf_done(&s->body);
    mem_free(s);
}

/* Back to the state before the rendering. */
static void reset(struct api_shared *s)
{
    uint8_t unused[32];
    if (s->source && s->source->render_end)
        s->source->render_end(s);
    if (s->hash)
        sha256_finish(s->hash, unused);
    s->state = NULL;
    s->source = NULL;
    s->hash = NULL;
    s->hashed = 0;
    s->revision = INT64_MAX;
    buf_done(&s->body);
}

static void count_bytes(struct api *a, struct api_shared *s, size_t bytes)
{
    a->rendering_bytes += bytes - s->counted_bytes;
    s->counted_bytes = bytes;
}

/* Removes it from the results under rendering. */
static void end_rendering(struct api *a, struct api_shared *s)
{
    list_remove(&s->link);
    count_bytes(a, s, 0);
    if (strmap_get(&a->rendering_by_key, buf_slice(&s->key)) == s)
        strmap_remove(&a->rendering_by_key, buf_slice(&s->key));
    api_result_unref(s);
}

static struct api_shared *api_result_begin(struct api *a, struct buf *key)
{
    struct api_shared *s = mem_new(sizeof *s);
    s->references = 1; /* of api->rendering */
    s->key = buf_move(key);
    s->revision = INT64_MAX;
    s->error = API_ERRORS;
    list_init(&s->readers);
    list_add_last(&a->rendering, &s->link);
    strmap_put(&a->rendering_by_key, buf_slice(&s->key), s);
    return s;
}

/* Keeps it for reads with the same key in this turn. */
static void api_result_keep(struct api *a, struct api_shared *s)
{
    struct api_shared **place = &a->shared[a->next_shared++ % API_SHARED];
    if (*place)
        api_result_unref(*place);
    *place = api_result_ref(s);
}

void api_results_drop_kept(struct api *a)
{
    for (size_t i = 0; i < API_SHARED; i++) {
        if (a->shared[i])
            api_result_unref(a->shared[i]);
        a->shared[i] = NULL;
    }
}

/* --- rendering ------------------------------------------------------------------------------------------ */

void api_result_fix(struct api_read *r, struct api_shared *s)
{
    struct json_writer *w = &s->writer;
    s->revision = r->source->revision(r);
    s->last_change = r->source->changed(r, INT64_MAX);
    *w = (struct json_writer){.out = &s->body};
    jw_open(w, '{');
    jw_key(w, "revision");
    jw_int(w, s->revision);
    s->hash = sha256_new();
    s->hashed = s->body.size;
}

static void hash_more(struct api_shared *s)
{
    if (s->hash && s->error == API_ERRORS)
        sha256_add(s->hash, s->body.data + s->hashed, s->body.size - s->hashed);
    s->hashed = s->body.size;
}

static void complete(struct api *a, struct api_shared *s)
{
    uint8_t digest[32];
    sha256_finish(s->hash, digest);
    s->hash = NULL;
    memcpy(s->digest, digest, sizeof s->digest);
    jw_close(&s->writer, '}');
    buf_add_byte(&s->body, '\n');
    s->is_done = true;
    if (s->source->render_end)
        s->source->render_end(s);
    s->state = NULL;
    list_move_all(&a->rendered, &s->readers);
    api_result_keep(a, s);
    end_rendering(a, s);
}

/* Renders for one quantum of time. */
static void render_some(struct api *a, struct api_shared *s, uint64_t end_ns)
{
    struct api_read *leader = container_of(s->readers.next, struct api_read, waiting);
    const struct api_source *source = leader->source;
    bool is_whole = true;
    uint64_t quantum_end_ns = api_now_ns(a) + QUANTUM_NS;
    enum turn_work before = turn_enter(TURN_API_RENDER);
    a->slice_end_ns = quantum_end_ns < end_ns ? quantum_end_ns : end_ns;
    s->source = source;
    if (source->render) {
        api_result_fix(leader, s);
        s->error = source->render(leader, &s->writer);
    } else {
        is_whole = source->render_on(leader, s);
    }
    hash_more(s);
    count_bytes(a, s, s->body.capacity + (source->render_bytes ? source->render_bytes(s) : 0));
    if (is_whole)
        complete(a, s);
    turn_enter(before);
}

void api_result_discard(struct api *a, struct api_garbage *g)
{
    list_add_last(&a->garbage, &g->link);
}

static void free_garbage(struct api *a, uint64_t end_ns)
{
    while (!list_is_empty(&a->garbage)) {
        struct api_garbage *g = container_of(a->garbage.next, struct api_garbage, link);
        list_remove(&g->link);
        if (!g->free_some(g))
            list_add_first(&a->garbage, &g->link);
        if (api_now_ns(a) >= end_ns)
            return;
    }
}

void api_results_done(struct api *a)
{
    free_garbage(a, UINT64_MAX);
    api_results_drop_kept(a);
    strmap_done(&a->rendering_by_key);
}

static bool is_crowded(const struct api *a)
{
    return a->rendering_bytes > RENDERING_BYTES_MAX;
}

bool api_results_turn(struct api *a)
{
    bool has_work = !list_is_empty(&a->rendering) || !list_is_empty(&a->garbage);
    uint64_t end_ns = has_work ? api_now_ns(a) + API_SLICE_NS : 0;
    a->early_end_ns = 0;
    if (!list_is_empty(&a->garbage)) /* at most half of the time: nobody waits for it */
        free_garbage(a, end_ns - API_SLICE_NS / 2);
    while (!list_is_empty(&a->rendering)) {
        struct api_shared *s = api_result_ref(container_of(a->rendering.next, struct api_shared, link));
        render_some(a, s, end_ns);
        if (!s->is_done && !is_crowded(a)) {
            list_remove(&s->link);
            list_add_last(&a->rendering, &s->link);
        }
        api_result_unref(s);
        if (api_now_ns(a) >= end_ns)
            break;
    }
    return !list_is_empty(&a->rendering) || !list_is_empty(&a->rendered) || !list_is_empty(&a->garbage);
}

/* A short result is rendered at once, if earlier requests of this turn have left time for it. */
static bool has_early_time(struct api *a)
{
    uint64_t now_ns = api_now_ns(a);
    if (!a->early_end_ns)
        a->early_end_ns = now_ns + API_SLICE_NS;
    return now_ns < a->early_end_ns && !is_crowded(a);
}

/* --- waiting ------------------------------------------------------------------------------------------- */

static struct api_shared *api_result_find(struct api *a, struct slice key, int64_t oldest)
{
    for (size_t i = 0; i < API_SHARED; i++) {
        struct api_shared *s = a->shared[i];
        if (s && s->revision >= oldest && slice_equal(buf_slice(&s->key), key))
            return s;
    }
    struct api_shared *s = strmap_get(&a->rendering_by_key, key);
    return s && s->revision >= oldest ? s : NULL;
}

static void api_result_deliver(struct api_read *r)
{
    struct api_shared *s = r->awaited;
    list_remove(&r->waiting);
    r->awaited = NULL;
    r->resume(r, s);
    api_result_unref(s);
}

void api_result_await(struct api_read *r, int64_t oldest,
                      void (*resume)(struct api_read *r, struct api_shared *s))
{
    struct api *a = r->call->api;
    struct buf key = {0};
    add_key(r, &key);
    struct api_shared *s = api_result_find(a, buf_slice(&key), oldest);
    bool is_new = !s;
    if (is_new)
        s = api_result_begin(a, &key);
    buf_done(&key);
    r->resume = resume;
    r->awaited = api_result_ref(s);
    if (!s->is_done)
        list_add_last(&s->readers, &r->waiting);
    if (is_new && has_early_time(a))
        render_some(a, s, a->early_end_ns);
    if (s->is_done)
        api_result_deliver(r);
}

void api_result_resume(struct api_read *r)
{
    struct buf key = {0};
    add_key(r, &key);
    bool is_same_key = slice_equal(buf_slice(&r->awaited->key), buf_slice(&key));
    buf_done(&key);
    if (is_same_key) {
        api_result_deliver(r);
        return;
    }
    api_result_leave(r);
    api_result_await(r, r->source->revision(r), r->resume);
}

void api_result_leave(struct api_read *r)
{
    struct api *a = r->call->api;
    struct api_shared *s = r->awaited;
    if (!s)
        return;
    bool was_leader = !s->is_done && s->readers.next == &r->waiting;
    list_remove(&r->waiting);
    r->awaited = NULL;
    if (was_leader) {
        reset(s);
        count_bytes(a, s, 0);
    }
    if (!s->is_done && list_is_empty(&s->readers))
        end_rendering(a, s);
    api_result_unref(s);
}
