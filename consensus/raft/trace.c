/* SPDX-License-Identifier: Apache-2.0
 * Trace events: fills in the common fields and calls the callback. */
#include "consensus/raft/core.h"

void raft_trace_emit(const struct raft *r, struct raft_trace event)
{
    struct raft_position end = raft_log_end(&r->log);
    event.role = r->role;
    event.id = r->config.id;
    event.term = r->term;
    event.vote = r->vote;
    event.committed = r->log.committed;
    event.applying = r->log.applying;
    event.applied = r->log.applied;
    event.first_index = raft_log_first(&r->log);
    event.last_index = end.index;
    event.last_term = end.term;
    event.unstable = r->log.unstable;
    event.in_progress = r->log.in_progress;
    r->config.trace(r->config.trace_arg, &event);
}
