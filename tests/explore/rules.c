/* SPDX-License-Identifier: Apache-2.0
 * Invariants that must hold in every state. The first eight are the invariants of the TLA+ specification of
 * etcd's raft, with the names they have there. Some of them assume synchronous storage or a model of three
 * servers; there the comment says what is checked instead. The others check single steps, so that a mistake
 * shows long before two members differ. */
#include "tests/explore/world.h"

static unsigned long long number(uint64_t value)
{
    return (unsigned long long)value;
}

static const struct raft_log *log_of(const struct world *w, uint32_t i)
{
    return &w->member[i]->raft->log;
}

static bool is_leader(const struct world *w, uint32_t i)
{
    return w->member[i]->raft->role == RAFT_LEADER;
}

/* --- LogInv: committed entries never differ between members, now or ever --- */
static void log_inv(struct world *w, uint32_t i)
{
    const struct raft_log *l = log_of(w, i);
    for (uint64_t at = l->before.index + 1; at <= l->committed && at < EXPLORE_INDEX; at++) {
        const struct raft_entry *e = raft_log_entry(l, at);
        uint64_t hash = explore_entry_hash(e);
        if (at > w->past.last) {
            w->past.last = at;
            w->past.committed[at].term = e->term;
            w->past.committed[at].entry = hash;
            w->past.committed[at].by_term = w->member[i]->raft->term;
        } else if (at > EXPLORE_BOOT && w->past.committed[at].entry != hash) {
            world_break(w, "LogInv",
                        "member %u has committed another entry %llu (term %llu) than was committed "
                        "before (term %llu)",
                        i + 1, number(at), number(e->term), number(w->past.committed[at].term));
        }
    }
}

/* --- MoreThanOneLeaderInv: and not at different times either --- */
static void more_than_one_leader_inv(struct world *w, uint32_t i)
{
    uint64_t term = w->member[i]->raft->term;
    if (!is_leader(w, i) || term >= EXPLORE_TERM)
        return;
    uint8_t *leader = &w->past.leader[term];
    if (*leader && *leader != i + 1)
        world_break(w, "MoreThanOneLeaderInv", "term %llu has had leaders %u and %u", number(term), *leader,
                    i + 1);
    *leader = (uint8_t)(i + 1);
}

/* --- ElectionSafetyInv: no member has more entries of a leader's term than the leader --- */
static uint64_t last_of_term(const struct raft_log *l, uint64_t term)
{
    uint64_t at = raft_log_last(l);
    while (at > l->before.index && raft_log_term_or_zero(l, at) != term)
        at--;
    return at > l->before.index ? at : 0;
}

static void election_safety_inv(struct world *w, uint32_t i)
{
    for (uint32_t a = 0; a < w->scope->members; a++) {
        if (!is_leader(w, a))
            continue;
        uint64_t term = w->member[a]->raft->term, own = last_of_term(log_of(w, a), term);
        for (uint32_t b = 0; b < w->scope->members; b++) {
            uint64_t theirs = last_of_term(log_of(w, b), term);
            if ((a == i || b == i) && theirs > own && theirs > log_of(w, a)->before.index)
                world_break(w, "ElectionSafetyInv",
                            "member %u holds %llu of term %llu, its leader %u only %llu", b + 1,
                            number(theirs), number(term), a + 1, number(own));
        }
    }
}

/* --- LogMatchingInv: same index and term, same log up to there --- */
static void log_matching_inv(struct world *w, uint32_t i)
{
    const struct raft_log *a = log_of(w, i);
    for (uint32_t j = 0; j < w->scope->members; j++) {
        const struct raft_log *b = log_of(w, j);
        uint64_t from = a->before.index > b->before.index ? a->before.index : b->before.index;
        uint64_t to = raft_log_last(a) < raft_log_last(b) ? raft_log_last(a) : raft_log_last(b);
        bool must_match = false;
        for (uint64_t at = to; j != i && at > from; at--) {
            const struct raft_entry *x = raft_log_entry(a, at), *y = raft_log_entry(b, at);
            must_match |= x->term == y->term;
            if (must_match && explore_entry_hash(x) != explore_entry_hash(y))
                world_break(w, "LogMatchingInv", "members %u and %u differ at %llu and agree above", i + 1,
                            j + 1, number(at));
        }
    }
}

