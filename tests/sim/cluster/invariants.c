/* SPDX-License-Identifier: Apache-2.0
 * The safety invariants of a simulated cluster; see invariants.h.
 *
 * Logs are compared by chains: the chain of an entry is a hash of all entries up to it. Two logs that have
 * an entry with the same index and term must have the same chain there (log matching), independent of its
 * author and time. So one table of (index, term) -> chain is enough for the whole run. */
#include "tests/sim/cluster/invariants.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/peer/codec.h"
#include "consensus/raft/core.h"
#include "tests/scenario/render.h"
#include "tests/sim/cluster/network.h"
#include "tests/sim/cluster/probe.h"
#include "tests/sim/cluster/rights.h"
#include "tests/sim/cluster/workload.h"

enum { BOOTSTRAP_INDEX = 1, BOOTSTRAP_TERM = 1, RETIRED_MAX = 256, PROBED_PPM = 10000 };

struct mark {
    uint64_t term, chain;
};

/* Everything that one machine's member has shown. */
struct shadow {
    uint64_t member_id;
    uint64_t term, vote;    /* in memory */
    uint64_t promised_term; /* others received something that depends on it */
    uint64_t promised_vote; /* in that term */
    uint64_t base;          /* marks[0] is of base + 1 */
    uint64_t last;
    uint64_t stable; /* raft knows that everything up to here is on disk */
    uint64_t acked;  /* others received that claim; raft itself forgets it when its term has changed
                      * meanwhile */
    uint64_t commit, applied;
    struct mark *marks;
    size_t capacity;
    struct raft_conf_state config; /* of a leader, after its last turn */
    /* By the entry that is being applied, which may take many turns: other members apply theirs meanwhile. */
    int64_t ended_lease;
};

/* An entry that was committed. */
struct committed {
    uint64_t term, chain;
    uint64_t before_term; /* it was committed in this term or an earlier one */
};

struct applied {
    uint64_t term;
    uint32_t crc;
    bool is_known;
    int64_t revision, compacted;
    uint64_t leases, rights; /* hashes of the data in the log about them */
    unsigned level;          /* the cluster's feature level */
};

struct chain_slot {
    uint64_t index, term, chain; /* index 0 = free */
};

struct invariants {
    struct world *world;
    struct shadow shadows[MACHINES_MAX];
    struct committed *committed; /* by index; [0] and [1] are the bootstrap */
    uint64_t committed_last;
    size_t committed_capacity;
    struct applied *applied; /* by index */
    size_t applied_capacity;
    uint64_t *changes; /* hashes by revision; 0 = not seen */
    size_t change_capacity;
    uint64_t *leaders; /* by term */
    size_t leader_capacity, leader_count;
    struct chain_slot *chains;
    size_t chain_count, chain_capacity;
    struct raft_conf_state config; /* the last entry that was applied, at this index */
    uint64_t config_index;
    struct retired {
        uint64_t id, stable;
    } retired[RETIRED_MAX]; /* members that lost what they had promised */
    size_t retired_count;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ b >> 31) * 0xbf58476d1ce4e5b9 + b;
    h = (h ^ h >> 27) * 0x94d049bb133111eb;
    return h ^ h >> 31;
}

static const char *name_of(const struct process *p)
{
    return p->machine->name;
}

static struct invariants *of(const struct process *p)
{
    return p->machine->world->invariants;
}

static struct shadow *shadow_of(const struct process *p)
{
    return &of(p)->shadows[p->machine->slot];
}

/* Makes room for position `at`; new room is zero. */
static void *reach(void *items, size_t at, size_t *capacity, size_t size)
{
    if (at < *capacity)
        return items;
    size_t before = *capacity;
    while (at >= *capacity)
        *capacity = *capacity ? *capacity * 2 : 256;
    items = mem_resize(items, *capacity * size);
    memset((char *)items + before * size, 0, (*capacity - before) * size);
    return items;
}

/* --- chains -------------------------------------------------------------------------------------------- */

static struct chain_slot *chain_slot(struct invariants *v, uint64_t index, uint64_t term)
{
    size_t at = mix(index, term) & (v->chain_capacity - 1);
    while (v->chains[at].index && (v->chains[at].index != index || v->chains[at].term != term))
        at = (at + 1) & (v->chain_capacity - 1);
    return &v->chains[at];
}

