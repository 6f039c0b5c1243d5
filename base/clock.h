/* SPDX-License-Identifier: Apache-2.0
 * Real clocks and the real random source. consensus/ never calls these: it gets time and randomness through
 * consensus/io.h, so that the simulator can supply its own. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ns(void);
uint64_t clock_coarse_ns(void); /* the same clock, some milliseconds late, at a quarter of the cost */
uint64_t clock_mono_ms(void);
uint64_t clock_wall_ns(void);               /* since 1970, UTC */
void random_bytes(void *data, size_t size); /* getrandom */
uint64_t random_u64(void);

#endif
