/* SPDX-License-Identifier: Apache-2.0
 * The commands `check perf` and `check datascale`, as of etcdctl: workloads, judgement and texts are its own.
 *
 * Each of the 50 to 1,000 clients is a thread with a connection. The threads share a counter: `check perf` gives
 * the write with the number n its time, n divided by the rate, so that all together keep the rate. */
#include "sdk/ctl/rpc.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "proto/json.h"
#include "sdk/http_client.h"

enum {
    PERF_SECONDS = 60,
    PERF_KEY = 256,
    PERF_VALUE = 1024,
    SCALE_KEY = 512,
    SCALE_VALUE = 512,
    VARINT_MAX = 10,
    THREAD_STACK = 256 << 10,
    CLEANUP_MS = 30000,
};

struct workload {
    const char *name, *alias;
    unsigned rate, keys, clients;
};

static const struct workload workloads[] = {
    {"s", "small", 150, 10000, 50},
    {"m", "medium", 1000, 100000, 200},
    {"l", "large", 8000, 1000000, 500},
    {"xl", "xLarge", 15000, 3000000, 1000},
};

struct check_run {
    struct ctl *c;
    const char *prefix;
    unsigned rate;     /* writes a second; 0 = as fast as possible */
    uint64_t count;    /* writes at most */
    uint64_t begin_ns; /* of the first write */
    size_t key_size, value_size;
    _Atomic uint64_t next; /* number of the next write */
    _Atomic uint64_t done;
    _Atomic bool is_stopped;
    pthread_mutex_t lock;
    float *times; /* in seconds; under lock, as all below */
    size_t time_count, errors;
    char error[200]; /* the last one */
};

static const struct workload *find_workload(const char *name)
{
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
        if (strcmp(workloads[i].name, name) == 0 || strcmp(workloads[i].alias, name) == 0)
            return &workloads[i];
    }
    return NULL;
}

/* --- one client -------------------------------------------------------------------------------------- */

struct check_client {
    struct check_run *run;
    struct http_client *http;
    pthread_t thread;
    bool has_thread;
};

/* A random number as a varint in front of zeros, as etcdctl's keys are. */
static void draw_key(uint8_t *key, size_t size, size_t prefix_size)
{
    uint64_t value = random_u64() >> 1;
    size_t at = prefix_size;
    memset(key + at, 0, size);
    for (; value >= 0x80 && at < prefix_size + VARINT_MAX; value >>= 7)
        key[at++] = (uint8_t)(value | 0x80);
    key[at] = (uint8_t)value;
}

static void record_write(struct check_run *run, float seconds, const char *error)
{
    pthread_mutex_lock(&run->lock);
    if (error) {
        run->errors++;
        snprintf(run->error, sizeof run->error, "%s", error);
    } else {
        run->times[run->time_count++] = seconds;
    }
    pthread_mutex_unlock(&run->lock);
    atomic_fetch_add(&run->done, 1);
}

/* Sends one put and records its result. */
static void write_one(struct check_client *me, uint8_t *key, size_t key_size, const struct buf *value,
                      struct slice fields)
{
    struct check_run *run = me->run;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    struct buf body = {0}, answer = {0};
    char error[200];
    put.key = (ProtobufCBinaryData){key_size, key};
    put.value = (ProtobufCBinaryData){value->size, value->data};
    message_to_json(&put.base, &body);
    const struct http_request request = {.method = "POST",
                                         .target = slice_text("/v3/kv/put"),
                                         .fields = fields,
                                         .body = buf_slice(&body),
                                         .has_body = true};
    uint64_t from = clock_mono_ns();
    int err = http_client_call(me->http, &request, run->c->command_ms, &answer);
    float seconds = (float)(clock_mono_ns() - from) / 1e9f;
    if (err)
        snprintf(error, sizeof error, "%s", http_client_error(me->http));
    else if (http_client_status(me->http) != 200)
        snprintf(error, sizeof error, "%.*s", (int)(answer.size < 190 ? answer.size : 190),
                 (const char *)answer.data);
    record_write(run, seconds, err || http_client_status(me->http) != 200 ? error : NULL);
    buf_done(&answer);
    buf_done(&body);
}

