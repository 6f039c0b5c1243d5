/* SPDX-License-Identifier: Apache-2.0
 * A fake I/O table for unit tests of the store. Time stands still until the test moves it, jobs wait until
 * the test runs them, and timers fire when time passes them. There are no files. */
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
/* Runs the oldest job at once; false when there is none. */
bool fake_io_run_job(struct fake_io *f);
void fake_io_run_jobs(struct fake_io *f);
/* The two halves of a job: the worker's part, and the loop's part of the oldest job whose first part has run.
 */
bool fake_io_begin_job(struct fake_io *f);
bool fake_io_end_job(struct fake_io *f);
void fake_io_drop_jobs(struct fake_io *f); /* a crash: they never run */
void fake_io_pass(struct fake_io *f, uint64_t ms);

#endif
