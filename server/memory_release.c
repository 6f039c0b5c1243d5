/* SPDX-License-Identifier: Apache-2.0
 * The schedule of releasing memory; see memory_release.h. */
#include "server/memory_release.h"

#include <stdbool.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
    QUIET_MESSAGES = 200, /* upper bound of messages in a tick: a release of some milliseconds delays few */
    INTERVAL_MS_MIN = 10000,
    INTERVAL_MS_MAX = 600000,
    TAKES_MS = 3, /* more than that: the interval doubles */
};

void memory_release_tick(struct memory_release *m, uint64_t messages, uint64_t connections)
{
    uint64_t now = clock_mono_ms();
    bool is_quiet = messages - m->tick_messages <= QUIET_MESSAGES;
    bool is_same = messages == m->released_messages && connections == m->released_clients;
    m->tick_messages = messages;
    if (!is_quiet || is_same || now < m->next_ms)
        return;
    mem_give_back();
    uint64_t took_ms = clock_mono_ms() - now;
    if (!m->interval_ms)
        m->interval_ms = INTERVAL_MS_MIN;
    m->interval_ms = took_ms > TAKES_MS ? m->interval_ms * 2 : INTERVAL_MS_MIN;
    if (m->interval_ms > INTERVAL_MS_MAX)
        m->interval_ms = INTERVAL_MS_MAX;
    m->next_ms = now + took_ms + m->interval_ms;
    m->released_messages = messages;
    m->released_clients = connections;
}
