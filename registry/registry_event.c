/* SPDX-License-Identifier: Apache-2.0
 * Events of services; see registry_event.h.
 *
 * The leader appends what is due: up to BATCH_MAX services in one transaction, each as an inner transaction that
 * compares the last key of the service and that no later one exists. One transaction is under way at a time, and the
 * next one begins BATCH_PAUSE_MS after the view shows it. So a storm of registrations costs little: its events wait and
 * travel together, and those that would not be kept are never written.
 *
 * Nothing is written while the store is fuller than 7/8 of its quota. */
#include "registry/registry_event.h"

#include "base/log_limit.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "registry/registry_private.h"

enum {
    BATCH_MAX = 64,
    BATCH_BYTES_MAX = 256 << 10,
    BATCH_PAUSE_MS = 400,
    REVIEW_MS = 10000,
    REVIEWED_MAX = 1000, /* services of one review */
    INNER_OPS = 8,
};

struct events {
    struct registry *registry;
    struct journal *journal;
    struct buf prefix, text;
    bool is_busy;
    size_t batch_max;
    uint64_t pause_until_ms, review_ms, counted_dropped;
    struct log_limit failed;
    struct io_timer timer;
    uint64_t timer_ms; /* it fires then; UINT64_MAX: it does not run */
};

struct append_op {
    struct registry_op op;
    struct events *events;
    size_t count, bytes;
    Etcdserverpb__RequestOp *list[BATCH_MAX];
    Etcdserverpb__TxnRequest message;
};

static uint64_t events_now_ms(const struct events *e)
{
    return pending_ops_now_ms(&e->registry->pending_ops);
}

static struct slice prefix_of(struct events *e, struct slice ns, struct slice group, struct slice service)
{
    buf_clear(&e->prefix);
    event_add_prefix(&e->prefix, ns, group, service);
    return buf_slice(&e->prefix);
}

/* --- events of this member's view ---------------------------------------------------------------------- */

static bool is_being_deleted(const struct events *e, struct slice ns)
{
    const struct namespace_view *v = e->registry->options.namespaces;
    const struct namespace_entry *entry =
        v && namespace_view_running_count(v) ? namespace_view_find(v, ns) : NULL;
    return entry && entry->deletion && !entry->deletion->is_done;
}

/* Projected instances have their readers' rights from keys of their own: their events are not stored. */
void events_replaced(struct events *e, const struct catalog_replaced *change)
{
    struct event event;
    const struct name *name = change->name;
    if (!e || (name->id.size && projection_is_reserved(name->id)) || !event_derive(change, &event) ||
        is_being_deleted(e, name->ns))
        return;
    event.revision = change->revision;
    event.time_ms = registry_wall_ms(e->registry);
    buf_clear(&e->text);
    event_write(&event, &e->text);
    journal_add(e->journal, prefix_of(e, name->ns, name->group, name->service), event.revision, event.time_ms,
                buf_slice(&e->text), events_now_ms(e));
}

void events_begin(struct events *e, bool is_whole)
{
    if (e && is_whole)
        journal_begin_anew(e->journal);
}

static bool is_event_key(struct slice key)
{
    return name_take_prefix(&key, EVENTS_PREFIX);
}

bool events_put(struct events *e, struct slice key, struct slice value, int64_t mod_revision)
{
    if (!e || !is_event_key(key))
        return false;
    journal_put(e->journal, key, value, mod_revision);
    return true;
}

bool events_remove(struct events *e, struct slice key, int64_t revision)
{
    if (!e || !is_event_key(key))
        return false;
    journal_remove(e->journal, key, revision);
    return true;
}

void events_end(struct events *e)
{
    if (e)
        journal_end(e->journal);
}

/* --- appends ------------------------------------------------------------------------------------------- */

static struct slice key_of(struct arena *a, struct slice prefix, int64_t number)
{
    struct buf key = {0};
    buf_add_slice(&key, prefix);
    name_add_hex16(&key, (uint64_t)number);
    struct slice copy = registry_copy(a, buf_slice(&key));
    buf_done(&key);
    return copy;
}

