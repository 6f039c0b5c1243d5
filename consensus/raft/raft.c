/* SPDX-License-Identifier: Apache-2.0
 * Roles and message dispatch.
 *
 * A message's way:
 *   raft_step -> check.c -> the rules of terms -> votes and storage answers -> the handler of the role
 *
 * Roles change only in the become functions. Each asserts the role before it. */
#include "consensus/raft/core.h"

#include <assert.h>

/* --- sending --- */
static bool is_vote(enum raft_message_type type)
{
    return type == RAFT_MSG_VOTE || type == RAFT_MSG_VOTE_RESP || type == RAFT_MSG_PRE_VOTE ||
           type == RAFT_MSG_PRE_VOTE_RESP;
}

/* True for messages that leave only when what they rest on is durable (etcd-raft: msgsAfterAppend).
 *
 * A vote and an acknowledged entry must survive a restart before another member may count them (Raft thesis
 * 3.8). So they wait in `after_append` for everything that is not durable yet. Refusals wait, too, which is
 * more than is known to be needed. */
static bool waits_for_append(enum raft_message_type type)
{
    return type == RAFT_MSG_APP_RESP || type == RAFT_MSG_VOTE_RESP || type == RAFT_MSG_PRE_VOTE_RESP;
}

void raft_send(struct raft *r, struct raft_message m)
{
    if (m.from == RAFT_NONE)
        m.from = r->config.id;
    if (is_vote(m.type)) {
        assert(m.term != 0 || m.reject); /* the term of a pre-vote is not ours */
    } else {
        assert(m.term == 0);
        /* Forwarded for another member: valid in any term. */
        if (m.type != RAFT_MSG_PROP && m.type != RAFT_MSG_READ_INDEX)
            m.term = r->term;
    }
    /* A vote request contains our term and our log's end: with durable_campaign these are on disk, too. */
    bool after_append = waits_for_append(m.type) || (m.type == RAFT_MSG_VOTE && r->config.durable_campaign);
    if ((MUTANT(VOTE_BEFORE_DISK) && m.type == RAFT_MSG_VOTE_RESP) ||
        (MUTANT(ACK_BEFORE_DISK) && m.type == RAFT_MSG_APP_RESP) ||
        (MUTANT(CAMPAIGN_BEFORE_DISK) && m.type == RAFT_MSG_VOTE))
        after_append = m.to == r->config.id;
    assert(after_append || m.to != r->config.id);
    raft_outbox_add(&r->next_outbox, after_append ? &r->next_outbox.after_append : &r->next_outbox.messages,
                    &m);
}

static void forward(struct raft *r, const struct raft_message *m, uint64_t to)
{
    struct raft_message copy = *m;
    copy.to = to;
    copy.term = 0;
    raft_send(r, copy);
}

int raft_forward_proposal(struct raft *r, const struct raft_message *m)
{
    if (r->leader == RAFT_NONE) {
        RAFT_TRACE(r, PROPOSAL_NO_LEADER);
        return ERR_PROPOSAL_DROPPED;
    }
    if (r->config.disable_proposal_forwarding) {
        RAFT_TRACE(r, PROPOSAL_NOT_FORWARDED, .peer = r->leader);
        return ERR_PROPOSAL_DROPPED;
    }
    forward(r, m, r->leader);
    return 0;
}

