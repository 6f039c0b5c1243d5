/* SPDX-License-Identifier: Apache-2.0
 * Release of free memory to the system, in a quiet moment after many clients or large answers; otherwise
 * the allocator keeps free pages. Pure but for mem_give_back and the clock. */
#ifndef SERVER_MEMORY_RELEASE_H
#define SERVER_MEMORY_RELEASE_H

#include <stdint.h>

/* Private; zeroed at first. */
struct memory_release {
    uint64_t tick_messages;                       /* at the last tick */
    uint64_t released_messages, released_clients; /* at the last release */
    uint64_t next_ms, interval_ms;
};

/* Call it at each tick, with the number of messages so far and of current connections. It releases at most
 * every 10 s, less often when a release takes long. */
void memory_release_tick(struct memory_release *m, uint64_t messages, uint64_t connections);

#endif
