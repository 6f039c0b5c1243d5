/* SPDX-License-Identifier: Apache-2.0
 * Gauges of the registry, read from the sums of the catalog at each scrape. */
#include <stdio.h>

#include "base/metric.h"
#include "registry/registry_private.h"

void registry_metric_collect(void *arg, struct buf *out)
{
    const struct registry *r = arg;
    const struct catalog_namespace *all = catalog_all(r->catalog);
    metric_set(METRIC_REGISTRY_READY, registry_is_ready(r));
    metric_set(METRIC_REGISTRY_REVISION, (double)registry_revision(r));
    metric_set(METRIC_REGISTRY_SERVICES, (double)all->services);
    metric_set(METRIC_REGISTRY_SESSIONS, (double)catalog_session_count(r->catalog));
    metric_set(METRIC_REGISTRY_OVERRIDES, (double)all->overrides);
    metric_set(METRIC_REGISTRY_UNREADABLE, (double)catalog_unreadable(r->catalog));
    metric_set(METRIC_REGISTRY_SUBSCRIBERS, (double)r->subscriber_count);
    metric_set(METRIC_REGISTRY_REQUESTS, (double)r->pending_ops.op_count);
    checks_metric_collect(r->checks);
    events_metric_collect(r->events);
    metric_print_head(out, "cairn_registry_instances", "gauge",
                      "Instances in all namespaces, by their state with the operator overrides applied.");
    for (int state = 0; state < INSTANCE_STATES; state++) {
        char name[64];
        snprintf(name, sizeof name, "cairn_registry_instances{state=\"%s\"}",
                 instance_state_name((enum instance_state)state));
        metric_print_value(out, name, (double)all->by_state[state]);
    }
    janitor_metric_collect(r->janitor, out);
}
