/* SPDX-License-Identifier: Apache-2.0
 * Clocks and randomness from clock_gettime and getrandom. Neither fails on a supported kernel; the process
 * ends if one does. */
#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>
#include <time.h>

static uint64_t clock_read_ns(clockid_t id)
{
    struct timespec t;
    int rc = clock_gettime(id, &t);
    assert(rc == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_coarse_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000u;
}

uint64_t clock_wall_ns(void)
{
    return clock_read_ns(CLOCK_REALTIME);
}

void random_bytes(void *data, size_t size)
{
    char *p = data;
    while (size > 0) {
        ssize_t n = getrandom(p, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        assert(n > 0);
        p += n;
        size -= (size_t)n;
    }
}

uint64_t random_u64(void)
{
    uint64_t v;
    random_bytes(&v, sizeof v);
    return v;
}
