/* SPDX-License-Identifier: Apache-2.0
 * Observation of the loop's turns (base/turn.h): the histogram cairn_loop_turn_seconds, the longest turn of each
 * work, and a log line when a turn takes more than 50 ms, because all clients wait that long.
 *
 * Lines are limited to one a second; each has the number of lines that were left out before it. */
#ifndef SERVER_TURN_WATCH_H
#define SERVER_TURN_WATCH_H

#include <stdint.h>

#include "base/turn_queue.h"

struct uv_loop_s;

struct turn_watch {
    uint64_t logged_ns; /* when the last line was written; 0 = never */
    uint64_t left_out;
};

/* loop: initialised, and not yet run. From here on it measures how long it waits. */
void turn_watch_start(struct turn_watch *w, struct uv_loop_s *loop);
void turn_watch_stop(struct turn_watch *w);
/* Call it just after the loop has waited. It begins work without a name, and runs the queue of waiting
 * input. */
void turn_watch_wake(void);
/* Call it just before the loop waits. */
void turn_watch_end_turn(struct turn_watch *w);

/* True if the turn that ended deserves a line; also the number of lines left out since the last. */
bool turn_watch_judge(struct turn_watch *w, const struct turn_result *turn, uint64_t now_ns,
                      uint64_t *ret_left_out);

#endif