static void grow_chains(struct invariants *v)
{
    struct chain_slot *old = v->chains;
    size_t count = v->chain_capacity;
    v->chain_capacity = count ? count * 2 : 4096;
    v->chains = mem_new(v->chain_capacity * sizeof *v->chains);
    for (size_t i = 0; i < count; i++)
        if (old[i].index)
            *chain_slot(v, old[i].index, old[i].term) = old[i];
    mem_free(old);
}

/* The chain of an entry, checked against all other logs. */
static uint64_t chain_add(struct invariants *v, const struct process *p, const struct raft_entry *e,
                          uint64_t before)
{
    struct slice data = blob_slice(e->data);
    uint64_t chain = mix(before, mix(e->term << 2 | (uint64_t)e->type,
                                     (uint64_t)crc32c(0, data.data, data.size) << 32 | data.size));
    if (2 * v->chain_count >= v->chain_capacity)
        grow_chains(v);
    struct chain_slot *slot = chain_slot(v, e->index, e->term);
    if (!slot->index) {
        *slot = (struct chain_slot){e->index, e->term, chain};
        v->chain_count++;
    } else if (slot->chain != chain) {
        world_violated(v->world, "log_matching",
                       "%s holds another log than others at index %" PRIu64 ", term %" PRIu64, name_of(p),
                       e->index, e->term);
    }
    return chain;
}

/* The chain of an entry that is not in memory: some log has held it, at least this one before its restart. */
static uint64_t chain_of_evicted(struct invariants *v, const struct process *p, uint64_t index, uint64_t term)
{
    const struct chain_slot *slot = chain_slot(v, index, term);
    if (!slot->index)
        world_violated(v->world, "log_matching",
                       "%s has index %" PRIu64 ", term %" PRIu64 " on disk, which no log has ever had",
                       name_of(p), index, term);
    return slot->chain;
}

static const struct mark *mark_at(const struct shadow *s, uint64_t index)
{
    return index > s->base && index <= s->last ? &s->marks[index - s->base - 1] : NULL;
}

static uint64_t chain_at(struct invariants *v, const struct shadow *s, uint64_t index, uint64_t term)
{
    const struct mark *m = mark_at(s, index);
    if (m && m->term == term)
        return m->chain;
    const struct chain_slot *slot = chain_slot(v, index, term);
    return slot->index ? slot->chain : 0;
}

/* The log begins at another index than the shadow: after a snapshot, or at a start. */
static void rebase(struct process *p, struct shadow *s, struct raft_position before)
{
    const struct chain_slot *slot = chain_slot(of(p), before.index, before.term);
    if (!slot->index && before.index)
        world_violated(of(p)->world, "snapshot_is_prefix",
                       "%s begins after index %" PRIu64 ", term %" PRIu64 ", which no log has ever had",
                       name_of(p), before.index, before.term);
    s->base = s->last = before.index; /* 0: a log that waits for its first snapshot */
}

/* Brings the shadow's marks up to raft's log; from: the first index that is read again. */
static void follow_log(struct process *p, struct shadow *s, bool from_start)
{
    struct invariants *v = of(p);
    const struct raft_log *log = &p->raft->log;
    struct raft_position before = log->before;
    uint64_t last = raft_log_last(log);
    if (from_start || before.index > s->last || before.index < s->base)
        rebase(p, s, before);
    uint64_t match = s->last < last ? s->last : last;
    while (match > before.index && match > s->base &&
           mark_at(s, match)->term != raft_log_term_or_zero(log, match))
        match--;
    uint64_t chain = chain_at(v, s, match, raft_log_term_or_zero(log, match));
    if (s->acked > match && match < last)
        s->acked = match; /* a new leader has replaced it */
    for (uint64_t i = match + 1; i <= last && !v->world->is_violated; i++) {
        const struct raft_entry *e = raft_log_entry(log, i);
        uint64_t term = raft_log_term_or_zero(log, i);
        chain = e ? chain_add(v, p, e, chain) : chain_of_evicted(v, p, i, term);
        s->marks = reach(s->marks, i - s->base, &s->capacity, sizeof *s->marks);
        s->marks[i - s->base - 1] = (struct mark){term, chain};
    }
    s->last = last;
}

