/* SPDX-License-Identifier: Apache-2.0
 * Shares of a turn of the event loop: how long input may be taken, and the queue of those that wait for the
 * next turn.
 *
 * A transport asks turn_must_wait before it takes what a connection has sent, and turn_is_spent between two
 * requests of a connection. A connection that has to wait enters the queue (turn_wait), reads no more, and is
 * resumed in one of the next turns, in the order in which the connections came: nobody gets a second share
 * before everybody who waits had one. resume always does at least one step, so that each of them gets on.
 *
 * The owner of the loop calls turn_queue_run once a turn, behind what the sockets brought, and does not let
 * the loop sleep while turn_queue_is_waiting. Where nobody measures turns (turn.h), nobody ever waits. Loop
 * thread only. */
#ifndef BASE_TURN_QUEUE_H
#define BASE_TURN_QUEUE_H

#include "base/list.h"
#include "base/turn.h"

enum {
    TURN_INPUT_NS = 1500 * 1000,  /* of a turn, for what clients send: the answers take as long again */
    TURN_BUDGET_NS = 3000 * 1000, /* when the work of a turn that can wait ends ... */
    TURN_SHARE_NS = 500 * 1000,   /* ... but each kind of it has at least so much */
};

struct turn_waiter {
    struct link link; /* zeroed: not in the queue */
    void (*resume)(struct turn_waiter *w);
};

/* The share of input is used up. */
bool turn_is_spent(void);
/* Input that comes now waits: the share is used up, or others wait already. Not for who is being resumed. */
bool turn_must_wait(void);
void turn_wait(struct turn_waiter *w); /* one that waits already keeps its place */
void turn_leave(struct turn_waiter *w);
void turn_queue_run(void);
bool turn_queue_is_waiting(void);

/* For work that was put off before, such as writing and delivering: it ends when the turn's budget does,
 * after TURN_SHARE_NS in any case. Begin with turn_share(), a moment of the turn to give to
 * turn_share_is_spent. */
uint64_t turn_share(void);
bool turn_share_is_spent(uint64_t share);

#endif
