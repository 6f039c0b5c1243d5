/* SPDX-License-Identifier: Apache-2.0
 * Values, histograms and printing of the metrics. The values are one array indexed by enum metric. The
 * histograms are a second array with its own enum. Each bucket counts its own range; printing adds them. */
#include "base/metric.h"

#include <assert.h>

#include "base/mem.h"
#include "base/metric_family.h"
#include "base/text.h"

enum histogram_index {
#define COUNTER(id, name, help)
#define GAUGE(id, name, help)
#define HISTOGRAM(id, name, help, first, factor, count) HISTOGRAM_##id,
#include "base/metric.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    HISTOGRAM_COUNT
};

struct metric_row {
    const char *name, *help, *type;
    int histogram; /* -1 for counters and gauges */
    double first, factor;
    unsigned count;
};

static const struct metric_row rows[METRIC_COUNT] = {
#define COUNTER(id, name, help) {name, help, "counter", -1, 0, 0, 0},
#define GAUGE(id, name, help)   {name, help, "gauge", -1, 0, 0, 0},
#define HISTOGRAM(id, name, help, first, factor, count)                                                      \
    {name, help, "histogram", HISTOGRAM_##id, first, factor, count},
#include "base/metric.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

#define COUNTER(id, name, help)
#define GAUGE(id, name, help)
#define HISTOGRAM(id, name, help, first, factor, count)                                                      \
    _Static_assert((count) <= sizeof(((struct histogram *)0)->buckets) / sizeof(uint64_t),                   \
                   "too many buckets");
#include "base/metric.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM

double metric_values[METRIC_COUNT];
static struct histogram histograms[HISTOGRAM_COUNT];

struct collector {
    void (*collect)(void *arg, struct buf *out);
    void *arg;
};
static struct collector *collectors;
static size_t collector_count;

void histogram_observe(struct histogram *h, double first, double factor, unsigned count, double value)
{
    double bound = first;
    unsigned i = 0;
    for (; i < count && value > bound; i++)
        bound *= factor;
    if (i < count)
        h->buckets[i]++;
    h->sum += value;
    h->total++;
}

void metric_observe(enum metric m, double value)
{
    metric_observe_many(m, value, 1);
}

void metric_observe_many(enum metric m, double value, uint64_t n)
{
    const struct metric_row *row = &rows[m];
    assert(row->histogram >= 0);
    struct histogram *h = &histograms[row->histogram];
    struct histogram one = {0};
    histogram_observe(&one, row->first, row->factor, row->count, value);
    for (unsigned i = 0; i < row->count; i++)
        h->buckets[i] += one.buckets[i] * n;
    h->sum += value * (double)n;
    h->total += n;
}

void metric_collector_add(void (*collect)(void *arg, struct buf *out), void *arg)
{
    collectors = mem_resize(collectors, (collector_count + 1) * sizeof *collectors);
    collectors[collector_count++] = (struct collector){collect, arg};
}

void metric_collector_remove(void (*collect)(void *arg, struct buf *out), void *arg)
{
    size_t kept = 0;
    for (size_t i = 0; i < collector_count; i++)
        if (collectors[i].collect != collect || collectors[i].arg != arg)
            collectors[kept++] = collectors[i];
    collector_count = kept;
    if (kept == 0) {
        mem_free(collectors);
        collectors = NULL;
    }
}

void metric_print_head(struct buf *out, const char *name, const char *type, const char *help)
{
    const char *const pieces[] = {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        buf_add_text(out, pieces[i]);
}

void metric_print_value(struct buf *out, const char *name, double value)
{
    buf_add_text(out, name);
    buf_add_byte(out, ' ');
    text_add_double(out, value);
    buf_add_byte(out, '\n');
}

void metric_print_histogram(struct buf *out, const char *name, const char *labels, const struct histogram *h,
                            double first, double factor, unsigned count)
{
    bool has_labels = labels && *labels;
    uint64_t below = 0;
    double bound = first;
    for (unsigned i = 0; i < count; i++, bound *= factor) {
        below += h->buckets[i];
        buf_add_text(out, name);
        buf_add_text(out, "_bucket{");
        if (has_labels) {
            buf_add_text(out, labels);
            buf_add_byte(out, ',');
        }
        buf_add_text(out, "le=\"");
        text_add_double(out, bound);
        buf_add_text(out, "\"} ");
        text_add_u64(out, below);
        buf_add_byte(out, '\n');
    }
    buf_addf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, has_labels ? labels : "", has_labels ? "," : "",
             (unsigned long long)h->total);
    const char *open = has_labels ? "{" : "", *close = has_labels ? "}" : "";
    if (!labels)
        labels = "";
    buf_addf(out, "%s_sum%s%s%s ", name, open, labels, close);
    text_add_double(out, h->sum);
    buf_addf(out, "\n%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)h->total);
}

/* Calls the collectors first, because they set gauges that the table then prints. */
void metric_print(struct buf *out)
{
    for (size_t i = 0; i < collector_count; i++)
        collectors[i].collect(collectors[i].arg, out);
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &rows[i];
        metric_print_head(out, row->name, row->type, row->help);
        if (row->histogram < 0)
            metric_print_value(out, row->name, metric_values[i]);
        else
            metric_print_histogram(out, row->name, NULL, &histograms[row->histogram], row->first, row->factor,
                                   row->count);
    }
    metric_family_print(out);
    metric_print_process(out);
}
