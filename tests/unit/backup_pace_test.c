/* SPDX-License-Identifier: Apache-2.0
 * Tests of when the continuous backup writes, and of how far it is behind, in virtual time: changes come at drawn
 * moments, a model of the worker ends each job after a drawn time. SEED=7 WALKS=100 runs more. */
#include "server/backup_pace.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

enum { CHANGES_MAX = 200000, WALL_MS = 1700000000 /* so far is the wall clock ahead of the monotonic one */ };

static uint64_t seed = 1;

static uint64_t draw(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return below ? (seed >> 33) % below : 0;
}

/* Changes are durable up to one, written up to another, with the worker up to a third. */
struct world {
    struct backup_pace pace;
    uint64_t now_ms, at_ms[CHANGES_MAX];
    size_t durable, written, taken, count;
    enum backup_step step;
    uint64_t job_end_ms, tick_ms;
    int job_err;
    uint64_t lag_ms, lag_max_ms;
};

static struct world w;

static void begin(void)
{
    memset(&w, 0, sizeof w);
    w.now_ms = 5000;
}

static struct backup_waiting waiting(void)
{
    size_t first = w.durable < w.written ? w.durable : w.pace.is_out ? w.taken : w.written;
    return (struct backup_waiting){
        .has_queued = w.taken < w.count,
        .has_written = w.durable < w.written,
        .bytes = 100 * (w.count - w.durable),
        .oldest_ms = first < w.count ? WALL_MS + w.at_ms[first] : 0,
    };
}

static void change(void)
{
    assert_true(w.count < CHANGES_MAX);
    w.at_ms[w.count++] = w.now_ms;
}

static void end_job(void)
{
    backup_pace_done(&w.pace, w.step, w.job_err, w.now_ms);
    w.written = w.job_err ? w.durable : w.taken; /* after an error all that is not durable is written again */
    if (w.job_err)
        w.taken = w.durable;
    else if (w.step == BACKUP_STEP_SYNC)
        w.durable = w.written;
}

/* A millisecond. A job that begins now lasts as long. */
static void step(uint64_t job_ms)
{
    w.now_ms++;
    if (w.pace.is_out && w.now_ms >= w.job_end_ms)
        end_job();
    if (w.now_ms < w.tick_ms)
        return;
    w.tick_ms = w.now_ms + BACKUP_WRITE_MS;
    struct backup_waiting q = waiting();
    enum backup_step next = backup_pace_step(&w.pace, &q, w.now_ms);
    if (next != BACKUP_STEP_NONE) {
        backup_pace_begin(&w.pace, &q);
        w.step = next;
        w.taken = w.count;
        w.job_end_ms = job_ms == UINT64_MAX ? job_ms : w.now_ms + job_ms;
    }
    q = waiting();
    const struct backup_missing none = {0};
    w.lag_ms = backup_pace_lag_ms(&w.pace, &q, &none, WALL_MS + w.now_ms, w.now_ms);
    uint64_t truth = w.durable < w.count ? w.now_ms - w.at_ms[w.durable] : 0;
    assert_int_equal(w.lag_ms, truth);
    if (truth > w.lag_max_ms)
        w.lag_max_ms = truth;
}

/* Under any load each change is durable in time, as long as the disk answers within a quarter of the limit. */
static void never_behind_while_the_disk_answers(void **state)
{
    (void)state;
    static const struct {
        uint64_t job_max_ms, change_every_ms, lag_max_ms;
    } rows[] = {
        {0, 1, 1100},
        {20, 3, 1200},
        {200, 50, 1700},
        {1000, 5000, 5000},
        {2500, 1, BACKUP_BEHIND_MS},
        {2500, 900, BACKUP_BEHIND_MS},
    };
    unsigned walks = getenv("WALKS") ? (unsigned)atoi(getenv("WALKS")) : 3;
    for (unsigned walk = 0; walk < walks; walk++)
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            begin();
            for (unsigned ms = 0; ms < 120000; ms++) {
                if (draw(rows[i].change_every_ms) == 0)
                    change();
                step(draw(rows[i].job_max_ms + 1));
            }
            if (w.lag_max_ms > rows[i].lag_max_ms)
                fail_msg("row %zu: %d ms behind", i, (int)w.lag_max_ms);
            assert_true(w.durable > 0);
        }
}

/* Each kind of job may hang: the first one after a pause, and one in the middle of load. The age is right while it
 * does, and nothing is behind when it has ended. */
static void a_job_that_hangs_is_behind(void **state)
{
    (void)state;
    for (unsigned is_idle = 0; is_idle < 2; is_idle++)
        for (unsigned n = 0; n < 40; n++) {
            begin();
            for (unsigned ms = 0; ms < 3000 + 37 * n; ms++) {
                if (!is_idle && ms % 7 == 0)
                    change();
                step(5);
            }
            change();
            uint64_t at = w.now_ms;
            while (w.now_ms < at + BACKUP_BEHIND_MS + 2 * BACKUP_WRITE_MS + 1000 * !is_idle)
                step(UINT64_MAX);
            assert_true(w.lag_ms > BACKUP_BEHIND_MS);
            w.job_end_ms = w.now_ms;
            for (unsigned ms = 0; ms < 2000; ms++)
                step(5);
            assert_int_equal(w.lag_ms, 0);
            assert_int_equal(w.durable, w.count);
        }
}

/* A disk that fails is tried each second, no more often, and all that waited is durable after the first success. */
static void an_error_is_tried_again_each_second(void **state)
{
    (void)state;
    begin();
    change();
    w.job_err = -1;
    unsigned jobs = 0;
    for (unsigned ms = 0; ms < 20000; ms++) {
        bool was_out = w.pace.is_out;
        step(5);
        jobs += !was_out && w.pace.is_out;
    }
    assert_in_range(jobs, 18, 20);
    assert_true(w.lag_ms > BACKUP_BEHIND_MS);
    w.job_err = 0;
    for (unsigned ms = 0; ms < 2200; ms++)
        step(5);
    assert_int_equal(w.lag_ms, 0);
    assert_int_equal(w.durable, 1);
}

static void the_oldest_of_all_counts(void **state)
{
    (void)state;
    struct backup_pace p = {0};
    static const struct {
        struct backup_waiting waiting;
        struct backup_missing missing;
        uint64_t lag_ms;
    } rows[] = {
        {{0}, {0, 0}, 0},
        {{.oldest_ms = 900000}, {0, 0}, 100000},
        {{.oldest_ms = 900000}, {800000, 0}, 200000},
        {{.oldest_ms = 900000}, {0, 4000}, 100000},
        {{.oldest_ms = 990000}, {995000, 4000}, 11000},
        {{.oldest_ms = 1000001}, {1000001, 15001}, 0}, /* a clock that went back */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(backup_pace_lag_ms(&p, &rows[i].waiting, &rows[i].missing, 1000000, 15000),
                         rows[i].lag_ms);
}

int main(void)
{
    if (getenv("SEED"))
        seed = strtoull(getenv("SEED"), NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_behind_while_the_disk_answers),
        cmocka_unit_test(a_job_that_hangs_is_behind),
        cmocka_unit_test(an_error_is_tried_again_each_second),
        cmocka_unit_test(the_oldest_of_all_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
