/* SPDX-License-Identifier: Apache-2.0
 * Whole-state functions of the core: init, free, copy, hash, and readers. */
#include "consensus/raft/core.h"

/* --- init and free --- */
static bool config_valid(const struct raft_config *c)
{
    return c->id != RAFT_NONE && c->id < RAFT_APPLY_THREAD && c->heartbeat_tick > 0 &&
           c->election_tick > c->heartbeat_tick && c->election_tick < UINT32_MAX / 2 &&
           c->max_inflight_messages > 0 &&
           (c->max_inflight_bytes == 0 || c->max_inflight_bytes >= c->max_size_per_message) &&
           (!c->lease_based_reads || c->check_quorum);
}

/* A commit index on disk may be lower than what was applied (it is not synced on its own), and never beyond
 * the log. */
static bool initial_valid(const struct raft_config *c, const struct raft_initial *in)
{
    uint64_t index = in->snapshot_index, term = in->snapshot_term;
    for (size_t i = 0; i < in->run_count; i++) {
        uint64_t end = i + 1 < in->run_count ? in->runs[i + 1].index : in->first_entry;
        if (in->runs[i].index != index + 1 || in->runs[i].term < term || end <= in->runs[i].index)
            return false;
        index = end - 1;
        term = in->runs[i].term;
    }
    if (in->run_count && index > c->applied)
        return false;
    for (size_t i = 0; i < in->entry_count; i++) {
        if (in->entries[i].index != index + 1 || in->entries[i].term < term)
            return false;
        index = in->entries[i].index;
        term = in->entries[i].term;
    }
    const struct raft_hard_state *hs = &in->hard_state;
    bool empty = hs->term == 0 && hs->vote == 0 && hs->commit == 0;
    return index <= RAFT_POSITION_MAX && hs->term <= RAFT_POSITION_MAX &&
           raft_conf_state_valid(&in->conf_state) &&
           (empty || (hs->commit >= in->snapshot_index && hs->commit <= index)) &&
           (c->applied == 0 || (c->applied >= in->snapshot_index && c->applied <= index));
}

static struct raft_config with_defaults(struct raft_config c)
{
    if (c.max_committed_size_per_ready == 0)
        c.max_committed_size_per_ready = c.max_size_per_message ? c.max_size_per_message : 1;
    return c;
}

int raft_new(const struct raft_config *config, const struct raft_initial *initial, struct raft **ret_raft)
{
    if (!config_valid(config) || !initial_valid(config, initial))
        return ERR_INVALID;
    struct raft *r = mem_new(sizeof *r);
    r->config = with_defaults(*config);
    r->random = config->seed;
    struct raft_position before = {initial->snapshot_index, initial->snapshot_term};
    uint64_t held = initial->run_count ? initial->first_entry : before.index + 1;
    struct raft_position *runs = mem_alloc((initial->run_count + 1) * sizeof *runs);
    for (size_t i = 0; i < initial->run_count; i++)
        runs[i] = (struct raft_position){initial->runs[i].index, initial->runs[i].term};
    raft_log_init(&r->log, r, before, runs, initial->run_count, held, initial->entries, initial->entry_count,
                  r->config.max_committed_size_per_ready);
    mem_free(runs);
    r->tracker.inflight_max = config->max_inflight_messages;
    r->tracker.inflight_bytes_max = config->max_inflight_bytes;
    raft_conf_restore(&r->tracker, raft_log_last(&r->log), &initial->conf_state);
    raft_switch_config(r);
    r->term = initial->hard_state.term;
    r->vote = initial->hard_state.vote;
    raft_log_commit_to(&r->log, initial->hard_state.commit);
    if (config->applied > 0) {
        raft_log_commit_to(&r->log, config->applied);
        raft_log_applied_to(&r->log, config->applied, 0);
    }
    raft_become_follower(r, r->term, RAFT_NONE);
    r->previous_soft = (struct raft_soft_state){.leader = r->leader, .role = r->role};
    r->previous_hard = (struct raft_hard_state){.term = r->term, .vote = r->vote, .commit = r->log.committed};
    RAFT_TRACE(r, NEW, .conf = &r->tracker.config);
    *ret_raft = r;
    return 0;
}

