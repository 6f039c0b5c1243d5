/* SPDX-License-Identifier: Apache-2.0
 * A watch: one gRPC stream, reopened after the last delivered revision.
 *
 *     opening -> watching --- the stream ends ---> pause -> opening, from `next`
 *                   |
 *                   +--- compacted ---> reading all keys -> delivered as RESYNC -> opening, after it
 *
 * `next` is the first revision that has not been delivered. It moves over whole revisions only: the server
 * sends whole revisions because the client does not request fragments. Older events are dropped. So there
 * is no gap and no duplicate. */
#include "base/clock.h"
#include "sdk/message.h"

struct cairn_watch {
    struct object object;
    struct post post;
    struct cairn_client *client;
    struct buf key, range_end;
    bool prev_kv, no_put, no_delete, progress_notify;
    int64_t next; /* 0 = from now */
    struct rpc *rpc;
    struct timer pause;
    unsigned failures;
    bool is_reading; /* it reads all keys, because the history is compacted */
    bool has_run;    /* the server has accepted it once */
    bool is_over, is_notifying, is_stopped;
    void (*callback)(struct cairn_watch *w, const struct cairn_watch_update *update, void *arg);
    void *arg;
};

static void cairn_watch_open(struct cairn_watch *w);
static void cairn_watch_read_all(struct cairn_watch *w);

/* --- delivery ------------------------------------------------------------------------------------------- */
static void watch_free(struct cairn_watch *w)
{
    buf_done(&w->key);
    buf_done(&w->range_end);
    mem_free(w);
}

/* Calls the callback. False if the callback stopped the watch: w is freed then. */
static bool cairn_watch_deliver(struct cairn_watch *w, const struct cairn_watch_update *u)
{
    w->is_notifying = true;
    w->callback(w, u, w->arg);
    w->is_notifying = false;
    if (!w->is_stopped)
        return true;
    watch_free(w);
    return false;
}

static void cairn_watch_retry_later(struct cairn_watch *w);

static void end_watch(struct cairn_watch *w, const struct cairn_error *error)
{
    struct cairn_watch_update u = {.kind = CAIRN_WATCH_ENDED, .revision = w->next - 1, .error = *error};
    w->is_over = true;
    (void)cairn_watch_deliver(w, &u);
}

static void deliver_events(struct cairn_watch *w, Mvccpb__Event *const *list, size_t count)
{
    struct arena a = {0};
    struct cairn_event *events = arena_new(&a, (count + 1) * sizeof *events);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!list[i]->kv || list[i]->kv->mod_revision < w->next)
            continue; /* it was delivered before */
        struct cairn_event *e = &events[n++];
        e->is_delete = list[i]->type == MVCCPB__EVENT__EVENT_TYPE__DELETE;
        read_kv(list[i]->kv, &e->kv);
        if (list[i]->prev_kv)
            e->prev_kv = read_kv(list[i]->prev_kv, arena_alloc(&a, sizeof *e->prev_kv));
    }
    if (n) {
        w->next = events[n - 1].kv.mod_revision + 1;
        struct cairn_watch_update u = {.kind = CAIRN_WATCH_EVENTS,
                                       .revision = events[n - 1].kv.mod_revision,
                                       .events = events,
                                       .event_count = n};
        (void)cairn_watch_deliver(w, &u);
    }
    arena_done(&a);
}

/* --- the stream ----------------------------------------------------------------------------------------- */
/* Handles a cancel by the server: the history is compacted, or the watch is not allowed. */
static void on_canceled(struct cairn_watch *w, const Etcdserverpb__WatchResponse *m)
{
    struct cairn_error e = {0};
    uint64_t serial = w->rpc->token_serial;
    sdk_rpc_cancel(w->rpc);
    w->rpc = NULL;
    if (is_token_refusal(0, m->cancel_reason) && token_refused(w->client, serial)) {
        cairn_watch_retry_later(w);
        return;
    }
    if (m->compact_revision) {
        w->is_reading = true;
        cairn_watch_read_all(w);
        return;
    }
    const char *why = m->cancel_reason[0] ? m->cancel_reason : "the server canceled the watch";
    set_error(&e, strstr(why, "permission denied") ? CAIRN_DENIED : CAIRN_CANCELED, "%.500s", why);
    end_watch(w, &e);
}

