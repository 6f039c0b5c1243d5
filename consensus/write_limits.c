/* SPDX-License-Identifier: Apache-2.0
 * Write limits; see write_limits.h. A bucket exists while it is not full: it is freed after a minute
 * without a write. */
#include "consensus/write_limits.h"

#include <stdio.h>

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/metric.h"

enum {
    MINUTE_MS = 60000,
    CONTENT_RESERVE = 8, /* 1/8 of the quota */
    REGISTRATION_RESERVE = 16,
    WRITTEN_PART = 16,
    BUCKETS_SWEPT = 8, /* buckets checked with each write */
};

struct bucket {
    struct slice ns;  /* owned */
    struct link link; /* in write_limits.order, the least recently used first */
    double bytes;     /* that may be written; negative after a write that was larger than the rest */
    uint64_t at_ms;
};

struct write_limits {
    struct kv *kv;
    struct io *io;
    double per_minute;
    struct strmap buckets;
    struct link order;
    /* Compaction under pressure. */
    uint64_t written; /* bytes since the mark of the last compaction */
    int64_t mark;     /* the revision to compact at mark_ms; 0 = none */
    uint64_t mark_ms, marked, history_ms;
    struct io_timer timer;
    bool is_busy;
    struct kv_request request;
    Etcdserverpb__CompactionRequest compaction;
};

static uint64_t write_limits_now_ms(const struct write_limits *l)
{
    return l->io->ops->mono_ns(l->io) / 1000000;
}

/* --- bytes a minute ------------------------------------------------------------------------------------- */

static void fill(const struct write_limits *l, struct bucket *b, uint64_t now)
{
    b->bytes += (double)(now - b->at_ms) * l->per_minute / MINUTE_MS;
    b->bytes = b->bytes < l->per_minute ? b->bytes : l->per_minute;
    b->at_ms = now;
}

static void write_limits_drop(struct write_limits *l, struct bucket *b)
{
    strmap_remove(&l->buckets, b->ns);
    list_remove(&b->link);
    mem_free(b->ns.data);
    mem_free(b);
}

static void sweep(struct write_limits *l, uint64_t now)
{
    for (int i = 0; i < BUCKETS_SWEPT && !list_is_empty(&l->order); i++) {
        struct bucket *b = container_of(l->order.next, struct bucket, link);
        fill(l, b, now);
        if (b->bytes < l->per_minute)
            return;
        write_limits_drop(l, b);
    }
}

static int write_limits_take(struct write_limits *l, struct slice ns, size_t bytes, char *error,
                             size_t error_size)
{
    uint64_t now = write_limits_now_ms(l);
    sweep(l, now);
    struct bucket *b = strmap_get(&l->buckets, ns);
    if (!b) {
        b = mem_new(sizeof *b);
        b->ns = slice_of(mem_copy(ns.data, ns.size), ns.size);
        b->bytes = l->per_minute;
        b->at_ms = now;
        strmap_put(&l->buckets, b->ns, b);
    }
    fill(l, b, now);
    list_remove(&b->link);
    list_add_last(&l->order, &b->link);
    if (b->bytes <= 0) {
        metric_add(METRIC_WRITES_LIMITED, 1);
        snprintf(error, error_size,
                 "namespace %.*s has written its %.0f bytes a minute (--namespace-write-bytes-per-minute): "
                 "try again in "
                 "%.0f s",
                 (int)ns.size, (const char *)ns.data, l->per_minute,
                 1 - b->bytes * (MINUTE_MS / 1000) / l->per_minute);
        return ERR_TOO_MANY_REQUESTS;
    }
    b->bytes -= (double)bytes;
    return OK;
}

/* --- the reserve ---------------------------------------------------------------------------------------- */

