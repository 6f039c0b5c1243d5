/* SPDX-License-Identifier: Apache-2.0
 * Metrics of calls, under the names and labels of grpc-prometheus and etcd. They are counted in arrays by
 * method index; the text is made only for /metrics.
 *
 * As in etcd every method of the services that are served has all its series from the start, at zero, so that
 * rate() sees the first error. client_api_version is the client's own text: only a limited number of versions
 * are counted separately. */
#include <string.h>

#include "base/metric.h"
#include "base/text.h"
#include "server/rpc/service.h"

enum { VERSIONS_MAX = 16, VERSION_BYTES_MAX = 24, BUCKETS = 11 };

static const double bucket_bounds[BUCKETS] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
static const char *const bucket_texts[BUCKETS] = {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25",
                                                  "0.5",   "1",    "2.5",   "5",    "10"};
static const char *const code_names[RPC_STATUS_COUNT] = {
    "OK",       "Canceled",        "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",   "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",      "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated",
};

const char *rpc_status_name(int grpc_status)
{
    return grpc_status >= 0 && grpc_status < RPC_STATUS_COUNT ? code_names[grpc_status] : "Unknown";
}

struct method_counts {
    uint64_t started, received, sent;
    uint64_t handled[RPC_STATUS_COUNT];
    uint64_t buckets[BUCKETS], took_count;
    double took_sum;
};

struct version_counts {
    char text[VERSION_BYTES_MAX + 1];
    size_t size;
    uint64_t unary, stream;
};

static struct method_counts counts[RPC_METHODS_MAX];
/* The first stands for no version at all, the last for all versions without a place of their own. */
static struct version_counts versions[VERSIONS_MAX] = {{.text = "unknown", .size = 7}};
static size_t version_count = 1;
static bool is_extensive;

void rpc_count_started(const struct rpc_method *m)
{
    counts[rpc_method_index(m)].started++;
}

void rpc_count_received(const struct rpc_method *m)
{
    counts[rpc_method_index(m)].received++;
}

void rpc_count_sent(const struct rpc_method *m)
{
    counts[rpc_method_index(m)].sent++;
}

void rpc_count_handled(const struct rpc_method *m, int grpc_status, uint64_t took_ns)
{
    struct method_counts *n = &counts[rpc_method_index(m)];
    n->handled[grpc_status >= 0 && grpc_status < RPC_STATUS_COUNT ? grpc_status : 2]++;
    if (!is_extensive)
        return;
    double took = (double)took_ns / 1e9;
    n->took_sum += took;
    n->took_count++;
    for (size_t i = 0; i < BUCKETS; i++) {
        if (took <= bucket_bounds[i]) {
            n->buckets[i]++;
            return;
        }
    }
}

bool rpc_metrics_want_time(void)
{
    return is_extensive;
}

/* The text goes into a label. A client's version is a few digits and dots; any other text counts as
 * "other". */
static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] < ' ' || s.data[i] > '~' || s.data[i] == '"' || s.data[i] == '\\')
            return false;
    return s.size <= VERSION_BYTES_MAX;
}

static struct version_counts *version_find(struct slice text)
{
    if (!text.size)
        return &versions[0];
    for (size_t i = 0; i < version_count; i++)
        if (versions[i].size == text.size && memcmp(versions[i].text, text.data, text.size) == 0)
            return &versions[i];
    if (version_count >= VERSIONS_MAX - 1 || !is_plain(text)) {
        versions[VERSIONS_MAX - 1] = (struct version_counts){
            .text = "other",
            .size = 5,
            .unary = versions[VERSIONS_MAX - 1].unary,
            .stream = versions[VERSIONS_MAX - 1].stream,
        };
        return &versions[VERSIONS_MAX - 1];
    }
    struct version_counts *v = &versions[version_count++];
    memcpy(v->text, text.data, text.size);
    v->size = text.size;
    return v;
}

void rpc_count_request(const struct rpc_method *m, struct slice client_api_version)
{
    struct version_counts *v = version_find(client_api_version);
    if (m->kind == RPC_UNARY)
        v->unary++;
    else
        v->stream++;
}

/* --- text -------------------------------------------------------------------------------------------- */
static const char *kind_name(enum rpc_kind kind)
{
    static const char *const names[] = {"unary", "server_stream", "bidi_stream"};
    return names[kind];
}

