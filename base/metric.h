/* SPDX-License-Identifier: Apache-2.0
 * Metrics: counters, gauges and histograms with Prometheus text output. metric.def has the list. Metrics
 * with labels are printed by collectors that their owners add. Loop thread only: workers return numbers by
 * value. */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include "base/buf.h"

enum metric {
#define COUNTER(id, name, help)                         id,
#define GAUGE(id, name, help)                           id,
#define HISTOGRAM(id, name, help, first, factor, count) id,
#include "base/metric.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    METRIC_COUNT
};

/* A histogram. The bounds of its buckets grow by `factor` from `first`; both have the metric's unit (mostly
 * seconds). */
struct histogram {
    double sum;
    uint64_t total;
    uint64_t buckets[24];
};

extern double metric_values[METRIC_COUNT];

static inline void metric_add(enum metric m, double n)
{
    metric_values[m] += n;
}
static inline void metric_set(enum metric m, double value)
{
    metric_values[m] = value;
}
static inline double metric_get(enum metric m)
{
    return metric_values[m];
}
void metric_observe(enum metric m, double value);                  /* a HISTOGRAM */
void metric_observe_many(enum metric m, double value, uint64_t n); /* n equal observations at once */

/* Adds a collector. Each print calls the collectors in this order. A collector sets gauges that are cheap
 * to compute and prints metrics with labels. */
void metric_collector_add(void (*collect)(void *arg, struct buf *out), void *arg);
void metric_collector_remove(void (*collect)(void *arg, struct buf *out), void *arg);
void metric_print(struct buf *out); /* text format 0.0.4, HELP and TYPE included */

/* For collectors: prints "# HELP" and "# TYPE" lines, and histograms with labels such as `To="1"`. */
void metric_print_head(struct buf *out, const char *name, const char *type, const char *help);
void metric_print_value(struct buf *out, const char *name, double value); /* name may carry {labels} */
void metric_print_histogram(struct buf *out, const char *name, const char *labels, const struct histogram *h,
                            double first, double factor, unsigned count);
void histogram_observe(struct histogram *h, double first, double factor, unsigned count, double value);

/* Part of metric_print: process_* as in Prometheus' own clients and etcd's os_fd_*, from /proc. */
void metric_print_process(struct buf *out);

#endif
