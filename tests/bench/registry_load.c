/* SPDX-License-Identifier: Apache-2.0
 * Cost of the registry below its front ends: one member without fsync, 100,000 instances in 10,000 services
 * under 2,000 sessions, 256 pending requests. CPU per request varies least. NO_EVENTS=1: without events. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/unit/registry_node.h"

enum { INSTANCES = 100000, SERVICES = 10000, SESSIONS = 2000, AT_ONCE = 256, CALLS = 200000 };

struct load {
    struct registry_node node;
    struct registry_request requests[AT_ONCE];
    int64_t sessions[SESSIONS];
    void (*ask)(struct load *l, struct registry_request *q, size_t n);
    size_t next, done, failed, count;
};

static struct load load;

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void on_done(struct registry_request *q, int err, const struct registry_result *result)
{
    (void)result;
    load.done++;
    load.failed += err != OK;
    if (load.next < load.count)
        load.ask(&load, q, load.next++);
}

static void ask_register(struct load *l, struct registry_request *q, size_t n)
{
    char service[32], id[64], text[512], error[200];
    struct arena a = {0};
    struct instance doc;
    snprintf(service, sizeof service, "service-%05zu", n % SERVICES);
    snprintf(id, sizeof id, "10.%zu.%zu.%zu:8080", n >> 16, (n >> 8) & 255, n & 255);
    snprintf(
        text, sizeof text,
        "{\"host\":\"10.%zu.%zu.%zu\",\"port\":8080,\"zone\":\"zone-%zu\",\"version\":\"1.2.%zu\",\"tags\":"
        "[\"http\",\"v2\"],\"metadata\":{\"owner\":\"team-%zu\",\"commit\":\"0123456789abcdef\","
        "\"k8s.pod\":\"pod-%zu\"}}",
        n >> 16, (n >> 8) & 255, n & 255, n % 3, n % 10, n % 40, n);
    if (instance_read(slice_text(text), DOCUMENT_STRICT, &a, &doc, error, sizeof error) != OK)
        abort();
    struct registry_key key = registry_key_of(service, id);
    registry_register(l->node.registry, q, &key, &doc, l->sessions[n % SESSIONS]);
    arena_done(&a);
}

static void ask_heartbeat(struct load *l, struct registry_request *q, size_t n)
{
    registry_session_heartbeat(l->node.registry, q, l->sessions[n % SESSIONS]);
}

static void ask_barrier(struct load *l, struct registry_request *q, size_t n)
{
    (void)n;
    registry_barrier(l->node.registry, q);
}

static void run(const char *what, size_t count,
                void (*ask)(struct load *l, struct registry_request *q, size_t n))
{
    double cpu = cpu_s();
    uint64_t since = clock_mono_ms();
    load.ask = ask;
    load.count = count;
    load.next = load.done = load.failed = 0;
    while (load.next < AT_ONCE) {
        load.requests[load.next].done = on_done;
        ask(&load, &load.requests[load.next], load.next);
        load.next++;
    }
    while (load.done < count)
        uv_run(&load.node.node.loop, UV_RUN_ONCE);
    double s = (double)(clock_mono_ms() - since + 1) / 1000;
    printf("%-22s %8.0f/s, %6.2f us CPU each, %zu failed\n", what, (double)count / s,
           (cpu_s() - cpu) / (double)count * 1e6, load.failed);
}

static bool is_ready(void *arg)
{
    (void)arg;
    return registry_is_ready(load.node.registry);
}

int main(void)
{
    struct rusage u;
    log_set_level(LOG_FATAL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct registry_options options = {.has_events = !getenv("NO_EVENTS")};
    registry_node_open(&load.node, &options);
    for (int i = 0; i < SESSIONS; i++)
        load.sessions[i] = registry_node_session(&load.node, 600);
    run("register", INSTANCES, ask_register);
    run("the same again", INSTANCES, ask_register);
    run("heartbeat", CALLS, ask_heartbeat);
    run("barrier", CALLS, ask_barrier);
    struct registry_options o = {
        .kv = load.node.node.kv, .member = "default", .has_events = options.has_events};
    uint64_t since = clock_mono_ms(), longest = 0;
    registry_free(load.node.registry);
    load.node.registry = registry_new(&o);
    while (!is_ready(NULL)) {
        uint64_t turn = clock_mono_ms();
        uv_run(&load.node.node.loop, UV_RUN_NOWAIT);
        turn = clock_mono_ms() - turn;
        longest = turn > longest ? turn : longest;
    }
    getrusage(RUSAGE_SELF, &u);
    printf("%-22s %llu ms, longest turn %llu ms\n%-22s %ld MiB at most, the store's own included\n",
           "read anew", (unsigned long long)(clock_mono_ms() - since), (unsigned long long)longest, "memory",
           u.ru_maxrss / 1024);
    registry_node_close(&load.node);
    return 0;
}