/* Old marks are not needed; the array must not grow for ever. */
static void trim(struct shadow *s, uint64_t before)
{
    if (before < s->base + 4096 || before > s->last)
        return;
    memmove(s->marks, s->marks + (before - s->base), (s->last - before) * sizeof *s->marks);
    s->base = before;
}

/* --- commitment ---------------------------------------------------------------------------------------- */

static uint64_t durable(const struct shadow *s)
{
    return s->acked > s->stable ? s->acked : s->stable;
}

static bool holds(const struct invariants *v, uint64_t member_id, uint64_t index)
{
    for (unsigned i = 0; i < MACHINES_MAX; i++) {
        const struct shadow *s = &v->shadows[i];
        if (s->member_id != member_id || durable(s) < index)
            continue;
        const struct mark *m = mark_at(s, index);
        return !m || m->chain == v->committed[index].chain;
    }
    /* The acknowledgement may arrive after the member's disk was lost. */
    for (size_t i = 0; i < v->retired_count; i++)
        if (v->retired[i].id == member_id)
            return v->retired[i].stable >= index;
    return false;
}

static unsigned count_holders(const struct invariants *v, const struct raft_ids *ids, uint64_t index)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < ids->count; i++)
        count += holds(v, ids->id[i], index);
    return count;
}

/* The half of a joint configuration without a majority; -1: none. */
static int lacking_half(const struct invariants *v, const struct raft_conf_state *c, uint64_t index,
                        unsigned *ret_have)
{
    const struct raft_ids *halves[] = {&c->voters, &c->voters_outgoing};
    for (int i = 0; i < 2; i++) {
        *ret_have = count_holders(v, halves[i], index);
        if (halves[i]->count && *ret_have < halves[i]->count / 2 + 1)
            return i;
    }
    return -1;
}

/* A turn may commit a change of the configuration and then apply it: the configuration before the turn is
 * valid, too. */
static void check_quorum(struct process *p, const struct shadow *s, uint64_t index)
{
    struct invariants *v = of(p);
    unsigned have, ignored;
    int half = lacking_half(v, &p->raft->tracker.config, index, &have);
    if (half < 0 || (s->config.voters.count && lacking_half(v, &s->config, index, &ignored) < 0))
        return;
    world_violated(
        v->world, "commit_is_durable",
        "%s commits index %" PRIu64 " which is on the disks of %u of %u %svoters", name_of(p), index, have,
        half ? p->raft->tracker.config.voters_outgoing.count : p->raft->tracker.config.voters.count,
        half ? "outgoing " : "");
}

static void see_commit(struct process *p, struct shadow *s, uint64_t index)
{
    struct invariants *v = of(p);
    uint64_t term = raft_log_term_or_zero(&p->raft->log, index);
    uint64_t chain = chain_at(v, s, index, term);
    if (index <= v->committed_last) {
        if (v->committed[index].chain != chain)
            world_violated(v->world, "state_machine_safety",
                           "%s commits another entry at index %" PRIu64 " (term %" PRIu64
                           ") than was committed there (term %" PRIu64 ")",
                           name_of(p), index, term, v->committed[index].term);
        return;
    }
    if (index != v->committed_last + 1) {
        world_violated(v->world, "state_machine_safety", "%s commits index %" PRIu64 " beyond all others",
                       name_of(p), index);
        return;
    }
    v->committed = reach(v->committed, index, &v->committed_capacity, sizeof *v->committed);
    v->committed[index] = (struct committed){term, chain, p->raft->term};
    v->committed_last = index;
}

static void follow_commit(struct process *p, struct shadow *s)
{
    struct invariants *v = of(p);
    const struct raft_log *log = &p->raft->log;
    if (log->committed < s->commit)
        world_violated(v->world, "commit_never_falls", "%s went from %" PRIu64 " to %" PRIu64, name_of(p),
                       s->commit, log->committed);
    if (log->committed == s->commit)
        return;
    uint64_t known = v->committed_last;
    uint64_t from = s->commit + 1 > raft_log_first(log) ? s->commit + 1 : raft_log_first(log);
    for (uint64_t i = from; i <= log->committed && !v->world->is_violated; i++)
        see_commit(p, s, i);
    s->commit = log->committed;
    if (v->committed_last > known && p->raft->role == RAFT_LEADER)
        check_quorum(p, s, v->committed_last);
}

/* --- elections ----------------------------------------------------------------------------------------- */