static void on_response(struct cairn_watch *w, const Etcdserverpb__WatchResponse *m)
{
    int64_t revision = m->header ? m->header->revision : 0;
    w->failures = 0;
    if (m->canceled) {
        on_canceled(w, m);
    } else if (m->created) {
        w->has_run = true;
        if (!w->next)
            w->next = revision + 1;
    } else if (m->n_events) {
        deliver_events(w, m->events, m->n_events);
    } else if (revision + 1 > w->next) {
        w->next = revision + 1;
        struct cairn_watch_update u = {.kind = CAIRN_WATCH_PROGRESS, .revision = revision};
        if (w->progress_notify)
            (void)cairn_watch_deliver(w, &u);
    }
}

static void cairn_watch_on_message(struct rpc *r, struct slice bytes)
{
    struct cairn_watch *w = r->owner;
    struct arena a = {0};
    Etcdserverpb__WatchResponse *m =
        etcdserverpb__watch_response__unpack(arena_allocator(&a), bytes.size, bytes.data);
    if (m)
        on_response(w, m);
    arena_done(&a);
}

static void cairn_watch_on_pause_over(struct timer *t)
{
    struct cairn_watch *w = container_of(t, struct cairn_watch, pause);
    if (w->is_reading)
        cairn_watch_read_all(w);
    else
        cairn_watch_open(w);
}

/* A watch that has run goes on when the client gets new credentials. */
static bool is_final(const struct cairn_watch *w, int code)
{
    return code == CAIRN_INVALID || code == CAIRN_DENIED || (code == CAIRN_UNAUTHENTICATED && !w->has_run) ||
           code == CAIRN_UNIMPLEMENTED || code == CAIRN_CLOSED;
}

static void cairn_watch_retry_later(struct cairn_watch *w)
{
    uint64_t ms = (uint64_t)PAUSE_MIN_MS << (w->failures < 5 ? w->failures : 5);
    w->failures++;
    timer_start(w->client, &w->pause, ms / 2 + random_u64() % (ms / 2 + 1));
}

static void cairn_watch_on_end(struct rpc *r, const struct cairn_error *error)
{
    struct cairn_watch *w = r->owner;
    w->rpc = NULL;
    if (is_final(w, error->code))
        end_watch(w, error);
    else
        cairn_watch_retry_later(w);
}

