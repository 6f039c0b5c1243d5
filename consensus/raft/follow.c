/* SPDX-License-Identifier: Apache-2.0
 * Follower's side of replication: the leader's appends, heartbeats and snapshots, and the answers to them. */
#include "consensus/raft/core.h"

void raft_handle_append(struct raft *r, const struct raft_message *m)
{
    struct raft_message answer = {.type = RAFT_MSG_APP_RESP, .to = m->from};
    struct raft_position prev = {m->index, m->log_term};
    if (prev.index < r->log.committed) { /* late: committed entries never change */
        answer.index = r->log.committed;
        raft_send(r, answer);
        return;
    }
    if (raft_log_append(&r->log, prev, m->entries, m->entry_count, m->commit, &answer.index)) {
        raft_send(r, answer);
        return;
    }
    RAFT_TRACE(r, APPEND_REFUSED, .message = m, .log_term = raft_log_term_or_zero(&r->log, m->index));
    /* Hint: the highest of our positions that the leader's log may hold. It skips our tail of terms above the
     * leader's. */
    uint64_t last = raft_log_last(&r->log);
    struct raft_position from = {m->index < last ? m->index : last, m->log_term};
    struct raft_position hint = raft_log_meet(&r->log, from);
    answer.index = m->index;
    answer.reject = true;
    answer.reject_hint = hint.index;
    answer.log_term = hint.term;
    raft_send(r, answer);
}

void raft_handle_heartbeat(struct raft *r, const struct raft_message *m)
{
    /* The leader counts on entries that this log does not have: the log was lost or belongs to another
     * member. It may not be a prefix of the committed entries, so none of it is committed (etcd panics;
     * #21178). */
    if (m->commit > raft_log_last(&r->log))
        RAFT_TRACE(r, COMMIT_OUT_OF_RANGE, .index = m->commit);
    else
        raft_log_commit_to(&r->log, m->commit);
    raft_send(r,
              (struct raft_message){.type = RAFT_MSG_HEARTBEAT_RESP, .to = m->from, .context = m->context});
}

static bool is_member(const struct raft_conf_state *state, uint64_t id)
{
    return raft_ids_has(&state->voters, id) || raft_ids_has(&state->learners, id) ||
           raft_ids_has(&state->voters_outgoing, id);
}

/* True when the snapshot replaces this log. False when it is not needed or not for this member. */
static bool restore(struct raft *r, const struct raft_snapshot *s)
{
    if (s->index <= r->log.committed && !MUTANT(SNAPSHOT_GOES_BACK))
        return false;
    if (!is_member(&s->conf_state, r->config.id)) {
        RAFT_TRACE(r, SNAPSHOT_NOT_MEMBER, .conf = &s->conf_state);
        return false;
    }
    if (raft_log_matches(&r->log, (struct raft_position){s->index, s->term})) {
        RAFT_TRACE(r, SNAPSHOT_FAST_FORWARD, .index = s->index, .log_term = s->term);
        raft_log_commit_to(&r->log, s->index);
        return false;
    }
    raft_log_restore(&r->log, s);
    if (!MUTANT(SNAPSHOT_WITHOUT_CONFIG))
        raft_conf_restore(&r->tracker, raft_log_last(&r->log), &s->conf_state);
    raft_switch_config(r);
    RAFT_TRACE(r, SNAPSHOT_RESTORED, .index = s->index, .log_term = s->term);
    return true;
}

void raft_handle_snapshot(struct raft *r, const struct raft_message *m)
{
    const struct raft_snapshot *s = m->snapshot;
    struct raft_message answer = {.type = RAFT_MSG_APP_RESP, .to = m->from};
    if (restore(r, s)) {
        RAFT_TRACE(r, SNAPSHOT_TAKEN, .index = s->index, .log_term = s->term);
        answer.index = raft_log_last(&r->log);
    } else {
        RAFT_TRACE(r, SNAPSHOT_IGNORED, .index = s->index, .log_term = s->term);
        answer.index = r->log.committed;
    }
    raft_send(r, answer);
}