/* --- roles --- */
/* splitmix64: well distributed, repeatable. */
static uint64_t next_random(struct raft *r)
{
    uint64_t z = (r->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void reset(struct raft *r, uint64_t term)
{
    if (r->term != term) {
        r->term = term;
        r->vote = RAFT_NONE;
    }
    r->leader = RAFT_NONE;
    r->election_elapsed = r->heartbeat_elapsed = 0;
    r->election_timeout = r->config.election_tick + (uint32_t)(next_random(r) % r->config.election_tick);
    r->transferee = RAFT_NONE;
    uint64_t last = raft_log_last(&r->log);
    for (uint32_t i = 0; i < r->tracker.count; i++) {
        struct raft_progress *p = &r->tracker.progress[i];
        struct raft_progress anew = {
            .id = p->id, .next = last + 1, .learner = p->learner, .inflights = p->inflights};
        raft_inflights_reset(&anew.inflights);
        if (p->id == r->config.id)
            anew.match = last;
        *p = anew;
    }
    r->pending_conf_index = 0;
    r->uncommitted_size = 0;
    if (!MUTANT(READ_KEPT_OVER_TERMS))
        raft_reads_reset(&r->reads);
    raft_read_back_clear(r);
}

void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader)
{
    reset(r, term);
    r->leader = leader;
    r->role = RAFT_FOLLOWER;
    RAFT_TRACE(r, BECAME_FOLLOWER);
}

/* Changes no vote and no term, so nothing that another member counts on. */
void raft_become_pre_candidate(struct raft *r)
{
    assert(r->role != RAFT_LEADER);
    raft_tracker_reset_votes(&r->tracker);
    r->leader = RAFT_NONE;
    r->role = RAFT_PRE_CANDIDATE;
    RAFT_TRACE(r, BECAME_PRE_CANDIDATE);
}

void raft_become_candidate(struct raft *r)
{
    assert(r->role != RAFT_LEADER);
    reset(r, r->term + 1);
    r->vote = r->config.id;
    r->role = RAFT_CANDIDATE;
    RAFT_TRACE(r, BECAME_CANDIDATE);
}

void raft_become_leader(struct raft *r)
{
    assert(r->role == RAFT_CANDIDATE);
    reset(r, r->term);
    r->leader = r->config.id;
    r->role = RAFT_LEADER;
    struct raft_progress *self = raft_tracker_find(&r->tracker, r->config.id);
    raft_progress_become_replicate(self);
    self->recent_active = true;
    /* There may be a change in the tail. Instead of a search, wait until all of it is applied. */
    r->pending_conf_index = MUTANT(CHANGE_BEFORE_TERM_COMMIT) ? 0 : raft_log_last(&r->log);
    /* Older entries are committed only together with an entry of the own term (thesis 3.6.2). */
    bool appended = raft_append_own(r, &(struct raft_entry){.type = RAFT_ENTRY_NORMAL}, 1);
    assert(appended);
    RAFT_TRACE(r, BECAME_LEADER);
}

/* --- dispatch by role --- */
static void check_quorum(struct raft *r)
{
    if (!raft_tracker_quorum_active(&r->tracker) && !MUTANT(LEADS_WITHOUT_QUORUM)) {
        RAFT_TRACE(r, QUORUM_INACTIVE);
        raft_become_follower(r, r->term, RAFT_NONE);
    }
    for (uint32_t i = 0; i < r->tracker.count; i++)
        if (r->tracker.progress[i].id != r->config.id)
            r->tracker.progress[i].recent_active = false;
}

/* Handles messages that need the sender's progress. */
static void leader_handle_peer(struct raft *r, struct raft_progress *p, const struct raft_message *m)
{
    switch ((int)m->type) {
    case RAFT_MSG_APP_RESP:
        raft_handle_append_response(r, p, m);
        break;
    case RAFT_MSG_HEARTBEAT_RESP:
        raft_handle_heartbeat_response(r, p, m);
        break;
    case RAFT_MSG_SNAP_STATUS:
        raft_handle_snapshot_status(r, p, m->reject);
        break;
    case RAFT_MSG_UNREACHABLE:
        raft_handle_unreachable(r, p);
        break;
    case RAFT_MSG_TRANSFER_LEADER:
        raft_handle_transfer(r, p);
        break;
    default:
        break;
    }
}

static int leader_handle(struct raft *r, const struct raft_message *m)
{
    switch ((int)m->type) {
    case RAFT_MSG_BEAT:
        raft_broadcast_heartbeat(r);
        return 0;
    case RAFT_MSG_CHECK_QUORUM:
        check_quorum(r);
        return 0;
    case RAFT_MSG_PROP:
        return raft_leader_propose(r, m);
    case RAFT_MSG_READ_INDEX:
        return raft_leader_read(r, m);
    case RAFT_MSG_FORGET_LEADER:
        return 0;
    default:
        break;
    }
    struct raft_progress *p = raft_tracker_find(&r->tracker, m->from);
    if (p)
        leader_handle_peer(r, p, m);
    else
        RAFT_TRACE(r, NO_PROGRESS, .peer = m->from);
    return 0;
}

static int candidate_handle(struct raft *r, const struct raft_message *m)
{
    switch ((int)m->type) {
    case RAFT_MSG_PROP:
        RAFT_TRACE(r, PROPOSAL_NO_LEADER);
        return ERR_PROPOSAL_DROPPED;
    case RAFT_MSG_READ_INDEX:
        return ERR_PROPOSAL_DROPPED;
    case RAFT_MSG_APP: /* another member won this term */
        raft_become_follower(r, m->term, m->from);
        raft_handle_append(r, m);
        break;
    case RAFT_MSG_HEARTBEAT:
        raft_become_follower(r, m->term, m->from);
        raft_handle_heartbeat(r, m);
        break;
    case RAFT_MSG_SNAP:
        raft_become_follower(r, m->term, m->from);
        raft_handle_snapshot(r, m);
        break;
    case RAFT_MSG_VOTE_RESP:
    case RAFT_MSG_PRE_VOTE_RESP:
        raft_handle_vote_response(r, m);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        RAFT_TRACE(r, TIMEOUT_NOW_IGNORED, .peer = m->from);
        break;
    default:
        break;
    }
    return 0;
}

static void forget_leader(struct raft *r)
{
    if (r->config.lease_based_reads) { /* such reads rest on the lease */
        RAFT_TRACE(r, FORGET_REFUSED);
    } else if (r->leader != RAFT_NONE) {
        RAFT_TRACE(r, FORGET_LEADER, .peer = r->leader);
        r->leader = RAFT_NONE;
    }
}

static void record_leader(struct raft *r, uint64_t id)
{
    r->election_elapsed = 0;
    r->leader = id;
}

static int follower_handle(struct raft *r, const struct raft_message *m)
{
    switch ((int)m->type) {
    case RAFT_MSG_PROP:
        return raft_forward_proposal(r, m);
    case RAFT_MSG_APP:
        record_leader(r, m->from);
        raft_handle_append(r, m);
        break;
    case RAFT_MSG_HEARTBEAT:
        record_leader(r, m->from);
        raft_handle_heartbeat(r, m);
        break;
    case RAFT_MSG_SNAP:
        record_leader(r, m->from);
        raft_handle_snapshot(r, m);
        break;
    case RAFT_MSG_TRANSFER_LEADER:
        if (r->leader == RAFT_NONE)
            RAFT_TRACE(r, TRANSFER_NO_LEADER);
        else
            forward(r, m, r->leader);
        break;
    case RAFT_MSG_FORGET_LEADER:
        forget_leader(r);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        /* No pre-vote: this is no return from a partition, and the extra round would cost time. */
        RAFT_TRACE(r, TIMEOUT_NOW, .peer = m->from);
        raft_hup(r, RAFT_CAMPAIGN_TRANSFER);
        break;
    case RAFT_MSG_READ_INDEX:
        if (r->leader == RAFT_NONE) {
            RAFT_TRACE(r, READ_NO_LEADER);
            return ERR_PROPOSAL_DROPPED;
        }
        forward(r, m, r->leader);
        break;
    case RAFT_MSG_READ_INDEX_RESP:
        raft_read_answered(r, m);
        break;
    default:
        break;
    }
    return 0;
}

/* --- the rules of terms --- */
static bool is_from_leader(enum raft_message_type type)
{
    return type == RAFT_MSG_APP || type == RAFT_MSG_HEARTBEAT || type == RAFT_MSG_SNAP;
}

/* True when the message continues to its handler. */
static bool handle_higher_term(struct raft *r, const struct raft_message *m)
{
    if (m->type == RAFT_MSG_VOTE || m->type == RAFT_MSG_PRE_VOTE) {
        /* Within the minimum election timeout after a leader was heard, no vote request disturbs it (thesis
         * 4.2.3, 6.2). */
        bool in_lease =
            r->config.check_quorum && r->leader != RAFT_NONE && r->election_elapsed < r->config.election_tick;
        if (in_lease && !raft_is_transfer(m) && !MUTANT(LEASE_IGNORED)) {
            RAFT_TRACE(r, LEASE_NOT_EXPIRED, .message = m,
                       .other = r->config.election_tick - r->election_elapsed);
            return false;
        }
    }
    /* A pre-vote and its grant name a term that may never come. A refusal names one that exists. */
    if (MUTANT(PRE_VOTE_MOVES_TERM) && m->type == RAFT_MSG_PRE_VOTE)
        raft_become_follower(r, m->term, RAFT_NONE);
    if (m->type == RAFT_MSG_PRE_VOTE || (m->type == RAFT_MSG_PRE_VOTE_RESP && !m->reject))
        return true;
    if (MUTANT(LEADER_STAYS) && r->role == RAFT_LEADER)
        return false;
    RAFT_TRACE(r, HIGHER_TERM, .message = m);
    raft_become_follower(r, m->term, is_from_leader(m->type) ? m->from : RAFT_NONE);
    return true;
}

static void handle_lower_term(struct raft *r, const struct raft_message *m)
{
    const struct raft_config *c = &r->config;
    if ((c->check_quorum || c->pre_vote) && (m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_APP)) {
        /* An old leader that cannot know the newer term. Our votes do not disturb it, so this answer shows it
         * our term. Otherwise a member that is ahead in terms could never rejoin. */
        raft_send(r, (struct raft_message){.type = RAFT_MSG_APP_RESP, .to = m->from});
    } else if (m->type == RAFT_MSG_PRE_VOTE) {
        /* Without an answer a cluster could deadlock in which this member has the higher term and the shorter
         * log (etcd #8243). */
        RAFT_TRACE(r, VOTE_REFUSED, .message = m);
        raft_send(r, (struct raft_message){
                         .type = RAFT_MSG_PRE_VOTE_RESP, .to = m->from, .term = r->term, .reject = true});
    } else if (m->type == RAFT_MSG_STORAGE_APPEND_RESP) {
        /* A leader of a later term may have overwritten the entries meanwhile, and then the same entries
         * again. So it is not certain what is on disk. A later answer decides. A snapshot is valid in any
         * term. */
        if (m->index != 0)
            RAFT_TRACE(r, STALE_STORAGE_APPEND, .message = m);
        if (m->snapshot) {
            raft_log_snapshot_stable(&r->log, m->snapshot->index);
            raft_applied(r, m->snapshot->index, 0);
        }
    } else if (MUTANT(OLD_VOTE_COUNTS) && m->type == RAFT_MSG_VOTE_RESP) {
        raft_handle_vote_response(r, m);
    } else {
        RAFT_TRACE(r, LOWER_TERM, .message = m);
    }
}

static void storage_appended(struct raft *r, const struct raft_message *m)
{
    if (m->index != 0)
        raft_log_stable_to(&r->log, (struct raft_position){m->index, m->log_term});
    if (m->snapshot) {
        raft_log_snapshot_stable(&r->log, m->snapshot->index);
        raft_applied(r, m->snapshot->index, 0);
    }
}

static void storage_applied(struct raft *r, const struct raft_message *m)
{
    if (m->entry_count == 0)
        return;
    uint64_t payloads = raft_payloads_size(m->entries, m->entry_count);
    raft_applied(r, m->entries[m->entry_count - 1].index, raft_entries_size(m->entries, m->entry_count));
    raft_committed_size(r, payloads);
}

int raft_handle(struct raft *r, const struct raft_message *m)
{
    if (m->term > r->term) {
        if (!handle_higher_term(r, m))
            return 0;
    } else if (m->term != 0 && m->term < r->term) {
        handle_lower_term(r, m);
        return 0;
    }
    switch ((int)m->type) {
    case RAFT_MSG_HUP:
        raft_hup(r, r->config.pre_vote && !MUTANT(PRE_VOTE_SKIPPED) ? RAFT_CAMPAIGN_PRE
                                                                    : RAFT_CAMPAIGN_ELECTION);
        return 0;
    case RAFT_MSG_STORAGE_APPEND_RESP:
        storage_appended(r, m);
        return 0;
    case RAFT_MSG_STORAGE_APPLY_RESP:
        storage_applied(r, m);
        return 0;
    case RAFT_MSG_VOTE:
    case RAFT_MSG_PRE_VOTE:
        raft_handle_vote_request(r, m);
        return 0;
    default:
        break;
    }
    switch (r->role) {
    case RAFT_LEADER:
        return leader_handle(r, m);
    case RAFT_CANDIDATE:
    case RAFT_PRE_CANDIDATE:
        return candidate_handle(r, m);
    case RAFT_FOLLOWER:
        return follower_handle(r, m);
    }
    return 0;
}

/* --- events --- */
static bool is_thread(uint64_t id)
{
    return id == RAFT_APPEND_THREAD || id == RAFT_APPLY_THREAD;
}

/* Forwarded for another member: `from` is the requester, or the transfer's target, and may be the
 * receiver. */
static bool is_forwarded(enum raft_message_type type)
{
    return type == RAFT_MSG_PROP || type == RAFT_MSG_READ_INDEX || type == RAFT_MSG_TRANSFER_LEADER;
}

int raft_step(struct raft *r, const struct raft_message *m)
{
    if (m->type >= RAFT_MSG_COUNT)
        return ERR_MALFORMED;
    if (raft_message_is_local(m->type) || is_thread(m->from))
        return ERR_STEP_LOCAL;
    if (m->from == r->config.id && !is_forwarded(m->type))
        return ERR_STEP_LOCAL;
    if ((m->to != r->config.id && !MUTANT(MESSAGE_OF_ANOTHER)) || m->from == RAFT_NONE)
        return ERR_INVALID;
    if (raft_message_is_response(m->type) && !raft_tracker_find(&r->tracker, m->from))
        return ERR_STEP_PEER_NOT_FOUND;
    int err = raft_check_message(r, m);
    return err ? err : raft_handle(r, m);
}

int raft_step_local(struct raft *r, const struct raft_message *m)
{
    bool from_thread = is_thread(m->from) &&
                       (m->type == RAFT_MSG_STORAGE_APPEND_RESP || m->type == RAFT_MSG_STORAGE_APPLY_RESP);
    assert(m->to == r->config.id && (from_thread || (m->from == r->config.id && waits_for_append(m->type))));
    if (!from_thread && !raft_tracker_find(&r->tracker, m->from))
        return ERR_STEP_PEER_NOT_FOUND;
    return raft_handle(r, m);
}

static int handle_local(struct raft *r, enum raft_message_type type, uint64_t from)
{
    return raft_handle(r, &(struct raft_message){.type = type, .from = from});
}

static void tick_leader(struct raft *r)
{
    r->heartbeat_elapsed++;
    r->election_elapsed++;
    if (r->election_elapsed >= r->config.election_tick) {
        r->election_elapsed = 0;
        if (r->config.check_quorum)
            (void)handle_local(r, RAFT_MSG_CHECK_QUORUM, r->config.id);
        if (r->role == RAFT_LEADER)
            r->transferee = RAFT_NONE; /* the transfer has timed out */
    }
    if (r->role == RAFT_LEADER && r->heartbeat_elapsed >= r->config.heartbeat_tick) {
        r->heartbeat_elapsed = 0;
        (void)handle_local(r, RAFT_MSG_BEAT, r->config.id);
    }
}

void raft_tick(struct raft *r)
{
    if (r->role == RAFT_LEADER) {
        tick_leader(r);
        return;
    }
    r->election_elapsed++;
    if (raft_promotable(r) && r->election_elapsed >= r->election_timeout) {
        r->election_elapsed = 0;
        (void)handle_local(r, RAFT_MSG_HUP, r->config.id);
    }
}

void raft_campaign(struct raft *r)
{
    (void)handle_local(r, RAFT_MSG_HUP, RAFT_NONE);
}

void raft_transfer_leader(struct raft *r, uint64_t to)
{
    (void)handle_local(r, RAFT_MSG_TRANSFER_LEADER, to);
}

void raft_forget_leader(struct raft *r)
{
    (void)handle_local(r, RAFT_MSG_FORGET_LEADER, RAFT_NONE);
}

void raft_report_unreachable(struct raft *r, uint64_t id)
{
    (void)handle_local(r, RAFT_MSG_UNREACHABLE, id);
}

void raft_report_snapshot(struct raft *r, uint64_t id, bool delivered)
{
    (void)raft_handle(r,
                      &(struct raft_message){.type = RAFT_MSG_SNAP_STATUS, .from = id, .reject = !delivered});
}