/* --- QuorumLogInv, CommittedIsDurableInv: every quorum has a member whose log holds the entries that any
 * member knows as committed; every quorum also has a member that holds them on disk. The specification writes
 * before it sends, so it can require them on the leader's own disk. With asynchronous storage a majority may
 * be faster than the leader's disk. The rule applies to members that have applied all committed
 * configurations: an older configuration proves nothing. --- */
static bool term_on_disk(const struct disk *d, uint64_t index, uint64_t *ret_term)
{
    if (index <= d->before.index || index > d->before.index + d->count)
        return false;
    *ret_term = d->entry[index - d->before.index - 1].term;
    return true;
}

static bool holds(const struct world *w, uint32_t j, uint64_t index, bool on_disk)
{
    const struct member *m = w->member[j];
    uint64_t before = on_disk ? m->disk.before.index : m->raft->log.before.index;
    for (uint64_t at = before + 1; at <= index; at++) {
        uint64_t term;
        bool there = on_disk ? term_on_disk(&m->disk, at, &term) : raft_log_term(&m->raft->log, at, &term);
        if (!there || (at > EXPLORE_BOOT && term != w->past.committed[at].term))
            return false;
    }
    return true;
}

static bool lacked_by_majority(const struct world *w, const struct raft_ids *voters, uint64_t index,
                               bool on_disk)
{
    uint32_t lacking = 0;
    for (uint32_t v = 0; v < voters->count; v++)
        lacking +=
            voters->id[v] > w->scope->members || !holds(w, (uint32_t)voters->id[v] - 1, index, on_disk);
    return lacking > voters->count / 2;
}

static void quorum_inv(struct world *w, uint32_t i, bool on_disk)
{
    const struct raft *r = w->member[i]->raft;
    const struct raft_conf_state *conf = &r->tracker.config;
    if (conf->voters.count == 0 || raft_has_unapplied_conf_change(r) || r->log.snapshot)
        return;
    bool lacking = lacked_by_majority(w, &conf->voters, r->log.committed, on_disk) &&
                   (conf->voters_outgoing.count == 0 ||
                    lacked_by_majority(w, &conf->voters_outgoing, r->log.committed, on_disk));
    if (lacking)
        world_break(w, on_disk ? "CommittedIsDurableInv" : "QuorumLogInv",
                    "member %u has committed %llu, which a whole quorum does not have%s", i + 1,
                    number(r->log.committed), on_disk ? " on disk" : "");
}

/* --- MoreUpToDateCorrectInv: a log that would get the vote holds everything that the voter knows as
 * committed. True for up to three voters: with more, an old leader's tail may stay unseen outside of the
 * deciding majorities. --- */
static void more_up_to_date_correct_inv(struct world *w, uint32_t i)
{
    if (w->scope->members > 3 || w->scope->change_count || w->scope->learners)
        return;
    for (uint32_t j = 0; j < w->scope->members; j++) {
        for (int turned = 0; turned < 2; turned++) {
            uint32_t a = turned ? j : i, b = turned ? i : j;
            const struct raft_log *candidate = log_of(w, a), *voter = log_of(w, b);
            if (a != b && raft_log_is_up_to_date(voter, raft_log_end(candidate)) &&
                !holds(w, a, voter->committed, false))
                world_break(w, "MoreUpToDateCorrectInv",
                            "member %u would get the vote of %u and lacks its committed "
                            "entries up to %llu",
                            a + 1, b + 1, number(voter->committed));
        }
    }
}

/* --- LeaderCompletenessInv: leaders of later terms hold all committed entries. The specification takes the
 * term of the entry, which is true in its small model; here it is the term in which the entry was committed.
 * --- */
static void leader_completeness_inv(struct world *w, uint32_t i)
{
    const struct raft *r = w->member[i]->raft;
    if (!is_leader(w, i))
        return;
    for (uint64_t at = r->log.before.index + 1; at <= w->past.last; at++) {
        if (at <= EXPLORE_BOOT || w->past.committed[at].by_term >= r->term)
            continue;
        if (raft_log_term_or_zero(&r->log, at) != w->past.committed[at].term)
            world_break(w, "LeaderCompletenessInv",
                        "leader %u of term %llu lacks entry %llu, committed in term %llu", i + 1,
                        number(r->term), number(at), number(w->past.committed[at].by_term));
    }
}