static void check_complete(struct process *p, const struct shadow *s)
{
    struct invariants *v = of(p);
    uint64_t index = v->committed_last;
    while (index > 1 && v->committed[index].before_term >= p->raft->term)
        index--;
    if (index <= s->base || index <= p->raft->log.before.index)
        return;
    const struct mark *m = mark_at(s, index);
    if (!m || m->chain != v->committed[index].chain)
        world_violated(v->world, "leader_completeness",
                       "%s leads term %" PRIu64 " without index %" PRIu64 " (its last is %" PRIu64
                       "), which was committed in a term not above %" PRIu64,
                       name_of(p), p->raft->term, index, s->last, v->committed[index].before_term);
}

static void check_leader(struct process *p, const struct shadow *s)
{
    struct invariants *v = of(p);
    uint64_t term = p->raft->term, id = p->raft->config.id;
    v->leaders = reach(v->leaders, term, &v->leader_capacity, sizeof *v->leaders);
    if (v->leaders[term] == id)
        return;
    if (v->leaders[term])
        world_violated(v->world, "election_safety",
                       "%" PRIx64 " and %" PRIx64 " (%s) both lead term %" PRIu64, v->leaders[term], id,
                       name_of(p), term);
    v->leaders[term] = id;
    v->leader_count++;
    world_note(v->world, "%s leads term %" PRIu64, name_of(p), term);
    check_complete(p, s);
}

static void check_term(struct process *p, struct shadow *s)
{
    const struct raft *r = p->raft;
    if (r->term < s->term)
        world_violated(of(p)->world, "term_never_falls", "%s went from term %" PRIu64 " to %" PRIu64,
                       name_of(p), s->term, r->term);
    if (r->term == s->term && s->vote && r->vote != s->vote)
        world_violated(of(p)->world, "one_vote_a_term",
                       "%s voted for %" PRIx64 " and then for %" PRIx64 " in term %" PRIu64, name_of(p),
                       s->vote, r->vote, r->term);
    s->term = r->term;
    s->vote = r->vote;
}

/* The leases by the log: their ids, and the remaining time from which a new leader starts. */
static uint64_t hash_leases(const struct lease_table *t)
{
    int64_t *ids = NULL, remaining_s, granted_s;
    size_t count = lease_list(t, &ids);
    uint64_t sum = count; /* the list's order depends on the leader */
    for (size_t i = 0; i < count; i++) {
        lease_time_to_live(t, ids[i], 0, &remaining_s, &granted_s);
        sum += mix(mix((uint64_t)ids[i], (uint64_t)granted_s), (uint64_t)lease_logged_rest(t, ids[i]));
    }
    mem_free(ids);
    return sum;
}

/* --- after each turn ----------------------------------------------------------------------------------- */

/* A snapshot has become the store, outside of any turn: it must equal other stores at that index. */
static void see_installed(struct process *p)
{
    struct invariants *v = of(p);
    struct shadow *s = shadow_of(p);
    uint64_t index = store_applied_index(p->kv->store);
    int64_t revision = store_revision(p->kv->store), compacted = store_compact_revision(p->kv->store);
    v->applied = reach(v->applied, index, &v->applied_capacity, sizeof *v->applied);
    const struct applied *known = &v->applied[index];
    if (known->is_known && (known->revision != revision || known->compacted != compacted))
        world_violated(v->world, "same_state",
                       "%s is at revision %" PRId64 ", compacted %" PRId64
                       " by the snapshot of index %" PRIu64 ", others were at %" PRId64 ", %" PRId64,
                       name_of(p), revision, compacted, index, known->revision, known->compacted);
    else if (known->is_known && known->leases != hash_leases(p->kv->leases))
        world_violated(v->world, "same_leases",
                       "%s has other leases, or other remaining times, by the snapshot of index %" PRIu64,
                       name_of(p), index);
    if (known->is_known && known->rights != rights_hash(&p->kv->auth.rights))
        world_violated(v->world, "same_rights",
                       "%s has other users or roles by the snapshot of index %" PRIu64, name_of(p), index);
    if (known->is_known && known->level != kv_feature_level(p->kv))
        world_violated(v->world, "same_level",
                       "%s is at feature level %u by the snapshot of index %" PRIu64 ", others were at %u",
                       name_of(p), kv_feature_level(p->kv), index, known->level);
    s->applied = index;
    world_note(v->world, "%s has installed the snapshot of index %" PRIu64, name_of(p), index);
}