/* The end of the range of all keys with this prefix. */
static struct slice end_of(struct arena *a, struct slice prefix)
{
    uint8_t *end = arena_copy(a, prefix.data, prefix.size);
    end[prefix.size - 1]++; /* '/' */
    return slice_of(end, prefix.size);
}

static struct slice key_after(struct arena *a, struct slice key)
{
    uint8_t *next = arena_alloc(a, key.size + 1);
    memcpy(next, key.data, key.size);
    next[key.size] = 0;
    return slice_of(next, key.size + 1);
}

/* The text of the key on this member. The compare of its revision is made when the write is applied. */
static struct slice read_text(struct events *e, struct arena *a, struct slice key)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    m.key.len = key.size;
    memcpy(&m.key.data, &key.data, sizeof key.data); /* protobuf-c's type is not const */
    if (kv_range_now(e->registry->kv, &m, a, &response) || !response->n_kvs)
        return (struct slice){0};
    return registry_copy(a, slice_of(response->kvs[0]->value.data, response->kvs[0]->value.len));
}

static void add_append(struct append_op *p, const struct journal_append *append)
{
    struct arena *a = &p->op.pending_ops.arena;
    struct slice end = end_of(a, append->prefix), prefix = registry_copy(a, append->prefix);
    struct slice last = append->last ? key_of(a, prefix, append->last) : (struct slice){0};
    struct slice text = append->has_room ? read_text(p->events, a, last) : (struct slice){0};
    struct txn *t = arena_alloc(a, sizeof *t);
    struct journal_puts puts;
    journal_write(p->events->journal, append, text, a, &puts);
    if (!puts.count)
        return;
    txn_init(t, a);
    if (append->last && !MUTANT(EVENTS_LAST_UNSEEN))
        txn_if_revision(t, last, append->last_mod);
    if (!MUTANT(EVENTS_LATER_UNSEEN))
        txn_if_empty(t, append->last ? key_after(a, last) : prefix, end);
    for (size_t i = 0; i < puts.count; i++)
        txn_put(t, key_of(a, prefix, puts.list[i].number), puts.list[i].text, 0);
    if (puts.has_old)
        txn_delete_range(t, prefix, key_of(a, prefix, puts.first_kept));
    Etcdserverpb__RequestOp *outer = arena_alloc(a, sizeof *outer);
    etcdserverpb__request_op__init(outer);
    outer->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    outer->request_txn = &t->message;
    p->list[p->count++] = outer;
    p->bytes += puts.bytes;
}

static void end_appends(struct events *e, uint64_t pause_ms, uint64_t delay_ms)
{
    uint64_t now = events_now_ms(e);
    e->is_busy = false;
    e->pause_until_ms = now + pause_ms;
    journal_done(e->journal, now, delay_ms);
    pending_ops_schedule_turn(&e->registry->pending_ops);
}

static void on_appends_shown(struct feed_waiter *w)
{
    struct append_op *p = container_of(w, struct append_op, op.pending_ops.waiter);
    end_appends(p->events, BATCH_PAUSE_MS, EVENT_DELAY_MS);
    pending_op_end(&p->op.pending_ops, OK);
}

static void on_appended(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct append_op *p = container_of(kv, struct append_op, op.pending_ops.kv);
    struct events *e = p->events;
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (!err) {
        metric_add(METRIC_EVENT_APPENDS, (double)p->count);
        pending_op_view(&p->op.pending_ops, response->header->revision, on_appends_shown);
        return;
    }
    if ((err == ERR_TOO_MANY_OPS || err == ERR_REQUEST_TOO_LARGE) && e->batch_max > 1)
        e->batch_max /= 2;
    log_warn_limited(&e->failed, events_now_ms(e),
                     "the events of services could not be stored; it is tried again", F_ERR(err));
    end_appends(e, EVENT_RETRY_MS, EVENT_RETRY_MS);
    pending_op_end(&p->op.pending_ops, OK);
}