/* --- rules of this project --- */
/* The order of a member's own indexes, and that time only moves forward. */
static void own_order(struct world *w, uint32_t i)
{
    const struct member *m = w->member[i];
    const struct raft_log *l = &m->raft->log;
    if (l->applied > l->applying || l->applying > l->committed || l->committed > raft_log_last(l))
        world_break(w, "IndexOrder", "member %u: applied %llu, committed %llu, last %llu", i + 1,
                    number(l->applied), number(l->committed), number(raft_log_last(l)));
    if (m->raft->term < m->disk.hard.term)
        world_break(w, "TermsGrow", "member %u is in term %llu and has been in %llu", i + 1,
                    number(m->raft->term), number(m->disk.hard.term));
    if (raft_log_last(l) >= EXPLORE_INDEX - 4 || m->raft->term >= EXPLORE_TERM - 2)
        world_break(w, "Bounded", "the history's arrays are too small for this scope");
}

/* A leader appends a configuration change when all before it are applied. (What it inherited may hold two.)
 */
static void one_change_at_a_time(struct world *w, uint32_t i)
{
    const struct raft *r = w->member[i]->raft;
    if (!is_leader(w, i))
        return;
    uint32_t changes = 0, own = 0;
    for (uint64_t at = r->log.applied + 1; at <= raft_log_last(&r->log); at++) {
        const struct raft_entry *e = raft_log_entry(&r->log, at);
        changes += e && e->type != RAFT_ENTRY_NORMAL;
        own += e && e->type != RAFT_ENTRY_NORMAL && e->term == r->term;
    }
    if (own && changes > 1)
        world_break(w, "OneChangeAtATime", "leader %u has %u configuration changes that are not applied",
                    i + 1, changes);
}

/* Everything that the core believes to be on disk is there. */
static void stable_is_durable(struct world *w, uint32_t i)
{
    const struct raft_log *l = log_of(w, i);
    for (uint64_t at = l->before.index + 1; at < l->unstable && !l->snapshot; at++) {
        uint64_t term = 0;
        if (!term_on_disk(&w->member[i]->disk, at, &term) || term != raft_log_term_or_zero(l, at))
            world_break(w, "StableIsDurable", "member %u takes entry %llu for stable; on disk is term %llu",
                        i + 1, number(at), number(term));
    }
}

/* The configuration in force was applied, or came with the snapshot. */
static void configuration_is_applied(struct world *w, uint32_t i)
{
    const struct member *m = w->member[i];
    if (!m->raft->log.snapshot && !raft_conf_state_equal(&m->raft->tracker.config, &m->conf))
        world_break(w, "ConfigurationIsApplied", "member %u works by another configuration than it applied",
                    i + 1);
}

void rules_check(struct world *w, uint32_t i)
{
    if (w->broken)
        return;
    own_order(w, i);
    log_inv(w, i);
    more_than_one_leader_inv(w, i);
    election_safety_inv(w, i);
    log_matching_inv(w, i);
    quorum_inv(w, i, false);
    quorum_inv(w, i, true);
    more_up_to_date_correct_inv(w, i);
    leader_completeness_inv(w, i);
    one_change_at_a_time(w, i);
    stable_is_durable(w, i);
    configuration_is_applied(w, i);
}

/* --- rules of one step: `before` is the member before it --- */
static bool hears_leader(const struct world *w, const struct raft *r)
{
    return w->scope->check_quorum && r->role == RAFT_FOLLOWER && r->leader != RAFT_NONE &&
           r->election_elapsed < r->config.election_tick;
}

void rules_stepped(struct world *w, uint32_t i, const struct before *before, const struct raft_message *m)
{
    const struct raft *r = w->member[i]->raft;
    bool moved = r->term != before->term;
    if (m->type == RAFT_MSG_PRE_VOTE && moved)
        world_break(w, "PreVoteIsFree", "being asked for a pre-vote moved member %u to term %llu", i + 1,
                    number(r->term));
    if (m->type == RAFT_MSG_VOTE && before->hears_leader && !raft_is_transfer(m) && moved)
        world_break(w, "LeaderIsNotDisturbed",
                    "member %u hears its leader and followed a candidate to term %llu", i + 1,
                    number(r->term));
}