static void free_snapshot(struct raft_snapshot *s)
{
    if (s)
        blob_unref(s->data);
    mem_free(s);
}

void raft_free(struct raft *r)
{
    if (!r)
        return;
    raft_log_done(&r->log);
    raft_read_back_clear(r);
    raft_tracker_done(&r->tracker);
    raft_reads_done(&r->reads);
    free_snapshot(r->offered_snapshot);
    raft_outbox_done(&r->next_outbox);
    raft_outbox_done(&r->ready_outbox);
    mem_free(r);
}

/* --- copies --- */
static struct raft_snapshot *copy_snapshot(const struct raft_snapshot *s)
{
    if (!s)
        return NULL;
    struct raft_snapshot *copy = mem_copy(s, sizeof *s);
    blob_ref(copy->data);
    return copy;
}

static void copy_messages(struct raft_outbox *to, struct raft_messages *list,
                          const struct raft_messages *from)
{
    for (size_t i = 0; i < from->count; i++)
        raft_outbox_add(to, list, &from->items[i]);
}

static void copy_queue(struct raft_read_queue *to, const struct raft_read_queue *from)
{
    *to = (struct raft_read_queue){0};
    for (size_t i = 0; i < from->count; i++)
        (void)raft_read_queue_add(to, &from->items[from->head + i]);
}

struct raft *raft_clone(const struct raft *r)
{
    struct raft *c = mem_copy(r, sizeof *r);
    size_t count = r->log.count;
    c->log.owner = c;
    c->log.head = 0;
    c->log.capacity = count;
    c->log.items = count ? mem_copy(r->log.items + r->log.head, count * sizeof *r->log.items) : NULL;
    for (size_t i = 0; i < count; i++)
        blob_ref(c->log.items[i].data);
    if (r->log.runs.items)
        c->log.runs.items = mem_copy(r->log.runs.items, r->log.runs.capacity * sizeof *r->log.runs.items);
    if (r->read_back.count)
        c->read_back.entries =
            mem_copy(r->read_back.entries, r->read_back.count * sizeof *r->read_back.entries);
    for (size_t i = 0; i < r->read_back.count; i++)
        blob_ref(r->read_back.entries[i].data);
    c->log.snapshot = copy_snapshot(r->log.snapshot);
    c->offered_snapshot = copy_snapshot(r->offered_snapshot);
    for (uint32_t i = 0; i < c->tracker.count; i++) {
        struct raft_inflights *in = &c->tracker.progress[i].inflights;
        if (in->ring)
            in->ring = mem_copy(in->ring, in->capacity * sizeof *in->ring);
    }
    copy_queue(&c->reads.early, &r->reads.early);
    copy_queue(&c->reads.numbered, &r->reads.numbered);
    c->next_outbox = c->ready_outbox = (struct raft_outbox){0};
    copy_messages(&c->next_outbox, &c->next_outbox.messages, &r->next_outbox.messages);
    copy_messages(&c->next_outbox, &c->next_outbox.after_append, &r->next_outbox.after_append);
    for (size_t i = 0; i < r->next_outbox.read_count; i++)
        raft_outbox_add_read(&c->next_outbox, &r->next_outbox.reads[i]);
    return c;
}

/* --- hash: every field that decides what happens next, each number in full, in a fixed order --- */
static void mix(uint64_t *h, uint64_t value)
{
    uint64_t z = (*h ^ value) * UINT64_C(0x9fb21c651e98df25);
    *h = (z ^ (z >> 35)) * UINT64_C(0xd6e8feb86659fd93) + 1;
}

static void mix_bytes(uint64_t *h, const uint8_t *data, size_t size)
{
    mix(h, size);
    for (size_t i = 0; i < size; i++)
        mix(h, data[i]);
}

