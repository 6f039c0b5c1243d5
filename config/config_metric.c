/* SPDX-License-Identifier: Apache-2.0
 * Gauges of the config center, read from the view's sums when metrics are collected. Counters are updated
 * where the events happen. */
#include "config/config_private.h"

void config_metric_collect(void *arg, struct buf *out)
{
    const struct config *c = arg;
    struct heads_sums sums = heads_sums(c->heads);
    const struct task_sums tasks = task_queue_sums(c->tasks);
    (void)out;
    metric_set(METRIC_CONFIG_CHECKS, (double)tasks.count);
    metric_set(METRIC_CONFIG_CHECK_BYTES, (double)tasks.bytes);
    metric_set(METRIC_CONFIG_READY, config_is_ready(c));
    metric_set(METRIC_CONFIG_REVISION, (double)config_revision(c));
    metric_set(METRIC_CONFIG_ITEMS, (double)sums.live);
    metric_set(METRIC_CONFIG_BYTES, (double)sums.bytes);
    metric_set(METRIC_CONFIG_DELETED, (double)sums.deleted);
    metric_set(METRIC_CONFIG_UNREADABLE, (double)sums.unreadable);
    metric_set(METRIC_CONFIG_LISTENERS, (double)c->listener_count);
    metric_set(METRIC_CONFIG_REQUESTS, (double)c->pending_ops.op_count);
}