void rules_timed_out(struct world *w, uint32_t i)
{
    const struct raft *r = w->member[i]->raft;
    if (w->scope->pre_vote && r->role == RAFT_CANDIDATE)
        world_break(w, "PreVoteFirst", "member %u went to term %llu without asking", i + 1, number(r->term));
}

struct before rules_before(const struct world *w, uint32_t i)
{
    const struct raft *r = w->member[i]->raft;
    return (struct before){.term = r->term, .hears_leader = hears_leader(w, r)};
}

/* A leader that gets no answers knows it after two rounds of checking. */
void rules_isolated(struct world *w, uint32_t i)
{
    const struct raft *r = w->member[i]->raft;
    if (r->role == RAFT_LEADER)
        world_break(w, "LonelyLeaderStepsDown", "member %u leads on in term %llu and hears of nobody", i + 1,
                    number(r->term));
}

/* A promise leaves the member: it must be on its disk, and must not contradict an earlier one. */
static void vote_left(struct world *w, uint32_t i, const struct raft_message *m)
{
    const struct raft_hard_state *hard = &w->member[i]->disk.hard;
    if (hard->term < m->term || (hard->term == m->term && hard->vote != m->to))
        world_break(w, "PromisesAreDurable",
                    "vote of member %u for %llu in term %llu left; on disk: term %llu, "
                    "vote %llu",
                    i + 1, number(m->to), number(m->term), number(hard->term), number(hard->vote));
    if (m->term >= EXPLORE_TERM)
        return;
    uint8_t *granted = &w->past.granted[i][m->term];
    if (*granted && *granted != m->to)
        world_break(w, "OneVoteATerm", "member %u voted for %u and for %llu in term %llu", i + 1, *granted,
                    number(m->to), number(m->term));
    *granted = (uint8_t)m->to;
}

static void append_left(struct world *w, uint32_t i, const struct raft_message *m)
{
    const struct disk *d = &w->member[i]->disk;
    if (d->hard.term < m->term || d->before.index + d->count < m->index)
        world_break(w, "PromisesAreDurable",
                    "member %u acknowledged %llu in term %llu; on disk: %llu, term %llu", i + 1,
                    number(m->index), number(m->term), number(d->before.index + d->count),
                    number(d->hard.term));
}

static void timeout_now_left(struct world *w, uint32_t i, const struct raft_message *m)
{
    const struct raft_log *from = log_of(w, i), *to = log_of(w, (uint32_t)m->to - 1);
    if (!raft_log_is_up_to_date(from, raft_log_end(to)))
        world_break(w, "TransfereeIsCaughtUp",
                    "member %u handed leadership to %llu, which has entries to %llu of %llu", i + 1,
                    number(m->to), number(raft_log_last(to)), number(raft_log_last(from)));
}

void rules_sent(struct world *w, uint32_t i, const struct raft_message *m)
{
    if (m->reject)
        return;
    if (m->type == RAFT_MSG_TIMEOUT_NOW)
        timeout_now_left(w, i, m);
    if (m->type == RAFT_MSG_VOTE_RESP)
        vote_left(w, i, m);
    else if (m->type == RAFT_MSG_APP_RESP && m->index)
        append_left(w, i, m);
}

/* A linearizable read shows everything that was committed when it began. */
void rules_read(struct world *w, const struct raft_read_state *read)
{
    uint32_t at = (uint32_t)(read->context.data[0] - 'A');
    if (at < EXPLORE_READS && read->index < w->past.read_floor[at])
        world_break(w, "ReadIsCurrent", "read %c got index %llu; %llu was committed when it began",
                    read->context.data[0], number(read->index), number(w->past.read_floor[at]));
}

/* The state machine is the same at the same index, independent of how a member reached it. */
void rules_applied(struct world *w, uint32_t i)
{
    const struct member *m = w->member[i];
    uint64_t at = m->applied.index;
    if (at >= EXPLORE_INDEX)
        return;
    log_inv(w, i);
    if (at > w->past.last) {
        world_break(w, "AppliedIsCommitted", "member %u applied %llu; committed is %llu", i + 1, number(at),
                    number(w->past.last));
        return;
    }
    uint64_t *content = &w->past.committed[at].content;
    if (*content == 0)
        *content = m->content;
    else if (*content != m->content)
        world_break(w, "StateMachineSafety", "member %u applied something else up to %llu", i + 1,
                    number(at));
}
