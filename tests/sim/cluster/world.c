/* SPDX-License-Identifier: Apache-2.0
 * The loop of a simulated world, its notes, violations and draws. */
#include "tests/sim/cluster/world.h"

#include <inttypes.h>
#include <stdio.h>

#include "tests/sim/cluster/cluster.h"
#include "tests/sim/cluster/workload.h"

void world_print(struct world *w, const char *format, ...)
{
    va_list args;
    uint64_t us = w->clock.now_ns / 1000;
    printf("%4" PRIu64 ".%06" PRIu64 "  ", us / 1000000, us % 1000000);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

void world_violated(struct world *w, const char *rule, const char *format, ...)
{
    if (w->is_violated)
        return;
    va_list args;
    va_start(args, format);
    w->is_violated = true;
    snprintf(w->rule, sizeof w->rule, "%s", rule);
    buf_addf(&w->violation, "at %" PRIu64 " ms: %s: ", world_now_ms(w), rule);
    buf_addv(&w->violation, format, args);
    va_end(args);
    if (w->options.is_verbose) {
        cluster_print(w);
        workload_print(w->workload);
        world_print(w, "VIOLATION %s", buf_text(&w->violation));
    }
}

uint64_t world_draw(uint64_t *random, uint64_t from, uint64_t to)
{
    return to <= from ? from : from + sim_random(random) % (to - from + 1);
}

bool world_chance(uint64_t *random, uint64_t ppm)
{
    return ppm && sim_random(random) % 1000000 < ppm;
}

/* Half of the draws are below the half-life, half of the rest below two half-lives, and so on. There is no
 * logarithm, so the result is the same on every machine. */
uint64_t world_exponential(uint64_t *random, uint64_t mean)
{
    uint64_t half_life = mean * 693 / 1000, bits = sim_random(random);
    unsigned halvings = 0;
    for (; halvings < 22 && bits & 1; bits >>= 1)
        halvings++;
    return halvings * half_life + (half_life ? sim_random(random) % half_life : 0);
}

void world_run_until(struct world *w, uint64_t until_ns)
{
    while (!w->is_violated) {
        const struct heap_node *next = heap_first(&w->clock.events);
        if (!next || next->key > until_ns)
            break;
        (void)sim_clock_step(&w->clock);
        w->events++;
        cluster_reap(w);
    }
    if (!w->is_violated && w->clock.now_ns < until_ns)
        w->clock.now_ns = until_ns;
}
