/* SPDX-License-Identifier: Apache-2.0
 * Configuration changes on a tracker, all or nothing (dissertation 4.3).
 *
 *   simple  one voter at a time
 *   joint   any number, through a joint configuration in which the old and the new majority must both agree
 *
 * Invariants of every configuration:
 *   - every member of it is tracked
 *   - a learner is in neither half
 *   - learners_next are voters of the outgoing half
 *   - without an outgoing half learners_next is empty */
#ifndef CONSENSUS_RAFT_CONFCHANGE_H
#define CONSENSUS_RAFT_CONFCHANGE_H

#include "consensus/raft/progress.h"

enum raft_conf_error {
    RAFT_CONF_OK,
    RAFT_CONF_ALREADY_JOINT,
    RAFT_CONF_NOT_JOINT, /* there is no joint configuration to leave */
    RAFT_CONF_NO_VOTERS, /* an empty configuration cannot become joint */
    RAFT_CONF_SIMPLE_IN_JOINT,
    RAFT_CONF_MANY_VOTERS, /* a simple change of more than one voter */
    RAFT_CONF_REMOVED_ALL,
    RAFT_CONF_FULL, /* beyond RAFT_MEMBERS_MAX */
};

/* New members are probed from last_index. An error changes nothing. */
enum raft_conf_error raft_conf_simple(struct raft_tracker *t, uint64_t last_index,
                                      const struct raft_conf_change_single *changes, uint32_t count);
enum raft_conf_error raft_conf_enter_joint(struct raft_tracker *t, uint64_t last_index, bool auto_leave,
                                           const struct raft_conf_change_single *changes, uint32_t count);
enum raft_conf_error raft_conf_leave_joint(struct raft_tracker *t);

/* Applies the change of a log entry, in the way that the change itself names. */
enum raft_conf_error raft_conf_apply(struct raft_tracker *t, uint64_t last_index,
                                     const struct raft_conf_change *change);
bool raft_conf_wants_leave(const struct raft_conf_change *change);

bool raft_conf_state_valid(const struct raft_conf_state *state);
bool raft_conf_state_equal(const struct raft_conf_state *a, const struct raft_conf_state *b);
/* Drops all members and installs a valid state. */
void raft_conf_restore(struct raft_tracker *t, uint64_t last_index, const struct raft_conf_state *state);

#endif
