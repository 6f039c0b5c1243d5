/* SPDX-License-Identifier: Apache-2.0
 * Watching the turns of the loop (base/turn.h): the histogram cairn_loop_turn_seconds, the longest turn of
 * each work, and a log line when a turn keeps the thread for more than 50 ms: all clients wait that long.
 *
 * The lines are limited to one a second; each says how many were left out before it. */
#ifndef SERVER_TURN_WATCH_H
#define SERVER_TURN_WATCH_H

#include <stdint.h>

#include "base/turn_queue.h"

struct uv_loop_s;

struct turn_watch {
    uint64_t logged_ns; /* when the last line was written; 0 = never */
    uint64_t left_out;
};

/* loop: initialised, and not yet run; it measures how long it waits from here on. */
void turn_watch_start(struct turn_watch *w, struct uv_loop_s *loop);
void turn_watch_stop(struct turn_watch *w);
/* Just after the loop has waited: work that nobody has named begins, and those that wait for a turn have it.
 */
void turn_watch_wake(void);
/* Just before the loop waits. */
void turn_watch_end_turn(struct turn_watch *w);

/* Whether the turn that ended now is worth a line, and how many were left out since the last. */
bool turn_watch_judge(struct turn_watch *w, const struct turn_result *turn, uint64_t now_ns,
                      uint64_t *ret_left_out);

#endif
