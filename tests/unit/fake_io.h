/* SPDX-License-Identifier: Apache-2.0
 * An io table for unit tests of the store: time stands still until it is moved, jobs wait until they are let
 * run, timers fire when time passes them. No files. */
#ifndef TESTS_UNIT_FAKE_IO_H
#define TESTS_UNIT_FAKE_IO_H

#include "consensus/io.h"

struct fake_io {
    struct io io;
    uint64_t now_ns;
    struct link jobs, ended;
    size_t job_count;
    struct {
        struct io_timer *timer;
        uint64_t at_ns;
    } timers[8];
};

void fake_io_init(struct fake_io *f);
/* Runs the oldest job on the spot; false when there is none. */
bool fake_io_run_job(struct fake_io *f);
void fake_io_run_jobs(struct fake_io *f);
/* The two halves of running a job: the worker's part, and the loop's of the oldest one that had the first. */
bool fake_io_begin_job(struct fake_io *f);
bool fake_io_end_job(struct fake_io *f);
void fake_io_drop_jobs(struct fake_io *f); /* a crash: they never run */
void fake_io_pass(struct fake_io *f, uint64_t ms);

#endif
