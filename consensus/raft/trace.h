/* SPDX-License-Identifier: Apache-2.0
 * Trace events of the core, as values. Pointers are valid only during the callback, and the callback must not
 * call the core. */
#ifndef CONSENSUS_RAFT_TRACE_H
#define CONSENSUS_RAFT_TRACE_H

#include "consensus/raft/raft.h"

enum raft_trace_level { RAFT_TRACE_DEBUG, RAFT_TRACE_INFO, RAFT_TRACE_WARN, RAFT_TRACE_ERROR };

enum raft_trace_kind {
#define TRACE(name, level) RAFT_TRACE_##name,
#include "consensus/raft/trace.def"
#undef TRACE
    RAFT_TRACE_KINDS
};

enum raft_refusal { /* why a proposed configuration change became an empty entry */
                    RAFT_REFUSED_PENDING,
                    RAFT_REFUSED_MUST_LEAVE_JOINT,
                    RAFT_REFUSED_NOT_JOINT,
};

struct raft_trace {
    enum raft_trace_kind kind;
    /* Always: the member's present state. */
    enum raft_role role;
    uint64_t id, term, vote;
    uint64_t committed, applying, applied;
    uint64_t first_index, last_index, last_term;
    uint64_t unstable, in_progress; /* where the unstable log and its part that is not yet handed out begin */
    /* Their meaning is in trace.def. */
    uint64_t peer, index, log_term, other;
    enum raft_message_type type;
    enum raft_refusal reason;
    const struct raft_message *message;
    const struct raft_conf_state *conf;
    const struct raft_progress_status *progress;
    const struct raft_conf_change *change;
};

#endif
