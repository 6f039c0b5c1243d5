/* SPDX-License-Identifier: Apache-2.0
 * Defragment: this member's store file is packed (store/defrag.h), then the requests for it are answered.
 *
 * 1. A request that comes while none runs starts one.
 * 2. A request that comes while one runs waits for the next one, as in etcd; all that wait share it.
 * 3. A canceled request does not end a defragmentation that has begun.
 * 4. A start with --bootstrap-defrag-threshold-megabytes begins one without a request, and the member serves
 *    meanwhile. etcd begins to serve after it.
 * 5. While a snapshot of the leader is installed none begins. The one that runs ends, and its requests
 *    wait for one of the new store. */
#include "consensus/kv/kv_impl.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "consensus/store/defrag.h"

void kv_defrag_init(struct kv_defrag *d)
{
    list_init(&d->waiting);
    list_init(&d->served);
}

void kv_defrag_stop(struct kv *kv)
{
    kv_stop_list(kv, &kv->defrag.waiting);
    kv_stop_list(kv, &kv->defrag.served);
}

static void log_result(struct kv *kv, int err, uint64_t took_ns)
{
    struct store_sizes sizes = store_sizes(kv->store);
    struct backend_pack p = store_defrag_progress(kv->store);
    if (!err)
        log_info("the store's file is packed", F_UINT("took-ms", took_ns / 1000000),
                 F_UINT("copied-bytes", p.bytes), F_UINT("file-bytes", sizes.file),
                 F_UINT("in-use-bytes", sizes.in_use));
    else if (err == ERR_NO_DISK_SPACE)
        log_warn("the store's file cannot be packed: the disk has too little space for a second one",
                 F_UINT("needed-bytes", p.needed), F_UINT("free-bytes", p.free), F_ERR(err));
    else
        log_warn("the store's file cannot be packed", F_ERR(err));
}

static void kv_defrag_on_done(void *arg, int err)
{
    struct kv *kv = arg;
    struct link now;
    bool is_replaced = err == ERR_NOT_READY || err == ERR_CANCELED;
    uint64_t took_ns = kv->io->ops->mono_ns(kv->io) - kv->defrag.begin_ns;
    metric_set(METRIC_DEFRAG_INFLIGHT, 0);
    list_init(&now);
    list_move_all(&now, &kv->defrag.served);
    if (is_replaced) {
        list_move_all(&kv->defrag.waiting, &now);
        return;
    }
    if (kv_is_closing(kv))
        return;
    if (!err)
        metric_observe(METRIC_BACKEND_DEFRAG, (double)took_ns / 1e9);
    log_result(kv, err, took_ns);
    while (!list_is_empty(&now)) {
        struct kv_request *r = container_of(now.next, struct kv_request, link);
        Etcdserverpb__DefragmentResponse response = ETCDSERVERPB__DEFRAGMENT_RESPONSE__INIT;
        kv_finish(kv, r, err, &response.base);
    }
    kv_defrag_start(kv);
}

static void begin(struct kv *kv)
{
    kv->defrag.begin_ns = kv->io->ops->mono_ns(kv->io);
    metric_set(METRIC_DEFRAG_INFLIGHT, 1);
    store_defrag(kv->store, kv_defrag_on_done, kv);
}

void kv_defrag_start(struct kv *kv)
{
    if (list_is_empty(&kv->defrag.waiting) || kv_is_installing(kv) || kv_is_closing(kv) ||
        store_defrag_is_running(kv->store))
        return;
    list_move_all(&kv->defrag.served, &kv->defrag.waiting);
    begin(kv);
}

void kv_defrag_at_start(struct kv *kv, uint64_t threshold_mb)
{
    struct store_sizes sizes = store_sizes(kv->store);
    uint64_t threshold = threshold_mb < UINT64_MAX >> 20 ? threshold_mb << 20 : UINT64_MAX;
    if (!threshold)
        return;
    if (sizes.file - sizes.in_use >= threshold)
        begin(kv);
    else
        log_info("Skipping defragmentation", F_UINT("current-db-size-bytes", sizes.file),
                 F_UINT("current-db-size-in-use-bytes", sizes.in_use),
                 F_UINT("bootstrap-defrag-threshold-bytes", threshold));
}

void kv_defrag_refusal(const struct kv *kv, char *ret_text, size_t size)
{
    struct backend_pack p = store_defrag_progress(kv->store);
    snprintf(ret_text, size,
             "the disk has too little space for a second, packed store file: %" PRIu64
             " MiB are needed beside what is there, %" PRIu64 " MiB are free",
             p.needed >> 20, p.free >> 20);
}

void kv_defrag_add(struct kv *kv, struct kv_request *r)
{
    r->state = KV_WAITING;
    list_add_last(&kv->defrag.waiting, &r->link);
    kv_defrag_start(kv);
}
