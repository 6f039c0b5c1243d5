/* SPDX-License-Identifier: Apache-2.0
 * ReadIndex (thesis 6.4). The leader names its commit index when it has committed an entry of its term, and a
 * majority has answered a heartbeat that was sent after the read came in. The queue is read_only.h. */
#include "consensus/raft/core.h"

static void raft_read_answer(struct raft *r, const struct raft_read *read)
{
    if (read->from == RAFT_NONE || read->from == r->config.id) {
        raft_outbox_add_read(&r->next_outbox,
                             &(struct raft_read_state){.index = read->index, .context = read->context});
        return;
    }
    raft_send(r, (struct raft_message){.type = RAFT_MSG_READ_INDEX_RESP,
                                       .to = read->from,
                                       .index = read->index,
                                       .context = read->context});
}

static bool has_committed_in_term(const struct raft *r)
{
    return raft_log_term_or_zero(&r->log, r->log.committed) == r->term || MUTANT(READ_BEFORE_TERM_COMMIT);
}

/* True when no other voter has to confirm. A leader that has removed itself is not the only voter. The one
 * that is left may have been elected long ago and have committed more (etcd treats such a leader as the only
 * voter). */
static bool is_only_voter(const struct raft *r)
{
    return raft_tracker_is_singleton(&r->tracker) && raft_tracker_is_voter(&r->tracker, r->config.id);
}

static int raft_read_start(struct raft *r, struct raft_read *read)
{
    read->index = r->log.committed;
    bool is_planted =
        MUTANT(READ_WITHOUT_QUORUM) || (MUTANT(READ_UNASKED_IN_TRANSFER) && r->transferee != RAFT_NONE);
    if (r->config.lease_based_reads || is_only_voter(r) || is_planted) {
        raft_read_answer(r, read);
        return 0;
    }
    if (!raft_read_queue_add(&r->reads.numbered, read))
        return ERR_PROPOSAL_DROPPED;
    struct raft_progress *self = raft_tracker_find(&r->tracker, r->config.id);
    if (self)
        self->read_ack = raft_reads_newest(&r->reads);
    raft_broadcast_heartbeat(r);
    return 0;
}

/* etcd answers at once when it is the only voter. Here even then the first commit of the term comes first:
 * after a restart the commit index on disk may be lower than what was acknowledged before. */
int raft_leader_read(struct raft *r, const struct raft_message *m)
{
    struct raft_read read = {.context = m->context, .from = m->from};
    if (has_committed_in_term(r))
        return raft_read_start(r, &read);
    return raft_read_queue_add(&r->reads.early, &read) ? 0 : ERR_PROPOSAL_DROPPED;
}

void raft_release_early_reads(struct raft *r)
{
    struct raft_read read;
    while (raft_read_queue_take(&r->reads.early, &read))
        (void)raft_read_start(r, &read);
}

void raft_answer_reads(struct raft *r)
{
    struct raft_read read;
    uint64_t confirmed = raft_tracker_reads_confirmed(&r->tracker);
    while (raft_reads_take_confirmed(&r->reads, confirmed, &read))
        raft_read_answer(r, &read);
}

void raft_read_answered(struct raft *r, const struct raft_message *m)
{
    raft_outbox_add_read(&r->next_outbox,
                         &(struct raft_read_state){.index = m->index, .context = m->context});
}

int raft_read_index(struct raft *r, struct raft_context context)
{
    if (context.size == 0 || context.size > RAFT_CONTEXT_MAX)
        return ERR_INVALID;
    return raft_handle(r, &(struct raft_message){.type = RAFT_MSG_READ_INDEX, .context = context});
}