void invariants_check(struct process *p)
{
    if (!p->raft || of(p)->world->is_violated)
        return;
    struct shadow *s = shadow_of(p);
    const struct raft_log *log = &p->raft->log;
    struct raft_position end = raft_log_end(log);
    const struct mark *m = mark_at(s, end.index);
    check_term(p, s);
    if (!m || s->last != end.index || m->term != end.term || log->before.index > s->last)
        follow_log(p, s, false);
    if (p->state == PROCESS_RUNNING && store_applied_index(p->kv->store) > s->applied)
        see_installed(p);
    if (!log->snapshot) /* one that is being installed: the disk still holds the old state */
        s->stable = log->unstable - 1;
    if (s->stable > s->last)
        s->stable = s->last;
    if (p->raft->role == RAFT_LEADER)
        check_leader(p, s);
    follow_commit(p, s);
    if (p->raft->role == RAFT_LEADER)
        s->config = p->raft->tracker.config;
    if (store_applied_index(p->kv->store) > s->applied)
        see_installed(p);
    if (s->applied > log->committed)
        world_violated(of(p)->world, "applied_is_committed", "%s applied %" PRIu64 ", committed is %" PRIu64,
                       name_of(p), s->applied, log->committed);
    trim(s, log->before.index);
    world_mark(of(p)->world, p->raft->term << 32 | p->machine->slot, end.index << 32 | log->committed);
}

/* --- messages out and in ------------------------------------------------------------------------------ */

/* Is the promise on the disk now? A copy of the disk loses its power and is read. */
static void probe_promise(struct process *p, const struct raft_message *m)
{
    struct world *w = of(p)->world;
    struct probe found;
    bool is_ack = m->type == RAFT_MSG_APP_RESP && !m->reject;
    uint64_t term = raft_log_term_or_zero(&p->raft->log, m->index); /* 0: within a snapshot */
    if (p->machine->has_bad_disk)
        return;
    if (!probe_log(p->machine, is_ack ? m->index : 0, &found))
        world_violated(w, "promise_is_durable",
                       "%s made a promise, but its log could not be read after a power cut", name_of(p));
    else if (found.term < m->term ||
             (m->type == RAFT_MSG_VOTE_RESP && !m->reject && found.term == m->term && found.vote != m->to))
        world_violated(w, "promise_is_durable",
                       "%s answers %" PRIx64 " in term %" PRIu64 ", on its disk are term %" PRIu64
                       " and a vote for %" PRIx64,
                       name_of(p), m->to, m->term, found.term, found.vote);
    else if (is_ack && m->index > found.snapshot_index &&
             (m->index > found.last || (term && found.entry_term != term)))
        world_violated(w, "promise_is_durable",
                       "%s acknowledges index %" PRIu64 " of term %" PRIu64 ", on its disk are %" PRIu64
                       " entries, there of term %" PRIu64,
                       name_of(p), m->index, term, found.last, found.entry_term);
}

void invariants_sent(struct process *p, uint64_t to, enum peer_stream stream, struct slice bytes)
{
    (void)stream;
    struct shadow *s = shadow_of(p);
    if (!p->raft || bytes.size < 2 || bytes.data[0] != CODEC_RAFT ||
        (bytes.data[1] != RAFT_MSG_VOTE_RESP && bytes.data[1] != RAFT_MSG_APP_RESP))
        return;
    struct arena a = {0};
    struct raft_message m;
    bool is_probed = world_chance(&of(p)->world->disk_random, PROBED_PPM);
    if (codec_read_raft(slice_of(bytes.data + 1, bytes.size - 1), &a, &m) == OK) {
        if (m.term > s->promised_term) {
            s->promised_term = m.term;
            s->promised_vote = 0;
        }
        if (m.type == RAFT_MSG_VOTE_RESP && !m.reject && m.term == s->promised_term)
            s->promised_vote = to;
        if (m.type == RAFT_MSG_APP_RESP && !m.reject && m.index > s->acked && m.index <= s->last)
            s->acked = m.index;
        if (is_probed)
            probe_promise(p, &m);
        codec_done_raft(&m);
    }
    arena_done(&a);
}

