/* SPDX-License-Identifier: Apache-2.0
 * Leader's side of replication: appends, heartbeats, snapshots, and the handling of their answers. */
#include "consensus/raft/core.h"

/* --- sending --- */
/* A snapshot is usable when the log continues directly after it. */
static const struct raft_snapshot *usable_snapshot(const struct raft *r)
{
    return r->offered_snapshot && r->offered_snapshot->index >= r->log.before.index ? r->offered_snapshot
                                                                                    : NULL;
}

static bool send_snapshot(struct raft *r, struct raft_progress *p)
{
    if (!p->recent_active) {
        RAFT_TRACE(r, SNAPSHOT_PEER_INACTIVE, .peer = p->id);
        return false;
    }
    const struct raft_snapshot *s = usable_snapshot(r);
    if (!s) {
        RAFT_TRACE(r, SNAPSHOT_UNAVAILABLE, .peer = p->id);
        r->snapshot_wanted = true;
        return false;
    }
    struct raft_progress_status status = raft_progress_status(p);
    RAFT_TRACE(r, SNAPSHOT_SENT, .peer = p->id, .progress = &status, .index = s->index, .log_term = s->term);
    raft_progress_become_snapshot(p, s->index);
    status = raft_progress_status(p);
    RAFT_TRACE(r, SNAPSHOT_PAUSED_PEER, .peer = p->id, .progress = &status);
    raft_send(r, (struct raft_message){.type = RAFT_MSG_SNAP, .to = p->id, .snapshot = s});
    return true;
}

static const struct raft_entry *next_entries(const struct raft *r, struct raft_progress *p, size_t *ret_count)
{
    if (p->next >= r->log.held)
        return raft_log_slice(&r->log, p->next, raft_log_last(&r->log), r->config.max_size_per_message,
                              ret_count);
    const struct raft_entry *entries = raft_read_back_slice(r, p->next, ret_count);
    p->wants_entries = !entries;
    return entries;
}

/* True when a message was sent. An empty append has the commit index and requests an answer. */
bool raft_maybe_send_append(struct raft *r, struct raft_progress *p, bool if_empty)
{
    if (raft_progress_paused(p))
        return false;
    struct raft_position prev = {.index = p->next - 1};
    if (!raft_log_term(&r->log, prev.index, &prev.term))
        return send_snapshot(r, p);
    const struct raft_entry *entries = NULL;
    size_t count = 0;
    /* With a full window send only empty appends: if all in flight were lost, the answer to one shows it
     * (etcd #14633). */
    if (p->state != RAFT_REPLICATE || !raft_inflights_full(&p->inflights))
        entries = next_entries(r, p, &count);
    if (count == 0 && !if_empty)
        return false;
    raft_send(r, (struct raft_message){
                     .type = RAFT_MSG_APP,
                     .to = p->id,
                     .index = prev.index,
                     .log_term = prev.term,
                     .entries = entries,
                     .entry_count = count,
                     .commit = r->log.committed,
                 });
    raft_progress_sent(p, count, raft_payloads_size(entries, count));
    if (MUTANT(SENT_IS_ACKED) && p->state == RAFT_REPLICATE)
        p->match = p->next - 1;
    p->sent_commit = r->log.committed;
    return true;
}

void raft_send_append(struct raft *r, struct raft_progress *p)
{
    (void)raft_maybe_send_append(r, p, true);
}

void raft_broadcast_append(struct raft *r)
{
    for (uint32_t i = 0; i < r->tracker.count; i++) {
        struct raft_progress *p = &r->tracker.progress[i];
        /* A follower that waits for read-back entries gets the commit index with them. */
        if (p->id != r->config.id)
            (void)raft_maybe_send_append(r, p, !p->wants_entries);
    }
}

void raft_broadcast_heartbeat(struct raft *r)
{
    struct raft_context context = raft_reads_context(raft_reads_newest(&r->reads));
    for (uint32_t i = 0; i < r->tracker.count; i++) {
        struct raft_progress *p = &r->tracker.progress[i];
        if (p->id == r->config.id)
            continue;
        /* Never beyond the entries that it is known to hold: it may have other entries there. */
        uint64_t commit = p->match < r->log.committed ? p->match : r->log.committed;
        if (MUTANT(COMMIT_BEYOND_MATCH))
            commit = r->log.committed;
        raft_send(r, (struct raft_message){
                         .type = RAFT_MSG_HEARTBEAT, .to = p->id, .commit = commit, .context = context});
        p->sent_commit = commit;
    }
}

/* --- answers --- */
bool raft_maybe_commit(struct raft *r)
{
    /* Counting replicas commits only entries of this term (Figure 8 of the paper). */
    struct raft_position quorum = {raft_tracker_committed(&r->tracker), r->term};
    if (MUTANT(COMMIT_OLD_TERM))
        quorum.term = raft_log_term_or_zero(&r->log, quorum.index);
    return raft_log_commit(&r->log, quorum);
}

