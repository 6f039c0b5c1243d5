/* SPDX-License-Identifier: Apache-2.0
 * Validation of network messages: a message that no correct member can have sent is refused before it changes
 * any state. etcd-io/raft panics on many of them. A member of ours must survive any bytes that reach it. */
#include "consensus/raft/core.h"

/* Kinds without a term: forwarded messages, or a refusal by a member that is still at term 0. */
static bool may_lack_term(const struct raft *r, const struct raft_message *m)
{
    /* A host may seed a cluster with a snapshot before any election. Only leaders process the answer to
     * it. */
    if (m->type == RAFT_MSG_SNAP)
        return r->term == 0;
    if (m->type == RAFT_MSG_APP_RESP)
        return r->role != RAFT_LEADER;
    return m->type == RAFT_MSG_PROP || m->type == RAFT_MSG_READ_INDEX || m->type == RAFT_MSG_FORGET_LEADER ||
           m->type == RAFT_MSG_TRANSFER_LEADER || (m->type == RAFT_MSG_PRE_VOTE_RESP && m->reject);
}

/* Contiguous after (index, log_term); the terms never decrease, and none is above the sender's. */
static bool entries_fit(const struct raft_message *m)
{
    uint64_t index = m->index, term = m->log_term;
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index != index + 1 || e->term < term || e->type > RAFT_ENTRY_CONF_CHANGE_V2)
            return false;
        index = e->index;
        term = e->term;
    }
    return term <= m->term && index <= RAFT_POSITION_MAX;
}

static bool proposal_fits(const struct raft_message *m)
{
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        struct raft_conf_change change;
        if (e->type == RAFT_ENTRY_NORMAL)
            continue;
        if (e->type > RAFT_ENTRY_CONF_CHANGE_V2)
            return false;
        if (raft_conf_change_decode(blob_slice(e->data), e->type == RAFT_ENTRY_CONF_CHANGE, &change))
            return false;
    }
    return m->entry_count > 0;
}

static bool snapshot_fits(const struct raft_message *m)
{
    const struct raft_snapshot *s = m->snapshot;
    return s && s->index <= RAFT_POSITION_MAX && s->term <= RAFT_POSITION_MAX &&
           (s->term <= m->term || (m->term == 0 && s->term == 1)) && raft_conf_state_valid(&s->conf_state);
}

static bool positions_fit(const struct raft_message *m)
{
    return m->term <= RAFT_POSITION_MAX && m->log_term <= RAFT_POSITION_MAX &&
           m->index <= RAFT_POSITION_MAX && m->commit <= RAFT_POSITION_MAX &&
           m->reject_hint <= RAFT_POSITION_MAX;
}

int raft_check_message(const struct raft *r, const struct raft_message *m)
{
    if (m->type >= RAFT_MSG_COUNT || !positions_fit(m) || m->context.size > RAFT_CONTEXT_MAX)
        return ERR_MALFORMED;
    if (m->term == 0 && !may_lack_term(r, m))
        return ERR_MALFORMED;
    bool fits = true;
    if (m->type == RAFT_MSG_APP)
        fits = entries_fit(m);
    else if (m->type == RAFT_MSG_PROP)
        fits = proposal_fits(m);
    else if (m->type == RAFT_MSG_SNAP)
        fits = snapshot_fits(m);
    else if (m->type == RAFT_MSG_READ_INDEX || m->type == RAFT_MSG_READ_INDEX_RESP)
        fits = m->context.size > 0;
    else if (m->type == RAFT_MSG_APP_RESP && !m->reject && r->role == RAFT_LEADER && m->term == r->term)
        fits = m->index <= raft_log_last(&r->log); /* no member holds more of our term than we do */
    return fits ? 0 : ERR_MALFORMED;
}