/* A start: everything that was promised must be there. */
void invariants_recovered(struct process *p, const struct raft_initial *initial)
{
    struct invariants *v = of(p);
    struct shadow *s = shadow_of(p);
    uint64_t stable = durable(s), commit = p->raft->log.committed;
    struct mark promised = {0};
    if (mark_at(s, stable))
        promised = *mark_at(s, stable);
    if (p->machine->has_bad_disk)
        world_note(v->world, "%s comes back from a bad disk", name_of(p));
    if (initial->hard_state.term < s->promised_term)
        world_violated(v->world, "promises_survive",
                       "%s sent messages of term %" PRIu64 ", restarts in %" PRIu64, name_of(p),
                       s->promised_term, initial->hard_state.term);
    if (initial->hard_state.term == s->promised_term && s->promised_vote &&
        initial->hard_state.vote != s->promised_vote)
        world_violated(v->world, "promises_survive",
                       "%s gave its vote in term %" PRIu64 " to %" PRIx64 ", restarts with %" PRIx64,
                       name_of(p), s->promised_term, s->promised_vote, initial->hard_state.vote);
    s->member_id = p->raft->config.id;
    for (size_t i = 0; i < v->retired_count; i++)
        if (v->retired[i].id == s->member_id)
            world_violated(v->world, "ids_are_not_reused",
                           "%s restarts as member %" PRIx64 ", which lost what it had promised", name_of(p),
                           s->member_id);
    follow_log(p, s, true);
    const struct mark *m = mark_at(s, stable);
    if (stable > s->last || (m && promised.chain && m->chain != promised.chain))
        world_violated(v->world, "promises_survive",
                       "%s had its log on disk up to %" PRIu64 " (term %" PRIu64 "), restarts with %" PRIu64
                       " to %" PRIu64,
                       name_of(p), stable, promised.term, s->base + 1, s->last);
    for (uint64_t i = raft_log_first(&p->raft->log); i <= commit && !v->world->is_violated; i++)
        see_commit(p, s, i);
    s->term = p->raft->term;
    s->vote = p->raft->vote;
    s->stable = s->acked = s->last;
    s->commit = commit;
    s->applied = p->raft->log.applied;
    world_note(v->world,
               "%s comes back: term %" PRIu64 ", log %" PRIu64 " to %" PRIu64 ", commit %" PRIu64
               ", applied %" PRIu64,
               name_of(p), s->term, s->base + 1, s->last, commit, s->applied);
}

void invariants_started(struct process *p)
{
    shadow_of(p)->member_id = p->machine->member_id;
}

void invariants_wiped(struct machine *m)
{
    struct invariants *v = m->world->invariants;
    struct shadow *s = &v->shadows[m->slot];
    if (s->promised_term && v->retired_count < RETIRED_MAX)
        v->retired[v->retired_count++] = (struct retired){s->member_id, durable(s)};
    mem_free(s->marks);
    *s = (struct shadow){0};
}

/* --- applying ------------------------------------------------------------------------------------------ */

/* The lease that an entry ends, if it ends one. */
static int64_t ended_lease(const struct raft_entry *e)
{
    struct entry entry;
    if (e->type != RAFT_ENTRY_NORMAL || !e->data || entry_decode(blob_slice(e->data), &entry) != OK ||
        entry.op != ENTRY_LEASE_REVOKE)
        return HISTORY_NO_LEASE;
    Etcdserverpb__LeaseRevokeRequest *m =
        etcdserverpb__lease_revoke_request__unpack(NULL, entry.body.size, entry.body.data);
    int64_t id = m ? m->id : HISTORY_NO_LEASE;
    if (m)
        etcdserverpb__lease_revoke_request__free_unpacked(m, NULL);
    return id;
}

void invariants_applies(struct process *p, const struct raft_entry *entry)
{
    shadow_of(p)->ended_lease = ended_lease(entry);
    follow_log(p, shadow_of(p), false); /* it may leave the memory in this turn */
}

