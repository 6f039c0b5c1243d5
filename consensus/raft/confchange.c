/* SPDX-License-Identifier: Apache-2.0
 * Configuration changes on a draft (sets of ids only), which is installed when all of it is legal. See
 * confchange.h. */
#include "consensus/raft/confchange.h"

#include <assert.h>

struct draft {
    struct raft_conf_state config;
    struct raft_ids tracked;
    struct raft_ids fresh; /* tracked anew: earlier progress of such an id is dropped */
    bool full;
};

static struct draft draft_of(const struct raft_tracker *t)
{
    struct draft d = {.config = t->config};
    for (uint32_t i = 0; i < t->count; i++)
        (void)raft_ids_add(&d.tracked, t->progress[i].id);
    return d;
}

static void raft_confchange_add(struct draft *d, struct raft_ids *ids, uint64_t id)
{
    if (!raft_ids_add(ids, id))
        d->full = true;
}

static bool is_joint(const struct raft_conf_state *config)
{
    return config->voters_outgoing.count > 0;
}

static void track(struct draft *d, uint64_t id)
{
    raft_confchange_add(d, &d->tracked, id);
    raft_confchange_add(d, &d->fresh, id);
}

static void remove_member(struct draft *d, uint64_t id)
{
    raft_ids_remove(&d->config.voters, id);
    raft_ids_remove(&d->config.learners, id);
    raft_ids_remove(&d->config.learners_next, id);
    /* A voter of the outgoing half still decides, so it stays tracked. */
    if (!raft_ids_has(&d->config.voters_outgoing, id)) {
        raft_ids_remove(&d->tracked, id);
        raft_ids_remove(&d->fresh, id);
    }
}

static void make_voter(struct draft *d, uint64_t id)
{
    if (!raft_ids_has(&d->tracked, id))
        track(d, id);
    raft_ids_remove(&d->config.learners, id);
    raft_ids_remove(&d->config.learners_next, id);
    raft_confchange_add(d, &d->config.voters, id);
}

static void make_learner(struct draft *d, uint64_t id)
{
    if (!raft_ids_has(&d->tracked, id)) {
        track(d, id);
        raft_confchange_add(d, &d->config.learners, id);
        return;
    }
    if (raft_ids_has(&d->config.learners, id))
        return;
    raft_ids_remove(&d->config.voters, id);
    /* No id is voter and learner at the same time: a voter of the outgoing half waits in learners_next. */
    bool waits = raft_ids_has(&d->config.voters_outgoing, id);
    raft_confchange_add(d, waits ? &d->config.learners_next : &d->config.learners, id);
}

static enum raft_conf_error apply(struct draft *d, const struct raft_conf_change_single *changes,
                                  uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t id = changes[i].node_id;
        if (id == RAFT_NONE)
            continue;
        switch (changes[i].type) {
        case RAFT_ADD_NODE:
            make_voter(d, id);
            break;
        case RAFT_ADD_LEARNER:
            make_learner(d, id);
            break;
        case RAFT_REMOVE_NODE:
            remove_member(d, id);
            break;
        case RAFT_UPDATE_NODE:
            break;
        }
    }
    if (d->full)
        return RAFT_CONF_FULL;
    return d->config.voters.count ? RAFT_CONF_OK : RAFT_CONF_REMOVED_ALL;
}

static struct raft_progress new_progress(const struct raft_tracker *t, uint64_t id, uint64_t last_index)
{
    /* Probed from our last index: optimistic, a rejection corrects it. Active, so that a quorum check does
     * not count a new member as lost before it could send anything. */
    struct raft_progress p = {.id = id, .next = last_index ? last_index : 1, .recent_active = true};
    raft_inflights_init(&p.inflights, t->inflight_max, t->inflight_bytes_max);
    return p;
}

static void install(struct raft_tracker *t, const struct draft *d, uint64_t last_index)
{
    struct raft_progress *old = mem_copy(t->progress, sizeof t->progress);
    uint32_t old_count = t->count, from = 0;
    t->count = 0;
    t->config = d->config;
    for (uint32_t i = 0; i < d->tracked.count; i++) {
        uint64_t id = d->tracked.id[i];
        while (from < old_count && old[from].id < id)
            raft_inflights_done(&old[from++].inflights);
        struct raft_progress *p = &t->progress[t->count++];
        bool known = from < old_count && old[from].id == id;
        if (known && !raft_ids_has(&d->fresh, id)) {
            *p = old[from++];
        } else {
            if (known)
                raft_inflights_done(&old[from++].inflights);
            *p = new_progress(t, id, last_index);
        }
        p->learner = raft_ids_has(&t->config.learners, id);
    }
    while (from < old_count)
        raft_inflights_done(&old[from++].inflights);
    mem_free(old);
    assert(raft_conf_state_valid(&t->config));
}

enum raft_conf_error raft_conf_simple(struct raft_tracker *t, uint64_t last_index,
                                      const struct raft_conf_change_single *changes, uint32_t count)
{
    if (is_joint(&t->config))
        return RAFT_CONF_SIMPLE_IN_JOINT;
    struct draft d = draft_of(t);
    enum raft_conf_error err = apply(&d, changes, count);
    if (err)
        return err;
    if (raft_ids_difference(&t->config.voters, &d.config.voters) > 1)
        return RAFT_CONF_MANY_VOTERS;
    install(t, &d, last_index);
    return RAFT_CONF_OK;
}

