/* SPDX-License-Identifier: Apache-2.0
 * Metrics with labels: families of series (metric_family.def). A series is there from its first use on, as in
 * Prometheus' own libraries; a family without series has its HELP and TYPE alone. Loop thread only. */
#ifndef BASE_METRIC_FAMILY_H
#define BASE_METRIC_FAMILY_H

#include "base/metric.h"

enum metric_family {
#define FAMILY(id, name, type, labels, help, first, factor, count) id,
#include "base/metric_family.def"
#undef FAMILY
    FAMILY_COUNT
};

struct metric_series;

/* The series with these labels, such as `op="Put",success="true"`. It is valid until the process ends: code
 * that counts often keeps the pointer. */
struct metric_series *metric_series_get(enum metric_family f, const char *labels);
void metric_series_add(struct metric_series *s, double n); /* a counter or a gauge */
void metric_series_set(struct metric_series *s, double value);
void metric_series_observe(struct metric_series *s, double value, uint64_t n); /* n equal observations */

/* The same for a series with one label, which is a member's id in hexadecimal digits. */
struct metric_series *metric_series_of_member(enum metric_family f, const char *label, uint64_t member);

/* Part of metric_print. */
void metric_family_print(struct buf *out);
/* Forgets all series of the family: a collector sets them anew. Pointers to them end. */
void metric_family_clear(enum metric_family f);

#endif