void invariants_applied(struct process *p, const struct raft_entry *entry, int64_t revision_before)
{
    struct invariants *v = of(p);
    struct shadow *s = shadow_of(p);
    const struct store *store = p->kv->store;
    struct slice data = blob_slice(entry->data);
    struct applied now = {
        .term = entry->term,
        .crc = crc32c(0, data.data, data.size),
        .is_known = true,
        .revision = store_revision(store),
        .compacted = store_compact_revision(store),
        .leases = hash_leases(p->kv->leases),
        .rights = rights_hash(&p->kv->auth.rights),
        .level = kv_feature_level(p->kv),
    };
    if (entry->index != s->applied + 1)
        world_violated(v->world, "applied_in_order", "%s applies index %" PRIu64 " after %" PRIu64,
                       name_of(p), entry->index, s->applied);
    if (now.revision != revision_before && now.revision != revision_before + 1)
        world_violated(v->world, "revision_by_one",
                       "%s went from revision %" PRId64 " to %" PRId64 " with index %" PRIu64, name_of(p),
                       revision_before, now.revision, entry->index);
    s->applied = entry->index;
    if (entry->index > v->config_index && p->raft) {
        v->config_index = entry->index;
        if (entry->type != RAFT_ENTRY_NORMAL || v->config.voters.count == 0)
            v->config = p->raft->tracker.config;
    }
    v->applied = reach(v->applied, entry->index, &v->applied_capacity, sizeof *v->applied);
    struct applied *known = &v->applied[entry->index];
    if (!known->is_known)
        *known = now;
    else if (known->term != now.term || known->crc != now.crc)
        world_violated(v->world, "state_machine_safety", "%s applies another entry at index %" PRIu64,
                       name_of(p), entry->index);
    else if (known->revision != now.revision || known->compacted != now.compacted)
        world_violated(v->world, "same_state",
                       "%s is at revision %" PRId64 ", compacted %" PRId64 " after index %" PRIu64
                       ", others were at %" PRId64 ", %" PRId64,
                       name_of(p), now.revision, now.compacted, entry->index, known->revision,
                       known->compacted);
    else if (known->leases != now.leases)
        world_violated(v->world, "same_leases",
                       "%s has other leases, or other remaining times, after index %" PRIu64, name_of(p),
                       entry->index);
    else if (known->rights != now.rights)
        world_violated(v->world, "same_rights", "%s has other users or roles after index %" PRIu64,
                       name_of(p), entry->index);
    else if (known->level != now.level)
        world_violated(v->world, "same_level",
                       "%s is at feature level %u after index %" PRIu64 ", others were at %u", name_of(p),
                       now.level, entry->index, known->level);
    world_mark(v->world, entry->index, (uint64_t)now.revision);
}

static uint64_t hash_bytes(uint64_t h, const ProtobufCBinaryData *d)
{
    return mix(h, (uint64_t)crc32c(0, d->data, d->len) << 32 | d->len);
}

static uint64_t hash_change(const struct store_change *change)
{
    uint64_t h = (uint64_t)change->revision;
    for (size_t i = 0; i < change->count; i++) {
        const struct store_event *e = &change->events[i];
        h = hash_bytes(mix(h, e->is_delete), &e->kv.key);
        if (e->is_delete)
            continue;
        h = hash_bytes(h, &e->kv.value);
        h = mix(mix(h, (uint64_t)e->kv.create_revision),
                (uint64_t)e->kv.version << 8 ^ (uint64_t)e->kv.lease);
    }
    return h ? h : 1;
}

void invariants_changed(struct process *p, const struct store_change *change)
{
    struct invariants *v = of(p);
    size_t at = (size_t)change->revision;
    uint64_t hash = hash_change(change);
    v->changes = reach(v->changes, at, &v->change_capacity, sizeof *v->changes);
    if (!v->changes[at]) {
        v->changes[at] = hash;
        workload_committed(v->world, change, shadow_of(p)->ended_lease);
    } else if (v->changes[at] != hash) {
        world_violated(v->world, "same_state",
                       "%s makes another change of revision %" PRId64 " than others did", name_of(p),
                       change->revision);
    }
}

void invariants_trace(void *arg, const struct raft_trace *event)
{
    struct process *p = arg;
    struct world *w = p->machine->world;
    if (!w->options.shows_raft)
        return;
    struct buf b = {0};
    render_trace(&b, event);
    world_print(w, "%s raft: %s", name_of(p), buf_text(&b));
    buf_done(&b);
}

/* --- at the end ---------------------------------------------------------------------------------------- */

bool invariants_config(const struct invariants *v, struct raft_conf_state *ret_config)
{
    *ret_config = v->config;
    return v->config.voters.count != 0;
}

