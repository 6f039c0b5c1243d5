/* SPDX-License-Identifier: Apache-2.0
 * raft_ready: all that must be written, sent and applied since the last call, and how completed work is
 * reported back. */
#include "consensus/raft/core.h"

#include <assert.h>

static struct raft_soft_state soft_state(const struct raft *r)
{
    return (struct raft_soft_state){.leader = r->leader, .role = r->role};
}

static struct raft_hard_state hard_state(const struct raft *r)
{
    return (struct raft_hard_state){.term = r->term, .vote = r->vote, .commit = r->log.committed};
}

static bool has_soft_state_change(const struct raft *r)
{
    struct raft_soft_state now = soft_state(r);
    return now.leader != r->previous_soft.leader || now.role != r->previous_soft.role;
}

static bool has_hard_state_change(const struct raft *r)
{
    struct raft_hard_state now = hard_state(r), then = r->previous_hard;
    if (MUTANT(VOTE_NOT_WRITTEN))
        return now.commit != then.commit;
    return now.term != then.term || now.vote != then.vote || now.commit != then.commit;
}

/* In the synchronous mode the host writes before it applies, all within one ready. */
static bool may_apply_unstable(const struct raft *r)
{
    return !r->config.async_storage_writes;
}

bool raft_has_ready(const struct raft *r)
{
    return r->next_outbox.messages.count || r->next_outbox.after_append.count || r->next_outbox.read_count ||
           has_soft_state_change(r) || has_hard_state_change(r) || raft_log_has_next_snapshot(&r->log) ||
           r->log.in_progress <= raft_log_last(&r->log) ||
           raft_log_has_next_committed(&r->log, may_apply_unstable(r));
}

/* The answer that reports the log as stable up to its present end, not only up to this batch's last entry. An
 * answer is ignored when the term changed meanwhile: the entries may have been overwritten, twice. So a later
 * answer of the new term must cover earlier batches, too. Otherwise these would stay unstable for ever. */
static struct raft_message append_response(const struct raft *r, const struct raft_ready *rd)
{
    struct raft_message m = {
        .type = RAFT_MSG_STORAGE_APPEND_RESP,
        .to = r->config.id,
        .from = RAFT_APPEND_THREAD,
        .term = r->term,
        .snapshot = rd->snapshot,
    };
    if (raft_log_has_unstable(&r->log)) {
        struct raft_position end = raft_log_end(&r->log);
        m.index = end.index;
        m.log_term = end.term;
    }
    return m;
}

static bool needs_append_response(const struct raft *r, const struct raft_ready *rd)
{
    return raft_log_has_unstable(&r->log) || rd->snapshot;
}

/* Committed entries belong to no term. */
static struct raft_message apply_response(const struct raft *r, const struct raft_ready *rd)
{
    return (struct raft_message){
        .type = RAFT_MSG_STORAGE_APPLY_RESP,
        .to = r->config.id,
        .from = RAFT_APPLY_THREAD,
        .entries = rd->committed,
        .entry_count = rd->committed_count,
    };
}

static void add_storage_append(struct raft *r, const struct raft_ready *rd)
{
    struct raft_outbox *o = &r->ready_outbox;
    struct raft_message m = {
        .type = RAFT_MSG_STORAGE_APPEND,
        .to = RAFT_APPEND_THREAD,
        .from = r->config.id,
        .entries = rd->entries,
        .entry_count = rd->entry_count,
        .snapshot = rd->snapshot,
    };
    if (rd->has_hard_state) {
        m.term = rd->hard_state.term;
        m.vote = rd->hard_state.vote;
        m.commit = rd->hard_state.commit;
    }
    /* Our acknowledgement to ourselves first, then the stability of the log. */
    if (needs_append_response(r, rd)) {
        struct raft_message response = append_response(r, rd);
        raft_messages_add(&o->after_append, &response);
    }
    m.responses = o->after_append.count ? o->after_append.items : NULL;
    m.response_count = o->after_append.count;
    raft_messages_add(&o->messages, &m);
}

