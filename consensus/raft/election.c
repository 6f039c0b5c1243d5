/* SPDX-License-Identifier: Apache-2.0
 * Elections: campaigns, votes and their count. With pre-vote a member first asks whether it could win. That
 * costs nothing: neither its term nor any member's vote changes (thesis 9.6). */
#include "consensus/raft/core.h"

/* Context of the vote requests of a leadership transfer: the old leader's lease does not bind them. etcd's
 * bytes, not NUL-terminated. */
static const struct raft_context transfer_mark = {
    .size = 16,
    .data = {'C', 'a', 'm', 'p', 'a', 'i', 'g', 'n', 'T', 'r', 'a', 'n', 's', 'f', 'e', 'r'},
};

bool raft_is_transfer(const struct raft_message *m)
{
    return m->context.size == transfer_mark.size &&
           memcmp(m->context.data, transfer_mark.data, transfer_mark.size) == 0;
}

/* A voter of its own configuration that is not about to replace its whole state. */
bool raft_promotable(struct raft *r)
{
    const struct raft_progress *self = raft_tracker_find(&r->tracker, r->config.id);
    return self && !self->learner && !r->log.snapshot;
}

static void request_votes(struct raft *r, enum raft_campaign_kind kind, uint64_t term)
{
    bool pre = kind == RAFT_CAMPAIGN_PRE;
    enum raft_message_type request = pre ? RAFT_MSG_PRE_VOTE : RAFT_MSG_VOTE;
    struct raft_position end = raft_log_end(&r->log);
    for (uint32_t i = 0; i < r->tracker.count; i++) {
        uint64_t id = r->tracker.progress[i].id;
        if (!raft_tracker_is_voter(&r->tracker, id))
            continue;
        if (id == r->config.id) {
            /* Our own vote counts when it is durable, like any other. */
            raft_send(r, (struct raft_message){.type = pre ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP,
                                               .to = id,
                                               .term = term});
            continue;
        }
        RAFT_TRACE(r, SENT_VOTE_REQUEST, .peer = id, .type = request);
        struct raft_message m = {
            .type = request, .to = id, .term = term, .index = end.index, .log_term = end.term};
        if (kind == RAFT_CAMPAIGN_TRANSFER)
            m.context = transfer_mark;
        raft_send(r, m);
    }
}

static void campaign(struct raft *r, enum raft_campaign_kind kind)
{
    if (kind == RAFT_CAMPAIGN_PRE) {
        raft_become_pre_candidate(r);
        request_votes(r, kind, r->term + 1);
    } else {
        raft_become_candidate(r);
        request_votes(r, kind, r->term);
    }
}

void raft_hup(struct raft *r, enum raft_campaign_kind kind)
{
    if (r->role == RAFT_LEADER) {
        RAFT_TRACE(r, HUP_ALREADY_LEADER);
        return;
    }
    if (!raft_promotable(r)) {
        RAFT_TRACE(r, UNPROMOTABLE);
        return;
    }
    /* A committed change is not applied: our set of voters is old (etcd #7280, #11284). */
    if (raft_has_unapplied_conf_change(r) && !MUTANT(CAMPAIGN_OVER_CHANGE)) {
        RAFT_TRACE(r, UNAPPLIED_CONF_CHANGE);
        return;
    }
    if (r->term >= RAFT_POSITION_MAX)
        return;
    RAFT_TRACE(r, ELECTION);
    campaign(r, kind);
}

void raft_handle_vote_request(struct raft *r, const struct raft_message *m)
{
    bool pre = m->type == RAFT_MSG_PRE_VOTE;
    struct raft_message answer = {.type = pre ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP, .to = m->from};
    bool free_to_vote =
        r->vote == m->from || (r->vote == RAFT_NONE && r->leader == RAFT_NONE) || (pre && m->term > r->term);
    if (MUTANT(TWO_VOTES))
        free_to_vote = true;
    bool up_to_date = raft_log_is_up_to_date(&r->log, (struct raft_position){m->index, m->log_term});
    if (MUTANT(VOTE_FOR_SHORT_LOG))
        up_to_date = true;
    /* A learner votes, too: the candidate may know of its promotion before the learner does (etcd PR
     * #10998). */
    if (free_to_vote && up_to_date) {
        RAFT_TRACE(r, VOTE_CAST, .message = m);
        /* In the term of the request: a pre-candidate that is ahead of us would ignore our own term. */
        answer.term = m->term;
        raft_send(r, answer); /* queued only: it leaves when r->vote is on disk (waits_for_append) */
        if (!pre) {
            r->election_elapsed = 0;
            r->vote = m->from;
        }
        return;
    }
    RAFT_TRACE(r, VOTE_REFUSED, .message = m);
    answer.term = r->term;
    answer.reject = true;
    raft_send(r, answer);
}

void raft_handle_vote_response(struct raft *r, const struct raft_message *m)
{
    /* Answers to the pre-vote may arrive when the vote is under way. */
    if (m->type != (r->role == RAFT_PRE_CANDIDATE ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP))
        return;
    if (m->reject)
        RAFT_TRACE(r, VOTE_REJECTION_RECEIVED, .peer = m->from, .type = m->type);
    else
        RAFT_TRACE(r, VOTE_RECEIVED, .peer = m->from, .type = m->type);
    struct raft_progress *p = raft_tracker_find(&r->tracker, m->from);
    if (p && p->vote == RAFT_VOTE_MISSING)
        p->vote = m->reject ? RAFT_VOTE_NO : RAFT_VOTE_YES;
    uint32_t granted, rejected;
    enum raft_vote_result result = raft_tracker_tally(&r->tracker, &granted, &rejected);
    RAFT_TRACE(r, VOTE_TALLY, .type = m->type, .index = granted, .other = rejected);
    switch (result) {
    case RAFT_VOTE_WON:
        if (r->role == RAFT_PRE_CANDIDATE) {
            campaign(r, RAFT_CAMPAIGN_ELECTION);
        } else {
            raft_become_leader(r);
            raft_broadcast_append(r);
        }
        break;
    case RAFT_VOTE_LOST:
        raft_become_follower(r, r->term, RAFT_NONE);
        break;
    case RAFT_VOTE_PENDING:
        break;
    }
}
