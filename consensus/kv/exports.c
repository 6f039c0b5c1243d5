/* SPDX-License-Identifier: Apache-2.0
 * Snapshots for clients: how many run at once, which wait, and how slowly one may be read.
 *
 * At most max_snapshots run; WAITING_MAX wait in line, for at most WAIT_MS. A client that reads slowly does
 * not hold its place for ever:
 *   a block that is not taken for UNREAD_MS ends the snapshot
 *   while others wait, a snapshot must move RATE_MIN bytes a second on average, after GRACE_MS
 *
 * The disk space that it holds is limited by the store (store/export.c). */
#include "base/log.h"
#include "base/metric.h"
#include "consensus/etcd_db/etcd_db.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/store/export.h"

#define WAITING_MAX 64
#define WAIT_MS     60000
#define UNREAD_MS   30000
#define GRACE_MS    30000
#define RATE_MIN    (256u << 10)

struct kv_export {
    struct link link; /* in kv->exports.waiting or .running; in none when it has failed */
    struct kv *kv;
    struct store_export *source; /* NULL = waits, or has failed */
    void (*on_ready)(void *arg);
    void *arg;
    uint64_t since_ms; /* of the request, then of its begin */
    uint64_t taken_ms; /* the last block was taken, or became ready */
    uint64_t taken_bytes;
    uint64_t index; /* of the last entry in it */
    int err;
};

static void set_gauges(const struct kv *kv)
{
    metric_set(METRIC_EXPORTS, (double)kv->exports.running_count);
    metric_set(METRIC_EXPORTS_WAITING, (double)kv->exports.waiting_count);
}

/* Out of its list: its place is free. */
static void kv_export_leave(struct kv_export *e)
{
    if (!link_is_in_list(&e->link))
        return;
    list_remove(&e->link);
    if (e->source)
        e->kv->exports.running_count--;
    else
        e->kv->exports.waiting_count--;
    set_gauges(e->kv);
}

static void kv_export_fail(struct kv_export *e, int err)
{
    kv_export_leave(e);
    if (e->source)
        store_export_close(e->source);
    e->source = NULL;
    e->err = err;
    metric_add(METRIC_EXPORTS_REFUSED, 1);
    log_warn("a snapshot for a client is given up", F_ERR(err), F_UINT("sent-bytes", e->taken_bytes));
}

static void kv_export_start(struct kv_export *e)
{
    struct kv *kv = e->kv;
    list_add_last(&kv->exports.running, &e->link);
    kv->exports.running_count++;
    e->since_ms = e->taken_ms = kv_now_ms(kv);
    e->index = store_applied_index(kv->store);
    e->source = store_export_new(kv->store, &export_etcd, e->on_ready, e->arg);
    set_gauges(kv);
    log_info("a snapshot for a client begins", F_INT("revision", store_export_revision(e->source)),
             F_UINT("index", store_applied_index(kv->store)));
}

static bool has_place(const struct kv *kv)
{
    bool is_free = kv->exports.max == 0 || kv->exports.running_count < kv->exports.max;
    return is_free && store_export_may_start(kv->store);
}

struct kv_export *kv_export_open(struct kv *kv, void (*on_ready)(void *arg), void *arg)
{
    struct kv_export *e = mem_new(sizeof *e);
    *e = (struct kv_export){.kv = kv, .on_ready = on_ready, .arg = arg, .since_ms = kv_now_ms(kv)};
    if (kv->exports.waiting_count == 0 && has_place(kv)) {
        kv_export_start(e);
    } else if (kv->exports.waiting_count < WAITING_MAX) {
        list_add_last(&kv->exports.waiting, &e->link);
        kv->exports.waiting_count++;
        set_gauges(kv);
    } else {
        kv_export_fail(e, ERR_TOO_MANY_REQUESTS);
    }
    return e;
}

static void start_waiting(struct kv *kv)
{
    while (!list_is_empty(&kv->exports.waiting) && has_place(kv)) {
        struct kv_export *e = container_of(kv->exports.waiting.next, struct kv_export, link);
        kv_export_leave(e);
        kv_export_start(e);
    }
}

/* Waiting ones are started at the next tick, so that nothing begins inside a call that ends another. */
void kv_export_close(struct kv_export *e)
{
    kv_export_leave(e);
    if (e->source)
        store_export_close(e->source);
    mem_free(e);
}

int kv_export_next(struct kv_export *e, struct slice *ret_block, struct kv_export_progress *ret_progress)
{
    *ret_block = (struct slice){0};
    *ret_progress = (struct kv_export_progress){.index = e->index};
    if (e->err || !e->source)
        return e->err;
    int err = store_export_next(e->source, ret_block);
    if (err) {
        kv_export_fail(e, err);
        return err;
    }
    if (ret_block->size)
        e->taken_ms = kv_now_ms(e->kv);
    e->taken_bytes += ret_block->size;
    ret_progress->size = store_export_size(e->source);
    ret_progress->revision = store_export_revision(e->source);
    ret_progress->is_done = store_export_is_done(e->source) && !ret_block->size;
    if (ret_progress->is_done) {
        store_export_digest(e->source, ret_progress->digest);
        kv_export_leave(e);
    }
    return 0;
}

/* --- time ---------------------------------------------------------------------------------------- */

static int why_too_slow(struct kv_export *e, uint64_t now_ms)
{
    uint64_t ran_ms = now_ms - e->since_ms;
    if (!store_export_has_block(e->source))
        e->taken_ms = now_ms;
    if (now_ms - e->taken_ms >= UNREAD_MS)
        return ERR_SNAPSHOT_UNREAD;
    bool is_slow = ran_ms > GRACE_MS && e->taken_bytes / (ran_ms / 1000) < RATE_MIN;
    return is_slow && e->kv->exports.waiting_count ? ERR_SNAPSHOT_SLOW : OK;
}

void kv_exports_tick(struct kv *kv)
{
    uint64_t now = kv_now_ms(kv);
    LIST_FOR_EACH_SAFE (l, &kv->exports.running) {
        struct kv_export *e = container_of(l, struct kv_export, link);
        int err = why_too_slow(e, now);
        if (!err)
            continue;
        kv_export_fail(e, err);
        e->on_ready(e->arg);
    }
    LIST_FOR_EACH_SAFE (l, &kv->exports.waiting) {
        struct kv_export *e = container_of(l, struct kv_export, link);
        if (now - e->since_ms < WAIT_MS)
            continue;
        kv_export_fail(e, ERR_TOO_MANY_REQUESTS);
        e->on_ready(e->arg);
    }
    start_waiting(kv);
}

void kv_exports_close(struct kv *kv)
{
    struct link *lists[] = {&kv->exports.running, &kv->exports.waiting};
    for (size_t i = 0; i < 2; i++)
        while (!list_is_empty(lists[i])) {
            struct kv_export *e = container_of(lists[i]->next, struct kv_export, link);
            kv_export_fail(e, ERR_STOPPED);
            e->on_ready(e->arg);
        }
}

void kv_exports_init(struct kv_exports *e, size_t max)
{
    list_init(&e->running);
    list_init(&e->waiting);
    e->max = max;
}