static void add_storage_apply(struct raft *r, const struct raft_ready *rd)
{
    struct raft_outbox *o = &r->ready_outbox;
    struct raft_message response = apply_response(r, rd);
    struct raft_message m = {
        .type = RAFT_MSG_STORAGE_APPLY,
        .to = RAFT_APPLY_THREAD,
        .from = r->config.id,
        .entries = rd->committed,
        .entry_count = rd->committed_count,
        .responses = arena_copy(&o->arena, &response, sizeof response),
        .response_count = 1,
    };
    raft_messages_add(&o->messages, &m);
}

/* Synchronous mode: after-append messages leave with the others, since the host sends after it has written.
 * Our own wait for raft_advance. */
static void add_steps(struct raft *r, const struct raft_ready *rd)
{
    struct raft_outbox *o = &r->ready_outbox;
    for (size_t i = 0; i < o->after_append.count; i++) {
        const struct raft_message *m = &o->after_append.items[i];
        raft_messages_add(m->to == r->config.id ? &o->steps : &o->messages, m);
    }
    if (needs_append_response(r, rd)) {
        struct raft_message response = append_response(r, rd);
        raft_messages_add(&o->steps, &response);
    }
    if (rd->committed_count) {
        struct raft_message response = apply_response(r, rd);
        raft_messages_add(&o->steps, &response);
    }
}

static void raft_ready_collect(struct raft *r, struct raft_ready *rd)
{
    struct raft_outbox *o = &r->ready_outbox;
    const struct raft_entry *entries = raft_log_next_unstable(&r->log, &rd->entry_count);
    rd->entries = raft_outbox_entries(o, entries, rd->entry_count);
    entries = raft_log_next_committed(&r->log, may_apply_unstable(r), &rd->committed_count);
    rd->committed = raft_outbox_entries(o, entries, rd->committed_count);
    if (raft_log_has_next_snapshot(&r->log))
        rd->snapshot = raft_outbox_snapshot(o, r->log.snapshot);
    rd->has_soft_state = has_soft_state_change(r);
    rd->soft_state = soft_state(r);
    rd->has_hard_state = has_hard_state_change(r);
    rd->hard_state = hard_state(r);
    rd->must_sync = rd->entry_count || rd->hard_state.vote != r->previous_hard.vote ||
                    rd->hard_state.term != r->previous_hard.term;
    rd->read_states = o->reads;
    rd->read_state_count = o->read_count;
}

static void accept(struct raft *r, const struct raft_ready *rd)
{
    r->previous_soft = rd->soft_state;
    r->previous_hard = rd->hard_state;
    raft_log_accept_unstable(&r->log);
    if (rd->committed_count)
        raft_log_accept_applying(&r->log, rd->committed[rd->committed_count - 1].index,
                                 raft_entries_size(rd->committed, rd->committed_count),
                                 may_apply_unstable(r));
}

void raft_ready(struct raft *r, struct raft_ready *ret_ready)
{
    assert(r->ready_outbox.steps.count == 0); /* raft_advance was not called */
    struct raft_ready rd = {0};
    raft_outbox_clear(&r->ready_outbox);
    struct raft_outbox filled = r->next_outbox;
    r->next_outbox = r->ready_outbox;
    r->ready_outbox = filled;
    raft_ready_collect(r, &rd);
    struct raft_outbox *o = &r->ready_outbox;
    if (r->config.async_storage_writes) {
        if (rd.entry_count || rd.has_hard_state || rd.snapshot || o->after_append.count)
            add_storage_append(r, &rd);
        if (rd.committed_count)
            add_storage_apply(r, &rd);
    } else {
        add_steps(r, &rd);
    }
    accept(r, &rd);
    rd.messages = o->messages.items;
    rd.message_count = o->messages.count;
    *ret_ready = rd;
}

void raft_advance(struct raft *r)
{
    assert(!r->config.async_storage_writes);
    for (size_t i = 0; i < r->ready_outbox.steps.count; i++)
        (void)raft_handle(r, &r->ready_outbox.steps.items[i]);
    r->ready_outbox.steps.count = 0;
}
