/* SPDX-License-Identifier: Apache-2.0
 * Metrics and log lines about the turns of the loop (base/turn.h); see turn_watch.h. */
#include "server/turn_watch.h"

#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"

enum { LONG_TURN_NS = 50 * 1000000, LINE_INTERVAL_NS = 1000000000 };

static void turn_watch_collect(void *arg, struct buf *out)
{
    (void)arg;
    turn_print(out);
}

static uint64_t waited_ns(void *arg)
{
    return uv_metrics_idle_time(arg);
}

void turn_watch_start(struct turn_watch *w, struct uv_loop_s *loop)
{
    *w = (struct turn_watch){0};
    uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
    turn_start(clock_mono_ns, waited_ns, loop);
    metric_collector_add(turn_watch_collect, w);
}

void turn_watch_stop(struct turn_watch *w)
{
    metric_collector_remove(turn_watch_collect, w);
    turn_start(NULL, NULL, NULL);
}

void turn_watch_wake(void)
{
    turn_enter(TURN_UNNAMED);
    turn_queue_run();
    turn_enter(TURN_UNNAMED);
}

bool turn_watch_judge(struct turn_watch *w, const struct turn_result *turn, uint64_t now_ns,
                      uint64_t *ret_left_out)
{
    if (turn->ns <= LONG_TURN_NS)
        return false;
    if (w->logged_ns && now_ns - w->logged_ns < LINE_INTERVAL_NS) {
        w->left_out++;
        return false;
    }
    w->logged_ns = now_ns;
    *ret_left_out = w->left_out;
    w->left_out = 0;
    return true;
}

void turn_watch_end_turn(struct turn_watch *w)
{
    struct turn_result turn;
    uint64_t left_out;
    if (!turn_end(&turn))
        return;
    metric_observe(METRIC_LOOP_TURN, (double)turn.ns / 1e9);
    if (turn.ns > LONG_TURN_NS && turn_watch_judge(w, &turn, clock_mono_ns(), &left_out))
        log_warn("a turn of the loop took too long: every client waited for it",
                 F_STR("work", turn_work_name(turn.work)), F_DOUBLE("took_ms", (double)turn.ns / 1e6),
                 F_DOUBLE("work_ms", (double)turn.work_ns / 1e6), F_UINT("left-out", left_out));
}
