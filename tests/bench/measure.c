/* SPDX-License-Identifier: Apache-2.0
 * Time, CPU and memory of processes, and histograms; see measure.h. */
#include "tests/bench/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static uint64_t ns_of(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec;
}

uint64_t measure_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ns_of(&t);
}

double measure_cpu_s(int pid)
{
    struct timespec t;
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (double)ns_of(&t) / 1e9;
}

size_t measure_resident_kib(int pid)
{
    char path[64], line[256];
    size_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %zu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

_Bool measure_allow_descriptors(size_t wanted)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur >= wanted;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->slowest_ns = ns > h->slowest_ns ? ns : h->slowest_ns;
    unsigned power = ns < 32 ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 4;
    h->buckets[power * 32 + ((ns >> (power ? power - 1 : 0)) & 31)]++;
}

double histogram_percentile_us(const struct histogram *h, double p)
{
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < MEASURE_BUCKETS; i++)
        total += h->buckets[i];
    for (size_t i = 0; i < MEASURE_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen && (double)seen >= p * (double)total) {
            unsigned power = (unsigned)(i / 32);
            return (double)((i % 32 + (power ? 32 : 0)) << (power ? power - 1 : 0)) / 1000;
        }
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

double measure_median_ms(uint64_t *list_ns, size_t count)
{
    qsort(list_ns, count, sizeof *list_ns, compare);
    return count ? (double)list_ns[count / 2] / 1e6 : 0;
}
