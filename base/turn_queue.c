/* SPDX-License-Identifier: Apache-2.0
 * The queue of connections that wait for the next turn, shared by all transports. See turn_queue.h. */
#include "base/turn_queue.h"

#include <stddef.h>

static struct link queue;
static bool is_running; /* a waiter is being resumed */

static bool is_empty(void)
{
    return !queue.next || list_is_empty(&queue);
}

bool turn_is_spent(void)
{
    return turn_elapsed_ns() >= TURN_INPUT_NS;
}

bool turn_must_wait(void)
{
    return !is_running && (!is_empty() || turn_is_spent());
}

void turn_wait(struct turn_waiter *w)
{
    if (!queue.next)
        list_init(&queue);
    if (!link_is_in_list(&w->link))
        list_add_last(&queue, &w->link);
}

void turn_leave(struct turn_waiter *w)
{
    list_remove(&w->link);
}

/* Resumes each waiter that waited when the turn began, once. A waiter that waits again goes to the end. */
void turn_queue_run(void)
{
    struct link now, *l;
    if (is_empty())
        return;
    list_init(&now);
    list_move_all(&now, &queue);
    is_running = true;
    do {
        l = list_take_first(&now);
        struct turn_waiter *w = container_of(l, struct turn_waiter, link);
        w->resume(w);
    } while (!list_is_empty(&now) && !turn_is_spent());
    is_running = false;
    if (list_is_empty(&now))
        return;
    list_move_all(&now, &queue);
    list_move_all(&queue, &now);
}

bool turn_queue_is_waiting(void)
{
    return !is_empty();
}

uint64_t turn_share(void)
{
    uint64_t elapsed_ns = turn_elapsed_ns();
    return elapsed_ns + TURN_SHARE_NS > TURN_BUDGET_NS ? elapsed_ns + TURN_SHARE_NS : TURN_BUDGET_NS;
}

bool turn_share_is_spent(uint64_t share)
{
    return turn_elapsed_ns() >= share;
}
