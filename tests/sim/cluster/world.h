/* SPDX-License-Identifier: Apache-2.0
 * One simulated world: its clock, its machines, its network, its clients, and its violations. It holds all
 * state of a run. The only global is the process that runs now, because the hooks need it.
 *
 * Determinism: one of the world's generators draws every decision, every event is on the clock, and a hash
 * covers every event (world_mark). Two runs of a seed must end with the same hash. */
#ifndef TESTS_SIM_CLUSTER_WORLD_H
#define TESTS_SIM_CLUSTER_WORLD_H

#include "tests/sim/cluster/plan.h"
#include "tests/sim/sim_io.h"

enum { MACHINES_MAX = 12 };

struct machine;
struct network;
struct workload;
struct faults;
struct orchestrator;
struct invariants;

/* Options of a run, beside the plan. */
struct world_options {
    bool is_verbose, shows_raft;
    const char *mutant;   /* for the line that replays; NULL = none */
    const char *settings; /* the --set arguments, likewise */
};

struct world {
    struct plan plan;
    struct world_options options;
    struct sim_clock clock;
    uint64_t network_random, fault_random, load_random, disk_random;
    uint64_t hash, events;

    struct machine *machines[MACHINES_MAX];
    unsigned machine_count;
    struct network *network;
    struct workload *workload;
    struct faults *faults;
    struct orchestrator *orchestrator;
    struct invariants *invariants;

    bool is_untouched; /* no member is outside of the core */
    bool is_violated;
    char rule[48]; /* of the first violation */
    struct buf violation;
};

static inline uint64_t world_now_ms(const struct world *w)
{
    return w->clock.now_ns / 1000000;
}

/* Adds an event to the hash. */
static inline void world_mark(struct world *w, uint64_t a, uint64_t b)
{
    uint64_t h = w->hash ^ a;
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9;
    h ^= b + w->clock.now_ns;
    w->hash = (h ^ h >> 32) * 0x94d049bb133111eb;
}

/* A line of the readable trace; it is made only when the trace is on. */
#define world_note(w, ...)                                                                                   \
    do {                                                                                                     \
        if ((w)->options.is_verbose)                                                                         \
            world_print((w), __VA_ARGS__);                                                                   \
    } while (0)
void world_print(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Reports a violation. The first one ends the run. */
void world_violated(struct world *w, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Random draws; percent and ppm in 0..100 and 0..1,000,000. */
uint64_t world_draw(uint64_t *random, uint64_t from, uint64_t to);
bool world_chance(uint64_t *random, uint64_t ppm);
uint64_t world_exponential(uint64_t *random, uint64_t mean); /* at most 16 means */

/* Runs the clock till then, or until a violation. */
void world_run_until(struct world *w, uint64_t until_ns);

#endif
