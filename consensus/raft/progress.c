/* SPDX-License-Identifier: Apache-2.0
 * Follower progress: its state machine, its inflights, and sums over all followers. See progress.h. */
#include "consensus/raft/progress.h"

#include <assert.h>

#include "base/mutant.h"

/* --- inflights --- */
void raft_inflights_init(struct raft_inflights *in, uint32_t count_max, uint64_t bytes_max)
{
    *in = (struct raft_inflights){.count_max = count_max, .bytes_max = bytes_max};
}

void raft_inflights_done(struct raft_inflights *in)
{
    mem_free(in->ring);
    *in = (struct raft_inflights){0};
}

void raft_inflights_reset(struct raft_inflights *in)
{
    in->start = in->count = 0;
    in->bytes = 0;
}

bool raft_inflights_full(const struct raft_inflights *in)
{
    return in->count == in->count_max || (in->bytes_max && in->bytes >= in->bytes_max);
}

static struct raft_inflight *inflight_at(const struct raft_inflights *in, uint32_t i)
{
    return &in->ring[(in->start + i) & (in->capacity - 1)];
}

/* Grows on demand: the limit may be far above what a healthy follower ever needs. */
static void inflights_grow(struct raft_inflights *in)
{
    uint32_t capacity = in->capacity ? in->capacity * 2 : 4;
    struct raft_inflight *ring = mem_alloc(capacity * sizeof *ring);
    for (uint32_t i = 0; i < in->count; i++)
        ring[i] = *inflight_at(in, i);
    mem_free(in->ring);
    in->ring = ring;
    in->capacity = capacity;
    in->start = 0;
}

void raft_inflights_add(struct raft_inflights *in, uint64_t index, uint64_t bytes)
{
    assert(!raft_inflights_full(in));
    if (in->count == in->capacity)
        inflights_grow(in);
    in->count++;
    in->bytes += bytes;
    *inflight_at(in, in->count - 1) = (struct raft_inflight){.index = index, .bytes = bytes};
}

void raft_inflights_free_to(struct raft_inflights *in, uint64_t index)
{
    while (in->count && inflight_at(in, 0)->index <= index) {
        in->bytes -= inflight_at(in, 0)->bytes;
        in->start = (in->start + 1) & (in->capacity - 1);
        in->count--;
    }
}

/* --- one follower --- */
static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void change_state(struct raft_progress *p, enum raft_progress_state state)
{
    p->flow_paused = false;
    p->wants_entries = false;
    p->pending_snapshot = 0;
    p->state = state;
    raft_inflights_reset(&p->inflights);
}

void raft_progress_become_probe(struct raft_progress *p)
{
    /* After a delivered snapshot the follower holds at least its index: continue after it. */
    uint64_t snapshot = p->state == RAFT_SNAPSHOT ? p->pending_snapshot : 0;
    change_state(p, RAFT_PROBE);
    p->next = max_u64(p->match + 1, snapshot + 1);
    p->sent_commit = min_u64(p->sent_commit, p->next - 1);
}

void raft_progress_become_replicate(struct raft_progress *p)
{
    change_state(p, RAFT_REPLICATE);
    p->next = p->match + 1;
}

void raft_progress_become_snapshot(struct raft_progress *p, uint64_t index)
{
    change_state(p, RAFT_SNAPSHOT);
    p->pending_snapshot = index;
    p->next = index + 1;
    p->sent_commit = index;
}

void raft_progress_sent(struct raft_progress *p, size_t entries, uint64_t bytes)
{
    assert(p->state != RAFT_SNAPSHOT);
    if (p->state == RAFT_PROBE) {
        if (entries > 0)
            p->flow_paused = true;
        return;
    }
    if (entries > 0) {
        p->next += entries;
        raft_inflights_add(&p->inflights, p->next - 1, bytes);
    }
    /* A message that fills the window, or an empty one when the window is full, is a probe: wait for its
     * answer. */
    p->flow_paused = raft_inflights_full(&p->inflights);
}

bool raft_progress_can_bump_commit(const struct raft_progress *p, uint64_t commit)
{
    return commit > p->sent_commit && p->sent_commit < p->next - 1;
}

bool raft_progress_acked(struct raft_progress *p, uint64_t index)
{
    if (index <= p->match)
        return false;
    p->match = index;
    p->next = max_u64(p->next, index + 1);
    p->flow_paused = false;
    return true;
}

bool raft_progress_rejected(struct raft_progress *p, uint64_t rejected, uint64_t hint)
{
    if (p->state == RAFT_REPLICATE) {
        if (rejected <= p->match)
            return false;
        p->next = p->match + 1;
        p->sent_commit = min_u64(p->sent_commit, p->next - 1);
        return true;
    }
    /* Only one probe is under way: an answer to anything else is late. */
    if (p->next - 1 != rejected)
        return false;
    p->next = max_u64(min_u64(rejected, hint + 1), p->match + 1);
    p->sent_commit = min_u64(p->sent_commit, p->next - 1);
    p->flow_paused = false;
    return true;
}

bool raft_progress_paused(const struct raft_progress *p)
{
    return p->state == RAFT_SNAPSHOT || p->flow_paused;
}

