/* SPDX-License-Identifier: Apache-2.0
 * The limits of all clients together: unread output and connections by source, with their metrics. One turn
 * of the loop closes some of the connections that hold too much. */
#include "server/limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "server/options.h"

enum {
    NS_PER_MS = 1000000,
    FILES_KEPT = 64,     /* descriptors for the log, the store and snapshots */
    FILES_MAX = 1 << 20, /* upper bound: some systems allow a billion, and closing all takes very long */
    CONNECTIONS_MAX = 1 << 18,
};

size_t limits_raise_files(void)
{
    struct rlimit limit;
    rlim_t files = 1024;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        rlim_t wanted = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
        if (limit.rlim_cur < wanted) {
            rlim_t before = limit.rlim_cur;
            limit.rlim_cur = wanted;
            if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
                limit.rlim_cur = before;
        }
        files = limit.rlim_cur;
    }
    size_t connections = files > FILES_KEPT * 2 ? (size_t)files - FILES_KEPT : FILES_KEPT;
    return connections < CONNECTIONS_MAX ? connections : CONNECTIONS_MAX;
}

/* A limit below "unlimited" would make an allocation fail later, at any place: so it is refused at the start. Pages
 * are locked when they are used: the store's mapping is much larger than its file. */
int limits_lock_memory(char *error, size_t error_size)
{
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY}, limit = unlimited;
    int failed = setrlimit(RLIMIT_MEMLOCK, &unlimited);
    if (failed && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        snprintf(error, error_size,
                 "--memory-mlock: the limit of locked memory is %llu bytes; it must be unlimited (ulimit -l, "
                 "LimitMEMLOCK=infinity of systemd)",
                 (unsigned long long)limit.rlim_cur);
        return ERR_LIMIT;
    }
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)
        return OK;
    snprintf(error, error_size, "--memory-mlock: the memory cannot be locked: %s", strerror(errno));
    return ERR_LIMIT;
}

static void print_count(struct buf *out, const char *name, const char *reason, uint64_t n)
{
    buf_addf(out, "%s{reason=\"%s\"} %llu\n", name, reason, (unsigned long long)n);
}

static void limits_collect(void *arg, struct buf *out)
{
    const struct limits *l = arg;
    static const char closed[] = "cairn_client_connections_closed_total";
    metric_print_head(out, "cairn_output_queued_bytes", "gauge",
                      "Bytes of answers and streams that clients have not read yet.");
    metric_print_value(out, "cairn_output_queued_bytes", (double)l->output.bytes);
    metric_print_head(out, "cairn_output_queued_member_bytes", "gauge",
                      "Part of these bytes: streams between members, which no limit of clients closes.");
    metric_print_value(out, "cairn_output_queued_member_bytes", (double)l->output.exempt_bytes);
    metric_print_head(out, "cairn_client_connections", "gauge",
                      "Connections of clients, by whether a whole request has come.");
    buf_addf(out, "cairn_client_connections{state=\"opening\"} %zu\n", l->sources.opening);
    buf_addf(out, "cairn_client_connections{state=\"served\"} %zu\n", l->sources.count - l->sources.opening);
    metric_print_head(out, closed, "counter", "Connections closed by a limit.");
    print_count(out, closed, "output_stalled", l->output.closed[OUTPUT_STALLED]);
    print_count(out, closed, "output_total", l->output.closed[OUTPUT_TOTAL]);
    print_count(out, closed, "opening_evicted", l->sources.evicted_opening);
    print_count(out, closed, "served_evicted", l->sources.evicted_served);
}

/* At most half of the connections may be without a complete request; the rest is for clients that are
 * served. */
void limits_open(struct limits *l, const struct options *o, size_t connections_max)
{
    size_t opening =
        o->max_opening && o->max_opening < connections_max / 2 ? (size_t)o->max_opening : connections_max / 2;
    output_budget_init(&l->output, o->max_output_bytes, (uint64_t)o->output_stall_ns / NS_PER_MS);
    sources_init(&l->sources, opening, (size_t)o->max_opening_per_source, connections_max);
    metric_collector_add(limits_collect, l);
}

void limits_close(struct limits *l)
{
    metric_collector_remove(limits_collect, l);
    output_budget_done(&l->output);
    sources_done(&l->sources);
}

bool limits_turn(struct limits *l)
{
    return output_budget_turn(&l->output, clock_mono_ms());
}