static void *client_main(void *arg)
{
    struct check_client *me = arg;
    struct check_run *run = me->run;
    size_t prefix_size = strlen(run->prefix), size = prefix_size + run->key_size;
    uint8_t *key = mem_new(size);
    struct buf value = {0}, fields = {0};
    memcpy(key, run->prefix, prefix_size);
    memset(buf_reserve(&value, run->value_size), 0, run->value_size);
    value.size = run->value_size;
    if (run->c->token)
        buf_addf(&fields, "Authorization: %s\r\n", run->c->token);
    while (!atomic_load(&run->is_stopped)) {
        uint64_t n = atomic_fetch_add(&run->next, 1);
        if (n >= run->count)
            break;
        if (run->rate) {
            uint64_t due = run->begin_ns + n * 1000000000 / run->rate, now = clock_mono_ns();
            const struct timespec rest = {due > now ? (time_t)((due - now) / 1000000000) : 0,
                                          due > now ? (long)((due - now) % 1000000000) : 0};
            if (due > now && nanosleep(&rest, NULL) != 0 && atomic_load(&run->is_stopped))
                break;
            if (clock_mono_ns() > run->begin_ns + (uint64_t)PERF_SECONDS * 1000000000)
                break;
        }
        draw_key(key, run->key_size, prefix_size);
        write_one(me, key, size, &value, buf_slice(&fields));
    }
    mem_free(key);
    buf_done(&value);
    buf_done(&fields);
    return NULL;
}

/* --- all clients ------------------------------------------------------------------------------------- */

static void show_progress(const struct check_run *run, uint64_t done, uint64_t all)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%3d %%", (int)(all ? done * 100 / all : 100));
    (void)run;
}

/* Runs the clients until they have ended or the run is stopped; returns the seconds that took. */
static double run_clients(struct check_run *run, unsigned count)
{
    struct ctl *c = run->c;
    struct check_client *clients = mem_new(count * sizeof *clients);
    pthread_attr_t attributes;
    unsigned started = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    run->begin_ns = clock_mono_ns();
    for (unsigned i = 0; i < count; i++) {
        clients[i] = (struct check_client){.run = run};
        clients[i].http = ctl_new_client(c, &c->endpoints[i % c->endpoint_count]);
        clients[i].has_thread =
            pthread_create(&clients[i].thread, &attributes, client_main, &clients[i]) == 0;
        started += clients[i].has_thread;
    }
    pthread_attr_destroy(&attributes);
    if (started < count)
        ctl_note(c, "only %u of %u clients could be started", started, count);
    uint64_t end = run->begin_ns + (uint64_t)PERF_SECONDS * 1000000000;
    while (started && atomic_load(&run->done) < run->count && (!run->rate || clock_mono_ns() < end)) {
        if (ctl_pause(c, 200))
            break;
        show_progress(run, atomic_load(&run->done), run->count);
    }
    atomic_store(&run->is_stopped, true);
    for (unsigned i = 0; i < count; i++) {
        if (clients[i].has_thread)
            pthread_join(clients[i].thread, NULL);
        http_client_free(clients[i].http);
    }
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r     \r");
    mem_free(clients);
    return (double)(clock_mono_ns() - run->begin_ns) / 1e9;
}

/* --- before and after -------------------------------------------------------------------------------- */

/* There must be no key with the prefix: they are deleted afterwards. */
static enum ctl_exit check_is_empty(struct ctl *c, const char *prefix, const char *quote)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true};
    request.key = ctl_bytes(prefix);
    ctl_prefix_range(c, &request.key, &request.range_end);
    request.limit = 1;
    enum ctl_exit how = ctl_rpc(c, &rpc, &r);
    if (!how && r->n_kvs)
        how = ctl_fail(c, CTL_INVALID_INPUT,
                       "prefix \"%s\" has keys. Delete with %setcdctl del --prefix %s%s first", prefix, quote,
                       prefix, quote);
    return how;
}