/* The logs differ before m->index, and the follower names a position where they may meet. Its term is known,
 * so all our entries of higher terms above it are skipped at once. It takes at most one probe per term of the
 * log. */
static void handle_rejection(struct raft *r, struct raft_progress *p, const struct raft_message *m)
{
    RAFT_TRACE(r, APPEND_REJECTED, .message = m);
    uint64_t hint = m->reject_hint;
    if (m->log_term > 0)
        hint = raft_log_meet(&r->log, (struct raft_position){m->reject_hint, m->log_term}).index;
    if (!raft_progress_rejected(p, m->index, hint))
        return;
    struct raft_progress_status status = raft_progress_status(p);
    RAFT_TRACE(r, PROGRESS_DECREASED, .peer = p->id, .progress = &status);
    if (p->state == RAFT_REPLICATE)
        raft_progress_become_probe(p);
    raft_send_append(r, p);
}

static void update_state(struct raft *r, struct raft_progress *p, uint64_t acked)
{
    if (p->state == RAFT_PROBE) {
        raft_progress_become_replicate(p);
    } else if (p->state == RAFT_REPLICATE) {
        raft_inflights_free_to(&p->inflights, acked);
    } else if (p->match + 1 >= raft_log_first(&r->log)) {
        /* Its log connects to ours now, wherever its snapshot came from. It goes through PROBE, which clears
         * the pending snapshot. */
        struct raft_progress_status status = raft_progress_status(p);
        RAFT_TRACE(r, SNAPSHOT_RECOVERED, .peer = p->id, .progress = &status);
        raft_progress_become_probe(p);
        raft_progress_become_replicate(p);
    }
}

void raft_handle_append_response(struct raft *r, struct raft_progress *p, const struct raft_message *m)
{
    p->recent_active = true;
    if (m->reject) {
        handle_rejection(r, p, m);
        return;
    }
    /* An acknowledgement of a known index still shows that a probed follower is reachable and matches. */
    bool is_new = raft_progress_acked(p, m->index);
    if (!is_new && !(p->match == m->index && p->state == RAFT_PROBE))
        return;
    update_state(r, p, m->index);
    bool other = p->id != r->config.id;
    if (raft_maybe_commit(r)) {
        raft_release_early_reads(r);
        raft_broadcast_append(r);
    } else if (other && raft_progress_can_bump_commit(p, r->log.committed)) {
        raft_send_append(r, p);
    }
    if (!other)
        return;
    /* The window may have room for several messages now. */
    while (raft_maybe_send_append(r, p, false))
        ;
    raft_transfer_progressed(r, p);
}

void raft_handle_heartbeat_response(struct raft *r, struct raft_progress *p, const struct raft_message *m)
{
    p->recent_active = true;
    p->flow_paused = MUTANT(PROBE_STUCK) && p->flow_paused;
    /* It is behind, or it is caught up and still probed (after raft_report_unreachable): an append lets it
     * answer. */
    if (p->match < raft_log_last(&r->log) || p->state == RAFT_PROBE)
        raft_send_append(r, p);
    if (MUTANT(READ_OLD_ROUND))
        p->read_ack = raft_reads_newest(&r->reads);
    else if (r->config.lease_based_reads || m->context.size == 0)
        return;
    uint64_t number = raft_reads_number(&m->context);
    if (number > p->read_ack && number <= r->reads.confirmed + r->reads.numbered.count)
        p->read_ack = number;
    raft_answer_reads(r);
}

void raft_handle_snapshot_status(struct raft *r, struct raft_progress *p, bool failed)
{
    if (p->state != RAFT_SNAPSHOT)
        return;
    if (MUTANT(SNAPSHOT_FAILURE_MISSED) && failed)
        return;
    if (failed)
        p->pending_snapshot = 0; /* before probing, else it would start after a snapshot that never arrived */
    raft_progress_become_probe(p);
    struct raft_progress_status status = raft_progress_status(p);
    if (failed)
        RAFT_TRACE(r, SNAPSHOT_FAILED, .peer = p->id, .progress = &status);
    else
        RAFT_TRACE(r, SNAPSHOT_DELIVERED, .peer = p->id, .progress = &status);
    /* Delivered: its own acknowledgement comes next. Failed: not again before the next heartbeat. */
    p->flow_paused = true;
}

void raft_handle_unreachable(struct raft *r, struct raft_progress *p)
{
    /* While streaming, an append is probably lost: probe again. */
    if (p->state == RAFT_REPLICATE)
        raft_progress_become_probe(p);
    struct raft_progress_status status = raft_progress_status(p);
    RAFT_TRACE(r, UNREACHABLE, .peer = p->id, .progress = &status);
}
