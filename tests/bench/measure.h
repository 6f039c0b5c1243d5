/* SPDX-License-Identifier: Apache-2.0
 * Measurement for the load programs: time, another process's CPU and memory, distributions. */
#ifndef TESTS_BENCH_MEASURE_H
#define TESTS_BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>

#define MEASURE_BUCKETS (64 * 32)

uint64_t measure_now_ns(void);
/* CPU of a process, all of its threads; 0 when there is none. Precise: the scheduler's clock, not its ticks.
 */
double measure_cpu_s(int pid);
size_t measure_resident_kib(int pid); /* 0 when there is none */
/* Raises the limit of open files as far as allowed; false: it is lower than wanted. */
_Bool measure_allow_descriptors(size_t wanted);

/* A zeroed histogram is empty. 32 buckets in each power of two of nanoseconds: about 3 % wide. */
struct histogram {
    uint64_t buckets[MEASURE_BUCKETS], slowest_ns;
};
void histogram_add(struct histogram *h, uint64_t ns);
double histogram_percentile_us(const struct histogram *h, double p);

/* Sorts the list. */
double measure_median_ms(uint64_t *list_ns, size_t count);

#endif