static enum ctl_exit compact_to(struct ctl *c, int64_t revision)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    Etcdserverpb__CompactionResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/kv/compaction",
                          .request = &request.base,
                          .answer = &etcdserverpb__compaction_response__descriptor,
                          .timeout_ms = CLEANUP_MS};
    request.revision = revision;
    request.physical = true;
    buf_addf(&c->out, "Compacting with revision %" PRId64 "\n", revision);
    enum ctl_exit how = ctl_rpc(c, &rpc, &r);
    if (!how)
        buf_addf(&c->out, "Compacted with revision %" PRId64 "\n", revision);
    return how;
}

static enum ctl_exit defragment_all(struct ctl *c)
{
    Etcdserverpb__DefragmentRequest request = ETCDSERVERPB__DEFRAGMENT_REQUEST__INIT;
    enum ctl_exit how = CTL_DONE;
    for (size_t i = 0; !how && i < c->endpoint_count; i++) {
        Etcdserverpb__DefragmentResponse *r;
        struct ctl_rpc rpc = {.path = "/v3/maintenance/defragment",
                              .request = &request.base,
                              .answer = &etcdserverpb__defragment_response__descriptor,
                              .timeout_ms = CLEANUP_MS};
        buf_addf(&c->out, "Defragmenting \"%s\"\n", c->endpoints[i].text);
        how = ctl_rpc_at(c, i, &rpc, &r);
        if (!how)
            buf_addf(&c->out, "Defragmented \"%s\"\n", c->endpoints[i].text);
    }
    return how;
}

/* Deletes the keys, also after a signal, and does what --auto-compact and --auto-defrag say. */
static enum ctl_exit clean_up(struct ctl *c, const char *prefix)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__DeleteRangeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/kv/deleterange",
                          .request = &request.base,
                          .answer = &etcdserverpb__delete_range_response__descriptor,
                          .timeout_ms = CLEANUP_MS,
                          .is_quiet = true};
    int stop_fd = c->stop_fd;
    bool is_stopped = ctl_is_stopped(c);
    c->stop_fd = is_stopped ? -1 : stop_fd;
    request.key = ctl_bytes(prefix);
    ctl_prefix_range(c, &request.key, &request.range_end);
    enum ctl_exit how = is_stopped ? ctl_use_endpoints(c) : CTL_DONE;
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (how)
        buf_addf(&c->out, "FAIL: Cleanup failed during key deletion: ERROR(%s)\n", rpc.error);
    c->stop_fd = stop_fd;
    if (how || is_stopped)
        return is_stopped ? CTL_INTERRUPTED : how;
    if (ctl_bool(&c->line, "auto-compact"))
        how = compact_to(c, r->header->revision);
    if (!how && ctl_bool(&c->line, "auto-defrag"))
        how = defragment_all(c);
    return how;
}

static bool show_errors(const struct check_run *run)
{
    if (run->errors)
        buf_addf(&run->c->out, "FAIL: too many errors\nFAIL: ERROR(%s) -> %zu\n", run->error, run->errors);
    return run->errors > 0;
}

static enum ctl_exit choose_workload(struct ctl *c, const struct workload **ret)
{
    const char *load = ctl_text(&c->line, "load");
    *ret = find_workload(load);
    return *ret ? CTL_DONE : ctl_fail(c, CTL_BAD_FEATURE, "unknown load option %s", load);
}

/* --- check perf -------------------------------------------------------------------------------------- */

/* The judgement in etcdctl's words. */
static enum ctl_exit judge(struct check_run *run, double seconds)
{
    struct buf *out = &run->c->out;
    double sum = 0, deviation = 0, slowest = 0;
    bool is_fine = !show_errors(run);
    for (size_t i = 0; i < run->time_count; i++) {
        sum += (double)run->times[i];
        slowest = (double)run->times[i] > slowest ? (double)run->times[i] : slowest;
    }
    double count = run->time_count ? (double)run->time_count : 1, average = sum / count;
    for (size_t i = 0; i < run->time_count; i++)
        deviation += ((double)run->times[i] - average) * ((double)run->times[i] - average);
    deviation = sqrt(deviation / count);
    double rate = (double)run->time_count / seconds;
    bool is_fast = rate / run->rate > 0.9;
    buf_addf(out, is_fast ? "PASS: Throughput is %d writes/s\n" : "FAIL: Throughput too low: %d writes/s\n",
             (int)rate + 1);
    buf_addf(out, slowest > 0.5 ? "Slowest request took too long: %fs\n" : "PASS: Slowest request took %fs\n",
             slowest);
    buf_addf(out, deviation > 0.1 ? "Stddev too high: %fs\n" : "PASS: Stddev is %fs\n", deviation);
    is_fine = is_fine && is_fast && slowest <= 0.5 && deviation <= 0.1;
    buf_addf(out, is_fine ? "PASS\n" : "FAIL\n");
    return is_fine ? CTL_DONE : CTL_ERROR;
}

