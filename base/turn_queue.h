/* SPDX-License-Identifier: Apache-2.0
 * Fair sharing of a turn of the event loop: how long input is processed, and the queue of connections that
 * wait for the next turn.
 *
 * 1. A transport calls turn_must_wait before it processes received bytes, and turn_is_spent between two
 *    requests of a connection.
 * 2. If a connection must wait, the transport calls turn_wait and stops reading.
 * 3. The queue calls `resume` in one of the next turns, in the order of arrival. No connection gets a
 *    second share before every waiting one had its first.
 * 4. `resume` always does at least one step, so that each connection makes progress.
 *
 * The owner of the loop calls turn_queue_run once a turn, after the sockets' callbacks. It does not let the
 * loop sleep while turn_queue_is_waiting. If turns are not measured (turn.h), no connection ever waits.
 * Loop thread only. */
#ifndef BASE_TURN_QUEUE_H
#define BASE_TURN_QUEUE_H

#include "base/list.h"
#include "base/turn.h"

enum {
    TURN_INPUT_NS = 1500 * 1000,  /* of a turn, for clients' input: the responses take as long again */
    TURN_BUDGET_NS = 3000 * 1000, /* deferrable work ends at this time of the turn ... */
    TURN_SHARE_NS = 500 * 1000,   /* ... but each kind of it has at least this time */
};

struct turn_waiter {
    struct link link; /* zeroed: not in the queue */
    void (*resume)(struct turn_waiter *w);
};

/* True: the input share of this turn is used up. */
bool turn_is_spent(void);
/* True: input must wait, because the share is used up or other connections wait already. Not for a
 * connection that is being resumed. */
bool turn_must_wait(void);
void turn_wait(struct turn_waiter *w); /* a waiter that is in the queue keeps its place */
void turn_leave(struct turn_waiter *w);
void turn_queue_run(void);
bool turn_queue_is_waiting(void);

/* For deferred work, such as writing and delivering. It ends when the turn's budget ends, but lasts at
 * least TURN_SHARE_NS. The result of turn_share is the current time of the turn, the argument of
 * turn_share_is_spent. */
uint64_t turn_share(void);
bool turn_share_is_spent(uint64_t share);

#endif