static void mix_entries(uint64_t *h, const struct raft_entry *entries, size_t count)
{
    mix(h, count);
    for (size_t i = 0; i < count; i++) {
        struct slice data = blob_slice(entries[i].data);
        mix(h, entries[i].index);
        mix(h, entries[i].term);
        mix(h, entries[i].type);
        mix_bytes(h, data.data, data.size);
    }
}

static void mix_ids(uint64_t *h, const struct raft_ids *ids)
{
    mix(h, ids->count);
    for (uint32_t i = 0; i < ids->count; i++)
        mix(h, ids->id[i]);
}

static void mix_conf(uint64_t *h, const struct raft_conf_state *s)
{
    mix_ids(h, &s->voters);
    mix_ids(h, &s->voters_outgoing);
    mix_ids(h, &s->learners);
    mix_ids(h, &s->learners_next);
    mix(h, s->auto_leave);
}

static void mix_snapshot(uint64_t *h, const struct raft_snapshot *s)
{
    mix(h, s != NULL);
    if (!s)
        return;
    struct slice data = blob_slice(s->data);
    mix(h, s->index);
    mix(h, s->term);
    mix_conf(h, &s->conf_state);
    mix_bytes(h, data.data, data.size);
}

static void mix_messages(uint64_t *h, const struct raft_messages *list)
{
    mix(h, list->count);
    for (size_t i = 0; i < list->count; i++) {
        const struct raft_message *m = &list->items[i];
        const uint64_t numbers[] = {m->type,     m->reject, m->to,     m->from, m->term,
                                    m->log_term, m->index,  m->commit, m->vote, m->reject_hint};
        for (size_t j = 0; j < sizeof numbers / sizeof numbers[0]; j++)
            mix(h, numbers[j]);
        mix_bytes(h, m->context.data, m->context.size);
        mix_entries(h, m->entries, m->entry_count);
        mix_snapshot(h, m->snapshot);
    }
}

static void mix_progress(uint64_t *h, const struct raft_progress *p)
{
    const uint64_t numbers[] = {
        p->id,   p->match,   p->next,          p->sent_commit, p->pending_snapshot, p->read_ack,     p->state,
        p->vote, p->learner, p->recent_active, p->flow_paused, p->inflights.bytes,  p->wants_entries};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mix(h, numbers[i]);
    mix(h, p->inflights.count);
    for (uint32_t i = 0; i < p->inflights.count; i++) {
        const struct raft_inflight *f =
            &p->inflights.ring[(p->inflights.start + i) & (p->inflights.capacity - 1)];
        mix(h, f->index);
        mix(h, f->bytes);
    }
}

static void mix_queue(uint64_t *h, const struct raft_read_queue *q)
{
    mix(h, q->count);
    for (size_t i = 0; i < q->count; i++) {
        const struct raft_read *read = &q->items[q->head + i];
        mix(h, read->from);
        mix(h, read->index);
        mix_bytes(h, read->context.data, read->context.size);
    }
}

