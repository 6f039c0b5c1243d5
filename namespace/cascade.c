/* SPDX-License-Identifier: Apache-2.0
 * Deletion of a namespace by the leader; see cascade.h. One transaction is under way at a time. */
#include "namespace/cascade.h"

#include <string.h>

#include "base/log.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "proto/txn.h"

enum {
    BATCH_MS = 5,       /* between two batches: other writes get their turn */
    AGAIN_MS = 100,     /* after a failed compare, or while the view lags behind */
    FAILED_MS = 1000,   /* after an error */
    CLEAN_MS = 60000,   /* between two looks for old deletions that are done */
    WAKE_MAX_MS = 60000 /* the wall clock may jump */
};

struct cascade {
    const struct namespaces_options *options;
    const struct namespace_view *view;
    struct io *io;
    struct io_timer timer;
    uint64_t pause_until_ms, clean_at_ms;
    /* The transaction under way. */
    bool is_busy, is_last;
    size_t batch;           /* keys that it deletes */
    int64_t tried_revision; /* of the deletion that was changed last; a view that shows it lags behind */
    struct kv_request request;
    struct txn txn;
    struct slice ns, record;
    struct arena arena;
};

static uint64_t cascade_now_ms(const struct cascade *c)
{
    return c->io->ops->mono_ns(c->io) / 1000000;
}

static int64_t cascade_wall_ms(const struct cascade *c)
{
    return (int64_t)(c->io->ops->wall_ns(c->io) / 1000000);
}

static void cascade_on_timer(struct io_timer *timer)
{
    (void)timer; /* it only wakes the loop: the turn follows */
}

static void cascade_wake_in(struct cascade *c, uint64_t ms)
{
    c->io->ops->timer_start(c->io, &c->timer, ms < WAKE_MAX_MS ? ms : WAKE_MAX_MS);
}

static void cascade_pause(struct cascade *c, uint64_t ms)
{
    c->pause_until_ms = cascade_now_ms(c) + ms;
    cascade_wake_in(c, ms);
}

/* --- transactions --------------------------------------------------------------------------------------- */

static struct slice cascade_keep(struct cascade *c, const void *data, size_t size)
{
    return slice_of(arena_copy(&c->arena, data, size), size);
}

static struct slice cascade_keep_text(struct cascade *c, struct buf *text)
{
    struct slice copy = cascade_keep(c, text->data, text->size);
    buf_done(text);
    return copy;
}

static struct slice cascade_key(struct cascade *c, enum namespace_area a)
{
    struct buf key = {0};
    namespace_area_add_key(a, c->ns, &key);
    return cascade_keep_text(c, &key);
}

static void cascade_on_done(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct cascade *c = container_of(r, struct cascade, request);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    c->is_busy = false;
    if (err) {
        c->tried_revision = 0; /* it may have been applied or not: the next compare tells */
        log_warn("the deletion of a namespace could not go on; trying again", F_BYTES("namespace", c->ns),
                 F_ERR(err));
        cascade_pause(c, FAILED_MS);
    } else if (!response->succeeded) {
        c->tried_revision = 0;
        cascade_pause(c, AGAIN_MS);
    } else {
        metric_add(METRIC_NAMESPACE_DELETED_KEYS, (double)c->batch);
        audit_written(c->options->audit, c->record);
        if (c->is_last)
            log_info("a namespace was deleted", F_BYTES("namespace", c->ns));
        cascade_pause(c, BATCH_MS);
    }
}

static void cascade_begin(struct cascade *c, const struct namespace_entry *e)
{
    arena_reset(&c->arena);
    c->ns = cascade_keep(c, e->name.data, e->name.size);
    c->record = (struct slice){0};
    c->batch = 0;
    c->is_last = false;
    txn_init(&c->txn, &c->arena);
    if (!MUTANT(CASCADE_UNFENCED))
        txn_if_revision(&c->txn, cascade_key(c, AREA_DELETION), e->revisions[KEY_DELETION]);
}

static void cascade_put(struct cascade *c, const struct namespace_deletion *d)
{
    struct buf text = {0};
    namespace_deletion_write(d, &text);
    txn_put(&c->txn, cascade_key(c, AREA_DELETION), cascade_keep_text(c, &text), 0);
}

static void cascade_send(struct cascade *c, const struct namespace_entry *e)
{
    c->is_busy = true;
    c->tried_revision = e->revisions[KEY_DELETION];
    c->request = (struct kv_request){.done = cascade_on_done, .extra_ops = AUDIT_OPS};
    kv_txn(c->options->kv, &c->request, &c->txn.message);
    cascade_wake_in(c, 0); /* kv_turn handles it */
}

/* --- steps ---------------------------------------------------------------------------------------------- */

/* The first keys of an area; NULL: it has none, or (ret_err) it cannot be read. */
static const Etcdserverpb__RangeResponse *read_page(struct cascade *c, enum namespace_area a, int *ret_err)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct buf key = {0}, end = {0};
    namespace_area_range(a, c->ns, &key, &end);
    m.key = (ProtobufCBinaryData){key.size, key.data};
    m.range_end = (ProtobufCBinaryData){end.size, end.data};
    m.keys_only = true;
    m.limit = (int64_t)c->options->batch_keys;
    *ret_err = kv_range_page(c->options->kv, &m, &c->arena, &response);
    buf_done(&key);
    buf_done(&end);
    return !*ret_err && response->n_kvs ? response : NULL;
}