enum ctl_exit ctl_check_perf(struct ctl *c)
{
    const struct workload *w;
    struct check_run run = {.c = c,
                            .prefix = ctl_text(&c->line, "prefix"),
                            .key_size = PERF_KEY,
                            .value_size = PERF_VALUE,
                            .lock = PTHREAD_MUTEX_INITIALIZER};
    enum ctl_exit how = choose_workload(c, &w);
    if (!how)
        how = check_is_empty(c, run.prefix, "'");
    if (how)
        return how;
    run.rate = w->rate;
    run.count = (uint64_t)w->rate * PERF_SECONDS;
    run.times = mem_new((size_t)run.count * sizeof *run.times);
    double seconds = run_clients(&run, w->clients);
    how = clean_up(c, run.prefix);
    if (!how)
        how = judge(&run, seconds);
    mem_free(run.times);
    return how;
}

/* --- check datascale --------------------------------------------------------------------------------- */

/* The resident memory of the first endpoint; 0 = unknown. */
static double read_memory(struct ctl *c)
{
    static const char name[] = "\nprocess_resident_memory_bytes ";
    struct ctl_call call = {.method = "GET"};
    ctl_path(&call, "/metrics");
    c->at = 0;
    c->is_pinned = true;
    int err = ctl_send(c, &call);
    c->is_pinned = false;
    buf_add_byte(&call.answer, 0);
    const char *at = err ? NULL : strstr((const char *)call.answer.data, name);
    double bytes = at ? strtod(at + sizeof name - 1, NULL) : 0;
    if (err)
        buf_addf(&c->out, "fetch error: %s\n", c->why);
    else if (!at)
        buf_add_text(&c->out, "could not find: process_resident_memory_bytes\n");
    ctl_call_done(&call);
    return bytes;
}

static enum ctl_exit measure(struct check_run *run, const struct workload *w)
{
    struct ctl *c = run->c;
    double before = read_memory(c);
    if (before <= 0) {
        buf_add_text(&c->out,
                     "FAIL: Could not read process_resident_memory_bytes before the put operations.\n");
        return CTL_ERROR;
    }
    buf_addf(
        &c->out,
        "Start data scale check for work load [%u key-value pairs, %d bytes per key-value, %u concurrent "
        "clients].\n",
        w->keys, SCALE_KEY + SCALE_VALUE, w->clients);
    (void)ctl_flush(c);
    (void)run_clients(run, w->clients);
    double after = ctl_is_stopped(c) ? 1 : read_memory(c);
    enum ctl_exit how = clean_up(c, run->prefix);
    if (how)
        return how;
    if (after <= 0)
        buf_add_text(&c->out,
                     "FAIL: Could not read process_resident_memory_bytes after the put operations.\n");
    if (after <= 0 || show_errors(run))
        return CTL_ERROR;
    buf_addf(&c->out, "PASS: Approximate system memory used : %.2f MB.\n", (after - before) / (1024 * 1024));
    return CTL_DONE;
}

enum ctl_exit ctl_check_datascale(struct ctl *c)
{
    const struct workload *w;
    struct check_run run = {.c = c,
                            .prefix = ctl_text(&c->line, "prefix"),
                            .key_size = SCALE_KEY,
                            .value_size = SCALE_VALUE,
                            .lock = PTHREAD_MUTEX_INITIALIZER};
    enum ctl_exit how = choose_workload(c, &w);
    if (!how)
        how = check_is_empty(c, run.prefix, "");
    if (how)
        return how;
    run.count = w->keys;
    run.times = mem_new((size_t)run.count * sizeof *run.times);
    how = measure(&run, w);
    mem_free(run.times);
    return how;
}