enum raft_conf_error raft_conf_enter_joint(struct raft_tracker *t, uint64_t last_index, bool auto_leave,
                                           const struct raft_conf_change_single *changes, uint32_t count)
{
    if (is_joint(&t->config))
        return RAFT_CONF_ALREADY_JOINT;
    if (t->config.voters.count == 0)
        return RAFT_CONF_NO_VOTERS;
    struct draft d = draft_of(t);
    d.config.voters_outgoing = d.config.voters;
    enum raft_conf_error err = apply(&d, changes, count);
    if (err)
        return err;
    d.config.auto_leave = auto_leave;
    install(t, &d, last_index);
    return RAFT_CONF_OK;
}

enum raft_conf_error raft_conf_leave_joint(struct raft_tracker *t)
{
    if (!is_joint(&t->config))
        return RAFT_CONF_NOT_JOINT;
    struct draft d = draft_of(t);
    struct raft_conf_state *config = &d.config;
    for (uint32_t i = 0; i < config->learners_next.count; i++)
        raft_confchange_add(&d, &config->learners, config->learners_next.id[i]);
    assert(!d.full);
    config->learners_next.count = 0;
    for (uint32_t i = 0; i < config->voters_outgoing.count; i++) {
        uint64_t id = config->voters_outgoing.id[i];
        if (!raft_ids_has(&config->voters, id) && !raft_ids_has(&config->learners, id))
            raft_ids_remove(&d.tracked, id);
    }
    config->voters_outgoing.count = 0;
    config->auto_leave = false;
    install(t, &d, 0);
    return RAFT_CONF_OK;
}

bool raft_conf_wants_leave(const struct raft_conf_change *change)
{
    return change->transition == RAFT_TRANSITION_AUTO && change->count == 0;
}

enum raft_conf_error raft_conf_apply(struct raft_tracker *t, uint64_t last_index,
                                     const struct raft_conf_change *change)
{
    if (raft_conf_wants_leave(change))
        return raft_conf_leave_joint(t);
    if (change->transition == RAFT_TRANSITION_AUTO && change->count == 1)
        return raft_conf_simple(t, last_index, change->changes, change->count);
    bool auto_leave = change->transition != RAFT_TRANSITION_JOINT_EXPLICIT;
    return raft_conf_enter_joint(t, last_index, auto_leave, change->changes, change->count);
}

/* --- configurations from storage and snapshots --- */
static bool disjoint(const struct raft_ids *a, const struct raft_ids *b)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (raft_ids_has(b, a->id[i]))
            return false;
    return true;
}

/* The number of ids that the state tracks. learners_next are voters of the outgoing half. */
static uint32_t member_count(const struct raft_conf_state *state)
{
    uint32_t n = state->voters.count + state->learners.count;
    for (uint32_t i = 0; i < state->voters_outgoing.count; i++)
        n += !raft_ids_has(&state->voters, state->voters_outgoing.id[i]);
    return n;
}

bool raft_conf_state_valid(const struct raft_conf_state *s)
{
    if (!raft_ids_sorted(&s->voters) || !raft_ids_sorted(&s->voters_outgoing) ||
        !raft_ids_sorted(&s->learners) || !raft_ids_sorted(&s->learners_next) ||
        member_count(s) > RAFT_MEMBERS_MAX)
        return false;
    if (s->voters.count == 0 && member_count(s) > 0)
        return false;
    if (!is_joint(s) && (s->learners_next.count || s->auto_leave))
        return false;
    if (!disjoint(&s->learners, &s->voters) || !disjoint(&s->learners, &s->voters_outgoing) ||
        !disjoint(&s->learners_next, &s->voters))
        return false;
    for (uint32_t i = 0; i < s->learners_next.count; i++)
        if (!raft_ids_has(&s->voters_outgoing, s->learners_next.id[i]))
            return false;
    return true;
}

bool raft_conf_state_equal(const struct raft_conf_state *a, const struct raft_conf_state *b)
{
    return raft_ids_equal(&a->voters, &b->voters) &&
           raft_ids_equal(&a->voters_outgoing, &b->voters_outgoing) &&
           raft_ids_equal(&a->learners, &b->learners) &&
           raft_ids_equal(&a->learners_next, &b->learners_next) && a->auto_leave == b->auto_leave;
}

void raft_conf_restore(struct raft_tracker *t, uint64_t last_index, const struct raft_conf_state *state)
{
    assert(raft_conf_state_valid(state));
    struct draft d = {.config = *state};
    for (uint32_t i = 0; i < state->voters.count; i++)
        track(&d, state->voters.id[i]);
    for (uint32_t i = 0; i < state->voters_outgoing.count; i++)
        track(&d, state->voters_outgoing.id[i]);
    for (uint32_t i = 0; i < state->learners.count; i++)
        track(&d, state->learners.id[i]);
    assert(!d.full);
    install(t, &d, last_index);
}
