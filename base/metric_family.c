/* SPDX-License-Identifier: Apache-2.0
 * Series of the families, one list for each family in the order in which they came. The lists are short: labels
 * are kinds of operations, members and reasons, never texts of clients. */
#include "base/metric_family.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct metric_series {
    enum metric_family family;
    struct metric_series *next;
    char *labels;
    double value;
    struct histogram histogram;
};

struct family_row {
    const char *name, *type, *help;
    double first, factor;
    unsigned count;
};

static const struct family_row rows[FAMILY_COUNT] = {
#define FAMILY(id, name, type, labels, help, first, factor, count) {name, type, help, first, factor, count},
#include "base/metric_family.def"
#undef FAMILY
};
static struct metric_series *first_series[FAMILY_COUNT];

struct metric_series *metric_series_get(enum metric_family f, const char *labels)
{
    struct metric_series **at = &first_series[f];
    for (; *at; at = &(*at)->next)
        if (strcmp((*at)->labels, labels) == 0)
            return *at;
    struct metric_series *s = mem_new(sizeof *s);
    s->family = f;
    s->labels = mem_string(labels);
    *at = s;
    return s;
}

struct metric_series *metric_series_of_member(enum metric_family f, const char *label, uint64_t member)
{
    char labels[64];
    snprintf(labels, sizeof labels, "%s=\"%" PRIx64 "\"", label, member);
    return metric_series_get(f, labels);
}

void metric_series_add(struct metric_series *s, double n)
{
    s->value += n;
}

void metric_series_set(struct metric_series *s, double value)
{
    s->value = value;
}

void metric_series_observe(struct metric_series *s, double value, uint64_t n)
{
    const struct family_row *row = &rows[s->family];
    double bound = row->first;
    unsigned i = 0;
    for (; i < row->count && value > bound; i++)
        bound *= row->factor;
    if (i < row->count)
        s->histogram.buckets[i] += n;
    s->histogram.sum += value * (double)n;
    s->histogram.total += n;
}

void metric_family_print(struct buf *out)
{
    char name[256];
    for (size_t f = 0; f < FAMILY_COUNT; f++) {
        const struct family_row *row = &rows[f];
        metric_print_head(out, row->name, row->type, row->help);
        for (const struct metric_series *s = first_series[f]; s; s = s->next) {
            if (row->count) {
                metric_print_histogram(out, row->name, s->labels, &s->histogram, row->first, row->factor,
                                       row->count);
                continue;
            }
            snprintf(name, sizeof name, "%s{%s}", row->name, s->labels);
            metric_print_value(out, name, s->value);
        }
    }
}

void metric_family_clear(enum metric_family f)
{
    struct metric_series *next;
    for (struct metric_series *s = first_series[f]; s; s = next) {
        next = s->next;
        mem_free(s->labels);
        mem_free(s);
    }
    first_series[f] = NULL;
}