static uint64_t hash_side_tables(const struct kv *kv)
{
    uint64_t h = 0;
    int64_t *leases = NULL;
    size_t count = lease_list(kv->leases, &leases);
    uint64_t sum = 0; /* the list's order depends on the leader */
    for (size_t i = 0; i < count; i++) {
        int64_t remaining, granted;
        struct slice *keys = NULL;
        size_t key_count = 0;
        lease_time_to_live(kv->leases, leases[i], 0, &remaining, &granted);
        uint64_t one = mix((uint64_t)leases[i], (uint64_t)granted);
        if (lease_keys(kv->leases, leases[i], &keys, &key_count) == OK)
            for (size_t k = 0; k < key_count; k++)
                one = mix(one, crc32c(0, keys[k].data, keys[k].size));
        mem_free(keys);
        sum += one;
    }
    mem_free(leases);
    h = mix(sum, count);
    for (size_t i = 0; i < kv->members.count; i++) {
        const struct member *m = &kv->members.list[i];
        h = mix(mix(h, m->id), m->is_learner);
        h = mix(h, crc32c(0, m->name, strlen(m->name)));
        for (size_t k = 0; k < m->peer_url_count; k++)
            h = mix(h, crc32c(0, m->peer_urls[k], strlen(m->peer_urls[k])));
    }
    for (size_t i = 0; i < kv->alarms.count; i++)
        h = mix(mix(h, kv->alarms.list[i].memberid), (uint64_t)kv->alarms.list[i].alarm);
    return h;
}

void invariants_compare(struct world *w, const bool *is_in_core)
{
    const struct process *first = NULL;
    Etcdserverpb__HashKVResponse of_first = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    uint64_t side_of_first = 0;
    for (unsigned i = 0; i < w->machine_count; i++) {
        const struct process *p = w->machines[i]->process;
        if (!is_in_core[i] || !process_is_up(p))
            continue;
        Etcdserverpb__HashKVResponse hash = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
        uint64_t side = hash_side_tables(p->kv);
        if (store_hash_kv(p->kv->store, 0, &hash) != OK)
            world_violated(w, "members_are_equal", "%s cannot hash its store", name_of(p));
        if (!first) {
            first = p;
            of_first = hash;
            side_of_first = side;
        } else if (hash.hash != of_first.hash || hash.hash_revision != of_first.hash_revision ||
                   hash.compact_revision != of_first.compact_revision) {
            world_violated(w, "members_are_equal",
                           "%s hashes to %08x at revision %" PRId64 ", compacted %" PRId64
                           "; %s to %08x at %" PRId64 ", %" PRId64,
                           name_of(first), of_first.hash, of_first.hash_revision, of_first.compact_revision,
                           name_of(p), hash.hash, hash.hash_revision, hash.compact_revision);
        } else if (side != side_of_first) {
            world_violated(w, "members_are_equal", "%s and %s differ in leases, members or alarms",
                           name_of(first), name_of(p));
        }
    }
}

/* --- life ---------------------------------------------------------------------------------------------- */

struct invariants *invariants_new(struct world *w)
{
    struct invariants *v = mem_new(sizeof *v);
    v->world = w;
    grow_chains(v);
    *chain_slot(v, BOOTSTRAP_INDEX, BOOTSTRAP_TERM) =
        (struct chain_slot){BOOTSTRAP_INDEX, BOOTSTRAP_TERM, 0xb007};
    v->chain_count = 1;
    v->committed = reach(NULL, BOOTSTRAP_INDEX, &v->committed_capacity, sizeof *v->committed);
    v->committed[BOOTSTRAP_INDEX] = (struct committed){BOOTSTRAP_TERM, 0xb007, 0};
    v->committed_last = BOOTSTRAP_INDEX;
    return v;
}

void invariants_free(struct invariants *v)
{
    for (unsigned i = 0; i < MACHINES_MAX; i++)
        mem_free(v->shadows[i].marks);
    mem_free(v->committed);
    mem_free(v->applied);
    mem_free(v->changes);
    mem_free(v->leaders);
    mem_free(v->chains);
    mem_free(v);
}

uint64_t invariants_committed(const struct invariants *v)
{
    return v->committed_last;
}

uint64_t invariants_leader_count(const struct invariants *v)
{
    return v->leader_count;
}
