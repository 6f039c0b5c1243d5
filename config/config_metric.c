/* SPDX-License-Identifier: Apache-2.0
 * Gauges of the config center, read from the view's sums when metrics are collected. Counters are updated
 * where the events happen. */
#include "config/config_private.h"

static void add_sealed(const struct heads_sums *sums, struct buf *out)
{
    metric_print_head(out, "cairn_config_sealed", "gauge",
                      "Live configurations that are sealed, by the id of the key.");
    for (size_t i = 0; i < sums->sealed_count; i++)
        buf_addf(out, "cairn_config_sealed{key=\"%.*s\"} %zu\n", (int)sums->sealed[i].key.size,
                 (const char *)sums->sealed[i].key.data, sums->sealed[i].count);
}

void config_metric_collect(void *arg, struct buf *out)
{
    const struct config *c = arg;
    const struct heads_sums *sums = heads_sums(c->heads);
    const struct task_sums tasks = task_queue_sums(c->tasks);
    metric_set(METRIC_CONFIG_CHECKS, (double)tasks.count);
    metric_set(METRIC_CONFIG_CHECK_BYTES, (double)tasks.bytes);
    metric_set(METRIC_CONFIG_READY, config_is_ready(c));
    metric_set(METRIC_CONFIG_REVISION, (double)config_revision(c));
    metric_set(METRIC_CONFIG_ITEMS, (double)sums->live);
    metric_set(METRIC_CONFIG_BYTES, (double)sums->bytes);
    metric_set(METRIC_CONFIG_DELETED, (double)sums->deleted);
    metric_set(METRIC_CONFIG_UNREADABLE, (double)sums->unreadable);
    metric_set(METRIC_CONFIG_LISTENERS, (double)c->listener_count);
    metric_set(METRIC_CONFIG_REQUESTS, (double)c->pending_ops.op_count);
    add_sealed(sums, out);
}
