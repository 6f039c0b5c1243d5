/* SPDX-License-Identifier: Apache-2.0
 * Turns of the event loop: the duration of each, and the kind of work that took most of it.
 *
 * A turn begins when the loop stops waiting and ends before the loop waits again. Its duration excludes the
 * time that the loop itself measured as waiting. Each callback names its work when it begins (turn.def).
 * From there on time counts for this work until other work begins. Before the first name the work is
 * TURN_UNNAMED:
 *
 *     enum turn_work before = turn_enter(TURN_DNS_QUERY);
 *     ...
 *     turn_enter(before);
 *
 * Every callback of the loop names its work (make lint checks this). It need not restore the work before it.
 * The cost of turn_enter is a comparison if the work does not change, and a reading of the clock if it does.
 * Without turn_start nothing is measured. Loop thread only. */
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
    enum turn_work work; /* the work that took most of it */
    uint64_t work_ns;    /* of it */
};

/* Starts measuring. waited_ns returns the total time that the loop has waited. NULL: each turn begins with
 * its first name, as the first turn does. mono_ns NULL: stops measuring. */
void turn_start(uint64_t (*mono_ns)(void), uint64_t (*waited_ns)(void *arg), void *arg);
/* Begins a kind of work and returns the one before it. */
enum turn_work turn_enter(enum turn_work work);
/* Ends the turn. false: no turn was under way, because no work was named since the last one ended. */
bool turn_end(struct turn_result *ret_result);
/* Ends the turn, and it does not count: before a member serves anybody, nobody waits for it. */
void turn_discard(void);
/* The duration of the turn so far; 0 if none is under way or nothing is measured. Reads the clock. */
uint64_t turn_elapsed_ns(void);
const char *turn_work_name(enum turn_work work);
/* Prints the longest turn of each kind of work since turn_start, as cairn_loop_turn_longest_seconds. */
void turn_print(struct buf *out);

#endif
