/* SPDX-License-Identifier: Apache-2.0
 * Proposals into the leader's log: within limits, one configuration change at a time. */
#include "consensus/raft/core.h"

#include <assert.h>

/* An empty payload is always accepted: a leader's first entry and the leaving of a joint configuration depend
 * on it. So is any payload while nothing else is uncommitted. */
static bool reserve_uncommitted(struct raft *r, const struct raft_entry *entries, size_t count)
{
    uint64_t size = raft_payloads_size(entries, count);
    uint64_t limit = r->config.max_uncommitted_size ? r->config.max_uncommitted_size : RAFT_NO_LIMIT;
    if (r->uncommitted_size > 0 && size > 0 && r->uncommitted_size + size > limit)
        return false;
    r->uncommitted_size += size;
    return true;
}

void raft_committed_size(struct raft *r, uint64_t size)
{
    r->uncommitted_size = r->uncommitted_size > size ? r->uncommitted_size - size : 0;
}

bool raft_append_own(struct raft *r, const struct raft_entry *entries, size_t count)
{
    if (!reserve_uncommitted(r, entries, count)) {
        RAFT_TRACE(r, PROPOSAL_TOO_MUCH);
        return false;
    }
    raft_log_append_own(&r->log, r->term, entries, count);
    if (MUTANT(OWN_ACK_BEFORE_DISK))
        (void)raft_progress_acked(raft_tracker_find(&r->tracker, r->config.id), raft_log_last(&r->log));
    /* We acknowledge to ourselves when it is durable. Only then we count as one of the majority. */
    raft_send(r, (struct raft_message){
                     .type = RAFT_MSG_APP_RESP, .to = r->config.id, .index = raft_log_last(&r->log)});
    return true;
}

static bool is_change_pending(const struct raft *r)
{
    return r->pending_conf_index > r->log.applied && !MUTANT(CHANGE_OVER_CHANGE);
}

bool raft_takes_change(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->transferee == RAFT_NONE && !is_change_pending(r) &&
           r->tracker.config.voters_outgoing.count == 0;
}

/* Checks whether this change may enter the log now. It is checked against the applied configuration, so the
 * check is only an early refusal. Safety rests on the rule that only one change may be pending. */
static bool conf_change_fits(struct raft *r, const struct raft_conf_change *change)
{
    bool joint = r->tracker.config.voters_outgoing.count > 0;
    bool leaves = change->count == 0;
    enum raft_refusal reason;
    if (is_change_pending(r))
        reason = RAFT_REFUSED_PENDING;
    else if (joint && !leaves)
        reason = RAFT_REFUSED_MUST_LEAVE_JOINT;
    else if (!joint && leaves)
        reason = RAFT_REFUSED_NOT_JOINT;
    else
        return true;
    if (r->config.disable_conf_change_validation)
        return true;
    RAFT_TRACE(r, CONF_CHANGE_REFUSED, .change = change, .conf = &r->tracker.config, .reason = reason,
               .index = r->pending_conf_index);
    return false;
}

/* Refused changes become empty entries in a copy; NULL when there are none. Their payload exists and is
 * empty, which counts two bytes, like the type that etcd leaves in such an entry. */
static struct raft_entry *check_conf_changes(struct raft *r, const struct raft_entry *entries, size_t count)
{
    struct raft_entry *copy = NULL;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].type == RAFT_ENTRY_NORMAL)
            continue;
        struct raft_conf_change change;
        bool v1 = entries[i].type == RAFT_ENTRY_CONF_CHANGE;
        int err = raft_conf_change_decode(blob_slice(entries[i].data), v1, &change);
        assert(!err); /* raft_step has checked it */
        if (conf_change_fits(r, &change)) {
            r->pending_conf_index = raft_log_last(&r->log) + i + 1;
            continue;
        }
        if (!copy)
            copy = mem_copy(entries, count * sizeof *entries);
        copy[i] = (struct raft_entry){.type = RAFT_ENTRY_NORMAL, .data = blob_new(0)};
    }
    return copy;
}

int raft_leader_propose(struct raft *r, const struct raft_message *m)
{
    if (!raft_tracker_find(&r->tracker, r->config.id))
        return ERR_PROPOSAL_DROPPED; /* removed while leading */
    if (r->transferee != RAFT_NONE) {
        RAFT_TRACE(r, PROPOSAL_IN_TRANSFER, .peer = r->transferee);
        return ERR_PROPOSAL_DROPPED;
    }
    struct raft_entry *checked = check_conf_changes(r, m->entries, m->entry_count);
    bool appended = raft_append_own(r, checked ? checked : m->entries, m->entry_count);
    for (size_t i = 0; checked && i < m->entry_count; i++)
        if (checked[i].data != m->entries[i].data)
            blob_unref(checked[i].data);
    mem_free(checked);
    if (!appended)
        return ERR_PROPOSAL_DROPPED;
    raft_broadcast_append(r);
    return 0;
}

int raft_propose(struct raft *r, const struct raft_entry *entries, size_t count)
{
    struct raft_message m = {.type = RAFT_MSG_PROP,
                             .from = r->config.id,
                             .to = r->config.id,
                             .entries = entries,
                             .entry_count = count};
    int err = raft_check_message(r, &m);
    return err ? err : raft_handle(r, &m);
}

int raft_propose_conf_change(struct raft *r, const struct raft_conf_change *change, bool v1)
{
    if (v1 && (change->count != 1 || change->transition != RAFT_TRANSITION_AUTO))
        return ERR_INVALID;
    struct raft_entry entry = {
        .type = v1 ? RAFT_ENTRY_CONF_CHANGE : RAFT_ENTRY_CONF_CHANGE_V2,
        .data = raft_conf_change_encode(change, v1),
    };
    int err = raft_propose(r, &entry, 1);
    blob_unref(entry.data);
    return err;
}
