/* SPDX-License-Identifier: Apache-2.0
 * Status pages /version, /metrics and /debug/vars, and the table of routes with all handlers. */
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/json.h"
#include "base/metric.h"
#include "server/http/conn.h"

/* --- /version ---------------------------------------------------------------------------------------- */

static void version_end(struct http_request *q)
{
    const struct http_options *o = &q->server->options;
    struct json_writer w = {.out = &q->body};
    struct arena arena = {0};
    const char *cluster = o->cluster_version ? o->cluster_version(o->cluster_version_arg, &arena) : NULL;
    buf_clear(&q->body);
    jw_open(&w, '{');
    jw_key(&w, "etcdserver");
    jw_text(&w, o->server_version);
    jw_key(&w, "etcdcluster");
    jw_text(&w, cluster ? cluster : "not_decided");
    jw_key(&w, "storage"); /* etcd's storage version follows its cluster version */
    jw_text(&w, cluster ? cluster : "unknown");
    jw_close(&w, '}');
    arena_done(&arena);
    http_respond(q, 200, "application/json", buf_slice(&q->body));
}

/* --- /metrics ---------------------------------------------------------------------------------------- */

static void metrics_end(struct http_request *q)
{
    buf_clear(&q->body);
    metric_print(&q->body);
    http_respond(q, 200, "text/plain; version=0.0.4; charset=utf-8", buf_slice(&q->body));
}

/* --- /debug/vars: Go's expvar, as far as it has a meaning here --------------------------------------- */

static void add_command_line(struct json_writer *w)
{
    char text[4096];
    FILE *f = fopen("/proc/self/cmdline", "r");
    size_t size = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[size] = 0;
    jw_open(w, '[');
    for (size_t at = 0; at < size; at += strlen(text + at) + 1)
        jw_text(w, text + at);
    jw_close(w, ']');
}

static uint64_t resident_bytes(void)
{
    unsigned long long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void debug_vars_end(struct http_request *q)
{
    struct json_writer w = {.out = &q->body};
    struct mallinfo2 heap = mallinfo2();
    buf_clear(&q->body);
    jw_open(&w, '{');
    jw_key(&w, "cmdline");
    add_command_line(&w);
    jw_key(&w, "memstats");
    jw_open(&w, '{');
    jw_key(&w, "Alloc");
    jw_uint(&w, heap.uordblks + heap.hblkhd);
    jw_key(&w, "Sys");
    jw_uint(&w, resident_bytes());
    jw_key(&w, "HeapSys");
    jw_uint(&w, heap.arena + heap.hblkhd);
    jw_close(&w, '}');
    jw_close(&w, '}');
    http_respond(q, 200, "application/json; charset=utf-8", buf_slice(&q->body));
}

/* --- pages of Go's runtime: 404 that says where the same is found ------------------------------------ */

static void debug_pprof_end(struct http_request *q)
{
    http_respond_error(
        q, 404,
        "there is no /debug/pprof: it is of Go's runtime, and this server is not written in Go. "
        "Use perf for profiles of its processor time, /debug/vars for its memory");
}

static void debug_requests_end(struct http_request *q)
{
    http_respond_error(q, 404,
                       "there is no /debug/requests: it is of Go's gRPC library, and this server is not "
                       "written in Go. Read /metrics; --warning-unary-request-duration logs slow "
                       "calls");
}

static const struct http_handler http_handler_debug_pprof = {.end = debug_pprof_end};
static const struct http_handler http_handler_debug_requests = {.end = debug_requests_end};
static const struct http_handler http_handler_version = {.end = version_end};
static const struct http_handler http_handler_metrics = {.end = metrics_end, .work = TURN_METRICS};
static const struct http_handler http_handler_debug_vars = {.end = debug_vars_end};

extern const struct http_handler http_handler_gateway;
extern const struct http_handler http_handler_health;
extern const struct http_handler http_handler_livez;
extern const struct http_handler http_handler_readyz;

const struct route http_routes[] = {
#define ROUTE(methods, path, handler, flags, need) {methods, path, &http_handler_##handler, flags, NULL},
#include "server/http/routes.def"
#undef ROUTE
};
const size_t http_route_count = sizeof http_routes / sizeof *http_routes;
