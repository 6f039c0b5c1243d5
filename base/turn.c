/* SPDX-License-Identifier: Apache-2.0
 * Measurement of turns: one sum for each kind of work, cleared when the turn ends. See turn.h. */
#include "base/turn.h"

#include <stdio.h>
#include <string.h>

#include "base/metric.h"

static struct {
    uint64_t (*mono_ns)(void);
    uint64_t (*waited_ns)(void *arg);
    void *arg;
    bool has_begun, has_ended_once;
    enum turn_work current;
    uint64_t begin_ns, since_ns;        /* begin of the turn; begin of the current work */
    uint64_t ended_ns, ended_waited_ns; /* end of the previous turn */
    uint64_t spent_ns[TURN_WORKS];
    uint64_t longest_ns[TURN_WORKS]; /* the longest turns in which this work took most */
} turn;

static const char *const names[TURN_WORKS] = {
#define TURN(id, name) [id] = name,
#include "base/turn.def"
#undef TURN
};

const char *turn_work_name(enum turn_work work)
{
    return names[work];
}

void turn_start(uint64_t (*mono_ns)(void), uint64_t (*waited_ns)(void *arg), void *arg)
{
    memset(&turn, 0, sizeof turn);
    turn.mono_ns = mono_ns;
    turn.waited_ns = waited_ns;
    turn.arg = arg;
}

/* Begins a turn at the end of the wait; the time since then is unnamed work. */
static void base_turn_begin(uint64_t now_ns)
{
    turn.has_begun = true;
    turn.begin_ns = now_ns;
    if (turn.has_ended_once && turn.waited_ns) {
        uint64_t woken_ns = turn.ended_ns + (turn.waited_ns(turn.arg) - turn.ended_waited_ns);
        turn.begin_ns = woken_ns < now_ns ? woken_ns : now_ns;
    }
    turn.spent_ns[TURN_UNNAMED] = now_ns - turn.begin_ns;
}

enum turn_work turn_enter(enum turn_work work)
{
    enum turn_work before = turn.current;
    if ((work == before && turn.has_begun) || !turn.mono_ns)
        return before;
    uint64_t now_ns = turn.mono_ns();
    if (turn.has_begun) {
        turn.spent_ns[before] += now_ns - turn.since_ns;
    } else {
        base_turn_begin(now_ns);
        before = TURN_UNNAMED;
    }
    turn.since_ns = now_ns;
    turn.current = work;
    return before;
}

static void turn_clear(uint64_t now_ns)
{
    memset(turn.spent_ns, 0, sizeof turn.spent_ns);
    turn.has_begun = false;
    turn.current = TURN_UNNAMED;
    turn.has_ended_once = true;
    turn.ended_ns = now_ns;
    turn.ended_waited_ns = turn.waited_ns ? turn.waited_ns(turn.arg) : 0;
}

void turn_discard(void)
{
    if (turn.has_begun)
        turn_clear(turn.mono_ns());
}

bool turn_end(struct turn_result *ret_result)
{
    struct turn_result r = {0};
    if (!turn.has_begun)
        return false;
    uint64_t now_ns = turn.mono_ns();
    turn.spent_ns[turn.current] += now_ns - turn.since_ns;
    for (int i = 0; i < TURN_WORKS; i++) {
        if (turn.spent_ns[i] > r.work_ns) {
            r.work = (enum turn_work)i;
            r.work_ns = turn.spent_ns[i];
        }
    }
    r.ns = now_ns - turn.begin_ns;
    if (r.ns > turn.longest_ns[r.work])
        turn.longest_ns[r.work] = r.ns;
    turn_clear(now_ns);
    *ret_result = r;
    return true;
}

uint64_t turn_elapsed_ns(void)
{
    return turn.has_begun ? turn.mono_ns() - turn.begin_ns : 0;
}

void turn_print(struct buf *out)
{
    char name[100];
    metric_print_head(
        out, "cairn_loop_turn_longest_seconds", "gauge",
        "The longest turn of the event loop since the member is ready, by the work that took most of it.");
    for (int i = 0; i < TURN_WORKS; i++) {
        if (!turn.longest_ns[i])
            continue;
        snprintf(name, sizeof name, "cairn_loop_turn_longest_seconds{work=\"%s\"}", names[i]);
        metric_print_value(out, name, (double)turn.longest_ns[i] / 1e9);
    }
}