static bool has_space(const struct events *e)
{
    struct kv_space space = kv_space(e->registry->kv);
    return !space.quota || space.live < space.quota - space.quota / 8;
}

static void append_due(struct events *e, uint64_t now)
{
    struct registry *r = e->registry;
    struct journal_append next;
    if (journal_wake_ms(e->journal) > now)
        return;
    struct append_op *p = registry_op_new(r, NULL, sizeof *p);
    p->events = e;
    while (p->count < e->batch_max && p->bytes < BATCH_BYTES_MAX && journal_next(e->journal, now, &next))
        add_append(p, &next);
    etcdserverpb__txn_request__init(&p->message);
    p->message.n_success = p->count;
    p->message.success = p->list;
    p->op.pending_ops.kv.done = on_appended;
    p->op.pending_ops.kv.extra_ops = INNER_OPS;
    e->is_busy = true;
    kv_txn(r->kv, &p->op.pending_ops.kv, &p->message);
    pending_ops_schedule_turn(&r->pending_ops);
}

/* --- services that do not exist any more ---------------------------------------------------------------- */

static bool does_exist(struct events *e, struct slice prefix)
{
    struct slice list[3], names = prefix;
    if (!name_take_prefix(&names, EVENTS_PREFIX) ||
        name_parse_segments(slice_of(names.data, names.size - 1), 3, &e->text, list))
        return false;
    const struct catalog_service *s = catalog_find(e->registry->catalog, list[0], list[1], list[2]);
    return s && catalog_exists(s);
}

static void on_reviewed(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct append_op *p = container_of(kv, struct append_op, op.pending_ops.kv);
    (void)message;
    if (err)
        log_warn_limited(&p->events->failed, events_now_ms(p->events),
                         "the events of services that are gone could not be deleted; it is tried again",
                         F_ERR(err));
    end_appends(p->events, BATCH_PAUSE_MS, EVENT_DELAY_MS);
    pending_op_end(&p->op.pending_ops, OK);
}

static void review(struct events *e, uint64_t now)
{
    struct registry *r = e->registry;
    struct txn *t = NULL;
    struct append_op *p = NULL;
    struct slice prefix;
    bool is_old;
    size_t most = journal_services(e->journal) < REVIEWED_MAX ? journal_services(e->journal) : REVIEWED_MAX;
    e->review_ms = now + REVIEW_MS;
    for (size_t i = 0; i < most && (!t || t->message.n_success < e->batch_max); i++) {
        if (!journal_review(e->journal, registry_wall_ms(r), &prefix, &is_old) || !is_old ||
            does_exist(e, prefix))
            continue;
        if (!p) {
            p = registry_op_new(r, NULL, sizeof *p);
            p->events = e;
            t = arena_alloc(&p->op.pending_ops.arena, sizeof *t);
            txn_init(t, &p->op.pending_ops.arena);
        }
        prefix = registry_copy(t->arena, prefix);
        txn_delete_range(t, prefix, end_of(t->arena, prefix));
    }
    if (!p)
        return;
    e->is_busy = true;
    p->op.pending_ops.kv.done = on_reviewed;
    kv_txn(r->kv, &p->op.pending_ops.kv, &t->message);
    pending_ops_schedule_turn(&r->pending_ops);
}

/* --- turns --------------------------------------------------------------------------------------------- */

static void events_on_timer(struct io_timer *timer)
{
    container_of(timer, struct events, timer)->timer_ms = UINT64_MAX; /* events_turn runs next */
}

static void schedule_timer(struct events *e, uint64_t now)
{
    struct io *io = kv_io(e->registry->kv);
    uint64_t at_ms = journal_wake_ms(e->journal);
    if (at_ms < e->pause_until_ms)
        at_ms = e->pause_until_ms;
    if (journal_services(e->journal) && e->review_ms < at_ms)
        at_ms = e->review_ms;
    if (at_ms == UINT64_MAX || at_ms >= e->timer_ms)
        return;
    e->timer_ms = at_ms > now ? at_ms : now + 1;
    io->ops->timer_start(io, &e->timer, e->timer_ms - now);
}

