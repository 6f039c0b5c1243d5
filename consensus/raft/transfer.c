/* SPDX-License-Identifier: Apache-2.0
 * Leadership transfer (thesis 3.10).
 *
 *   1. The leader stops proposals.
 *   2. It lets the target catch up.
 *   3. It sends TIMEOUT_NOW: the target campaigns at once.
 *
 * After an election timeout without success the leader continues as before. */
#include "consensus/raft/core.h"

static void send_timeout_now(struct raft *r, uint64_t to)
{
    raft_send(r, (struct raft_message){.type = RAFT_MSG_TIMEOUT_NOW, .to = to});
}

void raft_handle_transfer(struct raft *r, struct raft_progress *p)
{
    if (p->learner) {
        RAFT_TRACE(r, TRANSFER_TO_LEARNER);
        return;
    }
    if (r->transferee != RAFT_NONE) {
        if (r->transferee == p->id) {
            RAFT_TRACE(r, TRANSFER_REPEATED, .peer = p->id);
            return;
        }
        uint64_t previous = r->transferee;
        r->transferee = RAFT_NONE;
        RAFT_TRACE(r, TRANSFER_ABORTED, .peer = previous);
    }
    if (p->id == r->config.id) {
        RAFT_TRACE(r, TRANSFER_TO_SELF);
        return;
    }
    RAFT_TRACE(r, TRANSFER_STARTED, .peer = p->id);
    r->election_elapsed = 0;
    r->transferee = p->id;
    if (p->match == raft_log_last(&r->log) || MUTANT(TRANSFER_TO_LAGGING)) {
        send_timeout_now(r, p->id);
        RAFT_TRACE(r, TRANSFER_AT_ONCE, .peer = p->id);
    } else {
        raft_send_append(r, p);
    }
}

void raft_transfer_progressed(struct raft *r, struct raft_progress *p)
{
    if (p->id != r->transferee || p->match != raft_log_last(&r->log))
        return;
    RAFT_TRACE(r, TRANSFER_CAUGHT_UP, .peer = p->id);
    send_timeout_now(r, p->id);
}