uint64_t raft_hash(const struct raft *r)
{
    const struct raft_log *l = &r->log;
    uint64_t h = 0;
    const uint64_t numbers[] = {
        r->config.id,
        r->term,
        r->vote,
        r->role,
        r->leader,
        r->learner,
        r->election_elapsed,
        r->heartbeat_elapsed,
        r->election_timeout,
        r->transferee,
        r->pending_conf_index,
        r->uncommitted_size,
        r->snapshot_wanted,
        l->before.index,
        l->before.term,
        l->held,
        r->read_back.served,
        l->unstable,
        l->in_progress,
        l->committed,
        l->applying,
        l->applied,
        l->applying_size,
        l->applying_paused,
        l->snapshot_in_progress,
        r->reads.confirmed,
        r->previous_soft.leader,
        r->previous_soft.role,
        r->previous_hard.term,
        r->previous_hard.vote,
        r->previous_hard.commit,
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mix(&h, numbers[i]);
    mix_entries(&h, l->count ? l->items + l->head : NULL, l->count);
    for (size_t i = 0; i < l->runs.count; i++) {
        mix(&h, l->runs.items[i].index);
        mix(&h, l->runs.items[i].term);
    }
    mix_entries(&h, r->read_back.entries, r->read_back.count);
    mix_snapshot(&h, l->snapshot);
    mix_snapshot(&h, r->offered_snapshot);
    mix_conf(&h, &r->tracker.config);
    for (uint32_t i = 0; i < r->tracker.count; i++)
        mix_progress(&h, &r->tracker.progress[i]);
    mix_queue(&h, &r->reads.early);
    mix_queue(&h, &r->reads.numbered);
    mix_messages(&h, &r->next_outbox.messages);
    mix_messages(&h, &r->next_outbox.after_append);
    mix(&h, r->next_outbox.read_count);
    return h;
}

/* --- readers --- */
uint64_t raft_first_index(const struct raft *r)
{
    return raft_log_first(&r->log);
}

uint64_t raft_last_index(const struct raft *r)
{
    return raft_log_last(&r->log);
}

uint64_t raft_committed_index(const struct raft *r)
{
    return r->log.committed;
}

uint64_t raft_applied_index(const struct raft *r)
{
    return r->log.applied;
}

const struct raft_entry *raft_entry_at(const struct raft *r, uint64_t index)
{
    return raft_log_entry(&r->log, index);
}

int raft_term_at(const struct raft *r, uint64_t index, uint64_t *ret_term)
{
    return raft_log_term(&r->log, index, ret_term) ? 0 : ERR_NOT_FOUND;
}

uint64_t raft_run_end(const struct raft *r, uint64_t index)
{
    return raft_log_run_end(&r->log, index);
}

uint64_t raft_compact(struct raft *r, uint64_t index)
{
    raft_log_compact(&r->log, index);
    return raft_log_first(&r->log);
}

void raft_set_snapshot(struct raft *r, const struct raft_snapshot *snapshot)
{
    struct raft_snapshot *old = r->offered_snapshot;
    r->offered_snapshot = copy_snapshot(snapshot);
    free_snapshot(old);
    r->snapshot_wanted = false;
}

bool raft_wants_snapshot(const struct raft *r)
{
    return r->snapshot_wanted && r->role == RAFT_LEADER;
}

uint64_t raft_term(const struct raft *r)
{
    return r->term;
}

uint64_t raft_leader(const struct raft *r)
{
    return r->leader;
}

enum raft_role raft_role(const struct raft *r)
{
    return r->role;
}

uint64_t raft_uncommitted_size(const struct raft *r)
{
    return r->role == RAFT_LEADER ? r->uncommitted_size : 0;
}

bool raft_has_change_waiting(const struct raft *r)
{
    if (r->log.applied < r->log.before.index)
        return true; /* within a snapshot that is being installed: unknown */
    for (uint64_t i = r->log.applied + 1; i <= raft_log_last(&r->log); i++)
        if (raft_log_entry(&r->log, i)->type != RAFT_ENTRY_NORMAL)
            return true;
    return false;
}

void raft_set_election_timeout(struct raft *r, uint32_t ticks)
{
    r->election_timeout = ticks;
}

void raft_get_status(const struct raft *r, struct raft_status *ret_status)
{
    struct raft_status s = {
        .id = r->config.id,
        .term = r->term,
        .vote = r->vote,
        .commit = r->log.committed,
        .applied = r->log.applied,
        .leader = r->leader,
        .transferee = r->transferee,
        .role = r->role,
        .learner = r->learner,
        .conf_state = r->tracker.config,
    };
    if (r->role == RAFT_LEADER)
        for (uint32_t i = 0; i < r->tracker.count; i++)
            s.progress[s.progress_count++] = raft_progress_status(&r->tracker.progress[i]);
    *ret_status = s;
}