struct raft_progress_status raft_progress_status(const struct raft_progress *p)
{
    return (struct raft_progress_status){
        .id = p->id,
        .match = p->match,
        .next = p->next,
        .pending_snapshot = p->pending_snapshot,
        .state = p->state,
        .learner = p->learner,
        .recent_active = p->recent_active,
        .paused = raft_progress_paused(p),
        .inflight = p->inflights.count,
        .inflight_full = raft_inflights_full(&p->inflights),
    };
}

/* --- all followers --- */
void raft_tracker_done(struct raft_tracker *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        raft_inflights_done(&t->progress[i].inflights);
    t->count = 0;
}

static const struct raft_progress *raft_progress_find(const struct raft_tracker *t, uint64_t id)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->progress[i].id == id)
            return &t->progress[i];
    return NULL;
}

struct raft_progress *raft_tracker_find(struct raft_tracker *t, uint64_t id)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->progress[i].id == id)
            return &t->progress[i];
    return NULL;
}

bool raft_tracker_is_voter(const struct raft_tracker *t, uint64_t id)
{
    return raft_ids_has(&t->config.voters, id) || raft_ids_has(&t->config.voters_outgoing, id);
}

bool raft_tracker_is_singleton(const struct raft_tracker *t)
{
    return t->config.voters.count == 1 && t->config.voters_outgoing.count == 0;
}

static uint64_t get_match(const struct raft_progress *p)
{
    return p->match;
}

static uint64_t get_read_ack(const struct raft_progress *p)
{
    return p->read_ack;
}

static uint64_t majority_index(const struct raft_tracker *t, const struct raft_ids *voters,
                               uint64_t (*value_of)(const struct raft_progress *))
{
    uint64_t acked[RAFT_MEMBERS_MAX];
    struct raft_ids with_learners = *voters;
    for (uint32_t i = 0; MUTANT(LEARNER_COUNTS) && i < t->config.learners.count; i++)
        (void)raft_ids_add(&with_learners, t->config.learners.id[i]);
    if (MUTANT(LEARNER_COUNTS))
        voters = &with_learners;
    for (uint32_t i = 0; i < voters->count; i++) {
        const struct raft_progress *p = raft_progress_find(t, voters->id[i]);
        acked[i] = p ? value_of(p) : 0;
    }
    return raft_majority_index(acked, voters->count);
}

uint64_t raft_tracker_committed(const struct raft_tracker *t)
{
    if (MUTANT(JOINT_COMMIT_BY_HALF))
        return majority_index(t, &t->config.voters, get_match);
    return raft_joint_index(majority_index(t, &t->config.voters, get_match),
                            majority_index(t, &t->config.voters_outgoing, get_match));
}

uint64_t raft_tracker_reads_confirmed(const struct raft_tracker *t)
{
    uint64_t incoming = majority_index(t, &t->config.voters, get_read_ack);
    uint64_t outgoing = majority_index(t, &t->config.voters_outgoing, get_read_ack);
    if (MUTANT(JOINT_READ_BY_NEW_HALF))
        return incoming;
    if (MUTANT(JOINT_READ_BY_OLD_HALF) && t->config.voters_outgoing.count)
        return outgoing;
    return raft_joint_index(incoming, outgoing);
}

static enum raft_vote get_vote(const struct raft_progress *p)
{
    return p->vote;
}

static enum raft_vote get_active(const struct raft_progress *p)
{
    return p->recent_active ? RAFT_VOTE_YES : RAFT_VOTE_NO;
}

static enum raft_vote_result majority_vote(const struct raft_tracker *t, const struct raft_ids *voters,
                                           enum raft_vote (*vote_of)(const struct raft_progress *))
{
    enum raft_vote votes[RAFT_MEMBERS_MAX];
    for (uint32_t i = 0; i < voters->count; i++) {
        const struct raft_progress *p = raft_progress_find(t, voters->id[i]);
        votes[i] = p ? vote_of(p) : RAFT_VOTE_MISSING;
    }
    return raft_majority_vote(votes, voters->count);
}

bool raft_tracker_quorum_active(const struct raft_tracker *t)
{
    return raft_joint_vote(majority_vote(t, &t->config.voters, get_active),
                           majority_vote(t, &t->config.voters_outgoing, get_active)) == RAFT_VOTE_WON;
}

void raft_tracker_reset_votes(struct raft_tracker *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        t->progress[i].vote = RAFT_VOTE_MISSING;
}

enum raft_vote_result raft_tracker_tally(const struct raft_tracker *t, uint32_t *ret_granted,
                                         uint32_t *ret_rejected)
{
    uint32_t tally[3] = {0};
    for (uint32_t i = 0; i < t->count; i++)
        if (!t->progress[i].learner)
            tally[t->progress[i].vote]++;
    *ret_granted = tally[RAFT_VOTE_YES];
    *ret_rejected = tally[RAFT_VOTE_NO];
    if (MUTANT(JOINT_VOTE_BY_HALF))
        return majority_vote(t, &t->config.voters, get_vote);
    return raft_joint_vote(majority_vote(t, &t->config.voters, get_vote),
                           majority_vote(t, &t->config.voters_outgoing, get_vote));
}