/* Thousands of lines: buf_addf would take most of the time of a scrape. */
static void rpc_metrics_add_value(struct buf *out, const char *before, uint64_t value)
{
    buf_add_text(out, before);
    text_add_u64(out, value);
    buf_add_byte(out, '\n');
}

/* grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary" */
static void add_labels(struct buf *out, const struct rpc_method *m)
{
    const char *service = m->path + 1;
    const char *slash = strchr(service, '/');
    buf_add_text(out, "grpc_method=\"");
    buf_add_text(out, slash + 1);
    buf_add_text(out, "\",grpc_service=\"");
    buf_add(out, service, (size_t)(slash - service));
    buf_add_text(out, "\",grpc_type=\"");
    buf_add_text(out, kind_name(m->kind));
    buf_add_byte(out, '"');
}

static void print_family(struct buf *out, const char *name, const char *help, size_t offset)
{
    metric_print_head(out, name, "counter", help);
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++) {
        uint64_t value;
        memcpy(&value, (const char *)&counts[i] + offset, sizeof value);
        buf_add_text(out, name);
        buf_add_byte(out, '{');
        add_labels(out, m);
        rpc_metrics_add_value(out, "} ", value);
    }
}

static void print_handled(struct buf *out)
{
    static const char name[] = "grpc_server_handled_total";
    metric_print_head(out, name, "counter",
                      "Total number of RPCs completed on the server, regardless of success or failure.");
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++) {
        for (size_t code = 0; code < RPC_STATUS_COUNT; code++) {
            buf_add_text(out, name);
            buf_add_text(out, "{grpc_code=\"");
            buf_add_text(out, code_names[code]);
            buf_add_text(out, "\",");
            add_labels(out, m);
            rpc_metrics_add_value(out, "} ", counts[i].handled[code]);
        }
    }
}

static void print_histograms(struct buf *out)
{
    static const char name[] = "grpc_server_handling_seconds";
    metric_print_head(
        out, name, "histogram",
        "Histogram of response latency (seconds) of gRPC that had been application-level handled by "
        "the server.");
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++) {
        uint64_t total = 0;
        for (size_t b = 0; b < BUCKETS; b++) {
            total += counts[i].buckets[b];
            buf_add_text(out, name);
            buf_add_text(out, "_bucket{");
            add_labels(out, m);
            buf_add_text(out, ",le=\"");
            buf_add_text(out, bucket_texts[b]);
            rpc_metrics_add_value(out, "\"} ", total);
        }
        buf_addf(out, "%s_bucket{", name);
        add_labels(out, m);
        buf_addf(out, ",le=\"+Inf\"} %llu\n%s_sum{", (unsigned long long)counts[i].took_count, name);
        add_labels(out, m);
        buf_addf(out, "} %.9g\n%s_count{", counts[i].took_sum, name);
        add_labels(out, m);
        buf_addf(out, "} %llu\n", (unsigned long long)counts[i].took_count);
    }
}

static void print_versions(struct buf *out)
{
    static const char name[] = "etcd_server_client_requests_total";
    metric_print_head(out, name, "counter", "The total number of client requests per client version.");
    for (size_t i = 0; i < VERSIONS_MAX; i++) {
        const struct version_counts *v = &versions[i];
        if (v->unary)
            buf_addf(out, "%s{client_api_version=\"%s\",type=\"unary\"} %llu\n", name, v->text,
                     (unsigned long long)v->unary);
        if (v->stream)
            buf_addf(out, "%s{client_api_version=\"%s\",type=\"stream\"} %llu\n", name, v->text,
                     (unsigned long long)v->stream);
    }
}

static void rpc_metrics_collect(void *arg, struct buf *out)
{
    (void)arg;
    print_family(out, "grpc_server_started_total", "Total number of RPCs started on the server.",
                 offsetof(struct method_counts, started));
    print_handled(out);
    print_family(out, "grpc_server_msg_received_total",
                 "Total number of RPC stream messages received on the server.",
                 offsetof(struct method_counts, received));
    print_family(out, "grpc_server_msg_sent_total",
                 "Total number of gRPC stream messages sent by the server.",
                 offsetof(struct method_counts, sent));
    if (is_extensive)
        print_histograms(out);
    print_versions(out);
}

void rpc_metrics_start(void)
{
    metric_collector_add(rpc_metrics_collect, NULL);
}

void rpc_metrics_extensive(bool is_on)
{
    is_extensive = is_on;
}