/* Deletes the keys of the page, which follow each other. */
static void send_batch(struct cascade *c, const struct namespace_entry *e, enum namespace_area a,
                       const Etcdserverpb__RangeResponse *page)
{
    const Mvccpb__KeyValue *first = page->kvs[0], *last = page->kvs[page->n_kvs - 1];
    struct namespace_deletion d = *e->deletion;
    struct buf end = {0};
    buf_add(&end, last->key.data, last->key.len);
    buf_add_byte(&end, 0); /* the next key that could be */
    struct slice from = cascade_keep(c, first->key.data, first->key.len);
    c->batch = page->n_kvs;
    if (namespace_areas[a].form == AREA_ALL)
        d.removed[a] += page->n_kvs;
    if (d.found[a] < d.removed[a])
        d.found[a] = d.removed[a];
    txn_delete_range(&c->txn, from, cascade_keep_text(c, &end));
    cascade_put(c, &d);
    cascade_send(c, e);
}

static void send_last(struct cascade *c, const struct namespace_entry *e)
{
    static const enum namespace_area gone[] = {AREA_DOCUMENT, AREA_QUOTAS, AREA_GUARD};
    struct namespace_deletion d = *e->deletion;
    struct audit_change change = {.kind = "namespace", .operation = "delete", .ns = c->ns};
    const struct audit_record record = {.author = d.author, .changes = &change, .count = 1};
    for (int a = 0; a < AREAS && !MUTANT(CASCADE_ENDS_UNCHECKED); a++) {
        struct buf key = {0}, end = {0};
        namespace_area_range((enum namespace_area)a, c->ns, &key, &end);
        if (namespace_areas[a].form == AREA_ALL) {
            struct slice from = cascade_keep_text(c, &key);
            txn_if_empty(&c->txn, from, cascade_keep_text(c, &end));
        }
        buf_done(&key);
        buf_done(&end);
    }
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        txn_delete(&c->txn, cascade_key(c, gone[i]));
    d.is_done = true;
    d.done_ms = cascade_wall_ms(c);
    cascade_put(c, &d);
    c->is_last = true;
    c->record = audit_add(c->options->audit, &c->txn, TXN_THEN, &record);
    cascade_send(c, e);
}

static void cascade_step(struct cascade *c, const struct namespace_entry *e)
{
    cascade_begin(c, e);
    for (int a = 0; a < AREAS; a++) {
        int err = OK;
        const Etcdserverpb__RangeResponse *page =
            namespace_areas[a].form != AREA_ONE ? read_page(c, (enum namespace_area)a, &err) : NULL;
        if (err) {
            cascade_pause(c, FAILED_MS);
            return;
        }
        if (page) {
            send_batch(c, e, (enum namespace_area)a, page);
            return;
        }
    }
    send_last(c, e);
}

/* Deletes one old deletion that is done. */
static void clean_step(struct cascade *c)
{
    uint64_t now = cascade_now_ms(c);
    int64_t before = cascade_wall_ms(c) - (int64_t)c->options->done_kept_ms;
    if (now < c->clean_at_ms) {
        cascade_wake_in(c, c->clean_at_ms - now);
        return;
    }
    const struct namespace_entry *e = namespace_view_ended(c->view, before, c->options->done_max);
    if (!e) {
        c->clean_at_ms = now + CLEAN_MS;
        cascade_wake_in(c, CLEAN_MS);
        return;
    }
    cascade_begin(c, e);
    txn_delete(&c->txn, cascade_key(c, AREA_DELETION));
    cascade_send(c, e);
}

void cascade_turn(struct cascade *c)
{
    uint64_t now = cascade_now_ms(c);
    if (kv_leader(c->options->kv) != kv_member_id(c->options->kv)) {
        if (c->is_busy)
            kv_cancel(c->options->kv, &c->request);
        c->is_busy = false;
        c->tried_revision = 0;
        return;
    }
    if (c->is_busy)
        return;
    if (now < c->pause_until_ms) {
        cascade_wake_in(c, c->pause_until_ms - now);
        return;
    }
    const struct namespace_entry *e = namespace_view_running(c->view);
    if (!e)
        clean_step(c);
    else if (e->revisions[KEY_DELETION] == c->tried_revision)
        cascade_pause(c, BATCH_MS); /* the view does not show the last batch yet */
    else
        cascade_step(c, e);
}

struct cascade *cascade_new(const struct namespaces_options *options, const struct namespace_view *view)
{
    struct cascade *c = mem_new(sizeof *c);
    c->options = options;
    c->view = view;
    c->io = kv_io(options->kv);
    c->timer.fire = cascade_on_timer;
    return c;
}

void cascade_free(struct cascade *c)
{
    if (c->is_busy)
        kv_cancel(c->options->kv, &c->request);
    c->io->ops->timer_stop(c->io, &c->timer);
    arena_done(&c->arena);
    mem_free(c);
}