static int check_reserve(struct write_limits *l, enum write_kind kind, size_t bytes, char *error,
                         size_t error_size)
{
    const struct kv_space space = kv_space(l->kv);
    uint64_t reserve = space.quota / (kind == WRITE_CONTENT ? CONTENT_RESERVE : REGISTRATION_RESERVE);
    if (!space.quota || space.live + bytes <= space.quota - reserve)
        return OK;
    metric_add(METRIC_WRITES_LIMITED, 1);
    snprintf(error, error_size,
             "the store holds %llu of %llu bytes (--quota-backend-bytes); the rest is a reserve: delete what "
             "is not "
             "needed, or wait for old history to be compacted",
             (unsigned long long)space.live, (unsigned long long)space.quota);
    return ERR_NO_SPACE;
}

int write_limits_admit(struct write_limits *l, enum write_kind kind, struct slice ns, size_t bytes,
                       char *error, size_t error_size)
{
    if (!l)
        return OK;
    int err = check_reserve(l, kind, bytes, error, error_size);
    if (!err && l->per_minute > 0 && ns.size)
        err = write_limits_take(l, ns, bytes, error, error_size);
    if (!err)
        l->written += bytes;
    return err;
}

void write_limits_deleted(struct write_limits *l, size_t bytes)
{
    if (l)
        l->written += bytes;
}

/* --- compaction under pressure -------------------------------------------------------------------------- */

static void write_limits_on_timer(struct io_timer *timer)
{
    (void)timer; /* write_limits_turn runs next */
}

static void on_compacted(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct write_limits *l = container_of(r, struct write_limits, request);
    (void)response;
    l->is_busy = false;
    if (err && err != ERR_COMPACTED) /* ERR_COMPACTED: another compaction was faster */
        log_warn("old history could not be compacted", F_ERR(err));
}

static void compact(struct write_limits *l)
{
    log_info("the store is three quarters full: history is compacted", F_INT("revision", l->mark));
    etcdserverpb__compaction_request__init(&l->compaction);
    l->compaction.revision = l->mark;
    l->request = (struct kv_request){.done = on_compacted};
    l->is_busy = true;
    l->mark = 0;
    l->written -= l->marked < l->written ? l->marked : l->written;
    metric_add(METRIC_PRESSURE_COMPACTIONS, 1);
    kv_compact(l->kv, &l->request, &l->compaction);
    l->io->ops->timer_start(l->io, &l->timer, 0); /* wakes the loop: kv_turn handles the request */
}

void write_limits_turn(struct write_limits *l)
{
    if (!l)
        return;
    const struct kv_space space = kv_space(l->kv);
    if (!space.quota || l->is_busy)
        return;
    if (l->mark && write_limits_now_ms(l) >= l->mark_ms) {
        compact(l);
    } else if (!l->mark && l->written > space.quota / WRITTEN_PART && space.live > space.quota / 4 * 3) {
        l->mark = kv_revision(l->kv);
        l->marked = l->written;
        l->mark_ms = write_limits_now_ms(l) + l->history_ms;
        l->io->ops->timer_start(l->io, &l->timer, l->history_ms);
    }
}

/* --- the whole ------------------------------------------------------------------------------------------ */

struct write_limits *write_limits_new(const struct write_limits_options *options)
{
    struct write_limits *l = mem_new(sizeof *l);
    l->kv = options->kv;
    l->io = kv_io(options->kv);
    l->per_minute = (double)options->namespace_bytes_per_minute;
    l->history_ms = options->history_ms ? options->history_ms : MINUTE_MS;
    l->timer.fire = write_limits_on_timer;
    list_init(&l->order);
    return l;
}

void write_limits_free(struct write_limits *l)
{
    if (!l)
        return;
    if (l->is_busy)
        kv_cancel(l->kv, &l->request);
    l->io->ops->timer_stop(l->io, &l->timer);
    while (!list_is_empty(&l->order))
        write_limits_drop(l, container_of(l->order.next, struct bucket, link));
    strmap_done(&l->buckets);
    mem_free(l);
}
