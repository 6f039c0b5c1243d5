/* SPDX-License-Identifier: Apache-2.0
 * Turns of the event loop: how long each keeps the thread, and which work took most of it.
 *
 * A turn begins when the loop has waited, and ends before the loop waits again: it is the time between two
 * ends without what the loop itself measured as waiting. Work is named where it begins (turn.def); from
 * there on, time counts for it until other work begins. Before the first name the turn is TURN_UNNAMED:
 *
 *     enum turn_work before = turn_enter(TURN_DNS_QUERY);
 *     ...
 *     turn_enter(before);
 *
 * Every callback of the loop names its work (make lint), and need not go back. Naming costs a comparison when
 * the work does not change, and a reading of the clock when it does. Without turn_start nothing is measured.
 * Loop thread only. */
#ifndef BASE_TURN_H
#define BASE_TURN_H

#include "base/buf.h"

enum turn_work {
#define TURN(id, name) id,
#include "base/turn.def"
#undef TURN
    TURN_WORKS
};

struct turn_result {
    uint64_t ns;         /* the whole turn */
    enum turn_work work; /* what took most of it */
    uint64_t work_ns;    /* of it */
};

/* waited_ns: how long the loop has waited in all; NULL: each turn begins with its first name, as the first
 * turn does. mono_ns NULL: measures no more. */
void turn_start(uint64_t (*mono_ns)(void), uint64_t (*waited_ns)(void *arg), void *arg);
/* Returns what was under way. */
enum turn_work turn_enter(enum turn_work work);
/* Ends the turn. false: there was none, nothing has been named since the last one ended. */
bool turn_end(struct turn_result *ret_result);
/* How long the turn lasts so far; 0 where none is under way, or nothing is measured. Reads the clock. */
uint64_t turn_elapsed_ns(void);
const char *turn_work_name(enum turn_work work);
/* The longest turn of each work since turn_start, as cairn_loop_turn_longest_seconds. */
void turn_print(struct buf *out);

#endif
