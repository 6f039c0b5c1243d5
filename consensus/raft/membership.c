/* SPDX-License-Identifier: Apache-2.0
 * Configuration changes at their application. They take effect when they are applied, on every member at the
 * same place in the log. */
#include "consensus/raft/core.h"

bool raft_has_unapplied_conf_change(const struct raft *r)
{
    for (uint64_t index = r->log.applied + 1; index <= r->log.committed; index++) {
        const struct raft_entry *e = raft_log_entry(&r->log, index);
        if (e && e->type != RAFT_ENTRY_NORMAL)
            return true;
    }
    return false;
}

/* Adapts this member's role to the tracker's new configuration. */
void raft_switch_config(struct raft *r)
{
    const struct raft_conf_state *config = &r->tracker.config;
    RAFT_TRACE(r, CONF_SWITCHED, .conf = config);
    const struct raft_progress *self = raft_tracker_find(&r->tracker, r->config.id);
    r->learner = self && self->learner;
    if (r->role != RAFT_LEADER)
        return;
    if (!self || self->learner) {
        /* Removed or demoted while leading (thesis 4.2.2). Without stepping down it goes on leading and does
         * not count itself. */
        if (r->config.step_down_on_removal)
            raft_become_follower(r, r->term, RAFT_NONE);
        return;
    }
    if (raft_maybe_commit(r)) {
        /* A smaller majority may have committed more. */
        raft_release_early_reads(r);
        raft_broadcast_append(r);
    } else {
        for (uint32_t i = 0; i < r->tracker.count; i++)
            if (r->tracker.progress[i].id != r->config.id)
                (void)raft_maybe_send_append(r, &r->tracker.progress[i], false);
    }
    if (r->transferee != RAFT_NONE && !raft_tracker_is_voter(&r->tracker, r->transferee))
        r->transferee = RAFT_NONE;
}

int raft_apply_conf_change(struct raft *r, const struct raft_conf_change *change,
                           struct raft_conf_state *ret_conf_state)
{
    enum raft_conf_error err = raft_conf_apply(&r->tracker, raft_log_last(&r->log), change);
    if (err)
        return err == RAFT_CONF_FULL ? ERR_LIMIT : ERR_INVALID;
    *ret_conf_state = r->tracker.config;
    raft_switch_config(r);
    return 0;
}

static void leave_joint(struct raft *r)
{
    /* It has no payload, so no limit refuses it. A transfer under way does; then each applied entry tries
     * again. */
    struct raft_entry entry = {.type = RAFT_ENTRY_CONF_CHANGE_V2};
    if (raft_propose(r, &entry, 1) == 0)
        RAFT_TRACE(r, AUTO_LEAVE, .conf = &r->tracker.config);
    else
        RAFT_TRACE(r, AUTO_LEAVE_NOT_NOW, .conf = &r->tracker.config);
}

void raft_applied(struct raft *r, uint64_t index, uint64_t size)
{
    if (index < r->log.applied)
        index = r->log.applied;
    raft_log_applied_to(&r->log, index, size);
    if (r->tracker.config.auto_leave && index >= r->pending_conf_index && r->role == RAFT_LEADER)
        leave_joint(r);
}