static void cairn_watch_open(struct cairn_watch *w)
{
    Etcdserverpb__WatchRequest m = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filters[2];
    if (w->no_put)
        filters[create.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    if (w->no_delete)
        filters[create.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    create.filters = filters;
    create.key = (ProtobufCBinaryData){w->key.size, w->key.data};
    create.range_end = (ProtobufCBinaryData){w->range_end.size, w->range_end.data};
    create.start_revision = w->next;
    create.prev_kv = w->prev_kv;
    create.progress_notify = w->progress_notify;
    m.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    m.create_request = &create;
    w->rpc = rpc_new(w->client, "/etcdserverpb.Watch/Watch", RPC_STREAM, w);
    w->rpc->on_message = cairn_watch_on_message;
    w->rpc->on_end = cairn_watch_on_end;
    w->rpc->needs_leader = true;
    rpc_add_packed(w->rpc, &m.base);
    sdk_rpc_start(w->rpc, 0);
}

/* --- reading all keys ----------------------------------------------------------------------------------- */
static void deliver_resync(struct cairn_watch *w, const Etcdserverpb__RangeResponse *m)
{
    struct arena a = {0};
    struct cairn_event *events = arena_new(&a, (m->n_kvs + 1) * sizeof *events);
    for (size_t i = 0; i < m->n_kvs; i++)
        read_kv(m->kvs[i], &events[i].kv);
    int64_t revision = m->header ? m->header->revision : 0;
    w->next = revision + 1;
    struct cairn_watch_update u = {
        .kind = CAIRN_WATCH_RESYNC, .revision = w->next - 1, .events = events, .event_count = m->n_kvs};
    w->is_reading = false;
    (void)cairn_watch_deliver(w, &u);
    arena_done(&a);
}

static void on_all(struct rpc *r, struct slice bytes)
{
    struct cairn_watch *w = r->owner;
    struct arena a = {0};
    Etcdserverpb__RangeResponse *m =
        etcdserverpb__range_response__unpack(arena_allocator(&a), bytes.size, bytes.data);
    if (m && w->is_reading)
        deliver_resync(w, m);
    arena_done(&a);
}

static void on_all_read(struct rpc *r, const struct cairn_error *error)
{
    struct cairn_watch *w = r->owner;
    w->rpc = NULL;
    if (!w->is_reading)
        cairn_watch_open(w); /* the RESYNC has been delivered */
    else if (is_final(w, error->code))
        end_watch(w, error);
    else
        cairn_watch_retry_later(w);
}

static void cairn_watch_read_all(struct cairn_watch *w)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){w->key.size, w->key.data};
    m.range_end = (ProtobufCBinaryData){w->range_end.size, w->range_end.data};
    w->rpc = rpc_new(w->client, "/etcdserverpb.KV/Range", RPC_READ, w);
    w->rpc->on_message = on_all;
    w->rpc->on_end = on_all_read;
    w->rpc->is_half_closed = true;
    rpc_add_packed(w->rpc, &m.base);
    sdk_rpc_start(w->rpc, w->client->command_timeout_ms);
}

/* --- start and stop ------------------------------------------------------------------------------------- */
static void cairn_watch_stop_here(struct object *o)
{
    struct cairn_watch *w = container_of(o, struct cairn_watch, object);
    list_remove(&o->link);
    timer_stop(w->client, &w->pause);
    if (w->rpc)
        sdk_rpc_cancel(w->rpc);
    w->rpc = NULL;
    w->is_stopped = true;
    if (!w->is_notifying)
        watch_free(w);
}

static void cairn_watch_start_here(struct post *p)
{
    struct cairn_watch *w = container_of(p, struct cairn_watch, post);
    object_add(w->client, &w->object);
    cairn_watch_open(w);
}

int cairn_watch_start(struct cairn_client *c, const struct cairn_watch_request *request,
                      void (*callback)(struct cairn_watch *w, const struct cairn_watch_update *update,
                                       void *arg),
                      void *arg, struct cairn_watch **ret_watch, struct cairn_error *error)
{
    struct arena a = {0};
    ProtobufCBinaryData key, end;
    int err = fill_range_end(request->key, request->range_end, request->prefix, request->from_key, &a, &key,
                             &end, error);
    if (!err && !key.len)
        err = set_error(error, CAIRN_INVALID, "a watch needs a key, or prefix");
    if (err) {
        arena_done(&a);
        return err;
    }
    struct cairn_watch *w = mem_new(sizeof *w);
    w->client = c;
    w->callback = callback;
    w->arg = arg;
    w->next = request->start_revision;
    w->prev_kv = request->prev_kv;
    w->no_put = request->no_put;
    w->no_delete = request->no_delete;
    w->progress_notify = request->progress_notify;
    w->object.stop = cairn_watch_stop_here;
    w->pause.run = cairn_watch_on_pause_over;
    w->post.run = cairn_watch_start_here;
    buf_add(&w->key, key.data, key.len);
    buf_add(&w->range_end, end.data, end.len);
    arena_done(&a);
    *ret_watch = w; /* set before the callback can run */
    err = client_start(c, &w->post);
    if (err) {
        *ret_watch = NULL;
        watch_free(w);
        return set_error(error, err, "%s", cairn_error_text(err));
    }
    return CAIRN_OK;
}

void cairn_watch_stop(struct cairn_watch *w)
{
    if (w)
        object_stop(w->client, &w->object);
}
