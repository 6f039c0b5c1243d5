/* SPDX-License-Identifier: Apache-2.0
 * The I/O interface (consensus/io.h) on virtual time over a simulated disk. One sim_clock is the time of a
 * whole simulated world; one sim_io is one process in it. Things happen only in sim_clock_step. A job runs
 * some time after it was submitted, and its done callback runs some time after that, so that a power cut can
 * fall between. */
#ifndef TESTS_SIM_SIM_IO_H
#define TESTS_SIM_SIM_IO_H

#include "base/heap.h"
#include "consensus/io.h"
#include "tests/sim/disk.h"

/* A scheduled event. */
struct sim_event {
    struct heap_node node; /* key: virtual nanoseconds */
    void (*fire)(struct sim_event *event);
};

struct sim_clock {
    uint64_t now_ns;
    struct heap events;
};

void sim_clock_add(struct sim_clock *c, struct sim_event *event, uint64_t after_ns);
void sim_clock_remove(struct sim_clock *c, struct sim_event *event); /* no-op if it is not in it */
bool sim_clock_step(struct sim_clock *c); /* the next event; false: there is none */
void sim_clock_run(struct sim_clock *c);  /* until there are no events */
void sim_clock_done(struct sim_clock *c);

/* Draws the same numbers for the same seed, everywhere. */
uint64_t sim_random(uint64_t *state);

struct sim_io_options {
    struct sim_disk *disk; /* outlives the process */
    struct sim_clock *clock;
    uint64_t seed;
    uint64_t job_min_ns, job_max_ns; /* how long a job takes; both 0 = no time */
    int64_t wall_offset_ns;          /* of this machine's wall clock */
    uint64_t mono_offset_ns;         /* of its monotonic clock */
    int32_t rate_ppm;                /* how much faster than the world's its clocks run */
    void (*before_event)(void *arg); /* before a timer fires or a job ends; may be NULL, as on_event */
    void (*on_event)(void *arg);     /* a timer has fired or a job has ended: the process has work to do */
    void *arg;
};

struct io *sim_io_new(const struct sim_io_options *options);
/* kill -9: from now on every operation fails and changes nothing, locks are released, timers are removed.
 * Jobs still run and fail, so that their owners can be closed in the usual way. */
void sim_io_kill(struct io *io);
/* SIGSTOP until then: timers and jobs wait, the clocks continue. */
void sim_io_pause(struct io *io, uint64_t until_ns);
uint64_t sim_io_paused_until(const struct io *io); /* 0 = it runs */
void sim_io_set_job_time(struct io *io, uint64_t min_ns, uint64_t max_ns);
void sim_io_step_wall(struct io *io, int64_t by_ns);
bool sim_io_is_idle(const struct io *io); /* no job is under way */
size_t sim_io_timer_count(const struct io *io);
size_t sim_io_file_count(const struct io *io);
/* No job may be under way: run the clock first. */
void sim_io_free(struct io *io);

#endif