void events_turn(struct events *e)
{
    if (!e || e->is_busy || kv_leader(e->registry->kv) != kv_member_id(e->registry->kv))
        return;
    uint64_t now = events_now_ms(e);
    if (now >= e->pause_until_ms && journal_wake_ms(e->journal) <= now) {
        if (has_space(e))
            append_due(e, now);
        else
            e->pause_until_ms = now + EVENT_RETRY_MS;
    }
    if (!e->is_busy && now >= e->review_ms)
        review(e, now);
    if (!e->is_busy)
        schedule_timer(e, now);
}

void events_metric_collect(const struct events *e)
{
    if (!e)
        return;
    metric_set(METRIC_EVENTS_PENDING, (double)journal_pending(e->journal));
    metric_set(METRIC_EVENTS_DROPPED, (double)journal_dropped(e->journal));
}

/* --- reading ------------------------------------------------------------------------------------------- */

int64_t registry_events_changed(struct registry *r, const struct registry_key *key)
{
    struct events *e = r->events;
    return e ? journal_changed(e->journal, prefix_of(e, key->ns, key->group, key->service)) : 0;
}

void registry_watch_events(struct registry *r, struct journal_watch *w, const struct registry_key *key)
{
    struct events *e = r->events;
    if (e)
        journal_watch(e->journal, w, prefix_of(e, key->ns, key->group, key->service));
}

void registry_unwatch_events(struct registry *r, struct journal_watch *w)
{
    if (r->events)
        journal_unwatch(r->events->journal, w);
}

/* The last EVENTS_KEPT of the segments, the newest first. One that does not parse is left out. */
static void give_events(const Etcdserverpb__RangeResponse *response, struct arena *a,
                        void (*fn)(void *arg, const struct event *e), void *arg)
{
    size_t given = 0;
    for (size_t i = response->n_kvs; i-- > 0 && given < EVENTS_KEPT;) {
        const Mvccpb__KeyValue *pair = response->kvs[i];
        struct event *list;
        size_t count;
        if (event_segment_parse(slice_of(pair->value.data, pair->value.len), a, &list, &count))
            continue;
        while (count-- > 0 && given < EVENTS_KEPT) {
            fn(arg, &list[count]);
            given++;
        }
    }
}

int registry_events(struct registry *r, const struct registry_key *key,
                    void (*fn)(void *arg, const struct event *e), void *arg)
{
    struct arena a = {0};
    struct buf prefix = {0};
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    event_add_prefix(&prefix, key->ns, key->group, key->service);
    struct slice end = end_of(&a, buf_slice(&prefix));
    m.key = (ProtobufCBinaryData){prefix.size, prefix.data};
    m.range_end.len = end.size;
    memcpy(&m.range_end.data, &end.data, sizeof end.data); /* protobuf-c's type is not const */
    m.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE;
    m.limit = 2 * EVENTS_KEPT; /* a client of the etcd API may have written any number */
    int err = kv_range_now(r->kv, &m, &a, &response);
    if (!err)
        give_events(response, &a, fn, arg);
    buf_done(&prefix);
    arena_done(&a);
    return err;
}

/* --- the whole ----------------------------------------------------------------------------------------- */

struct events *events_new(struct registry *r)
{
    struct events *e = mem_new(sizeof *e);
    e->registry = r;
    e->journal = journal_new();
    e->batch_max = r->options.txn_ops_max < BATCH_MAX ? r->options.txn_ops_max : BATCH_MAX;
    e->timer.fire = events_on_timer;
    e->timer_ms = UINT64_MAX;
    return e;
}

void events_free(struct events *e)
{
    if (!e)
        return;
    struct io *io = kv_io(e->registry->kv);
    io->ops->timer_stop(io, &e->timer);
    journal_free(e->journal);
    buf_done(&e->prefix);
    buf_done(&e->text);
    mem_free(e);
}
